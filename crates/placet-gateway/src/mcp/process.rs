//! MCP servers that are programs: one process for each connection, spoken to over its standard input and output.
//!
//! A definition names a command; which program that is, with which arguments and environment, the operator lists. The
//! process is started when it is first needed, with nothing in its environment but what is listed, and ends with the
//! credential that it was given, or with this process. One that ends by itself is started again, less and less often.
//!
//! Invariant: nothing is started that the operator has not listed, and no agent chooses a byte of a command line. What a
//! process writes to standard error goes to the log without the secret, and so much of it only.

use super::{
    Body, CALLED_OFF, Came, Following, Peer, Said, answer, client, has_prompts, is_change, message, withdrawn,
};
use crate::failure::{NotSent, Unknown, UpstreamFailure};
use crate::gateway::{Gateway, not_sent, unknown};
use crate::scrub::Scrubber;
use http::HeaderMap;
use placet_core::json;
use placet_core::mcp::WITH_HANDSHAKE;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command as Program};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// A program that the operator lets run.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub line: Vec<String>,
    /// Its environment: there is nothing else in it.
    pub env: BTreeMap<String, String>,
    /// The variable that has the connection's secret; none: it is not given.
    pub secret: Option<String>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Operators put secrets where they should not.
        write!(f, "Command({})", self.line.first().map_or("", String::as_str))
    }
}

/// The shortest and longest time between two starts.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);
/// After so long a run it counts as one that went well.
const STEADY: Duration = Duration::from_secs(60);
/// How long it may take to read an answer that it is not waiting for.
const WRITE: Duration = Duration::from_secs(5);
/// How many lines of standard error go to the log, and how much of each.
const LINES: usize = 1000;
const LINE: usize = 1000;

/// The process of one credential.
#[derive(Debug, Default)]
pub(super) struct Slot {
    running: Option<Arc<Running>>,
    started: Option<Instant>,
    failures: u32,
}

/// Who waits for an answer.
struct Asked {
    answered: oneshot::Sender<Map<String, Value>>,
    following: Option<Following>,
}

#[derive(Default)]
struct Pending {
    ended: bool,
    asked: HashMap<u64, Asked>,
}

/// A process that runs; it is ended when this is dropped.
struct Running {
    input: Arc<Mutex<ChildStdin>>,
    pending: Arc<std::sync::Mutex<Pending>>,
    /// Whoever owns the process waits for this to go.
    stop: watch::Sender<bool>,
    /// Whether it says that it has prompts.
    prompts: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

fn lock(pending: &std::sync::Mutex<Pending>) -> std::sync::MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody is left to answer: whoever waits learns that nothing comes, and not what has become of the call.
fn leave(pending: &std::sync::Mutex<Pending>) {
    let mut pending = lock(pending);
    pending.ended = true;
    pending.asked.clear();
}

impl Peer<'_> {
    /// Asks the process of this credential, which is started where it does not run.
    pub(super) async fn ask_process(
        &self,
        name: &str,
        message: &Map<String, Value>,
    ) -> Result<Came, UpstreamFailure> {
        let running = self.running(name).await?;
        if self.following.is_some_and(Following::is_off) {
            return Err(not_sent(self.route, NotSent::CalledOff));
        }
        let asked = self.converse(&running, message, self.following).await;
        let answer = asked.map_err(|why| match why {
            Missing::NotWritten => not_sent(self.route, NotSent::Unreachable),
            Missing::Unknown(reason) => unknown(self.route, None, reason),
        })?;
        Ok(Came { status: 200, headers: HeaderMap::new(), body: Body::Answer(answer) })
    }

    /// Whether the process that runs says that it has prompts.
    pub(super) async fn process_has_prompts(&self) -> bool {
        let slot = self.credential.sessions().process.lock().await;
        slot.running.as_ref().is_some_and(|running| running.prompts)
    }

    async fn running(&self, name: &str) -> Result<Arc<Running>, UpstreamFailure> {
        let refuse = |reason| Err(not_sent(self.route, reason));
        let Some(command) = self.gateway.command(name) else { return refuse(NotSent::NotListed) };
        let slot = &self.credential.sessions().process;
        let Ok(mut slot) = timeout_at(self.deadline, slot.lock()).await else {
            return refuse(NotSent::TimedOut);
        };
        if let Some(running) = slot.running.as_ref().filter(|running| !lock(&running.pending).ended) {
            return Ok(Arc::clone(running));
        }
        slot.running = None;
        if let Some(started) = slot.started {
            if started.elapsed() > STEADY {
                slot.failures = 0;
            }
            let wait = SOONEST.saturating_mul(1 << slot.failures.min(6)).min(LATEST);
            if started.elapsed() < wait {
                return refuse(NotSent::Unreachable);
            }
        }
        slot.started = Some(Instant::now());
        slot.failures = slot.failures.saturating_add(1);
        let Some(mut running) = self.start(command) else { return refuse(NotSent::Unreachable) };
        running.prompts = self.greet(&running).await?;
        let running = Arc::new(running);
        slot.running = Some(Arc::clone(&running));
        Ok(running)
    }

