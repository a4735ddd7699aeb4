//! `/v1/identity-providers`: OpenID providers that people sign in with, and whom each means by its subjects.
//!
//! Invariant: an administrator declares a provider, and says who a subject is, in person and with a fresh proof. The
//! administrator token does neither: whoever reads a file would sign in as anybody. It takes away, as it revokes. Removing a
//! provider ends the sessions that began with it, in the same transaction.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    people::{
        proof,
        provider::{self, Link},
    },
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    federation::Glob,
    id::{ProviderId, UserId},
    provider::{ClientAuth, Document, SecondFactor, is_subject},
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    time::Timestamp,
};
use placet_store::{
    PreparedEntry, Query,
    providers::{self, Provider},
    sessions, users,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The longest secret, in bytes.
const MAX_SECRET: usize = 4096;

/// A provider to declare. Beside it stands what [`Document`] has, and the proof of who declares it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    handle: String,
    issuer: String,
    client_id: String,
    client_secret: String,
    name: Option<String>,
    auth: Option<ClientAuth>,
    algorithms: Option<Vec<String>>,
    #[serde(default)]
    scope: Vec<String>,
    #[serde(default)]
    claims: BTreeMap<String, Glob>,
    second_factor: Option<SecondFactor>,
    password: String,
    totp: Option<String>,
}

/// Another secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSecret {
    client_secret: String,
    password: String,
    totp: Option<String>,
}

/// Who a subject is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Linked {
    subject: String,
    /// Nobody is said, not left out: a link is not taken away by a member that was forgotten.
    #[serde(deserialize_with = "Option::deserialize")]
    user: Option<String>,
    password: Option<String>,
    totp: Option<String>,
}

/// `POST /v1/identity-providers`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<New>,
) -> Answer<Response> {
    let administrator = caller.administrator()?;
    let secret = checked(new.client_secret)?;
    let mut document = Document {
        name: new.name.unwrap_or_else(|| new.handle.clone()),
        handle: new.handle,
        issuer: new.issuer,
        client_id: new.client_id,
        auth: new.auth.unwrap_or(ClientAuth::ClientSecretBasic),
        algorithms: new
            .algorithms
            .unwrap_or_else(|| placet_core::jose::Algorithm::ALL.map(|one| one.as_str().to_owned()).to_vec()),
        scope: new.scope,
        claims: new.claims,
        second_factor: new.second_factor,
    };
    document.check().map_err(|error| invalid(error.to_string()))?;
    if app.is_own_url(&document.issuer) {
        return Err(invalid("this server is no identity provider for its own people"));
    }
    let proven = proof::again(&app, administrator, new.password, new.totp.as_deref(), source).await?;
    let now = app.clock.now();
    // Asked now, so that a wrong issuer is found by who writes it and not by who signs in.
    let published = app.providers.configuration(&document, now).await;
    let published = published.map_err(|error| invalid(format!("`issuer`: {error}")))?;
    if new.auth.is_none() {
        document.auth = published.usual_auth().ok_or_else(|| {
            invalid("the provider takes neither `client_secret_basic` nor `client_secret_post`, which is all that can be shown to it")
        })?;
    }
    let by = caller.by();
    let id: ProviderId = clock::fresh(now);
    let sealed = provider::sealed(&app, id, 1, &secret)?;
    let made = Provider { id, document, made_by: by.clone(), created: now, generation: 1, sealed };
    let told = shown(&app, &made)?;
    let entry = entry(&app, EntryType::ProviderAdded, &told, by, source)?;
    provider::declare(&app, proven, made, entry, source).await?;
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

/// `GET /v1/identity-providers?after=&limit=`, oldest first
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<ProviderId>, usize) = (query.parsed("after")?, query.limit()?);
    let found = app.store.read(move |q| providers::list(q, after, limit)).await?;
    let next = if found.len() == limit { found.last().map(|one| one.id) } else { None };
    let summary = |one: &Provider| {
        let Document { handle, name, issuer, .. } = &one.document;
        json!({"id": one.id, "handle": handle, "name": name, "issuer": issuer, "created": one.created})
    };
    let found: Vec<Value> = found.iter().map(summary).collect();
    Ok(Json(json!({"identity_providers": found, "next": next})))
}

/// `GET /v1/identity-providers/{id}`, by id or handle
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let found = app.store.read(move |q| live(q, &id)).await?;
    Ok(Json(shown(&app, &found)?))
}

