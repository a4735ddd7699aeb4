//! A policy in full: one rule a line, with everything that was left out spelled out.
//!
//! Invariant: what is written loads as the same policy.

use super::{
    Policy,
    rule::{Condition, LimitOf, Rule},
};
use crate::{
    approval::Approver,
    ledger::{By, Limit, Meter},
    yaml::{Node, Yaml},
};
use std::fmt::Write as _;

impl Policy {
    /// The whole document: what it became when it was loaded, one rule a line.
    pub fn in_full(&self) -> String {
        let mut out = format!("policy: {}\n", quoted(&self.name));
        let selector = &self.selector;
        let agents = match &selector.agents {
            Some(handles) => list(handles.iter().map(|handle| quoted(handle.text()))),
            None => "[\"*\"]".to_owned(),
        };
        let labels = selector.labels.iter().map(|(name, values)| {
            format!("{}: {}", quoted(name), list(values.iter().map(|value| quoted(value))))
        });
        let labels = labels.collect::<Vec<_>>().join(", ");
        let labels = if labels.is_empty() { labels } else { format!(", labels: {{{labels}}}") };
        // Writing to a string does not fail.
        let _ = match selector.agents.as_deref() {
            Some([]) => writeln!(out, "applies_to: none\nmode: {}", self.mode.as_str()),
            _ => writeln!(out, "applies_to: {{agents: {agents}{labels}}}\nmode: {}", self.mode.as_str()),
        };
        if let Some(keep) = self.keep {
            let _ = writeln!(out, "record: {{keep: {}}}", span(keep));
        }
        if !self.lists.is_empty() {
            out.push_str("lists:\n");
            for stated in &self.lists {
                let items = list(stated.items.iter().map(ToString::to_string));
                let _ = writeln!(out, "  {}: {items}", stated.name);
            }
        }
        out.push_str("rules:\n");
        for line in self.rules_in_full() {
            let _ = writeln!(out, "  - {line}");
        }
        out
    }

    /// Each rule on one line, in order, as [`Policy::in_full`] has them.
    pub fn rules_in_full(&self) -> impl ExactSizeIterator<Item = String> {
        self.rules.iter().map(rule)
    }
}

fn rule(rule: &Rule) -> String {
    let actions = list(rule.actions.iter().map(|named| quoted(named.pattern.as_str())));
    let mut out = format!("{{name: {}, {}: {actions}", quoted(&rule.name), rule.kind.as_str());
    let on = rule.on.as_ref().map_or_else(
        || "[\"**\"]".to_owned(),
        |entries| list(entries.iter().map(|entry| quoted(text(&entry.node)))),
    );
    let _ = write!(out, ", on: {on}");
    if let Some(hours) = &rule.hours {
        let _ = write!(out, ", hours: {}", hours.in_full());
    }
    if !rule.when.is_empty() {
        let _ = write!(out, ", when: {}", conditions(&rule.when));
    }
    if !rule.limits.is_empty() {
        let _ = write!(out, ", limits: {}", list(rule.limits.iter().map(limit)));
    }
    if let Some(shape) = &rule.shape {
        let _ = write!(out, ", shape: {}", shape.in_full());
    }
    if let Some(intent) = &rule.intent {
        let _ = write!(out, ", intent: {}", intent.in_full());
    }
    if let Some(approve) = &rule.approve {
        let _ = write!(out, ", approve: {{{}}}", approve.in_full(&conditions(&approve.when)));
    }
    out.push('}');
    if rule.approve.as_ref().is_some_and(|approve| *approve.by == [Approver::Default]) {
        out.push_str(" # by the grant's user, or without one by any user with the role approver");
    }
    out
}

fn limit(applied: &LimitOf) -> String {
    let Limit { per, zone, by, .. } = &*applied.limit;
    let by = match by {
        By::Key(key) => quoted(key.source()),
        word => word.as_str().to_owned(),
    };
    let shown = serde_json::to_value(&*applied.limit).unwrap_or_default();
    let member = |name: &str| shown.get(name).map(|value| format!("{name}: {value}, ")).unwrap_or_default();
    let what: String = ["count", "sum", "max", "rate", "concurrent"].into_iter().map(member).collect();
    let how = match applied.limit.meter() {
        Meter::Window => {
            format!("per: {}, zone: {}, ", per.as_str(), quoted(zone.iana_name().unwrap_or("UTC")))
        }
        Meter::Rate(_) => format!("burst: {}, ", applied.limit.max()),
        Meter::Concurrent => String::new(),
    };
    format!("{{{what}{how}by: {by}}}")
}

fn conditions(conditions: &[Condition]) -> String {
    list(conditions.iter().map(|condition| quoted(condition.expression.source())))
}

fn text(node: &Node) -> &str {
    match &node.value {
        Yaml::String(text) => text,
        _ => "",
    }
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// As JSON, which is YAML too.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// In the largest unit that it is whole in.
pub(super) fn span(seconds: u64) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}
