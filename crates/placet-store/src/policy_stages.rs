//! Stages of policies: which version some agents have before all others do, and which agents.
//!
//! Invariant: a policy has at most one staged version, which is not the one in force. Whatever is put in force or out of
//! it for all ends the stage.

use crate::{
    documents::{self, Kind},
    fault::Fault,
    params, statements,
    tx::{Query, Row, Tx},
    versions::Version,
};
use placet_core::time::Timestamp;

statements! {
    /// A stage instead of the one before.
    PUT = "INSERT INTO policy_stages (name, version, stage, staged, staged_by) VALUES (?1, ?2, ?3, ?4, ?5)
           ON CONFLICT (name) DO UPDATE SET version = excluded.version, stage = excluded.stage,
           staged = excluded.staged, staged_by = excluded.staged_by";
    /// The end of one.
    END = "DELETE FROM policy_stages WHERE name = ?1";
    /// That of one policy.
    FIND = "SELECT name, version, stage, staged, staged_by FROM policy_stages WHERE name = ?1";
    /// All.
    ALL = "SELECT name, version, stage, staged, staged_by FROM policy_stages ORDER BY name";
}

/// A version of a policy that some agents have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedVersion {
    /// The policy's name.
    pub name: String,
    /// The version.
    pub version: u64,
    /// Who has it, as [`placet_core::policy::Stage::parse`] reads it.
    pub stage: String,
    /// Since when.
    pub at: Timestamp,
    /// Who said so.
    pub by: String,
}

/// Stages a version that is stored.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn put(tx: &mut Tx<'_>, staged: &StagedVersion) -> Result<(), Fault> {
    tx.bump(Version::Policies)?;
    let StagedVersion { name, version, stage, at, by } = staged;
    tx.execute(&PUT, &params![name, *version, stage, *at, by])?;
    Ok(())
}

/// Ends the stage of a policy; `false` where it had none.
///
/// # Errors
/// [`Fault`].
pub fn end(tx: &mut Tx<'_>, name: &str) -> Result<bool, Fault> {
    if tx.execute(&END, &params![name])? == 0 {
        return Ok(false);
    }
    tx.bump(Version::Policies)?;
    Ok(true)
}

/// Puts the staged version in force for all, by whom and when, and answers its number; `None` where none is staged.
///
/// # Errors
/// [`Fault`].
pub fn promote(tx: &mut Tx<'_>, name: &str, by: &str, at: Timestamp) -> Result<Option<u64>, Fault> {
    let Some(staged) = find(tx, name)? else { return Ok(None) };
    documents::activate(tx, Kind::Policy, name, staged.version, by, at)?;
    Ok(Some(staged.version))
}

/// The stage of a policy.
///
/// # Errors
/// [`Fault`].
pub fn find(q: &mut impl Query, name: &str) -> Result<Option<StagedVersion>, Fault> {
    q.one(&FIND, &params![name], read)
}

/// Every stage, by name.
///
/// # Errors
/// [`Fault`].
pub fn all(q: &mut impl Query) -> Result<Vec<StagedVersion>, Fault> {
    q.query(&ALL, &params![], read)
}

fn read(row: &Row<'_>) -> Result<StagedVersion, Fault> {
    Ok(StagedVersion {
        name: row.text(0)?,
        version: row.count(1)?,
        stage: row.text(2)?,
        at: row.time(3)?,
        by: row.text(4)?,
    })
}
