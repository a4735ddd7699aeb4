//! Approvals: a person's answer to one held request (DESIGN §6).
//!
//! An approval is bound to a keyed digest of everything that makes the request what it is ([`Binding`]); it lists
//! every requirement of every rule that asked and is released when all are met. It is used once, inside the
//! transaction that admits the request.
//!
//! A person may answer more broadly than "this once": then a [`permit`] comes of it, once every requirement is met.
//!
//! A requirement may take several people, and rule some out who are named otherwise ([`Except`]); whose answer counts
//! for what is `tally`.
//!
//! Invariant: an approval changes state only through [`Approval::decide`], [`Approval::without`] and
//! [`Approval::use_up`], which consume it.

mod gift;
pub mod permit;
mod tally;

pub use gift::Gift;

use crate::{
    id::{ActionId, AgentId, ApprovalId, GrantId, TaskId, UserId},
    refusal::Code,
    time::Timestamp,
    user::{ADMINISTRATOR, APPROVER, User},
};
use aws_lc_rs::hmac;
use permit::{Ground, Terms};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, fmt, time::Duration};

/// How long a person has to answer where the rule doesn't say.
pub const WITHIN: Duration = Duration::from_secs(30 * 60);

/// Who may meet a requirement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// Any user with the role (`role:support-lead`).
    Role(String),
    /// The user of this name (`user:ada`).
    User(String),
    /// No `by` was given: the grant's user, else any user with role `approver`.
    Default,
}

/// Who may not meet a requirement, though `by` names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Except {
    /// The grant's user: whom the agent acts for (`user`).
    OnBehalf,
    /// The user who owns the acting agent, and of every agent above it in the chain (`owner`). Where one of them has no
    /// owner, or one that is no user, it can't be told who that is, and nobody is asked: the request is denied.
    Owner,
    /// Any user with the role (`role:contractor`).
    Role(String),
    /// The user of this name (`user:ada`).
    User(String),
}

/// The most people that one requirement can take.
pub const MOST_PEOPLE: u32 = 20;

/// What one rule asks for before the action may run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// `name@version` of the policy.
    pub policy: String,
    /// The rule's name.
    pub rule: String,
    /// Any of these.
    pub by: Vec<Approver>,
    /// None of these, whatever `by` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<Except>,
    /// How many different people; 1 to [`MOST_PEOPLE`].
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// Whoever counts here counts for no other requirement that is distinct too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distinct: bool,
    /// Seconds to answer, and the same again to use.
    pub within: u64,
    /// Whether it is about the action's intent (`intent` of the rule): what fits a purpose is said of one request alone, so
    /// that no permit meets it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub intent: bool,
}

const fn one() -> u32 {
    1
}

const fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Requirement {
    /// Whether `person` may answer it for a request on behalf of `user`, by agents whose owners are `owners` (ids of
    /// users; in approvals that were asked before those were looked up, names).
    pub(crate) fn may_be_met_by(&self, person: &User, user: Option<UserId>, owners: &[String]) -> bool {
        self.names(person, user) && !self.not.iter().any(|except| except.means(person, user, owners))
    }

    fn names(&self, person: &User, user: Option<UserId>) -> bool {
        self.by.iter().any(|approver| match approver {
            Approver::Role(role) => person.has_role(role),
            Approver::User(name) => person.name == *name,
            Approver::Default => match user {
                Some(user) => person.id == user,
                None => person.has_role(APPROVER),
            },
        })
    }
}

impl Except {
    fn means(&self, person: &User, user: Option<UserId>, owners: &[String]) -> bool {
        match self {
            Self::OnBehalf => user == Some(person.id),
            Self::Owner => {
                let id = person.id.to_string();
                owners.iter().any(|owner| *owner == person.name || *owner == id)
            }
            Self::Role(role) => person.has_role(role),
            Self::User(name) => person.name == *name,
        }
    }
}

impl fmt::Display for Except {
    /// As a policy says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnBehalf => f.write_str("user"),
            Self::Owner => f.write_str("owner"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::User(name) => write!(f, "user:{name}"),
        }
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(role) => write!(f, "role:{role}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Default => f.write_str("the grant's user, or an approver where it has none"),
        }
    }
}

