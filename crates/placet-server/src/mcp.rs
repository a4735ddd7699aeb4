//! The MCP door, `POST /mcp`: the actions of services as tools, and the prompts and resources of MCP servers, for any client
//! of the Model Context Protocol over streamable HTTP (`docs/mcp.md`). A call takes the way of every action
//! ([`crate::way`]); what may be called is listed by what lists the catalog.
//!
//! Every request stands alone: no session is made, none is needed, and nothing is pushed but what is about a request, as a
//! part of its answer. It speaks two revisions ([`placet_core::mcp`]) and answers each in its own form.
//!
//! Invariant: nothing is decided here. Who has no live token is told nothing but where to get one; what a page of another
//! origin sends is not read at all (DNS rebinding).

mod answer;
mod levels;
mod passing;
mod prompts;
mod resources;
mod taken;
mod tools;

pub(crate) use levels::Levels;
pub(crate) use passing::Calls;

use crate::{
    api::actions::once,
    app::App,
    bearer::{self, Bearer},
    body::{self, drain},
    caller::Source,
    oauth::metadata,
    problem::Problem,
    sender::{Held, Sender},
};
use answer::Answered;
use axum::{
    body::Body,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use placet_core::{
    mcp::{self, Headers, Level, Message, Request, Revision, RpcError},
    refusal::Code,
    service::Part,
};
use placet_gateway::Following;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a model is told of this server.
const INSTRUCTIONS: &str = "Each tool is an action on somebody else's service, and each call is judged on its own. A result \
                            with `isError` says why in `code`, and what would do in `reasons[].remedy`: keep to it, or \
                            choose another way; don't repeat the same call. `approval_required` means that a person has to \
                            approve this very call: tell them, and make the same call again with the same arguments once \
                            they have.";

/// `POST /mcp`
pub(crate) async fn post(State(app): State<Arc<App>>, source: Source, request: HttpRequest) -> Response {
    let (parts, body) = request.into_parts();
    let (caller, bytes) = match came(&app, &parts, body).await {
        Ok(came) => came,
        Err(problem) => return answer::refused(&problem, None),
    };
    let headers = match headers(&parts.headers) {
        Ok(headers) => headers,
        Err(error) => return answer::failed(&error, None),
    };
    let request = match Message::read(&bytes) {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notification { method, params }) => {
            if method == "notifications/cancelled" {
                passing::cancelled(&app, &caller, &params);
            }
            return StatusCode::ACCEPTED.into_response();
        }
        // Nothing was asked; clients of that revision don't answer either.
        Ok(Message::Response) if headers.version == Some(mcp::STATELESS) => {
            let error = RpcError::new(RpcError::INVALID_REQUEST, "Invalid request: nothing was asked");
            return answer::failed(&error.refused(), None);
        }
        Ok(Message::Response) => return StatusCode::ACCEPTED.into_response(),
        Err((id, error)) => return answer::failed(&error, id.as_ref()),
    };
    let revision = match Revision::of(&request, headers) {
        Ok(revision) => revision,
        Err(error) => return answer::failed(&error, Some(&request.id)),
    };
    let (caller, headers) = (Arc::new(caller), parts.headers);
    let door = Door { app, caller, source, headers, revision, following: None };
    match request.method.as_str() {
        "tools/call" | "prompts/get" | "resources/read" => door.followed(request).await,
        _ => door.response(&request).await.response(),
    }
}

/// Who calls.
struct Caller {
    held: Held,
    bearer: Arc<Bearer>,
}

/// One request, and what it came with.
struct Door {
    app: Arc<App>,
    caller: Arc<Caller>,
    source: Source,
    headers: HeaderMap,
    revision: Revision,
    /// Who waits for the answer, where they may hear of it before.
    following: Option<Following>,
}

/// How a request is turned away.
enum Refused {
    /// By the protocol.
    Rpc(RpcError),
    /// As at the other doors: with a status and challenges.
    Http(Box<Problem>),
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Http(Box::new(problem))
    }
}

/// The caller, and the body of the request.
async fn came(app: &App, parts: &Parts, body: Body) -> Result<(Caller, bytes::Bytes), Problem> {
    let caller = match admitted(app, parts).await {
        Ok(caller) => caller,
        Err(problem) => {
            drain(body).await;
            return Err(problem);
        }
    };
    Ok((caller, body::whole_of(&parts.headers, body).await?))
}

