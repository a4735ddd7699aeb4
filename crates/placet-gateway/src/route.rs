//! Where a service's calls go and which addresses that permits: built once, when a service is loaded.
//!
//! What an administrator wrote as a literal (`http://10.0.0.5`) or as `localhost` is thereby permitted; a name is
//! permitted only public addresses, unless the service sets `allow_private`. So the policy is a function of the
//! authority and of `allow_private` alone, which is what lets connections be pooled by those two.
//!
//! Invariant: a metadata address has no route; a host means one thing only (no octal, hex, short or decimal forms).

use crate::address::{AddressClass, classify};
use http::uri::{Authority, Scheme};
use placet_core::service::{Kind, UploadPace};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The scheme, host and port of an upstream, and whether private addresses are permitted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Route(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    scheme: Scheme,
    authority: Authority,
    origin: String,
    allow_private: bool,
    /// The command whose process it is, where it is one.
    command: Option<String>,
    /// How long it may take over an answer, where that is stated.
    timeout: Option<Duration>,
    /// How fast an upload has to come.
    upload: UploadPace,
    /// How many calls are open.
    open: Arc<AtomicUsize>,
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall(Route);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a `base_url` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No scheme that is spoken.
    #[error("`base_url` must begin with `https://`, `http://` or `postgres://`")]
    Scheme,
    /// A user name or password in the URL.
    #[error("`base_url` must hold no user name or password: give the credential to a connection")]
    Userinfo,
    /// A query or fragment.
    #[error("`base_url` must hold no query and no fragment")]
    QueryOrFragment,
    /// The host is empty or not a DNS name or address.
    #[error(
        "`{0}` is no host name: use letters, digits, `-` and `.` (punycode for others), or an IP address"
    )]
    Host(String),
    /// An IP address in a form that programs read differently.
    #[error("`{0}` is an ambiguous IP address: write four decimal numbers without leading zeros")]
    OddAddress(String),
    /// The port is not 1 to 65535.
    #[error("`{0}` is no port: use 1 to 65535")]
    Port(String),
    /// A cloud's metadata service.
    #[error("`{0}` is a metadata service, which is never dialled: name the upstream itself")]
    Metadata(String),
}

impl Route {
    /// The route to `base_url`: `http` or `https`, a host, perhaps a port; a path is accepted and plays no part here.
    ///
    /// # Errors
    /// [`RouteError`] says which part is refused.
    pub fn new(base_url: &str, allow_private: bool) -> Result<Self, RouteError> {
        let (kind, scheme, rest) = split_scheme(base_url).ok_or(RouteError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(RouteError::QueryOrFragment);
        }
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(RouteError::Userinfo);
        }
        let (host, port) = split_port(authority)?;
        let host = check_host(host)?;
        let port = match port {
            None => None,
            Some(text) => {
                // `parse` would take `+80`.
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let port = text.parse::<u16>().ok().filter(|&port| digits && port != 0);
                Some(port.ok_or_else(|| RouteError::Port(text.to_owned()))?)
            }
        };
        let default = default_port(scheme.as_str());
        // A default port is left out, so that one upstream has one authority and one pool.
        let text = match port {
            Some(port) if port != default => format!("{host}:{port}"),
            _ => host.clone(),
        };
        let bad_host = |_| RouteError::Host(host.clone());
        let authority = Authority::try_from(text.as_str()).map_err(|e| bad_host(e.to_string()))?;
        let origin = format!("{scheme}://{text}");
        Ok(Self(Arc::new(Parts {
            kind,
            scheme,
            authority,
            origin,
            allow_private,
            command: None,
            timeout: None,
            upload: UploadPace::default(),
            open: Arc::default(),
        })))
    }

    /// The way to a process of a command that the operator lists.
    ///
    /// # Errors
    /// [`RouteError::Host`], where it can't be the name of one.
    pub fn process(command: &str) -> Result<Self, RouteError> {
        let mut route = Self::new(&format!("http://{command}"), false)?;
        let parts = Arc::make_mut(&mut route.0);
        parts.origin = format!("stdio://{command}");
        parts.command = Some(command.to_owned());
        Ok(route)
    }

    /// The command whose process it leads to, where it does.
    pub fn command(&self) -> Option<&str> {
        self.0.command.as_deref()
    }

    /// The same to an upstream that speaks this.
    #[must_use]
    pub fn speaking(mut self, kind: Kind) -> Self {
        Arc::make_mut(&mut self.0).kind = kind;
        self
    }

    /// What is spoken there.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The same for an upstream that may take so long over an answer.
    #[must_use]
    pub fn within(mut self, timeout: Option<Duration>) -> Self {
        Arc::make_mut(&mut self.0).timeout = timeout;
        self
    }

    /// How long it may take over an answer, where that is stated.
    pub fn timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    /// The same for an upstream to which uploads come at least this fast.
    #[must_use]
    pub fn taking_uploads_at(mut self, pace: UploadPace) -> Self {
        Arc::make_mut(&mut self.0).upload = pace;
        self
    }

    /// How fast an upload has to come.
    pub(crate) fn upload_pace(&self) -> UploadPace {
        self.0.upload
    }

    /// `scheme://host[:port]`, lower case, the scheme's default port left out.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// Host and, where it is not the default, port: what messages name.
    pub fn host(&self) -> &str {
        self.0.authority.as_str()
    }

    /// Whether the service permits private addresses behind a name.
    pub fn allow_private(&self) -> bool {
        self.0.allow_private
    }

    /// Whether a database is spoken to without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme.as_str() == PLAIN
    }

    /// The host alone, as a certificate names it.
    pub(crate) fn name(&self) -> &str {
        self.0.authority.host().trim_matches(['[', ']'])
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.0.scheme.clone()
    }

    pub(crate) fn authority(&self) -> Authority {
        self.0.authority.clone()
    }

    /// Counts a call that is open as long as what this gives is kept.
    pub(crate) fn opens(&self) -> OpenCall {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        OpenCall(self.clone())
    }

    /// How many calls are open.
    pub(crate) fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Whether `origin` (of a rendered call) names this route.
    pub(crate) fn serves(&self, origin: &str) -> bool {
        origin == self.0.origin
            || Self::new(origin, self.0.allow_private).is_ok_and(|other| other.0.origin == self.0.origin)
    }
}

