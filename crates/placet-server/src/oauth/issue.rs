//! Issuing: from a client's request to a grant under a live chain, and a token that represents it.
//!
//! What an agent obtains for itself hangs below its registration grant or below a grant that a person made for it;
//! what a child obtains hangs below its parent's. A left-out dimension is copied from the parent; for a child agent
//! only as far as its own registration reaches too (DESIGN §3.8).
//!
//! Invariant: a grant is inserted only in a transaction that finds every version that its chain was read at, and no
//! second one where the same was granted for the same task before.

mod answer;
mod base;
mod reach;

use super::{
    client::Client,
    federation::{Counts, Word},
    redeem::Redemption,
    refresh, token,
};
use crate::{
    api::scopes,
    app::App,
    body::OAuthParams,
    caller::Source,
    clock,
    problem::{OAuthError, Problem},
    recording,
    status_lists::filling::{self, Placed},
};
pub(crate) use answer::scope_text;
use answer::{Given, answer};
pub use base::Presented;
use base::{Found, Spend};
use placet_core::{
    chain::{Chain, Link, Stamp},
    grant::{Authority, Exceeds, Grant},
    id::{AgentId, GrantId, TokenId},
    intent::Stated,
    record::{EntryType, Envelope},
    refusal::{Code, Reason},
    scope::Scope,
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
};
use placet_store::{
    Fault, Issue, PreparedEntry, Tx, client_use, delegations, grants, lineage, status_lists, tasks,
    trusted_issuers,
};
pub use reach::audience;
pub(crate) use reach::named_audience;
pub(crate) use reach::within_level;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// How long what an agent obtains for itself lives at most.
pub const OWN_TASK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The longest description of a task, in characters.
pub const MAX_DESCRIPTION: usize = 2000;
const ATTEMPTS: usize = 5;
/// The most grants of one task that are compared with a new one.
const MAX_COMPARED: usize = 1000;

/// What the transaction came to.
enum Committed {
    /// It is done; with what a refresh token's successor was derived.
    Done(Option<[u8; 32]>),
    /// Something that it rests on has changed, or the same grant was made meanwhile.
    Stale,
    /// The delegation token was used before.
    Spent,
    /// The refresh token was used before, and the answer to that did arrive.
    Reused,
    /// What a person consented to was taken up before.
    TakenUp(Box<Redemption>),
    /// The trusted issuer's word counts no more.
    Distrusted(Counts),
    LabelTaken,
}

/// The client credentials grant (RFC 6749 §4.4), with Placet's tasks, lineage and narrowing.
///
/// # Errors
/// RFC 6749 §5.2; `invalid_scope`, `invalid_target`, `invalid_authorization_details` name what exceeds.
pub async fn client_credentials(
    app: &Arc<App>,
    client: &Arc<Client>,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let presented = match (params.text("parent_token")?, params.text("grant_id")?) {
        (Some(_), Some(_)) => {
            let description = "`parent_token` and `grant_id` are two kinds of authority: send one";
            return Err(OAuthError::new("invalid_request", description));
        }
        (Some(token), None) => Presented::Parent(token),
        (None, Some(id)) => Presented::Grant(id),
        (None, None) => Presented::Nothing,
    };
    issue(app, client, presented, params, source).await.map(Value::Object)
}

/// The scopes that were asked for, with those written out that stand for others.
pub(crate) async fn expanded(app: &App, scope: Option<Vec<Scope>>) -> Result<Option<Vec<Scope>>, Problem> {
    let Some(scope) = scope else { return Ok(None) };
    Ok(Some(scopes::registry(app).await?.expand(&scope)))
}

