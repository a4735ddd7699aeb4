//! Ending authority: what a revocation, a completed task or an ended agent takes with it, in one transaction.
//!
//! Revoking writes one row and one epoch for each top of the cut; what lies below is dead from then on because its
//! chain is. What is told (grants, tasks, actions in flight) is read in the same transaction, up to [`MAX_TOLD`]
//! grants; the end itself has no such bound. Trust in an issuer ends at once, and what was given on its word follows in steps
//! (`issuer.rs`).
//!
//! Invariant: revoking twice is revoking once. Where a caller said what should end and something else would, nothing
//! is done.

pub(crate) mod issuer;

use crate::{app::App, caller::Source, problem::Problem, recording};
use placet_core::{
    agent::AgentState,
    grant::{Grant, Origin, Revoked},
    id::{ActionId, AgentId, GrantId, TaskId, TrustedIssuerId},
    record::{EntryType, Envelope},
    refusal::Code,
    task::{Task, TaskState},
    time::Timestamp,
};
use placet_store::{Fault, Tx, actions, agents, grants, tasks, trusted_issuers, waiting};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

/// The longest reason, in characters.
pub const MAX_REASON: usize = 500;
/// How many grants of a cut are looked at and told.
pub const MAX_TOLD: usize = 4096;

/// What is to end.
#[derive(Debug, Clone)]
pub enum What {
    /// A grant with its subtree. A registration grant takes everything that its agent holds.
    Grant(GrantId),
    /// A task as completed or revoked, with its grants and what hangs below them.
    Task(TaskId, TaskState),
    /// An agent for good, with everything that it holds.
    Agent(AgentId),
    /// The trust in an issuer, with some of what a token was given of on its word; `issuer::end` ends all of it.
    Issuer(TrustedIssuerId, Vec<Grant>),
}

/// Who ends it and why.
#[derive(Debug, Clone)]
pub struct Ending {
    /// What is to end.
    pub what: What,
    /// An agent's or user's id, or `admin-token`.
    pub by: String,
    /// At most [`MAX_REASON`] characters.
    pub reason: Option<String>,
    /// The ids or labels of the tasks that the caller expects to end, all of them.
    pub affected_task_chain: Option<Vec<String>>,
    /// Where the request came from.
    pub source: Source,
}

/// What has ended by it; what had ended before is not told again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Grants, those nearer to their root first.
    pub affected_grants: Vec<GrantId>,
    /// Tasks, as their agents call them.
    pub affected_tasks: Vec<String>,
    /// Actions that were admitted before and may still happen.
    pub in_flight: Vec<ActionId>,
    /// Whether more ended than is told.
    pub truncated: bool,
}

impl Ended {
    /// The answer of everything that ends something (DESIGN §9).
    pub fn to_json(&self, revoked: bool) -> Map<String, Value> {
        let mut answer = Map::new();
        answer.insert("revoked".into(), revoked.into());
        answer.insert("affected_grants".into(), json!(self.affected_grants));
        answer.insert("affected_tasks".into(), json!(self.affected_tasks));
        answer.insert("affected_tasks_terminated".into(), self.affected_tasks.len().into());
        answer.insert("in_flight".into(), json!(self.in_flight));
        if self.truncated {
            answer.insert("truncated".into(), true.into());
        }
        answer
    }
}

/// Refuses a reason that is too long.
///
/// # Errors
/// `request_invalid`.
pub(crate) fn check_reason(reason: Option<&str>) -> Result<(), Problem> {
    if reason.is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(Problem::of(
            Code::RequestInvalid,
            format!("`reason` has at most {MAX_REASON} characters"),
        ));
    }
    Ok(())
}

/// Ends what `ending` says. The caller has made sure that its caller may.
///
/// # Errors
/// `request_invalid` for a reason that is too long, `conflict` where `affected_task_chain` is not what would end.
pub async fn end(app: &Arc<App>, ending: Ending) -> Result<Ended, Problem> {
    check_reason(ending.reason.as_deref())?;
    let now = app.clock.now();
    let inner = Arc::clone(app);
    let ended = app.store.write(move |tx| apply(&inner, tx, &ending, now)).await?;
    app.bearers.authority_changed();
    Ok(ended)
}

