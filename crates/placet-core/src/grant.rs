//! Grants: nodes of delegated authority.
//!
//! A grant permits an action iff some scope **and** some tool **and** some resource (**and** some authorization
//! detail, if it has any) permit it. A child never exceeds its parent in any dimension: [`Authority::narrow`] is
//! the only way to make one, and it refuses what the parent doesn't cover, naming it (DESIGN §3.3). Limits are
//! never compared: a child's are added to its ancestors'.
//!
//! Invariant: nothing here widens. Whether a grant is alive is a question about its whole chain ([`crate::chain`]).

pub mod cover;

use crate::{
    action::Action,
    id::{AgentId, ConnectionId, GrantId, TaskId, UserId},
    jose::Thumbprint,
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    scope::Scope,
    time::Timestamp,
    token::Confirmation,
};
use cover::{AuthorizationDetail, beyond, reduce, uncovered};
use serde::{Deserialize, Serialize};

/// The deepest that a lineage may get unless its root says less.
pub const MAX_DEPTH: u8 = 8;

/// What a grant permits: the dimensions that narrowing compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Authority {
    /// Scopes; an empty list permits nothing.
    pub scope: Vec<Scope>,
    /// Action patterns; an empty list permits nothing.
    pub tools: Vec<ActionPattern>,
    /// Resource patterns; an empty list permits nothing.
    pub resources: Vec<ResourcePattern>,
    /// The connections it reaches; absent: its user's and the organization's open ones.
    pub connections: Option<Vec<ConnectionId>>,
    /// RFC 9396 details; empty: no further bound.
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The declared types of which details may be stated where there are none yet: what an administrator says of an
    /// agent, in its registration grant only. A grant below it has the details that it was given, and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail_types: Vec<String>,
    /// Who may be shown its tokens (`aud`).
    pub audience: Vec<String>,
    /// Not before this.
    pub not_before: Timestamp,
    /// Not at or after this.
    pub expires: Timestamp,
    /// How many links may hang below the root, counted from it.
    pub max_depth: u8,
    /// The key that whoever uses it has to prove to hold; none: its tokens may be bound or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Thumbprint>,
    /// The certificate that whoever uses it has to show (RFC 8705); as for the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Thumbprint>,
}

/// A part of an authority that is asked for; what is left out is copied from the parent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Asked scopes.
    pub scope: Option<Vec<Scope>>,
    /// Asked tools.
    pub tools: Option<Vec<ActionPattern>>,
    /// Asked resources.
    pub resources: Option<Vec<ResourcePattern>>,
    /// Asked connections.
    pub connections: Option<Vec<ConnectionId>>,
    /// Asked details.
    pub authorization_details: Option<Vec<AuthorizationDetail>>,
    /// Asked audience.
    pub audience: Option<Vec<String>>,
    /// Asked end.
    pub expires: Option<Timestamp>,
    /// What it shall be bound to.
    pub bound: Confirmation,
}

/// What a request asked beyond its parent, by dimension, with the entries that exceed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Exceeds {
    /// Scopes or tools that no single entry of the parent covers (`invalid_scope`).
    #[error("the parent does not grant {}: {}", if *tools { "the tool" } else { "the scope" }, entries.join(", "))]
    Scope {
        /// The entries that exceed.
        entries: Vec<String>,
        /// Whether they are tools rather than scopes.
        tools: bool,
    },
    /// Resources, connections or audiences beyond the parent's (`invalid_target`).
    #[error("the parent does not reach {what}: {}", entries.join(", "))]
    Target {
        /// `resource`, `connection` or `audience`.
        what: &'static str,
        /// The entries that exceed.
        entries: Vec<String>,
    },
    /// Details that no single entry of the parent covers (`invalid_authorization_details`).
    #[error("the parent has no authorization detail that covers entry {}", entries.join(", "))]
    Details {
        /// Indexes of the entries that exceed, as text.
        entries: Vec<String>,
    },
    /// Details of declared types that the parent neither has nor may state (`invalid_authorization_details`).
    #[error("the agent may not state authorization details of the type {} here", types.join(", "))]
    DetailTypes {
        /// The types.
        types: Vec<String>,
    },
    /// The lineage is as deep as its root allows (`invalid_grant`).
    #[error("the lineage may not be deeper than {0}")]
    Depth(u8),
    /// The parent is bound to a key, and the child would not be, or to another (`invalid_grant`).
    #[error("the parent is bound to a key: send a DPoP proof with it")]
    Key,
    /// The same with a certificate.
    #[error("the parent is bound to a certificate: send the request with it, over mutual TLS")]
    Certificate,
}

