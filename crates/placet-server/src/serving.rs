//! Connections of the listeners: HTTP/1.1 and HTTP/2, served alike.
//!
//! Over TLS the version is what the handshake agreed on; on a plain listener a client that knows that it may just begins
//! to speak HTTP/2 (RFC 9113 §3.3), which its first bytes show. An `Upgrade` to it is not taken.
//!
//! Each connection is an open file, of which a process has so many: clients get a part of them, so that those who come and
//! say nothing leave some for upstreams and for the store.
//!
//! Invariant: whoever asks nothing for as long as the listener allows, or takes nothing of what is answered, is cut off,
//! whatever the version, and keeps nothing in memory that somebody else needs; what one connection may have under way, and
//! send ahead, is bounded. A connection has its place until it is closed, whatever it was switched over to.

mod activity;
mod begun;
mod link;
mod one_by_one;
mod taken;

pub(crate) use begun::Switching;
pub(crate) use link::Link;

use crate::operations::process;
use activity::{Activity, Busy, UnderWay};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use begun::Begun;
use bytes::Bytes;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use link::UNTAKEN;
use std::{
    any::Any,
    convert::Infallible,
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use taken::{Pieces, Untaken};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tower_service::Service as _;

/// How long an agent may keep a connection to the doors' listener without asking anything, and how long the head of a
/// request may take to come: longer than the pools of usual clients keep one, so that they close first.
const IDLE: Duration = Duration::from_secs(120);
/// The same where most places are taken.
const HURRIED: Duration = Duration::from_secs(10);
/// How long to wait where the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is told that there is no room.
const TOLD_EACH: Duration = Duration::from_secs(60);
/// How many requests one HTTP/2 connection has under way at once.
const STREAMS: u32 = 128;
/// The longest that the headers of a request may be over HTTP/2, in bytes.
const HEADERS: u32 = 32 * 1024;
/// How much of one request's body may lie here unread over HTTP/2, and of all of a connection: what nobody reads of one
/// must not keep the others waiting.
const WINDOW: u32 = 64 * 1024;
const WINDOWS: u32 = STREAMS * WINDOW;
/// How often a silent HTTP/2 client is asked whether it is there, and how long it has to answer.
const PING: Duration = Duration::from_secs(20);
/// How long what is left of a connection may take that was told to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// How the beginning of an HTTP/2 connection differs from every request of HTTP/1: no method begins so.
const PREFACE: &[u8; 3] = b"PRI";

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1, or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As the handshake agreed on.
    pub(crate) fn agreed(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }

    /// As the first bytes show, of which nobody who reads on misses any.
    async fn shown<I: AsyncRead + Unpin>(mut io: I) -> io::Result<(Self, Begun<I>)> {
        let (mut first, mut come) = ([0; PREFACE.len()], 0);
        loop {
            let more = io.read(first.get_mut(come..).unwrap_or_default()).await?;
            come += more;
            let seen = first.get(..come).unwrap_or_default();
            let version = match seen {
                seen if more == 0 || !PREFACE.starts_with(seen) => Self::Http1,
                seen if seen.len() == PREFACE.len() => Self::Http2,
                _ => continue,
            };
            return Ok((version, Begun::new(Bytes::copy_from_slice(seen), io)));
        }
    }
}

/// The connections of a listener, and that they have to end.
#[derive(Debug)]
pub(crate) struct Open(watch::Sender<bool>);

impl Open {
    pub(crate) fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// What one connection is held by.
    pub(crate) fn one(&self) -> Ending {
        Ending { told: self.0.subscribe(), place: None }
    }

    /// The same for one that has this place among those that may be open.
    pub(crate) fn one_at(&self, place: OwnedSemaphorePermit) -> Ending {
        Ending { place: Some(Arc::new(place)), ..self.one() }
    }

    /// Has every connection end when what is under way on it is answered, and waits for the last.
    pub(crate) async fn end(self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// Tells a connection that it has to end; the connection is open, and has its place, until this is dropped, and all that was
/// [kept open](Self::kept_open) with it.
#[derive(Debug)]
pub(crate) struct Ending {
    told: watch::Receiver<bool>,
    place: Option<Arc<OwnedSemaphorePermit>>,
}

/// Whoever has this keeps the connection counted as open.
#[derive(Clone)]
pub(crate) struct KeptOpen(Arc<dyn Any + Send + Sync>);

impl KeptOpen {
    /// By what a connection is counted by.
    pub(crate) fn by(open: impl Any + Send + Sync) -> Self {
        Self(Arc::new(open))
    }
}

impl fmt::Debug for KeptOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptOpen({})", Arc::strong_count(&self.0))
    }
}

