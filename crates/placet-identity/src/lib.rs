//! Believes foreign proofs: what a client, a workload or an identity provider says of itself at a URL, what it has signed
//! with the keys that it publishes there, and the certificates of authorities that are trusted here.
//!
//! It reads and checks; what follows from that, others decide. The time is an argument; the network is the gateway's
//! [`Fetcher`], which dials public addresses only.
//!
//! Invariant: no storage and no policy. What could not be read is never remembered as if it were an answer, and
//! nothing is kept for longer than its publisher and [`LONGEST_KEPT`] allow.

mod certificate;
mod freshness;
mod kept;
mod pace;
mod provider;

pub use certificate::{Authorities, Certificate, CertificateError, Unfit};
pub use freshness::LONGEST_KEPT;
pub use provider::{ProviderError, Providers, Redeeming, Said};

use freshness::kept_until;
use kept::{Held, Kept};
use pace::Pace;
use placet_core::{
    client::{Metadata, MetadataError, Uri, document},
    jose::{JwkError, Jws, JwsError, KeySet, Thumbprint},
    json,
    time::Timestamp,
};
use placet_gateway::{FetchConfig, FetchError, Fetcher, GatewayError};
use std::{fmt, sync::Arc, time::Duration};

/// The largest key set that is read, in bytes.
const MAX_KEYS: usize = 64 * 1024;
/// How soon a key set is read again when somebody comes with a key that it did not have.
const AGAIN: Duration = Duration::from_secs(10);

/// Why something foreign is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// The URL can't be one.
    #[error("{0}")]
    Url(String),
    /// Too much is read at once, or from there.
    #[error("too many documents are being read; try again later")]
    Busy,
    /// It can't be reached. Why, the log has: it is nobody's business what a name resolves to here.
    #[error("it can't be reached at a public address")]
    Unreachable,
    /// It was reached, and answered with something else.
    #[error("{0}")]
    Fetch(FetchError),
    /// Not of the type that it has to be.
    #[error("it is not of type application/json")]
    Type,
    /// Not the metadata of that client.
    #[error("{0}")]
    Document(MetadataError),
    /// No set of public keys.
    #[error("the key set is not usable: {0}")]
    Keys(JwkError),
    /// Not JSON with one reading.
    #[error("the key set is not valid JSON")]
    Json,
    /// Not signed by whom it has to be.
    #[error("{0}")]
    Signature(JwsError),
}

impl ForeignError {
    /// Whether it may be otherwise in a moment, without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable | Self::Fetch(_))
    }
}

/// Reads what others publish about themselves.
pub struct Foreign {
    fetcher: Fetcher,
    documents: Kept<Metadata, ForeignError>,
    keys: Kept<KeySet, ForeignError>,
    pace: Pace,
}

impl Foreign {
    /// A reader that has read nothing yet.
    ///
    /// # Errors
    /// [`GatewayError::Tls`] where the system's certificate store can't be used.
    pub fn new(config: FetchConfig) -> Result<Self, GatewayError> {
        Ok(Self {
            fetcher: Fetcher::new(config)?,
            documents: Kept::new(),
            keys: Kept::new(),
            pace: Pace::default(),
        })
    }

    /// The metadata of the client whose id is this URL, as it is published there now, or was a short time ago.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub async fn document(&self, client_id: &str, now: Timestamp) -> Result<Arc<Metadata>, ForeignError> {
        document::check_url(client_id).map_err(ForeignError::Url)?;
        if let Some(held) = self.documents.get(client_id, now) {
            return Ok(held.what);
        }
        let read = async {
            let fetched = self.fetch(client_id, "application/json", document::MAX_BYTES, now).await?;
            let metadata = document::read(client_id, &fetched.body).map_err(ForeignError::Document)?;
            Ok(Held { what: Arc::new(metadata), read: now, until: kept_until(&fetched.headers, now) })
        };
        self.documents.renewed(client_id, read).await
    }

    /// Checks that one of the keys that are published at `jwks_uri` has signed `jws`. A key that is not in the set as
    /// it was read last is looked for once more, so that keys can be rotated.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub async fn verify(&self, jwks_uri: &str, jws: &Jws<'_>, now: Timestamp) -> Result<(), ForeignError> {
        if let Some(held) = self.keys.get(jwks_uri, now) {
            match held.what.verify(jws) {
                Ok(_) => return Ok(()),
                // A set that was read a moment ago is not read for everybody who comes with a wrong key.
                Err(error) if now < held.read.plus(AGAIN) => return Err(ForeignError::Signature(error)),
                Err(JwsError::Signature) if jws.kid().is_some() => {
                    return Err(ForeignError::Signature(JwsError::Signature));
                }
                Err(_) => {}
            }
        }
        let keys = self.read_keys(jwks_uri, now).await?;
        keys.verify(jws).map(|_| ()).map_err(ForeignError::Signature)
    }

    /// Whether a certificate with this key is one of those whose keys are published at `jwks_uri` (RFC 8705 §2.2). One that
    /// is not in the set as it was read last is looked for once more, as in [`Foreign::verify`].
    ///
    /// # Errors
    /// [`ForeignError`].
    pub async fn certifies(
        &self,
        jwks_uri: &str,
        key: Thumbprint,
        certificate: Thumbprint,
        now: Timestamp,
    ) -> Result<bool, ForeignError> {
        if let Some(held) = self.keys.get(jwks_uri, now) {
            let certifies = held.what.certifies(key, certificate);
            if certifies || now < held.read.plus(AGAIN) {
                return Ok(certifies);
            }
        }
        Ok(self.read_keys(jwks_uri, now).await?.certifies(key, certificate))
    }

    async fn read_keys(&self, url: &str, now: Timestamp) -> Result<Arc<KeySet>, ForeignError> {
        let read = async {
            let accept = "application/jwk-set+json, application/json";
            let fetched = self.fetch(url, accept, MAX_KEYS, now).await?;
            let set = json::parse(&fetched.body).map_err(|_| ForeignError::Json)?;
            let what = Arc::new(KeySet::parse(&set).map_err(ForeignError::Keys)?);
            // A set that may not be kept is still not read more often than this.
            let until = kept_until(&fetched.headers, now).max(now.plus(AGAIN));
            Ok(Held { what, read: now, until })
        };
        self.keys.renewed(url, read).await
    }

    async fn fetch(
        &self,
        url: &str,
        accept: &'static str,
        limit: usize,
        now: Timestamp,
    ) -> Result<placet_gateway::Fetched, ForeignError> {
        let uri = Uri::parse(url).map_err(|what| ForeignError::Url(format!("the URL {what}")))?;
        let host = uri.authority.map_or("", |authority| authority.host).to_ascii_lowercase();
        let _turn = self.pace.turn(&host, now).ok_or(ForeignError::Busy)?;
        let fetched = self.fetcher.get(url, accept, limit).await.map_err(|error| {
            tracing::info!(url, %error, "a foreign document could not be read");
            match error {
                FetchError::NotSent(_) => ForeignError::Unreachable,
                error => ForeignError::Fetch(error),
            }
        })?;
        let kind = fetched.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(is_json) { Ok(fetched) } else { Err(ForeignError::Type) }
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Foreign({} documents, {} key sets)", self.documents.len(), self.keys.len())
    }
}

/// Whether a media type is JSON: `application/json` or `application/…+json`.
fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json"
        || kind.strip_prefix("application/").and_then(|kind| kind.strip_suffix("+json")).is_some()
}
