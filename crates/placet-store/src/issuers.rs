//! Issuers that this data directory has used: tokens survive a restart on another port (DESIGN §9).
//!
//! Invariant: none is ever forgotten.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
    versions::Version,
};
use placet_core::time::Timestamp;

statements! {
    /// Remembers one.
    REMEMBER = "INSERT INTO issuers (issuer, first_used) VALUES (?1, ?2) ON CONFLICT (issuer) DO NOTHING";
    /// All, the oldest first.
    ALL = "SELECT issuer FROM issuers ORDER BY first_used, issuer";
}

/// Remembers an issuer; one that is known stays as it is. Other nodes take its tokens as soon as they see the change.
///
/// # Errors
/// [`Fault`].
pub fn remember(tx: &mut Tx<'_>, issuer: &str, now: Timestamp) -> Result<(), Fault> {
    if tx.execute(&REMEMBER, &params![issuer, now])? > 0 {
        tx.bump(Version::Keys)?;
    }
    Ok(())
}

/// Every issuer that was used, the first first.
///
/// # Errors
/// [`Fault`].
pub fn all(q: &mut impl Query) -> Result<Vec<String>, Fault> {
    q.query(&ALL, &params![], |row| row.text(0))
}
