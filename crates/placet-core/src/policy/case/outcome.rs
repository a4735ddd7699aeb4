//! What became of an action, as far as two versions of a policy can be compared by it.

use super::{Case, Decided};
use crate::{judge::Verdict, policy::PolicySet};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// The decision with what comes with it. The names of policies and rules don't count: what they do does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The decision.
    pub decision: Verdict,
    /// The codes of its reasons.
    pub reasons: BTreeSet<&'static str>,
    /// The limits that it is charged to; none where it is denied.
    pub limits: BTreeSet<String>,
    /// Whom it asks; nobody where it is denied.
    pub asks: BTreeSet<String>,
}

impl Outcome {
    /// Of a decision.
    pub fn of(decided: &Decided) -> Self {
        let denied = decided.decision == Verdict::Deny;
        let limits = decided.trace.limits.iter().filter(|_| !denied);
        let limits =
            limits.map(|applied| serde_json::to_value(&*applied.limit).unwrap_or(Value::Null).to_string());
        let policies = decided.trace.links.iter().flat_map(|link| &link.policies).filter(|_| !denied);
        let rules = policies.filter(|policy| policy.mode == "enforce").flat_map(|policy| &policy.rules);
        let asking =
            rules.filter_map(|rule| rule.approve.as_ref()).filter(|approve| approve.asks == Some(true));
        Self {
            decision: decided.decision,
            reasons: decided.reasons.iter().map(|reason| reason.code.as_str()).collect(),
            limits: limits.collect(),
            asks: asking.map(|approve| format!("{} within {} s", approve.whom(), approve.within)).collect(),
        }
    }
}

impl Case {
    /// Its outcome by one set of policies and by another, where they differ.
    pub fn change(&self, before: &PolicySet, after: &PolicySet) -> Option<(Outcome, Outcome)> {
        let (before, after) = (Outcome::of(&self.decide(before)), Outcome::of(&self.decide(after)));
        (before != after).then_some((before, after))
    }
}
