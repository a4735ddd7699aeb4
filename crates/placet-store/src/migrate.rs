//! Brings a database to the schema this version knows: forward only, in one transaction, each file checked by its
//! hash.
//!
//! The files are written for PostgreSQL. For SQLite their types become its own and each table `STRICT`, so that a
//! column holds nothing but its type there too. Nodes that start at once take turns at a row.
//!
//! Invariant: a database that a newer version wrote, or another build, is refused and left as it is.

use crate::{
    connection::{Connection, Uncommitted},
    fault::{Fault, OpenError},
    params,
    postgres::Postgres,
};
use placet_core::{secret::sha256, time::Timestamp};
use std::{thread, time::Duration};

/// Number and text of every migration, in order.
pub(crate) const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("../migrations/0001_authority.sql")),
    (2, include_str!("../migrations/0002_ledger_and_record.sql")),
    (3, include_str!("../migrations/0003_nodes.sql")),
    (4, include_str!("../migrations/0004_tokens.sql")),
    (5, include_str!("../migrations/0005_policies.sql")),
    (6, include_str!("../migrations/0006_permits_and_unknowns.sql")),
    (7, include_str!("../migrations/0007_keys.sql")),
    (8, include_str!("../migrations/0008_operations.sql")),
    (9, include_str!("../migrations/0009_pending_actions.sql")),
    (10, include_str!("../migrations/0010_kept_bodies.sql")),
    (11, include_str!("../migrations/0011_clients.sql")),
    (12, include_str!("../migrations/0012_authorization_codes.sql")),
    (13, include_str!("../migrations/0013_senders.sql")),
    (14, include_str!("../migrations/0014_issuers_of_nodes.sql")),
    (15, include_str!("../migrations/0015_clients_alone.sql")),
    (16, include_str!("../migrations/0016_connections_of_users.sql")),
    (17, include_str!("../migrations/0017_trusted_issuers.sql")),
    (18, include_str!("../migrations/0018_waiting_requests.sql")),
    (19, include_str!("../migrations/0019_second_factors.sql")),
    (20, include_str!("../migrations/0020_passkeys.sql")),
    (21, include_str!("../migrations/0021_detail_types.sql")),
    (22, include_str!("../migrations/0022_requests_of_unconfirmed_clients.sql")),
    (23, include_str!("../migrations/0023_challenges.sql")),
    (24, include_str!("../migrations/0024_certificates.sql")),
    (25, include_str!("../migrations/0025_status_lists.sql")),
    (26, include_str!("../migrations/0026_providers.sql")),
    (28, include_str!("../migrations/0028_policy_stages.sql")),
    (29, include_str!("../migrations/0029_unused_clients.sql")),
    (30, include_str!("../migrations/0030_ending_issuers.sql")),
    (31, include_str!("../migrations/0031_purposes.sql")),
    (34, include_str!("../migrations/0034_renewed_connections.sql")),
    (35, include_str!("../migrations/0035_listed_tools.sql")),
    (37, include_str!("../migrations/0037_connected_accounts.sql")),
    (42, include_str!("../migrations/0042_egress_authorities.sql")),
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
    /// What nodes take turns at, where several may come.
    TURN = "INSERT INTO schema_migrations (number, hash, applied) VALUES (0, '', 0) ON CONFLICT (number) DO NOTHING";
    /// Takes it.
    TAKE_TURN = "SELECT number FROM schema_migrations WHERE number = 0 FOR UPDATE";
}

/// How often the first step is tried: two nodes that make the same table at once can't both succeed.
const TRIES: usize = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// The whole schema as PostgreSQL takes it.
pub(crate) fn schema() -> String {
    let texts = MIGRATIONS.iter().map(|(_, text)| *text);
    std::iter::once(TABLE).chain(texts).collect::<Vec<_>>().join("\n")
}

