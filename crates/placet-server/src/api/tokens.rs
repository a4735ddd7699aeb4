//! `POST /v1/tokens/verify`: whether a token is good for what is about to be asked of it.
//!
//! Who may ask is who may introspect; to everybody else every token is one that never was.
//!
//! Invariant: what is not asked or can't be computed is `null` with a reason, never a guess.

use crate::{
    app::App,
    body::{JsonBody, OAuthParams},
    oauth::{
        introspect::{self, Asker},
        issue::scope_text,
    },
    problem::{Answer, Problem},
    sender::Sender,
};
use axum::{Json, extract::State, http::HeaderMap};
use placet_core::{
    chain::Chain,
    grant::{Authority, cover::uncovered},
    pattern::ActionPattern,
    refusal::Code,
    scope::Scope,
    task::Task,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    token: String,
    scope: Option<List>,
    task_id: Option<String>,
    parent_task_id: Option<String>,
    task_description: Option<String>,
    required_tools: Option<List>,
}

/// A list: an array, or words with spaces between.
#[derive(Debug)]
struct List(Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text.split_ascii_whitespace().map(str::to_owned).collect())),
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Self).ok_or_else(|| D::Error::custom("a list of texts"))
            }
            _ => Err(D::Error::custom("an array of texts, or words with spaces between")),
        }
    }
}

/// `POST /v1/tokens/verify {token, scope, task_id, parent_task_id, task_description, required_tools}`
pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    asker: Asker,
    JsonBody(question): JsonBody<Question>,
) -> Answer<Json<Value>> {
    let scope = parsed(question.scope.as_ref(), "scope", Scope::parse)?;
    let tools = parsed(question.required_tools.as_ref(), "required_tools", ActionPattern::parse)?;
    let mut findings = Findings::default();
    let live = introspect::live(&app, &question.token).await.map_err(failed)?;
    let Some(bearer) = live.filter(|bearer| asker.may_know(bearer)) else {
        findings.add("is_valid", Code::TokenInvalid.as_str(), "no live token that the caller may know of");
        return Ok(Json(json!({"is_valid": false, "scope": null, "cnf": null, "task_context_valid": null,
            "historical_pattern_match": null, "reasons": findings.with_history()})));
    };
    let chain = &bearer.chain;
    let effective = chain.effective();
    let reaches = reaches(&effective, &scope, &tools, &mut findings);
    let context = context(chain, &question, &mut findings);
    Ok(Json(json!({
        "is_valid": reaches && context != Some(false),
        "scope": scope_text(&effective),
        "cnf": bearer.claims.cnf,
        "task_context_valid": context,
        "historical_pattern_match": null,
        "reasons": findings.with_history(),
    })))
}

/// What was found, member by member of the answer.
#[derive(Default)]
struct Findings(Vec<Value>);

impl Findings {
    fn add(&mut self, member: &str, code: &str, detail: impl Into<String>) {
        self.0.push(json!({"member": member, "code": code, "detail": detail.into()}));
    }

    fn with_history(mut self) -> Vec<Value> {
        let detail = "this version computes no patterns of past actions";
        self.add("historical_pattern_match", "not_computed", detail);
        self.0
    }
}

/// Whether the token reaches all that is asked for.
fn reaches(effective: &Authority, scope: &[Scope], tools: &[ActionPattern], findings: &mut Findings) -> bool {
    let scopes = uncovered(scope, &effective.scope, Scope::covers);
    let beyond = uncovered(tools, &effective.tools, ActionPattern::covers);
    let mut names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    names.extend(beyond.iter().map(|tool| tool.as_str()));
    if names.is_empty() {
        return true;
    }
    let detail = format!("the token does not reach {}", names.join(", "));
    findings.add("is_valid", Code::NotGranted.as_str(), detail);
    false
}

/// Whether the task is the one that is named; `None` where nothing was said of it.
fn context(chain: &Chain, question: &Question, findings: &mut Findings) -> Option<bool> {
    let task = chain.leaf().task.as_deref();
    let parent = task.and_then(|task| task.parent).map(|id| {
        let known = chain.links().iter().filter_map(|link| link.task.as_deref()).find(|task| task.id == id);
        (id, known)
    });
    let is = |task: &Task, name: &str| task.id.to_string() == name || task.label.as_deref() == Some(name);
    let checks = [
        ("task_id", question.task_id.as_ref().map(|name| task.is_some_and(|task| is(task, name)))),
        (
            "parent_task_id",
            question.parent_task_id.as_ref().map(|name| {
                parent.is_some_and(|(id, known)| {
                    id.to_string() == *name || known.is_some_and(|task| is(task, name))
                })
            }),
        ),
        (
            "task_description",
            question
                .task_description
                .as_ref()
                .map(|text| task.is_some_and(|task| task.description.as_deref() == Some(text.as_str()))),
        ),
    ];
    let mut all = None;
    for (name, holds) in checks {
        let Some(holds) = holds else { continue };
        all = Some(all.unwrap_or(true) && holds);
        if !holds {
            findings.add("task_context_valid", "mismatch", format!("`{name}` is not the token's"));
        }
    }
    if all.is_none() {
        let detail = "nothing was said of the task: send `task_id`, `parent_task_id` or `task_description`";
        findings.add("task_context_valid", "not_asked", detail);
    }
    all
}

fn parsed<T, E: std::fmt::Display>(
    list: Option<&List>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Problem> {
    let items = list.map(|list| list.0.as_slice()).unwrap_or_default();
    let wrong = |error: E| Problem::of(Code::RequestInvalid, format!("`{name}`: {error}"));
    items.iter().map(|text| parse(text).map_err(wrong)).collect()
}

/// Who asks, as at the OAuth endpoints; a body of JSON has no credentials.
impl axum::extract::FromRequestParts<Arc<App>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        app: &Arc<App>,
    ) -> Result<Self, Problem> {
        asker(app, &Sender::of(parts), &parts.headers).await
    }
}

async fn asker(app: &App, sender: &Sender, headers: &HeaderMap) -> Result<Asker, Problem> {
    let public = introspect::Public::Refused;
    introspect::asker(app, sender, headers, &OAuthParams::default(), public).await.map_err(|error| {
        if let Some(code) = error.of_proof() {
            Problem::of(code, error.description)
        } else if error.status.as_u16() == 401 {
            Problem::of(Code::TokenInvalid, error.description)
        } else {
            failed(error)
        }
    })
}

fn failed(error: crate::problem::OAuthError) -> Problem {
    let code = match error.status.as_u16() {
        500 => Code::Internal,
        503 => Code::Unavailable,
        _ => Code::RequestInvalid,
    };
    Problem::of(code, error.description)
}
