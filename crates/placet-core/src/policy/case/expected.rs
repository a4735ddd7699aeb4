//! What a test expects, and in what a decision differs from it.

use super::Decided;
use crate::{judge::Verdict, refusal::Code};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What should be decided. What is not stated is not compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The decision.
    pub decision: Verdict,
    /// The codes of all reasons, each once, in any order.
    pub reasons: Option<BTreeSet<Code>>,
    /// A rule that was chosen, or that a reason names.
    pub rule: Option<String>,
    /// Members that some reason's remedy has.
    pub remedy: Option<Map<String, Value>>,
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// `decision`, `reasons`, `rule` or `remedy`.
    pub of: &'static str,
    /// As it should be.
    pub expected: Value,
    /// As it is.
    pub actual: Value,
}

impl Expected {
    pub(super) fn differences(&self, decided: &Decided) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |of, expected: Value, actual: Value| found.push(Difference { of, expected, actual });
        if self.decision != decided.decision {
            differ("decision", json!(self.decision), json!(decided.decision));
        }
        let codes: BTreeSet<Code> = decided.reasons.iter().map(|reason| reason.code).collect();
        if let Some(expected) = self.reasons.as_ref().filter(|expected| **expected != codes) {
            differ("reasons", words(expected), words(&codes));
        }
        if let Some(rule) = &self.rule {
            let named = decided.reasons.iter().filter_map(|reason| reason.rule.as_deref());
            let rules: BTreeSet<&str> =
                decided.rules.iter().map(|chosen| &*chosen.rule).chain(named).collect();
            if !rules.contains(rule.as_str()) {
                differ("rule", json!(rule), json!(rules));
            }
        }
        if let Some(remedy) = &self.remedy {
            let has = |name: &String, value: &Value| {
                decided
                    .reasons
                    .iter()
                    .any(|reason| reason.remedy.get(name).is_some_and(|own| same(own, value)))
            };
            if !remedy.iter().all(|(name, value)| has(name, value)) {
                let all = decided.reasons.iter().flat_map(|reason| &reason.remedy);
                let all: Map<String, Value> =
                    all.map(|(name, value)| (name.clone(), value.clone())).collect();
                differ("remedy", Value::Object(remedy.clone()), Value::Object(all));
            }
        }
        found
    }

    /// As it was written.
    pub fn shown(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("decision".to_owned(), json!(self.decision));
        if let Some(reasons) = &self.reasons {
            shown.insert("reasons".to_owned(), words(reasons));
        }
        if let Some(rule) = &self.rule {
            shown.insert("rule".to_owned(), json!(rule));
        }
        if let Some(remedy) = &self.remedy {
            shown.insert("remedy".to_owned(), Value::Object(remedy.clone()));
        }
        Value::Object(shown)
    }
}

fn words(codes: &BTreeSet<Code>) -> Value {
    codes.iter().map(|code| Value::from(code.as_str())).collect()
}

/// Numbers by what they are worth: `500` is `500.0`.
fn same(left: &Value, right: &Value) -> bool {
    use crate::decimal::Decimal;
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            match (Decimal::from_json(left), Decimal::from_json(right)) {
                (Ok(left), Ok(right)) => left == right,
                _ => left == right,
            }
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        _ => left == right,
    }
}
