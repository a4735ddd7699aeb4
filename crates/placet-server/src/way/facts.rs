//! What upstream holds about the resource of an action, where a rule reads it: looked up after it is known that some
//! value of it would allow the action, and before the action is judged (DESIGN §2 "gather").
//!
//! A lookup goes to the same upstream through the same connection as the action would, with its credential. What comes
//! back is for the judge, the record and the people who are asked; the agent that the action is of gets none of it.
//! Facts are read for the one request, and anew for the next: also where that is the release of one that was held.
//!
//! Invariant: nothing is looked up for an action that is refused whatever comes back, nor for questions about what would
//! be decided, which never come here. What can't be read is unknown.

use super::describe::Described;
use crate::{
    app::App,
    bearer::Bearer,
    connections::{self, Picked},
    problem::Problem,
    rules::LiveService,
};
use placet_core::{
    call::UpstreamCall,
    id::AgentId,
    judge::{self, Need},
    refusal::Code,
    service::{Lookup, Unread},
    time::Timestamp,
};
use placet_gateway::{ResponseBody, UpstreamFailure, UpstreamResponse};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};
use tokio::task::JoinSet;

/// Whether the request can be judged as it was described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gathered {
    /// It has all that there is.
    Ready,
    /// Something was read, which took time: it is to be described and asked for anew, with what was read at hand.
    Anew,
}

/// What was looked up for one request, by the name of the lookup and what it was asked of.
#[derive(Debug, Default)]
pub(super) struct LookedUp(BTreeMap<String, (Of, Answer)>);

/// What an answer was given by. Of anything else it says nothing.
#[derive(Debug, PartialEq, Eq)]
struct Of {
    service: (String, u64),
    connection: (String, u64),
    /// The whole of what was asked.
    asked: (String, Option<Vec<u8>>),
}

/// Status and body, or why there is none.
type Answer = Result<(u16, Value), Unread>;

/// Gives the described action the facts that its rules read. Those that `looked_up` does not have are looked up.
///
/// # Errors
/// `too_many_requests` where the agent's actions have had too much looked up lately.
pub(super) async fn gather(
    app: &Arc<App>,
    bearer: &Bearer,
    described: &mut Described,
    looked_up: &mut LookedUp,
    has_turn: bool,
    now: Timestamp,
) -> Result<Gathered, Problem> {
    let live = Arc::clone(&described.live);
    let Some(declared) = live.service.action(&described.action.name) else { return Ok(Gathered::Ready) };
    if declared.lookups().is_empty() {
        return Ok(Gathered::Ready);
    }
    let needed = judge::need(&bearer.policies, &described.request(bearer, now), declared);
    let gives = |lookup: &Lookup, names: &BTreeSet<String>| {
        lookup.facts().iter().any(|fact| names.contains(fact.name()))
    };
    let (mut missing, mut spared) = (Vec::new(), Vec::new());
    // What agents below it look up counts as its doing.
    let agent = bearer.chain.root_agent();
    for lookup in declared.lookups() {
        let judged = gives(lookup, &needed.judged);
        if !judged && !gives(lookup, &needed.observed) {
            continue;
        }
        let Ok(call) = live.service.render_lookup(declared, lookup, &described.action.params) else {
            note(described, lookup, &Err(Unread::NotAsked), &needed);
            continue;
        };
        let of = Of {
            service: (live.service.name().to_owned(), live.stamp),
            connection: (described.connection_label(), described.connection.version),
            asked: (call.target.clone(), call.body.clone()),
        };
        match looked_up.0.get(lookup.name()).filter(|(other, _)| *other == of) {
            Some((_, answer)) => note(described, lookup, answer, &needed),
            // What is only observed takes nothing of what the agent may have looked up, and refuses it nothing.
            None if !judged && !app.observed_lookups.take(agent, now) => {
                spared.push((lookup.name().to_owned(), (of, Err(Unread::Spared))));
            }
            None => missing.push((judged, lookup.clone(), of, call)),
        }
    }
    if missing.is_empty() && spared.is_empty() {
        return Ok(Gathered::Ready);
    }
    looked_up.0.extend(spared);
    // A lookup shows the connection's credential as the action does.
    if missing.iter().any(|(judged, ..)| *judged) && described.freshen(app).await? {
        return Ok(Gathered::Anew);
    }
    if !missing.iter().filter(|(judged, ..)| *judged).all(|_| app.lookups.take(agent, now)) {
        let detail = "what rules need to know about an agent's actions is looked up at a limited rate; try again in a second";
        return Err(Problem::of(Code::TooManyRequests, detail));
    }
    let mut asking = JoinSet::new();
    for (_, lookup, of, call) in missing {
        let (app, live, connection) = (Arc::clone(app), Arc::clone(&live), described.connection.clone());
        asking.spawn(async move {
            let answer = ask(&app, &live, &connection, (&lookup, call), (agent, has_turn)).await;
            (lookup.name().to_owned(), (of, answer))
        });
    }
    while let Some(asked) = asking.join_next().await {
        let (name, answer) = asked.map_err(|_| Problem::of(Code::Internal, "a lookup stopped with a bug"))?;
        looked_up.0.insert(name, answer);
    }
    Ok(Gathered::Anew)
}

