//! Rotation of the vault key while the server answers.
//!
//! A new key is there first, on every node; then the store says that it seals; then everything that the old one has
//! sealed is moved to it in small steps ([`placet_core::seal::Vault::rewrap`] opens no secret); and when nothing is
//! left, the old one is given up. Each step can be cut off anywhere and is taken up again by whatever node runs.
//!
//! Invariant: a key is given up only after a whole look at everything sealed found nothing of it, begun when no
//! request that had begun before the new key sealed could still be under way.

use crate::{
    app::App,
    connections::{VAULT_KIND, client::CLIENT_KIND},
    egress::authority::AUTHORITY_KIND,
    keys::{KEY_KIND, rotation::By},
    people::{proof::TOTP_KIND, provider::PROVIDER_KIND},
    problem::{Answer, Problem},
    recording,
    way::outcome::ANSWER_KIND,
};
use placet_core::{
    id::{ConnectionId, ProviderId, UserId},
    record::{EntryType, Envelope},
    refusal::Code,
    seal::{Aad, Sealed, Vault},
    time::Timestamp,
};
use placet_store::{
    Fault, PreparedEntry, Tx, accounts, connections, egress_authorities, idempotency,
    keys::{self, VaultKey, VaultKeyState},
    providers, second_factors,
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How often the file of the vault keys is read again.
const READ: Duration = Duration::from_secs(5);
/// How often a node says that it runs.
pub const SAY: Duration = Duration::from_secs(15);
/// A node that said nothing for so long does not run.
pub const GONE: Duration = Duration::from_secs(60);
/// How long after the new key seals a request may still be under way that sealed by the old one: on this node alone,
/// and with others.
const SETTLED_ALONE: Duration = Duration::from_secs(5);
const SETTLED: Duration = Duration::from_secs(60);
/// How many values one step moves.
const STEP: usize = 100;

/// Begins a rotation: to the key that the operator has put beside the others, or, where no other node runs, to one
/// that is made now. Answers its id.
///
/// # Errors
/// `conflict` where a rotation is under way, another node has not got the new key, or a key can't be kept; the
/// sentence says what to do.
pub async fn begin(app: &App, by: By) -> Answer<String> {
    if !app.secrets.vault.seals() {
        return Err(conflict(
            "this node has not got the vault key that seals; the log says which".to_owned(),
        ));
    }
    let now = app.clock.now();
    let (known, others) = look(app, now).await?;
    if let Some(old) = known.iter().find(|key| key.state == VaultKeyState::Retiring) {
        return Err(conflict(format!(
            "a rotation is under way: something may still be sealed by `{}`",
            old.id
        )));
    }
    let read = read_source(app).await.map_err(conflict)?;
    let is_known = |id: &str| known.iter().any(|key| key.id == id);
    let put = read.key_ids().filter(|id| !is_known(id)).last().map(str::to_owned);
    let new = match put {
        Some(id) => id,
        None if others.is_empty() => {
            let source = app.secrets.vault.source();
            let added = tokio::task::spawn_blocking(move || source.add()).await;
            added.map_err(|_| conflict("the new key was not made".to_owned()))?.map_err(conflict)?
        }
        None => {
            return Err(conflict(format!(
                "other nodes are running ({}): put a new key (a line that `placet vault new-key` prints once) into the vault key file of every node, this one too, wait 10 seconds and ask again",
                names(&others)
            )));
        }
    };
    let vault = read_source(app).await.map_err(conflict)?;
    if !vault.key_ids().any(|id| id == new) {
        return Err(conflict(format!("the new key `{new}` is not where vault keys are read from")));
    }
    app.secrets.vault.replace(&vault, app.secrets.vault.load().sealing());
    let old = app.secrets.vault.load().sealing().to_owned();
    let entries =
        [entry(EntryType::KeyRetired, &old, &by, now), entry(EntryType::KeyActivated, &new, &by, now)];
    let (id, node) = (new.clone(), app.node);
    app.store
        .write(move |tx| {
            let lacking: Vec<_> = keys::holders(tx, now.minus(GONE))?
                .into_iter()
                .filter(|holder| holder.node != node && !holder.keys.contains(&id))
                .map(|holder| holder.node.to_string())
                .collect();
            if !lacking.is_empty() {
                return Err(conflict(format!(
                    "these nodes have not got the key `{id}` yet: {}; put it into their vault key files and wait 10 seconds (a node that was killed counts for a minute)",
                    lacking.join(", ")
                )));
            }
            let before = keys::vault_keys(tx)?;
            let sealing = before.iter().find(|key| key.state == VaultKeyState::Active);
            if sealing.is_none_or(|key| key.id != old) || !keys::use_vault_key(tx, &id, now)? {
                return Err(conflict("another rotation was faster; look at the keys again".to_owned()));
            }
            entries.iter().try_for_each(|entry| tx.record(entry.clone()))?;
            Ok(())
        })
        .await?;
    app.reload_keys().await?;
    Ok(new)
}

/// What a node remembers between its looks at the vault.
#[derive(Debug, Default)]
pub struct Keeper {
    read: Option<Instant>,
    said: Option<(Instant, Vec<String>)>,
    /// The old key of which a whole look has found nothing more.
    moved: Option<String>,
    told: BTreeSet<String>,
}

impl Keeper {
    /// One look: takes keys that were put into the file, tells the others what is at hand, moves what an old key has
    /// sealed, and gives old keys up.
    ///
    /// # Errors
    /// A sentence.
    pub async fn turn(&mut self, app: &App) -> Result<(), String> {
        tend(app).await;
        self.take(app).await?;
        self.say(app).await.map_err(told)?;
        let now = app.clock.now();
        let (known, others) = look(app, now).await.map_err(|problem| problem.detail().to_owned())?;
        for old in known.iter().filter(|key| key.state == VaultKeyState::Retiring) {
            let settled = if others.is_empty() { SETTLED_ALONE } else { SETTLED };
            // Begun this late, a look that finds nothing finds all there will ever be.
            let is_late = old.since.plus(settled) <= now;
            if !is_late && self.moved.as_deref() == Some(&old.id) {
                continue;
            }
            let left = rewrap(app).await?;
            if left == 0 {
                self.moved = Some(old.id.clone());
            }
            if is_late && left == 0 {
                end(app, &old.id, now).await.map_err(told)?;
            }
        }
        self.give_up(app, &known).await;
        Ok(())
    }

    /// Tells the others that this node stops.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn leave(&self, app: &App) -> Result<(), Fault> {
        let node = app.node;
        app.store.write(move |tx| keys::leave(tx, node)).await
    }

    /// Reads the vault keys again where it is time.
    async fn take(&mut self, app: &App) -> Result<(), String> {
        if self.read.is_some_and(|read| read.elapsed() < READ) {
            return Ok(());
        }
        self.read = Some(Instant::now());
        let read = read_source(app).await?;
        let at_hand = app.secrets.vault.load();
        let sealing = at_hand.sealing().to_owned();
        let same = read.key_ids().eq(at_hand.key_ids());
        // What is gone from the file while it is needed stays in memory.
        if !same && at_hand.key_ids().all(|id| read.key_ids().any(|one| one == id)) {
            tracing::info!(keys = ?read.key_ids().collect::<Vec<_>>(), "vault keys were added");
            app.secrets.vault.replace(&read, &sealing);
            app.reload_keys().await.map_err(|problem| problem.detail().to_owned())?;
        }
        Ok(())
    }

    async fn say(&mut self, app: &App) -> Result<(), Fault> {
        let ids: Vec<String> = app.secrets.vault.load().key_ids().map(str::to_owned).collect();
        // Alone with a file of its own a node has nobody to tell.
        let every = if app.shared { SAY } else { Duration::MAX };
        if self.said.as_ref().is_some_and(|(at, said)| *said == ids && at.elapsed() < every) {
            return Ok(());
        }
        let (node, now, said, issuer) = (app.node, app.clock.now(), ids.clone(), app.issuer.clone());
        app.store.write(move |tx| keys::hold(tx, node, &said, &issuer, now)).await?;
        self.said = Some((Instant::now(), ids));
        Ok(())
    }

    /// Drops the keys by which nothing is sealed any more.
    async fn give_up(&mut self, app: &App, known: &[VaultKey]) {
        let at_hand = app.secrets.vault.load();
        let retired = |id: &str| known.iter().any(|key| key.id == id && key.state == VaultKeyState::Retired);
        let over: Vec<String> = at_hand.key_ids().filter(|id| retired(id)).map(str::to_owned).collect();
        if over.is_empty() || over.iter().all(|id| self.told.contains(id)) {
            return;
        }
        self.told.extend(over.iter().cloned());
        let (source, ids) = (app.secrets.vault.source(), over.clone());
        let dropped = tokio::task::spawn_blocking(move || source.drop_keys(&ids)).await;
        match dropped.unwrap_or_else(|_| Err("it was not tried".to_owned())) {
            Ok(()) => tracing::info!(keys = ?over, "old vault keys are dropped: nothing is sealed by them"),
            Err(error) => {
                tracing::warn!(keys = ?over, error, "nothing is sealed by these vault keys any more; take them away by hand");
            }
        }
        if let Ok(vault) = read_source(app).await {
            let sealing = at_hand.sealing().to_owned();
            app.secrets.vault.replace(&vault, &sealing);
        }
    }
}

