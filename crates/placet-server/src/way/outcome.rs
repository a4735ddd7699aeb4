//! Carrying out what was admitted, concluding it, and answering.
//!
//! Invariant: what happened is on its way into the record before its answer is shaped or looked through. What is kept for a
//! key is kept whole, and a replay is shaped by what holds then.

use super::{
    Arrived, ArrivedBody, Asked, Described, Wanted,
    detected::{self, Detecting, Given},
    passing,
    returned::Keeping,
    shaped::{self, Shaping},
    socket, turn,
};
use crate::{app::App, bearer::Bearer, connections, problem::Problem, recording};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{
    detect::Found,
    id::ActionId,
    record::{EntryType, Envelope},
    refusal::Code,
    seal::{Aad, SealEntropy, Sealed},
    shape::Withheld,
};
use placet_gateway::{Following, Happened, ResponseBody, Unknown, UpstreamFailure, UpstreamResponse};
use placet_store::{Admitted, Conclusion, actions::ActionState, admit::Replay};
use serde_json::{Value, json};
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

/// How long an upstream may take.
pub(super) const UPSTREAM_TIME: Duration = Duration::from_secs(30);
/// The status of an upstream that refuses the credential.
pub(super) const REFUSED: u16 = 401;
/// The kind of row that an idempotent answer is sealed to.
pub(crate) const ANSWER_KIND: &str = "answer";

/// What a door answers, but for refusals.
#[derive(Debug)]
pub enum Answered {
    /// It was carried out.
    Executed {
        /// The action.
        id: ActionId,
        /// `{status, headers, body}` of the upstream's answer.
        result: Value,
        /// What `body` stands for.
        form: Form,
    },
    /// It was carried out, and the answer is passed on as it comes (proxy door).
    Passed(Response),
    /// People have been asked.
    Held {
        /// The held action.
        id: ActionId,
        /// `{id, url, expires, rule}`.
        approval: Value,
    },
}

/// What the body of a result stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The JSON that it is.
    Json,
    /// The text in a string.
    Text,
    /// The bytes in `{base64}`.
    Bytes,
}

impl Form {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Json, "json"), (Self::Text, "text"), (Self::Bytes, "bytes")];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(form, _)| *form == self).map_or("json", |(_, word)| word)
    }

    fn of(body: &ResponseBody) -> Self {
        match body {
            ResponseBody::Json(_) => Self::Json,
            ResponseBody::Text(_) => Self::Text,
            ResponseBody::Bytes(_) => Self::Bytes,
        }
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        match self {
            Self::Executed { id, result, .. } => {
                Json(json!({"status": "executed", "id": id, "result": result})).into_response()
            }
            Self::Passed(response) => response,
            Self::Held { id, approval } => {
                (StatusCode::ACCEPTED, Json(json!({"status": "held", "id": id, "approval": approval})))
                    .into_response()
            }
        }
    }
}

