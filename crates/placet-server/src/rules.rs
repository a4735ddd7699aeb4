//! The policies and services in force, compiled: one immutable snapshot that is swapped whole.
//!
//! Invariant: in a snapshot every pair of policy and service has been checked together.

pub mod change;
pub mod directory;
pub(crate) mod document;
pub mod stage;

use crate::problem::Problem;
use placet_core::{
    pattern::ActionName,
    policy::{Policy, PolicySet, Stage, Staged},
    service::{self, Pins, Service, ServiceAction},
    time::Timestamp,
};
use placet_gateway::{Gateway, MOST_SESSIONS, Route, Upstream};
use placet_store::{
    Fault, Query, Store, Version,
    documents::{self, Applied, Kind},
    listed_tools::{self, Listed},
    policy_stages,
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// A service in force.
#[derive(Debug)]
pub struct LiveService {
    /// Its definition.
    pub service: Service,
    /// The definition's version.
    pub version: u64,
    /// What the commit point compares; 0 before it is stored.
    pub stamp: u64,
    /// Where it may be dialled.
    pub route: Route,
    /// What its MCP server says of its tools, and since when; `None` where it is none, or nobody has asked yet.
    pub listed: Option<(Pins, Timestamp)>,
    /// The tools that can't be called until somebody has looked at them.
    pub quarantined: BTreeSet<ActionName>,
    upstream: OnceLock<Arc<Upstream>>,
}

impl LiveService {
    /// What it can take, which is the same for every version of it.
    pub fn upstream(&self, gateway: &Gateway) -> &Arc<Upstream> {
        // A database has few sessions: who waits for one of those has a turn that somebody else could use.
        let usual = (self.service.kind() == service::Kind::Postgres).then_some(MOST_SESSIONS);
        let concurrency = self.service.concurrency().or(usual);
        self.upstream.get_or_init(|| gateway.upstreams().of(self.service.name(), concurrency))
    }

    /// By what is stored of what its server says.
    fn with_listed(mut self, stored: Option<Listed>) -> Self {
        self.listed = said_by(&self.service.server(), stored);
        self.quarantined = self.service.quarantined(self.listed.as_ref().map(|(pins, _)| pins));
        self
    }
}

/// What a server says of its tools by what is stored, and since when.
pub(crate) fn said_by(server: &str, stored: Option<Listed>) -> Option<(Pins, Timestamp)> {
    let said = stored.filter(|said| said.server == server)?;
    // What can't be read is as if nothing had been said: nothing can be called.
    Some((Pins(serde_json::from_str(&said.tools).ok()?), said.seen))
}

/// Policies and services in force.
pub struct Rules {
    /// Compiled and indexed.
    pub policies: PolicySet,
    /// The stored version of the whole set.
    pub policies_version: u64,
    /// By name.
    pub services: HashMap<String, Arc<LiveService>>,
    /// By action; action names are unique in an installation.
    by_action: HashMap<ActionName, Arc<LiveService>>,
    /// What was stored when they were read.
    pub(crate) stamps: Stamps,
    /// Differs between any two snapshots of this process.
    pub generation: u64,
}

/// What tells whether policies or services have changed since they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    policies: u64,
    /// Of every service that there ever was, in the order of their names.
    services: Vec<(String, u64)>,
}

/// As stored now.
pub(crate) fn stamps(q: &mut impl Query) -> Result<Stamps, Fault> {
    Ok(Stamps {
        policies: placet_store::versions::current(q, &Version::Policies)?,
        services: placet_store::versions::of_services(q)?,
    })
}

static GENERATION: AtomicU64 = AtomicU64::new(1);

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rules(generation {})", self.generation)
    }
}

impl Rules {
    /// Reads all that is stored and compiles what `known` doesn't have at the same version already, so that a change
    /// costs what changed.
    ///
    /// # Errors
    /// A sentence naming the document that doesn't load: it was checked when it was applied, so this is a fault.
    pub async fn load(store: &Store, known: Option<&Self>) -> Result<Self, String> {
        let stored = store
            .read(|q| {
                let stamps = stamps(q)?;
                let policies = documents::current(q, Kind::Policy)?;
                let mut staged = Vec::new();
                for stage in policy_stages::all(q)? {
                    if let Some(text) = documents::version(q, Kind::Policy, &stage.name, stage.version)? {
                        staged.push((text, stage.stage));
                    }
                }
                let mut services = Vec::new();
                for applied in documents::current(q, Kind::Service)? {
                    let stamp = placet_store::versions::current(q, &Version::Service(applied.name.clone()))?;
                    let listed = listed_tools::of_service(q, &applied.name)?;
                    services.push((applied, stamp, listed));
                }
                Ok::<_, Fault>((stamps, policies, staged, services))
            })
            .await
            .map_err(|fault| fault.to_string())?;
        let (stamps, stored_policies, stored_stages, stored_services) = stored;
        let mut services = Vec::new();
        for (applied, stamp, listed) in stored_services {
            let same = known.and_then(|known| known.services.get(&applied.name));
            if let Some(same) = same.filter(|live| live.version == applied.version && live.stamp == stamp) {
                services.push(Arc::clone(same));
                continue;
            }
            let service = live_service(&applied.name, applied.version, applied.source.as_bytes())
                .map_err(|problem| problem.detail().to_owned())?;
            services.push(Arc::new(LiveService { stamp, ..service }.with_listed(listed)));
        }
        let definitions: Vec<&Service> = services.iter().map(|live| &live.service).collect();
        let policies = compile(&stored_policies, known, &definitions)?;
        let (texts, stages): (Vec<_>, Vec<_>) = stored_stages.into_iter().unzip();
        let staged = compile(&texts, known, &definitions)?.into_iter().zip(stages).map(|(policy, stage)| {
            let stage =
                Stage::parse(&stage).map_err(|error| format!("policy `{}`: {error}", policy.name()))?;
            Ok(Staged { policy, stage: Arc::new(stage) })
        });
        let staged = staged.collect::<Result<_, String>>()?;
        let policies = PolicySet::with_stages(policies, staged);
        drop(definitions);
        Ok(Self::new(policies, stamps, services))
    }

