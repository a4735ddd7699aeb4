//! `/v1/connections`, and how accounts are connected, described.

use super::{PAGE, op};
use crate::openapi::{Caller::Bearer, Gives, Operation, Takes::Json};

const CONNECTION: &str = "id!: text, name!: text, service!: text, user!: text?, agents!: [text], state!: text, created!: time, auth!: object, attention!: object?, secret: object, unreadable: text?, warnings: [text], check: {result!: 'works'|'refused'|'unclear', action!: text, status!: int?, why!: text}";
/// What is told of what is about to be connected.
macro_rules! about {
    () => {
        "service!: text, name!: text, base_url!: text, scope!: [text]"
    };
}
const CLIENT: &str = "service!: text, client_id!: text, has_secret!: flag, redirect_uri!: text, authorization_url!: text?, token_url!: text, counts!: flag, made_by!: text, created!: time";

pub(super) const ALL: &[Operation] = &[
    op(
        "POST /v1/connections",
        "Connect an account at an upstream",
        Bearer,
        &[(201, Gives::Json("id!: text, name!: text, service!: text, user!: text?, agents!: [text], state!: text, check: {result!: 'works'|'refused'|'unclear', action!: text, status!: int?, why!: text}"))],
    )
    .takes(Json(
        "name!: text, service!: text, auth!: {type: text, secret: any, name: text, username: text, client_id: text, client_secret: any, refresh_token: text, subject_token: text, signing_key: any, key_id: text, subject: text}, user: text, agents: [text], check: flag",
    )),
    op(
        "GET /v1/connections",
        "List the connections that the caller may see",
        Bearer,
        &[(200, Gives::Json("connections!: [object], next!: text?"))],
    )
    .query(PAGE),
    op("GET /v1/connections/{connection}", "One connection, by name or id; what it needs where it is parked", Bearer, &[(200, Gives::Json(CONNECTION))]),
    op(
        "PATCH /v1/connections/{connection}",
        "Give a connection another secret or other agents, or confirm where its secret goes now",
        Bearer,
        &[(200, Gives::Json(CONNECTION))],
    )
    .takes(Json("auth: {type: text, secret: any, name: text, username: text, client_id: text, client_secret: any, refresh_token: text, subject_token: text, signing_key: any, key_id: text, subject: text}, confirm: text, agents: [text], check: flag")),
    op("POST /v1/connections/{connection}/check", "Whether the credential of a connection works, and the state that follows", Bearer, &[(200, Gives::Json(CONNECTION))]),
    op("DELETE /v1/connections/{connection}", "Remove a connection with its secret", Bearer, &[(204, Gives::Nothing)]),
    op(
        "POST /v1/connect",
        "Where an account of a service is connected in a browser; with `device`, the code that is entered elsewhere",
        Bearer,
        &[
            (200, Gives::Json(concat!(about!(), ", url!: text"))),
            (
                201,
                Gives::Json(concat!(
                    about!(),
                    ", ticket!: text, user_code!: text, verification_uri!: text, verification_uri_complete!: text?, expires_in!: int, interval!: int"
                )),
            ),
        ],
    )
    .takes(Json("service: text, connection: text, name: text, organization: flag, agents: [text], device: flag")),
    op(
        "POST /v1/connect/device",
        "Whether the code of a device was entered; then the account is connected",
        Bearer,
        &[(200, Gives::Json("status!: 'waiting'|'connected', interval: int, connection: object"))],
    )
    .takes(Json("ticket!: text")),
    op(
        "GET /v1/authorization-server",
        "What an authorization server publishes about itself, as a definition says it",
        Bearer,
        &[(200, Gives::Json("published_at!: text, auth!: object"))],
    )
    .query(&["issuer"]),
    op(
        "GET /v1/services/{name}/client",
        "What this server is at the authorization server of a service",
        Bearer,
        &[(200, Gives::Json(CLIENT))],
    ),
    op(
        "PUT /v1/services/{name}/client",
        "Say what this server is at the authorization server of a service (administrators)",
        Bearer,
        &[(200, Gives::Json(CLIENT)), (201, Gives::Json(CLIENT))],
    )
    .takes(Json("client_id!: text, client_secret: text")),
    op(
        "DELETE /v1/services/{name}/client",
        "Say that it is nothing there any more",
        Bearer,
        &[(204, Gives::Nothing)],
    ),
];
