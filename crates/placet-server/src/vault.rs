//! The vault of a running server: the vault keys at hand, one of which seals.
//!
//! Which one seals is written in the store, so that all nodes agree; what the keys are comes from outside of it
//! ([`VaultSource`]).
//!
//! Invariant: nothing is sealed by a key that the store does not name as the one that seals. A node that has not got
//! that key opens what it can and seals nothing.

pub mod rotation;

use arc_swap::ArcSwap;
use placet_core::{
    seal::{Aad, RootKey, SealEntropy, SealError, Sealed, Vault},
    secret::Secret,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where the vault keys come from: a file, as a rule, in which a key service may have wrapped them.
pub trait VaultSource: fmt::Debug + Send + Sync {
    /// The keys as they are there now.
    ///
    /// # Errors
    /// A sentence.
    fn read(&self) -> Result<Vec<Arc<RootKey>>, String>;

    /// Makes a new key and keeps it beside those that are there; answers its id.
    ///
    /// # Errors
    /// A sentence that says what to do where keys can't be kept there.
    fn add(&self) -> Result<String, String>;

    /// Drops keys of these ids, where keys can be dropped there.
    ///
    /// # Errors
    /// A sentence.
    fn drop_keys(&self, ids: &[String]) -> Result<(), String>;

    /// Does what is due to keep access to where they come from; called every few seconds, and seldom has something to do.
    ///
    /// # Errors
    /// A sentence.
    fn tend(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The vault as it is now.
#[derive(Debug)]
pub struct LiveVault {
    now: ArcSwap<Vault>,
    seals: AtomicBool,
    source: Arc<dyn VaultSource>,
}

impl LiveVault {
    /// With the keys at hand, and where they are from.
    pub fn new(vault: Vault, source: Arc<dyn VaultSource>) -> Self {
        Self { now: ArcSwap::from_pointee(vault), seals: AtomicBool::new(true), source }
    }

    /// The keys at hand.
    pub fn load(&self) -> Arc<Vault> {
        self.now.load_full()
    }

    /// Where they are from.
    pub fn source(&self) -> Arc<dyn VaultSource> {
        Arc::clone(&self.source)
    }

    /// Whether the key that seals is at hand.
    pub fn seals(&self) -> bool {
        self.seals.load(Ordering::SeqCst)
    }

    /// Seals nothing until [`LiveVault::replace`]: which key seals may have changed, and the store does not say.
    pub fn suspend(&self) {
        self.seals.store(false, Ordering::SeqCst);
    }

    /// Takes the keys that are at hand now. `sealing` is the key that seals; where it is not among them, nothing is
    /// sealed until it is. Answers whether it is.
    pub fn replace(&self, vault: &Vault, sealing: &str) -> bool {
        let chosen = vault.sealing_with(sealing);
        let seals = chosen.is_some();
        if !seals {
            self.seals.store(false, Ordering::SeqCst);
        }
        self.now.store(Arc::new(chosen.unwrap_or_else(|| vault.clone())));
        self.seals.store(seals, Ordering::SeqCst);
        seals
    }

    /// Seals `plaintext` for the row.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] where the key that seals is not at hand.
    pub fn seal(&self, aad: &Aad<'_>, entropy: SealEntropy, plaintext: &[u8]) -> Result<Sealed, SealError> {
        let vault = self.now.load();
        if !self.seals() {
            let key_id = vault.key_ids().collect::<Vec<_>>().join("`, `");
            return Err(SealError::OtherKey { sealed_by: "a newer vault key".into(), key_id });
        }
        vault.seal(aad, entropy, plaintext)
    }

    /// Opens what any of the keys at hand has sealed for this row.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open(&self, aad: &Aad<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        self.now.load().open(aad, sealed)
    }
}

/// Vault keys that are kept nowhere: for tests and measurements.
#[derive(Debug)]
pub struct FixedVault(pub Vec<Arc<RootKey>>);

impl VaultSource for FixedVault {
    fn read(&self) -> Result<Vec<Arc<RootKey>>, String> {
        Ok(self.0.clone())
    }

    fn add(&self) -> Result<String, String> {
        Err("these vault keys are fixed".into())
    }

    fn drop_keys(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }
}
