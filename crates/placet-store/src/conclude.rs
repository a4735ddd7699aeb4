//! The end of an action: its outcome, what it gives back, what its idempotency key answers, in one transaction.
//!
//! It rides the next group commit. A crash before that leaves the action `pending`, and the next start makes it
//! `unknown` ([`Store::recover`]): unknown is never taken for "it did not happen".
//!
//! Invariant: an action leaves `pending` once; its charges are given back at most once, and only by whoever says that
//! nothing happened.

use crate::{
    actions::{self, ActionState, StoredAction},
    counters::{self, Taken},
    fault::Fault,
    idempotency,
    needs::Needs,
    params,
    record::PreparedEntry,
    sql::{Keys, questions},
    statements,
    store::Store,
    tx::{Query as _, Row, Tx},
    writer::{Lane, Operation},
};
use placet_core::{id::ActionId, time::Timestamp};

statements! {
    /// Ends an action that is where it is thought to be.
    END = "UPDATE actions SET state = ?3, status = ?4, concluded = ?5 WHERE id = ?1 AND state = ?2
           RETURNING charges, idempotency";
    /// Ends one that was looked at.
    ENDED = "UPDATE actions SET state = ?3, status = ?4, concluded = ?5 WHERE id = ?1 AND state = ?2";
    /// What was given back can't be given back again.
    GIVEN_BACK = "UPDATE actions SET charges = NULL WHERE id = ?1";
}

questions! {
    /// Actions that are about to end.
    OPEN[1] = "SELECT id, state, charges, idempotency FROM actions WHERE id IN (", "?", ", ", ") ORDER BY id FOR UPDATE";
}

/// Actions that one transaction of [`Store::recover`] ends.
const AT_ONCE: usize = 256;

/// What became of an action.
#[derive(Debug, Clone)]
pub struct Conclusion {
    /// The action.
    pub action: ActionId,
    /// Where it is: `Pending`, or `Unknown` for a reconciler that found out.
    pub from: ActionState,
    /// What became of it; not `Pending`.
    pub state: ActionState,
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// When.
    pub at: Timestamp,
    /// Whether what it was charged is given back: only where the request provably never left, or upstream answered a
    /// status that the service declares `no_effect`. Not for `Unknown`.
    pub give_back: bool,
    /// The sealed answer for its idempotency key.
    pub answer: Option<Vec<u8>>,
    /// The `action.outcome` entry.
    pub outcome: PreparedEntry,
}

/// Why an action was not concluded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConcludeError {
    /// There is no such action, or it is not where the caller thinks: it was concluded before.
    #[error("the action is not in flight: it was concluded before, or never admitted")]
    NotInFlight,
    /// From or to a state that has no such way.
    #[error("an action can't go from {} to {} this way", .from.as_str(), .to.as_str())]
    NoWay {
        /// Where it was said to be.
        from: ActionState,
        /// Where it was to go.
        to: ActionState,
    },
    /// Storage failed. The action is still in flight.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Store {
    /// Concludes an action with the next group commit. The request is on its way when this returns; the future answers when
    /// it is durable, and may be dropped.
    pub fn conclude(
        &self,
        conclusion: Conclusion,
    ) -> impl Future<Output = Result<(), ConcludeError>> + Send + 'static {
        let sent = self.inner.writer.send(conclusion);
        async move { sent?.await.unwrap_or(Err(ConcludeError::Fault(Fault::Closed))) }
    }

    /// Concludes an action together with what is written next, at the latest a few milliseconds from now. Nobody is told
    /// how it went: where that fails, the action stays in flight until it counts as `unknown`.
    ///
    /// # Errors
    /// [`Fault::Closed`].
    pub fn conclude_later(&self, conclusion: Conclusion) -> Result<(), Fault> {
        self.inner.writer.ride(conclusion)
    }

    /// Ends what a crash of this node left in flight: each such action becomes `unknown`, with the entry that `entry` makes for it.
    /// To be called before anything is admitted; answers how many there were.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn recover(
        &self,
        now: Timestamp,
        mut entry: impl FnMut(&StoredAction) -> PreparedEntry + Send,
    ) -> Result<usize, Fault> {
        let node = self.inner.node;
        let mut ended = 0;
        loop {
            let left = self.read(move |reader| actions::pending(reader, node, AT_ONCE)).await?;
            if left.is_empty() {
                return Ok(ended);
            }
            ended += left.len();
            let ends: Vec<_> = left.iter().map(|action| (action.id, entry(action))).collect();
            self.write(move |tx| {
                ends.iter().try_for_each(|(id, entry)| abandon(tx, *id, now, entry.clone()))
            })
            .await?;
        }
    }
}

