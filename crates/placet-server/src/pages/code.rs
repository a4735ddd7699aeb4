//! The page that asks for the code of an authenticator app, once something else was right, and the ticket on it that says so.
//! Nothing is kept meanwhile.
//!
//! Invariant: a ticket is good in the browser that it was given to, for what it was given about, and for [`WITHIN`].

use super::{
    form::{self, Form},
    html::Page,
    sign_in,
};
use crate::{app::App, problem::Problem};
use axum::http::StatusCode;
use maud::html;
use placet_core::{refusal::Code, secret::Secret, time::Timestamp};
use std::time::Duration;

/// How long a person has to type a code.
const WITHIN: Duration = Duration::from_secs(300);

/// That something was right, when and where.
pub(super) struct Ticket {
    since: String,
    token: String,
}

impl Ticket {
    /// Of now. `about` is what was right, under a purpose of its own.
    pub(super) fn new(app: &App, purpose: &str, browser: &Secret, about: [&[u8]; 2]) -> Self {
        let since = app.clock.now().as_micros().to_string();
        let token = form::token(app, purpose, &parts(browser, &since, about));
        Self { since, token }
    }

    /// The one that a form carries, good or not.
    pub(super) fn sent(form: &mut Form) -> Self {
        Self { since: form.take("since"), token: form.take("token") }
    }

    /// Whether it is good here and now.
    pub(super) fn fits(&self, app: &App, purpose: &str, browser: &Secret, about: [&[u8]; 2]) -> bool {
        let Ok(since) = self.since.parse() else { return false };
        let (since, now) = (Timestamp::from_micros(since), app.clock.now());
        since <= now
            && now < since.plus(WITHIN)
            && form::fits(app, purpose, &parts(browser, &self.since, about), &self.token)
    }

    /// The page. Its form goes to `action`, with these hidden members besides.
    pub(super) fn page(&self, action: &str, members: &[(&str, &str)], wrong: Option<&str>) -> Page {
        let body = html! {
            @if let Some(wrong) = wrong { p role="alert" { (wrong) } }
            p { "The code that your authenticator app shows now, or one of your recovery codes." }
            form method="post" action=(action) {
                input type="hidden" name="token" value=(self.token);
                input type="hidden" name="since" value=(self.since);
                @for (name, value) in members { input type="hidden" name=(name) value=(value); }
                label for="code" { "Code" }
                input type="text" id="code" name="code" required autocomplete="one-time-code" autocapitalize="none" spellcheck="false" autofocus;
                div.verdict { button.go type="submit" { "Sign in" } }
            }
            p { a href="/sign-in" { "Begin again" } }
        };
        Page::new("One more step", body)
    }
}

fn parts<'a>(browser: &'a Secret, since: &'a str, [what, more]: [&'a [u8]; 2]) -> [&'a [u8]; 4] {
    [browser.expose(), since.as_bytes(), what, more]
}

/// The code that was typed. A missing one is a wrong one.
pub(super) fn typed(form: &Form) -> &str {
    Some(form.text("code")).filter(|code| !code.trim().is_empty()).unwrap_or("-")
}

/// What is said where it was not taken.
pub(super) fn not_taken(problem: &Problem) -> (StatusCode, &'static str) {
    match problem.code() {
        Code::SecondFactorRequired => {
            (StatusCode::FORBIDDEN, "The code is wrong, or was used. Wait for the next one.")
        }
        _ => sign_in::said(problem),
    }
}
