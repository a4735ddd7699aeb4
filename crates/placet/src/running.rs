//! The joins: data directory, store, gateway and server become one running thing that can be stopped.
//!
//! Invariant: the directory stays held until the store is closed.

use crate::{
    data::DataDir,
    exit::Failure,
    installation::{self, Elsewhere},
    reserve,
    serve::{certificates::CertificateFiles, policies::Followed},
};
use placet_core::time::Timestamp;
use placet_gateway::{FetchConfig, Gateway, GatewayConfig, GatewayError, Route};
use placet_identity::{Authorities, Foreign, Providers};
use placet_server::{
    app::{App, Config},
    clock::{self, Clock},
    connections::{Nowhere, SecretSource},
    doors::ext_authz::listener::{self as ext_authz, Listening},
    egress,
    intent::Judge,
    jobs::{self, Jobs},
    mtls::{self, Live, listener::Identity},
    vault::rotation::GONE,
};
use placet_store::{Fault, Store};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinError, JoinHandle},
};

/// Where people's pages are answered.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The bound listener.
    pub(crate) listener: TcpListener,
    /// Their origin, where it is not the bound address.
    pub(crate) url: Option<String>,
}

/// How what is outside is reached.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Upstreams.
    pub(crate) gateway: GatewayConfig,
    /// Documents that others publish about themselves.
    pub(crate) documents: FetchConfig,
}

/// A server that answers requests.
#[derive(Debug)]
pub(crate) struct Running {
    address: SocketAddr,
    base_url: String,
    pages_address: SocketAddr,
    app: Arc<App>,
    jobs: Jobs,
    monitoring: Option<JoinHandle<io::Result<()>>>,
    /// What runs beside it until it stops.
    beside: Vec<JoinHandle<()>>,
    /// Has each listener stop.
    stopping: Vec<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<()>>,
    pages: JoinHandle<io::Result<()>>,
    mtls: Option<JoinHandle<io::Result<()>>>,
    egress: Option<JoinHandle<io::Result<()>>>,
    ext_authz: Option<(SocketAddr, JoinHandle<io::Result<()>>)>,
    // Last: the lock is given up when all else is gone.
    directory: DataDir,
}

/// How a server is seen from outside.
#[derive(Debug)]
pub(crate) struct Front {
    /// Its issuer; the bound address where it isn't said.
    pub(crate) issuer: Option<String>,
    /// Proxies in front of it.
    pub(crate) forwarded_by: Vec<IpAddr>,
    /// How clients show certificates, if they do.
    pub(crate) mutual_tls: Option<MutualTls>,
    /// Where programs of agents find a proxy, if they do.
    pub(crate) egress: Option<Egress>,
    /// Where Envoy asks, if it does.
    pub(crate) ext_authz: Option<ExtAuthz>,
    /// How often a second a client may ask the OAuth endpoints.
    pub(crate) client_rate: u32,
    /// Where its policies come from, besides from administrators.
    pub(crate) policies: Option<Followed>,
    /// Tells whether actions fit their purpose.
    pub(crate) judge: Option<Judge>,
    /// Reads secrets of connections that are kept elsewhere.
    pub(crate) secrets_elsewhere: Arc<dyn SecretSource>,
}

/// A bound listener, and what it presents itself with.
type Presented = (TcpListener, Live<Identity>);

/// Where clients show certificates.
#[derive(Debug)]
pub(crate) struct MutualTls {
    /// The bound listener that is for that, and what it presents itself with; `None` where only a proxy says it.
    pub(crate) listener: Option<Presented>,
    /// Its URL, where it is not the bound address.
    pub(crate) url: Option<String>,
    /// Who certifies clients.
    pub(crate) authorities: Option<Live<Authorities>>,
    /// Whether the proxies in front say it in a header.
    pub(crate) header: bool,
    /// The files that this comes from.
    pub(crate) files: CertificateFiles,
}

/// Where Envoy asks.
#[derive(Debug)]
pub(crate) struct ExtAuthz {
    /// The bound listener, and what it presents itself with.
    pub(crate) at: Listening,
    /// The files that this comes from.
    pub(crate) files: CertificateFiles,
}

