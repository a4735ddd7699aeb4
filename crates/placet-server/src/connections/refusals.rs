//! How often upstreams have refused the token of a connection that nothing renews, and whom.
//!
//! A refusal (401) may be about the token or about what was asked for, and an agent chooses what it asks for. So what one
//! agent alone is refused says nothing for others who use the connection, unless nobody has had a success for long.
//!
//! Invariant: one agent can't have a connection parked that others use; a token that is worth nothing is found out by
//! [`SURELY`] refusals of whoever else uses it, or after [`LASTING`].

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
/// How long the token of a connection is refused to one agent, while nobody succeeds with it, until that is about the token.
const LASTING: Duration = Duration::from_secs(600);
/// Of how many connections it is noted.
const NOTED: usize = 4096;

/// What was refused since the last success.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<ConnectionId, Refused>>);

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

impl Refusals {
    /// Notes an upstream's answer.
    pub(super) fn heard(&self, connection: &Connection, by: Option<AgentId>, status: u16, now: Instant) {
        let mut all = self.all();
        // A WebSocket that was opened is a success too.
        if status == 101 || (200..300).contains(&status) {
            all.remove(&connection.id);
        }
        if status != UNAUTHORIZED {
            return;
        }
        if all.len() >= NOTED && !all.contains_key(&connection.id) {
            all.clear();
        }
        let first = Refused { generation: connection.generation, times: 0, since: now, by, several: false };
        let noted = all.entry(connection.id).or_insert(first);
        if noted.generation != connection.generation {
            *noted = first;
        }
        noted.times = noted.times.saturating_add(1);
        noted.several |= noted.by != by;
    }

    /// Whether the token of a connection is worth nothing, by all that was heard.
    pub(super) fn are_for_good(&self, connection: &Connection, now: Instant) -> bool {
        let all = self.all();
        let Some(refused) = all.get(&connection.id) else { return false };
        // Who can use it alone takes it from nobody.
        let alone = connection.user.is_none() && connection.agents.iter().map(Some).eq([refused.by.as_ref()]);
        let lasting = now.saturating_duration_since(refused.since) >= LASTING;
        refused.generation == connection.generation
            && refused.times >= SURELY
            && (refused.several || alone || lasting)
    }

    /// Forgets what was refused: there is another token.
    pub(super) fn forget(&self, id: ConnectionId) {
        self.all().remove(&id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ConnectionId, Refused>> {
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

    #[test]
    fn what_one_agent_is_refused_says_nothing_for_others() {
        let (refusals, shared, now) = (Refusals::default(), connection(&[]), Instant::now());
        refused(&refusals, &shared, agent(1), 100, now);
        assert!(!refusals.are_for_good(&shared, now));
        // Another one meets it, or the server itself.
        refused(&refusals, &shared, agent(2), 1, now);
        assert!(refusals.are_for_good(&shared, now));
        refusals.heard(&shared, agent(2), 200, now);
        refused(&refusals, &shared, agent(1), 4, now);
        refused(&refusals, &shared, None, 1, now);
        assert!(refusals.are_for_good(&shared, now));
        // A success is the end of it, and so is another secret.
        refusals.heard(&shared, agent(3), 204, now);
        refused(&refusals, &shared, agent(1), 4, now);
        assert!(!refusals.are_for_good(&shared, now));
        refused(&refusals, &shared, agent(2), 1, now);
        let anew = Connection { generation: 2, ..shared.clone() };
        assert!(refusals.are_for_good(&shared, now) && !refusals.are_for_good(&anew, now));
        refused(&refusals, &anew, agent(2), 1, now);
        assert!(!refusals.are_for_good(&anew, now));
    }

    #[test]
    fn what_nobody_else_uses_or_nobody_can_use_for_long_is_worth_nothing() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let own = connection(&[agent(1)]);
        refused(&refusals, &own, agent(1), 4, now);
        assert!(!refusals.are_for_good(&own, now));
        refused(&refusals, &own, agent(1), 1, now);
        assert!(refusals.are_for_good(&own, now), "it is its alone");
        // One that is named by its grant, and isn't on the list.
        let other = Connection { agents: agent(2).into_iter().collect(), ..own.clone() };
        assert!(!refusals.are_for_good(&other, now));
        let both = connection(&[agent(1), agent(2)]);
        assert!(!refusals.are_for_good(&both, now + LASTING - Duration::from_secs(1)));
        assert!(refusals.are_for_good(&both, now + LASTING));
    }
}
