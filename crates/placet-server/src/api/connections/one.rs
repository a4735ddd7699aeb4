//! `/v1/connections/{connection}`: what one connection needs, and what its owner does about it.
//!
//! A service that moves parks its connections: where a secret would go then, nobody has agreed to. Its owner agrees by
//! naming the version of the service that was looked at, or by giving another secret.
//!
//! Invariant: only the user whose account it is confirms where that user's secret goes; an administrator may
//! replace or remove it, and confirms only the organization's. No answer, entry or message holds a secret.

use super::{NewAuth, Taken, agents_named, invalid, shown, taken};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    connections::{
        checked::{self, Checked},
        connect,
        keep::{self, named_version},
    },
    problem::{Answer, Problem},
    recording,
    rules::{LiveService, Rules},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use placet_core::{
    record::{EntryType, Envelope},
    refusal::Code,
};
use placet_store::{
    PreparedEntry, Query, Tx,
    connections::{self, Attention, Connection, ConnectionState},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What is to be changed: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Another secret, sent in the way that the service takes now.
    auth: Option<NewAuth>,
    /// The `service@version` to which the secret that there is may go.
    confirm: Option<String>,
    /// The agents that may use it, all where none is named.
    agents: Option<Vec<String>>,
    /// Whether another secret is stored only if it works.
    #[serde(default)]
    check: bool,
}

/// `GET /v1/connections/{connection}`, by name or id
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(asked): Path<String>,
) -> Answer<Json<Value>> {
    let found = visible(&app, &caller, asked).await?;
    let mending = mending(&app, &found).await?;
    let rules = app.rules.load_full();
    let mut answer = told(&rules, &found, mending);
    if let Some(live) = rules.services.get(&found.service)
        && found.reference.is_some()
        && caller.configures()
    {
        let why = crate::connections::unreadable(&app, live.service.auth(), &found).await?;
        answer.insert("unreadable".into(), json!(why));
    }
    Ok(Json(answer.into()))
}

/// `PATCH /v1/connections/{connection}`
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(asked): Path<String>,
    JsonBody(change): JsonBody<Change>,
) -> Answer<Json<Value>> {
    let found = visible(&app, &caller, asked).await?;
    let rules = app.rules.load_full();
    let (mut noted, mut checked) = (json!([]), None);
    match change {
        Change { auth: Some(auth), confirm: None, agents: None, check } => {
            let live = service_of(&rules, &found)?;
            (noted, checked) =
                replace_secret(&app, &caller, source, live, found.clone(), (auth, check)).await?;
        }
        Change { auth: None, confirm: Some(version), agents: None, check: false } => {
            confirm(&app, &caller, source, service_of(&rules, &found)?, found.clone(), &version).await?;
        }
        Change { auth: None, confirm: None, agents: Some(named), check: false } => {
            set_agents(&app, &caller, source, &found, named).await?;
        }
        _ => return Err(invalid("send one of `auth` (with `check` or without), `confirm` and `agents`")),
    }
    app.connections.changed();
    let id = found.id;
    let now = app.store.read(move |q| connections::find(q, id)).await?.ok_or_else(absent)?;
    let mending = mending(&app, &now).await?;
    let mut answer = told(&rules, &now, mending);
    answer.insert("warnings".into(), noted);
    if let Some(checked) = checked {
        answer.insert("check".into(), json!(checked));
    }
    Ok(Json(answer.into()))
}

