//! Rules that can't do what they say, found before they are live: conditions that are never all true, by themselves or
//! for the parameters that a service declares; allow rules that an earlier one leaves nothing to, or that a `deny`
//! takes everything from; resources that no named action has.
//!
//! All of these are warnings: such a rule is safe, and its author may be half way through a change. What is certainly
//! an error (names, types, sums of what is no number) is found elsewhere. A condition that is no test of single
//! parameters against constants is taken for one that may hold.
//!
//! Invariant: a rule that is reported is never chosen, never denies, or forbids all that it names, whatever is asked.

use super::{
    declared::{self, declared},
    model::{Choice, Class, Formula, Given, Model, Place, RuleForm, Truth, Variable},
    text::Budget,
    values,
};
use crate::{
    cel::{Asks, Conjunct, Form, Path, Root},
    diagnostic::{Diagnostic, Position, Report},
    pattern::{ActionName, Component, Piece, ResourcePattern},
    policy::{
        Policy,
        rule::{Kind, On, OnWhat, Rule},
        shadow,
        template::Slot,
    },
    service::{Members, Service, ServiceAction},
    time::Timestamp,
};
use std::{collections::HashMap, rc::Rc};

/// Choices that are looked at for one question; beyond them the answer is that it may be.
const MOST_CASES: usize = 5_000;
/// Steps through texts for one rule.
const TEXT_STEPS: usize = 100_000;
/// Pairs of rules that are compared in one policy.
const MOST_PAIRS: usize = 2_000;

/// Warns of such rules; after everything else, as what doesn't fit its types never holds either.
pub(in crate::policy) fn check(policy: &Policy, services: &[&Service], report: &Report) {
    if report.has_errors() {
        return;
    }
    let actions = |rule: &Rule| -> Option<Vec<(&Service, &ServiceAction)>> {
        let declared = |name: ActionName| services.iter().find_map(|it| Some((*it, it.action(&name)?)));
        rule.actions.iter().map(|named| declared(named.pattern.single()?)).collect()
    };
    let mut empty = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        let actions = actions(rule).unwrap_or_default();
        if let Some(problem) = never_holds(policy, rule, &actions) {
            empty.push(index);
            report.add(problem.diagnostic(rule));
        }
        for entry in rule.on.iter().flatten() {
            out_of_reach(policy, rule, entry, &actions, report);
        }
    }
    left_nothing(policy, &empty, report);
}

