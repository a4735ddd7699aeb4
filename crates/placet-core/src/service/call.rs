//! From a described action to the call that is sent, and back.
//!
//! Invariant: every call that leaves [`Service::render`] is described by [`Service::describe_call`] as the action and
//! the parameters that it was rendered from.

use super::{MAX_TARGET, ParamType, ParamsInvalid, Service, ServiceAction, value};
use crate::{call::UpstreamCall, pattern::ActionName};
use serde_json::{Map, Value};

impl Service {
    /// The call that carries the action out. `params` are those of [`Described`](super::Described).
    ///
    /// # Errors
    /// If a value would not stay in its place, a query parameter is no scalar or list of scalars, the target gets
    /// longer than [`MAX_TARGET`], or the call would not describe back to this action with these parameters.
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
        let body = if action.method.parameters_in_query() {
            write_query(rest, &mut target)?;
            None
        } else if action.names.iter().any(|name| !action.in_path(name)) {
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
        let call = UpstreamCall { method: action.method, origin: self.origin.clone(), target, body };
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
        let (action, values) = self
            .actions
            .values()
            .filter(|action| action.method == call.method)
            .filter_map(|action| Some((action, action.path.read(path)?)))
            .max_by(|(one, _), (another, _)| one.path.literalness(&another.path))?;
        let mut params = Map::new();
        for (name, text) in values {
            value::check_segment(&text, action.encoded_slash).ok()?;
            let value = typed(text, &action.params_type(&[&name]));
            params.insert(name, value);
        }
        if let Some(query) = query {
            if !action.method.parameters_in_query() {
                return None;
            }
            action.read_query(query, &mut params)?;
        }
        match &call.body {
            Some(body) if !action.method.parameters_in_query() => action.read_body(body, &mut params)?,
            Some(_) => return None,
            None => {}
        }
        Some((action.name.clone(), params))
    }
}

impl ServiceAction {
    /// Whether a parameter may travel outside the path.
    fn has_outside(&self, name: &str) -> bool {
        !self.in_path(name) && self.names.iter().any(|known| known == name)
    }

    fn read_query(&self, query: &str, params: &mut Map<String, Value>) -> Option<()> {
        for pair in query.split('&') {
            let (name, text) = pair.split_once('=')?;
            let name = value::decode_encoded(name).filter(|name| self.has_outside(name))?;
            let text = value::decode_encoded(text)?;
            let is_list = self.params_type(&[&name]) == ParamType::List;
            let place: &[&str] = if is_list { &[&name, "[]"] } else { &[&name] };
            let kind = self.params_type(place);
            let value = typed(text, &kind);
            match params.get_mut(&name) {
                None => {
                    params.insert(name, if is_list { Value::Array(vec![value]) } else { value });
                }
                Some(Value::Array(items)) => items.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Some(())
    }

    fn read_body(&self, body: &[u8], params: &mut Map<String, Value>) -> Option<()> {
        let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
        // Duplicate members or other spacing: somebody else could read something else.
        if serde_json::to_vec(&members).ok()? != body {
            return None;
        }
        for (name, value) in members {
            if !self.has_outside(&name) {
                return None;
            }
            params.insert(name, value);
        }
        Some(())
    }

    /// Whether two sets of parameters say the same upstream: what travels as text is compared as text.
    fn same(&self, one: &Map<String, Value>, another: &Map<String, Value>) -> bool {
        one.len() == another.len()
            && one.iter().zip(another).all(|((name, a), (other, b))| {
                let as_text = self.in_path(name) || self.method.parameters_in_query();
                name == other && if as_text { texts(a) == texts(b) } else { a == b }
            })
    }
}

fn write_query<'a>(
    params: impl Iterator<Item = (&'a String, &'a Value)>,
    target: &mut String,
) -> Result<(), ParamsInvalid> {
    let mut separator = '?';
    for (name, value) in params {
        let Some(texts) = texts(value).filter(|texts| !texts.is_empty()) else {
            let problem =
                "a query parameter is a string, number, boolean, or a list of these that is not empty";
            return Err(ParamsInvalid::of(name, format!("`{name}` is refused: {problem}")));
        };
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
