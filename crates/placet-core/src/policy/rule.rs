//! Rules as they are judged, and the index that finds them by action.
//!
//! Invariant: immutable after loading.

use super::{hours::Hours, intent::IntentOf, shape::ShapeOf};
use crate::{
    approval::{Approver, Except, Requirement},
    cel::{Conjunct, Expression, Root},
    ledger::{By, Limit, Measure},
    pattern::{ActionName, ActionPattern, ResourcePattern},
    yaml::Node,
};
use std::{cmp::Ordering, sync::Arc};

/// What a rule does where it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Grants.
    Allow,
    /// Forbids.
    Deny,
    /// Narrows what others grant.
    Guard,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Allow, Self::Deny, Self::Guard];

    /// The key of the rule.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Guard => "guard",
        }
    }
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(super) actions: Box<[Named]>,
    /// Absent: every resource.
    pub(super) on: Option<Box<[On]>>,
    /// When it has its say. Absent: always.
    pub(crate) hours: Option<Hours>,
    pub(crate) when: Box<[Condition]>,
    pub(crate) limits: Box<[LimitOf]>,
    pub(crate) approve: Option<Approve>,
    /// What it does to what comes back.
    pub(crate) shape: Option<ShapeOf>,
    /// What it asks of the action's intent.
    pub(crate) intent: Option<IntentOf>,
    /// Which variables `when` reads.
    pub(crate) reads: Reads,
    /// Where it stands, for diagnostics.
    pub(super) node: Node,
}

/// An action pattern and where it stands.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) pattern: ActionPattern,
    pub(super) node: Node,
}

/// An entry of `on`.
#[derive(Debug)]
pub(super) struct On {
    pub(super) what: OnWhat,
    /// For checks that look at literals and stars only: what placeholders may become.
    pub(super) samples: Box<[ResourcePattern]>,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum OnWhat {
    Pattern(ResourcePattern),
    /// Index into the policy's templates.
    Template(usize),
}

/// One entry of `when`.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) expression: Expression,
    /// Where it stands, for diagnostics.
    pub(super) node: Node,
}

/// A limit with what counters need to know of it.
#[derive(Debug)]
pub(crate) struct LimitOf {
    pub(crate) limit: Arc<Limit>,
    /// Beginning of the counter's name, up to the by-value: the limit's identity within its rule, encoded.
    pub(crate) identity: Box<str>,
    /// Which variables the sum and the key read.
    pub(crate) reads: Reads,
    pub(super) nodes: LimitNodes,
}

/// Where the expressions of a limit stand, for diagnostics; none in a limit of a grant.
#[derive(Debug, Default)]
pub(super) struct LimitNodes {
    pub(super) sum: Option<Node>,
    pub(super) by: Option<Node>,
}

/// What a rule asks of people.
#[derive(Debug)]
pub(crate) struct Approve {
    /// Empty: always.
    pub(crate) when: Box<[Condition]>,
    pub(crate) reads: Reads,
    pub(crate) by: Box<[Approver]>,
    pub(crate) not: Box<[Except]>,
    pub(crate) count: u32,
    pub(crate) distinct: bool,
    /// In seconds.
    pub(crate) within: u64,
}

impl Approve {
    /// What it asks of people, for a rule of the policy `name@version`.
    pub(crate) fn requirement(&self, policy: &str, rule: &str) -> Requirement {
        Requirement {
            policy: policy.to_owned(),
            rule: rule.to_owned(),
            by: self.by.to_vec(),
            not: self.not.to_vec(),
            count: self.count,
            distinct: self.distinct,
            within: self.within,
            intent: false,
        }
    }
}

/// A set of variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reads(u16);

