//! The decision with its counters: what the rules said, and whether what it would charge still fits.
//!
//! Dry runs, questions to people, policy tests and the refusals of the commit point all tell it in these words.

use super::{Judgement, Verdict};
use crate::{
    cel::Root,
    chain::Chain,
    ledger::{Meter, Standing},
    refusal::{Code, Reason},
};
use serde_json::Value;

/// The decision on counters that stand like this, in the order of the judgement's charges: the verdict of the rules,
/// or a denial by the first limit that is used up.
pub fn counted(judgement: &Judgement, chain: &Chain, standings: &[Standing]) -> (Verdict, Vec<Reason>) {
    let mut charges = judgement.charges.iter().zip(standings).enumerate();
    match charges.find(|(_, (charge, standing))| !charge.fits(standing.used)) {
        Some((index, (_, standing))) => (Verdict::Deny, vec![exceeded(judgement, chain, index, *standing)]),
        None => (judgement.verdict, judgement.reasons.clone()),
    }
}

/// The reason for a charge of the judgement that doesn't fit: which limit, and when it starts anew or the next one
/// fits. How much others have used is not told, nor when a bucket that they share has room: that is how much.
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
        let told = charge.meter == Meter::Window || is_own(chain, &charge.counter);
        reason.remedy.insert(if told { "retry_at" } else { "shared_retry_at" }.into(), at.to_string().into());
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
