//! A connection of which only so much is read for one statement: a row is read whole before anybody can look at its size.
//!
//! Invariant: once the bound is reached nothing more is read, and the connection is lost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What may be read for a login, and between statements.
const USUAL: usize = 1024 * 1024;

/// How many bytes may still be read.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    /// From now on so many.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// As many as an answer without rows needs.
    pub(super) fn usual(&self) {
        self.set(USUAL);
    }

    /// Whether it ended a connection.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A connection with a budget.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    budget: Arc<Budget>,
}

pub(super) fn bounded(stream: TcpStream) -> (Bounded, Arc<Budget>) {
    let budget = Arc::new(Budget(AtomicUsize::new(USUAL)));
    (Bounded { stream, budget: Arc::clone(&budget) }, budget)
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.is_spent() {
            return Poll::Ready(Err(io::Error::other("the answer is too long")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before);
        let spend = |left: usize| Some(left.saturating_sub(count));
        _ = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
