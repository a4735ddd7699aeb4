//! A database of either engine without a server of ours: read on one snapshot, while others may be writing to it.
//!
//! A file is read as it lies there. A database server is asked on a connection that lives as long as the call, on a
//! thread of its own: so this may also be called where another runtime runs.
//!
//! Invariant: nothing is made or changed: no schema, no row, no file that is the database.

use crate::{
    connection::Connection,
    fault::Fault,
    migrate,
    postgres::Postgres,
    reader::{self, Reader},
    sqlite::Sqlite,
    statements,
    store::Database,
    tx::Query as _,
};
use std::{sync::Arc, thread};

statements! {
    /// The newest migration that was applied.
    NEWEST = "SELECT COALESCE(MAX(number), 0) FROM schema_migrations";
}

/// Whether anything was ever made in a file. The two engines keep this under names of their own, so it is no statement
/// of both.
const MADE_IN_FILE: &str =
    "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'";
/// Whether anything was ever made in a server's database.
const MADE_ON_SERVER: &str = "SELECT COUNT(*) FROM information_schema.tables
                              WHERE table_schema = current_schema() AND table_name = 'schema_migrations'";

/// Which schema a database has, and which this version knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The newest migration of the database.
    pub found: u64,
    /// The newest that this version has.
    pub known: u64,
}

/// Runs `f` on a snapshot.
///
/// # Errors
/// What `f` answers, or a [`Fault`]: the database can't be opened or read.
pub fn read<T, E>(database: &Database, f: impl FnOnce(&mut Reader<'_>) -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<Fault> + Send,
{
    on(database, |connection| reader::snapshot(connection, f))
}

/// The schema; `None` where there is no database, or an empty one.
///
/// # Errors
/// [`Fault`].
pub fn schema(database: &Database) -> Result<Option<Schema>, Fault> {
    let made = match database {
        Database::Sqlite { path, .. } if !path.exists() => return Ok(None),
        Database::Sqlite { .. } => MADE_IN_FILE,
        Database::Postgres(_) => MADE_ON_SERVER,
    };
    on(database, |connection| {
        reader::snapshot(connection, |q| {
            if connection.first(made, &[], |row| row.count(0))? != Some(1) {
                return Ok(None);
            }
            let found = q.one(&NEWEST, &[], |row| row.count(0))?.unwrap_or(0);
            let known =
                migrate::MIGRATIONS.last().map_or(0, |(number, _)| u64::try_from(*number).unwrap_or(0));
            Ok(Some(Schema { found, known }))
        })
    })
}

/// Runs `f` on a connection that reads.
fn on<T, E>(database: &Database, f: impl FnOnce(&Connection) -> Result<T, E> + Send) -> Result<T, E>
where
    T: Send,
    E: From<Fault> + Send,
{
    match database {
        Database::Sqlite { path, .. } => f(&Connection::Sqlite(Sqlite::reader(path)?)),
        Database::Postgres(address) => thread::scope(|scope| {
            let asking =
                scope.spawn(|| f(&Connection::Postgres(Box::new(Postgres::new(Arc::clone(address))))));
            asking.join().unwrap_or_else(|_| Err(Fault::Panicked.into()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn what_is_not_there_or_empty_has_no_schema_and_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("placet.db");
        let database = Database::sqlite(&path);
        assert_eq!(schema(&database), Ok(None));
        assert!(read(&database, |q| keys::all(q)).is_err() && !path.exists());
        std::fs::write(&path, "").unwrap();
        assert_eq!(schema(&database), Ok(None));
        std::fs::write(&path, "not a database, not at all: too short a text, and no header either").unwrap();
        assert!(matches!(schema(&database), Err(Fault::Corrupt(_))));
    }
}
