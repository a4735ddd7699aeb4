//! The question, and `POST /consent`: the person's answer.
//!
//! The form carries the request as it came, and a token that binds it to this session, to the time, and to exactly what
//! the page said would be granted. What would be granted is worked out again when the answer comes; where it is not what
//! was shown, the page is shown anew.
//!
//! Invariant: only what a person saw is granted, to whom they saw, in their own name; and each answer is for one
//! request.

use super::{
    authorize::{answered, back},
    cookies, form,
    form::Form,
    html::{Page, see_other},
    requests::{done, not_there, path},
    sign_in,
};
use crate::{
    app::App,
    caller::{SignedIn, Source},
    consent::{self, Failing, LASTS, Sought, USUAL},
    oauth::{
        authorize::{self, Asked},
        code,
    },
    requests::{self, Standing},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::html;
use placet_core::{
    authorize::redirect,
    consent::{Line, Part, Way, quoted},
    id::RequestId,
    time::Timestamp,
};
use std::{sync::Arc, time::Duration};

/// The purpose of the form's token.
const CONSENT: &str = "form_consent";
/// How long a page can be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// Who asks, in whatever way.
pub(super) enum Subject {
    /// By the browser, which is sent back.
    Browser(Box<Asked>),
    /// From elsewhere, where the answer is waited for.
    Waiting(Box<Standing>),
}

impl Subject {
    fn sought(&self) -> &Sought {
        match self {
            Self::Browser(asked) => &asked.sought,
            Self::Waiting(standing) => &standing.sought,
        }
    }

    /// The subject of a request as a form carries it: a query, or the id of one that waits.
    async fn of(app: &App, request: &str, person: &SignedIn) -> Result<Self, Response> {
        if let Ok(id) = request.parse::<RequestId>() {
            let found = requests::find(app, person, id).await.map_err(not_there)?;
            return Ok(Self::Waiting(Box::new(found)));
        }
        let asked = authorize::requested(app, request, ANSWERED_WITHIN).await.map_err(answered)?;
        Ok(Self::Browser(Box::new(asked)))
    }

    /// Nothing is granted: whoever is to know is told.
    fn fails(&self, failing: Failing) -> Response {
        match (self, failing) {
            (Self::Browser(asked), Failing::Refused(refusal)) => back(&asked.back, &refusal),
            (_, failing) => not_there(failing),
        }
    }
}

/// Where a request is looked at again.
fn again(request: &str) -> Response {
    match request.parse::<RequestId>() {
        Ok(id) => see_other(&path(id)),
        Err(_) => see_other(&format!("/oauth/authorize?{request}")),
    }
}

/// The page.
pub(super) async fn page(app: &Arc<App>, request: &str, subject: &Subject, person: SignedIn) -> Response {
    let now = app.clock.now();
    let drafted = match consent::draft(app, subject.sought(), &person, now).await {
        Ok(drafted) => drafted,
        Err(failing) => return subject.fails(failing),
    };
    let (parts, leads_to) = match subject {
        Subject::Browser(asked) => {
            let way = Way::Browser(asked.back.to());
            let parts = drafted.parts(app, &asked.sought, &person, way, now);
            (parts, Some(redirect::form_action(asked.back.to())))
        }
        Subject::Waiting(standing) => (standing.parts(app, &drafted, &person, now), None),
    };
    let shown = now.as_micros().to_string();
    let digest = drafted.digest(&subject.sought().client);
    let bound = Bound::new(&person, subject, request, &shown, digest);
    let token = form::token(app, CONSENT, &bound.each());
    let onward = match subject {
        Subject::Browser(_) => request.to_owned(),
        Subject::Waiting(standing) => path(standing.waiting.id),
    };
    let body = html! {
        @for part in &parts { (said(part)) }
        form method="post" action="/consent" {
            input type="hidden" name="request" value=(request);
            input type="hidden" name="shown" value=(shown);
            input type="hidden" name="token" value=(token);
            fieldset {
                legend { "For how long" }
                @for (value, words, _) in LASTS {
                    label {
                        input type="radio" name="lasts" value=(value) checked[value == USUAL];
                        (words)
                    }
                }
            }
            p { "You can take this back at any time." }
            div.verdict {
                // The first is what the enter key does.
                button type="submit" name="verdict" value="deny" { "Do not allow" }
                button.go type="submit" name="verdict" value="approve" { "Allow" }
            }
        }
        footer {
            p { "You are signed in as " strong { (quoted(&person.user.name)) } "." }
            (sign_in::sign_out(app, &person, &onward))
        }
    };
    let page = Page::new("May this agent act on your behalf?", body);
    match leads_to {
        Some(source) => page.leading_to(source).into_response(),
        None => page.into_response(),
    }
}

fn said(part: &Part) -> maud::Markup {
    html! {
        section {
            h2 { (part.title) }
            ul {
                @for line in &part.lines {
                    @match line {
                        Line::Plain(text) => li { (text) },
                        Line::Warning(text) => li.warning { (text) },
                        Line::Claimed(text) => li.claimed { (text) },
                    }
                }
            }
        }
    }
}

/// `POST /consent`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let (request, shown) = (form.text("request"), form.text("shown"));
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => return again(request),
        Err(problem) => return sign_in::failed(&problem),
    };
    let subject = match Subject::of(&app, request, &person).await {
        Ok(subject) => subject,
        Err(response) => return response,
    };
    let now = app.clock.now();
    let drafted = match consent::draft(&app, subject.sought(), &person, now).await {
        Ok(drafted) => drafted,
        Err(failing) => return subject.fails(failing),
    };
    let digest = drafted.digest(&subject.sought().client);
    let bound = Bound::new(&person, &subject, request, shown, digest);
    if !form::fits(&app, CONSENT, &bound.each(), form.text("token")) {
        // A page of another session or for another request, one that somebody else made, or one that says no more what
        // would be granted.
        let text = "This page was not given to this session, or says no more what would be granted. Nothing was done: begin again in the application.";
        return Page::problem(StatusCode::FORBIDDEN, text).into_response();
    }
    let shown = shown.parse().map_or(Timestamp::from_micros(0), Timestamp::from_micros);
    if shown.plus(ANSWERED_WITHIN) <= now {
        // The page again, where it can't be answered as it is.
        return again(request);
    }
    let approves = match (form.text("verdict"), consent::lasting(form.text("lasts"))) {
        ("approve", Some(lasts)) => Some(lasts),
        ("deny", _) => None,
        _ => {
            let text = "The answer can’t be read. Nothing was done.";
            return Page::problem(StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let stored = match &subject {
        Subject::Browser(asked) => {
            let stored = code::answered(&app, asked, &person, source, approves, digest).await;
            stored.map(|url| see_other(&url))
        }
        Subject::Waiting(standing) => {
            let terms = approves.map(|lasts| (lasts, digest));
            let stored = requests::answered(&app, standing, &person, source, terms).await;
            stored.map(|()| done(approves.is_some()))
        }
    };
    stored.unwrap_or_else(|failing| subject.fails(failing))
}

/// What a form's token is bound to.
struct Bound {
    session: String,
    request: String,
    shown: String,
    digest: [u8; 32],
    /// Where the answer goes, which a client may change while the page is looked at; empty where a client polls for it.
    back: String,
}

impl Bound {
    fn new(person: &SignedIn, subject: &Subject, request: &str, shown: &str, digest: [u8; 32]) -> Self {
        Self {
            session: person.session.to_string(),
            request: request.to_owned(),
            shown: shown.to_owned(),
            digest,
            back: match subject {
                Subject::Browser(asked) => asked.back.to().as_str().to_owned(),
                Subject::Waiting(_) => String::new(),
            },
        }
    }

    fn each(&self) -> [&[u8]; 5] {
        let texts = [&self.session, &self.request, &self.shown, &self.back].map(|text| text.as_bytes());
        let [session, request, shown, back] = texts;
        [session, request, shown, &self.digest, back]
    }
}
