//! The places of one list that nobody was given yet.
//!
//! Invariant: each place is given once, and which one comes next says nothing about how many were given, or to whom.

/// How many places a list has: enough that nobody can be made out among them, few enough that all that they hang on is
/// read in a fraction of a second.
pub const PLACES: u16 = 1 << 13;

/// What is left of a list.
#[derive(Debug, Clone)]
pub struct Places(Vec<u16>);

impl Places {
    /// All of them.
    pub fn all() -> Self {
        Self((0..PLACES).collect())
    }

    /// Takes one of those that are left; `None` once all were given. `entropy` is fresh for each.
    pub fn draw(&mut self, entropy: [u8; 8]) -> Option<u16> {
        let left = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        // With 64 bits no place is likelier than another by more than one in 2^51.
        let at = u64::from_le_bytes(entropy).checked_rem(left)?;
        Some(self.0.swap_remove(usize::try_from(at).ok()?))
    }
}
