//! Actions, resources and what templates are filled with: chosen before anything else, one for each way in which the
//! patterns of both sides can match.
//!
//! Resources are known whole, or not at all. One that is merely claimed in part is like any that it may be: a policy
//! that looks at the claimed part is refused together with the service (DESIGN §4 "Provenance in services").
//!
//! Invariant: complete; what a template can be filled with that some other pattern may look at is among what is tried.

use super::{
    model::{Choice, Given, Model, Place, Probe, Truth, Variable, path_of},
    search::End,
    side::Side,
    text::{Budget, Glob},
    walk,
};
use crate::{
    cel::{Asks, Literal, Path, Root},
    pattern::{ActionName, ActionPattern, Component, Piece, ResourcePattern, ResourceUri},
    policy::{
        rule::OnWhat,
        template::{Fact, Slot, Template},
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

/// What is chosen before actions and resources.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    /// Facts that templates take, and whether there is a user or task.
    pub(super) facts: Vec<Place>,
    /// What tells the texts of a fact apart beyond its own probes, and texts to try besides.
    pub(super) texts: HashMap<Place, (Vec<Glob>, Vec<String>)>,
    /// What can't be told.
    pub(super) unclear: Vec<String>,
}

/// Finds them; before the search, as it adds variables.
pub(super) fn find<'p>(model: &mut Model<'p>, sides: [&Side<'p>; 2]) -> Grounds {
    let mut grounds = Grounds::default();
    let templates: Vec<&Template> =
        sides.iter().flat_map(|side| &side.policies).flat_map(|form| form.policy.templates.iter()).collect();
    let facts: BTreeSet<&Fact> = templates.iter().flat_map(|template| template.facts()).collect();
    let entries = || {
        let rules = sides.iter().flat_map(|side| &side.policies).flat_map(|form| &form.rules);
        rules.flat_map(|rule| rule.rule.on.iter().flatten())
    };
    let patterns: Vec<&ResourcePattern> = entries()
        .filter_map(|entry| match &entry.what {
            OnWhat::Pattern(pattern) => Some(pattern),
            OnWhat::Template(_) => None,
        })
        .collect();
    for fact in facts {
        let Some((place, needs)) = model.fact(fact) else { continue };
        for place in needs.into_iter().chain([place]) {
            if !grounds.facts.contains(&place) {
                grounds.facts.push(place);
            }
        }
        let (globs, clear) = texts(fact, &templates, &patterns);
        if !clear {
            grounds.unclear.push(format!("what a template with {fact:?} in a part of a segment may meet"));
        }
        let is_id = matches!(fact, Fact::UserId | Fact::AgentId | Fact::TaskId);
        // One text that other facts may be too, and one that fits no resource.
        let more = match fact {
            _ if is_id => Vec::new(),
            Fact::Label(_) | Fact::AgentOwner | Fact::TaskDescription => {
                vec!["q7".to_owned(), "..".to_owned()]
            }
            _ => vec!["q7".to_owned()],
        };
        grounds.texts.insert(place, (globs, more));
    }
    // A user or task comes before what is known of it.
    grounds.facts.sort_by_key(|place| match model.variable(*place) {
        Some((Variable::HasUser | Variable::HasTask, _)) => 0,
        _ => 1,
    });
    let texts = grounds.texts.values().filter(|(_, more)| !more.is_empty()).count();
    if texts > 3 {
        grounds.unclear.push("whether two of the many facts that fill templates may be one text".to_owned());
    }
    grounds
}

/// What the values of a fact may meet: the patterns in whose place a template has it, and whether that is all.
fn texts(fact: &Fact, templates: &[&Template], patterns: &[&ResourcePattern]) -> (Vec<Glob>, bool) {
    let (mut globs, mut clear) = (Vec::new(), true);
    for template in templates {
        let (scheme, components) = template.components();
        for (at, slots) in components.enumerate() {
            if !slots.iter().any(|slot| matches!(slot, Slot::Fact(other) if other == fact)) {
                continue;
            }
            let around = around(slots);
            for pattern in patterns.iter().filter(|pattern| pattern.scheme() == Some(scheme)) {
                let Some(component) = nth(pattern, at).filter(|component| !component.is_star()) else {
                    continue;
                };
                match &around {
                    Some((head, tail)) => globs.push(Glob::component(component).between(head, tail)),
                    None => clear = false,
                }
            }
            for other in templates {
                let (other_scheme, mut others) = other.components();
                let Some(other) = others.nth(at).filter(|other| other_scheme == scheme && *other != slots)
                else {
                    continue;
                };
                if other == [Slot::Piece(Piece::Star)] {
                    continue;
                }
                match (&around, self::around(other), literal(other)) {
                    (Some((head, tail)), _, Some(text)) => {
                        globs.push(Glob::literal(&text).between(head, tail))
                    }
                    // Whole facts, or facts in the same place of the same text: one may be the other.
                    (Some(one), Some(another), None) if *one == another => {}
                    _ => clear = false,
                }
            }
        }
    }
    (globs, clear)
}

fn nth(pattern: &ResourcePattern, at: usize) -> Option<&Component> {
    match at.checked_sub(1) {
        None => pattern.authority(),
        Some(at) => pattern.segments().get(at),
    }
}

/// The text before and behind the one fact of a component.
fn around(slots: &[Slot]) -> Option<(String, String)> {
    let (mut head, mut tail, mut facts) = (String::new(), String::new(), 0);
    for slot in slots {
        match slot {
            Slot::Fact(_) => facts += 1,
            Slot::Piece(Piece::Star) => return None,
            Slot::Piece(Piece::Literal(text)) if facts == 0 => head.push_str(text),
            Slot::Piece(Piece::Literal(text)) => tail.push_str(text),
        }
    }
    (facts == 1).then_some((head, tail))
}

fn literal(slots: &[Slot]) -> Option<String> {
    let text = |slot: &Slot| match slot {
        Slot::Piece(Piece::Literal(text)) => Some(text.clone()),
        _ => None,
    };
    slots.iter().map(text).collect()
}

/// The templates of each policy of a side, filled with what is chosen.
pub(super) fn filled(
    model: &Model<'_>,
    side: &Side<'_>,
    choice: &Choice,
) -> Vec<Vec<Option<ResourcePattern>>> {
    let value = |fact: &Fact| {
        let (path, needs) = path_of(fact)?;
        let needs = match needs {
            Some(needs) => model
                .find(&needs)
                .and_then(|place| choice.class(place))
                .is_some_and(|class| class.given == Given::Truth(Truth::True)),
            None => true,
        };
        let class = choice.class(model.find(&Variable::Path(path))?).filter(|_| needs)?;
        match &class.given {
            Given::Value(Value::String(text)) => Some(text.clone()),
            _ => None,
        }
    };
    let of = |templates: &[Template]| templates.iter().map(|template| template.fill_with(value)).collect();
    side.policies.iter().map(|form| of(&form.policy.templates)).collect()
}

/// The texts that conditions compare a path with.
fn compared(model: &Model<'_>, path: &Path) -> Vec<String> {
    let Some(place) = model.find(&Variable::Path(path.clone())) else { return Vec::new() };
    let probes = model.variable(place).map(|(_, probes)| probes.iter()).into_iter().flatten();
    let literals = probes.filter_map(|probe| match probe {
        Probe::Test(test) => match &test.asks {
            Asks::Among(literals) => Some(literals),
            _ => None,
        },
        _ => None,
    });
    let text = |literal: &Literal<'_>| match literal {
        Literal::Text(text) => Some((*text).to_owned()),
        _ => None,
    };
    literals.flatten().filter_map(text).collect()
}

