//! `/v1/agents`: registering agents, confirming, changing, stopping and ending them.
//!
//! Invariant: handle, labels, owner, level and the reach of a registration come from an administrator only; the only
//! thing that works without one is confirming with the registration token.

pub(crate) mod client;

use super::{detail_types, query::QueryParams};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source, identify},
    clock,
    oauth::client::CLIENT_SECRET,
    problem::{Answer, Problem},
    recording,
    revocation::{self, Ending, What},
    rules::Rules,
    sender::Sender,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::{Agent, AgentState, Level, is_handle},
    client::Template,
    grant::{Authority, Grant, MAX_DEPTH, Origin, cover::uncovered},
    id::AgentId,
    pattern::{ActionName, ActionPattern, ResourcePattern},
    record::{EntryType, Envelope},
    refusal::Code,
    scope::Scope,
    secret::Secret,
    time::Timestamp,
};
use placet_store::{
    Fault, Tx, agents, client_use,
    clients::{self, StoredClient},
    grants, waiting,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The purpose under which registration tokens are hashed.
pub const REGISTRATION_TOKEN: &str = "registration_token";
/// The longest description of an agent, in characters.
const MAX_DESCRIPTION: usize = 2000;
/// The most labels of an agent.
const MAX_LABELS: usize = 64;
/// The longest value of a label, in characters.
const MAX_LABEL: usize = 256;
/// What templates mean by `{{agent.*}}` without a label.
const BUILT_IN: &[&str] = &["id", "handle", "owner", "user_id"];

/// What an agent is registered with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    agent_name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    allowed_tools: Vec<ActionPattern>,
    resource_access: Option<Vec<ResourcePattern>>,
    #[serde(default)]
    max_scope_level: Level,
    #[serde(default)]
    default_scopes: Vec<Scope>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    owner: Option<String>,
    client_id_url: Option<String>,
    #[serde(default)]
    authorization_details_types: Vec<String>,
}

