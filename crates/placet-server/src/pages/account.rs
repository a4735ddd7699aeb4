//! `/account`: how a person signs in, and where they are signed in.
//!
//! Every form works without a script, but those of passkeys, which a browser makes by one.
//!
//! Invariant: a person sees and changes their own and nobody else's; each form is bound to their session, and what changes
//! how they sign in wants the password once more, and a code where codes are asked for, or ends what began with them.

pub(crate) mod passkeys;
pub(crate) mod totp;

use super::{
    connect, cookies,
    form::{self, Form},
    html::{Page, see_other},
    provider, sign_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    people::{
        factors::{self, Factors},
        proof::{self, Proven},
        provider::MOST,
        session,
    },
    problem::Problem,
};
use axum::{
    extract::{FromRequest, FromRequestParts as _, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use placet_core::{consent::quoted, id::SessionId, refusal::Code, time::Timestamp, user::BeganWith};
use placet_store::{
    Fault, providers,
    sessions::{self, Session},
};
use std::sync::Arc;

/// Where the page is.
pub(super) const ACCOUNT: &str = "/account";
/// The purpose of the forms' token.
const FORM: &str = "form_account";
/// How many sessions are shown, the newest first.
const SESSIONS: usize = 200;

/// `GET /account`
pub(crate) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => page(&app, &person, None).await,
        Ok(None) => sign_in::before(&app, &headers, ACCOUNT.to_owned()).await,
        Err(problem) => sign_in::failed(&problem),
    }
}

/// `POST /account/session`: ends one of the person's sessions.
pub(crate) async fn end_session(State(app): State<Arc<App>>, sent: Sent) -> Response {
    let Sent { person, form, source } = sent;
    let Ok(id) = form.text("session").parse::<SessionId>() else {
        return page(&app, &person, Some("There is no such session.")).await;
    };
    let found = match app.store.read(move |q| sessions::find(q, id)).await {
        Ok(found) => found.filter(|found| found.user == person.user.id),
        Err(fault) => return sign_in::failed(&fault.into()),
    };
    let Some(found) = found else { return page(&app, &person, Some("There is no such session.")).await };
    match session::finish(&app, &found, person.user.id.to_string(), source).await {
        Ok(()) => see_other(ACCOUNT),
        Err(problem) => sign_in::failed(&problem),
    }
}

/// `POST /account/password`
pub(crate) async fn password(State(app): State<Arc<App>>, mut sent: Sent) -> Response {
    let (new, same) = (sent.form.take("new"), sent.form.take("same"));
    if new != same {
        return page(&app, &sent.person, Some("The two new passwords differ. Nothing was changed.")).await;
    }
    let changed = async {
        let proven = sent.proven(&app).await?;
        factors::change_password(&app, proven, sent.person.session, new, sent.source).await
    };
    let changed = changed.await;
    done(&app, &sent.person, changed).await
}

/// A form of the account, given to the session of who sends it.
pub(crate) struct Sent {
    pub(super) person: SignedIn,
    pub(super) form: Form,
    pub(super) source: Source,
}

impl FromRequest<Arc<App>> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(source) = Source::from_request_parts(&mut parts, app).await;
        let headers = parts.headers.clone();
        let form = Form::from_request(Request::from_parts(parts, body), app).await?;
        let (person, _) = match cookies::signed_in(app, &headers).await {
            Ok(Some(found)) => found,
            // The page asks who it is, and the form is filled in once more.
            Ok(None) => return Err(see_other(ACCOUNT)),
            Err(problem) => return Err(sign_in::failed(&problem)),
        };
        if form::fits(app, FORM, &[person.session.to_string().as_bytes()], form.text("token")) {
            return Ok(Self { person, form, source });
        }
        let text = "The form was not given to this session. Nothing was done.";
        Err(Page::problem(StatusCode::FORBIDDEN, text).into_response())
    }
}

impl Sent {
    /// Who they are, shown once more in the form.
    pub(super) async fn proven(&mut self, app: &App) -> Result<Proven, Problem> {
        let (password, code) = (self.form.take("password"), self.form.take("code"));
        proof::again(app, &self.person, password, Some(&code), self.source).await
    }
}

/// The account after a change, or why there was none.
pub(super) async fn done(app: &App, person: &SignedIn, changed: Result<(), Problem>) -> Response {
    match changed {
        Ok(()) => see_other(ACCOUNT),
        Err(problem) => refused(app, person, &problem).await,
    }
}

