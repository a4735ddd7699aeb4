//! Assertions that the key of a connection signs, and for which an authorization server gives access tokens (RFC 7523 §2.1).
//!
//! Here is what is signed; who has the key signs it ([`Assertion::signed`]), in the way that the key is for.
//!
//! Invariant: pure. An assertion is for one server and for minutes, and has an id that no other has.

use super::{Kept, OAuth};
use crate::{secret::Secret, time::Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The grant that it stands for.
pub(super) const GRANT: &[u8] = b"urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long it is good: servers take an hour at most, some ten minutes, and nobody needs that.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long before it was made it counts already: a server whose clock is behind would not take it else.
const EARLY: Duration = Duration::from_secs(30);
/// The largest key, in bytes.
const MAX_KEY: usize = 16 * 1024;
/// The longest id of a key, and subject.
const MAX_NAME: usize = 512;

/// In which way a key signs (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// What assertions of a connection are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// A private key in PEM: RSA, or EC on P-256.
    pub key: Secret,
    /// How the server calls it.
    pub key_id: Option<String>,
    /// For whom a token is wanted, where that is not the client itself.
    pub subject: Option<String>,
}

impl Signing {
    /// Whether these can be what they are said to be. Whether the key is one is for who signs with it.
    pub(super) fn is_plausible(&self) -> bool {
        let name = |text: &Option<String>| {
            text.as_ref().is_none_or(|text| {
                (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
            })
        };
        let pem = self.key.expose_str().is_some_and(|text| text.contains("-----BEGIN "));
        pem && self.key.expose().len() <= MAX_KEY && name(&self.key_id) && name(&self.subject)
    }
}

/// An assertion that is not signed yet.
#[derive(Debug)]
pub struct Assertion(String);

impl Assertion {
    /// The one that `kept` shows to `server`, made at `now` with this id; none where it has no key, or the server takes none.
    pub fn of(server: &OAuth, kept: &Kept, algorithm: Algorithm, now: Timestamp, id: &str) -> Option<Self> {
        let signing = kept.signing.as_ref().filter(|_| server.takes_assertions())?;
        let mut header = Map::new();
        header.insert("alg".into(), algorithm.as_str().into());
        header.insert("typ".into(), "JWT".into());
        if let Some(id) = &signing.key_id {
            header.insert("kid".into(), id.as_str().into());
        }
        let mut claims = Map::new();
        claims.insert("iss".into(), kept.client_id.as_str().into());
        // Where the address says for whom the token is, the assertion is about who has signed, and nobody else.
        if !server.names_subject() {
            let subject = signing.subject.as_ref().unwrap_or(&kept.client_id);
            claims.insert("sub".into(), subject.as_str().into());
        }
        if let Some(audience) = &server.assertion_audience {
            claims.insert("aud".into(), audience.as_str().into());
        }
        let from = now.minus(EARLY);
        claims.insert("iat".into(), json!(from.as_seconds()));
        claims.insert("exp".into(), json!(from.plus(LIFETIME).as_seconds()));
        claims.insert("jti".into(), id.into());
        // Some servers read it here and not beside the assertion.
        if !server.scope.is_empty() {
            claims.insert("scope".into(), server.scope.join(" ").into());
        }
        let part = |of: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(of).to_string());
        Some(Self(format!("{}.{}", part(header), part(claims))))
    }

    /// What is signed.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// With its signature.
    pub fn signed(self, signature: &[u8]) -> Secret {
        Secret::new(format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(signature)))
    }
}
