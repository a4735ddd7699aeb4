//! A store in a temporary directory, with ids, entries and admissions that need no care.

use placet_core::{
    id::{ActionId, AgentId, GrantId, Id, Kind, NodeId},
    ledger::{Charge, Meter, Window},
    record::{EntryType, Envelope, RecordSigner},
    time::Timestamp,
};
use placet_store::{
    Admission, Database, OpenError, PreparedEntry, Store, StoreOptions, actions::ActionState,
    conclude::Conclusion,
};
use placet_testkit::Cluster;
use std::{
    collections::BTreeMap,
    path::PathBuf,
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

/// Which engine a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database, with what is needed to open it, and to look into it from outside.
pub struct World {
    pub directory: TempDir,
    pub path: PathBuf,
    pub postgres: Option<placet_testkit::Database>,
}

/// What opens a database: a file, or a server's.
pub fn place(place: &str) -> Database {
    if place.starts_with("postgres://") {
        Database::postgres(place).unwrap()
    } else {
        Database::sqlite(place)
    }
}

pub fn options(database: Database) -> StoreOptions {
    let run = fresh::<placet_core::id::kind::Event>().to_string().as_bytes()[14..30].try_into().unwrap();
    StoreOptions { readers: 2, ..StoreOptions::new(database, node(), run, signer(), at(0)) }
}

impl World {
    pub fn new(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("placet.db");
        let postgres = (engine == Engine::Postgres).then(|| Cluster::of_this_process().database());
        Self { directory, path, postgres }
    }

    pub fn place(&self) -> String {
        self.postgres.as_ref().map_or_else(|| self.path.to_str().unwrap().to_owned(), |server| server.url())
    }

    pub fn options(&self) -> StoreOptions {
        options(place(&self.place()))
    }

    pub fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Store, OpenError> {
        Store::open(self.options())
    }

    /// Another node on the same database.
    pub fn open_as(&self, node: NodeId) -> Store {
        Store::open(StoreOptions { node, ..self.options() }).unwrap()
    }

    /// Runs statements from outside, without foreign keys: for rows that other modules make, and for tampering.
    pub fn run(&self, sql: &str) {
        match &self.postgres {
            Some(server) => server.run(&format!("SET session_replication_role = replica; {sql}")),
            None => self.raw().execute_batch(sql).unwrap(),
        }
    }

    /// The first column of every row.
    pub fn column(&self, sql: &str) -> Vec<String> {
        match &self.postgres {
            Some(server) => server.column(sql),
            None => {
                let raw = self.raw();
                let mut statement = raw.prepare(sql).unwrap();
                let text = |row: &rusqlite::Row<'_>| match row.get_ref(0).unwrap() {
                    rusqlite::types::ValueRef::Integer(number) => Ok(number.to_string()),
                    other => Ok(other.as_str().unwrap().to_owned()),
                };
                statement.query_map([], text).unwrap().map(Result::unwrap).collect()
            }
        }
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.column(sql)[0].parse().unwrap()
    }

    /// Bytes as they are written in a statement.
    pub fn literal(&self, bytes: &[u8]) -> String {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.postgres.is_some() { format!("'\\x{hex}'") } else { format!("x'{hex}'") }
    }

    fn raw(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(&self.path).unwrap();
        connection.pragma_update(None, "foreign_keys", "OFF").unwrap();
        connection
    }

    /// Checks that the entries of every node are gap-free, chained and end at the signed head; answers how many there
    /// are.
    pub fn verify_chain(&self) -> u64 {
        use placet_core::record::{Head, chain::verify_head, merkle::leaf_hash};
        let hex = |column: &str| {
            if self.postgres.is_some() {
                format!("encode({column}, 'hex')")
            } else {
                format!("hex({column})")
            }
        };
        let sql = format!(
            "SELECT node || ' ' || seq || ' ' || {} || ' ' || {} || ' ' || {} FROM record_entries ORDER BY node, seq",
            hex("leaf"),
            hex("leaf_hash"),
            hex("chain_hash"),
        );
        let mut heads: BTreeMap<NodeId, Head> = BTreeMap::new();
        let mut entries = 0;
        for row in self.column(&sql) {
            let parts: Vec<_> = row.split(' ').collect();
            let node: NodeId = parts[0].parse().unwrap();
            let head = heads.entry(node).or_insert_with(|| Head::genesis(node));
            let hash: [u8; 32] = unhex(parts[3]).try_into().unwrap();
            assert_eq!(leaf_hash(&unhex(parts[2])), hash);
            *head = head.next(&hash);
            assert_eq!(head.seq.to_string(), parts[1]);
            assert_eq!(head.hash.as_slice(), unhex(parts[4]));
            entries += 1;
        }
        for (node, head) in heads {
            let note = &self.column(&format!("SELECT signature FROM record_heads WHERE node = '{node}'"))[0];
            assert_eq!(verify_head(note, &signer().public_key()).unwrap(), head);
        }
        entries
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Runs each of these tests on both engines.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(crate::world::World::new(crate::world::Engine::Sqlite)).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name(crate::world::World::new(crate::world::Engine::Postgres)).await;
            })*
        }
    };
}
pub(crate) use on_both_engines;
