//! Authorization requests that clients pushed (RFC 9126), by the keyed hash of their `request_uri`.
//!
//! Invariant: of several decisions on one request at once, one counts.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{id::AgentId, secret::KeyedHash, time::Timestamp};

statements! {
    /// A new one.
    INSERT = "INSERT INTO pushed_requests (hash, agent, query, pushed, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// One.
    FIND = "SELECT agent, query, pushed, expires, decided FROM pushed_requests WHERE hash = ?1";
    /// A person decided on it.
    DECIDE = "UPDATE pushed_requests SET decided = ?2 WHERE hash = ?1 AND decided IS NULL";
    /// Forgets some that nobody can be looking at any more.
    PURGE = "DELETE FROM pushed_requests WHERE hash IN
             (SELECT hash FROM pushed_requests WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// A request without its `request_uri`.
#[derive(Debug, Clone, PartialEq)]
pub struct PushedRequest {
    /// The client that pushed it, and the only one that can use it: the agent that it is, or would be if somebody
    /// confirmed it.
    pub agent: AgentId,
    /// The request, as a query.
    pub query: String,
    /// When it was pushed.
    pub pushed: Timestamp,
    /// Until when it can be presented.
    pub expires: Timestamp,
    /// When a person decided on it.
    pub decided: Option<Timestamp>,
}

/// Stores a new request.
///
/// # Errors
/// [`Fault::Conflict`] where the hash is known.
pub fn insert(tx: &mut Tx<'_>, hash: KeyedHash, request: &PushedRequest) -> Result<(), Fault> {
    let row = params![hash.as_bytes(), request.agent, &request.query, request.pushed, request.expires];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The request of this hash, also one that was decided or has expired.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, hash: KeyedHash) -> Result<Option<PushedRequest>, Fault> {
    q.one(&FIND, &params![hash.as_bytes()], |row| {
        Ok(PushedRequest {
            agent: row.id(0)?,
            query: row.text(1)?,
            pushed: row.time(2)?,
            expires: row.time(3)?,
            decided: row.optional_time(4)?,
        })
    })
}

/// Notes a person's decision, once: `false` where there was one before, or the request is gone.
///
/// # Errors
/// [`Fault`].
pub fn decide(tx: &mut Tx<'_>, hash: KeyedHash, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&DECIDE, &params![hash.as_bytes(), now])? > 0)
}

/// Forgets up to `limit` requests that had expired at `before`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![before, limit])
}