/// The transaction; whoever runs it says afterwards that authority has changed.
///
/// # Errors
/// As [`end`].
pub(crate) fn apply(app: &App, tx: &mut Tx<'_>, ending: &Ending, now: Timestamp) -> Result<Ended, Problem> {
    let mut survey = Survey { now, ..Survey::default() };
    let tops = tops(tx, &ending.what, now)?;
    for top in &tops {
        survey.cut(tx, top)?;
    }
    let mut in_flight = BTreeSet::new();
    for root in &survey.roots {
        let found = actions::in_flight(tx, *root)?;
        in_flight.extend(
            found.iter().filter(|action| survey.seen.contains(&action.grant)).map(|action| action.id),
        );
    }
    let ending_tasks = survey.ending_tasks(tx, &ending.what)?;
    if let Some(expected) = &ending.affected_task_chain {
        compare(expected, &ending_tasks, survey.truncated)?;
    }
    let ended = Ended {
        affected_grants: survey.live.clone(),
        affected_tasks: ending_tasks.iter().map(Task::shown_id).collect(),
        in_flight: in_flight.into_iter().collect(),
        truncated: survey.truncated,
    };
    let task_ids: Vec<TaskId> = ending_tasks.iter().map(|task| task.id).collect();
    let whole = json!({"reason": ending.reason, "affected_grants": ended.affected_grants, "affected_tasks": task_ids,
        "in_flight": ended.in_flight, "truncated": ended.truncated});
    let noting = Noting { app, ending, now, count: u64::try_from(ended.affected_grants.len()).ok(), whole };
    noting.end_what_is_named(tx, &ending_tasks)?;
    if !matches!(ending.what, What::Task(..)) {
        let tops: Vec<&Grant> = tops.iter().filter(|top| !survey.below_another(top)).collect();
        noting.revoke(tx, &tops)?;
    }
    for task in &ending_tasks {
        // The one that was named has its state already.
        tasks::finish(tx, task.id, TaskState::Revoked)?;
    }
    Ok(ended)
}

/// Ends what was named, each with its entry of the record.
struct Noting<'a> {
    app: &'a App,
    ending: &'a Ending,
    now: Timestamp,
    /// How many grants end.
    count: Option<u64>,
    /// All that ends, for the body of an entry.
    whole: Value,
}

impl Noting<'_> {
    /// What its entries have in common.
    fn entry(&self, entry_type: EntryType) -> Envelope {
        Envelope {
            count: self.count,
            source: recording::source(self.ending.source.0),
            ..recording::by(entry_type, self.now, self.ending.by.clone())
        }
    }

    fn record(&self, tx: &mut Tx<'_>, envelope: Envelope, body: &Value) -> Result<(), Problem> {
        tx.record(self.app.prepare(envelope, Some(body))?)?;
        Ok(())
    }

    /// Ends the task, agent or trust that is named, unless it has ended before.
    fn end_what_is_named(&self, tx: &mut Tx<'_>, ending_tasks: &[Task]) -> Result<(), Problem> {
        match &self.ending.what {
            What::Grant(_) => {}
            What::Task(id, state) => {
                if let Some(task) = ending_tasks.iter().find(|task| task.id == *id)
                    && tasks::finish(tx, *id, *state)?
                {
                    let done = *state == TaskState::Completed;
                    let envelope = Envelope {
                        task: Some(*id),
                        agent: Some(task.agent),
                        user: task.user,
                        ..self.entry(if done { EntryType::TaskCompleted } else { EntryType::TaskRevoked })
                    };
                    self.record(tx, envelope, &self.whole)?;
                }
            }
            What::Agent(id) => {
                if let Some(agent) = agents::find(tx, *id)?
                    && agents::end(tx, *id, agent.version)?
                {
                    waiting::end_of_agent(tx, *id)?;
                    let envelope = Envelope { agent: Some(*id), ..self.entry(EntryType::AgentEnded) };
                    self.record(tx, envelope, &self.whole)?;
                }
            }
            What::Issuer(id, _) => {
                if let Some(issuer) = trusted_issuers::find(tx, *id)?
                    && trusted_issuers::end(tx, *id, &self.ending.by, self.now)?
                {
                    let mut body = self.whole.clone();
                    if let Some(members) = body.as_object_mut() {
                        members.insert("id".into(), json!(id));
                        members.insert("issuer".into(), issuer.document.issuer.into());
                    }
                    self.record(tx, self.entry(EntryType::IssuerRemoved), &body)?;
                }
            }
        }
        Ok(())
    }

    /// Revokes the grants that all others which end hang from.
    fn revoke(&self, tx: &mut Tx<'_>, tops: &[&Grant]) -> Result<(), Problem> {
        let Ending { what, by, reason, .. } = self.ending;
        let revoked = Revoked { at: self.now, by: by.clone(), reason: reason.clone() };
        // What ends is told whole by the first entry; there may be thousands that hang side by side, each with its own.
        let mut whole = matches!(what, What::Grant(_)).then_some(&self.whole);
        let reason = json!({"reason": reason});
        for top in tops {
            if !grants::revoke(tx, top.id, &revoked)? {
                continue;
            }
            if top.origin == Origin::Registration {
                waiting::end_of_agent(tx, top.agent)?;
            }
            let envelope = Envelope {
                count: self.count,
                source: recording::source(self.ending.source.0),
                ..recording::of_grant(EntryType::GrantRevoked, self.now, by.clone(), top)
            };
            self.record(tx, envelope, whole.take().unwrap_or(&reason))?;
        }
        Ok(())
    }
}

