//! The search for a request that one side allows and the other doesn't, or holds back more.
//!
//! Facts that templates take, actions and resources are chosen first, one for each way in which patterns can match;
//! everything else when a rule asks for it, so that what no rule looks at is never chosen.
//!
//! Invariant: every request is like one that is tried. What was found is judged by the judge before it is said.

use super::{
    Comparison, Wider, declared,
    ground::{self, Grounds},
    model::{Choice, Class, Given, Model, Place, Variable},
    obligations::{Counter, Met, at_least_as_strict, met},
    side::{Ground, Side},
    text::Budget,
    values, witness,
};
use crate::{cel::Root, pattern::ActionName, policy::PolicySet, service::ServiceAction, time::Timestamp};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};

/// Steps through texts.
const TEXT_STEPS: usize = 4_000_000;
/// Choices that are looked at.
const MOST_CASES: usize = 200_000;
/// Requests that are judged to see whether one is what it seems.
const MOST_TRIALS: usize = 400;
/// Reasons that an answer without certainty gives.
const MOST_REASONS: usize = 5;

/// The values that are tried for a variable.
type Classes = Rc<[Rc<Class>]>;

pub(super) struct Search<'s, 'p> {
    pub(super) model: &'s Model<'p>,
    pub(super) ours: &'s Side<'p>,
    pub(super) theirs: &'s Side<'p>,
    pub(super) ours_set: &'s PolicySet,
    pub(super) theirs_set: &'s PolicySet,
    pub(super) now: Timestamp,
    /// What services declare.
    declared: Vec<&'s ServiceAction>,
    /// What one of them declares of the action that is looked at.
    action: Option<&'s ServiceAction>,
    /// Those of parameters by the action that is declared.
    classes: HashMap<(Option<&'s str>, Place), Classes>,
    budget: Budget,
    cases: usize,
    trials: usize,
    /// Which counters of the other side stand for each of ours, in all cases so far.
    counters: HashMap<(Counter, String), HashSet<Counter>>,
    unclear: BTreeSet<String>,
}

/// Why a search ended before it was through.
pub(super) enum End {
    Found(Box<Wider>),
    /// It would take too long.
    TooMuch(&'static str),
}

impl<'s, 'p> Search<'s, 'p> {
    pub(super) fn new(
        model: &'s Model<'p>,
        (ours, ours_set): (&'s Side<'p>, &'s PolicySet),
        (theirs, theirs_set): (&'s Side<'p>, &'s PolicySet),
        declared: Vec<&'s ServiceAction>,
        now: Timestamp,
    ) -> Self {
        Self {
            model,
            ours,
            theirs,
            ours_set,
            theirs_set,
            now,
            declared,
            action: None,
            classes: HashMap::new(),
            budget: Budget::new(TEXT_STEPS),
            cases: 0,
            trials: 0,
            counters: HashMap::new(),
            unclear: BTreeSet::new(),
        }
    }

    pub(super) fn run(mut self, grounds: &Grounds) -> Comparison {
        self.unclear.extend(grounds.unclear.iter().cloned());
        let mut choice = Choice::new(self.model);
        match self.facts(grounds, 0, &mut choice) {
            Err(End::Found(wider)) => return Comparison::Wider(wider),
            Err(End::TooMuch(what)) => _ = self.unclear.insert(what.to_owned()),
            Ok(()) => {}
        }
        if self.unclear.is_empty() {
            return Comparison::NotWider;
        }
        Comparison::Unknown(self.unclear.into_iter().take(MOST_REASONS).collect())
    }

    /// Chooses the facts that templates take.
    fn facts(&mut self, grounds: &Grounds, at: usize, choice: &mut Choice) -> Result<(), End> {
        let Some(fact) = grounds.facts.get(at) else { return self.actions(choice) };
        for class in self.fact_classes(grounds, *fact)?.iter() {
            choice.set(*fact, Some(class.clone()));
            self.facts(grounds, at + 1, choice)?;
            choice.set(*fact, None);
        }
        Ok(())
    }

    fn actions(&mut self, choice: &mut Choice) -> Result<(), End> {
        let ours = ground::filled(self.model, self.ours, choice);
        let theirs = ground::filled(self.model, self.theirs, choice);
        for action in self.names()? {
            self.action = self.declared.iter().copied().find(|declared| *declared.name() == action);
            ground::set_action(self.model, &action, choice);
            let resources = ground::resources(
                self.model,
                [(self.ours, &ours), (self.theirs, &theirs)],
                &action,
                &mut self.budget,
            )?;
            for (uri, known) in &resources {
                ground::set_resource(self.model, known, choice);
                let on = |filled| Ground { action: &action, known, filled };
                let (ours, theirs) = (on(&*ours), on(&*theirs));
                if self.theirs.may_allow(&theirs) {
                    self.explore((&ours, &theirs), uri, choice)?;
                }
            }
            ground::unset(self.model, choice);
        }
        Ok(())
    }

    /// The actions to look at: those that are declared first, of which a witness can be asked for.
    fn names(&mut self) -> Result<Vec<ActionName>, End> {
        let sides = [self.ours, self.theirs];
        let others = ground::actions(self.model, sides, &mut self.budget)?;
        let rules = || sides.into_iter().flat_map(|side| &side.policies).flat_map(|form| &form.rules);
        let declared = self.declared.iter().map(|declared| declared.name());
        let mut names: Vec<ActionName> =
            declared.filter(|name| rules().any(|rule| rule.rule.names(name))).cloned().collect();
        names.extend(others.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
        Ok(names)
    }

    fn explore(
        &mut self,
        grounds: (&Ground<'_>, &Ground<'_>),
        uri: &crate::pattern::ResourceUri,
        choice: &mut Choice,
    ) -> Result<(), End> {
        self.cases += 1;
        if self.cases > MOST_CASES {
            return Err(End::TooMuch("there are too many cases to look at"));
        }
        let theirs = match self.theirs.says(self.model, grounds.1, choice) {
            Ok(None) => return Ok(()),
            Ok(Some(theirs)) => theirs,
            Err(place) => return self.branch(place, grounds, uri, choice),
        };
        let ours = match self.ours.says(self.model, grounds.0, choice) {
            Ok(ours) => ours,
            Err(place) => return self.branch(place, grounds, uri, choice),
        };
        let doubt = match &ours {
            None => Met::Less("denied by the first".to_owned()),
            Some(ours) => met(ours, &theirs),
        };
        match doubt {
            Met::Unclear(what) => {
                self.unclear.insert(what);
            }
            Met::Less(what) => self.judge(what, grounds, uri, choice)?,
            Met::Matched => {
                if let Some(ours) = &ours {
                    self.count(ours, &theirs, choice);
                }
            }
        }
        Ok(())
    }

    fn branch(
        &mut self,
        place: Place,
        grounds: (&Ground<'_>, &Ground<'_>),
        uri: &crate::pattern::ResourceUri,
        choice: &mut Choice,
    ) -> Result<(), End> {
        for class in self.classes_of(place)?.iter() {
            choice.set(place, Some(class.clone()));
            self.explore(grounds, uri, choice)?;
        }
        choice.set(place, None);
        Ok(())
    }

    /// Each of our counters has to be one counter there too: two that hold as much each let twice as much through.
    fn count(
        &mut self,
        ours: &super::obligations::Obligations<'_>,
        theirs: &super::obligations::Obligations<'_>,
        choice: &Choice,
    ) {
        let handle =
            self.model.find(&Variable::Path(crate::cel::Path::of(crate::cel::Root::Agent, &["handle"])));
        for counted in &ours.limits {
            let stand_in =
                theirs.limits.iter().filter(|found| at_least_as_strict(found.limit, counted.limit));
            let now: HashSet<Counter> = stand_in.map(super::obligations::Counted::counter).collect();
            // Another agent has another counter anyway.
            let by_agent = handle.filter(|_| counted.limit.by.as_str() == "agent");
            let agent = by_agent.and_then(|place| choice.class(place));
            let whose = agent.map(|class| format!("{:?}", class.given)).unwrap_or_default();
            let known = self.counters.entry((counted.counter(), whose)).or_insert_with(|| now.clone());
            known.retain(|counter| now.contains(counter));
            if known.is_empty() {
                self.unclear.insert(format!(
                    "whether `{}` (policy `{}`, rule `{}`), which is one counter there and several here, lets no more through",
                    counted.limit, counted.policy, counted.rule
                ));
            }
        }
    }

    /// Makes a request of the choice and has both sides judge it.
    fn judge(
        &mut self,
        what: String,
        grounds: (&Ground<'_>, &Ground<'_>),
        uri: &crate::pattern::ResourceUri,
        choice: &Choice,
    ) -> Result<(), End> {
        self.trials += 1;
        if self.trials > MOST_TRIALS {
            return Err(End::TooMuch("none of the requests that were tried shows it"));
        }
        let action = (grounds.1.action, uri, grounds.1.known);
        for request in witness::requests(self.model, choice, action, self.action, self.now) {
            if let Some(wider) = witness::confirm(&request, &what, self.ours_set, self.theirs_set) {
                return Err(End::Found(Box::new(wider)));
            }
        }
        let opaque: Vec<String> = self
            .model
            .stands
            .iter()
            .filter(|(place, _)| choice.class(**place).is_some())
            .map(|(_, stands)| format!("whether {stands} lets it be"))
            .collect();
        if opaque.is_empty() {
            self.unclear.insert(format!("no request was found that shows what seems to be: {what}"));
        }
        self.unclear.extend(opaque);
        Ok(())
    }

    fn fact_classes(&mut self, grounds: &Grounds, place: Place) -> Result<Classes, End> {
        if let Some(classes) = self.classes.get(&(None, place)) {
            return Ok(classes.clone());
        }
        let none = (Vec::new(), Vec::new());
        let (globs, texts) = grounds.texts.get(&place).unwrap_or(&none);
        let given = values::of(self.model, place, (globs, texts), &[], self.now, &mut self.budget)
            .ok_or(End::TooMuch("the texts that fill templates are too many to look at"))?;
        let classes: Classes =
            given.into_iter().map(|given| Rc::new(self.model.class(place, given))).collect();
        self.classes.insert((None, place), classes.clone());
        Ok(classes)
    }

    /// The classes of a variable, each answer once.
    fn classes_of(&mut self, place: Place) -> Result<Classes, End> {
        let of_action = match self.model.variable(place) {
            Some((Variable::Path(path), _)) if path.root() == Root::Params => {
                self.action.map(|action| (action, path))
            }
            _ => None,
        };
        let key = (of_action.map(|(action, _)| action.name().as_str()), place);
        if let Some(classes) = self.classes.get(&key) {
            return Ok(classes.clone());
        }
        let given = match of_action {
            Some(of) => declared::values_for(self.model, place, of, self.now, &mut self.budget),
            None => values::of(self.model, place, (&[], &[]), &[], self.now, &mut self.budget),
        };
        let given = given.ok_or(End::TooMuch("the values of a parameter are too many to tell apart"))?;
        let plain = matches!(self.model.variable(place), Some((Variable::Path(_) | Variable::Moment, _)));
        let mut seen = HashSet::new();
        let mut classes = Vec::new();
        for given in given {
            let class = self.model.class(place, given);
            // Where nothing asks a variable for more than itself, its values are its answers.
            let is_new = !plain || seen.insert(class.answers.clone());
            if is_new || matches!(class.given, Given::Truth(_)) {
                classes.push(Rc::new(class));
            }
        }
        let classes: Classes = classes.into();
        self.classes.insert(key, classes.clone());
        Ok(classes)
    }
}
