//! Signatures of others: a compact JWS (RFC 7515 §3.1) that a client, a workload or an identity provider made, and the
//! public keys that it may be checked with (RFC 7517).
//!
//! The keys are always those that are known beforehand for whoever is said to have signed. What a header offers as a
//! key or as a place of keys (`jwk`, `jku`, `x5c`, `x5u`) is never looked at here; a proof of possession, which says of
//! nobody who signed, brings its key, and is read by [`crate::dpop`].
//!
//! Invariant: a key verifies by the algorithm of its own kind, whatever a header says; there is no symmetric
//! algorithm and no `none`; header and claims have one reading, without duplicate members.

pub mod claims;
mod jwk;
mod thumbprint;

pub(crate) use jwk::is_usual_rsa;
pub use jwk::{JwkError, KeySet, PublicKey};
pub use thumbprint::{NoThumbprint, Thumbprint};

use crate::json;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The longest text that is looked at, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// An algorithm that others may sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037; `Ed25519` of RFC 9864 is the same).
    EdDsa,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), with keys of 2048 to 8192 bits.
    Rs256,
    /// RSASSA-PSS with SHA-256 (RFC 7518 §3.5), with keys of 2048 to 8192 bits.
    Ps256,
}

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Ps256];

    /// As JOSE names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// From JOSE's name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|one| one.as_str() == name),
        }
    }
}

/// Why a text is no JWS that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not three parts of base64url with a JSON object in the first two, each with one reading.
    #[error("it is not a JWT: three parts of base64url, with JSON objects in the first two, no member twice")]
    Form,
    /// An algorithm that is not accepted.
    #[error("its `alg` is not one of EdDSA, ES256, RS256, PS256")]
    Algorithm,
    /// A header that has to be understood and is not (RFC 7515 §4.1.11).
    #[error("its header has `crit`, which is not understood")]
    Critical,
    /// The signer has no such key: none of this `kid`, or of this kind.
    #[error("the signer has no such key")]
    UnknownKey,
    /// None of the keys verifies it.
    #[error("its signature is wrong")]
    Signature,
}

/// A JWS in its parts. Nothing of it is believed before [`KeySet::verify`] or [`Jws::verify`] has answered.
#[derive(Debug)]
pub struct Jws<'t> {
    header: Map<String, Value>,
    algorithm: Algorithm,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Takes a compact JWS apart.
    ///
    /// # Errors
    /// [`JwsError::Form`], [`JwsError::Algorithm`], [`JwsError::Critical`].
    pub fn parse(text: &'t str) -> Result<Self, JwsError> {
        Self::parse_within(text, MAX_LENGTH)
    }

    /// The same for a kind that may be longer: up to `most` bytes.
    pub(crate) fn parse_within(text: &'t str, most: usize) -> Result<Self, JwsError> {
        if text.len() > most {
            return Err(JwsError::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Form)?;
        let header = object(header)?;
        if header.contains_key("crit") {
            return Err(JwsError::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.ok_or(JwsError::Algorithm)?;
        let named = |name| header.get(name).is_none_or(Value::is_string);
        if !named("typ") || !named("kid") {
            return Err(JwsError::Form);
        }
        let claims = object(claims)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwsError::Form)?;
        Ok(Self { header, algorithm, claims, signed, signature })
    }

    /// With what it says that it was signed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of the key that it says it was signed with.
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// The whole header, of which nothing is believed yet.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// Whether its `typ` is this media type, with or without `application/`, in any case (RFC 7515 §4.1.9); `None`
    /// where it has none.
    pub(crate) fn is_type(&self, wanted: &str) -> Option<bool> {
        let typ = self.header.get("typ").and_then(Value::as_str)?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").unwrap_or(&typ) == wanted)
    }

    /// What it claims, believed by nobody yet: only to find out whose keys to ask.
    pub fn unverified(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The claims, where this key signed them.
    ///
    /// # Errors
    /// [`JwsError::UnknownKey`] where the key is of another kind, [`JwsError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&Map<String, Value>, JwsError> {
        if !key.signs_with(self.algorithm) {
            return Err(JwsError::UnknownKey);
        }
        if key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature) {
            Ok(&self.claims)
        } else {
            Err(JwsError::Signature)
        }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, JwsError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Form)?;
    match json::parse(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(JwsError::Form),
    }
}

#[cfg(test)]
mod tests;
