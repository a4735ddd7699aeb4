//! Reading the log: entries by their index, checkpoints, heads and proofs.
//!
//! All of it works on one snapshot; a verification that takes several calls keeps to the size that it began with, and
//! what is added meanwhile does no harm: the log only grows.
//!
//! Invariant: nothing beyond the newest checkpoint is shown as part of the log.

use super::sequence::unreadable;
use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Row},
};
use placet_core::{
    id::{EventId, NodeId},
    record::{
        Fault as RecordFault, Verifier,
        merkle::{self, Hash, TileReader},
    },
};
use std::cell::RefCell;

statements! {
    /// The log's size.
    SIZE = "SELECT size FROM record_checkpoints ORDER BY size DESC LIMIT 1";
    /// The newest checkpoint.
    NEWEST = "SELECT size, note FROM record_checkpoints ORDER BY size DESC LIMIT 1";
    /// The run that holds an index, or ends before it.
    RUN_OF = "SELECT first, node, first_seq, count FROM record_runs WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
    /// The run that holds a node's entry.
    RUN_OF_ENTRY = "SELECT first + ?2 - first_seq FROM record_runs
                    WHERE node = ?1 AND first_seq <= ?2 AND ?2 < first_seq + count";
    /// Entries of a node with their bodies.
    ENTRIES = "SELECT e.seq, e.id, e.leaf, e.leaf_hash, e.chain_hash, b.sealed FROM record_entries e
               LEFT JOIN record_bodies b ON b.node = e.node AND b.seq = e.seq
               WHERE e.node = ?1 AND e.seq >= ?2 AND e.seq < ?3 ORDER BY e.seq";
    /// Where an entry of this id is.
    PLACE = "SELECT node, seq FROM record_entries WHERE id = ?1";
    /// The heads as they were signed.
    HEADS = "SELECT node, seq, signature FROM record_heads ORDER BY node";
    /// The runs, in order.
    RUNS = "SELECT first, node, first_seq, count FROM record_runs WHERE first >= ?1 ORDER BY first LIMIT ?2";
    /// One tile.
    TILE = "SELECT hashes FROM record_tiles WHERE level = ?1 AND idx = ?2";
    /// Erases a body.
    ERASE = "DELETE FROM record_bodies WHERE node = ?1 AND seq = ?2";
}

/// The most that one call answers.
const LIMIT: u64 = 1000;

/// An entry of the record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its index in the log; none while it waits for the sequencer.
    pub index: Option<u64>,
    /// The node that wrote it.
    pub node: NodeId,
    /// Its number in the node's chain.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// The canonical bytes.
    pub leaf: Vec<u8>,
    /// Their hash in the tree, as stored.
    pub leaf_hash: Hash,
    /// The chain's hash with it, as stored.
    pub chain_hash: Hash,
    /// The sealed body; none where there was none, or it was erased.
    pub sealed: Option<Vec<u8>>,
}

/// A stretch of a node's chain in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// The index of its first entry.
    pub first: u64,
    /// The node.
    pub node: NodeId,
    /// The first entry's number in the node's chain.
    pub first_seq: u64,
    /// How many entries it has.
    pub count: u64,
}

/// A signed head as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// The node.
    pub node: NodeId,
    /// The number of its last entry.
    pub seq: u64,
    /// The signed note; it alone is evidence.
    pub note: String,
}

/// Where an entry is, and the hashes that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its index.
    pub index: u64,
    /// The path to the root (RFC 6962 §2.1.1).
    pub path: Vec<Hash>,
    /// The checkpoint that it is for.
    pub checkpoint: String,
}

/// How many entries the log has.
///
/// # Errors
/// What the engine met; so for everything here.
pub fn size(query: &mut impl Query) -> Result<u64, Fault> {
    Ok(query.one(&SIZE, &[], |row| row.count(0))?.unwrap_or(0))
}

/// The newest checkpoint: its size and the signed note. None before the first entry.
///
/// # Errors
/// What the engine met.
pub fn checkpoint(query: &mut impl Query) -> Result<Option<(u64, String)>, Fault> {
    query.one(&NEWEST, &[], |row| Ok((row.count(0)?, row.text(1)?)))
}

/// Up to `limit` (at most 1000) entries of the log from index `from` on, in order.
///
/// # Errors
/// What the engine met; [`Fault::Corrupt`] where an entry is missing.
pub fn entries(query: &mut impl Query, from: u64, limit: u64) -> Result<Vec<StoredEntry>, Fault> {
    let end = size(query)?.min(from.saturating_add(limit.min(LIMIT)));
    let mut all = Vec::new();
    let mut at = from;
    while at < end {
        let run = query.one(&RUN_OF, &params![at], read_run)?;
        let run = run.filter(|run| at < run.first + run.count);
        let run = run.ok_or_else(|| Fault::Corrupt(format!("no run of the record has index {at}")))?;
        let seq = run.first_seq + (at - run.first);
        let count = (run.first + run.count).min(end) - at;
        let found = query.query(&ENTRIES, &params![run.node, seq, seq + count], |row| {
            Ok(StoredEntry {
                index: Some(run.first + row.count(0)?.saturating_sub(run.first_seq)),
                node: run.node,
                seq: row.count(0)?,
                id: row.id(1)?,
                leaf: row.blob(2)?,
                leaf_hash: row.digest(3)?,
                chain_hash: row.digest(4)?,
                sealed: row.optional_blob(5)?,
            })
        })?;
        if found.len() as u64 != count {
            return Err(Fault::Corrupt(format!("entries from index {at} on are missing")));
        }
        all.extend(found);
        at += count;
    }
    Ok(all)
}

