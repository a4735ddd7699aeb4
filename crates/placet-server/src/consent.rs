//! What a person would consent to, worked out and said, and the transaction in which they do: the same for every way in
//! which a client asks people for authority (authorization codes, device authorization, CIBA).
//!
//! Invariant: only what a person was told is granted, in their own name, while their session lives; what would be
//! granted is worked out again in the transaction, and where it is not what was told, nothing is.

use crate::{
    api::roots,
    app::App,
    caller::{SignedIn, Source},
    oauth::client::{self, By, Named},
    people::session,
    problem::Problem,
    recording,
};
use placet_core::{
    agent::{Agent, AgentState},
    authorize::Refusal,
    chain::{Chain, Link},
    consent::{Consent, Declared, Part, Unknown, Way},
    grant::{Authority, Grant, cover::AuthorizationDetail},
    id::{SessionId, UserId},
    pattern::ActionPattern,
    record::{EntryType, Envelope},
    refusal::Code,
    scope::Scope,
    secret::sha256,
    task::Task,
    time::Timestamp,
    waiting::Consented,
};
use placet_store::{Fault, Query, Tx, agents, clients, connections, grants, tasks};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The most connections that a person is shown; a grant that reaches more is not asked about.
const MAX_CONNECTIONS: usize = 1000;

/// For how long a person can grant: as a form says it, in words, and in seconds. Never longer than the agent's
/// registration lasts.
pub(crate) const LASTS: [(&str, &str, u64); 5] = [
    ("1h", "1 hour", 3600),
    ("8h", "8 hours", 8 * 3600),
    ("1d", "1 day", 24 * 3600),
    ("7d", "7 days", 7 * 24 * 3600),
    ("30d", "30 days", 30 * 24 * 3600),
];
/// What is chosen where nobody chooses.
pub(crate) const USUAL: &str = "1d";

/// What a client seeks of a person.
#[derive(Clone)]
pub(crate) struct Sought {
    /// Who asks.
    pub(crate) client: Named,
    /// What would be granted.
    pub(crate) wanted: roots::Wanted,
    /// The client's label for the task.
    pub(crate) label: Option<String>,
    /// What the client says that the task is for.
    pub(crate) description: Option<String>,
}

/// What would be granted, as things are.
pub(crate) struct Draft {
    grant: Grant,
    task: Task,
    connections: Vec<(String, String)>,
}

/// Why nothing is granted.
pub(crate) enum Failing {
    /// The client is told.
    Refused(Refusal),
    /// The person is told.
    Failed(Problem),
}

impl From<Problem> for Failing {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<Fault> for Failing {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl From<Refusal> for Failing {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The time that a word of [`LASTS`] stands for.
pub(crate) fn lasting(word: &str) -> Option<Duration> {
    LASTS.iter().find(|(value, ..)| *value == word).map(|(.., seconds)| Duration::from_secs(*seconds))
}

/// Works out what would be granted for the usual time.
pub(crate) async fn draft(
    app: &Arc<App>,
    sought: &Sought,
    person: &SignedIn,
    now: Timestamp,
) -> Result<Draft, Failing> {
    let terms = Terms::new(app, sought, person, roots::LIFETIME, now);
    let (inner, client) = (Arc::clone(app), sought.client.clone());
    let drafted =
        app.store.read(move |q| terms.draft(&inner, q, &client.agent, &client.registration)).await?;
    drafted.map_err(Failing::Refused)
}

impl Draft {
    /// All that the person is told.
    pub(crate) fn parts(
        &self,
        app: &App,
        sought: &Sought,
        person: &SignedIn,
        way: Way<'_>,
        now: Timestamp,
    ) -> Vec<Part> {
        let client = &sought.client;
        Consent {
            agent: &client.agent,
            client_name: client.metadata.client_name.as_deref(),
            unknown: client.unconfirmed.map(|origin| match origin {
                clients::Origin::Document => Unknown::At(&client.id),
                clients::Origin::Registration | clients::Origin::Administrator => Unknown::Itself,
            }),
            user: &person.user,
            way,
            authority: &self.grant.authority,
            task: &self.task,
            actions: &declared(app, &client.agent, &self.grant.authority),
            connections: &self.connections,
            limits: &self.limits(app, client, person, now),
        }
        .parts()
    }

