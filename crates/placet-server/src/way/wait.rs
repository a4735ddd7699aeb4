//! Waiting in place for an answer (`Prefer: wait=N`, RFC 7240 §4.3): a held request stays open until people have
//! decided, and is then released like one that came back with its approval, judged anew.
//!
//! Who waits holds no connection of the store and no lock: it sleeps until this node hears of an answer, and looks by
//! itself once a second for those given on another.
//!
//! Invariant: a client that goes away while it waits leaves nothing but the question. What it has not waited for runs
//! to its end or not at all: taking the action is a task of its own.

use super::{Answered, Asked};
use crate::{app::App, liveness, problem::Problem, sender::Held};
use placet_core::{approval::ApprovalState, id::ApprovalId, refusal::Code};
use placet_store::{Fault, approvals};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The longest that a request waits.
pub const LONGEST: Duration = Duration::from_secs(60);
/// How often is looked for answers that were given on another node.
const LOOK: Duration = Duration::from_secs(1);
/// How many requests may wait at once.
const MOST: usize = 1024;
/// How many of them for the same approval.
const MOST_OF_ONE: usize = 16;

/// The requests that wait.
#[derive(Debug, Default)]
pub struct Waiters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<ApprovalId, (Arc<Notify>, usize)>,
    count: usize,
    closed: bool,
}

impl Waiters {
    /// Wakes those that wait for an approval that was just answered.
    pub fn answered(&self, id: ApprovalId) {
        if let Some((notify, _)) = self.lock().waiting.get(&id) {
            notify.notify_waiters();
        }
    }

    /// Lets nobody wait any more: the server is stopping.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for (notify, _) in inner.waiting.values() {
            notify.notify_waiters();
        }
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A place to wait for an approval, where there is one.
    fn place(&self, id: ApprovalId) -> Option<Place<'_>> {
        let mut inner = self.lock();
        if inner.closed || inner.count >= MOST {
            return None;
        }
        let (notify, of_one) = inner.waiting.entry(id).or_default();
        if *of_one >= MOST_OF_ONE {
            return None;
        }
        *of_one += 1;
        let notify = Arc::clone(notify);
        inner.count += 1;
        Some(Place { waiters: self, id, notify })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that wait; given up when dropped, as it is where the client goes away.
struct Place<'a> {
    waiters: &'a Waiters,
    id: ApprovalId,
    notify: Arc<Notify>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut inner = self.waiters.lock();
        inner.count = inner.count.saturating_sub(1);
        if let Entry::Occupied(mut entry) = inner.waiting.entry(self.id) {
            entry.get_mut().1 = entry.get().1.saturating_sub(1);
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

/// Takes an action all the way like [`super::act`]; where it is held, waits up to `wait` for the answer and goes on.
///
/// # Errors
/// As [`super::act`]; a request that nobody answered in time is held, which is no error.
pub async fn act(
    app: &Arc<App>,
    held: &Held,
    mut asked: Asked,
    wait: Option<Duration>,
) -> Result<Answered, Problem> {
    let deadline = wait.map(|wait| Instant::now() + wait.min(LONGEST));
    loop {
        let answer;
        (asked, answer) = taken(app, held, asked).await?;
        let answer = answer?;
        let (Answered::Held { approval, .. }, Some(deadline)) = (&answer, deadline) else {
            return Ok(answer);
        };
        let id = approval.get("id").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
        let Some(id) = id else { return Ok(answer) };
        if !decided(app, id, deadline).await? {
            return Ok(answer);
        }
        asked.approval = Some(id);
    }
}

/// Takes the action in a task of its own: a client that goes away between the commit point and the effect would leave
/// something charged that nobody carries out. The request comes back, to be sent again once it is approved.
async fn taken(
    app: &Arc<App>,
    held: &Held,
    asked: Asked,
) -> Result<(Asked, Result<Answered, Problem>), Problem> {
    let (app, held) = (Arc::clone(app), held.clone());
    let running = tokio::spawn(async move {
        let answer = super::act(&app, &held, &asked).await;
        (asked, answer)
    });
    running.await.map_err(|_| {
        Problem::of(
            Code::Internal,
            "the request stopped with a bug; whether anything was carried out is unknown",
        )
    })
}

/// Waits until the approval is no longer pending or its grant has ended; `false` where that took too long, too many
/// wait already, or the server is stopping.
async fn decided(app: &App, id: ApprovalId, deadline: Instant) -> Result<bool, Problem> {
    let Some(place) = app.waiters.place(id) else { return Ok(false) };
    loop {
        // Before looking, so that an answer in between wakes it.
        let notified = place.notify.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !is_pending(app, id).await? {
            return Ok(true);
        }
        if app.waiters.is_closed() || deadline <= Instant::now() {
            return Ok(false);
        }
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + LOOK)) => {}
        }
    }
}

async fn is_pending(app: &App, id: ApprovalId) -> Result<bool, Fault> {
    let now = app.clock.now();
    app.store
        .read(move |q| {
            let Some(held) = approvals::find(q, id)? else { return Ok(false) };
            let pending = held.approval.state_at(now) == ApprovalState::Pending;
            Ok(pending && !liveness::has_ended(q, held.approval.grant, now)?)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::time::Timestamp;

    fn id(byte: u8) -> ApprovalId {
        ApprovalId::from_parts(Timestamp::from_seconds(1), [byte; 10])
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let waiters = Waiters::default();
        let mut held: Vec<_> = (0..MOST_OF_ONE).map(|_| waiters.place(id(0)).unwrap()).collect();
        assert!(waiters.place(id(0)).is_none(), "more than {MOST_OF_ONE} for one approval");
        let mut bytes = (1u8..).flat_map(|byte| std::iter::repeat_n(byte, MOST_OF_ONE));
        held.extend((MOST_OF_ONE..MOST).map(|_| waiters.place(id(bytes.next().unwrap())).unwrap()));
        assert!(waiters.place(id(255)).is_none(), "more than {MOST} in all");
        held.pop();
        assert!(waiters.place(id(255)).is_some());
        held.clear();
        assert!(waiters.lock().waiting.is_empty());
        assert_eq!(waiters.lock().count, 0);
        waiters.close();
        assert!(waiters.place(id(0)).is_none());
    }
}
