//! What `CONNECT` opens: TLS that ends here; to a host of services that are http the same without TLS, as clients ask that
//! know one way through a proxy for all URLs; or, to a host that the operator has named, a connection that is passed on.
//!
//! A tunnel is registered under the grant that it was opened with and ends when that does, when the token is no longer good,
//! or when it has been open for too long; a request that is under way in it is answered first, unless its own way ends it.
//!
//! Invariant: the name in TLS is the host of the tunnel; and before a byte is passed on, the record says so.

use super::{Connection, IDLE, credential::Credential, http, inside, meant};
use crate::{
    app::App,
    problem::Problem,
    recording,
    serving::{self, KeptOpen, Open, Version},
    share::Share,
    streams::OpenStream,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, Uri, header},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
};
use placet_gateway::{Route, Tunnel};
use rustls::{ServerConfig, server::Acceptor};
use serde_json::json;
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Answers `CONNECT`; what it opens goes on by itself.
///
/// # Errors
/// Why it opens nothing.
pub(super) async fn open(
    app: &Arc<App>,
    connection: Connection,
    mut request: Request<Incoming>,
) -> Result<Response, Problem> {
    let authority = authority(request.uri()).ok_or_else(|| {
        Problem::of(Code::RequestInvalid, "CONNECT names a host and a port: `CONNECT api.example.com:443`")
    })?;
    let credential = connection.credential(app, request.headers()).await?;
    let source = connection.source();
    let mut agreed = meant(app, &credential, &connection, "https", &authority, &Method::CONNECT).await?;
    let mut tls = true;
    if !inside::is_a_services(app, &agreed) {
        let plain = meant(app, &credential, &connection, "http", &authority, &Method::CONNECT).await?;
        if inside::is_a_services(app, &plain) {
            (agreed, tls) = (plain, false);
        }
    }
    // A host of a service is never passed on: what is asked there is an action.
    if !inside::is_a_services(app, &agreed) && app.egress.passes(&agreed) {
        let tunnel = dial(app, &credential, &connection, &agreed).await?;
        let upgrading = hyper::upgrade::on(&mut request);
        let share = connection.shown.place().take();
        let app = Arc::clone(app);
        tokio::spawn(async move {
            if let Ok(agent) = upgrading.await {
                pass_on(&app, connection, &credential, tunnel, agent).await;
            }
            drop(share);
        });
        return Ok(Response::new(Body::empty()));
    }
    if !inside::is_reached(app, &credential.bearer, &agreed).await? {
        let absent = inside::absent();
        return Err(inside::refused(app, &credential, agreed.origin(), "CONNECT", source, absent).await);
    }
    let identity = match tls {
        true => Some(app.egress.authorities.identity(app, host(&agreed)).await?),
        false => None,
    };
    let upgrading = hyper::upgrade::on(&mut request);
    // The connection's place is the tunnel's.
    let share = connection.shown.place().take();
    let app = Arc::clone(app);
    tokio::spawn(async move {
        if let Ok(agent) = upgrading.await {
            // From before the handshake on: what ends meanwhile ends the tunnel.
            let registered = Arc::clone(&app);
            let open = registered.streams.register(credential.bearer.chain.leaf().grant.id);
            let inside = Inside { app, connection, share, credential, agreed };
            match identity {
                Some(identity) => inside.over_tls(agent, identity, open).await,
                None => inside.answer(TokioIo::new(agent), Version::Http1, open).await,
            }
        }
    });
    Ok(Response::new(Body::empty()))
}

/// The host and port that a tunnel is asked for.
pub(crate) fn authority(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|authority| authority.port_u16().is_some());
    authority.map(|authority| authority.as_str().to_owned())
}

/// The host without its port; an IPv6 address without its brackets.
pub(crate) fn host(route: &Route) -> &str {
    let authority = route.host();
    let v6 = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(v6, _)| v6);
    v6.unwrap_or_else(|| authority.split_once(':').map_or(authority, |(host, _)| host))
}

