//! Public keys of others as JWK sets (RFC 7517), read strictly.
//!
//! Invariant: no private and no symmetric key is ever kept; a set that has one is refused, so that nobody publishes
//! one and believes it harmless.

use super::{Algorithm, Jws, JwsError, Thumbprint};
use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA256,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value};
use std::fmt;

/// The most keys of a set.
pub(super) const MAX_KEYS: usize = 32;
/// The largest RSA modulus, in bytes.
const MAX_MODULUS: usize = 1024;
/// Members of private keys (RFC 7518 §6.2.2, §6.3.2) and of symmetric ones (§6.4.1).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why something is no key or key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// No object with a list `keys` of at most 32 objects.
    #[error("a key set is an object with a list `keys` of at most {MAX_KEYS} keys")]
    Form,
    /// A private or symmetric key.
    #[error("it has a private or symmetric key: publish only the public half, and make a new key")]
    Private,
    /// A key of a known kind that is none: a point off the curve, a short modulus, base64 that is none.
    #[error("it has a key that is not valid: Ed25519, P-256, or RSA of 2048 to 8192 bits")]
    Invalid,
    /// A kind that is not known, or a use that is no signature.
    #[error("it is no key that signs with EdDSA, ES256, RS256 or PS256")]
    Unsupported,
}

/// A public key that verifies signatures.
pub struct PublicKey {
    kid: Option<String>,
    /// The only algorithm that it says it is used with.
    only: Option<Algorithm>,
    material: Material,
    thumbprint: Thumbprint,
    /// The certificate that it is published with (`x5c`, RFC 7517 §4.7), which says of nobody who signed.
    certificate: Option<Thumbprint>,
}

enum Material {
    Ed25519(ParsedPublicKey),
    P256(ParsedPublicKey),
    Rsa(PublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    /// Reads one JWK.
    ///
    /// # Errors
    /// [`JwkError`].
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        if PRIVATE.iter().any(|member| jwk.contains_key(*member))
            || jwk.get("kty").and_then(Value::as_str) == Some("oct")
        {
            return Err(JwkError::Private);
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        // SPIFFE's bundles say `jwt-svid` for keys that sign tokens.
        if jwk.get("use").is_some_and(|used| used != "sig" && used != "jwt-svid") {
            return Err(JwkError::Unsupported);
        }
        let verifies = |ops: &Vec<Value>| ops.iter().any(|op| op == "verify");
        if jwk.get("key_ops").is_some_and(|ops| !ops.as_array().is_some_and(verifies)) {
            return Err(JwkError::Unsupported);
        }
        let only = match jwk.get("alg") {
            None => None,
            Some(name) => {
                let known = name.as_str().and_then(Algorithm::from_name);
                Some(known.ok_or(JwkError::Unsupported)?)
            }
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(JwkError::Invalid)?.to_owned()),
        };
        let (material, members) = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => {
                let x = bytes(text("x"))?;
                let key = ParsedPublicKey::new(&ED25519, &x).map_err(|_| JwkError::Invalid)?;
                // RFC 8037 §2: the thumbprint's members in this order.
                let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encoded(&x));
                (Material::Ed25519(key), members)
            }
            (Some("EC"), Some("P-256")) => {
                let (x, y) = (bytes(text("x"))?, bytes(text("y"))?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(JwkError::Invalid);
                }
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let key =
                    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).map_err(|_| JwkError::Invalid)?;
                let members =
                    format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encoded(&x), encoded(&y));
                (Material::P256(key), members)
            }
            (Some("RSA"), _) => {
                let (n, e) = (bytes(text("n"))?, bytes(text("e"))?);
                if !is_usual_rsa(&n, &e) {
                    return Err(JwkError::Invalid);
                }
                let members = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encoded(&e), encoded(&n));
                (Material::Rsa(PublicKeyComponents { n, e }), members)
            }
            _ => return Err(JwkError::Unsupported),
        };
        let certificate = match jwk.get("x5c") {
            None => None,
            Some(chain) => {
                let first = chain.as_array().and_then(|chain| chain.first()).and_then(Value::as_str);
                let der = STANDARD.decode(first.ok_or(JwkError::Invalid)?).map_err(|_| JwkError::Invalid)?;
                Some(Thumbprint::of_certificate(&der))
            }
        };
        let key = Self { kid, only: None, material, thumbprint: Thumbprint::of(&members), certificate };
        match only {
            Some(alg) if !key.signs_with(alg) => Err(JwkError::Invalid),
            only => Ok(Self { only, ..key }),
        }
    }

    /// Its name in its set.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Its thumbprint with SHA-256 (RFC 7638): the same key always has the same.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether it signs with this algorithm: of its own kind, and the one that it names where it names one.
    pub fn signs_with(&self, algorithm: Algorithm) -> bool {
        let kind = match self.material {
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::Rsa(_) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
        };
        kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Ed25519(key), Algorithm::EdDsa) | (Material::P256(key), Algorithm::Es256) => {
                key.verify_sig(message, signature).is_ok()
            }
            (Material::Rsa(key), Algorithm::Rs256) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            (Material::Rsa(key), Algorithm::Ps256) => {
                key.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

/// The keys of one signer.
#[derive(Debug, Default)]
pub struct KeySet(Vec<PublicKey>);

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). Keys of a kind or use that is not known here are left out, as §5 says.
    ///
    /// # Errors
    /// [`JwkError`], never `Unsupported`.
    pub fn parse(set: &Value) -> Result<Self, JwkError> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(JwkError::Form)?;
        if keys.len() > MAX_KEYS {
            return Err(JwkError::Form);
        }
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            match PublicKey::from_jwk(key.as_object().ok_or(JwkError::Form)?) {
                Ok(key) => known.push(key),
                Err(JwkError::Unsupported) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(known))
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Whether a certificate is one of these keys' (RFC 8705 §2.2): it has the key, and where that is published with a
    /// certificate (`x5c`) is that one.
    pub fn certifies(&self, key: Thumbprint, certificate: Thumbprint) -> bool {
        let is_it = |own: &PublicKey| {
            own.thumbprint == key && own.certificate.is_none_or(|published| published == certificate)
        };
        self.0.iter().any(is_it)
    }

    /// The claims, where one of these keys signed them: the one that the header names, else any of the right kind.
    ///
    /// # Errors
    /// [`JwsError::UnknownKey`], [`JwsError::Signature`].
    pub fn verify<'j>(&self, jws: &'j Jws<'_>) -> Result<&'j Map<String, Value>, JwsError> {
        let named = |key: &&PublicKey| jws.kid().is_none_or(|kid| key.kid() == Some(kid));
        let mut refused = JwsError::UnknownKey;
        for key in self.0.iter().filter(named) {
            match jws.verify(key) {
                Ok(claims) => return Ok(claims),
                Err(JwsError::Signature) => refused = JwsError::Signature,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

/// Whether a modulus and an exponent, without zeros in front, are those of a key that may be used.
pub(crate) fn is_usual_rsa(n: &[u8], e: &[u8]) -> bool {
    n.first().is_some_and(|first| *first != 0)
        && (256..=MAX_MODULUS).contains(&n.len())
        && e.first().is_some_and(|first| *first != 0)
        && e.len() <= 8
        // An even exponent is none, and with 1 everything is a signature.
        && e.last().is_some_and(|last| last % 2 == 1)
        && e != [1]
}

fn bytes(text: Option<&str>) -> Result<Vec<u8>, JwkError> {
    URL_SAFE_NO_PAD.decode(text.ok_or(JwkError::Invalid)?).map_err(|_| JwkError::Invalid)
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
