//! Reading on connections that can't write: a few threads, each call on a snapshot of its own.
//!
//! On PostgreSQL a lost connection is made anew by the next call that finds it lost.
//!
//! Invariant: a reader sees only what was committed, all of it from one moment.

use crate::{
    connection::Connection,
    fault::Fault,
    sql::Statement,
    tx::{Query, Row, Value},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};
use tokio::sync::oneshot;

/// How many calls may wait.
const QUEUE: usize = 4096;

/// A snapshot of the database.
#[derive(Debug)]
pub struct Reader<'a> {
    connection: &'a Connection,
}

impl Query for Reader<'_> {
    fn query<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.connection.rows(statement.text(), params, map)
    }

    fn one<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.connection.first(statement.text(), params, map)
    }
}

type Call = Box<dyn FnOnce(&Connection) + Send>;

/// The reader threads.
#[derive(Debug)]
pub(crate) struct Readers {
    calls: SyncSender<Call>,
}

impl Readers {
    /// Starts a thread for each connection. They end when this is dropped.
    pub(crate) fn start(connections: Vec<Connection>) -> Result<Self, Fault> {
        let (calls, queue) = sync_channel::<Call>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for connection in connections {
            let queue = Arc::clone(&queue);
            let work = move || {
                while let Some(call) = next(&queue) {
                    call(&connection);
                }
            };
            let thread = thread::Builder::new().name("placet-reader".into()).spawn(work);
            thread.map_err(|error| Fault::Io(error.to_string()))?;
        }
        Ok(Self { calls })
    }

    /// Runs `f` on a snapshot.
    pub(crate) async fn run<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
        F: FnOnce(&mut Reader<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |connection| {
            _ = reply.send(snapshot(connection, f));
        });
        match self.calls.try_send(call) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(Fault::Closed.into())),
            Err(TrySendError::Full(_)) => Err(Fault::Busy.into()),
            Err(TrySendError::Disconnected(_)) => Err(Fault::Closed.into()),
        }
    }
}

pub(crate) fn snapshot<T, E: From<Fault>>(
    connection: &Connection,
    f: impl FnOnce(&mut Reader<'_>) -> Result<T, E>,
) -> Result<T, E> {
    connection.begin_reading()?;
    let outcome = catch_unwind(AssertUnwindSafe(|| f(&mut Reader { connection })));
    connection.roll_back();
    outcome.unwrap_or_else(|_| Err(Fault::Panicked.into()))
}

/// The next call; the lock is held while waiting, so the other threads wait for it in turn.
fn next(queue: &Mutex<Receiver<Call>>) -> Option<Call> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
