//! The search through text, in blocks: whole lines, or of a line that is longer than a window, windows that overlap. Nothing
//! that is looked for goes over the end of a line, but for private keys, of which it is known that one is open.
//!
//! Invariant: what comes out is the same however many bytes are there at a time.

use super::{Detect, Finding, Found, Kind, Level, mark, personal, secrets};

/// A line of which so many bytes are there is searched before its end is.
pub(super) const WINDOW: usize = 64 * 1024;
/// How much of a window is searched again with what comes after it; more than anything that is looked for is long.
const OVERLAP: usize = 16 * 1024;
/// How far before a place the searches look.
pub(super) const BEFORE: usize = 256;

/// The state of a search between blocks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Search {
    /// Whether a private key began and has not ended.
    open: bool,
}

/// A byte; zero where there is none.
pub(super) fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// The byte before a place; zero where there is none.
pub(super) fn before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(0, |at| byte(text, at))
}

/// Whether a character goes on with a word.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a word goes on here. The letter of an escape is none of it: in JSON within a text a line ends by `\` and `n`.
pub(super) fn in_word(text: &[u8], at: usize) -> bool {
    let letter = before(text, at);
    let is_escape =
        matches!(letter, b'n' | b'r' | b't' | b'b' | b'f') && at >= 2 && byte(text, at - 2) == b'\\';
    is_word(letter) && !is_escape
}

/// All of a text at once; `None` where nothing of it is redacted.
pub(super) fn whole(detect: &Detect, text: &[u8], name: Option<&str>, found: &mut Found) -> Option<Vec<u8>> {
    let (mut search, mut at) = (Search::default(), 0);
    let mut out = Replaced::default();
    search.run(detect, text, &mut at, true, name, found, &mut out);
    out.is_changed.then_some(out.bytes)
}

/// What comes out.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    pub(super) bytes: Vec<u8>,
    pub(super) is_changed: bool,
}

impl Search {
    /// Searches as many blocks from `at` on as are there; all, where nothing comes after. Before `at` stands what was
    /// searched already, at least [`BEFORE`] bytes of it where there were so many.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one pass, which two callers keep differently"
    )]
    pub(super) fn run(
        &mut self,
        detect: &Detect,
        text: &[u8],
        at: &mut usize,
        is_last: bool,
        name: Option<&str>,
        found: &mut Found,
        out: &mut Replaced,
    ) {
        while *at < text.len() {
            let mut end = *at;
            let mut is_long = false;
            while let Some(rest) = text.get(end..).filter(|rest| !rest.is_empty()) {
                match memchr::memchr(b'\n', rest) {
                    Some(line) if line < WINDOW => end += line + 1,
                    None if rest.len() <= WINDOW => {
                        end = if is_last { text.len() } else { end };
                        break;
                    }
                    _ => {
                        is_long = true;
                        break;
                    }
                }
            }
            if end > *at {
                *at = self.block(detect, text, *at..end, None, name, (&mut *found, &mut *out));
            } else if is_long {
                let end = *at + WINDOW;
                *at = self.block(detect, text, *at..end, Some(end - OVERLAP), name, (&mut *found, &mut *out));
            } else {
                break;
            }
        }
    }

    /// Searches a block, and gives where the next begins: at its end, or where it is to be cut, not before.
    fn block(
        &mut self,
        detect: &Detect,
        text: &[u8],
        block: std::ops::Range<usize>,
        cut: Option<usize>,
        name: Option<&str>,
        (found, out): (&mut Found, &mut Replaced),
    ) -> usize {
        let first = block.start.saturating_sub(BEFORE);
        let hay = text.get(first..block.end).unwrap_or_default();
        let from = block.start - first;
        let mut findings = Vec::new();
        let is_open = std::mem::take(&mut self.open);
        let continued = is_open && secrets::goes_on(hay, from);
        let key = detect
            .level(Kind::PrivateKey)
            .and_then(|_| secrets::private_keys(hay, from, continued, &mut findings));
        secrets::find(detect, hay, from, &mut findings);
        personal::find(detect, hay, from, name, &mut findings);
        // What is before was searched before.
        findings.retain(|finding| finding.range.start >= from);
        findings.sort_by_key(|finding| (finding.range.start, std::cmp::Reverse(finding.range.end)));
        let mut end = hay.len();
        if let Some(cut) = cut.map(|cut| cut - first) {
            end = cut;
            for finding in &findings {
                if finding.range.start < end && end < finding.range.end {
                    end = finding.range.end;
                }
            }
            findings.retain(|finding| finding.range.start < end);
        }
        self.open = key.is_some_and(|start| start < end);
        replace(detect, hay, from..end, continued, &findings, found, out);
        first + end
    }
}

/// Writes a stretch with marks in place of what is redacted, and counts what was found.
fn replace(
    detect: &Detect,
    text: &[u8],
    stretch: std::ops::Range<usize>,
    continued: bool,
    findings: &[Finding],
    found: &mut Found,
    out: &mut Replaced,
) {
    let mut done = stretch.start;
    // How far what was counted reaches, and how strictly it was taken.
    let (mut counted, mut level_of_counted) = (stretch.start, Level::Mark);
    for finding in findings {
        let level = detect.level(finding.kind).unwrap_or(Level::Mark);
        let goes_on = continued && finding.kind == Kind::PrivateKey && finding.range.start == stretch.start;
        let is_within = finding.range.end <= counted && level <= level_of_counted;
        if !goes_on && !is_within {
            found.count(finding.kind);
        }
        if finding.range.end > counted {
            (counted, level_of_counted) = (finding.range.end, level);
        }
        if level == Level::Mark {
            continue;
        }
        if finding.range.start >= done {
            out.bytes.extend_from_slice(text.get(done..finding.range.start).unwrap_or_default());
            if !goes_on {
                out.bytes.extend_from_slice(mark(finding.kind).as_bytes());
            }
            out.is_changed = true;
        }
        done = done.max(finding.range.end);
    }
    out.bytes.extend_from_slice(text.get(done..stretch.end).unwrap_or_default());
}
