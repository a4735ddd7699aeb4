//! What can go wrong with storage itself, told apart by the engine's codes, never by its messages.
//!
//! A refusal (a limit is used up, a version differs) is no fault: it is the value of an operation that worked.
//!
//! Invariant: a fault never carries a stored value or a secret.

use rusqlite::{Error, ErrorCode, ffi};

/// Storage did not do what it was asked; nothing of the request was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A constraint of this kind refused the row: `unique`, `primary key`, `foreign key`, `check`, `not null`.
    #[error("what is stored conflicts with the request ({0} constraint)")]
    Conflict(&'static str),
    /// More requests wait than the queue holds, or another process holds the database. Try again.
    #[error("storage is busy; try again")]
    Busy,
    /// No space is left. Nothing of the group was kept; requests work again once there is space.
    #[error("storage is full; free some space")]
    Full,
    /// The database is damaged.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A stored value is not what its column should hold.
    #[error("stored data is damaged: {0} can't be read")]
    Unreadable(&'static str),
    /// Reading or writing the file failed.
    #[error("storage failed: {0}")]
    Io(String),
    /// The closure panicked; its changes were rolled back.
    #[error("a storage operation stopped with a bug; its changes were rolled back")]
    Panicked,
    /// The store is being closed.
    #[error("storage is closed")]
    Closed,
    /// The database server can't be reached, or does not answer in time. Nothing was kept, as far as anybody knows.
    #[error("the database does not answer: {0}")]
    Unavailable(&'static str),
    /// Another process has opened the database as the same node; this one writes no more.
    #[error("another process writes to the database as this node: give each data directory its own node")]
    Replaced,
    /// A statement is wrong: a bug.
    #[error("a statement is wrong: {0}")]
    Statement(String),
}

impl Fault {
    /// Whether the whole group is lost with it, not only the request that met it.
    pub(crate) const fn ends_group(&self) -> bool {
        matches!(
            self,
            Self::Full | Self::Io(_) | Self::Corrupt(_) | Self::Busy | Self::Unavailable(_) | Self::Replaced
        )
    }

    /// Whether the same group may succeed when it is run again on a database server.
    pub(crate) const fn passes(&self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
                match failure.code {
                    ErrorCode::ConstraintViolation => Self::Conflict(match failure.extended_code {
                        ffi::SQLITE_CONSTRAINT_UNIQUE => "unique",
                        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "primary key",
                        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "foreign key",
                        ffi::SQLITE_CONSTRAINT_CHECK => "check",
                        ffi::SQLITE_CONSTRAINT_NOTNULL => "not null",
                        _ => "other",
                    }),
                    ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
                    ErrorCode::DiskFull => Self::Full,
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error.to_string()),
                    ErrorCode::Unknown | ErrorCode::ParameterOutOfRange | ErrorCode::ApiMisuse => {
                        Self::Statement(error.to_string())
                    }
                    _ => Self::Io(error.to_string()),
                }
            }
            Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..) => Self::Unreadable("a column"),
            _ => Self::Statement(error.to_string()),
        }
    }
}

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("`{0}` is in use by another Placet process; stop that one first, or use another data directory")]
    InUse(String),
    /// The URL of a database server is wrong.
    #[error("the database's address can't be used: {0}")]
    Address(String),
    /// The file or its directory can't be opened or written, or the server can't be used.
    #[error("`{place}` can't be opened for writing: {reason}")]
    Unusable {
        /// The database: a file, or a server without its credentials.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// A newer Placet wrote it.
    #[error(
        "`{place}` has schema {found}, this version of Placet knows {known}: use the newer version that wrote it"
    )]
    Newer {
        /// The database: a file, or a server without its credentials.
        place: String,
        /// The schema's number.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// A migration that was applied is not the one this version has.
    #[error(
        "migration {number} of `{place}` is not the one that this version of Placet has: it was made by a different build"
    )]
    Differs {
        /// The database: a file, or a server without its credentials.
        place: String,
        /// The migration's number.
        number: i64,
    },
    /// Reading what is stored failed.
    #[error("`{place}` can't be read: {fault}")]
    Fault {
        /// The database: a file, or a server without its credentials.
        place: String,
        /// What went wrong.
        fault: Fault,
    },
}
