//! A ledger in memory, for asking what would have been: the record decided again by other policies.
//!
//! Invariant: it stands where the store's counters would stand after the same charges. Nothing that is really charged
//! is charged here.

use super::{Charge, Emptied, Meter, Standing};
use crate::time::Timestamp;
use std::collections::HashMap;

/// What is used of each counter.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// By counter and the beginning of its window.
    amounts: HashMap<(String, Timestamp), i64>,
    buckets: HashMap<String, Emptied>,
    /// By counter, each with who holds it and until when at the latest.
    leases: HashMap<String, Vec<(String, Timestamp)>>,
}

impl Book {
    /// How a charge's counter stands at `at`.
    pub fn standing(&self, charge: &Charge, at: Timestamp) -> Standing {
        match charge.meter {
            Meter::Window => {
                let key = (charge.counter.clone(), charge.window.start);
                let used = self.amounts.get(&key).copied().unwrap_or(0);
                Standing { used, retry_at: charge.anew(used) }
            }
            Meter::Rate(rate) => {
                let emptied = self.buckets.get(&charge.counter).copied().unwrap_or_default();
                let used = rate.used(emptied, charge.max, at);
                let retry_at = (!charge.fits(used)).then(|| rate.fits_at(emptied, charge.max, at));
                Standing { used, retry_at }
            }
            Meter::Concurrent => {
                let held = self.leases.get(&charge.counter).map(Vec::as_slice).unwrap_or_default();
                let used = held.iter().filter(|(_, until)| *until > at).count();
                Standing { used: i64::try_from(used).unwrap_or(i64::MAX), retry_at: None }
            }
        }
    }

    /// Adds charges, of which each fits. Leases are `holder`'s and end by themselves at `until`.
    pub fn charge(&mut self, charges: &[Charge], holder: &str, at: Timestamp, until: Timestamp) {
        for charge in charges {
            match charge.meter {
                Meter::Window => {
                    let key = (charge.counter.clone(), charge.window.start);
                    let used = self.amounts.entry(key).or_default();
                    *used = used.saturating_add(charge.amount);
                }
                Meter::Rate(rate) => {
                    let emptied = self.buckets.entry(charge.counter.clone()).or_default();
                    *emptied = rate.charge(*emptied, charge.max, at);
                }
                Meter::Concurrent => {
                    let held = self.leases.entry(charge.counter.clone()).or_default();
                    held.retain(|(_, until)| *until > at);
                    if held.iter().all(|(other, _)| other != holder) {
                        held.push((holder.to_owned(), until));
                    }
                }
            }
        }
    }

    /// Ends the leases that `holder` has of these charges.
    pub fn release(&mut self, charges: &[Charge], holder: &str) {
        for charge in charges.iter().filter(|charge| charge.meter == Meter::Concurrent) {
            if let Some(held) = self.leases.get_mut(&charge.counter) {
                held.retain(|(other, _)| other != holder);
            }
        }
    }

    /// Takes amounts back from the windows that they were charged in. What a rate let through stays.
    pub fn give_back(&mut self, charges: &[Charge]) {
        for charge in charges.iter().filter(|charge| charge.meter == Meter::Window) {
            if let Some(used) = self.amounts.get_mut(&(charge.counter.clone(), charge.window.start)) {
                *used = used.saturating_sub(charge.amount).max(0);
            }
        }
    }
}
