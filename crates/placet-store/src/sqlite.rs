//! SQLite: how a file is opened, durable, with one writer and readers that can't write, and how statements run on it.
//!
//! Invariant: `synchronous=FULL`: what was answered is on the disk.

use crate::{
    fault::Fault,
    folding::{self, Folding},
    row::Row,
    value::Value,
};
use rusqlite::{
    Connection, OpenFlags, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};
use std::{fs::File, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

/// Statements that each connection keeps compiled: more than the store has.
const CACHED_STATEMENTS: usize = 512;

/// How a group begins: as a writer at once, for a reader that becomes one may fail.
pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";
/// How a snapshot begins.
pub(crate) const BEGIN_READING: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// What PostgreSQL needs at the end of a statement, and one writer alone does not.
const LOCKS: [&str; 2] = [" FOR UPDATE", " FOR SHARE"];

/// An open file.
#[derive(Debug)]
pub(crate) struct Sqlite(
    // Closed before its thread is waited for, which that ends.
    Connection,
    #[expect(dead_code, reason = "folds the log until it is dropped")] Option<Folding>,
);

impl Sqlite {
    /// Opens the file for the writer, and makes it where it is missing.
    pub(crate) fn writer(path: &Path, max_pages: Option<u32>) -> Result<Self, Fault> {
        // SQLite would make it readable for others; the log beside it gets the same mode.
        let made = File::options().create(true).append(true).mode(0o600).open(path);
        made.map_err(|error| Fault::Io(error.to_string()))?;
        let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        // What is erased is not left in the file's free pages.
        connection.pragma_update(None, "secure_delete", "ON")?;
        // What a savepoint may take back is kept in memory, not in a temporary file.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // What the log may keep of the disk, once it was longer.
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "cache_size", -32_000)?;
        if let Some(pages) = max_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        let beside = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let folding = Folding::of(&mut connection, beside, folding::PAGES)?;
        Ok(Self(connection, Some(folding)))
    }

    /// Opens the file for a reader.
    pub(crate) fn reader(path: &Path) -> Result<Self, Fault> {
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.pragma_update(None, "query_only", "ON")?;
        Ok(Self(connection, None))
    }

    /// Opens the file as the source of a copy; `VACUUM INTO` needs what `query_only` forbids, and writes elsewhere.
    pub(crate) fn source(path: &Path) -> Result<Self, Fault> {
        open(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map(|connection| Self(connection, None))
    }

    /// An empty database in memory.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self(Connection::open_in_memory().unwrap(), None)
    }

    pub(crate) fn rows<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut prepared = self.0.prepare_cached(unlocked(text))?;
        let mut answer = prepared.query(params_from_iter(params))?;
        let mut all = Vec::new();
        while let Some(row) = answer.next()? {
            all.push(map(&Row::from(row))?);
        }
        Ok(all)
    }

    /// The rest of the answer is read and dropped: a `RETURNING` has to run to its end.
    pub(crate) fn first<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let mut prepared = self.0.prepare_cached(unlocked(text))?;
        let mut answer = prepared.query(params_from_iter(params))?;
        let Some(row) = answer.next()? else { return Ok(None) };
        let mapped = map(&Row::from(row))?;
        while answer.next()?.is_some() {}
        Ok(Some(mapped))
    }

    pub(crate) fn execute(&self, text: &str, params: &[Value<'_>]) -> Result<u64, Fault> {
        let mut prepared = self.0.prepare_cached(unlocked(text))?;
        Ok(prepared.execute(params_from_iter(params))? as u64)
    }

    pub(crate) fn batch(&self, text: &str) -> Result<(), Fault> {
        Ok(self.0.execute_batch(text)?)
    }

    pub(crate) fn begin(&self, text: &str) -> Result<(), Fault> {
        self.execute(text, &[]).map(|_| ())
    }

    pub(crate) fn commit(&self) -> Result<(), Fault> {
        self.execute(COMMIT, &[]).map(|_| ())
    }

    pub(crate) fn roll_back(&self) {
        if !self.is_outside() {
            _ = self.batch(ROLLBACK);
        }
    }

    /// Whether it is in no transaction.
    pub(crate) fn is_outside(&self) -> bool {
        self.0.is_autocommit()
    }

    pub(crate) fn changes(&self) -> u64 {
        self.0.total_changes()
    }
}

/// The statement without what other writers would make necessary.
fn unlocked(text: &str) -> &str {
    LOCKS.iter().find_map(|lock| text.strip_suffix(lock)).unwrap_or(text)
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

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
