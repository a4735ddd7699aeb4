//! What policies in `mode: observe` would have said.
//!
//! Such a policy grants, forbids, charges and chooses nothing (DESIGN §4). Its limits are therefore not counted: of
//! them it is only known whether an action would not have fitted by itself.
//!
//! Invariant: nothing here changes a judgement, nor takes of its fuel.

use super::{
    Verdict,
    listener::Listener,
    subject::Subject,
    verdict::{Found, Trial},
};
use crate::{
    cel::Fuel,
    policy::{BoundLink, BoundPolicy},
    refusal::{Code, Reason},
};
use serde::Serialize;

/// The most that is noted of one action.
pub(super) const MOST: usize = 32;

/// What one rule of an observed policy would have said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Observation {
    /// `name@version` of the policy.
    pub policy: String,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `Deny` or `Hold` for what it would have stopped; `Allow` where it alone would have allowed the action.
    pub would: Verdict,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Judges by one observed policy alone. `allowed`: whether the policies in force allow the action for this link.
pub(super) fn observe(
    subject: &Subject<'_>,
    fuel: &mut Fuel,
    link: &BoundLink,
    bound: &BoundPolicy,
    allowed: bool,
    listener: &mut impl Listener,
) -> Vec<Observation> {
    let mut trial = Trial::new(subject, std::mem::take(fuel), listener);
    let chosen = trial.policy(link, bound, &mut Vec::new());
    let Found { fuel: left, mut denials, chosen: rules, bill, asked, shapes: _, intents: _ } = trial.found();
    *fuel = left;
    for charge in bill.charges.iter().filter(|charge| !charge.fits(0)) {
        let mut reason = Reason::of(Code::LimitExceeded);
        if let Some(applied) = bill.limits.get(charge.limit) {
            reason = reason.from_rule(applied.policy.as_ref(), applied.rule.as_ref());
            reason.expression = Some(applied.limit.to_string());
        }
        denials.push(reason);
    }
    let policy = bound.policy.label();
    let says = |would, reason: Reason| Observation {
        policy: policy.to_owned(),
        rule: reason.rule.clone(),
        would,
        reason: Some(reason),
    };
    if !denials.is_empty() {
        return denials.into_iter().map(|reason| says(Verdict::Deny, reason)).collect();
    }
    if !asked.is_empty() {
        return asked.into_iter().map(|(_, reason)| says(Verdict::Hold, reason)).collect();
    }
    if !chosen || allowed {
        return Vec::new();
    }
    let rules = rules.into_iter().map(|(policy, rule)| Observation {
        policy: policy.to_string(),
        rule: Some(rule.to_string()),
        would: Verdict::Allow,
        reason: None,
    });
    rules.collect()
}
