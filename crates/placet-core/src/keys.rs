//! The signing keys of an installation and the key set that others verify with (RFC 7517).
//!
//! Ed25519 (`EdDSA`, RFC 8037). A key's `kid` is its RFC 7638 thumbprint, so the same key always has the same name.
//!
//! Invariant: private keys don't leave this module but to sign.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::{Value, json};
use std::fmt;

/// A key that signs tokens.
pub struct SigningKey {
    kid: String,
    x: String,
    private: EncodingKey,
    public: DecodingKey,
}

/// A key file that holds no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS#8")]
pub struct KeyError;

impl SigningKey {
    /// From PKCS#8 bytes of an Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError`] where they are anything else.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        // RFC 8037 §2: the thumbprint's members in this order.
        let thumbprint =
            crate::secret::sha256(&[format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes()]);
        let public = DecodingKey::from_ed_components(&x).map_err(|_| KeyError)?;
        Ok(Self {
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            x,
            private: EncodingKey::from_ed_der(pkcs8),
            public,
        })
    }

    /// Its name in token headers and in the key set.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn private(&self) -> &EncodingKey {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// The keys of an installation: the first signs, all verify.
#[derive(Debug)]
pub struct KeyRing(Vec<SigningKey>);

impl KeyRing {
    /// A ring whose first key signs; `None` for an empty one.
    pub fn new(keys: Vec<SigningKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that signs.
    pub fn signer(&self) -> &SigningKey {
        #[expect(clippy::indexing_slicing, reason = "a ring has at least one key")]
        &self.0[0]
    }

    pub(crate) fn verifier(&self, kid: &str) -> Option<&DecodingKey> {
        self.0.iter().find(|key| key.kid == kid).map(|key| &key.public)
    }

    /// The JWK set (RFC 7517 §5) for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> Value {
        let key = |key: &SigningKey| json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": key.x});
        json!({"keys": self.0.iter().map(key).collect::<Vec<_>>()})
    }
}
