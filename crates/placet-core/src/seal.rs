//! Sealed secrets: how the vault and the bodies of the record lie on disk.
//!
//! A secret is encrypted under a data key of its own, and the data key under a root key from outside the database
//! (envelope encryption, AES-256-GCM-SIV, RFC 8452). Both are bound to the row they belong to, so that a sealed
//! value moved to another row or an older version put back does not open. Bodies of the record, of which there are
//! many a second, are sealed by one [`BodyKey`] directly.
//!
//! Invariant: plaintext and keys leave this module only through `open`; nothing here prints them, and no input
//! panics. Entropy comes from the caller and is used once.

mod rings;

pub use rings::{BodyKeys, Vault};

use crate::{
    id::EventId,
    secret::{Secret, sha256},
};
use aws_lc_rs::aead::{self, AES_256_GCM_SIV, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt::{self, Write as _};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const KEY: usize = 32;
const TAG: usize = 16;
const WRAPPED: usize = KEY + TAG;
const MAX_KEY_ID: usize = 64;

/// Why something sealed does not open. Says nothing of what is inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are not of the form that `to_bytes` writes: truncated, or of another version.
    #[error("not a sealed value of format {FORMAT}: truncated or damaged")]
    Format,
    /// Sealed by another key than the one at hand.
    #[error("sealed by the key `{sealed_by}`, not by `{key_id}`; configure the key that sealed it")]
    OtherKey {
        /// The key id inside the sealed value.
        sealed_by: String,
        /// The key that was to open it.
        key_id: String,
    },
    /// It was changed, belongs to another row or version, or the key has the same id but other bytes.
    #[error(
        "does not open: changed, moved from another row, or sealed by a key of the same id but other bytes"
    )]
    Refused,
    /// A key id that can't be used.
    #[error("a key id has 1 to {MAX_KEY_ID} printable ASCII characters without spaces")]
    KeyId,
}

/// The row that a sealed value is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The kind of row, for example `connection`.
    pub kind: &'a str,
    /// The id of the row.
    pub row: &'a str,
    /// The version of the row's secret; an older sealed value put back does not open.
    pub version: u64,
}

impl Aad<'_> {
    fn bytes(&self, domain: &str, key_id: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.kind.len() + self.row.len() + key_id.len());
        for part in [domain, key_id, self.kind, self.row] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.version.to_be_bytes());
        out
    }
}

/// Random bytes for one call of [`RootKey::seal`]: a data key and two nonces. Wiped on drop.
pub struct SealEntropy(Zeroizing<[u8; KEY + 2 * NONCE_LEN]>);

impl SealEntropy {
    /// How many random bytes one sealing takes.
    pub const LENGTH: usize = KEY + 2 * NONCE_LEN;

    /// Takes fresh random bytes; the caller keeps no copy.
    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn parts(&self) -> Option<(&[u8; KEY], [u8; NONCE_LEN], [u8; NONCE_LEN])> {
        let (key, rest) = self.0.split_first_chunk()?;
        let (wrap, rest) = rest.split_first_chunk()?;
        let body = rest.first_chunk()?;
        Some((key, *wrap, *body))
    }
}

impl fmt::Debug for SealEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealEntropy(…)")
    }
}

/// A sealed secret: safe to store, of no use without the root key and the row.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    key_id: String,
    wrap_nonce: [u8; NONCE_LEN],
    wrapped: [u8; WRAPPED],
    nonce: [u8; NONCE_LEN],
    sealed: Vec<u8>,
}

impl Sealed {
    /// The id of the root key that sealed it; rotation finds the rows still under an old key by it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// As stored. The first byte is the format, 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, u8::try_from(self.key_id.len()).unwrap_or(0)];
        for part in [self.key_id.as_bytes(), &self.wrap_nonce, &self.wrapped, &self.nonce, &self.sealed] {
            out.extend_from_slice(part);
        }
        out
    }

    /// From storage.
    ///
    /// # Errors
    /// [`SealError::Format`] for anything that [`Sealed::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        Self::read(bytes).ok_or(SealError::Format)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [format, length, rest @ ..] = bytes else { return None };
        if *format != FORMAT {
            return None;
        }
        let (key_id, rest) = rest.split_at_checked(usize::from(*length))?;
        let key_id = std::str::from_utf8(key_id).ok().filter(|id| is_key_id(id))?.to_owned();
        let (wrap_nonce, rest) = rest.split_first_chunk()?;
        let (wrapped, rest) = rest.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        (sealed.len() >= TAG).then(|| Self {
            key_id,
            wrap_nonce: *wrap_nonce,
            wrapped: *wrapped,
            nonce: *nonce,
            sealed: sealed.to_vec(),
        })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// A key from outside the database (file, environment, KMS) that seals the data keys of secrets.
