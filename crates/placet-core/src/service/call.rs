//! From a described action to the call that is sent, and back.
//!
//! Invariant: every call that leaves [`Service::render`] is described by [`Service::describe_call`] as the action and
//! the parameters that it was rendered from.

use super::{MAX_TARGET, ParamType, ParamsInvalid, Service, ServiceAction, template::Values, value};
use crate::{
    call::{Method, UpstreamCall},
    json,
    pattern::ActionName,
};
use serde_json::{Map, Value};

/// The action that method and path of a raw request name, before anything else of the request is read.
#[derive(Debug, Clone)]
pub struct Placed<'s> {
    action: &'s ServiceAction,
    values: Values,
}

impl Service {
    /// The call that carries the action out. `params` are those of [`Described`](super::Described).
    ///
    /// # Errors
    /// If a value would not stay in its place, a query parameter is no scalar (or, where the schema states an array,
    /// a list of scalars), the target gets longer than [`MAX_TARGET`], or the call would not describe back to this
    /// action with these parameters.
    pub fn render(
        &self,
        action: &ServiceAction,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        let values = action.values(params)?;
        let mut target = self.base_path.clone();
        action
            .path
            .fill(&values, &mut target)
            .map_err(|problem| ParamsInvalid::whole(format!("the path is refused: {problem}")))?;
        let rest = params.iter().filter(|(name, _)| !action.in_path(name));
        let body = if action.parameters_in_query() {
            action.write_query(rest, &mut target)?;
            None
        } else if action.has_body() {
            let members: Map<String, Value> =
                rest.map(|(name, value)| (name.clone(), value.clone())).collect();
            let body = serde_json::to_vec(&members)
                .map_err(|error| ParamsInvalid::whole(format!("the parameters are no JSON: {error}")))?;
            Some(body)
        } else {
            None
        };
        if target.len() > MAX_TARGET {
            return Err(ParamsInvalid::whole(format!("path and query are longer than {MAX_TARGET} bytes")));
        }
        let call = UpstreamCall {
            method: action.method,
            origin: self.origin.clone(),
            target,
            headers: Vec::new(),
            body,
            streamed: action.stream,
        };
        match self.describe_call(&call) {
            Some((name, back)) if name == action.name && action.same(params, &back) => Ok(call),
            Some((name, _)) if name != action.name => {
                Err(ParamsInvalid::whole(format!("with these values the call would be `{name}`")))
            }
            _ => Err(ParamsInvalid::whole("the call would not say the same as the parameters".to_owned())),
        }
    }

    /// The action and parameters that a call carries out; `None` if it is none of this service's, or not in the one
    /// form in which [`Service::render`] writes it. Parameters of path and query have the type that the schema
    /// states, else they are strings.
    pub fn describe_call(&self, call: &UpstreamCall) -> Option<(ActionName, Map<String, Value>)> {
        if call.origin != self.origin {
            return None;
        }
        let target = call.target.strip_prefix(&self.base_path)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let placed = self.place(call.method, path)?;
        if placed.action.stream != call.streamed || placed.action.has_body() != call.body.is_some() {
            return None;
        }
        if let Some(body) = &call.body {
            // Other spacing, or members in another order: not what is written here.
            // Read as every body is: serde_json's own reader rewrites `1e3`, and it would be another one.
            let Value::Object(members) = json::parse(body).ok()? else { return None };
            if serde_json::to_vec(&members).ok()? != *body {
                return None;
            }
        }
        let params = placed.params(query, call.body.as_deref()).ok()?;
        Some((placed.action.name.clone(), params))
    }

    /// The action that a method and a path (below that of `base_url`, as it came) name; the more literal one where
    /// two match.
    pub fn place(&self, method: Method, path: &str) -> Option<Placed<'_>> {
        self.actions
            .values()
            .filter(|action| action.method == method)
            .filter_map(|action| Some(Placed { values: action.path.read(path)?, action }))
            .max_by(|one, another| one.action.path.literalness(&another.action.path))
    }
}

impl<'s> Placed<'s> {
    /// The action.
    pub fn action(&self) -> &'s ServiceAction {
        self.action
    }

    /// The parameters that the whole request states: those of its path, of its query, and the members of its JSON
    /// body. Each member of the query stands once, but where the schema states an array; the body is a JSON object
    /// without duplicate members and nothing behind it. In which order members stand, and how the JSON is spaced,
    /// does not matter: what is sent is rendered from what was read.
    ///
    /// # Errors
    /// What is not a parameter of the action, or not written in the one way.
    pub fn params(
        &self,
        query: Option<&str>,
        body: Option<&[u8]>,
    ) -> Result<Map<String, Value>, ParamsInvalid> {
        let action = self.action;
        let mut params = Map::new();
        for (name, text) in &self.values {
            value::check_segment(text, action.encoded_slash)
                .map_err(|problem| ParamsInvalid::of(name, format!("`{name}` is refused: {problem}")))?;
            params.insert(name.clone(), typed(text.clone(), &action.params_type(&[name])));
        }
        if let Some(query) = query {
            if !action.parameters_in_query() {
                return Err(ParamsInvalid::whole(format!(
                    "`{}` has no parameters in the query",
                    action.name
                )));
            }
            action.read_query(query, &mut params)?;
        }
        match body {
            Some(body) if action.has_body() => action.read_body(body, &mut params)?,
            Some(_) => return Err(ParamsInvalid::whole(format!("`{}` takes no body", action.name))),
            None => {}
        }
        Ok(params)
    }
}

