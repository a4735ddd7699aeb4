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
    sign_in,
};
use crate::{
    api::roots,
    app::App,
    caller::{SignedIn, Source},
    oauth::{
        authorize::{self, Asked},
        client::{self, By, Named},
        code,
    },
    problem::Problem,
    recording,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use maud::html;
use placet_core::{
    agent::{Agent, AgentState},
    authorize::{Refusal, redirect},
    chain::{Chain, Link},
    consent::{Consent, Declared, Line, Part, Unknown, quoted},
    grant::{Authority, Grant},
    id::UserId,
    pattern::ActionPattern,
    record::{EntryType, Envelope},
    refusal::Code,
    scope::Scope,
    secret::sha256,
    task::Task,
    time::Timestamp,
};
use placet_store::{
    Fault, Query, Tx, agents,
    authorization_codes::{self, Code as StoredCode, Consented},
    clients, connections, grants, pushed_requests, sessions, tasks,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The purpose of the form's token.
const CONSENT: &str = "form_consent";
/// How long a page can be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);
/// The most connections that a person is shown; a grant that reaches more is not asked about.
const MAX_CONNECTIONS: usize = 1000;

/// For how long a person can grant: as the form says it, in words, and in seconds. Never longer than the agent's
/// registration lasts.
const LASTS: [(&str, &str, u64); 5] = [
    ("1h", "1 hour", 3600),
    ("8h", "8 hours", 8 * 3600),
    ("1d", "1 day", 24 * 3600),
    ("7d", "7 days", 7 * 24 * 3600),
    ("30d", "30 days", 30 * 24 * 3600),
];
/// What is chosen where nobody chooses.
const USUAL: &str = "1d";

/// What would be granted, as things are.
struct Draft {
    grant: Grant,
    task: Task,
    connections: Vec<(String, String)>,
}

/// The page.
pub(super) async fn page(app: &Arc<App>, query: &str, asked: &Asked, person: SignedIn) -> Response {
    let now = app.clock.now();
    let drafted = match draft(app, asked, &person, now).await {
        Ok(drafted) => drafted,
        Err(Failing::Refused(refusal)) => return back(&asked.back, &refusal),
        Err(Failing::Failed(problem)) => return sign_in::failed(&problem),
    };
    let limits = limits(app, asked, &person, &drafted, now);
    let parts = Consent {
        agent: &asked.client.agent,
        client_name: asked.client.metadata.client_name.as_deref(),
        unknown: asked.client.unconfirmed.map(|origin| match origin {
            clients::Origin::Document => Unknown::At(&asked.client.id),
            clients::Origin::Registration | clients::Origin::Administrator => Unknown::Itself,
        }),
        user: &person.user,
        redirect: asked.back.to(),
        authority: &drafted.grant.authority,
        task: &drafted.task,
        actions: &declared(app, asked, &drafted.grant.authority),
        connections: &drafted.connections,
        limits: &limits,
    }
    .parts();
    let shown = now.as_micros().to_string();
    let token =
        form::token(app, CONSENT, &bound(&person, query, &shown, &digest(&drafted, &asked.client)).each());
    let body = html! {
        @for part in &parts { (said(part)) }
        form method="post" action="/consent" {
            input type="hidden" name="request" value=(query);
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
            (sign_in::sign_out(app, &person, query))
        }
    };
    Page::new("May this agent act on your behalf?", body)
        .leading_to(redirect::form_action(asked.back.to()))
        .into_response()
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
    let (query, shown) = (form.text("request"), form.text("shown"));
    // The page again, where it can't be answered as it is.
    let again = || see_other(&format!("/oauth/authorize?{query}"));
    let person = match cookies::signed_in(&app, &headers).await {
        Ok(Some((person, _))) => person,
        Ok(None) => return again(),
        Err(problem) => return sign_in::failed(&problem),
    };
    let asked = match authorize::requested(&app, query, ANSWERED_WITHIN).await {
        Ok(asked) => asked,
        Err(refused) => return answered(refused),
    };
    let now = app.clock.now();
    let drafted = match draft(&app, &asked, &person, now).await {
        Ok(drafted) => drafted,
        Err(Failing::Refused(refusal)) => return back(&asked.back, &refusal),
        Err(Failing::Failed(problem)) => return sign_in::failed(&problem),
    };
    let digest = digest(&drafted, &asked.client);
    if !form::fits(&app, CONSENT, &bound(&person, query, shown, &digest).each(), form.text("token")) {
        // A page of another session or for another request, one that somebody else made, or one that says no more what
        // would be granted.
        let text = "This page was not given to this session, or says no more what would be granted. Nothing was done: begin again in the application.";
        return Page::problem(StatusCode::FORBIDDEN, text).into_response();
    }
    let shown = shown.parse().map_or(Timestamp::from_micros(0), Timestamp::from_micros);
    if shown.plus(ANSWERED_WITHIN) <= now {
        return again();
    }
    let lasts = LASTS.iter().find(|(value, ..)| *value == form.text("lasts")).map(|(.., seconds)| *seconds);
    let approves = match (form.text("verdict"), lasts) {
        ("approve", Some(lasts)) => Some(Duration::from_secs(lasts)),
        ("deny", _) => None,
        _ => {
            let text = "The answer can’t be read. Nothing was done.";
            return Page::problem(StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    match answer(&app, &asked, &person, source, approves, &digest).await {
        Ok(url) => see_other(&url),
        Err(Failing::Refused(refusal)) => back(&asked.back, &refusal),
        Err(Failing::Failed(problem)) if problem.code() == Code::Conflict => {
            Page::problem(StatusCode::CONFLICT, problem.detail()).into_response()
        }
        Err(Failing::Failed(problem)) => sign_in::failed(&problem),
    }
}

/// Why there is no answer with a code.
enum Failing {
    /// The client is told.
    Refused(Refusal),
    /// The person is told.
    Failed(Problem),
}

impl From<Problem> for Failing {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<Fault> for Failing {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

/// Works out what would be granted for the usual time.
async fn draft(app: &Arc<App>, asked: &Asked, person: &SignedIn, now: Timestamp) -> Result<Draft, Failing> {
    let terms = Terms::new(app, asked, person, roots::LIFETIME, now);
    let (inner, client) = (Arc::clone(app), asked.client.clone());
    let drafted =
        app.store.read(move |q| terms.draft(&inner, q, &client.agent, &client.registration)).await?;
    drafted.map_err(Failing::Refused)
}

/// All that a draft is made from; owned, as the transaction may run more than once.
struct Terms {
    wanted: roots::Wanted,
    user: UserId,
    label: Option<String>,
    description: Option<String>,
    now: Timestamp,
}

impl Terms {
    fn new(app: &App, asked: &Asked, person: &SignedIn, lasts: Duration, now: Timestamp) -> Self {
        let mut wanted = roots::Wanted { expires: Some(now.plus(lasts)), ..asked.wanted.clone() };
        // Left out, it is for Placet as it is called now.
        wanted.audience.get_or_insert_with(|| vec![app.issuer.clone()]);
        let user = person.user.id;
        Self { wanted, user, label: asked.label.clone(), description: asked.description.clone(), now }
    }

    /// The grant and its task, neither stored; the inner error is for the client.
    fn draft(
        &self,
        app: &App,
        q: &mut impl Query,
        agent: &Agent,
        registration: &Grant,
    ) -> Result<Result<Draft, Refusal>, Problem> {
        let now = self.now;
        let user = Some(self.user);
        let root = match roots::root_of(app, q, (agent, registration), (user, None), &self.wanted, now)? {
            Ok(root) => root,
            Err(unfit) => return Ok(Err(Refusal::new(unfit.oauth(), &unfit.to_string().replace('`', "'")))),
        };
        if let Some(label) = &self.label
            && tasks::by_label(q, root.agent, root.user, label)?.is_some()
        {
            let why =
                "the client has used this task_id for this person: an authorization is a task of its own";
            return Ok(Err(Refusal::new("invalid_request", why)));
        }
        let (grant, task) = roots::with_task(root, self.label.as_deref(), self.description.as_deref(), now);
        let Some(reached) = connections::all_reachable(q, grant.user, grant.agent, MAX_CONNECTIONS)? else {
            let why = "the grant would reach more connections than a person can be shown";
            return Ok(Err(Refusal::new("access_denied", why)));
        };
        let connections = reached.into_iter().map(|known| (known.name, known.service)).collect();
        Ok(Ok(Draft { grant, task, connections }))
    }
}

/// What of a draft the page said, whatever the time. A client that is not confirmed yet has only its id on the wire.
fn digest(draft: &Draft, client: &Named) -> [u8; 32] {
    let authority = Authority {
        not_before: Timestamp::from_micros(0),
        expires: Timestamp::from_micros(0),
        ..draft.grant.authority.clone()
    };
    let told = json!([authority, client.id, draft.task.description, draft.task.label, draft.connections]);
    sha256(&[told.to_string().as_bytes()])
}

/// What a form's token is bound to.
struct Bound {
    session: String,
    query: String,
    shown: String,
    digest: [u8; 32],
}

impl Bound {
    fn each(&self) -> [&[u8]; 4] {
        [self.session.as_bytes(), self.query.as_bytes(), self.shown.as_bytes(), &self.digest]
    }
}

fn bound(person: &SignedIn, query: &str, shown: &str, digest: &[u8; 32]) -> Bound {
    Bound {
        session: person.session.to_string(),
        query: query.to_owned(),
        shown: shown.to_owned(),
        digest: *digest,
    }
}

/// Stores the person's answer; answers the URL that the client is told it at.
async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    person: &SignedIn,
    source: Source,
    approves: Option<Duration>,
    digest: &[u8; 32],
) -> Result<String, Failing> {
    let now = app.clock.now();
    let pushed = asked.pushed;
    let Some(lasts) = approves else {
        let denied = Refusal::new("access_denied", "the person said no");
        if let Some(pushed) = pushed {
            let decide = move |tx: &mut Tx<'_>| pushed_requests::decide(tx, pushed.hash, now);
            if !app.store.write::<_, Fault, _>(decide).await? {
                return Err(decided().into());
            }
        }
        return Err(Failing::Refused(denied));
    };
    let terms = Terms::new(app, asked, person, lasts, now);
    let client = asked.client.clone();
    let (text, hash) = code::fresh(app);
    let (session, user, request) = (person.session, person.user.id, asked.request);
    let redirect_uri = asked.back.to().as_str().to_owned();
    let (inner, seen) = (Arc::clone(app), *digest);
    let by = By::Consent(user.to_string());
    let written = app
        .store
        .write(move |tx| {
            // It may have been ended since it was looked at.
            let live = sessions::find(tx, session)?
                .is_some_and(|session| session.ended.is_none() && now < session.expires);
            if !live {
                return Err(Problem::of(Code::TokenInvalid, "the session has ended: sign in again"));
            }
            let (agent, registration) = client::confirm(&inner, tx, &client, &by, source, now)?;
            // As they are now, whatever was read before.
            let agent = agents::find(tx, agent.id)?.filter(|agent| agent.state == AgentState::Active);
            let registration =
                grants::find(tx, registration.id)?.filter(|registration| registration.revoked.is_none());
            let (Some(agent), Some(registration)) = (agent, registration) else { return Err(changed()) };
            let draft = match terms.draft(&inner, tx, &agent, &registration)? {
                Ok(draft) => draft,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if self::digest(&draft, &client) != seen {
                return Err(changed());
            }
            if let Some(pushed) = pushed
                && !pushed_requests::decide(tx, pushed.hash, now)?
            {
                return Err(decided());
            }
            let consented = Consented {
                redirect_uri: redirect_uri.clone(),
                challenge: request.challenge,
                key: request.key,
                grant: draft.grant,
                task: draft.task,
            };
            record(&inner, tx, &consented, source, now)?;
            let code = StoredCode {
                agent: consented.grant.agent,
                user,
                consented,
                issued: now,
                expires: now.plus(code::LIFETIME),
                used: None,
            };
            authorization_codes::insert(tx, hash, &code)?;
            Ok::<_, Problem>(Ok(()))
        })
        .await?;
    if asked.client.unconfirmed.is_some() {
        app.bearers.authority_changed();
    }
    written.map_err(Failing::Refused)?;
    let text = text.expose_str().ok_or_else(|| Problem::of(Code::Internal, "a code is not text"))?;
    Ok(asked.back.with_code(text))
}

fn record(
    app: &App,
    tx: &mut Tx<'_>,
    consented: &Consented,
    source: Source,
    now: Timestamp,
) -> Result<(), Problem> {
    let (grant, task) = (&consented.grant, &consented.task);
    let by = grant.user.map(|user| user.to_string()).unwrap_or_default();
    let envelope = Envelope {
        agent: Some(grant.agent),
        chain: vec![grant.agent],
        grants: vec![grant.id],
        task: grant.task,
        user: grant.user,
        source: recording::source(source.0),
        ..recording::by(EntryType::GrantConsented, now, by)
    };
    let authority = &grant.authority;
    let body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "connections": authority.connections, "authorization_details": authority.authorization_details,
        "audience": authority.audience, "expires": authority.expires, "redirect_uri": consented.redirect_uri,
        "task_label": task.label, "task_description": task.description});
    Ok(tx.record(app.prepare(envelope, Some(&body))?)?)
}

fn decided() -> Problem {
    Problem::of(
        Code::Conflict,
        "This request was answered before. Nothing was done: begin again in the application.",
    )
}

fn changed() -> Problem {
    Problem::of(
        Code::Conflict,
        "What would be granted has changed since the page was shown. Nothing was done: begin again in the application.",
    )
}

/// The actions of services in force that the authority reaches, within the agent's level.
fn declared(app: &App, asked: &Asked, authority: &Authority) -> Vec<Declared> {
    let rules = app.rules.load();
    let mut found: Vec<Declared> = rules
        .services
        .values()
        .flat_map(|live| live.service.actions().map(|action| (action.name().clone(), action.effect())))
        .filter(|(_, effect)| asked.client.agent.level.permits(*effect))
        .filter(|(name, _)| {
            authority.scope.iter().map(Scope::action).any(|pattern: &ActionPattern| pattern.matches(name))
                && authority.tools.iter().any(|tool| tool.matches(name))
        })
        .map(|(name, effect)| Declared { name: name.as_str().to_owned(), effect })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// The limits of the rules that apply to the agent.
fn limits(app: &App, asked: &Asked, person: &SignedIn, drafted: &Draft, now: Timestamp) -> Vec<String> {
    let link = Link {
        grant: Arc::new(drafted.grant.clone()),
        agent: Arc::clone(&asked.client.agent),
        registration: Arc::clone(&asked.client.registration),
        task: Some(Arc::new(drafted.task.clone())),
        user: Some(Arc::new(person.user.clone())),
    };
    let chain = Chain::assemble(vec![link], Vec::new(), now);
    chain.map(|chain| app.rules.load().policies.bind(&chain).limits()).unwrap_or_default()
}
