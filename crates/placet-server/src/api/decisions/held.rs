//! A decision that people have to make first: the approval of what a resource server asks, bound to all of it.
//!
//! The resource server sends the same question again with `approval`; the admission uses it up. Whoever performs it is
//! somebody else, so an answer is for this once, and no permit is made of it.
//!
//! Invariant: a different agent, grant, resource, parameter, context, policy version or resource server is a different
//! request.

use super::charged::Case;
use crate::{
    problem::Problem,
    question::{self, Question, Standing},
};
use placet_core::{
    approval::{Binding, RequestDigest},
    judge::Judgement,
    record::EntryType,
    refusal::Code,
};
use serde_json::{Map, Value, json};

/// Finds or makes the approval.
pub(super) async fn standing(case: &Case<'_>, judgement: &Judgement) -> Result<Standing, Problem> {
    let digest = digest(case, judgement)?;
    if let Some(id) = case.asks.approval {
        return question::presented(case.app, case.bearer, id, digest, case.asks.key.is_some(), case.now)
            .await;
    }
    let mut beside = Map::new();
    beside.insert("context".into(), json!(case.asks.context));
    let server = json!({"id": case.asks.server.id, "name": case.asks.server.name, "audience": case.asks.server.audience});
    beside.insert("resource_server".into(), server);
    let question = Question {
        // Who is told the answer itself learns nothing of what others have used.
        counted: case.asks.door.is_none(),
        bearer: case.bearer,
        policies: case.policies,
        judgement,
        action: case.action,
        beside,
        ground: None,
        envelope: case.envelope(EntryType::ApprovalRequested),
        body: case.body(&crate::way::intent::seen(judgement)),
    };
    question::ask(case.app, question, digest, case.now).await
}

/// The digest of everything that the approval is bound to.
pub(super) fn digest(case: &Case<'_>, judgement: &Judgement) -> Result<RequestDigest, Problem> {
    let leaf = &case.bearer.chain.leaf().grant;
    // Members in order, numbers as they were sent.
    let written = |value: &Value| {
        serde_json::to_vec(value).map_err(|_| Problem::of(Code::Internal, "a request could not be written"))
    };
    let context = case.asks.context.map(written).transpose()?.unwrap_or_default();
    let params = written(case.action.params.as_value())?;
    let binding = Binding {
        agent: leaf.agent,
        user: leaf.user,
        task: leaf.task,
        grant: leaf.id,
        service: &case.action.service.as_ref().map(ToString::to_string).unwrap_or_default(),
        connection: &case.asks.server.id.to_string(),
        // No HTTP method has a space: nothing at the action door is bound to the same.
        method: "a decision",
        target: &format!("{} {}", case.action.name.as_str(), case.action.resource.as_str()),
        headers: &[],
        content_type: if case.asks.context.is_some() { "application/json" } else { "" },
        body: &context,
        params: &params,
        facts: &[],
        requirements: &judgement.requirements,
    };
    Ok(binding.digest(&case.app.secrets.approvals))
}
