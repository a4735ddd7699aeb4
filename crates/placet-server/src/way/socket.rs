//! A WebSocket that an action opens: carried out, kept open under its grant, concluded when it ends. Each message of the
//! agent's on it is an action of its own, and takes the whole way ([`super::act`]) before anything of it goes on.
//!
//! Messages of the agent's are taken one after another, in their order; while one is judged, no further one is read. Those of
//! upstream go to the agent as it reads them.
//!
//! Invariant: nothing that an agent says on a WebSocket reaches its upstream but a message that was admitted, written anew
//! from what was judged; the action that opened it is concluded however it ends.

use super::{
    Answered, Asked, Described, Door, Wanted,
    ongoing::Ongoing,
    outcome::{Form, REFUSED, Settled, UPSTREAM_TIME, failed, finish},
    wait,
};
use crate::{
    app::App, bearer, body::MAX_BODY, clock, connections, handshake::Handshake, problem::Problem, proxy,
    sender::Held, streams::OpenStream,
};
use axum::body::Body;
use placet_core::{
    id::GrantId,
    json,
    pattern::ActionName,
    record::Envelope,
    refusal::Code,
    service::{IDLE, Refusal, WebSocket},
};
use placet_gateway::{Broken, Ending, Hearing, Offer, Opened, Said, Speaking, websocket_of_agent};
use placet_store::Admitted;
use serde_json::{Map, Value};
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, sleep_until, timeout},
};

/// The status of an open one.
const SWITCHED: u16 = 101;
/// How long the agent's connection may take to switch over.
const SWITCHING: Duration = Duration::from_secs(30);
/// How often the token is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long either side may leave a message unread.
const SLOW_READER: Duration = Duration::from_secs(60);
/// How long a close may take to be said.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the other side of a hop may take to end it too.
const DRAINING: Duration = Duration::from_secs(2);
/// The longest answer in the place of a WebSocket.
const LONGEST_ANSWER: usize = 1024 * 1024;

type Told = Result<Answered, Problem>;

/// What an agent brings that asks for a WebSocket.
#[derive(Debug)]
pub struct Asking {
    pub(crate) handshake: Handshake,
    /// Its credential, by which each message is judged.
    pub(crate) held: Held,
    pub(crate) source: Option<SocketAddr>,
    pub(crate) door: Door,
}

/// An open WebSocket, as the messages on it need it.
#[derive(Debug)]
pub struct OpenSocket {
    /// The service.
    pub(super) service: String,
    /// The connection's id.
    pub(super) connection: String,
    /// The action that opened it.
    pub(super) opening: ActionName,
    /// With these parameters.
    pub(super) opened: Map<String, Value>,
    /// The number of the secret that it was opened with.
    pub(super) generation: u64,
    /// Origin and path that it is at.
    pub(super) at: (String, String),
    /// How it is declared.
    declared: WebSocket,
    upstream: Mutex<Speaking>,
    /// Whether upstream's hop has ended: then nothing of a further message goes out.
    over: AtomicBool,
}

/// Opens the WebSocket and answers when that has been done or not. What follows runs to its end by itself.
///
/// # Errors
/// A 502 or 504, where upstream opens none and answers nothing else.
pub(super) async fn open(
    app: Arc<App>,
    admitted: Admitted,
    described: Described,
    recorded: Envelope,
    asking: Asking,
    grant: GrantId,
) -> Told {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move { carry_out(&app, &admitted, described, recorded, asking, grant, tell).await });
    told.await
        .map_err(|_| Problem::of(Code::Internal, "the action stopped with a bug; its outcome is unknown"))?
}

