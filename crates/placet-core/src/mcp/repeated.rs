//! Arguments that are repeated in headers (`x-mcp-header`, 2026-07-28), for whoever routes without reading bodies.
//!
//! Invariant: what a header says is never more than a copy of what the body says. A schema that could be read to repeat
//! something else than one value at one place is refused whole.

use super::{Revision, RpcError, in_header, mismatch, plain, quoted};
use serde_json::{Map, Value};

/// The extension of schemas that says so.
pub(crate) const KEY: &str = "x-mcp-header";
/// What the names of the headers begin with.
pub const PREFIX: &str = "mcp-param-";
/// How many arguments of one tool are repeated.
const MOST: usize = 32;

/// One argument that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The header, in small letters.
    pub header: String,
    /// Where the argument is: names of properties.
    pub path: Vec<String>,
}

/// The arguments that a schema has repeated.
///
/// # Errors
/// A sentence: what of it can't be repeated.
pub fn declared(schema: &Value) -> Result<Vec<Repeated>, String> {
    let mut found = Vec::new();
    walk(schema, Some(&[]), &mut found)?;
    if found.len() > MOST {
        return Err(format!("it has more than {MOST} arguments repeated in headers"));
    }
    for (index, one) in found.iter().enumerate() {
        if found.iter().take(index).any(|other| other.header == one.header) {
            return Err(format!("it has two arguments repeated in the header {}", quoted(&one.header)));
        }
    }
    Ok(found)
}

/// `path` is where values of this schema are; `None` where that can't be said.
fn walk(schema: &Value, path: Option<&[String]>, found: &mut Vec<Repeated>) -> Result<(), String> {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(all) => return all.iter().try_for_each(|one| walk(one, None, found)),
        _ => return Ok(()),
    };
    for (key, value) in members {
        match key.as_str() {
            KEY => found.push(repeated(members, value, path)?),
            "properties" => {
                for (name, it) in value.as_object().into_iter().flatten() {
                    let below = path.map(|path| [path, std::slice::from_ref(name)].concat());
                    walk(it, below.as_deref(), found)?;
                }
            }
            // Values, not schemas.
            "const" | "enum" | "default" | "examples" => {}
            // Names of properties or of definitions, whatever they are.
            "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                value.as_object().into_iter().flatten().try_for_each(|(_, it)| walk(it, None, found))?;
            }
            _ => walk(value, None, found)?,
        }
    }
    Ok(())
}

fn repeated(schema: &Map<String, Value>, name: &Value, path: Option<&[String]>) -> Result<Repeated, String> {
    let token = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let name = name.as_str().filter(|name| token(name));
    let name = name.ok_or("it has arguments repeated in what is no header's name")?;
    let path = path.filter(|path| !path.is_empty());
    let path = path.ok_or_else(|| format!("which argument is repeated in {} can't be said", quoted(name)))?;
    let kind = schema.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("string" | "integer" | "boolean" | "number")) {
        return Err(format!("what is repeated in {} is no single value", quoted(name)));
    }
    Ok(Repeated { header: format!("{PREFIX}{}", name.to_ascii_lowercase()), path: path.to_vec() })
}

impl Repeated {
    /// What the arguments have there.
    fn value<'a>(&self, arguments: &'a Map<String, Value>) -> Option<&'a Value> {
        let (first, rest) = self.path.split_first()?;
        let mut value = arguments.get(first)?;
        for name in rest {
            value = value.get(name)?;
        }
        (!value.is_null()).then_some(value)
    }

    /// Its value as a header has it; `None` where there is none.
    pub fn sent(&self, arguments: &Map<String, Value>) -> Option<String> {
        match self.value(arguments)? {
            Value::String(text) => Some(in_header(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    /// Whether the header says what the arguments say. In the stateless revision it has to be there.
    ///
    /// # Errors
    /// It does not.
    pub fn agrees(
        &self,
        header: Option<&str>,
        arguments: &Map<String, Value>,
        revision: Revision,
    ) -> Result<(), RpcError> {
        let value = self.value(arguments);
        let wrong = |said: Option<&str>| {
            let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            mismatch(&self.header, said, &text)
        };
        let (header, value) = match (header, value) {
            (None, None) => return Ok(()),
            (None, Some(_)) if revision == Revision::WithHandshake => return Ok(()),
            (Some(header), Some(value)) => (header, value),
            (header, _) => return Err(wrong(header)),
        };
        let same = match value {
            Value::String(text) => plain(header).is_ok_and(|said| said == *text),
            Value::Bool(is) => header == if *is { "true" } else { "false" },
            // However either of them is written.
            Value::Number(number) => {
                header == number.to_string()
                    || header.parse::<f64>().ok().filter(|said| said.is_finite()) == number.as_f64()
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(wrong(Some(header))) }
    }
}
