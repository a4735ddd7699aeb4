//! `/sign-in/with/{provider}` and `/sign-in/callback/{provider}`: a person signs in at an identity provider, or links what they
//! are called there to who they are here.
//!
//! The way there is a page that the browser goes on from by itself, and no redirect: a browser holds the policy of a page's
//! forms against what follows them, and that names no other origin.
//!
//! Invariant: where a person goes on afterwards is what they left with, and leads where a sign-in with a password would;
//! nothing that a provider sends is a place to go to, or markup.

use super::{
    account,
    code::{self, Ticket},
    cookies::{self, Cookie},
    form::{self, Form},
    html::Page,
    sign_in::{self, Next, SIGN_IN},
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    clock,
    people::{
        proof::{self, Elsewhere},
        provider::{self, Answer, Link, MOST, Unknown},
        session,
    },
    problem::Problem,
};
use axum::{
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use placet_core::{
    consent::{quoted, visible},
    id::{ProviderId, SessionId},
    provider::Document,
    refusal::Code,
    secret::Secret,
};
use placet_store::{
    Fault,
    providers::{self, Provider, Subject},
};
use std::sync::Arc;

/// The purpose of the token of the form that asks for a code.
const CODE: &str = "form_code_elsewhere";
/// How much is shown of what a provider says.
const SHOWN: usize = 300;

/// The buttons of the sign-in page. `hidden` are the members of its forms.
pub(super) async fn buttons(app: &App, hidden: &Markup) -> Markup {
    let found = app.store.read(|q| providers::list(q, None, MOST)).await;
    // Where they can't be read, signing in with a password can't be either, and says so.
    let found = found.unwrap_or_default();
    html! {
        @for provider in &found {
            form method="post" action={ "/sign-in/with/" (provider.document.handle) } {
                (hidden)
                div.verdict { button type="submit" { "Sign in with " (visible(&provider.document.name)) } }
            }
        }
    }
}

/// `POST /sign-in/with/{provider}`
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    Path(handle): Path<String>,
    source: Source,
    headers: HeaderMap,
    mut form: Form,
) -> Response {
    let next = Next { query: form.take("next"), ..Next::default() };
    let browser = Cookie::Form.read(&app, &headers);
    let bound = browser.filter(|browser| form::fits(&app, SIGN_IN, &[browser.expose()], form.text("token")));
    let Some(browser) = bound else {
        let wrong = "The form was not given to this browser, or its cookie is gone. Try again.";
        return refused(&app, &headers, &next, StatusCode::FORBIDDEN, wrong).await;
    };
    let provider = match of_way(&app, &headers, &next, handle).await {
        Ok(provider) => provider,
        Err(refused) => return refused,
    };
    match provider::leave(&app, &browser, &provider, &next.query, None, source).await {
        Ok(url) => on_the_way(&provider.document, &url).into_response(),
        Err(problem) => not_left(&app, &headers, &next, &problem).await,
    }
}

