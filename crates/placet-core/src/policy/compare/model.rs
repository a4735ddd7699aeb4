//! Policies taken apart: the variables that their rules look at, the tests that they put to each, and the rules as
//! formulas over those tests.
//!
//! A condition that is no formula over tests of single paths is a variable of its own, which may be true, false or
//! unknown whatever everything else is: more than can happen, never less.
//!
//! Invariant: two conditions share a variable only if they have the same answer in every request.

use crate::{
    cel::{Activation, Asks, Conjunct, Expression, Form, Outcome, Path, Root, Test},
    decimal::Decimal,
    ledger::{By, Measure},
    policy::{
        Hours, Policy,
        rule::{Condition, LimitOf, Rule},
        selector::{Handle, Selector},
        template::Fact,
    },
    time::Timestamp,
    yaml::{Node, to_json},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

/// What a condition comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(yes: bool) -> Self {
        if yes { Self::True } else { Self::False }
    }
}

impl From<Outcome> for Truth {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::True => Self::True,
            Outcome::False => Self::False,
            Outcome::Unknown(_) => Self::Unknown,
        }
    }
}

/// A place in [`Model::variables`].
pub(super) type Place = usize;

/// What is to be chosen for a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Variable {
    Path(Path),
    /// The moment, as hours see it.
    Moment,
    HasUser,
    HasTask,
    /// A condition as a whole, or an amount that can be read or not.
    Opaque {
        identity: String,
        amount: bool,
    },
}

/// A question about a variable.
#[derive(Debug)]
pub(super) enum Probe<'p> {
    Test(Test<'p>),
    Handles(&'p [Handle]),
    Values(&'p [String]),
    Amount(&'p Expression),
    Hours(&'p Hours),
}

/// A value of a variable.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    Value(Value),
    /// The path ends after so many fields.
    Missing(usize),
    /// Not even its root is known.
    Nothing,
    Moment(Timestamp),
    Truth(Truth),
}

/// A value that stands for all that answer every probe alike, with those answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Class {
    pub(super) given: Given,
    pub(super) answers: Box<[Truth]>,
}

/// A formula over tests. Unknown operands are absorbed by those that decide.
#[derive(Debug, Clone)]
pub(super) enum Formula {
    Constant(Truth),
    Not(Box<Self>),
    All(Box<[Self]>),
    Any(Box<[Self]>),
    If(Box<[Self; 3]>),
    /// A probe of a variable.
    Probe(Place, usize),
    /// The value of an opaque variable, or of [`Variable::HasUser`] and [`Variable::HasTask`].
    Value(Place),
}

/// All variables of some policies.
#[derive(Debug, Default)]
pub(super) struct Model<'p> {
    variables: Vec<(Variable, Vec<Probe<'p>>)>,
    places: HashMap<Variable, Place>,
    /// Where each opaque condition stands, for people.
    pub(super) stands: HashMap<Place, String>,
    /// The paths that opaque conditions read.
    pub(super) opaque_paths: Vec<Path>,
}

/// A policy in force as formulas.
#[derive(Debug)]
pub(super) struct PolicyForm<'p> {
    pub(super) policy: &'p Policy,
    pub(super) selected: Formula,
    pub(super) rules: Vec<RuleForm<'p>>,
}

#[derive(Debug)]
pub(super) struct RuleForm<'p> {
    pub(super) rule: &'p Rule,
    pub(super) hours: Option<Formula>,
    pub(super) when: Vec<Formula>,
    pub(super) limits: Vec<LimitForm<'p>>,
    pub(super) asks: Vec<Formula>,
    /// What it does to what comes back; only compared as a whole.
    pub(super) shape: Option<String>,
    /// What else its approval asks for; only compared as a whole.
    pub(super) more: BTreeMap<String, Value>,
}

#[derive(Debug)]
pub(super) struct LimitForm<'p> {
    pub(super) applied: &'p LimitOf,
    /// Whether it can be counted.
    pub(super) counts: Formula,
}

/// The keys of `approve` that are compared one by one.
const APPROVE_KEYS: [&str; 3] = ["when", "by", "within"];