/// Where programs of agents find a proxy.
#[derive(Debug)]
pub(crate) struct Egress {
    /// The bound listener.
    pub(crate) listener: TcpListener,
    /// Its URL, where it is not the bound address.
    pub(crate) url: Option<String>,
    /// Hosts to which connections are passed on unread.
    pub(crate) pass: Vec<Route>,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            issuer: None,
            forwarded_by: Vec::new(),
            mutual_tls: None,
            egress: None,
            ext_authz: None,
            client_rate: 10_000,
            policies: None,
            judge: None,
            secrets_elsewhere: Arc::new(Nowhere),
        }
    }
}

/// How long things last.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Bodies of the record; for ever where it isn't said.
    pub(crate) keep_record: Option<Duration>,
    /// Clients that registered themselves, without being used; for ever where it isn't said.
    pub(crate) idle_registrations: Option<Duration>,
    /// Refresh tokens behind their use, for a client that lost the answer.
    pub(crate) refresh_retry: Duration,
}

/// Starts a server on a bound listener and announces it.
///
/// # Errors
/// A sentence saying what can't be used.
pub(crate) async fn start(
    listener: TcpListener,
    pages: Pages,
    directory: DataDir,
    front: Front,
    elsewhere: Elsewhere,
    spans: Spans,
    outside: Outside,
) -> Result<Running, Failure> {
    let address = bound(&listener)?;
    let base_url = base_url(address);
    let Front {
        issuer,
        forwarded_by,
        mutual_tls,
        egress,
        ext_authz,
        client_rate,
        policies,
        judge,
        secrets_elsewhere,
    } = front;
    let (mtls_listener, mutual_tls, files) = match mutual_tls {
        Some(it) => {
            let (listener, settings, files) = it.opened(issuer.is_some())?;
            (listener, Some(settings), Some(files))
        }
        None => (None, None, None),
    };
    let (egress_listener, egress) = egress.map(Egress::opened).transpose()?.unzip();
    let issuer = issuer.unwrap_or_else(|| base_url.clone());
    let pages_address = bound(&pages.listener)?;
    let pages_url = pages.url.unwrap_or_else(|| self::base_url(pages_address));
    let clock = Clock::System;
    let now = clock.now();
    let shared = elsewhere.database.is_some();
    // A new directory on a database that others use is a new node; a file goes on as the node that wrote it.
    let node = directory.node(shared || !directory.database().exists(), now)?;
    let (store, secrets) = installation::enter(&directory, node, elsewhere, now).await?;
    directory.publish_record_key(&secrets.record.public_key().to_string())?;
    let issuers = issuers(&store, &issuer, now).await?;
    let unusable = |error: GatewayError| Failure::start(format!("TLS can't be set up: {error}"));
    let providers = Providers::new(outside.documents.clone()).map_err(unusable)?;
    let foreign = Foreign::new(outside.documents).map_err(unusable)?;
    let gateway = Gateway::new(GatewayConfig { moment: Some(clock::moment), ..outside.gateway });
    let gateway =
        gateway.map_err(|error| Failure::start(format!("requests to upstreams can't be set up: {error}")))?;
    let config = Config {
        issuer,
        pages: pages_url.clone(),
        issuers,
        base_url: base_url.clone(),
        forwarded_by,
        mutual_tls,
        client_rate,
        secrets,
        clock,
        node,
        shared,
        keep_record: spans.keep_record,
        idle_registrations: spans.idle_registrations,
        refresh_retry: spans.refresh_retry,
        foreign,
        providers,
        judge,
        secrets_elsewhere,
        egress,
    };
    let app = App::start(config, store, gateway).await;
    let app = app.map_err(|error| Failure::start(format!("what is stored can't be used: {error}")))?;
    jobs::catch_up(&app)
        .await
        .map_err(|error| Failure::start(format!("the last stop can't be caught up with: {error}")))?;
    if shared {
        compare_issuers(&app, now).await;
    }
    if egress_listener.is_some() {
        let unusable = |problem: placet_server::problem::Problem| {
            Failure::start(format!("the egress door can't be opened: {}", problem.detail()))
        };
        app.egress.authorities.ready(&app).await.map_err(unusable)?;
    }
    let jobs = Jobs::start(&app);
    // Where the data is elsewhere, so is its space.
    let mut beside: Vec<_> = (!shared).then(|| reserve::keep(&directory, &app)).into_iter().collect();
    if let Some(policies) = policies {
        beside.push(policies.follow(&app).await);
    }
    beside.extend(files.map(CertificateFiles::follow));
    let mut stopping = Vec::new();
    let serving = self::serving(&mut stopping, |stop| placet_server::serve(listener, Arc::clone(&app), stop));
    let pages = self::serving(&mut stopping, |stop| {
        placet_server::pages::serve(pages.listener, Arc::clone(&app), stop)
    });
    let mtls = mtls_listener.map(|(listener, identity)| {
        self::serving(&mut stopping, |stop| mtls::listener::serve(listener, identity, Arc::clone(&app), stop))
    });
    let egress = egress_listener
        .map(|listener| self::serving(&mut stopping, |stop| egress::serve(listener, Arc::clone(&app), stop)));
    let ext_authz = match ext_authz {
        Some(ExtAuthz { at: Listening { listener, identity }, files }) => {
            beside.push(files.follow());
            let address = bound(&listener)?;
            tracing::info!(%address, tls = identity.is_some(), "Envoy is answered (ext_authz)");
            let answering = self::serving(&mut stopping, |stop| {
                ext_authz::serve(listener, identity, Arc::clone(&app), stop)
            });
            Some((address, answering))
        }
        None => None,
    };
    let url = app.mutual_tls.as_ref().and_then(|here| here.url.as_deref());
    directory.announce(
        &base_url,
        &pages_url,
        url.filter(|_| mtls.is_some()),
        app.egress.settings.as_ref().map(|settings| settings.url.as_str()),
    )?;
    Ok(Running {
        address,
        base_url,
        pages_address,
        app,
        jobs,
        monitoring: None,
        beside,
        stopping,
        serving,
        pages,
        mtls,
        egress,
        ext_authz,
        directory,
    })
}

