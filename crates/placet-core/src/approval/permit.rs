//! Permits: an approver's answer that is broader than "this once" (DESIGN §6; the page is `docs/approvals.md`).
//!
//! A permit takes the place of an approval for further requests of one agent under one task or grant, through one
//! connection, within stated bounds. It is shown in the same words before it is given and ever after. It answers the
//! rules that asked, at the version of the policy at which they did; it is no guard, no limit and no grant.
//!
//! Invariant: what a permit can't be compared with is not covered by it, and then people are asked.

use super::Requirement;
use crate::{
    action::Action,
    chain::Chain,
    decimal::Decimal,
    id::{AgentId, ApprovalId, GrantId, PermitId, TaskId, UserId},
    ledger::{Charge, Meter, Per},
    pattern::{ActionName, ActionPattern, ResourcePattern},
    service::Effect,
    time::Timestamp,
};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use std::{collections::BTreeMap, fmt, fmt::Write as _, time::Duration};

/// The longest that a permit can last.
pub const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);
/// The most patterns of actions, patterns of resources, or bounds that one permit names, each.
pub const MAX_ENTRIES: usize = 20;
/// The most actions that a permit can count.
pub const MAX_COUNT: u64 = 1_000_000;
/// The most bytes of all values that `one_of` lists of one parameter have as JSON.
const MAX_LISTED: usize = 4096;

/// What a permit lives and dies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The task of the held request: any grant that the agent has for it.
    Task,
    /// The grant of the held request, and no other.
    Grant,
}

/// What a parameter may be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The least, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The most, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// One of these; numbers compare by their value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
}

/// How much a parameter may come to over all actions, the held one included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// The parameter.
    pub of: String,
    /// The most.
    pub max: Number,
}

/// What a person answers with; what is left out is filled from the held request ([`Asked::complete`]).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The task (the default where there is one) or the grant.
    #[serde(rename = "for")]
    pub scope: Option<Scope>,
    /// Patterns of actions; the held action alone.
    pub actions: Option<Vec<ActionPattern>>,
    /// Patterns of resources; what is known of the held one's alone.
    pub resources: Option<Vec<ResourcePattern>>,
    /// Bounds of parameters by name; none.
    #[serde(default)]
    pub params: BTreeMap<String, Bound>,
    /// How many actions, the held one included.
    pub count: Option<u64>,
    /// How much in all.
    pub sum: Option<Sum>,
    /// When it ends at the latest; with task or grant.
    pub expires: Option<Timestamp>,
    /// The same as seconds from now.
    pub lasts: Option<u64>,
}

/// The complete terms of a permit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// What it lives and dies with.
    #[serde(rename = "for")]
    pub scope: Scope,
    /// Any of these actions.
    pub actions: Vec<ActionPattern>,
    /// On what one of these covers.
    pub resources: Vec<ResourcePattern>,
    /// With parameters within these bounds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Bound>,
    /// How many, the held one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How much in all, the held one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<Sum>,
    /// When it ends at the latest.
    pub expires: Timestamp,
}

/// What a permit is bound to besides its terms: where the held request stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ground {
    /// The held action.
    pub action: ActionName,
    /// Its effect, where one is stated.
    pub effect: Option<Effect>,
    /// As much of its resource as is known.
    pub known: ResourcePattern,
    /// `service@version`.
    pub service: String,
    /// `connection@generation`.
    pub connection: String,
    /// The connection's name.
    pub connection_name: String,
    /// The agent's handle.
    pub handle: String,
    /// The topmost of the agent's grants for the task; the held request's own where it has no task.
    pub task_grant: GrantId,
    /// When the lineage ends by itself.
    pub until: Timestamp,
}

/// Terms that can't be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TermsError(String);

/// A permit that was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Permit {
    /// Its id.
    pub id: PermitId,
    /// The held request that it was given with.
    pub approval: ApprovalId,
    /// The agent that may act.
    pub agent: AgentId,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// For which task.
    pub task: Option<TaskId>,
    /// The grant that the acting grant is, or hangs below.
    pub anchor: GrantId,
    /// `service@version`.
    pub service: String,
    /// `connection@generation`.
    pub connection: String,
    /// `policy@version` and name of each rule that it answers.
    pub rules: Vec<(String, String)>,
    /// Its terms.
    pub terms: Terms,
    /// What the held request took of the sum, in millionths.
    pub first: i64,
    /// The terms in words, as they were shown before it was given.
    pub words: Vec<String>,
    /// Who gave it.
    pub given_by: UserId,
    /// That person's name, for display.
    pub given_name: String,
    /// Who gave it with them, where it took several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_with: Vec<Giver>,
    /// When.
    pub given: Timestamp,
}

