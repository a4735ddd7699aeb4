//! What commands read of a data directory without holding it: whether a server does, which key verifies its record,
//! and, where the vault key is at hand, the keys that open the record's bodies.
//!
//! Invariant: nothing is made or changed here.

use super::{ADDRESS, DATABASE, LOCK, RECORD_KEY, RESERVE_FILE, VAULT_KEY, VaultKeys};
use crate::exit::Failure;
use fs4::TryLockError;
use placet_core::{
    id::EventId,
    record::{Body, VerifierKey},
    seal::{BodyKeys, Vault},
};
use placet_server::keys::body_keys;
use placet_store::{Fault, file, keys};
use std::{
    fs::{self, File},
    path::Path,
};

/// Names of files that belong to a running server or its database, and not to what has to be kept.
pub(crate) const FILES_OF_A_RUN: &[&str] = &[LOCK, ADDRESS, DATABASE, RESERVE_FILE];

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

/// The key that verifies the record, as the directory publishes it.
///
/// # Errors
/// A sentence naming the file that is missing or can't be used.
pub(crate) fn record_key(directory: &Path) -> Result<VerifierKey, Failure> {
    let path = directory.join(RECORD_KEY);
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::unreadable(format!("`{}` can't be used: {why}", path.display()))
    };
    let text = fs::read_to_string(&path).map_err(|error| unusable(&error))?;
    text.trim().parse().map_err(|error| unusable(&error))
}

/// What opens the bodies of a record.
#[derive(Debug)]
pub(crate) struct BodyReader(Option<BodyKeys>);

impl BodyReader {
    /// The keys in the database of `directory`, opened by the vault key `elsewhere` or there; without one, bodies are
    /// left unread.
    ///
    /// # Errors
    /// A sentence, where the vault key can't be used or is another.
    pub(crate) fn new(directory: &Path, elsewhere: Option<&VaultKeys>) -> Result<Self, Failure> {
        let own = VaultKeys::file(directory.join(VAULT_KEY));
        let at_hand = elsewhere.unwrap_or(&own).at_hand()?;
        let Some(vault) = at_hand.and_then(Vault::new) else { return Ok(Self(None)) };
        let database = directory.join(DATABASE);
        let rows = file::read(&database, |q| Ok::<_, Fault>((keys::all(q)?, keys::vault_keys(q)?)));
        // A database of an older version has none: its bodies are left unread.
        let Ok((rows, vaults)) = rows else { return Ok(Self(None)) };
        let opened = body_keys(rows, vaults, &vault);
        opened.map(|keys| Self(Some(keys))).map_err(|error| Failure::unreadable(error.to_string()))
    }

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
    /// The id of the one that seals, as the database says.
    pub(crate) sealing: Option<String>,
    /// The ids of those at hand.
    pub(crate) at_hand: Option<Vec<String>>,
}

/// The vault key that the database needs, and those that are `elsewhere` or in the directory.
///
/// # Errors
/// A sentence, where a file can't be read.
pub(crate) fn vault_state(directory: &Path, elsewhere: Option<&VaultKeys>) -> Result<VaultState, Failure> {
    let own = VaultKeys::file(directory.join(VAULT_KEY));
    let at_hand = elsewhere.unwrap_or(&own).at_hand()?;
    let at_hand = at_hand.map(|keys| keys.iter().map(|key| key.key_id().to_owned()).collect());
    let stored = file::read(&directory.join(DATABASE), |q| keys::vault_keys(q));
    let stored =
        stored.map_err(|fault| Failure::unreadable(format!("the database can't be read: {fault}")))?;
    let sealing = stored.into_iter().find(|key| key.state == keys::VaultKeyState::Active).map(|key| key.id);
    Ok(VaultState { sealing, at_hand })
}
