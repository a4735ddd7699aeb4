//! Reads a public document at an address that anybody may have named: a client's metadata, somebody's keys; and sends a
//! form to an address that an administrator has named.
//!
//! No credential goes out but the one that a form is sent with, no redirect is followed, nothing is kept or sent again;
//! connections are not reused, so each document is read from an address that was checked for it.
//!
//! Invariant: only https to public addresses, whatever a name resolves to; http to this machine where the operator
//! said so.

use crate::dial::{Connector, Dialer, Reach, Resolve, SystemResolver};
use crate::failure::NotSent;
use crate::gateway::{GatewayError, connect_failure, tls};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, request::Builder, response::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use placet_core::client::Uri;
use placet_core::secret::Secret;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Bounds of what one document may take.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// For resolving, connecting and the TLS handshake together. Default 3 s.
    pub connect_timeout: Duration,
    /// For the whole document. Default 5 s.
    pub total_timeout: Duration,
    /// Whether http to this machine, written as a literal or as `localhost`, is permitted. Default no.
    pub loopback: bool,
    /// Looks names up; the operating system's resolver where `None`.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// As [`crate::GatewayConfig::extra_roots`].
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            total_timeout: Duration::from_secs(5),
            loopback: false,
            resolver: None,
            extra_roots: Vec::new(),
        }
    }
}

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL is none that is read.
    #[error("it is no https URL of a public place")]
    Url,
    /// Nothing was asked.
    #[error("it can't be reached: {0}")]
    NotSent(NotSent),
    /// It broke off, or is no HTTP.
    #[error("the answer broke off or is no HTTP")]
    Broken,
    /// Another status than 200. Redirects are not followed.
    #[error("the answer has status {0}; only 200 is a document, and redirects are not followed")]
    Status(u16),
    /// Larger than was asked for.
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// Compressed, although that was not asked for.
    #[error("the document is compressed")]
    Compressed,
    /// Not in time.
    #[error("the answer did not come in time")]
    TimedOut,
}

/// A document.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its bytes.
    pub body: Vec<u8>,
    /// The headers that it came with.
    pub headers: HeaderMap,
}

/// What was answered to a form.
#[derive(Debug, Clone)]
pub struct Answered {
    /// 200, or a 4xx that says why not.
    pub status: StatusCode,
    /// The bytes of it.
    pub body: Secret,
    /// The headers that it came with.
    pub headers: HeaderMap,
}

/// Reads documents. Cheap to clone. Lives within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client<Connector, Full<Bytes>>,
    total_timeout: Duration,
    loopback: bool,
}

impl Fetcher {
    /// A fetcher under these bounds.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where the system's certificate store can't be used.
    pub fn new(config: FetchConfig) -> Result<Self, GatewayError> {
        let reach = Reach::Anybody { loopback: config.loopback };
        Self::within(config, reach)
    }

