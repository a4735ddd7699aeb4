//! A PostgreSQL server for tests: the one that `PLACET_TEST_POSTGRES` names, or else one that this process starts in a
//! directory of its own and that ends with it, however it ends. Each test has a database of its own.
//!
//! Invariant: nothing of it outlives the process of the tests: the server is stopped by a shell that waits for the end
//! of a pipe, which a killed process closes too.

mod certified;

pub use certified::Certified;

use crate::{Proxy, until};
use postgres::{Client, NoTls};
use std::{
    io::Write as _,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Names a running server: `postgres://user:password@host:port`, whose user may make databases.
const ENVIRONMENT: &str = "PLACET_TEST_POSTGRES";

static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::shared);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    /// `postgres://user:password@host:port`
    base: String,
    own: Option<Own>,
}

/// A server of ours.
#[derive(Debug)]
struct Own {
    // Never dropped by the shared cluster: whoever waits at the pipe tidies up.
    directory: PathBuf,
    programs: PathBuf,
    root: bool,
    port: u16,
    settings: Vec<String>,
    _watch: Child,
}

/// A database that is dropped with this.
#[derive(Debug)]
pub struct Database {
    name: String,
    base: String,
    /// Where [`Database::url`] leads, where that is not the server itself.
    port: Option<u16>,
}

impl Cluster {
    /// The server that all tests of this process share.
    pub fn of_this_process() -> &'static Self {
        &SHARED
    }

    fn shared() -> Self {
        match std::env::vars().find(|(name, value)| name == ENVIRONMENT && !value.is_empty()) {
            Some((_, url)) => Self { base: url.trim_end_matches('/').to_owned(), own: None },
            // Commits need not reach the disk: the machine does not fail during a test.
            None => Self::start(&["fsync=off"]),
        }
    }

    /// Starts a server with these settings (`fsync=on`), for tests that stop it and for measurements.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start(settings: &[&str]) -> Self {
        let programs = Self::programs();
        // A socket's path has to be short, so not in a directory of the environment's choice.
        let directory =
            tempfile::Builder::new().prefix("placet-pg").tempdir_in("/tmp").map(TempDir::keep).unwrap();
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if root {
            let chown = Command::new("chown").arg("postgres").arg(&directory).status().unwrap();
            assert!(chown.success());
        }
        let port = free_port();
        let watch = watch(&programs, &directory, root);
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let own = Own { directory, programs, root, port, settings, _watch: watch };
        own.run("initdb", &["-A", "trust", "-U", "postgres", "--locale=C", "--encoding=UTF8", "--no-sync"]);
        own.launch();
        Self { base: format!("postgres://postgres@127.0.0.1:{port}"), own: Some(own) }
    }

    /// The directory of PostgreSQL's programs (`pg_dump`, `pg_restore`).
    ///
    /// # Panics
    /// Where PostgreSQL is not installed.
    pub fn programs() -> PathBuf {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions.map(|version| version.path().join("bin"));
        let programs = programs.filter(|bin| bin.join("initdb").exists()).max();
        programs.expect("no PostgreSQL server found: install the Debian package `postgresql`")
    }

    /// Where it listens: `127.0.0.1` and a port, to put something before it.
    pub fn address(&self) -> std::net::SocketAddr {
        let config: postgres::Config = self.base.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let host = match config.get_hosts().first() {
            Some(postgres::config::Host::Tcp(host)) => host.clone(),
            _ => "127.0.0.1".into(),
        };
        std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port)).unwrap().next().unwrap()
    }

    /// The directory of its socket and data; `None` where it is not ours.
    pub fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.directory.as_path())
    }

    /// A new, empty database.
    pub fn database(&self) -> Database {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}_{number}", std::process::id());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let make =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
        outside(&self.base, "postgres", move |client| client.batch_execute(&make)).unwrap();
        Database { name, base: self.base.clone(), port: None }
    }

    /// Kills it without a warning, as a failing machine would.
    ///
    /// # Panics
    /// Where it is not ours.
    pub fn kill(&self) {
        let own = self.own.as_ref().expect("a server of the tests' own");
        own.run("pg_ctl", &["stop", "-m", "immediate"]);
    }

    /// Kills every process of it (SIGKILL), the first one first, so that nobody writes anything more.
    ///
    /// # Panics
    /// Where it is not ours.
    pub fn kill_processes(&self) {
        let own = self.own.as_ref().expect("a server of the tests' own");
        let data = own.directory.join("data");
        let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
        let first: u32 = pid.lines().next().unwrap().parse().unwrap();
        let mut left = vec![first];
        // Those that were begun while the first was killed, too: no new one starts beside one that is left. Nor while the
        // first is not reaped yet, as its file names a process that is still there.
        until("the end of the server's processes", || {
            for id in left.drain(..) {
                // One that has ended by itself is as dead as one that was killed.
                let kill =
                    Command::new("kill").args(["-9", &u32::to_string(&id)]).stderr(Stdio::null()).status();
                _ = kill.unwrap();
            }
            left = processes_in(&data);
            (left.is_empty() && !Path::new(&format!("/proc/{first}")).exists()).then_some(())
        });
    }

    /// Starts it again.
    ///
    /// # Panics
    /// Where it is not ours, or does not start.
    pub fn restart(&self) {
        self.own.as_ref().expect("a server of the tests' own").launch();
    }

    /// Ends it, and waits until it is over.
    pub fn stop(mut self) {
        if let Some(own) = self.own.take() {
            own.run("pg_ctl", &["stop", "-m", "immediate"]);
        }
    }
}

