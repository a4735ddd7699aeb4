//! What is left to a judge of intent, after everything else has said yes and before anything is reserved.
//!
//! The judge takes seconds in which much may change, so that after it was asked everything is judged anew; what it said of
//! the same question is not asked again for the same request.
//!
//! Invariant: it only tightens; dry runs, advice, listings and members of answers never come here; where people have been
//! asked about this very request, what the policy leaves to people is not asked of a judge.

use super::{
    Stop,
    case::{Case, unshowable},
    hold::{self, Release},
};
use crate::{
    app::App,
    clock,
    intent::{Failure, Judge, Opinion},
    problem::Problem,
};
use placet_core::{
    action::Action,
    approval::{ApprovalState, RequestDigest},
    chain::{Chain, Link},
    id::{AgentId, ApprovalId},
    intent::{OBSERVED, Purpose, prompt::About},
    judge::{Judgement, Verdict, advised},
    record::body::redact_secret_members,
    refusal::{Code, Reason},
    time::Timestamp,
};
use placet_store::{approvals, purposes};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// What was asked for this request, and what was said.
pub(crate) struct Heard {
    /// The purpose and the action, as they were asked about.
    question: String,
    opinion: Opinion,
}

/// How it goes on.
pub(crate) enum Fit {
    /// It may.
    Goes,
    /// The judge was asked: all is judged anew.
    Anew,
    /// It does not fit, for these reasons.
    Denied(Vec<Reason>),
    /// People are asked, as the judgement says now.
    Held,
}

/// People are asked in the judge's place, where they are asked anyway, or have been.
pub(crate) fn prefer_people(judgement: &mut Judgement, approval: Option<ApprovalId>) {
    if judgement.verdict == Verdict::Hold || (judgement.verdict == Verdict::Allow && approval.is_some()) {
        judgement.leave_intent_to_people();
    }
}

/// Asks the judge about an action that everything else allows, or takes what it said before.
pub(crate) async fn fit(
    app: &App,
    (chain, action, secret): (&Chain, &Action, &[String]),
    judgement: &mut Judgement,
    heard: &mut Option<Heard>,
    now: Timestamp,
) -> Result<Fit, Problem> {
    if judgement.intents.is_empty() {
        return Ok(Fit::Goes);
    }
    let mut params = action.params.as_value().clone();
    if !secret.is_empty() {
        let members = || secret.iter().map(String::as_str);
        let mut again = params.clone();
        redact_secret_members(&mut params, members(), clock::entropy);
        redact_secret_members(&mut again, members(), clock::entropy);
        without_commitments(&mut params, &again);
    }
    // Rules that leave nothing to people or to a purpose don't come here without one.
    let Some((link, purpose)) = Purpose::with_link(chain) else {
        return Ok(denied(judgement, &failed(Failure::Unreadable)));
    };
    let (name, resource) = (action.name.as_str(), action.resource.as_str());
    let about = About { purpose, action: name, resource, effect: action.effect, params: &params };
    let question = format!("{about:?}");
    if let Some(known) = heard.as_ref().filter(|known| known.question == question) {
        let fits = known.opinion.fits();
        return Ok(if fits { Fit::Goes } else { denied(judgement, &known.opinion.clone()) });
    }
    // Nobody is asked about what a used-up limit would refuse anyway.
    let counters = super::standings(app, judgement, now).await?;
    // As far as an agent may know of them: a judge's no would otherwise make a free question of each request.
    if let (Verdict::Deny, reasons) = advised(judgement, chain, &counters) {
        return Ok(Fit::Denied(reasons));
    }
    let opinion = match &app.judge {
        Some(judge) => ask(app, judge, link, chain.root_agent(), &about).await?,
        None => failed(Failure::NotConfigured),
    };
    app.operations.metrics.intents.add(&[("verdict", opinion.word())]);
    *heard = Some(Heard { question, opinion });
    Ok(Fit::Anew)
}

/// Asks the judge, as long as it has not said no to actions of the task too often. `link`: the one with the task.
async fn ask(
    app: &App,
    judge: &Judge,
    link: &Link,
    agent: AgentId,
    about: &About<'_>,
) -> Result<Opinion, Problem> {
    let Some(task) = link.grant.task else { return Ok(failed(Failure::Exhausted)) };
    let expires = link.grant.authority.expires;
    let is_exhausted = || async {
        let refusals = app.store.read(move |q| purposes::refusals(q, task)).await?;
        Ok::<_, Problem>(refusals >= judge.task_refusals())
    };
    if is_exhausted().await? {
        return Ok(failed(Failure::Exhausted));
    }
    let opinion = judge.ask(Some(agent), about).await;
    if opinion.refuses() {
        app.store.write(move |tx| purposes::refused(tx, task, expires)).await?;
        return Ok(opinion);
    }
    // Of many questions at once the last may have been one too many.
    if opinion.fits() && is_exhausted().await? {
        return Ok(opinion.exhausted());
    }
    Ok(opinion)
}

