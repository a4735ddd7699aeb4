//! `/v1/actions`: the action door. Everything that matters happens in [`crate::way`].
//!
//! Invariant: what is shown of an action is shown to its agent, to those above it, and to administrators and auditors
//! only; only a person settles one by hand.

use super::query::QueryParams;
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    problem::{Answer, Problem},
    reconcile, recording, revocation,
    sender::Sender,
    way::{Asked, Door, Wanted, wait},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse as _, Response},
};
use placet_core::{
    id::{ActionId, ApprovalId},
    refusal::Code,
    user::{ADMINISTRATOR, AUDITOR},
};
use placet_store::{
    Fault,
    actions::{self, ActionState, Listed, StoredAction},
    grants,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// What an agent asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAction {
    service: Option<String>,
    action: String,
    #[serde(default)]
    params: Map<String, Value>,
    connection: Option<String>,
}

/// `POST /v1/actions`
pub(crate) async fn act(
    State(app): State<Arc<App>>,
    source: Source,
    sender: Sender,
    headers: HeaderMap,
    body: Result<JsonBody<NewAction>, Problem>,
) -> Answer<Response> {
    // Who has no token is told where to get one, whatever else is wrong.
    let credential = sender.credential()?.ok_or_else(|| {
        Problem::of(Code::TokenInvalid, "send `Authorization: Bearer …` with an agent's access token")
    })?;
    let held = sender.agent(&app, credential).await?;
    let JsonBody(new) = body?;
    let wanted = Wanted::Action {
        service: new.service,
        action: new.action,
        params: new.params,
        connection: new.connection,
    };
    let asked = Asked {
        wanted,
        idempotency_key: idempotency_key(&headers)?,
        approval: approval(&headers)?,
        source: source.0,
        door: Door::Action,
        following: None,
    };
    let wait = preferred_wait(&headers);
    let mut response = wait::act(&app, &held, asked, wait).await.into_response();
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert("preference-applied", applied);
    }
    Ok(response)
}

/// `GET /v1/actions`: every action, or those that are `pending` or `unknown`, oldest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    query: QueryParams,
) -> Answer<Json<Value>> {
    if !sees_all(&caller) {
        let detail = "actions are listed for administrators and auditors";
        return Err(Problem::of(Code::NotPermitted, detail));
    }
    query.only(&["state", "after", "limit"])?;
    let (after, limit) = (query.parsed("after")?, query.limit()?);
    let which = match query.text("state") {
        None => Listed::All,
        Some("pending") => Listed::Pending,
        Some("unknown") => Listed::Unknown,
        Some(_) => return Err(invalid("`state` is `pending` or `unknown`")),
    };
    let found = app.store.read(move |q| actions::list(q, which, after, limit)).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|action| action.id);
    let listed: Vec<_> = found.iter().map(|action| shown(&app, action)).collect();
    Ok(Json(json!({"actions": listed, "next": next})))
}

/// `GET /v1/actions/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let id: ActionId = id.parse().map_err(|_| unknown())?;
    let asking = match &caller {
        Caller::Agent(bearer) => Some(bearer.chain.agent().id),
        caller if sees_all(caller) => None,
        _ => return Err(unknown()),
    };
    let found = app
        .store
        .read(move |q| {
            let Some(action) = actions::find(q, id)? else { return Ok::<_, Fault>(None) };
            if let Some(agent) = asking
                && !grants::is_within(q, action.grant, agent)?
            {
                return Ok(None);
            }
            Ok(Some(action))
        })
        .await?;
    let action = found.ok_or_else(unknown)?;
    // What the server asked by itself about an agent's action is not that agent's.
    let own = |action: &StoredAction| {
        app.intent(action).is_none_or(|intent| intent.envelope.by.as_deref() != Some(reconcile::ITSELF))
    };
    if asking.is_some() && !own(&action) {
        return Err(unknown());
    }
    Ok(Json(shown(&app, &action)))
}

/// What a person found out about an action of which nobody knew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settling {
    happened: Happened,
    reason: String,
}

/// Whether it happened.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Happened {
    Yes,
    No,
}

/// `POST /v1/actions/{id}/settle`, by a person with role `administrator`.
pub(crate) async fn settle(
    State(app): State<Arc<App>>,
    caller: Caller,
    source: Source,
    Path(id): Path<String>,
    JsonBody(Settling { happened, reason }): JsonBody<Settling>,
) -> Answer<Json<Value>> {
    let person = &caller.person()?.user;
    if !person.has_role(ADMINISTRATOR) {
        let detail = "an action is settled by a person with role `administrator`";
        return Err(Problem::of(Code::NotPermitted, detail));
    }
    if reason.trim().is_empty() {
        return Err(invalid("`reason` says what the answer rests on"));
    }
    revocation::check_reason(Some(&reason))?;
    let id: ActionId = id.parse().map_err(|_| unknown())?;
    let find = move |q: &mut placet_store::Reader<'_>| actions::find(q, id);
    let action = app.store.read(find).await?.ok_or_else(unknown)?;
    if action.state != ActionState::Unknown {
        let detail = format!("the action is {}: only what is unknown is settled", action.state.as_str());
        return Err(Problem::of(Code::Conflict, detail));
    }
    let rests_on = json!({"person": {"id": person.id, "name": person.name}, "reason": reason});
    let happened = happened == Happened::Yes;
    let source = recording::source(source.0);
    if !reconcile::settle(&app, &action, happened, caller.by(), source, &rests_on).await? {
        return Err(Problem::of(Code::Conflict, "the action was settled at the same time: look again"));
    }
    let action = app.store.read(find).await?.ok_or_else(unknown)?;
    Ok(Json(shown(&app, &action)))
}

