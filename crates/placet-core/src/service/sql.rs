//! Actions of a PostgreSQL service: each is one typed statement on one declared table (`select`, `insert`, `update`,
//! `delete`). An agent gives values and nothing else; it writes no SQL, and none of what it gives is ever part of one.
//!
//! The text of a statement is written from the definition alone, by which of its optional parameters are given
//! (`write`). Before it leaves it is read by a parser of SQL, which has to find one statement, of its kind, on its
//! table, in words that are known (`prove`). Values are bound, as the types that their columns are declared to have
//! (`column`).
//!
//! A predicate of `where` holds of every row that an action sees or leaves behind: of those that an update finds, and
//! of what it makes of them. What the database says of that is read within the transaction, which otherwise ends without
//! an effect.
//!
//! Invariant: every call that is rendered is read back as the parameters that it was made of, or refused.

mod column;
mod editor;
mod load;
mod prove;
mod service;
mod write;

pub(super) use editor::{statements, tables};
#[cfg(test)]
pub(super) use load::{DELETE_KEYS, INSERT_KEYS, LIMIT_KEYS, OPERATORS, ROWS_KEYS, SELECT_KEYS, UPDATE_KEYS};
pub(super) use load::{Tables, one_row};
#[cfg(test)]
pub(super) use service::{ACTION_KEYS, KEYS};
pub(super) use service::{is_database, read};

use super::{ParamsInvalid, Service};
use crate::{
    call::{Method, UpstreamCall},
    pattern::ActionName,
};
use column::Column;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Select,
    Insert,
    Update,
    Delete,
}

/// A statement as it is defined.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) verb: Verb,
    /// Schema and name.
    pub(super) table: (String, String),
    /// What is answered of each row.
    pub(super) answer: Vec<Column>,
    /// What an insert or update writes.
    pub(super) written: Vec<(Column, Source)>,
    /// What holds of rows: of those that are found, and of those that are left behind.
    pub(super) holds: Vec<Predicate>,
    /// What holds of rows before an update.
    pub(super) before: Vec<Predicate>,
    /// The order of what is answered; `true` for the greatest first.
    pub(super) order: Vec<(Column, bool)>,
    /// Where a page begins: behind the row with these values in the columns of `order`.
    pub(super) after: Vec<String>,
    /// The parameter that says how many rows are left out.
    pub(super) offset: Option<String>,
    /// The parameter that says how many rows are answered, and how many where it isn't given.
    pub(super) limit: Option<(String, u64)>,
    /// How many rows there may be.
    pub(super) rows: Rows,
    /// Parameters of the resource: the row that an insert makes has them, whatever else writes it.
    pub(super) bound: Vec<String>,
}

/// How many rows a statement answers or changes; with fewer or more it has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// With more it ends without an effect.
    pub max: u64,
    /// With fewer it ends without an effect.
    pub min: u64,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Param { name: String, optional: bool },
    Constant(Value),
}

/// What holds of one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Predicate {
    pub(super) column: Column,
    pub(super) test: Test,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// One of the operators of [`OPERATORS`], as PostgreSQL writes it.
    Compare(&'static str, Source),
    /// Begins with it.
    Prefix(Source),
    /// One of a list.
    In(Source),
    /// NULL, or not.
    Null(bool),
}

/// What is sent to a database: the body of a call to a PostgreSQL service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// The columns that are answered, in the order in which they come.
    pub columns: Vec<String>,
    /// The parameter of each value; none for those that the definition states.
    pub names: Vec<Option<String>>,
    /// Whether it only reads. Else each row that comes back says last whether it is as it has to be.
    pub reads: bool,
    /// How many rows there may be.
    pub rows: Rows,
    /// The statement; `$1` stands for the first value.
    pub statement: String,
    /// The values: texts, lists of texts, or null.
    pub values: Vec<Value>,
}

impl Prepared {
    /// Reads the body of a call.
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_value(crate::json::parse(body).ok()?).ok()
    }

    fn body(&self) -> Option<Vec<u8>> {
        // By way of a value, whose members have one order.
        serde_json::to_vec(&serde_json::to_value(self).ok()?).ok()
    }
}

impl Verb {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Select, "select"),
        (Self::Insert, "insert"),
        (Self::Update, "update"),
        (Self::Delete, "delete"),
    ];

    /// The method that says as much.
    pub(super) const fn method(self) -> Method {
        match self {
            Self::Select => Method::Get,
            Self::Insert => Method::Post,
            Self::Update => Method::Patch,
            Self::Delete => Method::Delete,
        }
    }
}

impl Source {
    /// The parameter that it is.
    pub(super) fn param(&self) -> Option<&str> {
        match self {
            Self::Param { name, .. } => Some(name),
            Self::Constant(_) => None,
        }
    }

    /// Whether it is always there.
    pub(super) const fn is_certain(&self) -> bool {
        matches!(self, Self::Param { optional: false, .. } | Self::Constant(_))
    }
}

impl Test {
    pub(super) fn source(&self) -> Option<&Source> {
        match self {
            Self::Compare(_, source) | Self::Prefix(source) | Self::In(source) => Some(source),
            Self::Null(_) => None,
        }
    }
}

