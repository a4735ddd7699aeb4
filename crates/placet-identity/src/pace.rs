//! How much is read at once, and how often from one host: whoever names a URL here must not make this server a weapon
//! against whoever is there.
//!
//! Invariant: what is refused here was not asked for anywhere.

use placet_core::time::Timestamp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many are read at once.
const AT_ONCE: usize = 32;
/// How many from one host in a minute, where anybody may name it.
const A_MINUTE: u32 = 60;
/// How many hosts are counted.
const HOSTS: usize = 4096;

/// The turns that are taken.
pub(crate) struct Pace {
    at_once: Arc<Semaphore>,
    minute: Mutex<(i64, HashMap<String, u32>)>,
    a_minute: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self::of(A_MINUTE)
    }
}

impl Pace {
    /// None taken; so many from one host in a minute.
    pub(crate) fn of(a_minute: u32) -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), minute: Mutex::default(), a_minute }
    }

    /// A turn to read from `host`; `None` where there have been too many.
    pub(crate) fn turn(&self, host: &str, now: Timestamp) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.at_once).try_acquire_owned().ok()?;
        let mut counted = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_seconds() / 60;
        if counted.0 != minute {
            *counted = (minute, HashMap::new());
        }
        let known = counted.1.len();
        match counted.1.get_mut(host) {
            Some(count) if *count >= self.a_minute => return None,
            Some(count) => *count += 1,
            None if known >= HOSTS => return None,
            None => _ = counted.1.insert(host.to_owned(), 1),
        }
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_at_once_and_so_many_a_minute() {
        let (pace, now) = (Pace::default(), Timestamp::from_seconds(600));
        let turns: Vec<_> = (0..AT_ONCE).map(|_| pace.turn("a", now).unwrap()).collect();
        assert!(pace.turn("b", now).is_none());
        drop(turns);
        let left = A_MINUTE as usize - AT_ONCE;
        assert_eq!((0..100).filter(|_| pace.turn("a", now).is_some()).count(), left);
        assert!(pace.turn("b", now).is_some());
        assert!(pace.turn("a", Timestamp::from_seconds(660)).is_some());
        // A flood of names is not counted without end.
        let many = (0..HOSTS + 10).filter(|n| pace.turn(&n.to_string(), now).is_some()).count();
        assert!(many <= HOSTS);
    }
}
