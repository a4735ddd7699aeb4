//! Types of authorization details that are declared (RFC 9396): what an entry has to be, and how it may be narrower.
//!
//! Invariant: a change raises [`Version::DetailTypes`], so that every node reads them anew within a second.

use crate::{
    document,
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
    versions::{self, Version},
};
use placet_core::detail_type::DetailType;

statements! {
    /// Declares one, or replaces it.
    PUT = "INSERT INTO detail_types (name, document) VALUES (?1, ?2)
           ON CONFLICT (name) DO UPDATE SET document = excluded.document";
    /// Takes one away.
    REMOVE = "DELETE FROM detail_types WHERE name = ?1";
    /// One.
    FIND = "SELECT document FROM detail_types WHERE name = ?1";
    /// All.
    ALL = "SELECT name, document FROM detail_types ORDER BY name";
    /// Every name.
    NAMES = "SELECT name FROM detail_types";
}

/// Types by their names, sorted.
pub type Stored = Vec<(String, DetailType)>;

/// Declares a type, or replaces it.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn put(tx: &mut Tx<'_>, name: &str, definition: &DetailType) -> Result<(), Fault> {
    tx.execute(&PUT, &params![name, document::write(definition)?])?;
    tx.bump(Version::DetailTypes)
}

/// Takes a type away; `false` where there is none.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, name: &str) -> Result<bool, Fault> {
    let removed = tx.execute(&REMOVE, &params![name])? > 0;
    if removed {
        tx.bump(Version::DetailTypes)?;
    }
    Ok(removed)
}

/// The type of this name.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, name: &str) -> Result<Option<DetailType>, Fault> {
    q.one(&FIND, &params![name], |row| document::read(&row.text(0)?))
}

/// The names of all.
///
/// # Errors
/// [`Fault`].
pub fn names(q: &mut impl Query) -> Result<Vec<String>, Fault> {
    q.query(&NAMES, &params![], |row| row.text(0))
}

/// Every type that is declared, sorted by name.
///
/// # Errors
/// [`Fault`].
pub fn all(q: &mut impl Query) -> Result<Stored, Fault> {
    q.query(&ALL, &params![], |row| Ok((row.text(0)?, document::read(&row.text(1)?)?)))
}

/// Their version, with all of them where it is not `seen`.
///
/// # Errors
/// [`Fault`].
pub fn since(q: &mut impl Query, seen: Option<u64>) -> Result<(u64, Option<Stored>), Fault> {
    let version = versions::current(q, &Version::DetailTypes)?;
    let changed = if seen == Some(version) { None } else { Some(all(q)?) };
    Ok((version, changed))
}
