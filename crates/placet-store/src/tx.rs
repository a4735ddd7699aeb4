//! What aggregates see of the database: typed values, rows, queries, and a transaction.
//!
//! [`Query`] reads, on a reader's own snapshot or inside the writer; [`Tx`] also writes, and exists only on the
//! writer thread.
//!
//! Invariant: a [`Tx`] is always inside a savepoint of the current group commit; it can neither commit nor begin.

use crate::{
    fault::Fault,
    record::PreparedEntry,
    sql::{Rows, Statement},
    versions::{self, Version},
    writer::Lease,
};
use placet_core::{
    id::{Id, Kind},
    time::Timestamp,
};
use rusqlite::{
    Connection, Params, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};
use std::borrow::Cow;

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL's NULL.
    Null,
    /// A `BIGINT`: numbers, times in microseconds, booleans as 0 and 1.
    Integer(i64),
    /// A `TEXT`.
    Text(Cow<'a, str>),
    /// A `BYTEA`.
    Blob(Cow<'a, [u8]>),
}

/// A list of [`Value`]s from anything that converts: `&params![id, now, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { [$($crate::tx::Value::from($value)),*] };
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

macro_rules! conversions {
    ($($(<$life:lifetime>)? $from:ty, $name:ident => $value:expr;)*) => {
        $(impl<'a> From<$from> for Value<'a> { fn from($name: $from) -> Self { $value } })*
    };
}

conversions! {
    i64, value => Self::Integer(value);
    i32, value => Self::Integer(value.into());
    u32, value => Self::Integer(value.into());
    u16, value => Self::Integer(value.into());
    u8, value => Self::Integer(value.into());
    bool, value => Self::Integer(value.into());
    Timestamp, value => Self::Integer(value.as_micros());
    &'a str, value => Self::Text(Cow::Borrowed(value));
    &'a String, value => Self::Text(Cow::Borrowed(value));
    String, value => Self::Text(Cow::Owned(value));
    &'a [u8], value => Self::Blob(Cow::Borrowed(value));
    &'a Vec<u8>, value => Self::Blob(Cow::Borrowed(value));
    Vec<u8>, value => Self::Blob(Cow::Owned(value));
    &'a [u8; 32], value => Self::Blob(Cow::Borrowed(value));
    [u8; 32], value => Self::Blob(Cow::Owned(value.to_vec()));
    // Versions and counts: nothing here gets near 2^63.
    u64, value => Self::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    usize, value => Self::Integer(i64::try_from(value).unwrap_or(i64::MAX));
}

impl<K: Kind> From<Id<K>> for Value<'_> {
    fn from(id: Id<K>) -> Self {
        Self::Text(Cow::Owned(id.to_string()))
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of an answer; columns count from 0.
#[derive(Debug)]
pub struct Row<'r>(&'r rusqlite::Row<'r>);

impl Row<'_> {
    /// A `TEXT`.
    ///
    /// # Errors
    /// [`Fault::Unreadable`] where the column holds something else; so for all accessors.
    pub fn text(&self, column: usize) -> Result<String, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `TEXT` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn optional_text(&self, column: usize) -> Result<Option<String>, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `BIGINT`.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn integer(&self, column: usize) -> Result<i64, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `BIGINT` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn optional_integer(&self, column: usize) -> Result<Option<i64>, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `BIGINT` that is never below zero: a version, a count, a position.
    ///
    /// # Errors
    /// As [`Row::text`], and where it is below zero.
    pub fn count(&self, column: usize) -> Result<u64, Fault> {
        u64::try_from(self.integer(column)?).map_err(|_| Fault::Unreadable("a count below zero"))
    }

    /// A boolean, stored as 0 or 1.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn boolean(&self, column: usize) -> Result<bool, Fault> {
        Ok(self.integer(column)? != 0)
    }

    /// A `BYTEA`.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn blob(&self, column: usize) -> Result<Vec<u8>, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `BYTEA` or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn optional_blob(&self, column: usize) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.get(column)?)
    }

    /// A `BYTEA` of 32 bytes: a hash or digest.
    ///
    /// # Errors
    /// As [`Row::text`], and where the length differs.
    pub fn digest(&self, column: usize) -> Result<[u8; 32], Fault> {
        self.blob(column)?.try_into().map_err(|_| Fault::Unreadable("a digest"))
    }

    /// A time.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn time(&self, column: usize) -> Result<Timestamp, Fault> {
        self.integer(column).map(Timestamp::from_micros)
    }

    /// A time or NULL.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn optional_time(&self, column: usize) -> Result<Option<Timestamp>, Fault> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_micros))
    }

    /// An id.
    ///
    /// # Errors
    /// As [`Row::text`], and where it is no id of this kind.
    pub fn id<K: Kind>(&self, column: usize) -> Result<Id<K>, Fault> {
        self.text(column)?.parse().map_err(|_| Fault::Unreadable("an id"))
    }

    /// An id or NULL.
    ///
    /// # Errors
    /// As [`Row::id`].
    pub fn optional_id<K: Kind>(&self, column: usize) -> Result<Option<Id<K>>, Fault> {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(|_| Fault::Unreadable("an id"))).transpose()
    }

    /// A JSON document of type `T`, stored as `TEXT`.
    ///
    /// # Errors
    /// As [`Row::text`], and where the document is not a `T`.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, Fault> {
        let text: String = self.text(column)?;
        serde_json::from_str(&text).map_err(|_| Fault::Unreadable("a document"))
    }
}

