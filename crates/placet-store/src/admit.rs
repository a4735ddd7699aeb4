//! The commit point (DESIGN §2): in one transaction the versions are compared, the charges reserved, the approval
//! consumed, the idempotency key bound, and the intent appended to the record. All or nothing, durable before any
//! effect.
//!
//! Invariant: an [`Admitted`] is made here and nowhere else, after its commit; every check comes before the first
//! change, so a refusal leaves nothing behind.

pub use crate::idempotency::{Key, Replay};
use crate::{
    actions::{self, NewAction},
    conclude::Open,
    counters::{self, Exceeded, Taken},
    fault::Fault,
    idempotency::{self, Found},
    needs::Needs,
    observations::Observed,
    params,
    record::PreparedEntry,
    sql::{Keys, questions},
    statements,
    store::Store,
    tx::{Query as _, Row, Tx},
    versions::{self, Version},
    writer::{Lane, Operation},
};
use placet_core::{
    id::{ActionId, AgentId, ApprovalId, ConnectionId, GrantId, ResourceServerId, TaskId, UserId},
    ledger::{Charge, Standing, Window},
    refusal::Code,
    time::Timestamp,
};

statements! {
    /// What an approval is bound to and where it is.
    APPROVAL = "SELECT CASE WHEN closed IS NULL THEN state ELSE closed END, digest, expires
                FROM approvals WHERE id = ?1";
    /// Uses it up.
    USE_APPROVAL = "UPDATE approvals SET state = 'used', version = version + 1
                    WHERE id = ?1 AND state = 'approved' AND closed IS NULL";
}

questions! {
    /// What approvals are bound to and where they are.
    APPROVALS[1] = "SELECT id, CASE WHEN closed IS NULL THEN state ELSE closed END, digest, expires
                    FROM approvals WHERE id IN (", "?", ", ", ")";
}

/// What is to be admitted.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The action's id, fresh.
    pub action: ActionId,
    /// The acting agent.
    pub agent: AgentId,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// The root of the grant's lineage.
    pub root: GrantId,
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Option<TaskId>,
    /// The connection that the effect goes through.
    pub connection: Option<ConnectionId>,
    /// When it is.
    pub at: Timestamp,
    /// When it is over at the latest: its leases end by themselves then.
    pub until: Timestamp,
    /// Everything that the decision rested on, with the version it had.
    pub versions: Vec<(Version, u64)>,
    /// What it has to fit into.
    pub charges: Vec<Charge>,
    /// The approval that it uses, with the digest of this request.
    pub approval: Option<(ApprovalId, [u8; 32])>,
    /// The idempotency key that came with it.
    pub idempotency: Option<Key>,
    /// What observed policies would have said.
    pub observed: Vec<Observed>,
    /// The `action.intent` entry.
    pub intent: PreparedEntry,
}

/// The right to perform one action: it was admitted, and that is durable.
#[derive(Debug)]
pub struct Admitted {
    action: ActionId,
    charges: Vec<Charge>,
}

impl Admitted {
    /// The action.
    pub fn action(&self) -> ActionId {
        self.action
    }

    /// What it was charged. Its row knows too: [`crate::Conclusion::give_back`] needs no list.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }
}

/// Why an action was not admitted. Nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Something that the decision rested on has changed since: judge again.
    #[error("what the decision rested on has changed; judge again")]
    Stale,
    /// The idempotency key was used for a different request.
    #[error("the idempotency key belongs to a different request")]
    IdempotencyMismatch,
    /// The request with this idempotency key is still being worked on.
    #[error("a request with this idempotency key is in flight")]
    IdempotencyInFlight,
    /// The request was made before: this is what came of it.
    #[error("the request was made before")]
    Replay(Replay),
    /// The approval can't be used; the code says why.
    #[error("the approval can't be used: {}", .0.title())]
    Approval(Code),
    /// A charge doesn't fit.
    #[error("limit {index} is used up: {} used", standing.used)]
    Limit {
        /// The charge's place in the list.
        index: usize,
        /// How its counter stood.
        standing: Standing,
    },
    /// Storage failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Store {
    /// Admits one action, or refuses it; answers when that is durable.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit(&self, admission: Admission) -> Result<Admitted, Refused> {
        let admitting = self.inner.writer.send(Admitting { admission, resource_server: None })?;
        admitting.await.unwrap_or(Err(Refused::Fault(Fault::Closed)))
    }

    /// Admits one action that `resource_server` performs: it alone concludes it ([`crate::decisions`]).
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn admit_for(
        &self,
        resource_server: ResourceServerId,
        admission: Admission,
    ) -> Result<Admitted, Refused> {
        let resource_server = Some(resource_server);
        let admitting = self.inner.writer.send(Admitting { admission, resource_server })?;
        admitting.await.unwrap_or(Err(Refused::Fault(Fault::Closed)))
    }
}

struct Admitting {
    admission: Admission,
    resource_server: Option<ResourceServerId>,
}

impl Operation for Admitting {
    type Value = Admitted;
    type Error = Refused;
    const LANE: Lane = Lane::Begin;

