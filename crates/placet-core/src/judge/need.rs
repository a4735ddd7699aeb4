//! What has to be read from upstream before an action is judged (DESIGN §2 "plan", "gather"): which facts can make a
//! difference, asked with none of them known. The same rules as the judge's, with what depends on those facts left open.
//!
//! A condition that is settled whatever a fact is needs none: conditions are three-valued, so what is true or false while
//! a fact is unknown stays so. Of a condition that is not settled it is taken that it may become either.
//!
//! Invariant: where nothing is needed because the action is refused, it is refused whatever the facts are. What is unknown
//! never gets more than any value of it would.

use super::{Judgement, Request, Verdict, charge::Bill, subject::Subject};
use crate::{
    cel::{Conjunct, Fuel, Outcome, Path, Root},
    intent::{self, Fit, Otherwise},
    policy::{BoundLink, BoundPolicies, BoundPolicy, Condition, Kind, LimitOf, Reads, Rule},
    refusal::{Code, Reason},
    service::ServiceAction,
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

/// The names of the facts that make a difference and that a request does not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    /// To what is decided.
    pub judged: BTreeSet<String>,
    /// Only to what observed policies say beside it: nothing that is decided rests on them.
    pub observed: BTreeSet<String>,
}

impl Need {
    /// Whether none makes a difference.
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty() && self.observed.is_empty()
    }
}

/// The facts that the decision may rest on; none where the action is refused whatever they are. `declared` is the action's
/// declaration.
pub fn need(policies: &BoundPolicies, request: &Request<'_>, declared: &ServiceAction) -> Need {
    if declared.lookups().is_empty() || policies.leaf != request.chain.leaf().grant.id {
        return Need::default();
    }
    let subject = Subject::new(request);
    let mut view = View::new(&subject, declared, Fuel::default());
    match view.all(policies) {
        Ok(()) => {
            let judged = &view.decisive | &view.beside;
            let observed = &view.observed(policies) - &judged;
            Need { judged, observed }
        }
        Err(Refused) => Need::default(),
    }
}

/// Judges as [`super::judge`] does, and denies where it would not have been clear what to say: where what is allowed, or
/// refused, or counted, rests on a fact that isn't known. A rule further down is no answer to a question that could not
/// be asked.
pub fn informed(
    policies: &BoundPolicies,
    request: &Request<'_>,
    declared: Option<&ServiceAction>,
) -> Judgement {
    denied_if_blind(super::judge(policies, request), policies, request, declared)
}

/// A judgement of `request` as [`informed`] makes it.
pub fn denied_if_blind(
    judgement: Judgement,
    policies: &BoundPolicies,
    request: &Request<'_>,
    declared: Option<&ServiceAction>,
) -> Judgement {
    let Some(declared) = declared.filter(|it| !it.lookups().is_empty()) else { return judgement };
    if judgement.verdict == Verdict::Deny {
        return judgement;
    }
    let (missing, _) = missing(policies, request, declared, Fuel::default());
    let Some(missing) = missing else { return judgement };
    let mut reason = Reason::of(Code::ConditionUnknown);
    reason.observed = missing.iter().map(|name| (format!("resource.{name}"), Value::Null)).collect();
    Judgement {
        verdict: Verdict::Deny,
        reasons: vec![reason],
        limits: Vec::new(),
        charges: Vec::new(),
        shapes: Vec::new(),
        requirements: Vec::new(),
        intents: Vec::new(),
        chosen: Vec::new(),
        ..judgement
    }
}

/// The facts that are not known and without which it isn't clear what to say of a request that is not denied; `None` where
/// it is. And what is left of the fuel.
pub(super) fn missing(
    policies: &BoundPolicies,
    request: &Request<'_>,
    declared: &ServiceAction,
    fuel: Fuel,
) -> (Option<BTreeSet<String>>, Fuel) {
    let subject = Subject::new(request);
    let mut view = View::new(&subject, declared, fuel);
    let clear = view.all(policies).is_err() || (view.decisive.is_empty() && view.fuel.left() > 0);
    ((!clear).then_some(view.decisive), view.fuel)
}