/// Applies what is missing. What `place` is, messages say.
pub(crate) fn run(connection: &Connection, place: &str, now: Timestamp) -> Result<(), OpenError> {
    apply(connection, place, now, MIGRATIONS).inspect_err(|_| connection.roll_back())
}

fn apply(
    connection: &Connection,
    place: &str,
    now: Timestamp,
    migrations: &[(i64, &str)],
) -> Result<(), OpenError> {
    let fault = |fault: Fault| OpenError::Fault { place: place.to_owned(), fault };
    match connection {
        Connection::Sqlite(_) => {
            connection.begin().map_err(fault)?;
            connection.migrate(&for_sqlite(TABLE)).map_err(fault)?;
        }
        Connection::Postgres(postgres) => turn(postgres, place)?,
    }
    let found = connection.first(NEWEST.text(), &[], |row| row.optional_integer(0)).map_err(fault)?.flatten();
    let known = migrations.last().map_or(0, |(number, _)| *number);
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(OpenError::Newer { place: place.to_owned(), found, known });
    }
    for (number, text) in migrations {
        let hash = sha256(&[text.as_bytes()]);
        let applied =
            connection.first(APPLIED.text(), &params![*number], |row| row.blob(0)).map_err(fault)?;
        match applied {
            Some(applied) if applied == hash => {}
            Some(_) => return Err(OpenError::Differs { place: place.to_owned(), number: *number }),
            None => {
                connection.migrate(&words(text, !connection.shared())).map_err(fault)?;
                connection.execute(NOTE.text(), &params![*number, &hash, now]).map_err(fault)?;
            }
        }
    }
    connection.commit().map_err(|uncommitted| match uncommitted {
        Uncommitted::Lost(lost) | Uncommitted::Unknown(lost) => fault(lost),
    })
}

/// A migration in an engine's words.
pub(crate) fn words(text: &str, sqlite: bool) -> String {
    if sqlite { for_sqlite(text) } else { text.to_owned() }
}

/// Begins the transaction in which this node alone migrates.
fn turn(postgres: &Postgres, place: &str) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        // That the server can't be reached is said at once.
        postgres.begin().map_err(|fault| unusable(place, &fault))?;
        match take_turn(postgres) {
            Ok(Some(encoding)) => {
                postgres.roll_back();
                let reason = format!("its encoding is {encoding}; make the database with ENCODING 'UTF8'");
                return Err(OpenError::Unusable { place: place.to_owned(), reason });
            }
            Ok(None) => return Ok(()),
            Err(fault) => {
                postgres.roll_back();
                tries += 1;
                if tries == TRIES
                    || fault == Fault::Unavailable("the server refuses the user or the password")
                {
                    return Err(unusable(place, &fault));
                }
                thread::park_timeout(PAUSE);
            }
        }
    }
}

fn unusable(place: &str, fault: &Fault) -> OpenError {
    OpenError::Unusable { place: place.to_owned(), reason: fault.to_string() }
}

fn take_turn(postgres: &Postgres) -> Result<Option<String>, Fault> {
    postgres.take_time();
    if let Some(encoding) = postgres.wrong_encoding()? {
        return Ok(Some(encoding));
    }
    postgres.migrate(TABLE)?;
    postgres.migrate(TURN.text())?;
    postgres.migrate(TAKE_TURN.text())?;
    Ok(None)
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
    use crate::sqlite::Sqlite;

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
        let connection = Connection::Sqlite(Sqlite::in_memory());
        let now = Timestamp::from_seconds(1);
        run(&connection, "x.db", now).unwrap();
        run(&connection, "x.db", now).unwrap();
        connection.migrate("UPDATE schema_migrations SET hash = x'00' WHERE number = 2").unwrap();
        assert!(matches!(run(&connection, "x.db", now), Err(OpenError::Differs { number: 2, .. })));
        connection.migrate("INSERT INTO schema_migrations VALUES (99, x'00', 0)").unwrap();
        assert!(matches!(run(&connection, "x.db", now), Err(OpenError::Newer { found: 99, .. })));
    }
}
