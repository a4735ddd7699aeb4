//! What a database that was put back from a backup must not still allow.
//!
//! Everything that ended after the backup is alive in it again: revoked grants, suspended agents, sessions that were
//! signed out, passkeys, trusted issuers and identity providers that were removed, approvals and delegation tokens that were
//! used. Nobody knows which, so all of it ends; and what was given since, nobody knows at all, so each place of each list of
//! statuses is over.
//!
//! There may be millions of rows, and on a database server no transaction may take long; so each call ends some.
//!
//! Invariant: once [`end`] has found nothing more and [`make_stale`] is committed, nothing acts until an administrator,
//! newly signed in, has let it. Cut off before that, it is begun again and finds the rest.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::time::Timestamp;

statements! {
    /// Everything that hangs below a registration or was given by a person.
    RESTORED_GRANTS = "UPDATE grants SET revoked_at = ?1, revoked_by = 'restore', revoked_reason = 'restored from a backup'
              WHERE id IN (SELECT id FROM grants WHERE revoked_at IS NULL AND origin <> 'registration' AND expires > ?1 LIMIT ?2)";
    /// Their tasks.
    RESTORED_TASKS = "UPDATE tasks SET state = 'revoked'
              WHERE id IN (SELECT id FROM tasks WHERE state = 'active' LIMIT ?1)";
    /// Every agent that could act.
    RESTORED_AGENTS = "UPDATE agents SET state = 'suspended', version = version + 1
              WHERE id IN (SELECT id FROM agents WHERE state = 'active' LIMIT ?1)";
    /// Answers of people that could still be used, or given.
    RESTORED_APPROVALS = "UPDATE approvals SET expires = ?1, version = version + 1
              WHERE id IN (SELECT id FROM approvals WHERE state IN ('pending', 'approved') AND expires > ?1 LIMIT ?2)";
    /// Broader answers, whose use since then nobody knows.
    RESTORED_PERMITS = "UPDATE permits SET revoked_at = ?1, revoked_by = 'restore'
              WHERE id IN (SELECT id FROM permits WHERE revoked_at IS NULL AND expires > ?1 LIMIT ?2)";
    /// People who are signed in.
    RESTORED_SESSIONS = "UPDATE sessions SET ended = ?1
              WHERE id IN (SELECT id FROM sessions WHERE ended IS NULL AND expires > ?1 LIMIT ?2)";
    /// Passkeys: one that was removed since, because its device was stolen, is back. There is a password beside each.
    RESTORED_PASSKEYS = "DELETE FROM passkeys WHERE id IN (SELECT id FROM passkeys LIMIT ?1)";
    /// Issuers whose word counts: one that was removed since, because its keys got out, is trusted again.
    RESTORED_ISSUERS = "UPDATE trusted_issuers SET ended = ?1
              WHERE id IN (SELECT id FROM trusted_issuers WHERE ended IS NULL LIMIT ?2)";
    /// Lists of statuses: who was given a place since then is not known, and reads as valid.
    RESTORED_STATUS_LISTS = "UPDATE status_lists SET condemned = 1
              WHERE id IN (SELECT id FROM status_lists WHERE condemned = 0 LIMIT ?1)";
    /// Providers that people sign in with: a link that was taken away since is back. There is a password beside each.
    RESTORED_PROVIDERS = "UPDATE providers SET ended = ?1, sealed = NULL
              WHERE id IN (SELECT id FROM providers WHERE ended IS NULL LIMIT ?2)";
    /// Nodes that ran when the backup was made.
    RESTORED_NODES = "DELETE FROM vault_holders";
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
    /// Passkeys.
    pub passkeys: u64,
    /// Issuers that were trusted.
    pub issuers: u64,
    /// Lists of statuses, whose tokens are all over.
    pub status_lists: u64,
    /// Providers that people signed in with.
    pub providers: u64,
}

impl Neutralised {
    /// All of it together.
    pub const fn total(&self) -> u64 {
        self.grants
            + self.tasks
            + self.agents
            + self.approvals
            + self.permits
            + self.sessions
            + self.passkeys
            + self.issuers
            + self.status_lists
            + self.providers
    }

    /// With what was ended besides.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            grants: self.grants + other.grants,
            tasks: self.tasks + other.tasks,
            agents: self.agents + other.agents,
            approvals: self.approvals + other.approvals,
            permits: self.permits + other.permits,
            sessions: self.sessions + other.sessions,
            passkeys: self.passkeys + other.passkeys,
            issuers: self.issuers + other.issuers,
            status_lists: self.status_lists + other.status_lists,
            providers: self.providers + other.providers,
        }
    }
}

/// Ends what a backup brings back to life, of each kind at most `limit`; to be called until nothing is left.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<Neutralised, Fault> {
    Ok(Neutralised {
        grants: tx.execute(&RESTORED_GRANTS, &params![now, limit])?,
        tasks: tx.execute(&RESTORED_TASKS, &params![limit])?,
        agents: tx.execute(&RESTORED_AGENTS, &params![limit])?,
        approvals: tx.execute(&RESTORED_APPROVALS, &params![now, limit])?,
        permits: tx.execute(&RESTORED_PERMITS, &params![now, limit])?,
        sessions: tx.execute(&RESTORED_SESSIONS, &params![now, limit])?,
        passkeys: tx.execute(&RESTORED_PASSKEYS, &params![limit])?,
        issuers: tx.execute(&RESTORED_ISSUERS, &params![now, limit])?,
        status_lists: tx.execute(&RESTORED_STATUS_LISTS, &params![limit])?,
        providers: tx.execute(&RESTORED_PROVIDERS, &params![now, limit])?,
    })
}

/// Makes stale whatever was decided before, and forgets the nodes that ran then.
///
/// # Errors
/// [`Fault`].
pub fn make_stale(tx: &mut Tx<'_>) -> Result<(), Fault> {
    tx.execute(&RESTORED_NODES, &[])?;
    tx.execute(&RESTORED_VERSIONS, &[]).map(|_| ())
}
