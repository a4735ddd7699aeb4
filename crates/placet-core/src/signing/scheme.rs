//! Signatures that a service's definition describes (`auth: {type: hmac, …}`): a keyed digest of a text that is put
//! together of parts of the request, and where it is sent.
//!
//! Invariant: a scheme is bounded and was checked when it was loaded; a text is filled in once, so that no value can
//! bring in another part.

use super::{
    KeyError, Moment, Signature, SigningError, Unsigned, digest_of, hex, is_key, is_key_id, mac, percent,
};
use crate::secret::Secret;
use aws_lc_rs::{
    digest::{SHA256, SHA512},
    hmac::{HMAC_SHA256, HMAC_SHA512},
};
use base64::{
    Engine as _,
    alphabet::{STANDARD as PLAIN, URL_SAFE as URL},
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    },
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt};

/// The longest template, in bytes.
const MAX_TEMPLATE: usize = 1024;
/// The most headers, and the most members of the query, that a scheme adds.
pub const MAX_ADDED: usize = 8;

/// With which digest it is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the digests")]
pub enum Digest {
    #[default]
    Sha256,
    Sha512,
}

/// How the key is written where people get it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the encodings")]
pub enum KeyEncoding {
    /// It is the key.
    #[default]
    Text,
    Base64,
    Hex,
}

/// How the signature is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the encodings")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
    /// Without padding.
    Base64url,
}

/// How the time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// Whole seconds since the epoch.
    #[default]
    Seconds,
    /// Milliseconds since the epoch.
    Milliseconds,
    /// `2026-01-31T08:00:00Z`
    Iso8601,
}

/// What is signed, how, and where the signature goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// With which digest.
    #[serde(default)]
    pub digest: Digest,
    /// How the key is written.
    #[serde(default)]
    pub key: KeyEncoding,
    /// The text that is signed.
    pub sign: Template,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// How the time is written.
    #[serde(default)]
    pub timestamp: TimeFormat,
    /// Headers that are added, names in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Template)>,
    /// Members that are added to the query, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, Template)>,
}

/// A part of the request, or of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Method,
    Host,
    Path,
    Query,
    Target,
    ContentType,
    Body,
    BodySha256,
    BodySha256Base64,
    BodySha512,
    BodySha512Base64,
    Timestamp,
    Nonce,
    KeyId,
    Signature,
}

impl Part {
    const ALL: [(&str, Self); 15] = [
        ("method", Self::Method),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("target", Self::Target),
        ("content_type", Self::ContentType),
        ("body", Self::Body),
        ("body_sha256", Self::BodySha256),
        ("body_sha256_base64", Self::BodySha256Base64),
        ("body_sha512", Self::BodySha512),
        ("body_sha512_base64", Self::BodySha512Base64),
        ("timestamp", Self::Timestamp),
        ("nonce", Self::Nonce),
        ("key_id", Self::KeyId),
        ("signature", Self::Signature),
    ];

    const fn is_of_body(self) -> bool {
        matches!(
            self,
            Self::Body
                | Self::BodySha256
                | Self::BodySha256Base64
                | Self::BodySha512
                | Self::BodySha512Base64
        )
    }

    const fn is_of_request(self) -> bool {
        self.is_of_body() || matches!(self, Self::Path | Self::Query | Self::Target)
    }
}

/// A text with parts: `{timestamp}.{body}`. `{{` and `}}` are braces.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    written: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Part(Part),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.written
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        Self::parse(&written)
    }
}

impl Template {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(written: &str) -> Result<Self, String> {
        if written.is_empty() || written.len() > MAX_TEMPLATE {
            return Err(format!("it has 1 to {MAX_TEMPLATE} bytes"));
        }
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some((before, behind)) = rest.split_once(['{', '}']) {
            text.push_str(before);
            let opens = rest.as_bytes().get(before.len()) == Some(&b'{');
            let brace = if opens { '{' } else { '}' };
            if let Some(behind) = behind.strip_prefix(brace) {
                text.push(brace);
                rest = behind;
                continue;
            }
            let named = if opens { behind.split_once('}') } else { None };
            let (name, behind) = named.ok_or("a brace stands alone: write `{{` or `}}` for one")?;
            let (_, part) = Part::ALL.into_iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known = Part::ALL.map(|(known, _)| format!("{{{known}}}")).join(", ");
                format!("{} is no part: there are {known}", crate::diagnostic::quoted(&format!("{{{name}}}")))
            })?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Part(part));
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { written: written.to_owned(), pieces })
    }

    fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Part(part) => Some(*part),
            Piece::Text(_) => None,
        })
    }

    fn has(&self, part: Part) -> bool {
        self.parts().any(|other| other == part)
    }

    /// Whether all that stands in it beside its parts can stand in a header.
    fn is_visible(&self) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Text(text) => text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
            Piece::Part(_) => true,
        })
    }

    fn fill<'a>(
        &'a self,
        value: impl Fn(Part) -> Result<Cow<'a, [u8]>, SigningError>,
    ) -> Result<Vec<u8>, SigningError> {
        let mut out = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Part(part) => out.extend_from_slice(&value(*part)?),
            }
        }
        Ok(out)
    }
}

