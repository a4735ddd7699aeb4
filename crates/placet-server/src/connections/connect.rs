//! A person connects an account at an upstream: they leave for its authorization server, agree there and come back with a code
//! (RFC 6749 §4.1, RFC 7636, RFC 9207), or enter a code there that they are shown here (RFC 8628).
//!
//! What is noted of somebody who left is one row under the keyed hash of what they come back with (`state`), of their session
//! and of the service. The proof key is made from the same, so that it lies nowhere. Each service has a place of its own to
//! come back to.
//!
//! Invariant: what somebody comes back with is taken once, on all nodes, before anything is asked of the server; it is of no
//! use in another session, for another service, or once the service is another than they were told of. A person connects their own
//! account; the organization's needs an administrator.

pub(crate) mod device;

use super::{
    client::{self, Client},
    keep,
};
use crate::{
    app::App,
    caller::{Caller, SignedIn, Source},
    clock,
    people::session::still_signed_in,
    problem::Problem,
    rates,
    rules::LiveService,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    agent::is_handle,
    call::Auth,
    id::{AgentId, SessionId},
    refusal::Code,
    secret::{KeyedHash, Secret, sha256},
    service::oauth::{
        Granted, Kept, Showing, Ungranted,
        account::{Answer, Asking, NoCode},
    },
    time::Timestamp,
    user::ADMINISTRATOR,
};
use placet_gateway::TokenError;
use placet_store::{
    Query, Tx,
    accounts::{self, Connecting},
    agents,
    connections::{self, Connection, ConnectionState},
    users,
};
use std::{sync::Arc, time::Duration};

/// For how long a person may be away.
const WITHIN: Duration = Duration::from_secs(600);
/// The longest usual name, with room for a number after it.
const LONGEST_NAME: usize = 60;
/// The most agents that a connection names this way.
const MAX_AGENTS: usize = 32;
/// The purposes of what is made from a `state`.
/// Why nobody can connect an account of their own at a service.
pub(crate) const NOWHERE_TO_AGREE: &str = "the service does not say where people agree (`authorization_url`)";
const STATE: &str = "connect_state";
const VERIFIER: &str = "connect_verifier";

/// What somebody wants to connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// The service.
    pub(crate) service: String,
    /// How the connection is to be called.
    pub(crate) name: Option<String>,
    /// The connection that is to be connected anew, by name or id.
    pub(crate) mends: Option<String>,
    /// Whether it is to be the organization's.
    pub(crate) organization: bool,
    /// The agents that may use one of the organization's, by handle or id.
    pub(crate) agents: Vec<String>,
}

/// A wish that can be granted.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The service.
    pub(crate) live: Arc<LiveService>,
    /// Who connects what.
    pub(crate) who: Connecting,
    pub(super) client: Client,
}

/// Why nothing came of it.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The answer is none that counts, or a no.
    NoCode(NoCode),
    /// The server gives no token for it.
    NoToken(TokenError),
    /// Something else.
    Problem(Problem),
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Where people come back to: another place for each service, so that no answer is taken for another's.
pub(crate) fn redirect_uri(app: &App, service: &str) -> String {
    format!("{}/connect/callback/{service}", app.pages)
}

/// The page on which an account is connected.
pub(crate) fn page(app: &App, wish: &Wish) -> String {
    format!("{}{}", app.pages, path(wish))
}

/// Its path and query.
pub(crate) fn path(wish: &Wish) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(mends) = &wish.mends {
        query.append_pair("connection", mends);
    }
    if let Some(name) = &wish.name {
        query.append_pair("name", name);
    }
    if wish.organization {
        query.append_pair("organization", "yes");
    }
    if !wish.agents.is_empty() {
        query.append_pair("agents", &wish.agents.join(" "));
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/connect/{}{mark}{query}", wish.service)
}

/// Where its owner mends a connection in a browser; none where there is nobody to agree with, or no client.
///
/// # Errors
/// What the store met.
pub(crate) async fn mending(app: &App, connection: &Connection) -> Result<Option<String>, Problem> {
    if !client::open_to_people(app).await?.contains(&connection.service) {
        return Ok(None);
    }
    let mends = Some(connection.name.clone());
    Ok(Some(page(app, &Wish { service: connection.service.clone(), mends, ..Wish::default() })))
}

