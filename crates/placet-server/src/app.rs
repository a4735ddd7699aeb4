//! The parts that a running server is made of, and nothing else.

use crate::problem::Problem;
use crate::{
    advice::Advice,
    api::{detail_types, scopes::Known},
    bearer::Bearers,
    clock::Clock,
    connections::{Connections, SecretSource},
    denials::Denials,
    egress::{self, Egress},
    intent::Judge,
    keys::LookUps,
    mcp::{Calls, Levels},
    mtls::MutualTls,
    oauth::{client::Clients, resource_server::ResourceServers},
    operations::Operations,
    rates::Rates,
    rules::{self, Rules},
    sender::proofs::Proofs,
    share::Shares,
    status_lists::StatusLists,
    streams::Streams,
    vault::LiveVault,
    way::wait::Waiters,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::hmac;
use placet_core::{
    id::NodeId,
    keys::KeyRing,
    record::RecordSigner,
    refusal::Code,
    seal::BodyKeys,
    secret::{HashKey, KeyedHash},
};
use placet_gateway::Gateway;
use placet_identity::{Foreign, Providers};
use placet_store::Store;
use std::{fmt, net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// What an installation keeps secret; see [`crate::keys`]. Snapshots are swapped when keys are rotated.
pub struct Secrets {
    /// Signs tokens.
    pub tokens: ArcSwap<KeyRing>,
    /// Hashes generated secrets at rest.
    pub hashing: HashKey,
    /// The administrator token's hash, made with `hashing` under [`ADMIN_TOKEN`].
    pub admin_token: KeyedHash,
    /// Seals the credentials of connections and idempotent answers.
    pub vault: LiveVault,
    /// Seals the bodies of the record.
    pub bodies: ArcSwap<BodyKeys>,
    /// Keys the digests of held requests.
    pub approvals: hmac::Key,
    /// Signs heads and checkpoints of the record.
    pub record: Arc<RecordSigner>,
}

/// The purpose under which the administrator token is hashed.
pub const ADMIN_TOKEN: &str = "admin_token";

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// What a server is started with.
#[derive(Debug)]
pub struct Config {
    /// The issuer, also the base URL that links begin with; no slash at its end.
    pub issuer: String,
    /// The origin of the pages for people; no slash at its end.
    pub pages: String,
    /// Every issuer that this installation has used, the present one too; tokens of each stay valid.
    pub issuers: Vec<String>,
    /// Where this node listens, as a base URL: it may be called by that as well as by its issuer.
    pub base_url: String,
    /// Proxies in front of this node, which say by `X-Forwarded-For` whom they pass on.
    pub forwarded_by: Vec<IpAddr>,
    /// How clients show certificates, if they do.
    pub mutual_tls: Option<MutualTls>,
    /// How often a second a client may ask the OAuth endpoints.
    pub client_rate: u32,
    /// The secrets.
    pub secrets: Secrets,
    /// Tells the time.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// Whether other nodes may use the same database.
    pub shared: bool,
    /// How long bodies of the record are kept; for ever where it is not said.
    pub keep_record: Option<Duration>,
    /// After how long without use clients that registered themselves end; never where it is not said.
    pub idle_registrations: Option<Duration>,
    /// How long after its use a refresh token that is sent again is taken for a lost answer.
    pub refresh_retry: Duration,
    /// Reads what clients and issuers publish about themselves.
    pub foreign: Foreign,
    /// Asks identity providers.
    pub providers: Providers,
    /// Tells whether actions fit their purpose, where there is one.
    pub judge: Option<Judge>,
    /// Reads secrets of connections that are kept elsewhere.
    pub secrets_elsewhere: Arc<dyn SecretSource>,
    /// The egress door, where it is open.
    pub egress: Option<egress::Settings>,
}

/// A running server's parts.
pub struct App {
    /// The issuer and base URL.
    pub issuer: String,
    /// The origin of the pages for people.
    pub pages: String,
    /// Every issuer whose tokens are valid.
    pub issuers: ArcSwap<Vec<String>>,
    /// The base URLs that requests to this node are made for: its issuer's, its own, and that for mutual TLS.
    pub bases: Vec<String>,
    /// The secrets.
    pub secrets: Secrets,
    /// Tells the time.
    pub clock: Clock,
    /// This node.
    pub node: NodeId,
    /// Whether other nodes may use the same database.
    pub shared: bool,
    /// How long bodies of the record are kept.
    pub keep_record: Option<Duration>,
    /// After how long without use clients that registered themselves end.
    pub idle_registrations: Option<Duration>,
    /// How long after its use a refresh token that is sent again is taken for a lost answer.
    pub refresh_retry: Duration,
    /// What is kept.
    pub store: Store,
    /// What goes out.
    pub gateway: Gateway,
    /// What others publish about themselves.
    pub foreign: Foreign,
    /// Identity providers that people sign in with.
    pub providers: Providers,
    /// Tells whether actions fit their purpose.
    pub judge: Option<Judge>,
    /// Reads secrets of connections that are kept elsewhere.
    pub secrets_elsewhere: Arc<dyn SecretSource>,
    /// Policies and services, compiled; swapped whole when one changes.
    pub rules: ArcSwap<Rules>,
    /// Held while policies or services change, so that the pair is always checked against what is live.
    pub rules_change: Mutex<()>,
    /// Held while policies and services are read anew.
    reloading: Mutex<()>,
    /// Held while keys are read anew.
    pub(crate) reloading_keys: Mutex<()>,
    /// When keys were last read anew in vain.
    pub(crate) key_look_ups: LookUps,
    /// Why the keys could not be read the last time, where they could not.
    pub key_trouble: ArcSwapOption<String>,
    /// Tokens that were verified and the chains that they stand for.
    pub bearers: Bearers,
    /// The addresses of proxies in front of this node.
    pub forwarded_by: Vec<IpAddr>,
    /// How clients show certificates, if they do.
    pub mutual_tls: Option<MutualTls>,
    /// How often the OAuth and session endpoints were asked lately.
    pub rates: Rates,
    /// What scopes mean, as it was last read.
    pub scopes: ArcSwapOption<Known>,
    /// The types of authorization details that are declared, as they were last read.
    pub detail_types: ArcSwapOption<detail_types::Known>,
    /// Lists of the statuses of tokens: the one that is filled, those that were read.
    pub status_lists: StatusLists,
    /// DPoP proofs that were used here.
    pub proofs: Proofs,
    /// Clients that authenticated.
    pub clients: Clients,
    /// Resource servers that authenticated.
    pub resource_servers: ResourceServers,
    /// Connections that were looked up.
    pub connections: Connections,
    /// How the server is: what it counts, whether it is ready.
    pub operations: Operations,
    /// How often agents have asked for advice lately.
    pub advice: Advice,
    /// How often something was looked up for agents' actions lately.
    pub lookups: Advice,
    /// How much is looked up for what is only observed: it takes nothing from the agents' own.
    pub observed_lookups: Advice,
    /// How many actions each agent has under way.
    pub(crate) under_way: Shares,
    /// Which refusals have entries of their own.
    pub(crate) denials: Denials,
    /// Held requests that wait in place.
    pub waiters: Waiters,
    /// Answers and uploads that are open.
    pub streams: Streams,
    /// The requests at the MCP door of which somebody waits for the answer.
    pub(crate) calls: Calls,
    /// From which level on clients of the MCP door are told of log messages.
    pub(crate) levels: Levels,
    /// The egress door.
    pub egress: Egress,
}

impl App {
    /// Joins the parts and loads what is compiled.
    ///
    /// # Errors
    /// A sentence saying what can't be loaded.
    pub async fn start(config: Config, store: Store, gateway: Gateway) -> Result<Arc<Self>, String> {
        let rules = Rules::load(&store, None).await?;
        let began = config.clock.now();
        let mut bases = vec![config.issuer.clone(), config.base_url];
        bases.extend(config.mutual_tls.iter().filter_map(|here| here.url.clone()));
        bases.dedup();
        Ok(Arc::new(Self {
            issuer: config.issuer,
            pages: config.pages,
            bases,
            forwarded_by: config.forwarded_by,
            mutual_tls: config.mutual_tls,
            rates: Rates::new(config.client_rate),
            scopes: ArcSwapOption::empty(),
            detail_types: ArcSwapOption::empty(),
            status_lists: StatusLists::default(),
            proofs: Proofs::new(began),
            issuers: ArcSwap::from_pointee(config.issuers),
            secrets: config.secrets,
            clock: config.clock,
            node: config.node,
            shared: config.shared,
            keep_record: config.keep_record,
            idle_registrations: config.idle_registrations,
            refresh_retry: config.refresh_retry,
            store,
            gateway,
            foreign: config.foreign,
            providers: config.providers,
            judge: config.judge,
            secrets_elsewhere: config.secrets_elsewhere,
            rules: ArcSwap::from_pointee(rules),
            rules_change: Mutex::new(()),
            reloading: Mutex::new(()),
            reloading_keys: Mutex::new(()),
            key_look_ups: LookUps::default(),
            key_trouble: ArcSwapOption::empty(),
            bearers: Bearers::default(),
            clients: Clients::default(),
            resource_servers: ResourceServers::default(),
            connections: Connections::default(),
            operations: Operations::default(),
            advice: Advice::default(),
            lookups: Advice::of_lookups(),
            observed_lookups: Advice::of_lookups(),
            under_way: Shares::of("actions under way on a node"),
            denials: Denials::default(),
            waiters: Waiters::default(),
            streams: Streams::default(),
            calls: Calls::default(),
            levels: Levels::default(),
            egress: Egress::new(config.egress),
        }))
    }

    /// Whether a URL is one of this server's: an issuer that it has had, a base of its own, or something below one.
    pub(crate) fn is_own_url(&self, url: &str) -> bool {
        self.issuers.load().iter().chain(&self.bases).chain([&self.pages]).any(|own| {
            url.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Reads anew what a decision rests on, after something of it turned out to have changed.
    ///
    /// # Errors
    /// `unavailable` where it can't be read.
    pub async fn refresh(&self) -> Result<(), Problem> {
        self.bearers.authority_changed();
        self.connections.changed();
        let now = self.rules.load_full();
        let stored = self.store.read(|q| rules::stamps(q)).await?;
        let stale = stored != now.stamps;
        if stale {
            self.reload_rules().await?;
        }
        Ok(())
    }

    /// The rules that a document is checked against before it is put in force: what others may just have stored is
    /// among them.
    ///
    /// # Errors
    /// As [`App::reload_rules`].
    pub(crate) async fn newest_rules(&self) -> Result<Arc<Rules>, Problem> {
        if self.shared {
            self.reload_rules().await?;
        }
        Ok(self.rules.load_full())
    }

    /// Compiles the policies and services that are stored now and swaps them in.
    ///
    /// # Errors
    /// `unavailable` where they can't be read or don't load.
    pub async fn reload_rules(&self) -> Result<(), Problem> {
        // One at a time, or what was read before a change could be put over what was read after it.
        let _reloading = self.reloading.lock().await;
        let rules = Rules::load(&self.store, Some(&self.rules.load())).await.map_err(|error| {
            tracing::error!(%error, "the rules can't be loaded");
            Problem::of(Code::Unavailable, "the rules can't be loaded; the log has the cause")
        })?;
        self.rules.store(Arc::new(rules));
        Ok(())
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "App({})", self.issuer)
    }
}
