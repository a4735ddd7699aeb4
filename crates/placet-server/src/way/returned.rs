//! Values that a service vouches for in answers to actions of a task: kept for the task, as keyed hashes, and found again
//! where a later action of it sends one.
//!
//! They are taken from the answer as the agent is given it, at every door, and are on the disk before it has it: what an
//! agent can read of them it may use. Where they can't be kept they don't count.
//!
//! Invariant: only successful answers give any, and they count for the task alone whose purpose the action is measured by.

use super::{Described, outcome::Form, shaped};
use crate::{app::App, bearer::Bearer, problem::Problem, rules::LiveService};
use aws_lc_rs::hmac;
use placet_core::{
    action::Action,
    chain::Chain,
    id::TaskId,
    intent::{Purpose, Returned},
    json,
    pattern::ActionName,
    policy::BoundPolicies,
    time::Timestamp,
};
use placet_store::{Fault, purposes};
use serde_json::Value;
use std::sync::Arc;

/// How many values are kept in one transaction.
const AT_ONCE: usize = 25;

/// Gives an action those of its values that were returned for its task before, where rules ask what was named.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn gather(
    app: &App,
    policies: &BoundPolicies,
    chain: &Chain,
    action: &mut Action,
) -> Result<(), Problem> {
    let mut asked = Returned::asked(policies, chain, action);
    let Some(task) = measured_by(chain).map(|(task, _)| task).filter(|_| !asked.is_empty()) else {
        return Ok(());
    };
    let hashes: Vec<[u8; 32]> = asked.iter().map(|(name, value)| hash(app, task, name, value)).collect();
    let sought = hashes.clone();
    let kept = app.store.read(move |q| purposes::kept(q, task, &sought)).await?;
    let known: Vec<&[u8; 32]> =
        hashes.iter().zip(kept).filter(|(_, kept)| *kept).map(|(hash, _)| hash).collect();
    asked.retain(|name, value| known.contains(&&hash(app, task, name, value)));
    action.facts.note_returned(asked);
    Ok(())
}

/// The task whose purpose the actions of a chain are measured by, and when nothing can be done for it any more.
fn measured_by(chain: &Chain) -> Option<(TaskId, Timestamp)> {
    let (link, _) = Purpose::with_link(chain)?;
    Some((link.grant.task?, link.grant.authority.expires))
}

fn hash(app: &App, task: TaskId, name: &str, value: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&app.secrets.approvals);
    for part in ["placet returned value v1", &task.to_string(), name, value] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// What is to be kept of the answer to one action.
#[derive(Debug)]
pub(super) struct Keeping {
    live: Arc<LiveService>,
    action: ActionName,
    task: TaskId,
    expires: Timestamp,
}

impl Keeping {
    /// `None` where nothing is: the service vouches for nothing of it, or nobody stated what the task is for.
    pub(super) fn of(bearer: &Bearer, described: &Described) -> Option<Self> {
        described.declared()?.trusted()?;
        let (task, expires) = measured_by(&bearer.chain)?;
        Some(Self { live: Arc::clone(&described.live), action: described.action.name.clone(), task, expires })
    }

    /// Keeps the values of `{status, headers, body}` as it is answered at the action door.
    pub(super) async fn result(&self, app: &App, form: Form, result: &Value) {
        let status = result.get("status").and_then(Value::as_u64).and_then(|status| status.try_into().ok());
        if let (Form::Json, true, Some(body)) = (form, status.is_some_and(shaped::passes), result.get("body"))
        {
            self.keep(app, body).await;
        }
    }

    /// Keeps those of a body as it is answered at the proxy door.
    pub(super) async fn bytes(&self, app: &App, status: u16, headers: &[(String, String)], body: &[u8]) {
        if shaped::passes(status)
            && shaped::is_json(headers)
            && let Ok(body) = json::parse(body)
        {
            self.keep(app, &body).await;
        }
    }

    async fn keep(&self, app: &App, body: &Value) {
        let trusted = self.live.service.action(&self.action).and_then(|declared| declared.trusted());
        let found = trusted.map(|trusted| trusted.values(body)).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let (task, expires) = (self.task, self.expires);
        let hashes: Vec<[u8; 32]> = found.iter().map(|(name, value)| hash(app, task, name, value)).collect();
        // What happened has happened: the answer is given, and its values are named by nobody.
        if let Err(fault) = keep(app, task, hashes, expires).await {
            tracing::warn!(%fault, "values of an answer could not be kept for their task");
        }
    }
}

/// Keeps those that are not kept yet, a few at a time: the writer has others to serve.
async fn keep(app: &App, task: TaskId, hashes: Vec<[u8; 32]>, expires: Timestamp) -> Result<(), Fault> {
    let sought = hashes.clone();
    let kept = app.store.read(move |q| purposes::kept(q, task, &sought)).await?;
    let fresh: Vec<[u8; 32]> =
        hashes.into_iter().zip(kept).filter(|(_, kept)| !kept).map(|(hash, _)| hash).collect();
    for some in fresh.chunks(AT_ONCE) {
        let some = some.to_vec();
        app.store.write(move |tx| purposes::keep(tx, task, &some, expires)).await?;
    }
    Ok(())
}
