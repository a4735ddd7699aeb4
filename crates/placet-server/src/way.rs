//! ★ Start here: the way of an action.
//!
//! ```text
//! authenticate ─► describe ─► plan ─► gather ─► judge ─► admit ─► perform ─► conclude ─► answer
//! ```
//!
//! [`act`] is that way, and the only one on which anything reaches an upstream. Planning is done when policies are
//! bound to the chain (an index from action to rules). Gathered is what a rule reads and neither chain nor request has:
//! facts that the action's service says how to look up (`facts`).
//!
//! Invariant: nothing is performed without an [`Admitted`](placet_store::Admitted), which only the store's commit point makes, and every
//! refusal has been recorded before it is answered.

mod again;
mod describe;
mod detected;
mod facts;
mod hold;
pub(crate) mod intent;
pub(crate) mod observe;
pub(crate) mod ongoing;
pub(crate) mod outcome;
mod passing;
pub(crate) mod permits;
pub(crate) mod returned;
mod shaped;
pub(crate) mod socket;
mod turn;
mod turns;
pub mod wait;

use crate::{
    app::App,
    bearer::{self, Bearer},
    clock,
    problem::Problem,
    recording,
    sender::Held,
    streams,
};
use axum::body::Bytes;
use describe::Described;
use detected::Detecting;
use placet_core::{
    chain::Chain,
    id::{ActionId, ApprovalId, DecisionId},
    judge::{self, Judgement, Verdict, exceeded},
    ledger::{Charge, Standing},
    pattern::ActionName,
    record::{EntryType, Envelope, leaf},
    refusal::{Code, Reader, Reason},
    secret::sha256,
    time::Timestamp,
};
use placet_gateway::{Following, Upload};
use placet_store::{Admission, Fault, Refused, Version, admit::Key};
use serde_json::{Map, Value, json};
use shaped::Shaping;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub(crate) use describe::{NO_SUCH_ACTION, expect_type, names, unnamed};
pub use describe::{Takes, takes};
pub use outcome::{Answered, Form};
pub use socket::{Asking, OpenSocket};

/// How often a request is judged anew because what it was judged on changed meanwhile.
const ATTEMPTS: usize = 20;
/// How long after its time limit an action may still be concluded: until then it counts as under way.
const CONCLUDING: Duration = Duration::from_secs(10);
/// How long an idempotent answer is kept.
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What an agent asks for, at whichever door.
#[derive(Debug)]
pub struct Asked {
    /// The request as the door got it.
    pub wanted: Wanted,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `Placet-Approval`.
    pub approval: Option<ApprovalId>,
    /// Where the request came from.
    pub source: Option<SocketAddr>,
    /// The door that it came to.
    pub door: Door,
    /// Who hears of it while it is carried out, and may call it off.
    pub following: Option<Following>,
}

/// A door at which actions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `POST /v1/actions`.
    Action,
    /// `ANY /proxy/…`.
    Proxy,
    /// `POST /mcp`.
    Mcp,
    /// The proxy that an agent's HTTP clients are told of (`HTTPS_PROXY`).
    Egress,
}

impl Asked {
    /// Whether it is released by a yes to the same request without naming it: where it can't name one.
    fn takes_up(&self) -> bool {
        self.door.takes_up() || matches!(self.wanted, Wanted::Message { .. })
    }
}

impl Door {
    /// As the record names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Proxy => "proxy",
            Self::Mcp => "mcp",
            Self::Egress => "egress",
        }
    }

    /// Whether a request that is sent again takes up the yes to it without naming the approval: a model that calls a tool
    /// again can only say the same again.
    const fn takes_up(self) -> bool {
        matches!(self, Self::Mcp)
    }
}

/// A request in the form of its door. All that a door knows is how to describe it and how to answer.
#[derive(Debug)]
pub enum Wanted {
    /// The action door.
    Action {
        /// The service; where it is left out, the one that declares the action.
        service: Option<String>,
        /// The action's name.
        action: String,
        /// Its arguments.
        params: Map<String, Value>,
        /// The connection's name or id.
        connection: Option<String>,
    },
    /// The proxy door and the egress door.
    Call(Arrived),
    /// A message on a WebSocket that was opened at one of these.
    Message {
        /// The WebSocket.
        socket: Arc<OpenSocket>,
        /// What the agent said.
        message: Value,
    },
}

impl Wanted {
    /// How long carrying it out may take, where the upstream takes `upstream` over its answer: one at the proxy door may
    /// be a stream.
    fn longest(&self, upstream: Duration) -> Duration {
        match self {
            Self::Action { .. } | Self::Message { .. } => upstream,
            Self::Call(_) => streams::LONGEST,
        }
    }
}