/// Somebody who gave a permit together with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Giver {
    /// Who.
    pub id: UserId,
    /// The person's name, for display.
    pub name: String,
}

/// A request that may be covered by permits.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The authority it rests on.
    pub chain: &'a Chain,
    /// What is to be done.
    pub action: &'a Action,
    /// `connection@generation`.
    pub connection: &'a str,
    /// When.
    pub now: Timestamp,
}

impl Asked {
    /// The complete terms, or why they can't be given. The held request itself has to be covered by them: it is the
    /// first that they count.
    ///
    /// # Errors
    /// [`TermsError`] in a sentence.
    pub fn complete(
        &self,
        ground: &Ground,
        has_task: bool,
        params: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Terms, TermsError> {
        let scope = match self.scope {
            Some(Scope::Task) if !has_task => return refuse("the request has no task: give `for: grant`"),
            Some(scope) => scope,
            None if has_task => Scope::Task,
            None => Scope::Grant,
        };
        let actions = self.actions.clone().unwrap_or_else(|| vec![ActionPattern::from_name(&ground.action)]);
        let resources = self.resources.clone().unwrap_or_else(|| vec![ground.known.clone()]);
        for (name, count) in
            [("actions", actions.len()), ("resources", resources.len()), ("params", self.params.len())]
        {
            if count > MAX_ENTRIES {
                return refuse(format!("`{name}` has more than {MAX_ENTRIES} entries"));
            }
        }
        for (name, bound) in &self.params {
            bound.check().map_err(|problem| TermsError(format!("`params.{}`: {problem}", quoted(name))))?;
        }
        if self.count.is_some_and(|count| !(1..=MAX_COUNT).contains(&count)) {
            return refuse(format!("`count` is from 1 to {MAX_COUNT}; the held request is the first"));
        }
        let expires = match (self.expires, self.lasts) {
            (Some(_), Some(_)) => return refuse("give `expires` or `lasts`, not both"),
            (Some(at), None) => at,
            (None, Some(seconds)) => now.plus(Duration::from_secs(seconds)),
            (None, None) => ground.until.min(now.plus(LONGEST)),
        };
        if expires <= now || now.plus(LONGEST) < expires {
            return refuse("a permit ends in the future, within 90 days");
        }
        let terms = Terms {
            scope,
            actions,
            resources,
            params: self.params.clone(),
            count: self.count,
            sum: self.sum.clone(),
            expires: expires.min(ground.until),
        };
        if terms.is_counted_for(ground.effect).is_none() {
            let effect = ground.effect.map_or("unstated, which counts as money", Effect::as_str);
            return refuse(format!(
                "the effect of `{}` is {effect}: a permit for it has a `count` and a `sum`",
                ground.action
            ));
        }
        if !terms.covers(&ground.action, &ground.known, params) {
            return refuse("the terms don't cover the held request itself");
        }
        match terms.first(params) {
            Some(_) => Ok(terms),
            None => {
                refuse("the held request does not fit into the `sum`: its parameter is a number above zero")
            }
        }
    }
}

impl Bound {
    fn check(&self) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() && self.one_of.is_none() {
            return Err("a bound has `min`, `max` or `one_of`".into());
        }
        for number in [&self.min, &self.max].into_iter().flatten() {
            Decimal::from_json(number).map_err(|error| error.to_string())?;
        }
        match &self.one_of {
            Some(values) if values.is_empty() => Err("`one_of` is empty".into()),
            Some(values) if values.iter().any(|value| value.is_array() || value.is_object()) => {
                Err("`one_of` lists strings, numbers, booleans or null".into())
            }
            Some(values)
                if values.iter().map(|value| value.to_string().len()).sum::<usize>() > MAX_LISTED =>
            {
                Err("`one_of` lists too much".into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the value is within it; one that is missing or of another kind is not.
    pub fn holds(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return false };
        let number = || match value {
            Value::Number(number) => Decimal::from_json(number).ok(),
            _ => None,
        };
        let against = |bound: &Option<Number>, fits: fn(Decimal, Decimal) -> bool| match bound {
            None => true,
            Some(bound) => match (number(), Decimal::from_json(bound)) {
                (Some(number), Ok(bound)) => fits(number, bound),
                _ => false,
            },
        };
        against(&self.min, |number, min| number >= min)
            && against(&self.max, |number, max| number <= max)
            && self.one_of.as_ref().is_none_or(|values| values.iter().any(|listed| same(listed, value)))
    }
}

/// Whether two scalars are the same: numbers by their exact value.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            matches!((Decimal::from_json(one), Decimal::from_json(other)), (Ok(one), Ok(other)) if one == other)
        }
        (one, other) => one == other,
    }
}

