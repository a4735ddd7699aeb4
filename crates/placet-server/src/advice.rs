//! How often an agent may ask what would be decided: each question is judged and recorded, so each costs. And how often
//! its actions may have something looked up at upstream before they are decided: each is a request there.
//!
//! Invariant: one agent's questions never use up another's.

use crate::gcra;
use placet_core::{id::AgentId, time::Timestamp};
use quick_cache::sync::Cache;
use std::{fmt, sync::Arc, sync::Mutex, time::Duration};

/// How many questions may come at once.
const BURST: u32 = 120;
/// How many lookups may come at once.
const LOOKUPS: u32 = 60;
/// How long until one more may come.
const EACH: Duration = Duration::from_millis(100);

/// What each agent has asked lately, on this node.
pub struct Advice {
    slots: Cache<AgentId, Arc<Mutex<Timestamp>>>,
    burst: u32,
}

impl Default for Advice {
    fn default() -> Self {
        Self { slots: Cache::new(16_384), burst: BURST }
    }
}

impl fmt::Debug for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Advice({})", self.slots.len())
    }
}

impl Advice {
    /// None yet, of what is looked up for agents' actions.
    pub(crate) fn of_lookups() -> Self {
        Self { burst: LOOKUPS, ..Self::default() }
    }

    /// Whether the agent may ask now; counts the question where it may.
    pub fn take(&self, agent: AgentId, now: Timestamp) -> bool {
        let slot = self.slots.get(&agent).unwrap_or_else(|| {
            let fresh = Arc::new(Mutex::new(now));
            self.slots.insert(agent, Arc::clone(&fresh));
            fresh
        });
        let Ok(mut paid) = slot.lock() else { return false };
        gcra::take(&mut paid, now, EACH, self.burst).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let (advice, mut now) = (Advice::default(), Timestamp::from_seconds(1000));
        let [one, other] = [1, 2].map(|byte| AgentId::from_parts(now, [byte; 10]));
        assert_eq!((0..500).filter(|_| advice.take(one, now)).count(), BURST as usize);
        assert!(advice.take(other, now));
        for _ in 0..3 {
            now = now.plus(EACH);
            assert!(advice.take(one, now) && !advice.take(one, now));
        }
    }
}
