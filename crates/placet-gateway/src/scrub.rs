//! Takes a connection's secret out of what an upstream answers, in whatever form it was echoed.
//!
//! Forms: as it is, base64 (both alphabets, padded or not, at any alignment, so also within `user:secret` and
//! `Bearer secret`), hex, UTF-16, and each of those again with any of its characters percent-encoded, form-encoded,
//! JSON-escaped or written as an HTML entity, also repeatedly. Letter case is ignored: header names come back
//! lower-cased. Everything is prepared when the secret is loaded; a miss costs one pass of a search automaton, and a
//! second pass only where the text holds an escape character.
//!
//! A secret under [`SHORT`] bytes would be found in innocent text, so it is replaced only where it stands as a whole
//! value: a whole JSON string or key, a whole header value, a whole body.
//!
//! Invariant: what this returns holds no form of the secret. The prepared forms are as secret as the secret and are
//! never printed.

mod stream;
mod walk;

pub(crate) use stream::StreamScrubber;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use placet_core::secret::Secret;
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What stands in place of a secret.
pub const SCRUBBED: &str = "[scrubbed]";

/// Secrets of fewer bytes are replaced only as whole values.
const SHORT: usize = 8;

/// Finds one secret in any of its forms. Prepared once per secret; cheap to clone.
#[derive(Clone)]
pub struct Scrubber(Arc<Forms>);

enum Forms {
    /// Nothing to find: an empty secret.
    None,
    /// A short secret: the values that are replaced whole.
    Whole(Vec<Vec<u8>>),
    Anywhere(Box<Anywhere>),
}

struct Anywhere {
    needles: Vec<Needle>,
    /// `None` where it could not be built (a secret beyond all bounds): then the slow way finds as much.
    automaton: Option<AhoCorasick>,
    /// Bytes with which an occurrence that is partly escaped can begin.
    starts: [bool; 256],
    /// Length of the shortest form; escaping only lengthens it.
    shortest: usize,
    /// Whether a `+` may stand for a space of the secret.
    has_space: bool,
}

/// One form, and whether the characters beside a match carry bits of the secret too (base64 off its alignment).
struct Needle {
    bytes: Vec<u8>,
    before: bool,
    after: bool,
}

impl Scrubber {
    /// Prepares the forms of `secret`.
    pub fn new(secret: &Secret) -> Self {
        Self::with_forms(secret, Vec::new())
    }

    /// The same with `whole`: what the secret is sent as, where that is more than the secret. A long secret is found
    /// inside of these anyway.
    pub(crate) fn with_forms(secret: &Secret, whole: Vec<Vec<u8>>) -> Self {
        let secret = secret.expose();
        Self(Arc::new(match secret.len() {
            0 => Forms::None,
            1..SHORT => Forms::Whole([whole_forms(secret), whole].concat()),
            _ => Forms::Anywhere(Box::new(Anywhere::of(&[secret]))),
        }))
    }

    /// One that finds each of several, none of which is short; one that finds nothing where there are none.
    pub(crate) fn of_all<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let secrets: Vec<&[u8]> = secrets.into_iter().map(Secret::expose).collect();
        Self(Arc::new(if secrets.is_empty() {
            Forms::None
        } else {
            Forms::Anywhere(Box::new(Anywhere::of(&secrets)))
        }))
    }

    /// `text` without the secret; `None` where it isn't in there.
    pub fn scrub_text(&self, text: &str) -> Option<String> {
        // Every form is ASCII, so what is left is UTF-8 again; should it not be, nothing of it is passed on.
        self.scrub_bytes(text.as_bytes())
            .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|_| SCRUBBED.to_owned()))
    }

    /// `bytes`, taken as one whole value, without the secret; `None` where it isn't in there.
    pub fn scrub_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match &*self.0 {
            Forms::None => None,
            Forms::Whole(forms) => {
                let value = bytes.trim_ascii();
                forms.iter().any(|form| walk::is_whole(form, value)).then(|| SCRUBBED.into())
            }
            Forms::Anywhere(forms) => forms.scrub(bytes),
        }
    }

    /// Whether a body can be scrubbed while it streams: not where the secret is found only as a whole value.
    pub(crate) fn streams(&self) -> bool {
        !matches!(&*self.0, Forms::Whole(_))
    }

    /// A body without the secret, otherwise byte for byte as it came. `json` says whether it is to be read as JSON,
    /// which finds a short secret where it is a whole string.
    pub(crate) fn scrub_body(&self, body: Bytes, json: bool) -> Bytes {
        if json
            && !self.streams()
            && let Ok(mut value) = serde_json::from_slice::<Value>(&body)
        {
            let before = value.clone();
            self.scrub_json(&mut value);
            if value == before {
                return body;
            }
            return serde_json::to_vec(&value)
                .map_or_else(|_| Bytes::from_static(SCRUBBED.as_bytes()), Bytes::from);
        }
        self.scrub_bytes(&body).map_or(body, Bytes::from)
    }

    /// Takes the secret out of all strings, keys and numbers of a decoded JSON value. Numbers that don't hold it keep
    /// their text.
    pub fn scrub_json(&self, value: &mut Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                if let Forms::Anywhere(forms) = &*self.0
                    && forms.scrub(number.as_str().as_bytes()).is_some()
                {
                    *value = Value::String(SCRUBBED.to_owned());
                }
            }
            Value::String(text) => {
                if let Some(scrubbed) = self.scrub_text(text) {
                    *text = scrubbed;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_json(item)),
            Value::Object(members) => {
                if members.keys().any(|key| self.scrub_text(key).is_some()) {
                    let old = std::mem::take(members);
                    members.extend(
                        old.into_iter().map(|(key, item)| (self.scrub_text(&key).unwrap_or(key), item)),
                    );
                }
                members.values_mut().for_each(|item| self.scrub_json(item));
            }
        }
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber(…)")
    }
}