impl Ending {
    async fn told(&mut self) {
        // Without anybody who could say so, the listener is gone.
        _ = self.told.wait_for(|end| *end).await;
    }

    /// For what the connection is switched over to, which goes on when it is served.
    fn kept_open(&self) -> KeptOpen {
        KeptOpen::by((self.told.clone(), self.place.clone()))
    }
}

/// How many eighths of the files that the process may open are for the connections of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// The doors: an upstream's connection may belong to each.
    Doors = 5,
    /// What people and machines beside them look at.
    Beside = 1,
}

/// The places for the connections of a listener.
#[derive(Debug, Clone)]
struct Places {
    free: Arc<Semaphore>,
    most: usize,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

    fn of(part: Part) -> Self {
        let files = process::most_descriptors().and_then(|files| usize::try_from(files).ok());
        let most = files.map_or(Semaphore::MAX_PERMITS, |files| files / 8 * part as usize);
        Self::new(most.clamp(16, Semaphore::MAX_PERMITS))
    }

    /// How long whoever comes now may ask nothing.
    fn patience(&self) -> Duration {
        if self.free.available_permits() < self.most / 4 { HURRIED } else { IDLE }
    }
}

/// Serves a listener until `shutdown` is done; what is under way is answered first.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    part: Part,
) -> io::Result<()> {
    listen_within(listener, router, shutdown, Places::of(part)).await
}

async fn listen_within(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
    places: Places,
) -> io::Result<()> {
    let open = Open::new();
    let mut shutdown = pin!(shutdown);
    let mut told: Option<Instant> = None;
    // Nobody fills the log by coming again and again.
    let mut tell = |why: &dyn fmt::Display| {
        if told.is_none_or(|at| at.elapsed() >= TOLD_EACH) {
            tracing::warn!(%why, "a connection can't be accepted");
            told = Some(Instant::now());
        }
    };
    loop {
        if places.free.available_permits() == 0 {
            tell(&format_args!("{} are open: others wait until one ends", places.most));
        }
        let accepting = async {
            // It is closed nowhere.
            let place = Arc::clone(&places.free).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?))
        };
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((place, (stream, address))) => {
                let patience = places.patience();
                tokio::spawn(plain(stream, address, router.clone(), open.one_at(place), patience));
            }
            Err(error) => {
                tell(&error);
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    open.end().await;
    Ok(())
}

async fn plain(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    mut ending: Ending,
    patience: Duration,
) {
    _ = stream.set_nodelay(true);
    let shown = tokio::select! {
        biased;
        () = ending.told() => return,
        shown = timeout(patience, Version::shown(stream)) => shown,
    };
    let Ok(Ok((version, begun))) = shown else { return };
    let answering = move |mut request: Request| {
        request.extensions_mut().insert(ConnectInfo(address));
        // A router is always ready.
        router.clone().call(request)
    };
    // On the heap, so that a connection that has said nothing yet is small.
    Box::pin(served(Link::new(begun), version, patience, answering, ending)).await;
}

/// An answer that is under way until it is taken.
type Noted = hyper::Response<UnderWay<Body>>;

/// Answers requests, and notes for how long each is under way: until its body is no longer needed and its answer has been
/// taken.
fn noting<A, F>(
    activity: &Arc<Activity>,
    answering: A,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Noted,
    Error = Infallible,
    Future = Pin<Box<dyn Future<Output = Result<Noted, Infallible>> + Send>>,
> + Unpin
+ use<A, F>
where
    A: Fn(Request) -> F + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let activity = Arc::clone(activity);
    service_fn(move |request: Request<Incoming>| {
        let (read, answered) = (Busy::new(&activity), Busy::new(&activity));
        let request = request.map(|body| Body::new(UnderWay::new(body, read)));
        let answering = answering(request);
        let answered = async move {
            let response = answering.await?;
            Ok::<_, Infallible>(response.map(|body| UnderWay::new(body, answered)))
        };
        Box::pin(answered) as Pin<Box<dyn Future<Output = _> + Send>>
    })
}

/// Serves one connection until its other end closes it, asks nothing for `idle`, or `ending` says so.
pub(crate) async fn serve<I, A, F>(io: I, version: Version, idle: Duration, answering: A, ending: Ending)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    served(Link::new(io), version, idle, answering, ending).await;
}

async fn served<I, A, F>(io: Link<I>, version: Version, idle: Duration, answering: A, ending: Ending)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request) -> F + Clone + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let served = match version {
        Version::Http1 => one_by_one::serve(io, idle, answering, ending).await,
        // On the heap, so that one of the other version has no room for it.
        Version::Http2 => Box::pin(side_by_side(io, idle, answering, ending)).await,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}

