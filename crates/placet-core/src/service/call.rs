//! From a described action to the call that is sent, and back.
//!
//! Invariant: every call that leaves [`Service::render`] is described by [`Service::describe_call`] as the action and
//! the parameters that it was rendered from.

use super::{
    Kind, MAX_TARGET, ParamType, ParamsInvalid, Service, ServiceAction,
    body::{Body, Media},
    form,
    mapping::Member,
    template::Values,
    value,
};
use crate::{
    call::{Method, UpstreamCall},
    json,
    pattern::ActionName,
};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// The action that method and path of a raw request name, before anything else of the request is read.
#[derive(Debug, Clone)]
pub struct Placed<'s> {
    action: &'s ServiceAction,
    values: Values,
}

/// The actions that a method and a path name.
#[derive(Debug, Clone)]
pub struct Candidates<'s>(Vec<Placed<'s>>);

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
        if let Some(tool) = &action.tool {
            return self.render_tool(action, tool, params);
        }
        if let Some(statement) = &action.statement {
            return self.render_statement(statement, params);
        }
        if action.carried().is_some() {
            return self.render_carried(action, params);
        }
        let values = action.values(params)?;
        let mut target = self.base_path.clone();
        action
            .path
            .fill(&values, &mut target)
            .map_err(|problem| ParamsInvalid::whole(format!("the path is refused: {problem}")))?;
        action.write_query(params, &mut target)?;
        let body = if action.has_body() { Some(action.write_body(params)?) } else { None };
        if target.len() > MAX_TARGET {
            return Err(ParamsInvalid::whole(format!("path and query are longer than {MAX_TARGET} bytes")));
        }
        let call = UpstreamCall {
            method: action.method,
            origin: self.origin.clone(),
            target,
            headers: Vec::new(),
            fixed: action.headers.clone(),
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
        match self.kind {
            Kind::Http => {}
            Kind::Mcp => return self.describe_tool(call),
            Kind::Postgres => return self.describe_statement(call),
        }
        if call.method == Method::Get && call.body.is_some() {
            return self.describe_carried(call);
        }
        if call.origin != self.origin {
            return None;
        }
        let target = call.target.strip_prefix(&self.base_path)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let placed = self.place_all(call.method, path).pick(call.body.as_deref())?;
        let action = placed.action;
        if action.stream != call.streamed
            || action.has_body() != call.body.is_some()
            || action.headers != call.fixed
            || !action.has_constants(query)
        {
            return None;
        }
        let params = placed.params(query, call.body.as_deref()).ok()?;
        // Other spacing, or members in another order: not what is written here.
        if call.body.is_some() && action.write_body(&params).ok() != call.body {
            return None;
        }
        Some((action.name.clone(), params))
    }

    /// The action that a method and a path (below that of `base_url`, as it came) name; the more literal one where
    /// two match, and the first of those that only their bodies tell apart.
    pub fn place(&self, method: Method, path: &str) -> Option<Placed<'_>> {
        self.place_all(method, path).0.into_iter().next()
    }

    /// The actions that a method and a path name: several only where their bodies tell them apart.
    pub fn place_all(&self, method: Method, path: &str) -> Candidates<'_> {
        let mut found: Vec<Placed<'_>> = Vec::new();
        // Which tool a message is of stands in it alone, and messages are written here; a database has no paths.
        if self.kind != Kind::Http {
            return Candidates(found);
        }
        // Messages are no requests.
        let requests = self.actions.values().filter(|action| action.carried().is_none());
        for action in requests.filter(|action| action.method == method) {
            let Some(values) = action.path.read(path) else { continue };
            match found.first().map(|first| action.path.literalness(&first.action.path)) {
                Some(Ordering::Less) => continue,
                Some(Ordering::Greater) => found.clear(),
                _ => {}
            }
            found.push(Placed { action, values });
        }
        Candidates(found)
    }
}

impl<'s> Candidates<'s> {
    /// Without those that `keep` refuses.
    #[must_use]
    pub fn keep(mut self, keep: impl Fn(&ServiceAction) -> bool) -> Self {
        self.0.retain(|placed| keep(placed.action));
        self
    }

    /// The one that a body belongs to: of several, the one whose constants it has. Without a body the first, which is the
    /// only one but for those that need one.
    pub fn pick(self, body: Option<&[u8]>) -> Option<Placed<'s>> {
        let Some(body) = body.filter(|_| self.0.len() > 1) else { return self.0.into_iter().next() };
        self.0.into_iter().find(|placed| {
            let members = match placed.action.mapping.body.media() {
                Some(Media::Json) => json::parse(body).ok().and_then(|read| match read {
                    Value::Object(members) => Some(members),
                    _ => None,
                }),
                Some(Media::Form) => form::decode(body).and_then(|pairs| form::tree(&pairs)).ok(),
                None => None,
            };
            members.is_some_and(|members| placed.action.mapping.body.has_constants(&members))
        })
    }
}

