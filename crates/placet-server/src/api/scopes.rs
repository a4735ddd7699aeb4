//! `/v1/scopes`: what scopes mean in plain words, which others they stand for, who may delegate them.
//!
//! Invariant: only administrators change them; a change writes nothing out anew: grants keep what they were given.

use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
    scope::registry::{Entry, Registry},
};
use placet_store::{Fault, scopes};
use serde_json::{Value, json};
use std::sync::Arc;

/// The registry as it was last read.
#[derive(Debug)]
pub struct Known {
    generation: u64,
    registry: Arc<Registry>,
}

/// The registry, as last read under the present generation of authority.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn registry(app: &App) -> Result<Arc<Registry>, Problem> {
    let generation = app.bearers.generation();
    if let Some(known) = app.scopes.load_full()
        && known.generation == generation
    {
        return Ok(Arc::clone(&known.registry));
    }
    let registry = Arc::new(app.store.read(|q| scopes::all(q)).await?);
    app.scopes.store(Some(Arc::new(Known { generation, registry: Arc::clone(&registry) })));
    Ok(registry)
}

/// `GET /v1/scopes`: for whoever may call at all; what they mean is no secret.
pub(crate) async fn list(State(app): State<Arc<App>>, _: Caller) -> Answer<Json<Value>> {
    let registry = app.store.read(|q| scopes::all(q)).await?;
    let listed: Vec<Value> = registry.entries().map(|(name, entry)| shown(name, entry)).collect();
    Ok(Json(json!({"scopes": listed})))
}

/// `GET /v1/scopes/{name}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let registry = app.store.read(|q| scopes::all(q)).await?;
    registry.get(&name).map(|entry| Json(shown(&name, entry))).ok_or_else(unknown)
}

/// `PUT /v1/scopes/{name} {description, includes?, roles?}`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(entry): JsonBody<Entry>,
) -> Answer<Response> {
    caller.must_configure()?;
    let now = app.clock.now();
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::by(EntryType::ScopeApplied, now, caller.by())
    };
    let answer = shown(&name, &entry);
    let prepared = app.prepare(envelope, Some(&answer))?;
    let replaced = app
        .store
        .write(move |tx| {
            let registry = scopes::all(tx)?;
            registry
                .check(&name, &entry)
                .map_err(|error| Problem::of(Code::RequestInvalid, error.to_string()))?;
            scopes::put(tx, &name, &entry)?;
            tx.record(prepared.clone())?;
            Ok::<_, Problem>(registry.get(&name).is_some())
        })
        .await?;
    app.bearers.authority_changed();
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(answer)).into_response())
}

/// `DELETE /v1/scopes/{name}`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    let now = app.clock.now();
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::by(EntryType::ScopeRemoved, now, caller.by())
    };
    let prepared = app.prepare(envelope, Some(&json!({"name": name})))?;
    let removed = app
        .store
        .write(move |tx| {
            let removed = scopes::remove(tx, &name)?;
            if removed {
                tx.record(prepared.clone())?;
            }
            Ok::<_, Fault>(removed)
        })
        .await?;
    app.bearers.authority_changed();
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(unknown()) }
}

fn shown(name: &str, entry: &Entry) -> Value {
    json!({"name": name, "description": entry.description, "includes": entry.includes, "roles": entry.roles})
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such scope registered")
}
