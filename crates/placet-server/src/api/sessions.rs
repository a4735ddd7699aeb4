//! `/v1/sessions`: a person signs in, and out, and sees where they are signed in.
//!
//! Invariant: a session is shown and ended by the person whose it is, and by administrators.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    people::{proof, session},
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use placet_core::{
    id::{SessionId, UserId},
    refusal::Code,
};
use placet_store::sessions;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Who signs in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    name: String,
    password: String,
    totp: Option<String>,
}

/// `POST /v1/sessions`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    source: Source,
    JsonBody(sign_in): JsonBody<SignIn>,
) -> Answer<Response> {
    let SignIn { name, password, totp } = sign_in;
    let proven = proof::of_name(&app, &name, password, totp.as_deref(), source).await?;
    let begun = session::begin(&app, proven, source).await?;
    let answer = json!({"id": begun.id, "token": begun.token.expose_str(), "expires": begun.expires});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
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
            "began_with": session.began_with, "provider": session.provider, "ended": session.ended, "alive": session.ended.is_none() && now < session.expires})
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
    let found = app.store.read(move |q| sessions::find(q, id)).await?.ok_or_else(unknown)?;
    let own = caller.person().is_ok_and(|signed_in| signed_in.user.id == found.user);
    if !own && !caller.configures() {
        return Err(unknown());
    }
    session::finish(&app, &found, caller.by(), source).await?;
    Ok(StatusCode::NO_CONTENT)
}
