//! Policy and service as a pair: nothing may rest on what an agent merely claims, and conditions fit the types of
//! the parameters (DESIGN §4 "Provenance in services").
//!
//! Invariant: the same checks whichever of the two comes second.

use super::{
    Policy, PolicySet, intent, key,
    rule::{Rule, Use},
    types::Declared,
};
use crate::{
    cel::{Expression, Path, Root, TypeIssue},
    diagnostic::{Diagnostic, Position, Report, nearest},
    pattern::ActionName,
    service::{Service, ServiceAction},
};

/// One thing that is wrong with a pair.
pub(super) struct Finding {
    pub(super) at: Position,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) warning: bool,
}

/// Checks a policy against the services in force. `advised`: whether anybody reads what is only doubtful.
pub(super) fn policy(policy: &Policy, services: &[&Service], report: &Report, advised: bool) {
    for rule in &policy.rules {
        if advised {
            undeclared(rule, services, report);
            key::warn(rule, services, report);
        }
        let findings =
            expressions(rule).into_iter().chain(services.iter().flat_map(|service| pair(rule, service)));
        for finding in findings {
            let message = &finding.message;
            let diagnostic =
                if finding.warning { Diagnostic::warning(message) } else { Diagnostic::error(message) };
            let diagnostic = diagnostic.at(finding.at).rule(&*rule.name);
            report.add(match &finding.help {
                Some(help) => diagnostic.help(help),
                None => diagnostic,
            });
        }
    }
}

/// Checks a new service against the policies in force.
pub(super) fn service(policies: &PolicySet, service: &Service) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let staged = policies.staged().iter().map(|staged| &staged.policy);
    for policy in policies.policies().iter().chain(staged) {
        for rule in &policy.rules {
            for finding in pair(rule, service).into_iter().filter(|finding| !finding.warning) {
                let message = format!(
                    "policy `{}`, rule `{}` (line {}): {}",
                    policy.name, rule.name, finding.at.line, finding.message
                );
                let diagnostic = Diagnostic::error(message).rule(&*rule.name);
                found.push(match finding.help {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                });
            }
        }
    }
    found
}