/// Sends the call and concludes the action.
///
/// # Errors
/// A 502 or 504 (408, where the agent itself was too slow) that says whether the action may have happened.
pub(super) async fn perform(
    app: &Arc<App>,
    admitted: Admitted,
    bearer: &Bearer,
    (described, shaping, detecting): (Described, Option<Shaping>, Option<Detecting>),
    asked: &Asked,
) -> Result<Answered, Problem> {
    let described = if shaping.is_some() { shaped::in_its_own_layout(described) } else { described };
    let recorded = recorded(app, admitted.action(), bearer, &described, asked);
    let wait = asked.idempotency_key.is_some();
    let keeping = Keeping::of(bearer, &described);
    // It runs to its end in the task that it has of its own (`wait`), even if the agent goes away.
    match &asked.wanted {
        Wanted::Message { socket, .. } => {
            socket::say(Arc::clone(app), admitted, described, recorded, Arc::clone(socket)).await
        }
        Wanted::Call(Arrived { body: ArrivedBody::Socket { asking, .. }, .. }) => {
            let asking = asking.lock().unwrap_or_else(PoisonError::into_inner).take();
            let gone = || Problem::of(Code::Internal, "the connection was switched over before");
            let grant = bearer.chain.leaf().grant.id;
            let asking = *asking.ok_or_else(gone)?;
            socket::open(Arc::clone(app), admitted, described, recorded, asking, grant).await
        }
        // What is kept for its key is read whole, at whichever door.
        Wanted::Call(arrived) if !wait => {
            let upload = match &arrived.body {
                ArrivedBody::Stream(upload) => upload.lock().unwrap_or_else(PoisonError::into_inner).take(),
                _ => None,
            };
            let grant = bearer.chain.leaf().grant.id;
            let of_it = passing::Of { shaping, detecting, keeping };
            passing::pass(Arc::clone(app), admitted, (described, of_it), recorded, upload, grant).await
        }
        _ => {
            // What rules shape or look through is not said in other ways.
            let silent = shaping.is_some() || detecting.is_some();
            let following = asked.following.as_ref();
            let following = following.map(|it| if silent { it.in_silence() } else { it.clone() });
            let of_it = passing::Of { shaping, detecting, keeping };
            Box::pin(carry_out(app, admitted, (described, of_it), (recorded, following), wait)).await
        }
    }
}

/// What entries about the outcome of an action say of it.
fn recorded(app: &App, id: ActionId, bearer: &Bearer, described: &Described, asked: &Asked) -> Envelope {
    Envelope {
        action: Some(described.action.name.as_str().to_owned()),
        action_id: Some(id),
        service: described.action.service.as_ref().map(ToString::to_string),
        connection: described.action.connection,
        source: recording::source(asked.source),
        door: Some(asked.door.as_str().to_owned()),
        ..recording::attributed(
            EntryType::ActionOutcome,
            app.clock.now(),
            &bearer.chain,
            Some(bearer.claims.jti),
        )
    }
}

async fn carry_out(
    app: &App,
    admitted: Admitted,
    (mut described, passing::Of { shaping, detecting, keeping }): (Described, passing::Of),
    (recorded, following): (Envelope, Option<Following>),
    wait: bool,
) -> Result<Answered, Problem> {
    let id = admitted.action();
    let Some(credential) = described.connection.credential() else {
        return Err(Problem::of(Code::Internal, "the connection has no credential"));
    };
    let _place = described.place.take();
    let began = Instant::now();
    let deadline = tokio::time::Instant::from_std(began + turn::time(&described.live));
    let (call, route) = (described.call.clone(), &described.live.route);
    let sent = app.gateway.send_followed(call, route, credential, deadline, following.as_ref()).await;
    app.operations.metrics.upstream_took.observe(began.elapsed());
    // A program is its connection's alone: how it ends says nothing about those of others.
    if let Some(turn) = described.turn.take().filter(|_| described.live.route.command().is_none()) {
        turn.conclude(described.live.service.kind(), sent.as_ref());
    }
    if let Ok(response) = &sent {
        connections::heard(app, &described.connection, Some(described.by), response.status);
    }
    let refused = sent.as_ref().ok().filter(|response| response.status == REFUSED);
    let refused = refused.map(|response| response.invalid_token);
    let settled = Settled::of(&described, sent.as_ref().map(|response| response.status));
    let answer = sent.map(|response| (Form::of(&response.body), result(response)));
    // What happened is recorded whether its answer can be kept or not (nothing is sealed while the store is silent): a
    // retry is then told that it happened, and not what came of it.
    let sealed = match (&answer, wait) {
        (Ok((form, result)), true) => seal(app, id, result, *form)
            .inspect_err(|_| tracing::warn!(action = %id, "the answer can't be kept for its idempotency key"))
            .ok(),
        _ => None,
    };
    if wait {
        let began = Instant::now();
        let concluded = app.store.conclude(conclusion(app, id, settled, recorded.clone(), sealed)?).await;
        app.operations.metrics.conclude.observe(began.elapsed());
        concluded.map_err(|error| {
            tracing::error!(%error, action = %id, "the action could not be concluded");
            Problem::of(Code::Unavailable, "the action ran, but its outcome could not be kept")
                .with("happened", "yes")
        })?;
    } else {
        finish(app, id, settled, recorded.clone());
    }
    if let Some(invalid_token) = refused {
        described.doubt(app, invalid_token).await;
    }
    let (form, result) = match (answer, shaping) {
        // What is kept is kept whole: a replay is shaped anew, by what holds then.
        (Ok((form, result)), Some(shaping)) => match shaping.result(form, result).await {
            Ok(shaped) => shaped,
            Err(why) => {
                return Err(shaped::refuse(app, &why, id, recorded, &Found::default(), Given::First).await?);
            }
        },
        (Ok(whole), None) => whole,
        (Err(failure), _) => return Err(failed(&failure, id)),
    };
    let (form, result) = match detecting {
        None => (form, result),
        Some(detecting) => match detecting.result(form, result).await {
            (found, Ok(left)) => {
                detected::record(app, id, &recorded, &found, Given::First).await?;
                left
            }
            (found, Err(why)) => {
                return Err(shaped::refuse(app, &why, id, recorded, &found, Given::First).await?);
            }
        },
    };
    if let Some(keeping) = keeping {
        keeping.result(app, form, &result).await;
    }
    Ok(Answered::Executed { id, result, form })
}

