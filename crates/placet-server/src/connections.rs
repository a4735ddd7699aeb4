//! Which connection an action runs through, and its credential, ready for use.
//!
//! A grant reaches its user's connections, the organization's that name no agents or name its agent, and those in
//! `connections[]`; a list that is present narrows to it (DESIGN §7). What it doesn't reach is told like what does
//! not exist.
//!
//! Invariant: a credential leaves the vault only into a [`Credential`], for the gateway.

mod asked;
pub(crate) mod checked;
pub(crate) mod client;
pub(crate) mod connect;
mod elsewhere;
pub(crate) mod keep;
mod refusals;
mod token;

pub(crate) use asked::{AskError, ask, read as read_elsewhere};
pub use elsewhere::{Nowhere, SecretSource, check};
pub use token::{Renewals, doubted, freshen};

use crate::{app::App, clock, problem::Problem};
use placet_core::{
    call::Auth,
    chain::Chain,
    id::{AgentId, ConnectionId},
    refusal::{Code, Reason},
    seal::{Aad, SealEntropy, Sealed},
    secret::Secret,
    service::{
        Service,
        oauth::{Access, Kept},
        reference::Reference,
    },
};
use placet_gateway::Credential;
use placet_store::{
    Fault, Version,
    connections::{Attention, Connection, ConnectionState},
};
use quick_cache::sync::Cache;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The status of an upstream that does not know a credential.
const UNAUTHORIZED: u16 = 401;

/// The kind of row that a connection's secret is sealed to.
pub const VAULT_KIND: &str = "connection";

/// A connection with its credential.
#[derive(Debug)]
pub struct LiveConnection {
    /// As stored.
    pub connection: Connection,
    /// What the commit point compares.
    pub version: u64,
    /// Made of the secret that is stored here; none where that can't be used, or is kept elsewhere. Who sends something
    /// takes [`Picked::credential`], which knows of both.
    stored: Option<Credential>,
    /// The access token that it was made of, where it is one.
    pub access: Option<Access>,
    /// Where its secret is, where that is not here.
    pub reference: Option<Reference>,
    /// How it is sent.
    sent: Option<Auth>,
}

/// The connections of each service, as last read.
pub struct Connections {
    cache: Cache<String, (u64, Arc<Vec<LiveConnection>>)>,
    /// The service of each name or id that was asked for; none where there is no such connection.
    services: Cache<String, (u64, Option<Arc<str>>)>,
    generation: AtomicU64,
    /// How many tokens were renewed: whoever has read meanwhile keeps nothing of what they read.
    renewed: AtomicU64,
    renewals: Renewals,
    elsewhere: elsewhere::Elsewhere,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            cache: Cache::new(4096),
            services: Cache::new(4096),
            generation: AtomicU64::new(0),
            renewed: AtomicU64::new(0),
            renewals: Renewals::default(),
            elsewhere: elsewhere::Elsewhere::default(),
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({})", self.cache.len())
    }
}

impl Connections {
    /// Says that the token of a connection of this service is another: those are read anew.
    pub fn renewed(&self, service: &str) {
        // Before it is taken out: who has read the old one and puts it in after that sees that it is one more.
        self.renewed.fetch_add(1, Ordering::SeqCst);
        self.cache.remove(service);
    }

    /// Keeps what was read of a service, where no token was renewed since `renewed` was counted.
    fn keep(&self, service: &str, read: (u64, Arc<Vec<LiveConnection>>), renewed: u64) {
        self.cache.insert(service.to_owned(), read);
        if self.renewed.load(Ordering::SeqCst) != renewed {
            self.cache.remove(service);
        }
    }

    /// Says that a connection is gone.
    pub fn removed(&self, id: ConnectionId) {
        self.elsewhere.forget(id);
        self.changed();
    }

