//! What became of a rule's `intent`.
//!
//! Invariant: a judge is not asked for an explanation; that it would be is said.

use crate::{
    intent::{Fit, Otherwise},
    policy::IntentOf,
};
use serde::{Deserialize, Serialize};

/// What a rule asks of the action's intent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentTrace {
    /// As it was written, in full.
    pub intent: String,
    /// `fits`, `no_purpose`, or why it doesn't fit; absent where the rule didn't come to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The parameter that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Whether a judge is asked about what fits so far.
    pub judge: bool,
    /// Whether people are asked about what doesn't.
    pub holds: bool,
}

const FITS: &str = "fits";
const NO_PURPOSE: &str = "no_purpose";

impl IntentTrace {
    pub(super) fn of(intent: &IntentOf) -> Self {
        Self {
            intent: intent.in_full(),
            said: None,
            parameter: None,
            judge: intent.terms.judge,
            holds: intent.terms.otherwise == Otherwise::Hold,
        }
    }

    pub(super) fn hear(&mut self, fit: &Fit) {
        let said = match fit {
            Fit::Fits => FITS,
            Fit::NoPurpose => NO_PURPOSE,
            Fit::Misfit(misfit) => misfit.as_str(),
        };
        self.said = Some(said.to_owned());
        self.parameter =
            if let Fit::Misfit(misfit) = fit { misfit.parameter().map(str::to_owned) } else { None };
    }

    /// Whether it fits as far as was told; `None` where it was not asked.
    pub(crate) fn fits(&self) -> Option<bool> {
        self.said.as_deref().map(|said| said == FITS)
    }

    /// Whom it asks besides what it tells itself, in words; nobody where it was not asked.
    pub(crate) fn asks(&self) -> Option<String> {
        match self.said.as_deref()? {
            FITS if self.judge => {
                Some(format!("a judge of intent, or else {}", if self.holds { "people" } else { "nobody" }))
            }
            FITS => None,
            NO_PURPOSE => Some("people about intent".to_owned()),
            _ => self.holds.then(|| "people about intent".to_owned()),
        }
    }

    /// In words.
    pub(super) fn said(&self) -> String {
        let Self { intent, said, parameter, judge, holds } = self;
        let about = parameter.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let follows = if *holds { "people are asked" } else { "the action is denied" };
        match said.as_deref() {
            None => format!("intent was not asked: {intent}"),
            Some(FITS) if *judge => format!("fits so far; when it is done a judge is asked: intent {intent}"),
            Some(FITS) => format!("fits: intent {intent}"),
            Some(NO_PURPOSE) => {
                format!("nobody but an agent stated a purpose, so people are asked: intent {intent}")
            }
            Some(why) => format!("does not fit, {why}{about}; {follows}: intent {intent}"),
        }
    }
}
