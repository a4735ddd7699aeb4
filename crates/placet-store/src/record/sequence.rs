//! The sequencer: puts what the nodes wrote into the one log, in steps, and signs the log's new size.
//!
//! It reads and hashes on a reader; what the writer does is short: compare the log's size with the one that was read
//! and set it, in one statement, then write tiles, run and checkpoint. So any node may put entries into the log.
//!
//! Invariant: the log only grows, by entries that are committed, each once, those of a node in their order.

use super::read::{Tiles, size};
use crate::{
    fault::Fault,
    params,
    reader::Reader,
    statements,
    store::Store,
    tx::{Query, Tx},
};
use placet_core::{
    record::{
        Checkpoint,
        merkle::{Frontier, TileId, TreeError},
    },
    time::Timestamp,
};

/// Entries that one step takes.
const STEP: usize = 1024;
/// In microseconds.
const HOUR: i64 = 3_600_000_000;

statements! {
    /// The nodes with the last entry that they signed.
    NODES = "SELECT node, seq FROM record_heads ORDER BY node";
    /// The last run of a node.
    LAST_RUN_OF = "SELECT first_seq + count FROM record_runs WHERE node = ?1 ORDER BY first_seq DESC LIMIT 1";
    /// A node's entries from a number on.
    HASHES = "SELECT leaf_hash FROM record_entries WHERE node = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3";
    /// Makes room for what is added, unless another sequencer has added something.
    GROW = "UPDATE record_size SET size = ?2 WHERE one = 1 AND size = ?1";
    /// The last run.
    LAST_RUN = "SELECT first, node, first_seq + count FROM record_runs ORDER BY first DESC LIMIT 1";
    /// Makes the last run longer.
    EXTEND = "UPDATE record_runs SET count = count + ?2 WHERE first = ?1";
    /// A new run.
    RUN = "INSERT INTO record_runs (first, node, first_seq, count) VALUES (?1, ?2, ?3, ?4)";
    /// Writes a tile, wider than before.
    TILE = "INSERT INTO record_tiles (level, idx, hashes) VALUES (?1, ?2, ?3)
            ON CONFLICT (level, idx) DO UPDATE SET hashes = excluded.hashes";
    /// Drops the checkpoints since a time: of each hour only the last is kept.
    THIN = "DELETE FROM record_checkpoints WHERE at >= ?1";
    /// The new checkpoint.
    CHECKPOINT = "INSERT INTO record_checkpoints (size, note, at) VALUES (?1, ?2, ?3)";
}

/// What one step adds.
struct Step {
    size: u64,
    runs: Vec<Run>,
    tiles: Vec<(TileId, Vec<u8>)>,
    checkpoint: Checkpoint,
}

struct Run {
    first: u64,
    node: String,
    first_seq: u64,
    count: u64,
}

impl Store {
    /// Takes up to 1024 entries into the log; answers how many. Less than that many are left when it answers less. Where
    /// another sequencer was faster, it answers 0 and has done nothing.
    ///
    /// # Errors
    /// [`Fault`]; [`Fault::Corrupt`] where tiles are missing or an entry that a head signed is not there.
    pub async fn sequence(&self, now: Timestamp) -> Result<usize, Fault> {
        let Some(step) = self.read(plan).await? else { return Ok(0) };
        let added = step.checkpoint.size.saturating_sub(step.size);
        // Signed here: the writer has better things to do.
        let note = step.checkpoint.sign(&self.inner.signer.now());
        let kept = self.write(move |tx| keep(tx, &step, &note, now)).await?;
        Ok(if kept { usize::try_from(added).unwrap_or(usize::MAX) } else { 0 })
    }
}

fn plan(reader: &mut Reader<'_>) -> Result<Option<Step>, Fault> {
    let size = size(reader)?;
    let mut hashes: Vec<[u8; 32]> = Vec::new();
    let mut runs = Vec::new();
    for (node, last) in reader.query(&NODES, &[], |row| Ok((row.text(0)?, row.count(1)?)))? {
        let next = reader.one(&LAST_RUN_OF, &params![&node], |row| row.count(0))?.unwrap_or(1);
        let room = STEP.saturating_sub(hashes.len());
        let wanted = (last + 1).saturating_sub(next).min(room as u64);
        if wanted == 0 {
            continue;
        }
        let found = reader.query(&HASHES, &params![&node, next, wanted], |row| row.digest(0))?;
        if found.len() as u64 != wanted {
            return Err(Fault::Corrupt(format!("entries of {node} from {next} on are missing")));
        }
        runs.push(Run { first: size + hashes.len() as u64, node, first_seq: next, count: wanted });
        hashes.extend(found);
    }
    if hashes.is_empty() {
        return Ok(None);
    }
    let mut frontier = Frontier::load(size, &Tiles::new(reader)).map_err(unreadable)?;
    let tiles = frontier.append(hashes);
    let checkpoint = Checkpoint { size: frontier.size(), root: frontier.root() };
    Ok(Some(Step { size, runs, tiles, checkpoint }))
}

fn keep(tx: &mut Tx<'_>, step: &Step, note: &str, now: Timestamp) -> Result<bool, Fault> {
    if tx.execute(&GROW, &params![step.size, step.checkpoint.size])? == 0 {
        return Ok(false);
    }
    for run in &step.runs {
        let last = tx.one(&LAST_RUN, &[], |row| Ok((row.count(0)?, row.text(1)?, row.count(2)?)))?;
        match last {
            // One node alone has one run that grows, not one for every second.
            Some((first, node, next)) if node == run.node && next == run.first_seq => {
                tx.later(&EXTEND, &params![first, run.count])?;
            }
            _ => {
                tx.later(&RUN, &params![run.first, &run.node, run.first_seq, run.count])?;
            }
        }
    }
    for (id, hashes) in &step.tiles {
        tx.later(&TILE, &params![id.level, id.index, hashes])?;
    }
    let hour = now.as_micros().div_euclid(HOUR) * HOUR;
    tx.later(&THIN, &params![hour])?;
    tx.later(&CHECKPOINT, &params![step.checkpoint.size, note, now])?;
    Ok(true)
}

/// A tree that can't be read is damage, unless the engine said something else.
pub(super) fn unreadable(error: TreeError<Fault>) -> Fault {
    match error {
        TreeError::Read(fault) => fault,
        other => Fault::Corrupt(other.to_string()),
    }
}
