//! What the CLI itself remembers, under the person's state directory: the session of `placet login` for each server,
//! and the last checkpoint of each record that it saw: one for each lineage, so that a backup that is tried out does not
//! take the place of the record that goes on.
//!
//! Invariant: each file is readable by its owner only, and written whole.

use crate::{data::write_whole, exit::Failure};
use placet_core::{
    id::EventId,
    record::Kept,
    secret::{Secret, sha256},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

/// A session that `placet login` began.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The server's base URL.
    pub(crate) url: String,
    /// Who signed in.
    pub(crate) name: String,
    /// The session's id.
    pub(crate) id: String,
    /// The session's token.
    token: String,
    /// When it ends.
    pub(crate) expires: String,
}

impl Session {
    /// A session as the server answered it.
    pub(crate) fn new(url: &str, name: &str, id: &str, token: &str, expires: &str) -> Self {
        let owned = str::to_owned;
        Self {
            url: owned(url),
            name: owned(name),
            id: owned(id),
            token: owned(token),
            expires: owned(expires),
        }
    }

    /// The session's token.
    pub(crate) fn token(&self) -> Secret {
        Secret::new(self.token.as_bytes())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} at {})", self.name, self.url)
    }
}

impl State {
    /// The state in this directory, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The session with the server, if there is one.
    ///
    /// # Errors
    /// A sentence, where the file can't be read.
    pub(crate) fn session(&self, url: &str) -> Result<Option<Session>, Failure> {
        self.read_session(&self.session_file(url))
    }

    /// The session that began last, whatever the server.
    ///
    /// # Errors
    /// A sentence, where the file can't be read.
    pub(crate) fn last_session(&self) -> Result<Option<Session>, Failure> {
        let Some(url) = read(&self.0.join("last"))? else { return Ok(None) };
        self.session(&String::from_utf8_lossy(&url))
    }

    /// Keeps a session.
    ///
    /// # Errors
    /// A sentence, where the file can't be written.
    pub(crate) fn keep_session(&self, session: &Session) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(session).map_err(|error| Failure::unreadable(error.to_string()))?;
        write(&self.session_file(&session.url), &bytes)?;
        write(&self.0.join("last"), session.url.as_bytes())
    }

    /// Forgets the session with the server.
    ///
    /// # Errors
    /// A sentence, where the file can't be removed.
    pub(crate) fn forget_session(&self, url: &str) -> Result<(), Failure> {
        let path = self.session_file(url);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&path, &error)),
            _ => Ok(()),
        }
    }

    /// The last checkpoints seen of the record with this key, one for each lineage.
    ///
    /// # Errors
    /// A sentence, where a file can't be read.
    pub(crate) fn checkpoints(&self, key: &str) -> Result<Vec<Kept>, Failure> {
        let first = self.checkpoint_file(key, None);
        let prefix = first.file_name().map(|name| format!("{}.", name.to_string_lossy())).unwrap_or_default();
        let mut lineages = vec![None];
        for entry in
            first.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten()
        {
            let name = entry.file_name();
            let begins = name.to_str().and_then(|name| name.strip_prefix(&prefix)).map(str::parse);
            lineages.extend(begins.and_then(Result::ok).map(Some));
        }
        let mut kept = Vec::new();
        for lineage in lineages {
            if let Some(note) = read(&self.checkpoint_file(key, lineage))? {
                kept.push(Kept { lineage, note: String::from_utf8_lossy(&note).into_owned() });
            }
        }
        Ok(kept)
    }

    /// Keeps the checkpoint of a lineage of the record with this key.
    ///
    /// # Errors
    /// A sentence, where the file can't be written.
    pub(crate) fn keep_checkpoint(
        &self,
        key: &str,
        lineage: Option<EventId>,
        note: &str,
    ) -> Result<(), Failure> {
        write(&self.checkpoint_file(key, lineage), note.as_bytes())
    }

    fn read_session(&self, path: &Path) -> Result<Option<Session>, Failure> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        let session = serde_json::from_slice(&bytes);
        session.map(Some).map_err(|_| {
            Failure::unreadable(format!("`{}` is no session; remove it and sign in again", path.display()))
        })
    }

    fn session_file(&self, url: &str) -> PathBuf {
        self.0.join("sessions").join(named_by(url))
    }

    fn checkpoint_file(&self, key: &str, lineage: Option<EventId>) -> PathBuf {
        let name = named_by(key.trim());
        self.0.join("checkpoints").join(lineage.map_or(name.clone(), |begins| format!("{name}.{begins}")))
    }
}

/// A file name for any text.
fn named_by(text: &str) -> String {
    sha256(&[text.as_bytes()]).iter().take(16).fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_whole(path, bytes).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::unreadable(format!("`{}` can't be used: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::time::Timestamp;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_session_is_kept_for_its_server_and_for_its_owner_only() {
        let outside = tempfile::tempdir().unwrap();
        let state = State::new(outside.path().join("placet"));
        assert!(state.session("http://a").unwrap().is_none() && state.last_session().unwrap().is_none());
        state
            .keep_session(&Session::new("http://a", "ann", "ses_1", "plt_session_x", "2026-01-01T00:00:00Z"))
            .unwrap();
        assert_eq!(state.last_session().unwrap().unwrap().name, "ann");
        assert!(state.session("http://b").unwrap().is_none());
        let mode = fs::metadata(state.session_file("http://a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{:?}", state.session("http://a").unwrap()).contains("plt_session_x"));
        state.forget_session("http://a").unwrap();
        state.forget_session("http://a").unwrap();
        assert!(state.last_session().unwrap().is_none());
    }

    #[test]
    fn a_checkpoint_is_kept_for_each_lineage_of_a_record() {
        let outside = tempfile::tempdir().unwrap();
        let state = State::new(outside.path().join("placet"));
        assert!(state.checkpoints("a").unwrap().is_empty());
        let begins = EventId::from_parts(Timestamp::from_seconds(1), [1; 10]);
        state.keep_checkpoint("a", Some(begins), "restored").unwrap();
        state.keep_checkpoint("b", None, "another's").unwrap();
        state.keep_checkpoint("a", None, "old").unwrap();
        state.keep_checkpoint("a", None, "first").unwrap();
        let kept = |lineage, note: &str| Kept { lineage, note: note.to_owned() };
        assert_eq!(state.checkpoints("a").unwrap(), [kept(None, "first"), kept(Some(begins), "restored")]);
    }
}
