//! How much there is of what an operator watches. Each is one look at an index.
//!
//! Invariant: numbers only.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Row},
};
use placet_core::time::Timestamp;

statements! {
    /// Entries that have a number, of all nodes.
    WRITTEN = "SELECT CAST(COALESCE(SUM(seq), 0) AS BIGINT) FROM record_heads";
    /// Approvals that wait for people.
    APPROVALS = "SELECT COUNT(*) FROM approvals WHERE state = 'pending' AND expires > ?1";
    /// Actions that were admitted and have no outcome yet.
    IN_FLIGHT = "SELECT COUNT(*) FROM actions WHERE state = 'pending'";
    /// Denials that were counted and not written down yet.
    DENIALS = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM denials";
}

/// The numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Entries in the one log.
    pub logged: u64,
    /// Entries that wait for the sequencer.
    pub unlogged: u64,
    /// Approvals that wait for people.
    pub approvals: u64,
    /// Actions in flight.
    pub in_flight: u64,
    /// Denials that were counted and not written down yet.
    pub denials: u64,
}

/// Reads them at `now`.
///
/// # Errors
/// [`Fault`].
pub fn read(query: &mut impl Query, now: Timestamp) -> Result<Numbers, Fault> {
    let count = |row: &Row<'_>| row.count(0);
    let logged = crate::record::size(query)?;
    let written = query.one(&WRITTEN, &[], count)?.unwrap_or(0);
    Ok(Numbers {
        logged,
        unlogged: written.saturating_sub(logged),
        approvals: query.one(&APPROVALS, &params![now], count)?.unwrap_or(0),
        in_flight: query.one(&IN_FLIGHT, &[], count)?.unwrap_or(0),
        denials: query.one(&DENIALS, &[], count)?.unwrap_or(0),
    })
}
