//! What an action does to the world, and how well a variable of its resource is known.

use serde::{Deserialize, Serialize};

/// The kind of effect of an action. One that no administrator states counts as `money`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes or changes something.
    Write,
    /// Removes something.
    Delete,
    /// Moves value.
    Money,
}

impl Effect {
    /// All of them, the mildest first.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Delete, Self::Money];

    /// The word in documents and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Money => "money",
        }
    }

    /// The effect of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effect| effect.as_str() == word)
    }
}

/// Where the value of a variable of a resource comes from (`DESIGN.md` §4, "Provenance in services").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// It stands in the upstream path and so names the object acted on.
    Addressed,
    /// Declared in `binds`: upstream itself rejects a mismatch.
    Scoping,
    /// The agent says so.
    Claimed,
}
