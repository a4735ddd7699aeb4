//! What a task is for, in members and in calls.
//!
//! Invariant: a planned call is met by that call alone: the same action with the same parameters, none more, none less.

use crate::{decimal::Decimal, pattern::ActionName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

/// The most calls of a plan.
pub const MOST_CALLS: usize = 100;
/// The most bytes of details and plan together, as JSON.
pub const MOST_BYTES: usize = 32 * 1024;

/// What somebody stated about a task, besides its description.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stated {
    /// What it is about, by name: `{"recipient": "bob@example.com", "amount": 40}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Map<String, Value>>,
    /// The calls that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Vec<PlannedCall>>,
}

/// Why it can't be stated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatedError {
    /// An empty plan permits no call at all.
    #[error("`plan` is empty: nothing would fit; leave it out for a task without a plan")]
    Empty,
    /// Too many calls.
    #[error("`plan` has at most {MOST_CALLS} calls")]
    TooMany,
    /// Too long.
    #[error("`details` and `plan` have at most {MOST_BYTES} bytes together")]
    TooLong,
}

impl Stated {
    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.details.is_none() && self.plan.is_none()
    }

    /// The same, where it is within bounds.
    ///
    /// # Errors
    /// [`StatedError`].
    pub fn bounded(self) -> Result<Self, StatedError> {
        match self.plan.as_ref().map(Vec::len) {
            Some(0) => return Err(StatedError::Empty),
            Some(calls) if calls > MOST_CALLS => return Err(StatedError::TooMany),
            _ => {}
        }
        let length = serde_json::to_vec(&self).map_or(usize::MAX, |text| text.len());
        if length > MOST_BYTES { Err(StatedError::TooLong) } else { Ok(self) }
    }
}

/// One call of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedCall {
    /// The action.
    pub action: ActionName,
    /// All of its parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
}

impl PlannedCall {
    /// Whether a call is this one.
    pub fn is(&self, action: &str, params: &Map<String, Value>) -> bool {
        self.action.as_str() == action && members(&self.params, params)
    }
}

fn members(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|same| equal(value, same)))
}

/// Whether two values are the same: numbers by their value, all else by type and text.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => members(one, other),
        _ => one == other,
    }
}

/// Two numbers that can't be held exactly are the same only where they are written the same.
pub(super) fn same_number(one: &Number, other: &Number) -> bool {
    let (one, other) = (one.to_string(), other.to_string());
    match (Decimal::parse(&one), Decimal::parse(&other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