impl<'p> Model<'p> {
    pub(super) fn policy(&mut self, policy: &'p Policy) -> PolicyForm<'p> {
        let rules = policy.rules.iter().zip(policy.rules_in_full());
        let rules = rules.map(|(rule, line)| {
            let form = self.rule(policy, rule);
            match crate::yaml::parse(line.as_bytes(), None) {
                Ok((written, _)) => form.with_the_rest(&written),
                Err(_) => form,
            }
        });
        let rules = rules.collect();
        PolicyForm { policy, selected: self.selector(&policy.selector), rules }
    }

    pub(super) fn rule(&mut self, policy: &'p Policy, rule: &'p Rule) -> RuleForm<'p> {
        let limits = rule.limits.iter().map(|applied| self.limit(policy, rule, applied)).collect();
        RuleForm {
            rule,
            hours: rule.hours.as_ref().map(|hours| self.probe(Variable::Moment, Probe::Hours(hours))),
            when: self.conditions(policy, rule, &rule.when),
            limits,
            asks: rule
                .approve
                .as_ref()
                .map(|approve| self.conditions(policy, rule, &approve.when))
                .unwrap_or_default(),
            shape: None,
            more: BTreeMap::new(),
        }
    }

    fn conditions(&mut self, policy: &Policy, rule: &Rule, conditions: &'p [Condition]) -> Vec<Formula> {
        let conjuncts = conditions.iter().flat_map(|condition| condition.expression.conjuncts());
        conjuncts.map(|conjunct| self.conjunct(policy, rule, conjunct)).collect()
    }

    pub(super) fn conjunct(&mut self, policy: &Policy, rule: &Rule, conjunct: &'p Conjunct) -> Formula {
        match conjunct.form().filter(within_reach) {
            Some(form) => self.formula(form),
            None => {
                self.opaque_paths.extend(conjunct.reads().iter().cloned());
                self.opaque(policy, rule, conjunct.source().trim(), conjunct.identity(), false)
            }
        }
    }

    fn opaque(
        &mut self,
        policy: &Policy,
        rule: &Rule,
        source: &str,
        identity: String,
        amount: bool,
    ) -> Formula {
        let place = self.place(Variable::Opaque { identity, amount });
        let stands = || format!("`{source}` (policy `{}`, rule `{}`)", policy.name, rule.name);
        self.stands.entry(place).or_insert_with(stands);
        Formula::Value(place)
    }

    fn formula(&mut self, form: Form<'p>) -> Formula {
        match form {
            Form::Constant(yes) => Formula::Constant(yes.into()),
            Form::Not(form) => Formula::Not(Box::new(self.formula(*form))),
            Form::And(forms) => Formula::All(forms.into_iter().map(|form| self.formula(form)).collect()),
            Form::Or(forms) => Formula::Any(forms.into_iter().map(|form| self.formula(form)).collect()),
            Form::If(forms) => Formula::If(Box::new(forms.map(|form| self.formula(form)))),
            Form::Test(test) => {
                self.presence(&test.path);
                self.probe(Variable::Path(test.path.clone()), Probe::Test(test))
            }
        }
    }

    fn presence(&mut self, path: &Path) {
        match path.root() {
            Root::User => _ = self.place(Variable::HasUser),
            Root::Task => _ = self.place(Variable::HasTask),
            _ => {}
        }
    }

    fn selector(&mut self, selector: &'p Selector) -> Formula {
        let handles = selector.agents.as_deref().map(|handles| {
            self.probe(Variable::Path(Path::of(Root::Agent, &["handle"])), Probe::Handles(handles))
        });
        let labels = selector.labels.iter().map(|(name, values)| {
            self.probe(Variable::Path(Path::of(Root::Agent, &["labels", name])), Probe::Values(values))
        });
        let labels: Vec<Formula> = labels.collect();
        Formula::All(handles.into_iter().chain(labels).collect())
    }

