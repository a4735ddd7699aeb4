//! One row that is written to find out whether writing works (`/readyz`).
//!
//! Invariant: it means nothing; nobody reads it.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::time::Timestamp;

statements! {
    /// Writes it.
    WRITE = "INSERT INTO probes (name, at) VALUES ('ready', ?1)
             ON CONFLICT (name) DO UPDATE SET at = excluded.at";
}

/// Writes the row.
///
/// # Errors
/// [`Fault`]: the store takes no writes now.
pub fn write(tx: &mut Tx<'_>, at: Timestamp) -> Result<(), Fault> {
    tx.execute(&WRITE, &params![at]).map(|_| ())
}
