//! `intent` of a rule: read, checked against services, written in full and described for editors.
//!
//! Invariant: a parameter that is to be named in a purpose is one that the action has, as far as services say so.

use super::{
    check::Finding,
    full::{list, quoted},
    rule::Rule,
    schema::{key, object, some},
};
use crate::{
    diagnostic::Position,
    intent::{Otherwise, Planned, Terms, case::entities},
    service::{ParamType, Service, ServiceAction},
    yaml::{Node, Reading},
};
use serde_json::{Value, json};

/// The keys of `intent`.
pub(super) const KEYS: &[&str] = &["plan", "entities", "judge", "otherwise"];

/// The intent of a rule.
#[derive(Debug)]
pub(crate) struct IntentOf {
    pub(crate) terms: Terms,
    /// Where it stands, for diagnostics.
    node: Node,
}

impl IntentOf {
    /// Reads `intent`; `None` where an error was reported.
    pub(super) fn read(reading: &Reading<'_>) -> Option<Self> {
        let map = reading.map()?;
        map.finish(KEYS);
        let plan = match map.optional("plan") {
            None => Planned::WhereStated,
            Some(reading) => Planned::parse(reading.one_of(&Planned::WORDS)?)?,
        };
        let entities = map.optional("entities").map(|reading| {
            let found = entities(&reading);
            if found.is_empty() {
                reading.error("the list is empty: name at least a parameter, or leave `entities` out");
            }
            found
        });
        let judge = match map.optional("judge") {
            None => false,
            Some(reading) => reading.bool()?,
        };
        let otherwise = match map.optional("otherwise") {
            None => Otherwise::Deny,
            Some(reading) => Otherwise::parse(reading.one_of(&Otherwise::WORDS)?)?,
        };
        let entities = entities.unwrap_or_default();
        Some(Self { terms: Terms { plan, entities, judge, otherwise }, node: reading.node().place() })
    }

    /// Where it stands.
    pub(super) fn position(&self) -> Position {
        self.node.position
    }

    /// Everything spelled out.
    pub(crate) fn in_full(&self) -> String {
        let Terms { plan, entities, judge, otherwise } = &self.terms;
        let entities = if entities.is_empty() {
            String::new()
        } else {
            format!("entities: {}, ", list(entities.iter().map(|entity| quoted(&entity.to_string()))))
        };
        let (plan, otherwise) = (plan.as_str(), otherwise.as_str());
        format!("{{plan: {plan}, {entities}judge: {judge}, otherwise: {otherwise}}}")
    }
}

/// What is wrong with it for an action of a service.
pub(super) fn check(rule: &Rule, service: &Service, action: &ServiceAction, found: &mut Vec<Finding>) {
    let Some(intent) = &rule.intent else { return };
    let at = intent.node.position;
    if action.stream() {
        found.push(Finding {
            at,
            message: format!(
                "what fits a purpose is told by parameters, which no rule can read for action `{}` of service `{}`: its body is streamed",
                action.name(),
                service.name()
            ),
            help: Some("leave `intent` out, or leave `stream` out of the service".to_owned()),
            warning: false,
        });
    }
    // Whoever names the action by its name means it; a star also meets actions that were not thought of.
    let exact = rule.names_whole().any(|name| name == *action.name());
    for entity in &intent.terms.entities {
        if let ParamType::Absent { nearest } = action.params_type(&[entity.parameter()]) {
            found.push(Finding {
                at,
                message: format!("action `{}` has no parameter `{}`", action.name(), entity.parameter()),
                help: nearest.map(|near| format!("did you mean `{near}`?")),
                warning: !exact,
            });
        }
    }
}

/// The schema of it.
pub(super) fn schema() -> Value {
    key(
        "The action has to fit the purpose of its task, as a person stated it; without one people are asked.",
        json!({"entities": ["recipient", "amount"], "judge": true, "otherwise": "hold"}),
        object(
            &[],
            json!({
                "plan": key("Whether the call has to be one that the task planned: where it has a plan (also where left out), always, or never.",
                    json!("required"), json!({"enum": Planned::WORDS})),
                "entities": key("Parameters whose values the purpose has to name; with `?`, those that may be left out.",
                    json!(["recipient", "customer.email", "cc?"]), some(&json!({"type": "string", "minLength": 1, "maxLength": 128}))),
                "judge": key("Whether the server's judge is asked as well.", json!(true), json!({"type": "boolean"})),
                "otherwise": key("What becomes of an action that doesn't fit, or of which that can't be told; left out, `deny`.",
                    json!("hold"), json!({"enum": Otherwise::WORDS})),
            }),
        ),
    )
}
