//! Clients that a request names without proof that it comes from there: for the authorization endpoint, where people
//! are asked about them.
//!
//! Invariant: a client that nobody registered by hand is no agent before a person has confirmed it; what it may have
//! then is what an administrator said beforehand, and nothing that it says itself.

use super::{CLIENT_SECRET, document, find, may_use};
use crate::{
    api::agents::{self as api, registration},
    app::App,
    caller::Source,
    clock,
    problem::{OAuthError, Problem},
    recording,
};
use placet_core::{
    agent::{Agent, AgentState},
    client::{GrantType, Metadata, Template, Uri, document::is_url},
    grant::Grant,
    id::AgentId,
    record::{EntryType, Envelope},
    refusal::Code,
    time::Timestamp,
};
use placet_store::{
    Fault, Tx, agents, client_use,
    clients::{self, Origin, StoredClient},
    grants, registrations,
};
use serde_json::Value;
use std::sync::Arc;

/// A client that a request names.
#[derive(Debug, Clone)]
pub struct Named {
    /// The agent; where the client is not confirmed yet, the one that it would be.
    pub agent: Arc<Agent>,
    /// Its registration grant, alive; or the one that it would have.
    pub registration: Arc<Grant>,
    /// What it is as a client.
    pub metadata: Arc<Metadata>,
    /// Its `client_id`, as it is named on the wire.
    pub id: String,
    /// Where it comes from, until a person has confirmed it ([`confirm`]).
    pub unconfirmed: Option<Origin>,
}

impl Named {
    /// Refuses a grant type that the client is not registered for.
    ///
    /// # Errors
    /// `unauthorized_client` (RFC 6749 §5.2).
    pub fn must_use(&self, grant_type: GrantType) -> Result<(), OAuthError> {
        may_use(&self.metadata, grant_type)
    }
}

/// The client of this `client_id`; `None` where there is none that people could be asked about.
///
/// # Errors
/// 401 `invalid_client` for a document that is not acceptable, 503 for one that can't be read; what the store met.
pub async fn named(app: &App, client_id: &str) -> Result<Option<Named>, OAuthError> {
    if is_url(client_id) {
        return by_document(app, client_id).await;
    }
    let Ok(id) = client_id.parse::<AgentId>() else { return Ok(None) };
    if let Some(client) = find(app, id).await? {
        // A client has one id.
        return Ok((client.id == client_id).then(|| Named::from(&*client)));
    }
    let now = app.clock.now();
    let read = move |q: &mut placet_store::Reader<'_>| {
        Ok::<_, Fault>((registrations::find(q, id)?, registrations::template(q)?))
    };
    let (found, template) = app.store.read(read).await?;
    let found = found.filter(|found| found.expires > now && template.open);
    Ok(found.map(|found| would_be(app, id, client_id, found.metadata, &template, Origin::Registration, now)))
}

async fn by_document(app: &App, url: &str) -> Result<Option<Named>, OAuthError> {
    let sought = url.to_owned();
    let read = move |q: &mut placet_store::Reader<'_>| {
        Ok::<_, Fault>((clients::by_url(q, &sought)?, registrations::template(q)?))
    };
    let (agent, template) = app.store.read(read).await?;
    if agent.is_some() {
        return Ok(document::known(app, url).await?.map(|client| Named::from(&*client)));
    }
    if !template.admits(url) {
        return Ok(None);
    }
    let metadata = document::read(app, url).await?;
    let now = app.clock.now();
    let id = next_id(app, url).await?;
    let named = would_be(app, id, url, (*metadata).clone(), &template, Origin::Document, now);
    Ok(Some(named))
}

/// The agent that a client would be if somebody confirmed it now.
pub(crate) fn would_be(
    app: &App,
    id: AgentId,
    client_id: &str,
    metadata: Metadata,
    template: &Template,
    origin: Origin,
    now: Timestamp,
) -> Named {
    let mut labels = template.labels.clone();
    // Whose document it is, is the one thing about it that was proved.
    if origin == Origin::Document
        && let Ok(Uri { authority: Some(authority), .. }) = Uri::parse(client_id)
    {
        labels.insert("client_host".to_owned(), authority.host.to_ascii_lowercase());
    }
    let grant = clock::fresh(now);
    let agent = Agent {
        id,
        handle: handle(id),
        description: metadata.client_name.clone().unwrap_or_default(),
        owner: None,
        labels,
        level: template.max_scope_level,
        default_scopes: template.default_scopes.clone(),
        registration: grant,
        state: AgentState::Active,
        created: now,
        version: 1,
    };
    let mut registration =
        registration(app, &agent, template.allowed_tools.clone(), template.resource_access.clone(), now);
    registration.authority.detail_types.clone_from(&template.authorization_details_types);
    Named {
        agent: Arc::new(agent),
        registration: Arc::new(registration),
        metadata: Arc::new(metadata),
        id: client_id.to_owned(),
        unconfirmed: Some(origin),
    }
}

