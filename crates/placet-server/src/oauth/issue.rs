//! Issuing: from a client's request to a grant under a live chain, and a token that represents it.
//!
//! What an agent obtains for itself hangs below its registration grant or below a grant that a person made for it;
//! what a child obtains hangs below its parent's. A left-out dimension is copied from the parent; for a child agent
//! only as far as its own registration reaches too (DESIGN §3.8).
//!
//! Invariant: a grant is inserted only in a transaction that finds every version that its chain was read at.

use super::{client::Client, token};
use crate::{
    app::App,
    bearer::{self},
    body::OAuthParams,
    caller::Source,
    clock,
    problem::OAuthError,
    recording,
    rules::Rules,
};
use placet_core::{
    chain::{Chain, Link},
    grant::{Authority, Exceeds, Grant, Origin, Request, cover::uncovered},
    id::{TokenId, UserId},
    record::{EntryType, Envelope},
    refusal::{Code, Reason},
    task::{self, Task, TaskOrigin, TaskState},
    time::Timestamp,
    token::{ACCESS_LIFETIME, AccessClaims, Actor, GrantClaim, TaskClaim, sign_access},
    user::User,
};
use placet_store::{Fault, delegations, grants, lineage, tasks};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// How long what an agent obtains for itself lives at most.
pub const OWN_TASK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest description of a task, in characters.
pub const MAX_DESCRIPTION: usize = 2000;
const ATTEMPTS: usize = 5;
/// The most grants of one task that are looked through for one to give another token of.
const MAX_HELD: usize = 1000;

/// Under what the new grant will hang.
struct Base {
    /// The live chain whose leaf is the parent.
    chain: Chain,
    /// How the grant comes to be.
    origin: Origin,
    /// The end of the parent's access token, where it was presented.
    ends: Option<Timestamp>,
    /// The delegation token that is spent with it.
    spends: Option<(TokenId, Timestamp)>,
}

/// What the transaction came to.
enum Committed {
    Done,
    Stale,
    Spent,
    LabelTaken,
}

/// The client credentials grant (RFC 6749 §4.4), with Placet's tasks, lineage and narrowing.
///
/// # Errors
/// RFC 6749 §5.2; `invalid_scope`, `invalid_target`, `invalid_authorization_details` name what exceeds.
pub async fn client_credentials(
    app: &App,
    client: &Arc<Client>,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let request = token::asked(params)?;
    let label = params.text("task_id")?;
    let description = params.text("task_description")?;
    if description.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(OAuthError::new(
            "invalid_request",
            format!("`task_description` has at most {MAX_DESCRIPTION} characters"),
        ));
    }
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let parent = parent(app, client, params, now).await?;
        let is_child = parent.is_some();
        let user = parent.as_ref().and_then(|base| base.chain.user_id());
        let found = match label {
            Some(label) => known_task(app, client, label, user, is_child).await?,
            None => None,
        };
        if let (Some(task), Some(description)) = (&found, description)
            && task.description.as_deref() != Some(description)
        {
            return Err(OAuthError::new(
                "invalid_request",
                "the task has another description, fixed at its first use",
            ));
        }
        if let Some(task) = &found
            && task.state_at(now) != TaskState::Active
        {
            return Err(Reason::of(Code::TaskEnded).detail("the task has ended; begin another one").into());
        }
        if let (Some(task), Some(base)) = (&found, &parent)
            && (task.origin == TaskOrigin::Person || task.parent != base.chain.leaf().grant.task)
        {
            let description =
                "`task_id` is the task of other authority; it is not part of the task of `parent_token`";
            return Err(OAuthError::new("invalid_request", description));
        }
        let standing = match (&found, &parent) {
            (Some(task), _) => standing(app, client, task, parent.as_ref(), now).await?,
            (None, _) => None,
        };
        let again = standing.is_some();
        let base = match (standing, parent) {
            (Some(chain), parent) => {
                let (origin, ends, spends) =
                    parent.map_or((Origin::Agent, None, None), |p| (p.origin, p.ends, p.spends));
                Base { chain, origin, ends, spends }
            }
            (None, Some(parent)) => parent,
            (None, None) => {
                Base { chain: client.registration.clone(), origin: Origin::Agent, ends: None, spends: None }
            }
        };
        let authority = authority(app, client, &base, &request, again, is_child, now)?;
        // What was narrowed from the standing grant and covers it permits the same, in whatever order it was asked.
        let same = again && covers(&authority, &base.chain.leaf().grant.authority);
        let plan = if same {
            Plan { chain: base.chain.clone(), task: None, grant: None }
        } else {
            plan(client, &base, authority, found.as_deref(), label, description, is_child, now)?
        };
        let jti = clock::fresh(now);
        match commit(app, &base, &plan, jti, source, now).await? {
            Committed::Done => return answer(app, &plan.chain, jti, base.ends, params, is_child, now),
            Committed::Stale => app.bearers.authority_changed(),
            Committed::LabelTaken => {}
            Committed::Spent => {
                return Err(OAuthError::new("invalid_grant", "the delegation token was used before"));
            }
        }
    }
    Err(OAuthError::from(Reason::of(Code::Unavailable).detail("authority keeps changing; try again")))
}

