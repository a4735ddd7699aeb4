//! Sends one prepared call and reads its answer.
//!
//! Connections are pooled ([`crate::pools`]).
//!
//! A request that hyper gives back from its queue untouched (the pooled connection turned out closed) goes to
//! another connection; hyper gives a request back only from before it was serialised, and whatever fails later is
//! [`Unknown`](crate::UpstreamFailure::Unknown), also for methods that could be repeated.
//!
//! Invariant: a request of which a byte may have been written is not sent again.

use crate::address::AddressClass;
use crate::dial::{DialError, Dialer, Reach, Resolve, SystemResolver};
use crate::failure::{NotSent, Unknown, UpstreamFailure};
use crate::inject::{Bare, Credential, CredentialError};
use crate::mcp::{Command, Following, Heard};
use crate::pools::{Pools, SHARED};
use crate::postgres::Databases;
use crate::response::{ReadError, UpstreamResponse, read};
use crate::route::{OpenCall, Route};
use crate::streamed::StreamedAnswer;
use crate::token::{TokenEndpoints, TokenError};
use crate::upload::{Outgoing, Patience, Progress, Upload};
use crate::upstream::Upstreams;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use placet_core::call::{Auth, LISTED_HEADERS, Method, UpstreamCall};
use placet_core::secret::Secret;
use placet_core::service::Kind;
use placet_core::service::oauth::{Granted, Kept, OAuth, Showing, account::Device};
use placet_core::signing::Moment;
use placet_core::time::Timestamp;
use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::Verifier;
use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bounds of what one call may take.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// For resolving, connecting and the TLS handshake together. Default 10 s.
    pub connect_timeout: Duration,
    /// For the whole call, to the last byte of the answer, where the route states no other time. Default 30 s.
    pub total_timeout: Duration,
    /// For the next piece of a body that is passed on as it comes, in either direction. Default 60 s.
    pub stream_idle_timeout: Duration,
    /// Longest body that is read, in bytes. Default 1 MiB.
    pub max_response_bytes: usize,
    /// How long an unused connection is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// Unused connections kept per upstream. Default 128.
    pub max_idle_per_upstream: usize,
    /// Looks names up; the operating system's resolver where `None`.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Certificates (DER) of authorities that are trusted besides the operating system's. Only the operator sets
    /// them. Default none.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// Tells at what requests are signed; without it none is.
    pub moment: Option<fn() -> Moment>,
    /// Programs that services may name, by the names that they use. Only the operator sets them. Default none.
    pub commands: BTreeMap<String, Command>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            stream_idle_timeout: Duration::from_secs(60),
            max_response_bytes: 1024 * 1024,
            idle_timeout: Duration::from_secs(60),
            max_idle_per_upstream: 128,
            resolver: None,
            extra_roots: Vec::new(),
            moment: None,
            commands: BTreeMap::new(),
        }
    }
}

/// The certificates of a PEM file, for [`GatewayConfig::extra_roots`].
///
/// # Errors
/// A sentence, where it holds none or something else.
pub fn roots_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let roots = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| format!("it is no PEM: {error}"))?;
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(roots) }
}

/// Why no gateway could be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// TLS could not be set up.
    #[error("TLS could not be set up: check the system's certificate store ({0})")]
    Tls(#[from] rustls::Error),
}

/// Sends calls to upstreams. Cheap to clone; clones share connections. Lives within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pools: Pools,
    config: GatewayConfig,
    tokens: TokenEndpoints,
    heard: Heard,
    resolver: Arc<dyn Resolve>,
    upstreams: Upstreams,
    databases: Arc<Databases>,
}

