//! Types of authorization details that an administrator declares (RFC 9396 §2): what an entry means in plain words, the
//! JSON Schema that it has to satisfy, how a child's may be narrower than its parent's, and who may delegate it.
//!
//! What such an entry permits, a resource server decides that reads it from the token. No action of Placet's own is
//! permitted by one.
//!
//! Grants keep what they were given when a type is changed or removed; what is asked for anew is judged by the types as
//! they are then.
//!
//! Invariant: an entry of a type that is not declared, or that its schema does not let through, is refused; and it is
//! narrower than another only where equality or a declared rule says so for every member, never because one is absent.

mod narrowing;
mod schema;

pub use narrowing::Narrowing;
pub use schema::{MAX_PATTERNS, MAX_SCHEMA, MAX_SCHEMA_DEPTH, MAX_SUBSCHEMAS, SchemaError};

use crate::{
    diagnostic::nearest,
    grant::cover::{AuthorizationDetail, DetailError, PLACET_ACTION},
};
use schema::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 256;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// The most members whose narrowing is declared, and the most roles.
pub const MAX_ITEMS: usize = 64;
/// The most types of an installation.
pub const MAX_TYPES: usize = 200;
/// The most entries of declared types in one request.
pub const MAX_ENTRIES: usize = 32;
/// The largest entry of a declared type, in bytes of JSON.
pub const MAX_ENTRY: usize = 4096;
/// How deep such an entry may be nested, counting itself.
pub const MAX_ENTRY_DEPTH: usize = 12;

/// What is declared under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetailType {
    /// What an entry of the type lets a holder do, for people who are asked to grant it.
    pub description: String,
    /// The JSON Schema (draft 2020-12, a bounded part) of an entry, with its `type`. Members that it does not name are
    /// refused unless it states `additionalProperties` itself.
    pub schema: Map<String, Value>,
    /// How the members of a child's entry may be narrower; those that are not named have to be equal.
    #[serde(default)]
    pub narrows: BTreeMap<String, Narrowing>,
    /// The roles of which a user needs one to delegate an entry of the type; none: everybody may.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Why a type can't be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// The name is none.
    #[error(
        "a type's name is a word or URI: 1 to {MAX_NAME} of A-Z a-z 0-9 . _ ~ : / ? # @ ! $ & ' ( ) * + , ; = % -, a letter or digit first, and does not begin with `placet`"
    )]
    Name,
    /// The description is missing, too long, or can't be shown.
    #[error("`description` has 1 to {MAX_DESCRIPTION} characters, without control characters")]
    Description,
    /// The schema is none, or more than what is taken.
    #[error("`schema{}`: {}", .0.pointer, .0.message)]
    Schema(SchemaError),
    /// A rule for a member that entries don't have.
    #[error(
        "`narrows`: `{0}` is not among the `properties` of the schema, or is `type`, which is always equal"
    )]
    Narrows(String),
    /// Too many rules or roles.
    #[error("`narrows` and `roles` have at most {MAX_ITEMS} items each, and no empty ones")]
    Items,
}

/// A type that was checked, with its schema compiled.
#[derive(Debug)]
pub struct Declared {
    name: String,
    definition: DetailType,
    schema: Schema,
}

impl Declared {
    /// Checks and compiles a type.
    ///
    /// # Errors
    /// [`DeclareError`].
    pub fn new(name: &str, definition: DetailType) -> Result<Self, DeclareError> {
        if !is_name(name) {
            return Err(DeclareError::Name);
        }
        let length = definition.description.chars().count();
        if length == 0 || length > MAX_DESCRIPTION || definition.description.chars().any(char::is_control) {
            return Err(DeclareError::Description);
        }
        if definition.narrows.len() > MAX_ITEMS
            || definition.roles.len() > MAX_ITEMS
            || definition.roles.iter().any(String::is_empty)
        {
            return Err(DeclareError::Items);
        }
        let schema = Schema::compile(name, &definition.schema).map_err(DeclareError::Schema)?;
        let properties = definition.schema.get("properties").and_then(Value::as_object);
        let is_known = |member: &String| properties.is_some_and(|known| known.contains_key(member));
        if let Some(member) = definition.narrows.keys().find(|member| *member == "type" || !is_known(member))
        {
            return Err(DeclareError::Narrows(member.escape_debug().to_string()));
        }
        Ok(Self { name: name.to_owned(), definition, schema })
    }

    /// The `type` of its entries.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was declared.
    pub fn definition(&self) -> &DetailType {
        &self.definition
    }

