//! Carrying out what was admitted, concluding it, and answering.

use super::{Asked, Described};
use crate::{app::App, bearer::Bearer, problem::Problem, recording};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    id::ActionId,
    record::{EntryType, Envelope},
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
};
use placet_gateway::{Happened, ResponseBody, UpstreamFailure, UpstreamResponse};
use placet_store::{Admitted, Conclusion, actions::ActionState, admit::Replay};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long an upstream may take.
pub(super) const UPSTREAM_TIME: Duration = Duration::from_secs(30);
/// The kind of row that an idempotent answer is sealed to.
pub(crate) const ANSWER_KIND: &str = "answer";

/// What the action door answers, but for refusals.
#[derive(Debug, Clone)]
pub enum Answered {
    /// It was carried out.
    Executed {
        /// The action.
        id: ActionId,
        /// `{status, headers, body}` of the upstream's answer.
        result: Value,
    },
    /// People have been asked.
    Held {
        /// The held action.
        id: ActionId,
        /// `{id, url, expires, rule}`.
        approval: Value,
    },
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        match self {
            Self::Executed { id, result } => {
                Json(json!({"status": "executed", "id": id, "result": result})).into_response()
            }
            Self::Held { id, approval } => {
                (StatusCode::ACCEPTED, Json(json!({"status": "held", "id": id, "approval": approval})))
                    .into_response()
            }
        }
    }
}

/// Sends the call and concludes the action. It runs to its end even if the agent goes away.
///
/// # Errors
/// A 502 or 504 that says whether the action may have happened.
pub(super) async fn perform(
    app: &Arc<App>,
    admitted: Admitted,
    bearer: &Bearer,
    described: Described,
    asked: &Asked,
) -> Result<Answered, Problem> {
    let recorded = Envelope {
        action: Some(described.action.name.as_str().to_owned()),
        action_id: Some(admitted.action()),
        service: described.action.service.as_ref().map(ToString::to_string),
        connection: described.action.connection,
        source: recording::source(asked.source),
        ..recording::attributed(
            EntryType::ActionOutcome,
            app.clock.now(),
            &bearer.chain,
            Some(bearer.claims.jti),
        )
    };
    let wait = asked.idempotency_key.is_some();
    let app = Arc::clone(app);
    let running = tokio::spawn(async move { carry_out(&app, admitted, described, recorded, wait).await });
    running
        .await
        .map_err(|_| Problem::of(Code::Internal, "the action stopped with a bug; its outcome is unknown"))?
}

async fn carry_out(
    app: &App,
    admitted: Admitted,
    described: Described,
    recorded: Envelope,
    wait: bool,
) -> Result<Answered, Problem> {
    let id = admitted.action();
    let no_effect = described.declared().map(|declared| declared.no_effect().to_vec()).unwrap_or_default();
    let Some(credential) = &described.connection.credential else {
        return Err(Problem::of(Code::Internal, "the connection has no credential"));
    };
    let began = Instant::now();
    let deadline = tokio::time::Instant::from_std(began + UPSTREAM_TIME);
    let sent = app.gateway.send(described.call.clone(), &described.live.route, credential, deadline).await;
    app.operations.metrics.upstream_took.observe(began.elapsed());
    let (state, status, give_back) = match &sent {
        Ok(response) => (ActionState::Done, Some(response.status), no_effect.contains(&response.status)),
        Err(failure) => match failure.happened() {
            Happened::No => (ActionState::Failed, None, true),
            Happened::Yes => (
                ActionState::Done,
                failure.status(),
                failure.status().is_some_and(|s| no_effect.contains(&s)),
            ),
            Happened::Unknown => (ActionState::Unknown, failure.status(), false),
        },
    };
    app.operations.metrics.upstream.add(&[("outcome", state.as_str())]);
    let answer = sent.map(result);
    let envelope =
        Envelope { outcome: Some(state.as_str().to_owned()), status, at: app.clock.now(), ..recorded };
    let sealed = match (&answer, wait) {
        (Ok(result), true) => Some(seal(app, id, result)?),
        _ => None,
    };
    let conclusion = Conclusion {
        action: id,
        from: ActionState::Pending,
        state,
        status,
        at: envelope.at,
        give_back,
        answer: sealed,
        outcome: app.prepare(envelope, None)?,
    };
    let began = Instant::now();
    let concluded = app.store.conclude(conclusion);
    if wait {
        let concluded = concluded.await;
        app.operations.metrics.conclude.observe(began.elapsed());
        concluded.map_err(|error| {
            tracing::error!(%error, action = %id, "the action could not be concluded");
            Problem::of(Code::Unavailable, "the action ran, but its outcome could not be kept")
                .with("happened", "yes")
        })?;
    }
    match answer {
        Ok(result) => Ok(Answered::Executed { id, result }),
        Err(failure) => Err(failed(&failure, id)),
    }
}

