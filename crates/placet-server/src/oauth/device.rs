//! `POST /oauth/device_authorization` (RFC 8628 §3.1): an agent without a browser, or on another machine than its person,
//! asks for authority. It shows a code; the person enters that at the pages, on whatever device they have, and consents.
//!
//! Invariant: whoever has the device's secret gets nothing before a person has entered the code and said yes.

use super::{
    client,
    token::no_store,
    waiting::{self, LIFETIME, Whom},
};
use crate::{
    app::App,
    body::OAuthParams,
    caller::Source,
    problem::{OAuthError, Problem},
    sender::Sender,
};
use axum::{extract::State, http::HeaderMap, response::Response};
use placet_core::{client::GrantType, refusal::Code, waiting::INTERVAL};
use serde_json::json;
use std::sync::Arc;

/// Where the code is entered.
pub(crate) const PAGE: &str = "/device";

/// The endpoint.
///
/// # Errors
/// RFC 6749 §5.2, and what the authorization endpoint would say of the same request; 429 where too many wait.
pub async fn post(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    sender: Sender,
    params: OAuthParams,
) -> Result<Response, OAuthError> {
    app.operations.space.may_begin()?;
    let client = client::authenticate_to_ask(&app, &headers, &params, source).await?;
    client.must_use(GrantType::DeviceCode)?;
    let whom = (Whom::WhoeverHasTheCode, LIFETIME);
    let begun = waiting::begin(&app, &client, whom, &params, (&sender, source)).await?;
    let missing = || Problem::of(Code::Internal, "a device has no code");
    let code = begun.user_code.ok_or_else(missing)?;
    let page = format!("{}{PAGE}", app.pages);
    Ok(no_store(json!({
        "device_code": begun.secret.expose_str(),
        "user_code": code.to_string(),
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={code}"),
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL.as_secs(),
    })))
}
