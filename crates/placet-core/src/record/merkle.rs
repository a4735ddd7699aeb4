//! The append-only tree over all entries: hashing and proofs of RFC 6962 §2.1, stored as tiles of height 8 (C2SP
//! tlog-tiles).
//!
//! Tile (level, index) holds, one after the other, up to 256 hashes: those of the complete subtrees of 256^level leaves
//! from number 256 · index on. Full tiles never change; the rightmost of a level grows.
//!
//! Invariant: what is computed for a size depends on no tile content beyond that size, so tiles written ahead of a
//! checkpoint do no harm.

use crate::secret::sha256;
use std::{cell::RefCell, collections::HashMap};

mod verification;
pub use verification::{ProofRefused, verify_consistency, verify_inclusion};

/// A SHA-256 hash in the tree.
pub type Hash = [u8; 32];

/// How many hashes a full tile has.
pub const TILE_WIDTH: usize = 256;

/// Hash of a leaf: SHA-256(0x00 ∥ leaf).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// Hash of an inner node: SHA-256(0x01 ∥ left ∥ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Root of the tree without leaves.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// The place of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for leaf hashes, 1 for roots of full tiles of level 0, and so on; at most 7.
    pub level: u8,
    /// From the left, from 0.
    pub index: u64,
}

/// Where tiles come from.
pub trait TileReader {
    /// What can go wrong with reading.
    type Error;

    /// The hashes of a tile, 32 bytes each; `None` where there is no such tile. It may be wider than at some older size.
    ///
    /// # Errors
    /// Whatever the store says.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Why a tree operation did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError<E> {
    /// The store failed.
    #[error("a tile can't be read: {0}")]
    Read(E),
    /// A tile that the size needs is absent or too short.
    #[error("tile {} of level {} is absent or too short for the log's size", .0.index, .0.level)]
    Missing(TileId),
    /// Asked for something outside of the log.
    #[error("{asked} is outside of a log of size {size}")]
    Outside {
        /// The index or older size.
        asked: u64,
        /// The size.
        size: u64,
    },
}

/// The right edge of the tree: all that is needed to append and to know the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// For each level the hashes of its rightmost, not full tile.
    levels: Vec<Vec<Hash>>,
}

impl Frontier {
    /// Of the log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a log of `size` leaves, from its stored tiles.
    ///
    /// # Errors
    /// [`TreeError`] where a tile is missing or can't be read.
    pub fn load<R: TileReader>(size: u64, tiles: &R) -> Result<Self, TreeError<R::Error>> {
        let mut levels = Vec::new();
        let mut width = size;
        while width > 0 {
            let id = TileId { level: level_number(levels.len()), index: width / 256 };
            let partial = (width % 256) as usize;
            levels.push(if partial == 0 { Vec::new() } else { read_tile(tiles, id, partial)? });
            width /= 256;
        }
        Ok(Self { size, levels })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// For each level the hashes of its rightmost, not full tile.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[Hash]> {
        self.levels.iter().map(Vec::as_slice)
    }

    /// Appends leaves and returns the tiles to write: each one that became full and the rightmost of each level that
    /// grew. A tile replaces what is stored under its id.
    pub fn append(&mut self, leaf_hashes: impl IntoIterator<Item = Hash>) -> Vec<(TileId, Vec<u8>)> {
        let mut written = Vec::new();
        let mut grown = 0;
        for leaf in leaf_hashes {
            let levels = self.push(leaf, |id, tile| written.push((id, tile.concat())));
            grown = grown.max(levels);
        }
        let mut width = self.size;
        for (level, row) in self.levels.iter().enumerate().take(grown) {
            if !row.is_empty() {
                written.push((TileId { level: level_number(level), index: width / 256 }, row.concat()));
            }
            width /= 256;
        }
        written
    }

    /// Appends one leaf, hands each tile that became full to `full` and returns how many levels grew.
    pub(super) fn push(&mut self, leaf_hash: Hash, mut full: impl FnMut(TileId, &[Hash])) -> usize {
        let mut carry = leaf_hash;
        let mut level = 0;
        // How many hashes the level had before this one; the tile's index follows from it.
        let mut before = self.size;
        self.size = self.size.saturating_add(1);
        loop {
            if self.levels.len() <= level {
                self.levels.resize_with(level + 1, Vec::new);
            }
            let Some(row) = self.levels.get_mut(level) else { return level };
            row.push(carry);
            level += 1;
            if row.len() < TILE_WIDTH {
                return level;
            }
            carry = fold(row);
            full(TileId { level: level_number(level - 1), index: before / 256 }, row);
            row.clear();
            before /= 256;
        }
    }

