//! Where a client may have people sent back to.
//!
//! Invariant: a registered URI is met byte by byte; only the port of one at the client's own machine may differ
//! (RFC 8252 §7.3).

use super::uri::Uri;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Schemes without a dot that well-known editors answer to, although RFC 8252 §7.1 wants a dot: theirs are taken from
/// clients that register themselves, too.
const EDITORS: [&str; 7] = ["code-oss", "cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed"];

/// Schemes that browsers and systems mean something by, so that no application gets the answer, or more happens than
/// that it gets it. Not even an administrator sends people there.
const TAKEN: [&str; 32] = [
    "about",
    "blob",
    "chrome",
    "chrome-extension",
    "cid",
    "content",
    "data",
    "dav",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "intent",
    "jar",
    "javascript",
    "ldap",
    "ldaps",
    "livescript",
    "mailto",
    "mocha",
    "moz-extension",
    "nfs",
    "resource",
    "sftp",
    "smb",
    "ssh",
    "telnet",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// A redirect URI as it was registered: `https`, or `http` at this machine (`localhost`, `127.0.0.0/8`, `[::1]`), or a
/// private-use scheme: with a dot in it (`com.example.app:/back`, RFC 8252 §7.1), or without one and with a host
/// (`cursor://host/back`), which not everybody may register ([`Self::needs_administrator`]). No fragment, no user
/// information, no wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RedirectUri(String);

/// What kind of redirect URI it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectKind {
    /// `https` anywhere.
    Https,
    /// `http` at the person's own machine: whoever listens there gets the answer.
    Loopback,
    /// A scheme of an installed application: whichever application claims it gets the answer.
    PrivateUse,
}

impl RedirectUri {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("the redirect URI `{}` {what}", text.escape_debug());
        let uri = Uri::parse(text).map_err(|what| wrong(&format!("is not acceptable: it {what}")))?;
        kind(&uri).map_err(wrong)?;
        Ok(Self(text.to_owned()))
    }

    /// As it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind it is.
    pub fn kind(&self) -> RedirectKind {
        Uri::parse(&self.0).ok().and_then(|uri| kind(&uri).ok()).unwrap_or(RedirectKind::Https)
    }

    /// Whether only an administrator registers it: anybody's application could have chosen its scheme, and it is none
    /// that is known for one.
    pub fn needs_administrator(&self) -> bool {
        let scheme = self.0.split(':').next().unwrap_or_default();
        self.kind() == RedirectKind::PrivateUse && !scheme.contains('.') && !EDITORS.contains(&scheme)
    }

    /// The host that people are sent to, to be shown to them; of an installed application the scheme, which is what the
    /// system goes by.
    pub fn host(&self) -> &str {
        match Uri::parse(&self.0) {
            Ok(uri) if kind(&uri) == Ok(RedirectKind::PrivateUse) => uri.scheme,
            Ok(Uri { authority: Some(authority), .. }) => authority.host,
            Ok(uri) => uri.scheme,
            Err(_) => "",
        }
    }

    /// Whether what a request names is this one: byte by byte (RFC 9700 §2.1), at this machine in any port.
    pub fn permits(&self, named: &str) -> bool {
        if self.0 == named {
            return true;
        }
        match (Uri::parse(&self.0), Uri::parse(named)) {
            (Ok(own), Ok(named)) => {
                kind(&own) == Ok(RedirectKind::Loopback)
                    && own.scheme == named.scheme
                    && own.authority.map(|authority| authority.host)
                        == named.authority.map(|authority| authority.host)
                    && own.path == named.path
                    && own.query == named.query
            }
            _ => false,
        }
    }
}

fn kind(uri: &Uri<'_>) -> Result<RedirectKind, &'static str> {
    match (uri.scheme, uri.authority) {
        ("https", Some(_)) => Ok(RedirectKind::Https),
        ("http", Some(authority)) if authority.is_loopback() => Ok(RedirectKind::Loopback),
        ("http", _) => Err("is plain http: use https, or http at `localhost`, `127.0.0.1` or `[::1]`"),
        (scheme, _) if scheme.contains('.') && uri.path.starts_with('/') => Ok(RedirectKind::PrivateUse),
        (scheme, _) if scheme.contains('.') => Err("has a path that begins with `/` behind its scheme"),
        (scheme, _) if TAKEN.contains(&scheme) || scheme.starts_with("ms-") || scheme.len() < 3 => {
            Err("has a scheme that is no application's of its own")
        }
        (_, Some(_)) => Ok(RedirectKind::PrivateUse),
        _ => Err(
            "is https, http at this machine, or of a private scheme (`com.example.app:/back`, `editor://host/back`)",
        ),
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
