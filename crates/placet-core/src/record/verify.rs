//! Checking a whole record: every entry, every chain, the tree, the signed heads and checkpoints.
//!
//! Entries are fed one after the other in the order of the log, then those that are not in the log yet; memory grows
//! only with the number of nodes and of full tiles. What is found: an entry changed, moved, left out, put in or
//! doubled; a truncated tail up to the last signed head; a log that was rolled back or rewritten, against checkpoints
//! kept outside.
//!
//! A backup that is put back begins a lineage of its own: it has the entries up to the backup in common with the record
//! that may go on beside it, then an entry `server.restored`, then others. A checkpoint of one says nothing of the other, so
//! [`Kept`] ones are of a lineage, and only that one's is compared with.
//!
//! What can't be found by this alone: entries newer than the last checkpoint, where a node's last entries *and* its head
//! are put back together to an older head that was signed too. They are in the log, and so covered, within a second.
//!
//! Invariant: trust comes from the pinned key and the checkpoints from outside only. A body that is gone is no fault; a
//! body that is there must be the one committed to.

use super::{
    body::Body,
    chain::{self, Head},
    checkpoint::Checkpoint,
    leaf::{Envelope, LeafError},
    merkle::{self, Frontier, Hash, TileId, TileReader},
    note::{NoteError, VerifierKey},
};
use crate::{
    id::{EventId, NodeId},
    secret::sha256,
};
use std::collections::BTreeMap;

/// A stored entry as it is fed to a [`Verifier`].
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number at the node, from 1.
    pub seq: u64,
    /// The bytes of its envelope.
    pub leaf: &'a [u8],
    /// The stored hash of the node's chain at this entry.
    pub chain_hash: [u8; 32],
    /// Its body, opened; `None` where there is none or it was erased.
    pub body: Option<&'a Body>,
}

/// A record without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The size of the log.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The head of every node, by node id; entries not in the log yet included.
    pub heads: Vec<Head>,
    /// The lineage among those of the [`Kept`] checkpoints, by its entry `server.restored`; `None` is the first one.
    pub lineage: Option<EventId>,
    /// With how many checkpoints from outside it was compared.
    pub compared: usize,
}

/// A checkpoint that was kept of one lineage of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The entry `server.restored` that the lineage begins with; `None` for the first one.
    pub lineage: Option<EventId>,
    /// The signed note.
    pub note: String,
}