impl Reads {
    pub(crate) fn of<'a>(conjuncts: impl Iterator<Item = &'a Conjunct>) -> Self {
        let roots = conjuncts.flat_map(Conjunct::reads).map(|path| path.root());
        Self(roots.fold(0, |set, root| set | 1 << (root as u16)))
    }

    pub(super) fn of_conditions(conditions: &[Condition]) -> Self {
        Self::of(conditions.iter().flat_map(|condition| condition.expression.conjuncts()))
    }

    pub(crate) fn has(self, root: Root) -> bool {
        self.0 & 1 << (root as u16) != 0
    }

    #[must_use]
    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Rule {
    /// Whether it names the action.
    pub(crate) fn names(&self, action: &ActionName) -> bool {
        self.actions.iter().any(|named| named.pattern.matches(action))
    }

    /// The actions that it names without a star.
    pub(crate) fn names_whole(&self) -> impl Iterator<Item = ActionName> {
        self.actions.iter().filter_map(|named| named.pattern.single())
    }

    /// How many resources it names.
    pub(crate) fn entries(&self) -> usize {
        self.on.as_ref().map_or(0, |on| on.len())
    }

    /// Whether it has its say whatever the request and the time are, where it names the action.
    pub(super) fn is_unconditional(&self) -> bool {
        self.when.is_empty() && self.hours.is_none()
    }

    /// Whether its resources cover all that `known` may be. A template that was not filled covers nothing.
    pub(crate) fn covers(&self, filled: &[Option<ResourcePattern>], known: &ResourcePattern) -> bool {
        let Some(on) = &self.on else { return true };
        on.iter().any(|entry| match &entry.what {
            OnWhat::Pattern(pattern) => pattern.covers(known),
            OnWhat::Template(index) => {
                filled.get(*index).and_then(Option::as_ref).is_some_and(|pattern| pattern.covers(known))
            }
        })
    }

    /// Its resources as far as they are filled; `None`: every resource.
    pub(crate) fn patterns<'r>(
        &'r self,
        filled: &'r [Option<ResourcePattern>],
    ) -> Option<impl Iterator<Item = &'r ResourcePattern>> {
        let on = self.on.as_ref()?;
        Some(on.iter().filter_map(|entry| match &entry.what {
            OnWhat::Pattern(pattern) => Some(pattern),
            OnWhat::Template(index) => filled.get(*index).and_then(Option::as_ref),
        }))
    }

    /// Whether `known` may be one of its resources. A template that was not filled may be any.
    pub(crate) fn touches(&self, filled: &[Option<ResourcePattern>], known: &ResourcePattern) -> bool {
        let Some(on) = &self.on else { return true };
        on.iter().any(|entry| match &entry.what {
            OnWhat::Pattern(pattern) => pattern.intersects(known),
            OnWhat::Template(index) => {
                filled.get(*index).and_then(Option::as_ref).is_none_or(|pattern| pattern.intersects(known))
            }
        })
    }

    /// All expressions with where they stand: conditions, sums, keys of limits, what decides on approval, and on rows that
    /// come back.
    pub(super) fn expressions(&self) -> impl Iterator<Item = (&Expression, &Node, Use)> {
        fn conditions(list: &[Condition]) -> impl Iterator<Item = (&Expression, &Node, Use)> {
            list.iter().map(|condition| (&condition.expression, &condition.node, Use::Condition))
        }
        let sums =
            self.limits.iter().filter_map(|applied| match (&applied.limit.measure, &applied.nodes.sum) {
                (Measure::Sum { of, .. }, Some(node)) => Some((of, node, Use::Sum)),
                _ => None,
            });
        let keys = self.limits.iter().filter_map(|applied| match (&applied.limit.by, &applied.nodes.by) {
            (By::Key(key), Some(node)) => Some((key, node, Use::Key)),
            _ => None,
        });
        let approvals = self.approve.iter().flat_map(|approve| conditions(&approve.when));
        let rows = self.shape.iter().flat_map(|shape| conditions(&shape.wheres));
        conditions(&self.when).chain(sums).chain(keys).chain(approvals).chain(rows)
    }
}

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Condition,
    Sum,
    Key,
}

/// Finds the rules of a policy by action.
#[derive(Debug)]
pub(super) struct Index {
    /// For each name that stands in the policy without a star, shorter ones first: all rules that name it, in order.
    exact: Box<[(ActionName, Box<[usize]>)]>,
    /// The rules with a star in one of their names, for all others.
    open: Box<[usize]>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let names =
            |rule: &Rule| rule.actions.iter().filter_map(|named| named.pattern.single()).collect::<Vec<_>>();
        let all_for = |name: &ActionName| {
            rules.iter().enumerate().filter(|(_, rule)| rule.names(name)).map(|(index, _)| index).collect()
        };
        let mut exact: Vec<ActionName> = rules.iter().flat_map(names).collect();
        exact.sort_unstable_by(by_length);
        exact.dedup();
        let exact = exact.into_iter().map(|name| {
            let found = all_for(&name);
            (name, found)
        });
        let exact = exact.collect();
        let has_star = |rule: &Rule| rule.actions.iter().any(|named| named.pattern.single().is_none());
        let open =
            rules.iter().enumerate().filter(|(_, rule)| has_star(rule)).map(|(index, _)| index).collect();
        Self { exact, open }
    }

    /// The rules that may name the action, and whether they are known to.
    pub(super) fn find(&self, action: &ActionName) -> (&[usize], bool) {
        let place = self.exact.binary_search_by(|(name, _)| by_length(name, action)).ok();
        match place.and_then(|place| self.exact.get(place)) {
            Some((_, found)) => (found, true),
            None => (&self.open, false),
        }
    }
}

/// An order in which most names are told apart without a look at their letters.
fn by_length(one: &ActionName, other: &ActionName) -> Ordering {
    let (one, other) = (one.as_str(), other.as_str());
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}
