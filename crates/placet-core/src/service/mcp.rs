//! Upstreams that are servers of the Model Context Protocol: their actions are the tools that somebody has pinned.
//!
//! A definition states where the server is (`mcp`), what an administrator says of its tools (`tools`), and what was
//! accepted of what the server says itself (`pins`: description, schemas, annotations). An action exists where there is a
//! pin, and its parameters are the pinned schema's. `pins` is written by the server when somebody accepts tools
//! ([`Pins::written`]), so that a version of a definition means the same for ever.
//!
//! Prompts are pinned as tools are; what else of a server can be an action is told in `part`.
//!
//! Invariant: nothing that an upstream says makes an action, or changes one: it has to be accepted first, in full. What
//! it says of effects is never believed; a tool of another name has no pin.

mod load;
mod part;
mod uri;

use load::offered;
pub(super) use load::{Settings, read};
pub use part::Part;
pub(super) use part::{URI, uri_text};

use super::{
    MAX_ACTIONS, ParamsInvalid, Service, ServiceAction,
    body::{Body, Media},
    mapping,
};
use crate::{
    call::{Method, UpstreamCall},
    diagnostic::{Diagnostic, Position, quoted},
    json,
    mcp::repeated::Repeated,
    pattern::ActionName,
    secret::sha256,
    yaml::{self, Node, Spanned, Yaml},
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The keys of a definition whose upstream is an MCP server.
pub(super) const KEYS: &[&str] = &[
    "service",
    "description",
    "mcp",
    "auth",
    "allow_private",
    "headers",
    "tools",
    "prompts",
    "resources",
    "pins",
];
/// Of `resources`.
pub(super) const RESOURCES_KEYS: &[&str] = &["effect", "encoded_slash"];
/// Of `mcp`.
pub(super) const SERVER_KEYS: &[&str] = &["url", "command"];
/// Of one tool in `tools`.
pub(super) const TOOL_KEYS: &[&str] = &[
    "name",
    "description",
    "effect",
    "resource",
    "binds",
    "no_effect",
    "secret",
    "encoded_slash",
    "response",
];
/// What is pinned of a tool, besides its name.
const PINNED: &[&str] = &["title", "description", "inputSchema", "outputSchema", "annotations"];
/// What is pinned of a prompt, besides its name.
const PINNED_OF_PROMPT: &[&str] = &["title", "description", "arguments"];
/// The longest definition of one tool that is taken, in bytes.
pub const MAX_DEFINITION: usize = 64 * 1024;
/// The scheme of servers that are programs.
const PROCESS: &str = "stdio://";
/// Statuses after which nothing has happened: the server has refused the request itself.
const REFUSED: [u16; 4] = [400, 401, 404, 405];

/// A tool or a prompt as it was pinned, or another [`Part`] of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    part: Part,
    name: String,
    definition: Value,
    /// Its arguments that headers repeat.
    repeated: Vec<Repeated>,
}

impl Tool {
    /// Its name at the upstream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arguments that headers repeat.
    pub fn repeated(&self) -> &[Repeated] {
        &self.repeated
    }

    /// What was accepted of it.
    pub fn definition(&self) -> &Value {
        &self.definition
    }
}

/// Definitions of tools by their names, and of prompts by theirs behind `prompts/`: what a server says of them, as far as it
/// counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pins(pub BTreeMap<String, Value>);

/// How a tool of an upstream stands to what was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is what was accepted.
    Pinned,
    /// It says something else than what was accepted: it can't be called until somebody has looked at it.
    Changed,
    /// Nobody has accepted it.
    New,
    /// It was accepted, and the server has it no more.
    Gone,
}

impl Standing {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// One tool of an upstream, for whoever has to look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Its name at the upstream.
    pub tool: String,
    /// The action that it is or would be.
    pub action: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// What names exactly this definition of it at this server, to accept it by.
    pub digest: String,
    /// Why it can't be accepted, where it can't.
    pub problem: Option<String>,
    /// What the server says of it now; of one that is gone, what it said.
    pub definition: Value,
}

impl Pins {
    /// What a server answers to `tools/list` and `prompts/list` (all pages), as far as it is pinned.
    ///
    /// # Errors
    /// A sentence: what of it is no such list, or says two things of one.
    pub fn of_listing(tools: &[Value], prompts: &[Value]) -> Result<Self, String> {
        let count = tools.len().saturating_add(prompts.len());
        if count > MAX_ACTIONS {
            return Err(format!("it has {count} tools and prompts, and at most {MAX_ACTIONS} are taken"));
        }
        let mut all = BTreeMap::new();
        for (what, said, prefix, pinned) in
            [("tool", tools, "", PINNED), ("prompt", prompts, part::PROMPT, PINNED_OF_PROMPT)]
        {
            for one in said {
                let (name, definition) = told(one, pinned).map_err(|why| format!("a {what} {why}"))?;
                if prefix.is_empty() && name.starts_with(part::PROMPT) {
                    return Err(format!("the tool {} has a prompt's name", quoted(name)));
                }
                if all.insert(format!("{prefix}{name}"), definition).is_some() {
                    return Err(format!("it has two {what}s of the name {}", quoted(name)));
                }
            }
        }
        Ok(Self(all))
    }

