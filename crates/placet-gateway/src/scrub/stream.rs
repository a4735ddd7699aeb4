//! Takes a secret out of a body while it streams.
//!
//! What could be the beginning of an occurrence at the end of a piece is held back until the next piece shows what it
//! is; everything before goes out at once. So an event that ends in a line end is not delayed, and a form of the
//! secret that straddles pieces, even in the middle of an escape, is found like any other.
//!
//! Invariant: the pieces that come out, joined, are what [`Scrubber::scrub_bytes`] would make of the whole, whatever
//! the pieces were that went in; and no more is held than the longest form of the secret can be, escaped.

use super::{Anywhere, Forms, SCRUBBED, Scrubber, is_base64, walk};
use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// The scrubber of one body.
#[derive(Debug)]
pub(crate) struct StreamScrubber {
    scrubber: Scrubber,
    held: BytesMut,
    /// How many bytes at the beginning of what is held belong to an occurrence that has been replaced already.
    condemned: usize,
}

impl StreamScrubber {
    /// One that begins. Only for a scrubber that [streams](Scrubber::streams).
    pub(crate) fn new(scrubber: Scrubber) -> Self {
        Self { scrubber, held: BytesMut::new(), condemned: 0 }
    }

    /// Takes the next piece, and gives what can go out; perhaps nothing.
    pub(crate) fn push(&mut self, piece: Bytes) -> Bytes {
        self.take(piece, false)
    }

    /// Gives what is left: there is no next piece.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.take(Bytes::new(), true)
    }

    fn take(&mut self, piece: Bytes, last: bool) -> Bytes {
        let scrubber = self.scrubber.clone();
        let Forms::Anywhere(forms) = &*scrubber.0 else { return piece };
        let whole = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split().freeze()
        };
        let until = if last { whole.len() } else { forms.hold_from(&whole) };
        let mut found = forms.find(&whole);
        let continued = self.condemned.min(whole.len());
        if continued > 0 {
            found.push(0..continued);
        }
        self.condemned = continued.saturating_sub(until);
        found.retain(|range| range.start < until);
        for range in &mut found {
            self.condemned = self.condemned.max(range.end.saturating_sub(until));
            range.end = range.end.min(until);
        }
        self.held.extend_from_slice(whole.get(until..).unwrap_or_default());
        if found.is_empty() {
            whole.slice(..until)
        } else {
            forms.replaced(&whole, until, found, continued > 0)
        }
    }
}

impl Anywhere {
    /// The first place from which on something may be an occurrence that isn't complete yet; the length where none is.
    fn hold_from(&self, bytes: &[u8]) -> usize {
        let longest = self.needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or_default();
        let tail = bytes.len().saturating_sub(longest.saturating_mul(walk::LONGEST));
        let is_escaped =
            bytes.get(tail..).is_some_and(|tail| memchr::memchr3(b'%', b'\\', b'&', tail).is_some());
        let first = if is_escaped { tail } else { bytes.len().saturating_sub(longest) };
        let mut places = walk::Places::default();
        for (at, byte) in bytes.iter().enumerate().skip(first) {
            if !self.starts.get(usize::from(*byte)).is_some_and(|&start| start) {
                continue;
            }
            for needle in &self.needles {
                if walk::goes_on(&needle.bytes, bytes, at, needle.after, &mut places) {
                    // The character before may hold bits of the secret too.
                    let before = at.checked_sub(1).filter(|&at| bytes.get(at).is_some_and(is_base64));
                    return before.unwrap_or(at);
                }
            }
        }
        // So may the last one, if an occurrence begins with the next piece.
        bytes.len().saturating_sub(usize::from(bytes.last().is_some_and(is_base64)))
    }

    /// `whole` up to `until` with a mark in place of each range; the first has its mark already where it is
    /// `continued`.
    fn replaced(&self, whole: &[u8], until: usize, mut found: Vec<Range<usize>>, continued: bool) -> Bytes {
        let mark = self.mark();
        found.sort_by_key(|range| range.start);
        let mut out = Vec::with_capacity(until);
        let mut done = 0;
        let mut marked = continued;
        for range in found {
            if range.start >= done && !(marked && range.start == 0) {
                out.extend_from_slice(whole.get(done..range.start).unwrap_or_default());
                out.extend_from_slice(mark.as_bytes());
            }
            marked &= range.start == 0;
            done = done.max(range.end);
        }
        out.extend_from_slice(whole.get(done..until).unwrap_or_default());
        out.into()
    }

