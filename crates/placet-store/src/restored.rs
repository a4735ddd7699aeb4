//! What a database that was put back from a backup must not still allow.
//!
//! Everything that ended after the backup is alive in it again: revoked grants, suspended agents, sessions that were
//! signed out, approvals and delegation tokens that were used. Nobody knows which, so all of it ends.
//!
//! Invariant: after [`neutralise`] nothing acts until an administrator, newly signed in, has let it.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::time::Timestamp;

statements! {
    /// Everything that hangs below a registration or was given by a person.
    RESTORED_GRANTS = "UPDATE grants SET revoked_at = ?1, revoked_by = 'restore', revoked_reason = 'restored from a backup'
              WHERE revoked_at IS NULL AND origin <> 'registration' AND expires > ?1";
    /// Their tasks.
    RESTORED_TASKS = "UPDATE tasks SET state = 'revoked' WHERE state = 'active'";
    /// Every agent that could act.
    RESTORED_AGENTS = "UPDATE agents SET state = 'suspended', version = version + 1 WHERE state = 'active'";
    /// Answers of people that could still be used, or given.
    RESTORED_APPROVALS = "UPDATE approvals SET expires = ?1, version = version + 1
                 WHERE state IN ('pending', 'approved') AND expires > ?1";
    /// Broader answers, whose use since then nobody knows.
    RESTORED_PERMITS = "UPDATE permits SET revoked_at = ?1, revoked_by = 'restore' WHERE revoked_at IS NULL AND expires > ?1";
    /// People who are signed in.
    RESTORED_SESSIONS = "UPDATE sessions SET ended = ?1 WHERE ended IS NULL AND expires > ?1";
    /// Whatever was decided before is stale.
    RESTORED_VERSIONS = "UPDATE versions SET version = version + 1";
}

/// What was ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neutralised {
    /// Grants; registration grants stay, their agents are suspended.
    pub grants: u64,
    /// Tasks.
    pub tasks: u64,
    /// Agents that were suspended.
    pub agents: u64,
    /// Approvals, answered or not.
    pub approvals: u64,
    /// Permits.
    pub permits: u64,
    /// Sessions.
    pub sessions: u64,
}

/// Ends what a backup brings back to life. It may take long: nothing is served meanwhile.
///
/// # Errors
/// [`Fault`].
pub fn neutralise(tx: &mut Tx<'_>, now: Timestamp) -> Result<Neutralised, Fault> {
    let ended = Neutralised {
        grants: tx.execute(&RESTORED_GRANTS, &params![now])?,
        tasks: tx.execute(&RESTORED_TASKS, &[])?,
        agents: tx.execute(&RESTORED_AGENTS, &[])?,
        approvals: tx.execute(&RESTORED_APPROVALS, &params![now])?,
        permits: tx.execute(&RESTORED_PERMITS, &params![now])?,
        sessions: tx.execute(&RESTORED_SESSIONS, &params![now])?,
    };
    tx.execute(&RESTORED_VERSIONS, &[])?;
    Ok(ended)
}
