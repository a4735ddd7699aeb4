//! Held actions: what a person has said about this very request, or the question that is put to people.
//!
//! Invariant: a yes is bound to everything that would be sent and judged by ([`digest`]), and used up by the commit point alone.

use super::{
    Answered, Described,
    case::Case,
    intent,
    permits::{self, Permitted},
};
use crate::{
    app::App,
    bearer::Bearer,
    problem::Problem,
    question::{self, Question},
    recording,
};
use placet_core::{
    approval::{
        Approval, Binding, RequestDigest,
        permit::{self, Ground},
    },
    id::{ApprovalId, PermitId},
    judge::Judgement,
    record::{EntryType, Envelope},
    refusal::Reason,
    service::ServiceAction,
};
use placet_store::approvals;
use serde_json::{Map, json};
use std::collections::BTreeSet;

/// What lets a held request go on; nothing where it was not held.
#[derive(Debug, Default)]
pub(super) struct Release {
    /// People said yes to exactly this request; the commit point uses it up.
    pub(super) approval: Option<(ApprovalId, [u8; 32])>,
    /// Permits answer for it; the commit point charges them.
    pub(super) permitted: Permitted,
}

/// How a held request stands.
pub(super) enum Standing {
    /// It may go on.
    Released(Release),
    /// People have been asked.
    Held(Answered),
    /// It can't go on.
    Refused(Reason),
}

/// Finds what answers for a held request, or puts the question to people. `spent` are permits that were found used up.
///
/// # Errors
/// Faults; what is said of the approval is a [`Standing`].
pub(super) async fn approved(
    case: &Case<'_>,
    judgement: &Judgement,
    spent: &BTreeSet<PermitId>,
) -> Result<Standing, Problem> {
    let Case { app, asked, bearer, now, .. } = case;
    let digest = digest(case, judgement);
    let standing = if let Some(id) = named(case, digest).await? {
        question::presented(app, bearer, id, digest, asked.idempotency_key.is_some(), *now).await?
    } else {
        if let Some(permitted) = permits::covering(case, judgement, spent).await? {
            return Ok(Standing::Released(Release { approval: None, permitted }));
        }
        question::ask(app, question(case, judgement)?, digest, *now).await?
    };
    Ok(match standing {
        question::Standing::Approved(approval) => {
            Standing::Released(Release { approval: Some(approval), ..Release::default() })
        }
        question::Standing::Held(approval) => Standing::Held(held(app, &approval)),
        question::Standing::Refused(reason) => Standing::Refused(reason),
    })
}

/// The approval that the request comes with: the one that it names, or at a door whose requests can name none the answer to
/// this very request: a yes that waits to be used, or a no, so that who was told no isn't asked again.
async fn named(case: &Case<'_>, digest: RequestDigest) -> Result<Option<ApprovalId>, Problem> {
    let Case { app, asked, bearer, now, .. } = case;
    let now = *now;
    if asked.approval.is_some() || !asked.takes_up() {
        return Ok(asked.approval);
    }
    let agent = bearer.chain.agent().id;
    Ok(app.store.read(move |q| approvals::answered_by_digest(q, agent, digest, now)).await?)
}

/// What people are asked about the request.
fn question<'a>(case: &'a Case<'_>, judgement: &'a Judgement) -> Result<Question<'a>, Problem> {
    let Case { asked, bearer, described, now, .. } = case;
    let call = &described.call;
    let mut beside = Map::new();
    beside.insert("connection".into(), described.connection.connection.name.as_str().into());
    beside
        .insert("request".into(), format!("{} {}{}", call.method.as_str(), call.origin, call.target).into());
    beside.insert("headers".into(), json!(call.headers));
    let beside = match described.beside(beside.into()) {
        serde_json::Value::Object(beside) => beside,
        _ => Map::new(),
    };
    Ok(Question {
        counted: false,
        bearer,
        policies: &bearer.policies,
        judgement,
        action: &described.action,
        beside,
        // What fits a purpose is said of one request: no permit is made of that.
        ground: (!judgement.requirements.iter().any(|asked| asked.intent)).then(|| ground(bearer, described)),
        envelope: Envelope {
            action: Some(described.action.name.as_str().to_owned()),
            service: described.action.service.as_ref().map(ToString::to_string),
            connection: described.action.connection,
            source: recording::source(asked.source),
            door: Some(asked.door.as_str().to_owned()),
            ..recording::attributed(
                EntryType::ApprovalRequested,
                *now,
                &bearer.chain,
                Some(bearer.claims.jti),
            )
        },
        body: described.beside(recording::action_body(
            &described.action,
            described.secret(),
            &intent::seen(judgement),
        )?),
    })
}

/// The 202 answer of an approval.
fn held(app: &App, approval: &Approval) -> Answered {
    Answered::Held { id: approval.action_id, approval: question::told(app, approval) }
}

/// The digest of everything that the approval is bound to.
pub(super) fn digest(case: &Case<'_>, judgement: &Judgement) -> RequestDigest {
    let Case { app, bearer, described, .. } = case;
    let leaf = &bearer.chain.leaf().grant;
    let params = serde_json::to_vec(&described.action.params).unwrap_or_default();
    Binding {
        agent: leaf.agent,
        user: leaf.user,
        task: leaf.task,
        grant: leaf.id,
        service: &described.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: &described.connection_label(),
        method: described.call.method.as_str(),
        target: &format!("{}{}", described.call.origin, described.call.target),
        headers: &described.call.headers,
        content_type: described.declared().and_then(ServiceAction::content_type).unwrap_or_default(),
        body: described.call.body.as_deref().unwrap_or_default(),
        params: &params,
        facts: &described.action.facts.bound(),
        requirements: &judgement.requirements,
    }
    .digest(&app.secrets.approvals)
}

impl Described {
    /// `connection@generation`.
    pub(super) fn connection_label(&self) -> String {
        let connection = &self.connection.connection;
        format!("{}@{}", connection.id, connection.generation)
    }
}

/// What a permit that is given with the answer would be bound to.
fn ground(bearer: &Bearer, described: &Described) -> Ground {
    Ground {
        action: described.action.name.clone(),
        effect: described.action.effect,
        known: described.action.known.clone(),
        service: described.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: described.connection_label(),
        connection_name: described.connection.connection.name.clone(),
        handle: bearer.chain.agent().handle.clone(),
        task_grant: permit::task_grant(&bearer.chain),
        until: bearer.chain.expires(),
    }
}