    fn new(policies: PolicySet, stamps: Stamps, live: Vec<Arc<LiveService>>) -> Self {
        let by_action = live
            .iter()
            .flat_map(|live| live.service.actions().map(|action| (action.name().clone(), live.clone())))
            .collect();
        let services = live.into_iter().map(|live| (live.service.name().to_owned(), live)).collect();
        Self {
            policies,
            policies_version: stamps.policies,
            stamps,
            services,
            by_action,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The service that declares an action, with its declaration.
    pub fn declaring(&self, action: &ActionName) -> Option<(&Arc<LiveService>, &ServiceAction)> {
        let live = self.by_action.get(action)?;
        Some((live, live.service.action(action)?))
    }

    /// The action whose tool has this name at the MCP door, whether a service declares it or none.
    pub fn action_of(&self, tool: &str) -> Option<ActionName> {
        placet_core::mcp::tool::action(tool, self.by_action.keys())
    }

    /// Whether these are what is stored: asked where a checked document is put in force, as another node may have changed
    /// what it was checked against.
    ///
    /// # Errors
    /// [`Fault`].
    pub(crate) fn are_stored(&self, q: &mut impl Query) -> Result<bool, Fault> {
        let stored = documents::current(q, Kind::Service)?;
        let same =
            |one: &Applied| self.services.get(&one.name).is_some_and(|live| live.version == one.version);
        Ok(stored.len() == self.services.len()
            && stored.iter().all(same)
            && placet_store::versions::current(q, &Version::Policies)? == self.policies_version)
    }

    /// The definitions, for loading a policy against them.
    pub fn definitions(&self) -> Vec<&Service> {
        self.services.values().map(|live| &live.service).collect()
    }
}

/// Most policies that one core compiles in a moment; for more, all cores are used.
const FEW: usize = 32;

/// Compiles stored policies; those that `known` has at that version are taken from there.
fn compile(
    stored: &[Applied],
    known: Option<&Rules>,
    services: &[&Service],
) -> Result<Vec<Arc<Policy>>, String> {
    let one = |applied: &Applied| -> Result<Arc<Policy>, String> {
        if let Some(same) = known.and_then(|known| known.policies.version(&applied.name, applied.version)) {
            return Ok(Arc::clone(same));
        }
        Policy::load_again(applied.source.as_bytes(), &applied.name, applied.version, services)
            .map(Arc::new)
            .map_err(|errors| format!("policy `{}`: {}", applied.name, Problem::document(&errors).detail()))
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if stored.len() <= FEW || cores == 1 {
        return stored.iter().map(one).collect();
    }
    thread::scope(|scope| {
        let parts = stored.chunks(stored.len().div_ceil(cores));
        let workers: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(one).collect::<Result<Vec<_>, _>>()))
            .collect();
        let mut compiled = Vec::with_capacity(stored.len());
        for worker in workers {
            compiled.extend(worker.join().map_err(|_| "compiling the policies stopped".to_owned())??);
        }
        Ok(compiled)
    })
}

/// Compiles one service definition.
///
/// # Errors
/// `document_invalid` with every diagnostic.
pub(crate) fn live_service(name: &str, version: u64, source: &[u8]) -> Result<LiveService, Problem> {
    let (service, _) = Service::parse(source, Some(name)).map_err(|errors| Problem::document(&errors))?;
    let route = match service.command() {
        Some(command) => Route::process(command),
        None => Route::new(service.origin(), service.allow_private()),
    };
    let route = route.map_err(|error| {
        Problem::of(
            placet_core::refusal::Code::DocumentInvalid,
            format!("service `{name}`: base_url: {error}"),
        )
    })?;
    placet_gateway::check_certificates(service.auth()).map_err(|error| {
        Problem::of(placet_core::refusal::Code::DocumentInvalid, format!("service `{name}`: auth: {error}"))
    })?;
    let route =
        route.speaking(service.kind()).within(service.timeout()).taking_uploads_at(service.upload_pace());
    let live = LiveService {
        service,
        version,
        stamp: 0,
        route,
        listed: None,
        quarantined: BTreeSet::new(),
        upstream: OnceLock::new(),
    };
    Ok(live.with_listed(None))
}
