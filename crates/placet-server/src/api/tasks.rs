//! `/v1/tasks`: purposes that people give authority for, and the end of any task.
//!
//! A person makes a task with a root grant for one agent, which then claims it by its id or label with its own
//! credential. The administrator token is no user: it makes tasks without a `user` only (DESIGN §6).
//!
//! Invariant: a grant with a `user` is made by that user's or an administrator's session, and nothing in it exceeds
//! the agent's registration.

use super::{
    agents::stated,
    detail_types,
    grants::{self as grants_api, Revocation, View},
    query::QueryParams,
    roots::{self, Maker, Wanted},
};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    revocation::{self, Ending, What},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    grant::cover::AuthorizationDetail,
    id::{AgentId, TaskId},
    intent::{PlannedCall, Stated},
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    refusal::Code,
    scope::Scope,
    task::{Task, TaskState, is_label},
    time::Timestamp,
};
use placet_store::{Fault, Query, Tx, grants, tasks};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How many grants of a task are looked at to find whose it is.
const MAX_GRANTS: usize = 1000;

/// A task with what is granted for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    task_id: Option<String>,
    description: Option<String>,
    details: Option<Map<String, Value>>,
    plan: Option<Vec<PlannedCall>>,
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
    audience: Option<Vec<String>>,
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
    let maker = Maker::of(&caller, new.user, source)?;
    if new.task_id.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(invalid("`task_id` is 1 to 128 of A-Z a-z 0-9 . _ ~ : - and does not begin with `tsk_`"));
    }
    let longest = crate::oauth::issue::MAX_DESCRIPTION;
    if new.description.as_ref().is_some_and(|text| text.chars().count() > longest) {
        return Err(invalid(format!("`description` has at most {longest} characters")));
    }
    let stated = Stated { details: new.details, plan: new.plan };
    let stated = stated.bounded().map_err(|error| invalid(error.to_string()))?;
    let named = Named { label: new.task_id, description: new.description, stated };
    let wanted = Wanted {
        agent: new.agent,
        scope: new.scope,
        tools: new.tools,
        resources: new.resources,
        connections: new.connections,
        limits: new.limits,
        expires: new.expires,
        authorization_details: detail_types::stated(&app, new.authorization_details).await?,
        audience: roots::audience(&app, new.audience).await?,
        max_depth: None,
    };
    let now = app.clock.now();
    let inner = Arc::clone(&app);
    let made = move |tx: &mut Tx<'_>| make(&inner, tx, &named, &wanted, &maker, now);
    let answer = app.store.write(made).await?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// What a task is called and for.
struct Named {
    label: Option<String>,
    description: Option<String>,
    stated: Stated,
}

/// The transaction: the task, its root grant, the entry of the record.
fn make(
    app: &App,
    tx: &mut Tx<'_>,
    named: &Named,
    wanted: &Wanted,
    maker: &Maker,
    now: Timestamp,
) -> Result<Value, Problem> {
    let root = roots::root(app, tx, wanted, maker, now)?;
    if let Some(label) = &named.label
        && tasks::by_label(tx, root.agent, root.user, label)?.is_some()
    {
        return Err(Problem::of(
            Code::Conflict,
            format!("the agent and user have used the task_id `{label}`"),
        ));
    }
    let (grant, task) = roots::with_task(root, named.label.as_deref(), named.description.as_deref(), now);
    let task = Task { stated: named.stated.clone(), ..task };
    tasks::insert(tx, &task)?;
    roots::insert(app, tx, &grant, Some(&task), maker, now)?;
    Ok(json!({"id": task.id, "task_id": task.shown_id(), "grant_id": grant.id, "agent": grant.agent,
        "user": grant.user, "state": task.state.as_str(), "expires": task.expires}))
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
    if let Caller::Agent(bearer) = caller {
        let (leaf, id) = (&bearer.chain.leaf().grant, task.id);
        let (own, its) = (leaf.id, leaf.task == Some(id));
        let below = app
            .store
            .read(move |q| {
                for grant in grants::by_task(q, id, revocation::MAX_TOLD)? {
                    if grants_api::hangs_below(q, grant.id, own)? {
                        return Ok::<_, Fault>(true);
                    }
                }
                Ok(false)
            })
            .await?;
        if !its && !below {
            return Err(grants_api::not_its_own());
        }
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
    if let Some(details) = &task.stated.details {
        shown.insert("details".into(), json!(details));
    }
    if let Some(plan) = &task.stated.plan {
        shown.insert("plan".into(), json!(plan));
    }
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
