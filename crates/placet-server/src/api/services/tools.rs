//! `/v1/services/{name}/tools`: the tools of an MCP server, and what was accepted of them.
//!
//! Invariant: what is accepted is named by its digest, so that it is what somebody has looked at; accepting makes a new
//! version of the service, as any change of it does.

use super::{Caller, place};
use crate::{
    api::query::QueryParams,
    app::App,
    body::JsonBody,
    caller::Source,
    problem::{Answer, Problem},
    rules::LiveService,
    tools,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{refusal::Code, service::Kind as Protocol};
use placet_store::documents::{self, Kind};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// What is to become of tools; nothing: their server is asked which there are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Digests by tools.
    #[serde(default)]
    accept: BTreeMap<String, String>,
    /// Tools that are none any more.
    #[serde(default)]
    withdraw: Vec<String>,
}

/// `GET /v1/services/{name}/tools`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    Ok(Json(tools::shown(&*of(&app, &name)?)))
}

/// `POST /v1/services/{name}/tools`
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(name): Path<String>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    if wanted.accept.is_empty() && wanted.withdraw.is_empty() {
        return Ok(Json(tools::shown(&*tools::look(&app, &name, &caller.by()).await?)));
    }
    let _changing = app.rules_change.lock().await;
    let rules = app.newest_rules().await?;
    let live = rules.services.get(&name).filter(|live| live.service.kind() == Protocol::Mcp);
    let live = live.ok_or_else(|| no_server(&name))?;
    let mut pins = live.service.pins();
    for tool in &wanted.withdraw {
        if wanted.accept.contains_key(tool) || pins.0.remove(tool).is_none() {
            let detail =
                format!("`{}` is no tool that was accepted, or is to be accepted as well", short(tool));
            return Err(Problem::of(Code::RequestInvalid, detail));
        }
    }
    for (tool, digest) in &wanted.accept {
        let said = live.listed.as_ref().and_then(|(now, _)| now.0.get(tool));
        let said = said.filter(|said| live.service.tool_digest(tool, said) == *digest).ok_or_else(|| {
            let detail =
                format!("the server does not say this of `{}` (any more): look at it again", short(tool));
            Problem::of(Code::Conflict, detail)
        })?;
        pins.0.insert(tool.clone(), said.clone());
    }
    let stored = {
        let name = name.clone();
        app.store.read(move |q| documents::find(q, Kind::Service, &name)).await?
    };
    let stored = stored
        .filter(|stored| stored.version == live.version)
        .ok_or_else(crate::rules::document::overtaken)?;
    let text = pins.written(&stored.source, Some(&name)).map_err(|errors| Problem::document(&errors))?;
    place(&app, (&caller, source), &rules, &name, text).await?;
    Ok(Json(tools::shown(&*of(&app, &name)?)))
}

fn of(app: &App, name: &str) -> Result<Arc<LiveService>, Problem> {
    let rules = app.rules.load();
    let live = rules.services.get(name).filter(|live| live.service.kind() == Protocol::Mcp);
    live.cloned().ok_or_else(|| no_server(name))
}

fn no_server(name: &str) -> Problem {
    Problem::of(Code::NotFound, format!("there is no MCP server `{}`", short(name)))
}

fn short(text: &str) -> String {
    text.chars().take(128).collect()
}