/// `POST /v1/identity-providers/{id}/secret {client_secret}`
pub(crate) async fn secret(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(new): JsonBody<NewSecret>,
) -> Answer<StatusCode> {
    let administrator = caller.administrator()?;
    let secret = checked(new.client_secret)?;
    let found = app.store.read(move |q| live(q, &id)).await?;
    let proven = proof::again(&app, administrator, new.password, new.totp.as_deref(), source).await?;
    let body = json!({"id": found.id, "handle": found.document.handle});
    let entry = entry(&app, EntryType::ProviderChanged, &body, caller.by(), source)?;
    provider::change_secret(&app, proven, &found, &secret, entry, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/identity-providers/{id}/subjects?after=&limit=`
pub(crate) async fn subjects(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<String>, usize) = (query.parsed("after")?, query.limit()?);
    let after = after.unwrap_or_default();
    let found = app
        .store
        .read(move |q| {
            let provider = live(q, &id)?;
            Ok::<_, Problem>(providers::subjects(q, provider.id, &after, limit)?)
        })
        .await?;
    let next = if found.len() == limit { found.last().map(|(subject, ..)| subject.clone()) } else { None };
    let shown = |(subject, user, created): &(String, UserId, Timestamp)| json!({"subject": subject, "user": user, "created": created});
    Ok(Json(json!({"subjects": found.iter().map(shown).collect::<Vec<_>>(), "next": next})))
}

/// `POST /v1/identity-providers/{id}/subjects {subject, user}`: who a subject is; nobody where `user` is null
pub(crate) async fn link(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(linked): JsonBody<Linked>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let Linked { subject, user, password, totp } = linked;
    if !is_subject(&subject) {
        return Err(invalid("`subject` has 1 to 255 ASCII characters"));
    }
    let (wanted, asked) = (user.clone(), subject.clone());
    let (provider, user, known) = app
        .store
        .read(move |q| {
            let provider = live(q, &id)?;
            let user = wanted.as_deref().map(|name| named_user(q, name)).transpose()?;
            let known = providers::user(q, provider.id, &asked)?;
            Ok::<_, Problem>((provider, user, known))
        })
        .await?;
    let told = json!({"id": provider.id, "subject": subject, "user": user});
    let provider = provider.id;
    match user {
        Some(user) => {
            let administrator = caller.administrator()?;
            let password = password.ok_or_else(|| invalid("`password` is missing: your own, once more"))?;
            let proven = proof::again(&app, administrator, password, totp.as_deref(), source).await?;
            provider::link(&app, proven, Link { provider, subject, user }, source).await?;
        }
        None => {
            let none = || Problem::of(Code::NotFound, "the subject is linked to nobody");
            let link = Link { provider, subject, user: known.ok_or_else(none)? };
            provider::unlink(&app, link, caller.by(), None, source).await?;
        }
    }
    Ok(Json(told))
}

/// `DELETE /v1/identity-providers/{id}`: nobody signs in with it any more, and who did is signed out
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let (inner, by, now) = (Arc::clone(&app), caller.by(), app.clock.now());
    let told = app
        .store
        .write(move |tx| {
            let found = live(tx, &id)?;
            if !providers::end(tx, found.id, now)? {
                return Err(provider::gone());
            }
            let ended = sessions::end_of_provider(tx, found.id, now)?;
            let body = json!({"id": found.id, "handle": found.document.handle,
                "issuer": found.document.issuer, "ended_sessions": ended});
            tx.record(entry(&inner, EntryType::ProviderRemoved, &body, by.clone(), source)?)?;
            Ok::<_, Problem>(json!({"id": found.id, "ended_sessions": ended}))
        })
        .await?;
    Ok(Json(told))
}

fn checked(secret: String) -> Result<Secret, Problem> {
    if (1..=MAX_SECRET).contains(&secret.len()) {
        return Ok(Secret::new(secret));
    }
    Err(invalid("`client_secret` has 1 to 4096 bytes"))
}

/// The live one of this id or handle.
fn live(q: &mut impl Query, name: &str) -> Result<Provider, Problem> {
    let found = match name.parse::<ProviderId>() {
        Ok(id) => providers::find(q, id)?,
        Err(_) => providers::by_handle(q, name)?,
    };
    found.ok_or_else(provider::gone)
}

fn named_user(q: &mut impl Query, name: &str) -> Result<UserId, Problem> {
    let unknown = || invalid(format!("there is no user `{}`", name.escape_debug()));
    users::named(q, name)?.map(|user| user.id).ok_or_else(unknown)
}

/// All that was declared, and where people come back to.
fn shown(app: &App, one: &Provider) -> Result<Value, Problem> {
    let document = serde_json::to_value(&one.document);
    let document = document.map_err(|_| Problem::of(Code::Internal, "the provider can't be written"))?;
    let mut shown = Map::new();
    shown.insert("id".into(), json!(one.id));
    shown.extend(document.as_object().cloned().unwrap_or_default());
    shown.insert("redirect_uri".into(), provider::redirect_uri(app, &one.document.handle).into());
    shown.insert("created".into(), json!(one.created));
    Ok(Value::Object(shown))
}

fn entry(
    app: &App,
    entry_type: EntryType,
    body: &Value,
    by: String,
    source: Source,
) -> Result<PreparedEntry, Problem> {
    let envelope =
        Envelope { source: recording::source(source.0), ..recording::by(entry_type, app.clock.now(), by) };
    app.prepare(envelope, Some(body))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
