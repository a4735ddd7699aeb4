//! Public keys of credentials (COSE, RFC 9052 §7 and RFC 9053), of the three algorithms that are asked for.
//!
//! Invariant: a key verifies by the one algorithm that it names and that is of its kind; nothing else says which.

use super::Refused;
use crate::{cbor::Value, jose::is_usual_rsa};
use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256},
};
use std::fmt;

/// With what credentials sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialAlgorithm {
    /// ECDSA on P-256 with SHA-256: nearly all.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256: TPMs of older Windows.
    Rs256,
}

impl CredentialAlgorithm {
    /// Those that are asked for, the preferred one first.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// Its number in COSE's registry.
    pub const fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }
}

/// A credential's public key.
pub struct CredentialKey(Material);

enum Material {
    P256(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
    Rsa(PublicKeyComponents<Vec<u8>>),
}

const KIND: i64 = 1;
const ALGORITHM: i64 = 3;

impl CredentialKey {
    /// Reads a key: its kind, its algorithm, its parts, and nothing else (§6.5.1.1).
    ///
    /// # Errors
    /// [`Refused::Key`] for another kind, a pair of kind and algorithm that don't belong together, a point off the curve, a
    /// coordinate or a modulus that is too short or long; [`Refused::Cbor`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let value = Value::read(bytes)?;
        let pairs = value.as_map().ok_or(Refused::Key)?;
        let member = |label: i64| {
            let found = pairs.iter().find(|(key, _)| key.as_integer() == Some(label));
            found.map(|(_, value)| value).ok_or(Refused::Key)
        };
        let integer = |label| member(label)?.as_integer().ok_or(Refused::Key);
        let bytes = |label| member(label)?.as_bytes().ok_or(Refused::Key);
        let refused = |_| Refused::Key;
        let (material, members) = match (integer(KIND)?, integer(ALGORITHM)?) {
            (2, -7) if integer(-1)? == 1 => {
                let (x, y) = (bytes(-2)?, bytes(-3)?);
                if x.len() != 32 || y.len() != 32 {
                    return Err(Refused::Key);
                }
                let point = [&[4], x, y].concat();
                let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).map_err(refused)?;
                (Material::P256(key), 5)
            }
            (1, -8) if integer(-1)? == 6 => {
                let x = bytes(-2)?;
                // What parses keys takes other encodings as well.
                if x.len() != 32 {
                    return Err(Refused::Key);
                }
                let key = ParsedPublicKey::new(&ED25519, x).map_err(refused)?;
                (Material::Ed25519(key), 4)
            }
            (3, -257) => {
                let (n, e) = (bytes(-1)?.to_vec(), bytes(-2)?.to_vec());
                if !is_usual_rsa(&n, &e) {
                    return Err(Refused::Key);
                }
                (Material::Rsa(PublicKeyComponents { n, e }), 4)
            }
            _ => return Err(Refused::Key),
        };
        if pairs.len() == members { Ok(Self(material)) } else { Err(Refused::Key) }
    }

    /// Its algorithm.
    pub const fn algorithm(&self) -> CredentialAlgorithm {
        match self.0 {
            Material::P256(_) => CredentialAlgorithm::Es256,
            Material::Ed25519(_) => CredentialAlgorithm::EdDsa,
            Material::Rsa(_) => CredentialAlgorithm::Rs256,
        }
    }

    /// Whether `signature` is this key's over `message`; ES256 in ASN.1 (§6.5.5).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Material::P256(key) | Material::Ed25519(key) => key.verify_sig(message, signature).is_ok(),
            Material::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialKey({:?})", self.algorithm())
    }
}
