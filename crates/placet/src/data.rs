//! The data directory: who holds it, what lies in it, and how files get there.
//!
//! One process holds a directory at a time, by a lock that the system gives up when the process ends, however it
//! ends: a lock file that was left behind is no obstacle. A file is written whole under another name, brought to the
//! disk and renamed, so that it is there in full or not at all.
//!
//! Invariant: the vault key is made once, before anything is sealed by it. Where something is, a missing one is an
//! error: a new one would open nothing.

mod keys;
mod offline;
mod vault;

use keys::NODE;
pub(crate) use keys::{OldKeys, new_admin_token, record_name};
pub(crate) use offline::{ALWAYS_THERE, BodyReader, FILES_OF_A_RUN, Installation, VaultState, is_held};
pub(crate) use vault::{VaultKeys, VaultPlace, new_line as new_vault_key};

use crate::exit::Failure;
use fs4::{FileExt, TryLockError};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Where a server keeps its state unless told otherwise.
pub(crate) const DEFAULT: &str = "./placet-data";
/// Holds the base URL while the server is ready.
pub(crate) const ADDRESS: &str = "address";
/// Holds the origin of the pages for people while the server is ready.
pub(crate) const PAGES_ADDRESS: &str = "pages-address";
/// Holds the URL for mutual TLS while the server is ready, where it has a listener for that.
pub(crate) const MTLS_ADDRESS: &str = "mtls-address";
/// Holds the URL of the egress door, while the server runs and has it open.
pub(crate) const EGRESS_ADDRESS: &str = "egress-address";
/// Holds the administrator token.
pub(crate) const ADMIN_TOKEN: &str = "admin.token";
/// Holds the vault keys, unless they are kept elsewhere.
pub(crate) const VAULT_KEY: &str = "vault.key";
/// Holds the record's verifier key as text.
pub(crate) const RECORD_KEY: &str = "record.pub";
/// The database.
pub(crate) const DATABASE: &str = "placet.db";
/// Holds nothing but space.
pub(crate) const RESERVE_FILE: &str = "reserve";
const LOCK: &str = "lock";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Explicitly: a child process that is just being started has a copy of the open file for a moment.
        _ = FileExt::unlock(&self.lock);
    }
}

impl DataDir {
    /// Makes the directory where it is missing (mode 0700) and locks it.
    ///
    /// # Errors
    /// A sentence: another server holds it, or it can't be written.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let unusable = |error: io::Error| {
            Failure::start(format!(
                "the data directory `{shown}` can't be written: {error}; choose another with --data"
            ))
        };
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(unusable)?;
        match FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::start(format!(
                    "another `placet serve` is using the data directory `{shown}`; stop it first, or choose another with --data"
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let directory = Self { path: path.to_owned(), lock };
        // Where a server was killed, this says that it is gone.
        directory.remove(ADDRESS).map_err(unusable)?;
        directory.remove(PAGES_ADDRESS).map_err(unusable)?;
        directory.remove(MTLS_ADDRESS).map_err(unusable)?;
        directory.remove(EGRESS_ADDRESS).map_err(unusable)?;
        Ok(directory)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Says where the server answers, where its pages are, and where certificates are shown if they are, now that it does.
    ///
    /// # Errors
    /// A sentence, where a file can't be written.
    pub(crate) fn announce(
        &self,
        base_url: &str,
        pages: &str,
        mtls: Option<&str>,
        egress: Option<&str>,
    ) -> Result<(), Failure> {
        if let Some(egress) = egress {
            self.write(EGRESS_ADDRESS, format!("{egress}\n").as_bytes())?;
        }
        if let Some(mtls) = mtls {
            self.write(MTLS_ADDRESS, format!("{mtls}\n").as_bytes())?;
        }
        self.write(PAGES_ADDRESS, format!("{pages}\n").as_bytes())?;
        self.write(ADDRESS, format!("{base_url}\n").as_bytes())
    }

    /// Takes the announcement back.
    pub(crate) fn withdraw(&self) {
        if let Err(error) = [ADDRESS, PAGES_ADDRESS, MTLS_ADDRESS, EGRESS_ADDRESS]
            .into_iter()
            .try_for_each(|name| self.remove(name))
        {
            tracing::warn!(%error, "the address file could not be removed");
        }
    }

    /// The file's bytes, `None` where there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Failure::start(format!("`{}` can't be read: {error}", self.path.join(name).display())))
            }
        }
    }

    /// Writes a file whole (mode 0600), in place of the one there is.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let target = self.path.join(name);
        write_whole(&target, bytes)
            .map_err(|error| Failure::start(format!("`{}` can't be written: {error}", target.display())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Writes `target` so that it is there in full or not at all: under another name with mode 0600, brought to the
/// disk, renamed. The directory above is made with mode 0700 where it is missing.
pub(crate) fn write_whole(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut name = target.as_os_str().to_owned();
    name.push(".new");
    let draft = PathBuf::from(name);
    // One that a killed process left is worth nothing.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, target)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests;