impl Terms {
    /// Whether an action of this effect may run on them at all: `delete`, `money` and what is unstated only with a
    /// count and a sum.
    fn is_counted_for(&self, effect: Option<Effect>) -> Option<()> {
        match effect {
            Some(Effect::Read | Effect::Write) => Some(()),
            Some(Effect::Delete | Effect::Money) | None => self.count.and(self.sum.as_ref()).map(|_| ()),
        }
    }

    /// Whether actions, resources and bounds cover a request; counters are apart.
    fn covers(&self, action: &ActionName, known: &ResourcePattern, params: &Map<String, Value>) -> bool {
        self.actions.iter().any(|pattern| pattern.matches(action))
            && self.resources.iter().any(|pattern| pattern.covers(known))
            && self.params.iter().all(|(name, bound)| bound.holds(params.get(name)))
    }

    /// What an action takes of the sum, in millionths: 0 where nothing is summed, `None` where that can't be read.
    fn amount(&self, params: &Map<String, Value>) -> Option<i64> {
        let Some(sum) = &self.sum else { return Some(0) };
        let Some(Value::Number(number)) = params.get(&sum.of) else { return None };
        Decimal::from_json(number).ok()?.to_millionths().ok().filter(|amount| *amount > 0)
    }

    fn most(&self) -> Option<i64> {
        Decimal::from_json(&self.sum.as_ref()?.max).ok()?.to_millionths().ok()
    }

    /// What the held request takes of the sum, if it fits.
    pub fn first(&self, params: &Map<String, Value>) -> Option<i64> {
        let amount = self.amount(params)?;
        (self.sum.is_none() || self.most().is_some_and(|most| amount <= most)).then_some(amount)
    }

    /// The terms in sentences for people. What comes from others is quoted. `joint`: it takes the same terms of
    /// everybody who has to say yes ([`super::Approval::is_joint`]).
    pub fn words(
        &self,
        ground: &Ground,
        task: Option<TaskId>,
        grant: GrantId,
        rules: &[&Requirement],
        joint: bool,
    ) -> Vec<String> {
        let mut words = vec![format!(
            "The agent {} may do {} on {} through the connection {} without asking again.",
            quoted(&ground.handle),
            list(&self.actions),
            list(&self.resources),
            quoted(&ground.connection_name)
        )];
        words.push(match (self.scope, task) {
            (Scope::Task, Some(task)) => format!("For the task {task} only; it ends with it."),
            _ => format!("Under the grant {grant} only; it ends with it."),
        });
        words.push(if self.params.is_empty() {
            "With any parameters that the rules allow.".to_owned()
        } else {
            let bounds: Vec<_> =
                self.params.iter().map(|(name, bound)| format!("{} is {bound}", quoted(name))).collect();
            format!("Only where {}.", bounds.join(" and "))
        });
        words.push(match self.count {
            Some(count) => format!("At most {count} times, this request included."),
            None => "As often as it asks.".to_owned(),
        });
        if let Some(Sum { of, max }) = &self.sum {
            words.push(format!("At most {max} of {} in all, this request included.", quoted(of)));
        }
        words.push(format!("Until {}.", self.expires));
        let rules: Vec<_> =
            rules.iter().map(|rule| format!("{} of {}", quoted(&rule.rule), quoted(&rule.policy))).collect();
        words.push(format!(
            "It answers the rule {} and nothing else: guards, limits and denials hold as before. A new version of \
             the policy or of the service, or a new secret of the connection, ends it.",
            rules.join(" and ")
        ));
        if joint {
            words.push(
                "It takes these very terms of everybody who has to say yes; otherwise this request alone is approved."
                    .to_owned(),
            );
        }
        words
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.min.as_ref().map(|min| format!("at least {min}")));
        parts.extend(self.max.as_ref().map(|max| format!("at most {max}")));
        if let Some(values) = &self.one_of {
            let shown = |value: &Value| match value {
                Value::String(text) => quoted(text),
                other => other.to_string(),
            };
            parts.push(values.iter().map(shown).collect::<Vec<_>>().join(" or "));
        }
        f.write_str(&parts.join(", "))
    }
}

