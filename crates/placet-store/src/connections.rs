//! Connections: accounts at upstreams, with the sealed secret of each.
//!
//! The generation counts the secrets that a connection has had. Approvals name it and the seal is bound to it, so a
//! new secret ends what was decided on the old one.
//!
//! Invariant: the sealed secret leaves only through [`sealed`], and only of a connection that is active; nothing
//! here opens it.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{
    call::Auth,
    id::{AgentId, ConnectionId, UserId},
    service::reference::Reference,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The columns that [`read`] takes.
macro_rules! columns {
    () => {
        "id, name, service, user_id, agents, generation, state, document, attention"
    };
}

statements! {
    /// A new connection.
    INSERT = "INSERT INTO connections
                  (id, name, service, user_id, agents, generation, state, sealed, document)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (name) DO NOTHING";
    /// One by id.
    BY_ID = concat!("SELECT ", columns!(), " FROM connections WHERE id = ?1");
    /// One by name.
    BY_NAME = concat!("SELECT ", columns!(), " FROM connections WHERE name = ?1");
    /// All of a service.
    OF_SERVICE = concat!("SELECT ", columns!(), " FROM connections WHERE service = ?1 ORDER BY id");
    /// All of a service that belong to a user or to the organization.
    OF_SERVICE_FOR = concat!("SELECT ", columns!(), " FROM connections
                              WHERE service = ?1 AND (user_id IS NULL OR user_id = ?2) ORDER BY id");
    /// Some of a user's.
    OF_USER = concat!("SELECT ", columns!(), " FROM connections WHERE user_id = ?1 ORDER BY id LIMIT ?2");
    /// Some of the organization's.
    OF_ALL = concat!("SELECT ", columns!(), " FROM connections WHERE user_id IS NULL ORDER BY id LIMIT ?1");
    /// A page.
    PAGE = concat!("SELECT ", columns!(), " FROM connections WHERE id > ?1 ORDER BY id LIMIT ?2");
    /// The secret that may be used.
    SEALED = "SELECT generation, sealed FROM connections WHERE id = ?1 AND state = 'active'";
    /// The secret that may be tried: also where upstream refused it when it was tried before.
    TRIED = "SELECT generation, sealed FROM connections
             WHERE id = ?1 AND (state = 'active' OR attention = 'credential_refused')";
    /// Secrets in whatever state, to be sealed anew.
    VAULTED = "SELECT id, generation, sealed FROM connections WHERE id > ?1 ORDER BY id LIMIT ?2";
    /// The same secret under another vault key.
    RESEAL = "UPDATE connections SET sealed = ?3 WHERE id = ?1 AND sealed = ?2";
    /// A new secret, which also confirms.
    SET_SECRET = "UPDATE connections
                  SET sealed = ?3, document = ?4, generation = generation + 1, state = 'active', attention = NULL
                  WHERE id = ?1 AND generation = ?2";
    /// Until its owner confirms.
    PARK = "UPDATE connections SET state = 'needs_attention', attention = 'service_changed'
            WHERE service = ?1 AND (state = 'active' OR attention = 'credential_refused') RETURNING id";
    /// Its owner confirmed.
    CONFIRM = "UPDATE connections SET state = 'active', document = ?3, attention = NULL
               WHERE id = ?1 AND generation = ?2 AND state = 'needs_attention'";
    /// Until its owner gives another secret.
    ATTEND = "UPDATE connections SET state = 'needs_attention', attention = ?3
              WHERE id = ?1 AND generation = ?2 AND state = 'active'";
    /// Upstream takes its secret after all.
    WORKS = "UPDATE connections SET state = 'active', attention = NULL
             WHERE id = ?1 AND generation = ?2 AND state = 'needs_attention' AND attention = 'credential_refused'";
    /// Whoever wins asks for a new token.
    BEGIN_RENEWAL = "UPDATE connections SET renewing = ?3
                     WHERE id = ?1 AND generation = ?2 AND renewing <= ?4
                       AND (state = 'active' OR attention = 'credential_refused')";
    /// Nobody asks before then.
    END_RENEWAL = "UPDATE connections SET renewing = ?3 WHERE id = ?1 AND generation = ?2";
    /// A new token, where the secret is as it was read.
    RENEWED = "UPDATE connections SET sealed = ?4, renewing = 0
               WHERE id = ?1 AND generation = ?2 AND sealed = ?3";
    /// Other agents.
    SET_AGENTS = "UPDATE connections SET agents = ?2 WHERE id = ?1";
    /// Gone, with its secret.
    REMOVE = "DELETE FROM connections WHERE id = ?1";
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Its secret may be used.
    Active,
    /// Its service changed where the secret would go or how: its owner has to confirm first.
    NeedsAttention,
}

impl ConnectionState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsAttention => "needs_attention",
        }
    }
}

