//! One session of a database: a transaction, the rows that it answers, and how it ends.
//!
//! Invariant: an effect is committed only after every row that came back was seen to be as it has to be, and as many as
//! there may be.

use super::bounded::Budget;
use super::problem;
use super::sqlstate::meaning;
use crate::failure::{Undone, Unknown};
use futures_core::Stream;
use placet_core::service::Prepared;
use serde_json::{Map, Value, json};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Connection, Error, Row};

/// So much sooner than the gateway gives up, the server does: then it still answers.
const SOONER: Duration = Duration::from_millis(250);
/// What a transaction may need on the wire beside its rows.
const AROUND: usize = 64 * 1024;

/// A session. Closed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    budget: Arc<Budget>,
}

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum End {
    /// The session can be used again.
    Answered { status: u16, body: Value },
    /// It can't.
    Dropped { status: u16, body: Value },
    /// Nothing happened, and nobody says why.
    Undone(Undone),
    /// It may have been committed.
    Unknown(Unknown),
}

/// Why no rows came.
enum Stopped {
    Error(Error),
    TimedOut,
    TooLarge,
    TooMany,
    Unreadable,
    Misfit,
}

impl Session {
    /// The session of a client; its connection is driven until one of the two ends.
    pub(super) fn new<S, T>(client: Client, mut connection: Connection<S, T>, budget: Arc<Budget>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // What the server says beside answers may hold rows, so it is read and told nobody.
        tokio::spawn(
            async move { while let Some(Ok(_)) = poll_fn(|cx| connection.poll_message(cx)).await {} },
        );
        Self { client, budget }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    /// Begins the transaction; an error is none where time ran out. Times are read and written in UTC, whatever the session's zone is.
    pub(super) async fn begin(&self, reads: bool, deadline: Instant) -> Result<(), Option<Error>> {
        self.budget.usual();
        let mode = if reads { "READ ONLY" } else { "READ WRITE" };
        let left = deadline.saturating_duration_since(Instant::now()).saturating_sub(SOONER);
        let left = left.as_millis().clamp(1, 3_600_000);
        let text = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; SET LOCAL statement_timeout = {left}; \
             SET LOCAL lock_timeout = {left}; SET LOCAL idle_in_transaction_session_timeout = {}; \
             SET LOCAL TimeZone = 'UTC'; SET LOCAL client_min_messages = error",
            left + 5000
        );
        match timeout_at(deadline, self.client.batch_execute(&text)).await {
            Ok(begun) => begun.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Runs the statement in the transaction that has begun, and ends it.
    pub(super) async fn run(&self, prepared: &Prepared, deadline: Instant, max: usize) -> End {
        self.budget.set(max.saturating_mul(2).saturating_add(AROUND));
        let asked = timeout_at(deadline, self.rows(prepared, max)).await.unwrap_or(Err(Stopped::TimedOut));
        if self.budget.is_spent() {
            return dropped(413, "the answer is too long: ask for fewer rows or columns");
        }
        let rows = match asked {
            Ok(rows) => rows,
            Err(stopped) => return self.stopped(stopped, deadline).await,
        };
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        if count < prepared.rows.min {
            let message = "there are fewer such rows than there have to be: nothing was done";
            return self.rolled_back(404, problem(None, message), deadline).await;
        }
        let body = if prepared.reads {
            json!({"rows": rows})
        } else {
            json!({"rows": if prepared.columns.is_empty() { Vec::new() } else { rows }, "row_count": count})
        };
        if prepared.reads {
            // Whatever becomes of the transaction, it has changed nothing.
            return End::Answered { status: 200, body };
        }
        self.budget.usual();
        match timeout_at(deadline, self.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => End::Answered { status: 200, body },
            Ok(Err(error)) => not_committed(&error),
            Err(_) => End::Unknown(Unknown::TimedOut),
        }
    }

    /// The rows that come back, each an object.
    async fn rows(&self, prepared: &Prepared, max: usize) -> Result<Vec<Value>, Stopped> {
        let params =
            prepared.values.iter().map(bound).collect::<Option<Vec<_>>>().ok_or(Stopped::Unreadable)?;
        let rows = self.client.query_typed_raw(&prepared.statement, params).await.map_err(Stopped::Error)?;
        let mut rows = pin!(rows);
        let (mut read, mut bytes) = (Vec::new(), 0_usize);
        while let Some(row) = poll_fn(|cx| rows.as_mut().poll_next(cx)).await {
            let row = row.map_err(Stopped::Error)?;
            bytes = bytes.saturating_add(row.raw_size_bytes());
            if bytes > max {
                return Err(Stopped::TooLarge);
            }
            if u64::try_from(read.len()).is_ok_and(|count| count >= prepared.rows.max) {
                return Err(Stopped::TooMany);
            }
            read.push(object(prepared, &row)?);
        }
        Ok(read)
    }

    async fn stopped(&self, stopped: Stopped, deadline: Instant) -> End {
        match stopped {
            Stopped::TimedOut => End::Undone(Undone::TimedOut),
            Stopped::Error(error) => match sqlstate(&error) {
                Some((code, true)) => {
                    let (status, message) = meaning(&code);
                    self.rolled_back(status, problem(Some(&code), message), deadline).await
                }
                // The server ended the session.
                Some((code, false)) => {
                    let (status, message) = meaning(&code);
                    End::Dropped { status, body: problem(Some(&code), message) }
                }
                None => End::Undone(Undone::Disconnected),
            },
            // More rows may be on their way: nobody waits for them.
            Stopped::TooLarge => dropped(413, "the answer is too long: ask for fewer rows or columns"),
            Stopped::TooMany => dropped(409, "there are more such rows than there may be: nothing was done"),
            Stopped::Misfit => {
                dropped(409, "the row would not be as the action has to leave it: nothing was done")
            }
            Stopped::Unreadable => {
                dropped(500, "what the database answered can't be read as JSON with one meaning")
            }
        }
    }

    /// Ends the transaction without an effect.
    async fn rolled_back(&self, status: u16, body: Value, deadline: Instant) -> End {
        self.budget.usual();
        match timeout_at(deadline, self.client.batch_execute("ROLLBACK")).await {
            Ok(Ok(())) => End::Answered { status, body },
            // Without a COMMIT it ends so in any case.
            _ => End::Dropped { status, body },
        }
    }

    /// Discards everything that the session holds. Whether that has been done.
    pub(super) async fn clean(&self) -> bool {
        self.budget.usual();
        self.client.batch_execute("ROLLBACK").await.is_ok()
            && self.client.batch_execute("DISCARD ALL").await.is_ok()
    }
}

fn dropped(status: u16, message: &str) -> End {
    End::Dropped { status, body: problem(None, message) }
}

/// The SQLSTATE of an error, and whether the session goes on.
fn sqlstate(error: &Error) -> Option<(String, bool)> {
    let said = error.as_db_error()?;
    let code = said.code().code();
    let plain = code.len() == 5 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let code = if plain { code.to_owned() } else { "XX000".to_owned() };
    Some((code, said.parsed_severity() == Some(Severity::Error)))
}

/// What an error says that answers a COMMIT. Where the server goes on, it has rolled back; else nobody knows.
fn not_committed(error: &Error) -> End {
    match sqlstate(error) {
        // Its own words for "the outcome is not known".
        Some((code, true)) if code != "40003" && !code.starts_with("08") => {
            let (status, message) = meaning(&code);
            End::Answered { status, body: problem(Some(&code), message) }
        }
        _ => End::Unknown(Unknown::Disconnected),
    }
}

/// A value as it is bound: a text that the statement itself casts, so that it is a value and nothing else.
fn bound(value: &Value) -> Option<(Box<dyn ToSql + Sync + Send>, Type)> {
    match value {
        Value::Null => Some((Box::new(None::<String>), Type::TEXT)),
        Value::String(text) => Some((Box::new(text.clone()), Type::TEXT)),
        Value::Array(items) => {
            let texts =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            Some((Box::new(texts), Type::TEXT_ARRAY))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// A row as JSON. Each of its columns is the text of one, so that numbers stay exact.
fn object(prepared: &Prepared, row: &Row) -> Result<Value, Stopped> {
    let mut members = Map::new();
    for (index, name) in prepared.columns.iter().enumerate() {
        let text: Option<&str> = row.try_get(index).map_err(Stopped::Error)?;
        let value = match text {
            None => Value::Null,
            Some(text) => placet_core::json::parse(text.as_bytes()).map_err(|_| Stopped::Unreadable)?,
        };
        members.insert(name.clone(), value);
    }
    if !prepared.reads && !row.try_get::<_, bool>(prepared.columns.len()).map_err(Stopped::Error)? {
        return Err(Stopped::Misfit);
    }
    Ok(Value::Object(members))
}