async fn side_by_side<I, A, F>(io: I, idle: Duration, answering: A, mut ending: Ending) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request) -> F + Send + Unpin + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let (activity, untaken) = (Arc::new(Activity::default()), Arc::<Untaken>::default());
    let waiting = Arc::clone(&untaken);
    let answering = move |request: Request| {
        let (answered, waiting) = (answering(request), Arc::clone(&waiting));
        async move {
            let response = answered.await?;
            Ok::<_, Infallible>(response.map(|body| Body::new(Pieces::new(body, waiting))))
        }
    };
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOWS);
    let mut serving = pin!(http.serve_connection(TokioIo::new(io), noting(&activity, answering)));
    loop {
        let until = (activity.since() + idle).min(Instant::now() + UNTAKEN);
        tokio::select! {
            served = serving.as_mut() => return served,
            () = ending.told() => break,
            () = sleep_until(until) => if activity.is_over(idle) || untaken.for_long(UNTAKEN) > 0 { break },
        }
    }
    // It says which requests it has taken, takes no more, and answers those.
    serving.as_mut().graceful_shutdown();
    loop {
        // Who has nothing under way has only to hang up. What nobody takes is waited for no longer than the others are under
        // way: they may be somebody else's.
        let until = activity.since().max(Instant::now()) + FAREWELL;
        tokio::select! {
            served = serving.as_mut() => return served,
            () = sleep_until(until) => {
                if activity.is_over(FAREWELL) || activity.under_way() <= untaken.for_long(UNTAKEN) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    const PATIENT: Duration = Duration::from_secs(30);
    /// The preface and the frame that has to follow it, without settings (RFC 9113 §3.4).
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// When a connection ends on which this is said and nothing more, and how much was answered.
    async fn ends_after(version: Version, said: &[u8]) -> (Duration, usize) {
        let (ours, mut theirs) = tokio::io::duplex(65_536);
        let answering = |_| std::future::ready(Ok(Response::new(Body::from("here"))));
        let open = Open::new();
        let serving = serve(ours, version, PATIENT, answering, open.one());
        let began = Instant::now();
        let asking = async {
            theirs.write_all(said).await.unwrap();
            let mut answer = Vec::new();
            theirs.read_to_end(&mut answer).await.unwrap();
            answer.len()
        };
        let both = async { tokio::join!(serving, asking) };
        let (_, answered) = timeout(PATIENT * 3, both).await.expect("it never ends");
        (began.elapsed(), answered)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_ends() {
        let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for (said, answers) in [(&b""[..], false), (&whole[..10], false), (&whole[..], true)] {
            let (after, answered) = ends_after(Version::Http1, said).await;
            assert!((PATIENT..PATIENT * 2).contains(&after), "{after:?}");
            assert!(answered > 0 || !answers);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_either_version_on_which_nothing_is_asked_ends() {
        // Without its preface, with it, and after a request that was answered (HPACK: GET, http, /; RFC 7541 §6.1).
        let request = [HTTP2, b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84"].concat();
        for (said, answers) in [(&b""[..], false), (HTTP2, false), (&request[..], true)] {
            let (after, answered) = ends_after(Version::Http2, said).await;
            assert!(after < PATIENT * 2, "{after:?}");
            assert!(answered > 60 || !answers, "{answered}");
        }
    }

    /// A frame of HTTP/2 (RFC 9113 §4.1).
    fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
    }

    /// A client that says this, and from then on only that it is there: it takes no more than it let come. What came, and
    /// when its connection ended.
    async fn only_there(mut theirs: tokio::io::DuplexStream, said: &[u8]) -> (Vec<u8>, Duration) {
        let (began, mut came) = (Instant::now(), Vec::new());
        theirs.write_all(said).await.unwrap();
        loop {
            let mut head = [0; 9];
            if theirs.read_exact(&mut head).await.is_err() {
                return (came, began.elapsed());
            }
            let [a, b, c, kind, flags, ..] = head;
            let mut content = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
            theirs.read_exact(&mut content).await.unwrap();
            match (kind, flags) {
                (0, _) => came.extend(content),
                (4, 0) => theirs.write_all(&frame(4, 1, 0, &[])).await.unwrap(),
                (6, 0) => theirs.write_all(&frame(6, 1, 0, &content)).await.unwrap(),
                _ => {}
            }
        }
    }

    /// Over HTTP/2 who takes nothing of an answer still answers pings, and asks for more: it is not waited for, but for what
    /// else is under way.
    #[tokio::test(start_paused = true)]
    async fn an_answer_over_http2_that_nobody_takes_ends_its_connection_and_no_other_answer() {
        const SLOW: Duration = Duration::from_secs(300);
        // No answer may be sent (SETTINGS_INITIAL_WINDOW_SIZE), but for the one to a request for /index.html.
        let nothing = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let first = frame(1, 5, 1, b"\x82\x86\x84");
        let second = [frame(1, 5, 3, b"\x82\x86\x85"), frame(8, 0, 3, &[0, 0, 1, 0])].concat();
        let alone = [HTTP2, &nothing, &first].concat();
        let beside = [HTTP2, &nothing, &first, &second].concat();
        for (said, answered, ends) in [(alone, &b""[..], UNTAKEN), (beside, b"there", SLOW)] {
            let (ours, theirs) = tokio::io::duplex(65_536);
            let answering = |request: Request| async move {
                if request.uri().path() == "/" {
                    return Ok(Response::new(Body::from("here")));
                }
                sleep(SLOW).await;
                Ok(Response::new(Body::from("there")))
            };
            let open = Open::new();
            let serving = serve(ours, Version::Http2, PATIENT, answering, open.one());
            let both = async { tokio::join!(serving, only_there(theirs, &said)).1 };
            let (came, after) = timeout(SLOW * 2, both).await.expect("it never ends");
            assert_eq!(came, answered);
            assert!((ends..ends + PATIENT + FAREWELL * 2).contains(&after), "{after:?}");
        }
    }

    /// What a connection was switched over to has its place, and counts as open, until it is over.
    #[tokio::test]
    async fn what_a_connection_is_switched_over_to_keeps_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (switched, mut over) = tokio::sync::mpsc::unbounded_channel();
        let router = Router::new().fallback(move |request: Request| {
            let kept = request.extensions().get::<KeptOpen>().cloned();
            let switching = Switching::of(request.extensions()).unwrap();
            let switched = switched.clone();
            tokio::spawn(async move { switched.send((switching.over().await, kept)) });
            let headers = [("connection", "upgrade"), ("upgrade", "other")];
            std::future::ready((axum::http::StatusCode::SWITCHING_PROTOCOLS, headers))
        });
        let places = Places::new(8);
        let listening = tokio::spawn(listen_within(listener, router, std::future::pending(), places.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        let asks = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n";
        client.write_all(asks).await.unwrap();
        let held = timeout(PATIENT, over.recv()).await.expect("it is switched over").unwrap();
        assert!(held.0.is_some());
        // One has it, and one is for who comes next.
        assert_eq!(places.free.available_permits(), 6);
        drop(held);
        assert_eq!(places.free.available_permits(), 7);
        listening.abort();
    }

    /// Clients take their part of the files and no more; whoever comes then waits for a place, and is served.
    #[tokio::test]
    async fn who_says_nothing_takes_no_more_than_the_places_there_are() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (places, router) = (Places::new(8), Router::new().fallback(async || "here"));
        assert_eq!(places.patience(), IDLE);
        let listening = tokio::spawn(listen_within(listener, router, std::future::pending(), places.clone()));
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        timeout(PATIENT, async {
            while places.free.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("each takes a place");
        assert_eq!(places.patience(), HURRIED, "whoever comes then has less time to say nothing");
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        drop(silent.pop());
        let mut answer = String::new();
        timeout(PATIENT, next.read_to_string(&mut answer)).await.expect("a place is free").unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        listening.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_spoken_shows_in_three_bytes() {
        for (said, version) in [
            (&b"G"[..], Version::Http1),
            (b"PUT ", Version::Http1),
            (b"PR", Version::Http1),
            (b"PRI", Version::Http2),
            (b"PRI * HTTP/2.0", Version::Http2),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            let shown = tokio::spawn(Version::shown(ours));
            for byte in said {
                theirs.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            // Two bytes may become either; what follows decides, or that nothing does.
            if said == b"PR" {
                tokio::time::sleep(PATIENT).await;
                assert!(!shown.is_finished());
                drop(theirs);
                assert_eq!(shown.await.unwrap().unwrap().0, version);
                continue;
            }
            drop(theirs);
            let (shows, mut link) = shown.await.unwrap().unwrap();
            assert_eq!(shows, version);
            let mut all = Vec::new();
            link.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, said, "nothing of it is lost");
        }
    }

    /// Whoever says a part and stops is waited for, and not asked again and again.
    #[tokio::test]
    async fn a_part_of_what_is_spoken_costs_nothing_while_nothing_more_comes() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"PR").await.unwrap();
        let mut polls = 0;
        let mut shown = pin!(Version::shown(ours));
        let waited = std::future::poll_fn(|cx| {
            polls += 1;
            shown.as_mut().poll(cx)
        });
        assert!(timeout(Duration::from_millis(300), waited).await.is_err());
        assert!(polls <= 2, "asked {polls} times");
    }
}
