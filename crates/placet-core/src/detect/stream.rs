//! The search in a body while it streams: whole lines go on as they end.
//!
//! Invariant: the pieces that come out, joined, and what was counted do not depend on the pieces that went in.

use super::{
    Detect, Found, Kind,
    text::{BEFORE, Replaced, Search},
};
use crate::json;

/// The longest line that is read as JSON. What is longer can't be, and isn't passed on.
const LONGEST_LINE: usize = 1024 * 1024;

/// How a body is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Text.
    Text,
    /// Events (`text/event-stream`): the data of each may be JSON.
    Events,
    /// Each line is JSON.
    Lines,
}

/// A line was longer than can be read as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the answer is too long to be searched")]
pub struct LongLine;

/// The search in one body.
#[derive(Debug)]
pub struct Stream {
    detect: Detect,
    layout: Layout,
    search: Search,
    /// What was searched already and is still looked at, and what waits.
    held: Vec<u8>,
    /// Where what waits begins.
    at: usize,
    /// How far no line ends.
    looked: usize,
    found: Found,
}

impl Stream {
    /// One that begins.
    pub fn new(detect: Detect, layout: Layout) -> Self {
        let (search, found) = (Search::default(), Found::default());
        Self { detect, layout, search, held: Vec::new(), at: 0, looked: 0, found }
    }

    /// Takes the next piece, and gives what can go on; perhaps nothing.
    ///
    /// # Errors
    /// A line of JSON or of an event is too long.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, LongLine> {
        self.held.extend_from_slice(piece);
        self.take(false)
    }

    /// Gives what is left: there is no next piece.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Vec<u8>, LongLine> {
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

    fn take(&mut self, is_last: bool) -> Result<Vec<u8>, LongLine> {
        let mut out = Replaced::default();
        if self.layout == Layout::Text {
            self.search.run(&self.detect, &self.held, &mut self.at, is_last, None, &mut self.found, &mut out);
        } else {
            self.lines(is_last, &mut out)?;
        }
        // At times only: what was searched is moved as seldom as it doubles.
        let searched = self.at.saturating_sub(BEFORE);
        if searched > 0 && searched >= self.held.len() / 2 {
            self.held.drain(..searched);
            self.at -= searched;
            self.looked = self.looked.saturating_sub(searched);
        }
        Ok(out.bytes)
    }

    fn lines(&mut self, is_last: bool, out: &mut Replaced) -> Result<(), LongLine> {
        let held = std::mem::take(&mut self.held);
        let mut at = self.at;
        while let Some(rest) = held.get(at..).filter(|rest| !rest.is_empty()) {
            // What was looked through for an end of a line is not looked through again with every piece.
            let known = self.looked.saturating_sub(at).min(rest.len());
            let length = match memchr::memchr2(b'\n', b'\r', rest.get(known..).unwrap_or_default()) {
                Some(end) => known + end + 1,
                None if is_last => rest.len(),
                None if rest.len() > LONGEST_LINE => return Err(LongLine),
                None => {
                    self.looked = held.len();
                    break;
                }
            };
            if length > LONGEST_LINE + 1 {
                return Err(LongLine);
            }
            let end = at + length;
            if !self.as_json(rest.get(..length).unwrap_or_default(), out) {
                let mut from = at;
                let until = held.get(..end).unwrap_or_default();
                self.search.run(&self.detect, until, &mut from, true, None, &mut self.found, out);
            }
            at = end;
        }
        (self.held, self.at) = (held, at);
        Ok(())
    }

    /// Searches a line as JSON, if it is.
    fn as_json(&mut self, line: &[u8], out: &mut Replaced) -> bool {
        let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        let (text, ending) = line.split_at_checked(end).unwrap_or_default();
        let (before, data) = match self.layout {
            Layout::Events => match text.strip_prefix(b"data:") {
                Some(data) => (&b"data: "[..], data),
                None => return false,
            },
            _ => (&b""[..], text),
        };
        if !matches!(data.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
            return false;
        }
        let Ok(mut value) = json::parse(data) else { return false };
        if !self.detect.value(&mut value, &mut self.found) {
            out.bytes.extend_from_slice(line);
            return true;
        }
        out.is_changed = true;
        out.bytes.extend_from_slice(before);
        out.bytes.extend_from_slice(value.to_string().as_bytes());
        out.bytes.extend_from_slice(ending);
        true
    }
}
