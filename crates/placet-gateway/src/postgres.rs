//! Carries out the statements of PostgreSQL services, each in a transaction of its own.
//!
//! Sessions are pooled by upstream, database and login, and used by one action at a time. Between two of them everything
//! that a session can hold is discarded: settings, a role, temporary tables, advisory locks; one that could not be cleaned
//! is closed. So no action meets what another one left.
//!
//! Invariant: a statement of which nobody knows whether it was committed is `Unknown`, and never sent again; what was not
//! committed did not happen.

mod bounded;
mod session;
mod sqlstate;

use crate::address::{AddressClass, classify};
use crate::dial::{Dialer, Reach, Resolve};
use crate::failure::{NotSent, Undone, UpstreamFailure};
use crate::gateway::{GatewayError, connect_failure, tls};
use crate::inject::{Credential, CredentialError, Login};
use crate::response::{ResponseBody, UpstreamResponse};
use crate::route::Route;
use http::Uri;
use placet_core::call::UpstreamCall;
use placet_core::service::Prepared;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use session::{End, Session};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Sessions of one login at once, whether they are in use or not: a database has few. So many calls go to a database at
/// once, too, where its service doesn't say: more would only wait for a session while they have a turn.
pub const MOST_SESSIONS: usize = 8;
/// How long cleaning a session, or having a statement cancelled, may take.
const TIDYING: Duration = Duration::from_secs(5);

/// The databases that are spoken to.
#[derive(Debug)]
pub(crate) struct Databases {
    public_only: Dialer,
    private_too: Dialer,
    tls: MakeTls,
    connect_timeout: Duration,
    idle_timeout: Duration,
    pools: Mutex<HashMap<Key, Arc<Pool>>>,
}

/// TLS as every upstream is spoken to.
#[derive(Clone)]
struct MakeTls(MakeRustlsConnect);

impl std::fmt::Debug for MakeTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MakeTls")
    }
}

/// What sessions have in common that may take each other's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: String,
    allow_private: bool,
    database: String,
    /// A digest of user and password.
    login: [u8; 32],
}

#[derive(Debug)]
struct Pool {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<(Session, Instant)>>,
}