/// What became of an action.
#[derive(Debug)]
pub(super) struct Settled {
    state: ActionState,
    status: Option<u16>,
    give_back: bool,
    /// Why its stream was cut, where it was.
    pub(super) cut: Option<Code>,
}

impl Settled {
    /// By the status of upstream's answer, or what came instead.
    pub(super) fn of(described: &Described, sent: Result<u16, &UpstreamFailure>) -> Self {
        let free = |status: Option<u16>| {
            let declared = described.declared();
            status.is_some_and(|status| declared.is_some_and(|it| it.no_effect().contains(&status)))
        };
        let (state, status, give_back) = match sent {
            Ok(status) => (ActionState::Done, Some(status), free(Some(status))),
            Err(failure) => match failure.happened() {
                Happened::No => (ActionState::Failed, None, true),
                Happened::Yes => (ActionState::Done, failure.status(), free(failure.status())),
                Happened::Unknown => (ActionState::Unknown, failure.status(), false),
            },
        };
        Self { state, status, give_back, cut: None }
    }

    /// Handed over to an open WebSocket: no answer belongs to it.
    pub(super) fn sent() -> Self {
        Self { state: ActionState::Done, status: None, give_back: false, cut: None }
    }

    /// Never sent.
    pub(super) fn unsent() -> Self {
        Self { state: ActionState::Failed, status: None, give_back: true, cut: None }
    }

    /// It may have been sent.
    pub(super) fn unknown() -> Self {
        Self { state: ActionState::Unknown, status: None, give_back: false, cut: None }
    }

    /// Cut before upstream's answer began: it may have happened.
    pub(super) fn cut(code: Code) -> Self {
        Self { state: ActionState::Unknown, status: None, give_back: false, cut: Some(code) }
    }
}

/// Concludes an action for whose conclusion nobody waits: it rides with what is written next.
pub(super) fn finish(app: &App, id: ActionId, settled: Settled, recorded: Envelope) {
    let concluded = conclusion(app, id, settled, recorded, None)
        .and_then(|conclusion| app.store.conclude_later(conclusion).map_err(Problem::from));
    if let Err(problem) = concluded {
        tracing::error!(action = %id, problem = problem.detail(), "the action could not be concluded");
    }
}

