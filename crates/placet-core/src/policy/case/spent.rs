//! What limits have been used up when a test begins.

use crate::{
    chain::Chain,
    decimal::Decimal,
    judge::AppliedLimit,
    ledger::{Charge, Limit, Measure, Meter, Standing},
    policy::PolicySet,
    time::Timestamp,
};

/// What stands where a limit of a grant would name its rule.
pub(super) const OF_GRANTS: &str = "limits";

/// So much of a limit is used, by whoever it is counted.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    /// The policy's name, where the rule's alone would not do.
    pub(super) policy: Option<String>,
    /// The rule, or [`OF_GRANTS`].
    pub(super) rule: String,
    /// Which of the rule's limits.
    pub(super) which: Which,
    pub(super) used: Decimal,
}

/// One of several limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// The only one.
    Only,
    /// By its place, from 1.
    Place(usize),
    /// By its first word.
    Kind(&'static str),
}

/// The words that a limit is told by.
pub(super) const KINDS: &[&str] = &["count", "sum", "rate", "concurrent"];

fn kind(limit: &Limit) -> &'static str {
    match limit.measure {
        Measure::Count { .. } => "count",
        Measure::Sum { .. } => "sum",
        Measure::Rate { .. } => "rate",
        Measure::Concurrent { .. } => "concurrent",
    }
}

impl Which {
    /// The limits of a rule that it means.
    pub(super) fn of<'l>(&self, limits: &[&'l Limit]) -> Vec<&'l Limit> {
        match self {
            Self::Only => limits.to_vec(),
            Self::Place(place) => {
                place.checked_sub(1).and_then(|at| limits.get(at)).copied().into_iter().collect()
            }
            Self::Kind(word) => limits.iter().copied().filter(|limit| kind(limit) == *word).collect(),
        }
    }
}

impl Spent {
    /// The limits that it means, each with how it is called in reasons: of the policies, or of the chain's grants.
    pub(super) fn limits<'l>(&self, policies: &'l PolicySet, chain: &'l Chain) -> Vec<Vec<&'l Limit>> {
        let own = policies
            .policies()
            .iter()
            .filter(|policy| self.policy.as_deref().is_none_or(|name| name == policy.name()));
        let mut found: Vec<Vec<&Limit>> = own
            .flat_map(|policy| policy.rules.iter().filter(|rule| *rule.name == *self.rule))
            .map(|rule| rule.limits.iter().map(|applied| &*applied.limit).collect())
            .collect();
        if self.policy.is_none() && self.rule == OF_GRANTS {
            let limited = chain.links().iter().filter(|link| !link.grant.limits.is_empty());
            found.extend(limited.map(|link| link.grant.limits.iter().collect()));
        }
        found
    }

    /// In the counter's units; `None` where the limit counts whole ones and this is none.
    pub(super) fn units(&self, limit: &Limit) -> Option<i64> {
        let units = match limit.measure {
            Measure::Sum { .. } => self.used.to_millionths().ok(),
            Measure::Count { .. } | Measure::Rate { .. } | Measure::Concurrent { .. } => self.used.to_i64(),
        };
        units.filter(|units| *units >= 0)
    }

    fn means(&self, applied: &AppliedLimit, policies: &PolicySet, chain: &Chain) -> bool {
        let policy = applied.policy.split('@').next().unwrap_or_default();
        *applied.rule == *self.rule
            && self.policy.as_deref().is_none_or(|name| name == policy)
            && self
                .limits(policies, chain)
                .iter()
                .any(|limits| self.which.of(limits).contains(&&*applied.limit))
    }
}

/// How a counter stands: as the last entry says that means its limit, else unused.
pub(super) fn standing(
    spent: &[Spent],
    policies: &PolicySet,
    chain: &Chain,
    applied: Option<&AppliedLimit>,
    charge: &Charge,
    now: Timestamp,
) -> Standing {
    let Some(applied) = applied else { return Standing::default() };
    let stated = spent.iter().rev().find(|spent| spent.means(applied, policies, chain));
    let used = stated.and_then(|spent| spent.units(&applied.limit)).unwrap_or(0);
    match charge.meter {
        Meter::Window => Standing { used, retry_at: charge.anew(used) },
        Meter::Rate(rate) => {
            let emptied = rate.holding(used.min(charge.max), now);
            let used = rate.used(emptied, charge.max, now);
            let retry_at = (!charge.fits(used)).then(|| rate.fits_at(emptied, charge.max, now));
            Standing { used, retry_at }
        }
        Meter::Concurrent => Standing { used, retry_at: None },
    }
}
