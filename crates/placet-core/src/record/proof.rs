//! The document of `placet record prove`: one entry and all that is needed to see, offline and with the public key
//! alone, that it is in the log.
//!
//! Invariant: the key comes from whoever verifies; the document holds none.

use super::{
    checkpoint::Checkpoint,
    leaf::{Envelope, LeafError},
    merkle::{self, Hash, ProofRefused, TileReader, TreeError},
    note::{NoteError, VerifierKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The version of the document's form.
const VERSION: u8 = 1;

/// An entry's inclusion in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The bytes of the entry's envelope.
    pub leaf: Vec<u8>,
    /// Its number in the log, from 0.
    pub index: u64,
    /// The size of the log that the proof is for.
    pub size: u64,
    /// The hashes from the leaf to the root (RFC 6962 §2.1.1).
    pub hashes: Vec<Hash>,
    /// The signed checkpoint of that size.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the document that [`Proof::to_json`] writes.
    #[error("not a proof document: {0}")]
    Form(String),
    /// The checkpoint is malformed or not signed by the key.
    #[error("the checkpoint in the proof is refused: {0}")]
    Checkpoint(#[from] NoteError),
    /// The checkpoint is of another size than the proof.
    #[error("the proof is for a log of {size} entries, its checkpoint for {signed}")]
    OtherSize {
        /// The size the document states.
        size: u64,
        /// The size that is signed.
        signed: u64,
    },
    /// The hashes do not lead from the entry to the signed root.
    #[error(transparent)]
    Refused(#[from] ProofRefused),
    /// The leaf is in the log but no envelope that this version reads.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

impl Proof {
    /// Makes the proof for entry `index` from the tiles; `checkpoint` is the signed note for a log of `size`.
    ///
    /// # Errors
    /// [`TreeError`] where the index is outside of the log or a tile is missing.
    pub fn build<R: TileReader>(
        leaf: Vec<u8>,
        index: u64,
        size: u64,
        checkpoint: String,
        tiles: &R,
    ) -> Result<Self, TreeError<R::Error>> {
        Ok(Self { leaf, index, size, hashes: merkle::inclusion_proof(index, size, tiles)?, checkpoint })
    }

    /// Checks the proof under the pinned key and returns the entry that it proves.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, key: &VerifierKey) -> Result<Envelope, ProofError> {
        let checkpoint = Checkpoint::parse_and_verify(&self.checkpoint, key)?;
        if checkpoint.size != self.size {
            return Err(ProofError::OtherSize { size: self.size, signed: checkpoint.size });
        }
        let hash = merkle::leaf_hash(&self.leaf);
        merkle::verify_inclusion(&hash, self.index, self.size, &self.hashes, &checkpoint.root)?;
        Ok(Envelope::decode(&self.leaf)?)
    }

    /// The document as JSON text.
    pub fn to_json(&self) -> String {
        let document = Document {
            v: VERSION,
            leaf: STANDARD.encode(&self.leaf),
            index: self.index,
            size: self.size,
            hashes: self.hashes.iter().map(|hash| STANDARD.encode(hash)).collect(),
            checkpoint: self.checkpoint.clone(),
        };
        // A structure of numbers and texts always has a JSON form.
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`ProofError::Form`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofError> {
        let form = |error: &dyn std::fmt::Display| ProofError::Form(error.to_string());
        let value = crate::json::parse(bytes).map_err(|error| form(&error))?;
        let document: Document = serde_json::from_value(value).map_err(|error| form(&error))?;
        if document.v != VERSION {
            return Err(form(&format_args!("version {} is not known", document.v)));
        }
        let hash = |text: &String| {
            super::note::hash(text).ok_or_else(|| form(&format_args!("`{text}` is not a hash in base64")))
        };
        Ok(Self {
            leaf: STANDARD.decode(&document.leaf).map_err(|_| form(&"`leaf` is not base64"))?,
            index: document.index,
            size: document.size,
            hashes: document.hashes.iter().map(hash).collect::<Result<_, _>>()?,
            checkpoint: document.checkpoint,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u8,
    leaf: String,
    index: u64,
    size: u64,
    hashes: Vec<String>,
    checkpoint: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::EventId,
        record::{
            leaf::EntryType,
            merkle::{Frontier, tests::Tiles},
            note::RecordSigner,
        },
        time::Timestamp,
    };

    fn leaf(index: u64) -> Vec<u8> {
        let id = EventId::from_parts(Timestamp::from_seconds(index.cast_signed()), [1; 10]);
        Envelope::new(id, EntryType::ActionIntent, Timestamp::default()).encode()
    }

    fn proof(index: u64, size: u64, signer: &RecordSigner) -> Proof {
        let (mut frontier, mut tiles) = (Frontier::new(), Tiles::default());
        tiles.write(frontier.append((0..size).map(|index| merkle::leaf_hash(&leaf(index)))));
        let checkpoint = Checkpoint { size, root: frontier.root() }.sign(signer);
        Proof::build(leaf(index), index, size, checkpoint, &tiles).unwrap()
    }

    #[test]
    fn a_proof_is_read_back_and_verifies_with_the_public_key_alone() {
        let signer = RecordSigner::from_seed("a/b", &[1; 32]).unwrap();
        let key: VerifierKey = signer.public_key().to_string().parse().unwrap();
        for (index, size) in [(0, 1), (0, 2), (299, 300), (17, 300), (256, 257)] {
            let document = proof(index, size, &signer).to_json();
            let read = Proof::from_json(document.as_bytes()).unwrap();
            assert_eq!(read.verify(&key).unwrap().encode(), leaf(index));
        }
    }

    #[test]
    fn a_changed_proof_proves_nothing() {
        let signer = RecordSigner::from_seed("a/b", &[1; 32]).unwrap();
        let key = signer.public_key();
        let good = proof(17, 300, &signer);
        assert!(good.verify(&key).is_ok());
        let stranger = RecordSigner::from_seed("a/b", &[2; 32]).unwrap();
        assert!(good.verify(&stranger.public_key()).is_err());
        assert!(
            Proof { checkpoint: proof(17, 300, &stranger).checkpoint, ..good.clone() }.verify(&key).is_err()
        );
        assert!(Proof { leaf: leaf(18), ..good.clone() }.verify(&key).is_err());
        assert!(Proof { index: 18, ..good.clone() }.verify(&key).is_err());
        assert!(Proof { size: 299, ..good.clone() }.verify(&key).is_err());
        let mut hashes = good.hashes.clone();
        hashes.pop();
        assert!(Proof { hashes, ..good.clone() }.verify(&key).is_err());
        for at in 0..good.hashes.len() {
            let mut hashes = good.hashes.clone();
            hashes[at][0] ^= 1;
            assert!(Proof { hashes, ..good.clone() }.verify(&key).is_err());
        }
    }

    #[test]
    fn other_documents_are_refused() {
        let signer = RecordSigner::from_seed("a/b", &[1; 32]).unwrap();
        let good = proof(1, 3, &signer).to_json();
        for (from, to) in [
            ("\"v\": 1", "\"v\": 2"),
            ("\"index\": 1", "\"index\": -1"),
            ("\"index\": 1", "\"index\": 1, \"index\": 1"),
            ("\"leaf\": \"", "\"leaf\": \"!"),
            ("\"hashes\": [", "\"hashes\": [\"AAAA\","),
            ("\"size\"", "\"extent\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(matches!(Proof::from_json(bad.as_bytes()), Err(ProofError::Form(_))), "{bad}");
        }
    }
}