/// `GET /sign-in/callback/{provider}` (OpenID Connect Core §3.1.2.5)
pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    Path(handle): Path<String>,
    source: Source,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let nowhere = Next::default();
    let provider = match of_way(&app, &headers, &nowhere, handle).await {
        Ok(provider) => provider,
        Err(refused) => return refused,
    };
    let answer = read(query.as_deref().unwrap_or_default());
    let Some((answer, browser)) = answer.zip(Cookie::Form.read(&app, &headers)) else {
        return refused(&app, &headers, &nowhere, StatusCode::FORBIDDEN, TOO_LATE).await;
    };
    let back = match provider::comes_back(&app, &browser, &provider, answer, source).await {
        Ok(back) => back,
        Err(problem) if problem.code() == Code::TokenInvalid => {
            return refused(&app, &headers, &nowhere, StatusCode::FORBIDDEN, TOO_LATE).await;
        }
        Err(problem) => return sign_in::failed(&problem),
    };
    let next = Next { query: back.onward, ..Next::default() };
    let name = visible(&provider.document.name);
    let elsewhere = match back.who {
        Ok(elsewhere) => elsewhere,
        Err(unknown) => {
            let (status, wrong) = told(&provider.document, &unknown);
            return match back.session {
                Some(session) => not_linked(&app, &headers, session, &wrong).await,
                None => refused(&app, &headers, &next, status, &wrong).await,
            };
        }
    };
    if let Some(session) = back.session {
        return link(&app, &headers, session, elsewhere, &name, source).await;
    }
    match proof::of_elsewhere(&app, elsewhere.clone(), None, source).await {
        Ok(proven) => enter(&app, &headers, &next, proven, source).await,
        Err(problem) if problem.code() == Code::SecondFactorRequired => {
            let (id, subject) = (provider.id.to_string(), elsewhere.subject);
            let ticket = Ticket::new(&app, CODE, &browser, about(&id, &subject));
            ask_code(&provider.document.handle, &next, &ticket, &subject, None).into_response()
        }
        Err(problem) if problem.code() == Code::NotPermitted => {
            tracing::info!(
                provider = provider.document.handle,
                subject = elsewhere.subject,
                "somebody came back from an identity provider who is nobody here"
            );
            let wrong = format!(
                "You are signed in at {name}, but who you are there is not linked to anybody here. Sign in as you do otherwise and link it on your account page, or ask an administrator."
            );
            refused(&app, &headers, &next, StatusCode::FORBIDDEN, &wrong).await
        }
        Err(problem) => not_left(&app, &headers, &next, &problem).await,
    }
}

/// `POST /sign-in/with/{provider}/code`: the code of an authenticator app, after the provider's word
pub(crate) async fn submit_code(
    State(app): State<Arc<App>>,
    Path(handle): Path<String>,
    source: Source,
    headers: HeaderMap,
    mut form: Form,
) -> Response {
    let next = Next { query: form.take("next"), ..Next::default() };
    let provider = match of_way(&app, &headers, &next, handle).await {
        Ok(provider) => provider,
        Err(refused) => return refused,
    };
    let (ticket, subject) = (Ticket::sent(&mut form), form.take("subject"));
    let (browser, id) = (Cookie::Form.read(&app, &headers), provider.id.to_string());
    if !browser.is_some_and(|browser| ticket.fits(&app, CODE, &browser, about(&id, &subject))) {
        return refused(&app, &headers, &next, StatusCode::FORBIDDEN, TOO_LATE).await;
    }
    // A provider whose word counts for two factors gives no ticket.
    let elsewhere = Elsewhere { provider: provider.id, subject: subject.clone(), two_factors: false };
    match proof::of_elsewhere(&app, elsewhere, Some(code::typed(&form)), source).await {
        Ok(proven) => enter(&app, &headers, &next, proven, source).await,
        Err(problem) => {
            let (status, wrong) = code::not_taken(&problem);
            let page = ask_code(&provider.document.handle, &next, &ticket, &subject, Some(wrong));
            page.with_status(status).into_response()
        }
    }
}

/// `POST /account/providers`: leaves to find out what the person is called at a provider.
pub(crate) async fn leave_to_link(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    mut sent: account::Sent,
) -> Response {
    let left = async {
        let proven = sent.proven(&app).await?;
        let provider = named(&app, sent.form.take("provider")).await?.ok_or_else(provider::gone)?;
        let (browser, cookie) = match Cookie::Form.read(&app, &headers) {
            Some(browser) => (browser, None),
            None => {
                let browser = Secret::generated("", clock::entropy());
                let cookie = Cookie::Form.set(&app, &browser);
                (browser, cookie)
            }
        };
        let linking = Some((sent.person.session, proven));
        let url = provider::leave(&app, &browser, &provider, "", linking, sent.source).await?;
        Ok::<_, Problem>(on_the_way(&provider.document, &url).with_cookie(cookie))
    };
    match left.await {
        Ok(page) => page.into_response(),
        Err(problem) => account::refused(&app, &sent.person, &problem).await,
    }
}

