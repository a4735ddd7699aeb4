//! Several questions at once: `{"decisions": [ … ]}`. One set of rules for all of them, one answer for each, in order.
//!
//! Each is judged as if it were asked alone: what one is refused or charged says nothing about another, but that a
//! resource server's charges are there for those that follow.
//!
//! Invariant: as many answers as questions, unless the caller said when to stop; a question that can't be answered is an
//! error in its place and never a yes.

use super::{Asking, Question, admit, advise, by_resource_server, dry_run, paced};
use crate::{
    app::App,
    caller::{Caller, Source},
    problem::{Answer, Problem},
};
use axum::{Json, http::HeaderMap};
use placet_core::refusal::Code;
use serde_json::{Value, json};

/// The most questions of one request.
pub(crate) const MOST: usize = 100;

/// `POST /v1/decisions {"decisions": [ … ]}`
pub(super) async fn decide(
    app: &App,
    asking: &Asking,
    source: Source,
    headers: &HeaderMap,
    beside: &Question,
    questions: Vec<Question>,
) -> Answer<Json<Value>> {
    let invalid = |detail: String| Problem::of(Code::RequestInvalid, detail);
    if !beside.is_empty() {
        return Err(invalid("beside `decisions` there is nothing else: say it in each".to_owned()));
    }
    if questions.is_empty() || questions.len() > MOST {
        return Err(invalid(format!("`decisions` are 1 to {MOST}")));
    }
    if headers.contains_key("idempotency-key") {
        return Err(invalid("`Idempotency-Key` is for one decision: ask for it alone".to_owned()));
    }
    let answers = ask(app, asking, source, questions.into_iter().map(Ok).collect(), |_| false).await?;
    let shown = answers.into_iter().map(|answer| answer.unwrap_or_else(|problem| failed(&problem)));
    Ok(Json(json!({"decisions": shown.collect::<Vec<_>>()})))
}

/// What stands in place of an answer.
fn failed(problem: &Problem) -> Value {
    json!({"decision": "deny", "error": error(problem)})
}

/// A refusal in place of an answer.
pub(crate) fn error(problem: &Problem) -> Value {
    let code = problem.code();
    json!({"status": code.status(), "code": code.as_str(), "message": problem.detail()})
}

impl Question {
    fn is_empty(&self) -> bool {
        self.action.is_none()
            && self.resource.is_none()
            && self.params.is_empty()
            && self.context.is_none()
            && !self.dry_run
            && !self.explain
            && self.agent.is_none()
            && self.task.is_none()
            && self.user.is_none()
            && self.token.is_none()
            && self.approval.is_none()
    }
}

/// Asks one after the other, until `enough` says so of an answer. What was no question to begin with is its own answer.
///
/// # Errors
/// What is wrong with all of them: the caller asks too often, the record can't be written.
pub(crate) async fn ask(
    app: &App,
    asking: &Asking,
    source: Source,
    questions: Vec<Answer<Question>>,
    enough: impl Fn(&Answer<Value>) -> bool + Send + Sync,
) -> Answer<Vec<Answer<Value>>> {
    let rules = app.rules.load_full();
    if let Asking::Caller(Caller::Agent(bearer)) = asking {
        paced(app, bearer, questions.len())?;
    }
    let (mut answers, mut entries) = (Vec::new(), Vec::new());
    for question in questions {
        let answer = match (question, asking) {
            (Err(problem), _) => Err(problem),
            (Ok(question), Asking::ResourceServer(server)) => {
                by_resource_server(app, server, source, None, question).await
            }
            (Ok(question), Asking::Caller(caller)) => match (admit(caller, &question), caller) {
                (Err(problem), _) => Err(problem),
                (Ok(()), Caller::Agent(bearer)) => {
                    let advice = advise(app, bearer, source, &rules, question).await;
                    advice.map(|(answer, entry)| {
                        entries.push(entry);
                        answer
                    })
                }
                (Ok(()), _) => dry_run(app, &rules, question).await,
            },
        };
        let stop = enough(&answer);
        answers.push(answer);
        if stop {
            break;
        }
    }
    if !entries.is_empty() {
        app.store.append(entries).await?;
    }
    Ok(answers)
}
