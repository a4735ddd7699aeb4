//! The one writer: a thread that takes what waits, runs all of it in one transaction, commits once, answers all.
//!
//! Hot operations work on the writer's memory ([`Lease`]) and stage their rows, which are written together.
//! Control-plane closures run in a savepoint each, after what is staged was written, so that they see it. What fails
//! alone is rolled back alone. A fault of the database itself fails the whole group: then the lease is dropped and read
//! anew, and the next group is tried as if nothing had been.
//!
//! On a database server hot operations and closures are groups of their own: closures of all nodes take turns (they hold
//! `control`), so that what they read stays so until they have written; hot operations lock the rows that they need. A
//! group that was lost to another one (a deadlock) or to the network is run again, on a new connection. Where nobody
//! answered the commit, the node's row in `batches` is locked, which waits for the end of the old transaction, and tells
//! whether it was kept.
//!
//! Invariant: nothing is answered as kept before its commit returned, and no group is ever applied twice.

use super::{
    Identity, Job, Lane, Orphans, Ran,
    queue::{GROUP, Queue, Taken},
};
use crate::{
    actions,
    connection::{Connection, Uncommitted},
    counters,
    fault::{Fault, OpenError},
    issue,
    lease::Lease,
    load::Load,
    migrate,
    needs::{self, Needs},
    observations, params, record,
    row::Row,
    statements,
    tx::{Query as _, Tx},
};
use placet_core::{id::ActionId, record::Head, time::Timestamp};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// For how long a group is tried again on a database server.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits before it is tried again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How often conclusions that could not be written are tried again while nothing else comes.
const RETRY: Duration = Duration::from_secs(1);
/// How many of those are kept; their actions become `unknown` otherwise.
const KEPT: usize = 100_000;

statements! {
    /// Begins one closure.
    SAVEPOINT = "SAVEPOINT request";
    /// Keeps what it did.
    RELEASE = "RELEASE SAVEPOINT request";
    /// Drops what it did.
    ROLLBACK_TO = "ROLLBACK TO SAVEPOINT request";
    /// This process is the node from now on.
    TAKE_OVER = "INSERT INTO batches (node, batch, run) VALUES (?1, 0, ?2)
                 ON CONFLICT (node) DO UPDATE SET run = excluded.run";
    /// The last batch of a node and who writes as it; nobody else does until the transaction ends.
    GUARD = "SELECT batch, run FROM batches WHERE node = ?1 FOR UPDATE";
    /// Notes a batch; changes nothing if it, or a later one, was noted before, or by another process.
    NOTE_BATCH = "UPDATE batches SET batch = ?2 WHERE node = ?1 AND batch + 1 = ?2 AND run = ?3";
    /// The turn to run closures.
    CONTROL = "SELECT one FROM control WHERE one = 1 FOR UPDATE";
}

pub(super) struct State {
    connection: Connection,
    identity: Identity,
    lease: Option<Lease>,
    load: Arc<Load>,
    orphans: Orphans,
    /// The batch whose commit was sent.
    sent: Option<u64>,
    /// The batch of which nobody knows whether it was kept, with what it admitted.
    doubtful: Option<(u64, Vec<ActionId>)>,
    /// The last group found no database: the next one is not tried for long.
    down: bool,
    replaced: bool,
}

impl State {
    /// Brings the schema up to date, and takes the node over.
    pub(super) fn open(
        connection: Connection,
        place: &str,
        identity: Identity,
        now: Timestamp,
        load: Arc<Load>,
        orphans: Orphans,
    ) -> Result<Self, OpenError> {
        migrate::run(&connection, place, now)?;
        let mut state = Self {
            connection,
            identity,
            lease: None,
            load,
            orphans,
            sent: None,
            doubtful: None,
            down: false,
            replaced: false,
        };
        let fault = |fault| OpenError::Fault { place: place.to_owned(), fault };
        state.take_over().map_err(fault)?;
        state.lease = Some(state.load().map_err(fault)?);
        Ok(state)
    }

    pub(super) fn work(mut self, queue: &Queue) {
        let mut kept: Vec<Box<dyn Job>> = Vec::new();
        loop {
            let retry = (!kept.is_empty()).then(|| Instant::now() + RETRY);
            let Taken { jobs: new, last } = queue.take(retry);
            if last && new.is_empty() && kept.is_empty() {
                return;
            }
            self.load.taken(new.len());
            let again = kept.drain(..kept.len().min(GROUP));
            let mut all: Vec<_> = again.chain(new).collect();
            // Closures last: an outcome that was sent before a closure is written before it.
            let closures = if self.connection.shared() {
                all.extract_if(.., |job| job.lane() == Lane::Closure).collect()
            } else {
                Vec::new()
            };
            for group in [all, closures].into_iter().filter(|group| !group.is_empty()) {
                self.settle(group, &mut kept);
            }
            if self.down {
                // Whoever waits behind is told now, not after as many time-outs as there are groups of them.
                let waiting = queue.drain();
                self.load.taken(waiting.len());
                answer(waiting, &Err(Fault::Unavailable("the last requests failed")), &mut kept);
            }
            if last {
                return;
            }
        }
    }

