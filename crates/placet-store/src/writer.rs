//! The one writer: a thread that takes what waits, runs all of it in one transaction, commits once, answers all.
//!
//! Hot operations work on the writer's memory (the *lease*: versions, counters, the head of the chain) and stage
//! their rows, which are written together. Control-plane closures run in a savepoint each, after what is staged was
//! written, so that they see it. What fails alone is rolled back alone. A fault of the file itself fails the whole
//! group: then the lease is dropped and read anew, and the next group is tried as if nothing had been.
//!
//! Invariant: nothing is answered as kept before its commit returned, and no group is ever applied twice.

use crate::{
    actions::{self, NewAction},
    counters::{self, Counters},
    fault::Fault,
    load::{Load, WriterLoad},
    observations::{self, Noted},
    params,
    record::{self, Placed, PreparedEntry},
    sqlite, statements,
    store::Signer,
    tx::{Query as _, Tx},
    versions::Version,
};
use placet_core::{id::NodeId, record::Head};
use rusqlite::Connection;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};
use tokio::sync::oneshot;

/// How many requests one transaction takes.
const GROUP: usize = 256;
/// How many keys of each kind the lease keeps before it is emptied; all of it can be read again.
const REMEMBERED: usize = 100_000;

statements! {
    /// Ends it.
    COMMIT = "COMMIT";
    /// Drops it.
    ROLLBACK = "ROLLBACK";
    /// Begins one closure.
    SAVEPOINT = "SAVEPOINT request";
    /// Keeps what it did.
    RELEASE = "RELEASE SAVEPOINT request";
    /// Drops what it did.
    ROLLBACK_TO = "ROLLBACK TO SAVEPOINT request";
    /// The last batch of a node.
    BATCH = "SELECT batch FROM batches WHERE node = ?1";
    /// Notes a batch; changes nothing if it, or a later one, was noted before.
    NOTE_BATCH = "INSERT INTO batches (node, batch) VALUES (?1, ?2)
                  ON CONFLICT (node) DO UPDATE SET batch = excluded.batch WHERE batches.batch = excluded.batch - 1";
}

/// What the writer knows without asking the database.
#[derive(Debug)]
pub(crate) struct Lease {
    head: Head,
    batch: u64,
    placed: Vec<Placed>,
    pub(crate) actions: Vec<NewAction>,
    pub(crate) versions: HashMap<Version, u64>,
    pub(crate) counters: Counters,
    pub(crate) observed: Noted,
}

impl Lease {
    fn new(head: Head, batch: u64) -> Self {
        Self {
            head,
            batch,
            placed: Vec::new(),
            actions: Vec::new(),
            versions: HashMap::new(),
            counters: Counters::default(),
            observed: Noted::default(),
        }
    }

    /// Numbers an entry; it is written with the group.
    pub(crate) fn stage(&mut self, entry: PreparedEntry) {
        let placed = Placed::behind(&self.head, entry);
        self.head = placed.head();
        self.placed.push(placed);
    }

    fn forget_some(&mut self) {
        if self.versions.len() > REMEMBERED {
            self.versions.clear();
        }
        self.counters.forget_above(REMEMBERED);
    }
}

/// What kind of request it is, and so how many may wait before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A hot operation that begins something. It must change nothing where it answers an error, or doom the group.
    Begin,
    /// A hot operation that ends what was begun. Each belongs to one that was admitted, so their number is bounded.
    End,
    /// A closure of the control plane, in a savepoint: a revocation gets through where admissions are turned away.
    Closure,
}

impl Lane {
    const fn limit(self) -> usize {
        match self {
            Self::Begin => 4096,
            Self::Closure => 8192,
            Self::End => usize::MAX,
        }
    }
}

/// What a job has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Its changes are kept.
    Keep,
    /// Its changes are dropped; only isolated jobs may say so after they changed something.
    Drop,
}

/// One request.
pub(crate) trait Job: Send {
    /// Whether it needs a savepoint of its own.
    fn isolated(&self) -> bool;
    /// Does it. After a transaction that was lost it is done again, as if the first time had not been.
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    /// Answers it, after the commit or the fault that ended the group.
    fn answer(self: Box<Self>, group: Result<(), Fault>);
}

/// A closure of the control plane.
struct Closure<F, T, E> {
    run: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    isolated: bool,
}

impl<F, T, E> Job for Closure<F, T, E>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<Fault> + Send,
{
    fn isolated(&self) -> bool {
        self.isolated
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        let outcome = if self.isolated {
            catch_unwind(AssertUnwindSafe(|| (self.run)(tx))).unwrap_or_else(|_| Err(Fault::Panicked.into()))
        } else {
            (self.run)(tx)
        };
        let ran = if outcome.is_ok() { Ran::Keep } else { Ran::Drop };
        self.outcome = Some(outcome);
        ran
    }

    fn answer(self: Box<Self>, group: Result<(), Fault>) {
        let outcome = match (group, self.outcome) {
            (Ok(()), Some(outcome)) | (Err(_), Some(outcome @ Err(_))) => outcome,
            (Ok(()), None) => Err(Fault::Panicked.into()),
            (Err(fault), _) => Err(fault.into()),
        };
        _ = self.reply.send(outcome);
    }
}

