//! Limits by an expression: a counter for each value.
//!
//! Invariant: whoever lets an agent pick its counter is told so when the policy is loaded.

use super::{rule::Rule, types::Declared};
use crate::{
    cel::{Expression, FieldType, Root, Schema},
    diagnostic::{Diagnostic, Report},
    ledger::By,
    service::{Service, ServiceAction},
    yaml::Yaml,
};

/// Whether a `by` is an expression, and not a word that is known or meant to be.
pub(super) fn is_expression(value: &Yaml) -> bool {
    matches!(value, Yaml::String(text) if !text.chars().all(|it| it.is_alphanumeric() || matches!(it, '_' | '-')))
}

/// Warns of keys that are all an agent's own words, where no other limit of the rule holds it.
pub(super) fn warn(rule: &Rule, services: &[&Service], report: &Report) {
    if rule.limits.iter().any(|applied| applied.limit.by.is_of_the_grant()) {
        return;
    }
    for applied in &rule.limits {
        let (By::Key(key), Some(node)) = (&applied.limit.by, &applied.nodes.by) else { continue };
        if !picked(key, rule, services) {
            continue;
        }
        let message =
            format!("an agent picks `{}` itself: each other value is a counter of its own", key.source());
        let diagnostic = Diagnostic::warning(message).at(node.position).rule(&*rule.name);
        report.add(diagnostic.help("give a second limit by agent, which holds whatever the agent writes"));
    }
}

/// Whether it rests on parameters alone, and one of them is free.
fn picked(key: &Expression, rule: &Rule, services: &[&Service]) -> bool {
    let paths: Vec<_> = key.conjuncts().iter().flat_map(|conjunct| conjunct.reads()).collect();
    if paths.is_empty() || paths.iter().any(|path| path.root() != Root::Params) {
        return false;
    }
    // A comparison is one of two.
    if !matches!(key.conjuncts(), [only] if only.bound().is_none()) {
        return false;
    }
    let declared: Vec<&ServiceAction> = services
        .iter()
        .flat_map(|service| service.actions())
        .filter(|action| rule.names(action.name()))
        .collect();
    let free = |action: Option<&ServiceAction>| {
        paths.iter().any(|path| {
            let fields: Vec<&str> =
                std::iter::once("params").chain(path.fields().iter().map(|field| &**field)).collect();
            !matches!(Declared(action).type_of(&fields), FieldType::Bool)
        })
    };
    declared.is_empty() || declared.into_iter().any(|action| free(Some(action)))
}
