//! The handle that the server holds.
//!
//! Invariant: only one process has a database open: the file beside it is locked until the store is dropped.

use crate::{
    fault::{Fault, OpenError},
    load::WriterLoad,
    migrate,
    reader::{Reader, Readers},
    sqlite,
    tx::Tx,
    writer::{Lane, Writer},
};
use placet_core::{id::NodeId, record::RecordSigner, time::Timestamp};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// What a store needs to be opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file; made where it is missing, in a directory that exists.
    pub path: PathBuf,
    /// The node that writes: the same as before for the same file, so that its chain goes on.
    pub node: NodeId,
    /// Signs heads and checkpoints.
    pub signer: Arc<RecordSigner>,
    /// When it is.
    pub now: Timestamp,
    /// Connections that read; 4 is usual.
    pub readers: usize,
    /// The most pages (4 KiB) that the file may have; for tests of a full disk.
    pub max_pages: Option<u32>,
}

impl StoreOptions {
    /// The usual.
    pub fn new(path: impl Into<PathBuf>, node: NodeId, signer: Arc<RecordSigner>, now: Timestamp) -> Self {
        Self { path: path.into(), node, signer, now, readers: 4, max_pages: None }
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
    pub(crate) signer: Signer,
    _lock: Lock,
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the threads.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let StoreOptions { path, node, signer, now, readers, max_pages } = options;
        let fault = |fault| OpenError::Fault { path: path.clone(), fault };
        let lock = lock(&path)?;
        let unusable = |fault: Fault| match fault {
            Fault::Io(reason) => OpenError::Unusable { path: path.clone(), reason },
            other => OpenError::Fault { path: path.clone(), fault: other },
        };
        let mut connection = sqlite::writer(&path, max_pages).map_err(unusable)?;
        migrate::run(&mut connection, &path, now)?;
        let reading =
            (0..readers.max(1)).map(|_| sqlite::reader(&path)).collect::<Result<_, _>>().map_err(unusable)?;
        let readers = Readers::start(reading).map_err(fault)?;
        let signer = Signer::new(signer);
        let writer = Writer::start(connection, node, signer.clone()).map_err(fault)?;
        Ok(Self { inner: Arc::new(Inner { writer, readers, signer, _lock: Lock(lock) }) })
    }

    /// Signs with another key from the next group on. The key that signs is itself in the store: whoever opens it gives
    /// the key that a new installation would begin with, and the one that was found before anything is appended.
    pub fn sign_with(&self, signer: Arc<RecordSigner>) {
        self.inner.signer.replace(signer);
    }

    /// Runs `f` in a savepoint of the next group commit and answers after that commit. An `Err` rolls back what `f`
    /// did, and so does a panic. `f` keeps everybody waiting: it does no more than a few milliseconds of work.
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
        self.inner.writer.send(Lane::Closure, f)?.await.unwrap_or_else(|_| Err(Fault::Closed.into()))
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
    let unusable =
        |error: std::io::Error| OpenError::Unusable { path: path.to_owned(), reason: error.to_string() };
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
