//! The decision door of OpenID AuthZEN's Authorization API 1.0: `/access/v1/…`, and where it is said to be
//! (`docs/authzen.md`).
//!
//! Each question becomes one of `/v1/decisions` and is answered by that very code: an agent's is advice about itself, a
//! resource server's with an agent's token is charged, one with a name only and an administrator's charge nothing.
//!
//! Invariant: `true` is said only of what is allowed. What is held is `false`, and so is whatever can't be read, but for
//! calls that are wrong as a whole: those are HTTP errors (§10.1.9 of the standard).

pub(crate) mod request;
mod said;
pub(crate) mod search;

use super::decisions::{alone, asking::Asking, batch};
use crate::{
    app::App,
    body::{JsonBody, MAX_BODY},
    caller::Source,
    oauth::metadata,
    problem::{Answer, Problem},
};
use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use placet_core::{refusal::Code, token::Statement};
use said::Said;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `POST /access/v1/evaluation`
pub(crate) async fn evaluation(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Answer<Json<Value>> {
    one(&app, &asking, source, &headers, Value::Object(body)).await.map(Json)
}

async fn one(app: &App, asking: &Asking, source: Source, headers: &HeaderMap, body: Value) -> Answer<Value> {
    let said = Said::read(body)?.complete()?;
    let form = Form::of(&said);
    let answer = match said.question(app, asking).await {
        Ok(question) => alone(app, asking, source, headers, question).await,
        Err(problem) => Err(problem),
    };
    match answer {
        Err(problem) if is_of_the_call(&problem) => Err(problem),
        answer => Ok(decision(app, asking, &answer, &form)),
    }
}

/// What of a question its answer has to know.
#[derive(Default)]
struct Form {
    /// What an access request would be bound to.
    bound: Option<[u8; 32]>,
    /// Whether an approval came with it.
    approved: bool,
}

impl Form {
    fn of(said: &Said) -> Self {
        let approved = said.context.as_ref().is_some_and(|context| context.contains_key("approval"));
        Self { bound: said.bound().ok(), approved }
    }
}

/// Several questions (§7.1). The first four are what an entry has that doesn't say otherwise.
#[derive(Deserialize)]
pub(crate) struct Evaluations {
    subject: Option<Value>,
    action: Option<Value>,
    resource: Option<Value>,
    context: Option<Value>,
    evaluations: Option<Vec<Value>>,
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    evaluations_semantic: Semantic,
}

/// When no more is evaluated (§7.1.2.1).
#[derive(Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Semantic {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// `POST /access/v1/evaluations`
pub(crate) async fn evaluations(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Evaluations>,
) -> Answer<Json<Value>> {
    let defaults = [
        ("subject", body.subject),
        ("action", body.action),
        ("resource", body.resource),
        ("context", body.context),
    ];
    let defaults: Map<String, Value> =
        defaults.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let entries = body.evaluations.unwrap_or_default();
    if entries.is_empty() {
        return one(&app, &asking, source, &headers, Value::Object(defaults)).await.map(Json);
    }
    if entries.len() > batch::MOST {
        let detail = format!("`evaluations` are at most {}", batch::MOST);
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    if headers.contains_key("idempotency-key") {
        let detail = "`Idempotency-Key` is for one decision: ask for it alone";
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    // What all have in common is made for each: together they are no larger than a request may be.
    let common = serde_json::to_string(&defaults).map_or(usize::MAX, |text| text.len());
    if common.saturating_mul(entries.len()) > MAX_BODY {
        let detail = "what the `evaluations` have in common is too large for so many: send fewer at once";
        return Err(Problem::of(Code::RequestInvalid, detail));
    }
    let (mut questions, mut forms) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
    for entry in entries {
        let said = with_defaults(entry, &defaults).and_then(Said::read);
        forms.push(said.as_ref().map(Form::of).unwrap_or_default());
        questions.push(match said {
            Ok(said) => said.question(&app, &asking).await,
            Err(problem) => Err(problem),
        });
    }
    let semantic = body.options.map_or_else(Semantic::default, |options| options.evaluations_semantic);
    let enough = |answer: &Answer<Value>| match semantic {
        Semantic::ExecuteAll => false,
        Semantic::DenyOnFirstDeny => !is_permit(&asking, answer),
        Semantic::PermitOnFirstPermit => is_permit(&asking, answer),
    };
    let answers = batch::ask(&app, &asking, source, questions, enough).await?;
    let answers = answers.iter().zip(&forms);
    let shown: Vec<Value> = answers.map(|(answer, form)| decision(&app, &asking, answer, form)).collect();
    Ok(Json(json!({"evaluations": shown})))
}

fn with_defaults(entry: Value, defaults: &Map<String, Value>) -> Answer<Value> {
    let Value::Object(own) = entry else {
        return Err(Problem::of(Code::RequestInvalid, "an evaluation is an object"));
    };
    let mut all = defaults.clone();
    all.extend(own);
    Ok(Value::Object(all))
}

/// Whether a refusal is about the call and not about what was asked.
fn is_of_the_call(problem: &Problem) -> bool {
    let code = problem.code();
    matches!(code.status(), 401 | 403 | 409 | 415 | 422 | 429 | 500..)
}

fn is_permit(asking: &Asking, answer: &Answer<Value>) -> bool {
    answer.as_ref().is_ok_and(|answer| {
        answer.get("decision").and_then(Value::as_str) == Some("allow") && !would_charge(asking, answer)
    })
}

/// Whether a resource server was told what would be, not what is: with limits that somebody would have to charge. Only
/// answers that charge nothing tell limits.
fn would_charge(asking: &Asking, answer: &Value) -> bool {
    let limits = answer.get("limits").and_then(Value::as_array);
    matches!(asking, Asking::ResourceServer(_)) && limits.is_some_and(|limits| !limits.is_empty())
}

/// An answer in the standard's form (§6.2): `id`, `reasons` and what else there is are in its `context`.
fn decision(app: &App, asking: &Asking, answer: &Answer<Value>, form: &Form) -> Value {
    let answer = match answer {
        Err(problem) => {
            return json!({"decision": false, "context": {"error": batch::error(problem)}});
        }
        Ok(answer) => answer,
    };
    let permit = is_permit(asking, &Ok(answer.clone()));
    let mut context = Map::new();
    // What rows and members an answer may have is for whoever gives it to hold.
    for member in ["id", "reasons", "approval", "shape"] {
        if let Some(value) = answer.get(member).filter(|value| !value.is_null() && **value != json!([])) {
            context.insert(member.to_owned(), value.clone());
        }
    }
    let said = answer.get("decision").cloned().unwrap_or_default();
    if said == "allow" && !permit {
        let detail =
            "limits would have to be charged: present the agent's token in `subject.properties.token`";
        context.insert("reasons".into(), json!([{"code": Code::NotPermitted.as_str(), "detail": detail}]));
    }
    // Closed afterwards at `/v1/decisions/{id}/outcome`.
    let charged = matches!(asking, Asking::ResourceServer(_)) && answer.get("limits").is_none();
    if permit {
        context.insert("charged".into(), charged.into());
    }
    if let Some(shapes) = answer.get("shape").and_then(Value::as_array).filter(|_| permit) {
        context.insert("obligations".into(), shapes.iter().enumerate().map(obligation).collect());
    }
    if said == "hold" {
        context.insert("held".into(), true.into());
        context.insert("reason".into(), Code::ApprovalRequired.as_str().into());
        if let (Asking::ResourceServer(server), Some(bound), Some(approval)) =
            (asking, &form.bound, answer.get("approval"))
            && let Some(requestable) = request::requestable(app, server, approval, bound)
        {
            context.insert("evaluation_id".into(), answer.get("id").cloned().unwrap_or_default());
            context.insert("access_request".into(), requestable);
        }
        if form.approved {
            context.insert("next_action".into(), "retry".into());
        }
    } else if form.approved && !permit {
        let reasons = answer.get("reasons").and_then(Value::as_array).into_iter().flatten();
        let codes: Vec<&str> = reasons.filter_map(|reason| reason.get("code")?.as_str()).collect();
        let (action, reason) = request::next(&codes);
        context.insert("next_action".into(), action.into());
        context.insert("reason".into(), reason.into());
    }
    json!({"decision": permit, "context": context})
}

/// A shape as an obligation (AuthZEN Profile for Obligations, draft of 2026-07-03): whoever can't do it must not answer.
fn obligation((index, shape): (usize, &Value)) -> Value {
    let mut obligation = json!({"type": "custom", "id": format!("shape-{}", index + 1), "vendor": "placet", "action": "shape"});
    if let (Some(members), Some(shape)) = (obligation.as_object_mut(), shape.as_object()) {
        members.extend(shape.clone());
    }
    obligation
}

/// `GET /.well-known/authzen-configuration` (§9): where each question is asked, as plain members and signed.
pub(crate) async fn configuration(State(app): State<Arc<App>>) -> Answer<Response> {
    let issuer = &app.issuer;
    let document = json!({
        "policy_decision_point": issuer,
        "access_evaluation_endpoint": format!("{issuer}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{issuer}/access/v1/evaluations"),
        "search_subject_endpoint": format!("{issuer}/access/v1/search/subject"),
        "search_resource_endpoint": format!("{issuer}/access/v1/search/resource"),
        "search_action_endpoint": format!("{issuer}/access/v1/search/action"),
        "access_request_endpoint": request::endpoint(&app),
        "capabilities": [request::CAPABILITY],
        "supported_obligations": ["custom"],
    });
    let document = metadata::signed(&app, Statement::DecisionPointMetadata, document)?;
    Ok(([(header::CACHE_CONTROL, metadata::KEPT)], Json(document)).into_response())
}

/// The same, where the issuer has this path (§9.2: the well-known part stands before it).
pub(crate) async fn configuration_at(
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
) -> Answer<Response> {
    if metadata::split(&app.issuer).1.strip_prefix('/') == Some(&path) {
        return configuration(State(app)).await;
    }
    Err(Problem::of(Code::NotFound, "there is no issuer with that path"))
}

/// The layer: whatever is answered here carries the request's own identifier (§10.1.10).
pub(crate) async fn identified<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix(metadata::split(&app.issuer).1).unwrap_or(path);
    let id: Option<HeaderValue> =
        path.starts_with("/access/v1/").then(|| request.headers().get(&REQUEST_ID).cloned()).flatten();
    let mut response = next(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
