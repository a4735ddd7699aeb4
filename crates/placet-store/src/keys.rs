//! The keys of the installation, sealed; and which vault keys seal.
//!
//! Nothing here opens a key. A key's id is `purpose/name`, and its seal is bound to the id; so a row that is moved to
//! another purpose or name does not open.
//!
//! Invariant: at most one key of a purpose is active and one is next; at most one vault key is active.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::{id::NodeId, time::Timestamp};
use serde::Deserialize;

statements! {
    /// Every key, the oldest first.
    ALL = "SELECT id, purpose, state, algorithm, sealed, created, since, until_at FROM keys ORDER BY created, id";
    /// A new key.
    INSERT = "INSERT INTO keys (id, purpose, state, algorithm, sealed, created, since, until_at)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    /// Another state.
    MOVE = "UPDATE keys SET state = ?3, since = ?4, until_at = ?5 WHERE id = ?1 AND state = ?2";
    /// Gone.
    REMOVE = "DELETE FROM keys WHERE id = ?1";
    /// The same key under another vault key.
    RESEAL = "UPDATE keys SET sealed = ?3 WHERE id = ?1 AND sealed = ?2";
    /// Every vault key that was ever used, the oldest first.
    VAULT_KEYS = "SELECT id, state, since FROM vault_keys ORDER BY since, id";
    /// The vault key that seals does so no more.
    RETIRE_VAULT_KEY = "UPDATE vault_keys SET state = 'retiring', since = ?1 WHERE state = 'active'";
    /// A vault key seals; one that was retired does not come back.
    USE_VAULT_KEY = "INSERT INTO vault_keys (id, state, since) VALUES (?1, 'active', ?2)
                     ON CONFLICT (id) DO UPDATE SET state = 'active', since = excluded.since
                     WHERE vault_keys.state = 'retiring'";
    /// Nothing is sealed by it any more.
    END_VAULT_KEY = "UPDATE vault_keys SET state = 'retired', since = ?2 WHERE id = ?1 AND state = 'retiring'";
    /// What a node says it has.
    HOLD = "INSERT INTO vault_holders (node, keys, seen, issuer) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (node) DO UPDATE SET keys = excluded.keys, seen = excluded.seen, issuer = excluded.issuer";
    /// What the nodes said since.
    HOLDERS = "SELECT node, keys, seen, issuer FROM vault_holders WHERE seen >= ?1 ORDER BY node";
    /// Only who they are and when they said it.
    RUNNING = "SELECT node, seen FROM vault_holders WHERE seen >= ?1 ORDER BY node";
    /// A node that ends says so.
    LEAVE = "DELETE FROM vault_holders WHERE node = ?1";
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Signs tokens.
    Token,
    /// Signs heads and checkpoints of the record.
    Record,
    /// Hashes generated secrets.
    Hash,
    /// Keys the digests of held requests.
    Approval,
    /// Seals the bodies of the record.
    Body,
    /// No key but the hash of the administrator token.
    Admin,
}

impl Purpose {
    /// As stored, recorded and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Record => "record",
            Self::Hash => "hash",
            Self::Approval => "approval",
            Self::Body => "body",
            Self::Admin => "admin",
        }
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, and does not sign yet.
    Next,
    /// Signs or seals.
    Active,
    /// Verifies or opens what it signed or sealed before.
    Retired,
}

impl KeyState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// `purpose/name`.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is in its life.
    pub state: KeyState,
    /// With what it signs, where it signs tokens; for people to read, the key itself says it.
    pub algorithm: Option<String>,
    /// Sealed by a vault key.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When a retired key goes; none: it stays.
    pub until: Option<Timestamp>,
}

impl StoredKey {
    /// The id without the purpose.
    pub fn name(&self) -> &str {
        self.id.split_once('/').map_or("", |(_, name)| name)
    }
}

/// Where a vault key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultKeyState {
    /// Seals.
    Active,
    /// Something may still be sealed by it.
    Retiring,
    /// Nothing is.
    Retired,
}

impl VaultKeyState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }
}

/// What is known of a vault key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultKey {
    /// The id by which sealed values name it.
    pub id: String,
    /// Where it is in its life.
    pub state: VaultKeyState,
    /// Since when.
    pub since: Timestamp,
}

/// A running node, with the vault keys that it has and the issuer that it serves as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The ids of its vault keys.
    pub keys: Vec<String>,
    /// When it said so.
    pub seen: Timestamp,
    /// Its issuer; none where it is of an older version.
    pub issuer: Option<String>,
}

/// Every key, the oldest first.
///
/// # Errors
/// [`Fault`].
pub fn all(q: &mut impl Query) -> Result<Vec<StoredKey>, Fault> {
    q.query(&ALL, &params![], read)
}

