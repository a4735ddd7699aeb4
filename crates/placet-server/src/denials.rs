//! Refusals in the record. Equal ones within [`COALESCED_OVER`] are one entry with a count; an agent that is refused ever
//! different requests has [`EACH`] entries in that time, with the agents below it, and the rest is counted by its first code:
//! the record grows with what agents are, not with how often they ask for what they may not.
//!
//! Invariant: every refusal is in an entry or in a durable count before it is answered.

use crate::{app::App, problem::Problem};
use placet_core::{chain::Chain, id::AgentId, record::Envelope, secret::sha256, time::Timestamp};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long equal refusals are counted into one entry of the record.
const COALESCED_OVER: Duration = Duration::from_secs(60);
/// How many different refusals of one agent have entries of their own in that time, on each node.
const EACH: usize = 256;
/// From how many agents on those that were refused nothing lately are looked for, to be forgotten.
const REMEMBERED: usize = 4096;

/// Which refusals of each agent have entries of their own.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<Owns>);

#[derive(Debug, Default)]
struct Owns {
    of: HashMap<AgentId, Own>,
    /// How many were left after the last look.
    left: usize,
}

#[derive(Debug)]
struct Own {
    since: Timestamp,
    keys: HashSet<[u8; 32]>,
}

impl Own {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back ends it, too.
        now < self.since || self.since.plus(COALESCED_OVER) <= now
    }
}

impl Denials {
    /// Whether a refusal has an entry of its own, or the count of one.
    fn is_told_apart(&self, agent: AgentId, key: [u8; 32], now: Timestamp) -> bool {
        // What is held is a set of keys, which no panic leaves half changed.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each look has at least as many newcomers to pay for it as it finds agents.
        if all.of.len() >= REMEMBERED.max(2 * all.left) {
            all.of.retain(|_, own| !own.is_over(now));
            all.left = all.of.len();
        }
        let own = all.of.entry(agent).or_insert_with(|| Own { since: now, keys: HashSet::new() });
        if own.is_over(now) {
            *own = Own { since: now, keys: HashSet::new() };
        }
        own.keys.contains(&key) || (own.keys.len() < EACH && own.keys.insert(key))
    }
}

impl App {
    /// Records the refusal that `envelope` and `body` tell of. Equal ones have the same `key`, a digest of all that they
    /// state but their time. Its body is kept until `kept`, where that is not the installation's default.
    ///
    /// # Errors
    /// What the store met, and `internal` where the entry can't be sealed.
    pub(crate) async fn record_denial(
        &self,
        chain: &Chain,
        key: [u8; 32],
        (envelope, body): (Envelope, &Value),
        kept: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let (key, entry) = if self.denials.is_told_apart(chain.root_agent(), key, now) {
            (key, self.prepare(envelope, Some(body))?)
        } else {
            let code = envelope.codes.first().cloned();
            let grant = chain.leaf().grant.id.to_string();
            let key =
                sha256(&[b"more ", grant.as_bytes(), b" ", code.as_deref().unwrap_or_default().as_bytes()]);
            let body = json!({
                "more": format!("different requests, refused after {EACH} others that have entries of their own"),
            });
            (key, self.prepare(further(envelope), Some(&body))?)
        };
        Ok(self.store.append_denial(key, entry.kept_until(kept), now, COALESCED_OVER).await?)
    }
}

/// What an entry says that stands for refusals of different requests: whose they were and why, not of what.
fn further(envelope: Envelope) -> Envelope {
    Envelope {
        action: None,
        service: None,
        connection: None,
        rule: None,
        policies: Vec::new(),
        approval: None,
        codes: envelope.codes.into_iter().take(1).collect(),
        ..envelope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u8) -> AgentId {
        AgentId::from_parts(Timestamp::from_seconds(1), [number; 10])
    }

    fn key(number: usize) -> [u8; 32] {
        sha256(&[&number.to_be_bytes()])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_000_000 + seconds)
    }

    #[test]
    fn so_many_different_ones_in_a_minute_and_equal_ones_always() {
        let denials = Denials::default();
        let told = |number, seconds| denials.is_told_apart(agent(1), key(number), at(seconds));
        assert!((0..EACH).all(|number| told(number, 0)));
        assert!(!told(EACH, 1), "one more");
        assert!((0..EACH).all(|number| told(number, 59)), "these have entries");
        assert!(denials.is_told_apart(agent(2), key(EACH), at(59)), "another agent has its own");
        assert!(told(EACH, 60), "the next minute");
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_counted_for_ever() {
        let denials = Denials::default();
        assert!((0..EACH).all(|number| denials.is_told_apart(agent(1), key(number), at(1000))));
        assert!(denials.is_told_apart(agent(1), key(EACH), at(0)));
    }

    #[test]
    fn agents_that_are_refused_nothing_any_more_are_forgotten() {
        let denials = Denials::default();
        let many = |from: u32, seconds| {
            for number in from..from + u32::try_from(REMEMBERED).unwrap() {
                let mut entropy = [0; 10];
                entropy[..4].copy_from_slice(&number.to_be_bytes());
                let agent = AgentId::from_parts(Timestamp::from_seconds(1), entropy);
                assert!(denials.is_told_apart(agent, key(0), at(seconds)));
            }
        };
        many(0, 0);
        many(1_000_000, 60);
        assert_eq!(denials.0.lock().unwrap().of.len(), REMEMBERED);
    }
}
