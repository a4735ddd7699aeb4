//! Signed notes (C2SP signed-note) with Ed25519: a short text, a blank line, and lines `— name base64(key hash ∥
//! signature)`. Checkpoints and heads are such notes, so that tools for transparency logs can check them.
//!
//! Invariant: a text is returned only where the given key signed it; a note that could be read in two ways is refused.

use crate::secret::sha256;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fmt, str::FromStr};

/// The algorithm byte of Ed25519 in a verifier key and in a key hash.
const ALGORITHM: u8 = 1;
const DASH: &str = "\u{2014} ";
const MAX_NOTE: usize = 64 * 1024;

/// Why a note, a key or a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not of the form that the standard asks for.
    #[error("a malformed signed note: {0}")]
    Form(&'static str),
    /// No signature by the pinned key.
    #[error("the note is not signed by `{0}`")]
    NotSigned(String),
    /// A signature in the pinned key's name that does not verify.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(String),
    /// A key that is not one.
    #[error("not a key: {0}")]
    Key(&'static str),
}

/// The key that signs heads and checkpoints. `Debug` prints its name only.
pub struct RecordSigner {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl RecordSigner {
    /// From a 32-byte Ed25519 seed. `name` is the origin line of checkpoints, for example `placet.example/record`: not
    /// empty, without spaces, control characters and `+`.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Key("a bad Ed25519 seed"))?;
        Self::from_pair(name, pair)
    }

    /// From PKCS#8 (RFC 8410); `name` as for [`RecordSigner::from_seed`].
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn from_pkcs8(name: &str, pkcs8: &[u8]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
            .map_err(|_| NoteError::Key("not an Ed25519 key in PKCS#8"))?;
        Self::from_pair(name, pair)
    }

    /// The public half, to be pinned by whoever verifies.
    pub fn public_key(&self) -> VerifierKey {
        self.key.clone()
    }

    /// Signs a text: lines without control characters, each ended by a newline.
    pub(super) fn sign(&self, text: &str) -> String {
        let signature = [self.key.hash.as_slice(), self.pair.sign(text.as_bytes()).as_ref()].concat();
        format!("{text}\n{DASH}{} {}\n", self.key.name, STANDARD.encode(signature))
    }

    fn from_pair(name: &str, pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        let key = VerifierKey::new(name, pair.public_key().as_ref())?;
        Ok(Self { pair, key })
    }
}

impl fmt::Debug for RecordSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordSigner({})", self.key.name)
    }
}

/// A public key with its name; as text `name+hash+base64`, the verifier key of C2SP signed-note.
#[derive(Clone)]
pub struct VerifierKey {
    name: String,
    hash: [u8; 4],
    public: [u8; 32],
    parsed: ParsedPublicKey,
}

impl VerifierKey {
    /// The name of the key: the origin of its checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks that the note is signed by this key and returns its text with the final newline. Signatures by other
    /// keys (witnesses) are passed over.
    pub(super) fn verify<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Form("longer than 64 KiB"));
        }
        if note.chars().any(|letter| letter.is_control() && letter != '\n') {
            return Err(NoteError::Form("a control character"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Form("no blank line before the signatures"))?;
        let (Some(text), Some(signatures)) = (note.get(..=split), note.get(split + 2..)) else {
            return Err(NoteError::Form("no blank line before the signatures"));
        };
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Form("no newline at the end"))?;
        let mut signed = false;
        for line in signatures.split('\n') {
            let malformed = NoteError::Form("a signature is not `— name base64`");
            let (name, signature) =
                line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(malformed.clone())?;
            let bytes = STANDARD.decode(signature).map_err(|_| malformed.clone())?;
            let (hash, signature) = bytes.split_first_chunk::<4>().ok_or(malformed.clone())?;
            if !is_name(name) || signature.is_empty() {
                return Err(malformed);
            }
            if name == self.name && *hash == self.hash {
                if signed {
                    return Err(NoteError::Form("two signatures by one key"));
                }
                self.parsed
                    .verify_sig(text.as_bytes(), signature)
                    .map_err(|_| NoteError::BadSignature(self.name.clone()))?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NoteError::NotSigned(self.name.clone())) }
    }

    fn new(name: &str, public: &[u8]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key("a name is not empty and has no spaces, control characters or `+`"));
        }
        let public: [u8; 32] =
            public.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let parsed = UnparsedPublicKey::new(&ED25519, public)
            .parse()
            .map_err(|_| NoteError::Key("not an Ed25519 key"))?;
        let [a, b, c, d, ..] = sha256(&[name.as_bytes(), b"\n", &[ALGORITHM], &public]);
        Ok(Self { name: name.to_owned(), hash: [a, b, c, d], public, parsed })
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let malformed = NoteError::Key("a verifier key is `name+hash+base64`");
        let (name, rest) = text.split_once('+').ok_or(malformed.clone())?;
        let (hash, key) = rest.split_once('+').ok_or(malformed.clone())?;
        let bytes = STANDARD.decode(key).map_err(|_| malformed.clone())?;
        let Some((&ALGORITHM, public)) = bytes.split_first() else {
            return Err(NoteError::Key("not an Ed25519 verifier key"));
        };
        let key = Self::new(name, public)?;
        if hex(key.hash) == hash {
            Ok(key)
        } else {
            Err(NoteError::Key("the hash is not that of the name and key"))
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ALGORITHM], self.public.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, hex(self.hash))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.public == other.public
    }
}
impl Eq for VerifierKey {}

