//! Resource servers as they are stored: who may ask about tokens of its audience, charge decisions, and state context.
//!
//! Invariant: of those that have not ended, name and audience are unique; the secret is stored as its keyed hash only.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{id::ResourceServerId, secret::KeyedHash, time::Timestamp};

statements! {
    /// A new one.
    INSERT = "INSERT INTO resource_servers (id, name, audience, secret, made_by, created, status_list)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    /// One by id, with its secret.
    BY_ID = "SELECT id, name, audience, made_by, created, ended, status_list, secret FROM resource_servers WHERE id = ?1";
    /// A live one by name.
    BY_NAME = "SELECT id, name, audience, made_by, created, ended, status_list FROM resource_servers
               WHERE name = ?1 AND ended IS NULL";
    /// A live one by audience.
    BY_AUDIENCE = "SELECT id, name, audience, made_by, created, ended, status_list FROM resource_servers
                   WHERE audience = ?1 AND ended IS NULL";
    /// A page of the live ones.
    PAGE = "SELECT id, name, audience, made_by, created, ended, status_list FROM resource_servers
            WHERE id > ?1 AND ended IS NULL ORDER BY id LIMIT ?2";
    /// A new secret.
    SET_SECRET = "UPDATE resource_servers SET secret = ?2 WHERE id = ?1 AND ended IS NULL";
    /// Ends one.
    END = "UPDATE resource_servers SET ended = ?2 WHERE id = ?1 AND ended IS NULL";
}

/// A resource server, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceServer {
    /// Its id, and its `client_id`.
    pub id: ResourceServerId,
    /// Its name; unique while it lives.
    pub name: String,
    /// The `aud` of tokens for it (RFC 8707); unique while it lives.
    pub audience: String,
    /// Who made it: a user's id, or `admin-token`.
    pub made_by: String,
    /// When.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether tokens for it say in which list of statuses they stand.
    pub status_list: bool,
}

/// Stores a new one. `false` where a live one has its name or audience.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, server: &ResourceServer, secret: KeyedHash) -> Result<bool, Fault> {
    let row = params![
        server.id,
        &server.name,
        &server.audience,
        secret.as_bytes(),
        &server.made_by,
        server.created,
        server.status_list
    ];
    Ok(tx.execute(&INSERT, &row)? > 0)
}

/// The one of this id with the hash of its secret, also one that ended.
///
/// # Errors
/// [`Fault`].
pub fn credential(
    q: &mut impl Query,
    id: ResourceServerId,
) -> Result<Option<(ResourceServer, KeyedHash)>, Fault> {
    q.one(&BY_ID, &params![id], |row| {
        let secret = KeyedHash::from_bytes(&row.blob(7)?).ok_or(Fault::Unreadable("a hash"))?;
        Ok((read(row)?, secret))
    })
}

/// The live one of this name or audience; where one has it as its name and another as its audience, that one.
///
/// # Errors
/// [`Fault`].
pub fn by_name_or_audience(q: &mut impl Query, text: &str) -> Result<Option<ResourceServer>, Fault> {
    match q.one(&BY_AUDIENCE, &params![text], read)? {
        None => q.one(&BY_NAME, &params![text], read),
        found => Ok(found),
    }
}

/// Up to `limit` live ones behind `after`, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    after: Option<ResourceServerId>,
    limit: usize,
) -> Result<Vec<ResourceServer>, Fault> {
    q.query(&PAGE, &params![document::behind(after), limit], read)
}

/// Replaces the secret of a live one. `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn set_secret(tx: &mut Tx<'_>, id: ResourceServerId, secret: KeyedHash) -> Result<bool, Fault> {
    Ok(tx.execute(&SET_SECRET, &params![id, secret.as_bytes()])? > 0)
}

/// Ends a live one for good. `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, id: ResourceServerId, now: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&END, &params![id, now])? > 0)
}

fn read(row: &Row<'_>) -> Result<ResourceServer, Fault> {
    Ok(ResourceServer {
        id: row.id(0)?,
        name: row.text(1)?,
        audience: row.text(2)?,
        made_by: row.text(3)?,
        created: row.time(4)?,
        ended: row.optional_time(5)?,
        status_list: row.boolean(6)?,
    })
}
