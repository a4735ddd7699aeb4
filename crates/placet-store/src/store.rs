//! The handle that the server holds.
//!
//! Invariant: only one process writes as a node. On SQLite the file beside the database is locked until the store is
//! dropped; on PostgreSQL a process that opens the database as the same node ends the other one's writing.

use crate::{
    connection::Connection,
    fault::{Fault, OpenError},
    load::WriterLoad,
    postgres::{Address, Postgres},
    reader::{Reader, Readers},
    sqlite::Sqlite,
    tx::Tx,
    writer::{Identity, Writer},
};
use placet_core::{
    id::{ActionId, NodeId},
    record::RecordSigner,
    time::Timestamp,
};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// Where the data is.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file of this process alone.
    Sqlite {
        /// The file; made where it is missing, in a directory that exists.
        path: PathBuf,
        /// The most pages (4 KiB) that it may have; for tests of a full disk.
        max_pages: Option<u32>,
    },
    /// A server, which other nodes may use too.
    Postgres(Arc<Address>),
}

impl Database {
    /// A file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite { path: path.into(), max_pages: None }
    }

    /// A PostgreSQL server: `postgres://user:password@host:port/database?sslmode=…&sslrootcert=FILE`. Unless it is on
    /// this machine, it has to show a certificate for its name; `sslmode=disable` does without.
    ///
    /// # Errors
    /// [`OpenError::Address`].
    pub fn postgres(url: &str) -> Result<Self, OpenError> {
        Address::parse(url).map(Arc::new).map(Self::Postgres)
    }
}

/// What a store needs to be opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the data is.
    pub database: Database,
    /// The node that writes: the same as before for the same data directory, so that its chain goes on, and no other's.
    pub node: NodeId,
    /// A value that no other process has: of two that open a server's database as the same node, the later one writes,
    /// and the earlier one is told ([`Fault::Replaced`]).
    pub run: [u8; 16],
    /// Signs heads and checkpoints.
    pub signer: Arc<RecordSigner>,
    /// When it is.
    pub now: Timestamp,
    /// Connections that read; 4 is usual.
    pub readers: usize,
}

impl StoreOptions {
    /// The usual.
    pub fn new(
        database: Database,
        node: NodeId,
        run: [u8; 16],
        signer: Arc<RecordSigner>,
        now: Timestamp,
    ) -> Self {
        Self { database, node, run, signer, now, readers: 4 }
    }
}

/// The database, opened. Cloning is cheap; the last clone that is dropped closes it.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// In this order: the threads end before the lock is given up.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) writer: Writer,
    readers: Readers,
    pub(crate) node: NodeId,
    pub(crate) signer: Signer,
    _lock: Option<Lock>,
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the threads. It may take as long as a connection to
    /// a server does, and as long as another node's migration.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let StoreOptions { database, node, run, signer, now, readers } = options;
        let signer = Signer::new(signer);
        let identity = Identity { node, run, signer: signer.clone() };
        let readers = 0..readers.max(1);
        let (writer, reading, lock, place) = match database {
            Database::Sqlite { path, max_pages } => {
                let place = path.display().to_string();
                let unusable = |fault: Fault| match fault {
                    Fault::Io(reason) => OpenError::Unusable { place: place.clone(), reason },
                    fault => OpenError::Fault { place: place.clone(), fault },
                };
                let lock = lock(&path)?;
                let connection = Connection::Sqlite(Sqlite::writer(&path, max_pages).map_err(unusable)?);
                let writer = Writer::start(connection, place.clone(), identity, now)?;
                let reading = readers.map(|_| Sqlite::reader(&path).map(Connection::Sqlite));
                let reading = reading.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
                (writer, reading, Some(lock), place)
            }
            Database::Postgres(address) => {
                let place = address.to_string();
                let connect = || Connection::Postgres(Box::new(Postgres::new(Arc::clone(&address))));
                let writer = Writer::start(connect(), place.clone(), identity, now)?;
                (writer, readers.map(|_| connect()).collect(), None, place)
            }
        };
        let readers = Readers::start(reading).map_err(|fault| OpenError::Fault { place, fault })?;
        Ok(Self { inner: Arc::new(Inner { writer, readers, node, signer, _lock: lock.map(Lock) }) })
    }

    /// Signs with another key from the next group on. The key that signs is itself in the store: whoever opens it gives
    /// the key that a new installation would begin with, and the one that was found before anything is appended.
    pub fn sign_with(&self, signer: Arc<RecordSigner>) {
        self.inner.signer.replace(signer);
    }

    /// Runs `f` in a savepoint of the next group commit and answers after that commit. An `Err` rolls back what `f`
    /// did, and so does a panic. `f` keeps everybody waiting: it does no more than a few milliseconds of work. On
    /// a database server the closures of all nodes run one after another, so what `f` reads stays so until it has written.
    ///
    /// `f` may be run again after a transaction that was lost: only what its last run did and answered counts.
    ///
    /// # Errors
    /// What `f` answers, or a [`Fault`].
    pub async fn write<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.writer.run(f)?.await.unwrap_or_else(|_| Err(Fault::Closed.into()))
    }

    /// How busy the writer is.
    pub fn load(&self) -> WriterLoad {
        self.inner.writer.load()
    }

    /// Runs `f` on a snapshot of what is committed.
    ///
    /// # Errors
    /// What `f` answers, or a [`Fault`].
    pub async fn read<T, E, F>(&self, f: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
        F: FnOnce(&mut Reader<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.readers.run(f).await
    }

    /// Actions whose admission was kept although its caller was told that the database did not answer: nothing of them
    /// was performed. Whoever concludes them, as failed and given back, says so with [`Store::orphan_settled`].
    pub fn orphans(&self) -> Vec<ActionId> {
        self.inner.writer.orphans().all()
    }

    /// An action of [`Store::orphans`] was concluded.
    pub fn orphan_settled(&self, action: ActionId) {
        self.inner.writer.orphans().remove(action);
    }
}

/// The key that signs heads and checkpoints now.
#[derive(Debug, Clone)]
pub(crate) struct Signer(Arc<RwLock<Arc<RecordSigner>>>);

impl Signer {
    fn new(signer: Arc<RecordSigner>) -> Self {
        Self(Arc::new(RwLock::new(signer)))
    }

    fn replace(&self, signer: Arc<RecordSigner>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = signer;
    }

    pub(crate) fn now(&self) -> Arc<RecordSigner> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A held lock. It is given up explicitly: a child process that is just being started has a copy of the open file for
/// a moment, and closing ours alone would leave it locked that long.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        _ = self.0.unlock();
    }
}

/// Locks the file beside the database; the system gives the lock up when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let unusable = |error: std::io::Error| OpenError::Unusable {
        place: path.display().to_string(),
        reason: error.to_string(),
    };
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