async fn carry_out(
    app: &Arc<App>,
    admitted: &Admitted,
    mut described: Described,
    recorded: Envelope,
    asking: Asking,
    grant: GrantId,
    tell: oneshot::Sender<Told>,
) {
    let id = admitted.action();
    // As long as the WebSocket is open.
    let _place = described.place.take();
    let turn = described.turn.take();
    let mut open = app.streams.register_action(grant, Ongoing::of(&described, false, None));
    let began = std::time::Instant::now();
    let opening = async {
        let credential = described.connection.credential();
        let credential = credential.ok_or(Code::Unavailable)?;
        let (call, route) = (described.call.clone(), &described.live.route);
        Ok(app.gateway.websocket(call, Offer { nonce: clock::entropy() }, route, credential).await)
    };
    let opened = tokio::select! {
        biased;
        code = open.ended() => Err(code),
        opened = opening => opened,
    };
    app.operations.metrics.upstream_took.observe(began.elapsed());
    let (settled, told) = match opened {
        Err(code) => {
            let detail = "authority ended while the WebSocket was being opened";
            let problem = Problem::of(code, detail).with("id", id.to_string()).with("happened", "unknown");
            (Settled::cut(code), Err(problem))
        }
        Ok(opened) => {
            let status = match &opened {
                Ok(Opened::Socket { .. }) => Ok(SWITCHED),
                Ok(Opened::Answer(answer)) => Ok(answer.status()),
                Err(failure) => Err(failure),
            };
            if let Ok(status) = status {
                connections::heard(app, &described.connection, Some(described.by), status);
            }
            if let Some(turn) = turn {
                turn.conclude_begun(status);
            }
            match opened {
                Ok(Opened::Socket { protocol, hearing, speaking }) => {
                    let Asking { handshake, held, source, door } = asking;
                    let headers = handshake.answer(protocol.as_deref());
                    let response = proxy::response(id, SWITCHED, headers, Body::empty());
                    // Whoever asked may be gone.
                    let told = tell.send(Ok(Answered::Passed(response))).is_ok();
                    let end = match OpenSocket::of(&described, speaking).filter(|_| told) {
                        Some(socket) => {
                            let asker = Asker { app, held, source, door, socket: Arc::new(socket) };
                            asker.go_on(handshake, hearing, &mut open).await
                        }
                        None => End::Agent(None),
                    };
                    let mut settled = Settled::of(&described, Ok(SWITCHED));
                    if let End::Cut(code) = end {
                        settled.cut = Some(code);
                    }
                    finish(app, id, settled, recorded);
                    return;
                }
                Ok(Opened::Answer(answer)) => {
                    if answer.status() == REFUSED {
                        described.doubt(app, answer.invalid_token()).await;
                    }
                    let (status, headers) = (answer.status(), proxy::head(answer.headers(), &[]));
                    match answer.whole(LONGEST_ANSWER, Instant::now() + UPSTREAM_TIME).await {
                        Ok(body) => {
                            let response = proxy::response(id, status, headers, Body::from(body));
                            (Settled::of(&described, Ok(status)), Ok(Answered::Passed(response)))
                        }
                        Err(failure) => (Settled::of(&described, Err(&failure)), Err(failed(&failure, id))),
                    }
                }
                Err(failure) => (Settled::of(&described, Err(&failure)), Err(failed(&failure, id))),
            }
        }
    };
    finish(app, id, settled, recorded);
    // Whoever asked may be gone.
    let _ = tell.send(told);
}

/// Sends the message that was admitted, and concludes it: that it was handed over is all that is known of it.
///
/// # Errors
/// The WebSocket has ended; whether the message arrived is told where that is known.
pub(super) async fn say(
    app: Arc<App>,
    admitted: Admitted,
    mut described: Described,
    recorded: Envelope,
    socket: Arc<OpenSocket>,
) -> Told {
    let saying = tokio::spawn(async move {
        let id = admitted.action();
        // What is written is no call that is waited for.
        drop(described.turn.take());
        let _place = described.place.take();
        let text = described.call.body.clone().and_then(|body| String::from_utf8(body).ok());
        let (settled, told) = match socket.say(text).await {
            Ok(()) => {
                let result = serde_json::json!({"status": "sent"});
                (Settled::sent(), Ok(Answered::Executed { id, result, form: Form::Json }))
            }
            Err(begun) => {
                let (settled, happened) =
                    if begun { (Settled::unknown(), "unknown") } else { (Settled::unsent(), "no") };
                let problem =
                    Problem::of(Code::UpstreamUnreachable, "the WebSocket to the upstream has ended");
                (settled, Err(problem.with("id", id.to_string()).with("happened", happened)))
            }
        };
        finish(&app, id, settled, recorded);
        told
    });
    saying
        .await
        .map_err(|_| Problem::of(Code::Internal, "the action stopped with a bug; its outcome is unknown"))?
}

impl OpenSocket {
    fn of(described: &Described, upstream: Speaking) -> Option<Self> {
        let call = &described.call;
        let path = call.target.split('?').next().unwrap_or_default();
        Some(Self {
            service: described.live.service.name().to_owned(),
            connection: described.connection.connection.id.to_string(),
            opening: described.action.name.clone(),
            opened: Map::clone(&described.action.params),
            generation: described.connection.connection.generation,
            at: (call.origin.clone(), path.to_owned()),
            declared: described.declared()?.websocket()?.clone(),
            upstream: Mutex::new(upstream),
            over: AtomicBool::new(false),
        })
    }

