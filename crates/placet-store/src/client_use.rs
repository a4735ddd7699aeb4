//! When clients that nobody registered by hand were used last, by the day, so that those that fall out of use can end.
//!
//! Invariant: an agent that an administrator made has no such day and gets none; a day only ever moves on, and who is
//! given something on a day is not unused on it.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{grant::Grant, id::AgentId, time::Timestamp};
use std::{collections::HashMap, time::Duration};

/// Uses are noted by the day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

statements! {
    /// It is used on this day.
    NOTE = "UPDATE clients SET last_used = ?2 WHERE agent = ?1 AND last_used < ?2";
    /// Those of a page of agents that have such a day.
    PAGE = "SELECT agent, last_used FROM clients WHERE agent >= ?1 AND agent <= ?2 AND last_used IS NOT NULL";
    /// Begins the time of some that were there before uses were noted.
    BEGIN = "UPDATE clients SET last_used = ?1 WHERE agent IN
             (SELECT agent FROM clients WHERE last_used = 0 LIMIT ?2)";
    /// What has ended otherwise is not looked at again.
    LEAVE = "UPDATE clients SET last_used = NULL WHERE agent IN
             (SELECT c.agent FROM clients c JOIN agents a ON a.id = c.agent
              WHERE c.last_used < ?1 AND a.state = 'ended' ORDER BY c.last_used LIMIT ?2)";
    /// Those that were not used lately, and that nobody has stopped.
    UNUSED = "SELECT c.agent FROM clients c JOIN agents a ON a.id = c.agent JOIN grants g ON g.id = a.registration
              WHERE c.last_used > 0 AND c.last_used < ?1 AND a.state = 'active' AND g.revoked_at IS NULL
              ORDER BY c.last_used LIMIT ?2";
    /// The same of one.
    IS_UNUSED = "SELECT c.last_used FROM clients c JOIN agents a ON a.id = c.agent JOIN grants g ON g.id = a.registration
                 WHERE c.agent = ?1 AND c.last_used > 0 AND c.last_used < ?2
                 AND a.state = 'active' AND g.revoked_at IS NULL";
    /// The newest grant that an agent holds.
    NEWEST = "SELECT document FROM grants WHERE agent = ?1 ORDER BY id DESC LIMIT 1";
    /// What it said of itself is gone, and its URL is nobody's.
    FORGET = "DELETE FROM clients WHERE agent = ?1";
}

/// The beginning of the day of `now`, in UTC.
pub fn day(now: Timestamp) -> Timestamp {
    let seconds = now.as_seconds();
    Timestamp::from_seconds(seconds - seconds.rem_euclid(86_400))
}

/// What is unused at `now` was used last on a day before this, where `idle` may pass after that day's end.
pub fn before(now: Timestamp, idle: Duration) -> Timestamp {
    now.minus(idle).minus(DAY)
}

/// When one that was used last on this day ends if it stays unused; `None` where its time has not begun.
pub fn ends(last_used: Timestamp, idle: Duration) -> Option<Timestamp> {
    (last_used.as_micros() > 0).then(|| last_used.plus(DAY).plus(idle))
}

/// Notes that an agent is used on the day of `now`, if it is one of which that is noted.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn note(tx: &mut Tx<'_>, agent: AgentId, now: Timestamp) -> Result<(), Fault> {
    tx.execute(&NOTE, &params![agent, day(now)]).map(|_| ())
}

/// When those agents from `first` to `last` were used last of which that is noted.
///
/// # Errors
/// [`Fault`].
pub fn of_page(
    q: &mut impl Query,
    first: AgentId,
    last: AgentId,
) -> Result<HashMap<AgentId, Timestamp>, Fault> {
    let rows = q.query(&PAGE, &params![first, last], |row| Ok((row.id(0)?, row.time(1)?)))?;
    Ok(rows.into_iter().collect())
}

/// Lets the time of up to `limit` clients begin that were there before uses were noted.
///
/// # Errors
/// [`Fault`].
pub fn begin(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&BEGIN, &params![day(now), limit])
}

/// Leaves up to `limit` clients alone that were used last before `before` and have ended otherwise.
///
/// # Errors
/// [`Fault`].
pub fn leave(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&LEAVE, &params![before, limit])
}

/// Up to `limit` clients that were used last before `before`, as far as is noted. Those that an administrator has
/// suspended or whose registration was revoked stay what they are: nobody is to come back as somebody new.
///
/// # Errors
/// [`Fault`].
pub fn unused(q: &mut impl Query, before: Timestamp, limit: usize) -> Result<Vec<AgentId>, Fault> {
    q.query(&UNUSED, &params![before, limit], |row| row.id(0))
}

/// Whether that is so of this one now. One that somebody has given a grant since was used then, and that is noted.
///
/// # Errors
/// [`Fault`].
pub fn is_unused(tx: &mut Tx<'_>, agent: AgentId, before: Timestamp) -> Result<bool, Fault> {
    if tx.one(&IS_UNUSED, &params![agent, before], |row| row.time(0))?.is_none() {
        return Ok(false);
    }
    let newest = tx.one(&NEWEST, &params![agent], |row| row.json::<Grant>(0))?;
    match newest.map(|grant| day(grant.created)) {
        Some(given) if given >= before => {
            note(tx, agent, given)?;
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Forgets what an agent that has ended said of itself as a client; a URL that was its id may be another's.
///
/// # Errors
/// [`Fault`].
pub fn forget(tx: &mut Tx<'_>, agent: AgentId) -> Result<(), Fault> {
    tx.execute(&FORGET, &params![agent]).map(|_| ())
}
