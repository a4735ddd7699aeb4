//! What a server does by itself: entries into the log, counts of denials into entries, what has expired out of the way.
//!
//! Invariant: no job holds up a request, and a store that fails is asked again at the next turn, never in a busy loop.

mod following;
mod retention;
mod unused;

use crate::{
    api::approvals,
    app::App,
    keys::rotation,
    oauth::{code, par, waiting as requests},
    operations::failures,
    problem::Problem,
    reconcile, recording,
    revocation::issuer,
    streams, tools,
};
use placet_core::{
    id::ApprovalId,
    record::{EntryType, Envelope},
    time::Timestamp,
};
use placet_store::{
    ConcludeError, Conclusion, Fault, PendingDenial, PreparedEntry,
    actions::{self, ActionState, StoredAction},
    assertions, authorization_codes, delegations, idempotency, proofs, pushed_requests, refresh_tokens,
    registrations, waiting,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// How often entries are put into the log: what is answered is in it within a second (DESIGN §8).
const SEQUENCE: Duration = Duration::from_millis(250);
/// How often counted denials are looked at.
const DENIALS: Duration = Duration::from_secs(5);
/// How often MCP servers are asked for their tools.
const TOOLS: Duration = Duration::from_secs(60);
/// How soon again, of servers that say that they have others.
const TOOLS_AGAIN: Duration = Duration::from_secs(2);
/// How often is tidied up.
const TIDY: Duration = Duration::from_secs(60);
/// How often is looked for approvals that ended unused.
const APPROVALS: Duration = Duration::from_secs(2);
/// How often is looked for actions of which nobody knows what became.
const RECONCILE: Duration = Duration::from_secs(1);
/// How many open approvals one turn looks at.
const LOOKED_AT: usize = 500;
/// How often grants of open streams are looked at: what another node ends is cut within a second.
const STREAMS: Duration = Duration::from_millis(400);
/// How often admissions are looked for whose callers were told that the database did not answer.
const ORPHANS: Duration = Duration::from_secs(1);
/// How many entries one step of the sequencer takes.
const STEP: usize = 1024;
/// How many rows a transaction drops or reads.
const BATCH: usize = 500;
/// The same of what anybody can leave, who leaves more of it.
const OF_ANYBODY: usize = 10 * BATCH;
/// Clocks that differ by less than this don't bring a spent token back to life, nor let a request run twice whose key
/// another node still counts as kept.
const TOLERANCE: Duration = Duration::from_secs(120);

/// The jobs of a running server.
#[derive(Debug)]
pub struct Jobs {
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
    app: Arc<App>,
}

/// What a start does before the server says that it is ready: actions that a crash left in flight become `unknown`
/// (whether they happened, nobody knows), counted denials are written down, and everything that was answered before
/// is put into the log.
///
/// # Errors
/// A sentence: the store doesn't answer.
pub async fn catch_up(app: &App) -> Result<(), String> {
    let now = app.clock.now();
    let left = app
        .store
        .recover(now, |action| ended(action, ActionState::Unknown, now))
        .await
        .map_err(|fault| fault.to_string())?;
    if left > 0 {
        tracing::warn!(
            actions = left,
            "actions were in flight when the server last stopped: their outcome is unknown"
        );
    }
    flush(app, Timestamp::MAX).await.map_err(|failure| failure.0)?;
    sequence(app).await.map_err(|failure| failure.0)
}

/// The entry for an action that ends without an answer of its upstream.
fn ended(action: &StoredAction, state: ActionState, now: Timestamp) -> PreparedEntry {
    let known = action.intent.as_deref().and_then(|leaf| Envelope::decode(leaf).ok());
    let envelope = Envelope {
        agent: Some(action.agent),
        chain: known.as_ref().map(|known| known.chain.clone()).unwrap_or_default(),
        grants: vec![action.grant],
        task: action.task,
        user: action.user,
        action: known.as_ref().and_then(|known| known.action.clone()),
        service: known.and_then(|known| known.service),
        connection: action.connection,
        action_id: Some(action.id),
        outcome: Some(state.as_str().to_owned()),
        ..recording::entry(EntryType::ActionOutcome, now)
    };
    PreparedEntry::new(&envelope, None)
}

impl Jobs {
    /// Starts them.
    pub fn start(app: &Arc<App>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let running = vec![
            tokio::spawn(sequencing(Arc::clone(app), stopped.clone())),
            tokio::spawn(flushing(Arc::clone(app), stopped.clone())),
            tokio::spawn(following::following(Arc::clone(app), stopped.clone())),
            tokio::spawn(following::keeping_the_vault(Arc::clone(app), stopped.clone())),
            tokio::spawn(reconciling(Arc::clone(app), stopped.clone())),
            tokio::spawn(closing(Arc::clone(app), stopped.clone())),
            tokio::spawn(tidying(Arc::clone(app), stopped.clone())),
            tokio::spawn(retention::run(Arc::clone(app), stopped.clone())),
            tokio::spawn(watching_streams(Arc::clone(app), stopped.clone())),
            tokio::spawn(giving_back(Arc::clone(app), stopped.clone())),
            tokio::spawn(watching_tools(Arc::clone(app), stopped)),
        ];
        Self { stop, running, app: Arc::clone(app) }
    }

    /// Lets each finish its turn, writes down every count of denials, and puts all entries into the log.
    pub async fn stop(self) {
        _ = self.stop.send(true);
        for job in self.running {
            _ = job.await;
        }
        let mut health = Health::silent("the last turn");
        health.note(&flush(&self.app, Timestamp::MAX).await);
        health.note(&failures::write_down(&self.app).await.map_err(Failure::from));
        health.note(&sequence(&self.app).await);
    }
}

async fn sequencing(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "putting entries into the log", SEQUENCE);
    let mut turns = turns(SEQUENCE);
    while turn(&mut turns, &mut stopped).await {
        health.note(&sequence(&app).await);
    }
}

