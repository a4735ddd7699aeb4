//! What would come of an action before its parameters are known: for listings of what an agent may do (DESIGN §9,
//! `GET /v1/catalog`). The same rules as the judge's, with everything that depends on the request left open.
//!
//! Invariant: what the judge would allow or hold for some request is never left out, and what is told as certain comes of
//! every request. Nothing is decided by an outlook.

use super::{Request, explain, intent, subject::Subject};
use crate::{
    action::Action,
    cel::{Activation, Conjunct, Fuel, Outcome, Root, Why},
    chain::Chain,
    grant::{Authority, Missing, Origin, cover::AuthorizationDetail},
    ledger::{By, Charge, Limit, Measure},
    pattern::{ActionName, ResourcePattern, ResourceUri},
    policy::{BoundLink, BoundPolicies, BoundPolicy, Kind, LimitOf, Rule},
    service::Effect,
    time::Timestamp,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// An action of which the parameters are not known yet.
#[derive(Debug, Clone, Copy)]
pub struct Prospect<'a> {
    /// The authority it would rest on.
    pub chain: &'a Chain,
    /// Its name.
    pub name: &'a ActionName,
    /// Every resource that it may act on.
    pub range: &'a ResourcePattern,
    /// Its effect, where that is stated.
    pub effect: Option<Effect>,
    /// When.
    pub now: Timestamp,
}

impl Prospect<'_> {
    /// The action with nothing of it known.
    pub(super) fn action(&self, params: Map<String, Value>) -> Option<Action> {
        let resource = ResourceUri::from_parts("any", "any", &[] as &[&str]).ok()?;
        let stated = Action::stated(self.name.clone(), resource, params);
        Some(Action { known: self.range.clone(), effect: self.effect, ..stated })
    }
}

/// Whether people are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Asks {
    /// They are not.
    #[default]
    Never,
    /// It depends on the request.
    Sometimes,
    /// They are, whatever the request is.
    Always,
}

/// One way in which a condition can be met.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Way {
    /// Bounds on parameters, by path, as in a reason's remedy.
    pub bounds: Map<String, Value>,
    /// Further conditions on nothing but parameters, by their source text.
    pub expressions: Vec<String>,
    /// Whether there is more to it, of which an agent is told nothing.
    pub more: bool,
    /// When its hours begin, where it is outside them.
    pub opens: Option<Timestamp>,
    /// Whether people are asked then.
    pub asks: Asks,
}

/// A limit that may be charged.
#[derive(Debug, Clone, PartialEq)]
pub struct Quota {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The counters, where they don't depend on the request; the amount is nothing that was asked for.
    pub charges: Vec<Charge>,
}

/// What may come of an action.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outlook {
    /// The dimension in which the leaf grant permits none of it, though its holder's registration and all above do.
    pub lacking: Option<Missing>,
    /// Whether every request is allowed or held, before limits.
    pub certain: bool,
    /// Whether people are asked.
    pub asks: Asks,
    /// What has to hold: of each entry one way.
    pub conditions: Vec<Vec<Way>>,
    /// The limits that may be charged.
    pub quotas: Vec<Quota>,
}

/// What may come of an action; `None` where every request is refused now.
pub fn outlook(policies: &BoundPolicies, prospect: &Prospect<'_>) -> Option<Outlook> {
    if policies.leaf != prospect.chain.leaf().grant.id {
        return None;
    }
    let action = prospect.action(Map::new())?;
    let request = Request { chain: prospect.chain, action: &action, now: prospect.now, context: None };
    let subject = Subject::new(&request);
    let found = Outlook { certain: true, ..Outlook::default() };
    let mut view = View { subject: &subject, range: prospect.range, fuel: Fuel::default(), found };
    view.authority()?;
    for link in &policies.links {
        view.link(link)?;
    }
    Some(view.found)
}

struct View<'a> {
    subject: &'a Subject<'a>,
    range: &'a ResourcePattern,
    /// For all conditions together, as for a decision. What it doesn't suffice for is open.
    fuel: Fuel,
    found: Outlook,
}

