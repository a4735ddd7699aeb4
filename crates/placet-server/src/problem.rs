//! How a refusal leaves the server: RFC 9457 problem documents everywhere but inside OAuth, RFC 6749 §5.2 errors
//! there.
//!
//! Invariant: what an agent is told goes through [`Reason::disclosed_to`]; a fault of ours is logged in full and
//! told as `internal`.

use crate::{challenge::Refused, operations::failures::RefusedWith};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use placet_core::{
    diagnostic::Diagnostic,
    refusal::{Code, Reader, Reason},
};
use placet_store::Fault;
use serde_json::{Map, Value, json};

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct Problem {
    reasons: Vec<Reason>,
    reader: Reader,
    members: Map<String, Value>,
    retry_after: Option<u64>,
}

/// What handlers answer with.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem for `reasons`, the first of which gives status and title; cut to what `reader` may see.
    pub fn new(reasons: Vec<Reason>, reader: Reader) -> Self {
        Self { reasons, reader, members: Map::new(), retry_after: None }
    }

    /// A problem with one code and a sentence for people.
    pub fn of(code: Code, detail: impl Into<String>) -> Self {
        Self::new(vec![Reason::of(code).detail(detail)], Reader::Agent)
    }

    /// The same with another member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with when to try again, in seconds (`Retry-After`).
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// In how many seconds to try again, where that helps.
    pub fn seconds(&self) -> u64 {
        self.retry_after.unwrap_or(1)
    }

    /// The first reason's code.
    pub fn code(&self) -> Code {
        self.reasons.first().map_or(Code::Internal, |reason| reason.code)
    }

    /// The first reason's sentence, else its title.
    pub fn detail(&self) -> &str {
        self.reasons
            .first()
            .and_then(|reason| reason.detail.as_deref())
            .unwrap_or_else(|| self.code().title())
    }

    /// The HTTP status of its answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The problem document, cut to what its reader may see.
    pub fn told(&self) -> Map<String, Value> {
        let code = self.code();
        let reasons = self.disclosed();
        let mut document = Map::new();
        document.insert("type".into(), format!("urn:placet:problem:{}", code.as_str()).into());
        document.insert("title".into(), code.title().into());
        document.insert("status".into(), code.status().into());
        document.insert("code".into(), code.as_str().into());
        if let Some(detail) = reasons.first().and_then(|reason| reason.detail.clone()) {
            document.insert("detail".into(), detail.into());
        }
        document.insert("reasons".into(), serde_json::to_value(&reasons).unwrap_or_default());
        document.extend(self.members.clone());
        document
    }

    /// The scope that would do, where it is a scope that is missing (RFC 6750 §3).
    pub fn scope(&self) -> Option<String> {
        let reasons = self.disclosed();
        let lacking = reasons.iter().filter(|reason| reason.code == Code::NotGranted);
        let needed =
            lacking.filter_map(|reason| reason.remedy.get("scope").or_else(|| reason.remedy.get("tool")));
        needed.filter_map(Value::as_str).next().map(str::to_owned)
    }

    fn disclosed(&self) -> Vec<Reason> {
        self.reasons.iter().map(|reason| reason.disclosed_to(self.reader)).collect()
    }

    /// A document (policy or service) that does not load, with every diagnostic.
    pub fn document(diagnostics: &[Diagnostic]) -> Self {
        let detail = diagnostics.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n");
        Self::of(Code::DocumentInvalid, detail)
            .with("diagnostics", serde_json::to_value(diagnostics).unwrap_or_default())
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::new(vec![reason], Reader::Agent)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy | Fault::Full | Fault::Io(_) | Fault::Unavailable(_) | Fault::Replaced => {
                tracing::error!(error = %fault, "the store does not answer");
                Self::of(Code::Unavailable, "the store does not answer; nothing was done, try again later")
            }
            fault => {
                tracing::error!(error = %fault, "the store failed");
                Self::of(Code::Internal, "the store failed; the log has the cause")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code();
        let body = serde_json::to_vec(&self.told()).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status(), kind, body).into_response();
        let (status, scope) = (self.status(), self.scope());
        response.extensions_mut().insert(Refused { code, scope });
        response.extensions_mut().insert(RefusedWith(code.as_str()));
        if status == StatusCode::SERVICE_UNAVAILABLE || code == Code::TooManyRequests {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.seconds()));
        }
        response
    }
}

/// An error of an OAuth endpoint (RFC 6749 §5.2).
#[derive(Debug, Clone)]
pub struct OAuthError {
    /// HTTP status.
    pub status: StatusCode,
    /// The `error` code.
    pub error: &'static str,
    /// The `error_description`.
    pub description: String,
}

impl OAuthError {
    /// An error with status 400.
    pub fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into() }
    }

    /// Failed client authentication: 401 `invalid_client`, always in the same words.
    pub fn invalid_client() -> Self {
        let description = "the client is unknown, not active, or can't prove that it is that one".to_owned();
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description }
    }

    /// The code of the table where it is about a DPoP proof.
    pub(crate) fn of_proof(&self) -> Option<Code> {
        [Code::ProofInvalid, Code::NonceRequired].into_iter().find(|code| code.oauth() == self.error)
    }
}

impl From<Problem> for OAuthError {
    fn from(problem: Problem) -> Self {
        let code = problem.code();
        // RFC 9449 §5 and §8: what is wrong with a proof has errors of its own.
        if matches!(code, Code::ProofInvalid | Code::NonceRequired) {
            return Self::new(code.oauth(), problem.detail());
        }
        // RFC 6749 §5.2 knows 400 and 401; what the token endpoint refuses about a presented token is a bad grant.
        let (status, error) = match code.status() {
            401 | 403 => (StatusCode::BAD_REQUEST, "invalid_grant"),
            status => {
                (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code.oauth())
            }
        };
        Self { status, error, description: format!("{}: {}", code.as_str(), problem.detail()) }
    }
}

impl From<Fault> for OAuthError {
    fn from(fault: Fault) -> Self {
        Problem::from(fault).into()
    }
}

impl From<Reason> for OAuthError {
    fn from(reason: Reason) -> Self {
        Problem::from(reason).into()
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": self.error, "error_description": self.description}));
        let mut response = (self.status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        response.extensions_mut().insert(RefusedWith(self.error));
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(code) = self.of_proof() {
            response.extensions_mut().insert(Refused { code, scope: None });
        } else if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6749 §5.2 and RFC 6750 §3: the scheme that would do where this was refused.
            let scheme = if self.error == "invalid_client" {
                "Basic realm=\"placet\""
            } else {
                "Bearer realm=\"placet\", error=\"invalid_token\""
            };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        response
    }
}
