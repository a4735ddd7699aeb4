//! PostgreSQL: a connection that is made when it is needed, and answers within seconds or is given up.
//!
//! Statements that are left for later are sent together with the next one that is waited for, so that a transaction
//! costs as many round trips as it has questions. The runtime that drives the socket is the thread's own.
//!
//! Invariant: no wait is without an end: the server's timers end a statement, and where the server itself is silent,
//! the timer here ends the connection. After a lost connection nothing is assumed about a transaction.

mod address;
mod errors;
pub(crate) mod text;

pub use address::Address;

use crate::{connection::Uncommitted, fault::Fault, statements, value::Value};
use bytes::BytesMut;
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_postgres::{
    Client, Error, Row, Statement,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// How long a connection may take to be made, the login with it.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one round trip may take: longer than the server gives a statement, for then the server still answers.
const ROUND_TRIP: Duration = Duration::from_secs(5);
/// How long a migration may take, the wait for another node's with it.
const MIGRATION: Duration = Duration::from_secs(600);

statements! {
    /// The server tells of nothing that is as it should be: each such word would be a line in the log.
    QUIET = "SET client_min_messages = warning";
    /// How long a statement may take: milliseconds, shorter than the round trip.
    LIMIT_STATEMENT = "SET statement_timeout = 4000";
    /// How long it may wait for another transaction.
    LIMIT_LOCK = "SET lock_timeout = 3000";
    /// How long a transaction may wait for its client, so that a vanished one holds no locks.
    LIMIT_IDLE = "SET idle_in_transaction_session_timeout = 10000";
    /// What was answered is on the disk, whatever the server's default: stricter settings stay.
    DURABLE = "SELECT set_config('synchronous_commit', 'on', false)
               WHERE current_setting('synchronous_commit') = 'off'";
    /// Rows are looked up by their index, also in a table that the server knows nothing of yet: a plan that is made while
    /// it is empty reads all of it, and is kept while it grows. Servers without the setting stay as they are.
    BY_INDEX = "SELECT set_config('enable_seqscan', 'off', false)
                WHERE current_setting('enable_seqscan', true) = 'on'";
    /// A text that was stored comes back as it was only in this encoding.
    ENCODING = "SHOW server_encoding";
    /// Begins a group: each statement sees what was committed before it.
    BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    /// Begins a snapshot.
    BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    /// A migration may take its time.
    UNHURRIED = "SET LOCAL statement_timeout = 0";
    /// And wait for another node's.
    PATIENT = "SET LOCAL lock_timeout = 0";
    /// Ends a transaction.
    COMMIT = "COMMIT";
    /// Drops it.
    ROLLBACK = "ROLLBACK";
}

/// A connection to a server, or what is needed to make one.
#[derive(Debug)]
pub(crate) struct Postgres {
    address: Arc<Address>,
    // Made on the thread that uses it: a runtime can be neither driven nor dropped inside another one.
    runtime: OnceCell<Runtime>,
    link: RefCell<Option<Link>>,
    queue: RefCell<Vec<Queued>>,
    inside: Cell<bool>,
    doomed: Cell<bool>,
    failed: RefCell<Option<Fault>>,
    changes: Cell<u64>,
    /// Nothing of a snapshot was read yet, so a connection that turns out to be lost may be made anew.
    untouched: Cell<bool>,
}

struct Link {
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("prepared", &self.prepared.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Queued {
    text: String,
    params: Vec<Value<'static>>,
    expected: Option<u64>,
    kind: Kind,
}

/// How a statement is sent, and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows.
    Rows,
    /// How many it has changed.
    Change,
    /// Nothing, and it is sent as text: what begins, marks and ends a transaction.
    Bare,
}

/// A statement whose answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) text: &'a str,
    pub(crate) params: &'a [Value<'a>],
    pub(crate) kind: Kind,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    Rows(Vec<Row>),
    Changed(u64),
}