impl MutualTls {
    /// Its listener, how it is told of, and the files that it comes from. Without a URL of its own it is told of by its bound
    /// address: on loopback that is of no use to those who come by the issuer's.
    fn opened(
        self,
        is_issuer_said: bool,
    ) -> Result<(Option<Presented>, mtls::MutualTls, CertificateFiles), Failure> {
        let Self { listener, url, authorities, header, files } = self;
        let address = listener.as_ref().map(|(listener, _)| bound(listener)).transpose()?;
        if is_issuer_said && url.is_none() && address.is_some_and(|it| reachable(it).ip().is_loopback()) {
            let detail = "--issuer says by which URL clients come: say by --mtls-url by which they reach --mtls-listen";
            return Err(Failure::start(detail.to_owned()));
        }
        let url = url.or_else(|| address.map(|address| format!("https://{}", reachable(address))));
        Ok((listener, mtls::MutualTls { url, authorities, header }, files))
    }
}

impl Egress {
    /// Its listener, and how programs find it.
    fn opened(self) -> Result<(TcpListener, egress::Settings), Failure> {
        let Self { listener, url, pass } = self;
        let address = bound(&listener)?;
        Ok((listener, egress::Settings { url: url.unwrap_or_else(|| base_url(address)), pass }))
    }
}

fn bound(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::start(error.to_string()))
}

