//! The search for secrets and personal data: what a body becomes does not depend on the pieces that it comes in, what is only
//! marked is as it came, and what is counted is the same whatever is done with it.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    detect::{Detect, Found, Kind, Layout, Level, Stream},
    json,
};
use std::sync::LazyLock;

fn all(level: Level) -> Detect {
    let mut detect = Detect::default();
    Kind::ALL.into_iter().for_each(|kind| detect.set(kind, level));
    detect
}

static MARK: LazyLock<Detect> = LazyLock::new(|| all(Level::Mark));
static REDACT: LazyLock<Detect> = LazyLock::new(|| all(Level::Redact));

/// `None` where something of it can't be searched.
fn streamed(detect: &Detect, layout: Layout, pieces: &[&[u8]]) -> Option<(Vec<u8>, Found)> {
    let mut stream = Stream::new(detect.clone(), layout);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(stream.push(piece).ok()?);
    }
    out.extend(stream.finish().ok()?);
    Some((out, stream.found().clone()))
}

// The first byte says where it is cut, in a line that goes on for more than a window where it is odd.
pub(crate) fn run(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else { return };
    let long = [data, &b"x ".repeat(40_000), data].concat();
    let text = if cut % 16 == 15 { &long[..] } else { data };
    for layout in [Layout::Text, Layout::Events, Layout::Lines, Layout::Records] {
        let whole = streamed(&REDACT, layout, &[text]);
        let every = usize::from(*cut / 16 * 7 + 1) * if text.len() > 4096 { 997 } else { 1 };
        let pieces: Vec<&[u8]> = text.chunks(every).collect();
        assert_eq!(streamed(&REDACT, layout, &pieces), whole);
        if layout == Layout::Text {
            let mut found = Found::default();
            let at_once = REDACT.bytes(text, &mut found).unwrap_or_else(|| text.to_vec());
            // What is in UTF-16 is read as that while it streams, and what marks the order of bytes is none of the text.
            let marks = [&b"\xff\xfe"[..], b"\xfe\xff", b"\xef\xbb\xbf"];
            if !text.contains(&0) && !marks.iter().any(|mark| text.starts_with(mark)) {
                assert_eq!(Some((at_once, found)), whole);
            }
            if let Some((marked, _)) = streamed(&MARK, layout, &pieces) {
                assert_eq!(marked, text);
            }
        }
    }
    if let Ok(value) = json::parse(data) {
        let (mut marked, mut redacted) = (value.clone(), value.clone());
        let (mut found, mut counted) = (Found::default(), Found::default());
        assert!(!MARK.value(&mut marked, &mut found));
        assert_eq!(marked, value);
        assert_eq!(REDACT.value(&mut redacted, &mut counted), redacted != value);
        assert_eq!(counted.is_empty(), found.is_empty());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
