//! The keys of the installation: made once, kept sealed in the store, read by every node.
//!
//! [`found`] makes them where there are none yet, [`open`] reads them at start, and [`App::reload_keys`] whenever
//! another node may have changed them. Which can be rotated, and how, is in [`rotation`].
//!
//! Invariant: all keys of an installation are made in one transaction, so that there are either none or all of them;
//! a node that can't open one does not start.

pub mod rotation;

use crate::{
    app::{ADMIN_TOKEN, App, Secrets},
    clock,
    problem::Problem,
    recording,
    vault::{LiveVault, VaultSource},
};
use arc_swap::ArcSwap;
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use placet_core::{
    keys::{KeyAlgorithm, KeyRing, SigningKey},
    record::{EntryType, Envelope, RecordSigner, VerifierKey},
    refusal::{Code, Reason},
    seal::{Aad, BodyKey, BodyKeys, SealEntropy, SealError, Sealed, Vault},
    secret::{HashKey, KeyedHash, Secret},
    time::Timestamp,
    token::{self, AccessClaims, DelegationClaims, Issuers},
};
use placet_store::{
    Fault, PreparedEntry, Store,
    keys::{KeyState, Purpose, StoredKey, VaultKey, VaultKeyState},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often at most keys are read anew in vain.
const LOOK_UPS: Duration = Duration::from_millis(500);

/// The kind of row that a key is sealed to.
pub const KEY_KIND: &str = "key";

/// What an installation begins with: fresh, or what an older version kept in files.
#[derive(Debug)]
pub struct Material {
    /// Signs tokens, in PKCS#8.
    pub token: Secret,
    /// Signs the record: Ed25519 in PKCS#8.
    pub record: Secret,
    /// The name of that key: the origin line of checkpoints.
    pub record_name: String,
    /// Hashes generated secrets: 32 bytes.
    pub hash: Secret,
    /// Keys the digests of held requests: 32 bytes.
    pub approval: Secret,
    /// Seals the bodies of the record: 32 bytes.
    pub body: Secret,
    /// The administrator token, of which the hash is kept.
    pub admin_token: Secret,
}

impl Material {
    /// Fresh keys.
    pub fn fresh(record_name: String, admin_token: Secret) -> Self {
        let key = || Secret::new(clock::entropy::<32>());
        Self {
            token: signing_key(KeyAlgorithm::EdDsa),
            record: signing_key(KeyAlgorithm::EdDsa),
            record_name,
            hash: key(),
            approval: key(),
            body: key(),
            admin_token,
        }
    }

    /// The signer of the record.
    ///
    /// # Errors
    /// [`KeysError::Damaged`].
    pub fn signer(&self) -> Result<Arc<RecordSigner>, KeysError> {
        signer(&self.record_name, &self.record)
    }
}

/// Why the keys of an installation can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The vault key that sealed them, or that is to seal, is not at hand.
    #[error("the database needs the vault key `{needed}`, and at hand is `{at_hand}`")]
    OtherVaultKey {
        /// The key that is needed.
        needed: String,
        /// The keys that are at hand.
        at_hand: String,
    },
    /// A key was changed, or moved from another row.
    #[error("the key `{0}` can't be used: it is damaged, or was moved from another row")]
    Damaged(String),
    /// There is none.
    #[error("there is no key of the kind `{0}`")]
    Missing(&'static str),
    /// The store failed.
    #[error("the keys can't be read: {0}")]
    Store(#[from] Fault),
}

/// Whether the store has keys already.
///
/// # Errors
/// [`Fault`].
pub async fn are_there(store: &Store) -> Result<bool, Fault> {
    store.read(|q| Ok(!placet_store::keys::all(q)?.is_empty())).await
}

/// Makes the keys of a new installation from `material`, in one transaction; `false` where there are keys by now, of
/// which nothing is changed. The store signs with [`Material::signer`] meanwhile.
///
/// # Errors
/// [`KeysError`].
pub async fn found(
    store: &Store,
    vault: &Vault,
    material: &Material,
    now: Timestamp,
) -> Result<bool, KeysError> {
    let mut rows = vec![
        token_row(vault, &material.token, KeyState::Active, now)?,
        token_row(vault, &signing_key(KeyAlgorithm::EdDsa), KeyState::Next, now)?,
    ];
    let hash = hash_key(&material.hash)?.hash(ADMIN_TOKEN, material.admin_token.expose());
    let admin = Secret::new(*hash.as_bytes());
    for (purpose, name, key) in [
        (Purpose::Record, material.record_name.as_str(), &material.record),
        (Purpose::Hash, "1", &material.hash),
        (Purpose::Approval, "1", &material.approval),
        (Purpose::Body, "1", &material.body),
        (Purpose::Admin, "1", &admin),
    ] {
        rows.push(row(vault, purpose, name, key, KeyState::Active, now)?);
    }
    let made: Vec<_> =
        rows.iter().map(|row| (row.clone(), event(EntryType::KeyCreated, &row.id, now))).collect();
    let vault_key = vault.sealing().to_owned();
    let founded = store.write(move |tx| {
        if !placet_store::keys::all(tx)?.is_empty() {
            return Ok(false);
        }
        placet_store::keys::use_vault_key(tx, &vault_key, now)?;
        for (row, entry) in &made {
            placet_store::keys::insert(tx, row)?;
            tx.record(entry.clone())?;
        }
        Ok::<_, Fault>(true)
    });
    Ok(founded.await?)
}

/// Reads the keys, all of which have to open.
///
/// # Errors
/// [`KeysError`].
pub async fn open(store: &Store, source: Arc<dyn VaultSource>, vault: Vault) -> Result<Secrets, KeysError> {
    let stored = Stored::read(store).await?;
    let sealing = stored.sealing().ok_or(KeysError::Missing("vault"))?;
    let vault = vault
        .sealing_with(sealing)
        .ok_or_else(|| KeysError::OtherVaultKey { needed: sealing.to_owned(), at_hand: at_hand(&vault) })?;
    let record = stored.one(Purpose::Record)?;
    let admin = opened(&vault, stored.one(Purpose::Admin)?)?;
    let approval = opened(&vault, stored.one(Purpose::Approval)?)?;
    Ok(Secrets {
        tokens: ArcSwap::from_pointee(stored.tokens(&vault)?),
        bodies: ArcSwap::from_pointee(stored.bodies(&vault)?),
        hashing: hash_key(&opened(&vault, stored.one(Purpose::Hash)?)?)?,
        admin_token: KeyedHash::from_bytes(admin.expose())
            .ok_or_else(|| KeysError::Damaged(Purpose::Admin.as_str().to_owned()))?,
        approvals: hmac::Key::new(hmac::HMAC_SHA256, approval.expose()),
        record: signer(record.name(), &opened(&vault, record)?)?,
        vault: LiveVault::new(vault, source),
    })
}

/// What opens the bodies of the record, from the stored keys themselves: for a database without a server.
///
/// # Errors
/// [`KeysError`].
pub fn body_keys(
    keys: Vec<StoredKey>,
    vault_keys: Vec<VaultKey>,
    vault: &Vault,
) -> Result<BodyKeys, KeysError> {
    Stored { keys, vault: vault_keys }.bodies(vault)
}

/// The key that verifies the record, from the stored keys themselves: only who has the vault key can have put it there.
///
/// # Errors
/// [`KeysError`].
pub fn record_key(
    keys: Vec<StoredKey>,
    vault_keys: Vec<VaultKey>,
    vault: &Vault,
) -> Result<VerifierKey, KeysError> {
    let stored = Stored { keys, vault: vault_keys };
    let record = stored.one(Purpose::Record)?;
    Ok(signer(record.name(), &opened(vault, record)?)?.public_key())
}

/// With what tokens are verified.
#[derive(Debug)]
pub struct Verifier {
    keys: Arc<KeyRing>,
    issuers: Arc<Vec<String>>,
}

impl Verifier {
    /// [`token::verify_access`].
    ///
    /// # Errors
    /// As there.
    pub fn access(&self, token: &str, now: Timestamp) -> Result<AccessClaims, Reason> {
        token::verify_access(&self.keys, Issuers { known: &self.issuers }, token, now)
    }

    /// [`token::verify_delegation`].
    ///
    /// # Errors
    /// As there.
    pub fn delegation(&self, token: &str, now: Timestamp) -> Result<DelegationClaims, Reason> {
        token::verify_delegation(&self.keys, Issuers { known: &self.issuers }, token, now)
    }
}

/// When keys were last read anew in vain, because of a name that is no key's.
#[derive(Debug, Default)]
pub struct LookUps {
    last: Mutex<Option<Instant>>,
    /// Held by the one who reads them: of many who come at once with such names the others wait for what that one finds.
    turn: tokio::sync::Mutex<()>,
}

impl LookUps {
    /// Whether another is allowed: whoever sends unknown names must not keep the store busy.
    fn is_due(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= LOOK_UPS)
    }

    fn in_vain(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl App {
    /// What `token` is verified with. Where it names a key that is not known, another node may have made it: then the
    /// keys are read anew first, in vain at most twice a second.
    pub async fn verifier(&self, token: &str) -> Verifier {
        if let Some(kid) = token::key_of(token) {
            self.look_up(|| self.secrets.tokens.load().knows(&kid)).await;
        }
        Verifier { keys: self.secrets.tokens.load_full(), issuers: self.issuers.load_full() }
    }

    /// Reads the keys anew where a body was sealed by one that is not known.
    pub(crate) async fn know_sealer_of(&self, sealed: &[u8]) {
        self.look_up(|| self.secrets.bodies.load().sealer_of(sealed).is_some()).await;
    }

    async fn look_up(&self, known: impl Fn() -> bool) {
        if known() || !self.key_look_ups.is_due() {
            return;
        }
        let _turn = self.key_look_ups.turn.lock().await;
        if known() || !self.key_look_ups.is_due() {
            return;
        }
        // What can't be read is told by the job that follows other nodes.
        let _ = self.reload_keys().await;
        if !known() {
            self.key_look_ups.in_vain();
        }
    }

    /// Reads the keys, the vault keys and the issuers anew and swaps them in.
    ///
    /// # Errors
    /// `unavailable` where they can't be read, or a key that is needed is not at hand: then the keys that were there
    /// stay, but nothing is sealed by a vault key that should not.
    pub async fn reload_keys(&self) -> Result<(), Problem> {
        // One at a time, or what was read before a change could be put over what was read after it.
        let _reloading = self.reloading_keys.lock().await;
        let outcome = self.read_keys().await;
        if let Err(error) = &outcome {
            tracing::error!(%error, "the keys can't be read anew");
        }
        self.key_trouble.store(outcome.as_ref().err().map(|error| Arc::new(error.to_string())));
        outcome.map_err(|error| match error {
            KeysError::Store(fault) => fault.into(),
            _ => Problem::of(Code::Unavailable, "the keys can't be used; the log has the cause"),
        })
    }

    async fn read_keys(&self) -> Result<(), KeysError> {
        let (stored, issuers) =
            (Stored::read(&self.store).await?, { self.store.read(|q| placet_store::issuers::all(q)).await? });
        let mut vault = self.secrets.vault.load();
        let sealing = stored.sealing().ok_or(KeysError::Missing("vault"))?;
        if !vault.key_ids().any(|id| id == sealing) {
            vault = self.read_vault().await.unwrap_or(vault);
        }
        if !self.secrets.vault.replace(&vault, sealing) {
            return Err(KeysError::OtherVaultKey { needed: sealing.to_owned(), at_hand: at_hand(&vault) });
        }
        let vault = self.secrets.vault.load();
        let (tokens, bodies) = (stored.tokens(&vault)?, stored.bodies(&vault)?);
        // Whoever comes with an invented key has the keys read anew, and nothing forgotten.
        let same = self.secrets.tokens.load().jwks() == tokens.jwks() && **self.issuers.load() == issuers;
        self.secrets.tokens.store(Arc::new(tokens));
        self.secrets.bodies.store(Arc::new(bodies));
        self.issuers.store(Arc::new(issuers));
        if !same {
            // A token may have been verified by a key that is gone.
            self.bearers.authority_changed();
        }
        Ok(())
    }

    /// The vault keys as they are where they come from; none where they can't be read.
    async fn read_vault(&self) -> Option<Arc<Vault>> {
        let source = self.secrets.vault.source();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let keys =
            read.ok()?.inspect_err(|error| tracing::error!(%error, "the vault keys can't be read")).ok()?;
        Vault::new(keys).map(Arc::new)
    }
}

/// The keys as they are stored.
struct Stored {
    keys: Vec<StoredKey>,
    vault: Vec<VaultKey>,
}

impl Stored {
    async fn read(store: &Store) -> Result<Self, Fault> {
        store
            .read(|q| {
                let (keys, vault) = (placet_store::keys::all(q)?, placet_store::keys::vault_keys(q)?);
                Ok(Self { keys, vault })
            })
            .await
    }

    /// The id of the vault key that seals.
    fn sealing(&self) -> Option<&str> {
        let active = self.vault.iter().find(|key| key.state == VaultKeyState::Active);
        active.map(|key| key.id.as_str())
    }

    fn one(&self, purpose: Purpose) -> Result<&StoredKey, KeysError> {
        let mut active = self.of(purpose).filter(|key| key.state == KeyState::Active);
        active.next().ok_or(KeysError::Missing(purpose.as_str()))
    }

    /// The keys of a purpose: the active one first, then the newest first.
    fn of(&self, purpose: Purpose) -> impl Iterator<Item = &StoredKey> {
        let mut keys: Vec<_> = self.keys.iter().filter(|key| key.purpose == purpose).collect();
        keys.reverse();
        keys.sort_by_key(|key| key.state != KeyState::Active);
        keys.into_iter()
    }

    fn tokens(&self, vault: &Vault) -> Result<KeyRing, KeysError> {
        self.one(Purpose::Token)?;
        let keys = self.of(Purpose::Token).map(|row| {
            let key = SigningKey::from_pkcs8(opened(vault, row)?.expose());
            key.ok().filter(|key| key.kid() == row.name()).ok_or_else(|| KeysError::Damaged(row.id.clone()))
        });
        KeyRing::new(keys.collect::<Result<_, _>>()?).ok_or(KeysError::Missing(Purpose::Token.as_str()))
    }

    fn bodies(&self, vault: &Vault) -> Result<BodyKeys, KeysError> {
        self.one(Purpose::Body)?;
        let keys = self.of(Purpose::Body).map(|row| {
            let number = row.name().parse().ok();
            let key: Option<[u8; 32]> = opened(vault, row)?.expose().try_into().ok();
            let key = number.zip(key).and_then(|(number, key)| BodyKey::new(number, key).ok());
            key.ok_or_else(|| KeysError::Damaged(row.id.clone()))
        });
        BodyKeys::new(keys.collect::<Result<_, _>>()?).ok_or(KeysError::Missing(Purpose::Body.as_str()))
    }
}

/// A new key in PKCS#8.
fn signing_key(algorithm: KeyAlgorithm) -> Secret {
    let random = SystemRandom::new();
    let made = match algorithm {
        KeyAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
        KeyAlgorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
    };
    match made {
        Ok(document) => Secret::new(document.as_ref()),
        // As for all randomness: there is nothing safe to go on with.
        Err(_) => std::process::abort(),
    }
}

fn token_row(vault: &Vault, pkcs8: &Secret, state: KeyState, now: Timestamp) -> Result<StoredKey, KeysError> {
    let key = SigningKey::from_pkcs8(pkcs8.expose()).map_err(|_| KeysError::Damaged("token".into()))?;
    let algorithm = Some(key.algorithm().as_str().to_owned());
    Ok(StoredKey { algorithm, ..row(vault, Purpose::Token, key.kid(), pkcs8, state, now)? })
}

/// A key as it is stored: sealed and bound to its id.
fn row(
    vault: &Vault,
    purpose: Purpose,
    name: &str,
    key: &Secret,
    state: KeyState,
    now: Timestamp,
) -> Result<StoredKey, KeysError> {
    let id = format!("{}/{name}", purpose.as_str());
    let sealed = vault.seal(&aad(&id), SealEntropy::new(clock::entropy()), key.expose());
    let sealed = sealed.map_err(|_| KeysError::Damaged(id.clone()))?.to_bytes();
    Ok(StoredKey { id, purpose, state, algorithm: None, sealed, created: now, since: now, until: None })
}

fn opened(vault: &Vault, row: &StoredKey) -> Result<Secret, KeysError> {
    let opened = Sealed::from_bytes(&row.sealed).and_then(|sealed| vault.open(&aad(&row.id), &sealed));
    opened.map_err(|error| match error {
        SealError::OtherKey { sealed_by, .. } => {
            KeysError::OtherVaultKey { needed: sealed_by, at_hand: at_hand(vault) }
        }
        _ => KeysError::Damaged(row.id.clone()),
    })
}

fn aad(id: &str) -> Aad<'_> {
    Aad { kind: KEY_KIND, row: id, version: 1 }
}

fn at_hand(vault: &Vault) -> String {
    vault.key_ids().collect::<Vec<_>>().join("`, `")
}

fn hash_key(bytes: &Secret) -> Result<HashKey, KeysError> {
    let bytes =
        bytes.expose().try_into().map_err(|_| KeysError::Damaged(Purpose::Hash.as_str().to_owned()))?;
    Ok(HashKey::new(bytes))
}

fn signer(name: &str, pkcs8: &Secret) -> Result<Arc<RecordSigner>, KeysError> {
    let signer = RecordSigner::from_pkcs8(name, pkcs8.expose());
    signer.map(Arc::new).map_err(|_| KeysError::Damaged(Purpose::Record.as_str().to_owned()))
}

/// An entry about a key that the server itself made.
fn event(entry_type: EntryType, id: &str, now: Timestamp) -> PreparedEntry {
    let envelope =
        Envelope { key: Some(id.to_owned()), ..recording::by(entry_type, now, "placet".to_owned()) };
    PreparedEntry::new(&envelope, None)
}
