//! Requests for authority that wait for a person elsewhere, as their clients see them: made, polled, taken up
//! (RFC 8628, OpenID Connect CIBA Core 1.0). [`super::device`] and [`super::backchannel`] are the two doors in;
//! [`crate::requests`] is the person's side.
//!
//! Invariant: of what a client polls with only the keyed hash is stored. How many requests wait, and how often a person is
//! asked in vain, is bounded on all nodes together.

use super::{
    authorize,
    client::{self, Client, Named},
    issue::{self, Presented},
    redeem::{self, Redemption, Token},
    token::proved,
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::Source,
    clock,
    problem::{OAuthError, Problem},
    recording,
    sender::Sender,
};
use axum::http::{HeaderMap, StatusCode};
use placet_core::{
    chain::Chain,
    client::GrantType,
    id::UserId,
    jose::{NoThumbprint, Thumbprint},
    record::{EntryType, Envelope},
    refusal::Code,
    secret::{KeyedHash, Secret},
    time::Timestamp,
    waiting::{Answer, Asked, Pace, State, Through, UserCode, Waiting},
};
use placet_store::{Fault, Tx, waiting};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a request waits where nobody says.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// How long after its end it is still told what became of a request.
pub(crate) const KEPT: Duration = Duration::from_secs(3600);

/// How many requests of a client that authenticates wait at once.
const MOST_OF_CLIENT: usize = 1000;
/// How many wait at once, of everybody, where a client comes that only names itself.
const MOST: usize = 10_000;
/// How many in which clients have named one person wait for that person at once.
const MOST_OF_PERSON: usize = 20;
/// How often a client asks one person in vain ...
const MOST_IN_VAIN: usize = 10;
/// ... within this time.
const IN_VAIN_WITHIN: Duration = Duration::from_secs(3600);
/// What a request may not be larger than, in bytes.
const MAX_QUERY: usize = 32 * 1024;
/// How often a code is made anew that another device shows just now.
const ATTEMPTS: usize = 3;

/// Parameters that are about the client or about how it asks, and no part of what it asks for.
const NOT_ASKED_FOR: [&str; 10] = [
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "client_notification_token",
    "binding_message",
    "login_hint",
    "requested_expiry",
    "user_code",
    "dpop_jkt",
];

/// The purpose under which the codes of devices are hashed.
pub(crate) const USER_CODE: &str = "device_user_code";

/// What a client polls with: what it begins with, the purpose of its hash, and the parameter that it comes in.
const fn polls_with(through: Through) -> (&'static str, &'static str, &'static str) {
    match through {
        Through::Device => ("plt_device_", "device_code", "device_code"),
        Through::Backchannel => ("plt_authreq_", "auth_req_id", "auth_req_id"),
    }
}

/// Who is asked.
pub(super) enum Whom {
    /// Whoever enters the code.
    WhoeverHasTheCode,
    /// A person whom the client named.
    Person {
        /// The person; none where nobody is asked, and the client is not told.
        user: Option<UserId>,
        /// The hash of the name.
        hint: KeyedHash,
        /// Whether the client may know that the person is asked too often.
        tell: bool,
        /// What the person can recognise the request by.
        message: Option<String>,
    },
}

/// A request that was made.
pub(super) struct Begun {
    /// What the client polls with.
    pub(super) secret: Secret,
    /// What the device shows.
    pub(super) user_code: Option<UserCode>,
}

