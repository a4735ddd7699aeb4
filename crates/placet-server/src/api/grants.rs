//! `/v1/grants`: making, seeing, narrowing and revoking delegated authority.
//!
//! Administrators and auditors see all; an agent its own and those below; a person those with itself as the user. To
//! everybody else a grant does not exist.
//!
//! Invariant: what a caller may not see answers like what is not there.

mod create;
mod narrow;

use super::query::QueryParams;
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
};
use placet_core::{
    chain::Chain,
    grant::{Authority, Grant},
    id::{AgentId, GrantId, TaskId, UserId},
    refusal::Code,
    time::Timestamp,
    user::AUDITOR,
};
use placet_store::{Fault, Query, agents, grants, lineage};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(crate) use create::create;
pub(crate) use narrow::narrow;

/// How many grants below one are told.
const MAX_DESCENDANTS: usize = 1000;
/// How many pages of the store are looked through for one answer.
const MAX_PAGES: usize = 20;

/// `GET /v1/grants?agent=&task=&after=&limit=`, oldest first, each with whether it is alive. `next` goes on; a page can
/// be short of `limit`.
///
/// # Errors
/// What the store met.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["agent", "task", "after", "limit"])?;
    let (task, start, limit): (Option<TaskId>, Option<GrantId>, usize) =
        (query.parsed("task")?, query.parsed("after")?, query.limit()?);
    let named = query.text("agent").map(str::to_owned);
    let (view, now) = (View::of(&caller), app.clock.now());
    let (found, next) = app
        .store
        .read(move |q| {
            let agent = match &named {
                None => None,
                Some(name) => match agents::named(q, name)? {
                    Some(agent) => Some(agent.id),
                    None => return Ok((Vec::new(), None)),
                },
            };
            let within = if let View::Below(id) = view { Some(id) } else { None };
            let filter = grants::Filter { agent, task, within, ..grants::Filter::default() };
            let mut found: Vec<Value> = Vec::new();
            let mut after = start;
            for _ in 0..MAX_PAGES {
                let page = grants::list(q, filter, after, limit)?;
                let full = page.len() == limit;
                for grant in page {
                    after = Some(grant.id);
                    if view.shows_user(grant.user) {
                        found.push(Value::Object(with_life(&grant, &life(q, grant.id, now)?)));
                    }
                    if found.len() == limit {
                        return Ok((found, after));
                    }
                }
                if !full {
                    return Ok((found, None));
                }
            }
            Ok::<_, Fault>((found, after))
        })
        .await?;
    Ok(Json(json!({"grants": found, "next": next})))
}

/// `GET /v1/grants/{id}`.
///
/// # Errors
/// `not_found`.
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let grant = visible(&app, &caller, &id).await?;
    let (id, now) = (grant.id, app.clock.now());
    let life = app.store.read(move |q| life(q, id, now)).await?;
    Ok(Json(Value::Object(with_life(&grant, &life))))
}

/// `GET /v1/grants/{id}/lineage`: the grant with all its ancestors (leaf first), what hangs below it, and whether it
/// is alive.
///
/// # Errors
/// `not_found`.
pub async fn lineage(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id = visible(&app, &caller, &id).await?.id;
    let (ancestors, mut nodes) = app
        .store
        .read(move |q| {
            Ok::<_, Fault>((grants::ancestors(q, id)?, grants::subtree(q, id, MAX_DESCENDANTS + 2)?))
        })
        .await?;
    nodes.retain(|node| node.id != id);
    let truncated = nodes.len() > MAX_DESCENDANTS;
    nodes.truncate(MAX_DESCENDANTS);
    let descendants: Vec<_> = nodes
        .iter()
        .map(|node| {
            json!({"id": node.id, "parent": node.parent, "depth": node.depth, "agent": node.agent, "task": node.task,
                "expires": end(node.expires), "revoked": node.revoked})
        })
        .collect();
    let now = app.clock.now();
    let life = app.store.read(move |q| Ok::<_, Fault>(life(q, id, now)?.map(|_| ()))).await?;
    let mut answer = Map::new();
    answer.insert("id".into(), json!(id));
    answer.insert("ancestors".into(), ancestors.iter().map(|grant| Value::Object(shown(grant))).collect());
    answer.insert("descendants".into(), descendants.into());
    answer.insert("alive".into(), life.is_ok().into());
    answer.insert("reason".into(), json!(life.err()));
    if truncated {
        answer.insert("truncated".into(), true.into());
    }
    Ok(Json(Value::Object(answer)))
}

/// Why, and what is expected to end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    pub(super) reason: Option<String>,
    pub(super) affected_task_chain: Option<Vec<String>>,
}

/// `POST /v1/grants/{id}/revoke {reason?, affected_task_chain?}`.
///
/// # Errors
/// `not_found`, `not_permitted`, `conflict` where something else would end than was expected.
pub async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    source: Source,
    body: Option<JsonBody<Revocation>>,
) -> Answer<Json<Value>> {
    let grant = visible(&app, &caller, &id).await?;
    may_change(&app, &caller, &grant).await?;
    let Revocation { reason, affected_task_chain } = body.map(|JsonBody(body)| body).unwrap_or_default();
    let ending = Ending { what: What::Grant(grant.id), by: caller.by(), reason, affected_task_chain, source };
    Ok(Json(Value::Object(revocation::end(&app, ending).await?.to_json(true))))
}

