//! One operation of a document as an action: its parameters in their places, its effect, its resource.
//!
//! Invariant: an operation is made whole or not at all: one that needs a parameter which can't be sent is refused.

use super::{Document, naming, schema::Budget};
use crate::{
    pattern::ActionName,
    service::{Effect, template::PathTemplate},
};
use serde_json::{Map, Value, json};

/// An operation as it will be an action.
pub(super) struct Operation {
    /// `GET /orders/{id}`: what notes call it.
    pub(super) place: String,
    /// The path as the document writes it.
    pub(super) original: String,
    pub(super) name: ActionName,
    pub(super) about: Option<String>,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) resource: String,
    pub(super) effect: Effect,
    pub(super) properties: Map<String, Value>,
    pub(super) required: Vec<String>,
    /// Parameters in the query, where it is not all of them.
    pub(super) query: Vec<String>,
    pub(super) headers: Map<String, Value>,
    pub(super) body: Option<Value>,
}

/// What a parameter of a document becomes.
struct Params {
    path: Vec<(String, String)>,
    query: Vec<String>,
    properties: Map<String, Value>,
    required: Vec<String>,
    headers: Map<String, Value>,
}

impl Operation {
    pub(super) fn read(
        document: &mut Document,
        service: &str,
        (place, original, method): (&str, &str, &str),
        item: &Value,
        operation: &Value,
    ) -> Result<Self, String> {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let tag = operation.get("tags").and_then(|tags| tags.get(0)).and_then(Value::as_str);
        let name = naming::action(service, tag, text("operationId"), method, original)
            .ok_or("no name can be made for it")?;
        let mut budget = Budget::new();
        let mut params = Params {
            path: Vec::new(),
            query: Vec::new(),
            properties: Map::new(),
            required: Vec::new(),
            headers: Map::new(),
        };
        for parameter in stated(document, item, operation)? {
            params.take(document, place, &parameter, &mut budget)?;
        }
        let path = params.path(original)?;
        let reads = matches!(method, "get" | "head");
        let mut body = None;
        if let Some(stated) = operation.get("requestBody") {
            let stated =
                document.followed(stated).cloned().ok_or("the reference of its body leads nowhere")?;
            let required = stated.get("required") == Some(&Value::Bool(true));
            if reads {
                document.note(place, "its body is left out: it has none with this method");
            } else {
                match params.body(document, place, &stated, &mut budget) {
                    Ok(found) => body = found,
                    Err(why) if required => return Err(why),
                    Err(why) => document.note(place, format!("its body is left out: {why}")),
                }
            }
        }
        // Without a body of its own all parameters of a DELETE travel in the query as they do for a GET.
        if method == "delete"
            && body.is_none()
            && params.properties.keys().any(|name| params.is_in_body(name))
        {
            body = Some("json".into());
        }
        let in_query = reads || (method == "delete" && body.is_none());
        let query = if in_query { Vec::new() } else { params.query.clone() };
        let resource = format!("{service}://api{}", path.trim_end_matches('/'));
        let effect = effect(method, text("operationId").unwrap_or_default(), original);
        let about = text("summary").or_else(|| text("description")).and_then(|text| text.lines().next());
        params.required.sort();
        params.required.dedup();
        Ok(Self {
            place: place.to_owned(),
            original: original.to_owned(),
            name,
            about: about.map(|text| text.chars().filter(|one| !one.is_control()).take(160).collect()),
            method: method.to_ascii_uppercase(),
            path,
            resource,
            effect,
            properties: params.properties,
            required: params.required,
            query,
            headers: params.headers,
            body,
        })
    }

    /// Whether a request could be of both, and neither path is the more literal.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        if self.method != other.method {
            return false;
        }
        let (one, another) = (PathTemplate::parse(&self.path), PathTemplate::parse(&other.path));
        one.ok()
            .zip(another.ok())
            .is_some_and(|(one, another)| one.overlaps(&another) && one.literalness(&another).is_eq())
    }
}

/// The parameters of an operation, with those of its path that it does not state itself.
fn stated(document: &Document, item: &Value, operation: &Value) -> Result<Vec<Value>, String> {
    let list = |value: &Value| -> Result<Vec<Value>, String> {
        let all = value.get("parameters").and_then(Value::as_array).into_iter().flatten();
        all.map(|one| document.followed(one).cloned().ok_or("a reference leads nowhere".to_owned())).collect()
    };
    let mut found = list(operation)?;
    let same =
        |one: &Value, other: &Value| one.get("name") == other.get("name") && one.get("in") == other.get("in");
    for common in list(item)? {
        if !found.iter().any(|own| same(own, &common)) {
            found.push(common);
        }
    }
    Ok(found)
}

