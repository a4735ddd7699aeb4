//! The one form in which every door hands a request to the upstream side: what is matched is what is sent.
//!
//! An [`UpstreamCall`] is rendered from a described action by [`crate::service`] and sent as it is by the gateway;
//! nothing in between edits it except that the gateway adds the credential.
//!
//! Invariant: a call holds no credential, and no header that an agent chose but those that are listed here.

use crate::{
    service::oauth::OAuth,
    signing::{aws, scheme::Scheme},
};
use serde::{Deserialize, Serialize};

/// HTTP method of an upstream call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The method's text as sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method of that name, which is case-sensitive (RFC 9110 §9.1).
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|method| method.as_str() == name)
    }

    /// Whether parameters that the path does not use travel in the query instead of a JSON body.
    pub const fn parameters_in_query(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Delete)
    }
}

/// The headers of an agent's request that go on to the upstream. They say in which form an answer is wanted, or on
/// which state of the object the request depends. What could change which object or which part of it is meant
/// (`Range`, method overrides), or who asks (cookies, forwarding headers), is not among them.
pub const LISTED_HEADERS: &[&str] =
    &["accept", "accept-language", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since"];

/// The header with the subprotocols that a WebSocket is opened with.
pub const PROTOCOL_HEADER: &str = "sec-websocket-protocol";

/// The type of bodies that are forms.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request to an upstream, complete but for the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCall {
    /// The method.
    pub method: Method,
    /// Scheme, host and port, as the service's `base_url` says: `https://api.example.com`.
    pub origin: String,
    /// Path and query, encoded, beginning with `/`.
    pub target: String,
    /// Headers of the agent's that go on: of [`LISTED_HEADERS`], `content-type` where the body is streamed, and
    /// [`PROTOCOL_HEADER`] where a WebSocket is opened; names in lower case, sorted, each once.
    pub headers: Vec<(String, String)>,
    /// Headers that the service's definition sends with every request of the action, names in lower case, sorted, each
    /// once; they come before [`headers`](Self::headers). With a body that is no JSON its `content-type` is among them.
    pub fixed: Vec<(String, String)>,
    /// The body, if the action has one.
    pub body: Option<Vec<u8>>,
    /// Whether a body follows that is no part of the description (an action declared `stream`).
    pub streamed: bool,
}

/// How a service takes its credential (`auth` in the service's definition).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer SECRET` (RFC 6750 §2.1).
    Bearer,
    /// `Authorization: Basic base64(USERNAME:SECRET)` (RFC 7617).
    Basic {
        /// The user name, which is no secret. A service may leave it to each connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
    },
    /// The secret as a member of the query.
    Query {
        /// The member's name: letters, digits, `-`, `.`, `_` and `~`.
        name: String,
    },
    /// The secret as the value of the named header.
    Header {
        /// The header's name, lower case.
        name: String,
    },
    /// `Authorization: Bearer` with an access token that is asked for at an authorization server, and renewed.
    Oauth2(Box<OAuth>),
    /// Every request is signed by the secret, as the service describes it; the secret is not sent.
    Hmac(Box<Scheme>),
    /// Every request is signed by AWS Signature Version 4; the secret is not sent.
    AwsSigv4 {
        /// The region that the signature is for.
        region: String,
        /// The service that it is for, as the vendor calls it.
        service: String,
    },
    /// A certificate and its key, by mutual TLS.
    Mtls(Box<Mtls>),
}

/// How a service takes certificates of its clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mtls {
    /// The authorities (PEM) that the service itself is certified by, instead of those of the operator and the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What else is shown, in each request: a bearer token, a header, a member of the query, or a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Auth>,
}

impl Auth {
    /// The word in documents and on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Basic { .. } => "basic",
            Self::Query { .. } => "query",
            Self::Header { .. } => "header",
            Self::Oauth2(_) => "oauth2",
            Self::Hmac(_) => "hmac",
            Self::AwsSigv4 { .. } => "aws_sigv4",
            Self::Mtls(_) => "mtls",
        }
    }

    /// The headers that carry the credential, in lower case: nothing else may set them.
    pub fn headers(&self) -> Vec<&str> {
        match self {
            Self::Bearer | Self::Basic { .. } | Self::Oauth2(_) => vec!["authorization"],
            Self::Header { name } => vec![name],
            Self::Query { .. } => Vec::new(),
            Self::Hmac(scheme) => scheme.headers.iter().map(|(name, _)| name.as_str()).collect(),
            Self::AwsSigv4 { .. } => aws::HEADERS.to_vec(),
            Self::Mtls(mtls) => mtls.beside.as_ref().map(Self::headers).unwrap_or_default(),
        }
    }

    /// The members of the query that carry the credential: nothing else may be called so.
    pub fn members(&self) -> Vec<&str> {
        match self {
            Self::Query { name } => vec![name],
            Self::Hmac(scheme) => scheme.query.iter().map(|(name, _)| name.as_str()).collect(),
            Self::Mtls(mtls) => mtls.beside.as_ref().map(Self::members).unwrap_or_default(),
            Self::Bearer
            | Self::Basic { .. }
            | Self::Header { .. }
            | Self::Oauth2(_)
            | Self::AwsSigv4 { .. } => Vec::new(),
        }
    }

    /// How a connection's secret is sent: as its service says, with the connection's own user name where the service
    /// states none. `None` where the two don't fit (the connection has no user name either).
    #[must_use]
    pub fn for_connection(&self, own: &Self) -> Option<Self> {
        match (self, own) {
            (Self::Basic { username: None }, Self::Basic { username: Some(_) }) => Some(own.clone()),
            (Self::Basic { username: None }, _) => None,
            _ => Some(self.clone()),
        }
    }

    /// Whether the secret is sent as it is, and so is one text.
    #[must_use]
    pub const fn sends_one_text(&self) -> bool {
        matches!(self, Self::Bearer | Self::Basic { .. } | Self::Query { .. } | Self::Header { .. })
    }

    /// Whether a text can be the user name of [`Auth::Basic`]: at most 255 visible ASCII characters or spaces, and no
    /// colon (RFC 7617 §2).
    pub fn is_username(text: &str) -> bool {
        text.len() <= 255
            && text.bytes().all(|byte| (byte.is_ascii_graphic() || byte == b' ') && byte != b':')
    }
}