    fn limit(&mut self, policy: &Policy, rule: &Rule, applied: &'p LimitOf) -> LimitForm<'p> {
        let mut counts = match &applied.limit.by {
            By::User => vec![Formula::Value(self.place(Variable::HasUser))],
            By::Task => vec![Formula::Value(self.place(Variable::HasTask))],
            By::Key(key) => vec![self.opaque(policy, rule, key.source(), key.identity(), true)],
            By::Agent | By::Grant | By::Resource => Vec::new(),
        };
        if let Measure::Sum { of, .. } = &applied.limit.measure {
            counts.push(match of.as_path().filter(|path| path.root() == Root::Params) {
                Some(path) => self.probe(Variable::Path(path.clone()), Probe::Amount(of)),
                None => self.opaque(policy, rule, of.source(), of.identity(), true),
            });
        }
        LimitForm { applied, counts: Formula::All(counts.into()) }
    }

    /// The variable of a fact, and what has to be there for it to be; `None` for one that is never filled.
    pub(super) fn fact(&mut self, fact: &Fact) -> Option<(Place, Option<Place>)> {
        let (path, needs) = path_of(fact)?;
        let needs = needs.map(|needs| self.place(needs));
        Some((self.place(Variable::Path(path)), needs))
    }

    pub(super) fn find(&self, variable: &Variable) -> Option<Place> {
        self.places.get(variable).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.variables.len()
    }

    pub(super) fn variable(&self, place: Place) -> Option<&(Variable, Vec<Probe<'p>>)> {
        self.variables.get(place)
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (Place, &Variable, &[Probe<'p>])> {
        self.variables.iter().enumerate().map(|(place, (variable, probes))| (place, variable, &**probes))
    }

    fn place(&mut self, variable: Variable) -> Place {
        *self.places.entry(variable).or_insert_with_key(|variable| {
            self.variables.push((variable.clone(), Vec::new()));
            self.variables.len() - 1
        })
    }

    fn probe(&mut self, variable: Variable, probe: Probe<'p>) -> Formula {
        let place = self.place(variable);
        let Some((_, probes)) = self.variables.get_mut(place) else {
            return Formula::Constant(Truth::Unknown);
        };
        probes.push(probe);
        Formula::Probe(place, probes.len() - 1)
    }

    /// What a value answers to all probes of its variable.
    pub(super) fn class(&self, place: Place, given: Given) -> Class {
        let Some((variable, probes)) = self.variables.get(place) else {
            return Class { given, answers: [].into() };
        };
        let answers = probes.iter().map(|probe| probe.answer(variable, &given)).collect();
        Class { given, answers }
    }
}

impl RuleForm<'_> {
    /// With what is only compared as a whole, from the rule as it is in full.
    fn with_the_rest(mut self, written: &Node) -> Self {
        // What is looked for is compared kind by kind.
        let layout = written.get("shape").map(to_json).and_then(|mut shape| {
            let members = shape.as_object_mut()?;
            members.remove("detect");
            (!members.is_empty()).then_some(shape)
        });
        self.shape = layout.map(|shape| {
            // What a list is, is said elsewhere.
            let rows = self.rule.shape.iter().flat_map(|shape| &shape.shape.rows);
            let filters = rows.flat_map(|rows| &rows.filter).filter(|it| it.source().contains("lists"));
            filters.fold(shape.to_string(), |shape, filter| shape + &filter.identity())
        });
        if let Some(Value::Object(members)) = written.get("approve").map(to_json) {
            let others = members.into_iter().filter(|(key, _)| !APPROVE_KEYS.contains(&key.as_str()));
            self.more = others.collect();
        }
        self
    }
}

impl Probe<'_> {
    fn answer(&self, variable: &Variable, given: &Given) -> Truth {
        let text = match given {
            Given::Value(Value::String(text)) => Some(text.as_str()),
            _ => None,
        };
        match self {
            Self::Test(test) => answer(variable, given, |vars| test.evaluate(vars).into()),
            Self::Handles(handles) => {
                text.is_some_and(|text| handles.iter().any(|handle| handle.matches(text))).into()
            }
            Self::Values(values) => text.is_some_and(|text| values.iter().any(|value| value == text)).into(),
            Self::Amount(of) => answer(variable, given, |vars| counts(of, vars).into()),
            Self::Hours(hours) => match given {
                Given::Moment(at) => hours.open(*at).into(),
                _ => Truth::Unknown,
            },
        }
    }
}

/// Whether the judge could count the amount.
fn counts(of: &Expression, vars: &Activation<'_>) -> bool {
    let amount: Result<Decimal, _> = of.evaluate_number(vars, &mut crate::cel::Fuel::default());
    amount.is_ok_and(|amount| !amount.is_zero() && !amount.is_negative() && amount.to_millionths().is_ok())
}

fn answer(variable: &Variable, given: &Given, of: impl Fn(&Activation<'_>) -> Truth) -> Truth {
    let Variable::Path(path) = variable else { return Truth::Unknown };
    let Some(tree) = tree(path, given) else { return of(&Activation::new()) };
    of(&Activation::new().with(path.root(), &tree))
}

/// The root with this value at the path; `None` where there is no root.
pub(super) fn tree(path: &Path, given: &Given) -> Option<Value> {
    let (value, kept) = match given {
        Given::Value(value) => (value.clone(), path.fields().len()),
        Given::Missing(fields) => (Value::Object(Map::new()), *fields),
        Given::Nothing | Given::Moment(_) | Given::Truth(_) => return None,
    };
    let fields = path.fields().iter().take(kept).rev();
    Some(fields.fold(value, |value, field| Value::Object([(field.to_string(), value)].into_iter().collect())))
}

/// The path that a fact is the value of, and what has to be there.
pub(super) fn path_of(fact: &Fact) -> Option<(Path, Option<Variable>)> {
    let (root, fields): (Root, Vec<&str>) = match fact {
        Fact::UserId => (Root::User, vec!["id"]),
        Fact::UserName => (Root::User, vec!["name"]),
        Fact::AgentId => (Root::Agent, vec!["id"]),
        Fact::AgentHandle => (Root::Agent, vec!["handle"]),
        Fact::AgentOwner => (Root::Agent, vec!["owner"]),
        Fact::Label(name) => (Root::Agent, vec!["labels", name]),
        Fact::TaskId => (Root::Task, vec!["id"]),
        Fact::TaskLabel => (Root::Task, vec!["label"]),
        Fact::TaskDescription => (Root::Task, vec!["description"]),
        Fact::Nothing(_) => return None,
    };
    let needs = match root {
        Root::User => Some(Variable::HasUser),
        Root::Task => Some(Variable::HasTask),
        _ => None,
    };
    Some((Path::of(root, &fields), needs))
}

/// Facts of the grant, of names and of resources have values of their own form; of those, only questions are formulas
/// that have an answer among the texts that are looked at.
fn within_reach(form: &Form<'_>) -> bool {
    match form {
        Form::Constant(_) => true,
        Form::Not(form) => within_reach(form),
        Form::And(forms) | Form::Or(forms) => forms.iter().all(within_reach),
        Form::If(forms) => forms.iter().all(within_reach),
        Form::Test(test) => {
            let fields: Vec<&str> = test.path.fields().iter().map(|field| &**field).collect();
            let plain = matches!(test.asks, Asks::Among(_) | Asks::Has);
            let parts = matches!(test.asks, Asks::Begins(_) | Asks::Ends(_) | Asks::Contains(_));
            match (test.path.root(), fields.as_slice()) {
                (Root::Params | Root::Context, fields) => !fields.is_empty(),
                (Root::Risk, _) => true,
                (Root::Agent, ["trust", ..]) | (Root::User, ["claims", ..]) => true,
                (Root::Action, ["name" | "effect"]) => plain,
                (Root::Resource, ["scheme" | "authority" | "uri"]) => plain,
                (Root::User | Root::Task | Root::Agent, ["id"]) => plain,
                (Root::User, ["roles"]) => matches!(test.asks, Asks::Member(_)),
                (Root::User, ["name"])
                | (Root::Agent, ["handle" | "owner"] | ["labels", _])
                | (Root::Task, ["label" | "description"]) => plain || parts,
                (Root::Grant, ["depth"]) => plain || matches!(test.asks, Asks::Order(_)),
                _ => false,
            }
        }
    }
}

/// What has been chosen so far.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    classes: Vec<Option<Rc<Class>>>,
}

impl Choice {
    pub(super) fn new(model: &Model<'_>) -> Self {
        Self { classes: vec![None; model.len()] }
    }