async fn flushing(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "writing down counted denials", DENIALS);
    let mut turns = turns(DENIALS);
    while turn(&mut turns, &mut stopped).await {
        health.note(&flush(&app, app.clock.now()).await);
    }
}

/// Cuts streams whose grant has ended: at once where this node ended it, at the next turn where another did.
async fn watching_streams(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "watching over open streams", STREAMS);
    let mut turns = turns(STREAMS);
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = app.bearers.next_change() => {}
            _ = turns.tick() => {}
        }
        health.note(&streams::check(&app).await.map_err(Failure::from));
    }
}

async fn tidying(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "tidying up", TIDY);
    let mut turns = turns(TIDY);
    while turn(&mut turns, &mut stopped).await {
        let now = app.clock.now();
        let summed = failures::write_down(&app).await.map_err(Failure::from);
        let tidied = purge(&app, now).await.and(remove_keys(&app, now).await);
        let tidied = tidied.and(issuer::go_on(&app, &stopped).await.map_err(Failure::from));
        health.note(&tidied.and(summed));
    }
}

/// Gives back what was admitted for callers that were told otherwise.
async fn giving_back(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "giving back what was admitted but never begun", ORPHANS);
    let mut turns = turns(ORPHANS);
    while turn(&mut turns, &mut stopped).await {
        health.note(&give_back(&app, app.clock.now()).await);
    }
}

/// Asks MCP servers which tools they have: all of them at times, and those at once that say they have others.
async fn watching_tools(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let (mut turns, mut pace) = (turns(TOOLS), turns(TOOLS_AGAIN));
    // A server that always says so is not asked all the time.
    while turn(&mut pace, &mut stopped).await {
        let servers = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            servers = next_asked(&mut turns, app.gateway.other_tools()) => servers,
        };
        // A server that is slow to answer does not hold up the end.
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = tools::look_at(&app, servers.as_ref()) => {}
        }
    }
}

