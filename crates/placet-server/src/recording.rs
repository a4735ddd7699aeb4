//! From what happened to an entry of the record: the envelope's common members, the commitment, the sealed body.
//!
//! Invariant: parameters that a service marks `secret` enter a body only as commitments.

use crate::{app::App, clock, problem::Problem};
use placet_core::{
    action::Action,
    chain::Chain,
    grant::Grant,
    id::TokenId,
    record::{Body, EntryType, Envelope, body::redact_secret_members},
    refusal::{Code, Reader, Reason},
    time::Timestamp,
};
use placet_store::{PreparedEntry, actions::StoredAction};
use serde_json::{Map, Value};
use std::net::SocketAddr;

/// An envelope of `entry_type` at `now`, with nothing but an id of its own.
pub fn entry(entry_type: EntryType, now: Timestamp) -> Envelope {
    Envelope::new(clock::fresh(now), entry_type, now)
}

/// An entry done by a person or the administrator token.
pub fn by(entry_type: EntryType, now: Timestamp, by: String) -> Envelope {
    Envelope { by: Some(by), ..entry(entry_type, now) }
}

/// The same, about a grant.
pub(crate) fn of_grant(entry_type: EntryType, now: Timestamp, by: String, grant: &Grant) -> Envelope {
    Envelope {
        agent: Some(grant.agent),
        chain: vec![grant.agent],
        grants: vec![grant.id],
        task: grant.task,
        user: grant.user,
        ..self::by(entry_type, now, by)
    }
}

/// An envelope that attributes what happened to the acting agent, its whole chain, the task and the user.
pub(crate) fn attributed(
    entry_type: EntryType,
    now: Timestamp,
    chain: &Chain,
    token: Option<TokenId>,
) -> Envelope {
    Envelope {
        agent: Some(chain.agent().id),
        chain: chain.links().iter().map(|link| link.agent.id).collect(),
        grants: chain.links().iter().map(|link| link.grant.id).collect(),
        task: chain.leaf().grant.task,
        user: chain.user_id(),
        token,
        ..entry(entry_type, now)
    }
}

/// The source address as it is recorded.
pub fn source(source: Option<SocketAddr>) -> Option<String> {
    source.map(|address| address.ip().to_string())
}

/// The body of an entry about an action: what it was done to, with what, and why it was refused.
///
/// # Errors
/// `internal` where a secret member can't be committed to.
pub(crate) fn action_body(action: &Action, secret: &[String], reasons: &[Reason]) -> Result<Value, Problem> {
    let mut params = action.params.as_value().clone();
    if !secret.is_empty() {
        redact_secret_members(&mut params, secret.iter().map(String::as_str), clock::entropy);
    }
    let mut body = Map::new();
    body.insert("resource".into(), action.resource.to_string().into());
    body.insert("params".into(), params);
    if !action.facts.is_empty() {
        body.insert("facts".into(), action.facts.shown());
    }
    if !reasons.is_empty() {
        let told: Vec<_> = reasons.iter().map(|reason| reason.disclosed_to(Reader::Administrator)).collect();
        let told = serde_json::to_value(told)
            .map_err(|_| Problem::of(Code::Internal, "a reason could not be written"))?;
        body.insert("reasons".into(), told);
    }
    Ok(Value::Object(body))
}

impl App {
    /// Makes an entry ready for the store: commits to `body`, seals it, encodes the leaf.
    ///
    /// # Errors
    /// `internal` where sealing fails.
    pub fn prepare(&self, mut envelope: Envelope, body: Option<&Value>) -> Result<PreparedEntry, Problem> {
        let sealed = body.map(|body| {
            let json = serde_json::to_vec(body).map_err(|_| failed())?;
            let body = Body::new(clock::entropy(), json);
            envelope.commitment = Some(body.commitment());
            body.seal(self.secrets.bodies.load().sealing(), envelope.id, clock::entropy())
                .map_err(|_| failed())
        });
        Ok(PreparedEntry::new(&envelope, sealed.transpose()?))
    }
}

/// What was asked when an action was admitted, as its entry in the record kept it.
#[derive(Debug)]
pub struct Intent {
    /// The entry.
    pub envelope: Envelope,
    /// Resource and parameters; none where the body was erased.
    pub body: Option<Value>,
}

impl App {
    /// Reads an action's intent; none where the row is older than its link to the record.
    pub fn intent(&self, action: &StoredAction) -> Option<Intent> {
        let envelope = Envelope::decode(action.intent.as_deref()?).ok()?;
        let keys = self.secrets.bodies.load();
        let body = action.sealed.as_deref().and_then(|sealed| {
            let key = keys.sealer_of(sealed)?;
            Body::open(key, envelope.id, sealed).ok()
        });
        let body = body.filter(|body| envelope.commitment == Some(body.commitment()));
        let body = body.and_then(|body| placet_core::json::parse(body.json()).ok());
        Some(Intent { envelope, body })
    }
}

fn failed() -> Problem {
    Problem::of(Code::Internal, "an entry of the record could not be sealed")
}
