//! Under what a new grant will hang: the client's registration, a grant that a person made for it, a parent's grant, or
//! a grant of its own that it asks another token of.
//!
//! Invariant: a base is a live chain, and whatever is presented to reach it belongs to who presents it.

use super::super::{
    client::Client,
    code,
    federation::id_jag::{self, Leave, Rooted},
    redeem::Redemption,
    refresh, waiting,
};
use crate::{
    app::App,
    bearer,
    body::OAuthParams,
    problem::{OAuthError, Problem},
};
use placet_core::{
    chain::Chain,
    grant::{Grant, Origin},
    id::{GrantId, TokenId, UserId},
    refusal::{Code, Reason},
    task::{self, Task, TaskOrigin, TaskState},
    time::Timestamp,
    token::Confirmation,
    waiting::Through,
};
use placet_store::{grants, tasks};
use std::sync::Arc;

/// The most grants of one task that are looked through for one to give another token of.
const MAX_HELD: usize = 1000;

/// What a client brings besides its own authentication.
#[derive(Debug, Clone, Copy)]
pub enum Presented<'p> {
    /// Nothing: it asks for itself, or for a task that a person made for it.
    Nothing,
    /// A parent's access token or delegation token.
    Parent(&'p str),
    /// A grant that a person made for it with `POST /v1/grants`.
    Grant(&'p str),
    /// An access token of its own.
    Own(&'p str),
    /// A refresh token.
    Refresh(&'p str),
    /// An authorization code.
    Code(&'p str),
    /// What a trusted issuer says about a person.
    Assertion(&'p Leave),
    /// What a request is polled with that a person said yes to.
    Request(Through, &'p str),
}

/// Under what the new grant will hang.
pub(super) struct Base {
    /// The live chain whose leaf is the parent.
    pub(super) chain: Chain,
    /// How the grant comes to be.
    pub(super) origin: Origin,
    /// The end of the parent's access token, where it was presented.
    pub(super) ends: Option<Timestamp>,
    /// What is used up with it.
    pub(super) spends: Spend,
    /// What all that hangs below has to be bound to: what the parent's token is bound to.
    pub(super) bound: Confirmation,
    /// Whether what was presented is bound to the certificate that came with it: then so is what is given for it.
    pub(super) stays_bound: bool,
}

impl Base {
    /// One that uses nothing up and binds to nothing.
    fn of(chain: Chain, origin: Origin) -> Self {
        Self {
            chain,
            origin,
            ends: None,
            spends: Spend::Nothing,
            bound: Confirmation::default(),
            stays_bound: false,
        }
    }
}

/// What is used up in the transaction that makes the grant.
#[derive(Clone)]
pub(super) enum Spend {
    Nothing,
    /// A delegation token, until when it could be presented.
    Delegation(TokenId, Timestamp),
    /// A refresh token.
    Refresh(refresh::Rotation),
    /// What stands for a person's consent, with the root grant that comes to be.
    Consent(Redemption),
    /// The root grant that comes to be on the word of a trusted issuer.
    Root(Box<Rooted>),
}

/// What a request rests on.
pub(super) struct Found {
    /// What the grant hangs under; where `again`, what may be given again.
    pub(super) base: Base,
    /// Whether the chain's leaf is what the client holds for this task already.
    pub(super) again: bool,
    /// Whether a parent of another kind than the client itself hands it on.
    pub(super) is_child: bool,
    /// The task, where it is known.
    pub(super) task: Option<Arc<Task>>,
    /// Narrowings of that grant that the client holds for the task.
    pub(super) narrowings: Vec<Grant>,
}

/// Finds what the request rests on.
///
/// # Errors
/// What can't be used, in OAuth's words.
pub(super) async fn find(
    app: &Arc<App>,
    client: &Arc<Client>,
    presented: Presented<'_>,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Found, OAuthError> {
    match presented {
        Presented::Assertion(leave) => {
            let (rooted, chain) = id_jag::presented(app, client, leave, params, now).await?;
            let task = chain.leaf().task.clone();
            let base = own(client, chain, Spend::Root(Box::new(rooted)))?;
            Ok(Found { base, again: true, is_child: false, task, narrowings: Vec::new() })
        }
        Presented::Own(token) => {
            let bearer = bearer::live(app, &params.held(token)).await?;
            let mut base = own(client, bearer.chain.clone(), Spend::Nothing)?;
            base.stays_bound = bearer.claims.bound().certificate.is_some();
            same_task(params, &base.chain)?;
            again(app, client, base, false, now).await
        }
        Presented::Refresh(token) => {
            let (rotation, found) = refresh::presented(app, client, token, params.shown(), now).await?;
            let chain = bearer::chain(app, found.grant, now).await?;
            let rotation = rotation.ending_by(chain.expires());
            let mut base = own(client, chain, Spend::Refresh(rotation))?;
            base.stays_bound = found.certificate.is_some();
            same_task(params, &base.chain)?;
            again(app, client, base, false, now).await
        }
        Presented::Code(text) => {
            let taken_up = code::presented(app, client, text, params, now).await?;
            consented(client, taken_up, params)
        }
        Presented::Request(through, text) => {
            let taken_up = waiting::presented(app, client, (through, text), params, now).await?;
            consented(client, taken_up, params)
        }
        Presented::Nothing | Presented::Parent(_) | Presented::Grant(_) => {
            let above = match presented {
                Presented::Parent(token) => Some(parent(app, client, token, params, now).await?),
                Presented::Grant(id) => Some(granted(app, client, id, now).await?),
                _ => None,
            };
            if params.text("parent_task_id")?.is_some() && !matches!(presented, Presented::Parent(_)) {
                return Err(invalid("`parent_task_id` comes with `parent_token`"));
            }
            by_task(app, client, above, matches!(presented, Presented::Parent(_)), params, now).await
        }
    }
}

/// What a person consented to, for the client that asked.
fn consented(
    client: &Client,
    (redemption, chain): (Redemption, Chain),
    params: &OAuthParams,
) -> Result<Found, OAuthError> {
    let task = chain.leaf().task.clone();
    let base = own(client, chain, Spend::Consent(redemption))?;
    same_task(params, &base.chain)?;
    Ok(Found { base, again: true, is_child: false, task, narrowings: Vec::new() })
}

/// A chain of the client's own.
fn own(client: &Client, chain: Chain, spends: Spend) -> Result<Base, OAuthError> {
    if chain.agent().id != client.agent.id {
        return Err(invalid("the token is of another agent"));
    }
    Ok(Base { spends, ..Base::of(chain, Origin::Agent) })
}

/// A token of the client's own stays with its task.
fn same_task(params: &OAuthParams, chain: &Chain) -> Result<(), OAuthError> {
    let task = chain.leaf().task.as_deref();
    if params.text("task_id")?.is_some_and(|named| !task.is_some_and(|task| is_called(task, named)))
        || params.text("task_description")?.is_some()
        || params.text("parent_task_id")?.is_some()
    {
        return Err(invalid("the token stays with its task: leave `task_id` and `task_description` out"));
    }
    Ok(())
}

/// What hangs from a task's label: the standing grant where there is one, else what it would be made under.
async fn by_task(
    app: &App,
    client: &Client,
    above: Option<Base>,
    is_child: bool,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Found, OAuthError> {
    let user = above.as_ref().and_then(|base| base.chain.user_id());
    let task = match params.text("task_id")? {
        Some(label) => known_task(app, client, label, user, above.is_some()).await?,
        None => None,
    };
    if let Some(task) = &task {
        if params.text("task_description")?.is_some_and(|text| task.description.as_deref() != Some(text)) {
            return Err(invalid("the task has another description, fixed at its first use"));
        }
        if task.state_at(now) != TaskState::Active {
            return Err(Reason::of(Code::TaskEnded).detail("the task has ended; begin another one").into());
        }
        if let Some(base) = &above
            && (task.origin == TaskOrigin::Person
                || (is_child && task.parent != base.chain.leaf().grant.task))
        {
            return Err(other_authority());
        }
        if let Some((chain, held)) = standing(app, client, task, above.as_ref(), now).await? {
            // A grant that a person made is named to be used; what the label means hangs elsewhere.
            if let (false, Some(base)) = (is_child, &above)
                && chain.leaf().grant.root != base.chain.leaf().grant.root
            {
                return Err(other_authority());
            }
            let base = match above {
                Some(above) => Base { chain, bound: Confirmation::default(), ..above },
                None => Base::of(chain, Origin::Agent),
            };
            let leaf = base.chain.leaf().grant.id;
            let narrowings = held.into_iter().filter(|grant| grant.parent == Some(leaf)).collect();
            return Ok(Found { base, again: true, is_child, task: Some(Arc::clone(task)), narrowings });
        }
    }
    if above.is_none() && !client.acts_alone {
        let what = "the client acts for people who asked it to: an administrator has not said that it acts for itself";
        return Err(OAuthError::new("unauthorized_client", what));
    }
    let base = above.unwrap_or_else(|| Base::of(client.registration.clone(), Origin::Agent));
    Ok(Found { base, again: false, is_child, task, narrowings: Vec::new() })
}

fn other_authority() -> OAuthError {
    invalid("`task_id` is the task of other authority than what is presented")
}

/// The chain of `base` once more, with the narrowings of its leaf that the client holds.
async fn again(
    app: &App,
    client: &Client,
    base: Base,
    is_child: bool,
    now: Timestamp,
) -> Result<Found, OAuthError> {
    let task = base.chain.leaf().task.clone();
    let narrowings = match &task {
        Some(task) => {
            let (agent, task, leaf) = (client.agent.id, task.id, base.chain.leaf().grant.id);
            let held =
                app.store.read(move |q| grants::of_task_for_reuse(q, agent, task, now, MAX_HELD)).await?;
            held.into_iter().filter(|grant| grant.parent == Some(leaf)).collect()
        }
        None => Vec::new(),
    };
    Ok(Found { base, again: true, is_child, task, narrowings })
}

/// The parent that a child presents.
async fn parent(
    app: &App,
    client: &Client,
    token: &str,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Base, OAuthError> {
    let base = match app.verifier(token).await.delegation(token, now) {
        Ok(claims) => {
            if claims.child != client.agent.id {
                return Err(OAuthError::new("invalid_grant", "the delegation token is for another agent"));
            }
            let chain = bearer::chain(app, claims.grant, now).await?;
            let spends = Spend::Delegation(claims.jti, Timestamp::from_seconds(claims.exp));
            Base { spends, ..Base::of(chain, Origin::Delegation) }
        }
        Err(reason) if reason.code == Code::TokenExpired => return Err(reason.into()),
        Err(_) => {
            let bearer = bearer::live(app, &params.held(token)).await?;
            let ends = Some(Timestamp::from_seconds(bearer.claims.exp));
            let base = Base::of(bearer.chain.clone(), Origin::ParentToken);
            Base { ends, bound: bearer.claims.bound(), ..base }
        }
    };
    let task = base.chain.leaf().task.as_deref();
    if params.text("parent_task_id")?.is_some_and(|named| !task.is_some_and(|task| is_called(task, named))) {
        return Err(invalid("`parent_task_id` is not the task of `parent_token`"));
    }
    Ok(base)
}

fn is_called(task: &Task, name: &str) -> bool {
    task.id.to_string() == name || task.label.as_deref() == Some(name)
}

/// The grant that a person made for the client without a task.
async fn granted(app: &App, client: &Client, id: &str, now: Timestamp) -> Result<Base, OAuthError> {
    let unknown = || invalid("`grant_id` names no grant that a person made for this agent without a task");
    let id: GrantId = id.parse().map_err(|_| unknown())?;
    let grant = app.store.read(move |q| grants::find(q, id)).await?;
    let grant = grant
        .filter(|grant| {
            grant.agent == client.agent.id && grant.origin == Origin::Person && grant.task.is_none()
        })
        .ok_or_else(unknown)?;
    let chain = bearer::chain(app, grant.id, now).await?;
    Ok(Base::of(chain, Origin::Agent))
}

/// The task that `label` names for this client, if there is one: by its id, or by its label under the same user.
async fn known_task(
    app: &App,
    client: &Client,
    label: &str,
    user: Option<UserId>,
    under_another: bool,
) -> Result<Option<Arc<Task>>, OAuthError> {
    let agent = client.agent.id;
    if label.starts_with("tsk_") {
        let unknown = || invalid("`task_id` names no task of this agent");
        let id = label.parse().map_err(|_| unknown())?;
        let task = app.store.read(move |q| tasks::find(q, id)).await?.filter(|task| task.agent == agent);
        return task.map(|task| Some(Arc::new(task))).ok_or_else(unknown);
    }
    if !task::is_label(label) {
        return Err(invalid("`task_id` has 1 to 128 of A-Z a-z 0-9 . _ ~ : -"));
    }
    let label = label.to_owned();
    let found = app
        .store
        .read(move |q| {
            let own = tasks::by_label(q, agent, user, &label)?;
            // What a person made for this agent is claimed by its label as well, where only one has it.
            match own {
                None if !under_another => tasks::made_by_people(q, agent, &label),
                own => Ok(own),
            }
        })
        .await?;
    Ok(found.map(Arc::new))
}

/// The live chain of the grant that the client holds for a known task, with all that it holds for it. One under the
/// parent that is presented comes first; but whichever it is, it is what the label stands for: another parent, of the
/// same task, gives no second one (DESIGN §3.6).
async fn standing(
    app: &App,
    client: &Client,
    task: &Task,
    above: Option<&Base>,
    now: Timestamp,
) -> Result<Option<(Chain, Vec<Grant>)>, OAuthError> {
    let (agent, task) = (client.agent.id, task.id);
    let under = above.map(|base| base.chain.leaf().grant.id);
    let held = app.store.read(move |q| grants::of_task_for_reuse(q, agent, task, now, MAX_HELD)).await?;
    // The oldest of the task are what was granted for it; the others are narrowings of those.
    let mut tops: Vec<&Grant> = held
        .iter()
        .rev()
        .filter(|grant| grant.parent == under || !held.iter().any(|other| Some(other.id) == grant.parent))
        .collect();
    tops.sort_by_key(|grant| under.is_none() || grant.parent != under);
    let mut dead: Option<Problem> = None;
    for top in tops {
        match bearer::chain(app, top.id, now).await {
            Ok(chain) => return Ok(Some((chain, held))),
            // Another one of the task may live.
            Err(problem) if problem.code().status() == 401 => dead = dead.or(Some(problem)),
            Err(problem) => return Err(problem.into()),
        }
    }
    match (under, dead) {
        (Some(_), _) => Ok(None),
        (None, Some(problem)) => Err(problem.into()),
        (None, None) => Err(Reason::of(Code::TaskEnded).detail("the task's grants have ended").into()),
    }
}

fn invalid(description: impl Into<String>) -> OAuthError {
    OAuthError::new("invalid_request", description)
}