/// What a schema says that values are told by.
const BOUNDS: [&str; 6] = ["enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];

struct Problem {
    at: Position,
    what: String,
}

impl Problem {
    fn diagnostic(&self, rule: &Rule) -> Diagnostic {
        let (so, help) = match rule.kind {
            Kind::Allow => ("the rule is never chosen", "one of them is mistaken, or the rule is not needed"),
            Kind::Guard => ("the guard forbids all that it names", "write a `deny` if that is meant"),
            Kind::Deny => {
                ("the rule never denies anything", "one of them is mistaken, or the rule is not needed")
            }
        };
        Diagnostic::warning(format!("{so}: {}", self.what)).at(self.at).rule(&*rule.name).help(help)
    }
}

/// Which conditions are never all true, if so.
fn never_holds(policy: &Policy, rule: &Rule, actions: &[(&Service, &ServiceAction)]) -> Option<Problem> {
    let conjuncts: Vec<(&Conjunct, Position)> = rule
        .when
        .iter()
        .flat_map(|condition| {
            let at = |conjunct: &Conjunct| condition.node.position_within(conjunct.offset());
            condition.expression.conjuncts().iter().map(move |conjunct| (conjunct, at(conjunct)))
        })
        .collect();
    // What says no more than a type is checked elsewhere.
    let bounds = |path: &Path, action: &ServiceAction| {
        declared(action, path).is_some_and(|schema| BOUNDS.iter().any(|key| schema.get(*key).is_some()))
    };
    let bounded = |action: &ServiceAction| {
        conjuncts.iter().flat_map(|(conjunct, _)| conjunct.reads()).any(|path| bounds(path, action))
    };
    let schemas: Vec<&ServiceAction> =
        actions.iter().map(|(_, action)| *action).filter(|it| bounded(it)).collect();
    let all_bounded = !schemas.is_empty() && schemas.len() == actions.len();
    if !may_be_empty(&conjuncts) && !all_bounded {
        return None;
    }
    let mut model = Model::default();
    let formulas: Vec<Formula> =
        conjuncts.iter().map(|(conjunct, _)| model.conjunct(policy, rule, conjunct)).collect();
    let wanted = wanted(rule.kind);
    let possible = |which: &[usize], action: Option<&ServiceAction>| {
        let formulas: Vec<&Formula> = which.iter().filter_map(|index| formulas.get(*index)).collect();
        Domains::new(action).exists(&model, &|choice| model.all(&formulas, choice, wanted))
    };
    let everything: Vec<usize> = (0..formulas.len()).collect();
    let (action, of) = match possible(&everything, None) {
        false => (None, String::new()),
        true if all_bounded && schemas.iter().all(|action| !possible(&everything, Some(action))) => {
            let action = schemas.first().copied();
            (
                action,
                action
                    .map(|action| format!("for action `{}` as its service declares it, ", action.name()))
                    .unwrap_or_default(),
            )
        }
        true => return None,
    };
    let source =
        |index: usize| conjuncts.get(index).map(|(conjunct, _)| conjunct.source()).unwrap_or_default();
    let at = |index: usize| conjuncts.get(index).map_or(rule.node.position, |(_, at)| *at);
    let one = everything.iter().copied().find(|index| !possible(&[*index], action));
    if let Some(index) = one {
        return Some(Problem { at: at(index), what: format!("{of}`{}` never holds", source(index)) });
    }
    for second in &everything {
        for first in everything.iter().take(*second) {
            if !possible(&[*first, *second], action) {
                let what = format!("{of}`{}` and `{}` never hold together", source(*first), source(*second));
                return Some(Problem { at: at(*second), what });
            }
        }
    }
    let what = format!("{of}its conditions never hold all together");
    Some(Problem { at: at(formulas.len().saturating_sub(1)), what })
}

/// What a condition has to be for the rule to have its say: a deny does unless something is false.
fn wanted(kind: Kind) -> fn(Truth) -> bool {
    match kind {
        Kind::Deny => |truth| truth != Truth::False,
        Kind::Allow | Kind::Guard => |truth| truth == Truth::True,
    }
}

/// Whether it is worth asking: most rules have one simple condition on each parameter.
fn may_be_empty(conjuncts: &[(&Conjunct, Position)]) -> bool {
    let mut seen: Vec<Path> = Vec::new();
    for (conjunct, _) in conjuncts {
        match conjunct.form() {
            None => {}
            Some(Form::Test(test)) => {
                if matches!(&test.asks, Asks::Among(literals) if literals.is_empty())
                    || seen.contains(&test.path)
                {
                    return true;
                }
                seen.push(test.path);
            }
            Some(_) => return true,
        }
    }
    false
}

/// An entry of `on` that no resource of the named actions is like.
fn out_of_reach(
    policy: &Policy,
    rule: &Rule,
    entry: &On,
    actions: &[(&Service, &ServiceAction)],
    report: &Report,
) {
    let Some((_, first)) = actions.first() else { return };
    let Some(pattern) = widest(policy, &entry.what) else { return };
    // What a listing returns is judged too, by the same entries.
    let of_members = actions.iter().filter_map(|(_, action)| action.members());
    let resources: Option<Vec<ResourcePattern>> = actions
        .iter()
        .map(|(_, action)| action.resource_pattern())
        .chain(of_members.map(Members::resource_pattern))
        .collect();
    let Some(resources) = resources else { return };
    if resources.iter().any(|resource| resource.intersects(&pattern)) {
        return;
    }
    let those = match actions {
        [_] => format!("a resource of `{}`", first.name()),
        _ => "a resource of any action that the rule names".to_owned(),
    };
    let warning = Diagnostic::warning(format!("the entry matches nothing: it is never {those}"));
    let shown = resources.first().map(|resource| resource.as_str().to_owned()).unwrap_or_default();
    report.add(
        warning
            .at(entry.node.position)
            .rule(&*rule.name)
            .help(format!("resources of `{}` are like `{shown}`", first.name())),
    );
}

/// The entry with a star for each fact.
fn widest(policy: &Policy, what: &OnWhat) -> Option<ResourcePattern> {
    let index = match what {
        OnWhat::Pattern(pattern) => return Some(pattern.clone()),
        OnWhat::Template(index) => *index,
    };
    let template = policy.templates.get(index)?;
    let (scheme, components) = template.components();
    let component = |slots: &[Slot]| {
        let piece = |slot: &Slot| match slot {
            Slot::Piece(piece) => piece.clone(),
            Slot::Fact(_) => Piece::Star,
        };
        Component::from_pieces(slots.iter().map(piece).collect())
    };
    let mut components = components.map(component);
    let authority = components.next()?;
    ResourcePattern::from_parts(scheme, authority, components.collect(), template.has_rest()).ok()
}

/// Allow rules that hold only where an earlier one does, or only where a deny matches.
fn left_nothing(policy: &Policy, empty: &[usize], report: &Report) {
    let mut pairs = 0;
    for (index, rule) in policy.rules.iter().enumerate() {
        if rule.kind != Kind::Allow || empty.contains(&index) {
            continue;
        }
        for (other_index, other) in policy.rules.iter().enumerate() {
            let before = other.kind == Kind::Allow && other_index < index;
            let timed = other.hours.is_none() || other.hours == rule.hours;
            // Where it has no conditions, that is said elsewhere.
            let asks = !other.when.is_empty() || other.hours.is_some();
            if !(before || other.kind == Kind::Deny) || !asks || !timed || !shadow::includes(other, rule) {
                continue;
            }
            pairs += 1;
            if pairs > MOST_PAIRS {
                return;
            }
            if !implied(policy, rule, other) {
                continue;
            }
            let message = match other.kind {
                Kind::Allow => format!(
                    "the rule is never chosen: `{}` comes first and holds wherever this one does",
                    other.name
                ),
                _ => format!("the rule never allows anything: `{}` denies wherever it holds", other.name),
            };
            let help = match other.kind {
                Kind::Allow => "put the narrower rule first",
                _ => "remove one of the two, or narrow the `deny`",
            };
            let at = rule.node.position;
            report.add(Diagnostic::warning(message).at(at).rule(&*rule.name).help(help));
            break;
        }
    }
}

/// Whether `other` has its say wherever `rule` holds, as far as conditions go.
fn implied(policy: &Policy, rule: &Rule, other: &Rule) -> bool {
    let mut model = Model::default();
    let (rule, other) = (model.rule(policy, rule), model.rule(policy, other));
    let when = |form: &RuleForm<'_>| -> Vec<Formula> { form.when.clone() };
    let (holds, says) = (when(&rule), when(&other));
    let (holds, says): (Vec<&Formula>, Vec<&Formula>) = (holds.iter().collect(), says.iter().collect());
    let wanted = wanted(other.rule.kind);
    // A choice where it holds and the other has no say.
    let apart = |choice: &Choice| {
        if !model.all(&holds, choice, |truth| truth == Truth::True)? {
            return Ok(false);
        }
        Ok(!model.all(&says, choice, wanted)?)
    };
    !Domains::new(None).exists(&model, &apart)
}

/// The values that are tried, where an action is given only such as its schema lets through.
struct Domains<'d> {
    action: Option<&'d ServiceAction>,
    classes: HashMap<Place, Rc<[Rc<Class>]>>,
    budget: Budget,
    cases: usize,
}