/// Lets those through who may take authority back: of what they see, all but an auditor's reading, and what an agent's
/// token does not stand for.
async fn may_change(app: &App, caller: &Caller, grant: &Grant) -> Result<(), Problem> {
    match caller {
        Caller::User(signed_in) if !caller.configures() && grant.user != Some(signed_in.user.id) => {
            Err(Problem::of(
                Code::NotPermitted,
                "an auditor reads; taking authority back needs the grant's user or an administrator",
            ))
        }
        Caller::Agent(bearer) => {
            let (own, id) = (bearer.chain.leaf().grant.id, grant.id);
            if app.store.read(move |q| hangs_below(q, id, own)).await? { Ok(()) } else { Err(not_its_own()) }
        }
        _ => Ok(()),
    }
}

/// Whether a grant is `own` or hangs below it.
pub(super) fn hangs_below(q: &mut impl Query, id: GrantId, own: GrantId) -> Result<bool, Fault> {
    Ok(id == own || grants::ancestors(q, id)?.iter().any(|grant| grant.id == own))
}

/// A token stands for its grant, not for all that its agent holds: whoever got hold of one ends nothing beside it.
pub(super) fn not_its_own() -> Problem {
    Problem::of(
        Code::NotPermitted,
        "a token ends its own grant and what hangs below it; another of the agent's tokens is ended at `/oauth/revoke`",
    )
}

/// What a caller sees of grants and tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Everything.
    All,
    /// What this agent holds, and what hangs below.
    Below(AgentId),
    /// What is on behalf of this person.
    User(UserId),
}

impl View {
    pub(super) fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Agent(bearer) => Self::Below(bearer.chain.agent().id),
            Caller::User(signed_in) if !caller.configures() && !signed_in.user.has_role(AUDITOR) => {
                Self::User(signed_in.user.id)
            }
            Caller::User(_) | Caller::AdminToken => Self::All,
        }
    }

    /// Whether something with this user is shown, as far as that says.
    pub(super) fn shows_user(self, user: Option<UserId>) -> bool {
        match self {
            Self::User(id) => user == Some(id),
            Self::All | Self::Below(_) => true,
        }
    }

    /// Whether this grant is shown.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) fn shows(self, q: &mut impl Query, grant: &Grant) -> Result<bool, Fault> {
        match self {
            Self::Below(id) => grants::is_within(q, grant.id, id),
            Self::All | Self::User(_) => Ok(self.shows_user(grant.user)),
        }
    }
}

/// The grant, where the caller may know that it exists.
async fn visible(app: &App, caller: &Caller, id: &str) -> Result<Grant, Problem> {
    let unknown = || Problem::of(Code::NotFound, format!("there is no grant `{}`", id.escape_debug()));
    let id: GrantId = id.parse().map_err(|_| unknown())?;
    let view = View::of(caller);
    let found = app
        .store
        .read(move |q| {
            let Some(grant) = grants::find(q, id)? else { return Ok(None) };
            Ok::<_, Fault>(view.shows(q, &grant)?.then_some(grant))
        })
        .await?;
    found.ok_or_else(unknown)
}

/// Whether a grant's chain is alive and what it reaches now, or the code that says why not.
type Life = Result<Authority, &'static str>;

fn life(q: &mut impl Query, id: GrantId, now: Timestamp) -> Result<Life, Fault> {
    let rows = lineage::load(q, id)?.ok_or(Fault::Unreadable("a grant"))?;
    Ok(match Chain::assemble(rows.links, rows.stamps, now) {
        Ok(chain) => Ok(chain.effective()),
        Err(reason) => Err(reason.code.as_str()),
    })
}

fn with_life(grant: &Grant, life: &Life) -> Map<String, Value> {
    let mut shown = shown(grant);
    shown.insert("alive".into(), life.is_ok().into());
    shown.insert("reason".into(), json!(life.as_ref().err()));
    // What grants above it were narrowed to takes from it as well.
    if let Ok(left) = life
        && (&left.scope, &left.tools, &left.resources)
            != (&grant.authority.scope, &grant.authority.tools, &grant.authority.resources)
    {
        let left = json!({"scope": left.scope, "tools": left.tools, "resources": left.resources});
        shown.insert("left".into(), left);
    }
    shown
}

fn shown(grant: &Grant) -> Map<String, Value> {
    let authority = &grant.authority;
    let mut shown = Map::new();
    shown.insert("id".into(), json!(grant.id));
    shown.insert("root".into(), json!(grant.root));
    shown.insert("parent".into(), json!(grant.parent));
    shown.insert("depth".into(), grant.depth.into());
    shown.insert("agent".into(), json!(grant.agent));
    shown.insert("user".into(), json!(grant.user));
    shown.insert("task".into(), json!(grant.task));
    shown.insert("scope".into(), json!(authority.scope));
    shown.insert("tools".into(), json!(authority.tools));
    shown.insert("resources".into(), json!(authority.resources));
    shown.insert("connections".into(), json!(authority.connections));
    shown.insert("authorization_details".into(), json!(authority.authorization_details));
    shown.insert("limits".into(), json!(grant.limits));
    shown.insert("audience".into(), json!(authority.audience));
    shown.insert("not_before".into(), json!(authority.not_before));
    shown.insert("expires".into(), json!(end(authority.expires)));
    shown.insert("max_depth".into(), authority.max_depth.into());
    shown.insert("key".into(), json!(authority.key));
    shown.insert("certificate".into(), json!(authority.certificate));
    shown.insert("origin".into(), json!(grant.origin));
    shown.insert("created".into(), json!(grant.created));
    shown.insert("revoked".into(), json!(grant.revoked));
    shown
}

/// When it ends by itself; `None` for never.
fn end(expires: Timestamp) -> Option<Timestamp> {
    (expires < Timestamp::MAX).then_some(expires)
}
