//! What is used of each limit: read once, then kept in the writer's memory and written through with each group.
//!
//! Counting in memory is exact because the writer holds a lease on every counter: on SQLite it is the only one that
//! changes them, on PostgreSQL it has locked their rows until the transaction ends (`needs.rs`). One row is written for each counter that a group touched, however many actions were charged to it.
//!
//! A row of a rate begins at 0 and holds the time at which its bucket is empty: the whole microseconds as the end of
//! its window (so that what is long empty is dropped like a window that is over), the parts of one in `used`. Leases
//! are rows of their own; those of one counter are counted under the lock of its row here, which says nothing else.
//!
//! Invariant: a counter never passes the maximum of a charge that it took, and never falls below zero.

use crate::{
    fault::Fault,
    leases, needs, params,
    sql::{Keys, Rows, inserts, questions},
    statements,
    tx::{Query, Row, Tx, Value},
};
use placet_core::{
    id::ActionId,
    ledger::{Charge, Emptied, Meter, Standing, Window},
    time::Timestamp,
};
use std::collections::{BTreeMap, HashMap};

statements! {
    /// What is used.
    USED = "SELECT window_end, used FROM counters WHERE counter = ?1 AND window_start = ?2";
    /// Drops windows that are over.
    PRUNE = "DELETE FROM counters WHERE window_end < ?1";
}

inserts! {
    /// Writes what is used.
    WRITE[4] = "INSERT INTO counters (counter, window_start, window_end, used)",
        then "ON CONFLICT (counter, window_start) DO UPDATE SET window_end = excluded.window_end, used = excluded.used";
    /// Rows that are to be locked.
    MADE[4] = "INSERT INTO counters (counter, window_start, window_end, used)",
        then "ON CONFLICT (counter, window_start) DO NOTHING";
}

questions! {
    /// Counters that nobody else changes until the transaction ends.
    LOCKED[2] = "SELECT counter, window_start, window_end, used FROM counters WHERE ",
        "(counter = ? AND window_start = ?)", " OR ", " ORDER BY counter, window_start FOR UPDATE";
}

/// What is used of a counter in a window, as of the last commit.
///
/// # Errors
/// What the engine met.
pub fn used(query: &mut impl Query, counter: &str, window: Window) -> Result<i64, Fault> {
    Ok(stored(query, counter, window)?.used)
}

/// How a charge's counter stands at `at`, as of the last commit.
///
/// # Errors
/// What the engine met.
pub fn standing(query: &mut impl Query, charge: &Charge, at: Timestamp) -> Result<Standing, Fault> {
    Ok(match charge.meter {
        Meter::Window => {
            let used = stored(query, &charge.counter, charge.window)?.used;
            Standing { used, retry_at: charge.anew(used) }
        }
        Meter::Rate(_) => of_rate(charge, stored(query, &charge.counter, charge.window)?, at),
        Meter::Concurrent => Standing { used: leases::count(query, &charge.counter, at)?, retry_at: None },
    })
}

/// Drops the rows of windows that ended before `before`, of buckets that were empty by then and of leases that were
/// over; answers how many. What was charged there can no longer be given back, and need not be.
///
/// # Errors
/// What the engine met.
pub fn prune(tx: &mut Tx<'_>, before: Timestamp) -> Result<u64, Fault> {
    tx.lease.counters.clear();
    Ok(tx.execute(&PRUNE, &params![before])? + leases::prune(tx, before)?)
}

fn stored(query: &mut impl Query, counter: &str, window: Window) -> Result<State, Fault> {
    let read = |row: &Row<'_>| Ok(State { end: row.integer(0)?, used: row.integer(1)? });
    let unused = State { end: window.end.as_micros(), used: 0 };
    Ok(query.one(&USED, &params![counter, window.start], read)?.unwrap_or(unused))
}

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    end: i64,
    used: i64,
}

impl State {
    /// A row of a rate; one that was never written was always empty.
    fn emptied(self) -> Emptied {
        let unwritten = self.end >= Timestamp::MAX.as_micros();
        if unwritten { Emptied::default() } else { Emptied { micros: self.end, rest: self.used } }
    }
}

fn of_rate(charge: &Charge, state: State, at: Timestamp) -> Standing {
    let Meter::Rate(rate) = charge.meter else { return Standing::default() };
    let used = rate.used(state.emptied(), charge.max, at);
    let retry_at = (!charge.fits(used)).then(|| rate.fits_at(state.emptied(), charge.max, at));
    Standing { used, retry_at }
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
    state: State,
    dirty: bool,
}

