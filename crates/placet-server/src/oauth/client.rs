//! Client authentication at the OAuth endpoints: `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1),
//! `private_key_jwt` (RFC 7523), `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705), and `none` for public
//! clients, which only name themselves.
//!
//! Unknown clients, inactive ones, wrong secrets and other methods than the registered one are refused in the same
//! words and the same time.
//!
//! Invariant: exactly one method per request, and the one that the client is registered with (of the two with a secret,
//! either will do).

mod assertion;
mod certified;
mod document;
mod named;

pub(crate) use named::would_be;
pub use named::{By, Named, confirm, named};

use crate::{
    app::App, bearer, body::OAuthParams, caller::Source, mtls::ClientCertificate, problem::OAuthError,
};
use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    agent::{Agent, AgentState},
    chain::Chain,
    client::{AuthMethod, GrantType, Metadata, document::is_url},
    id::AgentId,
    jose::KeySet,
    secret::{KeyedHash, Secret},
    time::Timestamp,
};
use placet_store::{client_use, registrations};
use quick_cache::sync::Cache;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// The purpose under which client secrets are hashed.
pub const CLIENT_SECRET: &str = "client_secret";

/// An agent that can authenticate, with the chain of its registration.
#[derive(Debug)]
pub struct Client {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Its registration grant, alive.
    pub registration: Chain,
    /// What it is as a client.
    pub metadata: Arc<Metadata>,
    /// Its `client_id` on the wire: its agent's id, or the URL of its document.
    pub id: String,
    /// Whether it may act for itself, and not only for people.
    pub acts_alone: bool,
    /// The public keys that its metadata has in it.
    keys: Option<KeySet>,
    secret: KeyedHash,
    /// The day on which it was used last, in microseconds; none where that is not noted.
    last_used: Option<AtomicI64>,
    generation: u64,
}

impl From<&Client> for Named {
    fn from(client: &Client) -> Self {
        Self {
            agent: Arc::clone(&client.agent),
            registration: Arc::clone(&client.registration.leaf().grant),
            metadata: Arc::clone(&client.metadata),
            id: client.id.clone(),
            unconfirmed: None,
        }
    }
}

impl Client {
    fn signer(&self) -> assertion::Signer<'_> {
        assertion::Signer {
            id: &self.id,
            agent: self.agent.id,
            keys: self.keys.as_ref(),
            metadata: &self.metadata,
        }
    }

    /// Refuses a grant type that the client is not registered for.
    ///
    /// # Errors
    /// `unauthorized_client` (RFC 6749 §5.2).
    pub fn must_use(&self, grant_type: GrantType) -> Result<(), OAuthError> {
        may_use(&self.metadata, grant_type)
    }

    /// Whether it is to be noted that the client is used, which is once a day.
    pub(super) fn use_is_due(&self, now: Timestamp) -> bool {
        let today = client_use::day(now).as_micros();
        self.last_used.as_ref().is_some_and(|day| day.load(Ordering::Relaxed) < today)
    }

    /// That was noted.
    pub(super) fn use_was_noted(&self, now: Timestamp) {
        if let Some(day) = &self.last_used {
            day.fetch_max(client_use::day(now).as_micros(), Ordering::Relaxed);
        }
    }
}

