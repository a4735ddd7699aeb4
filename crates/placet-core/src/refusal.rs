//! Every refusal that Placet can give, in one table: code, HTTP status, OAuth error, title, whether an agent may
//! see its details.
//!
//! A [`Reason`] is one stated cause of a decision. It holds everything that is known; [`Reason::disclosed_to`] cuts
//! it down to what its reader may see (DESIGN §5, "Who is told what").
//!
//! Invariant: a refusal that is not in this table can't be expressed.

use serde::Serialize;
use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $status:literal, $oauth:literal, $title:literal;)*) => {
        /// A stable code for one kind of refusal (or hold), the same on every door.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as on the wire.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $wire,)* } }
            /// The HTTP status of an answer whose first reason this is.
            pub const fn status(self) -> u16 { match self { $(Self::$name => $status,)* } }
            /// The `error` of RFC 6749 §5.2 or RFC 6750 §3.1 where the refusal happens inside OAuth.
            pub const fn oauth(self) -> &'static str { match self { $(Self::$name => $oauth,)* } }
            /// One short sentence for people.
            pub const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
        }
    };
}

codes! {
    /// No usable token came with the request, or it is not one of ours.
    TokenInvalid = "token_invalid", 401, "invalid_token", "The access token is missing, malformed or not meant for this endpoint";
    /// The token's time is over.
    TokenExpired = "token_expired", 401, "invalid_token", "The access token has expired";
    /// The token's own grant was revoked.
    TokenRevoked = "token_revoked", 401, "invalid_token", "The token's grant was revoked";
    /// The token is bound to a key, and the request does not prove that its sender holds it; or the other way round.
    ProofRequired = "proof_required", 401, "invalid_token", "The access token has to come with a DPoP proof of its key, and only such a token may";
    /// The token is bound to a certificate that the request did not come with.
    CertificateRequired = "certificate_required", 401, "invalid_token", "The access token has to come with the certificate that it is bound to, over mutual TLS";
    /// The DPoP proof is malformed, for another request, or was used before.
    ProofInvalid = "proof_invalid", 401, "invalid_dpop_proof", "The DPoP proof is not valid for this request";
    /// The DPoP proof has no nonce of the server's, or an old one.
    NonceRequired = "nonce_required", 401, "use_dpop_nonce", "The DPoP proof needs the nonce that this answer brings";
    /// The password was right, and a one-time code is missing, wrong or used.
    SecondFactorRequired = "second_factor_required", 401, "invalid_token", "A one-time code is needed as well, one that was not used";
    /// A grant above the token's own was revoked or has expired.
    LineageRevoked = "lineage_revoked", 401, "invalid_token", "Authority above this token was revoked";
    /// The task was completed, revoked or has expired.
    TaskEnded = "task_ended", 401, "invalid_token", "The task has ended";
    /// An agent of the chain is not active.
    AgentInactive = "agent_inactive", 401, "invalid_token", "The agent is not active";
    /// The grant, one above it or the agent's registration doesn't cover the action.
    NotGranted = "not_granted", 403, "insufficient_scope", "The grant does not cover this action";
    /// No allow rule names the action and resource.
    NoRule = "no_rule", 403, "access_denied", "No policy rule allows this action";
    /// A deny rule matches.
    Forbidden = "forbidden", 403, "access_denied", "A policy rule forbids this action";
    /// A condition of a rule or guard is false.
    ConditionFailed = "condition_failed", 403, "access_denied", "A condition does not hold";
    /// A condition could not be evaluated.
    ConditionUnknown = "condition_unknown", 403, "access_denied", "A condition could not be evaluated";
    /// It is outside the hours of a rule or guard.
    OutsideHours = "outside_hours", 403, "access_denied", "It is outside the hours of a rule";
    /// The action doesn't fit the purpose of its task, or that can't be told.
    IntentMismatch = "intent_mismatch", 403, "access_denied", "The action does not fit the purpose of its task";
    /// What the MCP server says of the tool is not what was accepted.
    ToolQuarantined = "tool_quarantined", 403, "access_denied", "The tool is not what was accepted, and waits to be looked at";
    /// A counter would pass its maximum.
    LimitExceeded = "limit_exceeded", 403, "access_denied", "A limit is used up";
    /// A person has to decide first (this one is a hold).
    ApprovalRequired = "approval_required", 202, "authorization_pending", "A person has to approve this action";
    /// A person said no.
    ApprovalDenied = "approval_denied", 403, "access_denied", "The approval was denied";
    /// Nobody answered in time, or the answer was not used in time.
    ApprovalExpired = "approval_expired", 403, "access_denied", "The approval has expired";
    /// The request is not the one that was approved.
    ApprovalMismatch = "approval_mismatch", 403, "access_denied", "The approval is for a different request";
    /// The approval was used before.
    ApprovalUsed = "approval_used", 403, "access_denied", "The approval was already used";
    /// The caller is signed in but may not do this.
    NotPermitted = "not_permitted", 403, "access_denied", "The caller may not do this";
    /// What was asked for does not exist, or the caller may not know that it does.
    NotFound = "not_found", 404, "invalid_request", "There is no such thing";
    /// It was there, and its time is over.
    Expired = "expired", 410, "invalid_request", "Its time is over";
    /// The method is not one this path has.
    MethodNotAllowed = "method_not_allowed", 405, "invalid_request", "The method is not allowed here";
    /// The parameters are not ones the action takes.
    ParamsInvalid = "params_invalid", 400, "invalid_request", "The parameters are not valid for this action";
    /// The request is malformed.
    RequestInvalid = "request_invalid", 400, "invalid_request", "The request is not valid";
    /// The request is for another host than its connection.
    Misdirected = "misdirected", 421, "invalid_request", "The request is for another host than its connection";
    /// The document (policy, service) does not load.
    DocumentInvalid = "document_invalid", 422, "invalid_request", "The document has errors";
    /// The content type is not one the endpoint takes.
    MediaTypeUnsupported = "media_type_unsupported", 415, "invalid_request", "The content type is not supported";
    /// The endpoint answers in none of the forms that were asked for.
    NotAcceptable = "not_acceptable", 406, "invalid_request", "There is no such form of the answer";
    /// The standard has it, and this server does not.
    NotSupported = "not_supported", 501, "invalid_request", "This is not supported";
    /// The body comes more slowly than the service takes it; what came of it may have been sent.
    RequestSlow = "request_slow", 408, "invalid_request", "The body comes too slowly";
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413, "invalid_request", "The body is too large";
    /// Something with this name or state exists already.
    Conflict = "conflict", 409, "invalid_request", "The request conflicts with what exists";
    /// The same idempotency key is being worked on.
    IdempotencyInFlight = "idempotency_in_flight", 409, "invalid_request", "A request with this idempotency key is in flight";
    /// The idempotency key was used for a different request.
    IdempotencyMismatch = "idempotency_mismatch", 422, "invalid_request", "The idempotency key belongs to a different request";
    /// Too many approvals wait for this agent.
    TooManyPending = "too_many_pending", 429, "slow_down", "Too many approvals are pending for this agent";
    /// The caller asks more often than it may.
    TooManyRequests = "too_many_requests", 429, "slow_down", "Too many requests";
    /// Upstream could not be reached; nothing was sent.
    UpstreamUnreachable = "upstream_unreachable", 502, "server_error", "The upstream could not be reached";
    /// Upstream answered with something that can't be passed on.
    UpstreamUnreadable = "upstream_unreadable", 502, "server_error", "The upstream's answer could not be read";
    /// The result can't be shaped as a policy says.
    ResultWithheld = "result_withheld", 403, "access_denied", "The action was carried out, and its result is withheld";
    /// The result has what a policy keeps from agents.
    ResultSensitive = "result_sensitive", 403, "access_denied", "The action was carried out, and its result has what is kept from agents";
    /// Upstream didn't answer in time; it may have acted.
    UpstreamTimeout = "upstream_timeout", 504, "server_error", "The upstream did not answer in time";
    /// Upstream has not answered of late; nothing was sent or reserved.
    UpstreamUnavailable = "upstream_unavailable", 503, "temporarily_unavailable", "The upstream does not answer, and is tried again later";
    /// Too many calls to this upstream are under way; nothing was sent or reserved.
    UpstreamBusy = "upstream_busy", 503, "temporarily_unavailable", "Too many calls to the upstream are under way";
    /// A part that is needed to decide doesn't answer.
    Unavailable = "unavailable", 503, "temporarily_unavailable", "A part of the service is unavailable";
    /// A fault of Placet's own.
    Internal = "internal", 500, "server_error", "Something failed inside Placet";
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Who reads a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The agent that asked: bounds on and values of what it sent itself, its own limits' reset time, nothing else.
    Agent,
    /// Administrators, auditors and the record: everything.
    Administrator,
}