/// An HTTP request at the proxy door.
#[derive(Debug)]
pub struct Arrived {
    /// The connection's name or id.
    pub connection: String,
    /// The method.
    pub method: String,
    /// Path and query below the service's `base_url`, as they came.
    pub target: String,
    /// Headers that go on ([`LISTED_HEADERS`](placet_core::call::LISTED_HEADERS)), sorted, each once.
    pub headers: Vec<(String, String)>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: ArrivedBody,
}

/// The body of a request at the proxy door.
#[derive(Debug)]
pub enum ArrivedBody {
    /// There is none.
    None,
    /// Read whole.
    Whole(Bytes),
    /// To be passed on as it comes, once.
    Stream(Mutex<Option<Upload>>),
    /// None: the request asks for a WebSocket.
    Socket {
        /// The subprotocols that it offers.
        offered: Vec<String>,
        /// What it brings, once.
        asking: Mutex<Option<Box<Asking>>>,
    },
    /// Not read, as nothing takes it.
    Unread,
}

/// Takes one action all the way.
///
/// # Errors
/// The refusal, as a problem document that states the decision.
pub async fn act(app: &Arc<App>, held: &Held, asked: &Asked) -> Result<Answered, Problem> {
    let (mut spent, mut heard) = (BTreeSet::new(), None);
    let (mut looked_up, mut first) = (facts::LookedUp::default(), false);
    let (mut taken, mut place) = (None, None);
    app.operations.space.may_begin()?;
    for _ in 0..ATTEMPTS {
        let bearer = bearer::live(app, held).await?;
        let now = app.clock.now();
        // What agents below it do counts as its doing.
        if place.is_none() {
            place = Some(app.under_way.take(bearer.chain.root_agent())?);
        }
        let mut described = match describe::describe(app, &bearer, asked).await {
            Ok(described) => described,
            Err(problem) if problem.code() == Code::NotGranted => {
                return Err(deny_undescribed(app, &bearer, asked, problem, now).await?);
            }
            Err(problem) => return Err(problem),
        };
        // The rules were swapped since the token was looked up: what is judged by and what is compared has to be one.
        if !bearer.is_bound_by(&described.rules) {
            continue;
        }
        let action = Arc::make_mut(&mut described.action);
        returned::gather(app, &bearer.policies, &bearer.chain, action).await?;
        // What ran already is judged on what it ran by; what is looked up for it now may be its own doing.
        let again = !first && again::recalled(app, &bearer, &mut described, asked, now).await?;
        // What took time to read is judged with the authority that there is then.
        if !again
            && facts::gather(app, &bearer, &mut described, &mut looked_up, taken.is_some(), now).await?
                == facts::Gathered::Anew
        {
            continue;
        }
        let request = described.request(&bearer, now);
        let mut judgement = judge::informed(&bearer.policies, &request, described.declared());
        intent::prefer_people(&mut judgement, asked.approval);
        described.narrow(&judgement)?;
        if judgement.verdict == Verdict::Hold && described.call.streamed {
            let reason = Reason::of(Code::Forbidden)
                .detail("it needs an approval, and what is streamed can't be shown to a person");
            return Err(deny(app, &bearer, &described, asked, &judgement, vec![reason], now).await?);
        }
        let is_seen_through =
            || judge::is_shaped(&judgement, described.declared()) || !judge::detects(&judgement).is_empty();
        if described.is_of_socket() && is_seen_through() {
            let reason = Reason::of(Code::Forbidden).detail(
                "rules shape what comes back, or look through it, and what comes over a WebSocket can't be shaped",
            );
            return Err(deny(app, &bearer, &described, asked, &judgement, vec![reason], now).await?);
        }
        // Before people are asked: it may be what ran already, sent again.
        let asks = judgement.verdict == Verdict::Hold && asked.approval.is_none();
        if (asks || (again && judgement.verdict != Verdict::Deny))
            && let Some(key) = idempotency(&bearer, &described, asked, now)
        {
            match app.store.first_use(key, described.versions(&bearer), now).await {
                // The key has just been forgotten: then it is the first, by what holds now.
                Ok(()) if again => {
                    first = true;
                    continue;
                }
                Ok(()) => {}
                Err(refused) => {
                    match turned_away(app, &bearer, &described, asked, &judgement, refused, now).await? {
                        Some(answer) => return Ok(answer),
                        None => continue,
                    }
                }
            }
        }
        let release = match judgement.verdict {
            Verdict::Deny => {
                let reasons = judgement.reasons.clone();
                return Err(deny(app, &bearer, &described, asked, &judgement, reasons, now).await?);
            }
            Verdict::Allow => hold::Release::default(),
            Verdict::Hold => {
                match hold::approved(app, &bearer, &described, &judgement, asked, &spent, now).await? {
                    hold::Standing::Released(release) => release,
                    hold::Standing::Held(answer) => {
                        count(app, "hold", Code::ApprovalRequired.as_str());
                        return Ok(answer);
                    }
                    hold::Standing::Refused(reason) => {
                        return Err(
                            deny(app, &bearer, &described, asked, &judgement, vec![reason], now).await?
                        );
                    }
                }
            }
        };
        let left = (&mut judgement, release);
        let release = match intent::pass(app, &bearer, &described, asked, left, &mut heard, now).await? {
            intent::Next::Admit(release) => *release,
            intent::Next::Anew => {
                // The judge took its time: what upstream held before is old.
                looked_up = facts::LookedUp::default();
                continue;
            }
            intent::Next::Answered(answer) => return Ok(*answer),
        };
        // Before anything is reserved: a token that can't be had costs no limit.
        if described.freshen(app).await? {
            continue;
        }
        // Before anything is reserved, too: what can't be sent costs nothing.
        match turn::take(app, &described, &mut taken).await {
            Ok(turn::Taken::Here) => {}
            // With the authority that there is now.
            Ok(turn::Taken::Waited) => continue,
            Err(away) => {
                // What ran already is answered all the same.
                if let Some(key) = idempotency(&bearer, &described, asked, now)
                    && let Err(refused) = app.store.first_use(key, described.versions(&bearer), now).await
                {
                    match turned_away(app, &bearer, &described, asked, &judgement, refused, now).await? {
                        Some(answer) => return Ok(answer),
                        None => continue,
                    }
                }
                return Err(away);
            }
        }
        let action_id = clock::fresh(now);
        let admission = Admission {
            action: action_id,
            agent: bearer.chain.agent().id,
            user: bearer.chain.user_id(),
            grant: bearer.chain.leaf().grant.id,
            root: bearer.chain.leaf().grant.root,
            task: bearer.chain.leaf().grant.task,
            connection: Some(described.connection.connection.id),
            at: now,
            until: now.plus(asked.wanted.longest(turn::time(&described.live))).plus(CONCLUDING),
            versions: [described.versions(&bearer), release.permitted.versions].concat(),
            charges: [judgement.charges.clone(), release.permitted.charges].concat(),
            observed: observe::noted(
                &judgement.observed,
                &bearer.chain,
                &described.action.name,
                leaf::Verdict::Allow,
            ),
            approval: release.approval,
            idempotency: idempotency(&bearer, &described, asked, now),
            intent: app
                .prepare(
                    Envelope {
                        permits: release.permitted.permits.clone(),
                        approval: release.approval.map(|(id, _)| id).or(asked.approval),
                        ..envelope(&bearer, &described, &judgement, asked, action_id, now)
                    },
                    Some(&observe::beside(
                        intent::beside(
                            described.beside(recording::action_body(
                                &described.action,
                                described.secret(),
                                &[],
                            )?),
                            &judgement,
                            heard.as_ref(),
                        ),
                        &judgement.observed,
                    )),
                )?
                .kept_until(bearer.policies.keep_until(now)),
        };
        let began = Instant::now();
        let admitted = app.store.admit(admission).await;
        app.operations.metrics.admit.observe(began.elapsed());
        if matches!(&admitted, Err(Refused::Fault(Fault::Full))) {
            app.operations.space.met_the_end();
        }
        match admitted {
            Ok(admitted) => {
                count(app, "allow", "");
                let shaping = Shaping::of(&bearer, &described, &judgement, now);
                described.turn = taken.take().map(|(_, slot)| slot);
                described.place = place.take();
                let detecting = Detecting::of(&bearer, &described, &judgement);
                return outcome::perform(app, admitted, &bearer, (described, shaping, detecting), asked)
                    .await;
            }
            // Somebody else had the last of a permit: then people are asked.
            Err(Refused::Limit { index, .. }) if judgement.charges.len() <= index => {
                spent.extend(release.permitted.permits);
            }
            Err(refused) => {
                match turned_away(app, &bearer, &described, asked, &judgement, refused, now).await? {
                    Some(answer) => return Ok(answer),
                    None => continue,
                }
            }
        }
    }
    Err(Problem::of(
        Code::Unavailable,
        "what the request is judged on keeps changing; nothing was sent, try again",
    ))
}

