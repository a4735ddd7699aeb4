//! A SQLite database as a file, without a server: reading it, and copying it while a server writes.
//!
//! Invariant: nothing here changes the file that it reads.

use crate::{
    connection::Connection,
    fault::Fault,
    migrate, params,
    reader::{self, Reader},
    sqlite::Sqlite,
    statements,
    tx::Query as _,
};
use std::{fs::File, path::Path};

statements! {
    /// The newest migration that was applied.
    NEWEST = "SELECT COALESCE(MAX(number), 0) FROM schema_migrations";
}

/// A consistent copy of the whole database under a new name. SQLite only, so it is no statement of both engines.
const COPY: &str = "VACUUM INTO ?1";
/// Whether every page is what it should be.
const CHECK: &str = "PRAGMA quick_check(1)";

/// Which schema a file has, and which this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The newest migration of the file.
    pub found: u64,
    /// The newest that this version has.
    pub known: u64,
}

/// Runs `f` on a snapshot of the file; a server may be writing to it.
///
/// # Errors
/// What `f` answers, or a [`Fault`]: the file can't be opened or read.
pub fn read<T, E: From<Fault>>(path: &Path, f: impl FnOnce(&mut Reader<'_>) -> Result<T, E>) -> Result<T, E> {
    let connection = Connection::Sqlite(Sqlite::reader(path)?);
    reader::snapshot(&connection, f)
}

/// The file's schema.
///
/// # Errors
/// [`Fault`].
pub fn schema(path: &Path) -> Result<Schema, Fault> {
    let found = read(path, |q| q.one(&NEWEST, &[], |row| row.count(0)))?.unwrap_or(0);
    let known = migrate::MIGRATIONS.last().map_or(0, |(number, _)| u64::try_from(*number).unwrap_or(0));
    Ok(Schema { found, known })
}

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
