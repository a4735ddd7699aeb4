//! The one function that decides.
//!
//! Invariant: what can't be evaluated is no yes: an `allow` does not hold by it, a `guard` fails, a `deny` matches, and people are asked.

use super::{
    Judgement, Request, Verdict,
    charge::Bill,
    explain,
    listener::{Event, Listener, Said, Silence},
    observe::{self, Observation},
    shaped::AppliedShape,
    subject::Subject,
};
use crate::{
    approval::Requirement,
    cel::{Fuel, Outcome},
    intent::Asking,
    policy::{BoundLink, BoundPolicies, BoundPolicy, Condition, Kind, LimitOf, Reads, Rule},
    refusal::{Code, Reason},
};
use std::sync::Arc;

/// Judges; see [`super::judge`].
pub(super) fn judge(
    policies: &BoundPolicies,
    request: &Request<'_>,
    listener: &mut impl Listener,
) -> Judgement {
    let subject = Subject::new(request);
    let mut trial = Trial::new(&subject, Fuel::default(), listener);
    let mut observed = Vec::new();
    if policies.leaf == request.chain.leaf().grant.id {
        trial.authority();
        let mut fuel = Fuel::default();
        for link in &policies.links {
            let allowed = trial.link(link);
            for bound in link.observed() {
                observed.extend(observe::observe(&subject, &mut fuel, link, bound, allowed, trial.listener));
            }
        }
    } else {
        trial.found.denials.push(Reason::of(Code::Internal).detail("the policies belong to another chain"));
    }
    observed.truncate(observe::MOST);
    trial.conclude(policies, observed)
}

/// Judges the action on a member of what it returned: as [`judge`], without what is only observed and with the fuel that
/// is left. Answers what is left then.
pub(super) fn member(policies: &BoundPolicies, request: &Request<'_>, fuel: Fuel) -> (Judgement, Fuel) {
    let subject = Subject::new(request);
    let mut silence = Silence;
    let mut trial = Trial::new(&subject, fuel, &mut silence);
    if policies.leaf == request.chain.leaf().grant.id {
        trial.authority();
        for link in &policies.links {
            trial.link(link);
        }
    } else {
        trial.found.denials.push(Reason::of(Code::Internal).detail("the policies belong to another chain"));
    }
    let fuel = std::mem::take(&mut trial.found.fuel);
    (trial.conclude(policies, Vec::new()), fuel)
}

/// One pass over rules.
pub(super) struct Trial<'a, L> {
    subject: &'a Subject<'a>,
    found: Found,
    listener: &'a mut L,
}

/// What was found so far.
pub(super) struct Found {
    pub(super) fuel: Fuel,
    pub(super) denials: Vec<Reason>,
    pub(super) chosen: Vec<(Arc<str>, Arc<str>)>,
    pub(super) bill: Bill,
    pub(super) asked: Vec<(Requirement, Reason)>,
    pub(super) shapes: Vec<AppliedShape>,
    pub(super) intents: Vec<Asking>,
}

impl<'a, L: Listener> Trial<'a, L> {
    pub(super) fn new(subject: &'a Subject<'a>, fuel: Fuel, listener: &'a mut L) -> Self {
        let found = Found {
            fuel,
            denials: Vec::new(),
            chosen: Vec::new(),
            bill: Bill::default(),
            asked: Vec::new(),
            shapes: Vec::new(),
            intents: Vec::new(),
        };
        Self { subject, found, listener }
    }

    pub(super) fn found(self) -> Found {
        self.found
    }

    /// Every grant of the chain and every registration must permit the action, every agent's level its effect.
    fn authority(&mut self) {
        let Request { chain, action, .. } = self.subject.request;
        for authority in chain.authorities() {
            let missing = authority.missing(action);
            self.listener.hear(Event::Authority(missing));
            if let Some(missing) = missing {
                self.found.denials.push(explain::not_granted(missing, self.subject));
            }
        }
        let level = chain.links().iter().all(|link| link.agent.level.permits(action.effect));
        self.listener.hear(Event::Level(level));
        if !level {
            self.found.denials.push(explain::above_level(self.subject));
        }
    }

