//! How many grants stand at once, told from a few columns of each: what a status list says of their tokens.
//!
//! A chain is whole and costs its documents; thousands of tokens have nothing to show but a few bits. What counts here is
//! all that a chain's life hangs on but time: a token never outlives its chain by the clock.
//!
//! Invariant: what stands as alive here is a chain that [`super::Chain::assemble`] makes, as long as no link's time is
//! over; what can't be told has ended.

use crate::{agent::AgentState, id::GrantId, task::TaskState};
use std::collections::HashMap;

/// How a grant stands; the worst of its links counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Every link is alive.
    Alive,
    /// An agent of its chain is not active, and may be again.
    Suspended,
    /// Over for good.
    Ended,
}

/// What a link's life hangs on but time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vital {
    /// The grant.
    pub grant: GrantId,
    /// The one that it hangs from.
    pub parent: Option<GrantId>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether the registration of the agent that holds it was.
    pub registration_revoked: bool,
    /// Where that agent is in its life.
    pub agent: AgentState,
    /// The stored state of its task, where it has one.
    pub task: Option<TaskState>,
}

impl Vital {
    fn standing(&self) -> Standing {
        let task_ended = self.task.is_some_and(|task| task != TaskState::Active);
        if self.revoked || self.registration_revoked || task_ended || self.agent == AgentState::Ended {
            Standing::Ended
        } else if self.agent == AgentState::Active {
            Standing::Alive
        } else {
            Standing::Suspended
        }
    }
}

/// Grants with all their ancestors.
#[derive(Debug, Default)]
pub struct Standings(HashMap<GrantId, (Option<GrantId>, Standing)>);

impl FromIterator<Vital> for Standings {
    fn from_iter<I: IntoIterator<Item = Vital>>(vitals: I) -> Self {
        Self(vitals.into_iter().map(|vital| (vital.grant, (vital.parent, vital.standing()))).collect())
    }
}

impl Standings {
    /// How a grant stands, with all that is above it.
    pub fn of(&self, grant: GrantId) -> Standing {
        let (mut at, mut worst) = (Some(grant), Standing::Alive);
        // A grant's depth is a byte: what goes on for longer is no chain.
        for _ in 0..=u8::MAX {
            let Some(id) = at else { return worst };
            let Some((parent, standing)) = self.0.get(&id) else { return Standing::Ended };
            worst = worst.max(*standing);
            at = *parent;
        }
        Standing::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::{Chain, Link},
        grant::Revoked,
        policy::fixture::{NOW, chain, id, spec},
        refusal::Code,
        task::TaskOrigin,
    };
    use proptest::prelude::*;
    use std::sync::Arc;

    const AGENTS: [AgentState; 4] =
        [AgentState::Inactive, AgentState::Active, AgentState::Suspended, AgentState::Ended];
    const TASKS: [TaskState; 4] =
        [TaskState::Active, TaskState::Completed, TaskState::Revoked, TaskState::Expired];

    /// What befalls a link; most of the time nothing.
    #[derive(Debug, Clone)]
    struct Fate {
        revoked: bool,
        registration_revoked: bool,
        agent: AgentState,
        task: TaskState,
    }

    fn fate() -> impl Strategy<Value = Fate> {
        let rarely = || prop::bool::weighted(0.08);
        let agent = prop_oneof![8 => Just(AgentState::Active), 1 => prop::sample::select(AGENTS.to_vec())];
        let task = prop_oneof![12 => Just(TaskState::Active), 1 => prop::sample::select(TASKS.to_vec())];
        (rarely(), rarely(), agent, task).prop_map(|(revoked, registration_revoked, agent, task)| Fate {
            revoked,
            registration_revoked,
            agent,
            task,
        })
    }

    fn struck(link: &Link, fate: &Fate) -> Link {
        let revoked = Revoked { at: NOW, by: "ada".to_owned(), reason: None };
        let (mut grant, mut registration) = ((*link.grant).clone(), (*link.registration).clone());
        let (mut agent, mut task) = ((*link.agent).clone(), link.task.as_deref().unwrap().clone());
        grant.revoked = fate.revoked.then(|| revoked.clone());
        registration.revoked = fate.registration_revoked.then_some(revoked);
        (agent.state, task.state) = (fate.agent, fate.task);
        Link {
            grant: Arc::new(grant),
            agent: Arc::new(agent),
            registration: Arc::new(registration),
            task: Some(Arc::new(task)),
            user: None,
        }
    }

    fn vital(link: &Link) -> Vital {
        Vital {
            grant: link.grant.id,
            parent: link.grant.parent,
            revoked: link.grant.revoked.is_some(),
            registration_revoked: link.registration.revoked.is_some(),
            agent: link.agent.state,
            task: link.task.as_ref().map(|task| task.state),
        }
    }

    proptest! {
        /// The oracle is the chain itself: alive where there is one, suspended where there would be one if its agents were
        /// active, and else over.
        #[test]
        fn it_is_alive_where_there_is_a_chain_and_suspended_where_there_would_be(
            fates in prop::collection::vec(fate(), 1..6),
        ) {
            let specs: Vec<_> = (0..fates.len())
                .map(|n| u8::try_from(n).unwrap())
                .map(|n| spec(n, "a").task(n, TaskOrigin::Agent))
                .collect();
            let links: Vec<Link> =
                chain(&specs).links().iter().zip(&fates).map(|(link, fate)| struck(link, fate)).collect();
            let standings: Standings = links.iter().map(vital).collect();
            let stands = standings.of(links[0].grant.id);
            let as_it_is = Chain::assemble(links.clone(), Vec::new(), NOW);
            let resumed = links.into_iter().map(|mut link| {
                let mut agent = (*link.agent).clone();
                agent.state = agent.state.activate().unwrap_or(agent.state);
                link.agent = Arc::new(agent);
                link
            });
            let expected = match (&as_it_is, Chain::assemble(resumed.collect(), Vec::new(), NOW)) {
                (Ok(_), _) => Standing::Alive,
                (Err(_), Ok(_)) => Standing::Suspended,
                (Err(_), Err(_)) => Standing::Ended,
            };
            prop_assert_eq!(stands, expected);
            if expected == Standing::Suspended {
                prop_assert_eq!(as_it_is.unwrap_err().code, Code::AgentInactive);
            }
        }
    }

    #[test]
    fn what_is_missing_or_goes_round_has_ended() {
        let alive = |grant: u8, parent: Option<u8>| Vital {
            grant: id(grant),
            parent: parent.map(id),
            revoked: false,
            registration_revoked: false,
            agent: AgentState::Active,
            task: None,
        };
        let standings: Standings =
            [alive(1, None), alive(2, Some(1)), alive(3, Some(9)), alive(4, Some(4))].into_iter().collect();
        assert_eq!([1, 2, 3, 4, 5].map(|n| standings.of(id(n))), {
            use Standing::{Alive, Ended};
            [Alive, Alive, Ended, Ended, Ended]
        });
    }
}
