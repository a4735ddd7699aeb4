//! `POST /oauth/register` (RFC 7591): a client introduces itself. `…/{client_id}` (RFC 7592): it reads, changes or takes
//! back what it said.
//!
//! Anybody can come; nobody has anything by it. A registration is no agent: it has no authority, can't get a token, and
//! goes after a day. It becomes an agent when a person confirms it, by consenting at the authorization endpoint or as
//! an administrator, and then has what an administrator's template says.
//!
//! Invariant: nothing that a client sends here is authority, and so many come from one address in an hour and so many
//! wait at once as is bounded here, on all nodes together.

use super::client::CLIENT_SECRET;
use crate::{
    api::agents::client::date,
    app::App,
    body::JsonBody,
    caller::Source,
    clock,
    mtls::MutualTls,
    problem::{OAuthError, Problem},
    rates, recording,
    revocation::{self, Ending, What},
    sender::{Credential, Scheme},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::AgentState,
    client::{Author, Metadata, MetadataError},
    id::AgentId,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::{KeyedHash, Secret},
    time::Timestamp,
};
use placet_store::{
    Fault, Tx, client_use,
    clients::{self, Origin},
    registrations::{self, Registration},
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// How long a registration waits to be confirmed.
pub const WAITS: Duration = Duration::from_secs(24 * 3600);
/// How many come from one address in an hour.
pub const AN_HOUR: u64 = 20;
/// How many wait at once.
const WAITING: usize = 10_000;
/// The purpose under which registration access tokens are hashed.
const ACCESS: &str = "registration_access_token";

/// Where clients register themselves.
pub(crate) fn endpoint(app: &App) -> String {
    format!("{}/oauth/register", app.issuer)
}

/// `POST /oauth/register`.
///
/// # Errors
/// RFC 7591 §3.2.2; 403 `access_denied` where an administrator has closed it; 429 where too many come.
pub async fn create(
    State(app): State<Arc<App>>,
    source: Source,
    body: Result<JsonBody<Map<String, Value>>, Problem>,
) -> Result<Response, OAuthError> {
    let members = sent(body)?;
    app.operations.space.may_begin()?;
    if !app.store.read(|q| registrations::template(q)).await?.open {
        return Err(OAuthError {
            status: StatusCode::FORBIDDEN,
            ..OAuthError::new(
                "access_denied",
                "clients don't register themselves here; an administrator does",
            )
        });
    }
    let metadata = read(&app, &members)?;
    let now = app.clock.now();
    let secret = Secret::generated("pcs_", clock::entropy());
    let access = Secret::generated("pra_", clock::entropy());
    let hashing = &app.secrets.hashing;
    let new = Registration {
        id: clock::fresh(now),
        secret: hashing.hash(CLIENT_SECRET, secret.expose()),
        registration_token: hashing.hash(crate::api::agents::REGISTRATION_TOKEN, &clock::entropy::<32>()),
        access_token: hashing.hash(ACCESS, access.expose()),
        created: now,
        expires: now.plus(WAITS),
        metadata,
    };
    let mut answer = described(&app, new.id, now, &new.metadata);
    answer.extend(lasting(&app, Some(new.expires), None));
    tell(&mut answer, "registration_access_token", &access)?;
    if new.metadata.token_endpoint_auth_method.is_secret() {
        tell(&mut answer, "client_secret", &secret)?;
    }
    let from = rates::networks(source).0.to_string();
    let written = app.store.write(move |tx| {
        // What is refused writes nothing.
        if registrations::made(tx, &from, now)? >= AN_HOUR {
            return Ok(Err("too many clients have registered from this address within the hour"));
        }
        if registrations::count(tx, WAITING)? >= WAITING as u64 {
            return Ok(Err("too many clients wait to be confirmed"));
        }
        registrations::note(tx, &from, now)?;
        registrations::insert(tx, &new)?;
        Ok::<_, Fault>(Ok(()))
    });
    if let Err(what) = written.await? {
        let refused = OAuthError::new("temporarily_unavailable", what);
        return Err(OAuthError { status: StatusCode::TOO_MANY_REQUESTS, ..refused });
    }
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// `GET /oauth/register/{client_id}` (RFC 7592 §2.1).
///
/// # Errors
/// 401 `invalid_token` for a wrong token and for a client that is gone, alike.
pub async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, OAuthError> {
    let (id, offered) = presented(&app, &id, &headers)?;
    let now = app.clock.now();
    let found = app.store.read(move |q| own(q, id, offered, now)).await?.ok_or_else(wrong_token)?;
    let mut shown = described(&app, id, found.created(), found.metadata());
    shown.extend(found.lasting(&app));
    Ok(answer(shown))
}

/// `PUT /oauth/register/{client_id}` (RFC 7592 §2.2): replaces all that the client said.
///
/// # Errors
/// As [`show`]; RFC 7591 §3.2.2.
pub async fn replace(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    source: Source,
    headers: HeaderMap,
    body: Result<JsonBody<Map<String, Value>>, Problem>,
) -> Result<Response, OAuthError> {
    let (id, offered) = presented(&app, &id, &headers)?;
    let members = sent(body)?;
    if members.get("client_id").and_then(Value::as_str) != Some(&id.to_string()) {
        return Err(OAuthError::new("invalid_client_metadata", "`client_id` is the client's own"));
    }
    for not in [
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ] {
        if members.contains_key(not) {
            return Err(OAuthError::new("invalid_client_metadata", format!("leave `{not}` out")));
        }
    }
    let metadata = read(&app, &members)?;
    let claimed = match members.get("client_secret") {
        None => None,
        Some(Value::String(secret)) => Some(app.secrets.hashing.hash(CLIENT_SECRET, secret.as_bytes())),
        Some(_) => return Err(OAuthError::new("invalid_client_metadata", "`client_secret` is text")),
    };
    let secret = Secret::generated("pcs_", clock::entropy());
    let hashed = app.secrets.hashing.hash(CLIENT_SECRET, secret.expose());
    let (inner, new, now) = (Arc::clone(&app), metadata.clone(), app.clock.now());
    let written = app.store.write(move |tx| {
        let Some(found) = own(tx, id, offered, now)? else { return Ok(None) };
        if claimed.is_some_and(|claimed| claimed != found.secret()) {
            return Ok(Some(Err(())));
        }
        let is_secret = |metadata: &Metadata| metadata.token_endpoint_auth_method.is_secret();
        let renewed = is_secret(&new) && !is_secret(found.metadata());
        match &found {
            Own::Waiting(row) => {
                registrations::update(tx, id, if renewed { hashed } else { row.secret }, &new)?;
            }
            Own::Confirmed { .. } => {
                clients::put(tx, id, &new)?;
                if renewed {
                    clients::set_secret(tx, id, hashed)?;
                }
                record_change(&inner, tx, id, &new, source, now)?;
            }
        }
        Ok::<_, Problem>(Some(Ok((renewed, found))))
    });
    let (renewed, found) = match written.await? {
        None => return Err(wrong_token()),
        Some(Err(())) => {
            return Err(OAuthError::new(
                "invalid_client_metadata",
                "`client_secret` is not the client's own",
            ));
        }
        Some(Ok(written)) => written,
    };
    app.bearers.authority_changed();
    let mut shown = described(&app, id, found.created(), &metadata);
    shown.extend(found.lasting(&app));
    if renewed {
        tell(&mut shown, "client_secret", &secret)?;
    }
    Ok(answer(shown))
}

/// `DELETE /oauth/register/{client_id}` (RFC 7592 §2.3): the client is gone, with all that it holds.
///
/// # Errors
/// As [`show`].
pub async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    source: Source,
    headers: HeaderMap,
) -> Result<StatusCode, OAuthError> {
    let (id, offered) = presented(&app, &id, &headers)?;
    let now = app.clock.now();
    let found = app.store.write(move |tx| {
        let found = own(tx, id, offered, now)?;
        if let Some(Own::Waiting(_)) = &found {
            registrations::remove(tx, id)?;
        }
        Ok::<_, Fault>(found)
    });
    if let Own::Confirmed { .. } = found.await?.ok_or_else(wrong_token)? {
        let ending = Ending {
            what: What::Agent(id),
            by: id.to_string(),
            reason: Some("the client took its registration back".to_owned()),
            affected_task_chain: None,
            source,
        };
        revocation::end(&app, ending).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A client that changes what it said.
enum Own {
    Waiting(Registration),
    Confirmed { metadata: Metadata, secret: KeyedHash, created: Timestamp, last_used: Option<Timestamp> },
}

impl Own {
    fn metadata(&self) -> &Metadata {
        match self {
            Self::Waiting(row) => &row.metadata,
            Self::Confirmed { metadata, .. } => metadata,
        }
    }

    fn secret(&self) -> KeyedHash {
        match self {
            Self::Waiting(row) => row.secret,
            Self::Confirmed { secret, .. } => *secret,
        }
    }

    fn created(&self) -> Timestamp {
        match self {
            Self::Waiting(row) => row.created,
            Self::Confirmed { created, .. } => *created,
        }
    }

    /// What it is told about how long it lasts.
    fn lasting(&self, app: &App) -> Map<String, Value> {
        match self {
            Self::Waiting(row) => lasting(app, Some(row.expires), None),
            Self::Confirmed { last_used, .. } => lasting(app, None, *last_used),
        }
    }
}

/// The client whose token was offered; `None` for a wrong token and for one that is gone.
fn own(
    q: &mut impl placet_store::Query,
    id: AgentId,
    offered: KeyedHash,
    now: Timestamp,
) -> Result<Option<Own>, Fault> {
    if let Some(row) = registrations::find(q, id)? {
        return Ok((row.access_token == offered && row.expires > now).then_some(Own::Waiting(row)));
    }
    if clients::access_token(q, id)? != Some(offered) {
        return Ok(None);
    }
    let found = clients::credential(q, id)?;
    Ok(found
        .filter(|(agent, _, client)| {
            client.origin == Origin::Registration && agent.state != AgentState::Ended
        })
        .map(|(agent, secret, client)| Own::Confirmed {
            metadata: client.metadata,
            secret,
            created: agent.created,
            last_used: client.last_used,
        }))
}

fn record_change(
    app: &App,
    tx: &mut Tx<'_>,
    id: AgentId,
    metadata: &Metadata,
    source: Source,
    now: Timestamp,
) -> Result<(), Problem> {
    let envelope = Envelope {
        agent: Some(id),
        source: recording::source(source.0),
        ..recording::by(EntryType::AgentChanged, now, id.to_string())
    };
    Ok(tx.record(app.prepare(envelope, Some(&Value::Object(metadata.to_members())))?)?)
}

/// What was sent, or why it can't be read, in the words of RFC 7591.
fn sent(body: Result<JsonBody<Map<String, Value>>, Problem>) -> Result<Map<String, Value>, OAuthError> {
    body.map(|JsonBody(members)| members).map_err(|problem| {
        let status = StatusCode::from_u16(problem.code().status()).unwrap_or(StatusCode::BAD_REQUEST);
        OAuthError { status, ..OAuthError::new("invalid_client_metadata", problem.detail()) }
    })
}

fn presented(app: &App, id: &str, headers: &HeaderMap) -> Result<(AgentId, KeyedHash), OAuthError> {
    let credential = Credential::of(headers).ok().flatten().filter(|sent| sent.scheme == Scheme::Bearer);
    let token = credential.ok_or_else(wrong_token)?.token;
    let id = id.parse().map_err(|_| wrong_token())?;
    Ok((id, app.secrets.hashing.hash(ACCESS, token.as_bytes())))
}

/// RFC 7591 §3.2.1, without what is told once.
fn described(app: &App, id: AgentId, created: Timestamp, metadata: &Metadata) -> Map<String, Value> {
    let mut answer = metadata.to_members();
    answer.insert("client_id".into(), json!(id));
    answer.insert("client_id_issued_at".into(), created.as_seconds().into());
    answer.insert("registration_client_uri".into(), format!("{}/{id}", endpoint(app)).into());
    if metadata.token_endpoint_auth_method.is_secret() {
        // It never does (RFC 7591 §3.2.1).
        answer.insert("client_secret_expires_at".into(), 0.into());
    }
    answer
}

/// When a client ends that waits until then, or that stays unused from now on: in seconds, and 0 where it does not, as for
/// its secret (RFC 7591 §3.2.1).
fn lasting(app: &App, waits: Option<Timestamp>, last_used: Option<Timestamp>) -> Map<String, Value> {
    let mut told = Map::new();
    let day = last_used.filter(|day| day.as_micros() > 0);
    if let Some(day) = day {
        told.insert("client_last_used".into(), date(day).into());
    }
    let unused = || day.zip(app.idle_registrations).and_then(|(day, idle)| client_use::ends(day, idle));
    let end = waits.or_else(unused);
    told.insert("client_expires_at".into(), end.map_or(0, Timestamp::as_seconds).into());
    told
}

fn tell(answer: &mut Map<String, Value>, name: &str, secret: &Secret) -> Result<(), OAuthError> {
    let internal = || Problem::of(Code::Internal, "a secret is not text");
    answer.insert(name.to_owned(), secret.expose_str().ok_or_else(internal)?.into());
    Ok(())
}

fn answer(members: Map<String, Value>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(members)).into_response()
}

/// What a client says of itself, where it could do that here.
fn read(app: &App, members: &Map<String, Value>) -> Result<Metadata, OAuthError> {
    let metadata = Metadata::read(members, Author::Client).map_err(refused)?;
    match MutualTls::refuses(app.mutual_tls.as_ref(), &metadata) {
        Some(what) => Err(OAuthError::new("invalid_client_metadata", what)),
        None => Ok(metadata),
    }
}

fn refused(error: MetadataError) -> OAuthError {
    OAuthError::new(error.oauth(), error.to_string())
}

/// The same for a wrong token, an unknown client and one that is gone (RFC 7592 §2).
fn wrong_token() -> OAuthError {
    let refused =
        OAuthError::new("invalid_token", "the registration access token is wrong, or the client is gone");
    OAuthError { status: StatusCode::UNAUTHORIZED, ..refused }
}
