//! The turn at the upstream that an action takes before anything is reserved for it.
//!
//! Invariant: without a turn nothing is admitted; who is turned away has reserved nothing, and is told when to come again.

use super::{Described, outcome::UPSTREAM_TIME};
use crate::{app::App, problem::Problem, rules::LiveService};
use placet_core::refusal::Code;
use placet_gateway::{Slot, TurnedAway};
use std::time::Duration;

/// Whether time has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was there, or is still held.
    Here,
    /// Others were before it.
    Waited,
}

/// How long an upstream may take over an answer.
pub(super) fn time(live: &LiveService) -> Duration {
    live.service.timeout().unwrap_or(UPSTREAM_TIME)
}

/// Takes the turn, if `taken` is none at this upstream.
///
/// # Errors
/// `upstream_unavailable` and `upstream_busy`.
pub(super) async fn take(
    app: &App,
    described: &Described,
    taken: &mut Option<(String, Slot)>,
) -> Result<Taken, Problem> {
    let name = described.live.service.name();
    if taken.as_ref().is_some_and(|(of, _)| of == name) {
        return Ok(Taken::Here);
    }
    // The action's service has changed meanwhile.
    *taken = None;
    let entered = described.live.upstream(&app.gateway).enter(Some(described.by)).await;
    let slot = entered.map_err(|away| turned_away(away, name))?;
    let waited = slot.waited();
    *taken = Some((name.to_owned(), slot));
    Ok(if waited { Taken::Waited } else { Taken::Here })
}

/// The refusal for who has no turn.
pub(super) fn turned_away(away: TurnedAway, service: &str) -> Problem {
    let (code, retry_after) = match away {
        TurnedAway::Broken { retry_after } => (Code::UpstreamUnavailable, retry_after),
        TurnedAway::Busy { retry_after } => (Code::UpstreamBusy, retry_after),
    };
    // In whole seconds, and not before it is tried again.
    let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0)).max(1);
    Problem::of(code, format!("nothing was sent to `{service}`: {away}"))
        .with("happened", "no")
        .with("retry_after", seconds)
        .retry_after(seconds)
}
