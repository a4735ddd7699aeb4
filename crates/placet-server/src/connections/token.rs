//! Access tokens of connections that an authorization server gives: asked for when there is none that is good, and renewed
//! before the one there is ends.
//!
//! Of all requests that find a token due, on whatever node, one renews it: on a node the first that comes, of several nodes
//! the one that takes the turn in the store. While the token there is still good nobody waits for that but the one.
//!
//! Invariant: what was renewed is stored before it is used, as a refresh token may be good once; a server that says
//! no parks the connection, with the reason, and one that says nothing does not.

use super::{
    AskError, LiveConnection, Picked, client, open, pick_again,
    refusals::{Refusals, USED, Worth},
    seal,
};
use crate::{app::App, problem::Problem, recording};
use placet_core::{
    call::Auth,
    id::{AgentId, ConnectionId},
    record::EntryType,
    refusal::Code,
    service::oauth::{Access, Granted, Kept, OAuth, Origin, Ungranted},
};
use placet_gateway::TokenError;
use placet_store::{
    actions,
    connections::{self, Attention, Connection, ConnectionState},
};
use serde_json::json;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync;

/// How long a turn lasts, where whoever has it does not end it: longer than the token endpoint may take.
const TURN: Duration = Duration::from_secs(15);
/// How long nobody asks again after an answer that was none.
const REST: Duration = Duration::from_secs(2);
/// How long a request waits for a token that somebody else is getting.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often it looks whether it is there.
const LOOK: Duration = Duration::from_millis(100);

/// How long a token that was renewed because an upstream refused the one before is not doubted again.
const TRUSTED: Duration = Duration::from_secs(300);
/// How many connections it is noted of when their token was doubted.
const NOTED: usize = 4096;

/// Which connections this node is getting a token for, and of which an upstream has refused one.
#[derive(Default)]
pub struct Renewals {
    turns: Mutex<HashMap<ConnectionId, Arc<sync::Mutex<()>>>>,
    doubts: Mutex<HashMap<ConnectionId, Instant>>,
    /// What upstreams have refused since the last success.
    refusals: Refusals,
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewals")
    }
}

impl Renewals {
    fn of(&self, id: ConnectionId) -> Arc<sync::Mutex<()>> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds are of no use to anybody.
        if all.len() > 1024 {
            all.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(all.entry(id).or_default())
    }

    /// Notes whether an upstream took the token of a connection, and who had asked.
    pub(super) fn heard(&self, connection: &Connection, by: Option<AgentId>, status: u16) {
        if matches!(connection.auth, Auth::Oauth2(_)) {
            self.refusals.heard(connection, by, status, Instant::now());
        }
    }

    /// Whether the token of a connection may be doubted now: once in a while, so that who is refused again and again makes
    /// nobody ask again and again.
    fn may_doubt(&self, id: ConnectionId) -> bool {
        let mut all = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= NOTED {
            all.retain(|_, at| at.elapsed() < TRUSTED);
        }
        if all.len() >= NOTED || all.get(&id).is_some_and(|at| at.elapsed() < TRUSTED) {
            return false;
        }
        all.insert(id, Instant::now());
        true
    }
}

/// Why a token is asked for.
#[derive(Debug, Clone, Copy)]
enum Why<'a> {
    /// There is none that is good: whoever needs it waits.
    None,
    /// The one there is ends soon.
    Due,
    /// An upstream has refused this one; and whether that was surely about the token, and not about what was asked for.
    Doubted(&'a Access, bool),
}

