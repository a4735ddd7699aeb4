//! `/v1/trusted-issuers`: whose assertions about people and workloads count here, and whom they mean.
//!
//! Invariant: only administrators say so; users and agents are named as they are now, and stay those, whoever has their
//! names later. Removing an issuer ends what was given on its word.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    problem::{Answer, Problem},
    recording, revocation,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::AgentState,
    federation::{Document, MAX_USERS, is_subject},
    id::{TrustedIssuerId, UserId},
    jose::KeySet,
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
};
use placet_store::{
    Fault, Query, Tx, agents,
    trusted_issuers::{self, TrustedIssuer},
    users,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `POST /v1/trusted-issuers {issuer, jwks|jwks_uri, algorithms?, id_jag?, workload?}`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(document): JsonBody<Document>,
) -> Answer<Response> {
    caller.must_configure()?;
    document.check().map_err(|error| invalid(error.to_string()))?;
    not_own(&app, &document)?;
    let now = app.clock.now();
    let (inner, by) = (Arc::clone(&app), caller.by());
    let shown = app
        .store
        .write(move |tx| {
            let (document, users) = resolved(tx, &document)?;
            let issuer = TrustedIssuer {
                id: clock::fresh(now),
                document,
                made_by: by.clone(),
                created: now,
                ended: None,
            };
            if !trusted_issuers::insert(tx, &issuer)? {
                return Err(Problem::of(
                    Code::Conflict,
                    format!(
                        "`{}` is trusted already: change whom it means, or remove it first",
                        issuer.document.issuer
                    ),
                ));
            }
            for (subject, user) in &users {
                trusted_issuers::put_user(tx, issuer.id, subject, *user)?;
            }
            let shown = shown(tx, &issuer)?;
            record(&inner, tx, EntryType::IssuerTrusted, &shown, &by, (source, now))?;
            Ok::<_, Problem>(shown)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Value::Object(shown))).into_response())
}

/// `GET /v1/trusted-issuers?after=&limit=`, oldest first
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<TrustedIssuerId>, usize) = (query.parsed("after")?, query.limit()?);
    let found = app.store.read(move |q| trusted_issuers::list(q, after, limit)).await?;
    let next = if found.len() == limit { found.last().map(|issuer| issuer.id) } else { None };
    let issuers: Vec<Value> = found.iter().map(|issuer| Value::Object(summary(issuer))).collect();
    Ok(Json(json!({"trusted_issuers": issuers, "next": next})))
}

/// `GET /v1/trusted-issuers/{id}`, by id or `iss`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let found = app
        .store
        .read(move |q| {
            let issuer = live(q, &id)?;
            Ok::<_, Problem>(shown(q, &issuer)?)
        })
        .await?;
    Ok(Json(Value::Object(found)))
}

/// Whom an issuer means by a subject.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meant {
    subject: String,
    #[serde(default)]
    user: Option<String>,
}

/// `POST /v1/trusted-issuers/{id}/users {subject, user}`: whom it means by a subject; nobody where `user` is null, which
/// can't be said where the subject would then be the name of a user
pub(crate) async fn mean(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(meant): JsonBody<Meant>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    if !is_subject(&meant.subject) {
        return Err(invalid("`subject` has 1 to 1024 bytes without control characters"));
    }
    let (inner, by, now) = (Arc::clone(&app), caller.by(), app.clock.now());
    let told = app
        .store
        .write(move |tx| {
            let issuer = live(tx, &id)?;
            let people = issuer.document.id_jag.as_ref().ok_or_else(|| {
                invalid("the issuer is trusted for workloads only: it means no users (`id_jag`)")
            })?;
            if meant.user.is_none() && people.by_name {
                return Err(Problem::of(
                    Code::Conflict,
                    "people of this issuer are found by name (`by_name`): without an entry a subject means the user of that name, not nobody; name another user, or remove the issuer and add it without `by_name`",
                ));
            }
            let user = meant.user.as_deref().map(|name| named_user(tx, name)).transpose()?;
            match user {
                Some(user) => trusted_issuers::put_user(tx, issuer.id, &meant.subject, user)?,
                None => _ = trusted_issuers::drop_user(tx, issuer.id, &meant.subject)?,
            }
            let told = json!({"id": issuer.id, "issuer": issuer.document.issuer, "subject": meant.subject, "user": user});
            let body = told.as_object().cloned().unwrap_or_default();
            record(&inner, tx, EntryType::IssuerChanged, &body, &by, (source, now))?;
            Ok::<_, Problem>(told)
        })
        .await?;
    Ok(Json(told))
}

