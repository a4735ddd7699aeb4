//! How often upstreams have refused the token of a connection that nothing renews, and whom.
//!
//! A refusal (401) may be about the token or about what was asked for, and an agent chooses what it asks for. So what one
//! agent alone is refused says nothing for others who use the connection, however often and for however long. Where nobody
//! else does, nothing is taken from anybody.
//!
//! Invariant: one agent can't have a connection parked that others use; a token that is worth nothing is found out by
//! [`SURELY`] refusals of whoever else uses it, or, where nobody else has for [`USED`], after [`LASTING`].

use super::UNAUTHORIZED;
use placet_core::id::{AgentId, ConnectionId};
use placet_store::connections::Connection;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many refusals in a row, without a success between them, mean that a token is worth nothing, where no upstream says so.
const SURELY: u32 = 5;
/// How long the token of a connection is refused to the one agent that uses it, until that is about the token.
const LASTING: Duration = Duration::from_secs(600);
/// How long a success means that somebody uses a connection.
pub(super) const USED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it is believed that the store knows somebody who does.
const TOLD: Duration = Duration::from_secs(600);
/// Of how many connections it is noted.
const NOTED: usize = 4096;

/// What was refused since the last success, and who has had successes.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    refused: HashMap<ConnectionId, Refused>,
    used: HashMap<ConnectionId, Used>,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    /// The number of the secret that the token came with.
    generation: u64,
    times: u32,
    since: Instant,
    /// Whom first: an agent, or the server by itself.
    by: Option<AgentId>,
    /// Whether another one as well.
    several: bool,
}

/// Who has used a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Who last, and when.
    last: Option<(Option<AgentId>, Instant)>,
    /// When last somebody else than that one.
    other: Option<Instant>,
    /// When the store last knew somebody else than whoever is refused.
    told: Option<Instant>,
}

impl Used {
    fn by_another_than(&self, by: Option<AgentId>, now: Instant) -> bool {
        let within = |at: Instant, time| now.saturating_duration_since(at) < time;
        self.last.is_some_and(|(last, at)| last != by && within(at, USED))
            || self.other.is_some_and(|at| within(at, USED))
            || self.told.is_some_and(|at| within(at, TOLD))
    }
}

/// What the token of a connection is worth, by all that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Perhaps something.
    Unsure,
    /// Nothing.
    Nothing,
    /// Nothing, unless somebody else than this agent uses the connection.
    NothingTo(AgentId),
}

impl Refusals {
    /// Notes an upstream's answer.
    pub(super) fn heard(&self, connection: &Connection, by: Option<AgentId>, status: u16, now: Instant) {
        let mut all = self.all();
        // A WebSocket that was opened is a success too.
        if status == 101 || (200..300).contains(&status) {
            all.refused.remove(&connection.id);
            if all.used.len() >= NOTED && !all.used.contains_key(&connection.id) {
                all.used.clear();
            }
            let used = all.used.entry(connection.id).or_default();
            if let Some((_, at)) = used.last.filter(|(last, _)| *last != by) {
                used.other = Some(at);
            }
            used.last = Some((by, now));
        }
        if status != UNAUTHORIZED {
            return;
        }
        if all.refused.len() >= NOTED && !all.refused.contains_key(&connection.id) {
            all.refused.clear();
        }
        let first = Refused { generation: connection.generation, times: 0, since: now, by, several: false };
        let noted = all.refused.entry(connection.id).or_insert(first);
        if noted.generation != connection.generation {
            *noted = first;
        }
        noted.times = noted.times.saturating_add(1);
        noted.several |= noted.by != by;
    }

    /// What the token of a connection is worth, by all that was heard, where an upstream `says` that it is not valid, or
    /// merely refuses it.
    pub(super) fn worth(&self, connection: &Connection, says: bool, now: Instant) -> Worth {
        let all = self.all();
        let Some(refused) = all.refused.get(&connection.id) else { return Worth::Unsure };
        if refused.generation != connection.generation || (refused.times < SURELY && !says) {
            return Worth::Unsure;
        }
        // Who can use it alone takes it from nobody.
        let alone = connection.user.is_none() && connection.agents.iter().map(Some).eq([refused.by.as_ref()]);
        let Some(by) = refused.by.filter(|_| !refused.several && !alone) else { return Worth::Nothing };
        let used = all.used.get(&connection.id).is_some_and(|used| used.by_another_than(refused.by, now));
        let lasting = now.saturating_duration_since(refused.since) >= LASTING;
        if (lasting || says) && !used { Worth::NothingTo(by) } else { Worth::Unsure }
    }

    /// Notes that somebody else than whoever is refused uses a connection, as the store knows.
    pub(super) fn used_by_another(&self, id: ConnectionId, now: Instant) {
        self.all().used.entry(id).or_default().told = Some(now);
    }

