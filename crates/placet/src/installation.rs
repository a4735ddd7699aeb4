//! The first thing that a start does: open the database, and make the installation there or find the one there is.
//!
//! What is made is made in this order: the vault key and the administrator token as files, then all keys in one
//! transaction. A start that was cut off goes on with the files it finds; a second node that was slower takes its own
//! back. Keys that an older version kept in files are taken over in that transaction, and the files removed after it.
//!
//! Invariant: nothing is sealed by a key that is not on the disk already, and where an installation is, or was, none is made.

use crate::{
    data::{self, DataDir, OldKeys, VaultKeys, VaultPlace},
    exit::Failure,
};
use placet_core::{
    id::NodeId,
    record::RecordSigner,
    seal::{RootKey, Vault},
    time::Timestamp,
};
use placet_server::{
    app::Secrets,
    clock,
    keys::{self, KeysError, Material},
};
use placet_store::{Database, Fault, Store, StoreOptions};
use std::sync::Arc;

/// Where things are that are not in the data directory.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// The vault keys, and what wraps them.
    pub(crate) vault: VaultPlace,
    /// The database, which other nodes may use too.
    pub(crate) database: Option<Database>,
}

/// Opens the database with the keys of the installation in it, which is made where there is none.
///
/// # Errors
/// A sentence that says what is missing, and what to do.
pub(crate) async fn enter(
    directory: &DataDir,
    node: NodeId,
    elsewhere: Elsewhere,
    now: Timestamp,
) -> Result<(Store, Secrets), Failure> {
    let own = elsewhere.vault.own(directory.path());
    let mut at_hand = vault_keys(&own, elsewhere.vault.elsewhere())?;
    let place = elsewhere.vault.elsewhere().cloned().unwrap_or(own);
    let database = elsewhere.database.unwrap_or_else(|| Database::sqlite(directory.database()));
    let old = directory.old_keys(node);
    let fresh = Material::fresh(data::record_name(node), data::new_admin_token()?);
    let begins_with = match &old {
        Ok(Some(old)) => &old.material,
        _ => &fresh,
    };
    let store = open(database, node, begins_with.signer().map_err(unusable)?, now).await?;
    if !keys::are_there(&store).await.map_err(unreadable)? {
        at_hand = Some(make(directory, &store, at_hand, &place, (fresh, old?), now).await?);
    }
    let secrets = keys::open(&store, Arc::new(place), vault(at_hand, directory)?).await;
    let secrets = secrets.map_err(|error| match error {
        error @ KeysError::OtherVaultKey { .. } => Failure::start(format!("{error}: {}", bring(directory))),
        error => unusable(error),
    })?;
    store.sign_with(Arc::clone(&secrets.record));
    match directory.old_record_key(node)? {
        Some(key) if key != secrets.record.public_key() => {
            tracing::warn!("the files in `keys` belong to another installation; they are not used");
        }
        Some(_) => directory.remove_old_keys()?,
        None => {}
    }
    Ok((store, secrets))
}

/// Makes the installation, from fresh keys or from an older version's; answers the vault keys at hand.
async fn make(
    directory: &DataDir,
    store: &Store,
    at_hand: Option<Vec<Arc<RootKey>>>,
    place: &VaultKeys,
    (fresh, old): (Material, Option<OldKeys>),
    now: Timestamp,
) -> Result<Vec<Arc<RootKey>>, Failure> {
    if old.is_none() && used(store).await? {
        return Err(directory.missing("keys"));
    }
    // A file that a failing disk left empty, or another database than before: a new installation in its place would
    // hide that everything is gone.
    if old.is_none() && directory.has_served()? {
        return Err(directory.emptied());
    }
    let mut made = Vec::new();
    let at_hand = match at_hand {
        Some(at_hand) => at_hand,
        None if old.is_some() => return Err(no_vault_key(directory)),
        None => {
            made.push(data::VAULT_KEY);
            place.make()?
        }
    };
    let vault = vault(Some(at_hand.clone()), directory)?;
    let imported = old.is_some();
    let material = match old {
        Some(old) => {
            old.check_vault_key(vault.sealing())?;
            old.material
        }
        None => match directory.admin_token()? {
            // Left by a start that was cut off.
            Some(admin_token) => Material { admin_token, ..fresh },
            None => {
                directory.keep_admin_token(&fresh.admin_token)?;
                made.push(data::ADMIN_TOKEN);
                fresh
            }
        },
    };
    if keys::found(store, &vault, &material, now).await.map_err(unusable)? {
        tracing::info!(imported, "the keys of the installation are in the database now");
    } else {
        // Another node was faster: what was made here opens nothing and is nobody's token.
        directory.take_back(&made);
    }
    Ok(at_hand)
}

/// The vault keys at hand: those from elsewhere, else the directory's own; `None` where there are none yet.
fn vault_keys(own: &VaultKeys, elsewhere: Option<&VaultKeys>) -> Result<Option<Vec<Arc<RootKey>>>, Failure> {
    let kept = own.at_hand()?;
    let Some(elsewhere) = elsewhere else { return Ok(kept) };
    let given = elsewhere.at_hand()?.unwrap_or_default();
    let kept = kept.unwrap_or_default();
    let same = |key: &Arc<RootKey>| given.iter().any(|given| given.key_id() == key.key_id());
    if !kept.is_empty() && !kept.iter().any(same) {
        let path = own.path().map(|path| path.display().to_string()).unwrap_or_default();
        return Err(Failure::start(format!(
            "the vault key that was given is not the one in `{path}`; give none to use that one"
        )));
    }
    Ok(Some(given))
}

fn vault(at_hand: Option<Vec<Arc<RootKey>>>, directory: &DataDir) -> Result<Vault, Failure> {
    at_hand.and_then(Vault::new).ok_or_else(|| no_vault_key(directory))
}

fn no_vault_key(directory: &DataDir) -> Failure {
    Failure::start(format!(
        "`{}` is missing, and the database was made with a vault key: {}",
        directory.path().join(data::VAULT_KEY).display(),
        bring(directory)
    ))
}

/// What to do where a vault key is not at hand.
fn bring(directory: &DataDir) -> String {
    format!(
        "copy `vault.key` from a node that has it, or from a backup, to `{}`; if the key is kept elsewhere, give --vault-key-file or PLACET_VAULT_KEY",
        directory.path().join(data::VAULT_KEY).display()
    )
}

/// Whether a server has answered with this database before.
async fn used(store: &Store) -> Result<bool, Failure> {
    let issuers = store.read(|q| placet_store::issuers::all(q)).await.map_err(unreadable)?;
    Ok(!issuers.is_empty())
}

async fn open(
    database: Database,
    node: NodeId,
    signer: Arc<RecordSigner>,
    now: Timestamp,
) -> Result<Store, Failure> {
    let options = StoreOptions::new(database, node, clock::entropy(), signer, now);
    let opened = tokio::task::spawn_blocking(move || Store::open(options)).await;
    opened
        .map_err(|error| Failure::start(format!("the database can't be opened: {error}")))?
        .map_err(|error| Failure::start(error.to_string()))
}

fn unusable(error: KeysError) -> Failure {
    Failure::start(error.to_string())
}

fn unreadable(fault: Fault) -> Failure {
    Failure::start(format!("the database can't be read: {fault}"))
}
