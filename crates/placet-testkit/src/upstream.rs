//! A real HTTP server on loopback that answers nobody without its secret and remembers everything that it saw.
//!
//! Invariant: what it answers and counts knows nothing of Placet.

use crate::RUNTIME;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// A running upstream; it ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    base: String,
    state: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, percent-encoded as it came.
    pub path: String,
    /// The query, percent-encoded as it came; empty where there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether it came with the secret.
    pub authorized: bool,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    gate: Option<Gate>,
    hang_up: bool,
}

/// Keeps requests waiting until it is opened, or for ever.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

type Answering = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

struct Shared {
    header: String,
    expected: String,
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<Vec<(String, Answering)>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(…)")
    }
}

impl Upstream {
    /// Starts one that wants `Authorization: Bearer {secret}`.
    pub fn start(secret: &str) -> Self {
        Self::with_header("authorization", &format!("Bearer {secret}"))
    }

    /// Starts one that wants the header `name` with `value`.
    ///
    /// # Panics
    /// Where no port is free.
    pub fn with_header(name: &str, value: &str) -> Self {
        let state = Arc::new(Shared {
            header: name.to_owned(),
            expected: value.to_owned(),
            seen: Mutex::default(),
            answers: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = RUNTIME.spawn(async { _ = axum::serve(listener, router).await });
        Self { base, state, serving }
    }

    /// Where it answers; the literal address that a service's `base_url` needs.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// From now on what comes to a path that begins with `prefix` is answered so; the latest that fits wins. What
    /// nobody said anything about is answered 200 with the method and path as JSON.
    pub fn answer(&self, prefix: &str, what: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.state.answers.lock().unwrap().push((prefix.to_owned(), Arc::new(what)));
    }

    /// From now on what comes to a path that begins with `prefix` is answered with `reply`.
    pub fn reply(&self, prefix: &str, reply: Reply) {
        self.answer(prefix, move |_| reply.clone());
    }

    /// Everything that came, in order; with the secret or without.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// What came to paths that begin with `prefix`.
    pub fn seen_at(&self, prefix: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.starts_with(prefix)).collect()
    }

    /// How many came with the secret to paths that begin with `prefix`.
    pub fn count(&self, prefix: &str) -> usize {
        self.state
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| seen.authorized && seen.path.starts_with(prefix))
            .count()
    }

    /// How many came without the secret.
    pub fn unauthorized(&self) -> usize {
        self.state.seen.lock().unwrap().iter().filter(|seen| !seen.authorized).count()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Seen {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Reply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), gate: None, hang_up: false }
    }

    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// Any bytes.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::status(status) }.header("content-type", content_type)
    }

    /// Nothing: the connection ends without an answer.
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::status(200) }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Not before `gate` is open.
    #[must_use]
    pub fn after(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }
}

impl Gate {
    /// One that is shut.
    pub fn shut() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets through what waits and what comes.
    pub fn open(&self) {
        self.0.close();
    }
}

async fn answer(
    State(state): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let authorized =
        headers.get(&state.header).is_some_and(|given| given.as_bytes() == state.expected.as_bytes());
    let seen = Seen {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
        authorized,
    };
    state.seen.lock().unwrap().push(seen.clone());
    if !authorized {
        return response(&Reply::json(401, &json!({"error": "this upstream wants its secret"})));
    }
    let answering = {
        let answers = state.answers.lock().unwrap();
        let found = answers.iter().rev().find(|(prefix, _)| seen.path.starts_with(prefix.as_str()));
        found.map(|(_, answering)| Arc::clone(answering))
    };
    let reply = answering.map_or_else(
        || Reply::json(200, &json!({"ok": true, "method": seen.method, "path": seen.path})),
        |answering| answering(&seen),
    );
    if let Some(gate) = &reply.gate {
        // It ends with an error when the gate is opened.
        let _ = gate.0.acquire().await;
    }
    response(&reply)
}

fn response(reply: &Reply) -> Response {
    // A handler that panics ends its connection, which is what is meant here; the message would be noise.
    if reply.hang_up {
        std::panic::resume_unwind(Box::new("hang up"));
    }
    let mut response = Response::new(Body::from(reply.body.clone()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    response
}
