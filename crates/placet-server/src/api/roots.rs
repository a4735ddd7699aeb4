//! Root grants that people make for agents, with a task (`POST /v1/tasks`) or without one (`POST /v1/grants`).
//!
//! The administrator token is no user: it makes roots without a `user` only (DESIGN §6).
//!
//! Invariant: a grant with a `user` is made by that user's or an administrator's session, and nothing in it exceeds
//! the agent's registration.

use super::agents::above_level;
use crate::{
    app::App,
    caller::{Caller, Source},
    clock,
    oauth::issue,
    problem::Problem,
    recording,
};
use placet_core::{
    agent::{Agent, AgentState},
    grant::{self, Authority, Grant, Origin, cover::AuthorizationDetail},
    id::{AgentId, ConnectionId, UserId},
    intent::Stated,
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    record::{EntryType, Envelope},
    refusal::Code,
    scope::{Scope, registry::Registry},
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
    token::Confirmation,
};
use placet_store::{Fault, Query, Tx, agents, connections, grants, scopes, users};
use serde_json::json;
use std::time::Duration;

/// How long a root lives where nobody says.
pub(crate) const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What a new root permits, and to whom.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) agent: String,
    pub(crate) scope: Option<Vec<Scope>>,
    pub(crate) tools: Option<Vec<ActionPattern>>,
    pub(crate) resources: Option<Vec<ResourcePattern>>,
    pub(crate) connections: Option<Vec<String>>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) authorization_details: Option<Vec<AuthorizationDetail>>,
    /// Known audiences, from [`audience`].
    pub(crate) audience: Option<Vec<String>>,
    pub(crate) max_depth: Option<u8>,
}

/// Who makes it, and on whose behalf.
pub(crate) struct Maker {
    by: String,
    administrator: bool,
    source: Source,
    behalf: Behalf,
}

impl Maker {
    /// The caller, where it may make what it asks for: `user` is absent, null, or an id or name.
    ///
    /// # Errors
    /// `not_permitted`.
    pub(crate) fn of(caller: &Caller, user: Option<Option<String>>, source: Source) -> Result<Self, Problem> {
        let behalf = behalf(caller, user)?;
        Ok(Self { by: caller.by(), administrator: caller.configures(), source, behalf })
    }
}

/// The audiences that these names mean: Placet itself, or registered resource servers.
///
/// # Errors
/// `request_invalid` for one that means nothing.
pub(crate) async fn audience(app: &App, names: Option<Vec<String>>) -> Result<Option<Vec<String>>, Problem> {
    let Some(names) = names else { return Ok(None) };
    let known = issue::named_audience(app, names).await?;
    let known =
        known.map_err(|name| invalid(format!("`audience`: no resource server is registered as {name}")))?;
    if known.is_empty() {
        Err(invalid("`audience` is empty: leave it out for Placet alone"))
    } else {
        Ok(Some(known))
    }
}

/// The root, not stored yet and without a task.
///
/// # Errors
/// `request_invalid` naming what exceeds the agent's registration or is not there.
pub(crate) fn root(
    app: &App,
    q: &mut impl Query,
    wanted: &Wanted,
    maker: &Maker,
    now: Timestamp,
) -> Result<Grant, Problem> {
    if wanted.expires.is_some_and(|expires| expires <= now) {
        return Err(invalid("`expires` has passed"));
    }
    let agent = agents::named(q, &wanted.agent)?
        .filter(|agent| agent.state != AgentState::Ended)
        .ok_or_else(|| invalid(format!("there is no agent `{}`", wanted.agent.escape_debug())))?;
    let registration =
        grants::find(q, agent.registration)?.ok_or(Fault::Unreadable("a registration grant"))?;
    if registration.revoked.is_some() {
        return Err(invalid("the agent's registration grant was revoked"));
    }
    let user = match &maker.behalf {
        Behalf::Nobody => None,
        Behalf::Known(id) => Some(*id),
        Behalf::Named(name) => Some(named_user(q, name)?),
    };
    let reach = match &wanted.connections {
        None => None,
        Some(names) => Some(named_connections(q, names, user, agent.id, maker.administrator)?),
    };
    Ok(root_of(app, q, (&agent, &registration), (user, reach), wanted, now)??)
}

