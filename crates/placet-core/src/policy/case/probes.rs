//! Actions that two versions of a policy may see differently, made from what both say: the numbers and texts that their
//! conditions compare with and those beside them, a resource of each pattern and one of none, the moments at which
//! their hours begin and end.
//!
//! They are a file of tests in JSON, so that there is one way from what is given to a decision.
//!
//! Invariant: bounded, whatever the policies say, and always the same for the same policies. That no probe changes
//! its outcome proves nothing: conditions can read what no probe states.

use super::{Policy, read::NOON};
use crate::{
    cel::{Bound, BoundOp, Conjunct, PARTS, Path, Root},
    decimal::Decimal,
    ledger::{Limit, Measure},
    pattern::ActionName,
    policy::{
        Rule,
        rule::{On, OnWhat},
    },
    service::Service,
    time::Timestamp,
    yaml::Yaml,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The most probes.
const MOST: usize = 20_000;
/// The most values of one parameter, and resources and agents of one action.
const EACH: usize = 24;

/// The tests, each `{given, when, then}`; what should be decided is not known.
pub fn probes(policies: &[&Policy], services: &[&Service]) -> Vec<Value> {
    let agents = agents(policies);
    let mut probes = Probes::default();
    for action in actions(policies, services) {
        let rules: Vec<&Rule> =
            policies.iter().flat_map(|policy| &policy.rules).filter(|rule| rule.names(&action)).collect();
        let values = values(&rules);
        let (resources, users, moments) = (resources(&rules), users(&rules), moments(&rules));
        let mut bases: Vec<Assigned> = rules.iter().map(|rule| base(rule, &values)).collect();
        bases.dedup();
        for (base, agent) in bases.iter().flat_map(|base| agents.iter().map(move |agent| (base, agent))) {
            for resource in &resources {
                if probes.is_full() {
                    return probes.found;
                }
                let (Some(user), Some(now)) = (users.first(), moments.first()) else { continue };
                let probe = Probe { action: &action, agent, user, now, resource };
                probes.add(probe, base);
                // Every value of every parameter, the others as the rule wants them.
                for (path, values) in &values {
                    for value in values {
                        let mut params = base.clone();
                        params.insert(path.clone(), value.clone());
                        probes.add(probe, &params);
                    }
                }
                for user in &users {
                    probes.add(Probe { user, ..probe }, base);
                }
                for now in &moments {
                    probes.add(Probe { now, ..probe }, base);
                }
            }
        }
    }
    probes.found
}

/// What was made.
#[derive(Default)]
struct Probes {
    found: Vec<Value>,
    seen: BTreeSet<String>,
    tried: usize,
}

/// All of a probe but its parameters.
#[derive(Clone, Copy)]
struct Probe<'a> {
    action: &'a ActionName,
    agent: &'a Value,
    user: &'a Value,
    now: &'a Value,
    resource: &'a str,
}

impl Probes {
    fn is_full(&self) -> bool {
        self.found.len() >= MOST || self.tried >= 10 * MOST
    }

    fn add(&mut self, probe: Probe<'_>, params: &Assigned) {
        self.tried += 1;
        let mut given =
            json!({"agent": probe.agent, "now": probe.now, "task": {"label": "task", "description": "task"}});
        if let (false, Value::Object(given)) = (probe.user.is_null(), &mut given) {
            given.insert("user".into(), probe.user.clone());
        }
        if let (facts, Value::Object(given)) = (object(Root::Resource, params), &mut given)
            && facts.as_object().is_some_and(|facts| !facts.is_empty())
        {
            given.insert("facts".into(), facts);
        }
        let when = json!({"action": probe.action.as_str(), "resource": probe.resource, "params": object(Root::Params, params)});
        let made = json!({"given": given, "when": when, "then": "allow"});
        if self.found.len() < MOST && self.seen.insert(made.to_string()) {
            self.found.push(made);
        }
    }
}

/// A value for each path of parameters and of facts; `Null` leaves it out.
type Assigned = BTreeMap<Path, Value>;

/// The values below one variable.
fn object(of: Root, params: &Assigned) -> Value {
    let mut root = Map::new();
    for (path, value) in params.iter().filter(|(path, _)| path.root() == of) {
        let Some((last, above)) = path.fields().split_last() else { continue };
        if value.is_null() {
            continue;
        }
        let mut place = Some(&mut root);
        for field in above {
            place =
                place.and_then(|place| place.entry(&**field).or_insert_with(|| json!({})).as_object_mut());
        }
        if let Some(place) = place {
            place.entry(&**last).or_insert_with(|| value.clone());
        }
    }
    Value::Object(root)
}

