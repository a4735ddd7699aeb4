//! `/v1/scopes`: what scopes mean in plain words, which others they stand for, who may delegate them.
//!
//! Invariant: only administrators change them; a change writes nothing out anew: grants keep what they were given.

use super::declared::Change;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use placet_core::{
    record::EntryType,
    refusal::Code,
    scope::registry::{Entry, Registry},
};
use placet_store::{Tx, scopes};
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
    let answer = shown(&name, &entry);
    let put = move |tx: &mut Tx<'_>| {
        let registry = scopes::all(tx)?;
        registry
            .check(&name, &entry)
            .map_err(|error| Problem::of(Code::RequestInvalid, error.to_string()))?;
        scopes::put(tx, &name, &entry)?;
        Ok(registry.get(&name).is_some())
    };
    let change = Change { app: &app, caller: &caller, source };
    change.applied(EntryType::ScopeApplied, answer, put).await
}

/// `DELETE /v1/scopes/{name}`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let change = Change { app: &app, caller: &caller, source };
    change.removed(EntryType::ScopeRemoved, name, scopes::remove, unknown()).await
}

fn shown(name: &str, entry: &Entry) -> Value {
    json!({"name": name, "description": entry.description, "includes": entry.includes, "roles": entry.roles})
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such scope registered")
}
