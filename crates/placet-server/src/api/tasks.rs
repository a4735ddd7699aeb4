//! `/v1/tasks`: purposes that people give authority for, and the end of any task.
//!
//! A person makes a task with a root grant for one agent, which then claims it by its id or label with its own
//! credential. The administrator token is no user: it makes tasks without a `user` only (DESIGN §6).
//!
//! Invariant: a grant with a `user` is made by that user's or an administrator's session, and nothing in it exceeds
//! the agent's registration.

use super::{
    agents::{above_level, stated},
    grants::{Revocation, View},
    query::QueryParams,
};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    problem::{Answer, Problem},
    recording,
    revocation::{self, Ending, What},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    agent::{Agent, AgentState},
    grant::{self, Authority, Grant, Origin, cover::AuthorizationDetail},
    id::{AgentId, ConnectionId, TaskId, UserId},
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    record::{EntryType, Envelope},
    refusal::Code,
    scope::Scope,
    task::{Task, TaskOrigin, TaskState, is_label},
    time::Timestamp,
};
use placet_store::{Fault, Query, Tx, agents, connections, grants, tasks, users};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// How long a task lives where nobody says.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How many grants of a task are looked at to find whose it is.
const MAX_GRANTS: usize = 1000;

/// A task with what is granted for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    task_id: Option<String>,
    description: Option<String>,
    agent: String,
    #[serde(default, deserialize_with = "stated")]
    user: Option<Option<String>>,
    scope: Option<Vec<Scope>>,
    tools: Option<Vec<ActionPattern>>,
    resources: Option<Vec<ResourcePattern>>,
    connections: Option<Vec<String>>,
    #[serde(default)]
    limits: Vec<Limit>,
    expires: Option<Timestamp>,
    authorization_details: Option<Vec<AuthorizationDetail>>,
}

/// On whose behalf a new task is.
#[derive(Debug, Clone)]
enum Behalf {
    Nobody,
    Known(UserId),
    Named(String),
}

/// `POST /v1/tasks`.
///
/// # Errors
/// `not_permitted`; `request_invalid` naming what exceeds the agent's registration; `conflict` where (agent, user)
/// have used the label.
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<New>,
) -> Answer<Response> {
    let behalf = behalf(&caller, new.user.clone())?;
    if new.task_id.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(invalid("`task_id` is 1 to 128 of A-Z a-z 0-9 . _ ~ : - and does not begin with `tsk_`"));
    }
    let longest = crate::oauth::issue::MAX_DESCRIPTION;
    if new.description.as_ref().is_some_and(|text| text.chars().count() > longest) {
        return Err(invalid(format!("`description` has at most {longest} characters")));
    }
    let now = app.clock.now();
    if new.expires.is_some_and(|expires| expires <= now) {
        return Err(invalid("`expires` has passed"));
    }
    let maker = Maker { by: caller.by(), administrator: caller.configures(), source };
    let inner = Arc::clone(&app);
    let answer =
        app.store.write(move |tx| make(&inner, tx, new.clone(), behalf.clone(), &maker, now)).await?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// On whose behalf this caller may make what it asks for.
fn behalf(caller: &Caller, asked: Option<Option<String>>) -> Result<Behalf, Problem> {
    let refused = |detail: &str| Err(Problem::of(Code::NotPermitted, detail));
    match (caller, asked) {
        (Caller::Agent(_), _) => {
            refused("tasks are made by people; an agent begins its own with a token request")
        }
        (Caller::AdminToken, None | Some(None)) => Ok(Behalf::Nobody),
        (Caller::AdminToken, Some(Some(_))) => refused(
            "a task with a `user` needs that user's or an administrator's session; the administrator token is no user",
        ),
        (Caller::User(own), None) => Ok(Behalf::Known(own.user.id)),
        (Caller::User(own), Some(Some(name))) if name == own.user.name || name == own.user.id.to_string() => {
            Ok(Behalf::Known(own.user.id))
        }
        (Caller::User(_), Some(asked)) if caller.configures() => {
            Ok(asked.map_or(Behalf::Nobody, Behalf::Named))
        }
        (Caller::User(_), Some(_)) => {
            refused("only an administrator makes tasks on behalf of others or of nobody")
        }
    }
}

