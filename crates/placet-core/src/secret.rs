//! Values that must never be printed: client secrets, tokens, keys, upstream credentials.
//!
//! [`Secret`] is wiped when dropped, compares in constant time and has no way out but [`Secret::expose`], whose
//! callers a test counts. Generated secrets are 256 random bits, so they are stored as a fast keyed hash
//! ([`KeyedHash`]); people's passwords go through [`crate::password`] instead.
//!
//! Invariant: no `Display`, no `Serialize`, and `Debug` prints nothing of the value.

use aws_lc_rs::{constant_time, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Visitor};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes that are wiped on drop and never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes; the caller keeps no copy.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// A generated secret as text: `prefix` and 256 bits in base64url. `entropy` comes from the server.
    pub fn generated(prefix: &str, entropy: [u8; 32]) -> Self {
        let entropy = Zeroizing::new(entropy);
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 43));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(entropy.as_slice(), &mut text);
        Self::new(text.as_bytes())
    }

    /// The bytes. Only for the places that hash, seal, inject or answer a secret.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are text.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// From a text, straight into bytes that are wiped. (A `Cow` inside an `Option` is owned by whatever reads it, and is not.)
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_string<E>(self, text: String) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
        }
        // Not `deserialize_string`: what is at hand is lent, and not first copied.
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}
impl Eq for Secret {}

/// The key under which generated secrets are hashed at rest; made once per installation.
pub struct HashKey(hmac::Key);

impl HashKey {
    /// From 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The hash that is stored in place of `secret`. `purpose` separates uses, so that a client secret's hash is
    /// never taken for a session's.
    pub fn hash(&self, purpose: &str, secret: &[u8]) -> KeyedHash {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(secret);
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        KeyedHash(out)
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

/// HMAC-SHA-256 of a generated secret; equality takes constant time.
#[derive(Clone, Copy)]
pub struct KeyedHash([u8; 32]);

impl KeyedHash {
    /// As stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From storage; `None` where the length is not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl PartialEq for KeyedHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}
impl Eq for KeyedHash {}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash(…)")
    }
}

/// SHA-256, for digests of things that are not secret.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_the_value() {
        let key = HashKey::new(&[1; 32]);
        let secret = Secret::generated("pcs_", [0xab; 32]);
        let text = format!("{secret:?} {key:?} {:?}", key.hash("client_secret", secret.expose()));
        assert_eq!(text, "Secret(…) HashKey(…) KeyedHash(…)");
    }

    #[test]
    fn what_a_secret_holds_is_wiped_when_it_is_dropped() {
        fn is_wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        is_wiped(&Secret::new("x").0);
    }

    #[test]
    fn a_secret_is_read_of_a_text_and_nothing_else() {
        let read = |text: &str| serde_json::from_str::<Option<Secret>>(text).ok();
        assert_eq!(read(r#""a\n\u0062""#), Some(Some(Secret::new("a\nb"))));
        assert_eq!(read(r#""plain""#), Some(Some(Secret::new("plain"))));
        assert_eq!(read("null"), Some(None));
        for other in ["7", "{}", "[1, 2]", "true"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn hashes_are_separated_by_purpose() {
        let key = HashKey::new(&[1; 32]);
        assert_ne!(key.hash("client_secret", b"x"), key.hash("session", b"x"));
        assert_ne!(key.hash("a", b"bc"), key.hash("ab", b"c"));
        assert_eq!(key.hash("a", b"bc"), key.hash("a", b"bc"));
    }
}