impl Params {
    fn take(
        &mut self,
        document: &mut Document,
        place: &str,
        parameter: &Value,
        budget: &mut Budget,
    ) -> Result<(), String> {
        let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, kind) = (text("name"), text("in"));
        let required = parameter.get("required") == Some(&Value::Bool(true));
        let dropped = |document: &mut Document, why: &str| {
            if required {
                return Err(format!("it needs `{name}`: {why}"));
            }
            document.note(place, format!("`{name}` is left out: {why}"));
            Ok(())
        };
        let Some(schema) = parameter.get("schema") else {
            return dropped(document, "its value is not said by a `schema`");
        };
        match kind {
            "path" => {
                let variable =
                    naming::variable(name).ok_or("a parameter of its path has no name that can be used")?;
                let made = document.schema(schema, place, budget);
                let fits =
                    matches!(made.get("type").and_then(Value::as_str), None | Some("string" | "integer"));
                if !fits || !matches!(text("style"), "" | "simple") {
                    return Err(format!("`{name}` in its path is no text or whole number"));
                }
                self.insert(&variable, made)?;
                self.required.push(variable.clone());
                self.path.push((name.to_owned(), variable));
            }
            "query" => {
                if parameter.get("deprecated") == Some(&Value::Bool(true)) && !required {
                    return dropped(document, "it is deprecated");
                }
                let mut made = document.schema(schema, place, budget);
                let is = |kind: &str| made.get("type").and_then(Value::as_str) == Some(kind);
                let scattered = parameter.get("explode") != Some(&Value::Bool(false));
                if is("object") || !matches!(text("style"), "" | "form" | "spaceDelimited" | "pipeDelimited")
                {
                    return dropped(document, "an object can't travel in the query");
                }
                if is("array") && (!scattered || !matches!(text("style"), "" | "form")) {
                    document.note(place, format!("`{name}` is a text in which its items are joined"));
                    made = json!({"type": "string"});
                }
                self.insert(name, made)?;
                self.query.push(name.to_owned());
                if required {
                    self.required.push(name.to_owned());
                }
            }
            "header" => {
                // These three say nothing, by the specification.
                if ["accept", "content-type", "authorization"].contains(&name.to_ascii_lowercase().as_str()) {
                    return Ok(());
                }
                let made = document.schema(schema, place, budget);
                let only = match made.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
                    Some([only]) => Some(only),
                    _ => made.get("const"),
                };
                match only.and_then(Value::as_str) {
                    Some(value) => _ = self.headers.insert(name.to_owned(), value.into()),
                    None => return dropped(document, "an agent sends no headers"),
                }
            }
            _ => return dropped(document, "it is sent neither in the path nor in the query"),
        }
        Ok(())
    }

    fn insert(&mut self, name: &str, schema: Value) -> Result<(), String> {
        match self.properties.insert(name.to_owned(), schema) {
            None => Ok(()),
            Some(_) => Err(format!("it has two parameters `{name}`")),
        }
    }

    /// Whether a parameter travels in the body.
    fn is_in_body(&self, name: &str) -> bool {
        !self.query.iter().any(|other| other == name) && !self.path.iter().any(|(_, other)| other == name)
    }

    /// The path with the variables' own names.
    fn path(&self, original: &str) -> Result<String, String> {
        let mut path = original.to_owned();
        for (name, variable) in &self.path {
            path = path.replace(&format!("{{{name}}}"), &format!("{{{variable}}}"));
        }
        let read = PathTemplate::parse(&path).map_err(|error| error.message)?;
        if let Some(unknown) = read.variables().find(|name| !self.path.iter().any(|(_, known)| known == name))
        {
            return Err(format!("`{unknown}` of its path is not stated as a parameter"));
        }
        match self.path.iter().find(|(_, known)| !read.variables().any(|name| name == known)) {
            Some((name, _)) => Err(format!("`{name}` is stated for its path and does not stand there")),
            None => Ok(path),
        }
    }

    /// Takes the members of a body as parameters; what `body` of the action is.
    fn body(
        &mut self,
        document: &mut Document,
        place: &str,
        stated: &Value,
        budget: &mut Budget,
    ) -> Result<Option<Value>, String> {
        let content = stated.get("content").and_then(Value::as_object).cloned().unwrap_or_default();
        let essence = |name: &str| name.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let of = |wanted: &str| content.iter().find(|(name, _)| essence(name) == wanted).map(|(_, it)| it);
        let (form, media) = match (of("application/json"), of(crate::call::FORM)) {
            (Some(media), _) => (false, media),
            (None, Some(media)) => (true, media),
            (None, None) => {
                let kinds: Vec<&str> = content.keys().map(String::as_str).take(4).collect();
                return Err(format!("a body of the type {} can't be written", kinds.join(", ")));
            }
        };
        let required = stated.get("required") == Some(&Value::Bool(true));
        let schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
        let members = document.members(&schema, place, budget);
        let members =
            members.filter(|(members, _)| !members.keys().any(|name| self.properties.contains_key(name)));
        match members {
            Some((members, needed)) => {
                self.properties.extend(members);
                if required {
                    self.required.extend(needed);
                } else if !needed.is_empty() {
                    document
                        .note(place, "its body need not be there; what it requires is required nevertheless");
                    self.required.extend(needed);
                }
                Ok(form.then(|| "form".into()))
            }
            None if form => Err("a form has named members, each once".to_owned()),
            None => {
                let made = document.schema(&schema, place, budget);
                self.insert("body", made)?;
                self.required.push("body".to_owned());
                Ok(Some(json!({"json": "$params.body"})))
            }
        }
    }
}

