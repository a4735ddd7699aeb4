//! What a proxy is told, in headers that it can hand on: to the upstream where a request is allowed, to the agent where
//! it is not.
//!
//! nginx drops the body of what it asks, so that a refusal stands in a header as well (`Placet-Problem`), whole, for a
//! page that says it.
//!
//! Invariant: no status but 200 says yes, and what an agent is told has gone through [`Problem::told`].

use super::{Answered, of_approval};
use crate::{app::App, problem::Problem, sender::proofs};
use axum::http::{HeaderName, HeaderValue, header};
use placet_core::{dpop::ALGORITHMS, judge::Verdict, refusal::Code};
use serde_json::{Map, Value};

/// A header.
pub(crate) type Named = (HeaderName, HeaderValue);

const DECISION: HeaderName = HeaderName::from_static("placet-decision");
const DECISION_ID: HeaderName = HeaderName::from_static("placet-decision-id");
const ACTION: HeaderName = HeaderName::from_static("placet-action");
const ACTION_NAME: HeaderName = HeaderName::from_static("placet-action-name");
const AGENT: HeaderName = HeaderName::from_static("placet-agent");
const USER: HeaderName = HeaderName::from_static("placet-user");
const TASK: HeaderName = HeaderName::from_static("placet-task");
const CODE: HeaderName = HeaderName::from_static("placet-code");
const PROBLEM: HeaderName = HeaderName::from_static("placet-problem");
const APPROVAL: HeaderName = HeaderName::from_static("placet-approval");
const APPROVAL_URL: HeaderName = HeaderName::from_static("placet-approval-url");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The headers that say to an upstream who does what. What an agent sends under one of these names says nothing.
pub(crate) const ALL_NAMES: [&str; 7] = [
    "placet-decision",
    "placet-decision-id",
    "placet-action",
    "placet-action-name",
    "placet-agent",
    "placet-user",
    "placet-task",
];

/// The longest problem document that stands in a header: proxies have room for 4 KiB of them.
const MAX_IN_HEADER: usize = 2048;

/// A refusal as a proxy hands it on.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// 401, 403, or that there is no decision (429 and 5xx); never one that means yes.
    pub(crate) status: u16,
    /// Its code.
    pub(crate) code: Code,
    /// Its headers.
    pub(crate) headers: Vec<Named>,
    /// The problem document.
    pub(crate) body: Vec<u8>,
}

/// The headers that an allowed request goes on with.
///
/// # Errors
/// One whose answer would have to be shaped, which no proxy does.
pub(super) fn allowed(answered: Box<Answered>) -> Result<Vec<Named>, Refusal> {
    let grant = &answered.bearer.chain.leaf().grant;
    if answered.verdict != Verdict::Allow || answered.shape.is_some() {
        return Err(Refusal::plain(Problem::of(
            Code::Internal,
            "a decision is no yes that can be passed on",
        )));
    }
    let action: placet_core::id::ActionId = answered.id.as_kind();
    let mut headers = vec![(DECISION, HeaderValue::from_static("allow"))];
    let said = [
        (DECISION_ID, Some(answered.id.to_string())),
        (ACTION, Some(action.to_string())),
        (ACTION_NAME, Some(answered.action.name.as_str().to_owned())),
        (AGENT, Some(grant.agent.to_string())),
        (USER, grant.user.map(|user| user.to_string())),
        (TASK, grant.task.map(|task| task.to_string())),
    ];
    for (name, text) in said {
        headers.extend(text.and_then(|text| named(name, &text)));
    }
    Ok(headers)
}

impl Refusal {
    /// Nobody is there whom anything could be allowed.
    pub(super) fn unauthenticated() -> Self {
        let detail = "send `Authorization: Bearer …` with an agent's access token";
        let mut refusal = Self::plain(Problem::of(Code::TokenInvalid, detail));
        refusal.headers.extend(named(header::WWW_AUTHENTICATE, "Bearer realm=\"placet\""));
        refusal
    }

