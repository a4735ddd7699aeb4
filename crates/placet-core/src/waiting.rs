//! Requests for authority that wait for a person elsewhere: device authorization (RFC 8628) and CIBA in poll mode
//! (OpenID Connect CIBA Core 1.0). The client asks, a person consents on another device, the client comes again and again
//! for the answer.
//!
//! Both are one state machine; they differ in how the person finds the request: by a code that the device shows, or
//! because the client named them.
//!
//! Invariant: a request is decided once and its tokens are given once, in whatever order things come; one that is over is
//! never decided, and nothing is given for it.

mod code;

pub use code::UserCode;

use crate::{
    grant::Grant,
    id::{AgentId, RequestId, UserId},
    jose::Thumbprint,
    task::Task,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a client waits between two polls, until it is told to slow down (RFC 8628 §3.2).
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How much longer it waits after each `slow_down` (RFC 8628 §3.5).
pub const SLOWER: Duration = Duration::from_secs(5);
/// What the interval never exceeds here; a client adds what it is told to, and may be slower.
const SLOWEST: Duration = Duration::from_secs(60);
/// A client that keeps the interval may be this much early, for what the network does to it.
const JITTER: Duration = Duration::from_secs(1);
/// How long after a person's yes the client can come for it: until then there is no grant that could be taken back.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(120);
/// The longest `binding_message`, in characters.
pub const MAX_MESSAGE: usize = 128;

/// How the person finds the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Through {
    /// The device shows them a code, which they enter (RFC 8628).
    Device,
    /// The client names them, and they are asked directly (CIBA).
    Backchannel,
}

impl Through {
    /// As it is stored and told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Backchannel => "backchannel",
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a person.
    Pending,
    /// A person said yes; the client has not come for it yet.
    Approved,
    /// A person said no.
    Denied,
    /// The client was given its tokens.
    Taken,
    /// Its agent can't act any more.
    Ended,
    /// Nobody answered in time, or the client did not come in time. Never stored.
    Expired,
}

impl State {
    /// As it is stored and told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Taken => "taken",
            Self::Ended => "ended",
            Self::Expired => "expired",
        }
    }
}

/// When the client may ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it waits between two polls.
    pub interval: Duration,
    /// The earliest time of the next.
    pub next: Timestamp,
}

impl Pace {
    /// Of a request that was made at `now`: the first poll may come at once.
    pub const fn new(now: Timestamp) -> Self {
        Self { interval: INTERVAL, next: now }
    }

    /// A poll at `now`: whether it keeps to the pace, and the pace from then on.
    #[must_use]
    pub fn polled(self, now: Timestamp) -> (bool, Self) {
        // Where the next poll is further away than the interval, a clock went back: that holds nobody up.
        let early = now.plus(JITTER) < self.next && self.next <= now.plus(self.interval);
        let interval = if early { (self.interval + SLOWER).min(SLOWEST) } else { self.interval };
        (!early, Self { interval, next: now.plus(interval) })
    }
}

/// What was asked, and by whom, as it stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The client's id on the wire.
    pub client_id: String,
    /// What it asks for, as a query.
    pub query: String,
    /// The key that whoever comes for the tokens has to prove to hold (RFC 9449 §10).
    #[serde(default)]
    pub key: Option<Thumbprint>,
    /// The address that it asked from.
    #[serde(default)]
    pub from: Option<String>,
    /// What it says that the person can recognise the request by (`binding_message`).
    #[serde(default)]
    pub message: Option<String>,
}

/// What a person has consented to: made when the client comes for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consented {
    /// The root grant.
    pub grant: Grant,
    /// Its task.
    pub task: Task,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name; it opens nothing.
    pub id: RequestId,
    /// How the person finds it.
    pub through: Through,
    /// The agent that asks, or the one that the client would be.
    pub agent: AgentId,
    /// The person who is asked: the one that the client named, or who entered the code last.
    pub user: Option<UserId>,
    /// What was asked.
    pub asked: Asked,
    /// What became of it, as it was stored; see [`Waiting::state_at`].
    pub state: State,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When a person decided on it.
    pub decided: Option<Timestamp>,
    /// When the client may ask next.
    pub pace: Pace,
}

/// What a poll is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has answered (`authorization_pending`).
    Pending(Pace),
    /// Nobody has answered, and the client asks too often (`slow_down`).
    SlowDown(Pace),
    /// A person said yes: the tokens are there, for the first that comes.
    Ready,
    /// A person said no (`access_denied`).
    Denied,
    /// The agent could not act any more, for a while or for good (`access_denied`).
    Ended,
    /// Its time is over (`expired_token`).
    Expired,
    /// The tokens were given before (`invalid_grant`).
    Taken,
}

impl Waiting {
    /// What became of it, as of `now`.
    pub fn state_at(&self, now: Timestamp) -> State {
        let end = match (self.state, self.decided) {
            (State::Approved, Some(decided)) => decided.plus(TAKEN_WITHIN),
            (State::Pending | State::Approved, _) => self.expires,
            (state, _) => return state,
        };
        if now < end { self.state } else { State::Expired }
    }

    /// What a poll at `now` is answered with.
    pub fn polled(&self, now: Timestamp) -> Answer {
        match self.state_at(now) {
            State::Pending => match self.pace.polled(now) {
                (true, pace) => Answer::Pending(pace),
                (false, pace) => Answer::SlowDown(pace),
            },
            // Whoever waited long enough for a person does not wait for a clock.
            State::Approved => Answer::Ready,
            State::Denied => Answer::Denied,
            State::Taken => Answer::Taken,
            State::Ended => Answer::Ended,
            State::Expired => Answer::Expired,
        }
    }
}

#[cfg(test)]
mod tests;