/// Until when the token is good.
fn remaining(app: &App, credential: &Credential) -> Duration {
    app.clock.now().until(Timestamp::from_seconds(credential.bearer.claims.exp))
}

/// Records that a connection is passed on, and makes it.
async fn dial(
    app: &App,
    credential: &Credential,
    connection: &Connection,
    agreed: &Route,
) -> Result<Tunnel, Problem> {
    app.operations.space.may_begin()?;
    let envelope = Envelope {
        source: recording::source(connection.source().0),
        door: Some("egress".to_owned()),
        ..recording::attributed(
            EntryType::EgressPassed,
            app.clock.now(),
            &credential.bearer.chain,
            Some(credential.bearer.claims.jti),
        )
    };
    let entry = app.prepare(envelope, Some(&json!({"host": agreed.host()})))?;
    app.store.write(move |tx| tx.record(entry.clone())).await?;
    let dialled = app.gateway.tunnel(agreed).await;
    dialled.map_err(|failure| {
        let code = if failure.timed_out() { Code::UpstreamTimeout } else { Code::UpstreamUnreachable };
        Problem::of(code, failure.to_string())
    })
}

/// Carries bytes until either side ends, or the authority that it was opened with does.
async fn pass_on(
    app: &App,
    mut connection: Connection,
    credential: &Credential,
    tunnel: Tunnel,
    agent: Upgraded,
) {
    let mut open = app.streams.register(credential.bearer.chain.leaf().grant.id);
    let until = remaining(app, credential);
    tokio::select! {
        biased;
        code = open.ended() => tracing::debug!(code = code.as_str(), "a passed connection is cut"),
        () = connection.stopped() => {}
        () = sleep(until) => {}
        carried = tunnel.carry(TokioIo::new(agent)) => {
            if let Err(error) = carried {
                tracing::debug!(%error, "a passed connection broke off");
            }
        }
    }
}

/// A tunnel that ends here.
struct Inside {
    app: Arc<App>,
    connection: Connection,
    share: Option<Share>,
    credential: Credential,
    agreed: Route,
}

impl Inside {
    /// Ends TLS and answers what is asked inside.
    async fn over_tls(self, agent: Upgraded, identity: Arc<ServerConfig>, open: OpenStream<'_>) {
        let shaken = timeout(HANDSHAKE_TIME, shake(agent, host(&self.agreed), identity)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(Unshaken::Misdirected)) => {
                let detail = "TLS is spoken for another host than the tunnel was opened for";
                let problem = Problem::of(Code::NotGranted, detail);
                let (origin, source) = (self.agreed.origin(), self.connection.source());
                _ = inside::refused(&self.app, &self.credential, origin, "CONNECT", source, problem).await;
                return;
            }
            Ok(Err(Unshaken::Failed(error))) => {
                tracing::debug!(%error, "a handshake at the egress door failed");
                return;
            }
            Err(_) => return,
        };
        let version = Version::agreed(stream.get_ref().1.alpn_protocol());
        self.answer(stream, version, open).await;
    }

    /// Answers what is asked inside, in this version.
    async fn answer<S>(self, stream: S, version: Version, mut open: OpenStream<'_>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { app, mut connection, share, credential, agreed } = self;
        let until = remaining(&app, &credential);
        let (who, source) = (Arc::new((credential, agreed)), connection.source());
        let inner = Arc::clone(&app);
        // A WebSocket goes on when this tunnel is served, and holds its places.
        let kept = KeptOpen::by((connection.clone(), share));
        let answering = move |mut request: Request| {
            let (app, who, kept) = (Arc::clone(&inner), Arc::clone(&who), kept.clone());
            async move {
                let (credential, agreed) = &*who;
                if request.headers().contains_key(header::UPGRADE) {
                    request.extensions_mut().insert(kept);
                }
                let response = match in_one_form(&mut request) {
                    Ok(()) => inside::ask(&app, credential, agreed, request, source).await,
                    Err(problem) => crate::proxy::said(Err(problem)),
                };
                Ok::<_, Infallible>(response)
            }
        };
        let over = async {
            tokio::select! {
                _ = open.ended() => {}
                () = connection.stopped() => {}
                () = sleep(until) => {}
            }
        };
        if version == Version::Http2 {
            let here = Open::new();
            let mut serving = pin!(serving::serve(stream, Version::Http2, IDLE, answering, here.one()));
            tokio::select! {
                () = serving.as_mut() => return,
                () = over => {}
            }
            tokio::join!(serving, here.end());
            return;
        }
        let answering = service_fn(move |request: Request<Incoming>| answering(request.map(Body::new)));
        let mut serving = pin!(http().serve_connection(TokioIo::new(stream), answering).with_upgrades());
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = over => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a tunnel of the egress door broke off");
        }
    }
}

