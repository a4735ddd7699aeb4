//! Authorization requests, from wherever they come (OAuth 2.1 §4.1.1, RFC 9126, RFC 9207): read, and checked against what
//! is registered. The pages ask the person; [`super::par`] takes requests beforehand.
//!
//! A request is a query string all the way. What is pushed is kept as one, and what a person was shown and then decides
//! on is the same text.
//!
//! Invariant: an error is sent to a redirect URI only where that is known to be the client's own.

use super::{
    client::{self, Named},
    issue, par,
    token::asked,
};
use crate::{
    api::{
        roots::{self, Wanted},
        scopes,
    },
    app::App,
    body::OAuthParams,
    consent::Sought,
    problem::{OAuthError, Problem},
};
use placet_core::{
    authorize::{Parameters, Refusal, Request, redirect},
    client::{GrantType, RedirectUri},
    grant,
    secret::KeyedHash,
    task,
    time::Timestamp,
};
use std::time::Duration;

/// What a request may not be larger than, in bytes.
const MAX_QUERY: usize = 32 * 1024;

/// A request that a person can be asked about.
pub(crate) struct Asked {
    /// Who asks, and for what.
    pub(crate) sought: Sought,
    /// Where it is answered.
    pub(crate) back: Back,
    /// What the code is bound to, and how to ask.
    pub(crate) request: Request,
    /// The request that was pushed, where it was.
    pub(crate) pushed: Option<Pushed>,
    /// A name to begin the sign-in with.
    pub(crate) login_hint: Option<String>,
}

/// Where a request came from, where it was pushed.
#[derive(Clone, Copy)]
pub(crate) struct Pushed {
    /// The hash of its `request_uri`.
    pub(crate) hash: KeyedHash,
    /// When.
    pub(crate) at: Timestamp,
}

/// Where a request is answered, and what every answer there carries.
#[derive(Clone)]
pub(crate) struct Back {
    to: RedirectUri,
    known: bool,
    state: Option<String>,
    issuer: String,
}

/// A request that nobody is asked about.
pub(crate) enum Refused {
    /// It is not known whose it is, or where it may be answered: a sentence for the person.
    Shown(String),
    /// The client is told.
    Answered(Back, Refusal),
    /// We can't tell.
    Failed(Problem),
}

impl Back {
    /// The redirect URI.
    pub(crate) fn to(&self) -> &RedirectUri {
        &self.to
    }

    /// Whether an administrator or a person has said yes to the client before.
    pub(crate) fn is_known(&self) -> bool {
        self.known
    }

    /// The whole URL of the answer with a code (RFC 6749 §4.1.2, RFC 9207 §2).
    pub(crate) fn with_code(&self, code: &str) -> String {
        self.with(&[("code", code)])
    }

    /// The whole URL of an error (RFC 6749 §4.1.2.1, RFC 9207 §2).
    pub(crate) fn with_error(&self, refusal: &Refusal) -> String {
        self.with(&[("error", refusal.error), ("error_description", &refusal.description)])
    }

