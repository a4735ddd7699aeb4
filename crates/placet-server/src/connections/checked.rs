//! Whether the credential of a connection works: the action that its service names for that is taken, or an MCP server asked for
//! its tools, by the server itself, for who asks about the connection.
//!
//! A credential that upstream does not take parks its connection, and one that it takes again wakes it. What says neither
//! changes nothing: an upstream that is down refuses nobody.
//!
//! Invariant: the action only reads and its parameters are the definition's; nothing of the answer but its status leaves this
//! module. A secret goes nowhere where its owner has not agreed that it goes.

use super::{Picked, UNAUTHORIZED, answered, as_it_is, elsewhere, freshen, keep::stays, to_try};
use crate::{app::App, caller::Source, problem::Problem, recording, rules::LiveService};
use placet_core::{
    call::Auth,
    record::{EntryType, Envelope},
    refusal::Code,
    secret::Secret,
    service::{ConnectionCheck, Finding, Kind, oauth::Kept, reference::Reference},
};
use placet_gateway::{
    Credential, NoTools, NotSent, ResponseBody, Told, Unknown, UpstreamFailure, UpstreamResponse,
};
use placet_store::{
    PreparedEntry,
    connections::{self, Attention, Connection, ConnectionState},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long an upstream may take over it.
const WITHIN: Duration = Duration::from_secs(15);
/// The most bytes of its answer that are read.
const MAX_ANSWER: usize = 256 * 1024;

/// What SQLSTATEs begin with that are about who logs in.
const NO_LOGIN: &str = "28";

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Checked {
    /// `works`, `refused` or `unclear`.
    pub(crate) result: &'static str,
    /// The action that was taken, or `tools/list`.
    pub(crate) action: String,
    /// The status of the answer, where one came.
    pub(crate) status: Option<u16>,
    /// What it means, for people.
    pub(crate) why: String,
    #[serde(skip)]
    pub(crate) finding: Finding,
}

/// How the credentials of a service are tried.
#[derive(Clone, Copy)]
pub(crate) enum Trial<'s> {
    /// By the action that it declares for that.
    Action(&'s ConnectionCheck),
    /// By asking an MCP server for its tools, which takes a credential as each request to it does.
    Tools,
}

impl Trial<'_> {
    /// What is asked.
    fn name(self) -> String {
        match self {
            Self::Action(check) => check.action().to_string(),
            Self::Tools => "tools/list".to_owned(),
        }
    }
}

/// An answer, or why there was none.
struct Heard {
    finding: Finding,
    status: Option<u16>,
    why: Option<String>,
    invalid_token: bool,
}

/// How the credentials of this service are tried; `None` where it doesn't say. A program behind a pipe tells its tools to whoever
/// has started it: that says nothing of a credential.
pub(crate) fn trial(live: &LiveService) -> Option<Trial<'_>> {
    let is_asked = live.service.kind() == Kind::Mcp && live.route.command().is_none();
    live.service.check().map(Trial::Action).or(is_asked.then_some(Trial::Tools))
}

/// The same where there has to be one.
///
/// # Errors
/// `conflict` where there is none.
fn declared(live: &LiveService) -> Result<Trial<'_>, Problem> {
    let name = live.service.name();
    trial(live).ok_or_else(|| {
        let detail = format!(
            "the service `{name}` does not say how a connection is checked: its definition names an action that only reads, `check: {{action: …}}`"
        );
        Problem::of(Code::Conflict, detail)
    })
}

/// Checks a connection as it is stored, and changes its state by what comes of it.
///
/// # Errors
/// `conflict` where the service declares no check, or its secret may not be sent now; `unavailable` where there is none that
/// can be.
pub(crate) async fn check(
    app: &App,
    (by, source): (String, Source),
    live: &LiveService,
    found: &Connection,
) -> Result<Checked, Problem> {
    let check = declared(live)?;
    may_be_tried(found)?;
    let (auth, private) = (live.service.auth(), live.service.allow_private());
    // The service was read before this: where it has moved since, the connection waits for its owner.
    let gone = || Problem::of(Code::Conflict, "the connection was changed at the same time; try again");
    let mut picked = to_try(app, auth, found.id).await?.ok_or_else(gone)?;
    elsewhere::again(app, &picked);
    freshen(app, &mut picked, auth, private).await?;
    let mut heard = shown(app, live, check, &picked).await?;
    let before = picked.connection.clone();
    if heard.status.is_some() {
        answered(app, &picked, &live.service, None, (heard.status.unwrap_or_default(), heard.invalid_token))
            .await;
    }
    // A token may have ended early: what was got since is shown once more.
    if heard.finding == Finding::Refused
        && let Some(again) = another(app, live, &picked).await?
    {
        heard = shown(app, live, check, &again).await?;
    }
    let checked = heard.told(check);
    conclude(app, (by, source), live, before, &checked).await?;
    Ok(checked)
}

