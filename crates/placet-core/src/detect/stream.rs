//! The search in a body while it streams: text goes on by whole lines, what is laid out as JSON by whole events, lines or
//! records, once they have ended.
//!
//! Invariant: the pieces that come out, joined, and what was counted do not depend on the pieces that went in. What says that it
//! is JSON and isn't, or has two readings, does not pass.

use super::{
    Detect, Found, Kind, Unsearchable, event,
    layout::{self, Known, Layout, Letters},
    letters::Reader,
    text::{BEFORE, Replaced, Search},
};
use crate::json;
use std::ops::Range;

/// The longest event, line or record that is read as JSON. What is longer can't be, and isn't passed on.
const LONGEST_UNIT: usize = 1024 * 1024;
/// What stands before each record.
const SEPARATOR: u8 = 0x1e;
/// What a text in UTF-8 may begin with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The search in one body.
#[derive(Debug)]
pub struct Stream {
    detect: Detect,
    layout: Layout,
    letters: Reader,
    search: Search,
    /// What was searched already and is still looked at, and what waits.
    held: Vec<u8>,
    /// Where what waits begins.
    at: usize,
    /// Where the line begins of which no end is there yet.
    line: usize,
    /// How far nothing ends.
    looked: usize,
    /// How much of a record was there when it was last tried whether that is all.
    tried: usize,
    /// Whether nothing has been searched yet.
    is_first: bool,
    found: Found,
}

impl Stream {
    /// One that begins, of text in which ASCII is ASCII, or that shows itself to be in UTF-16.
    pub fn new(detect: Detect, layout: Layout) -> Self {
        Self::known(detect, Known { layout, letters: Letters::Unsaid })
    }

    /// One of a body with this `Content-Type`; empty where it has none.
    ///
    /// # Errors
    /// It is in an encoding in which nothing is looked for.
    pub fn of(detect: Detect, content_type: &str) -> Result<Self, Unsearchable> {
        Ok(Self::known(detect, layout::of(content_type)?))
    }

    fn known(detect: Detect, Known { layout, letters }: Known) -> Self {
        Self {
            detect,
            layout,
            letters: Reader::new(letters),
            search: Search::default(),
            held: Vec::new(),
            at: 0,
            line: 0,
            looked: 0,
            tried: 0,
            is_first: true,
            found: Found::default(),
        }
    }

