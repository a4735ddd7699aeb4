//! The question that is put to people where policies hold a request, at whichever door it came: asked once, answered
//! for this request alone.
//!
//! Invariant: a person is shown everything that will run, or isn't asked; an approval is told only to the agent that it
//! is of, and only for the very request that it is bound to; asking reserves nothing.

use crate::{app::App, bearer::Bearer, clock, problem::Problem, way};
use placet_core::{
    action::Action,
    approval::{Approval, ApprovalState, Except, RequestDigest, Requirement, permit::Ground},
    id::ApprovalId,
    intent::Purpose,
    judge::{self, Judgement, Verdict},
    ledger::Standing as Counter,
    policy::BoundPolicies,
    record::{Envelope, leaf},
    refusal::{Code, Reason},
    time::Timestamp,
};
use placet_store::{
    Fault,
    approvals::{self, Held},
    users,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The most approvals that may wait for one agent.
const MAX_PENDING: u64 = 20;
/// The most bytes that a person is shown of one request; what doesn't fit is denied, not held.
const MAX_SHOWN: usize = 64 * 1024;

/// A held request, ready to be asked about.
pub(crate) struct Question<'a> {
    /// Who asks.
    pub(crate) bearer: &'a Bearer,
    /// The policies that held it.
    pub(crate) policies: &'a BoundPolicies,
    /// What they said.
    pub(crate) judgement: &'a Judgement,
    /// What would be done.
    pub(crate) action: &'a Action,
    /// What the door shows a person beside that.
    pub(crate) beside: Map<String, Value>,
    /// What a permit given with the answer would be bound to; none where an answer is for this once.
    pub(crate) ground: Option<Ground>,
    /// Whether all of the counters decides whether anybody is asked. To an agent that would tell, amount by amount and for
    /// nothing, what others have used of a shared limit; the commit point refuses what doesn't fit in any case.
    pub(crate) counted: bool,
    /// The door's entry for the record.
    pub(crate) envelope: Envelope,
    /// Its body.
    pub(crate) body: Value,
}

/// How a held request stands.
pub(crate) enum Standing {
    /// People said yes to exactly this request; the commit point uses the approval up.
    Approved((ApprovalId, [u8; 32])),
    /// People have been asked.
    Held(Box<Approval>),
    /// It can't go on.
    Refused(Reason),
}

/// The agent came back with an approval; `keyed` where an idempotency key came too.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn presented(
    app: &App,
    bearer: &Bearer,
    id: ApprovalId,
    digest: RequestDigest,
    keyed: bool,
    now: Timestamp,
) -> Result<Standing, Problem> {
    let agent = bearer.chain.agent().id;
    let found = app.store.read(move |q| approvals::find(q, id)).await?;
    // Somebody else's approval is told like one for a different request.
    let known = found.filter(|held| held.approval.agent == agent && held.digest == digest);
    let Some(Held { approval, .. }) = known else {
        return Ok(Standing::Refused(Reason::of(Code::ApprovalMismatch)));
    };
    Ok(match approval.clone().use_up(now) {
        Ok(_) => Standing::Approved((id, digest.0)),
        // This very request may be what used it: the commit point replays it by its key, or refuses the approval.
        Err(Code::ApprovalUsed) if keyed => Standing::Approved((id, digest.0)),
        Err(Code::ApprovalRequired) => Standing::Held(Box::new(approval)),
        Err(code) => Standing::Refused(Reason::of(code)),
    })
}

/// The request is new: people are asked, once.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn ask(
    app: &App,
    question: Question<'_>,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Standing, Problem> {
    let Question { bearer, judgement, counted, .. } = question;
    // A hold reserves nothing, but nobody is asked about what a used-up limit would refuse anyway.
    let counters = way::standings(app, judgement, now).await?;
    let say = if counted { judge::counted } else { judge::advised };
    let (verdict, reasons) = say(judgement, &bearer.chain, &counters);
    if let (Verdict::Deny, Some(reason)) = (verdict, reasons.into_iter().next()) {
        return Ok(Standing::Refused(reason));
    }
    let owners = match owners(app, bearer, judgement).await? {
        Ok(owners) => owners,
        Err(reason) => return Ok(Standing::Refused(reason)),
    };
    let shown = shown(&question, &counters);
    if serde_json::to_vec(&shown).map_or(true, |text| text.len() > MAX_SHOWN) {
        let detail = "the request is too large to be shown to a person in full";
        return Ok(Standing::Refused(Reason::of(Code::Forbidden).detail(detail)));
    }
    let grant = &bearer.chain.leaf().grant;
    let within = judgement.requirements.iter().map(|requirement| requirement.within).min().unwrap_or(0);
    let approval = Approval {
        id: clock::fresh(now),
        action_id: clock::fresh(now),
        agent: grant.agent,
        user: grant.user,
        grant: grant.id,
        task: grant.task,
        shown,
        requirements: judgement.requirements.clone(),
        owners,
        ground: question.ground,
        votes: Vec::new(),
        state: ApprovalState::Pending,
        created: now,
        expires: now.plus(Duration::from_secs(within)),
    };
    let envelope = Envelope {
        action_id: Some(approval.action_id),
        decision: Some(leaf::Verdict::Hold),
        rule: judgement.requirements.first().map(|requirement| requirement.rule.clone()),
        policies: way::labels(&judgement.policies),
        approval: Some(approval.id),
        ..question.envelope
    };
    let body = way::observe::beside(question.body, &judgement.observed);
    let entry = app.prepare(envelope, Some(&body))?.kept_until(question.policies.keep_until(now));
    let standing = app
        .store
        .write(move |tx| {
            // The same request while pending is the same question.
            if let Some(pending) = approvals::pending_by_digest(tx, approval.agent, digest, now)? {
                return Ok::<_, Fault>(Some(pending.approval));
            }
            if approvals::count_pending(tx, approval.agent, now)? >= MAX_PENDING {
                return Ok(None);
            }
            approvals::insert(tx, &approval, digest)?;
            tx.record(entry.clone())?;
            Ok(Some(approval.clone()))
        })
        .await?;
    Ok(standing.map_or_else(too_many, |approval| Standing::Held(Box::new(approval))))
}