impl Postgres {
    /// Nothing is connected until the first statement.
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self {
            address,
            runtime: OnceCell::new(),
            link: RefCell::new(None),
            queue: RefCell::new(Vec::new()),
            inside: Cell::new(false),
            doomed: Cell::new(false),
            failed: RefCell::new(None),
            changes: Cell::new(0),
            untouched: Cell::new(false),
        }
    }

    /// Begins a transaction, on a new connection where there is none; it is sent with its first statement.
    pub(crate) fn begin(&self) -> Result<(), Fault> {
        self.start(&BEGIN)
    }

    pub(crate) fn begin_reading(&self) -> Result<(), Fault> {
        self.start(&BEGIN_READING)?;
        self.untouched.set(true);
        Ok(())
    }

    pub(crate) fn rows(&self, text: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Fault> {
        match self.round(&[Asked { text, params, kind: Kind::Rows }])?.pop() {
            Some(Answer::Rows(rows)) => Ok(rows),
            _ => Err(Fault::Statement("an answer without rows".into())),
        }
    }

    pub(crate) fn execute(&self, text: &str, params: &[Value<'_>]) -> Result<u64, Fault> {
        match self.round(&[Asked { text, params, kind: Kind::Change }])?.pop() {
            Some(Answer::Changed(changed)) => {
                self.changes.set(self.changes.get() + changed);
                Ok(changed)
            }
            _ => Err(Fault::Statement("an answer without a count".into())),
        }
    }

    /// Asks several things in one round trip.
    pub(crate) fn ask(&self, asked: &[Asked<'_>]) -> Result<Vec<Vec<Row>>, Fault> {
        let rows = |answer| match answer {
            Answer::Rows(rows) => rows,
            Answer::Changed(_) => Vec::new(),
        };
        Ok(self.round(asked)?.into_iter().map(rows).collect())
    }

    pub(crate) fn later(&self, text: &str, params: &[Value<'_>], expected: Option<u64>) {
        self.changes.set(self.changes.get() + 1);
        self.queue(text, params, expected, Kind::Change);
    }

    /// A savepoint, its release, or the way back to it: then statements work again that did not.
    pub(crate) fn mark(&self, text: &str) {
        if text.starts_with(ROLLBACK.text()) {
            self.failed.take();
        }
        self.queue(text, &[], None, Kind::Bare);
    }

    /// Sends what is left with the commit. Where something has to be looked at first, that goes before.
    pub(crate) fn commit(&self) -> Result<(), Uncommitted> {
        if self.queue.borrow().iter().any(|queued| queued.expected.is_some()) {
            self.round(&[]).map_err(Uncommitted::Lost)?;
        }
        if let Some(fault) = self.failed() {
            return Err(Uncommitted::Lost(fault));
        }
        let asked = Asked { text: COMMIT.text(), params: &[], kind: Kind::Bare };
        let outcome = self.round(&[asked]);
        self.inside.set(false);
        match outcome {
            Ok(_) => Ok(()),
            // The server said that a statement failed, and so has the commit; unless it was on its way out.
            Err(fault) if self.link.borrow().is_some() => Err(Uncommitted::Lost(fault)),
            Err(fault) => Err(Uncommitted::Unknown(fault)),
        }
    }

    pub(crate) fn roll_back(&self) {
        self.queue.borrow_mut().clear();
        self.failed.take();
        self.doomed.set(false);
        if self.inside.replace(false) && self.link.borrow().is_some() {
            _ = self.round(&[Asked { text: ROLLBACK.text(), params: &[], kind: Kind::Bare }]);
        }
    }

    pub(crate) fn doomed(&self) -> bool {
        self.doomed.get() || self.link.borrow().is_none()
    }

    pub(crate) fn failed(&self) -> Option<Fault> {
        self.failed.borrow().clone()
    }

    pub(crate) const fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Runs a migration's statements within the transaction.
    pub(crate) fn migrate(&self, text: &str) -> Result<(), Fault> {
        self.round(&[])?;
        self.drive(MIGRATION, async |link| link.client.batch_execute(text).await)
    }

    /// Lets the rest of the transaction take long.
    pub(crate) fn take_time(&self) {
        for statement in [UNHURRIED, PATIENT] {
            self.queue(statement.text(), &[], None, Kind::Bare);
        }
    }

    fn queue(&self, text: &str, params: &[Value<'_>], expected: Option<u64>, kind: Kind) {
        let params = params.iter().map(|value| value.clone().into_owned()).collect();
        self.queue.borrow_mut().push(Queued { text: text.to_owned(), params, expected, kind });
    }

    fn start(&self, statement: &crate::sql::Statement) -> Result<(), Fault> {
        self.queue.borrow_mut().clear();
        self.failed.take();
        self.doomed.set(false);
        self.untouched.set(false);
        let usable = self.link.borrow().as_ref().is_some_and(|link| !link.client.is_closed());
        if !usable {
            self.connect()?;
        }
        self.inside.set(true);
        self.queue(statement.text(), &[], None, Kind::Bare);
        Ok(())
    }

    fn runtime(&self) -> Result<&Runtime, Fault> {
        if self.runtime.get().is_none() {
            let runtime = Builder::new_current_thread().enable_all().build();
            _ = self.runtime.set(runtime.map_err(|error| Fault::Io(error.to_string()))?);
        }
        self.runtime.get().ok_or(Fault::Closed)
    }

    fn connect(&self) -> Result<(), Fault> {
        self.link.take();
        let runtime = self.runtime()?;
        let connecting = async {
            let client = match self.address.tls() {
                Some(tls) => {
                    let (client, connection) = self.address.config().connect(tls).await?;
                    tokio::spawn(connection);
                    client
                }
                None => {
                    let (client, connection) = self.address.config().connect(tokio_postgres::NoTls).await?;
                    tokio::spawn(connection);
                    client
                }
            };
            for statement in [QUIET, LIMIT_STATEMENT, LIMIT_LOCK, LIMIT_IDLE, DURABLE, BY_INDEX] {
                client.batch_execute(statement.text()).await?;
            }
            Ok::<_, Error>(client)
        };
        let connected = runtime.block_on(async { timeout(CONNECT, connecting).await });
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the database can't be reached");
                return Err(match errors::fault(&error) {
                    Fault::Statement(reason) | Fault::Io(reason) => Fault::Io(reason),
                    other => other,
                });
            }
            Err(_) => return Err(Fault::Unavailable("the server does not answer")),
        };
        self.link.replace(Some(Link { client, prepared: HashMap::new() }));
        Ok(())
    }

    /// What the server stores text in, where that is not what Placet needs.
    pub(crate) fn wrong_encoding(&self) -> Result<Option<String>, Fault> {
        let rows = self.rows(ENCODING.text(), &[])?;
        let encoding: Option<String> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(encoding.filter(|encoding| !matches!(encoding.as_str(), "UTF8" | "utf8" | "UTF-8")))
    }

    /// One round trip: what is queued, then what is asked.
    fn round(&self, asked: &[Asked<'_>]) -> Result<Vec<Answer>, Fault> {
        if let Some(fault) = self.failed() {
            return Err(fault);
        }
        let queued = self.queue.take();
        if queued.is_empty() && asked.is_empty() {
            return Ok(Vec::new());
        }
        let sent: Vec<_> = queued
            .iter()
            .map(|queued| Asked { text: &queued.text, params: &queued.params, kind: queued.kind })
            .chain(asked.iter().copied())
            .collect();
        let mut answers = self.drive(ROUND_TRIP, async |link| Ok(exchange(link, &sent).await))?;
        let lost = |answer: &Result<_, Error>| answer.as_ref().is_err_and(errors::ends_connection);
        if self.untouched.replace(false) && answers.first().is_some_and(lost) {
            self.connect()?;
            answers = self.drive(ROUND_TRIP, async |link| Ok(exchange(link, &sent).await))?;
        }
        let mut kept = Vec::with_capacity(asked.len());
        for (at, answer) in answers.into_iter().enumerate() {
            match (answer, queued.get(at)) {
                (Ok(Answer::Changed(changed)), Some(Queued { expected: Some(expected), .. }))
                    if changed != *expected =>
                {
                    self.doomed.set(true);
                    return Err(self.fail(Fault::Busy));
                }
                (Ok(_), Some(_)) => {}
                (Ok(answer), None) => kept.push(answer),
                (Err(error), queued) => {
                    self.doomed.set(self.doomed.get() || queued.is_some());
                    if errors::ends_connection(&error) {
                        self.link.take();
                    }
                    return Err(self.fail(errors::fault(&error)));
                }
            }
        }
        Ok(kept)
    }

    fn fail(&self, fault: Fault) -> Fault {
        if self.inside.get() {
            self.failed.borrow_mut().get_or_insert_with(|| fault.clone());
        }
        fault
    }

    /// Runs `work` on the connection, for so long; then the connection is given up.
    fn drive<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&mut Link) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        let mut link = self.link.borrow_mut();
        let Some(open) = link.as_mut() else {
            return Err(Fault::Unavailable("the connection was lost"));
        };
        let outcome = self.runtime()?.block_on(async { timeout(patience, work(open)).await });
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if errors::ends_connection(&error) {
                    *link = None;
                }
                Err(self.fail(errors::fault(&error)))
            }
            Err(_) => {
                *link = None;
                Err(self.fail(Fault::Unavailable("the server does not answer")))
            }
        }
    }
}

