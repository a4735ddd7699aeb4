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
    service::ServiceAction,
    time::Timestamp,
};
use placet_store::{
    Admission, Refused, Version, actions::ActionState, admit::Key, decisions, observations::Observed,
    resource_servers::ResourceServer,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How often a request is judged anew because what it was judged on changed meanwhile.
const ATTEMPTS: usize = 20;
/// How long a decision counts as under way where its outcome is not told.
const UNDER_WAY: Duration = Duration::from_secs(15 * 60);
/// How long an idempotency key is kept; one of an open decision stays.
const KEY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most bytes of a `context`: it is recorded.
const MAX_CONTEXT: usize = 64 * 1024;

/// What somebody asks who is charged for it, but for which action it is.
pub(crate) struct Asks<'a> {
    /// Who asks.
    pub(crate) server: &'a ResourceServer,
    /// The agent's token.
    pub(crate) token: &'a str,
    /// What it states beside the action.
    pub(crate) context: Option<&'a Value>,
    /// The yes that the agent came back with.
    pub(crate) approval: Option<ApprovalId>,
    /// Whether whoever answers the agent can't shape what it answers.
    pub(crate) unshaped: bool,
    /// Its idempotency key.
    pub(crate) key: Option<&'a str>,
    /// Where it asks from.
    pub(crate) source: Source,
    /// The door, where the agent itself is told the answer.
    pub(crate) door: Option<&'static str>,
}

/// What is asked, in one attempt to answer it.
pub(super) struct Case<'a> {
    pub(super) app: &'a App,
    pub(super) asks: &'a Asks<'a>,
    pub(super) bearer: &'a Arc<Bearer>,
    pub(super) policies: &'a BoundPolicies,
    pub(super) rules: &'a Rules,
    pub(super) action: &'a Action,
    pub(super) now: Timestamp,
}

/// How it was decided.
pub(crate) enum Charged {
    /// By the rules, and recorded.
    Decided(Box<Answered>),
    /// Before any rule was asked; with whom the token is of, where it is any good.
    Refused(Reason, Option<Arc<Bearer>>),
}

/// A decision as it was made.
pub(crate) struct Answered {
    /// What it is.
    pub(crate) verdict: Verdict,
    /// Its id, by which an allowed one is closed.
    pub(crate) id: DecisionId,
    /// What would be done.
    pub(crate) action: Action,
    /// Why it is not allowed.
    pub(crate) reasons: Vec<Reason>,
    /// The question that people were asked, or the yes that was used up.
    pub(crate) approval: Option<Value>,
    /// What has to be taken out of what is answered.
    pub(crate) shape: Option<Value>,
    /// Whose it is.
    pub(crate) bearer: Arc<Bearer>,
}

