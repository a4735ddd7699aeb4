//! Reads the tables of a PostgreSQL service and the statements of its actions.
//!
//! Invariant: a statement names only tables and columns that are declared, and each parameter is of one type.

use super::{
    Predicate, Rows, Source, Statement, Test, Verb,
    column::{Column, Kind, Scalar, is_name},
    write,
};
use crate::{
    diagnostic::{Diagnostic, quoted},
    service::mapping::PARAM,
    yaml::{self, MapReading, Reading, Yaml},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The keys of statements.
pub(in crate::service) const SELECT_KEYS: &[&str] =
    &["table", "columns", "where", "order", "after", "offset", "limit", "expect_rows"];
pub(in crate::service) const INSERT_KEYS: &[&str] = &["table", "values", "where", "returning"];
pub(in crate::service) const UPDATE_KEYS: &[&str] =
    &["table", "set", "where", "before", "returning", "expect_rows"];
pub(in crate::service) const DELETE_KEYS: &[&str] = &["table", "where", "returning", "expect_rows"];
/// The keys of `limit` and of `expect_rows`.
pub(in crate::service) const LIMIT_KEYS: &[&str] = &["param", "default", "max"];
pub(in crate::service) const ROWS_KEYS: &[&str] = &["min", "max"];
/// What a column can be held against.
pub(in crate::service) const OPERATORS: &[&str] =
    &["eq", "ne", "lt", "lte", "gt", "gte", "between", "in", "prefix", "is_null"];

/// How many rows are answered where nothing is said.
const USUAL_ROWS: u64 = 1000;
/// The most that can be said instead.
const MOST_ROWS: i64 = 100_000;
/// The most columns of a table: PostgreSQL's own bound.
const MOST_COLUMNS: usize = 1600;

/// The tables of a service: schema and name, and their columns.
pub(in crate::service) type Tables = BTreeMap<(String, String), BTreeMap<String, Column>>;

/// Reads `tables`.
pub(in crate::service) fn tables(it: &Reading<'_>) -> Option<Tables> {
    let mut tables = Tables::new();
    let mut good = true;
    for (key, it) in it.map()?.entries() {
        let Some(name) = qualified(&key.value) else {
            let message = format!("{} is no table: write `schema.table`", quoted(&key.value));
            it.report().error(key.position, message);
            good = false;
            continue;
        };
        match columns(&it) {
            Some(columns) => _ = tables.insert(name, columns),
            None => good = false,
        }
    }
    good.then_some(tables)
}

fn qualified(text: &str) -> Option<(String, String)> {
    let (schema, table) = text.split_once('.')?;
    (is_name(schema) && is_name(table) && !table.contains('.')).then(|| (schema.to_owned(), table.to_owned()))
}

fn columns(it: &Reading<'_>) -> Option<BTreeMap<String, Column>> {
    let map = it.map()?;
    let mut columns = BTreeMap::new();
    let mut good = true;
    if map.entries().count() > MOST_COLUMNS {
        it.error(format!("a table has at most {MOST_COLUMNS} columns"));
        return None;
    }
    for (key, it) in map.entries() {
        if !is_name(&key.value) {
            it.report().error(key.position, format!("{} is no name of a column", quoted(&key.value)));
            good = false;
            continue;
        }
        let Some(text) = it.string() else {
            good = false;
            continue;
        };
        let (kind, null) = text.strip_suffix('?').map_or((text, false), |kind| (kind, true));
        if let Some(kind) = Kind::parse(kind) {
            columns.insert(key.value.clone(), Column { name: key.value.clone(), kind, null });
        } else {
            let help = "smallint, integer, bigint, numeric(12,2), text, varchar(40), boolean, uuid, timestamptz, date, \
                        json, jsonb, double precision; `[]` behind one for an array, `?` behind it where it may be NULL";
            it.report().add(
                Diagnostic::error(format!("{} is no type of a column", quoted(text)))
                    .at(it.position())
                    .help(help),
            );
            good = false;
        }
    }
    good.then_some(columns)
}

/// A statement while it is read.
struct Loader<'a> {
    map: MapReading<'a>,
    columns: &'a BTreeMap<String, Column>,
}

