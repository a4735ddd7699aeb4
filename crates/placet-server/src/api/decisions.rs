//! `POST /v1/decisions`: what would be decided, and for resource servers what is.
//!
//! An agent asks for advice on its own chain; an administrator makes a dry run for any agent or task. Both are `judge`
//! and the counters as they stand: the same code as the way of an action (DESIGN §2, §5). A resource server presents
//! an agent's token and is charged (`charged`); it says afterwards what became of it (`outcome`).
//!
//! Invariant: advice and dry runs charge, hold and send nothing. An agent is told what the action door would tell it,
//! no more.

pub(crate) mod asking;
pub(crate) mod batch;
pub(crate) mod charged;
pub(crate) mod filter;
mod held;
mod outcome;
pub(crate) mod somebody;
mod whose;

pub(crate) use outcome::outcome;

use super::actions::idempotency_key;
use crate::{
    app::App,
    bearer::Bearer,
    body::JsonBody,
    caller::{Caller, Source},
    clock, connections,
    problem::{Answer, Problem},
    question, recording,
    rules::{LiveService, Rules},
    way,
};
use asking::Asking;
use axum::{Json, extract::State, http::HeaderMap};
use placet_core::{
    action::{Action, Params, ServiceVersion},
    chain::Chain,
    id::{ApprovalId, ConnectionId, DecisionId},
    judge::{self, AppliedShape, Judgement, Request, Trace, Verdict},
    ledger::Standing,
    pattern::{ActionName, ResourceUri},
    policy::BoundPolicies,
    record::{EntryType, Envelope, body::redact_secret_members, leaf},
    refusal::{Code, Reader, Reason},
    service::{Facts, ServiceAction},
};
use placet_store::{PreparedEntry, resource_servers::ResourceServer};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
pub(crate) use whose::StatedUser;
use whose::Whose;

/// What is asked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) action: Option<String>,
    pub(crate) resource: Option<String>,
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
    pub(crate) context: Option<Value>,
    /// What upstream holds about the resource, as an administrator supposes it.
    pub(crate) facts: Option<Map<String, Value>>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) explain: bool,
    pub(crate) agent: Option<String>,
    pub(crate) task: Option<String>,
    pub(crate) user: Option<StatedUser>,
    pub(crate) token: Option<String>,
    pub(crate) approval: Option<ApprovalId>,
    /// Whether the caller has said that it can't shape what it answers.
    #[serde(skip)]
    pub(crate) unshaped: bool,
    /// Instead of all the others: several questions.
    pub(crate) decisions: Option<Vec<Self>>,
}

/// `POST /v1/decisions`
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    headers: HeaderMap,
    JsonBody(mut question): JsonBody<Question>,
) -> Answer<Json<Value>> {
    if let Some(questions) = question.decisions.take() {
        return batch::decide(&app, &asking, source, &headers, &question, questions).await;
    }
    alone(&app, &asking, source, &headers, question).await.map(Json)
}

/// One question.
pub(crate) async fn alone(
    app: &App,
    asking: &Asking,
    source: Source,
    headers: &HeaderMap,
    question: Question,
) -> Answer<Value> {
    if let Asking::ResourceServer(server) = asking {
        let key = idempotency_key(headers)?;
        return by_resource_server(app, server, source, key, question).await;
    }
    let mut answers = batch::ask(app, asking, source, vec![Ok(question)], |_| false).await?;
    let missing = || Err(Problem::of(Code::Internal, "a question was left out"));
    answers.pop().unwrap_or_else(missing)
}

/// Who may ask what, besides a resource server.
fn admit(caller: &Caller, question: &Question) -> Result<(), Problem> {
    if question.token.is_some() || question.approval.is_some() {
        return Err(Problem::of(
            Code::NotPermitted,
            "only a resource server presents a `token` or an `approval`: authenticate with its id and secret",
        ));
    }
    match caller {
        Caller::Agent(_) => Ok(()),
        caller => caller.must_configure(),
    }
}