/// Where the record is not what was signed, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Entries of a node are not numbered 1, 2, 3, …: one is missing, doubled or moved.
    #[error("node `{node}`: entry {found} is where entry {expected} should be: removed, doubled or moved")]
    Gap {
        /// The node.
        node: NodeId,
        /// The number that should come.
        expected: u64,
        /// The number that comes.
        found: u64,
    },
    /// The stored chain hash is not that of the entry and those before it.
    #[error("node `{node}`: entry {seq} does not fit its chain: it or one before it was changed or moved")]
    Chain {
        /// The node.
        node: NodeId,
        /// The entry's number.
        seq: u64,
    },
    /// The bytes of an entry are no envelope.
    #[error("node `{node}`: entry {seq}: {error}")]
    Leaf {
        /// The node.
        node: NodeId,
        /// The entry's number.
        seq: u64,
        /// What is wrong with it.
        error: LeafError,
    },
    /// A body is not the one that its entry commits to.
    #[error("node `{node}`: the body of entry {seq} is not the one that was recorded")]
    Body {
        /// The node.
        node: NodeId,
        /// The entry's number.
        seq: u64,
    },
    /// An entry of the log is fed after one that is not in the log yet.
    #[error("node `{node}`: entry {seq} is in the log, but comes after entries that are not")]
    Order {
        /// The node.
        node: NodeId,
        /// The entry's number.
        seq: u64,
    },
    /// A checkpoint or head that is malformed or not signed by the pinned key.
    #[error("{what} is refused: {error}")]
    Note {
        /// Which one.
        what: &'static str,
        /// Why.
        error: NoteError,
    },
    /// There are entries but no checkpoint over them.
    #[error("the log has {size} entries and no checkpoint")]
    NoCheckpoint {
        /// How many entries.
        size: u64,
    },
    /// The log is not as long as its checkpoint says.
    #[error(
        "the log has {found} entries, its checkpoint says {signed}: truncated, or written past the server"
    )]
    Size {
        /// How many entries there are.
        found: u64,
        /// How many are signed.
        signed: u64,
    },
    /// The entries do not have the root that the log's checkpoint says.
    #[error("the entries of the log do not have the root of its checkpoint of size {size}: changed or moved")]
    Root {
        /// The size.
        size: u64,
    },
    /// The log is shorter than it once was.
    #[error(
        "the log has {found} entries, a checkpoint kept outside says it had {signed}: truncated or rolled back"
    )]
    RolledBack {
        /// How many entries there are.
        found: u64,
        /// How many there were.
        signed: u64,
    },
    /// The log is not a continuation of what it once was.
    #[error("the first {size} entries are not those of a checkpoint kept outside: the log was rewritten")]
    Rewritten {
        /// The size of the checkpoint.
        size: u64,
    },
    /// A node has entries but no signed head, or the other way round, or two.
    #[error("node `{node}` has {heads} signed heads where one is needed")]
    Heads {
        /// The node.
        node: NodeId,
        /// How many were given.
        heads: usize,
    },
    /// The signed head is of another number than the last entry.
    #[error(
        "node `{node}` has entries up to {found}, its signed head says {signed}: truncated, or entries put in"
    )]
    Tail {
        /// The node.
        node: NodeId,
        /// The last entry's number.
        found: u64,
        /// The number in the head.
        signed: u64,
    },
    /// The signed head has another hash than the last entry.
    #[error("node `{node}`: the signed head is not that of its {seq} entries: changed or moved")]
    HeadHash {
        /// The node.
        node: NodeId,
        /// The number of the head.
        seq: u64,
    },
    /// A stored tile is not what the entries say, so that proofs made from it would fail.
    #[error("tile {} of level {} is not that of the entries", .0.index, .0.level)]
    Tile(TileId),
    /// A tile could not be read.
    #[error("tile {} of level {} can't be read: {error}", .tile.index, .tile.level)]
    Read {
        /// The tile.
        tile: TileId,
        /// What the store says.
        error: String,
    },
}

/// Takes a record entry by entry. The order: `new`, `entry` for the whole log, `tail` for what is not in the log yet,
/// perhaps `check_tiles`, `finish`.
#[derive(Debug)]
pub struct Verifier {
    key: VerifierKey,
    checkpoint: Option<Checkpoint>,
    /// Checkpoints from outside by size; a second root for a size is kept, and one of the two will be a fault.
    outside: Vec<Checkpoint>,
    kept: BTreeMap<Option<EventId>, Checkpoint>,
    /// Whether the record may be older than what was kept of it.
    may_be_older: bool,
    /// The root at each size that something was kept of.
    roots: BTreeMap<u64, Hash>,
    /// The last entry that a kept lineage begins with.
    lineage: Option<EventId>,
    frontier: Frontier,
    heads: BTreeMap<NodeId, Head>,
    /// SHA-256 of each full tile.
    full_tiles: BTreeMap<TileId, [u8; 32]>,
    in_tail: bool,
}