impl ServiceAction {
    /// Whether its parameters travel in a JSON body.
    fn has_body(&self) -> bool {
        !self.parameters_in_query() && self.names.iter().any(|name| !self.in_path(name))
    }

    /// Whether a parameter may travel outside the path.
    fn has_outside(&self, name: &str) -> bool {
        !self.in_path(name) && self.names.iter().any(|known| known == name)
    }

    fn is_list(&self, name: &str) -> bool {
        self.params_type(&[name]) == ParamType::List
    }

    fn read_query(&self, query: &str, params: &mut Map<String, Value>) -> Result<(), ParamsInvalid> {
        let normal =
            "percent-encode everything but letters, digits, `-`, `.`, `_` and `~` (a space is `%20`)";
        for pair in query.split('&') {
            let (name, text) = pair.split_once('=').ok_or_else(|| {
                ParamsInvalid::whole("the query is `name=value` with `&` between, nothing else".to_owned())
            })?;
            let name = value::decode_encoded(name)
                .ok_or_else(|| ParamsInvalid::whole(format!("a name in the query is refused: {normal}")))?;
            if !self.has_outside(&name) {
                return Err(self.unknown(&name));
            }
            let text = value::decode_encoded(text).ok_or_else(|| {
                ParamsInvalid::of(&name, format!("`{name}` in the query is refused: {normal}"))
            })?;
            if self.is_list(&name) {
                let item = typed(text, &self.params_type(&[&name, "[]"]));
                match params.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(items) => items.push(item),
                    other => *other = item,
                }
            } else {
                let read = typed(text, &self.params_type(&[&name]));
                if params.insert(name.clone(), read).is_some() {
                    let message = format!("`{name}` stands twice in the query, and is declared no array");
                    return Err(ParamsInvalid::of(&name, message));
                }
            }
        }
        Ok(())
    }

    fn read_body(&self, body: &[u8], params: &mut Map<String, Value>) -> Result<(), ParamsInvalid> {
        let read = json::parse(body)
            .map_err(|error| ParamsInvalid::whole(format!("the body is not valid JSON: {error}")))?;
        let Value::Object(members) = read else {
            return Err(ParamsInvalid::whole("the body is no JSON object".to_owned()));
        };
        for (name, value) in members {
            if !self.has_outside(&name) {
                return Err(self.unknown(&name));
            }
            params.insert(name, value);
        }
        Ok(())
    }

    /// Whether two sets of parameters say the same upstream: what travels as text is compared as text.
    fn same(&self, one: &Map<String, Value>, another: &Map<String, Value>) -> bool {
        one.len() == another.len()
            && one.iter().zip(another).all(|((name, a), (other, b))| {
                let as_text = self.in_path(name) || self.parameters_in_query();
                name == other && if as_text { texts(a) == texts(b) } else { a == b }
            })
    }

    fn write_query<'a>(
        &self,
        params: impl Iterator<Item = (&'a String, &'a Value)>,
        target: &mut String,
    ) -> Result<(), ParamsInvalid> {
        let mut separator = '?';
        for (name, value) in params {
            let refused = |problem| ParamsInvalid::of(name, format!("`{name}` is refused: {problem}"));
            let problem =
                "a query parameter is a string, number, boolean, or a list of these that is not empty";
            let texts = texts(value).filter(|texts| !texts.is_empty()).ok_or_else(|| refused(problem))?;
            // What stands twice is read by some as the first, by others as the last.
            if value.is_array() && !self.is_list(name) {
                return Err(refused("a list needs `type: array` in the service's `params`"));
            }
            for text in texts {
                target.push(separator);
                separator = '&';
                value::encode(name, target);
                target.push('=');
                value::encode(&text, target);
            }
        }
        Ok(())
    }
}

/// The texts of a scalar or of a list of scalars.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(value::query_text).collect(),
        other => value::query_text(other).map(|text| vec![text]),
    }
}

/// The value of a text where the schema states a type and the text is one of it, else the text.
fn typed(text: String, kind: &ParamType) -> Value {
    let read = match (kind, text.as_str()) {
        (ParamType::Bool, "true") => Some(Value::Bool(true)),
        (ParamType::Bool, "false") => Some(Value::Bool(false)),
        (ParamType::Integer | ParamType::Number, number) => number
            .parse()
            .ok()
            .filter(|read: &serde_json::Number| read.to_string() == text)
            .map(Value::Number),
        _ => None,
    };
    read.unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests;
