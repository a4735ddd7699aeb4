//! Levels of log messages that clients have set for all their requests (`logging/setLevel`), in the revision that has it.
//!
//! There are no sessions at this door, so that a level is that of a grant: of all clients that act with it. It is kept by this node
//! until it stops.
//!
//! Invariant: what is answered as set holds for the requests that follow at this node, until it is set again; what is kept is
//! bounded, and who sets the most levels loses their oldest, and nobody else's.

use placet_core::{
    id::{AgentId, GrantId},
    mcp::Level,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Of how many of its grants levels are kept for an agent.
const OF_AN_AGENT: usize = 64;

/// The levels that are set.
#[derive(Debug, Default)]
pub(crate) struct Levels(Mutex<HashMap<AgentId, VecDeque<(GrantId, Level)>>>);

impl Levels {
    pub(super) fn set(&self, agent: AgentId, grant: GrantId, level: Level) {
        let mut all = self.lock();
        let own = all.entry(agent).or_default();
        own.retain(|(known, _)| *known != grant);
        own.push_back((grant, level));
        if own.len() > OF_AN_AGENT {
            own.pop_front();
        }
    }

    pub(super) fn of(&self, agent: AgentId, grant: GrantId) -> Option<Level> {
        let all = self.lock();
        all.get(&agent)?.iter().find(|(known, _)| *known == grant).map(|(_, level)| *level)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, VecDeque<(GrantId, Level)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::time::Timestamp;

    #[test]
    fn a_level_is_of_a_grant_and_many_of_one_agent_cost_nobody_theirs() {
        let agent = |number: u8| AgentId::from_parts(Timestamp::MAX, [number; 10]);
        let grant = |number: u8| GrantId::from_parts(Timestamp::MAX, [number; 10]);
        let levels = Levels::default();
        levels.set(agent(1), grant(1), Level::Error);
        levels.set(agent(1), grant(1), Level::Debug);
        assert_eq!(levels.of(agent(1), grant(1)), Some(Level::Debug));
        assert_eq!((levels.of(agent(1), grant(2)), levels.of(agent(2), grant(1))), (None, None));
        for number in 0..200 {
            levels.set(agent(2), grant(number), Level::Alert);
        }
        assert_eq!(levels.of(agent(1), grant(1)), Some(Level::Debug));
        assert_eq!(
            (levels.of(agent(2), grant(0)), levels.of(agent(2), grant(199))),
            (None, Some(Level::Alert))
        );
        assert_eq!(levels.lock().values().map(VecDeque::len).sum::<usize>(), 1 + OF_AN_AGENT);
    }
}