impl<'s> Placed<'s> {
    /// The action.
    pub fn action(&self) -> &'s ServiceAction {
        self.action
    }

    /// The texts of the variables of its path.
    pub(super) fn values(&self) -> &Values {
        &self.values
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
            if !action.mapping.rest_in_query() && action.mapping.query.is_empty() {
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
            None if matches!(action.mapping.body, Body::Layout(..)) => {
                return Err(ParamsInvalid::whole(format!("`{}` takes a body", action.name)));
            }
            None => {}
        }
        Ok(params)
    }
}

impl ServiceAction {
    /// Whether its requests have a body that is described.
    pub(super) fn has_body(&self) -> bool {
        match &self.mapping.body {
            Body::None => false,
            Body::Rest(_) => self.names.iter().any(|name| self.in_rest(name)),
            Body::Layout(..) => true,
        }
    }

    /// Whether a parameter travels under its own name where those do for which nothing is stated.
    fn in_rest(&self, name: &str) -> bool {
        !self.in_path(name)
            && self.mapping.member_of(name).is_none()
            && self.names.iter().any(|known| known == name)
    }

    /// The parameter that a member of the query has; `None` for a constant.
    fn param_of(&self, member: &str) -> Result<Option<&str>, ParamsInvalid> {
        match self.mapping.query.get(member) {
            Some(Member::Param(name)) => Ok(Some(name)),
            Some(Member::Constant(_)) => Ok(None),
            None if self.mapping.rest_in_query() && self.in_rest(member) => {
                Ok(self.names.iter().find(|name| *name == member).map(String::as_str))
            }
            None => Err(self.unknown(member)),
        }
    }

    /// Whether a query has every constant of the action's.
    fn has_constants(&self, query: Option<&str>) -> bool {
        self.mapping.query.iter().all(|(name, member)| match member {
            Member::Param(_) => true,
            Member::Constant(text) => query.unwrap_or_default().split('&').any(|pair| {
                let pair = pair.split_once('=');
                pair.is_some_and(|(member, value)| {
                    value::decode_encoded(member).as_deref() == Some(name)
                        && value::decode_encoded(value).as_ref() == Some(text)
                })
            }),
        })
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
            let member = name;
            let text = value::decode_encoded(text).ok_or_else(|| {
                ParamsInvalid::of(&member, format!("`{member}` in the query is refused: {normal}"))
            })?;
            let Some(name) = self.param_of(&member)?.map(str::to_owned) else {
                if self.mapping.query.get(&member) != Some(&Member::Constant(text)) {
                    let message = format!("`{member}` in the query has one value for `{}`", self.name);
                    return Err(ParamsInvalid::of(&member, message));
                }
                continue;
            };
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
        let whole = |problem: &str| ParamsInvalid::whole(problem.to_owned());
        if self.mapping.body.media() == Some(Media::Form) {
            return self.read_form(body, params);
        }
        let read = json::parse(body)
            .map_err(|error| ParamsInvalid::whole(format!("the body is not valid JSON: {error}")))?;
        if let Body::Layout(_, layout, _) = &self.mapping.body {
            let mut found = Map::new();
            layout.read(&read, &mut found).map_err(whole)?;
            if layout.write(&found).map_err(whole)?.as_ref() != Some(&read) {
                return Err(whole("the body is not laid out as the action's is"));
            }
            params.extend(found);
            return Ok(());
        }
        let Value::Object(members) = read else { return Err(whole("the body is no JSON object")) };
        for (name, value) in members {
            if !self.in_rest(&name) {
                return Err(self.unknown(&name));
            }
            params.insert(name, value);
        }
        Ok(())
    }

    fn read_form(&self, body: &[u8], params: &mut Map<String, Value>) -> Result<(), ParamsInvalid> {
        let whole = |problem: &str| ParamsInvalid::whole(problem.to_owned());
        let pairs = form::decode(body).map_err(whole)?;
        let tree = form::tree(&pairs).map_err(whole)?;
        let mut found = Map::new();
        match &self.mapping.body {
            Body::Layout(_, layout, _) => layout.read(&Value::Object(tree), &mut found).map_err(whole)?,
            _ => match tree.keys().find(|name| !self.in_rest(name)) {
                Some(name) => return Err(self.unknown(name)),
                None => found = tree,
            },
        }
        for (name, value) in found {
            let value = self.typed_within(value, &[name.as_str()]);
            params.insert(name, value);
        }
        if form::pairs(&self.form_members(params)?).map_err(whole)? != pairs {
            return Err(whole("the body is not laid out as the action's is"));
        }
        Ok(())
    }