/// The servers that are asked next, which said so; `None`: all. One that always says so keeps no other from its turn, while
/// nothing that was said is forgotten for a turn of all.
async fn next_asked<S>(turns: &mut tokio::time::Interval, said: impl Future<Output = S>) -> Option<S> {
    tokio::select! {
        biased;
        _ = turns.tick() => None,
        servers = said => Some(servers),
    }
}

/// Finds out what became of actions of which nobody knows.
async fn reconciling(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "finding out what became of unknown actions", RECONCILE);
    let mut reconciler = reconcile::Reconciler::default();
    let mut turns = turns(RECONCILE);
    let mut overdue = TIDY;
    while turn(&mut turns, &mut stopped).await {
        let asked = reconciler.turn(&app).await;
        overdue += RECONCILE;
        let abandoned = if overdue >= TIDY {
            overdue = Duration::ZERO;
            reconcile::abandon_overdue(&app).await.map(|_| ())
        } else {
            Ok(())
        };
        health.note(&asked.and(abandoned).map_err(Failure::from));
    }
}

/// Writes down approvals that ended unused, a page of the open ones each turn.
async fn closing(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let mut health = Health::of(&app, "closing approvals", APPROVALS);
    let mut turns = turns(APPROVALS);
    let mut after: Option<ApprovalId> = None;
    while turn(&mut turns, &mut stopped).await {
        let closed = approvals::close_ended(&app, after, LOOKED_AT, app.clock.now()).await;
        after = closed.as_ref().copied().unwrap_or(after);
        health.note(&closed.map(|_| ()).map_err(Failure::from));
    }
}

fn turns(every: Duration) -> tokio::time::Interval {
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// Waits for the next turn; `false` where the jobs are to stop.
async fn turn(turns: &mut tokio::time::Interval, stopped: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stopped| *stopped) => false,
        _ = turns.tick() => true,
    }
}

/// Puts entries into the log until none are left.
async fn sequence(app: &App) -> Result<(), Failure> {
    while app.store.sequence(app.clock.now()).await? >= STEP {}
    Ok(())
}

/// Writes down the counts whose time was over at `until`.
async fn flush(app: &App, until: Timestamp) -> Result<(), Failure> {
    let now = app.clock.now();
    let coalesced = &app.operations.metrics.coalesced;
    app.store
        .flush_denials(until, |denial| {
            coalesced.add_many(&[], denial.count);
            counted(denial, now)
        })
        .await?;
    Ok(())
}

/// The entry for denials that were counted: the first one's, with how many came after it.
fn counted(denial: &PendingDenial, now: Timestamp) -> PreparedEntry {
    let fresh = recording::entry(EntryType::DecisionDeny, now);
    let envelope = match Envelope::decode(&denial.sample) {
        // The body stays with the entry that was written: it is equal in everything but the time.
        Ok(sample) => {
            Envelope { id: fresh.id, at: denial.last, count: Some(denial.count), commitment: None, ..sample }
        }
        Err(_) => Envelope { count: Some(denial.count), ..fresh },
    };
    // Without a body there is nothing to seal that could fail.
    PreparedEntry::new(&envelope, None)
}

/// Concludes what was admitted although its caller was told that the database did not answer: nothing of it was sent,
/// so it has failed, and what it was charged is given back.
async fn give_back(app: &App, now: Timestamp) -> Result<(), Failure> {
    for id in app.store.orphans() {
        let Some(action) = app.store.read(move |q| actions::find(q, id)).await? else {
            app.store.orphan_settled(id);
            continue;
        };
        let conclusion = Conclusion {
            action: id,
            from: ActionState::Pending,
            state: ActionState::Failed,
            status: None,
            at: now,
            give_back: true,
            answer: None,
            outcome: ended(&action, ActionState::Failed, now),
        };
        match app.store.conclude(conclusion).await {
            Ok(()) | Err(ConcludeError::NotInFlight) => app.store.orphan_settled(id),
            Err(error) => return Err(Failure(error.to_string())),
        }
    }
    Ok(())
}

