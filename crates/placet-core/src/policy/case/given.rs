//! Who acts, for whom, for what and on what authority: the chain that a test is judged on, built as a dry run builds
//! one (a fresh child of the agent's registration, or of a parent's grant).
//!
//! Invariant: such a chain is judged by and nothing else.

use crate::{
    agent::{Agent, AgentState, Level, is_handle},
    chain::{Chain, Link},
    diagnostic::{Diagnostic, Position, Report},
    grant::{Authority, Grant, MAX_DEPTH, Origin, Request},
    id::{GrantId, Id, Kind},
    intent,
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    policy::Policy,
    scope::Scope,
    secret::sha256,
    task::{Task, TaskOrigin, TaskState, is_label},
    time::Timestamp,
    user::{User, is_name},
    yaml::{MapReading, Reading, Yaml, to_json},
};
use std::{collections::BTreeMap, fmt::Display, sync::Arc};

pub(super) const GIVEN_KEYS: &[&str] =
    &["agent", "user", "task", "grant", "parent", "now", "ledger", "facts"];
const PARENT_KEYS: &[&str] = &["agent", "user", "task", "grant", "parent"];
const AGENT_KEYS: &[&str] = &["handle", "id", "owner", "labels", "level", "allowed_tools", "resource_access"];
const USER_KEYS: &[&str] = &["name", "id", "roles"];
const TASK_KEYS: &[&str] = &["id", "label", "description", "details", "plan", "stated_by"];
const GRANT_KEYS: &[&str] = &["id", "scope", "tools", "resources", "limits"];

/// What is given: a test's own, then the file's; the first that has a key stands.
pub(super) struct Given<'a>(Vec<MapReading<'a>>);

impl<'a> Given<'a> {
    pub(super) fn new(maps: impl Iterator<Item = MapReading<'a>>) -> Self {
        Self(maps.collect())
    }

    pub(super) fn optional(&self, key: &str) -> Option<Reading<'a>> {
        self.0.iter().find_map(|map| map.optional(key))
    }
}

/// The chain; `None` where something was reported. `first`: whose agents are the default. `at`: where the test stands.
pub(super) fn chain(
    given: &Given<'_>,
    first: Option<&Policy>,
    now: Timestamp,
    at: Position,
    report: &Report,
) -> Option<Chain> {
    let links = links(given, first)?;
    match Chain::assemble(links, Vec::new(), now) {
        Ok(chain) => Some(chain),
        Err(reason) => {
            report.error(at, format!("no such chain can act: {}", reason.code.title()));
            None
        }
    }
}

/// Leaf first.
fn links(given: &Given<'_>, first: Option<&Policy>) -> Option<Vec<Link>> {
    let (agent, registration) = agent(given.optional("agent").as_ref(), first)?;
    let (agent, registration) = (Arc::new(agent), Arc::new(registration));
    let above = match given.optional("parent") {
        Some(parent) => {
            let map = parent.map()?;
            map.finish(PARENT_KEYS);
            links(&Given::new(std::iter::once(map)), first)?
        }
        None => vec![Link {
            grant: registration.clone(),
            agent: agent.clone(),
            registration: registration.clone(),
            task: None,
            user: None,
        }],
    };
    let parent = above.first()?;
    let depth = parent.grant.depth + 1;
    if depth > MAX_DEPTH {
        if let Some(reading) = given.optional("parent") {
            reading.error(format!("a lineage may not be deeper than {MAX_DEPTH}"));
        }
        return None;
    }
    let user = match given.optional("user") {
        Some(reading) => Some(Arc::new(user(&reading)?)),
        None => parent.user.clone(),
    };
    let task = match given.optional("task") {
        Some(reading) => Some(Arc::new(task(&reading, &agent, user.as_deref())?)),
        None => parent.task.clone(),
    };
    let (stated, request, limits) = match given.optional("grant") {
        Some(reading) => grant(&reading)?,
        None => (None, Request::default(), Vec::new()),
    };
    let authority = match parent.grant.authority.narrow(&request) {
        Ok(authority) => authority,
        Err(exceeds) => {
            given.optional("grant")?.error(format!("no such grant can be made: {exceeds}"));
            return None;
        }
    };
    let own = Grant {
        id: stated.unwrap_or_else(|| minted(&["grant", &depth.to_string(), &agent.handle])),
        root: parent.grant.root,
        parent: Some(parent.grant.id),
        depth,
        agent: agent.id,
        user: user.as_ref().map(|user| user.id),
        task: task.as_ref().map(|task| task.id),
        authority,
        limits,
        origin: Origin::Agent,
        created: Timestamp::default(),
        revoked: None,
    };
    let leaf = Link { grant: Arc::new(own), agent, registration, task, user };
    Some(std::iter::once(leaf).chain(above).collect())
}