impl Statement {
    /// The parameters by which the database itself finds or makes the row, so that a wrong one is about no other.
    pub(super) fn enforced(&self) -> impl Iterator<Item = &str> {
        let found = self.holds.iter().chain(&self.before).filter_map(|predicate| match &predicate.test {
            Test::Compare("=", source) if source.is_certain() => source.param(),
            _ => None,
        });
        let made = self.written.iter().filter(|_| self.verb == Verb::Insert);
        found.chain(made.filter_map(|(column, source)| {
            source.param().filter(|_| source.is_certain() && !column.null && column.kind.is_compared())
        }))
    }

    /// The parameters and the columns whose values they are; `true` where one is a list of such.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, &Column, bool)> {
        let written =
            self.written.iter().filter_map(|(column, source)| Some((source.param()?, column, false)));
        let tested = self.holds.iter().chain(&self.before).filter_map(|predicate| {
            let list = matches!(predicate.test, Test::In(_));
            Some((predicate.test.source()?.param()?, &predicate.column, list))
        });
        let after =
            self.after.iter().zip(&self.order).map(|(name, (column, _))| (name.as_str(), column, false));
        written.chain(tested).chain(after)
    }

    /// The statement for these parameters.
    fn prepare(&self, params: &Map<String, Value>) -> Result<Prepared, ParamsInvalid> {
        let prepared = write::write(self, params)?;
        prove::prove(self, &prepared)
            .map_err(|problem| ParamsInvalid::whole(format!("the statement is refused: {problem}")))?;
        Ok(prepared)
    }

    /// The parameters that a statement was prepared from.
    fn params(&self, prepared: &Prepared) -> Option<Map<String, Value>> {
        let mut given: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for (name, value) in prepared.names.iter().zip(&prepared.values) {
            if let Some(name) = name {
                given.entry(name).or_default().push(value);
            }
        }
        let mut params = Map::new();
        for (name, bound) in given {
            let counted = self.limit.as_ref().map(|(name, _)| name).into_iter().chain(&self.offset);
            let value = if counted.clone().any(|counted| counted == name) {
                bound.first()?.as_str()?.parse().ok().map(Value::Number)?
            } else {
                let (_, column, list) = self.places().find(|(place, ..)| *place == name)?;
                let unbind = |bound: &Value| match bound {
                    Value::Null => Some(Value::Null),
                    bound => column.kind.unbind(bound),
                };
                if list {
                    Value::Array(bound.into_iter().map(unbind).collect::<Option<_>>()?)
                } else {
                    unbind(bound.first()?)?
                }
            };
            params.insert(name.to_owned(), value);
        }
        Some(params)
    }

    /// Whether two statements could be sent alike.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.verb == other.verb
            && self.table == other.table
            && self.answer == other.answer
            && self.written == other.written
            && self.holds == other.holds
            && self.before == other.before
            && self.order == other.order
            && self.after == other.after
            && self.offset == other.offset
            && self.limit == other.limit
            && self.rows == other.rows
    }
}

impl Service {
    /// The call of an action that is a statement.
    pub(super) fn render_statement(
        &self,
        statement: &Statement,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        let call = self.statement_call(statement, params)?;
        let back = call.body.as_deref().and_then(Prepared::read).and_then(|it| statement.params(&it));
        // A variable of the resource that the statement doesn't use is said beside it, and not to the database.
        let sent = params.iter().filter(|(name, _)| statement.takes(name));
        let sent: Map<String, Value> = sent.map(|(name, value)| (name.clone(), value.clone())).collect();
        if back.as_ref() == Some(&sent) {
            Ok(call)
        } else {
            Err(ParamsInvalid::whole("the call would not say the same as the parameters".to_owned()))
        }
    }

    /// The call of a statement.
    pub(super) fn statement_call(
        &self,
        statement: &Statement,
        params: &Map<String, Value>,
    ) -> Result<UpstreamCall, ParamsInvalid> {
        let prepared = statement.prepare(params)?;
        let body =
            prepared.body().ok_or_else(|| ParamsInvalid::whole("the parameters are no JSON".to_owned()))?;
        Ok(UpstreamCall {
            method: statement.verb.method(),
            origin: self.origin.clone(),
            target: self.base_path.clone(),
            headers: Vec::new(),
            fixed: Vec::new(),
            body: Some(body),
            streamed: false,
        })
    }

    /// The action and the parameters of a call to a database; `None` if it is none of this service's, written as it is
    /// written here.
    pub(super) fn describe_statement(&self, call: &UpstreamCall) -> Option<(ActionName, Map<String, Value>)> {
        let plain = call.headers.is_empty() && call.fixed.is_empty() && !call.streamed;
        if call.origin != self.origin || call.target != self.base_path || !plain {
            return None;
        }
        let body = call.body.as_deref()?;
        let prepared = Prepared::read(body)?;
        self.actions.values().find_map(|action| {
            let statement = action.statement.as_ref().filter(|it| it.verb.method() == call.method)?;
            let params = statement.params(&prepared)?;
            let again = write::write(statement, &params).ok()?;
            (again.body().as_deref() == Some(body)).then(|| (action.name.clone(), params))
        })
    }
}

impl Statement {
    /// Whether a parameter is one of the statement's.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.places().any(|(place, ..)| place == name)
            || self.limit.as_ref().is_some_and(|(limit, _)| limit == name)
            || self.offset.as_deref() == Some(name)
    }
}

#[cfg(test)]
mod tests;
