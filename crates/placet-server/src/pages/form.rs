//! Forms: how they are read, and the tokens that bind each to the browser that it was given to.
//!
//! Invariant: nothing is done for a form without the token of its purpose, or one that another site sent.

use super::html::Page;
use crate::{
    app::App,
    body::{media_type, whole},
};
use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    refusal::Code,
    secret::{KeyedHash, Secret},
};
use std::{collections::BTreeMap, sync::Arc};

/// The members of a form that this origin's page sent.
#[derive(Debug)]
pub(crate) struct Form(BTreeMap<String, String>);

impl FromRequest<Arc<App>> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let refused = |status, text: &str| Page::problem(status, text).into_response();
        if is_foreign(app, request.headers()) {
            return Err(refused(
                StatusCode::FORBIDDEN,
                "This was sent by a page of another site. Nothing was done.",
            ));
        }
        let wrong = || refused(StatusCode::BAD_REQUEST, "The form can’t be read. Nothing was done.");
        if media_type(request.headers()).as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(wrong());
        }
        let bytes = whole(request).await.map_err(|problem| match problem.code() {
            Code::RequestSlow => {
                refused(StatusCode::REQUEST_TIMEOUT, "The form did not come in time. Nothing was done.")
            }
            _ => refused(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large. Nothing was done."),
        })?;
        let mut members = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(&bytes) {
            if value.contains('\u{fffd}') || members.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self(members))
    }
}

impl Form {
    /// A member; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Takes a member that is not to be kept twice.
    pub(super) fn take(&mut self, name: &str) -> String {
        self.0.remove(name).unwrap_or_default()
    }
}

/// Whether the browser says that another site's page sent this. One that says nothing is held by its token alone. Under
/// our referrer policy a browser calls our own origin `null` here.
fn is_foreign(app: &App, headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = says("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let origin = says(header::ORIGIN.as_str()).is_some_and(|origin| origin != "null" && origin != app.pages);
    site || origin
}

/// The token of a form: of a purpose, bound to these parts.
pub(super) fn token(app: &App, purpose: &str, parts: &[&[u8]]) -> String {
    URL_SAFE_NO_PAD.encode(hash(app, purpose, parts).as_bytes())
}

/// Whether a form's token is the one of its purpose and parts.
pub(super) fn fits(app: &App, purpose: &str, parts: &[&[u8]], sent: &str) -> bool {
    let sent = URL_SAFE_NO_PAD.decode(sent).ok().and_then(|bytes| KeyedHash::from_bytes(&bytes));
    sent.is_some_and(|sent| sent == hash(app, purpose, parts))
}

fn hash(app: &App, purpose: &str, parts: &[&[u8]]) -> KeyedHash {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    let all = Secret::new(all);
    app.secrets.hashing.hash(purpose, all.expose())
}