    /// The root of the tree (RFC 6962 §2.1).
    pub fn root(&self) -> Hash {
        let mut root = None;
        for row in &self.levels {
            // The complete subtrees of a row, from the smallest, which is the rightmost.
            let mut end = row.len();
            while end > 0 {
                let start = end & (end - 1);
                let subtree = fold(row.get(start..end).unwrap_or_default());
                root = Some(root.map_or(subtree, |right| node_hash(&subtree, &right)));
                end = start;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

/// The root of the first `size` leaves.
///
/// # Errors
/// [`TreeError`] where a tile is missing or can't be read.
pub fn root<R: TileReader>(size: u64, tiles: &R) -> Result<Hash, TreeError<R::Error>> {
    Frontier::load(size, tiles).map(|frontier| frontier.root())
}

/// The hashes that lead from leaf `index` to the root of the first `size` leaves (RFC 6962 §2.1.1).
///
/// # Errors
/// [`TreeError`].
pub fn inclusion_proof<R: TileReader>(
    index: u64,
    size: u64,
    tiles: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if index >= size {
        return Err(TreeError::Outside { asked: index, size });
    }
    let tree = Tree::new(tiles);
    let mut proof = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(tree.range(middle, end)?);
            end = middle;
        } else {
            proof.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show that the first `old` leaves are a prefix of the first `new` (RFC 6962 §2.1.2). Empty for an
/// `old` of 0 and for equal sizes.
///
/// # Errors
/// [`TreeError`].
pub fn consistency_proof<R: TileReader>(
    old: u64,
    new: u64,
    tiles: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if old > new {
        return Err(TreeError::Outside { asked: old, size: new });
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(proof);
    }
    let tree = Tree::new(tiles);
    let (mut start, mut end) = (0, new);
    while end > old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(tree.range(middle, end)?);
            end = middle;
        } else {
            proof.push(tree.range(start, middle)?);
            start = middle;
        }
    }
    // The verifier knows the old root itself, and so this subtree where it is the whole old tree.
    if start > 0 {
        proof.push(tree.range(start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Tiles as a tree, each read once.
struct Tree<'a, R: TileReader> {
    tiles: &'a R,
    seen: RefCell<HashMap<TileId, Vec<Hash>>>,
}

impl<'a, R: TileReader> Tree<'a, R> {
    fn new(tiles: &'a R) -> Self {
        Self { tiles, seen: RefCell::default() }
    }

    /// Hash over the leaves from `start` to before `end`, where `start` is a multiple of the largest power of two that
    /// fits between them.
    fn range(&self, start: u64, end: u64) -> Result<Hash, TreeError<R::Error>> {
        let mut position = end;
        let mut hash: Option<Hash> = None;
        while position > start {
            let length = position - start;
            let step = length & length.wrapping_neg();
            position -= step;
            let left = self.subtree(step.trailing_zeros(), position)?;
            hash = Some(hash.map_or(left, |right| node_hash(&left, &right)));
        }
        Ok(hash.unwrap_or_else(empty_root))
    }

    /// Hash of the complete subtree of 2^height leaves from leaf `start` on.
    fn subtree(&self, height: u32, start: u64) -> Result<Hash, TreeError<R::Error>> {
        let level = height / 8;
        let first = start >> (8 * level);
        let count = 1usize << (height % 8);
        let id = TileId { level: level_number(level as usize), index: first / 256 };
        let from = (first % 256) as usize;
        let mut seen = self.seen.borrow_mut();
        let cached = seen.get(&id).is_some_and(|tile| tile.len() >= from + count);
        if !cached {
            seen.insert(id, read_tile(self.tiles, id, from + count)?);
        }
        let hashes =
            seen.get(&id).and_then(|tile| tile.get(from..from + count)).ok_or(TreeError::Missing(id))?;
        Ok(fold(hashes))
    }
}

/// The first `width` hashes of a tile.
fn read_tile<R: TileReader>(tiles: &R, id: TileId, width: usize) -> Result<Vec<Hash>, TreeError<R::Error>> {
    let bytes = tiles.tile(id.level, id.index).map_err(TreeError::Read)?.ok_or(TreeError::Missing(id))?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    match hashes.get(..width) {
        Some(hashes) if rest.is_empty() => Ok(hashes.to_vec()),
        Some(_) | None => Err(TreeError::Missing(id)),
    }
}

/// The root over a power of two of hashes.
fn fold(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        [left, right] => node_hash(left, right),
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&fold(left), &fold(right))
        }
    }
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (length - 1).checked_ilog2().unwrap_or(0)
}

fn level_number(level: usize) -> u8 {
    // 2^64 leaves have eight levels.
    u8::try_from(level).unwrap_or(u8::MAX)
}

#[cfg(test)]
pub(super) mod tests;