    /// A refusal, with what to do about it where it is the token (RFC 6750 §3, RFC 9449 §7.1).
    pub(super) fn of(app: &App, problem: Problem) -> Self {
        let (code, scope) = (problem.code(), problem.scope());
        let mut refusal = Self::plain(problem);
        let challenge = match (refusal.status, scope) {
            (401, _) => {
                let scheme = match code {
                    Code::ProofRequired | Code::ProofInvalid | Code::NonceRequired => "DPoP",
                    _ => "Bearer",
                };
                let algorithms = if scheme == "DPoP" {
                    format!(", algs=\"{}\"", ALGORITHMS.join(" "))
                } else {
                    String::new()
                };
                Some(format!(
                    "{scheme} realm=\"placet\", error=\"{}\", error_description=\"{}\"{algorithms}",
                    code.oauth(),
                    code.as_str()
                ))
            }
            (403, Some(scope)) => Some(format!(
                "Bearer realm=\"placet\", error=\"{}\", error_description=\"{}\", scope=\"{scope}\"",
                code.oauth(),
                code.as_str()
            )),
            _ => None,
        };
        let challenge = challenge.and_then(|text| named(header::WWW_AUTHENTICATE, &text));
        refusal.headers.extend(challenge);
        if code == Code::NonceRequired {
            refusal.headers.extend(named(DPOP_NONCE, &proofs::nonce(app)));
        }
        refusal
    }

    /// A refusal until somebody has said yes.
    pub(super) fn held(app: &App, problem: Problem, approval: Value) -> Self {
        let told = [(APPROVAL, "id"), (APPROVAL_URL, "url")];
        let told: Vec<Named> = told
            .into_iter()
            .filter_map(|(name, member)| named(name, of_approval(&approval, member)?))
            .collect();
        let mut refusal = Self::of(app, problem.with("approval", approval));
        refusal.headers.retain(|(name, _)| name != DECISION);
        refusal.headers.push((DECISION, HeaderValue::from_static("hold")));
        refusal.headers.extend(told);
        refusal
    }

    fn plain(problem: Problem) -> Self {
        let code = problem.code();
        let status = match code.status() {
            401 => 401,
            // Nothing was decided: that is told as what it is, and no proxy takes it for a yes.
            status @ (429 | 500..) => status,
            // nginx knows no other refusal; and what is held would else be a 2xx.
            _ => 403,
        };
        let mut document = problem.told();
        document.insert("status".into(), status.into());
        let mut headers = vec![
            (DECISION, HeaderValue::from_static("deny")),
            (CODE, HeaderValue::from_static(code.as_str())),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
        ];
        headers.extend(named(PROBLEM, &in_header(&document)));
        if matches!(status, 429 | 503) {
            headers.push((header::RETRY_AFTER, HeaderValue::from(problem.seconds())));
        }
        let body = serde_json::to_vec(&document).unwrap_or_default();
        Self { status, code, headers, body }
    }
}

/// The problem document as a header, for who is told nothing else of it.
pub(super) fn in_words(problem: &Problem) -> Option<Named> {
    named(PROBLEM, &in_header(&problem.told()))
}

fn named(name: HeaderName, text: &str) -> Option<Named> {
    HeaderValue::from_str(text).ok().map(|value| (name, value))
}

/// A problem document as the value of a header: JSON in ASCII; without its reasons where it would be too long.
fn in_header(document: &Map<String, Value>) -> String {
    let whole = ascii(document);
    if whole.len() <= MAX_IN_HEADER {
        return whole;
    }
    let kept = ["type", "title", "status", "code", "decision", "id", "approval"];
    let short = document.iter().filter(|(name, _)| kept.contains(&name.as_str()));
    ascii(&short.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn ascii(document: &Map<String, Value>) -> String {
    let text = serde_json::to_string(document).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() && letter != '\u{7f}' {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_is_refused_has_a_status_that_means_yes() {
        for code in Code::ALL {
            let refusal = Refusal::plain(Problem::of(*code, "why"));
            assert!(matches!(refusal.status, 401 | 403 | 429 | 500..=599), "{code:?}: {}", refusal.status);
            let document: Value = serde_json::from_slice(&refusal.body).unwrap();
            assert_eq!(document["status"], json!(refusal.status), "{code:?}");
            assert!(refusal.headers.contains(&(DECISION, HeaderValue::from_static("deny"))));
        }
    }

    #[test]
    fn a_document_in_a_header_is_ascii_and_reads_the_same() {
        let document =
            json!({"code": "x", "detail": "ü\n\"€\" \u{1f600}\u{7f}"}).as_object().unwrap().clone();
        let text = in_header(&document);
        assert!(HeaderValue::from_str(&text).is_ok() && text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::Object(document));
        let long = json!({"code": "x", "detail": "a".repeat(5000)}).as_object().unwrap().clone();
        assert_eq!(in_header(&long), r#"{"code":"x"}"#);
    }
}
