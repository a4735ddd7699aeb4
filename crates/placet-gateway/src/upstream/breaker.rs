//! A circuit breaker, as arithmetic on times that are given.
//!
//! It opens when several calls in a row meet silence (no connection, no answer in time, a connection that breaks), or when
//! half of the calls of the last seconds failed and there were enough to tell, with statuses that say that the upstream is
//! unwell as well. Open, it lets nothing through for a while; then one call tries. An answer closes it, anything else opens
//! it for longer. A call may take minutes over its answer: from one that has none after [`TRIAL`] nobody waits to hear, and
//! the next one tries as well.
//!
//! Invariant: while it is not closed at most one call is let in within [`TRIAL`].

use std::time::Duration;
use tokio::time::Instant;

/// How many calls in a row meet silence until it opens.
pub(super) const IN_A_ROW: u32 = 5;
/// How many calls of the last seconds tell something by their share of failures, which is half.
pub(super) const ENOUGH: u32 = 20;
/// How many seconds are looked at.
const SECONDS: usize = 10;
/// For how long it opens first; twice as long each time that trying fails, up to the longest.
pub(super) const FIRST: Duration = Duration::from_secs(5);
pub(super) const LONGEST: Duration = Duration::from_secs(60);
/// When to come again while a call tries.
pub(super) const TRYING: Duration = Duration::from_secs(1);
/// For how long one call alone tries.
pub(super) const TRIAL: Duration = Duration::from_secs(10);

/// What one call says of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answers.
    Good,
    /// It answers that it is unwell (5xx).
    Error,
    /// Nothing came back.
    Silence,
    /// It was not reached: no connection came about.
    Unreached,
    /// Nothing: it was not asked.
    Nothing,
}

/// Whether an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Closed,
    /// It is not.
    Open,
    /// One call tries, or the next one will.
    HalfOpen,
}

impl State {
    /// As metrics and people name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// How a call was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Like any other, in this run of a closed breaker.
    Plain(u64),
    /// To try, as the one with this number.
    Trial(u64),
}

#[derive(Debug, Clone, Copy)]
enum Is {
    Closed,
    Open { until: Instant, after: Duration },
    Trying { after: Duration, since: Instant, number: u64 },
}

/// The breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    is: Is,
    /// Rises whenever it opens: what was let in before says nothing afterwards.
    run: u64,
    silent: u32,
    /// Of each second, by its number since the first call: how many calls, and how many of them failed.
    recent: [(u64, u32, u32); SECONDS],
    began: Option<Instant>,
    /// How many have tried.
    trials: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { is: Is::Closed, run: 0, silent: 0, recent: [(0, 0, 0); SECONDS], began: None, trials: 0 }
    }
}

impl Breaker {
    /// Lets a call in, or says when to come again.
    pub(super) fn enter(&mut self, now: Instant) -> Result<Entry, Duration> {
        if let Some(retry_after) = self.closed_for(now) {
            return Err(retry_after);
        }
        self.began.get_or_insert(now);
        match self.is {
            Is::Closed => Ok(Entry::Plain(self.run)),
            Is::Open { after, .. } | Is::Trying { after, .. } => {
                self.trials = self.trials.wrapping_add(1);
                self.is = Is::Trying { after, since: now, number: self.trials };
                Ok(Entry::Trial(self.trials))
            }
        }
    }

    /// For how long nothing is let in; `None` where the next call is.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.is {
            Is::Closed => None,
            Is::Open { until, .. } => {
                Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
            }
            Is::Trying { since, .. } => {
                let left = TRIAL.saturating_sub(now.saturating_duration_since(since));
                Some(left.min(TRYING)).filter(|left| !left.is_zero())
            }
        }
    }

    /// What it is.
    pub(super) fn state(&self, now: Instant) -> State {
        match self.is {
            Is::Closed => State::Closed,
            Is::Open { until, .. } if now < until => State::Open,
            Is::Open { .. } | Is::Trying { .. } => State::HalfOpen,
        }
    }

    /// Notes what came of a call that was let in.
    pub(super) fn conclude(&mut self, entry: Entry, outcome: Outcome, now: Instant) {
        match (entry, self.is) {
            (Entry::Trial(of), Is::Trying { after, number, .. }) => match outcome {
                // However long it took.
                Outcome::Good => self.close(),
                // Another one tries by now.
                _ if of != number => {}
                // It was not tried after all: the next one does.
                Outcome::Nothing => self.is = Is::Open { until: now, after },
                Outcome::Error | Outcome::Silence | Outcome::Unreached => {
                    self.open(now, after.saturating_mul(2).min(LONGEST));
                }
            },
            (Entry::Plain(run), Is::Closed) if run == self.run && outcome != Outcome::Nothing => {
                self.note(outcome, now);
                if self.silent >= IN_A_ROW || self.is_mostly_failing(now) {
                    self.open(now, FIRST);
                }
            }
            // Of before it opened.
            _ => {}
        }
    }

    fn close(&mut self) {
        self.is = Is::Closed;
        (self.silent, self.recent) = (0, [(0, 0, 0); SECONDS]);
    }

    fn open(&mut self, now: Instant, after: Duration) {
        self.run = self.run.wrapping_add(1);
        self.is = Is::Open { until: now + after, after };
    }

    fn note(&mut self, outcome: Outcome, now: Instant) {
        let silent = matches!(outcome, Outcome::Silence | Outcome::Unreached);
        self.silent = if silent { self.silent.saturating_add(1) } else { 0 };
        let second = self.second(now);
        let index = usize::try_from(second % SECONDS as u64).unwrap_or(0);
        if let Some(of) = self.recent.get_mut(index) {
            if of.0 != second {
                *of = (second, 0, 0);
            }
            of.1 = of.1.saturating_add(1);
            of.2 = of.2.saturating_add(u32::from(outcome != Outcome::Good));
        }
    }

    /// The number of the second, from 1.
    fn second(&self, now: Instant) -> u64 {
        let since = self.began.map(|began| now.saturating_duration_since(began));
        since.unwrap_or_default().as_secs().saturating_add(1)
    }

    fn is_mostly_failing(&self, now: Instant) -> bool {
        let second = self.second(now);
        let (mut calls, mut failed) = (0_u32, 0_u32);
        for (of, all, bad) in self.recent {
            if of > 0 && second.saturating_sub(of) < SECONDS as u64 {
                calls = calls.saturating_add(all);
                failed = failed.saturating_add(bad);
            }
        }
        calls >= ENOUGH && failed.saturating_mul(2) >= calls
    }
}
