//! `/sign-in` and `/sign-out`: a browser session, which is a session like any other (`/v1/sessions`).
//!
//! Where a person has an authenticator app, the password leads to a page that asks for a code. Nothing is kept meanwhile:
//! the page carries a ticket that says whose password was right, when, in which browser, and is worth nothing once the
//! password was changed.
//!
//! Where a person came from an authorization request, that stands in the form as a query, and the only place that it
//! leads to is the authorization endpoint of this origin; where they came from the account page, or a page of
//! [`super::requests`] or [`super::connect`], its path does, and no other path.
//!
//! Invariant: an unknown name and a wrong password look the same and take as long; a sign-in gives a new session token,
//! whatever the browser had before.

use super::{
    account::{self, ACCOUNT},
    code::{self, Ticket},
    connect,
    cookies::{self, Cookie},
    form::{self, Form},
    html::{Page, see_other},
    provider,
    requests::{REQUESTS, path},
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    clock,
    oauth::device::PAGE,
    people::{
        passkeys,
        proof::{self, Proven},
        session::{self, Begun},
    },
    problem::Problem,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use placet_core::{consent::quoted, refusal::Code, secret::Secret, waiting::UserCode};
use std::sync::Arc;

/// The purposes of the forms' tokens.
pub(super) const SIGN_IN: &str = "form_sign_in";
const CODE: &str = "form_code";
const SIGN_OUT: &str = "form_sign_out";

/// Where a person goes on after signing in.
#[derive(Debug, Clone, Default)]
pub(super) struct Next {
    /// The query of an authorization request, or the path of a page; empty: none.
    pub(super) query: String,
    /// Where the client is answered, as a source of a policy.
    pub(super) leads_to: Option<String>,
    /// The name that the client expects.
    pub(super) name: String,
}

/// `GET /`
pub(crate) async fn home() -> Response {
    see_other("/sign-in")
}

/// `GET /sign-in`
pub(crate) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => {
            let body = html! {
                p { "You are signed in as " strong { (quoted(&person.user.name)) } "." }
                p { a href=(REQUESTS) { "What waits for your answer" } }
                p { a href=(PAGE) { "Enter the code that a device shows" } }
                p { a href=(ACCOUNT) { "How you sign in, and where you are signed in" } }
                (sign_out(&app, &person, ""))
            };
            Page::new("Signed in", body).into_response()
        }
        Ok(None) => page(&app, &headers, &Next::default(), None).await.into_response(),
        Err(problem) => failed(&problem),
    }
}

/// The page that asks who it is, where somebody wants to see another one: it leads back there.
pub(super) async fn before(app: &App, headers: &HeaderMap, path: String) -> Response {
    page(app, headers, &Next { query: path, ..Next::default() }, None).await.into_response()
}

/// The page that asks who it is.
pub(super) async fn page(app: &App, headers: &HeaderMap, next: &Next, wrong: Option<&str>) -> Page {
    let known = Cookie::Form.read(app, headers);
    let (browser, cookie) = match known {
        Some(browser) => (browser, None),
        None => {
            let browser = Secret::generated("", clock::entropy());
            let cookie = Cookie::Form.set(app, &browser);
            (browser, cookie)
        }
    };
    let token = form::token(app, SIGN_IN, &[browser.expose()]);
    let hidden = html! {
        input type="hidden" name="token" value=(token);
        input type="hidden" name="next" value=(next.query);
    };
    let passkey = account::passkeys::sign_in(app, &browser, &hidden);
    let providers = provider::buttons(app, &hidden).await;
    let body = html! {
        @if let Some(wrong) = wrong { p role="alert" { (wrong) } }
        form method="post" action="/sign-in" {
            (hidden)
            label for="name" { "Name" }
            input type="text" id="name" name="name" value=(next.name) required autocomplete="username" autocapitalize="none" spellcheck="false" autofocus[next.name.is_empty()];
            label for="password" { "Password" }
            input type="password" id="password" name="password" required autocomplete="current-password" autofocus[!next.name.is_empty()];
            div.verdict { button.go type="submit" { "Sign in" } }
        }
        (passkey)
        (providers)
        @if !next.query.is_empty() && own_page(&next.query).is_none() {
            p { "You will then be asked whether an agent may act on your behalf." }
        }
    };
    let page = Page::new("Sign in", body).with_cookie(cookie);
    let page = if passkeys::rp_id(app).is_some() { page.with_passkeys() } else { page };
    match &next.leads_to {
        Some(source) => page.leading_to(source.clone()),
        None => page,
    }
}