/// The same id for the same words.
fn minted<K: Kind>(words: &[&str]) -> Id<K> {
    let parts: Vec<&[u8]> =
        std::iter::once(K::PREFIX).chain(words.iter().copied()).map(str::as_bytes).collect();
    let mut entropy = [0; 10];
    for (to, from) in entropy.iter_mut().zip(sha256(&parts)) {
        *to = from;
    }
    Id::from_parts(Timestamp::default(), entropy)
}

/// A handle, or a map. What is left out is such that the policy named first applies.
fn agent(reading: Option<&Reading<'_>>, first: Option<&Policy>) -> Option<(Agent, Grant)> {
    let (mut handle, mut labels) = first.map(Policy::sample_agent).unwrap_or_default();
    let map = match reading {
        None => None,
        Some(reading) if matches!(reading.node().value, Yaml::String(_)) => {
            handle = reading.string()?.to_owned();
            None
        }
        Some(reading) => Some(reading.map()?),
    };
    let read = |key| map.as_ref().and_then(|map| map.optional(key));
    if let Some(map) = &map {
        map.finish(AGENT_KEYS);
    }
    if let Some(reading) = read("handle") {
        handle = reading.string()?.to_owned();
    }
    if !is_handle(&handle) {
        let message = format!(
            "`{handle}` is no handle: a letter or digit, then letters, digits, `.`, `_`, `-`, at most 64"
        );
        read("handle").or(reading.cloned())?.error(message);
        return None;
    }
    if let Some(reading) = read("labels") {
        labels = BTreeMap::new();
        for (name, value) in reading.map()?.entries() {
            labels.insert(name.value.clone(), value.string()?.to_owned());
        }
    }
    let level = match read("level") {
        None => Level::Elevated,
        Some(reading) => match reading.one_of(&["restricted", "standard", "elevated"])? {
            "restricted" => Level::Restricted,
            "standard" => Level::Standard,
            _ => Level::Elevated,
        },
    };
    let owner = match read("owner") {
        None => None,
        Some(reading) => Some(reading.string()?.to_owned()),
    };
    let id = match read("id") {
        None => minted(&[&handle]),
        Some(reading) => id(&reading)?,
    };
    let mut authority = Authority::unlimited()?;
    if let Some(reading) = read("allowed_tools") {
        authority.tools = parsed(&reading, ActionPattern::parse)?;
        authority.scope = parsed(&reading, Scope::parse)?;
    }
    if let Some(reading) = read("resource_access") {
        authority.resources = parsed(&reading, ResourcePattern::parse)?;
    }
    let registration = Grant::root(
        minted(&["registration", &handle]),
        id,
        None,
        authority,
        Origin::Registration,
        Timestamp::default(),
    );
    let agent = Agent {
        id,
        handle,
        description: String::new(),
        owner,
        labels,
        level,
        default_scopes: Vec::new(),
        registration: registration.id,
        state: AgentState::Active,
        created: Timestamp::default(),
        version: 1,
    };
    Some((agent, registration))
}

/// A name, or a map.
fn user(reading: &Reading<'_>) -> Option<User> {
    let named = |name: &str| User {
        id: minted(&[name]),
        name: name.to_owned(),
        roles: Vec::new(),
        created: Timestamp::default(),
        version: 1,
    };
    let checked = |reading: &Reading<'_>| {
        let name = reading.string()?;
        if !is_name(name) {
            reading.error("a user's name has 1 to 64 letters, digits and `._@+-`");
            return None;
        }
        Some(name.to_owned())
    };
    if matches!(reading.node().value, Yaml::String(_)) {
        return checked(reading).map(|name| named(&name));
    }
    let map = reading.map()?;
    map.finish(USER_KEYS);
    let name = match map.optional("name") {
        None => "user".to_owned(),
        Some(name) => checked(&name)?,
    };
    let mut user = named(&name);
    if let Some(stated) = map.optional("id") {
        user.id = id(&stated)?;
    }
    if let Some(roles) = map.optional("roles") {
        user.roles =
            roles.one_or_many().iter().map(|role| role.string().map(str::to_owned)).collect::<Option<_>>()?;
    }
    Some(user)
}

