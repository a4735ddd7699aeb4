//! `GET /v1/catalog`: what an agent may do now through the connections that it reaches, and what it would need for more.
//!
//! It is a listing, not a decision: each action is looked at before its parameters are known, by the rules that the judge
//! asks ([`placet_core::judge::outlook`]). An agent is told the bounds on what it sends itself and its own limits; what
//! else a condition looks at is there as `more`. Of limits that others share it is told that they are there. Its questions
//! are paced and recorded, as all are.
//!
//! Invariant: an action that the agent could not take with any parameters is absent, as one that does not exist; but for
//! those that only its grant lacks and its registration has.

use super::{
    decisions::{paced, somebody_named},
    query::QueryParams,
};
use crate::{
    app::App,
    bearer::Bearer,
    caller::{Caller, Source},
    connections,
    problem::{Answer, Problem},
    recording,
    rules::{LiveService, Rules},
    way::{self, Door},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{
    chain::Chain,
    grant::Missing,
    judge::{
        is_own,
        outlook::{Asks, Outlook, Prospect, Quota, Way, outlook},
    },
    ledger::{Meter, Standing},
    pattern::ActionName,
    policy::BoundPolicies,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::sha256,
    service::ServiceAction,
    time::Timestamp,
};
use placet_store::{Fault, connections::Connection};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `GET /v1/catalog?agent=&task=&after=&limit=`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    headers: HeaderMap,
    query: QueryParams,
) -> Answer<Response> {
    query.only(&["agent", "task", "after", "limit"])?;
    let (agent, task) = (query.text("agent"), query.text("task"));
    let rules = app.rules.load_full();
    let chain = match &caller {
        Caller::Agent(bearer) => {
            if agent.is_some() || task.is_some() {
                let detail = "only an administrator asks for another `agent` or `task`";
                return Err(Problem::of(Code::NotPermitted, detail));
            }
            paced(&app, bearer, 1)?;
            bearer.chain.clone()
        }
        caller => {
            caller.must_configure()?;
            somebody_named(&app, agent, task).await??
        }
    };
    let policies = rules.policies.bind(&chain);
    let view =
        View { app: &app, rules: &rules, chain: &chain, policies: &policies, full: caller.configures() };
    let limit = query.limit()?;
    let (actions, next) = view.page(query.text("after"), limit).await?;
    if let Caller::Agent(bearer) = &caller {
        let name = |entry: &Value| json!({"action": entry.get("action"), "decision": entry.get("decision")});
        let told: Vec<Value> = actions.iter().map(name).collect();
        let asked = json!({"after": query.text("after"), "limit": limit});
        let body = json!({"resource": null, "catalog": asked, "answer": told});
        record(&app, bearer, &policies, source, None, &body).await?;
    }
    let body = json!({"actions": actions, "next": next});
    let digest = sha256(&[body.to_string().as_bytes()]);
    let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let kept = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let same = asked.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    });
    if same {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((kept, Json(body)).into_response())
}

/// Records that an agent has asked, and what it was told of each action, in one entry.
pub(crate) async fn record(
    app: &App,
    bearer: &Bearer,
    policies: &BoundPolicies,
    source: Source,
    door: Option<Door>,
    body: &Value,
) -> Answer<()> {
    let now = app.clock.now();
    let envelope = Envelope {
        policies: way::labels(policies.labels()),
        source: recording::source(source.0),
        door: door.map(|door| door.as_str().to_owned()),
        ..recording::attributed(EntryType::DecisionAdvice, now, &bearer.chain, Some(bearer.claims.jti))
    };
    let entry = app.prepare(envelope, Some(body))?.kept_until(policies.keep_until(now));
    Ok(app.store.append(vec![entry]).await?)
}

struct View<'a> {
    app: &'a App,
    rules: &'a Rules,
    chain: &'a Chain,
    policies: &'a BoundPolicies,
    /// Whether whoever reads it is told what others have used.
    full: bool,
}

/// An action that is listed.
pub(crate) struct Listed<'a> {
    /// The service that declares it.
    pub(crate) live: &'a LiveService,
    /// Its declaration.
    pub(crate) declared: &'a ServiceAction,
    /// What may come of it.
    pub(crate) outlook: Outlook,
    /// The connections that it may run through.
    pub(crate) connections: Arc<Vec<Connection>>,
}

/// All that a chain may take by these rules, by name, behind `after`: at every door the same.
///
/// # Errors
/// Faults.
pub(crate) async fn listed<'a>(
    app: &App,
    rules: &'a Rules,
    (chain, policies): (&Chain, &BoundPolicies),
    after: Option<&str>,
    now: Timestamp,
) -> Answer<BTreeMap<&'a str, Listed<'a>>> {
    let mut listed: BTreeMap<&str, Listed<'_>> = BTreeMap::new();
    for live in rules.services.values() {
        let service = &live.service;
        let reached = connections::reached(app, chain, service.name(), service.auth()).await?;
        if reached.is_empty() {
            continue;
        }
        let reached = Arc::new(reached);
        let shown = |one: &&ServiceAction| {
            after.is_none_or(|after| one.name().as_str() > after) && !live.quarantined.contains(one.name())
        };
        for declared in service.actions().filter(shown) {
            let range = declared.range();
            let (name, effect) = (declared.name(), declared.effect());
            let prospect = Prospect { chain, name, range: &range, effect, now };
            let Some(outlook) = outlook(policies, &prospect) else { continue };
            let connections = Arc::clone(&reached);
            listed.insert(name.as_str(), Listed { live, declared, outlook, connections });
        }
    }
    Ok(listed)
}