    pub(super) fn set(&mut self, place: Place, class: Option<Rc<Class>>) {
        if let Some(here) = self.classes.get_mut(place) {
            *here = class;
        }
    }

    pub(super) fn class(&self, place: Place) -> Option<&Rc<Class>> {
        self.classes.get(place)?.as_ref()
    }
}

impl Model<'_> {
    /// What a formula comes to; the error is a variable that has to be chosen first.
    pub(super) fn evaluate(&self, formula: &Formula, choice: &Choice) -> Result<Truth, Place> {
        match formula {
            Formula::Constant(truth) => Ok(*truth),
            Formula::Not(formula) => Ok(match self.evaluate(formula, choice)? {
                Truth::True => Truth::False,
                Truth::False => Truth::True,
                Truth::Unknown => Truth::Unknown,
            }),
            Formula::All(formulas) => self.joined(formulas, choice, Truth::False),
            Formula::Any(formulas) => self.joined(formulas, choice, Truth::True),
            Formula::If(parts) => {
                let [condition, yes, no] = &**parts;
                match self.evaluate(condition, choice)? {
                    Truth::True => self.evaluate(yes, choice),
                    Truth::False => self.evaluate(no, choice),
                    Truth::Unknown => Ok(Truth::Unknown),
                }
            }
            Formula::Probe(place, probe) => {
                if self.lacks_root(*place, choice)? {
                    return Ok(Truth::Unknown);
                }
                let class = choice.class(*place).ok_or(*place)?;
                Ok(class.answers.get(*probe).copied().unwrap_or(Truth::Unknown))
            }
            Formula::Value(place) => match choice.class(*place).ok_or(*place)?.given {
                Given::Truth(truth) => Ok(truth),
                _ => Ok(Truth::Unknown),
            },
        }
    }

