//! What the calls of one agent say of an upstream that others use as well.
//!
//! Who asks chooses what is asked: a query that takes too long, a path at which the upstream stumbles. So what comes of
//! the calls of one agent opens a breaker of its own, and the one of all only along with what others meet: of each agent
//! [`SHARE`] failures count there, since the last answer that was good and within [`SPAN`]. That nothing could be reached is
//! nobody's choice, and counts whole.
//!
//! Whoever tries whether it is there again, and takes its time, does not try a second time meanwhile: the next one is
//! somebody else.
//!
//! Invariant: the failures of one agent alone never keep another one from an upstream that can be reached, nor does its
//! silence for longer than [`TRIAL`](super::breaker::TRIAL).

use super::breaker::{Breaker, Entry, Outcome, State, TRYING};
use placet_core::id::AgentId;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How many failures of one agent count for all.
pub(super) const SHARE: u32 = 2;
/// Within which time, where answers that are good come between.
pub(super) const SPAN: Duration = Duration::from_secs(10);
/// Of how many agents it is known what they meet. Those beyond share what is known of the server's own calls.
pub(super) const AGENTS: usize = 1024;
/// How long it is known of who asks nothing.
const KEPT: Duration = Duration::from_secs(120);

/// Who asks: an agent, or the server by itself.
pub(super) type Party = Option<AgentId>;

/// The breakers of one upstream.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    all: Breaker,
    own: HashMap<Party, Own>,
    /// How many answers were good.
    good: u64,
}

/// What is known of one that asks.
#[derive(Debug)]
struct Own {
    breaker: Breaker,
    asked: Instant,
    /// How many of its failures counted for all since there were so many good answers.
    row: (u64, u32),
    /// And since then.
    span: (Instant, u32),
    /// Whether it tries for all, and nothing has come of that yet.
    trying: bool,
}

/// How a call was let in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    by: Party,
    all: Entry,
    own: Entry,
}

impl Breakers {
    /// Lets a call in, or says when to come again.
    pub(super) fn enter(&mut self, by: Party, now: Instant) -> Result<Entered, Duration> {
        let by = self.known(by, now);
        if let Some(retry_after) = self.closed_for(by, now) {
            return Err(retry_after);
        }
        let all = self.all.enter(now)?;
        let own = self.own.entry(by).or_insert_with(|| Own {
            breaker: Breaker::default(),
            asked: now,
            row: (0, 0),
            span: (now, 0),
            trying: false,
        });
        own.asked = now;
        match own.breaker.enter(now) {
            Ok(entry) => {
                own.trying |= matches!(all, Entry::Trial(_));
                Ok(Entered { by, all, own: entry })
            }
            // Whose breaker this is shared with others.
            Err(retry_after) => {
                self.all.conclude(all, Outcome::Nothing, now);
                Err(retry_after)
            }
        }
    }

    /// Under whom it is noted what this one meets.
    fn known(&mut self, by: Party, now: Instant) -> Party {
        if self.own.len() >= AGENTS && !self.own.contains_key(&by) {
            self.own.retain(|_, own| own.trying || now.saturating_duration_since(own.asked) < KEPT);
            if self.own.len() >= AGENTS {
                return None;
            }
        }
        by
    }

    /// For how long nothing of this one is let in; `None` where the next call is.
    pub(super) fn closed_for(&self, by: Party, now: Instant) -> Option<Duration> {
        let Some(own) = self.own.get(&by) else { return self.all.closed_for(now) };
        let tries = own.trying && self.all.state(now) == State::HalfOpen;
        self.all.closed_for(now).max(own.breaker.closed_for(now)).max(tries.then_some(TRYING))
    }

    /// For how long nothing of anybody is.
    pub(super) fn closed_for_all(&self, now: Instant) -> Option<Duration> {
        self.all.closed_for(now)
    }

    /// What it is for all.
    pub(super) fn state(&self, now: Instant) -> State {
        self.all.state(now)
    }

    /// How many are not let in for what they themselves have met.
    pub(super) fn kept_away(&self, now: Instant) -> usize {
        self.own.values().filter(|own| own.breaker.state(now) != State::Closed).count()
    }

    /// Of how many it is known what they meet.
    #[cfg(test)]
    pub(super) fn known_of(&self) -> usize {
        self.own.len()
    }

    /// Notes what came of a call that was let in.
    pub(super) fn conclude(&mut self, entered: Entered, outcome: Outcome, now: Instant) {
        let Entered { by, all, own: entry } = entered;
        let (for_all, for_own) = match outcome {
            Outcome::Good => {
                self.good = self.good.wrapping_add(1);
                (outcome, outcome)
            }
            Outcome::Nothing => (outcome, outcome),
            Outcome::Unreached => (Outcome::Silence, Outcome::Nothing),
            Outcome::Error | Outcome::Silence => {
                // A trial too: who has failed its share already doesn't keep the others away, and the next one tries.
                let counts = self.counts_for_all(by, now);
                (if counts { outcome } else { Outcome::Nothing }, outcome)
            }
        };
        self.all.conclude(all, for_all, now);
        if let Some(own) = self.own.get_mut(&by) {
            own.trying &= !matches!(all, Entry::Trial(_));
            own.breaker.conclude(entry, for_own, now);
        }
    }

    /// Whether one more failure of this one counts for all.
    fn counts_for_all(&mut self, by: Party, now: Instant) -> bool {
        let Some(own) = self.own.get_mut(&by) else { return false };
        if own.row.0 != self.good {
            own.row = (self.good, 0);
        }
        if now.saturating_duration_since(own.span.0) >= SPAN {
            own.span = (now, 0);
        }
        let counts = own.row.1 < SHARE && own.span.1 < SHARE;
        if counts {
            own.row.1 = own.row.1.saturating_add(1);
            own.span.1 = own.span.1.saturating_add(1);
        }
        counts
    }
}
