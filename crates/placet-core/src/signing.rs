//! Requests that are signed by a key instead of carrying it: what is signed, by which key, and what is added to the
//! request so that its upstream can check that.
//!
//! [`scheme`] is for signatures that a service's definition describes, [`aws`] for Signature Version 4.
//!
//! Invariant: pure, and what is signed are the bytes that are sent. Keys are held as [`Secret`](crate::secret::Secret); no error, message or debug
//! output has one. Nothing is signed that can't be signed whole.

pub mod aws;
pub mod scheme;

use crate::time::Timestamp;
use aws_lc_rs::{digest, hmac};

/// The longest secret that is signed with, in bytes.
pub const MAX_KEY: usize = 4096;
/// The shortest: less would be guessed from one signature, and could not be told from innocent text in an answer.
pub const MIN_KEY: usize = 8;
/// The longest name of a key.
const MAX_KEY_ID: usize = 256;

/// What a request is signed at: a time, and what no other request has.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// Random.
    pub nonce: [u8; 16],
}

/// A request as it is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its `Host`.
    pub host: &'a str,
    /// Path and query, encoded.
    pub target: &'a str,
    /// All of its headers but `host`, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body; none where that is streamed.
    pub body: Option<&'a [u8]>,
}

/// What a signature adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Path and query as they are sent then.
    pub target: String,
    /// Headers besides those that were there, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// Why a request can't be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// Its body is not known beforehand.
    #[error("a body that is streamed can't be signed: it is not known when the request begins")]
    Streamed,
    /// Its target has more than one reading.
    #[error("the target can't be signed: what it says depends on who reads it")]
    Target,
    /// The scheme names a key and the connection has no name for it.
    #[error(
        "the service's `auth` sends the name of the key, and the connection has none: set its secret with `key_id`"
    )]
    KeyId,
}

/// Why what is kept of a connection is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the form that is needed.
    #[error("the connection's secret is not of the form that its service takes: {0}")]
    Form(&'static str),
    /// A key id that can't be sent.
    #[error("the id of the connection's key has 1 to {MAX_KEY_ID} visible ASCII characters")]
    KeyId,
    /// Too short, too long, or with what no key has.
    #[error("the connection's key has {MIN_KEY} to {MAX_KEY} bytes and no control characters: set it again")]
    Key,
    /// Not what the service says that it is encoded in.
    #[error("the connection's key is not encoded as its service says: set it again")]
    Encoding,
}

fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether bytes can be a key as people are given them: text on one line.
fn is_key(bytes: &[u8]) -> bool {
    (MIN_KEY..=MAX_KEY).contains(&bytes.len())
        && std::str::from_utf8(bytes)
            .is_ok_and(|text| !text.chars().any(char::is_control) && text.trim() == text)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digest_of(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> Vec<u8> {
    digest::digest(algorithm, bytes).as_ref().to_vec()
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

/// Everything but unreserved characters as numbers (RFC 3986 §2.3), and `/` where it is `kept`.
fn percent(bytes: &[u8], kept: bool, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (kept && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