    /// Runs a group and answers it.
    fn settle(&mut self, mut group: Vec<Box<dyn Job>>, kept: &mut Vec<Box<dyn Job>>) {
        let outcome = self.run(&mut group);
        self.down = matches!(outcome, Err(Fault::Unavailable(_)));
        answer(group, &outcome, kept);
    }

    /// One transaction, as often as it takes. Whatever goes wrong, the database is as before and the lease is read
    /// anew.
    fn run(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        if self.replaced {
            return Err(Fault::Replaced);
        }
        let end = Instant::now() + if self.down { Duration::ZERO } else { PATIENCE };
        let mut pause = PAUSE;
        loop {
            let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt(group)));
            let Err(fault) = attempt.unwrap_or(Err(Fault::Panicked)) else { return Ok(()) };
            self.connection.roll_back();
            self.replaced |= fault == Fault::Replaced;
            // A commit whose answer was lost may have happened: its row tells.
            if let Some(batch) = self.sent.take() {
                match self.was_kept(batch, end) {
                    Some(true) => return Ok(()),
                    Some(false) => {}
                    None => {
                        let admitted = group.iter().filter_map(|job| job.admitted()).collect();
                        self.doubtful = Some((batch, admitted));
                        tracing::error!(%fault, requests = group.len(), "nobody knows whether a group of writes was kept");
                        return Err(Fault::Unavailable("nobody answered the commit"));
                    }
                }
            }
            if !self.connection.shared() || !fault.passes() || Instant::now() >= end {
                tracing::warn!(%fault, requests = group.len(), "a group of writes failed");
                return Err(fault);
            }
            tracing::debug!(%fault, requests = group.len(), "a group of writes is run again");
            thread::park_timeout(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether a batch is there; `None` where nobody answers until `end`.
    fn was_kept(&mut self, batch: u64, end: Instant) -> Option<bool> {
        loop {
            match self.load() {
                Ok(lease) => {
                    let kept = lease.batch == batch;
                    self.lease = Some(lease);
                    return Some(kept);
                }
                Err(Fault::Replaced) => {
                    self.replaced = true;
                    return None;
                }
                Err(_) if !self.connection.shared() => return Some(false),
                Err(_) if Instant::now() >= end => return None,
                Err(_) => thread::park_timeout(LONGEST_PAUSE),
            }
        }
    }

    fn attempt(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Fault> {
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => self.load()?,
        };
        lease.begin();
        let batch = lease.batch + 1;
        let before = self.connection.changes();
        if let Err(fault) = self.connection.begin() {
            self.lease = Some(lease);
            return Err(fault);
        }
        let signed = lease.head.seq;
        let mut tx = Tx { connection: &self.connection, lease: &mut lease, fatal: None };
        if tx.lease.shared {
            self.enter(&mut tx, group)?;
        }
        for job in group {
            if job.lane() == Lane::Closure {
                isolate(&mut tx, job.as_mut())?;
            } else {
                job.run(&mut tx);
            }
            if let Some(fault) = tx.fatal.clone().or_else(|| tx.connection.failed()) {
                return Err(fault);
            }
        }
        write_staged(&mut tx)?;
        if self.connection.changes() != before {
            self.note(&mut tx, batch)?;
            let head = tx.lease.head;
            if head.seq != signed {
                record::sign(&mut tx, &head, &self.identity.signer.now())?;
            }
            tx.lease.batch = batch;
            self.sent = Some(batch);
        }
        match self.connection.commit() {
            Ok(()) => {
                self.sent = None;
                self.lease = Some(lease);
                Ok(())
            }
            Err(Uncommitted::Unknown(fault)) => Err(fault),
            Err(Uncommitted::Lost(fault)) => {
                self.sent = None;
                Err(fault)
            }
        }
    }

    /// Locks this node's batches, takes the turn for closures, and reads what hot operations will look at.
    fn enter(&self, tx: &mut Tx<'_>, group: &[Box<dyn Job>]) -> Result<(), Fault> {
        let mut needs = Needs::default();
        for job in group {
            job.needs(&mut needs);
        }
        let node = params![self.identity.node];
        let mut first = vec![(&GUARD, node.as_slice())];
        if group.iter().any(|job| job.lane() == Lane::Closure) {
            first.push((&CONTROL, &[]));
        }
        let answers = needs::fetch(tx, &first, &needs).map_err(|fault| tx.met(fault))?;
        let guard = answers.first().and_then(|rows| rows.first()).map(Row::from);
        if self.guarded(guard.as_ref())? == tx.lease.batch {
            Ok(())
        } else {
            Err(Fault::Corrupt("another process has written as this node".into()))
        }
    }

    /// The last batch, where this process still is the node.
    fn guarded(&self, row: Option<&Row<'_>>) -> Result<u64, Fault> {
        let Some(row) = row else {
            return Err(Fault::Corrupt("the batches of this node are gone".into()));
        };
        if row.optional_blob(1)?.as_deref() == Some(&self.identity.run) {
            row.count(0)
        } else {
            Err(Fault::Replaced)
        }
    }

    fn note(&self, tx: &mut Tx<'_>, batch: u64) -> Result<(), Fault> {
        let row = params![self.identity.node, batch, self.identity.run.as_slice()];
        if tx.lease.shared {
            // Its row was looked at and locked when the transaction began.
            tx.later(&NOTE_BATCH, &row)
        } else if tx.execute(&NOTE_BATCH, &row)? == 1 {
            Ok(())
        } else {
            Err(Fault::Corrupt("another process has written as this node".into()))
        }
    }

    fn take_over(&self) -> Result<(), Fault> {
        let end = Instant::now() + PATIENCE;
        loop {
            let taken = self.connection.begin().and_then(|()| {
                let row = params![self.identity.node, self.identity.run.as_slice()];
                self.connection.execute(TAKE_OVER.text(), &row)?;
                self.connection.commit().map_err(|uncommitted| match uncommitted {
                    Uncommitted::Lost(fault) | Uncommitted::Unknown(fault) => fault,
                })
            });
            match taken {
                Err(fault) if fault.passes() && self.connection.shared() && Instant::now() < end => {
                    self.connection.roll_back();
                    thread::park_timeout(LONGEST_PAUSE);
                }
                other => return other.inspect_err(|_| self.connection.roll_back()),
            }
        }
    }

    /// Reads the end of the chain and the last batch, after any transaction that this node has left behind.
    fn load(&mut self) -> Result<Lease, Fault> {
        let shared = self.connection.shared();
        if shared {
            self.connection.begin()?;
        }
        let loaded = self.read();
        if shared {
            self.connection.roll_back();
        }
        let lease = loaded?;
        if let Some((batch, admitted)) = self.doubtful.take()
            && lease.batch == batch
        {
            self.orphans.add(admitted);
        }
        Ok(lease)
    }

    fn read(&self) -> Result<Lease, Fault> {
        let node = self.identity.node;
        let mut lease = Lease::new(node, Head::genesis(node), 0, self.connection.shared());
        let mut tx = Tx { connection: &self.connection, lease: &mut lease, fatal: None };
        let batch = tx.one(&GUARD, &params![node], |row| self.guarded(Some(row)))?;
        let batch = batch.ok_or_else(|| Fault::Corrupt("the batches of this node are gone".into()))?;
        let head = record::head(&mut tx, node)?;
        Ok(Lease::new(node, head, batch, self.connection.shared()))
    }
}

/// Answers all. Conclusions that found no database, or no space, are kept, to be tried again: their effect has happened.
fn answer(group: Vec<Box<dyn Job>>, outcome: &Result<(), Fault>, kept: &mut Vec<Box<dyn Job>>) {
    let keep = matches!(outcome, Err(fault) if fault.passes() || *fault == Fault::Full);
    for mut job in group {
        job.answer(outcome.clone());
        if keep && job.lane() == Lane::End && kept.len() < KEPT {
            kept.push(job);
        }
    }
}

/// Runs a job between a savepoint and its end.
///
/// What closures read has to be written before: tasks, grants, actions and counters. Entries of the record are read by nobody inside
/// a transaction, so they stay staged, to be inserted together; a closure that fails takes its own back.
fn isolate(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), Fault> {
    issue::write(tx)?;
    write_actions(tx)?;
    let (head, placed) = (tx.lease.head, tx.lease.placed.len());
    tx.connection.mark(&SAVEPOINT)?;
    let mut ran = job.run(tx);
    if let Some(fault) = tx.fatal.clone() {
        return Err(fault);
    }
    if let Some(fault) = tx.connection.failed() {
        job.spoil(fault);
        ran = Ran::Drop;
    }
    if ran == Ran::Drop {
        // It may have read what it had changed itself.
        tx.lease.roll_back(head, placed);
        tx.connection.mark(&ROLLBACK_TO)?;
    }
    tx.connection.mark(&RELEASE)
}

/// Writes what hot operations have staged.
fn write_staged(tx: &mut Tx<'_>) -> Result<(), Fault> {
    issue::write(tx)?;
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
