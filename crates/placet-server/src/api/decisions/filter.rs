//! `POST /v1/decisions/filter`: on which of many resources something is allowed, without asking about each; and for a
//! pattern, where within it.
//!
//! The chain and its policies are bound once, the counters of all answers are read at once; each resource is judged by the
//! judge. What is answered is what asking about each would say, without the reasons. Nothing is charged: it is for lists.
//!
//! Invariant: a resource is among the allowed only where a decision about it alone would allow it.

use super::{
    Asked, Asking, Question, StatedUser, invalid, paced,
    somebody::{Somebody, is_trusted},
};
use crate::{
    app::App,
    body::JsonBody,
    caller::{Caller, Source},
    clock,
    problem::{Answer, Problem},
    rules::Rules,
};
use axum::{Json, extract::State};
use placet_core::{
    action::{Action, Params},
    id::DecisionId,
    judge::{self, Judgement, Request, Verdict, outlook::Prospect, reach},
    ledger::Charge,
    pattern::{ActionName, ResourcePattern, ResourceUri},
    record::body::redact_secret_members,
    refusal::Reader,
};
use placet_store::Fault;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc};

/// The most resources of one request.
const MOST: usize = 1000;

/// What is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    action: String,
    resources: Option<Vec<String>>,
    pattern: Option<String>,
    #[serde(default)]
    params: Map<String, Value>,
    context: Option<Value>,
    token: Option<String>,
    agent: Option<String>,
    task: Option<String>,
    user: Option<StatedUser>,
}

/// What resources are asked about.
enum Of {
    Each(Vec<ResourceUri>),
    Within(ResourcePattern),
}

/// `POST /v1/decisions/filter {action, resources | pattern, params?, context?, token?, agent?, task?, user?}`
pub(crate) async fn filter(
    State(app): State<Arc<App>>,
    asking: Asking,
    source: Source,
    JsonBody(mut filter): JsonBody<Filter>,
) -> Answer<Json<Value>> {
    let of = filter.of()?;
    let name = ActionName::parse(&filter.action).map_err(|error| invalid(format!("`action`: {error}")))?;
    let mut question = Question {
        agent: filter.agent.take(),
        task: filter.task.take(),
        user: filter.user.take(),
        token: filter.token.take(),
        ..Question::default()
    };
    let rules = app.rules.load_full();
    if let Asking::Caller(Caller::Agent(bearer)) = &asking {
        // As much as asking about each.
        let cost = if let Of::Each(each) = &of { each.len() } else { 1 };
        paced(&app, bearer, cost)?;
    }
    let somebody = Somebody::of(&app, &asking, &rules, &mut question).await?;
    let id: DecisionId = clock::fresh(app.clock.now());
    let somebody = match somebody {
        Ok(somebody) => somebody,
        // Whoever it is has no authority at all now.
        Err(reason) => {
            let reason = reason.disclosed_to(Reader::Administrator);
            let none =
                json!({"id": id, "action": name.as_str(), "allowed": [], "held": [], "reason": reason});
            return Ok(Json(none));
        }
    };
    let sought = Sought { app: &app, asking: &asking, rules: &rules, somebody: &somebody };
    let mut answer = match &of {
        Of::Each(each) => sought.each(&name, each, &filter).await?,
        Of::Within(pattern) => sought.within(&name, pattern, &filter).await?,
    };
    let asked = match &of {
        Of::Each(each) => json!({"resources": each.iter().map(ResourceUri::as_str).collect::<Vec<_>>()}),
        Of::Within(pattern) => json!({"pattern": pattern.as_str()}),
    };
    let mut params = Value::Object(filter.params);
    if let Some((_, declared)) = rules.declaring(&name) {
        redact_secret_members(&mut params, declared.secret().iter().map(String::as_str), clock::entropy);
    }
    let body = json!({"resource": null, "params": params, "filter": asked, "answer": answer});
    somebody.record(&app, &asking, source, Some(&name), &body).await?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("id".into(), json!(id));
        members.insert("action".into(), name.as_str().into());
    }
    Ok(Json(answer))
}

impl Filter {
    fn of(&mut self) -> Result<Of, Problem> {
        match (self.resources.take(), self.pattern.take()) {
            (Some(resources), None) if resources.len() <= MOST => {
                let read = |text: &String| {
                    ResourceUri::parse(text).map_err(|error| invalid(format!("`resources`: {error}")))
                };
                Ok(Of::Each(resources.iter().map(read).collect::<Result<_, _>>()?))
            }
            (Some(_), None) => Err(invalid(format!("`resources` are at most {MOST}"))),
            (None, Some(pattern)) => {
                let pattern = ResourcePattern::parse(&pattern);
                Ok(Of::Within(pattern.map_err(|error| invalid(format!("`pattern`: {error}")))?))
            }
            _ => Err(invalid("send either `resources` or a `pattern`")),
        }
    }
}

struct Sought<'a> {
    app: &'a App,
    asking: &'a Asking,
    rules: &'a Rules,
    somebody: &'a Somebody,
}

