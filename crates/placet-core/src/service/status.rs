//! How to find out what became of an action of which nobody knows: another action of the service, which only reads,
//! and what of its answer says that it happened or that it did not.
//!
//! Invariant: what matches neither, or both, says nothing.

use crate::{
    decimal::Decimal,
    diagnostic::{Diagnostic, quoted},
    id::ActionId,
    pattern::ActionName,
    yaml::{self, MapReading, Reading},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// How long after its end an action is asked about where the definition doesn't say: what was on its way may still arrive.
const AFTER: Duration = Duration::from_secs(60);
/// The longest that can be said instead.
const LONGEST: u64 = 24 * 3600;
/// What a value that is taken from the original begins with.
const PARAM: &str = "$params.";
/// The value that stands for the original's id.
const ID: &str = "$id";

/// The keys of `status`.
pub(super) const KEYS: &[&str] = &["action", "params", "happened", "not_happened", "after"];
/// The keys of what an answer has to be.
pub(super) const ANSWER_KEYS: &[&str] = &["status", "body", "has"];

/// The `status` of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusCheck {
    action: ActionName,
    params: BTreeMap<String, Source>,
    happened: Answer,
    not_happened: Answer,
    after: Duration,
}

/// Where a parameter of the status action comes from.
#[derive(Debug, Clone, PartialEq)]
enum Source {
    Param(String),
    Id,
    Literal(Value),
}

/// What an answer has to be: one of these statuses, with these members of its body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    statuses: Vec<u16>,
    body: BTreeMap<String, Value>,
    /// Places where something has to stand, whatever it is.
    has: Vec<String>,
}

impl StatusCheck {
    /// The action that is asked.
    pub fn action(&self) -> &ActionName {
        &self.action
    }

    /// How long after the original's end it may be asked at the earliest.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// The parameters for an original with these; `None` where one that is needed is missing there.
    pub fn params(&self, original: &Map<String, Value>, id: ActionId) -> Option<Map<String, Value>> {
        let value = |source: &Source| match source {
            Source::Param(name) => original.get(name).cloned(),
            Source::Id => Some(id.to_string().into()),
            Source::Literal(value) => Some(value.clone()),
        };
        self.params.iter().map(|(name, source)| Some((name.clone(), value(source)?))).collect()
    }

    /// What an answer says: that it happened, that it did not, or nothing.
    pub fn read(&self, status: u16, body: &Value) -> Option<bool> {
        match (self.happened.is(status, body), self.not_happened.is(status, body)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    }

    /// The names of the status action's parameters that it states.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.params.keys().map(String::as_str)
    }

    /// The names of the original's parameters that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = &str> {
        self.params.values().filter_map(|source| match source {
            Source::Param(name) => Some(name.as_str()),
            Source::Id | Source::Literal(_) => None,
        })
    }

    /// Reads it; what it says about other actions is for the service as a whole to check.
    pub(super) fn load(it: &Reading<'_>) -> Option<Self> {
        let map = it.map()?;
        map.finish(KEYS);
        let action = map.required("action").and_then(|it| name(&it));
        let params = map.optional("params").map_or(Some(BTreeMap::new()), |it| sources(&it));
        let happened = map.required("happened").and_then(|it| answer(&it));
        let not_happened = map.required("not_happened").and_then(|it| answer(&it));
        let after = map.optional("after").map_or(Some(AFTER), |it| duration(&it));
        let read = Self {
            action: action?,
            params: params?,
            happened: happened?,
            not_happened: not_happened?,
            after: after?,
        };
        if read.happened == read.not_happened {
            it.error("`happened` and `not_happened` are the same: no answer could say anything");
            return None;
        }
        Some(read)
    }
}

impl Answer {
    pub(super) fn is(&self, status: u16, body: &Value) -> bool {
        self.statuses.contains(&status)
            && self.has.iter().all(|pointer| body.pointer(pointer).is_some_and(|found| !found.is_null()))
            && self
                .body
                .iter()
                .all(|(pointer, wanted)| body.pointer(pointer).is_some_and(|found| equal(found, wanted)))
    }
}

/// Whether two values are the same: numbers by what they are, not by how they are written.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            matches!((Decimal::from_json(one), Decimal::from_json(other)), (Ok(one), Ok(other)) if one == other)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| equal(value, other)))
        }
        (one, other) => one == other,
    }
}

pub(super) fn name(it: &Reading<'_>) -> Option<ActionName> {
    match ActionName::parse(it.string()?) {
        Ok(name) => Some(name),
        Err(error) => {
            it.error(error.to_string());
            None
        }
    }
}

fn sources(it: &Reading<'_>) -> Option<BTreeMap<String, Source>> {
    let map = it.map()?;
    let mut all = BTreeMap::new();
    for (key, it) in map.entries() {
        let source = match yaml::to_json(it.node()) {
            Value::String(text) if text == ID => Source::Id,
            Value::String(text) => match text.strip_prefix(PARAM) {
                Some(name) => Source::Param(name.to_owned()),
                None if text.starts_with('$') => {
                    it.error(format!("{} is neither `$params.NAME` nor `$id`", quoted(&text)));
                    continue;
                }
                None => Source::Literal(Value::String(text)),
            },
            value => Source::Literal(value),
        };
        all.insert(key.value.clone(), source);
    }
    Some(all)
}