/// `DELETE /v1/connections/{connection}`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(asked): Path<String>,
) -> Answer<StatusCode> {
    let found = visible(&app, &caller, asked).await?;
    let body = json!({"name": found.name});
    let entry = entry(&app, &caller, source, EntryType::ConnectionRemoved, &found, None, &body)?;
    let id = found.id;
    app.store
        .write(move |tx| {
            if !connections::remove(tx, id)? {
                return Err(absent());
            }
            Ok(tx.record(entry.clone())?)
        })
        .await?;
    app.connections.removed(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Seals another secret, which also confirms: whoever gives it has seen where it goes.
async fn replace_secret(
    app: &App,
    caller: &Caller,
    source: Source,
    live: &LiveService,
    found: Connection,
    (auth, check): (NewAuth, bool),
) -> Result<(Value, Option<Checked>), Problem> {
    let Taken { auth, kept, reference, warnings } = taken(app, caller, live, auth).await?;
    let checked = match check {
        true => Some(checked::first(app, live, &auth, &kept, reference.as_ref()).await?),
        false => None,
    };
    // While it is held the service stays what the secret was given for.
    let _changing = app.rules_change.lock().await;
    keep::unchanged(app, live)?;
    let changed = Connection { auth, reference, ..found };
    let entry = |it| checked::entry(app, (caller.by(), source), live, &changed, it);
    let entry = checked.as_ref().map(entry).transpose()?;
    let also = move |tx: &mut Tx<'_>| entry.iter().try_for_each(|entry| Ok(tx.record(entry.clone())?));
    keep::changed(app, (caller.by(), source), live, changed, &kept, also).await?;
    Ok((warnings, checked))
}

/// Lets the secret that there is go where the service is now.
async fn confirm(
    app: &App,
    caller: &Caller,
    source: Source,
    live: &LiveService,
    found: Connection,
    version: &str,
) -> Result<(), Problem> {
    // While it is held the service stays what its owner agrees to.
    let _changing = app.rules_change.lock().await;
    keep::unchanged(app, live)?;
    if let Some(owner) = found.user
        && caller.person()?.user.id != owner
    {
        return Err(Problem::of(
            Code::NotPermitted,
            "only the user whose account it is says where its secret goes",
        ));
    }
    let current = named_version(live);
    if version != current {
        let detail = format!("`confirm`: the service is `{current}` now; look at it first, and confirm that");
        return Err(Problem::of(Code::Conflict, detail));
    }
    let beside = match found.attention {
        Some(Attention::TokenRefused) => Some(
            "its authorization server gives no token any more, which no confirmation mends: set its secret anew",
        ),
        Some(Attention::CredentialRefused) => {
            Some("its upstream does not take its secret: check it again, or set its secret anew")
        }
        Some(Attention::ServiceChanged) | None => None,
    };
    if let Some(detail) = beside {
        return Err(Problem::of(Code::Conflict, detail));
    }
    let auth = live.service.auth().for_connection(&found.auth).ok_or_else(|| {
        invalid("the service takes its credential in another way now, which this connection has not got: set its secret anew")
    })?;
    let body = json!({"name": found.name, "changed": "confirmed", "auth": auth});
    let entry = entry(app, caller, source, EntryType::ConnectionChanged, &found, Some(live), &body)?;
    let confirmed = Connection { auth, ..found };
    let of = (live.service.name().to_owned(), live.version);
    app.store
        .write(move |tx| {
            keep::stays(tx, &of)?;
            if !connections::confirm(tx, &confirmed)? {
                return Err(Problem::of(
                    Code::Conflict,
                    "the connection is not parked: there is nothing to confirm",
                ));
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// Says which agents may use one of the organization's.
async fn set_agents(
    app: &App,
    caller: &Caller,
    source: Source,
    found: &Connection,
    named: Vec<String>,
) -> Result<(), Problem> {
    if found.user.is_some() {
        return Err(invalid("`agents` is for connections of the organization"));
    }
    let agents = agents_named(app, named).await?;
    let body = json!({"name": found.name, "changed": "agents", "agents": agents});
    let entry = entry(app, caller, source, EntryType::ConnectionChanged, found, None, &body)?;
    let id = found.id;
    app.store
        .write(move |tx| {
            if !connections::set_agents(tx, id, &agents)? {
                return Err(absent());
            }
            Ok(tx.record(entry.clone())?)
        })
        .await
}

/// The connection of this name or id, where the caller may see it: what one may not see is told like what there isn't.
pub(super) async fn visible(app: &App, caller: &Caller, asked: String) -> Result<Connection, Problem> {
    let own = if caller.configures() { None } else { Some(caller.person()?.user.id) };
    let found = app.store.read(move |q| named(q, &asked)).await?;
    found.filter(|found| own.is_none() || found.user == own).ok_or_else(absent)
}

fn named(q: &mut impl Query, asked: &str) -> Result<Option<Connection>, placet_store::Fault> {
    match asked.parse() {
        Ok(id) => connections::find(q, id),
        Err(_) => connections::by_name(q, asked),
    }
}

pub(super) fn service_of<'a>(rules: &'a Rules, found: &Connection) -> Result<&'a LiveService, Problem> {
    let gone = || Problem::of(Code::Conflict, format!("there is no service `{}` any more", found.service));
    rules.services.get(&found.service).map(AsRef::as_ref).ok_or_else(gone)
}

fn entry(
    app: &App,
    caller: &Caller,
    source: Source,
    entry_type: EntryType,
    found: &Connection,
    live: Option<&LiveService>,
    body: &Value,
) -> Result<PreparedEntry, Problem> {
    let envelope = Envelope {
        connection: Some(found.id),
        service: Some(live.map_or_else(|| found.service.clone(), named_version)),
        user: found.user,
        // What it can be used for after a change of its secret, or a yes to where that goes.
        outcome: live.map(|_| ConnectionState::Active.as_str().to_owned()),
        source: recording::source(source.0),
        ..recording::by(entry_type, app.clock.now(), caller.by())
    };
    app.prepare(envelope, Some(body))
}

/// A connection as it is shown alone: with what it waits for, where it waits.
pub(super) fn told(rules: &Rules, found: &Connection, mending: Option<String>) -> Map<String, Value> {
    let mut told = shown(found);
    told.insert("auth".into(), json!(found.auth));
    if let Some(reference) = &found.reference {
        told.insert("secret".into(), json!(reference));
    }
    let live = rules.services.get(&found.service);
    let mut attention = found.attention.map(|reason| match (reason, live) {
        (Attention::ServiceChanged, Some(live)) => json!({
            "reason": reason,
            "confirm": named_version(live),
            "base_url": format!("{}{}", live.service.origin(), live.service.base_path()),
            "auth": live.service.auth(),
        }),
        (reason, _) => json!({"reason": reason}),
    });
    if let (Some(attention), Some(url)) = (attention.as_mut().and_then(Value::as_object_mut), mending) {
        attention.insert("connect".into(), url.into());
    }
    told.insert("attention".into(), attention.into());
    told
}

/// Where its owner mends it in a browser, where it waits.
pub(super) async fn mending(app: &App, found: &Connection) -> Result<Option<String>, Problem> {
    match found.attention {
        Some(_) => connect::mending(app, found).await,
        None => Ok(None),
    }
}

pub(super) fn absent() -> Problem {
    Problem::of(Code::NotFound, "there is no such connection")
}
