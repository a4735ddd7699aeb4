//! DPoP proofs that were used, where several nodes share a database: each is good once (RFC 9449 §11.1).
//!
//! Invariant: a proof that was taken stays taken until it is too old to be taken anyway, on every node.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::{dpop::ProofId, time::Timestamp};

statements! {
    /// Takes one, once.
    TAKE = "INSERT INTO dpop_proofs (id, expires) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
    /// Forgets some that can't be used any more.
    PURGE = "DELETE FROM dpop_proofs WHERE id IN
             (SELECT id FROM dpop_proofs WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// Takes a proof that can't be used any more from `expires` on. `false` where it was taken before.
///
/// # Errors
/// [`Fault`]; so for all functions here.
pub fn take(tx: &mut Tx<'_>, id: ProofId, expires: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&TAKE, &params![id.as_bytes().as_slice(), expires])? > 0)
}

/// Forgets up to `limit` proofs that could not be used any more at `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![now, limit])
}
