//! Delegation tokens that were used: each is good once (DESIGN §3.7).
//!
//! Invariant: an id that was spent stays spent until its token has expired anyway.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::{id::TokenId, time::Timestamp};

statements! {
    /// Spends one, once.
    SPEND = "INSERT INTO spent_delegations (jti, expires) VALUES (?1, ?2) ON CONFLICT (jti) DO NOTHING";
    /// Forgets some that can't be used any more.
    PURGE = "DELETE FROM spent_delegations WHERE jti IN
             (SELECT jti FROM spent_delegations WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// Spends a delegation token that ends at `expires`, in the transaction that makes the child's grant. `false` where
/// it was spent before.
///
/// # Errors
/// [`Fault`].
pub fn spend(tx: &mut Tx<'_>, jti: TokenId, expires: Timestamp) -> Result<bool, Fault> {
    Ok(tx.execute(&SPEND, &params![jti, expires])? > 0)
}

/// Forgets up to `limit` tokens that had expired at `now`; answers how many. The caller has refused expired tokens
/// before it comes to [`spend`], and leaves its clock tolerance out of `now`.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![now, limit])
}
