//! Scopes that are registered: what they mean, what they stand for, who may delegate them.
//!
//! Invariant: a change raises [`Version::Scopes`], so that every node reads them anew within a second.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
    versions::Version,
};
use placet_core::scope::registry::{Entry, Registry};

statements! {
    /// Registers one, or replaces it.
    PUT = "INSERT INTO scopes (name, document) VALUES (?1, ?2)
           ON CONFLICT (name) DO UPDATE SET document = excluded.document";
    /// Takes one away.
    REMOVE = "DELETE FROM scopes WHERE name = ?1";
    /// All.
    ALL = "SELECT name, document FROM scopes ORDER BY name";
}

/// Registers a scope, or replaces what it means.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn put(tx: &mut Tx<'_>, name: &str, entry: &Entry) -> Result<(), Fault> {
    tx.execute(&PUT, &params![name, document::write(entry)?])?;
    tx.bump(Version::Scopes)
}

/// Takes a scope away; `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, name: &str) -> Result<bool, Fault> {
    let removed = tx.execute(&REMOVE, &params![name])? > 0;
    if removed {
        tx.bump(Version::Scopes)?;
    }
    Ok(removed)
}

/// Every scope that is registered.
///
/// # Errors
/// [`Fault`].
pub fn all(q: &mut impl Query) -> Result<Registry, Fault> {
    let rows: Vec<(String, Entry)> =
        q.query(&ALL, &params![], |row| Ok((row.text(0)?, document::read(&row.text(1)?)?)))?;
    Ok(Registry::new(rows))
}