/// The grants that everything which ends hangs from, or is.
fn tops(tx: &mut Tx<'_>, what: &What, now: Timestamp) -> Result<Vec<Grant>, Fault> {
    match what {
        What::Grant(id) => {
            let Some(grant) = grants::find(tx, *id)? else { return Ok(Vec::new()) };
            if grant.origin == Origin::Registration { held_by(tx, grant, now) } else { Ok(vec![grant]) }
        }
        What::Task(id, _) => grants::by_task(tx, *id, MAX_TOLD),
        What::Issuer(_, given) => Ok(given.clone()),
        What::Agent(id) => {
            let Some(agent) = agents::find(tx, *id)? else { return Ok(Vec::new()) };
            match grants::find(tx, agent.registration)? {
                Some(registration) => held_by(tx, registration, now),
                None => Ok(Vec::new()),
            }
        }
    }
}

/// A registration grant with what its agent holds outside that tree: all of it ends with the registration.
fn held_by(tx: &mut Tx<'_>, registration: Grant, now: Timestamp) -> Result<Vec<Grant>, Fault> {
    const PAGE: usize = 1000;
    let filter = grants::Filter { agent: Some(registration.agent), ..grants::Filter::default() };
    let root = registration.id;
    let mut held = vec![registration];
    let mut after = None;
    loop {
        let page = grants::list(tx, filter, after, PAGE)?;
        let full = page.len() == PAGE;
        after = page.last().map(|grant| grant.id);
        // What was revoked before, or has run out, has nothing below it that lives.
        let lives = |grant: &Grant| grant.revoked.is_none() && grant.authority.expires > now;
        held.extend(page.into_iter().filter(|grant| grant.root != root && lives(grant)));
        if !full {
            return Ok(held);
        }
    }
}

/// Refuses where what would end is not what the caller expects.
fn compare(expected: &[String], tasks: &[Task], truncated: bool) -> Result<(), Problem> {
    let is = |task: &Task, name: &String| task.id.to_string() == *name || task.label.as_ref() == Some(name);
    let missing: Vec<_> =
        tasks.iter().filter(|task| !expected.iter().any(|name| is(task, name))).map(Task::shown_id).collect();
    let beyond: Vec<_> = expected.iter().filter(|name| !tasks.iter().any(|task| is(task, name))).collect();
    if missing.is_empty() && beyond.is_empty() && !truncated {
        return Ok(());
    }
    let detail = "`affected_task_chain` is not what would end; nothing was revoked";
    Err(Problem::of(Code::Conflict, detail)
        .with("would_end_too", json!(missing))
        .with("would_not_end", json!(beyond)))
}

/// Whether a grant or a task can never be used again, found by looking at everything above it.
#[derive(Default)]
struct Survey {
    now: Timestamp,
    tasks: HashMap<TaskId, Option<Task>>,
    holders: HashMap<AgentId, bool>,
    roots: BTreeSet<GrantId>,
    seen: HashSet<GrantId>,
    live: Vec<GrantId>,
    live_tasks: Vec<TaskId>,
    truncated: bool,
}