/// `POST /sign-in`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    mut form: Form,
) -> Response {
    let next = Next { query: form.take("next"), name: form.take("name"), leads_to: None };
    let browser = Cookie::Form.read(&app, &headers);
    let fits = browser
        .as_ref()
        .is_some_and(|browser| form::fits(&app, SIGN_IN, &[browser.expose()], form.text("token")));
    if !fits {
        // Cookies are off, or the form was another browser's.
        let wrong = "The form was not given to this browser, or its cookie is gone. Try again.";
        return page(&app, &headers, &next, Some(wrong))
            .await
            .with_status(StatusCode::FORBIDDEN)
            .into_response();
    }
    let (name, password) = (next.name.clone(), form.take("password"));
    let known = match proof::by_password(&app, &name, password, source).await {
        Ok(known) => known,
        Err(problem) => return again(&app, &headers, &next, &problem).await,
    };
    let about = [name.as_bytes(), known.password().as_bytes()];
    let ticket = browser.map(|browser| Ticket::new(&app, CODE, &browser, about));
    match (proof::with_code(&app, known, None, source).await, ticket) {
        (Ok(proven), _) => enter(&app, &headers, &next, proven, source).await,
        (Err(problem), Some(ticket)) if problem.code() == Code::SecondFactorRequired => {
            ask_code(&next, &ticket, None).into_response()
        }
        (Err(problem), _) => again(&app, &headers, &next, &problem).await,
    }
}

/// `POST /sign-in/code`
pub(crate) async fn submit_code(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    mut form: Form,
) -> Response {
    let next = Next { query: form.take("next"), name: form.take("name"), leads_to: None };
    let ticket = Ticket::sent(&mut form);
    let browser = Cookie::Form.read(&app, &headers);
    let is_it = |password: &str| {
        let about = [next.name.as_bytes(), password.as_bytes()];
        browser.as_ref().is_some_and(|browser| ticket.fits(&app, CODE, browser, about))
    };
    let known = match proof::by_ticket(&app, &next.name, is_it, source).await {
        Ok(known) => known,
        Err(problem) if problem.code() == Code::TokenInvalid => {
            let wrong = "This took too long, or was begun in another browser. Sign in again.";
            return page(&app, &headers, &next, Some(wrong))
                .await
                .with_status(StatusCode::FORBIDDEN)
                .into_response();
        }
        Err(problem) => return again(&app, &headers, &next, &problem).await,
    };
    match proof::with_code(&app, known, Some(code::typed(&form)), source).await {
        Ok(proven) => enter(&app, &headers, &next, proven, source).await,
        Err(problem) => {
            let (status, wrong) = code::not_taken(&problem);
            ask_code(&next, &ticket, Some(wrong)).with_status(status).into_response()
        }
    }
}

/// `POST /sign-in/passkey`
pub(crate) async fn submit_passkey(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    mut form: Form,
) -> Response {
    let next = Next { query: form.take("next"), ..Next::default() };
    let browser = Cookie::Form.read(&app, &headers);
    let bound = browser.filter(|browser| form::fits(&app, SIGN_IN, &[browser.expose()], form.text("token")));
    let refused = async |status, wrong| {
        page(&app, &headers, &next, Some(wrong)).await.with_status(status).into_response()
    };
    let Some(browser) = bound else {
        let wrong = "The form was not given to this browser, or its cookie is gone. Try again.";
        return refused(StatusCode::FORBIDDEN, wrong).await;
    };
    const WRONG: &str =
        "The passkey is not known here, or this took too long. Try again, or use your password.";
    let Some((challenge, asserted)) = account::passkeys::answer(&form) else {
        return refused(StatusCode::BAD_REQUEST, WRONG).await;
    };
    let begun = match passkeys::proof(&app, &browser, &challenge, asserted, source).await {
        Ok(proven) => session::begin(&app, proven, source).await,
        Err(problem) => Err(problem),
    };
    match begun {
        Ok(begun) => entered(&app, &next, &begun),
        Err(problem) if problem.code() == Code::TokenInvalid => refused(StatusCode::FORBIDDEN, WRONG).await,
        Err(problem) => again(&app, &headers, &next, &problem).await,
    }
}

/// The page that asks for a code.
fn ask_code(next: &Next, ticket: &Ticket, wrong: Option<&str>) -> Page {
    ticket.page("/sign-in/code", &[("name", &next.name), ("next", &next.query)], wrong)
}