    /// Forgets what was refused: there is another token.
    pub(super) fn forget(&self, id: ConnectionId) {
        self.all().refused.remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::{call::Auth, time::Timestamp};
    use placet_store::connections::ConnectionState;

    fn agent(n: u8) -> Option<AgentId> {
        Some(AgentId::from_parts(Timestamp::MAX, [n; 10]))
    }

    fn connection(agents: &[Option<AgentId>]) -> Connection {
        Connection {
            id: ConnectionId::from_parts(Timestamp::MAX, [7; 10]),
            name: "crm".into(),
            service: "crm".into(),
            user: None,
            agents: agents.iter().copied().flatten().collect(),
            auth: Auth::Bearer,
            generation: 1,
            state: ConnectionState::Active,
            attention: None,
            created: Timestamp::MAX,
            made_by: "admin-token".into(),
            reference: None,
        }
    }

    fn refused(refusals: &Refusals, connection: &Connection, by: Option<AgentId>, times: u32, now: Instant) {
        (0..times).for_each(|_| refusals.heard(connection, by, UNAUTHORIZED, now));
    }

    fn is_worthless(refusals: &Refusals, connection: &Connection, now: Instant) -> bool {
        refusals.worth(connection, false, now) == Worth::Nothing
    }

    #[test]
    fn what_one_agent_is_refused_says_nothing_for_others() {
        let (refusals, shared, now) = (Refusals::default(), connection(&[]), Instant::now());
        refused(&refusals, &shared, agent(1), 100, now);
        assert_eq!(refusals.worth(&shared, false, now), Worth::Unsure);
        // Another one meets it, or the server itself.
        refused(&refusals, &shared, agent(2), 1, now);
        assert!(is_worthless(&refusals, &shared, now));
        refusals.heard(&shared, agent(2), 200, now);
        refused(&refusals, &shared, agent(1), 4, now);
        refused(&refusals, &shared, None, 1, now);
        assert!(is_worthless(&refusals, &shared, now));
        // A success is the end of it, and so is another secret.
        refusals.heard(&shared, agent(3), 204, now);
        refused(&refusals, &shared, agent(1), 4, now);
        assert!(!is_worthless(&refusals, &shared, now));
        refused(&refusals, &shared, agent(2), 1, now);
        let anew = Connection { generation: 2, ..shared.clone() };
        assert!(is_worthless(&refusals, &shared, now) && !is_worthless(&refusals, &anew, now));
        refused(&refusals, &anew, agent(2), 1, now);
        assert!(!is_worthless(&refusals, &anew, now));
    }

    #[test]
    fn one_agent_is_not_believed_for_others_however_long_it_goes_on() {
        let (refusals, shared, now) = (Refusals::default(), connection(&[]), Instant::now());
        let later = now + LASTING;
        refused(&refusals, &shared, agent(1), 5, now);
        // Nobody else is known to this node: the store may know somebody.
        assert_eq!(refusals.worth(&shared, false, later), Worth::NothingTo(agent(1).unwrap()));
        assert_eq!(refusals.worth(&shared, false, later - Duration::from_secs(1)), Worth::Unsure);
        refusals.used_by_another(shared.id, later);
        assert_eq!(refusals.worth(&shared, false, later), Worth::Unsure);
        assert_ne!(refusals.worth(&shared, false, later + TOLD), Worth::Unsure, "it is asked again");
        // Somebody has used it once within the time, before or after successes of the one that is refused.
        for order in [[2, 1], [1, 2]] {
            let refusals = Refusals::default();
            for by in order {
                refusals.heard(&shared, agent(by), 200, now);
            }
            refused(&refusals, &shared, agent(1), 100, now);
            for says in [false, true] {
                assert_eq!(refusals.worth(&shared, says, later), Worth::Unsure);
                assert_ne!(refusals.worth(&shared, says, now + USED), Worth::Unsure, "it no longer does");
            }
            refused(&refusals, &shared, agent(2), 1, later);
            assert_eq!(refusals.worth(&shared, false, later), Worth::Nothing, "it meets the same");
        }
        // What it alone has used.
        let refusals = Refusals::default();
        refusals.heard(&shared, agent(1), 200, now);
        refused(&refusals, &shared, agent(1), 1, now);
        assert_eq!(refusals.worth(&shared, false, later), Worth::Unsure);
        assert_eq!(
            refusals.worth(&shared, true, now),
            Worth::NothingTo(agent(1).unwrap()),
            "upstream says so"
        );
    }

    #[test]
    fn what_nobody_else_can_use_is_worth_nothing() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let own = connection(&[agent(1)]);
        refused(&refusals, &own, agent(1), 4, now);
        assert!(!is_worthless(&refusals, &own, now));
        refused(&refusals, &own, agent(1), 1, now);
        assert!(is_worthless(&refusals, &own, now), "it is its alone");
        // One that is named by its grant, and isn't on the list.
        let other = Connection { agents: agent(2).into_iter().collect(), ..own.clone() };
        assert!(!is_worthless(&refusals, &other, now));
        assert!(!is_worthless(&refusals, &connection(&[agent(1), agent(2)]), now));
    }
}