    /// Takes the next piece, and gives what can go on; perhaps nothing.
    ///
    /// # Errors
    /// It can't be searched.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, Unsearchable> {
        self.letters.read(piece, false, &mut self.held)?;
        self.take(false)
    }

    /// Gives what is left: there is no next piece.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Vec<u8>, Unsearchable> {
        self.letters.read(&[], true, &mut self.held)?;
        self.take(true)
    }

    /// What was found until now.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Those of what was found for which nothing more may pass.
    pub fn withheld(&self) -> Vec<Kind> {
        self.found.withheld(&self.detect)
    }

    fn take(&mut self, is_last: bool) -> Result<Vec<u8>, Unsearchable> {
        let mut out = Replaced::default();
        // It is none of the text, and is still there when what follows it is not.
        if self.is_first && !self.held.is_empty() {
            if self.held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.held) && !is_last
            {
                return Ok(Vec::new());
            }
            self.is_first = false;
            if self.held.starts_with(BYTE_ORDER_MARK) {
                self.held.drain(..BYTE_ORDER_MARK.len());
                out.bytes.extend_from_slice(BYTE_ORDER_MARK);
            }
        }
        if self.layout == Layout::Text {
            self.search.run(&self.detect, &self.held, &mut self.at, is_last, None, &mut self.found, &mut out);
        } else {
            let held = std::mem::take(&mut self.held);
            let done = self.units(&held, is_last, &mut out);
            self.held = held;
            done?;
        }
        // At times only: what was searched is moved as seldom as it doubles.
        let searched = self.at.saturating_sub(BEFORE);
        if searched > 0 && searched >= self.held.len() / 2 {
            self.held.drain(..searched);
            self.at -= searched;
            self.line = self.line.saturating_sub(searched);
            self.looked = self.looked.saturating_sub(searched);
        }
        Ok(self.letters.written(out.bytes, is_last))
    }

    /// Searches all events, lines or records that have ended.
    fn units(&mut self, held: &[u8], is_last: bool, out: &mut Replaced) -> Result<(), Unsearchable> {
        while self.at < held.len() {
            let end = self.end(held, is_last);
            if end.unwrap_or(held.len()) - self.at > LONGEST_UNIT {
                return Err(Unsearchable::Long);
            }
            let Some(end) = end else { return Ok(()) };
            self.unit(held, self.at..end, out)?;
            self.begins(end);
        }
        Ok(())
    }

    fn begins(&mut self, at: usize) {
        (self.at, self.line, self.looked, self.tried) = (at, at, at, 0);
    }

    /// Where what waits first ends, if it does. What was looked through is not looked through again with every piece.
    fn end(&mut self, held: &[u8], is_last: bool) -> Option<usize> {
        let rest = |from: usize| held.get(from..).unwrap_or_default();
        let found = match self.layout {
            Layout::Text | Layout::Lines => {
                memchr::memchr(b'\n', rest(self.looked)).map(|end| self.looked + end + 1)
            }
            Layout::Events => self.end_of_event(held, is_last),
            Layout::Records => {
                let from = self.looked.max(self.at + 1);
                memchr::memchr(SEPARATOR, rest(from)).map(|end| from + end)
            }
        };
        if self.layout != Layout::Events {
            self.looked = held.len();
        }
        found.or_else(|| (is_last || self.is_whole_record(rest(self.at))).then_some(held.len()))
    }

    /// Where an empty line ends: there an event does.
    fn end_of_event(&mut self, held: &[u8], is_last: bool) -> Option<usize> {
        loop {
            let rest = held.get(self.looked..)?;
            let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.looked = held.len();
                return None;
            };
            let end = self.looked + found;
            let length = match held.get(end..) {
                Some([b'\r', b'\n', ..]) => 2,
                // Perhaps the other half is still to come.
                Some([b'\r']) if !is_last => {
                    self.looked = end;
                    return None;
                }
                _ => 1,
            };
            let is_empty = end == self.line;
            (self.line, self.looked) = (end + length, end + length);
            if is_empty {
                return Some(self.line);
            }
        }
    }

    /// Whether what is there is a record already, whose successor may be long in coming. It is tried as seldom as it doubles.
    fn is_whole_record(&mut self, rest: &[u8]) -> bool {
        if self.layout != Layout::Records || rest.last() != Some(&b'\n') || rest.len() < 2 * self.tried {
            return false;
        }
        self.tried = rest.len();
        let text = rest.strip_prefix(&[SEPARATOR]).unwrap_or(rest).trim_ascii();
        !text.is_empty() && json::parse(text).is_ok()
    }

    fn unit(&mut self, held: &[u8], range: Range<usize>, out: &mut Replaced) -> Result<(), Unsearchable> {
        let unit = held.get(range.clone()).unwrap_or_default();
        if self.layout == Layout::Events {
            return self.event(held, range, out);
        }
        let separator = usize::from(unit.first() == Some(&SEPARATOR));
        let text = unit.get(separator..).unwrap_or_default();
        let blank = text.len() - text.trim_ascii_start().len();
        let (before, text) = unit.split_at_checked(separator + blank).unwrap_or_default();
        let (text, after) = text.split_at_checked(text.trim_ascii_end().len()).unwrap_or_default();
        out.bytes.extend_from_slice(before);
        if !text.is_empty() {
            if self.layout == Layout::Records && separator == 0 {
                return Err(Unsearchable::NotJson);
            }
            let mut value = json::parse(text).map_err(|_| Unsearchable::NotJson)?;
            if self.detect.value(&mut value, &mut self.found) {
                out.is_changed = true;
                out.bytes.extend_from_slice(value.to_string().as_bytes());
            } else {
                out.bytes.extend_from_slice(text);
            }
        }
        out.bytes.extend_from_slice(after);
        Ok(())
    }

    /// Searches an event: its data as JSON, where that is what it is, and all else as text.
    fn event(&mut self, held: &[u8], range: Range<usize>, out: &mut Replaced) -> Result<(), Unsearchable> {
        let event = held.get(range.clone()).unwrap_or_default();
        let data = event::data(event);
        let Some(mut value) = data.as_deref().map(event::json).transpose()?.flatten() else {
            self.text(held, range, out);
            return Ok(());
        };
        let is_changed = self.detect.value(&mut value, &mut self.found);
        out.is_changed |= is_changed;
        let lines = event::lines(event);
        // The end of the last: behind any other one, an empty line could become a part of it.
        let ending =
            lines.iter().rfind(|line| line.is_data).and_then(|line| event.get(line.content..line.whole.end));
        let mut written = Some(value.to_string()).filter(|_| is_changed);
        let mut at = range.start;
        for line in &lines {
            let (from, until) = (range.start + line.whole.start, range.start + line.whole.end);
            at = until;
            if !line.is_data {
                self.text(held, from..until, out);
            } else if !is_changed {
                out.bytes.extend_from_slice(held.get(from..until).unwrap_or_default());
            } else if let Some(written) = written.take() {
                out.bytes.extend_from_slice(b"data: ");
                out.bytes.extend_from_slice(written.as_bytes());
                out.bytes.extend_from_slice(ending.unwrap_or_default());
            }
        }
        out.bytes.extend_from_slice(held.get(at..range.end).unwrap_or_default());
        Ok(())
    }

    fn text(&mut self, held: &[u8], range: Range<usize>, out: &mut Replaced) {
        let mut from = range.start;
        let until = held.get(..range.end).unwrap_or_default();
        self.search.run(&self.detect, until, &mut from, true, None, &mut self.found, out);
    }
}
