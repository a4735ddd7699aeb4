//! `POST /v1/decisions/{id}/outcome`: what became of a charged decision.
//!
//! `happened: yes` keeps what was charged, and so does saying nothing at all; `no` gives it back. Saying the same again
//! is saying it once.
//!
//! Invariant: only the resource server that charged a decision closes it, once; nothing that may have happened is given
//! back.

use super::asking::OnlyResourceServer;
use crate::{
    app::App,
    body::JsonBody,
    caller::Source,
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{
    id::{ActionId, DecisionId},
    record::{EntryType, Envelope},
    refusal::Code,
};
use placet_store::{
    ConcludeError, Conclusion, Fault,
    actions::{self, ActionState, StoredAction},
    decisions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What became of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outcome {
    #[serde(default)]
    happened: Happened,
    status: Option<u16>,
}

/// Whether it was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Happened {
    /// It was, or may have been.
    #[default]
    Yes,
    /// It certainly was not.
    No,
}

/// `POST /v1/decisions/{id}/outcome {happened?, status?}`
pub(crate) async fn outcome(
    State(app): State<Arc<App>>,
    OnlyResourceServer(server): OnlyResourceServer,
    source: Source,
    Path(id): Path<String>,
    body: Option<JsonBody<Outcome>>,
) -> Answer<Json<Value>> {
    let Outcome { happened, status } = body.map(|JsonBody(body)| body).unwrap_or_default();
    if status.is_some_and(|status| !(100..600).contains(&status)) {
        return Err(Problem::of(Code::RequestInvalid, "`status` is an HTTP status"));
    }
    let unknown = || Problem::of(Code::NotFound, "there is no such decision, or it is not yours to close");
    let decision: DecisionId = id.parse().map_err(|_| unknown())?;
    let action: ActionId = decision.as_kind();
    let closes = server.id;
    let found = app
        .store
        .read(move |q| {
            let by = decisions::performed_by(q, action)?;
            Ok::<_, Fault>(actions::find(q, action)?.filter(|_| by == Some(closes)))
        })
        .await?;
    let stored = found.ok_or_else(unknown)?;
    let state = if happened == Happened::Yes { ActionState::Done } else { ActionState::Failed };
    let answer = || {
        Json(json!({"id": decision, "happened": if state == ActionState::Done { "yes" } else { "no" },
            "charged": state == ActionState::Done}))
    };
    // A restart makes `unknown` of what was open: still charged, still to be closed.
    for from in [ActionState::Pending, ActionState::Unknown] {
        let conclusion = Conclusion {
            action,
            from,
            state,
            status,
            at: app.clock.now(),
            give_back: happened == Happened::No,
            answer: None,
            outcome: app
                .prepare(envelope(&app, &stored, state, status, source, &server.id.to_string()), None)?,
        };
        match app.store.conclude(conclusion).await {
            Ok(()) => return Ok(answer()),
            Err(ConcludeError::NotInFlight) => {}
            Err(ConcludeError::Fault(fault)) => return Err(fault.into()),
            Err(ConcludeError::NoWay { .. }) => {
                return Err(Problem::of(Code::Internal, "an outcome has no way from where the decision is"));
            }
        }
    }
    let now = app.store.read(move |q| actions::find(q, action)).await?.ok_or_else(unknown)?;
    if now.state == state {
        return Ok(answer());
    }
    Err(Problem::of(Code::Conflict, "the decision was closed with another outcome"))
}

fn envelope(
    app: &App,
    stored: &StoredAction,
    state: ActionState,
    status: Option<u16>,
    source: Source,
    by: &str,
) -> Envelope {
    Envelope {
        agent: Some(stored.agent),
        grants: vec![stored.grant],
        task: stored.task,
        user: stored.user,
        action_id: Some(stored.id),
        outcome: Some(state.as_str().to_owned()),
        status,
        source: recording::source(source.0),
        ..recording::by(EntryType::ActionOutcome, app.clock.now(), by.to_owned())
    }
}
