//! Who asks for a decision: whoever calls, or a resource server with its own credentials.

use crate::{
    app::App,
    body::OAuthParams,
    caller::{self, Caller},
    oauth::{client, resource_server},
    problem::Problem,
    sender::Sender,
};
use axum::http::{HeaderMap, HeaderValue, header, request::Parts};
use placet_core::refusal::Code;
use placet_store::resource_servers::ResourceServer;
use std::sync::Arc;

/// Who asks.
#[derive(Debug)]
pub(crate) enum Asking {
    /// An agent, a person or the administrator token, by a bearer token.
    Caller(Caller),
    /// A resource server, by `client_secret_basic`.
    ResourceServer(Arc<ResourceServer>),
}

impl axum::extract::FromRequestParts<Arc<App>> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match resource_server(app, parts).await? {
            Some(server) => Ok(Self::ResourceServer(server)),
            None => caller::identify(app, &Sender::of(parts)).await.map(Self::Caller),
        }
    }
}

/// The resource server that the request authenticates as; `None` where it authenticates in another way.
async fn resource_server(app: &App, parts: &Parts) -> Result<Option<Arc<ResourceServer>>, Problem> {
    let is_basic =
        parts.headers.get_all(header::AUTHORIZATION).iter().any(|value| {
            value.as_bytes().get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
        });
    if !is_basic {
        return Ok(None);
    }
    authenticated(app, &parts.headers).await
}

/// The resource server whose `client_secret_basic` stands in another header than `Authorization`, or in the metadata of a
/// call; `None` where that is something else.
///
/// # Errors
/// `token_invalid`, or `unavailable` where it can't be told.
pub(crate) async fn presented(app: &App, value: &str) -> Result<Option<Arc<ResourceServer>>, Problem> {
    let mut headers = HeaderMap::new();
    let Ok(mut value) = HeaderValue::from_str(value) else { return Ok(None) };
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    authenticated(app, &headers).await
}

async fn authenticated(app: &App, headers: &HeaderMap) -> Result<Option<Arc<ResourceServer>>, Problem> {
    let wrong = || {
        Problem::of(Code::TokenInvalid, "the resource server is unknown, has ended, or its secret is wrong")
    };
    let presented = client::presented(headers, &OAuthParams::default()).map_err(|_| wrong())?;
    let found = resource_server::authenticate(app, &presented).await;
    match found {
        Ok(found) => found.map(Some).ok_or_else(wrong),
        Err(error) if error.status.as_u16() == 401 => Err(wrong()),
        Err(error) => Err(Problem::of(Code::Unavailable, error.description)),
    }
}

/// As an extractor for what only resource servers do.
#[derive(Debug)]
pub(crate) struct OnlyResourceServer(pub(crate) Arc<ResourceServer>);

impl axum::extract::FromRequestParts<Arc<App>> for OnlyResourceServer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        match Asking::from_request_parts(parts, app).await? {
            Asking::ResourceServer(server) => Ok(Self(server)),
            Asking::Caller(_) => Err(Problem::of(
                Code::NotPermitted,
                "only the resource server that charged a decision says what became of it",
            )),
        }
    }
}