impl Gateway {
    /// A gateway with empty pools. Trust is the operating system's certificate store, and the extra roots.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where that store can't be used.
    pub fn new(config: GatewayConfig) -> Result<Self, GatewayError> {
        let pools = Pools::new(&config, &tls(&config.extra_roots)?, false);
        let resolver = config.resolver.clone().unwrap_or_else(|| Arc::new(SystemResolver));
        let tokens = TokenEndpoints::new(&config.extra_roots, Arc::clone(&resolver))?;
        let (connect, idle) = (config.connect_timeout, config.idle_timeout);
        let databases = Arc::new(Databases::new(&config.extra_roots, &resolver, connect, idle)?);
        let (heard, upstreams) = (Heard::default(), Upstreams::default());
        Ok(Self(Arc::new(Inner { pools, config, tokens, heard, resolver, upstreams, databases })))
    }

    /// What each upstream can take. Whoever sends has a turn of the upstream's ([`Upstream::enter`](crate::Upstream::enter)).
    pub fn upstreams(&self) -> &Upstreams {
        &self.0.upstreams
    }

    /// Dials as calls do.
    pub(crate) fn dialer(&self, allow_private: bool) -> Dialer {
        Dialer {
            resolver: Arc::clone(&self.0.resolver),
            reach: Reach::Administered { allow_private },
            connect_timeout: self.0.config.connect_timeout,
        }
    }