/// Counts an agent's questions against how often it may ask.
pub(crate) fn paced(app: &App, bearer: &Bearer, questions: usize) -> Result<(), Problem> {
    let now = app.clock.now();
    if (0..questions.max(1)).all(|_| app.advice.take(bearer.chain.agent().id, now)) {
        return Ok(());
    }
    let detail = "an agent's questions are rate-limited; ask again in a second";
    Err(Problem::of(Code::TooManyRequests, detail))
}

/// An agent's own question: the decision, and its entry for the record.
async fn advise(
    app: &App,
    bearer: &Bearer,
    source: Source,
    rules: &Rules,
    question: Question,
) -> Result<(Value, PreparedEntry), Problem> {
    if question.agent.is_some() || question.task.is_some() || question.user.is_some() {
        return Err(Problem::of(
            Code::NotPermitted,
            "only an administrator asks for another `agent`, `task` or `user`",
        ));
    }
    if question.explain {
        return Err(Problem::of(
            Code::NotPermitted,
            "only an administrator or a resource server asks for an explanation",
        ));
    }
    let asked = Asked::read(question)?;
    let rebound = (!bearer.is_bound_by(rules)).then(|| rules.policies.bind(&bearer.chain));
    let policies = rebound.as_ref().unwrap_or(&bearer.policies);
    let decision = match described(app, rules, bearer, &asked).await? {
        Ok(action) => Decision::of(app, (&bearer.chain, policies), action, None, Told::Advice).await?,
        Err(reason) => Decision::denied(&asked, reason),
    };
    let now = app.clock.now();
    let envelope =
        recording::attributed(EntryType::DecisionAdvice, now, &bearer.chain, Some(bearer.claims.jti));
    let entry = entry(app, envelope, policies, source, rules, &decision)?;
    Ok((decision.shown(clock::fresh(now), Reader::Agent), entry))
}

/// A resource server's question: charged, or a dry run about an agent that it names.
async fn by_resource_server(
    app: &App,
    server: &ResourceServer,
    source: Source,
    key: Option<String>,
    question: Question,
) -> Answer<Value> {
    if question.token.is_some() || question.agent.is_none() || !question.dry_run {
        return charged::decide(app, server, source, key, question).await.map(|Json(answer)| answer);
    }
    if question.approval.is_some() || question.user.is_some() || question.task.is_some() {
        return Err(invalid("about an agent that is only named there is no `approval`, `task` or `user`"));
    }
    if question.facts.is_some() {
        return Err(invalid("`facts` are supposed in an administrator's dry run"));
    }
    let rules = app.rules.load_full();
    let (decision, chain) = stated_for(app, &rules, question).await?;
    // Whoever asks about agents that have shown it nothing leaves a trace.
    if let Some((chain, policies)) = chain {
        let mut envelope = recording::attributed(EntryType::DecisionAdvice, app.clock.now(), &chain, None);
        // The first is made up for this question.
        envelope.grants = envelope.grants.into_iter().skip(1).collect();
        envelope.by = Some(server.id.to_string());
        let entry = entry(app, envelope, &policies, source, &rules, &decision)?;
        app.store.append(vec![entry]).await?;
    }
    Ok(decision.shown(clock::fresh(app.clock.now()), Reader::Administrator))
}

/// An administrator's question about somebody.
async fn dry_run(app: &App, rules: &Rules, question: Question) -> Answer<Value> {
    if !question.dry_run {
        return Err(invalid(
            "without an agent's token only a dry run can be asked for: send `\"dry_run\": true`",
        ));
    }
    let (decision, _) = stated_for(app, rules, question).await?;
    Ok(decision.shown(clock::fresh(app.clock.now()), Reader::Administrator))
}

