//! How much of something each agent has on this node, so that none takes the places of all: connections at the egress door,
//! tunnels and others, and actions that are under way.
//!
//! Invariant: a place counts until it is dropped, however what took it ends. A tunnel takes one before it is opened, another
//! connection with the first request that it could carry out, an action before anything is reserved for it.

use crate::problem::Problem;
use placet_core::{id::AgentId, refusal::Code};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many places one agent may have.
pub(crate) const EACH: usize = 512;

/// How many each agent has that has any.
#[derive(Clone)]
pub(crate) struct Shares {
    taken: Arc<Mutex<HashMap<AgentId, usize>>>,
    /// What they are places of.
    of: &'static str,
}

/// The place of one; given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    agent: AgentId,
}

impl Shares {
    /// Of what they are, as agents are told.
    pub(crate) fn of(of: &'static str) -> Self {
        Self { taken: Arc::default(), of }
    }

    /// One more place of `agent`, if it may have one.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub(crate) fn take(&self, agent: AgentId) -> Result<Share, Problem> {
        let mut open = self.open();
        let count = open.entry(agent).or_default();
        if *count >= EACH {
            let detail = format!("an agent may have {EACH} {} at once, with the agents below it", self.of);
            return Err(Problem::of(Code::TooManyRequests, detail));
        }
        *count += 1;
        drop(open);
        Ok(Share { shares: self.clone(), agent })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<AgentId, usize>> {
        // What is held is a map of numbers, which no panic leaves half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Whose it is.
    pub(crate) fn agent(&self) -> AgentId {
        self.agent
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
        let shares = Shares::of("things open here");
        let agent = |n: u8| AgentId::from_parts(Timestamp::MAX, [n; 10]);
        let mut taken: Vec<Share> = (0..EACH).filter_map(|_| shares.take(agent(1)).ok()).collect();
        assert_eq!(taken.len(), EACH);
        assert!(shares.take(agent(1)).is_err(), "one more");
        assert!(shares.take(agent(2)).is_ok(), "another has its own");
        taken.pop();
        taken.extend(shares.take(agent(1)));
        assert_eq!(taken.len(), EACH, "one that has ended makes room");
        drop(taken);
        assert_eq!(shares.open().len(), 0, "who has none takes up nothing");
    }
}
