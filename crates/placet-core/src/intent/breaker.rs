//! A circuit breaker: a judge that keeps failing is not asked for a while, so that nobody waits for it in vain.
//!
//! Invariant: it only says whether to ask; that nobody was asked is a failure like any other.

use crate::time::Timestamp;
use std::time::Duration;

/// Counts failures in a row.
#[derive(Debug, Clone)]
pub struct Breaker {
    most: u32,
    rest: Duration,
    failures: u32,
    /// Until then nobody is asked; from then on one at a time is, until one answers.
    closed_until: Option<Timestamp>,
}

impl Breaker {
    /// Opens after so many failures in a row, for so long.
    pub const fn new(most: u32, rest: Duration) -> Self {
        Self { most, rest, failures: 0, closed_until: None }
    }

    /// Whether to ask at `now`. Where it has rested, one call is let through as a trial; another one only after the same
    /// time again.
    pub fn lets_through(&mut self, now: Timestamp) -> bool {
        match self.closed_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.closed_until = Some(now.plus(self.rest));
                true
            }
        }
    }

    /// Whether nobody is asked at `now`: what is refused for that costs whoever asks nothing.
    pub fn rests(&self, now: Timestamp) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }

    /// What became of a call.
    pub fn heard(&mut self, answered: bool, now: Timestamp) {
        if answered {
            self.failures = 0;
            self.closed_until = None;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.most {
            self.closed_until = Some(now.plus(self.rest));
        }
    }

    /// Whether it is resting.
    pub const fn is_open(&self) -> bool {
        self.closed_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_rests_tries_once_and_recovers() {
        let at = Timestamp::from_seconds;
        let mut breaker = Breaker::new(2, Duration::from_secs(10));
        assert!(breaker.lets_through(at(0)));
        breaker.heard(false, at(0));
        assert!(breaker.lets_through(at(1)));
        breaker.heard(true, at(1));
        breaker.heard(false, at(2));
        assert!(!breaker.is_open(), "not in a row");
        breaker.heard(false, at(3));
        assert!(breaker.rests(at(12)) && !breaker.rests(at(13)));
        assert!(breaker.is_open() && !breaker.lets_through(at(12)));
        assert!(breaker.lets_through(at(13)), "a trial");
        assert!(!breaker.lets_through(at(13)), "one at a time");
        breaker.heard(false, at(14));
        assert!(!breaker.lets_through(at(23)));
        assert!(breaker.lets_through(at(24)));
        breaker.heard(true, at(24));
        assert!(!breaker.is_open() && breaker.lets_through(at(24)) && breaker.lets_through(at(24)));
    }

    #[test]
    fn a_trial_that_nobody_hears_of_is_followed_by_another() {
        let at = Timestamp::from_seconds;
        let mut breaker = Breaker::new(1, Duration::from_secs(5));
        breaker.heard(false, at(0));
        assert!(breaker.lets_through(at(5)) && !breaker.lets_through(at(9)) && breaker.lets_through(at(10)));
    }
}
