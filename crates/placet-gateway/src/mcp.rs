//! Calls of tools at upstreams that speak the Model Context Protocol over streamable HTTP.
//!
//! A call comes as the message that was described; what belongs to the connection is added here: the id, the revision
//! (2026-07-28 where the server has it, else what a handshake ends in), the session. What is agreed is kept with the
//! credential it was agreed with, so that no two connections share a session, and is agreed once for all who wait.
//!
//! The server's answer becomes that of an HTTP upstream: a result has the status 200, an error one by which it can be told
//! whether the request was refused or failed. What a server asks of its client is refused; it is told so.
//!
//! Invariant: a message that may have been acted on is not sent again. The one that is, is one of which the server said
//! that it knows no such session. Only the message that answers this very request counts as its answer.

mod following;
mod listing;
mod process;

pub use following::{CallOff, Followed, Following, Notice, Wanted, follow};
pub use listing::{NoTools, Told};
pub use process::Command;

use crate::failure::{NotSent, Unknown, UpstreamFailure};
use crate::gateway::{Gateway, not_sent, unknown};
use crate::inject::Credential;
use crate::response::{self, ReadError, ResponseBody, UpstreamResponse};
use crate::route::{OpenCall, Route};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use placet_core::call::{Method, UpstreamCall};
use placet_core::json;
use placet_core::mcp::{
    META_LEVEL, META_PROGRESS, STATELESS, WITH_HANDSHAKE, events::Events, in_header, repeated,
};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout, timeout_at};

/// A revision from before those that are offered, which servers may answer with; its messages are the same.
const OLDER: &str = "2025-03-26";
/// The first, which programs still answer with.
const OLDEST: &str = "2024-11-05";
/// The error of a server that does not speak the revision.
const UNSUPPORTED: i64 = -32022;
/// The longest session id that is taken.
const MAX_SESSION: usize = 1024;
/// How long a server may take to be told that a call is called off.
const WITHDRAWN: Duration = Duration::from_secs(5);
/// How many questions of a server are answered within one call.
const MAX_QUESTIONS: usize = 16;
/// How many servers one credential remembers; it is one but where a definition was changed.
const REMEMBERED: usize = 4;

/// What was agreed with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Agreed {
    /// Every request stands alone.
    Stateless { prompts: bool },
    /// A handshake went before.
    Session { version: String, id: Option<String>, prompts: bool },
}

impl Agreed {
    /// Whether the server says that it has prompts.
    fn has_prompts(&self) -> bool {
        let (Self::Stateless { prompts } | Self::Session { prompts, .. }) = self;
        *prompts
    }
}

/// What was agreed through one credential, by server.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    agreed: Mutex<HashMap<String, Agreed>>,
    next: AtomicU64,
    /// The process, where the server is a program.
    process: Mutex<process::Slot>,
}

impl Sessions {
    /// An id for a request.
    fn fresh(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Which servers said that they have other tools now.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    servers: std::sync::Mutex<HashSet<String>>,
    more: Notify,
}

/// One exchange is about this.
struct Peer<'a> {
    gateway: &'a Gateway,
    route: &'a Route,
    credential: &'a Credential,
    /// Where it is, with the constant headers.
    at: &'a UpstreamCall,
    deadline: Instant,
    max: usize,
    /// Who waits for the answer and wants to hear of it meanwhile.
    following: Option<&'a Following>,
}

/// What came back.
struct Came {
    status: u16,
    headers: HeaderMap,
    body: Body,
}

enum Body {
    /// The answer to the request: a `result` or an `error`.
    Answer(Map<String, Value>),
    /// Something else, whole.
    Other(bytes::Bytes),
}

