//! `/v1/approvals`: people see what was held, and say yes or no, or more broadly yes (DESIGN §6, `docs/approvals.md`).
//!
//! Invariant: only a person's own session decides. The administrator token sees approvals and decides none; an agent
//! sees of its own ones whether there is an answer yet.

use super::query::QueryParams;
use crate::way::permits::MOST as MOST_PERMITS;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock, liveness,
    problem::{Answer, Problem},
    question, recording,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{
    approval::{
        Approval, ApprovalState, DecideError, Gift, Requirement, Verdict,
        permit::{Asked, Permit, Scope, Terms},
    },
    id::{ApprovalId, UserId},
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
    user::User,
};
use placet_store::{
    Fault, Query, Tx,
    approvals::{self, Filter, Held},
    permits, users,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many approvals are read at a time where all that wait are gone through.
const BATCH: usize = 200;
/// How many approvals one transaction closes.
const CLOSED_AT_ONCE: usize = 50;

/// A person's answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    verdict: Verdict,
    /// More than this once: the terms of a permit, for a yes only.
    permit: Option<Asked>,
    /// The words that the person was shown; where the permit would say something else, nothing is done.
    words: Option<Vec<String>>,
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
            let found = approvals::list(q, Filter { state, ..filter }, now, after, limit)?;
            found.into_iter().map(|held| standing(q, held.approval, now)).collect::<Result<Vec<_>, Fault>>()
        })
        .await?;
    let next = found.last().filter(|_| found.len() == limit).map(|approval| approval.id);
    // What is known by its lineage to have ended is not listed as waiting, even before that is written down.
    let listed: Vec<_> = found
        .iter()
        .filter(|approval| state.is_none_or(|state| approval.state_at(now) == state))
        .map(|approval| shown_to(&caller, approval, now))
        .collect();
    Ok(Json(json!({"approvals": listed, "next": next})))
}

/// `GET /v1/approvals/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    let now = app.clock.now();
    let found = app
        .store
        .read(move |q| match approvals::find(q, id)? {
            Some(held) => standing(q, held.approval, now).map(Some),
            None => Ok(None),
        })
        .await?;
    let sees = |approval: &Approval| match &caller {
        Caller::Agent(bearer) => approval.agent == bearer.chain.agent().id,
        Caller::User(signed_in) => approval.concerns(&signed_in.user),
        Caller::AdminToken => true,
    };
    let approval = found.filter(sees).ok_or_else(unknown)?;
    Ok(Json(shown_to(&caller, &approval, now)))
}

/// `POST /v1/approvals/{id}/permit`: what a permit on these terms would say. It does nothing.
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    JsonBody(asked): JsonBody<Asked>,
) -> Answer<Json<Value>> {
    let person = caller.person()?.user.clone();
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    let now = app.clock.now();
    let found = app.store.read(move |q| approvals::find(q, id)).await?;
    let approval =
        found.map(|held| held.approval).filter(|approval| approval.concerns(&person)).ok_or_else(unknown)?;
    match approval.state_at(now) {
        ApprovalState::Pending => {}
        state => return Err(refused(DecideError::NotPending(state))),
    }
    let (terms, words) = terms(&approval, &person, &asked, now)?;
    Ok(Json(json!({"permit": terms, "words": words})))
}

/// `POST /v1/approvals/{id}`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(Said { verdict, permit, words }): JsonBody<Said>,
) -> Answer<Json<Value>> {
    let person = caller.person()?.user.id;
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    if permit.is_some() && verdict == Verdict::Deny {
        return Err(Problem::of(Code::RequestInvalid, "a permit goes with `approve` only"));
    }
    let (now, shared) = (app.clock.now(), Arc::clone(&app));
    let answer = Answering { verdict, permit, words, source, now };
    let decided = app.store.write(move |tx| answered(tx, &shared, id, person, &answer)).await?;
    app.waiters.answered(id);
    Ok(Json(shown_to(&caller, &decided, now)))
}

