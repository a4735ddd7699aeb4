//! Of which resources within a pattern an action is allowed, without asking about each: for lists that a resource server
//! filters.
//!
//! Exact or nothing: where what is allowed can't be written as patterns, where people may be asked, or where a rule looks
//! at the resource by a condition, there is no answer.
//!
//! Invariant: a resource within the pattern is within the answer if and only if the judge allows the action on it and the
//! answer's charges fit.

use super::{Request, charge::Bill, outlook::Prospect, subject::Subject};
use crate::{
    cel::{Conjunct, Fuel, Outcome, Root, Why},
    ledger::{By, Charge},
    pattern::ResourcePattern,
    policy::{BoundLink, BoundPolicies, BoundPolicy, Kind, LimitOf, Rule},
    scope::Scope,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most patterns that an answer has.
const MOST: usize = 256;

/// What is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// The patterns; none where nothing is.
    pub patterns: Vec<ResourcePattern>,
    /// What has to fit for that to be so.
    pub charges: Vec<Charge>,
}

/// What of `prospect.range` is allowed with these parameters; `None` where that is not known.
pub fn reach(
    policies: &BoundPolicies,
    prospect: &Prospect<'_>,
    params: Map<String, Value>,
    context: Option<&Value>,
) -> Option<Reach> {
    if policies.leaf != prospect.chain.leaf().grant.id {
        return None;
    }
    let action = prospect.action(params)?;
    let request = Request { chain: prospect.chain, action: &action, now: prospect.now, context };
    let subject = Subject::new(&request);
    let left = vec![prospect.range.clone()];
    let mut walk = Walk { subject: &subject, fuel: Fuel::default(), left, bill: Bill::default() };
    walk.authority()?;
    for link in &policies.links {
        if !walk.left.is_empty() {
            walk.link(link)?;
        }
    }
    let charges = if walk.left.is_empty() { Vec::new() } else { walk.bill.charges };
    Some(Reach { patterns: walk.left, charges })
}

struct Walk<'a> {
    subject: &'a Subject<'a>,
    fuel: Fuel,
    left: Vec<ResourcePattern>,
    bill: Bill,
}

/// Whether the conditions of a rule hold.
#[derive(PartialEq)]
enum Stands {
    Yes,
    No,
    /// That depends on the resource.
    Open,
}

