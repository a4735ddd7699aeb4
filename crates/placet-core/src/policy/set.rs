//! All policies in force: one immutable snapshot, with an index by agent.

use super::{Policy, bind::BoundPolicies};
use crate::{agent::Agent, chain::Chain};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

/// The policies in force. Cheap to clone and to share; a change makes another one.
///
/// Invariant: finding the policies of an agent costs what those policies cost, not what all of them do.
#[derive(Clone, Default)]
pub struct PolicySet(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// By name, each once.
    policies: Box<[Arc<Policy>]>,
    /// About every agent.
    everyone: Vec<usize>,
    /// About these handles.
    handles: HashMap<Box<str>, Vec<usize>>,
    /// About handles that begin so.
    prefixes: HashMap<Box<str>, Vec<usize>>,
    /// The lengths of those beginnings.
    lengths: BTreeSet<usize>,
    /// About no handle in particular, but this label with this value.
    labels: HashMap<Box<str>, HashMap<Box<str>, Vec<usize>>>,
}

impl PolicySet {
    /// A snapshot of these. Of several with one name the highest version stands.
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        let mut policies = policies;
        policies.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
        policies.dedup_by(|later, kept| later.name == kept.name);
        let mut inner = Inner::default();
        for (index, policy) in policies.iter().enumerate() {
            inner.add(index, policy);
        }
        inner.policies = policies.into();
        Self(Arc::new(inner))
    }

    /// The policies, by name.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.0.policies
    }

    /// The policy of this name.
    pub fn find(&self, name: &str) -> Option<&Arc<Policy>> {
        let found = self.0.policies.binary_search_by(|policy| (*policy.name).cmp(name)).ok()?;
        self.0.policies.get(found)
    }

    /// What these policies say about the agents of `chain`, with their templates filled for each of its links.
    /// It stays valid as long as the chain and this snapshot are.
    pub fn bind(&self, chain: &Chain) -> BoundPolicies {
        BoundPolicies::new(chain, |agent| self.of(agent))
    }

    /// The policies that apply to an agent, by name.
    pub(super) fn of(&self, agent: &Agent) -> Vec<Arc<Policy>> {
        let inner = &*self.0;
        let mut found: Vec<usize> = inner.everyone.clone();
        found.extend(inner.handles.get(&*agent.handle).into_iter().flatten());
        for length in &inner.lengths {
            found.extend(
                agent
                    .handle
                    .get(..*length)
                    .and_then(|prefix| inner.prefixes.get(prefix))
                    .into_iter()
                    .flatten(),
            );
        }
        for (name, value) in &agent.labels {
            found.extend(
                inner.labels.get(&**name).and_then(|values| values.get(&**value)).into_iter().flatten(),
            );
        }
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|index| inner.policies.get(index))
            .filter(|policy| policy.selector.selects(agent))
            .cloned()
            .collect()
    }
}

impl Inner {
    fn add(&mut self, index: usize, policy: &Policy) {
        let selector = &policy.selector;
        match (&selector.agents, selector.labels.first()) {
            (Some(handles), _) => {
                for handle in handles {
                    match handle.single() {
                        Some(exact) => self.handles.entry(exact.into()).or_default().push(index),
                        None => {
                            self.lengths.insert(handle.prefix().len());
                            self.prefixes.entry(handle.prefix().into()).or_default().push(index);
                        }
                    }
                }
            }
            (None, Some((name, values))) => {
                let by_value = self.labels.entry(name.as_str().into()).or_default();
                for value in values {
                    by_value.entry(value.as_str().into()).or_default().push(index);
                }
            }
            (None, None) => self.everyone.push(index),
        }
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.policies.iter().map(|policy| &policy.label)).finish()
    }
}
