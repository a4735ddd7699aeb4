//! `/v1/services`: definitions of upstreams.
//!
//! Invariant: a service is stored only after every policy in force was checked against it; a change of where a secret
//! goes, or how, parks the connections that hold one (DESIGN §7).

pub mod client;
pub(crate) mod tools;

use super::{approvals, document, query::QueryParams};
use crate::{
    app::App,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
    rules::{self, LiveService, Rules, document as in_force},
};
use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    policy,
    record::{EntryType, Envelope},
    refusal::Code,
    service::{Kind as Protocol, Pins, Service},
};
use placet_store::{
    connections,
    documents::{self, Kind},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// `PUT /v1/services/{name}`
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
    let rules = app.newest_rules().await?;
    let parsed = Service::parse(text.as_bytes(), Some(&name));
    let (service, warnings) = parsed.map_err(|errors| Problem::document(&errors))?;
    in_force::expect_name(Kind::Service, service.name(), &name)?;
    let text = with_pins(&rules, &service, text)?;
    let placed = place(&app, (&caller, source), &rules, &name, text).await?;
    let body = json!({"service": name, "version": placed.version, "warnings": document::warnings(&warnings)});
    Ok((if placed.is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(body)).into_response())
}

/// A definition that states no pins keeps those in force, if it is still about the same MCP server.
fn with_pins(rules: &Rules, service: &Service, text: String) -> Result<String, Problem> {
    let before = rules.services.get(service.name()).map(|live| &live.service);
    let kept = before.filter(|before| {
        service.kind() == Protocol::Mcp
            && before.kind() == Protocol::Mcp
            && before.server() == service.server()
    });
    match kept {
        Some(before) if service.pins() == Pins::default() => {
            before.pins().written(&text, Some(service.name())).map_err(|errors| Problem::document(&errors))
        }
        _ => Ok(text),
    }
}

/// A definition that is in force.
struct Placed {
    version: u64,
    is_new: bool,
}

/// Puts a text in force, while the caller holds `rules_change`; the text that is in force already is left as it is.
async fn place(
    app: &Arc<App>,
    (caller, source): (&Caller, Source),
    rules: &Arc<Rules>,
    name: &str,
    text: String,
) -> Result<Placed, Problem> {
    let known = document::versions(app, Kind::Service, name).await?;
    let active = known.iter().find(|applied| applied.active);
    if let Some(same) = active.filter(|applied| applied.source == text) {
        return Ok(Placed { version: same.version, is_new: false });
    }
    let version = known.last().map_or(0, |newest| newest.version) + 1;
    let live = rules::live_service(name, version, text.as_bytes())?;
    check(rules, &live)?;
    let applied = apply(app, caller, source, rules, live, text).await;
    app.connections.changed();
    app.reload_rules().await?;
    applied?;
    Ok(Placed { version, is_new: active.is_none() })
}

/// Checks a service beside the other services and the policies in force.
fn check(rules: &Rules, live: &LiveService) -> Result<(), Problem> {
    let service = &live.service;
    for action in service.actions() {
        if let Some((other, _)) = rules.declaring(action.name())
            && other.service.name() != service.name()
        {
            let detail = format!(
                "the action `{}` is declared by service `{}` already; names of actions are unique",
                action.name().as_str(),
                other.service.name()
            );
            return Err(Problem::of(Code::Conflict, detail));
        }
    }
    let errors = policy::check_service(&rules.policies, service);
    if errors.is_empty() { Ok(()) } else { Err(Problem::document(&errors)) }
}

/// Whether a secret would go elsewhere, or in another way, than its owner knew.
fn redirects(before: &Service, after: &Service) -> bool {
    before.kind() != after.kind()
        || before.origin() != after.origin()
        || before.base_path() != after.base_path()
        || before.auth() != after.auth()
}