fn sees_all(caller: &Caller) -> bool {
    caller.configures() || matches!(caller, Caller::User(signed_in) if signed_in.user.has_role(AUDITOR))
}

/// An action as it is told; resource and parameters are in the record alone once that was erased.
fn shown(app: &App, action: &StoredAction) -> Value {
    let intent = app.intent(action);
    let envelope = intent.as_ref().map(|intent| &intent.envelope);
    let of_body =
        |member: &str| intent.as_ref().and_then(|intent| intent.body.as_ref()?.get(member).cloned());
    let label = envelope.and_then(|envelope| envelope.service.as_deref());
    json!({
        "id": action.id, "status": action.state.as_str(), "action": envelope.and_then(|it| it.action.clone()),
        "resource": of_body("resource"), "params": of_body("params"), "agent": action.agent, "user": action.user,
        "grant": action.grant, "task": action.task, "connection": action.connection,
        "service": label.map(|label| label.rsplit_once('@').map_or(label, |(name, _)| name)),
        "by": envelope.and_then(|it| it.by.clone()), "at": action.admitted, "concluded": action.concluded,
        "upstream_status": action.status,
    })
}

fn unknown() -> Problem {
    Problem::of(Code::NotFound, "there is no such action, or it is not yours to see")
}

/// How long the client prefers to wait (`Prefer: wait=N`, RFC 7240 §4.3), as it is applied. The first `wait` counts, and
/// what can't be read is no preference (§2).
pub(crate) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    let seconds = preferences.find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    // Longer than any number of seconds is as long as may be.
    let asked = digits.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)))?;
    Some(asked.min(wait::LONGEST)).filter(|wait| !wait.is_zero())
}

/// `Idempotency-Key`: visible ASCII, once.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = once(headers, "idempotency-key")? else { return Ok(None) };
    if is_key(key) {
        Ok(Some(key.to_owned()))
    } else {
        Err(invalid(format!("`Idempotency-Key` has 1 to {MAX_KEY} visible ASCII characters")))
    }
}

/// Whether it may be an idempotency key: 1 to 255 visible ASCII characters.
pub(crate) fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `Placet-Approval`: the id of an approval, once.
pub(crate) fn approval(headers: &HeaderMap) -> Result<Option<ApprovalId>, Problem> {
    let id = once(headers, "placet-approval")?.map(str::parse).transpose();
    id.map_err(|_| invalid("`Placet-Approval` is the id of an approval (`apr_…`)"))
}

pub(crate) fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(format!("the header `{name}` stands twice")));
    }
    value.to_str().map(Some).map_err(|_| invalid(format!("the header `{name}` is not ASCII")))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_and_stands_once() {
        let key = |values: &[&[u8]]| idempotency_key(&with("idempotency-key", values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&[b"a-1"]).unwrap().as_deref(), Some("a-1"));
        assert!(key(&[&[b'k'; 255]]).is_ok());
        for wrong in [&[b"" as &[u8]] as &[&[u8]], &[b"a b"], &[b"a", b"a"], &[&[b'k'; 256]], &[b"\xc3\xa4"]]
        {
            assert_eq!(key(wrong).unwrap_err().code(), Code::RequestInvalid, "{wrong:?}");
        }
    }

    #[test]
    fn how_long_to_wait_is_read_from_prefer() {
        let wait = |values: &[&[u8]]| preferred_wait(&with("prefer", values)).map(|wait| wait.as_secs());
        assert_eq!(wait(&[b"wait=5"]), Some(5));
        assert_eq!(wait(&[b"respond-async, Wait = \"30\"; x=y"]), Some(30));
        assert_eq!(wait(&[b"return=minimal", b"wait=7", b"wait=9"]), Some(7));
        assert_eq!(wait(&[b"wait=100000"]), Some(60));
        assert_eq!(wait(&[b"wait=99999999999999999999999"]), Some(60));
        for none in [b"wait" as &[u8], b"wait=", b"wait=-1", b"wait=1.5", b"wait=0", b"awaits=5", b"\xff"] {
            assert_eq!(wait(&[none]), None, "{none:?}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn an_approval_is_named_by_its_id() {
        let read = |values: &[&[u8]]| approval(&with("placet-approval", values));
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[b"apr_00000000000000000000000000"]).unwrap().is_some());
        assert_eq!(read(&[b"act_00000000000000000000000000"]).unwrap_err().code(), Code::RequestInvalid);
    }
}
