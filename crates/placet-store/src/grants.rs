//! Grants as they are stored: the trees of delegated authority.
//!
//! Revoking writes one row and raises the epoch of the lineage, however large the subtree: whether a grant is alive
//! is a question about its whole chain, answered when the chain is assembled and again at the commit point.
//!
//! Invariant: a grant hangs from an existing one with the same root, one deeper; it is never deleted and never moves;
//! `revoked` is set once and never taken back; what it permits is replaced by less only ([`narrow`]).

use crate::{
    document,
    fault::Fault,
    params,
    sql::{Rows, inserts},
    statements,
    tx::{Query, Row, Tx, Value},
    versions::Version,
};
use placet_core::{
    grant::{Grant, Origin, Revoked},
    id::{AgentId, GrantId, TaskId},
    time::Timestamp,
};

/// The columns that [`read`] takes, of the table `$table`.
macro_rules! grant_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".document, ",
            $table,
            ".revoked_at, ",
            $table,
            ".revoked_by, ",
            $table,
            ".revoked_reason"
        )
    };
}
pub(crate) use grant_columns;

/// How many columns [`grant_columns`] names.
pub(crate) const COLUMNS: usize = 4;

/// A page of the grants that `$first` selects by an index; the rest of the filter is applied to those.
macro_rules! page {
    ($first:literal) => {
        concat!(
            "SELECT ",
            grant_columns!("grants"),
            " FROM grants WHERE ",
            $first,
            "id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR agent = ?2) AND (CAST(?3 AS TEXT) IS NULL OR root = ?3)
             AND (CAST(?4 AS TEXT) IS NULL OR task = ?4) ORDER BY id LIMIT ?5"
        )
    };
}

/// How many values a new grant's row has.
pub(crate) const ROW: usize = 13;

/// Where the values of [`row`] go.
macro_rules! insert {
    () => {
        "INSERT INTO grants (id, root, parent, depth, agent, user_id, task, origin, expires,
                             revoked_at, revoked_by, revoked_reason, document)"
    };
}

inserts! {
    /// New grants.
    MANY[13] = insert!();
}

statements! {
    /// A new grant.
    INSERT = concat!(insert!(), " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)");
    /// Where a grant hangs.
    PLACE = "SELECT root, depth FROM grants WHERE id = ?1";
    /// The registration grant that an agent names.
    REGISTRATION_OF = "SELECT registration FROM agents WHERE id = ?1";
    /// One by id.
    BY_ID = concat!("SELECT ", grant_columns!("grants"), " FROM grants WHERE id = ?1");
    /// The newest of a task that their agent may still use.
    REUSABLE = concat!("SELECT ", grant_columns!("grants"), " FROM grants
                        WHERE agent = ?1 AND task = ?2 AND expires > ?3 AND revoked_at IS NULL
                        ORDER BY id DESC LIMIT ?4");
    /// Revokes one that is not revoked.
    REVOKE = "UPDATE grants SET revoked_at = ?2, revoked_by = ?3, revoked_reason = ?4
              WHERE id = ?1 AND revoked_at IS NULL RETURNING root";
    /// Replaces what one that is not revoked permits.
    NARROW = "UPDATE grants SET document = ?2 WHERE id = ?1 AND revoked_at IS NULL RETURNING root";
    /// A grant and everything above it, leaf first.
    ANCESTORS = concat!("WITH RECURSIVE up (id, parent, level) AS (
                             SELECT id, parent, 0 FROM grants WHERE id = ?1
                             UNION ALL
                             SELECT g.id, g.parent, up.level + 1 FROM grants g JOIN up ON g.id = up.parent
                         )
                         SELECT ", grant_columns!("g"), " FROM up JOIN grants g ON g.id = up.id
                         ORDER BY up.level");
    /// A grant and everything below it, by depth.
    SUBTREE = "WITH RECURSIVE down (id) AS (
                   SELECT id FROM grants WHERE id = ?1
                   UNION ALL
                   SELECT g.id FROM grants g JOIN down ON g.parent = down.id
               )
               SELECT g.id, g.parent, g.depth, g.agent, g.task, g.expires, g.revoked_at
               FROM down CROSS JOIN grants g WHERE g.id = down.id ORDER BY g.depth, g.id LIMIT ?2";
    /// A page of a task's.
    PAGE_OF_TASK = page!("task = ?4 AND ");
    /// A page of a lineage.
    PAGE_OF_ROOT = page!("root = ?3 AND ");
    /// A page of an agent's.
    PAGE_OF_AGENT = page!("agent = ?2 AND ");
    /// A page of all.
    PAGE = page!("");
    /// A page of those that an agent holds and everything below them.
    PAGE_WITHIN = concat!("WITH RECURSIVE own (id) AS (
                               SELECT id FROM grants WHERE agent = ?6
                               UNION
                               SELECT g.id FROM grants g JOIN own ON g.parent = own.id
                           ) ", page!("id IN (SELECT own.id FROM own) AND "));
    /// Whether an agent holds a grant or one above it.
    HELD = "WITH RECURSIVE up (id, parent, agent) AS (
                SELECT id, parent, agent FROM grants WHERE id = ?1
                UNION ALL
                SELECT g.id, g.parent, g.agent FROM grants g JOIN up ON g.id = up.parent
            )
            SELECT COUNT(*) FROM up WHERE agent = ?2";
}

