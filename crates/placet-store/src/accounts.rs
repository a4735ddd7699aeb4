//! What is needed to connect an account that its owner agrees to elsewhere: what this server is there, and who is there now.
//!
//! Invariant: what somebody comes back with is taken once, on all nodes; of all that ask whether somebody has entered a code,
//! one asks at a time. Nothing here opens a secret.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    id::{AgentId, ConnectionId, SessionId, UserId},
    secret::KeyedHash,
    service::oauth::OAuth,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

statements! {
    /// What this server is at a service's authorization server from now on.
    PUT_CLIENT = "INSERT INTO service_clients (service, generation, document, sealed) VALUES (?1, ?2, ?3, ?4)
              ON CONFLICT (service) DO UPDATE SET generation = excluded.generation, document = excluded.document,
              sealed = excluded.sealed WHERE service_clients.generation < excluded.generation";
    /// What it is.
    CLIENT = "SELECT service, generation, document, sealed FROM service_clients WHERE service = ?1";
    /// For which services it is one.
    CLIENTS = "SELECT service, generation, document, sealed FROM service_clients WHERE service > ?1 ORDER BY service LIMIT ?2";
    /// It is none any more.
    DROP_CLIENT = "DELETE FROM service_clients WHERE service = ?1";
    /// The same secret under another vault key.
    RESEAL_CLIENT = "UPDATE service_clients SET sealed = ?3 WHERE service = ?1 AND sealed = ?2";
    /// Notes that somebody leaves.
    PUT_CONNECTING = "INSERT INTO connecting (hash, expires, document, next_poll, sealed) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Who that is.
    CONNECTING = "SELECT expires, document, next_poll, sealed FROM connecting WHERE hash = ?1";
    /// Once.
    DROP_CONNECTING = "DELETE FROM connecting WHERE hash = ?1";
    /// Whoever wins asks.
    POLL_CONNECTING = "UPDATE connecting SET next_poll = ?3 WHERE hash = ?1 AND next_poll <= ?2";
    /// Less often, or more.
    PACE_CONNECTING = "UPDATE connecting SET next_poll = ?2, document = ?3 WHERE hash = ?1";
    /// Forgets some who did not come back in time.
    PURGE_CONNECTING = "DELETE FROM connecting WHERE hash IN
              (SELECT hash FROM connecting WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// What this server is at the authorization server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceClient {
    /// The service.
    pub service: String,
    /// What the seal is bound to, beside the service: higher than that of any before.
    pub generation: u64,
    /// What else is known.
    pub about: Registered,
    /// Its secret, sealed; none: a public client.
    pub sealed: Option<Vec<u8>>,
}

/// What is known of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// What it is called there.
    pub client_id: String,
    /// The server that it was registered at: of no other is it a client.
    pub server: OAuth,
    /// Who said so.
    pub made_by: String,
    /// When.
    pub created: Timestamp,
}

/// Somebody who connects an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connecting {
    /// The service that it is an account of.
    pub service: String,
    /// The version of it that they saw: nothing is kept for where another one would send it.
    pub version: u64,
    /// Its authorization server, as it was when they left.
    pub server: OAuth,
    /// Who this server is there.
    pub client_id: String,
    /// How the connection will be called.
    pub name: String,
    /// Whose it will be; none: the organization's.
    pub user: Option<UserId>,
    /// The agents that an organization's connection will name.
    pub agents: Vec<AgentId>,
    /// The connection that gets another secret, and the number of the one there is.
    pub mends: Option<(ConnectionId, u64)>,
    /// The session in which they left; none: the administrator token.
    pub session: Option<SessionId>,
    /// Who that is: a user's id, or `admin-token`.
    pub by: String,
    /// How many seconds pass from one question to the next, where they enter a code elsewhere.
    pub interval: u64,
}

/// Where somebody stands who enters a code elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// Until when they may.
    pub expires: Timestamp,
    /// Who it is.
    pub who: Connecting,
    /// Before then nobody asks.
    pub next_poll: Timestamp,
    /// The code of the device, sealed.
    pub sealed: Option<Vec<u8>>,
}

