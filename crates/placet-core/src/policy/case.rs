//! Tests of policies: what is given, what is asked, what should be decided. They are run without a server, by the code
//! that decides there (DESIGN §2: "decide" is the judge and the counters, on a copy).
//!
//! [`Needs::read`] says which files a test file names, [`Suite::load`] reads its tests on what those became, and
//! [`Case::decide`] decides one of them.
//!
//! Invariant: the same file gives the same answers, always: no clock, no randomness, and what is left out is fixed.

mod coverage;
mod expected;
mod given;
mod history;
mod outcome;
mod probes;
mod read;
mod spent;
#[cfg(test)]
mod tests;

pub use coverage::{Coverage, PolicyCoverage, RuleCoverage};
pub use expected::{Difference, Expected};
pub use history::{History, Incomplete, Missed};
pub use outcome::Outcome;
pub use probes::probes;

use super::{Policy, PolicySet};
use crate::{
    action::Action,
    chain::Chain,
    diagnostic::{Diagnostic, Position},
    judge::{self, AppliedLimit, Observation, Request, Trace, Verdict},
    ledger::{Charge, Standing},
    refusal::Reason,
    service::{Service, ServiceAction},
    shape::Shape,
    time::Timestamp,
    yaml::Spanned,
};
use serde::Serialize;
use serde_json::Value;
use spent::Spent;
use std::sync::Arc;

/// What the name of a file of tests ends with.
pub const ENDING: &str = ".test.yaml";

/// The files that a file of tests names, relative to itself.
#[derive(Debug)]
pub struct Needs {
    /// Its policies, at least one.
    pub policies: Vec<Spanned<String>>,
    /// Its services.
    pub services: Vec<Spanned<String>>,
}

impl Needs {
    /// Reads only what a file of tests needs.
    ///
    /// # Errors
    /// What keeps it from being read; the rest is for [`Suite::load`].
    pub fn read(source: &[u8], file: Option<&str>) -> Result<Self, Vec<Diagnostic>> {
        let (root, report) = crate::yaml::parse(source, file)?;
        let needs = read::needs(&root, &report);
        report.finish(needs).map(|(needs, _)| needs)
    }
}

/// The tests of one file with the policies and services that they are about.
#[derive(Debug)]
pub struct Suite {
    policies: PolicySet,
    services: Vec<Service>,
    cases: Vec<Case>,
}

impl Suite {
    /// Reads the tests. Answers them with warnings.
    ///
    /// # Errors
    /// Everything that is wrong with the file, and the warnings, in the order of the source.
    pub fn load(
        source: &[u8],
        file: Option<&str>,
        policies: Vec<Arc<Policy>>,
        services: Vec<Service>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let (root, report) = crate::yaml::parse(source, file)?;
        let first = policies.first().cloned();
        let policies = PolicySet::new(policies);
        let cases =
            read::cases(&root, &report, &read::About { policies: &policies, first, services: &services });
        report.finish(cases.map(|cases| Self { policies, services, cases }))
    }

    /// The policies.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The services.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The tests, in order.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The test of this name.
    pub fn find(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

/// One test.
#[derive(Debug)]
pub struct Case {
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub position: Position,
    /// What should be decided.
    pub expected: Expected,
    chain: Chain,
    /// What is to be done, or why it is refused before any rule is asked.
    action: Result<Action, Reason>,
    /// Its declaration, where that says how to look something up.
    declared: Option<ServiceAction>,
    context: Option<Value>,
    now: Timestamp,
    spent: Vec<Spent>,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// The decision.
    pub decision: Verdict,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The rules that were chosen; empty where it was denied.
    pub rules: Vec<ChosenRule>,
    /// What policies in `mode: observe` would have said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observation>,
    /// What of the answer the agent would get to see; empty where it was denied.
    #[serde(skip)]
    pub shapes: Vec<Arc<Shape>>,
    /// How it went; an empty tree where it was refused before any rule was asked.
    #[serde(skip)]
    pub trace: Trace,
}

/// A rule that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChosenRule {
    /// `name@version` of its policy.
    pub policy: String,
    /// Its name.
    pub rule: String,
}

impl Case {
    /// One test as JSON, of an action that one of these services declares or none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(test: &Value, services: &[Service]) -> Result<Self, Vec<Diagnostic>> {
        let document = serde_json::json!({ "tests": [test] }).to_string();
        let (root, report) = crate::yaml::parse(document.as_bytes(), None)?;
        let policies = PolicySet::new(Vec::new());
        let about = read::About { policies: &policies, first: None, services };
        let cases = read::cases(&root, &report, &about);
        let (cases, _) = report.finish(cases)?;
        cases.into_iter().next().ok_or_else(Vec::new)
    }

    /// Decides it by these policies.
    pub fn decide(&self, policies: &PolicySet) -> Decided {
        self.decide_on(policies, |limit, charge| {
            spent::standing(&self.spent, policies, &self.chain, limit, charge, self.now)
        })
    }

    /// Decides it by these policies, on counters that stand as `standing` says.
    fn decide_on(
        &self,
        policies: &PolicySet,
        standing: impl Fn(Option<&AppliedLimit>, &Charge) -> Standing,
    ) -> Decided {
        let action = match &self.action {
            Ok(action) => action,
            Err(reason) => {
                return Decided {
                    decision: Verdict::Deny,
                    reasons: vec![reason.clone()],
                    rules: Vec::new(),
                    observed: Vec::new(),
                    shapes: Vec::new(),
                    trace: Trace::default(),
                };
            }
        };
        let bound = policies.bind(&self.chain);
        let request = Request { chain: &self.chain, action, now: self.now, context: self.context.as_ref() };
        let (judgement, mut trace) = judge::traced(&bound, &request);
        let judgement = judge::denied_if_blind(judgement, &bound, &request, self.declared.as_ref());
        let of = |index: usize| trace.limits.get(index);
        let standings: Vec<Standing> =
            trace.charges.iter().map(|charge| standing(of(charge.limit), charge)).collect();
        trace.stand(&standings);
        let (decision, reasons) = judge::counted(&judgement, &self.chain, &standings);
        let rules = if decision == Verdict::Deny { &[] } else { &*judgement.chosen };
        let shapes = if decision == Verdict::Deny { &[] } else { &*judgement.shapes };
        let rule = |(policy, rule): &(Arc<str>, Arc<str>)| ChosenRule {
            policy: policy.to_string(),
            rule: rule.to_string(),
        };
        Decided {
            decision,
            reasons,
            rules: rules.iter().map(rule).collect(),
            shapes: shapes.iter().map(|applied| Arc::clone(&applied.shape)).collect(),
            observed: judgement.observed,
            trace,
        }
    }

    /// When it is.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The name of the action and the resource, where it got so far.
    pub fn action(&self) -> Option<&Action> {
        self.action.as_ref().ok()
    }

    /// In what the decision is not the expected one.
    pub fn differences(&self, decided: &Decided) -> Vec<Difference> {
        self.expected.differences(decided)
    }
}
