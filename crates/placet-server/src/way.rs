//! ★ Start here: the way of an action.
//!
//! ```text
//! authenticate ─► describe ─► plan ─► gather ─► judge ─► admit ─► perform ─► conclude ─► answer
//! ```
//!
//! [`act`] is that way, and the only one on which anything reaches an upstream; `once` has its steps in their order, and
//! `case` those between describing and the commit point. Planning is done when policies are bound to the chain (an index
//! from action to rules). Gathered is what a rule reads and neither chain nor request has: facts that the action's service
//! says how to look up (`facts`).
//!
//! Invariant: nothing is performed without an [`Admitted`](placet_store::Admitted), which only the store's commit point makes, and every
//! refusal has been recorded before it is answered.

mod again;
mod case;
mod denied;
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
    problem::Problem,
    sender::Held,
    share::Share,
    streams,
};
use axum::body::Bytes;
use case::Case;
use describe::Described;
use placet_core::{
    id::{ApprovalId, PermitId},
    refusal::Code,
    time::Timestamp,
};
use placet_gateway::{Following, Slot, Upload};
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

pub use case::standings;
pub(crate) use case::{count, labels, standings_of};
pub use denied::refuse;
pub(crate) use describe::{NO_SUCH_ACTION, expect_type, names, unnamed};
pub use describe::{Takes, takes};
pub use outcome::{Answered, Form};
pub use socket::{Asking, OpenSocket};

/// How often a request is judged anew because what it was judged on changed meanwhile.
const ATTEMPTS: usize = 20;

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
    app.operations.space.may_begin()?;
    let mut kept = Kept::default();
    for _ in 0..ATTEMPTS {
        match once(app, held, asked, &mut kept).await {
            Ok(answer) => return Ok(answer),
            Err(Stop::Anew) => {}
            Err(Stop::Answered(answer)) => return Ok(*answer),
            Err(Stop::Refused(problem)) => return Err(*problem),
        }
    }
    Err(Problem::of(
        Code::Unavailable,
        "what the request is judged on keeps changing; nothing was sent, try again",
    ))
}

/// Takes it once, with the authority and by the rules that there are now.
async fn once(app: &Arc<App>, held: &Held, asked: &Asked, kept: &mut Kept) -> Result<Answered, Stop> {
    let bearer = bearer::live(app, held).await?;
    let now = app.clock.now();
    kept.take_place(app, &bearer)?;
    let mut described = described(app, &bearer, asked, now).await?;
    let again = gather(app, &bearer, &mut described, asked, kept, now).await?;
    let mut case = Case::judge(app, asked, bearer, described, now)?;
    case.deny_what_cannot_be_done().await?;
    case.answer_what_ran(again, kept).await?;
    let release = case.release(&kept.spent).await?;
    let release = case.fit(release, kept).await?;
    case.freshen().await?;
    case.take_turn(kept).await?;
    let admitted = case.admit(release, kept).await?;
    case.perform(admitted, kept).await
}

/// What a request has while it is judged anew.
#[derive(Default)]
struct Kept {
    /// Its place among what its agent has under way.
    place: Option<Share>,
    /// What was looked up for it at upstream.
    looked_up: facts::LookedUp,
    /// Nothing is known of its key any more: it is the first, by what holds now.
    is_first: bool,
    /// What a judge of intent said of it.
    heard: Option<intent::Heard>,
    /// Its turn at the upstream of that name.
    turn: Option<(String, Slot)>,
    /// Permits that others have used up meanwhile.
    spent: BTreeSet<PermitId>,
}

impl Kept {
    /// Takes its place, once. What agents below it do counts as its agent's doing.
    fn take_place(&mut self, app: &App, bearer: &Bearer) -> Result<(), Problem> {
        if self.place.is_none() {
            self.place = Some(app.under_way.take(bearer.chain.root_agent())?);
        }
        Ok(())
    }
}

/// Why a request goes no further this time.
enum Stop {
    /// What it was judged on has changed, or time has passed: it is judged anew.
    Anew,
    /// It has an answer without being carried out now: people are asked, or it ran before.
    Answered(Box<Answered>),
    /// It is refused. Where the rules refuse it, that is in the record.
    Refused(Box<Problem>),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

/// Describes the request, by the rules that its token was bound to.
async fn described(app: &App, bearer: &Bearer, asked: &Asked, now: Timestamp) -> Result<Described, Stop> {
    let described = match describe::describe(app, bearer, asked).await {
        Ok(described) => described,
        Err(problem) if problem.code() == Code::NotGranted => {
            return Err(denied::deny_undescribed(app, bearer, asked, problem, now).await?.into());
        }
        Err(problem) => return Err(problem.into()),
    };
    // The rules were swapped since the token was looked up: what is judged by and what is compared has to be one.
    if bearer.is_bound_by(&described.rules) { Ok(described) } else { Err(Stop::Anew) }
}

/// Gives the action what rules read and neither chain nor request has. Whether that is what it was judged on before, with
/// its idempotency key.
async fn gather(
    app: &Arc<App>,
    bearer: &Bearer,
    described: &mut Described,
    asked: &Asked,
    kept: &mut Kept,
    now: Timestamp,
) -> Result<bool, Stop> {
    let action = Arc::make_mut(&mut described.action);
    returned::gather(app, &bearer.policies, &bearer.chain, action).await?;
    // What ran already is judged on what it ran by; what is looked up for it now may be its own doing.
    if !kept.is_first && again::recalled(app, bearer, described, asked, now).await? {
        return Ok(true);
    }
    let has_turn = kept.turn.is_some();
    match facts::gather(app, bearer, described, &mut kept.looked_up, has_turn, now).await? {
        facts::Gathered::Ready => Ok(false),
        // What took time to read is judged with the authority that there is then.
        facts::Gathered::Anew => Err(Stop::Anew),
    }
}