/// The vault keys that the store knows, and the other nodes that run.
async fn look(app: &App, now: Timestamp) -> Result<(Vec<VaultKey>, Vec<String>), Problem> {
    let node = app.node;
    let found = app.store.read(move |q| {
        let others = keys::holders(q, now.minus(GONE))?.into_iter().filter(|holder| holder.node != node);
        let others: Vec<_> = others.map(|holder| holder.node.to_string()).collect();
        Ok::<_, Fault>((keys::vault_keys(q)?, others))
    });
    Ok(found.await?)
}

/// Keeps access to where vault keys come from. Where that fails, what is in memory goes on; a start and a rotation would
/// fail, too.
async fn tend(app: &App) {
    let source = app.secrets.vault.source();
    let tended = tokio::task::spawn_blocking(move || source.tend()).await;
    if let Err(error) = tended.unwrap_or_else(|_| Err("it was not tried".to_owned())) {
        tracing::warn!(error, "access to the key service may end");
    }
}

async fn read_source(app: &App) -> Result<Vault, String> {
    let source = app.secrets.vault.source();
    let read = tokio::task::spawn_blocking(move || source.read()).await;
    let keys = read.map_err(|_| "the vault keys were not read".to_owned())??;
    Vault::new(keys).ok_or_else(|| "there is no vault key where they are read from".to_owned())
}

