//! Carrying out what was admitted at the proxy door: the answer is passed on as it comes, and the action is concluded
//! when it ends.
//!
//! A short answer is read whole first, which costs less than a stream of one piece. A longer one, and every upload, is
//! registered under its grant and cut when that ends; a cut answer breaks off, it never looks whole.
//!
//! Invariant: the action is concluded whatever becomes of the agent: it ends here, not where the answer is read.

use super::{
    Described,
    ongoing::Ongoing,
    outcome::{Answered, REFUSED, Settled, UPSTREAM_TIME, conclude, failed},
    returned::Keeping,
    shaped::{self, Shaping},
};
use crate::{app::App, connections, problem::Problem, proxy, streams::OpenStream};
use axum::body::{Body, Bytes};
use http_body::Frame;
use placet_core::{
    id::{ActionId, GrantId},
    record::Envelope,
    refusal::Code,
    shape::Withheld,
};
use placet_gateway::{Piece, Slot, StreamedAnswer, Upload, UpstreamFailure};
use placet_store::Admitted;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

/// Answers that announce at most so many bytes are read whole.
const SHORT: u64 = 64 * 1024;
/// The longest answer that is read whole because its secret can't be searched for in a stream.
const LONGEST_WHOLE: usize = 1024 * 1024;
/// How many pieces wait for the agent to read them.
const PIECES: usize = 4;
/// How long the agent may leave a piece unread.
const SLOW_READER: Duration = Duration::from_secs(60);

type Told = Result<Answered, Problem>;

/// Sends the call and answers when the head of upstream's answer is there. What follows runs to its end by itself.
///
/// # Errors
/// A 502 or 504 that says whether the action may have happened; a 401 where the grant ended during an upload.
pub(super) async fn pass(
    app: Arc<App>,
    admitted: Admitted,
    shaped: (Described, Option<Shaping>, Option<Keeping>),
    recorded: Envelope,
    upload: Option<Upload>,
    grant: GrantId,
) -> Result<Answered, Problem> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move { carry_out(&app, admitted, shaped, recorded, upload, grant, tell).await });
    told.await
        .map_err(|_| Problem::of(Code::Internal, "the action stopped with a bug; its outcome is unknown"))?
}

async fn carry_out(
    app: &App,
    admitted: Admitted,
    (mut described, shaping, keeping): (Described, Option<Shaping>, Option<Keeping>),
    recorded: Envelope,
    upload: Option<Upload>,
    grant: GrantId,
    tell: oneshot::Sender<Told>,
) {
    let id = admitted.action();
    let turn = described.turn.take();
    let register = |shaped| app.streams.register_action(grant, Ongoing::of(&described, shaped));
    let mut open = described.call.streamed.then(|| register(shaping.is_some()));
    let begun = begin(app, &described, turn, upload, &mut open).await;
    let refused = begun.as_ref().ok().filter(|answer| answer.status() == REFUSED);
    if let Some(invalid_token) = refused.map(StreamedAnswer::invalid_token) {
        described.doubt(app, invalid_token).await;
    }
    let (settled, told) = match begun {
        Ok(answer)
            if shaping.is_none()
                && answer.streams()
                && answer.length().is_none_or(|length| length > SHORT)
                && !(keeping.is_some() && is_read_whole(&answer)) =>
        {
            let mut open = open.unwrap_or_else(|| register(false));
            let settled = stream(&described, id, answer, &mut open, tell).await;
            finish(app, id, settled, recorded);
            return;
        }
        Ok(answer) => match shaping {
            Some(shaping) => {
                // Whoever asked may be gone.
                let _ = tell.send(shape(app, &described, (shaping, keeping), id, recorded, answer).await);
                return;
            }
            None => short(app, &described, id, answer, keeping).await,
        },
        Err(Unbegun::Failed(failure)) => (Settled::of(&described, Err(&failure)), Err(failed(&failure, id))),
        Err(Unbegun::Cut(code)) => {
            let detail = "authority ended while the request was being sent; it may have happened";
            let problem = Problem::of(code, detail).with("id", id.to_string()).with("happened", "unknown");
            (Settled::cut(code), Err(problem))
        }
    };
    finish(app, id, settled, recorded);
    // Whoever asked may be gone.
    let _ = tell.send(told);
}