/// Who makes a task.
struct Maker {
    by: String,
    administrator: bool,
    source: Source,
}

/// The transaction: the task, its root grant, the entry of the record.
fn make(
    app: &App,
    tx: &mut Tx<'_>,
    new: New,
    behalf: Behalf,
    maker: &Maker,
    now: Timestamp,
) -> Result<Value, Problem> {
    let agent = named_agent(tx, &new.agent)?
        .filter(|agent| agent.state != AgentState::Ended)
        .ok_or_else(|| invalid(format!("there is no agent `{}`", new.agent.escape_debug())))?;
    let registration =
        grants::find(tx, agent.registration)?.ok_or(Fault::Unreadable("a registration grant"))?;
    if registration.revoked.is_some() {
        return Err(invalid("the agent's registration grant was revoked"));
    }
    let user = match behalf {
        Behalf::Nobody => None,
        Behalf::Known(id) => Some(id),
        Behalf::Named(name) => Some(named_user(tx, &name)?),
    };
    if let Some(label) = &new.task_id
        && tasks::by_label(tx, agent.id, user, label)?.is_some()
    {
        return Err(Problem::of(
            Code::Conflict,
            format!("the agent and user have used the task_id `{label}`"),
        ));
    }
    let reach = match &new.connections {
        None => None,
        Some(names) => Some(named_connections(tx, names, user, agent.id, maker.administrator)?),
    };
    let authority = granted(app, &agent, &registration.authority, &new, reach, now)?;
    let id = clock::fresh(now);
    let task = Task {
        id: clock::fresh(now),
        label: new.task_id,
        description: new.description,
        agent: agent.id,
        user,
        parent: None,
        origin: TaskOrigin::Person,
        state: TaskState::Active,
        created: now,
        expires: Some(authority.expires),
    };
    let grant = Grant {
        id,
        root: id,
        parent: None,
        depth: 0,
        agent: agent.id,
        user,
        task: Some(task.id),
        authority,
        limits: new.limits,
        origin: Origin::Person,
        created: now,
        revoked: None,
    };
    tasks::insert(tx, &task)?;
    grants::insert(tx, &grant)?;
    let envelope = Envelope {
        agent: Some(agent.id),
        chain: vec![agent.id],
        grants: vec![grant.id],
        task: Some(task.id),
        user,
        source: recording::source(maker.source.0),
        ..recording::by(EntryType::GrantIssued, now, maker.by.clone())
    };
    let authority = &grant.authority;
    let body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "connections": authority.connections, "authorization_details": authority.authorization_details,
        "limits": grant.limits, "expires": authority.expires, "task_label": task.label,
        "task_description": task.description});
    tx.record(app.prepare(envelope, Some(&body))?)?;
    Ok(
        json!({"id": task.id, "task_id": task.shown_id(), "grant_id": grant.id, "agent": agent.id, "user": user,
        "state": task.state.as_str(), "expires": task.expires}),
    )
}

/// What the root grant permits: within the agent's registration, in every dimension.
fn granted(
    app: &App,
    agent: &Agent,
    registration: &Authority,
    new: &New,
    connections: Option<Vec<ConnectionId>>,
    now: Timestamp,
) -> Result<Authority, Problem> {
    // A missing scope grants only the agent's defaults (DESIGN §3).
    let scope = new.scope.clone().unwrap_or_else(|| agent.default_scopes.clone());
    if scope.is_empty() {
        return Err(invalid(
            "state `scope`: the agent has no default scopes, so the task would permit nothing",
        ));
    }
    let request = grant::Request {
        scope: Some(scope),
        tools: new.tools.clone(),
        resources: new.resources.clone(),
        connections,
        authorization_details: new.authorization_details.clone(),
        audience: None,
        expires: Some(new.expires.unwrap_or_else(|| now.plus(LIFETIME))),
    };
    let exceeds = |error: grant::Exceeds| {
        invalid(format!("the task would exceed the agent's registration: {}: {error}", error.oauth()))
    };
    let authority = Authority { not_before: now, ..registration.narrow(&request).map_err(exceeds)? };
    let asked = request.scope.unwrap_or_default();
    let above = above_level(&app.rules.load(), agent.level, &asked, &request.tools.unwrap_or_default());
    if above.is_empty() {
        return Ok(authority);
    }
    Err(invalid(format!("above the agent's max_scope_level: {}", above.join(", "))))
}

