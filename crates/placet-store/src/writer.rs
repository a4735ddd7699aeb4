//! The way to the one writer: what requests are, how many may wait, and the thread that takes them.
//!
//! Hot operations name what they will look at and are run together; closures of the control plane run in a savepoint
//! each. Either may be run again where a transaction was lost on the way to a database server.
//!
//! Invariant: what waits is bounded, and everything that was taken is answered.

mod group;
mod queue;

use crate::{
    connection::Connection,
    fault::{Fault, OpenError},
    load::{Load, WriterLoad},
    needs::Needs,
    store::Signer,
    tx::Tx,
};
use group::State;
use placet_core::{
    id::{ActionId, NodeId},
    time::Timestamp,
};
use queue::Queue;
use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc::channel},
    thread::{self, JoinHandle},
};
use tokio::sync::oneshot;

pub(crate) use group::STATEMENTS;

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

/// What the writer is asked to do.
pub(crate) trait Operation: Send + 'static {
    /// What it answers.
    type Value: Send;
    /// How it fails.
    type Error: From<Fault> + Send;
    /// Which kind it is.
    const LANE: Lane;

    /// Says what it will look at, so that it is there when it runs.
    fn needs(&self, _: &mut Needs) {}

    /// Does it. After a transaction that was lost it is done again, as if the first time had not been.
    ///
    /// # Errors
    /// Its own, or a fault.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<Self::Value, Self::Error>;

    /// The action that it admits.
    fn admits(&self) -> Option<ActionId> {
        None
    }
}

/// A closure of the control plane.
struct Closure<F, T, E>(F, PhantomData<fn() -> (T, E)>);

impl<T, E, F> Operation for Closure<F, T, E>
where
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Fault> + Send + 'static,
{
    type Value = T;
    type Error = E;
    const LANE: Lane = Lane::Closure;

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<T, E> {
        (self.0)(tx)
    }
}

/// What a job has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Its changes are kept.
    Keep,
    /// Its changes are dropped; only closures may say so after they changed something.
    Drop,
}

/// One request, whatever it answers.
pub(crate) trait Job: Send {
    fn lane(&self) -> Lane;
    fn needs(&self, needs: &mut Needs);
    fn run(&mut self, tx: &mut Tx<'_>) -> Ran;
    /// Whatever it said, a statement of it has failed, and nothing of it is kept.
    fn spoil(&mut self, fault: Fault);
    /// The action that it has admitted, if the group is kept.
    fn admitted(&self) -> Option<ActionId>;
    /// Answers it, after the commit or the fault that ended the group.
    fn answer(&mut self, group: Result<(), Fault>);
}

struct Request<O: Operation> {
    operation: O,
    outcome: Option<Result<O::Value, O::Error>>,
    reply: Option<oneshot::Sender<Result<O::Value, O::Error>>>,
}

impl<O: Operation> Job for Request<O> {
    fn lane(&self) -> Lane {
        O::LANE
    }

    fn needs(&self, needs: &mut Needs) {
        self.operation.needs(needs);
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Ran {
        let outcome = if O::LANE == Lane::Closure {
            catch_unwind(AssertUnwindSafe(|| self.operation.run(tx)))
                .unwrap_or_else(|_| Err(Fault::Panicked.into()))
        } else {
            self.operation.run(tx)
        };
        let ran = if outcome.is_ok() { Ran::Keep } else { Ran::Drop };
        self.outcome = Some(outcome);
        ran
    }

    fn spoil(&mut self, fault: Fault) {
        if self.outcome.as_ref().is_none_or(Result::is_ok) {
            self.outcome = Some(Err(fault.into()));
        }
    }

    fn admitted(&self) -> Option<ActionId> {
        self.operation.admits().filter(|_| matches!(self.outcome, Some(Ok(_))))
    }

    fn answer(&mut self, group: Result<(), Fault>) {
        let outcome = match (group, self.outcome.take()) {
            (Ok(()), Some(outcome)) | (Err(_), Some(outcome @ Err(_))) => outcome,
            (Ok(()), None) => Err(Fault::Panicked.into()),
            (Err(fault), _) => Err(fault.into()),
        };
        _ = self.reply.take().map(|reply| reply.send(outcome));
    }
}

/// What the writer is, apart from its connection.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) run: [u8; 16],
    pub(crate) signer: Signer,
}

/// Actions that were admitted by a commit that nobody answered, after their callers were told that nothing was done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orphans(Arc<Mutex<Vec<ActionId>>>);

impl Orphans {
    fn add(&self, actions: Vec<ActionId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(actions);
    }

    pub(crate) fn all(&self) -> Vec<ActionId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remove(&self, action: ActionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|orphan| *orphan != action);
    }
}

/// The queue as long as it is served.
struct Served(Arc<Queue>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.close();
        drop(self.0.drain());
    }
}

/// The way to the writer thread. The thread ends when this is dropped, after answering what waits.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue>,
    load: Arc<Load>,
    orphans: Orphans,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, which first brings the schema up to date and takes the node over.
    pub(crate) fn start(
        connection: Connection,
        place: String,
        identity: Identity,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let queue = Arc::<Queue>::default();
        let (ready, opened) = channel();
        let load = Arc::<Load>::default();
        let orphans = Orphans::default();
        let parts = (Arc::clone(&load), orphans.clone(), place.clone(), Arc::clone(&queue));
        let work = move || {
            let (load, orphans, place, queue) = parts;
            // Also where it stops with a bug: nobody waits for what will never come.
            let queue = Served(queue);
            match State::open(connection, &place, identity, now, load, orphans) {
                Ok(state) => {
                    _ = ready.send(Ok(()));
                    state.work(&queue.0);
                }
                Err(error) => _ = ready.send(Err(error)),
            }
        };
        let fault = |fault| OpenError::Fault { place: place.clone(), fault };
        let thread = thread::Builder::new().name("placet-writer".into()).spawn(work);
        let thread = thread.map_err(|error| fault(Fault::Io(error.to_string())))?;
        opened.recv().unwrap_or_else(|_| Err(fault(Fault::Panicked)))?;
        Ok(Self { queue, load, orphans, thread: Some(thread) })
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> WriterLoad {
        self.load.now()
    }

    /// Does it in the next group.
    #[expect(clippy::type_complexity, reason = "what a request answers is its operation's")]
    pub(crate) fn send<O: Operation>(
        &self,
        operation: O,
    ) -> Result<oneshot::Receiver<Result<O::Value, O::Error>>, Fault> {
        self.arrives::<O>()?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Request { operation, outcome: None, reply: Some(reply) });
        self.queue.wait(job).map_err(|_| Fault::Closed)?;
        Ok(answer)
    }

    /// Does it together with what comes next, or alone in a moment: nobody waits for it.
    pub(crate) fn ride<O: Operation>(&self, operation: O) -> Result<(), Fault> {
        self.arrives::<O>()?;
        let job = Box::new(Request { operation, outcome: None, reply: None });
        self.queue.ride(job).map_err(|_| Fault::Closed)
    }

    fn arrives<O: Operation>(&self) -> Result<(), Fault> {
        if self.load.arrives(O::LANE.limit()) { Ok(()) } else { Err(Fault::Busy) }
    }

    /// Runs a closure in the next group.
    pub(crate) fn run<T, E, F>(&self, f: F) -> Result<oneshot::Receiver<Result<T, E>>, Fault>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.send(Closure(f, PhantomData))
    }

    pub(crate) const fn orphans(&self) -> &Orphans {
        &self.orphans
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        // Where the last store was dropped inside a closure, this is the writer itself: it ends after its group.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            _ = thread.join();
        }
    }
}
