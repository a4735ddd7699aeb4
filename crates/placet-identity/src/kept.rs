//! What was read at a URL and is kept for a while. Of many that want the same at once one reads it: when a provider has
//! changed its keys, a hundred agents come within a second, and it is asked once.
//!
//! Invariant: that something could not be read is told to those who waited for it, and to nobody who comes after.

use placet_core::time::Timestamp;
use quick_cache::sync::Cache;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many are kept at once.
const KEPT: usize = 4096;

/// What was read, when, and until when it counts.
pub(crate) struct Held<T> {
    pub(crate) what: Arc<T>,
    pub(crate) read: Timestamp,
    pub(crate) until: Timestamp,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { what: Arc::clone(&self.what), read: self.read, until: self.until }
    }
}

/// What was read, by URL; `E` is why something could not be.
pub(crate) struct Kept<T, E> {
    held: Cache<String, Held<T>>,
    reading: Mutex<HashMap<String, Weak<Turn<E>>>>,
}

/// The turn to read from one URL.
struct Turn<E> {
    /// How many have read, so that who waited knows that somebody has.
    ended: AtomicU64,
    /// Why the last one could not.
    failed: tokio::sync::Mutex<Option<E>>,
}

impl<T, E: Clone> Kept<T, E> {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { held: Cache::new(KEPT), reading: Mutex::default() }
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// As it was read last, where that counts at `now`.
    pub(crate) fn get(&self, url: &str, now: Timestamp) -> Option<Held<T>> {
        self.held.get(url).filter(|held| now < held.until)
    }

    /// What `read` finds, or what another found while this one waited for its turn.
    ///
    /// # Errors
    /// What `read` answers, or answered to who was waited for.
    pub(crate) async fn renewed(
        &self,
        url: &str,
        read: impl Future<Output = Result<Held<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let turn = self.turn(url);
        let before = turn.ended.load(Ordering::SeqCst);
        let mut failed = turn.failed.lock().await;
        if turn.ended.load(Ordering::SeqCst) != before {
            if let Some(error) = &*failed {
                return Err(error.clone());
            }
            if let Some(held) = self.held.get(url) {
                return Ok(held.what);
            }
        }
        // Who gives up here leaves it to the next.
        let found = read.await;
        *failed = found.as_ref().err().cloned();
        turn.ended.fetch_add(1, Ordering::SeqCst);
        let held = found?;
        let what = Arc::clone(&held.what);
        self.held.insert(url.to_owned(), held);
        Ok(what)
    }

    fn turn(&self, url: &str) -> Arc<Turn<E>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = reading.get(url).and_then(Weak::upgrade) {
            return turn;
        }
        if reading.len() >= KEPT {
            reading.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn { ended: AtomicU64::new(0), failed: tokio::sync::Mutex::new(None) });
        reading.insert(url.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, task::Poll};
    use tokio::sync::Semaphore;

    const URL: &str = "https://keys.example";

    fn held(what: u32) -> Held<u32> {
        let at = Timestamp::from_seconds(100);
        Held { what: Arc::new(what), read: at, until: Timestamp::from_seconds(200) }
    }

    /// Twenty that come while the first one reads, and what each was answered.
    async fn twenty(
        kept: &Kept<u32, &'static str>,
        answer: Result<u32, &'static str>,
    ) -> (u64, Vec<Result<u32, &'static str>>) {
        let (reads, gate) = (AtomicU64::new(0), Semaphore::new(0));
        let mut all: Vec<_> = (0..20)
            .map(|_| {
                Box::pin(kept.renewed(URL, async {
                    reads.fetch_add(1, Ordering::SeqCst);
                    let _open = gate.acquire().await;
                    answer.map(held)
                }))
            })
            .collect();
        // All of them have come before the first one is done.
        for one in &mut all {
            assert!(
                std::future::poll_fn(|context| Poll::Ready(one.as_mut().poll(context))).await.is_pending()
            );
        }
        gate.add_permits(1);
        let mut answers = Vec::new();
        for one in all {
            answers.push(one.await.map(|what| *what));
        }
        (reads.load(Ordering::SeqCst), answers)
    }

    #[tokio::test]
    async fn of_many_at_once_one_reads() {
        let kept = Kept::new();
        let (reads, answers) = twenty(&kept, Ok(7)).await;
        assert_eq!((reads, answers), (1, vec![Ok(7); 20]));
        assert!(kept.get(URL, Timestamp::from_seconds(199)).is_some());
        assert!(kept.get(URL, Timestamp::from_seconds(200)).is_none());
    }

    #[tokio::test]
    async fn a_failure_is_told_to_those_who_waited_and_to_nobody_after() {
        let kept = Kept::new();
        let (reads, answers) = twenty(&kept, Err("down")).await;
        assert_eq!((reads, answers), (1, vec![Err("down"); 20]));
        assert_eq!(kept.renewed(URL, async { Ok(held(8)) }).await, Ok(Arc::new(8)));
    }

    #[tokio::test]
    async fn who_gives_up_leaves_it_to_the_next() {
        let kept: Kept<u32, &str> = Kept::new();
        {
            let mut first = pin!(kept.renewed(URL, std::future::pending()));
            let polled = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(kept.renewed(URL, async { Ok(held(9)) }).await, Ok(Arc::new(9)));
    }
}
