//! Intent: whether an action fits the purpose of its task (DESIGN §2, §5).
//!
//! A purpose counts only where a person stated it, or an issuer that is trusted: an agent can't write what it is
//! measured by. Against that, [`check`] holds what can be told without asking anybody: that the call is one of those
//! that were planned, and that what it names (a recipient, an amount) was named in the purpose. What is left a judge
//! may be asked, [`prompt`] and [`answer`], from outside of this crate.
//!
//! Invariant: nothing here lets anything through that a rule doesn't; what can't be told doesn't fit.

pub mod answer;
pub mod breaker;
pub mod case;
pub mod config;
mod entities;
mod plan;
pub mod prompt;
mod returned;
#[cfg(test)]
mod tests;

pub use entities::{Entity, EntityError};
pub use plan::{MOST_BYTES, MOST_CALLS, PlannedCall, Stated, StatedError};
pub use returned::Returned;

use crate::{
    action::Action,
    approval::Requirement,
    chain::{Chain, Link},
    refusal::{Code, Reason},
    task::Task,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a rule asks of an action's intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether the call has to be a planned one.
    pub plan: Planned,
    /// The parameters whose values have to be named in the purpose.
    pub entities: Box<[Entity]>,
    /// Whether a judge is asked about what fits so far.
    pub judge: bool,
    /// What becomes of an action that doesn't fit.
    pub otherwise: Otherwise,
}

/// Whether a call has to be a planned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// Where the task has a plan; what a rule means that doesn't say.
    WhereStated,
    /// Always: without a plan nothing fits.
    Required,
    /// Never.
    Ignored,
}

impl Planned {
    /// As policies write them.
    pub const WORDS: [&'static str; 3] = ["where_stated", "required", "ignored"];

    /// As policies write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhereStated => "where_stated",
            Self::Required => "required",
            Self::Ignored => "ignored",
        }
    }

    /// The one that a policy means by this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::WhereStated, Self::Required, Self::Ignored].into_iter().find(|one| one.as_str() == word)
    }
}

/// What becomes of an action that doesn't fit, or of which that can't be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It is denied; what a rule means that doesn't say.
    Deny,
    /// People are asked.
    Hold,
}

impl Otherwise {
    /// As policies write them.
    pub const WORDS: [&'static str; 2] = ["deny", "hold"];

    /// As policies write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }

    /// The one that a policy means by this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Deny, Self::Hold].into_iter().find(|one| one.as_str() == word)
    }
}

/// What a task is for, as a person or a trusted issuer stated it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purpose<'a> {
    /// In words.
    pub description: Option<&'a str>,
    /// In members.
    pub details: Option<&'a Map<String, Value>>,
    /// The calls that it takes.
    pub plan: Option<&'a [PlannedCall]>,
}

impl<'a> Purpose<'a> {
    /// That of the nearest task of the chain that somebody other than an agent stated: parts of a task that agents make
    /// below it are measured by it too. `None` where nobody stated any, or stated nothing.
    pub fn of(chain: &'a Chain) -> Option<Self> {
        Self::with_link(chain).map(|(_, purpose)| purpose)
    }

    /// The same, and the link whose grant is for that task.
    pub fn with_link(chain: &'a Chain) -> Option<(&'a Link, Self)> {
        let found = chain.links().iter().find_map(|link| link.stated_task().map(|task| (link, task)));
        found.and_then(|(link, task)| Self::of_task(task).map(|purpose| (link, purpose)))
    }

    fn of_task(task: &'a Task) -> Option<Self> {
        let purpose = Self {
            description: task.description.as_deref().filter(|text| !text.trim().is_empty()),
            details: task.stated.details.as_ref().filter(|details| !details.is_empty()),
            plan: task.stated.plan.as_deref(),
        };
        let states = purpose.description.is_some() || purpose.details.is_some() || purpose.plan.is_some();
        states.then_some(purpose)
    }
}

/// What can be told of an action without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// Nothing speaks against it.
    Fits,
    /// Nobody but an agent stated what the task is for.
    NoPurpose,
    /// It doesn't.
    Misfit(Misfit),
}

/// Why an action doesn't fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// The call is none of those that were planned.
    NotPlanned,
    /// The rule wants a plan, and the task has none.
    NoPlan,
    /// The value of this parameter was not named in the purpose.
    NotNamed(String),
    /// This parameter is not there.
    Missing(String),
}

impl Misfit {
    /// What is recorded of it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotPlanned => "not_planned",
            Self::NoPlan => "no_plan",
            Self::NotNamed(_) => "not_named",
            Self::Missing(_) => "missing",
        }
    }

    /// The parameter that it is about.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::NotPlanned | Self::NoPlan => None,
            Self::NotNamed(parameter) | Self::Missing(parameter) => Some(parameter),
        }
    }

    /// The reason, of a rule of a policy: an agent is told the code alone.
    pub(crate) fn reason(&self, policy: &str, rule: &str) -> Reason {
        let mut seen = Map::new();
        seen.insert("check".to_owned(), self.as_str().into());
        if let Some(parameter) = self.parameter() {
            seen.insert("parameter".to_owned(), parameter.into());
        }
        mismatch(policy, rule, Value::Object(seen))
    }
}

/// The reason of a denial, with what was seen, which agents aren't told.
pub fn mismatch(policy: &str, rule: &str, seen: Value) -> Reason {
    let mut reason = Reason::of(Code::IntentMismatch).from_rule(policy, rule);
    reason.observed.insert(OBSERVED.to_owned(), seen);
    reason
}

/// Under which name a reason says what was seen of the intent.
pub const OBSERVED: &str = "intent";

/// What can be told of the action by itself. `returned`: values that were vouched for in earlier answers of the task.
pub fn check(
    terms: &Terms,
    purpose: Option<&Purpose<'_>>,
    (action, params): (&str, &Map<String, Value>),
    returned: &Returned,
) -> Fit {
    let Some(purpose) = purpose else { return Fit::NoPurpose };
    let planned = match (terms.plan, purpose.plan) {
        (Planned::Ignored, _) | (Planned::WhereStated, None) => Ok(()),
        (Planned::Required, None) => Err(Misfit::NoPlan),
        (Planned::WhereStated | Planned::Required, Some(plan)) => {
            let known = plan.iter().any(|call| call.is(action, params));
            known.then_some(()).ok_or(Misfit::NotPlanned)
        }
    };
    let named = || terms.entities.iter().try_for_each(|entity| entity.check(purpose, params, returned));
    match planned.and_then(|()| named()) {
        Ok(()) => Fit::Fits,
        Err(misfit) => Fit::Misfit(misfit),
    }
}

/// What a judge is to be asked for a rule, before the action may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// `name@version` of the policy.
    pub policy: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// What becomes of the action where the judge doesn't say yes.
    pub otherwise: Otherwise,
    /// Whom a hold asks.
    pub requirement: Requirement,
}

/// The check of one rule on an action under a chain.
pub(crate) fn of_chain(terms: &Terms, chain: &Chain, action: &Action) -> Fit {
    let call = (action.name.as_str(), &*action.params);
    check(terms, Purpose::of(chain).as_ref(), call, action.facts.returned())
}