/// Everything that an approval is bound to. A difference in any of it is a different request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Acting agent.
    pub agent: AgentId,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// For which task.
    pub task: Option<TaskId>,
    /// Under which grant.
    pub grant: GrantId,
    /// `service@version`.
    pub service: &'a str,
    /// `connection@generation`.
    pub connection: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Origin and whole target, as it will be sent.
    pub target: &'a str,
    /// Headers of the agent's that go on, sorted by their names.
    pub headers: &'a [(String, String)],
    /// Content type of the body, or empty.
    pub content_type: &'a str,
    /// The whole body, or empty.
    pub body: &'a [u8],
    /// All parameters, as canonical text (those in the target too).
    pub params: &'a [u8],
    /// What was read from upstream ([`crate::service::Facts::bound`]); empty where nothing was.
    pub facts: &'a [u8],
    /// `policy@version` and rule of each requirement, in order.
    pub requirements: &'a [Requirement],
}

/// The keyed digest of a [`Binding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest(pub [u8; 32]);

impl Binding<'_> {
    /// HMAC-SHA-256 over the members, each with its length before it, so that no two bindings share an input.
    pub fn digest(&self, key: &hmac::Key) -> RequestDigest {
        let mut context = hmac::Context::with_key(key);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(b"placet approval v1");
        part(self.agent.to_string().as_bytes());
        part(self.user.map(|user| user.to_string()).unwrap_or_default().as_bytes());
        part(self.task.map(|task| task.to_string()).unwrap_or_default().as_bytes());
        part(self.grant.to_string().as_bytes());
        for text in [self.service, self.connection, self.method, self.target, self.content_type] {
            part(text.as_bytes());
        }
        part(&(self.headers.len() as u64).to_be_bytes());
        for (name, value) in self.headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(self.body);
        part(self.params);
        if !self.facts.is_empty() {
            part(b"facts");
            part(self.facts);
        }
        for requirement in self.requirements {
            part(requirement.policy.as_bytes());
            part(requirement.rule.as_bytes());
            if requirement.intent {
                // No policy's label is this: each has an `@`.
                part(b"intent");
            }
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        RequestDigest(out)
    }
}

/// A person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may run, once.
    Approve,
    /// It may not.
    Deny,
}

/// One answer that was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// Who answered.
    pub by: UserId,
    /// The person's name, for display.
    pub name: String,
    /// What the answer was.
    pub verdict: Verdict,
    /// When.
    pub at: Timestamp,
    /// Indexes of the requirements that it counts for; taken out where the person may answer them no more.
    pub met: Vec<usize>,
    /// The permit that this person gives with it, for the requirements that it met; it comes to be when all are met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit: Option<Terms>,
    /// Whether that permit has come to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given: bool,
}

/// Where an approval is in its life; expiry follows from the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Waiting for people.
    Pending,
    /// All requirements are met; the agent may use it once.
    Approved,
    /// A person said no.
    Denied,
    /// It was used.
    Used,
    /// Nobody answered in time, or the answer was not used in time.
    Expired,
    /// The grant that it was for has ended before it was used.
    Ended,
}

impl ApprovalState {
    /// As stored and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }

    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Approved, Self::Denied, Self::Used, Self::Expired, Self::Ended];
}

/// One held request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The held action's id.
    pub action_id: ActionId,
    /// The acting agent.
    pub agent: AgentId,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// The grant whose end ends it.
    pub grant: GrantId,
    /// For which task.
    pub task: Option<TaskId>,
    /// Everything that a person is shown: agent, chain, task, action, resource, every argument, what it would cost.
    pub shown: Value,
    /// What has to be met, all of it.
    pub requirements: Vec<Requirement>,
    /// The users who owned the agents of the chain when it was asked, by their ids; none where no requirement rules
    /// owners out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
    /// What a permit that is given with an answer would be bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<Ground>,
    /// Answers so far.
    pub votes: Vec<Vote>,
    /// Stored state; see [`Approval::state_at`].
    pub state: ApprovalState,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it may be answered or, once approved, used.
    pub expires: Timestamp,
}

/// Why an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// It is not waiting for an answer.
    #[error("the approval is {}", .0.as_str())]
    NotPending(ApprovalState),
    /// None of its open requirements names this person.
    #[error("the approval needs somebody else")]
    NotYours,
}

