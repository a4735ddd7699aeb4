//! What the writer knows without asking the database.
//!
//! On SQLite it is alone, and keeps what it has read. On PostgreSQL other nodes write too: there it knows only what it
//! has locked, and forgets that with each transaction. The head of its own chain and its own batches nobody else changes.
//!
//! Invariant: what is in here is what the database would answer inside the current transaction.

use crate::{
    actions::NewAction,
    conclude::Open,
    counters::Counters,
    issue,
    needs::Fetched,
    observations::Noted,
    record::{Placed, PreparedEntry},
    versions::Version,
};
use placet_core::{
    id::{ActionId, NodeId},
    record::Head,
};
use std::collections::HashMap;

/// How many keys of each kind are kept before all are forgotten; all of it can be read again.
const REMEMBERED: usize = 100_000;

/// The writer's memory.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) node: NodeId,
    pub(crate) head: Head,
    pub(crate) batch: u64,
    pub(crate) placed: Vec<Placed>,
    pub(crate) actions: Vec<NewAction>,
    pub(crate) issued: Vec<issue::New>,
    pub(crate) versions: HashMap<Version, u64>,
    pub(crate) counters: Counters,
    pub(crate) observed: Noted,
    pub(crate) fetched: Fetched,
    /// Actions in flight that this node has admitted, where nobody else can end them.
    pub(crate) in_flight: HashMap<ActionId, Open>,
    /// Whether others write too.
    pub(crate) shared: bool,
}

impl Lease {
    /// What a node knows that has read its head and its last batch.
    pub(crate) fn new(node: NodeId, head: Head, batch: u64, shared: bool) -> Self {
        Self {
            node,
            head,
            batch,
            placed: Vec::new(),
            actions: Vec::new(),
            issued: Vec::new(),
            versions: HashMap::new(),
            counters: Counters::default(),
            observed: Noted::default(),
            fetched: Fetched::default(),
            in_flight: HashMap::new(),
            shared,
        }
    }

    /// Numbers an entry; it is written with the group.
    pub(crate) fn stage(&mut self, entry: PreparedEntry) {
        let placed = Placed::behind(&self.head, entry);
        self.head = placed.head();
        self.placed.push(placed);
    }

    /// Forgets what may have changed since the last transaction.
    pub(crate) fn begin(&mut self) {
        self.fetched = Fetched::default();
        if self.shared || self.versions.len() > REMEMBERED {
            self.versions.clear();
        }
        if self.shared || self.in_flight.len() > REMEMBERED {
            self.in_flight.clear();
        }
        self.counters.forget_above(if self.shared { 0 } else { REMEMBERED });
    }

    /// Forgets what a savepoint that was rolled back may have read of its own changes.
    pub(crate) fn roll_back(&mut self, head: Head, placed: usize) {
        self.placed.truncate(placed);
        self.head = head;
        self.versions.clear();
        self.counters.clear();
        self.in_flight.clear();
        self.fetched = Fetched::default();
    }
}