    /// Whether all of these are as wanted: one that is not decides, whatever is still open.
    pub(super) fn all(
        &self,
        formulas: &[&Formula],
        choice: &Choice,
        wanted: impl Fn(Truth) -> bool,
    ) -> Result<bool, Place> {
        let mut open = None;
        for formula in formulas {
            match self.evaluate(formula, choice) {
                Ok(truth) if wanted(truth) => {}
                Ok(_) => return Ok(false),
                Err(place) => open = open.or(Some(place)),
            }
        }
        open.map_or(Ok(true), Err)
    }

    /// Whether it is about a user or a task that there is none of.
    fn lacks_root(&self, place: Place, choice: &Choice) -> Result<bool, Place> {
        let Some((Variable::Path(path), _)) = self.variable(place) else { return Ok(false) };
        let needed = match path.root() {
            Root::User => Variable::HasUser,
            Root::Task => Variable::HasTask,
            _ => return Ok(false),
        };
        let Some(needed) = self.find(&needed) else { return Ok(false) };
        Ok(choice.class(needed).ok_or(needed)?.given != Given::Truth(Truth::True))
    }

    /// Decided by one operand, whatever the others are.
    fn joined(&self, formulas: &[Formula], choice: &Choice, decisive: Truth) -> Result<Truth, Place> {
        let (mut missing, mut unknown) = (None, false);
        for formula in formulas {
            match self.evaluate(formula, choice) {
                Ok(truth) if truth == decisive => return Ok(decisive),
                Ok(truth) => unknown |= truth == Truth::Unknown,
                Err(place) => missing = missing.or(Some(place)),
            }
        }
        match (missing, unknown) {
            (Some(place), _) => Err(place),
            (None, true) => Ok(Truth::Unknown),
            (None, false) => Ok(if decisive == Truth::True { Truth::False } else { Truth::True }),
        }
    }
}