/// `POST /v1/agents`. With `client_id_url` the agent is the client whose document is there.
///
/// # Errors
/// `not_permitted`, `request_invalid`, `conflict` where the name or the URL is taken.
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Response> {
    caller.must_configure()?;
    let (new, members) = client::split::<New>(body)?;
    let stored = client::new(&app, new.client_id_url.as_deref(), &members).await?;
    // A handle that looks like an id would be mistaken for one.
    if !is_handle(&new.agent_name) || new.agent_name.starts_with("agt_") {
        let form =
            "`agent_name` is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, not with `agt_`";
        return Err(invalid(form));
    }
    check_text(&new.description, new.owner.as_deref(), &new.labels)?;
    let scope = as_scopes(&new.allowed_tools)?;
    check_defaults(&new.default_scopes, &scope)?;
    let above = above_level(&app.rules.load(), new.max_scope_level, &scope, &new.allowed_tools);
    if !above.is_empty() {
        return Err(invalid(format!("`allowed_tools` above `max_scope_level`: {}", above.join(", "))));
    }
    let now = app.clock.now();
    let secret = Secret::generated("pcs_", clock::entropy());
    let registration_token = Secret::generated("prt_", clock::entropy());
    let registration = clock::fresh(now);
    let agent = Agent {
        id: clock::fresh(now),
        handle: new.agent_name,
        description: new.description,
        owner: new.owner,
        labels: new.labels,
        level: new.max_scope_level,
        default_scopes: new.default_scopes,
        registration,
        state: AgentState::Inactive,
        created: now,
        version: 1,
    };
    let mut grant = self::registration(&app, &agent, new.allowed_tools, new.resource_access, now);
    grant.authority.detail_types = detail_types::known(&app, new.authorization_details_types).await?;
    let mut answer = json!({
        "client_id": agent.id,
        "allowed_scopes": grant.authority.scope,
        "registration_token": told(&registration_token)?,
        "agent_name": agent.handle,
        "state": agent.state.as_str(),
        "token_endpoint_auth_method": stored.metadata.token_endpoint_auth_method,
    });
    // A client of another method has none: what is hashed below nobody was told.
    if stored.metadata.token_endpoint_auth_method.is_secret()
        && let Some(answer) = answer.as_object_mut()
    {
        answer.insert("client_secret".into(), told(&secret)?.into());
    }
    let envelope = Envelope {
        agent: Some(agent.id),
        grants: vec![grant.id],
        source: recording::source(source.0),
        ..recording::by(EntryType::AgentRegistered, now, caller.by())
    };
    let body = shown(&agent, Some(&grant), Some(&stored));
    let entry = app.prepare(envelope, Some(&Value::Object(body)))?;
    let hashing = &app.secrets.hashing;
    let secret = hashing.hash(CLIENT_SECRET, secret.expose());
    let registration_token = hashing.hash(REGISTRATION_TOKEN, registration_token.expose());
    app.store
        .write(move |tx| {
            if agents::by_handle(tx, &agent.handle)?.is_some() {
                return Err(Problem::of(Code::Conflict, format!("the name `{}` is taken", agent.handle)));
            }
            if let Some(url) = &stored.url
                && clients::by_url(tx, url)?.is_some()
            {
                return Err(Problem::of(Code::Conflict, format!("the client `{url}` is an agent already")));
            }
            agents::insert(tx, &agent, secret, registration_token)?;
            grants::insert(tx, &grant)?;
            if stored != StoredClient::default() {
                clients::adopt(tx, agent.id, &stored, None)?;
            }
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The registration grant of a new agent, whose scope is its tools.
pub(crate) fn registration(
    app: &App,
    agent: &Agent,
    tools: Vec<ActionPattern>,
    resources: Option<Vec<ResourcePattern>>,
    now: Timestamp,
) -> Grant {
    let authority = Authority {
        // Each was checked to be one where the tools came from.
        scope: tools.iter().filter_map(|tool| Scope::parse(tool.as_str()).ok()).collect(),
        tools,
        resources: resources.unwrap_or_else(|| vec![ResourcePattern::everything()]),
        connections: None,
        authorization_details: Vec::new(),
        detail_types: Vec::new(),
        audience: vec![app.issuer.clone()],
        not_before: now,
        expires: Timestamp::MAX,
        max_depth: MAX_DEPTH,
        key: None,
        certificate: None,
    };
    Grant::root(agent.registration, agent.id, None, authority, Origin::Registration, now)
}

/// `GET /v1/agents?after=&limit=`, oldest first.
///
/// # Errors
/// `not_permitted`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    query.only(&["after", "limit"])?;
    let (after, limit): (Option<AgentId>, usize) = (query.parsed("after")?, query.limit()?);
    let read = app.store.read(move |q| {
        let found = agents::list(q, after, limit)?;
        let used = match (found.first(), found.last()) {
            (Some(first), Some(last)) => client_use::of_page(q, first.id, last.id)?,
            _ => HashMap::new(),
        };
        Ok::<_, Fault>((found, used))
    });
    let (found, used) = read.await?;
    let next = if found.len() == limit { found.last().map(|agent| agent.id) } else { None };
    let shown = |agent: &Agent| {
        let mut shown = shown(agent, None, None);
        if agent.state == AgentState::Active {
            client::show_use(&mut shown, used.get(&agent.id).copied(), app.idle_registrations);
        }
        Value::Object(shown)
    };
    let agents: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"agents": agents, "next": next})))
}

/// `GET /v1/agents/{id}`, by id or handle.
///
/// # Errors
/// `not_found`, also for an agent that asks about another; `not_permitted`.
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let agent = find(&app, &id).await?;
    let agent = match (&caller, agent) {
        (Caller::Agent(bearer), agent) => agent.filter(|agent| agent.id == bearer.chain.agent().id),
        (_, agent) => {
            caller.must_configure()?;
            agent
        }
    };
    let agent = agent.ok_or_else(|| unknown(&id))?;
    let (id, registration) = (agent.id, agent.registration);
    let read =
        app.store.read(move |q| Ok::<_, Fault>((grants::find(q, registration)?, clients::find(q, id)?)));
    let (grant, client) = read.await?;
    let mut shown = shown(&agent, grant.as_ref(), Some(&client));
    if agent.state == AgentState::Active {
        client::show_use(&mut shown, client.last_used, app.idle_registrations);
    }
    Ok(Json(Value::Object(shown)))
}

/// What may be changed, beside what the agent is as a client; what is left out stays. `owner: null` takes the owner
/// away.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    description: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "stated")]
    owner: Option<Option<String>>,
    max_scope_level: Option<Level>,
    default_scopes: Option<Vec<Scope>>,
    acts_alone: Option<bool>,
    authorization_details_types: Option<Vec<String>>,
}

