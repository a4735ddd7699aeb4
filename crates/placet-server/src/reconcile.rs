//! What became of actions of which nobody knows: the server died, or the upstream did not answer in time.
//!
//! They are settled by a person (`api::actions::settle`) or by the `status` action of their service, which is
//! asked here: with the connection's credential, through the same gateway, admitted and recorded like every action, as
//! the server's own. Whether something happened decides whether its charges are kept or given back.
//!
//! Invariant: nothing is given back without an entry that says what that rests on, and what is unclear stays unknown.

use crate::{
    app::App,
    clock, connections,
    problem::Problem,
    recording::{self, Intent},
    rules::{LiveService, Rules},
};
use placet_core::{
    call::UpstreamCall,
    id::{ActionId, AgentId, ConnectionId},
    pattern::ActionName,
    record::{EntryType, Envelope, leaf},
    time::Timestamp,
};
use placet_gateway::{ResponseBody, UpstreamFailure, UpstreamResponse};
use placet_store::{
    Admission, ConcludeError, Conclusion, Fault, Refused, Version,
    actions::{self, ActionState, Listed, StoredAction},
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Who settles in the record where it was the server itself.
pub const ITSELF: &str = "placet";
/// After how long an action that is still in flight belongs to a node that is gone: longer than any may take.
pub const OVERDUE: Duration = Duration::from_secs(15 * 60);
/// How long an upstream may take to tell.
const ASKED_FOR: Duration = Duration::from_secs(10);
/// How many upstreams are asked at once.
const AT_ONCE: usize = 4;
/// How many in one turn, so that a turn ends while every upstream is silent.
const A_TURN: usize = 8;
/// How many actions one turn looks at.
const PAGE: usize = 100;
/// How long after a first question in vain the next is asked; it doubles each time.
const FIRST: Duration = Duration::from_secs(2);
/// The longest between two questions.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many actions' turns are remembered; forgetting one asks earlier than it would have.
const REMEMBERED: usize = 100_000;

/// Where the reconciler is: what it looks at next, and when each action is due again.
#[derive(Debug, Default)]
pub struct Reconciler {
    after: Option<ActionId>,
    due: HashMap<ActionId, (u32, Timestamp)>,
}

/// What came of one question.
enum Asked {
    /// It is known now.
    Settled,
    /// It is not, or can't be asked.
    Open,
    /// It is too early to ask.
    Early(Timestamp),
}

impl Reconciler {
    /// One turn: of a page of unknown actions, asks about those that are due, a few at a time.
    ///
    /// # Errors
    /// Faults of reading; what a single question meets is tried again later.
    pub async fn turn(&mut self, app: &Arc<App>) -> Result<(), Problem> {
        let (after, now) = (self.after, app.clock.now());
        let page = app.store.read(move |q| actions::list(q, Listed::Unknown, after, PAGE)).await?;
        self.after = page.last().filter(|_| page.len() == PAGE).map(|action| action.id);
        if self.due.len() > REMEMBERED {
            self.due.clear();
        }
        let (mut asking, mut asked_of) = (JoinSet::new(), 0);
        for action in page {
            if asked_of >= A_TURN {
                break;
            }
            if self.due.get(&action.id).is_some_and(|(_, due)| now < *due) {
                continue;
            }
            if asking.len() >= AT_ONCE
                && let Some(asked) = asking.join_next().await
            {
                self.note(asked.ok(), app.clock.now());
            }
            // The next turn goes on behind it.
            asked_of += 1;
            if asked_of == A_TURN {
                self.after = Some(action.id);
            }
            let app = Arc::clone(app);
            asking.spawn(async move { (action.id, ask(&app, &action).await) });
        }
        while let Some(asked) = asking.join_next().await {
            self.note(asked.ok(), app.clock.now());
        }
        Ok(())
    }

    fn note(&mut self, asked: Option<(ActionId, Result<Asked, Problem>)>, now: Timestamp) {
        let Some((id, asked)) = asked else { return };
        match asked {
            Ok(Asked::Settled) => _ = self.due.remove(&id),
            Ok(Asked::Early(due)) => _ = self.due.insert(id, (0, due)),
            Ok(Asked::Open) | Err(_) => {
                let tries = self.due.get(&id).map_or(0, |(tries, _)| *tries);
                let wait = FIRST.saturating_mul(1 << tries.min(20)).min(LONGEST);
                self.due.insert(id, (tries.saturating_add(1), now.plus(wait)));
            }
        }
    }
}

/// Makes unknown what has been in flight for longer than any action may take: its node is gone. A node that starts does
/// so for its own at once ([`placet_store::Store::recover`]).
///
/// # Errors
/// Faults.
pub(crate) async fn abandon_overdue(app: &App) -> Result<usize, Problem> {
    let now = app.clock.now();
    let before = now.minus(OVERDUE);
    let pending = app.store.read(move |q| actions::overdue(q, before, PAGE)).await?;
    let mut ended = 0;
    for action in &pending {
        let envelope = about(app, action, EntryType::ActionOutcome, now);
        let conclusion = Conclusion {
            action: action.id,
            from: ActionState::Pending,
            state: ActionState::Unknown,
            status: None,
            at: now,
            give_back: false,
            answer: None,
            outcome: app.prepare(
                Envelope {
                    outcome: Some(ActionState::Unknown.as_str().to_owned()),
                    by: Some(ITSELF.to_owned()),
                    ..envelope
                },
                None,
            )?,
        };
        match app.store.conclude(conclusion).await {
            Ok(()) => ended += 1,
            // Its node concluded it after all.
            Err(ConcludeError::NotInFlight | ConcludeError::NoWay { .. }) => {}
            Err(ConcludeError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Ok(ended)
}

/// Settles an unknown action: what happened is kept, what did not is given back. `false` where it was settled before.
///
/// # Errors
/// Faults.
pub async fn settle(
    app: &App,
    action: &StoredAction,
    happened: bool,
    by: String,
    source: Option<String>,
    rests_on: &Value,
) -> Result<bool, Problem> {
    let now = app.clock.now();
    let state = if happened { ActionState::Done } else { ActionState::Failed };
    let envelope = Envelope {
        outcome: Some(state.as_str().to_owned()),
        by: Some(by),
        source,
        ..about(app, action, EntryType::ActionSettled, now)
    };
    let said = if happened { "yes" } else { "no" };
    let conclusion = Conclusion {
        action: action.id,
        from: ActionState::Unknown,
        state,
        status: action.status,
        at: now,
        give_back: !happened,
        answer: None,
        outcome: app.prepare(envelope, Some(&json!({"happened": said, "rests_on": rests_on})))?,
    };
    match app.store.conclude(conclusion).await {
        Ok(()) => Ok(true),
        Err(ConcludeError::NotInFlight | ConcludeError::NoWay { .. }) => Ok(false),
        Err(ConcludeError::Fault(fault)) => Err(fault.into()),
    }
}

/// An entry about an action that was admitted before, attributed as its intent was.
fn about(app: &App, action: &StoredAction, entry_type: EntryType, now: Timestamp) -> Envelope {
    let fresh = recording::entry(entry_type, now);
    let known = app.intent(action).map(|intent| intent.envelope);
    let known = known.unwrap_or_else(|| Envelope {
        agent: Some(action.agent),
        grants: vec![action.grant],
        task: action.task,
        user: action.user,
        ..fresh.clone()
    });
    Envelope {
        agent: known.agent,
        chain: known.chain,
        grants: known.grants,
        task: known.task,
        user: known.user,
        action: known.action,
        service: known.service,
        connection: action.connection,
        action_id: Some(action.id),
        ..fresh
    }
}

/// Asks the service of one action what became of it, where it says how to, and settles it by the answer.
async fn ask(app: &App, action: &StoredAction) -> Result<Asked, Problem> {
    let Some(intent) = app.intent(action) else { return Ok(Asked::Open) };
    if intent.envelope.by.as_deref() == Some(ITSELF) {
        let rests_on = json!({"because": "it only asked for a status, which has no effect"});
        settle(app, action, false, ITSELF.to_owned(), None, &rests_on).await?;
        return Ok(Asked::Settled);
    }
    let rules = app.rules.load_full();
    let Some(question) = question(app, &rules, action, &intent).await? else { return Ok(Asked::Open) };
    let now = app.clock.now();
    let due = action.concluded.unwrap_or(action.admitted).plus(question.after);
    if now < due {
        return Ok(Asked::Early(due));
    }
    let Some((live, declared)) = rules.declaring(&question.original) else { return Ok(Asked::Open) };
    let Some(check) = declared.status() else { return Ok(Asked::Open) };
    let Some(id) = question.admit(app, live, action, now).await? else { return Ok(Asked::Open) };
    // Whose doing it counts as, as the action did: that of the agent at the root of the lineage.
    let party = intent.envelope.chain.last().copied().unwrap_or(action.agent);
    let answer = question.send(app, live, party).await?;
    question.conclude(app, live, id, answer.as_ref()).await?;
    let Some((status, happened)) = answer.and_then(Result::ok).and_then(|response| {
        let (status, body) = readable(response);
        check.read(status, &body).map(|happened| (status, happened))
    }) else {
        return Ok(Asked::Open);
    };
    let rests_on = json!({"status_action": question.name.as_str(), "action_id": id, "status": status});
    settle(app, action, happened, ITSELF.to_owned(), None, &rests_on).await?;
    Ok(Asked::Settled)
}

/// What is asked, of whom.
struct Question {
    original: ActionName,
    name: ActionName,
    params: Map<String, Value>,
    resource: String,
    call: UpstreamCall,
    connection: (ConnectionId, u64),
    after: Duration,
}

impl Question {
    /// What its entries have in common.
    fn entry(&self, app: &App, live: &LiveService, id: ActionId, entry_type: EntryType) -> Envelope {
        Envelope {
            action: Some(self.name.to_string()),
            action_id: Some(id),
            service: Some(format!("{}@{}", live.service.name(), live.version)),
            connection: Some(self.connection.0),
            ..recording::by(entry_type, app.clock.now(), ITSELF.to_owned())
        }
    }

    /// Passes the commit point, as the server's own action; `None` where it can't be asked now.
    async fn admit(
        &self,
        app: &App,
        live: &LiveService,
        action: &StoredAction,
        now: Timestamp,
    ) -> Result<Option<ActionId>, Problem> {
        let id: ActionId = clock::fresh(now);
        let envelope = Envelope {
            decision: Some(leaf::Verdict::Allow),
            ..self.entry(app, live, id, EntryType::ActionIntent)
        };
        let body = json!({"resource": self.resource, "params": self.params, "settles": action.id});
        let admission = Admission {
            action: id,
            agent: action.agent,
            user: action.user,
            root: action.root,
            grant: action.grant,
            task: action.task,
            connection: Some(self.connection.0),
            at: now,
            until: now.plus(ASKED_FOR).plus(FIRST),
            observed: Vec::new(),
            versions: vec![
                (Version::Service(live.service.name().to_owned()), live.stamp),
                (Version::Connection(self.connection.0), self.connection.1),
            ],
            charges: Vec::new(),
            approval: None,
            idempotency: None,
            intent: app.prepare(envelope, Some(&body))?,
        };
        match app.store.admit(admission).await {
            Ok(_) => Ok(Some(id)),
            Err(Refused::Stale) => app.refresh().await.map(|()| None),
            Err(Refused::Fault(fault)) => Err(fault.into()),
            Err(_) => Ok(None),
        }
    }

    /// Sends it with the connection's credential, in a turn of `agent`'s; `None` where it could not be sent.
    async fn send(
        &self,
        app: &App,
        live: &LiveService,
        agent: AgentId,
    ) -> Result<Option<Result<UpstreamResponse, UpstreamFailure>>, Problem> {
        let auth = live.service.auth();
        let picked = connections::by_id(app, live.service.name(), auth, self.connection.0).await?;
        let Some(mut picked) = picked else { return Ok(None) };
        // Without a token nothing is asked, and it stays unknown.
        _ = connections::freshen(app, &mut picked, auth, live.service.allow_private()).await;
        let Some(credential) = picked.credential() else { return Ok(None) };
        let deadline = tokio::time::Instant::from_std(Instant::now() + ASKED_FOR);
        // Who has no turn asks the next time.
        let Ok(turn) = live.upstream(&app.gateway).enter(Some(agent)).await else { return Ok(None) };
        let sent = app.gateway.send(self.call.clone(), &live.route, credential, deadline).await;
        turn.conclude(live.service.kind(), sent.as_ref());
        if let Ok(response) = &sent {
            let answer = (response.status, response.invalid_token);
            connections::answered(app, &picked, &live.service, Some(agent), answer).await;
        }
        Ok(Some(sent))
    }

    /// Concludes it. What only reads has happened or not, and nobody need know which: it is never unknown itself.
    async fn conclude(
        &self,
        app: &App,
        live: &LiveService,
        id: ActionId,
        answer: Option<&Result<UpstreamResponse, UpstreamFailure>>,
    ) -> Result<(), Problem> {
        let (state, status) = match answer {
            Some(Ok(response)) => (ActionState::Done, Some(response.status)),
            Some(Err(failure)) => (ActionState::Failed, failure.status()),
            None => (ActionState::Failed, None),
        };
        let envelope = Envelope {
            outcome: Some(state.as_str().to_owned()),
            status,
            ..self.entry(app, live, id, EntryType::ActionOutcome)
        };
        let concluded = app.store.conclude(Conclusion {
            action: id,
            from: ActionState::Pending,
            state,
            status,
            at: app.clock.now(),
            give_back: false,
            answer: None,
            outcome: app.prepare(envelope, None)?,
        });
        concluded.await.map_err(|error| Problem::from(fault_of(error)))
    }
}

/// The question about an action, where its service has one, the connection can be used and what it needs was kept.
async fn question(
    app: &App,
    rules: &Rules,
    action: &StoredAction,
    intent: &Intent,
) -> Result<Option<Question>, Problem> {
    let named = intent.envelope.action.as_deref().and_then(|name| ActionName::parse(name).ok());
    let Some(original) = named else { return Ok(None) };
    let service = intent.envelope.service.as_deref().and_then(|label| Some(label.rsplit_once('@')?.0));
    let found = rules.declaring(&original).filter(|(live, _)| service == Some(live.service.name()));
    let Some((live, declared)) = found else { return Ok(None) };
    let Some(check) = declared.status() else { return Ok(None) };
    let kept = intent.body.as_ref().and_then(|body| body.get("params")?.as_object());
    let (Some(kept), Some(asked)) = (kept, live.service.action(check.action())) else { return Ok(None) };
    let Some(params) = check.params(kept, action.id) else { return Ok(None) };
    let (Ok(described), Ok(call)) = (asked.describe(&params), live.service.render(asked, &params)) else {
        return Ok(None);
    };
    let Some(connection) = action.connection else { return Ok(None) };
    let picked = connections::by_id(app, live.service.name(), live.service.auth(), connection).await?;
    Ok(picked.map(|picked| Question {
        original,
        name: check.action().clone(),
        resource: described.resource.to_string(),
        params: described.params,
        call,
        connection: (connection, picked.version),
        after: check.after(),
    }))
}

/// Status and body of an answer; what is no JSON has no members.
fn readable(response: UpstreamResponse) -> (u16, Value) {
    match response.body {
        ResponseBody::Json(value) => (response.status, value),
        ResponseBody::Text(_) | ResponseBody::Bytes(_) => (response.status, Value::Null),
    }
}

fn fault_of(error: ConcludeError) -> Fault {
    match error {
        ConcludeError::Fault(fault) => fault,
        ConcludeError::NotInFlight | ConcludeError::NoWay { .. } => Fault::Unreadable("a status action"),
    }
}
