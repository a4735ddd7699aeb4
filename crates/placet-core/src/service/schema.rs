//! The parameters of an action: the JSON Schema (draft 2020-12) that they must satisfy, and what it says about the
//! type of each of them, for the checker of conditions.
//!
//! Invariant: nothing is fetched; a type is stated only where every value that the schema lets through has it.

use crate::diagnostic::nearest;
use serde_json::{Map, Value};

/// What the schema says about a place in the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamType {
    /// Nothing certain.
    Unknown,
    /// It can't be there: the action has no such parameter.
    Absent {
        /// A parameter of nearly that name.
        nearest: Option<String>,
    },
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    List,
    /// An object.
    Map,
}

/// The compiled schema of one action's parameters.
#[derive(Debug, Clone)]
pub(super) struct ParamsSchema {
    schema: Value,
    validator: jsonschema::Validator,
}

/// What is wrong with a schema, and the JSON pointer of the place.
#[derive(Debug)]
pub(super) struct SchemaError {
    pub(super) pointer: String,
    pub(super) message: String,
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema";

/// The drafts that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draft {
    Newest,
    Seven,
}

impl Draft {
    fn known(self) -> jsonschema::Draft {
        match self {
            Self::Newest => jsonschema::Draft::Draft202012,
            Self::Seven => jsonschema::Draft::Draft7,
        }
    }
}

/// Where a `$ref` has anything beside it but words for people.
fn reference_with_others(schema: &Value, depth: usize) -> Option<String> {
    const WORDS: &[&str] = &["$ref", "title", "description", "default", "examples", "$comment"];
    // Deeper than any document that is read.
    if depth > 128 {
        return Some(String::new());
    }
    match schema {
        Value::Object(members) => {
            let mixed = members.get("$ref").is_some_and(Value::is_string)
                && members.keys().any(|key| !WORDS.contains(&key.as_str()));
            if mixed {
                return Some(String::new());
            }
            members
                .iter()
                .find_map(|(key, value)| Some(format!("/{key}{}", reference_with_others(value, depth + 1)?)))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(format!("/{index}{}", reference_with_others(item, depth + 1)?))),
        _ => None,
    }
}

impl ParamsSchema {
    pub(super) fn compile(schema: Value) -> Result<Self, SchemaError> {
        Self::of_draft(schema, Draft::Newest)
    }

    /// The schema of a tool's arguments as its server states it: many are written in draft 7.
    pub(super) fn pinned(schema: Value) -> Result<Self, SchemaError> {
        let draft = match schema.get("$schema") {
            Some(Value::String(stated)) if stated.trim_end_matches('#') == DRAFT_7 => Draft::Seven,
            _ => Draft::Newest,
        };
        let refuse =
            |pointer: String, message: &str| Err(SchemaError { pointer, message: message.to_owned() });
        // There a reference stands for all that is beside it, which the types of parameters are read from.
        if let (Draft::Seven, Some(pointer)) = (draft, reference_with_others(&schema, 0)) {
            return refuse(pointer, "a `$ref` with others beside it means two things in draft 7");
        }
        if schema.get("$ref").is_some() {
            return refuse("/$ref".to_owned(), "its properties are needed at its top");
        }
        Self::of_draft(schema, draft)
    }

    fn of_draft(schema: Value, draft: Draft) -> Result<Self, SchemaError> {
        let refuse = |pointer: &str, message: &str| {
            Err(SchemaError { pointer: pointer.to_owned(), message: message.to_owned() })
        };
        let Value::Object(mut top) = schema.clone() else {
            return refuse("", "`params` must be a JSON Schema object");
        };
        if top.get("type").is_some_and(|kind| kind != "object") {
            return refuse("/type", "the `type` of `params` must be `object`");
        }
        if draft == Draft::Newest && top.get("$schema").is_some_and(|stated| stated != DRAFT) {
            return refuse("/$schema", &format!("only `{DRAFT}` is supported"));
        }
        for keyword in ["$id", "patternProperties"] {
            if top.contains_key(keyword) {
                return refuse(
                    &format!("/{keyword}"),
                    &format!("`{keyword}` is not supported at the top of `params`"),
                );
            }
        }
        // Which members there may be is judged by their names (see `ServiceAction`), and variables of the templates
        // need not be in the schema.
        if draft == Draft::Seven {
            top.remove("$schema");
        }
        top.remove("additionalProperties");
        top.remove("unevaluatedProperties");
        let validator = jsonschema::options()
            .with_draft(draft.known())
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(&Value::Object(top))
            .map_err(|error| SchemaError {
                pointer: error.instance_path().as_str().to_owned(),
                message: format!("not a JSON Schema: {error}"),
            })?;
        Ok(Self { schema, validator })
    }

    pub(super) fn as_json(&self) -> &Value {
        &self.schema
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = &str> {
        properties(&self.schema).into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// The properties that have to be there.
    pub(super) fn required(&self) -> impl Iterator<Item = &str> {
        self.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The first thing that is wrong, with its JSON pointer and without the value.
    pub(super) fn check(&self, params: &Value) -> Result<(), (String, String)> {
        self.validator
            .validate(params)
            .map_err(|error| (error.instance_path().as_str().to_owned(), error.masked().to_string()))
    }

    /// The type at `path`; `[]` steps into the items of an array. The first name is a property (see
    /// [`ParamsSchema::properties`]).
    pub(super) fn kind(&self, path: &[&str]) -> ParamType {
        let mut at = &self.schema;
        for (index, step) in path.iter().enumerate() {
            at = self.resolve(at);
            let next = match (kind_of(at), *step) {
                (ParamType::List, "[]") => at.get("items"),
                (ParamType::Map, name) => {
                    let names = properties(at);
                    let found = names.and_then(|names| names.get(name));
                    let closed = at.get("additionalProperties") == Some(&Value::Bool(false))
                        && at.get("patternProperties").is_none();
                    if found.is_none() && (closed && index > 0) {
                        let known = names.into_iter().flatten().map(|(name, _)| name.as_str());
                        return ParamType::Absent { nearest: nearest(name, known).map(str::to_owned) };
                    }
                    found
                }
                (ParamType::Unknown, name) => {
                    properties(at).filter(|_| index == 0).and_then(|it| it.get(name))
                }
                _ => return ParamType::Absent { nearest: None },
            };
            let Some(next) = next else { return ParamType::Unknown };
            at = next;
        }
        kind_of(self.resolve(at))
    }

    /// Follows a `$ref` within the schema that stands alone.
    fn resolve<'a>(&'a self, mut at: &'a Value) -> &'a Value {
        for _ in 0..8 {
            let pointer = at
                .as_object()
                .filter(|schema| !schema.contains_key("type"))
                .and_then(|schema| schema.get("$ref")?.as_str()?.strip_prefix('#'));
            match pointer.and_then(|pointer| self.schema.pointer(pointer)) {
                Some(next) => at = next,
                None => return at,
            }
        }
        at
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}

fn kind_of(schema: &Value) -> ParamType {
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => ParamType::Bool,
        Some("integer") => ParamType::Integer,
        Some("number") => ParamType::Number,
        Some("string") => ParamType::String,
        Some("array") => ParamType::List,
        Some("object") => ParamType::Map,
        _ => ParamType::Unknown,
    }
}
