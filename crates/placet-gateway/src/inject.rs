//! Turns a connection's secret into the one header that carries it, and makes what takes it out of the answer again.
//!
//! Invariant: a secret that could end a header line, or that an upstream would read differently than written, is
//! refused; the header is marked sensitive, so that nothing prints it.

use crate::scrub::Scrubber;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use placet_core::call::Auth;
use placet_core::secret::Secret;
use std::fmt;
use std::sync::Arc;

/// Longest secret that is put into a header, in bytes: upstreams commonly refuse header lines over 8 KiB.
const MAX_SECRET: usize = 4096;

/// A connection's credential, ready for use: prepare it once and keep it as long as the secret is valid. Cheap to
/// clone; prints nothing of the secret.
#[derive(Clone)]
pub struct Credential(Arc<Prepared>);

struct Prepared {
    name: HeaderName,
    value: HeaderValue,
    scrubber: Scrubber,
}

/// Why a secret can't be used as a service's credential. Says nothing of the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No bytes.
    #[error("the connection's secret is empty: set it again")]
    Empty,
    /// More bytes than a header line should hold.
    #[error("the connection's secret is longer than {MAX_SECRET} bytes: set it again")]
    TooLong,
    /// A line end, a control character, a byte outside ASCII, or a space where none can be.
    #[error(
        "the connection's secret holds a character that a header can't carry (perhaps a line end): set it again"
    )]
    Unprintable,
    /// The service names a header that belongs to the gateway, or no header at all.
    #[error("`{0}` can't carry a credential: name another header in the service's `auth`")]
    Header(String),
}

impl Credential {
    /// Prepares `secret` for `auth`.
    ///
    /// # Errors
    /// [`CredentialError`] where the secret or the header can't be used.
    pub fn new(auth: &Auth, secret: &Secret) -> Result<Self, CredentialError> {
        let bytes = secret.expose();
        let inner_space = match auth {
            Auth::Bearer => false,
            Auth::Header { .. } => true,
        };
        match bytes {
            [] => return Err(CredentialError::Empty),
            _ if bytes.len() > MAX_SECRET => return Err(CredentialError::TooLong),
            [b' ', ..] | [.., b' '] => return Err(CredentialError::Unprintable),
            _ => {}
        }
        if !bytes.iter().all(|&b| b.is_ascii_graphic() || (inner_space && b == b' ')) {
            return Err(CredentialError::Unprintable);
        }
        let (name, value) = match auth {
            Auth::Bearer => (AUTHORIZATION, HeaderValue::from_bytes(&[b"Bearer ", bytes].concat())),
            Auth::Header { name } => (header_name(name)?, HeaderValue::from_bytes(bytes)),
        };
        let mut value = value.map_err(|_| CredentialError::Unprintable)?;
        value.set_sensitive(true);
        Ok(Self(Arc::new(Prepared { name, value, scrubber: Scrubber::new(secret) })))
    }

    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        headers.insert(self.0.name.clone(), self.0.value.clone());
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.0.scrubber
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}: …)", self.0.name)
    }
}

fn header_name(name: &str) -> Result<HeaderName, CredentialError> {
    let refused = || CredentialError::Header(name.to_owned());
    // `from_bytes` lowers case and refuses what is no token.
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
    let framing = matches!(
        parsed.as_str(),
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "accept"
            | "accept-encoding"
            | "user-agent"
            | "range"
    );
    if framing || parsed.as_str().starts_with("proxy-") { Err(refused()) } else { Ok(parsed) }
}
