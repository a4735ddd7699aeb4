//! The policies of one chain, ready to judge: chosen by agent, templates filled, everything that doesn't depend on
//! the request computed.
//!
//! Invariant: owns all it needs, so it can be kept beside a verified token.

use super::{
    Mode, Policy,
    rule::{LimitNodes, LimitOf, Reads},
};
use crate::{
    agent::Agent,
    cel::Expression,
    chain::{Chain, Link},
    grant::Origin,
    id::GrantId,
    ledger::{By, Limit, Measure},
    pattern::{ActionName, ResourcePattern},
    task::{Task, TaskOrigin},
    time::Timestamp,
};
use aws_lc_rs::digest;
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, fmt::Write as _, sync::Arc, time::Duration};

/// What the policies in force say about the agents of one chain; made by [`super::PolicySet::bind`]. It belongs to
/// that chain only, and to the state of its agents, users and tasks at that time.
pub struct BoundPolicies {
    pub(crate) leaf: GrantId,
    /// Leaf first; adjacent links of one agent are one.
    pub(crate) links: Box<[BoundLink]>,
    /// `name@version` of each policy that has a say, each once.
    pub(crate) labels: Arc<[Arc<str>]>,
    /// How long bodies of the record are kept.
    keep: Option<Duration>,
}

/// The links of one agent that hang together.
pub(crate) struct BoundLink {
    /// The variables that don't depend on the request.
    pub(crate) agent: Value,
    pub(crate) user: Option<Value>,
    pub(crate) task: Option<Value>,
    pub(crate) grant: Value,
    pub(crate) charged: Charged,
    pub(crate) policies: Box<[BoundPolicy]>,
    pub(crate) grants: Box<[GrantLimits]>,
}

/// A policy with its templates filled for one link.
pub(crate) struct BoundPolicy {
    pub(crate) policy: Arc<Policy>,
    pub(crate) filled: Box<[Option<ResourcePattern>]>,
}

/// The limits of one grant of the chain.
pub(crate) struct GrantLimits {
    pub(crate) id: Arc<str>,
    /// What stands where a policy's limit names its rule: `limits`.
    pub(crate) rule: Arc<str>,
    pub(crate) limits: Box<[LimitOf]>,
}

/// Whose counters a link's actions are charged to, encoded as the last part of a counter's name.
pub(crate) struct Charged {
    agent: [Box<str>; 1],
    user: Box<[Box<str>]>,
    task: Box<[Box<str>]>,
    grant: Box<[Box<str>]>,
}

impl BoundPolicies {
    pub(super) fn new(chain: &Chain, policies_of: impl Fn(&Agent) -> Vec<Arc<Policy>>) -> Self {
        let runs = chain.links().chunk_by(|below, above| below.agent.id == above.agent.id);
        let links: Box<[BoundLink]> = runs.filter_map(|run| BoundLink::new(run, &policies_of)).collect();
        let in_force = || links.iter().flat_map(BoundLink::in_force);
        let mut labels: Vec<Arc<str>> = in_force().map(|bound| bound.policy.label.clone()).collect();
        let keep = in_force().filter_map(|bound| bound.policy.keep()).max();
        labels.sort_unstable();
        labels.dedup();
        Self { leaf: chain.leaf().grant.id, links, labels: labels.into(), keep }
    }

    /// `name@version` of each policy that applies to an agent of the chain and is in force, sorted, each once.
    pub fn labels(&self) -> &[Arc<str>] {
        &self.labels
    }

    /// How long the bodies of entries about what this chain does are kept: the longest `record: {keep: …}` of the
    /// policies in force. `None` where none states one; then the installation's default holds.
    pub fn keep(&self) -> Option<Duration> {
        self.keep
    }

