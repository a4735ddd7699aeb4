//! Turns a connection's secret into what is added to its requests: the one header or query member that carries it, a
//! signature by it, or a certificate that is shown when the connection is made. And makes what takes it out of
//! the answer again.
//!
//! Invariant: a secret that could end a header line, or that an upstream would read differently than written, is
//! refused; what is signed is what is sent; nothing prints what was made of it.

use crate::identity::Identity;
use crate::mcp::Sessions;
use crate::scrub::Scrubber;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use placet_core::call::Auth;
use placet_core::secret::{Secret, sha256};
use placet_core::signing::{
    KeyError, Moment, SigningError, Unsigned,
    aws::AwsKey,
    scheme::{self, Scheme},
};
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
    login: Option<Login>,
    scrubber: Scrubber,
    identity: Option<Identity>,
    /// What was agreed with MCP servers through it.
    sessions: Sessions,
}

/// A user and a password, for upstreams that are logged in to.
pub(crate) struct Login {
    user: String,
    password: Secret,
}

impl Login {
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &Secret {
        &self.password
    }

    /// What tells logins apart and is none.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let length = (self.user.len() as u64).to_be_bytes();
        sha256(&[&length, self.user.as_bytes(), self.password.expose()])
    }
}

/// What carries the credential.
enum Carrier {
    /// Marked sensitive.
    Header(HeaderName, HeaderValue),
    /// `name=value`, encoded.
    Query(String),
    /// A signature as the service describes it.
    Scheme(Box<Scheme>, scheme::Key),
    /// A signature of Signature Version 4.
    Aws { key: AwsKey, region: String, service: String },
    /// Nothing in the request itself.
    Nothing,
}

/// A request as it goes out, but for its credential.
pub(crate) struct Bare<'a> {
    pub(crate) method: &'a str,
    pub(crate) host: &'a str,
    pub(crate) target: String,
    pub(crate) headers: &'a HeaderMap,
    /// None where it is streamed.
    pub(crate) body: Option<&'a [u8]>,
    /// None where nobody tells the time.
    pub(crate) moment: Option<Moment>,
}

/// What the credential makes of it.
pub(crate) struct Shown {
    pub(crate) target: String,
    /// Marked sensitive.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
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
    /// No key to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// This request can't be signed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// Nobody tells when a signature is made.
    #[error("requests can't be signed here: this server has no clock for them")]
    Timeless,
    /// No certificate to show.
    #[error("the connection's client certificate can't be used: {0}")]
    Certificate(&'static str),
    /// The service's own authorities can't be read.
    #[error("`ca` has a certificate that can't be read")]
    Authorities,
}

impl Credential {
    /// Prepares `secret` for `auth`.
    ///
    /// # Errors
    /// [`CredentialError`] where the secret or the header can't be used.
    pub fn new(auth: &Auth, secret: &Secret) -> Result<Self, CredentialError> {
        let of = |(carrier, scrubber)| Self::prepared(carrier, None, scrubber, None);
        match auth {
            Auth::Hmac(scheme) => {
                scheme.headers.iter().try_for_each(|(name, _)| header_name(name).map(drop))?;
                let key = scheme.key(secret)?;
                let scrubber = Scrubber::of_all(key.secrets());
                Ok(of((Carrier::Scheme(scheme.clone(), key), scrubber)))
            }
            Auth::AwsSigv4 { region, service } => {
                let key = AwsKey::from_secret(secret)?;
                let scrubber = Scrubber::of_all(key.secrets());
                let (region, service) = (region.clone(), service.clone());
                Ok(of((Carrier::Aws { key, region, service }, scrubber)))
            }
            Auth::Mtls(mtls) => {
                let (identity, beside) = Identity::open(mtls, secret)?;
                let (carrier, login, scrubber) = match (&mtls.beside, beside) {
                    (Some(auth), Some(secret)) => carried(auth, &secret)?,
                    // Its upstream never has the key, so that no answer can.
                    (None, None) => (Carrier::Nothing, None, Scrubber::of_all([])),
                    (Some(_), None) => {
                        return Err(CredentialError::Certificate(
                            "`secret`, which is shown beside it, is missing (`--beside` reads it)",
                        ));
                    }
                    (None, Some(_)) => {
                        return Err(CredentialError::Certificate("the service takes no `secret` beside it"));
                    }
                };
                Ok(Self::prepared(carrier, login, scrubber, Some(identity)))
            }
            _ => {
                let (carrier, login, scrubber) = carried(auth, secret)?;
                Ok(Self::prepared(carrier, login, scrubber, None))
            }
        }
    }

