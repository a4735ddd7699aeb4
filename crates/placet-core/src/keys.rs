//! The signing keys of an installation and the key set that others verify with (RFC 7517).
//!
//! Ed25519 (`EdDSA`, RFC 8037), or P-256 (`ES256`, RFC 7518 §3.4) for verifiers that know nothing else. A key's `kid`
//! is its RFC 7638 thumbprint, so the same key always has the same name.
//!
//! Invariant: private keys don't leave this module but to sign, and a key verifies by its own algorithm only,
//! whatever a token's header says.

use crate::refusal::{Code, Reason};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;

/// With what a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// Ed25519: the default.
    #[default]
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl KeyAlgorithm {
    /// As JOSE names it (RFC 7518 §3.1, RFC 8037 §3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    /// From JOSE's name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256].into_iter().find(|one| one.as_str() == name)
    }

    pub(crate) const fn jose(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }
}

/// A key that signs tokens.
pub struct SigningKey {
    kid: String,
    algorithm: KeyAlgorithm,
    /// The members of its JWK that are its public half.
    public_members: Value,
    private: Private,
    public: DecodingKey,
}

/// The private half, read once: reading it takes as long as signing does.
enum Private {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// Bytes that are no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 or P-256 private key in PKCS#8")]
pub struct KeyError;

impl SigningKey {
    /// From PKCS#8 bytes, which say of which algorithm the key is.
    ///
    /// # Errors
    /// [`KeyError`] where they are neither an Ed25519 nor a P-256 key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        match Ed25519KeyPair::from_pkcs8(pkcs8) {
            Ok(pair) => Self::ed25519(pair),
            Err(_) => Self::p256(pkcs8),
        }
    }

    /// Its name in token headers and in the key set.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// With what it signs.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The members of its JWK that are its public half.
    pub fn public_members(&self) -> &Value {
        &self.public_members
    }

    /// The compact serialization of a JWS (RFC 7515 §7.1) of `claims`, signed with this key; `header` says its
    /// algorithm.
    ///
    /// # Errors
    /// `internal` where something can't be written or signed.
    pub(crate) fn jws(&self, header: &impl Serialize, claims: &impl Serialize) -> Result<String, Reason> {
        let failed = || Reason::of(Code::Internal).detail("signing failed");
        let mut text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(header).map_err(|_| failed())?);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).map_err(|_| failed())?, &mut text);
        let signature = match &self.private {
            Private::Ed25519(pair) => pair.sign(text.as_bytes()),
            Private::P256(pair) => pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|_| failed())?,
        };
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }

    pub(crate) fn public(&self) -> &DecodingKey {
        &self.public
    }

    fn ed25519(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(Self {
            // RFC 8037 §2: the thumbprint's members in this order.
            kid: thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)),
            algorithm: KeyAlgorithm::EdDsa,
            private: Private::Ed25519(pair),
            public: DecodingKey::from_ed_components(&x).map_err(|_| KeyError)?,
            public_members: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
        })
    }

    fn p256(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| KeyError)?;
        // Uncompressed: 4, then both coordinates of 32 bytes.
        let (x, y) = match pair.public_key().as_ref().split_first() {
            Some((4, point)) if point.len() == 64 => point.split_at_checked(32).ok_or(KeyError)?,
            _ => return Err(KeyError),
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self {
            // RFC 7638 §3.2.
            kid: thumbprint(&format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)),
            algorithm: KeyAlgorithm::Es256,
            private: Private::P256(pair),
            public: DecodingKey::from_ec_components(&x, &y).map_err(|_| KeyError)?,
            public_members: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
        })
    }

    fn jwk(&self) -> Value {
        let mut jwk = self.public_members.clone();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("use".into(), "sig".into());
            members.insert("alg".into(), self.algorithm.as_str().into());
            members.insert("kid".into(), self.kid.clone().into());
        }
        jwk
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

    /// Whether a key of this name is in the ring.
    pub fn knows(&self, kid: &str) -> bool {
        self.find(kid).is_some()
    }

    pub(crate) fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.0.iter().find(|key| key.kid == kid)
    }

    /// The JWK set (RFC 7517 §5) for `/.well-known/jwks.json`.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(SigningKey::jwk).collect::<Vec<_>>()})
    }
}

fn thumbprint(members: &str) -> String {
    crate::jose::Thumbprint::of(members).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;

    fn p256() -> SigningKey {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()
    }

    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        // RFC 8037 appendix A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(
            thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn the_set_has_the_public_halves_and_nothing_else() {
        let ed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let ed = SigningKey::from_pkcs8(ed.as_ref()).unwrap();
        let ring = KeyRing::new(vec![p256(), ed]).unwrap();
        assert_eq!(ring.signer().algorithm(), KeyAlgorithm::Es256);
        let jwks = ring.jwks();
        let names = |at: usize| jwks["keys"][at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let sorted = |at| {
            let mut names = names(at);
            names.sort();
            names
        };
        assert_eq!(sorted(0), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(sorted(1), ["alg", "crv", "kid", "kty", "use", "x"]);
        assert_eq!(
            (jwks["keys"][0]["alg"].as_str(), jwks["keys"][1]["alg"].as_str()),
            (Some("ES256"), Some("EdDSA"))
        );
        assert!(ring.knows(jwks["keys"][1]["kid"].as_str().unwrap()) && !ring.knows(""));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bytes in [&b""[..], b"no key", &[0; 48], &[0x30; 100]] {
            assert_eq!(SigningKey::from_pkcs8(bytes).unwrap_err(), KeyError);
        }
    }
}
