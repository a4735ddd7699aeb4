//! `/connect/{service}`: a person is told what they are about to connect, leaves for the upstream's authorization server, and
//! comes back to `/connect/callback/{service}`.
//!
//! The way there is a page that the browser goes on from by itself, as for signing in ([`super::provider`]).
//!
//! Invariant: a link does nothing: what it says is shown, and the person says that they want it. Nothing that a server sends is
//! a place to go to, or markup; no page has a code or a token.

use super::{
    account::{self, ACCOUNT, Sent},
    cookies,
    form::{self, Form},
    html::Page,
    sign_in,
};
use crate::{
    app::App,
    caller::{Caller, SignedIn, Source},
    connections::{
        checked,
        connect::{self, Plan, Stopped, Wish},
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
    agent::is_handle,
    client::Uri,
    consent::{quoted, visible},
    refusal::Code,
    service::oauth::account::{Answer, NoCode},
};
use placet_gateway::TokenError;
use placet_store::connections::{self, Connection, ConnectionState};
use std::sync::Arc;

/// Where accounts are connected.
pub(super) const CONNECT: &str = "/connect/";
/// The purpose of the form's token.
const FORM: &str = "form_connect";
/// How much is shown of what a server says.
const SHOWN: usize = 300;
/// The longest name or list in a link, in bytes.
const LONGEST: usize = 4096;
/// How many connections of a person are shown.
const OWN: usize = 100;

/// `GET /connect/{service}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(wish) = wish(&service, query.as_deref().unwrap_or_default()) else { return no_page() };
    match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => match planned(&app, &person, &wish).await {
            Ok(plan) => question(&app, &person, &wish, &plan).into_response(),
            Err(problem) => refused(&problem),
        },
        Ok(None) => sign_in::before(&app, &headers, connect::path(&wish)).await,
        Err(problem) => sign_in::failed(&problem),
    }
}

/// `POST /connect/{service}`: they want it.
pub(crate) async fn leave(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    Path(service): Path<String>,
    mut form: Form,
) -> Response {
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => {
            let text = "You have signed out meanwhile. Nothing was connected.";
            return Page::problem(StatusCode::FORBIDDEN, text).into_response();
        }
        Err(problem) => return sign_in::failed(&problem),
    };
    if !form::fits(&app, FORM, &[person.session.to_string().as_bytes()], form.text("token")) {
        let text = "The form was not given to this session. Nothing was connected.";
        return Page::problem(StatusCode::FORBIDDEN, text).into_response();
    }
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    let wish = Wish {
        service,
        name: said(form.take("name")),
        mends: said(form.take("connection")),
        organization: form.text("organization") == "yes",
        agents: form.text("agents").split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    };
    let left = async {
        let plan = planned(&app, &person, &wish).await?;
        // They say yes to what the page has told them.
        if form.text("version") != plan.live.version.to_string() {
            let detail = "the service was changed while you looked at it; nothing was connected, look at it and try again";
            return Err(Problem::of(Code::Conflict, detail));
        }
        let url = connect::leave(&app, &person, &plan, source).await?;
        Ok::<_, Problem>((plan, url))
    };
    match left.await {
        Ok((plan, url)) => {
            let at = host(plan.who.server.authorization_url.as_deref());
            let body = html! { p { a href=(url) rel="noreferrer" { "Go on to " (visible(&at)) } } };
            Page::new("On to where you agree", body).going_on_to(url).into_response()
        }
        Err(problem) => refused(&problem),
    }
}

/// `GET /connect/callback/{service}` (RFC 6749 §4.1.2)
pub(crate) async fn callback(
    State(app): State<Arc<App>>,
    source: Source,
    headers: HeaderMap,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => {
            let text = "You are not signed in here any more. Nothing was connected.";
            return Page::problem(StatusCode::FORBIDDEN, text).into_response();
        }
        Err(problem) => return sign_in::failed(&problem),
    };
    let Some(answer) = Answer::read(query.as_deref().unwrap_or_default()) else {
        let text = "What you came back with can’t be read. Nothing was connected.";
        return Page::problem(StatusCode::BAD_REQUEST, text).into_response();
    };
    match connect::comes_back(&app, &person, &service, &answer, source).await {
        Ok(connection) => {
            let body = html! {
                p { "The connection " strong { (quoted(&connection.name)) } " of the service " (quoted(&connection.service)) " can be used from now on." }
                p { a href=(ACCOUNT) { "Your account" } }
            };
            Page::new("Connected", body).into_response()
        }
        Err(stopped) => not_connected(&service, stopped),
    }
}