/// Reads the statement of an action: one of `select`, `insert`, `update`, `delete`.
pub(in crate::service) fn action(map: &MapReading<'_>, tables: &Tables) -> Option<Statement> {
    let mut found = Verb::ALL.iter().filter_map(|(verb, word)| Some((*verb, map.optional(word)?)));
    let (Some((verb, it)), None) = (found.next(), found.next()) else {
        map.report().error(
            map.position(),
            "an action of a database is one of `select`, `insert`, `update`, `delete`",
        );
        return None;
    };
    let inner = it.map()?;
    inner.finish(match verb {
        Verb::Select => SELECT_KEYS,
        Verb::Insert => INSERT_KEYS,
        Verb::Update => UPDATE_KEYS,
        Verb::Delete => DELETE_KEYS,
    });
    let named = inner.required("table")?;
    let text = named.string()?;
    let Some((table, columns)) = qualified(text).and_then(|name| tables.get_key_value(&name)) else {
        let known: Vec<String> = tables.keys().map(|(schema, table)| format!("{schema}.{table}")).collect();
        let message = format!("{} is no table of `tables`", quoted(text));
        named.report().add(
            Diagnostic::error(message).at(named.position()).suggest(text, known.iter().map(String::as_str)),
        );
        return None;
    };
    let loader = Loader { map: inner, columns };
    let mut statement = Statement {
        verb,
        table: table.clone(),
        answer: loader.answer(verb)?,
        written: loader.written(verb)?,
        holds: loader.predicates("where")?,
        before: loader.predicates("before")?,
        order: loader.order()?,
        after: loader.after()?,
        offset: loader.offset()?,
        limit: None,
        rows: Rows { min: 1, max: 1 },
        bound: Vec::new(),
    };
    loader.counts(&mut statement)?;
    loader.check(&statement).then_some(statement)
}

/// Reads a `select` of one row, for a lookup.
pub(in crate::service) fn one_row(map: &MapReading<'_>, tables: &Tables) -> Option<Statement> {
    let mut statement = action(map, tables).filter(|statement| statement.verb == Verb::Select)?;
    statement.rows = Rows { min: 1, max: 1 };
    statement.limit = None;
    Some(statement)
}

