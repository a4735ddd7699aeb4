//! What of an MCP server an action is: a tool or a prompt that was pinned, or one of the ways to its resources, which are
//! there where a definition states `resources`.
//!
//! Prompts are instructions to models, as the descriptions of tools are, and so pinned like them. What resources hold is
//! data, which changes; which of them may be read is for rules to say, by their URIs.
//!
//! Invariant: the URI of a resource reaches rules as one segment, in the one spelling that it has (`uri`).

use super::{
    REFUSED, Tool,
    uri::{self, MAX_URI},
};
use crate::{
    call::Method,
    pattern::ActionName,
    service::{
        Effect, PathTemplate, ResourceTemplate, ServiceAction,
        body::{Body, Media},
        mapping::{self, Mapping},
        schema::ParamsSchema,
    },
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// What the name of a prompt among the pins begins with: no tool's name does.
pub(super) const PROMPT: &str = "prompts/";
/// The parameter that is the URI of a resource.
pub(in crate::service) const URI: &str = "uri";

/// What of an MCP server an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A tool (`tools/call`).
    Tool,
    /// A prompt (`prompts/get`).
    Prompt,
    /// Which resources there are (`resources/list`).
    Resources,
    /// Which templates of resources there are (`resources/templates/list`).
    Templates,
    /// A resource (`resources/read`).
    Resource,
    /// Values for an argument of a prompt (`completion/complete`).
    PromptCompletion,
    /// Values for a variable of a template (`completion/complete`).
    ResourceCompletion,
}

impl Part {
    /// The ways to resources, and what is behind the service's name in the names of their actions.
    const OF_RESOURCES: [(Self, &'static str); 4] = [
        (Self::Resources, "resources.list"),
        (Self::Templates, "resources.templates"),
        (Self::Resource, "resources.read"),
        (Self::ResourceCompletion, "resources.complete"),
    ];

    /// Whether what its server tells are members, each of which the agent may use or not.
    pub(crate) const fn tells_members(self) -> bool {
        matches!(self, Self::Resources | Self::PromptCompletion | Self::ResourceCompletion)
    }

    /// The method of its messages.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tool => "tools/call",
            Self::Prompt => "prompts/get",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
            Self::Resource => "resources/read",
            Self::PromptCompletion | Self::ResourceCompletion => "completion/complete",
        }
    }

    /// Whether somebody has to accept what the server says of it.
    pub(super) const fn is_pinned(self) -> bool {
        matches!(self, Self::Tool | Self::Prompt)
    }

    /// What is behind the service's name in the name of its action, where that is no server's to say.
    pub fn action(self, service: &str) -> Option<ActionName> {
        let own = match self {
            Self::PromptCompletion => COMPLETE_PROMPT,
            part => Self::OF_RESOURCES.iter().find(|(one, _)| *one == part)?.1,
        };
        ActionName::parse(&format!("{service}.{own}")).ok()
    }
}

/// Behind the service's name in that of [`Part::PromptCompletion`].
const COMPLETE_PROMPT: &str = "prompts.complete";

impl Tool {
    /// What of its server it is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Its name among the pins.
    pub(super) fn key(&self) -> String {
        match self.part {
            Part::Prompt => format!("{PROMPT}{}", self.name),
            _ => self.name.clone(),
        }
    }

    /// The message that carries it out.
    pub(super) fn message(&self, params: &Map<String, Value>) -> Value {
        let params = match self.part {
            Part::Tool | Part::Prompt => json!({"name": self.name, "arguments": params}),
            _ => Value::Object(params.clone()),
        };
        json!({"jsonrpc": "2.0", "method": self.part.method(), "params": params})
    }

    /// The constant headers, and those that repeat arguments.
    pub(super) fn headers(
        &self,
        constant: &[(String, String)],
        params: &Map<String, Value>,
    ) -> Vec<(String, String)> {
        let repeated = self.repeated.iter().filter_map(|one| Some((one.header.clone(), one.sent(params)?)));
        constant.iter().cloned().chain(repeated).collect()
    }

    /// The parameters that a message carries it out with, if it does.
    pub(super) fn params_of(&self, message: &Value) -> Option<Map<String, Value>> {
        let params = message.get("params")?.as_object()?;
        let of = |kind: &str| params.get("ref").is_some_and(|it| it.get("type").is_some_and(|it| it == kind));
        let is_this = match self.part {
            Part::Tool | Part::Prompt => params.get("name")? == self.name.as_str(),
            Part::PromptCompletion => of("ref/prompt"),
            Part::ResourceCompletion => of("ref/resource"),
            Part::Resources | Part::Templates | Part::Resource => true,
        };
        let method = message.get("method").is_some_and(|method| method == self.part.method());
        (is_this && method).then_some(())?;
        match self.part {
            Part::Tool | Part::Prompt => params.get("arguments")?.as_object().cloned(),
            _ => Some(params.clone()),
        }
    }
}

