//! The text of a statement, written from its definition and from which of the optional parameters are given.
//!
//! Functions, operators and types are named with their schema: what somebody put into another one, for which the server
//! would look first, is never meant. Each column is answered as JSON text, so that numbers stay exact whatever a
//! session's settings are.
//!
//! Invariant: no value of a parameter is part of the text; what decides over it is only whether a parameter is there.

use super::{
    ParamsInvalid, Predicate, Prepared, Source, Statement, Test, Verb,
    column::{Column, Kind, MOST_ITEMS, Scalar, quote},
};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// What the table is called within a statement, so that a column is never taken for anything else.
pub(super) const ROW: &str = "r";
/// The type of counts.
const COUNT: Kind = Kind { scalar: Scalar::Bigint, array: false };

/// A statement while it is written.
struct Writer<'a> {
    params: &'a Map<String, Value>,
    names: Vec<Option<String>>,
    values: Vec<Value>,
}

pub(super) fn write(statement: &Statement, params: &Map<String, Value>) -> Result<Prepared, ParamsInvalid> {
    let mut writer = Writer { params, names: Vec::new(), values: Vec::new() };
    let text = match statement.verb {
        Verb::Select => writer.select(statement)?,
        Verb::Insert => writer.insert(statement)?,
        Verb::Update => writer.update(statement)?,
        Verb::Delete => writer.delete(statement)?,
    };
    Ok(Prepared {
        columns: statement.answer.iter().map(|column| column.name.clone()).collect(),
        names: writer.names,
        reads: statement.verb == Verb::Select,
        rows: statement.rows,
        statement: text,
        values: writer.values,
    })
}