/// Asks the upstream, in a turn of `agent`'s: who has one already waits for no other, which could be its own.
async fn ask(
    app: &App,
    live: &LiveService,
    connection: &Picked,
    (lookup, call): (&Lookup, UpstreamCall),
    (agent, has_turn): (AgentId, bool),
) -> Answer {
    let credential = connection.credential().ok_or(Unread::NoAnswer)?;
    let deadline = tokio::time::Instant::from_std(Instant::now() + lookup.within());
    let turn = if has_turn {
        None
    } else {
        let entered = live.upstream(&app.gateway).enter(Some(agent)).await;
        Some(entered.map_err(|_| Unread::NoAnswer)?)
    };
    let sent = app.gateway.send_for(call, &live.route, credential, deadline, lookup.max_bytes()).await;
    if let Some(turn) = turn {
        turn.conclude(live.service.kind(), sent.as_ref());
    }
    if let Ok(response) = &sent {
        let answer = (response.status, response.invalid_token);
        connections::answered(app, connection, &live.service, Some(agent), answer).await;
    }
    read(sent)
}

/// Gives the action what an answer says of the facts that are needed.
fn note(described: &mut Described, lookup: &Lookup, answer: &Answer, needed: &Need) {
    let facts = &mut Arc::make_mut(&mut described.action).facts;
    let mut note = |name: &str, read: Result<Value, Unread>| {
        if needed.judged.contains(name) {
            facts.note(name, read);
        } else if needed.observed.contains(name) {
            facts.note_observed(name, read);
        }
    };
    match answer {
        Ok((status, body)) => lookup.read(*status, body).for_each(|(name, read)| note(name, read)),
        Err(why) => lookup.facts().iter().for_each(|fact| note(fact.name(), Err(*why))),
    }
}

/// What came back, as far as it can be read.
fn read(answer: Result<UpstreamResponse, UpstreamFailure>) -> Answer {
    match answer {
        Ok(UpstreamResponse { status, body: ResponseBody::Json(body), .. }) => Ok((status, body)),
        Ok(response) if response.status == 200 => Err(Unread::Unreadable),
        Ok(response) => Err(Unread::Status(response.status)),
        Err(UpstreamFailure::Answered { status: 200, .. }) => Err(Unread::Unreadable),
        Err(UpstreamFailure::Answered { status, .. }) => Err(Unread::Status(status)),
        Err(
            UpstreamFailure::NotSent { .. }
            | UpstreamFailure::Unknown { .. }
            | UpstreamFailure::Undone { .. },
        ) => Err(Unread::NoAnswer),
    }
}
