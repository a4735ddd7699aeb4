//! What is going on on a connection: requests that are under way, bytes that are on theirs.
//!
//! Invariant: a connection counts as silent only where no request is under way, nothing of one has come, and all that was
//! answered has been taken.

use axum::body::Bytes;
use http_body::Frame;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// Whether anything is under way on a connection, and since when not.
#[derive(Debug)]
pub(super) struct Activity {
    under_way: AtomicUsize,
    /// Something has come that has not become a request yet.
    coming: AtomicBool,
    /// Something waits to be taken by the other end.
    going: AtomicBool,
    since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            // A connection is served because something comes.
            coming: AtomicBool::new(true),
            going: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
        }
    }
}

impl Activity {
    /// When something began or ended last; now, while something is under way.
    pub(super) fn since(&self) -> Instant {
        if self.under_way.load(Ordering::Acquire) > 0 {
            return Instant::now();
        }
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self, idle: Duration) -> bool {
        self.since().elapsed() >= idle
    }

    /// Whether, besides, nothing is on its way in either direction.
    pub(super) fn is_silent(&self, rest: Duration) -> bool {
        let moving = self.coming.load(Ordering::Acquire) || self.going.load(Ordering::Acquire);
        if moving {
            // It is looked at again later, not all the time.
            self.note();
        }
        !moving && self.is_over(rest)
    }

    /// A request has come whole but for its body.
    pub(super) fn asked(&self) {
        self.coming.store(false, Ordering::Release);
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
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.note();
        // What came while it was under way was its body.
        self.0.coming.store(false, Ordering::Release);
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

/// A socket that notes what is on its way.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, activity: &Arc<Activity>) -> Self {
        Self { stream, activity: Arc::clone(activity) }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, into);
        if into.filled().len() > before {
            this.activity.coming.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.going.store(true, Ordering::Release);
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.going.store(true, Ordering::Release);
        Pin::new(&mut this.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The buffers above are flushed in order: when this is asked, all of them has been written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.activity.going.store(false, Ordering::Release);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
