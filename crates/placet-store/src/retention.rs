//! What goes when its time is over: bodies of the record, and rows that nothing can ask for any more.
//!
//! Each call takes a bounded number of rows and answers how many there were, so that whoever calls it again and again
//! never keeps the writer for longer than a few milliseconds.
//!
//! Invariant: no proof changes; what may still be given back, replayed, settled by hand or decided stays.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query as _, Tx},
};
use placet_core::{
    id::{ApprovalId, NodeId},
    time::Timestamp,
};

statements! {
    /// The nodes that have written.
    NODES = "SELECT node FROM record_heads ORDER BY node";
    /// Up to where a node's bodies have been erased.
    ERASED = "SELECT seq FROM record_erased WHERE node = ?1";
    /// The entries behind that.
    NEXT = "SELECT seq, at FROM record_entries WHERE node = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    /// Erases the bodies of some, but for those that are kept for a time of their own.
    ERASE = "DELETE FROM record_bodies WHERE node = ?1 AND seq > ?2 AND seq <= ?3 AND keep_until IS NULL";
    /// Erases bodies whose own time is over.
    ERASE_KEPT = "DELETE FROM record_bodies WHERE (node, seq) IN
                  (SELECT node, seq FROM record_bodies WHERE keep_until < ?1 ORDER BY keep_until LIMIT ?2)";
    /// Notes how far that has got.
    NOTE = "INSERT INTO record_erased (node, seq) VALUES (?1, ?2)
            ON CONFLICT (node) DO UPDATE SET seq = excluded.seq";
    /// Windows of limits that are over.
    COUNTERS = "DELETE FROM counters WHERE (counter, window_start) IN
                (SELECT counter, window_start FROM counters WHERE window_end < ?1 ORDER BY window_end LIMIT ?2)";
    /// Leases that have ended by themselves.
    LEASES = "DELETE FROM leases WHERE (counter, action) IN
              (SELECT counter, action FROM leases WHERE until_at < ?1 ORDER BY until_at LIMIT ?2)";
    /// Sessions that have ended by themselves.
    SESSIONS = "DELETE FROM sessions WHERE id IN
                (SELECT id FROM sessions WHERE expires < ?1 ORDER BY expires LIMIT ?2)";
    /// Actions with an outcome. Those that are `pending` or `unknown` stay.
    ACTIONS = "DELETE FROM actions WHERE id IN
               (SELECT id FROM actions WHERE concluded < ?1 AND state IN ('done', 'failed')
                ORDER BY concluded LIMIT ?2)";
    /// Approvals, with all that their people were shown. Ids sort by the time at which they were made.
    APPROVALS = "DELETE FROM approvals WHERE id IN
                 (SELECT a.id FROM approvals a WHERE a.id < ?1
                  AND NOT EXISTS (SELECT 1 FROM permits p WHERE p.approval = a.id) ORDER BY a.id LIMIT ?2)";
}

/// Erases the bodies of entries that are older than `before`, of at most `limit` entries of each node, but for those
/// that a policy keeps for a time of their own; answers how many entries were passed.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn erase_bodies(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let nodes: Vec<NodeId> = tx.query(&NODES, &[], |row| row.id(0))?;
    let mut passed = 0;
    for node in nodes {
        let erased = tx.one(&ERASED, &params![node], |row| row.count(0))?.unwrap_or(0);
        let next = tx.query(&NEXT, &params![node, erased, limit], |row| Ok((row.count(0)?, row.time(1)?)))?;
        // In the order of the chain: one that claims to be younger than it is only keeps those behind it.
        let due: Vec<u64> = next.into_iter().take_while(|(_, at)| *at < before).map(|(seq, _)| seq).collect();
        let Some(last) = due.last() else { continue };
        tx.execute(&ERASE, &params![node, erased, *last])?;
        tx.execute(&NOTE, &params![node, *last])?;
        passed += due.len() as u64;
    }
    Ok(passed)
}

/// Drops up to `limit` windows of limits that ended before `before`: nothing is given back to them any more.
///
/// # Errors
/// [`Fault`].
pub fn counters(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let dropped = tx.execute(&COUNTERS, &params![before, limit])?;
    if dropped > 0 {
        tx.lease.counters.clear();
    }
    Ok(dropped)
}

/// Erases up to `limit` bodies that a policy had kept until some time before `now`.
///
/// # Errors
/// [`Fault`].
pub fn erase_kept(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&ERASE_KEPT, &params![now, limit])
}

/// Drops up to `limit` leases that ended by themselves before `before`.
///
/// # Errors
/// [`Fault`].
pub fn leases(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&LEASES, &params![before, limit])
}

/// Drops up to `limit` sessions that ended by themselves before `before`.
///
/// # Errors
/// [`Fault`].
pub fn sessions(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&SESSIONS, &params![before, limit])
}

/// Drops up to `limit` actions whose outcome was recorded before `before`. The record has them.
///
/// # Errors
/// [`Fault`].
pub fn actions(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&ACTIONS, &params![before, limit])
}

/// Drops up to `limit` approvals that were asked for before `before`, which is longer ago than any can be open.
///
/// # Errors
/// [`Fault`].
pub fn approvals(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&APPROVALS, &params![ApprovalId::from_parts(before, [0; 10]), limit])
}