    /// Whether `child` says the same as `parent` or less, both of this type: every member of either is in both, and
    /// equal or narrower as declared.
    pub fn narrows(&self, parent: &Map<String, Value>, child: &Map<String, Value>) -> bool {
        let within = |name: &String, wide: &Value, narrow: &Value| {
            wide == narrow
                || self.definition.narrows.get(name).is_some_and(|rule| rule.is_within(wide, narrow))
        };
        parent.len() == child.len()
            && parent
                .iter()
                .all(|(name, wide)| child.get(name).is_some_and(|narrow| within(name, wide, narrow)))
    }
}

/// Every type that is declared.
#[derive(Debug, Default)]
pub struct DetailTypes(BTreeMap<String, Arc<Declared>>);

impl DetailTypes {
    /// Of what is stored; what is as it was in `before` is not compiled again. A type that this version does not take
    /// any more is left out: its entries are refused.
    pub fn load(before: &Self, stored: impl IntoIterator<Item = (String, DetailType)>) -> Self {
        let load = |(name, definition): (String, DetailType)| {
            let declared = match before.0.get(&name) {
                Some(known) if known.definition == definition => Arc::clone(known),
                _ => Arc::new(Declared::new(&name, definition).ok()?),
            };
            Some((name, declared))
        };
        Self(stored.into_iter().filter_map(load).collect())
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is declared under a name.
    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.0.get(name).map(Arc::as_ref)
    }

    /// Judges the entries of a request, and lets each know its type: only such a one can be narrower than what is held.
    ///
    /// # Errors
    /// [`DetailError`] with the index and member: a type that is not declared, or what its schema says.
    pub fn judge(&self, details: &mut [AuthorizationDetail]) -> Result<(), DetailError> {
        let mut stated = 0;
        for (index, detail) in details.iter_mut().enumerate() {
            let AuthorizationDetail::Other(entry) = detail else { continue };
            stated += 1;
            if stated > MAX_ENTRIES {
                let problem = format!("a request has at most {MAX_ENTRIES} entries of declared types");
                return Err(DetailError::at("", problem));
            }
            let kind = entry.kind();
            let Some(declared) = self.0.get(kind) else {
                return Err(DetailError::at(format!("[{index}].type"), self.unknown(kind)));
            };
            check_json("an entry", entry.members(), MAX_ENTRY, MAX_ENTRY_DEPTH)
                .map_err(|problem| DetailError::at(format!("[{index}]"), problem))?;
            declared
                .schema
                .check(entry.members())
                .map_err(|(place, problem)| DetailError::at(format!("[{index}]{place}"), problem))?;
            entry.is_of(Arc::clone(declared));
        }
        Ok(())
    }

    fn unknown(&self, kind: &str) -> String {
        let near = nearest(kind, self.names().chain([PLACET_ACTION]));
        let near = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let shown: String = kind.chars().take(MAX_NAME).collect();
        format!("no type `{}` is declared here{near}", shown.escape_default())
    }
}

/// Whether it can be the name of a type: a word, or a URI (RFC 9396 §2). Placet's own are never declared.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:/?#@!$&'()*+,;=%-".contains(&byte);
    text.len() <= MAX_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(plain)
        && !text.to_ascii_lowercase().starts_with("placet")
}

/// Whether `what` has at most so many bytes and levels, counting itself, and numbers that everybody reads alike.
fn check_json(what: &str, members: &Map<String, Value>, most: usize, deepest: usize) -> Result<(), String> {
    let length = serde_json::to_string(members).map_or(usize::MAX, |text| text.len());
    if length > most {
        return Err(format!("{what} has at most {most} bytes"));
    }
    let mut open: Vec<(usize, &Value)> = members.values().map(|value| (1, value)).collect();
    while let Some((depth, value)) = open.pop() {
        if depth >= deepest && (value.is_array() || value.is_object()) {
            return Err(format!("{what} is nested at most {deepest} levels"));
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (depth + 1, item))),
            Value::Object(members) => open.extend(members.values().map(|item| (depth + 1, item))),
            Value::Number(number) if !is_exact(&number.to_string()) => return Err(INEXACT.to_owned()),
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with a number that is not exact.
const INEXACT: &str = "a number has at most 15 digits and no exponent, so that everybody reads the same one";

/// Whether every reader of JSON, also one with binary fractions, takes the text of a number for the same decimal.
fn is_exact(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).replacen('.', "", 1);
    let significant = digits.trim_start_matches('0');
    digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 30 && significant.len() <= 15
}

#[cfg(test)]
mod tests;