fn named_agent(q: &mut impl Query, name: &str) -> Result<Option<Agent>, Fault> {
    match name.parse::<AgentId>() {
        Ok(id) => agents::find(q, id),
        Err(_) => agents::by_handle(q, name),
    }
}

fn named_user(q: &mut impl Query, name: &str) -> Result<UserId, Problem> {
    let found = match name.parse::<UserId>() {
        Ok(id) => users::find(q, id)?,
        Err(_) => users::by_name(q, name)?.map(|(user, _)| user),
    };
    let user = found.ok_or_else(|| invalid(format!("there is no user `{}`", name.escape_debug())))?;
    Ok(user.id)
}

/// The ids of connections that are the user's own or the organization's. One that the organization keeps for other
/// agents is named by administrators only.
fn named_connections(
    q: &mut impl Query,
    names: &[String],
    user: Option<UserId>,
    agent: AgentId,
    administrator: bool,
) -> Result<Vec<ConnectionId>, Problem> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let found = match name.parse::<ConnectionId>() {
            Ok(id) => connections::find(q, id)?,
            Err(_) => connections::by_name(q, name)?,
        };
        let connection = found
            .filter(|known| known.is_open_to(user, agent) || (administrator && known.user.is_none()))
            .ok_or_else(|| {
                invalid(format!("there is no connection `{}` for this task", name.escape_debug()))
            })?;
        if !ids.contains(&connection.id) {
            ids.push(connection.id);
        }
    }
    Ok(ids)
}

/// `GET /v1/tasks?agent=&after=&limit=`, oldest first: administrators and auditors all, a person its own, an agent
/// its own.
///
/// # Errors
/// What the store met.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["agent", "after", "limit"])?;
    let (agent, after, limit): (Option<AgentId>, Option<TaskId>, usize) =
        (query.parsed("agent")?, query.parsed("after")?, query.limit()?);
    let filter = match View::of(&caller) {
        View::All => tasks::Filter { agent, user: None },
        View::User(user) => tasks::Filter { agent, user: Some(user) },
        View::Below(own) if agent.is_none_or(|asked| asked == own) => {
            tasks::Filter { agent: Some(own), user: None }
        }
        View::Below(_) => return Ok(Json(json!({"tasks": [], "next": null}))),
    };
    let now = app.clock.now();
    let found = app.store.read(move |q| tasks::list(q, filter, after, limit)).await?;
    let next = if found.len() == limit { found.last().map(|task| task.id) } else { None };
    let tasks: Vec<Value> = found.iter().map(|task| Value::Object(shown(task, now))).collect();
    Ok(Json(json!({"tasks": tasks, "next": next})))
}

/// `GET /v1/tasks/{id}`; an agent may also give the label of a task of its own.
///
/// # Errors
/// `not_found`.
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let task = visible(&app, &caller, &id).await?;
    Ok(Json(Value::Object(shown(&task, app.clock.now()))))
}

/// `POST /v1/tasks/{id}/complete`: the work is done; the task's grants end.
///
/// # Errors
/// `not_found`, `not_permitted`, `conflict`.
pub async fn complete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
    body: Option<JsonBody<Revocation>>,
) -> Answer<Json<Value>> {
    let task = visible(&app, &caller, &id).await?;
    if let Caller::Agent(bearer) = &caller
        && bearer.chain.agent().id != task.agent
    {
        return Err(Problem::of(
            Code::NotPermitted,
            "only the agent that works on a task completes it; revoke it instead",
        ));
    }
    finish(&app, &caller, &task, TaskState::Completed, source, body).await
}