pub(super) fn answer(it: &Reading<'_>) -> Option<Answer> {
    let map = it.map()?;
    map.finish(ANSWER_KEYS);
    let statuses: Vec<u16> = map
        .required("status")?
        .one_or_many()
        .iter()
        .filter_map(|it| u16::try_from(it.integer(200, 599)?).ok())
        .collect();
    let body = map.optional("body").map_or(Some(BTreeMap::new()), |it| members(&it.map()?))?;
    let has = map
        .optional("has")
        .map_or_else(Vec::new, |it| it.one_or_many())
        .iter()
        .map(place)
        .collect::<Option<_>>()?;
    (!statuses.is_empty()).then_some(Answer { statuses, body, has })
}

/// A place in a body.
fn place(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    if !text.starts_with('/') {
        it.error(format!("{} is no JSON pointer", quoted(text)));
        return None;
    }
    Some(text.to_owned())
}

fn members(map: &MapReading<'_>) -> Option<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for (key, it) in map.entries() {
        if !key.value.starts_with('/') {
            let message = format!("{} is no JSON pointer", quoted(&key.value));
            map.report()
                .add(Diagnostic::error(message).at(key.position).help("it begins with `/`: `/state`"));
            return None;
        }
        all.insert(key.value.clone(), yaml::to_json(it.node()));
    }
    Some(all)
}

fn duration(it: &Reading<'_>) -> Option<Duration> {
    let text = it.string()?;
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => 0,
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let seconds = seconds.filter(|seconds| unit > 0 && *seconds <= LONGEST && !digits.starts_with('+'));
    match seconds {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => it.refuse("a time from `0s` to `24h`, such as `5m`", None),
    }
}

#[cfg(test)]
mod tests {
    use crate::{id::ActionId, pattern::ActionName, service::Service, time::Timestamp};
    use serde_json::{Value, json};

    fn service(status: &str) -> Result<Service, String> {
        let text = format!(
            "service: shop\nbase_url: http://127.0.0.1:1\nauth: {{type: bearer}}\nactions:\n  \
             pay: {{method: POST, path: /pay, resource: \"pay://x\", effect: money, secret: [pin], status: {status}, \
             params: {{type: object, properties: {{order: {{type: string}}, pin: {{type: string}}}}}}}}\n  \
             find: {{method: GET, path: \"/pay/{{order}}\", resource: \"pay://{{order}}\", effect: read, \
             params: {{type: object, properties: {{order: {{type: string}}, key: {{type: string}}, n: {{}}}}}}}}\n  \
             undo: {{method: POST, path: /undo, resource: \"pay://x\", effect: write}}\n"
        );
        let (service, _) = Service::parse(text.as_bytes(), None)
            .map_err(|all| all.iter().map(|one| one.render()).collect::<Vec<_>>().join("\n"))?;
        Ok(service)
    }

    const GOOD: &str = "{action: find, params: {order: $params.order, key: $id, n: 1}, \
                        happened: {status: [200, 201], body: {/state: done, /amount: 5.0}}, \
                        not_happened: {status: 404}, after: 0s}";

    #[test]
    fn an_answer_says_yes_or_no_or_nothing() {
        let service = service(GOOD).unwrap();
        let pay = service.action(&ActionName::parse("pay").unwrap()).unwrap();
        let check = pay.status().unwrap();
        assert_eq!((check.action().as_str(), check.after().as_secs()), ("find", 0));
        let original = json!({"order": "7", "pin": "x"});
        let id = ActionId::from_parts(Timestamp::from_seconds(1), [1; 10]);
        let params = check.params(original.as_object().unwrap(), id).unwrap();
        assert_eq!(Value::Object(params), json!({"order": "7", "key": id.to_string(), "n": 1}));
        assert_eq!(check.params(json!({}).as_object().unwrap(), id), None);
        assert_eq!(check.read(200, &json!({"state": "done", "amount": 5})), Some(true));
        assert_eq!(check.read(404, &Value::Null), Some(false));
        for (status, body) in [
            (200, json!({"state": "done"})),
            (200, json!({"state": "pending", "amount": 5})),
            (202, json!({"state": "done", "amount": 5})),
            (200, json!("done")),
            (500, json!({})),
        ] {
            assert_eq!(check.read(status, &body), None, "{status} {body}");
        }
    }

    #[test]
    fn what_could_not_work_is_refused_with_its_place() {
        for (wrong, problem) in [
            (GOOD.replace("find", "missing"), "no action"),
            (GOOD.replace("action: find", "action: undo"), "effect"),
            (GOOD.replace("$params.order", "$params.ordr"), "no parameter"),
            (GOOD.replace("$params.order", "$params.pin"), "secret"),
            (GOOD.replace("order: $params.order, ", ""), "path"),
            (GOOD.replace("n: 1", "other: 1"), "no parameter"),
            (GOOD.replace("$id", "$it"), "$id"),
            (GOOD.replace("/state", "state"), "pointer"),
            (GOOD.replace("404", "99"), "whole number"),
            (GOOD.replace("0s", "2d"), "24h"),
            (GOOD.replace("not_happened: {status: 404}, ", ""), "missing"),
            (
                "{action: find, params: {order: x}, happened: {status: 200}, not_happened: {status: 200}}"
                    .into(),
                "same",
            ),
        ] {
            let told = service(&wrong).expect_err(&wrong);
            assert!(told.contains(problem), "{wrong}: {told}");
        }
    }
}
