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

/// With what a person signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeganWith {
    /// A password, where there is no second factor.
    Password,
    /// A password and a code of their authenticator app.
    PasswordAndTotp,
    /// A password and one of their recovery codes.
    PasswordAndRecoveryCode,
    /// A passkey, which verified the person itself.
    Passkey,
    /// The word of an identity provider.
    Provider,
    /// The word of an identity provider, and a code of their authenticator app.
    ProviderAndTotp,
    /// The word of an identity provider, and one of their recovery codes.
    ProviderAndRecoveryCode,
}

impl BeganWith {
    /// Its word in the store, in the record and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PasswordAndTotp => "password_and_totp",
            Self::PasswordAndRecoveryCode => "password_and_recovery_code",
            Self::Passkey => "passkey",
            Self::Provider => "provider",
            Self::ProviderAndTotp => "provider_and_totp",
            Self::ProviderAndRecoveryCode => "provider_and_recovery_code",
        }
    }
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
