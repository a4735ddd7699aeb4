//! `/v1/requests`: requests for authority that wait for a person (device authorization, CIBA): seen and answered by the
//! person who is asked, as at the pages (`docs/device.md`).
//!
//! Invariant: only a person's own session answers, and a yes is to what that person was told.

use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, SignedIn, Source},
    consent::{self, Failing, LASTS, USUAL},
    problem::{Answer, Problem},
    requests::{self, Standing},
};
use axum::{
    Json,
    extract::{Path, State},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    approval::Verdict,
    consent::{Line, Part},
    id::RequestId,
    refusal::Code,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// A code that a device shows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entered {
    user_code: String,
}

/// A person's answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    verdict: Verdict,
    /// For how long, for a yes: one of [`LASTS`].
    lasts: Option<String>,
    /// For a yes: `seen` of what the person was told.
    seen: Option<String>,
}

/// `GET /v1/requests`
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Value>> {
    let found = requests::waiting_for(&app, caller.person()?).await?;
    let listed: Vec<Value> = found.iter().map(shown).collect();
    Ok(Json(json!({"requests": listed})))
}

/// `POST /v1/requests`: a person has read a code from a device.
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    JsonBody(entered): JsonBody<Entered>,
) -> Answer<Json<Value>> {
    let person = caller.person()?;
    let id = requests::entered(&app, person, &entered.user_code, source).await?;
    whole(&app, person, id).await
}

/// `GET /v1/requests/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    whole(&app, caller.person()?, named(&id)?).await
}

/// `POST /v1/requests/{id}`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(said): JsonBody<Said>,
) -> Answer<Json<Value>> {
    let person = caller.person()?;
    let standing = requests::find(&app, person, named(&id)?).await.map_err(told)?;
    let approves = match said.verdict {
        Verdict::Deny => None,
        Verdict::Approve => {
            let lasts = consent::lasting(said.lasts.as_deref().unwrap_or(USUAL)).ok_or_else(|| {
                let known = LASTS.map(|(word, ..)| word).join("`, `");
                invalid(format!("`lasts` is one of `{known}`"))
            })?;
            let seen = said.seen.ok_or_else(|| {
                invalid("a yes comes with `seen`, as `GET /v1/requests/{id}` tells it beside what would be granted")
            })?;
            let seen = URL_SAFE_NO_PAD.decode(seen).ok().and_then(|bytes| bytes.try_into().ok());
            Some((lasts, seen.ok_or_else(|| invalid("`seen` is not what was told"))?))
        }
    };
    requests::answered(&app, &standing, person, source, approves).await.map_err(told)?;
    let state = if approves.is_some() { "approved" } else { "denied" };
    Ok(Json(json!({"id": standing.waiting.id, "state": state})))
}

/// The request with all that the person has to know, and `seen`, which says that they were told.
async fn whole(app: &Arc<App>, person: &SignedIn, id: RequestId) -> Answer<Json<Value>> {
    let standing = requests::find(app, person, id).await.map_err(told)?;
    let now = app.clock.now();
    let draft = consent::draft(app, &standing.sought, person, now).await.map_err(told)?;
    let parts: Vec<Value> = standing.parts(app, &draft, person, now).iter().map(part).collect();
    let mut answer = shown(&standing);
    if let Some(members) = answer.as_object_mut() {
        members.insert("parts".into(), parts.into());
        members.insert("lasts".into(), json!(LASTS.map(|(word, ..)| word)));
        members.insert("seen".into(), URL_SAFE_NO_PAD.encode(draft.digest(&standing.sought.client)).into());
    }
    Ok(Json(answer))
}

fn shown(standing: &Standing) -> Value {
    let (waiting, client) = (&standing.waiting, &standing.sought.client);
    json!({
        "id": waiting.id, "through": waiting.through, "client_id": client.id, "agent_name": client.agent.handle,
        "client_name": client.metadata.client_name, "confirmed": client.unconfirmed.is_none(),
        "asked_from": waiting.asked.from, "message": waiting.asked.message,
        "task_description": standing.sought.description, "created": waiting.created, "expires": waiting.expires,
    })
}

fn part(part: &Part) -> Value {
    let lines: Vec<Value> = part
        .lines
        .iter()
        .map(|line| {
            let (says, text) = match line {
                Line::Plain(text) => ("placet", text),
                Line::Warning(text) => ("warning", text),
                Line::Claimed(text) => ("client", text),
            };
            json!({"says": says, "text": text})
        })
        .collect();
    json!({"title": part.title, "lines": lines})
}

/// What can't be granted is the client's fault at the authorization endpoint; here the person is the one who is told.
fn told(failing: Failing) -> Problem {
    match failing {
        Failing::Failed(problem) => problem,
        Failing::Refused(refusal) => {
            let text = format!("what it asks for can't be granted: {}", refusal.description);
            Problem::of(Code::Conflict, text)
        }
    }
}

fn named(id: &str) -> Result<RequestId, Problem> {
    let unknown = |_| Problem::of(Code::NotFound, "there is no such request, or it is not for you to answer");
    id.parse().map_err(unknown)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
