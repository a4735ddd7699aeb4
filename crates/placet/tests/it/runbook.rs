//! `docs/operations.md`, followed: every block marked `sh ops`, pasted into one shell; and every one marked
//! `sh ops postgres` into another, where a PostgreSQL server is.

use crate::stage::PLACET;
use placet_testkit::Cluster;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

/// The repository's root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A free port below those that the system gives to outgoing connections: the page starts servers on the same one again
/// and again, and in between nobody holds it.
fn free(from: u16) -> String {
    let first = from + u16::try_from(std::process::id() % 1000).unwrap();
    let listener = (first..).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    listener.unwrap().local_addr().unwrap().to_string()
}

/// Follows the blocks that are marked so, of which there are some; every variable is in the environment.
fn follow(mark: &str, at_least: usize, home: &Path, variables: &[(&str, String)]) {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/operations.md")).unwrap();
    let blocks: Vec<&str> = page
        .split(&format!("```{mark}\n"))
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block that ends").0)
        .collect();
    assert!(blocks.len() >= at_least, "the page has lost its blocks");
    fs::create_dir_all(home.join("bin")).unwrap();
    std::os::unix::fs::symlink(PLACET, home.join("bin/placet")).unwrap();
    // A failing command ends it; whatever happens, the servers end with it.
    let script = format!(
        "set -e\ntrap 'kill $SERVER $FIRST $OTHER 2>/dev/null || true' EXIT\n{}\necho followed",
        blocks.join("\n")
    );
    fs::write(home.join("page.sh"), script).unwrap();
    let programs =
        if mark.ends_with("postgres") { Cluster::programs() } else { PathBuf::from("/usr/local/bin") };
    let path = format!("{}:{}:/usr/local/bin:/usr/bin:/bin", home.join("bin").display(), programs.display());
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "bash", "page.sh"])
        .current_dir(home)
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("XDG_STATE_HOME", home.join("state"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("followed\n"), "{}:\n{out}\n{err}", output.status);
}

#[test]
fn what_the_operations_page_says_works() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    fs::create_dir_all(at("elsewhere")).unwrap();
    let variables = [
        ("DATA", at("data")),
        ("RESTORED", at("restored")),
        ("BACKUP", at("backup")),
        ("ELSEWHERE", at("elsewhere")),
        ("LISTEN", free(21_000)),
        ("METRICS", free(24_000)),
    ];
    follow("sh ops", 8, home.path(), &variables);
}

#[test]
fn what_the_operations_page_says_of_postgresql_works() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let (database, empty) = (Cluster::of_this_process().database(), Cluster::of_this_process().database());
    let variables = [
        ("DATA", at("data")),
        ("SECOND", at("second")),
        ("BACKUP", at("backup")),
        ("DATABASE", database.url()),
        ("EMPTY", empty.url()),
        ("LISTEN", free(19_000)),
        ("ALSO", free(17_000)),
    ];
    follow("sh ops postgres", 5, home.path(), &variables);
}
