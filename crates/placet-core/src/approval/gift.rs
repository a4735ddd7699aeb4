//! The permits that come of an approval, once all have said yes.
//!
//! Where each requirement takes one person, the permit of each answers for what that person met. Where people have to
//! answer together, all whose yes counts must have chosen the same terms: then one permit answers for all of it, and
//! else none does.
//!
//! Invariant: a permit comes of a vote once, also where the approval was short of people again in between.

use super::{
    Approval, ApprovalState, Verdict, Vote,
    permit::{Giver, Terms},
};
use crate::id::UserId;
use std::collections::BTreeSet;

/// A permit to be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Gift {
    /// Its terms; of several people's ends the earliest.
    pub terms: Terms,
    /// Indexes of the requirements that it answers.
    pub met: Vec<usize>,
    /// Who gives it; of several the one who answered last.
    pub by: Giver,
    /// The others.
    pub with: Vec<Giver>,
}

impl Approval {
    /// The permits that come of it now; they are marked as given. None before it is approved.
    pub fn gifts(&mut self) -> Vec<Gift> {
        if self.state != ApprovalState::Approved {
            return Vec::new();
        }
        if self.is_joint() { self.joint().into_iter().collect() } else { self.single() }
    }

    fn single(&mut self) -> Vec<Gift> {
        let mut gifts = Vec::new();
        for vote in self.votes.iter_mut().filter(|vote| !vote.given && !vote.met.is_empty()) {
            let Some(terms) = vote.permit.clone() else { continue };
            vote.given = true;
            gifts.push(Gift { terms, met: vote.met.clone(), by: giver(vote), with: Vec::new() });
        }
        gifts
    }

    fn joint(&mut self) -> Option<Gift> {
        if self.votes.iter().any(|vote| vote.given) {
            return None;
        }
        let people: BTreeSet<UserId> = self.counted().into_iter().flatten().collect();
        let counts = |vote: &Vote| {
            vote.verdict == Verdict::Approve && !vote.met.is_empty() && people.contains(&vote.by)
        };
        let mut votes: Vec<&Vote> = self.votes.iter().filter(|vote| counts(vote)).collect();
        let mut terms = votes.first()?.permit.clone()?;
        for vote in &votes {
            let other = vote.permit.as_ref()?;
            let expires = terms.expires.min(other.expires);
            if (Terms { expires, ..other.clone() }) != (Terms { expires, ..terms.clone() }) {
                return None;
            }
            terms.expires = expires;
        }
        let by = giver(votes.pop()?);
        let mut with: Vec<Giver> = Vec::new();
        for other in votes.into_iter().map(giver) {
            if other.id != by.id && with.iter().all(|known| known.id != other.id) {
                with.push(other);
            }
        }
        for vote in self.votes.iter_mut().filter(|vote| vote.verdict == Verdict::Approve) {
            vote.given = true;
        }
        Some(Gift { terms, met: (0..self.requirements.len()).collect(), by, with })
    }
}

fn giver(vote: &Vote) -> Giver {
    Giver { id: vote.by, name: vote.name.clone() }
}