/// The id that the agent of a document has when somebody confirms it: always the same, so that what a person is shown
/// and what they confirm are of one agent. One that fell out of use has ended for good, so the next has another.
async fn next_id(app: &App, url: &str) -> Result<AgentId, OAuthError> {
    let mut before = 0;
    loop {
        let id = id_of(app, url, before);
        if app.store.read(move |q| agents::find(q, id)).await?.is_none() {
            return Ok(id);
        }
        before += 1;
    }
}

/// The id of the agent of a document that had so many before.
fn id_of(app: &App, url: &str, before: u32) -> AgentId {
    // No URL has a space in it.
    let name = if before == 0 { url.to_owned() } else { format!("{url} {before}") };
    let hash = app.secrets.hashing.hash("document_client", name.as_bytes());
    let mut entropy = [0; 10];
    for (to, from) in entropy.iter_mut().zip(hash.as_bytes()) {
        *to = *from;
    }
    AgentId::from_parts(Timestamp::from_micros(0), entropy)
}

/// A handle that says that nobody chose it: `client-` and what is unique in the id.
fn handle(id: AgentId) -> String {
    let id = id.to_string();
    format!("client-{}", id.strip_prefix("agt_").unwrap_or(&id))
}

/// Who confirms a client.
#[derive(Debug, Clone)]
pub enum By {
    /// An administrator: from now on it may act for itself, too.
    Administrator(String),
    /// A person who consented to something that it asked for: it acts for people only.
    Consent(String),
}

/// A person has confirmed a client: from now on it is an active agent. Answers the agent and its registration grant,
/// which may be others than those of `named` where somebody confirmed it meanwhile; also for one that needs no
/// confirming. To be called in the transaction that gives it something, which the caller follows up with
/// `app.bearers.authority_changed()`.
///
/// # Errors
/// `conflict` where its time was over, or it has been stopped meanwhile.
pub fn confirm(
    app: &App,
    tx: &mut Tx<'_>,
    named: &Named,
    by: &By,
    source: Source,
    now: Timestamp,
) -> Result<(Agent, Grant), Problem> {
    let (by, acts_alone) = match by {
        By::Administrator(by) => (by, true),
        By::Consent(by) => (by, false),
    };
    let Some(origin) = named.unconfirmed else {
        return Ok(((*named.agent).clone(), (*named.registration).clone()));
    };
    let gone = || Problem::of(Code::Conflict, "the client is no longer there to be confirmed");
    let there = match origin {
        Origin::Document => clients::by_url(tx, &named.id)?,
        Origin::Registration | Origin::Administrator => {
            agents::find(tx, named.agent.id)?.map(|agent| agent.id)
        }
    };
    if let Some(id) = there {
        let agent = agents::find(tx, id)?.filter(|agent| agent.state == AgentState::Active);
        let agent = agent.ok_or_else(gone)?;
        let grant = grants::find(tx, agent.registration)?.ok_or_else(gone)?;
        return Ok((agent, grant));
    }
    let nobody_knows = || app.secrets.hashing.hash(CLIENT_SECRET, &clock::entropy::<32>());
    let (secret, registration_token, access_token, metadata) = match origin {
        Origin::Registration => {
            let row = registrations::find(tx, named.agent.id)?.filter(|row| row.expires > now);
            let row = row.ok_or_else(gone)?;
            registrations::remove(tx, row.id)?;
            (row.secret, row.registration_token, Some(row.access_token), row.metadata)
        }
        Origin::Document | Origin::Administrator => {
            (nobody_knows(), nobody_knows(), None, (*named.metadata).clone())
        }
    };
    agents::insert(tx, &named.agent, secret, registration_token)?;
    let url = (origin == Origin::Document).then(|| named.id.clone());
    let client = StoredClient { origin, url, metadata, acts_alone, last_used: Some(client_use::day(now)) };
    clients::adopt(tx, named.agent.id, &client, access_token)?;
    grants::insert(tx, &named.registration)?;
    let envelope = Envelope {
        agent: Some(named.agent.id),
        grants: vec![named.registration.id],
        source: recording::source(source.0),
        ..recording::by(EntryType::AgentRegistered, now, by.clone())
    };
    let body = api::shown(&named.agent, Some(&named.registration), Some(&client));
    tx.record(app.prepare(envelope, Some(&Value::Object(body)))?)?;
    Ok(((*named.agent).clone(), (*named.registration).clone()))
}
