//! Plays steps one after the other and prints each: its number, a sentence, the request, the outcome.
//!
//! Invariant: a secret that an answer holds is printed as `…`.

use crate::{
    client::{Answer, Body, Client},
    exit::Failure,
    output::{Output, line},
};
use reqwest::Method;
use serde_json::{Map, Value, json};

/// Members whose values are secrets.
const SECRET: &[&str] = &[
    "client_secret",
    "registration_token",
    "access_token",
    "token",
    "secret",
    "password",
    "parent_token",
    "subject_token",
];
/// Characters of an answer that a person is shown.
const SHOWN: usize = 150;

/// Where the story is played.
#[derive(Debug)]
pub(super) struct Stage {
    out: Output,
    steps: usize,
    failed: usize,
}

/// One request of the story.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// What happens, in a sentence.
    pub(super) sentence: &'a str,
    /// The outcome that it should have.
    pub(super) expected: &'a str,
    /// The method.
    pub(super) method: Method,
    /// The path.
    pub(super) path: &'a str,
    /// Headers beside the usual ones.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub(super) body: Body<'a>,
}

impl Stage {
    pub(super) fn new(out: Output) -> Self {
        Self { out, steps: 0, failed: 0 }
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// How many did not give what they should.
    pub(super) fn failed(&self) -> usize {
        self.failed
    }

    /// Sends a request and prints what came of it. `look` says what is remarkable in the answer.
    ///
    /// # Errors
    /// A sentence, where the server can't be reached.
    pub(super) async fn step(
        &mut self,
        client: &Client,
        step: Step<'_>,
        look: impl FnOnce(&Value) -> String,
    ) -> Result<Value, Failure> {
        let shown = match &step.body {
            Body::Empty => Value::Null,
            Body::Json(value) => masked(value),
            Body::Form(members) => {
                let members = members.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
                masked(&Value::Object(members.collect::<Map<_, _>>()))
            }
            Body::Yaml(bytes) => Value::from(format!("{} bytes of YAML", bytes.len())),
        };
        let request = json!({"method": step.method.as_str(), "path": step.path, "body": shown});
        let answer = client.send(step.method, step.path, step.headers, step.body).await?;
        let outcome = outcome(&answer);
        let remark = look(&answer.body);
        self.print(step.sentence, &request, &outcome, step.expected, &remark, &masked(&answer.body));
        Ok(answer.body)
    }

    /// Prints a step that is a check of our own and no single request.
    pub(super) fn check(&mut self, sentence: &str, how: &str, outcome: &str, expected: &str, remark: &str) {
        self.print(
            sentence,
            &json!({"method": how, "path": "", "body": null}),
            outcome,
            expected,
            remark,
            &Value::Null,
        );
    }

    fn print(
        &mut self,
        sentence: &str,
        request: &Value,
        outcome: &str,
        expected: &str,
        remark: &str,
        answer: &Value,
    ) {
        self.steps += 1;
        let good = outcome == expected;
        if !good {
            self.failed += 1;
        }
        if self.out.is_json() {
            let document = json!({
                "step": self.steps, "sentence": sentence, "request": request, "outcome": outcome,
                "expected": expected, "ok": good, "remark": remark, "answer": answer,
            });
            return line(&document.to_string());
        }
        let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default();
        let body =
            request.get("body").filter(|body| !body.is_null()).map(Value::to_string).unwrap_or_default();
        self.out.sentence("");
        line(&self.out.strong(&format!("{:2}. {sentence}", self.steps)));
        self.out.sentence(format!("    {} {} {}", text("method"), text("path"), cut(&body)).trim_end());
        line(
            format!("    => {}  {}", self.out.word(outcome), crate::output::escaped(&cut(remark))).trim_end(),
        );
        if !good {
            self.out.sentence(&format!("    !! it should have been `{expected}`: {answer}"));
        }
    }
}

/// The outcome in the wire's own word; for what has none, the HTTP status.
fn outcome(answer: &Answer) -> String {
    let member = |name: &str| answer.body.get(name).and_then(Value::as_str);
    let word = match (member("decision"), member("status"), member("code")) {
        (_, _, Some("lineage_revoked" | "token_revoked")) => Some("revoked"),
        (Some(decision), _, _) => Some(decision),
        (_, Some("executed"), _) => Some("allow"),
        (_, Some("held"), _) => Some("hold"),
        (_, _, Some(code)) => Some(code),
        _ if answer.body.get("revoked").and_then(Value::as_bool) == Some(true) => Some("revoked"),
        _ => member("error"),
    };
    word.map_or_else(|| answer.status.to_string(), str::to_owned)
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mask = |(name, value): (&String, &Value)| {
                let secret = SECRET.contains(&name.as_str()) && value.is_string();
                (name.clone(), if secret { Value::from("…") } else { masked(value) })
            };
            Value::Object(members.iter().map(mask).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

fn cut(text: &str) -> String {
    let mut rest = text.chars();
    let mut out: String = rest.by_ref().take(SHOWN).collect();
    if rest.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_the_word_of_the_wire() {
        let word = |status, body| outcome(&Answer { status, body });
        assert_eq!(word(200, json!({"status": "executed", "id": "act_1"})), "allow");
        assert_eq!(word(202, json!({"status": "held"})), "hold");
        assert_eq!(word(403, json!({"status": 403, "code": "limit_exceeded", "decision": "deny"})), "deny");
        assert_eq!(word(401, json!({"status": 401, "code": "lineage_revoked"})), "revoked");
        assert_eq!(word(200, json!({"revoked": true})), "revoked");
        assert_eq!(word(400, json!({"error": "invalid_scope"})), "invalid_scope");
        assert_eq!(word(201, json!({"id": "usr_1"})), "201");
    }

    #[test]
    fn secrets_are_masked_wherever_they_are() {
        let shown = masked(
            &json!({"auth": {"type": "bearer", "secret": "x"}, "list": [{"token": "y"}], "name": "z"}),
        );
        assert_eq!(
            shown,
            json!({"auth": {"type": "bearer", "secret": "…"}, "list": [{"token": "…"}], "name": "z"})
        );
    }
}