    /// One agent's policies in force, for its own link; answers whether one of them allows the action.
    fn link(&mut self, link: &BoundLink) -> bool {
        let mut allowed = false;
        let mut misses = Vec::new();
        self.listener.hear(Event::Link);
        for bound in link.in_force() {
            allowed |= self.policy(link, bound, &mut misses);
        }
        if !allowed {
            if misses.is_empty() {
                misses.push(Reason::of(Code::NoRule));
            }
            self.found.denials.append(&mut misses);
        }
        for grant in &link.grants {
            let before = self.found.denials.len();
            self.found.bill.add(
                self.subject,
                &mut self.found.fuel,
                link,
                (&grant.id, &grant.rule),
                &grant.limits,
                &mut self.found.denials,
            );
            self.billed(&grant.limits, before);
        }
        self.listener.hear(Event::Allowed(allowed));
        allowed
    }

    /// Whether a rule of the policy was chosen. `misses` gets the conditions that kept others from being.
    pub(super) fn policy(&mut self, link: &BoundLink, bound: &BoundPolicy, misses: &mut Vec<Reason>) -> bool {
        let (policy, action) = (&*bound.policy, self.subject.request.action);
        let mut chosen = false;
        self.listener.hear(Event::Policy(bound));
        for rule in policy.candidates(&action.name) {
            self.listener.hear(Event::Rule(rule));
            let said = match rule.kind {
                Kind::Allow if chosen => Said::NotReached,
                Kind::Allow if !rule.covers(&bound.filled, &action.known) => Said::OtherResource,
                Kind::Allow => {
                    chosen = self.holds(link, bound, rule, misses);
                    if chosen {
                        self.found.chosen.push((policy.label_arc().clone(), rule.name.clone()));
                        self.obligations(link, bound, rule);
                        Said::Chosen
                    } else {
                        Said::NotHeld
                    }
                }
                Kind::Guard | Kind::Deny if !rule.touches(&bound.filled, &action.known) => {
                    Said::OtherResource
                }
                Kind::Guard => {
                    let mut failed = Vec::new();
                    let holds = self.holds(link, bound, rule, &mut failed);
                    if holds {
                        self.obligations(link, bound, rule);
                    }
                    self.found.denials.append(&mut failed);
                    if holds { Said::Passed } else { Said::Failed }
                }
                Kind::Deny if self.refuted(link, rule) => Said::NotMatched,
                Kind::Deny => {
                    self.found.denials.push(explain::forbidden(self.subject, link, policy, rule));
                    Said::Matched
                }
            };
            self.listener.hear(Event::Said(said));
        }
        chosen
    }

    /// Whether every condition is true; each that is not becomes a reason.
    fn holds(
        &mut self,
        link: &BoundLink,
        bound: &BoundPolicy,
        rule: &Rule,
        reasons: &mut Vec<Reason>,
    ) -> bool {
        let mut all = true;
        let now = self.subject.request.now;
        if let Some(hours) = &rule.hours {
            let open = hours.open(now);
            self.listener.hear(Event::Hours(open));
            if !open {
                all = false;
                reasons.push(explain::outside_hours(self.subject, (&bound.policy, rule), hours));
            }
        }
        if rule.when.is_empty() {
            return all;
        }
        let variables = self.subject.variables(link, rule.reads);
        for condition in &rule.when {
            for conjunct in condition.expression.conjuncts() {
                let outcome = conjunct.evaluate(&variables, &mut self.found.fuel);
                self.listener.hear(Event::Conjunct(self.subject, link, conjunct, &outcome));
                let why = match outcome {
                    Outcome::True => continue,
                    Outcome::False => None,
                    Outcome::Unknown(why) => Some(why),
                };
                all = false;
                reasons.push(explain::condition(self.subject, link, (&bound.policy, rule), conjunct, why));
            }
        }
        all
    }