/// The chain of an agent or a task that an administrator names.
///
/// # Errors
/// `request_invalid` where it names nobody; the inner error is why such a chain is dead.
pub(crate) async fn somebody_named(
    app: &App,
    agent: Option<&str>,
    task: Option<&str>,
) -> Answer<Result<Chain, Problem>> {
    let whose = Whose { agent: agent.map(str::to_owned), task: task.map(str::to_owned), user: None };
    let dead = |reason: Reason| Problem::of(Code::Conflict, reason.code.title());
    Ok(whose::chain(app, whose).await?.map_err(dead))
}

/// What would be decided for somebody who is named, with the chain that it was judged on.
async fn stated_for(
    app: &App,
    rules: &Rules,
    mut question: Question,
) -> Result<(Decision, Option<(Chain, BoundPolicies)>), Problem> {
    let context = question.context.take();
    let (explain, unshaped) = (question.explain, question.unshaped);
    let whose = Whose::of(&mut question);
    let facts = question.facts.take().unwrap_or_default();
    let asked = Asked::read(question)?;
    let declared = rules.declaring(&asked.name);
    if declared.is_none() && !facts.is_empty() {
        return Err(invalid("`facts`: no service that is in force declares the action, and so none of it"));
    }
    if let Some(misfit) = declared.and_then(|(_, declared)| declared.misfit(&facts)) {
        return Err(invalid(format!("`facts`: {misfit}")));
    }
    Ok(match (whose::chain(app, whose).await?, stated(rules, &asked)?) {
        (Ok(chain), Ok(mut action)) => {
            action.facts = Facts::given(facts);
            let policies = rules.policies.bind(&chain);
            let context = context.as_ref();
            let decision =
                Decision::of(app, (&chain, &policies), action, context, Told::all(explain)).await?;
            (if unshaped { decision.whole() } else { decision }, Some((chain, policies)))
        }
        (Err(reason), _) | (_, Err(reason)) => (Decision::denied(&asked, reason), None),
    })
}

/// A question whose names have been read.
pub(crate) struct Asked {
    pub(crate) name: ActionName,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) params: Params,
}

impl Asked {
    fn read(question: Question) -> Result<Self, Problem> {
        if question.facts.is_some() {
            return Err(invalid("`facts` are for an administrator's dry run"));
        }
        if question.decisions.is_some() {
            return Err(invalid("`decisions` stand in no other ones"));
        }
        let name = question.action.as_deref().ok_or_else(|| invalid("`action` is missing"))?;
        let name = ActionName::parse(name).map_err(|error| invalid(format!("`action`: {error}")))?;
        let resource = question.resource.as_deref().map(ResourceUri::parse).transpose();
        let resource = resource.map_err(|error| invalid(format!("`resource`: {error}")))?;
        Ok(Self { name, resource, params: question.params.into() })
    }

    /// The resource, where nothing but the question says it.
    fn needed(&self) -> Result<ResourceUri, Problem> {
        let missing =
            || invalid("`resource` is missing: no service declares this action, so nothing else says it");
        self.resource.clone().ok_or_else(missing)
    }
}