fn agents(policies: &[&Policy]) -> Vec<Value> {
    let mut found = Vec::new();
    for policy in policies {
        let (handle, labels) = policy.sample_agent();
        let mut add = |handle: &str, labels: &BTreeMap<String, String>| {
            let agent = json!({"handle": handle, "labels": labels});
            if found.len() < EACH && !found.contains(&agent) {
                found.push(agent);
            }
        };
        add(&handle, &labels);
        let handles =
            policy.selector.agents.iter().flatten().map(|handle| handle.text().replace('*', "test"));
        for handle in handles.filter(|handle| crate::agent::is_handle(handle)) {
            add(&handle, &labels);
        }
        for (name, values) in &policy.selector.labels {
            for value in values {
                let mut labels = labels.clone();
                labels.insert(name.clone(), value.clone());
                add(&handle, &labels);
            }
        }
        // One that it is not about.
        add("somebody-else", &BTreeMap::new());
    }
    found
}

fn actions(policies: &[&Policy], services: &[&Service]) -> Vec<ActionName> {
    let patterns = || policies.iter().flat_map(|policy| &policy.rules).flat_map(|rule| &rule.actions);
    let declared = services.iter().flat_map(|service| service.actions()).map(|action| action.name().clone());
    let declared = declared.filter(|name| patterns().any(|named| named.pattern.matches(name)));
    let stated = patterns().filter_map(|named| {
        let text = named.pattern.as_str().replace("**", "x").replace('*', "x");
        named.pattern.single().or_else(|| ActionName::parse(&text).ok())
    });
    let mut found: Vec<ActionName> = Vec::new();
    for name in stated.chain(declared) {
        if !found.contains(&name) && found.len() < 4 * EACH {
            found.push(name);
        }
    }
    found
}

/// One of each pattern, with its templates, and one of none.
fn resources(rules: &[&Rule]) -> Vec<String> {
    let text = |on: &On| match (&on.what, &on.node.value) {
        (OnWhat::Pattern(pattern), _) if pattern.is_everything() => None,
        (OnWhat::Pattern(_) | OnWhat::Template(_), Yaml::String(text)) => {
            Some(text.replace("**", "x").replace('*', "x"))
        }
        _ => None,
    };
    let mut found: Vec<String> = Vec::new();
    for resource in rules.iter().flat_map(|rule| rule.on.iter().flatten()).filter_map(text) {
        // One segment more is outside where the pattern ends with one star.
        for resource in [format!("{resource}/x"), resource] {
            if !found.contains(&resource) && found.len() < EACH {
                found.insert(0, resource);
            }
        }
    }
    found.push("other://x/y".to_owned());
    found
}

/// What the conditions and sums of the rules compare each parameter with, and what is beside it.
fn values(rules: &[&Rule]) -> BTreeMap<Path, Vec<Value>> {
    let mut found: BTreeMap<Path, Vec<Value>> = BTreeMap::new();
    let mut add = |path: &Path, values: Vec<Value>| {
        if !is_given(path) {
            return;
        }
        let own = found.entry(path.clone()).or_default();
        for value in values.into_iter().chain([Value::Null]) {
            if !own.contains(&value) && own.len() < EACH {
                own.push(value);
            }
        }
    };
    for conjunct in rules.iter().flat_map(|rule| conjuncts(rule)) {
        match conjunct.bound() {
            Some(bound) => add(&bound.path, beside(bound)),
            None => {
                for path in conjunct.reads() {
                    let mut values = Vec::new();
                    for text in texts(conjunct.source()) {
                        values.extend([
                            json!(text),
                            json!(format!("{text}x")),
                            json!(format!("x{text}")),
                            json!([text]),
                        ]);
                    }
                    values.extend([json!("x"), json!(1), json!(true), json!([])]);
                    add(path, values);
                }
            }
        }
    }
    for (of, max) in
        rules.iter().flat_map(|rule| &rule.limits).filter_map(|applied| match &applied.limit.measure {
            Measure::Sum { of, max } => Some((of, *max)),
            _ => None,
        })
    {
        for path in of.conjuncts().iter().flat_map(Conjunct::reads) {
            let over = Limit::number(max.saturating_add(1_000_000));
            add(path, vec![json!(1), Limit::number(max), over, json!(0)]);
        }
    }
    found
}