impl Databases {
    pub(crate) fn new(
        extra_roots: &[CertificateDer<'static>],
        resolver: &Arc<dyn Resolve>,
        connect_timeout: Duration,
        idle_timeout: Duration,
    ) -> Result<Self, GatewayError> {
        let dialer = |allow_private| Dialer {
            resolver: Arc::clone(resolver),
            reach: Reach::Administered { allow_private },
            connect_timeout,
        };
        Ok(Self {
            public_only: dialer(false),
            private_too: dialer(true),
            tls: MakeTls(MakeRustlsConnect::new(tls(extra_roots)?)),
            connect_timeout,
            idle_timeout,
            pools: Mutex::new(HashMap::new()),
        })
    }

    /// Carries out a statement, until `deadline`, and answers at most `max` bytes.
    pub(crate) async fn send(
        self: &Arc<Self>,
        call: &UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
        max: usize,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        let host = || route.host().to_owned();
        let not_sent = |reason| UpstreamFailure::NotSent { host: host(), reason };
        let prepared = call.body.as_deref().and_then(Prepared::read);
        let database = call.target.strip_prefix('/').filter(|name| !name.is_empty());
        let (true, Some(prepared), Some(database)) = (route.serves(&call.origin), prepared, database) else {
            return Err(not_sent(NotSent::BadCall));
        };
        let login = credential.login().ok_or_else(|| not_sent(CredentialError::Username.into()))?;
        let key = Key {
            origin: route.origin().to_owned(),
            allow_private: route.allow_private(),
            database: database.to_owned(),
            login: login.digest(),
        };
        let pool = self.pool(key);
        let permit = timeout_at(deadline, Arc::clone(&pool.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(not_sent(NotSent::NoSession)) };
        let session = self.begun(&pool, route, database, login, &prepared, deadline).await?;
        let end = session.run(&prepared, deadline, max).await;
        let (answer, reusable) = match end {
            End::Answered { status, body } => (Ok((status, body)), true),
            End::Dropped { status, body } => (Ok((status, body)), false),
            End::Undone(reason) => (Err(UpstreamFailure::Undone { host: host(), reason }), false),
            End::Unknown(reason) => {
                (Err(UpstreamFailure::Unknown { host: host(), status: None, reason }), false)
            }
        };
        if reusable {
            self.give_back(pool, session, permit);
        } else {
            // What the server still does for nobody is ended; closing alone does not tell it.
            if matches!(answer, Err(UpstreamFailure::Undone { reason: Undone::TimedOut, .. }) | Ok(_)) {
                self.cancel(session, route.clone());
            }
            drop(permit);
        }
        let (status, mut body) = answer?;
        credential.scrubber().scrub_json(&mut body);
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(UpstreamResponse { status, headers, body: ResponseBody::Json(body), invalid_token: false })
    }

    fn pool(&self, key: Key) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Logins that are no longer used go, with their sessions.
        pools.retain(|other, pool| {
            pool.expire(now, self.idle_timeout);
            *other == key || Arc::strong_count(pool) > 1 || !pool.is_empty()
        });
        let new = || {
            Arc::new(Pool { permits: Arc::new(Semaphore::new(MOST_SESSIONS)), idle: Mutex::new(Vec::new()) })
        };
        Arc::clone(pools.entry(key).or_insert_with(new))
    }

    /// A session in which the transaction has begun: one that is idle, or a new one where none of these is alive.
    async fn begun(
        &self,
        pool: &Pool,
        route: &Route,
        database: &str,
        login: &Login,
        prepared: &Prepared,
        deadline: Instant,
    ) -> Result<Session, UpstreamFailure> {
        let not_sent = |reason| UpstreamFailure::NotSent { host: route.host().to_owned(), reason };
        while let Some(session) = pool.take() {
            // Nothing of the action is in it yet.
            if session.begin(prepared.reads, deadline).await.is_ok() {
                return Ok(session);
            }
        }
        let until = deadline.min(Instant::now() + self.connect_timeout);
        let connected = timeout_at(until, self.connect(route, database, login)).await;
        let session = connected.map_err(|_| not_sent(NotSent::TimedOut))?.map_err(not_sent)?;
        match session.begin(prepared.reads, deadline).await {
            Ok(()) => Ok(session),
            Err(None) => Err(not_sent(NotSent::TimedOut)),
            Err(Some(error)) => Err(not_sent(refused(&error).unwrap_or(NotSent::Unreachable))),
        }
    }

    async fn connect(&self, route: &Route, database: &str, login: &Login) -> Result<Session, NotSent> {
        let stream = self.dial(route).await?;
        let mut config = Config::new();
        config.user(login.user()).password(login.password().expose()).dbname(database);
        config.application_name("placet");
        let (stream, budget) = bounded::bounded(stream);
        // Nobody but the server answers before the login, so what is read for it is bounded as well.
        if route.is_plain() {
            config.ssl_mode(SslMode::Disable);
            let connected = config.connect_raw(stream, NoTls).await;
            let (client, connection) = connected.map_err(|error| failed(&error, false))?;
            return Ok(Session::new(client, connection, budget));
        }
        config.ssl_mode(SslMode::Require);
        let tls = self.tls_for::<bounded::Bounded>(route)?;
        let connected = config.connect_raw(stream, tls).await;
        let (client, connection) = connected.map_err(|error| failed(&error, true))?;
        Ok(Session::new(client, connection, budget))
    }

    fn tls_for<S>(
        &self,
        route: &Route,
    ) -> Result<<MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect, NotSent>
    where
        MakeRustlsConnect: MakeTlsConnect<S>,
    {
        let host = route.name();
        MakeTlsConnect::<S>::make_tls_connect(&mut self.tls.0.clone(), host).map_err(|_| NotSent::Tls)
    }

    async fn dial(&self, route: &Route) -> Result<TcpStream, NotSent> {
        let dialer = if route.allow_private() { &self.private_too } else { &self.public_only };
        let uri =
            Uri::builder().scheme(route.scheme()).authority(route.authority()).path_and_query("/").build();
        let stream = dialer.dial(&uri.map_err(|_| NotSent::BadCall)?).await;
        let stream = stream.map_err(|error| connect_failure(&error))?;
        let public = stream.peer_addr().map_or(true, |peer| classify(peer.ip()) == AddressClass::Public);
        if route.is_plain() && public {
            return Err(NotSent::Plain);
        }
        Ok(stream)
    }

    /// Cleans a session and keeps it for the next action. Whoever waits for one waits for that, too.
    fn give_back(self: &Arc<Self>, pool: Arc<Pool>, session: Session, permit: OwnedSemaphorePermit) {
        let keep = self.idle_timeout;
        tokio::spawn(async move {
            if timeout(TIDYING, session.clean()).await.is_ok_and(|clean| clean) {
                pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push((session, Instant::now()));
            }
            drop(permit);
            tokio::time::sleep(keep).await;
            pool.expire(Instant::now(), keep);
        });
    }

    /// Has the server end what it does in a session, which is closed.
    fn cancel(self: &Arc<Self>, session: Session, route: Route) {
        let databases = Arc::clone(self);
        tokio::spawn(async move {
            let token = session.cancel_token();
            let cancelling = async {
                let stream = databases.dial(&route).await.ok()?;
                if route.is_plain() {
                    token.cancel_query_raw(stream, NoTls).await.ok()
                } else {
                    token.cancel_query_raw(stream, databases.tls_for::<TcpStream>(&route).ok()?).await.ok()
                }
            };
            // The server's own time limit ends it too.
            _ = timeout(TIDYING, cancelling).await;
            drop(session);
        });
    }
}

impl Pool {
    fn take(&self) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(session, _)| !session.is_closed());
        idle.pop().map(|(session, _)| session)
    }

    fn expire(&self, now: Instant, keep: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(session, since)| !session.is_closed() && now.duration_since(*since) < keep);
    }

    fn is_empty(&self) -> bool {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Why there is no session.
fn failed(error: &tokio_postgres::Error, tls: bool) -> NotSent {
    tracing::debug!(sqlstate = error.code().map(tokio_postgres::error::SqlState::code), "no session");
    refused(error).unwrap_or_else(|| match connect_failure(error) {
        // What is neither of the network nor of a certificate is a server that speaks no TLS.
        NotSent::Unreachable if tls => NotSent::Tls,
        reason => reason,
    })
}

/// What the server says of a session that it refuses: the code alone, of its words nothing.
fn refused(error: &tokio_postgres::Error) -> Option<NotSent> {
    let code = error.code()?.code();
    let plain = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| NotSent::Refused { sqlstate: code.to_owned() })
}

/// The body of an answer that says why nothing was done.
fn problem(sqlstate: Option<&str>, message: &str) -> Value {
    match sqlstate {
        Some(code) => json!({"error": {"sqlstate": code, "message": message}}),
        None => json!({"error": {"message": message}}),
    }
}
