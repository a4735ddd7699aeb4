//! A definition made of an `OpenAPI` document (3.0 or 3.1): `placet service import`.
//!
//! What the document says and a definition can't is left out, and each such place is told: as a warning, and as a comment
//! in the definition. A person reads it before it is put in force.
//!
//! Invariant: nothing is taken to be milder or wider than the document says: effects come from methods and are only raised,
//! parameters that can't be described are left out, and an operation that needs one is left out itself. Nothing is fetched.

mod naming;
mod operation;
mod schema;
mod write;

use super::Service;
use crate::{diagnostic::quoted, json, pattern::ActionPattern, yaml};
use operation::Operation;
use serde_json::{Map, Value};
use std::{cmp::Reverse, collections::BTreeMap};

/// The longest document that is read, in bytes: JSON; YAML is read up to [`yaml::MAX_SOURCE`].
pub const MAX_DOCUMENT: usize = 32 << 20;

/// How many beginnings of paths are named where there are too many operations.
const SHOWN: usize = 8;

/// What is asked of an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The service's name, instead of one made of the document's title.
    pub name: Option<String>,
    /// The address, instead of that of the document's first server.
    pub base_url: Option<String>,
    /// Only these: patterns of action names, or beginnings of paths (`/orders`). All where it is empty.
    pub include: Vec<String>,
    /// Without these.
    pub exclude: Vec<String>,
}

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The definition.
    pub yaml: String,
    /// The service's name.
    pub name: String,
    /// How many actions it has.
    pub actions: usize,
    /// What was left out or narrowed, and where.
    pub notes: Vec<String>,
}

/// The document, and what is told of it.
struct Document {
    root: Value,
    /// Whether it is of 3.0, where schemas are written otherwise.
    old: bool,
    notes: Vec<String>,
}

/// Makes a definition of a document.
///
/// # Errors
/// If it is no `OpenAPI` document of these versions, has no address or no operation that can be described, or refers to
/// other documents.
pub fn import(source: &[u8], options: &Options) -> Result<Imported, String> {
    let root = read(source)?;
    let old = match root.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0.") => true,
        Some(version) if version.starts_with("3.1.") => false,
        Some(version) => return Err(format!("OpenAPI {} is not read: 3.0 and 3.1 are", quoted(version))),
        None if root.get("swagger").is_some() => {
            return Err("this is a Swagger 2.0 document: convert it to OpenAPI 3 first".to_owned());
        }
        None => return Err("this is no OpenAPI document: it has no `openapi`".to_owned()),
    };
    if let Some(reference) = foreign(&root) {
        return Err(format!(
            "it refers to another document, {}: bundle it into one first",
            quoted(&reference)
        ));
    }
    let mut document = Document { root, old, notes: Vec::new() };
    let name = match &options.name {
        Some(name) => name.clone(),
        None => naming::service(document.text("/info/title").unwrap_or_default()),
    };
    let base_url = match &options.base_url {
        Some(url) => url.clone(),
        None => document.server()?,
    };
    let auth = document.auth();
    let wanted = Wanted::new(options)?;
    let mut made: Vec<Operation> = Vec::new();
    let operations = document.operations(&name, &wanted);
    if operations.len() > super::MAX_ACTIONS {
        return Err(format!(
            "it has {} operations, and a service has at most {}: choose some with `--include`, such as {}",
            operations.len(),
            super::MAX_ACTIONS,
            beginnings(&operations)
        ));
    }
    for operation in operations {
        if let Some(other) = made.iter().find(|other| other.clashes(&operation)) {
            let what =
                format!("{}: left out, its path can be that of {} as well", operation.place, other.place);
            document.notes.push(what);
            continue;
        }
        let alone = write::definition(&name, None, &base_url, &auth, [&operation]);
        match Service::parse(alone.as_bytes(), None) {
            Ok(_) => made.push(operation),
            Err(found) => {
                let why = found
                    .iter()
                    .find(|one| one.is_error())
                    .map(|one| one.message.clone())
                    .unwrap_or_default();
                document.notes.push(format!("{}: left out: {why}", operation.place));
            }
        }
    }
    if made.is_empty() {
        let first = document.notes.first().map(|note| format!(" ({note})")).unwrap_or_default();
        return Err(format!("no operation of it can be an action{first}"));
    }
    naming::make_unique(&mut made);
    let about = document.text("/info/title").map(str::to_owned);
    let mut yaml = String::new();
    write::heading(&mut yaml, &document.notes);
    yaml.push_str(&write::definition(&name, about.as_deref(), &base_url, &auth, &made));
    match Service::parse(yaml.as_bytes(), None) {
        Ok((service, _)) => {
            Ok(Imported { yaml, name, actions: service.actions().len(), notes: document.notes })
        }
        Err(found) => {
            let why = found.iter().find(|one| one.is_error()).map(ToString::to_string).unwrap_or_default();
            Err(format!("what it would become is no definition: {why}"))
        }
    }
}