/// Serves a listener in a task of its own, until `stopping` says that it is to stop.
fn serving<F>(
    stopping: &mut Vec<oneshot::Sender<()>>,
    serve: impl FnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
) -> JoinHandle<io::Result<()>>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (stop, stopped) = oneshot::channel();
    stopping.push(stop);
    tokio::spawn(serve(Box::pin(async { _ = stopped.await })))
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

    /// The bound address of people's pages.
    pub(crate) fn pages_address(&self) -> SocketAddr {
        self.pages_address
    }

    /// The origin of people's pages.
    pub(crate) fn pages_url(&self) -> &str {
        &self.app.pages
    }

    /// Where clients show certificates, if that is a listener of its own or a proxy's.
    pub(crate) fn mtls_url(&self) -> Option<&str> {
        self.app.mutual_tls.as_ref().and_then(|here| here.url.as_deref())
    }

    /// Where programs of agents find a proxy.
    pub(crate) fn egress_url(&self) -> Option<&str> {
        self.app.egress.settings.as_ref().map(|settings| settings.url.as_str())
    }

    /// Where Envoy asks, if that is a listener here.
    pub(crate) fn ext_authz(&self) -> Option<SocketAddr> {
        self.ext_authz.as_ref().map(|(address, _)| *address)
    }

    /// Also answers `/healthz`, `/readyz` and `/metrics` on this listener, to anybody who reaches it.
    pub(crate) fn monitor(&mut self, listener: TcpListener) {
        let app = Arc::clone(&self.app);
        self.monitoring =
            Some(tokio::spawn(placet_server::serve_monitoring(listener, app, std::future::pending())));
    }

    /// Waits until it ends by itself, which it should not, and says why.
    pub(crate) async fn ended(&mut self) -> String {
        let ended = tokio::select! {
            ended = &mut self.serving => ended,
            ended = &mut self.pages => ended,
            ended = either(self.mtls.as_mut()) => ended,
            ended = either(self.egress.as_mut()) => ended,
            ended = either(self.ext_authz.as_mut().map(|(_, task)| task)) => ended,
        };
        match ended {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Takes no more requests, answers those that are under way for at most `grace`, and closes the store.
    pub(crate) async fn stop(self, grace: Duration) {
        let Self {
            app,
            jobs,
            monitoring,
            beside,
            stopping,
            mut serving,
            mut pages,
            mut mtls,
            mut egress,
            ext_authz,
            directory,
            ..
        } = self;
        let mut ext_authz = ext_authz.map(|(_, task)| task);
        app.operations.readiness.stop();
        directory.withdraw();
        for stopping in stopping {
            let _ = stopping.send(());
        }
        let all = async {
            _ = tokio::join!(&mut serving, &mut pages);
            for also in [&mut mtls, &mut egress, &mut ext_authz].into_iter().flatten() {
                _ = also.await;
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("some requests were not answered in time and are cut off");
            for listener in [serving, pages].into_iter().chain(mtls).chain(egress).chain(ext_authz) {
                if !listener.is_finished() {
                    listener.abort();
                    let _ = listener.await;
                }
            }
        }
        // Until here it says that the server is stopping.
        if let Some(monitoring) = monitoring {
            monitoring.abort();
            let _ = monitoring.await;
        }
        for task in beside {
            task.abort();
            let _ = task.await;
        }
        jobs.stop().await;
        drop(app);
        drop(directory);
    }
}

/// Every issuer that this data directory has used, this one too.
async fn issuers(store: &Store, issuer: &str, now: Timestamp) -> Result<Vec<String>, Failure> {
    let unusable = |fault: Fault| Failure::start(format!("the issuers used before can't be read: {fault}"));
    let own = issuer.to_owned();
    store.write(move |tx| placet_store::issuers::remember(tx, &own, now)).await.map_err(unusable)?;
    store.read(|q| placet_store::issuers::all(q)).await.map_err(unusable)
}

/// Warns where other nodes of the installation serve as another issuer.
async fn compare_issuers(app: &App, now: Timestamp) {
    let running = app.store.read(move |q| placet_store::keys::holders(q, now.minus(GONE))).await;
    for other in running.unwrap_or_default().into_iter().filter(|other| other.node != app.node) {
        if let Some(theirs) = other.issuer.filter(|theirs| *theirs != app.issuer) {
            tracing::warn!(
                node = %other.node,
                issuer = app.issuer,
                theirs,
                "another node of this installation serves as another issuer: clients and resource servers that know one of the two refuse the tokens of the other; start all nodes with the same --issuer"
            );
        }
    }
}

/// The end of a listener that may not be there.
async fn either(listener: Option<&mut JoinHandle<io::Result<()>>>) -> Result<io::Result<()>, JoinError> {
    match listener {
        Some(listener) => listener.await,
        None => std::future::pending().await,
    }
}

/// Where clients on this machine reach the address.
fn base_url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}
