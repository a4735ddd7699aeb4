//! A store on a temporary file, and things to put into it.

use placet_core::{
    agent::{Agent, AgentState, Level},
    grant::{Authority, Grant, MAX_DEPTH, Origin, Revoked},
    id::{AgentId, Id, Kind, TaskId, UserId},
    ledger::Limit,
    pattern::{ActionPattern, ResourcePattern},
    record::RecordSigner,
    scope::Scope,
    secret::{HashKey, KeyedHash},
    task::{Task, TaskOrigin, TaskState},
    time::Timestamp,
    user::User,
};
use placet_store::{Database, Fault, Issue, Reader, Store, StoreOptions, Tx, agents, grants, tasks, users};
use placet_testkit::Cluster;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Everything happens at this time, or minutes around it.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

pub(crate) fn minutes(minutes: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(60 * minutes))
}

pub(crate) fn hash(text: &str) -> KeyedHash {
    HashKey::new(&[7; 32]).hash("test", text.as_bytes())
}

pub(crate) struct World {
    store: Store,
    runtime: Runtime,
    next: AtomicI64,
    _dir: TempDir,
    _server: Option<placet_testkit::Database>,
}

/// Which engine a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// Runs each of these tests on both engines.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                super::$name(&crate::world::World::new(crate::world::Engine::Sqlite));
            })*
        }
        mod postgres {
            $(#[test]
            fn $name() {
                super::$name(&crate::world::World::new(crate::world::Engine::Postgres));
            })*
        }
    };
}
pub(crate) use on_both_engines;

impl World {
    pub(crate) fn new(engine: Engine) -> Self {
        let dir = TempDir::new().unwrap();
        let signer = Arc::new(RecordSigner::from_seed("test.example/record", &[1; 32]).unwrap());
        let node = Id::from_parts(NOW, [0; 10]);
        let server = (engine == Engine::Postgres).then(|| Cluster::of_this_process().database());
        let database = match &server {
            Some(server) => Database::postgres(&server.url()).unwrap(),
            None => Database::sqlite(dir.path().join("store.db")),
        };
        let store = Store::open(StoreOptions::new(database, node, [1; 16], signer, NOW)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        Self { store, runtime, next: AtomicI64::new(0), _dir: dir, _server: server }
    }

    /// A new id, later than all before.
    pub(crate) fn id<K: Kind>(&self) -> Id<K> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Id::from_parts(Timestamp::from_micros(NOW.as_micros() + number * 1000), [3; 10])
    }