/// Makes a request that waits for a person, `lasts` at most.
///
/// # Errors
/// As the authorization endpoint, but for what is about redirects and challenges; 429 where too many wait.
pub(super) async fn begin(
    app: &Arc<App>,
    client: &Named,
    (whom, lasts): (Whom, Duration),
    params: &OAuthParams,
    (sender, source): (&Sender, Source),
) -> Result<Begun, OAuthError> {
    if params.has("request") || params.has("request_uri") {
        return Err(OAuthError::new("invalid_request", "a request that is a JWT is not taken here"));
    }
    let query = params.query_without(&NOT_ASKED_FOR);
    if query.len() > MAX_QUERY {
        let description = format!("what is asked for has at most {MAX_QUERY} bytes");
        return Err(OAuthError::new("invalid_request", description));
    }
    let key = key(app, sender, params).await?;
    // Nobody is asked about what could not be granted.
    let asks_for = OAuthParams::form(query.as_bytes())?;
    let sought = authorize::sought(app, client, &asks_for).await;
    sought.map_err(|refusal| OAuthError::new(refusal.error, refusal.description))?;
    let now = app.clock.now();
    let (through, user, hint, message, tell) = match whom {
        Whom::WhoeverHasTheCode => (Through::Device, None, None, None, true),
        Whom::Person { user, hint, tell, message } => (Through::Backchannel, user, Some(hint), message, tell),
    };
    let asked = Asked {
        client_id: client.id.clone(),
        query,
        key,
        from: source.0.map(|address| address.ip().to_canonical().to_string()),
        message,
    };
    let new = Waiting {
        id: clock::fresh(now),
        through,
        agent: client.agent.id,
        user,
        asked,
        state: State::Pending,
        created: now,
        expires: now.plus(lasts),
        decided: None,
        pace: Pace::new(now),
    };
    let (prefix, purpose, _) = polls_with(through);
    let secret = Secret::generated(prefix, clock::entropy());
    let hash = app.secrets.hashing.hash(purpose, secret.expose());
    let public = client.metadata.is_public() || client.unconfirmed.is_some();
    for _ in 0..ATTEMPTS {
        let user_code = (through == Through::Device).then(|| UserCode::generated(clock::entropy()));
        let code_hash = user_code.map(|code| app.secrets.hashing.hash(USER_CODE, code.as_bytes()));
        let keys = waiting::Keys { hash, user_code: code_hash, hint };
        let (inner, new) = (Arc::clone(app), new.clone());
        let written = app
            .store
            .write(move |tx| match room(tx, &new, keys.hint, (public, tell))? {
                Ok(user) => store(&inner, tx, &Waiting { user, ..new.clone() }, keys, source).map(Ok),
                Err(full) => Ok(Err(full)),
            })
            .await;
        match written {
            Ok(Ok(())) => return Ok(Begun { secret, user_code }),
            Ok(Err(full)) => return Err(too_many(full)),
            // Another device shows this code just now.
            Err(Failed::Store(Fault::Conflict(_))) => {}
            Err(Failed::Store(fault)) => return Err(fault.into()),
            Err(Failed::Problem(problem)) => return Err(problem.into()),
        }
    }
    Err(too_many("no code is free; try again"))
}

/// Why nothing was stored.
enum Failed {
    Store(Fault),
    Problem(Problem),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Store(fault)
    }
}

/// Who is asked, where there is room for one more; nobody, where a client that may not know of the person asks one who
/// is asked too often. The inner error says what is full.
fn room(
    tx: &mut Tx<'_>,
    new: &Waiting,
    hint: Option<KeyedHash>,
    (public, tell): (bool, bool),
) -> Result<Result<Option<UserId>, &'static str>, Fault> {
    let now = new.created;
    let full = if public {
        // Anybody could use up what is one client's that only names itself, or have many that nobody has confirmed.
        waiting::count(tx, now, MOST)? >= MOST as u64
    } else {
        waiting::count_of_agent(tx, new.agent, now, MOST_OF_CLIENT)? >= MOST_OF_CLIENT as u64
    };
    if full {
        return Ok(Err("too many requests wait for people"));
    }
    let since = now.minus(IN_VAIN_WITHIN);
    if let Some(hint) = hint
        && waiting::count_in_vain(tx, new.agent, hint, since, MOST_IN_VAIN)? >= MOST_IN_VAIN as u64
    {
        return Ok(Err("this person was asked too often within the hour without a yes"));
    }
    if let Some(user) = new.user
        && waiting::count_of_user(tx, user, now, MOST_OF_PERSON)? >= MOST_OF_PERSON as u64
    {
        return Ok(if tell { Err("too many requests wait for this person") } else { Ok(None) });
    }
    Ok(Ok(new.user))
}