impl Operation for Conclusion {
    type Value = ();
    type Error = ConcludeError;
    const LANE: Lane = Lane::End;

    fn needs(&self, needs: &mut Needs) {
        needs.ends.insert(self.action);
        needs.gives_back |= self.give_back;
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), ConcludeError> {
        conclude(tx, self)
    }
}

/// An action that is about to end, as it is stored.
#[derive(Debug)]
pub(crate) struct Open {
    state: ActionState,
    pub(crate) charges: Option<Vec<u8>>,
    idempotency: Option<Vec<u8>>,
}

impl Open {
    /// One that was just admitted.
    pub(crate) fn admitted(charges: Option<Vec<u8>>, idempotency: Option<[u8; 32]>) -> Self {
        Self { state: ActionState::Pending, charges, idempotency: idempotency.map(Vec::from) }
    }
}

/// What a row says whose columns begin at `at`.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Open, Fault> {
    Ok(Open {
        state: ActionState::parse(&row.text(at)?)?,
        charges: row.optional_blob(at + 1)?,
        idempotency: row.optional_blob(at + 2)?,
    })
}

/// For a group's needs: actions, locked until the transaction ends.
pub(crate) fn open() -> &'static Keys {
    &OPEN
}

fn conclude(tx: &mut Tx<'_>, conclusion: &Conclusion) -> Result<(), ConcludeError> {
    let Conclusion { from, state, give_back, .. } = *conclusion;
    let open =
        from == ActionState::Pending || (from == ActionState::Unknown && state != ActionState::Unknown);
    if !open || state == ActionState::Pending || (give_back && state == ActionState::Unknown) {
        return Err(ConcludeError::NoWay { from, to: state });
    }
    let Some((charges, scope)) = end(tx, conclusion)? else { return Err(ConcludeError::NotInFlight) };
    settle(tx, conclusion, charges, scope).map_err(|fault| ConcludeError::Fault(tx.doom(fault)))
}

type Ended = Option<(Option<Vec<u8>>, Option<Vec<u8>>)>;

fn end(tx: &mut Tx<'_>, conclusion: &Conclusion) -> Result<Ended, Fault> {
    let Conclusion { action, from, state, status, at, .. } = conclusion;
    let status = status.map(i64::from);
    let row = params![*action, from.as_str(), state.as_str(), status, *at];
    let lease = &mut *tx.lease;
    let open = lease.fetched.open.remove(action).or_else(|| lease.in_flight.remove(action));
    if let Some(open) = open {
        if open.state != *from {
            return Ok(None);
        }
        tx.later_one(&ENDED, &row)?;
        return Ok(Some((open.charges, open.idempotency)));
    }
    tx.one(&END, &row, |row| Ok((row.optional_blob(0)?, row.optional_blob(1)?)))
}

fn settle(
    tx: &mut Tx<'_>,
    conclusion: &Conclusion,
    charges: Option<Vec<u8>>,
    scope: Option<Vec<u8>>,
) -> Result<(), Fault> {
    if let Some(charges) = charges {
        let taken = Taken::decode(&charges)?;
        // Of what is unknown the effect may still be happening: its leases end at its time limit.
        if conclusion.state != ActionState::Unknown {
            counters::release(tx, &taken, conclusion.action)?;
        }
        if conclusion.give_back {
            counters::give_back(tx, &taken)?;
            tx.later(&GIVEN_BACK, &params![conclusion.action])?;
        }
    }
    if let Some(scope) = scope {
        idempotency::settle(tx, &scope, conclusion.action, conclusion.state, conclusion.answer.as_deref())?;
    }
    tx.record(conclusion.outcome.clone())
}

/// Ends an action of which nobody knows what became; one that was concluded meanwhile is left alone.
fn abandon(tx: &mut Tx<'_>, action: ActionId, now: Timestamp, outcome: PreparedEntry) -> Result<(), Fault> {
    let conclusion = Conclusion {
        action,
        from: ActionState::Pending,
        state: ActionState::Unknown,
        status: None,
        at: now,
        give_back: false,
        answer: None,
        outcome,
    };
    match end(tx, &conclusion)? {
        Some((charges, scope)) => settle(tx, &conclusion, charges, scope),
        None => Ok(()),
    }
}
