//! Actions that were admitted: what is in flight, and what became of each.
//!
//! Invariant: a row is made only by an admission, and leaves `pending` exactly once.

use crate::{
    document,
    fault::Fault,
    params,
    sql::{Keys, inserts, questions},
    statements,
    tx::{Query, Row, Tx, Value},
};
use placet_core::{
    id::{ActionId, AgentId, ConnectionId, EventId, GrantId, NodeId, ResourceServerId, TaskId, UserId},
    time::Timestamp,
};

/// The columns that [`read`] takes, and where they come from.
macro_rules! select {
    () => {
        "SELECT a.id, a.agent, a.user_id, a.root_id, a.grant_id, a.task, a.connection, a.state, a.status, a.admitted,
                a.concluded, e.leaf, b.sealed
         FROM actions a
         LEFT JOIN record_entries e ON e.id = a.intent
         LEFT JOIN record_bodies b ON b.node = e.node AND b.seq = e.seq "
    };
}

statements! {
    /// One action.
    FIND = concat!(select!(), "WHERE a.id = ?1");
    /// Whether there is one.
    EXISTS = "SELECT 1 FROM actions WHERE id = ?1";
    /// Those in flight below a root, oldest first.
    IN_FLIGHT = concat!(select!(), "WHERE a.root_id = ?1 AND a.state = 'pending' ORDER BY a.id");
    /// A node's in flight, oldest first.
    PENDING = concat!(select!(), "WHERE a.state = 'pending' AND a.node = ?1 ORDER BY a.id LIMIT ?2");
    /// A page of those in flight.
    PENDING_PAGE = concat!(select!(), "WHERE a.id > ?1 AND a.state = 'pending' ORDER BY a.id LIMIT ?2");
    /// Those in flight since before a time, but for decisions: whose effect a resource server tells when it knows.
    OVERDUE = concat!(select!(), "WHERE a.state = 'pending' AND a.admitted < ?1 AND a.resource_server IS NULL
                                  ORDER BY a.id LIMIT ?2");
    /// A page of those of which nobody knows.
    UNKNOWN = concat!(select!(), "WHERE a.id > ?1 AND a.state = 'unknown' ORDER BY a.id LIMIT ?2");
    /// Whether one of the newest actions was carried out through a connection, below a root of another agent than this one.
    SERVED_ANOTHER = "SELECT 1 FROM (SELECT root_id, connection, status FROM actions WHERE id >= ?1
                                     ORDER BY id DESC LIMIT 100000) a
                      JOIN grants g ON g.id = a.root_id
                      WHERE a.connection = ?2 AND a.status BETWEEN 200 AND 299 AND g.agent <> ?3 LIMIT 1";
    /// A page of all.
    PAGE = concat!(select!(), "WHERE a.id > ?1 ORDER BY a.id LIMIT ?2");
}

inserts! {
    /// New actions.
    ADMITTED[15] = "INSERT INTO actions (id, agent, user_id, root_id, grant_id, task, connection, state, status,
                    admitted, charges, idempotency, resource_server, intent, node)";
}

questions! {
    /// Which of these ids are taken.
    EXISTING[1] = "SELECT id FROM actions WHERE id IN (", "?", ", ", ")";
}

/// Where an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionState {
    /// Admitted; its effect may be happening.
    Pending,
    /// It succeeded.
    Done,
    /// It failed at upstream, or was never sent.
    Failed,
    /// Nobody knows: it may have happened.
    Unknown,
}

impl ActionState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// From its word.
    pub(crate) fn parse(word: &str) -> Result<Self, Fault> {
        let all = [Self::Pending, Self::Done, Self::Failed, Self::Unknown];
        all.into_iter().find(|state| state.as_str() == word).ok_or(Fault::Unreadable("an action's state"))
    }
}

/// An admitted action as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAction {
    /// Its id.
    pub id: ActionId,
    /// The acting agent.
    pub agent: AgentId,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// The root of its grant's lineage.
    pub root: GrantId,
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Option<TaskId>,
    /// The connection it went through.
    pub connection: Option<ConnectionId>,
    /// Where it is.
    pub state: ActionState,
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it was concluded.
    pub concluded: Option<Timestamp>,
    /// The canonical bytes of its intent in the record: name, service, chain and everything else of the envelope.
    pub intent: Option<Vec<u8>>,
    /// The sealed body of the intent: resource and parameters; none once it was erased.
    pub sealed: Option<Vec<u8>>,
}

/// The action of this id.
///
/// # Errors
/// What the engine met.
pub fn find(query: &mut impl Query, id: ActionId) -> Result<Option<StoredAction>, Fault> {
    query.one(&FIND, &params![id], read)
}

