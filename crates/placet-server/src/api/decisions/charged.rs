//! Charged decisions: a resource server asks whether the agent whose token it was shown may do something, and does it.
//!
//! The same judgement and the same commit point as at the action door; only what is performed is performed by the
//! resource server, which says afterwards what became of it. What it states of the action and its `context` are
//! `trusted_caller`: taken as given. Until it says otherwise, a decision stays charged.
//!
//! With an `Idempotency-Key` a question that is sent again while the decision is open is answered with that decision and
//! not charged again: for a resource server that lost the answer. Once it is closed, the key is used up.
//!
//! Invariant: nobody is allowed anything without an admission, and a resource server is told of no token but those of
//! its audience.

use super::{Asked, Decision, Question, Told, held, stated};
use crate::{
    app::App,
    bearer::{self, Bearer, Meant},
    caller::Source,
    clock,
    problem::{Answer, Problem},
    question::{self, Standing},
    recording,
    rules::Rules,
    way::{self, intent, observe, returned},
};
use axum::Json;
use placet_core::{
    action::Action,
    id::{ActionId, ApprovalId, DecisionId},
    judge::{self, AppliedShape, Judgement, Observation, Request, Verdict, exceeded},
    policy::BoundPolicies,
    record::{EntryType, Envelope, body::redact_secret_members, leaf},
    refusal::{Code, Reader, Reason},
    secret::sha256,
    time::Timestamp,
};
use placet_store::{
    Admission, Refused, Version, actions::ActionState, admit::Key, decisions, observations::Observed,
    resource_servers::ResourceServer,
};
use serde_json::{Value, json};
use std::time::Duration;

/// How often a request is judged anew because what it was judged on changed meanwhile.
const ATTEMPTS: usize = 20;
/// How long a decision counts as under way where its outcome is not told.
const UNDER_WAY: Duration = Duration::from_secs(15 * 60);
/// How long an idempotency key is kept; one of an open decision stays.
const KEY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most bytes of a `context`: it is recorded.
const MAX_CONTEXT: usize = 64 * 1024;

/// What is asked, in one attempt to answer it.
pub(super) struct Case<'a> {
    pub(super) app: &'a App,
    pub(super) server: &'a ResourceServer,
    pub(super) bearer: &'a Bearer,
    pub(super) policies: &'a BoundPolicies,
    pub(super) rules: &'a Rules,
    pub(super) action: &'a Action,
    pub(super) context: Option<&'a Value>,
    pub(super) approval: Option<ApprovalId>,
    pub(super) unshaped: bool,
    pub(super) key: Option<&'a str>,
    pub(super) source: Source,
    pub(super) now: Timestamp,
}

/// One decision.
pub(super) async fn decide(
    app: &App,
    server: &ResourceServer,
    source: Source,
    key: Option<String>,
    mut question: Question,
) -> Answer<Json<Value>> {
    if question.agent.is_some() || question.task.is_some() || question.user.is_some() {
        let detail = "the agent's `token` says for whom: leave `agent`, `task` and `user` out";
        return Err(super::invalid(detail));
    }
    let token = question
        .token
        .take()
        .ok_or_else(|| super::invalid("`token` is missing: the agent's access token"))?;
    let (context, approval, dry_run) = (question.context.take(), question.approval, question.dry_run);
    let (explain, unshaped) = (question.explain, question.unshaped);
    if explain && !dry_run {
        let detail = "an explanation is of a dry run: send `\"dry_run\": true` with it";
        return Err(super::invalid(detail));
    }
    if context.as_ref().is_some_and(|context| !context.is_object() || context.to_string().len() > MAX_CONTEXT)
    {
        return Err(super::invalid(format!("`context` is an object of at most {MAX_CONTEXT} bytes")));
    }
    let asked = Asked::read(question)?;
    let mut heard = None;
    for _ in 0..ATTEMPTS {
        let bearer = match bearer::live_for(app, &token, Meant::Audience(&server.audience)).await {
            Ok(bearer) => bearer,
            // The resource server's own credentials are fine: that the agent's are not is the answer.
            Err(problem) if problem.code().status() == 401 => {
                let reason = Reason::of(problem.code()).detail(problem.detail());
                return Ok(Json(Decision::denied(&asked, reason).shown(id(app), Reader::Administrator)));
            }
            Err(problem) => return Err(problem),
        };
        let rules = app.rules.load_full();
        // Bound anew where the rules were swapped since the token was looked up.
        let rebound = (!bearer.is_bound_by(&rules)).then(|| rules.policies.bind(&bearer.chain));
        let mut action = match stated(&rules, &asked)? {
            Ok(action) => action,
            Err(reason) => {
                return Ok(Json(Decision::denied(&asked, reason).shown(id(app), Reader::Administrator)));
            }
        };
        let policies = rebound.as_ref().unwrap_or(&bearer.policies);
        if !dry_run {
            returned::gather(app, policies, &bearer.chain, &mut action).await?;
        }
        let case = Case {
            app,
            server,
            bearer: &bearer,
            policies,
            rules: &rules,
            action: &action,
            context: context.as_ref(),
            approval,
            unshaped,
            key: key.as_deref(),
            source,
            now: app.clock.now(),
        };
        if dry_run {
            let chain = (&bearer.chain, case.policies);
            let decision = Decision::of(app, chain, action.clone(), case.context, Told::all(explain)).await?;
            let decision = if unshaped { decision.whole() } else { decision };
            return Ok(Json(decision.shown(id(app), Reader::Administrator)));
        }
        if let Some(answer) = case.decide(&mut heard).await? {
            return Ok(Json(answer));
        }
        app.refresh().await?;
    }
    Err(Problem::of(
        Code::Unavailable,
        "what the decision rests on keeps changing; nothing was charged, try again",
    ))
}

