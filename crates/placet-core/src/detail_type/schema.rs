//! The JSON Schema of one type: the part of draft 2020-12 whose cost can be bounded before anything is validated.
//!
//! Schemas come from administrators, and entries from anybody. So a schema refers only to its own `$defs`, in no circle,
//! and is counted as if each reference were written out; patterns run in linear time; formats that are not checked are
//! refused rather than ignored.
//!
//! Invariant: nothing is fetched, validation ends, and a keyword that is not understood is an error.

use super::check_json;
use crate::authorize::request::printable;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The largest schema, in bytes of JSON.
pub const MAX_SCHEMA: usize = 16 * 1024;
/// How deep it may be nested, counting itself.
pub const MAX_SCHEMA_DEPTH: usize = 32;
/// The most schemas in it, references written out.
pub const MAX_SUBSCHEMAS: usize = 1000;
/// The most patterns.
pub const MAX_PATTERNS: usize = 32;
/// The longest message about an entry, in characters.
const MAX_MESSAGE: usize = 300;
/// What one pattern may take when it is compiled, in bytes.
const PATTERN_SIZE: usize = 256 * 1024;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords that hold no schema.
const PLAIN: [&str; 27] = [
    "$comment",
    "const",
    "default",
    "dependentRequired",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "title",
    "type",
    "uniqueItems",
    "$schema",
];
/// Keywords that hold one.
const ONE: [&str; 8] =
    ["additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"];
/// Keywords that hold one a name.
const NAMED: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];
/// Keywords that hold a list.
const LISTED: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// The JSON pointer (RFC 6901) within the schema.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Schema(jsonschema::Validator);

impl Schema {
    pub(super) fn compile(name: &str, schema: &Map<String, Value>) -> Result<Self, SchemaError> {
        check_json("a schema", schema, MAX_SCHEMA, MAX_SCHEMA_DEPTH).map_err(|problem| wrong("", problem))?;
        Counting::new(schema).whole(schema)?;
        let mut top = schema.clone();
        // RFC 9396 §5: members that the type does not define are refused.
        if !top.contains_key("additionalProperties") {
            top.insert("additionalProperties".to_owned(), false.into());
        }
        let properties = top.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.entry("type").or_insert_with(|| json!({"const": name}));
        }
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .offline()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(
                jsonschema::PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE),
            )
            .build(&Value::Object(top))
            .map(Self)
            .map_err(|error| {
                let message: String = error.to_string().chars().take(MAX_MESSAGE).collect();
                wrong(error.instance_path().as_str(), format!("not a JSON Schema: {message}"))
            })
    }

    /// The first thing that is wrong with an entry: its place, and what the schema says.
    pub(super) fn check(&self, entry: &Map<String, Value>) -> Result<(), (String, String)> {
        let entry = Value::Object(entry.clone());
        self.0.validate(&entry).map_err(|error| {
            let told: String = error.to_string().chars().take(MAX_MESSAGE).collect();
            (place(&entry, error.instance_path().as_str()), printable(&told))
        })
    }
}

fn wrong(pointer: &str, message: impl Into<String>) -> SchemaError {
    SchemaError { pointer: pointer.to_owned(), message: message.into() }
}

/// Counts the schemas in a schema as if references were written out.
struct Counting<'s> {
    definitions: Option<&'s Map<String, Value>>,
    /// What each definition comes to; none while it is being counted.
    known: BTreeMap<&'s str, Option<usize>>,
    patterns: usize,
}

impl<'s> Counting<'s> {
    fn new(schema: &'s Map<String, Value>) -> Self {
        let definitions = schema.get("$defs").and_then(Value::as_object);
        Self { definitions, known: BTreeMap::new(), patterns: 0 }
    }

    fn whole(&mut self, schema: &'s Map<String, Value>) -> Result<(), SchemaError> {
        if schema.get("$schema").is_some_and(|draft| draft != DRAFT) {
            return Err(wrong("/$schema", format!("only `{DRAFT}` is supported")));
        }
        if schema.get("$defs").is_some_and(|all| !all.is_object()) {
            return Err(wrong("/$defs", "must be an object"));
        }
        for name in self.definitions.into_iter().flat_map(Map::keys) {
            self.definition(name, "/$defs")?;
        }
        self.object(schema, "", true).map(drop)
    }