/// `POST /account/providers/remove`
pub(crate) async fn unlink(State(app): State<Arc<App>>, mut sent: account::Sent) -> Response {
    let removed = async {
        let none = || Problem::of(Code::NotFound, "choose what is to be removed");
        let chosen = sent.form.take("link");
        let (provider, subject) = chosen.split_once(' ').ok_or_else(none)?;
        let provider: ProviderId = provider.parse().map_err(|_| none())?;
        let link = Link { provider, subject: subject.to_owned(), user: sent.person.user.id };
        let proven = sent.proven(&app).await?;
        provider::unlink(&app, link, sent.person.user.id.to_string(), Some(proven), sent.source).await
    };
    let removed = removed.await;
    account::done(&app, &sent.person, removed).await
}

/// The part of the account page.
pub(super) fn section(
    token: &Markup,
    fresh: impl Fn(&str) -> Markup,
    all: &[Provider],
    own: &[Subject],
) -> Markup {
    html! {
        @if !all.is_empty() {
            section {
                h2 { "Identity providers" }
                @if !own.is_empty() {
                    form method="post" action="/account/providers/remove" {
                        (token)
                        fieldset {
                            legend { "You can sign in with" }
                            @for one in own {
                                label {
                                    input type="radio" name="link" value={ (one.provider) " " (one.subject) } required;
                                    (visible(&one.document.name)) " as " (quoted(&one.subject)) ", since " (account::moment(one.created))
                                }
                            }
                        }
                        (fresh("unlink"))
                        div.verdict { button type="submit" { "Sign in with the chosen one no more" } }
                    }
                }
                form method="post" action="/account/providers" {
                    (token)
                    fieldset {
                        legend { "Add one" }
                        @for (index, provider) in all.iter().enumerate() {
                            label {
                                input type="radio" name="provider" value=(provider.document.handle) required checked[index == 0];
                                (visible(&provider.document.name))
                            }
                        }
                    }
                    (fresh("link"))
                    div.verdict { button type="submit" { "Sign in there, to sign in with it from then on" } }
                }
            }
        }
    }
}

/// The page from which the browser goes on to a provider.
fn on_the_way(document: &Document, url: &str) -> Page {
    let body = html! {
        p { a href=(url) rel="noreferrer" { "Go on to " (visible(&document.name)) } }
    };
    Page::new("On to where you sign in", body).going_on_to(url.to_owned())
}

/// Begins a session, and goes on.
async fn enter(
    app: &App,
    headers: &HeaderMap,
    next: &Next,
    proven: proof::Proven,
    source: Source,
) -> Response {
    match session::begin(app, proven, source).await {
        Ok(begun) => {
            app.rates.came_back(source);
            sign_in::entered(app, next, &begun)
        }
        Err(problem) => not_left(app, headers, next, &problem).await,
    }
}

/// Links whom the provider speaks of, in the session that left for it.
async fn link(
    app: &App,
    headers: &HeaderMap,
    session: SessionId,
    elsewhere: Elsewhere,
    name: &str,
    source: Source,
) -> Response {
    let person = match signed_in_as(app, headers, session).await {
        Ok(Some(person)) => person,
        Ok(None) => return not_linked(app, headers, session, "").await,
        Err(problem) => return sign_in::failed(&problem),
    };
    let linked = provider::link_own(app, &person, elsewhere, source).await;
    if linked.is_ok() {
        app.rates.came_back(source);
    }
    let linked = linked.map_err(|problem| match problem.code() {
        Code::Conflict => Problem::of(
            Code::Conflict,
            format!("who is signed in at {name} signs in here already, as you or as somebody else"),
        ),
        _ => problem,
    });
    account::done(app, &person, linked).await
}

/// The account page of the person who left for a provider, with why nothing came of it.
async fn not_linked(app: &App, headers: &HeaderMap, session: SessionId, wrong: &str) -> Response {
    match signed_in_as(app, headers, session).await {
        Ok(Some(person)) => account::refused(app, &person, &Problem::of(Code::NotPermitted, wrong)).await,
        Ok(None) => {
            let wrong = "You have signed out meanwhile. Nothing was linked.";
            refused(app, headers, &Next::default(), StatusCode::FORBIDDEN, wrong).await
        }
        Err(problem) => sign_in::failed(&problem),
    }
}