/// A key, and what it is called.
pub struct Key {
    id: Option<String>,
    given: Secret,
    bytes: Secret,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// As it is given and kept where a key has a name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    #[serde(borrow)]
    key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret: Cow<'a, str>,
}

impl Scheme {
    /// Whether it is one that an upstream can check. Names of headers and members are checked by whoever reads them.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.headers.len() > MAX_ADDED || self.query.len() > MAX_ADDED {
            return Err(format!("at most {MAX_ADDED} `headers` and as many members of `query` are added"));
        }
        let added = || self.headers.iter().chain(&self.query);
        if self.sign.has(Part::Signature) {
            return Err("`sign` can't have the `{signature}` itself".to_owned());
        }
        if !self.sign.parts().any(Part::is_of_request) {
            return Err("`sign` has nothing of the request: name `{path}`, `{target}`, `{query}`, `{body}` or its digest".to_owned());
        }
        let signatures = added()
            .flat_map(|(_, template)| template.parts())
            .filter(|part| *part == Part::Signature)
            .count();
        if signatures != 1 {
            return Err("`{signature}` stands in one of `headers` and `query`, once".to_owned());
        }
        if self.query.iter().rev().skip(1).any(|(_, template)| template.has(Part::Signature)) {
            return Err("the member of `query` with the `{signature}` is the last: it does not sign itself"
                .to_owned());
        }
        for (part, word) in [(Part::Timestamp, "timestamp"), (Part::Nonce, "nonce")] {
            if self.sign.has(part) && !added().any(|(_, template)| template.has(part)) {
                return Err(format!("`{{{word}}}` is signed and not sent: nobody could check the signature"));
            }
        }
        for (name, template) in added() {
            let sent = |part: Part| {
                matches!(part, Part::Timestamp | Part::Nonce | Part::KeyId | Part::Signature)
                    || (part.is_of_body() && part != Part::Body)
            };
            if !template.parts().all(sent) {
                return Err(format!(
                    "`{name}` can have `{{timestamp}}`, `{{nonce}}`, `{{key_id}}`, `{{signature}}` and digests of the body"
                ));
            }
            if !template.is_visible() {
                return Err(format!("`{name}` has a character that can't be sent"));
            }
        }
        Ok(())
    }

    /// Whether nothing that is signed ends: what was overheard could be sent again.
    pub(crate) fn is_timeless(&self) -> bool {
        let ends = |template: &Template| template.has(Part::Timestamp) || template.has(Part::Nonce);
        let signs_query = self.sign.has(Part::Query) || self.sign.has(Part::Target);
        let mut signed = self.query.iter().filter(|(_, it)| signs_query && !it.has(Part::Signature));
        !ends(&self.sign) && !signed.any(|(_, it)| ends(it))
    }

    /// Whether the body has to be known before the request is sent.
    pub(crate) fn needs_body(&self) -> bool {
        let added = self.headers.iter().chain(&self.query).map(|(_, template)| template);
        [&self.sign].into_iter().chain(added).any(|template| template.parts().any(Part::is_of_body))
    }

    /// Whether the key's name is sent or signed.
    pub fn names_key(&self) -> bool {
        let added = self.headers.iter().chain(&self.query).map(|(_, template)| template);
        [&self.sign].into_iter().chain(added).any(|template| template.has(Part::KeyId))
    }

    /// What is kept of a connection.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn key(&self, secret: &Secret) -> Result<Key, KeyError> {
        let (id, given) = if self.names_key() {
            const FORM: KeyError = KeyError::Form(
                "`key_id` and `secret`, as members of one JSON object (`--auth hmac --key-id` makes it)",
            );
            let form: Form<'_> = serde_json::from_slice(secret.expose()).map_err(|_| FORM)?;
            if !is_key_id(&form.key_id) {
                return Err(KeyError::KeyId);
            }
            (Some(form.key_id.into_owned()), Secret::new(form.secret.as_bytes()))
        } else {
            (None, secret.clone())
        };
        if !is_key(given.expose()) {
            return Err(KeyError::Key);
        }
        let bytes = match self.key {
            KeyEncoding::Text => given.clone(),
            KeyEncoding::Base64 => from_base64(given.expose()).ok_or(KeyError::Encoding)?,
            KeyEncoding::Hex => from_hex(given.expose()).ok_or(KeyError::Encoding)?,
        };
        if bytes.expose().len() < super::MIN_KEY {
            return Err(KeyError::Key);
        }
        Ok(Key { id, given, bytes })
    }

    /// Signs.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn sign(&self, key: &Key, request: &Unsigned<'_>, moment: Moment) -> Result<Signature, SigningError> {
        let (path, query) = match request.target.split_once('?') {
            Some((path, query)) => (path, query),
            None => (request.target, ""),
        };
        let mut text =
            Text { scheme: self, key, request, moment, path, query: query.to_owned(), signature: None };
        let mut last = None;
        for (name, template) in &self.query {
            if template.has(Part::Signature) {
                last = Some((name, template));
            } else {
                text.append(name, template)?;
            }
        }
        let signed = Secret::new(self.sign.fill(|part| text.value(part))?);
        let algorithm = match self.digest {
            Digest::Sha256 => HMAC_SHA256,
            Digest::Sha512 => HMAC_SHA512,
        };
        let made = mac(algorithm, key.bytes.expose(), signed.expose());
        text.signature = Some(match self.encoding {
            Encoding::Hex => hex(&made),
            Encoding::Base64 => STANDARD.encode(&made),
            Encoding::Base64url => URL_SAFE_NO_PAD.encode(&made),
        });
        if let Some((name, template)) = last {
            text.append(name, template)?;
        }
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            let value = template.fill(|part| text.value(part))?;
            headers.push((name.clone(), String::from_utf8_lossy(&value).into_owned()));
        }
        Ok(Signature { target: text.target(), headers })
    }
}

