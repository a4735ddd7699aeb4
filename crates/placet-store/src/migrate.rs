//! Brings a database to the schema this version knows: forward only, in one transaction, each file checked by its
//! hash.
//!
//! The files are written for PostgreSQL. For SQLite their types become its own and each table `STRICT`, so that a
//! column holds nothing but its type there too.
//!
//! Invariant: a database that a newer version wrote, or another build, is refused and left as it is.

use crate::fault::{Fault, OpenError};
use placet_core::{secret::sha256, time::Timestamp};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use std::path::Path;

/// Number and text of every migration, in order.
pub(crate) const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../migrations/0001_authority.sql")),
    (2, include_str!("../migrations/0002_ledger_and_record.sql")),
    (4, include_str!("../migrations/0004_tokens.sql")),
    (5, include_str!("../migrations/0005_policies.sql")),
    (6, include_str!("../migrations/0006_permits_and_unknowns.sql")),
    (7, include_str!("../migrations/0007_keys.sql")),
    (8, include_str!("../migrations/0008_operations.sql")),
    (9, include_str!("../migrations/0009_pending_actions.sql")),
    (10, include_str!("../migrations/0010_kept_bodies.sql")),
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    number BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL,
    applied BIGINT NOT NULL
);";

crate::statements! {
    /// The hash that a migration had when it was applied.
    APPLIED = "SELECT hash FROM schema_migrations WHERE number = ?1";
    /// The newest that was applied.
    NEWEST = "SELECT MAX(number) FROM schema_migrations";
    /// Notes one.
    NOTE = "INSERT INTO schema_migrations (number, hash, applied) VALUES (?1, ?2, ?3)";
}

/// The whole schema as PostgreSQL takes it.
pub(crate) fn schema() -> String {
    let texts = MIGRATIONS.iter().map(|(_, text)| *text);
    std::iter::once(TABLE).chain(texts).collect::<Vec<_>>().join("\n")
}

/// Applies what is missing.
pub(crate) fn run(connection: &mut Connection, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let fault =
        |error: rusqlite::Error| OpenError::Fault { path: path.to_owned(), fault: Fault::from(error) };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    transaction.execute_batch(&for_sqlite(TABLE)).map_err(fault)?;
    let found: Option<i64> = transaction.query_row(NEWEST.text(), [], |row| row.get(0)).map_err(fault)?;
    let known = MIGRATIONS.last().map_or(0, |(number, _)| *number);
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    for (number, text) in MIGRATIONS {
        let hash = sha256(&[text.as_bytes()]);
        let applied: Option<Vec<u8>> =
            transaction.query_row(APPLIED.text(), [number], |row| row.get(0)).optional().map_err(fault)?;
        match applied {
            Some(applied) if applied == hash => {}
            Some(_) => return Err(OpenError::Differs { path: path.to_owned(), number: *number }),
            None => {
                transaction.execute_batch(&for_sqlite(text)).map_err(fault)?;
                let note = rusqlite::params![number, hash.as_slice(), now.as_micros()];
                transaction.execute(NOTE.text(), note).map_err(fault)?;
            }
        }
    }
    transaction.commit().map_err(fault)
}

/// A migration in SQLite's words. Migrations have no `;` inside a statement.
fn for_sqlite(text: &str) -> String {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
    let typed = code.replace(" COLLATE \"C\"", "").replace("BIGINT", "INTEGER").replace("BYTEA", "BLOB");
    let statements = typed.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let strict = |statement: &str| {
        let table = statement.starts_with("CREATE TABLE");
        format!("{statement}{};\n", if table { " STRICT" } else { "" })
    };
    statements.map(strict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_translated() {
        let text = "-- a; comment\nCREATE TABLE t (\n  a TEXT COLLATE \"C\" PRIMARY KEY,\n  b BYTEA\n);\nCREATE INDEX i ON t (b);";
        assert_eq!(
            for_sqlite(text),
            "CREATE TABLE t (\n  a TEXT PRIMARY KEY,\n  b BLOB\n) STRICT;\nCREATE INDEX i ON t (b);\n"
        );
    }

    #[test]
    fn a_newer_or_different_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        let now = Timestamp::from_seconds(1);
        run(&mut connection, path, now).unwrap();
        run(&mut connection, path, now).unwrap();
        connection.execute("UPDATE schema_migrations SET hash = x'00' WHERE number = 2", []).unwrap();
        assert!(matches!(run(&mut connection, path, now), Err(OpenError::Differs { number: 2, .. })));
        connection.execute("INSERT INTO schema_migrations VALUES (99, x'00', 0)", []).unwrap();
        assert!(matches!(run(&mut connection, path, now), Err(OpenError::Newer { found: 99, .. })));
    }
}
