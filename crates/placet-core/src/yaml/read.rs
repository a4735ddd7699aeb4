//! Typed reading of a tree: each reader reports what it does not understand and answers `None`, so that the caller
//! can go on and the author sees all mistakes at once.

use super::{Node, Spanned, Yaml};
use crate::diagnostic::{Diagnostic, Position, Report, quoted};
use std::borrow::Cow;

/// A value, what it is called in messages, and where mistakes go.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    node: &'a Node,
    /// Of the list, where it is an item of one.
    name: Cow<'a, str>,
    index: Option<usize>,
    report: &'a Report,
}

/// The entries of a map.
#[derive(Debug, Clone)]
pub struct MapReading<'a> {
    entries: &'a [(Spanned<String>, Node)],
    position: Position,
    report: &'a Report,
}

impl Node {
    /// Reads this value; `name` is what messages call it.
    pub fn reading<'a>(&'a self, name: &'a str, report: &'a Report) -> Reading<'a> {
        Reading { node: self, name: Cow::Borrowed(name), index: None, report }
    }

    /// Reads the whole document, which must be a map.
    pub fn as_map<'a>(&'a self, report: &'a Report) -> Option<MapReading<'a>> {
        match &self.value {
            Yaml::Map(entries) => Some(MapReading { entries, position: self.position, report }),
            _ => {
                report.error(self.position, format!("the document must be a map, not {}", self.describe()));
                None
            }
        }
    }
}

impl<'a> Reading<'a> {
    /// The value itself.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Where it begins.
    pub fn position(&self) -> Position {
        self.node.position
    }

    /// What messages call it.
    pub fn name(&self) -> Cow<'a, str> {
        match self.index {
            None => self.name.clone(),
            Some(index) => Cow::Owned(format!("{}[{index}]", self.name)),
        }
    }

    /// Where mistakes go.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// Adds an error here.
    pub fn error(&self, message: impl AsRef<str>) {
        self.report.error(self.node.position, message);
    }

    /// Adds a warning here.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.report.warning(self.node.position, message);
    }

    /// Text. Numbers, `true` and the like must be quoted.
    pub fn string(&self) -> Option<&'a str> {
        match &self.node.value {
            Yaml::String(text) => Some(text),
            Yaml::Number(_) | Yaml::Bool(_) => self.refuse("a string", Some("put it in quotes")),
            _ => self.refuse("a string", None),
        }
    }

    /// Text, owned, with its place.
    pub fn text(&self) -> Option<Spanned<String>> {
        self.string().map(|value| Spanned { value: value.to_owned(), position: self.node.position })
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        match &self.node.value {
            Yaml::Bool(value) => Some(*value),
            _ => self.refuse("`true` or `false`", None),
        }
    }

    /// A number's text (JSON's grammar).
    pub fn number(&self) -> Option<&'a str> {
        match &self.node.value {
            Yaml::Number(text) => Some(text),
            _ => self.refuse("a number", None),
        }
    }

    /// A whole number in `low..=high`.
    pub fn integer(&self, low: i64, high: i64) -> Option<i64> {
        let value = match &self.node.value {
            Yaml::Number(text) => text.parse().ok().filter(|value| (low..=high).contains(value)),
            _ => None,
        };
        value.or_else(|| self.refuse(&format!("a whole number from {low} to {high}"), None))
    }

    /// One of a few words.
    pub fn one_of(&self, words: &[&'static str]) -> Option<&'static str> {
        let text = self.string()?;
        let found = words.iter().copied().find(|word| *word == text);
        if found.is_none() {
            let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            self.report.add(
                Diagnostic::error(format!("`{}` must be one of {list}, not {}", self.name(), quoted(text)))
                    .at(self.node.position)
                    .suggest(text, words.iter().copied()),
            );
        }
        found
    }

    /// The items of a list.
    pub fn list(&self) -> Option<Vec<Self>> {
        match &self.node.value {
            Yaml::List(items) => Some(self.items(items)),
            _ => self.refuse("a list", None),
        }
    }

    /// The items of a list, or the value alone if it is no list.
    pub(crate) fn one_or_many(&self) -> Vec<Self> {
        match &self.node.value {
            Yaml::List(items) => self.items(items),
            _ => vec![self.clone()],
        }
    }

    /// A list of strings. Items that are none are reported and left out.
    pub fn strings(&self) -> Option<Vec<Spanned<String>>> {
        Some(self.list()?.iter().filter_map(Reading::text).collect())
    }

    /// The entries of a map.
    pub fn map(&self) -> Option<MapReading<'a>> {
        match &self.node.value {
            Yaml::Map(entries) => {
                Some(MapReading { entries, position: self.node.position, report: self.report })
            }
            _ => self.refuse("a map", None),
        }
    }

    /// Reports that this should have been `expected`.
    pub fn refuse<T>(&self, expected: &str, help: Option<&str>) -> Option<T> {
        let message = format!("`{}` must be {expected}, not {}", self.name(), self.node.describe());
        let diagnostic = Diagnostic::error(message).at(self.node.position);
        self.report.add(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
        None
    }

    fn items(&self, items: &'a [Node]) -> Vec<Self> {
        let list = self.name();
        let named =
            |(index, node)| Reading { node, name: list.clone(), index: Some(index), report: self.report };
        items.iter().enumerate().map(named).collect()
    }
}

impl<'a> MapReading<'a> {
    /// Where the map begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where mistakes go.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The value under `key`; its absence is reported.
    pub fn required(&self, key: &str) -> Option<Reading<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            self.report.error(self.position, format!("`{key}` is missing"));
        }
        found
    }

    /// The value under `key`, if it is there.
    pub fn optional(&self, key: &str) -> Option<Reading<'a>> {
        self.entries
            .iter()
            .find(|(name, _)| name.value == key)
            .map(|(name, node)| node.reading(&name.value, self.report))
    }

    /// Where `key` itself stands.
    pub(crate) fn key_position(&self, key: &str) -> Option<Position> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(name, _)| name.position)
    }

    /// All entries in order: for maps whose keys are names.
    pub fn entries(&self) -> impl Iterator<Item = (&'a Spanned<String>, Reading<'a>)> + use<'a> {
        let report = self.report;
        self.entries.iter().map(move |(name, node)| (name, node.reading(&name.value, report)))
    }

    /// Reports each key that is not in `known`, with the nearest one that is.
    pub fn finish(&self, known: &[&str]) {
        for (name, _) in self.entries.iter().filter(|(name, _)| !known.contains(&name.value.as_str())) {
            self.report.add(
                Diagnostic::error(format!("unknown key {}", quoted(&name.value)))
                    .at(name.position)
                    .suggest(&name.value, known.iter().copied()),
            );
        }
    }
}
