//! Chains and policies for tests.

use super::{Policy, PolicySet};
use crate::{
    action::Action,
    agent::{Agent, AgentState, Level},
    chain::{Chain, Link},
    grant::{Authority, Grant, Origin},
    id::{Id, Kind},
    judge::{Judgement, Request, judge, traced},
    ledger::Limit,
    pattern::{ActionName, ResourceUri},
    service::Effect,
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
    user::User,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// 2026-11-02T12:00:00Z, a Monday.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_793_620_800_000_000);

pub(crate) fn id<K: Kind>(n: u8) -> Id<K> {
    Id::from_parts(Timestamp::from_micros(1_000_000), [0, 0, 0, 0, 0, 0, 0, 0, 0, n])
}

pub(crate) fn policy(source: &str) -> Arc<Policy> {
    match Policy::load(source.as_bytes(), Some("p.yaml"), 1, &[]) {
        Ok((policy, _)) => Arc::new(policy),
        Err(found) => {
            panic!("{}\n{source}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// One link of a chain to be; each agent's number is its place.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) agent: Agent,
    pub(crate) user: Option<User>,
    pub(crate) task: Option<Task>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) origin: Origin,
    pub(crate) authority: Authority,
    pub(crate) registration: Authority,
}

pub(crate) fn everything() -> Authority {
    Authority::unlimited().unwrap()
}

pub(crate) fn spec(number: u8, handle: &str) -> Spec {
    Spec {
        agent: Agent {
            id: id(number),
            handle: handle.to_owned(),
            description: String::new(),
            owner: None,
            labels: [].into(),
            level: Level::Elevated,
            default_scopes: Vec::new(),
            registration: id(100 + number),
            state: AgentState::Active,
            created: Timestamp::default(),
            version: 1,
        },
        user: None,
        task: None,
        limits: Vec::new(),
        origin: Origin::Agent,
        authority: everything(),
        registration: everything(),
    }
}

impl Spec {
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.agent.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn user(mut self, number: u8, name: &str) -> Self {
        self.user = Some(User {
            id: id(number),
            name: name.to_owned(),
            roles: vec!["clerk".to_owned()],
            created: Timestamp::default(),
            version: 1,
        });
        self
    }

    pub(crate) fn task(mut self, number: u8, origin: TaskOrigin) -> Self {
        self.task = Some(Task {
            id: id(number),
            label: Some("case-7".to_owned()),
            description: Some("mine".to_owned()),
            stated: crate::intent::Stated::default(),
            agent: self.agent.id,
            user: self.user.as_ref().map(|user| user.id),
            parent: None,
            origin,
            state: TaskState::Active,
            created: Timestamp::default(),
            expires: None,
        });
        self
    }

    pub(crate) fn limit(mut self, json: Value) -> Self {
        self.limits.push(Limit::from_json(&json).unwrap());
        self
    }
}

/// Leaf first. The grant of place `n` has the number 50 + n.
pub(crate) fn chain(specs: &[Spec]) -> Chain {
    let last = specs.len() - 1;
    let grant = |place: usize| id(50 + u8::try_from(place).unwrap());
    let links = specs.iter().enumerate().map(|(place, spec)| {
        let own = Grant {
            id: grant(place),
            root: grant(last),
            parent: (place < last).then(|| grant(place + 1)),
            depth: u8::try_from(last - place).unwrap(),
            agent: spec.agent.id,
            user: spec.user.as_ref().map(|user| user.id),
            task: spec.task.as_ref().map(|task| task.id),
            authority: spec.authority.clone(),
            limits: spec.limits.clone(),
            origin: spec.origin,
            created: Timestamp::default(),
            revoked: None,
        };
        let registration = Grant {
            id: spec.agent.registration,
            parent: None,
            origin: Origin::Registration,
            authority: spec.registration.clone(),
            limits: Vec::new(),
            ..own.clone()
        };
        Link {
            grant: Arc::new(own),
            agent: Arc::new(spec.agent.clone()),
            registration: Arc::new(registration),
            task: spec.task.clone().map(Arc::new),
            user: spec.user.clone().map(Arc::new),
        }
    });
    Chain::assemble(links.collect(), Vec::new(), NOW).unwrap()
}

pub(crate) fn action(name: &str, resource: &str, params: Value) -> Action {
    let params = match params {
        Value::Object(params) => params,
        _ => Map::new(),
    };
    let name = ActionName::parse(name).unwrap();
    Action {
        facts: Default::default(),
        effect: Some(Effect::Write),
        ..Action::stated(name, ResourceUri::parse(resource).unwrap(), params)
    }
}

pub(crate) fn judged(policies: &[&str], chain: &Chain, action: &Action) -> Judgement {
    let set = PolicySet::new(policies.iter().map(|source| policy(source)).collect());
    let (bound, request) = (set.bind(chain), Request { chain, action, now: NOW, context: None });
    let judgement = judge(&bound, &request);
    let (again, trace) = traced(&bound, &request);
    assert_eq!(judgement, again);
    crate::judge::trace::tests::agrees(&trace, &judgement);
    judgement
}

/// The reasons in short: code and rule.
pub(crate) fn short(judgement: &Judgement) -> Vec<String> {
    let rule = |reason: &crate::refusal::Reason| {
        reason.rule.as_ref().map(|rule| format!(" {rule}")).unwrap_or_default()
    };
    judgement.reasons.iter().map(|reason| format!("{}{}", reason.code.as_str(), rule(reason))).collect()
}

pub(crate) fn counters(judgement: &Judgement) -> Vec<&str> {
    judgement.charges.iter().map(|charge| charge.counter.as_str()).collect()
}