/// `DELETE /v1/trusted-issuers/{id}`: its word counts no more, and what was given on it ends
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let issuer = app.store.read(move |q| live(q, &id)).await?;
    // It goes on where whoever asked has gone away: what was given on its word is not left standing half.
    let (inner, by) = (Arc::clone(&app), caller.by());
    let ending = tokio::spawn(async move { revocation::issuer::end(&inner, issuer.id, &by, source).await });
    let ended = ending.await.map_err(|_| Problem::of(Code::Internal, "the removal stopped with a bug"))??;
    Ok(Json(Value::Object(ended.to_json(true))))
}

/// Refuses this server as an issuer for itself: what it signs would become authority once more.
fn not_own(app: &App, document: &Document) -> Result<(), Problem> {
    let refused = || invalid("this server is no issuer of assertions for itself");
    if app.is_own_url(&document.issuer) || document.jwks_uri.as_deref().is_some_and(|uri| app.is_own_url(uri))
    {
        return Err(refused());
    }
    if let Some(Ok(keys)) = document.jwks.as_ref().map(KeySet::parse) {
        let own = KeySet::parse(&app.secrets.tokens.load().jwks());
        let own = own.map_err(|_| Problem::of(Code::Internal, "the server's own keys can't be read"))?;
        let is_known = |key: &placet_core::jose::PublicKey| {
            own.keys().iter().any(|known| known.thumbprint() == key.thumbprint())
        };
        if keys.keys().iter().any(is_known) {
            return Err(refused());
        }
    }
    Ok(())
}

/// The document with ids where it has names, without its users, and those.
fn resolved(tx: &mut Tx<'_>, document: &Document) -> Result<(Document, BTreeMap<String, UserId>), Problem> {
    let mut document = document.clone();
    let mut known = BTreeMap::new();
    if let Some(people) = &mut document.id_jag {
        for (subject, name) in std::mem::take(&mut people.users) {
            let user = named_user(tx, &name)?;
            known.insert(subject, user);
        }
    }
    if let Some(workloads) = &mut document.workload {
        for rule in &mut workloads.agents {
            let agent =
                agents::named(tx, &rule.agent)?.filter(|agent| agent.state != AgentState::Ended).ok_or_else(
                    || invalid(format!("`workload`: there is no agent `{}`", rule.agent.escape_debug())),
                )?;
            rule.agent = agent.id.to_string();
        }
    }
    Ok((document, known))
}

fn named_user(q: &mut impl Query, name: &str) -> Result<UserId, Problem> {
    users::named(q, name)?.map(|user| user.id).ok_or_else(|| {
        invalid(format!(
            "there is no user `{}`: people are made first (`placet user create`)",
            name.escape_debug()
        ))
    })
}

/// The live one of this id or `iss`.
fn live(q: &mut impl Query, name: &str) -> Result<TrustedIssuer, Problem> {
    let found = match name.parse::<TrustedIssuerId>() {
        Ok(id) => trusted_issuers::find(q, id)?,
        Err(_) => trusted_issuers::by_issuer(q, name)?,
    };
    found.filter(|issuer| issuer.ended.is_none()).ok_or_else(|| {
        Problem::of(Code::NotFound, format!("there is no trusted issuer `{}`", name.escape_debug()))
    })
}

/// What a list says of it.
fn summary(issuer: &TrustedIssuer) -> Map<String, Value> {
    let document = &issuer.document;
    let kinds = [("id_jag", document.id_jag.is_some()), ("workload", document.workload.is_some())];
    let kinds: Vec<&str> = kinds.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect();
    let mut summary = Map::new();
    summary.insert("id".into(), json!(issuer.id));
    summary.insert("issuer".into(), document.issuer.clone().into());
    summary.insert("kinds".into(), json!(kinds));
    summary.insert("created".into(), json!(issuer.created));
    summary
}

/// All of it, with the users whom it means, up to [`MAX_USERS`].
fn shown(q: &mut impl Query, issuer: &TrustedIssuer) -> Result<Map<String, Value>, Fault> {
    let mut shown = summary(issuer);
    let document = serde_json::to_value(&issuer.document).map_err(|_| Fault::Unreadable("a document"))?;
    let users = trusted_issuers::users(q, issuer.id, MAX_USERS)?;
    for (name, mut value) in document.as_object().cloned().unwrap_or_default() {
        if name == "id_jag"
            && let Some(people) = value.as_object_mut()
        {
            let users = users.iter().map(|(subject, user)| (subject.clone(), json!(user)));
            people.insert("users".into(), Value::Object(users.collect()));
        }
        shown.insert(name, value);
    }
    Ok(shown)
}

fn record(
    app: &App,
    tx: &mut Tx<'_>,
    entry_type: EntryType,
    body: &Map<String, Value>,
    by: &str,
    (source, now): (Source, Timestamp),
) -> Result<(), Problem> {
    let envelope =
        Envelope { source: recording::source(source.0), ..recording::by(entry_type, now, by.to_owned()) };
    Ok(tx.record(app.prepare(envelope, Some(&Value::Object(body.clone())))?)?)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