/// `PATCH /v1/agents/{id}`. A client that had no secret and needs one now is answered with it.
///
/// # Errors
/// `not_permitted`, `not_found`, `request_invalid`, `conflict` where the agent has ended.
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let (change, members) = client::split::<Change>(body)?;
    let secret = Secret::generated("pcs_", clock::entropy());
    let hashed = app.secrets.hashing.hash(CLIENT_SECRET, secret.expose());
    let id = find(&app, &id).await?.ok_or_else(|| unknown(&id))?.id;
    let detail_types = match change.authorization_details_types.clone() {
        Some(types) => Some(detail_types::known(&app, types).await?),
        None => None,
    };
    let (inner, by) = (Arc::clone(&app), caller.by());
    let answer = app
        .store
        .write(move |tx| {
            let mut agent = agents::find(tx, id)?.ok_or(Fault::Unreadable("an agent"))?;
            let mut grant =
                grants::find(tx, agent.registration)?.ok_or(Fault::Unreadable("a registration grant"))?;
            agent.description = change.description.clone().unwrap_or(agent.description);
            agent.labels = change.labels.clone().unwrap_or(agent.labels);
            agent.owner = change.owner.clone().unwrap_or(agent.owner);
            agent.level = change.max_scope_level.unwrap_or(agent.level);
            agent.default_scopes = change.default_scopes.clone().unwrap_or(agent.default_scopes);
            check_text(&agent.description, agent.owner.as_deref(), &agent.labels)?;
            check_defaults(&agent.default_scopes, &grant.authority.scope)?;
            if !agents::update(tx, &agent)? {
                return Err(Problem::of(Code::Conflict, "the agent has ended"));
            }
            let changed = client::change(tx, id, &members, change.acts_alone, inner.mutual_tls.as_ref())?;
            if let Some(types) = &detail_types {
                grant.authority.detail_types.clone_from(types);
                if !grants::narrow(tx, &grant)? {
                    return Err(Problem::of(Code::Conflict, "the agent's registration grant was revoked"));
                }
            }
            let shown_with = (&agent, Some(&grant), Some(&changed.client));
            record_with(&inner, tx, EntryType::AgentChanged, shown_with, &by, source)?;
            let agent = agents::find(tx, id)?.ok_or(Fault::Unreadable("an agent"))?;
            let mut answer = shown(&agent, Some(&grant), Some(&changed.client));
            if changed.needs_secret {
                clients::set_secret(tx, id, hashed)?;
                answer.insert("client_secret".into(), told(&secret)?.into());
            }
            Ok(answer)
        })
        .await?;
    app.bearers.authority_changed();
    Ok(Json(Value::Object(answer)))
}

/// What activates an agent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    registration_token: Option<String>,
}

/// `POST /v1/agents/{id}/activate`: with the registration token by whoever has it, or without by an administrator,
/// who resumes a suspended agent.
///
/// # Errors
/// `token_invalid` for a wrong token or an unknown agent; `not_permitted`; `conflict` where its state does not allow
/// it.
pub async fn activate(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    source: Source,
    sender: Sender,
    body: Option<JsonBody<Activation>>,
) -> Answer<Json<Value>> {
    let wrong = || Problem::of(Code::TokenInvalid, "the registration token is wrong");
    let (by, id, offered) = match body.and_then(|JsonBody(activation)| activation.registration_token) {
        Some(token) => {
            let id = find(&app, &id).await?.ok_or_else(wrong)?.id;
            (None, id, Some(app.secrets.hashing.hash(REGISTRATION_TOKEN, token.as_bytes())))
        }
        None => {
            let caller = identify(&app, &sender).await?;
            caller.must_configure()?;
            (Some(caller.by()), find(&app, &id).await?.ok_or_else(|| unknown(&id))?.id, None)
        }
    };
    let inner = Arc::clone(&app);
    let agent = app
        .store
        .write(move |tx| {
            if let Some(offered) = offered
                && agents::registration_token(tx, id)? != Some(offered)
            {
                return Err(wrong());
            }
            let agent = agents::find(tx, id)?.ok_or(Fault::Unreadable("an agent"))?;
            let changed = match (agent.state, &by) {
                (AgentState::Active, _) => return Ok(agent),
                (AgentState::Inactive, None) => agents::activate(tx, id, agent.version)?,
                (AgentState::Suspended, Some(_)) => {
                    // After a restore there may be some that wait from before.
                    waiting::end_of_agent(tx, id)?;
                    // Or it would end at once, after a long pause.
                    client_use::note(tx, id, inner.clock.now())?;
                    agents::resume(tx, id, agent.version)?
                }
                (AgentState::Inactive, Some(_)) => {
                    return Err(Problem::of(
                        Code::Conflict,
                        "the agent is activated with its registration token",
                    ));
                }
                (AgentState::Suspended, None) => {
                    return Err(Problem::of(
                        Code::NotPermitted,
                        "the agent was suspended; an administrator resumes it",
                    ));
                }
                (AgentState::Ended, _) => return Err(Problem::of(Code::Conflict, "the agent has ended")),
            };
            if !changed {
                return Err(Problem::of(Code::Conflict, "the agent has changed meanwhile; try again"));
            }
            let agent = Agent { state: AgentState::Active, ..agent };
            record(
                &inner,
                tx,
                EntryType::AgentActivated,
                &agent,
                &by.clone().unwrap_or_else(|| id.to_string()),
                source,
            )?;
            Ok(agent)
        })
        .await?;
    app.bearers.authority_changed();
    Ok(state(&agent))
}

