//! Checking proofs with nothing but hashes (RFC 9162 §2.1.3.2 and §2.1.4.2; the proofs are those of RFC 6962).
//!
//! Invariant: a proof with a hash too many or too few is refused.

use super::{Hash, empty_root, node_hash};

/// A proof that does not lead to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not lead to the root of the checkpoint")]
pub struct ProofRefused;

/// Checks that a leaf with this hash is number `index` in the log of this size and root.
///
/// # Errors
/// [`ProofRefused`].
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofRefused> {
    if index >= size {
        return Err(ProofRefused);
    }
    let (mut first, mut last) = (index, size - 1);
    let mut hash = *leaf_hash;
    for step in proof {
        if last == 0 {
            return Err(ProofRefused);
        }
        if first & 1 == 1 || first == last {
            hash = node_hash(step, &hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        first >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(ProofRefused) }
}

/// Checks that the log of size `old` is a prefix of the log of size `new`.
///
/// # Errors
/// [`ProofRefused`].
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofRefused> {
    let holds = if old > new {
        false
    } else if old == 0 {
        proof.is_empty() && *old_root == empty_root() && (new > 0 || new_root == old_root)
    } else if old == new {
        proof.is_empty() && old_root == new_root
    } else {
        leads_to_both(old, old_root, new, new_root, proof)
    };
    if holds { Ok(()) } else { Err(ProofRefused) }
}

fn leads_to_both(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    let (start, steps) = match (old.is_power_of_two(), proof) {
        (true, [_, ..]) => (old_root, proof),
        (false, [start, steps @ ..]) => (start, steps),
        (_, []) => return false,
    };
    let (mut first, mut last) = (old - 1, new - 1);
    while first & 1 == 1 {
        first >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*start, *start);
    for step in steps {
        if last == 0 {
            return false;
        }
        if first & 1 == 1 || first == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        first >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}