/// The actions that are in flight anywhere below a root grant, oldest first. For a subtree, keep those whose `grant`
/// is in it.
///
/// # Errors
/// What the engine met.
pub fn in_flight(query: &mut impl Query, root: GrantId) -> Result<Vec<StoredAction>, Fault> {
    query.query(&IN_FLIGHT, &params![root], read)
}

/// Up to `limit` actions of `node` in flight, oldest first.
pub(crate) fn pending(
    query: &mut impl Query,
    node: NodeId,
    limit: usize,
) -> Result<Vec<StoredAction>, Fault> {
    query.query(&PENDING, &params![node, limit], read)
}

/// For a group's needs: which ids are taken.
pub(crate) fn existing() -> &'static Keys {
    &EXISTING
}

/// Up to `limit` actions that have been in flight since before `since`, oldest first; decisions that a resource server
/// was charged for are left out.
///
/// # Errors
/// What the engine met.
pub fn overdue(query: &mut impl Query, since: Timestamp, limit: usize) -> Result<Vec<StoredAction>, Fault> {
    query.query(&OVERDUE, &params![since, limit], read)
}

/// Whether a connection has served another root agent than this one since then, as far as the newest 100,000 actions tell.
///
/// # Errors
/// What the engine met.
pub fn served_another(
    query: &mut impl Query,
    connection: ConnectionId,
    agent: AgentId,
    since: Timestamp,
) -> Result<bool, Fault> {
    let first = ActionId::from_parts(since, [0; 10]);
    Ok(query.one(&SERVED_ANOTHER, &params![first, connection, agent], |_| Ok(()))?.is_some())
}

/// Which actions are listed. There is no list of those that are done: it would be all that ever ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Every one.
    All,
    /// Those in flight.
    Pending,
    /// Those of which nobody knows what became.
    Unknown,
}

/// Up to `limit` actions behind `after`, oldest first.
///
/// # Errors
/// What the engine met.
pub fn list(
    query: &mut impl Query,
    which: Listed,
    after: Option<ActionId>,
    limit: usize,
) -> Result<Vec<StoredAction>, Fault> {
    let statement = match which {
        Listed::All => &PAGE,
        Listed::Pending => &PENDING_PAGE,
        Listed::Unknown => &UNKNOWN,
    };
    query.query(statement, &params![document::behind(after), limit], read)
}

/// Whether an action with this id was admitted, in this group or before.
pub(crate) fn exists(tx: &mut Tx<'_>, id: ActionId) -> Result<bool, Fault> {
    let staged = tx.lease.actions.iter().any(|action| action.id == id);
    if !staged && tx.lease.fetched.unused.contains(&id) {
        return Ok(false);
    }
    Ok(staged || tx.one(&EXISTS, &params![id], |_| Ok(()))?.is_some())
}

/// A row to be written with the group.
#[derive(Debug, Clone)]
pub(crate) struct NewAction {
    pub(crate) id: ActionId,
    pub(crate) agent: AgentId,
    pub(crate) user: Option<UserId>,
    pub(crate) root: GrantId,
    pub(crate) grant: GrantId,
    pub(crate) task: Option<TaskId>,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) at: Timestamp,
    pub(crate) charges: Option<Vec<u8>>,
    pub(crate) idempotency: Option<[u8; 32]>,
    pub(crate) resource_server: Option<ResourceServerId>,
    pub(crate) intent: EventId,
}

/// Writes what was staged.
pub(crate) fn write(tx: &mut Tx<'_>, new: &[NewAction]) -> Result<(), Fault> {
    let node = tx.lease.node.to_string();
    let mut values = Vec::with_capacity(new.len() * ADMITTED.columns());
    for action in new {
        values.extend([
            Value::from(action.id),
            action.agent.into(),
            action.user.into(),
            action.root.into(),
            action.grant.into(),
            action.task.into(),
            action.connection.into(),
            ActionState::Pending.as_str().into(),
            Value::Null,
            action.at.into(),
            action.charges.as_ref().into(),
            action.idempotency.as_ref().into(),
            action.resource_server.into(),
            action.intent.into(),
            (&node).into(),
        ]);
    }
    tx.insert(&ADMITTED, &values)
}

fn read(row: &Row<'_>) -> Result<StoredAction, Fault> {
    let status = row.optional_integer(8)?.map(u16::try_from).transpose();
    Ok(StoredAction {
        id: row.id(0)?,
        agent: row.id(1)?,
        user: row.optional_id(2)?,
        root: row.id(3)?,
        grant: row.id(4)?,
        task: row.optional_id(5)?,
        connection: row.optional_id(6)?,
        state: ActionState::parse(&row.text(7)?)?,
        status: status.map_err(|_| Fault::Unreadable("an action's status"))?,
        admitted: row.time(9)?,
        concluded: row.optional_time(10)?,
        intent: row.optional_blob(11)?,
        sealed: row.optional_blob(12)?,
    })
}
