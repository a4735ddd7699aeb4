//! Patterns over action names and over resources: what a grant, a scope or a rule names, and the exact questions
//! "does it match", "does it cover" and "can both match the same thing" (DESIGN §3).
//!
//! Both kinds are lists of components. A star stands for one component or for a part of one, `**` as the last
//! component stands for zero or more, and a bare `*` or `**` matches everything.
//!
//! Invariant: a pattern never matches more than it says. Texts are decoded once, when they are parsed; a value that
//! is put into a pattern as a literal stays one component and stays literal, whatever it contains.

mod action;
mod component;
mod resource;
#[cfg(test)]
mod tests;

pub use action::{ActionName, ActionPattern};
pub use component::{Component, Piece};
pub use resource::{ResourcePattern, ResourceUri};

/// Bytes in the text of an action name or action pattern.
pub const MAX_ACTION_BYTES: usize = 128;
/// Bytes in the canonical text of a resource or resource pattern.
pub const MAX_RESOURCE_BYTES: usize = 2048;
/// Segments of a resource or resource pattern, the authority not counted.
pub const MAX_SEGMENTS: usize = 64;
/// Stars in one component.
pub const MAX_STARS: usize = 16;

/// A text that is not an action name, action pattern, resource or resource pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {problem}")]
pub struct PatternError {
    text: String,
    what: &'static str,
    problem: &'static str,
}

impl PatternError {
    /// What is wrong with the text, without the text.
    pub fn problem(&self) -> &'static str {
        self.problem
    }

    /// Control characters are escaped and long texts cut: messages end up in terminals and logs.
    fn new(text: &str, what: &'static str, problem: &'static str) -> Self {
        let mut shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
        if text.chars().nth(100).is_some() {
            shown.push('…');
        }
        Self { text: shown, what, problem }
    }
}

/// Display, parsing and serde of a type that is `parse` one way and `as_str` the other.
macro_rules! as_text {
    ($type:ty, $error:ty) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $type {
            type Err = $error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_text;