/// One stated cause of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The kind of refusal.
    pub code: Code,
    /// `name@version` of the policy that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rule's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The source text of the condition or limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// The values that the condition read, by path.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub observed: Map<String, Value>,
    /// What would make it pass: by path, `{"max": …}`, `{"one_of": …}`, or `retry_at`, `approval`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub remedy: Map<String, Value>,
    /// A sentence for people, never needed by a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Reason {
    /// A reason that is nothing but its code.
    pub fn of(code: Code) -> Self {
        Self {
            code,
            policy: None,
            rule: None,
            expression: None,
            observed: Map::new(),
            remedy: Map::new(),
            detail: None,
        }
    }

    /// The same with a sentence for people. It reaches agents: only what the agent sent or may know goes in.
    #[must_use]
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        self.detail = Some(text.into());
        self
    }

    /// The same from a rule of a policy.
    #[must_use]
    pub fn from_rule(mut self, policy: impl Into<String>, rule: impl Into<String>) -> Self {
        self.policy = Some(policy.into());
        self.rule = Some(rule.into());
        self
    }

    /// What `reader` may see of it.
    ///
    /// An agent keeps values and bounds of `params.*` (it sent them) and the reset time of its own limits. Where a
    /// condition read anything else, its source text goes too: it would tell facts by their bounds.
    #[must_use]
    pub fn disclosed_to(&self, reader: Reader) -> Self {
        if reader == Reader::Administrator {
            return self.clone();
        }
        // What was planned, named or thought of the intent tells how to get past it.
        if self.code == Code::IntentMismatch {
            return Self::of(self.code);
        }
        let own =
            |path: &String| path == "params" || path.starts_with("params.") || path.starts_with("params[");
        let only_own = self.observed.keys().all(own);
        let observed =
            self.observed.iter().filter(|(path, _)| own(path)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let remedy = self
            .remedy
            .iter()
            .filter(|(path, _)| own(path) || AGENT_REMEDIES.contains(&path.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        Self { observed, remedy, expression: self.expression.clone().filter(|_| only_own), ..self.clone() }
    }
}

/// Remedies that are about the agent's own standing, or that the person it acts for has, and so may be told to it.
const AGENT_REMEDIES: &[&str] = &[
    "retry_at",
    "approval",
    "scope",
    "tool",
    "resource",
    "authorization_details",
    "level",
    "action",
    "connection",
    "connect",
    "max",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_documented() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!((200..600).contains(&code.status()) && !code.title().is_empty());
        }
    }

    #[test]
    fn an_agent_sees_only_what_it_sent() {
        let mut reason = Reason::of(Code::ConditionFailed);
        reason.expression = Some("params.amount <= user.claims.cap".into());
        reason.observed = serde_json::from_str(r#"{"params.amount": 7, "user.claims.cap": 5}"#).unwrap();
        reason.remedy =
            serde_json::from_str(r#"{"params.amount": {"max": 5}, "user.claims.cap": {"min": 7}}"#).unwrap();
        let seen = serde_json::to_value(reason.disclosed_to(Reader::Agent)).unwrap();
        assert_eq!(
            seen,
            serde_json::json!({"code": "condition_failed", "observed": {"params.amount": 7},
                               "remedy": {"params.amount": {"max": 5}}})
        );
        assert_eq!(reason.disclosed_to(Reader::Administrator), reason);
    }
}
