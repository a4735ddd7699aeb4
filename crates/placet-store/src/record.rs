//! The record's storage: each node's gap-free chain of entries, written in the same transaction as what it records.
//!
//! The caller encodes and hashes an entry ([`PreparedEntry::new`]) on its own thread; the writer only numbers it,
//! extends the chain, and signs the head once for each batch.
//!
//! Invariant: an entry exists iff the transaction that it records does, and its number follows the one before.

mod read;
mod sequence;

pub use read::{
    Proof, StoredEntry, StoredHead, StoredRun, chain, check_tiles, checkpoint, consistency, entries, erase,
    find, heads, prove, runs, size,
};

use crate::{
    fault::Fault,
    params,
    sql::inserts,
    statements,
    store::Store,
    tx::{Query as _, Row, Tx, Value},
    writer::{Lane, Operation},
};
use placet_core::{
    id::{AgentId, EventId, NodeId},
    record::{EntryType, Envelope, Head, RecordSigner, chain::sign_head, merkle::leaf_hash},
    time::Timestamp,
};
use std::sync::Arc;

statements! {
    /// The last entry that a node signed.
    HEAD = "SELECT seq, hash FROM record_heads WHERE node = ?1";
    /// The last entry that a node has.
    LAST = "SELECT seq, chain_hash FROM record_entries WHERE node = ?1 ORDER BY seq DESC LIMIT 1";
    /// Replaces the signed head.
    SIGN = "INSERT INTO record_heads (node, seq, hash, signature) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (node) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, signature = excluded.signature";
}

/// The statements of the modules below.
pub(crate) const BELOW: [&[crate::sql::Statement]; 2] = [read::STATEMENTS, sequence::STATEMENTS];

inserts! {
    /// Entries.
    ENTRIES[9] = "INSERT INTO record_entries (node, seq, id, type, at, agent, leaf, leaf_hash, chain_hash)";
    /// Sealed bodies.
    BODIES[4] = "INSERT INTO record_bodies (node, seq, sealed, keep_until)";
}

/// An entry that is ready to be numbered. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedEntry {
    id: EventId,
    entry_type: EntryType,
    at: Timestamp,
    agent: Option<AgentId>,
    leaf: Arc<[u8]>,
    leaf_hash: [u8; 32],
    sealed: Option<Arc<[u8]>>,
    keep_until: Option<Timestamp>,
}

impl PreparedEntry {
    /// Encodes and hashes `envelope`; `sealed` is its body as `placet_core::record::Body::seal` made it.
    pub fn new(envelope: &Envelope, sealed: Option<Vec<u8>>) -> Self {
        let leaf = envelope.encode();
        Self {
            id: envelope.id,
            entry_type: envelope.entry_type,
            at: envelope.at,
            agent: envelope.agent,
            leaf_hash: leaf_hash(&leaf),
            leaf: leaf.into(),
            sealed: sealed.map(Into::into),
            keep_until: None,
        }
    }

    /// The same with a body that is kept until then; `None` is the installation's default.
    #[must_use]
    pub fn kept_until(mut self, until: Option<Timestamp>) -> Self {
        self.keep_until = until;
        self
    }

    /// The entry's id.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// The canonical bytes.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }
}

impl Store {
    /// Appends entries that record nothing but themselves, in this order; answers when they are durable.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn append(&self, entries: Vec<PreparedEntry>) -> Result<(), Fault> {
        self.inner.writer.send(Appended(entries))?.await.unwrap_or(Err(Fault::Closed))
    }
}

struct Appended(Vec<PreparedEntry>);

impl Operation for Appended {
    type Value = ();
    type Error = Fault;
    const LANE: Lane = Lane::Begin;

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        self.0.iter().try_for_each(|entry| tx.record(entry.clone()))
    }
}

/// An entry with its place, not yet written.
#[derive(Debug)]
pub(crate) struct Placed {
    entry: PreparedEntry,
    head: Head,
}

impl Placed {
    /// Puts `entry` behind `head`.
    pub(crate) fn behind(head: &Head, entry: PreparedEntry) -> Self {
        Self { head: head.next(&entry.leaf_hash), entry }
    }

    /// The chain with this entry.
    pub(crate) fn head(&self) -> Head {
        self.head
    }
}

/// The head that a node goes on from.
pub(crate) fn head(tx: &mut Tx<'_>, node: NodeId) -> Result<Head, Fault> {
    let read = |row: &Row<'_>| Ok((row.count(0)?, row.digest(1)?));
    let signed = tx.one(&HEAD, &params![node], read)?;
    let last = tx.one(&LAST, &params![node], read)?;
    // Going on from whatever is left would hide that the tail was cut off.
    if signed != last {
        return Err(Fault::Corrupt(format!("the record of {node} does not end where its signed head says")));
    }
    Ok(signed.map_or_else(|| Head::genesis(node), |(seq, hash)| Head { node, seq, hash }))
}

/// Writes entries with their bodies.
pub(crate) fn write(tx: &mut Tx<'_>, placed: &[Placed]) -> Result<(), Fault> {
    let Some(first) = placed.first() else { return Ok(()) };
    let node = first.head.node.to_string();
    let mut entries = Vec::with_capacity(placed.len() * ENTRIES.columns());
    let mut bodies = Vec::new();
    for Placed { entry, head } in placed {
        entries.extend([
            Value::from(&node),
            head.seq.into(),
            entry.id.into(),
            entry.entry_type.as_str().into(),
            entry.at.into(),
            entry.agent.into(),
            entry.leaf.as_ref().into(),
            (&entry.leaf_hash).into(),
            head.hash.into(),
        ]);
        if let Some(sealed) = &entry.sealed {
            bodies.extend([
                Value::from(&node),
                head.seq.into(),
                sealed.as_ref().into(),
                entry.keep_until.into(),
            ]);
        }
    }
    tx.insert(&ENTRIES, &entries)?;
    tx.insert(&BODIES, &bodies)
}

/// Signs the head.
pub(crate) fn sign(tx: &mut Tx<'_>, head: &Head, signer: &RecordSigner) -> Result<(), Fault> {
    let note = sign_head(head, signer);
    tx.later(&SIGN, &params![head.node, head.seq, &head.hash, note])
}