pub struct RootKey {
    key_id: String,
    key: LessSafeKey,
}

impl RootKey {
    /// From 32 secret bytes and the id by which sealed values name this key.
    ///
    /// # Errors
    /// [`SealError::KeyId`] unless the id has 1 to 64 printable ASCII characters without spaces.
    pub fn new(key_id: String, bytes: [u8; 32]) -> Result<Self, SealError> {
        if !is_key_id(&key_id) {
            return Err(SealError::KeyId);
        }
        Ok(Self { key_id, key: aead_key(&Zeroizing::new(bytes))? })
    }

    /// From 32 secret bytes, named by the start of a digest of them: enough to tell keys apart, so that another key has
    /// another name, and it says nothing of 256 random bits.
    ///
    /// # Errors
    /// As [`RootKey::new`], but for none of this length.
    pub fn named_by_digest(bytes: [u8; 32]) -> Result<Self, SealError> {
        let digest = sha256(&[b"placet/vault-key-id/1\0", &bytes]);
        let id = digest.iter().take(8).fold(String::from("vault-"), |mut id, byte| {
            // Writing into a `String` can't fail.
            let _ = write!(id, "{byte:02x}");
            id
        });
        Self::new(id, bytes)
    }

    /// The id of this key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Seals `plaintext` for the row.
    ///
    /// # Errors
    /// [`SealError::Refused`] only where the plaintext is longer than the cipher allows (2^36 bytes).
    pub fn seal(&self, aad: &Aad<'_>, entropy: SealEntropy, plaintext: &[u8]) -> Result<Sealed, SealError> {
        let (data_key, wrap_nonce, nonce) = entropy.parts().ok_or(SealError::Format)?;
        let sealed = encrypt(&aead_key(data_key)?, nonce, &aad.bytes(SECRET_DOMAIN, ""), plaintext)?;
        let wrapped = self.wrap(aad, wrap_nonce, data_key)?;
        Ok(Sealed { key_id: self.key_id.clone(), wrap_nonce, wrapped, nonce, sealed })
    }

    /// Opens what was sealed by this key for this row.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] for another key's, [`SealError::Refused`] for another row's or a changed one.
    pub fn open(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        let data_key = self.unwrap_key(aad, sealed)?;
        let plaintext =
            decrypt(&aead_key(&data_key)?, sealed.nonce, &aad.bytes(SECRET_DOMAIN, ""), &sealed.sealed)?;
        Ok(Secret::new(plaintext))
    }

    /// Rotation: moves a sealed value from this key to `to` by sealing its data key anew, without opening the secret.
    /// `nonce` is fresh and random.
    ///
    /// # Errors
    /// As [`RootKey::open`].
    pub fn rewrap(
        &self,
        to: &Self,
        aad: &Aad<'_>,
        nonce: [u8; 12],
        sealed: &Sealed,
    ) -> Result<Sealed, SealError> {
        let data_key = self.unwrap_key(aad, sealed)?;
        let wrapped = to.wrap(aad, nonce, &data_key)?;
        Ok(Sealed { key_id: to.key_id.clone(), wrap_nonce: nonce, wrapped, ..sealed.clone() })
    }

    fn wrap(
        &self,
        aad: &Aad<'_>,
        nonce: [u8; NONCE_LEN],
        key: &[u8; KEY],
    ) -> Result<[u8; WRAPPED], SealError> {
        let wrapped = encrypt(&self.key, nonce, &aad.bytes(KEY_DOMAIN, &self.key_id), key)?;
        wrapped.try_into().map_err(|_| SealError::Format)
    }