/// Whether the wish can be granted, by whom and how.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) async fn planned(app: &App, caller: &Caller, wish: &Wish) -> Result<Plan, Problem> {
    let live = app.rules.load().services.get(&wish.service).cloned();
    let live =
        live.ok_or_else(|| Problem::of(Code::NotFound, format!("there is no service `{}`", wish.service)))?;
    let Auth::Oauth2(server) = live.service.auth() else {
        let detail = "the service takes a secret, and no account at an authorization server: give it with `placet connection add`";
        return Err(Problem::of(Code::RequestInvalid, detail));
    };
    // What no client would do anything about is told first.
    if !server.asks_people() && server.device_authorization_url.is_none() {
        return Err(Problem::of(Code::RequestInvalid, NOWHERE_TO_AGREE));
    }
    let client = client::registered(app, &wish.service, server).await?.ok_or_else(|| {
        let detail = format!(
            "nobody has said which client this server is at the authorization server of `{0}`, or the service names another by now: an administrator says it with `placet service client {0} --client-id ID`",
            wish.service
        );
        Problem::of(Code::Conflict, detail)
    })?;
    let own = match caller {
        Caller::User(person) => Some(person),
        Caller::AdminToken => None,
        Caller::Agent(_) => return Err(caller.person().err().unwrap_or_else(late)),
    };
    let mut who = Connecting {
        service: wish.service.clone(),
        version: live.version,
        server: (**server).clone(),
        client_id: client.id.clone(),
        name: String::new(),
        user: None,
        agents: Vec::new(),
        mends: None,
        session: own.map(|person| person.session),
        by: caller.by(),
        interval: 0,
    };
    match &wish.mends {
        Some(mends) => mended(app, caller, mends.clone(), &mut who).await?,
        None => named(app, caller, own, wish, &mut who).await?,
    }
    Ok(Plan { live, who, client })
}

/// One of the caller's that is there already.
async fn mended(app: &App, caller: &Caller, asked: String, who: &mut Connecting) -> Result<(), Problem> {
    let found = theirs(app, caller, asked).await?;
    if found.service != who.service {
        return Err(not_theirs());
    }
    who.mends = Some((found.id, found.generation));
    (who.name, who.user, who.agents) = (found.name, found.user, found.agents);
    Ok(())
}

/// The connection of this name or id that the caller may connect anew: what isn't theirs is told like what isn't there.
///
/// # Errors
/// `not_found`.
pub(crate) async fn theirs(app: &App, caller: &Caller, asked: String) -> Result<Connection, Problem> {
    let found = app
        .store
        .read(move |q| match asked.parse() {
            Ok(id) => connections::find(q, id),
            Err(_) => connections::by_name(q, &asked),
        })
        .await?;
    let own = match caller {
        Caller::User(person) => Some(person.user.id),
        _ => None,
    };
    let is_theirs = |found: &Connection| match found.user {
        Some(owner) => own == Some(owner),
        None => caller.configures(),
    };
    found.filter(is_theirs).ok_or_else(not_theirs)
}

fn not_theirs() -> Problem {
    Problem::of(Code::NotFound, "you have no such connection that could be connected anew")
}

/// A new one.
async fn named(
    app: &App,
    caller: &Caller,
    own: Option<&SignedIn>,
    wish: &Wish,
    who: &mut Connecting,
) -> Result<(), Problem> {
    let invalid = |detail: &str| Problem::of(Code::RequestInvalid, detail);
    who.user = match own {
        _ if wish.organization => {
            caller.must_configure()?;
            None
        }
        Some(person) => Some(person.user.id),
        None => {
            return Err(invalid(
                "the administrator token is nobody's: say that it is the organization's (`organization`), or sign in with `placet login`",
            ));
        }
    };
    if who.user.is_some() && !wish.agents.is_empty() {
        return Err(invalid("`agents` is for connections of the organization"));
    }
    who.name = wish.name.clone().unwrap_or_else(|| usual_name(own, wish));
    if !is_handle(&who.name) {
        return Err(invalid("`name`: 1 to 64 letters, digits and `._-`, the first a letter or digit"));
    }
    let (name, wanted) = (who.name.clone(), wish.agents.clone());
    who.agents = app
        .store
        .read(move |q| {
            if connections::by_name(q, &name)?.is_some() {
                let detail = format!(
                    "there is a connection `{name}` already: name another (`name`), or connect that one anew (`connection`: `placet connection reconnect {name}`)"
                );
                return Err(Problem::of(Code::Conflict, detail));
            }
            agents_named(q, &wanted)
        })
        .await?;
    Ok(())
}

