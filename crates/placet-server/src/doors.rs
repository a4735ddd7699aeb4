//! Decision doors for proxies: nginx's `auth_request`, Traefik's and Caddy's forward-auth (`forward_auth`), Envoy's
//! `ext_authz` ([`ext_authz`]). A proxy stands in front of a resource server, asks here about each request before it
//! passes it on, and does as it is told.
//!
//! The proxy authenticates as the resource server, so that nobody else can ask with made-up headers. The request is
//! described by the definition of the service that the proxy names, and from there on it is a charged decision like any
//! other (`api::decisions::charged`): judged, reserved and recorded by the same code.
//!
//! Invariant: what was decided is what the proxy passes on. A request that two programs could read differently is
//! refused ([`Service::seen`](placet_core::service::Service::seen)), and only an allowed one is answered as such.

pub mod ext_authz;
pub(crate) mod forward_auth;
mod told;

use crate::{
    api::{
        actions::{approval, once},
        decisions::charged::{self, Answered, Asks, Charged},
    },
    app::App,
    bearer::Bearer,
    caller::Source,
    clock,
    problem::Problem,
    proxy, recording,
    rules::Rules,
    sender::{Credential, Sender},
    way,
};
use axum::http::HeaderMap;
use placet_core::{
    action::{Action, ServiceVersion},
    call::Method,
    id::DecisionId,
    judge::Verdict,
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reader, Reason},
    secret::sha256,
    service::{SeenBody, Unfit},
};
use placet_store::resource_servers::ResourceServer;
use serde_json::{Value, json};
use std::sync::Arc;
use told::Refusal;
pub(crate) use told::{ALL_NAMES, Named};

/// Headers by which a framework may take a request for another one, besides those that the proxy door refuses.
const REWRITING: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// A request that stands at a proxy.
pub(crate) struct Arrival<'r> {
    /// The service that its upstream is.
    pub(crate) service: &'r str,
    /// Its method.
    pub(crate) method: &'r str,
    /// Its path and query as they came.
    pub(crate) target: &'r str,
    /// What of its body was sent along.
    pub(crate) body: SeenBody<'r>,
    /// Its headers as the agent sent them.
    pub(crate) headers: &'r HeaderMap,
    /// Where the proxy asks from.
    pub(crate) source: Source,
    /// Which door it asks at, as the record names it.
    pub(crate) door: &'static str,
}

/// Decides. An allowed request is answered by the headers that it goes on with.
pub(crate) async fn ask(
    app: &App,
    server: &ResourceServer,
    arrival: &Arrival<'_>,
) -> Result<Vec<Named>, Box<Refusal>> {
    match decided(app, server, arrival).await {
        Ok(answered) => told::allowed(answered).map_err(Box::new),
        Err(refusal) => Err(refusal),
    }
}

async fn decided(
    app: &App,
    server: &ResourceServer,
    arrival: &Arrival<'_>,
) -> Result<Box<Answered>, Box<Refusal>> {
    let refused = |problem: Problem| Box::new(Refusal::of(app, problem));
    let credential = credential(arrival.headers).map_err(refused)?;
    // Nothing is wrong with what isn't there (RFC 6750 §3.1).
    let Some(credential) = credential else { return Err(Box::new(Refusal::unauthenticated())) };
    let path = arrival.target.split('?').next().unwrap_or_default();
    let sender = Sender::told(arrival.method, path, arrival.headers);
    let held = sender.agent_at(app, credential, &server.audience).await.map_err(refused)?;
    let asks = Asks {
        server,
        token: held.token(),
        context: None,
        approval: approval(arrival.headers).map_err(refused)?,
        // A proxy passes on what upstream answers.
        unshaped: true,
        key: None,
        source: arrival.source,
        door: Some(arrival.door),
    };
    let charged = charged::charge(app, &asks, |bearer, rules| Ok(described(bearer, rules, arrival))).await;
    let answered = match charged.map_err(refused)? {
        Charged::Decided(answered) => answered,
        Charged::Refused(reason, None) => return Err(refused(reason.into())),
        Charged::Refused(reason, Some(bearer)) => {
            return Err(refused(undescribed(app, server, &bearer, arrival, reason).await.map_err(refused)?));
        }
    };
    let problem = |reasons| {
        let id = answered.id.to_string();
        let action = answered.action.name.as_str();
        Problem::new(reasons, Reader::Agent)
            .with("decision", json!(answered.verdict))
            .with("id", id)
            .with("action", action)
            .with("resource", answered.action.resource.as_str())
    };
    match answered.verdict {
        Verdict::Allow => Ok(answered),
        Verdict::Deny => Err(refused(problem(answered.reasons.clone()))),
        Verdict::Hold => {
            let approval = answered.approval.clone().unwrap_or_default();
            let mut reasons = answered.reasons.clone();
            // It is what whoever reads the answer goes by.
            if reasons.first().is_none_or(|reason| reason.code != Code::ApprovalRequired) {
                reasons.insert(0, Reason::of(Code::ApprovalRequired));
            }
            Err(Box::new(Refusal::held(app, problem(reasons), approval)))
        }
    }
}

