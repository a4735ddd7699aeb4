//! The one function that decides.

use super::{
    Judgement, Request, Verdict,
    charge::Bill,
    explain,
    observe::{self, Observation},
    subject::Subject,
};
use crate::{
    approval::Requirement,
    cel::{Activation, Fuel, Outcome},
    policy::{BoundLink, BoundPolicies, BoundPolicy, Condition, Kind, Rule},
    refusal::{Code, Reason},
};
use std::sync::Arc;

/// Judges; see [`super::judge`].
pub(super) fn judge(policies: &BoundPolicies, request: &Request<'_>) -> Judgement {
    let subject = Subject::new(request);
    let mut trial = Trial::new(&subject, Fuel::default());
    let mut observed = Vec::new();
    if policies.leaf == request.chain.leaf().grant.id {
        trial.authority();
        let mut fuel = Fuel::default();
        for link in &policies.links {
            let allowed = trial.link(link);
            for bound in link.observed() {
                observed.extend(observe::observe(&subject, &mut fuel, link, bound, allowed));
            }
        }
    } else {
        trial.found.denials.push(Reason::of(Code::Internal).detail("the policies belong to another chain"));
    }
    observed.truncate(observe::MOST);
    trial.conclude(policies, observed)
}

/// One pass over rules.
pub(super) struct Trial<'a> {
    subject: &'a Subject<'a>,
    found: Found,
}

/// What was found so far.
pub(super) struct Found {
    pub(super) fuel: Fuel,
    pub(super) denials: Vec<Reason>,
    pub(super) chosen: Vec<(Arc<str>, Arc<str>)>,
    pub(super) bill: Bill,
    pub(super) asked: Vec<(Requirement, Reason)>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(subject: &'a Subject<'a>, fuel: Fuel) -> Self {
        let found =
            Found { fuel, denials: Vec::new(), chosen: Vec::new(), bill: Bill::default(), asked: Vec::new() };
        Self { subject, found }
    }

    pub(super) fn found(self) -> Found {
        self.found
    }

    /// Every grant of the chain and every registration must permit the action, every agent's level its effect.
    fn authority(&mut self) {
        let Request { chain, action, .. } = self.subject.request;
        for authority in chain.authorities() {
            if let Some(missing) = authority.missing(action) {
                self.found.denials.push(explain::not_granted(missing, self.subject));
            }
        }
        if !chain.links().iter().all(|link| link.agent.level.permits(action.effect)) {
            self.found.denials.push(explain::above_level(self.subject));
        }
    }

    /// One agent's policies in force, for its own link; answers whether one of them allows the action.
    fn link(&mut self, link: &BoundLink) -> bool {
        let mut allowed = false;
        let mut misses = Vec::new();
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
            self.found.bill.add(
                self.subject,
                &mut self.found.fuel,
                link,
                (&grant.id, &grant.rule),
                &grant.limits,
                &mut self.found.denials,
            );
        }
        allowed
    }

    /// Whether a rule of the policy was chosen. `misses` gets the conditions that kept others from being.
    pub(super) fn policy(&mut self, link: &BoundLink, bound: &BoundPolicy, misses: &mut Vec<Reason>) -> bool {
        let (policy, action) = (&*bound.policy, self.subject.request.action);
        let mut chosen = false;
        for rule in policy.candidates(&action.name) {
            match rule.kind {
                Kind::Allow if !chosen && rule.covers(&bound.filled, &action.known) => {
                    chosen = self.holds(link, bound, rule, misses);
                    if chosen {
                        self.found.chosen.push((policy.label_arc().clone(), rule.name.clone()));
                        self.obligations(link, bound, rule);
                    }
                }
                Kind::Guard if rule.touches(&bound.filled, &action.known) => {
                    let mut failed = Vec::new();
                    if self.holds(link, bound, rule, &mut failed) {
                        self.obligations(link, bound, rule);
                    }
                    self.found.denials.append(&mut failed);
                }
                Kind::Deny if rule.touches(&bound.filled, &action.known) && !self.refuted(link, rule) => {
                    self.found.denials.push(explain::forbidden(self.subject, link, policy, rule));
                }
                Kind::Allow | Kind::Deny | Kind::Guard => {}
            }
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
        if let Some(hours) = rule.hours.as_ref().filter(|hours| !hours.open(now)) {
            all = false;
            reasons.push(explain::outside_hours(self.subject, (&bound.policy, rule), hours));
        }
        if rule.when.is_empty() {
            return all;
        }
        let variables = self.subject.variables(link, rule.reads);
        for conjunct in rule.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            let why = match conjunct.evaluate(&variables, &mut self.found.fuel) {
                Outcome::True => continue,
                Outcome::False => None,
                Outcome::Unknown(why) => Some(why),
            };
            all = false;
            reasons.push(explain::condition(self.subject, link, (&bound.policy, rule), conjunct, why));
        }
        all
    }

    /// Whether it is outside its hours or some condition is false. An unknown one refutes nothing.
    fn refuted(&mut self, link: &BoundLink, rule: &Rule) -> bool {
        rule.hours.as_ref().is_some_and(|hours| !hours.open(self.subject.request.now))
            || (!rule.when.is_empty()
                && any_false(&rule.when, &self.subject.variables(link, rule.reads), &mut self.found.fuel))
    }

    /// The limits and approvals of a rule that has its say.
    fn obligations(&mut self, link: &BoundLink, bound: &BoundPolicy, rule: &Rule) {
        let owner = (bound.policy.label_arc(), &rule.name);
        self.found.bill.add(
            self.subject,
            &mut self.found.fuel,
            link,
            owner,
            &rule.limits,
            &mut self.found.denials,
        );
        let Some(approve) = &rule.approve else { return };
        // Unknown asks.
        if any_false(&approve.when, &self.subject.variables(link, approve.reads), &mut self.found.fuel) {
            return;
        }
        let requirement = Requirement {
            policy: bound.policy.label().to_owned(),
            rule: rule.name.to_string(),
            by: approve.by.to_vec(),
            within: approve.within,
        };
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
            requirements,
            policies,
            chosen: self.found.chosen,
            observed,
        }
    }
}

fn any_false(conditions: &[Condition], variables: &Activation<'_>, fuel: &mut Fuel) -> bool {
    let mut conjuncts = conditions.iter().flat_map(|condition| condition.expression.conjuncts());
    conjuncts.any(|conjunct| conjunct.evaluate(variables, fuel) == Outcome::False)
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
