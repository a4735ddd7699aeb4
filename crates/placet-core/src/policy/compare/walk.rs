//! Names that stand for all others: one for each way in which a list of components can match some of a set of
//! patterns and not the rest.
//!
//! Invariant: complete, as [`super::text::representatives`] is for one component; beyond the budget there is no answer.

use super::text::{Alphabet, Budget, Glob, representatives};
use crate::pattern::{ActionName, ActionPattern, Component, ResourcePattern, ResourceUri};
use std::collections::{BTreeSet, HashSet};

/// A list of components, with or without any rest.
#[derive(Debug, Clone)]
struct Shape {
    list: Vec<Component>,
    rest: bool,
}

/// Names of actions, one for each set of patterns that some name matches while matching no other.
pub(super) fn actions(patterns: &[&ActionPattern], budget: &mut Budget) -> Option<Vec<ActionName>> {
    let shape = |pattern: &&ActionPattern| {
        let (list, rest) = pattern.parts();
        Shape { list: list.to_vec(), rest }
    };
    let shapes: Vec<Shape> = patterns.iter().map(shape).collect();
    let lists = walk(&shapes, 1, Alphabet::NAMES, budget)?;
    Some(lists.into_iter().filter_map(|list| ActionName::parse(&list.join(".")).ok()).collect())
}

/// Resources, one for each set of patterns that some resource matches while matching no other. `schemes` and
/// `authorities` are told apart too, and `hosts` are globs that authorities are.
pub(super) fn resources(
    patterns: &[&ResourcePattern],
    schemes: &[&str],
    hosts: &[Component],
    budget: &mut Budget,
) -> Option<Vec<ResourceUri>> {
    let mut known: BTreeSet<&str> = schemes.iter().copied().collect();
    known.extend(patterns.iter().filter_map(|pattern| pattern.scheme()));
    let fresh = ["x", "y", "z", "w"].into_iter().find(|scheme| !known.contains(scheme));
    known.extend(fresh);
    let mut answer = Vec::new();
    for scheme in known {
        let within = patterns.iter().filter(|pattern| pattern.scheme() == Some(scheme));
        let shape = |pattern: &&ResourcePattern| Shape {
            list: pattern.authority().into_iter().chain(pattern.segments()).cloned().collect(),
            rest: pattern.has_rest(),
        };
        let mut shapes: Vec<Shape> = within.map(shape).collect();
        shapes.extend(hosts.iter().map(|host| Shape { list: vec![host.clone()], rest: true }));
        for list in walk(&shapes, 1, Alphabet::COMPONENTS, budget)? {
            let (authority, segments) = list.split_first()?;
            // What can't be written down as a resource is none.
            answer.extend(ResourceUri::from_parts(scheme, authority, segments).ok());
        }
    }
    Some(answer)
}

fn walk(
    shapes: &[Shape],
    shortest: usize,
    alphabet: Alphabet,
    budget: &mut Budget,
) -> Option<Vec<Vec<String>>> {
    let longest = 1 + shapes.iter().map(|shape| shape.list.len()).max().unwrap_or(0);
    let mut answer = Vec::new();
    let mut ways: HashSet<Vec<usize>> = HashSet::new();
    let mut level: Vec<(Vec<usize>, Vec<String>)> = vec![((0..shapes.len()).collect(), Vec::new())];
    for length in 0..=longest.max(shortest) {
        let mut next = Vec::new();
        let mut seen: HashSet<Vec<usize>> = HashSet::new();
        for (alive, list) in level {
            budget.take(1 + alive.len())?;
            let of = |index: &usize| shapes.get(*index);
            let ends = |index: &&usize| {
                of(index).is_some_and(|shape| {
                    shape.list.len() == length || (shape.rest && shape.list.len() < length)
                })
            };
            let matched: Vec<usize> = alive.iter().filter(ends).copied().collect();
            if length >= shortest && ways.insert(matched) {
                answer.push(list.clone());
            }
            let here = |index: &usize| of(index).and_then(|shape| shape.list.get(length));
            let mut globs: Vec<Glob> = alive.iter().filter_map(here).map(Glob::component).collect();
            if globs.iter().any(|glob| glob.has('.')) {
                if globs.iter().any(|glob| glob.has('/')) {
                    return None;
                }
                // What is refused must be told from what goes on like it.
                globs.extend([Glob::literal("."), Glob::literal("..")]);
            }
            for text in representatives(&globs, alphabet, |text| !matches!(text, "." | ".."), budget)? {
                let goes_on = |index: &&usize| match here(index) {
                    Some(component) => component.matches(&text),
                    None => of(index).is_some_and(|shape| shape.rest),
                };
                let alive: Vec<usize> = alive.iter().filter(goes_on).copied().collect();
                if seen.insert(alive.clone()) {
                    next.push((alive, list.iter().cloned().chain([text]).collect()));
                }
            }
        }
        level = next;
    }
    Some(answer)
}