impl Verifier {
    /// Starts. `checkpoint` is the newest one stored with the record (`None` for a log without entries), `outside` are
    /// those that were kept elsewhere.
    ///
    /// # Errors
    /// [`Fault::Note`] for a checkpoint that the key did not sign; `Fault::RolledBack` where one from outside is of a
    /// larger log.
    pub fn new(key: VerifierKey, checkpoint: Option<&str>, outside: &[&str]) -> Result<Self, Fault> {
        let read = |what: &'static str, text: &str| {
            Checkpoint::parse_and_verify(text, &key).map_err(|error| Fault::Note { what, error })
        };
        let checkpoint = checkpoint.map(|text| read("the log's checkpoint", text)).transpose()?;
        let outside = outside
            .iter()
            .map(|text| read("a checkpoint kept outside", text))
            .collect::<Result<Vec<_>, _>>()?;
        let found = checkpoint.map_or(0, |checkpoint| checkpoint.size);
        if let Some(newer) = outside.iter().find(|kept| kept.size > found) {
            return Err(Fault::RolledBack { found, signed: newer.size });
        }
        let verifier = Self {
            key,
            checkpoint,
            outside,
            kept: BTreeMap::new(),
            may_be_older: false,
            roots: BTreeMap::new(),
            lineage: None,
            frontier: Frontier::new(),
            heads: BTreeMap::new(),
            full_tiles: BTreeMap::new(),
            in_tail: false,
        };
        verifier.compare_outside()?;
        Ok(verifier)
    }

    /// Compares with what was kept, too: with the checkpoint of the lineage that the entries turn out to be of, which is
    /// the one whose beginning comes last among them. One that nothing was kept of does not count: so an entry that
    /// somebody adds can't lead away from what was. Where the record `may_be_older`, as a backup may, a checkpoint of a
    /// larger log is not compared with, and it is no fault.
    ///
    /// # Errors
    /// [`Fault::Note`] for a checkpoint that the key did not sign.
    pub fn with_kept(mut self, kept: &[Kept], may_be_older: bool) -> Result<Self, Fault> {
        for kept in kept {
            let checkpoint = Checkpoint::parse_and_verify(&kept.note, &self.key);
            let checkpoint =
                checkpoint.map_err(|error| Fault::Note { what: "the checkpoint that was kept", error })?;
            self.kept.insert(kept.lineage, checkpoint);
        }
        self.may_be_older = may_be_older;
        self.note_root();
        Ok(self)
    }

    /// Takes the next entry of the log.
    ///
    /// # Errors
    /// The [`Fault`] at this entry.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        if self.in_tail {
            return Err(Fault::Order { node: entry.node, seq: entry.seq });
        }
        let leaf_hash = self.link(entry)?;
        let Self { frontier, full_tiles, .. } = self;
        frontier.push(leaf_hash, |id, tile| {
            full_tiles.insert(id, sha256(&[tile.as_flattened()]));
        });
        self.note_root();
        self.compare_outside()
    }

    /// Takes the next entry that a node has written and that is not in the log yet.
    ///
    /// # Errors
    /// The [`Fault`] at this entry.
    pub fn tail(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        self.in_tail = true;
        self.link(entry).map(|_| ())
    }

    /// Compares the stored tiles with the entries of the log.
    ///
    /// # Errors
    /// [`Fault::Tile`] or `Fault::Read`.
    pub fn check_tiles<R: TileReader>(&self, tiles: &R) -> Result<(), Fault>
    where
        R::Error: std::fmt::Display,
    {
        for (id, expected) in &self.full_tiles {
            let tile = tiles
                .tile(id.level, id.index)
                .map_err(|error| Fault::Read { tile: *id, error: error.to_string() })?;
            if tile.is_none_or(|tile| sha256(&[&tile]) != *expected) {
                return Err(Fault::Tile(*id));
            }
        }
        let id = |level: usize, width: u64| TileId {
            level: u8::try_from(level).unwrap_or(u8::MAX),
            index: width / 256,
        };
        let mut width = self.frontier.size();
        for (level, row) in self.frontier.rows().enumerate() {
            let id = id(level, width);
            if !row.is_empty() {
                let tile = tiles
                    .tile(id.level, id.index)
                    .map_err(|error| Fault::Read { tile: id, error: error.to_string() })?;
                if tile.is_none_or(|tile| !tile.starts_with(row.as_flattened()) || tile.len() % 32 != 0) {
                    return Err(Fault::Tile(id));
                }
            }
            width /= 256;
        }
        Ok(())
    }

    /// Ends with the signed heads of all nodes.
    ///
    /// # Errors
    /// The [`Fault`] that shows only at the end.
    pub fn finish<'a>(self, heads: impl IntoIterator<Item = &'a str>) -> Result<Verified, Fault> {
        let size = self.frontier.size();
        let root = self.frontier.root();
        match self.checkpoint {
            None if size > 0 => return Err(Fault::NoCheckpoint { size }),
            Some(checkpoint) if checkpoint.size != size => {
                return Err(Fault::Size { found: size, signed: checkpoint.size });
            }
            Some(checkpoint) if checkpoint.root != root => return Err(Fault::Root { size }),
            None | Some(_) => {}
        }
        let kept = self.compare_kept(size)?;
        let mut signed = BTreeMap::<NodeId, Vec<Head>>::new();
        for text in heads {
            let head = chain::verify_head(text, &self.key)
                .map_err(|error| Fault::Note { what: "the signed head of a node", error })?;
            signed.entry(head.node).or_default().push(head);
        }
        for node in self.heads.keys() {
            signed.entry(*node).or_default();
        }
        for (node, signed) in signed {
            let [head] = signed.as_slice() else { return Err(Fault::Heads { node, heads: signed.len() }) };
            let found = self.heads.get(&node).copied().unwrap_or_else(|| Head::genesis(node));
            if found.seq != head.seq {
                return Err(Fault::Tail { node, found: found.seq, signed: head.seq });
            }
            if found != *head {
                return Err(Fault::HeadHash { node, seq: head.seq });
            }
        }
        let compared = self.outside.len() + usize::from(kept);
        let (heads, lineage) = (self.heads.into_values().collect(), self.lineage);
        Ok(Verified { size, root, heads, lineage, compared })
    }

    /// Checks an entry against its node's chain and returns its leaf hash.
    fn link(&mut self, entry: &Entry<'_>) -> Result<Hash, Fault> {
        let (node, seq) = (entry.node, entry.seq);
        let head = self.heads.entry(node).or_insert_with(|| Head::genesis(node));
        let leaf_hash = merkle::leaf_hash(entry.leaf);
        let next = head.next(&leaf_hash);
        if next.seq != seq {
            return Err(Fault::Gap { node, expected: next.seq, found: seq });
        }
        if next.hash != entry.chain_hash {
            return Err(Fault::Chain { node, seq });
        }
        *head = next;
        let envelope = Envelope::decode(entry.leaf).map_err(|error| Fault::Leaf { node, seq, error })?;
        if entry.body.is_some_and(|body| envelope.commitment != Some(body.commitment())) {
            return Err(Fault::Body { node, seq });
        }
        let begun = Some(envelope.id);
        if self.kept.contains_key(&begun) {
            self.lineage = begun;
        }
        Ok(leaf_hash)
    }

    fn note_root(&mut self) {
        let size = self.frontier.size();
        if self.kept.values().any(|kept| kept.size == size) {
            self.roots.insert(size, self.frontier.root());
        }
    }

    /// Answers whether there was something to compare with.
    fn compare_kept(&self, found: u64) -> Result<bool, Fault> {
        match self.kept.get(&self.lineage) {
            None => Ok(false),
            Some(kept) if kept.size > found && self.may_be_older => Ok(false),
            Some(kept) if kept.size > found => Err(Fault::RolledBack { found, signed: kept.size }),
            Some(kept) if self.roots.get(&kept.size) == Some(&kept.root) => Ok(true),
            Some(kept) => Err(Fault::Rewritten { size: kept.size }),
        }
    }

    fn compare_outside(&self) -> Result<(), Fault> {
        let size = self.frontier.size();
        let mut due = self.outside.iter().filter(|kept| kept.size == size).peekable();
        if due.peek().is_none() {
            return Ok(());
        }
        let root = self.frontier.root();
        if due.all(|kept| kept.root == root) { Ok(()) } else { Err(Fault::Rewritten { size }) }
    }
}

#[cfg(test)]
mod tests;