async fn signed_in_as(
    app: &App,
    headers: &HeaderMap,
    session: SessionId,
) -> Result<Option<SignedIn>, Problem> {
    let found = cookies::signed_in(app, headers).await?;
    Ok(found.map(|(person, _)| person).filter(|person| person.session == session))
}

/// The sign-in page with what was wrong.
async fn refused(app: &App, headers: &HeaderMap, next: &Next, status: StatusCode, wrong: &str) -> Response {
    sign_in::page(app, headers, next, Some(wrong)).await.with_status(status).into_response()
}

/// The same for a fault, or where somebody comes too often.
async fn not_left(app: &App, headers: &HeaderMap, next: &Next, problem: &Problem) -> Response {
    let (status, wrong) = match problem.code() {
        Code::TooManyRequests => sign_in::said(problem),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, problem.detail()),
        Code::NotFound | Code::TokenInvalid => (StatusCode::FORBIDDEN, GONE),
        _ => (StatusCode::BAD_REQUEST, problem.detail()),
    };
    refused(app, headers, next, status, wrong).await
}

const GONE: &str = "Nobody signs in this way any more.";
const TOO_LATE: &str = "This took too long, was done before, or was begun in another browser. Sign in again.";

/// Why it is not known who came back, in plain words.
fn told(document: &Document, unknown: &Unknown) -> (StatusCode, String) {
    let name = visible(&document.name);
    match unknown {
        Unknown::Refused(error, description) => {
            let text = match description {
                Some(text) => format!("{error}: {text}"),
                None => error.clone(),
            };
            let text: String = text.chars().take(SHOWN).collect();
            (StatusCode::FORBIDDEN, format!("{name} did not sign you in. It says: {}", visible(&text)))
        }
        Unknown::NotAnAnswer => {
            (StatusCode::FORBIDDEN, format!("What you came back with is no answer of {name}. Sign in again."))
        }
        Unknown::Secret => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("Signing in with {name} is not possible right now. Try again."),
        ),
        Unknown::Failed(error) => {
            tracing::warn!(provider = document.handle, %error, "an identity provider's word is not believed");
            if error.is_temporary() {
                let text = format!("{name} can’t be reached right now. Try again.");
                (StatusCode::SERVICE_UNAVAILABLE, text)
            } else {
                let text = format!(
                    "What {name} says can’t be believed; the server’s log says why. Nobody was signed in."
                );
                (StatusCode::FORBIDDEN, text)
            }
        }
    }
}

/// The live provider that a person is on the way to or from, or the page that says that there is none.
async fn of_way(app: &App, headers: &HeaderMap, next: &Next, handle: String) -> Result<Provider, Response> {
    match named(app, handle).await {
        Ok(Some(provider)) => Ok(provider),
        Ok(None) => Err(refused(app, headers, next, StatusCode::NOT_FOUND, GONE).await),
        Err(fault) => Err(sign_in::failed(&fault.into())),
    }
}

/// The live provider of a handle.
async fn named(app: &App, handle: String) -> Result<Option<Provider>, Fault> {
    app.store.read(move |q| providers::by_handle(q, &handle)).await
}

/// An answer, of which nothing is there twice.
fn read(query: &str) -> Option<Answer> {
    let mut answer = Answer::default();
    let mut state = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match name.as_ref() {
            "state" => &mut state,
            "code" => &mut answer.code,
            "iss" => &mut answer.iss,
            "error" => &mut answer.error,
            "error_description" => &mut answer.description,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return None;
        }
    }
    answer.state = state?;
    Some(answer)
}

/// What a ticket is about: of whom which provider has spoken.
fn about<'a>(provider: &'a str, subject: &'a str) -> [&'a [u8]; 2] {
    [provider.as_bytes(), subject.as_bytes()]
}

/// The page that asks for a code.
fn ask_code(handle: &str, next: &Next, ticket: &Ticket, subject: &str, wrong: Option<&str>) -> Page {
    let action = format!("/sign-in/with/{handle}/code");
    ticket.page(&action, &[("subject", subject), ("next", &next.query)], wrong)
}
