//! YAML (and so JSON) as a small tree in which every value knows its line and column.
//!
//! What can make two readers see different documents is refused rather than interpreted: duplicate keys, anchors,
//! aliases, tags, merge keys, several documents. Scalars follow YAML 1.2: only `true`, `false`, `null`, `~`, nothing
//! and JSON's numbers are not strings, so `on`, `yes`, `09:00` and `1_000` are. [`read`](crate::yaml::Reading) has
//! the typed readers, which report to a [`Report`] and go on.
//!
//! Invariant: parsing is bounded (size, depth) and never evaluates anything; a tree has unique string keys.

mod parse;
mod read;
mod scalar;
mod usual;

pub use read::{MapReading, Reading};

use crate::diagnostic::{Diagnostic, Position, Report};
use scalar::Origin;

/// The longest source that is read: 1 MiB.
pub const MAX_SOURCE: usize = 1 << 20;
/// The deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 32;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The value.
    pub value: Yaml,
    /// Where it begins (a quoted string: its opening quote; a block: its first line).
    pub position: Position,
    origin: Origin,
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yaml {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in JSON's grammar, as written.
    Number(String),
    /// Any other scalar.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the source; keys are unique.
    Map(Vec<(Spanned<String>, Node)>),
}

/// Something and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// Where it begins.
    pub position: Position,
}

/// Parses one document. The report that comes with it is for the reader of the tree; it is without errors yet.
///
/// # Errors
/// Everything that is wrong with the text; after a syntax error nothing further is read.
pub fn parse(source: &[u8], file: Option<&str>) -> Result<(Node, Report), Vec<Diagnostic>> {
    tree(source, file, false)
}

/// As [`parse`], for documents that others wrote: keys that are whole numbers (`200:`) are their texts, as in JSON.
///
/// # Errors
/// As there.
pub(crate) fn parse_foreign(source: &[u8], file: Option<&str>) -> Result<(Node, Report), Vec<Diagnostic>> {
    tree(source, file, true)
}

fn tree(source: &[u8], file: Option<&str>, numbers: bool) -> Result<(Node, Report), Vec<Diagnostic>> {
    if source.len() > MAX_SOURCE {
        let report = Report::new(file, "");
        report.add(Diagnostic::error(format!("the document has more than {MAX_SOURCE} bytes")));
        return Err(report.into_diagnostics());
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(source.get(..error.valid_up_to()).unwrap_or_default());
            let report = Report::new(file, valid.as_ref());
            report.error(end_of(&valid), "the document is not UTF-8");
            return Err(report.into_diagnostics());
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = scalar::join_surrogates(text);
    let report = Report::new(file, text.as_ref());
    match usual::tree(&text).or_else(|| parse::tree(&text, &report, numbers)) {
        Some(node) if !report.has_errors() => Ok((node, report)),
        _ => Err(report.into_diagnostics()),
    }
}

/// Whether both parsers read a text alike; `None` where the one that knows usual documents answers nothing.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_read_alike(text: &str) -> Option<bool> {
    let usual = usual::tree(text)?;
    let report = Report::new(None, text);
    let general = parse::tree(text, &report, false).filter(|_| !report.has_errors());
    Some(general.as_ref() == Some(&usual))
}

/// The value as JSON. Numbers keep their text.
pub fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value;
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(*value),
        // The text is of JSON's grammar, so it always parses; were it not, a string is the honest answer.
        Yaml::Number(text) => match text.parse() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.clone()),
        },
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Yaml::Map(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.value.clone(), to_json(node))).collect())
        }
    }
}

impl Node {
    /// A value that stands nowhere itself but comes of what stands at `position`.
    pub(crate) fn made(value: Yaml, position: Position) -> Self {
        Self { value, position, origin: Origin::Unknown }
    }

    /// Where byte `offset` of a string stands in the source: exact for scalars on one line and for `|` blocks, the
    /// beginning of the scalar for others.
    pub(crate) fn position_within(&self, offset: usize) -> Position {
        match &self.value {
            Yaml::String(text) | Yaml::Number(text) => {
                self.origin.position(text, offset).unwrap_or(self.position)
            }
            _ => self.position,
        }
    }

    /// Where it stands, without the value.
    #[must_use]
    pub fn place(&self) -> Self {
        Self { value: Yaml::Null, position: self.position, origin: Origin::Unknown }
    }

    /// The value under `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Yaml::Map(entries) => entries.iter().find(|(name, _)| name.value == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// "a list", "the string `x`": for messages.
    pub fn describe(&self) -> String {
        use crate::diagnostic::quoted;
        match &self.value {
            Yaml::Null => "nothing".to_owned(),
            Yaml::Bool(value) => format!("`{value}`"),
            Yaml::Number(text) => format!("the number {}", quoted(text)),
            Yaml::String(text) => format!("the string {}", quoted(text)),
            Yaml::List(_) => "a list".to_owned(),
            Yaml::Map(_) => "a map".to_owned(),
        }
    }
}

fn end_of(text: &str) -> Position {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line, column }
}

#[cfg(test)]
mod tests;