/// Names of actions for every way in which the patterns of both sides can match.
pub(super) fn actions(
    model: &Model<'_>,
    sides: [&Side<'_>; 2],
    budget: &mut Budget,
) -> Result<Vec<ActionName>, End> {
    let mut patterns: BTreeMap<&str, ActionPattern> = BTreeMap::new();
    for rule in sides.iter().flat_map(|side| &side.policies).flat_map(|form| &form.rules) {
        patterns
            .extend(rule.rule.actions.iter().map(|named| (named.pattern.as_str(), named.pattern.clone())));
    }
    let compared = compared(model, &Path::of(Root::Action, &["name"]));
    let names: Vec<ActionName> = compared.iter().filter_map(|text| ActionName::parse(text).ok()).collect();
    for name in &names {
        patterns.insert(name.as_str(), ActionPattern::from_name(name));
    }
    walk::actions(&patterns.values().collect::<Vec<_>>(), budget)
        .ok_or(End::TooMuch("the names of actions are too many to tell apart"))
}

/// Resources for every way in which the patterns of both sides can match, as addressed and as known.
pub(super) fn resources(
    model: &Model<'_>,
    sides: [(&Side<'_>, &Vec<Vec<Option<ResourcePattern>>>); 2],
    action: &ActionName,
    budget: &mut Budget,
) -> Result<Vec<(ResourceUri, ResourcePattern)>, End> {
    let mut patterns: BTreeMap<&str, &ResourcePattern> = BTreeMap::new();
    for (side, filled) in sides {
        patterns.extend(side.patterns(action, filled).map(|pattern| (pattern.as_str(), pattern)));
    }
    let of = |field: &str| compared(model, &Path::of(Root::Resource, &[field]));
    let uris: Vec<ResourcePattern> = of("uri")
        .iter()
        .filter_map(|text| ResourceUri::parse(text).ok())
        .map(|uri| ResourcePattern::from_uri(&uri))
        .collect();
    patterns.extend(uris.iter().map(|pattern| (pattern.as_str(), pattern)));
    let hosts: Vec<Component> = of("authority").iter().map(|text| Component::literal(text)).collect();
    let schemes = of("scheme");
    let is_scheme = |text: &&str| ResourcePattern::everything_of(text).is_ok();
    let schemes: Vec<&str> = schemes.iter().map(String::as_str).filter(is_scheme).collect();
    let patterns: Vec<&ResourcePattern> = patterns.into_values().collect();
    let found = walk::resources(&patterns, &schemes, &hosts, budget)
        .ok_or(End::TooMuch("the resources are too many to tell apart"))?;
    let unknown = found.first().cloned().map(|uri| (uri, ResourcePattern::everything()));
    let known = |uri: ResourceUri| {
        let pattern = ResourcePattern::from_uri(&uri);
        (uri, pattern)
    };
    Ok(found.into_iter().map(known).chain(unknown).collect())
}

/// Chooses the action.
pub(super) fn set_action(model: &Model<'_>, action: &ActionName, choice: &mut Choice) {
    set(model, choice, Path::of(Root::Action, &["name"]), Some(action.as_str().into()));
}

/// Chooses the resource.
pub(super) fn set_resource(model: &Model<'_>, known: &ResourcePattern, choice: &mut Choice) {
    let uri = known.single().map(|uri| Value::from(uri.as_str()));
    let authority = known.authority().and_then(Component::as_literal).map(Value::from);
    for (field, value) in
        [("uri", uri), ("scheme", known.scheme().map(Value::from)), ("authority", authority)]
    {
        set(model, choice, Path::of(Root::Resource, &[field]), value);
    }
}

fn set(model: &Model<'_>, choice: &mut Choice, path: Path, value: Option<Value>) {
    let missing = path.fields().len().saturating_sub(1);
    let Some(place) = model.find(&Variable::Path(path)) else { return };
    let given = value.map_or(Given::Missing(missing), Given::Value);
    choice.set(place, Some(Rc::new(model.class(place, given))));
}

/// Forgets action and resource.
pub(super) fn unset(model: &Model<'_>, choice: &mut Choice) {
    for (root, fields) in
        [(Root::Action, &["name"][..]), (Root::Resource, &["uri", "scheme", "authority"][..])]
    {
        for field in fields {
            if let Some(place) = model.find(&Variable::Path(Path::of(root, &[field]))) {
                choice.set(place, None);
            }
        }
    }
}
