//! Reads a statement that was written before it leaves: that it is one statement, of its kind, on its table, and has no
//! word that statements here don't have.
//!
//! It is written by `write` and should never be anything else; this is the second pair of eyes, which knows nothing of
//! how names are quoted there.
//!
//! Invariant: what it can't read, or would have to take for another statement, is refused.

use super::{Prepared, Statement, Verb, write::ROW};
use sqlparser::{
    ast::{self, FromTable, SetExpr, TableFactor, TableObject},
    dialect::PostgreSqlDialect,
    parser::Parser,
    tokenizer::{Token, Tokenizer, Whitespace},
};
use std::collections::BTreeSet;

/// The words that are no names of the definition.
const WORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "BY",
    "CAST",
    "DEFAULT",
    "DELETE",
    "DESC",
    "FROM",
    "INSERT",
    "INTO",
    "IS",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "OPERATOR",
    "OR",
    "ORDER",
    "RETURNING",
    "SELECT",
    "SET",
    "TRUE",
    "UPDATE",
    "VALUES",
    "WHERE",
    "bool",
    "date",
    "int2",
    "int4",
    "int8",
    "json",
    "jsonb",
    "numeric",
    "pg_catalog",
    "starts_with",
    "text",
    "timestamptz",
    "to_json",
    "uuid",
];
/// Of these there is exactly one, so that no statement is within another.
const VERBS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

pub(super) fn prove(statement: &Statement, prepared: &Prepared) -> Result<(), &'static str> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, &prepared.statement).tokenize().map_err(|_| "it can't be read")?;
    words(statement, prepared, &tokens)?;
    let parsed = Parser::parse_sql(&dialect, &prepared.statement).map_err(|_| "it can't be parsed")?;
    let [only] = parsed.as_slice() else { return Err("it is not one statement") };
    let table = table(statement.verb, only).ok_or("it is not of its kind")?;
    let (schema, name) = &statement.table;
    let parts: Vec<&str> = table
        .0
        .iter()
        .filter_map(|part| part.as_ident().filter(|ident| ident.quote_style == Some('"')))
        .map(|ident| ident.value.as_str())
        .collect();
    if parts.len() == table.0.len() && parts == [schema.as_str(), name.as_str()] {
        Ok(())
    } else {
        Err("it is on another table")
    }
}

/// Only known words, names of the definition, and one place for each value.
fn words(statement: &Statement, prepared: &Prepared, tokens: &[Token]) -> Result<(), &'static str> {
    let (schema, table) = &statement.table;
    let columns = statement
        .answer
        .iter()
        .chain(statement.written.iter().map(|(column, _)| column))
        .chain(statement.holds.iter().chain(&statement.before).map(|predicate| &predicate.column))
        .chain(statement.order.iter().map(|(column, _)| column));
    let names: BTreeSet<&str> =
        columns.map(|column| column.name.as_str()).chain([schema.as_str(), table.as_str(), ROW]).collect();
    let (mut verbs, mut places) = (0, BTreeSet::new());
    for token in tokens {
        match token {
            Token::Word(word) if word.quote_style == Some('"') => {
                // The tokenizer may leave a doubled quote as it is.
                let plain = word.value.replace("\"\"", "\"");
                if !names.contains(word.value.as_str()) && !names.contains(plain.as_str()) {
                    return Err("it has a name that the definition doesn't");
                }
            }
            Token::Word(word) if word.quote_style.is_none() && WORDS.contains(&word.value.as_str()) => {
                verbs += usize::from(VERBS.contains(&word.value.as_str()));
            }
            Token::Placeholder(place) => _ = places.insert(place.clone()),
            Token::Comma
            | Token::Period
            | Token::LParen
            | Token::RParen
            | Token::LBracket
            | Token::RBracket
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::LtEq
            | Token::Gt
            | Token::GtEq
            | Token::Whitespace(Whitespace::Space) => {}
            _ => return Err("it has a word that statements here don't have"),
        }
    }
    let wanted: BTreeSet<String> = (1..=prepared.values.len()).map(|index| format!("${index}")).collect();
    if verbs != 1 {
        return Err("it is not one statement");
    }
    if places != wanted || prepared.names.len() != prepared.values.len() {
        return Err("its values don't fit");
    }
    Ok(())
}

/// The one table that a statement of its kind is on.
fn table(verb: Verb, parsed: &ast::Statement) -> Option<&ast::ObjectName> {
    let alone = |from: &ast::TableWithJoins| from.joins.is_empty();
    match (verb, parsed) {
        (Verb::Select, ast::Statement::Query(query)) => {
            let SetExpr::Select(select) = query.body.as_ref() else { return None };
            let [from] = select.from.as_slice() else { return None };
            let plain = query.with.is_none() && query.locks.is_empty() && select.into.is_none();
            (plain && alone(from)).then_some(named(&from.relation)?)
        }
        (Verb::Insert, ast::Statement::Insert(insert)) => match &insert.table {
            TableObject::TableName(name) if insert.on.is_none() => Some(name),
            _ => None,
        },
        (Verb::Update, ast::Statement::Update(update)) => {
            (update.from.is_none() && alone(&update.table)).then_some(named(&update.table.relation)?)
        }
        (Verb::Delete, ast::Statement::Delete(delete)) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            let [from] = from.as_slice() else { return None };
            let plain = delete.tables.is_empty() && delete.using.is_none();
            (plain && alone(from)).then_some(named(&from.relation)?)
        }
        _ => None,
    }
}

fn named(factor: &TableFactor) -> Option<&ast::ObjectName> {
    match factor {
        TableFactor::Table { name, args: None, .. } => Some(name),
        _ => None,
    }
}
