//! `/v1/sessions`: a person signs in with a password, and out; also from the pages.
//!
//! Invariant: an unknown name and a wrong password are refused in the same words after the same work.

use super::{passwords, query::QueryParams};
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
    id::{SessionId, UserId},
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    time::Timestamp,
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
    let begun = begin(&app, sign_in.name, sign_in.password, source).await?;
    let answer = json!({"id": begun.id, "token": begun.token.expose_str(), "expires": begun.expires});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// A session that has just begun.
pub(crate) struct Begun {
    /// Its id.
    pub(crate) id: SessionId,
    /// What it is used with.
    pub(crate) token: Secret,
    /// When it ends by itself.
    pub(crate) expires: Timestamp,
}

/// Signs a person in by name and password, at whichever listener.
///
/// # Errors
/// `token_invalid`, in the same words for an unknown name and a wrong password; `unavailable` where too many sign in.
pub(crate) async fn begin(
    app: &App,
    name: String,
    password: String,
    source: Source,
) -> Result<Begun, Problem> {
    app.rates.sign_in(&name, source, app.clock.now())?;
    let tried = name.clone();
    let (user, stored) = app.store.read(move |q| users::by_name(q, &name)).await?.unzip();
    let fits = passwords::fits(password, stored).await?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(Problem::of(Code::TokenInvalid, "name or password is wrong"));
    };
    app.rates.signed_in(&tried, source);
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
    Ok(Begun { id, token, expires })
}

/// `GET /v1/sessions?user=&after=&limit=`, oldest first: a person their own, administrators everybody's, or those of one.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    query.only(&["user", "after", "limit"])?;
    let (asked, after, limit): (Option<UserId>, Option<SessionId>, usize) =
        (query.parsed("user")?, query.parsed("after")?, query.limit()?);
    let user = match caller.person() {
        Ok(signed_in) if !caller.configures() => {
            if asked.is_some_and(|asked| asked != signed_in.user.id) {
                return Err(Problem::of(
                    Code::NotPermitted,
                    "only an administrator sees the sessions of others",
                ));
            }
            Some(signed_in.user.id)
        }
        _ => {
            caller.must_configure()?;
            asked
        }
    };
    let found = app.store.read(move |q| sessions::list(q, user, after, limit)).await?;
    let next = if found.len() == limit { found.last().map(|session| session.id) } else { None };
    let now = app.clock.now();
    let shown = |session: &sessions::Session| {
        json!({"id": session.id, "user": session.user, "created": session.created, "expires": session.expires,
            "ended": session.ended, "alive": session.ended.is_none() && now < session.expires})
    };
    Ok(Json(json!({"sessions": found.iter().map(shown).collect::<Vec<_>>(), "next": next})))
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
    finish(&app, &session, caller.by(), source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a session.
///
/// # Errors
/// What the store met.
pub(crate) async fn finish(
    app: &App,
    session: &sessions::Session,
    by: String,
    source: Source,
) -> Result<(), Problem> {
    let (id, now) = (session.id, app.clock.now());
    let envelope = Envelope {
        user: Some(session.user),
        source: recording::source(source.0),
        ..recording::by(EntryType::SessionEnded, now, by)
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
    Ok(())
}