/// From now on this is what the server is. `false` where somebody else has just said so.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn put_client(tx: &mut Tx<'_>, client: &ServiceClient) -> Result<bool, Fault> {
    let row = params![
        &client.service,
        client.generation,
        document::write(&client.about)?,
        client.sealed.as_deref()
    ];
    Ok(tx.execute(&PUT_CLIENT, &row)? > 0)
}

/// What this server is at the authorization server of a service.
///
/// # Errors
/// [`Fault`].
pub fn client(q: &mut impl Query, service: &str) -> Result<Option<ServiceClient>, Fault> {
    q.one(&CLIENT, &params![service], read)
}

/// Up to `limit` services behind `after` for which it is something, in their order.
///
/// # Errors
/// [`Fault`].
pub fn clients(q: &mut impl Query, after: &str, limit: usize) -> Result<Vec<ServiceClient>, Fault> {
    q.query(&CLIENTS, &params![after, limit], read)
}

/// From now on it is nothing there; `false` where it was nothing.
///
/// # Errors
/// [`Fault`].
pub fn drop_client(tx: &mut Tx<'_>, service: &str) -> Result<bool, Fault> {
    Ok(tx.execute(&DROP_CLIENT, &params![service])? > 0)
}

/// Puts the same secret, sealed by another vault key, where `old` is; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, service: &str, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL_CLIENT, &params![service, old, new])? > 0)
}

/// Notes that somebody leaves, with the sealed code of a device where they enter one.
///
/// # Errors
/// [`Fault::Conflict`] where somebody has with the same hash.
pub fn leave(
    tx: &mut Tx<'_>,
    hash: KeyedHash,
    who: &Connecting,
    (expires, next_poll): (Timestamp, Timestamp),
    sealed: Option<&[u8]>,
) -> Result<(), Fault> {
    let row = params![hash.as_bytes(), expires, document::write(who)?, next_poll, sealed];
    tx.execute(&PUT_CONNECTING, &row).map(|_| ())
}

/// Who left with this, and may still come back.
///
/// # Errors
/// [`Fault`].
pub fn away(q: &mut impl Query, hash: KeyedHash, now: Timestamp) -> Result<Option<Polled>, Fault> {
    let found = q.one(&CONNECTING, &params![hash.as_bytes()], |row| {
        Ok(Polled {
            expires: row.time(0)?,
            who: row.json(1)?,
            next_poll: row.time(2)?,
            sealed: row.optional_blob(3)?,
        })
    })?;
    Ok(found.filter(|found| now < found.expires))
}

/// Who comes back with this; once.
///
/// # Errors
/// [`Fault`].
pub fn come_back(tx: &mut Tx<'_>, hash: KeyedHash, now: Timestamp) -> Result<Option<Connecting>, Fault> {
    let found = away(tx, hash, now)?;
    let taken = tx.execute(&DROP_CONNECTING, &params![hash.as_bytes()])? > 0;
    Ok(found.filter(|_| taken).map(|found| found.who))
}

/// Takes the turn to ask whether a code was entered; nobody else does before `next`. `false` where it is too early.
///
/// # Errors
/// [`Fault`].
pub fn poll(tx: &mut Tx<'_>, hash: KeyedHash, now: Timestamp, next: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&POLL_CONNECTING, &params![hash.as_bytes(), now, next])? > 0)
}

/// Changes when it is asked next, and how often after that.
///
/// # Errors
/// [`Fault`].
pub fn pace(tx: &mut Tx<'_>, hash: KeyedHash, next: Timestamp, who: &Connecting) -> Result<(), Fault> {
    tx.execute(&PACE_CONNECTING, &params![hash.as_bytes(), next, document::write(who)?]).map(|_| ())
}

/// Forgets up to `limit` who could not come back any more at `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE_CONNECTING, &params![now, limit])
}

fn read(row: &Row<'_>) -> Result<ServiceClient, Fault> {
    Ok(ServiceClient {
        service: row.text(0)?,
        generation: row.count(1)?,
        about: row.json(2)?,
        sealed: row.optional_blob(3)?,
    })
}
