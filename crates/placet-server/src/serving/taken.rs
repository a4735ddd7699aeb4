//! Answers over HTTP/2, and how long each has waited for the other end to take it.
//!
//! There the connection goes on whatever becomes of one answer: how much of that may come is for the other end to say, who
//! can leave it for ever and ask for more. So an answer goes out in pieces, of which the next is asked for when the one before
//! has room, and what has none is known.
//!
//! Invariant: an answer waits from when a piece of it is there until the next is asked for; while there is none yet, it is not
//! the other end that is waited for.

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// How much of an answer goes out at once: one frame, as most clients take them (RFC 9113 §4.2).
const PIECE: usize = 16 * 1024;

/// Which answers of a connection wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Untaken(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    since: HashMap<u64, Instant>,
}

impl Untaken {
    /// How many have waited for so long.
    pub(super) fn for_long(&self, time: Duration) -> usize {
        self.waiting().since.values().filter(|since| since.elapsed() >= time).count()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer.
pub(super) struct Pieces {
    body: Body,
    rest: Bytes,
    untaken: Arc<Untaken>,
    number: u64,
}

impl Pieces {
    /// One that waits from now on.
    pub(super) fn new(body: Body, untaken: Arc<Untaken>) -> Self {
        let number = {
            let mut waiting = untaken.waiting();
            waiting.next = waiting.next.wrapping_add(1);
            waiting.next
        };
        let pieces = Self { body, rest: Bytes::new(), untaken, number };
        pieces.waits();
        pieces
    }

    fn waits(&self) {
        self.untaken.waiting().since.insert(self.number, Instant::now());
    }

    fn waits_no_more(&self) {
        self.untaken.waiting().since.remove(&self.number);
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            // There is room for what comes next, when it comes.
            this.waits_no_more();
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.waits();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of, rest) = (self.body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(u64::MAX));
        let mut hint = SizeHint::new();
        if let Some(upper) = of.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(of.lower().saturating_add(rest));
        hint
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.waits_no_more();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    #[tokio::test(start_paused = true)]
    async fn it_comes_as_it_was_and_waits_only_for_who_takes_it() {
        let long = Duration::from_secs(60);
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let untaken = Arc::new(Untaken::default());
        let mut pieces = Pieces::new(sent(receiver), Arc::clone(&untaken));
        tokio::time::sleep(long).await;
        assert_eq!(untaken.for_long(long), 1, "nobody has asked for any of it");
        // It is asked for, and there is nothing yet.
        assert!(tokio::time::timeout(long * 2, pieces.frame()).await.is_err());
        assert_eq!(untaken.for_long(long), 0);
        let whole: Bytes = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        sender.send(whole.clone()).await.unwrap();
        drop(sender);
        let mut came = Vec::new();
        while let Some(frame) = pieces.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= PIECE);
            came.extend_from_slice(&data);
            if came.len() == data.len() {
                tokio::time::sleep(long).await;
                assert_eq!(untaken.for_long(long), 1, "the first piece is not taken");
            }
        }
        assert_eq!((came, untaken.for_long(Duration::ZERO)), (whole.to_vec(), 0));
    }

    #[test]
    fn its_length_is_told_and_its_end() {
        let untaken = Arc::new(Untaken::default());
        let mut pieces = Pieces::new(Body::from(vec![0; 3 * PIECE - 1]), Arc::clone(&untaken));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for left in [3 * PIECE - 1, 2 * PIECE - 1, PIECE - 1] {
            assert_eq!(pieces.size_hint().exact(), u64::try_from(left).ok());
            assert!(!pieces.is_end_stream());
            assert!(Pin::new(&mut pieces).poll_frame(&mut cx).is_ready());
        }
        assert!(pieces.is_end_stream() && pieces.size_hint().exact() == Some(0));
        drop(pieces);
        assert_eq!(untaken.for_long(Duration::ZERO), 0, "what is over waits for nobody");
    }

    /// A body of what is sent.
    fn sent(receiver: tokio::sync::mpsc::Receiver<Bytes>) -> Body {
        struct Later(tokio::sync::mpsc::Receiver<Bytes>);
        impl http_body::Body for Later {
            type Data = Bytes;
            type Error = std::convert::Infallible;

            fn poll_frame(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
                self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
            }
        }
        Body::new(Later(receiver))
    }
}