/// What a condition says before the request is known.
enum Said {
    /// It depends on the request.
    Open,
    /// It would cost too much to find out here; a decision may get further, or no further either.
    Dear,
    Certain(Outcome),
}

/// How far an authority permits a prospect.
enum Permits {
    All,
    Some,
    None(Missing),
}

impl View<'_> {
    fn authority(&mut self) -> Option<()> {
        let Request { chain, action, .. } = self.subject.request;
        if !chain.links().iter().all(|link| link.agent.level.permits(action.effect)) {
            return None;
        }
        let derived = chain.leaf().grant.origin != Origin::Registration;
        for (index, authority) in chain.authorities().enumerate() {
            match permits(authority, &action.name, self.range) {
                Permits::All => {}
                Permits::Some => self.depends(Way { more: true, ..Way::default() }),
                // The first is the leaf's own grant.
                Permits::None(missing) if index == 0 && derived => self.found.lacking = Some(missing),
                Permits::None(_) => return None,
            }
        }
        Some(())
    }

    /// It depends on something of the request.
    fn depends(&mut self, way: Way) {
        self.found.certain = false;
        let entry = vec![way];
        if !self.found.conditions.contains(&entry) {
            self.found.conditions.push(entry);
        }
    }

    /// `None` where nothing of the link's policies can allow it.
    fn link(&mut self, link: &BoundLink) -> Option<()> {
        let mut ways = Vec::new();
        let (mut sure, mut counted) = (false, true);
        for bound in link.in_force() {
            sure |= self.policy(link, bound, &mut ways, &mut counted)?;
        }
        if ways.is_empty() {
            return None;
        }
        let asks = if ways.iter().all(|way| way.asks == Asks::Always) {
            Asks::Always
        } else {
            ways.iter().map(|way| way.asks).max().unwrap_or_default().min(Asks::Sometimes)
        };
        self.found.asks = self.found.asks.max(asks);
        // A limit that can't be counted refuses, whichever rule allows it.
        if !(sure && counted) {
            self.found.certain = false;
            self.found.conditions.push(ways);
        }
        for grant in &link.grants {
            let mut way = Way::default();
            if !self.limits(link, &grant.limits, &mut way) {
                self.depends(way);
            }
        }
        Some(())
    }

    /// Adds the ways in which the policy may allow it; whether one of its rules is chosen for every request. `None` where it
    /// refuses all of them.
    fn policy(
        &mut self,
        link: &BoundLink,
        bound: &BoundPolicy,
        ways: &mut Vec<Way>,
        counted: &mut bool,
    ) -> Option<bool> {
        let mut chosen = false;
        for rule in bound.policy.candidates(&self.subject.request.action.name) {
            let filled = &bound.filled;
            match rule.kind {
                Kind::Allow if !chosen => {
                    let reaches = |pattern: &ResourcePattern| pattern.intersects(self.range);
                    if !rule.patterns(filled).is_none_or(|mut all| all.any(reaches)) {
                        continue;
                    }
                    let Some((mut way, mut sure)) = self.way(link, rule) else { continue };
                    if !rule.covers(filled, self.range) {
                        way.more = true;
                        sure = false;
                    }
                    way.asks = self.asks(link, rule);
                    *counted &= self.limits(link, &rule.limits, &mut way);
                    if rule.intent.is_some() {
                        // What is named in a purpose is told of a whole request.
                        *counted = false;
                        way.more = true;
                    }
                    ways.push(way);
                    chosen = sure;
                }
                Kind::Guard if rule.touches(filled, self.range) => self.guard(link, bound, rule)?,
                Kind::Deny if rule.touches(filled, self.range) => {
                    let (refuted, open) = self.refuted(link, rule);
                    if !refuted && !open && rule.covers(filled, self.range) {
                        return None;
                    }
                    if !refuted {
                        self.depends(Way { more: true, ..Way::default() });
                    }
                }
                Kind::Allow | Kind::Guard | Kind::Deny => {}
            }
        }
        Some(chosen)
    }

    fn guard(&mut self, link: &BoundLink, bound: &BoundPolicy, rule: &Rule) -> Option<()> {
        let covers = rule.covers(&bound.filled, self.range);
        let Some((mut way, mut sure)) = self.way(link, rule) else {
            // It fails; where it does not cover all, it need not have its say.
            self.depends(Way { more: true, ..Way::default() });
            return (!covers).then_some(());
        };
        way.asks = self.asks(link, rule);
        let asks = if covers { way.asks } else { way.asks.min(Asks::Sometimes) };
        self.found.asks = self.found.asks.max(asks);
        sure &= self.limits(link, &rule.limits, &mut way);
        if rule.intent.is_some() {
            sure = false;
            way.more = true;
        }
        if !sure {
            self.depends(if covers { way } else { Way { more: true, ..Way::default() } });
        }
        Some(())
    }

    /// What there is to a rule's conditions, and whether they hold for every request; `None` where they hold for none.
    fn way(&mut self, link: &BoundLink, rule: &Rule) -> Option<(Way, bool)> {
        let (mut way, mut sure) = (Way::default(), true);
        let now = self.subject.request.now;
        if let Some(hours) = rule.hours.as_ref().filter(|hours| !hours.open(now)) {
            way.opens = Some(hours.opens_after(now)?);
            sure = false;
        }
        let variables = self.subject.variables(link, rule.reads);
        for conjunct in rule.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            match said(conjunct, &variables, &mut self.fuel) {
                Said::Open => {
                    sure = false;
                    tell(conjunct, &mut way);
                }
                Said::Dear => {
                    sure = false;
                    way.more = true;
                }
                Said::Certain(Outcome::True) => {}
                Said::Certain(_) => return None,
            }
        }
        Some((way, sure))
    }

    /// Whether a deny has no say whatever the request is, and else whether that depends on it.
    fn refuted(&mut self, link: &BoundLink, rule: &Rule) -> (bool, bool) {
        let closed = rule.hours.as_ref().is_some_and(|hours| !hours.open(self.subject.request.now));
        let variables = self.subject.variables(link, rule.reads);
        let mut open = false;
        for conjunct in rule.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            match said(conjunct, &variables, &mut self.fuel) {
                Said::Open | Said::Dear => open = true,
                Said::Certain(Outcome::False) => return (true, open),
                Said::Certain(_) => {}
            }
        }
        (closed, open)
    }

    fn asks(&mut self, link: &BoundLink, rule: &Rule) -> Asks {
        self.asks_to_approve(link, rule).max(intent::asks(rule, self.subject.request.chain))
    }

    fn asks_to_approve(&mut self, link: &BoundLink, rule: &Rule) -> Asks {
        let Some(approve) = &rule.approve else { return Asks::Never };
        let variables = self.subject.variables(link, approve.reads);
        let mut asks = Asks::Always;
        for conjunct in approve.when.iter().flat_map(|condition| condition.expression.conjuncts()) {
            match said(conjunct, &variables, &mut self.fuel) {
                Said::Open | Said::Dear => asks = Asks::Sometimes,
                Said::Certain(Outcome::False) => return Asks::Never,
                Said::Certain(_) => {}
            }
        }
        asks
    }

    /// Notes limits that may be charged; whether they can be counted for every request.
    fn limits(&mut self, link: &BoundLink, limits: &[LimitOf], way: &mut Way) -> bool {
        let mut sure = true;
        for applied in limits {
            let limit = &applied.limit;
            if let Measure::Sum { of, .. } = &limit.measure {
                sure = false;
                let paths: Vec<_> = of.conjuncts().iter().flat_map(Conjunct::reads).collect();
                match paths.as_slice() {
                    [path] if path.root() == Root::Params && path.to_string() == of.source().trim() => {
                        bound(&mut way.bounds, path.to_string(), json!({"above": 0}));
                    }
                    _ => way.more = true,
                }
            }
            let values = link.charged.values(&limit.by);
            // A key that is not known before the request is, or nobody to charge.
            if !matches!(limit.by, By::Resource) && values.is_empty() {
                sure = false;
                way.more = true;
            }
            let window = limit.per.window(self.subject.request.now, &limit.zone);
            let charge = |value: &str| Charge {
                counter: [&*applied.identity, value].concat(),
                meter: limit.meter(),
                window,
                amount: 0,
                max: limit.max(),
                limit: 0,
            };
            let charges = values.iter().map(|value| charge(value)).collect();
            let quota = Quota { limit: Arc::clone(limit), charges };
            // The text of a sum over anything but parameters would tell facts.
            let told = |root| matches!(root, Root::Params | Root::Lists);
            let facts = Root::ALL.into_iter().any(|root| !told(root) && applied.reads.has(root));
            if !facts && !self.found.quotas.contains(&quota) {
                self.found.quotas.push(quota);
            }
        }
        sure
    }
}

