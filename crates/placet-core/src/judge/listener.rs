//! What the judge says while it judges, to whoever listens: the way from a decision to its explanation without a
//! second judge.
//!
//! Invariant: a listener changes nothing. With [`Silence`] nothing is left of it after compilation.

use super::{charge::Bill, subject::Subject};
use crate::{
    cel::{Conjunct, Outcome},
    grant::Missing,
    intent::Fit,
    policy::{BoundLink, BoundPolicy, LimitOf, Rule},
    refusal::Reason,
};
use serde::{Deserialize, Serialize};

/// Hears every step.
pub(super) trait Listener {
    /// One step; what it is about was said before.
    fn hear(&mut self, event: Event<'_>);
}

/// Nobody listens.
pub(super) struct Silence;

impl Listener for Silence {
    #[inline]
    fn hear(&mut self, _: Event<'_>) {}
}

/// One step.
#[derive(Clone, Copy)]
pub(super) enum Event<'e> {
    /// The next one of [`crate::chain::Chain::authorities`] permits the action, or lacks something.
    Authority(Option<Missing>),
    /// Whether the levels of all agents permit the effect.
    Level(bool),
    /// From here on one agent's policies.
    Link,
    /// From here on the rules of this policy that name the action.
    Policy(&'e BoundPolicy),
    /// From here on this rule, until [`Event::Said`].
    Rule(&'e Rule),
    /// The rule has hours, and it is one of them or not.
    Hours(bool),
    /// A conjunct of the rule was evaluated, or of its approval after [`Event::Approving`].
    Conjunct(&'e Subject<'e>, &'e BoundLink, &'e Conjunct, &'e Outcome),
    /// The rule has its say, and asks people unless its conditions say otherwise.
    Approving,
    /// Whether it asks.
    Asked(bool),
    /// Whether the action fits, as far as the rule's `intent` can be told.
    Intent(&'e Fit),
    /// Limits of the rule were put on the bill, or of a grant where no rule is open; the last are the denials since.
    Limits(&'e [LimitOf], &'e Bill, &'e [Reason]),
    /// What became of the rule.
    Said(Said),
    /// Whether some policy of the link allows the action.
    Allowed(bool),
}

/// What became of a rule that names the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// An `allow` that holds, the first one.
    Chosen,
    /// An `allow` that doesn't hold.
    NotHeld,
    /// An `allow` behind the chosen one; it isn't asked.
    NotReached,
    /// Its `on` is about other resources.
    OtherResource,
    /// A `guard` that holds.
    Passed,
    /// A `guard` that doesn't hold, which denies.
    Failed,
    /// A `deny` that matches.
    Matched,
    /// A `deny` that doesn't.
    NotMatched,
}

impl Said {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::NotHeld => "not_held",
            Self::NotReached => "not_reached",
            Self::OtherResource => "other_resource",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Matched => "matched",
            Self::NotMatched => "not_matched",
        }
    }
}
