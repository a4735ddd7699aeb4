//! Cover between the lists of a child grant and its parent, and the authorization details of RFC 9396.
//!
//! Placet understands one type, `placet_action`:
//! `{"type": "placet_action", "actions": ["refunds.*"], "resources": ["order://customer:42/**"], "max": {"amount": 500}}`.
//! Any other type is one that an administrator declared ([`crate::detail_type`]): kept as it is, covered by an equal
//! one, or by a wider one where its type says how. It permits no action.
//!
//! Invariant: a child entry is covered by *one* parent entry or not at all; entries are never added up, and one entry of
//! a declared type stands for one: whoever reads two may take them for twice as much. Bounds are compared exactly, as
//! decimals.

mod stated;

pub use stated::{Stated, beyond};

use crate::pattern::{ActionName, ActionPattern, ResourcePattern};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use std::{cmp::Ordering, collections::BTreeMap};

/// The `type` of the authorization details that Placet understands.
pub const PLACET_ACTION: &str = "placet_action";

/// The child entries that no single parent entry covers, in their order. `covers(parent, child)` says whether one
/// entry covers another, so that `uncovered(child, parent, Scope::covers)` reads as it means.
pub fn uncovered<'c, T>(child: &'c [T], parent: &[T], covers: impl Fn(&T, &T) -> bool) -> Vec<&'c T> {
    child.iter().filter(|entry| !parent.iter().any(|wide| covers(wide, entry))).collect()
}

/// What both lists reach: the entries of each that one entry of the other covers, those of `a` first. Where two entries
/// overlap and neither covers the other, what they share is left out: the answer never reaches more than both, and
/// where `b` covers all of `a` it is `a`.
pub fn meet<T: Clone>(a: &[T], b: &[T], covers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let within = |these: &[T], those: &[T]| -> Vec<T> {
        these.iter().filter(|item| those.iter().any(|wide| covers(wide, item))).cloned().collect()
    };
    let mut met = within(a, b);
    for other in within(b, a) {
        if !met.iter().any(|wide| covers(wide, &other)) {
            met.push(other);
        }
    }
    met
}

/// Leaves of `entries` what `above` reaches, too, as [`meet`] does; nothing is copied where that is all.
pub(crate) fn reduce<T: Clone>(entries: &mut Vec<T>, above: &[T], covers: impl Fn(&T, &T) -> bool) {
    if !entries.iter().all(|entry| above.iter().any(|wide| covers(wide, entry))) {
        *entries = meet(entries, above, covers);
    }
}

/// One entry of `authorization_details` (RFC 9396 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationDetail {
    /// Type `placet_action`.
    PlacetAction {
        /// Action patterns; none permits nothing.
        actions: Vec<ActionPattern>,
        /// Resource patterns; absent is every resource, an empty list is none.
        resources: Option<Vec<ResourcePattern>>,
        /// Inclusive upper bounds on numbers in `params`, by the parameter's name. Nothing is bounded from below.
        max: BTreeMap<String, Bound>,
    },
    /// Any other type, as it was sent.
    Other(Stated),
}

/// What is wrong with `authorization_details`; OAuth answers it as `invalid_authorization_details` (RFC 9396 §5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`authorization_details{place}`: {problem}")]
pub struct DetailError {
    place: String,
    problem: String,
}

impl DetailError {
    /// What is wrong at a place behind the member's name: `[0].amount`.
    pub fn at(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into() }
    }
}

impl AuthorizationDetail {
    /// Reads the JSON array `authorization_details`.
    ///
    /// # Errors
    /// If it is not an array of objects with a string `type`, or a `placet_action` lacks `actions`, has a member
    /// that the type does not have, or one that can't be read. The message names index and member.
    pub fn parse_list(value: &Value) -> Result<Vec<Self>, DetailError> {
        let items = value.as_array().ok_or_else(|| error("", "must be an array of objects"))?;
        items.iter().enumerate().map(|(index, item)| read(item, &format!("[{index}]"))).collect()
    }

    /// Whether everything that `other` permits is permitted by this one entry.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::PlacetAction { actions, resources, max },
                Self::PlacetAction { actions: child_actions, resources: child_resources, max: child_max },
            ) => {
                uncovered(child_actions, actions, ActionPattern::covers).is_empty()
                    && covers_resources(resources.as_deref(), child_resources.as_deref())
                    && max.iter().all(|(name, bound)| child_max.get(name).is_some_and(|child| child <= bound))
            }
            (Self::Other(one), Self::Other(another)) => one.covers(another),
            (Self::PlacetAction { .. }, Self::Other(_)) | (Self::Other(_), Self::PlacetAction { .. }) => {
                false
            }
        }
    }

    /// Whether this entry permits the action with these parameters on every resource that `resource` stands for. A
    /// bounded parameter that is absent or is not a number is not within its bound.
    pub fn permits(
        &self,
        action: &ActionName,
        resource: &ResourcePattern,
        params: &Map<String, Value>,
    ) -> bool {
        let Self::PlacetAction { actions, resources, max } = self else { return false };
        actions.iter().any(|pattern| pattern.matches(action))
            && resources.as_ref().is_none_or(|list| list.iter().any(|pattern| pattern.covers(resource)))
            && max.iter().all(|(name, bound)| match params.get(name) {
                Some(Value::Number(number)) => {
                    Bound::new(number.clone()).is_some_and(|value| value <= *bound)
                }
                _ => false,
            })
    }

    /// The `type` member.
    pub fn kind(&self) -> &str {
        match self {
            Self::PlacetAction { .. } => PLACET_ACTION,
            Self::Other(entry) => entry.kind(),
        }
    }

    /// The entry as JSON.
    pub fn to_json(&self) -> Value {
        let (actions, resources, max) = match self {
            Self::PlacetAction { actions, resources, max } => (actions, resources, max),
            Self::Other(entry) => return Value::Object(entry.members().clone()),
        };
        let mut members = Map::new();
        members.insert("type".into(), PLACET_ACTION.into());
        members.insert("actions".into(), actions.iter().map(ActionPattern::as_str).collect());
        if let Some(resources) = resources {
            members.insert("resources".into(), resources.iter().map(ResourcePattern::as_str).collect());
        }
        if !max.is_empty() {
            let bounds = max.iter().map(|(name, bound)| (name.clone(), Value::Number(bound.0.clone())));
            members.insert("max".into(), Value::Object(bounds.collect()));
        }
        Value::Object(members)
    }
}

