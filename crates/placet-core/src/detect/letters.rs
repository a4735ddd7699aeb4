//! Text in UTF-16, read as UTF-8 for the search and written back as it came.
//!
//! Whether a body is in UTF-16 its type says, or its first bytes do: a byte order mark, or letters of ASCII with a zero each.
//!
//! Invariant: what was not changed is written back byte for byte. What is no UTF-16, and text that has zeros though it is none,
//! is an error: something could stand in it that is not found.

use super::{Unsearchable, layout::Letters};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// By the first bytes, which are not there yet.
    Open(Letters),
    /// ASCII is ASCII; whether a zero can't be.
    Plain {
        no_zeros: bool,
    },
    Utf16(Order),
}

/// Reads and writes the letters of one body.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// What came and is no whole letter, or too little to know by.
    begun: Vec<u8>,
    /// What goes out and is no whole letter.
    cut: Vec<u8>,
}

impl Reader {
    pub(super) fn new(letters: Letters) -> Self {
        let state = match letters {
            Letters::Media => State::Plain { no_zeros: false },
            letters => State::Open(letters),
        };
        Self { state, begun: Vec::new(), cut: Vec::new() }
    }

    /// Appends a piece to what is searched.
    pub(super) fn read(
        &mut self,
        piece: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Unsearchable> {
        if let State::Open(letters) = self.state {
            self.begun.extend_from_slice(piece);
            let Some(state) = told(&self.begun, letters, is_last)? else { return Ok(()) };
            self.state = state;
            let first = std::mem::take(&mut self.begun);
            return self.read_as(&first, is_last, out);
        }
        self.read_as(piece, is_last, out)
    }

    fn read_as(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<(), Unsearchable> {
        let order = match self.state {
            State::Utf16(order) => order,
            State::Plain { no_zeros: true } if memchr::memchr(0, piece).is_some() => {
                return Err(Unsearchable::Zeros);
            }
            _ => {
                out.extend_from_slice(piece);
                return Ok(());
            }
        };
        self.begun.extend_from_slice(piece);
        let (pairs, odd) = self.begun.as_chunks::<2>();
        let units: Vec<u16> = pairs
            .iter()
            .map(|pair| match order {
                Order::Little => u16::from_le_bytes(*pair),
                Order::Big => u16::from_be_bytes(*pair),
            })
            .collect();
        // The first half of a letter waits for the other.
        let half = units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        let whole = units.len() - usize::from(half);
        if is_last && (half || !odd.is_empty()) {
            return Err(Unsearchable::Utf16);
        }
        for letter in char::decode_utf16(units.iter().take(whole).copied()) {
            let letter = letter.map_err(|_| Unsearchable::Utf16)?;
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.begun.drain(..whole * 2);
        Ok(())
    }

    /// What was searched, as the body is written.
    pub(super) fn written(&mut self, searched: Vec<u8>, is_last: bool) -> Vec<u8> {
        let State::Utf16(order) = self.state else { return searched };
        self.cut.extend_from_slice(&searched);
        let whole = match std::str::from_utf8(&self.cut) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let whole = if is_last { self.cut.len() } else { whole };
        let letters: Vec<u8> = self.cut.drain(..whole).collect();
        let text = String::from_utf8_lossy(&letters);
        let bytes = text.encode_utf16().flat_map(|unit| match order {
            Order::Little => unit.to_le_bytes(),
            Order::Big => unit.to_be_bytes(),
        });
        bytes.collect()
    }
}

/// Whether all of a body shows itself to be in UTF-16.
pub(super) fn is_utf16(body: &[u8], letters: Letters) -> bool {
    matches!(told(body, letters, true), Ok(Some(State::Utf16(_))))
}

/// What the first bytes say; `None` where they are too few.
fn told(first: &[u8], letters: Letters, is_last: bool) -> Result<Option<State>, Unsearchable> {
    let may_be_utf16 = match *first {
        [one, two, ..] => one == 0 || two == 0 || matches!([one, two], [0xff, 0xfe] | [0xfe, 0xff]),
        _ => true,
    };
    if may_be_utf16 && first.len() < 4 && !is_last {
        return Ok(None);
    }
    let is_ascii = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let shown = match *first {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            return Err(Unsearchable::Encoding("utf-32".to_owned()));
        }
        [0xff, 0xfe, ..] => Some(Order::Little),
        [0xfe, 0xff, ..] => Some(Order::Big),
        [one, 0, two, 0, ..] if is_ascii(one) && is_ascii(two) => Some(Order::Little),
        [0, one, 0, two, ..] if is_ascii(one) && is_ascii(two) => Some(Order::Big),
        [one, 0] if is_ascii(one) => Some(Order::Little),
        [0, one] if is_ascii(one) => Some(Order::Big),
        _ => None,
    };
    let said = match letters {
        Letters::Utf16Le => Some(Order::Little),
        Letters::Utf16Be => Some(Order::Big),
        // Who reads it takes either order, and may read something else.
        Letters::Utf16 if shown.is_none() && !first.is_empty() => return Err(Unsearchable::Utf16),
        _ => shown,
    };
    let contradicts = match said {
        Some(Order::Little) => first.starts_with(&[0xfe, 0xff]),
        Some(Order::Big) => first.starts_with(&[0xff, 0xfe]),
        None => false,
    };
    if contradicts {
        return Err(Unsearchable::Utf16);
    }
    let plain = State::Plain { no_zeros: letters == Letters::Text };
    Ok(Some(said.map_or(plain, State::Utf16)))
}
