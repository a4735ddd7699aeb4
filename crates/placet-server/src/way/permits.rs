//! Permits that take the place of an approval: which of them together answer everything that a request is held for.
//!
//! Invariant: permits answer for all requirements or for none: where one is left open, everybody is asked anew. Their
//! counters are charged and their revocation is compared inside the commit point, like everything else.

use super::{Described, case::Case};
use crate::problem::Problem;
use placet_core::{
    approval::permit::{Permit, Use},
    id::PermitId,
    judge::Judgement,
    ledger::Charge,
};
use placet_store::{Fault, Version, permits};
use std::collections::BTreeSet;

/// The most permits that one agent may have at a time.
pub(crate) const MOST: usize = 100;

/// What the commit point has to do for the permits that are used.
#[derive(Debug, Default, Clone)]
pub(super) struct Permitted {
    /// The permits.
    pub(super) permits: Vec<PermitId>,
    /// What each is charged.
    pub(super) charges: Vec<Charge>,
    /// That none was taken back.
    pub(super) versions: Vec<(Version, u64)>,
}

/// The permits that answer everything the request is held for; `None` where they don't. `spent` were found used up.
///
/// # Errors
/// Faults.
pub(super) async fn covering(
    case: &Case<'_>,
    judgement: &Judgement,
    spent: &BTreeSet<PermitId>,
) -> Result<Option<Permitted>, Problem> {
    let Case { app, bearer, described, now, .. } = case;
    let now = *now;
    let agent = bearer.chain.agent().id;
    let given = app
        .store
        .read(move |q| {
            let live = permits::live(q, agent, now, MOST)?;
            live.into_iter()
                .map(|permit| permits::used(q, &permit).map(|used| (permit, used)))
                .collect::<Result<Vec<_>, Fault>>()
        })
        .await?;
    let connection = described.connection_label();
    let asking = Use { chain: &bearer.chain, action: &described.action, connection: &connection, now };
    let mut open: BTreeSet<usize> = (0..judgement.requirements.len()).collect();
    // Who may not be one person is not made up of permits that each may be the same person's: it takes one permit that
    // all of them gave together.
    let of_different = judgement.requirements.iter().enumerate().filter(|(_, asked)| asked.distinct);
    let of_different: BTreeSet<usize> = of_different.map(|(index, _)| index).collect();
    let mut found = Permitted::default();
    for (permit, used) in given.iter().filter(|(permit, _)| !spent.contains(&permit.id)) {
        let mut answered = permit.answers(&asking, &judgement.requirements);
        if of_different.len() > 1 && !of_different.iter().all(|index| answered.contains(index)) {
            answered.retain(|index| !of_different.contains(index));
        }
        if !answered.iter().any(|index| open.contains(index)) {
            continue;
        }
        let Some(charges) = fitting(permit, used, described, judgement.limits.len()) else { continue };
        open.retain(|index| !answered.contains(index));
        found.permits.push(permit.id);
        found.charges.extend(charges);
        found.versions.push((Version::Permit(permit.id), 0));
        if open.is_empty() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What the request is charged, where that fits as far as is known here; the commit point knows.
fn fitting(permit: &Permit, used: &[i64], described: &Described, limit: usize) -> Option<Vec<Charge>> {
    let charges = permit.charges(&described.action.params, limit)?;
    charges.iter().zip(used).all(|(charge, used)| charge.fits(*used)).then_some(charges)
}