impl Writer<'_> {
    fn select(&mut self, statement: &Statement) -> Result<String, ParamsInvalid> {
        let mut conditions = self.all(&statement.holds)?;
        conditions.extend(self.behind(statement)?);
        let mut text = format!("SELECT {} FROM {}", answer(&statement.answer).join(", "), table(statement));
        condition(&mut text, &conditions);
        for (index, (column, down)) in statement.order.iter().enumerate() {
            text += if index == 0 { " ORDER BY " } else { ", " };
            text += &of_row(column);
            text += if *down { " DESC" } else { " ASC" };
        }
        let limit = match &statement.limit {
            Some((name, otherwise)) => self.count(name, Some(*otherwise), statement.rows.max)?,
            // One more than there may be tells that there are more.
            None => {
                let most = statement.rows.max.saturating_add(u64::from(statement.rows.min > 0));
                Some(self.bound(None, most.to_string().into(), COUNT))
            }
        };
        if let Some(limit) = limit {
            text += " LIMIT ";
            text += &limit;
        }
        let most = u64::try_from(i64::MAX).unwrap_or(u64::MAX);
        if let Some(name) = &statement.offset
            && let Some(offset) = self.count(name, None, most)?
        {
            text += " OFFSET ";
            text += &offset;
        }
        Ok(text)
    }

    fn insert(&mut self, statement: &Statement) -> Result<String, ParamsInvalid> {
        let (mut columns, mut values, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for (column, source) in &statement.written {
            let Some(value) = self.place(source, column)? else { continue };
            // The row is the one that its resource says also where a trigger has its way with it.
            if source.param().is_some_and(|name| statement.bound.iter().any(|bound| bound == name))
                && source.is_certain()
            {
                checks.push(format!("{} OPERATOR(pg_catalog.=) {value}", of_row(column)));
            }
            columns.push(quote(&column.name));
            values.push(value);
        }
        checks.extend(self.all(&statement.holds)?);
        let mut text = format!("INSERT INTO {}", table(statement));
        if columns.is_empty() {
            text += " DEFAULT VALUES";
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, " ({}) VALUES ({})", columns.join(", "), values.join(", "));
        }
        returning(&mut text, statement, &checks);
        Ok(text)
    }

    fn update(&mut self, statement: &Statement) -> Result<String, ParamsInvalid> {
        let mut set = Vec::new();
        for (column, source) in &statement.written {
            if let Some(value) = self.place(source, column)? {
                set.push(format!("{} = {value}", quote(&column.name)));
            }
        }
        if set.is_empty() {
            return Err(ParamsInvalid::whole("nothing is given that would be written".to_owned()));
        }
        let holds = self.all(&statement.holds)?;
        let before = self.all(&statement.before)?;
        let mut text = format!("UPDATE {} SET {}", table(statement), set.join(", "));
        condition(&mut text, &[holds.clone(), before].concat());
        returning(&mut text, statement, &holds);
        Ok(text)
    }

    fn delete(&mut self, statement: &Statement) -> Result<String, ParamsInvalid> {
        let holds = self.all(&statement.holds)?;
        let mut text = format!("DELETE FROM {}", table(statement));
        condition(&mut text, &holds);
        returning(&mut text, statement, &[]);
        Ok(text)
    }

    /// All predicates of which the parameters are given.
    fn all(&mut self, predicates: &[Predicate]) -> Result<Vec<String>, ParamsInvalid> {
        let mut written = Vec::new();
        for predicate in predicates {
            written.extend(self.predicate(predicate)?);
        }
        Ok(written)
    }

    fn predicate(&mut self, predicate: &Predicate) -> Result<Option<String>, ParamsInvalid> {
        let column = of_row(&predicate.column);
        // What is compared is there.
        let certain = Column { null: false, ..predicate.column.clone() };
        Ok(match &predicate.test {
            Test::Null(true) => Some(format!("{column} IS NULL")),
            Test::Null(false) => Some(format!("{column} IS NOT NULL")),
            Test::Compare(operator, source) => self
                .place(source, &certain)?
                .map(|value| format!("{column} OPERATOR(pg_catalog.{operator}) {value}")),
            Test::Prefix(source) => self
                .place(source, &certain)?
                .map(|value| format!("pg_catalog.starts_with({column}, {value})")),
            Test::In(source) => {
                let Some(items) = self.items(source)? else { return Ok(None) };
                let mut each = Vec::new();
                for item in items {
                    let value = bind(source.param(), &certain, &item)?;
                    let value = self.bound(source.param(), value, certain.kind);
                    each.push(format!("{column} OPERATOR(pg_catalog.=) {value}"));
                }
                Some(each.join(" OR "))
            }
        })
    }

    /// The items of a list that is there.
    fn items(&self, source: &Source) -> Result<Option<Vec<Value>>, ParamsInvalid> {
        let (name, value) = match source {
            Source::Constant(Value::Array(items)) => return Ok(Some(items.clone())),
            Source::Constant(_) => return Ok(Some(Vec::new())),
            Source::Param { name, optional } => match self.params.get(name) {
                Some(value) => (name, value),
                None if *optional => return Ok(None),
                None => return Err(missing(name)),
            },
        };
        match value {
            Value::Array(items) if (1..=MOST_ITEMS).contains(&items.len()) => Ok(Some(items.clone())),
            Value::Array(_) => Err(refused(name, "it has no items, or too many")),
            _ => Err(refused(name, "it must be a list")),
        }
    }

    /// Rows behind the one that a page ended with.
    fn behind(&mut self, statement: &Statement) -> Result<Option<String>, ParamsInvalid> {
        let given = statement.after.iter().filter(|name| self.params.contains_key(*name)).count();
        if given == 0 {
            return Ok(None);
        }
        if let Some(name) = statement.after.iter().find(|name| !self.params.contains_key(*name)) {
            return Err(refused(name, "a page begins behind a row: all that names one is given, or nothing"));
        }
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (name, (column, _)) in statement.after.iter().zip(&statement.order) {
            let source = Source::Param { name: name.clone(), optional: false };
            values.extend(self.place(&source, column)?);
            columns.push(of_row(column));
        }
        let down = statement.order.first().is_some_and(|(_, down)| *down);
        let operator = if down { "<" } else { ">" };
        Ok(Some(if columns.len() == 1 {
            format!("{} OPERATOR(pg_catalog.{operator}) {}", columns.concat(), values.concat())
        } else {
            format!("({}) OPERATOR(pg_catalog.{operator}) ({})", columns.join(", "), values.join(", "))
        }))
    }

    /// A count from 0.
    fn count(
        &mut self,
        name: &str,
        otherwise: Option<u64>,
        most: u64,
    ) -> Result<Option<String>, ParamsInvalid> {
        let Some(value) = self.params.get(name) else {
            return Ok(otherwise.map(|count| self.bound(None, count.to_string().into(), COUNT)));
        };
        let bound = COUNT.bind(value).map_err(|problem| refused(name, problem))?;
        let fits = bound
            .as_str()
            .and_then(|text| text.parse().ok())
            .is_some_and(|count| (0..=most).contains(&count));
        if !fits {
            return Err(refused(name, &format!("it must be from 0 to {most}")));
        }
        Ok(Some(self.bound(Some(name), bound, COUNT)))
    }

    /// What stands for a value; `None` where it is optional and not given.
    fn place(&mut self, source: &Source, column: &Column) -> Result<Option<String>, ParamsInvalid> {
        let value = match source {
            Source::Constant(value) => value,
            Source::Param { name, optional } => match self.params.get(name) {
                Some(value) => value,
                None if *optional => return Ok(None),
                None => return Err(missing(name)),
            },
        };
        let value = bind(source.param(), column, value)?;
        Ok(Some(self.bound(source.param(), value, column.kind)))
    }

    fn bound(&mut self, name: Option<&str>, value: Value, kind: Kind) -> String {
        self.names.push(name.map(str::to_owned));
        self.values.push(value);
        format!("CAST(${} AS {})", self.values.len(), kind.sql())
    }
}