/// What people have said, or are asked, of this very request sent before: while their question is open no judge is asked in
/// their place, and their no is not asked again of one.
pub(crate) enum People {
    /// Nothing.
    Silent,
    /// They are being asked, as this judgement says.
    Asked(Box<Judgement>),
    /// They said no.
    Refused,
}

/// See [`People`]; `digest`: of the request, as people are asked about it by a judgement.
///
/// # Errors
/// Faults of the store.
pub(crate) async fn people(
    app: &App,
    agent: AgentId,
    judgement: &Judgement,
    digest: impl FnOnce(&Judgement) -> Result<RequestDigest, Problem>,
    now: Timestamp,
) -> Result<People, Problem> {
    let mut left = judgement.clone();
    left.leave_intent_to_people();
    if left.verdict != Verdict::Hold {
        return Ok(People::Silent);
    }
    let digest = digest(&left)?;
    let found = app.store.read(move |q| approvals::said_by_digest(q, agent, digest, now)).await?;
    Ok(match found {
        Some(ApprovalState::Denied) => People::Refused,
        Some(_) => People::Asked(Box::new(left)),
        None => People::Silent,
    })
}

fn failed(failure: Failure) -> Opinion {
    Opinion { said: Err(failure), prompt: None, model: String::new(), took: Duration::ZERO }
}

fn denied(judgement: &mut Judgement, opinion: &Opinion) -> Fit {
    match judgement.does_not_fit(&opinion.recorded()) {
        Ok(()) => Fit::Held,
        Err(reasons) => Fit::Denied(reasons),
    }
}

/// Puts a word in the place of what a service marks as secret: a commitment is salted, and so another each time, which
/// would make every question another one. `again` was redacted by itself: nothing but commitments differs.
fn without_commitments(params: &mut Value, again: &Value) {
    match (params, again) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                match (&*value, other.get(name)) {
                    (Value::Object(members), Some(same))
                        if members.len() == 1
                            && *value != *same
                            && members.get("$commitment").is_some_and(Value::is_string) =>
                    {
                        *value = "(secret)".into();
                    }
                    (_, Some(same)) => without_commitments(value, same),
                    (_, None) => {}
                }
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.iter_mut().zip(other).for_each(|(value, same)| without_commitments(value, same));
        }
        _ => {}
    }
}

/// The body of an entry, with what the judge said beside the rest.
pub(crate) fn beside(mut body: Value, judgement: &Judgement, heard: Option<&Heard>) -> Value {
    if let (Value::Object(members), Some(heard), false) = (&mut body, heard, judgement.intents.is_empty()) {
        members.insert(OBSERVED.to_owned(), heard.opinion.recorded());
    }
    body
}

/// The reasons of a judgement that say what was seen of the intent, for the record.
pub(crate) fn seen(judgement: &Judgement) -> Vec<Reason> {
    judgement.reasons.iter().filter(|reason| reason.observed.contains_key(OBSERVED)).cloned().collect()
}

/// The judge's part of the way, at the doors that carry out: what lets the request go on, `release` where nothing else does.
///
/// # Errors
/// It is judged anew once the judge was asked; it is answered, held or denied.
pub(super) async fn pass(
    case: &mut Case<'_>,
    release: Release,
    heard: &mut Option<Heard>,
) -> Result<Release, Stop> {
    if case.judgement.intents.is_empty() {
        return Ok(release);
    }
    if heard.is_none() {
        // Before anybody is asked: it may be what ran already, sent again.
        case.first_use().await?;
        if case.asked.approval.is_none() {
            let digest = |left: &Judgement| Ok(hold::digest(case, left));
            match people(case.app, case.bearer.chain.agent().id, &case.judgement, digest, case.now).await? {
                People::Silent => {}
                People::Asked(left) => return case.approved(&left, &BTreeSet::new()).await,
                People::Refused => return Err(case.deny(vec![Reason::of(Code::ApprovalDenied)]).await),
            }
        }
    }
    let about = (&case.bearer.chain, &*case.described.action, case.described.secret());
    match fit(case.app, about, &mut case.judgement, heard, case.now).await? {
        Fit::Goes => Ok(release),
        Fit::Anew => Err(Stop::Anew),
        Fit::Denied(reasons) => Err(case.deny(reasons).await),
        Fit::Held if case.described.call.streamed => Err(case.deny(vec![unshowable()]).await),
        Fit::Held => case.approved(&case.judgement, &BTreeSet::new()).await,
    }
}
