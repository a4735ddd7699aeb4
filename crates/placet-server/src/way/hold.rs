//! Held actions: what a person has said about this very request, or the question that is put to people.

use super::{
    Answered, Asked, Described,
    permits::{self, Permitted},
};
use crate::{app::App, bearer::Bearer, clock, problem::Problem, recording};
use placet_core::{
    approval::{
        Approval, ApprovalState, Binding, RequestDigest,
        permit::{self, Ground},
    },
    id::{ApprovalId, PermitId},
    judge::Judgement,
    ledger,
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reason},
    time::Timestamp,
};
use placet_store::approvals::{self, Held};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The most approvals that may wait for one agent.
const MAX_PENDING: u64 = 20;
/// The most that a person is shown of one request; what doesn't fit is denied, not held.
const MAX_SHOWN: usize = 64 * 1024;

/// What lets a held request go on; nothing where it was not held.
#[derive(Debug, Default)]
pub(super) struct Release {
    /// People said yes to exactly this request; the commit point uses it up.
    pub(super) approval: Option<(ApprovalId, [u8; 32])>,
    /// Permits answer for it; the commit point charges them.
    pub(super) permitted: Permitted,
}

/// How a held request stands.
pub(super) enum Standing {
    /// It may go on.
    Released(Release),
    /// People have been asked.
    Held(Answered),
    /// It can't go on.
    Refused(Reason),
}

/// Finds what answers for a held request, or puts the question to people. `spent` are permits that were found used up.
///
/// # Errors
/// Faults; what is said of the approval is a [`Standing`].
pub(super) async fn approved(
    app: &App,
    bearer: &Bearer,
    described: &Described,
    judgement: &Judgement,
    asked: &Asked,
    spent: &BTreeSet<PermitId>,
    now: Timestamp,
) -> Result<Standing, Problem> {
    let digest = digest(app, bearer, described, judgement);
    if let Some(id) = asked.approval {
        return presented(app, bearer, id, asked.idempotency_key.is_some(), digest, now).await;
    }
    match permits::covering(app, bearer, described, judgement, spent, now).await? {
        Some(permitted) => Ok(Standing::Released(Release { approval: None, permitted })),
        None => ask(app, bearer, described, judgement, asked, digest, now).await,
    }
}