/// Names of actions that no service declares: a warning, their parameters and effects are unknown.
fn undeclared(rule: &Rule, services: &[&Service], report: &Report) {
    let declared = || services.iter().flat_map(|service| service.actions()).map(ServiceAction::name);
    for named in rule.actions.iter().filter(|named| !named.pattern.is_everything()) {
        if declared().any(|name| named.pattern.matches(name)) {
            continue;
        }
        let text = named.pattern.as_str();
        let diagnostic = Diagnostic::warning(match named.pattern.single() {
            Some(_) => {
                format!("no service declares the action `{text}`: its parameters and effect are unknown")
            }
            None => format!("no service declares an action that `{text}` matches"),
        });
        let diagnostic = diagnostic.at(named.node.position).rule(&*rule.name);
        report.add(match nearest(text, declared().map(ActionName::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
    }
}

fn pair(rule: &Rule, service: &Service) -> Vec<Finding> {
    let mut found = Vec::new();
    for action in service.actions().filter(|action| rule.names(action.name())) {
        if !action.claimed().is_empty() {
            resources(rule, service, action, &mut found);
        }
        intent::check(rule, service, action, &mut found);
        for (expression, node, purpose) in rule.expressions() {
            let at = |offset| node.position_within(offset);
            claimed_reads(expression, service, action, &at, &mut found);
            streamed_reads(expression, service, action, &at, &mut found);
            types(rule, expression, purpose, action, &at, &mut found);
        }
    }
    found
}

/// Entries of `on` that look at a claimed place.
fn resources(rule: &Rule, service: &Service, action: &ServiceAction, found: &mut Vec<Finding>) {
    for entry in rule.on.iter().flatten() {
        if let Some(variable) = entry.samples.iter().find_map(|sample| action.reads_claimed(sample)) {
            found.push(Finding {
                at: entry.node.position,
                message: format!(
                    "this entry rests on `{variable}`, which an agent merely claims in action `{}` of service `{}`",
                    action.name(),
                    service.name()
                ),
                help: Some(how_to_rest(&variable)),
                warning: false,
            });
        }
    }
}

fn how_to_rest(variable: &str) -> String {
    format!(
        "write `*` in its place, or have the service declare `binds: [{variable}]` if upstream rejects a mismatch"
    )
}

/// Conditions that read a claimed variable, as a parameter or as a part of the resource.
fn claimed_reads(
    expression: &Expression,
    service: &Service,
    action: &ServiceAction,
    at: &impl Fn(usize) -> Position,
    found: &mut Vec<Finding>,
) {
    let Some(first) = action.claimed().first() else { return };
    for conjunct in expression.conjuncts() {
        let variable = |path: &Path| match (path.root(), path.fields().first()) {
            (Root::Params, Some(name)) => action.claimed().iter().find(|claimed| ***claimed == **name),
            (Root::Params, None) => Some(first),
            (Root::Resource, Some(member)) if &**member == "scheme" => None,
            // Which object is looked up rests on no claim.
            (Root::Resource, Some(member)) if action.fact(member).is_some() => None,
            (Root::Resource, _) => Some(first),
            _ => None,
        };
        if let Some((path, variable)) = conjunct.reads().iter().find_map(|path| Some((path, variable(path)?)))
        {
            found.push(Finding {
                at: at(conjunct.offset()),
                message: format!(
                    "`{path}` rests on `{variable}`, which an agent merely claims in action `{}` of service `{}`",
                    action.name(),
                    service.name()
                ),
                help: Some(format!(
                    "have the service declare `binds: [{variable}]` if upstream rejects a mismatch"
                )),
                warning: false,
            });
        }
    }
}

/// Conditions and sums that read parameters of an action whose body is streamed: what is in the body isn't known
/// when it is decided (DESIGN §7).
fn streamed_reads(
    expression: &Expression,
    service: &Service,
    action: &ServiceAction,
    at: &impl Fn(usize) -> Position,
    found: &mut Vec<Finding>,
) {
    if !action.stream() {
        return;
    }
    for conjunct in expression.conjuncts() {
        if let Some(path) = conjunct.reads().iter().find(|path| path.root() == Root::Params) {
            found.push(Finding {
                at: at(conjunct.offset()),
                message: format!(
                    "`{path}` is a parameter, which no rule can read for action `{}` of service `{}`: its body is streamed",
                    action.name(),
                    service.name()
                ),
                help: Some("match the resource in `on`, or leave `stream` out of the service".to_owned()),
                warning: false,
            });
        }
    }
}

/// What is certainly wrong with an expression whatever the action is.
fn expressions(rule: &Rule) -> Vec<Finding> {
    let mut found = Vec::new();
    for (expression, node, purpose) in rule.expressions() {
        for issue in issues(expression, purpose, None) {
            found.push(Finding {
                at: node.position_within(issue.offset),
                message: issue.message,
                help: None,
                warning: false,
            });
        }
    }
    found
}

/// What is wrong with an expression for this action in particular.
fn types(
    rule: &Rule,
    expression: &Expression,
    purpose: Use,
    action: &ServiceAction,
    at: &impl Fn(usize) -> Position,
    found: &mut Vec<Finding>,
) {
    // Whoever names the action by its name means it; a star also meets actions that were not thought of.
    let exact = rule.actions.iter().any(|named| named.pattern.single().as_ref() == Some(action.name()));
    let anyway = issues(expression, purpose, None);
    for issue in issues(expression, purpose, Some(action)).into_iter().filter(|issue| !anyway.contains(issue))
    {
        found.push(Finding {
            at: at(issue.offset),
            message: format!("for action `{}`: {}", action.name(), issue.message),
            help: None,
            warning: !exact,
        });
    }
}

fn issues(expression: &Expression, purpose: Use, action: Option<&ServiceAction>) -> Vec<TypeIssue> {
    let declared = Declared(action);
    match purpose {
        Use::Condition => expression.check(&declared),
        Use::Sum => expression.check_number(&declared),
        Use::Key => expression.check_key(&declared),
    }
}
