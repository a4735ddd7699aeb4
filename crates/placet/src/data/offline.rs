//! What commands read of an installation without being its server: whether one holds the data directory, what is in the
//! database, which key verifies its record, and, where the vault key is at hand, the keys that open the record's bodies.
//!
//! The database is the file in the directory, or the server's that the command names; all that reads it asks
//! [`Installation`], and so works on both.
//!
//! Invariant: nothing is made or changed here.

use super::{
    ADDRESS, DATABASE, LOCK, MTLS_ADDRESS, PAGES_ADDRESS, RECORD_KEY, RESERVE_FILE, VaultPlace,
    vault::Described,
};
use crate::exit::Failure;
use fs4::TryLockError;
use placet_core::{
    id::EventId,
    record::{Body, VerifierKey},
    seal::{BodyKeys, RootKey, Vault},
};
use placet_server::keys::body_keys;
use placet_store::{
    Database, Fault, Reader, keys,
    offline::{self, Schema},
};
use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

/// Names of files that belong to a running server or its database, and not to what has to be kept.
pub(crate) const FILES_OF_A_RUN: &[&str] =
    &[LOCK, ADDRESS, PAGES_ADDRESS, MTLS_ADDRESS, DATABASE, RESERVE_FILE];

/// Files that are there once a server has run on the directory.
pub(crate) const ALWAYS_THERE: &[&str] = &[super::NODE, RECORD_KEY];

