//! The real binary, as a process of its own on a free port and a temporary directory.
//!
//! Invariant: no server outlives the test process: each has a guard, a shell that waits for the end of a pipe from
//! here and then kills the server and removes its directory. So a server may also be kept in a `static`.

use crate::{Client, Cluster, Database, until};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};
use tempfile::TempDir;

/// What of the surrounding environment the binary reads.
const ENVIRONMENT: &[&str] = &[
    "PLACET_URL",
    "PLACET_TOKEN",
    "PLACET_CLIENT_SECRET",
    "PLACET_VAULT_KEY",
    "PLACET_VAULT_SERVICE",
    "PLACET_DATABASE",
    "PLACET_LOG",
    "NO_COLOR",
];

/// Names the engine that servers are started on: `postgres`, else SQLite.
const ENGINE: &str = "PLACET_TEST_ENGINE";

/// Names a file that takes the names of tests that were left out.
const SKIPPED: &str = "PLACET_TEST_SKIPPED";

/// Whether servers are started on PostgreSQL.
pub fn on_postgres() -> bool {
    std::env::vars().any(|(name, value)| name == ENGINE && value == "postgres")
}

/// Says that a test is about SQLite's file, where servers are started on PostgreSQL; such a test ends there.
#[must_use]
pub fn is_about_a_file(test: &str) -> bool {
    let skipped = on_postgres();
    if skipped {
        eprintln!("not on PostgreSQL: {test}");
        if let Some((_, list)) = std::env::vars().find(|(name, _)| name == SKIPPED) {
            let mut list = File::options().create(true).append(true).open(list).unwrap();
            writeln!(list, "{test}").unwrap();
        }
    }
    skipped
}

/// A server; killed where a test ends without stopping it.
#[derive(Debug)]
pub struct Server {
    binary: String,
    home: TempDir,
    running: Option<Running>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    base: String,
    admin: String,
    /// Dropped after the server has ended.
    database: Option<Arc<Database>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    guard: Child,
    /// Kept open, so that the server can write.
    _out: BufReader<ChildStdout>,
}

