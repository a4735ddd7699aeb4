//! `/v1/authorization-detail-types`: types of authorization details (RFC 9396) that an administrator declares.
//!
//! Every door that takes `authorization_details` judges them here before it does anything else with them.
//!
//! Invariant: only administrators change types; a change touches no grant: those keep what they were given, and what is
//! asked for anew is judged by the types as they are then. Schemas are compiled once after a change, by the first request
//! that states one, and those alone that have changed.

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
    detail_type::{Declared, DetailType, DetailTypes, MAX_TYPES},
    grant::cover::{AuthorizationDetail, DetailError, PLACET_ACTION},
    record::EntryType,
    refusal::Code,
};
use placet_store::{Tx, detail_types};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a request states, where it does.
type Details = Option<Vec<AuthorizationDetail>>;

/// The types as they were last read.
#[derive(Debug)]
pub struct Known {
    generation: u64,
    version: u64,
    types: Arc<DetailTypes>,
}

/// The types, as last read under the present generation of authority.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn declared(app: &App) -> Result<Arc<DetailTypes>, Problem> {
    let generation = app.bearers.generation();
    let known = app.detail_types.load_full();
    if let Some(known) = known.as_ref().filter(|known| known.generation == generation) {
        return Ok(Arc::clone(&known.types));
    }
    let seen = known.as_ref().map(|known| known.version);
    let (version, changed) = app.store.read(move |q| detail_types::since(q, seen)).await?;
    let before = known.map(|known| Arc::clone(&known.types)).unwrap_or_default();
    let types = match changed {
        None => before,
        Some(stored) => Arc::new(DetailTypes::load(&before, stored)),
    };
    app.detail_types.store(Some(Arc::new(Known { generation, version, types: Arc::clone(&types) })));
    Ok(types)
}

/// The details of a request, judged by their types; the inner error is what is wrong with one.
///
/// # Errors
/// As [`declared`].
pub(crate) async fn judged(app: &App, details: Details) -> Result<Result<Details, DetailError>, Problem> {
    let Some(mut details) = details else { return Ok(Ok(None)) };
    if details.iter().any(|detail| matches!(detail, AuthorizationDetail::Other(_)))
        && let Err(wrong) = declared(app).await?.judge(&mut details)
    {
        return Ok(Err(wrong));
    }
    Ok(Ok(Some(details)))
}

/// The same for an API outside OAuth.
///
/// # Errors
/// `request_invalid` with the index and member of what is wrong; `unavailable`.
pub(crate) async fn stated(
    app: &App,
    details: Option<Vec<AuthorizationDetail>>,
) -> Result<Option<Vec<AuthorizationDetail>>, Problem> {
    judged(app, details)
        .await?
        .map_err(|wrong| Problem::of(Code::RequestInvalid, format!("invalid_authorization_details: {wrong}")))
}

/// Checks the types that an administrator lets an agent state, and leaves out what it may state anyway.
///
/// # Errors
/// `request_invalid` for one that is not declared.
pub(crate) async fn known(app: &App, names: Vec<String>) -> Result<Vec<String>, Problem> {
    let mut kept: Vec<String> = Vec::new();
    for name in names.into_iter().filter(|name| name != PLACET_ACTION) {
        if declared(app).await?.get(&name).is_none() {
            let shown: String = name.chars().take(256).collect();
            let detail =
                format!("`authorization_details_types`: no type `{}` is declared", shown.escape_debug());
            return Err(Problem::of(Code::RequestInvalid, detail));
        }
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    Ok(kept)
}

/// `GET /v1/authorization-detail-types`: for whoever may call at all; what they mean is no secret.
pub(crate) async fn list(State(app): State<Arc<App>>, _: Caller) -> Answer<Json<Value>> {
    let all = app.store.read(|q| detail_types::all(q)).await?;
    let listed: Vec<Value> = all.iter().map(|(name, definition)| shown(name, definition)).collect();
    Ok(Json(json!({"types": listed})))
}

/// `GET /v1/authorization-detail-types/{name}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Caller,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let asked = name.clone();
    let found = app.store.read(move |q| detail_types::find(q, &asked)).await?;
    found.map(|definition| Json(shown(&name, &definition))).ok_or_else(unknown)
}

/// `PUT /v1/authorization-detail-types/{name} {description, schema, narrows?, roles?}`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(definition): JsonBody<DetailType>,
) -> Answer<Response> {
    caller.must_configure()?;
    let checked = Declared::new(&name, definition)
        .map_err(|error| Problem::of(Code::RequestInvalid, error.to_string()))?;
    let answer = shown(&name, checked.definition());
    let put = move |tx: &mut Tx<'_>| {
        let names = detail_types::names(tx)?;
        let replaced = names.contains(&name);
        if !replaced && names.len() >= MAX_TYPES {
            let detail = format!("an installation has at most {MAX_TYPES} types");
            return Err(Problem::of(Code::Conflict, detail));
        }
        detail_types::put(tx, &name, checked.definition())?;
        Ok(replaced)
    };
    let change = Change { app: &app, caller: &caller, source };
    change.applied(EntryType::DetailTypeApplied, answer, put).await
}

/// `DELETE /v1/authorization-detail-types/{name}`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let change = Change { app: &app, caller: &caller, source };
    change.removed(EntryType::DetailTypeRemoved, name, detail_types::remove, unknown()).await
}

fn shown(name: &str, definition: &DetailType) -> Value {
    json!({"name": name, "description": definition.description, "schema": definition.schema,
        "narrows": definition.narrows, "roles": definition.roles})
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such type declared")
}