fn too_many() -> Standing {
    let detail = format!("{MAX_PENDING} requests of this agent wait for approval already; wait for answers");
    Standing::Refused(Reason::of(Code::TooManyPending).detail(detail))
}

/// What an agent is told of an approval.
pub(crate) fn told(app: &App, approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "url": format!("{}/v1/approvals/{}", app.issuer, approval.id),
        "expires": approval.expires,
        "rule": approval.requirements.first().map(|requirement| requirement.rule.clone()),
        "missing": approval.missing_in_all(),
    })
}

/// Whom a requirement asks, for people: by whom, how many of them, and who is ruled out.
pub(crate) fn whom(requirement: &Requirement) -> Map<String, Value> {
    let mut whom = Map::new();
    whom.insert("policy".into(), requirement.policy.as_str().into());
    whom.insert("rule".into(), requirement.rule.as_str().into());
    whom.insert("by".into(), requirement.by.iter().map(ToString::to_string).collect());
    whom.insert("not".into(), requirement.not.iter().map(ToString::to_string).collect());
    whom.insert("count".into(), requirement.count.into());
    whom.insert("distinct".into(), requirement.distinct.into());
    if requirement.intent {
        whom.insert("intent".into(), true.into());
    }
    whom
}

/// The users who own an agent of the chain, each once, where a requirement rules them out. Where it can't be told who that
/// is (an agent has no owner, or one that is no user) nobody is asked: it might be the owner who answers.
async fn owners(
    app: &App,
    bearer: &Bearer,
    judgement: &Judgement,
) -> Result<Result<Vec<String>, Reason>, Problem> {
    let rules_out = |requirement: &&Requirement| requirement.not.contains(&Except::Owner);
    let Some(requirement) = judgement.requirements.iter().find(rules_out) else { return Ok(Ok(Vec::new())) };
    let stated: Option<BTreeSet<String>> =
        bearer.chain.links().iter().map(|link| link.agent.owner.clone()).collect();
    let users = match stated {
        None => None,
        Some(stated) => {
            app.store
                .read(move |q| {
                    let mut found = BTreeSet::new();
                    for owner in &stated {
                        match users::named(q, owner)? {
                            Some(user) => _ = found.insert(user.id),
                            None => return Ok(None),
                        }
                    }
                    Ok::<_, Fault>(Some(found))
                })
                .await?
        }
    };
    Ok(users.map(|users| users.into_iter().map(|user| user.to_string()).collect()).ok_or_else(|| {
        let detail = "the rule asks for somebody else than the owner of the agent, and an agent of the chain has no \
                      owner who is a user here";
        Reason::of(Code::Forbidden).from_rule(requirement.policy.as_str(), requirement.rule.as_str()).detail(detail)
    }))
}

/// What the action would take of each limit.
pub(crate) fn budgets(judgement: &Judgement, counters: &[Counter]) -> Value {
    let charges = judgement.charges.iter().zip(counters).filter_map(|(charge, counter)| {
        let applied = judgement.limits.get(charge.limit)?;
        Some(json!({
            "policy": &*applied.policy, "rule": &*applied.rule, "limit": applied.limit.to_string(),
            "used": applied.limit.shown(counter.used), "this": applied.limit.shown(charge.amount),
            "max": applied.limit.shown(charge.max), "until": charge.window.end,
        }))
    });
    charges.collect()
}

/// Everything that a person is shown: who, for whom, for what, every argument that will run, what it would cost.
fn shown(question: &Question<'_>, counters: &[Counter]) -> Value {
    let Question { bearer, judgement, action, .. } = question;
    let chain = &bearer.chain;
    let task = chain.leaf().task.as_deref();
    let mut shown = json!({
        "agent": {"id": chain.agent().id, "handle": chain.agent().handle, "owner": chain.agent().owner},
        "chain": chain.links().iter().map(|link| link.agent.handle.clone()).collect::<Vec<_>>(),
        "user": chain.user().map(|user| json!({"id": user.id, "name": user.name})),
        "task": task.map(|task| json!({"id": task.id, "label": task.label, "description": task.description, "stated_by": task.origin})),
        "action": action.name.as_str(),
        "effect": action.effect,
        "resource": action.resource.as_str(),
        "params": action.params,
        "service": action.service.as_ref().map(ToString::to_string),
        "rules": judgement.requirements.iter().map(whom).collect::<Vec<_>>(),
        "budgets": budgets(judgement, counters),
    });
    if let Some(members) = shown.as_object_mut() {
        let facts = action.facts.judged();
        if !facts.is_empty() {
            members.insert("facts".into(), facts.shown());
        }
        if judgement.requirements.iter().any(|asked| asked.intent) {
            // What the action is measured by, which is not always what the agent calls its task.
            let purpose = Purpose::of(chain).map(|purpose| {
                json!({"description": purpose.description, "details": purpose.details, "plan": purpose.plan})
            });
            members.insert("purpose".into(), json!(purpose));
        }
        members.extend(question.beside.clone());
    }
    shown
}