    /// What of it the person is told, whatever the time. A client that is not confirmed yet has only its id on the wire.
    pub(crate) fn digest(&self, client: &Named) -> [u8; 32] {
        let authority = Authority {
            not_before: Timestamp::from_micros(0),
            expires: Timestamp::from_micros(0),
            ..self.grant.authority.clone()
        };
        // What a declared type means is in the administrator's words, which may have changed.
        let meanings: Vec<_> = authority
            .authorization_details
            .iter()
            .map(|detail| match detail {
                AuthorizationDetail::Other(entry) => {
                    entry.declared().map(|declared| declared.definition().description.clone())
                }
                AuthorizationDetail::PlacetAction { .. } => None,
            })
            .collect();
        let told =
            json!([authority, meanings, client.id, self.task.description, self.task.label, self.connections]);
        sha256(&[told.to_string().as_bytes()])
    }

    /// The limits of the rules that apply to the agent.
    fn limits(&self, app: &App, client: &Named, person: &SignedIn, now: Timestamp) -> Vec<String> {
        let link = Link {
            grant: Arc::new(self.grant.clone()),
            agent: Arc::clone(&client.agent),
            registration: Arc::clone(&client.registration),
            task: Some(Arc::new(self.task.clone())),
            user: Some(Arc::new(person.user.clone())),
        };
        let chain = Chain::assemble(vec![link], Vec::new(), now);
        chain.map(|chain| app.rules.load().policies.bind(&chain).limits()).unwrap_or_default()
    }
}

/// A person's yes, on its way into the store.
pub(crate) struct Yes {
    terms: Terms,
    client: Named,
    session: SessionId,
    source: Source,
    /// The digest of what the person was told.
    seen: [u8; 32],
}

impl Yes {
    /// To what `sought` says, for this long, by a person who was told what has this digest.
    pub(crate) fn new(
        app: &App,
        sought: &Sought,
        person: &SignedIn,
        (lasts, seen): (Duration, [u8; 32]),
        source: Source,
        now: Timestamp,
    ) -> Self {
        let terms = Terms::new(app, sought, person, lasts, now);
        Self { terms, client: sought.client.clone(), session: person.session, source, seen }
    }

    /// In the transaction that stores it: what they consent to, recorded with `how`. Where the client was not confirmed
    /// before, the caller follows up with `app.bearers.authority_changed()`.
    ///
    /// # Errors
    /// A refusal, with which the transaction has to fail: it has confirmed the client. `token_invalid` where the session has
    /// ended, `conflict` where something else would be granted now.
    pub(crate) fn given(&self, app: &App, tx: &mut Tx<'_>, how: &Value) -> Result<Consented, Failing> {
        let now = self.terms.now;
        session::still_signed_in(tx, self.session, now)?;
        let by = By::Consent(self.terms.user.to_string());
        let (agent, registration) = client::confirm(app, tx, &self.client, &by, self.source, now)?;
        // As they are now, whatever was read before.
        let agent = agents::find(tx, agent.id)?.filter(|agent| agent.state == AgentState::Active);
        let registration =
            grants::find(tx, registration.id)?.filter(|registration| registration.revoked.is_none());
        let (Some(agent), Some(registration)) = (agent, registration) else { return Err(changed().into()) };
        let draft = self.terms.draft(app, tx, &agent, &registration)??;
        if draft.digest(&self.client) != self.seen {
            return Err(changed().into());
        }
        let consented = Consented { grant: draft.grant, task: draft.task };
        record(app, tx, &consented, how, self.source, now)?;
        Ok(consented)
    }
}

/// Somebody has answered before.
pub(crate) fn decided() -> Problem {
    Problem::of(
        Code::Conflict,
        "This request was answered before. Nothing was done: begin again in the application.",
    )
}

/// All that a draft is made from; owned, as the transaction may run more than once.
struct Terms {
    wanted: roots::Wanted,
    user: UserId,
    label: Option<String>,
    description: Option<String>,
    now: Timestamp,
}

impl Terms {
    fn new(app: &App, sought: &Sought, person: &SignedIn, lasts: Duration, now: Timestamp) -> Self {
        let mut wanted = roots::Wanted { expires: Some(now.plus(lasts)), ..sought.wanted.clone() };
        // Left out, it is for Placet as it is called now.
        wanted.audience.get_or_insert_with(|| vec![app.issuer.clone()]);
        let user = person.user.id;
        Self { wanted, user, label: sought.label.clone(), description: sought.description.clone(), now }
    }