/// Whether a probe can give it: a parameter, or a fact.
fn is_given(path: &Path) -> bool {
    match (path.root(), path.fields()) {
        (Root::Params, [_, ..]) => true,
        (Root::Resource, [name]) => !PARTS.contains(&&**name),
        _ => false,
    }
}

fn conjuncts(rule: &Rule) -> impl Iterator<Item = &Conjunct> {
    let asked = rule.approve.iter().flat_map(|approve| &approve.when);
    rule.when.iter().chain(asked).flat_map(|condition| condition.expression.conjuncts())
}

/// The literal itself and its neighbours.
fn beside(bound: &Bound) -> Vec<Value> {
    match &bound.literal {
        Value::Array(items) => items.iter().cloned().chain([json!("something else"), json!(-1)]).collect(),
        Value::Number(number) => {
            let Ok(number) = Decimal::from_json(number) else { return vec![bound.literal.clone()] };
            let one = Decimal::from_i64(1);
            let near = [Some(number), number.checked_sub(one), number.checked_add(one)];
            near.into_iter().flatten().filter_map(|it| serde_json::from_str(&it.to_string()).ok()).collect()
        }
        Value::String(text) => vec![json!(text), json!(format!("{text}x"))],
        Value::Bool(yes) => vec![json!(yes), json!(!yes)],
        other => vec![other.clone(), json!("x")],
    }
}

/// What is in quotes in a condition.
fn texts(source: &str) -> Vec<&str> {
    let quote = if source.contains('"') { '"' } else { '\'' };
    source.split(quote).skip(1).step_by(2).filter(|text| !text.contains('\\')).take(EACH).collect()
}

/// Parameters as a rule wants them, as far as that is plain to see.
fn base(rule: &Rule, values: &BTreeMap<Path, Vec<Value>>) -> Assigned {
    let mut base: Assigned =
        values.iter().filter_map(|(path, values)| Some((path.clone(), values.first()?.clone()))).collect();
    for bound in
        rule.when.iter().flat_map(|condition| condition.expression.conjuncts()).filter_map(Conjunct::bound)
    {
        if !is_given(&bound.path) {
            continue;
        }
        let near = beside(bound);
        let place = match bound.op {
            BoundOp::AtMost | BoundOp::AtLeast | BoundOp::Equal | BoundOp::In => 0,
            BoundOp::Below | BoundOp::NotEqual => 1,
            BoundOp::Above => 2,
        };
        if let Some(value) = near.get(place) {
            base.insert(bound.path.clone(), value.clone());
        }
    }
    base
}

/// Nobody, somebody, and somebody with every role that a condition names.
fn users(rules: &[&Rule]) -> Vec<Value> {
    let about = rules
        .iter()
        .flat_map(|rule| conjuncts(rule))
        .filter(|conjunct| conjunct.reads().iter().any(|path| path.root() == Root::User));
    let roles: BTreeSet<&str> = about.flat_map(|conjunct| texts(conjunct.source())).take(EACH).collect();
    let mut found = vec![json!({"name": "somebody", "roles": roles})];
    found.extend(roles.iter().map(|role| json!({"name": "somebody", "roles": [role]})));
    if !roles.is_empty() {
        found.push(json!({"name": "somebody"}));
    }
    found.push(Value::Null);
    found
}

/// Noon of a Monday, and the moments of that week at which hours begin and end, each with the one before.
fn moments(rules: &[&Rule]) -> Vec<Value> {
    let mut found: Vec<Value> = vec![json!(NOON)];
    let Ok(noon) = Timestamp::parse(NOON) else { return found };
    for hours in rules.iter().filter_map(|rule| rule.hours.as_ref()) {
        let mut open = hours.open(noon);
        for minute in 1..=7 * 24 * 60 {
            let at = noon.plus(Duration::from_secs(60 * minute));
            if hours.open(at) != open {
                open = !open;
                for moment in [at.minus(Duration::from_secs(1)), at] {
                    let moment = json!(moment.to_string());
                    if !found.contains(&moment) && found.len() < 4 * EACH {
                        found.push(moment);
                    }
                }
            }
        }
    }
    found
}