/// The parent that a child presents, if it presents one.
async fn parent(
    app: &App,
    client: &Client,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Option<Base>, OAuthError> {
    let named = params.text("parent_task_id")?;
    let Some(token) = params.text("parent_token")? else {
        return match named {
            None => Ok(None),
            Some(_) => Err(OAuthError::new("invalid_request", "`parent_task_id` comes with `parent_token`")),
        };
    };
    let base = match app.verifier(token).await.delegation(token, now) {
        Ok(claims) => {
            if claims.child != client.agent.id {
                return Err(OAuthError::new("invalid_grant", "the delegation token is for another agent"));
            }
            let chain = bearer::chain(app, claims.grant, now).await?;
            let spends = Some((claims.jti, Timestamp::from_seconds(claims.exp)));
            Base { chain, origin: Origin::Delegation, ends: None, spends }
        }
        Err(reason) if reason.code == Code::TokenExpired => return Err(reason.into()),
        Err(_) => {
            let bearer = bearer::live(app, token).await?;
            let ends = Some(Timestamp::from_seconds(bearer.claims.exp));
            Base { chain: bearer.chain.clone(), origin: Origin::ParentToken, ends, spends: None }
        }
    };
    let task = base.chain.leaf().task.as_deref();
    let is_its_task = |named: &str| {
        task.is_some_and(|task| task.id.to_string() == named || task.label.as_deref() == Some(named))
    };
    if named.is_some_and(|named| !is_its_task(named)) {
        return Err(OAuthError::new("invalid_request", "`parent_task_id` is not the task of `parent_token`"));
    }
    Ok(Some(base))
}

/// The task that `label` names for this client, if there is one: by its id, or by its label under the same user.
async fn known_task(
    app: &App,
    client: &Client,
    label: &str,
    user: Option<UserId>,
    is_child: bool,
) -> Result<Option<Arc<Task>>, OAuthError> {
    let agent = client.agent.id;
    if label.starts_with("tsk_") {
        let unknown = || OAuthError::new("invalid_request", "`task_id` names no task of this agent");
        let id = label.parse().map_err(|_| unknown())?;
        let task = app.store.read(move |q| tasks::find(q, id)).await?.filter(|task| task.agent == agent);
        return task.map(|task| Some(Arc::new(task))).ok_or_else(unknown);
    }
    if !task::is_label(label) {
        return Err(OAuthError::new("invalid_request", "`task_id` has 1 to 128 of A-Z a-z 0-9 . _ ~ : -"));
    }
    let label = label.to_owned();
    let found = app
        .store
        .read(move |q| {
            let own = tasks::by_label(q, agent, user, &label)?;
            // What a person made for this agent is claimed by its label as well, where only one has it.
            match own {
                None if !is_child => tasks::made_by_people(q, agent, &label),
                own => Ok(own),
            }
        })
        .await?;
    Ok(found.map(Arc::new))
}

/// The live chain of the grant that a known task already has for this client, under the same parent.
async fn standing(
    app: &App,
    client: &Client,
    task: &Task,
    parent: Option<&Base>,
    now: Timestamp,
) -> Result<Option<Chain>, OAuthError> {
    let (agent, task_id) = (client.agent.id, task.id);
    let under = parent.map(|base| base.chain.leaf().grant.id);
    let held = app.store.read(move |q| grants::of_task_for_reuse(q, agent, task_id, now, MAX_HELD)).await?;
    // The first one of the task is what was granted for it; the others are narrowings of it.
    let top = held.iter().rev().find(|grant| match under {
        Some(under) => grant.parent == Some(under),
        None => !held.iter().any(|other| Some(other.id) == grant.parent),
    });
    match top {
        Some(grant) => Ok(Some(bearer::chain(app, grant.id, now).await?)),
        None if under.is_some() => Ok(None),
        None => Err(Reason::of(Code::TaskEnded).detail("the task's grants have ended").into()),
    }
}

/// What the new grant permits.
fn authority(
    app: &App,
    client: &Client,
    base: &Base,
    request: &Request,
    again: bool,
    is_child: bool,
    now: Timestamp,
) -> Result<Authority, OAuthError> {
    let above = &base.chain.leaf().grant.authority;
    let registration = &client.registration.leaf().grant.authority;
    let mut request = request.clone();
    let own_root = !again && !is_child;
    if own_root {
        // A missing scope grants only the agent's defaults.
        request.scope.get_or_insert_with(|| client.agent.default_scopes.clone());
        request.expires = Some(now.plus(OWN_TASK_LIFETIME));
    }
    // What is asked for has to be within the holder's own registration as well, and is told by name.
    registration.narrow(&request).map_err(exceeds)?;
    if is_child && !again {
        request.scope.get_or_insert_with(|| {
            meet(&above.scope, &registration.scope, placet_core::scope::Scope::covers)
        });
        request.tools.get_or_insert_with(|| {
            meet(&above.tools, &registration.tools, placet_core::pattern::ActionPattern::covers)
        });
        request.resources.get_or_insert_with(|| {
            meet(&above.resources, &registration.resources, placet_core::pattern::ResourcePattern::covers)
        });
    }
    if let Some(ends) = base.ends {
        request.expires = Some(request.expires.map_or(ends, |asked| asked.min(ends)));
    }
    let child = above.narrow(&request).map_err(exceeds)?;
    within_level(&app.rules.load(), client, &request)?;
    Ok(child)
}

/// Whether `authority` reaches everything that `other` does, whatever their lives.
fn covers(authority: &Authority, other: &Authority) -> bool {
    let all = Request {
        scope: Some(other.scope.clone()),
        tools: Some(other.tools.clone()),
        resources: Some(other.resources.clone()),
        connections: other.connections.clone(),
        authorization_details: Some(other.authorization_details.clone()),
        audience: Some(other.audience.clone()),
        expires: None,
    };
    authority.connections.is_some() <= other.connections.is_some() && authority.narrow(&all).is_ok()
}

fn exceeds(error: Exceeds) -> OAuthError {
    OAuthError::new(error.oauth(), error.to_string())
}

/// The entries of each list that one entry of the other covers.
fn meet<T: Clone + PartialEq>(a: &[T], b: &[T], covers: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let beyond = |these: &[T], those: &[T]| -> Vec<T> {
        let over = uncovered(these, those, &covers);
        these.iter().filter(|item| !over.contains(item)).cloned().collect()
    };
    let mut met = beyond(a, b);
    for other in beyond(b, a) {
        if !uncovered(std::slice::from_ref(&other), &met, &covers).is_empty() {
            met.push(other);
        }
    }
    met
}

/// Refuses single actions whose effect is above the agent's level; patterns are judged per action.
///
/// # Errors
/// `invalid_scope`, naming them.
pub fn within_level(rules: &Rules, client: &Client, request: &Request) -> Result<(), OAuthError> {
    let scopes = request.scope.iter().flatten().filter_map(|scope| scope.action().single());
    let tools = request.tools.iter().flatten().filter_map(placet_core::pattern::ActionPattern::single);
    let above: Vec<String> = scopes
        .chain(tools)
        .filter(|name| {
            rules.declaring(name).is_some_and(|(_, action)| !client.agent.level.permits(action.effect()))
        })
        .map(|name| name.as_str().to_owned())
        .collect();
    if above.is_empty() {
        return Ok(());
    }
    Err(OAuthError::new("invalid_scope", format!("above the agent's max_scope_level: {}", above.join(", "))))
}

/// What will be stored, and the chain that it makes.
struct Plan {
    chain: Chain,
    task: Option<Task>,
    grant: Option<Grant>,
}

#[expect(clippy::too_many_arguments, reason = "one call; each is a different part of the request")]
fn plan(
    client: &Client,
    base: &Base,
    authority: Authority,
    found: Option<&Task>,
    label: Option<&str>,
    description: Option<&str>,
    is_child: bool,
    now: Timestamp,
) -> Result<Plan, OAuthError> {
    if !base.chain.may_deepen() {
        return Err(exceeds(Exceeds::Depth(base.chain.leaf().grant.authority.max_depth)));
    }
    let above = base.chain.leaf();
    let new_task = found.is_none().then(|| Task {
        id: clock::fresh(now),
        label: label.map(str::to_owned),
        description: description.map(str::to_owned),
        agent: client.agent.id,
        user: above.grant.user,
        parent: if is_child { above.grant.task } else { None },
        origin: TaskOrigin::Agent,
        state: TaskState::Active,
        created: now,
        expires: Some(authority.expires),
    });
    let task = found.cloned().or_else(|| new_task.clone());
    let grant = Grant {
        id: clock::fresh(now),
        root: above.grant.root,
        parent: Some(above.grant.id),
        depth: above.grant.depth.saturating_add(1),
        agent: client.agent.id,
        user: above.grant.user,
        task: task.as_ref().map(|task| task.id),
        authority,
        limits: Vec::new(),
        origin: base.origin,
        created: now,
        revoked: None,
    };
    let link = Link {
        grant: Arc::new(grant.clone()),
        agent: Arc::clone(&client.agent),
        registration: Arc::clone(&client.registration.leaf().grant),
        task: task.map(Arc::new),
        user: above.user.clone(),
    };
    Ok(Plan {
        chain: extended(link, &base.chain, &client.registration, now)?,
        task: new_task,
        grant: Some(grant),
    })
}

/// The chain of `link` hung below `above`; what its holder's own life hangs on is compared as well.
pub fn extended(
    link: Link,
    above: &Chain,
    registration: &Chain,
    now: Timestamp,
) -> Result<Chain, OAuthError> {
    let mut stamps = above.stamps().to_vec();
    stamps.extend(registration.stamps().iter().filter(|stamp| !above.stamps().contains(stamp)));
    let links = std::iter::once(link).chain(above.links().iter().cloned()).collect();
    Ok(Chain::assemble(links, stamps, now)?)
}

/// Stores the plan if nothing that it rests on has changed, and records it.
async fn commit(
    app: &App,
    base: &Base,
    plan: &Plan,
    jti: TokenId,
    source: Source,
    now: Timestamp,
) -> Result<Committed, OAuthError> {
    let entry_type = if plan.grant.is_some() { EntryType::GrantIssued } else { EntryType::GrantToken };
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::attributed(entry_type, now, &plan.chain, Some(jti))
    };
    let authority = &plan.chain.leaf().grant.authority;
    let body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "authorization_details": authority.authorization_details, "expires": authority.expires,
        "task_label": plan.chain.leaf().task.as_ref().and_then(|task| task.label.clone()),
        "task_description": plan.chain.leaf().task.as_ref().and_then(|task| task.description.clone())});
    let entry = app.prepare(envelope, Some(&body))?;
    let stamps = plan.chain.stamps().to_vec();
    let (task, grant, spends) = (plan.task.clone(), plan.grant.clone(), base.spends);
    let written = app
        .store
        .write(move |tx| {
            if !lineage::holds(tx, &stamps)? {
                return Ok(Committed::Stale);
            }
            if let Some((jti, expires)) = spends
                && !delegations::spend(tx, jti, expires)?
            {
                return Ok(Committed::Spent);
            }
            if let Some(task) = &task {
                tasks::insert(tx, task)?;
            }
            if let Some(grant) = &grant {
                grants::insert(tx, grant)?;
            }
            tx.record(entry.clone())?;
            Ok::<_, Fault>(Committed::Done)
        })
        .await;
    match written {
        // Two requests began the same task at once: the later one finds it and asks again.
        Err(Fault::Conflict(_)) => Ok(Committed::LabelTaken),
        written => Ok(written?),
    }
}