/// A person's answer on its way into the store.
struct Answering {
    verdict: Verdict,
    permit: Option<Asked>,
    words: Option<Vec<String>>,
    source: Source,
    now: Timestamp,
}

/// The transaction of an answer: the vote, its entry, and the permits that come of it.
fn answered(
    tx: &mut Tx<'_>,
    app: &App,
    id: ApprovalId,
    person: UserId,
    answer: &Answering,
) -> Result<Approval, Problem> {
    let now = answer.now;
    // As of this transaction: a role that was taken away meanwhile counts no more.
    let person = users::find(tx, person)?.ok_or_else(unknown)?;
    let held = approvals::find(tx, id)?.filter(|held| held.approval.concerns(&person)).ok_or_else(unknown)?;
    let Held { approval, version, .. } = held;
    let approval = standing(tx, approval, now)?;
    // Said again it is the same answer, and recorded once; unless it counts for more by now.
    let counts = answer.verdict == Verdict::Approve
        && approval.state_at(now) == ApprovalState::Pending
        && !approval.open_to(&person).is_empty();
    if answer.permit.is_none() && !counts && approval.has_said(person.id, answer.verdict, None) {
        return Ok(approval);
    }
    let terms = match &answer.permit {
        Some(asked) if approval.state_at(now) == ApprovalState::Pending => {
            let (terms, words) = terms(&approval, &person, asked, now)?;
            if answer.words.as_ref().is_some_and(|shown| *shown != words) {
                let detail = "the permit would say something else than `words`; nothing was done";
                return Err(Problem::of(Code::Conflict, detail).with("words", words));
            }
            Some(terms)
        }
        _ => None,
    };
    if !counts && approval.has_said(person.id, answer.verdict, terms.as_ref()) && terms.is_some() {
        return Ok(approval);
    }
    let mut decided = approval.decide(&person, answer.verdict, terms, now).map_err(refused)?;
    let gifts = decided.gifts();
    if !approvals::save_decision(tx, version, &decided)? {
        return Err(Problem::of(Code::Conflict, "somebody else answered at the same time: look again"));
    }
    let entry_type = match answer.verdict {
        Verdict::Approve => EntryType::ApprovalApproved,
        Verdict::Deny => EntryType::ApprovalDenied,
    };
    let envelope = Envelope {
        source: recording::source(answer.source.0),
        ..about(entry_type, &decided, person.id.to_string(), now)
    };
    let vote = decided.votes.last().map(|vote| json!({"vote": vote}));
    tx.record(app.prepare(envelope, vote.as_ref())?)?;
    for gift in gifts {
        give(tx, app, &decided, gift, now)?;
    }
    Ok(decided)
}

/// Stores a permit that comes of an approval.
fn give(tx: &mut Tx<'_>, app: &App, approval: &Approval, gift: Gift, now: Timestamp) -> Result<(), Problem> {
    let Some(ground) = &approval.ground else { return Ok(()) };
    let Gift { terms, met, by, with } = gift;
    let rules: Vec<&Requirement> = met.iter().filter_map(|index| approval.requirements.get(*index)).collect();
    if permits::live(tx, approval.agent, now, MOST_PERMITS + 1)?.len() >= MOST_PERMITS {
        let detail =
            format!("this agent has {MOST_PERMITS} permits already: take some back, or approve this once");
        return Err(Problem::of(Code::Conflict, detail));
    }
    let permit = Permit {
        id: clock::fresh(now),
        approval: approval.id,
        agent: approval.agent,
        user: approval.user,
        task: approval.task,
        anchor: match terms.scope {
            Scope::Task => ground.task_grant,
            Scope::Grant => approval.grant,
        },
        service: ground.service.clone(),
        connection: ground.connection.clone(),
        rules: rules.iter().map(|rule| (rule.policy.clone(), rule.rule.clone())).collect(),
        first: terms.first(&params(approval)).unwrap_or(0),
        words: terms.words(ground, approval.task, approval.grant, &rules, approval.is_joint()),
        terms,
        given_by: by.id,
        given_name: by.name,
        given_with: with,
        given: now,
    };
    permits::insert(tx, &permit)?;
    let envelope = Envelope {
        permits: vec![permit.id],
        ..about(EntryType::PermitGiven, approval, permit.given_by.to_string(), now)
    };
    tx.record(app.prepare(envelope, Some(&json!({"words": permit.words, "terms": permit.terms})))?)?;
    Ok(())
}