/// Why there is no answer.
enum Unbegun {
    Failed(UpstreamFailure),
    Cut(Code),
}

async fn begin(
    app: &App,
    described: &Described,
    turn: Option<Slot>,
    upload: Option<Upload>,
    open: &mut Option<OpenStream<'_>>,
) -> Result<StreamedAnswer, Unbegun> {
    let Some(credential) = described.connection.credential() else {
        return Err(Unbegun::Cut(Code::Unavailable));
    };
    // An upload without a body is one all the same: what is declared is what is sent.
    let upload =
        described.call.streamed.then(|| upload.unwrap_or_else(|| Upload::new(Body::empty(), Some(0))));
    let began = std::time::Instant::now();
    let opening = async {
        let opened =
            app.gateway.open(described.call.clone(), upload, &described.live.route, credential).await;
        // Until the answer begins: how long it goes on is the upstream's to say.
        app.operations.metrics.upstream_took.observe(began.elapsed());
        if let Ok(answer) = &opened {
            connections::heard(app, &described.connection, answer.status());
        }
        // Others take their turns while it is passed on.
        match (turn, &opened) {
            // Whoever sends the body may have stopped sending: that says nothing about the upstream.
            (Some(_), Err(UpstreamFailure::Unknown { .. })) if described.call.streamed => {}
            (Some(turn), opened) => turn.conclude(opened.as_ref().map(StreamedAnswer::status)),
            (None, _) => {}
        }
        opened
    };
    match open {
        None => opening.await.map_err(Unbegun::Failed),
        Some(open) => tokio::select! {
            biased;
            code = open.ended() => Err(Unbegun::Cut(code)),
            opened = opening => opened.map_err(Unbegun::Failed),
        },
    }
}

/// Whether it is read whole for the values that its service vouches for: of a longer one none are kept.
fn is_read_whole(answer: &StreamedAnswer) -> bool {
    // One that doesn't say how long it is may be longer than can be read.
    let fits = answer.length().is_some_and(|length| length <= LONGEST_WHOLE as u64);
    fits && shaped::passes(answer.status()) && shaped::is_json(answer.headers())
}

/// An answer that is read whole.
async fn short(
    app: &App,
    described: &Described,
    id: ActionId,
    answer: StreamedAnswer,
    keeping: Option<Keeping>,
) -> (Settled, Told) {
    let status = answer.status();
    let came = answer.headers().to_vec();
    let headers = proxy::head(&came, &[]);
    match answer.whole(LONGEST_WHOLE, Instant::now() + UPSTREAM_TIME).await {
        Ok(body) => {
            if let Some(keeping) = keeping {
                keeping.bytes(app, status, &came, &body).await;
            }
            let response = proxy::response(id, status, headers, Body::from(body));
            (Settled::of(described, Ok(status)), Ok(Answered::Passed(response)))
        }
        Err(failure) => (Settled::of(described, Err(&failure)), Err(failed(&failure, id))),
    }
}

/// An answer that rules shape: read whole, where there is something to shape. What happened is recorded before.
async fn shape(
    app: &App,
    described: &Described,
    (shaping, keeping): (Shaping, Option<Keeping>),
    id: ActionId,
    recorded: Envelope,
    answer: StreamedAnswer,
) -> Told {
    let status = answer.status();
    let came = answer.headers().to_vec();
    let body = match body_to_shape(&came, answer).await {
        Ok(body) => body,
        Err(failure) => {
            finish(app, id, Settled::of(described, Err(&failure)), recorded);
            return Err(failed(&failure, id));
        }
    };
    finish(app, id, Settled::of(described, Ok(status)), recorded.clone());
    let shaped = match body {
        Read::Nothing => Ok(None),
        Read::Whole(body) => shaping.bytes(body).await,
        Read::NotJson => Err(Withheld::NotJson),
    };
    match shaped {
        Ok(body) => {
            if let (Some(keeping), Some(body)) = (keeping, &body) {
                keeping.bytes(app, status, &came, body).await;
            }
            let came = came.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let headers = proxy::head(&shaped::headers(came, body.is_some()), &[]);
            Ok(Answered::Passed(proxy::response(id, status, headers, Body::from(body.unwrap_or_default()))))
        }
        Err(why) => Err(shaped::refuse(app, &why, id, recorded).await?),
    }
}

