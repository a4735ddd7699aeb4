//! `GET /oauth/authorize` (OAuth 2.1 §4.1): the page that asks a person whether an agent may act on their behalf.
//!
//! No consent is remembered: each authorization is a task of its own, and each is asked for.
//!
//! Invariant: what can't be checked against what is registered is shown to the person, and never leads anywhere.

use super::{
    consent::{self, Subject},
    cookies,
    html::{Page, see_other},
    sign_in::{self, Next},
};
use crate::{
    app::App,
    oauth::authorize::{self, Asked, Back, Refused},
};
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::html;
use placet_core::{
    authorize::{Refusal, redirect},
    consent::quoted,
};
use placet_store::sessions::Session;
use std::{sync::Arc, time::Duration};

/// The endpoint.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let asked = match authorize::requested(&app, &query, Duration::ZERO).await {
        Ok(asked) => asked,
        // Nobody is sent on by an error before they have signed in, or anybody with a client of their own could have
        // people sent to them from here by a link (RFC 9700 §4.11.2). A request for no page is the exception.
        Err(Refused::Answered(to, refusal)) if !is_silent(&query) => {
            return match cookies::signed_in(&app, &headers).await {
                Ok(Some(_)) if to.is_known() => back(&to, &refusal),
                Ok(Some(_)) => by_link(&to, &refusal),
                Ok(None) => {
                    let leads_to = Some(redirect::form_action(to.to()));
                    let next = Next { query, leads_to, name: String::new() };
                    sign_in::page(&app, &headers, &next, None).await.into_response()
                }
                Err(problem) => sign_in::failed(&problem),
            };
        }
        Err(refused) => return answered(refused),
    };
    if asked.request.prompt.none {
        // A person answers each time, so there is always a page.
        let refusal = Refusal::new("interaction_required", "each authorization is asked for on a page");
        return back(&asked.back, &refusal);
    }
    match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, session))) if !wants_sign_in(&asked, &session) => {
            consent::page(&app, &query, &Subject::Browser(Box::new(asked)), person).await
        }
        Ok(_) => {
            let next = Next {
                query,
                leads_to: Some(redirect::form_action(asked.back.to())),
                name: asked.login_hint.unwrap_or_default(),
            };
            sign_in::page(&app, &headers, &next, None).await.into_response()
        }
        Err(problem) => sign_in::failed(&problem),
    }
}

/// Whether the request is for no page at all.
fn is_silent(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "prompt" && value == "none")
}

/// Whether the client wants the person to sign in for this request. One that was pushed says so as long as it is there;
/// a session that began since is one for it.
fn wants_sign_in(asked: &Asked, session: &Session) -> bool {
    asked.request.prompt.login && asked.pushed.is_none_or(|pushed| session.created <= pushed.at)
}

/// A request that nobody is asked about.
pub(super) fn answered(refused: Refused) -> Response {
    match refused {
        Refused::Shown(why) => Page::problem(
            StatusCode::BAD_REQUEST,
            &format!("The application asked for something that can’t be answered: {why}."),
        )
        .into_response(),
        Refused::Answered(to, refusal) => back(&to, &refusal),
        Refused::Failed(problem) => sign_in::failed(&problem),
    }
}

/// The way back to a client that nobody has said yes to: whoever follows it does so knowingly (RFC 9700 §4.11.2).
fn by_link(to: &Back, refusal: &Refusal) -> Response {
    let host = quoted(to.to().host());
    let body = html! {
        p role="alert" { "A program that nobody here knows asked for something that can’t be granted: " (quoted(&refusal.description)) }
        p { a href=(to.with_error(refusal)) rel="noreferrer" { "Go back to " (host) } ", if you came from there." }
    };
    Page::new("This can’t be granted", body).with_status(StatusCode::BAD_REQUEST).into_response()
}

/// Sends the browser back with an error.
pub(super) fn back(to: &Back, refusal: &Refusal) -> Response {
    see_other(&to.with_error(refusal))
}
