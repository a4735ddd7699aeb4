//! What is used of each limit: read once, then kept in the writer's memory and written through with each group.
//!
//! Counting in memory is exact because the writer holds a lease on every counter: on SQLite it is the only one that
//! changes them. One row is written for each counter that a group touched, however many actions were charged to it.
//!
//! Invariant: a counter never passes the maximum of a charge that it took, and never falls below zero.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
};
use placet_core::{
    ledger::{Charge, Window},
    time::Timestamp,
};
use std::collections::HashMap;

statements! {
    /// What is used.
    USED = "SELECT used FROM counters WHERE counter = ?1 AND window_start = ?2";
    /// Writes what is used.
    WRITE = "INSERT INTO counters (counter, window_start, window_end, used) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (counter, window_start) DO UPDATE SET used = excluded.used";
    /// Drops windows that are over.
    PRUNE = "DELETE FROM counters WHERE window_end < ?1";
}

/// What is used of a counter in a window, as of the last commit.
///
/// # Errors
/// What the engine met.
pub fn used(query: &mut impl Query, counter: &str, window: Window) -> Result<i64, Fault> {
    Ok(query.one(&USED, &params![counter, window.start], |row| row.integer(0))?.unwrap_or(0))
}

/// Drops the rows of windows that ended before `before`; answers how many. What was charged there can no longer be
/// given back, and need not be.
///
/// # Errors
/// What the engine met.
pub fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Fault> {
    tx.lease.counters.clear();
    tx.execute(&PRUNE, &params![before])
}

/// The writer's memory of counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    slots: HashMap<String, Vec<Slot>>,
    dirty: Vec<(String, i64)>,
}

#[derive(Debug, Clone)]
struct Slot {
    start: i64,
    end: i64,
    used: i64,
    dirty: bool,
}

impl Counters {
    /// Forgets everything; nothing may be unwritten.
    fn clear(&mut self) {
        self.slots.clear();
        self.dirty.clear();
    }

    /// Forgets everything where more than `keys` are remembered.
    pub(crate) fn forget_above(&mut self, keys: usize) {
        if self.slots.len() > keys {
            self.clear();
        }
    }

    fn slot(&mut self, counter: &str, start: i64) -> Option<&mut Slot> {
        self.slots.get_mut(counter)?.iter_mut().find(|slot| slot.start == start)
    }

    fn change(&mut self, counter: &str, start: i64, used: i64) {
        let Some(slot) = self.slot(counter, start) else { return };
        slot.used = used;
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push((counter.to_owned(), start));
        }
    }
}

/// A charge that doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The charge's place in the list.
    pub(crate) index: usize,
    /// What was used before it.
    pub(crate) used: i64,
}

/// Checks that all charges fit, each added to what the ones before it in the list would have used. Changes nothing.
pub(crate) fn check(tx: &mut Tx<'_>, charges: &[Charge]) -> Result<Result<(), Exceeded>, Fault> {
    for (index, charge) in charges.iter().enumerate() {
        let stored = load(tx, &charge.counter, charge.window)?;
        let same =
            |other: &&Charge| other.counter == charge.counter && other.window.start == charge.window.start;
        let earlier = charges.iter().take(index).filter(same).map(|other| other.amount);
        let used = earlier.fold(stored, i64::saturating_add);
        if charge.amount < 0 || !charge.fits(used) {
            return Ok(Err(Exceeded { index, used }));
        }
    }
    Ok(Ok(()))
}

/// Adds charges that were checked.
pub(crate) fn charge(tx: &mut Tx<'_>, charges: &[Charge]) -> Result<(), Fault> {
    for charge in charges {
        let used = load(tx, &charge.counter, charge.window)?;
        let after = used.saturating_add(charge.amount);
        tx.lease.counters.change(&charge.counter, charge.window.start.as_micros(), after);
    }
    Ok(())
}

/// Takes amounts back from the windows that they were charged in, over or not.
pub(crate) fn give_back(tx: &mut Tx<'_>, taken: &[Taken]) -> Result<(), Fault> {
    for Taken { counter, window, amount } in taken {
        let used = load(tx, counter, *window)?;
        // A window that was pruned has nothing left to take from.
        if used > 0 {
            let after = used.saturating_sub(*amount).max(0);
            tx.lease.counters.change(counter, window.start.as_micros(), after);
        }
    }
    Ok(())
}

/// Writes what changed.
pub(crate) fn write(tx: &mut Tx<'_>) -> Result<(), Fault> {
    for (counter, start) in std::mem::take(&mut tx.lease.counters.dirty) {
        let Some(slot) = tx.lease.counters.slot(&counter, start) else { continue };
        slot.dirty = false;
        let (end, used) = (slot.end, slot.used);
        tx.execute(&WRITE, &params![counter, start, end, used])?;
    }
    Ok(())
}

fn load(tx: &mut Tx<'_>, counter: &str, window: Window) -> Result<i64, Fault> {
    let start = window.start.as_micros();
    if let Some(slot) = tx.lease.counters.slot(counter, start) {
        return Ok(slot.used);
    }
    let used = used(tx, counter, window)?;
    let slot = Slot { start, end: window.end.as_micros(), used, dirty: false };
    let slots = tx.lease.counters.slots.entry(counter.to_owned()).or_default();
    // Windows that are long over are read again if somebody gives back to them.
    if slots.len() >= 8 && slots.iter().all(|slot| !slot.dirty) {
        slots.clear();
    }
    slots.push(slot);
    Ok(used)
}

/// What an action was charged, as its row keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    counter: String,
    window: Window,
    amount: i64,
}

impl Taken {
    /// The charges in the form that [`Taken::decode`] reads; `None` where there are none.
    pub(crate) fn encode(charges: &[Charge]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(charges.len() * 64);
        for charge in charges {
            let length = u32::try_from(charge.counter.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(charge.counter.as_bytes());
            for number in [charge.window.start.as_micros(), charge.window.end.as_micros(), charge.amount] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Reads what [`Taken::encode`] wrote.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<Self>, Fault> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (one, rest) = Self::split(bytes).ok_or(Fault::Unreadable("an action's charges"))?;
            all.push(one);
            bytes = rest;
        }
        Ok(all)
    }

    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (counter, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let (start, rest) = rest.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (amount, rest) = rest.split_first_chunk::<8>()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes));
        let window = Window { start: time(start), end: time(end) };
        let counter = std::str::from_utf8(counter).ok()?.to_owned();
        Some((Self { counter, window, amount: i64::from_be_bytes(*amount) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn charges_are_read_as_written(rows in prop::collection::vec((".{0,20}", any::<[i64; 3]>()), 0..5)) {
            let charges: Vec<_> = rows.iter().map(|(counter, [start, end, amount])| Charge {
                counter: counter.clone(),
                window: Window { start: Timestamp::from_micros(*start), end: Timestamp::from_micros(*end) },
                amount: *amount, max: 0, limit: 0,
            }).collect();
            let taken = Taken::decode(&Taken::encode(&charges).unwrap_or_default()).unwrap();
            prop_assert_eq!(taken.len(), charges.len());
            for (taken, charge) in taken.iter().zip(&charges) {
                prop_assert_eq!(&taken.counter, &charge.counter);
                prop_assert_eq!(taken.window, charge.window);
                prop_assert_eq!(taken.amount, charge.amount);
            }
        }

        #[test]
        fn damaged_charges_are_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            _ = Taken::decode(&bytes);
        }
    }
}
