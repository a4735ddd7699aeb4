//! The authenticator app on the account page: set up, confirmed, removed; and the recovery codes for when it is lost.
//!
//! Invariant: a secret and recovery codes are on one page once, and in no other answer.

use super::{Sent, done, fresh, moment, refused, token};
use crate::{
    app::App,
    caller::SignedIn,
    pages::{html::Page, qr},
    people::factors::{self, Enrolment, Factors},
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use placet_core::{refusal::Code, secret::Secret};
use std::sync::Arc;

/// `POST /account/totp`: the page with a new secret.
pub(crate) async fn enrol(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let begun = async { factors::enrol(&app, sent.proven(&app).await?, sent.source).await };
    match begun.await {
        Ok(enrolment) => asked(&app, &sent.person, Some(&enrolment), None).into_response(),
        Err(problem) => refused(&app, &sent.person, &problem).await,
    }
}

/// `POST /account/totp/confirm`: from now on a code is asked for; the page with the recovery codes.
pub(crate) async fn confirm(State(app): State<Arc<App>>, sent: Sent) -> Response {
    let Sent { person, form, source } = sent;
    match factors::confirm(&app, &person, form.text("code"), source).await {
        Ok(codes) => told(&codes).into_response(),
        Err(problem) if problem.code() == Code::NotPermitted => {
            asked(&app, &person, None, Some(problem.detail()))
                .with_status(StatusCode::FORBIDDEN)
                .into_response()
        }
        Err(problem) => refused(&app, &person, &problem).await,
    }
}

/// `POST /account/totp/remove`
pub(crate) async fn remove(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let removed = async { factors::remove_totp(&app, sent.proven(&app).await?, sent.source).await };
    let removed = removed.await;
    done(&app, &sent.person, removed).await
}

/// `POST /account/recovery-codes`: the page with new ones.
pub(crate) async fn recovery_codes(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let renewed = async { factors::renew_recovery_codes(&app, sent.proven(&app).await?, sent.source).await };
    match renewed.await {
        Ok(codes) => told(&codes).into_response(),
        Err(problem) => refused(&app, &sent.person, &problem).await,
    }
}

/// The part of the account page.
pub(super) fn section(app: &App, person: &SignedIn, factors: &Factors) -> Markup {
    let Some(since) = factors.totp else {
        return html! {
            p { "With an app on your phone, a password alone signs nobody in as you." }
            form method="post" action="/account/totp" {
                (token(app, person))
                (fresh(person, "totp", factors))
                div.verdict { button type="submit" { "Set up an authenticator app" } }
            }
        };
    };
    html! {
        p { "A code of your app is asked for since " (moment(since)) "." }
        p { "You have " strong { (factors.recovery_codes) } " unused recovery codes." }
        form method="post" action="/account/recovery-codes" {
            (token(app, person))
            (fresh(person, "recovery", factors))
            div.verdict { button type="submit" { "Make new recovery codes" } }
        }
        form method="post" action="/account/totp/remove" {
            (token(app, person))
            (fresh(person, "remove", factors))
            div.verdict { button type="submit" { "Remove the app" } }
        }
    }
}

/// The page that asks for the first code; with the secret where it was just made.
fn asked(app: &App, person: &SignedIn, enrolment: Option<&Enrolment>, wrong: Option<&str>) -> Page {
    let body = html! {
        @if let Some(wrong) = wrong {
            p role="alert" { (wrong) }
            p { "The secret is not shown again. If the app has not got it, begin anew." }
        }
        @if let Some(enrolment) = enrolment {
            p { "Read this with your authenticator app, or type the secret into it. It is shown once." }
            @if let Some(drawing) = qr::drawn(&enrolment.url) { (drawing) }
            p { "Secret: " code { (enrolment.secret.expose_str().unwrap_or_default()) } }
            p { "As a link: " code { (enrolment.url.expose_str().unwrap_or_default()) } }
        }
        form method="post" action="/account/totp/confirm" {
            (token(app, person))
            label for="code" { "The code that the app shows now" }
            input type="text" id="code" name="code" required autocomplete="one-time-code" inputmode="numeric" spellcheck="false" autofocus;
            div.verdict { button.go type="submit" { "Confirm" } }
        }
        p { "Nothing changes before you confirm. Your other sessions end then." }
        p { a href="/account" { "Leave it" } }
    };
    Page::new("Set up an authenticator app", body)
}

/// The page with recovery codes.
fn told(codes: &[Secret]) -> Page {
    let body = html! {
        p { "Each of these does in place of a code of your app, once. Keep them where you find them when the app is lost. They are not shown again." }
        ul.codes { @for code in codes { li { code { (code.expose_str().unwrap_or_default()) } } } }
        p { a href="/account" { "I have kept them" } }
    };
    Page::new("Your recovery codes", body)
}