/// The scheme of databases that are spoken to without TLS.
const PLAIN: &str = "postgres+plain";

/// The port of a scheme where none is written.
pub(crate) fn default_port(scheme: &str) -> u16 {
    match scheme {
        "https" => 443,
        "postgres" | PLAIN => 5432,
        _ => 80,
    }
}

fn split_scheme(url: &str) -> Option<(Kind, Scheme, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.eq_ignore_ascii_case("https") {
        Some((Kind::Http, Scheme::HTTPS, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Some((Kind::Http, Scheme::HTTP, rest))
    } else if scheme == "postgres" || scheme == PLAIN {
        Some((Kind::Postgres, Scheme::try_from(scheme).ok()?, rest))
    } else {
        None
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), RouteError> {
    if authority.starts_with('[') {
        let bad = || RouteError::Host(authority.to_owned());
        let end = authority.find(']').ok_or_else(bad)?;
        let (host, rest) = authority.split_at_checked(end.saturating_add(1)).ok_or_else(bad)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(bad()),
        };
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// The host in its one spelling: lower case, an IPv6 address compressed and in brackets.
fn check_host(host: &str) -> Result<String, RouteError> {
    let bad = || RouteError::Host(host.to_owned());
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // Zones are refused by the parser: they name an interface of this machine.
        let address: Ipv6Addr = inner.parse().map_err(|_| bad())?;
        check_literal(IpAddr::V6(address), host)?;
        return Ok(format!("[{address}]"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A trailing dot leaves an empty last label, which is refused: `localhost.` is not `localhost` to all programs.
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(bad());
    }
    let host = host.to_ascii_lowercase();
    // The URL standard's rule: a host that ends in a number is an IPv4 address, whatever its form.
    if host.rsplit('.').next().is_some_and(is_number) {
        let address: Ipv4Addr = host.parse().map_err(|_| RouteError::OddAddress(host.clone()))?;
        check_literal(IpAddr::V4(address), &host)?;
    }
    Ok(host)
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn check_literal(address: IpAddr, written: &str) -> Result<(), RouteError> {
    match classify(address) {
        AddressClass::Metadata => Err(RouteError::Metadata(written.to_owned())),
        _ => Ok(()),
    }
}