/// What follows from a refusal of the commit point: the first answer again, nothing (judge anew), or a recorded denial.
async fn turned_away(
    app: &App,
    bearer: &Arc<Bearer>,
    described: &Described,
    asked: &Asked,
    judgement: &Judgement,
    refused: Refused,
    now: Timestamp,
) -> Result<Option<Answered>, Problem> {
    match refused {
        Refused::Stale => app.refresh().await.map(|()| None),
        Refused::Replay(replay) => {
            let shaping = Shaping::of(bearer, described, judgement, now);
            let detecting = Detecting::of(bearer, described, judgement);
            outcome::replay(app, &replay, (bearer, described, asked), (shaping, detecting)).await.map(Some)
        }
        Refused::Fault(fault) => Err(fault.into()),
        refused => {
            let reason = refusal(&refused, judgement, &bearer.chain);
            Err(deny(app, bearer, described, asked, judgement, vec![reason], now).await?)
        }
    }
}

/// The reason for what the commit point refused.
fn refusal(refused: &Refused, judgement: &Judgement, chain: &Chain) -> Reason {
    match refused {
        Refused::Limit { index, standing } => exceeded(judgement, chain, *index, *standing),
        Refused::Approval(code) => Reason::of(*code),
        Refused::IdempotencyInFlight => Reason::of(Code::IdempotencyInFlight),
        Refused::IdempotencyMismatch => Reason::of(Code::IdempotencyMismatch),
        Refused::Stale | Refused::Replay(_) | Refused::Fault(_) => Reason::of(Code::Unavailable),
    }
}