/// `POST /v1/agents/{id}/suspend`: every chain that it stands in is dead until an administrator activates it again.
///
/// # Errors
/// `not_permitted`, `not_found`, `conflict` for an agent that is neither active nor suspended.
pub async fn suspend(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let id = find(&app, &id).await?.ok_or_else(|| unknown(&id))?.id;
    let (inner, by) = (Arc::clone(&app), caller.by());
    let agent = app
        .store
        .write(move |tx| {
            let agent = agents::find(tx, id)?.ok_or(Fault::Unreadable("an agent"))?;
            if agent.state == AgentState::Suspended {
                return Ok(agent);
            }
            if !agents::suspend(tx, id, agent.version)? {
                return Err(Problem::of(Code::Conflict, format!("the agent is {}", agent.state.as_str())));
            }
            waiting::end_of_agent(tx, id)?;
            let agent = Agent { state: AgentState::Suspended, ..agent };
            record(&inner, tx, EntryType::AgentSuspended, &agent, &by, source)?;
            Ok(agent)
        })
        .await?;
    app.bearers.authority_changed();
    Ok(state(&agent))
}

/// `DELETE /v1/agents/{id}`: ends the agent for good, with everything that it holds and what hangs below.
///
/// # Errors
/// `not_permitted`, `not_found`.
pub async fn end(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
) -> Answer<Json<Value>> {
    caller.must_configure()?;
    let id = find(&app, &id).await?.ok_or_else(|| unknown(&id))?.id;
    let ending =
        Ending { what: What::Agent(id), by: caller.by(), reason: None, affected_task_chain: None, source };
    let mut answer = revocation::end(&app, ending).await?.to_json(true);
    answer.insert("client_id".into(), json!(id));
    answer.insert("state".into(), AgentState::Ended.as_str().into());
    Ok(Json(Value::Object(answer)))
}

/// The agent that `name` means, by id or handle.
///
/// # Errors
/// What the store met.
pub async fn find(app: &App, name: &str) -> Result<Option<Agent>, Problem> {
    let name = name.to_owned();
    Ok(app.store.read(move |q| agents::named(q, &name)).await?)
}

/// Single actions among `scope` and `tools` that a service declares with an effect above `level`. Patterns are judged
/// per action (DESIGN §3).
pub fn above_level(rules: &Rules, level: Level, scope: &[Scope], tools: &[ActionPattern]) -> Vec<String> {
    let names = scope.iter().map(Scope::action).chain(tools).filter_map(ActionPattern::single);
    let over =
        |name: &ActionName| rules.declaring(name).is_some_and(|(_, action)| !level.permits(action.effect()));
    let mut above: Vec<String> = names.filter(over).map(|name| name.as_str().to_owned()).collect();
    above.sort_unstable();
    above.dedup();
    above
}

fn record(
    app: &App,
    tx: &mut Tx<'_>,
    entry_type: EntryType,
    agent: &Agent,
    by: &str,
    source: Source,
) -> Result<(), Problem> {
    record_with(app, tx, entry_type, (agent, None, None), by, source)
}

