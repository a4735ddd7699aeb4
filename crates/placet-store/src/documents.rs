//! Policies and services as they are stored: the source of every version that was ever applied.
//!
//! Invariant: a version number is given once and its source never changes; at most one version of a name is in force.
//! Putting one in force or out of it makes what was decided by it stale at the commit point: the policies have one
//! version as a set, a service has its own.

use crate::{
    fault::Fault,
    observations, params, policy_stages,
    sql::Statement,
    tx::{Query, Row, Tx},
    versions::{self, Version},
};
use placet_core::time::Timestamp;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What agents may do.
    Policy,
    /// What an upstream offers.
    Service,
}

/// The statements over the table of one kind. Both tables are alike, so their statements are written once.
struct Table {
    /// The newest version of a name, in force or not.
    newest: Statement,
    /// A new version.
    insert: Statement,
    /// A version is in force.
    activate: Statement,
    /// No version of a name is in force.
    deactivate: Statement,
    /// All that are in force.
    current: Statement,
    /// The version of a name that is in force.
    by_name: Statement,
    /// One version of a name.
    version: Statement,
    /// Every version of a name.
    versions: Statement,
}

macro_rules! table {
    ($table:literal) => {
        Table {
            newest: Statement::new(
                concat!($table, ".NEWEST"),
                concat!("SELECT COALESCE(MAX(version), 0) FROM ", $table, " WHERE name = ?1"),
            ),
            insert: Statement::new(
                concat!($table, ".INSERT"),
                concat!(
                    "INSERT INTO ",
                    $table,
                    " (name, version, source, applied, applied_by, active) VALUES (?1, ?2, ?3, ?4, ?5, 0)"
                ),
            ),
            activate: Statement::new(
                concat!($table, ".ACTIVATE"),
                concat!(
                    "UPDATE ",
                    $table,
                    " SET active = 1, applied = ?3, applied_by = ?4 WHERE name = ?1 AND version = ?2"
                ),
            ),
            deactivate: Statement::new(
                concat!($table, ".DEACTIVATE"),
                concat!("UPDATE ", $table, " SET active = 0 WHERE name = ?1 AND active = 1"),
            ),
            current: Statement::new(
                concat!($table, ".CURRENT"),
                table!(select $table, " WHERE active = 1 ORDER BY name"),
            ),
            by_name: Statement::new(
                concat!($table, ".BY_NAME"),
                table!(select $table, " WHERE name = ?1 AND active = 1"),
            ),
            version: Statement::new(
                concat!($table, ".VERSION"),
                table!(select $table, " WHERE name = ?1 AND version = ?2"),
            ),
            versions: Statement::new(
                concat!($table, ".VERSIONS"),
                table!(select $table, " WHERE name = ?1 ORDER BY version"),
            ),
        }
    };
    (select $table:literal, $which:literal) => {
        concat!("SELECT name, version, source, applied, applied_by, active FROM ", $table, $which)
    };
}

const POLICIES: Table = table!("policies");
const SERVICES: Table = table!("services");

/// Every statement of this module.
pub(crate) const STATEMENTS: &[Statement] = &[
    POLICIES.newest,
    POLICIES.insert,
    POLICIES.activate,
    POLICIES.deactivate,
    POLICIES.current,
    POLICIES.by_name,
    POLICIES.version,
    POLICIES.versions,
    SERVICES.newest,
    SERVICES.insert,
    SERVICES.activate,
    SERVICES.deactivate,
    SERVICES.current,
    SERVICES.by_name,
    SERVICES.version,
    SERVICES.versions,
];

impl Kind {
    const fn table(self) -> &'static Table {
        match self {
            Self::Policy => &POLICIES,
            Self::Service => &SERVICES,
        }
    }

    /// What the commit point compares.
    fn stamp(self, name: &str) -> Version {
        match self {
            Self::Policy => Version::Policies,
            Self::Service => Version::Service(name.to_owned()),
        }
    }
}

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The document's name.
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