/// A value as it is bound.
pub(super) fn bind(name: Option<&str>, column: &Column, value: &Value) -> Result<Value, ParamsInvalid> {
    // JSON has a null of its own: what would be meant by one is told by where a column may be NULL.
    let bound = match value {
        Value::Null if column.null => Ok(Value::Null),
        Value::Null => Err("it can't be null"),
        value => column.kind.bind(value),
    };
    bound.map_err(|problem| refused(name.unwrap_or(&column.name), problem))
}

fn missing(name: &str) -> ParamsInvalid {
    ParamsInvalid::of(name, format!("`{name}` is missing"))
}

fn refused(name: &str, problem: &str) -> ParamsInvalid {
    ParamsInvalid::of(name, format!("`{name}` is refused: {problem}"))
}

fn of_row(column: &Column) -> String {
    format!("{}.{}", quote(ROW), quote(&column.name))
}

fn table(statement: &Statement) -> String {
    let (schema, name) = &statement.table;
    format!("{}.{} AS {}", quote(schema), quote(name), quote(ROW))
}

fn answer(columns: &[Column]) -> Vec<String> {
    columns
        .iter()
        .map(|column| format!("CAST(pg_catalog.to_json({}) AS pg_catalog.text)", of_row(column)))
        .collect()
}

fn condition(text: &mut String, conditions: &[String]) {
    for (index, condition) in conditions.iter().enumerate() {
        *text += if index == 0 { " WHERE (" } else { " AND (" };
        *text += condition;
        *text += ")";
    }
}

/// What is answered of the rows as they are left, and last whether they are as they have to be.
fn returning(text: &mut String, statement: &Statement, checks: &[String]) {
    let mut items = answer(&statement.answer);
    items.push(if checks.is_empty() {
        "TRUE".to_owned()
    } else {
        format!("(({})) IS TRUE", checks.join(") AND ("))
    });
    *text += " RETURNING ";
    *text += &items.join(", ");
}
