//! What the commit point reserves for one action.
//!
//! Invariant: whatever a counter is made of, one number says how full it is, and a charge fits where that number and
//! its own amount stay within the maximum.

use super::{Rate, Window};
use crate::time::Timestamp;

/// How a counter works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    /// A number that grows within a window and starts anew with the next.
    Window,
    /// A bucket that drains evenly. Its window is all time, its maximum the burst.
    Rate(Rate),
    /// Leases, one for each action under way. Its window is all time.
    Concurrent,
}

/// A counter that an action has to fit into, and by how much it is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The counter: policy, rule, limit and by-value, as text.
    pub counter: String,
    /// How it works.
    pub meter: Meter,
    /// The window it counts in.
    pub window: Window,
    /// What this action adds, in the counter's units; above zero for a `sum`, 1 for a rate and for leases.
    pub amount: i64,
    /// The most that the counter may reach.
    pub max: i64,
    /// Where the charge comes from, as an index into the judgement's `limits`.
    pub limit: usize,
}

/// How a counter stands at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What is used, in the counter's units.
    pub used: i64,
    /// When the charge that was asked about would fit at the earliest, where that is known and not now.
    pub retry_at: Option<Timestamp>,
}

impl Charge {
    /// Whether the counter can take it when `used` is used already.
    pub fn fits(&self, used: i64) -> bool {
        used.checked_add(self.amount).is_some_and(|after| after <= self.max)
    }

    /// Whether the two are charges of one counter.
    pub fn same_counter(&self, other: &Self) -> bool {
        self.counter == other.counter && self.window.start == other.window.start
    }

    /// When a counter of which `used` is used starts anew, where it does by itself and has to.
    pub fn anew(&self, used: i64) -> Option<Timestamp> {
        let ends = self.meter == Meter::Window && self.window.end < Timestamp::MAX;
        (ends && !self.fits(used)).then_some(self.window.end)
    }

    /// Takes in another charge of the same counter: the larger amount against the stricter maximum.
    pub(crate) fn tighten(&mut self, other: &Self) {
        self.amount = self.amount.max(other.amount);
        self.max = self.max.min(other.max);
        if let (Meter::Rate(mine), Meter::Rate(others)) = (self.meter, other.meter) {
            self.meter = Meter::Rate(mine.slower(others));
        }
    }
}