/// `POST /account/connections/check`: whether one of the person's own works.
pub(crate) async fn check(State(app): State<Arc<App>>, sent: Sent) -> Response {
    // Before the connection: it waits for its owner where its service has moved since.
    let rules = app.rules.load_full();
    let (owner, name) = (sent.person.user.id, sent.form.text("connection").to_owned());
    let found = match app.store.read(move |q| connections::by_name(q, &name)).await {
        Ok(found) => found.filter(|found| found.user == Some(owner)),
        Err(fault) => return sign_in::failed(&fault.into()),
    };
    let known = found.and_then(|found| Some((Arc::clone(rules.services.get(&found.service)?), found)));
    let Some((live, found)) = known else {
        return Page::problem(StatusCode::NOT_FOUND, "There is no such connection.").into_response();
    };
    match checked::check(&app, (owner.to_string(), sent.source), &live, &found).await {
        Ok(checked) => {
            let body = html! {
                p { "The connection " strong { (quoted(&found.name)) } ": " (visible(&checked.why)) "." }
                p { a href=(ACCOUNT) { "Your account" } }
            };
            Page::new("Checked", body).into_response()
        }
        Err(problem) => refused(&problem),
    }
}

/// The part of the account page.
pub(super) async fn section(app: &App, person: &SignedIn) -> Result<Markup, Problem> {
    let owner = person.user.id;
    let own = app.store.read(move |q| connections::of_user(q, owner, OWN)).await?;
    let open = crate::connections::client::open_to_people(app).await?;
    let rules = app.rules.load_full();
    let is_checked = |one: &Connection| {
        rules.services.get(&one.service).is_some_and(|live| checked::trial(live).is_some())
    };
    let link = |service: &str, mends: Option<&Connection>| {
        let mends = mends.map(|connection| connection.name.clone());
        connect::path(&Wish { service: service.to_owned(), mends, ..Wish::default() })
    };
    Ok(html! {
        @if !own.is_empty() || !open.is_empty() {
            section {
                h2 { "Accounts elsewhere" }
                @if !own.is_empty() {
                    p { "Agents that act on your behalf can use:" }
                    ul {
                        @for one in &own {
                            li {
                                (quoted(&one.name)) " of the service " (quoted(&one.service))
                                @if one.state != ConnectionState::Active { ", which waits for you" }
                                @if open.contains(&one.service) { ": " a href=(link(&one.service, Some(one))) { "connect it anew" } }
                                @if is_checked(one) {
                                    form method="post" action="/account/connections/check" {
                                        (account::token(app, person))
                                        input type="hidden" name="connection" value=(one.name);
                                        button.quiet type="submit" { "Try whether it works" }
                                    }
                                }
                            }
                        }
                    }
                }
                @if !open.is_empty() {
                    p { "Connect another account of:" }
                    ul { @for service in &open { li { a href=(link(service, None)) { (visible(service)) } } } }
                }
            }
        }
    })
}