impl Loader<'_> {
    fn column(&self, it: &Reading<'_>, name: &str) -> Option<Column> {
        let found = self.columns.get(name).cloned();
        if found.is_none() {
            let message = format!("{} is no column of the table", quoted(name));
            let known = self.columns.keys().map(String::as_str);
            it.report().add(Diagnostic::error(message).at(it.position()).suggest(name, known));
        }
        found
    }

    fn answer(&self, verb: Verb) -> Option<Vec<Column>> {
        let key = if verb == Verb::Select { "columns" } else { "returning" };
        let it = match (self.map.optional(key), verb) {
            (Some(it), _) => it,
            (None, Verb::Select) => self.map.required(key)?,
            (None, _) => return Some(Vec::new()),
        };
        let mut all: Vec<Column> = Vec::new();
        for it in it.list()? {
            let column = self.column(&it, it.string()?)?;
            if all.contains(&column) {
                it.error(format!("{} stands twice", quoted(&column.name)));
                return None;
            }
            all.push(column);
        }
        if all.is_empty() && verb == Verb::Select {
            it.error("name the columns that are answered");
            return None;
        }
        Some(all)
    }

    fn written(&self, verb: Verb) -> Option<Vec<(Column, Source)>> {
        let it = match verb {
            Verb::Insert => self.map.required("values")?,
            Verb::Update => self.map.required("set")?,
            Verb::Select | Verb::Delete => return Some(Vec::new()),
        };
        let mut all = Vec::new();
        for (key, it) in it.map()?.entries() {
            let column = self.column(&it, &key.value)?;
            let source = source(&it, &column)?;
            all.push((column, source));
        }
        if all.is_empty() && verb == Verb::Update {
            it.error("nothing would be changed");
            return None;
        }
        Some(all)
    }

    fn predicates(&self, key: &str) -> Option<Vec<Predicate>> {
        let Some(it) = self.map.optional(key) else { return Some(Vec::new()) };
        let mut all = Vec::new();
        for (key, it) in it.map()?.entries() {
            let column = self.column(&it, &key.value)?;
            match &it.node().value {
                Yaml::Map(_) => {
                    let tests = it.map()?;
                    tests.finish(OPERATORS);
                    if tests.entries().next().is_none() {
                        it.error("nothing is said of it");
                        return None;
                    }
                    for (operator, it) in tests.entries() {
                        for test in test(&operator.value, &it, &column)? {
                            all.push(Predicate { column: column.clone(), test });
                        }
                    }
                }
                _ => all.extend(
                    test("eq", &it, &column)?
                        .into_iter()
                        .map(|test| Predicate { column: column.clone(), test }),
                ),
            }
        }
        Some(all)
    }

    fn order(&self) -> Option<Vec<(Column, bool)>> {
        let Some(it) = self.map.optional("order") else { return Some(Vec::new()) };
        let mut all = Vec::new();
        for it in it.list()? {
            let text = it.string()?;
            let (name, down) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
            let column = self.column(&it, name)?;
            if !column.kind.is_ordered() {
                it.error(format!("{} has no order", quoted(name)));
                return None;
            }
            all.push((column, down));
        }
        Some(all)
    }

    fn after(&self) -> Option<Vec<String>> {
        let Some(it) = self.map.optional("after") else { return Some(Vec::new()) };
        let order = self.order()?;
        let given = it.list()?;
        if given.is_empty() || given.len() != order.len() {
            it.error("`after` has one parameter for each column of `order`");
            return None;
        }
        let one_way = order.iter().all(|(_, down)| Some(*down) == order.first().map(|(_, first)| *first));
        if !one_way || order.iter().any(|(column, _)| column.null) {
            it.error("behind which row a page begins can only be said where `order` goes one way, and nothing in it may be NULL");
            return None;
        }
        given.iter().map(|it| param(it).map(|(name, _)| name)).collect()
    }

    fn offset(&self) -> Option<Option<String>> {
        let Some(it) = self.map.optional("offset") else { return Some(None) };
        if self.map.optional("after").is_some() {
            it.error("pages begin behind a row (`after`) or behind so many (`offset`), not both");
            return None;
        }
        param(&it).map(|(name, _)| Some(name))
    }

    fn counts(&self, statement: &mut Statement) -> Option<()> {
        let expected = match self.map.optional("expect_rows") {
            Some(it) => Some(rows(&it)?),
            None => None,
        };
        if statement.verb != Verb::Select {
            statement.rows = expected.unwrap_or(statement.rows);
            return Some(());
        }
        statement.rows = Rows { min: 0, max: USUAL_ROWS };
        let limit = self.map.optional("limit");
        match (expected, limit) {
            (Some(_), Some(it)) => {
                it.error("`expect_rows` says already how many there are");
                return None;
            }
            (Some(rows), None) => {
                if rows.min == 0 {
                    self.map
                        .report()
                        .error(self.map.position(), "a select that may find nothing has a `limit` instead");
                    return None;
                }
                statement.rows = rows;
            }
            (None, Some(it)) if matches!(it.node().value, Yaml::Map(_)) => {
                let inner = it.map()?;
                inner.finish(LIMIT_KEYS);
                let count = |key: &str| match inner.optional(key) {
                    Some(it) => {
                        it.integer(1, MOST_ROWS).and_then(|count| u64::try_from(count).ok()).map(Some)
                    }
                    None => Some(None),
                };
                let (name, max, usual) = (inner.required("param")?, count("max")?, count("default")?);
                let max = max.unwrap_or(USUAL_ROWS);
                let usual = usual.unwrap_or(max);
                if usual > max {
                    it.error("`default` is more than `max`");
                    return None;
                }
                statement.rows.max = max;
                statement.limit = Some((plain(&name)?, usual));
            }
            (None, Some(it)) => {
                statement.rows.max = u64::try_from(it.integer(1, MOST_ROWS)?).unwrap_or(USUAL_ROWS)
            }
            (None, None) => {}
        }
        Some(())
    }

    /// What can be seen only of the whole.
    fn check(&self, statement: &Statement) -> bool {
        let (report, at) = (self.map.report(), self.map.position());
        let mut kinds: BTreeMap<&str, (Kind, bool)> = BTreeMap::new();
        let mut good = true;
        let mut bad = |message: String| {
            report.error(at, message);
            good = false;
        };
        for (name, column, list) in statement.places() {
            match kinds.insert(name, (column.kind, list)) {
                Some(other) if list || other.1 => {
                    bad(format!("{} is a list, and has two places", quoted(name)));
                }
                Some(other) if other.0 != column.kind => {
                    bad(format!("{} would be of two types", quoted(name)));
                }
                _ => {}
            }
        }
        let counted = statement.limit.iter().map(|(name, _)| name).chain(&statement.offset);
        let counted: Vec<&String> = counted.collect();
        if let Some(name) = counted.iter().find(|name| kinds.contains_key(name.as_str())) {
            bad(format!("{} is a number of rows and something else", quoted(name)));
        }
        if let [one, other] = counted.as_slice()
            && one == other
        {
            bad(format!("{} is two numbers of rows", quoted(one)));
        }
        let settled = |predicate: &Predicate| predicate.test.source().is_none_or(Source::is_certain);
        let changes = matches!(statement.verb, Verb::Update | Verb::Delete);
        if changes && !statement.holds.iter().any(settled) {
            bad("`where` has to say which rows: at least one predicate whose parameter is not optional"
                .to_owned());
        }
        good
    }
}

