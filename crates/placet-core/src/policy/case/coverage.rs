//! Which rules tests have reached: each once with a say, each conjunct, hours and limit both ways.
//!
//! Invariant: counted from what the judge said, not from what a test expects.

use crate::{
    judge::{
        Said, Trace,
        trace::{ConjunctTrace, RuleTrace, Seen},
    },
    policy::{Kind, Policy, PolicySet, Rule},
};
use serde::Serialize;

/// Of all policies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coverage {
    /// How many things tests could have seen.
    pub of: usize,
    /// How many they have.
    pub seen: usize,
    /// By policy.
    pub policies: Vec<PolicyCoverage>,
}

/// Of one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyCoverage {
    /// Its name.
    pub policy: String,
    /// Its rules, in order.
    pub rules: Vec<RuleCoverage>,
}

/// Of one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleCoverage {
    /// Its name.
    pub rule: String,
    /// `allow`, `guard` or `deny`.
    pub kind: &'static str,
    /// How often it was asked: it named the action and the resource, and nothing before it was chosen.
    pub asked: u64,
    /// How often an `allow` was chosen, a `guard` was passed, a `deny` matched.
    pub held: u64,
    /// How often it did not.
    pub failed: u64,
    /// How many things tests could have seen of it.
    pub of: usize,
    /// How many they have.
    pub seen: usize,
    /// What no test has seen, in words.
    pub unseen: Vec<String>,
    #[serde(skip)]
    goals: Vec<Goal>,
}

/// Something that a test can see.
#[derive(Debug, Clone, PartialEq)]
struct Goal {
    words: String,
    seen: bool,
}

impl Coverage {
    /// Nothing seen yet.
    pub fn of(policies: &PolicySet) -> Self {
        let policies = policies.policies().iter().map(|policy| policy_coverage(policy));
        let mut coverage = Self { of: 0, seen: 0, policies: policies.collect() };
        coverage.count();
        coverage
    }

    /// Takes in what one test saw.
    pub fn add(&mut self, trace: &Trace) {
        for seen in trace.links.iter().flat_map(|link| &link.policies) {
            let name = seen.policy.split('@').next().unwrap_or_default();
            let Some(policy) = self.policies.iter_mut().find(|policy| policy.policy == name) else {
                continue;
            };
            for rule in &seen.rules {
                if let Some(coverage) = policy.rules.iter_mut().find(|coverage| coverage.rule == rule.rule) {
                    coverage.add(rule);
                }
            }
        }
        self.count();
    }

    /// Takes in what the tests of another file saw.
    pub fn merge(&mut self, other: Self) {
        for policy in other.policies {
            match self.policies.iter_mut().find(|own| own.policy == policy.policy && own.same_rules(&policy))
            {
                Some(own) => own.rules.iter_mut().zip(policy.rules).for_each(|(own, rule)| own.merge(&rule)),
                None => self.policies.push(policy),
            }
        }
        self.count();
    }

    /// Whether at least so many per cent were seen.
    pub fn is_at_least(&self, percent: u8) -> bool {
        self.seen.saturating_mul(100) >= self.of.saturating_mul(usize::from(percent))
    }

    /// In whole per cent, rounded down.
    pub fn percent(&self) -> usize {
        self.seen.saturating_mul(100).checked_div(self.of).unwrap_or(100)
    }

    fn count(&mut self) {
        for rule in self.policies.iter_mut().flat_map(|policy| &mut policy.rules) {
            rule.of = rule.goals.len();
            rule.seen = rule.goals.iter().filter(|goal| goal.seen).count();
            rule.unseen =
                rule.goals.iter().filter(|goal| !goal.seen).map(|goal| goal.words.clone()).collect();
        }
        let rules = || self.policies.iter().flat_map(|policy| &policy.rules);
        (self.of, self.seen) = (rules().map(|rule| rule.of).sum(), rules().map(|rule| rule.seen).sum());
    }
}

impl PolicyCoverage {
    fn same_rules(&self, other: &Self) -> bool {
        let words = |policy: &Self| -> Vec<(String, Vec<String>)> {
            let goals = |rule: &RuleCoverage| rule.goals.iter().map(|goal| goal.words.clone()).collect();
            policy.rules.iter().map(|rule| (rule.rule.clone(), goals(rule))).collect()
        };
        words(self) == words(other)
    }
}