/// What a connection that waits for its owner waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Its service changed where the secret would go or how.
    ServiceChanged,
    /// Its authorization server gives no token any more.
    TokenRefused,
    /// Its upstream did not take its secret when that was tried.
    CredentialRefused,
}

impl Attention {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceChanged => "service_changed",
            Self::TokenRefused => "token_refused",
            Self::CredentialRefused => "credential_refused",
        }
    }
}

/// An account at an upstream, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its unique name.
    pub name: String,
    /// The service that it is an account at.
    pub service: String,
    /// Whose it is; none: the organization's.
    pub user: Option<UserId>,
    /// The agents that an organization's connection names; none named: every agent.
    pub agents: Vec<AgentId>,
    /// How its service takes the secret, as its owner knew it.
    pub auth: Auth,
    /// The number of its secret, from 1.
    pub generation: u64,
    /// Where it is in its life.
    pub state: ConnectionState,
    /// What it waits for, where it waits.
    pub attention: Option<Attention>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it: a user's id, or `admin-token`.
    pub made_by: String,
    /// Where its secret is, where that is not here: what is sealed says the same.
    pub reference: Option<Reference>,
}

impl Connection {
    /// Whether a grant that `agent` holds for `user` reaches it without naming it (DESIGN §7): it is that user's, or
    /// the organization's and names no agents or this one.
    pub fn is_open_to(&self, user: Option<UserId>, agent: AgentId) -> bool {
        match self.user {
            Some(owner) => user == Some(owner),
            None => self.agents.is_empty() || self.agents.contains(&agent),
        }
    }
}

/// What of a connection has no column.
#[derive(Serialize, Deserialize)]
struct Document {
    auth: Auth,
    created: Timestamp,
    made_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<Reference>,
}

/// Stores a new connection with its sealed secret.
///
/// # Errors
/// [`Fault::Conflict`] with `name` where the name is taken; with another word where there is no such user.
pub fn insert(tx: &mut Tx<'_>, connection: &Connection, sealed: &[u8]) -> Result<(), Fault> {
    let inserted = tx.execute(
        &INSERT,
        &params![
            connection.id,
            &connection.name,
            &connection.service,
            connection.user,
            document::write(&connection.agents)?,
            connection.generation,
            connection.state.as_str(),
            sealed,
            rest(connection)?
        ],
    )?;
    if inserted == 0 { Err(Fault::Conflict("name")) } else { Ok(()) }
}

/// The connection of this id.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: ConnectionId) -> Result<Option<Connection>, Fault> {
    q.one(&BY_ID, &params![id], read)
}

/// The connection of this name.
///
/// # Errors
/// [`Fault`].
pub fn by_name(q: &mut impl Query, name: &str) -> Result<Option<Connection>, Fault> {
    q.one(&BY_NAME, &params![name], read)
}

/// Every connection of a service, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn of_service(q: &mut impl Query, service: &str) -> Result<Vec<Connection>, Fault> {
    q.query(&OF_SERVICE, &params![service], read)
}

/// The connections of a service that a grant of `agent` for `user` reaches without naming them
/// ([`Connection::is_open_to`]), oldest first, in whatever state. A grant's own `connections[]` is applied by the
/// caller.
///
/// # Errors
/// [`Fault`].
pub fn reachable(
    q: &mut impl Query,
    service: &str,
    user: Option<UserId>,
    agent: AgentId,
) -> Result<Vec<Connection>, Fault> {
    let mut found = q.query(&OF_SERVICE_FOR, &params![service, user], read)?;
    found.retain(|connection| connection.is_open_to(user, agent));
    Ok(found)
}

