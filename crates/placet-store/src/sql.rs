//! SQL as values: every statement of the store is a named constant, so that one test can prepare each of them on
//! both engines.
//!
//! Statements are written once for both: parameters as `?1` (PostgreSQL gets `$1`; the other way round SQLite would
//! take `$2, $1` as names in order of appearance and silently swap them), `TEXT`, `BIGINT` and `BYTEA` only.
//!
//! Invariant: there is no SQL outside [`statements!`](crate::statements) and `migrations/`; no value is ever part of
//! a statement's text.

use crate::value::Value;
use std::{borrow::Cow, sync::LazyLock};

/// One SQL statement under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    name: &'static str,
    text: &'static str,
}

impl Statement {
    /// Used by the macro only.
    #[doc(hidden)]
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    /// The constant's name, for messages.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The text with parameters as `?1`.
    pub const fn text(&self) -> &'static str {
        self.text
    }
}

/// `text` with its parameters as PostgreSQL wants them. No statement has a question mark in a literal.
pub fn numbered_for_postgres(text: &str) -> Cow<'_, str> {
    if text.contains('?') { Cow::Owned(text.replace('?', "$")) } else { Cow::Borrowed(text) }
}

/// Rows that one insert carries, largest first: whatever is left is cut into pieces of these sizes.
pub(crate) const CHUNKS: [usize; 3] = [32, 8, 1];

/// An insert of 1, 8 or 32 rows.
#[derive(Debug)]
pub(crate) struct Rows {
    name: &'static str,
    head: &'static str,
    columns: usize,
    texts: LazyLock<[String; 3]>,
}

impl Rows {
    /// Used by the macro only.
    pub(crate) const fn new(
        name: &'static str,
        head: &'static str,
        columns: usize,
        texts: fn() -> [String; 3],
    ) -> Self {
        Self { name, head, columns, texts: LazyLock::new(texts) }
    }

    /// The texts for each of [`CHUNKS`].
    pub(crate) fn expand(head: &str, columns: usize, tail: &str) -> [String; 3] {
        CHUNKS.map(|rows| {
            let row = |row: usize| {
                let places: Vec<_> =
                    (1..=columns).map(|column| format!("?{}", row * columns + column)).collect();
                format!("({})", places.join(", "))
            };
            format!("{head} VALUES {}{tail}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
        })
    }

    /// The size of the next piece of `left` rows, with its text.
    pub(crate) fn piece(&self, left: usize) -> (usize, &str) {
        let fit = CHUNKS.iter().zip(self.texts.iter()).find(|(rows, _)| **rows <= left);
        fit.map_or((1, self.head), |(rows, text)| (*rows, text.as_str()))
    }

    /// How many values a row has.
    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// Name and text of every size, for the test that prepares them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, String)> {
        CHUNKS
            .iter()
            .zip(self.texts.iter())
            .map(|(rows, text)| (format!("{}×{rows}", self.name), text.clone()))
    }
}

/// Keys that one question carries, largest first.
const KEYS: [usize; 4] = [64, 16, 4, 1];

/// A question about many keys at once: `head`, then `one` for each key with `between` between them, then `tail`.
#[derive(Debug)]
pub(crate) struct Keys {
    name: &'static str,
    columns: usize,
    texts: LazyLock<[String; 4]>,
}

impl Keys {
    /// Used by the macro only.
    pub(crate) const fn new(name: &'static str, columns: usize, texts: fn() -> [String; 4]) -> Self {
        Self { name, columns, texts: LazyLock::new(texts) }
    }

    /// The texts for each of [`KEYS`].
    pub(crate) fn expand(head: &str, one: &str, between: &str, tail: &str) -> [String; 4] {
        KEYS.map(|keys| {
            let mut number = 0;
            let mut all = String::from(head);
            for key in 0..keys {
                all.push_str(if key == 0 { "" } else { between });
                for part in one.split_inclusive('?') {
                    all.push_str(part);
                    if part.ends_with('?') {
                        number += 1;
                        all.push_str(&number.to_string());
                    }
                }
            }
            all + tail
        })
    }

    /// Texts and values for these keys, of which there may be any number; the last text's are filled up with the last
    /// key.
    pub(crate) fn pieces<'v>(&self, values: &[Value<'v>]) -> Vec<(&str, Vec<Value<'v>>)> {
        let mut pieces = Vec::new();
        let mut rest = values;
        while !rest.is_empty() {
            let left = rest.len().div_ceil(self.columns);
            let mut fitting = KEYS.iter().zip(self.texts.iter());
            // The smallest that takes all, or else the largest.
            let fit = fitting.clone().rfind(|(keys, _)| **keys >= left).or_else(|| fitting.next());
            let Some((keys, text)) = fit else { break };
            let (now, later) = rest.split_at_checked(keys * self.columns).unwrap_or((rest, &[]));
            let mut now = now.to_vec();
            let last: Vec<_> = now.iter().skip(now.len().saturating_sub(self.columns)).cloned().collect();
            while now.len() < keys * self.columns && !last.is_empty() {
                now.extend(last.iter().cloned());
            }
            pieces.push((text.as_str(), now));
            rest = later;
        }
        pieces
    }

    /// Name and text of every size, for the test that prepares them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, String)> {
        KEYS.iter().zip(self.texts.iter()).map(|(keys, text)| (format!("{}×{keys}", self.name), text.clone()))
    }
}

/// Declares the statements of a module as private constants, and `STATEMENTS` with all of them.
#[macro_export]
#[doc(hidden)]
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr;)*) => {
        $($(#[$doc])* const $name: $crate::sql::Statement = $crate::sql::Statement::new(stringify!($name), $text);)*
        /// Every statement of this module.
        pub(crate) const STATEMENTS: &[$crate::sql::Statement] = &[$($name,)*];
    };
}

/// Declares inserts of many rows as private statics, and `ROWS` with all of them.
macro_rules! inserts {
    ($($(#[$doc:meta])* $name:ident[$columns:literal] = $head:expr $(, then $tail:literal)?;)*) => {
        $($(#[$doc])* static $name: $crate::sql::Rows =
            $crate::sql::Rows::new(stringify!($name), $head, $columns, || {
                $crate::sql::Rows::expand($head, $columns, concat!($(" ", $tail)?))
            });)*
        /// Every insert of many rows of this module.
        pub(crate) static ROWS: &[&$crate::sql::Rows] = &[$(&$name,)*];
    };
}
pub(crate) use inserts;

/// Declares questions about many keys as private statics, and `KEYS` with all of them.
macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident[$columns:literal] = $head:literal, $one:literal, $between:literal, $tail:literal;)*) => {
        $($(#[$doc])* static $name: $crate::sql::Keys = $crate::sql::Keys::new(stringify!($name), $columns, || {
            $crate::sql::Keys::expand($head, $one, $between, $tail)
        });)*
        /// Every question about many keys of this module.
        pub(crate) static KEYS: &[&$crate::sql::Keys] = &[$(&$name,)*];
    };
}
pub(crate) use questions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_through() {
        let [_, _, one] = Rows::expand("INSERT INTO t (a, b)", 2, "");
        assert_eq!(one, "INSERT INTO t (a, b) VALUES (?1, ?2)");
        let [many, ..] = Rows::expand("INSERT INTO t (a, b)", 2, "");
        assert!(many.ends_with("(?63, ?64)"), "{many}");
        assert_eq!(numbered_for_postgres(&one), "INSERT INTO t (a, b) VALUES ($1, $2)");
    }
}
