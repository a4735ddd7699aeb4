//! Carrying out what was admitted at the proxy door: the answer is passed on as it comes, and the action is concluded
//! when it ends.
//!
//! A short answer is read whole first, which costs less than a stream of one piece. A longer one, and every upload, is
//! registered under its grant and cut when that ends; a cut answer breaks off, it never looks whole.
//!
//! Invariant: the action is concluded whatever becomes of the agent: it ends here, not where the answer is read.

use super::{
    Described,
    detected::{self, Detecting, Given},
    ongoing::Ongoing,
    outcome::{Answered, REFUSED, Settled, UPSTREAM_TIME, failed, finish},
    returned::Keeping,
    shaped::{self, Shaping},
};
use crate::{app::App, connections, problem::Problem, proxy, streams::OpenStream};
use axum::body::{Body, Bytes};
use http_body::Frame;
use placet_core::{
    detect::{Found, Stream},
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

/// What is done to an answer before the agent has it, and what is kept of it.
pub(super) struct Of {
    pub(super) shaping: Option<Shaping>,
    pub(super) detecting: Option<Detecting>,
    pub(super) keeping: Option<Keeping>,
}

type Told = Result<Answered, Problem>;

/// Sends the call and answers when the head of upstream's answer is there. What follows runs to its end by itself.
///
/// # Errors
/// A 502 or 504 that says whether the action may have happened; a 401 where the grant ended during an upload.
pub(super) async fn pass(
    app: Arc<App>,
    admitted: Admitted,
    of_it: (Described, Of),
    recorded: Envelope,
    upload: Option<Upload>,
    grant: GrantId,
) -> Result<Answered, Problem> {
    let (tell, mut told) = oneshot::channel();
    let mut carrying: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(async move { carry_out(&app, admitted, of_it, recorded, upload, grant, tell).await });
    // Most answers are short: then that was all, in the task that the action has of its own (`wait`). What goes on after
    // its answer has begun has another one.
    let told = tokio::select! {
        biased;
        told = &mut told => {
            tokio::spawn(carrying);
            told.ok()
        }
        () = carrying.as_mut() => told.try_recv().ok(),
    };
    told.ok_or_else(|| Problem::of(Code::Internal, "the action ended without an answer"))?
}

async fn carry_out(
    app: &App,
    admitted: Admitted,
    (mut described, of_it): (Described, Of),
    recorded: Envelope,
    upload: Option<Upload>,
    grant: GrantId,
    tell: oneshot::Sender<Told>,
) {
    let id = admitted.action();
    // Until the last of the answer has gone.
    let _place = described.place.take();
    let turn = described.turn.take();
    let register = |shaped| {
        app.streams.register_action(grant, Ongoing::of(&described, shaped, of_it.detecting.as_ref()))
    };
    let mut open = described.call.streamed.then(|| register(of_it.shaping.is_some()));
    let begun = begin(app, &described, turn, upload, &mut open).await;
    let refused = begun.as_ref().ok().filter(|answer| answer.status() == REFUSED);
    if let Some(invalid_token) = refused.map(StreamedAnswer::invalid_token) {
        described.doubt(app, invalid_token).await;
    }
    let (settled, told) = match begun {
        Ok(answer)
            if of_it.shaping.is_none()
                && answer.streams()
                && answer.length().is_none_or(|length| length > SHORT)
                && !(of_it.keeping.is_some() && is_read_whole(&answer))
                // Secrets in JSON are looked for behind its escapes.
                && !(of_it.detecting.is_some() && shaped::is_json(answer.headers())) =>
        {
            let mut open = open.unwrap_or_else(|| register(false));
            let through =
                of_it.detecting.as_ref().map(|detecting| (detecting, detecting.head(answer.headers())));
            let through = match through {
                None => None,
                Some((detecting, (found, Ok((headers, search))))) => {
                    Some(Through { detecting, found, headers, search })
                }
                Some((_, (found, Err(why)))) => {
                    finish(app, id, Settled::of(&described, Ok(answer.status())), recorded.clone());
                    let refused = shaped::refuse(app, &why, id, recorded, &found, Given::First).await;
                    // Whoever asked may be gone.
                    let _ = tell.send(Err(refused.unwrap_or_else(|unwritten| unwritten)));
                    return;
                }
            };
            let (settled, found) = stream(&described, id, answer, through, &mut open, tell).await;
            finish(app, id, settled, recorded.clone());
            if let Err(problem) = detected::record(app, id, &recorded, &found, Given::First).await {
                tracing::error!(action = %id, problem = problem.detail(), "what was found is not in the record");
            }
            return;
        }
        Ok(answer) if of_it.shaping.is_some() || of_it.detecting.is_some() => {
            // Whoever asked may be gone.
            let _ = tell.send(shape(app, &described, of_it, id, recorded, answer).await);
            return;
        }
        Ok(answer) => short(app, &described, id, answer, of_it.keeping).await,
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
            connections::heard(app, &described.connection, Some(described.by), answer.status());
        }
        // Others take their turns while it is passed on.
        match (turn, &opened) {
            // Whoever sends the body may have stopped sending: that says nothing about the upstream.
            (Some(_), Err(UpstreamFailure::Unknown { .. })) if described.call.streamed => {}
            (Some(turn), opened) => turn.conclude_begun(opened.as_ref().map(StreamedAnswer::status)),
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

/// An answer that rules shape, or look through: read whole, where there is something to shape. What happened is recorded
/// before.
async fn shape(
    app: &App,
    described: &Described,
    Of { shaping, detecting, keeping }: Of,
    id: ActionId,
    recorded: Envelope,
    answer: StreamedAnswer,
) -> Told {
    let status = answer.status();
    let came = answer.headers().to_vec();
    let read = if shaping.is_some() {
        body_to_shape(&came, answer).await
    } else {
        answer.whole(LONGEST_WHOLE, Instant::now() + UPSTREAM_TIME).await.map(Read::Whole)
    };
    let body = match read {
        Ok(body) => body,
        Err(failure) => {
            finish(app, id, Settled::of(described, Err(&failure)), recorded);
            return Err(failed(&failure, id));
        }
    };
    finish(app, id, Settled::of(described, Ok(status)), recorded.clone());
    let shaped = match (body, shaping) {
        (Read::Nothing, _) => Ok(None),
        (Read::Whole(body), Some(shaping)) => shaping.bytes(body).await.map(|body| body.map(Bytes::from)),
        (Read::Whole(body), None) => {
            return answer_searched(app, (detecting, keeping), id, recorded, (status, came, body)).await;
        }
        (Read::NotJson, _) => Err(Withheld::NotJson),
    };
    match shaped {
        Ok(body) => {
            let came = came.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let headers = shaped::headers(came, body.is_some());
            let answer = (status, headers, body.unwrap_or_default());
            answer_searched(app, (detecting, keeping), id, recorded, answer).await
        }
        Err(why) => Err(shaped::refuse(app, &why, id, recorded, &Found::default(), Given::First).await?),
    }
}

/// Looks through what is left of an answer, where rules say so, and answers with it.
async fn answer_searched(
    app: &App,
    (detecting, keeping): (Option<Detecting>, Option<Keeping>),
    id: ActionId,
    recorded: Envelope,
    (status, mut headers, mut body): (u16, Vec<(String, String)>, Bytes),
) -> Told {
    if let Some(detecting) = detecting {
        match detecting.whole(headers, body).await {
            (found, Ok(left)) => {
                detected::record(app, id, &recorded, &found, Given::First).await?;
                (headers, body) = left;
            }
            (found, Err(why)) => {
                return Err(shaped::refuse(app, &why, id, recorded, &found, Given::First).await?);
            }
        }
    }
    if let Some(keeping) = keeping.filter(|_| !body.is_empty()) {
        keeping.bytes(app, status, &headers, &body).await;
    }
    let headers = proxy::head(&headers, &[]);
    Ok(Answered::Passed(proxy::response(id, status, headers, Body::from(body))))
}

/// What an answer that is passed on as it comes goes through.
struct Through<'d> {
    detecting: &'d Detecting,
    found: Found,
    headers: Vec<(String, String)>,
    search: Stream,
}

impl Through<'_> {
    /// What of a piece can go on; `None` where nothing more may.
    fn piece(&mut self, piece: Option<&Bytes>) -> Option<Bytes> {
        let left = match piece {
            Some(piece) => self.search.push(piece),
            None => self.search.finish(),
        };
        self.search.withheld().is_empty().then_some(left.ok()?.into())
    }

    fn trailers(&mut self, trailers: Vec<(String, String)>) -> Option<Vec<(String, String)>> {
        let left = self.detecting.headers(trailers, &mut self.found);
        self.found.withheld(self.detecting.detect()).is_empty().then_some(left)
    }

    fn found(self) -> Found {
        let mut found = self.found;
        found.add(self.search.found());
        found
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
    mut through: Option<Through<'_>>,
    open: &mut OpenStream<'_>,
    tell: oneshot::Sender<Told>,
) -> (Settled, Found) {
    let status = answer.status();
    let (pieces, waiting) = mpsc::channel(PIECES);
    let ends = Arc::new(Ends::default());
    let trailers: Vec<&str> = answer.trailers().collect();
    let headers = through.as_ref().map_or(answer.headers(), |through| through.headers.as_slice());
    let headers = proxy::head(headers, &trailers);
    let body = Body::new(Passing { waiting, ends: Arc::clone(&ends) });
    let mut done = Settled::of(described, Ok(status));
    if tell.send(Ok(Answered::Passed(proxy::response(id, status, headers, body)))).is_err() {
        return (done, Found::default());
    }
    let looked_through = &mut through;
    let passing = async {
        loop {
            // What waits for the end of its line goes before what comes after it.
            let (first, second, is_last) = match answer.next().await {
                Ok(Some(Piece::Data(data))) => match looked_through.as_mut() {
                    None => (Some(Frame::data(data)), None, false),
                    Some(through) => {
                        let Some(left) = through.piece(Some(&data)) else { return Passed::Sensitive };
                        ((!left.is_empty()).then(|| Frame::data(left)), None, false)
                    }
                },
                Ok(Some(Piece::Trailers(trailers))) => match looked_through.as_mut() {
                    None => (Some(Frame::trailers(proxy::head(&trailers, &[]))), None, false),
                    Some(through) => {
                        let Some(left) = through.piece(None) else { return Passed::Sensitive };
                        let Some(trailers) = through.trailers(trailers) else { return Passed::Sensitive };
                        let trailers = Frame::trailers(proxy::head(&trailers, &[]));
                        ((!left.is_empty()).then(|| Frame::data(left)), Some(trailers), false)
                    }
                },
                Ok(None) => match looked_through.as_mut() {
                    None => (None, None, true),
                    Some(through) => {
                        let Some(left) = through.piece(None) else { return Passed::Sensitive };
                        ((!left.is_empty()).then(|| Frame::data(left)), None, true)
                    }
                },
                Err(failure) => return Passed::Failed(failure),
            };
            for frame in [first, second].into_iter().flatten() {
                // An agent that is gone, or reads nothing, needs no more; what happened has happened.
                if !matches!(timeout(SLOW_READER, pieces.send(frame)).await, Ok(Ok(()))) {
                    return Passed::Done;
                }
            }
            if is_last {
                ends.whole.store(true, Ordering::Release);
                return Passed::Done;
            }
        }
    };
    let passed = tokio::select! {
        biased;
        code = open.ended() => {
            ends.cut.store(true, Ordering::Release);
            done.cut = Some(code);
            Passed::Done
        }
        passed = passing => passed,
        // The agent is gone.
        () = pieces.closed() => Passed::Done,
    };
    let settled = match passed {
        Passed::Done => done,
        Passed::Sensitive => {
            ends.cut.store(true, Ordering::Release);
            done.cut = Some(Code::ResultSensitive);
            done
        }
        Passed::Failed(failure) => Settled::of(described, Err(&failure)),
    };
    (settled, through.map(Through::found).unwrap_or_default())
}

/// How passing an answer on ended.
enum Passed {
    Done,
    /// Something was found for which nothing more passes, or what comes can't be looked through.
    Sensitive,
    Failed(UpstreamFailure),
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
