//! Policies that come from a directory: what was last read there and what became of it.
//!
//! The files are read by whoever starts the server (`placet serve --policies DIR`), which hands over all of them
//! whenever one has changed. They are put in force together, as versions like any others; a policy whose file has gone
//! goes out of force. What comes from the directory is changed there and nowhere else.
//!
//! Invariant: a bad file replaces nothing. What was in force stays, whole, until every file is good.

use super::change::{self, Author, Changed, Others, Wanted};
use crate::{app::App, problem::Problem};
use placet_core::{refusal::Code, time::Timestamp};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Who put a policy in force that comes from the directory.
pub const DIRECTORY: &str = "directory";

/// How the directory stands; part of what a server knows about its own running.
#[derive(Debug, Default)]
pub struct Directory {
    followed: AtomicBool,
    last: Mutex<Option<Standing>>,
}

/// What became of what was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// When it was read.
    pub at: Timestamp,
    /// What is wrong with it; it is in force where nothing is.
    pub wrong: Option<String>,
}

impl Directory {
    /// Whether this server follows one.
    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Relaxed)
    }

    /// What became of what was last read; `None` before the first time.
    pub fn standing(&self) -> Option<Standing> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on this server follows a directory.
    pub fn follow(&self) {
        self.followed.store(true, Ordering::Relaxed);
    }

    /// Notes what is wrong with what was read, or that it is in force.
    pub fn note(&self, at: Timestamp, wrong: Option<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Standing { at, wrong });
    }
}

/// Puts all files of the directory in force, each as (file, text), and takes those out that came from it and have gone.
///
/// # Errors
/// As [`change::put`]. Where they are refused, that is noted.
pub async fn put(app: &Arc<App>, files: Vec<(String, String)>) -> Result<Changed, Problem> {
    let author = Author { by: DIRECTORY.to_owned(), source: None };
    let wanted = files.into_iter().map(|(file, text)| Wanted::of_file(file, text));
    let done = change::put(app, &author, wanted.collect(), Others::LeaveIfOwn, false).await;
    let wrong = done.as_ref().err().map(|problem| problem.detail().to_owned());
    // Whoever can't be asked has refused nothing.
    if !done.as_ref().is_err_and(|problem| problem.code() == Code::Unavailable) {
        app.operations.directory.note(app.clock.now(), wrong);
    }
    done
}