    /// Whether it is outside its hours or some condition is false. An unknown one refutes nothing.
    fn refuted(&mut self, link: &BoundLink, rule: &Rule) -> bool {
        if let Some(hours) = &rule.hours {
            let open = hours.open(self.subject.request.now);
            self.listener.hear(Event::Hours(open));
            if !open {
                return true;
            }
        }
        !rule.when.is_empty() && self.any_false(link, &rule.when, rule.reads)
    }

    fn any_false(&mut self, link: &BoundLink, conditions: &[Condition], reads: Reads) -> bool {
        let variables = self.subject.variables(link, reads);
        let mut conjuncts = conditions.iter().flat_map(|condition| condition.expression.conjuncts());
        conjuncts.any(|conjunct| {
            let outcome = conjunct.evaluate(&variables, &mut self.found.fuel);
            self.listener.hear(Event::Conjunct(self.subject, link, conjunct, &outcome));
            outcome == Outcome::False
        })
    }

    /// Tells that limits were put on the bill; `before`: the denials until then.
    fn billed(&mut self, limits: &[LimitOf], before: usize) {
        let refused = self.found.denials.get(before..).unwrap_or_default();
        self.listener.hear(Event::Limits(limits, &self.found.bill, refused));
    }

    /// The limits, shape and approvals of a rule that has its say.
    fn obligations(&mut self, link: &BoundLink, bound: &BoundPolicy, rule: &Rule) {
        let owner = (bound.policy.label_arc(), &rule.name);
        if !rule.limits.is_empty() {
            let before = self.found.denials.len();
            self.found.bill.add(
                self.subject,
                &mut self.found.fuel,
                link,
                owner,
                &rule.limits,
                &mut self.found.denials,
            );
            self.billed(&rule.limits, before);
        }
        if let Some(shape) = &rule.shape {
            let applied = AppliedShape::new(link, owner, shape);
            if !self.found.shapes.contains(&applied) {
                self.found.shapes.push(applied);
            }
        }
        if let Some(intent) = &rule.intent {
            let fit = self.found.intent(self.subject, link, (bound, rule), intent);
            self.listener.hear(Event::Intent(&fit));
        }
        let Some(approve) = &rule.approve else { return };
        self.listener.hear(Event::Approving);
        // Unknown asks.
        let asks = !self.any_false(link, &approve.when, approve.reads);
        self.listener.hear(Event::Asked(asks));
        if !asks {
            return;
        }
        let requirement = approve.requirement(bound.policy.label(), &rule.name);
        if self.found.asked.iter().all(|(other, _)| *other != requirement) {
            let reason = explain::approval(self.subject, link, &requirement, &approve.when);
            self.found.asked.push((requirement, reason));
        }
    }

    fn conclude(self, policies: &BoundPolicies, observed: Vec<Observation>) -> Judgement {
        let policies = policies.labels.clone();
        if !self.found.denials.is_empty() {
            return Judgement {
                verdict: Verdict::Deny,
                reasons: in_order(self.found.denials),
                limits: Vec::new(),
                charges: Vec::new(),
                shapes: Vec::new(),
                intents: Vec::new(),
                requirements: Vec::new(),
                policies,
                chosen: Vec::new(),
                observed,
            };
        }
        let (requirements, reasons): (Vec<_>, Vec<_>) = self.found.asked.into_iter().unzip();
        Judgement {
            verdict: if requirements.is_empty() { Verdict::Allow } else { Verdict::Hold },
            reasons,
            limits: self.found.bill.limits,
            charges: self.found.bill.charges,
            shapes: self.found.shapes,
            intents: self.found.intents,
            requirements,
            policies,
            chosen: self.found.chosen,
            observed,
        }
    }
}

/// Each once; what no parameter can change comes first.
fn in_order(denials: Vec<Reason>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::with_capacity(denials.len());
    for denial in denials {
        if !reasons.contains(&denial) {
            reasons.push(denial);
        }
    }
    reasons.sort_by_key(|reason| match reason.code {
        Code::Internal => 0,
        Code::NotGranted => 1,
        Code::Forbidden => 2,
        _ => 3,
    });
    reasons
}
