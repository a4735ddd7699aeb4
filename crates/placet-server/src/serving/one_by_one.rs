//! HTTP/1: a connection is served while something is asked on it, and parked while nothing is.
//!
//! What serves a connection keeps buffers of 16 KiB for what may come next. A parked connection is a socket and who to
//! wake: tens of thousands of agents that ask now and then fit into memory.
//!
//! Invariant: parking loses nothing. Only a connection is parked on which a request was answered and none has begun, and
//! what had come of a next one by then is read first when it goes on.

use super::{
    Ending, FAREWELL, KeptOpen,
    activity::Activity,
    begun::{Begun, Switching},
    noting,
};
use axum::{
    extract::Request,
    http::{StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use placet_gateway::Duplex;
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
    time::{Instant, sleep_until, timeout, timeout_at},
};

/// After how long without anything asked a connection is parked: clients that ask one thing after another never are.
const PARKED_AFTER: Duration = Duration::from_secs(2);
/// How much of a request is read to know that there is one, in bytes.
const FIRST: usize = 16;

/// How a time of serving ended.
enum Served<I> {
    /// Nothing more was asked, since then.
    Quiet(Begun<I>, Instant),
    /// For good.
    Over,
}

/// Where the connection goes once it is switched over.
type GivenTo = oneshot::Sender<Box<dyn Duplex>>;

/// Serves one connection until its other end closes it, asks nothing for `idle`, or `ending` says so.
pub(super) async fn serve<I, A, F>(
    io: I,
    idle: Duration,
    answering: A,
    mut ending: Ending,
) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let mut begun = Begun::new(Bytes::new(), io);
    loop {
        // On the heap, so that it takes no room while the connection is parked.
        let served = Box::pin(for_a_time(begun, idle, answering.clone(), &mut ending)).await?;
        let Served::Quiet(parked, since) = served else { return Ok(()) };
        begun = parked;
        if begun.first.is_empty() {
            let mut first = [0; FIRST];
            let come = tokio::select! {
                biased;
                () = ending.told() => None,
                come = timeout_at(since + idle, begun.io.read(&mut first)) => come.ok().and_then(Result::ok),
            };
            let first = come.and_then(|come| first.get(..come)).unwrap_or_default();
            if first.is_empty() {
                farewell(begun.io).await;
                return Ok(());
            }
            begun.first = Bytes::copy_from_slice(first);
        }
    }
}

/// Serves a connection until nothing more is asked.
async fn for_a_time<I, A, F>(
    begun: Begun<I>,
    idle: Duration,
    answering: A,
    ending: &mut Ending,
) -> hyper::Result<Served<I>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request) -> F + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let (untaken, given_to) = (begun.untaken(), Arc::<Mutex<Option<GivenTo>>>::default());
    let kept = ending.kept_open();
    let service = noting(&activity, switching(Arc::clone(&given_to), kept, answering));
    let mut http = http1::Builder::new();
    // While it waits for the next request, too.
    http.timer(TokioTimer::new()).header_read_timeout(idle);
    let mut serving = http.serve_connection(TokioIo::new(begun), service);
    let (mut ended, mut quiet, mut looked) = (false, None, Instant::now());
    loop {
        let until = activity.since().max(looked) + PARKED_AFTER;
        let done = poll_fn(|cx| serving.poll_without_shutdown(cx));
        tokio::select! {
            done = done => {
                done?;
                break;
            }
            () = ending.told(), if !ended => {
                ended = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            () = sleep_until(until), if !ended && quiet.is_none() => {
                looked = Instant::now();
                // A first request that comes slowly has begun, and an answer that is taken slowly has not ended.
                let is_quiet = activity.was_any() && activity.is_over(PARKED_AFTER);
                if is_quiet && !untaken.load(Ordering::Relaxed) {
                    quiet = Some(activity.since());
                    // Nothing is under way, so it ends at once.
                    Pin::new(&mut serving).graceful_shutdown();
                }
            }
        }
    }
    let http1::Parts { io, read_buf, .. } = serving.into_parts();
    let Begun { first, io, .. } = io.into_inner();
    // What it was read into, of 8 KiB, is not kept.
    let begun = Begun::new(Bytes::from([read_buf, first].concat()), io);
    let given_to = given_to.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(given_to) = given_to {
        // Whoever asked for it may have given up.
        _ = given_to.send(Box::new(begun));
        return Ok(Served::Over);
    }
    if let Some(since) = quiet {
        return Ok(Served::Quiet(begun, since));
    }
    farewell(begun.io).await;
    Ok(Served::Over)
}

/// Has requests that may switch their connection over know what gives it, and notes which answer did.
fn switching<A, F>(
    given_to: Arc<Mutex<Option<GivenTo>>>,
    kept: KeptOpen,
    answering: A,
) -> impl Fn(Request) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> + Send + Unpin
where
    A: Fn(Request) -> F + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    move |mut request: Request| {
        if !request.headers().contains_key(header::UPGRADE) {
            return Box::pin(answering(request));
        }
        let (give, given) = oneshot::channel();
        request.extensions_mut().insert(Switching::here(given));
        // What the connection is switched over to goes on when this one is served.
        request.extensions_mut().insert(kept.clone());
        let (given_to, answering) = (Arc::clone(&given_to), answering(request));
        Box::pin(async move {
            let response = answering.await?;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *given_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(give);
            }
            Ok(response)
        })
    }
}

