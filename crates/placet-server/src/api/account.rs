//! `/v1/account`: what a person has to sign in with, and changes of it. Passkeys are added on the pages, where the browser
//! makes them.
//!
//! Invariant: a person changes their own; each change comes with the password, and with a code where codes are asked for,
//! but `confirm`: that comes with a code of the new secret, which was answered to who had shown them.

use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, SignedIn, Source},
    people::{
        factors::{self, Factors},
        passkeys,
        proof::{self, Proven},
    },
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use placet_core::{refusal::Code, secret::Secret};
use placet_store::passkeys::Passkey;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A person who shows once more who they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fresh {
    password: String,
    totp: Option<String>,
}

/// Another password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    password: String,
    totp: Option<String>,
    new_password: String,
}

/// A code of an app that is set up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    totp: String,
}

/// `GET /v1/account`
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Value>> {
    let person = caller.person()?;
    let id = person.user.id;
    let factors = app.store.read(move |q| Factors::of(q, id)).await?;
    let totp = factors.totp.map(|since| json!({"since": since, "recovery_codes": factors.recovery_codes}));
    let SignedIn { session, user } = person;
    let shown = |passkey: &Passkey| json!({"id": passkey.id, "name": passkey.name, "created": passkey.created, "used": passkey.used});
    let passkeys: Vec<Value> = factors.passkeys.iter().map(shown).collect();
    Ok(Json(
        json!({"id": user.id, "name": user.name, "roles": user.roles, "session": session, "totp": totp, "passkeys": passkeys}),
    ))
}

/// `POST /v1/account/password`
pub(crate) async fn password(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(new): JsonBody<NewPassword>,
) -> Answer<StatusCode> {
    let fresh = Fresh { password: new.password, totp: new.totp };
    let proven = proven(&app, &caller, fresh, source).await?;
    let session = caller.person()?.session;
    factors::change_password(&app, proven, session, new.new_password, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/account/totp`
pub(crate) async fn enrol(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(fresh): JsonBody<Fresh>,
) -> Answer<Response> {
    let proven = proven(&app, &caller, fresh, source).await?;
    let enrolment = factors::enrol(&app, proven, source).await?;
    let answer = json!({"secret": enrolment.secret.expose_str(), "url": enrolment.url.expose_str()});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// `POST /v1/account/totp/confirm`
pub(crate) async fn confirm(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(confirmation): JsonBody<Confirmation>,
) -> Answer<Json<Value>> {
    let codes = factors::confirm(&app, caller.person()?, &confirmation.totp, source).await?;
    Ok(told(&codes))
}

/// `POST /v1/account/totp/remove`
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(fresh): JsonBody<Fresh>,
) -> Answer<StatusCode> {
    let proven = proven(&app, &caller, fresh, source).await?;
    factors::remove_totp(&app, proven, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/account/recovery-codes`
pub(crate) async fn recovery_codes(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(fresh): JsonBody<Fresh>,
) -> Answer<Json<Value>> {
    let proven = proven(&app, &caller, fresh, source).await?;
    Ok(told(&factors::renew_recovery_codes(&app, proven, source).await?))
}

/// `POST /v1/account/passkeys/{id}/remove`
pub(crate) async fn remove_passkey(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(fresh): JsonBody<Fresh>,
) -> Answer<StatusCode> {
    let proven = proven(&app, &caller, fresh, source).await?;
    let id = id.parse().map_err(|_| Problem::of(Code::NotFound, "there is no such passkey"))?;
    passkeys::remove(&app, proven, id, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is calling, where they have just shown who they are.
///
/// # Errors
/// As [`proof::again`]; `not_permitted` where it is nobody with a session.
pub(super) async fn proven(app: &App, caller: &Caller, fresh: Fresh, source: Source) -> Answer<Proven> {
    proof::again(app, caller.person()?, fresh.password, fresh.totp.as_deref(), source).await
}

fn told(codes: &[Secret]) -> Json<Value> {
    Json(json!({"recovery_codes": codes.iter().map(Secret::expose_str).collect::<Vec<_>>()}))
}
