//! Client authentication at the OAuth endpoints: `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1).
//!
//! Unknown clients, inactive ones and wrong secrets are refused in the same words and the same time.
//!
//! Invariant: exactly one method per request.

use crate::{app::App, bearer, body::OAuthParams, problem::OAuthError};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    agent::{Agent, AgentState},
    chain::Chain,
    id::AgentId,
    secret::{KeyedHash, Secret},
};
use quick_cache::sync::Cache;
use std::{fmt, sync::Arc};

/// The purpose under which client secrets are hashed.
pub const CLIENT_SECRET: &str = "client_secret";

/// An agent that can authenticate, with the chain of its registration.
#[derive(Debug)]
pub struct Client {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its registration grant, alive.
    pub registration: Chain,
    secret: KeyedHash,
    generation: u64,
}

/// Clients that were looked up, by id.
pub struct Clients(Cache<AgentId, Arc<Client>>);

impl Default for Clients {
    fn default() -> Self {
        Self(Cache::new(16_384))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({})", self.0.len())
    }
}

/// The client that a request authenticates as.
///
/// # Errors
/// 401 `invalid_client`, or `invalid_request` where it authenticates twice.
pub async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    params: &OAuthParams,
) -> Result<Arc<Client>, OAuthError> {
    verify(app, &presented(headers, params)?).await
}

/// The id and secret that came with a request, of whatever kind.
#[derive(Debug)]
pub struct Presented {
    /// The `client_id`.
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

/// What a request authenticates with.
///
/// # Errors
/// 401 `invalid_client` where there is nothing, or `invalid_request` where it authenticates twice.
pub fn presented(headers: &HeaderMap, params: &OAuthParams) -> Result<Presented, OAuthError> {
    let basic = basic_credentials(headers)?;
    let posted = match (params.text("client_id")?, params.text("client_secret")?) {
        (Some(id), Some(secret)) => Some((id.to_owned(), Secret::new(secret))),
        (None, Some(_)) => {
            return Err(OAuthError::new("invalid_request", "`client_secret` comes with `client_id`"));
        }
        (_, None) => None,
    };
    let (id, secret) = match (basic, posted) {
        (Some(_), Some(_)) => {
            return Err(OAuthError::new(
                "invalid_request",
                "authenticate in the header or in the body, not in both",
            ));
        }
        (Some((id, secret)), None) => {
            if params.text("client_id")?.is_some_and(|named| named != id) {
                return Err(OAuthError::new(
                    "invalid_request",
                    "`client_id` is not the one that authenticates",
                ));
            }
            (id, secret)
        }
        (None, Some(posted)) => posted,
        (None, None) => return Err(OAuthError::invalid_client()),
    };
    Ok(Presented { id, secret })
}

/// The client that these credentials are of.
///
/// # Errors
/// 401 `invalid_client`.
pub async fn verify(app: &App, presented: &Presented) -> Result<Arc<Client>, OAuthError> {
    let Presented { id, secret } = presented;
    let refused = OAuthError::invalid_client;
    let offered = app.secrets.hashing.hash(CLIENT_SECRET, secret.expose());
    let client = find(app, id.parse().map_err(|_| refused())?).await?;
    match client {
        Some(client) if client.secret == offered && client.agent.state == AgentState::Active => Ok(client),
        _ => Err(refused()),
    }
}

/// The client of this id whose registration is alive, as last read under the present generation of authority.
async fn find(app: &App, id: AgentId) -> Result<Option<Arc<Client>>, OAuthError> {
    let generation = app.bearers.generation();
    if let Some(found) = app.clients.0.get(&id)
        && found.generation == generation
    {
        return Ok(Some(found));
    }
    let found = app.store.read(move |q| placet_store::agents::credential(q, id)).await?;
    let Some((agent, secret)) = found else { return Ok(None) };
    if agent.state != AgentState::Active {
        return Ok(None);
    }
    let registration = match bearer::chain(app, agent.registration, app.clock.now()).await {
        Ok(chain) => chain,
        Err(problem) if problem.code().status() == 401 => return Ok(None),
        Err(problem) => return Err(problem.into()),
    };
    let client = Arc::new(Client { agent: Arc::new(agent), registration, secret, generation });
    app.clients.0.insert(id, Arc::clone(&client));
    Ok(Some(client))
}

/// The id and secret of an `Authorization: Basic` header, form-decoded (RFC 6749 §2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, Secret)>, OAuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(OAuthError::new("invalid_request", "send one Authorization header"));
    }
    let Some(encoded) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .map(|(_, encoded)| encoded.trim())
    else {
        return Ok(None);
    };
    let decode = || {
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((form_decoded(id)?, Secret::new(form_decoded(secret)?)))
    };
    decode().map(Some).ok_or_else(OAuthError::invalid_client)
}

fn form_decoded(text: &str) -> Option<String> {
    // As a value of a form, so that `+` and `%2B` mean what they mean there.
    let pair = format!("v={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}
