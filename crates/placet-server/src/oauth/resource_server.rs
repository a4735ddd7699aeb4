//! Authentication of resource servers: `client_secret_basic` and, where there is a form, `client_secret_post`.
//!
//! Invariant: a resource server is no client of the token endpoint; it asks about tokens and gets none.

use super::client::Presented;
use crate::{app::App, problem::OAuthError};
use placet_core::{id::ResourceServerId, secret::KeyedHash};
use placet_store::resource_servers::{self, ResourceServer};
use quick_cache::sync::Cache;
use std::{fmt, sync::Arc};

/// The purpose under which the secrets of resource servers are hashed.
pub const SECRET: &str = "resource_server_secret";

/// Resource servers that were looked up, by id. What was read under an older generation of authority is read anew: their
/// changes raise it, too.
pub struct ResourceServers(Cache<ResourceServerId, Arc<Known>>);

/// A live resource server as it was read.
struct Known {
    server: Arc<ResourceServer>,
    secret: KeyedHash,
    generation: u64,
}

impl Default for ResourceServers {
    fn default() -> Self {
        Self(Cache::new(1024))
    }
}

impl fmt::Debug for ResourceServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceServers({})", self.0.len())
    }
}

/// The live resource server that these credentials are of; `None` where they name no resource server.
///
/// # Errors
/// 401 `invalid_client`, for an unknown one, one that ended, and a wrong secret in the same words.
pub async fn authenticate(
    app: &App,
    presented: &Presented,
) -> Result<Option<Arc<ResourceServer>>, OAuthError> {
    let (id, secret) = match presented {
        Presented::Secret { id, secret } => (id, Some(secret)),
        Presented::Assertion { id, .. } | Presented::Name { id, .. } => (id, None),
    };
    let Ok(id) = id.parse::<ResourceServerId>() else { return Ok(None) };
    // A resource server always authenticates.
    let secret = secret.ok_or_else(OAuthError::invalid_client)?;
    let offered = app.secrets.hashing.hash(SECRET, secret.expose());
    match live(app, id).await? {
        Some(known) if known.secret == offered => Ok(Some(Arc::clone(&known.server))),
        _ => Err(OAuthError::invalid_client()),
    }
}

/// The live one of this id, as last read under the present generation of authority.
async fn live(app: &App, id: ResourceServerId) -> Result<Option<Arc<Known>>, OAuthError> {
    let generation = app.bearers.generation();
    if let Some(found) = app.resource_servers.0.get(&id)
        && found.generation == generation
    {
        return Ok(Some(found));
    }
    let found = app.store.read(move |q| resource_servers::credential(q, id)).await?;
    let Some((server, secret)) = found.filter(|(server, _)| server.ended.is_none()) else { return Ok(None) };
    let known = Arc::new(Known { server: Arc::new(server), secret, generation });
    app.resource_servers.0.insert(id, Arc::clone(&known));
    Ok(Some(known))
}
