//! How a command ends: the exit codes, and the sentence that goes with a failure.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; the answer was yes |
//! | 1 | refused, or the answer was no (a denial, a check with errors, a record that does not verify) |
//! | 2 | wrong use, something could not be read or reached, or neither yes nor no could be told |
//! | 3 | the server could not start |
//!
//! Invariant: a message holds no secret.

use std::{fmt, process::ExitCode};

/// A command that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; the answer was yes. Code 0.
    Done,
    /// The answer was no, and was printed. Code 1.
    Negative,
    /// Neither yes nor no could be told, which was printed. Code 2.
    Undecided,
    /// As a command ended that was run.
    Code(u8),
}

/// A command that could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused. Code 1.
    Refused(String),
    /// Wrong use, or something could not be read or reached. Code 2.
    Unreadable(String),
    /// The server could not start. Code 3.
    NotStarted(String),
}

impl Failure {
    /// Wrong use, or something could not be read or reached.
    pub(crate) fn unreadable(message: impl Into<String>) -> Self {
        Self::Unreadable(message.into())
    }

    /// The same failure of something that was to be read and judged: a refusal to show it is no verdict on it.
    pub(crate) fn unread(self) -> Self {
        match self {
            Self::Refused(message) => Self::Unreadable(message),
            other => other,
        }
    }

    /// The server could not start.
    pub(crate) fn start(message: impl Into<String>) -> Self {
        Self::NotStarted(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) | Self::Unreadable(message) | Self::NotStarted(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Negative => Self::from(1),
            Exit::Undecided => Self::from(2),
            Exit::Code(code) => Self::from(code),
        }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(_) => Self::from(1),
            Failure::Unreadable(_) => Self::from(2),
            Failure::NotStarted(_) => Self::from(3),
        }
    }
}