/// The agent's credential, as at the proxy door.
fn credential(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Problem> {
    match once(headers, "placet-authorization")? {
        Some(value) => Ok(Credential::parse(value)),
        None => Credential::of(headers),
    }
}

/// Which action a request is, for whoever sends it.
fn described(bearer: &Bearer, rules: &Rules, arrival: &Arrival<'_>) -> Result<Action, Reason> {
    let absent = || Reason::of(Code::NotGranted).detail(way::NO_SUCH_ACTION);
    let invalid = |detail: String| Reason::of(Code::ParamsInvalid).detail(detail);
    let names = proxy::REFUSED.iter().chain(&REWRITING);
    if let Some(name) = names.into_iter().find(|name| arrival.headers.contains_key(**name)) {
        return Err(invalid(format!("the header `{name}` is refused: it would make this another request")));
    }
    let live = rules.services.get(arrival.service).ok_or_else(|| {
        // The proxy's configuration names it.
        Reason::of(Code::NotFound).detail("the proxy asks about a service that there is not")
    })?;
    let method = Method::from_name(arrival.method).ok_or_else(absent)?;
    let seen = live
        .service
        .seen(method, arrival.target, arrival.body, |action| way::names(&bearer.chain, action.name()));
    let (declared, params) = seen.map_err(|unfit| match unfit {
        Unfit::Absent => absent(),
        Unfit::Invalid(detail) => invalid(detail),
    })?;
    let has_body = matches!(arrival.body, SeenBody::Whole(body) if !body.is_empty());
    if has_body && !declared.stream() {
        let kind =
            once(arrival.headers, "content-type").map_err(|problem| invalid(problem.detail().into()))?;
        way::expect_type(kind, declared.content_type())
            .map_err(|problem| invalid(problem.detail().into()))?;
    }
    let version = ServiceVersion { name: live.service.name().to_owned(), version: live.version };
    Action::declared(version, declared, None, &params)
}

/// Records the refusal of what is no action for whoever sent it; equal ones within a minute become one entry. Nothing of
/// the path is in it: nobody knows what of that is secret.
async fn undescribed(
    app: &App,
    server: &ResourceServer,
    bearer: &Arc<Bearer>,
    arrival: &Arrival<'_>,
    reason: Reason,
) -> Result<Problem, Problem> {
    let now = app.clock.now();
    let id: DecisionId = clock::fresh(now);
    let body = json!({"service": arrival.service, "method": arrival.method, "detail": reason.detail,
        "resource_server": server.name});
    let envelope = Envelope {
        decision: Some(leaf::Verdict::Deny),
        codes: vec![reason.code.as_str().to_owned()],
        source: recording::source(arrival.source.0),
        door: Some(arrival.door.to_owned()),
        by: Some(server.id.to_string()),
        ..recording::attributed(EntryType::DecisionDeny, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let stated = serde_json::to_vec(&(bearer.chain.leaf().grant.id, server.id, &body, &envelope.source));
    let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
    let key = sha256(&[arrival.door.as_bytes(), b" undescribed ", &stated]);
    app.record_denial(&bearer.chain, key, (envelope, &body), None, now).await?;
    way::count(app, "deny", reason.code.as_str());
    Ok(Problem::from(reason).with("decision", "deny").with("id", id.to_string()))
}

/// The member of an approval that is told.
fn of_approval<'a>(approval: &'a Value, member: &str) -> Option<&'a str> {
    approval.get(member).and_then(Value::as_str)
}