/// How each counter that the judgement would charge stands, in its order.
pub async fn standings(app: &App, judgement: &Judgement, now: Timestamp) -> Result<Vec<Standing>, Problem> {
    standings_of(app, judgement.charges.clone(), now).await
}

/// How the counters of these charges stand, in their order.
pub async fn standings_of(app: &App, charges: Vec<Charge>, now: Timestamp) -> Result<Vec<Standing>, Problem> {
    if charges.is_empty() {
        return Ok(Vec::new());
    }
    let read = move |q: &mut placet_store::Reader| -> Result<Vec<Standing>, Fault> {
        charges.iter().map(|charge| placet_store::counters::standing(q, charge, now)).collect()
    };
    Ok(app.store.read(read).await?)
}

/// Records a refusal and makes its problem document. Equal refusals within a minute become one entry with a count.
async fn deny(
    app: &App,
    bearer: &Bearer,
    described: &Described,
    asked: &Asked,
    judgement: &Judgement,
    reasons: Vec<Reason>,
    now: Timestamp,
) -> Result<Problem, Problem> {
    let id: DecisionId = clock::fresh(now);
    let mut codes: Vec<String> = Vec::new();
    for reason in &reasons {
        if !codes.iter().any(|code| code == reason.code.as_str()) {
            codes.push(reason.code.as_str().to_owned());
        }
    }
    let envelope = Envelope {
        action: Some(described.action.name.as_str().to_owned()),
        service: described.action.service.as_ref().map(ToString::to_string),
        connection: described.action.connection,
        decision: Some(leaf::Verdict::Deny),
        rule: reasons.iter().find_map(|reason| reason.rule.clone()),
        policies: labels(bearer.policies.labels()),
        codes: codes.clone(),
        source: recording::source(asked.source),
        door: Some(asked.door.as_str().to_owned()),
        approval: asked.approval,
        ..recording::attributed(EntryType::DecisionDeny, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let body = recording::action_body(&described.action, described.secret(), &reasons)?;
    let body = observe::beside(body, &judgement.observed);
    // Equal means equal in everything but the time and the token: whatever else the entry states.
    let stated = serde_json::to_vec(&(
        (&described.action.params, described.action.resource.to_string(), &reasons),
        (described.action.connection, asked.approval, &envelope.source, &envelope.door, &envelope.policies),
        (&judgement.observed, described.action.facts.shown()),
    ));
    let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
    let key = sha256(&[
        bearer.chain.leaf().grant.id.to_string().as_bytes(),
        b"\0",
        described.action.name.as_str().as_bytes(),
        b"\0",
        codes.join(",").as_bytes(),
        b"\0",
        &stated,
    ]);
    let observed =
        observe::noted(&judgement.observed, &bearer.chain, &described.action.name, leaf::Verdict::Deny);
    app.store.observe(observed, now).await?;
    app.record_denial(&bearer.chain, key, (envelope, &body), bearer.policies.keep_until(now), now).await?;
    count(app, "deny", reasons.first().map_or("", |reason| reason.code.as_str()));
    Ok(Problem::new(reasons, Reader::Agent)
        .with("decision", "deny")
        .with("id", id.to_string())
        .with("action", described.action.name.as_str())
        .with("resource", described.action.resource.to_string()))
}

/// Refuses what no action could be made of at its door, and records that.
pub async fn refuse(app: &App, held: &Held, asked: &Asked, problem: Problem) -> Problem {
    let refused = async {
        let bearer = bearer::live(app, held).await?;
        deny_undescribed(app, &bearer, asked, problem, app.clock.now()).await
    };
    refused.await.unwrap_or_else(|problem| problem)
}

/// Records the refusal of what could not even be described for this grant, and makes its problem document. Parameters
/// stay out of it: without a declaration nobody knows which of them are secret.
async fn deny_undescribed(
    app: &App,
    bearer: &Bearer,
    asked: &Asked,
    problem: Problem,
    now: Timestamp,
) -> Result<Problem, Problem> {
    let id: DecisionId = clock::fresh(now);
    let (action, body) = match &asked.wanted {
        Wanted::Action { service, action, connection, .. } => (
            ActionName::parse(action).map(|name| name.as_str().to_owned()).ok(),
            json!({"service": service, "connection": connection, "detail": problem.detail()}),
        ),
        Wanted::Call(arrived) => (
            None,
            json!({"connection": arrived.connection, "method": arrived.method, "detail": problem.detail()}),
        ),
        Wanted::Message { socket, .. } => (None, socket::named(socket, problem.detail())),
    };
    let envelope = Envelope {
        action: action.clone(),
        decision: Some(leaf::Verdict::Deny),
        codes: vec![problem.code().as_str().to_owned()],
        source: recording::source(asked.source),
        door: Some(asked.door.as_str().to_owned()),
        approval: asked.approval,
        ..recording::attributed(EntryType::DecisionDeny, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let from = (&envelope.source, &envelope.door);
    let stated = serde_json::to_vec(&(bearer.chain.leaf().grant.id, &action, &body, asked.approval, from));
    let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
    let key = sha256(&[b"undescribed", &stated]);
    app.record_denial(&bearer.chain, key, (envelope, &body), None, now).await?;
    count(app, "deny", problem.code().as_str());
    let problem = problem.with("decision", "deny").with("id", id.to_string());
    Ok(match action {
        Some(action) => problem.with("action", action),
        None => problem,
    })
}

/// Counts a decision that was made.
pub(crate) fn count(app: &App, verdict: &str, code: &str) {
    app.operations.metrics.decisions.add(&[("verdict", verdict), ("code", code)]);
}

pub(crate) fn labels(labels: &[Arc<str>]) -> Vec<String> {
    labels.iter().map(|label| label.to_string()).collect()
}

fn envelope(
    bearer: &Bearer,
    described: &Described,
    judgement: &Judgement,
    asked: &Asked,
    action_id: ActionId,
    now: Timestamp,
) -> Envelope {
    Envelope {
        action: Some(described.action.name.as_str().to_owned()),
        action_id: Some(action_id),
        service: described.action.service.as_ref().map(ToString::to_string),
        connection: described.action.connection,
        decision: Some(leaf::Verdict::Allow),
        policies: labels(&judgement.policies),
        source: recording::source(asked.source),
        door: Some(asked.door.as_str().to_owned()),
        approval: asked.approval,
        ..recording::attributed(EntryType::ActionIntent, now, &bearer.chain, Some(bearer.claims.jti))
    }
}

/// What an idempotency key is scoped to and bound to.
fn idempotency(bearer: &Bearer, described: &Described, asked: &Asked, now: Timestamp) -> Option<Key> {
    let key = asked.idempotency_key.as_deref()?;
    let scope = sha256(&[
        bearer.chain.agent().id.to_string().as_bytes(),
        b"\0",
        bearer.chain.user_id().map(|user| user.to_string()).unwrap_or_default().as_bytes(),
        b"\0",
        described.connection.connection.id.to_string().as_bytes(),
        b"\0",
        key.as_bytes(),
    ]);
    Some(Key { scope, digest: described.digest(), expires: now.plus(IDEMPOTENCY_KEPT) })
}

impl Described {
    /// Everything whose change makes the judgement stale.
    fn versions(&self, bearer: &Bearer) -> Vec<(Version, u64)> {
        let mut versions: Vec<(Version, u64)> =
            bearer.chain.stamps().iter().map(|(stamp, version)| (Version::from(*stamp), *version)).collect();
        versions.push((Version::Policies, self.rules.policies_version));
        versions.push((Version::Service(self.live.service.name().to_owned()), self.live.stamp));
        versions.push((Version::Connection(self.connection.connection.id), self.connection.version));
        versions
    }
}
