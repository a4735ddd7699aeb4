//! A decision that people have to make first: the approval of what a resource server asks, bound to all of it.
//!
//! The resource server sends the same question again with `approval`; the admission uses it up.
//!
//! Invariant: a different agent, grant, resource, parameter, context, policy version or resource server is a different
//! request.

use super::charged::Case;
use crate::{problem::Problem, way};
use placet_core::{
    approval::{Approval, ApprovalState, Binding, RequestDigest},
    id::ApprovalId,
    judge::Judgement,
    ledger,
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reason},
};
use placet_store::{
    Fault,
    approvals::{self, Held},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The most approvals that may wait for one agent.
const MAX_PENDING: u64 = 20;
/// The most that a person is shown of one request; what doesn't fit is denied, not held.
const MAX_SHOWN: usize = 64 * 1024;

/// How a held question stands.
pub(super) enum Standing {
    /// People said yes to exactly this; the commit point uses it up.
    Approved((ApprovalId, [u8; 32])),
    /// People have been asked: `{id, url, expires, rule}`.
    Held(Value),
    /// It can't go on.
    Refused(Reason),
}

/// Finds or makes the approval.
pub(super) async fn standing(case: &Case<'_>, judgement: &Judgement) -> Result<Standing, Problem> {
    let digest = digest(case, judgement)?;
    match case.approval {
        Some(id) => presented(case, id, digest).await,
        None => ask(case, judgement, digest).await,
    }
}

async fn presented(case: &Case<'_>, id: ApprovalId, digest: RequestDigest) -> Result<Standing, Problem> {
    let agent = case.bearer.chain.agent().id;
    let found = case.app.store.read(move |q| approvals::find(q, id)).await?;
    let known = found.filter(|held| held.approval.agent == agent && held.digest == digest);
    let Some(Held { approval, .. }) = known else {
        return Ok(Standing::Refused(Reason::of(Code::ApprovalMismatch)));
    };
    match approval.clone().use_up(case.now) {
        Ok(_) => Ok(Standing::Approved((id, digest.0))),
        // This very question may be what used it: the commit point knows by its key, or refuses the approval.
        Err(Code::ApprovalUsed) if case.key.is_some() => Ok(Standing::Approved((id, digest.0))),
        Err(Code::ApprovalRequired) => Ok(Standing::Held(told(case, &approval))),
        Err(code) => Ok(Standing::Refused(Reason::of(code))),
    }
}

async fn ask(case: &Case<'_>, judgement: &Judgement, digest: RequestDigest) -> Result<Standing, Problem> {
    // A hold reserves nothing, but nobody is asked about what a used-up limit would refuse anyway.
    let used = way::standings(case.app, judgement, case.now).await?;
    let mut standings = judgement.charges.iter().zip(&used).enumerate();
    if let Some((index, (_, over))) = standings.find(|(_, (charge, standing))| !charge.fits(standing.used)) {
        return Ok(Standing::Refused(way::exceeded(judgement, &case.bearer.chain, index, *over)));
    }
    let shown = shown(case, judgement, &used);
    if serde_json::to_vec(&shown).map_or(true, |text| text.len() > MAX_SHOWN) {
        let reason =
            Reason::of(Code::Forbidden).detail("the request is too large to be shown to a person in full");
        return Ok(Standing::Refused(reason));
    }
    let leaf = &case.bearer.chain.leaf().grant;
    let within = judgement.requirements.iter().map(|requirement| requirement.within).min().unwrap_or(0);
    let (now, id, action_id) = (case.now, crate::clock::fresh(case.now), crate::clock::fresh(case.now));
    let approval = Approval {
        id,
        action_id,
        agent: leaf.agent,
        user: leaf.user,
        grant: leaf.id,
        task: leaf.task,
        shown,
        requirements: judgement.requirements.clone(),
        // Whoever performs it is somebody else: an answer is for this once.
        ground: None,
        votes: Vec::new(),
        state: ApprovalState::Pending,
        created: now,
        expires: now.plus(Duration::from_secs(within)),
    };
    let envelope = Envelope {
        action_id: Some(action_id),
        decision: Some(leaf::Verdict::Hold),
        rule: judgement.requirements.first().map(|requirement| requirement.rule.clone()),
        policies: judgement.policies.iter().map(ToString::to_string).collect(),
        approval: Some(id),
        ..case.envelope(EntryType::ApprovalRequested)
    };
    let entry = case.app.prepare(envelope, Some(&case.body(&[])))?;
    let standing = case
        .app
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
    Ok(match standing {
        Some(approval) => Standing::Held(told(case, &approval)),
        None => {
            let detail =
                format!("{MAX_PENDING} requests of this agent wait for approval already; wait for answers");
            Standing::Refused(Reason::of(Code::TooManyPending).detail(detail))
        }
    })
}

fn told(case: &Case<'_>, approval: &Approval) -> Value {
    json!({
        "id": approval.id,
        "url": format!("{}/v1/approvals/{}", case.app.issuer, approval.id),
        "expires": approval.expires,
        "rule": approval.requirements.first().map(|requirement| requirement.rule.clone()),
    })
}

/// The digest of everything that the approval is bound to.
fn digest(case: &Case<'_>, judgement: &Judgement) -> Result<RequestDigest, Problem> {
    let leaf = &case.bearer.chain.leaf().grant;
    // Members in order, numbers as they were sent.
    let written = |value: &Value| {
        serde_json::to_vec(value).map_err(|_| Problem::of(Code::Internal, "a request could not be written"))
    };
    let context = case.context.map(written).transpose()?.unwrap_or_default();
    let params = written(case.action.params.as_value())?;
    let binding = Binding {
        agent: leaf.agent,
        user: leaf.user,
        task: leaf.task,
        grant: leaf.id,
        service: &case.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: &case.server.id.to_string(),
        // No HTTP method has a space: nothing at the action door is bound to the same.
        method: "a decision",
        target: &format!("{} {}", case.action.name.as_str(), case.action.resource.as_str()),
        headers: &[],
        content_type: if case.context.is_some() { "application/json" } else { "" },
        body: &context,
        params: &params,
        requirements: &judgement.requirements,
    };
    Ok(binding.digest(&case.app.secrets.approvals))
}

/// Everything that a person is shown.
fn shown(case: &Case<'_>, judgement: &Judgement, used: &[ledger::Standing]) -> Value {
    let chain = &case.bearer.chain;
    let task = chain.leaf().task.as_deref();
    json!({
        "agent": {"id": chain.agent().id, "handle": chain.agent().handle, "owner": chain.agent().owner},
        "chain": chain.links().iter().map(|link| link.agent.handle.clone()).collect::<Vec<_>>(),
        "user": chain.user().map(|user| json!({"id": user.id, "name": user.name})),
        "task": task.map(|task| json!({"id": task.id, "label": task.label, "description": task.description})),
        "action": case.action.name.as_str(),
        "effect": case.action.effect,
        "resource": case.action.resource.as_str(),
        "params": case.action.params,
        "context": case.context,
        "service": case.action.service.as_ref().map(ToString::to_string),
        "resource_server": {"id": case.server.id, "name": case.server.name, "audience": case.server.audience},
        "rules": judgement.requirements.iter().map(|r| json!({"policy": r.policy, "rule": r.rule,
            "by": r.by.iter().map(ToString::to_string).collect::<Vec<_>>()})).collect::<Vec<_>>(),
        "budgets": super::limits(judgement, used),
    })
}