/// The action as the action door would describe it for this agent, or the reason why it would refuse it before any
/// rule is asked.
async fn described(
    app: &App,
    rules: &Rules,
    bearer: &Bearer,
    asked: &Asked,
) -> Result<Result<Action, Reason>, Problem> {
    if let Some(reason) = way::unnamed(&bearer.chain, &asked.name) {
        return Ok(Err(reason));
    }
    let Some((live, declared)) = rules.declaring(&asked.name) else {
        return Ok(Ok(Action::undeclared(asked.name.clone(), asked.needed()?, asked.params.clone())));
    };
    let mut action = match declare(asked, live, declared) {
        Ok(action) => action,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Err(error) = live.service.render(declared, &asked.params) {
        return Ok(Err(Reason::of(Code::ParamsInvalid).detail(error.to_string())));
    }
    match connections::reach(app, &bearer.chain, live.service.name(), live.service.auth(), None).await {
        Ok(picked) => action.connection = Some(picked.connection.id),
        // Several are reached: which one it will be is for the request to name.
        Err(problem) if problem.code() == Code::ParamsInvalid => {}
        Err(problem) => return Ok(Err(Reason::of(problem.code()).detail(problem.detail()))),
    }
    Ok(Ok(action))
}

/// The action as an administrator states it: the resource is taken as given, the rest as a service declares it.
fn stated(rules: &Rules, asked: &Asked) -> Result<Result<Action, Reason>, Problem> {
    let Some((live, declared)) = rules.declaring(&asked.name) else {
        return Ok(Ok(Action::stated(asked.name.clone(), asked.needed()?, asked.params.clone())));
    };
    let Some(resource) = asked.resource.clone() else { return Ok(declare(asked, live, declared)) };
    Ok(Ok(Action::stated_of(version(live), declared, resource, asked.params.clone())))
}

/// The action as its service declares it.
fn declare(asked: &Asked, live: &LiveService, declared: &ServiceAction) -> Result<Action, Reason> {
    Action::declared(version(live), declared, asked.resource.as_ref(), &asked.params)
}

fn version(live: &LiveService) -> ServiceVersion {
    ServiceVersion { name: live.service.name().to_owned(), version: live.version }
}

/// What would be decided.
struct Decision {
    verdict: Verdict,
    name: ActionName,
    resource: Option<ResourceUri>,
    params: Params,
    service: Option<ServiceVersion>,
    connection: Option<ConnectionId>,
    reasons: Vec<Reason>,
    /// What the rules said, with how each charge's counter stands.
    judged: Option<(Judgement, Vec<Standing>)>,
    /// How it went, where that is asked for.
    trace: Option<Trace>,
}

/// How much of the counters decides, which is how much is told of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// What an agent may know before it acts.
    Advice,
    /// All.
    All,
    /// All, and how it went.
    Explained,
}

impl Told {
    fn all(explain: bool) -> Self {
        if explain { Self::Explained } else { Self::All }
    }

    fn to(asking: &Asking) -> Self {
        if somebody::is_trusted(asking) { Self::All } else { Self::Advice }
    }
}

impl Decision {
    /// Judges, and looks at the counters as they stand.
    async fn of(
        app: &App,
        (chain, policies): (&Chain, &BoundPolicies),
        action: Action,
        context: Option<&Value>,
        told: Told,
    ) -> Result<Self, Problem> {
        let now = app.clock.now();
        let request = Request { chain, action: &action, now, context };
        let rules = app.rules.load_full();
        let declared = rules.declaring(&action.name).map(|(_, declared)| declared);
        let (judgement, used, trace) = if told == Told::Explained {
            let (judgement, mut trace) = judge::traced(policies, &request);
            let judgement = judge::denied_if_blind(judgement, policies, &request, declared);
            // Also of what was denied for other reasons.
            let used = way::standings_of(app, trace.charges.clone(), now).await?;
            trace.stand(&used);
            (judgement, used, Some(trace))
        } else {
            let judgement = judge::informed(policies, &request, declared);
            let used = way::standings(app, &judgement, now).await?;
            (judgement, used, None)
        };
        let (verdict, reasons) = match told {
            Told::Advice => judge::advised(&judgement, chain, &used),
            Told::All | Told::Explained => judge::counted(&judgement, chain, &used),
        };
        let judged = Some((judgement, used));
        let Action { name, resource, params, service, connection, .. } = action;
        Ok(Self {
            verdict,
            name,
            resource: Some(resource),
            params,
            service,
            connection,
            reasons,
            judged,
            trace,
        })
    }

    /// For whoever can't shape what it answers: what rules shape is denied.
    fn whole(self) -> Self {
        match &self.judged {
            Some((judgement, _)) if self.verdict != Verdict::Deny && !judgement.shapes.is_empty() => {
                Self { verdict: Verdict::Deny, reasons: vec![unshaped()], ..self }
            }
            _ => self,
        }
    }

