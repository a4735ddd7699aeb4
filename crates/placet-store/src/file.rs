//! A SQLite database as a file: whether it is whole, and copying it while a server writes. What is in it, `offline.rs`
//! reads.
//!
//! Invariant: nothing here changes the file that it reads.

use crate::{fault::Fault, params, sqlite::Sqlite};
use std::{fs::File, path::Path};

/// A consistent copy of the whole database under a new name. SQLite only, so it is no statement of both engines.
const COPY: &str = "VACUUM INTO ?1";
/// Whether every page is what it should be.
const CHECK: &str = "PRAGMA quick_check(1)";

/// Whether the pages of the file are whole; it reads all of them.
///
/// # Errors
/// [`Fault::Corrupt`] with what is wrong.
pub fn check(path: &Path) -> Result<(), Fault> {
    let said = Sqlite::reader(path)?.first(CHECK, &[], |row| row.text(0))?.unwrap_or_default();
    if said == "ok" { Ok(()) } else { Err(Fault::Corrupt(said)) }
}

/// Copies the database at `from` to `to`, which must not exist: all that was committed when it began, whatever is
/// written meanwhile. Answers when the copy is on the disk.
///
/// # Errors
/// [`Fault`].
pub fn copy(from: &Path, to: &Path) -> Result<(), Fault> {
    let name = to.to_str().ok_or_else(|| Fault::Io("the name of the copy is not UTF-8".into()))?;
    Sqlite::source(from)?.execute(COPY, &params![name])?;
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| Fault::Io(error.to_string()))
}