/// What became of a token that was due.
enum Renewal {
    /// There is another by now.
    Anew,
    /// There is none, for now.
    Failed(&'static str),
    /// The connection waits for its owner.
    Parked,
}

/// Sees to it that the connection has a credential that can be used now. Answers whether that took time: then what was
/// decided before has to be decided anew, on the connection as it is picked then.
///
/// # Errors
/// `unavailable` where there is no token to be had.
pub async fn freshen(
    app: &App,
    picked: &mut Picked,
    auth: &Auth,
    allow_private: bool,
) -> Result<bool, Problem> {
    let Auth::Oauth2(server) = auth else {
        super::elsewhere::read(app, picked, auth).await?;
        return Ok(false);
    };
    let now = app.clock.now();
    let access = picked.access.clone();
    let good = access.as_ref().is_some_and(|access| access.is_good(now));
    if good && access.is_some_and(|access| !access.is_due(now)) {
        return Ok(false);
    }
    let id = picked.connection.id;
    let turn = app.connections.renewals.of(id);
    let _turn = match turn.try_lock() {
        Ok(turn) => turn,
        Err(_) if good => return Ok(false),
        // Who waits shares what came of it: one after the other asking anew would be a queue without an end.
        Err(_) => {
            drop(tokio::time::timeout(PATIENCE, turn.lock()).await);
            let before = picked.access.clone();
            pick_again(app, picked, auth).await?;
            let now = app.clock.now();
            let other = picked.access != before && picked.access.as_ref().is_some_and(|it| it.is_good(now));
            return if other { Ok(true) } else { Err(none_now("somebody else asked for it in vain")) };
        }
    };
    let why = if good { Why::Due } else { Why::None };
    match renewed(app, picked, server, allow_private, why).await? {
        Renewal::Anew => {
            pick_again(app, picked, auth).await?;
            Ok(true)
        }
        Renewal::Failed(_) if good => Ok(false),
        Renewal::Failed(why) => Err(none_now(why)),
        Renewal::Parked => Err(super::waits_for_its_owner()),
    }
}

/// What follows from an upstream's refusal (401) of a token that should be good: another is asked for, once, and where the
/// server gives none any more the connection is parked. What was refused is not sent again. Where there is nothing to get
/// another with, the connection is parked only once it is sure that the token is meant: where upstream says so
/// (`invalid_token`), or refused it again and again, and not to one agent alone of several that use it.
pub async fn doubted(
    app: &App,
    live: &LiveConnection,
    auth: &Auth,
    allow_private: bool,
    invalid_token: bool,
) {
    let (Auth::Oauth2(server), Some(access)) = (auth, &live.access) else { return };
    let id = live.connection.id;
    let surely = is_worth_nothing(app, &live.connection, invalid_token).await;
    // A token that nothing renews is never due. One refusal of it does not use up the turn of the one that counts.
    if !surely && access.due.is_none() {
        tracing::info!(connection = %id, "an upstream refuses a token that can't be renewed");
        return;
    }
    if !app.connections.renewals.may_doubt(id) {
        return;
    }
    let turn = app.connections.renewals.of(id);
    // Whoever has the turn gets another one anyway.
    let Ok(_turn) = turn.try_lock() else { return };
    match renewed(app, live, server, allow_private, Why::Doubted(access, surely)).await {
        Ok(Renewal::Anew | Renewal::Parked) => {}
        Ok(Renewal::Failed(why)) => {
            tracing::warn!(connection = %id, why, "an upstream refuses a token, and there is no other");
        }
        Err(problem) => {
            tracing::warn!(connection = %id, why = problem.detail(), "an upstream refuses a token, and there is no other");
        }
    }
}

/// Whether it is sure that the token is meant, and not what an agent asked for.
async fn is_worth_nothing(app: &App, connection: &Connection, says: bool) -> bool {
    let refusals = &app.connections.renewals.refusals;
    let by = match refusals.worth(connection, says, Instant::now()) {
        Worth::Nothing => return true,
        Worth::Unsure => return false,
        Worth::NothingTo(by) => by,
    };
    let (id, since) = (connection.id, app.clock.now().minus(USED));
    match app.store.read(move |q| actions::served_another(q, id, by, since)).await {
        Ok(false) => true,
        Ok(true) => {
            refusals.used_by_another(id, Instant::now());
            false
        }
        Err(fault) => {
            tracing::warn!(connection = %id, error = %fault, "it can't be told who uses a connection whose token is refused");
            false
        }
    }
}

fn none_now(why: &str) -> Problem {
    let detail = format!("the connection has no access token that can be used now ({why}); nothing was sent");
    Problem::of(Code::Unavailable, detail)
}

/// Has the token renewed by whoever's turn it is.
async fn renewed(
    app: &App,
    picked: &LiveConnection,
    server: &OAuth,
    allow_private: bool,
    why: Why<'_>,
) -> Result<Renewal, Problem> {
    let (id, began) = (picked.connection.id, Instant::now());
    loop {
        let read = app
            .store
            .read(move |q| Ok::<_, Problem>((connections::find(q, id)?, connections::tried(q, id)?)))
            .await?;
        // One whose upstream refused its token when it was tried is tried again with another.
        let (Some(connection), Some((generation, sealed))) = read else { return Ok(Renewal::Parked) };
        if generation != connection.generation {
            return Ok(Renewal::Parked);
        }
        // It was confirmed, or made anew, for another server than the request was described by.
        if !matches!(&connection.auth, Auth::Oauth2(now) if **now == *server) {
            app.refresh().await?;
            return Ok(Renewal::Anew);
        }
        let Some(kept) = open(app, &connection, generation, &sealed).as_ref().and_then(Kept::from_secret)
        else {
            return Ok(Renewal::Failed("what is kept of it can't be read"));
        };
        let now = app.clock.now();
        let is_doubted = |access: &Access| matches!(why, Why::Doubted(doubted, _) if doubted == access);
        let is_fine = |access: &Access| access.is_good(now) && !access.is_due(now) && !is_doubted(access);
        if kept.access.as_ref().is_some_and(is_fine) {
            app.connections.renewed(&connection.service);
            return Ok(Renewal::Anew);
        }
        if !kept.is_renewable() {
            if matches!(why, Why::Doubted(_, false)) {
                return Ok(Renewal::Failed("nothing was given that gets another"));
            }
            // What a person agreed to has ended, and nothing was given that gets more.
            park(app, connection, "no_refresh_token").await?;
            return Ok(Renewal::Parked);
        }
        let mine = connection.clone();
        let taken = app
            .store
            .write(move |tx| Ok::<_, Problem>(connections::begin_renewal(tx, &mine, now, now.plus(TURN))?));
        if taken.await? {
            return ask(app, connection, kept, sealed, server, allow_private).await;
        }
        if !matches!(why, Why::None) || began.elapsed() >= PATIENCE {
            return Ok(Renewal::Failed("somebody else is asking for it"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks, and stores what comes.
async fn ask(
    app: &App,
    connection: Connection,
    kept: Kept,
    sealed: Vec<u8>,
    server: &OAuth,
    allow_private: bool,
) -> Result<Renewal, Problem> {
    let asking = match kept.origin {
        Origin::Given => None,
        Origin::Agreed => match client::registered(app, &connection.service, server).await {
            Ok(Some(client)) if client.id == kept.client_id => Some(client.asking(&kept)),
            // Another client can't renew what was given to this one.
            Ok(_) => {
                rest(app, connection).await?;
                return Ok(Renewal::Failed(
                    "the service's client that it was agreed with is no longer registered",
                ));
            }
            Err(problem) => {
                rest(app, connection).await?;
                return Err(problem);
            }
        },
    };
    let asked = asking.as_ref().unwrap_or(&kept);
    match super::ask(app, server, asked, allow_private).await {
        Ok(granted) => store(app, &connection, kept, sealed, granted).await,
        Err(AskError::Token(TokenError::Ungranted(Ungranted::Refused(code)))) => {
            tracing::warn!(connection = %connection.id, code, "an authorization server refuses a connection's token");
            park(app, connection, &code).await?;
            Ok(Renewal::Parked)
        }
        Err(error) => {
            tracing::warn!(connection = %connection.id, %error, "a connection's token could not be renewed");
            rest(app, connection).await?;
            Ok(Renewal::Failed("the authorization server does not give one now"))
        }
    }
}

/// Stores what was granted, whatever key the vault seals with meanwhile.
async fn store(
    app: &App,
    connection: &Connection,
    kept: Kept,
    mut old: Vec<u8>,
    granted: Granted,
) -> Result<Renewal, Problem> {
    let kept = kept.with(granted, app.clock.now());
    loop {
        let (new, was, of) = (
            seal(app, connection, connection.generation, &kept.to_secret())?,
            old.clone(),
            connection.clone(),
        );
        let put =
            app.store.write(move |tx| Ok::<_, Problem>(connections::renewed(tx, &of, &was, &new)?)).await?;
        if put {
            app.connections.renewals.refusals.forget(connection.id);
            app.connections.renewed(&connection.service);
            return Ok(Renewal::Anew);
        }
        let id = connection.id;
        match app.store.read(move |q| connections::sealed(q, id)).await? {
            Some((generation, now)) if generation == connection.generation && now != old => old = now,
            // It got another secret, or is gone: this token is of the one before.
            _ => return Ok(Renewal::Failed("it was changed at the same time")),
        }
    }
}

async fn park(app: &App, connection: Connection, code: &str) -> Result<(), Problem> {
    let now = app.clock.now();
    let envelope = placet_core::record::Envelope {
        connection: Some(connection.id),
        service: Some(connection.service.clone()),
        user: connection.user,
        outcome: Some(ConnectionState::NeedsAttention.as_str().to_owned()),
        ..recording::entry(EntryType::ConnectionChanged, now)
    };
    let body = json!({"name": connection.name, "changed": Attention::TokenRefused, "error": code});
    let entry = app.prepare(envelope, Some(&body))?;
    app.store
        .write(move |tx| {
            if connections::attend(tx, &connection, Attention::TokenRefused)? {
                tx.record(entry.clone())?;
            }
            Ok::<_, Problem>(())
        })
        .await?;
    app.connections.changed();
    Ok(())
}

/// Lets nobody ask for a while.
async fn rest(app: &App, connection: Connection) -> Result<(), Problem> {
    let until = app.clock.now().plus(REST);
    app.store.write(move |tx| Ok::<_, Problem>(connections::end_renewal(tx, &connection, until)?)).await
}
