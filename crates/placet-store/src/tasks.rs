//! Tasks as they are stored.
//!
//! Invariant: a label is unique within (agent, user) for ever, so one whose task ended stays ended; a task ends
//! once, and what was decided on its grants is stale from then on.

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
    id::{AgentId, TaskId, UserId},
    task::{Task, TaskOrigin, TaskState},
};

/// The columns that [`read`] takes, of the table `$table`.
macro_rules! task_columns {
    ($table:literal) => {
        concat!($table, ".document, ", $table, ".state")
    };
}
pub(crate) use task_columns;

/// A page of the tasks that `$first` selects by an index; the rest of the filter is applied to those.
macro_rules! page {
    ($first:literal) => {
        concat!(
            "SELECT ", task_columns!("tasks"), " FROM tasks WHERE ", $first,
            "id > ?1 AND (CAST(?2 AS TEXT) IS NULL OR agent = ?2) AND (CAST(?3 AS TEXT) IS NULL OR user_id = ?3)
             ORDER BY id LIMIT ?4"
        )
    };
}

/// How many values a new task's row has.
pub(crate) const ROW: usize = 7;

/// Where the values of [`row`] go.
macro_rules! insert {
    () => {
        "INSERT INTO tasks (id, agent, user_id, label, parent, state, document)"
    };
}

inserts! {
    /// New tasks that have no label.
    MANY[7] = insert!();
}

statements! {
    /// A new task.
    INSERT = concat!(insert!(), " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING");
    /// One by id.
    BY_ID = concat!("SELECT ", task_columns!("tasks"), " FROM tasks WHERE id = ?1");
    /// One by label, of an agent acting for a user.
    BY_LABEL_WITH_USER = concat!("SELECT ", task_columns!("tasks"), " FROM tasks
                                  WHERE agent = ?1 AND user_id = ?2 AND label = ?3");
    /// One by label, of an agent acting for nobody.
    BY_LABEL_WITHOUT_USER = concat!("SELECT ", task_columns!("tasks"), " FROM tasks
                                     WHERE agent = ?1 AND user_id IS NULL AND label = ?2");
    /// By label, of those that people made for an agent. The limit bounds the work: where so many share a label, the id has to be named anyway.
    BY_LABEL_OF_PEOPLE = concat!("SELECT ", task_columns!("tasks"), " FROM tasks
                                  WHERE agent = ?1 AND label = ?2 AND user_id IS NOT NULL LIMIT 16");
    /// A page of the parts of a task.
    CHILDREN = concat!("SELECT ", task_columns!("tasks"), " FROM tasks
                        WHERE parent = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    /// A page of an agent's.
    PAGE_OF_AGENT = page!("agent = ?2 AND ");
    /// A page of a user's.
    PAGE_OF_USER = page!("user_id = ?3 AND ");
    /// A page of all.
    PAGE = page!("");
    /// Ends one.
    FINISH = "UPDATE tasks SET state = ?2 WHERE id = ?1 AND state = 'active'";
    /// The lineages that have a grant for it.
    LINEAGES = "SELECT DISTINCT root FROM grants WHERE task = ?1";
}

/// Which tasks are listed; what is left out doesn't matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// The agent that works on it.
    pub agent: Option<AgentId>,
    /// The person on whose behalf.
    pub user: Option<UserId>,
}

/// Stores a new task.
///
/// # Errors
/// [`Fault::Conflict`] with `label` where (agent, user) have used that label; with another word where agent, user
/// or parent don't exist, or the task is stated as expired.
pub fn insert(tx: &mut Tx<'_>, task: &Task) -> Result<(), Fault> {
    let inserted = tx.execute(&INSERT, &row(task)?)?;
    if inserted == 0 { Err(Fault::Conflict("label")) } else { Ok(()) }
}

/// The row of a new task.
pub(crate) fn row(task: &Task) -> Result<[Value<'static>; ROW], Fault> {
    Ok(params![
        task.id,
        task.agent,
        task.user,
        task.label.clone(),
        task.parent,
        task.state.as_str(),
        document::write(task)?
    ])
}

/// For many rows at once.
pub(crate) fn many() -> &'static Rows {
    &MANY
}

/// The task of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: TaskId) -> Result<Option<Task>, Fault> {
    q.one(&BY_ID, &params![id], |row| read(row, 0))
}

/// The task that (agent, user) gave this label, in whatever state.
///
/// # Errors
/// [`Fault`].
pub fn by_label(
    q: &mut impl Query,
    agent: AgentId,
    user: Option<UserId>,
    label: &str,
) -> Result<Option<Task>, Fault> {
    match user {
        Some(user) => q.one(&BY_LABEL_WITH_USER, &params![agent, user, label], |row| read(row, 0)),
        None => q.one(&BY_LABEL_WITHOUT_USER, &params![agent, label], |row| read(row, 0)),
    }
}

/// The task of this label that a person made for `agent` on behalf of a user, if there is exactly one: where two users
/// use the same label, the agent has to name the task by its id.
///
/// # Errors
/// [`Fault`].
pub fn made_by_people(q: &mut impl Query, agent: AgentId, label: &str) -> Result<Option<Task>, Fault> {
    let mut found = q.query(&BY_LABEL_OF_PEOPLE, &params![agent, label], |row| read(row, 0))?;
    found.retain(|task| task.origin == TaskOrigin::Person);
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// Up to `limit` tasks that are parts of `id`, behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn children(
    q: &mut impl Query,
    id: TaskId,
    after: Option<TaskId>,
    limit: usize,
) -> Result<Vec<Task>, Fault> {
    q.query(&CHILDREN, &params![id, document::behind(after), limit], |row| read(row, 0))
}

/// Up to `limit` tasks behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    filter: Filter,
    after: Option<TaskId>,
    limit: usize,
) -> Result<Vec<Task>, Fault> {
    let statement = match filter {
        Filter { agent: Some(_), .. } => &PAGE_OF_AGENT,
        Filter { user: Some(_), .. } => &PAGE_OF_USER,
        Filter { .. } => &PAGE,
    };
    q.query(statement, &params![document::behind(after), filter.agent, filter.user, limit], |row| {
        read(row, 0)
    })
}

/// Ends an active task as completed or revoked, and with it its grants: every lineage that has one is stale.
/// `false` where it has ended already, never was, or `state` is none in which a task ends by somebody's act.
///
/// # Errors
/// [`Fault`].
pub fn finish(tx: &mut Tx<'_>, id: TaskId, state: TaskState) -> Result<bool, Fault> {
    if !matches!(state, TaskState::Completed | TaskState::Revoked)
        || tx.execute(&FINISH, &params![id, state.as_str()])? == 0
    {
        return Ok(false);
    }
    for root in tx.query(&LINEAGES, &params![id], |row| row.id(0))? {
        tx.bump(Version::Lineage(root))?;
    }
    Ok(true)
}

/// The task in the columns from `at` on.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Task, Fault> {
    Ok(Task { state: document::state(&row.text(at + 1)?)?, ..row.json(at)? })
}