/// All connections, of whatever service, that a grant of `agent` on behalf of `user` reaches; `None` where those that
/// would have to be looked at are more than `most`, of the user or of the organization.
///
/// # Errors
/// [`Fault`].
pub fn all_reachable(
    q: &mut impl Query,
    user: Option<UserId>,
    agent: AgentId,
    most: usize,
) -> Result<Option<Vec<Connection>>, Fault> {
    let mut found = q.query(&OF_ALL, &params![most.saturating_add(1)], read)?;
    let own = q.query(&OF_USER, &params![user, most.saturating_add(1)], read)?;
    if found.len() > most || own.len() > most {
        return Ok(None);
    }
    found.extend(own);
    found.retain(|connection| connection.is_open_to(user, agent));
    found.sort_by_key(|connection| connection.id);
    Ok(Some(found))
}

/// Up to `limit` connections of a person, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn of_user(q: &mut impl Query, user: UserId, limit: usize) -> Result<Vec<Connection>, Fault> {
    q.query(&OF_USER, &params![user, limit], read)
}

/// Up to `limit` connections behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(q: &mut impl Query, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Connection>, Fault> {
    q.query(&PAGE, &params![document::behind(after), limit], read)
}

/// The generation and the sealed secret of an active connection.
///
/// # Errors
/// [`Fault`].
pub fn sealed(q: &mut impl Query, id: ConnectionId) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    q.one(&SEALED, &params![id], |row| Ok((row.count(0)?, row.blob(1)?)))
}

/// The generation and the sealed secret of a connection that may be tried: an active one, or one whose secret its upstream
/// did not take before.
///
/// # Errors
/// [`Fault`].
pub fn tried(q: &mut impl Query, id: ConnectionId) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    q.one(&TRIED, &params![id], |row| Ok((row.count(0)?, row.blob(1)?)))
}

/// Makes a connection active again, as it was read, whose secret its upstream takes after all. `false` where it waits for
/// something else by now, or has another secret.
///
/// # Errors
/// [`Fault`].
pub fn works(tx: &mut Tx<'_>, connection: &Connection) -> Result<bool, Fault> {
    let changed = tx.execute(&WORKS, &params![connection.id, connection.generation])?;
    raised(tx, connection.id, changed)
}

/// Replaces the secret of a connection as it was read: `sealed` is sealed for the generation one above
/// `connection.generation`. `connection.auth` is stored with it, and the connection is active again. `false` where
/// somebody else replaced the secret since.
///
/// # Errors
/// [`Fault`].
pub fn set_secret(tx: &mut Tx<'_>, connection: &Connection, sealed: &[u8]) -> Result<bool, Fault> {
    let row = params![connection.id, connection.generation, sealed, rest(connection)?];
    let changed = tx.execute(&SET_SECRET, &row)?;
    raised(tx, connection.id, changed)
}

/// Parks every active connection of a service until its owner confirms, and answers which.
///
/// # Errors
/// [`Fault`].
pub fn park(tx: &mut Tx<'_>, service: &str) -> Result<Vec<ConnectionId>, Fault> {
    let parked = tx.query(&PARK, &params![service], |row| row.id(0))?;
    for id in &parked {
        tx.bump(Version::Connection(*id))?;
    }
    Ok(parked)
}

/// Makes a parked connection, as it was read, active again, with `connection.auth` as its owner confirmed it.
/// `false` where it is not parked, or its secret was replaced since.
///
/// # Errors
/// [`Fault`].
pub fn confirm(tx: &mut Tx<'_>, connection: &Connection) -> Result<bool, Fault> {
    let row = params![connection.id, connection.generation, rest(connection)?];
    let changed = tx.execute(&CONFIRM, &row)?;
    raised(tx, connection.id, changed)
}

/// Parks an active connection, as it was read, for a reason that only another secret mends. `false` where it was changed
/// since.
///
/// # Errors
/// [`Fault`].
pub fn attend(tx: &mut Tx<'_>, connection: &Connection, why: Attention) -> Result<bool, Fault> {
    let row = params![connection.id, connection.generation, why.as_str()];
    let changed = tx.execute(&ATTEND, &row)?;
    raised(tx, connection.id, changed)
}

