//! What aggregates see of the database: typed values, rows, queries, and a transaction.
//!
//! [`Query`] reads, on a reader's own snapshot or inside the writer; [`Tx`] also writes, and exists only on the
//! writer thread.
//!
//! Invariant: a [`Tx`] is always inside a savepoint of the current group commit; it can neither commit nor begin.

use crate::{
    connection::Connection,
    fault::Fault,
    lease::Lease,
    record::PreparedEntry,
    sql::{Rows, Statement},
    versions::{self, Version},
};

pub use crate::{row::Row, value::Value};

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
    /// [`Fault::Conflict`] where a constraint refuses; else what the engine met. On PostgreSQL nothing more can be done
    /// in this transaction then, so the closure should answer the fault.
    pub fn execute(&mut self, statement: &Statement, params: &[Value<'_>]) -> Result<u64, Fault> {
        self.alive()?;
        self.connection.execute(statement.text(), params).map_err(|fault| self.met(fault))
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

    /// Runs a statement that can't be refused, by the time that its effect matters.
    pub(crate) fn later(&mut self, statement: &Statement, params: &[Value<'_>]) -> Result<(), Fault> {
        self.leave(statement.text(), params, None)
    }

    /// As [`Tx::later`], for a statement that changes exactly one row, unless another node was faster: then the
    /// group is run again.
    pub(crate) fn later_one(&mut self, statement: &Statement, params: &[Value<'_>]) -> Result<(), Fault> {
        self.leave(statement.text(), params, Some(1))
    }

    /// Inserts many rows, each of `rows.columns()` values, on a server in as few statements as their number allows.
    pub(crate) fn insert(&mut self, rows: &Rows, values: &[Value<'_>]) -> Result<(), Fault> {
        let mut rest = values;
        while !rest.is_empty() {
            // In SQLite a statement costs no way; one of many rows keeps a copy of each page, in case a row is refused.
            let left = if self.connection.shared() { rest.len() / rows.columns() } else { 1 };
            let (count, text) = rows.piece(left);
            let (now, later) = rest.split_at_checked(count * rows.columns()).unwrap_or((rest, &[]));
            self.leave(text, now, None)?;
            rest = later;
        }
        Ok(())
    }

    /// Ends the whole group: for a hot operation that has changed something already and can't go on.
    pub(crate) fn doom(&mut self, fault: Fault) -> Fault {
        self.fatal.get_or_insert(fault).clone()
    }

    /// Remembers a fault that ends the group, so that no closure can go on as if nothing was.
    pub(crate) fn met(&mut self, fault: Fault) -> Fault {
        if self.fatal.is_none() && (fault.ends_group() || self.connection.doomed()) {
            self.fatal = Some(fault.clone());
        }
        fault
    }

    fn leave(&mut self, text: &str, params: &[Value<'_>], expected: Option<u64>) -> Result<(), Fault> {
        self.alive()?;
        self.connection.later(text, params, expected).map_err(|fault| self.met(fault))
    }

    fn alive(&self) -> Result<(), Fault> {
        self.fatal.clone().map_or(Ok(()), Err)
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
        self.connection.rows(statement.text(), params, map).map_err(|fault| self.met(fault))
    }

    fn one<T>(
        &mut self,
        statement: &Statement,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.alive()?;
        self.connection.first(statement.text(), params, map).map_err(|fault| self.met(fault))
    }
}
