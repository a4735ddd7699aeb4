//! What can go wrong with storage itself, told apart by the engine's codes, never by its messages.
//!
//! A refusal (a limit is used up, a version differs) is no fault: it is the value of an operation that worked.
//!
//! Invariant: a fault never carries a stored value or a secret.

use rusqlite::{Error, ErrorCode, ffi};
use std::path::PathBuf;

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
    /// A statement is wrong: a bug.
    #[error("a statement is wrong: {0}")]
    Statement(String),
}

impl Fault {
    /// Whether the whole group is lost with it, not only the request that met it.
    pub(crate) const fn ends_group(&self) -> bool {
        matches!(self, Self::Full | Self::Io(_) | Self::Corrupt(_))
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
    InUse(PathBuf),
    /// The file or its directory can't be opened or written.
    #[error("`{path}` can't be opened for writing: {reason}")]
    Unusable {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A newer Placet wrote it.
    #[error(
        "`{path}` has schema {found}, this version of Placet knows {known}: use the newer version that wrote it"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The schema's number.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// A migration that was applied is not the one this version has.
    #[error(
        "migration {number} of `{path}` is not the one that this version of Placet has: the file was made by a different build"
    )]
    Differs {
        /// The database file.
        path: PathBuf,
        /// The migration's number.
        number: i64,
    },
    /// Reading what is stored failed.
    #[error("`{path}` can't be read: {fault}")]
    Fault {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        fault: Fault,
    },
}