    fn start(&self, command: &Command) -> Option<Running> {
        let (program, arguments) = command.line.split_first()?;
        let mut program = Program::new(program);
        program.args(arguments).env_clear().envs(&command.env).kill_on_drop(true);
        if let Some(variable) = &command.secret {
            program.env(variable, self.credential.in_environment()?);
        }
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = program.spawn();
        let mut child = spawned
            .inspect_err(
                |error| tracing::warn!(host = self.route.host(), %error, "a command can't be started"),
            )
            .ok()?;
        let (input, output, errors) = (child.stdin.take()?, child.stdout.take()?, child.stderr.take()?);
        let input = Arc::new(Mutex::new(input));
        let pending = Arc::new(std::sync::Mutex::new(Pending::default()));
        let (stop, mut stopped) = watch::channel(false);
        let reading = Reading {
            gateway: self.gateway.clone(),
            server: self.server(),
            host: self.route.host().to_owned(),
            max: self.gateway.max_response_bytes(),
            input: Arc::clone(&input),
            pending: Arc::clone(&pending),
            scrubber: self.credential.scrubber().clone(),
        };
        let (host, scrubber) = (self.route.host().to_owned(), self.credential.scrubber().clone());
        tokio::spawn(log(host, errors, scrubber));
        tokio::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => {}
                () = reading.read(output) => {}
            }
            leave(&reading.pending);
            // Whatever it does now, nobody listens.
            _ = child.kill().await;
        });
        Some(Running { input, pending, stop, prompts: false })
    }

    /// The handshake, with which a process begins; answers whether it has prompts.
    async fn greet(&self, running: &Running) -> Result<bool, UpstreamFailure> {
        let refuse = || not_sent(self.route, NotSent::Handshake);
        let hello = json!({"protocolVersion": WITH_HANDSHAKE[0], "capabilities": {}, "clientInfo": client()});
        let hello = message("initialize", hello.as_object().cloned().unwrap_or_default());
        let answer = self.converse(running, &hello, None).await.map_err(|_| refuse())?;
        let version = answer.get("result").and_then(|result| result.get("protocolVersion")?.as_str());
        let known = |version: &str| {
            WITH_HANDSHAKE.contains(&version) || version == super::OLDER || version == super::OLDEST
        };
        version.filter(|version| known(version)).ok_or_else(refuse)?;
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        write(&running.input, &ready, self.deadline).await.map_err(|()| refuse())?;
        Ok(has_prompts(&answer))
    }

    /// Sends a request and waits for its answer, or until whoever follows it calls it off.
    async fn converse(
        &self,
        running: &Running,
        message: &Map<String, Value>,
        following: Option<&Following>,
    ) -> Result<Map<String, Value>, Missing> {
        let id = self.credential.sessions().fresh();
        let session = super::Agreed::Session { version: String::new(), id: None, prompts: false };
        let (message, _) = super::numbered(message, id, &session, following);
        let (answered, answer) = oneshot::channel();
        {
            let mut pending = lock(&running.pending);
            if pending.ended {
                return Err(Missing::NotWritten);
            }
            pending.asked.insert(id, Asked { answered, following: following.cloned() });
        }
        if write(&running.input, &Value::Object(message), self.deadline).await.is_err() {
            // It may have read a part, and what comes after a part is nothing.
            _ = running.stop.send(true);
            leave(&running.pending);
            return Err(Missing::Unknown(Unknown::Disconnected));
        }
        let off = async {
            match following {
                Some(following) => following.called_off().await,
                None => std::future::pending().await,
            }
        };
        let (why, told) = tokio::select! {
            biased;
            answered = timeout_at(self.deadline, answer) => match answered {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_)) => return Err(Missing::Unknown(Unknown::Disconnected)),
                Err(_) => (Unknown::TimedOut, "it took too long"),
            },
            () = off => (Unknown::CalledOff, CALLED_OFF),
        };
        lock(&running.pending).asked.remove(&id);
        if write(&running.input, &withdrawn(id, told), Instant::now() + WRITE).await.is_err() {
            _ = running.stop.send(true);
        }
        Err(Missing::Unknown(why))
    }
}

/// Why there is no answer.
enum Missing {
    /// The process had ended before.
    NotWritten,
    /// It was written, or a part of it was.
    Unknown(Unknown),
}

