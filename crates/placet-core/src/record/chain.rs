//! The chain of one node: each entry's hash takes in the one before, so that none can be changed, moved or left out
//! without every later hash changing. The head is signed with every batch.
//!
//! Invariant: entries are numbered 1, 2, 3, … without a gap; number 0 is the empty chain.

use super::note::{self, NoteError, RecordSigner, VerifierKey};
use crate::{id::NodeId, secret::sha256};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// First line of a signed head. No checkpoint can have it: a signer's name has no space.
const HEAD_LINE: &str = "placet record head 1";
const GENESIS_DOMAIN: &[u8] = b"placet/record/chain/1/genesis\0";
const ENTRY_DOMAIN: &[u8] = b"placet/record/chain/1/entry\0";

/// The last entry of a node's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The node.
    pub node: NodeId,
    /// The number of the last entry; 0 where there is none.
    pub seq: u64,
    /// The chain's hash at that entry.
    pub hash: [u8; 32],
}

impl Head {
    /// The chain of a node without entries.
    pub fn genesis(node: NodeId) -> Self {
        Self { node, seq: 0, hash: sha256(&[GENESIS_DOMAIN, &node.as_u128().to_be_bytes()]) }
    }

    /// The head after one more entry, given its leaf hash ([`super::merkle::leaf_hash`]).
    #[must_use]
    pub fn next(&self, leaf_hash: &[u8; 32]) -> Self {
        let seq = self.seq.saturating_add(1);
        let node = self.node.as_u128().to_be_bytes();
        let hash = sha256(&[ENTRY_DOMAIN, &node, &seq.to_be_bytes(), &self.hash, leaf_hash]);
        Self { node: self.node, seq, hash }
    }
}

/// The head as a signed note.
pub fn sign_head(head: &Head, signer: &RecordSigner) -> String {
    let hash = STANDARD.encode(head.hash);
    signer.sign(&format!("{HEAD_LINE}\n{}\n{}\n{hash}\n", head.node, head.seq))
}

/// Reads a signed head.
///
/// # Errors
/// [`NoteError`] where it is malformed or not signed by the key.
pub fn verify_head(text: &str, key: &VerifierKey) -> Result<Head, NoteError> {
    let lines = note::lines(key.verify(text)?);
    let [first, node, seq, hash] = lines.as_slice() else {
        return Err(NoteError::Form("a head has four lines"));
    };
    if *first != HEAD_LINE {
        return Err(NoteError::Form("not a head of a node's chain"));
    }
    Ok(Head {
        node: node.parse().map_err(|_| NoteError::Form("a head's second line is the node's id"))?,
        seq: note::decimal(seq).ok_or(NoteError::Form("a head's third line is a number"))?,
        hash: note::hash(hash).ok_or(NoteError::Form("a head's last line is a hash in base64"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Checkpoint, time::Timestamp};

    fn node(byte: u8) -> NodeId {
        NodeId::from_parts(Timestamp::default(), [byte; 10])
    }

    #[test]
    fn the_hash_depends_on_node_number_past_and_leaf() {
        let head = Head::genesis(node(1)).next(&[1; 32]);
        assert_eq!(head.seq, 1);
        let others = [
            Head::genesis(node(2)).next(&[1; 32]),
            Head::genesis(node(1)).next(&[2; 32]),
            Head { seq: 1, ..Head::genesis(node(1)) }.next(&[1; 32]),
            Head { hash: [0; 32], ..Head::genesis(node(1)) }.next(&[1; 32]),
            head.next(&[1; 32]),
        ];
        assert!(others.iter().all(|other| other.hash != head.hash));
    }

    #[test]
    fn a_signed_head_comes_back_and_nothing_else_does() {
        let signer = RecordSigner::from_seed("placet.example/record", &[3; 32]).unwrap();
        let key = signer.public_key();
        let head = Head::genesis(node(1)).next(&[1; 32]);
        let text = sign_head(&head, &signer);
        assert_eq!(verify_head(&text, &key).unwrap(), head);
        for (from, to) in [("\n1\n", "\n2\n"), ("\n1\n", "\n01\n"), ("nod_0", "nod_1"), ("head 1", "head 2")]
        {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(verify_head(&changed, &key).is_err());
        }
        assert!(verify_head(&signer.sign("placet record head 1\nx\n1\nAA==\n"), &key).is_err());
        assert!(Checkpoint::parse_and_verify(&text, &key).is_err());
        let checkpoint = Checkpoint { size: 1, root: [0; 32] }.sign(&signer);
        assert!(verify_head(&checkpoint, &key).is_err());
        let stranger = RecordSigner::from_seed("placet.example/record", &[4; 32]).unwrap();
        assert!(verify_head(&text, &stranger.public_key()).is_err());
    }
}
