//! Values of parameters where they become part of an upstream target.
//!
//! Invariant: a value that was let through stays inside its segment, also for an upstream that decodes once more.

use serde_json::Value;
use std::fmt::Write as _;

/// The text of a value that fills a variable of a path or resource.
pub(super) fn segment_text(value: &Value, slash: bool) -> Result<String, &'static str> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            let digits = text.strip_prefix('-').unwrap_or(&text);
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("it must be a string or a whole number");
            }
            text
        }
        _ => return Err("it must be a string or a whole number"),
    };
    check_segment(&text, slash)?;
    Ok(text)
}

/// Refuses what would not stay one segment, as it is and percent-decoded once.
pub(super) fn check_segment(text: &str, slash: bool) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    check_once(text, slash)?;
    if text.contains('%') {
        // Not UTF-8 once decoded: an overlong encoding of a dot or slash, for some decoders.
        let decoded = String::from_utf8(decode(text)).map_err(|_| "it is not UTF-8 when decoded")?;
        check_once(&decoded, slash)?;
    }
    Ok(())
}

fn check_once(text: &str, slash: bool) -> Result<(), &'static str> {
    if text.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    if text.contains('\\') {
        return Err("it has a backslash");
    }
    if is_dotted(text) {
        return Err("it has a `.` or `..` segment");
    }
    if !slash && text.contains('/') {
        return Err("it has a slash");
    }
    // Some upstreams fold them: `/x` would be `x` to them, and another resource here.
    if text.contains('/') && text.split('/').any(str::is_empty) {
        return Err("it has an empty segment");
    }
    Ok(())
}

/// Whether some segment of the text is `.` or `..`.
pub(super) fn is_dotted(text: &str) -> bool {
    text.split('/').any(|step| step == "." || step == "..")
}

/// The text of a value in a query.
pub(super) fn query_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(super) fn encode(text: &str, out: &mut String) {
    encode_but(text, "-._~", out);
}

/// As [`encode`] but keeps what may stand in a path segment (`pchar`, RFC 3986 §3.3): for text that the
/// administrator wrote.
pub(super) fn encode_literal(text: &str, out: &mut String) {
    encode_but(text, "-._~!$&'()*+,;=:@", out);
}

fn encode_but(text: &str, kept: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Undoes [`encode`]; `None` for a text that [`encode`] would not write.
pub(super) fn decode_encoded(text: &str) -> Option<String> {
    let decoded = String::from_utf8(decode(text)).ok()?;
    let mut again = String::with_capacity(text.len());
    encode(&decoded, &mut again);
    (again == text).then_some(decoded)
}

/// Percent-decodes once; a `%` without two digits stays.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = (*byte == b'%').then(|| digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2)))).flatten();
        if let Some(decoded) = pair.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            out.push(decoded);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    out
}
