//! Whether a grant has ended, with everything that hangs on it: approvals and permits go with their lineage.
//!
//! Invariant: an agent that is only suspended may come back, so nothing ends by that.

use placet_core::{chain::Chain, id::GrantId, refusal::Code, time::Timestamp};
use placet_store::{Fault, Query, lineage};

/// Whether `grant`, something above it, its task or its agent's registration has ended for good at `now`.
///
/// # Errors
/// [`Fault`].
pub(crate) fn has_ended(q: &mut impl Query, grant: GrantId, now: Timestamp) -> Result<bool, Fault> {
    let Some(rows) = lineage::load(q, grant)? else { return Ok(true) };
    Ok(match Chain::assemble(rows.links, rows.stamps, now) {
        Ok(_) => false,
        Err(reason) => !matches!(reason.code, Code::AgentInactive | Code::Internal),
    })
}
