//! `/v1/sessions`: a person signs in with a password, and out.
//!
//! Invariant: an unknown name and a wrong password are refused in the same words after the same work.

use super::passwords;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, SESSION, SESSION_PREFIX, Source},
    clock,
    problem::{Answer, Problem},
    recording,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    id::SessionId,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
};
use placet_store::{Fault, sessions, users};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a session lasts.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    name: String,
    password: String,
    totp: Option<Value>,
}

/// `POST /v1/sessions`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    source: Source,
    JsonBody(sign_in): JsonBody<SignIn>,
) -> Answer<Response> {
    if sign_in.totp.is_some() {
        return Err(Problem::of(
            Code::RequestInvalid,
            "`totp` is not supported by this version: leave it out",
        ));
    }
    let name = sign_in.name;
    let (user, stored) = app.store.read(move |q| users::by_name(q, &name)).await?.unzip();
    let fits = passwords::fits(sign_in.password, stored).await?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(Problem::of(Code::TokenInvalid, "name or password is wrong"));
    };
    let now = app.clock.now();
    let (id, expires): (SessionId, _) = (clock::fresh(now), now.plus(LIFETIME));
    let token = Secret::generated(SESSION_PREFIX, clock::entropy());
    let hash = app.secrets.hashing.hash(SESSION, token.expose());
    let envelope = Envelope {
        user: Some(user.id),
        source: recording::source(source.0),
        ..recording::by(EntryType::SessionStarted, now, user.id.to_string())
    };
    let entry = app.prepare(envelope, Some(&json!({"session": id, "expires": expires})))?;
    app.store
        .write(move |tx| {
            sessions::insert(tx, id, user.id, hash, now, expires)?;
            tx.record(entry.clone())
        })
        .await?;
    let answer = json!({"id": id, "token": token.expose_str(), "expires": expires});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `DELETE /v1/sessions/{id}`
pub(crate) async fn end(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let unknown = || Problem::of(Code::NotFound, "there is no such session");
    let id: SessionId = id.parse().map_err(|_| unknown())?;
    let session = app.store.read(move |q| sessions::find(q, id)).await?.ok_or_else(unknown)?;
    let own = caller.person().is_ok_and(|signed_in| signed_in.user.id == session.user);
    if !own && !caller.configures() {
        return Err(unknown());
    }
    let now = app.clock.now();
    let envelope = Envelope {
        user: Some(session.user),
        source: recording::source(source.0),
        ..recording::by(EntryType::SessionEnded, now, caller.by())
    };
    let entry = app.prepare(envelope, Some(&json!({"session": id})))?;
    let ended = app
        .store
        .write(move |tx| {
            let ended = sessions::end(tx, id, now)?;
            if ended {
                tx.record(entry.clone())?;
            }
            Ok::<_, Fault>(ended)
        })
        .await?;
    // It may have ended meanwhile, or before: what was asked for is so.
    tracing::debug!(session = %id, ended, "a session was ended");
    Ok(StatusCode::NO_CONTENT)
}
