//! Approvals as they are stored, under the keyed digest of the request that each is bound to.
//!
//! People decide through [`save_decision`], which compares the row's version, so that of two who answer at once one
//! is told to look again. The commit point uses an approval up by itself: it reads and writes the columns `state`,
//! `expires` and `version` directly.
//!
//! Expiry follows from the times. That an approval ended unused is stored too, once it stands in the record
//! ([`close`]): so it is recorded exactly once, over restarts and on any number of nodes.
//!
//! Invariant: only an approved one that is not closed is ever used; one that was denied, used or closed stays so. One
//! that was approved is pending again only where an answer counts no more ([`save_recount`]).

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    approval::{Approval, ApprovalState, RequestDigest},
    id::{AgentId, ApprovalId, UserId},
    time::Timestamp,
    user::User,
};

/// A page of the approvals that `$first` selects by an index; the rest of the filter is applied to those.
macro_rules! page {
    ($first:literal) => {
        concat!(
            "SELECT document, state, expires, version, digest, closed FROM approvals WHERE ", $first,
            "id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR agent = ?2) AND (CAST(?3 AS TEXT) IS NULL OR user_id = ?3)
             AND (CAST(?4 AS TEXT) IS NULL OR ?4 =
                  CASE WHEN state IN ('pending', 'approved') AND closed IS NOT NULL THEN closed
                       WHEN state IN ('pending', 'approved') AND expires <= ?5 THEN 'expired' ELSE state END)
             ORDER BY id LIMIT ?6"
        )
    };
}

statements! {
    /// A new approval.
    INSERT = "INSERT INTO approvals
                  (id, agent, grant_id, task, user_id, digest, state, expires, version, document)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9)";
    /// One by id.
    BY_ID = "SELECT document, state, expires, version, digest, closed FROM approvals WHERE id = ?1";
    /// The one that waits for the same request.
    PENDING_BY_DIGEST = "SELECT document, state, expires, version, digest, closed FROM approvals
                         WHERE agent = ?1 AND state = 'pending' AND closed IS NULL AND digest = ?2 AND expires > ?3
                         ORDER BY id LIMIT 1";
    /// A no to the same request.
    DENIED_BY_DIGEST = "SELECT state FROM approvals
                        WHERE agent = ?1 AND state = 'denied' AND digest = ?2 AND expires > ?3 ORDER BY id LIMIT 1";
    /// The last answer to the same request: a yes that was not used, or a no.
    ANSWERED_BY_DIGEST = "SELECT id FROM approvals
                          WHERE agent = ?1 AND state IN ('approved', 'denied') AND digest = ?2 AND expires > ?3
                                AND (state = 'denied' OR closed IS NULL)
                          ORDER BY id DESC LIMIT 1";
    /// How many of an agent's wait.
    COUNT_PENDING = "SELECT COUNT(*) FROM approvals
                     WHERE agent = ?1 AND state = 'pending' AND closed IS NULL AND expires > ?2";
    /// A person's answer.
    SAVE = "UPDATE approvals SET state = ?3, expires = ?4, document = ?5, version = version + 1
            WHERE id = ?1 AND version = ?2 AND state = 'pending' AND closed IS NULL";
    /// An answer counts no more, or one that is short of people again takes further ones.
    RECOUNT = "UPDATE approvals SET state = ?3, document = ?4, version = version + 1
               WHERE id = ?1 AND version = ?2 AND state IN ('pending', 'approved') AND closed IS NULL";
    /// Its end without use.
    CLOSE = "UPDATE approvals SET closed = ?3, version = version + 1
             WHERE id = ?1 AND version = ?2 AND state IN ('pending', 'approved') AND closed IS NULL";
    /// A page of those that wait or may be used, over or not.
    OPEN = "SELECT document, state, expires, version, digest, closed FROM approvals
            WHERE id > ?1 AND closed IS NULL AND state IN ('pending', 'approved') ORDER BY id LIMIT ?2";
    /// A page of those that wait.
    PAGE_PENDING = page!("state = 'pending' AND closed IS NULL AND ");
    /// A page of all.
    PAGE = page!("");
}

/// How many rows are read at a time where people's pages are picked from them.
const BATCH: usize = 200;

/// An approval with the version of its row, which [`save_decision`] compares.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The approval.
    pub approval: Approval,
    /// The version of its row; from 1.
    pub version: u64,
    /// The digest of the request that it is bound to.
    pub digest: RequestDigest,
}

/// Which approvals are listed; what is left out doesn't matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Its state at the time of asking: one whose time is over is expired, whatever is stored.
    pub state: Option<ApprovalState>,
    /// The agent that acts.
    pub agent: Option<AgentId>,
    /// The person on whose behalf.
    pub user: Option<UserId>,
    /// Those that this person may answer or is concerned by ([`Approval::concerns`]).
    pub concerning: Option<&'a User>,
}

/// Stores a new approval under the digest of the request that it is bound to.
///
/// # Errors
/// [`Fault::Conflict`] where agent, grant, task or user don't exist, or it is stated as expired.
pub fn insert(tx: &mut Tx<'_>, approval: &Approval, digest: RequestDigest) -> Result<(), Fault> {
    let row = params![
        approval.id,
        approval.agent,
        approval.grant,
        approval.task,
        approval.user,
        digest.0,
        approval.state.as_str(),
        approval.expires,
        document::write(approval)?
    ];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The approval of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: ApprovalId) -> Result<Option<Held>, Fault> {
    q.one(&BY_ID, &params![id], read)
}