impl Survey {
    /// Looks at a grant that is to end, and at everything below it.
    fn cut(&mut self, tx: &mut Tx<'_>, top: &Grant) -> Result<(), Fault> {
        self.roots.insert(top.root);
        if self.seen.contains(&top.id) {
            return Ok(());
        }
        let left = MAX_TOLD.saturating_sub(self.seen.len());
        let nodes = grants::subtree(tx, top.id, left + 1)?;
        self.truncated |= nodes.len() > left;
        let mut dead: HashSet<GrantId> = HashSet::new();
        for (index, node) in nodes.iter().take(left).enumerate() {
            let above = if index == 0 {
                self.dead_above(tx, top)?
            } else {
                node.parent.is_some_and(|parent| dead.contains(&parent))
            };
            let over = above
                || node.revoked.is_some()
                || node.expires <= self.now
                || self.task_ended(tx, node.task)?
                || self.holder_ended(tx, node.agent)?;
            if over {
                dead.insert(node.id);
            } else if !self.seen.contains(&node.id) {
                self.live.push(node.id);
                self.live_tasks.extend(node.task.filter(|task| !self.live_tasks.contains(task)));
            }
            self.seen.insert(node.id);
        }
        Ok(())
    }

    /// Whether something above the grant has ended.
    fn dead_above(&mut self, tx: &mut Tx<'_>, grant: &Grant) -> Result<bool, Fault> {
        for above in grants::ancestors(tx, grant.id)?.iter().skip(1) {
            if self.is_over(tx, above)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the grant itself has ended, whatever is above it.
    fn is_over(&mut self, tx: &mut Tx<'_>, grant: &Grant) -> Result<bool, Fault> {
        Ok(grant.revoked.is_some()
            || grant.authority.expires <= self.now
            || self.task_ended(tx, grant.task)?
            || self.holder_ended(tx, grant.agent)?)
    }

    fn task(&mut self, tx: &mut Tx<'_>, id: TaskId) -> Result<Option<&Task>, Fault> {
        if let Entry::Vacant(slot) = self.tasks.entry(id) {
            slot.insert(tasks::find(tx, id)?);
        }
        Ok(self.tasks.get(&id).and_then(Option::as_ref))
    }

    fn task_ended(&mut self, tx: &mut Tx<'_>, task: Option<TaskId>) -> Result<bool, Fault> {
        let now = self.now;
        let Some(id) = task else { return Ok(false) };
        Ok(self.task(tx, id)?.is_none_or(|task| task.state_at(now) != TaskState::Active))
    }

    /// Whether the agent is gone, or its registration is. A suspended one may come back.
    fn holder_ended(&mut self, tx: &mut Tx<'_>, id: AgentId) -> Result<bool, Fault> {
        if let Some(ended) = self.holders.get(&id) {
            return Ok(*ended);
        }
        let ended = match agents::find(tx, id)? {
            Some(agent) if agent.state != AgentState::Ended => {
                grants::find(tx, agent.registration)?.is_none_or(|grant| grant.revoked.is_some())
            }
            _ => true,
        };
        self.holders.insert(id, ended);
        Ok(ended)
    }

    /// Whether a grant of the cut hangs below another of it, so that revoking that one is enough.
    fn below_another(&self, top: &Grant) -> bool {
        top.parent.is_some_and(|parent| self.seen.contains(&parent))
    }

    /// The active tasks of which nothing is left: every grant that still lives is inside the cut.
    fn ending_tasks(&mut self, tx: &mut Tx<'_>, what: &What) -> Result<Vec<Task>, Fault> {
        let mut ending = Vec::new();
        let mut candidates = self.live_tasks.clone();
        if let What::Task(id, _) = what
            && !candidates.contains(id)
        {
            candidates.insert(0, *id);
        }
        for id in candidates {
            if self.task_ended(tx, Some(id))? {
                continue;
            }
            let named = matches!(what, What::Task(named, _) if *named == id);
            if (named || !self.lives_elsewhere(tx, id)?)
                && let Some(task) = self.task(tx, id)?
            {
                ending.push(task.clone());
            }
        }
        Ok(ending)
    }

    fn lives_elsewhere(&mut self, tx: &mut Tx<'_>, task: TaskId) -> Result<bool, Fault> {
        let all = grants::by_task(tx, task, MAX_TOLD)?;
        // With more than were looked at the task is left as it is: its grants end all the same.
        if all.len() == MAX_TOLD {
            return Ok(true);
        }
        for grant in all {
            if !self.seen.contains(&grant.id) && !self.is_over(tx, &grant)? && !self.dead_above(tx, &grant)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
