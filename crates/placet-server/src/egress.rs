//! The egress door: an HTTP proxy that an agent's own programs are told of (`HTTPS_PROXY`), so that what they ask of the
//! outside takes the way of an action (`docs/egress.md`).
//!
//! `CONNECT host:443` is answered by ending TLS here, with a certificate of the local authority ([`authority`]); each
//! request inside is mapped by its host to a service, and from there on it is as at the proxy door. `http://` URLs are
//! taken for services that are http. A host that the operator has named is passed on unread (`tunnel`). Everything else
//! is refused, and the refusal is recorded.
//!
//! Invariant: nothing goes out of here but through [`crate::way`], or to a host that the operator has named. What the
//! tunnel was opened for, what TLS is spoken for and what a request is for are one host, or nothing is sent.

pub mod authority;
pub(crate) mod credential;
mod inside;
pub(crate) mod tunnel;

use crate::{
    app::App,
    caller::Source,
    operations::failures,
    problem::Problem,
    proxy,
    serving::{KeptOpen, Link},
    share::{Share, Shares},
};
use authority::Authorities;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use credential::Credential;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use placet_core::refusal::Code;
use placet_gateway::Route;
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

/// How many connections are open at once.
pub const CONNECTIONS: u32 = 8192;
/// How long a connection is kept on which nothing is asked, and how long the head of a request may take to come.
pub const IDLE: Duration = Duration::from_secs(60);
/// How long a connection is kept on which nobody has asked anything yet: whoever it is shows no credential sooner than that.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// How long to wait where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// What a request without a usable credential is told.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"placet\", charset=\"UTF-8\"");

/// How the door is set up.
#[derive(Debug)]
pub struct Settings {
    /// By which URL agents reach it.
    pub url: String,
    /// Hosts to which connections are passed on unread.
    pub pass: Vec<Route>,
}

/// The door.
#[derive(Debug)]
pub struct Egress {
    /// `None` where it is not open.
    pub settings: Option<Settings>,
    /// Who certifies hosts here.
    pub authorities: Authorities,
    shares: Shares,
}

impl Egress {
    /// A door with these settings, if it is open at all.
    pub fn new(settings: Option<Settings>) -> Self {
        Self { settings, authorities: Authorities::default(), shares: Shares::of("connections open here") }
    }

    /// Whether connections to this host are passed on.
    fn passes(&self, route: &Route) -> bool {
        let pass = self.settings.iter().flat_map(|settings| &settings.pass);
        pass.into_iter().any(|host| host.origin() == route.origin())
    }
}

/// What a connection to the door shares with the tunnels that are opened on it.
#[derive(Debug, Clone)]
struct Connection {
    peer: SocketAddr,
    /// True once the server stops.
    stop: watch::Receiver<bool>,
    /// How far who is there has come.
    shown: Arc<Shown>,
    /// Its place among those that may be open; given up when the last who shares it has ended.
    _open: Arc<OwnedSemaphorePermit>,
}

/// What has come on a connection.
#[derive(Debug, Default)]
struct Shown {
    /// A request.
    request: AtomicBool,
    /// A credential that was good: the place that the connection takes among those of its agent.
    share: Mutex<Option<Share>>,
}

impl Shown {
    fn place(&self) -> MutexGuard<'_, Option<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends where nothing has come for so long that nothing is waited for any more.
    async fn too_late(&self) {
        tokio::time::sleep(FIRST).await;
        if self.request.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl Connection {
    /// The credential of a request on it, which counts as one of its agent's from then on.
    async fn credential(&self, app: &App, request: &HeaderMap) -> Result<Credential, Problem> {
        let credential = credential::of(app, request).await?;
        let agent = credential.bearer.chain.root_agent();
        let mut place = self.shown.place();
        if place.as_ref().is_none_or(|share| share.agent() != agent) {
            // It is nobody's meanwhile, and so nobody's if there is no room.
            *place = None;
            *place = Some(app.egress.shares.take(agent)?);
        }
        Ok(credential)
    }

    fn source(&self) -> Source {
        Source(Some(self.peer))
    }

    async fn stopped(&mut self) {
        // An error means that the server is gone.
        _ = self.stop.wait_for(|stop| *stop).await;
    }
}

/// Serves the door until `shutdown` is done; what is under way is answered first.
///
/// # Errors
/// None by now; what the listener meets is logged, and tried again.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    let (stopping, stop) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepting = async {
            let open = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((open, stream, peer))
        };
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((open, stream, peer)) => {
                let (stop, shown) = (stop.clone(), Arc::default());
                let connection = Connection { peer, stop, shown, _open: Arc::new(open) };
                tokio::spawn(serve_one(Arc::clone(&app), stream, connection));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the egress door can't be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    stopping.send_replace(true);
    // Whoever waits for this has a limit to how long.
    _ = places.acquire_many(CONNECTIONS).await;
    Ok(())
}

/// How connections are served, on the outside and inside of tunnels.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // While it waits for the next request, too.
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_HEAD);
    http
}