/// Whatever the facts are.
struct Refused;

/// How a condition stands while facts are unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    True,
    False,
    /// Unknown, and no fact changes that.
    Unknown,
    /// It depends on facts.
    Open,
}

struct View<'a> {
    subject: &'a Subject<'a>,
    declared: &'a ServiceAction,
    fuel: Fuel,
    /// What rules in force rest on.
    decisive: BTreeSet<String>,
    /// What else makes a difference: whether people are asked.
    beside: BTreeSet<String>,
}

impl<'a> View<'a> {
    fn new(subject: &'a Subject<'a>, declared: &'a ServiceAction, fuel: Fuel) -> Self {
        Self { subject, declared, fuel, decisive: BTreeSet::new(), beside: BTreeSet::new() }
    }

    fn all(&mut self, policies: &BoundPolicies) -> Result<(), Refused> {
        let Request { chain, action, .. } = self.subject.request;
        let granted = chain.authorities().all(|authority| authority.missing(action).is_none());
        if !granted || !chain.links().iter().all(|link| link.agent.level.permits(action.effect)) {
            return Err(Refused);
        }
        for link in &policies.links {
            let mut allowed = false;
            for bound in link.in_force() {
                allowed |= self.policy(link, bound)?;
            }
            if !allowed {
                return Err(Refused);
            }
            for grant in &link.grants {
                if !self.countable(link, (&grant.id, &grant.rule), &grant.limits) {
                    return Err(Refused);
                }
            }
        }
        Ok(())
    }

    /// What is only observed refuses nothing, but sees what it would see in force.
    fn observed(mut self, policies: &BoundPolicies) -> BTreeSet<String> {
        (self.decisive, self.beside) = (BTreeSet::new(), BTreeSet::new());
        for link in &policies.links {
            for bound in link.observed() {
                let _ = self.policy(link, bound);
            }
        }
        &self.decisive | &self.beside
    }

    /// Whether some rule of the policy may be chosen.
    fn policy(&mut self, link: &BoundLink, bound: &BoundPolicy) -> Result<bool, Refused> {
        let action = self.subject.request.action;
        let (mut chosen, mut may_be, mut none) = (false, false, true);
        for rule in bound.policy.candidates(&action.name) {
            match rule.kind {
                Kind::Allow if chosen || !rule.covers(&bound.filled, &action.known) => {}
                Kind::Allow => {
                    let holds = self.holds(link, rule);
                    if !matches!(holds, Stands::True | Stands::Open) {
                        continue;
                    }
                    chosen = holds == Stands::True;
                    none &= !chosen;
                    may_be |= self.obligations(link, bound, rule);
                }
                Kind::Guard | Kind::Deny if !rule.touches(&bound.filled, &action.known) => {}
                Kind::Guard => {
                    let holds = self.holds(link, rule);
                    if !matches!(holds, Stands::True | Stands::Open) || !self.obligations(link, bound, rule) {
                        return Err(Refused);
                    }
                }
                Kind::Deny => {
                    let open = rule.hours.as_ref().is_none_or(|it| it.open(self.subject.request.now));
                    if open && !self.may_be_false(link, &rule.when, rule.reads) {
                        return Err(Refused);
                    }
                }
            }
        }
        // A rule is chosen in any case, and none of those that may be can be counted.
        if !none && !may_be { Err(Refused) } else { Ok(may_be) }
    }

