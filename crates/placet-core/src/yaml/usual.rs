//! Documents as they are usually written, in one pass: printable ASCII; maps and lists in blocks and in brackets; plain and
//! quoted scalars on one line; comments.
//!
//! It answers only where it is certain. Whatever else is in a text (an empty value, a text over several lines, an anchor, a
//! mistake of any kind) is for the parser that knows all of YAML, which finds the tree or says what is wrong.
//!
//! Invariant: an answer is that parser's answer, places included.

use super::{MAX_DEPTH, Node, Origin, Spanned, Yaml, scalar};
use crate::diagnostic::Position;

/// Most entries of a map that are compared with each other; a larger one is not usual.
const MOST_ENTRIES: usize = 64;
/// Longest key, in bytes: beyond a thousand YAML knows none.
const LONGEST_KEY: usize = 512;

/// The document's tree, where the document is of the usual kind.
pub(super) fn tree(text: &str) -> Option<Node> {
    if !text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
        return None;
    }
    let mut reader = Reader { text, at: 0, line: 1, begins: 0, depth: 0 };
    reader.next_content()?;
    let node = reader.block(0)?;
    (reader.at == text.len()).then_some(node)
}

struct Reader<'t> {
    text: &'t str,
    /// What is read next, in bytes, which are characters.
    at: usize,
    line: usize,
    /// Where the line begins.
    begins: usize,
    /// Lists and maps that are open.
    depth: usize,
}

impl<'t> Reader<'t> {
    /// What begins here, at the start of a line or behind a `-`: afterwards the next content is ahead. `least`: the column
    /// that all of it has at least.
    fn block(&mut self, least: usize) -> Option<Node> {
        if self.is_entry() {
            return self.sequence();
        }
        let (at, position) = (self.at, self.position());
        if let Some(name) = self.block_key() {
            return self.mapping(name, position);
        }
        self.at = at;
        self.value(least)
    }

