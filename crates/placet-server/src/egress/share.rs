//! How many tunnels each agent has open, so that none takes the places of all.
//!
//! Invariant: a tunnel counts from before it is opened until it has ended, however it ends.

use placet_core::id::AgentId;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many tunnels one agent may have open.
pub(super) const EACH: usize = 512;

/// The tunnels of each agent that has any.
#[derive(Clone, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<AgentId, usize>>>);

/// One tunnel's place; given up when this is dropped.
pub(super) struct Share {
    shares: Shares,
    agent: AgentId,
}

impl Shares {
    /// A place for one more tunnel of `agent`, if it may have one.
    pub(super) fn take(&self, agent: AgentId) -> Option<Share> {
        let mut open = self.open();
        let count = open.entry(agent).or_default();
        if *count >= EACH {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Share { shares: self.clone(), agent })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<AgentId, usize>> {
        // What is held is a map of numbers, which no panic leaves half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.open();
        if let Some(count) = open.get_mut(&self.agent) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.agent);
            }
        }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shares({} agents)", self.open().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::time::Timestamp;

    #[test]
    fn an_agent_takes_no_more_than_its_share_and_gives_back_what_it_took() {
        let shares = Shares::default();
        let agent = |n: u8| AgentId::from_parts(Timestamp::MAX, [n; 10]);
        let mut taken: Vec<Share> = (0..EACH).filter_map(|_| shares.take(agent(1))).collect();
        assert_eq!(taken.len(), EACH);
        assert!(shares.take(agent(1)).is_none(), "one more");
        assert!(shares.take(agent(2)).is_some(), "another has its own");
        taken.pop();
        taken.extend(shares.take(agent(1)));
        assert_eq!(taken.len(), EACH, "one that has ended makes room");
        drop(taken);
        assert_eq!(shares.open().len(), 0, "who has none takes up nothing");
    }
}
