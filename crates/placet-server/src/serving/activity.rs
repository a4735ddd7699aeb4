//! What is going on on a connection: whether requests are under way, and since when none is.
//!
//! Invariant: a request is under way until its body is no longer needed and its answer has been taken.

use axum::body::Bytes;
use http_body::Frame;
use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// Whether anything is under way on a connection, and since when not.
#[derive(Debug)]
pub(super) struct Activity {
    under_way: AtomicUsize,
    any: AtomicBool,
    since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            any: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
        }
    }
}

impl Activity {
    /// When something began or ended last; now, while something is under way.
    pub(super) fn since(&self) -> Instant {
        if self.under_way() > 0 {
            return Instant::now();
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is under way: of each request its body, and its answer.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    pub(super) fn is_over(&self, idle: Duration) -> bool {
        self.since().elapsed() >= idle
    }

    /// Whether anything was ever under way.
    pub(super) fn was_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    fn note(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// A request that is under way until this is dropped.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::AcqRel);
        activity.any.store(true, Ordering::Release);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.note();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body, which is under way as long as there is this.
pub(super) struct UnderWay<B> {
    body: B,
    _busy: Busy,
}

impl<B> UnderWay<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for UnderWay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
