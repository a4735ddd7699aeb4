//! The decision with its counters: what the rules said, and whether what it would charge still fits.
//!
//! Dry runs, questions to people, policy tests and the refusals of the commit point all tell it in these words.

use super::{Judgement, Verdict};
use crate::{
    cel::Root,
    chain::Chain,
    ledger::{Charge, Meter, Standing},
    refusal::{Code, Reason},
};
use serde_json::Value;

/// The decision on counters that stand like this, in the order of the judgement's charges: the verdict of the rules,
/// or a denial by the first limit that is used up.
pub fn counted(judgement: &Judgement, chain: &Chain, standings: &[Standing]) -> (Verdict, Vec<Reason>) {
    by(judgement, chain, standings, |charge, used| charge.fits(used))
}

/// The same as an agent is told it that only asks: what [`told`] says of each limit.
pub fn advised(judgement: &Judgement, chain: &Chain, standings: &[Standing]) -> (Verdict, Vec<Reason>) {
    by(judgement, chain, standings, |charge, used| told(chain, charge).fits(used))
}

/// What of a charge decides about an agent's advice. Of a limit that is its own, all of it. Of one that it shares, whether
/// the amount is within the maximum, and whether anything is left at all: by asking about amounts of its choice it would
/// find out to the cent what the others have used.
pub fn told(chain: &Chain, charge: &Charge) -> Charge {
    let alone = is_own(chain, &charge.counter) || !charge.fits(0);
    Charge { amount: if alone { charge.amount } else { charge.amount.min(1) }, ..charge.clone() }
}

fn by(
    judgement: &Judgement,
    chain: &Chain,
    standings: &[Standing],
    fits: impl Fn(&Charge, i64) -> bool,
) -> (Verdict, Vec<Reason>) {
    let mut charges = judgement.charges.iter().zip(standings).enumerate();
    match charges.find(|(_, (charge, standing))| !fits(charge, standing.used)) {
        Some((index, (_, standing))) => (Verdict::Deny, vec![exceeded(judgement, chain, index, *standing)]),
        None => (judgement.verdict, judgement.reasons.clone()),
    }
}

/// The reason for a charge of the judgement that doesn't fit: which limit, and when it starts anew or the next one
/// fits. Of a limit that others share an agent is told neither how much they have used nor when there is room again.
pub fn exceeded(judgement: &Judgement, chain: &Chain, index: usize, standing: Standing) -> Reason {
    let mut reason = Reason::of(Code::LimitExceeded);
    let Some(charge) = judgement.charges.get(index) else { return reason };
    if let Some(applied) = judgement.limits.get(charge.limit) {
        reason = reason.from_rule(applied.policy.as_ref(), applied.rule.as_ref());
        reason.expression = Some(applied.limit.to_string());
        // With them among the observed, the text of a limit over facts stays untold to agents.
        let others = applied.limit.reads().filter(|path| path.root() != Root::Params);
        reason.observed.extend(others.map(|path| (path.to_string(), Value::Null)));
    }
    if charge.meter == Meter::Concurrent {
        reason = reason.detail(
            "as many as may be are under way; another fits when one of them has ended, and nobody knows when",
        );
    }
    if let Some(at) = standing.retry_at {
        let name = if is_own(chain, &charge.counter) { "retry_at" } else { "shared_retry_at" };
        reason.remedy.insert(name.into(), at.to_string().into());
    }
    reason
}

/// Whether the counter is the acting agent's, its grant's or its task's, and so nobody's above or beside it.
pub fn is_own(chain: &Chain, counter: &str) -> bool {
    let leaf = &chain.leaf().grant;
    let by = counter.rsplit('/').next().unwrap_or_default();
    by == format!("agent:{}", leaf.agent)
        || by == format!("grant:{}", leaf.id)
        || leaf.task.is_some_and(|task| by == format!("task:{task}"))
        || by.starts_with(&format!("agent-user:{}+", leaf.agent))
}
