//! What an allowed action has to fit and to ask for, and whether one side asks for less than the other.
//!
//! A limit is matched by one of the same measure, `by` and window, or of a window that contains that one, with at most
//! the same maximum; an approval by one that no more people can give, within no more time.
//!
//! Invariant: `Matched` is certain; where neither is, it is said what could not be compared.

use crate::{
    approval::Approver,
    detect::Detect,
    ledger::{By, Limit, Measure, Per},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// What applies to a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Obligations<'p> {
    /// Policy and rule of each allow rule that is chosen.
    pub(super) chosen: Vec<(&'p str, &'p str)>,
    pub(super) limits: Vec<Counted<'p>>,
    pub(super) asked: Vec<Asked<'p>>,
    /// What is done to what comes back, as it was written.
    pub(super) shapes: Vec<String>,
    /// What is looked for in it.
    pub(super) detect: Detect,
    /// What is asked of the action's intent, as it was written; only compared as a whole.
    pub(super) intents: Vec<String>,
}

/// A limit with the rule whose counter it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'p> {
    pub(super) policy: &'p str,
    pub(super) rule: &'p str,
    pub(super) limit: &'p Limit,
}

#[derive(Debug, Clone)]
pub(super) struct Asked<'p> {
    pub(super) policy: &'p str,
    pub(super) rule: &'p str,
    pub(super) by: &'p [Approver],
    /// In seconds.
    pub(super) within: u64,
    /// Whatever else it asks, as it was written.
    pub(super) more: BTreeMap<String, Value>,
}

/// How what one side asks is met by the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Met {
    /// All of it, at least as strictly.
    Matched,
    /// Not this.
    Less(String),
    /// This can't be told.
    Unclear(String),
}

/// What comes back is not shaped as the other side shapes it.
pub(super) const WITHOUT_SHAPE: &str = "without the `shape` of what comes back";

/// A counter of a policy: its limits of one identity.
pub(super) type Counter = (String, String, String);

impl Counted<'_> {
    pub(super) fn counter(&self) -> Counter {
        (self.policy.to_owned(), self.rule.to_owned(), self.limit.identity())
    }
}

/// Whether `ours` is met by `theirs`.
pub(super) fn met(ours: &Obligations<'_>, theirs: &Obligations<'_>) -> Met {
    let mut unclear = None;
    for wanted in &ours.limits {
        match limit(wanted.limit, ours, theirs) {
            Met::Matched => {}
            Met::Less(what) => {
                return Met::Less(format!("{what} (policy `{}`, rule `{}`)", wanted.policy, wanted.rule));
            }
            other @ Met::Unclear(_) => unclear = unclear.or(Some(other)),
        }
    }
    for wanted in &ours.asked {
        let enough: Vec<&Asked<'_>> =
            theirs.asked.iter().filter(|found| asks_as_much(found, wanted)).collect();
        let from = format!("policy `{}`, rule `{}`", wanted.policy, wanted.rule);
        if enough.is_empty() {
            let by: Vec<String> = wanted.by.iter().map(ToString::to_string).collect();
            return Met::Less(format!("without the approval by {} that {from} asks for", by.join(" or ")));
        }
        if !enough.iter().any(|found| wanted.more.iter().all(|(key, more)| has(found, key, more))) {
            unclear =
                unclear.or(Some(Met::Unclear(format!("whether as much is asked of people as {from} asks"))));
        }
    }
    if let Some((kind, level)) = ours.detect.beyond(&theirs.detect) {
        return Met::Less(format!("without `shape: {{detect: {{{kind}: {}}}}}`", level.as_str()));
    }
    for wanted in &ours.shapes {
        if theirs.shapes.is_empty() {
            return Met::Less(WITHOUT_SHAPE.to_owned());
        }
        if !theirs.shapes.contains(wanted) {
            unclear = unclear.or(Some(Met::Unclear("whether a different `shape` hides as much".to_owned())));
        }
    }
    for wanted in ours.intents.iter().filter(|wanted| !theirs.intents.contains(wanted)) {
        let what =
            format!("whether what holds without `intent: {wanted}` is always within the purpose of its task");
        unclear = unclear.or(Some(Met::Unclear(what)));
    }
    unclear.unwrap_or(Met::Matched)
}

