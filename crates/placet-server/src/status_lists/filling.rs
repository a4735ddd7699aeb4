//! Places for new tokens. A process fills one list at a time, of its own, in no order, and for an hour at most: so the
//! end of a list is known when it begins, whatever becomes of the process.
//!
//! Invariant: no place is given twice, by this process or another: each list is made by the process that fills it, and
//! what a crash leaves of one is never given.

use super::audiences;
use crate::{app::App, clock, problem::Problem};
use placet_core::{
    chain::Chain,
    status_list::{Places, Reference, StatusClaim},
    time::Timestamp,
    token::ACCESS_LIFETIME,
};
use placet_store::{
    Fault,
    status_lists::{self, Place, StatusList},
};
use std::time::Duration;

/// How long a list is filled.
const FILLED: Duration = Duration::from_secs(3600);
/// For how long after its end a token may be taken by somebody whose clock is behind, and is still told of.
pub(super) const LATE: Duration = Duration::from_secs(300);

/// The list that is being filled.
#[derive(Debug)]
pub(super) struct Filling {
    list: StatusList,
    until: Timestamp,
    places: Places,
}

/// Where a new token stands.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// What is stored.
    pub(crate) place: Place,
    /// What the token says.
    pub(crate) claim: StatusClaim,
}

/// A place for a token of the leaf of `chain`, where one of those whom it is for wants that.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn place(app: &App, chain: &Chain, now: Timestamp) -> Result<Option<Placed>, Problem> {
    let grant = &chain.leaf().grant;
    let audience = &grant.authority.audience;
    // Most tokens are for Placet alone.
    if audience.iter().all(|name| app.issuers.load().contains(name)) {
        return Ok(None);
    }
    let wanted = audiences(app).await?;
    if !audience.iter().any(|name| wanted.contains(name)) {
        return Ok(None);
    }
    let mut filling = app.status_lists.filling.lock().await;
    let mut drawn = filling.as_mut().and_then(|filling| filling.draw(now));
    if drawn.is_none() {
        let begun = filling.insert(begin(app, now).await?);
        drawn = begun.draw(now);
    }
    let Some((list, place)) = drawn else { return Err(Fault::Unreadable("a new list of statuses").into()) };
    let claim = StatusClaim { status_list: Reference { idx: place.into(), uri: uri(&list) } };
    let place = Place { list: list.id, place, grant: grant.id, expires: now.plus(ACCESS_LIFETIME) };
    Ok(Some(Placed { place, claim }))
}

/// Where a list is found: also what its statement is about.
pub(crate) fn uri(list: &StatusList) -> String {
    format!("{}/oauth/status/{}", list.issuer, list.id)
}

impl Filling {
    /// The next place, as long as there are any and the list is not over.
    fn draw(&mut self, now: Timestamp) -> Option<(StatusList, u16)> {
        if now >= self.until {
            return None;
        }
        self.places.draw(clock::entropy()).map(|place| (self.list.clone(), place))
    }
}

async fn begin(app: &App, now: Timestamp) -> Result<Filling, Problem> {
    let until = now.plus(FILLED);
    let ends = until.plus(ACCESS_LIFETIME).plus(LATE);
    let list = StatusList { id: clock::fresh(now), issuer: app.issuer.clone(), ends };
    let stored = list.clone();
    app.store.write(move |tx| status_lists::insert(tx, &stored)).await?;
    Ok(Filling { list, until, places: Places::all() })
}
