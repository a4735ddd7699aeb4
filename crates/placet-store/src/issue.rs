//! Issuing on the hot way: another token of a grant, or a new grant of a task that was never named before. Nothing of
//! it can collide with anything, so many are written together instead of each in a savepoint of its own.
//!
//! What does collide (a label, a token or code that is used up, the same grant asked for twice at once) takes a closure
//! of the control plane ([`Store::write`]), which excludes all others.
//!
//! Invariant: nothing is written where a version that its chain was assembled at has changed; what is written hangs
//! where its chain says.

use crate::{
    fault::Fault,
    grants,
    needs::Needs,
    record::PreparedEntry,
    status_lists::{self, Place},
    store::Store,
    tasks,
    tx::{Tx, Value},
    versions::{self, Version},
    writer::{Lane, Operation},
};
use placet_core::{chain::Chain, task::Task};

/// What is to be issued. Its rows are made on the caller's thread; the writer only writes them.
#[derive(Debug)]
pub struct Issue {
    versions: Vec<(Version, u64)>,
    new: New,
    entry: PreparedEntry,
}

/// The rows of a new grant and of its new task, and of the token's place in a list of statuses.
#[derive(Debug, Clone, Default)]
pub(crate) struct New {
    grant: Option<([Value<'static>; tasks::ROW], [Value<'static>; grants::ROW])>,
    place: Option<[Value<'static>; status_lists::ROW]>,
}

impl Issue {
    /// Another token of the leaf of `chain`.
    pub fn again(chain: &Chain, entry: PreparedEntry) -> Self {
        let stamps = chain.stamps().iter();
        let versions = stamps.map(|(stamp, version)| (Version::from(*stamp), *version)).collect();
        Self { versions, new: New::default(), entry }
    }

    /// The leaf of `chain`, a new grant for the new `task`, which has no label.
    ///
    /// # Errors
    /// [`Fault::Conflict`]: `lineage` where the leaf is not one below the link above it, `label` where the task has one.
    pub fn anew(chain: &Chain, task: &Task, entry: PreparedEntry) -> Result<Self, Fault> {
        let grant = &chain.leaf().grant;
        let above = chain.links().get(1).map(|link| &link.grant);
        let fits = above.is_some_and(|above| {
            (grant.parent, grant.root) == (Some(above.id), above.root)
                && grant.depth.checked_sub(1) == Some(above.depth)
        });
        if !fits || grant.task != Some(task.id) {
            return Err(Fault::Conflict("lineage"));
        }
        if task.label.is_some() {
            return Err(Fault::Conflict("label"));
        }
        let new = New { grant: Some((tasks::row(task)?, grants::row(grant)?)), place: None };
        Ok(Self { new, ..Self::again(chain, entry) })
    }

    /// The same for a token that stands in a list of statuses, where it does.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.new.place = place.map(status_lists::row);
        self
    }
}

impl Store {
    /// Issues it and answers when that is durable; `false` where something that its chain rests on has changed, and
    /// nothing was done.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn issue(&self, issue: Issue) -> Result<bool, Fault> {
        self.inner.writer.send(issue)?.await.unwrap_or(Err(Fault::Closed))
    }
}

impl Operation for Issue {
    type Value = bool;
    type Error = Fault;
    const LANE: Lane = Lane::Begin;

    fn needs(&self, needs: &mut Needs) {
        needs.versions(&self.versions);
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<bool, Fault> {
        if !versions::unchanged(tx, &self.versions)? {
            return Ok(false);
        }
        if self.new.grant.is_some() || self.new.place.is_some() {
            // Cloned, because it is run again where its transaction was lost.
            tx.lease.issued.push(self.new.clone());
        }
        tx.record(self.entry.clone())?;
        Ok(true)
    }
}

/// Writes what was staged.
pub(crate) fn write(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let issued = std::mem::take(&mut tx.lease.issued);
    let (mut tasks, mut grants, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for New { grant, place } in issued {
        if let Some((task, grant)) = grant {
            tasks.extend(task);
            grants.extend(grant);
        }
        places.extend(place.into_iter().flatten());
    }
    tx.insert(tasks::many(), &tasks)?;
    tx.insert(grants::many(), &grants)?;
    tx.insert(status_lists::many(), &places)
}