/// Tells the other end that nothing more comes.
async fn farewell(mut io: impl AsyncWrite + Unpin) {
    _ = timeout(FAREWELL, io.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::Open;
    use axum::body::Body;
    use std::{
        sync::atomic::AtomicUsize,
        task::{Context, Poll},
    };
    use tokio::{
        io::{DuplexStream, ReadBuf, duplex},
        time::sleep,
    };

    const IDLE: Duration = Duration::from_secs(60);
    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// Notes how much room there was when it was read last.
    struct Watched(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Watched {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.1.store(into.remaining(), Ordering::SeqCst);
            Pin::new(&mut self.0).poll_read(cx, into)
        }
    }

    impl AsyncWrite for Watched {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// A connection that is served, its other end, how much room there is for what comes, and that it has to end.
    fn served() -> (tokio::task::JoinHandle<()>, DuplexStream, Arc<AtomicUsize>, Open) {
        let (ours, theirs) = duplex(65_536);
        let room = Arc::new(AtomicUsize::new(0));
        let open = Open::new();
        let (ending, ours) = (open.one(), Watched(ours, Arc::clone(&room)));
        let answering = |_| std::future::ready(Ok(Response::new(Body::from("here"))));
        let serving = tokio::spawn(async move { serve(ours, IDLE, answering, ending).await.unwrap() });
        (serving, theirs, room, open)
    }

    async fn answer(theirs: &mut DuplexStream) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"here") {
            assert!(theirs.read_buf(&mut answer).await.unwrap() > 0, "it ended");
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_asks_nothing_for_a_while_keeps_no_buffers_and_is_answered_when_it_asks_again() {
        let (serving, mut theirs, room, open) = served();
        for _ in 0..3 {
            theirs.write_all(ASKED).await.unwrap();
            assert!(!answer(&mut theirs).await.contains("connection: close"));
            assert!(room.load(Ordering::SeqCst) > FIRST);
            sleep(PARKED_AFTER / 2).await;
            assert!(room.load(Ordering::SeqCst) > FIRST, "it is still there for what comes");
            sleep(PARKED_AFTER).await;
            assert_eq!(room.load(Ordering::SeqCst), FIRST, "it is parked");
        }
        // It is parked when it has to end, and ends at once.
        let began = Instant::now();
        open.end().await;
        serving.await.unwrap();
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_parked_holds_no_more_than_what_was_read() {
        for beginning in [&b""[..], b"GET /"] {
            let (io, mut theirs) = duplex(65_536);
            let open = Open::new();
            let answering = |_| std::future::ready(Ok(Response::new(Body::from("here"))));
            theirs.write_all(&[ASKED, beginning].concat()).await.unwrap();
            let begun = Begun::new(Bytes::new(), io);
            let Ok(Served::Quiet(parked, _)) = for_a_time(begun, IDLE, answering, &mut open.one()).await
            else {
                panic!("it is not parked")
            };
            assert_eq!(&parked.first[..], beginning);
            // Where nothing is held, there is nothing to write to.
            let held = parked.first.try_into_mut().map_or(0, |held| held.capacity());
            assert_eq!(held, beginning.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_beginning_of_a_request_is_not_lost_wherever_it_is_cut() {
        for cut in 1..ASKED.len() {
            let (_serving, mut theirs, _, _open) = served();
            let (first, rest) = ASKED.split_at(cut);
            // It comes with the request before it, which is answered, and the rest after time enough to be parked.
            theirs.write_all(&[ASKED, first].concat()).await.unwrap();
            answer(&mut theirs).await;
            sleep(PARKED_AFTER * 3).await;
            theirs.write_all(rest).await.unwrap();
            assert!(!answer(&mut theirs).await.contains("connection: close"), "{cut}");
            // It comes while it is parked.
            sleep(PARKED_AFTER * 3).await;
            theirs.write_all(first).await.unwrap();
            sleep(PARKED_AFTER * 3).await;
            theirs.write_all(rest).await.unwrap();
            assert!(!answer(&mut theirs).await.contains("connection: close"), "{cut}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_that_comes_slowly_is_answered() {
        let (_serving, mut theirs, _, _open) = served();
        for byte in ASKED {
            sleep(PARKED_AFTER / 2).await;
            theirs.write_all(&[*byte]).await.unwrap();
        }
        assert!(!answer(&mut theirs).await.contains("connection: close"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_connection_ends_when_nothing_was_asked_for_long_or_the_other_end_goes() {
        let (serving, mut theirs, _, _open) = served();
        theirs.write_all(ASKED).await.unwrap();
        answer(&mut theirs).await;
        let began = Instant::now();
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(began.elapsed(), IDLE);
        serving.await.unwrap();

        let (serving, mut theirs, _, _open) = served();
        theirs.write_all(ASKED).await.unwrap();
        answer(&mut theirs).await;
        sleep(PARKED_AFTER * 2).await;
        drop(theirs);
        timeout(IDLE / 2, serving).await.expect("it goes on").unwrap();
    }
}
