//! How one member of an entry may be narrower than its parent's.
//!
//! Invariant: what a rule can't compare is not narrower.

use crate::grant::cover::Bound;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The rule for one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Narrowing {
    /// It has to be equal; so do members without a rule.
    Equal,
    /// A number that is at most the parent's.
    Max,
    /// A number that is at least the parent's.
    Min,
    /// A list that is not empty, each of whose items stands in the parent's, as often as there. An empty list is
    /// narrower than no other: to many servers it means all.
    Subset,
}

impl Narrowing {
    /// Whether `narrow` is within `wide`; both are there.
    pub fn is_within(self, wide: &Value, narrow: &Value) -> bool {
        match self {
            Self::Equal => wide == narrow,
            Self::Max => numbers(wide, narrow).is_some_and(|(wide, narrow)| narrow <= wide),
            Self::Min => numbers(wide, narrow).is_some_and(|(wide, narrow)| narrow >= wide),
            Self::Subset => {
                let (Value::Array(wide), Value::Array(narrow)) = (wide, narrow) else {
                    return wide == narrow;
                };
                let mut left: Vec<&Value> = wide.iter().collect();
                let mut take = |item: &Value| {
                    let at = left.iter().position(|other| *other == item);
                    at.map(|at| left.swap_remove(at)).is_some()
                };
                (!narrow.is_empty() || wide.is_empty()) && narrow.iter().all(&mut take)
            }
        }
    }
}

fn numbers(wide: &Value, narrow: &Value) -> Option<(Bound, Bound)> {
    let (Value::Number(wide), Value::Number(narrow)) = (wide, narrow) else { return None };
    Some((Bound::new(wide.clone())?, Bound::new(narrow.clone())?))
}
