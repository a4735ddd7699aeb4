//! The bound on what one decision may spend on conditions.
//!
//! Invariant: once spent, it stays spent; nothing evaluates for free.

use super::Why;

/// What all conditions of one decision may spend together.
pub const FUEL_PER_DECISION: u64 = 100_000;

/// Units of work left: one per node visited, and one per element or eight bytes read or produced.
#[derive(Debug)]
pub struct Fuel {
    left: u64,
}

impl Fuel {
    /// A tank with so many units.
    pub fn new(units: u64) -> Self {
        Self { left: units }
    }

    /// Units not yet spent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Spends so much if there is so much; otherwise nothing.
    pub(super) fn try_spend(&mut self, units: u64) -> bool {
        self.left.checked_sub(units).map(|left| self.left = left).is_some()
    }

    pub(super) fn spend(&mut self, units: u64) -> Result<(), Why> {
        if let Some(left) = self.left.checked_sub(units) {
            self.left = left;
            Ok(())
        } else {
            // Sticky: a cheaper operand must not go on after a dearer one ran dry.
            self.left = 0;
            Err(Why::Fuel)
        }
    }

    /// Pays for reading or making so many bytes or elements of eight bytes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Result<(), Why> {
        self.spend(of_bytes(bytes))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}

/// What reading or making so many bytes takes.
pub(super) fn of_bytes(bytes: usize) -> u64 {
    1 + (bytes as u64) / 8
}

impl Default for Fuel {
    fn default() -> Self {
        Self::new(FUEL_PER_DECISION)
    }
}