    /// Texts as the types that the schema states; objects that it states to be lists as lists.
    fn typed_within(&self, value: Value, path: &[&str]) -> Value {
        match value {
            Value::String(text) => typed(text, &self.params_type(path)),
            Value::Object(members) => {
                let is_list = self.params_type(path) == ParamType::List;
                if let Some(items) = form::items(&members).filter(|_| is_list) {
                    let path = [path, &["[]"]].concat();
                    return items.into_iter().map(|item| self.typed_within(item, &path)).collect();
                }
                let members = members.into_iter().map(|(name, value)| {
                    let value = self.typed_within(value, &[path, &[name.as_str()]].concat());
                    (name, value)
                });
                Value::Object(members.collect())
            }
            other => other,
        }
    }

    /// The members of a body that is a form.
    fn form_members(&self, params: &Map<String, Value>) -> Result<Map<String, Value>, ParamsInvalid> {
        let whole = |problem: &str| ParamsInvalid::whole(problem.to_owned());
        match &self.mapping.body {
            Body::Layout(_, layout, _) => match layout.write(params).map_err(whole)? {
                Some(Value::Object(members)) => Ok(members),
                _ => Err(whole("the body has no members")),
            },
            _ => Ok(self.rest(params)),
        }
    }

    /// The parameters that travel under their own names.
    fn rest(&self, params: &Map<String, Value>) -> Map<String, Value> {
        let rest = params.iter().filter(|(name, _)| self.in_rest(name));
        rest.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(super) fn write_body(&self, params: &Map<String, Value>) -> Result<Vec<u8>, ParamsInvalid> {
        let whole = |problem: &str| ParamsInvalid::whole(format!("the body is refused: {problem}"));
        if self.mapping.body.media() == Some(Media::Form) {
            let pairs = form::pairs(&self.form_members(params)?).map_err(whole)?;
            return Ok(form::encode(&pairs).into_bytes());
        }
        let body = match &self.mapping.body {
            Body::Layout(_, layout, _) => {
                layout.write(params).map_err(whole)?.ok_or_else(|| whole("what it is made of is missing"))?
            }
            _ => Value::Object(self.rest(params)),
        };
        serde_json::to_vec(&body)
            .map_err(|error| ParamsInvalid::whole(format!("the parameters are no JSON: {error}")))
    }

    /// Whether two sets of parameters say the same upstream: what travels as text is compared as text.
    pub(super) fn same(&self, one: &Map<String, Value>, another: &Map<String, Value>) -> bool {
        one.len() == another.len()
            && one.iter().zip(another).all(|((name, a), (other, b))| {
                let in_query = self.mapping.rest_in_query() || self.mapping.member_of(name).is_some();
                name == other
                    && if self.in_path(name) || in_query {
                        texts(a) == texts(b)
                    } else if self.mapping.body.media() == Some(Media::Form) {
                        same_texts(a, b)
                    } else {
                        a == b
                    }
            })
    }

    fn write_query(&self, params: &Map<String, Value>, target: &mut String) -> Result<(), ParamsInvalid> {
        let mut separator = '?';
        let mut write = |member: &str, text: &str| {
            target.push(separator);
            separator = '&';
            value::encode(member, target);
            target.push('=');
            value::encode(text, target);
        };
        let rest = params.keys().filter(|name| self.mapping.rest_in_query() && self.in_rest(name));
        let mut members: Vec<&str> = rest.chain(self.mapping.query.keys()).map(String::as_str).collect();
        members.sort_unstable();
        for member in members {
            let name = match self.mapping.query.get(member) {
                Some(Member::Constant(text)) => {
                    write(member, text);
                    continue;
                }
                Some(Member::Param(name)) => name,
                None => member,
            };
            let Some(value) = params.get(name) else { continue };
            let refused = |problem| ParamsInvalid::of(name, format!("`{name}` is refused: {problem}"));
            let problem =
                "a query parameter is a string, number, boolean, or a list of these that is not empty";
            let texts = texts(value).filter(|texts| !texts.is_empty()).ok_or_else(|| refused(problem))?;
            // What stands twice is read by some as the first, by others as the last.
            if value.is_array() && !self.is_list(name) {
                return Err(refused("a list needs `type: array` in the service's `params`"));
            }
            texts.iter().for_each(|text| write(member, text));
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

/// Whether two values are the same as texts of a form.
fn same_texts(one: &Value, another: &Value) -> bool {
    match (one, another) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same_texts(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_texts(a, b))
        }
        (a, b) => value::query_text(a).is_some_and(|a| value::query_text(b) == Some(a)),
    }
}

/// The value of a text where the schema states a type and the text is one of it, else the text.
pub(super) fn typed(text: String, kind: &ParamType) -> Value {
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
mod mapped;
#[cfg(test)]
mod tests;
