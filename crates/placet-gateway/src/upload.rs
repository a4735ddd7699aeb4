//! The body of a call on its way out: whole, or as it comes from the agent.
//!
//! Invariant: a body that is passed on as it comes ends in an error where the agent's ends early or stops coming, so
//! that no upstream takes a part for the whole.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }

    fn made(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
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
    idle: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    progress: Progress,
}

impl Outgoing {
    pub(crate) fn whole(body: Bytes) -> Self {
        Self::Whole(Full::new(body))
    }

    pub(crate) fn streamed(upload: Upload, idle: Duration, progress: Progress) -> Self {
        let Upload { body, length } = upload;
        Self::Streamed(Box::new(Streaming { body, left: length, idle, waiting: None, progress }))
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
                    self.waiting = None;
                    self.progress.made();
                    let Ok(data) = frame.into_data() else { continue };
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
                    let idle = self.idle;
                    let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                    return match waiting.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Some(Err("the body stopped coming".into()))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}
