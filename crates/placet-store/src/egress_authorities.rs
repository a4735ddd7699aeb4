//! The authorities that certify hosts at the egress door, with their keys sealed.
//!
//! Nothing here opens a key: its seal is bound to the id of its row.
//!
//! Invariant: at most one is active and one is next; what is replaced is gone, with its key.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::time::Timestamp;
use serde::Deserialize;

statements! {
    /// Both.
    ALL = "SELECT id, state, certificate, sealed, created, expires FROM egress_authorities ORDER BY state";
    /// A new one.
    INSERT = "INSERT INTO egress_authorities (id, state, certificate, sealed, created, expires)
              VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    /// The next one certifies from now on.
    ACTIVATE = "UPDATE egress_authorities SET state = 'active' WHERE id = ?1 AND state = 'next'";
    /// Gone.
    REMOVE = "DELETE FROM egress_authorities WHERE id = ?1 AND state = 'active'";
    /// The same key under another vault key.
    RESEAL = "UPDATE egress_authorities SET sealed = ?3 WHERE id = ?1 AND sealed = ?2";
}

/// Where an authority is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorityState {
    /// Certifies.
    Active,
    /// Will, and is trusted already.
    Next,
}

impl AuthorityState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
        }
    }
}

/// An authority as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuthority {
    /// Its id, which its name has too.
    pub id: String,
    /// Where it is in its life.
    pub state: AuthorityState,
    /// Its certificate (DER).
    pub certificate: Vec<u8>,
    /// Its private key, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// When it certifies nothing any more.
    pub expires: Timestamp,
}

/// Both of them, the active one first.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn all(q: &mut impl Query) -> Result<Vec<StoredAuthority>, Fault> {
    q.query(&ALL, &params![], |row| {
        Ok(StoredAuthority {
            id: row.text(0)?,
            state: document::state(&row.text(1)?)?,
            certificate: row.blob(2)?,
            sealed: row.blob(3)?,
            created: row.time(4)?,
            expires: row.time(5)?,
        })
    })
}

/// A new one.
///
/// # Errors
/// [`Fault::Conflict`] where there is one in its state.
pub fn insert(tx: &mut Tx<'_>, new: &StoredAuthority) -> Result<(), Fault> {
    let row = params![&new.id, new.state.as_str(), &new.certificate, &new.sealed, new.created, new.expires];
    tx.execute(&INSERT, &row).map(|_| ())
}

/// Has the next one take the place of the active one, which is gone then; `false` where they aren't these any more.
///
/// # Errors
/// [`Fault`].
pub fn advance(tx: &mut Tx<'_>, active: &str, next: &str) -> Result<bool, Fault> {
    if tx.execute(&REMOVE, &params![active])? == 0 {
        return Ok(false);
    }
    Ok(tx.execute(&ACTIVATE, &params![next])? > 0)
}

/// Puts `new` where `old` is sealed; `false` where something else is by now.
///
/// # Errors
/// [`Fault`].
pub fn reseal(tx: &mut Tx<'_>, id: &str, old: &[u8], new: &[u8]) -> Result<bool, Fault> {
    Ok(tx.execute(&RESEAL, &params![id, old, new])? > 0)
}
