//! A request made of a choice, whole and real, and what both sides say about it.
//!
//! Invariant: nothing is said to be wider that the judge does not show.

use super::{
    Wider, Witness, declared,
    model::{Choice, Given, Model, Truth, Variable},
    obligations::{Asked, Counted, Met, Obligations, WITHOUT_SHAPE, met},
    values,
};
use crate::{
    action::Action,
    agent::{Agent, AgentState, Level},
    cel::{Path, Root},
    chain::{Chain, Link},
    grant::{Authority, Grant, Origin},
    id::{AgentId, GrantId, UserId},
    judge::{self, Judgement, Verdict},
    pattern::{ActionName, ResourcePattern, ResourceUri},
    policy::{PolicySet, shape},
    service::{Effect, ServiceAction},
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
    user::User,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// All that the judge is asked.
pub(super) struct Request {
    chain: Chain,
    action: Action,
    now: Timestamp,
    context: Option<Value>,
}

/// Values for parameters that only conditions read which are no tests of one parameter.
const SAMPLES: usize = 6;

/// The request that a choice stands for, and some like it that differ in what the choice is silent on.
pub(super) fn requests(
    model: &Model<'_>,
    choice: &Choice,
    action: (&ActionName, &ResourceUri, &ResourcePattern),
    of: Option<&ServiceAction>,
    now: Timestamp,
) -> Vec<Request> {
    let silent = |path: &&Path| {
        let place = model.find(&Variable::Path((*path).clone()));
        path.root() == Root::Params && place.and_then(|place| choice.class(place)).is_none()
    };
    let silent: Vec<&Path> = model.opaque_paths.iter().filter(silent).collect();
    let samples = [Value::Null, json!("x"), json!(["x"]), json!(1), json!(true), json!([])];
    let samples = samples.into_iter().take(if silent.is_empty() { 0 } else { SAMPLES });
    let filling = std::iter::once(None).chain(samples.map(Some));
    filling.filter_map(|sample| request(model, choice, action, of, now, (&silent, sample))).collect()
}

fn request(
    model: &Model<'_>,
    choice: &Choice,
    (name, uri, known): (&ActionName, &ResourceUri, &ResourcePattern),
    of: Option<&ServiceAction>,
    now: Timestamp,
    (silent, sample): (&[&Path], Option<Value>),
) -> Option<Request> {
    let mut params = Value::Object(Map::new());
    let mut context = None;
    let mut at = now;
    let mut facts = Facts::default();
    for (place, variable, _) in model.variables() {
        let Some(class) = choice.class(place) else { continue };
        match (variable, &class.given) {
            (Variable::Moment, Given::Moment(moment)) => at = *moment,
            (Variable::HasUser, Given::Truth(truth)) => facts.user = *truth == Truth::True,
            (Variable::HasTask, Given::Truth(truth)) => facts.task = *truth == Truth::True,
            (Variable::Path(path), given) => match path.root() {
                Root::Params => put(&mut params, path, given)?,
                Root::Context => {
                    if *given != Given::Nothing {
                        put(context.get_or_insert_with(|| json!({})), path, given)?;
                    }
                }
                _ => facts.values.push((path.clone(), given.clone())),
            },
            _ => {}
        }
    }
    if let Some(sample) = sample {
        for path in silent {
            put(&mut params, path, &Given::Value(sample.clone()))?;
        }
    }
    let Value::Object(params) = params else { return None };
    let params = match of {
        Some(action) => declared::whole(action, &params)?,
        None => params,
    };
    let effect = match facts.text(Root::Action, &["effect"]) {
        Some("read") => Some(Effect::Read),
        Some("delete") => Some(Effect::Delete),
        Some("money") => Some(Effect::Money),
        Some("write") => Some(Effect::Write),
        _ => None,
    };
    let action = Action { known: known.clone(), effect, ..Action::stated(name.clone(), uri.clone(), params) };
    Some(Request { chain: facts.chain(at)?, action, now: at, context })
}

/// Puts a value where the path says. `None` where something else is in the way.
fn put(tree: &mut Value, path: &Path, given: &Given) -> Option<()> {
    let (value, kept) = match given {
        Given::Value(value) => (Some(value.clone()), path.fields().len()),
        Given::Missing(fields) => (None, *fields),
        _ => (None, 0),
    };
    let mut here = tree;
    for field in path.fields().iter().take(kept.saturating_sub(usize::from(value.is_some()))) {
        here = here.as_object_mut()?.entry(&**field).or_insert_with(|| json!({}));
    }
    let map = here.as_object_mut()?;
    match (value, path.fields().last(), path.fields().get(kept)) {
        (Some(value), Some(last), _) => _ = map.insert(last.to_string(), value),
        // Left out, unless another path has put it there.
        (None, _, Some(next)) if map.contains_key(&**next) => return None,
        _ => {}
    }
    Some(())
}

/// What is known of agent, user and task.
#[derive(Default)]
struct Facts {
    values: Vec<(Path, Given)>,
    user: bool,
    task: bool,
}

impl Facts {
    fn value(&self, root: Root, fields: &[&str]) -> Option<&Value> {
        let path = Path::of(root, fields);
        self.values.iter().find_map(|(other, given)| match given {
            Given::Value(value) if *other == path => Some(value),
            _ => None,
        })
    }

    fn text(&self, root: Root, fields: &[&str]) -> Option<&str> {
        self.value(root, fields).and_then(Value::as_str)
    }

    /// A chain with these facts, in which every authority permits everything.
    fn chain(&self, now: Timestamp) -> Option<Chain> {
        let authority = Authority { max_depth: u8::MAX, ..Authority::unlimited()? };
        let agent = Arc::new(self.agent()?);
        let user = if self.user { Some(Arc::new(self.user()?)) } else { None };
        let task = match self.task {
            true => Some(Arc::new(self.task(agent.id, user.as_deref().map(|user| user.id))?)),
            false => None,
        };
        let depth = self.value(Root::Grant, &["depth"]).and_then(Value::as_u64);
        let depth = u8::try_from(depth.unwrap_or(0)).ok()?;
        let link = |up: u8| {
            let grant = Grant {
                id: grant_id(depth - up),
                root: grant_id(0),
                parent: (up < depth).then(|| grant_id(depth - up - 1)),
                depth: depth - up,
                agent: agent.id,
                user: user.as_ref().map(|user| user.id),
                task: task.as_ref().map(|task| task.id),
                authority: authority.clone(),
                limits: Vec::new(),
                origin: Origin::Agent,
                created: Timestamp::from_micros(0),
                revoked: None,
            };
            let registration =
                Grant { id: agent.registration, parent: None, origin: Origin::Registration, ..grant.clone() };
            Link {
                grant: Arc::new(grant),
                agent: Arc::clone(&agent),
                registration: Arc::new(registration),
                task: task.clone(),
                user: user.clone(),
            }
        };
        Chain::assemble((0..=depth).map(link).collect(), Vec::new(), now).ok()
    }

    fn agent(&self) -> Option<Agent> {
        let id = self.text(Root::Agent, &["id"]);
        let labels =
            self.values.iter().filter_map(|(path, given)| match (path.root(), path.fields(), given) {
                (Root::Agent, [labels, name], Given::Value(Value::String(value)))
                    if &**labels == "labels" =>
                {
                    Some((name.to_string(), value.clone()))
                }
                _ => None,
            });
        Some(Agent {
            id: id.map_or(Some(values::agent_id()), |text| text.parse().ok())?,
            handle: self.text(Root::Agent, &["handle"]).unwrap_or("agent").to_owned(),
            description: String::new(),
            owner: self.text(Root::Agent, &["owner"]).map(str::to_owned),
            labels: labels.collect(),
            level: Level::Elevated,
            default_scopes: Vec::new(),
            registration: grant_id(100),
            state: AgentState::Active,
            created: Timestamp::from_micros(0),
            version: 1,
        })
    }

    fn user(&self) -> Option<User> {
        let id = self.text(Root::User, &["id"]);
        let roles = self.value(Root::User, &["roles"]).and_then(Value::as_array);
        Some(User {
            id: id.map_or(Some(values::user_id()), |text| text.parse().ok())?,
            name: self.text(Root::User, &["name"]).unwrap_or("user").to_owned(),
            roles: roles.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            created: Timestamp::from_micros(0),
            version: 1,
        })
    }

    fn task(&self, agent: AgentId, user: Option<UserId>) -> Option<Task> {
        let id = self.text(Root::Task, &["id"]);
        Some(Task {
            id: id.map_or(Some(values::task_id()), |text| text.parse().ok())?,
            label: self.text(Root::Task, &["label"]).map(str::to_owned),
            description: self.text(Root::Task, &["description"]).map(str::to_owned),
            stated: crate::intent::Stated::default(),
            agent,
            user,
            parent: None,
            origin: TaskOrigin::Person,
            state: TaskState::Active,
            created: Timestamp::from_micros(0),
            expires: None,
        })
    }
}

fn grant_id(number: u8) -> GrantId {
    GrantId::from_parts(Timestamp::from_micros(1_000_000), [number; 10])
}

/// What is wider, if the judge says so. `what` is what seemed to be.
pub(super) fn confirm(request: &Request, what: &str, ours: &PolicySet, theirs: &PolicySet) -> Option<Wider> {
    let Request { chain, action, now, context } = request;
    let asked = judge::Request { chain, action, now: *now, context: context.as_ref() };
    let says = |policies: &PolicySet| judge::judge(&policies.bind(chain), &asked);
    let theirs = says(theirs);
    if theirs.verdict == Verdict::Deny {
        return None;
    }
    let ours = says(ours);
    let how = if ours.verdict == Verdict::Deny {
        "allowed, where the first denies it".to_owned()
    } else {
        match met(&obligations(&ours), &obligations(&theirs)) {
            Met::Less(what) => format!("allowed {what}"),
            // What a judgement doesn't show is seen in the rules that were chosen.
            _ if what == WITHOUT_SHAPE => format!("allowed {what}"),
            _ => return None,
        }
    };
    let reasons = if ours.verdict == Verdict::Deny { ours.reasons } else { Vec::new() };
    Some(Wider { witness: witness(request), how, allowed_by: named(&theirs), denied_for: reasons })
}

fn named(judgement: &Judgement) -> Vec<(String, String)> {
    let owned = |(policy, rule): &(Arc<str>, Arc<str>)| (policy.to_string(), rule.to_string());
    judgement.chosen.iter().map(owned).collect()
}

/// What a judgement asks for, as far as it shows it.
fn obligations(judgement: &Judgement) -> Obligations<'_> {
    let asked = judgement.requirements.iter().map(|requirement| Asked {
        policy: &requirement.policy,
        rule: &requirement.rule,
        by: &requirement.by,
        within: requirement.within,
        more: std::collections::BTreeMap::new(),
    });
    Obligations {
        chosen: Vec::new(),
        limits: judgement.limits.iter().map(counted).collect(),
        asked: asked.collect(),
        shapes: judgement.shapes.iter().filter_map(|applied| shape::layout_in_full(&applied.shape)).collect(),
        detect: judge::detects(judgement),
        // Left to the rules as they are written.
        intents: Vec::new(),
    }
}

fn counted(applied: &judge::AppliedLimit) -> Counted<'_> {
    Counted { policy: &applied.policy, rule: &applied.rule, limit: &applied.limit }
}

fn witness(request: &Request) -> Witness {
    let Request { chain, action, now, context } = request;
    let link = chain.leaf();
    let known = !action.known.is_everything();
    Witness {
        agent: json!({"handle": link.agent.handle, "labels": link.agent.labels, "owner": link.agent.owner}),
        user: link.user.as_ref().map(|user| json!({"id": user.id, "name": user.name, "roles": user.roles})),
        task: link
            .task
            .as_ref()
            .map(|task| json!({"id": task.id, "label": task.label, "description": task.description})),
        depth: link.grant.depth,
        action: action.name.to_string(),
        effect: action.effect,
        resource: known.then(|| action.resource.to_string()),
        params: action.params.as_value().clone(),
        context: context.clone(),
        at: *now,
    }
}