impl Anywhere {
    fn of(secrets: &[&[u8]]) -> Self {
        let needles: Vec<Needle> = secrets.iter().flat_map(|secret| needles(secret)).collect();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(needles.iter().map(|needle| &needle.bytes))
            .ok();
        let has_space = secrets.iter().any(|secret| secret.contains(&b' '));
        let mut starts = [false; 256];
        let firsts = needles.iter().filter_map(|needle| needle.bytes.first());
        let firsts = firsts.flat_map(|b| [b.to_ascii_lowercase(), b.to_ascii_uppercase()]);
        for byte in firsts.chain(*b"%\\&") {
            if let Some(start) = starts.get_mut(usize::from(byte)) {
                *start = true;
            }
        }
        let shortest = needles.iter().map(|needle| needle.bytes.len()).min().unwrap_or_default();
        Self { needles, automaton, starts, shortest, has_space }
    }

    fn scrub(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut scrubbed = self.pass(bytes)?;
        // What a replacement leaves side by side could, for a secret like `x[scrub`, be the secret again.
        for _ in 0..2 {
            match self.pass(&scrubbed) {
                None => return Some(scrubbed),
                Some(again) => scrubbed = again,
            }
        }
        Some(if self.pass(SCRUBBED.as_bytes()).is_none() { SCRUBBED.into() } else { Vec::new() })
    }

    fn pass(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(bytes);
        if found.is_empty() { None } else { Some(replace(bytes, found)) }
    }

    /// Where the secret stands, in any form; ranges may overlap.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if bytes.len() < self.shortest {
            return found;
        }
        if let Some(automaton) = self.automaton.as_ref().filter(|automaton| automaton.is_match(bytes)) {
            // All, overlapping ones too: cutting out only the first would leave most of the second.
            for hit in automaton.find_overlapping_iter(bytes) {
                if let Some(needle) = self.needles.get(hit.pattern().as_usize()) {
                    found.push(needle.widen(bytes, hit.range()));
                }
            }
        }
        if self.automaton.is_none()
            || memchr::memchr3(b'%', b'\\', b'&', bytes).is_some()
            || (self.has_space && memchr::memchr(b'+', bytes).is_some())
        {
            self.walk(bytes, &mut found);
        }
        found
    }

    fn walk(&self, bytes: &[u8], found: &mut Vec<Range<usize>>) {
        let mut places = walk::Places::default();
        for (at, byte) in bytes.iter().enumerate() {
            if !self.starts.get(usize::from(*byte)).is_some_and(|&start| start) {
                continue;
            }
            for needle in &self.needles {
                if let Some(end) = walk::longest(&needle.bytes, bytes, at, &mut places) {
                    found.push(needle.widen(bytes, at..end));
                }
            }
        }
    }
}

impl Needle {
    fn widen(&self, bytes: &[u8], found: Range<usize>) -> Range<usize> {
        let is_base64 = |at: usize| bytes.get(at).is_some_and(is_base64);
        let before = found.start.checked_sub(1).filter(|&at| self.before && is_base64(at));
        let end = if self.after && is_base64(found.end) { found.end.saturating_add(1) } else { found.end };
        before.unwrap_or(found.start)..end
    }
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn needles(secret: &[u8]) -> Vec<Needle> {
    let plain = |bytes| Needle { bytes, before: false, after: false };
    let mut needles = vec![plain(secret.to_vec()), plain(hex(secret)), plain(utf16(secret))];
    for alignment in 0..3_usize {
        let input = [b"\0\0"[..].get(..alignment).unwrap_or_default(), secret].concat();
        let bits = input.len().saturating_mul(8);
        // Characters that hold bits of nothing but the secret.
        let inner = alignment.saturating_mul(8).div_ceil(6)..bits / 6;
        let mut last = None;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&input);
            let bytes = encoded.as_bytes().get(inner.clone()).unwrap_or_default().to_vec();
            if last.as_ref() != Some(&bytes) {
                needles.push(Needle {
                    bytes: bytes.clone(),
                    before: alignment != 0,
                    after: !bits.is_multiple_of(6),
                });
            }
            last = Some(bytes);
        }
    }
    needles
}

fn whole_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), [b"Bearer ", secret].concat(), hex(secret)];
    forms.push(hex(secret).to_ascii_uppercase());
    for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        forms.push(engine.encode(secret).into_bytes());
    }
    forms
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// The part that UTF-16 of both byte orders has in common: a zero between any two characters.
fn utf16(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = bytes.iter().flat_map(|&byte| [byte, 0]).collect();
    out.pop();
    out
}

fn replace(bytes: &[u8], mut found: Vec<Range<usize>>) -> Vec<u8> {
    found.sort_by_key(|range| range.start);
    let mut out = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for range in found {
        if range.start >= done {
            out.extend_from_slice(bytes.get(done..range.start).unwrap_or_default());
            out.extend_from_slice(SCRUBBED.as_bytes());
        }
        done = done.max(range.end);
    }
    out.extend_from_slice(bytes.get(done..).unwrap_or_default());
    out
}
