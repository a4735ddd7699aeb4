//! For whom an administrator's dry run is made: a fresh child of an agent's registration, or of a task's grant
//! (DESIGN §5).
//!
//! Invariant: such a chain is judged by and nothing else; it is never stored and no token stands for it.

use super::Question;
use crate::{app::App, bearer, clock, problem::Problem};
use placet_core::{
    agent::Agent,
    chain::{Chain, Link},
    grant::{Grant, Origin},
    id::{GrantId, UserId},
    refusal::{Code, Reason},
    task::Task,
    time::Timestamp,
    user::User,
};
use placet_store::{Query, agents, grants, tasks, users};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// How many tasks of an agent, and grants of a task, are looked at.
const MOST: usize = 1000;

/// Whom the question is about.
pub(super) struct Whose {
    /// The agent's handle or id.
    pub(super) agent: Option<String>,
    /// The task's id or label.
    pub(super) task: Option<String>,
    /// Instead of the grant's user.
    pub(super) user: Option<StatedUser>,
}

impl Whose {
    /// Takes it out of a question.
    pub(super) fn of(question: &mut Question) -> Self {
        Self { agent: question.agent.take(), task: question.task.take(), user: question.user.take() }
    }
}

/// A person as an administrator states one; need not exist.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatedUser {
    pub(crate) id: String,
    pub(crate) roles: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) claims: Map<String, Value>,
}

/// The chain that the question is judged on, or the reason why such a chain is dead.
///
/// # Errors
/// `request_invalid` where it names nobody.
pub(super) async fn chain(app: &App, whose: Whose) -> Result<Result<Chain, Reason>, Problem> {
    let now = app.clock.now();
    let (agent, task) = (whose.agent, whose.task);
    let above = app.store.read(move |q| above(q, agent.as_deref(), task.as_deref())).await?;
    let user = match whose.user {
        Some(stated) => Some(person(app, stated, now).await?),
        None => None,
    };
    let above = match bearer::chain(app, above, now).await {
        // Here nobody's token is refused: that the chain is dead is the answer.
        Err(problem) if problem.code().status() == 401 => return Ok(Err(Reason::of(problem.code()))),
        above => above?,
    };
    Ok(child(&above, user.map(Arc::new), now))
}

/// The grant that the chain hangs from.
fn above(q: &mut impl Query, agent: Option<&str>, task: Option<&str>) -> Result<GrantId, Problem> {
    let agent = agent.map(|name| find_agent(q, name)).transpose()?;
    match (task, agent) {
        (Some(task), agent) => {
            let task = find_task(q, task, agent.as_ref())?;
            let held = grants::by_task(q, task.id, MOST)?;
            let own = held.iter().filter(|grant| grant.agent == task.agent);
            // The first one is what was granted for the task; the others are narrowings of it.
            own.map(|grant| grant.id).next().ok_or_else(|| invalid("`task`: it has no grant"))
        }
        (None, Some(agent)) => Ok(agent.registration),
        (None, None) => {
            Err(invalid("a dry run names an `agent` (handle or id), a `task` (id or label), or both"))
        }
    }
}

fn find_agent(q: &mut impl Query, name: &str) -> Result<Agent, Problem> {
    agents::named(q, name)?.ok_or_else(|| invalid("`agent`: there is no such agent"))
}

fn find_task(q: &mut impl Query, name: &str, agent: Option<&Agent>) -> Result<Task, Problem> {
    if let Ok(id) = name.parse() {
        let is_theirs = |task: &Task| agent.is_none_or(|agent| agent.id == task.agent);
        return tasks::find(q, id)?.filter(is_theirs).ok_or_else(|| invalid("`task`: there is no such task"));
    }
    let agent = agent.ok_or_else(|| invalid("`task`: a label belongs to an agent, name that in `agent`"))?;
    let filter = tasks::Filter { agent: Some(agent.id), ..tasks::Filter::default() };
    let mut labelled = tasks::list(q, filter, None, MOST)?;
    labelled.retain(|task| task.label.as_deref() == Some(name));
    match labelled.pop() {
        Some(task) if labelled.is_empty() => Ok(task),
        Some(_) => Err(invalid("`task`: the agent has several tasks of this label, name one by its id")),
        None => Err(invalid("`task`: the agent has no such task")),
    }
}

/// The stated person, completed by what is stored of one of that id or name.
async fn person(app: &App, stated: StatedUser, now: Timestamp) -> Result<User, Problem> {
    if !stated.claims.is_empty() {
        return Err(invalid("`user.claims` are not supported by this version: leave them out"));
    }
    let id = stated.id.clone();
    let known = app.store.read(move |q| users::named(q, &id)).await?;
    let unknown = || {
        let id: UserId = stated.id.parse().unwrap_or_else(|_| clock::fresh(now));
        User { id, name: stated.id.clone(), roles: Vec::new(), created: now, version: 0 }
    };
    let known = known.unwrap_or_else(unknown);
    Ok(User { roles: stated.roles.unwrap_or_else(|| known.roles.clone()), ..known })
}

/// A fresh child of `above`'s leaf with all its authority; `user` stands in every link for the grant's.
fn child(above: &Chain, user: Option<Arc<User>>, now: Timestamp) -> Result<Chain, Reason> {
    let leaf = above.leaf();
    let grant = Grant {
        id: clock::fresh(now),
        parent: Some(leaf.grant.id),
        depth: leaf.grant.depth.saturating_add(1),
        user: user.as_ref().map(|user| user.id).or(leaf.grant.user),
        limits: Vec::new(),
        origin: Origin::Agent,
        created: now,
        ..Grant::clone(&leaf.grant)
    };
    let fresh =
        Link { grant: Arc::new(grant), user: user.clone().or_else(|| leaf.user.clone()), ..leaf.clone() };
    let replaced = above.links().iter().cloned().map(|link| match &user {
        Some(user) if link.grant.user.is_some() => {
            let grant = Arc::new(Grant { user: Some(user.id), ..Grant::clone(&link.grant) });
            Link { grant, user: Some(Arc::clone(user)), ..link }
        }
        _ => link,
    });
    Chain::assemble(std::iter::once(fresh).chain(replaced).collect(), above.stamps().to_vec(), now)
}

fn invalid(detail: &str) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
