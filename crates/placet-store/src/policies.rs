//! Policies as they are stored: the source of every version that was ever applied.
//!
//! Invariant: a version number is given once and its source never changes; at most one version of a name is active.
//! Applying or removing one makes every decision stale: the set as a whole has one version at the commit point.

use crate::{
    fault::Fault,
    observations, params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::time::Timestamp;

statements! {
    /// The newest version of a name, active or not.
    NEWEST = "SELECT COALESCE(MAX(version), 0) FROM policies WHERE name = ?1";
    /// A new version.
    INSERT = "INSERT INTO policies (name, version, source, applied, applied_by, active)
              VALUES (?1, ?2, ?3, ?4, ?5, 1)";
    /// No version of a name is active.
    DEACTIVATE = "UPDATE policies SET active = 0 WHERE name = ?1 AND active = 1";
    /// All that are active.
    CURRENT = "SELECT name, version, source, applied, applied_by, active FROM policies
               WHERE active = 1 ORDER BY name";
    /// The active version of a name.
    BY_NAME = "SELECT name, version, source, applied, applied_by, active FROM policies
               WHERE name = ?1 AND active = 1";
    /// Every version of a name.
    VERSIONS_OF = "SELECT name, version, source, applied, applied_by, active FROM policies
                   WHERE name = ?1 ORDER BY version";
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The policy's name.
    pub name: String,
    /// From 1, without gaps.
    pub version: u64,
    /// The text as it was applied.
    pub source: String,
    /// When.
    pub at: Timestamp,
    /// By whom: a user's id, or `admin-token`.
    pub by: String,
    /// Whether it is the one in force.
    pub active: bool,
}

/// Puts a new version of the policy `name` in force and answers its number, one above the newest there ever was.
/// The caller has checked the source.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn apply(tx: &mut Tx<'_>, name: &str, source: &str, by: &str, at: Timestamp) -> Result<u64, Fault> {
    // First, so that of two who apply at once the second waits and counts on.
    tx.bump(Version::Policies)?;
    let version = tx.one(&NEWEST, &params![name], |row| row.count(0))?.unwrap_or(0) + 1;
    tx.execute(&DEACTIVATE, &params![name])?;
    tx.execute(&INSERT, &params![name, version, source, at, by])?;
    observations::forget(tx, name, version)?;
    Ok(version)
}

/// Every policy in force, by name.
///
/// # Errors
/// [`Fault`].
pub fn current(q: &mut impl Query) -> Result<Vec<Applied>, Fault> {
    q.query(&CURRENT, &params![], read)
}

/// The version of the policy `name` that is in force.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, name: &str) -> Result<Option<Applied>, Fault> {
    q.one(&BY_NAME, &params![name], read)
}

/// Every version of the policy `name`, oldest first; none is active where it was removed.
///
/// # Errors
/// [`Fault`].
pub fn versions_of(q: &mut impl Query, name: &str) -> Result<Vec<Applied>, Fault> {
    q.query(&VERSIONS_OF, &params![name], read)
}

/// Puts the policy `name` out of force; its versions stay. `false` where it was not in force.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, name: &str) -> Result<bool, Fault> {
    if tx.execute(&DEACTIVATE, &params![name])? == 0 {
        return Ok(false);
    }
    tx.bump(Version::Policies)?;
    Ok(true)
}

fn read(row: &Row<'_>) -> Result<Applied, Fault> {
    Ok(Applied {
        name: row.text(0)?,
        version: row.count(1)?,
        source: row.text(2)?,
        at: row.time(3)?,
        by: row.text(4)?,
        active: row.boolean(5)?,
    })
}