/// The terms of a permit, complete, and what they say.
fn terms(
    approval: &Approval,
    person: &User,
    asked: &Asked,
    now: Timestamp,
) -> Result<(Terms, Vec<String>), Problem> {
    let wrong = |detail: String| Problem::of(Code::RequestInvalid, detail);
    let ground =
        approval.ground.as_ref().ok_or_else(|| wrong("this request can only be approved once".into()))?;
    let met = approval.open_to(person);
    if met.is_empty() {
        return Err(refused(DecideError::NotYours));
    }
    // Where people answer together, what they choose answers for all that asks them.
    let joint = approval.is_joint();
    let met = if joint { (0..approval.requirements.len()).collect() } else { met };
    let rules: Vec<&Requirement> = met.iter().filter_map(|index| approval.requirements.get(*index)).collect();
    let terms = asked
        .complete(ground, approval.task.is_some(), &params(approval), now)
        .map_err(|error| wrong(format!("`permit`: {error}")))?;
    let words = terms.words(ground, approval.task, approval.grant, &rules, joint);
    Ok((terms, words))
}

/// The arguments of the held request, as a person was shown them.
fn params(approval: &Approval) -> serde_json::Map<String, Value> {
    approval.shown.get("params").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The approval as it stands: one that is open while its grant has ended is over.
fn standing(q: &mut impl Query, approval: Approval, now: Timestamp) -> Result<Approval, Fault> {
    let open = matches!(approval.state_at(now), ApprovalState::Pending | ApprovalState::Approved);
    if open && liveness::has_ended(q, approval.grant, now)? {
        return Ok(Approval { state: ApprovalState::Ended, ..approval });
    }
    Ok(approval)
}

/// Writes down what ended unused: of up to `limit` open approvals behind `after`, those whose time is over or whose
/// grant has ended, each once. Answers where the next page begins; none where this was the last.
///
/// # Errors
/// Faults, and what preparing an entry meets.
pub(crate) async fn close_ended(
    app: &Arc<App>,
    after: Option<ApprovalId>,
    limit: usize,
    now: Timestamp,
) -> Result<Option<ApprovalId>, Problem> {
    let ended = move |q: &mut placet_store::Reader<'_>, held: Held| -> Result<Option<ApprovalId>, Fault> {
        let id = held.approval.id;
        let state = standing(q, held.approval, now)?.state_at(now);
        Ok(matches!(state, ApprovalState::Expired | ApprovalState::Ended).then_some(id))
    };
    let (next, over) = app
        .store
        .read(move |q| {
            let page = approvals::open(q, after, limit)?;
            let next = page.last().filter(|_| page.len() == limit).map(|held| held.approval.id);
            let over = page.into_iter().map(|held| ended(q, held)).collect::<Result<Vec<_>, Fault>>()?;
            Ok::<_, Fault>((next, over.into_iter().flatten().collect::<Vec<_>>()))
        })
        .await?;
    for some in over.chunks(CLOSED_AT_ONCE) {
        let (some, shared) = (some.to_vec(), Arc::clone(app));
        app.store.write(move |tx| some.iter().try_for_each(|id| close(tx, &shared, *id, now))).await?;
    }
    Ok(next)
}