impl Own {
    fn launch(&self) {
        let mut options =
            format!("-k {} -p {} -c listen_addresses=127.0.0.1", self.directory.display(), self.port);
        for setting in self.settings.iter().map(String::as_str).chain(["max_connections=300"]) {
            options += &format!(" -c {setting}");
        }
        let log = self.directory.join("log");
        self.run("pg_ctl", &["start", "-w", "-l", log.to_str().unwrap(), "-o", &options]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = as_postgres(&self.programs.join(program), self.root);
        command.current_dir("/").arg("-D").arg(self.directory.join("data")).args(arguments);
        // Not to a pipe: the server would keep it open.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.unwrap().success() {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            panic!("{program} failed; the last of its log first: {last:#?}");
        }
    }
}

/// Runs one of PostgreSQL's programs for clients.
fn client(program: &str, arguments: &[&str]) {
    let output = Command::new(Cluster::programs().join(program)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A free port below those that the system gives to outgoing connections: a server that is started again finds it free,
/// however many clients try to reach it meanwhile.
fn free_port() -> u16 {
    static PORTS: AtomicU16 = AtomicU16::new(0);
    let first = 26_000 + u16::try_from(std::process::id() % 4000).unwrap_or_default();
    let first = first + PORTS.fetch_add(1, Ordering::Relaxed);
    let free = (first..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}

/// The processes that live and work in this directory: all of a server's do in its data.
fn processes_in(directory: &Path) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = all.filter(|one| std::fs::read_link(one.path().join("cwd")).is_ok_and(|at| at == directory));
    here.filter_map(|one| one.file_name().to_str()?.parse().ok()).collect()
}

/// A command that runs as `postgres` where the test runs as root: the server refuses root.
fn as_postgres(program: &Path, root: bool) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

/// A shell in a process group of its own that waits until this process has ended, then stops the server and removes
/// its directory.
fn watch(programs: &Path, directory: &Path, root: bool) -> Child {
    let script = r#"while read -r _; do :; done; "$1" -D "$2/data" stop -m immediate; rm -rf "$2""#;
    let mut command = as_postgres(Path::new("/bin/sh"), root);
    command.args(["-c", script, "sh"]).arg(programs.join("pg_ctl")).arg(directory).current_dir("/");
    // Interrupting the tests from a terminal must not interrupt this.
    command.process_group(0);
    let watch = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut watch = watch.unwrap();
    _ = watch.stdin.as_mut().map(|pipe| pipe.flush());
    watch
}

impl Database {
    /// Its URL.
    pub fn url(&self) -> String {
        self.port.map_or_else(|| format!("{}/{}", self.base, self.name), |port| self.url_through(port))
    }

    /// The same, whose URL leads through this proxy. What tests ask it themselves goes to the server.
    #[must_use]
    pub fn behind(mut self, proxy: &Proxy) -> Self {
        self.port = Some(proxy.port());
        self
    }

    /// Its URL through something that listens at this port of 127.0.0.1.
    pub fn url_through(&self, port: u16) -> String {
        let (credentials, _) =
            self.base.trim_start_matches("postgres://").rsplit_once('@').unwrap_or(("postgres", ""));
        format!("postgres://{credentials}@127.0.0.1:{port}/{}", self.name)
    }

    /// Runs statements.
    ///
    /// # Panics
    /// With the server's words.
    pub fn run(&self, sql: &str) {
        let sql = sql.to_owned();
        outside(&self.base, &self.name, move |client| client.batch_execute(&sql)).unwrap();
    }

    /// Dumps it into a file, as its operator would.
    ///
    /// # Panics
    /// Where `pg_dump` fails.
    pub fn dump(&self, file: &Path) {
        client("pg_dump", &["--format=custom", "--dbname", &self.url(), "--file", file.to_str().unwrap()]);
    }

    /// Puts a dump into it; it is empty.
    ///
    /// # Panics
    /// Where `pg_restore` fails.
    pub fn put_back(&self, file: &Path) {
        client("pg_restore", &["--exit-on-error", "--dbname", &self.url(), file.to_str().unwrap()]);
    }

    /// The first column of every row, as text.
    ///
    /// # Panics
    /// With the server's words.
    pub fn column(&self, sql: &str) -> Vec<String> {
        let sql = sql.to_owned();
        let rows = outside(&self.base, &self.name, move |client| client.simple_query(&sql)).unwrap();
        let text = |row: &postgres::SimpleQueryMessage| match row {
            postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        };
        rows.iter().filter_map(text).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        _ = outside(&self.base, "postgres", move |client| client.batch_execute(&sql));
    }
}

/// Does something with a connection, outside of whatever runtime the test is in: the client brings one of its own.
fn outside<T: Send>(
    base: &str,
    database: &str,
    what: impl FnOnce(&mut Client) -> Result<T, postgres::Error> + Send,
) -> Result<T, String> {
    let url = format!("{base}/{database}");
    thread::scope(|scope| {
        let done = scope.spawn(move || {
            let end = Instant::now() + Duration::from_secs(10);
            let mut client = loop {
                match Client::connect(&url, NoTls) {
                    Ok(client) => break client,
                    Err(error) if Instant::now() > end => return Err(reason(&error)),
                    Err(_) => thread::park_timeout(Duration::from_millis(50)),
                }
            };
            what(&mut client).map_err(|error| reason(&error))
        });
        done.join().unwrap()
    })
}

fn reason(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}
