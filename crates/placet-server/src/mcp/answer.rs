//! Answers in the form of their revision: results, errors of the protocol, and refusals as they are at every door.
//!
//! Invariant: a refusal that a model can do something about is a result, so that the model reads it; what its client has to
//! do something about (a token, a scope, a header) has a status of its own.

use crate::{operations::failures::RefusedWith, problem::Problem};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use placet_core::mcp::{Revision, RpcError};
use serde_json::{Map, Value, json};

/// `_meta`: who answers.
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// A result, and what goes with it in the stateless revision.
pub(super) enum Answered {
    /// It holds for this request alone.
    Other(Value),
    /// A client might keep it, so it is said for how long.
    Cacheable(Value),
    /// It is not over: the client has to ask its user something first.
    InputRequired(Value),
}

/// Who answers.
pub(super) fn server() -> Value {
    json!({"name": "placet", "title": "Placet", "version": env!("CARGO_PKG_VERSION")})
}

/// What a request is answered with: a message, as an answer of its own or as the last of several.
pub(super) enum Told {
    Result(Value),
    Failed(Box<RpcError>, Value),
    Refused(Box<Problem>, Value),
}

impl Told {
    /// The message.
    pub(super) fn message(&self) -> Value {
        match self {
            Self::Result(message) => message.clone(),
            Self::Failed(error, id) => error.answer(Some(id)),
            Self::Refused(problem, id) => as_error(problem).answer(Some(id)),
        }
    }

    /// The answer, where nothing was said before it.
    pub(super) fn response(self) -> Response {
        match self {
            Self::Result(message) => Json(message).into_response(),
            Self::Failed(error, id) => failed(&error, Some(&id)),
            Self::Refused(problem, id) => refused(&problem, Some(&id)),
        }
    }
}

/// An error of the protocol for a request.
pub(super) fn failed_with(error: RpcError, id: &Value) -> Told {
    Told::Failed(Box::new(error), id.clone())
}

/// A refusal of a request.
pub(super) fn refused_with(problem: Problem, id: &Value) -> Told {
    Told::Refused(Box::new(problem), id.clone())
}

/// A message with a result.
pub(super) fn result(id: &Value, revision: Revision, answered: Answered) -> Told {
    let (kind, keeps, result) = match answered {
        Answered::Other(result) => ("complete", false, result),
        Answered::Cacheable(result) => ("complete", true, result),
        Answered::InputRequired(result) => ("input_required", false, result),
    };
    let mut members = match result {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    if revision == Revision::Stateless {
        members.insert("resultType".into(), kind.into());
        if keeps {
            // Authority ends at once, and so does what is told of it.
            members.insert("ttlMs".into(), 0.into());
            members.insert("cacheScope".into(), "private".into());
        }
        let meta = members.entry("_meta").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert(META_SERVER.into(), server());
        }
    }
    Told::Result(json!({"jsonrpc": "2.0", "id": id, "result": members}))
}

/// A message with an error.
pub(super) fn failed(error: &RpcError, id: Option<&Value>) -> Response {
    let status = error.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let mut response = (status, Json(error.answer(id))).into_response();
    if status != StatusCode::OK {
        response.extensions_mut().insert(RefusedWith("request_invalid"));
    }
    response
}

/// A refusal as an error: its problem document is the error's data.
fn as_error(problem: &Problem) -> RpcError {
    let message = format!("{}: {}", problem.code().as_str(), problem.detail());
    let code =
        if problem.status().is_server_error() { RpcError::INTERNAL } else { RpcError::INVALID_REQUEST };
    RpcError::new(code, message).with(Value::Object(problem.told()))
}

/// A refusal with the status and the challenges that it has at every door.
pub(super) fn refused(problem: &Problem, id: Option<&Value>) -> Response {
    let error = as_error(problem);
    let (mut parts, _) = problem.clone().into_response().into_parts();
    let (_, body) = Json(error.answer(id)).into_response().into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, body)
}