impl Answered {
    /// In full: resource servers are told everything (DESIGN §5).
    fn shown(self) -> Value {
        let reasons: Vec<_> =
            self.reasons.iter().map(|reason| reason.disclosed_to(Reader::Administrator)).collect();
        let mut answer = json!({"decision": self.verdict, "id": self.id, "action": self.action.name.as_str(),
            "resource": self.action.resource.as_str(), "reasons": reasons});
        if let Value::Object(members) = &mut answer {
            for (name, value) in [("approval", self.approval), ("shape", self.shape)] {
                members.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        answer
    }

    /// With what the resource server has to take out of what it answers the agent.
    fn shaped(mut self, judgement: &Judgement) -> Self {
        if !judgement.shapes.is_empty() {
            self.shape = Some(judgement.shapes.iter().map(AppliedShape::in_full).collect());
        }
        self
    }
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
    let asks = Asks {
        server,
        token: &token,
        context: context.as_ref(),
        approval,
        unshaped,
        key: key.as_deref(),
        source,
        door: None,
    };
    let charged = if dry_run {
        match dry(app, &asks, &asked, Told::all(explain)).await? {
            Ok(answer) => return Ok(Json(answer)),
            Err(reason) => Charged::Refused(reason, None),
        }
    } else {
        charge(app, &asks, |_, rules| stated(rules, &asked)).await?
    };
    Ok(Json(match charged {
        Charged::Decided(answered) => answered.shown(),
        Charged::Refused(reason, _) => Decision::denied(&asked, reason).shown(id(app), Reader::Administrator),
    }))
}

/// What would be decided, and is not.
async fn dry(
    app: &App,
    asks: &Asks<'_>,
    asked: &Asked,
    told: Told,
) -> Result<Result<Value, Reason>, Problem> {
    let bearer = match shown_to(app, asks).await? {
        Ok(bearer) => bearer,
        Err(reason) => return Ok(Err(reason)),
    };
    let rules = app.rules.load_full();
    let action = match stated(&rules, asked)? {
        Ok(action) => action,
        Err(reason) => return Ok(Err(reason)),
    };
    let rebound = (!bearer.is_bound_by(&rules)).then(|| rules.policies.bind(&bearer.chain));
    let chain = (&bearer.chain, rebound.as_ref().unwrap_or(&bearer.policies));
    let decision = Decision::of(app, chain, action, asks.context, told).await?;
    let decision = if asks.unshaped { decision.whole() } else { decision };
    Ok(Ok(decision.shown(id(app), Reader::Administrator)))
}

/// Whom the agent's token stands for, or why it is none for whoever asks.
async fn shown_to(app: &App, asks: &Asks<'_>) -> Result<Result<Arc<Bearer>, Reason>, Problem> {
    match bearer::live_for(app, asks.token, Meant::Audience(&asks.server.audience)).await {
        Ok(bearer) => Ok(Ok(bearer)),
        // The resource server's own credentials are fine: that the agent's are not is the answer.
        Err(problem) if problem.code().status() == 401 => {
            Ok(Err(Reason::of(problem.code()).detail(problem.detail())))
        }
        Err(problem) => Err(problem),
    }
}

/// Decides what somebody is charged for. `describe` says which action it is, by the rules that are in force, or why it is
/// none; it is asked again where those change meanwhile.
///
/// # Errors
/// Where nothing was decided.
pub(crate) async fn charge(
    app: &App,
    asks: &Asks<'_>,
    describe: impl Fn(&Bearer, &Rules) -> Result<Result<Action, Reason>, Problem>,
) -> Result<Charged, Problem> {
    let mut heard = None;
    for _ in 0..ATTEMPTS {
        let bearer = match shown_to(app, asks).await? {
            Ok(bearer) => bearer,
            Err(reason) => return Ok(Charged::Refused(reason, None)),
        };
        let rules = app.rules.load_full();
        // Bound anew where the rules were swapped since the token was looked up.
        let rebound = (!bearer.is_bound_by(&rules)).then(|| rules.policies.bind(&bearer.chain));
        let mut action = match describe(&bearer, &rules)? {
            Ok(action) => action,
            Err(reason) => return Ok(Charged::Refused(reason, Some(bearer))),
        };
        let policies = rebound.as_ref().unwrap_or(&bearer.policies);
        returned::gather(app, policies, &bearer.chain, &mut action).await?;
        let case = Case {
            app,
            asks,
            bearer: &bearer,
            policies,
            rules: &rules,
            action: &action,
            now: app.clock.now(),
        };
        if let Some(answered) = case.decide(&mut heard).await? {
            return Ok(Charged::Decided(Box::new(answered)));
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
    async fn decide(&self, heard: &mut Option<intent::Heard>) -> Result<Option<Answered>, Problem> {
        let request = Request {
            chain: &self.bearer.chain,
            action: self.action,
            now: self.now,
            context: self.asks.context,
        };
        // Nothing is looked up here: there is no connection that it would go through.
        let declared = self.rules.declaring(&self.action.name).map(|(_, declared)| declared);
        let mut judgement = judge::informed(self.policies, &request, declared);
        intent::prefer_people(&mut judgement, self.asks.approval);
        let asks_people = judgement.verdict == Verdict::Hold || !judgement.intents.is_empty();
        // What a resource server states is all there is; what arrives at a door may have more, which nobody reads.
        let unread = self.asks.door.is_some() && declared.is_some_and(ServiceAction::stream);
        if unread && judgement.verdict != Verdict::Deny && asks_people {
            let reason = Reason::of(Code::Forbidden)
                .detail("it needs an approval, and what of it isn't seen here can't be shown to a person");
            return self.deny(vec![reason], &judgement.observed).await.map(Some);
        }
        if self.asks.unshaped && judgement.verdict != Verdict::Deny && !judgement.shapes.is_empty() {
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
        if heard.is_none() && self.asks.approval.is_none() && !judgement.intents.is_empty() {
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
    ) -> Result<Result<Option<(ApprovalId, [u8; 32])>, Answered>, Problem> {
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
    ) -> Result<Option<Answered>, Problem> {
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
        match app.store.admit_for(self.asks.server.id, admission).await {
            Ok(_) => {
                way::count(app, "allow", "");
                let mut answer =
                    self.answer(Verdict::Allow, action_id.as_kind(), Vec::new()).shaped(&judgement);
                answer.approval = approval.map(|(approval, _)| json!({"id": approval}));
                Ok(Some(answer))
            }
            Err(refused) => self.turned_away(refused, &judgement).await,
        }
    }

    /// What follows from a refusal of the commit point; `None` where something has changed meanwhile.
    async fn turned_away(
        &self,
        refused: Refused,
        judgement: &Judgement,
    ) -> Result<Option<Answered>, Problem> {
        match refused {
            Refused::Stale => Ok(None),
            Refused::Limit { index, standing } => {
                let reason = exceeded(judgement, &self.bearer.chain, index, standing);
                self.deny(vec![reason], &judgement.observed).await.map(Some)
            }
            Refused::Approval(code) => self.deny(vec![Reason::of(code)], &judgement.observed).await.map(Some),
            Refused::Fault(fault) => Err(fault.into()),
            Refused::IdempotencyInFlight => self.again().await.map(|answer| Some(answer.shaped(judgement))),
            // A restart came between: it is charged still, and still to be closed.
            Refused::Replay(replay) if replay.state == ActionState::Unknown => {
                Ok(Some(self.answer(Verdict::Allow, replay.action.as_kind(), Vec::new()).shaped(judgement)))
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
    async fn again(&self) -> Result<Answered, Problem> {
        let scope = self.key().map(|key| key.scope).unwrap_or_default();
        let action = self.app.store.read(move |q| decisions::of_key(q, &scope)).await?;
        // It was closed between the two looks at it.
        let gone = || Problem::of(Code::IdempotencyInFlight, "the decision with this key is being closed");
        Ok(self.answer(Verdict::Allow, action.ok_or_else(gone)?.as_kind(), Vec::new()))
    }

    /// What the idempotency key is scoped to and bound to.
    fn key(&self) -> Option<Key> {
        let key = self.asks.key?;
        let chain = &self.bearer.chain;
        let digest = |parts: &[&[u8]]| {
            let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
            let all: Vec<&[u8]> =
                lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), *part]).collect();
            sha256(&all)
        };
        let (server, agent) = (self.asks.server.id.to_string(), chain.agent().id.to_string());
        let user = chain.user_id().map(|user| user.to_string()).unwrap_or_default();
        let params = self.action.params.as_value().to_string();
        let context = self.asks.context.map(Value::to_string).unwrap_or_default();
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
    async fn deny(&self, reasons: Vec<Reason>, observed: &[Observation]) -> Result<Answered, Problem> {
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
            (self.asks.server.id, self.bearer.chain.leaf().grant.id, self.action.name.as_str(), &reasons),
            (self.action.resource.as_str(), &self.action.params, self.asks.context, self.asks.approval),
            (&envelope.source, &envelope.policies, observed),
        ));
        let stated = stated.map_err(|_| Problem::of(Code::Internal, "a refusal could not be written"))?;
        let body = observe::beside(self.body(&reasons), observed);
        let key = sha256(&[b"charged", &stated]);
        self.app.store.observe(self.noted(observed, leaf::Verdict::Deny), self.now).await?;
        let kept = self.policies.keep_until(self.now);
        self.app.record_denial(&self.bearer.chain, key, (envelope, &body), kept, self.now).await?;
        way::count(self.app, "deny", reasons.first().map_or("", |reason| reason.code.as_str()));
        Ok(self.answer(Verdict::Deny, clock::fresh(self.now), reasons))
    }

    fn noted(&self, observed: &[Observation], decided: leaf::Verdict) -> Vec<Observed> {
        observe::noted(observed, &self.bearer.chain, &self.action.name, decided)
    }

    fn hold(&self, judgement: &Judgement, approval: Value) -> Answered {
        way::count(self.app, "hold", Code::ApprovalRequired.as_str());
        let answer = self.answer(Verdict::Hold, clock::fresh(self.now), judgement.reasons.clone());
        Answered { approval: Some(approval), ..answer }
    }

    fn answer(&self, verdict: Verdict, id: DecisionId, reasons: Vec<Reason>) -> Answered {
        let (action, bearer) = (self.action.clone(), Arc::clone(self.bearer));
        Answered { verdict, id, action, reasons, approval: None, shape: None, bearer }
    }

    /// An entry about this case.
    pub(super) fn envelope(&self, entry_type: EntryType) -> Envelope {
        Envelope {
            action: Some(self.action.name.as_str().to_owned()),
            service: self.action.service.as_ref().map(ToString::to_string),
            source: recording::source(self.asks.source.0),
            approval: self.asks.approval,
            door: self.asks.door.map(str::to_owned),
            by: Some(self.asks.server.id.to_string()),
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
        json!({"resource": self.action.resource.as_str(), "params": params, "context": self.asks.context,
            "resource_server": self.asks.server.name, "reasons": reasons})
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
