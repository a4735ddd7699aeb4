//! Access requests (AuthZEN Access Request and Approval Profile 1.0, draft 1): the way from a `false` that people can turn
//! into a `true`.
//!
//! People were asked when the evaluation was held: an access request takes that question up and makes none. What was held
//! carries a token that binds it to the resource server, the subject, the action and the resource; the approval itself is
//! bound to all of the request, and is judged anew and used up by the evaluation that comes with it.
//!
//! Invariant: neither a task nor an approval's id permits anything, and a resource server is told of its own alone.

use super::said::{Said, invalid};
use crate::{
    api::decisions::asking::OnlyResourceServer,
    app::App,
    body::JsonBody,
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{
    approval::{Approval, ApprovalState},
    id::ApprovalId,
    refusal::Code,
    time::Timestamp,
};
use placet_store::{approvals, resource_servers::ResourceServer};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What metadata call it.
pub(super) const CAPABILITY: &str = "urn:openid:authzen:capability:access-request";
const PATH: &str = "/access/v1/requests";

/// Where access requests go.
pub(super) fn endpoint(app: &App) -> String {
    format!("{}{PATH}", app.issuer)
}

/// `context.access_request` of what is held: `approval` as it was answered, `bound` what was asked.
pub(super) fn requestable(
    app: &App,
    server: &ResourceServer,
    approval: &Value,
    bound: &[u8; 32],
) -> Option<Value> {
    let id = approval.get("id")?.as_str()?;
    let expires = approval.get("expires")?.as_str()?;
    let token = token(app, server, id, expires, bound);
    Some(json!({"endpoint": endpoint(app), "expires_at": expires, "binding_token": token}))
}

/// The approval's id, sealed with who was told of it, until when, and what it is about.
fn token(app: &App, server: &ResourceServer, approval: &str, expires: &str, bound: &[u8; 32]) -> String {
    let server = server.id.to_string();
    let sealed =
        [approval.as_bytes(), b"\0", server.as_bytes(), b"\0", expires.as_bytes(), b"\0", bound].concat();
    let hash = app.secrets.hashing.hash("access_request", &sealed);
    let seal: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{approval}.{seal}")
}

/// `POST /access/v1/requests {subject, action, resource, denial: {binding_token, expires_at}}`
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    OnlyResourceServer(server): OnlyResourceServer,
    JsonBody(mut body): JsonBody<Map<String, Value>>,
) -> Answer<Response> {
    if body.contains_key("items") {
        return Err(invalid("several `items` are not supported: request each by itself"));
    }
    let denial = body.remove("denial").unwrap_or_default();
    let said = Said::read(Value::Object(body))?.complete()?;
    let text = |name: &str| denial.get(name).and_then(Value::as_str);
    let unbound =
        || refused("invalid_denial_binding", Code::RequestInvalid, "the denial is not of this request");
    let (Some(given), Some(expires)) = (text("binding_token"), text("expires_at")) else {
        let detail = "`denial` has the `binding_token` and the `expires_at` of `context.access_request`";
        return Err(refused("invalid_denial_binding", Code::RequestInvalid, detail));
    };
    let approval = given.split_once('.').map(|(approval, _)| approval).ok_or_else(unbound)?;
    let expected = token(&app, &server, approval, expires, &said.bound()?);
    // Compared by a keyed hash of either: how alike they are is told by no time.
    let mark = |text: &str| app.secrets.hashing.hash("access_request_token", text.as_bytes());
    if mark(&expected).as_bytes() != mark(given).as_bytes() {
        return Err(unbound());
    }
    let now = app.clock.now();
    if !Timestamp::parse(expires).is_ok_and(|expires| now < expires) {
        let detail = "the denial can't be requested any more: evaluate anew, without an approval";
        return Err(refused("expired_denial", Code::Expired, detail));
    }
    let id: ApprovalId = approval.parse().map_err(|_| unbound())?;
    let (status, body) = task(&app, &server, id, now).await?;
    let code = if status == "pending" { StatusCode::ACCEPTED } else { StatusCode::CREATED };
    Ok((code, [(header::LOCATION, format!("{}/{id}", endpoint(&app)))], Json(body)).into_response())
}

/// `GET /access/v1/requests/{id}`
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    OnlyResourceServer(server): OnlyResourceServer,
    Path(id): Path<String>,
) -> Answer<Response> {
    let id: ApprovalId = id.parse().map_err(|_| unknown())?;
    let (status, body) = task(&app, &server, id, app.clock.now()).await?;
    let kept = (header::CACHE_CONTROL, "no-store");
    Ok(match status {
        // As often as an answer of people can be of use.
        "pending" => ([kept, (header::RETRY_AFTER, "5")], Json(body)).into_response(),
        _ => ([kept], Json(body)).into_response(),
    })
}

/// The task of an approval that this resource server was held for, with its result.
async fn task(
    app: &App,
    server: &ResourceServer,
    id: ApprovalId,
    now: Timestamp,
) -> Answer<(&'static str, Value)> {
    let found = app.store.read(move |q| approvals::find(q, id)).await?;
    let is_theirs = |approval: &Approval| {
        let asked = approval.shown.pointer("/resource_server/id").and_then(Value::as_str);
        asked == Some(server.id.to_string().as_str())
    };
    let approval = found.map(|held| held.approval).filter(is_theirs).ok_or_else(unknown)?;
    let status = match approval.state_at(now) {
        ApprovalState::Pending => "pending",
        ApprovalState::Approved | ApprovalState::Used => "approved",
        ApprovalState::Denied => "denied",
        ApprovalState::Expired => "expired",
        ApprovalState::Ended => "cancelled",
    };
    let place = format!("{}/{id}", endpoint(app));
    let mut body = json!({"task": {"id": id, "status": status, "status_endpoint": place}});
    if let (Some(task), "pending") = (body.get_mut("task").and_then(Value::as_object_mut), status) {
        task.insert("expires_at".into(), json!(approval.expires));
    }
    if let (Some(members), "approved") = (body.as_object_mut(), status) {
        let approval = json!({"id": id, "approved_until": approval.expires});
        members.insert("result".into(), json!({"mode": "reevaluate", "approval": approval}));
    }
    Ok((status, body))
}

fn unknown() -> Problem {
    refused("unknown_task", Code::NotFound, "there is no such task of this resource server")
}

/// A refusal with the profile's own type.
fn refused(name: &str, code: Code, detail: &str) -> Problem {
    let kind = format!("urn:openid:authzen:access-request:error:{name}");
    Problem::of(code, detail).with("type", kind)
}

/// What to do next, for whoever evaluated with an approval and was told no (`next_action`, `reason`).
pub(super) fn next(codes: &[&str]) -> (&'static str, &'static str) {
    let reason = |code: &&str| match *code {
        "approval_expired" | "approval_used" => Some("approval_expired"),
        "approval_mismatch" => Some("approval_unverifiable"),
        _ => None,
    };
    // To be asked anew, it is evaluated anew without this approval.
    ("none", codes.iter().find_map(reason).unwrap_or("policy_denied"))
}