impl Serialize for AuthorizationDetail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AuthorizationDetail {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(&Value::deserialize(deserializer)?, "").map_err(serde::de::Error::custom)
    }
}

/// A JSON number with its text, ordered by its exact value: `1`, `1.0` and `1e0` are equal.
#[derive(Debug, Clone)]
pub struct Bound(Number, Magnitude);

/// `±0.DIGITS × 10^exponent`; the digits neither begin nor end with a zero, and zero has none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Magnitude {
    negative: bool,
    exponent: i64,
    digits: Box<str>,
}

impl Bound {
    /// Takes a number; `None` if its exponent is beyond 64 bits.
    pub fn new(number: Number) -> Option<Self> {
        let magnitude = Magnitude::read(&number.to_string())?;
        Some(Self(number, magnitude))
    }

    /// The number as it was written.
    pub(crate) fn as_number(&self) -> &Number {
        &self.0
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}
impl Eq for Bound {}
impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, another) = (&self.1, &other.1);
        // Digits behind a point compare as text does; no digits at all is zero, the smallest magnitude.
        let key = |value: &Magnitude| (!value.digits.is_empty(), value.exponent);
        let size = key(one).cmp(&key(another)).then_with(|| one.digits.cmp(&another.digits));
        match (one.negative, another.negative) {
            (false, false) => size,
            (true, true) => size.reverse(),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl Magnitude {
    /// Reads the text of a JSON number (RFC 8259 §6).
    fn read(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let leading = all.trim_start_matches('0');
        let digits = leading.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, exponent: 0, digits: "".into() });
        }
        let shift = i64::try_from(whole.len()).ok()? - i64::try_from(all.len() - leading.len()).ok()?;
        Some(Self { negative, exponent: exponent.checked_add(shift)?, digits: digits.into() })
    }
}

fn covers_resources(parent: Option<&[ResourcePattern]>, child: Option<&[ResourcePattern]>) -> bool {
    match (parent, child) {
        (None, _) => true,
        // Without a list the child names every resource.
        (Some(parent), None) => parent.iter().any(ResourcePattern::is_everything),
        (Some(parent), Some(child)) => uncovered(child, parent, ResourcePattern::covers).is_empty(),
    }
}

fn error(place: &str, problem: impl ToString) -> DetailError {
    DetailError::at(place, problem.to_string())
}

fn read(item: &Value, place: &str) -> Result<AuthorizationDetail, DetailError> {
    let members = item.as_object().ok_or_else(|| error(place, "must be an object"))?;
    let kind = members.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    match kind {
        None => return Err(error(&format!("{place}.type"), "must be a string that is not empty")),
        Some(PLACET_ACTION) => {}
        Some(_) => return Ok(AuthorizationDetail::Other(Stated::new(members.clone()))),
    }
    let known = ["type", "actions", "resources", "max"];
    if let Some(unknown) = members.keys().find(|name| !known.contains(&name.as_str())) {
        let problem = "is not a member of `placet_action` (`actions`, `resources`, `max`)";
        return Err(error(&format!("{place}.{}", unknown.escape_debug()), problem));
    }
    let actions = match members.get("actions") {
        None => return Err(error(&format!("{place}.actions"), "is missing")),
        Some(list) => read_list(list, &format!("{place}.actions"), ActionPattern::parse)?,
    };
    let resources = members
        .get("resources")
        .map(|list| read_list(list, &format!("{place}.resources"), ResourcePattern::parse))
        .transpose()?;
    let max = members.get("max").map(|max| read_max(max, &format!("{place}.max"))).transpose()?;
    Ok(AuthorizationDetail::PlacetAction { actions, resources, max: max.unwrap_or_default() })
}

fn read_list<T, E: ToString>(
    list: &Value,
    place: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, DetailError> {
    let items = list.as_array().ok_or_else(|| error(place, "must be an array of strings"))?;
    let read = |(index, item): (usize, &Value)| {
        let place = format!("{place}[{index}]");
        let text = item.as_str().ok_or_else(|| error(&place, "must be a string"))?;
        parse(text).map_err(|problem| error(&place, problem))
    };
    items.iter().enumerate().map(read).collect()
}

fn read_max(max: &Value, place: &str) -> Result<BTreeMap<String, Bound>, DetailError> {
    let members = max.as_object().ok_or_else(|| error(place, "must be an object of numbers"))?;
    let read = |(name, value): (&String, &Value)| {
        let bound = match value {
            Value::Number(number) => Bound::new(number.clone()),
            _ => None,
        };
        let bound =
            bound.ok_or_else(|| error(&format!("{place}.{}", name.escape_debug()), "must be a number"))?;
        Ok((name.clone(), bound))
    };
    members.iter().map(read).collect()
}

#[cfg(test)]
mod tests;
