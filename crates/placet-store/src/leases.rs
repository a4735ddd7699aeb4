//! Leases: which actions are under way under a limit on how many may be at the same time.
//!
//! A lease ends when its action is concluded, and by itself at the action's time limit, so that a crash gives it back.
//!
//! Invariant: a lease belongs to one action and one counter, and ends once: ending it again changes nothing.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{id::ActionId, time::Timestamp};
use std::time::Duration;

statements! {
    /// How many of a counter are live.
    COUNT = "SELECT COUNT(*) FROM leases WHERE counter = ?1 AND until_at > ?2";
    /// Those of a counter that are over.
    EXPIRE = "DELETE FROM leases WHERE counter = ?1 AND until_at <= ?2";
    /// A new one; an action that reaches a counter twice has one.
    TAKE = "INSERT INTO leases (counter, action, until_at) VALUES (?1, ?2, ?3) ON CONFLICT (counter, action) DO NOTHING";
    /// Ends one.
    RELEASE = "DELETE FROM leases WHERE counter = ?1 AND action = ?2";
    /// Drops those that are over.
    PRUNE = "DELETE FROM leases WHERE until_at <= ?1";
}

/// By how much clocks may differ: a lease that is over by one of them may be live by another.
const SKEW: Duration = Duration::from_secs(120);

/// How many leases of a counter are live at `at`.
pub(crate) fn count(query: &mut impl Query, counter: &str, at: Timestamp) -> Result<i64, Fault> {
    Ok(query.one(&COUNT, &params![counter, at], |row| row.integer(0))?.unwrap_or(0))
}

/// Takes a lease that ends by itself at `until`. What is long over goes.
pub(crate) fn take(
    tx: &mut Tx<'_>,
    counter: &str,
    action: ActionId,
    at: Timestamp,
    until: Timestamp,
) -> Result<(), Fault> {
    tx.later(&EXPIRE, &params![counter, at.minus(SKEW)])?;
    tx.later(&TAKE, &params![counter, action, until])
}

/// Ends an action's lease, if it is still there.
pub(crate) fn release(tx: &mut Tx<'_>, counter: &str, action: ActionId) -> Result<(), Fault> {
    tx.later(&RELEASE, &params![counter, action])
}

/// Drops the leases that were over at `before`.
pub(crate) fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Fault> {
    tx.execute(&PRUNE, &params![before])
}
