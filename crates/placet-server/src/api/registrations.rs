//! `/v1/registrations`: clients that registered themselves and wait for a person, and what those may have that somebody
//! confirms.
//!
//! Invariant: only an administrator confirms here, and only an administrator says what confirmed clients may have.

use super::query::QueryParams;
use crate::{
    api::{agents, detail_types},
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    oauth::client::{By, confirm, would_be},
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
    client::Template,
    id::AgentId,
    record::{EntryType, Envelope},
    refusal::Code,
};
use placet_store::{
    Fault,
    clients::Origin,
    registrations::{self, Registration},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /v1/registrations?after=&limit=`, oldest first.
///
/// # Errors
/// `not_permitted`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<AgentId>, usize) = (query.parsed("after")?, query.limit()?);
    let now = app.clock.now();
    let found = app.store.read(move |q| registrations::list(q, after, now, limit)).await?;
    let next = if found.len() == limit { found.last().map(|last| last.id) } else { None };
    let shown: Vec<Value> = found.iter().map(|one| Value::Object(shown(one))).collect();
    Ok(Json(json!({"registrations": shown, "next": next})))
}

/// `POST /v1/registrations/{id}/confirm`: it is an active agent from now on, with what the template says.
///
/// # Errors
/// `not_permitted`, `not_found`.
pub(crate) async fn confirmed(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<Response> {
    caller.must_configure()?;
    let agent: AgentId = id.parse().map_err(|_| unknown(&id))?;
    let now = app.clock.now();
    let read = app
        .store
        .read(move |q| Ok::<_, Fault>((registrations::find(q, agent)?, registrations::template(q)?)));
    let (found, template) = read.await?;
    let found = found.filter(|found| found.expires > now).ok_or_else(|| unknown(&id))?;
    let named = would_be(&app, agent, &id, found.metadata, &template, Origin::Registration, now);
    let (inner, by) = (Arc::clone(&app), By::Administrator(caller.by()));
    let (agent, grant) = app.store.write(move |tx| confirm(&inner, tx, &named, &by, source, now)).await?;
    app.bearers.authority_changed();
    let id = agent.id;
    let client = app.store.read(move |q| placet_store::clients::find(q, id)).await?;
    let shown = agents::shown(&agent, Some(&grant), Some(&client));
    Ok((StatusCode::CREATED, Json(Value::Object(shown))).into_response())
}

/// `DELETE /v1/registrations/{id}`: it is gone, and was never anything.
///
/// # Errors
/// `not_permitted`, `not_found`.
pub(crate) async fn refuse(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    let agent: AgentId = id.parse().map_err(|_| unknown(&id))?;
    let gone = app.store.write(move |tx| registrations::remove(tx, agent)).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&id)) }
}

/// `GET /v1/registration-template`.
///
/// # Errors
/// `not_permitted`.
pub(crate) async fn template(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Value>> {
    caller.must_configure()?;
    Ok(Json(json!(app.store.read(|q| registrations::template(q)).await?)))
}

/// `PUT /v1/registration-template`: what clients may have from now on that nobody registered by hand. Agents that
/// there are keep what they have.
///
/// # Errors
/// `not_permitted`, `request_invalid`.
pub(crate) async fn set_template(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(mut template): JsonBody<Template>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    agents::check_template(&app, &template)?;
    template.authorization_details_types =
        detail_types::known(&app, template.authorization_details_types).await?;
    let (by, now) = (caller.by(), app.clock.now());
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::by(EntryType::RegistrationTemplate, now, by.clone())
    };
    let entry = app.prepare(envelope, Some(&json!(template)))?;
    let stored = template.clone();
    app.store
        .write(move |tx| {
            registrations::set_template(tx, &stored, &by, now)?;
            Ok::<_, Problem>(tx.record(entry.clone())?)
        })
        .await?;
    Ok(Json(json!(template)))
}

fn shown(registration: &Registration) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("client_id".into(), json!(registration.id));
    shown.insert("created".into(), json!(registration.created));
    shown.insert("expires".into(), json!(registration.expires));
    shown.extend(registration.metadata.to_members());
    shown
}

fn unknown(id: &str) -> Problem {
    Problem::of(Code::NotFound, format!("no client waits under the id `{}`", id.escape_debug()))
}
