//! What is said of a request before it is answered: progress and log messages as events of the request's own answer, for
//! clients that take them; and how a client calls a request off.
//!
//! An answer is events only once there is something to pass on: else it is one message, as ever. A client of the stateless
//! revision calls off what it no longer waits for by going away; one of the others says so (`notifications/cancelled`),
//! and going away means nothing.
//!
//! Invariant: nothing is passed on once the grant has ended that the request was made with. What is called off is told
//! upstream and recorded as what it is: nobody knows whether it happened, unless nothing had been sent. An answer that its
//! client does not read in time breaks off: it never looks whole.

use super::{Caller, Door, Request, Revision, answer};
use crate::app::App;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use http_body::Frame;
use placet_core::{
    id::{AgentId, GrantId},
    mcp::{Level, META_PROGRESS, RpcError},
};
use placet_gateway::{CallOff, Followed, Notice, Wanted, follow};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// How long a client may leave what was said unread, once there is an answer.
const SLOW_READER: Duration = Duration::from_secs(60);
/// How many messages wait for a client that is slow to read.
const WAITING: usize = 8;

/// A request that can be called off: who asked it, and the id that they gave it.
type Key = (AgentId, GrantId, String);

/// The requests at this door of which somebody waits for the answer.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    open: HashMap<Key, Vec<(u64, CallOff)>>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: &Key, off: CallOff) -> u64 {
        let mut waiting = self.lock();
        waiting.next = waiting.next.wrapping_add(1);
        let number = waiting.next;
        waiting.open.entry(key.clone()).or_default().push((number, off));
        number
    }

    fn forget(&self, key: &Key, number: u64) {
        let mut waiting = self.lock();
        if let Some(all) = waiting.open.get_mut(key) {
            all.retain(|(one, _)| *one != number);
            if all.is_empty() {
                waiting.open.remove(key);
            }
        }
    }

    /// Calls off the request with this id; where several clients with one token gave the same, it is none of them.
    fn call_off(&self, key: &Key) {
        if let Some([(_, off)]) = self.lock().open.get(key).map(Vec::as_slice) {
            off.call_off();
        }
    }
}

/// A request that is waited for, until this is dropped.
struct Open {
    app: Arc<App>,
    key: Key,
    number: u64,
    off: CallOff,
    /// Whether who goes away calls it off.
    by_leaving: bool,
    answered: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.calls.forget(&self.key, self.number);
        if self.by_leaving && !self.answered {
            self.off.call_off();
        }
    }
}

fn key(caller: &Caller, id: &Value) -> Key {
    let leaf = &caller.bearer.chain.leaf().grant;
    (caller.bearer.chain.agent().id, leaf.id, id.to_string())
}

/// `notifications/cancelled`: of a request that this node does not know it is about nothing.
pub(super) fn cancelled(app: &App, caller: &Caller, params: &Map<String, Value>) {
    if let Some(id) = params.get("requestId") {
        app.calls.call_off(&key(caller, id));
    }
}

/// What the client wants to be told of its request while it waits.
/// `set`: from which level on for all its requests.
fn wanted(
    request: &Request,
    headers: &HeaderMap,
    revision: Revision,
    set: Option<Level>,
) -> Result<Wanted, RpcError> {
    let (progress, level) = (request.progress()?.is_some(), request.level()?);
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    if !accepts.flat_map(|accept| accept.split(',')).any(is_events) {
        return Ok(Wanted::default());
    }
    let level = level.or(set.filter(|_| revision == Revision::WithHandshake));
    // Who does not say is told what servers say by themselves, in the revision in which they do.
    let unasked = (revision == Revision::WithHandshake).then_some(Level::Info);
    Ok(Wanted { progress, log: level.or(unasked), ask_for_log: level.is_some() })
}

