//! Values that a service vouched for in answers to earlier actions of a task: as good as named in its purpose.
//!
//! Invariant: a value counts only as the parameter that it was marked for, and only the whole of it.

use super::{Purpose, entities};
use crate::{action::Action, chain::Chain, decimal::Decimal, policy::BoundPolicies};
use serde_json::Value;
use std::collections::BTreeSet;

/// The longest value, in bytes.
const LONGEST: usize = 512;
/// The most values of one action that are asked about.
const MOST: usize = 100;

/// Values by the parameters that they are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Returned(BTreeSet<(String, String)>);

impl Returned {
    /// The values of an action's parameters that rules want to be named, and that the purpose of its task doesn't name, by
    /// their whole path. Where nobody stated a purpose there are none.
    pub fn asked(policies: &BoundPolicies, chain: &Chain, action: &Action) -> Self {
        let mut asked = Self::default();
        let Some(purpose) = Purpose::of(chain) else { return asked };
        let bound = policies.links.iter().flat_map(|link| link.in_force().chain(link.observed()));
        let rules = bound.flat_map(|bound| bound.policy.candidates(&action.name));
        let terms = rules.filter_map(|rule| rule.intent.as_ref());
        for entity in terms.flat_map(|of| of.terms.entities.iter()) {
            for value in entity.unnamed(&purpose, &action.params) {
                if asked.len() == MOST {
                    return asked;
                }
                asked.note(&entity.name(), value);
            }
        }
        asked
    }

    /// Adds one, if it is a value.
    pub fn note(&mut self, name: &str, value: &Value) {
        self.0.extend(canonical(value).map(|value| (name.to_owned(), value)));
    }

    /// Only those of which this is true.
    pub fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this value of this parameter is among them.
    pub(super) fn has(&self, entity: &entities::Entity, value: &Value) -> bool {
        let Some(value) = canonical(value).filter(|_| !self.is_empty()) else { return false };
        self.0.contains(&(entity.name(), value))
    }
}

/// One text for what is the same value: an id may come as a number and be sent as text.
fn canonical(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let text = Decimal::parse(&number.to_string()).ok()?.to_string();
            match text.split_once('.') {
                Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
                Some(_) => text.trim_end_matches('0').to_owned(),
                None => text,
            }
        }
        _ => return None,
    };
    (!text.is_empty() && text.len() <= LONGEST).then_some(text)
}