impl Exceeds {
    /// The `error` of the token endpoint (RFC 6749 §5.2, RFC 8707 §2, RFC 9396 §5).
    pub const fn oauth(&self) -> &'static str {
        match self {
            Self::Scope { .. } => "invalid_scope",
            Self::Target { .. } => "invalid_target",
            Self::Details { .. } | Self::DetailTypes { .. } => "invalid_authorization_details",
            Self::Depth(_) | Self::Key | Self::Certificate => "invalid_grant",
        }
    }
}

impl Authority {
    /// Permits everything, for as long as there is time: for made-up grants on which policies are tried, and none else.
    pub(crate) fn unlimited() -> Option<Self> {
        Some(Self {
            scope: vec![Scope::parse("**").ok()?],
            tools: vec![ActionPattern::parse("**").ok()?],
            resources: vec![ResourcePattern::everything()],
            connections: None,
            authorization_details: Vec::new(),
            detail_types: Vec::new(),
            audience: Vec::new(),
            not_before: Timestamp::from_micros(0),
            expires: Timestamp::MAX,
            max_depth: MAX_DEPTH,
            key: None,
            certificate: None,
        })
    }

    /// The authority of a child that asks for `request`. A life that the request leaves out or that outlasts the
    /// parent's ends with the parent's.
    ///
    /// # Errors
    /// [`Exceeds`], naming the entries that the parent doesn't cover.
    pub fn narrow(&self, request: &Request) -> Result<Self, Exceeds> {
        let mut child = Self { detail_types: Vec::new(), ..self.clone() };
        if let Some(asked) = &request.scope {
            let over = uncovered(asked, &self.scope, Scope::covers);
            if !over.is_empty() {
                return Err(Exceeds::Scope { entries: texts(&over), tools: false });
            }
            child.scope.clone_from(asked);
        }
        if let Some(asked) = &request.tools {
            let over = uncovered(asked, &self.tools, ActionPattern::covers);
            if !over.is_empty() {
                return Err(Exceeds::Scope { entries: texts(&over), tools: true });
            }
            child.tools.clone_from(asked);
        }
        if let Some(asked) = &request.resources {
            let over = uncovered(asked, &self.resources, ResourcePattern::covers);
            if !over.is_empty() {
                return Err(Exceeds::Target { what: "resource", entries: texts(&over) });
            }
            child.resources.clone_from(asked);
        }
        if let Some(asked) = &request.connections {
            let over =
                self.connections.as_ref().map(|own| uncovered(asked, own, PartialEq::eq)).unwrap_or_default();
            if !over.is_empty() {
                return Err(Exceeds::Target { what: "connection", entries: texts(&over) });
            }
            child.connections = Some(asked.clone());
        }
        if let Some(asked) = &request.audience {
            let over = uncovered(asked, &self.audience, PartialEq::eq);
            if !over.is_empty() {
                return Err(Exceeds::Target { what: "audience", entries: texts(&over) });
            }
            child.audience.clone_from(asked);
        }
        if let Some(asked) = &request.authorization_details {
            self.check_details(asked)?;
            child.authorization_details.clone_from(asked);
        }
        if let Some(asked) = request.expires {
            child.expires = asked.min(self.expires);
        }
        if let Some(asked) = request.bound.jkt {
            if self.key.is_some_and(|own| own != asked) {
                return Err(Exceeds::Key);
            }
            child.key = Some(asked);
        }
        if let Some(asked) = request.bound.certificate {
            if self.certificate.is_some_and(|own| own != asked) {
                return Err(Exceeds::Certificate);
            }
            child.certificate = Some(asked);
        }
        Ok(child)
    }

