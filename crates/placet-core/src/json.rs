//! JSON the way Placet reads and writes it: strict on the way in, canonical on the way out.
//!
//! Two readers that take a different one of two equal keys see two different requests, so a document with a
//! duplicate key is no document here. What is hashed or signed is written in the one form of RFC 8785 (JCS).
//!
//! Invariant: what [`parse`] accepts has exactly one reading; numbers keep the text they were sent with.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Number, Value, value::RawValue};

mod read;

/// How deep arrays and objects may be nested, counting the outermost.
pub const MAX_DEPTH: usize = 64;

/// The largest magnitude of an integer in a canonical document: 2^53 (RFC 8785 §3.2.2.3, I-JSON).
pub const MAX_INTEGER: i64 = 1 << 53;

/// serde_json passes numbers and raw text through objects with such a key; an object from outside with one would be
/// taken for a number by the next reader.
const RESERVED_KEYS: &str = "$serde_json::private::";

/// Why a text is not accepted as JSON, or a value can't be written canonically.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8 (RFC 8259 §8.1).
    #[error("the document is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset in bytes of the first bad byte.
        at: usize,
    },
    /// Not JSON by the grammar of RFC 8259.
    #[error("not JSON at byte {at}: {what}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What was expected or is wrong.
        what: &'static str,
    },
    /// An object has a key twice, also where the two are escaped differently.
    #[error("the key `{key}` occurs twice in the object at `{path}`; write it once")]
    DuplicateKey {
        /// The key, unescaped.
        key: String,
        /// Where the object is: `$`, `$.a.b[3]`.
        path: String,
    },
    /// A key that this server's JSON library uses for itself.
    #[error("the key `{key}` in the object at `{path}` is reserved")]
    ReservedKey {
        /// The key.
        key: String,
        /// Where the object is.
        path: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the document is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A number in a canonical document that is not an integer within ±2^53 in its shortest form.
    #[error("the number `{text}` can't be written canonically: only integers within ±2^53 are")]
    Number {
        /// The number as it was written.
        text: String,
    },
}

/// Reads one JSON document. Refuses duplicate keys at any depth, bytes that are not UTF-8, trailing data and nesting
/// deeper than [`MAX_DEPTH`]; numbers keep their text.
///
/// # Errors
/// [`JsonError`], never `JsonError::Number`.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8 { at: error.valid_up_to() })?;
    read::document(text)
}

/// The canonical form of a value (RFC 8785): keys in order of their UTF-16 code units, no white space, minimal
/// escapes.
///
/// # Errors
/// `JsonError::Number` for a number other than an integer within ±2^53; `JsonError::TooDeep`.
pub fn canonical(value: &Value) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value, 0)?;
    Ok(out)
}

/// A JSON value of any form inside another structure, read as strictly as by [`parse`]. Only serde_json can read it,
/// and straight from text: not under `#[serde(flatten)]` or `untagged`, which are an error; read from a
/// `serde_json::Value`, duplicates are gone before this sees them. Paths in errors start at this value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        read::document(raw.get()).map(Self).map_err(de::Error::custom)
    }
}

/// A JSON object inside another structure, read as strictly as by [`parse`].
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct StrictMap(pub Map<String, Value>);

impl<'de> Deserialize<'de> for StrictMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(map) => Ok(Self(map)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(de::Error::custom("expected a JSON object"))
            }
        }
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), JsonError> {
    if depth >= MAX_DEPTH && (value.is_array() || value.is_object()) {
        return Err(JsonError::TooDeep);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number)?,
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth + 1)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (index, (key, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, key);
                out.push(b':');
                write_value(out, member, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_number(out: &mut Vec<u8>, number: &Number) -> Result<(), JsonError> {
    let text = number.to_string();
    let integer = number.as_i64().filter(|value| (-MAX_INTEGER..=MAX_INTEGER).contains(value));
    // `-0` and the like read as integers but are not how an integer is written.
    if integer.is_some_and(|value| value.to_string() == text) {
        out.extend_from_slice(text.as_bytes());
        Ok(())
    } else {
        Err(JsonError::Number { text })
    }
}

/// Writes a string with the escapes of RFC 8785 §3.2.2.2 and no others.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                for digit in [byte >> 4, byte & 15] {
                    out.push(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
                }
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