async fn serve_one(app: Arc<App>, stream: TcpStream, connection: Connection) {
    _ = stream.set_nodelay(true);
    let shared = connection.clone();
    let answering = move |request: Request<Incoming>| {
        let (app, connection) = (Arc::clone(&app), shared.clone());
        async move { answer(&app, connection, request).await }
    };
    served(stream, connection, answering).await;
}

/// Serves a connection, and whatever it becomes, as long as its other end takes what is written.
async fn served<I, A, F>(io: I, mut connection: Connection, answering: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    let answering = service_fn(move |request: Request<Incoming>| {
        let answered = answering(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let io = TokioIo::new(Link::new(io));
    let mut serving = pin!(http().serve_connection(io, answering).with_upgrades());
    let shown = Arc::clone(&connection.shown);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shown.too_late() => return,
        () = connection.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the egress door broke off");
    }
}

/// Answers a request to the proxy itself.
async fn answer(app: &Arc<App>, connection: Connection, request: Request<Incoming>) -> Response {
    let shown = Arc::clone(&connection.shown);
    shown.request.store(true, Ordering::Relaxed);
    let connected = request.method() == Method::CONNECT;
    let answered = if connected {
        tunnel::open(app, connection, request).await
    } else {
        plain(app, connection, request.map(Body::new)).await
    };
    let mut response = answered.unwrap_or_else(|problem| proxy::said(Err(problem)));
    // It is the proxy that wants to know who asks. What a host does not take is the answer of that host.
    if response.status() == StatusCode::UNAUTHORIZED && !proxy::is_allowed(&response) {
        failures::count(app, &response);
        *response.status_mut() = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        response.headers_mut().insert(header::PROXY_AUTHENTICATE, CHALLENGE);
    }
    // No place is kept for who may be nobody's agent, nor beyond an agent's share.
    let placed = shown.place().is_some() || (connected && response.status().is_success());
    if !placed || response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request for a whole URL, which is http.
async fn plain(app: &Arc<App>, connection: Connection, mut request: Request) -> Result<Response, Problem> {
    let uri = request.uri();
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        let detail = "this is a proxy: ask it for a whole http:// URL, or for a tunnel with CONNECT";
        return Err(Problem::of(Code::RequestInvalid, detail));
    };
    if scheme != "http" {
        let detail = "whole URLs are http:// here; for https ask for a tunnel with CONNECT";
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    let credential = connection.credential(app, request.headers()).await?;
    let route = meant(app, &credential, &connection, scheme, authority.as_str(), request.method()).await?;
    if request.headers().contains_key(header::UPGRADE) {
        request.extensions_mut().insert(KeptOpen::by(connection.clone()));
    }
    Ok(inside::ask(app, &credential, &route, request, connection.source()).await)
}

/// The host that is meant; that somebody means a metadata service is worth an entry.
async fn meant(
    app: &App,
    credential: &Credential,
    connection: &Connection,
    scheme: &str,
    authority: &str,
    method: &Method,
) -> Result<Route, Problem> {
    match route(scheme, authority) {
        Err(problem) if problem.code() == Code::NotGranted => {
            let origin = format!("{scheme}://{authority}");
            let source = connection.source();
            Err(inside::refused(app, credential, &origin, method.as_str(), source, problem).await)
        }
        meant => meant,
    }
}

/// The host that is meant, in its one spelling.
pub(crate) fn route(scheme: &str, authority: &str) -> Result<Route, Problem> {
    Route::new(&format!("{scheme}://{authority}"), false).map_err(|error| {
        let code = match error {
            placet_gateway::RouteError::Metadata(_) => Code::NotGranted,
            _ => Code::RequestInvalid,
        };
        let detail = match code {
            Code::NotGranted => "metadata services are reached by nobody".to_owned(),
            _ => "the host is refused: write its name in lower case letters, digits, `-` and `.`, or its address in the usual form".to_owned(),
        };
        Problem::of(code, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{io::AsyncWriteExt as _, time::timeout};

    /// Neither the answer nor the place is kept for who takes nothing of it.
    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_not_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (_stopping, stop) = watch::channel(false);
        let places = Arc::new(Semaphore::new(1));
        let open = Arc::new(Arc::clone(&places).try_acquire_owned().unwrap());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection { peer, stop, shown: Arc::default(), _open: open };
        let shown = Arc::clone(&connection.shown);
        let answering = move |_: Request<Incoming>| {
            shown.request.store(true, Ordering::Relaxed);
            std::future::ready(Response::new(Body::from(vec![0; 1024 * 1024])))
        };
        theirs.write_all(b"GET http://a.example/ HTTP/1.1\r\nhost: a.example\r\n\r\n").await.unwrap();
        timeout(IDLE * 10, served(ours, connection, answering)).await.expect("it is waited for");
        assert_eq!(places.available_permits(), 1);
    }
}