    /// How all conditions of an `allow` or `guard` stand together; what they depend on is noted unless they can't hold.
    fn holds(&mut self, link: &BoundLink, rule: &Rule) -> Stands {
        if rule.hours.as_ref().is_some_and(|hours| !hours.open(self.subject.request.now)) {
            return Stands::False;
        }
        let mut open = Vec::new();
        for conjunct in rule.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            match self.stands(link, conjunct, rule.reads) {
                Stands::True => {}
                Stands::Open => open.push(conjunct),
                other => return other,
            }
        }
        self.note(open.iter().copied().flat_map(Conjunct::reads));
        if open.is_empty() { Stands::True } else { Stands::Open }
    }

    /// Whether some of these conditions is or may become false; what it depends on is noted unless one is false.
    fn may_be_false(&mut self, link: &BoundLink, conditions: &[Condition], reads: Reads) -> bool {
        let mut open = Vec::new();
        for conjunct in conditions.iter().flat_map(|condition| condition.expression.conjuncts()) {
            match self.stands(link, conjunct, reads) {
                Stands::False => return true,
                Stands::Open => open.push(conjunct),
                Stands::True | Stands::Unknown => {}
            }
        }
        self.note(open.iter().copied().flat_map(Conjunct::reads));
        !open.is_empty()
    }

    fn stands(&mut self, link: &BoundLink, conjunct: &Conjunct, reads: Reads) -> Stands {
        let variables = self.subject.variables(link, reads);
        match conjunct.evaluate(&variables, &mut self.fuel) {
            Outcome::True => Stands::True,
            Outcome::False => Stands::False,
            // What would come of it is for the judge to find out.
            Outcome::Unknown(_) if self.fuel.left() == 0 => Stands::Open,
            Outcome::Unknown(_) if conjunct.reads().iter().any(|path| self.is_open(path)) => Stands::Open,
            Outcome::Unknown(_) => Stands::Unknown,
        }
    }

    /// Notes what limits and approval of a rule that may have its say depend on; whether all its limits may be countable and
    /// its intent doesn't refuse the action. What the purpose says of an action does not depend on facts.
    fn obligations(&mut self, link: &BoundLink, bound: &BoundPolicy, rule: &Rule) -> bool {
        if let Some(of) = &rule.intent
            && of.terms.otherwise == Otherwise::Deny
            && let Request { chain, action, .. } = self.subject.request
            && matches!(intent::of_chain(&of.terms, chain, action), Fit::Misfit(_))
        {
            return false;
        }
        if let Some(approve) = &rule.approve {
            // Whether it asks refuses nothing, and unknown asks.
            let decisive = std::mem::take(&mut self.decisive);
            let _ = self.may_be_false(link, &approve.when, approve.reads);
            self.beside.append(&mut self.decisive);
            self.decisive = decisive;
        }
        self.countable(link, (bound.policy.label_arc(), &rule.name), &rule.limits)
    }

    fn countable(&mut self, link: &BoundLink, owner: (&Arc<str>, &Arc<str>), limits: &[LimitOf]) -> bool {
        let mut all = true;
        for applied in limits {
            let reads: Vec<&Path> = applied.limit.reads().filter(|path| self.is_open(path)).collect();
            if !reads.is_empty() {
                self.note(reads.into_iter());
                continue;
            }
            let mut denials = Vec::new();
            let one = std::slice::from_ref(applied);
            Bill::default().add(self.subject, &mut self.fuel, link, owner, one, &mut denials);
            all &= denials.is_empty() || self.fuel.left() == 0;
        }
        all
    }

    /// Whether it is a fact that the service declares and the request doesn't have.
    fn is_open(&self, path: &Path) -> bool {
        let name = path.fields().first().filter(|_| path.root() == Root::Resource);
        name.is_some_and(|name| {
            self.declared.fact(name).is_some()
                && !self.subject.request.action.facts.known().contains_key(&**name)
        })
    }

    fn note<'p>(&mut self, paths: impl Iterator<Item = &'p Path>) {
        for path in paths {
            if let Some(name) = path.fields().first().filter(|_| self.is_open(path)) {
                self.decisive.insert(name.to_string());
            }
        }
    }
}
