//! How a decision went: every authority, link, policy, rule and condition that was asked, with what it saw, as a tree.
//!
//! It is heard from the judge while it judges. For administrators and resource servers only: it tells everything.
//!
//! Invariant: nothing here is evaluated; what the judge did not evaluate is said to be so.

mod intent;
mod show;
#[cfg(test)]
pub(crate) mod tests;

pub use intent::IntentTrace;

use super::{
    AppliedLimit, Request,
    charge::Bill,
    listener::{Event, Listener, Said},
    subject::Subject,
};
use crate::{
    cel::{Conjunct, Outcome},
    chain::Chain,
    grant::Origin,
    ledger::{Charge, Limit, Measure, Standing},
    policy::{Approve, BoundLink, Condition, LimitOf, Rule},
    refusal::Reason,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The tree.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trace {
    /// What each grant and registration of the chain says, leaf first.
    pub authorities: Vec<AuthorityTrace>,
    /// Whether the levels of all agents permit the action's effect.
    pub level: bool,
    /// The agents of the chain, leaf first; adjacent links of one agent are one.
    pub links: Vec<LinkTrace>,
    /// What the action would be charged if nothing else spoke against it. [`Trace::stand`] says how they stand.
    #[serde(skip)]
    pub charges: Vec<Charge>,
    /// The limits that the charges are of.
    #[serde(skip)]
    pub limits: Vec<AppliedLimit>,
}

/// One grant or registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthorityTrace {
    /// `grant` or `registration`.
    pub of: String,
    /// The grant's id.
    pub grant: String,
    /// The agent's handle.
    pub agent: String,
    /// The dimension that doesn't permit the action; absent where all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// One agent of the chain.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LinkTrace {
    /// Its handle.
    pub agent: String,
    /// Whether one of its policies in force allows the action.
    pub allowed: bool,
    /// The policies that apply to it, by name.
    pub policies: Vec<PolicyTrace>,
    /// The limits of its grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitTrace>,
}

/// One policy for one agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyTrace {
    /// `name@version`.
    pub policy: String,
    /// `enforce` or `observe`; an observed one decides nothing.
    pub mode: String,
    /// The rules that name the action, in order.
    pub rules: Vec<RuleTrace>,
    /// The names of the rules that don't.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

/// One rule that names the action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleTrace {
    /// Its name.
    pub rule: String,
    /// `allow`, `guard` or `deny`.
    pub kind: String,
    /// What became of it.
    pub said: Said,
    /// Its hours, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<HoursTrace>,
    /// Its conditions, each conjunct on its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<ConjunctTrace>,
    /// Its limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitTrace>,
    /// What it asks of the action's intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentTrace>,
    /// What it asks of people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<ApproveTrace>,
}

/// The hours of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoursTrace {
    /// As they were written.
    pub hours: String,
    /// Whether it is one of them; absent where that was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
}

/// One conjunct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConjunctTrace {
    /// Its text.
    pub expression: String,
    /// What it said.
    pub outcome: Seen,
    /// Why it can't be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it read, by path.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub observed: Map<String, Value>,
}

/// What a conjunct said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It can't be told.
    Unknown,
    /// Something before it had decided the rule already.
    NotEvaluated,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitTrace {
    /// As its author would write it.
    pub limit: String,
    /// What the action would add, in the limit's units; absent where the limit doesn't come into it or can't be
    /// counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Value>,
    /// What is used of the counter that is fullest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Value>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Value>,
    /// Whether it fits; absent where the counters were not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
    /// Why it can't be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The limit itself, and its counters as indexes into [`Trace::charges`].
    #[serde(skip)]
    counters: Vec<(usize, Arc<Limit>)>,
}

/// What a rule asks of people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApproveTrace {
    /// Whether it asks; absent where the rule didn't come to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<bool>,
    /// Whom.
    pub by: Vec<String>,
    /// None of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<String>,
    /// How many people.
    pub count: u32,
    /// Whether they count for no other rule that is distinct too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distinct: bool,
    /// Seconds to answer.
    pub within: u64,
    /// Its conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<ConjunctTrace>,
}

impl ApproveTrace {
    /// Whom it asks, in words.
    pub(crate) fn whom(&self) -> String {
        let several = if self.count == 1 { String::new() } else { format!("{} of ", self.count) };
        let not =
            if self.not.is_empty() { String::new() } else { format!(", but not {}", self.not.join(", ")) };
        let distinct = if self.distinct { ", for nothing else" } else { "" };
        format!("{several}{}{not}{distinct}", self.by.join(", "))
    }
}

