//! `POST /oauth/token`: authorization codes, device codes, CIBA, client credentials, assertions of others, token exchange,
//! refreshing.

use super::{
    client::{self, Client},
    code, exchange, federation, issue, refresh, waiting,
};
use crate::{
    api::detail_types,
    app::App,
    body::OAuthParams,
    caller::Source,
    problem::OAuthError,
    sender::{Sender, proofs},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use placet_core::{
    client::GrantType,
    grant::{
        self,
        cover::{AuthorizationDetail, DetailError},
    },
    jose::Thumbprint,
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
    waiting::Through,
};
use serde_json::Value;
use std::sync::Arc;

/// The grant type of RFC 8693.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The grant type of RFC 8628.
const DEVICE: &str = GrantType::DeviceCode.as_str();
/// The grant type of CIBA.
const CIBA: &str = GrantType::Ciba.as_str();

/// The endpoint.
///
/// # Errors
/// RFC 6749 §5.2; RFC 8628 §3.5.
pub async fn post(
    State(app): State<Arc<App>>,
    source: Source,
    sender: Sender,
    headers: HeaderMap,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    app.operations.space.may_begin()?;
    if params.text("grant_type")? == Some(federation::JWT_BEARER) {
        return on_word(&app, source, &sender, &headers, params).await;
    }
    let client = match client::authenticate(&app, &headers, &params).await {
        Ok(client) => client,
        Err(refused) => {
            return Err(waiting::nobody(&app, &headers, &params, source).await?.unwrap_or(refused));
        }
    };
    app.rates.known(&client.agent.id.to_string(), app.clock.now())?;
    let params = bound(&app, &client, &sender, params).await?;
    let grant_type = params.required("grant_type")?;
    if let Some(known) = GrantType::from_name(grant_type) {
        client.must_use(known)?;
    }
    let answer = match grant_type {
        "client_credentials" => issue::client_credentials(&app, &client, &params, source).await?,
        TOKEN_EXCHANGE => exchange::exchange(&app, &client, &params, source).await?,
        "authorization_code" => code::exchange(&app, &client, &params, source).await?,
        "refresh_token" => refresh::refresh(&app, &client, &params, source).await?,
        DEVICE => waiting::exchange(&app, &client, Through::Device, &params, source).await?,
        CIBA => waiting::exchange(&app, &client, Through::Backchannel, &params, source).await?,
        _ => {
            let known = format!(
                "use `authorization_code`, `client_credentials`, `refresh_token`, `{TOKEN_EXCHANGE}`, `{}`, `{DEVICE}` or `{CIBA}`",
                federation::JWT_BEARER
            );
            return Err(OAuthError::new("unsupported_grant_type", known));
        }
    };
    app.operations.metrics.tokens.add(&[("grant_type", grant_type)]);
    Ok(no_store(answer))
}

/// On an assertion of a trusted issuer (RFC 7523 §2.1), which may say who the client is, too.
async fn on_word(
    app: &Arc<App>,
    source: Source,
    sender: &Sender,
    headers: &HeaderMap,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    let asserted = federation::asserted(app, headers, &params, source).await?;
    let params = bound(app, &asserted.client, sender, params).await?;
    let answer = federation::exchange(app, &asserted, params, source).await?;
    app.operations.metrics.tokens.add(&[("grant_type", federation::JWT_BEARER)]);
    Ok(no_store(answer))
}

/// The parameters with what the client is given will be bound to: the key that it proves to hold (RFC 9449 §5), and its
/// certificate where it authenticates by that or is registered so (RFC 8705 §3).
async fn bound(
    app: &App,
    client: &Client,
    sender: &Sender,
    params: OAuthParams,
) -> Result<OAuthParams, OAuthError> {
    let key = proved(app, sender).await?;
    let metadata = &client.metadata;
    if key.is_none() && metadata.dpop_bound_access_tokens {
        let description = "the client is registered for bound tokens only: send a `DPoP` header with a proof";
        return Err(OAuthError::new("invalid_dpop_proof", description));
    }
    let always = metadata.tls_client_certificate_bound_access_tokens;
    let binds = always || metadata.token_endpoint_auth_method.is_mutual_tls();
    // Also where an issuer's word is all that it comes with: what it is given is no less bound for that.
    if binds && params.certificate().is_none() {
        let description = "the client's tokens are bound to a certificate: ask over mutual TLS, at the `token_endpoint` of `mtls_endpoint_aliases`";
        return Err(OAuthError::new("invalid_request", description));
    }
    Ok(params.proved(key).binding_certificate(binds))
}

/// The key that the client proves to hold, if it does.
///
/// # Errors
/// `invalid_dpop_proof`, `use_dpop_nonce`.
pub(super) async fn proved(app: &App, sender: &Sender) -> Result<Option<Thumbprint>, OAuthError> {
    let Some(proof) = sender.proof(app, None)? else { return Ok(None) };
    proofs::take(app, &proof).await?;
    Ok(Some(proof.key))
}

/// A JSON answer that nothing may keep (RFC 6749 §5.1).
pub(crate) fn no_store(answer: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Json(answer)).into_response()
}

/// What a request asks for, dimension by dimension; what is left out stays out. Details are judged by their types.
///
/// # Errors
/// `invalid_scope`, `invalid_target` or `invalid_authorization_details` naming what can't be read.
pub async fn asked(app: &App, params: &OAuthParams) -> Result<grant::Request, OAuthError> {
    let scope = params.list("scope")?.map(|words| {
        words
            .iter()
            .map(|word| Scope::parse(word))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| OAuthError::new("invalid_scope", error.to_string()))
    });
    let tools = params.list("required_tools")?.map(|words| {
        words
            .iter()
            .map(|word| ActionPattern::parse(word))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| OAuthError::new("invalid_scope", format!("required_tools: {error}")))
    });
    let resources = params.list("required_resources")?.map(|words| {
        words
            .iter()
            .map(|word| ResourcePattern::parse(word))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| OAuthError::new("invalid_target", format!("required_resources: {error}")))
    });
    let wrong = |error: DetailError| OAuthError::new("invalid_authorization_details", error.to_string());
    let details = params
        .json("authorization_details")?
        .map(|value| AuthorizationDetail::parse_list(&value).map_err(wrong))
        .transpose()?;
    Ok(grant::Request {
        scope: scope.transpose()?.map(without_repeats),
        tools: tools.transpose()?.map(without_repeats),
        resources: resources.transpose()?.map(without_repeats),
        authorization_details: detail_types::judged(app, details).await?.map_err(wrong)?,
        ..grant::Request::default()
    })
}

fn without_repeats<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
