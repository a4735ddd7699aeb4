//! What of an answer its agent gets to see: the shapes that applied, and of a collection the members that the action
//! would be allowed on (DESIGN §4 `shape`, §7 `response`).
//!
//! Invariant: a member that can't be told is dropped; a body that can't be read is withheld.

use super::{Judgement, Request, Verdict, need, verdict};
use crate::{
    cel::{Activation, Conjunct, Expression, FUEL_PER_DECISION, Fuel, Outcome, Root},
    detect::Detect,
    pattern::ResourcePattern,
    policy::{BoundLink, BoundPolicies, ShapeOf},
    service::ServiceAction,
    shape::{Shape, Target, What, Withheld, apply},
    time::Timestamp,
};
use serde_json::{Value, json};
use std::{cell::Cell, collections::HashSet, sync::Arc};

/// What all conditions on the rows and members of one answer may spend together, in units of [`Fuel`].
pub const COST_PER_ANSWER: u64 = 2_000_000;
/// What judging one member costs besides rules and conditions: fewer than 10,000 are in one answer.
const COST_PER_MEMBER: u64 = 125;
/// What each entry of a rule's `on`, and each of a grant, costs a member: it is compared with the member's resource.
const COST_PER_ENTRY: u64 = 5;
/// What a rule that names the action costs a member besides its conditions and its entries, in those: a reason is made of
/// what it says.
const ENTRIES_OF_A_RULE: usize = 10;
/// What a row costs besides its conditions.
const COST_PER_ROW: u64 = 1;

/// The shape of a rule that had its say.
#[derive(Debug, Clone, PartialEq)]
pub struct AppliedShape {
    /// `name@version` of the policy.
    pub policy: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
    /// What it says.
    pub shape: Arc<Shape>,
    /// The variables of its link that its conditions may read.
    facts: Facts,
}

/// The variables of a link that conditions on rows see; nothing where none reads them.
#[derive(Debug, Clone, Default, PartialEq)]
struct Facts {
    agent: Option<Value>,
    user: Option<Value>,
    task: Option<Value>,
    grant: Option<Value>,
}

impl AppliedShape {
    pub(super) fn new(link: &BoundLink, (policy, rule): (&Arc<str>, &Arc<str>), shape: &ShapeOf) -> Self {
        let facts = if shape.reads_facts {
            Facts {
                agent: Some(link.agent.clone()),
                user: link.user.clone(),
                task: link.task.clone(),
                grant: Some(link.grant.clone()),
            }
        } else {
            Facts::default()
        };
        Self { policy: policy.clone(), rule: rule.clone(), shape: Arc::clone(&shape.shape), facts }
    }

    /// For who applies it elsewhere, and for administrators: where it stands, what it says, and the variables that its
    /// conditions read. It is not for agents.
    pub fn in_full(&self) -> Value {
        let rows = self.shape.rows.iter().map(|rows| {
            let filter: Vec<&str> = rows.filter.iter().map(Expression::source).collect();
            json!({"at": rows.at.to_string(), "where": filter, "max": rows.max})
        });
        let redact: Vec<String> = self.shape.redact.iter().map(ToString::to_string).collect();
        let Facts { agent, user, task, grant } = &self.facts;
        let mut all = json!({"policy": &*self.policy, "rule": &*self.rule, "rows": rows.collect::<Vec<_>>(), "redact": redact,
            "facts": {"agent": agent, "user": user, "task": task, "grant": grant}});
        if let Some(members) = all.as_object_mut().filter(|_| !self.shape.detect.is_empty()) {
            let kinds = self.shape.detect.kinds();
            let detect = kinds.map(|(kind, level)| (kind.as_str().to_owned(), level.as_str().into()));
            members.insert("detect".to_owned(), Value::Object(detect.collect()));
        }
        all
    }
}

impl Facts {
    fn with<'f>(&'f self, item: &'f Value, now: Timestamp) -> Activation<'f> {
        let known = [
            (Root::Agent, &self.agent),
            (Root::User, &self.user),
            (Root::Task, &self.task),
            (Root::Grant, &self.grant),
        ];
        let set = |set: Activation<'f>, (root, value): (Root, &'f Option<Value>)| match value {
            Some(value) => set.with(root, value),
            None => set,
        };
        known.into_iter().fold(Activation::new().with(Root::Item, item).at(now), set)
    }
}

/// Whether [`shape`] or [`usable`](super::usable()) could change an answer.
pub fn is_shaped(judgement: &Judgement, declared: Option<&ServiceAction>) -> bool {
    let tells = |action: &ServiceAction| action.tool().is_some_and(|tool| tool.part().tells_members());
    judgement.shapes.iter().any(|applied| applied.shape.is_of_layout())
        || declared.is_some_and(|action| action.members().is_some() || tells(action))
}

/// What is looked for in an answer: all that any rule looks for, and of each kind the strictest.
pub fn detects(judgement: &Judgement) -> Detect {
    let mut all = Detect::default();
    for applied in &judgement.shapes {
        all.join(&applied.shape.detect);
    }
    all
}