/// Stores a checked service, parks its connections where it redirects them, ends the approvals that wait for the
/// version before, and records it.
async fn apply(
    app: &Arc<App>,
    caller: &Caller,
    source: Source,
    rules: &Arc<Rules>,
    live: LiveService,
    text: String,
) -> Result<(), Problem> {
    let (now, by, name, version) =
        (app.clock.now(), caller.by(), live.service.name().to_owned(), live.version);
    let redirected =
        rules.services.get(&name).is_some_and(|before| redirects(&before.service, &live.service));
    let envelope = Envelope {
        service: Some(format!("{name}@{version}")),
        source: recording::source(source.0),
        ..recording::by(EntryType::ServiceApplied, now, by.clone())
    };
    let entry = app.prepare(envelope.clone(), Some(&in_force::applied_body(&text)))?;
    let (shared, rules) = (Arc::clone(app), Arc::clone(rules));
    app.store
        .write(move |tx| {
            if !rules.are_stored(tx)?
                || documents::apply(tx, Kind::Service, &name, &text, &by, now)? != version
            {
                return Err(in_force::overtaken());
            }
            tx.record(entry.clone())?;
            let parked = if redirected { connections::park(tx, &name)? } else { Vec::new() };
            for connection in parked {
                let changed = Envelope {
                    connection: Some(connection),
                    outcome: Some(connections::ConnectionState::NeedsAttention.as_str().to_owned()),
                    service: envelope.service.clone(),
                    ..recording::by(EntryType::ConnectionChanged, now, by.clone())
                };
                tx.record(shared.prepare(changed, None)?)?;
            }
            approvals::end_those_of(tx, &shared, &name, &by, now)
        })
        .await
}

/// `GET /v1/services`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&[])?;
    let found = app.store.read(|q| documents::current(q, Kind::Service)).await?;
    let rules = app.rules.load_full();
    let listed: Vec<_> = found
        .iter()
        .map(|one| {
            let live = rules.services.get(&one.name);
            let actions: Vec<_> =
                live.iter().flat_map(|live| live.service.actions().map(|action| action.name().as_str())).collect();
            let upstream = live.map(|live| standing(&app, live));
            json!({"service": one.name, "version": one.version, "applied": one.at, "applied_by": one.by, "actions": actions,
                "upstream": upstream})
        })
        .collect();
    Ok(Json(json!({"services": listed})))
}

/// How a service's upstream stands on this node.
fn standing(app: &App, live: &LiveService) -> Value {
    let standing = live.upstream(&app.gateway).standing(live.service.name());
    json!({"state": standing.state.as_str(), "retry_after": standing.retry_after.map(|it| it.as_secs_f64().ceil()),
        "agents_kept_away": standing.kept_away, "under_way": standing.under_way, "waiting": standing.waiting, "concurrency": standing.concurrency})
}

/// `GET /v1/services/{name}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let found = document::one(&app, Kind::Service, name, &query).await?;
    Ok(Json(document::shown(Kind::Service, found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(base_url: &str, auth: &str, path: &str) -> Service {
        let text = format!(
            "service: shop\nbase_url: {base_url}\nauth: {auth}\nactions:\n  orders.read:\n    method: GET\n    path: {path}\n    resource: 'order://{{id}}'\n    effect: read\n"
        );
        Service::parse(text.as_bytes(), None).unwrap().0
    }

    #[test]
    fn connections_are_parked_when_their_secret_would_go_elsewhere() {
        let before = service("https://api.example.com", "{type: bearer}", "/orders/{id}");
        assert!(!redirects(
            &before,
            &service("https://api.example.com", "{type: bearer}", "/v2/orders/{id}")
        ));
        for (base_url, auth) in [
            ("https://api.example.org", "{type: bearer}"),
            ("https://api.example.com:8443", "{type: bearer}"),
            ("https://api.example.com/v2", "{type: bearer}"),
            ("https://api.example.com", "{type: header, name: x-key}"),
        ] {
            assert!(redirects(&before, &service(base_url, auth, "/orders/{id}")), "{base_url} {auth}");
        }
    }
}
