//! Authentication of resource servers: `client_secret_basic` and, where there is a form, `client_secret_post`.
//!
//! Invariant: a resource server is no client of the token endpoint; it asks about tokens and gets none.

use super::client::Presented;
use crate::{app::App, problem::OAuthError};
use placet_core::id::ResourceServerId;
use placet_store::resource_servers::{self, ResourceServer};

/// The purpose under which the secrets of resource servers are hashed.
pub const SECRET: &str = "resource_server_secret";

/// The live resource server that these credentials are of; `None` where they name no resource server.
///
/// # Errors
/// 401 `invalid_client`, for an unknown one, one that ended, and a wrong secret in the same words.
pub async fn authenticate(app: &App, presented: &Presented) -> Result<Option<ResourceServer>, OAuthError> {
    let (id, secret) = match presented {
        Presented::Secret { id, secret } => (id, Some(secret)),
        Presented::Assertion { id, .. } | Presented::Name { id } => (id, None),
    };
    let Ok(id) = id.parse::<ResourceServerId>() else { return Ok(None) };
    // A resource server always authenticates.
    let secret = secret.ok_or_else(OAuthError::invalid_client)?;
    let offered = app.secrets.hashing.hash(SECRET, secret.expose());
    let found = app.store.read(move |q| resource_servers::credential(q, id)).await?;
    match found {
        Some((server, secret)) if secret == offered && server.ended.is_none() => Ok(Some(server)),
        _ => Err(OAuthError::invalid_client()),
    }
}