/// Begins a session with a proof, and goes on.
async fn enter(app: &App, headers: &HeaderMap, next: &Next, proven: Proven, source: Source) -> Response {
    match session::begin(app, proven, source).await {
        Ok(begun) => entered(app, next, &begun),
        Err(problem) => again(app, headers, next, &problem).await,
    }
}

/// Goes on with a session that has just begun.
pub(super) fn entered(app: &App, next: &Next, begun: &Begun) -> Response {
    let mut response = see_other(&onward(&next.query));
    if let Some(cookie) = Cookie::Session.set(app, &begun.token) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The page once more, with what was wrong.
async fn again(app: &App, headers: &HeaderMap, next: &Next, problem: &Problem) -> Response {
    let (status, wrong) = said(problem);
    page(app, headers, next, Some(wrong)).await.with_status(status).into_response()
}

pub(super) fn said(problem: &Problem) -> (StatusCode, &'static str) {
    match problem.code() {
        Code::TokenInvalid => (StatusCode::FORBIDDEN, "Name or password is wrong."),
        Code::SecondFactorRequired => {
            (StatusCode::FORBIDDEN, "The code was used a moment ago. Sign in again.")
        }
        Code::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "Too many attempts. Try again in a while."),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "Signing in is not possible right now. Try again."),
    }
}

/// `POST /sign-out`
pub(crate) async fn out(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let (person, found) = match cookies::signed_in(&app, &headers).await {
        Ok(Some(found)) => found,
        Ok(None) => return see_other("/sign-in"),
        Err(problem) => return failed(&problem),
    };
    if !form::fits(&app, SIGN_OUT, &[person.session.to_string().as_bytes()], form.text("token")) {
        return Page::problem(
            StatusCode::FORBIDDEN,
            "The form was not given to this session. Nothing was done.",
        )
        .into_response();
    }
    if let Err(problem) = session::finish(&app, &found, person.user.id.to_string(), source).await {
        return failed(&problem);
    }
    let mut response = see_other(&onward(form.text("next")));
    if let Some(cookie) = Cookie::Session.forget(&app) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The form that signs out, and goes on with an authorization request where there is one.
pub(super) fn sign_out(app: &App, person: &SignedIn, query: &str) -> Markup {
    let token = form::token(app, SIGN_OUT, &[person.session.to_string().as_bytes()]);
    html! {
        form method="post" action="/sign-out" {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="next" value=(query);
            button.quiet type="submit" { "Sign out" }
        }
    }
}

/// A fault of ours, on a page.
pub(super) fn failed(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Page::problem(status, problem.detail()).into_response()
}

/// Where a person goes on: a path of this origin, whatever the query is. Whoever has just signed in is not asked to sign
/// in once more.
fn onward(query: &str) -> String {
    if query.is_empty() {
        return "/sign-in".to_owned();
    }
    if let Some(path) = own_page(query) {
        return path;
    }
    let mut kept = form_urlencoded::Serializer::new(String::new());
    kept.extend_pairs(form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "prompt"));
    format!("/oauth/authorize?{}", kept.finish())
}

/// The path that this is, where it is that of a page of this origin that a person can be led back to; written anew, so that it is
/// nothing else.
fn own_page(text: &str) -> Option<String> {
    if [PAGE, REQUESTS, ACCOUNT].contains(&text) {
        return Some(text.to_owned());
    }
    if text.starts_with(connect::CONNECT) {
        return connect::own_path(text);
    }
    let code = text.strip_prefix(PAGE).and_then(|rest| rest.strip_prefix("?user_code="));
    if let Some(code) = code.and_then(UserCode::parse) {
        return Some(format!("{PAGE}?user_code={code}"));
    }
    text.strip_prefix(REQUESTS)?.strip_prefix('/')?.parse().ok().map(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_signed_in_goes_on_to_a_page_of_this_origin_and_nowhere_else() {
        for (next, leads) in
            [("", "/sign-in"), ("/account", "/account"), ("/device", "/device"), ("/requests", "/requests")]
        {
            assert_eq!(onward(next), leads);
        }
        // Whatever else it is becomes the query of an authorization request, which says itself what is wrong with it.
        for elsewhere in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/account",
            "/account/../../evil",
            "/account?next=https://evil.example",
            "/account\r\nLocation: https://evil.example",
            "account",
            "/account/",
            "/ACCOUNT",
            "javascript:alert(1)",
            "/connect//evil.example",
            "/requests/../x",
        ] {
            let leads = onward(elsewhere);
            assert!(
                leads.starts_with("/oauth/authorize?") && !leads.contains(['\r', '\n']),
                "{elsewhere}: {leads}"
            );
        }
    }
}
