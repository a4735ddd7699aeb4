//! The names of public keys (RFC 7638).
//!
//! Invariant: the same key has the same thumbprint, however it was sent.

use crate::secret::sha256;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The SHA-256 thumbprint of a public key (RFC 7638): its name wherever something is bound to it (`jkt`). Or that of a
/// certificate (RFC 8705 §3.1: `x5t#S256`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Of the required members of a JWK, in lexicographic order without white space (RFC 7638 §3.2, RFC 8037 §2).
    pub(crate) fn of(members: &str) -> Self {
        Self(sha256(&[members.as_bytes()]))
    }

    /// Of a certificate, in DER (RFC 8705 §3.1).
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(sha256(&[der]))
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// Text that is no thumbprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the thumbprint of a key: 43 characters of base64url (RFC 7638)")]
pub struct NoThumbprint;

impl FromStr for Thumbprint {
    type Err = NoThumbprint;

    fn from_str(text: &str) -> Result<Self, NoThumbprint> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoThumbprint)?;
        bytes.try_into().map(Self).map_err(|_| NoThumbprint)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::PublicKey;
    use serde_json::json;

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        let of = |jwk: serde_json::Value| {
            PublicKey::from_jwk(jwk.as_object().unwrap()).unwrap().thumbprint().to_string()
        };
        // RFC 8037 appendix A.2 and A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let named = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "any", "use": "sig"});
        assert_eq!(of(named), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        // RFC 9449 §4.1 and §6.1.
        let p256 = json!({"kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"});
        let text = of(p256);
        assert_eq!(text, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(text.parse::<Thumbprint>().unwrap().to_string(), text);
        for wrong in ["", "x", text.trim_start_matches("0"), &format!("{text}A")] {
            assert!(wrong.parse::<Thumbprint>().is_err(), "{wrong}");
        }
    }
}
