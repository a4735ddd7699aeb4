//! `/v1/identity-providers`, described.

use super::{PAGE, op};
use crate::openapi::{Caller::Bearer, Gives, Operation, Takes::Json};

macro_rules! provider {
    () => {
        "handle!: text, issuer!: text, client_id!: text, name: text, auth: 'client_secret_basic'|'client_secret_post', algorithms: ['EdDSA'|'ES256'|'RS256'|'PS256'], scope: [text], claims: object, second_factor: {acr: [text], amr: [text]}"
    };
}
const PROVIDER: &str = concat!("id!: text, created!: time, redirect_uri!: text, ", provider!());

/// The proof of an administrator.
macro_rules! fresh {
    () => {
        "password!: text, totp: text?"
    };
}

pub(super) const CREATE: Operation = op(
    "POST /v1/identity-providers",
    "Let people sign in with an OpenID provider (an administrator, with the password once more)",
    Bearer,
    &[(201, Gives::Json(PROVIDER))],
)
.takes(Json(concat!(provider!(), ", client_secret!: text, ", fresh!())));
pub(super) const LIST: Operation = op(
        "GET /v1/identity-providers",
        "List the providers that people sign in with",
        Bearer,
        &[(200, Gives::Json("identity_providers!: [{id!: text, handle!: text, name!: text, issuer!: text, created!: time}], next!: text?"))],
    )
    .query(PAGE);
pub(super) const SHOW: Operation = op(
    "GET /v1/identity-providers/{id}",
    "Show a provider, by id or handle",
    Bearer,
    &[(200, Gives::Json(PROVIDER))],
);
pub(super) const REMOVE: Operation = op(
    "DELETE /v1/identity-providers/{id}",
    "Nobody signs in with a provider any more; sessions that began with it end",
    Bearer,
    &[(200, Gives::Json("id!: text, ended_sessions!: int"))],
);
pub(super) const SECRET: Operation = op(
    "POST /v1/identity-providers/{id}/secret",
    "Show a provider another secret (an administrator, with the password once more)",
    Bearer,
    &[(204, Gives::Nothing)],
)
.takes(Json(concat!("client_secret!: text, ", fresh!())));
pub(super) const SUBJECTS: Operation = op(
    "GET /v1/identity-providers/{id}/subjects",
    "List whom a provider means",
    Bearer,
    &[(200, Gives::Json("subjects!: [{subject!: text, user!: text, created!: time}], next!: text?"))],
)
.query(PAGE);
pub(super) const LINK: Operation = op(
        "POST /v1/identity-providers/{id}/subjects",
        "Say whom a provider means by a subject (an administrator, with the password once more); nobody where `user` is null",
        Bearer,
        &[(200, Gives::Json("id!: text, subject!: text, user!: text?"))],
    )
    .takes(Json("subject!: text, user: text?, password: text, totp: text?"));