/// The account, with why nothing was changed.
pub(super) async fn refused(app: &App, person: &SignedIn, problem: &Problem) -> Response {
    match problem.code() {
        Code::Unavailable | Code::Internal => sign_in::failed(problem),
        _ => page(app, person, Some(problem.detail())).await,
    }
}

/// The hidden member that every form of the account has.
pub(super) fn token(app: &App, person: &SignedIn) -> Markup {
    let token = form::token(app, FORM, &[person.session.to_string().as_bytes()]);
    html! { input type="hidden" name="token" value=(token); }
}

/// What is asked for before anything is changed about how a person signs in. `form` keeps the fields of a page apart.
pub(super) fn fresh(person: &SignedIn, form: &str, factors: &Factors) -> Markup {
    let (password, code) = (format!("{form}-password"), format!("{form}-code"));
    html! {
        // For what keeps passwords.
        input type="text" hidden autocomplete="username" value=(person.user.name);
        label for=(password) { "Your password" }
        input type="password" id=(password) name="password" required autocomplete="current-password";
        @if factors.totp.is_some() {
            label for=(code) { "A code of your authenticator app, or a recovery code" }
            input type="text" id=(code) name="code" required autocomplete="one-time-code" autocapitalize="none" spellcheck="false";
        }
    }
}

async fn page(app: &App, person: &SignedIn, wrong: Option<&str>) -> Response {
    let (id, now) = (person.user.id, app.clock.now());
    let found = app
        .store
        .read(move |q| {
            let sessions = sessions::live(q, id, now, SESSIONS)?;
            let all = providers::list(q, None, MOST)?;
            Ok::<_, Fault>((sessions, Factors::of(q, id)?, all, providers::of_user(q, id)?))
        })
        .await;
    let (sessions, factors, all, own) = match found {
        Ok(found) => found,
        Err(fault) => return sign_in::failed(&fault.into()),
    };
    let elsewhere = match connect::section(app, person).await {
        Ok(elsewhere) => elsewhere,
        Err(problem) => return sign_in::failed(&problem),
    };
    let body = html! {
        @if let Some(wrong) = wrong { p role="alert" { (placet_core::consent::visible(wrong)) } }
        p { "You are " strong { (quoted(&person.user.name)) } "." }
        section {
            h2 { "Authenticator app" }
            (totp::section(app, person, &factors))
        }
        section {
            h2 { "Passkeys" }
            (passkeys::section(app, person, &factors))
        }
        (provider::section(&token(app, person), |form| fresh(person, form, &factors), &all, &own))
        (elsewhere)
        section {
            h2 { "Password" }
            form method="post" action="/account/password" {
                (token(app, person))
                (fresh(person, "change", &factors))
                label for="new" { "A new password" }
                input type="password" id="new" name="new" required minlength="12" autocomplete="new-password";
                label for="same" { "The same again" }
                input type="password" id="same" name="same" required minlength="12" autocomplete="new-password";
                div.verdict { button type="submit" { "Change the password" } }
            }
            p { "This ends your other sessions." }
        }
        section {
            h2 { "Where you are signed in" }
            ul { @for session in &sessions { (listed(app, person, session)) } }
        }
        footer { (sign_in::sign_out(app, person, "")) }
    };
    let page = Page::new("Your account", body);
    let status = if wrong.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    page.with_status(status).into_response()
}

fn listed(app: &App, person: &SignedIn, session: &Session) -> Markup {
    html! {
        li {
            "Since " (moment(session.created))
            @if let Some(began_with) = session.began_with { ", with " (words(began_with)) }
            @if session.id == person.session {
                " (here)"
            } @else {
                form method="post" action="/account/session" {
                    (token(app, person))
                    input type="hidden" name="session" value=(session.id);
                    button.quiet type="submit" { "End it" }
                }
            }
        }
    }
}

const fn words(began_with: BeganWith) -> &'static str {
    match began_with {
        BeganWith::Password => "the password",
        BeganWith::PasswordAndTotp => "the password and a code",
        BeganWith::PasswordAndRecoveryCode => "the password and a recovery code",
        BeganWith::Passkey => "a passkey",
        BeganWith::Provider => "an identity provider",
        BeganWith::ProviderAndTotp => "an identity provider and a code",
        BeganWith::ProviderAndRecoveryCode => "an identity provider and a recovery code",
    }
}

/// A time to the minute, as people read it.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let minutes = text.get(..16).unwrap_or(&text);
    format!("{} UTC", minutes.replace('T', " "))
}