/// How an action ends, with its entry in the record.
///
/// # Errors
/// The entry can't be made.
fn conclusion(
    app: &App,
    id: ActionId,
    settled: Settled,
    recorded: Envelope,
    answer: Option<Vec<u8>>,
) -> Result<Conclusion, Problem> {
    let Settled { state, status, give_back, cut } = settled;
    // A stream that was cut is told as such, with the reason; what is stored is whether it happened.
    let outcome = if cut.is_some() { "cut" } else { state.as_str() };
    app.operations.metrics.upstream.add(&[("outcome", outcome)]);
    let envelope = Envelope {
        outcome: Some(outcome.to_owned()),
        codes: cut.map(|code| code.as_str().to_owned()).into_iter().collect(),
        status,
        at: app.clock.now(),
        ..recorded
    };
    Ok(Conclusion {
        action: id,
        from: ActionState::Pending,
        state,
        status,
        at: envelope.at,
        give_back,
        answer,
        outcome: app.prepare(envelope, None)?,
    })
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
pub(super) fn failed(failure: &UpstreamFailure, id: ActionId) -> Problem {
    let code = match failure {
        failure if failure.timed_out() => Code::UpstreamTimeout,
        UpstreamFailure::Unknown { reason: Unknown::SlowUpload, .. } => Code::RequestSlow,
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

/// An answer as it is kept: the result, and what its body stands for.
fn seal(app: &App, id: ActionId, result: &Value, form: Form) -> Result<Vec<u8>, Problem> {
    let row = id.to_string();
    let aad = Aad { kind: ANSWER_KIND, row: &row, version: 1 };
    let text = serde_json::to_vec(&(form.as_str(), result)).map_err(|_| unsealed())?;
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(crate::clock::entropy()), &text);
    Ok(sealed.map_err(|_| unsealed())?.to_bytes())
}

fn unsealed() -> Problem {
    Problem::of(Code::Internal, "the kept answer can't be read")
}

/// Answers a request whose idempotency key was used for the same request before, shaped by what holds now.
///
/// # Errors
/// What the first one was answered with, where it failed; `unknown` is told as unknown.
pub(super) async fn replay(
    app: &App,
    replay: &Replay,
    (bearer, described, asked): (&Bearer, &Described, &Asked),
    (shaping, detecting): (Option<Shaping>, Option<Detecting>),
) -> Result<Answered, Problem> {
    let id = replay.action;
    match (&replay.answer, replay.state) {
        (Some(sealed), _) => {
            let row = id.to_string();
            let aad = Aad { kind: ANSWER_KIND, row: &row, version: 1 };
            let opened = Sealed::from_bytes(sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
            let opened = opened.map_err(|_| unsealed())?;
            let (form, result): (String, Value) =
                serde_json::from_slice(opened.expose()).map_err(|_| unsealed())?;
            let form = Form::ALL.iter().find(|(_, word)| *word == form).map_or(Form::Json, |(form, _)| *form);
            let (form, result) = match shaping {
                None => (form, result),
                // It may have been kept before anything shaped it, in a layout that the agent chose.
                Some(_) if shaped::chooses_layout(described) => {
                    return Err(shaped::withheld(&Withheld::NotJson, id));
                }
                Some(shaping) => {
                    shaping.result(form, result).await.map_err(|why| shaped::withheld(&why, id))?
                }
            };
            let (form, result) = match detecting {
                None => (form, result),
                Some(detecting) => {
                    // The record says what an agent was given, and by which rules: those of today.
                    let (found, left) = detecting.result(form, result).await;
                    let recorded = recorded(app, id, bearer, described, asked);
                    match left {
                        Ok(left) => {
                            detected::record(app, id, &recorded, &found, Given::Again).await?;
                            left
                        }
                        Err(why) => {
                            return Err(shaped::refuse(app, &why, id, recorded, &found, Given::Again).await?);
                        }
                    }
                }
            };
            Ok(Answered::Executed { id, result, form })
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
