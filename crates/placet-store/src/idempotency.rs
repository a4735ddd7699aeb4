//! Idempotency keys: what came of a request that is made again.
//!
//! The scope is the caller's digest of (agent, user, connection, key), the digest that of the request. Answers are
//! sealed by the caller.
//!
//! Invariant: while a key lives it belongs to one request; a request that is in flight is never run a second time.

use crate::{
    actions::ActionState,
    fault::Fault,
    params,
    sql::{Keys, questions},
    statements,
    tx::{Query, Row, Tx},
};
use placet_core::{id::ActionId, time::Timestamp};

statements! {
    /// What a key is bound to.
    FIND = "SELECT digest, action, state, answer, expires FROM idempotency_keys WHERE scope = ?1";
    /// Binds it; what was there has expired, or another node was faster.
    BIND = "INSERT INTO idempotency_keys (scope, digest, action, state, answer, expires)
            VALUES (?1, ?2, ?3, 'pending', NULL, ?4)
            ON CONFLICT (scope) DO UPDATE SET digest = excluded.digest, action = excluded.action,
            state = excluded.state, answer = NULL, expires = excluded.expires
            WHERE idempotency_keys.expires <= ?5 AND idempotency_keys.state <> 'pending'";
    /// Stores what came of it.
    SETTLE = "UPDATE idempotency_keys SET state = ?3, answer = ?4 WHERE scope = ?1 AND action = ?2";
    /// Sealed answers, to be sealed anew.
    VAULTED = "SELECT scope, action, answer FROM idempotency_keys
               WHERE scope > ?1 AND answer IS NOT NULL ORDER BY scope LIMIT ?2";
    /// The same answer under another vault key.
    RESEAL = "UPDATE idempotency_keys SET answer = ?3 WHERE scope = ?1 AND answer = ?2";
    /// Drops what has expired. A key in flight stays until its action is concluded.
    PRUNE = "DELETE FROM idempotency_keys WHERE scope IN
             (SELECT scope FROM idempotency_keys WHERE expires <= ?1 AND state <> 'pending'
              ORDER BY expires LIMIT ?2)";
}

questions! {
    /// What keys are bound to.
    STORED[1] = "SELECT scope, digest, action, state, answer, expires FROM idempotency_keys WHERE scope IN (",
        "?", ", ", ")";
}

/// An idempotency key as a request brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Digest of (agent, user, connection, key).
    pub scope: [u8; 32],
    /// Digest of the request.
    pub digest: [u8; 32],
    /// When it may be forgotten.
    pub expires: Timestamp,
}

/// What came of the request the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Its action.
    pub action: ActionId,
    /// What became of that: never `Pending`; `Unknown` is replayed as unknown.
    pub state: ActionState,
    /// The sealed answer, where one was stored.
    pub answer: Option<Vec<u8>>,
}

/// A sealed answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The scope of its key.
    pub scope: Vec<u8>,
    /// The action that it is bound to.
    pub action: ActionId,
    /// Sealed by a vault key.
    pub sealed: Vec<u8>,
}

/// What a key is bound to.
#[derive(Debug, Clone)]
pub(crate) struct StoredKey {
    digest: [u8; 32],
    replay: Replay,
    expires: Timestamp,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Other,
    InFlight,
    Same(Replay),
}

/// The action that this key was used for, by the same request; none where it would be the first. Nothing is settled by it:
/// the commit point, or [`Store::first_use`](crate::Store::first_use), says what follows.
///
/// # Errors
/// What the engine met.
pub fn action_of(query: &mut impl Query, key: &Key, now: Timestamp) -> Result<Option<ActionId>, Fault> {
    let stored = query.one(&FIND, &params![&key.scope], |row| read(row, 0))?;
    let lives = |stored: &StoredKey| stored.expires > now || stored.replay.state == ActionState::Pending;
    let same = stored.filter(|stored| stored.digest == key.digest && lives(stored));
    Ok(same.map(|stored| stored.replay.action))
}

/// Drops up to `limit` keys that expired; answers how many.
///
/// # Errors
/// What the engine met.
pub fn prune(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PRUNE, &params![now, limit])
}

/// Up to `limit` sealed answers behind the scope `after`: for sealing them anew without opening them.
///
/// # Errors
/// [`Fault`].
pub fn vaulted(q: &mut impl Query, after: &[u8], limit: usize) -> Result<Vec<KeptAnswer>, Fault> {
    q.query(&VAULTED, &params![after, limit], |row| {
        Ok(KeptAnswer { scope: row.blob(0)?, action: row.id(1)?, sealed: row.blob(2)? })
    })
}

/// Puts the same answer, sealed by another vault key, where `old` is; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, scope: &[u8], old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL, &params![scope, old, new])? > 0)
}

pub(crate) fn find(tx: &mut Tx<'_>, key: &Key, now: Timestamp) -> Result<Found, Fault> {
    let stored = match tx.lease.fetched.keys.get(&key.scope) {
        Some(fetched) => fetched.clone(),
        None => tx.one(&FIND, &params![&key.scope], |row| read(row, 0))?,
    };
    Ok(match stored.map(|stored| (stored.digest, stored.replay, stored.expires)) {
        None => Found::Nothing,
        // Even past its time: a second run while the first is in flight would be a second effect.
        Some((digest, replay, _)) if replay.state == ActionState::Pending => {
            if digest == key.digest {
                Found::InFlight
            } else {
                Found::Other
            }
        }
        Some((_, _, expires)) if expires <= now => Found::Nothing,
        Some((digest, _, _)) if digest != key.digest => Found::Other,
        Some((_, replay, _)) => Found::Same(replay),
    })
}

/// What a row says whose columns begin at `at`.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<StoredKey, Fault> {
    let replay = Replay {
        action: row.id(at + 1)?,
        state: ActionState::parse(&row.text(at + 2)?)?,
        answer: row.optional_blob(at + 3)?,
    };
    Ok(StoredKey { digest: row.digest(at)?, replay, expires: row.time(at + 4)? })
}

/// For a group's needs: what keys are bound to.
pub(crate) fn stored() -> &'static Keys {
    &STORED
}

pub(crate) fn bind(tx: &mut Tx<'_>, key: &Key, action: ActionId, now: Timestamp) -> Result<(), Fault> {
    tx.lease.fetched.keys.remove(&key.scope);
    tx.later_one(&BIND, &params![&key.scope, &key.digest, action, key.expires, now])
}

pub(crate) fn settle(
    tx: &mut Tx<'_>,
    scope: &[u8],
    action: ActionId,
    state: ActionState,
    answer: Option<&[u8]>,
) -> Result<(), Fault> {
    if let Ok(scope) = scope.try_into() {
        let scope: [u8; 32] = scope;
        tx.lease.fetched.keys.remove(&scope);
    }
    tx.later(&SETTLE, &params![scope, action, state.as_str(), answer])
}
