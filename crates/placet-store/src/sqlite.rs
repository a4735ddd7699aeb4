//! How SQLite is opened: durable, one writer, readers that can't write.
//!
//! Invariant: `synchronous=FULL`: what was answered is on the disk.

use crate::fault::Fault;
use rusqlite::{Connection, OpenFlags};
use std::{fs::File, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

/// Statements that each connection keeps compiled: more than the store has.
const CACHED_STATEMENTS: usize = 512;

/// How a group begins: as a writer at once, for a reader that becomes one may fail. PostgreSQL has another word.
pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";

/// Opens the file for the writer, and makes it where it is missing.
pub(crate) fn writer(path: &Path, max_pages: Option<u32>) -> Result<Connection, Fault> {
    // SQLite would make it readable for others; the log beside it gets the same mode.
    let made = File::options().create(true).append(true).mode(0o600).open(path);
    made.map_err(|error| Fault::Io(error.to_string()))?;
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // What is erased is not left in the file's free pages.
    connection.pragma_update(None, "secure_delete", "ON")?;
    // What a savepoint may take back is kept in memory, not in a temporary file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The log is folded into the file every 16 MB, and keeps no more than that of disk.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -32_000)?;
    if let Some(pages) = max_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(connection)
}

/// Opens the file for a reader.
pub(crate) fn reader(path: &Path) -> Result<Connection, Fault> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    Ok(connection)
}

/// Opens the file as the source of a copy; `VACUUM INTO` needs what `query_only` forbids, and writes elsewhere.
pub(crate) fn source(path: &Path) -> Result<Connection, Fault> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // Columns are plain BINARY here (see `migrate`); this is for statements that order by `COLLATE "C"`.
    connection.create_collation("C", |a, b| a.cmp(b))?;
    Ok(connection)
}
