//! An action of a service as a tool.
//!
//! A tool is named after its action, `orders__read` after `orders.read`: the protocol allows dots, but most models and
//! clients take 1 to 64 letters, digits, `_` and `-`, and refuse a whole list for one other name. Action names are unique in
//! an installation, and so are those of tools.
//!
//! Invariant: what is said of a tool follows from the administrator's definition of its service and from which connections
//! the agent reaches; nothing that an upstream says comes into it.

use super::repeated;
use crate::{
    call::Method,
    pattern::ActionName,
    secret::sha256,
    service::{Effect, Service, ServiceAction},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// The argument that names a connection, where there are several. An action that has a parameter of this name keeps it.
pub const CONNECTION: &str = "placet.connection";

/// The longest name of a tool, in bytes.
pub const MAX_NAME: usize = 64;
/// What stands for a dot.
const DOT: &str = "__";
/// How many hexadecimal digits tell apart what can't be written so.
const DIGITS: usize = 12;

/// The name of the tool that `action` is. What would be too long, or would read as another action, ends in a part of its
/// digest.
pub fn name(action: &ActionName) -> String {
    if let Some(plain) = plain(action) {
        return plain;
    }
    // Without two underscores together it stands for no dots.
    let mut name = String::with_capacity(MAX_NAME);
    for char in action.as_str().replace('.', "_").chars().take(MAX_NAME - DIGITS - 1) {
        if char != '_' || !name.ends_with('_') {
            name.push(char);
        }
    }
    let digest = sha256(&[b"tool\0", action.as_str().as_bytes()]);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).take(DIGITS);
    name.push('-');
    name.extend(digits.filter_map(|digit| char::from_digit(digit.into(), 16)));
    name
}

/// The action whose tool has this name, of those that are `declared`; the action that it would be where none is.
pub fn action<'a>(name: &str, declared: impl IntoIterator<Item = &'a ActionName>) -> Option<ActionName> {
    let digits = name.rsplit_once('-').map(|(_, digits)| digits);
    if digits
        .is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|one| one.is_ascii_hexdigit()))
    {
        let found = declared.into_iter().find(|one| plain(one).is_none() && self::name(one) == name);
        if found.is_some() {
            return found.cloned();
        }
    }
    ActionName::parse(&name.replace(DOT, ".")).ok().filter(|read| plain(read).as_deref() == Some(name))
}

/// The name with its dots written as [`DOT`], where it is short enough and reads back.
fn plain(action: &ActionName) -> Option<String> {
    let written = action.as_str().replace('.', DOT);
    (written.len() <= MAX_NAME && written.replace(DOT, ".") == action.as_str()).then_some(written)
}

/// The definition of `declared`, an action of `service`, as a tool for an agent that reaches these connections.
pub fn definition(service: &Service, declared: &ServiceAction, connections: &[&str]) -> Value {
    let mut tool = Map::new();
    tool.insert("name".into(), name(declared.name()).into());
    tool.insert("description".into(), description(service, declared).into());
    tool.insert("inputSchema".into(), input(declared, connections));
    tool.insert("annotations".into(), annotations(declared));
    Value::Object(tool)
}

/// What the administrator says of it; else of what it is part.
fn description(service: &Service, declared: &ServiceAction) -> String {
    let of = || match service.description() {
        Some(about) => format!("`{}` of {} ({about})", declared.name(), service.name()),
        None => format!("`{}` of {}", declared.name(), service.name()),
    };
    declared.description().map_or_else(of, str::to_owned)
}

/// Whether the arguments of this action may have [`CONNECTION`] beside its own.
pub fn chooses(declared: &ServiceAction) -> bool {
    !declared.params().iter().any(|name| name == CONNECTION)
}

/// What the call changes, in the words of the protocol. What nobody has stated counts as the worst.
fn annotations(declared: &ServiceAction) -> Value {
    let reads = declared.effect() == Some(Effect::Read);
    let adds = declared.effect() == Some(Effect::Write) && declared.method() == Method::Post;
    let again = matches!(declared.method(), Method::Get | Method::Put | Method::Delete);
    json!({
        "readOnlyHint": reads,
        "destructiveHint": !reads && !adds,
        "idempotentHint": reads || again,
        "openWorldHint": true,
    })
}

/// The JSON Schema of the arguments: the service's, with what it leaves to the templates of path and resource.
fn input(declared: &ServiceAction, connections: &[&str]) -> Value {
    // What an MCP server has repeated, it is sent repeated; no other upstream looks at headers.
    let is_tool = declared.tool().is_some();
    let as_listed = |schema| if is_tool { schema } else { without_headers(schema) };
    let mut schema = match declared.params_schema().cloned().map(as_listed) {
        Some(Value::Object(schema)) => schema,
        _ => Map::new(),
    };
    let mut required: Vec<Value> = match schema.remove("required") {
        Some(Value::Array(required)) => required,
        _ => Vec::new(),
    };
    let mut properties = match schema.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    for name in declared.params() {
        properties.entry(name).or_insert_with(|| json!({"type": "string"}));
    }
    let mut needed: Vec<&str> = declared.addressed().collect();
    if connections.len() > 1 && chooses(declared) {
        let said = "The account to act with.";
        properties
            .insert(CONNECTION.into(), json!({"type": "string", "enum": connections, "description": said}));
        needed.push(CONNECTION);
    }
    for name in needed {
        if !required.iter().any(|known| known == name) {
            required.push(name.into());
        }
    }
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    // Members that the action does not name are refused, whatever its schema says of them.
    schema.remove("unevaluatedProperties");
    schema.insert("additionalProperties".into(), false.into());
    Value::Object(schema)
}

/// A schema without the extension: nothing reads these arguments from headers.
fn without_headers(schema: Value) -> Value {
    let Value::Object(schema) = schema else { return schema };
    let each = |(name, value): (String, Value)| {
        let value = match (name.as_str(), value) {
            // Names of properties, whatever they are.
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                Value::Object(named),
            ) => Value::Object(named.into_iter().map(|(name, it)| (name, without_headers(it))).collect()),
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                all.into_iter().map(without_headers).collect()
            }
            // Values, not schemas.
            ("const" | "enum" | "default" | "examples", value) => value,
            (_, value) => without_headers(value),
        };
        (name, value)
    };
    Value::Object(schema.into_iter().filter(|(name, _)| name != repeated::KEY).map(each).collect())
}

/// The cursor of the page behind this tool. Clients are not to read it.
pub fn cursor(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// The tool behind which a page begins; `None` where it is no cursor.
pub fn after(cursor: &str) -> Option<String> {
    let name = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
    ActionName::parse(&name).ok().map(|name| name.as_str().to_owned())
}
