//! What comes back: paths into an upstream's answer, the rows of its lists that are kept, and what is taken out of it
//! (DESIGN §4 `shape`, §7 "replayed and shaped anew").
//!
//! A [`Shape`] is what one rule says; [`apply`] does what all of them together say in one pass over the body, so that
//! their order does not matter: filters all hold, the smallest maximum counts, redactions unite. What is taken out is
//! taken out whole: a member that is not there can't be mistaken for data, as a `null` or a row of stars could.
//!
//! Invariant: a body that is not as a path says is withheld, never passed on as it is.

mod apply;
mod path;
#[cfg(test)]
mod tests;

pub use apply::{Keep, Target, What, apply};
pub use path::{MAX_PATH, MAX_STEPS, Path, PathError};

use crate::{
    cel::Expression,
    detect::{Detect, Kind},
};

/// The most rows that `max` may say.
pub const MOST_ROWS: usize = 1_000_000;
/// The most entries of `rows` and of `redact` that one rule has.
pub const MOST_ENTRIES: usize = 64;

/// What one rule says about what comes back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// Lists of which only some rows are kept.
    pub rows: Box<[Rows]>,
    /// What is taken out; never the whole body.
    pub redact: Box<[Path]>,
    /// What is looked for in all of it.
    pub detect: Detect,
}

impl Shape {
    /// Whether it is about how an answer is laid out: not where it only looks for something in it.
    pub(crate) fn is_of_layout(&self) -> bool {
        !self.rows.is_empty() || !self.redact.is_empty()
    }
}

/// Which rows of the lists at a path are kept.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The lists.
    pub at: Path,
    /// At most so many of those that are left by the filter, from 1 to [`MOST_ROWS`]; absent: all.
    pub max: Option<usize>,
    /// A row is kept where each conjunct of each is true; what can't be told drops it.
    pub filter: Box<[Expression]>,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
            && self.max == other.max
            && self.filter.iter().map(Expression::source).eq(other.filter.iter().map(Expression::source))
    }
}

/// Why a result is withheld. Names paths of policies: for operators, not for agents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// The body is not JSON with one reading.
    #[error("the body is not JSON with exactly one reading")]
    NotJson,
    /// Something that has to be there isn't.
    #[error("the body has nothing at `{0}`")]
    Missing(String),
    /// Something is there, of another type.
    #[error("what the body has at `{0}` is not what the path says")]
    Unlike(String),
    /// The rows cost more to judge than an answer may.
    #[error("the rows of the body cost too much to judge: have fewer come back at a time")]
    Cost,
    /// Something was found that keeps it back.
    #[error("the answer has what is kept from agents: {}", names(.0))]
    Detected(Vec<Kind>),
    /// It is written so that nothing can be found in it.
    #[error("the answer is written so that nothing can be looked for in it: {0}")]
    Unsearchable(String),
    /// Shaping it stopped with a bug.
    #[error("shaping the body stopped with a bug")]
    Stopped,
}

fn names(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}
