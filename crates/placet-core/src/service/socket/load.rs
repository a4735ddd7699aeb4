//! Reads what a definition says of WebSockets, and checks what can be known of it.
//!
//! Invariant: no WebSocket loads without messages, no message without its WebSocket, and no two of which one text could be
//! both.

use super::{Carried, Socket, WebSocket};
use crate::{
    call::Method,
    diagnostic::{Diagnostic, Report, quoted},
    pattern::ActionName,
    service::{
        Effect, PathTemplate, ResourceTemplate, ServiceAction,
        body::{Body, Layout, Media},
        load,
        mapping::{self, Mapping},
        resolve::{self, Around},
        schema::ParamsSchema,
    },
    websocket::is_protocol,
    yaml::{self, MapReading, Node, Reading, Spanned, Yaml},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// Keys of a WebSocket.
pub(in crate::service) const OPENING_KEYS: &[&str] = &["protocols", "refused", "binary", "idle"];
/// Keys of `message`.
pub(in crate::service) const MESSAGE_KEYS: &[&str] = &["of", "match"];
/// Keys of an action that is a message.
pub(in crate::service) const KEYS: &[&str] =
    &["description", "message", "resource", "binds", "effect", "params", "secret", "resolve", "body"];
/// What an action that opens a WebSocket has none of.
const NOT_OPENING: [&str; 6] = ["body", "no_effect", "paging", "response", "status", "stream"];
/// What a place of the agent's message is called in a declared frame.
pub(super) const MESSAGE: &str = "$message";
/// What else stands for something there.
const VARIABLES: [&str; 4] = ["$problem", "$code", "$detail", "$approval"];
/// The most steps of a place that is matched.
const DEEPEST: usize = 8;
/// The longest that nothing may come, in seconds.
const LONGEST_IDLE: u64 = 840;

/// Reads `websocket` of an action.
pub(in crate::service) fn opening(
    it: &Reading<'_>,
    around: &MapReading<'_>,
    method: Option<Method>,
    effect: Option<Effect>,
) -> Option<Socket> {
    let map = it.map()?;
    map.finish(OPENING_KEYS);
    if method.is_some_and(|method| method != Method::Get) {
        it.error("a WebSocket is opened by a GET");
    }
    if effect != Some(Effect::Read) {
        it.error("opening a WebSocket has the effect `read`: what its messages do, their own actions state");
    }
    for key in NOT_OPENING {
        if let Some(at) = around.key_position(key) {
            around.report().error(at, format!("an action that opens a WebSocket has no `{key}`"));
        }
    }
    let mut protocols: Vec<String> = Vec::new();
    for name in map.optional("protocols").and_then(|it| it.strings()).unwrap_or_default() {
        if !is_protocol(&name.value) || protocols.contains(&name.value) {
            let message = format!("{} is no name of a subprotocol, or stands twice", quoted(&name.value));
            around.report().error(name.position, message);
        }
        protocols.push(name.value);
    }
    let refusal = match map.optional("refused") {
        None => None,
        Some(it) => {
            it.map()?;
            let frame = yaml::to_json(it.node());
            if let Some(text) = stray(&frame) {
                let known = [&VARIABLES[..], &["$message/PLACE"]].concat().join("`, `");
                it.error(format!("{} stands for nothing: there are `{known}`", quoted(text)));
                return None;
            }
            Some(frame)
        }
    };
    let idle = match map.optional("idle") {
        None => None,
        Some(it) => Some(resolve::seconds(&it, LONGEST_IDLE)?),
    };
    Some(Socket::Opens(WebSocket { protocols, refusal, binary: load::flag(&map, "binary"), idle }))
}

/// A text of a frame that looks like a variable and is none.
fn stray(frame: &Value) -> Option<&str> {
    match frame {
        Value::String(text) if text.starts_with('$') => {
            let place = text.strip_prefix(MESSAGE).is_some_and(|at| at.is_empty() || at.starts_with('/'));
            (!place && !VARIABLES.contains(&text.as_str())).then_some(text)
        }
        Value::Array(items) => items.iter().find_map(stray),
        Value::Object(members) => members.values().find_map(stray),
        _ => None,
    }
}

/// What an action that is a message needs of the one that opens its WebSocket.
struct Opening {
    path: PathTemplate,
    slash: bool,
}

/// Finds it among the actions, as they are written.
fn sibling(actions: &Node, name: &str) -> Option<Opening> {
    let node = actions.get(name)?;
    node.get("websocket")?;
    let Yaml::String(path) = &node.get("path")?.value else { return None };
    let slash = matches!(node.get("encoded_slash").map(|node| &node.value), Some(Yaml::Bool(true)));
    Some(Opening { path: PathTemplate::parse(path).ok()?, slash })
}

/// Reads an action that is a message.
pub(in crate::service) fn message(
    map: &MapReading<'_>,
    key: &Spanned<String>,
    name: Option<ActionName>,
    slash: bool,
    actions: &Node,
) -> Option<ServiceAction> {
    map.finish(KEYS);
    let description = load::description(map);
    let resource_at = map.required("resource");
    let resource = resource_at.as_ref().and_then(|it| load::template(it, ResourceTemplate::parse));
    let schema = map.optional("params").map(|it| load::schema(&it, map.report()));
    let binds = load::names(map, "binds");
    let secret = load::names(map, "secret");
    let effect = load::effect(map, key);
    let carried = map.required("message").and_then(|it| carried(&it, actions));
    let schema = match schema {
        None => None,
        Some(schema) => Some(schema?),
    };
    let (carried, opening) = carried?;
    let (path, resource) = (opening.path, resource?);
    let at = resource_at.map_or(key.position, |it| it.position());
    let mut all: Vec<String> = path.variables().map(str::to_owned).collect();
    all.extend(schema.iter().flat_map(ParamsSchema::properties).map(str::to_owned));
    all.sort_unstable();
    all.dedup();
    load::check_names(map.report(), at, &resource, &path, &all, &binds, &secret);
    let opened: Vec<&str> = path.variables().collect();
    let required: Vec<&str> = schema.iter().flat_map(ParamsSchema::required).collect();
    let around = mapping::Around {
        method: Method::Post,
        stream: false,
        names: &all,
        path: &opened,
        required: &required,
    };
    let mapping = Mapping::load(map, &around)?;
    let layout = laid_out(map, mapping, &carried, &around)?;
    let bound: Vec<String> = binds.into_iter().map(|bind| bind.value).collect();
    let known = |name: &&str| opened.contains(name) || bound.iter().any(|bind| bind == name);
    let mut claimed: Vec<String> =
        resource.variables().filter(|name| !known(name)).map(str::to_owned).collect();
    claimed.sort_unstable();
    claimed.dedup();
    let resolve = match map.optional("resolve") {
        None => Vec::new(),
        Some(it) => {
            let settled: Vec<&str> = opened.iter().copied().chain(bound.iter().map(String::as_str)).collect();
            resolve::load(&it, &Around { names: &all, settled: &settled, secret: &secret, tables: None })?
        }
    };
    Some(ServiceAction {
        name: name?,
        description,
        method: Method::Get,
        effect,
        path,
        resource,
        binds: bound,
        claimed,
        schema,
        names: all,
        no_effect: Vec::new(),
        secret: secret.into_iter().map(|it| it.value).collect(),
        encoded_slash: slash || opening.slash,
        status: None,
        members: None,
        row_limit: None,
        trusted: None,
        resolve,
        stream: false,
        mapping: Mapping { query: BTreeMap::new(), body: layout },
        headers: Vec::new(),
        paging: None,
        tool: None,
        statement: None,
        socket: Some(Socket::Carried(carried)),
    })
}

fn carried(it: &Reading<'_>, actions: &Node) -> Option<(Carried, Opening)> {
    let map = it.map()?;
    map.finish(MESSAGE_KEYS);
    let matched = map.required("match").and_then(|it| places(&it));
    let of = map.required("of")?;
    let text = of.string()?;
    let Some(opening) = sibling(actions, text) else {
        let openings = match &actions.value {
            Yaml::Map(entries) => entries.iter(),
            _ => [].iter(),
        };
        let openings = openings.filter(|(_, node)| node.get("websocket").is_some());
        let message = format!("{} is no action of this service that opens a WebSocket", quoted(text));
        let near = openings.map(|(key, _)| key.value.as_str());
        it.report().add(Diagnostic::error(message).at(of.position()).suggest(text, near));
        return None;
    };
    let name = ActionName::parse(text).ok()?;
    Some((Carried { of: name, matches: matched? }, opening))
}

/// Reads `match`: JSON pointers, through members only, with the values that stand there.
fn places(it: &Reading<'_>) -> Option<Vec<(Vec<String>, Value)>> {
    let mut found: Vec<(Vec<String>, Value)> = Vec::new();
    for (key, it) in it.map()?.entries() {
        let steps: Option<Vec<String>> = key
            .value
            .strip_prefix('/')
            .map(|rest| rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect());
        let Some(steps) =
            steps.filter(|steps| steps.len() <= DEEPEST && steps.iter().all(|it| !it.is_empty()))
        else {
            let message = format!(
                "{} is no place of a message: write `/member` or `/member/member`",
                quoted(&key.value)
            );
            it.report().error(key.position, message);
            return None;
        };
        let value = yaml::to_json(it.node());
        if !matches!(value, Value::String(_) | Value::Bool(_) | Value::Number(_)) {
            return it.refuse("a string, a number or a boolean", None);
        }
        found.push((steps, value));
    }
    if found.is_empty() {
        it.error("`match` says at least one value by which a message is known");
        return None;
    }
    Some(found)
}

/// The layout of a message: that of its `body`, or its parameters as members, with the values that it is known by.
fn laid_out(
    map: &MapReading<'_>,
    mapping: Mapping,
    carried: &Carried,
    around: &mapping::Around<'_>,
) -> Option<Body> {
    let at = map.key_position("message").unwrap_or_else(|| map.position());
    let refuse = |message: String| {
        map.report().error(at, message);
        None
    };
    let mut members = match mapping.body {
        Body::Rest(Media::Json) => {
            let rest = around.names.iter().filter(|name| !around.path.contains(&name.as_str()));
            rest.map(|name| (name.clone(), Layout::Place(name.clone()))).collect()
        }
        Body::Layout(Media::Json, Layout::Object(members), _) => members,
        _ => return refuse("a message is a JSON object: `body` is `{json: {…}}`, or left out".to_owned()),
    };
    for (steps, value) in &carried.matches {
        if !insert(&mut members, steps, value) {
            let place = format!("/{}", steps.join("/"));
            return refuse(format!("{} of `match` is also a place for something else", quoted(&place)));
        }
    }
    let members = members.into_iter().map(|(name, part)| (name, folded(part))).collect();
    let layout = Layout::Object(members);
    let constants = layout.constants(around.required);
    for (steps, value) in &carried.matches {
        let always = constants.iter().any(|(path, constant)| {
            let below = steps.strip_prefix(path.as_slice());
            let mut at = below.map(|_| constant);
            for step in below.unwrap_or_default() {
                at = at.and_then(|at| at.get(step));
            }
            at == Some(value)
        });
        if !always {
            let place = quoted(&format!("/{}", steps.join("/")));
            return refuse(format!(
                "{place} of `match` stands among parameters that need not be given, without which it would be left out"
            ));
        }
    }
    Some(Body::Layout(Media::Json, layout, constants))
}

/// Puts a value where it stands; answers whether there was room for it.
fn insert(members: &mut BTreeMap<String, Layout>, steps: &[String], value: &Value) -> bool {
    let Some((first, rest)) = steps.split_first() else { return false };
    if rest.is_empty() {
        return match members.entry(first.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Layout::Constant(value.clone()));
                true
            }
            Entry::Occupied(entry) => *entry.get() == Layout::Constant(value.clone()),
        };
    }
    let part = members.entry(first.clone()).or_insert_with(|| Layout::Object(BTreeMap::new()));
    if let Layout::Constant(Value::Object(constants)) = part {
        let parts = constants.iter().map(|(name, value)| (name.clone(), Layout::Constant(value.clone())));
        *part = Layout::Object(parts.collect());
    }
    match part {
        Layout::Object(members) => insert(members, rest, value),
        _ => false,
    }
}

