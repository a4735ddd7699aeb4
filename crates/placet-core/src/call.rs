//! The one form in which every door hands a request to the upstream side: what is matched is what is sent.
//!
//! An [`UpstreamCall`] is rendered from a described action by [`crate::service`] and sent as it is by the gateway;
//! nothing in between edits it except that the gateway adds the credential.
//!
//! Invariant: a call holds no credential and no header that an agent chose.

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

    /// Whether parameters that the path does not use travel in the query instead of a JSON body.
    pub const fn parameters_in_query(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Delete)
    }
}

/// A request to an upstream, complete but for the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCall {
    /// The method.
    pub method: Method,
    /// Scheme, host and port, as the service's `base_url` says: `https://api.example.com`.
    pub origin: String,
    /// Path and query, encoded, beginning with `/`.
    pub target: String,
    /// The JSON body, if the method carries one.
    pub body: Option<Vec<u8>>,
}

/// How a service takes its credential (`auth` in the service's definition).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer SECRET` (RFC 6750 §2.1).
    Bearer,
    /// The secret as the value of the named header.
    Header {
        /// The header's name, lower case.
        name: String,
    },
}
