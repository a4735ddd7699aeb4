//! Rules that can't do what their place suggests: warnings within one policy.
//!
//! Invariant: a warning says only what is certain from the patterns.

use super::{
    Policy,
    rule::{Kind, OnWhat, Rule},
};
use crate::diagnostic::{Diagnostic, Report};

/// Warns of rules that never matter, and of limits that a later rule goes around.
pub(super) fn check(policy: &Policy, report: &Report) {
    let warn = |rule: &Rule, message: String, help: &str| {
        report.add(Diagnostic::warning(message).at(rule.node.position).rule(&*rule.name).help(help));
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        if rule.kind == Kind::Deny {
            continue;
        }
        let denied = policy
            .rules
            .iter()
            .find(|other| other.kind == Kind::Deny && other.is_unconditional() && includes(other, rule));
        if let (Some(deny), Kind::Allow) = (denied, rule.kind) {
            let message = format!("the rule never allows anything: `{}` denies all that it names", deny.name);
            warn(rule, message, "remove one of the two, or narrow the `deny`");
            continue;
        }
        let earlier = || policy.rules.iter().take(index).filter(|other| other.kind == Kind::Allow);
        if rule.kind != Kind::Allow {
            continue;
        }
        if let Some(first) = earlier().find(|first| first.is_unconditional() && includes(first, rule)) {
            let message = format!(
                "the rule is never chosen: `{}` comes first and allows all that it names",
                first.name
            );
            warn(rule, message, "put the narrower rule first");
            continue;
        }
        let shaped =
            earlier().find(|first| first.shape.is_some() && rule.shape.is_none() && meet(first, rule));
        if let Some(first) = shaped {
            let message = format!(
                "the rule lets back whole what `{}` shapes, where that rule's conditions fail",
                first.name
            );
            warn(rule, message, "give it a shape of its own, or put the shape in a `guard`");
        }
        let limited =
            earlier().find(|first| !first.limits.is_empty() && rule.limits.is_empty() && meet(first, rule));
        if let Some(first) = limited {
            let message = format!(
                "the rule allows without a limit what `{}` limits, where that rule's conditions fail",
                first.name
            );
            warn(rule, message, "give it limits of its own, or conditions that exclude the other's");
        }
    }
}

/// Whether everything that `inner` names is named by `outer`.
pub(super) fn includes(outer: &Rule, inner: &Rule) -> bool {
    let actions =
        inner.actions.iter().all(|one| outer.actions.iter().any(|other| other.pattern.covers(&one.pattern)));
    let Some(outer) = &outer.on else { return actions };
    let Some(inner) = &inner.on else {
        return actions
            && outer.iter().any(|entry| matches!(&entry.what, OnWhat::Pattern(it) if it.is_everything()));
    };
    let covered = |entry: &OnWhat| match entry {
        OnWhat::Pattern(inner) => {
            outer.iter().any(|entry| matches!(&entry.what, OnWhat::Pattern(it) if it.covers(inner)))
        }
        // What a template becomes is not known here.
        OnWhat::Template(_) => {
            outer.iter().any(|entry| matches!(&entry.what, OnWhat::Pattern(it) if it.is_everything()))
        }
    };
    actions && inner.iter().all(|entry| covered(&entry.what))
}

/// Whether some action on some resource is named by both, as far as the patterns tell.
fn meet(one: &Rule, other: &Rule) -> bool {
    let actions = one.actions.iter().any(|a| other.actions.iter().any(|b| a.pattern.intersects(&b.pattern)));
    let resources = match (&one.on, &other.on) {
        (Some(one), Some(other)) => one.iter().any(|a| {
            other.iter().any(|b| match (&a.what, &b.what) {
                (OnWhat::Pattern(a), OnWhat::Pattern(b)) => a.intersects(b),
                _ => true,
            })
        }),
        _ => true,
    };
    actions && resources
}