/// Takes the turn to renew the token of an active connection, as it was read, until `until`: of all that ask, on
/// whatever node, one has it. `false` where somebody else does.
///
/// # Errors
/// [`Fault`].
pub fn begin_renewal(
    tx: &mut Tx<'_>,
    connection: &Connection,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Fault> {
    let row = params![connection.id, connection.generation, until, now];
    Ok(tx.execute(&BEGIN_RENEWAL, &row)? > 0)
}

/// Ends the turn without a token: nobody takes it before `until`.
///
/// # Errors
/// [`Fault`].
pub fn end_renewal(tx: &mut Tx<'_>, connection: &Connection, until: Timestamp) -> Result<(), Fault> {
    tx.execute(&END_RENEWAL, &params![connection.id, connection.generation, until])?;
    Ok(())
}

/// Puts what was renewed where `old` is, and ends the turn. `false` where something else is there by now: another
/// secret, or the same under another vault key. Nothing that was decided on the connection becomes stale by it.
///
/// # Errors
/// [`Fault`].
pub fn renewed(tx: &mut Tx<'_>, connection: &Connection, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RENEWED, &params![connection.id, connection.generation, old, new])? > 0)
}

/// Has an organization's connection name these agents from now on. `false` where there is no such connection.
///
/// # Errors
/// [`Fault`].
pub fn set_agents(tx: &mut Tx<'_>, id: ConnectionId, agents: &[AgentId]) -> Result<bool, Fault> {
    let changed = tx.execute(&SET_AGENTS, &params![id, document::write(&agents)?])?;
    raised(tx, id, changed)
}

/// Removes a connection with its secret: what was decided on it is stale, and its name is free. `false` where there is
/// no such connection.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, id: ConnectionId) -> Result<bool, Fault> {
    let changed = tx.execute(&REMOVE, &params![id])?;
    raised(tx, id, changed)
}

/// Up to `limit` sealed secrets behind `after`, of connections in whatever state, with their generations: for sealing
/// them anew without opening them.
///
/// # Errors
/// [`Fault`].
pub fn vaulted(
    q: &mut impl Query,
    after: Option<ConnectionId>,
    limit: usize,
) -> Result<Vec<(ConnectionId, u64, Vec<u8>)>, Fault> {
    q.query(&VAULTED, &params![document::behind(after), limit], |row| {
        Ok((row.id(0)?, row.count(1)?, row.blob(2)?))
    })
}

/// Puts the same secret, sealed by another vault key, where `old` is; `false` where something else is by now. Nothing
/// that was decided on the connection becomes stale by it.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, id: ConnectionId, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL, &params![id, old, new])? > 0)
}

fn rest(connection: &Connection) -> Result<String, Fault> {
    let Connection { auth, created, made_by, reference, .. } = connection.clone();
    document::write(&Document { auth, created, made_by, reference })
}

fn read(row: &Row<'_>) -> Result<Connection, Fault> {
    let Document { auth, created, made_by, reference } = row.json(7)?;
    let state = document::state(&row.text(6)?)?;
    // Those that were parked before reasons were kept were parked by their service.
    let attention = match (state, row.optional_text(8)?) {
        (ConnectionState::Active, _) => None,
        (ConnectionState::NeedsAttention, Some(word)) => Some(document::state(&word)?),
        (ConnectionState::NeedsAttention, None) => Some(Attention::ServiceChanged),
    };
    Ok(Connection {
        id: row.id(0)?,
        name: row.text(1)?,
        service: row.text(2)?,
        user: row.optional_id(3)?,
        agents: row.json(4)?,
        auth,
        generation: row.count(5)?,
        state,
        attention,
        created,
        made_by,
        reference,
    })
}

/// Raises the version that the commit point compares, where a row changed.
fn raised(tx: &mut Tx<'_>, id: ConnectionId, changed: u64) -> Result<bool, Fault> {
    if changed > 0 {
        tx.bump(Version::Connection(id))?;
    }
    Ok(changed > 0)
}
