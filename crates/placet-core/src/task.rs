//! Tasks: the purpose that authority is given for.
//!
//! The store mints `tsk_…`. A client's own label for a task is echoed as sent and is unique within (agent, user);
//! its description is fixed at first use; a label whose task ended stays ended (DESIGN §3.6).

use crate::{
    id::{AgentId, TaskId, UserId},
    intent::Stated,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Where a task is in its life. Expiry is not stored: it follows from `expires`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Authority may be given and used for it.
    Active,
    /// Done; its grants have ended.
    Completed,
    /// Ended by force; its grants have ended.
    Revoked,
    /// Its time is over.
    Expired,
}

impl TaskState {
    /// The state after the work was done; `None` where the task has ended already.
    pub fn complete(self) -> Option<Self> {
        (self == Self::Active).then_some(Self::Completed)
    }

    /// The state after it was ended by force; `None` where the task has ended already.
    pub fn revoke(self) -> Option<Self> {
        (self == Self::Active).then_some(Self::Revoked)
    }

    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// Who stated what a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOrigin {
    /// The agent itself, in a token request: its description is display text, only its id is known to policies.
    Agent,
    /// A person, by `POST /v1/tasks`: only the agent named on it can claim it.
    Person,
    /// An issuer that an administrator trusts to say what tasks are for, in an assertion: the description is its word, the
    /// label the agent's.
    Issuer,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The id that the store minted.
    pub id: TaskId,
    /// The client's own label, if it gave one.
    pub label: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The same in members and in calls, where that was stated.
    #[serde(default, skip_serializing_if = "Stated::is_empty")]
    pub stated: Stated,
    /// The agent that works on it.
    pub agent: AgentId,
    /// The person on whose behalf, if any.
    pub user: Option<UserId>,
    /// The task that it is part of.
    pub parent: Option<TaskId>,
    /// Who made it.
    pub origin: TaskOrigin,
    /// Stored state; see [`Task::state_at`].
    pub state: TaskState,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

impl Task {
    /// The state at `now`: an active task whose time is over has expired.
    pub fn state_at(&self, now: Timestamp) -> TaskState {
        match (self.state, self.expires) {
            (TaskState::Active, Some(expires)) if expires <= now => TaskState::Expired,
            (state, _) => state,
        }
    }

    /// What it is for, where somebody other than the agent said so.
    pub(crate) fn stated_description(&self) -> Option<&str> {
        self.description.as_deref().filter(|_| self.origin != TaskOrigin::Agent)
    }

    /// What a person calls it; a label that an agent chose is not.
    pub(crate) fn stated_label(&self) -> Option<&str> {
        self.label.as_deref().filter(|_| self.origin == TaskOrigin::Person)
    }

    /// What a client calls it: its label, else its id.
    pub fn shown_id(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Whether `label` can be a client's label for a task: 1–128 of `A-Za-z0-9._~:-`, not beginning with `tsk_`.
pub fn is_label(label: &str) -> bool {
    (1..=128).contains(&label.len())
        && !label.starts_with("tsk_")
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | ':' | '-'))
}