    /// Until when the body of an entry of `now` is kept; as [`BoundPolicies::keep`].
    pub fn keep_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.keep.map(|keep| now.plus(keep))
    }

    /// The limits of the rules in force, each with its policy and rule, in the words of the policy.
    pub fn limits(&self) -> Vec<String> {
        let in_force = self.links.iter().flat_map(BoundLink::in_force);
        in_force
            .flat_map(|bound| {
                let rules = bound.policy.rules.iter();
                let of = |rule: &super::Rule, limit: &Limit| {
                    format!("{}, {}: {limit}", bound.policy.label, rule.name)
                };
                rules.flat_map(move |rule| rule.limits.iter().map(move |applied| of(rule, &applied.limit)))
            })
            .collect()
    }

    /// The actions that rules in force allow by their very names.
    pub fn allowed_actions(&self) -> impl Iterator<Item = ActionName> {
        let rules = self.links.iter().flat_map(BoundLink::in_force).flat_map(|bound| &bound.policy.rules);
        rules.filter(|rule| rule.kind == super::Kind::Allow).flat_map(super::Rule::names_whole)
    }

    /// The resources that rules in force allow an action on, as they name them.
    pub fn allowed_resources(&self, action: &ActionName) -> impl Iterator<Item = &ResourcePattern> {
        self.links.iter().flat_map(BoundLink::in_force).flat_map(move |bound| {
            let rules = bound.policy.candidates(action).filter(|rule| rule.kind == super::Kind::Allow);
            rules.filter_map(|rule| rule.patterns(&bound.filled)).flatten()
        })
    }
}

impl fmt::Debug for BoundPolicies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundPolicies").field("leaf", &self.leaf).field("labels", &self.labels).finish()
    }
}

impl BoundLink {
    /// The policies that have a say.
    pub(crate) fn in_force(&self) -> impl Iterator<Item = &BoundPolicy> {
        self.policies.iter().filter(|bound| bound.policy.mode == Mode::Enforce)
    }

    /// The policies that are observed.
    pub(crate) fn observed(&self) -> impl Iterator<Item = &BoundPolicy> {
        self.policies.iter().filter(|bound| bound.policy.mode == Mode::Observe)
    }

    /// `run`: adjacent links of one agent, leaf first. The leafward stands for all.
    fn new(run: &[Link], policies_of: impl Fn(&Agent) -> Vec<Arc<Policy>>) -> Option<Self> {
        let link = run.first()?;
        let policies = policies_of(&link.agent)
            .into_iter()
            .map(|policy| BoundPolicy {
                filled: policy.templates.iter().map(|template| template.fill(link)).collect(),
                policy,
            })
            .collect();
        let limited = run.iter().filter(|link| !link.grant.limits.is_empty());
        Some(Self {
            agent: agent(&link.agent),
            user: user(link),
            task: task(link),
            grant: object([
                ("id", Some(link.grant.id.to_string().into())),
                ("depth", Some(link.grant.depth.into())),
                ("expires", Some(link.grant.authority.expires.to_string().into())),
            ]),
            charged: Charged::new(run, link),
            policies,
            grants: limited.map(GrantLimits::new).collect(),
        })
    }
}

impl GrantLimits {
    fn new(link: &Link) -> Self {
        let id: Arc<str> = link.grant.id.to_string().into();
        let applied =
            |limit: &Limit| LimitOf::new(&format!("grant:{id}"), limit.clone(), LimitNodes::default());
        Self { limits: link.grant.limits.iter().map(applied).collect(), rule: "limits".into(), id }
    }
}

impl LimitOf {
    /// `of`: what the limit belongs to, encoded.
    pub(super) fn new(of: &str, limit: Limit, nodes: LimitNodes) -> Self {
        let reads = match &limit.measure {
            Measure::Sum { of, .. } => Reads::of(Expression::conjuncts(of).iter()),
            Measure::Count { .. } | Measure::Rate { .. } | Measure::Concurrent { .. } => Reads::default(),
        };
        let reads = match &limit.by {
            By::Key(key) => reads.with(Reads::of(key.conjuncts().iter())),
            _ => reads,
        };
        let identity = format!("{of}/{}/", bounded(encoded(&limit.identity()))).into();
        Self { identity, limit: Arc::new(limit), reads, nodes }
    }
}

