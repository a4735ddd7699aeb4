//! Folding SQLite's log into its file, on a thread of its own: the writer would otherwise stop for as long as thousands of
//! pages take to be written and to reach the disk.
//!
//! SQLite begins the log anew only once all of it is in the file, and a thread beside a busy writer never gets there. So
//! the thread folds what is there, and the writer then folds the little that has come meanwhile.
//!
//! Invariant: what is committed never rests on this: it is in the log until it is in the file.

use crate::fault::Fault;
use rusqlite::{Connection, hooks::Wal};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc::channel,
    },
    thread::{self, JoinHandle},
};

/// At how many pages the log is folded: 32 MB. Pages that are written over and over are then folded once.
pub(crate) const PAGES: u32 = 8000;
/// At how many times that many the writer waits for all of it: the thread can't keep up.
const TOO_MANY: u32 = 4;
const FOLD: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Nothing is to be done.
const IDLE: u8 = 0;
/// The thread folds.
const FOLDING: u8 = 1;
/// The thread has folded all but what came meanwhile.
const FOLDED: u8 = 2;

/// The thread that folds. It ends when the writer's connection is closed, and this waits for it.
#[derive(Debug)]
pub(crate) struct Folding {
    #[cfg(test)]
    state: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Folding {
    /// Has `writer`'s log folded from `pages` on, through another connection to the same file.
    ///
    /// # Errors
    /// There can be no thread, or no hook.
    pub(crate) fn of(writer: &mut Connection, beside: Connection, pages: u32) -> Result<Self, Fault> {
        let state = Arc::new(AtomicU8::new(IDLE));
        let (begin, begun) = channel::<()>();
        let (told, asked) = (Arc::clone(&state), Arc::clone(&state));
        let work = move || {
            while begun.recv().is_ok() {
                if let Err(error) = fold(&beside) {
                    tracing::debug!(%error, "the log was not folded");
                }
                told.store(FOLDED, Ordering::Release);
            }
        };
        let thread = thread::Builder::new().name("placet-folding".into()).spawn(work);
        let thread = thread.map_err(|error: io::Error| Fault::Io(error.to_string()))?;
        writer.wal_hook(Some(move |log: &mut Wal, long| {
            let long = u32::try_from(long).unwrap_or(0);
            if long < pages {
                // Where nothing came while the thread folded, the log has begun anew by itself.
                _ = asked.compare_exchange(FOLDED, IDLE, Ordering::AcqRel, Ordering::Acquire);
                return Ok(());
            }
            let at = asked.load(Ordering::Acquire);
            let begins = at == IDLE && {
                asked.store(FOLDING, Ordering::Release);
                begin.send(()).is_ok()
            };
            if at == FOLDED || (!begins && long >= pages.saturating_mul(TOO_MANY)) {
                // What can't be folded now, as somebody reads it, is folded later.
                _ = log.checkpoint();
                _ = asked.compare_exchange(FOLDED, IDLE, Ordering::AcqRel, Ordering::Acquire);
            }
            Ok(())
        }))?;
        Ok(Self {
            #[cfg(test)]
            state,
            thread: Some(thread),
        })
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        _ = self.thread.take().map(JoinHandle::join);
    }
}

fn fold(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row(FOLD, [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        path::Path,
        time::{Duration, Instant},
    };

    /// Whoever waits for it would wait for ever where it never comes to that.
    fn until(folding: &Folding, state: u8) {
        let end = Instant::now() + Duration::from_secs(20);
        while folding.state.load(Ordering::Acquire) != state {
            assert!(Instant::now() < end, "it never gets to {state}");
            thread::yield_now();
        }
    }

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection
    }

    #[test]
    fn a_log_that_the_thread_has_folded_whole_is_the_threads_again_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let mut writer = open(&path);
        let folding = Folding::of(&mut writer, open(&path), 20).unwrap();
        // The writer goes first, also where this fails.
        let (writer, folding) = &(writer, folding);
        writer.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)", []).unwrap();
        for _ in 0..3 {
            while folding.state.load(Ordering::Acquire) == IDLE {
                writer.execute("INSERT INTO t (filler) VALUES (zeroblob(3000))", []).unwrap();
            }
            // Nothing is written meanwhile, so that nothing is left for the writer.
            until(folding, FOLDED);
            writer.execute("INSERT INTO t (filler) VALUES (zeroblob(3000))", []).unwrap();
            until(folding, IDLE);
        }
    }

    #[test]
    fn the_log_is_begun_anew_while_writing_goes_on_and_nothing_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let mut writer = open(&path);
        let folding = Folding::of(&mut writer, open(&path), 20).unwrap();
        writer.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler BLOB)", []).unwrap();
        let log = path.with_extension("db-wal");
        let (mut rows, mut longest) = (0, 0);
        let end = Instant::now() + Duration::from_secs(60);
        // It shows in that the log stops growing: its beginning is written over.
        while rows < 1000 {
            assert!(Instant::now() < end, "{longest} bytes after {rows} rows");
            writer.execute("INSERT INTO t (filler) VALUES (zeroblob(3000))", []).unwrap();
            rows += 1;
            longest = fs::metadata(&log).unwrap().len().max(longest);
        }
        // Of 1000 rows with about two pages each.
        assert!(longest < 1000 * 4096, "{longest}");
        let count = |connection: &Connection| -> i64 {
            connection.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(count(&writer), rows);
        drop(writer);
        // It would wait for ever where the thread has not ended.
        drop(folding);
        assert!(!log.exists(), "the last to close has folded the rest");
        assert_eq!(count(&open(&path)), rows);
    }
}
