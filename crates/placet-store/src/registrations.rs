//! Clients that registered themselves and that nobody has confirmed; how many came from where; and what those may have
//! whom somebody confirms.
//!
//! Invariant: a row here is no agent and has no authority. It becomes one, or goes when its time is over.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
};
use placet_core::{
    client::{Metadata, Template},
    id::AgentId,
    secret::KeyedHash,
    time::Timestamp,
};

statements! {
    /// A new one.
    INSERT = "INSERT INTO registrations
                  (id, secret, registration_token, access_token, created, expires, document)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    /// One by id.
    FIND = "SELECT id, secret, registration_token, access_token, created, expires, document
            FROM registrations WHERE id = ?1";
    /// A page.
    PAGE = "SELECT id, secret, registration_token, access_token, created, expires, document
            FROM registrations WHERE id > ?1 AND expires > ?2 ORDER BY id LIMIT ?3";
    /// What it says, and perhaps another secret.
    UPDATE = "UPDATE registrations SET secret = ?2, document = ?3 WHERE id = ?1";
    /// It is gone.
    DELETE = "DELETE FROM registrations WHERE id = ?1";
    /// How many there are, up to a number.
    COUNT = "SELECT COUNT(*) FROM (SELECT id FROM registrations LIMIT ?1) AS waiting";
    /// How many came from an address in an hour.
    MADE = "SELECT made FROM registration_counts WHERE address = ?1 AND hour = ?2";
    /// One more came.
    NOTE = "INSERT INTO registration_counts (address, hour, made) VALUES (?1, ?2, 1)
            ON CONFLICT (address, hour) DO UPDATE SET made = registration_counts.made + 1";
    /// Forgets those whose time is over.
    PURGE = "DELETE FROM registrations WHERE id IN
             (SELECT id FROM registrations WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
    /// Forgets the counts of hours that are over.
    PURGE_COUNTS = "DELETE FROM registration_counts WHERE (address, hour) IN
                    (SELECT address, hour FROM registration_counts WHERE hour < ?1 ORDER BY hour LIMIT ?2)";
    /// What confirmed ones may have.
    TEMPLATE = "SELECT document FROM registration_template WHERE one = 1";
    /// Says it.
    SET_TEMPLATE = "INSERT INTO registration_template (one, set_by, set_at, document) VALUES (1, ?1, ?2, ?3)
                    ON CONFLICT (one) DO UPDATE SET set_by = excluded.set_by, set_at = excluded.set_at,
                                                    document = excluded.document";
}

/// A client that registered itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The id of the agent that it would be.
    pub id: AgentId,
    /// The hash of its secret; of one that nobody was told where its method is another.
    pub secret: KeyedHash,
    /// The hash of the token that its agent would be activated with; nobody was told it.
    pub registration_token: KeyedHash,
    /// The hash of the token that it is changed with (RFC 7592).
    pub access_token: KeyedHash,
    /// When it came.
    pub created: Timestamp,
    /// When it goes.
    pub expires: Timestamp,
    /// What it says of itself.
    pub metadata: Metadata,
}

/// Stores a new one.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn insert(tx: &mut Tx<'_>, new: &Registration) -> Result<(), Fault> {
    let row = params![
        new.id,
        new.secret.as_bytes(),
        new.registration_token.as_bytes(),
        new.access_token.as_bytes(),
        new.created,
        new.expires,
        document::write(&new.metadata)?
    ];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// The one of this id, also one whose time is over.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, id: AgentId) -> Result<Option<Registration>, Fault> {
    q.one(&FIND, &params![id], read)
}

/// Up to `limit` behind `after` whose time is not over, oldest first.
///
/// # Errors
/// [`Fault`].
pub fn list(
    q: &mut impl Query,
    after: Option<AgentId>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Registration>, Fault> {
    q.query(&PAGE, &params![document::behind(after), now, limit], read)
}

/// Replaces what one says of itself, and its secret.
///
/// # Errors
/// [`Fault`].
pub fn update(tx: &mut Tx<'_>, id: AgentId, secret: KeyedHash, metadata: &Metadata) -> Result<(), Fault> {
    tx.execute(&UPDATE, &params![id, secret.as_bytes(), document::write(metadata)?]).map(|_| ())
}

/// Takes one away. `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, id: AgentId) -> Result<bool, Fault> {
    Ok(tx.execute(&DELETE, &params![id])? > 0)
}

/// How many there are; no more than `limit` are counted.
///
/// # Errors
/// [`Fault`].
pub fn count(q: &mut impl Query, limit: usize) -> Result<u64, Fault> {
    Ok(q.one(&COUNT, &params![limit], |row| row.count(0))?.unwrap_or_default())
}

/// How many have come from `address` in the hour of `now`.
///
/// # Errors
/// [`Fault`].
pub fn made(q: &mut impl Query, address: &str, now: Timestamp) -> Result<u64, Fault> {
    Ok(q.one(&MADE, &params![address, hour(now)], |row| row.count(0))?.unwrap_or_default())
}

/// Counts one more.
///
/// # Errors
/// [`Fault`].
pub fn note(tx: &mut Tx<'_>, address: &str, now: Timestamp) -> Result<(), Fault> {
    tx.execute(&NOTE, &params![address, hour(now)]).map(|_| ())
}

/// Forgets up to `limit` whose time was over at `now`, and counts of hours before it.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    let gone = tx.execute(&PURGE, &params![now, limit])?;
    Ok(gone + tx.execute(&PURGE_COUNTS, &params![hour(now), limit])?)
}

/// What clients may have that somebody confirms.
///
/// # Errors
/// [`Fault`].
pub fn template(q: &mut impl Query) -> Result<Template, Fault> {
    Ok(q.one(&TEMPLATE, &[], |row| row.json(0))?.unwrap_or_default())
}

/// Replaces that.
///
/// # Errors
/// [`Fault`].
pub fn set_template(tx: &mut Tx<'_>, template: &Template, by: &str, now: Timestamp) -> Result<(), Fault> {
    tx.execute(&SET_TEMPLATE, &params![by, now, document::write(template)?]).map(|_| ())
}

fn hour(now: Timestamp) -> i64 {
    now.as_seconds().div_euclid(3600)
}

fn read(row: &Row<'_>) -> Result<Registration, Fault> {
    let hash = |column: usize| KeyedHash::from_bytes(&row.blob(column)?).ok_or(Fault::Unreadable("a hash"));
    Ok(Registration {
        id: row.id(0)?,
        secret: hash(1)?,
        registration_token: hash(2)?,
        access_token: hash(3)?,
        created: row.time(4)?,
        expires: row.time(5)?,
        metadata: row.json(6)?,
    })
}
