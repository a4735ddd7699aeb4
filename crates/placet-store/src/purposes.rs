//! What is kept of tasks whose purpose actions are measured by: how often a judge has said no, and keyed hashes of the
//! values that actions of the task were answered with where a service marks these as trusted.
//!
//! Invariant: no value is stored, and what is kept of a task counts for that task alone.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{id::TaskId, time::Timestamp};

/// The most values that are kept of one task. What comes after them is not kept.
pub const MOST_VALUES: u64 = 2000;

statements! {
    /// How often a judge has said no to a task's actions.
    REFUSALS = "SELECT refusals FROM intent_refusals WHERE task = ?1";
    /// Once more.
    REFUSED = "INSERT INTO intent_refusals (task, refusals, expires) VALUES (?1, 1, ?2)
               ON CONFLICT (task) DO UPDATE SET refusals = intent_refusals.refusals + 1";
    /// How many values are kept of a task.
    COUNT = "SELECT COUNT(*) FROM returned_values WHERE task = ?1";
    /// Keeps one.
    KEEP = "INSERT INTO returned_values (task, value, expires) VALUES (?1, ?2, ?3)
            ON CONFLICT (task, value) DO NOTHING";
    /// Whether one is kept.
    IS_KEPT = "SELECT expires FROM returned_values WHERE task = ?1 AND value = ?2";
    /// Forgets counts of tasks for which nothing can be done any more.
    FORGET_REFUSALS = "DELETE FROM intent_refusals WHERE task IN
                       (SELECT task FROM intent_refusals WHERE expires < ?1 ORDER BY expires LIMIT ?2)";
    /// Forgets values of such tasks.
    FORGET_VALUES = "DELETE FROM returned_values WHERE (task, value) IN
                     (SELECT task, value FROM returned_values WHERE expires < ?1 ORDER BY expires LIMIT ?2)";
}

/// How often a judge has said no to actions of this task.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn refusals(query: &mut impl Query, task: TaskId) -> Result<u64, Fault> {
    Ok(query.one(&REFUSALS, &params![task], |row| row.count(0))?.unwrap_or(0))
}

/// It has said no once more. `expires`: when nothing can be done for the task any more.
///
/// # Errors
/// [`Fault`].
pub fn refused(tx: &mut Tx<'_>, task: TaskId, expires: Timestamp) -> Result<(), Fault> {
    tx.execute(&REFUSED, &params![task, expires]).map(drop)
}

/// Keeps values, by their hashes, as far as there is room.
///
/// # Errors
/// [`Fault`].
pub fn keep(tx: &mut Tx<'_>, task: TaskId, values: &[[u8; 32]], expires: Timestamp) -> Result<(), Fault> {
    let mut kept = tx.one(&COUNT, &params![task], |row| row.count(0))?.unwrap_or(0);
    for value in values {
        if kept >= MOST_VALUES {
            break;
        }
        kept += tx.execute(&KEEP, &params![task, value, expires])?;
    }
    Ok(())
}

/// Which of these values are kept of the task, each by its place.
///
/// # Errors
/// [`Fault`].
pub fn kept(query: &mut impl Query, task: TaskId, values: &[[u8; 32]]) -> Result<Vec<bool>, Fault> {
    let is_kept = |value: &[u8; 32]| {
        query.one(&IS_KEPT, &params![task, value], |row| row.time(0)).map(|found| found.is_some())
    };
    values.iter().map(is_kept).collect()
}

/// Drops up to `limit` counts of tasks that ended by themselves before `before`.
///
/// # Errors
/// [`Fault`].
pub fn forget_refusals(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&FORGET_REFUSALS, &params![before, limit])
}

/// Drops up to `limit` values of such tasks.
///
/// # Errors
/// [`Fault`].
pub fn forget_values(tx: &mut Tx<'_>, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&FORGET_VALUES, &params![before, limit])
}
