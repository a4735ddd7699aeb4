//! What a trace tells is what was judged. Every judgement of every test of the judge passes here.

use super::*;
use crate::{
    judge::{Judgement, Verdict},
    refusal::Code,
};
use std::collections::BTreeSet;

/// The rules of policies in force that were asked.
fn in_force(trace: &Trace) -> impl Iterator<Item = (&PolicyTrace, &RuleTrace)> {
    let policies =
        trace.links.iter().flat_map(|link| &link.policies).filter(|policy| policy.mode == "enforce");
    policies.flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
}

/// Asserts that the decision follows from the tree, and each reason from one place in it.
pub(crate) fn agrees(trace: &Trace, judgement: &Judgement) {
    let unreadable = |limit: &LimitTrace| limit.unreadable.is_some();
    let denied = trace.authorities.iter().any(|authority| authority.missing.is_some())
        || !trace.level
        || trace.links.iter().any(|link| !link.allowed || link.limits.iter().any(unreadable))
        || in_force(trace).any(|(_, rule)| {
            matches!(rule.said, Said::Failed | Said::Matched)
                || rule.limits.iter().any(unreadable)
                || intent(rule, false)
        });
    let asks = |rule: &RuleTrace| {
        rule.approve.as_ref().is_some_and(|approve| approve.asks == Some(true)) || intent(rule, true)
    };
    let verdict = match (denied, in_force(trace).any(|(_, rule)| asks(rule))) {
        (true, _) => Verdict::Deny,
        (false, true) => Verdict::Hold,
        (false, false) => Verdict::Allow,
    };
    assert_eq!(verdict, judgement.verdict, "{trace:#?}\n{judgement:#?}");
    for reason in &judgement.reasons {
        assert!(is_told(trace, reason), "{reason:#?}\n{trace:#?}");
    }
    for (policy, rule) in in_force(trace) {
        let why = judgement.reasons.iter().filter(|reason| {
            reason.policy.as_deref() == Some(&policy.policy) && reason.rule.as_deref() == Some(&rule.rule)
        });
        match rule.said {
            Said::Matched => assert!(why.into_iter().any(|reason| reason.code == Code::Forbidden)),
            Said::Failed => assert!(why.into_iter().any(|reason| reason.code != Code::Forbidden)),
            _ => {}
        }
    }
    if judgement.verdict != Verdict::Deny {
        let said = in_force(trace).filter(|(_, rule)| rule.said == Said::Chosen);
        let said: BTreeSet<_> = said.map(|(policy, rule)| (&*policy.policy, &*rule.rule)).collect();
        let chosen: BTreeSet<_> =
            judgement.chosen.iter().map(|(policy, rule)| (&**policy, &**rule)).collect();
        assert_eq!(said, chosen);
        assert_eq!((&trace.charges, &trace.limits), (&judgement.charges, &judgement.limits));
    }
}

/// Whether the rule's intent does not fit, and people are asked about that or not.
fn intent(rule: &RuleTrace, people: bool) -> bool {
    rule.intent.as_ref().is_some_and(|intent| {
        intent.fits() == Some(false)
            && (intent.holds || intent.said.as_deref() == Some("no_purpose")) == people
    })
}

fn is_told(trace: &Trace, reason: &Reason) -> bool {
    let of_rule = |policy: &PolicyTrace, rule: &RuleTrace| {
        reason.policy.as_deref() == Some(&*policy.policy) && reason.rule.as_deref() == Some(&*rule.rule)
    };
    let mut rules = in_force(trace).filter(|(policy, rule)| of_rule(policy, rule)).map(|(_, rule)| rule);
    let conjunct = |rule: &RuleTrace, outcome: Seen| {
        rule.when.iter().any(|shown| {
            shown.outcome == outcome
                && reason.expression.as_ref() == Some(&shown.expression)
                && reason.observed == shown.observed
        })
    };
    let can_not_count = |rule: &RuleTrace| {
        rule.limits.iter().any(|limit| limit.unreadable.is_some() && limit.unreadable == reason.detail)
    };
    match reason.code {
        Code::NotGranted => {
            !trace.level || trace.authorities.iter().any(|authority| authority.missing.is_some())
        }
        Code::NoRule => trace.links.iter().any(|link| !link.allowed),
        Code::Forbidden => rules.any(|rule| rule.said == Said::Matched),
        Code::ConditionFailed => rules.any(|rule| conjunct(rule, Seen::False) || can_not_count(rule)),
        Code::ConditionUnknown if reason.rule.as_deref() == Some("limits") => true,
        Code::ConditionUnknown => rules.any(|rule| conjunct(rule, Seen::Unknown) || can_not_count(rule)),
        Code::OutsideHours => {
            rules.any(|rule| rule.hours.as_ref().is_some_and(|hours| hours.open == Some(false)))
        }
        Code::ApprovalRequired => rules.any(|rule| {
            rule.approve.as_ref().is_some_and(|approve| approve.asks == Some(true)) || intent(rule, true)
        }),
        Code::IntentMismatch => rules.any(|rule| intent(rule, false)),
        _ => false,
    }
}