/// A sealed value with what it is bound to.
struct Value {
    place: Place,
    kind: &'static str,
    row: String,
    version: u64,
    sealed: Vec<u8>,
}

enum Place {
    Key,
    EgressAuthority,
    Connection(ConnectionId),
    Totp(UserId),
    Provider(ProviderId),
    Client,
    Answer(Vec<u8>),
}

impl Value {
    /// Under the key that seals; `None` where it is already.
    fn moved(&self, vault: &Vault) -> Result<Option<Vec<u8>>, String> {
        let aad = Aad { kind: self.kind, row: &self.row, version: self.version };
        let moved = Sealed::from_bytes(&self.sealed)
            .and_then(|sealed| vault.rewrap(&aad, crate::clock::entropy(), &sealed));
        let moved = moved.map_err(|error| format!("{} `{}`: {error}", self.kind, self.row))?;
        Ok(moved.map(|sealed| sealed.to_bytes()))
    }

    fn put(&self, tx: &mut Tx<'_>, new: &[u8]) -> Result<bool, Fault> {
        match &self.place {
            Place::Key => keys::reseal(tx, &self.row, &self.sealed, new),
            Place::EgressAuthority => egress_authorities::reseal(tx, &self.row, &self.sealed, new),
            Place::Connection(id) => connections::reseal(tx, *id, &self.sealed, new),
            Place::Totp(user) => second_factors::reseal(tx, *user, &self.sealed, new),
            Place::Client => accounts::reseal(tx, &self.row, &self.sealed, new),
            Place::Provider(id) => providers::reseal(tx, *id, &self.sealed, new),
            Place::Answer(scope) => idempotency::reseal(tx, scope, &self.sealed, new),
        }
    }
}