/// What an operation does: by its method, raised by what it is called.
fn effect(method: &str, id: &str, path: &str) -> Effect {
    const REMOVE: &[&str] = &[
        "archive",
        "cancel",
        "clear",
        "delete",
        "destroy",
        "erase",
        "purge",
        "remove",
        "revoke",
        "terminate",
        "trash",
        "wipe",
    ];
    const MONEY: &[&str] = &[
        "buy",
        "capture",
        "charge",
        "charges",
        "checkout",
        "deposit",
        "donate",
        "pay",
        "payment",
        "payments",
        "payout",
        "payouts",
        "purchase",
        "refund",
        "refunds",
        "topup",
        "transfer",
        "transfers",
        "withdraw",
        "withdrawal",
    ];
    const CHANGE: &[&str] = &[
        "add", "apply", "approve", "assign", "create", "disable", "enable", "execute", "import", "insert",
        "merge", "move", "post", "publish", "put", "reset", "restart", "run", "send", "set", "start", "stop",
        "submit", "trigger", "update", "upload", "write",
    ];
    let named = naming::words(id);
    let last = path.rsplit('/').find(|part| !part.contains('{')).map(naming::words).unwrap_or_default();
    let any = |list: &[&str]| named.iter().chain(&last).any(|word| list.contains(&word.as_str()));
    let first = |list: &[&str]| {
        [&named, &last].iter().any(|words| words.first().is_some_and(|word| list.contains(&word.as_str())))
            || named.last().is_some_and(|word| list.contains(&word.as_str()))
    };
    // Behind the name of a group: `ExportsController_deleteAll`.
    let group = id.rsplit(['_', '.', '/', '#']).next().map(naming::words).unwrap_or_default();
    if matches!(method, "get" | "head") {
        // `getPayments` reads; `pay` and `deleteAll` don't, whatever their method is.
        let verb = |words: &[String]| {
            let word = words.iter().find(|word| !["api", "controller", "service"].contains(&word.as_str()));
            word.cloned().unwrap_or_default()
        };
        let begin = [verb(&named), verb(&group)];
        let begins = |list: &[&str]| begin.iter().any(|word| list.contains(&word.as_str()));
        // Of a path's words only those that are nothing but verbs: `/archive` and `/trash` are places.
        let removes = last.first().is_some_and(|word| {
            ["cancel", "delete", "destroy", "erase", "purge", "remove", "revoke", "terminate", "wipe"]
                .contains(&word.as_str())
        });
        return if begins(&["pay", "buy", "charge", "refund", "transfer", "withdraw", "purchase"]) {
            Effect::Money
        } else if removes || begins(REMOVE) {
            Effect::Delete
        } else if begins(CHANGE) {
            Effect::Write
        } else {
            Effect::Read
        };
    }
    let grouped = group.first().is_some_and(|word| REMOVE.contains(&word.as_str()));
    let base = if method == "delete" || grouped || first(REMOVE) { Effect::Delete } else { Effect::Write };
    if any(MONEY) { base.max(Effect::Money) } else { base }
}