/// The root of an agent that is known, with its registration grant, for this user over these connections; the inner error
/// is what exceeds.
///
/// # Errors
/// `not_permitted` for what the user's roles may not delegate; faults.
pub(crate) fn root_of(
    app: &App,
    q: &mut impl Query,
    (agent, registration): (&Agent, &Grant),
    (user, reach): (Option<UserId>, Option<Vec<ConnectionId>>),
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Result<Grant, Unfit>, Problem> {
    let registry = scopes::all(q)?;
    let authority = match granted(app, agent, &registration.authority, wanted, reach, &registry, now) {
        Ok(authority) => authority,
        Err(unfit) => return Ok(Err(unfit)),
    };
    if let Some(user) = user {
        may_delegate(q, &registry, user, &authority)?;
    }
    let root = Grant::root(clock::fresh(now), agent.id, user, authority, Origin::Person, now);
    Ok(Ok(Grant { limits: wanted.limits.clone(), ..root }))
}

/// The root with a task of its own, which a person stated; neither is stored.
pub(crate) fn with_task(
    root: Grant,
    label: Option<&str>,
    description: Option<&str>,
    now: Timestamp,
) -> (Grant, Task) {
    let task = Task {
        id: clock::fresh(now),
        label: label.map(str::to_owned),
        description: description.map(str::to_owned),
        stated: Stated::default(),
        agent: root.agent,
        user: root.user,
        parent: None,
        origin: TaskOrigin::Person,
        state: TaskState::Active,
        created: now,
        expires: Some(root.authority.expires),
    };
    (Grant { task: Some(task.id), ..root }, task)
}

/// Stores the root and records it.
///
/// # Errors
/// Faults, and what preparing the entry meets.
pub(crate) fn insert(
    app: &App,
    tx: &mut Tx<'_>,
    grant: &Grant,
    task: Option<&Task>,
    maker: &Maker,
    now: Timestamp,
) -> Result<(), Problem> {
    grants::insert(tx, grant)?;
    let envelope = Envelope {
        source: recording::source(maker.source.0),
        ..recording::of_grant(EntryType::GrantIssued, now, maker.by.clone(), grant)
    };
    let authority = &grant.authority;
    let body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "connections": authority.connections, "authorization_details": authority.authorization_details,
        "audience": authority.audience, "limits": grant.limits, "expires": authority.expires,
        "task_label": task.and_then(|task| task.label.clone()),
        "task_description": task.and_then(|task| task.description.clone()),
        "task_stated": task.map(|task| &task.stated).filter(|stated| !stated.is_empty())});
    Ok(tx.record(app.prepare(envelope, Some(&body))?)?)
}

/// On whose behalf a new root is.
#[derive(Debug, Clone)]
enum Behalf {
    Nobody,
    Known(UserId),
    Named(String),
}

/// On whose behalf this caller may make what it asks for.
fn behalf(caller: &Caller, asked: Option<Option<String>>) -> Result<Behalf, Problem> {
    let refused = |detail: &str| Err(Problem::of(Code::NotPermitted, detail));
    match (caller, asked) {
        (Caller::Agent(_), _) => {
            refused("people make this; an agent begins its own task with a token request")
        }
        (Caller::AdminToken, None | Some(None)) => Ok(Behalf::Nobody),
        (Caller::AdminToken, Some(Some(_))) => refused(
            "what has a `user` needs that user's or an administrator's session; the administrator token is no user",
        ),
        (Caller::User(own), None) => Ok(Behalf::Known(own.user.id)),
        (Caller::User(own), Some(Some(name))) if name == own.user.name || name == own.user.id.to_string() => {
            Ok(Behalf::Known(own.user.id))
        }
        (Caller::User(_), Some(asked)) if caller.configures() => {
            Ok(asked.map_or(Behalf::Nobody, Behalf::Named))
        }
        (Caller::User(_), Some(_)) => {
            refused("only an administrator does this on behalf of others or of nobody")
        }
    }
}

