//! Turns a connection's secret into the one header or query member that carries it, and makes what takes it out of
//! the answer again.
//!
//! Invariant: a secret that could end a header line, or that an upstream would read differently than written, is
//! refused; nothing prints what was made of it.

use crate::scrub::Scrubber;
use base64::{Engine as _, engine::general_purpose::STANDARD};
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
    carrier: Carrier,
    scrubber: Scrubber,
}

/// What carries the credential.
enum Carrier {
    /// Marked sensitive.
    Header(HeaderName, HeaderValue),
    /// `name=value`, encoded.
    Query(String),
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
    /// A basic credential without a user name, or with one that can't be.
    #[error("the connection has no user name that `basic` can carry: give it `username`, without a colon")]
    Username,
}

impl Credential {
    /// Prepares `secret` for `auth`.
    ///
    /// # Errors
    /// [`CredentialError`] where the secret or the header can't be used.
    pub fn new(auth: &Auth, secret: &Secret) -> Result<Self, CredentialError> {
        let bytes = secret.expose();
        let inner_space = match auth {
            Auth::Bearer | Auth::Oauth2(_) => false,
            Auth::Basic { .. } | Auth::Query { .. } | Auth::Header { .. } => true,
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
        let mut forms = Vec::new();
        let carrier = match auth {
            // Of the latter the secret is the access token.
            Auth::Bearer | Auth::Oauth2(_) => header(AUTHORIZATION, &[b"Bearer ", bytes].concat())?,
            Auth::Header { name } => header(header_name(name)?, bytes)?,
            Auth::Basic { username } => {
                let username = username.as_deref().filter(|name| Auth::is_username(name));
                let pair = [username.ok_or(CredentialError::Username)?.as_bytes(), b":", bytes].concat();
                let encoded = STANDARD.encode(&pair);
                forms = vec![[b"Basic ", encoded.as_bytes()].concat(), encoded.clone().into_bytes(), pair];
                header(AUTHORIZATION, format!("Basic {encoded}").as_bytes())?
            }
            Auth::Query { name } => Carrier::Query(format!("{name}={}", percent_encoded(bytes))),
        };
        Ok(Self(Arc::new(Prepared { carrier, scrubber: Scrubber::with_forms(secret, forms) })))
    }

    /// Adds the header that carries it, if one does.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Carrier::Header(name, value) = &self.0.carrier {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// The target with the query member that carries it, if one does.
    pub(crate) fn within_target(&self, mut target: String) -> String {
        if let Carrier::Query(member) = &self.0.carrier {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(member);
        }
        target
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.0.scrubber
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.carrier {
            Carrier::Header(name, _) => write!(f, "Credential({name}: …)"),
            Carrier::Query(_) => f.write_str("Credential(?…)"),
        }
    }
}

fn header(name: HeaderName, value: &[u8]) -> Result<Carrier, CredentialError> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| CredentialError::Unprintable)?;
    value.set_sensitive(true);
    Ok(Carrier::Header(name, value))
}

/// Everything but unreserved characters percent-encoded (RFC 3986 §2.3).
fn percent_encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
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
