//! An agent's own key: made here, and signing here that a request comes from that agent (`private_key_jwt`).
//!
//! Invariant: what leaves is the public half, and what was signed.

use crate::{client::Client, exit::Failure, private_key};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{client::assertion, keys::KeyRing};
use placet_server::clock::{Clock, entropy};
use serde_json::Value;
use std::path::Path;

/// Makes a key in a new file, and answers its public half as a JWK set.
///
/// # Errors
/// A sentence, also where there is such a file.
pub(super) fn generate(path: &Path) -> Result<Value, Failure> {
    let ring = KeyRing::new(vec![private_key::generate(path)?]);
    Ok(ring.ok_or_else(|| Failure::unreadable("no key could be made"))?.jwks())
}

/// An assertion for the server's issuer, signed with the key in a file.
///
/// # Errors
/// A sentence.
pub(super) async fn assertion(
    server: &Client,
    path: &Path,
    kid: Option<&str>,
    client_id: &str,
) -> Result<String, Failure> {
    let key = private_key::read(path)?;
    let metadata = server.read("/.well-known/oauth-authorization-server").await?;
    let issuer = metadata.get("issuer").and_then(Value::as_str);
    let issuer = issuer.ok_or_else(|| Failure::unreadable("the server does not say who it is"))?;
    let jti = STANDARD.encode(entropy::<16>());
    assertion::sign(&key, kid, client_id, issuer, &jti, Clock::System.now())
        .map_err(|_| Failure::unreadable("signing failed"))
}