/// Which grants are listed; what is left out doesn't matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// The agent that holds it.
    pub agent: Option<AgentId>,
    /// The root of its tree.
    pub root: Option<GrantId>,
    /// What it is for.
    pub task: Option<TaskId>,
    /// Held by this agent, or below a grant that is: what an agent may see.
    pub within: Option<AgentId>,
}

/// A grant's place in a tree, for lineages and for saying what a revocation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The grant.
    pub id: GrantId,
    /// What it hangs from.
    pub parent: Option<GrantId>,
    /// Links above it, counted from its root.
    pub depth: u8,
    /// Who holds it.
    pub agent: AgentId,
    /// What it is for.
    pub task: Option<TaskId>,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When it was itself revoked; one of an ancestor counts no less.
    pub revoked: Option<Timestamp>,
}

/// Stores a new grant.
///
/// # Errors
/// [`Fault::Conflict`] with `lineage` where it does not hang from an existing grant with its root, one less deep, or
/// is a registration grant that its agent doesn't name; with another word where agent, user or task don't exist.
pub fn insert(tx: &mut Tx<'_>, grant: &Grant) -> Result<(), Fault> {
    // Neither a grant's place nor an agent's registration ever changes, so reading them first races with nothing.
    let fits = match grant.parent {
        Some(parent) => {
            let place = tx.one(&PLACE, &params![parent], |row| Ok((row.id(0)?, row.count(1)?)))?;
            place.is_some_and(|(root, depth): (GrantId, u64)| {
                root == grant.root && depth + 1 == u64::from(grant.depth)
            })
        }
        None if grant.origin == Origin::Registration => {
            let named = tx.one(&REGISTRATION_OF, &params![grant.agent], |row| row.id(0))?;
            named == Some(grant.id)
        }
        None => true,
    };
    if !fits {
        return Err(Fault::Conflict("lineage"));
    }
    tx.execute(&INSERT, &row(grant)?)?;
    Ok(())
}

/// The row of a new grant.
pub(crate) fn row(grant: &Grant) -> Result<[Value<'static>; ROW], Fault> {
    let revoked = grant.revoked.as_ref();
    Ok(params![
        grant.id,
        grant.root,
        grant.parent,
        grant.depth,
        grant.agent,
        grant.user,
        grant.task,
        origin(grant.origin),
        grant.authority.expires,
        revoked.map(|revoked| revoked.at),
        revoked.map(|revoked| revoked.by.clone()),
        revoked.and_then(|revoked| revoked.reason.clone()),
        document::write(grant)?
    ])
}

/// For many rows at once.
pub(crate) fn many() -> &'static Rows {
    &MANY
}

/// The grant of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: GrantId) -> Result<Option<Grant>, Fault> {
    q.one(&BY_ID, &params![id], |row| read(row, 0))
}

