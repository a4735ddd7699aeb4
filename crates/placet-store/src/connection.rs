//! One connection to a database, of either engine: what differs between them is behind this and nowhere else.
//!
//! A write whose answer nobody needs is left with [`Connection::later`]: SQLite does it at once, PostgreSQL gets it
//! together with the next statement that is waited for, so that a group of hundreds of requests costs a few round trips.
//!
//! Invariant: statements take effect in the order in which they were given, and once one has failed nothing that was
//! given with it or after it is kept, until the transaction or its savepoint is rolled back.

use crate::{
    fault::Fault,
    postgres::Postgres,
    row::Row,
    sql::Statement,
    sqlite::{self, Sqlite},
    value::Value,
};

/// Either engine.
#[derive(Debug)]
pub(crate) enum Connection {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Box<Postgres>),
}

/// How a commit went wrong.
#[derive(Debug)]
pub(crate) enum Uncommitted {
    /// Nothing was kept.
    Lost(Fault),
    /// Nobody answered: it was kept whole or not at all.
    Unknown(Fault),
}

impl Connection {
    /// Whether others write to the database too, so that nothing that was read stays true after the transaction.
    pub(crate) const fn shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Every row of the answer, mapped.
    pub(crate) fn rows<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.rows(text, params, map),
            Self::Postgres(postgres) => {
                postgres.rows(text, params)?.iter().map(|row| map(&Row::from(row))).collect()
            }
        }
    }

    /// The first row of the answer, mapped; the rest is dropped.
    pub(crate) fn first<T>(
        &self,
        text: &str,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.first(text, params, map),
            Self::Postgres(postgres) => {
                postgres.rows(text, params)?.first().map(|row| map(&Row::from(row))).transpose()
            }
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub(crate) fn execute(&self, text: &str, params: &[Value<'_>]) -> Result<u64, Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(text, params),
            Self::Postgres(postgres) => postgres.execute(text, params),
        }
    }

    /// Runs a statement by the next one that is waited for, at the latest by the commit. Where it changes another
    /// number of rows than `expected`, the transaction is lost and worth running again.
    pub(crate) fn later(&self, text: &str, params: &[Value<'_>], expected: Option<u64>) -> Result<(), Fault> {
        match self {
            Self::Sqlite(sqlite) => match (sqlite.execute(text, params)?, expected) {
                (changed, Some(expected)) if changed != expected => Err(Fault::Conflict("check")),
                _ => Ok(()),
            },
            Self::Postgres(postgres) => {
                postgres.later(text, params, expected);
                Ok(())
            }
        }
    }

    /// Begins a transaction that writes.
    pub(crate) fn begin(&self) -> Result<(), Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.begin(sqlite::BEGIN),
            Self::Postgres(postgres) => postgres.begin(),
        }
    }

    /// Begins a snapshot to read from.
    pub(crate) fn begin_reading(&self) -> Result<(), Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.begin(sqlite::BEGIN_READING),
            Self::Postgres(postgres) => postgres.begin_reading(),
        }
    }

    /// Sets a savepoint, releases it or rolls back to it.
    pub(crate) fn mark(&self, statement: &Statement) -> Result<(), Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(statement.text(), &[]).map(|_| ()),
            Self::Postgres(postgres) => {
                postgres.mark(statement.text());
                Ok(())
            }
        }
    }

    /// Commits.
    pub(crate) fn commit(&self) -> Result<(), Uncommitted> {
        match self {
            Self::Sqlite(sqlite) => sqlite.commit().map_err(Uncommitted::Unknown),
            Self::Postgres(postgres) => postgres.commit(),
        }
    }

    /// Drops the transaction, if there is one.
    pub(crate) fn roll_back(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.roll_back(),
            Self::Postgres(postgres) => postgres.roll_back(),
        }
    }

    /// Whether the transaction is gone, or can only be rolled back whole.
    pub(crate) fn doomed(&self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.is_outside(),
            Self::Postgres(postgres) => postgres.doomed(),
        }
    }

    /// The fault of a statement after which nothing works until a savepoint is rolled back to. On SQLite a statement
    /// fails alone.
    pub(crate) fn failed(&self) -> Option<Fault> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(postgres) => postgres.failed(),
        }
    }

    /// How many changes were asked for since it was opened: whether there is anything to commit.
    pub(crate) fn changes(&self) -> u64 {
        match self {
            Self::Sqlite(sqlite) => sqlite.changes(),
            Self::Postgres(postgres) => postgres.changes(),
        }
    }

    /// Runs statements of a migration.
    pub(crate) fn migrate(&self, text: &str) -> Result<(), Fault> {
        match self {
            Self::Sqlite(sqlite) => sqlite.batch(text),
            Self::Postgres(postgres) => postgres.migrate(text),
        }
    }
}