/// What a chain's outlook on one action is by these rules; `None` where it can't take it with any parameters.
///
/// # Errors
/// Faults.
pub(crate) async fn look(
    app: &App,
    rules: &Rules,
    (chain, policies): (&Chain, &BoundPolicies),
    name: &ActionName,
    now: Timestamp,
) -> Answer<Option<Outlook>> {
    let Some((live, declared)) = rules.declaring(name) else { return Ok(None) };
    let service = &live.service;
    if connections::reached(app, chain, service.name(), service.auth()).await?.is_empty() {
        return Ok(None);
    }
    let (range, effect) = (declared.range(), declared.effect());
    Ok(outlook(policies, &Prospect { chain, name, range: &range, effect, now }))
}

impl View<'_> {
    /// The entries behind `after`, at most `limit`, and the last of them where there are more.
    async fn page(&self, after: Option<&str>, limit: usize) -> Answer<(Vec<Value>, Option<String>)> {
        let now = self.app.clock.now();
        let listed = listed(self.app, self.rules, (self.chain, self.policies), after, now).await?;
        let more = listed.len() > limit;
        let page: Vec<Listed<'_>> = listed.into_values().take(limit).collect();
        let next = page.last().filter(|_| more).map(|last| last.declared.name().as_str().to_owned());
        let standings = self.standings(&page, now).await?;
        let mut standings = standings.into_iter();
        let entries = page.iter().map(|one| self.entry(one, &mut standings)).collect();
        Ok((entries, next))
    }

    /// How the counters of all quotas stand, in their order.
    async fn standings(&self, page: &[Listed<'_>], now: Timestamp) -> Answer<Vec<Standing>> {
        let quotas = page.iter().flat_map(|one| &one.outlook.quotas);
        let charges: Vec<_> = quotas.flat_map(|quota| quota.charges.iter().cloned()).collect();
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        let read = move |q: &mut placet_store::Reader| -> Result<Vec<Standing>, Fault> {
            charges.iter().map(|charge| placet_store::counters::standing(q, charge, now)).collect()
        };
        Ok(self.app.store.read(read).await?)
    }

    fn entry(&self, one: &Listed<'_>, standings: &mut impl Iterator<Item = Standing>) -> Value {
        let Listed { live, declared, outlook, connections } = one;
        let mut entry = Map::new();
        let mut say = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        say("action", declared.name().as_str().into());
        say("service", live.service.name().into());
        say("description", json!(declared.description()));
        say("effect", json!(declared.effect()));
        say("resource", declared.range().as_str().into());
        say("params", json!(declared.params_schema()));
        if let Some(paging) = declared.paging() {
            say("paging", json!(paging));
        }
        if let Some(socket) = declared.websocket() {
            say("websocket", json!({"protocols": socket.protocols()}));
        }
        if let Some(carried) = declared.carried() {
            say("message", json!({"of": carried.of().as_str(), "match": carried.matched()}));
        }
        let connection = |one: &Connection| json!({"id": one.id, "name": one.name});
        say("connections", connections.iter().map(connection).collect());
        say(
            "decision",
            match (outlook.lacking, outlook.certain, outlook.asks) {
                (Some(_), ..) => "not_granted",
                (None, false, _) => "conditional",
                (None, true, Asks::Never) => "allowed",
                (None, true, _) => "with_approval",
            }
            .into(),
        );
        if let Some(missing) = outlook.lacking {
            let needed = match missing {
                Missing::Resource => declared.range().as_str().into(),
                Missing::Scope | Missing::Tool => Value::from(declared.name().as_str()),
                Missing::Detail | Missing::Connection => true.into(),
            };
            say("needs", json!({missing.as_str(): needed}));
        }
        if let Some(asks) = asks(outlook.asks) {
            say("approval", asks);
        }
        let of = |ways: &Vec<Way>| json!({"one_of": ways.iter().map(way_of).collect::<Vec<_>>()});
        say("conditions", outlook.conditions.iter().map(of).collect());
        say("limits", outlook.quotas.iter().map(|quota| self.limit(quota, standings)).collect());
        Value::Object(entry)
    }

    /// A limit with what is left of it, where that says nothing of anybody else.
    fn limit(&self, quota: &Quota, standings: &mut impl Iterator<Item = Standing>) -> Value {
        let mut told = Map::new();
        told.insert("limit".into(), quota.limit.to_string().into());
        let mut left: Option<i64> = None;
        for charge in &quota.charges {
            let used = standings.next().map_or(charge.max, |standing| standing.used);
            let own = self.full || is_own(self.chain, &charge.counter);
            if own {
                let rest = charge.max.saturating_sub(used).max(0);
                left = Some(left.map_or(rest, |known| known.min(rest)));
            }
            if own && charge.meter == Meter::Window {
                told.insert("resets".into(), json!(charge.window.end));
            }
        }
        if let Some(left) = left {
            told.insert("remaining".into(), quota.limit.shown(left));
        }
        Value::Object(told)
    }
}

fn asks(asks: Asks) -> Option<Value> {
    match asks {
        Asks::Never => None,
        Asks::Sometimes => Some("sometimes".into()),
        Asks::Always => Some("always".into()),
    }
}

fn way_of(way: &Way) -> Value {
    let mut told = Map::new();
    if !way.bounds.is_empty() {
        told.insert("bounds".into(), Value::Object(way.bounds.clone()));
    }
    if !way.expressions.is_empty() {
        told.insert("expressions".into(), json!(way.expressions));
    }
    if way.more {
        told.insert("more".into(), true.into());
    }
    if let Some(opens) = way.opens {
        told.insert("opens".into(), json!(opens));
    }
    if let Some(asks) = asks(way.asks) {
        told.insert("approval".into(), asks);
    }
    Value::Object(told)
}
