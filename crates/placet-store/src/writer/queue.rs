//! What waits for the writer, and who of those has to be waited for.
//!
//! Most outcomes are waited for by nobody: they were sent when the agent had its answer. They ride with whatever comes
//! next, and where nothing comes within [`PATIENCE`] they are written alone: one trip to the disk for an action that
//! another follows, not two, and the next one's intent does not wait behind the last one's outcome.
//!
//! Invariant: everything that was put in comes out once, riders before those that came after them, and no rider is left
//! for longer than that.

use super::Job;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many requests of either kind one transaction takes.
pub(super) const GROUP: usize = 256;
/// For how long a request that nobody waits for is left to ride with another.
const PATIENCE: Duration = Duration::from_millis(2);

/// What waits, and the writer that waits for it.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    comes: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Box<dyn Job>>,
    riding: VecDeque<Box<dyn Job>>,
    /// Since when the first of those rides.
    since: Option<Instant>,
    /// The writer sleeps for longer than a rider may be left, so a rider wakes it.
    asleep: bool,
    closed: bool,
}

/// What the writer got.
pub(super) struct Taken {
    pub(super) jobs: Vec<Box<dyn Job>>,
    /// Nothing will come any more.
    pub(super) last: bool,
}

// What is asked may hold what nobody else is to read.
impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Puts in a request that somebody waits for; gives it back where nothing is taken any more.
    pub(super) fn wait(&self, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(job);
        }
        inner.waiting.push_back(job);
        drop(inner);
        self.comes.notify_one();
        Ok(())
    }

    /// Puts in one that nobody waits for.
    pub(super) fn ride(&self, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(job);
        }
        inner.riding.push_back(job);
        inner.since.get_or_insert_with(Instant::now);
        let asleep = inner.asleep;
        drop(inner);
        // It looks again by itself, unless it sleeps.
        if asleep {
            self.comes.notify_one();
        }
        Ok(())
    }

    /// Nothing is taken any more but what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.comes.notify_one();
    }

    /// The next group. It waits for one, where `until` is given not longer than that: then there may be none.
    pub(super) fn take(&self, until: Option<Instant>) -> Taken {
        let mut inner = self.lock();
        // Whatever rides next need not wake it: it looks once more before it sleeps.
        let mut doze = Some(Instant::now() + PATIENCE);
        loop {
            let now = Instant::now();
            let due = inner.since.map(|since| since + PATIENCE);
            let is_due = due.is_some_and(|due| due <= now);
            if !inner.waiting.is_empty() || is_due || inner.closed || until.is_some_and(|until| until <= now)
            {
                return inner.group();
            }
            doze = doze.filter(|doze| *doze > now);
            let wake = [due, until, doze].into_iter().flatten().min();
            inner.asleep = wake.is_none_or(|wake| wake > now + PATIENCE);
            inner = match wake {
                Some(wake) => {
                    let slept = self.comes.wait_timeout(inner, wake.saturating_duration_since(now));
                    slept.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.comes.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
            inner.asleep = false;
        }
    }

    /// All that waits now, for whoever can't be served.
    pub(super) fn drain(&self) -> Vec<Box<dyn Job>> {
        let mut inner = self.lock();
        inner.since = None;
        let inner = &mut *inner;
        inner.riding.drain(..).chain(inner.waiting.drain(..)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn group(&mut self) -> Taken {
        let riding = self.riding.len().min(GROUP);
        let waiting = self.waiting.len().min(GROUP);
        let jobs = self.riding.drain(..riding).chain(self.waiting.drain(..waiting)).collect();
        // Those that are left have waited already.
        self.since = self.since.filter(|_| !self.riding.is_empty());
        Taken { jobs, last: self.closed && self.riding.is_empty() && self.waiting.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Lane, Ran},
        *,
    };
    use crate::{fault::Fault, needs::Needs, tx::Tx};
    use placet_core::{id::ActionId, time::Timestamp};
    use std::thread;

    /// Does nothing; known by its number.
    struct Numbered(u32);

    impl Job for Numbered {
        fn lane(&self) -> Lane {
            Lane::Begin
        }
        fn needs(&self, _: &mut Needs) {}
        fn run(&mut self, _: &mut Tx<'_>) -> Ran {
            Ran::Keep
        }
        fn spoil(&mut self, _: Fault) {}
        fn admitted(&self) -> Option<ActionId> {
            Some(id(self.0))
        }
        fn answer(&mut self, _: Result<(), Fault>) {}
    }

    fn wait(queue: &Queue, number: u32) {
        assert!(queue.wait(Box::new(Numbered(number))).is_ok());
    }

    fn ride(queue: &Queue, number: u32) {
        assert!(queue.ride(Box::new(Numbered(number))).is_ok());
    }

    fn id(number: u32) -> ActionId {
        ActionId::from_parts(Timestamp::from_seconds(i64::from(number)), [0; 10])
    }

    fn came(taken: &Taken) -> Vec<ActionId> {
        taken.jobs.iter().filter_map(|job| job.admitted()).collect()
    }

    /// Waits until the writer has gone to sleep for long.
    fn until_asleep(queue: &Queue) {
        let end = Instant::now() + Duration::from_secs(20);
        while !queue.lock().asleep {
            assert!(Instant::now() < end, "it never sleeps");
            thread::yield_now();
        }
    }

    #[test]
    fn riders_come_with_what_is_waited_for_and_before_it() {
        let queue = Queue::default();
        wait(&queue, 1);
        ride(&queue, 2);
        wait(&queue, 3);
        ride(&queue, 4);
        let taken = queue.take(None);
        assert_eq!(came(&taken), [2, 4, 1, 3].map(id));
        assert!(!taken.last);
        assert!(queue.lock().since.is_none(), "nothing rides any more");
    }

    #[test]
    fn one_that_nobody_waits_for_wakes_the_writer_that_sleeps_and_is_taken_alone() {
        let queue = Queue::default();
        thread::scope(|scope| {
            let taking = scope.spawn(|| came(&queue.take(None)));
            until_asleep(&queue);
            let put = Instant::now();
            ride(&queue, 7);
            assert_eq!(taking.join().unwrap(), [id(7)]);
            assert!(put.elapsed() >= PATIENCE, "it was not left to ride with another");
        });
    }

    #[test]
    fn one_that_nobody_waits_for_is_not_left_until_something_is_tried_again() {
        const LONG: Duration = Duration::from_secs(60);
        let queue = Queue::default();
        thread::scope(|scope| {
            let taking = scope.spawn(|| came(&queue.take(Some(Instant::now() + LONG))));
            until_asleep(&queue);
            let put = Instant::now();
            ride(&queue, 7);
            assert_eq!(taking.join().unwrap(), [id(7)]);
            assert!(put.elapsed() < LONG / 2);
        });
    }

    #[test]
    fn a_group_is_bounded_and_what_is_left_comes_next() {
        let queue = Queue::default();
        let many = u32::try_from(GROUP).unwrap() + 3;
        (0..many).for_each(|number| ride(&queue, number));
        (0..many).for_each(|number| wait(&queue, 10_000 + number));
        let mut all = came(&queue.take(None));
        assert_eq!(all.len(), 2 * GROUP);
        all.extend(came(&queue.take(None)));
        all.sort_unstable();
        let put: Vec<_> = (0..many).chain((0..many).map(|number| 10_000 + number)).map(id).collect();
        assert_eq!(all, put);
    }

    #[test]
    fn what_is_there_at_the_end_comes_out_and_nothing_is_taken_in() {
        let queue = Queue::default();
        ride(&queue, 1);
        wait(&queue, 2);
        queue.close();
        assert!(queue.wait(Box::new(Numbered(3))).is_err());
        assert!(queue.ride(Box::new(Numbered(4))).is_err());
        let taken = queue.take(None);
        assert_eq!(came(&taken), [1, 2].map(id));
        assert!(taken.last);
        assert!(queue.take(None).last);
    }

    #[test]
    fn a_writer_that_sleeps_hears_of_the_end() {
        let queue = Queue::default();
        thread::scope(|scope| {
            let taking = scope.spawn(|| queue.take(None).last);
            until_asleep(&queue);
            queue.close();
            assert!(taking.join().unwrap());
        });
    }

    #[test]
    fn it_waits_no_longer_than_it_is_told_to() {
        let taken = Queue::default().take(Some(Instant::now() + Duration::from_millis(1)));
        assert!(taken.jobs.is_empty() && !taken.last);
    }
}
