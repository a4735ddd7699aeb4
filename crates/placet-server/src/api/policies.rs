//! `/v1/policies`: what agents may do, as versioned documents.
//!
//! Invariant: a policy is stored only after it was checked against the services in force, and nothing else changes
//! between the check and the store: here nor on another node.

use super::{document, query::QueryParams};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
    rules::Rules,
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
};
use placet_store::{
    Fault, agents,
    documents::{self, Applied, Kind},
    observations,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// The most kinds of observations that one answer lists.
const LISTED: usize = 5000;

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
    let change = Change { app: &app, caller: &caller, source, name: &name };
    let _changing = app.rules_change.lock().await;
    let known = document::versions(&app, Kind::Policy, &name).await?;
    change.put(&known, text, None).await
}

/// Which version to go back to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The version; left out, the one that was in force before this one.
    to: Option<u64>,
}

/// `POST /v1/policies/{name}/rollback`: the text of an older version as a new one, checked like any other.
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(Rollback { to }): JsonBody<Rollback>,
) -> Answer<Response> {
    caller.must_configure()?;
    let change = Change { app: &app, caller: &caller, source, name: &name };
    let _changing = app.rules_change.lock().await;
    let known = document::versions(&app, Kind::Policy, &name).await?;
    let active = known.iter().find(|applied| applied.active);
    let target = match (to, active) {
        (Some(to), _) => known.iter().find(|applied| applied.version == to),
        // What went before it and says something else: a version that only repeats it is no way back.
        (None, Some(active)) => known
            .iter()
            .rev()
            .find(|applied| applied.version < active.version && applied.source != active.source),
        // A policy that was removed comes back as it was.
        (None, None) => known.last(),
    };
    let Some(target) = target else {
        let detail = match to {
            Some(to) => format!("there is no version {to} of the policy `{name}`"),
            None => format!("the policy `{name}` has no version to go back to"),
        };
        return Err(Problem::of(Code::NotFound, detail));
    };
    change.put(&known, target.source.clone(), Some(target.version)).await
}

/// `DELETE /v1/policies/{name}`: out of force at once. Its versions stay, so that it can be rolled back to.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    let _changing = app.rules_change.lock().await;
    let of = name.clone();
    let active = app.store.read(move |q| documents::find(q, Kind::Policy, &of)).await?;
    let Some(Applied { version, .. }) = active else { return Err(document::no_such(Kind::Policy)) };
    let now = app.clock.now();
    let envelope = Envelope {
        policies: vec![format!("{name}@{version}")],
        source: recording::source(source.0),
        ..recording::by(EntryType::PolicyRemoved, now, caller.by())
    };
    let entry = app.prepare(envelope, None)?;
    app.store
        .write(move |tx| {
            // Only the version that the entry names.
            if documents::find(tx, Kind::Policy, &name)?.is_none_or(|active| active.version != version) {
                return Err(document::overtaken());
            }
            documents::remove(tx, Kind::Policy, &name)?;
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    app.reload_rules().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A change of one policy, under the lock on changes of rules.
struct Change<'a> {
    app: &'a App,
    caller: &'a Caller,
    source: Source,
    name: &'a str,
}

impl Change<'_> {
    /// Checks `text` and puts it in force, unless it is already.
    async fn put(&self, known: &[Applied], text: String, back_to: Option<u64>) -> Answer<Response> {
        let rules = self.app.newest_rules().await?;
        let loaded = Policy::load(text.as_bytes(), Some(self.name), 0, &rules.definitions());
        let (policy, warnings) = loaded.map_err(|errors| Problem::document(&errors))?;
        document::expect_name(Kind::Policy, policy.name(), self.name)?;
        let answer = |status: StatusCode, version: u64| {
            let warnings = document::warnings(&warnings);
            let mut body = json!({"policy": self.name, "version": version, "warnings": warnings});
            if let (Some(back_to), Some(members)) = (back_to, body.as_object_mut()) {
                members.insert("back_to".to_owned(), back_to.into());
            }
            (status, Json(body)).into_response()
        };
        let active = known.iter().find(|applied| applied.active);
        if let Some(same) = active.filter(|applied| applied.source == text) {
            return Ok(answer(StatusCode::OK, same.version));
        }
        let version = known.last().map_or(0, |newest| newest.version) + 1;
        let stored = self.store(&rules, version, text, back_to).await;
        self.app.reload_rules().await?;
        stored?;
        Ok(answer(if active.is_some() { StatusCode::OK } else { StatusCode::CREATED }, version))
    }

    /// Stores a checked policy as `version` and records it.
    async fn store(
        &self,
        rules: &Arc<Rules>,
        version: u64,
        text: String,
        back_to: Option<u64>,
    ) -> Result<(), Problem> {
        let (now, by) = (self.app.clock.now(), self.caller.by());
        let envelope = Envelope {
            policies: vec![format!("{}@{version}", self.name)],
            source: recording::source(self.source.0),
            ..recording::by(EntryType::PolicyApplied, now, by.clone())
        };
        let mut body = document::applied_body(&text);
        if let (Some(back_to), Some(members)) = (back_to, body.as_object_mut()) {
            members.insert("back_to".to_owned(), back_to.into());
        }
        let entry = self.app.prepare(envelope, Some(&body))?;
        let (name, rules) = (self.name.to_owned(), Arc::clone(rules));
        self.app
            .store
            .write(move |tx| {
                if !rules.are_stored(tx)?
                    || documents::apply(tx, Kind::Policy, &name, &text, &by, now)? != version
                {
                    return Err(document::overtaken());
                }
                Ok(tx.record(entry.clone())?)
            })
            .await
    }
}