/// Has a request in a tunnel say which host it is for in one place, `Host`, whichever version it is in (RFC 9113 §8.3.1).
pub(crate) fn in_one_form(request: &mut Request) -> Result<(), Problem> {
    let bad = |detail: &str| Err(Problem::of(Code::RequestInvalid, detail.to_owned()));
    let Some(authority) = request.uri().authority().map(|authority| authority.as_str().to_owned()) else {
        return Ok(());
    };
    if request.version() != axum::http::Version::HTTP_2 || request.method() == Method::CONNECT {
        return bad("inside a tunnel the target is a path");
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    if hosts.any(|host| host.as_bytes() != authority.as_bytes()) {
        return bad("`:authority` and `Host` differ: send one of them");
    }
    match HeaderValue::from_str(&authority) {
        Ok(host) => _ = request.headers_mut().insert(header::HOST, host),
        Err(_) => return bad("`:authority` is no host"),
    }
    Ok(())
}

enum Unshaken {
    /// The name is another host's, or there is none.
    Misdirected,
    Failed(io::Error),
}

async fn shake(
    agent: Upgraded,
    host: &str,
    identity: Arc<ServerConfig>,
) -> Result<TlsStream<TokioIo<Upgraded>>, Unshaken> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), TokioIo::new(agent)).await;
    let start = start.map_err(Unshaken::Failed)?;
    let fits = match start.client_hello().server_name() {
        Some(name) => name.eq_ignore_ascii_case(host),
        // An address is named by nobody (RFC 6066 §3).
        None => host.parse::<std::net::IpAddr>().is_ok(),
    };
    if !fits {
        return Err(Unshaken::Misdirected);
    }
    start.into_stream(identity).await.map_err(Unshaken::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_host_a_request_is_for_stands_in_one_place() {
        let read = |version, uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let mut request = request.body(Body::empty()).unwrap();
            in_one_form(&mut request).map_err(|problem| problem.code())?;
            Ok::<_, Code>(
                request.headers().get_all("host").iter().map(|it| it.to_str().unwrap().to_owned()).collect(),
            )
        };
        use axum::http::Version;
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let refused = Err::<Vec<String>, _>(Code::RequestInvalid);
        assert_eq!(read(one, "/x", &["a", "b"]), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read(two, "https://a/x", &[]), Ok(vec!["a".to_owned()]));
        assert_eq!(read(two, "https://a/x", &["a"]), Ok(vec!["a".to_owned()]));
        assert_eq!(read(two, "https://a/x", &["b"]), refused);
        assert_eq!(read(two, "https://a/x", &["a", "b"]), refused);
        assert_eq!(read(one, "https://a/x", &["a"]), refused);
    }

    #[test]
    fn the_host_stands_without_its_port() {
        for (url, expected) in [
            ("https://a.example", "a.example"),
            ("https://a.example:8443", "a.example"),
            ("https://10.0.0.5:1", "10.0.0.5"),
            ("https://[2001:db8::1]:8443", "2001:db8::1"),
        ] {
            assert_eq!(host(&Route::new(url, true).unwrap()), expected);
        }
    }
}
