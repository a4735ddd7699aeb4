//! Text on PostgreSQL, which stores every character but NUL.
//!
//! A character of Unicode's private use area stands before what can't be stored as it is. So a text of an agent with a
//! NUL in it is stored and read back, and does not fail the hundreds of requests that share its transaction.
//!
//! Invariant: what is decoded is what was encoded, and different texts stay different.

use std::borrow::Cow;

const MARK: char = '\u{F8F0}';
const NUL: char = '0';

/// The text as PostgreSQL takes it.
pub(crate) fn encode(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for one in text.chars() {
        match one {
            '\0' => stored.extend([MARK, NUL]),
            MARK => stored.extend([MARK, MARK]),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text as it was given to [`encode`].
pub(crate) fn decode(stored: &str) -> String {
    if !stored.contains(MARK) {
        return stored.to_owned();
    }
    let mut text = String::with_capacity(stored.len());
    let mut rest = stored.chars();
    while let Some(one) = rest.next() {
        match (one, one == MARK) {
            (_, true) => match rest.next() {
                Some(NUL) => text.push('\0'),
                Some(other) => text.push(other),
                None => {}
            },
            (other, false) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_as_written(text in "[\\x00\u{F8F0}0a-c\\PC]{0,12}") {
            let stored = encode(&text);
            prop_assert!(!stored.contains('\0'));
            prop_assert_eq!(decode(&stored), text);
        }
    }
}