/// Finds or makes the grant that a request asks for, and answers with a token of it.
///
/// # Errors
/// As [`client_credentials`].
pub async fn issue(
    app: &Arc<App>,
    client: &Arc<Client>,
    presented: Presented<'_>,
    params: &OAuthParams,
    source: Source,
) -> Result<Map<String, Value>, OAuthError> {
    let mut request = token::asked(app, params).await?;
    request.scope = expanded(app, request.scope).await?;
    request.audience = audience(app, params, true).await?;
    if params.text("task_description")?.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(OAuthError::new(
            "invalid_request",
            format!("`task_description` has at most {MAX_DESCRIPTION} characters"),
        ));
    }
    for _ in 0..ATTEMPTS {
        let now = app.clock.now();
        let found = base::find(app, client, presented, params, now).await?;
        let authority = reach::authority(app, client, &found, &request, params, now)?;
        let mut plan = plan(app, client, &found, authority, params, now).await?;
        plan.placed = filling::place(app, &plan.chain, now).await?;
        plan.noted = client.use_is_due(now).then_some(client.agent.id);
        let jti = clock::fresh(now);
        match commit(app, &found, &plan, params, jti, source, now).await? {
            Committed::Done(salt) => {
                client.use_was_noted(now);
                let (ends, is_child) = (found.base.ends, found.is_child);
                let stays_bound = found.base.stays_bound;
                let status = plan.placed.as_ref().map(|placed| &placed.claim);
                let given = Given { chain: &plan.chain, jti, ends, is_child, stays_bound, status, now };
                let mut answer = answer(app, &given, params)?;
                if let (Presented::Refresh(token), Some(salt)) = (presented, salt) {
                    answer.insert("refresh_token".into(), refresh::successor(app, token, &salt)?.into());
                }
                if let Spend::Consent(redemption) = &found.base.spends
                    && let Some(token) = redemption.refresh_token()
                {
                    answer.insert("refresh_token".into(), token.into());
                }
                return Ok(answer);
            }
            Committed::Stale => app.bearers.authority_changed(),
            Committed::LabelTaken if matches!(found.base.spends, Spend::Consent(_)) => {
                let description = "the task_id was used for something else since the consent was given";
                return Err(OAuthError::new("invalid_grant", description));
            }
            Committed::LabelTaken => {}
            Committed::Spent => {
                return Err(OAuthError::new("invalid_grant", "the delegation token was used before"));
            }
            Committed::Reused => {
                return Err(refresh::reused(app, client, found.base.chain.leaf().grant.id, source).await);
            }
            Committed::Distrusted(counts) => return Err(counts.refused()),
            Committed::TakenUp(redemption) => return Err(redemption.refused(app, client, source).await),
        }
    }
    Err(OAuthError::from(Reason::of(Code::Unavailable).detail("authority keeps changing; try again")))
}

/// What will be stored, and the chain that it makes.
struct Plan {
    chain: Chain,
    task: Option<Task>,
    grant: Option<Grant>,
    /// Where the token stands in a list of statuses, where it does.
    placed: Option<Placed>,
    /// Whose use is to be noted, if anybody's.
    noted: Option<AgentId>,
}

impl Plan {
    /// Another token of what there is.
    fn of(chain: Chain) -> Self {
        Self { chain, task: None, grant: None, placed: None, noted: None }
    }
}