/// The approval that waits at `now` for the same request of the same agent: asking again answers it.
///
/// # Errors
/// [`Fault`].
pub fn pending_by_digest(
    q: &mut impl Query,
    agent: AgentId,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Option<Held>, Fault> {
    q.one(&PENDING_BY_DIGEST, &params![agent, digest.0, now], read)
}

/// What was said of the same request of the same agent and is not over at `now`: that it waits, or a no.
///
/// # Errors
/// [`Fault`].
pub fn said_by_digest(
    q: &mut impl Query,
    agent: AgentId,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Option<ApprovalState>, Fault> {
    if let Some(pending) = pending_by_digest(q, agent, digest, now)? {
        return Ok(Some(pending.approval.state));
    }
    q.one(&DENIED_BY_DIGEST, &params![agent, digest.0, now], |row| document::state(&row.text(0)?))
}

/// The approval of the same request of the same agent that was answered last and counts at `now`: a yes that may be used,
/// or a no.
///
/// # Errors
/// [`Fault`].
pub fn answered_by_digest(
    q: &mut impl Query,
    agent: AgentId,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Option<ApprovalId>, Fault> {
    q.one(&ANSWERED_BY_DIGEST, &params![agent, digest.0, now], |row| row.id(0))
}

/// How many approvals of `agent` wait at `now`.
///
/// # Errors
/// [`Fault`].
pub fn count_pending(q: &mut impl Query, agent: AgentId, now: Timestamp) -> Result<u64, Fault> {
    Ok(q.one(&COUNT_PENDING, &params![agent, now], |row| row.count(0))?.unwrap_or(0))
}

/// Stores an approval after a person's answer ([`Approval::decide`]), if its row still has the `version` that it was
/// decided on. `false` where somebody else's answer came first: read it again.
///
/// # Errors
/// [`Fault`].
pub fn save_decision(tx: &mut Tx<'_>, version: u64, decided: &Approval) -> Result<bool, Fault> {
    let row =
        params![decided.id, version, decided.state.as_str(), decided.expires, document::write(decided)?];
    Ok(tx.execute(&SAVE, &row)? > 0)
}

/// Stores an approval after an answer to it counts no more ([`Approval::without`]); an approved one may wait for people
/// again, until the same time. `false` where it was answered, used or closed since.
///
/// # Errors
/// [`Fault`].
pub fn save_recount(tx: &mut Tx<'_>, version: u64, recounted: &Approval) -> Result<bool, Fault> {
    let row = params![recounted.id, version, recounted.state.as_str(), document::write(recounted)?];
    Ok(tx.execute(&RECOUNT, &row)? > 0)
}

/// Ends an approval, as it was read at `version`, that was not used: `how` is `Expired` or `Ended`. `false` where it was
/// answered, used or closed since.
///
/// # Errors
/// [`Fault`].
pub fn close(tx: &mut Tx<'_>, id: ApprovalId, version: u64, how: ApprovalState) -> Result<bool, Fault> {
    Ok(tx.execute(&CLOSE, &params![id, version, how.as_str()])? > 0)
}

/// Up to `limit` approvals behind `after` that wait for an answer or for their use and were not closed, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn open(q: &mut impl Query, after: Option<ApprovalId>, limit: usize) -> Result<Vec<Held>, Fault> {
    q.query(&OPEN, &params![document::behind(after), limit], read)
}

/// Up to `limit` approvals behind `after`, oldest first, by their state at `now`.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    filter: Filter<'_>,
    now: Timestamp,
    after: Option<ApprovalId>,
    limit: usize,
) -> Result<Vec<Held>, Fault> {
    let statement = if filter.state == Some(ApprovalState::Pending) { &PAGE_PENDING } else { &PAGE };
    let mut page = |after: Option<ApprovalId>, limit: usize| {
        let state = filter.state.map(ApprovalState::as_str);
        let row = params![document::behind(after), filter.agent, filter.user, state, now, limit];
        q.query(statement, &row, read)
    };
    let Some(person) = filter.concerning else { return page(after, limit) };
    // Whom an approval concerns is for the rules to say, so rows are read until enough do.
    let mut found = Vec::new();
    let mut after = after;
    while found.len() < limit {
        let rows = page(after, BATCH)?;
        let last = rows.len() < BATCH;
        after = rows.last().map(|held| held.approval.id).or(after);
        found.extend(rows.into_iter().filter(|held| held.approval.concerns(person)));
        if last {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Held, Fault> {
    let state: ApprovalState = document::state(&row.text(1)?)?;
    let open = matches!(state, ApprovalState::Pending | ApprovalState::Approved);
    let state = match row.optional_text(5)?.filter(|_| open) {
        Some(closed) => document::state(&closed)?,
        None => state,
    };
    let approval = Approval { state, expires: row.time(2)?, ..row.json(0)? };
    Ok(Held { approval, version: row.count(3)?, digest: RequestDigest(row.digest(4)?) })
}