fn asks_as_much(found: &Asked<'_>, wanted: &Asked<'_>) -> bool {
    found.within <= wanted.within && found.by.iter().all(|by| wanted.by.contains(by))
}

/// Whether an approval asks this too, or more of it: more people, or fewer who may.
fn has(found: &Asked<'_>, key: &str, wanted: &Value) -> bool {
    match (found.more.get(key), wanted) {
        (Some(Value::Number(found)), Value::Number(wanted)) if key == "count" => {
            found.as_u64() >= wanted.as_u64()
        }
        (Some(Value::Array(found)), Value::Array(wanted)) if key == "not" => {
            wanted.iter().all(|one| found.contains(one))
        }
        (Some(found), wanted) => found == wanted,
        (None, _) => false,
    }
}

fn limit(wanted: &Limit, ours: &Obligations<'_>, theirs: &Obligations<'_>) -> Met {
    if theirs.limits.iter().any(|found| at_least_as_strict(found.limit, wanted)) {
        return Met::Matched;
    }
    // One that only one side has, counted for the same, may hold back as much in a way of its own.
    let identity = |limits: &[Counted<'_>], limit: &Limit| {
        limits.iter().any(|other| other.limit.identity() == limit.identity())
    };
    let other = theirs.limits.iter().find(|found| {
        let found = found.limit;
        found.by.as_str() == wanted.by.as_str()
            && found.identity() != wanted.identity()
            && !identity(&ours.limits, found)
            && !looser(found, wanted)
    });
    match other {
        Some(other) => Met::Unclear(format!("whether `{}` is as strict as `{wanted}`", other.limit)),
        None => Met::Less(format!("without the limit `{wanted}`")),
    }
}

/// Whether whatever fits `found` fits `wanted`.
pub(super) fn at_least_as_strict(found: &Limit, wanted: &Limit) -> bool {
    if !same_by(&found.by, &wanted.by) || found.max() > wanted.max() {
        return false;
    }
    match (&found.measure, &wanted.measure) {
        (Measure::Count { .. }, Measure::Count { .. }) => spans(found, wanted),
        (Measure::Sum { of: found_of, .. }, Measure::Sum { of: wanted_of, .. }) => {
            found_of.identity() == wanted_of.identity() && spans(found, wanted)
        }
        (Measure::Rate { rate: found, .. }, Measure::Rate { rate: wanted, .. }) => {
            // Of two that are equally fast the first is answered.
            found == wanted || (found.slower(*wanted) == *found)
        }
        (Measure::Concurrent { .. }, Measure::Concurrent { .. }) => true,
        _ => false,
    }
}

/// Whether both have the same counter for every request, as far as can be told.
fn same_by(one: &By, other: &By) -> bool {
    match (one, other) {
        (By::Key(one), By::Key(other)) => one.identity() == other.identity(),
        _ => one.as_str() == other.as_str(),
    }
}

/// Whether two windows of `found` within one of `wanted` let more through than that does.
fn looser(found: &Limit, wanted: &Limit) -> bool {
    let same = match (&found.measure, &wanted.measure) {
        (Measure::Count { .. }, Measure::Count { .. }) => true,
        (Measure::Sum { of: found, .. }, Measure::Sum { of: wanted, .. }) => {
            found.identity() == wanted.identity()
        }
        _ => false,
    };
    same && found.per != wanted.per && spans(wanted, found) && found.max().saturating_mul(2) > wanted.max()
}

/// Whether every window of `wanted` lies within one of `found`.
fn spans(found: &Limit, wanted: &Limit) -> bool {
    let (outer, inner) = (found.per, wanted.per);
    if outer == inner {
        return matches!(outer, Per::Minute | Per::Hour | Per::Total) || found.zone == wanted.zone;
    }
    match (outer, inner) {
        (Per::Total, _) | (Per::Hour, Per::Minute) => true,
        // Calendar days begin and end where a minute does, in every zone that there is today.
        (Per::Week | Per::Month, Per::Day) => found.zone == wanted.zone,
        (Per::Day | Per::Week | Per::Month, Per::Minute | Per::Hour) => {
            found.zone.iana_name().unwrap_or("UTC") == "UTC"
        }
        _ => false,
    }
}
