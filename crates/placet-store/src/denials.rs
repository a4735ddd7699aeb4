//! Denials in the record, equal ones coalesced: the first is an entry, those that follow within its window are
//! counted, and the count becomes an entry when the window is over.
//!
//! Invariant: every denial that was answered is in an entry or in a durable count, and no count is lost.

use crate::{
    fault::Fault,
    needs::Needs,
    params,
    record::PreparedEntry,
    sql::{Keys, questions},
    statements,
    store::Store,
    tx::{Query, Row, Tx},
    writer::{Lane, Operation},
};
use placet_core::{id::NodeId, secret::sha256, time::Timestamp};
use std::time::Duration;

statements! {
    /// What is counted for a key.
    FIND = "SELECT count, until_at FROM denials WHERE key = ?1";
    /// Begins a window.
    OPEN = "INSERT INTO denials (key, sample, count, first_at, last_at, until_at) VALUES (?1, ?2, 0, ?3, ?3, ?4)
            ON CONFLICT (key) DO UPDATE SET sample = excluded.sample, count = 0, first_at = excluded.first_at,
            last_at = excluded.last_at, until_at = excluded.until_at";
    /// Counts one more.
    COUNT = "UPDATE denials SET count = count + 1, last_at = ?2 WHERE key = ?1";
    /// Windows that are over, with something counted.
    OVER = "SELECT key, sample, count, first_at, last_at FROM denials WHERE until_at <= ?1 AND count > 0
            ORDER BY until_at LIMIT ?2";
    /// Ends one that still has the count that its entry says.
    CLOSE = "DELETE FROM denials WHERE key = ?1 AND count = ?2";
    /// Drops windows that are over with nothing counted.
    DROP_EMPTY = "DELETE FROM denials WHERE until_at <= ?1 AND count = 0";
}

questions! {
    /// What is counted for keys, kept from being written down meanwhile.
    COUNTED[1] = "SELECT key, count, until_at FROM denials WHERE key IN (", "?", ", ", ") ORDER BY key FOR UPDATE";
}

/// Counts that one transaction of [`Store::flush_denials`] writes down.
const AT_ONCE: usize = 256;

/// Denials that were counted after the one that was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDenial {
    /// What makes them equal, and the node that answered them: a digest of both.
    pub key: [u8; 32],
    /// The leaf of the one that was written down.
    pub sample: Vec<u8>,
    /// How many came after it; at least 1.
    pub count: u64,
    /// When the written one was.
    pub first: Timestamp,
    /// When the last one was.
    pub last: Timestamp,
}

impl Store {
    /// Notes a denial: as `entry`, or as one more of those equal to it by `key` that came before within `window`.
    /// Answers when that is durable.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn append_denial(
        &self,
        key: [u8; 32],
        entry: PreparedEntry,
        at: Timestamp,
        window: Duration,
    ) -> Result<(), Fault> {
        let denial = Denial { key: stored_key(self.inner.node, &key), entry, at, window };
        self.inner.writer.send(denial)?.await.unwrap_or(Err(Fault::Closed))
    }

    /// Writes down the counts whose windows ended by `until`, each with the entry that `entry` makes for it; answers how
    /// many. A job calls it with the current time, a start with [`Timestamp::MAX`].
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn flush_denials(
        &self,
        until: Timestamp,
        mut entry: impl FnMut(&PendingDenial) -> PreparedEntry + Send,
    ) -> Result<usize, Fault> {
        let mut written = 0;
        loop {
            let over = self.read(move |reader| over(reader, until)).await?;
            if over.is_empty() {
                self.write(move |tx| tx.execute(&DROP_EMPTY, &params![until])).await?;
                return Ok(written);
            }
            written += over.len();
            let entries: Vec<_> = over.into_iter().map(|denial| (entry(&denial), denial)).collect();
            self.write(move |tx| {
                entries.iter().try_for_each(|(entry, denial)| close(tx, denial, entry.clone()))
            })
            .await?;
        }
    }
}

struct Denial {
    key: [u8; 32],
    entry: PreparedEntry,
    at: Timestamp,
    window: Duration,
}

impl Operation for Denial {
    type Value = ();
    type Error = Fault;
    const LANE: Lane = Lane::Begin;

    fn needs(&self, needs: &mut Needs) {
        needs.denials.insert(self.key);
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        note(tx, &self.key, &self.entry, self.at, self.window)
    }
}

/// Where a node counts: two nodes that answer equal denials have a count each, and never wait for one another.
fn stored_key(node: NodeId, key: &[u8; 32]) -> [u8; 32] {
    sha256(&[node.to_string().as_bytes(), key])
}

/// What is counted, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    count: i64,
    until: Timestamp,
}

/// What a row says whose columns begin at `at`.
pub(crate) fn read(row: &Row<'_>, at: usize) -> Result<Counted, Fault> {
    Ok(Counted { count: row.integer(at)?, until: row.time(at + 1)? })
}

/// For a group's needs: counts, locked until the transaction ends.
pub(crate) fn counted() -> &'static Keys {
    &COUNTED
}

fn note(
    tx: &mut Tx<'_>,
    key: &[u8; 32],
    entry: &PreparedEntry,
    at: Timestamp,
    window: Duration,
) -> Result<(), Fault> {
    let fetched = tx.lease.fetched.denials.get(key).copied();
    let known = match fetched {
        Some(fetched) => fetched,
        None => tx.one(&FIND, &params![key], |row| read(row, 0))?,
    };
    // A window that is over but has a count stays open until that is written down, or the count would be lost.
    let open = known.filter(|known| known.count > 0 || at < known.until);
    let after = match open {
        Some(known) => Counted { count: known.count + 1, ..known },
        None => Counted { count: 0, until: at.plus(window) },
    };
    if fetched.is_some() {
        tx.lease.fetched.denials.insert(*key, Some(after));
    }
    if open.is_some() {
        return tx.later(&COUNT, &params![key, at]);
    }
    tx.later(&OPEN, &params![key, entry.leaf(), at, after.until])?;
    tx.record(entry.clone())
}

fn over(query: &mut impl Query, until: Timestamp) -> Result<Vec<PendingDenial>, Fault> {
    query.query(&OVER, &params![until, AT_ONCE], |row: &Row<'_>| {
        Ok(PendingDenial {
            key: row.digest(0)?,
            sample: row.blob(1)?,
            count: row.count(2)?,
            first: row.time(3)?,
            last: row.time(4)?,
        })
    })
}

fn close(tx: &mut Tx<'_>, denial: &PendingDenial, entry: PreparedEntry) -> Result<(), Fault> {
    // One more may have come since it was read: then the next round writes it down, with the right count.
    match tx.execute(&CLOSE, &params![&denial.key, denial.count])? {
        0 => Ok(()),
        _ => tx.record(entry),
    }
}