    /// What stands in place of the secret: never anything with which its surroundings could become the secret again.
    fn mark(&self) -> &'static str {
        let clashes = self.needles.iter().any(|needle| memchr::memchr2(b'[', b']', &needle.bytes).is_some());
        if clashes || !self.find(SCRUBBED.as_bytes()).is_empty() { "\u{fffd}" } else { SCRUBBED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::secret::Secret;
    use proptest::prelude::*;

    const SECRET: &str = "canary_4eC39HqL/yjW+Darj&1=z%c\\x";

    fn streamed(scrubber: &Scrubber, text: &[u8], pieces: &[usize]) -> Vec<u8> {
        let mut stream = StreamScrubber::new(scrubber.clone());
        let mut out = Vec::new();
        let mut at = 0;
        for piece in pieces.iter().cycle() {
            let end = (at + (*piece).max(1)).min(text.len());
            out.extend(stream.push(Bytes::copy_from_slice(&text[at..end])));
            at = end;
            if at == text.len() {
                break;
            }
        }
        out.extend(stream.finish());
        out
    }

    fn escaped(secret: &[u8], how: u8) -> Vec<u8> {
        let base64 = |prefix: &[u8]| {
            base64::Engine::encode(&super::super::STANDARD, [prefix, secret, b"tail"].concat())
        };
        match how {
            0 => secret.to_vec(),
            1 => secret.iter().flat_map(|b| format!("%{b:02x}").into_bytes()).collect(),
            2 => secret.iter().flat_map(|b| format!("%25{b:02X}").into_bytes()).collect(),
            3 => secret.iter().flat_map(|b| format!("\\u{b:04x}").into_bytes()).collect(),
            4 => secret.iter().flat_map(|b| format!("&#x{b:x};").into_bytes()).collect(),
            5 => secret.iter().flat_map(|b| format!("&amp;#{b};").into_bytes()).collect(),
            6 => secret.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect(),
            7 => base64(b"user:").into_bytes(),
            8 => base64(b"user1:").into_bytes(),
            9 => base64(b"us:").into_bytes(),
            _ => secret.iter().flat_map(|b| [*b, 0]).collect(),
        }
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_cut() {
        let scrubber = Scrubber::new(&Secret::new(SECRET));
        for how in 0..=10 {
            let form = escaped(SECRET.as_bytes(), how);
            let text = [b"before \"", form.as_slice(), b"\" after"].concat();
            let whole = scrubber.scrub_bytes(&text).unwrap();
            for cut in 1..text.len() {
                let out = streamed(&scrubber, &text, &[cut, text.len()]);
                assert_eq!(
                    String::from_utf8_lossy(&out),
                    String::from_utf8_lossy(&whole),
                    "{how} cut at {cut}"
                );
            }
            assert_eq!(streamed(&scrubber, &text, &[1]), whole, "{how} byte by byte");
        }
    }

    #[test]
    fn an_event_that_ends_in_a_line_end_is_not_delayed() {
        let mut stream = StreamScrubber::new(Scrubber::new(&Secret::new(SECRET)));
        for event in ["data: {\"text\":\"a\\nc\"}\n\n", "data: 100%\n\n", "data: a&b\n\n", "data: c\n\n"] {
            assert_eq!(stream.push(Bytes::from(event)), event);
        }
        assert!(
            stream.push(Bytes::from("data: canary_4eC39")).ends_with(b"data: "),
            "what may be the secret waits"
        );
        assert_eq!(stream.push(Bytes::from(" not\n")), "canary_4eC39 not\n");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let scrubber = Scrubber::new(&Secret::new("aaaaaaaa"));
        let mut stream = StreamScrubber::new(scrubber);
        let mut out = 0;
        for _ in 0..1000 {
            out += stream.push(Bytes::from_static(&[b'a'; 100])).len();
            assert!(stream.held.len() < 64, "{}", stream.held.len());
        }
        out += stream.finish().len();
        assert!(out < 100, "one mark, or few: {out}");
    }

    #[test]
    fn a_mark_never_completes_a_secret() {
        for secret in ["x[scrubb", "scrubbed", "ed]12345", "[scrubbed]"] {
            let scrubber = Scrubber::new(&Secret::new(secret));
            for split in 1..secret.len() {
                let (head, tail) = secret.split_at(split);
                let text = format!("{head}{secret}{tail}");
                let out = streamed(&scrubber, text.as_bytes(), &[3]);
                assert!(!String::from_utf8_lossy(&out).contains(secret), "{secret} {split}");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(prop_oneof![
                (0u8..=10).prop_map(|how| escaped(SECRET.as_bytes(), how)),
                (0u8..=10, 1usize..30).prop_map(|(how, cut)| { let mut form = escaped(SECRET.as_bytes(), how); form.truncate(cut); form }),
                "[a-zA-Z0-9%&\\\\;#x25canry_4 ]{0,12}".prop_map(String::into_bytes),
            ], 0..6),
            pieces in prop::collection::vec(1usize..40, 1..8),
        ) {
            let text = parts.concat();
            let scrubber = Scrubber::new(&Secret::new(SECRET));
            let whole = scrubber.scrub_bytes(&text).unwrap_or_else(|| text.clone());
            let out = streamed(&scrubber, &text, &pieces);
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole));
        }
    }
}
