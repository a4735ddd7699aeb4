//! `placet serve --policies DIR`: the policies of a directory, put in force whenever a file of it changes.
//!
//! The directory is looked at each second; it is read when what is there has changed and has then stayed as it is for a
//! second, so that what is being copied or checked out is not read half way.
//!
//! Invariant: files are read here and nothing is decided here; what can't be read whole is handed over to nobody.

use crate::{exit::Failure, policy_files};
use placet_core::refusal::Code;
use placet_server::{
    app::App,
    rules::{
        change::MOST,
        directory::{self, Directory},
    },
};
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{task::JoinHandle, time::sleep};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// After how many looks is tried again what was refused: a service that it is about may have changed.
const REFUSED: u32 = 30;
/// The largest file.
const LARGEST: u64 = 1 << 20;

/// What tells whether something was changed: each file's path, and which file of which size and time it is.
type Seen = Vec<(PathBuf, (u64, u64, i64, i64))>;

/// A directory that is followed.
#[derive(Debug)]
pub(crate) struct Followed {
    path: PathBuf,
}

impl Followed {
    /// The directory at `path`.
    ///
    /// # Errors
    /// A sentence: there is none, or it can't be listed.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let followed = Self { path: path.to_owned() };
        followed.look().map_err(|error| {
            Failure::start(format!("the policies in `{}` can't be listed: {error}", path.display()))
        })?;
        Ok(followed)
    }

    /// Puts in force what is there now, and from then on whatever changes. What was in force before stays where
    /// something is wrong with a file: the log, `placet policy list` and `/metrics` say so.
    pub(crate) async fn follow(self, app: &Arc<App>) -> JoinHandle<()> {
        app.operations.directory.follow();
        let mut known = self.settled().await;
        // In how many looks it is tried again though nothing has changed.
        let mut again = if known.is_empty() {
            // It may not be mounted or checked out yet: what held agents back before the start goes on to.
            note(
                &app.operations.directory,
                app,
                "there are no policies in it; those from before stay".to_owned(),
            );
            None
        } else {
            self.put(app).await
        };
        let app = Arc::clone(app);
        tokio::spawn(async move {
            let mut before = known.clone();
            loop {
                sleep(LOOK).await;
                let seen = match self.look() {
                    Ok(seen) => seen,
                    Err(error) => {
                        note(&app.operations.directory, &app, format!("it can't be listed: {error}"));
                        // Whatever is there when it is back is read.
                        known = Seen::new();
                        continue;
                    }
                };
                let settled = seen == before;
                before.clone_from(&seen);
                again = again.map(|looks| looks.saturating_sub(1));
                if !settled || (seen == known && again != Some(0)) {
                    continue;
                }
                known = seen;
                again = self.put(&app).await;
            }
        })
    }

    /// What is there once it has stayed as it is for a look, or after so many looks whatever is there.
    async fn settled(&self) -> Seen {
        let mut seen = self.look().unwrap_or_default();
        for _ in 0..REFUSED {
            sleep(LOOK).await;
            let next = self.look().unwrap_or_default();
            if next == seen {
                break;
            }
            seen = next;
        }
        seen
    }

    /// The files, in the order of their names.
    fn look(&self) -> io::Result<Seen> {
        let mut seen = Seen::new();
        for path in policy_files::within(&self.path)? {
            let found = fs::metadata(&path)?;
            seen.push((path, (found.ino(), found.size(), found.mtime(), found.mtime_nsec())));
        }
        Ok(seen)
    }

    /// The files with their texts.
    fn read(&self) -> Result<Vec<(String, String)>, String> {
        let seen = self.look().map_err(|error| format!("it can't be listed: {error}"))?;
        if seen.len() > MOST {
            return Err(format!("it has {} files; at most {MOST} are taken", seen.len()));
        }
        let read = |(path, (_, size, ..)): &(PathBuf, (u64, u64, i64, i64))| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if *size > LARGEST {
                return Err(format!("`{name}` has {size} bytes; a policy has at most {LARGEST}"));
            }
            let text =
                fs::read_to_string(path).map_err(|error| format!("`{name}` can't be read: {error}"))?;
            Ok((name, text))
        };
        let files = seen.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        match self.look() {
            Ok(after) if after == seen => Ok(files),
            _ => Err("it changed while it was read".to_owned()),
        }
    }

    /// Answers in how many looks it is to be tried again; `None` where it is in force.
    async fn put(&self, app: &Arc<App>) -> Option<u32> {
        let shown = self.path.display();
        let files = match self.read() {
            Ok(files) => files,
            Err(wrong) => {
                note(&app.operations.directory, app, wrong);
                return Some(1);
            }
        };
        let before = app.operations.directory.standing();
        match directory::put(app, files).await {
            Ok(changed) => {
                for placed in changed.placed.iter().filter(|placed| placed.changed) {
                    let (policy, version) = (&placed.name, placed.version);
                    tracing::info!(policy, version, directory = %shown, "a policy is in force");
                }
                for (policy, version) in &changed.removed {
                    tracing::info!(policy, version, directory = %shown, "a policy is no longer in force");
                }
                None
            }
            Err(problem) => {
                let wrong = problem.detail();
                if before.is_none_or(|before| before.wrong.as_deref() != Some(wrong)) {
                    tracing::error!(directory = %shown, wrong, "the policies stay as they were");
                }
                Some(if problem.code() == Code::Unavailable { 1 } else { REFUSED })
            }
        }
    }
}

/// Notes what is wrong, and logs it the first time.
fn note(directory: &Directory, app: &App, wrong: String) {
    if directory.standing().is_none_or(|standing| standing.wrong.as_ref() != Some(&wrong)) {
        tracing::error!(wrong, "the directory of policies can't be read; the policies stay as they were");
    }
    directory.note(app.clock.now(), Some(wrong));
}