/// Who may have their message read.
async fn admitted(app: &App, parts: &Parts) -> Result<Caller, Problem> {
    from_here(app, &parts.headers)?;
    let sender = Sender::of(parts);
    let credential = sender.credential()?.ok_or_else(|| {
        Problem::of(Code::TokenInvalid, "send `Authorization: Bearer …` with an agent's access token")
    })?;
    let held = sender.agent(app, credential).await?;
    let bearer = bearer::live(app, &held).await?;
    body::expect_media_type(&parts.headers, &["application/json"])?;
    Ok(Caller { held, bearer })
}

/// Refuses what a page of another origin sends.
fn from_here(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    for origin in headers.get_all(header::ORIGIN) {
        let own = |base: &String| metadata::split(base).0.as_bytes() == origin.as_bytes();
        if !app.bases.iter().any(own) {
            return Err(Problem::of(Code::NotPermitted, "this is not for pages of other origins"));
        }
    }
    Ok(())
}

/// The headers that repeat what the body says.
fn headers(headers: &HeaderMap) -> Result<Headers<'_>, RpcError> {
    let read = |name| {
        let wrong = |problem: Problem| {
            RpcError::new(RpcError::HEADER_MISMATCH, format!("Header mismatch: {}", problem.detail()))
                .refused()
        };
        once(headers, name).map_err(wrong)
    };
    Ok(Headers {
        version: read("mcp-protocol-version")?,
        method: read("mcp-method")?,
        name: read("mcp-name")?,
    })
}

impl Door {
    async fn response(&self, request: &Request) -> answer::Told {
        match self.answer(request).await {
            Ok(result) => answer::result(&request.id, self.revision, result),
            Err(Refused::Rpc(error)) => answer::failed_with(error, &request.id),
            Err(Refused::Http(problem)) => answer::refused_with(*problem, &request.id),
        }
    }

    async fn answer(&self, request: &Request) -> Result<Answered, Refused> {
        use Revision::{Stateless, WithHandshake};
        match (self.revision, request.method.as_str()) {
            (WithHandshake, "initialize") => Ok(Answered::Other(initialized(request)?)),
            (Stateless, "server/discover") => Ok(Answered::Cacheable(discovered())),
            (_, "tools/list") => self.list(request, tools::Kind::Tools).await.map(Answered::Cacheable),
            (_, "tools/call") => self.call(request).await,
            (_, "prompts/list") => self.list(request, tools::Kind::Prompts).await.map(Answered::Cacheable),
            (_, "prompts/get") => self.get(request).await,
            (_, "resources/list") => self.resources(request, Part::Resources).await.map(Answered::Cacheable),
            (_, "resources/templates/list") => {
                self.resources(request, Part::Templates).await.map(Answered::Cacheable)
            }
            (_, "resources/read") => self.read(request).await,
            (_, "completion/complete") => self.complete(request).await,
            (WithHandshake, "ping") => Ok(Answered::Other(json!({}))),
            (WithHandshake, "logging/setLevel") => {
                let level = request.params.get("level").and_then(Value::as_str).and_then(Level::from_word);
                let level = level.ok_or_else(|| RpcError::params("`level` is no level of log messages"))?;
                let chain = &self.caller.bearer.chain;
                self.app.levels.set(chain.agent().id, chain.leaf().grant.id, level);
                Ok(Answered::Other(json!({})))
            }
            (revision, method) => {
                let shown: String = method.chars().take(128).collect();
                let error = RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {shown}"));
                let status = (revision == Stateless).then_some(404);
                Err(RpcError { status, ..error }.into())
            }
        }
    }
}

/// The answer to a handshake. Nothing is remembered of it.
fn initialized(request: &Request) -> Result<Value, RpcError> {
    let asked = request.params.get("protocolVersion").and_then(Value::as_str);
    let asked = asked.ok_or_else(|| RpcError::params("`protocolVersion` is missing"))?;
    Ok(json!({
        "protocolVersion": mcp::negotiated(asked),
        "capabilities": capabilities(),
        "serverInfo": answer::server(),
        "instructions": INSTRUCTIONS,
    }))
}

fn discovered() -> Value {
    json!({
        "supportedVersions": mcp::supported(),
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
    })
}

/// What there may be for some agent.
fn capabilities() -> Value {
    json!({
        "tools": {"listChanged": false}, "prompts": {"listChanged": false},
        "resources": {"listChanged": false, "subscribe": false}, "completions": {}, "logging": {},
    })
}
