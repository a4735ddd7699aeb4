//! SQL as values: every statement of the store is a named constant, so that one test can prepare each of them on
//! both engines.
//!
//! Statements are written once for both: parameters as `?1` (PostgreSQL gets `$1`; the other way round SQLite would
//! take `$2, $1` as names in order of appearance and silently swap them), `TEXT`, `BIGINT` and `BYTEA` only.
//!
//! Invariant: there is no SQL outside [`statements!`](crate::statements) and `migrations/`; no value is ever part of
//! a statement's text.

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
    pub(crate) fn expand(head: &str, columns: usize) -> [String; 3] {
        CHUNKS.map(|rows| {
            let row = |row: usize| {
                let places: Vec<_> =
                    (1..=columns).map(|column| format!("?{}", row * columns + column)).collect();
                format!("({})", places.join(", "))
            };
            format!("{head} VALUES {}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
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
    ($($(#[$doc:meta])* $name:ident[$columns:literal] = $head:expr;)*) => {
        $($(#[$doc])* static $name: $crate::sql::Rows =
            $crate::sql::Rows::new(stringify!($name), $head, $columns, || $crate::sql::Rows::expand($head, $columns));)*
        /// Every insert of many rows of this module.
        pub(crate) static ROWS: &[&$crate::sql::Rows] = &[$(&$name,)*];
    };
}
pub(crate) use inserts;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_through() {
        let [_, _, one] = Rows::expand("INSERT INTO t (a, b)", 2);
        assert_eq!(one, "INSERT INTO t (a, b) VALUES (?1, ?2)");
        let [many, ..] = Rows::expand("INSERT INTO t (a, b)", 2);
        assert!(many.ends_with("(?63, ?64)"), "{many}");
        assert_eq!(numbered_for_postgres(&one), "INSERT INTO t (a, b) VALUES ($1, $2)");
    }
}
