//! `/v1/permits`: what people have answered more broadly than this once, and taking it back (`docs/approvals.md`).
//!
//! Invariant: what is shown of a permit are the words that it was given in; it can be taken back and never widened.

use super::query::QueryParams;
use crate::{
    app::App,
    caller::{Caller, Source},
    liveness,
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
};
use placet_core::{
    approval::permit::{Permit, Scope},
    id::PermitId,
    ledger::{Charge, Limit},
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
    user::AUDITOR,
};
use placet_store::{
    Fault, Query,
    permits::{self, Given},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// A permit with what is used of it and whether its lineage has ended.
struct Standing {
    given: Given,
    used: Vec<i64>,
    ended: bool,
}

/// `GET /v1/permits`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["agent", "after", "limit"])?;
    let (after, limit, mut agent) = (query.parsed("after")?, query.limit()?, query.parsed("agent")?);
    if let Caller::Agent(bearer) = &caller {
        agent = Some(bearer.chain.agent().id);
    }
    let (asking, now) = (caller.clone(), app.clock.now());
    let (next, found) = app
        .store
        .read(move |q| {
            let page = permits::list(q, agent, after, limit)?;
            let next = page.last().filter(|_| page.len() == limit).map(|given| given.permit.id);
            let seen = page.into_iter().filter(|given| sees(&asking, &given.permit));
            let seen: Vec<Given> = seen.collect();
            let found =
                seen.into_iter().map(|given| stand(q, given, now)).collect::<Result<Vec<_>, Fault>>()?;
            Ok::<_, Fault>((next, found))
        })
        .await?;
    let listed: Vec<_> = found.iter().map(|standing| shown_to(&app, &caller, standing, now)).collect();
    Ok(Json(json!({"permits": listed, "next": next})))
}

/// `GET /v1/permits/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id: PermitId = id.parse().map_err(|_| unknown())?;
    let standing = read(&app, &caller, id).await?;
    Ok(Json(shown_to(&app, &caller, &standing, app.clock.now())))
}

/// `POST /v1/permits/{id}/revoke`: by whoever gave it, the one on whose behalf it is, or an administrator.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id: PermitId = id.parse().map_err(|_| unknown())?;
    let permit = read(&app, &caller, id).await?.given.permit;
    let may = match &caller {
        Caller::Agent(_) => false,
        Caller::User(signed_in) => caller.configures() || permits::is_of(&permit, signed_in.user.id),
        Caller::AdminToken => true,
    };
    if !may {
        let detail = "a permit is taken back by whoever gave it, whom it acts for, or an administrator";
        return Err(Problem::of(Code::NotPermitted, detail));
    }
    let (by, now, shared) = (caller.by(), app.clock.now(), Arc::clone(&app));
    app.store
        .write(move |tx| {
            if permits::revoke(tx, id, now, &by)? {
                let envelope = Envelope {
                    agent: Some(permit.agent),
                    grants: vec![permit.anchor],
                    task: permit.task,
                    user: permit.user,
                    approval: Some(permit.approval),
                    permits: vec![id],
                    source: recording::source(source.0),
                    ..recording::by(EntryType::PermitRevoked, now, by.clone())
                };
                tx.record(shared.prepare(envelope, None)?)?;
            }
            Ok::<_, Problem>(())
        })
        .await?;
    let standing = read(&app, &caller, id).await?;
    Ok(Json(shown_to(&app, &caller, &standing, now)))
}

async fn read(app: &App, caller: &Caller, id: PermitId) -> Result<Standing, Problem> {
    let now = app.clock.now();
    let found = app
        .store
        .read(move |q| match permits::find(q, id)? {
            Some(given) => stand(q, given, now).map(Some),
            None => Ok(None),
        })
        .await?;
    found.filter(|standing| sees(caller, &standing.given.permit)).ok_or_else(unknown)
}

fn stand(q: &mut impl Query, given: Given, now: Timestamp) -> Result<Standing, Fault> {
    let used = permits::used(q, &given.permit)?;
    let ended = liveness::has_ended(q, given.permit.anchor, now)?;
    Ok(Standing { given, used, ended })
}

fn sees(caller: &Caller, permit: &Permit) -> bool {
    match caller {
        Caller::Agent(bearer) => permit.agent == bearer.chain.agent().id,
        Caller::User(signed_in) => {
            caller.configures()
                || signed_in.user.has_role(AUDITOR)
                || permits::is_of(permit, signed_in.user.id)
        }
        Caller::AdminToken => true,
    }
}

/// `live`, or why it answers for nothing any more.
fn state(app: &App, standing: &Standing, now: Timestamp) -> &'static str {
    let Standing { given: Given { permit, revoked }, used, ended } = standing;
    if revoked.is_some() {
        "revoked"
    } else if *ended {
        "ended"
    } else if permit.terms.expires <= now {
        "expired"
    } else if is_outdated(app, permit) {
        "outdated"
    } else if permit.counters().iter().zip(used).any(|(charge, used)| *used >= charge.max) {
        "used_up"
    } else {
        "live"
    }
}

/// Whether a newer version of the service, or of every policy whose rules it answers, is in force.
fn is_outdated(app: &App, permit: &Permit) -> bool {
    let rules = app.rules.load();
    let of = |label: &str| {
        let (name, version) = label.rsplit_once('@')?;
        Some((name.to_owned(), version.parse::<u64>().ok()?))
    };
    let service = of(&permit.service)
        .is_some_and(|(name, version)| rules.services.get(&name).is_some_and(|live| live.version == version));
    let policy = permit.rules.iter().any(|(label, _)| {
        of(label).is_some_and(|(name, version)| {
            rules.policies.find(&name).is_some_and(|policy| policy.version() == version)
        })
    });
    !service || !policy
}

fn shown_to(app: &App, caller: &Caller, standing: &Standing, now: Timestamp) -> Value {
    let Given { permit, revoked } = &standing.given;
    let state = state(app, standing, now);
    if matches!(caller, Caller::Agent(_)) {
        return json!({"id": permit.id, "state": state, "words": permit.words, "expires": permit.terms.expires});
    }
    let used = |what: &str| {
        let counters = permit.counters();
        let of = |charge: &Charge| charge.counter.ends_with(what);
        let at = counters.iter().position(of)?;
        standing.used.get(at).copied()
    };
    let count = permit
        .terms
        .count
        .map(|max| json!({"max": max, "used": used("/count").map_or(0, |used| used.saturating_add(1))}));
    let sum = permit.terms.sum.as_ref().map(|sum| {
        let used = used("/sum").map_or(permit.first, |used| used.saturating_add(permit.first));
        json!({"of": sum.of, "max": sum.max, "used": Limit::number(used)})
    });
    let rules: Vec<_> =
        permit.rules.iter().map(|(policy, rule)| json!({"policy": policy, "rule": rule})).collect();
    let lineage = match permit.terms.scope {
        Scope::Task => "task",
        Scope::Grant => "grant",
    };
    json!({
        "id": permit.id, "state": state, "words": permit.words, "agent": permit.agent, "user": permit.user,
        "for": lineage, "task": permit.task, "grant": permit.anchor, "approval": permit.approval,
        "actions": permit.terms.actions, "resources": permit.terms.resources, "params": permit.terms.params,
        "count": count, "sum": sum, "expires": permit.terms.expires, "rules": rules, "service": permit.service,
        "connection": permit.connection, "given": permit.given,
        "given_by": {"id": permit.given_by, "name": permit.given_name}, "given_with": permit.given_with,
        "revoked": revoked.as_ref().map(|(at, by)| json!({"at": at, "by": by})),
    })
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such permit, or it is not for you to see")
}