fn may_use(metadata: &Metadata, grant_type: GrantType) -> Result<(), OAuthError> {
    if metadata.may_use(grant_type) {
        return Ok(());
    }
    let name = grant_type.as_str();
    let description = if metadata.is_public() && !grant_type.is_for_public() {
        format!("`{name}` needs a client that authenticates, and this one is public")
    } else {
        format!("the client is not registered for `{name}`")
    };
    Err(OAuthError::new("unauthorized_client", description))
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

/// The client that a request authenticates as; a public one only names itself.
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

/// What came with a request to say who sends it.
#[derive(Debug)]
pub enum Presented {
    /// An id and a secret, of whatever kind of client or resource server.
    Secret {
        /// The `client_id`.
        id: String,
        /// The secret.
        secret: Secret,
    },
    /// An assertion that is signed with the client's key.
    Assertion {
        /// The `client_id` that it claims.
        id: String,
        /// The JWT.
        text: String,
    },
    /// An id alone, on a connection that may say more.
    Name {
        /// The `client_id`.
        id: String,
        /// The certificate that its sender holds (RFC 8705 §2).
        certificate: Option<ClientCertificate>,
    },
}

/// What a request authenticates with.
///
/// # Errors
/// 401 `invalid_client` where there is nothing, or `invalid_request` where it authenticates twice.
pub fn presented(headers: &HeaderMap, params: &OAuthParams) -> Result<Presented, OAuthError> {
    let named = params.text("client_id")?;
    let (basic, secret) = (basic_credentials(headers)?, params.text("client_secret")?);
    if let Some((id, text)) = assertion::posted(params)? {
        if basic.is_some() || secret.is_some() {
            return Err(OAuthError::new(
                "invalid_request",
                "authenticate with an assertion or a secret, not with both",
            ));
        }
        if named.is_some_and(|named| named != id) {
            return Err(OAuthError::new("invalid_request", "`client_id` is not the one that authenticates"));
        }
        return Ok(Presented::Assertion { id, text });
    }
    match (basic, secret) {
        (Some(_), Some(_)) => {
            Err(OAuthError::new("invalid_request", "authenticate in the header or in the body, not in both"))
        }
        (Some((id, _)), None) if named.is_some_and(|named| named != id) => {
            Err(OAuthError::new("invalid_request", "`client_id` is not the one that authenticates"))
        }
        (Some((id, secret)), None) => Ok(Presented::Secret { id, secret }),
        (None, Some(secret)) => match named {
            Some(id) => Ok(Presented::Secret { id: id.to_owned(), secret: Secret::new(secret) }),
            None => Err(OAuthError::new("invalid_request", "`client_secret` comes with `client_id`")),
        },
        (None, None) => match named {
            Some(id) => Ok(Presented::Name { id: id.to_owned(), certificate: params.certificate().cloned() }),
            None => Err(OAuthError::invalid_client()),
        },
    }
}

/// The client that these credentials are of.
///
/// # Errors
/// 401 `invalid_client`.
pub async fn verify(app: &App, presented: &Presented) -> Result<Arc<Client>, OAuthError> {
    let client = match presented {
        Presented::Secret { id, secret } => {
            let offered = app.secrets.hashing.hash(CLIENT_SECRET, secret.expose());
            known(app, id).await?.filter(|client| {
                client.secret == offered && client.metadata.token_endpoint_auth_method.is_secret()
            })
        }
        Presented::Assertion { id, text } => {
            let signs = |client: &Arc<Client>| {
                client.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt
            };
            let client = known(app, id).await?.filter(signs);
            if let Some(client) = &client {
                assertion::verify(app, client.signer(), text).await?;
            }
            client
        }
        Presented::Name { id, certificate } => match known(app, id).await? {
            Some(client)
                if names_itself(app, &client.metadata, client.keys.as_ref(), certificate).await? =>
            {
                Some(client)
            }
            _ => None,
        },
    };
    client.ok_or_else(OAuthError::invalid_client)
}

/// Whether a client may come with its id and this certificate: a public one with whatever, one that authenticates by it with
/// its own.
async fn names_itself(
    app: &App,
    metadata: &Metadata,
    keys: Option<&KeySet>,
    certificate: &Option<ClientCertificate>,
) -> Result<bool, OAuthError> {
    match certificate {
        Some(certificate) if !metadata.is_public() => {
            certified::is_of(app, metadata, keys, certificate).await
        }
        _ => Ok(metadata.is_public()),
    }
}

/// The client that a request authenticates as, also where it is one that nobody has confirmed yet: for what a person will be
/// asked about, and nothing else. Whoever could be anybody is counted by where it comes from, every other client by itself.
///
/// # Errors
/// As [`authenticate`]; 429 where too many come from there; 503 where a client's document or keys can't be read.
pub(crate) async fn authenticate_to_ask(
    app: &App,
    headers: &HeaderMap,
    params: &OAuthParams,
    source: Source,
) -> Result<Named, OAuthError> {
    let presented = presented(headers, params)?;
    let refused = match verify(app, &presented).await {
        Ok(client) => {
            let now = app.clock.now();
            // Anybody could use up what is one client's that only names itself.
            if client.metadata.is_public() {
                app.rates.public(source, now)?;
            } else {
                app.rates.known(&client.agent.id.to_string(), now)?;
            }
            return Ok(Named::from(&*client));
        }
        Err(refused) if refused.error == "invalid_client" => refused,
        Err(other) => return Err(other),
    };
    let client = unconfirmed(app, &presented, source).await?.ok_or(refused)?;
    if !client.metadata.is_public() {
        app.rates.known(&client.agent.id.to_string(), app.clock.now())?;
    }
    Ok(client)
}

/// The client that waits to be confirmed and that these credentials are of.
async fn unconfirmed(app: &App, presented: &Presented, source: Source) -> Result<Option<Named>, OAuthError> {
    let (Presented::Secret { id, .. } | Presented::Assertion { id, .. } | Presented::Name { id, .. }) =
        presented;
    // Before a document is read for somebody.
    let is_url = is_url(id);
    if is_url {
        app.rates.public(source, app.clock.now())?;
    }
    let Some(client) = named(app, id).await?.filter(|client| client.unconfirmed.is_some()) else {
        return Ok(None);
    };
    if !is_url {
        app.rates.public(source, app.clock.now())?;
    }
    let metadata = &client.metadata;
    let is_it = match presented {
        Presented::Name { certificate, .. } => {
            let keys = metadata.jwks.as_ref().and_then(|set| KeySet::parse(set).ok());
            names_itself(app, metadata, keys.as_ref(), certificate).await?
        }
        Presented::Secret { secret, .. } => {
            let offered = app.secrets.hashing.hash(CLIENT_SECRET, secret.expose());
            let agent = client.agent.id;
            let row = app.store.read(move |q| registrations::find(q, agent)).await?;
            metadata.token_endpoint_auth_method.is_secret() && row.is_some_and(|row| row.secret == offered)
        }
        Presented::Assertion { text, .. } => {
            let signs = metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt;
            if signs {
                let keys = metadata.jwks.as_ref().and_then(|set| KeySet::parse(set).ok());
                let signer = assertion::Signer {
                    id: &client.id,
                    agent: client.agent.id,
                    keys: keys.as_ref(),
                    metadata,
                };
                assertion::verify(app, signer, text).await?;
            }
            signs
        }
    };
    Ok(is_it.then_some(client))
}

/// The active client of this `client_id`, by the one name that it has.
async fn known(app: &App, client_id: &str) -> Result<Option<Arc<Client>>, OAuthError> {
    if is_url(client_id) {
        return document::known(app, client_id).await;
    }
    let Ok(id) = client_id.parse() else { return Ok(None) };
    Ok(find(app, id).await?.filter(|client| client.id == client_id))
}

/// The client after it was seen to have changed.
async fn refreshed(app: &App, id: AgentId) -> Result<Option<Arc<Client>>, OAuthError> {
    app.clients.0.remove(&id);
    find(app, id).await
}

/// The active client of this id whose registration is alive, as last read under the present generation of authority.
pub(super) async fn find(app: &App, id: AgentId) -> Result<Option<Arc<Client>>, OAuthError> {
    let generation = app.bearers.generation();
    if let Some(found) = app.clients.0.get(&id)
        && found.generation == generation
    {
        return Ok(Some(found));
    }
    let found = app.store.read(move |q| placet_store::clients::credential(q, id)).await?;
    let Some((agent, secret, stored)) = found else { return Ok(None) };
    if agent.state != AgentState::Active {
        return Ok(None);
    }
    let registration = match bearer::chain(app, agent.registration, app.clock.now()).await {
        Ok(chain) => chain,
        Err(problem) if problem.code().status() == 401 => return Ok(None),
        Err(problem) => return Err(problem.into()),
    };
    let id_on_the_wire = stored.url.unwrap_or_else(|| agent.id.to_string());
    let metadata = Arc::new(stored.metadata);
    // Keys were checked when they came; a set that can't be read verifies nothing.
    let keys = metadata.jwks.as_ref().and_then(|set| KeySet::parse(set).ok());
    let client = Arc::new(Client {
        agent: Arc::new(agent),
        registration,
        metadata,
        id: id_on_the_wire,
        acts_alone: stored.acts_alone,
        keys,
        secret,
        last_used: stored.last_used.map(|day| AtomicI64::new(day.as_micros())),
        generation,
    });
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
