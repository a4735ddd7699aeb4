//! `intent` of rules in the decision: what can be told here, and what is left to a judge.
//!
//! Invariant: it only tightens: it denies, asks people, or leaves all as it is.

use super::{Judgement, Verdict, explain, outlook::Asks, subject::Subject, verdict::Found};
use crate::{
    approval::{Approver, Requirement, WITHIN},
    chain::Chain,
    intent::{self, Asking, Fit, Otherwise, Purpose},
    policy::{BoundLink, BoundPolicy, IntentOf, Rule},
    refusal::{Code, Reason},
};

impl Found {
    /// What a rule that has its say asks of the intent.
    pub(super) fn intent(
        &mut self,
        subject: &Subject<'_>,
        link: &BoundLink,
        (bound, rule): (&BoundPolicy, &Rule),
        of: &IntentOf,
    ) -> Fit {
        let terms = &of.terms;
        let (policy, name) = (bound.policy.label_arc(), &rule.name);
        let fit = intent::of_chain(terms, subject.request.chain, subject.request.action);
        match &fit {
            Fit::Fits if !terms.judge => {}
            Fit::Fits => {
                let asking = Asking {
                    policy: policy.clone(),
                    rule: name.clone(),
                    otherwise: terms.otherwise,
                    requirement: requirement(rule, policy),
                };
                if !self.intents.contains(&asking) {
                    self.intents.push(asking);
                }
            }
            Fit::Misfit(misfit) if terms.otherwise == Otherwise::Deny => {
                self.denials.push(misfit.reason(policy, name));
            }
            Fit::Misfit(_) | Fit::NoPurpose => {
                let requirement = requirement(rule, policy);
                if self.asked.iter().all(|(other, _)| *other != requirement) {
                    let reason = explain::approval(subject, link, &requirement, &[]);
                    self.asked.push((requirement, reason));
                }
            }
        }
        fit
    }
}

/// Whom a rule asks about intent: those who approve it anyway, else the grant's user or an approver.
fn requirement(rule: &Rule, policy: &str) -> Requirement {
    let asked = rule.approve.as_ref().map(|approve| approve.requirement(policy, &rule.name));
    let usual = || Requirement {
        policy: policy.to_owned(),
        rule: rule.name.to_string(),
        by: vec![Approver::Default],
        not: Vec::new(),
        count: 1,
        distinct: false,
        within: WITHIN.as_secs(),
        intent: true,
    };
    asked.map_or_else(usual, |asked| Requirement { intent: true, distinct: false, ..asked })
}

/// Whether people are asked about the intent, before the request is known.
pub(super) fn asks(rule: &Rule, chain: &Chain) -> Asks {
    let Some(of) = &rule.intent else { return Asks::Never };
    match (Purpose::of(chain), of.terms.otherwise) {
        (None, _) => Asks::Always,
        (Some(_), Otherwise::Hold) => Asks::Sometimes,
        (Some(_), Otherwise::Deny) => Asks::Never,
    }
}

impl Judgement {
    /// People are asked instead of the judge, by every rule that leaves it to them what becomes of what doesn't fit. What
    /// is held anyway, and what comes back with people's answer, is asked about in this way.
    pub fn leave_intent_to_people(&mut self) {
        let (people, judge) = std::mem::take(&mut self.intents)
            .into_iter()
            .partition(|asking: &Asking| asking.otherwise == Otherwise::Hold);
        self.intents = judge;
        self.ask_people(people, &|reason| reason);
    }

    /// What follows where a judge did not say yes: the reasons of a denial, or people are asked. `seen` is recorded with
    /// each, and agents aren't told it.
    ///
    /// # Errors
    /// The reasons of a denial.
    pub fn does_not_fit(&mut self, seen: &serde_json::Value) -> Result<(), Vec<Reason>> {
        let (people, denied): (Vec<Asking>, Vec<Asking>) = std::mem::take(&mut self.intents)
            .into_iter()
            .partition(|asking| asking.otherwise == Otherwise::Hold);
        if !denied.is_empty() {
            let reason = |asking: &Asking| intent::mismatch(&asking.policy, &asking.rule, seen.clone());
            return Err(denied.iter().map(reason).collect());
        }
        self.ask_people(people, &|mut reason: Reason| {
            reason.observed.insert(intent::OBSERVED.to_owned(), seen.clone());
            reason
        });
        Ok(())
    }

    fn ask_people(&mut self, askings: Vec<Asking>, with: &dyn Fn(Reason) -> Reason) {
        for Asking { requirement, .. } in askings {
            self.verdict = Verdict::Hold;
            if self.requirements.contains(&requirement) {
                continue;
            }
            let reason = Reason::of(Code::ApprovalRequired)
                .from_rule(requirement.policy.as_str(), requirement.rule.as_str());
            self.reasons.push(with(reason));
            self.requirements.push(requirement);
        }
    }
}