/// Reading: on a reader's snapshot, or inside the writer's transaction.
pub trait Query {
    /// Every row of the answer, mapped.
    ///
    /// # Errors
    /// [`Fault`] of the engine, or of `map`.
    fn query<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault>;

    /// The first row, mapped; `None` where there is none.
    ///
    /// # Errors
    /// As [`Query::query`].
    fn one<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault>;
}

/// A transaction on the writer thread.
#[derive(Debug)]
pub struct Tx<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) lease: &'a mut Lease,
    /// The fault that ends the whole group, once one was met: nothing more is tried then.
    pub(crate) fatal: Option<Fault>,
}

impl Tx<'_> {
    /// Runs a statement; answers how many rows it changed.
    ///
    /// # Errors
    /// [`Fault::Conflict`] where a constraint refuses; else what the engine met.
    pub fn execute(&mut self, statement: &Statement, params: &[Value<'_>]) -> Result<u64, Fault> {
        self.run(statement.text(), params_from_iter(params))
    }

    /// Raises the version that the commit point compares, so that what was decided on the old one is stale.
    ///
    /// # Errors
    /// What the engine met.
    pub fn bump(&mut self, version: impl Into<Version>) -> Result<(), Fault> {
        versions::raise(self, &version.into())
    }

    /// Appends an entry to the record in this transaction: it is there iff the transaction is.
    ///
    /// # Errors
    /// What the engine met.
    pub fn record(&mut self, entry: PreparedEntry) -> Result<(), Fault> {
        self.lease.stage(entry);
        Ok(())
    }

    /// Inserts many rows, each of `rows.columns()` values, in as few statements as their number allows.
    pub(crate) fn insert(&mut self, rows: &Rows, values: &[Value<'_>]) -> Result<(), Fault> {
        let mut rest = values;
        while !rest.is_empty() {
            let (count, text) = rows.piece(rest.len() / rows.columns());
            let (now, later) = rest.split_at_checked(count * rows.columns()).unwrap_or((rest, &[]));
            self.run(text, params_from_iter(now))?;
            rest = later;
        }
        Ok(())
    }

    /// Ends the whole group: for a hot operation that has changed something already and can't go on.
    pub(crate) fn doom(&mut self, fault: Fault) -> Fault {
        self.fatal.get_or_insert(fault).clone()
    }

    fn run(&mut self, text: &str, params: impl Params) -> Result<u64, Fault> {
        self.alive()?;
        let changed = self.connection.prepare_cached(text).and_then(|mut prepared| prepared.execute(params));
        changed.map(|rows| rows as u64).map_err(|error| self.met(error.into()))
    }

    fn alive(&self) -> Result<(), Fault> {
        self.fatal.clone().map_or(Ok(()), Err)
    }

    /// Remembers a fault that ends the group, so that no closure can go on as if nothing was.
    fn met(&mut self, fault: Fault) -> Fault {
        if self.fatal.is_none() && (fault.ends_group() || self.connection.is_autocommit()) {
            self.fatal = Some(fault.clone());
        }
        fault
    }
}

impl Query for Tx<'_> {
    fn query<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        self.alive()?;
        rows(self.connection, statement, params, map).map_err(|fault| self.met(fault))
    }

    fn one<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.alive()?;
        first(self.connection, statement, params, map).map_err(|fault| self.met(fault))
    }
}

/// Every row of a query's answer, mapped.
pub(crate) fn rows<T>(
    connection: &Connection,
    statement: &Statement,
    params: &[Value<'_>],
    mut map: impl FnMut(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut prepared = connection.prepare_cached(statement.text())?;
    let mut answer = prepared.query(params_from_iter(params))?;
    let mut all = Vec::new();
    while let Some(row) = answer.next()? {
        all.push(map(&Row(row))?);
    }
    Ok(all)
}

/// The first row of a query's answer, mapped. The rest is read and dropped: a `RETURNING` has to run to its end.
pub(crate) fn first<T>(
    connection: &Connection,
    statement: &Statement,
    params: &[Value<'_>],
    map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let mut prepared = connection.prepare_cached(statement.text())?;
    let mut answer = prepared.query(params_from_iter(params))?;
    let Some(row) = answer.next()? else { return Ok(None) };
    let mapped = map(&Row(row))?;
    while answer.next()?.is_some() {}
    Ok(Some(mapped))
}