/// The path and query that this is, where it is a page on which an account is connected; written anew, so that it is nothing
/// else.
pub(super) fn own_path(text: &str) -> Option<String> {
    let rest = text.strip_prefix(CONNECT)?;
    let (service, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some(connect::path(&wish(service, query)?))
}

/// What a link says; none where it is no link of ours.
fn wish(service: &str, query: &str) -> Option<Wish> {
    if !is_handle(service) || query.len() > LONGEST {
        return None;
    }
    let mut wish = Wish { service: service.to_owned(), ..Wish::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "name" if is_handle(&value) => wish.name = Some(value.into_owned()),
            "connection" if is_handle(&value) => wish.mends = Some(value.into_owned()),
            "organization" => wish.organization = value == "yes",
            "agents" => {
                wish.agents = value.split(' ').map(str::to_owned).collect();
                // Without those that can't be, it would be open to more than was said.
                if !wish.agents.iter().all(|agent| is_handle(agent)) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(wish)
}

async fn planned(app: &App, person: &SignedIn, wish: &Wish) -> Result<Plan, Problem> {
    let mut wish = wish.clone();
    // Their usual name is taken: they are asked for another.
    loop {
        match connect::planned(app, &Caller::User(person.clone()), &wish).await {
            Err(problem)
                if problem.code() == Code::Conflict && wish.name.is_none() && wish.mends.is_none() =>
            {
                match free_name(app, person, &wish).await? {
                    Some(name) => wish.name = Some(name),
                    None => return Err(problem),
                }
            }
            planned => return planned,
        }
    }
}

/// The usual name with a number, where the usual one is taken.
async fn free_name(app: &App, person: &SignedIn, wish: &Wish) -> Result<Option<String>, Problem> {
    let usual = connect::usual_name(Some(person), wish);
    app.store
        .read(move |q| {
            if connections::by_name(q, &usual)?.is_none() {
                return Ok(None);
            }
            for number in 2..=OWN {
                let name = format!("{usual}-{number}");
                if is_handle(&name) && connections::by_name(q, &name)?.is_none() {
                    return Ok(Some(name));
                }
            }
            Ok(None)
        })
        .await
}

/// The page that says what is about to be connected.
fn question(app: &App, person: &SignedIn, wish: &Wish, plan: &Plan) -> Page {
    let who = &plan.who;
    let service = &plan.live.service;
    let at = host(who.server.authorization_url.as_deref());
    let token = form::token(app, FORM, &[person.session.to_string().as_bytes()]);
    let body = html! {
        p { "You are signed in as " strong { (quoted(&person.user.name)) } "." }
        ul {
            li { "An account of the service " strong { (quoted(&who.service)) } " at " strong { (visible(&format!("{}{}", service.origin(), service.base_path()))) } " is connected." }
            li { "You agree to that at " strong { (visible(&at)) } ", as whoever you sign in there." }
            @if !who.server.scope.is_empty() { li { "There it is asked for: " (visible(&who.server.scope.join(" "))) } }
            @if who.user.is_some() {
                li { "It is yours: agents use it only when they act on your behalf, and only as rules allow." }
            } @else {
                li.warning {
                    "It is the organization’s: "
                    @if wish.agents.is_empty() && who.agents.is_empty() { "every agent" } @else if wish.agents.is_empty() { "the agents that it names" } @else { (visible(&wish.agents.join(", "))) }
                    " can use it, as rules allow."
                }
            }
            @if who.mends.is_some() { li { "It takes the place of what the connection " strong { (quoted(&who.name)) } " was used with so far." } }
        }
        form method="post" action={ (CONNECT) (who.service) } {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="version" value=(plan.live.version);
            @if who.mends.is_some() {
                input type="hidden" name="connection" value=(who.name);
            } @else {
                label for="name" { "What it is called here" }
                input type="text" id="name" name="name" value=(who.name) required maxlength="64" autocapitalize="none" spellcheck="false";
            }
            @if wish.organization { input type="hidden" name="organization" value="yes"; }
            @if !wish.agents.is_empty() { input type="hidden" name="agents" value=(wish.agents.join(" ")); }
            div.verdict { button.go type="submit" { "Go on to " (visible(&at)) } }
        }
        footer { (sign_in::sign_out(app, person, &connect::path(wish))) }
    };
    Page::new("Connect an account", body)
}

/// The host of a page, as people read it.
fn host(url: Option<&str>) -> String {
    let authority = url.and_then(|url| Uri::parse(url).ok()).and_then(|uri| uri.authority);
    authority.map(|authority| authority.host.to_owned()).unwrap_or_default()
}

fn refused(problem: &Problem) -> Response {
    sign_in::failed(problem)
}

fn no_page() -> Response {
    Page::problem(StatusCode::NOT_FOUND, "There is no such page.").into_response()
}

/// Why nothing came of it, in plain words.
fn not_connected(service: &str, stopped: Stopped) -> Response {
    let (status, text) = match stopped {
        Stopped::Problem(problem) if problem.code() == Code::TokenInvalid => (
            StatusCode::FORBIDDEN,
            "This took too long, was done before, or was begun in another session.".to_owned(),
        ),
        Stopped::Problem(problem) => return sign_in::failed(&problem),
        Stopped::NoCode(NoCode::Refused(error, description)) => {
            let said = description.map_or_else(|| error.clone(), |text| format!("{error}: {text}"));
            let said: String = said.chars().take(SHOWN).collect();
            (StatusCode::FORBIDDEN, format!("The server says: {}.", said.trim_end_matches('.')))
        }
        Stopped::NoCode(error) => {
            tracing::warn!(service, %error, "what a person came back with is not believed");
            (StatusCode::FORBIDDEN, format!("What you came back with does not count: {error}."))
        }
        Stopped::NoToken(error) => {
            tracing::warn!(service, %error, "what a person came back with gave no token");
            let status = match error {
                TokenError::Endpoint(_) => StatusCode::BAD_GATEWAY,
                TokenError::Ungranted(_) | TokenError::Key => StatusCode::FORBIDDEN,
            };
            (status, format!("No token came of it: {error}."))
        }
    };
    Page::problem(status, &format!("{text} Nothing was connected.")).into_response()
}