/// Sends all, then waits for all: the answers, in the same order.
async fn exchange(link: &mut Link, sent: &[Asked<'_>]) -> Vec<Result<Answer, Error>> {
    let mut missing: Vec<&str> =
        sent.iter().filter(|one| one.kind != Kind::Bare).map(|one| one.text).collect();
    missing.retain(|text| !link.prepared.contains_key(*text));
    missing.sort_unstable();
    missing.dedup();
    let client = &link.client;
    let preparing = missing
        .iter()
        .map(|text| async move { client.prepare(&crate::sql::numbered_for_postgres(text)).await });
    for (text, prepared) in missing.iter().zip(together(preparing).await) {
        match prepared {
            Ok(prepared) => _ = link.prepared.insert((*text).to_owned(), prepared),
            Err(error) => return vec![Err(error)],
        }
    }
    let prepared = &link.prepared;
    together(sent.iter().map(|one| async move {
        let params: Vec<_> = one.params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        match (one.kind, prepared.get(one.text)) {
            (Kind::Rows, Some(statement)) => client.query(statement, &params).await.map(Answer::Rows),
            (Kind::Change, Some(statement)) => client.execute(statement, &params).await.map(Answer::Changed),
            _ => client.batch_execute(one.text).await.map(|()| Answer::Changed(0)),
        }
    }))
    .await
}

/// Begins all in order, then waits for each: their answers come in that order.
async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    let mut begun = false;
    poll_fn(|context| {
        let mut all = true;
        for (future, slot) in waiting.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            match future.as_mut().poll(context) {
                Poll::Ready(output) => *slot = Some(output),
                Poll::Pending => all = false,
            }
            // Once all are sent, nothing behind the first open one can be answered.
            if !all && begun {
                break;
            }
        }
        begun = true;
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, of) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Integer(number), &Type::INT8) => number.to_sql(of, out),
            (Self::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, out),
            (Self::Text(value), &Type::TEXT) => text::encode(value).as_ref().to_sql(of, out),
            (Self::Blob(bytes), &Type::BYTEA) => bytes.as_ref().to_sql(of, out),
            _ => Err("a parameter of another type than its column".into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