/// What there is of an answer's body for a shape.
enum Read {
    /// Nothing that a shape is about.
    Nothing,
    /// All of it, which is said to be JSON.
    Whole(Bytes),
    /// Something else.
    NotJson,
}

async fn body_to_shape(
    headers: &[(String, String)],
    mut answer: StreamedAnswer,
) -> Result<Read, UpstreamFailure> {
    if !shaped::passes(answer.status()) || answer.length() == Some(0) {
        return Ok(Read::Nothing);
    }
    let deadline = Instant::now() + UPSTREAM_TIME;
    if shaped::is_json(headers) {
        return answer.whole(LONGEST_WHOLE, deadline).await.map(Read::Whole);
    }
    if answer.length().is_some() {
        return Ok(Read::NotJson);
    }
    // Of a length that nobody has said: no body at all is none, as at the action door. One that there is may go on for
    // ever, and is not read further.
    match timeout_at(deadline, answer.next()).await {
        Ok(Ok(None | Some(Piece::Trailers(_)))) => Ok(Read::Nothing),
        Ok(Ok(Some(Piece::Data(_)))) | Err(_) => Ok(Read::NotJson),
        Ok(Err(failure)) => Err(failure),
    }
}

/// An answer that is passed on as it comes.
async fn stream(
    described: &Described,
    id: ActionId,
    mut answer: StreamedAnswer,
    open: &mut OpenStream<'_>,
    tell: oneshot::Sender<Told>,
) -> Settled {
    let status = answer.status();
    let (pieces, waiting) = mpsc::channel(PIECES);
    let ends = Arc::new(Ends::default());
    let trailers: Vec<&str> = answer.trailers().collect();
    let headers = proxy::head(answer.headers(), &trailers);
    let body = Body::new(Passing { waiting, ends: Arc::clone(&ends) });
    let mut done = Settled::of(described, Ok(status));
    if tell.send(Ok(Answered::Passed(proxy::response(id, status, headers, body)))).is_err() {
        return done;
    }
    let passing = async {
        loop {
            let frame = match answer.next().await {
                Ok(Some(Piece::Data(data))) => Frame::data(data),
                Ok(Some(Piece::Trailers(trailers))) => Frame::trailers(proxy::head(&trailers, &[])),
                Ok(None) => {
                    ends.whole.store(true, Ordering::Release);
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            };
            // An agent that is gone, or reads nothing, needs no more; what happened has happened.
            if !matches!(timeout(SLOW_READER, pieces.send(frame)).await, Ok(Ok(()))) {
                return Ok(());
            }
        }
    };
    let passed = tokio::select! {
        biased;
        code = open.ended() => {
            ends.cut.store(true, Ordering::Release);
            done.cut = Some(code);
            return done;
        }
        passed = passing => passed,
        // The agent is gone.
        () = pieces.closed() => return done,
    };
    match passed {
        Ok(()) => done,
        Err(failure) => Settled::of(described, Err(&failure)),
    }
}

pub(super) fn finish(app: &App, id: ActionId, settled: Settled, recorded: Envelope) {
    match conclude(app, id, settled, recorded, None) {
        // It rides the next group commit.
        Ok(concluding) => drop(concluding),
        Err(problem) => {
            tracing::error!(action = %id, problem = problem.detail(), "the action could not be concluded");
        }
    }
}

/// How a stream ended, told beside its pieces so that a panic is no end.
#[derive(Debug, Default)]
struct Ends {
    whole: AtomicBool,
    cut: AtomicBool,
}

/// The pieces on their way to the agent.
struct Passing {
    waiting: mpsc::Receiver<Frame<Bytes>>,
    ends: Arc<Ends>,
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let passing = self.get_mut();
        if passing.ends.cut.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err("authority for this answer ended")));
        }
        match passing.waiting.poll_recv(cx) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) if passing.ends.whole.load(Ordering::Acquire) => Poll::Ready(None),
            Poll::Ready(None) => Poll::Ready(Some(Err("the answer broke off"))),
            Poll::Pending => Poll::Pending,
        }
    }
}