/// `POST /v1/tasks/{id}/revoke`: the task and its grants end by force.
///
/// # Errors
/// `not_found`, `not_permitted`, `conflict`.
pub async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
    body: Option<JsonBody<Revocation>>,
) -> Answer<Json<Value>> {
    let task = visible(&app, &caller, &id).await?;
    finish(&app, &caller, &task, TaskState::Revoked, source, body).await
}

async fn finish(
    app: &Arc<App>,
    caller: &Caller,
    task: &Task,
    state: TaskState,
    source: Source,
    body: Option<JsonBody<Revocation>>,
) -> Answer<Json<Value>> {
    if let Caller::User(signed_in) = caller
        && !caller.configures()
        && task.user != Some(signed_in.user.id)
    {
        return Err(Problem::of(
            Code::NotPermitted,
            "an auditor reads; this needs the task's user or an administrator",
        ));
    }
    let Revocation { reason, affected_task_chain } = body.map(|JsonBody(body)| body).unwrap_or_default();
    let what = What::Task(task.id, state);
    let ending = Ending { what, by: caller.by(), reason, affected_task_chain, source };
    let ended = revocation::end(app, ending).await?;
    let (id, now) = (task.id, app.clock.now());
    let task = app.store.read(move |q| tasks::find(q, id)).await?.ok_or(Fault::Unreadable("a task"))?;
    let state = task.state_at(now);
    let mut answer = ended.to_json(state == TaskState::Revoked);
    answer.insert("id".into(), json!(task.id));
    answer.insert("task_id".into(), task.shown_id().into());
    answer.insert("state".into(), state.as_str().into());
    Ok(Json(Value::Object(answer)))
}

/// The task, where the caller may know that it exists.
async fn visible(app: &App, caller: &Caller, name: &str) -> Result<Task, Problem> {
    let view = View::of(caller);
    let own = match caller {
        Caller::Agent(bearer) => Some((bearer.chain.agent().id, bearer.chain.user_id())),
        _ => None,
    };
    let sought = name.to_owned();
    let found = app
        .store
        .read(move |q| {
            let found = match (sought.parse::<TaskId>(), own) {
                (Ok(id), _) => tasks::find(q, id)?,
                (Err(_), Some((agent, user))) => tasks::by_label(q, agent, user, &sought)?,
                (Err(_), None) => None,
            };
            let Some(task) = found else { return Ok(None) };
            let shown = match view {
                View::Below(agent) => task.agent == agent || works_below(q, task.id, agent)?,
                View::All | View::User(_) => view.shows_user(task.user),
            };
            Ok::<_, Fault>(shown.then_some(task))
        })
        .await?;
    found.ok_or_else(|| Problem::of(Code::NotFound, format!("there is no task `{}`", name.escape_debug())))
}

/// Whether every grant of the task hangs below one that `agent` holds: with one elsewhere it is not its to end.
fn works_below(q: &mut impl Query, task: TaskId, agent: AgentId) -> Result<bool, Fault> {
    let all = grants::by_task(q, task, MAX_GRANTS)?;
    for grant in &all {
        if !grants::is_within(q, grant.id, agent)? {
            return Ok(false);
        }
    }
    Ok(!all.is_empty() && all.len() < MAX_GRANTS)
}

fn shown(task: &Task, now: Timestamp) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("id".into(), json!(task.id));
    shown.insert("task_id".into(), task.shown_id().into());
    shown.insert("label".into(), json!(task.label));
    shown.insert("description".into(), json!(task.description));
    shown.insert("agent".into(), json!(task.agent));
    shown.insert("user".into(), json!(task.user));
    shown.insert("parent".into(), json!(task.parent));
    shown.insert("origin".into(), json!(task.origin));
    shown.insert("state".into(), task.state_at(now).as_str().into());
    shown.insert("created".into(), json!(task.created));
    shown.insert("expires".into(), json!(task.expires));
    shown
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