    /// Whether a child may have these details.
    fn check_details(&self, asked: &[AuthorizationDetail]) -> Result<(), Exceeds> {
        let own = &self.authorization_details;
        if own.is_empty() {
            // A parent without details is not bounded by any: one of Placet's own type is then a narrowing. To whoever
            // reads one of a declared type it is more than none.
            let types = asked.iter().filter_map(|detail| match detail {
                AuthorizationDetail::Other(entry) => Some(entry),
                AuthorizationDetail::PlacetAction { .. } => None,
            });
            let beyond = types.filter(|entry| entry.declared().is_none() || !self.may_state(entry.kind()));
            let types = quoted(beyond.map(|entry| entry.kind()));
            return if types.is_empty() { Ok(()) } else { Err(Exceeds::DetailTypes { types }) };
        }
        let entries: Vec<String> = beyond(asked, own).iter().map(ToString::to_string).collect();
        // An empty list from a bounded parent would lift the bound.
        if entries.is_empty() && !asked.is_empty() { Ok(()) } else { Err(Exceeds::Details { entries }) }
    }

    /// The details of this authority that the holder of `registration` may have as well, where they are handed on to it:
    /// Placet's own, and those of the types that it may state.
    ///
    /// # Errors
    /// [`Exceeds::DetailTypes`] where none would be left: without any, nothing would be bounded.
    pub fn details_for(&self, registration: &Self) -> Result<Vec<AuthorizationDetail>, Exceeds> {
        let may = |detail: &AuthorizationDetail| match detail {
            AuthorizationDetail::PlacetAction { .. } => true,
            AuthorizationDetail::Other(entry) => registration.may_state(entry.kind()),
        };
        let own = &self.authorization_details;
        let left: Vec<AuthorizationDetail> = own.iter().filter(|detail| may(detail)).cloned().collect();
        if left.is_empty() && !own.is_empty() {
            return Err(Exceeds::DetailTypes { types: quoted(own.iter().map(AuthorizationDetail::kind)) });
        }
        Ok(left)
    }

    /// Whether details of this declared type may be stated where there are none yet.
    fn may_state(&self, kind: &str) -> bool {
        self.detail_types.iter().any(|own| own == kind)
    }

    /// What whoever uses it has to prove to hold.
    pub fn bound(&self) -> Confirmation {
        Confirmation { jkt: self.key, certificate: self.certificate }
    }

    /// The same authority in the hands of another holder, who has proved to hold what is in `shown`: what is bound stays
    /// bound, to the new holder's. Only for what the old holder has handed on with its own proof.
    ///
    /// # Errors
    /// [`Exceeds::Key`] and [`Exceeds::Certificate`] where it is bound and the new holder proves nothing.
    pub fn handed_on(&self, shown: Confirmation) -> Result<Self, Exceeds> {
        let Some(bound) = self.bound().claim() else { return Ok(self.clone()) };
        if shown.claim().is_none() {
            return Err(if bound.jkt.is_some() { Exceeds::Key } else { Exceeds::Certificate });
        }
        Ok(Self { key: shown.jkt, certificate: shown.certificate, ..self.clone() })
    }

    /// Whether `shown` is enough to use it.
    ///
    /// # Errors
    /// [`Exceeds::Key`] and [`Exceeds::Certificate`].
    pub fn must_be_shown(&self, shown: Confirmation) -> Result<(), Exceeds> {
        if self.key.is_some() && self.key != shown.jkt {
            return Err(Exceeds::Key);
        }
        if self.certificate.is_some() && self.certificate != shown.certificate {
            return Err(Exceeds::Certificate);
        }
        Ok(())
    }

    /// What is left of this authority below `above`, which may have been narrowed since this one was derived from it:
    /// never more than either reaches. Where `above` covers it all, it is what it was. Details are left as they are:
    /// they are never narrowed in place.
    #[must_use]
    pub fn within(mut self, above: &Self) -> Self {
        reduce(&mut self.scope, &above.scope, Scope::covers);
        reduce(&mut self.tools, &above.tools, ActionPattern::covers);
        reduce(&mut self.resources, &above.resources, ResourcePattern::covers);
        self.expires = self.expires.min(above.expires);
        self
    }

