//! The leaf of the record: a small envelope in canonical JSON (RFC 8785), public to whoever may read the record.
//!
//! Invariant: an envelope holds ids, names, codes and times, never a resource, a parameter or a secret; those are in
//! the body, of which the envelope has only a salted commitment. Equal envelopes have equal bytes.

use crate::{
    id::{
        ActionId, AgentId, ApprovalId, ConnectionId, EventId, GrantId, Id, Kind, PermitId, TaskId, TokenId,
        UserId,
    },
    json::{self, MAX_INTEGER},
    time::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::io::Write as _;

/// The version of the envelope's form that this code writes and reads.
pub const VERSION: u8 = 1;

macro_rules! entry_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What an entry records. The text form is `agent.registered` and so on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EntryType {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl EntryType {
            /// Every type of entry.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in the record and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// From its name; `None` for no such type.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

entry_types! {
    /// An agent was registered.
    AgentRegistered = "agent.registered",
    /// An agent may act.
    AgentActivated = "agent.activated",
    /// What an administrator says about an agent was changed.
    AgentChanged = "agent.changed",
    /// An agent may not act for now.
    AgentSuspended = "agent.suspended",
    /// An agent will never act again.
    AgentEnded = "agent.ended",
    /// A person said yes to what a client asked; authority is given when the client takes it up.
    GrantConsented = "grant.consented",
    /// A client asked a person for authority, who is told so.
    GrantRequested = "grant.requested",
    /// A person said no to what a client asked.
    GrantRefused = "grant.refused",
    /// It was said what clients may have that nobody registered by hand.
    RegistrationTemplate = "registration.template",
    /// Authority was given.
    GrantIssued = "grant.issued",
    /// A token was issued for a grant.
    GrantToken = "grant.token",
    /// Part of a grant was passed to another agent.
    GrantDelegated = "grant.delegated",
    /// A grant, with everything below it, was taken back.
    GrantRevoked = "grant.revoked",
    /// Part of a grant was taken back, for everything below it too.
    GrantNarrowed = "grant.narrowed",
    /// An agent got a refresh token for a grant.
    GrantRefreshToken = "grant.refresh_token",
    /// A task was completed.
    TaskCompleted = "task.completed",
    /// A task was taken back.
    TaskRevoked = "task.revoked",
    /// An action was denied.
    DecisionDeny = "decision.deny",
    /// An action is held for people.
    DecisionHold = "decision.hold",
    /// A decision was asked for as advice; nothing was done by it.
    DecisionAdvice = "decision.advice",
    /// An allowed action is about to be sent.
    ActionIntent = "action.intent",
    /// What became of an action that was sent.
    ActionOutcome = "action.outcome",
    /// The result of an action was withheld from its agent: what rules say about what comes back could not be applied.
    ActionWithheld = "action.withheld",
    /// Something was found in the result of an action that rules look for: secrets or personal data, by kind and number.
    ActionDetected = "action.detected",
    /// It was found out what became of an action of which nobody knew.
    ActionSettled = "action.settled",
    /// People were asked.
    ApprovalRequested = "approval.requested",
    /// A person approved.
    ApprovalApproved = "approval.approved",
    /// A person denied.
    ApprovalDenied = "approval.denied",
    /// Nobody answered in time, or an answer was not used in time.
    ApprovalExpired = "approval.expired",
    /// The grant that a held request came under has ended.
    ApprovalEnded = "approval.ended",
    /// An answer counts no more: whoever gave it has lost what let them give it.
    ApprovalVoteLost = "approval.vote_lost",
    /// A person answered more broadly than this once.
    PermitGiven = "permit.given",
    /// A permit was taken back.
    PermitRevoked = "permit.revoked",
    /// A version of a policy took effect.
    PolicyApplied = "policy.applied",
    /// A version of a policy is for some agents before it is for all.
    PolicyStaged = "policy.staged",
    /// The stage of a policy ended without becoming what all have.
    PolicyUnstaged = "policy.unstaged",
    /// A policy was put out of force.
    PolicyRemoved = "policy.removed",
    /// A version of a service's description took effect.
    ServiceApplied = "service.applied",
    /// It was said what this server is at a service's authorization server, or that it is nothing there any more.
    ServiceClient = "service.client",
    /// The MCP server of a service says something else of its tools than before.
    ServiceTools = "service.tools",
    /// A connection to an upstream was added.
    ConnectionAdded = "connection.added",
    /// A connection was changed: parked, confirmed, or given another secret or other agents.
    ConnectionChanged = "connection.changed",
    /// The credential of a connection was tried on the action that its service names for that.
    ConnectionChecked = "connection.checked",
    /// A connection is gone, with its secret.
    ConnectionRemoved = "connection.removed",
    /// A resource server was registered.
    ResourceServerAdded = "resource_server.added",
    /// A resource server got a new secret.
    ResourceServerChanged = "resource_server.changed",
    /// A resource server may ask and charge no more.
    ResourceServerEnded = "resource_server.ended",
    /// Somebody else's assertions count from now on.
    IssuerTrusted = "issuer.trusted",
    /// What is said about a trusted issuer was changed: whom it means by a subject.
    IssuerChanged = "issuer.changed",
    /// An issuer's assertions count no more, and what was given on its word has ended.
    IssuerRemoved = "issuer.removed",
    /// People can sign in with an identity provider.
    ProviderAdded = "provider.added",
    /// This server shows another secret to an identity provider.
    ProviderChanged = "provider.changed",
    /// A user signs in as a subject of an identity provider, or no more.
    ProviderLinked = "provider.linked",
    /// Nobody signs in with an identity provider any more; sessions that began with it have ended.
    ProviderRemoved = "provider.removed",
    /// It was said what a scope means, what it stands for and who may delegate it.
    ScopeApplied = "scope.applied",
    /// A scope is registered no more.
    ScopeRemoved = "scope.removed",
    /// It was declared what an authorization detail of a type has to be and how it may be narrower.
    DetailTypeApplied = "detail_type.applied",
    /// A type of authorization details is declared no more.
    DetailTypeRemoved = "detail_type.removed",
    /// A key was made.
    KeyCreated = "key.created",
    /// A key signs or seals from now on.
    KeyActivated = "key.activated",
    /// A key signs or seals no more; what it did before is still good.
    KeyRetired = "key.retired",
    /// A key is gone: nothing that it signed or sealed is taken any more.
    KeyRemoved = "key.removed",
    /// A connection to a host that the operator lets through is about to be passed on, unread.
    EgressPassed = "egress.passed",
    /// A user was made.
    UserCreated = "user.created",
    /// A user's roles were changed.
    UserRoles = "user.roles",
    /// A person changed their password.
    UserPassword = "user.password",
    /// A code of an authenticator app is asked for when a person signs in.
    UserTotpEnrolled = "user.totp_enrolled",
    /// A person signs in without a code again.
    UserTotpRemoved = "user.totp_removed",
    /// A person got new recovery codes.
    UserRecoveryCodes = "user.recovery_codes",
    /// A person added a passkey.
    UserPasskeyAdded = "user.passkey_added",
    /// A person removed a passkey.
    UserPasskeyRemoved = "user.passkey_removed",
    /// An administrator took from a person everything to sign in with but the password.
    UserFactorsRemoved = "user.factors_removed",
    /// A person signed in.
    SessionStarted = "session.started",
    /// A person's session ended.
    SessionEnded = "session.ended",
    /// The installation was restored from a backup: what came after it is gone.
    ServerRestored = "server.restored",
    /// What a server counted without an entry for each.
    ServerSummary = "server.summary",
}

/// The public part of an entry. Start from [`Envelope::new`] and set what is known:
/// `Envelope { agent: Some(agent), ..Envelope::new(id, entry_type, at) }`. Members without a value are left out of
/// the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The entry's id.
    pub id: EventId,
    /// What is recorded.
    #[serde(rename = "type")]
    pub entry_type: EntryType,
    /// When it happened, microseconds, UTC.
    pub at: Timestamp,
    /// The acting agent.
    pub agent: Option<AgentId>,
    /// The whole chain of agents, the acting one first.
    #[serde(default)]
    pub chain: Vec<AgentId>,
    /// The chain of grants, that of the acting agent first.
    #[serde(default)]
    pub grants: Vec<GrantId>,
    /// The task.
    pub task: Option<TaskId>,
    /// The user by whose authority it is done.
    pub user: Option<UserId>,
    /// The token (`jti`).
    pub token: Option<TokenId>,
    /// The policies that took part, `name@version`.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The service, `name@version`.
    pub service: Option<String>,
    /// The connection at the upstream.
    pub connection: Option<ConnectionId>,
    /// The action's name.
    pub action: Option<String>,
    /// The one action on its way through a door; joins intent and outcome.
    pub action_id: Option<ActionId>,
    /// `allow`, `deny` or `hold`.
    pub decision: Option<Verdict>,
    /// The door that it came to: `action`, `proxy`, `mcp` or `egress`.
    pub door: Option<String>,
    /// The codes of the reasons.
    #[serde(default)]
    pub codes: Vec<String>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// What became of the action.
    pub outcome: Option<String>,
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// How many equal events this entry stands for; at most 2^53.
    pub count: Option<u64>,
    /// The address that the request came from.
    pub source: Option<String>,
    /// Who did it where no agent did: a user's id or `admin-token`.
    pub by: Option<String>,
    /// The approval.
    pub approval: Option<ApprovalId>,
    /// The key, `purpose/name`: never the key itself.
    pub key: Option<String>,
    /// The permits that took the place of an approval, or the one that was given or taken back.
    #[serde(default)]
    pub permits: Vec<PermitId>,
    /// The salted commitment to the body ([`super::body::commit`]); base64url in the text.
    #[serde(default, deserialize_with = "read_commitment")]
    pub commitment: Option<[u8; 32]>,
}

/// The three answers a decision can have, as an envelope writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The action may be done.
    Allow,
    /// It may not.
    Deny,
    /// People are asked.
    Hold,
}

impl Verdict {
    /// `allow`, `deny` or `hold`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hold => "hold",
        }
    }
}

