//! A connection of which something has been read already, and connections that are switched over to something else.
//!
//! Invariant: what was read comes first, and once.

use bytes::{Buf as _, Bytes};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use placet_gateway::Duplex;
use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// A connection with what was read of it already.
pub(super) struct Begun<I> {
    pub(super) first: Bytes,
    pub(super) io: I,
    /// Whether something of what was written waits for the other end to take it.
    untaken: Arc<AtomicBool>,
}

impl<I> Begun<I> {
    pub(super) fn new(first: Bytes, io: I) -> Self {
        Self { first, io, untaken: Arc::default() }
    }

    /// Tells whether something waits to be taken, while somebody else has the connection.
    pub(super) fn untaken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.untaken)
    }

    fn written<T>(&self, written: Poll<T>) -> Poll<T> {
        self.untaken.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Begun<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, into);
        }
        let fits = this.first.len().min(into.remaining());
        into.put_slice(this.first.get(..fits).unwrap_or_default());
        this.first.advance(fits);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Begun<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_flush(cx);
        this.written(written)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// What gives a request's connection, once the answer has gone out that switches it over (RFC 9110 §7.8).
#[derive(Clone)]
pub(crate) struct Switching(Over);

/// Where the connection comes from.
type Given = oneshot::Receiver<Box<dyn Duplex>>;

#[derive(Clone)]
enum Over {
    /// A connection that is served here.
    Here(Arc<Mutex<Option<Given>>>),
    /// One that hyper gives away itself.
    Hyper(OnUpgrade),
}

impl fmt::Debug for Switching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switching")
    }
}

impl Switching {
    /// By what the connection will be sent through.
    pub(super) fn here(given: Given) -> Self {
        Self(Over::Here(Arc::new(Mutex::new(Some(given)))))
    }

    /// Of a request, where its connection can be switched over.
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Option<Self> {
        let here = extensions.get::<Self>().cloned();
        here.or_else(|| extensions.get::<OnUpgrade>().map(|hypers| Self(Over::Hyper(hypers.clone()))))
    }

    /// The connection; `None` where it ended before, or somebody else has it.
    pub(crate) async fn over(self) -> Option<Box<dyn Duplex>> {
        match self.0 {
            Over::Here(given) => {
                let given = given.lock().unwrap_or_else(PoisonError::into_inner).take();
                given?.await.ok()
            }
            Over::Hyper(upgrading) => {
                let upgraded = upgrading.await.ok()?;
                Some(Box::new(TokioIo::new(upgraded)))
            }
        }
    }
}
