//! Proof Key for Code Exchange (RFC 7636), `S256` only: with `plain` the request would carry the secret itself.
//!
//! Invariant: there is no code without a challenge, and no other method.

use crate::secret::sha256;
use aws_lc_rs::constant_time;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The only method (RFC 7636 §4.2).
pub const S256: &str = "S256";

/// A `code_challenge`: the SHA-256 of a verifier that only the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

/// Why a request has no usable challenge; `invalid_request` (RFC 7636 §4.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// There is none.
    #[error("send `code_challenge` with `code_challenge_method=S256` (RFC 7636)")]
    Missing,
    /// Another method, or none, which would mean `plain`.
    #[error("`code_challenge_method` has to be `S256`")]
    Method,
    /// Not what SHA-256 gives.
    #[error("`code_challenge` has to be 43 characters of base64url: the SHA-256 of the verifier")]
    Form,
}

impl Challenge {
    /// Reads what a request says.
    ///
    /// # Errors
    /// [`PkceError`].
    pub fn read(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let challenge = challenge.ok_or(PkceError::Missing)?;
        if method != Some(S256) {
            return Err(PkceError::Method);
        }
        let bytes = URL_SAFE_NO_PAD.decode(challenge).map_err(|_| PkceError::Form)?;
        bytes.try_into().map(Self).map_err(|_| PkceError::Form)
    }

    /// Whether this is the challenge of `verifier`: 43 to 128 unreserved characters (RFC 7636 §4.1, §4.6).
    pub fn fits(&self, verifier: &str) -> bool {
        let readable = (43..=128).contains(&verifier.len())
            && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        readable && constant_time::verify_slices_are_equal(&self.0, &sha256(&[verifier.as_bytes()])).is_ok()
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Serialize for Challenge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Challenge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(Some(&text), Some(S256)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_standard_fits() {
        let challenge = Challenge::read(Some(CHALLENGE), Some(S256)).unwrap();
        assert!(challenge.fits(VERIFIER));
        assert_eq!(challenge.to_string(), CHALLENGE);
        let stored = serde_json::to_string(&challenge).unwrap();
        assert_eq!(serde_json::from_str::<Challenge>(&stored).unwrap(), challenge);
    }

    #[test]
    fn whatever_else_does_not_fit() {
        let challenge = Challenge::read(Some(CHALLENGE), Some(S256)).unwrap();
        // The challenge itself would fit under `plain`.
        let padded = format!("{VERIFIER}=");
        let spaced = format!("{VERIFIER} ");
        let long = VERIFIER.repeat(3);
        for wrong in ["", CHALLENGE, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK", &padded, &spaced, &long] {
            assert!(!challenge.fits(wrong), "{wrong}");
        }
        // Short ones are no verifiers, whatever their hash.
        let short = Challenge(sha256(&[b"short"]));
        assert!(!short.fits("short"));
    }

    #[test]
    fn nothing_but_s256_is_a_challenge() {
        assert_eq!(Challenge::read(None, Some(S256)), Err(PkceError::Missing));
        assert_eq!(Challenge::read(None, None), Err(PkceError::Missing));
        for method in [None, Some("plain"), Some("s256"), Some("S512"), Some("")] {
            assert_eq!(Challenge::read(Some(CHALLENGE), method), Err(PkceError::Method), "{method:?}");
        }
        let (padded, long) = (format!("{CHALLENGE}="), format!("{CHALLENGE}A"));
        for wrong in ["", "a", VERIFIER, &padded, &long, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"] {
            // The verifier is base64url of 32 bytes too: it is a challenge, of something else.
            if wrong != VERIFIER {
                assert_eq!(Challenge::read(Some(wrong), Some(S256)), Err(PkceError::Form), "{wrong}");
            }
        }
    }
}