    /// What is refused before any rule is asked.
    fn denied(asked: &Asked, reason: Reason) -> Self {
        Self {
            verdict: Verdict::Deny,
            name: asked.name.clone(),
            resource: asked.resource.clone(),
            params: asked.params.clone(),
            service: None,
            connection: None,
            reasons: vec![reason],
            judged: None,
            trace: None,
        }
    }

    /// As it is answered to `reader`.
    fn shown(&self, id: DecisionId, reader: Reader) -> Value {
        let reasons: Vec<_> = self.reasons.iter().map(|reason| reason.disclosed_to(reader)).collect();
        let mut answer = Map::new();
        let mut say = |name: &str, value: Value| answer.insert(name.to_owned(), value);
        say("decision", json!(self.verdict));
        say("id", json!(id));
        say("action", self.name.as_str().into());
        say("resource", json!(self.resource.as_ref().map(ResourceUri::as_str)));
        say("reasons", json!(reasons));
        if self.verdict == Verdict::Hold {
            // Nobody is asked by a question.
            say("approval", Value::Null);
        }
        if let (Reader::Administrator, Some((judgement, used))) = (reader, &self.judged) {
            say("policies", judgement.policies.iter().map(|label| Value::from(&**label)).collect());
            let rule = |(policy, rule): &(Arc<str>, Arc<str>)| json!({"policy": &**policy, "rule": &**rule});
            say("rules", judgement.chosen.iter().map(rule).collect());
            say("limits", question::budgets(judgement, used));
            if !judgement.shapes.is_empty() {
                say("shape", judgement.shapes.iter().map(AppliedShape::in_full).collect());
            }
            if !judgement.observed.is_empty() {
                say("observed", json!(judgement.observed));
            }
        }
        if let (Reader::Administrator, Some(trace)) = (reader, &self.trace) {
            say("trace", json!(trace));
        }
        Value::Object(answer)
    }
}

/// The entry of a question with its answer; `envelope` says who asked and about whom.
fn entry(
    app: &App,
    envelope: Envelope,
    policies: &BoundPolicies,
    source: Source,
    rules: &Rules,
    decision: &Decision,
) -> Result<PreparedEntry, Problem> {
    let envelope = Envelope {
        action: Some(decision.name.as_str().to_owned()),
        service: decision.service.as_ref().map(ToString::to_string),
        connection: decision.connection,
        decision: Some(match decision.verdict {
            Verdict::Allow => leaf::Verdict::Allow,
            Verdict::Hold => leaf::Verdict::Hold,
            Verdict::Deny => leaf::Verdict::Deny,
        }),
        rule: decision.reasons.iter().find_map(|reason| reason.rule.clone()),
        policies: policies.labels().iter().map(ToString::to_string).collect(),
        codes: decision.reasons.iter().map(|reason| reason.code.as_str().to_owned()).collect(),
        source: recording::source(source.0),
        ..envelope
    };
    let mut params = decision.params.as_value().clone();
    if let Some((_, declared)) = rules.declaring(&decision.name) {
        redact_secret_members(&mut params, declared.secret().iter().map(String::as_str), clock::entropy);
    }
    let reasons: Vec<_> =
        decision.reasons.iter().map(|reason| reason.disclosed_to(Reader::Administrator)).collect();
    let resource = decision.resource.as_ref().map(ResourceUri::as_str);
    let body = json!({"resource": resource, "params": params, "reasons": reasons});
    app.prepare(envelope, Some(&body))
}

/// The reason for a yes that has a shape, where the caller applies none.
fn unshaped() -> Reason {
    Reason::of(Code::Forbidden)
        .detail("rules shape what comes back, and the caller says that it does no such thing")
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::of(Code::RequestInvalid, detail)
}
