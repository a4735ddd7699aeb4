//! People: owners, approvers, administrators, and those on whose behalf agents act.

use crate::{id::UserId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// A person known to this installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The unique name that it signs in with.
    pub name: String,
    /// Roles as policies and approvals name them (`administrator`, `approver`, `support-lead`, …).
    pub roles: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Rises with every change.
    pub version: u64,
}

/// May do everything that the console offers, and decide approvals of tasks without a user.
pub const ADMINISTRATOR: &str = "administrator";
/// May decide approvals that name nobody in particular.
pub const APPROVER: &str = "approver";
/// May read the record and introspect.
pub const AUDITOR: &str = "auditor";

impl User {
    /// Whether it has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

/// Whether `name` can be a user's name: 1–64 of letters, digits and `._@+-`.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'))
}
