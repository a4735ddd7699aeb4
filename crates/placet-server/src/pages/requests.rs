//! `/device`, where a person enters the code that a device shows them (RFC 8628 §3.3), and `/requests`, what waits for
//! their answer. The question itself is [`super::consent`]'s, as for every other way of asking.
//!
//! Invariant: a link does nothing: the code that it brings is shown, and the person says that it is theirs.

use super::{
    consent::{self, Subject},
    cookies,
    form::{self, Form},
    html::{Page, see_other},
    sign_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    consent::Failing,
    oauth::device::PAGE,
    requests,
};
use axum::{
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use placet_core::{
    consent::quoted,
    id::RequestId,
    refusal::Code,
    waiting::{Through, UserCode},
};
use std::sync::Arc;

/// Where requests are listed.
pub(crate) const REQUESTS: &str = "/requests";
/// The purpose of the form's token.
const CODE: &str = "form_device_code";

/// `GET /device`
pub(crate) async fn device(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let brought = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user_code");
    let code = brought.and_then(|(_, value)| UserCode::parse(&value));
    match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => entry(&app, &person, code, None).into_response(),
        Ok(None) => {
            let onward = code.map_or_else(|| PAGE.to_owned(), |code| format!("{PAGE}?user_code={code}"));
            sign_in::before(&app, &headers, onward).await
        }
        Err(problem) => sign_in::failed(&problem),
    }
}

/// `POST /device`
pub(crate) async fn entered(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => return sign_in::before(&app, &headers, PAGE.to_owned()).await,
        Err(problem) => return sign_in::failed(&problem),
    };
    if !form::fits(&app, CODE, &[person.session.to_string().as_bytes()], form.text("token")) {
        let text = "The form was not given to this session. Nothing was done.";
        return Page::problem(StatusCode::FORBIDDEN, text).into_response();
    }
    match requests::entered(&app, &person, form.text("user_code"), source).await {
        Ok(id) => see_other(&path(id)),
        Err(problem) => {
            let (status, wrong) = match problem.code() {
                Code::NotFound => (
                    StatusCode::NOT_FOUND,
                    "No device shows this code now. Compare it, or begin again on the device.",
                ),
                Code::TooManyRequests => {
                    (StatusCode::TOO_MANY_REQUESTS, "Too many codes were wrong. Try again in a while.")
                }
                _ => return sign_in::failed(&problem),
            };
            entry(&app, &person, None, Some(wrong)).with_status(status).into_response()
        }
    }
}

/// `GET /requests`
pub(crate) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => return sign_in::before(&app, &headers, REQUESTS.to_owned()).await,
        Err(problem) => return sign_in::failed(&problem),
    };
    let found = match requests::waiting_for(&app, &person).await {
        Ok(found) => found,
        Err(problem) => return sign_in::failed(&problem),
    };
    let body = html! {
        @if found.is_empty() { p { "Nothing waits for your answer." } }
        ul {
            @for one in &found {
                li {
                    a href=(path(one.waiting.id)) {
                        @match one.sought.client.unconfirmed {
                            None => { "The agent " (quoted(&one.sought.client.agent.handle)) },
                            Some(_) => "A program that nobody here knows",
                        }
                        " asks for authority"
                    }
                    @if one.waiting.through == Through::Device { ", from a device whose code you have entered" }
                    ". It waits until " (one.waiting.expires) "."
                }
            }
        }
        p { a href=(PAGE) { "Enter the code that a device shows" } }
        (signed_in(&app, &person, REQUESTS))
    };
    Page::new("What waits for your answer", body).into_response()
}

/// `GET /requests/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let Ok(id) = id.parse::<RequestId>() else {
        return Page::problem(StatusCode::NOT_FOUND, "There is no such request.").into_response();
    };
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => return sign_in::before(&app, &headers, path(id)).await,
        Err(problem) => return sign_in::failed(&problem),
    };
    match requests::find(&app, &person, id).await {
        Ok(standing) => {
            let subject = Subject::Waiting(Box::new(standing));
            consent::page(&app, &id.to_string(), &subject, person).await
        }
        Err(failing) => not_there(failing),
    }
}

/// A request that nobody is asked about any more, or that can't be granted.
pub(super) fn not_there(failing: Failing) -> Response {
    match failing {
        Failing::Failed(problem) if problem.code() == Code::Conflict => {
            Page::problem(StatusCode::CONFLICT, problem.detail()).into_response()
        }
        Failing::Failed(problem) => sign_in::failed(&problem),
        Failing::Refused(refusal) => {
            let text = format!("What it asks for can’t be granted: {}", refusal.description);
            Page::problem(StatusCode::CONFLICT, &text).into_response()
        }
    }
}

/// The person has answered, and the client comes for it by itself.
pub(super) fn done(approved: bool) -> Response {
    let (title, text) = if approved {
        ("You allowed it", "It can be seen where it was asked within a few seconds. You can close this page.")
    } else {
        ("You did not allow it", "Nothing was granted. You can close this page.")
    };
    let body = html! {
        p { (text) }
        p { a href=(REQUESTS) { "What else waits for your answer" } }
    };
    Page::new(title, body).into_response()
}

/// The page of a request.
pub(super) fn path(id: RequestId) -> String {
    format!("{REQUESTS}/{id}")
}

fn entry(app: &App, person: &SignedIn, code: Option<UserCode>, wrong: Option<&str>) -> Page {
    let token = form::token(app, CODE, &[person.session.to_string().as_bytes()]);
    let shown = code.map(|code| code.to_string()).unwrap_or_default();
    let body = html! {
        @if let Some(wrong) = wrong { p role="alert" { (wrong) } }
        @if code.is_some() {
            ul {
                li.warning {
                    "A link has brought this code. Go on only if a device that you have before you shows the same, and you have just begun it there yourself."
                }
            }
        } @else {
            p { "A device or program that you have just begun something on shows a code of eight letters." }
        }
        form method="post" action=(PAGE) {
            input type="hidden" name="token" value=(token);
            label for="user_code" { "The code" }
            input type="text" id="user_code" name="user_code" value=(shown) required autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="40" autofocus[code.is_none()];
            div.verdict { button.go type="submit" { @if code.is_some() { "The device shows this code" } @else { "Go on" } } }
        }
        p { "You are then told who asks and for what, before anything is allowed. Nobody who is entitled to ask will send you a code." }
        (signed_in(app, person, &code.map_or_else(|| PAGE.to_owned(), |code| format!("{PAGE}?user_code={code}"))))
    };
    Page::new("Connect a device", body)
}

fn signed_in(app: &App, person: &SignedIn, onward: &str) -> Markup {
    html! {
        footer {
            p { "You are signed in as " strong { (quoted(&person.user.name)) } "." }
            (sign_in::sign_out(app, person, onward))
        }
    }
}
