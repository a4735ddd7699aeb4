//! A chain: a grant with all its ancestors, leaf first. It exists only while every link is alive.
//!
//! [`Chain::assemble`] is the only constructor, and a chain is the only thing that authority is judged by or
//! narrowed from. What has ended since is found at the commit point, which compares [`Chain::stamps`] with what is
//! stored.
//!
//! Invariant: no chain has a revoked, expired or suspended link at the time it is assembled for.

pub mod standing;

use crate::{
    agent::{Agent, AgentState},
    grant::{Authority, Grant, Origin},
    id::{AgentId, GrantId, UserId},
    refusal::{Code, Reason},
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
    user::User,
};
use std::sync::Arc;

/// One link: a grant, the agent that holds it, and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The grant.
    pub grant: Arc<Grant>,
    /// The agent that holds it.
    pub agent: Arc<Agent>,
    /// The root of that agent's own authority: whatever it holds must be permitted there too (DESIGN §3.8).
    pub registration: Arc<Grant>,
    /// The grant's task.
    pub task: Option<Arc<Task>>,
    /// The grant's user.
    pub user: Option<Arc<User>>,
}

impl Link {
    /// The task as far as policies may know it: of one that the agent made itself, only the id.
    pub(crate) fn stated_task(&self) -> Option<&Task> {
        self.task.as_deref().filter(|task| task.origin != TaskOrigin::Agent)
    }
}

/// What the commit point compares: the version of everything that the chain's life hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stamp {
    /// The revocation epoch of a lineage: rises with each revocation or narrowing below the root.
    Lineage(GrantId),
    /// The version of an agent.
    Agent(AgentId),
}

/// A grant with all its ancestors, leaf first, each alive.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    links: Vec<Link>,
    stamps: Vec<(Stamp, u64)>,
    expires: Timestamp,
}

impl Chain {
    /// The agent that holds the root of the lineage: what agents below it do counts as its doing where shares are given.
    pub fn root_agent(&self) -> AgentId {
        self.links().last().map_or(self.agent().id, |root| root.agent.id)
    }

    /// Makes the chain of `links` (leaf first) if every link is alive at `now`. `stamps` are the versions that were
    /// read together with the links.
    ///
    /// # Errors
    /// The reason why there is no such chain: `token_revoked`, `lineage_revoked`, `token_expired`, `task_ended` or
    /// `agent_inactive`; `internal` where the links are not a chain.
    pub fn assemble(links: Vec<Link>, stamps: Vec<(Stamp, u64)>, now: Timestamp) -> Result<Self, Reason> {
        // A revocation ends the tasks of its subtree with it, and is the cause that is told.
        if let Some(index) = links.iter().position(|link| link.grant.revoked.is_some()) {
            return Err(Reason::of(if index == 0 { Code::TokenRevoked } else { Code::LineageRevoked }));
        }
        let mut expires = Timestamp::MAX;
        for (index, link) in links.iter().enumerate() {
            let above = links.get(index + 1).map(|parent| parent.grant.id);
            if link.grant.parent != above || link.agent.id != link.grant.agent {
                return Err(Reason::of(Code::Internal).detail("the lineage is broken"));
            }
            if let Some(task) = &link.task
                && task.state_at(now) != TaskState::Active
            {
                return Err(Reason::of(Code::TaskEnded));
            }
            if link.agent.state != AgentState::Active {
                return Err(Reason::of(Code::AgentInactive));
            }
            // A registration that was revoked ends all that its agent holds, wherever it hangs.
            if link.registration.revoked.is_some() {
                return Err(Reason::of(Code::LineageRevoked));
            }
            let authority = &link.grant.authority;
            if now < authority.not_before || authority.expires <= now {
                return Err(Reason::of(if index == 0 { Code::TokenExpired } else { Code::LineageRevoked }));
            }
            let task_end = link.task.as_ref().and_then(|task| task.expires).unwrap_or(Timestamp::MAX);
            expires = expires.min(authority.expires).min(task_end);
        }
        if links.is_empty() {
            return Err(Reason::of(Code::Internal).detail("the lineage is empty"));
        }
        Ok(Self { links, stamps, expires })
    }

    /// The links, leaf first; never empty.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The leaf: the grant that a token represents.
    pub fn leaf(&self) -> &Link {
        // `assemble` refuses an empty chain.
        #[expect(clippy::indexing_slicing, reason = "a chain has at least one link")]
        &self.links[0]
    }

    /// The agent that acts.
    pub fn agent(&self) -> &Agent {
        &self.leaf().agent
    }

    /// The person on whose behalf, if any.
    pub fn user(&self) -> Option<&User> {
        self.leaf().user.as_deref()
    }

    /// The id of that person.
    pub fn user_id(&self) -> Option<UserId> {
        self.leaf().grant.user
    }

    /// What the commit point compares.
    pub fn stamps(&self) -> &[(Stamp, u64)] {
        &self.stamps
    }

    /// When the first of its links ends by itself.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Links with adjacent ones of the same agent as one (the leafward stands for all): policies are evaluated once
    /// for each, and the limits of a counter are charged once (DESIGN §3.4).
    pub(crate) fn policy_links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().enumerate().filter_map(|(index, link)| {
            let below = index.checked_sub(1).and_then(|below| self.links.get(below));
            (below.map(|below| below.agent.id) != Some(link.agent.id)).then_some(link)
        })
    }

    /// Every authority that has to permit an action: each link's grant, and the registration of each agent that
    /// holds one.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.links.iter().flat_map(|link| {
            let own = (link.grant.origin != Origin::Registration).then_some(&link.registration.authority);
            [Some(&link.grant.authority), own].into_iter().flatten()
        })
    }

    /// What the leaf permits as things are: its own authority, within whatever is left of those above it and of its
    /// holders' registrations. Nothing is derived from more. Decisions ask each authority by itself, which is exact.
    pub fn effective(&self) -> Authority {
        let own = self.leaf().grant.authority.clone();
        self.authorities().skip(1).fold(own, Authority::within)
    }

    /// Whether another link may hang below the leaf.
    pub fn may_deepen(&self) -> bool {
        let max = self.links.iter().map(|link| link.grant.authority.max_depth).min().unwrap_or(0);
        self.leaf().grant.depth < max
    }
}
