//! Agents: software with an identity of its own, registered by an owner.
//!
//! Handle, labels, owner and level come from an administrator or a registration template only: nothing that an
//! agent sends sets them (DESIGN §3.9).

use crate::{
    id::{AgentId, GrantId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an agent is in its life. Transitions consume the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Registered; its owner has not confirmed it yet. It can't authenticate.
    Inactive,
    /// In service.
    Active,
    /// Stopped for a while by an administrator: every chain it stands in is dead until it is active again.
    Suspended,
    /// Gone for good; all its grants have ended.
    Ended,
}

impl AgentState {
    /// The state after its owner confirmed it; `None` where that is not possible.
    pub fn activate(self) -> Option<Self> {
        matches!(self, Self::Inactive | Self::Suspended).then_some(Self::Active)
    }

    /// The state after an administrator stopped it; `None` where that is not possible.
    pub fn suspend(self) -> Option<Self> {
        matches!(self, Self::Active | Self::Suspended).then_some(Self::Suspended)
    }

    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Ended => "ended",
        }
    }
}

/// What effects an agent may ever have (`max_scope_level`), judged at issuance and at each decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only `read`.
    Restricted,
    /// `read` and `write`.
    #[default]
    Standard,
    /// Also `delete` and `money`.
    Elevated,
}

impl Level {
    /// Whether an action of this effect is within the level. An effect that no service states counts as `money`.
    pub fn permits(self, effect: Option<crate::service::Effect>) -> bool {
        use crate::service::Effect;
        let needed = match effect {
            Some(Effect::Read) => Self::Restricted,
            Some(Effect::Write) => Self::Standard,
            Some(Effect::Delete | Effect::Money) | None => Self::Elevated,
        };
        self >= needed
    }
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// `client_id` on the wire.
    pub id: AgentId,
    /// `agent_name` on the wire: the unique handle, `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    pub handle: String,
    /// Display text.
    pub description: String,
    /// The person or team it answers to: a user's name, as the administrator wrote it.
    pub owner: Option<String>,
    /// Labels that policies select and templates use; strings.
    pub labels: BTreeMap<String, String>,
    /// The highest level of effect.
    pub level: Level,
    /// Scopes that a token request without `scope` gets.
    pub default_scopes: Vec<crate::scope::Scope>,
    /// The root of all that it obtains for itself.
    pub registration: GrantId,
    /// Where it is in its life.
    pub state: AgentState,
    /// When it was registered.
    pub created: Timestamp,
    /// Rises with every change; the commit point compares it.
    pub version: u64,
}

/// Whether `handle` can be an agent's handle: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
pub fn is_handle(handle: &str) -> bool {
    handle.len() <= 64
        && handle.starts_with(|c: char| c.is_ascii_alphanumeric())
        && handle.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
