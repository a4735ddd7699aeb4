//! How a token is asked for with what is kept of a connection: with a secret or another token, or with an assertion that its
//! key signs for this one time (RFC 7523). What of that is kept elsewhere is read for it each time.
//!
//! Invariant: no two questions have the same assertion; what was read elsewhere is stored nowhere.

use crate::{app::App, clock};
use placet_core::{
    id::EventId,
    secret::Secret,
    service::{
        oauth::{Granted, Kept, OAuth, Showing, assertion::Assertion},
        reference::Reference,
    },
};
use placet_gateway::{AssertionKey, TokenError};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// What is kept elsewhere can't be read.
    #[error("{0} can't be used: {1}")]
    Elsewhere(Reference, String),
    /// None came.
    #[error(transparent)]
    Token(TokenError),
}

/// Asks.
///
/// # Errors
/// [`AskError`].
pub(crate) async fn ask(
    app: &App,
    server: &OAuth,
    kept: &Kept,
    allow_private: bool,
) -> Result<Granted, AskError> {
    let filled = if kept.places.is_empty() { None } else { Some(filled(app, kept.clone()).await?) };
    let kept = filled.as_ref().unwrap_or(kept);
    let now = app.clock.now();
    let id: EventId = clock::fresh(now);
    let key = kept.signing.as_ref().map(AssertionKey::read).transpose().map_err(AskError::Token)?;
    let assertion = key.and_then(|key| {
        let assertion = Assertion::of(server, kept, key.algorithm(), now, &id.to_string())?;
        Some(key.sign(assertion))
    });
    let assertion = assertion.transpose().map_err(AskError::Token)?;
    let showing = assertion.as_ref().map_or(Showing::Kept, Showing::Assertion);
    app.gateway.token(server, kept, &showing, allow_private, now).await.map_err(AskError::Token)
}

/// With what is kept elsewhere.
async fn filled(app: &App, kept: Kept) -> Result<Kept, AskError> {
    let client_secret = read(app, kept.places.client_secret.as_ref()).await?;
    let signing_key = read(app, kept.places.signing_key.as_ref()).await?;
    Ok(kept.with_read(client_secret, signing_key))
}

/// What is at a place.
pub(crate) async fn read(app: &App, place: Option<&Reference>) -> Result<Option<Secret>, AskError> {
    let Some(place) = place else { return Ok(None) };
    let read = app.secrets_elsewhere.read(place).await;
    // What is read so goes to the authorization server, or signs.
    let read = read.and_then(|secret| place.check_is_one().map(|()| secret).map_err(|it| it.to_string()));
    read.map(Some).map_err(|why| AskError::Elsewhere(place.clone(), why))
}
