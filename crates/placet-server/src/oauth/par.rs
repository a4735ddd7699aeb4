//! `POST /oauth/par`: a client pushes an authorization request and is given a name for it (RFC 9126), so that nothing of
//! it passes through the person's browser. A client that nobody has confirmed yet may do so, too: who it is asked of
//! confirms it.
//!
//! Invariant: what is pushed can be used by who pushed it, while it is young, and decided on once. Of its name only the
//! keyed hash is stored.

use super::{
    authorize::{self, Pushed, Refused},
    client,
    token::{no_store, proved},
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::Source,
    clock,
    problem::{OAuthError, Problem},
    sender::Sender,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use placet_core::{client::GrantType, secret::Secret};
use placet_store::{
    Fault,
    pushed_requests::{self, PushedRequest},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// What the name of a pushed request begins with (RFC 9126 §2.2).
pub(crate) const PREFIX: &str = "urn:ietf:params:oauth:request_uri:";
/// How long a request can be presented: long enough to sign in.
pub(crate) const LIFETIME: Duration = Duration::from_secs(300);

/// How long after that it is kept: longer than a page can be answered.
pub(crate) const KEPT: Duration = Duration::from_secs(900);

/// The purpose under which names of pushed requests are hashed.
const PURPOSE: &str = "request_uri";
/// Parameters that say who the client is and are no part of its request.
const OF_THE_CLIENT: [&str; 4] = ["client_secret", "client_assertion", "client_assertion_type", "client_id"];

/// The endpoint.
///
/// # Errors
/// RFC 9126 §2.3: those of the token endpoint's client authentication, and those of the authorization endpoint.
pub async fn post(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    sender: Sender,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    app.operations.space.may_begin()?;
    let client = client::authenticate_to_ask(&app, &headers, &params, source).await?;
    client.must_use(GrantType::AuthorizationCode)?;
    if params.has("request_uri") {
        return Err(OAuthError::new(
            "invalid_request",
            "`request_uri` is what this endpoint gives: leave it out",
        ));
    }
    let id = client.agent.id;
    let mut query = params.query_without(&OF_THE_CLIENT);
    query.push_str("&client_id=");
    query.extend(form_urlencoded::byte_serialize(client.id.as_bytes()));
    // The key that was proved here is the code's, too (RFC 9449 §10.1).
    if let Some(key) = proved(&app, &sender).await? {
        let key = key.to_string();
        match params.text("dpop_jkt")? {
            None => query.extend(["&dpop_jkt=", &key]),
            Some(stated) if stated == key => {}
            Some(_) => {
                let description = "`dpop_jkt` is not the key of the DPoP proof";
                return Err(OAuthError::new("invalid_request", description));
            }
        }
    }
    match authorize::checked(&app, &query, client).await {
        Ok(_) => {}
        Err(Refused::Shown(why)) => return Err(OAuthError::new("invalid_request", why)),
        Err(Refused::Answered(_, refusal)) => {
            return Err(OAuthError::new(refusal.error, refusal.description));
        }
        Err(Refused::Failed(problem)) => return Err(problem.into()),
    }
    let now = app.clock.now();
    let name = Secret::generated(PREFIX, clock::entropy());
    let hash = app.secrets.hashing.hash(PURPOSE, name.expose());
    let request = PushedRequest { agent: id, query, pushed: now, expires: now.plus(LIFETIME), decided: None };
    let insert = move |tx: &mut placet_store::Tx<'_>| pushed_requests::insert(tx, hash, &request);
    app.store.write::<_, Fault, _>(insert).await?;
    let answer = no_store(json!({"request_uri": name.expose_str(), "expires_in": LIFETIME.as_secs()}));
    Ok((StatusCode::CREATED, answer).into_response())
}

/// The request of this name, whatever became of it.
///
/// # Errors
/// What the store met.
pub(crate) async fn find(app: &App, name: &str) -> Result<Option<(Pushed, PushedRequest)>, Problem> {
    if !name.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = app.secrets.hashing.hash(PURPOSE, name.as_bytes());
    let found = app.store.read(move |q| pushed_requests::find(q, hash)).await?;
    Ok(found.map(|found| (Pushed { hash, at: found.pushed }, found)))
}