    /// The grant and its task, neither stored; the inner error is for the client.
    fn draft(
        &self,
        app: &App,
        q: &mut impl Query,
        agent: &Agent,
        registration: &Grant,
    ) -> Result<Result<Draft, Refusal>, Problem> {
        let now = self.now;
        let user = Some(self.user);
        let root = match roots::root_of(app, q, (agent, registration), (user, None), &self.wanted, now)? {
            Ok(root) => root,
            Err(unfit) => return Ok(Err(Refusal::new(unfit.oauth(), &unfit.to_string().replace('`', "'")))),
        };
        if let Some(label) = &self.label
            && tasks::by_label(q, root.agent, root.user, label)?.is_some()
        {
            let why =
                "the client has used this task_id for this person: an authorization is a task of its own";
            return Ok(Err(Refusal::new("invalid_request", why)));
        }
        let (grant, task) = roots::with_task(root, self.label.as_deref(), self.description.as_deref(), now);
        let Some(reached) = connections::all_reachable(q, grant.user, grant.agent, MAX_CONNECTIONS)? else {
            let why = "the grant would reach more connections than a person can be shown";
            return Ok(Err(Refusal::new("access_denied", why)));
        };
        let connections = reached.into_iter().map(|known| (known.name, known.service)).collect();
        Ok(Ok(Draft { grant, task, connections }))
    }
}

fn record(
    app: &App,
    tx: &mut Tx<'_>,
    consented: &Consented,
    how: &Value,
    source: Source,
    now: Timestamp,
) -> Result<(), Problem> {
    let (grant, task) = (&consented.grant, &consented.task);
    let by = grant.user.map(|user| user.to_string()).unwrap_or_default();
    let envelope = Envelope {
        source: recording::source(source.0),
        ..recording::of_grant(EntryType::GrantConsented, now, by, grant)
    };
    let authority = &grant.authority;
    let mut body = json!({"scope": authority.scope, "tools": authority.tools, "resources": authority.resources,
        "connections": authority.connections, "authorization_details": authority.authorization_details,
        "audience": authority.audience, "expires": authority.expires,
        "task_label": task.label, "task_description": task.description});
    if let (Some(body), Some(how)) = (body.as_object_mut(), how.as_object()) {
        body.extend(how.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(tx.record(app.prepare(envelope, Some(&body))?)?)
}

fn changed() -> Problem {
    Problem::of(
        Code::Conflict,
        "What would be granted has changed since the page was shown. Nothing was done: begin again in the application.",
    )
}

/// The actions of services in force that the authority reaches, within the agent's level.
fn declared(app: &App, agent: &Agent, authority: &Authority) -> Vec<Declared> {
    let rules = app.rules.load();
    let mut found: Vec<Declared> = rules
        .services
        .values()
        .flat_map(|live| live.service.actions().map(|action| (action.name().clone(), action.effect())))
        .filter(|(_, effect)| agent.level.permits(*effect))
        .filter(|(name, _)| {
            authority.scope.iter().map(Scope::action).any(|pattern: &ActionPattern| pattern.matches(name))
                && authority.tools.iter().any(|tool| tool.matches(name))
        })
        .map(|(name, effect)| Declared { name: name.as_str().to_owned(), effect })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}