impl Approval {
    /// The state at `now`.
    pub fn state_at(&self, now: Timestamp) -> ApprovalState {
        match self.state {
            ApprovalState::Pending | ApprovalState::Approved if self.expires <= now => ApprovalState::Expired,
            state => state,
        }
    }

    /// Whether `person` may answer at all; used to decide who sees it.
    pub fn concerns(&self, person: &User) -> bool {
        person.has_role(ADMINISTRATOR) || self.user == Some(person.id) || self.asks(person)
    }

    /// Whether some requirement names the person.
    fn asks(&self, person: &User) -> bool {
        self.requirements.iter().any(|it| it.may_be_met_by(person, self.user, &self.owners))
    }

    /// Whether `person` has given this very answer already: saying it again changes nothing.
    pub fn has_said(&self, person: UserId, verdict: Verdict, permit: Option<&Terms>) -> bool {
        let same = |vote: &Vote| {
            vote.by == person
                && vote.verdict == verdict
                && permit.is_none_or(|it| vote.permit.as_ref() == Some(it))
        };
        self.votes.iter().any(same)
    }

    /// The approval after `person` answered. One "deny" of somebody who may answer ends it, also of somebody who
    /// said yes before; "approve" counts for every open requirement that names the person (`tally`). `permit` are the
    /// terms of a broader "approve".
    ///
    /// # Errors
    /// [`DecideError`]; the approval is unchanged in the caller's hands only if it kept a copy.
    pub fn decide(
        mut self,
        person: &User,
        verdict: Verdict,
        permit: Option<Terms>,
        now: Timestamp,
    ) -> Result<Self, DecideError> {
        match self.state_at(now) {
            ApprovalState::Pending => {}
            state => return Err(DecideError::NotPending(state)),
        }
        let met = self.open_to(person);
        let may = match verdict {
            Verdict::Approve => !met.is_empty(),
            Verdict::Deny => self.asks(person),
        };
        if !may {
            return Err(DecideError::NotYours);
        }
        let permit = permit.filter(|_| verdict == Verdict::Approve);
        let (by, name) = (person.id, person.name.clone());
        self.votes.push(Vote { by, name, verdict, at: now, met, permit, given: false });
        match verdict {
            Verdict::Deny => self.state = ApprovalState::Denied,
            Verdict::Approve if self.open().is_empty() => {
                // As long as it could be answered, so long it can be used (DESIGN §6).
                let within = self.requirements.iter().map(|r| r.within).min().unwrap_or(0);
                self.state = ApprovalState::Approved;
                self.expires = now.plus(Duration::from_secs(within));
            }
            Verdict::Approve => {}
        }
        Ok(self)
    }

    /// The approval without what `person` may answer no more, as the person is now: their yes counts no longer for
    /// requirements that stopped naming them, and what was approved with it waits for somebody else again, until the
    /// same time. `None` where nothing changes.
    pub fn without(mut self, person: &User) -> Option<Self> {
        if !matches!(self.state, ApprovalState::Pending | ApprovalState::Approved) {
            return None;
        }
        let may: BTreeSet<usize> = self.named(person).collect();
        let mut changed = false;
        for vote in self.votes.iter_mut().filter(|vote| vote.by == person.id) {
            let before = vote.met.len();
            vote.met.retain(|index| may.contains(index));
            changed |= vote.met.len() != before;
        }
        if self.state == ApprovalState::Approved && !self.open().is_empty() {
            self.state = ApprovalState::Pending;
        }
        changed.then_some(self)
    }

    /// The approval after the request that it was given for was admitted.
    ///
    /// # Errors
    /// The code with which the request is refused instead; for a pending one [`Code::ApprovalRequired`].
    pub fn use_up(mut self, now: Timestamp) -> Result<Self, Code> {
        match self.state_at(now) {
            ApprovalState::Approved => {
                self.state = ApprovalState::Used;
                Ok(self)
            }
            ApprovalState::Pending => Err(Code::ApprovalRequired),
            ApprovalState::Denied => Err(Code::ApprovalDenied),
            ApprovalState::Used => Err(Code::ApprovalUsed),
            ApprovalState::Expired | ApprovalState::Ended => Err(Code::ApprovalExpired),
        }
    }
}

#[cfg(test)]
mod tests;
