//! What an action does to the world.

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