/// `{status, headers, body}`: JSON as JSON, other text as text, other bytes as base64.
fn result(response: UpstreamResponse) -> Value {
    let body = match response.body {
        ResponseBody::Json(value) => value,
        ResponseBody::Text(text) => Value::String(text),
        ResponseBody::Bytes(bytes) => json!({"base64": STANDARD.encode(bytes)}),
    };
    let headers: serde_json::Map<String, Value> =
        response.headers.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    json!({"status": response.status, "headers": headers, "body": body})
}

/// The refusal for an upstream that gave no usable answer.
fn failed(failure: &UpstreamFailure, id: ActionId) -> Problem {
    let code = match failure {
        failure if failure.timed_out() => Code::UpstreamTimeout,
        UpstreamFailure::Answered { .. } => Code::UpstreamUnreadable,
        _ => Code::UpstreamUnreachable,
    };
    let happened = match failure.happened() {
        Happened::No => "no",
        Happened::Unknown => "unknown",
        Happened::Yes => "yes",
    };
    Problem::of(code, failure.to_string()).with("id", id.to_string()).with("happened", happened)
}

fn seal(app: &App, id: ActionId, result: &Value) -> Result<Vec<u8>, Problem> {
    let row = id.to_string();
    let aad = Aad { kind: ANSWER_KIND, row: &row, version: 1 };
    let text = serde_json::to_vec(result).map_err(|_| unsealed())?;
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(crate::clock::entropy()), &text);
    Ok(sealed.map_err(|_| unsealed())?.to_bytes())
}

fn unsealed() -> Problem {
    Problem::of(Code::Internal, "the kept answer can't be read")
}

/// Answers a request whose idempotency key was used for the same request before.
///
/// # Errors
/// What the first one was answered with, where it failed; `unknown` is told as unknown.
pub(super) fn replay(app: &App, replay: &Replay) -> Result<Answered, Problem> {
    let id = replay.action;
    match (&replay.answer, replay.state) {
        (Some(sealed), _) => {
            let row = id.to_string();
            let aad = Aad { kind: ANSWER_KIND, row: &row, version: 1 };
            let opened = Sealed::from_bytes(sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
            let opened = opened.map_err(|_| unsealed())?;
            let result = serde_json::from_slice(opened.expose()).map_err(|_| unsealed())?;
            Ok(Answered::Executed { id, result })
        }
        (None, ActionState::Failed) => {
            let problem = Problem::of(
                Code::UpstreamUnreachable,
                "the first request with this idempotency key was not carried out",
            );
            Err(problem.with("id", id.to_string()).with("happened", "no"))
        }
        (None, ActionState::Done) => {
            let detail = "the first request with this idempotency key was carried out, but its answer can't be passed on";
            Err(Problem::of(Code::UpstreamUnreadable, detail)
                .with("id", id.to_string())
                .with("happened", "yes"))
        }
        (None, ActionState::Unknown | ActionState::Pending) => {
            let detail = "it is unknown whether the first request with this idempotency key was carried out";
            Err(Problem::of(Code::UpstreamTimeout, detail)
                .with("id", id.to_string())
                .with("happened", "unknown"))
        }
    }
}
