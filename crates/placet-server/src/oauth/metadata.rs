//! What this authorization server is and with which keys it signs (RFC 8414, RFC 7517).
//!
//! Invariant: the document promises nothing that the endpoints don't do.

use super::{register, token::TOKEN_EXCHANGE};
use crate::{app::App, problem::Problem};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use placet_core::{authorize::pkce::S256, jose::Algorithm};
use placet_store::registrations;
use serde_json::json;
use std::sync::Arc;

/// How long others may keep what is published here.
const KEPT: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3).
///
/// # Errors
/// What the store met.
pub async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let issuer = &app.issuer;
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    // A public client only names itself; it uses what a person has just taken part in.
    let with_public = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"];
    let algorithms = Algorithm::ALL.map(Algorithm::as_str);
    let mut document = json!({
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
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    // Clients that nobody registered by hand find a way in where there is one.
    if app.store.read(|q| registrations::template(q)).await?.open
        && let Some(document) = document.as_object_mut()
    {
        document.insert("registration_endpoint".into(), register::endpoint(&app).into());
        document.insert("client_id_metadata_document_supported".into(), true.into());
    }
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(document)).into_response())
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5).
pub async fn keys(State(app): State<Arc<App>>) -> Response {
    let headers = [(header::CACHE_CONTROL, KEPT), (header::CONTENT_TYPE, "application/jwk-set+json")];
    (headers, app.secrets.tokens.load().jwks().to_string()).into_response()
}
