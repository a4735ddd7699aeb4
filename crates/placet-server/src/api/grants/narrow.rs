//! `POST /v1/grants/{id}/narrow`: takes part of a live grant back, for everything below it too.
//!
//! The request says what is left. Grants below keep what was written into them, and reach only what every grant above
//! them still reaches: at the commit point at once, as the lineage has a new version.
//!
//! Invariant: narrowing never widens: each entry that is left is covered by one that was there.

use super::{Life, life, may_change, visible, with_life};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording, revocation,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{
    grant::{Authority, Grant, Request},
    id::GrantId,
    pattern::{ActionPattern, ResourcePattern},
    record::{EntryType, Envelope},
    refusal::Code,
    scope::Scope,
    time::Timestamp,
};
use placet_store::{Fault, Tx, grants};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is left; what is not named stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Left {
    scope: Option<Vec<Scope>>,
    tools: Option<Vec<ActionPattern>>,
    resources: Option<Vec<ResourcePattern>>,
    reason: Option<String>,
}

/// `POST /v1/grants/{id}/narrow {scope?, tools?, resources?, reason?}`
pub(crate) async fn narrow(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
    JsonBody(left): JsonBody<Left>,
) -> Answer<Json<Value>> {
    let grant = visible(&app, &caller, &id).await?;
    may_change(&app, &caller, &grant).await?;
    revocation::check_reason(left.reason.as_deref())?;
    let request =
        Request { scope: left.scope, tools: left.tools, resources: left.resources, ..Request::default() };
    if request == Request::default() {
        let detail = "say what is left: `scope`, `tools` or `resources`; a list that is left out stays";
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    let narrowing = Narrowing {
        grant: grant.id,
        request,
        by: caller.by(),
        reason: left.reason,
        source,
        now: app.clock.now(),
    };
    let inner = Arc::clone(&app);
    let answer = app.store.write(move |tx| apply(&inner, tx, &narrowing)).await?;
    app.bearers.authority_changed();
    Ok(Json(answer))
}

struct Narrowing {
    grant: GrantId,
    request: Request,
    by: String,
    reason: Option<String>,
    source: Source,
    now: Timestamp,
}

/// The transaction.
fn apply(app: &App, tx: &mut Tx<'_>, narrowing: &Narrowing) -> Result<Value, Problem> {
    let Narrowing { request, now, .. } = narrowing;
    let grant = grants::find(tx, narrowing.grant)?.ok_or(Fault::Unreadable("a grant"))?;
    let alive: Life = life(tx, grant.id, *now)?;
    if let Err(why) = &alive {
        return Err(Problem::of(Code::Conflict, format!("only a live grant is narrowed: {why}")));
    }
    let authority = grant.authority.narrow(request).map_err(|error| {
        Problem::of(Code::RequestInvalid, format!("narrowing never widens: {}: {error}", error.oauth()))
    })?;
    // What an agent may state is its registration's, and no part of what is narrowed here.
    let authority = Authority { detail_types: grant.authority.detail_types.clone(), ..authority };
    let narrowed = Grant { authority, ..grant.clone() };
    if narrowed == grant {
        return Ok(Value::Object(with_life(&grant, &alive)));
    }
    if !grants::narrow(tx, &narrowed)? {
        return Err(Problem::of(Code::Conflict, "the grant was revoked meanwhile"));
    }
    let envelope = Envelope {
        source: recording::source(narrowing.source.0),
        ..recording::of_grant(EntryType::GrantNarrowed, *now, narrowing.by.clone(), &grant)
    };
    let listed = |grant: &Grant| {
        let authority = &grant.authority;
        json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources})
    };
    let body = json!({"left": listed(&narrowed), "before": listed(&grant), "reason": narrowing.reason});
    tx.record(app.prepare(envelope, Some(&body))?)?;
    Ok(Value::Object(with_life(&narrowed, &life(tx, grant.id, *now)?)))
}
