//! `POST /v1/grants`: a root grant that a person makes for an agent, without a task.
//!
//! The agent takes it up with its own credentials: a token request with `grant_id` makes a grant below this one, on a
//! task that the agent names or that is made for it.
//!
//! Invariant: as for every root, [`super::super::roots`].

use super::{end, shown};
use crate::{
    api::{
        agents::stated,
        detail_types,
        roots::{self, Maker, Wanted},
    },
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    grant::cover::AuthorizationDetail,
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
    time::Timestamp,
};
use placet_store::Tx;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A new root.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    agent: String,
    #[serde(default, deserialize_with = "stated")]
    user: Option<Option<String>>,
    scope: Option<Vec<Scope>>,
    tools: Option<Vec<ActionPattern>>,
    resources: Option<Vec<ResourcePattern>>,
    connections: Option<Vec<String>>,
    authorization_details: Option<Vec<AuthorizationDetail>>,
    audience: Option<Vec<String>>,
    #[serde(default)]
    limits: Vec<Limit>,
    expires: Option<Timestamp>,
    max_depth: Option<u8>,
}

/// `POST /v1/grants`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<New>,
) -> Answer<Response> {
    let maker = Maker::of(&caller, new.user, source)?;
    let wanted = Wanted {
        agent: new.agent,
        scope: new.scope,
        tools: new.tools,
        resources: new.resources,
        connections: new.connections,
        limits: new.limits,
        expires: new.expires,
        authorization_details: detail_types::stated(&app, new.authorization_details).await?,
        audience: roots::audience(&app, new.audience).await?,
        max_depth: new.max_depth,
    };
    let (inner, now) = (Arc::clone(&app), app.clock.now());
    let make = move |tx: &mut Tx<'_>| {
        let grant = roots::root(&inner, tx, &wanted, &maker, now)?;
        roots::insert(&inner, tx, &grant, None, &maker, now)?;
        Ok::<_, Problem>(grant)
    };
    let grant = app.store.write(make).await?;
    let mut answer = shown(&grant);
    answer.insert("grant_id".into(), json!(grant.id));
    answer.insert("expires".into(), json!(end(grant.authority.expires)));
    Ok((StatusCode::CREATED, Json(Value::Object(answer))).into_response())
}
