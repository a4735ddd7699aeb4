//! The events of a `text/event-stream` as they come: the part of the format that messages travel in.
//!
//! Invariant: nothing is kept of an event but its data, no more bytes are read than the caller lets, and where pieces end
//! does not matter.

/// What a text in UTF-8 may begin with (U+FEFF).
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Puts events together from pieces.
#[derive(Debug, Default)]
pub struct Events {
    /// A line has ended.
    begun: bool,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed behind it ends no second line.
    after_return: bool,
}

impl Events {
    /// The data of each event that ends in `piece`.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for &byte in piece {
            let skipped = byte == b'\n' && std::mem::take(&mut self.after_return);
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if skipped => {}
                b'\n' | b'\r' => ended.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        ended
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        // The mark that a text may begin with is none of it.
        let marked = if std::mem::replace(&mut self.begun, true) { None } else { line.strip_prefix(MARK) };
        let line = marked.unwrap_or(&line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        // A comment, an id, a name: which message it is stands in the message.
        let rest = match line.strip_prefix(b"data") {
            Some([]) => &[][..],
            Some([b':', b' ', rest @ ..] | [b':', rest @ ..]) => rest,
            _ => return None,
        };
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(rest);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let found = pieces.iter().flat_map(|piece| events.push(piece));
        found.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn events_are_what_stands_between_empty_lines() {
        let text =
            b": hello\n\nid: 1\nevent: message\ndata: {\"a\":\ndata:1}\n\ndatabase: x\ndata\n\ndata: open";
        assert_eq!(all(&[text]), ["{\"a\":\n1}", ""]);
        assert_eq!(all(&[b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"]), ["a", "b", "c"]);
    }

    #[test]
    fn the_mark_at_the_beginning_is_no_part_of_the_first_line() {
        assert_eq!(all(&[b"\xef\xbb", b"\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"]), ["a"]);
        assert_eq!(all(&[b"\n\xef\xbb\xbfdata: b\n\n"]), [""; 0]);
    }

    proptest! {
        #[test]
        fn where_pieces_end_does_not_matter(lines in prop::collection::vec("(data: ?|id: |)[a-c]{0,3}", 0..12), ends in prop::collection::vec(0..3_usize, 12), cut in 0..64_usize) {
            let mut text = String::new();
            for (line, end) in lines.iter().zip(ends) {
                text.push_str(line);
                text.push_str(["\n", "\r\n", "\r"][end]);
            }
            let (one, other) = text.as_bytes().split_at(cut.min(text.len()));
            prop_assert_eq!(all(&[one, other]), all(&[text.as_bytes()]));
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(all(&single), all(&[text.as_bytes()]));
        }
    }
}
