//! `/v1/policies`: what agents may do, as versioned documents.
//!
//! Invariant: a policy is stored only after it was checked against the services in force, and nothing else changes
//! between the check and the store.

use super::{document, query::QueryParams};
use crate::{
    app::App,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    policy::Policy,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::sha256,
};
use placet_store::policies::{self, Applied};
use serde_json::{Value, json};
use std::sync::Arc;

/// `PUT /v1/policies/{name}`
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Response> {
    caller.must_configure()?;
    let text = document::read(request).await?;
    let _changing = app.rules_change.lock().await;
    let rules = app.rules.load_full();
    let loaded = Policy::load(text.as_bytes(), Some(&name), 0, &rules.definitions());
    let (policy, warnings) = loaded.map_err(|errors| Problem::document(&errors))?;
    document::expect_name("policy", policy.name(), &name)?;
    let of = name.clone();
    let known = app.store.read(move |q| policies::versions_of(q, &of)).await?;
    let active = known.iter().find(|applied| applied.active);
    let answer = |status: StatusCode, version: u64| {
        let body = json!({"policy": name, "version": version, "warnings": document::warnings(&warnings)});
        (status, Json(body)).into_response()
    };
    if let Some(same) = active.filter(|applied| applied.source == text) {
        return Ok(answer(StatusCode::OK, same.version));
    }
    let version = known.last().map_or(0, |newest| newest.version) + 1;
    apply(&app, &caller, source, &name, version, text).await?;
    app.reload_rules().await?;
    Ok(answer(if active.is_some() { StatusCode::OK } else { StatusCode::CREATED }, version))
}

/// Stores a checked policy as `version` and records it.
async fn apply(
    app: &App,
    caller: &Caller,
    source: Source,
    name: &str,
    version: u64,
    text: String,
) -> Result<(), Problem> {
    let (now, by) = (app.clock.now(), caller.by());
    let envelope = Envelope {
        policies: vec![format!("{name}@{version}")],
        source: recording::source(source.0),
        ..recording::by(EntryType::PolicyApplied, now, by.clone())
    };
    let entry = app.prepare(envelope, Some(&applied_body(&text)))?;
    let name = name.to_owned();
    app.store
        .write(move |tx| {
            if policies::apply(tx, &name, &text, &by, now)? != version {
                return Err(document::overtaken());
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// The body of an entry about a document: its text and the digest of that.
pub(crate) fn applied_body(text: &str) -> Value {
    let digest: String = sha256(&[text.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"sha256": digest, "source": text})
}

/// `GET /v1/policies`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    let found = app.store.read(|q| policies::current(q)).await?;
    let listed: Vec<_> = found
        .iter()
        .map(|one| json!({"policy": one.name, "version": one.version, "applied": one.at, "applied_by": one.by}))
        .collect();
    Ok(Json(json!({"policies": listed})))
}

/// `GET /v1/policies/{name}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["version"])?;
    let version: Option<u64> = query.parsed("version")?;
    let found = app
        .store
        .read(move |q| match version {
            None => policies::find(q, &name),
            Some(version) => {
                Ok(policies::versions_of(q, &name)?.into_iter().find(|one| one.version == version))
            }
        })
        .await?;
    let Applied { name, version, source, at, by, .. } = found
        .ok_or_else(|| Problem::of(Code::NotFound, "there is no such policy, or no such version of it"))?;
    Ok(Json(json!({"policy": name, "version": version, "source": source, "applied": at, "applied_by": by})))
}
