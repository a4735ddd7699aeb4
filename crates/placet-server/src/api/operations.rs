//! `/healthz`, `/readyz`, `/metrics`, `/openapi.json`: for whoever runs the server.
//!
//! Invariant: the first two need no authentication and tell nothing that needs any.

use crate::{
    app::App,
    caller::Caller,
    openapi::document,
    operations::{metrics::Gauges, readiness},
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use placet_core::{refusal::Code, user::AUDITOR};
use placet_gateway::{Standing, State as Breaker};
use placet_store::gauges;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long reading the gauges may take; the counters are told in any case.
const BOUND: Duration = Duration::from_secs(2);

/// `GET /healthz`: the process lives.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 where it can do its work, 503 with what it lacks.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (ready, report) = readiness::report(&app).await;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

/// `GET /metrics`, by administrators and auditors.
pub(crate) async fn metrics(State(app): State<Arc<App>>, caller: Caller) -> Answer<Response> {
    let audits =
        caller.configures() || caller.person().is_ok_and(|signed_in| signed_in.user.has_role(AUDITOR));
    if audits {
        Ok(metrics_for_anybody(State(app)).await)
    } else {
        Err(Problem::of(Code::NotPermitted, "this needs the role `administrator` or `auditor`"))
    }
}

/// `GET /metrics` on a listener that only those can reach who may see them.
pub(crate) async fn metrics_for_anybody(State(app): State<Arc<App>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, app.operations.metrics.text(&gauges_of(&app).await)).into_response()
}

/// `GET /openapi.json`: this interface, described.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document::text()).into_response()
}

async fn gauges_of(app: &App) -> Gauges {
    let mut gauges = Gauges::default();
    let readiness = &app.operations.readiness;
    let now = app.clock.now();
    let numbers = timeout(BOUND, app.store.read(move |q| gauges::read(q, now))).await;
    let answers = matches!(numbers, Ok(Ok(_)));
    gauges.set("placet_store_up", "Whether the store answers.", u64::from(answers));
    if let Ok(Ok(numbers)) = numbers {
        gauges.set("placet_record_entries", "Entries in the log.", numbers.logged);
        gauges.set("placet_record_lag_entries", "Entries that wait for the sequencer.", numbers.unlogged);
        gauges.set("placet_approvals_pending", "Approvals that wait for people.", numbers.approvals);
        gauges.set("placet_actions_in_flight", "Admitted actions without an outcome.", numbers.in_flight);
        gauges.set("placet_denials_waiting", "Denials counted and not written down yet.", numbers.denials);
    }
    let load = app.store.load();
    gauges.set("placet_store_queue_depth", "Requests that wait for the writer.", load.waiting as u64);
    gauges.groups = load.groups;
    gauges.group_requests = load.requests;
    let tight = u64::from(app.operations.space.is_tight());
    gauges.set("placet_space_tight", "Whether too little space is left to begin actions.", tight);
    let seals = u64::from(app.secrets.vault.seals());
    if let Some(standing) = app.operations.directory.standing() {
        let in_force = u64::from(standing.wrong.is_none());
        gauges.set("placet_policy_directory_ok", "Whether what was last read there is in force.", in_force);
    }
    gauges.set("placet_vault_seals", "Whether the vault key that seals is known and at hand.", seals);
    for (job, works) in readiness.jobs() {
        gauges.labelled("placet_job_up", "Whether the job works.", &[("job", job)], u64::from(works));
    }
    upstreams(app, &mut gauges);
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    gauges.labelled("placet_build_info", "The version that runs.", &version, 1);
    gauges
}

/// How each upstream that was asked since the start stands, by the name of its service.
fn upstreams(app: &App, gauges: &mut Gauges) {
    let standing = app.gateway.upstreams().standing();
    let mut each = |name, help, value: fn(&Standing) -> u64| {
        for one in &standing {
            gauges.labelled(name, help, &[("service", &one.service)], value(one));
        }
    };
    let state = "Whether the upstream is asked: 0 it is, 1 one call tries, 2 it is not.";
    each("placet_upstream_breaker", state, |one| match one.state {
        Breaker::Closed => 0,
        Breaker::HalfOpen => 1,
        Breaker::Open => 2,
    });
    each("placet_upstream_agents_kept_away", "Agents that are not let in for what they met there.", |one| {
        one.kept_away as u64
    });
    each("placet_upstream_under_way", "Calls to the upstream that are under way.", |one| {
        one.under_way as u64
    });
    each("placet_upstream_waiting", "Calls that wait for their turn at the upstream.", |one| {
        one.waiting as u64
    });
    each("placet_upstream_concurrency", "Calls that may be under way at once.", |one| one.concurrency as u64);
    each(
        "placet_upstream_turned_away_busy",
        "Calls turned away, as too many waited, since the start.",
        |one| one.busy,
    );
    each(
        "placet_upstream_turned_away_broken",
        "Calls turned away, as it doesn't answer, since the start.",
        |one| one.broken,
    );
}