impl Charged {
    fn new(run: &[Link], leaf: &Link) -> Self {
        let agent = leaf.agent.id;
        let user = leaf.grant.user;
        // Who can mint tasks and grants at will would have a fresh counter each time.
        let own = |link: &Link| {
            let stated = link.task.as_ref().is_some_and(|task| task.origin == TaskOrigin::Person);
            link.grant.task.is_some() && !stated
        };
        let shared: Option<Box<str>> = run.iter().any(own).then(|| {
            let user = user.map_or_else(|| "-".to_owned(), |user| user.to_string());
            format!("agent-user:{agent}+{user}").into()
        });
        let mut tasks: Vec<Box<str>> =
            run.iter().filter_map(|link| link.grant.task).map(|task| format!("task:{task}").into()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        // The registration grant stands above all that the agent obtains: it is no purpose of its own.
        let mut grants: Vec<Box<str>> = run
            .iter()
            .filter(|link| link.grant.origin != Origin::Registration || link.grant.id == leaf.grant.id)
            .map(|link| format!("grant:{}", link.grant.id).into())
            .collect();
        if !tasks.is_empty() {
            tasks.extend(shared.clone());
        }
        grants.extend(shared);
        let part = |value: Box<str>| Box::from(bounded(encoded(&value)));
        let parts = |values: Vec<Box<str>>| values.into_iter().map(part).collect();
        Self {
            agent: [part(format!("agent:{agent}").into())],
            user: parts(user.map(|user| format!("user:{user}").into()).into_iter().collect()),
            task: parts(tasks),
            grant: parts(grants),
        }
    }

    /// The by-values; none where there is nobody to charge. Not for [`By::Resource`] and [`By::Key`], which depend on
    /// the request.
    pub(crate) fn values(&self, by: &By) -> &[Box<str>] {
        match by {
            By::Agent => &self.agent,
            By::User => &self.user,
            By::Task => &self.task,
            By::Grant => &self.grant,
            By::Resource | By::Key(_) => &[],
        }
    }
}

/// The longest part of a counter's name that is kept as it is, in bytes.
const LONGEST_PART: usize = 240;

/// An encoded part of a counter's name, at most so long that the name fits the key of an index: what is longer ends
/// with the digest of all of it.
pub(crate) fn bounded(part: Cow<'_, str>) -> Cow<'_, str> {
    if part.len() <= LONGEST_PART {
        return part;
    }
    let whole = digest::digest(&digest::SHA256, part.as_bytes());
    let mut short: String = part.chars().take(LONGEST_PART / 8).collect();
    short.push_str("%~");
    for byte in whole.as_ref() {
        // Writing to a string does not fail.
        let _ = write!(short, "{byte:02x}");
    }
    Cow::Owned(short)
}

/// A part of a counter's name: no two parts are one text, and none has a slash.
pub(crate) fn encoded(part: &str) -> Cow<'_, str> {
    // Ids and most names have nothing to encode, and this runs for every charge.
    if part.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'/' && byte != b'%') {
        return Cow::Borrowed(part);
    }
    let mut out = String::with_capacity(part.len());
    for character in part.chars() {
        if character == '/' || character == '%' || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let known = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(known.collect::<Map<_, _>>())
}

fn agent(agent: &Agent) -> Value {
    let labels = agent.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    object([
        ("id", Some(agent.id.to_string().into())),
        ("handle", Some(agent.handle.as_str().into())),
        ("owner", agent.owner.as_deref().map(Value::from)),
        ("labels", Some(Value::Object(labels.collect()))),
    ])
}

fn user(link: &Link) -> Option<Value> {
    let user = link.user.as_deref()?;
    Some(object([
        ("id", Some(user.id.to_string().into())),
        ("name", Some(user.name.as_str().into())),
        ("roles", Some(user.roles.iter().map(String::as_str).collect())),
    ]))
}

/// Of a task that the agent made itself only the id: the rest is its own words, as is any label that no person gave.
fn task(link: &Link) -> Option<Value> {
    let id = link.grant.task?;
    let stated = link.stated_task();
    Some(object([
        ("id", Some(id.to_string().into())),
        ("label", stated.and_then(Task::stated_label).map(Value::from)),
        ("description", stated.and_then(Task::stated_description).map(Value::from)),
    ]))
}