/// Puts a new version of the document `name` in force and answers its number, one above the newest there ever was.
/// The caller has checked the source.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn apply(
    tx: &mut Tx<'_>,
    kind: Kind,
    name: &str,
    source: &str,
    by: &str,
    at: Timestamp,
) -> Result<u64, Fault> {
    let version = add(tx, kind, name, source, by, at)?;
    instead_of_any(tx, kind, name, version, by, at)?;
    Ok(version)
}

/// Stores a new version of the document `name`, which is not in force, and answers its number.
///
/// # Errors
/// [`Fault`].
pub fn add(
    tx: &mut Tx<'_>,
    kind: Kind,
    name: &str,
    source: &str,
    by: &str,
    at: Timestamp,
) -> Result<u64, Fault> {
    // First, so that of two who apply at once the second waits and counts on.
    tx.bump(kind.stamp(name))?;
    let version = newest(tx, kind, name)? + 1;
    tx.execute(&kind.table().insert, &params![name, version, source, at, by])?;
    if kind == Kind::Policy {
        observations::forget(tx, name, version)?;
    }
    Ok(version)
}

/// Puts a stored version of the document `name` in force, instead of any other: from now on it is `by` whom that was
/// done, `at` which time.
///
/// # Errors
/// [`Fault`].
pub fn activate(
    tx: &mut Tx<'_>,
    kind: Kind,
    name: &str,
    version: u64,
    by: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    tx.bump(kind.stamp(name))?;
    instead_of_any(tx, kind, name, version, by, at)
}

fn instead_of_any(
    tx: &mut Tx<'_>,
    kind: Kind,
    name: &str,
    version: u64,
    by: &str,
    at: Timestamp,
) -> Result<(), Fault> {
    tx.execute(&kind.table().deactivate, &params![name])?;
    tx.execute(&kind.table().activate, &params![name, version, at, by])?;
    if kind == Kind::Policy {
        policy_stages::end(tx, name)?;
    }
    Ok(())
}

/// The number of the newest version of the document `name`, in force or not; 0 where there never was one.
///
/// # Errors
/// [`Fault`].
pub fn newest(q: &mut impl Query, kind: Kind, name: &str) -> Result<u64, Fault> {
    Ok(q.one(&kind.table().newest, &params![name], |row| row.count(0))?.unwrap_or(0))
}

/// Every document in force, by name.
///
/// # Errors
/// [`Fault`].
pub fn current(q: &mut impl Query, kind: Kind) -> Result<Vec<Applied>, Fault> {
    q.query(&kind.table().current, &params![], read)
}

/// The version of the document `name` that is in force.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, kind: Kind, name: &str) -> Result<Option<Applied>, Fault> {
    q.one(&kind.table().by_name, &params![name], read)
}

/// Whether `version` of the document `name` is the one in force, and stays that until the transaction ends: asked where
/// something is stored that rests on what that version says.
///
/// # Errors
/// [`Fault`].
pub fn stays(tx: &mut Tx<'_>, kind: Kind, name: &str, version: u64) -> Result<bool, Fault> {
    versions::hold(tx, &kind.stamp(name))?;
    Ok(find(tx, kind, name)?.is_some_and(|found| found.version == version))
}

/// One version of the document `name`, in force or not.
///
/// # Errors
/// [`Fault`].
pub fn version(q: &mut impl Query, kind: Kind, name: &str, version: u64) -> Result<Option<Applied>, Fault> {
    q.one(&kind.table().version, &params![name, version], read)
}

/// Every version of the document `name`, oldest first; none is in force where it was removed.
///
/// # Errors
/// [`Fault`].
pub fn versions_of(q: &mut impl Query, kind: Kind, name: &str) -> Result<Vec<Applied>, Fault> {
    q.query(&kind.table().versions, &params![name], read)
}

/// Puts the document `name` out of force, for all; its versions stay. `false` where it was not in force for anybody.
///
/// # Errors
/// [`Fault`].
pub fn remove(tx: &mut Tx<'_>, kind: Kind, name: &str) -> Result<bool, Fault> {
    let was_staged = kind == Kind::Policy && policy_stages::end(tx, name)?;
    if tx.execute(&kind.table().deactivate, &params![name])? == 0 {
        return Ok(was_staged);
    }
    tx.bump(kind.stamp(name))?;
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