fn store(
    app: &App,
    tx: &mut Tx<'_>,
    new: &Waiting,
    keys: waiting::Keys,
    source: Source,
) -> Result<(), Failed> {
    waiting::insert(tx, new, keys)?;
    // What comes with a code concerns nobody before somebody enters it.
    let Some(user) = new.user else { return Ok(()) };
    let envelope = Envelope {
        agent: Some(new.agent),
        chain: vec![new.agent],
        user: Some(user),
        source: recording::source(source.0),
        ..recording::entry(EntryType::GrantRequested, new.created)
    };
    let body = json!({"request": new.id, "through": new.through, "asked": new.asked.query,
        "message": new.asked.message, "expires": new.expires});
    tx.record(app.prepare(envelope, Some(&body)).map_err(Failed::Problem)?)?;
    Ok(())
}

fn too_many(description: &'static str) -> OAuthError {
    let refused = OAuthError::new("temporarily_unavailable", description);
    OAuthError { status: StatusCode::TOO_MANY_REQUESTS, ..refused }
}

/// The key that what is given later is bound to: proved here, or named (RFC 9449 §10).
async fn key(app: &App, sender: &Sender, params: &OAuthParams) -> Result<Option<Thumbprint>, OAuthError> {
    let stated = params.text("dpop_jkt")?.map(str::parse).transpose();
    let stated: Option<Thumbprint> = stated.map_err(|error: NoThumbprint| {
        OAuthError::new("invalid_request", format!("`dpop_jkt` is {error}"))
    })?;
    match (proved(app, sender).await?, stated) {
        (Some(key), Some(stated)) if key != stated => {
            Err(OAuthError::new("invalid_request", "`dpop_jkt` is not the key of the DPoP proof"))
        }
        (key, stated) => Ok(key.or(stated)),
    }
}

/// `grant_type=urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 §3.4) and `urn:openid:params:grant-type:ciba` (CIBA
/// §10.1): once the person has said yes, tokens of the grant that they consented to.
///
/// # Errors
/// RFC 8628 §3.5: `authorization_pending`, `slow_down`, `access_denied`, `expired_token`; `invalid_grant` in the same words
/// for a request of another client and for one that never was.
pub(super) async fn exchange(
    app: &Arc<App>,
    client: &Arc<Client>,
    through: Through,
    params: &OAuthParams,
    source: Source,
) -> Result<Value, OAuthError> {
    let text = params.required(polls_with(through).2)?;
    poll(app, &client.id, (through, text)).await?;
    issue::issue(app, client, Presented::Request(through, text), params, source).await.map(Value::Object)
}

/// Of a client that nobody has confirmed yet, and that is nobody at the token endpoint: what it is answered while a person
/// looks at its request; `None` where it polls for nothing.
///
/// # Errors
/// What the store met.
pub(super) async fn nobody(
    app: &Arc<App>,
    headers: &HeaderMap,
    params: &OAuthParams,
    source: Source,
) -> Result<Option<OAuthError>, OAuthError> {
    let (_, _, name) = polls_with(Through::Device);
    if params.text("grant_type")? != Some(GrantType::DeviceCode.as_str()) {
        return Ok(None);
    }
    let Some(text) = params.text(name)? else { return Ok(None) };
    let stranger = match client::authenticate_to_ask(app, headers, params, source).await {
        Ok(stranger) => stranger,
        Err(refused) if refused.error == "invalid_client" => return Ok(None),
        Err(refused) => return Err(refused),
    };
    // A yes that came between makes it a client: it is somebody at its next poll.
    let answered = || OAuthError::new("authorization_pending", "a person has just answered");
    Ok(Some(poll(app, &stranger.id, (Through::Device, text)).await.err().unwrap_or_else(answered)))
}

