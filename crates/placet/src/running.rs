//! The joins: data directory, store, gateway and server become one running thing that can be stopped.
//!
//! Invariant: the directory stays held until the store is closed.

use crate::{
    data::{DataDir, Keys},
    exit::Failure,
};
use aws_lc_rs::hmac;
use placet_core::{
    keys::{KeyRing, SigningKey},
    record::RecordSigner,
    seal::{BodyKey, RootKey},
    secret::HashKey,
    time::Timestamp,
};
use placet_gateway::{Gateway, GatewayConfig};
use placet_server::{
    app::{ADMIN_TOKEN, App, Config, Secrets},
    caller::ADMIN_PREFIX,
    clock::Clock,
    jobs::{self, Jobs},
};
use placet_store::{Fault, Store, StoreOptions};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A server that answers requests.
#[derive(Debug)]
pub(crate) struct Running {
    address: SocketAddr,
    base_url: String,
    app: Arc<App>,
    jobs: Jobs,
    monitoring: Option<JoinHandle<io::Result<()>>>,
    stopping: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
    // Last: the lock is given up when all else is gone.
    directory: DataDir,
}

/// Starts a server on a bound listener and announces it.
///
/// # Errors
/// A sentence saying what can't be used.
pub(crate) async fn start(
    listener: TcpListener,
    directory: DataDir,
    issuer: Option<String>,
    vault: Option<[u8; 32]>,
) -> Result<Running, Failure> {
    let address = listener.local_addr().map_err(|error| Failure::start(error.to_string()))?;
    let base_url = base_url(address);
    let issuer = issuer.unwrap_or_else(|| base_url.clone());
    let clock = Clock::System;
    let now = clock.now();
    let keys = Keys::load(&directory, vault, ADMIN_PREFIX, now)?;
    let secrets = secrets(&keys)?;
    Keys::publish_record_key(&directory, &secrets.record.public_key().to_string())?;
    let store = open(&directory, &keys, &secrets.record, now).await?;
    let issuers = issuers(&store, &issuer, now).await?;
    let gateway = Gateway::new(GatewayConfig::default());
    let gateway =
        gateway.map_err(|error| Failure::start(format!("requests to upstreams can't be set up: {error}")))?;
    let app = App::start(Config { issuer, issuers, secrets, clock }, store, gateway).await;
    let app = app.map_err(|error| Failure::start(format!("what is stored can't be used: {error}")))?;
    jobs::catch_up(&app)
        .await
        .map_err(|error| Failure::start(format!("the last stop can't be caught up with: {error}")))?;
    let jobs = Jobs::start(&app);
    let (stopping, stop) = oneshot::channel();
    let serving = tokio::spawn(placet_server::serve(listener, Arc::clone(&app), async { _ = stop.await }));
    directory.announce(&base_url)?;
    Ok(Running { address, base_url, app, jobs, monitoring: None, stopping, serving, directory })
}

impl Running {
    /// The bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Also answers `/healthz`, `/readyz` and `/metrics` on this listener, to anybody who reaches it.
    pub(crate) fn monitor(&mut self, listener: TcpListener) {
        let app = Arc::clone(&self.app);
        self.monitoring =
            Some(tokio::spawn(placet_server::serve_monitoring(listener, app, std::future::pending())));
    }

    /// Waits until it ends by itself, which it should not, and says why.
    pub(crate) async fn ended(&mut self) -> String {
        match (&mut self.serving).await {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Takes no more requests, answers those that are under way for at most `grace`, and closes the store.
    pub(crate) async fn stop(self, grace: Duration) {
        let Self { app, jobs, monitoring, stopping, mut serving, directory, .. } = self;
        app.operations.readiness.stop();
        directory.withdraw();
        let _ = stopping.send(());
        if tokio::time::timeout(grace, &mut serving).await.is_err() {
            tracing::warn!("some requests were not answered in time and are cut off");
            serving.abort();
            let _ = serving.await;
        }
        // Until here it says that the server is stopping.
        if let Some(monitoring) = monitoring {
            monitoring.abort();
            let _ = monitoring.await;
        }
        jobs.stop().await;
        drop(app);
        drop(directory);
    }
}

fn secrets(keys: &Keys) -> Result<Secrets, Failure> {
    let unusable =
        |what: &str, error: &dyn std::fmt::Display| Failure::start(format!("{what} can't be used: {error}"));
    let token =
        SigningKey::from_pkcs8(keys.token.expose()).map_err(|error| unusable("`keys/token.pk8`", &error))?;
    let record = RecordSigner::from_pkcs8(&keys.record_name(), keys.record.expose());
    let record = record.map_err(|error| unusable("`keys/record.pk8`", &error))?;
    let hashing = HashKey::new(&keys.hash);
    Ok(Secrets {
        tokens: KeyRing::new(vec![token])
            .ok_or_else(|| Failure::start("there is no key that signs tokens"))?,
        admin_token: hashing.hash(ADMIN_TOKEN, keys.admin_token.expose()),
        hashing,
        vault: RootKey::new(keys.vault_id.clone(), keys.vault)
            .map_err(|error| unusable("the vault key", &error))?,
        bodies: BodyKey::new(1, keys.body).map_err(|error| unusable("`keys/body.key`", &error))?,
        approvals: hmac::Key::new(hmac::HMAC_SHA256, &keys.approval),
        record: Arc::new(record),
    })
}

async fn open(
    directory: &DataDir,
    keys: &Keys,
    signer: &Arc<RecordSigner>,
    now: Timestamp,
) -> Result<Store, Failure> {
    let options = StoreOptions::new(directory.database(), keys.node, Arc::clone(signer), now);
    let opened = tokio::task::spawn_blocking(move || Store::open(options)).await;
    opened
        .map_err(|error| Failure::start(format!("the database can't be opened: {error}")))?
        .map_err(|error| Failure::start(error.to_string()))
}

/// Every issuer that this data directory has used, this one too.
async fn issuers(store: &Store, issuer: &str, now: Timestamp) -> Result<Vec<String>, Failure> {
    let unusable = |fault: Fault| Failure::start(format!("the issuers used before can't be read: {fault}"));
    let own = issuer.to_owned();
    store.write(move |tx| placet_store::issuers::remember(tx, &own, now)).await.map_err(unusable)?;
    store.read(|q| placet_store::issuers::all(q)).await.map_err(unusable)
}

/// Where clients on this machine reach the address.
fn base_url(address: SocketAddr) -> String {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{reachable}")
}