impl Gateway {
    /// Sends the message of `call` to its server and reads the answer.
    pub(crate) async fn call_tool(
        &self,
        call: &UpstreamCall,
        route: &Route,
        credential: &Credential,
        deadline: Instant,
        max: usize,
        following: Option<&Following>,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        let body = call.body.as_deref().and_then(|body| json::parse(body).ok());
        let Some(Value::Object(message)) = body else { return Err(not_sent(route, NotSent::BadCall)) };
        let peer = Peer { gateway: self, route, credential, at: call, deadline, max, following };
        let came = peer.ask(&message).await?;
        peer.answered(came)
    }

    /// Waits until servers say that they have other tools now; answers where they are (origin and path).
    pub async fn other_tools(&self) -> HashSet<String> {
        loop {
            let more = self.heard().more.notified();
            let heard = self.heard().take();
            if !heard.is_empty() {
                return heard;
            }
            more.await;
        }
    }
}

impl Peer<'_> {
    /// Agrees where nothing is agreed yet, and asks.
    async fn ask(&self, message: &Map<String, Value>) -> Result<Came, UpstreamFailure> {
        if let Some(command) = self.route.command() {
            return self.ask_process(command, message).await;
        }
        let agreed = match self.agreed(None).await? {
            Ok(agreed) => agreed,
            Err(came) => return Ok(came),
        };
        let came = self.exchange(message, &agreed, self.following).await?;
        if !forgotten(&came, &agreed) {
            return Ok(came);
        }
        // The server knows the session no more, so it has not looked at what was asked in it.
        match self.agreed(Some(&agreed)).await? {
            Ok(agreed) => self.exchange(message, &agreed, self.following).await,
            Err(came) => Ok(came),
        }
    }

    /// What is agreed with this server, other than `stale`. Where the server does not take who asks, its own refusal.
    async fn agreed(&self, stale: Option<&Agreed>) -> Result<Result<Agreed, Came>, UpstreamFailure> {
        let sessions = self.credential.sessions();
        let server = self.server();
        // Whoever comes meanwhile waits for what is agreed now.
        let Ok(mut all) = timeout_at(self.deadline, sessions.agreed.lock()).await else {
            return Err(not_sent(self.route, NotSent::TimedOut));
        };
        if let Some(known) = all.get(&server).filter(|known| Some(*known) != stale) {
            return Ok(Ok(known.clone()));
        }
        all.remove(&server);
        let agreed = match self.agree().await {
            Ok(Ok(agreed)) => agreed,
            Ok(Err(came)) => return Ok(Err(came)),
            // Nothing was asked of the server yet but how it is spoken to.
            Err(UpstreamFailure::NotSent { host, reason }) => {
                return Err(UpstreamFailure::NotSent { host, reason });
            }
            Err(failure) if failure.timed_out() => return Err(not_sent(self.route, NotSent::TimedOut)),
            Err(_) => return Err(not_sent(self.route, NotSent::Handshake)),
        };
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(server, agreed.clone());
        Ok(Ok(agreed))
    }

    async fn agree(&self) -> Result<Result<Agreed, Came>, UpstreamFailure> {
        let discover = message("server/discover", Map::new());
        let came = self.exchange(&discover, &Agreed::Stateless { prompts: false }, None).await?;
        // Who asks is not known, in whatever revision.
        if is_refusal(&came) {
            return Ok(Err(came));
        }
        if let Body::Answer(answer) = &came.body {
            let versions =
                answer.get("result").and_then(|result| result.get("supportedVersions")?.as_array());
            if versions.is_some_and(|all| all.iter().any(|version| version == STATELESS)) {
                return Ok(Ok(Agreed::Stateless { prompts: has_prompts(answer) }));
            }
        }
        let offered = WITH_HANDSHAKE[0];
        let hello = json!({"protocolVersion": offered, "capabilities": {}, "clientInfo": client()});
        let hello = message("initialize", hello.as_object().cloned().unwrap_or_default());
        let before = Agreed::Session { version: String::new(), id: None, prompts: false };
        let came = self.exchange(&hello, &before, None).await?;
        if is_refusal(&came) {
            return Ok(Err(came));
        }
        // Whatever else it says is of the handshake, and no answer to what was to be asked.
        let refuse = || not_sent(self.route, NotSent::Handshake);
        let Body::Answer(answer) = &came.body else { return Err(refuse()) };
        let version = answer.get("result").and_then(|result| result.get("protocolVersion")?.as_str());
        let version = version.filter(|version| WITH_HANDSHAKE.contains(version) || *version == OLDER);
        let version = version.ok_or_else(refuse)?;
        let id = match came.headers.get("mcp-session-id") {
            None => None,
            Some(id) => match id.to_str() {
                Ok(id) if !id.is_empty() && id.len() <= MAX_SESSION => Some(id.to_owned()),
                _ => return Err(not_sent(self.route, NotSent::Handshake)),
            },
        };
        let agreed = Agreed::Session { version: version.to_owned(), id, prompts: has_prompts(answer) };
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let (sent, _) = self.send(&ready, &agreed, None).await?;
        if !sent.status().is_success() {
            return Err(not_sent(self.route, NotSent::Handshake));
        }
        Ok(Ok(agreed))
    }

    /// Sends a request with an id of its own and reads until its answer, or until whoever follows it calls it off.
    async fn exchange(
        &self,
        message: &Map<String, Value>,
        agreed: &Agreed,
        following: Option<&Following>,
    ) -> Result<Came, UpstreamFailure> {
        let id = self.credential.sessions().fresh();
        let (message, name) = numbered(message, id, agreed, following);
        let message = Value::Object(message);
        let exchanged = async {
            let (response, _open) = self.send(&message, agreed, name.as_deref()).await?;
            let status = response.status().as_u16();
            let reading = self.read(response, id, agreed, following);
            match timeout_at(self.deadline, reading).await {
                Ok(Ok(came)) => Ok(came),
                Ok(Err(ReadError::Unreadable(reason))) => {
                    Err(UpstreamFailure::Answered { host: self.route.host().to_owned(), status, reason })
                }
                Ok(Err(ReadError::Unknown(reason))) => Err(unknown(self.route, Some(status), reason)),
                Err(_) => Err(unknown(self.route, Some(status), Unknown::TimedOut)),
            }
        };
        let Some(following) = following else { return exchanged.await };
        if following.is_off() {
            return Err(not_sent(self.route, NotSent::CalledOff));
        }
        let came = tokio::select! {
            biased;
            came = exchanged => Some(came),
            () = following.called_off() => None,
        };
        match came {
            Some(came) => came,
            // What is read no more is closed by now, which says it where every request stands alone.
            None => {
                if matches!(agreed, Agreed::Session { .. }) {
                    _ = timeout(WITHDRAWN, self.send(&withdrawn(id, CALLED_OFF), agreed, None)).await;
                }
                Err(unknown(self.route, None, Unknown::CalledOff))
            }
        }
    }

    async fn send(
        &self,
        message: &Value,
        agreed: &Agreed,
        name: Option<&str>,
    ) -> Result<(http::Response<Incoming>, OpenCall), UpstreamFailure> {
        let mut fixed = self.at.fixed.clone();
        let mut state = |name: &str, value: String| {
            fixed.retain(|(other, _)| other != name);
            fixed.push((name.to_owned(), value));
        };
        match agreed {
            Agreed::Stateless { .. } => {
                state("mcp-protocol-version", STATELESS.to_owned());
                if let Some(method) = message.get("method").and_then(Value::as_str) {
                    state("mcp-method", method.to_owned());
                }
                if let Some(name) = name {
                    state("mcp-name", in_header(name));
                }
            }
            Agreed::Session { version, id, .. } => {
                if !version.is_empty() {
                    state("mcp-protocol-version", version.clone());
                }
                if let Some(id) = id {
                    state("mcp-session-id", id.clone());
                }
            }
        }
        // Only the call itself has arguments, and only in this revision headers repeat them.
        let is_call = message.get("method").is_some_and(|method| method == "tools/call");
        if !is_call || !matches!(agreed, Agreed::Stateless { .. }) {
            fixed.retain(|(name, _)| !name.starts_with(repeated::PREFIX));
        }
        let call = UpstreamCall {
            method: Method::Post,
            headers: vec![("accept".to_owned(), "application/json, text/event-stream".to_owned())],
            fixed,
            body: Some(message.to_string().into_bytes()),
            ..self.at.clone()
        };
        self.gateway.begin(call, self.route, self.credential, self.deadline).await
    }

    async fn read(
        &self,
        response: http::Response<Incoming>,
        id: u64,
        agreed: &Agreed,
        following: Option<&Following>,
    ) -> Result<Came, ReadError> {
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        if response::is_encoded(&head.headers) {
            return Err(ReadError::Unreadable(crate::Unreadable::Encoded));
        }
        let body = if is_events(&head.headers) {
            Body::Answer(self.events(body, id, agreed, following).await?)
        } else {
            let whole = response::collect(body, self.max).await?;
            let read = if response::is_json(&head.headers) { json::parse(&whole).ok() } else { None };
            match read.map(|message| answer(message, id)) {
                Some(Said::Answer(answer)) => Body::Answer(answer),
                _ => Body::Other(whole),
            }
        };
        Ok(Came { status, headers: head.headers, body })
    }

    /// Reads events until one answers the request.
    async fn events(
        &self,
        mut body: Incoming,
        id: u64,
        agreed: &Agreed,
        following: Option<&Following>,
    ) -> Result<Map<String, Value>, ReadError> {
        let (mut events, mut read, mut questions) = (Events::default(), 0_usize, 0_usize);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ReadError::Unknown(Unknown::Disconnected))?;
            let Ok(data) = frame.into_data() else { continue };
            read = read.saturating_add(data.len());
            if read > self.max {
                return Err(ReadError::Unreadable(crate::Unreadable::TooLarge { max: self.max }));
            }
            for event in events.push(&data) {
                // What is no message is nothing to this request.
                let Ok(message) = json::parse(&event) else { continue };
                match answer(message, id) {
                    Said::Answer(answer) => return Ok(answer),
                    Said::Notice(method, _) if is_change(&method) => {
                        self.gateway.heard().note(self.server());
                    }
                    Said::Notice(method, params) => {
                        if let Some(following) = following {
                            following.hear(&method, params, id, self.credential.scrubber());
                        }
                    }
                    Said::Question(question) if questions < MAX_QUESTIONS => {
                        questions = questions.saturating_add(1);
                        self.refuse(&question, agreed).await;
                    }
                    _ => {}
                }
            }
        }
        Err(ReadError::Unknown(Unknown::NoAnswer))
    }

    /// Tells a server that nobody here does what it asks for. If it does not hear it, it is as if nothing had been said.
    async fn refuse(&self, question: &Value, agreed: &Agreed) {
        drop(self.send(&unanswered(question), agreed, None).await);
    }

    /// The answer as that of an upstream.
    fn answered(&self, came: Came) -> Result<UpstreamResponse, UpstreamFailure> {
        let Came { status, headers, body } = came;
        let scrubber = self.credential.scrubber();
        let invalid_token = response::says_invalid_token(&headers);
        let mut answer = match body {
            Body::Answer(answer) => answer,
            // Acted on or not: nothing says.
            Body::Other(_) if (200..300).contains(&status) => {
                return Err(unknown(self.route, Some(status), Unknown::NoAnswer));
            }
            Body::Other(whole) => {
                let body = response::decode(whole, response::is_json(&headers), scrubber);
                return Ok(UpstreamResponse {
                    status,
                    headers: response::shown_headers(&headers, scrubber),
                    body,
                    invalid_token,
                });
            }
        };
        let (status, mut told) = match (answer.remove("result"), answer.remove("error")) {
            (Some(Value::Object(mut result)), None) => match result.remove("resultType") {
                None => (200, Value::Object(result)),
                Some(kind) if kind == "complete" => (200, Value::Object(result)),
                Some(_) => {
                    let message = "the server asks for input before it goes on, which is not given here";
                    (409, json!({"error": {"message": message}}))
                }
            },
            (None, Some(error)) => {
                let code = error.get("code").and_then(Value::as_i64);
                let status = match code {
                    _ if status >= 400 => status,
                    Some(-32700 | -32600 | -32602) => 400,
                    // No such method, no such resource.
                    Some(-32601 | -32002) => 404,
                    _ => 500,
                };
                (status, json!({"error": error}))
            }
            _ => return Err(unknown(self.route, Some(status), Unknown::NoAnswer)),
        };
        scrubber.scrub_json(&mut told);
        let kind = ("content-type".to_owned(), "application/json".to_owned());
        Ok(UpstreamResponse { status, headers: vec![kind], body: ResponseBody::Json(told), invalid_token })
    }

    fn server(&self) -> String {
        format!("{}{}", self.at.origin, self.at.target)
    }
}