/// What to make, if anything: what the client holds for the task already is given again.
async fn plan(
    app: &App,
    client: &Client,
    found: &Found,
    authority: Authority,
    params: &OAuthParams,
    now: Timestamp,
) -> Result<Plan, OAuthError> {
    let base = &found.base;
    // What was narrowed from the standing grant and covers it permits the same, in whatever order it was asked.
    if found.again && authority.covers(&base.chain.effective()) {
        return Ok(Plan::of(base.chain.clone()));
    }
    if let Some(known) = found.narrowings.iter().find(|grant| is_same(grant, &authority)) {
        match crate::bearer::chain(app, known.id, now).await {
            Ok(chain) => return Ok(Plan::of(chain)),
            // One that was revoked is not given again.
            Err(problem) if problem.code().status() == 401 => {}
            Err(problem) => return Err(problem.into()),
        }
    }
    if !base.chain.may_deepen() {
        return Err(reach::exceeds(Exceeds::Depth(base.chain.leaf().grant.authority.max_depth)));
    }
    let above = base.chain.leaf();
    let new_task = match &found.task {
        Some(_) => None,
        None => Some(Task {
            id: clock::fresh(now),
            label: params.text("task_id")?.map(str::to_owned),
            description: params.text("task_description")?.map(str::to_owned),
            stated: Stated::default(),
            agent: client.agent.id,
            user: above.grant.user,
            parent: if found.is_child { above.grant.task } else { None },
            origin: TaskOrigin::Agent,
            state: TaskState::Active,
            created: now,
            expires: Some(authority.expires),
        }),
    };
    let task = found.task.clone().or_else(|| new_task.clone().map(Arc::new));
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
        task,
        user: above.user.clone(),
    };
    Ok(Plan {
        chain: extended(link, &base.chain, &client.registration, now)?,
        task: new_task,
        grant: Some(grant),
        placed: None,
        noted: None,
    })
}

/// Whether `grant` is what was asked for and lives at least as long.
fn is_same(grant: &Grant, authority: &Authority) -> bool {
    grant.limits.is_empty()
        && grant.authority.expires >= authority.expires
        && grant.authority.covers(authority)
        && authority.covers(&grant.authority)
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

/// What nothing else can collide with: it needs no turn of the control plane.
fn on_its_own(found: &Found, plan: &Plan, entry: &PreparedEntry) -> Result<Option<Issue>, Fault> {
    if !matches!(found.base.spends, Spend::Nothing) || plan.noted.is_some() {
        return Ok(None);
    }
    let place = plan.placed.as_ref().map(|placed| placed.place);
    match (&plan.task, &plan.grant) {
        (None, None) => Ok(Some(Issue::again(&plan.chain, entry.clone()).at(place))),
        (Some(task), Some(_)) if task.label.is_none() => {
            Ok(Some(Issue::anew(&plan.chain, task, entry.clone())?.at(place)))
        }
        _ => Ok(None),
    }
}

/// Stores the plan if nothing that it rests on has changed, and records it.
async fn commit(
    app: &App,
    found: &Found,
    plan: &Plan,
    params: &OAuthParams,
    jti: TokenId,
    source: Source,
    now: Timestamp,
) -> Result<Committed, OAuthError> {
    let makes = plan.grant.is_some() || matches!(found.base.spends, Spend::Consent(_) | Spend::Root(_));
    let entry_type = if makes { EntryType::GrantIssued } else { EntryType::GrantToken };
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::attributed(entry_type, now, &plan.chain, Some(jti))
    };
    let authority = &plan.chain.leaf().grant.authority;
    let mut body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "authorization_details": authority.authorization_details, "expires": authority.expires,
        "task_label": plan.chain.leaf().task.as_ref().and_then(|task| task.label.clone()),
        "task_description": plan.chain.leaf().task.as_ref().and_then(|task| task.description.clone())});
    let word = params.word().cloned();
    if let (Some(word), Some(members)) = (&word, body.as_object_mut()) {
        members.insert("on_word_of".into(), word.told());
    }
    let entry = app.prepare(envelope, Some(&body))?;
    // Somebody else's word may be withdrawn or used up meanwhile: that takes a turn.
    if word.is_none()
        && let Some(alone) = on_its_own(found, plan, &entry)?
    {
        return Ok(if app.store.issue(alone).await? { Committed::Done(None) } else { Committed::Stale });
    }
    let writing = Writing {
        stamps: plan.chain.stamps().to_vec(),
        leaf: plan.chain.leaf().grant.id,
        task: plan.task.clone(),
        grant: plan.grant.clone(),
        spends: found.base.spends.clone(),
        narrows: found.again,
        noted: plan.noted,
        place: plan.placed.as_ref().map(|placed| placed.place),
        word,
        entry,
        now,
    };
    match app.store.write(move |tx| writing.run(tx)).await {
        // Two requests began the same task at once: the later one finds it and asks again.
        Err(Fault::Conflict(_)) => Ok(Committed::LabelTaken),
        written => Ok(written?),
    }
}

