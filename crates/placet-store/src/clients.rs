//! What agents are as OAuth clients: their metadata, beside the agent, and the hash that one authenticates by.
//!
//! Invariant: an agent that nothing was said about is a client with a secret; no row and the default are the same.

use crate::{
    agents::{self, agent_columns},
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{agent::Agent, client::Metadata, id::AgentId, secret::KeyedHash};

statements! {
    /// What was said about an agent.
    FIND = "SELECT origin, url, document FROM clients WHERE agent = ?1";
    /// An agent with its secret and what was said about it.
    CREDENTIAL = concat!("SELECT ", agent_columns!("agents"), ", agents.secret, clients.origin, clients.url,
                         clients.document FROM agents LEFT JOIN clients ON clients.agent = agents.id
                         WHERE agents.id = ?1");
    /// Says it.
    PUT = "INSERT INTO clients (agent, origin, document) VALUES (?1, 'administrator', ?2)
           ON CONFLICT (agent) DO UPDATE SET document = excluded.document";
    /// Another secret.
    SET_SECRET = "UPDATE agents SET secret = ?2 WHERE id = ?1 AND state <> 'ended'";
}

/// Where the metadata of a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An administrator registered the agent.
    Administrator,
    /// The client registered itself (RFC 7591).
    Registration,
    /// A document at the URL that is its `client_id`.
    Document,
}

/// An agent as a client.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredClient {
    /// Where its metadata comes from.
    pub origin: Origin,
    /// Its `client_id` where that is a URL.
    pub url: Option<String>,
    /// Its metadata.
    pub metadata: Metadata,
}

impl Default for StoredClient {
    fn default() -> Self {
        Self { origin: Origin::Administrator, url: None, metadata: Metadata::default() }
    }
}

/// What was said about this agent.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn find(q: &mut impl Query, id: AgentId) -> Result<StoredClient, Fault> {
    Ok(q.one(&FIND, &params![id], |row| read(row, 0))?.unwrap_or_default())
}

/// The agent with the hash of its client secret, in whatever state, and what was said about it. The hash of a client
/// whose method is no secret is of one that nobody was told.
///
/// # Errors
/// [`Fault`].
pub fn credential(
    q: &mut impl Query,
    id: AgentId,
) -> Result<Option<(Agent, KeyedHash, StoredClient)>, Fault> {
    q.one(&CREDENTIAL, &params![id], |row| {
        let secret = KeyedHash::from_bytes(&row.blob(agents::COLUMNS)?);
        let client = match row.optional_text(agents::COLUMNS + 1)? {
            Some(_) => read(row, agents::COLUMNS + 1)?,
            None => StoredClient::default(),
        };
        Ok((agents::read(row, 0)?, secret.ok_or(Fault::Unreadable("a hash"))?, client))
    })
}

/// Replaces the metadata of an agent.
///
/// # Errors
/// [`Fault`].
pub fn put(tx: &mut Tx<'_>, id: AgentId, metadata: &Metadata) -> Result<(), Fault> {
    tx.execute(&PUT, &params![id, document::write(metadata)?])?;
    tx.bump(Version::Agent(id))
}

/// Replaces the secret of an agent that has not ended.
///
/// # Errors
/// [`Fault`].
pub fn set_secret(tx: &mut Tx<'_>, id: AgentId, secret: KeyedHash) -> Result<(), Fault> {
    tx.execute(&SET_SECRET, &params![id, secret.as_bytes()])?;
    tx.bump(Version::Agent(id))
}

fn read(row: &Row<'_>, at: usize) -> Result<StoredClient, Fault> {
    let origin = match row.text(at)?.as_str() {
        "administrator" => Origin::Administrator,
        "registration" => Origin::Registration,
        "document" => Origin::Document,
        _ => return Err(Fault::Unreadable("an origin")),
    };
    Ok(StoredClient { origin, url: row.optional_text(at + 1)?, metadata: row.json(at + 2)? })
}