impl Trace {
    /// Says of each limit how it stands; `standings` are those of [`Trace::charges`], in their order.
    pub fn stand(&mut self, standings: &[Standing]) {
        let charges = &self.charges;
        let links = self.links.iter_mut();
        let limits = links.flat_map(|link| {
            let rules = link.policies.iter_mut().flat_map(|policy| &mut policy.rules);
            rules.flat_map(|rule| &mut rule.limits).chain(&mut link.limits)
        });
        for shown in limits {
            for (index, limit) in &shown.counters {
                let (Some(charge), Some(standing)) = (charges.get(*index), standings.get(*index)) else {
                    continue;
                };
                let fits = charge.fits(standing.used);
                if shown.fits != Some(false) {
                    shown.used = Some(limit.shown(standing.used));
                    shown.fits = Some(fits);
                }
            }
        }
    }

    /// The tree as lines of plain text for people, under a headline: the decision, and the code and rule of each of its
    /// reasons.
    pub fn render(&self, decision: &str, reasons: &[(String, Option<String>)]) -> String {
        show::tree(self, decision, reasons)
    }
}

/// Hears the judge.
pub(super) struct Tracer<'a> {
    trace: Trace,
    /// The authorities of the chain that were not heard of yet, in order.
    authorities: std::vec::IntoIter<AuthorityTrace>,
    chain: &'a Chain,
    /// The rule that is open.
    rule: Option<RuleTrace>,
    /// What is heard of the open rule's conditions belongs to its approval.
    approving: bool,
    observed: bool,
}

impl<'a> Tracer<'a> {
    pub(super) fn new(request: &Request<'a>) -> Self {
        let authorities: Vec<_> = request.chain.links().iter().flat_map(authorities_of).collect();
        Self {
            trace: Trace::default(),
            authorities: authorities.into_iter(),
            chain: request.chain,
            rule: None,
            approving: false,
            observed: false,
        }
    }

    pub(super) fn trace(self) -> Trace {
        self.trace
    }

    fn conjunct(&mut self, subject: &Subject<'_>, link: &BoundLink, conjunct: &Conjunct, outcome: &Outcome) {
        let Some(rule) = &mut self.rule else { return };
        let conjuncts = match &mut rule.approve {
            Some(approve) if self.approving => &mut approve.when,
            _ => &mut rule.when,
        };
        let open = conjuncts
            .iter_mut()
            .find(|shown| shown.outcome == Seen::NotEvaluated && shown.expression == conjunct.source());
        let Some(shown) = open else { return };
        (shown.outcome, shown.why) = match outcome {
            Outcome::True => (Seen::True, None),
            Outcome::False => (Seen::False, None),
            Outcome::Unknown(why) => (Seen::Unknown, Some(why.to_string())),
        };
        let read = conjunct.reads().iter().map(|path| (path.to_string(), subject.observed(link, path)));
        shown.observed = read.collect();
    }

    fn limits(&mut self, limits: &[LimitOf], bill: &Bill, refused: &[Reason]) {
        // Each limit that can't be counted is a denial, in their order.
        let mut refused = refused.iter().peekable();
        let mut shown: Vec<LimitTrace> = limits.iter().map(LimitTrace::of).collect();
        for (shown, applied) in shown.iter_mut().zip(limits) {
            if let Some(reason) = refused.next_if(|reason| is_about(reason, &applied.limit)) {
                shown.unreadable.clone_from(&reason.detail);
            }
            let index = bill.limits.iter().position(|known| Arc::ptr_eq(&known.limit, &applied.limit));
            let charges = bill.charges.iter().enumerate().filter(|(_, charge)| Some(charge.limit) == index);
            for (at, charge) in charges {
                shown.amount = Some(applied.limit.shown(charge.amount));
                shown.max = Some(applied.limit.shown(charge.max));
                if !self.observed {
                    shown.counters.push((at, applied.limit.clone()));
                }
            }
        }
        if !self.observed {
            self.trace.charges.clone_from(&bill.charges);
            self.trace.limits.clone_from(&bill.limits);
        }
        match (&mut self.rule, self.trace.links.last_mut()) {
            (Some(rule), _) => rule.limits = shown,
            (None, Some(link)) => link.limits.extend(shown),
            (None, None) => {}
        }
    }
}

