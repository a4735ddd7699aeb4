//! What MCP servers say of their tools, as it was last seen to differ.
//!
//! Invariant: whoever decided by what was said before is stale at the commit point, as with a new version of the service.

use crate::{
    fault::Fault,
    params, statements,
    tx::{Query, Tx},
    versions::Version,
};
use placet_core::time::Timestamp;

statements! {
    /// What the server of a service said last.
    OF_SERVICE = "SELECT server, tools, seen FROM listed_tools WHERE service = ?1";
    /// It says something else.
    NOTE = "INSERT INTO listed_tools (service, server, tools, seen) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (service) DO UPDATE SET server = ?2, tools = ?3, seen = ?4";
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is: what another server says counts for nothing.
    pub server: String,
    /// Its tools, as JSON.
    pub tools: String,
    /// When it was first seen to say so.
    pub seen: Timestamp,
}

/// What the server of a service said last.
///
/// # Errors
/// [`Fault`].
pub fn of_service(q: &mut impl Query, service: &str) -> Result<Option<Listed>, Fault> {
    q.one(&OF_SERVICE, &params![service], |row| {
        Ok(Listed { server: row.text(0)?, tools: row.text(1)?, seen: row.time(2)? })
    })
}

/// It says something else than before.
///
/// # Errors
/// [`Fault`].
pub fn note(tx: &mut Tx<'_>, service: &str, said: &Listed) -> Result<(), Fault> {
    tx.execute(&NOTE, &params![service, said.server.as_str(), said.tools.as_str(), said.seen])?;
    tx.bump(Version::Service(service.to_owned()))
}
