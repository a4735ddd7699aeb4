//! The decision, pure: no I/O, no clock, no randomness, no counters (DESIGN §2, §4).
//!
//! [`judge`] asks, in this order: does every authority of the chain permit the action and every agent's level its
//! effect; does each agent's policies allow it, with all denies and guards; what are the limits and approvals of
//! all rules that had a say. It collects every denial it finds.
//!
//! Invariant: unknown is never yes. Nothing is allowed that some rule of every link's policies doesn't allow.

mod charge;
mod counted;
mod explain;
mod intent;
mod listener;
mod narrowed;
mod need;
mod observe;
pub mod outlook;
pub mod reach;
mod shaped;
mod subject;
#[cfg(test)]
mod tests;
pub mod trace;
mod usable;
mod verdict;

pub use counted::{advised, counted, exceeded, is_own, told};
pub use listener::Said;
pub use narrowed::narrowed;
pub use need::{Need, denied_if_blind, informed, need};
pub use observe::Observation;
pub use shaped::{AppliedShape, COST_PER_ANSWER, detects, is_shaped, shape};
pub use trace::Trace;
pub use usable::{McpServer, usable};

use crate::{
    action::Action,
    approval::Requirement,
    chain::Chain,
    intent::Asking,
    ledger::{Charge, Limit},
    policy::BoundPolicies,
    refusal::Reason,
    time::Timestamp,
};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The action may run, if the commit point can reserve its charges.
    Allow,
    /// People have to say yes first.
    Hold,
    /// It may not run.
    Deny,
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The authority it rests on.
    pub chain: &'a Chain,
    /// What is to be done.
    pub action: &'a Action,
    /// When.
    pub now: Timestamp,
    /// `context` of a trusted resource server or of an administrator's dry run; an agent's is absent.
    pub context: Option<&'a Value>,
}

/// A limit that applies, for people and for reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedLimit {
    /// `name@version` of the policy, or the grant's id.
    pub policy: Arc<str>,
    /// The rule's name, or `limits`.
    pub rule: Arc<str>,
    /// The limit.
    pub limit: Arc<Limit>,
}

/// What the rules say about one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The answer. `Allow` and `Hold` are before counters.
    pub verdict: Verdict,
    /// Why; for `Deny` at least one, for `Hold` one `approval_required` per requirement.
    pub reasons: Vec<Reason>,
    /// The limits that apply; empty for `Deny`.
    pub limits: Vec<AppliedLimit>,
    /// What the commit point has to reserve, each (counter, window) once; empty for `Deny`.
    pub charges: Vec<Charge>,
    /// What the rules that had their say do to what comes back; empty for `Deny`.
    pub shapes: Vec<AppliedShape>,
    /// What people have to approve first; empty unless the verdict is `Hold`.
    pub requirements: Vec<Requirement>,
    /// `name@version` of every policy in force that was evaluated, sorted.
    pub policies: Arc<[Arc<str>]>,
    /// The rules that were chosen, each as (`name@version` of the policy, rule), for people; empty for `Deny`.
    pub chosen: Vec<(Arc<str>, Arc<str>)>,
    /// What a judge has to be asked before it may run (`intent` of rules), by whoever takes it all the way; empty for
    /// `Deny`. To a dry run it makes no difference.
    pub intents: Vec<Asking>,
    /// What policies in `mode: observe` would have said, whatever the verdict is; bounded.
    pub observed: Vec<Observation>,
}

/// Judges a request by the policies bound to its chain ([`crate::policy::PolicySet::bind`]). Policies bound to another chain
/// deny everything.
pub fn judge(policies: &BoundPolicies, request: &Request<'_>) -> Judgement {
    verdict::judge(policies, request, &mut listener::Silence)
}

/// Judges as [`judge`] does, and says how it went.
pub fn traced(policies: &BoundPolicies, request: &Request<'_>) -> (Judgement, Trace) {
    let mut tracer = trace::Tracer::new(request);
    let judgement = verdict::judge(policies, request, &mut tracer);
    (judgement, tracer.trace())
}