/// Checks a credential that somebody is about to give to a connection.
///
/// # Errors
/// `request_invalid` where upstream does not take it, `unavailable` where that can't be told now, and `conflict` where the
/// service declares no check.
pub(crate) async fn first(
    app: &App,
    live: &LiveService,
    auth: &Auth,
    kept: &Secret,
    reference: Option<&Reference>,
) -> Result<Checked, Problem> {
    let check = declared(live)?;
    let unusable = |why: String| Problem::of(Code::RequestInvalid, format!("`auth`: {why}"));
    let secret = match (auth, reference) {
        (_, Some(place)) => app.secrets_elsewhere.read(place).await.map_err(unusable)?,
        (Auth::Oauth2(_), None) => {
            let access = Kept::from_secret(kept).and_then(|kept| kept.access);
            access.ok_or_else(|| unusable("there is no token".to_owned()))?.token
        }
        (_, None) => kept.clone(),
    };
    let credential = Credential::new(auth, &secret).map_err(|error| unusable(error.to_string()))?;
    let checked = asked(app, live, check, &credential).await?.told(check);
    match checked.finding {
        Finding::Works => Ok(checked),
        Finding::Refused => Err(unusable(format!("{}; nothing was stored", checked.why))),
        Finding::Unclear => {
            let detail = format!("{}; nothing was stored: try again, or leave the check out", checked.why);
            Err(Problem::of(Code::Unavailable, detail))
        }
    }
}

/// The entry of a check.
///
/// # Errors
/// Faults.
pub(crate) fn entry(
    app: &App,
    (by, source): (String, Source),
    live: &LiveService,
    of: &Connection,
    checked: &Checked,
) -> Result<PreparedEntry, Problem> {
    let state = match checked.finding {
        Finding::Works => ConnectionState::Active,
        Finding::Refused => ConnectionState::NeedsAttention,
        Finding::Unclear => of.state,
    };
    let envelope = Envelope {
        connection: Some(of.id),
        service: Some(super::keep::named_version(live)),
        user: of.user,
        action: Some(checked.action.clone()),
        outcome: Some(state.as_str().to_owned()),
        status: checked.status,
        source: recording::source(source.0),
        ..recording::by(EntryType::ConnectionChecked, app.clock.now(), by)
    };
    app.prepare(envelope, Some(&json!({"name": of.name, "result": checked.result})))
}

/// Whether its secret may be sent at all.
fn may_be_tried(found: &Connection) -> Result<(), Problem> {
    let detail = match found.attention {
        None | Some(Attention::CredentialRefused) => return Ok(()),
        Some(Attention::ServiceChanged) => {
            "its service has changed where its secret would go, and nobody has agreed to that: confirm it first, or set its secret anew"
        }
        Some(Attention::TokenRefused) => {
            "its authorization server gives no token any more: connect the account anew, or set its secret anew"
        }
    };
    Err(Problem::of(Code::Conflict, detail))
}

/// Shows the credential of a connection.
async fn shown(app: &App, live: &LiveService, check: Trial<'_>, picked: &Picked) -> Result<Heard, Problem> {
    let none = || {
        Problem::of(Code::Unavailable, "the connection has no credential that can be used; nothing was sent")
    };
    asked(app, live, check, picked.credential().ok_or_else(none)?).await
}

/// The connection once more, where it has another credential than the one that was refused.
async fn another(app: &App, live: &LiveService, picked: &Picked) -> Result<Option<Picked>, Problem> {
    let auth = live.service.auth();
    if !matches!(auth, Auth::Oauth2(_)) {
        return Ok(None);
    }
    let now = as_it_is(app, picked, auth).await?;
    Ok(now.filter(|now| now.access != picked.access))
}

