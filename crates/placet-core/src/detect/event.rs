//! One event of `text/event-stream`, as its reader puts it together: the values of all its `data` lines, with an end of a line
//! between each.
//!
//! Invariant: lines end where the standard says (`\n`, `\r`, or both), so that what is read here is what a client reads.

use super::Unsearchable;
use crate::json;
use serde_json::Value;
use std::ops::Range;

/// A line of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// With its end.
    pub(super) whole: Range<usize>,
    /// Where its end begins.
    pub(super) content: usize,
    pub(super) is_data: bool,
}

/// The lines of an event.
pub(super) fn lines(event: &[u8]) -> Vec<Line> {
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(rest) = event.get(at..).filter(|rest| !rest.is_empty()) {
        let content = at + memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let ending = match event.get(content..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([_, ..]) => 1,
            _ => 0,
        };
        let text = event.get(at..content).unwrap_or_default();
        let is_data = text == b"data" || text.starts_with(b"data:");
        all.push(Line { whole: at..content + ending, content, is_data });
        at = content + ending;
    }
    all
}

/// Its data; `None` where it has none.
pub(super) fn data(event: &[u8]) -> Option<Vec<u8>> {
    let mut data: Option<Vec<u8>> = None;
    for line in lines(event).into_iter().filter(|line| line.is_data) {
        let text = event.get(line.whole.start..line.content).unwrap_or_default();
        let value = text.strip_prefix(b"data:").unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => data = Some(value.to_vec()),
        }
    }
    data
}

/// The data as JSON; `None` where it is no object, list or text, and is searched as what it is.
///
/// # Errors
/// It is JSON, with two readings.
pub(super) fn json(data: &[u8]) -> Result<Option<Value>, Unsearchable> {
    if !matches!(data.trim_ascii_start().first(), Some(b'{' | b'[' | b'"')) {
        return Ok(None);
    }
    match json::parse(data) {
        Ok(value) => Ok(Some(value)),
        Err(_) if serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok() => Err(Unsearchable::NotJson),
        Err(_) => Ok(None),
    }
}