/// Whether a server holds the directory.
pub(crate) fn is_held(directory: &Path) -> bool {
    let Ok(lock) = File::options().write(true).open(directory.join(LOCK)) else { return false };
    match fs4::FileExt::try_lock(&lock) {
        Ok(()) => {
            _ = fs4::FileExt::unlock(&lock);
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}

/// An installation without its server: a data directory, and the database in it or elsewhere.
#[derive(Debug)]
pub(crate) struct Installation<'a> {
    directory: &'a Path,
    database: Database,
}

impl<'a> Installation<'a> {
    /// The one of this directory; its database is the directory's file, unless it is `elsewhere`.
    pub(crate) fn new(directory: &'a Path, elsewhere: Option<Database>) -> Self {
        let database = elsewhere.unwrap_or_else(|| Database::sqlite(directory.join(DATABASE)));
        Self { directory, database }
    }

    /// The data directory.
    pub(crate) fn directory(&self) -> &'a Path {
        self.directory
    }

    /// The database.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Whether the database is the directory's own file.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.database, Database::Sqlite { .. })
    }

    /// The database's schema; `None` where there is none, or nothing in it.
    ///
    /// # Errors
    /// What the engine met.
    pub(crate) fn schema(&self) -> Result<Option<Schema>, Fault> {
        offline::schema(&self.database)
    }

    /// Reads the database, on a snapshot.
    ///
    /// # Errors
    /// What `f` answers, or what the engine met.
    pub(crate) fn read<T: Send, E: From<Fault> + Send>(
        &self,
        f: impl FnOnce(&mut Reader<'_>) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        offline::read(&self.database, f)
    }

    /// The key that verifies the record, as the directory publishes it.
    ///
    /// # Errors
    /// A sentence naming the file that is missing or can't be used.
    pub(crate) fn record_key(&self) -> Result<VerifierKey, Failure> {
        record_key(self.directory)
    }

    /// The same key as the database has it, opened by the vault key `elsewhere` or in the directory; `None` where there
    /// is no vault key.
    ///
    /// # Errors
    /// A sentence: nothing is in the database, or it can't be read, or the vault key is another.
    pub(crate) fn stored_record_key(&self, vault: &VaultPlace) -> Result<Option<VerifierKey>, Failure> {
        let Some(vault) = self.at_hand(vault)?.and_then(Vault::new) else { return Ok(None) };
        let rows = self.read(|q| Ok::<_, Fault>((keys::all(q)?, keys::vault_keys(q)?)));
        let (rows, vaults) = rows.map_err(|fault| self.unread(&fault))?;
        if rows.is_empty() {
            return Err(self.no_database());
        }
        let key = placet_server::keys::record_key(rows, vaults, &vault);
        key.map(Some).map_err(|error| Failure::unreadable(error.to_string()))
    }

    /// What is said where nothing is in the database.
    pub(crate) fn no_database(&self) -> Failure {
        Failure::unreadable(match &self.database {
            Database::Sqlite { .. } => format!(
                "there is no database in `{}`: if it is a PostgreSQL server's, say which with --database or PLACET_DATABASE",
                self.directory.display()
            ),
            Database::Postgres(address) => format!("nothing is in the database `{address}` yet"),
        })
    }

    /// What is said where the database can't be read.
    pub(crate) fn unread(&self, fault: &Fault) -> Failure {
        Failure::unreadable(format!("`{}` can't be read: {fault}", self.place()))
    }

    /// The keys in the database that open bodies, opened by the vault key `elsewhere` or in the directory; without one,
    /// bodies are left unread.
    ///
    /// # Errors
    /// A sentence, where the vault key can't be used or is another.
    pub(crate) fn bodies(&self, vault: &VaultPlace) -> Result<BodyReader, Failure> {
        let Some(vault) = self.at_hand(vault)?.and_then(Vault::new) else { return Ok(BodyReader(None)) };
        let rows = self.read(|q| Ok::<_, Fault>((keys::all(q)?, keys::vault_keys(q)?)));
        // A database of an older version has none: its bodies are left unread.
        let Ok((rows, vaults)) = rows else { return Ok(BodyReader(None)) };
        let opened = body_keys(rows, vaults, &vault);
        opened.map(|keys| BodyReader(Some(keys))).map_err(|error| Failure::unreadable(error.to_string()))
    }

    /// The vault key that the database needs, and those that are `elsewhere` or in the directory.
    ///
    /// # Errors
    /// A sentence, where a file or the database can't be read.
    pub(crate) fn vault_state(&self, vault: &VaultPlace) -> Result<VaultState, Failure> {
        let at_hand = vault.of(self.directory).described()?;
        let stored = match self.schema().map_err(|fault| self.unread(&fault))? {
            None => Vec::new(),
            Some(_) => self.read(|q| keys::vault_keys(q)).map_err(|fault| self.unread(&fault))?,
        };
        let sealing =
            stored.into_iter().find(|key| key.state == keys::VaultKeyState::Active).map(|key| key.id);
        Ok(VaultState { sealing, at_hand })
    }

    /// The database, as people are told where it is.
    pub(crate) fn place(&self) -> String {
        match &self.database {
            Database::Sqlite { path, .. } => path.display().to_string(),
            Database::Postgres(address) => address.to_string(),
        }
    }

    fn at_hand(&self, vault: &VaultPlace) -> Result<Option<Vec<Arc<RootKey>>>, Failure> {
        vault.of(self.directory).at_hand()
    }
}

/// What opens the bodies of a record.
#[derive(Debug)]
pub(crate) struct BodyReader(Option<BodyKeys>);

impl BodyReader {
    /// Whether bodies can be read.
    pub(crate) fn reads(&self) -> bool {
        self.0.is_some()
    }

    /// A body, opened; none where there is no key at all.
    ///
    /// # Errors
    /// Where none of the keys opens it.
    pub(crate) fn open(&self, entry: EventId, sealed: &[u8]) -> Result<Option<Body>, ()> {
        let Some(keys) = &self.0 else { return Ok(None) };
        let key = keys.sealer_of(sealed).ok_or(())?;
        Body::open(key, entry, sealed).map(Some).map_err(|_| ())
    }
}

/// Which vault keys there are.
#[derive(Debug)]
pub(crate) struct VaultState {
    /// The id of the one that seals, as the database says; `None` where there is none yet.
    pub(crate) sealing: Option<String>,
    /// Those at hand.
    pub(crate) at_hand: Option<Vec<Described>>,
}

fn record_key(directory: &Path) -> Result<VerifierKey, Failure> {
    let path = directory.join(RECORD_KEY);
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::unreadable(format!("`{}` can't be used: {why}", path.display()))
    };
    let text = fs::read_to_string(&path).map_err(|error| unusable(&error))?;
    text.trim().parse().map_err(|error| unusable(&error))
}
