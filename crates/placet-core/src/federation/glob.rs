//! Patterns of what foreign tokens claim: text in which `*` stands for one or more characters but `/` and `:`, and `**`
//! at the end for one or more of any.
//!
//! They are not the patterns of resources ([`crate::pattern`]): a subject such as `repo:acme/shop:ref:refs/heads/main` is
//! its issuer's own text, and nothing in it is decoded or folded.
//!
//! Invariant: what has no star matches itself only, byte for byte; a `*` never reaches into the next part.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// The longest pattern, in bytes.
const MAX_LENGTH: usize = 1024;
/// The most stars of a pattern.
const MAX_STARS: usize = 8;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// One or more characters of one part.
    Part,
    /// One or more characters, to the end.
    Rest,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// Its length.
    #[error("a pattern has 1 to {MAX_LENGTH} bytes without control characters")]
    Length,
    /// Its stars.
    #[error("`**` stands at the end only, and a pattern has at most {MAX_STARS} `*`")]
    Stars,
}

impl Glob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `text` is one of those that it stands for.
    pub fn matches(&self, text: &str) -> bool {
        let mut reached = BTreeSet::from([0]);
        for piece in &self.pieces {
            let mut next = BTreeSet::new();
            for at in reached {
                let Some(rest) = text.get(at..) else { continue };
                match piece {
                    Piece::Literal(literal) if rest.starts_with(literal) => {
                        next.insert(at + literal.len());
                    }
                    Piece::Literal(_) => {}
                    Piece::Part => {
                        let part = rest.char_indices().take_while(|(_, c)| !matches!(c, '/' | ':'));
                        next.extend(part.map(|(offset, c)| at + offset + c.len_utf8()));
                    }
                    Piece::Rest if rest.is_empty() => {}
                    Piece::Rest => _ = next.insert(text.len()),
                }
            }
            reached = next;
        }
        reached.contains(&text.len())
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if !(1..=MAX_LENGTH).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(GlobError::Length);
        }
        let (front, rest) = text.strip_suffix("**").map_or((text, false), |front| (front, true));
        if front.contains("**") || (rest && front.ends_with('*')) || text.matches('*').count() > MAX_STARS {
            return Err(GlobError::Stars);
        }
        let mut pieces = Vec::new();
        for (index, literal) in front.split('*').enumerate() {
            if index > 0 {
                pieces.push(Piece::Part);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.to_owned()));
            }
        }
        if rest {
            pieces.push(Piece::Rest);
        }
        Ok(Self { text: text.to_owned(), pieces })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Glob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Glob>().unwrap().matches(text)
    }

    #[test]
    fn a_star_stays_in_its_part() {
        let pattern = "repo:acme/*:ref:refs/heads/main";
        assert!(matches(pattern, "repo:acme/shop:ref:refs/heads/main"));
        for other in [
            "repo:acme/:ref:refs/heads/main",
            "repo:acme/a/b:ref:refs/heads/main",
            "repo:acme/shop:ref:refs/heads/main:environment:x",
            "repo:acme/x:ref:refs/heads/main:ref:refs/heads/main",
            "repo:acme2/shop:ref:refs/heads/main",
            "Repo:acme/shop:ref:refs/heads/main",
            "repo:acme/shop:ref:refs/heads/main ",
            "",
        ] {
            assert!(!matches(pattern, other), "{other}");
        }
        assert!(matches("spiffe://td/ns/*/sa/deploy", "spiffe://td/ns/prod/sa/deploy"));
        assert!(!matches("spiffe://td/ns/*/sa/deploy", "spiffe://td/ns/a/b/sa/deploy"));
        assert!(matches("spiffe://td/**", "spiffe://td/ns/a:b/sa/deploy"));
        assert!(!matches("spiffe://td/**", "spiffe://td/"));
        assert!(!matches("spiffe://td/**", "spiffe://td2/ns"));
        assert!(matches("exact", "exact") && !matches("exact", "exactly") && !matches("exact", "exac"));
        assert!(matches("a-*-b", "a-x-b-b") && matches("a*", "aé"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_pattern() {
        for text in ["", "a**b", "***", "a***", "**a", "a\nb", "*a*b*c*d*e*f*g*h*i", &"x".repeat(1025)] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }

    /// Tries every way to fill the stars.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', '*'] => !text.is_empty(),
            ['*', rest @ ..] => {
                let part = text.iter().take_while(|c| !matches!(c, '/' | ':')).count();
                (1..=part).any(|taken| oracle(rest, &text[taken..]))
            }
            [literal, rest @ ..] => text.first() == Some(literal) && oracle(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_trying_every_way(pattern in "[ab/:é*]{0,9}(\\*\\*)?", text in "[ab/:é]{0,9}") {
            if let Ok(glob) = pattern.parse::<Glob>() {
                let chars = |text: &str| text.chars().collect::<Vec<_>>();
                prop_assert_eq!(glob.matches(&text), oracle(&chars(&pattern), &chars(&text)));
                prop_assert_eq!(serde_json::to_string(&glob).unwrap(), format!("\"{pattern}\""));
            }
        }

        #[test]
        fn without_a_star_it_is_itself(pattern in "[a-c/:.]{1,6}", text in "[a-c/:.]{1,6}") {
            prop_assert_eq!(matches(&pattern, &text), pattern == text);
            prop_assert!(matches(&pattern, &pattern));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in "\\PC{0,40}", text in ".{0,80}") {
            if let Ok(glob) = pattern.parse::<Glob>() {
                glob.matches(&text);
            }
        }
    }
}
