//! Reading a definition whose upstream is an MCP server: what an administrator says of its tools and prompts, and the
//! actions that its pins are.
//!
//! Invariant: no tool or prompt without a pin is an action; what the server says of effects is told and not believed.

use super::{
    super::{
        Effect, Kind, MAX_ACTIONS, ResourceTemplate, Service, ServiceAction, UploadPace, load, mapping,
        members::Response, schema::ParamsSchema,
    },
    KEYS, MAX_DEFINITION, PROCESS, Part, RESOURCES_KEYS, SERVER_KEYS, TOOL_KEYS, Tool, part,
};
use crate::{
    call::Auth,
    diagnostic::{Diagnostic, quoted},
    mcp::repeated,
    pattern::ActionName,
    yaml::{self, MapReading, Reading, Spanned},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names of actions that are not tools' begin with these.
const RESERVED: &[&str] = &["resources", "prompts"];

/// What an administrator says of a tool.
#[derive(Debug, Clone, Default)]
pub(in crate::service) struct Settings {
    name: Option<String>,
    description: Option<String>,
    effect: Option<Effect>,
    resource: Option<ResourceTemplate>,
    binds: Vec<String>,
    no_effect: Option<Vec<u16>>,
    secret: Vec<String>,
    slash: bool,
    response: Response,
}

/// Reads a definition whose upstream is an MCP server.
pub(in crate::service) fn read(map: &MapReading<'_>, server: &Reading<'_>) -> Option<Service> {
    map.finish(KEYS);
    let report = map.report();
    let name = map.required("service").and_then(|it| load::name(&it));
    let allow_private = load::flag(map, "allow_private");
    let at = server.map().and_then(|server| place_of(&server, allow_private));
    let is_process = server.node().get("command").is_some();
    // A process has its secret in its environment, as the operator says there.
    let auth = match map.optional("auth") {
        Some(it) if is_process => {
            it.error("a command is given its secret as the operator says who lists it: leave out `auth`");
            None
        }
        None if is_process => Some(Auth::Bearer),
        _ => map.required("auth").and_then(|it| load::auth(&it)),
    };
    let headers = mapping::headers(map);
    if let (Some(auth), Some(at)) = (&auth, map.key_position("auth"))
        && mapping::carries(&headers, auth)
    {
        report.error(at, "the header that carries the credential can't be among constant `headers`");
    }
    let settings = settings(map);
    let pins = map.optional("pins").and_then(|it| it.map());
    let count = pins.as_ref().map_or(0, |pins| pins.entries().count());
    if count > MAX_ACTIONS {
        report.error(map.position(), format!("a service has at most {MAX_ACTIONS} tools, not {count}"));
        return None;
    }
    let name = name?;
    let mut actions = pinned(map, pins.as_ref(), &name, &settings, &headers);
    for action in beside(map, &name, &actions, &headers) {
        if let (Some(other), Some(at)) =
            (actions.insert(action.name.clone(), action), map.key_position("pins"))
        {
            report.error(at, format!("a tool or prompt can't be `{}`: give it another `name`", other.name));
        }
    }
    warn_of_unpinned(map, pins.as_ref());
    let (origin, base_path) = at?;
    Some(Service {
        timeout: None,
        concurrency: None,
        upload: UploadPace::default(),
        name,
        description: load::description(map),
        kind: Kind::Mcp,
        origin,
        base_path,
        auth: auth?,
        allow_private,
        headers,
        actions,
        check: None,
        settings,
    })
}

/// What an administrator says of tools and prompts, by the keys of their pins.
fn settings(map: &MapReading<'_>) -> BTreeMap<String, Settings> {
    let mut settings = BTreeMap::new();
    for (stated, prefix) in [("tools", ""), ("prompts", part::PROMPT)] {
        for (key, it) in map.optional(stated).and_then(|it| it.map()).iter().flat_map(MapReading::entries) {
            if let Some(read) = it.map().and_then(|map| tool(&map)) {
                settings.insert(format!("{prefix}{}", key.value), read);
            }
        }
    }
    settings
}

/// The actions of pinned tools and prompts. Warns of those whose effect nobody has stated.
fn pinned(
    map: &MapReading<'_>,
    pins: Option<&MapReading<'_>>,
    service: &str,
    settings: &BTreeMap<String, Settings>,
    headers: &[(String, String)],
) -> BTreeMap<ActionName, ServiceAction> {
    let report = map.report();
    let mut actions: BTreeMap<ActionName, ServiceAction> = BTreeMap::new();
    let (mut count, mut unstated) = (0_usize, Vec::new());
    for (key, it) in pins.iter().flat_map(|pins| pins.entries()) {
        count += 1;
        let definition = yaml::to_json(it.node());
        match offered(service, &key.value, settings.get(&key.value), &definition, headers) {
            Err(problem) => report.error(key.position, format!("the tool {}: {problem}", quoted(&key.value))),
            Ok(action) => {
                if action.effect.is_none() {
                    unstated.push(key.value.as_str());
                }
                hints(map, key, &action, &definition);
                if let Some(other) = actions.insert(action.name.clone(), action) {
                    let message =
                        format!("two tools are the action `{}`: give one another `name`", other.name);
                    report.error(key.position, message);
                }
            }
        }
    }
    if let (Some(first), Some(at)) = (unstated.first(), map.key_position("pins")) {
        let message = format!(
            "{} of {count} tools have no `effect` in `tools` and count as `money`, {} among them",
            unstated.len(),
            quoted(first)
        );
        report.add(Diagnostic::warning(message).at(at).help("state `read`, `write`, `delete` or `money`"));
    }
    actions
}

/// Warns of tools and prompts of which something is said, and that have no pin.
fn warn_of_unpinned(map: &MapReading<'_>, pins: Option<&MapReading<'_>>) {
    // Before anything is accepted there is nothing to compare with.
    let Some(pins) = pins.filter(|pins| pins.entries().next().is_some()) else { return };
    for (stated, what, prefix) in [("tools", "tool", ""), ("prompts", "prompt", part::PROMPT)] {
        let Some(tools) = map.optional(stated).and_then(|it| it.map()) else { continue };
        let is_pinned = |name: &str| {
            let key = format!("{prefix}{name}");
            pins.entries().any(|(pin, _)| pin.value == key)
        };
        for (key, _) in tools.entries().filter(|(key, _)| !is_pinned(&key.value)) {
            let message = format!("the {what} {} has no pin, so that it is no action", quoted(&key.value));
            let warning = Diagnostic::warning(message).at(key.position);
            map.report().add(warning.help("`placet service tools` lists what there is"));
        }
    }
}

/// The actions that no pin is of: ways to resources where they are stated, and to values for the arguments of prompts.
fn beside(
    map: &MapReading<'_>,
    service: &str,
    pinned: &BTreeMap<ActionName, ServiceAction>,
    headers: &[(String, String)],
) -> Vec<ServiceAction> {
    let mut all = Vec::new();
    let mut add = |found: Result<Vec<ServiceAction>, String>| match found {
        Ok(found) => all.extend(found),
        Err(problem) => map.report().error(map.position(), problem),
    };
    if let Some(stated) = map.optional("resources").and_then(|it| it.map()) {
        stated.finish(RESOURCES_KEYS);
        let effect = stated.optional("effect").and_then(|it| it.one_of(&Effect::ALL.map(Effect::as_str)));
        // Which method of the protocol it is says that it reads, unless more is known of this server.
        let effect = effect.and_then(Effect::from_word).unwrap_or(Effect::Read);
        let slash = load::flag(&stated, "encoded_slash");
        add(part::of_resources(service, Some(effect), slash, headers));
    }
    let is_prompt = |action: &ServiceAction| action.tool.as_ref().is_some_and(|it| it.part == Part::Prompt);
    if pinned.values().any(is_prompt) {
        add(part::of_prompts(service, headers).map(|one| vec![one]));
    }
    all
}

/// Where the server is: an address, or a command that the operator lists.
fn place_of(server: &MapReading<'_>, allow_private: bool) -> Option<(String, String)> {
    server.finish(SERVER_KEYS);
    let Some(command) = server.optional("command") else {
        return load::base_url(&server.required("url")?, allow_private);
    };
    let name = load::name(&command)?;
    if name.contains('_') || name.ends_with('-') || server.optional("url").is_some() {
        command.error(
            "a server is a `url` or a `command`, a name of `a-z`, `0-9` and `-` that the operator lists",
        );
        return None;
    }
    Some((format!("{PROCESS}{name}"), String::new()))
}

/// A tool that says of itself that it does more than is stated of it.
fn hints(map: &MapReading<'_>, key: &Spanned<String>, action: &ServiceAction, definition: &Value) {
    let hint = |name: &str| definition.pointer("/annotations").and_then(|all| all.get(name)?.as_bool());
    let more = match action.effect {
        Some(Effect::Read) if hint("readOnlyHint") == Some(false) => "not only reads",
        Some(Effect::Read | Effect::Write) if hint("destructiveHint") == Some(true) => "destroys",
        _ => return,
    };
    let stated = action.effect.map_or("", Effect::as_str);
    let message = format!("{} says of itself that it {more}; its `effect` is `{stated}`", quoted(&key.value));
    map.report().add(Diagnostic::warning(message).at(key.position));
}

fn tool(map: &MapReading<'_>) -> Option<Settings> {
    map.finish(TOOL_KEYS);
    let text = |key: &str| map.optional(key).and_then(|it| Some(it.string()?.to_owned()));
    let names = |key: &str| load::names(map, key).into_iter().map(|name| name.value).collect();
    let resource = match map.optional("resource") {
        None => None,
        Some(it) => Some(load::template(&it, ResourceTemplate::parse)?),
    };
    let effect = map.optional("effect").and_then(|it| it.one_of(&Effect::ALL.map(Effect::as_str)));
    let response = match map.optional("response") {
        None => Response::default(),
        Some(it) => Response::load(&it)?,
    };
    if let (true, Some(at)) =
        (response.row_limit.is_some() || response.trusted.is_some(), map.key_position("response"))
    {
        map.report().error(at, "`limit` and `trusted` are not for tools");
    }
    Some(Settings {
        name: text("name"),
        description: text("description"),
        effect: effect.and_then(Effect::from_word),
        resource,
        binds: names("binds"),
        no_effect: map.optional("no_effect").map(|it| load::statuses(&it)),
        secret: names("secret"),
        slash: load::flag(map, "encoded_slash"),
        response,
    })
}

/// The action that a tool is, if it can be one.
///
/// # Errors
/// A sentence: why not.
pub(super) fn offered(
    service: &str,
    tool: &str,
    settings: Option<&Settings>,
    definition: &Value,
    headers: &[(String, String)],
) -> Result<ServiceAction, String> {
    let none = Settings::default();
    let stated = settings.unwrap_or(&none);
    if definition.to_string().len() > MAX_DEFINITION {
        return Err(format!("its definition is longer than {MAX_DEFINITION} bytes"));
    }
    let prompt = tool.strip_prefix(part::PROMPT);
    let (part, tool) = prompt.map_or((Part::Tool, tool), |prompt| (Part::Prompt, prompt));
    let own = stated.name.as_deref().unwrap_or(tool);
    let name = action_name(service, own, part)?;
    let input = if prompt.is_some() {
        part::schema_of_prompt(definition)?
    } else {
        let input = definition.get("inputSchema").filter(|schema| schema.is_object());
        input.ok_or("it has no `inputSchema`")?.clone()
    };
    let repeated = repeated::declared(&input)?;
    let schema = ParamsSchema::pinned(input).map_err(|error| {
        format!("its schema can't be taken: {} ({})", error.message, place(&error.pointer))
    })?;
    let mut all: Vec<String> = schema.properties().map(str::to_owned).collect();
    all.sort_unstable();
    if let Some(bad) = all.iter().find(|name| name.is_empty() || name.chars().any(char::is_control)) {
        return Err(format!("{} can't be a parameter's name", quoted(bad)));
    }
    if let Some(missing) = schema.required().find(|name| !all.iter().any(|known| known == name)) {
        return Err(format!("its schema requires {}, which is none of its properties", quoted(missing)));
    }
    let resource = match &stated.resource {
        Some(resource) => resource.clone(),
        None => {
            let within = if part == Part::Prompt { "prompts/" } else { "" };
            ResourceTemplate::parse(&format!("mcp://{service}/{within}{own}"))
                .map_err(|error| error.message)?
        }
    };
    check_names(stated, &resource, &all)?;
    // Getting a prompt reads, by the protocol; what a tool does nobody knows.
    let effect = stated.effect.or(prompt.map(|_| Effect::Read));
    let claimed = resource.claimed(|name| stated.binds.iter().any(|bind| bind == name));
    let said = definition.get("description").and_then(Value::as_str).map(str::to_owned);
    let tool = Tool { part, name: tool.to_owned(), definition: definition.clone(), repeated };
    let asked = part::by_message(name, resource, schema, headers, tool)?;
    Ok(ServiceAction {
        description: stated.description.clone().or(said),
        effect,
        binds: stated.binds.clone(),
        claimed,
        names: all,
        no_effect: stated.no_effect.clone().unwrap_or(asked.no_effect),
        secret: stated.secret.clone(),
        encoded_slash: stated.slash,
        members: stated.response.members.clone(),
        ..asked
    })
}

/// The action of a tool or prompt that is called `own`.
fn action_name(service: &str, own: &str, part: Part) -> Result<ActionName, String> {
    let is_prompt = part == Part::Prompt;
    let is_reserved = own.split_once('.').is_some_and(|(first, _)| RESERVED.contains(&first));
    if !is_prompt && is_reserved {
        return Err(format!("{} begins as what is no tool does: state another `name`", quoted(own)));
    }
    let (within, listed) = if is_prompt { ("prompts.", "prompts") } else { ("", "tools") };
    let name = ActionName::parse(&format!("{service}.{within}{own}")).map_err(|_| {
        format!("{} can't be the name of an action: state a `name` for it in `{listed}`", quoted(own))
    })?;
    if Part::PromptCompletion.action(service).as_ref() == Some(&name) {
        return Err(format!("{} is taken: state another `name` for it in `{listed}`", quoted(own)));
    }
    Ok(name)
}

/// Whether what an administrator says of an action names parameters that it has. `all`: those.
fn check_names(stated: &Settings, resource: &ResourceTemplate, all: &[String]) -> Result<(), String> {
    let known = |name: &str| all.iter().any(|known| known == name);
    if let Some(variable) = resource.variables().find(|variable| !known(variable)) {
        return Err(format!("{} in its `resource` is no parameter of it", quoted(variable)));
    }
    if let Some(bind) = stated.binds.iter().find(|bind| !resource.variables().any(|name| name == *bind)) {
        return Err(format!("`binds` names {}, which is no variable of `resource`", quoted(bind)));
    }
    for secret in &stated.secret {
        if !known(secret) {
            return Err(format!("`secret` names {}, which is no parameter of it", quoted(secret)));
        }
        if resource.variables().any(|name| name == secret) {
            return Err(format!("{} stands in `resource` and so can't be secret", quoted(secret)));
        }
    }
    Ok(())
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "at its top" } else { pointer }
}
