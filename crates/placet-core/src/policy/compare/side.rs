//! What one set of policies says about a request that is chosen bit by bit.
//!
//! Invariant: says what the judge says of every request that the choice stands for; what the choice leaves open is
//! asked for.

use super::{
    model::{Choice, Formula, Model, Place, PolicyForm, RuleForm, Truth},
    obligations::{Asked, Counted, Obligations},
};
use crate::{
    pattern::{ActionName, ResourcePattern},
    policy::rule::{Kind, OnWhat},
};

/// The policies of one side.
#[derive(Debug)]
pub(super) struct Side<'p> {
    pub(super) policies: Vec<PolicyForm<'p>>,
}

/// The resource, as every policy's patterns see it; templates are filled by policy.
#[derive(Debug)]
pub(super) struct Ground<'g> {
    pub(super) action: &'g ActionName,
    pub(super) known: &'g ResourcePattern,
    pub(super) filled: &'g [Vec<Option<ResourcePattern>>],
}

impl<'p> Side<'p> {
    /// What it asks for where it allows the request; `None` where it denies it. The error is a variable that has to
    /// be chosen first.
    pub(super) fn says(
        &self,
        model: &Model<'_>,
        ground: &Ground<'_>,
        choice: &Choice,
    ) -> Result<Option<Obligations<'p>>, Place> {
        let mut run =
            Run { model, choice, missing: None, denied: false, obligations: Obligations::default() };
        let mut applied = Vec::new();
        for (index, form) in self.policies.iter().enumerate() {
            match model.evaluate(&form.selected, choice) {
                Ok(Truth::True) => {
                    applied.push((form, ground.filled.get(index).map_or(&[][..], Vec::as_slice)))
                }
                Ok(_) => {}
                Err(place) => run.missing(place),
            }
        }
        // What forbids is looked at first: most choices end there.
        for (form, filled) in &applied {
            for rule in form.rules.iter().filter(|rule| rule.rule.kind == Kind::Deny && named(rule, ground)) {
                if rule.rule.touches(filled, ground.known) {
                    run.deny(rule);
                }
            }
        }
        for (form, filled) in &applied {
            for rule in form.rules.iter().filter(|rule| rule.rule.kind == Kind::Guard && named(rule, ground))
            {
                if rule.rule.touches(filled, ground.known) {
                    match run.holds(rule) {
                        Some(true) => run.obliges(form, rule),
                        Some(false) => run.denied = true,
                        None => {}
                    }
                }
            }
        }
        let mut allowed = false;
        for (form, filled) in &applied {
            for rule in form.rules.iter().filter(|rule| rule.rule.kind == Kind::Allow && named(rule, ground))
            {
                if !rule.rule.covers(filled, ground.known) {
                    continue;
                }
                match run.holds(rule) {
                    Some(true) => {
                        allowed = true;
                        run.obligations.chosen.push((form.policy.name(), &rule.rule.name));
                        run.obliges(form, rule);
                        break;
                    }
                    Some(false) => {}
                    // Which of the rules is chosen is still open.
                    None => break,
                }
            }
        }
        match (run.denied, run.missing) {
            (true, _) => Ok(None),
            (false, Some(place)) => Err(place),
            (false, None) => Ok(allowed.then_some(run.obligations)),
        }
    }

    /// Whether some allow rule could be about this at all.
    pub(super) fn may_allow(&self, ground: &Ground<'_>) -> bool {
        self.policies.iter().enumerate().any(|(index, form)| {
            let filled = ground.filled.get(index).map_or(&[][..], Vec::as_slice);
            form.rules.iter().any(|rule| {
                rule.rule.kind == Kind::Allow && named(rule, ground) && rule.rule.covers(filled, ground.known)
            })
        })
    }

    /// The patterns of the rules that name the action, filled.
    pub(super) fn patterns<'f>(
        &'f self,
        action: &'f ActionName,
        filled: &'f [Vec<Option<ResourcePattern>>],
    ) -> impl Iterator<Item = &'f ResourcePattern> {
        let none: &'f [Option<ResourcePattern>] = &[];
        self.policies.iter().enumerate().flat_map(move |(index, form)| {
            let filled = filled.get(index).map_or(none, Vec::as_slice);
            let rules = form.rules.iter().filter(|rule| rule.rule.names(action));
            rules.flat_map(|rule| rule.rule.on.iter().flatten()).filter_map(move |entry| match &entry.what {
                OnWhat::Pattern(pattern) => Some(pattern),
                OnWhat::Template(index) => filled.get(*index)?.as_ref(),
            })
        })
    }
}

fn named(rule: &RuleForm<'_>, ground: &Ground<'_>) -> bool {
    rule.rule.names(ground.action)
}

struct Run<'r, 'p> {
    model: &'r Model<'r>,
    choice: &'r Choice,
    missing: Option<Place>,
    denied: bool,
    obligations: Obligations<'p>,
}

impl<'p> Run<'_, 'p> {
    fn missing(&mut self, place: Place) {
        self.missing = self.missing.or(Some(place));
    }

    /// All of these, in the judge's sense: what is unknown is not true. `None` where it is open.
    fn all(&mut self, formulas: &[&Formula], wanted: impl Fn(Truth) -> bool) -> Option<bool> {
        match self.model.all(formulas, self.choice, wanted) {
            Ok(all) => Some(all),
            Err(place) => {
                self.missing(place);
                None
            }
        }
    }

    fn holds(&mut self, rule: &RuleForm<'p>) -> Option<bool> {
        let conditions: Vec<&Formula> = rule.hours.iter().chain(&rule.when).collect();
        self.all(&conditions, |truth| truth == Truth::True)
    }

    /// A deny has matched unless something refutes it.
    fn deny(&mut self, rule: &RuleForm<'p>) {
        let conditions: Vec<&Formula> = rule.hours.iter().chain(&rule.when).collect();
        self.denied |= self.all(&conditions, |truth| truth != Truth::False) == Some(true);
    }

    fn obliges(&mut self, form: &PolicyForm<'p>, rule: &RuleForm<'p>) {
        let (policy, name) = (form.policy.name(), &*rule.rule.name);
        let counts: Vec<&Formula> = rule.limits.iter().map(|limit| &limit.counts).collect();
        if self.all(&counts, |truth| truth == Truth::True) == Some(false) {
            self.denied = true;
            return;
        }
        let limits =
            rule.limits.iter().map(|limit| Counted { policy, rule: name, limit: &limit.applied.limit });
        self.obligations.limits.extend(limits);
        self.obligations.shapes.extend(rule.shape.clone());
        if let Some(of) = &rule.rule.shape {
            self.obligations.detect.join(&of.shape.detect);
        }
        self.obligations.intents.extend(rule.rule.intent.as_ref().map(|intent| intent.in_full()));
        let Some(approve) = &rule.rule.approve else { return };
        let asks: Vec<&Formula> = rule.asks.iter().collect();
        if self.all(&asks, |truth| truth != Truth::False) == Some(true) {
            self.obligations.asked.push(Asked {
                policy,
                rule: name,
                by: &approve.by,
                within: approve.within,
                more: rule.more.clone(),
            });
        }
    }
}