/// A new key.
///
/// # Errors
/// [`Fault`]; [`Fault::Conflict`] where another key of its purpose is in its state.
pub fn insert(tx: &mut Tx<'_>, key: &StoredKey) -> Result<(), Fault> {
    let row = params![
        &key.id,
        key.purpose.as_str(),
        key.state.as_str(),
        key.algorithm.as_ref(),
        &key.sealed,
        key.created,
        key.since,
        key.until
    ];
    tx.execute(&INSERT, &row)?;
    tx.bump(Version::Keys)
}

/// Moves a key on; `false` where it is not in state `from`.
///
/// # Errors
/// [`Fault`].
pub fn advance(
    tx: &mut Tx<'_>,
    id: &str,
    (from, to): (KeyState, KeyState),
    now: Timestamp,
    until: Option<Timestamp>,
) -> Result<bool, Fault> {
    let moved = tx.execute(&MOVE, &params![id, from.as_str(), to.as_str(), now, until])? > 0;
    if moved {
        tx.bump(Version::Keys)?;
    }
    Ok(moved)
}

/// Removes a key; `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, id: &str) -> Result<bool, Fault> {
    let removed = tx.execute(&REMOVE, &params![id])? > 0;
    if removed {
        tx.bump(Version::Keys)?;
    }
    Ok(removed)
}

/// Puts `new` where `old` is sealed; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, id: &str, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL, &params![id, old, new])? > 0)
}

/// Every vault key that was ever used, the oldest first.
///
/// # Errors
/// [`Fault`].
pub fn vault_keys(q: &mut impl Query) -> Result<Vec<VaultKey>, Fault> {
    q.query(&VAULT_KEYS, &params![], |row| {
        Ok(VaultKey { id: row.text(0)?, state: document::state(&row.text(1)?)?, since: row.time(2)? })
    })
}

/// Says that the vault key `id` seals from now on; `false` where it was retired before, and changes nothing then.
///
/// # Errors
/// [`Fault`].
pub fn use_vault_key(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool, Fault> {
    let known = vault_keys(tx)?.into_iter().find(|key| key.id == id).map(|key| key.state);
    match known {
        Some(VaultKeyState::Active) => return Ok(true),
        Some(VaultKeyState::Retired) => return Ok(false),
        Some(VaultKeyState::Retiring) | None => {}
    }
    tx.execute(&RETIRE_VAULT_KEY, &params![now])?;
    tx.execute(&USE_VAULT_KEY, &params![id, now])?;
    tx.bump(Version::Keys)?;
    Ok(true)
}

/// Says that nothing is sealed by the vault key any more; `false` where it is not retiring.
///
/// # Errors
/// [`Fault`].
pub fn end_vault_key(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool, Fault> {
    let ended = tx.execute(&END_VAULT_KEY, &params![id, now])? > 0;
    if ended {
        tx.bump(Version::Keys)?;
    }
    Ok(ended)
}

/// Says which vault keys a running node has, and as which issuer it serves.
///
/// # Errors
/// [`Fault`].
pub fn hold(
    tx: &mut Tx<'_>,
    node: NodeId,
    keys: &[String],
    issuer: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    tx.execute(&HOLD, &params![node, keys.join(" "), now, issuer]).map(|_| ())
}

/// The nodes that said at `since` or later that they run.
///
/// # Errors
/// [`Fault`].
pub fn holders(q: &mut impl Query, since: Timestamp) -> Result<Vec<Holder>, Fault> {
    q.query(&HOLDERS, &params![since], |row| {
        let keys = row.text(1)?.split_ascii_whitespace().map(str::to_owned).collect();
        Ok(Holder { node: row.id(0)?, keys, seen: row.time(2)?, issuer: row.optional_text(3)? })
    })
}

/// The nodes that said at `since` or later that they run, and when they did; of an older schema, too.
///
/// # Errors
/// [`Fault`].
pub fn running(q: &mut impl Query, since: Timestamp) -> Result<Vec<(NodeId, Timestamp)>, Fault> {
    q.query(&RUNNING, &params![since], |row| Ok((row.id(0)?, row.time(1)?)))
}

/// Says that a node runs no more.
///
/// # Errors
/// [`Fault`].
pub fn leave(tx: &mut Tx<'_>, node: NodeId) -> Result<(), Fault> {
    tx.execute(&LEAVE, &params![node]).map(|_| ())
}

fn read(row: &Row<'_>) -> Result<StoredKey, Fault> {
    Ok(StoredKey {
        id: row.text(0)?,
        purpose: document::state(&row.text(1)?)?,
        state: document::state(&row.text(2)?)?,
        algorithm: row.optional_text(3)?,
        sealed: row.blob(4)?,
        created: row.time(5)?,
        since: row.time(6)?,
        until: row.optional_time(7)?,
    })
}