/// The token endpoint's answer (RFC 6749 §5.1) with Placet's members (DESIGN §9).
fn answer(
    app: &App,
    chain: &Chain,
    jti: TokenId,
    ends: Option<Timestamp>,
    params: &OAuthParams,
    is_child: bool,
    now: Timestamp,
) -> Result<Value, OAuthError> {
    let leaf = chain.leaf();
    let end = now.plus(ACCESS_LIFETIME).min(chain.expires()).min(ends.unwrap_or(Timestamp::MAX));
    let claims = claims(app, chain, jti, end, now);
    let token = sign_access(&app.secrets.tokens.load(), &claims)?;
    let mut answer = Map::new();
    answer.insert("access_token".into(), token.into());
    answer.insert("token_type".into(), "Bearer".into());
    answer.insert("expires_in".into(), (claims.exp - claims.iat).into());
    answer.insert("scope".into(), claims.scope.into());
    answer.insert("task_id".into(), claims.task.id.into());
    answer.insert("task_bound".into(), true.into());
    answer.insert("granted_tools".into(), json!(leaf.grant.authority.tools));
    answer.insert("granted_resources".into(), json!(leaf.grant.authority.resources));
    answer.insert("grant_id".into(), json!(leaf.grant.id));
    if !leaf.grant.authority.authorization_details.is_empty() {
        answer.insert("authorization_details".into(), json!(leaf.grant.authority.authorization_details));
    }
    if is_child {
        let sent = params.text("parent_task_id")?.map(str::to_owned).or(claims.task.parent);
        answer.insert("parent_task_id".into(), json!(sent));
        answer.insert("scope_inheritance".into(), "restricted".into());
    }
    Ok(Value::Object(answer))
}