/// `GET /v1/policies`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    let found = app.store.read(|q| documents::current(q, Kind::Policy)).await?;
    let rules = app.rules.load();
    let mode = |one: &Applied| {
        let live = rules.policies.find(&one.name).filter(|live| live.version() == one.version);
        live.map(|live| live.mode().as_str())
    };
    let listed: Vec<_> = found
        .iter()
        .map(|one| {
            json!({"policy": one.name, "version": one.version, "mode": mode(one), "applied": one.at,
                   "applied_by": one.by})
        })
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
    let found = document::one(&app, Kind::Policy, name, &query).await?;
    Ok(Json(document::shown(Kind::Policy, found)))
}

/// `GET /v1/policies/{name}/rules`: what its text became.
pub(crate) async fn rules(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let Applied { name, version, source, .. } = document::one(&app, Kind::Policy, name, &query).await?;
    // Whether it fits today's services is no question here.
    let loaded = Policy::load(source.as_bytes(), Some(&name), version, &[]);
    let (policy, _) = loaded.map_err(|errors| Problem::document(&errors))?;
    Ok(Json(json!({
        "policy": name, "version": version, "mode": policy.mode().as_str(),
        "rules": policy.rules_in_full().collect::<Vec<_>>(), "document": policy.in_full(),
    })))
}

/// `GET /v1/policies/{name}/versions`
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    let found = document::versions(&app, Kind::Policy, &name).await?;
    if found.is_empty() {
        return Err(document::no_such(Kind::Policy));
    }
    let shown = |one: &Applied| json!({"version": one.version, "active": one.active, "applied": one.at, "applied_by": one.by});
    Ok(Json(json!({"policy": name, "versions": found.iter().rev().map(shown).collect::<Vec<_>>()})))
}

/// `GET /v1/policies/{name}/observations`: what it would have said while it was in `mode: observe`.
pub(crate) async fn observations(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["version"])?;
    let version: Option<u64> = query.parsed("version")?;
    let of = name.clone();
    let (known, counted, handles) = app
        .store
        .read(move |q| {
            let known = !documents::versions_of(q, Kind::Policy, &of)?.is_empty();
            let mut counted = observations::of(q, &of, LISTED)?;
            counted.retain(|one| version.is_none_or(|version| one.version == version));
            let mut handles = HashMap::new();
            for agent in counted.iter().filter_map(|one| one.agent) {
                if let Entry::Vacant(vacant) = handles.entry(agent) {
                    vacant.insert(agents::find(q, agent)?.map(|agent| agent.handle));
                }
            }
            Ok::<_, Fault>((known, counted, handles))
        })
        .await?;
    if !known {
        return Err(document::no_such(Kind::Policy));
    }
    let shown = counted.iter().map(|one| {
        let handle = one.agent.and_then(|agent| handles.get(&agent).cloned().flatten());
        json!({
            "version": one.version, "would": one.would, "decision": one.decision, "rule": one.rule,
            "action": one.action, "agent": one.agent, "handle": handle, "code": one.code, "count": one.count,
            "first": one.first, "last": one.last,
        })
    });
    Ok(Json(json!({"policy": name, "observations": shown.collect::<Vec<_>>()})))
}
