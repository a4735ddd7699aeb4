//! What became of an action, as far as two versions of a policy can be compared by it.

use super::{Case, Decided};
use crate::{
    cel::{Conjunct, Expression},
    detect::{Detect, Level},
    judge::Verdict,
    ledger::Limit,
    policy::PolicySet,
    shape::Shape,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
    /// What of the answer comes back, and what does not; nothing where all does, and where it is denied.
    pub shapes: BTreeSet<String>,
    /// What the texts above were prepared with: the values of the lists that their conditions name.
    #[serde(skip)]
    prepared: BTreeSet<String>,
}

impl Outcome {
    /// Of a decision.
    pub fn of(decided: &Decided) -> Self {
        let denied = decided.decision == Verdict::Deny;
        let limits: Vec<&Limit> =
            decided.trace.limits.iter().filter(|_| !denied).map(|applied| &*applied.limit).collect();
        let expressions = limits.iter().flat_map(|limit| limit.expressions());
        let filters = decided.shapes.iter().flat_map(|shape| &shape.rows).flat_map(|rows| &rows.filter);
        let prepared = expressions.chain(filters).flat_map(Expression::conjuncts).map(Conjunct::identity);
        let shown = |limit: &Limit| serde_json::to_value(limit).unwrap_or(Value::Null).to_string();
        let policies = decided.trace.links.iter().flat_map(|link| &link.policies).filter(|_| !denied);
        let rules = policies.filter(|policy| policy.mode == "enforce").flat_map(|policy| &policy.rules);
        let intents: Vec<String> = rules.clone().filter_map(|rule| rule.intent.as_ref()?.asks()).collect();
        let asking =
            rules.filter_map(|rule| rule.approve.as_ref()).filter(|approve| approve.asks == Some(true));
        Self {
            decision: decided.decision,
            reasons: decided.reasons.iter().map(|reason| reason.code.as_str()).collect(),
            limits: limits.iter().map(|limit| shown(limit)).collect(),
            asks: asking
                .map(|approve| format!("{} within {} s", approve.whom(), approve.within))
                .chain(intents)
                .collect(),
            shapes: shapes(&decided.shapes),
            prepared: prepared.collect(),
        }
    }
}

/// What they say together, whichever rule says it: of several maxima of one list the smallest.
fn shapes(shapes: &[Arc<Shape>]) -> BTreeSet<String> {
    let (mut found, mut most) = (BTreeSet::new(), BTreeMap::new());
    let mut detect = Detect::default();
    for shape in shapes {
        for rows in &shape.rows {
            let at = rows.at.to_string();
            let conjuncts = rows.filter.iter().flat_map(Expression::conjuncts);
            found.extend(conjuncts.map(|conjunct| format!("of {at} those where {}", conjunct.source())));
            if let Some(max) = rows.max {
                most.entry(at).and_modify(|known| *known = max.min(*known)).or_insert(max);
            }
        }
        detect.join(&shape.detect);
        found.extend(shape.redact.iter().map(|path| format!("without {path}")));
    }
    found.extend(detect.kinds().map(|(kind, level)| match level {
        Level::Mark => format!("told of each {kind}"),
        Level::Redact => format!("without each {kind}"),
        Level::Withhold => format!("nothing that has a {kind}"),
    }));
    found.extend(most.into_iter().map(|(at, max)| format!("of {at} at most {max}")));
    found
}

impl Case {
    /// Its outcome by one set of policies and by another, where they differ.
    pub fn change(&self, before: &PolicySet, after: &PolicySet) -> Option<(Outcome, Outcome)> {
        let (before, after) = (Outcome::of(&self.decide(before)), Outcome::of(&self.decide(after)));
        (before != after).then_some((before, after))
    }
}