    /// The text of a definition with these pins in the place of its own. A text in YAML keeps all that stands around
    /// them; one in JSON is written anew.
    ///
    /// # Errors
    /// What is wrong with the text, or that these pins can't be kept.
    pub fn written(&self, text: &str, file: Option<&str>) -> Result<String, Vec<Diagnostic>> {
        let (node, report) = yaml::parse(text.as_bytes(), file)?;
        let written = match &node.value {
            Yaml::Map(entries) if is_block(text, entries) => {
                let mut out = without_pins(text, entries);
                if !self.0.is_empty() {
                    out.push_str("pins:\n");
                    for (name, definition) in &self.0 {
                        let (name, definition) =
                            (ascii(&Value::from(name.as_str()), true), ascii(definition, true));
                        out.push_str(&format!("  {name}: {definition}\n"));
                    }
                }
                out
            }
            _ => {
                let mut whole = yaml::to_json(&node);
                if let Some(members) = whole.as_object_mut() {
                    members.remove("pins");
                    if !self.0.is_empty() {
                        members
                            .insert("pins".into(), self.0.clone().into_iter().collect::<Map<_, _>>().into());
                    }
                }
                ascii(&whole, false)
            }
        };
        // What is kept is read again and again; that it says the same is not left to a proof.
        let (again, _) = yaml::parse(written.as_bytes(), file)?;
        let same = |key: &str| again.get(key).map(yaml::to_json) == node.get(key).map(yaml::to_json);
        let kept = again.get("pins").map(yaml::to_json).unwrap_or_else(|| json!({}));
        let wanted = Value::Object(self.0.clone().into_iter().collect());
        let others = KEYS.iter().filter(|key| **key != "pins").all(|key| same(key));
        if others && kept == wanted {
            return Ok(written);
        }
        report.error(
            node.position,
            "the pins can't be kept in this document: write it in plain YAML or in JSON",
        );
        Err(report.into_diagnostics())
    }
}

/// The name of something that is listed, and what is pinned of it.
fn told<'a>(one: &'a Value, pinned: &[&str]) -> Result<(&'a str, Value), String> {
    let name = one.get("name").and_then(Value::as_str).ok_or("has no name")?;
    let short: String = name.chars().take(128).collect();
    if name.is_empty() || short.len() < name.len() {
        return Err(format!("has a name of 1 to 128 characters, and not {}", quoted(&short)));
    }
    let said = one.as_object().into_iter().flatten();
    let kept = said.filter(|(key, _)| pinned.contains(&key.as_str()));
    Ok((name, Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())))
}

/// Whether a document is a map of which each key begins a line.
fn is_block(text: &str, entries: &[(Spanned<String>, Node)]) -> bool {
    let plain = |(key, _): &(Spanned<String>, Node)| {
        let line = text.lines().nth(key.position.line.saturating_sub(1)).unwrap_or_default();
        line.starts_with(key.value.as_str()) || line.starts_with('"')
    };
    !text.trim_start().starts_with('{')
        && !text.lines().any(|line| line == "..." || line == "---")
        && entries.iter().all(plain)
}