    /// The same with another reach.
    pub(crate) fn within(config: FetchConfig, reach: Reach) -> Result<Self, GatewayError> {
        let FetchConfig { connect_timeout, total_timeout, loopback, .. } = config;
        let resolver = config.resolver.unwrap_or_else(|| Arc::new(SystemResolver));
        let dialer = Dialer { resolver, reach, connect_timeout };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&config.extra_roots)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(dialer);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(Connector { https, connect_timeout });
        Ok(Self { client, total_timeout, loopback })
    }

    /// Whether this machine may be read from.
    pub fn reaches_loopback(&self) -> bool {
        self.loopback
    }

    /// Reads the document at `url`, of at most `limit` bytes; `accept` says what is wanted.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, url: &str, accept: &'static str, limit: usize) -> Result<Fetched, FetchError> {
        let mut request = self.request(url, accept)?.body(Full::default()).map_err(|_| FetchError::Url)?;
        *request.method_mut() = Method::GET;
        timeout(self.total_timeout, self.read(request, limit)).await.map_err(|_| FetchError::TimedOut)?
    }

    /// Sends a form to `url`, once, and reads the answer of at most `limit` bytes. `authorization` is the whole value of
    /// that header.
    ///
    /// # Errors
    /// [`FetchError`]; an answer that refuses the form (400, 401, 403) is none.
    pub async fn post(
        &self,
        url: &str,
        form: &Secret,
        authorization: Option<&Secret>,
        limit: usize,
    ) -> Result<Answered, FetchError> {
        let body = Full::new(Bytes::copy_from_slice(form.expose()));
        let mut request = self.request(url, "application/json")?.body(body).map_err(|_| FetchError::Url)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, sensitive(value)?);
        }
        self.posted(request, limit, |status| matches!(status, 200 | 400 | 401 | 403)).await
    }

    /// Sends JSON, or nothing, to `url`, once, with further headers, and reads the answer of at most `limit` bytes.
    ///
    /// # Errors
    /// [`FetchError`]; an answer that refuses it (4xx) is none.
    pub(crate) async fn post_json(
        &self,
        url: &str,
        body: Option<String>,
        headers: &[(String, String)],
        authorization: &Secret,
        limit: usize,
    ) -> Result<Answered, FetchError> {
        let is_json = body.is_some();
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let mut request = self.request(url, "application/json")?.body(body).map_err(|_| FetchError::Url)?;
        if is_json {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| FetchError::Url)?;
            let value = HeaderValue::from_str(value).map_err(|_| FetchError::Url)?;
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().insert(AUTHORIZATION, sensitive(authorization)?);
        self.posted(request, limit, |status| matches!(status, 200 | 201 | 400..=499)).await
    }

    /// Sends what is posted; an answer whose status is none that is `read` is an error.
    async fn posted(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: usize,
        read: impl Fn(u16) -> bool,
    ) -> Result<Answered, FetchError> {
        *request.method_mut() = Method::POST;
        timeout(self.total_timeout, async {
            let response = self.sent(request).await?;
            let status = response.status();
            if !read(status.as_u16()) {
                return Err(FetchError::Status(status.as_u16()));
            }
            let (parts, body) = uncompressed(response)?;
            Ok(Answered { status, body: Secret::new(whole(body, limit).await?), headers: parts.headers })
        })
        .await
        .map_err(|_| FetchError::TimedOut)?
    }

    /// A request to a place that may be asked.
    fn request(&self, url: &str, accept: &'static str) -> Result<Builder, FetchError> {
        let uri = Uri::parse(url).map_err(|_| FetchError::Url)?;
        match (uri.scheme, uri.authority) {
            ("https", Some(_)) => {}
            ("http", Some(authority)) if self.loopback && authority.is_loopback() => {}
            _ => return Err(FetchError::Url),
        }
        Ok(Request::builder()
            .uri(url)
            .header(ACCEPT, HeaderValue::from_static(accept))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION")))))
    }

    async fn read(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Fetched, FetchError> {
        let response = self.sent(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let (parts, body) = uncompressed(response)?;
        Ok(Fetched { body: whole(body, limit).await?, headers: parts.headers })
    }

    async fn sent(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, FetchError> {
        self.client.request(request).await.map_err(|error| {
            if error.is_connect() { FetchError::NotSent(connect_failure(&error)) } else { FetchError::Broken }
        })
    }
}

/// The value of a header that nobody prints.
fn sensitive(value: &Secret) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::from_bytes(value.expose()).map_err(|_| FetchError::Url)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The body of a request, which is wiped once it is sent.
pub(crate) fn wiped(body: Secret) -> Bytes {
    struct Wiped(Secret);
    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            self.0.expose()
        }
    }
    Bytes::from_owner(Wiped(body))
}

pub(crate) fn uncompressed(response: Response<Incoming>) -> Result<(Parts, Incoming), FetchError> {
    let (parts, body) = response.into_parts();
    if parts.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Compressed);
    }
    Ok((parts, body))
}

pub(crate) async fn whole(mut body: Incoming, limit: usize) -> Result<Vec<u8>, FetchError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| FetchError::Broken)?.into_data().unwrap_or_default();
        if read.len().saturating_add(data.len()) > limit {
            return Err(FetchError::TooLarge(limit));
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}