/// A poll: done where the person has said yes.
async fn poll(app: &App, client_id: &str, (through, text): (Through, &str)) -> Result<(), OAuthError> {
    let now = app.clock.now();
    let Some(hash) = hash(app, through, text) else { return Err(unknown()) };
    let of_client = |found: &Waiting| found.through == through && found.asked.client_id == client_id;
    let found = app.store.read(move |q| waiting::by_hash(q, hash)).await?;
    let found = found.filter(of_client).ok_or_else(unknown)?;
    let answer = match found.polled(now) {
        Answer::Pending(pace) | Answer::SlowDown(pace) if !app.rates.poll(&found.id.to_string(), now) => {
            Answer::SlowDown(pace)
        }
        // Once more, where nothing else can come between: of two polls at once one is too early.
        Answer::Pending(_) | Answer::SlowDown(_) => {
            let id = found.id;
            let polled = app.store.write(move |tx| {
                let Some(found) = waiting::find(tx, id)? else { return Ok(Answer::Expired) };
                let answer = found.polled(now);
                if let Answer::Pending(pace) | Answer::SlowDown(pace) = answer {
                    waiting::polled(tx, id, pace)?;
                }
                Ok::<_, Fault>(answer)
            });
            polled.await?
        }
        answer => answer,
    };
    let (error, description) = match answer {
        Answer::Ready => return Ok(()),
        Answer::Pending(_) => ("authorization_pending", "nobody has answered yet".to_owned()),
        Answer::SlowDown(pace) => {
            ("slow_down", format!("from now on wait {} seconds between two polls", pace.interval.as_secs()))
        }
        Answer::Denied => ("access_denied", "the person said no".to_owned()),
        Answer::Ended => ("access_denied", "the agent was stopped while the request waited".to_owned()),
        Answer::Expired => {
            ("expired_token", "nobody answered in time, or nobody came for the answer".to_owned())
        }
        Answer::Taken => ("invalid_grant", "the tokens were given before".to_owned()),
    };
    Err(OAuthError::new(error, description))
}

/// What the client of a request that a person said yes to takes up, and the chain of the grant that will be made.
///
/// # Errors
/// As [`exchange`].
pub(super) async fn presented(
    app: &App,
    client: &Client,
    (through, text): (Through, &str),
    params: &OAuthParams,
    now: Timestamp,
) -> Result<(Redemption, Chain), OAuthError> {
    let hash = hash(app, through, text).ok_or_else(unknown)?;
    let read = move |q: &mut placet_store::Reader<'_>| {
        let Some(found) = waiting::by_hash(q, hash)? else { return Ok(None) };
        let consented = waiting::consented(q, found.id)?;
        Ok::<_, Fault>(Some((found, consented)))
    };
    let (found, consented) = app.store.read(read).await?.ok_or_else(unknown)?;
    if found.through != through || found.asked.client_id != client.id {
        return Err(unknown());
    }
    if found.polled(now) != Answer::Ready {
        // It was another's a moment ago.
        return Err(OAuthError::new(
            "invalid_grant",
            "the tokens were given before, or are not given any more",
        ));
    }
    if found.asked.key.is_some() && params.key() != found.asked.key {
        let description = "the request is bound to a key: send a DPoP proof with it";
        return Err(OAuthError::new("invalid_grant", description));
    }
    let consented = consented.ok_or_else(|| Problem::of(Code::Internal, "a consent is not there"))?;
    let token = Token::Request(found.id);
    redeem::taken_up(app, client, token, consented, params, now).await?.ok_or_else(unknown)
}

fn hash(app: &App, through: Through, text: &str) -> Option<KeyedHash> {
    let (prefix, purpose, _) = polls_with(through);
    text.starts_with(prefix).then(|| app.secrets.hashing.hash(purpose, text.as_bytes()))
}

fn unknown() -> OAuthError {
    OAuthError::new("invalid_grant", "the request is unknown, or is not this client's")
}