    fn unwrap_key(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Zeroizing<[u8; KEY]>, SealError> {
        if sealed.key_id != self.key_id {
            let (sealed_by, key_id) = (sealed.key_id.clone(), self.key_id.clone());
            return Err(SealError::OtherKey { sealed_by, key_id });
        }
        let aad = aad.bytes(KEY_DOMAIN, &self.key_id);
        let bytes = Zeroizing::new(decrypt(&self.key, sealed.wrap_nonce, &aad, &sealed.wrapped)?);
        let mut key = Zeroizing::new([0; KEY]);
        for (slot, byte) in key.iter_mut().zip(bytes.iter()) {
            *slot = *byte;
        }
        Ok(key)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(…)")
    }
}

/// Seals the bodies of record entries: one key for many, a nonce for each, bound to the entry's id.
pub struct BodyKey {
    number: u32,
    key: LessSafeKey,
}

impl BodyKey {
    /// From 32 secret bytes and the number by which sealed bodies name this key.
    ///
    /// # Errors
    /// [`SealError::Format`] only where the cipher refuses the key, which it does for none of this length.
    pub fn new(number: u32, bytes: [u8; 32]) -> Result<Self, SealError> {
        Ok(Self { number, key: aead_key(&Zeroizing::new(bytes))? })
    }

    /// The number by which sealed bodies name this key.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The number of the key that sealed a body; `None` for bytes that are no sealed body.
    pub(crate) fn number_of(sealed: &[u8]) -> Option<u32> {
        BodyParts::read(sealed).map(|parts| parts.number)
    }

    /// Seals one body; `nonce` is fresh and random.
    ///
    /// # Errors
    /// [`SealError::Refused`] only where the body is longer than the cipher allows (2^36 bytes).
    pub fn seal(&self, entry: EventId, nonce: [u8; 12], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = encrypt(&self.key, nonce, &self.aad(entry), plaintext)?;
        let mut out = Vec::with_capacity(1 + 4 + NONCE_LEN + sealed.len());
        out.push(FORMAT);
        for part in [&self.number.to_be_bytes(), nonce.as_slice(), &sealed] {
            out.extend_from_slice(part);
        }
        Ok(out)
    }

    /// Opens the body of the entry.
    ///
    /// # Errors
    /// [`SealError`] for another key's, another entry's or a changed one.
    pub fn open(&self, entry: EventId, sealed: &[u8]) -> Result<Secret, SealError> {
        let parts = BodyParts::read(sealed).ok_or(SealError::Format)?;
        if parts.number != self.number {
            let (sealed_by, key_id) = (parts.number.to_string(), self.number.to_string());
            return Err(SealError::OtherKey { sealed_by, key_id });
        }
        decrypt(&self.key, parts.nonce, &self.aad(entry), parts.sealed).map(Secret::new)
    }

    fn aad(&self, entry: EventId) -> Vec<u8> {
        [BODY_DOMAIN.as_bytes(), &self.number.to_be_bytes(), &entry.as_u128().to_be_bytes()].concat()
    }
}

impl fmt::Debug for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BodyKey(…)")
    }
}

const SECRET_DOMAIN: &str = "placet/seal/1/secret";
const KEY_DOMAIN: &str = "placet/seal/1/key";
const BODY_DOMAIN: &str = "placet/seal/1/body";

struct BodyParts<'a> {
    number: u32,
    nonce: [u8; NONCE_LEN],
    sealed: &'a [u8],
}

impl<'a> BodyParts<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        (*format == FORMAT && sealed.len() >= TAG).then(|| Self {
            number: u32::from_be_bytes(*number),
            nonce: *nonce,
            sealed,
        })
    }
}

fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn aead_key(bytes: &[u8; KEY]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM_SIV, bytes).map(LessSafeKey::new).map_err(|_| SealError::Format)
}

fn encrypt(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    // Room for the tag, so that the plaintext is never copied to a second place by growth.
    let mut bytes = Vec::with_capacity(plaintext.len() + TAG);
    bytes.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), &mut bytes)
        .map_err(|_| SealError::Refused)?;
    Ok(bytes)
}

fn decrypt(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut bytes = sealed.to_vec();
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(nonce), aead::Aad::from(aad), &mut bytes)
        .map_err(|_| SealError::Refused)?
        .len();
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