    /// A list of which an entry begins here.
    fn sequence(&mut self) -> Option<Node> {
        let (column, position) = (self.column(), self.position());
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.at += 1;
            self.skip_spaces();
            items.push(if self.is_content() { self.block(column + 1)? } else { self.below(column, false)? });
            if !self.goes_on(column)? || !self.is_entry() {
                break;
            }
        }
        self.depth -= 1;
        Some(Node { value: Yaml::List(items), position, origin: Origin::Unknown })
    }

    /// A map whose first key was read.
    fn mapping(&mut self, first: Spanned<String>, position: Position) -> Option<Node> {
        let column = position.column - 1;
        self.enter()?;
        let mut entries: Vec<(Spanned<String>, Node)> = Vec::new();
        let mut name = first;
        loop {
            self.skip_spaces();
            let value = if self.is_content() { self.value(column + 1)? } else { self.below(column, true)? };
            add(&mut entries, name, value)?;
            if !self.goes_on(column)? {
                break;
            }
            name = self.block_key()?;
        }
        self.depth -= 1;
        Some(Node { value: Yaml::Map(entries), position, origin: Origin::Unknown })
    }

    /// What stands below a key or a `-` at `column`, with nothing behind that on its line.
    fn below(&mut self, column: usize, of_key: bool) -> Option<Node> {
        self.end_line()?;
        match self.column() {
            _ if self.is_end() => None,
            deeper if deeper > column => self.block(column + 1),
            // A list may stand below its key without more indentation.
            same if same == column && of_key && self.is_entry() => {
                let list = self.sequence()?;
                // Such a list begins, as the parser tells it, with what its first entry has on its line.
                let Yaml::List(items) = &list.value else { return None };
                let position = items.first()?.position;
                (position.line == list.position.line).then_some(Node { position, ..list })
            }
            _ => None,
        }
    }

    /// A scalar, list or map on the rest of the line; afterwards the next content is ahead.
    fn value(&mut self, least: usize) -> Option<Node> {
        let node = self.flow(least, false)?;
        self.end_line()?;
        Some(node)
    }

    /// A scalar, or a list or map in brackets.
    fn flow(&mut self, least: usize, bracketed: bool) -> Option<Node> {
        let position = self.position();
        match self.byte() {
            b'[' => {
                let items = self.items(least)?;
                Some(Node { value: Yaml::List(items), position, origin: Origin::Unknown })
            }
            b'{' => {
                let entries = self.entries(least)?;
                Some(Node { value: Yaml::Map(entries), position, origin: Origin::Unknown })
            }
            b'\'' | b'"' => {
                let (text, origin) = self.quoted()?;
                Some(Node { value: Yaml::String(text), position, origin })
            }
            _ => {
                let text = self.plain(bracketed)?;
                Some(Node { value: scalar::plain(text), position, origin: Origin::Verbatim(position) })
            }
        }
    }

    fn items(&mut self, least: usize) -> Option<Vec<Node>> {
        self.enter()?;
        self.at += 1;
        let mut items = Vec::new();
        self.between(least)?;
        while self.byte() != b']' || !items.is_empty() {
            items.push(self.flow(least, true)?);
            self.between(least)?;
            match self.byte() {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
            self.between(least)?;
        }
        self.at += 1;
        self.depth -= 1;
        Some(items)
    }

    fn entries(&mut self, least: usize) -> Option<Vec<(Spanned<String>, Node)>> {
        self.enter()?;
        self.at += 1;
        let mut entries = Vec::new();
        self.between(least)?;
        while self.byte() != b'}' || !entries.is_empty() {
            let name = self.key(true)?;
            self.between(least)?;
            let value = self.flow(least, true)?;
            add(&mut entries, name, value)?;
            self.between(least)?;
            match self.byte() {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
            self.between(least)?;
        }
        self.at += 1;
        self.depth -= 1;
        Some(entries)
    }

    /// A key at the start of a line, with its colon.
    fn block_key(&mut self) -> Option<Spanned<String>> {
        self.key(false)
    }

    /// A key with its colon, on one line.
    fn key(&mut self, bracketed: bool) -> Option<Spanned<String>> {
        let (start, position) = (self.at, self.position());
        let is_quoted = matches!(self.byte(), b'\'' | b'"');
        let value = match self.byte() {
            b'\'' | b'"' => self.quoted()?.0,
            _ => match (self.plain(bracketed)?, bracketed) {
                ("<<", _) => return None,
                (text, _) => match scalar::plain(text) {
                    Yaml::String(text) => text,
                    _ => return None,
                },
            },
        };
        // As JSON is written: `"key":1`. A key that merely ends in a quote is none of that kind.
        let adjacent = bracketed && is_quoted;
        let end = self.at;
        self.skip_spaces();
        let spaced = self.byte() == b':' && matches!(self.byte_at(1), b' ' | b'\n' | 0);
        let joined = adjacent && self.at == end && self.byte() == b':';
        if !(spaced || joined) || self.at - start > LONGEST_KEY {
            return None;
        }
        self.at += 1;
        Some(Spanned { value, position })
    }

    /// A scalar without quotes, up to the end of the line at most.
    fn plain(&mut self, bracketed: bool) -> Option<&'t str> {
        let separates = |byte: u8| matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
        let starts = match self.byte() {
            b'-' => !matches!(self.byte_at(1), b' ' | b'\n' | 0) && !separates(self.byte_at(1)),
            b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@' | b'`' | b'?' | b':' => {
                false
            }
            b'\n' | b' ' | 0 => false,
            byte => !separates(byte),
        };
        if !starts {
            return None;
        }
        let rest = self.text.get(self.at..)?;
        let bytes = rest.as_bytes();
        let mut before = 0;
        let mut length = bytes.len();
        for (index, byte) in bytes.iter().enumerate() {
            let next = || bytes.get(index + 1).copied().unwrap_or(0);
            let ends = match byte {
                b'\n' => true,
                b':' => matches!(next(), b' ' | b'\n' | 0) || bracketed && separates(next()),
                b'#' => before == b' ',
                b'-' if bracketed && before == b' ' && separates(next()) => return None,
                byte => bracketed && separates(*byte),
            };
            if ends {
                length = index;
                break;
            }
            before = *byte;
        }
        self.at += length;
        Some(rest.get(..length)?.trim_end_matches(' '))
    }

    /// A scalar in quotes, on one line.
    fn quoted(&mut self) -> Option<(String, Origin)> {
        let position = self.position();
        let inside = Position { column: position.column + 1, ..position };
        let double = self.byte() == b'"';
        let quote = self.byte();
        let rest = self.text.get(self.at + 1..)?;
        let bytes = rest.as_bytes();
        let mut escaped = false;
        let mut length = 0;
        loop {
            match bytes.get(length)? {
                b'\n' => return None,
                b'\\' if double => {
                    escaped = true;
                    length += 2;
                }
                byte if *byte != quote => length += 1,
                _ if !double && bytes.get(length + 1) == Some(&quote) => {
                    escaped = true;
                    length += 2;
                }
                _ => break,
            }
        }
        let raw = rest.get(..length)?;
        self.at += length + 2;
        if !escaped {
            return Some((raw.to_owned(), Origin::Verbatim(inside)));
        }
        let value = if double { unescaped(raw)? } else { raw.replace("''", "'") };
        let origin = Origin::escaped(&value, raw, inside, double);
        Some((value, origin))
    }

    /// What is between the parts of a list or map in brackets: spaces, ends of lines, comments.
    fn between(&mut self, least: usize) -> Option<()> {
        let line = self.line;
        self.skip_spaces();
        if matches!(self.byte(), b'\n') || self.byte() == b'#' && self.byte_before() == b' ' {
            self.end_line()?;
        }
        (self.line == line || self.column() >= least).then_some(())
    }

    /// From behind a value to the next content, which is on another line.
    fn end_line(&mut self) -> Option<()> {
        self.skip_spaces();
        match self.byte() {
            b'\n' | 0 => {}
            b'#' if self.byte_before() == b' ' => self.skip_comment(),
            _ => return None,
        }
        self.next_content()
    }

    /// To the next content, from the start or the end of a line. Marks between documents and directives are not usual.
    fn next_content(&mut self) -> Option<()> {
        loop {
            match self.byte() {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.begins = self.at;
                }
                b' ' => self.skip_spaces(),
                b'#' => self.skip_comment(),
                _ => break,
            }
        }
        let rest = self.text.get(self.at..)?;
        let marks = self.column() == 0
            && (rest.starts_with("---") || rest.starts_with("...") || rest.starts_with('%'));
        (!marks).then_some(())
    }

    /// Whether the list or map at `column` goes on here. Content that is deeper belongs to what was read before.
    fn goes_on(&self, column: usize) -> Option<bool> {
        if self.is_end() {
            return Some(false);
        }
        (self.column() <= column).then(|| self.column() == column)
    }

    fn enter(&mut self) -> Option<()> {
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    /// Whether an entry of a list begins here.
    fn is_entry(&self) -> bool {
        self.byte() == b'-' && matches!(self.byte_at(1), b' ' | b'\n' | 0)
    }

    /// Whether something is left of the line.
    fn is_content(&self) -> bool {
        match self.byte() {
            b'\n' | 0 => false,
            b'#' => self.byte_before() != b' ',
            _ => true,
        }
    }

    fn is_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// The byte ahead; 0 at the end.
    fn byte(&self) -> u8 {
        self.byte_at(0)
    }

    fn byte_at(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn byte_before(&self) -> u8 {
        self.at.checked_sub(1).and_then(|at| self.text.as_bytes().get(at)).copied().unwrap_or(0)
    }

    fn skip_spaces(&mut self) {
        while self.byte() == b' ' {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        while !matches!(self.byte(), b'\n' | 0) {
            self.at += 1;
        }
    }

    /// From 0.
    fn column(&self) -> usize {
        self.at - self.begins
    }

    fn position(&self) -> Position {
        Position { line: self.line, column: self.column() + 1 }
    }
}

/// Adds an entry whose key is not there yet.
fn add(entries: &mut Vec<(Spanned<String>, Node)>, name: Spanned<String>, value: Node) -> Option<()> {
    if entries.len() >= MOST_ENTRIES || entries.iter().any(|(other, _)| other.value == name.value) {
        return None;
    }
    entries.push((name, value));
    Some(())
}

/// The text of a string in double quotes, where its escapes are the usual ones.
fn unescaped(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = after.chars();
        out.push(match characters.next()? {
            same @ ('"' | '\\' | '/') => same,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            _ => return None,
        });
        rest = characters.as_str();
    }
    out.push_str(rest);
    Some(out)
}