impl Permit {
    /// Which of the requirements it answers, for this request; empty where it does not cover it.
    pub fn answers(&self, it: &Use<'_>, requirements: &[Requirement]) -> Vec<usize> {
        let leaf = &it.chain.leaf().grant;
        let action = it.action;
        let fits = it.now < self.terms.expires
            && leaf.agent == self.agent
            && leaf.user == self.user
            && self.stands_in(it.chain)
            && action.service.as_ref().is_some_and(|service| service.to_string() == self.service)
            && it.connection == self.connection
            && self.terms.is_counted_for(action.effect).is_some()
            && self.terms.covers(&action.name, &action.known, &action.params)
            && self.terms.amount(&action.params).is_some();
        if !fits {
            return Vec::new();
        }
        let answered = |asked: &Requirement| {
            !asked.intent
                && self.rules.iter().any(|(policy, rule)| *policy == asked.policy && *rule == asked.rule)
        };
        requirements.iter().enumerate().filter(|(_, asked)| answered(asked)).map(|(index, _)| index).collect()
    }

    /// Whether the chain's leaf is the grant that it was given for, or one of the same agent for the same task below
    /// it.
    fn stands_in(&self, chain: &Chain) -> bool {
        let leaf = &chain.leaf().grant;
        match self.terms.scope {
            Scope::Grant => leaf.id == self.anchor,
            Scope::Task => task_links(chain).any(|grant| grant == self.anchor) && leaf.task == self.task,
        }
    }

    /// What one action has to fit into: its count and its sum. What the held request takes is taken from the first.
    /// `limit` is the index that each charge names.
    pub fn charges(&self, params: &Map<String, Value>, limit: usize) -> Option<Vec<Charge>> {
        let window = Per::Total.window(self.given, &TimeZone::UTC);
        let charge = |what: &str, amount, max| Charge {
            counter: format!("permit/{}/{what}", self.id),
            meter: Meter::Window,
            window,
            amount,
            max,
            limit,
        };
        let mut charges = Vec::new();
        if let Some(count) = self.terms.count {
            charges.push(charge("count", 1, i64::try_from(count).ok()?.saturating_sub(1)));
        }
        if self.terms.sum.is_some() {
            let most = self.terms.most()?.saturating_sub(self.first);
            charges.push(charge("sum", self.terms.amount(params)?, most));
        }
        Some(charges)
    }

    /// The counters with what each may reach and what of it the held request took, in the counter's units; a sum's are
    /// millionths.
    pub fn counters(&self) -> Vec<Charge> {
        let params = match &self.terms.sum {
            Some(sum) => Map::from_iter([(sum.of.clone(), Value::from(1))]),
            None => Map::new(),
        };
        self.charges(&params, 0).unwrap_or_default()
    }
}

/// The topmost of the leaf agent's grants for the leaf's task: what a permit "for this task" is anchored in.
pub fn task_grant(chain: &Chain) -> GrantId {
    task_links(chain).last().unwrap_or(chain.leaf().grant.id)
}

/// From the leaf up, as long as agent and task are the leaf's.
fn task_links(chain: &Chain) -> impl Iterator<Item = GrantId> + '_ {
    let leaf = &chain.leaf().grant;
    let same =
        move |link: &&crate::chain::Link| link.grant.agent == leaf.agent && link.grant.task == leaf.task;
    chain.links().iter().take_while(same).map(|link| link.grant.id)
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| quoted(&item.to_string())).collect::<Vec<_>>().join(" or ")
}

/// In backticks, whole, with every control and bidirectional character as its number: a permit is what it says.
fn quoted(text: &str) -> String {
    let mut out = String::from("`");
    for letter in text.chars() {
        let hidden = letter.is_control()
            || matches!(letter, '`' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}');
        if hidden {
            _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out.push('`');
    out
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, TermsError> {
    Err(TermsError(problem.into()))
}

#[cfg(test)]
mod tests;