    fn needs(&self, needs: &mut Needs) {
        let Admission { action, versions, charges, approval, idempotency, .. } = &self.admission;
        needs.versions(versions);
        needs.fresh.insert(*action);
        needs.scopes.extend(idempotency.as_ref().map(|key| key.scope));
        needs.approvals.extend(approval.map(|(approval, _)| approval));
        needs.counters.extend(charges.iter().map(|charge| {
            let Window { start, end } = charge.window;
            ((charge.counter.clone(), start.as_micros()), end.as_micros())
        }));
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<Admitted, Refused> {
        admit(tx, &self.admission, self.resource_server)
    }

    fn admits(&self) -> Option<ActionId> {
        Some(self.admission.action)
    }
}

impl Store {
    /// Whether a request with this idempotency key is the first, for one that won't be admitted yet: before people are
    /// asked about what ran already.
    ///
    /// # Errors
    /// [`Refused`]: `Stale`, or what the key was used for.
    pub async fn first_use(
        &self,
        key: Key,
        versions: Vec<(Version, u64)>,
        at: Timestamp,
    ) -> Result<(), Refused> {
        let asked = self.inner.writer.send(FirstUse { key, versions, at })?;
        asked.await.unwrap_or(Err(Refused::Fault(Fault::Closed)))
    }
}

struct FirstUse {
    key: Key,
    versions: Vec<(Version, u64)>,
    at: Timestamp,
}

impl Operation for FirstUse {
    type Value = ();
    type Error = Refused;
    const LANE: Lane = Lane::Begin;

    fn needs(&self, needs: &mut Needs) {
        needs.versions(&self.versions);
        needs.scopes.insert(self.key.scope);
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Refused> {
        if !versions::unchanged(tx, &self.versions)? {
            return Err(Refused::Stale);
        }
        unused(tx, &self.key, self.at)
    }
}

fn unused(tx: &mut Tx<'_>, key: &Key, at: Timestamp) -> Result<(), Refused> {
    match idempotency::find(tx, key, at)? {
        Found::Nothing => Ok(()),
        Found::Other => Err(Refused::IdempotencyMismatch),
        Found::InFlight => Err(Refused::IdempotencyInFlight),
        Found::Same(replay) => Err(Refused::Replay(replay)),
    }
}

fn admit(
    tx: &mut Tx<'_>,
    admission: &Admission,
    resource_server: Option<ResourceServerId>,
) -> Result<Admitted, Refused> {
    check(tx, admission)?;
    // From here on things change: what fails now fails the group.
    keep(tx, admission, resource_server).map_err(|fault| Refused::Fault(tx.doom(fault)))?;
    Ok(Admitted { action: admission.action, charges: admission.charges.clone() })
}

fn check(tx: &mut Tx<'_>, admission: &Admission) -> Result<(), Refused> {
    if !versions::unchanged(tx, &admission.versions)? {
        return Err(Refused::Stale);
    }
    if let Some(key) = &admission.idempotency {
        unused(tx, key, admission.at)?;
    }
    if let Some((approval, digest)) = &admission.approval {
        usable(tx, *approval, digest, admission.at)?.map_err(Refused::Approval)?;
    }
    if let Err(Exceeded { index, standing }) = counters::check(tx, &admission.charges, admission.at)? {
        return Err(Refused::Limit { index, standing });
    }
    // An id that comes twice is the caller's mistake; it must not fail its neighbours' group.
    if actions::exists(tx, admission.action)? {
        return Err(Refused::Fault(Fault::Conflict("primary key")));
    }
    Ok(())
}

fn keep(
    tx: &mut Tx<'_>,
    admission: &Admission,
    resource_server: Option<ResourceServerId>,
) -> Result<(), Fault> {
    if let Some((approval, _)) = admission.approval {
        tx.lease.fetched.approvals.remove(&approval);
        tx.later_one(&USE_APPROVAL, &params![approval])?;
    }
    if let Some(key) = &admission.idempotency {
        idempotency::bind(tx, key, admission.action, admission.at)?;
    }
    counters::charge(tx, &admission.charges, admission.action, admission.at, admission.until)?;
    tx.lease.observed.note(&admission.observed, admission.at);
    let charges = Taken::encode(&admission.charges);
    let scope = admission.idempotency.as_ref().map(|key| key.scope);
    if !tx.lease.shared {
        tx.lease.in_flight.insert(admission.action, Open::admitted(charges.clone(), scope));
    }
    tx.lease.actions.push(NewAction {
        id: admission.action,
        agent: admission.agent,
        user: admission.user,
        root: admission.root,
        grant: admission.grant,
        task: admission.task,
        connection: admission.connection,
        at: admission.at,
        charges,
        idempotency: scope,
        resource_server,
        intent: admission.intent.id(),
    });
    tx.record(admission.intent.clone())
}

/// Whether an approval can be used now for the request of this digest; else the code. An unknown one is one for a
/// different request: nobody learns which exist.
fn usable(
    tx: &mut Tx<'_>,
    approval: ApprovalId,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<Result<(), Code>, Fault> {
    let stored = match tx.lease.fetched.approvals.get(&approval) {
        Some(fetched) => fetched.clone(),
        None => tx.one(&APPROVAL, &params![approval], |row| read(row, 0))?,
    };
    let Some(StoredApproval { state, digest: bound, expires }) = stored else {
        return Ok(Err(Code::ApprovalMismatch));
    };
    Ok(match state.as_str() {
        _ if bound != *digest => Err(Code::ApprovalMismatch),
        "used" => Err(Code::ApprovalUsed),
        "denied" => Err(Code::ApprovalDenied),
        _ if expires <= now => Err(Code::ApprovalExpired),
        "approved" => Ok(()),
        "pending" => Err(Code::ApprovalRequired),
        _ => Err(Code::ApprovalExpired),
    })
}

/// What is stored of an approval.
#[derive(Debug, Clone)]
pub(crate) struct StoredApproval {
    state: String,
    digest: [u8; 32],
    expires: Timestamp,
}

/// What a row says whose columns begin at `at`.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<StoredApproval, Fault> {
    Ok(StoredApproval { state: row.text(at)?, digest: row.digest(at + 1)?, expires: row.time(at + 2)? })
}

/// For a group's needs: approvals.
pub(crate) fn approvals() -> &'static Keys {
    &APPROVALS
}
