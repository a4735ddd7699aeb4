//! What one upstream can take: how many calls are under way at once, how many wait for their turn and for how long, and
//! whether it answers at all, anybody or this very agent ([`Breakers`]).
//!
//! Each upstream has its own, so that a slow one has its own queue and nobody else's, and one that is down costs a look at a
//! clock. Whoever wants to send [enters](Upstream::enter) before anything is reserved for the call, and says afterwards what
//! came of it.
//!
//! Invariant: turns of one agent come in the order in which they were asked for, and none takes those of all ([`turns`]);
//! nobody waits longer than they were told; an upstream that is tried again is tried by one call at a time.

mod breaker;
mod parties;
mod turns;

use crate::{
    failure::{NotSent, Unknown, UpstreamFailure},
    response::{ResponseBody, UpstreamResponse},
};
pub use breaker::{Outcome, State};
use parties::{Breakers, Entered, Party};
use placet_core::{id::AgentId, service::Kind};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use turns::{Ticket, Told, Turns};

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
    room: Arc<Room>,
    wait: Duration,
    health: Arc<Health>,
}

/// The turns of an upstream, and how those are woken who wait for one.
#[derive(Debug)]
struct Room(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    turns: Turns<Party>,
    asleep: HashMap<Ticket, oneshot::Sender<Woken>>,
}

/// What is said to who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// It has a turn.
    Go,
    /// Its place is somebody else's.
    PushedOut,
}

/// A turn that was given to somebody.
#[derive(Debug)]
struct Turn {
    room: Arc<Room>,
    by: Party,
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
    _turn: Turn,
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
        Self { concurrency, room: Arc::new(Room::new(concurrency)), wait, health }
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
        let (turn, waited) = match Room::ask(&self.room, by) {
            Asked::Go(turn) => (turn, false),
            Asked::Wait(waiting) => (self.turn(waiting).await?, true),
            Asked::Full => return Err(self.busy()),
        };
        // While it waited things may have changed.
        let entered = self.health.breakers().enter(by, Instant::now());
        let entered = entered.map_err(|retry_after| self.broken(retry_after))?;
        Ok(Slot { health: Arc::clone(&self.health), entered, concluded: false, waited, _turn: turn })
    }

    /// Waits for a turn.
    async fn turn(&self, mut waiting: Waiting) -> Result<Turn, TurnedAway> {
        match timeout(self.wait, &mut waiting.woken).await {
            Ok(Ok(Woken::Go)) => Ok(waiting.goes()),
            // What it was told at the last moment is seen to when `waiting` goes.
            Ok(_) | Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> TurnedAway {
        self.health.busy.fetch_add(1, Ordering::Relaxed);
        TurnedAway::Busy { retry_after: BUSY_FOR }
    }

    fn broken(&self, retry_after: Duration) -> TurnedAway {
        self.health.broken.fetch_add(1, Ordering::Relaxed);
        TurnedAway::Broken { retry_after }
    }

    /// How it stands.
    pub fn standing(&self, service: &str) -> Standing {
        let now = Instant::now();
        let (under_way, waiting) = {
            let queue = self.room.queue();
            (queue.turns.under_way(), queue.turns.waiting())
        };
        let breakers = self.health.breakers();
        Standing {
            service: service.to_owned(),
            state: breakers.state(now),
            retry_after: breakers.closed_for_all(now),
            under_way,
            waiting,
            concurrency: self.concurrency,
            busy: self.health.busy.load(Ordering::Relaxed),
            broken: self.health.broken.load(Ordering::Relaxed),
            kept_away: breakers.kept_away(now),
        }
    }
}

impl Health {
    fn breakers(&self) -> MutexGuard<'_, Breakers> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of who asks for a turn.
enum Asked {
    Go(Turn),
    Wait(Waiting),
    Full,
}

impl Room {
    fn new(concurrency: usize) -> Self {
        let turns = Turns::new(concurrency, concurrency.saturating_mul(WAITING_EACH));
        Self(Mutex::new(Queue { turns, asleep: HashMap::new() }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(room: &Arc<Self>, by: Party) -> Asked {
        let mut queue = room.queue();
        match queue.turns.ask(by) {
            Told::Go => Asked::Go(Turn { room: Arc::clone(room), by }),
            Told::Full => Asked::Full,
            Told::Wait(ticket, pushed_out) => {
                if let Some(other) = pushed_out {
                    queue.wake(other, Woken::PushedOut);
                }
                let (wakes, woken) = oneshot::channel();
                queue.asleep.insert(ticket, wakes);
                Asked::Wait(Waiting { room: Arc::clone(room), by, ticket, woken, gone: false })
            }
        }
    }
}

impl Queue {
    /// Tells who waits. Whoever no longer listens says what becomes of its turn itself.
    fn wake(&mut self, ticket: Ticket, woken: Woken) {
        if let Some(wakes) = self.asleep.remove(&ticket) {
            _ = wakes.send(woken);
        }
    }

    fn give_back(&mut self, by: Party) {
        self.turns.give_back(by);
        while let Some(ticket) = self.turns.next() {
            self.wake(ticket, Woken::Go);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.room.queue().give_back(self.by);
    }
}

/// A place in the queue, until this is dropped.
struct Waiting {
    room: Arc<Room>,
    by: Party,
    ticket: Ticket,
    woken: oneshot::Receiver<Woken>,
    /// Whether what it was told has been heard.
    gone: bool,
}

impl Waiting {
    /// Goes on with the turn that it was given.
    fn goes(mut self) -> Turn {
        self.gone = true;
        Turn { room: Arc::clone(&self.room), by: self.by }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let mut queue = self.room.queue();
        queue.asleep.remove(&self.ticket);
        // Whoever gave it a turn did so under the same lock: it is there to be heard by now.
        if !queue.turns.leave(self.by, self.ticket) && self.woken.try_recv() == Ok(Woken::Go) {
            queue.give_back(self.by);
        }
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
        Err(UpstreamFailure::Unknown {
            reason: Unknown::Identity | Unknown::CalledOff | Unknown::SlowUpload,
            ..
        }) => Outcome::Nothing,
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