impl Walk<'_> {
    fn authority(&mut self) -> Option<()> {
        let Request { chain, action, .. } = *self.subject.request;
        if !chain.links().iter().all(|link| link.agent.level.permits(action.effect)) {
            self.left.clear();
        }
        for authority in chain.authorities() {
            if !authority.tools.iter().any(|tool| tool.matches(&action.name)) {
                self.left.clear();
            }
            let scopes = authority.scope.iter().filter(|scope| scope.action().matches(&action.name));
            self.meet(&scopes.map(Scope::resource).collect::<Vec<_>>())?;
            self.meet(&authority.resources.iter().collect::<Vec<_>>())?;
            if !authority.authorization_details.is_empty() && !self.left.is_empty() {
                return None;
            }
        }
        Some(())
    }

    fn link(&mut self, link: &BoundLink) -> Option<()> {
        let name = self.subject.request.action.name.clone();
        let everything = ResourcePattern::everything();
        let mut allowed: Vec<&ResourcePattern> = Vec::new();
        for bound in link.in_force() {
            for rule in bound.policy.candidates(&name).filter(|rule| rule.kind == Kind::Allow) {
                let patterns: Vec<&ResourcePattern> = match rule.patterns(&bound.filled) {
                    Some(patterns) => patterns.collect(),
                    None => vec![&everything],
                };
                let meets = |one: &ResourcePattern| patterns.iter().any(|pattern| pattern.intersects(one));
                if !self.left.iter().any(meets) {
                    continue;
                }
                match self.holds(link, rule)? {
                    Stands::No => {}
                    Stands::Open => return None,
                    Stands::Yes => {
                        self.obligations(link, bound, rule)?;
                        allowed.extend(patterns);
                    }
                }
            }
        }
        self.meet(&allowed)?;
        for bound in link.in_force() {
            for rule in bound.policy.candidates(&name).filter(|rule| rule.kind != Kind::Allow) {
                if !self.left.iter().any(|one| rule.touches(&bound.filled, one)) {
                    continue;
                }
                if rule.kind == Kind::Guard {
                    match self.holds(link, rule)? {
                        Stands::Yes => self.obligations(link, bound, rule)?,
                        Stands::No => self.without(bound, rule)?,
                        Stands::Open => return None,
                    }
                } else {
                    match self.forbids(link, rule)? {
                        Stands::Yes => self.without(bound, rule)?,
                        Stands::No => {}
                        Stands::Open => return None,
                    }
                }
            }
        }
        for grant in &link.grants {
            self.charge(link, (&grant.id, &grant.rule), &grant.limits)?;
        }
        Some(())
    }

    /// Leaves what these cover as well.
    fn meet(&mut self, others: &[&ResourcePattern]) -> Option<()> {
        let mut met: Vec<ResourcePattern> = Vec::new();
        for one in &self.left {
            if others.iter().any(|other| other.covers(one)) {
                met.push(one.clone());
                continue;
            }
            for other in others.iter().filter(|other| other.intersects(one)) {
                if !one.covers(other) {
                    return None;
                }
                met.push((*other).clone());
            }
        }
        let mut kept: Vec<ResourcePattern> = Vec::new();
        for one in met {
            if !kept.iter().any(|wide| wide.covers(&one)) {
                kept.retain(|narrow| !one.covers(narrow));
                kept.push(one);
            }
        }
        self.left = kept;
        (self.left.len() <= MOST).then_some(())
    }

    /// Takes away what the rule is about.
    fn without(&mut self, bound: &BoundPolicy, rule: &Rule) -> Option<()> {
        self.left.retain(|one| !rule.covers(&bound.filled, one));
        // What it is about in part can't be written without that part.
        let rest = self.left.iter().any(|one| rule.touches(&bound.filled, one));
        (!rest).then_some(())
    }

    /// Whether an allow or a guard holds: an unknown condition is no yes.
    fn holds(&mut self, link: &BoundLink, rule: &Rule) -> Option<Stands> {
        self.stands(link, rule, Stands::No)
    }

    /// Whether a deny has its say: an unknown condition refutes nothing.
    fn forbids(&mut self, link: &BoundLink, rule: &Rule) -> Option<Stands> {
        self.stands(link, rule, Stands::Yes)
    }

    /// Whether a rule has its say, where an unknown condition counts for `unknown`; `None` where the fuel is spent.
    fn stands(&mut self, link: &BoundLink, rule: &Rule, unknown: Stands) -> Option<Stands> {
        if rule.hours.as_ref().is_some_and(|hours| !hours.open(self.subject.request.now)) {
            return Some(Stands::No);
        }
        let variables = self.subject.variables(link, rule.reads);
        let mut open = false;
        for conjunct in rule.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            if is_open(conjunct) {
                open = true;
                continue;
            }
            match conjunct.evaluate(&variables, &mut self.fuel) {
                Outcome::True => {}
                Outcome::False => return Some(Stands::No),
                Outcome::Unknown(Why::Fuel) => return None,
                Outcome::Unknown(_) if unknown == Stands::No => return Some(Stands::No),
                Outcome::Unknown(_) => {}
            }
        }
        Some(if open { Stands::Open } else { Stands::Yes })
    }

    /// The limits of a rule that has its say; `None` where people may be asked.
    fn obligations(&mut self, link: &BoundLink, bound: &BoundPolicy, rule: &Rule) -> Option<()> {
        if rule.intent.is_some() {
            return None;
        }
        if let Some(approve) = &rule.approve {
            let variables = self.subject.variables(link, approve.reads);
            let mut conjuncts = approve.when.iter().flat_map(|condition| condition.expression.conjuncts());
            let fuel = &mut self.fuel;
            let never = conjuncts
                .any(|conjunct| !is_open(conjunct) && conjunct.evaluate(&variables, fuel) == Outcome::False);
            never.then_some(())?;
        }
        self.charge(link, (bound.policy.label_arc(), &rule.name), &rule.limits)
    }

    fn charge(&mut self, link: &BoundLink, owner: (&Arc<str>, &Arc<str>), limits: &[LimitOf]) -> Option<()> {
        let by_request = |applied: &LimitOf| {
            matches!(applied.limit.by, By::Resource | By::Key(_)) || applied.reads.has(Root::Resource)
        };
        if limits.iter().any(by_request) {
            return None;
        }
        let mut denials = Vec::new();
        self.bill.add(self.subject, &mut self.fuel, link, owner, limits, &mut denials);
        denials.is_empty().then_some(())
    }
}

/// Whether it depends on the resource.
fn is_open(conjunct: &Conjunct) -> bool {
    conjunct.reads().iter().any(|path| path.root() == Root::Resource)
}
