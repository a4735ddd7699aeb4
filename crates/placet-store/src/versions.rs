//! The versions that the commit point compares: of lineages, agents, policies, services and connections.
//!
//! Whoever changes one of these raises its version in the same transaction; an admission that was decided on an
//! older one is stale and has to be judged again (DESIGN §2).
//!
//! The writer keeps the versions it has seen in memory. On SQLite every change goes through this one thread: it holds
//! a lease on all of them, and drops a key as soon as it changes. On PostgreSQL the lease is that of one transaction:
//! the rows are read `FOR SHARE` at its beginning (`needs.rs`), so that a change on another node is either before it
//! and seen, or after it.
//!
//! Invariant: a version never goes down, and a missing row is version 0.

use crate::{
    fault::Fault,
    params,
    sql::{Keys, Rows, inserts, questions},
    statements,
    tx::{Query, Tx},
};
use placet_core::{
    chain::Stamp,
    id::{AgentId, ConnectionId, GrantId, PermitId},
};
use std::fmt;

statements! {
    /// The version of a key.
    VERSION = "SELECT version FROM versions WHERE key = ?1";
    /// The same, which stays as it is until the transaction ends.
    HELD = "SELECT version FROM versions WHERE key = ?1 FOR SHARE";
    /// Of every service.
    SERVICES = "SELECT key, version FROM versions WHERE key >= 'service/' AND key < 'service0' ORDER BY key";
    /// One higher, or 1.
    RAISE = "INSERT INTO versions (key, version) VALUES (?1, 1)
             ON CONFLICT (key) DO UPDATE SET version = versions.version + 1";
}

inserts! {
    /// Rows that are to be locked.
    MADE[2] = "INSERT INTO versions (key, version)", then "ON CONFLICT (key) DO NOTHING";
}

questions! {
    /// Versions that stay as they are until the transaction ends.
    SHARED[1] = "SELECT key, version FROM versions WHERE key IN (", "?", ", ", ") ORDER BY key FOR SHARE";
}

/// The key of the row that every raise raises too.
const CHANGES: &str = "changes";

/// Something whose change makes decisions stale.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Version {
    /// The revocation epoch of the lineage below this root.
    Lineage(GrantId),
    /// An agent.
    Agent(AgentId),
    /// The set of policies, whole.
    Policies,
    /// A service definition, by name.
    Service(String),
    /// A connection.
    Connection(ConnectionId),
    /// The keys and issuers of the installation; the commit point does not compare it.
    Keys,
    /// A permit: 0 until it is taken back.
    Permit(PermitId),
    /// The scopes that are registered; the commit point does not compare it.
    Scopes,
    /// The types of authorization details that are declared; the commit point does not compare it.
    DetailTypes,
    /// The resource servers; the commit point does not compare it.
    ResourceServers,
}

impl From<Stamp> for Version {
    fn from(stamp: Stamp) -> Self {
        match stamp {
            Stamp::Lineage(root) => Self::Lineage(root),
            Stamp::Agent(agent) => Self::Agent(agent),
        }
    }
}

impl fmt::Display for Version {
    /// The key of its row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lineage(root) => write!(f, "lineage/{root}"),
            Self::Agent(agent) => write!(f, "agent/{agent}"),
            Self::Policies => f.write_str("policies"),
            Self::Service(name) => write!(f, "service/{name}"),
            Self::Connection(connection) => write!(f, "connection/{connection}"),
            Self::Keys => f.write_str("keys"),
            Self::Permit(permit) => write!(f, "permit/{permit}"),
            Self::Scopes => f.write_str("scopes"),
            Self::DetailTypes => f.write_str("detail-types"),
            Self::ResourceServers => f.write_str("resource-servers"),
        }
    }
}

/// The version as it is stored; read it in the same snapshot as what it is the version of.
///
/// # Errors
/// What the engine met.
pub fn current(query: &mut impl Query, version: &Version) -> Result<u64, Fault> {
    stored(query, &version.to_string())
}

/// The versions of every service that there ever was, in the order of their names.
///
/// # Errors
/// What the engine met.
pub fn of_services(query: &mut impl Query) -> Result<Vec<(String, u64)>, Fault> {
    query.query(&SERVICES, &params![], |row| {
        let key = row.text(0)?;
        Ok((key.strip_prefix("service/").unwrap_or_default().to_owned(), row.count(1)?))
    })
}

/// Differs whenever any version was raised by anybody: what a node asks to see whether another one changed something.
///
/// # Errors
/// What the engine met.
pub fn changes(query: &mut impl Query) -> Result<u64, Fault> {
    stored(query, CHANGES)
}

/// Whether all are what `seen` says, by the writer's memory.
pub(crate) fn unchanged(tx: &mut Tx<'_>, seen: &[(Version, u64)]) -> Result<bool, Fault> {
    for (version, seen) in seen {
        let now = match tx.lease.versions.get(version) {
            Some(now) => *now,
            None => {
                let now = current(tx, version)?;
                tx.lease.versions.insert(version.clone(), now);
                now
            }
        };
        if now != *seen {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Raises a version. The memory forgets it, so that a rolled back savepoint leaves no trace of it.
pub(crate) fn raise(tx: &mut Tx<'_>, version: &Version) -> Result<(), Fault> {
    tx.lease.versions.remove(version);
    tx.execute(&RAISE, &params![version.to_string()])?;
    tx.execute(&RAISE, &params![CHANGES]).map(|_| ())
}

/// Keeps a version as it is until the transaction ends: whoever raises it on another node did before, or waits.
pub(crate) fn hold(tx: &mut Tx<'_>, version: &Version) -> Result<(), Fault> {
    tx.one(&HELD, &params![version.to_string()], |row| row.count(0)).map(|_| ())
}

/// For a group's needs: keys, locked against change.
pub(crate) fn shared() -> &'static Keys {
    &SHARED
}

/// For a group's needs: rows of keys and zeros, where there are none.
pub(crate) fn made() -> &'static Rows {
    &MADE
}

fn stored(query: &mut impl Query, key: &str) -> Result<u64, Fault> {
    Ok(query.one(&VERSION, &params![key], |row| row.count(0))?.unwrap_or(0))
}