/// The lines of a document but for those of `pins`, ended.
fn without_pins(text: &str, entries: &[(Spanned<String>, Node)]) -> String {
    let line_of = |key: &Spanned<String>| key.position.line.saturating_sub(1);
    let from = entries.iter().find(|(key, _)| key.value == "pins").map(|(key, _)| line_of(key));
    let until = from.map(|from| {
        let next = entries.iter().map(|(key, _)| line_of(key)).filter(|line| *line > from).min();
        next.unwrap_or(usize::MAX)
    });
    let left = |index: usize| !from.zip(until).is_some_and(|(from, until)| (from..until).contains(&index));
    let mut out = String::with_capacity(text.len());
    for (_, line) in text.lines().enumerate().filter(|(index, _)| left(*index)) {
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// JSON with nothing but ASCII in it as YAML reads it, which names letters beyond the first plane in a form of its own;
/// in JSON these stay as they are.
fn ascii(value: &Value, yaml: bool) -> String {
    let mut out = String::new();
    for letter in value.to_string().chars() {
        match u32::from(letter) {
            0x20..0x7f => out.push(letter),
            code @ 0..0x1_0000 => out.push_str(&format!("\\u{code:04x}")),
            code if yaml => out.push_str(&format!("\\U{code:08x}")),
            _ => out.push(letter),
        }
    }
    out
}

impl Service {
    /// What was accepted of its tools.
    pub fn pins(&self) -> Pins {
        let all = self.actions.values().filter_map(|action| action.tool.as_ref());
        let pinned = all.filter(|tool| tool.part.is_pinned());
        Pins(pinned.map(|tool| (tool.key(), tool.definition.clone())).collect())
    }

    /// What names exactly this definition of a tool at this server.
    pub fn tool_digest(&self, tool: &str, definition: &Value) -> String {
        let whole = json!({"server": self.server(), "name": tool, "definition": definition});
        // Of a number with a fraction there is no canonical form; it counts as it was written.
        let text = json::canonical(&whole).unwrap_or_else(|_| whole.to_string().into_bytes());
        sha256(&[&text]).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What it is that is asked for tools: a pin is good for no other.
    pub fn server(&self) -> String {
        format!("{}{}", self.origin, self.base_path)
    }

    /// The command whose process the server is, where it is one: a name that the operator lists.
    pub fn command(&self) -> Option<&str> {
        self.origin.strip_prefix(PROCESS)
    }

    /// How the tools that the server has now stand to the pins.
    pub fn observe(&self, now: &Pins) -> Vec<Observed> {
        let pinned = self.pins();
        let names: BTreeSet<&String> = now.0.keys().chain(pinned.0.keys()).collect();
        let one = |name: &String| {
            let (said, kept) = (now.0.get(name), pinned.0.get(name));
            let standing = match (said, kept) {
                (Some(said), Some(kept)) if said == kept => Standing::Pinned,
                (Some(_), Some(_)) => Standing::Changed,
                (Some(_), None) => Standing::New,
                (None, _) => Standing::Gone,
            };
            let definition = said.or(kept).cloned().unwrap_or_default();
            let found = offered(&self.name, name, self.settings.get(name), &definition, &self.headers);
            let digest = self.tool_digest(name, &definition);
            let action = found.as_ref().ok().map(|action| action.name.as_str().to_owned());
            Observed { tool: name.clone(), action, standing, digest, problem: found.err(), definition }
        };
        names.into_iter().map(one).collect()
    }

    /// The actions whose tools are not what was accepted, by what the server has now; all of them where it is not known
    /// what it has.
    pub fn quarantined(&self, now: Option<&Pins>) -> BTreeSet<ActionName> {
        let differs = |tool: &Tool| {
            tool.part.is_pinned() && now.is_none_or(|now| now.0.get(&tool.key()) != Some(&tool.definition))
        };
        let tools = self.actions.values().filter(|action| action.tool.as_ref().is_some_and(differs));
        tools.map(|action| action.name.clone()).collect()
    }

    /// Whom to ask which tools there are: a call without a message.
    pub fn asked_for_tools(&self) -> UpstreamCall {
        let mut fixed = Vec::new();
        mapping::sent(&mut fixed, &self.headers, &Body::Rest(Media::Json));
        UpstreamCall {
            method: Method::Post,
            origin: self.origin.clone(),
            target: self.endpoint(),
            headers: Vec::new(),
            fixed,
            body: None,
            streamed: false,
        }
    }

    /// The call of a tool: the message as it is sent, but for what belongs to the connection (its id, the session).
    pub(super) fn render_tool(
        &self,
        action: &ServiceAction,
        tool: &Tool,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        action.values(params)?;
        let body = serde_json::to_vec(&tool.message(params))
            .map_err(|error| ParamsInvalid::whole(format!("the parameters are no JSON: {error}")))?;
        let call = UpstreamCall {
            method: Method::Post,
            origin: self.origin.clone(),
            target: self.endpoint(),
            headers: Vec::new(),
            fixed: tool.headers(&action.headers, params),
            body: Some(body),
            streamed: false,
        };
        match self.describe_tool(&call) {
            Some((name, back)) if name == action.name && back == *params => Ok(call),
            _ => Err(ParamsInvalid::whole("the call would not say the same as the parameters".to_owned())),
        }
    }

    /// The tool that a call is of, and its arguments; `None` where it is not written as it is written here.
    pub(super) fn describe_tool(&self, call: &UpstreamCall) -> Option<(ActionName, Map<String, Value>)> {
        let body = call.body.as_deref()?;
        let message = json::parse(body).ok()?;
        let mut all = self.actions.values().filter_map(|action| Some((action, action.tool.as_ref()?)));
        let (action, tool, params) =
            all.find_map(|(action, tool)| Some((action, tool, tool.params_of(&message)?)))?;
        let same = tool.message(&params);
        let fits = call.origin == self.origin
            && call.target == self.endpoint()
            && call.method == Method::Post
            && call.headers.is_empty()
            && call.fixed == tool.headers(&action.headers, &params)
            && !call.streamed
            && serde_json::to_vec(&same).ok().as_deref() == Some(body);
        fits.then(|| (action.name.clone(), params))
    }

    fn endpoint(&self) -> String {
        if self.base_path.is_empty() { "/".to_owned() } else { self.base_path.clone() }
    }
}

/// Where a definition names its server.
pub(super) fn position_of(node: &Node) -> Position {
    node.get("mcp").and_then(|server| server.get("url")).map_or(Position::START, |node| node.position)
}

#[cfg(test)]
mod tests;
