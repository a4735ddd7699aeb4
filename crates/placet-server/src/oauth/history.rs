//! The `task_history` of an introspection: the task of a token, the tasks that it is part of, and what happened to
//! its grants.
//!
//! Invariant: what is not computed is `null` with a reason, never a guess.

use crate::{app::App, problem::Problem};
use placet_core::{
    chain::Chain,
    grant::{Grant, Origin},
    task::Task,
    time::Timestamp,
};
use placet_store::{Fault, decisions, grants, tasks};
use serde_json::{Map, Value, json};

/// The most events that are told; of more, the newest.
const MAX_EVENTS: usize = 100;
/// How many grants of a task are looked at.
const MAX_GRANTS: usize = 1000;
/// How many tasks above one are told; deeper than any lineage.
const MAX_PARENTS: usize = 64;

/// The history of the task of the leaf of `chain`; `null` where it has none.
///
/// # Errors
/// `unavailable` or `internal` where the store fails.
pub async fn of(app: &App, chain: &Chain) -> Result<Value, Problem> {
    let Some(task) = chain.leaf().task.clone() else { return Ok(Value::Null) };
    let now = app.clock.now();
    let id = task.id;
    let (current, parents, grants, actions) = app
        .store
        .read(move |q| {
            let current = tasks::find(q, id)?;
            let mut parents: Vec<Task> = Vec::new();
            let mut next = current.as_ref().and_then(|task| task.parent);
            while let Some(id) = next
                && parents.len() < MAX_PARENTS
            {
                let Some(above) = tasks::find(q, id)? else { break };
                next = above.parent;
                parents.push(above);
            }
            let grants = grants::by_task(q, id, MAX_GRANTS)?;
            Ok::<_, Fault>((current, parents, grants, decisions::of_task(q, id)?))
        })
        .await?;
    let current = current.as_ref().unwrap_or(&task);
    Ok(json!({
        "current_task": shown(current, now),
        "parent_tasks": parents.iter().map(|task| shown(task, now)).collect::<Vec<_>>(),
        "events": events(current, &grants),
        "actions": actions.iter().map(|(state, count)| (state.as_str().to_owned(), (*count).into()))
            .collect::<Map<String, Value>>(),
        "execution_pattern": null,
        "execution_pattern_reason": "this version counts past actions and computes no patterns of them",
        "risk_assessment": null,
        "risk_assessment_reason": "this version does not compute risk",
    }))
}

fn shown(task: &Task, now: Timestamp) -> Value {
    json!({"id": task.id, "label": task.label, "description": task.description,
        "state": task.state_at(now).as_str(), "created": task.created, "expires": task.expires})
}

/// What happened to the task's grants, newest last.
fn events(task: &Task, grants: &[Grant]) -> Vec<Value> {
    let mut events =
        vec![(task.created, json!({"type": "task.created", "at": task.created, "agent": task.agent}))];
    for grant in grants {
        let narrows = grants.iter().any(|other| grant.parent == Some(other.id));
        let kind = match grant.origin {
            Origin::Delegation if grant.agent == task.agent && narrows => "grant.delegated",
            _ if narrows => "grant.narrowed",
            _ => "grant.issued",
        };
        let at = grant.created;
        events.push((
            at,
            json!({"type": kind, "at": at, "grant": grant.id, "agent": grant.agent,
            "scope": grant.authority.scope, "expires": grant.authority.expires}),
        ));
        if let Some(revoked) = &grant.revoked {
            let at = revoked.at;
            let event = json!({"type": "grant.revoked", "at": at, "grant": grant.id, "agent": grant.agent,
                "by": revoked.by, "reason": revoked.reason});
            events.push((at, event));
        }
    }
    // Stable, so that what happened at one time stays in its order.
    events.sort_by_key(|(at, _)| *at);
    let beyond = events.len().saturating_sub(MAX_EVENTS);
    events.into_iter().skip(beyond).map(|(_, event)| event).collect()
}