/// The JSON Schema of the arguments that a prompt declares: texts, and no others.
///
/// # Errors
/// A sentence: what of it are no arguments.
pub(super) fn schema_of_prompt(definition: &Value) -> Result<Value, String> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let declared = match definition.get("arguments") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(declared)) => declared,
        Some(_) => return Err("its `arguments` are no list".to_owned()),
    };
    for one in declared {
        let name = one.get("name").and_then(Value::as_str).ok_or("an argument of it has no name")?;
        let mut text = json!({"type": "string"});
        if let (Some(said), Some(text)) =
            (one.get("description").filter(|it| it.is_string()), text.as_object_mut())
        {
            text.insert("description".into(), said.clone());
        }
        if properties.insert(name.to_owned(), text).is_some() {
            return Err(format!("it has two arguments of the name {}", crate::diagnostic::quoted(name)));
        }
        if one.get("required") == Some(&Value::Bool(true)) {
            required.push(Value::from(name));
        }
    }
    Ok(json!({"type": "object", "properties": properties, "required": required}))
}

/// The ways to the resources of a service.
pub(super) fn of_resources(
    service: &str,
    effect: Option<Effect>,
    slash: bool,
    headers: &[(String, String)],
) -> Result<Vec<ServiceAction>, String> {
    Part::OF_RESOURCES.iter().map(|(part, _)| way(service, *part, effect, slash, headers)).collect()
}

/// The way to values for arguments of prompts.
pub(super) fn of_prompts(service: &str, headers: &[(String, String)]) -> Result<ServiceAction, String> {
    way(service, Part::PromptCompletion, Some(Effect::Read), false, headers)
}

fn way(
    service: &str,
    part: Part,
    effect: Option<Effect>,
    slash: bool,
    headers: &[(String, String)],
) -> Result<ServiceAction, String> {
    let text = || json!({"type": "string", "maxLength": MAX_URI});
    let object = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let completed = |kind: &str, named: &str| {
        let reference = object(json!({"type": {"const": kind}, named: text()}), &["type", named]);
        let argument = object(json!({"name": text(), "value": text()}), &["name", "value"]);
        let known = json!({"type": "object", "additionalProperties": text()});
        let context = object(json!({"arguments": known}), &[]);
        object(json!({"ref": reference, "argument": argument, "context": context}), &["ref", "argument"])
    };
    let (resource, about, schema) = match part {
        Part::Resources => ("resources", "Lists resources", object(json!({"cursor": text()}), &[])),
        Part::Templates => {
            ("resources", "Lists templates of resources", object(json!({"cursor": text()}), &[]))
        }
        Part::Resource => ("resources/{uri}", "Reads a resource", object(json!({URI: text()}), &[URI])),
        Part::ResourceCompletion => {
            ("resources", "Completes a variable of a template", completed("ref/resource", URI))
        }
        _ => ("prompts", "Completes an argument of a prompt", completed("ref/prompt", "name")),
    };
    let names = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
    names.sort_unstable();
    let failed = |what: &str| format!("`{about}` can't be an action: {what}");
    let schema = ParamsSchema::pinned(schema).map_err(|error| failed(&error.message))?;
    let resource = ResourceTemplate::parse(&format!("mcp://{service}/{resource}"));
    let name = part.action(service).ok_or_else(|| failed("its name"))?;
    let tool = Tool { part, name: String::new(), definition: Value::Null, repeated: Vec::new() };
    Ok(ServiceAction {
        description: Some(format!("{about} of {service}")),
        effect,
        // What is read is what is named: the server itself knows no other.
        binds: if part == Part::Resource { vec![URI.to_owned()] } else { Vec::new() },
        names,
        encoded_slash: slash,
        ..by_message(name, resource.map_err(|error| error.message)?, schema, headers, tool)?
    })
}

/// An action that is asked of the server by a message: its parameters are the message's.
pub(super) fn by_message(
    name: ActionName,
    resource: ResourceTemplate,
    schema: ParamsSchema,
    headers: &[(String, String)],
    tool: Tool,
) -> Result<ServiceAction, String> {
    let mut sent = Vec::new();
    mapping::sent(&mut sent, headers, &Body::Rest(Media::Json));
    Ok(ServiceAction {
        name,
        description: None,
        method: Method::Post,
        effect: None,
        path: PathTemplate::parse("/").map_err(|error| error.message)?,
        resource,
        binds: Vec::new(),
        claimed: Vec::new(),
        schema: Some(schema),
        names: Vec::new(),
        no_effect: REFUSED.to_vec(),
        secret: Vec::new(),
        encoded_slash: false,
        status: None,
        members: None,
        row_limit: None,
        trusted: None,
        resolve: Vec::new(),
        stream: false,
        mapping: Mapping { query: BTreeMap::new(), body: Body::Rest(Media::Json) },
        headers: sent,
        paging: None,
        tool: Some(tool),
        statement: None,
        socket: None,
    })
}

/// The URI of a resource as the text of a segment. `slash`: an encoded slash is no slash to its server.
///
/// # Errors
/// Why it is refused.
pub(in crate::service) fn uri_text(value: &Value, slash: bool) -> Result<String, Cow<'static, str>> {
    let text = value.as_str().ok_or("it must be a string")?;
    uri::check(text, slash)?;
    Ok(text.to_owned())
}
