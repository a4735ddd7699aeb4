//! From the parser's events to the tree.

use super::{MAX_DEPTH, Node, Origin, Spanned, Yaml, scalar};
use crate::diagnostic::{Diagnostic, Position, Report, quoted};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::{borrow::Cow, collections::HashMap};

/// The document's tree; `None` (and an error in `report`) where there is none. With `numbers`, keys that are numbers are
/// their texts.
pub(super) fn tree(text: &str, report: &Report, numbers: bool) -> Option<Node> {
    let cursor = Cursor::new(text);
    let mut builder = Builder { report, cursor, open: Vec::new(), root: None, documents: 0, numbers };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                report.error(position(error.marker()), format!("not YAML: {}", error.info()));
                return None;
            }
        }
    }
    if builder.root.is_none() {
        report.error(Position::START, "the document is empty");
    }
    builder.root
}

struct Builder<'a> {
    report: &'a Report,
    cursor: Cursor<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    numbers: bool,
}

/// A list or map that is not closed yet.
enum Open {
    List {
        position: Position,
        items: Vec<Node>,
    },
    Map {
        position: Position,
        entries: Vec<(Spanned<String>, Node)>,
        key: Key,
        seen: HashMap<String, Position>,
    },
}

/// What a map has read of its next entry.
enum Key {
    Awaited,
    Read(Spanned<String>),
    /// The key was refused: its value is read and dropped.
    Refused,
}

impl Builder<'_> {
    /// `None` where nothing after this event is worth reading; the report then has an error.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = position(&span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.report.error(at, "a second document begins here; only one is read");
                    return None;
                }
            }
            Event::Alias(_) => {
                self.report.error(at, "aliases are not supported; write the value out");
                self.put(Yaml::Null, at, Origin::Unknown);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                self.scalar(text, style, &span.start);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                self.open(Open::List { position: at, items: Vec::new() }, at)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                let (entries, seen) = (Vec::new(), HashMap::new());
                self.open(Open::Map { position: at, entries, key: Key::Awaited, seen }, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { position, items }) => {
                    self.put(Yaml::List(items), position, Origin::Unknown)
                }
                Some(Open::Map { position, entries, .. }) => {
                    self.put(Yaml::Map(entries), position, Origin::Unknown);
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn refuse_properties(&self, anchor: usize, tagged: bool, at: Position) {
        if anchor != 0 {
            self.report.error(at, "anchors are not supported; write the value out");
        }
        if tagged {
            self.report.error(at, "tags are not supported");
        }
    }

    fn open(&mut self, open: Open, at: Position) -> Option<()> {
        if let Some(Open::Map { key: Key::Awaited, .. }) = self.open.last() {
            self.report.error(at, "a key must be a string, not a list or a map");
            return None;
        }
        if self.open.len() >= MAX_DEPTH {
            self.report.error(at, format!("nested deeper than {MAX_DEPTH} levels"));
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, start: &Marker) {
        let at = position(start);
        let plain = style == ScalarStyle::Plain;
        if let Some(Open::Map { key: key @ Key::Awaited, seen, .. }) = self.open.last_mut() {
            *key = read_key(&text, plain && !(self.numbers && is_count(&text)), at, seen, self.report);
            return;
        }
        let origin = match self.cursor.rest(start) {
            Some(rest) => Origin::of(&text, style, at, rest),
            None => Origin::Unknown,
        };
        let value = if plain { scalar::plain(&text) } else { Yaml::String(text.into_owned()) };
        self.put(value, at, origin);
    }

    fn put(&mut self, value: Yaml, position: Position, origin: Origin) {
        let node = Node { value, position, origin };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match std::mem::replace(key, Key::Awaited) {
                Key::Read(name) => entries.push((name, node)),
                // An alias in a key's place: refused already.
                Key::Awaited => *key = Key::Refused,
                Key::Refused => {}
            },
        }
    }
}

fn is_count(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_key(
    text: &str,
    plain: bool,
    at: Position,
    seen: &mut HashMap<String, Position>,
    report: &Report,
) -> Key {
    if plain && text == "<<" {
        report.error(at, "merge keys are not supported; write the entries out");
        return Key::Refused;
    }
    if plain && !matches!(scalar::plain(text), Yaml::String(_)) {
        let what = if text.is_empty() { "nothing".to_owned() } else { quoted(text) };
        report.add(
            Diagnostic::error(format!("a key must be a string, not {what}")).at(at).help("put it in quotes"),
        );
        return Key::Refused;
    }
    if let Some(first) = seen.get(text) {
        report.error(at, format!("duplicate key {}, first at {first}", quoted(text)));
        return Key::Refused;
    }
    seen.insert(text.to_owned(), at);
    Key::Read(Spanned { value: text.to_owned(), position: at })
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// Finds the byte of a character index, going forward only, so that a long document is walked once.
struct Cursor<'a> {
    rest: &'a str,
    index: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, index: 0 }
    }

    fn rest(&mut self, marker: &Marker) -> Option<&'a str> {
        let ahead = marker.index().checked_sub(self.index)?;
        let bytes = self.rest.char_indices().nth(ahead).map_or(self.rest.len(), |(at, _)| at);
        self.rest = self.rest.get(bytes..)?;
        self.index = marker.index();
        Some(self.rest)
    }
}