/// How a connection is called where nothing is said: as the service, and whoever it belongs to.
pub(crate) fn usual_name(own: Option<&SignedIn>, wish: &Wish) -> String {
    let name = match own {
        Some(person) if !wish.organization => format!("{}-{}", wish.service, person.user.name),
        _ => wish.service.clone(),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    name.chars().take(LONGEST_NAME).map(|letter| if plain(letter) { letter } else { '-' }).collect()
}

fn agents_named(q: &mut impl Query, wanted: &[String]) -> Result<Vec<AgentId>, Problem> {
    let invalid = |detail: String| Problem::of(Code::RequestInvalid, detail);
    if wanted.len() > MAX_AGENTS {
        return Err(invalid(format!("`agents` names at most {MAX_AGENTS} here")));
    }
    let mut found = Vec::with_capacity(wanted.len());
    for name in wanted {
        let none = || invalid(format!("`agents`: there is no agent `{name}`"));
        found.push(agents::named(q, name)?.ok_or_else(none)?.id);
    }
    Ok(found)
}

/// Notes that a person leaves, and answers where they are sent.
///
/// # Errors
/// `too_many_requests`; `token_invalid` where they have signed out; a sentence where people are not asked there.
pub(crate) async fn leave(
    app: &App,
    person: &SignedIn,
    plan: &Plan,
    source: Source,
) -> Result<String, Problem> {
    let now = app.clock.now();
    app.rates.left(source, now)?;
    let who = plan.who.clone();
    let bytes: [u8; 32] = clock::entropy();
    let state = URL_SAFE_NO_PAD.encode(bytes);
    let (session, service) = (person.session, who.service.clone());
    let verifier = verifier(app, session, &service, &state);
    let asking = Asking {
        client_id: &who.client_id,
        redirect_uri: &redirect_uri(app, &service),
        state: &state,
        code_challenge: &URL_SAFE_NO_PAD.encode(sha256(&[verifier.expose()])),
    };
    let url =
        who.server.ask_at(&asking).ok_or_else(|| Problem::of(Code::RequestInvalid, NOWHERE_TO_AGREE))?;
    let hash = state_hash(app, session, &service, &state);
    app.store
        .write(move |tx| {
            still_signed_in(tx, session, now)?;
            Ok::<_, Problem>(accounts::leave(tx, hash, &who, (now.plus(WITHIN), now), None)?)
        })
        .await?;
    Ok(url)
}

/// What becomes of a person who comes back.
///
/// # Errors
/// [`Stopped`]: `token_invalid` where they did not leave in this session for this service with that, or came back before, or
/// too late.
pub(crate) async fn comes_back(
    app: &App,
    person: &SignedIn,
    service: &str,
    answer: &Answer,
    source: Source,
) -> Result<Connection, Stopped> {
    let now = app.clock.now();
    let hash = state_hash(app, person.session, service, &answer.state);
    // What anybody can make up asks nothing of the writer.
    let known = app.store.read(move |q| accounts::away(q, hash, now)).await.map_err(Problem::from)?;
    if known.is_none() {
        app.rates.stranger(source, now).map_err(rates::too_many)?;
        return Err(late().into());
    }
    let who = app.store.write(move |tx| accounts::come_back(tx, hash, now)).await.map_err(Problem::from)?;
    let who = who.filter(|who| who.service == service).ok_or_else(late)?;
    let code = answer.code(&who.server).map_err(Stopped::NoCode)?;
    let (live, client) = as_it_was(app, &who).await?;
    let kept = Kept::agreed(who.client_id.clone());
    let showing = Showing::Code {
        code,
        verifier: &verifier(app, person.session, service, &answer.state),
        redirect_uri: &redirect_uri(app, service),
    };
    let private = live.service.allow_private();
    let granted =
        app.gateway.token(&who.server, &client.asking(&kept), &showing, private, app.clock.now()).await;
    let granted = granted.map_err(Stopped::NoToken)?;
    let connection = keep(app, &live, who, kept, granted, source).await?;
    app.rates.came_back(source);
    Ok(connection)
}

/// The service and its client, where both are what they were when somebody left.
async fn as_it_was(app: &App, who: &Connecting) -> Result<(Arc<LiveService>, Client), Problem> {
    let changed = || {
        let detail =
            "the service was changed while you were away; nothing was connected, look at it and try again";
        Problem::of(Code::Conflict, detail)
    };
    // Whatever else it says by now: the page told them of that version where the account will be used.
    let live = app.rules.load().services.get(&who.service).cloned().ok_or_else(changed)?;
    if live.version != who.version || !matches!(live.service.auth(), Auth::Oauth2(now) if **now == who.server)
    {
        return Err(changed());
    }
    let client = client::registered(app, &who.service, &who.server).await?;
    let client = client.filter(|client| client.id == who.client_id).ok_or_else(changed)?;
    Ok((live, client))
}

/// Stores what was granted, for whom it is meant.
async fn keep(
    app: &App,
    live: &LiveService,
    who: Connecting,
    kept: Kept,
    granted: Granted,
    source: Source,
) -> Result<Connection, Problem> {
    let now = app.clock.now();
    let secret = kept.with(granted, now).to_secret();
    // While it is held the service stays what it was agreed for.
    let _changing = app.rules_change.lock().await;
    keep::unchanged(app, live)?;
    let (session, auth) = (who.session, live.service.auth().clone());
    let organizations = who.user.is_none();
    let still = move |tx: &mut Tx<'_>| still_may(tx, session, organizations, now);
    let connection = match who.mends {
        None => {
            let connection = Connection {
                id: clock::fresh(now),
                name: who.name,
                service: who.service,
                user: who.user,
                agents: who.agents,
                auth,
                generation: 1,
                state: ConnectionState::Active,
                attention: None,
                created: now,
                made_by: who.by,
                reference: None,
            };
            keep::added(app, source, live, &connection, &secret, still).await?;
            connection
        }
        Some((id, generation)) => {
            let found = app.store.read(move |q| connections::find(q, id)).await?;
            // Of another secret than it had when they left somebody else has taken care.
            let found = found.filter(|found| found.generation == generation).ok_or_else(|| {
                let detail =
                    "the connection was changed or removed while you were away; nothing was connected";
                Problem::of(Code::Conflict, detail)
            })?;
            let connection = Connection { auth, reference: None, ..found };
            keep::changed(app, (who.by, source), live, connection.clone(), &secret, still).await?;
            connection
        }
    };
    app.connections.changed();
    Ok(connection)
}

/// Whether who left may still do this: what a session could may have ended meanwhile.
fn still_may(
    tx: &mut Tx<'_>,
    session: Option<SessionId>,
    organizations: bool,
    now: Timestamp,
) -> Result<(), Problem> {
    let Some(session) = session else { return Ok(()) };
    still_signed_in(tx, session, now)?;
    if organizations {
        let user = match placet_store::sessions::find(tx, session)? {
            Some(session) => users::find(tx, session.user)?,
            None => None,
        };
        if !user.is_some_and(|user| user.has_role(ADMINISTRATOR)) {
            let detail = "a connection of the organization needs a user with role `administrator`";
            return Err(Problem::of(Code::NotPermitted, detail));
        }
    }
    Ok(())
}

fn late() -> Problem {
    let detail = "this took too long, was done before, or was begun in another session";
    Problem::of(Code::TokenInvalid, detail)
}

fn state_hash(app: &App, session: SessionId, service: &str, state: &str) -> KeyedHash {
    hash(app, STATE, &[session.to_string().as_bytes(), service.as_bytes(), state.as_bytes()])
}

/// 43 characters of 256 bits (RFC 7636 §4.1), which nobody knows who has not got this server's key.
fn verifier(app: &App, session: SessionId, service: &str, state: &str) -> Secret {
    let parts = [session.to_string(), service.to_owned(), state.to_owned()];
    let parts = parts.each_ref().map(|part| part.as_bytes());
    Secret::new(URL_SAFE_NO_PAD.encode(hash(app, VERIFIER, &parts).as_bytes()))
}

fn hash(app: &App, purpose: &str, parts: &[&[u8]]) -> KeyedHash {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let all = Secret::new(all);
    app.secrets.hashing.hash(purpose, all.expose())
}