fn record_with(
    app: &App,
    tx: &mut Tx<'_>,
    entry_type: EntryType,
    (agent, registration, client): (&Agent, Option<&Grant>, Option<&StoredClient>),
    by: &str,
    source: Source,
) -> Result<(), Problem> {
    let envelope = Envelope {
        agent: Some(agent.id),
        source: recording::source(source.0),
        ..recording::by(entry_type, app.clock.now(), by.to_owned())
    };
    Ok(tx.record(app.prepare(envelope, Some(&Value::Object(shown(agent, registration, client))))?)?)
}

fn state(agent: &Agent) -> Json<Value> {
    Json(json!({"client_id": agent.id, "agent_name": agent.handle, "state": agent.state.as_str()}))
}

pub(crate) fn shown(
    agent: &Agent,
    registration: Option<&Grant>,
    client: Option<&StoredClient>,
) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("client_id".into(), json!(agent.id));
    shown.insert("agent_name".into(), agent.handle.clone().into());
    shown.insert("description".into(), agent.description.clone().into());
    shown.insert("owner".into(), json!(agent.owner));
    shown.insert("labels".into(), json!(agent.labels));
    shown.insert("max_scope_level".into(), json!(agent.level));
    shown.insert("default_scopes".into(), json!(agent.default_scopes));
    shown.insert("state".into(), agent.state.as_str().into());
    shown.insert("created".into(), json!(agent.created));
    shown.insert("registration_grant".into(), json!(agent.registration));
    if let Some(grant) = registration {
        shown.insert("allowed_scopes".into(), json!(grant.authority.scope));
        shown.insert("allowed_tools".into(), json!(grant.authority.tools));
        shown.insert("resource_access".into(), json!(grant.authority.resources));
        shown.insert("authorization_details_types".into(), json!(grant.authority.detail_types));
    }
    if let Some(client) = client {
        client::show(&mut shown, client);
    }
    shown
}

/// A registration's scope is its tools (DESIGN §3).
fn as_scopes(tools: &[ActionPattern]) -> Result<Vec<Scope>, Problem> {
    let scope = |tool: &ActionPattern| {
        Scope::parse(tool.as_str()).map_err(|error| invalid(format!("`allowed_tools`: {error}")))
    };
    tools.iter().map(scope).collect()
}

/// Checks what an administrator says of agents that are not there yet.
///
/// # Errors
/// `request_invalid`, as for one that is registered.
pub(crate) fn check_template(app: &App, template: &Template) -> Result<(), Problem> {
    check_text("", None, &template.labels)?;
    if template.labels.contains_key("client_host") {
        return Err(invalid("the label `client_host` is of the document that a client is read from"));
    }
    let scope = as_scopes(&template.allowed_tools)?;
    check_defaults(&template.default_scopes, &scope)?;
    let above = above_level(&app.rules.load(), template.max_scope_level, &scope, &template.allowed_tools);
    if above.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("`allowed_tools` above `max_scope_level`: {}", above.join(", "))))
}

fn check_defaults(defaults: &[Scope], scope: &[Scope]) -> Result<(), Problem> {
    let over: Vec<_> =
        uncovered(defaults, scope, Scope::covers).into_iter().map(ToString::to_string).collect();
    if over.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("`default_scopes` beyond `allowed_tools`: {}", over.join(", "))))
}

fn check_text(
    description: &str,
    owner: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(invalid(format!("`description` has at most {MAX_DESCRIPTION} characters")));
    }
    if owner.is_some_and(|owner| owner.is_empty() || owner.chars().count() > MAX_LABEL) {
        return Err(invalid(format!("`owner` has 1 to {MAX_LABEL} characters")));
    }
    if labels.len() > MAX_LABELS {
        return Err(invalid(format!("an agent has at most {MAX_LABELS} labels")));
    }
    for (name, value) in labels {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) || BUILT_IN.contains(&name.as_str())
        {
            let known = BUILT_IN.join("`, `");
            return Err(invalid(format!(
                "a label's name is 1 to 64 of A-Z a-z 0-9 . _ - and none of `{known}`"
            )));
        }
        if value.chars().count() > MAX_LABEL {
            return Err(invalid(format!("the label `{name}` has more than {MAX_LABEL} characters")));
        }
    }
    Ok(())
}

/// `Some(None)` for a member that is there as `null`.
pub(super) fn stated<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn told(secret: &Secret) -> Result<&str, Problem> {
    secret.expose_str().ok_or_else(|| Problem::of(Code::Internal, "a secret could not be made"))
}

fn unknown(name: &str) -> Problem {
    Problem::of(Code::NotFound, format!("there is no agent `{}`", name.escape_debug()))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
