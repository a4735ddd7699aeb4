//! The proxy door, `ANY /proxy/{connection}/{path…}`: an ordinary HTTP client whose base URL is Placet's instead of the
//! upstream's. Everything that matters happens in [`crate::way`].
//!
//! What the agent sends as its own credential is `Authorization: Bearer …` (or `DPoP …` with a proof), or the same as
//! `Placet-Authorization` where a client library insists on an `Authorization` of its own, which is then dropped. `Placet-Decision` in an answer tells
//! what Placet says (`deny`, `hold`) from what the upstream does (`allow`).
//!
//! Invariant: of an agent's headers only listed ones go on; what could change which call is meant is refused, not
//! dropped; nothing that was answered may be kept by a cache, which would answer without asking.

use crate::{
    api::actions::{approval, idempotency_key, once, preferred_wait},
    app::App,
    body::{self, drain},
    caller::Source,
    handshake,
    problem::{Answer, Problem},
    sender::{Credential, Held, Sender},
    way::{self, Answered, Arrived, ArrivedBody, Asked, Asking, Door, Form, Takes, Wanted, wait},
};
use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header, request::Parts, uri::Authority},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_core::{call::LISTED_HEADERS, id::ActionId, refusal::Code};
use placet_gateway::Upload;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// The longest value of a header that goes on.
const MAX_HEADER: usize = 1024;
/// Headers that would have an upstream take the request for another, or that say that the body isn't what it seems.
pub(crate) const REFUSED: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "content-encoding", "content-range"];
/// Says who speaks: `allow` before the upstream's own answer, `deny` and `hold` before Placet's.
const DECISION: HeaderName = HeaderName::from_static("placet-decision");
const ACTION: HeaderName = HeaderName::from_static("placet-action");
const APPROVAL: HeaderName = HeaderName::from_static("placet-approval");

/// `ANY /proxy/{connection}/{path…}`
pub(crate) async fn pass(State(app): State<Arc<App>>, source: Source, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        let held = held(&app, &parts).await?;
        let (connection, target) = below(&parts)?;
        let arrived = arrived(&parts, connection.to_owned(), target.to_owned())?;
        take(&app, &held, arrived, (&parts, body), source, Door::Proxy).await
    };
    said(answer.await)
}

/// What the agent is told: whose word it is, and that no cache may keep it.
pub(crate) fn said(answer: Answer<Answered>) -> Response {
    match answer {
        Ok(Answered::Executed { id, result, form }) => replayable(id, &result, form),
        Ok(Answered::Passed(response)) => response,
        Ok(held @ Answered::Held { .. }) => {
            let approval = match &held {
                Answered::Held { approval, .. } => {
                    approval.get("id").and_then(Value::as_str).map(str::to_owned)
                }
                _ => None,
            };
            let mut response = decided(held.into_response(), "hold");
            if let Some(value) = approval.and_then(|id| HeaderValue::from_str(&id).ok()) {
                response.headers_mut().insert(APPROVAL, value);
            }
            response
        }
        Err(problem) => {
            // What upstream failed at had been allowed.
            let allowed = matches!(
                problem.code(),
                Code::UpstreamUnreachable
                    | Code::UpstreamUnreadable
                    | Code::UpstreamTimeout
                    | Code::ResultWithheld
                    | Code::ResultSensitive
            ) || (problem.code() == Code::RequestSlow
                && problem.told().contains_key("happened"));
            decided(problem.into_response(), if allowed { "allow" } else { "deny" })
        }
    }
}

/// Takes an HTTP request the way of an action, reading its body as that wants it.
pub(crate) async fn take(
    app: &Arc<App>,
    held: &Held,
    mut arrived: Arrived,
    (parts, body): (&Parts, Body),
    source: Source,
    door: Door,
) -> Answer<Answered> {
    let approval = approval(&parts.headers)?;
    let idempotency_key = idempotency_key(&parts.headers)?;
    let mut unread = None;
    if let Some((handshake, offered)) = handshake::asked(parts)? {
        if !body.is_end_stream() {
            return Err(Problem::of(Code::RequestInvalid, "a request for a WebSocket has no body"));
        }
        let asking = Asking { handshake, held: held.clone(), source: source.0, door };
        arrived.body = ArrivedBody::Socket { offered, asking: Mutex::new(Some(Box::new(asking))) };
    } else if !body.is_end_stream() {
        match way::takes(app, held, &arrived).await? {
            Takes::Whole => {
                let whole = body::whole_of(&parts.headers, body).await?;
                if !whole.is_empty() {
                    arrived.body = ArrivedBody::Whole(whole);
                }
            }
            Takes::Stream => {
                let length = body.size_hint().exact();
                arrived.body = ArrivedBody::Stream(Mutex::new(Some(Upload::new(body, length))));
            }
            Takes::Nothing => {
                arrived.body = ArrivedBody::Unread;
                unread = Some(body);
            }
        }
    }
    let wanted = Wanted::Call(arrived);
    let asked = Asked { wanted, idempotency_key, approval, source: source.0, door, following: None };
    let answered = wait::act(app, held, asked, preferred_wait(&parts.headers)).await;
    // Who waits to be told to go on is not told so, and sends nothing.
    if let Some(body) = unread
        && !parts.headers.contains_key(header::EXPECT)
    {
        drain(body).await;
    }
    answered
}