    /// Says that a connection was made or changed: all are read anew.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// The connection of `service` that the chain's grant reaches under the name or id `asked`, or its only one.
///
/// # Errors
/// `not_granted` where there is none, `params_invalid` where a choice is needed, `unavailable` where its owner has to
/// mend it first.
pub async fn reach(
    app: &App,
    chain: &Chain,
    service: &str,
    auth: &Auth,
    asked: Option<&str>,
) -> Result<Picked, Problem> {
    let all = of_service(app, service, auth).await?;
    let mut reached = all.iter().enumerate().filter(|(_, live)| reaches(chain, &live.connection));
    let named = |live: &LiveConnection| {
        asked.is_none_or(|asked| live.connection.name == asked || live.connection.id.to_string() == asked)
    };
    let first = reached.find(|(_, live)| named(live));
    let Some((index, live)) = first else {
        let mut reason = Reason::of(Code::NotGranted).detail("the grant reaches no such connection");
        reason.remedy.insert("connection".into(), service.into());
        return Err(reason.into());
    };
    if asked.is_none() && reached.next().is_some() {
        return Err(Problem::of(
            Code::ParamsInvalid,
            "the grant reaches several connections of this service: name one in `connection`",
        ));
    }
    if !live.is_usable() {
        return Err(waiting(app, chain, &live.connection).await?);
    }
    Ok(Picked { all, index, own: None })
}

/// That a connection waits for its owner; where that is the person on whose behalf this is asked, with where they mend it.
async fn waiting(app: &App, chain: &Chain, connection: &Connection) -> Result<Problem, Problem> {
    if connection.user.is_none() || connection.user != chain.user_id() {
        return Ok(waits_for_its_owner());
    }
    let Some(url) = connect::mending(app, connection).await? else { return Ok(waits_for_its_owner()) };
    let detail = "the connection needs the attention of the person you act for, who mends it at the address in `remedy`; nothing was sent";
    let mut reason = Reason::of(Code::Unavailable).detail(detail);
    reason.remedy.insert("connect".into(), url.into());
    Ok(reason.into())
}

/// Every connection of `service` that the chain's grant reaches and that can be used.
///
/// # Errors
/// Faults.
pub async fn reached(
    app: &App,
    chain: &Chain,
    service: &str,
    auth: &Auth,
) -> Result<Vec<Connection>, Problem> {
    let all = of_service(app, service, auth).await?;
    let usable = |live: &&LiveConnection| reaches(chain, &live.connection) && live.is_usable();
    Ok(all.iter().filter(usable).map(|live| live.connection.clone()).collect())
}

/// The connection of `service` with this id, if its credential can be used: for what the server asks by itself about an
/// action that ran through it.
///
/// # Errors
/// Faults.
pub(crate) async fn by_id(
    app: &App,
    service: &str,
    auth: &Auth,
    id: ConnectionId,
) -> Result<Option<Picked>, Problem> {
    let all = of_service(app, service, auth).await?;
    let usable = |live: &LiveConnection| live.connection.id == id && live.is_usable();
    let index = all.iter().position(usable);
    Ok(index.map(|index| Picked { all, index, own: None }))
}

/// Why the secret of an active connection can't be read where it is kept, for who configures; none where it can.
///
/// # Errors
/// Faults.
pub async fn unreadable(app: &App, auth: &Auth, found: &Connection) -> Result<Option<String>, Problem> {
    let all = of_service(app, &found.service, auth).await?;
    let Some(live) = all.iter().find(|live| live.connection.id == found.id) else { return Ok(None) };
    if found.reference.is_none() || live.connection.state != ConnectionState::Active {
        return Ok(None);
    }
    Ok(match (&live.reference, auth.for_connection(&live.connection.auth)) {
        (Some(reference), Some(auth)) => check(app, &auth, reference).await.err(),
        _ => Some("what is sealed is not what is said of it: set the secret anew".to_owned()),
    })
}

/// Any connection of `service` that can be used, the organization's first: for what the server asks that is no action.
///
/// # Errors
/// Faults.
pub async fn any(app: &App, service: &str, auth: &Auth) -> Result<Option<Picked>, Problem> {
    let all = of_service(app, service, auth).await?;
    let usable = all.iter().enumerate().filter(|(_, live)| live.is_usable());
    let index =
        usable.min_by_key(|(_, live)| (live.connection.user.is_some(), live.connection.id)).map(|it| it.0);
    Ok(index.map(|index| Picked { all, index, own: None }))
}

/// The service of the connection with this name or id, whoever may reach it.
///
/// # Errors
/// `unavailable` where the store doesn't answer.
pub(crate) async fn service_of(app: &App, asked: &str) -> Result<Option<Arc<str>>, Problem> {
    let generation = app.connections.generation.load(Ordering::SeqCst);
    if let Some((read_at, found)) = app.connections.services.get(asked)
        && read_at == generation
    {
        return Ok(found);
    }
    let name = asked.to_owned();
    let found = app
        .store
        .read(move |q| match name.parse() {
            Ok(id) => placet_store::connections::find(q, id),
            Err(_) => placet_store::connections::by_name(q, &name),
        })
        .await?;
    let service = found.map(|connection| Arc::from(connection.service));
    app.connections.services.insert(asked.to_owned(), (generation, service.clone()));
    Ok(service)
}

/// A connection that was picked from those in the cache.
#[derive(Debug, Clone)]
pub struct Picked {
    all: Arc<Vec<LiveConnection>>,
    index: usize,
    /// What was read elsewhere for it.
    own: Option<Credential>,
}

impl Picked {
    /// Ready to inject; none where the secret can't be used.
    pub fn credential(&self) -> Option<&Credential> {
        self.own.as_ref().or(self.stored.as_ref())
    }
}

impl std::ops::Deref for Picked {
    type Target = LiveConnection;