/// The claims of a token for the leaf of `chain` that ends at `end`.
fn claims(app: &App, chain: &Chain, jti: TokenId, end: Timestamp, now: Timestamp) -> AccessClaims {
    let leaf = chain.leaf();
    let parent_task = leaf.task.as_ref().and_then(|task| task.parent);
    let shown = |task: placet_core::id::TaskId| {
        let above = chain.links().iter().filter_map(|link| link.task.as_ref()).find(|known| known.id == task);
        above.map_or_else(|| task.to_string(), |known| known.shown_id())
    };
    let user: Option<&User> = chain.user();
    AccessClaims {
        iss: app.issuer.clone(),
        sub: user.map_or_else(|| chain.agent().id.to_string(), |user| user.id.to_string()),
        aud: leaf.grant.authority.audience.clone(),
        exp: end.as_seconds(),
        iat: now.as_seconds(),
        jti,
        client_id: chain.agent().id,
        scope: leaf.grant.authority.scope.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        authorization_details: leaf.grant.authority.authorization_details.clone(),
        act: Actor::of(chain),
        task: TaskClaim {
            id: leaf.task.as_ref().map(|task| task.shown_id()).unwrap_or_default(),
            parent: parent_task.map(shown),
        },
        grant: GrantClaim { id: leaf.grant.id, root: leaf.grant.root, depth: leaf.grant.depth },
    }
}
