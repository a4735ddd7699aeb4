//! A mail made of typed parts (RFC 5322, MIME), base64url-encoded as mail interfaces take it: `{$message: {to: $params.to,
//! subject: $params.subject, text: $params.text}}`.
//!
//! Rules then read `params.to` and `params.subject`, and not an opaque text.
//!
//! Invariant: no part can begin another header or end the headers; there is one text for the same parts, and only that one
//! is read.

use super::mapping::PARAM;
use crate::{diagnostic::quoted, yaml::Reading};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde_json::{Map, Value};

/// The parts that there can be, and the header of each, in the order in which they are written; the text has none.
const PARTS: [(&str, &str); 7] = [
    ("to", "To"),
    ("cc", "Cc"),
    ("bcc", "Bcc"),
    ("subject", "Subject"),
    ("in_reply_to", "In-Reply-To"),
    ("references", "References"),
    ("text", ""),
];
/// What stands between the headers and the text.
const MIME: &str = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n";
/// The bytes of text in one encoded word: a line with it and its frame has at most 76 characters (RFC 2047 §2).
const WORD: usize = 39;

/// Which parameter each part is: the index into [`PARTS`], and the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message(Vec<(usize, String)>);

impl Message {
    pub(super) fn load(it: &Reading<'_>) -> Option<Self> {
        let map = it.map()?;
        map.finish(&PARTS.map(|(part, _)| part));
        let mut parts = Vec::new();
        for (index, (part, _)) in PARTS.iter().enumerate() {
            let Some(it) = map.optional(part) else { continue };
            let text = it.string()?;
            let Some(name) = text.strip_prefix(PARAM) else {
                it.error(format!("{} is no parameter: write `$params.NAME`", quoted(text)));
                return None;
            };
            parts.push((index, name.to_owned()));
        }
        if !map.entries().any(|(key, _)| key.value == "to") {
            it.error("a mail has `to`");
            return None;
        }
        Some(Self(parts))
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, name)| name.as_str())
    }

    /// The mail; `None` where no part is given.
    pub(super) fn write(&self, params: &Map<String, Value>) -> Result<Option<String>, &'static str> {
        if !self.params().any(|name| params.contains_key(name)) {
            return Ok(None);
        }
        let (mut head, mut text) = (String::new(), "");
        for (index, name) in &self.0 {
            let (Some((part, header)), Some(value)) = (PARTS.get(*index), params.get(name)) else { continue };
            match *part {
                "to" | "cc" | "bcc" => {
                    head.push_str(&format!("{header}: {}\r\n", addresses(value)?.join(",\r\n ")))
                }
                "subject" => head.push_str(&format!("{header}: {}\r\n", words(string(value)?)?)),
                "text" => text = string(value)?,
                _ => head.push_str(&format!("{header}: {}\r\n", id(string(value)?)?)),
            }
        }
        let encoded = STANDARD.encode(text);
        let lines: Vec<&str> = chunks(&encoded, 76);
        Ok(Some(URL_SAFE.encode(format!("{head}{MIME}{}", lines.join("\r\n")))))
    }

    /// Takes the parts out of a mail. That it is written as [`Message::write`] would is for the caller to compare.
    pub(super) fn read(&self, raw: &str, params: &mut Map<String, Value>) -> Result<(), &'static str> {
        const OTHER: &str =
            "the mail is not of the form in which it would be sent: send it to the action door";
        let bytes = URL_SAFE.decode(raw).map_err(|_| OTHER)?;
        let mail = String::from_utf8(bytes).map_err(|_| OTHER)?;
        let (head, body) = mail.split_once(MIME).ok_or(OTHER)?;
        let head = head.replace("\r\n ", " ");
        let param = |part: &str| {
            let found =
                self.0.iter().find(|(index, _)| PARTS.get(*index).is_some_and(|(name, _)| *name == part));
            found.map(|(_, name)| name.clone()).ok_or(OTHER)
        };
        for line in head.split_terminator("\r\n") {
            let (header, value) = line.split_once(": ").ok_or(OTHER)?;
            let (part, _) = PARTS.iter().find(|(_, name)| *name == header).ok_or(OTHER)?;
            let value = match *part {
                "to" | "cc" | "bcc" => value.split(", ").map(Value::from).collect(),
                "subject" => Value::String(unworded(value).ok_or(OTHER)?),
                _ => Value::String(value.to_owned()),
            };
            params.insert(param(part)?, value);
        }
        let text = STANDARD.decode(body.replace("\r\n", "")).map_err(|_| OTHER)?;
        let text = String::from_utf8(text).map_err(|_| OTHER)?;
        // Whether an empty text was given or none, the mail is the same: a mail that has a place for one has one.
        if let Ok(name) = param("text") {
            params.insert(name, Value::String(text));
        }
        Ok(())
    }
}

fn string(value: &Value) -> Result<&str, &'static str> {
    value.as_str().ok_or("a part of a mail is a string")
}

/// Bare addresses, of which there is at least one.
fn addresses(value: &Value) -> Result<Vec<&str>, &'static str> {
    let items = value.as_array().filter(|items| !items.is_empty());
    items.ok_or("the addresses of a mail are a list that is not empty")?.iter().map(address).collect()
}

fn address(value: &Value) -> Result<&str, &'static str> {
    const BAD: &str = "an address of a mail is bare (`ada@example.com`), in ASCII";
    let text = value.as_str().ok_or(BAD)?;
    // RFC 5322 §3.2.3: atoms with dots; no quoted local parts, comments, groups or display names.
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    let (local, domain) = text.split_once('@').ok_or(BAD)?;
    let dots = |part: &str| part.split('.').any(str::is_empty);
    let good = text.len() <= 254
        && local.bytes().all(atom)
        && domain.bytes().all(host)
        && !dots(local)
        && !dots(domain);
    if good { Ok(text) } else { Err(BAD) }
}

/// `<left@right>`, once or more with single spaces between.
fn id(text: &str) -> Result<&str, &'static str> {
    let one = |id: &str| {
        let inner = id.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        inner.is_some_and(|it| {
            !it.is_empty() && it.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
        })
    };
    let good = text.len() <= 900 && text.split(' ').all(one);
    if good { Ok(text) } else { Err("ids of mails are `<…>`, with single spaces between") }
}

/// A subject, always as encoded words (RFC 2047), so that there is one way to write it.
fn words(text: &str) -> Result<String, &'static str> {
    if text.chars().any(char::is_control) {
        return Err("a subject has no control characters");
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        if word.len() + character.len_utf8() > WORD {
            words.push(std::mem::take(&mut word));
        }
        word.push(character);
    }
    words.push(word);
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect();
    Ok(words.join("\r\n "))
}

fn unworded(text: &str) -> Option<String> {
    let word = |word: &str| {
        let inner = word.strip_prefix("=?utf-8?B?")?.strip_suffix("?=")?;
        String::from_utf8(STANDARD.decode(inner).ok()?).ok()
    };
    text.split(' ').map(word).collect()
}

/// Pieces of an ASCII text.
fn chunks(text: &str, size: usize) -> Vec<&str> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((piece, after)) = rest.split_at_checked(size) {
        found.push(piece);
        rest = after;
    }
    found.push(rest);
    found
}