impl Counters {
    /// Forgets everything; nothing may be unwritten.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.dirty.clear();
    }

    /// Forgets everything where more than `keys` are remembered.
    pub(crate) fn forget_above(&mut self, keys: usize) {
        if self.slots.len() > keys {
            self.clear();
        }
    }

    /// Notes what was read.
    pub(crate) fn know(&mut self, counter: &str, start: i64, end: i64, used: i64) {
        if self.slot(counter, start).is_none() {
            let slot = Slot { start, state: State { end, used }, dirty: false };
            self.slots.entry(counter.to_owned()).or_default().push(slot);
        }
    }

    /// Whether it was read.
    pub(crate) fn knows(&self, counter: &str, start: i64) -> bool {
        self.slots.get(counter).is_some_and(|slots| slots.iter().any(|slot| slot.start == start))
    }

    fn slot(&mut self, counter: &str, start: i64) -> Option<&mut Slot> {
        self.slots.get_mut(counter)?.iter_mut().find(|slot| slot.start == start)
    }

    fn change(&mut self, counter: &str, start: i64, to: State) {
        let Some(slot) = self.slot(counter, start) else { return };
        slot.state = to;
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
    /// How its counter stood before it.
    pub(crate) standing: Standing,
}

/// Checks that all charges fit at `at`, each added to what the ones before it in the list would have used. Changes
/// nothing.
pub(crate) fn check(
    tx: &mut Tx<'_>,
    charges: &[Charge],
    at: Timestamp,
) -> Result<Result<(), Exceeded>, Fault> {
    for (index, charge) in charges.iter().enumerate() {
        let earlier = charges.iter().take(index).filter(|other| other.same_counter(charge));
        let standing = match charge.meter {
            Meter::Window => {
                let stored = load(tx, &charge.counter, charge.window)?;
                let used = earlier.map(|other| other.amount).fold(stored.used, i64::saturating_add);
                Standing { used, retry_at: charge.anew(used) }
            }
            Meter::Rate(_) => {
                let stored = load(tx, &charge.counter, charge.window)?;
                of_rate(charge, earlier.fold(stored, |state, other| added(other, state, at)), at)
            }
            Meter::Concurrent => {
                // On PostgreSQL this has locked the counter, and every lease of it is seen.
                load(tx, &charge.counter, charge.window)?;
                let used = leases::count(tx, &charge.counter, at)?;
                let used = earlier.map(|other| other.amount).fold(used, i64::saturating_add);
                Standing { used, retry_at: None }
            }
        };
        if charge.amount < 0 || !charge.fits(standing.used) {
            return Ok(Err(Exceeded { index, standing }));
        }
    }
    Ok(Ok(()))
}

/// Adds charges that were checked. Leases are `action`'s and end by themselves at `until`.
pub(crate) fn charge(
    tx: &mut Tx<'_>,
    charges: &[Charge],
    action: ActionId,
    at: Timestamp,
    until: Timestamp,
) -> Result<(), Fault> {
    for charge in charges {
        if charge.meter == Meter::Concurrent {
            leases::take(tx, &charge.counter, action, at, until)?;
            continue;
        }
        let after = added(charge, load(tx, &charge.counter, charge.window)?, at);
        tx.lease.counters.change(&charge.counter, charge.window.start.as_micros(), after);
    }
    Ok(())
}

fn added(charge: &Charge, state: State, at: Timestamp) -> State {
    match charge.meter {
        Meter::Rate(rate) => {
            let after = rate.charge(state.emptied(), charge.max, at);
            State { end: after.micros, used: after.rest }
        }
        Meter::Window | Meter::Concurrent => {
            State { used: state.used.saturating_add(charge.amount), ..state }
        }
    }
}

/// Takes amounts back from the windows that they were charged in, over or not.
pub(crate) fn give_back(tx: &mut Tx<'_>, taken: &[Taken]) -> Result<(), Fault> {
    for taken in taken {
        let Taken::Amount { counter, window, amount } = taken else { continue };
        let state = load(tx, counter, *window)?;
        // A window that was pruned has nothing left to take from.
        if state.used > 0 {
            let after = State { used: state.used.saturating_sub(*amount).max(0), ..state };
            tx.lease.counters.change(counter, window.start.as_micros(), after);
        }
    }
    Ok(())
}

/// Ends the leases of an action.
pub(crate) fn release(tx: &mut Tx<'_>, taken: &[Taken], action: ActionId) -> Result<(), Fault> {
    for taken in taken {
        if let Taken::Lease { counter } = taken {
            leases::release(tx, counter, action)?;
        }
    }
    Ok(())
}

/// Writes what changed.
pub(crate) fn write(tx: &mut Tx<'_>) -> Result<(), Fault> {
    let mut rows: Vec<Value<'static>> = Vec::new();
    for (counter, start) in std::mem::take(&mut tx.lease.counters.dirty) {
        let Some(slot) = tx.lease.counters.slot(&counter, start) else { continue };
        slot.dirty = false;
        let State { end, used } = slot.state;
        rows.extend([counter.into(), start.into(), end.into(), used.into()]);
    }
    tx.insert(&WRITE, &rows)
}