/// The body of a successful answer as the agent gets to see it. `judgement` is of `request`, and not a denial;
/// `declared` is the action's declaration, which says whether it returns members.
///
/// A member stays where the same action on its resource would be allowed, with no limit, approval or shape beyond those
/// of the action itself.
///
/// # Errors
/// [`Withheld`]: the agent gets no body.
pub fn shape(
    policies: &BoundPolicies,
    request: &Request<'_>,
    judgement: &Judgement,
    declared: Option<&ServiceAction>,
    body: Value,
) -> Result<Value, Withheld> {
    let left = Cell::new(COST_PER_ANSWER);
    let mut targets = Vec::new();
    let mut redacted = HashSet::new();
    if let Some((action, members)) = declared.and_then(|action| Some((action, action.members()?))) {
        let left = &left;
        // Made once: its parameters may be large.
        let mut on = request.action.clone();
        let each = cost_of_member(policies, request);
        // What was read is about the resource of the action, and a member is another one.
        on.facts = crate::service::Facts::default();
        let keep = Box::new(move |item: &Value| {
            spend(left, each)?;
            let Some(resource) = members.resource(action, item, &request.action.params) else {
                return Ok(false);
            };
            let known = ResourcePattern::from_uri(&resource);
            (on.resource, on.known) = (resource, known);
            let budget = left.get().min(FUEL_PER_DECISION);
            let (member, after) =
                verdict::member(policies, &Request { action: &on, ..*request }, Fuel::new(budget));
            spend(left, budget.saturating_sub(after.left()))?;
            if !action.lookups().is_empty() {
                let budget = left.get().min(FUEL_PER_DECISION);
                let asked = Request { action: &on, ..*request };
                let (missing, after) = need::missing(policies, &asked, action, Fuel::new(budget));
                spend(left, budget.saturating_sub(after.left()))?;
                if missing.is_some() {
                    return Ok(false);
                }
            }
            Ok(member.verdict != Verdict::Deny
                && member.limits.iter().all(|limit| judgement.limits.contains(limit))
                && member.shapes.iter().all(|shape| judgement.shapes.contains(shape))
                && member.intents.iter().all(|asked| {
                    // What people have answered instead of a judge was for the listing and what is in it.
                    judgement.intents.contains(asked) || judgement.requirements.contains(&asked.requirement)
                })
                && member.requirements.iter().all(|asked| judgement.requirements.contains(asked)))
        });
        targets.push(Target { path: members.items(), what: What::Rows { max: None, keep: Some(keep) } });
    }
    for applied in &judgement.shapes {
        for rows in &applied.shape.rows {
            let (left, facts, now) = (&left, &applied.facts, request.now);
            let conjuncts = || rows.filter.iter().flat_map(|expression| expression.conjuncts());
            let keep = move |item: &Value| {
                let variables = facts.with(item, now);
                spend(left, COST_PER_ROW)?;
                for conjunct in conjuncts() {
                    if !holds(conjunct, &variables, left)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            targets.push(Target {
                path: &rows.at,
                what: What::Rows { max: rows.max, keep: Some(Box::new(keep)) },
            });
        }
        for path in &applied.shape.redact {
            if redacted.insert(path) {
                targets.push(Target { path, what: What::Redact });
            }
        }
    }
    apply(&mut targets, body)
}

/// What it costs to judge a member, besides conditions.
pub(super) fn cost_of_member(policies: &BoundPolicies, request: &Request<'_>) -> u64 {
    COST_PER_MEMBER.saturating_add(COST_PER_ENTRY.saturating_mul(entries(policies, request)))
}

/// What a member's resource is compared with, at most: the entries of the rules that name the action, and of the chain's
/// grants and registrations.
fn entries(policies: &BoundPolicies, request: &Request<'_>) -> u64 {
    let in_force = policies.links.iter().flat_map(BoundLink::in_force);
    let rules = in_force.flat_map(|bound| bound.policy.candidates(&request.action.name));
    let named = rules.map(|rule| ENTRIES_OF_A_RULE + rule.entries());
    let authorities = request.chain.authorities();
    let granted = authorities
        .map(|it| it.scope.len() + it.resources.len() + it.tools.len() + it.authorization_details.len());
    named.chain(granted).map(|count| count as u64).sum()
}

/// Whether the condition is true of a row. One that costs more than a decision may is unknown, and so not.
fn holds(conjunct: &Conjunct, variables: &Activation<'_>, left: &Cell<u64>) -> Result<bool, Withheld> {
    let budget = left.get().min(FUEL_PER_DECISION);
    let mut fuel = Fuel::new(budget);
    let outcome = conjunct.evaluate(variables, &mut fuel);
    spend(left, budget.saturating_sub(fuel.left()))?;
    Ok(outcome == Outcome::True)
}

/// Pays. What is spent to the last unit is spent: a condition that ran dry there was not judged.
pub(super) fn spend(left: &Cell<u64>, units: u64) -> Result<(), Withheld> {
    left.set(left.get().saturating_sub(units));
    if left.get() == 0 { Err(Withheld::Cost) } else { Ok(()) }
}