impl Listener for Tracer<'_> {
    fn hear(&mut self, event: Event<'_>) {
        match event {
            Event::Authority(missing) => {
                let shown = self.authorities.next().map(|shown| AuthorityTrace {
                    missing: missing.map(|missing| missing.as_str().to_owned()),
                    ..shown
                });
                self.trace.authorities.extend(shown);
            }
            Event::Level(permits) => self.trace.level = permits,
            Event::Link => {
                let agent = self.chain.policy_links().nth(self.trace.links.len());
                let agent = agent.map(|link| link.agent.handle.clone()).unwrap_or_default();
                self.trace.links.push(LinkTrace { agent, ..LinkTrace::default() });
            }
            Event::Allowed(allowed) => {
                if let Some(link) = self.trace.links.last_mut() {
                    link.allowed = allowed;
                }
            }
            Event::Policy(bound) => {
                let policy = &bound.policy;
                self.observed = policy.mode() == crate::policy::Mode::Observe;
                if let Some(link) = self.trace.links.last_mut() {
                    link.policies.push(PolicyTrace {
                        policy: policy.label().to_owned(),
                        mode: policy.mode().as_str().to_owned(),
                        rules: Vec::new(),
                        others: policy.rule_names().map(str::to_owned).collect(),
                    });
                }
            }
            Event::Rule(rule) => {
                self.rule = Some(RuleTrace::of(rule));
                self.approving = false;
            }
            Event::Hours(open) => {
                if let Some(hours) = self.rule.as_mut().and_then(|rule| rule.hours.as_mut()) {
                    hours.open = Some(open);
                }
            }
            Event::Conjunct(subject, link, conjunct, outcome) => {
                self.conjunct(subject, link, conjunct, outcome);
            }
            Event::Intent(fit) => {
                if let Some(intent) = self.rule.as_mut().and_then(|rule| rule.intent.as_mut()) {
                    intent.hear(fit);
                }
            }
            Event::Approving => self.approving = true,
            Event::Asked(asks) => {
                if let Some(approve) = self.rule.as_mut().and_then(|rule| rule.approve.as_mut()) {
                    approve.asks = Some(asks);
                }
            }
            Event::Limits(limits, bill, refused) => self.limits(limits, bill, refused),
            Event::Said(said) => {
                let policy = self.trace.links.last_mut().and_then(|link| link.policies.last_mut());
                if let (Some(rule), Some(policy)) = (self.rule.take(), policy) {
                    policy.others.retain(|name| *name != rule.rule);
                    policy.rules.push(RuleTrace { said, ..rule });
                }
            }
        }
    }
}

/// Whether a denial says that this limit can't be counted: what it sums or counts by can't be read, or there is nobody to
/// count it for.
fn is_about(reason: &Reason, limit: &Limit) -> bool {
    let summed = match &limit.measure {
        Measure::Sum { of, .. } => Some(of.source()),
        Measure::Count { .. } | Measure::Rate { .. } | Measure::Concurrent { .. } => None,
    };
    match reason.expression.as_deref() {
        None => {
            let by = format!("counted by {},", limit.by.as_str());
            reason.detail.as_ref().is_some_and(|detail| detail.contains(&by))
        }
        expression => expression == summed || expression == Some(limit.by.as_str()),
    }
}

/// In the order of [`Chain::authorities`].
fn authorities_of(link: &crate::chain::Link) -> Vec<AuthorityTrace> {
    let of = |of: &str, grant: &crate::grant::Grant| AuthorityTrace {
        of: of.to_owned(),
        grant: grant.id.to_string(),
        agent: link.agent.handle.clone(),
        missing: None,
    };
    if link.grant.origin == Origin::Registration {
        return vec![of("registration", &link.grant)];
    }
    vec![of("grant", &link.grant), of("registration", &link.registration)]
}

impl RuleTrace {
    /// Before anything of it was asked.
    fn of(rule: &Rule) -> Self {
        Self {
            rule: rule.name.to_string(),
            kind: rule.kind.as_str().to_owned(),
            said: Said::NotHeld,
            hours: rule.hours.as_ref().map(|hours| HoursTrace { hours: hours.to_string(), open: None }),
            when: conjuncts(&rule.when),
            limits: rule.limits.iter().map(LimitTrace::of).collect(),
            intent: rule.intent.as_ref().map(IntentTrace::of),
            approve: rule.approve.as_ref().map(|approve: &Approve| ApproveTrace {
                asks: None,
                by: approve.by.iter().map(ToString::to_string).collect(),
                not: approve.not.iter().map(ToString::to_string).collect(),
                count: approve.count,
                distinct: approve.distinct,
                within: approve.within,
                when: conjuncts(&approve.when),
            }),
        }
    }
}

impl LimitTrace {
    fn of(applied: &LimitOf) -> Self {
        Self {
            limit: applied.limit.to_string(),
            amount: None,
            used: None,
            max: None,
            fits: None,
            unreadable: None,
            counters: Vec::new(),
        }
    }
}

fn conjuncts(conditions: &[Condition]) -> Vec<ConjunctTrace> {
    let conjuncts = conditions.iter().flat_map(|condition| condition.expression.conjuncts());
    let shown = conjuncts.map(|conjunct| ConjunctTrace {
        expression: conjunct.source().to_owned(),
        outcome: Seen::NotEvaluated,
        why: None,
        observed: Map::new(),
    });
    shown.collect()
}
