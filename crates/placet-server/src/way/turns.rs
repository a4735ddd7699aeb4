//! Turns at work of which only so much is done at once: whoever has the least of it under way is next, and among those
//! whoever has waited longest. So nobody's many requests stand between another's one and its turn.
//!
//! Invariant: never more turns at once than there are, and none is lost, also where whoever waited has gone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Turns for parties that are told apart by `K`.
#[derive(Debug)]
pub(super) struct Turns<K: Ord + Copy + 'static>(Mutex<State<K>>);

#[derive(Debug)]
struct State<K: Ord + Copy + 'static> {
    free: usize,
    /// How many each party has; none that has none.
    under_way: BTreeMap<K, usize>,
    /// Who waits, those first who came first; each has somebody waiting.
    waiting: VecDeque<(K, VecDeque<oneshot::Sender<Turn<K>>>)>,
}

/// One turn; over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<K: Ord + Copy + 'static> {
    of: &'static Turns<K>,
    party: K,
}

impl<K: Ord + Copy + 'static> Turns<K> {
    /// So many at once.
    pub(super) const fn new(at_once: usize) -> Self {
        let state = State { free: at_once, under_way: BTreeMap::new(), waiting: VecDeque::new() };
        Self(Mutex::new(state))
    }

    /// Waits for a turn. `None` only where it was lost to a bug.
    pub(super) async fn take(&'static self, party: K) -> Option<Turn<K>> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            match state.waiting.iter_mut().find(|(other, _)| *other == party) {
                Some((_, queue)) => queue.push_back(sender),
                None => state.waiting.push_back((party, VecDeque::from([sender]))),
            }
        }
        self.give();
        receiver.await.ok()
    }

    /// Gives the turns that are free to who is next.
    fn give(&'static self) {
        loop {
            let Some((party, sender)) = self.state().next() else { return };
            // Where whoever waited has just gone, the turn comes back and is over.
            _ = sender.send(Turn { of: self, party });
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Copy + 'static> State<K> {
    /// Takes a turn for who is next, if there is one and somebody waits.
    fn next(&mut self) -> Option<(K, oneshot::Sender<Turn<K>>)> {
        for (_, queue) in &mut self.waiting {
            queue.retain(|sender| !sender.is_closed());
        }
        self.waiting.retain(|(_, queue)| !queue.is_empty());
        if self.free == 0 {
            return None;
        }
        let least = |party: &K| self.under_way.get(party).copied().unwrap_or(0);
        let (index, _) = self.waiting.iter().enumerate().min_by_key(|(_, (party, _))| least(party))?;
        let (party, mut queue) = self.waiting.remove(index)?;
        let sender = queue.pop_front()?;
        if !queue.is_empty() {
            self.waiting.push_back((party, queue));
        }
        self.free -= 1;
        *self.under_way.entry(party).or_default() += 1;
        Some((party, sender))
    }
}

impl<K: Ord + Copy + 'static> Drop for Turn<K> {
    fn drop(&mut self) {
        {
            let mut state = self.of.state();
            state.free += 1;
            if let Some(count) = state.under_way.get_mut(&self.party) {
                *count -= 1;
                if *count == 0 {
                    state.under_way.remove(&self.party);
                }
            }
        }
        self.of.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, pin::Pin, task::Poll};

    type Waiting = Pin<Box<dyn Future<Output = Option<Turn<u8>>>>>;

    fn turns(at_once: usize) -> &'static Turns<u8> {
        Box::leak(Box::new(Turns::new(at_once)))
    }

    /// One that has asked.
    async fn asked(turns: &'static Turns<u8>, party: u8) -> Waiting {
        let mut waiting: Waiting = Box::pin(turns.take(party));
        let first = poll(&mut waiting).await;
        match first {
            Some(turn) => Box::pin(std::future::ready(Some(turn))),
            None => waiting,
        }
    }

    async fn poll(waiting: &mut Waiting) -> Option<Turn<u8>> {
        std::future::poll_fn(|context| {
            Poll::Ready(match waiting.as_mut().poll(context) {
                Poll::Ready(turn) => turn,
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn one_of_another_comes_before_many_of_one() {
        let turns = turns(2);
        let mut hog = Vec::new();
        for _ in 0..50 {
            hog.push(asked(turns, 1).await);
        }
        let (first, second) = (poll(&mut hog[0]).await.unwrap(), poll(&mut hog[1]).await.unwrap());
        assert!(poll(&mut hog[2]).await.is_none());
        let (mut other, mut third) = (asked(turns, 2).await, asked(turns, 3).await);
        assert!(poll(&mut other).await.is_none());
        drop(first);
        let other = poll(&mut other).await.unwrap();
        assert!(poll(&mut hog[2]).await.is_none() && poll(&mut third).await.is_none());
        drop(other);
        let third = poll(&mut third).await.unwrap();
        drop(third);
        // Nobody else waits: all that there is.
        let next = poll(&mut hog[2]).await.unwrap();
        drop((second, next));
        assert!(poll(&mut hog[3]).await.is_some());
    }

    #[tokio::test]
    async fn no_turn_is_lost_to_who_has_gone() {
        let turns = turns(2);
        let held = [turns.take(1).await.unwrap(), turns.take(1).await.unwrap()];
        let gone: Vec<Waiting> = vec![asked(turns, 1).await, asked(turns, 2).await, asked(turns, 2).await];
        let mut stays = asked(turns, 3).await;
        drop(gone);
        drop(held);
        let first = poll(&mut stays).await.unwrap();
        // Given, and gone before it was taken up.
        drop(asked(turns, 4).await);
        let second = turns.take(5).await.unwrap();
        assert!(poll(&mut asked(turns, 6).await).await.is_none());
        drop((first, second));
        let state = turns.state();
        assert_eq!((state.free, state.under_way.len(), state.waiting.len()), (2, 0, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_at_once_all_get_one_and_never_more_than_there_are() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let turns = turns(3);
        let now: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2000_u32 {
            tasks.spawn(async move {
                let turn = turns.take(u8::try_from(number % 7).unwrap()).await.unwrap();
                let at_once = now.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                drop(turn);
                at_once
            });
        }
        while let Some(at_once) = tasks.join_next().await {
            assert!(at_once.unwrap() <= 3);
        }
        let state = turns.state();
        assert_eq!((state.free, state.under_way.len(), state.waiting.len()), (3, 0, 0));
    }
}
