//! `/v1/policies`: what agents may do, as versioned documents.
//!
//! Invariant: only who may configure is answered; putting in force is [`crate::rules::change`]'s.

use super::{document, query::QueryParams};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    rules::{
        change::{self, Author, Others, Wanted},
        document as in_force,
        stage::{self, Which},
    },
};
use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::is_handle,
    policy::{Policy, Stage},
    refusal::Code,
};
use placet_store::{
    Fault, agents,
    documents::{self, Applied, Kind},
    observations, policy_stages,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
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
    query: QueryParams,
    request: Request,
) -> Answer<Response> {
    caller.must_configure()?;
    query.only(&["agents"])?;
    let agents = agents(query.text("agents"))?;
    let text = document::read(request).await?;
    place(&app, &caller, source, Wanted { agents, ..Wanted::named(name, text) }).await
}

/// Whom a document in the compact form without `agent` is for: handles, separated by commas.
fn agents(stated: Option<&str>) -> Answer<Vec<String>> {
    let handles: Vec<String> =
        stated.into_iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
    match handles.iter().find(|handle| !is_handle(handle)) {
        None => Ok(handles),
        Some(wrong) => {
            Err(Problem::of(Code::RequestInvalid, format!("`agents`: `{wrong}` is no handle of an agent")))
        }
    }
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
    let (text, back_to) = (target.source.clone(), Some(target.version));
    place(&app, &caller, source, Wanted { back_to, ..Wanted::named(name, text) }).await
}

/// Puts one policy in force and says as which version.
async fn place(app: &Arc<App>, caller: &Caller, source: Source, wanted: Wanted) -> Answer<Response> {
    let back_to = wanted.back_to;
    let changed = change::put(app, &author(caller, source), vec![wanted], Others::Stay, false).await?;
    let placed = changed.placed.first().ok_or_else(|| Problem::of(Code::Internal, "nothing was applied"))?;
    let warnings = document::warnings(&placed.warnings);
    let mut body = json!({"policy": placed.name, "version": placed.version, "warnings": warnings});
    if let (Some(back_to), Some(members)) = (back_to, body.as_object_mut()) {
        members.insert("back_to".to_owned(), back_to.into());
    }
    let status = if placed.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(body)).into_response())
}

fn author(caller: &Caller, source: Source) -> Author {
    Author { by: caller.by(), source: source.0 }
}

/// Several policies, put in force together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Together {
    policies: Vec<Text>,
    /// What happens to those in force that are not among them.
    #[serde(default)]
    others: Others,
    /// Only say what it would do.
    #[serde(default)]
    dry_run: bool,
}

/// One of several policies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// What messages call it.
    file: String,
    /// The document.
    source: String,
}

/// `PUT /v1/policies`: all of them or none.
pub(crate) async fn put_together(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(Together { policies, others, dry_run }): JsonBody<Together>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let wanted = policies.into_iter().map(|Text { file, source }| Wanted::of_file(file, source));
    let changed = change::put(&app, &author(&caller, source), wanted.collect(), others, dry_run).await?;
    let placed: Vec<_> = changed
        .placed
        .iter()
        .map(|placed| {
            json!({"policy": placed.name, "version": placed.version, "changed": placed.changed,
                   "warnings": document::warnings(&placed.warnings)})
        })
        .collect();
    let removed: Vec<_> =
        changed.removed.iter().map(|(name, version)| json!({"policy": name, "version": version})).collect();
    let unstaged: Vec<_> =
        changed.unstaged.iter().map(|(name, version)| json!({"policy": name, "version": version})).collect();
    Ok(Json(json!({"policies": placed, "removed": removed, "unstaged": unstaged, "dry_run": dry_run})))
}

/// Which agents have which version before all others do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Staging {
    /// A new text; with neither this nor a version it is the one that is staged already.
    source: Option<String>,
    /// A version that is stored.
    version: Option<u64>,
    /// So many of a hundred agents.
    share: Option<u8>,
    /// Labels, each with the values that will do.
    #[serde(default)]
    labels: BTreeMap<String, Vec<String>>,
}

/// `POST /v1/policies/{name}/stage`
pub(crate) async fn stage(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(asked): JsonBody<Staging>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let which = match (asked.source, asked.version) {
        (Some(text), None) => Which::Text(text),
        (None, Some(version)) => Which::Version(version),
        (None, None) => Which::Same,
        (Some(_), Some(_)) => {
            return Err(Problem::of(
                Code::RequestInvalid,
                "a stage is of a `source` or of a `version`, not of both",
            ));
        }
    };
    let stage = Stage::new(asked.share, asked.labels)
        .map_err(|error| Problem::of(Code::RequestInvalid, error.to_string()))?;
    let (version, warnings) = stage::put(&app, &author(&caller, source), &name, which, &stage).await?;
    Ok(Json(json!({
        "policy": name, "version": version, "stage": stage, "warnings": document::warnings(&warnings),
    })))
}

/// `POST /v1/policies/{name}/promote`: the staged version for all.
pub(crate) async fn promote(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let version = stage::promote(&app, &author(&caller, source), &name).await?;
    Ok(Json(json!({"policy": name, "version": version})))
}

/// `DELETE /v1/policies/{name}/stage`: the staged version for nobody.
pub(crate) async fn unstage(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    stage::remove(&app, &author(&caller, source), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/policies/{name}`: out of force at once. Its versions stay, so that it can be rolled back to.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.must_configure()?;
    change::remove(&app, &author(&caller, source), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/policies`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    let found = app.store.read(|q| {
        let mut staged = Vec::new();
        for stage in policy_stages::all(q)? {
            let text = documents::version(q, Kind::Policy, &stage.name, stage.version)?;
            staged.extend(text.map(|text| (text, Some(stage.stage))));
        }
        let current = documents::current(q, Kind::Policy)?.into_iter().map(|one| (one, None));
        Ok::<_, Fault>(current.chain(staged).collect::<Vec<_>>())
    });
    let mut found = found.await?;
    found.sort_by(|(a, _), (b, _)| (&a.name, a.version).cmp(&(&b.name, b.version)));
    let rules = app.rules.load();
    let listed: Vec<_> = found
        .iter()
        .map(|(one, stage)| {
            let mode = rules.policies.version(&one.name, one.version).map(|live| live.mode().as_str());
            let stage = stage.as_deref().and_then(|stage| Stage::parse(stage).ok());
            json!({"policy": one.name, "version": one.version, "mode": mode, "stage": stage, "applied": one.at,
                   "applied_by": one.by})
        })
        .collect();
    let directory = &app.operations.directory;
    let standing = directory.is_followed().then(|| {
        let standing = directory.standing();
        json!({
            "read": standing.as_ref().map(|standing| standing.at),
            "in_force": standing.as_ref().is_some_and(|standing| standing.wrong.is_none()),
            "detail": standing.and_then(|standing| standing.wrong),
        })
    });
    Ok(Json(json!({"policies": listed, "directory": standing})))
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
        return Err(in_force::no_such(Kind::Policy));
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
        return Err(in_force::no_such(Kind::Policy));
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
