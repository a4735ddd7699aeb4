//! Checkpoints (C2SP tlog-checkpoint): size and root of the whole log, as a signed note.
//!
//! Invariant: the origin line is the name of the key, so that a checkpoint of one log is never taken for another's.

use super::note::{self, NoteError, RecordSigner, VerifierKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Size and root of the log at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many leaves the log has.
    pub size: u64,
    /// The root of the tree over them (RFC 6962 §2.1).
    pub root: [u8; 32],
}

impl Checkpoint {
    /// The checkpoint as a signed note.
    pub fn sign(&self, signer: &RecordSigner) -> String {
        let origin = signer.public_key();
        signer.sign(&format!("{}\n{}\n{}\n", origin.name(), self.size, STANDARD.encode(self.root)))
    }

    /// Reads a checkpoint signed by the key. Extension lines, which Placet writes none of, are refused.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn parse_and_verify(text: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let lines = note::lines(key.verify(text)?);
        let [origin, size, root] = lines.as_slice() else {
            return Err(NoteError::Form("a checkpoint has three lines"));
        };
        if *origin != key.name() {
            return Err(NoteError::Form("a checkpoint of another log"));
        }
        Ok(Self {
            size: note::decimal(size).ok_or(NoteError::Form("a checkpoint's second line is its size"))?,
            root: note::hash(root).ok_or(NoteError::Form("a checkpoint's third line is a hash in base64"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_checkpoints_are_refused_even_when_signed() {
        let signer = RecordSigner::from_seed("placet.example/record", &[1; 32]).unwrap();
        let key = signer.public_key();
        let root = STANDARD.encode([7; 32]);
        let read = |text: &str| Checkpoint::parse_and_verify(&signer.sign(text), &key);
        assert!(read(&format!("placet.example/record\n5\n{root}\n")).is_ok());
        for text in [
            format!("other.example/record\n5\n{root}\n"),
            format!("placet.example/record\n05\n{root}\n"),
            format!("placet.example/record\n+5\n{root}\n"),
            format!("placet.example/record\n-5\n{root}\n"),
            format!("placet.example/record\n\n{root}\n"),
            format!("placet.example/record\n18446744073709551616\n{root}\n"),
            format!("placet.example/record\n5\n{root}\nextension\n"),
            format!("placet.example/record\n5\n{}\n", root.trim_end_matches('=')),
            format!("placet.example/record\n5\n{}\n", STANDARD.encode([7; 31])),
            "placet.example/record\n5\n".to_owned(),
            "\n".to_owned(),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_checkpoint_comes_back(size: u64, root: [u8; 32], other: [u8; 32]) {
            let signer = RecordSigner::from_seed("a/b", &root).unwrap();
            let checkpoint = Checkpoint { size, root };
            let text = checkpoint.sign(&signer);
            prop_assert_eq!(Checkpoint::parse_and_verify(&text, &signer.public_key()).unwrap(), checkpoint);
            if other != root {
                let stranger = RecordSigner::from_seed("a/b", &other).unwrap();
                prop_assert!(Checkpoint::parse_and_verify(&text, &stranger.public_key()).is_err());
            }
        }
    }
}