/// The index of the entry with this id; none where there is none, or it waits for the sequencer.
///
/// # Errors
/// What the engine met.
pub fn find(query: &mut impl Query, id: EventId) -> Result<Option<u64>, Fault> {
    match query.one(&PLACE, &params![id], |row| Ok((row.id(0)?, row.count(1)?)))? {
        Some((node, seq)) => index_of(query, node, seq),
        None => Ok(None),
    }
}

/// Shows that entry `index` is in the log, for its newest checkpoint; none where the log is not that long.
///
/// # Errors
/// What the engine met; [`Fault::Corrupt`] where tiles are missing.
pub fn prove(query: &mut impl Query, index: u64) -> Result<Option<Proof>, Fault> {
    let Some((size, checkpoint)) = self::checkpoint(query)?.filter(|(size, _)| index < *size) else {
        return Ok(None);
    };
    let path = merkle::inclusion_proof(index, size, &Tiles::new(query)).map_err(unreadable)?;
    Ok(Some(Proof { index, path, checkpoint }))
}

/// Shows that the log of size `old` is a beginning of the one of the newest checkpoint, which is answered with it; none
/// where the log is not that long.
///
/// # Errors
/// What the engine met; [`Fault::Corrupt`] where tiles are missing.
pub fn consistency(query: &mut impl Query, old: u64) -> Result<Option<(Vec<Hash>, String)>, Fault> {
    let Some((size, checkpoint)) = self::checkpoint(query)?.filter(|(size, _)| old <= *size) else {
        return Ok(None);
    };
    let path = merkle::consistency_proof(old, size, &Tiles::new(query)).map_err(unreadable)?;
    Ok(Some((path, checkpoint)))
}

/// The signed head of every node.
///
/// # Errors
/// What the engine met.
pub fn heads(query: &mut impl Query) -> Result<Vec<StoredHead>, Fault> {
    query
        .query(&HEADS, &[], |row| Ok(StoredHead { node: row.id(0)?, seq: row.count(1)?, note: row.text(2)? }))
}

/// Up to `limit` (at most 1000) runs whose first index is `from` or later, in order.
///
/// # Errors
/// What the engine met.
pub fn runs(query: &mut impl Query, from: u64, limit: u64) -> Result<Vec<StoredRun>, Fault> {
    query.query(&RUNS, &params![from, limit.min(LIMIT)], read_run)
}

/// Up to `limit` (at most 1000) entries of one node's chain from number `seq` on, in order, sequenced or not: what a
/// verification of the chain up to its signed head reads.
///
/// # Errors
/// What the engine met.
pub fn chain(query: &mut impl Query, node: NodeId, seq: u64, limit: u64) -> Result<Vec<StoredEntry>, Fault> {
    let end = seq.saturating_add(limit.min(LIMIT));
    query.query(&ENTRIES, &params![node, seq, end], |row| {
        Ok(StoredEntry {
            index: None,
            node,
            seq: row.count(0)?,
            id: row.id(1)?,
            leaf: row.blob(2)?,
            leaf_hash: row.digest(3)?,
            chain_hash: row.digest(4)?,
            sealed: row.optional_blob(5)?,
        })
    })
}

/// Compares the stored tiles with the entries that `verifier` was fed, so that proofs made from them hold.
///
/// # Errors
/// As [`Verifier::check_tiles`].
pub fn check_tiles(query: &mut impl Query, verifier: &Verifier) -> Result<(), RecordFault> {
    verifier.check_tiles(&Tiles::new(query))
}

/// Erases the body of an entry; answers whether there was one. No proof changes.
///
/// # Errors
/// What the engine met.
pub fn erase(tx: &mut crate::tx::Tx<'_>, id: EventId) -> Result<bool, Fault> {
    match tx.one(&PLACE, &params![id], |row| Ok((row.text(0)?, row.count(1)?)))? {
        Some((node, seq)) => Ok(tx.execute(&ERASE, &params![&node, seq])? > 0),
        None => Ok(false),
    }
}

fn index_of(query: &mut impl Query, node: NodeId, seq: u64) -> Result<Option<u64>, Fault> {
    query.one(&RUN_OF_ENTRY, &params![node, seq], |row| row.count(0))
}

fn read_run(row: &Row<'_>) -> Result<StoredRun, Fault> {
    Ok(StoredRun { first: row.count(0)?, node: row.id(1)?, first_seq: row.count(2)?, count: row.count(3)? })
}

/// Tiles from the database. The tree reads through a shared reference, a [`Query`] is a unique one.
pub(super) struct Tiles<'q, Q>(RefCell<&'q mut Q>);

impl<'q, Q: Query> Tiles<'q, Q> {
    pub(super) fn new(query: &'q mut Q) -> Self {
        Self(RefCell::new(query))
    }
}

impl<Q: Query> TileReader for Tiles<'_, Q> {
    type Error = Fault;

    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Fault> {
        self.0.borrow_mut().one(&TILE, &params![level, index], |row| row.blob(0))
    }
}
