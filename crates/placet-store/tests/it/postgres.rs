//! Every statement, prepared on a real PostgreSQL: one text for both engines stays one.

use placet_store::{all_statements, schema, sql::numbered_for_postgres};
use postgres::{Client, Config, NoTls};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

#[test]
fn every_statement_is_understood() {
    let cluster = Cluster::start();
    let mut client = cluster.connect();
    client.batch_execute(&schema()).unwrap_or_else(|error| panic!("the migrations: {}", reason(&error)));
    let statements = all_statements();
    assert!(statements.len() > 40);
    for (name, text) in statements {
        let prepared = client.prepare(&numbered_for_postgres(&text));
        prepared.unwrap_or_else(|error| panic!("{name}: {}\n{text}", reason(&error)));
    }
}

fn reason(error: &postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// A cluster that lives as long as the test, reachable through a socket in its directory only.
struct Cluster {
    directory: TempDir,
    programs: PathBuf,
    root: bool,
}

impl Cluster {
    fn start() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let programs = versions
            .map(|version| version.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists())
            .max();
        let programs = programs.expect("no PostgreSQL server found: install the Debian package `postgresql`");
        // A socket's path has to be short, so not in a directory of the environment's choice.
        let directory = tempfile::Builder::new().prefix("placet-pg").tempdir_in("/tmp").unwrap();
        let id = Command::new("id").arg("-u").output().unwrap();
        let cluster = Self { directory, programs, root: id.stdout == b"0\n" };
        if cluster.root {
            let chown = Command::new("chown").arg("postgres").arg(cluster.directory.path()).status().unwrap();
            assert!(chown.success());
        }
        cluster
            .run("initdb", &["-A", "trust", "-U", "postgres", "--locale=C", "--encoding=UTF8", "--no-sync"]);
        let options = format!("-k {} -c listen_addresses= -c fsync=off", cluster.directory.path().display());
        let log = cluster.directory.path().join("log");
        cluster.run("pg_ctl", &["start", "-w", "-l", log.to_str().unwrap(), "-o", &options]);
        cluster
    }

    fn connect(&self) -> Client {
        let mut config = Config::new();
        config.host_path(self.directory.path()).user("postgres").dbname("postgres");
        config.connect(NoTls).unwrap()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs one of its programs, as `postgres` where the test runs as root: it refuses root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if self.root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(Path::new("/")).arg("-D").arg(self.data()).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        // Not to a pipe: the server would keep it open.
        let status =
            self.command(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "{program} failed");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        _ = self.command("pg_ctl").args(["stop", "-m", "immediate"]).stdout(Stdio::null()).status();
    }
}
