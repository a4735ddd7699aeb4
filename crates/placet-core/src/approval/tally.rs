//! Whose answers count for what: how many people are missing.
//!
//! A person counts once for a requirement, however often they answer. For requirements that are not distinct everybody
//! counts for each that names them. Requirements that are distinct share nobody: people are assigned to them so that as
//! many places as possible are filled, whoever came first.
//!
//! Invariant: a yes counts only for what its giver might answer when they gave it and, after a change of roles, still
//! may ([`Approval::without`]).

use super::{Approval, Requirement, Verdict};
use crate::{id::UserId, user::User};
use std::collections::{BTreeMap, BTreeSet};

impl Approval {
    /// Of each requirement, who counts for it: at most as many as it takes.
    pub fn counted(&self) -> Vec<Vec<UserId>> {
        self.counted_with(None)
    }

    /// Of each requirement, how many different people are still missing.
    pub fn missing(&self) -> Vec<u32> {
        missing(&self.requirements, &self.counted())
    }

    /// How many answers are still missing in all; fewer people may do where one may give several.
    pub fn missing_in_all(&self) -> u32 {
        self.missing().into_iter().sum()
    }

    /// Indexes of the requirements that are not met yet.
    pub fn open(&self) -> BTreeSet<usize> {
        let missing = self.missing();
        missing.iter().enumerate().filter(|(_, missing)| **missing > 0).map(|(index, _)| index).collect()
    }

    /// Indexes of the requirements that a yes of `person` would count for; empty where it would change nothing.
    pub fn open_to(&self, person: &User) -> Vec<usize> {
        let said = self.said(person.id);
        let may: Vec<usize> = self.named(person).filter(|index| !said.contains(index)).collect();
        let (before, after) =
            (self.missing(), missing(&self.requirements, &self.counted_with(Some((person.id, &may)))));
        let of = |missing: &[u32]| -> u32 {
            let each = missing.iter().zip(&self.requirements);
            each.filter(|(_, requirement)| requirement.distinct).map(|(missing, _)| *missing).sum()
        };
        let fills = of(&after) < of(&before);
        let useful = |index: &usize| match self.requirements.get(*index) {
            // A place that is taken may be cleared for this person, where who has it fits elsewhere.
            Some(requirement) if requirement.distinct => fills,
            Some(_) => before.get(*index).is_some_and(|missing| *missing > 0),
            None => false,
        };
        may.into_iter().filter(useful).collect()
    }

    /// Whether people have to answer together: some requirement takes several, or two share nobody.
    pub fn is_joint(&self) -> bool {
        self.requirements.iter().any(|requirement| requirement.count > 1)
            || self.requirements.iter().filter(|requirement| requirement.distinct).count() > 1
    }

    /// Indexes of the requirements that name the person.
    pub(super) fn named(&self, person: &User) -> impl Iterator<Item = usize> {
        let may = |it: &Requirement| it.may_be_met_by(person, self.user, &self.owners);
        let found: Vec<_> =
            self.requirements.iter().enumerate().filter(|(_, it)| may(it)).map(|(index, _)| index).collect();
        found.into_iter()
    }

    /// What the person has said yes to.
    fn said(&self, person: UserId) -> BTreeSet<usize> {
        let own = self.votes.iter().filter(|vote| vote.by == person && vote.verdict == Verdict::Approve);
        own.flat_map(|vote| vote.met.iter().copied()).collect()
    }

    /// As [`Approval::counted`], with one more yes.
    fn counted_with(&self, more: Option<(UserId, &[usize])>) -> Vec<Vec<UserId>> {
        let mut people: Vec<UserId> = Vec::new();
        let mut said: BTreeMap<UserId, BTreeSet<usize>> = BTreeMap::new();
        let votes = self.votes.iter().filter(|vote| vote.verdict == Verdict::Approve);
        for (by, met) in votes.map(|vote| (vote.by, vote.met.as_slice())).chain(more) {
            if !people.contains(&by) {
                people.push(by);
            }
            said.entry(by).or_default().extend(met);
        }
        let mut counted = vec![Vec::new(); self.requirements.len()];
        for person in people {
            for index in said.get(&person).into_iter().flatten() {
                let Some(requirement) = self.requirements.get(*index) else { continue };
                if !requirement.distinct
                    && let Some(places) =
                        counted.get_mut(*index).filter(|places| is_free(places, requirement))
                {
                    places.push(person);
                }
            }
            self.seat(person, &said, &mut counted, &mut BTreeSet::new());
        }
        counted
    }

    /// Gives the person a place in a distinct requirement, where there is one or others can move on (augmenting paths:
    /// as many places as possible are filled). `seen` are the requirements that were tried.
    fn seat(
        &self,
        person: UserId,
        said: &BTreeMap<UserId, BTreeSet<usize>>,
        counted: &mut [Vec<UserId>],
        seen: &mut BTreeSet<usize>,
    ) -> bool {
        for index in said.get(&person).into_iter().flatten() {
            let Some(requirement) = self.requirements.get(*index).filter(|it| it.distinct) else { continue };
            if !seen.insert(*index) {
                continue;
            }
            let Some(places) = counted.get_mut(*index) else { continue };
            if is_free(places, requirement) {
                places.push(person);
                return true;
            }
            // As deep as there are requirements: each is tried once.
            for holder in places.clone() {
                if self.seat(holder, said, counted, seen) {
                    if let Some(place) = counted
                        .get_mut(*index)
                        .and_then(|places| places.iter_mut().find(|place| **place == holder))
                    {
                        *place = person;
                    }
                    return true;
                }
            }
        }
        false
    }
}

fn is_free(places: &[UserId], requirement: &Requirement) -> bool {
    places.len() < requirement.count as usize
}

fn missing(requirements: &[Requirement], counted: &[Vec<UserId>]) -> Vec<u32> {
    let each = requirements.iter().zip(counted);
    each.map(|(it, counted)| it.count.saturating_sub(u32::try_from(counted.len()).unwrap_or(u32::MAX)))
        .collect()
}

#[cfg(test)]
mod tests;
