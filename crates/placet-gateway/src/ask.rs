//! Asks an endpoint that the operator has named: sends it one JSON document, with a key, and reads the answer.
//!
//! The address is the operator's own word, not an agent's: it may be private. Metadata addresses are refused all the
//! same, redirects are not followed, and nothing is sent again.
//!
//! Invariant: the key goes to the URL that was asked for, and nowhere else; answers are bounded.

use crate::dial::{Connector, Dialer, Reach, SystemResolver};
use crate::fetch::{FetchError, uncompressed, whole};
use crate::gateway::{GatewayError, connect_failure, tls};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use placet_core::secret::Secret;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// For resolving, connecting and the TLS handshake together.
const CONNECT: Duration = Duration::from_secs(3);

/// Asks. Cheap to clone. Lives within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Asker {
    client: Client<Connector, Full<Bytes>>,
}

impl Asker {
    /// One that believes the system's certificates and these.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where the system's certificate store can't be used.
    pub fn new(extra_roots: &[CertificateDer<'static>]) -> Result<Self, GatewayError> {
        Ok(Self { client: client(extra_roots)? })
    }

    /// Sends `document` to `url`, once, with `key` as a bearer token, and reads the answer of at most `limit` bytes within
    /// `within`.
    ///
    /// # Errors
    /// [`FetchError`]; any status but 200 is one.
    pub async fn post(
        &self,
        url: &str,
        document: Vec<u8>,
        key: Option<&Secret>,
        limit: usize,
        within: Duration,
    ) -> Result<Vec<u8>, FetchError> {
        let mut request = Request::post(url)
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("placet/", env!("CARGO_PKG_VERSION"))))
            .body(Full::new(Bytes::from(document)))
            .map_err(|_| FetchError::Url)?;
        if let Some(key) = key {
            let mut value =
                HeaderValue::from_bytes(&[b"Bearer ", key.expose()].concat()).map_err(|_| FetchError::Url)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        timeout(within, async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    FetchError::NotSent(connect_failure(&error))
                } else {
                    FetchError::Broken
                }
            })?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status().as_u16()));
            }
            let (_, body) = uncompressed(response)?;
            whole(body, limit).await
        })
        .await
        .map_err(|_| FetchError::TimedOut)?
    }
}

/// A client for places that the operator has named.
pub(crate) fn client(
    extra_roots: &[CertificateDer<'static>],
) -> Result<Client<Connector, Full<Bytes>>, GatewayError> {
    let dialer = Dialer {
        resolver: Arc::new(SystemResolver),
        reach: Reach::Administered { allow_private: true },
        connect_timeout: CONNECT,
    };
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls(extra_roots)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(dialer);
    Ok(Client::builder(TokioExecutor::new())
        // What is sent again after a connection broke might be answered, and paid for, twice.
        .retry_canceled_requests(false)
        .build(Connector { https, connect_timeout: CONNECT }))
}
