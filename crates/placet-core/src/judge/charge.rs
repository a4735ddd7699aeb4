//! Which counters an action is charged to, and by how much.
//!
//! Invariant: a (counter, window) is charged once per action, however many links reach it, by the largest amount
//! and against the smallest maximum.

use super::{AppliedLimit, explain, subject::Subject};
use crate::{
    cel::Fuel,
    ledger::{By, Charge, Limit, Measure},
    policy::{BoundLink, LimitOf, bounded, encoded},
    refusal::{Code, Reason},
};
use std::sync::Arc;

/// The longest key that a limit counts by, in bytes.
const LONGEST_KEY: usize = 512;

/// The limits and charges of one action so far.
#[derive(Default)]
pub(super) struct Bill {
    pub(super) limits: Vec<AppliedLimit>,
    pub(super) charges: Vec<Charge>,
}

impl Bill {
    /// Adds the limits of one rule or grant. A limit that can't be counted is a denial.
    pub(super) fn add(
        &mut self,
        subject: &Subject<'_>,
        fuel: &mut Fuel,
        link: &BoundLink,
        owner: (&Arc<str>, &Arc<str>),
        limits: &[LimitOf],
        denials: &mut Vec<Reason>,
    ) {
        for applied in limits {
            let limit = &*applied.limit;
            let amount = match amount(subject, fuel, link, applied, owner) {
                Ok(amount) => amount,
                Err(denial) => {
                    denials.push(*denial);
                    continue;
                }
            };
            let (one, others) = match by_values(subject, fuel, link, applied, owner) {
                Ok(values) => values,
                Err(denial) => {
                    denials.push(*denial);
                    continue;
                }
            };
            let window = limit.per.window(subject.request.now, &limit.zone);
            let index = self.index(owner, &applied.limit);
            let mut charged = false;
            for value in one.as_deref().into_iter().chain(others.iter().map(AsRef::as_ref)) {
                charged = true;
                let mut counter = String::with_capacity(applied.identity.len() + value.len());
                counter.push_str(&applied.identity);
                counter.push_str(value);
                let (meter, max) = (limit.meter(), limit.max());
                let charge = Charge { counter, meter, window, amount, max, limit: index };
                self.charge(charge);
            }
            if !charged {
                denials.push(explain::nobody_to_charge((owner.0, owner.1), limit.by.as_str()));
            }
        }
    }

    fn charge(&mut self, charge: Charge) {
        match self.charges.iter_mut().find(|other| other.same_counter(&charge)) {
            Some(other) => other.tighten(&charge),
            None => self.charges.push(charge),
        }
    }

    fn index(&mut self, (policy, rule): (&Arc<str>, &Arc<str>), limit: &Arc<Limit>) -> usize {
        let known = self.limits.iter().position(|applied| Arc::ptr_eq(&applied.limit, limit));
        known.unwrap_or_else(|| {
            let applied = AppliedLimit { policy: policy.clone(), rule: rule.clone(), limit: limit.clone() };
            self.limits.push(applied);
            self.limits.len() - 1
        })
    }
}

/// By-values: one of this request, or those of the link.
type Values<'a> = (Option<String>, &'a [Box<str>]);

/// The by-values, each encoded as the last part of a counter's name.
fn by_values<'a>(
    subject: &Subject<'_>,
    fuel: &mut Fuel,
    link: &'a BoundLink,
    applied: &LimitOf,
    owner: (&Arc<str>, &Arc<str>),
) -> Result<Values<'a>, Box<Reason>> {
    let one = |value: &str| Ok((Some(bounded(encoded(value)).into_owned()), &[][..]));
    match &applied.limit.by {
        // As far as the resource is known: a part that is merely claimed would give a fresh counter for the asking.
        By::Resource => one(&format!("resource:{}", subject.request.action.known.as_str())),
        By::Key(key) => {
            let found = key.evaluate_key(&subject.variables(link, applied.reads), fuel);
            let refuse = |code, detail: String| {
                Box::new(explain::uncountable(subject, link, (owner.0, owner.1), key, code, &detail))
            };
            let text = found.map_err(|why| {
                refuse(Code::ConditionUnknown, format!("the key that a limit counts by can't be told: {why}"))
            })?;
            if text.len() > LONGEST_KEY {
                let detail = format!("the key that a limit counts by is longer than {LONGEST_KEY} bytes");
                return Err(refuse(Code::ConditionFailed, detail));
            }
            one(&format!("key:{text}"))
        }
        by => Ok((None, link.charged.values(by))),
    }
}

/// What the action adds, in the counter's units.
fn amount(
    subject: &Subject<'_>,
    fuel: &mut Fuel,
    link: &BoundLink,
    applied: &LimitOf,
    owner: (&Arc<str>, &Arc<str>),
) -> Result<i64, Box<Reason>> {
    let Measure::Sum { of, .. } = &applied.limit.measure else { return Ok(1) };
    let refuse = |code, detail: &str| {
        Box::new(explain::uncountable(subject, link, (owner.0, owner.1), of, code, detail))
    };
    let number = of
        .evaluate_number(&subject.variables(link, applied.reads), fuel)
        .map_err(|_| refuse(Code::ConditionUnknown, "the amount that a limit sums can't be read"))?;
    if number.is_zero() || number.is_negative() {
        return Err(refuse(Code::ConditionFailed, "the amount that a limit sums must be above zero"));
    }
    number.to_millionths().map_err(|error| refuse(Code::ConditionFailed, &error.to_string()))
}