/// Drops what nobody can use any more. At most a batch of each, the rest at the next turn.
async fn purge(app: &App, now: Timestamp) -> Result<(), Failure> {
    app.store
        .write(move |tx| {
            delegations::purge(tx, now.minus(TOLERANCE), BATCH)?;
            refresh_tokens::purge(tx, now.minus(TOLERANCE), BATCH)?;
            proofs::purge(tx, now, BATCH)?;
            assertions::purge(tx, now.minus(TOLERANCE), BATCH)?;
            registrations::purge(tx, now, BATCH)?;
            // Somebody may still be looking at one that has expired.
            pushed_requests::purge(tx, now.minus(par::KEPT), OF_ANYBODY)?;
            authorization_codes::purge(tx, now.minus(code::KNOWN), BATCH)?;
            waiting::purge(tx, now.minus(requests::KEPT), OF_ANYBODY)?;
            idempotency::prune(tx, now.minus(TOLERANCE), BATCH)?;
            Ok::<_, Fault>(())
        })
        .await?;
    Ok(())
}

/// Removes the keys whose last token has expired.
async fn remove_keys(app: &App, now: Timestamp) -> Result<(), Failure> {
    if rotation::remove_expired(app, now).await? > 0 {
        app.reload_keys().await?;
    }
    Ok(())
}

/// Why a job failed. Not a [`Problem`] of its own: making one of a fault tells the log each time.
struct Failure(String);

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem.detail().to_owned())
    }
}

/// Tells once that a job fails, and once that it works again; and says at each turn that there was one (`/readyz`).
struct Health {
    job: &'static str,
    fails: bool,
    told: Option<(Arc<App>, Duration)>,
}

impl Health {
    /// Of a job that has a turn `every` so long. One that misses ten turns and half a minute does not work.
    fn of(app: &Arc<App>, job: &'static str, every: Duration) -> Self {
        let within = every * 10 + Duration::from_secs(30);
        app.operations.readiness.turn(job, within, false);
        Self { told: Some((Arc::clone(app), within)), ..Self::silent(job) }
    }

    /// Of something that is no job.
    fn silent(job: &'static str) -> Self {
        Self { job, fails: false, told: None }
    }

    /// Answers whether the state changed.
    fn note(&mut self, outcome: &Result<(), Failure>) -> bool {
        let changed = outcome.is_err() != self.fails;
        self.fails = outcome.is_err();
        if let Some((app, within)) = &self.told {
            app.operations.readiness.turn(self.job, *within, self.fails);
        }
        match outcome {
            Err(failure) if changed => {
                tracing::error!(job = self.job, error = failure.0, "a job fails; it is tried again")
            }
            Ok(()) if changed => tracing::info!(job = self.job, "the job works again"),
            _ => {}
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_job_is_told_once() {
        let mut health = Health::silent("test");
        let fails = || Err(Failure::from(Fault::Busy));
        let outcomes = [Ok(()), fails(), fails(), Ok(()), Ok(()), fails()];
        let told: Vec<_> = outcomes.iter().map(|outcome| health.note(outcome)).collect();
        assert_eq!(told, [false, true, false, true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_always_says_so_keeps_no_other_from_its_turn() {
        let mut turns = turns(TOOLS);
        let ready = std::future::ready::<&str>;
        assert_eq!(next_asked(&mut turns, ready("x")).await, None, "all of them, at a start");
        assert_eq!(next_asked(&mut turns, ready("x")).await, Some("x"));
        tokio::time::advance(TOOLS).await;
        assert_eq!(next_asked(&mut turns, ready("x")).await, None);
        assert_eq!(
            next_asked(&mut turns, std::future::pending::<&str>()).await,
            None,
            "whether or not it says so"
        );
    }
}