/// Why nothing can be granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// Nothing was asked for, and the agent has nothing by default.
    #[error("state `scope`: the agent has no default scopes, so the grant would permit nothing")]
    Nothing,
    /// More was asked for than the agent's registration has.
    #[error("the grant would exceed the agent's registration: {}: {}", .0.oauth(), .0)]
    Exceeds(#[from] grant::Exceeds),
    /// It would be deeper than the registration allows.
    #[error("`max_depth` is at most {0}")]
    Depth(u8),
    /// Actions are above the agent's level.
    #[error("above the agent's max_scope_level: {}", .0.join(", "))]
    Level(Vec<String>),
}

impl Unfit {
    /// The `error` where it is refused inside OAuth.
    pub(crate) const fn oauth(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Level(_) => "invalid_scope",
            Self::Exceeds(exceeds) => exceeds.oauth(),
            Self::Depth(_) => "invalid_request",
        }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        invalid(unfit.to_string())
    }
}

/// Lets through what the roles of the user may delegate.
///
/// # Errors
/// `not_permitted`, naming what they may not.
fn may_delegate(
    q: &mut impl Query,
    registry: &Registry,
    user: UserId,
    authority: &Authority,
) -> Result<(), Problem> {
    let roles = users::find(q, user)?.map(|user| user.roles).unwrap_or_default();
    let mut beyond = registry.beyond(&roles, &authority.scope);
    beyond.extend(authority.authorization_details.iter().filter_map(|detail| {
        let AuthorizationDetail::Other(entry) = detail else { return None };
        let needed = entry.declared().map(|declared| &declared.definition().roles);
        let may =
            needed.is_some_and(|needed| needed.is_empty() || needed.iter().any(|role| roles.contains(role)));
        (!may).then_some(entry.kind())
    }));
    if beyond.is_empty() {
        return Ok(());
    }
    let detail = format!("the user has no role to delegate: {}", beyond.join(", "));
    Err(Problem::of(Code::NotPermitted, detail))
}

/// What the root grant permits: within the agent's registration, in every dimension.
///
/// # Errors
/// [`Unfit`].
pub(crate) fn granted(
    app: &App,
    agent: &Agent,
    registration: &Authority,
    new: &Wanted,
    connections: Option<Vec<ConnectionId>>,
    registry: &Registry,
    now: Timestamp,
) -> Result<Authority, Unfit> {
    // A missing scope grants only the agent's defaults (DESIGN §3).
    let scope = new.scope.clone().unwrap_or_else(|| agent.default_scopes.clone());
    if scope.is_empty() {
        return Err(Unfit::Nothing);
    }
    let request = grant::Request {
        scope: Some(registry.expand(&scope)),
        tools: new.tools.clone(),
        resources: new.resources.clone(),
        connections,
        authorization_details: new.authorization_details.clone(),
        audience: None,
        expires: Some(new.expires.unwrap_or_else(|| now.plus(LIFETIME))),
        bound: Confirmation::default(),
    };
    let mut authority = Authority { not_before: now, ..registration.narrow(&request)? };
    if let Some(audience) = &new.audience {
        authority.audience.clone_from(audience);
    }
    if let Some(depth) = new.max_depth {
        if depth > authority.max_depth {
            return Err(Unfit::Depth(authority.max_depth));
        }
        authority.max_depth = depth;
    }
    let asked = request.scope.unwrap_or_default();
    let above = above_level(&app.rules.load(), agent.level, &asked, &request.tools.unwrap_or_default());
    if above.is_empty() { Ok(authority) } else { Err(Unfit::Level(above)) }
}

fn named_user(q: &mut impl Query, name: &str) -> Result<UserId, Problem> {
    let unknown = || invalid(format!("there is no user `{}`", name.escape_debug()));
    users::named(q, name)?.map(|user| user.id).ok_or_else(unknown)
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
                invalid(format!("there is no connection `{}` for this grant", name.escape_debug()))
            })?;
        if !ids.contains(&connection.id) {
            ids.push(connection.id);
        }
    }
    Ok(ids)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