/// Objects without parameters as the constants that they are.
fn folded(part: Layout) -> Layout {
    let Layout::Object(members) = part else { return part };
    let members: BTreeMap<String, Layout> =
        members.into_iter().map(|(name, part)| (name, folded(part))).collect();
    let constants: Option<serde_json::Map<String, Value>> = members
        .iter()
        .map(|(name, part)| match part {
            Layout::Constant(value) => Some((name.clone(), value.clone())),
            _ => None,
        })
        .collect();
    match constants {
        Some(constants) => Layout::Constant(Value::Object(constants)),
        None => Layout::Object(members),
    }
}

/// Refuses a WebSocket on which nothing can be said.
pub(in crate::service) fn check(
    report: &Report,
    key: &Spanned<String>,
    name: &ActionName,
    actions: &BTreeMap<ActionName, ServiceAction>,
) {
    let opens = actions.get(name).is_some_and(|action| action.websocket().is_some());
    let mut messages = actions.values().filter_map(ServiceAction::carried);
    if opens && !messages.any(|carried| carried.of == *name) {
        let diagnostic =
            Diagnostic::error(format!("`{name}` opens a WebSocket on which no message is an action"));
        let help = format!("declare one: `message: {{of: {name}, match: {{/type: …}}}}`");
        report.add(diagnostic.at(key.position).help(help));
    }
}

/// How long nothing may come where nothing is stated.
pub const IDLE: Duration = Duration::from_secs(60);