    /// An access token of the authorization server of a service, for what is shown to it at `now`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn token(
        &self,
        server: &OAuth,
        kept: &Kept,
        showing: &Showing<'_>,
        allow_private: bool,
        now: Timestamp,
    ) -> Result<Granted, TokenError> {
        self.0.tokens.ask(server, kept, showing, allow_private, now).await
    }

    /// What an authorization server publishes about itself at `url`.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn published(&self, url: &str) -> Result<serde_json::Value, TokenError> {
        self.0.tokens.published(url).await
    }

    /// The code of a device at the authorization server of a service.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn device(
        &self,
        server: &OAuth,
        kept: &Kept,
        allow_private: bool,
    ) -> Result<Device, TokenError> {
        self.0.tokens.device(server, kept, allow_private).await
    }

    /// Prepares the credential and does [`send`](Self::send). A caller that keeps the [`Credential`] spares itself the
    /// preparation.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`NotSent::Credential`].
    pub async fn perform(
        &self,
        call: UpstreamCall,
        route: &Route,
        auth: &Auth,
        secret: &Secret,
        deadline: Instant,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        let credential = Credential::new(auth, secret).map_err(|e| not_sent(route, e.into()))?;
        self.send(call, route, &credential, deadline).await
    }

    /// Sends `call` once and reads the answer whole, until `deadline` or the total timeout, whichever is first.
    ///
    /// # Errors
    /// [`UpstreamFailure`], which says whether the action may have happened. A status that means an error is no
    /// failure: it is answered.
    pub async fn send(
        &self,
        call: UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        self.send_followed(call, route, credential, deadline, None).await
    }

    /// As [`send`](Self::send), for somebody who follows it where the upstream is an MCP server: of others nothing is heard
    /// before they answer, and they can't be told that nobody waits.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_followed(
        &self,
        call: UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
        following: Option<&Following>,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        if route.kind() == Kind::Mcp {
            let (deadline, max) = (self.until(route, deadline), self.0.config.max_response_bytes);
            return self.call_tool(&call, route, credential, deadline, max, following).await;
        }
        self.send_for(call, route, credential, deadline, self.0.config.max_response_bytes).await
    }

    fn until(&self, route: &Route, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + route.timeout().unwrap_or(self.0.config.total_timeout))
    }

    /// As [`send`](Self::send), of an answer of at most `max` bytes, if that is less than what is read of any.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_for(
        &self,
        call: UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
        max: usize,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        let deadline = self.until(route, deadline);
        let max = max.min(self.0.config.max_response_bytes);
        match route.kind() {
            Kind::Http => {}
            Kind::Mcp => return self.call_tool(&call, route, credential, deadline, max, None).await,
            Kind::Postgres => return self.0.databases.send(&call, route, credential, deadline, max).await,
        }
        let (response, _open) = self.begin(call, route, credential, deadline).await?;
        let status = response.status().as_u16();
        let reading = read(response, credential.scrubber(), max);
        match timeout_at(deadline, reading).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(ReadError::Unreadable(reason))) => {
                Err(UpstreamFailure::Answered { host: route.host().to_owned(), status, reason })
            }
            Ok(Err(ReadError::Unknown(reason))) => Err(unknown(route, Some(status), reason)),
            Err(_) => Err(unknown(route, Some(status), Unknown::TimedOut)),
        }
    }

    /// Sends a request and waits for the head of its answer. The call is open until what comes with it is dropped.
    pub(crate) async fn begin(
        &self,
        call: UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<(http::Response<Incoming>, OpenCall), UpstreamFailure> {
        let request = self.request(call, None, route, credential)?;
        let open = route.opens();
        Ok((self.head(request, route, credential, || deadline).await?, open))
    }

    /// As [`begin`](Self::begin), with headers that are about the connection alone, on one that speaks HTTP/1.1 and that
    /// nobody else is on.
    pub(crate) async fn begin_alone(
        &self,
        call: UpstreamCall,
        about: Vec<(HeaderName, HeaderValue)>,
        route: &Route,
        credential: &Credential,
    ) -> Result<(http::Response<Incoming>, OpenCall), UpstreamFailure> {
        let mut request = self.request(call, None, route, credential)?;
        request.headers_mut().extend(about);
        let open = route.opens();
        let deadline = Instant::now() + route.timeout().unwrap_or(self.0.config.total_timeout);
        Ok((self.head_by(request, route, credential, true, || deadline).await?, open))
    }

    pub(crate) fn stream_idle_timeout(&self) -> Duration {
        self.0.config.stream_idle_timeout
    }

    pub(crate) fn command(&self, name: &str) -> Option<&Command> {
        self.0.config.commands.get(name)
    }

    pub(crate) fn heard(&self) -> &Heard {
        &self.0.heard
    }

    pub(crate) fn max_response_bytes(&self) -> usize {
        self.0.config.max_response_bytes
    }

    /// Sends `call` once, with the body that follows where it is declared `streamed`, and answers when the head of the
    /// answer is there: within the total timeout, or, while an upload makes progress, within the idle timeout of
    /// streams after its last piece. An upload has to come at the route's pace.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn open(
        &self,
        call: UpstreamCall,
        upload: Option<Upload>,
        route: &Route,
        credential: &Credential,
    ) -> Result<StreamedAnswer, UpstreamFailure> {
        // An answer in the protocol's messages can't be passed on as it comes.
        if route.kind() != Kind::Http {
            return Err(not_sent(route, NotSent::BadCall));
        }
        let (progress, idle) = (Progress::new(), self.0.config.stream_idle_timeout);
        let streamed = upload.is_some();
        let deadline = Instant::now() + route.timeout().unwrap_or(self.0.config.total_timeout);
        let patience = Patience::new(route.upload_pace());
        let upload = upload.map(|upload| (upload, patience, progress.clone()));
        let request = self.request(call, upload, route, credential)?;
        let until = || if streamed { progress.until(idle) } else { deadline };
        let open = route.opens();
        let response =
            self.head(request, route, credential, until).await.map_err(|failure| match failure {
                UpstreamFailure::Unknown { host, status, .. } if progress.is_slow() => {
                    UpstreamFailure::Unknown { host, status, reason: Unknown::SlowUpload }
                }
                failure => failure,
            })?;
        StreamedAnswer::new(response, credential.scrubber(), idle, route.host(), open)
    }

    /// Sends a request and waits for the head of its answer, until what `until` says then.
    async fn head(
        &self,
        request: Request<Outgoing>,
        route: &Route,
        credential: &Credential,
        until: impl Fn() -> Instant,
    ) -> Result<http::Response<Incoming>, UpstreamFailure> {
        let crowded = route.open() > SHARED && !needs_http2(request.headers());
        self.head_by(request, route, credential, crowded, until).await
    }

    /// The same over HTTP/1.1 alone, if `plain`.
    async fn head_by(
        &self,
        mut request: Request<Outgoing>,
        route: &Route,
        credential: &Credential,
        plain: bool,
        until: impl Fn() -> Instant,
    ) -> Result<http::Response<Incoming>, UpstreamFailure> {
        let client = match credential.identity() {
            Some(identity) => {
                let client = identity.client(&self.0.config, route.allow_private(), plain);
                client.ok_or_else(|| not_sent(route, NotSent::Tls))?
            }
            None => self.0.pools.of(route.allow_private(), plain),
        };
        let connection = capture_connection(&mut request);
        let mut sending = std::pin::pin!(client.request(request));
        loop {
            let deadline = until();
            return match timeout_at(deadline, sending.as_mut()).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(failure(route, &error)),
                Err(_) if until() > deadline => continue,
                // A request that was never given a connection was never written.
                Err(_) if connection.connection_metadata().is_none() => {
                    Err(not_sent(route, NotSent::TimedOut))
                }
                Err(_) => Err(unknown(route, None, Unknown::TimedOut)),
            };
        }
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS as a client: trust is the operating system's certificate store, and the extra roots.
pub(crate) fn tls(extra_roots: &[CertificateDer<'static>]) -> Result<ClientConfig, GatewayError> {
    Ok(trusting(extra_roots)?.with_no_client_auth())
}

/// The same for somebody who shows a certificate, and knows by whom the other side is certified, if `only` says so.
pub(crate) fn tls_builder(
    config: &GatewayConfig,
    only: &[CertificateDer<'static>],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, GatewayError> {
    if only.is_empty() {
        return trusting(&config.extra_roots);
    }
    let mut roots = RootCertStore::empty();
    for root in only {
        roots.add(root.clone())?;
    }
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}

fn trusting(
    extra_roots: &[CertificateDer<'static>],
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, GatewayError> {
    let provider = provider();
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Verifier::new_with_extra_roots(extra_roots.iter().cloned(), provider)?);
    // "Dangerous" is what rustls calls any verifier of one's own; this is the platform's.
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

impl Gateway {
    /// The request as it goes out: what the description rendered, the gateway's own headers, the credential.
    fn request(
        &self,
        call: UpstreamCall,
        upload: Option<(Upload, Patience, Progress)>,
        route: &Route,
        credential: &Credential,
    ) -> Result<Request<Outgoing>, UpstreamFailure> {
        let moment = self.0.config.moment.map(|moment| moment());
        let made = match request(call, upload, route, credential, moment) {
            Some(Ok(request)) => return Ok(request),
            Some(Err(error)) => NotSent::Credential(error),
            None => NotSent::BadCall,
        };
        Err(not_sent(route, made))
    }
}

/// The request, where it fits the route.
fn request(
    call: UpstreamCall,
    upload: Option<(Upload, Patience, Progress)>,
    route: &Route,
    credential: &Credential,
    moment: Option<Moment>,
) -> Option<Result<Request<Outgoing>, CredentialError>> {
    let fits = route.kind() != Kind::Postgres && route.serves(&call.origin);
    if !fits || call.streamed != upload.is_some() {
        return None;
    }
    let has_body = call.body.is_some();
    let (body, length, whole) = match upload {
        Some((upload, patience, progress)) => {
            let length = upload.length();
            (Outgoing::streamed(upload, patience, progress), length, None)
        }
        None => {
            let body = Bytes::from(call.body.unwrap_or_default());
            let length = u64::try_from(body.len()).ok();
            (Outgoing::whole(body.clone()), length, Some(body))
        }
    };
    let mut request = Request::new(body);
    *request.method_mut() = method(call.method);
    let headers = request.headers_mut();
    headers.reserve(7 + call.headers.len());
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in &call.headers {
        headers.insert(listed(name, call.streamed)?, HeaderValue::from_str(value).ok()?);
    }
    if has_body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // What the definition states comes before what an agent asks for; what frames the request and the credential, last.
    for (name, value) in &call.fixed {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    // hyper says where it goes, in the way of the version that is spoken.
    headers.remove(HOST);
    if needs_http2(headers) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // RFC 9110 §8.6: a method that anticipates a body says 0 where there is none.
    if let Some(length) = length
        && (has_body || !call.method.parameters_in_query())
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    // Of what is sent: nothing is changed behind it.
    let shown = match credential.show(Bare {
        method: call.method.as_str(),
        host: route.host(),
        target: call.target,
        headers,
        body: whole.as_deref(),
        moment,
    }) {
        Ok(shown) => shown,
        Err(error) => return Some(Err(error)),
    };
    for (name, value) in shown.headers {
        headers.insert(name, value);
    }
    *request.uri_mut() = Uri::builder()
        .scheme(route.scheme())
        .authority(route.authority())
        .path_and_query(target(shown.target)?)
        .build()
        .ok()?;
    Some(Ok(request))
}

/// Whether the call is one that nothing but HTTP/2 carries (gRPC, which says how it went in trailers).
fn needs_http2(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The name of a header that may go on.
fn listed(name: &str, streamed: bool) -> Option<HeaderName> {
    let known = LISTED_HEADERS.contains(&name) || (streamed && name == CONTENT_TYPE.as_str());
    if known { HeaderName::from_bytes(name.as_bytes()).ok() } else { None }
}

/// The target, if it is sent exactly as it was described: nothing that the parser would drop or rewrite.
fn target(target: String) -> Option<PathAndQuery> {
    let plain = target.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    if !plain || !target.starts_with('/') {
        return None;
    }
    let parsed = PathAndQuery::try_from(target.as_str()).ok()?;
    (parsed.as_str() == target).then_some(parsed)
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
    }
}

pub(crate) fn not_sent(route: &Route, reason: NotSent) -> UpstreamFailure {
    UpstreamFailure::NotSent { host: route.host().to_owned(), reason }
}

pub(crate) fn unknown(route: &Route, status: Option<u16>, reason: Unknown) -> UpstreamFailure {
    UpstreamFailure::Unknown { host: route.host().to_owned(), status, reason }
}

fn failure(route: &Route, error: &hyper_util::client::legacy::Error) -> UpstreamFailure {
    tracing::debug!(host = route.host(), ?error, "upstream call failed");
    if error.is_connect() {
        return not_sent(route, connect_failure(error));
    }
    if is_about_identity(error) {
        return unknown(route, None, Unknown::Identity);
    }
    let malformed =
        sources(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse));
    unknown(route, None, if malformed { Unknown::Malformed } else { Unknown::Disconnected })
}

pub(crate) fn connect_failure(error: &(dyn Error + 'static)) -> NotSent {
    let mut reason = NotSent::Unreachable;
    if is_about_identity(error) {
        return NotSent::Identity;
    }
    for cause in sources(error) {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return match dial {
                DialError::NotResolved => NotSent::NotResolved,
                DialError::Forbidden(AddressClass::Metadata) => NotSent::Metadata,
                DialError::Forbidden(class) => NotSent::Forbidden(*class),
                DialError::Failed(_) => NotSent::Unreachable,
                DialError::TimedOut => NotSent::TimedOut,
            };
        }
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(_)) => return NotSent::Certificate,
            Some(_) => return NotSent::Tls,
            None => {}
        }
        // Dialling gives `DialError`, so a bare I/O error is of the handshake.
        if cause.is::<io::Error>() {
            reason = NotSent::Tls;
        }
    }
    reason
}

/// Whether the other side said that it takes no client without a certificate, or not with this one.
fn is_about_identity(error: &(dyn Error + 'static)) -> bool {
    use rustls::AlertDescription as Alert;
    sources(error).any(|cause| {
        matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::AlertReceived(
                Alert::CertificateRequired
                    | Alert::BadCertificate
                    | Alert::UnsupportedCertificate
                    | Alert::CertificateRevoked
                    | Alert::CertificateExpired
                    | Alert::CertificateUnknown
                    | Alert::UnknownCA
                    | Alert::AccessDenied
                    // A certificate by somebody who merely has the name of an authority.
                    | Alert::DecryptError
            ))
        )
    })
}

/// The error and what it came from, with what an `io::Error` wraps (which its `source` leaves out).
fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
