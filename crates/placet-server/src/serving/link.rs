//! A connection without patience for who takes nothing.
//!
//! Invariant: who takes nothing of what is written for [`UNTAKEN`] is cut off.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long nothing of what is written may be taken.
pub(super) const UNTAKEN: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(crate) struct Link<I> {
    stalled: Option<Pin<Box<Sleep>>>,
    io: I,
}

impl<I> Link<I> {
    pub(crate) fn new(io: I) -> Self {
        Self { stalled: None, io }
    }

    /// What came of writing: an error, where nothing has been taken for long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(UNTAKEN)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing of what was written is taken")))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Link<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Link<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        let written = Pin::new(&mut link.io).poll_write(cx, bytes);
        link.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        let written = Pin::new(&mut link.io).poll_write_vectored(cx, bytes);
        link.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        let flushed = Pin::new(&mut link.io).poll_flush(cx);
        link.written(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        let shut = Pin::new(&mut link.io).poll_shutdown(cx);
        link.written(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_not_waited_for() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let mut link = Link::new(ours);
        let began = Instant::now();
        let writing =
            tokio::spawn(async move { link.write_all(&[0; 64]).await.map_err(|error| error.kind()) });
        // Now and then something: as long as anything is taken, it goes on.
        for _ in 0..4 {
            tokio::time::sleep(UNTAKEN / 2).await;
            let mut some = [0; 8];
            theirs.read_exact(&mut some).await.unwrap();
            assert!(!writing.is_finished());
        }
        assert_eq!(writing.await.unwrap(), Err(io::ErrorKind::TimedOut));
        assert!((UNTAKEN * 3..UNTAKEN * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