    fn deref(&self) -> &LiveConnection {
        #[expect(clippy::indexing_slicing, reason = "the index was found in this very list")]
        &self.all[self.index]
    }
}

/// What an upstream's answer says of the credential that it was shown: what is kept elsewhere is read again where it was
/// refused, and how often a token was is counted, and with whom: the agent that asked, or the server itself. What follows
/// for a token is [`doubted`].
pub fn heard(app: &App, picked: &Picked, by: Option<AgentId>, status: u16) {
    elsewhere::refused(app, picked, status);
    app.connections.renewals.heard(&picked.connection, by, status);
}

/// The same with what follows, for a question that the server asks by itself, or for an agent: by the answer's status and
/// whether it says that the token is not valid.
pub async fn answered(
    app: &App,
    picked: &Picked,
    service: &Service,
    by: Option<AgentId>,
    (status, invalid_token): (u16, bool),
) {
    heard(app, picked, by, status);
    if status == UNAUTHORIZED {
        doubted(app, picked, service.auth(), service.allow_private(), invalid_token).await;
    }
}

/// Picks the connection that was picked once more, as it is now.
async fn pick_again(app: &App, picked: &mut Picked, auth: &Auth) -> Result<(), Problem> {
    *picked = as_it_is(app, picked, auth).await?.ok_or_else(waits_for_its_owner)?;
    Ok(())
}

/// The same connection as it is now, if it can still be used for what it was picked for: where that was to be tried, though
/// upstream refused it, to be tried.
async fn as_it_is(app: &App, picked: &Picked, auth: &Auth) -> Result<Option<Picked>, Problem> {
    let connection = &picked.connection;
    match connection.attention {
        Some(Attention::CredentialRefused) => to_try(app, auth, connection.id).await,
        _ => by_id(app, &connection.service, auth, connection.id).await,
    }
}

fn waits_for_its_owner() -> Problem {
    Problem::of(Code::Unavailable, "the connection needs its owner's attention; nothing was sent")
}

impl LiveConnection {
    /// Whether its owner has nothing to do first. A token that it needs may still have to be asked for ([`freshen`]).
    fn is_usable(&self) -> bool {
        let renewable = matches!(self.connection.auth, Auth::Oauth2(_)) || self.reference.is_some();
        self.connection.state == ConnectionState::Active && (self.stored.is_some() || renewable)
    }
}

fn reaches(chain: &Chain, connection: &Connection) -> bool {
    let lists: Vec<&Vec<ConnectionId>> =
        chain.authorities().filter_map(|authority| authority.connections.as_ref()).collect();
    let open = connection.is_open_to(chain.user_id(), chain.agent().id);
    if lists.is_empty() {
        return open;
    }
    // A list narrows. Only the root's, which a person made, can name what isn't open to the agent anyway.
    let root = chain.links().last().and_then(|link| link.grant.authority.connections.as_ref());
    let named = root.is_some_and(|list| list.contains(&connection.id));
    lists.iter().all(|list| list.contains(&connection.id)) && (open || named)
}

/// Every connection of a service.
async fn of_service(app: &App, service: &str, auth: &Auth) -> Result<Arc<Vec<LiveConnection>>, Problem> {
    let generation = app.connections.generation.load(Ordering::SeqCst);
    let before = app.connections.cache.get(service);
    if let Some((read_at, found)) = &before
        && *read_at == generation
    {
        return Ok(Arc::clone(found));
    }
    // Sessions and processes of MCP servers belong to a credential, and go on where only others have changed.
    let kept = |connection: &Connection, version: u64, sent: &Option<Auth>| {
        let same = |live: &&LiveConnection| {
            live.connection.id == connection.id
                && live.version == version
                && live.access.is_none()
                && live.sent == *sent
        };
        before.as_ref().and_then(|(_, all)| all.iter().find(same)?.stored.clone())
    };
    let renewed = app.connections.renewed.load(Ordering::SeqCst);
    let name = service.to_owned();
    let stored = app
        .store
        .read(move |q| {
            let found = placet_store::connections::of_service(q, &name)?;
            let with_secret = |connection: Connection| {
                let version = placet_store::versions::current(q, &Version::Connection(connection.id))?;
                let sealed = placet_store::connections::sealed(q, connection.id)?;
                Ok::<_, Fault>((connection, version, sealed))
            };
            found.into_iter().map(with_secret).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let live = stored
        .into_iter()
        .map(|(connection, version, sealed)| live_of(app, auth, (connection, version), sealed, kept))
        .collect();
    let live = Arc::new(live);
    app.connections.keep(service, (generation, Arc::clone(&live)), renewed);
    Ok(live)
}

/// A connection with what was read of it; `kept` has the credential that was made before of the same.
fn live_of(
    app: &App,
    auth: &Auth,
    (connection, version): (Connection, u64),
    sealed: Option<(u64, Vec<u8>)>,
    kept: impl Fn(&Connection, u64, &Option<Auth>) -> Option<Credential>,
) -> LiveConnection {
    let secret = sealed.and_then(|(generation, sealed)| open(app, &connection, generation, &sealed));
    let auth = auth.for_connection(&connection.auth);
    // What is sealed says where, too: nobody who can only write to the store can have another place read.
    let reference = connection.reference.clone();
    let reference = reference.filter(|at| secret.as_ref().is_some_and(|sealed| at.is_sealed_as(sealed)));
    let secret = secret.filter(|_| connection.reference.is_none());
    let (secret, access) = match &auth {
        Some(Auth::Oauth2(_)) => {
            let access = secret.as_ref().and_then(Kept::from_secret).and_then(|kept| kept.access);
            (access.as_ref().map(|access| access.token.clone()), access)
        }
        _ => (secret, None),
    };
    let made = || Credential::new(auth.as_ref()?, secret.as_ref()?).ok();
    let stored = kept(&connection, version, &auth).filter(|_| secret.is_some()).or_else(made);
    LiveConnection { connection, version, stored, access, reference, sent: auth }
}

/// The connection with this id, as the store has it now, to be tried: an active one, or one whose secret its upstream did
/// not take before.
///
/// # Errors
/// Faults.
async fn to_try(app: &App, auth: &Auth, id: ConnectionId) -> Result<Option<Picked>, Problem> {
    let read = app
        .store
        .read(move |q| {
            let Some(connection) = placet_store::connections::find(q, id)? else { return Ok(None) };
            let version = placet_store::versions::current(q, &Version::Connection(id))?;
            let sealed = placet_store::connections::tried(q, id)?;
            Ok::<_, Fault>(sealed.map(|sealed| (connection, version, sealed)))
        })
        .await?;
    Ok(read.map(|(connection, version, sealed)| {
        let live = live_of(app, auth, (connection, version), Some(sealed), |_, _, _| None);
        Picked { all: Arc::new(vec![live]), index: 0, own: None }
    }))
}

/// The secret of a connection, sealed to its row as the one of this number.
///
/// # Errors
/// `internal` where the vault can't seal.
pub fn seal(
    app: &App,
    connection: &Connection,
    generation: u64,
    secret: &Secret,
) -> Result<Vec<u8>, Problem> {
    let row = connection.id.to_string();
    let aad = Aad { kind: VAULT_KIND, row: &row, version: generation };
    let sealed = app.secrets.vault.seal(&aad, SealEntropy::new(clock::entropy()), secret.expose());
    Ok(sealed.map_err(|_| Problem::of(Code::Internal, "the secret could not be sealed"))?.to_bytes())
}

/// The secret of a connection, from the vault.
fn open(app: &App, connection: &Connection, generation: u64, sealed: &[u8]) -> Option<Secret> {
    let id = connection.id.to_string();
    let aad = Aad { kind: VAULT_KIND, row: &id, version: generation };
    let opened = Sealed::from_bytes(sealed).and_then(|sealed| app.secrets.vault.open(&aad, &sealed));
    opened
        .inspect_err(|error| tracing::error!(connection = %connection.id, %error, "a connection's secret can't be opened"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_token_was_renewed_is_not_kept_after_it() {
        let all = Connections::default();
        let counted = |all: &Connections| all.renewed.load(Ordering::SeqCst);
        let read = || (0, Arc::new(Vec::new()));
        let before = counted(&all);
        all.renewed("crm");
        all.keep("crm", read(), before);
        assert!(all.cache.get("crm").is_none());
        all.keep("crm", read(), counted(&all));
        assert!(all.cache.get("crm").is_some());
        all.renewed("crm");
        assert!(all.cache.get("crm").is_none());
    }
}
