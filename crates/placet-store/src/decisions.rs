//! Charged decisions: actions that a resource server performs itself, and how many actions a task has had.
//!
//! A charged decision is a row of `actions` that names its resource server; it is admitted by [`Store::admit_for`] and
//! concluded like any other.
//!
//! [`Store::admit_for`]: crate::Store::admit_for
//!
//! Invariant: nothing here changes anything.

use crate::{actions::ActionState, fault::Fault, params, statements, tx::Query};
use placet_core::id::{ActionId, ResourceServerId, TaskId};

statements! {
    /// Who performs an action, where a resource server does.
    PERFORMED_BY = "SELECT resource_server FROM actions WHERE id = ?1";
    /// The action that an idempotency key is bound to.
    OF_KEY = "SELECT action FROM idempotency_keys WHERE scope = ?1 AND state = 'pending'";
    /// What became of a task's actions.
    OF_TASK = "SELECT state, COUNT(*) FROM actions WHERE task = ?1 GROUP BY state ORDER BY state";
}

/// The resource server that performs the action of this id; `None` where there is no such action, or Placet performs
/// it.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn performed_by(q: &mut impl Query, id: ActionId) -> Result<Option<ResourceServerId>, Fault> {
    Ok(q.one(&PERFORMED_BY, &params![id], |row| row.optional_id(0))?.flatten())
}

/// The open action that the idempotency key of this scope is bound to.
///
/// # Errors
/// [`Fault`].
pub fn of_key(q: &mut impl Query, scope: &[u8; 32]) -> Result<Option<ActionId>, Fault> {
    q.one(&OF_KEY, &params![scope], |row| row.id(0))
}

/// How many actions of a task are in which state.
///
/// # Errors
/// [`Fault`].
pub fn of_task(q: &mut impl Query, task: TaskId) -> Result<Vec<(ActionState, u64)>, Fault> {
    q.query(&OF_TASK, &params![task], |row| Ok((ActionState::parse(&row.text(0)?)?, row.count(1)?)))
}