fn id(app: &App) -> DecisionId {
    clock::fresh(app.clock.now())
}

impl Case<'_> {
    /// The answer; `None` where something has changed meanwhile.
    async fn decide(&self, heard: &mut Option<intent::Heard>) -> Result<Option<Value>, Problem> {
        let request =
            Request { chain: &self.bearer.chain, action: self.action, now: self.now, context: self.context };
        // Nothing is looked up here: there is no connection that it would go through.
        let declared = self.rules.declaring(&self.action.name).map(|(_, declared)| declared);
        let mut judgement = judge::informed(self.policies, &request, declared);
        intent::prefer_people(&mut judgement, self.approval);
        if self.unshaped && judgement.verdict != Verdict::Deny && !judgement.shapes.is_empty() {
            return self.deny(vec![super::unshaped()], &judgement.observed).await.map(Some);
        }
        // Before anybody is asked: it may be a decision that was made already, sent again.
        if heard.is_none()
            && (!judgement.intents.is_empty() || judgement.verdict == Verdict::Hold)
            && let Some(key) = self.key()
            && let Err(refused) = self.app.store.first_use(key, self.versions(), self.now).await
        {
            return self.turned_away(refused, &judgement).await;
        }
        let approval = match self.approved(&judgement).await? {
            Ok(approval) => approval,
            Err(answer) => return Ok(Some(answer)),
        };
        if heard.is_none() && self.approval.is_none() && !judgement.intents.is_empty() {
            let (agent, digest) = (self.bearer.chain.agent().id, |left: &Judgement| held::digest(self, left));
            match intent::people(self.app, agent, &judgement, digest, self.now).await? {
                intent::People::Silent => {}
                intent::People::Asked(left) => {
                    return match self.approved(&left).await? {
                        Ok(approval) => self.admit(*left, approval, None).await,
                        Err(answer) => Ok(Some(answer)),
                    };
                }
                intent::People::Refused => {
                    let reasons = vec![Reason::of(Code::ApprovalDenied)];
                    return self.deny(reasons, &judgement.observed).await.map(Some);
                }
            }
        }
        let about = (&self.bearer.chain, self.action, self.secret());
        match intent::fit(self.app, about, &mut judgement, heard, self.now).await? {
            intent::Fit::Goes => self.admit(judgement, approval, heard.as_ref()).await,
            intent::Fit::Anew => Ok(None),
            intent::Fit::Denied(reasons) => self.deny(reasons, &judgement.observed).await.map(Some),
            intent::Fit::Held => match self.approved(&judgement).await? {
                Ok(approval) => self.admit(judgement, approval, heard.as_ref()).await,
                Err(answer) => Ok(Some(answer)),
            },
        }
    }

    /// The approval that it goes on with, if it needs one; else the answer.
    async fn approved(
        &self,
        judgement: &Judgement,
    ) -> Result<Result<Option<(ApprovalId, [u8; 32])>, Value>, Problem> {
        Ok(match judgement.verdict {
            Verdict::Deny => Err(self.deny(judgement.reasons.clone(), &judgement.observed).await?),
            Verdict::Allow => Ok(None),
            Verdict::Hold => match held::standing(self, judgement).await? {
                Standing::Approved(approval) => Ok(Some(approval)),
                Standing::Held(approval) => Err(self.hold(judgement, question::told(self.app, &approval))),
                Standing::Refused(reason) => Err(self.deny(vec![reason], &judgement.observed).await?),
            },
        })
    }

    /// Passes the commit point.
    async fn admit(
        &self,
        judgement: Judgement,
        approval: Option<(ApprovalId, [u8; 32])>,
        heard: Option<&intent::Heard>,
    ) -> Result<Option<Value>, Problem> {
        let Case { app, bearer, now, .. } = *self;
        let leaf = &bearer.chain.leaf().grant;
        let action_id: ActionId = clock::fresh(now);
        let intent = Envelope {
            action_id: Some(action_id),
            decision: Some(leaf::Verdict::Allow),
            policies: judgement.policies.iter().map(ToString::to_string).collect(),
            ..self.envelope(EntryType::ActionIntent)
        };
        let admission = Admission {
            action: action_id,
            agent: leaf.agent,
            user: leaf.user,
            root: leaf.root,
            grant: leaf.id,
            task: leaf.task,
            connection: None,
            at: now,
            until: now.plus(UNDER_WAY),
            versions: self.versions(),
            charges: judgement.charges.clone(),
            observed: self.noted(&judgement.observed, leaf::Verdict::Allow),
            approval,
            idempotency: self.key(),
            intent: app
                .prepare(
                    intent,
                    Some(&observe::beside(
                        intent::beside(self.body(&[]), &judgement, heard),
                        &judgement.observed,
                    )),
                )?
                .kept_until(self.policies.keep_until(now)),
        };
        match app.store.admit_for(self.server.id, admission).await {
            Ok(_) => {
                way::count(app, "allow", "");
                let mut answer = shaped(self.answer("allow", action_id.as_kind(), &[]), &judgement);
                if let (Some((approval, _)), Value::Object(members)) = (approval, &mut answer) {
                    members.insert("approval".into(), json!({"id": approval}));
                }
                Ok(Some(answer))
            }
            Err(refused) => self.turned_away(refused, &judgement).await,
        }
    }

    /// What follows from a refusal of the commit point; `None` where something has changed meanwhile.
    async fn turned_away(&self, refused: Refused, judgement: &Judgement) -> Result<Option<Value>, Problem> {
        match refused {
            Refused::Stale => Ok(None),
            Refused::Limit { index, standing } => {
                let reason = exceeded(judgement, &self.bearer.chain, index, standing);
                self.deny(vec![reason], &judgement.observed).await.map(Some)
            }
            Refused::Approval(code) => self.deny(vec![Reason::of(code)], &judgement.observed).await.map(Some),
            Refused::Fault(fault) => Err(fault.into()),
            Refused::IdempotencyInFlight => self.again().await.map(|answer| Some(shaped(answer, judgement))),
            // A restart came between: it is charged still, and still to be closed.
            Refused::Replay(replay) if replay.state == ActionState::Unknown => {
                Ok(Some(shaped(self.answer("allow", replay.action.as_kind(), &[]), judgement)))
            }
            Refused::Replay(_) => {
                let detail = "the decision with this idempotency key was closed; ask with another key";
                Err(Problem::of(Code::Conflict, detail))
            }
            Refused::IdempotencyMismatch => {
                Err(Problem::of(Code::IdempotencyMismatch, "the key was used for another question"))
            }
        }
    }

    /// The decision that was made with this key and is open.
    async fn again(&self) -> Result<Value, Problem> {
        let scope = self.key().map(|key| key.scope).unwrap_or_default();
        let action = self.app.store.read(move |q| decisions::of_key(q, &scope)).await?;
        // It was closed between the two looks at it.
        let gone = || Problem::of(Code::IdempotencyInFlight, "the decision with this key is being closed");
        Ok(self.answer("allow", action.ok_or_else(gone)?.as_kind(), &[]))
    }

    /// What the idempotency key is scoped to and bound to.
    fn key(&self) -> Option<Key> {
        let key = self.key?;
        let chain = &self.bearer.chain;
        let digest = |parts: &[&[u8]]| {
            let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
            let all: Vec<&[u8]> =
                lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), *part]).collect();
            sha256(&all)
        };
        let (server, agent) = (self.server.id.to_string(), chain.agent().id.to_string());
        let user = chain.user_id().map(|user| user.to_string()).unwrap_or_default();
        let params = self.action.params.as_value().to_string();
        let context = self.context.map(Value::to_string).unwrap_or_default();
        Some(Key {
            scope: digest(&[
                b"decision",
                server.as_bytes(),
                agent.as_bytes(),
                user.as_bytes(),
                key.as_bytes(),
            ]),
            digest: digest(&[
                self.action.name.as_str().as_bytes(),
                self.action.resource.as_str().as_bytes(),
                params.as_bytes(),
                context.as_bytes(),
            ]),
            expires: self.now.plus(KEY_KEPT),
        })
    }

    /// Records a refusal; equal ones within a minute become one entry with a count.
    async fn deny(&self, reasons: Vec<Reason>, observed: &[Observation]) -> Result<Value, Problem> {
        let mut codes: Vec<String> = Vec::new();
        for reason in &reasons {
            if !codes.iter().any(|code| code == reason.code.as_str()) {
                codes.push(reason.code.as_str().to_owned());
            }
        }
        let envelope = Envelope {
            decision: Some(leaf::Verdict::Deny),
            rule: reasons.iter().find_map(|reason| reason.rule.clone()),
            policies: self.policies.labels().iter().map(ToString::to_string).collect(),
            codes,
            ..self.envelope(EntryType::DecisionDeny)
        };
        let stated = serde_json::to_vec(&(
            (self.server.id, self.bearer.chain.leaf().grant.id, self.action.name.as_str(), &reasons),
            (self.action.resource.as_str(), &self.action.params, self.context, self.approval),
            (&envelope.source, &envelope.policies, observed),
        ));
        let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
        let body = observe::beside(self.body(&reasons), observed);
        let entry = self.app.prepare(envelope, Some(&body))?.kept_until(self.policies.keep_until(self.now));
        let key = sha256(&[b"charged", &stated]);
        self.app.store.observe(self.noted(observed, leaf::Verdict::Deny), self.now).await?;
        self.app.store.append_denial(key, entry, self.now, way::COALESCED_OVER).await?;
        way::count(self.app, "deny", reasons.first().map_or("", |reason| reason.code.as_str()));
        Ok(self.answer("deny", clock::fresh(self.now), &reasons))
    }

    fn noted(&self, observed: &[Observation], decided: leaf::Verdict) -> Vec<Observed> {
        observe::noted(observed, &self.bearer.chain, &self.action.name, decided)
    }

    fn hold(&self, judgement: &Judgement, approval: Value) -> Value {
        way::count(self.app, "hold", Code::ApprovalRequired.as_str());
        let mut answer = self.answer("hold", clock::fresh(self.now), &judgement.reasons);
        if let Value::Object(members) = &mut answer {
            members.insert("approval".into(), approval);
        }
        answer
    }

    /// In full: resource servers are told everything (DESIGN §5).
    fn answer(&self, decision: &str, id: DecisionId, reasons: &[Reason]) -> Value {
        let reasons: Vec<_> =
            reasons.iter().map(|reason| reason.disclosed_to(Reader::Administrator)).collect();
        json!({"decision": decision, "id": id, "action": self.action.name.as_str(),
            "resource": self.action.resource.as_str(), "reasons": reasons})
    }

    /// An entry about this case.
    pub(super) fn envelope(&self, entry_type: EntryType) -> Envelope {
        Envelope {
            action: Some(self.action.name.as_str().to_owned()),
            service: self.action.service.as_ref().map(ToString::to_string),
            source: recording::source(self.source.0),
            approval: self.approval,
            by: Some(self.server.id.to_string()),
            ..recording::attributed(entry_type, self.now, &self.bearer.chain, Some(self.bearer.claims.jti))
        }
    }

    /// What was asked, with what the service marks secret as commitments.
    pub(super) fn body(&self, reasons: &[Reason]) -> Value {
        let mut params = self.action.params.as_value().clone();
        if let Some((_, declared)) = self.rules.declaring(&self.action.name) {
            redact_secret_members(&mut params, declared.secret().iter().map(String::as_str), clock::entropy);
        }
        let reasons: Vec<_> =
            reasons.iter().map(|reason| reason.disclosed_to(Reader::Administrator)).collect();
        json!({"resource": self.action.resource.as_str(), "params": params, "context": self.context,
            "resource_server": self.server.name, "reasons": reasons})
    }

    /// The parameters that the service marks as secret.
    fn secret(&self) -> &[String] {
        self.rules.declaring(&self.action.name).map(|(_, declared)| declared.secret()).unwrap_or_default()
    }

    /// Everything whose change makes the judgement stale.
    fn versions(&self) -> Vec<(Version, u64)> {
        let stamps = self.bearer.chain.stamps().iter();
        let mut versions: Vec<(Version, u64)> =
            stamps.map(|(stamp, version)| (Version::from(*stamp), *version)).collect();
        versions.push((Version::Policies, self.rules.policies_version));
        if let Some((live, _)) = self.rules.declaring(&self.action.name) {
            versions.push((Version::Service(live.service.name().to_owned()), live.stamp));
        }
        versions
    }
}

/// With what the resource server has to take out of what it answers the agent.
fn shaped(mut answer: Value, judgement: &Judgement) -> Value {
    if let (Value::Object(members), false) = (&mut answer, judgement.shapes.is_empty()) {
        let shapes = judgement.shapes.iter().map(AppliedShape::in_full).collect();
        members.insert("shape".to_owned(), shapes);
    }
    answer
}
