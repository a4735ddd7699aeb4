//! What others signed and presented once, assertions and answers of passkeys: it is known until it could not be presented
//! again anyway.
//!
//! Invariant: of two that come with the same one at once, on whatever node, one is first.

use crate::{fault::Fault, params, statements, tx::Tx};
use placet_core::{secret::sha256, time::Timestamp};

statements! {
    /// Uses one, once.
    USE = "INSERT INTO assertions (hash, expires) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    /// Forgets some that can't be used any more.
    PURGE = "DELETE FROM assertions WHERE hash IN
             (SELECT hash FROM assertions WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
}

/// Notes that the assertion `jti` of `maker`, or what answers its challenge `jti`, was presented for `purpose`, until `until`.
/// `false` where it was before.
///
/// # Errors
/// [`Fault`].
pub fn spend(
    tx: &mut Tx<'_>,
    purpose: &str,
    maker: &str,
    jti: &str,
    until: Timestamp,
) -> Result<bool, Fault> {
    // Lengths before texts, so that no two triples are one.
    let length = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes();
    let hash =
        sha256(&[&length(purpose), purpose.as_bytes(), &length(maker), maker.as_bytes(), jti.as_bytes()]);
    Ok(tx.execute(&USE, &params![&hash, until])? > 0)
}

/// Forgets up to `limit` that could not be presented any more at `now`; answers how many.
///
/// # Errors
/// [`Fault`].
pub fn purge(tx: &mut Tx<'_>, now: Timestamp, limit: usize) -> Result<u64, Fault> {
    tx.execute(&PURGE, &params![now, limit])
}
