//! Reasons: which condition failed, what it saw, what would make it pass. Built only where something is refused.
//!
//! Invariant: every variable that a condition reads is among the observed, known or not, so that disclosure to
//! agents can tell conditions over what they sent from all others.

use super::subject::Subject;
use crate::{
    agent::Level,
    approval::Requirement,
    cel::{Bound, BoundOp, Conjunct, Expression, Root, Why},
    grant::Missing,
    policy::{BoundLink, Condition, Hours, Policy, Rule},
    refusal::{Code, Reason},
};
use serde_json::{Map, Value, json};

/// The authority of a grant does not permit the action.
pub(super) fn not_granted(missing: Missing, subject: &Subject<'_>) -> Reason {
    let action = subject.request.action;
    // Only what the agent sent itself: what the grant holds instead is not said.
    let needed = match missing {
        Missing::Scope | Missing::Tool => action.name.as_str().into(),
        Missing::Resource => action.resource.as_str().into(),
        Missing::Detail => true.into(),
        Missing::Connection => action.connection.map_or(Value::Null, |id| id.to_string().into()),
    };
    let mut reason = Reason::of(Code::NotGranted);
    reason.remedy.insert(missing.as_str().to_owned(), needed);
    reason
}

/// An agent's level does not permit the effect.
pub(super) fn above_level(subject: &Subject<'_>) -> Reason {
    let effect = subject.request.action.effect;
    let levels = [(Level::Restricted, "restricted"), (Level::Standard, "standard")];
    let needed = levels.iter().find(|(level, _)| level.permits(effect)).map_or("elevated", |(_, word)| word);
    let mut reason = Reason::of(Code::NotGranted);
    reason.remedy.insert("level".to_owned(), needed.into());
    reason
}

/// One conjunct of an allow rule or guard that is not true; `why` where it is unknown.
pub(super) fn condition(
    subject: &Subject<'_>,
    link: &BoundLink,
    (policy, rule): (&Policy, &Rule),
    conjunct: &Conjunct,
    why: Option<Why>,
) -> Reason {
    let code = if why.is_some() { Code::ConditionUnknown } else { Code::ConditionFailed };
    let mut reason = Reason::of(code).from_rule(policy.label(), &*rule.name);
    reason.expression = Some(conjunct.source().to_owned());
    reason.observed = observed(subject, link, std::iter::once(conjunct));
    if let Some(bound) = conjunct.bound() {
        reason.remedy.extend(remedy(bound));
    }
    reason
}

/// It is outside the hours of an allow rule or guard.
pub(super) fn outside_hours(
    subject: &Subject<'_>,
    (policy, rule): (&Policy, &Rule),
    hours: &Hours,
) -> Reason {
    let now = subject.request.now;
    let mut reason = Reason::of(Code::OutsideHours).from_rule(policy.label(), &*rule.name);
    // With `now` among the observed the hours themselves stay untold to agents, who are told when to come back.
    reason.expression = Some(format!("hours: {hours}"));
    reason.observed.insert("now".to_owned(), now.to_string().into());
    if let Some(opens) = hours.opens_after(now) {
        reason.remedy.insert("retry_at".to_owned(), opens.to_string().into());
    }
    reason
}

/// A deny rule that matches.
pub(super) fn forbidden(subject: &Subject<'_>, link: &BoundLink, policy: &Policy, rule: &Rule) -> Reason {
    let mut reason = Reason::of(Code::Forbidden).from_rule(policy.label(), &*rule.name);
    reason.expression = joined(&rule.when);
    let conjuncts = rule.when.iter().flat_map(|condition| condition.expression.conjuncts());
    reason.observed = observed(subject, link, conjuncts);
    reason
}

/// What a limit counts, or counts by, can't be told; `owner` is policy and rule, or grant and `limits`. What is wrong with it
/// would tell an agent something of values that it did not send: of those it is told one thing, whatever it is. The record
/// has it all.
pub(super) fn uncountable(
    subject: &Subject<'_>,
    link: &BoundLink,
    owner: (&str, &str),
    counted: &Expression,
    code: Code,
    detail: &str,
) -> Reason {
    let own = counted.conjuncts().iter().flat_map(Conjunct::reads).all(|path| path.root() == Root::Params);
    let (told, said) = if own { (code, detail) } else { (Code::ConditionUnknown, UNCOUNTABLE) };
    let mut reason = Reason::of(told).from_rule(owner.0, owner.1).detail(said);
    reason.expression = Some(counted.source().to_owned());
    reason.observed = observed(subject, link, counted.conjuncts().iter());
    if !own {
        reason.observed.insert("limit".to_owned(), detail.into());
    }
    reason
}

/// What an agent is told where a limit rests on what it did not send.
const UNCOUNTABLE: &str = "what a limit counts can't be told";

/// A limit by somebody that the grant doesn't name.
pub(super) fn nobody_to_charge(owner: (&str, &str), by: &str) -> Reason {
    Reason::of(Code::ConditionUnknown)
        .from_rule(owner.0, owner.1)
        .detail(format!("a limit is counted by {by}, and the grant has no {by}"))
}

/// A requirement of a hold.
pub(super) fn approval(
    subject: &Subject<'_>,
    link: &BoundLink,
    requirement: &Requirement,
    when: &[Condition],
) -> Reason {
    let mut reason = Reason::of(Code::ApprovalRequired).from_rule(&*requirement.policy, &*requirement.rule);
    reason.expression = joined(when);
    reason.observed =
        observed(subject, link, when.iter().flat_map(|condition| condition.expression.conjuncts()));
    reason
}

fn joined(conditions: &[Condition]) -> Option<String> {
    let sources: Vec<_> = conditions.iter().map(|condition| condition.expression.source()).collect();
    (!sources.is_empty()).then(|| sources.join(" && "))
}

fn observed<'c>(
    subject: &Subject<'_>,
    link: &BoundLink,
    conjuncts: impl Iterator<Item = &'c Conjunct>,
) -> Map<String, Value> {
    conjuncts.flat_map(Conjunct::reads).map(|path| (path.to_string(), subject.observed(link, path))).collect()
}

/// `{"params.amount": {"max": 500}}`.
pub(super) fn remedy(bound: &Bound) -> Option<(String, Value)> {
    let literal = &bound.literal;
    let what = match bound.op {
        BoundOp::AtMost => json!({ "max": literal }),
        BoundOp::Below => json!({ "below": literal }),
        BoundOp::AtLeast => json!({ "min": literal }),
        BoundOp::Above => json!({ "above": literal }),
        BoundOp::Equal => json!({ "equals": literal }),
        BoundOp::NotEqual => json!({ "not": literal }),
        BoundOp::In => json!({ "one_of": literal }),
    };
    Some((bound.path.to_string(), what))
}
