//! Values that stand for all others: for each variable, one for every way in which its probes can be answered.
//!
//! Of parameters these are numbers at and between the bounds that conditions name, texts at and between those that
//! they name, and something of every other type; of facts of the grant only what such a fact can be.
//!
//! Invariant: complete: whatever a value is, one of these answers every probe of its variable alike.

use super::{
    model::{Given, Model, Place, Probe, Truth, Variable},
    text::{Alphabet, Budget, Glob, representatives},
};
use crate::{
    cel::{Asks, Literal, Path, Root},
    decimal::{Decimal, MillionthsError},
    id::{AgentId, TaskId, UserId},
    policy::Hours,
    time::Timestamp,
};
use serde_json::{Map, Number, Value, json};

/// The days that hours are compared over: every weekday beside every change of a clock within them.
const DAYS: u16 = 2 * 366;
/// Literals that lists are looked for in, at most: every set of them is a list to try.
const MOST_MEMBERS: usize = 6;

/// What the probes of one variable name.
#[derive(Debug, Default)]
struct Named<'p> {
    numbers: Vec<Decimal>,
    /// Texts that others are compared with, in order or not.
    texts: Vec<&'p str>,
    members: Vec<Literal<'p>>,
    begins: Vec<&'p str>,
    globs: Vec<Glob>,
    ordered: bool,
    /// Whether ends and parts of texts matter.
    parts: bool,
    amounts: bool,
}

/// The ids of the agent, user and task of a witness where nothing asks for others.
pub(super) fn agent_id() -> AgentId {
    AgentId::from_parts(Timestamp::from_micros(1_000_000), [7; 10])
}

/// As [`agent_id`].
pub(super) fn user_id() -> UserId {
    UserId::from_parts(Timestamp::from_micros(1_000_000), [8; 10])
}

/// As [`agent_id`].
pub(super) fn task_id() -> TaskId {
    TaskId::from_parts(Timestamp::from_micros(1_000_000), [9; 10])
}

/// The values to try for a variable. `globs` are what else tells texts apart, `texts` are tried too, and `numbers` are
/// told apart from each other. `None` beyond the budget.
pub(super) fn of(
    model: &Model<'_>,
    place: Place,
    (globs, texts): (&[Glob], &[String]),
    numbers: &[Decimal],
    now: Timestamp,
    budget: &mut Budget,
) -> Option<Vec<Given>> {
    let Some((variable, probes)) = model.variable(place) else { return Some(Vec::new()) };
    let path = match variable {
        Variable::HasUser | Variable::HasTask => {
            return Some(vec![Given::Truth(Truth::True), Given::Truth(Truth::False)]);
        }
        Variable::Opaque { amount: true, .. } => {
            return Some(vec![Given::Truth(Truth::True), Given::Truth(Truth::False)]);
        }
        Variable::Opaque { amount: false, .. } => {
            return Some([Truth::True, Truth::False, Truth::Unknown].map(Given::Truth).into());
        }
        Variable::Moment => return Some(moments(probes, now)),
        Variable::Path(path) => path,
    };
    let mut named = named(probes)?;
    named.globs.extend(globs.iter().cloned());
    named.numbers.extend(numbers);
    let mut found = facts(path, &named, budget)?;
    if found.is_none() {
        found = Some(anything(path, &named, budget)?);
    }
    let mut found = found.unwrap_or_default();
    found.extend(texts.iter().map(|text| Given::Value(text.as_str().into())));
    Some(found)
}

fn moments(probes: &[Probe<'_>], now: Timestamp) -> Vec<Given> {
    let hours = |probe: &Probe<'_>| -> Option<Vec<Timestamp>> {
        let Probe::Hours(hours) = probe else { return None };
        Some(Hours::edges(hours, now, DAYS))
    };
    let mut moments: Vec<Timestamp> = probes.iter().filter_map(hours).flatten().collect();
    moments.push(now);
    moments.sort_unstable();
    moments.dedup();
    moments.into_iter().filter(|moment| *moment >= now).map(Given::Moment).collect()
}