/// The way to the writer thread. The thread ends when this is dropped, after answering what waits.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    load: Arc<Load>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on a migrated database.
    pub(crate) fn start(connection: Connection, node: NodeId, signer: Signer) -> Result<Self, Fault> {
        let (jobs, queue) = channel();
        let load = Arc::<Load>::default();
        let mut state = State { connection, node, signer, lease: None, load: Arc::clone(&load) };
        state.lease = Some(state.load()?);
        let thread = thread::Builder::new().name("placet-writer".into()).spawn(move || state.work(&queue));
        Ok(Self {
            jobs: Some(jobs),
            load,
            thread: Some(thread.map_err(|error| Fault::Io(error.to_string()))?),
        })
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> WriterLoad {
        self.load.now()
    }

    /// Runs `f` in the next group.
    pub(crate) fn send<T, E, F>(&self, lane: Lane, f: F) -> Result<oneshot::Receiver<Result<T, E>>, Fault>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let jobs = self.jobs.as_ref().ok_or(Fault::Closed)?;
        if self.load.waiting() >= lane.limit() {
            return Err(Fault::Busy);
        }
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Closure { run: f, outcome: None, reply, isolated: lane == Lane::Closure });
        self.load.arrives();
        jobs.send(job).map_err(|_| Fault::Closed)?;
        Ok(answer)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        // Where the last store was dropped inside a closure, this is the writer itself: it ends after its group.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            _ = thread.join();
        }
    }
}

struct State {
    connection: Connection,
    node: NodeId,
    signer: Signer,
    lease: Option<Lease>,
    load: Arc<Load>,
}

impl State {
    fn work(mut self, queue: &Receiver<Box<dyn Job>>) {
        let mut group = Vec::with_capacity(GROUP);
        while let Ok(first) = queue.recv() {
            group.push(first);
            group.extend(queue.try_iter().take(GROUP - 1));
            self.load.taken(group.len());
            let outcome = self.run(&mut group);
            for job in group.drain(..) {
                job.answer(outcome.clone());
            }
        }
    }

    /// One transaction. Whatever goes wrong, the database is as before and the lease is read anew.
    fn run(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt(group))).unwrap_or(Err(Fault::Panicked));
        if let Err(fault) = &attempt {
            let batch = self.lease.take().map(|lease| lease.batch + 1);
            if !self.connection.is_autocommit() {
                _ = self.connection.execute_batch(ROLLBACK.text());
            }
            // A commit whose answer was lost may have happened: its row tells.
            if batch.is_some() && self.load().is_ok_and(|lease| Some(lease.batch) == batch) {
                return Ok(());
            }
            tracing::warn!(%fault, requests = group.len(), "a group of writes failed");
        }
        attempt
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => self.load()?,
        };
        lease.forget_some();
        let batch = lease.batch + 1;
        let before = self.connection.total_changes();
        if let Err(error) = self.connection.execute_batch(sqlite::BEGIN) {
            self.lease = Some(lease);
            return Err(error.into());
        }
        let signed = lease.head.seq;
        let mut tx = Tx { connection: &self.connection, lease: &mut lease, fatal: None };
        for job in group {
            if job.isolated() {
                isolate(&mut tx, job.as_mut())?
            } else {
                _ = job.run(&mut tx)
            }
            if let Some(fault) = &tx.fatal {
                return Err(fault.clone());
            }
        }
        write_staged(&mut tx)?;
        if self.connection.total_changes() != before {
            if tx.execute(&NOTE_BATCH, &params![self.node, batch])? != 1 {
                return Err(Fault::Corrupt("another process has written as this node".into()));
            }
            let head = tx.lease.head;
            if head.seq != signed {
                record::sign(&mut tx, &head, &self.signer.now())?;
            }
            tx.lease.batch = batch;
        }
        if let Err(error) =
            self.connection.prepare_cached(COMMIT.text()).and_then(|mut commit| commit.execute([]))
        {
            lease.batch = batch - 1;
            self.lease = Some(lease);
            return Err(error.into());
        }
        self.lease = Some(lease);
        Ok(())
    }

    fn load(&self) -> Result<Lease, Fault> {
        let mut lease = Lease::new(Head::genesis(self.node), 0);
        let mut tx = Tx { connection: &self.connection, lease: &mut lease, fatal: None };
        let head = record::head(&mut tx, self.node)?;
        let batch = tx.one(&BATCH, &params![self.node], |row| row.count(0))?.unwrap_or(0);
        Ok(Lease::new(head, batch))
    }
}

/// Runs a job between a savepoint and its end.
///
/// What closures read has to be written before: actions and counters. Entries of the record are read by nobody inside
/// a transaction, so they stay staged, to be inserted together; a closure that fails takes its own back.
fn isolate(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), Fault> {
    write_actions(tx)?;
    let (head, placed) = (tx.lease.head, tx.lease.placed.len());
    tx.execute(&SAVEPOINT, &[])?;
    let ran = job.run(tx);
    if let Some(fault) = tx.fatal.clone() {
        return Err(fault);
    }
    if ran == Ran::Drop {
        tx.lease.placed.truncate(placed);
        tx.lease.head = head;
        // It may have read a version that it had raised itself.
        tx.lease.versions.clear();
        tx.execute(&ROLLBACK_TO, &[])?;
    }
    tx.execute(&RELEASE, &[]).map(|_| ())
}

/// Writes what hot operations have staged.
fn write_staged(tx: &mut Tx<'_>) -> Result<(), Fault> {
    write_actions(tx)?;
    observations::write(tx)?;
    let placed = std::mem::take(&mut tx.lease.placed);
    record::write(tx, &placed)
}

fn write_actions(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let new = std::mem::take(&mut tx.lease.actions);
    actions::write(tx, &new)?;
    counters::write(tx)
}