/// Takes the action, or asks for the tools.
async fn asked(
    app: &App,
    live: &LiveService,
    trial: Trial<'_>,
    credential: &Credential,
) -> Result<Heard, Problem> {
    let service = &live.service;
    let deadline = tokio::time::Instant::from_std(Instant::now() + WITHIN);
    let check = match trial {
        Trial::Action(check) => check,
        Trial::Tools => {
            let at = service.asked_for_tools();
            let told = app.gateway.tools(&at, &live.route, credential, deadline).await;
            return Ok(told_tools(told));
        }
    };
    let declared = service.action(check.action());
    let call = declared.and_then(|declared| service.render(declared, check.params()).ok());
    let unfit = || Problem::of(Code::Conflict, "the check of the service can't be sent as it is defined");
    let call = call.ok_or_else(unfit)?;
    let turn = match live.upstream(&app.gateway).enter(None).await {
        Ok(turn) => turn,
        Err(away) => return Ok(Heard::nothing(away.to_string())),
    };
    let sent = app.gateway.send_for(call, &live.route, credential, deadline, MAX_ANSWER).await;
    turn.conclude(service.kind(), sent.as_ref());
    Ok(heard(check, sent))
}

/// What an MCP server's answer says of the credential.
fn told_tools(told: Result<Told, NoTools>) -> Heard {
    match told {
        Ok(_) => Heard { finding: Finding::Works, status: None, why: None, invalid_token: false },
        Err(NoTools::Refused { status, invalid_token }) => {
            let refused = status == UNAUTHORIZED;
            let finding = if refused { Finding::Refused } else { Finding::Unclear };
            Heard { finding, status: Some(status), why: None, invalid_token }
        }
        Err(NoTools::Failed(failure)) => heard_nothing(&failure),
        Err(why @ (NoTools::NoList | NoTools::TooMany)) => Heard::nothing(why.to_string()),
    }
}

fn heard(check: &ConnectionCheck, sent: Result<UpstreamResponse, UpstreamFailure>) -> Heard {
    match sent {
        Ok(UpstreamResponse { status, body, invalid_token, .. }) => {
            let body = match body {
                ResponseBody::Json(body) => body,
                ResponseBody::Text(_) | ResponseBody::Bytes(_) => Value::Null,
            };
            Heard { finding: check.read(status, &body), status: Some(status), why: None, invalid_token }
        }
        Err(UpstreamFailure::Answered { status, .. }) => Heard {
            finding: check.read(status, &Value::Null),
            status: Some(status),
            why: None,
            invalid_token: false,
        },
        Err(failure) => heard_nothing(&failure),
    }
}

fn heard_nothing(failure: &UpstreamFailure) -> Heard {
    let finding = if is_about_credential(failure) { Finding::Refused } else { Finding::Unclear };
    Heard { finding, ..Heard::nothing(failure.to_string()) }
}

/// Whether what stood in the way is that upstream does not take the credential.
fn is_about_credential(failure: &UpstreamFailure) -> bool {
    match failure {
        UpstreamFailure::NotSent { reason: NotSent::Refused { sqlstate }, .. } => {
            sqlstate.starts_with(NO_LOGIN)
        }
        UpstreamFailure::NotSent { reason: NotSent::Identity, .. }
        | UpstreamFailure::Unknown { reason: Unknown::Identity, .. } => true,
        _ => false,
    }
}

impl Heard {
    fn nothing(why: String) -> Self {
        Self { finding: Finding::Unclear, status: None, why: Some(why), invalid_token: false }
    }

    fn told(self, trial: Trial<'_>) -> Checked {
        let with = self.status.map_or_else(String::new, |status| format!(" (status {status})"));
        let (result, meaning) = match self.finding {
            Finding::Works => ("works", format!("upstream takes the credential{with}")),
            Finding::Refused => ("refused", format!("upstream does not take the credential{with}")),
            Finding::Unclear => {
                ("unclear", format!("it can't be told whether upstream takes the credential{with}"))
            }
        };
        let why = match self.why {
            Some(why) => format!("{meaning}: {why}"),
            None => meaning,
        };
        Checked { result, action: trial.name(), status: self.status, why, finding: self.finding }
    }
}

/// Stores what follows, with its entry.
async fn conclude(
    app: &App,
    by: (String, Source),
    live: &LiveService,
    of: Connection,
    checked: &Checked,
) -> Result<(), Problem> {
    let (entry, finding) = (entry(app, by, live, &of, checked)?, checked.finding);
    let service = (live.service.name().to_owned(), live.version);
    let changed = app
        .store
        .write(move |tx| {
            let changed = match finding {
                // What was heard is about the secret that there was, and the service that it went to.
                Finding::Works if of.state != ConnectionState::Active => {
                    stays(tx, &service)?;
                    connections::works(tx, &of)?
                }
                Finding::Refused if of.state == ConnectionState::Active => {
                    connections::attend(tx, &of, Attention::CredentialRefused)?
                }
                _ => false,
            };
            tx.record(entry.clone())?;
            Ok::<_, Problem>(changed)
        })
        .await?;
    if changed {
        app.connections.changed();
    }
    Ok(())
}