/// What a plan changes, in one transaction.
struct Writing {
    /// What its chain was read at.
    stamps: Vec<(Stamp, u64)>,
    /// The grant that the token is of.
    leaf: GrantId,
    /// The task that comes to be.
    task: Option<Task>,
    /// The grant that comes to be.
    grant: Option<Grant>,
    spends: Spend,
    /// Whether it is less of what the client holds for the task already.
    narrows: bool,
    /// Whose use is noted.
    noted: Option<AgentId>,
    /// The token's place in a list of statuses.
    place: Option<status_lists::Place>,
    /// A trusted issuer's word that it rests on.
    word: Option<Word>,
    entry: PreparedEntry,
    now: Timestamp,
}

impl Writing {
    fn run(&self, tx: &mut Tx<'_>) -> Result<Committed, Fault> {
        if !lineage::holds(tx, &self.stamps)? || self.was_given_meanwhile(tx)? {
            return Ok(Committed::Stale);
        }
        // Before anything is used up, so that a root that is worked out anew still has it.
        if let Spend::Root(rooted) = &self.spends
            && !rooted.holds(tx)?
        {
            return Ok(Committed::Stale);
        }
        if let Some(word) = &self.word {
            let counts = word.take(tx)?;
            if counts != Counts::Yes {
                return Ok(Committed::Distrusted(counts));
            }
        }
        let spent = self.spend(tx)?;
        if matches!(spent, Committed::Done(_)) {
            self.store(tx)?;
        }
        Ok(spent)
    }

    /// Of two that ask for the same less at once, the later one finds what the other was given.
    fn was_given_meanwhile(&self, tx: &mut Tx<'_>) -> Result<bool, Fault> {
        let Some(grant) = self.grant.as_ref().filter(|_| self.narrows) else { return Ok(false) };
        let Some(task) = grant.task else { return Ok(false) };
        let held = grants::of_task_for_reuse(tx, grant.agent, task, self.now, MAX_COMPARED)?;
        Ok(held.iter().any(|other| other.parent == grant.parent && is_same(other, &grant.authority)))
    }

    /// Uses up what it rests on: done, or why not.
    fn spend(&self, tx: &mut Tx<'_>) -> Result<Committed, Fault> {
        match &self.spends {
            Spend::Nothing => {}
            Spend::Root(rooted) => rooted.make(tx)?,
            Spend::Delegation(jti, expires) => {
                if !delegations::spend(tx, *jti, *expires)? {
                    return Ok(Committed::Spent);
                }
            }
            Spend::Refresh(rotation) => {
                let salt = rotation.commit(tx, self.now)?;
                return Ok(salt.map_or(Committed::Reused, |salt| Committed::Done(Some(salt))));
            }
            Spend::Consent(redemption) => {
                if !redemption.commit(tx, self.now)? {
                    return Ok(Committed::TakenUp(Box::new(redemption.clone())));
                }
            }
        }
        Ok(Committed::Done(None))
    }

    /// Stores what comes to be, with its entry.
    fn store(&self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        if let Some(task) = &self.task {
            tasks::insert(tx, task)?;
        }
        if let Some(grant) = &self.grant {
            grants::insert(tx, grant)?;
        }
        if let Some(place) = self.place {
            status_lists::take(tx, place)?;
        }
        if let Some(word) = &self.word {
            trusted_issuers::note(tx, word.issuer(), self.leaf)?;
        }
        if let Some(agent) = self.noted {
            client_use::note(tx, agent, self.now)?;
        }
        tx.record(self.entry.clone())
    }
}