impl Server {
    /// Starts `binary` (`env!("CARGO_BIN_EXE_placet")`) on a directory and a port of its own, and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn start(binary: &str) -> Self {
        Self::prepared(binary, |_| {})
    }

    /// The same, after `prepare` has put something into the data directory.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn prepared(binary: &str, prepare: impl FnOnce(&Path)) -> Self {
        let database = on_postgres().then(|| Arc::new(Cluster::of_this_process().database()));
        let server = Self::node(binary, database, prepare);
        assert!(!server.admin.is_empty(), "there is no administrator token");
        server
    }

    /// A node on a database of its own, on a PostgreSQL server whatever the engine of the other tests.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn first_node(binary: &str) -> Self {
        Self::node(binary, Some(Arc::new(Cluster::of_this_process().database())), |_| {})
    }

    /// A node on a database of a test's own, wherever that is and whatever lies between.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn on_database(binary: &str, database: Database) -> Self {
        Self::node(binary, Some(Arc::new(database)), |_| {})
    }

    /// A node on a database in which an installation is, with that one's vault key.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn node_of(binary: &str, database: Database, vault_key: &Path) -> Self {
        Self::node(binary, Some(Arc::new(database)), |data| {
            fs::create_dir_all(data).unwrap();
            fs::copy(vault_key, data.join("vault.key")).unwrap();
        })
    }

    /// Another node on the same database, with the same vault key.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn another_node(&self) -> Self {
        assert!(self.database.is_some(), "a server on PostgreSQL");
        let mut node = Self::node(&self.binary, self.database.clone(), |data| {
            fs::create_dir_all(data).unwrap();
            fs::copy(self.data().join("vault.key"), data.join("vault.key")).unwrap();
        });
        node.admin.clone_from(&self.admin);
        node
    }

    /// Its database, where that is on PostgreSQL.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_deref()
    }

    fn node(binary: &str, database: Option<Arc<Database>>, prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::Builder::new().prefix("placet-test-").tempdir().unwrap();
        let mut server = Self {
            binary: binary.to_owned(),
            home,
            running: None,
            flags: Vec::new(),
            environment: Vec::new(),
            base: String::new(),
            admin: String::new(),
            database,
        };
        prepare(&server.data());
        server.run();
        if let Ok(token) = fs::read_to_string(server.data().join("admin.token")) {
            server.admin = token.trim().to_owned();
        }
        server
    }

    /// Where it answers; another place after each start.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Where its pages for people are; another place after each start.
    ///
    /// # Panics
    /// Where it is not ready.
    pub fn pages(&self) -> String {
        fs::read_to_string(self.data().join("pages-address")).unwrap().trim().to_owned()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A directory for a test's own files; the working directory and state directory of [`Server::cli`].
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// What it wrote to its log, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// The administrator token.
    pub fn admin_token(&self) -> &str {
        &self.admin
    }

    /// A client with the administrator token.
    pub fn admin(&self) -> Client {
        self.client().with(&self.admin)
    }

    /// A client without a token.
    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// The process id.
    ///
    /// # Panics
    /// Where it is not running.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the server runs").child.id()
    }

    /// The binary as a command line tool that finds this server by `--data`, with nothing of the surrounding
    /// environment that it reads.
    pub fn cli(&self) -> Command {
        let mut command = self.command();
        command.arg("--data").arg(self.data());
        command
    }

    /// The binary without any argument, with nothing of the surrounding environment that it reads.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for name in ENVIRONMENT {
            command.env_remove(name);
        }
        if let Some(database) = &self.database {
            command.env("PLACET_DATABASE", database.url());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("XDG_STATE_HOME", self.home.path()).current_dir(self.home.path()).stdin(Stdio::null());
        command
    }

    /// Ends it as a power cut would.
    ///
    /// # Panics
    /// Where it can't be killed.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        }
    }

    /// Asks it to stop (SIGTERM) and waits for its end; answers its exit code.
    ///
    /// # Panics
    /// Where it does not end within 20 seconds.
    pub fn stop(&mut self) -> Option<i32> {
        let mut running = self.running.take().expect("the server runs");
        let asked = Command::new("kill").args(["-TERM", &running.child.id().to_string()]).status().unwrap();
        assert!(asked.success(), "the server can't be asked to stop");
        until("the server's end", || running.child.try_wait().unwrap()).code()
    }

    /// What `placet serve` is given besides from the next start on.
    pub fn flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// What stands in the environment of it and its commands besides, from the next start on.
    pub fn environment(&mut self, name: &str, value: impl AsRef<Path>) {
        self.environment.push((name.to_owned(), value.as_ref().to_str().unwrap().to_owned()));
    }

    /// Starts it again after [`Server::kill`] or [`Server::stop`] (killing it first where it runs), on the same
    /// directory and another port.
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.home.path().join("log")).unwrap();
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        if !self.flags.iter().any(|flag| flag == "--log") {
            command.args(["--log", "info"]);
        }
        command.args(&self.flags);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let guard = guard(child.id(), self.home.path());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        out.read_line(&mut ready).unwrap();
        assert!(ready.contains("http://127.0.0.1:"), "not ready: {ready:?}; the log: {}", self.log());
        self.base = fs::read_to_string(self.data().join("address")).unwrap().trim().to_owned();
        self.running = Some(Running { child, guard, _out: out });
    }
}

/// A program beside the tests that ends with them.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    guard: Child,
}

/// Starts a program that ends, and whose directory is removed, once this process is gone, however it goes.
pub(crate) fn guarded(command: &mut Command, home: &Path) -> Guarded {
    let child = command.spawn().unwrap();
    let guard = guard(child.id(), home);
    Guarded { child, guard }
}

impl Drop for Guarded {
    /// The guard first, as below.
    fn drop(&mut self) {
        for child in [&mut self.guard, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A shell that kills `server` and removes `home` once this process is gone, however it goes.
fn guard(server: u32, home: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; kill -9 \"$0\" 2>/dev/null; rm -rf \"$1\"", &server.to_string()])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Running {
    /// The guard first: it must not see the end of its pipe while the directory is still needed.
    fn drop(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
