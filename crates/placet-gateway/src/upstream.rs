//! What one upstream can take: how many calls are under way at once, how many wait for their turn and for how long, and
//! whether it answers at all, anybody or this very agent ([`Breakers`]).
//!
//! Each upstream has its own, so that a slow one has its own queue and nobody else's, and one that is down costs a look at a
//! clock. Whoever wants to send [enters](Upstream::enter) before anything is reserved for the call, and says afterwards what
//! came of it.
//!
//! Invariant: turns come in the order in which they were asked for; nobody waits longer than they were told; an upstream
//! that is tried again is tried by one call at a time.

mod breaker;
mod parties;

use crate::{
    failure::{NotSent, Unknown, UpstreamFailure},
    response::{ResponseBody, UpstreamResponse},
};
pub use breaker::{Outcome, State};
use parties::{Breakers, Entered};
use placet_core::{id::AgentId, service::Kind};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// How many calls to one upstream are under way at once, where nobody says otherwise.
pub const CONCURRENCY: usize = 256;
/// How many wait for their turn for each that may be under way.
const WAITING_EACH: usize = 4;
/// How long one waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// When to come again, where too many wait.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// Every upstream, by the name of its service.
#[derive(Debug, Default)]
pub struct Upstreams(RwLock<HashMap<String, Arc<Upstream>>>);

/// How one upstream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The name of its service.
    pub service: String,
    /// Whether it is asked.
    pub state: State,
    /// When it is tried again, where it isn't asked.
    pub retry_after: Option<Duration>,
    /// How many calls are under way.
    pub under_way: usize,
    /// How many wait for their turn.
    pub waiting: usize,
    /// How many may be under way.
    pub concurrency: usize,
    /// How many were turned away because too many waited, or for too long.
    pub busy: u64,
    /// How many were turned away because it didn't answer.
    pub broken: u64,
    /// How many agents are turned away because it didn't answer them.
    pub kept_away: usize,
}

/// One upstream.
#[derive(Debug)]
pub struct Upstream {
    concurrency: usize,
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    wait: Duration,
    health: Arc<Health>,
}

/// What stays of an upstream when its service is changed.
#[derive(Debug, Default)]
struct Health {
    breakers: Mutex<Breakers>,
    busy: AtomicU64,
    broken: AtomicU64,
}

/// Why nothing is sent now. Nothing was reserved, nor will it be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnedAway {
    /// Too many calls wait for it, or this one has waited too long.
    #[error("too many calls to this upstream are under way: try again later")]
    Busy {
        /// When to come again.
        retry_after: Duration,
    },
    /// It hasn't answered, and is not asked until it is tried again.
    #[error("this upstream has not answered of late, and is not asked until it is tried again")]
    Broken {
        /// When to come again.
        retry_after: Duration,
    },
}

/// A turn. It ends when this is dropped; what came of it is said before that.
#[derive(Debug)]
pub struct Slot {
    health: Arc<Health>,
    entered: Entered,
    concluded: bool,
    /// Whether it took time to get it.
    waited: bool,
    _permit: OwnedSemaphorePermit,
}

impl Upstreams {
    /// The upstream of a service, that takes so many calls at once.
    pub fn of(&self, service: &str, concurrency: Option<usize>) -> Arc<Upstream> {
        let concurrency = concurrency.unwrap_or(CONCURRENCY).max(1);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(service).cloned();
        if let Some(known) = known.filter(|known| known.concurrency == concurrency) {
            return known;
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(service);
        if let Some(known) = before.filter(|known| known.concurrency == concurrency) {
            return Arc::clone(known);
        }
        // Calls that are under way by what was stated before end by that.
        let health = before.map(|known| Arc::clone(&known.health)).unwrap_or_default();
        let upstream = Arc::new(Upstream::new(concurrency, WAIT, health));
        all.insert(service.to_owned(), Arc::clone(&upstream));
        upstream
    }

    /// How each stands, in the order of their names.
    pub fn standing(&self) -> Vec<Standing> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut standing: Vec<Standing> =
            all.iter().map(|(name, upstream)| upstream.standing(name)).collect();
        standing.sort_by(|one, other| one.service.cmp(&other.service));
        standing
    }
}

impl Upstream {
    fn new(concurrency: usize, wait: Duration, health: Arc<Health>) -> Self {
        Self {
            concurrency,
            room: Arc::new(Semaphore::new(concurrency)),
            waiting: AtomicUsize::new(0),
            wait,
            health,
        }
    }