impl<'d> Domains<'d> {
    fn new(action: Option<&'d ServiceAction>) -> Self {
        Self { action, classes: HashMap::new(), budget: Budget::new(TEXT_STEPS), cases: 0 }
    }

    /// Whether the question has a yes. Where that takes too long to see, it may.
    fn exists(mut self, model: &Model<'_>, question: &dyn Fn(&Choice) -> Result<bool, Place>) -> bool {
        self.search(model, question, &mut Choice::new(model)).unwrap_or(true)
    }

    fn search(
        &mut self,
        model: &Model<'_>,
        question: &dyn Fn(&Choice) -> Result<bool, Place>,
        choice: &mut Choice,
    ) -> Option<bool> {
        self.cases += 1;
        if self.cases > MOST_CASES {
            return None;
        }
        let place = match question(choice) {
            Ok(yes) => return Some(yes),
            Err(place) => place,
        };
        for class in self.of(model, place)?.iter() {
            choice.set(place, Some(class.clone()));
            if self.search(model, question, choice)? {
                return Some(true);
            }
        }
        choice.set(place, None);
        Some(false)
    }

    fn of(&mut self, model: &Model<'_>, place: Place) -> Option<Rc<[Rc<Class>]>> {
        if let Some(classes) = self.classes.get(&place) {
            return Some(classes.clone());
        }
        let given = match (model.variable(place)?, self.action) {
            // Names and resources are whatever they are.
            ((Variable::Path(path), _), _) if matches!(path.root(), Root::Action | Root::Resource) => {
                return None;
            }
            ((Variable::Path(path), _), Some(action)) => declared::values(
                model,
                place,
                declared(action, path),
                Timestamp::from_micros(0),
                &mut self.budget,
            )?,
            _ => values::of(model, place, (&[], &[]), &[], Timestamp::from_micros(0), &mut self.budget)?,
        };
        let mut classes: Vec<Rc<Class>> = Vec::new();
        for given in given {
            let class = model.class(place, given);
            let truth = matches!(class.given, Given::Truth(_));
            if truth || !classes.iter().any(|other| other.answers == class.answers) {
                classes.push(Rc::new(class));
            }
        }
        let classes: Rc<[Rc<Class>]> = classes.into();
        self.classes.insert(place, classes.clone());
        Some(classes)
    }
}

#[cfg(test)]
mod tests;