/// For a group's needs: counters, locked until the transaction ends.
pub(crate) fn locked() -> &'static Keys {
    &LOCKED
}

/// For a group's needs: rows of counters and zeros, where there are none.
pub(crate) fn made() -> &'static Rows {
    &MADE
}

fn load(tx: &mut Tx<'_>, counter: &str, window: Window) -> Result<State, Fault> {
    let start = window.start.as_micros();
    if let Some(slot) = tx.lease.counters.slot(counter, start) {
        return Ok(slot.state);
    }
    if tx.lease.shared {
        let wanted = BTreeMap::from([((counter.to_owned(), start), window.end.as_micros())]);
        needs::lock_counters(tx, &wanted)?;
        let slot = tx.lease.counters.slot(counter, start);
        return slot.map(|slot| slot.state).ok_or(Fault::Unreadable("a counter"));
    }
    let state = stored(tx, counter, window)?;
    // Windows that are long over are read again if somebody gives back to them.
    let slots = tx.lease.counters.slots.entry(counter.to_owned()).or_default();
    if slots.len() >= 8 && slots.iter().all(|slot| !slot.dirty) {
        slots.clear();
    }
    tx.lease.counters.know(counter, start, state.end, state.used);
    Ok(state)
}

/// What an action was charged, as its row keeps it. What a rate took is never given back, and so not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// An amount in a window.
    Amount {
        /// The counter.
        counter: String,
        /// The window.
        window: Window,
        /// In the counter's units.
        amount: i64,
    },
    /// A lease.
    Lease {
        /// The counter.
        counter: String,
    },
}

/// The bit of a counter's length that says that a lease follows: a name and nothing else.
const LEASE: u32 = 1 << 31;

impl Taken {
    /// The charges in the form that [`Taken::decode`] reads; `None` where there are none.
    pub(crate) fn encode(charges: &[Charge]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(charges.len() * 64);
        for charge in charges.iter().filter(|charge| !matches!(charge.meter, Meter::Rate(_))) {
            let lease = charge.meter == Meter::Concurrent;
            // Names are a few hundred bytes long.
            let length = u32::try_from(charge.counter.len()).unwrap_or(u32::MAX) & !LEASE;
            out.extend_from_slice(&(length | if lease { LEASE } else { 0 }).to_be_bytes());
            out.extend_from_slice(charge.counter.as_bytes());
            if lease {
                continue;
            }
            for number in [charge.window.start.as_micros(), charge.window.end.as_micros(), charge.amount] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Counter and start of the window, with its end, where there is an amount to give back.
    pub(crate) fn key(&self) -> Option<((String, i64), i64)> {
        match self {
            Self::Amount { counter, window, .. } => {
                Some(((counter.clone(), window.start.as_micros()), window.end.as_micros()))
            }
            Self::Lease { .. } => None,
        }
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
        let length = u32::from_be_bytes(*length);
        let (counter, rest) = rest.split_at_checked(usize::try_from(length & !LEASE).ok()?)?;
        let counter = std::str::from_utf8(counter).ok()?.to_owned();
        if length & LEASE != 0 {
            return Some((Self::Lease { counter }, rest));
        }
        let (start, rest) = rest.split_first_chunk::<8>()?;
        let (end, rest) = rest.split_first_chunk::<8>()?;
        let (amount, rest) = rest.split_first_chunk::<8>()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes));
        let window = Window { start: time(start), end: time(end) };
        Some((Self::Amount { counter, window, amount: i64::from_be_bytes(*amount) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placet_core::ledger::Rate;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn charges_are_read_as_written(
            rows in prop::collection::vec((".{0,20}", any::<[i64; 3]>(), 0..3usize), 0..5),
        ) {
            let meters = [Meter::Window, Meter::Concurrent, Meter::Rate(Rate::parse("7/second").unwrap())];
            let charges: Vec<_> = rows.iter().map(|(counter, [start, end, amount], meter)| Charge {
                counter: counter.clone(),
                meter: meters[*meter],
                window: Window { start: Timestamp::from_micros(*start), end: Timestamp::from_micros(*end) },
                amount: *amount, max: 0, limit: 0,
            }).collect();
            let taken = Taken::decode(&Taken::encode(&charges).unwrap_or_default()).unwrap();
            let expected = charges.into_iter().filter_map(|charge| match charge.meter {
                Meter::Window => {
                    Some(Taken::Amount { counter: charge.counter, window: charge.window, amount: charge.amount })
                }
                Meter::Concurrent => Some(Taken::Lease { counter: charge.counter }),
                Meter::Rate(_) => None,
            });
            prop_assert_eq!(taken, expected.collect::<Vec<_>>());
        }

        #[test]
        fn damaged_charges_are_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            _ = Taken::decode(&bytes);
        }
    }
}