/// The agent's own credential, with what was shown for it.
async fn held(app: &App, parts: &Parts) -> Result<Held, Problem> {
    let missing = || {
        let detail = "send `Authorization: Bearer …` (or `Placet-Authorization: Bearer …`) with an agent's access token";
        Problem::of(Code::TokenInvalid, detail)
    };
    let credential = match once(&parts.headers, "placet-authorization")? {
        Some(value) => Credential::parse(value),
        None => Credential::of(&parts.headers)?,
    };
    Sender::of(parts).agent(app, credential.ok_or_else(missing)?).await
}

/// Connection and target of a request for `/proxy/{connection}/{path…}`.
fn below(parts: &Parts) -> Result<(&str, &str), Problem> {
    let uri = &parts.uri;
    // In HTTP/2 scheme and authority are fields of their own beside the path (RFC 9113 §8.3.1).
    if parts.version == Version::HTTP_2 {
        let host = once(&parts.headers, "host").map_err(|problem| invalid(problem.detail().to_owned()))?;
        let authority = uri.authority().map(Authority::as_str);
        if host.is_some_and(|host| authority.is_some_and(|authority| authority != host)) {
            return Err(invalid("`:authority` and `Host` differ: send one of them"));
        }
    } else if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(invalid("the target is refused: send the path alone, not a whole URL"));
    }
    let target = uri.path_and_query().map(|it| it.as_str()).unwrap_or_default();
    let rest = target.strip_prefix("/proxy/").unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Ok(rest.split_at_checked(end).unwrap_or_default())
}

/// The request as it came, but for its body.
pub(crate) fn arrived(parts: &Parts, connection: String, target: String) -> Result<Arrived, Problem> {
    if let Some(name) = REFUSED.iter().find(|name| parts.headers.contains_key(**name)) {
        return Err(invalid(format!("the header `{name}` is refused: it would make this another request")));
    }
    let mut headers = Vec::new();
    for name in LISTED_HEADERS {
        // What would be sent anyway says nothing: with it the request is the same as without.
        let value =
            listed(&parts.headers, name)?.filter(|value| (*name, *value) != ("accept", "application/json"));
        if let Some(value) = value {
            headers.push(((*name).to_owned(), value.to_owned()));
        }
    }
    Ok(Arrived {
        connection,
        method: parts.method.as_str().to_owned(),
        target,
        headers,
        content_type: listed(&parts.headers, "content-type")?.map(str::to_owned),
        body: ArrivedBody::None,
    })
}

/// The one value of a header that goes on.
fn listed<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let value = once(headers, name).map_err(|problem| invalid(problem.detail().to_owned()))?;
    match value {
        Some(value) if value.len() > MAX_HEADER => {
            Err(invalid(format!("the header `{name}` has more than {MAX_HEADER} bytes")))
        }
        value => Ok(value),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::ParamsInvalid, detail)
}

/// A kept answer, which was read whole: JSON in its canonical form, anything else byte for byte.
fn replayable(id: ActionId, result: &Value, form: Form) -> Response {
    let text = |pointer: &str| result.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let body = match form {
        Form::Json => serde_json::to_vec(&result.get("body")).unwrap_or_default(),
        Form::Text => text("/body").as_bytes().to_vec(),
        Form::Bytes => STANDARD.decode(text("/body/base64")).unwrap_or_default(),
    };
    let headers: Vec<(String, String)> = result
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let status = result.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    response(id, status.unwrap_or(502), head(&headers, &[]), Body::from(body))
}

/// Headers of an answer, with those that announce trailers.
pub(crate) fn head(headers: &[(String, String)], trailers: &[&str]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            map.append(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&trailers.join(", "))
        && !trailers.is_empty()
    {
        map.insert(header::TRAILER, value);
    }
    map
}

/// An upstream's answer as it is passed on.
pub(crate) fn response(id: ActionId, status: u16, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    *response.headers_mut() = headers;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(ACTION, value);
    }
    decided(response, "allow")
}

/// Whether this answers what was allowed, so that its status is upstream's, or of what upstream did.
pub(crate) fn is_allowed(response: &Response) -> bool {
    response.headers().get(DECISION).is_some_and(|decision| decision == "allow")
}

fn decided(mut response: Response, decision: &'static str) -> Response {
    let headers = response.headers_mut();
    headers.insert(DECISION, HeaderValue::from_static(decision));
    // Whatever upstream says: a cache between the agent and Placet would answer without a decision.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
