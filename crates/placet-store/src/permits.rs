//! Permits as they are stored. What is used of each stands in the counters, like that of any limit; the commit point
//! compares [`Version::Permit`], which rises when one is taken back.
//!
//! Invariant: a permit is never changed, only taken back, and that once.

use crate::{
    counters, document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{
    approval::permit::Permit,
    id::{AgentId, PermitId, UserId},
    time::Timestamp,
};

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "document, revoked_at, revoked_by"
    };
}

statements! {
    /// A new permit.
    INSERT = "INSERT INTO permits (id, approval, agent, user_id, anchor, expires, document)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    /// One by id.
    BY_ID = concat!("SELECT ", columns!(), " FROM permits WHERE id = ?1");
    /// Those that an agent may have, oldest first.
    LIVE = concat!("SELECT ", columns!(), " FROM permits
                    WHERE agent = ?1 AND revoked_at IS NULL AND expires > ?2 ORDER BY id LIMIT ?3");
    /// A page.
    PAGE = concat!("SELECT ", columns!(), " FROM permits
                    WHERE id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR agent = ?2) ORDER BY id LIMIT ?3");
    /// Takes one back.
    REVOKE = "UPDATE permits SET revoked_at = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_at IS NULL";
}

/// A permit as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The permit.
    pub permit: Permit,
    /// When and by whom it was taken back: a user's id, or `admin-token`.
    pub revoked: Option<(Timestamp, String)>,
}

/// Stores a new permit.
///
/// # Errors
/// [`Fault::Conflict`] where approval, agent, user or grant don't exist.
pub fn insert(tx: &mut Tx<'_>, permit: &Permit) -> Result<(), Fault> {
    let row = params![
        permit.id,
        permit.approval,
        permit.agent,
        permit.user,
        permit.anchor,
        permit.terms.expires,
        document::write(permit)?
    ];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The permit of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: PermitId) -> Result<Option<Given>, Fault> {
    q.one(&BY_ID, &params![id], read)
}

/// Up to `limit` permits of an agent that were not taken back and whose time is not over at `now`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn live(q: &mut impl Query, agent: AgentId, now: Timestamp, limit: usize) -> Result<Vec<Permit>, Fault> {
    let given = q.query(&LIVE, &params![agent, now, limit], read)?;
    Ok(given.into_iter().map(|given| given.permit).collect())
}

/// Up to `limit` permits behind `after`, oldest first, of one agent or of all.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    agent: Option<AgentId>,
    after: Option<PermitId>,
    limit: usize,
) -> Result<Vec<Given>, Fault> {
    q.query(&PAGE, &params![document::behind(after), agent, limit], read)
}

/// Takes a permit back; `false` where it was before.
///
/// # Errors
/// [`Fault`].
pub fn revoke(tx: &mut Tx<'_>, id: PermitId, at: Timestamp, by: &str) -> Result<bool, Fault> {
    let changed = tx.execute(&REVOKE, &params![id, at, by])? > 0;
    if changed {
        tx.bump(Version::Permit(id))?;
    }
    Ok(changed)
}

/// What is used of a permit's counters, in the order of [`Permit::counters`], without what the held request took.
///
/// # Errors
/// [`Fault`].
pub fn used(q: &mut impl Query, permit: &Permit) -> Result<Vec<i64>, Fault> {
    let counters = permit.counters();
    counters.iter().map(|charge| counters::used(q, &charge.counter, charge.window)).collect()
}

/// Whether the person gave it or it is given on their behalf.
pub fn is_of(permit: &Permit, person: UserId) -> bool {
    permit.given_by == person
        || permit.user == Some(person)
        || permit.given_with.iter().any(|giver| giver.id == person)
}

fn read(row: &Row<'_>) -> Result<Given, Fault> {
    let revoked = match (row.optional_time(1)?, row.optional_text(2)?) {
        (Some(at), Some(by)) => Some((at, by)),
        _ => None,
    };
    Ok(Given { permit: row.json(0)?, revoked })
}
