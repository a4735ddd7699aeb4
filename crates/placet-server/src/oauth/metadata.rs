//! What this authorization server is and with which keys it signs (RFC 8414, RFC 7517).
//!
//! Invariant: the document promises nothing that the endpoints don't do.

use super::token::TOKEN_EXCHANGE;
use crate::app::App;
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use placet_core::authorize::pkce::S256;
use serde_json::json;
use std::sync::Arc;

/// How long others may keep what is published here.
const KEPT: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let issuer = &app.issuer;
    let methods = ["client_secret_basic", "client_secret_post"];
    // A public client only names itself; it uses what a person has just taken part in.
    let with_public = ["client_secret_basic", "client_secret_post", "none"];
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        // The pages for people have an origin of their own.
        "authorization_endpoint": format!("{}/oauth/authorize", app.pages),
        "pushed_authorization_request_endpoint": format!("{issuer}/oauth/par"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": [S256],
        "authorization_response_iss_parameter_supported": true,
        "authorization_details_types_supported": ["placet_action"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", TOKEN_EXCHANGE],
        "token_endpoint_auth_methods_supported": with_public,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
    });
    ([(header::CACHE_CONTROL, KEPT)], Json(document)).into_response()
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5).
pub async fn keys(State(app): State<Arc<App>>) -> Response {
    let headers = [(header::CACHE_CONTROL, KEPT), (header::CONTENT_TYPE, "application/jwk-set+json")];
    (headers, app.secrets.tokens.load().jwks().to_string()).into_response()
}
