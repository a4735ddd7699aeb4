//! What services declare of the parameters of an action: the values that a request for it may have, and a whole request
//! made of some of them.
//!
//! Invariant: no value that a service lets through is left out; what is said of the others may be too much.

use super::{
    model::{Given, Model, Place},
    text::Budget,
    values,
};
use crate::{
    cel::{Path, Root},
    decimal::Decimal,
    service::ServiceAction,
    time::Timestamp,
};
use serde_json::{Map, Number, Value, json};
use std::cmp::Ordering;

/// The values to try for a parameter, as [`values::of`], of those that its schema may let through.
pub(super) fn values(
    model: &Model<'_>,
    place: Place,
    schema: Option<&Value>,
    now: Timestamp,
    budget: &mut Budget,
) -> Option<Vec<Given>> {
    let (mut more, mut numbers) = (Vec::new(), Vec::new());
    if let Some(schema) = schema {
        let stated = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        more.extend(stated.chain(schema.get("const")).cloned().map(Given::Value));
        let bounds = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
        numbers.extend(bounds.iter().filter_map(|bound| number(schema.get(*bound)?)));
        // Too fine to be held, and within the bounds: whatever compares it is unknown.
        let lowest =
            numbers.iter().filter_map(|bound| bound.truncate_to_i64()).filter(|bound| *bound >= 0).min();
        let fine = lowest.and_then(|lowest| format!("{lowest}.{}1", "0".repeat(59)).parse::<Number>().ok());
        // Too large to be held.
        let large = ["1e60", "-1e60"].into_iter().filter_map(|large| large.parse::<Number>().ok());
        more.extend(fine.into_iter().chain(large).map(|number| Given::Value(Value::Number(number))));
    }
    let found = values::of(model, place, (&[], &[]), &numbers, now, budget)?;
    let fits = |given: &Given| schema.is_none_or(|schema| admits(schema, given));
    Some(found.into_iter().chain(more).filter(fits).collect())
}

/// The values of a parameter in the requests for an action: none that is left out where the action needs it, and none at
/// all of what it doesn't have.
pub(super) fn values_for(
    model: &Model<'_>,
    place: Place,
    (action, path): (&ServiceAction, &Path),
    now: Timestamp,
    budget: &mut Budget,
) -> Option<Vec<Given>> {
    let Some(name) = path.fields().first() else { return values(model, place, None, now, budget) };
    if !action.params().iter().any(|known| **known == **name) {
        return Some(vec![Given::Missing(0)]);
    }
    let mut found = values(model, place, declared(action, path), now, budget)?;
    if needed(action).any(|needed| *needed == **name) {
        found.retain(|given| *given != Given::Missing(0));
    }
    Some(found)
}

/// A request's parameters with something for whatever else the action needs; `None` where the service does not let that
/// through.
pub(super) fn whole(action: &ServiceAction, params: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut whole = params.clone();
    for name in needed(action).filter(|name| !params.contains_key(*name)) {
        let schema = action.params_schema().and_then(|schema| schema.get("properties")?.get(name));
        whole.insert(name.to_owned(), sample(schema));
    }
    action.describe(&whole).is_ok().then_some(whole)
}

/// The parameters that no request for it lacks.
fn needed(action: &ServiceAction) -> impl Iterator<Item = &str> {
    let required = action.params_schema().and_then(|schema| schema.get("required")?.as_array());
    action.variables().chain(required.into_iter().flatten().filter_map(Value::as_str))
}

/// Something of a declared type.
fn sample(schema: Option<&Value>) -> Value {
    let of = |key: &str| schema.and_then(|schema| schema.get(key));
    let first = of("enum").and_then(Value::as_array).and_then(|all| all.first());
    if let Some(stated) = of("const").or(first) {
        return stated.clone();
    }
    let kind = match of("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("integer" | "number") => {
            ["minimum", "maximum"].iter().find_map(|key| of(key)).cloned().unwrap_or(json!(1))
        }
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => json!("x"),
    }
}

/// What is declared about a parameter, where that is said in one place.
pub(super) fn declared<'a>(action: &'a ServiceAction, path: &Path) -> Option<&'a Value> {
    let [name] = path.fields() else { return None };
    (path.root() == Root::Params).then_some(())?;
    action.params_schema()?.get("properties")?.get(&**name)
}

/// Whether a value may be let through by the schema. Says so of more than are.
fn admits(schema: &Value, given: &Given) -> bool {
    let Given::Value(value) = given else { return true };
    let held = |value: &Value| number(value);
    let same = |other: &Value| other == value || held(other).is_some_and(|other| Some(other) == held(value));
    let is = |kind: &str| match kind {
        "boolean" => value.is_boolean(),
        "integer" => {
            let whole = |it: Decimal| it.truncate_to_i64().is_none_or(|whole| Decimal::from_i64(whole) == it);
            // What is small and can't be held has a fraction.
            let may_be = |value: &Value| rough(value).is_none_or(|rough| rough.abs() > 1e15);
            value.is_number() && held(value).map_or_else(|| may_be(value), whole)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    };
    let kinds = match schema.get("type") {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    let listed = schema.get("enum").and_then(Value::as_array).is_none_or(|all| all.iter().any(same));
    let fixed = schema.get("const").is_none_or(same);
    // What can't be held is compared roughly: rounding keeps the order of numbers, or makes two of them one.
    let bound = |name: &str, fits: fn(&Ordering) -> bool| {
        let Some(bound) = schema.get(name).filter(|bound| bound.is_number() && value.is_number()) else {
            return true;
        };
        match (number(value), number(bound)) {
            (Some(value), Some(bound)) => fits(&value.cmp(&bound)),
            _ => match (rough(value), rough(bound)) {
                (Some(value), Some(bound)) if value != bound => {
                    value.partial_cmp(&bound).is_none_or(|order| fits(&order))
                }
                _ => true,
            },
        }
    };
    kinds
        && listed
        && fixed
        && bound("minimum", |order| order.is_ge())
        && bound("maximum", |order| order.is_le())
        && bound("exclusiveMinimum", |order| order.is_gt())
        && bound("exclusiveMaximum", |order| order.is_lt())
}

/// A number as far as a float holds it.
fn rough(value: &Value) -> Option<f64> {
    value.as_number()?.as_str().parse().ok()
}

fn number(value: &Value) -> Option<Decimal> {
    Decimal::from_json(value.as_number()?).ok()
}