    /// Says it to upstream; where that fails, answers whether anything of it may have gone out.
    async fn say(&self, text: Option<String>) -> Result<(), bool> {
        let text = text.ok_or(false)?;
        let mut upstream = self.upstream.lock().await;
        if self.over.load(Ordering::Acquire) {
            return Err(false);
        }
        match timeout(SLOW_READER, upstream.text(text)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.over.store(true, Ordering::Release);
                Err(true)
            }
        }
    }
}

/// How it ended.
#[derive(Debug)]
enum End {
    /// What it rests on ended.
    Cut(Code),
    /// Nothing came for too long.
    Idle,
    /// The agent closed it, or its connection ended; or what it sent can't be taken.
    Agent(Option<Ending>),
    /// Upstream closed it.
    Closed(Option<(u16, String)>),
    /// What upstream sent can't be taken, or its connection ended.
    Broken(Ending),
}

/// Who is at the agent's end of an open WebSocket.
struct Asker<'a> {
    app: &'a Arc<App>,
    held: Held,
    source: Option<SocketAddr>,
    door: Door,
    socket: Arc<OpenSocket>,
}

/// When something came last, from either side.
struct Life(std::sync::Mutex<Instant>);

impl Life {
    fn sign(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asker<'_> {
    /// Carries messages until it ends, and ends both hops.
    async fn go_on(&self, handshake: Handshake, mut upstream: Hearing, open: &mut OpenStream<'_>) -> End {
        let Handshake { switching, kept, .. } = handshake;
        let Ok(Some(switched)) = timeout(SWITCHING, switching.over()).await else {
            self.end_upstream(Ending::Away).await;
            return End::Agent(None);
        };
        let (mut agent, speaking) = websocket_of_agent(switched, MAX_BODY).await;
        let (speaking, life) = (Mutex::new(speaking), Life(std::sync::Mutex::new(Instant::now())));
        let end = tokio::select! {
            biased;
            code = open.ended() => End::Cut(code),
            code = self.token_ended() => End::Cut(code),
            end = self.down(&mut upstream, &speaking, &life) => end,
            end = self.up(&mut agent, &speaking, &life) => end,
            () = self.silence(&life) => End::Idle,
        };
        let (to_agent, reason, to_upstream) = match &end {
            End::Cut(Code::Unavailable) => (Ending::Away, Code::Unavailable.as_str(), Ending::Away),
            End::Cut(code) => (Ending::Policy, code.as_str(), Ending::Away),
            End::Idle => (Ending::Away, "idle", Ending::Away),
            // Of what it closed with nothing goes on: that would be something said that nobody judged.
            End::Agent(None) => (Ending::Normal, "", Ending::Normal),
            End::Agent(Some(ending)) => (*ending, "", Ending::Away),
            End::Closed(None) => (Ending::Normal, "", Ending::Normal),
            End::Closed(Some((code, reason))) => (Ending::As(*code), reason.as_str(), Ending::Normal),
            End::Broken(ending) => (Ending::Failed, "the upstream's end failed", *ending),
        };
        let telling = async {
            _ = timeout(FAREWELL, async { speaking.lock().await.end(to_agent, reason).await }).await;
        };
        tokio::join!(telling, self.end_upstream(to_upstream));
        // What is closed while something waits unread is reset, and its other end may never read why.
        tokio::join!(drained(&mut agent), drained(&mut upstream));
        drop(kept);
        end
    }

    async fn end_upstream(&self, ending: Ending) {
        self.socket.over.store(true, Ordering::Release);
        _ = timeout(FAREWELL, async { self.socket.upstream.lock().await.end(ending, "").await }).await;
    }

    /// What upstream says goes to the agent.
    async fn down(&self, upstream: &mut Hearing, agent: &Mutex<Speaking>, life: &Life) -> End {
        loop {
            let said = upstream.next().await;
            life.sign();
            let passing = match said {
                Ok(Said::Text(text)) => {
                    timeout(SLOW_READER, async { agent.lock().await.text(text).await }).await
                }
                Ok(Said::Binary(bytes)) if self.socket.declared.binary() => {
                    timeout(SLOW_READER, async { agent.lock().await.binary(bytes).await }).await
                }
                Ok(Said::Binary(_)) => return End::Broken(Ending::Unsupported),
                Ok(Said::Alive) => continue,
                Ok(Said::Closed(frame)) => return End::Closed(frame),
                Err(broken) => return End::Broken(broken.ending()),
            };
            // An agent that is gone, or reads nothing.
            if !matches!(passing, Ok(Ok(()))) {
                return End::Agent(None);
            }
        }
    }

    /// What the agent says is judged, message by message.
    async fn up(&self, agent: &mut Hearing, speaking: &Mutex<Speaking>, life: &Life) -> End {
        loop {
            let said = agent.next().await;
            life.sign();
            let text = match said {
                Ok(Said::Text(text)) => text,
                Ok(Said::Binary(_)) => return End::Agent(Some(Ending::Unsupported)),
                Ok(Said::Alive) => continue,
                Ok(Said::Closed(_)) | Err(Broken::Lost) => return End::Agent(None),
                Err(broken) => return End::Agent(Some(broken.ending())),
            };
            let refused = self.take(&text).await;
            // However long that took, it was no silence.
            life.sign();
            let Some((problem, message)) = refused else { continue };
            let told = problem.told();
            let frame = self.socket.declared.refusal(Refusal { problem: &told, message: message.as_ref() });
            let telling =
                timeout(SLOW_READER, async { speaking.lock().await.text(frame.to_string()).await }).await;
            if !matches!(telling, Ok(Ok(()))) {
                return End::Agent(None);
            }
            // Upstream reads nothing more: whatever else is said would be admitted for nothing.
            if self.socket.over.load(Ordering::Acquire) {
                return End::Broken(Ending::Away);
            }
            // With such a token nothing more will be admitted.
            if problem.code().status() == 401 {
                return End::Cut(problem.code());
            }
        }
    }

    /// Waits until the token is no longer good. What is known of its grant is for [`OpenStream`].
    async fn token_ended(&self) -> Code {
        loop {
            sleep_until(Instant::now() + LOOK).await;
            if let Err(problem) = bearer::live(self.app, &self.held).await
                && problem.code().status() == 401
            {
                return problem.code();
            }
        }
    }

    async fn silence(&self, life: &Life) {
        let idle = self.socket.declared.idle().unwrap_or(IDLE);
        loop {
            let until = life.last() + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Takes one message the way of an action; answers why it was refused, if it was, and what was read.
    async fn take(&self, text: &str) -> Option<(Problem, Option<Value>)> {
        let message = match json::parse(text.as_bytes()) {
            Ok(message @ Value::Object(_)) => message,
            Ok(_) => return Some((Problem::of(Code::ParamsInvalid, "a message is a JSON object"), None)),
            Err(error) => {
                let detail = format!("a message is a JSON object, and this is no valid JSON: {error}");
                return Some((Problem::of(Code::ParamsInvalid, detail), None));
            }
        };
        let wanted = Wanted::Message { socket: Arc::clone(&self.socket), message: message.clone() };
        let (source, door) = (self.source, self.door);
        let asked = Asked { wanted, idempotency_key: None, approval: None, source, door, following: None };
        let problem = match taken(self.app, &self.held, asked).await {
            Ok(Answered::Held { id, approval }) => {
                let detail = "people are asked: send the same message again when they have said yes";
                Problem::of(Code::ApprovalRequired, detail)
                    .with("decision", "hold")
                    .with("id", id.to_string())
                    .with("approval", approval)
            }
            Ok(_) => return None,
            Err(problem) => problem,
        };
        Some((problem, Some(message)))
    }
}

/// Reads what still comes on a hop that was ended, until its other side has ended it too or has had time to.
async fn drained(hop: &mut Hearing) {
    let draining = async { while !matches!(hop.next().await, Ok(Said::Closed(_)) | Err(_)) {} };
    _ = timeout(DRAINING, draining).await;
}

/// The way of an action, as what it is part of may call it.
fn taken<'a>(
    app: &'a Arc<App>,
    held: &'a Held,
    asked: Asked,
) -> Pin<Box<dyn Future<Output = Told> + Send + 'a>> {
    Box::pin(wait::act(app, held, asked, None))
}

/// What is told of an action that could not be described: which WebSocket the message came on.
pub(super) fn named(socket: &OpenSocket, detail: &str) -> Value {
    let (connection, opening) = (&socket.connection, socket.opening.as_str());
    serde_json::json!({"connection": connection, "websocket": opening, "detail": detail})
}
