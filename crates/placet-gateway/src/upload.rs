//! The body of a call on its way out: whole, or as it comes from the agent.
//!
//! It holds a turn at its upstream as long as it goes on, so whoever sends it may not take its time: of the patience that
//! there is with it, waiting for it uses some up and what comes makes more. Time in which the upstream takes nothing is not
//! the sender's.
//!
//! Invariant: a body that is passed on as it comes ends in an error where the agent's ends early or comes too slowly, so
//! that no upstream takes a part for the whole.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, SizeHint};
use placet_core::service::UploadPace;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is passed on as it comes.
pub struct Upload {
    body: UnsyncBoxBody<Bytes, BoxError>,
    length: Option<u64>,
}

impl Upload {
    /// `length` in bytes where it is announced; else it is sent in chunks. Trailers are left out.
    pub fn new<B>(body: B, length: Option<u64>) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { body: body.map_err(Into::into).boxed_unsync(), length }
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({:?})", self.length)
    }
}

/// When something of an upload last went out.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    began: Instant,
    last: Arc<AtomicU64>,
    slow: Arc<AtomicBool>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::default(), slow: Arc::default() }
    }

    fn made(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// Whether it came too slowly.
    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Acquire)
    }

    /// The time until which the next progress has to be made.
    pub(crate) fn until(&self, idle: Duration) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed)) + idle
    }
}

/// The body of a request.
pub(crate) enum Outgoing {
    Whole(Full<Bytes>),
    Streamed(Box<Streaming>),
}

pub(crate) struct Streaming {
    body: UnsyncBoxBody<Bytes, BoxError>,
    left: Option<u64>,
    patience: Patience,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    progress: Progress,
}

/// How long is still waited for somebody who sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pace: UploadPace,
    left: Duration,
}

impl Patience {
    /// At most a pause at once, and on average no longer than it takes at this rate.
    pub(crate) fn new(pace: UploadPace) -> Self {
        Self { pace, left: pace.pause }
    }

    /// Something came, for which was waited so long.
    fn came(&mut self, bytes: u64, waited: Duration) {
        let more = Duration::from_millis(bytes.saturating_mul(1000) / self.pace.rate.max(1));
        self.left = self.left.saturating_sub(waited).saturating_add(more).min(self.pace.pause);
    }
}

impl Outgoing {
    pub(crate) fn whole(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }

    pub(crate) fn streamed(upload: Upload, patience: Patience, progress: Progress) -> Self {
        let Upload { body, length } = upload;
        Self::Streamed(Box::new(Streaming { body, left: length, patience, waiting: None, progress }))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streamed(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Streamed(streaming) => streaming.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Streamed(streaming) => streaming.left.map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let waited = self.waiting.take().map(|(since, _)| since.elapsed()).unwrap_or_default();
                    self.progress.made();
                    let Ok(data) = frame.into_data() else {
                        self.patience.came(0, waited);
                        continue;
                    };
                    self.patience.came(u64::try_from(data.len()).unwrap_or(u64::MAX), waited);
                    if let Some(left) = &mut self.left {
                        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        let Some(rest) = left.checked_sub(length) else {
                            return Poll::Ready(Some(Err("the body is longer than was announced".into())));
                        };
                        *left = rest;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(None) => {
                    return match self.left {
                        None | Some(0) => Poll::Ready(None),
                        Some(_) => Poll::Ready(Some(Err("the body is shorter than was announced".into()))),
                    };
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    let left = self.patience.left;
                    let (_, waiting) = self
                        .waiting
                        .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
                    return match waiting.as_mut().poll(cx) {
                        Poll::Ready(()) => {
                            self.progress.slow.store(true, Ordering::Release);
                            Poll::Ready(Some(Err("the body comes too slowly".into())))
                        }
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes when: nobody is waited for longer than the rate allows, and the first wait on top of it.
        #[test]
        fn what_is_waited_is_paid_for(pieces in prop::collection::vec((0_u64..20_000, 0_u64..40_000), 0..60), rate in 1_u64..5000) {
            let most = Duration::from_secs(30);
            let mut patience = Patience::new(UploadPace { pause: most, rate });
            let (mut bytes, mut waited) = (0, Duration::ZERO);
            for (length, wait) in pieces {
                let wait = Duration::from_millis(wait);
                if wait > patience.left {
                    break;
                }
                patience.came(length, wait);
                (bytes, waited) = (bytes + length, waited + wait);
                prop_assert!(patience.left <= most);
                prop_assert!(waited <= most + Duration::from_millis(bytes * 1000 / rate));
            }
        }
    }

    #[test]
    fn who_keeps_to_the_rate_is_waited_for_as_long_as_it_takes() {
        let mut patience = Patience::new(UploadPace::default());
        for _ in 0..10_000 {
            let wait = Duration::from_secs(1);
            assert!(wait <= patience.left);
            patience.came(1024, wait);
        }
        // What was sent before buys no longer pause.
        assert_eq!(patience.left, Duration::from_secs(30));
        // A byte now and then does not keep it alive.
        let mut slow = Patience::new(UploadPace::default());
        let pieces = (0..).take_while(|_| {
            let wait = Duration::from_secs(5);
            let goes_on = wait <= slow.left;
            slow.came(1, wait);
            goes_on
        });
        assert_eq!(pieces.count(), 6);
    }
}
