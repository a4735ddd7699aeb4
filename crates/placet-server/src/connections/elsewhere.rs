//! Secrets of connections that are kept elsewhere ([`Reference`]): read when they are needed, and again after a while, or
//! when an upstream says that it does not know the one that there is, then at most once a second.
//!
//! Of many requests that need one, one reads it. What can't be read isn't used, whatever there was before.
//!
//! Invariant: only places that the operator has allowed are read; what was read goes into a [`Credential`] and
//! nowhere else; agents are told that it can't be read, and who configures why, in words without a part of it.

use super::Picked;
use crate::{app::App, problem::Problem};
use placet_core::{
    call::Auth, id::ConnectionId, refusal::Code, secret::Secret, service::reference::Reference,
};
use placet_gateway::Credential;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync;

/// How long what was read is used before it is read again.
const KEPT: Duration = Duration::from_secs(5);
/// The same for what asks somebody else.
const KEPT_FROM_OTHERS: Duration = Duration::from_secs(60);
/// How long nobody reads again after it failed, or after an upstream refused what was read.
const REST: Duration = Duration::from_secs(1);

/// Reads where the operator lets it.
pub trait SecretSource: fmt::Debug + Send + Sync {
    /// The secret, as it is now.
    ///
    /// # Errors
    /// A sentence for the operator that says what to do, without a part of the secret.
    fn read<'a>(
        &'a self,
        reference: &'a Reference,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, String>> + Send + 'a>>;
}

/// Where nothing may be read.
#[derive(Debug)]
pub struct Nowhere;

impl SecretSource for Nowhere {
    fn read<'a>(
        &'a self,
        _: &'a Reference,
    ) -> Pin<Box<dyn Future<Output = Result<Secret, String>> + Send + 'a>> {
        Box::pin(async { Err("this server reads no secrets from elsewhere".to_owned()) })
    }
}

/// What was read, for each connection.
#[derive(Default)]
pub(super) struct Elsewhere(Mutex<HashMap<ConnectionId, Arc<Slot>>>);

/// What was read for one.
#[derive(Default)]
struct Slot {
    /// An upstream did not know it.
    refused: AtomicBool,
    read: sync::Mutex<Option<Read>>,
}

/// One reading.
struct Read {
    of: (u64, Auth, Reference),
    at: Instant,
    came: Result<(Secret, Credential), String>,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Elsewhere {
    fn of(&self, id: ConnectionId) -> Arc<Slot> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = all.get(&id) {
            return Arc::clone(slot);
        }
        // What nobody needed for so long is read again when somebody does: no secret stays for nothing.
        all.retain(|_, slot| {
            let is_new =
                |read: &Option<Read>| read.as_ref().is_some_and(|read| read.at.elapsed() < KEPT_FROM_OTHERS);
            Arc::strong_count(slot) > 1 || slot.read.try_lock().is_ok_and(|read| is_new(&read))
        });
        Arc::clone(all.entry(id).or_default())
    }

    /// Drops what was read for a connection that is gone, or has another secret.
    pub(super) fn forget(&self, id: ConnectionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Read {
    fn is_good(&self, refused: bool) -> bool {
        let kept = match (&self.came, &self.of.2) {
            (Err(_), _) => REST,
            (Ok(_), _) if refused => REST,
            (Ok(_), Reference::Env { .. } | Reference::File { .. }) => KEPT,
            (Ok(_), Reference::Command { .. } | Reference::VaultKv { .. }) => KEPT_FROM_OTHERS,
        };
        self.at.elapsed() < kept
    }
}

/// Sees to it that the connection has the credential that is kept elsewhere, where it has one there.
///
/// # Errors
/// `unavailable` where it can't be read.
pub(super) async fn read(app: &App, picked: &mut Picked, auth: &Auth) -> Result<(), Problem> {
    let Some(reference) = picked.reference.clone() else { return Ok(()) };
    let connection = &picked.connection;
    let auth = auth.for_connection(&connection.auth).ok_or_else(super::waits_for_its_owner)?;
    let of = (connection.generation, auth, reference);
    let slot = app.connections.elsewhere.of(connection.id);
    let mut turn = slot.read.lock().await;
    let refused = slot.refused.load(Ordering::SeqCst);
    if !turn.as_ref().is_some_and(|read| read.of == of && read.is_good(refused)) {
        slot.refused.store(false, Ordering::SeqCst);
        let before = turn.take().filter(|read| read.of == of).and_then(|read| read.came.ok());
        let came = reading(app, &of.1, &of.2, before).await;
        if let Err(why) = &came {
            tracing::warn!(connection = %connection.id, secret = %of.2, why, "a connection's secret can't be read");
        }
        *turn = Some(Read { of, at: Instant::now(), came });
    }
    match turn.as_ref().map(|read| &read.came) {
        Some(Ok((_, credential))) => {
            picked.own = Some(credential.clone());
            Ok(())
        }
        _ => {
            let detail = "the connection's secret is kept elsewhere and can't be read now; nothing was sent: an \
                          administrator sees with `placet connection show` what is missing";
            Err(Problem::of(Code::Unavailable, detail))
        }
    }
}

/// Reads it. What has not changed stays what it is, with the connections that it has open.
async fn reading(
    app: &App,
    auth: &Auth,
    reference: &Reference,
    before: Option<(Secret, Credential)>,
) -> Result<(Secret, Credential), String> {
    let secret = app.secrets_elsewhere.read(reference).await?;
    if auth.sends_one_text() {
        reference.check_is_one().map_err(|error| error.to_string())?;
    }
    match before {
        Some((old, credential)) if old == secret => Ok((old, credential)),
        _ => {
            let credential = Credential::new(auth, &secret).map_err(|error| error.to_string())?;
            Ok((secret, credential))
        }
    }
}

/// Whether the secret of a connection that is about to be made, or is shown, can be read and used.
///
/// # Errors
/// A sentence for who configures.
pub async fn check(app: &App, auth: &Auth, reference: &Reference) -> Result<(), String> {
    reading(app, auth, reference, None).await.map(|_| ())
}

/// Who tries a credential wants the one that is there now: it is read again, though at most once a second.
pub(super) fn again(app: &App, picked: &Picked) {
    if picked.reference.is_some() {
        app.connections.elsewhere.of(picked.connection.id).refused.store(true, Ordering::SeqCst);
    }
}

/// An upstream did not know the credential: it is read again before it is used for another request, though at most once a
/// second.
pub(super) fn refused(app: &App, picked: &Picked, status: u16) {
    if status != super::UNAUTHORIZED || picked.reference.is_none() {
        return;
    }
    app.connections.elsewhere.of(picked.connection.id).refused.store(true, Ordering::SeqCst);
}
