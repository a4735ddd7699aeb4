//! Whether the server can do its work: the store reads and writes within a bound, the jobs have had their turns, the
//! rules are loaded, every key is at hand, and nobody has asked it to stop.
//!
//! The store is asked at most once a second however often the question comes, so that asking costs nothing.
//!
//! Invariant: what doesn't answer in time is not ready; and the answer names parts, never what is stored in them.

use crate::app::App;
use placet_gateway::State;
use placet_store::Fault;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

/// How long the store may take to read or write.
const BOUND: Duration = Duration::from_secs(2);
/// How long an answer of the store holds.
const FRESH: Duration = Duration::from_secs(1);

/// What is known without asking.
#[derive(Debug, Default)]
pub struct Readiness {
    stopping: AtomicBool,
    pages: AtomicBool,
    jobs: Mutex<BTreeMap<&'static str, Turn>>,
    store: AsyncMutex<Option<(Instant, Stored)>>,
}

/// The last turn of a job.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    within: Duration,
    fails: bool,
}

/// What the store did when it was asked last.
#[derive(Debug, Clone, Copy)]
struct Stored {
    reads: bool,
    writes: bool,
}

impl Readiness {
    /// From here on the server is not ready: it answers what is under way and stops.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Notes whether the pages for people are served.
    pub fn pages(&self, served: bool) {
        self.pages.store(served, Ordering::Relaxed);
    }

    /// Notes a job's turn; the next has to come `within` this time.
    pub fn turn(&self, job: &'static str, within: Duration, fails: bool) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(job, Turn { at: Instant::now(), within, fails });
    }

    /// Every job with whether it works.
    pub fn jobs(&self) -> Vec<(&'static str, bool)> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.iter().map(|(job, turn)| (*job, !turn.fails && turn.at.elapsed() <= turn.within)).collect()
    }
}

/// Whether the server is ready, and for each part `ok` or what is wrong with it.
pub async fn report(app: &App) -> (bool, Value) {
    let readiness = &app.operations.readiness;
    let stored = probe(app).await;
    let mut ready = true;
    let mut checks = Map::new();
    let mut check = |name: &str, ok: bool, wrong: &str| {
        ready &= ok;
        checks.insert(name.to_owned(), if ok { "ok" } else { wrong }.into());
    };
    check("serving", !readiness.stopping.load(Ordering::Relaxed), "stopping");
    check("pages", readiness.pages.load(Ordering::Relaxed), "not served");
    check("store_reads", stored.reads, "does not answer");
    check("store_writes", stored.writes, "does not accept writes");
    check(
        "keys",
        app.key_trouble.load().is_none(),
        "a key can't be read or is not at hand; the log says which",
    );
    check("space", !app.operations.space.is_tight(), "too little is left");
    let jobs = readiness.jobs();
    check("jobs", jobs.iter().all(|(_, works)| *works), "failing");
    let failing: Vec<&str> = jobs.into_iter().filter(|(_, works)| !works).map(|(job, _)| job).collect();
    let status = if ready { "ready" } else { "not_ready" };
    let mut report = json!({"status": status, "at": app.clock.now(), "checks": checks});
    if let (Some(members), false) = (report.as_object_mut(), failing.is_empty()) {
        members.insert("failing_jobs".to_owned(), json!(failing));
    }
    // What is outside makes nobody unready: another node would not reach it either.
    let silent = app.gateway.upstreams().standing().iter().filter(|it| it.state != State::Closed).count();
    if let (Some(members), 1..) = (report.as_object_mut(), silent) {
        members.insert("upstreams_not_answering".to_owned(), silent.into());
    }
    (ready, report)
}

/// Asks the store, or answers what it said a moment ago. Whoever asks meanwhile waits for the same answer.
async fn probe(app: &App) -> Stored {
    let mut last = app.operations.readiness.store.lock().await;
    if let Some((at, stored)) = *last
        && at.elapsed() < FRESH
    {
        return stored;
    }
    let now = app.clock.now();
    let reads = timeout(BOUND, app.store.read(|q| placet_store::record::size(q)));
    let writes = timeout(BOUND, app.store.write(move |tx| placet_store::probe::write(tx, now)));
    let (reads, writes) = tokio::join!(reads, writes);
    let answered = |outcome: Result<Result<(), Fault>, _>| matches!(outcome, Ok(Ok(())));
    let stored = Stored { reads: answered(reads.map(|read| read.map(|_| ()))), writes: answered(writes) };
    *last = Some((Instant::now(), stored));
    stored
}