    pub(crate) fn write<T: Send + 'static>(
        &self,
        f: impl FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.runtime.block_on(self.store.write(f))
    }

    pub(crate) fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Reader<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> T {
        self.runtime.block_on(self.store.read(f)).unwrap()
    }

    /// Issues all at once, with a closure right behind them; answers what each got, and what the closure did.
    pub(crate) fn issue_then<T: Send + 'static>(
        &self,
        issues: Vec<Issue>,
        f: impl FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> (Vec<Result<bool, Fault>>, Result<T, Fault>) {
        // On one thread what was spawned first is sent first.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let issue = |issue| {
                let store = self.store.clone();
                tokio::spawn(async move { store.issue(issue).await })
            };
            let issuing: Vec<_> = issues.into_iter().map(issue).collect();
            let store = self.store.clone();
            let closure = tokio::spawn(async move { store.write(f).await });
            let mut issued = Vec::new();
            for one in issuing {
                issued.push(one.await.unwrap());
            }
            (issued, closure.await.unwrap())
        })
    }

    /// Runs `f` as often as `times` says, all at once, and answers what each got.
    pub(crate) fn race<T: Send + 'static>(
        &self,
        times: usize,
        f: impl Fn(usize, &mut Tx<'_>) -> Result<T, Fault> + Send + Sync + Clone + 'static,
    ) -> Vec<Result<T, Fault>> {
        self.runtime.block_on(async {
            let racers: Vec<_> = (0..times)
                .map(|racer| {
                    let (store, f) = (self.store.clone(), f.clone());
                    tokio::spawn(async move { store.write(move |tx| f(racer, tx)).await })
                })
                .collect();
            let mut all = Vec::new();
            for racer in racers {
                all.push(racer.await.unwrap());
            }
            all
        })
    }

    /// An agent in service, with its registration grant.
    pub(crate) fn agent(&self, handle: &str) -> Agent {
        let agent = self.new_agent(handle);
        let (stored, registration) = (agent.clone(), self.registration(&agent));
        self.write(move |tx| {
            agents::insert(tx, &stored, hash("secret"), hash("registration"))?;
            grants::insert(tx, &registration)
        })
        .unwrap();
        agent
    }

    pub(crate) fn new_agent(&self, handle: &str) -> Agent {
        Agent {
            id: self.id(),
            handle: handle.to_owned(),
            description: "reads \"orders\" … \u{202e}".to_owned(),
            owner: Some("ada".to_owned()),
            labels: [("team".to_owned(), "support".to_owned())].into(),
            level: Level::Elevated,
            default_scopes: vec![Scope::parse("orders.read:order://customer:42").unwrap()],
            registration: self.id(),
            state: AgentState::Active,
            created: NOW,
            version: 0,
        }
    }

    pub(crate) fn registration(&self, agent: &Agent) -> Grant {
        Grant {
            id: agent.registration,
            root: agent.registration,
            ..self.root(agent.id, Origin::Registration)
        }
    }

    /// A root that is not stored yet.
    pub(crate) fn root(&self, agent: AgentId, origin: Origin) -> Grant {
        let id = self.id();
        Grant {
            id,
            root: id,
            parent: None,
            depth: 0,
            agent,
            user: None,
            task: None,
            authority: authority(),
            limits: vec![
                Limit::from_json(&json!({"count": 5, "per": "day", "zone": "America/New_York"})).unwrap(),
            ],
            origin,
            created: NOW,
            revoked: None,
        }
    }

    /// A child of `parent` that is not stored yet.
    pub(crate) fn child(&self, parent: &Grant, agent: AgentId, task: Option<TaskId>) -> Grant {
        Grant {
            id: self.id(),
            parent: Some(parent.id),
            depth: parent.depth + 1,
            agent,
            task,
            origin: Origin::Agent,
            ..parent.clone()
        }
    }

    pub(crate) fn insert(&self, grant: &Grant) {
        let grant = grant.clone();
        self.write(move |tx| grants::insert(tx, &grant)).unwrap();
    }

    pub(crate) fn task(&self, agent: AgentId, user: Option<UserId>, label: Option<&str>) -> Task {
        let task = self.new_task(agent, user, label);
        let stored = task.clone();
        self.write(move |tx| tasks::insert(tx, &stored)).unwrap();
        task
    }

    pub(crate) fn new_task(&self, agent: AgentId, user: Option<UserId>, label: Option<&str>) -> Task {
        Task {
            id: self.id(),
            label: label.map(str::to_owned),
            description: Some("refund order 7".to_owned()),
            stated: placet_core::intent::Stated::default(),
            agent,
            user,
            parent: None,
            origin: TaskOrigin::Agent,
            state: TaskState::Active,
            created: NOW,
            expires: Some(minutes(60)),
        }
    }

    pub(crate) fn user(&self, name: &str, roles: &[&str]) -> User {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let user = User { id: self.id(), name: name.to_owned(), roles, created: NOW, version: 1 };
        let stored = user.clone();
        self.write(move |tx| users::insert(tx, &stored, "$argon2id$v=19$…", "admin-token")).unwrap();
        user
    }
}

pub(crate) fn authority() -> Authority {
    Authority {
        scope: vec![Scope::parse("orders.read").unwrap()],
        tools: vec![ActionPattern::parse("orders.*").unwrap()],
        resources: vec![ResourcePattern::parse("order://customer:42/**").unwrap()],
        connections: None,
        authorization_details: Vec::new(),
        detail_types: Vec::new(),
        audience: vec!["https://placet.example".to_owned()],
        not_before: NOW,
        expires: minutes(30),
        max_depth: MAX_DEPTH,
        key: None,
        certificate: None,
    }
}

pub(crate) fn revoked(by: &str) -> Revoked {
    Revoked { at: minutes(1), by: by.to_owned(), reason: Some("no longer needed".to_owned()) }
}
