//! The code that a person reads from one screen and types at another (RFC 8628 §6.1).
//!
//! Eight of twenty consonants: no vowel, so that no word comes of it, and no digit or letter that is taken for another.
//! That is 25.6 thousand million codes, 34.5 bits.
//!
//! Invariant: a code is read however it was typed, and means one thing.

use std::fmt;

/// The letters of RFC 8628 §6.1.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many of them.
const LENGTH: usize = 8;

/// A code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UserCode([u8; LENGTH]);

impl UserCode {
    /// A code from randomness. Of 128 bits the remainder is as even as makes no difference (a bias below 2⁻⁹³).
    pub fn generated(entropy: [u8; 16]) -> Self {
        let mut left = u128::from_be_bytes(entropy);
        Self([(); LENGTH].map(|()| {
            let letter = usize::try_from(left % 20).ok().and_then(|at| LETTERS.get(at));
            left /= 20;
            letter.copied().unwrap_or(b'B')
        }))
    }

    /// Reads what somebody typed: in whatever case, with hyphens and spaces wherever.
    pub fn parse(text: &str) -> Option<Self> {
        let mut letters = text
            .chars()
            .filter(|letter| !letter.is_whitespace() && !matches!(letter, '-' | '\u{2010}'..='\u{2015}'))
            .map(|letter| u8::try_from(letter.to_ascii_uppercase()).ok());
        let mut code = [0; LENGTH];
        for slot in &mut code {
            *slot = letters.next()?.filter(|letter| LETTERS.contains(letter))?;
        }
        letters.next().is_none().then_some(Self(code))
    }

    /// The letters without a hyphen, to be hashed.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As it is shown: `WDJB-MJHT`.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at == LENGTH / 2 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

/// Whoever has the code can answer for it: it is in no log.
impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}