/// Moves everything to the key that seals, and answers how many were not under it.
async fn rewrap(app: &App) -> Result<usize, String> {
    let vault = app.secrets.vault.load();
    if !app.secrets.vault.seals() {
        return Err("the vault key that seals is not at hand".to_owned());
    }
    let stored = app.store.read(|q| keys::all(q)).await.map_err(told)?;
    let own = stored.into_iter().map(|key| Value {
        place: Place::Key,
        kind: KEY_KIND,
        row: key.id,
        version: 1,
        sealed: key.sealed,
    });
    let mut left = step(app, &vault, own.collect()).await?;
    let authorities = app.store.read(|q| egress_authorities::all(q)).await.map_err(told)?;
    let authorities = authorities.into_iter().map(|authority| Value {
        place: Place::EgressAuthority,
        kind: AUTHORITY_KIND,
        row: authority.id,
        version: 1,
        sealed: authority.sealed,
    });
    left += step(app, &vault, authorities.collect()).await?;
    let mut after = None;
    loop {
        let page = app.store.read(move |q| connections::vaulted(q, after, STEP)).await.map_err(told)?;
        after = page.last().map(|(id, ..)| *id);
        let full = page.len() == STEP;
        let page = page.into_iter().map(|(id, version, sealed)| Value {
            place: Place::Connection(id),
            kind: VAULT_KIND,
            row: id.to_string(),
            version,
            sealed,
        });
        left += step(app, &vault, page.collect()).await?;
        if !full {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = app.store.read(move |q| second_factors::vaulted(q, after, STEP)).await.map_err(told)?;
        after = page.last().map(|(user, ..)| *user);
        let full = page.len() == STEP;
        let page = page.into_iter().map(|(user, version, sealed)| Value {
            place: Place::Totp(user),
            kind: TOTP_KIND,
            row: user.to_string(),
            version,
            sealed,
        });
        left += step(app, &vault, page.collect()).await?;
        if !full {
            break;
        }
    }
    left += rewrap_providers(app, &vault).await?;
    left += rewrap_clients(app, &vault).await?;
    let mut after = Vec::new();
    loop {
        let from = after.clone();
        let page = app.store.read(move |q| idempotency::vaulted(q, &from, STEP)).await.map_err(told)?;
        let full = page.len() == STEP;
        after = page.last().map(|answer| answer.scope.clone()).unwrap_or_default();
        let page = page.into_iter().map(|answer| Value {
            place: Place::Answer(answer.scope),
            kind: ANSWER_KIND,
            row: answer.action.to_string(),
            version: 1,
            sealed: answer.sealed,
        });
        left += step(app, &vault, page.collect()).await?;
        if !full {
            return Ok(left);
        }
    }
}

async fn rewrap_providers(app: &App, vault: &Vault) -> Result<usize, String> {
    let (mut left, mut after) = (0, None);
    loop {
        let page = app.store.read(move |q| providers::vaulted(q, after, STEP)).await.map_err(told)?;
        after = page.last().map(|(id, ..)| *id);
        let full = page.len() == STEP;
        let page = page.into_iter().map(|(id, version, sealed)| Value {
            place: Place::Provider(id),
            kind: PROVIDER_KIND,
            row: id.to_string(),
            version,
            sealed,
        });
        left += step(app, vault, page.collect()).await?;
        if !full {
            return Ok(left);
        }
    }
}

async fn rewrap_clients(app: &App, vault: &Vault) -> Result<usize, String> {
    let (mut left, mut after) = (0, String::new());
    loop {
        let from = after.clone();
        let page = app.store.read(move |q| accounts::clients(q, &from, STEP)).await.map_err(told)?;
        let full = page.len() == STEP;
        after = page.last().map(|client| client.service.clone()).unwrap_or_default();
        let page = page.into_iter().filter_map(|client| {
            let (row, version) = (client.service, client.generation);
            Some(Value { place: Place::Client, kind: CLIENT_KIND, row, version, sealed: client.sealed? })
        });
        left += step(app, vault, page.collect()).await?;
        if !full {
            return Ok(left);
        }
    }
}

/// Moves a few values in one transaction, each only where it is still what was read.
async fn step(app: &App, vault: &Vault, values: Vec<Value>) -> Result<usize, String> {
    let mut moved = Vec::new();
    for value in values {
        if let Some(new) = value.moved(vault)? {
            moved.push((value, new));
        }
    }
    let count = moved.len();
    if count > 0 {
        let put = app.store.write(move |tx| {
            for (value, new) in &moved {
                value.put(tx, new)?;
            }
            Ok::<_, Fault>(())
        });
        put.await.map_err(told)?;
    }
    Ok(count)
}

/// Says that nothing is sealed by a key any more.
async fn end(app: &App, id: &str, now: Timestamp) -> Result<(), Fault> {
    let by = By { by: "placet".to_owned(), source: None };
    let (gone, id) = (entry(EntryType::KeyRemoved, id, &by, now), id.to_owned());
    app.store
        .write(move |tx| {
            // Another node may have been faster.
            if keys::end_vault_key(tx, &id, now)? {
                tx.record(gone.clone())?;
            }
            Ok(())
        })
        .await
}

fn entry(entry_type: EntryType, id: &str, by: &By, now: Timestamp) -> PreparedEntry {
    let envelope = Envelope {
        key: Some(format!("vault/{id}")),
        source: by.source.clone(),
        ..recording::by(entry_type, now, by.by.clone())
    };
    PreparedEntry::new(&envelope, None)
}

fn names(nodes: &[String]) -> String {
    nodes.join(", ")
}

fn told(fault: Fault) -> String {
    fault.to_string()
}

fn conflict(detail: String) -> Problem {
    Problem::of(Code::Conflict, detail)
}