impl Key {
    /// What must not come back: the key as it was given, and as it is where that is another.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.given].into_iter().chain(Some(&self.bytes).filter(|bytes| **bytes != self.given))
    }
}

/// What the parts of one request are.
struct Text<'a> {
    scheme: &'a Scheme,
    key: &'a Key,
    request: &'a Unsigned<'a>,
    moment: Moment,
    path: &'a str,
    /// With the members that were added.
    query: String,
    signature: Option<String>,
}

impl Text<'_> {
    fn value(&self, part: Part) -> Result<Cow<'_, [u8]>, SigningError> {
        let body = || self.request.body.ok_or(SigningError::Streamed);
        let owned = |text: String| Ok(Cow::Owned(text.into_bytes()));
        match part {
            Part::Method => Ok(self.request.method.as_bytes().into()),
            Part::Host => Ok(self.request.host.as_bytes().into()),
            Part::Path => Ok(self.path.as_bytes().into()),
            Part::Query => Ok(self.query.as_bytes().into()),
            Part::Target => owned(self.target()),
            Part::ContentType => {
                let found = self.request.headers.iter().find(|(name, _)| *name == "content-type");
                Ok(found.map_or("", |(_, value)| value).as_bytes().into())
            }
            Part::Body => Ok(body()?.into()),
            Part::BodySha256 => owned(hex(&digest_of(&SHA256, body()?))),
            Part::BodySha256Base64 => owned(STANDARD.encode(digest_of(&SHA256, body()?))),
            Part::BodySha512 => owned(hex(&digest_of(&SHA512, body()?))),
            Part::BodySha512Base64 => owned(STANDARD.encode(digest_of(&SHA512, body()?))),
            Part::Timestamp => owned(match self.scheme.timestamp {
                TimeFormat::Seconds => self.moment.now.as_seconds().to_string(),
                TimeFormat::Milliseconds => self.moment.now.as_micros().div_euclid(1000).to_string(),
                TimeFormat::Iso8601 => self.moment.now.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }),
            Part::Nonce => owned(hex(&self.moment.nonce)),
            Part::KeyId => Ok(self.key.id.as_deref().ok_or(SigningError::KeyId)?.as_bytes().into()),
            Part::Signature => Ok(self.signature.as_deref().unwrap_or_default().as_bytes().into()),
        }
    }

    fn append(&mut self, name: &str, template: &Template) -> Result<(), SigningError> {
        let value = template.fill(|part| self.value(part))?;
        if !self.query.is_empty() {
            self.query.push('&');
        }
        self.query.push_str(name);
        self.query.push('=');
        percent(&value, false, &mut self.query);
        Ok(())
    }

    /// As it was where nothing is added.
    fn target(&self) -> String {
        let bare = self.query.is_empty() && !self.request.target.contains('?');
        if bare { self.path.to_owned() } else { format!("{}?{}", self.path, self.query) }
    }
}

/// Of whichever alphabet, padded or not.
fn from_base64(text: &[u8]) -> Option<Secret> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    decode(&PLAIN).or_else(|| decode(&URL)).map(Secret::new)
}

fn from_hex(text: &[u8]) -> Option<Secret> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.chunks_exact(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Secret::new)
}

#[cfg(test)]
mod tests;
