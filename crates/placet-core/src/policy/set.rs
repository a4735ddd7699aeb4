//! All policies in force: one immutable snapshot, with an index by agent.

use super::{Policy, Stage, bind::BoundPolicies};
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
    /// Versions that some agents have instead of those, by name, each once.
    staged: Box<[Staged]>,
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

/// A version of a policy that the agents of a stage have instead of the one that all others have, if there is one.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The version.
    pub policy: Arc<Policy>,
    /// Who has it.
    pub stage: Arc<Stage>,
}

impl PolicySet {
    /// A snapshot of these. Of several with one name the highest version stands.
    pub fn new(policies: Vec<Arc<Policy>>) -> Self {
        Self::with_stages(policies, Vec::new())
    }

    /// A snapshot of these, and of versions that only the agents of a stage have. Of several staged ones with one name
    /// the last stands.
    pub fn with_stages(policies: Vec<Arc<Policy>>, staged: Vec<Staged>) -> Self {
        let mut policies = policies;
        policies.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
        policies.dedup_by(|later, kept| later.name == kept.name);
        let mut inner = Inner::default();
        for (index, policy) in policies.iter().enumerate() {
            inner.add(index, policy);
        }
        let mut staged = staged;
        staged.reverse();
        staged.sort_by(|a, b| a.policy.name.cmp(&b.policy.name));
        staged.dedup_by(|later, kept| later.policy.name == kept.policy.name);
        // They are found as all others are, by numbers behind theirs.
        for (index, staged) in staged.iter().enumerate() {
            inner.add(policies.len() + index, &staged.policy);
        }
        inner.policies = policies.into();
        inner.staged = staged.into();
        Self(Arc::new(inner))
    }

    /// The policies, by name.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.0.policies
    }

    /// The versions that only some agents have, by name.
    pub fn staged(&self) -> &[Staged] {
        &self.0.staged
    }

    /// The policy of this name that all have who are in no stage of it.
    pub fn find(&self, name: &str) -> Option<&Arc<Policy>> {
        let found = self.0.policies.binary_search_by(|policy| (*policy.name).cmp(name)).ok()?;
        self.0.policies.get(found)
    }

    /// The policy of this name at this version, whoever has it.
    pub fn version(&self, name: &str, version: u64) -> Option<&Arc<Policy>> {
        let staged =
            || self.staged().iter().map(|staged| &staged.policy).find(|policy| &*policy.name == name);
        let is = |policy: &&Arc<Policy>| policy.version == version;
        self.find(name).filter(is).or_else(|| staged().filter(is))
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
        let mut found: Vec<Arc<Policy>> = found
            .into_iter()
            .filter_map(|index| inner.had_by(agent, index))
            .filter(|policy| policy.selector.selects(agent))
            .cloned()
            .collect();
        if !inner.staged.is_empty() {
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        found
    }
}

impl Inner {
    /// The version of this number, unless the agent has another one of that policy.
    fn had_by(&self, agent: &Agent, index: usize) -> Option<&Arc<Policy>> {
        match self.policies.get(index) {
            Some(policy) => {
                let found = self.staged.binary_search_by(|staged| staged.policy.name.cmp(&policy.name)).ok();
                let staged = found.and_then(|found| self.staged.get(found));
                (!staged.is_some_and(|staged| staged.stage.has(&policy.name, agent))).then_some(policy)
            }
            None => {
                let staged = self.staged.get(index.checked_sub(self.policies.len())?)?;
                staged.stage.has(&staged.policy.name, agent).then_some(&staged.policy)
            }
        }
    }

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
