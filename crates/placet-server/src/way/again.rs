//! A request that comes again with its idempotency key: judged on today's authority, policies and guards, and on the facts
//! that it was judged on then. What it did may have changed those very facts, and what ran is not undone by a no.
//!
//! Invariant: what is judged on facts of before is only ever replayed: it never passes the commit point.

use super::{Asked, Described, case::idempotency};
use crate::{app::App, bearer::Bearer, problem::Problem};
use placet_core::{judge, service::Facts, time::Timestamp};
use placet_store::{Fault, actions, idempotency::action_of};
use std::sync::Arc;

/// Whether this very request has been admitted before, with its key, and facts would be looked up for it: then it has those
/// of that time. What could not be read then, or was erased from the record since, is unknown.
///
/// # Errors
/// Faults of the store.
pub(super) async fn recalled(
    app: &App,
    bearer: &Bearer,
    described: &mut Described,
    asked: &Asked,
    now: Timestamp,
) -> Result<bool, Problem> {
    let Some(key) = idempotency(bearer, described, asked, now) else { return Ok(false) };
    let Some(declared) = described.declared() else { return Ok(false) };
    if judge::need(&bearer.policies, &described.request(bearer, now), declared).is_empty() {
        return Ok(false);
    }
    let found = app
        .store
        .read(move |q| match action_of(q, &key, now)? {
            Some(action) => actions::find(q, action).map(Some),
            None => Ok::<_, Fault>(None),
        })
        .await?;
    let Some(stored) = found else { return Ok(false) };
    let mut body = None;
    if let Some(stored) = stored {
        // Another node may have sealed it a moment ago by a key that it made then.
        if let Some(sealed) = stored.sealed.as_deref() {
            app.know_sealer_of(sealed).await;
        }
        body = app.intent(&stored).and_then(|intent| intent.body);
    }
    let facts = body.as_ref().and_then(|body| body.get("facts")).map(Facts::recorded).unwrap_or_default();
    let action = Arc::make_mut(&mut described.action);
    let returned = action.facts.returned().clone();
    action.facts = facts;
    action.facts.note_returned(returned);
    Ok(true)
}
