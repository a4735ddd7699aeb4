//! Whether one set of policies allows anything that another does not, with a request that shows it (DESIGN §4).
//!
//! Conditions that are joined of tests of single variables against constants (bounds, equalities, lists, beginnings,
//! ends and parts of texts, presence, members of lists) are compared exactly, as are patterns, templates, hours and
//! which agents a policy is about. Every other condition may be true, false or unknown as far as the comparison goes,
//! the same condition alike wherever it stands: what holds all the same is certain, and what doesn't is said to be
//! unknown, naming it, unless a request that the judge was asked about shows it.
//!
//! What is compared is one agent under its own policies, with a grant that permits everything; more links, grants that
//! permit less and levels only narrow both sides. How much conditions cost is left out.
//!
//! Invariant: never a guess. *Not wider* is said where no request can be; *wider* only with a request of which the
//! judge says so.

mod declared;
mod ground;
mod model;
mod obligations;
mod possible;
mod search;
mod side;
#[cfg(test)]
mod tests;
mod text;
mod values;
mod walk;
mod witness;

pub(super) use possible::check as check_possible;

use super::{Mode, Policy, PolicySet};
use crate::{
    refusal::Reason,
    service::{Effect, Service},
    time::Timestamp,
};
use model::Model;
use serde::Serialize;
use serde_json::Value;
use side::Side;
use std::{fmt, sync::Arc};

/// What comes of comparing.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// The second allows nothing that the first does not, and holds back at least as much.
    NotWider,
    /// It does, or holds back less; with a request that shows it.
    Wider(Box<Wider>),
    /// That can't be told, and why: each a phrase that goes on from "it is not known".
    Unknown(Vec<String>),
}

/// In which way the second is wider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wider {
    /// A request that shows it.
    pub witness: Witness,
    /// How the second treats it, compared with the first.
    pub how: String,
    /// The rules of the second that allow it, each as (`name@version` of the policy, rule).
    pub allowed_by: Vec<(String, String)>,
    /// Why the first denies it; empty where it doesn't.
    pub denied_for: Vec<Reason>,
}

/// A request, as the judge was asked about it. What is not stated makes no difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Witness {
    /// Handle, labels and owner.
    pub agent: Value,
    /// Id, name and roles of the grant's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Value>,
    /// Id, label and description of the task, which a person made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Value>,
    /// How many grants stand above that of the request.
    pub depth: u8,
    /// The action.
    pub action: String,
    /// Its effect as a service would state it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The resource; absent where nothing of it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The parameters.
    pub params: Value,
    /// What a trusted resource server says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// As [`compare_with`], where nothing is known of any service.
pub fn compare(first: &[Arc<Policy>], second: &[Arc<Policy>], now: Timestamp) -> Comparison {
    compare_with(first, second, &[], now)
}

/// Whether `second` allows anything that `first` does not, or with fewer limits or approvals. Each is a whole set of
/// policies: what one of them lets through another may deny. Hours are compared over the two years from `now`.
/// Of an action that one of the services declares only requests are looked at that the service lets through.
pub fn compare_with(
    first: &[Arc<Policy>],
    second: &[Arc<Policy>],
    services: &[&Service],
    now: Timestamp,
) -> Comparison {
    let mut model = Model::default();
    let (first, second) = (PolicySet::new(first.to_vec()), PolicySet::new(second.to_vec()));
    let ours = taken_apart(&mut model, &first);
    let theirs = taken_apart(&mut model, &second);
    let grounds = ground::find(&mut model, [&ours, &theirs]);
    let declared = services.iter().flat_map(|service| service.actions()).collect();
    search::Search::new(&model, (&ours, &first), (&theirs, &second), declared, now).run(&grounds)
}

fn taken_apart<'p>(model: &mut Model<'p>, set: &'p PolicySet) -> Side<'p> {
    let in_force = set.policies().iter().filter(|policy| policy.mode() == Mode::Enforce);
    Side { policies: in_force.map(|policy| model.policy(policy)).collect() }
}

impl fmt::Display for Wider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Witness { agent, user, task, depth, action, effect, resource, params, context, at } =
            &self.witness;
        writeln!(f, "{}:", self.how)?;
        writeln!(f, "  action    {action}")?;
        if let Some(effect) = effect {
            writeln!(f, "  effect    {}", effect.as_str())?;
        }
        writeln!(f, "  resource  {}", resource.as_deref().unwrap_or("(not known)"))?;
        writeln!(f, "  params    {params}")?;
        if let Some(context) = context {
            writeln!(f, "  context   {context}")?;
        }
        writeln!(f, "  agent     {agent}")?;
        if let Some(user) = user {
            writeln!(f, "  user      {user}")?;
        }
        if let Some(task) = task {
            writeln!(f, "  task      {task}")?;
        }
        if *depth > 0 {
            writeln!(f, "  depth     {depth}")?;
        }
        write!(f, "  at        {at}")?;
        for (policy, rule) in &self.allowed_by {
            write!(f, "\n  allowed by {policy}, {rule}")?;
        }
        Ok(())
    }
}