fn said(conjunct: &Conjunct, variables: &Activation<'_>, fuel: &mut Fuel) -> Said {
    if is_open(conjunct) {
        return Said::Open;
    }
    match conjunct.evaluate(variables, fuel) {
        Outcome::Unknown(Why::Fuel) => Said::Dear,
        outcome => Said::Certain(outcome),
    }
}

/// Whether it depends on what is not known before the request is.
fn is_open(conjunct: &Conjunct) -> bool {
    conjunct.reads().iter().any(|path| matches!(path.root(), Root::Params | Root::Resource))
}

/// What an agent may be told of a condition, as [`crate::refusal::Reason::disclosed_to`] has it: bounds on what it sends
/// itself, and the text of what reads nothing else.
fn tell(conjunct: &Conjunct, way: &mut Way) {
    if !conjunct.reads().iter().all(|path| path.root() == Root::Params) {
        way.more = true;
        return;
    }
    match conjunct.bound().and_then(explain::remedy) {
        Some((path, what)) => bound(&mut way.bounds, path, what),
        None => way.expressions.push(conjunct.source().to_owned()),
    }
}

/// Adds a bound; of two of one kind both stand, in a list.
fn bound(bounds: &mut Map<String, Value>, path: String, what: Value) {
    let Value::Object(what) = what else { return };
    let Some(known) = bounds.entry(path).or_insert_with(|| json!({})).as_object_mut() else { return };
    for (kind, value) in what {
        match known.get_mut(&kind) {
            None => _ = known.insert(kind, value),
            Some(same) if *same == value => {}
            Some(Value::Array(all)) if kind != "one_of" => all.push(value),
            Some(one) => *one = json!([one.take(), value]),
        }
    }
}

fn permits(authority: &Authority, name: &ActionName, range: &ResourcePattern) -> Permits {
    let scopes: Vec<_> = authority.scope.iter().filter(|scope| scope.action().matches(name)).collect();
    if !scopes.iter().any(|scope| scope.resource().intersects(range)) {
        return Permits::None(Missing::Scope);
    }
    if !authority.tools.iter().any(|tool| tool.matches(name)) {
        return Permits::None(Missing::Tool);
    }
    if !authority.resources.iter().any(|pattern| pattern.intersects(range)) {
        return Permits::None(Missing::Resource);
    }
    let details = &authority.authorization_details;
    let names = |detail: &AuthorizationDetail| match detail {
        AuthorizationDetail::PlacetAction { actions, .. } => {
            actions.iter().any(|pattern| pattern.matches(name))
        }
        AuthorizationDetail::Other(_) => false,
    };
    if !details.is_empty() && !details.iter().any(names) {
        return Permits::None(Missing::Detail);
    }
    let all = scopes.iter().any(|scope| scope.resource().covers(range))
        && authority.resources.iter().any(|pattern| pattern.covers(range))
        && details.is_empty();
    if all { Permits::All } else { Permits::Some }
}
