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
use placet_core::{agent::Agent, client::Metadata, id::AgentId, secret::KeyedHash, time::Timestamp};

statements! {
    /// What was said about an agent.
    FIND = "SELECT origin, url, document, acts_alone, last_used FROM clients WHERE agent = ?1";
    /// An agent with its secret and what was said about it.
    CREDENTIAL = concat!("SELECT ", agent_columns!("agents"), ", agents.secret, clients.origin, clients.url,
                         clients.document, clients.acts_alone, clients.last_used FROM agents LEFT JOIN clients ON clients.agent = agents.id
                         WHERE agents.id = ?1");
    /// Says it.
    PUT = "INSERT INTO clients (agent, origin, document) VALUES (?1, 'administrator', ?2)
           ON CONFLICT (agent) DO UPDATE SET document = excluded.document";
    /// Says it of a client that nobody registered by hand.
    ADOPT = "INSERT INTO clients (agent, origin, url, access_token, document, acts_alone, last_used)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (url) DO NOTHING";
    /// Whether it may act for itself.
    SET_ALONE = "UPDATE clients SET acts_alone = ?2 WHERE agent = ?1";
    /// The agent whose client_id is a URL.
    BY_URL = "SELECT agent FROM clients WHERE url = ?1";
    /// What a client that registered itself is changed with.
    ACCESS_TOKEN = "SELECT access_token FROM clients WHERE agent = ?1 AND access_token IS NOT NULL";
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

impl Origin {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Registration => "registration",
            Self::Document => "document",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Administrator, Self::Registration, Self::Document].into_iter().find(|one| one.as_str() == name)
    }
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
    /// Whether it may act for itself, and not only for people who asked it to: an administrator registered or
    /// confirmed it.
    pub acts_alone: bool,
    /// The day on which it was used last, where nobody registered it by hand ([`crate::client_use`]).
    pub last_used: Option<Timestamp>,
}

impl Default for StoredClient {
    fn default() -> Self {
        Self {
            origin: Origin::Administrator,
            url: None,
            metadata: Metadata::default(),
            acts_alone: true,
            last_used: None,
        }
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

/// Says whether an agent may act for itself.
///
/// # Errors
/// [`Fault`].
pub fn set_alone(tx: &mut Tx<'_>, id: AgentId, client: &StoredClient) -> Result<(), Fault> {
    if tx.execute(&SET_ALONE, &params![id, i64::from(client.acts_alone)])? == 0 {
        adopt(tx, id, client, None)?;
    }
    tx.bump(Version::Agent(id))
}

/// Says what a new agent is as a client that nobody registered by hand: `access_token` is the hash of what one that
/// registered itself is changed with.
///
/// # Errors
/// [`Fault::Conflict`] with `url` where another agent, also an ended one, has that.
pub fn adopt(
    tx: &mut Tx<'_>,
    id: AgentId,
    client: &StoredClient,
    access_token: Option<KeyedHash>,
) -> Result<(), Fault> {
    let token = access_token.as_ref().map(|token| token.as_bytes().as_slice());
    let row = params![
        id,
        client.origin.as_str(),
        client.url.as_deref(),
        token,
        document::write(&client.metadata)?,
        i64::from(client.acts_alone),
        client.last_used
    ];
    if tx.execute(&ADOPT, &row)? == 0 { Err(Fault::Conflict("url")) } else { Ok(()) }
}

/// The agent whose `client_id` is this URL, in whatever state.
///
/// # Errors
/// [`Fault`].
pub fn by_url(q: &mut impl Query, url: &str) -> Result<Option<AgentId>, Fault> {
    q.one(&BY_URL, &params![url], |row| row.id(0))
}

/// The hash of the token that a client which registered itself is changed with (RFC 7592).
///
/// # Errors
/// [`Fault`].
pub fn access_token(q: &mut impl Query, id: AgentId) -> Result<Option<KeyedHash>, Fault> {
    q.one(&ACCESS_TOKEN, &params![id], |row| {
        KeyedHash::from_bytes(&row.blob(0)?).ok_or(Fault::Unreadable("a hash"))
    })
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
    let origin = Origin::from_name(&row.text(at)?).ok_or(Fault::Unreadable("an origin"))?;
    Ok(StoredClient {
        origin,
        url: row.optional_text(at + 1)?,
        metadata: row.json(at + 2)?,
        acts_alone: row.boolean(at + 3)?,
        last_used: row.optional_time(at + 4)?,
    })
}
