//! A store in a temporary directory, with ids, entries and admissions that need no care.

use placet_core::{
    id::{ActionId, AgentId, GrantId, Id, Kind, NodeId},
    ledger::{Charge, Meter, Window},
    record::{EntryType, Envelope, RecordSigner},
    time::Timestamp,
};
use placet_store::{
    Admission, OpenError, PreparedEntry, Store, StoreOptions, actions::ActionState, conclude::Conclusion,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// An id that no other call in this process answers.
pub fn fresh<K: Kind>() -> Id<K> {
    from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The id made of this number.
pub fn from<K: Kind>(number: u64) -> Id<K> {
    let mut entropy = [0; 10];
    entropy[2..].copy_from_slice(&number.to_be_bytes());
    Id::from_parts(at(0), entropy)
}

/// Seconds after some moment.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds)
}

pub fn node() -> NodeId {
    from(1)
}

pub fn signer() -> Arc<RecordSigner> {
    Arc::new(RecordSigner::from_seed("placet.test/record", &[7; 32]).unwrap())
}

pub fn entry(entry_type: EntryType) -> PreparedEntry {
    PreparedEntry::new(&Envelope::new(fresh::<placet_core::id::kind::Event>(), entry_type, at(0)), None)
}

pub fn intent() -> PreparedEntry {
    entry(EntryType::ActionIntent)
}

/// The charge of `amount` against `counter`, at most `max`, in the window from `start` seconds on for a minute.
pub fn charge(counter: &str, start: i64, amount: i64, max: i64) -> Charge {
    let window = Window { start: at(start), end: at(start + 60) };
    Charge { counter: counter.into(), meter: Meter::Window, window, amount, max, limit: 0 }
}

pub fn admission(charges: Vec<Charge>) -> Admission {
    let grant: GrantId = from(3);
    Admission {
        action: fresh::<placet_core::id::kind::Action>(),
        agent: from::<placet_core::id::kind::Agent>(2),
        user: None,
        root: grant,
        grant,
        task: None,
        connection: None,
        at: at(0),
        until: at(30),
        versions: vec![],
        charges,
        observed: vec![],
        approval: None,
        idempotency: None,
        intent: intent(),
    }
}

pub fn agent() -> AgentId {
    from(2)
}

pub fn conclusion(action: ActionId, state: ActionState, give_back: bool) -> Conclusion {
    Conclusion {
        action,
        from: ActionState::Pending,
        state,
        status: Some(200),
        at: at(1),
        give_back,
        answer: None,
        outcome: entry(EntryType::ActionOutcome),
    }
}

pub fn options(path: &Path) -> StoreOptions {
    StoreOptions { readers: 2, ..StoreOptions::new(path, node(), signer(), at(0)) }
}

/// A directory with a database.
pub struct World {
    pub directory: TempDir,
    pub path: PathBuf,
}

impl World {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("placet.db");
        Self { directory, path }
    }

    pub fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(options(&self.path))
    }

    /// A connection of the test's own, without foreign keys: for rows that other modules make, and for tampering.
    pub fn raw(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.pragma_update(None, "foreign_keys", "OFF").unwrap();
        connection
    }
}

/// Checks that the entries of every node are gap-free, chained and end at the signed head; answers how many there are.
pub fn verify_chain(path: &Path) -> u64 {
    use placet_core::record::{Head, chain::verify_head, merkle::leaf_hash};
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT seq, leaf, leaf_hash, chain_hash FROM record_entries ORDER BY seq")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut head = Head::genesis(node());
    while let Some(row) = rows.next().unwrap() {
        let leaf: Vec<u8> = row.get(1).unwrap();
        let hash: [u8; 32] = row.get(2).unwrap();
        assert_eq!(leaf_hash(&leaf), hash);
        head = head.next(&hash);
        assert_eq!(i64::try_from(head.seq).unwrap(), row.get::<_, i64>(0).unwrap());
        assert_eq!(head.hash, row.get::<_, [u8; 32]>(3).unwrap());
    }
    if head.seq > 0 {
        let note: String =
            connection.query_row("SELECT signature FROM record_heads", [], |row| row.get(0)).unwrap();
        assert_eq!(verify_head(&note, &signer().public_key()).unwrap(), head);
    }
    head.seq
}