async fn write(input: &Mutex<ChildStdin>, message: &Value, deadline: Instant) -> Result<(), ()> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    let writing = async {
        let mut input = input.lock().await;
        input.write_all(&line).await?;
        input.flush().await
    };
    match timeout_at(deadline, writing).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(()),
    }
}

/// Whoever reads what a process says.
struct Reading {
    gateway: Gateway,
    server: String,
    host: String,
    max: usize,
    input: Arc<Mutex<ChildStdin>>,
    pending: Arc<std::sync::Mutex<Pending>>,
    scrubber: Scrubber,
}

impl Reading {
    /// Passes on how far a call is, by the token that it was given. What the process logs is about none in particular, and
    /// others may use it: it goes to nobody.
    fn hear(&self, method: &str, params: Option<Value>) {
        let id = params.as_ref().and_then(|params| params.get("progressToken")?.as_u64());
        let following = id.and_then(|id| lock(&self.pending).asked.get(&id)?.following.clone());
        if let (Some(id), Some(following), "notifications/progress") = (id, following, method) {
            following.hear(method, params, id, &self.scrubber);
        }
    }

    /// Reads until the end.
    async fn read(&self, output: ChildStdout) {
        let mut output = BufReader::new(output);
        while let Some(line) = line(&mut output, self.max).await {
            // Whose answer it was, nobody knows: that call runs out of time, and no other one does.
            let Line::Whole(line) = line else {
                tracing::warn!(
                    command = self.host,
                    max = self.max,
                    "an MCP server said more in one line than is read"
                );
                continue;
            };
            // What is no message is nothing.
            let Ok(message) = json::parse(&line) else { continue };
            let id = message.get("id").and_then(Value::as_u64);
            match answer(message, id.unwrap_or_default()) {
                Said::Answer(answer) => {
                    let asked = id.and_then(|id| lock(&self.pending).asked.remove(&id));
                    if let Some(asked) = asked {
                        _ = asked.answered.send(answer);
                    }
                }
                Said::Notice(method, _) if is_change(&method) => {
                    self.gateway.heard().note(self.server.clone());
                }
                Said::Question(question) => {
                    let error = super::unanswered(&question);
                    if write(&self.input, &error, Instant::now() + WRITE).await.is_err() {
                        return;
                    }
                }
                Said::Notice(method, params) => self.hear(&method, params),
                Said::Nothing => {}
            }
        }
    }
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    /// Read to its end, and not kept.
    TooLong,
}

/// The next line; `None` after the last.
async fn line(from: &mut (impl Unpin + tokio::io::AsyncBufRead), max: usize) -> Option<Line> {
    let mut line = Line::Whole(Vec::new());
    loop {
        let some = from.fill_buf().await.ok().filter(|some| !some.is_empty())?;
        let end = some.iter().position(|byte| *byte == b'\n');
        let part = some.get(..end.unwrap_or(some.len())).unwrap_or_default();
        match &mut line {
            Line::Whole(whole) if whole.len().saturating_add(part.len()) <= max => {
                whole.extend_from_slice(part);
            }
            _ => line = Line::TooLong,
        }
        let used = end.map_or(some.len(), |end| end.saturating_add(1));
        from.consume(used);
        if end.is_some() {
            return Some(line);
        }
    }
}

/// What a process writes to standard error, as far as it goes to the log. The rest is read, so that it is not held up.
async fn log(host: String, errors: ChildStderr, scrubber: Scrubber) {
    let mut errors = BufReader::new(errors);
    let mut lines = 0_usize;
    loop {
        let whole = match timeout(Duration::from_secs(3600), line(&mut errors, 64 * 1024)).await {
            Ok(Some(Line::Whole(line))) => line,
            Ok(None) => return,
            Ok(Some(Line::TooLong)) | Err(_) => continue,
        };
        lines = lines.saturating_add(1);
        if lines > LINES {
            continue;
        }
        let text = String::from_utf8_lossy(&whole);
        let text = scrubber.scrub_text(&text).unwrap_or_else(|| text.into_owned());
        let text: String = text.chars().filter(|letter| !letter.is_control()).take(LINE).collect();
        tracing::info!(command = host, text, "an MCP server says");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_takes_no_other_with_it() {
        let said = b"short\nmuch too long\nexactly8\nexactly-9\n\nlast\nno end";
        // However it comes.
        for at_once in 1..said.len() {
            let mut from = BufReader::with_capacity(at_once, &said[..]);
            let mut lines = Vec::new();
            while let Some(line) = line(&mut from, 8).await {
                lines.push(line);
            }
            let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
            let expected =
                [whole("short"), Line::TooLong, whole("exactly8"), Line::TooLong, whole(""), whole("last")];
            assert_eq!(lines, expected, "{at_once} bytes at once");
        }
    }
}