/// What a person stated that it is for, or a map.
fn task(reading: &Reading<'_>, agent: &Agent, user: Option<&User>) -> Option<Task> {
    let made = |id, label, description, origin| Task {
        id,
        label,
        description,
        stated: intent::Stated::default(),
        agent: agent.id,
        user: user.map(|user| user.id),
        parent: None,
        origin,
        state: TaskState::Active,
        created: Timestamp::default(),
        expires: None,
    };
    if matches!(reading.node().value, Yaml::String(_)) {
        let text = reading.string()?;
        return Some(made(minted(&[text]), None, Some(text.to_owned()), TaskOrigin::Person));
    }
    let map = reading.map()?;
    map.finish(TASK_KEYS);
    let text = |key| match map.optional(key) {
        None => Some(None),
        Some(reading) => reading.string().map(|text| Some(text.to_owned())),
    };
    let (label, description) = (text("label")?, text("description")?);
    if let (Some(label), Some(reading)) = (&label, map.optional("label"))
        && !is_label(label)
    {
        reading.error("a task's label has 1 to 128 of `A-Za-z0-9._~:-`, and does not begin with `tsk_`");
        return None;
    }
    let origin = match map.optional("stated_by") {
        None => TaskOrigin::Person,
        Some(reading) => match reading.one_of(&["person", "issuer", "agent"])? {
            "agent" => TaskOrigin::Agent,
            "issuer" => TaskOrigin::Issuer,
            _ => TaskOrigin::Person,
        },
    };
    let id = match map.optional("id") {
        None => minted(&[label.as_deref().unwrap_or("task")]),
        Some(reading) => id(&reading)?,
    };
    let stated = intent::case::stated(&map)?;
    Some(Task { stated, ..made(id, label, description, origin) })
}

/// Its id where one is stated, what it is narrowed to, and its limits.
fn grant(reading: &Reading<'_>) -> Option<(Option<GrantId>, Request, Vec<Limit>)> {
    let map = reading.map()?;
    map.finish(GRANT_KEYS);
    let stated = match map.optional("id") {
        None => None,
        Some(stated) => Some(id(&stated)?),
    };
    let mut request = Request::default();
    if let Some(reading) = map.optional("scope") {
        request.scope = Some(parsed(&reading, Scope::parse)?);
    }
    if let Some(reading) = map.optional("tools") {
        request.tools = Some(parsed(&reading, ActionPattern::parse)?);
    }
    if let Some(reading) = map.optional("resources") {
        request.resources = Some(parsed(&reading, ResourcePattern::parse)?);
    }
    let mut limits = Vec::new();
    if let Some(reading) = map.optional("limits") {
        for item in reading.one_or_many() {
            match Limit::from_json(&to_json(item.node())) {
                Ok(limit) => limits.push(limit),
                Err(error) => {
                    item.error(error.to_string());
                    return None;
                }
            }
        }
    }
    Some((stated, request, limits))
}

/// The items of a list, or the one text, each read by `parse`.
fn parsed<T, E: Display>(reading: &Reading<'_>, parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
    let each = reading.one_or_many().into_iter().map(|item| match parse(item.string()?) {
        Ok(value) => Some(value),
        Err(error) => {
            item.error(error.to_string());
            None
        }
    });
    each.collect()
}

fn id<K: Kind>(reading: &Reading<'_>) -> Option<Id<K>> {
    let text = reading.string()?;
    let found = text.parse();
    if let Err(error) = &found {
        reading.report().add(
            Diagnostic::error(format!("`id` is {error}"))
                .at(reading.position())
                .help("leave it out: the same name has the same id"),
        );
    }
    found.ok()
}