/// The lines of a note's text.
pub(super) fn lines(text: &str) -> Vec<&str> {
    text.strip_suffix('\n').unwrap_or(text).split('\n').collect()
}

/// A number as notes write it: digits without a leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|value| value.to_string() == text)
}

/// 32 bytes in base64.
pub(super) fn hash(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control() || letter == '+')
}

fn hex(bytes: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of C2SP signed-note and of Go's `golang.org/x/mod/sumdb/note`.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_example_of_the_standard_verifies() {
        let key: VerifierKey = GO_KEY.parse().unwrap();
        assert_eq!(key.to_string(), GO_KEY);
        assert_eq!(lines(key.verify(GO_NOTE).unwrap()).len(), 2);
    }

    #[test]
    fn any_changed_byte_of_a_note_is_refused() {
        let key: VerifierKey = GO_KEY.parse().unwrap();
        for at in 0..GO_NOTE.len() {
            let mut bytes = GO_NOTE.as_bytes().to_vec();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(key.verify(&text).is_err(), "{at}");
            }
        }
        for short in (0..GO_NOTE.len()).filter_map(|end| GO_NOTE.get(..end)) {
            assert!(key.verify(short).is_err());
        }
        assert!(key.verify(&format!("{GO_NOTE}\n")).is_err());
    }

    #[test]
    fn other_signatures_are_passed_over_but_not_malformed_ones() {
        let signer = RecordSigner::from_seed("a", &[1; 32]).unwrap();
        let key = signer.public_key();
        let witness = RecordSigner::from_seed("w", &[2; 32]).unwrap();
        let note = signer.sign("x\n");
        let witnessed = format!("{note}{}", witness.sign("x\n").split_once("\n\n").unwrap().1);
        assert_eq!(key.verify(&witnessed).unwrap(), "x\n");
        assert_eq!(witness.public_key().verify(&note).unwrap_err(), NoteError::NotSigned("w".into()));
        assert!(key.verify(&format!("{note}{}", note.split_once("\n\n").unwrap().1)).is_err());
        assert!(key.verify(&format!("{note}\u{2014} w AAAA\n")).is_err());
        assert!(key.verify(&format!("{note}- w AAAAAAAA\n")).is_err());
        let twice = format!("{}\n{}", "x\n", note);
        assert!(key.verify(&twice).is_err());
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for text in [
            "",
            "a",
            "a+b",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumenn+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+AhpZ2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "PeterNeumann+c74f20a3+AQ==",
        ] {
            assert!(text.parse::<VerifierKey>().is_err(), "{text}");
        }
        for name in ["", "a b", "a+b", "a\n", "a\u{a0}b"] {
            assert!(RecordSigner::from_seed(name, &[0; 32]).is_err());
        }
    }

    #[test]
    fn both_forms_of_a_private_key_are_one_key() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let pkcs8 = pair.to_pkcs8().unwrap();
        let signer = RecordSigner::from_pkcs8("a", pkcs8.as_ref()).unwrap();
        assert_eq!(signer.public_key(), RecordSigner::from_seed("a", &[5; 32]).unwrap().public_key());
        assert_eq!(format!("{signer:?}"), "RecordSigner(a)");
        assert!(RecordSigner::from_pkcs8("a", &pkcs8.as_ref()[1..]).is_err());
    }
}