/// Bytes that are not the canonical form of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not JSON, a member is unknown, missing or of the wrong form.
    #[error("not an entry of the record: {0}")]
    Form(String),
    /// Readable, but not the bytes that [`Envelope::encode`] writes, so that its hash would be another.
    #[error("an entry of the record that is not in canonical form")]
    NotCanonical,
    /// Written by a version of the server that this one does not know.
    #[error("an entry of the record of version {0}; this server reads version {VERSION}")]
    Version(u64),
}

impl Envelope {
    /// An envelope with nothing but what every entry has.
    pub fn new(id: EventId, entry_type: EntryType, at: Timestamp) -> Self {
        Self {
            id,
            entry_type,
            at,
            agent: None,
            chain: Vec::new(),
            grants: Vec::new(),
            task: None,
            user: None,
            token: None,
            policies: Vec::new(),
            service: None,
            connection: None,
            action: None,
            action_id: None,
            decision: None,
            door: None,
            codes: Vec::new(),
            rule: None,
            outcome: None,
            status: None,
            count: None,
            source: None,
            by: None,
            approval: None,
            key: None,
            permits: Vec::new(),
            commitment: None,
        }
    }

    /// The canonical bytes: the leaf of the tree.
    pub fn encode(&self) -> Vec<u8> {
        // In the order of keys that RFC 8785 wants; a test holds it against `json::canonical`.
        let mut out = Writer(Vec::with_capacity(768));
        out.text("action", self.action.as_deref());
        out.id("action_id", self.action_id);
        out.id("agent", self.agent);
        out.id("approval", self.approval);
        out.plain("at", self.at);
        out.text("by", self.by.as_deref());
        out.ids("chain", &self.chain);
        out.texts("codes", &self.codes);
        out.text("commitment", self.commitment.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).as_deref());
        out.id("connection", self.connection);
        out.integer("count", self.count);
        out.text("decision", self.decision.map(Verdict::as_str));
        out.text("door", self.door.as_deref());
        out.ids("grants", &self.grants);
        out.id("id", Some(self.id));
        out.text("key", self.key.as_deref());
        out.text("outcome", self.outcome.as_deref());
        out.ids("permits", &self.permits);
        out.texts("policies", &self.policies);
        out.text("rule", self.rule.as_deref());
        out.text("service", self.service.as_deref());
        out.text("source", self.source.as_deref());
        out.integer("status", self.status.map(u64::from));
        out.id("task", self.task);
        out.id("token", self.token);
        out.text("type", Some(self.entry_type.as_str()));
        out.id("user", self.user);
        out.integer("v", Some(u64::from(VERSION)));
        out.0.push(b'}');
        out.0
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`LeafError`] for anything that [`Envelope::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let mut value = json::parse(bytes).map_err(|error| LeafError::Form(error.to_string()))?;
        let version = value.as_object_mut().and_then(|members| members.remove("v")).and_then(|v| v.as_u64());
        match version {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(LeafError::Version(version)),
            None => return Err(LeafError::Form("`v` is missing or not a number".into())),
        }
        let read: Self = serde_json::from_value(value).map_err(|error| LeafError::Form(error.to_string()))?;
        if read.encode() == bytes { Ok(read) } else { Err(LeafError::NotCanonical) }
    }
}

fn read_commitment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or_else(|| de::Error::custom("`commitment` is not 32 bytes in base64url"))
}

/// Writes members into one object; those without a value are left out.
struct Writer(Vec<u8>);

impl Writer {
    fn key(&mut self, key: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            json::write_string(&mut self.0, value);
        }
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, values, |out, value| json::write_string(out, value));
    }

    fn id<K: Kind>(&mut self, key: &str, value: Option<Id<K>>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    fn ids<K: Kind>(&mut self, key: &str, values: &[Id<K>]) {
        self.list(key, values, |out, value| quoted(out, value));
    }

    fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.key(key);
        quoted(&mut self.0, value);
    }

    fn integer(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(key);
            display(&mut self.0, value.min(MAX_INTEGER.unsigned_abs()));
        }
    }

    fn list<T>(&mut self, key: &str, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
        if values.is_empty() {
            return;
        }
        self.key(key);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write(&mut self.0, value);
        }
        self.0.push(b']');
    }
}

/// For text that has nothing to escape: ids and times.
fn quoted(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    out.push(b'"');
    display(out, value);
    out.push(b'"');
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing into a `Vec` can't fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests;