fn is_events(accepted: &str) -> bool {
    let kind = accepted.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

impl Door {
    /// Answers a request, with what is said meanwhile before the answer.
    pub(super) async fn followed(mut self, request: Request) -> Response {
        let chain = &self.caller.bearer.chain;
        let set = self.app.levels.of(chain.agent().id, chain.leaf().grant.id);
        let wanted = match wanted(&request, &self.headers, self.revision, set) {
            Ok(wanted) => wanted,
            Err(error) => return answer::failed(&error, Some(&request.id)),
        };
        let (following, Followed { mut notices, off }) = follow(wanted);
        self.following = Some(following);
        let (app, key) = (Arc::clone(&self.app), key(&self.caller, &request.id));
        let number = app.calls.note(&key, off.clone());
        let by_leaving = self.revision == Revision::Stateless;
        let mut open = Open { app, key, number, off, by_leaving, answered: false };
        let token = request.progress().ok().flatten().cloned();
        let mut answering = Box::pin(async move { self.response(&request).await });
        tokio::select! {
            biased;
            Some(notice) = notices.recv() => {
                let (sender, events) = telling();
                tokio::spawn(pass(open, (notice, notices), token, answering, sender));
                streamed(events)
            }
            answered = &mut answering => {
                open.answered = true;
                answered.response()
            }
        }
    }
}

/// Passes on what is said, and then the answer.
async fn pass(
    mut open: Open,
    (first, mut notices): (Notice, mpsc::Receiver<Notice>),
    token: Option<Value>,
    mut answering: Pin<Box<impl Future<Output = answer::Told>>>,
    sender: Telling,
) {
    let app = Arc::clone(&open.app);
    let mut stream = app.streams.register(open.key.1);
    let mut ended = false;
    let mut next = Some(first);
    let told = loop {
        if let Some(notice) = next.take().filter(|_| !ended) {
            // Whoever does not read it in time does without.
            _ = sender.events.try_send(event(&message(notice, token.as_ref())));
        }
        tokio::select! {
            biased;
            _ = stream.ended(), if !ended => ended = true,
            Some(notice) = notices.recv() => next = Some(notice),
            told = &mut answering => break told,
            () = sender.events.closed() => return,
        }
    };
    // What there is an answer to is over and recorded, whether anybody reads that or not.
    open.answered = true;
    sender.finish(event(&told.message())).await;
}

/// Events on their way to a client.
struct Telling {
    events: mpsc::Sender<Bytes>,
    /// Whether the answer is among them.
    whole: Arc<AtomicBool>,
}

fn telling() -> (Telling, Events) {
    let (events, waiting) = mpsc::channel(WAITING);
    let whole = Arc::new(AtomicBool::new(false));
    (Telling { events, whole: Arc::clone(&whole) }, Events { waiting, whole })
}

impl Telling {
    /// Says the last, to who reads it in time.
    async fn finish(self, last: Bytes) {
        if let Ok(Ok(place)) = timeout(SLOW_READER, self.events.reserve()).await {
            self.whole.store(true, Ordering::Release);
            place.send(last);
        }
    }
}

fn message(notice: Notice, token: Option<&Value>) -> Value {
    let (method, params) = match notice {
        Notice::Progress(mut params) => {
            params.insert(META_PROGRESS.into(), token.cloned().unwrap_or_default());
            ("notifications/progress", params)
        }
        Notice::Log(params) => ("notifications/message", params),
    };
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

fn event(message: &Value) -> Bytes {
    // JSON has no line ends.
    format!("event: message\ndata: {message}\n\n").into()
}

fn streamed(events: Events) -> Response {
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Else some proxies keep events until there are many.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Events as a body.
struct Events {
    waiting: mpsc::Receiver<Bytes>,
    whole: Arc<AtomicBool>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match self.waiting.poll_recv(context) {
            Poll::Ready(Some(event)) => Poll::Ready(Some(Ok(Frame::data(event)))),
            Poll::Ready(None) if self.whole.load(Ordering::Acquire) => Poll::Ready(None),
            Poll::Ready(None) => Poll::Ready(Some(Err("the answer broke off"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body::Body as _;
    use placet_core::time::Timestamp;

    fn key(id: &str) -> Key {
        let at = Timestamp::MAX;
        (AgentId::from_parts(at, [1; 10]), GrantId::from_parts(at, [1; 10]), id.to_owned())
    }

    #[tokio::test]
    async fn only_the_one_request_of_an_id_is_called_off() {
        let calls = Calls::default();
        let (one, other) = (follow(Wanted::default()), follow(Wanted::default()));
        let first = calls.note(&key("1"), one.1.off.clone());
        calls.call_off(&key("2"));
        assert!(!is_off(&one.0));
        // Two clients that count from one.
        let second = calls.note(&key("1"), other.1.off.clone());
        calls.call_off(&key("1"));
        assert!(!is_off(&one.0) && !is_off(&other.0));
        calls.forget(&key("1"), first);
        calls.call_off(&key("1"));
        assert!(!is_off(&one.0) && is_off(&other.0));
        calls.forget(&key("1"), second);
        assert!(calls.lock().open.is_empty());
    }

    /// What comes of a client's events, which it begins to read after so long.
    async fn read_after(wait: Duration) -> (Duration, Result<usize, &'static str>) {
        let (telling, mut events) = telling();
        while telling.events.try_send(Bytes::from_static(b"said")).is_ok() {}
        let began = tokio::time::Instant::now();
        let finishing = tokio::spawn(async move {
            telling.finish(Bytes::from_static(b"answer")).await;
            began.elapsed()
        });
        tokio::time::sleep(wait).await;
        let mut read = 0;
        let ended = loop {
            match std::future::poll_fn(|cx| Pin::new(&mut events).poll_frame(cx)).await {
                Some(Ok(_)) => read += 1,
                Some(Err(why)) => break Err(why),
                None => break Ok(read),
            }
        };
        (finishing.await.unwrap(), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_the_answer_in_time_is_not_waited_for() {
        let (waited, ended) = read_after(SLOW_READER / 2).await;
        assert_eq!((waited, ended), (SLOW_READER / 2, Ok(WAITING + 1)));
        let (waited, ended) = read_after(SLOW_READER * 3).await;
        assert_eq!((waited, ended), (SLOW_READER, Err("the answer broke off")), "it does not look whole");
    }

    fn is_off(following: &placet_gateway::Following) -> bool {
        following.is_off()
    }

    #[test]
    fn events_are_for_who_takes_them() {
        for (accepted, is) in [
            ("text/event-stream", true),
            (" Text/Event-Stream;q=1", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            assert_eq!(is_events(accepted), is, "{accepted}");
        }
    }
}