impl Heard {
    fn take(&self) -> HashSet<String> {
        std::mem::take(&mut self.servers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, server: String) {
        let mut heard = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(server);
        drop(heard);
        self.more.notify_one();
    }
}

/// What a message of a server is to one request.
enum Said {
    Answer(Map<String, Value>),
    /// What happened, and the parameters.
    Notice(String, Option<Value>),
    /// It asks something, under this id.
    Question(Value),
    Nothing,
}

fn answer(message: Value, id: u64) -> Said {
    let Value::Object(mut message) = message else { return Said::Nothing };
    let (is, method) = (message.get("id").cloned(), message.remove("method"));
    match (method, is) {
        (Some(Value::String(method)), None) => Said::Notice(method, message.remove("params")),
        (Some(_), Some(question)) => Said::Question(question),
        (None, Some(is)) if is == id && message.contains_key("result") != message.contains_key("error") => {
            Said::Answer(message)
        }
        _ => Said::Nothing,
    }
}

/// Whether the server does not take who asks: the one answer to a handshake that is passed on, as nothing was done.
fn is_refusal(came: &Came) -> bool {
    let claims = matches!(&came.body, Body::Answer(answer) if answer.contains_key("result"));
    matches!(came.status, 401 | 403) && !claims
}

/// Whether the server says that it knows no such session, or no such revision any more, and so has not looked at what was
/// asked. Some say the first with 400, as an error that answers no request in particular; any other 400 may be of what
/// stands before the server, or of something that it has acted on.
fn forgotten(came: &Came, agreed: &Agreed) -> bool {
    let in_session = matches!(agreed, Agreed::Session { id: Some(_), .. });
    match &came.body {
        Body::Answer(answer) if answer.contains_key("result") => false,
        Body::Answer(answer) => {
            let code = answer.get("error").and_then(|error| error.get("code")?.as_i64());
            code == Some(UNSUPPORTED) || (in_session && came.status == 404)
        }
        Body::Other(whole) => {
            in_session && (came.status == 404 || (came.status == 400 && is_error_of_nothing(whole)))
        }
    }
}

/// An error that answers no request in particular.
fn is_error_of_nothing(body: &[u8]) -> bool {
    json::parse(body).is_ok_and(|said| {
        said.get("id").is_some_and(Value::is_null) && said.get("error").is_some_and(Value::is_object)
    })
}

fn message(method: &str, params: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([
        ("jsonrpc".to_owned(), "2.0".into()),
        ("method".to_owned(), method.into()),
        ("params".to_owned(), Value::Object(params)),
    ])
}

/// What a server is told that asks something.
fn unanswered(question: &Value) -> Value {
    let error = json!({"code": -32601, "message": "this client answers no requests of servers"});
    json!({"jsonrpc": "2.0", "id": question, "error": error})
}

fn client() -> Value {
    json!({"name": "placet", "version": env!("CARGO_PKG_VERSION")})
}

/// Why a server is told that nobody waits for its answer.
const CALLED_OFF: &str = "it was called off";

/// The notification by which a request is withdrawn.
fn withdrawn(id: u64, reason: &str) -> Value {
    let params = json!({"requestId": id, "reason": reason});
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

/// Whether a server says that what is pinned of it may be something else now.
fn is_change(method: &str) -> bool {
    matches!(method, "notifications/tools/list_changed" | "notifications/prompts/list_changed")
}

/// Whether a server says of itself, in the answer to a handshake, that it has prompts.
fn has_prompts(answer: &Map<String, Value>) -> bool {
    answer
        .get("result")
        .and_then(|result| result.get("capabilities")?.get("prompts"))
        .is_some_and(Value::is_object)
}

/// The message as it is sent to a server, with what belongs to the connection; and the name that a header repeats.
fn numbered(
    message: &Map<String, Value>,
    id: u64,
    agreed: &Agreed,
    following: Option<&Following>,
) -> (Map<String, Value>, Option<String>) {
    let mut message = message.clone();
    message.insert("id".into(), id.into());
    let mut meta = Map::new();
    if let Agreed::Stateless { .. } = agreed {
        meta.insert("io.modelcontextprotocol/protocolVersion".into(), STATELESS.into());
        meta.insert("io.modelcontextprotocol/clientInfo".into(), client());
        meta.insert("io.modelcontextprotocol/clientCapabilities".into(), json!({}));
    }
    let wanted = following.map(Following::wanted).unwrap_or_default();
    if wanted.progress {
        // Not the client's own: it is known to this exchange alone.
        meta.insert(META_PROGRESS.into(), id.into());
    }
    if let (Agreed::Stateless { .. }, Some(level), true) = (agreed, wanted.log, wanted.ask_for_log) {
        meta.insert(META_LEVEL.into(), level.as_str().into());
    }
    let repeated = match message.get("method").and_then(Value::as_str) {
        Some("tools/call" | "prompts/get") => Some("name"),
        Some("resources/read") => Some("uri"),
        _ => None,
    };
    let params = message.entry("params").or_insert_with(|| json!({}));
    let name = repeated.and_then(|repeated| params.get(repeated)?.as_str().map(str::to_owned));
    if let (Some(params), false) = (params.as_object_mut(), meta.is_empty()) {
        params.insert("_meta".into(), Value::Object(meta));
    }
    (message, name)
}

fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_has_not_looked_at_is_sent_again() {
        let session = Agreed::Session {
            version: WITH_HANDSHAKE[0].to_owned(),
            id: Some("s".to_owned()),
            prompts: false,
        };
        let other = |status: u16, body: &'static str| Came {
            status,
            headers: HeaderMap::new(),
            body: Body::Other(body.into()),
        };
        let lost =
            r#"{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no valid session"}}"#;
        for (status, body, again) in [
            (404, "", true),
            (404, lost, true),
            (400, lost, true),
            (400, "", false),
            (400, "<p>Bad Request</p>", false),
            (400, r#"{"error": {"code": -32000}}"#, false),
            (400, r#"{"id": 7, "error": {"code": -32000}}"#, false),
            (400, r#"{"id": null, "result": {}}"#, false),
            (400, r#"{"id": null, "error": "bad"}"#, false),
            (500, lost, false),
            (200, lost, false),
        ] {
            assert_eq!(forgotten(&other(status, body), &session), again, "{status} {body}");
            let alone = Agreed::Stateless { prompts: true };
            assert!(!forgotten(&other(status, body), &alone), "{status} {body}");
        }
    }

    #[test]
    fn a_handshake_passes_on_a_refusal_and_no_result() {
        let came = |status, member: &str| Came {
            status,
            headers: HeaderMap::new(),
            body: Body::Answer(Map::from_iter([(member.to_owned(), json!({}))])),
        };
        assert!(is_refusal(&came(401, "error")) && is_refusal(&came(403, "error")));
        assert!(!is_refusal(&came(401, "result")) && !is_refusal(&came(400, "error")));
    }
}
