//! `private_key_jwt`: a client proves who it is with an assertion that its own key signed (RFC 7523 §2.2, §3).
//!
//! Invariant: an assertion is good once, on all nodes together; it is used up only when everything else about it is
//! right.

use crate::{app::App, body::OAuthParams, problem::OAuthError};
use axum::http::StatusCode;
use placet_core::{
    client::{
        Metadata,
        assertion::{self, ASSERTION_TYPE, Once},
    },
    id::AgentId,
    jose::{Jws, KeySet},
};
use placet_identity::ForeignError;
use placet_store::assertions;

/// What assertions of clients are used up for.
const PURPOSE: &str = "client";

/// The assertion that came with a request, and whose it says it is.
///
/// # Errors
/// `invalid_request` for another type of assertion; 401 `invalid_client` for one that names nobody.
pub(super) fn posted(params: &OAuthParams) -> Result<Option<(String, String)>, OAuthError> {
    let invalid = |what: &str| OAuthError::new("invalid_request", what);
    let text = match (params.text("client_assertion")?, params.text("client_assertion_type")?) {
        (None, None) => return Ok(None),
        (Some(text), Some(ASSERTION_TYPE)) => text,
        (_, Some(ASSERTION_TYPE)) => return Err(invalid("`client_assertion_type` comes with its assertion")),
        (Some(_), None) => return Err(invalid("`client_assertion` comes with its type")),
        (_, Some(_)) => {
            let what = format!("the only `client_assertion_type` is `{ASSERTION_TYPE}`");
            return Err(OAuthError::new("invalid_request", what));
        }
    };
    let jws = Jws::parse(text).map_err(|_| OAuthError::invalid_client())?;
    let id = assertion::claimed(&jws).ok_or_else(OAuthError::invalid_client)?;
    Ok(Some((id.to_owned(), text.to_owned())))
}

/// Whose assertion it would have to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signer<'c> {
    /// The `client_id`.
    pub(super) id: &'c str,
    /// The agent.
    pub(super) agent: AgentId,
    /// The public keys that its metadata has in it.
    pub(super) keys: Option<&'c KeySet>,
    /// Its metadata.
    pub(super) metadata: &'c Metadata,
}

/// Checks that `text` proves that it comes from this client, and uses it up.
///
/// # Errors
/// 401 `invalid_client`; 503 `temporarily_unavailable` where the client's keys can't be read now.
pub(super) async fn verify(app: &App, client: Signer<'_>, text: &str) -> Result<(), OAuthError> {
    let jws = Jws::parse(text).map_err(|_| OAuthError::invalid_client())?;
    let now = app.clock.now();
    match (client.keys, &client.metadata.jwks_uri) {
        (Some(keys), _) => keys.verify(&jws).map(|_| ()).map_err(|_| OAuthError::invalid_client())?,
        (None, Some(uri)) => app.foreign.verify(uri, &jws, now).await.map_err(|error| match error {
            ForeignError::Signature(_) => OAuthError::invalid_client(),
            error => unread("the client's keys can't be read", &error),
        })?,
        (None, None) => return Err(OAuthError::invalid_client()),
    }
    // Whoever has the key may be told what is wrong.
    let once = assertion::check(&jws, client.id, &app.issuer, now)
        .map_err(|error| refused(format!("the client's assertion is not good: {error}")))?;
    spend(app, PURPOSE, &client.agent.to_string(), once)
        .await?
        .then_some(())
        .ok_or_else(|| refused("the client's assertion was used before: each is good once".to_owned()))
}

/// Uses up what somebody signed. `false` where it was used before.
///
/// # Errors
/// What the store met.
pub(crate) async fn spend(
    app: &App,
    purpose: &'static str,
    maker: &str,
    once: Once,
) -> Result<bool, OAuthError> {
    let maker = maker.to_owned();
    let spent = app.store.write(move |tx| assertions::spend(tx, purpose, &maker, &once.jti, once.until));
    Ok(spent.await?)
}

/// What is answered where something that a client publishes can't be read or is wrong.
pub(crate) fn unread(what: &str, error: &ForeignError) -> OAuthError {
    let refused = refused(format!("{what}: {error}"));
    if error.is_temporary() {
        OAuthError { status: StatusCode::SERVICE_UNAVAILABLE, error: "temporarily_unavailable", ..refused }
    } else {
        refused
    }
}

fn refused(description: String) -> OAuthError {
    OAuthError { description, ..OAuthError::invalid_client() }
}
