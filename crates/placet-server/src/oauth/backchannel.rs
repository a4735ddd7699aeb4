//! `POST /oauth/backchannel_authentication` (OpenID Connect CIBA Core 1.0 §7, poll mode): an agent that runs where no
//! person is asks one by name; they find the request at the pages or by `placet request`.
//!
//! Whether somebody of a name is here is told to clients that an administrator vouches for, and to those only so often.
//! All others get the same answer for everybody: a request for nobody waits, and expires.
//!
//! Invariant: a client that only names itself asks nobody.

use super::{
    client,
    token::no_store,
    waiting::{self, LIFETIME, Whom},
};
use crate::{app::App, body::OAuthParams, caller::Source, problem::OAuthError, sender::Sender};
use axum::{extract::State, http::HeaderMap, response::Response};
use placet_core::{
    client::GrantType,
    consent::visible,
    id::UserId,
    waiting::{INTERVAL, MAX_MESSAGE},
};
use placet_store::users;
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The shortest that a request waits.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest that a request waits.
const LONGEST: Duration = Duration::from_secs(3600);
/// The longest name of a person, in bytes.
const MAX_HINT: usize = 256;
/// How a person can be named (CIBA §7.1); exactly one of them.
const HINTS: [&str; 3] = ["login_hint", "id_token_hint", "login_hint_token"];

/// The purpose under which names are hashed.
const HINT: &str = "backchannel_hint";

/// The endpoint.
///
/// # Errors
/// CIBA §13, and what the authorization endpoint would say of the same request; 429 where too many wait, or the person was
/// asked too often.
pub async fn post(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    sender: Sender,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    app.operations.space.may_begin()?;
    let client = client::authenticate(&app, &headers, &params).await?;
    let now = app.clock.now();
    app.rates.known(&client.agent.id.to_string(), now)?;
    client.must_use(GrantType::Ciba)?;
    let name = named(&params)?;
    let message = message(&params)?;
    let lasts = lasts(&params)?;
    let user = person(&app, name).await?;
    if user.is_none() && client.acts_alone {
        app.rates.unknown_person(&client.agent.id.to_string(), now)?;
        return Err(OAuthError::new("unknown_user_id", "there is nobody of this name"));
    }
    // One person is asked so often, by whichever of their names.
    let whom = user.map_or_else(|| name.to_owned(), |user| user.to_string());
    let hint = app.secrets.hashing.hash(HINT, whom.as_bytes());
    let whom = Whom::Person { user, hint, tell: client.acts_alone, message };
    let begun = waiting::begin(&app, &(&*client).into(), (whom, lasts), &params, (&sender, source)).await?;
    Ok(no_store(json!({
        "auth_req_id": begun.secret.expose_str(),
        "expires_in": lasts.as_secs(),
        "interval": INTERVAL.as_secs(),
    })))
}

/// How the client names the person.
fn named(params: &OAuthParams) -> Result<&str, OAuthError> {
    let sent: Vec<&str> = HINTS.into_iter().filter(|hint| params.has(hint)).collect();
    match sent.as_slice() {
        ["login_hint"] => {
            let name = params.required("login_hint")?;
            if name.len() <= MAX_HINT {
                return Ok(name);
            }
            Err(invalid(&format!("`login_hint` has at most {MAX_HINT} bytes")))
        }
        [other] => Err(invalid(&format!(
            "`{other}` is not taken here: name the person by `login_hint`, their name or id"
        ))),
        _ => Err(invalid("send exactly one of `login_hint`, `id_token_hint` and `login_hint_token`")),
    }
}

fn message(params: &OAuthParams) -> Result<Option<String>, OAuthError> {
    let Some(message) = params.text("binding_message")? else { return Ok(None) };
    // Shown as it is, or not at all: people compare it.
    if message.chars().count() > MAX_MESSAGE || visible(message) != message {
        let description = format!(
            "`binding_message` has at most {MAX_MESSAGE} characters, and none that controls, is invisible or a quotation mark that opens or closes"
        );
        return Err(OAuthError::new("invalid_binding_message", description));
    }
    Ok(Some(message.to_owned()))
}

fn lasts(params: &OAuthParams) -> Result<Duration, OAuthError> {
    let Some(value) = params.json("requested_expiry")? else { return Ok(LIFETIME) };
    let seconds = value.as_u64().filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| invalid("`requested_expiry` is a number of seconds above 0"))?;
    // Nobody answers in less; and what has ended is kept for a while, so that many short ones would be many rows.
    Ok(Duration::from_secs(seconds).clamp(SHORTEST, LONGEST))
}

/// The person of this name or id.
async fn person(app: &App, name: &str) -> Result<Option<UserId>, OAuthError> {
    let name = name.to_owned();
    Ok(app.store.read(move |q| users::named(q, &name)).await?.map(|user| user.id))
}

fn invalid(description: &str) -> OAuthError {
    OAuthError::new("invalid_request", description)
}