    fn prepared(
        carrier: Carrier,
        login: Option<Login>,
        scrubber: Scrubber,
        identity: Option<Identity>,
    ) -> Self {
        Self(Arc::new(Prepared { carrier, login, scrubber, identity, sessions: Sessions::default() }))
    }

    /// What is added to a request.
    pub(crate) fn show(&self, bare: Bare<'_>) -> Result<Shown, CredentialError> {
        let Bare { method, host, mut target, headers, body, moment } = bare;
        let signed = match &self.0.carrier {
            Carrier::Nothing => return Ok(Shown { target, headers: Vec::new() }),
            Carrier::Header(name, value) => {
                return Ok(Shown { target, headers: vec![(name.clone(), value.clone())] });
            }
            Carrier::Query(member) => {
                target.push(if target.contains('?') { '&' } else { '?' });
                target.push_str(member);
                return Ok(Shown { target, headers: Vec::new() });
            }
            signer @ (Carrier::Scheme(..) | Carrier::Aws { .. }) => {
                let moment = moment.ok_or(CredentialError::Timeless)?;
                let mut listed = Vec::with_capacity(headers.len());
                for (name, value) in headers {
                    let value = value.to_str().map_err(|_| SigningError::Target)?;
                    listed.push((name.as_str(), value));
                }
                let request = Unsigned { method, host, target: &target, headers: &listed, body };
                match signer {
                    Carrier::Scheme(scheme, key) => scheme.sign(key, &request, moment)?,
                    Carrier::Aws { key, region, service } => key.sign(&request, region, service, moment)?,
                    _ => return Err(CredentialError::Timeless),
                }
            }
        };
        let headers = signed.headers.iter().map(|(name, value)| {
            let mut value = HeaderValue::from_str(value).map_err(|_| CredentialError::Unprintable)?;
            value.set_sensitive(true);
            Ok((header_name(name)?, value))
        });
        Ok(Shown { headers: headers.collect::<Result<_, CredentialError>>()?, target: signed.target })
    }

    /// The certificate that is shown when the connection is made.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.0.identity.as_ref()
    }

    /// The secret itself, for the environment of a process.
    pub(crate) fn in_environment(&self) -> Option<&str> {
        match &self.0.carrier {
            Carrier::Header(_, value) => std::str::from_utf8(value.as_bytes()).ok()?.strip_prefix("Bearer "),
            Carrier::Query(_) | Carrier::Scheme(..) | Carrier::Aws { .. } | Carrier::Nothing => None,
        }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The user and password that it is, if it is these.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.0.login.as_ref()
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
            Carrier::Scheme(..) | Carrier::Aws { .. } => f.write_str("Credential(signs)"),
            Carrier::Nothing => f.write_str("Credential(certificate)"),
        }
    }
}

/// What carries a secret as it is, what logs in with it where it can, and what finds it.
fn carried(auth: &Auth, secret: &Secret) -> Result<(Carrier, Option<Login>, Scrubber), CredentialError> {
    let bytes = secret.expose();
    let inner_space = !matches!(auth, Auth::Bearer | Auth::Oauth2(_));
    match bytes {
        [] => return Err(CredentialError::Empty),
        _ if bytes.len() > MAX_SECRET => return Err(CredentialError::TooLong),
        [b' ', ..] | [.., b' '] => return Err(CredentialError::Unprintable),
        _ => {}
    }
    if !bytes.iter().all(|&b| b.is_ascii_graphic() || (inner_space && b == b' ')) {
        return Err(CredentialError::Unprintable);
    }
    let (mut forms, mut login) = (Vec::new(), None);
    let carrier = match auth {
        // Of the latter the secret is the access token.
        Auth::Bearer | Auth::Oauth2(_) => header(AUTHORIZATION, &[b"Bearer ", bytes].concat())?,
        Auth::Header { name } => header(header_name(name)?, bytes)?,
        Auth::Basic { username } => {
            let username = username.as_deref().filter(|name| Auth::is_username(name));
            let user = username.ok_or(CredentialError::Username)?;
            login = Some(Login { user: user.to_owned(), password: secret.clone() });
            let pair = [user.as_bytes(), b":", bytes].concat();
            let encoded = STANDARD.encode(&pair);
            forms = vec![[b"Basic ", encoded.as_bytes()].concat(), encoded.clone().into_bytes(), pair];
            header(AUTHORIZATION, format!("Basic {encoded}").as_bytes())?
        }
        Auth::Query { name } => Carrier::Query(format!("{name}={}", percent_encoded(bytes))),
        // These are no secrets that could be carried.
        Auth::Hmac(_) | Auth::AwsSigv4 { .. } | Auth::Mtls(_) => return Err(CredentialError::Unprintable),
    };
    Ok((carrier, login, Scrubber::with_forms(secret, forms)))
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