    fn definition(&mut self, name: &'s str, pointer: &str) -> Result<usize, SchemaError> {
        match self.known.get(name) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => {
                return Err(wrong(pointer, format!("`#/$defs/{}` refers to itself", name.escape_debug())));
            }
            None => {}
        }
        let schema = self.definitions.and_then(|all| all.get(name));
        let schema =
            schema.ok_or_else(|| wrong(pointer, format!("there is no `#/$defs/{}`", name.escape_debug())))?;
        self.known.insert(name, None);
        let count = self.schema(schema, &format!("/$defs/{}", escaped(name)))?;
        self.known.insert(name, Some(count));
        Ok(count)
    }

    fn schema(&mut self, schema: &'s Value, pointer: &str) -> Result<usize, SchemaError> {
        match schema {
            Value::Bool(_) => Ok(1),
            Value::Object(members) => self.object(members, pointer, false),
            _ => Err(wrong(pointer, "must be a schema: an object, `true` or `false`")),
        }
    }

    fn object(
        &mut self,
        members: &'s Map<String, Value>,
        pointer: &str,
        top: bool,
    ) -> Result<usize, SchemaError> {
        let mut count = 1_usize;
        for (keyword, value) in members {
            let at = format!("{pointer}/{}", escaped(keyword));
            let more = match keyword.as_str() {
                "$defs" | "$schema" if top => 0,
                "$defs" | "$schema" => return Err(wrong(&at, "stands at the top of the schema only")),
                "$ref" => {
                    let name = value.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                    let name = name.filter(|name| !name.contains(['/', '~', '%']));
                    let name = name.ok_or_else(|| {
                        wrong(
                            &at,
                            "refers to `#/$defs/NAME` of the same schema only, the name without `/ ~ %`",
                        )
                    })?;
                    self.definition(name, &at)?
                }
                plain if PLAIN.contains(&plain) => {
                    self.patterns += usize::from(plain == "pattern");
                    0
                }
                one if ONE.contains(&one) => self.schema(value, &at)?,
                named if NAMED.contains(&named) => {
                    let schemas = value.as_object().ok_or_else(|| wrong(&at, "must be an object"))?;
                    if named == "patternProperties" {
                        self.patterns += schemas.len();
                    }
                    let named = schemas.iter().map(|(name, schema)| (escaped(name), schema));
                    self.all(named, &at)?
                }
                listed if LISTED.contains(&listed) => {
                    let schemas = value.as_array().ok_or_else(|| wrong(&at, "must be an array"))?;
                    let listed = schemas.iter().enumerate();
                    self.all(listed.map(|(index, schema)| (index.to_string(), schema)), &at)?
                }
                _ => return Err(wrong(&at, "this keyword is not supported here")),
            };
            count = count.saturating_add(more);
        }
        if count > MAX_SUBSCHEMAS {
            let message = format!("comes to more than {MAX_SUBSCHEMAS} schemas, its references written out");
            return Err(wrong(pointer, message));
        }
        if self.patterns > MAX_PATTERNS {
            return Err(wrong(pointer, format!("a schema has at most {MAX_PATTERNS} patterns")));
        }
        Ok(count)
    }

    fn all(
        &mut self,
        mut schemas: impl Iterator<Item = (String, &'s Value)>,
        pointer: &str,
    ) -> Result<usize, SchemaError> {
        schemas.try_fold(0_usize, |count, (name, schema)| {
            Ok(count.saturating_add(self.schema(schema, &format!("{pointer}/{name}"))?))
        })
    }
}

/// A name as a step of a JSON pointer (RFC 6901 §3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1").escape_debug().to_string()
}

/// A place in an entry, from its JSON pointer: `.amount`, `.accounts[0]`.
fn place(entry: &Value, pointer: &str) -> String {
    let (mut out, mut at) = (String::new(), Some(entry));
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        let is_list = at.is_some_and(Value::is_array);
        at = at.and_then(|value| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            Value::Object(members) => members.get(&name),
            _ => None,
        });
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        out.push_str(&if is_list { format!("[{shown}]") } else { format!(".{shown}") });
    }
    out
}