    /// Takes a turn, when it comes, for an agent, or for the server itself.
    ///
    /// # Errors
    /// [`TurnedAway`].
    pub async fn enter(&self, by: Option<AgentId>) -> Result<Slot, TurnedAway> {
        // Nobody waits for what isn't asked anyway.
        if let Some(retry_after) = self.health.breakers().closed_for(by, Instant::now()) {
            return Err(self.broken(retry_after));
        }
        let (permit, waited) = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => (self.turn().await?, true),
        };
        // While it waited things may have changed.
        let entered = self.health.breakers().enter(by, Instant::now());
        let entered = entered.map_err(|retry_after| self.broken(retry_after))?;
        Ok(Slot { health: Arc::clone(&self.health), entered, concluded: false, waited, _permit: permit })
    }

    /// Waits for a turn.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, TurnedAway> {
        let busy = || {
            self.health.busy.fetch_add(1, Ordering::Relaxed);
            TurnedAway::Busy { retry_after: BUSY_FOR }
        };
        let waiting = Waiting::join(&self.waiting, self.concurrency.saturating_mul(WAITING_EACH));
        let _waiting = waiting.ok_or_else(busy)?;
        let turn = timeout(self.wait, Arc::clone(&self.room).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(busy)
    }

    fn broken(&self, retry_after: Duration) -> TurnedAway {
        self.health.broken.fetch_add(1, Ordering::Relaxed);
        TurnedAway::Broken { retry_after }
    }

    /// How it stands.
    pub fn standing(&self, service: &str) -> Standing {
        let now = Instant::now();
        let breakers = self.health.breakers();
        Standing {
            service: service.to_owned(),
            state: breakers.state(now),
            retry_after: breakers.closed_for_all(now),
            under_way: self.concurrency.saturating_sub(self.room.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
            concurrency: self.concurrency,
            busy: self.health.busy.load(Ordering::Relaxed),
            broken: self.health.broken.load(Ordering::Relaxed),
            kept_away: breakers.kept_away(now),
        }
    }
}

impl Health {
    fn breakers(&self) -> std::sync::MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue.
struct Waiting<'u>(&'u AtomicUsize);

impl<'u> Waiting<'u> {
    fn join(count: &'u AtomicUsize, most: usize) -> Option<Self> {
        let joined = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < most).then(|| waiting.saturating_add(1))
        });
        joined.ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Whether others were before it: then time has passed.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Says what came of it, by the answer of an upstream of this kind or what came instead, and ends the turn.
    pub fn conclude(self, kind: Kind, sent: Result<&UpstreamResponse, &UpstreamFailure>) {
        let outcome = match (kind, sent) {
            (Kind::Postgres, Ok(response)) => of_database(&response.body),
            (_, sent) => outcome(sent.map(|response| response.status)),
        };
        self.end(outcome);
    }

    /// The same where only the status has come yet.
    pub fn conclude_begun(self, sent: Result<u16, &UpstreamFailure>) {
        self.end(outcome(sent));
    }

    fn end(mut self, outcome: Outcome) {
        self.concluded = true;
        self.health.breakers().conclude(self.entered, outcome, Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.concluded {
            self.health.breakers().conclude(self.entered, Outcome::Nothing, Instant::now());
        }
    }
}

/// What the answer of a database says about it. That another transaction was in the way, that a statement took too long or
/// does not fit is about the statement; that it lacks resources, stops or is broken is about the database.
fn of_database(body: &ResponseBody) -> Outcome {
    let sqlstate = match body {
        ResponseBody::Json(body) => body.pointer("/error/sqlstate").and_then(Value::as_str),
        ResponseBody::Text(_) | ResponseBody::Bytes(_) => None,
    };
    match sqlstate {
        Some(code) if ["53", "57P", "58", "F0", "XX"].iter().any(|class| code.starts_with(class)) => {
            Outcome::Error
        }
        _ => Outcome::Good,
    }
}

/// What an answer, or none, says about the upstream.
fn outcome(sent: Result<u16, &UpstreamFailure>) -> Outcome {
    match sent {
        // What it doesn't do at all, it does not do in good health either.
        Ok(501) => Outcome::Good,
        Ok(500..) => Outcome::Error,
        Ok(_) | Err(UpstreamFailure::Answered { .. }) => Outcome::Good,
        // It does answer, though not what was asked.
        Err(UpstreamFailure::Unknown { reason: Unknown::NoAnswer, .. }) => Outcome::Good,
        // A certificate that is refused is one connection's, and others have theirs.
        // That somebody did not wait says nothing of it either.
        Err(UpstreamFailure::Unknown { reason: Unknown::Identity | Unknown::CalledOff, .. }) => {
            Outcome::Nothing
        }
        Err(UpstreamFailure::Unknown { .. }) => Outcome::Silence,
        Err(UpstreamFailure::NotSent { reason, .. }) => match reason {
            NotSent::NotResolved | NotSent::Unreachable | NotSent::Certificate | NotSent::TimedOut => {
                Outcome::Unreached
            }
            // It may be about the certificate that one connection shows.
            NotSent::Handshake | NotSent::Tls => Outcome::Error,
            NotSent::BadCall
            | NotSent::Credential(_)
            | NotSent::Forbidden(_)
            | NotSent::Metadata
            | NotSent::Identity
            | NotSent::NotListed
            | NotSent::CalledOff
            | NotSent::NoSession
            | NotSent::Plain => Outcome::Nothing,
            // It lacks resources, or starts or stops; other refusals are of one connection's login.
            NotSent::Refused { sqlstate } if sqlstate.starts_with("53") || sqlstate.starts_with("57") => {
                Outcome::Error
            }
            NotSent::Refused { .. } => Outcome::Nothing,
        },
        // Nobody said so: what was begun is undone because nothing more came.
        Err(UpstreamFailure::Undone { .. }) => Outcome::Silence,
    }
}

#[cfg(test)]
mod tests;
