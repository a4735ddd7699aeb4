//! Agents as they are stored, with the hashes that they authenticate by.
//!
//! Every change raises the agent's version, both the row's (so that of two writers who read the same agent one
//! wins) and the one that the commit point compares (so that what was decided before is stale).
//!
//! Invariant: a row is never deleted; the handle of an ended agent stays taken, and an ended agent changes no more.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{agent::Agent, id::AgentId, secret::KeyedHash};

/// The columns that [`read`] takes, of the table `$table`.
macro_rules! agent_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".document, ",
            $table,
            ".handle, ",
            $table,
            ".state, ",
            $table,
            ".version, ",
            $table,
            ".registration"
        )
    };
}
pub(crate) use agent_columns;

/// How many columns [`agent_columns`] names.
pub(crate) const COLUMNS: usize = 5;

statements! {
    /// A new agent.
    INSERT = "INSERT INTO agents
                  (id, handle, state, version, registration, secret, registration_token, document)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (handle) DO NOTHING";
    /// One by id.
    BY_ID = concat!("SELECT ", agent_columns!("agents"), " FROM agents WHERE id = ?1");
    /// One by handle.
    BY_HANDLE = concat!("SELECT ", agent_columns!("agents"), " FROM agents WHERE handle = ?1");
    /// What its owner confirms it with.
    REGISTRATION_TOKEN = "SELECT registration_token FROM agents WHERE id = ?1";
    /// A page.
    PAGE = concat!("SELECT ", agent_columns!("agents"), " FROM agents WHERE id > ?1 ORDER BY id LIMIT ?2");
    /// What may be changed in place.
    UPDATE = "UPDATE agents SET document = ?3, version = version + 1
              WHERE id = ?1 AND version = ?2 AND state <> 'ended'";
    /// Its owner confirmed it.
    ACTIVATE = "UPDATE agents SET state = 'active', version = version + 1
                WHERE id = ?1 AND version = ?2 AND state = 'inactive'";
    /// Back in service.
    RESUME = "UPDATE agents SET state = 'active', version = version + 1
              WHERE id = ?1 AND version = ?2 AND state = 'suspended'";
    /// Stopped for a while.
    SUSPEND = "UPDATE agents SET state = 'suspended', version = version + 1
               WHERE id = ?1 AND version = ?2 AND state = 'active'";
    /// Gone for good.
    END = "UPDATE agents SET state = 'ended', version = version + 1
           WHERE id = ?1 AND version = ?2 AND state <> 'ended'";
}

/// Stores a new agent. Its registration grant (`agent.registration`) has to be inserted in the same transaction,
/// after it.
///
/// # Errors
/// [`Fault::Conflict`] with `handle` where an agent, also an ended one, has that handle.
pub fn insert(
    tx: &mut Tx<'_>,
    agent: &Agent,
    secret: KeyedHash,
    registration_token: KeyedHash,
) -> Result<(), Fault> {
    let inserted = tx.execute(
        &INSERT,
        &params![
            agent.id,
            &agent.handle,
            agent.state.as_str(),
            agent.version,
            agent.registration,
            secret.as_bytes(),
            registration_token.as_bytes(),
            document::write(agent)?
        ],
    )?;
    if inserted == 0 { Err(Fault::Conflict("handle")) } else { Ok(()) }
}

/// The agent of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: AgentId) -> Result<Option<Agent>, Fault> {
    q.one(&BY_ID, &params![id], |row| read(row, 0))
}

/// The agent that `text` means, which is an id or a handle, in whatever state.
///
/// # Errors
/// [`Fault`].
pub fn named(q: &mut impl Query, text: &str) -> Result<Option<Agent>, Fault> {
    match text.parse() {
        Ok(id) => find(q, id),
        Err(_) => by_handle(q, text),
    }
}

/// The agent of this handle, in whatever state.
///
/// # Errors
/// [`Fault`].
pub fn by_handle(q: &mut impl Query, handle: &str) -> Result<Option<Agent>, Fault> {
    q.one(&BY_HANDLE, &params![handle], |row| read(row, 0))
}

/// The hash of the token that its owner activates it with.
///
/// # Errors
/// [`Fault`].
pub fn registration_token(q: &mut impl Query, id: AgentId) -> Result<Option<KeyedHash>, Fault> {
    q.one(&REGISTRATION_TOKEN, &params![id], |row| hash(row, 0))
}

/// Up to `limit` agents behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(q: &mut impl Query, after: Option<AgentId>, limit: usize) -> Result<Vec<Agent>, Fault> {
    q.query(&PAGE, &params![document::behind(after), limit], |row| read(row, 0))
}

/// Stores description, labels, owner, level and default scopes of an agent as it was read and changed; handle,
/// state and registration stay. `false` where it has changed since, or has ended.
///
/// # Errors
/// [`Fault`].
pub fn update(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, Fault> {
    let changed = tx.execute(&UPDATE, &params![agent.id, agent.version, document::write(agent)?])?;
    raised(tx, agent.id, changed)
}

/// Confirms an inactive agent. `false` where `version` is not its version any more, or it is not inactive: the
/// registration token of an agent that an administrator suspended does not bring it back.
///
/// # Errors
/// [`Fault`].
pub fn activate(tx: &mut Tx<'_>, id: AgentId, version: u64) -> Result<bool, Fault> {
    let changed = tx.execute(&ACTIVATE, &params![id, version])?;
    raised(tx, id, changed)
}

/// Brings a suspended agent back. `false` where `version` is not its version any more, or it is not suspended.
///
/// # Errors
/// [`Fault`].
pub fn resume(tx: &mut Tx<'_>, id: AgentId, version: u64) -> Result<bool, Fault> {
    let changed = tx.execute(&RESUME, &params![id, version])?;
    raised(tx, id, changed)
}

/// Stops an active agent. `false` where `version` is not its version any more, or it is not active.
///
/// # Errors
/// [`Fault`].
pub fn suspend(tx: &mut Tx<'_>, id: AgentId, version: u64) -> Result<bool, Fault> {
    let changed = tx.execute(&SUSPEND, &params![id, version])?;
    raised(tx, id, changed)
}

/// Ends an agent for good, and with it every chain that it stands in. `false` where `version` is not its version
/// any more, or it has ended.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, id: AgentId, version: u64) -> Result<bool, Fault> {
    let changed = tx.execute(&END, &params![id, version])?;
    raised(tx, id, changed)
}

/// The agent in the columns from `at` on.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Agent, Fault> {
    Ok(Agent {
        handle: row.text(at + 1)?,
        state: document::state(&row.text(at + 2)?)?,
        version: row.count(at + 3)?,
        registration: row.id(at + 4)?,
        ..row.json(at)?
    })
}

fn hash(row: &Row<'_>, column: usize) -> Result<KeyedHash, Fault> {
    KeyedHash::from_bytes(&row.blob(column)?).ok_or(Fault::Unreadable("a hash"))
}

/// Raises the version that the commit point compares, where a row changed.
fn raised(tx: &mut Tx<'_>, id: AgentId, changed: u64) -> Result<bool, Fault> {
    if changed > 0 {
        tx.bump(Version::Agent(id))?;
    }
    Ok(changed > 0)
}