impl Sought<'_> {
    /// Which of the resources.
    async fn each(&self, name: &ActionName, each: &[ResourceUri], filter: &Filter) -> Answer<Value> {
        let now = self.app.clock.now();
        let context = filter.context.as_ref().filter(|_| is_trusted(self.asking));
        let mut judged: Vec<Option<Judgement>> = Vec::with_capacity(each.len());
        // One for all of them: they may be large.
        let params: Params = filter.params.clone().into();
        let on = |resource: Option<&ResourceUri>| Asked {
            name: name.clone(),
            resource: resource.cloned(),
            params: params.clone(),
        };
        // An agent's parameters say what a declared action is on: one of the resources at most.
        let own = if !is_trusted(self.asking) && self.rules.declaring(name).is_some() {
            Some(self.somebody.action(self.app, self.asking, self.rules, &on(None)).await?)
        } else {
            None
        };
        for resource in each {
            let judge = |action: &Action| {
                let request = Request { chain: &self.somebody.chain, action, now, context };
                let declared = self.rules.declaring(&action.name).map(|(_, declared)| declared);
                judge::informed(&self.somebody.policies, &request, declared)
            };
            judged.push(match &own {
                Some(own) => own.as_ref().ok().filter(|own| own.resource == *resource).map(judge),
                None => {
                    let asked = on(Some(resource));
                    let action = self.somebody.action(self.app, self.asking, self.rules, &asked).await?;
                    action.ok().as_ref().map(judge)
                }
            });
            // Many long conditions hold nobody else up.
            tokio::task::yield_now().await;
        }
        let charges = judged.iter().flatten().flat_map(|judgement| &judgement.charges);
        let fits = self.fitting(charges.map(|charge| self.told(charge)).collect()).await?;
        let (mut allowed, mut held) = (Vec::new(), Vec::new());
        for (resource, judgement) in each.iter().zip(&judged) {
            let Some(judgement) = judgement else { continue };
            // As [`Somebody::may`]: of somebody who is only named, nothing that would have to be charged is a yes.
            if self.somebody.is_named_only(self.asking) && !judgement.charges.is_empty() {
                continue;
            }
            if !judgement.charges.iter().all(|charge| fits(&self.told(charge))) {
                continue;
            }
            match judgement.verdict {
                Verdict::Allow => allowed.push(resource.as_str()),
                Verdict::Hold => held.push(resource.as_str()),
                Verdict::Deny => {}
            }
        }
        Ok(json!({"allowed": allowed, "held": held}))
    }

    /// Where within a pattern.
    async fn within(&self, name: &ActionName, pattern: &ResourcePattern, filter: &Filter) -> Answer<Value> {
        let unknown = || Ok(json!({"unknown": true, "allowed": []}));
        // What an agent says of a resource is a claim: nothing is known of it before its parameters are.
        if !is_trusted(self.asking) {
            return unknown();
        }
        let effect = self.rules.declaring(name).and_then(|(_, declared)| declared.effect());
        let now = self.app.clock.now();
        let prospect = Prospect { chain: &self.somebody.chain, name, range: pattern, effect, now };
        let params = filter.params.clone();
        let Some(found) = reach::reach(&self.somebody.policies, &prospect, params, filter.context.as_ref())
        else {
            return unknown();
        };
        if self.somebody.is_named_only(self.asking) && !found.charges.is_empty() {
            return unknown();
        }
        let fits = self.fitting(found.charges.clone()).await?;
        if !found.charges.iter().all(fits) {
            return unknown();
        }
        let patterns: Vec<&str> = found.patterns.iter().map(ResourcePattern::as_str).collect();
        Ok(json!({"unknown": false, "allowed": patterns}))
    }

    /// What of a charge the caller may be told of by the answer.
    fn told(&self, charge: &Charge) -> Charge {
        if is_trusted(self.asking) { charge.clone() } else { judge::told(&self.somebody.chain, charge) }
    }

    /// Says of each of these charges whether it fits, from one look at the counters.
    async fn fitting(&self, charges: Vec<Charge>) -> Result<impl Fn(&Charge) -> bool + use<>, Problem> {
        let mut different: Vec<Charge> = Vec::new();
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for charge in charges {
            let known = places.entry(charge.counter.clone()).or_default();
            if !known.iter().any(|at| different.get(*at).is_some_and(|other| other == &charge)) {
                known.push(different.len());
                different.push(charge);
            }
        }
        let now = self.app.clock.now();
        let fitting = if different.is_empty() {
            Vec::new()
        } else {
            let read = move |q: &mut placet_store::Reader| -> Result<Vec<Charge>, Fault> {
                let mut fitting = Vec::new();
                for charge in &different {
                    if charge.fits(placet_store::counters::standing(q, charge, now)?.used) {
                        fitting.push(charge.clone());
                    }
                }
                Ok(fitting)
            };
            self.app.store.read(read).await?
        };
        let mut by_counter: HashMap<String, Vec<Charge>> = HashMap::new();
        for charge in fitting {
            by_counter.entry(charge.counter.clone()).or_default().push(charge);
        }
        Ok(move |charge: &Charge| by_counter.get(&charge.counter).is_some_and(|all| all.contains(charge)))
    }
}