impl RuleCoverage {
    fn add(&mut self, rule: &RuleTrace) {
        match rule.said {
            Said::NotReached | Said::OtherResource => return,
            Said::Chosen | Said::Passed | Said::Matched => self.held += 1,
            Said::NotHeld | Said::Failed | Said::NotMatched => self.failed += 1,
        }
        self.asked += 1;
        if matches!(rule.said, Said::Chosen | Said::Passed | Said::Matched) {
            self.reach(&held(&rule.kind));
        }
        if let Some(open) = rule.hours.as_ref().and_then(|hours| hours.open) {
            self.reach(&hours(open));
        }
        self.conjuncts(&rule.when, "");
        for (index, limit) in rule.limits.iter().enumerate() {
            if let Some(fits) = limit.fits {
                self.reach(&self::limit(index, &limit.limit, fits));
            }
        }
        if let Some(fits) = rule.intent.as_ref().and_then(|intent| intent.fits()) {
            self.reach(if fits { FITS } else { FITS_NOT });
        }
        if let Some(approve) = &rule.approve {
            self.conjuncts(&approve.when, APPROVAL);
            if approve.when.is_empty() && approve.asks == Some(true) {
                self.reach(ASKED);
            }
        }
    }

    fn conjuncts(&mut self, conjuncts: &[ConjunctTrace], of: &str) {
        for conjunct in conjuncts {
            match conjunct.outcome {
                Seen::True => self.reach(&said(of, &conjunct.expression, true)),
                Seen::False => self.reach(&said(of, &conjunct.expression, false)),
                Seen::Unknown | Seen::NotEvaluated => {}
            }
        }
    }

    fn reach(&mut self, words: &str) {
        for goal in self.goals.iter_mut().filter(|goal| goal.words == words) {
            goal.seen = true;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.asked += other.asked;
        self.held += other.held;
        self.failed += other.failed;
        for (own, other) in self.goals.iter_mut().zip(&other.goals) {
            own.seen |= other.seen;
        }
    }
}

const APPROVAL: &str = "approve: ";
const ASKED: &str = "asks people";
const FITS: &str = "intent: fits";
const FITS_NOT: &str = "intent: does not fit";

fn held(kind: &str) -> String {
    match kind {
        "allow" => "chosen",
        "deny" => "matched",
        _ => "passed",
    }
    .to_owned()
}

fn hours(open: bool) -> String {
    if open { "within its hours" } else { "outside its hours" }.to_owned()
}

fn said(of: &str, expression: &str, outcome: bool) -> String {
    format!("{of}{expression}: {outcome}")
}

fn limit(index: usize, limit: &str, fits: bool) -> String {
    format!("limit {} ({limit}): {}", index + 1, if fits { "fits" } else { "used up" })
}

fn policy_coverage(policy: &Policy) -> PolicyCoverage {
    PolicyCoverage {
        policy: policy.name().to_owned(),
        rules: policy.rules.iter().map(rule_coverage).collect(),
    }
}

fn rule_coverage(rule: &Rule) -> RuleCoverage {
    let mut words = vec![held(rule.kind.as_str())];
    if rule.hours.is_some() {
        words.extend([hours(true), hours(false)]);
    }
    let mut conditions = |list: &[crate::policy::Condition], of: &str| {
        for conjunct in list.iter().flat_map(|condition| condition.expression.conjuncts()) {
            words.extend([said(of, conjunct.source(), true), said(of, conjunct.source(), false)]);
        }
    };
    conditions(&rule.when, "");
    if let Some(approve) = &rule.approve {
        conditions(&approve.when, APPROVAL);
        if approve.when.is_empty() {
            words.push(ASKED.to_owned());
        }
    }
    if rule.intent.is_some() {
        words.extend([FITS.to_owned(), FITS_NOT.to_owned()]);
    }
    // What forbids charges nothing.
    if rule.kind != Kind::Deny {
        for (index, applied) in rule.limits.iter().enumerate() {
            let shown = applied.limit.to_string();
            words.extend([limit(index, &shown, true), limit(index, &shown, false)]);
        }
    }
    RuleCoverage {
        rule: rule.name.to_string(),
        kind: rule.kind.as_str(),
        asked: 0,
        held: 0,
        failed: 0,
        of: 0,
        seen: 0,
        unseen: Vec::new(),
        goals: words.into_iter().map(|words| Goal { words, seen: false }).collect(),
    }
}