/// The agent came back with an approval; `keyed` where an idempotency key came too.
async fn presented(
    app: &App,
    bearer: &Bearer,
    id: ApprovalId,
    keyed: bool,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Standing, Problem> {
    let agent = bearer.chain.agent().id;
    let found = app.store.read(move |q| approvals::find(q, id)).await?;
    // Somebody else's approval is told like one for a different request.
    let Some(Held { approval, digest: bound, .. }) = found.filter(|held| held.approval.agent == agent) else {
        return Ok(Standing::Refused(Reason::of(Code::ApprovalMismatch)));
    };
    if bound != digest {
        return Ok(Standing::Refused(Reason::of(Code::ApprovalMismatch)));
    }
    let release = Release { approval: Some((id, digest.0)), ..Release::default() };
    match approval.clone().use_up(now) {
        Ok(_) => Ok(Standing::Released(release)),
        // This very request may be what used it: the commit point replays it by its key, or refuses the approval.
        Err(Code::ApprovalUsed) if keyed => Ok(Standing::Released(release)),
        Err(Code::ApprovalRequired) => Ok(Standing::Held(held(app, &approval))),
        Err(code) => Ok(Standing::Refused(Reason::of(code))),
    }
}

/// The request is new: people are asked, once.
async fn ask(
    app: &App,
    bearer: &Bearer,
    described: &Described,
    judgement: &Judgement,
    asked: &Asked,
    digest: RequestDigest,
    now: Timestamp,
) -> Result<Standing, Problem> {
    // A hold reserves nothing, but nobody is asked about what a used-up limit would refuse anyway.
    let standings = super::standings(app, judgement, now).await?;
    let charged = judgement.charges.iter().zip(&standings);
    if let Some((index, (_, standing))) =
        charged.enumerate().find(|(_, (charge, standing))| !charge.fits(standing.used))
    {
        return Ok(Standing::Refused(super::exceeded(judgement, &bearer.chain, index, *standing)));
    }
    let shown = shown(bearer, described, judgement, &standings);
    if serde_json::to_vec(&shown).map_or(true, |text| text.len() > MAX_SHOWN) {
        let reason = Reason::of(Code::ApprovalRequired)
            .detail("the request is too large to be shown to a person in full");
        return Ok(Standing::Refused(Reason { code: Code::Forbidden, ..reason }));
    }
    let within = judgement.requirements.iter().map(|requirement| requirement.within).min().unwrap_or(0);
    let approval = Approval {
        id: clock::fresh(now),
        action_id: clock::fresh(now),
        agent: bearer.chain.agent().id,
        user: bearer.chain.user_id(),
        grant: bearer.chain.leaf().grant.id,
        task: bearer.chain.leaf().grant.task,
        shown,
        requirements: judgement.requirements.clone(),
        ground: Some(ground(bearer, described)),
        votes: Vec::new(),
        state: ApprovalState::Pending,
        created: now,
        expires: now.plus(Duration::from_secs(within)),
    };
    let envelope = Envelope {
        action: Some(described.action.name.as_str().to_owned()),
        action_id: Some(approval.action_id),
        service: described.action.service.as_ref().map(ToString::to_string),
        connection: described.action.connection,
        decision: Some(leaf::Verdict::Hold),
        rule: judgement.requirements.first().map(|requirement| requirement.rule.clone()),
        policies: super::labels(&judgement.policies),
        source: recording::source(asked.source),
        approval: Some(approval.id),
        ..recording::attributed(EntryType::ApprovalRequested, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let body = recording::action_body(&described.action, described.secret(), &[])?;
    let body = super::observe::beside(body, &judgement.observed);
    let entry = app.prepare(envelope, Some(&body))?.kept_until(bearer.policies.keep_until(now));
    let standing = app
        .store
        .write(move |tx| {
            // The same request while pending is the same question.
            if let Some(pending) = approvals::pending_by_digest(tx, approval.agent, digest, now)? {
                return Ok::<_, placet_store::Fault>(Some(pending.approval));
            }
            if approvals::count_pending(tx, approval.agent, now)? >= MAX_PENDING {
                return Ok(None);
            }
            approvals::insert(tx, &approval, digest)?;
            tx.record(entry.clone())?;
            Ok(Some(approval.clone()))
        })
        .await?;
    match standing {
        Some(approval) => Ok(Standing::Held(held(app, &approval))),
        None => {
            let detail =
                format!("{MAX_PENDING} requests of this agent wait for approval already; wait for answers");
            Ok(Standing::Refused(Reason::of(Code::TooManyPending).detail(detail)))
        }
    }
}

/// The 202 answer of an approval.
fn held(app: &App, approval: &Approval) -> Answered {
    Answered::Held {
        id: approval.action_id,
        approval: json!({
            "id": approval.id,
            "url": format!("{}/v1/approvals/{}", app.issuer, approval.id),
            "expires": approval.expires,
            "rule": approval.requirements.first().map(|requirement| requirement.rule.clone()),
        }),
    }
}

/// The digest of everything that the approval is bound to.
fn digest(app: &App, bearer: &Bearer, described: &Described, judgement: &Judgement) -> RequestDigest {
    let leaf = &bearer.chain.leaf().grant;
    let params = serde_json::to_vec(&described.action.params).unwrap_or_default();
    Binding {
        agent: leaf.agent,
        user: leaf.user,
        task: leaf.task,
        grant: leaf.id,
        service: &described.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: &described.connection_label(),
        method: described.call.method.as_str(),
        target: &format!("{}{}", described.call.origin, described.call.target),
        headers: &described.call.headers,
        content_type: if described.call.body.is_some() { "application/json" } else { "" },
        body: described.call.body.as_deref().unwrap_or_default(),
        params: &params,
        requirements: &judgement.requirements,
    }
    .digest(&app.secrets.approvals)
}

impl Described {
    /// `connection@generation`.
    pub(super) fn connection_label(&self) -> String {
        let connection = &self.connection.connection;
        format!("{}@{}", connection.id, connection.generation)
    }
}

/// What a permit that is given with the answer would be bound to.
fn ground(bearer: &Bearer, described: &Described) -> Ground {
    Ground {
        action: described.action.name.clone(),
        effect: described.action.effect,
        known: described.action.known.clone(),
        service: described.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: described.connection_label(),
        connection_name: described.connection.connection.name.clone(),
        handle: bearer.chain.agent().handle.clone(),
        task_grant: permit::task_grant(&bearer.chain),
        until: bearer.chain.expires(),
    }
}

/// Everything that a person is shown: who, for whom, for what, every argument that will run, what it would cost.
fn shown(
    bearer: &Bearer,
    described: &Described,
    judgement: &Judgement,
    standings: &[ledger::Standing],
) -> Value {
    let chain = &bearer.chain;
    let task = chain.leaf().task.as_deref();
    let budgets: Vec<_> = judgement
        .charges
        .iter()
        .zip(standings)
        .filter_map(|(charge, standing)| {
            let applied = judgement.limits.get(charge.limit)?;
            Some(json!({
                "policy": applied.policy.as_ref(), "rule": applied.rule.as_ref(), "limit": applied.limit.to_string(),
                "used": applied.limit.shown(standing.used), "this": applied.limit.shown(charge.amount),
                "max": applied.limit.shown(charge.max), "until": charge.window.end,
            }))
        })
        .collect();
    json!({
        "agent": {"id": chain.agent().id, "handle": chain.agent().handle, "owner": chain.agent().owner},
        "chain": chain.links().iter().map(|link| link.agent.handle.clone()).collect::<Vec<_>>(),
        "user": chain.user().map(|user| json!({"id": user.id, "name": user.name})),
        "task": task.map(|task| json!({"id": task.id, "label": task.label, "description": task.description})),
        "action": described.action.name.as_str(),
        "effect": described.action.effect,
        "resource": described.action.resource.to_string(),
        "params": described.action.params,
        "service": described.action.service.as_ref().map(ToString::to_string),
        "connection": described.connection.connection.name,
        "request": format!("{} {}{}", described.call.method.as_str(), described.call.origin, described.call.target),
        "headers": described.call.headers,
        "rules": judgement.requirements.iter().map(|r| json!({"policy": r.policy, "rule": r.rule,
            "by": r.by.iter().map(ToString::to_string).collect::<Vec<_>>()})).collect::<Vec<_>>(),
        "budgets": budgets,
    })
}
