//! JSON Schemas of a document as those of a definition: references filled in, keywords that are of no use here left out.
//!
//! Invariant: a schema that is made lets through nothing that the document's refuses, but for what is told as a note.

use super::Document;
use serde_json::{Map, Value, json};

/// How deep references are filled in.
const DEEPEST: usize = 6;
/// The most parts of one operation's schemas.
const MOST: usize = 800;
/// Keywords whose values are kept as they are.
const PLAIN: &[&str] = &[
    "type",
    "enum",
    "const",
    "format",
    "required",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Keywords that say nothing about which values there may be.
const REMARKS: &[&str] = &[
    "title",
    "description",
    "default",
    "example",
    "examples",
    "externalDocs",
    "xml",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
    "nullable",
    "$schema",
    "$comment",
    "$defs",
    "contentMediaType",
    "contentEncoding",
];

/// What is left to spend on one operation.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MOST)
    }
}

impl Document {
    /// A schema without references. `place` is what notes call it.
    pub(super) fn schema(&mut self, value: &Value, place: &str, budget: &mut Budget) -> Value {
        self.part(value, place, budget, &mut Vec::new())
    }

    fn part(&mut self, value: &Value, place: &str, budget: &mut Budget, within: &mut Vec<String>) -> Value {
        let Some(left) = budget.0.checked_sub(1) else {
            self.note(place, "its schema is too large: parts of it are not checked");
            return kind_only(value);
        };
        budget.0 = left;
        let schema = match value {
            Value::Bool(_) => return value.clone(),
            Value::Object(schema) => schema,
            _ => {
                self.note(place, "a schema is none: it is not checked");
                return json!({});
            }
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let Some(target) = self.target(reference).cloned() else {
                self.note(place, "a reference leads nowhere: what it is about is not checked");
                return json!({});
            };
            if within.iter().any(|other| other == reference) || within.len() >= DEEPEST {
                self.note(place, "it contains itself, or is nested too deeply: below, it is not checked");
                return kind_only(&target);
            }
            within.push(reference.to_owned());
            let made = self.part(&target, place, budget, within);
            within.pop();
            // In 3.1 what stands beside a reference holds as well; in 3.0 it says nothing.
            let beside: Map<String, Value> = schema
                .iter()
                .filter(|(key, _)| *key != "$ref" && !is_remark(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            if self.old || beside.is_empty() {
                return made;
            }
            let beside = self.part(&Value::Object(beside), place, budget, within);
            return json!({"allOf": [made, beside]});
        }
        let mut out = Map::new();
        for (key, value) in schema {
            match key.as_str() {
                "exclusiveMinimum" | "exclusiveMaximum" if value.is_boolean() => {}
                "pattern" if !is_pattern(value) => {
                    self.note(place, "a `pattern` is not of the kind that is read here: it is not checked");
                }
                key if PLAIN.contains(&key) => _ = out.insert(key.to_owned(), value.clone()),
                "properties" => {
                    let mut properties = Map::new();
                    for (name, value) in value.as_object().into_iter().flatten() {
                        properties.insert(name.clone(), self.part(value, place, budget, within));
                    }
                    out.insert("properties".to_owned(), Value::Object(properties));
                }
                "items" | "additionalProperties" | "not" | "propertyNames" | "contains" => {
                    let made = self.part(value, place, budget, within);
                    out.insert(key.clone(), made);
                }
                "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                    let mut parts = Vec::new();
                    for value in value.as_array().into_iter().flatten() {
                        parts.push(self.part(value, place, budget, within));
                    }
                    out.insert(key.clone(), Value::Array(parts));
                }
                key if is_remark(key) => {}
                other => {
                    let what = format!(
                        "the keyword `{other}` of its schema is not read: what it says is not checked"
                    );
                    self.note(place, what);
                }
            }
        }
        if self.old {
            of_old(schema, &mut out);
        }
        // In these a wrong guess of the budget would let through less, which `not` turns round.
        if out.get("not").is_some_and(|not| not.as_object().is_some_and(Map::is_empty)) {
            out.remove("not");
            self.note(place, "a `not` is not checked");
        }
        Value::Object(out)
    }

    /// The members of an object's schema, those of its `allOf` among them, and which are required. `None` where it is
    /// something else, or more than members.
    pub(super) fn members(
        &mut self,
        value: &Value,
        place: &str,
        budget: &mut Budget,
    ) -> Option<(Map<String, Value>, Vec<String>)> {
        const CLEAR: &[&str] =
            &["type", "properties", "required", "allOf", "additionalProperties", "unevaluatedProperties"];
        let beside = |key: &String| key != "$ref" && !is_remark(key);
        if !self.old && value.get("$ref").is_some() && value.as_object()?.keys().any(beside) {
            return None;
        }
        let value = self.followed(value)?.clone();
        let schema = value.as_object()?;
        if schema.keys().any(|key| !CLEAR.contains(&key.as_str()) && !is_remark(key)) {
            return None;
        }
        // Of these each part would refuse the members of the others.
        let closed = |part: &Value| {
            self.followed(part).is_none_or(|part| {
                part.get("additionalProperties").is_some() || part.get("unevaluatedProperties").is_some()
            })
        };
        if let Some(Value::Array(parts)) = schema.get("allOf")
            && (closed(&value) || parts.iter().any(closed))
        {
            return None;
        }
        match schema.get("type") {
            Some(Value::String(kind)) if kind == "object" => {}
            None if schema.contains_key("properties") || schema.contains_key("allOf") => {}
            _ => return None,
        }
        let mut members = Map::new();
        let mut required: Vec<String> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            budget.0 = budget.0.checked_sub(1)?;
            let (more, needed) = self.members(part, place, budget)?;
            for (name, schema) in more {
                if members.insert(name, schema).is_some() {
                    return None;
                }
            }
            required.extend(needed);
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let read_only =
                self.followed(property).and_then(|it| it.get("readOnly")) == Some(&Value::Bool(true));
            if read_only {
                required.retain(|other| other != name);
                continue;
            }
            let made = self.schema(property, place, budget);
            if members.insert(name.clone(), made).is_some() {
                return None;
            }
        }
        if members.is_empty() {
            return None;
        }
        if matches!(schema.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_))) {
            self.note(place, "of its body only the named members are taken");
        }
        required.sort();
        required.dedup();
        Some((members, required))
    }
}

/// Whether a keyword says nothing about which values there may be.
fn is_remark(key: &str) -> bool {
    REMARKS.contains(&key) || key.starts_with("x-")
}

/// Only what kind of value it is.
fn kind_only(value: &Value) -> Value {
    match value.get("type") {
        Some(kind) => json!({"type": kind}),
        None if value.get("properties").is_some() => json!({"type": "object"}),
        None => json!({}),
    }
}

fn is_pattern(value: &Value) -> bool {
    let schema = json!({"properties": {"a": {"pattern": value}}});
    crate::service::schema::ParamsSchema::compile(schema).is_ok()
}

/// What 3.0 writes otherwise: `nullable`, and exclusive bounds as flags.
fn of_old(schema: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if schema.get(flag) == Some(&Value::Bool(true))
            && let Some(value) = out.remove(bound)
        {
            out.insert(flag.to_owned(), value);
        }
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(Value::String(kind)) = out.get("type").cloned() {
            out.insert("type".to_owned(), json!([kind, "null"]));
        }
        if let Some(Value::Array(values)) = out.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }
}
