//! Refusals on the way: what was refused and why is recorded, and then told.
//!
//! Invariant: nobody is told of a refusal by the rules that is not in the record.

use super::{
    Asked, Stop, Wanted,
    case::{Case, count, labels},
    observe, socket,
};
use crate::{
    app::App,
    bearer::{self, Bearer},
    clock,
    problem::Problem,
    recording,
    sender::Held,
};
use placet_core::{
    id::DecisionId,
    pattern::ActionName,
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reader, Reason},
    secret::sha256,
    time::Timestamp,
};
use serde_json::json;

impl Case<'_> {
    /// Denies the request.
    pub(super) async fn deny(&self, reasons: Vec<Reason>) -> Stop {
        // Where it can't be recorded, that is the refusal.
        self.denied(reasons).await.unwrap_or_else(|unrecorded| unrecorded).into()
    }

    /// Records a refusal and makes its problem document. Equal refusals within a minute become one entry with a count.
    async fn denied(&self, reasons: Vec<Reason>) -> Result<Problem, Problem> {
        let Self { app, asked, bearer, described, judgement, now } = self;
        let now = *now;
        let id: DecisionId = clock::fresh(now);
        let mut codes: Vec<String> = Vec::new();
        for reason in &reasons {
            if !codes.iter().any(|code| code == reason.code.as_str()) {
                codes.push(reason.code.as_str().to_owned());
            }
        }
        let envelope = Envelope {
            action: Some(described.action.name.as_str().to_owned()),
            service: described.action.service.as_ref().map(ToString::to_string),
            connection: described.action.connection,
            decision: Some(leaf::Verdict::Deny),
            rule: reasons.iter().find_map(|reason| reason.rule.clone()),
            policies: labels(bearer.policies.labels()),
            codes: codes.clone(),
            source: recording::source(asked.source),
            door: Some(asked.door.as_str().to_owned()),
            approval: asked.approval,
            ..recording::attributed(EntryType::DecisionDeny, now, &bearer.chain, Some(bearer.claims.jti))
        };
        let body = recording::action_body(&described.action, described.secret(), &reasons)?;
        let body = observe::beside(body, &judgement.observed);
        // Equal means equal in everything but the time and the token: whatever else the entry states.
        let stated = serde_json::to_vec(&(
            (&described.action.params, described.action.resource.to_string(), &reasons),
            (
                described.action.connection,
                asked.approval,
                &envelope.source,
                &envelope.door,
                &envelope.policies,
            ),
            (&judgement.observed, described.action.facts.shown()),
        ));
        let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
        let key = sha256(&[
            bearer.chain.leaf().grant.id.to_string().as_bytes(),
            b"\0",
            described.action.name.as_str().as_bytes(),
            b"\0",
            codes.join(",").as_bytes(),
            b"\0",
            &stated,
        ]);
        let observed =
            observe::noted(&judgement.observed, &bearer.chain, &described.action.name, leaf::Verdict::Deny);
        app.store.observe(observed, now).await?;
        app.record_denial(&bearer.chain, key, (envelope, &body), bearer.policies.keep_until(now), now)
            .await?;
        count(app, "deny", reasons.first().map_or("", |reason| reason.code.as_str()));
        Ok(Problem::new(reasons, Reader::Agent)
            .with("decision", "deny")
            .with("id", id.to_string())
            .with("action", described.action.name.as_str())
            .with("resource", described.action.resource.to_string()))
    }
}

/// Refuses what no action could be made of at its door, and records that.
pub async fn refuse(app: &App, held: &Held, asked: &Asked, problem: Problem) -> Problem {
    let refused = async {
        let bearer = bearer::live(app, held).await?;
        deny_undescribed(app, &bearer, asked, problem, app.clock.now()).await
    };
    refused.await.unwrap_or_else(|problem| problem)
}

/// Records the refusal of what could not even be described for this grant, and makes its problem document. Parameters
/// stay out of it: without a declaration nobody knows which of them are secret.
pub(super) async fn deny_undescribed(
    app: &App,
    bearer: &Bearer,
    asked: &Asked,
    problem: Problem,
    now: Timestamp,
) -> Result<Problem, Problem> {
    let id: DecisionId = clock::fresh(now);
    let (action, body) = match &asked.wanted {
        Wanted::Action { service, action, connection, .. } => (
            ActionName::parse(action).map(|name| name.as_str().to_owned()).ok(),
            json!({"service": service, "connection": connection, "detail": problem.detail()}),
        ),
        Wanted::Call(arrived) => (
            None,
            json!({"connection": arrived.connection, "method": arrived.method, "detail": problem.detail()}),
        ),
        Wanted::Message { socket, .. } => (None, socket::named(socket, problem.detail())),
    };
    let envelope = Envelope {
        action: action.clone(),
        decision: Some(leaf::Verdict::Deny),
        codes: vec![problem.code().as_str().to_owned()],
        source: recording::source(asked.source),
        door: Some(asked.door.as_str().to_owned()),
        approval: asked.approval,
        ..recording::attributed(EntryType::DecisionDeny, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let from = (&envelope.source, &envelope.door);
    let stated = serde_json::to_vec(&(bearer.chain.leaf().grant.id, &action, &body, asked.approval, from));
    let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
    let key = sha256(&[b"undescribed", &stated]);
    app.record_denial(&bearer.chain, key, (envelope, &body), None, now).await?;
    count(app, "deny", problem.code().as_str());
    let problem = problem.with("decision", "deny").with("id", id.to_string());
    Ok(match action {
        Some(action) => problem.with("action", action),
        None => problem,
    })
}