fn read(source: &[u8]) -> Result<Value, String> {
    if source.len() > MAX_DOCUMENT {
        return Err(format!("the document has more than {MAX_DOCUMENT} bytes"));
    }
    let is_json = source.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if is_json {
        return json::parse(source).map_err(|error| format!("the document is no JSON: {error}"));
    }
    match yaml::parse_foreign(source, None) {
        Ok((node, _)) => Ok(yaml::to_json(&node)),
        Err(found) => {
            let what = found.first().map(|first| match first.position {
                Some(at) => format!("{} (line {}, column {})", first.message, at.line, at.column),
                None => first.message.clone(),
            });
            Err(format!("the document can't be read: {}", what.unwrap_or_default()))
        }
    }
}

/// A reference to another document.
fn foreign(value: &Value) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            Value::String(to) if name == "$ref" && !to.starts_with('#') => Some(to.clone()),
            // Examples are data: what looks like a reference there is none.
            _ if name == "example" || name == "examples" => None,
            value => foreign(value),
        }),
        Value::Array(items) => items.iter().find_map(foreign),
        _ => None,
    }
}

impl Document {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.root.pointer(pointer).and_then(Value::as_str)
    }

    fn note(&mut self, place: &str, what: impl AsRef<str>) {
        let note = format!("{place}: {}", what.as_ref());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Follows references within the document to something that is none.
    fn followed<'d>(&'d self, mut value: &'d Value) -> Option<&'d Value> {
        for _ in 0..16 {
            match value.get("$ref").and_then(Value::as_str) {
                None => return Some(value),
                Some(reference) => value = self.target(reference)?,
            }
        }
        None
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        let pointer = String::from_utf8(super::value::decode(reference.strip_prefix('#')?)).ok()?;
        self.root.pointer(&pointer)
    }

    /// The address of the first server.
    fn server(&mut self) -> Result<String, String> {
        const SAY: &str = "say where it is with `--base-url`";
        let servers = self.root.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(first) = servers.first() else { return Err(format!("it names no server: {SAY}")) };
        let mut url = first.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (name, variable) in first.get("variables").and_then(Value::as_object).into_iter().flatten() {
            let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
            url = url.replace(&format!("{{{name}}}"), default);
        }
        if !(url.starts_with("https://") || url.starts_with("http://")) || url.contains('{') {
            return Err(format!("its server {} is no whole address: {SAY}", quoted(&url)));
        }
        if servers.len() > 1 {
            self.note("servers", format!("the first of {} is taken", servers.len()));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }

    /// How the credential is sent, by the first security scheme that says it in a way that there is.
    fn auth(&mut self) -> Value {
        let schemes = self.root.pointer("/components/securitySchemes").and_then(Value::as_object).cloned();
        let schemes = schemes.unwrap_or_default();
        let required = self.root.get("security").and_then(Value::as_array).into_iter().flatten();
        let mut names: Vec<String> =
            required.filter_map(Value::as_object).flat_map(Map::keys).cloned().collect();
        names.extend(schemes.keys().cloned());
        for name in &names {
            let Some(scheme) = schemes.get(name).and_then(|it| self.followed(it)) else { continue };
            let text = |key: &str| scheme.get(key).and_then(Value::as_str).unwrap_or_default();
            let auth = match (text("type"), text("scheme").to_ascii_lowercase().as_str(), text("in")) {
                ("http", "bearer", _) | ("oauth2" | "openIdConnect", ..) => {
                    serde_json::json!({"type": "bearer"})
                }
                ("http", "basic", _) => serde_json::json!({"type": "basic"}),
                ("apiKey", _, "header") if text("name").eq_ignore_ascii_case("authorization") => {
                    serde_json::json!({"type": "header", "name": "Authorization"})
                }
                ("apiKey", _, place @ ("header" | "query")) => {
                    serde_json::json!({"type": place, "name": text("name")})
                }
                _ => {
                    let what = format!("the security scheme {} is none that there is", quoted(name));
                    self.note("security", what);
                    continue;
                }
            };
            if schemes.len() > 1 {
                let what = format!(
                    "the credential is sent as {} says, one of {} schemes",
                    quoted(name),
                    schemes.len()
                );
                self.note("security", what);
            }
            return auth;
        }
        self.note("security", "nothing says how the credential is sent: it is taken to be a bearer token");
        serde_json::json!({"type": "bearer"})
    }

    /// The operations that are wanted and can be actions, in the order of their paths. Of others nothing is told.
    fn operations(&mut self, service: &str, wanted: &Wanted) -> Vec<Operation> {
        let paths = self.root.get("paths").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut made = Vec::new();
        for (path, item) in paths.iter().filter(|(path, _)| wanted.may_have(path)) {
            let Some(item) = self.followed(item).cloned() else {
                self.note(path, "left out: its reference leads nowhere");
                continue;
            };
            for (method, operation) in item.as_object().into_iter().flatten() {
                let place = format!("{} {path}", method.to_ascii_uppercase());
                match method.as_str() {
                    "get" | "head" | "post" | "put" | "patch" | "delete" => {}
                    "options" | "trace" => {
                        self.note(&place, "left out: no action has this method");
                        continue;
                    }
                    "servers" => {
                        self.note(path, "its own servers are not taken");
                        continue;
                    }
                    _ => continue,
                }
                let told = self.notes.len();
                match Operation::read(self, service, (&place, path, method), &item, operation) {
                    Ok(operation) if wanted.has(&operation) => made.push(operation),
                    Ok(_) => self.notes.truncate(told),
                    Err(why) => self.note(&place, format!("left out: {why}")),
                }
            }
        }
        made
    }
}

/// Which operations are taken.
struct Wanted {
    include: Vec<Filter>,
    exclude: Vec<Filter>,
}

enum Filter {
    Path(String),
    Name(ActionPattern),
}

impl Wanted {
    fn new(options: &Options) -> Result<Self, String> {
        let read = |texts: &[String]| -> Result<Vec<Filter>, String> {
            let filter = |text: &String| match text.strip_prefix('/') {
                Some(_) => Ok(Filter::Path(text.trim_end_matches('/').to_owned())),
                None => ActionPattern::parse(text).map(Filter::Name).map_err(|error| error.to_string()),
            };
            texts.iter().map(filter).collect()
        };
        Ok(Self { include: read(&options.include)?, exclude: read(&options.exclude)? })
    }

    /// Whether operations of a path may be wanted, whatever they are called.
    fn may_have(&self, path: &str) -> bool {
        let is_below = |filter: &Filter| matches!(filter, Filter::Path(start) if below(path, start));
        let may = |filter: &Filter| matches!(filter, Filter::Name(_)) || is_below(filter);
        (self.include.is_empty() || self.include.iter().any(may)) && !self.exclude.iter().any(is_below)
    }

    fn has(&self, operation: &Operation) -> bool {
        let fits = |filter: &Filter| match filter {
            Filter::Path(path) => below(&operation.original, path),
            Filter::Name(pattern) => pattern.matches(&operation.name),
        };
        (self.include.is_empty() || self.include.iter().any(fits)) && !self.exclude.iter().any(fits)
    }
}

/// Whether a path is another one or below it.
fn below(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What most paths begin with, and how many do.
fn beginnings(operations: &[Operation]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations {
        let first = operation.original.split('/').nth(1).unwrap_or_default();
        *counts.entry(first).or_default() += 1;
    }
    let mut all: Vec<(&str, usize)> = counts.into_iter().collect();
    all.sort_by_key(|(first, count)| (Reverse(*count), *first));
    let shown: Vec<String> = all
        .iter()
        .take(SHOWN)
        .map(|(first, count)| format!("{} ({count})", quoted(&format!("/{first}"))))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests;
