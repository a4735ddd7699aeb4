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
use serde_json::json;
use std::sync::Arc;

/// How long others may keep what is published here.
const KEPT: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
pub async fn show(State(app): State<Arc<App>>) -> Response {
    let issuer = &app.issuer;
    let methods = ["client_secret_basic", "client_secret_post"];
    let document = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        // There is no authorization endpoint, so there is nothing that it could answer with (RFC 8414 §2).
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials", "refresh_token", TOKEN_EXCHANGE],
        "token_endpoint_auth_methods_supported": methods,
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
