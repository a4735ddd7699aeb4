//! URIs of clients, read strictly: ASCII, one spelling, nothing that two readers could take for two things.
//!
//! Invariant: no normalisation. What is accepted is compared byte by byte, so what has a second spelling of the same
//! meaning that would matter (user information, dot-segments, numbers for addresses, empty ports) is refused.

use core::net::{Ipv4Addr, Ipv6Addr};

/// The longest URI, in bytes.
pub(super) const MAX_LENGTH: usize = 2048;

/// A URI in its parts, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'u> {
    /// In lower case, without the colon.
    pub scheme: &'u str,
    /// Host and port; `None` where there is no `//`.
    pub authority: Option<Authority<'u>>,
    /// From the first `/`, or empty.
    pub path: &'u str,
    /// Without the question mark.
    pub query: Option<&'u str>,
}

/// Where a URI points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'u> {
    /// A name or an address; an IPv6 address stands in brackets.
    pub host: &'u str,
    /// From 1 to 65535, where it is written.
    pub port: Option<u16>,
}

impl Authority<'_> {
    /// Whether it is this machine, whatever the resolver says: `localhost`, `127.0.0.0/8` or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        let v6 = |host: &str| host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
        self.host == "localhost"
            || self.host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || v6(self.host).is_some_and(|address| address.is_loopback())
    }
}

impl<'u> Uri<'u> {
    /// Reads an absolute URI without fragment.
    ///
    /// # Errors
    /// What is wrong with it, to be put behind "the URI".
    pub fn parse(text: &'u str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err("has 1 to 2048 characters");
        }
        if text.contains('#') {
            return Err("has no fragment");
        }
        if text.contains('*') {
            return Err("has no wildcard: it is compared exactly");
        }
        if !text.bytes().all(is_uri_byte) {
            return Err("is ASCII, without spaces, control characters, quotes, backslashes and the like");
        }
        if !percent_is_encoding(text) {
            return Err("has `%` only before two hexadecimal digits");
        }
        let (scheme, rest) = text.split_once(':').ok_or("is absolute: it begins with a scheme")?;
        if !is_scheme(scheme) {
            return Err("begins with a scheme in lower case");
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let at = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(at).ok_or("can't be read")?;
                (Some(read_authority(authority)?), path)
            }
        };
        if path.contains(['[', ']']) || query.is_some_and(|query| query.contains(['[', ']'])) {
            return Err("has brackets around an IPv6 address only");
        }
        if path.split('/').any(is_dot_segment) {
            return Err("has no `.` or `..` segment");
        }
        Ok(Self { scheme, authority, path, query })
    }

    /// Whether it leads somewhere over https, or over http at this machine.
    pub(crate) fn is_https_or_local(&self) -> bool {
        match (self.scheme, self.authority) {
            ("https", Some(_)) => true,
            ("http", Some(authority)) => authority.is_loopback(),
            _ => false,
        }
    }
}

fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()+,;=%".contains(&byte)
}

fn percent_is_encoding(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut bytes = rest.bytes();
        let mut digit = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    })
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

fn read_authority(text: &str) -> Result<Authority<'_>, &'static str> {
    if text.contains('@') {
        return Err("has no user information");
    }
    let (host, port) = match text.rfind(']') {
        // Behind an IPv6 address only a port can follow.
        Some(end) => {
            let (host, rest) = text.split_at_checked(end + 1).ok_or("can't be read")?;
            let port = if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':').ok_or("has a host that can't be read")?)
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if !is_host(host) {
        return Err("has a host that is a name or an address in its usual form");
    }
    let port = match port {
        None => None,
        Some(digits) => {
            let usual = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|_| usual);
            Some(port.ok_or("has a port from 1 to 65535, or none")?)
        }
    };
    Ok(Authority { host, port })
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let labels = host.strip_suffix('.').unwrap_or(host);
    // A name that ends in a number is read as an address by browsers, in forms that others don't know.
    let number = |label: &str| {
        let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        label.bytes().all(|byte| byte.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    host.len() <= 253
        && labels.split('.').all(label)
        && (!labels.rsplit('.').next().is_some_and(number) || host.parse::<Ipv4Addr>().is_ok())
}