    /// Whether it reaches everything that `other` does, whatever their lives.
    pub fn covers(&self, other: &Self) -> bool {
        let all = Request {
            scope: Some(other.scope.clone()),
            tools: Some(other.tools.clone()),
            resources: Some(other.resources.clone()),
            connections: other.connections.clone(),
            authorization_details: Some(other.authorization_details.clone()),
            audience: Some(other.audience.clone()),
            expires: None,
            bound: other.bound(),
        };
        // A list that the other leaves open is wider than any list of this one; so is no key at all.
        self.connections.is_some() <= other.connections.is_some()
            && uncovered(&other.detail_types, &self.detail_types, PartialEq::eq).is_empty()
            && self.key.is_some() <= other.key.is_some()
            && self.certificate.is_some() <= other.certificate.is_some()
            && self.narrow(&all).is_ok()
    }

    /// The first dimension that doesn't permit `action`; `None` where all permit it.
    pub fn missing(&self, action: &Action) -> Option<Missing> {
        if !self.scope.iter().any(|scope| scope.permits(&action.name, &action.known)) {
            return Some(Missing::Scope);
        }
        if !self.tools.iter().any(|tool| tool.matches(&action.name)) {
            return Some(Missing::Tool);
        }
        if !self.resources.iter().any(|pattern| pattern.covers(&action.known)) {
            return Some(Missing::Resource);
        }
        let details = &self.authorization_details;
        if !details.is_empty()
            && !details.iter().any(|d| d.permits(&action.name, &action.known, &action.params))
        {
            return Some(Missing::Detail);
        }
        match (&self.connections, action.connection) {
            (Some(own), Some(connection)) if !own.contains(&connection) => Some(Missing::Connection),
            _ => None,
        }
    }
}

/// The dimension of a grant that doesn't permit an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the dimensions of Authority")]
pub enum Missing {
    Scope,
    Tool,
    Resource,
    Detail,
    Connection,
}

impl Missing {
    /// The remedy's key: what the agent would need.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Detail => "authorization_details",
            Self::Connection => "connection",
        }
    }
}

/// Types as they are named to people.
fn quoted<'k>(kinds: impl Iterator<Item = &'k str>) -> Vec<String> {
    kinds.map(|kind| format!("`{}`", kind.escape_default())).collect()
}

fn texts<T: std::fmt::Display>(entries: &[&T]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

/// How a grant came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The root that registering an agent makes.
    Registration,
    /// A root that a person made for an agent, by `POST /v1/tasks`.
    Person,
    /// Obtained by the agent itself with its credential.
    Agent,
    /// Obtained by a child agent from its parent's access token; it ends with that token.
    ParentToken,
    /// Obtained by a child agent from a delegation token made for it.
    Delegation,
}

/// When, by whom and why a grant was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When it committed.
    pub at: Timestamp,
    /// Who did it: an agent's or user's id, or `admin-token`.
    pub by: String,
    /// As given, at most 500 characters.
    pub reason: Option<String>,
}

/// One node of delegated authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The root of its tree; its own id where it is one.
    pub root: GrantId,
    /// The grant it hangs from; none for a root.
    pub parent: Option<GrantId>,
    /// Links above it.
    pub depth: u8,
    /// The agent that holds it.
    pub agent: AgentId,
    /// The person on whose behalf (never set from an agent's request).
    pub user: Option<UserId>,
    /// The purpose; none for a registration grant.
    pub task: Option<TaskId>,
    /// What it permits.
    pub authority: Authority,
    /// Limits that are added to the ancestors'.
    pub limits: Vec<Limit>,
    /// How it came to be.
    pub origin: Origin,
    /// When it was made.
    pub created: Timestamp,
    /// Set once, when it is revoked.
    pub revoked: Option<Revoked>,
}

impl Grant {
    /// A root, for no task yet and without limits of its own.
    pub fn root(
        id: GrantId,
        agent: AgentId,
        user: Option<UserId>,
        authority: Authority,
        origin: Origin,
        created: Timestamp,
    ) -> Self {
        Self {
            id,
            root: id,
            parent: None,
            depth: 0,
            agent,
            user,
            task: None,
            authority,
            limits: Vec::new(),
            origin,
            created,
            revoked: None,
        }
    }
}
