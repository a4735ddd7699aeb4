//! `/v1/approvals`: people see what was held, and say yes or no (DESIGN §6).
//!
//! Invariant: only a person's own session decides. The administrator token sees approvals and decides none; an agent
//! sees of its own ones whether there is an answer yet.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{
    approval::{Approval, ApprovalState, DecideError, Verdict},
    id::ApprovalId,
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
};
use placet_store::{
    Tx,
    approvals::{self, Filter},
    users,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many approvals are read at a time where all that wait are gone through.
const BATCH: usize = 200;

/// A person's answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    verdict: Verdict,
}

/// `GET /v1/approvals`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["state", "after", "limit"])?;
    let (after, limit, state) = (query.parsed("after")?, query.limit()?, state(query.text("state"))?);
    let (asking, now) = (caller.clone(), app.clock.now());
    let found = app
        .store
        .read(move |q| {
            let filter = match &asking {
                Caller::Agent(bearer) => Filter { agent: Some(bearer.chain.agent().id), ..Filter::default() },
                Caller::User(signed_in) => Filter { concerning: Some(&signed_in.user), ..Filter::default() },
                Caller::AdminToken => Filter::default(),
            };
            approvals::list(q, Filter { state, ..filter }, now, after, limit)
        })
        .await?;
    let next = found.last().filter(|_| found.len() == limit).map(|held| held.approval.id);
    let listed: Vec<_> = found.iter().map(|held| shown_to(&caller, &held.approval, now)).collect();
    Ok(Json(json!({"approvals": listed, "next": next})))
}

/// `GET /v1/approvals/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    let held = app.store.read(move |q| approvals::find(q, id)).await?;
    let sees = |approval: &Approval| match &caller {
        Caller::Agent(bearer) => approval.agent == bearer.chain.agent().id,
        Caller::User(signed_in) => approval.concerns(&signed_in.user),
        Caller::AdminToken => true,
    };
    let held = held.filter(|held| sees(&held.approval)).ok_or_else(unknown)?;
    Ok(Json(shown_to(&caller, &held.approval, app.clock.now())))
}

/// `POST /v1/approvals/{id}`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(Said { verdict }): JsonBody<Said>,
) -> Answer<Json<Value>> {
    let person = caller.person()?.user.id;
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    let (now, shared) = (app.clock.now(), Arc::clone(&app));
    let decided = app
        .store
        .write(move |tx| {
            // As of this transaction: a role that was taken away meanwhile counts no more.
            let person = users::find(tx, person)?.ok_or_else(unknown)?;
            let held = approvals::find(tx, id)?
                .filter(|held| held.approval.concerns(&person))
                .ok_or_else(unknown)?;
            let decided = held.approval.decide(&person, verdict, now).map_err(refused)?;
            if !approvals::save_decision(tx, held.version, &decided)? {
                return Err(Problem::of(
                    Code::Conflict,
                    "somebody else answered at the same time: look again",
                ));
            }
            let entry_type = match verdict {
                Verdict::Approve => EntryType::ApprovalApproved,
                Verdict::Deny => EntryType::ApprovalDenied,
            };
            let envelope = Envelope {
                source: recording::source(source.0),
                ..about(entry_type, &decided, person.id.to_string(), now)
            };
            let vote = decided.votes.last().map(|vote| json!({"vote": vote}));
            tx.record(shared.prepare(envelope, vote.as_ref())?)?;
            Ok(decided)
        })
        .await?;
    Ok(Json(shown_to(&caller, &decided, now)))
}

/// Ends the approvals that wait for a request through service `name`: they are bound to its version before.
///
/// # Errors
/// Faults, and what preparing an entry meets.
pub(crate) fn end_those_of(
    tx: &mut Tx<'_>,
    app: &App,
    name: &str,
    by: &str,
    now: Timestamp,
) -> Result<(), Problem> {
    let pending = Filter { state: Some(ApprovalState::Pending), ..Filter::default() };
    let mut after = None;
    loop {
        let page = approvals::list(tx, pending, now, after, BATCH)?;
        for held in &page {
            if service_of(&held.approval) != Some(name) {
                continue;
            }
            let ended = Approval { expires: now, ..held.approval.clone() };
            if approvals::save_decision(tx, held.version, &ended)? {
                let envelope = about(EntryType::ApprovalExpired, &ended, by.to_owned(), now);
                tx.record(app.prepare(envelope, None)?)?;
            }
        }
        after = page.last().map(|held| held.approval.id);
        if page.len() < BATCH {
            return Ok(());
        }
    }
}

/// An entry about an approval. `outcome` is its state after what is recorded: `pending` while others have to answer.
pub(crate) fn about(entry_type: EntryType, approval: &Approval, by: String, now: Timestamp) -> Envelope {
    Envelope {
        agent: Some(approval.agent),
        grants: vec![approval.grant],
        task: approval.task,
        user: approval.user,
        action: approval.shown.get("action").and_then(Value::as_str).map(str::to_owned),
        action_id: Some(approval.action_id),
        service: approval.shown.get("service").and_then(Value::as_str).map(str::to_owned),
        approval: Some(approval.id),
        outcome: Some(approval.state_at(now).as_str().to_owned()),
        ..recording::by(entry_type, now, by)
    }
}

/// The name of the service that the held request goes through.
fn service_of(approval: &Approval) -> Option<&str> {
    Some(approval.shown.get("service")?.as_str()?.rsplit_once('@')?.0)
}

fn shown_to(caller: &Caller, approval: &Approval, now: Timestamp) -> Value {
    let state = approval.state_at(now);
    if matches!(caller, Caller::Agent(_)) {
        return json!({"id": approval.id, "state": state, "expires": approval.expires});
    }
    let requirements: Vec<_> = approval
        .requirements
        .iter()
        .enumerate()
        .map(|(index, needed)| {
            let by: Vec<_> = needed.by.iter().map(ToString::to_string).collect();
            let met = approval.votes.iter().any(|vote| vote.verdict == Verdict::Approve && vote.met.contains(&index));
            json!({"policy": needed.policy, "rule": needed.rule, "by": by, "within": needed.within, "met": met})
        })
        .collect();
    json!({
        "id": approval.id, "state": state, "created": approval.created, "expires": approval.expires,
        "action_id": approval.action_id, "agent": approval.agent, "user": approval.user, "grant": approval.grant,
        "task": approval.task, "shown": approval.shown, "requirements": requirements, "votes": approval.votes,
    })
}

fn state(word: Option<&str>) -> Result<Option<ApprovalState>, Problem> {
    use ApprovalState::{Approved, Denied, Expired, Pending, Used};
    let Some(word) = word else { return Ok(None) };
    let found = [Pending, Approved, Denied, Used, Expired].into_iter().find(|state| state.as_str() == word);
    let wrong = || {
        Problem::of(Code::RequestInvalid, "`state` is `pending`, `approved`, `denied`, `used` or `expired`")
    };
    found.map(Some).ok_or_else(wrong)
}

fn refused(error: DecideError) -> Problem {
    match error {
        DecideError::NotPending(_) => Problem::of(Code::Conflict, error.to_string()),
        DecideError::NotYours => Problem::of(Code::NotPermitted, error.to_string()),
    }
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such approval, or it is not for you to see")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_by_their_words() {
        assert_eq!(state(None).unwrap(), None);
        assert_eq!(state(Some("used")).unwrap(), Some(ApprovalState::Used));
        assert_eq!(state(Some("Used")).unwrap_err().code(), Code::RequestInvalid);
    }
}