/// `$params.NAME`, or `$params.NAME?` where it need not be given.
fn param(it: &Reading<'_>) -> Option<(String, bool)> {
    let text = it.string()?;
    let name = text.strip_prefix(PARAM).filter(|name| !name.trim_end_matches('?').is_empty());
    match name {
        Some(name) => {
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            Some((name.to_owned(), optional))
        }
        None => it.refuse("`$params.NAME`", None),
    }
}

/// The name of a parameter.
fn plain(it: &Reading<'_>) -> Option<String> {
    let text = it.string()?;
    Some(text.strip_prefix(PARAM).unwrap_or(text).trim_end_matches('?').to_owned())
}

fn source(it: &Reading<'_>, column: &Column) -> Option<Source> {
    if !column.kind.is_given() {
        it.error(format!("{} is of a type that is answered only", quoted(&column.name)));
        return None;
    }
    if let Yaml::String(text) = &it.node().value
        && text.starts_with('$')
    {
        let (name, optional) = param(it)?;
        return Some(Source::Param { name, optional });
    }
    constant(it, column).map(Source::Constant)
}

fn constant(it: &Reading<'_>, column: &Column) -> Option<Value> {
    let value = yaml::to_json(it.node());
    match write::bind(None, column, &value) {
        Ok(_) => Some(value),
        Err(error) => {
            it.error(error.message);
            None
        }
    }
}

fn test(operator: &str, it: &Reading<'_>, column: &Column) -> Option<Vec<Test>> {
    let refuse = |what: &str| {
        it.error(format!("{} {what}", quoted(&column.name)));
        None
    };
    // A column that may be NULL is compared with what is not.
    let certain = Column { null: false, ..column.clone() };
    let sign = match operator {
        "is_null" => return Some(vec![Test::Null(it.bool()?)]),
        "prefix" if column.kind.is_text() => return Some(vec![Test::Prefix(source(it, &certain)?)]),
        "prefix" => return refuse("is no text that could begin with something"),
        _ if !column.kind.is_compared() => return refuse("can't be compared"),
        "in" => {
            let Yaml::List(_) = &it.node().value else {
                let (name, optional) = param(it)?;
                return Some(vec![Test::In(Source::Param { name, optional })]);
            };
            let items: Vec<Value> =
                it.list()?.iter().map(|it| constant(it, &certain)).collect::<Option<_>>()?;
            if items.is_empty() || items.len() > super::column::MOST_ITEMS {
                return refuse("is one of a list that has no items, or too many");
            }
            return Some(vec![Test::In(Source::Constant(Value::Array(items)))]);
        }
        "eq" => "=",
        "ne" => "<>",
        _ if !column.kind.is_ordered() => return refuse("has no order"),
        "between" => {
            let given = it.list()?;
            let [from, to] = given.as_slice() else { return refuse("is between two values") };
            return Some(vec![
                Test::Compare(">=", source(from, &certain)?),
                Test::Compare("<=", source(to, &certain)?),
            ]);
        }
        "lt" => "<",
        "lte" => "<=",
        "gt" => ">",
        _ => ">=",
    };
    Some(vec![Test::Compare(sign, source(it, &certain)?)])
}

fn rows(it: &Reading<'_>) -> Option<Rows> {
    let number = |it: &Reading<'_>| it.integer(0, MOST_ROWS).and_then(|count| u64::try_from(count).ok());
    let rows = if let Yaml::Map(_) = &it.node().value {
        let map = it.map()?;
        map.finish(ROWS_KEYS);
        let min = map.optional("min").map_or(Some(1), |it| number(&it))?;
        Rows { min, max: number(&map.required("max")?)? }
    } else {
        let count = number(it)?;
        Rows { min: count, max: count }
    };
    if rows.max == 0 || rows.min > rows.max {
        it.error("at least one row may be there, and no fewer at most than at least");
        return None;
    }
    Some(rows)
}

/// Whether a column's values can name a resource.
pub(in crate::service) fn names(column: &Column) -> bool {
    column.kind.names() && !column.null
}

/// The schema of a count.
pub(in crate::service) const fn count() -> Kind {
    Kind { scalar: Scalar::Bigint, array: false }
}