    fn with(&self, first: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all: Vec<_> = first.iter().copied().chain(state).chain([("iss", self.issuer.as_str())]).collect();
        redirect::answer(&self.to, &all)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Reads a request that came to the authorization endpoint as this query. One that was pushed can be presented until it
/// expires, and decided on for `grace` more.
///
/// # Errors
/// Why nobody is asked.
pub(crate) async fn requested(app: &App, query: &str, grace: Duration) -> Result<Asked, Refused> {
    let outer = parameters(query)?;
    let shown = |refusal: Refusal| Refused::Shown(refusal.description);
    let client_id = outer.once("client_id").map_err(shown)?;
    let client_id =
        client_id.ok_or_else(|| Refused::Shown("the parameter client_id is missing".to_owned()))?;
    let Some(uri) = outer.once("request_uri").map_err(shown)? else {
        let client = named(app, client_id).await?;
        return checked(app, query, client).await;
    };
    // Whatever else stands in the query is no part of the request (RFC 9126 §4).
    let now = app.clock.now();
    let (pushed, found) = par::find(app, uri).await?.ok_or_else(unusable)?;
    let client = named(app, client_id).await?;
    if found.agent != client.agent.id || found.decided.is_some() || found.expires.plus(grace) <= now {
        return Err(unusable());
    }
    let mut asked = checked(app, &found.query, client).await?;
    asked.pushed = Some(pushed);
    Ok(asked)
}

fn unusable() -> Refused {
    let text = "the request is unknown, was decided before, or has expired: begin again in the application";
    Refused::Shown(text.to_owned())
}

async fn named(app: &App, client_id: &str) -> Result<Named, Refused> {
    let unknown = || Refused::Shown("there is no such client, or it is not active".to_owned());
    let client = client::named(app, client_id).await.map_err(|error| Refused::Shown(error.description))?;
    client.ok_or_else(unknown)
}

/// Checks a request against what its client registered.
///
/// # Errors
/// As [`requested`].
pub(crate) async fn checked(app: &App, query: &str, client: Named) -> Result<Asked, Refused> {
    let params = parameters(query)?;
    let shown = |refusal: Refusal| Refused::Shown(refusal.description);
    let to = redirect::meant(&client.metadata, params.once("redirect_uri").map_err(shown)?);
    let to = to.ok_or_else(|| {
        Refused::Shown(
            "the parameter redirect_uri is not, letter by letter, one that the client registered".to_owned(),
        )
    })?;
    let known = client.unconfirmed.is_none();
    let mut back = Back { to, known, state: None, issuer: app.issuer.clone() };
    let state = params.state().map_err(|refusal| Refused::Answered(back.clone(), refusal))?;
    back.state = state.map(str::to_owned);
    match rest(app, &client, query, &params).await {
        Ok((request, sought, login_hint)) => Ok(Asked { sought, back, request, pushed: None, login_hint }),
        Err(refusal) => Err(Refused::Answered(back, refusal)),
    }
}

/// What is read once it is known where to answer.
async fn rest(
    app: &App,
    client: &Named,
    query: &str,
    params: &Parameters,
) -> Result<(Request, Sought, Option<String>), Refusal> {
    if !client.metadata.may_use(GrantType::AuthorizationCode) {
        return Err(Refusal::new(
            "unauthorized_client",
            "the client is not registered for authorization_code",
        ));
    }
    let request = Request::read(params)?;
    let all = OAuthParams::form(query.as_bytes()).map_err(refusal)?;
    let sought = sought(app, client, &all).await?;
    let login_hint = all.text("login_hint").map_err(refusal)?.map(str::to_owned);
    Ok((request, sought, login_hint))
}

/// What a client seeks of a person, in whatever way it asks: within its registration, as things are.
///
/// # Errors
/// RFC 6749 §4.1.2.1; `invalid_target` (RFC 8707), `invalid_authorization_details` (RFC 9396).
pub(crate) async fn sought(app: &App, client: &Named, all: &OAuthParams) -> Result<Sought, Refusal> {
    let text = |name: &str| all.text(name).map(|text| text.map(str::to_owned)).map_err(refusal);
    let (label, description) = (text("task_id")?, text("task_description")?);
    if label.as_deref().is_some_and(|label| !task::is_label(label)) {
        let why = "task_id has 1 to 128 of A-Z a-z 0-9 . _ ~ : - and does not begin with tsk_";
        return Err(Refusal::new("invalid_request", why));
    }
    let longest = issue::MAX_DESCRIPTION;
    if description.as_ref().is_some_and(|text| text.chars().count() > longest) {
        let why = format!("task_description has at most {longest} characters");
        return Err(Refusal::new("invalid_request", &why));
    }
    let dimensions = asked(app, all).await.map_err(refusal)?;
    let audience = audience(app, all).await?;
    let wanted = wanted(client, dimensions, audience);
    let registration = &client.registration.authority;
    let unavailable = |_| Refusal::new("temporarily_unavailable", "the scopes can't be looked up now");
    let registry = scopes::registry(app).await.map_err(unavailable)?;
    roots::granted(app, &client.agent, registration, &wanted, None, &registry, app.clock.now())
        .map_err(|unfit| Refusal::new(unfit.oauth(), &unfit.to_string().replace('`', "'")))?;
    Ok(Sought { client: client.clone(), wanted, label, description })
}

fn wanted(client: &Named, asked: grant::Request, audience: Option<Vec<String>>) -> Wanted {
    Wanted {
        agent: client.agent.id.to_string(),
        scope: asked.scope,
        tools: asked.tools,
        resources: asked.resources,
        connections: None,
        limits: Vec::new(),
        expires: None,
        authorization_details: asked.authorization_details,
        audience,
        max_depth: None,
    }
}

/// Whom the tokens will be for (RFC 8707 §2.1); none named is Placet.
async fn audience(app: &App, params: &OAuthParams) -> Result<Option<Vec<String>>, Refusal> {
    let named = params.list("resource").map_err(refusal)?;
    let Some(named) = named.filter(|named| !named.is_empty()) else { return Ok(None) };
    let known = issue::named_audience(app, named).await.map_err(|fault| refusal(fault.into()))?;
    known.map(Some).map_err(|unknown| {
        let why = format!("no resource server is registered as {}", unknown.replace('`', "'"));
        Refusal::new("invalid_target", &why)
    })
}

fn refusal(error: OAuthError) -> Refusal {
    Refusal::new(error.error, &error.description.replace('`', "'"))
}

fn parameters(query: &str) -> Result<Parameters, Refused> {
    if query.len() > MAX_QUERY {
        return Err(Refused::Shown("the request is too long: push it instead (RFC 9126)".to_owned()));
    }
    let pairs = form_urlencoded::parse(query.as_bytes());
    Ok(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}
