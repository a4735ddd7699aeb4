//! What this authorization server is and with which keys it signs (RFC 8414, RFC 7517).
//!
//! The same document stands at each place where clients look for it: RFC 8414 §3.1 inserts the well-known path before
//! that of the issuer, OpenID Connect Discovery §4 puts it behind, and some put its name where the other's belongs.
//!
//! Invariant: the document promises nothing that the endpoints don't do, and `issuer` is the issuer byte for byte.

use super::{federation::JWT_BEARER, register, token::TOKEN_EXCHANGE};
use crate::{
    api::{detail_types, scopes},
    app::App,
    mtls,
    problem::Problem,
    status_lists,
};
use axum::{
    Json,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use placet_core::{
    authorize::pkce::S256,
    client::GrantType,
    dpop::ALGORITHMS,
    federation::assertion::ID_JAG_PROFILE,
    grant::cover::PLACET_ACTION,
    jose::Algorithm,
    refusal::Code,
    token::{Statement, sign_statement},
};
use placet_store::registrations;
use serde_json::{Value, json};
use std::sync::Arc;

/// How long others may keep what is published here.
pub(crate) const KEPT: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server` (RFC 8414 §3) and `GET /.well-known/openid-configuration`.
pub async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let mut document = document(&app).await?;
    with_scopes(&app, &mut document).await?;
    let document = signed(&app, Statement::ServerMetadata, document)?;
    Ok(([(header::CACHE_CONTROL, KEPT)], Json(document)).into_response())
}

/// The same with the path of the issuer behind it (RFC 8414 §3.1).
pub(crate) async fn show_at(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    if split(&app.issuer).1.strip_prefix('/') == Some(&path) {
        return show(State(app)).await;
    }
    Err(Problem::of(Code::NotFound, "there is no issuer with that path"))
}

/// `GET /.well-known/jwks.json` (RFC 7517 §5).
pub async fn keys(State(app): State<Arc<App>>) -> Response {
    let headers = [(header::CACHE_CONTROL, KEPT), (header::CONTENT_TYPE, "application/jwk-set+json")];
    (headers, app.secrets.tokens.load().jwks().to_string()).into_response()
}

async fn document(app: &App) -> Result<Value, Problem> {
    let declared = detail_types::declared(app).await?;
    let details: Vec<&str> = std::iter::once(PLACET_ACTION).chain(declared.names()).collect();
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
        "device_authorization_endpoint": format!("{issuer}/oauth/device_authorization"),
        "backchannel_authentication_endpoint": format!("{issuer}/oauth/backchannel_authentication"),
        "backchannel_token_delivery_modes_supported": ["poll"],
        "backchannel_user_code_parameter_supported": false,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": [S256],
        "authorization_response_iss_parameter_supported": true,
        "authorization_details_types_supported": details,
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token", TOKEN_EXCHANGE, JWT_BEARER,
            GrantType::DeviceCode.as_str(), GrantType::Ciba.as_str()],
        "authorization_grant_profiles_supported": [ID_JAG_PROFILE],
        "token_endpoint_auth_methods_supported": with_public,
        "introspection_endpoint_auth_methods_supported": methods,
        // A public client gives back what it was given (RFC 7009 §2.1).
        "revocation_endpoint_auth_methods_supported": with_public,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": [app.secrets.tokens.load().signer().algorithm().as_str()],
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "protected_resources": [issuer],
    });
    if let Some(document) = document.as_object_mut() {
        mtls::describe(app, document);
    }
    // Clients that nobody registered by hand find a way in where there is one.
    if app.store.read(|q| registrations::template(q)).await?.open
        && let Some(document) = document.as_object_mut()
    {
        document.insert("registration_endpoint".into(), register::endpoint(app).into());
        document.insert("client_id_metadata_document_supported".into(), true.into());
    }
    // There where tokens say in which list they stand.
    if !status_lists::audiences(app).await?.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("status_list_aggregation_endpoint".into(), format!("{issuer}/oauth/status").into());
    }
    Ok(document)
}

/// Adds the scopes that are registered, where there are any (RFC 8414 §2, RFC 9728 §2).
pub(super) async fn with_scopes(app: &App, document: &mut Value) -> Result<(), Problem> {
    let registry = scopes::registry(app).await?;
    let names: Vec<&str> = registry.entries().map(|(name, _)| name).collect();
    if let Some(members) = document.as_object_mut()
        && !names.is_empty()
    {
        members.insert("scopes_supported".into(), json!(names));
    }
    Ok(())
}

/// The origin and the path of an issuer; most have none.
pub(crate) fn split(issuer: &str) -> (&str, &str) {
    let behind_scheme = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer.get(behind_scheme..).and_then(|rest| rest.find('/')).map(|at| behind_scheme + at);
    path.and_then(|at| issuer.split_at_checked(at)).unwrap_or((issuer, ""))
}

/// A metadata document with itself as a signed statement of the issuer (RFC 8414 §2.1, RFC 9728 §2.2).
///
/// # Errors
/// `internal` where signing fails.
pub(crate) fn signed(app: &App, statement: Statement, mut document: Value) -> Result<Value, Problem> {
    let mut claims = document.clone();
    if let Some(claims) = claims.as_object_mut() {
        claims.insert("iss".into(), app.issuer.clone().into());
        claims.insert("iat".into(), app.clock.now().as_seconds().into());
    }
    let token = sign_statement(&app.secrets.tokens.load(), statement, &claims)?;
    if let Some(members) = document.as_object_mut() {
        members.insert("signed_metadata".into(), token.into());
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_split_before_its_path() {
        for (issuer, parts) in [
            ("https://placet.example", ("https://placet.example", "")),
            ("https://placet.example/tenant1", ("https://placet.example", "/tenant1")),
            ("http://[::1]:1/a/b", ("http://[::1]:1", "/a/b")),
        ] {
            assert_eq!(split(issuer), parts);
        }
    }
}