/// Grants that `agent` holds for `task` and that neither expired nor were themselves revoked, newest first, at most
/// `limit`: for another token of the same grant. Whether one is alive is for its chain to say.
///
/// # Errors
/// [`Fault`].
pub fn of_task_for_reuse(
    q: &mut impl Query,
    agent: AgentId,
    task: TaskId,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Grant>, Fault> {
    q.query(&REUSABLE, &params![agent, task, now, limit], |row| read(row, 0))
}

/// Revokes a grant, and with it its subtree: one row and the epoch of the lineage, however large that is. Revoking
/// twice is revoking once: `false` where it was revoked already (its first `revoked` stays), or never was.
///
/// # Errors
/// [`Fault`].
pub fn revoke(tx: &mut Tx<'_>, id: GrantId, revoked: &Revoked) -> Result<bool, Fault> {
    let row = params![id, revoked.at, &revoked.by, revoked.reason.as_ref()];
    let Some(root) = tx.one(&REVOKE, &row, |row| row.id(0))? else { return Ok(false) };
    tx.bump(Version::Lineage(root))?;
    Ok(true)
}

/// Stores a grant that was read and narrowed, and raises the epoch of its lineage: what was decided on any grant below
/// it is stale. `false` where it was revoked, or never was. The caller has narrowed its authority in this transaction
/// ([`placet_core::grant::Authority::narrow`]); its life stays as it was.
///
/// # Errors
/// [`Fault`].
pub fn narrow(tx: &mut Tx<'_>, grant: &Grant) -> Result<bool, Fault> {
    let row = params![grant.id, document::write(grant)?];
    let Some(root) = tx.one(&NARROW, &row, |row| row.id(0))? else { return Ok(false) };
    tx.bump(Version::Lineage(root))?;
    Ok(true)
}

/// The grant and everything below it, by depth, at most `limit`; empty where there is no such grant.
///
/// # Errors
/// [`Fault`].
pub fn subtree(q: &mut impl Query, id: GrantId, limit: usize) -> Result<Vec<Node>, Fault> {
    q.query(&SUBTREE, &params![id, limit], |row| {
        Ok(Node {
            id: row.id(0)?,
            parent: row.optional_id(1)?,
            depth: u8::try_from(row.integer(2)?).map_err(|_| Fault::Unreadable("a depth"))?,
            agent: row.id(3)?,
            task: row.optional_id(4)?,
            expires: row.time(5)?,
            revoked: row.optional_time(6)?,
        })
    })
}

/// The grant and everything above it, leaf first; empty where there is no such grant.
///
/// # Errors
/// [`Fault`].
pub fn ancestors(q: &mut impl Query, id: GrantId) -> Result<Vec<Grant>, Fault> {
    q.query(&ANCESTORS, &params![id], |row| read(row, 0))
}

/// Whether `agent` holds the grant or one above it: what it may see and revoke.
///
/// # Errors
/// [`Fault`].
pub fn is_within(q: &mut impl Query, id: GrantId, agent: AgentId) -> Result<bool, Fault> {
    Ok(q.one(&HELD, &params![id, agent], |row| row.count(0))?.unwrap_or(0) > 0)
}

/// Up to `limit` grants behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    filter: Filter,
    after: Option<GrantId>,
    limit: usize,
) -> Result<Vec<Grant>, Fault> {
    let after = document::behind(after);
    if let Some(holder) = filter.within {
        let row = params![after, filter.agent, filter.root, filter.task, limit, holder];
        return q.query(&PAGE_WITHIN, &row, |row| read(row, 0));
    }
    let statement = match filter {
        Filter { task: Some(_), .. } => &PAGE_OF_TASK,
        Filter { root: Some(_), .. } => &PAGE_OF_ROOT,
        Filter { agent: Some(_), .. } => &PAGE_OF_AGENT,
        Filter { .. } => &PAGE,
    };
    q.query(statement, &params![after, filter.agent, filter.root, filter.task, limit], |row| read(row, 0))
}

/// Up to `limit` grants for a task, whoever holds them, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn by_task(q: &mut impl Query, task: TaskId, limit: usize) -> Result<Vec<Grant>, Fault> {
    list(q, Filter { task: Some(task), ..Filter::default() }, None, limit)
}

/// The grant in the columns from `at` on.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Grant, Fault> {
    let revoked = match (row.optional_time(at + 1)?, row.optional_text(at + 2)?) {
        (Some(when), Some(by)) => Some(Revoked { at: when, by, reason: row.optional_text(at + 3)? }),
        (None, None) => None,
        _ => return Err(Fault::Unreadable("a revocation")),
    };
    Ok(Grant { revoked, ..row.json(at)? })
}

const fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Registration => "registration",
        Origin::Person => "person",
        Origin::Agent => "agent",
        Origin::ParentToken => "parent_token",
        Origin::Delegation => "delegation",
    }
}