/// Closes one approval if it is still open and over, with its entry.
fn close(tx: &mut Tx<'_>, app: &App, id: ApprovalId, now: Timestamp) -> Result<(), Problem> {
    let Some(Held { approval, version, .. }) = approvals::find(tx, id)? else { return Ok(()) };
    let approval = standing(tx, approval, now)?;
    let (how, entry_type) = match approval.state_at(now) {
        ApprovalState::Expired => (ApprovalState::Expired, EntryType::ApprovalExpired),
        ApprovalState::Ended => (ApprovalState::Ended, EntryType::ApprovalEnded),
        _ => return Ok(()),
    };
    if approvals::close(tx, id, version, how)? {
        let envelope = about(entry_type, &Approval { state: how, ..approval }, "placet".to_owned(), now);
        tx.record(app.prepare(envelope, None)?)?;
    }
    Ok(())
}

/// Ends the approvals that wait for an answer or their use through service `name`: they are bound to its version before.
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
    let mut after = None;
    loop {
        let page = approvals::open(tx, after, BATCH)?;
        for held in &page {
            if service_of(&held.approval) != Some(name) {
                continue;
            }
            let ended = Approval { state: ApprovalState::Expired, ..held.approval.clone() };
            if approvals::close(tx, ended.id, held.version, ApprovalState::Expired)? {
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

/// Counts anew what `person` has said to approvals that are open, as the person is now: what they may answer no more
/// counts no longer, and what was approved with it waits for people again. Belongs into the transaction that changes
/// them, so that at the commit point an approval is as good as the people of that moment make it.
///
/// # Errors
/// Faults, and what preparing an entry meets.
pub(crate) fn recount(
    tx: &mut Tx<'_>,
    app: &App,
    person: &User,
    by: &str,
    now: Timestamp,
) -> Result<(), Problem> {
    let mut after = None;
    loop {
        let page = approvals::open(tx, after, BATCH)?;
        after = page.last().map(|held| held.approval.id);
        let last = page.len() < BATCH;
        for Held { approval, version, .. } in page {
            let Some(recounted) = approval.without(person) else { continue };
            if approvals::save_recount(tx, version, &recounted)? {
                let envelope = about(EntryType::ApprovalVoteLost, &recounted, by.to_owned(), now);
                let body = json!({"user": person.id, "missing": recounted.missing_in_all()});
                tx.record(app.prepare(envelope, Some(&body))?)?;
            }
        }
        if last {
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
        let missing = approval.missing_in_all();
        return json!({"id": approval.id, "state": state, "expires": approval.expires, "missing": missing});
    }
    let name = |person: &UserId| {
        let vote = approval.votes.iter().find(|vote| vote.by == *person);
        json!({"id": person, "name": vote.map(|vote| &vote.name)})
    };
    let (counted, missing) = (approval.counted(), approval.missing());
    let each = approval.requirements.iter().zip(counted.iter().zip(&missing));
    let requirements: Vec<_> = each
        .map(|(needed, (counted, missing))| {
            let mut shown = question::whom(needed);
            shown.insert("within".into(), needed.within.into());
            shown.insert("met".into(), (*missing == 0).into());
            shown.insert("missing".into(), (*missing).into());
            shown.insert("yes".into(), counted.iter().map(name).collect());
            shown
        })
        .collect();
    json!({
        "id": approval.id, "state": state, "created": approval.created, "expires": approval.expires,
        "action_id": approval.action_id, "agent": approval.agent, "user": approval.user, "grant": approval.grant,
        "task": approval.task, "shown": approval.shown, "requirements": requirements,
        "missing": approval.missing_in_all(), "votes": approval.votes,
    })
}

fn state(word: Option<&str>) -> Result<Option<ApprovalState>, Problem> {
    let Some(word) = word else { return Ok(None) };
    let found = ApprovalState::ALL.into_iter().find(|state| state.as_str() == word);
    let wrong = || {
        let known = ApprovalState::ALL.map(ApprovalState::as_str).join("`, `");
        Problem::of(Code::RequestInvalid, format!("`state` is one of `{known}`"))
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