fn named<'p>(probes: &'p [Probe<'p>]) -> Option<Named<'p>> {
    let mut named = Named::default();
    for probe in probes {
        match probe {
            Probe::Handles(handles) => {
                named.globs.extend(handles.iter().map(|handle| Glob::component(handle.component())));
                named.parts = true;
            }
            Probe::Values(values) => named.texts.extend(values.iter().map(String::as_str)),
            Probe::Amount(_) => named.amounts = true,
            Probe::Hours(_) => {}
            Probe::Test(test) => match &test.asks {
                Asks::Among(literals) => literals.iter().for_each(|literal| named.literal(*literal)),
                Asks::Order(literal) => {
                    named.ordered |= matches!(literal, Literal::Text(_));
                    named.literal(*literal);
                }
                Asks::Member(literal) => named.members.push(*literal),
                Asks::Begins(text) => named.begins.push(text),
                Asks::Ends(text) => {
                    named.parts = true;
                    named.globs.push(Glob::ending(text));
                }
                Asks::Contains(text) => {
                    named.parts = true;
                    named.globs.push(Glob::containing(text));
                }
                Asks::Has | Asks::Truth => {}
            },
        }
    }
    named.members.sort_by_key(|literal| format!("{literal:?}"));
    named.members.dedup();
    (named.members.len() <= MOST_MEMBERS).then_some(named)
}

impl<'p> Named<'p> {
    fn literal(&mut self, literal: Literal<'p>) {
        match literal {
            Literal::Number(number) => self.numbers.push(number),
            Literal::Text(text) => self.texts.push(text),
            Literal::Null | Literal::Bool(_) => {}
        }
    }

    /// Texts over an alphabet, where no order is asked for.
    fn texts(
        &self,
        alphabet: Alphabet,
        valid: impl Fn(&str) -> bool,
        budget: &mut Budget,
    ) -> Option<Vec<String>> {
        let mut globs = self.globs.clone();
        globs.extend(self.texts.iter().map(|text| Glob::literal(text)));
        globs.extend(self.begins.iter().map(|text| Glob::beginning(text)));
        representatives(&globs, alphabet, valid, budget)
    }

    /// Texts at and between all that are named, by code point.
    fn in_order(&self) -> Vec<String> {
        let mut bounds: Vec<String> = self.texts.iter().map(|text| (*text).to_owned()).collect();
        for begin in &self.begins {
            bounds.push((*begin).to_owned());
            bounds.extend(after(begin));
        }
        bounds.push(String::new());
        bounds.sort();
        bounds.dedup();
        // Something to read comes first; the text directly behind a bound is the one that is surely before the next.
        let behind = bounds.iter().flat_map(|bound| ["x", "\0"].map(|more| format!("{bound}{more}")));
        bounds.iter().cloned().chain(behind).collect()
    }
}

/// The first text behind all that begin so.
fn after(begin: &str) -> Option<String> {
    let mut letters: Vec<char> = begin.chars().collect();
    while let Some(last) = letters.pop() {
        let next = u32::from(last) + 1;
        // Behind the last letter before the surrogates comes the first behind them.
        let next = char::from_u32(next).or_else(|| (next == 0xD800).then_some('\u{E000}'));
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

/// The values of a path that is a fact, not anybody's JSON; `None` within for one that is.
fn facts(path: &Path, named: &Named<'_>, budget: &mut Budget) -> Option<Option<Vec<Given>>> {
    let fields: Vec<&str> = path.fields().iter().map(|field| &**field).collect();
    let missing = || Given::Missing(path.fields().len().saturating_sub(1));
    let any = |_: &str| true;
    let (texts, absent) = match (path.root(), fields.as_slice()) {
        (Root::User, ["id"]) => {
            (ids(named, user_id().to_string(), |text| text.parse::<UserId>().is_ok()), false)
        }
        (Root::Task, ["id"]) => {
            (ids(named, task_id().to_string(), |text| text.parse::<TaskId>().is_ok()), false)
        }
        (Root::Agent, ["id"]) => {
            (ids(named, agent_id().to_string(), |text| text.parse::<AgentId>().is_ok()), false)
        }
        (Root::User, ["name"]) => {
            let alphabet = Alphabet {
                each: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'),
                ..Alphabet::NAMES
            };
            (named.texts(alphabet, any, budget)?, false)
        }
        (Root::Agent, ["handle"]) => {
            (named.texts(Alphabet::HANDLES, crate::agent::is_handle, budget)?, false)
        }
        (Root::Agent, ["owner"] | ["labels", _]) | (Root::Task, ["description"]) => {
            (named.texts(Alphabet::TEXTS, any, budget)?, true)
        }
        (Root::Task, ["label"]) => {
            let alphabet = Alphabet {
                each: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | ':' | '-'),
                ..Alphabet::NAMES
            };
            (named.texts(alphabet, crate::task::is_label, budget)?, true)
        }
        (Root::User, ["roles"]) => return Some(Some(lists(&named.members))),
        (Root::Grant, ["depth"]) => {
            return Some(Some((0..=8).map(|depth| Given::Value(depth.into())).collect()));
        }
        (Root::Action, ["effect"]) => {
            let effects = ["read", "write", "delete", "money"].map(|effect| Given::Value(effect.into()));
            return Some(Some(effects.into_iter().chain([missing()]).collect()));
        }
        _ => return Some(None),
    };
    let texts = texts.into_iter().map(|text| Given::Value(text.into()));
    Some(Some(texts.chain(absent.then(missing)).collect()))
}

fn ids(named: &Named<'_>, other: String, valid: impl Fn(&str) -> bool) -> Vec<String> {
    let stated = named.texts.iter().filter(|text| valid(text)).map(|text| (*text).to_owned());
    [other].into_iter().chain(stated).collect()
}

/// Every list of these.
fn lists(members: &[Literal<'_>]) -> Vec<Given> {
    let members: Vec<Value> = members.iter().map(|literal| json_of(*literal)).collect();
    let sets = 0_u32..1 << members.len();
    let list = |set: u32| {
        members.iter().enumerate().filter(move |(at, _)| set >> at & 1 == 1).map(|(_, it)| it.clone())
    };
    sets.map(|set| Given::Value(Value::Array(list(set).collect()))).collect()
}

fn json_of(literal: Literal<'_>) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(yes) => yes.into(),
        Literal::Number(number) => number_json(number),
        Literal::Text(text) => text.into(),
    }
}

fn number_json(number: Decimal) -> Value {
    number.to_string().parse::<Number>().map_or(Value::Null, Value::Number)
}

/// JSON of every kind.
fn anything(path: &Path, named: &Named<'_>, budget: &mut Budget) -> Option<Vec<Given>> {
    let too_fine = |number: &Decimal| matches!(number.to_millionths(), Err(MillionthsError::TooFine));
    // Neither is told apart well enough by what is tried below.
    if (named.ordered && named.parts) || (named.amounts && named.numbers.iter().any(too_fine)) {
        return None;
    }
    let texts = match named.ordered {
        true => named.in_order(),
        false => named.texts(Alphabet::TEXTS, |_| true, budget)?,
    };
    let mut values: Vec<Value> = numbers(named).into_iter().map(number_json).collect();
    values.extend(texts.into_iter().map(Value::String));
    values.extend([json!(true), json!(false), Value::Null]);
    // Too fine to be held: every comparison with it is unknown.
    values.extend("1e-60".parse::<Number>().ok().map(Value::Number));
    let mut found: Vec<Given> = values.into_iter().map(Given::Value).collect();
    found.extend(lists(&named.members));
    found.push(Given::Value(Value::Object(Map::new())));
    found.extend((0..path.fields().len()).rev().map(Given::Missing));
    // A field was read of what has none.
    if path.fields().len() > 1 || path.root() != Root::Params {
        found.push(Given::Nothing);
    }
    Some(found)
}

/// At, between, below and above all that are named; of each stretch one that millionths hold, and one that they don't.
fn numbers(named: &Named<'_>) -> Vec<Decimal> {
    let parse = |text: &str| Decimal::parse(text).ok();
    let mut bounds = named.numbers.clone();
    bounds.push(Decimal::ZERO);
    if named.amounts {
        bounds.extend(parse("9000000000000"));
    }
    bounds.sort_unstable();
    bounds.dedup();
    let mut found = bounds.clone();
    let (one, small, fine, half) =
        (Decimal::from_i64(1), parse("0.000001"), parse("0.0000001"), parse("0.5").unwrap_or(Decimal::ZERO));
    let steps = [Some(one), small, fine];
    for bound in &bounds {
        found.extend(steps.iter().flatten().filter_map(|step| bound.checked_add(*step)));
        found.extend(steps.iter().flatten().filter_map(|step| bound.checked_sub(*step)));
    }
    // The whole numbers on both sides.
    let whole = |bound: &Decimal| bound.truncate_to_i64().map(Decimal::from_i64);
    for bound in bounds.iter().filter_map(whole) {
        found.extend([bound].into_iter().chain(bound.checked_add(one)).chain(bound.checked_sub(one)));
    }
    let nexts = bounds.iter().zip(bounds.iter().skip(1));
    found.extend(nexts.filter_map(|(low, high)| low.checked_add(*high)?.checked_mul(half)));
    found
}
