//! `docs/operations.md`, followed: every block marked `sh ops`, pasted into one shell.

use crate::stage::PLACET;
use std::{fs, net::TcpListener, path::Path, process::Command};

/// The repository's root.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A free port below those that the system gives to outgoing connections: the page starts servers on the same one again
/// and again, and in between nobody holds it.
fn free(from: u16) -> String {
    let first = from + u16::try_from(std::process::id() % 1000).unwrap();
    let listener = (first..).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    listener.unwrap().local_addr().unwrap().to_string()
}

#[test]
fn what_the_operations_page_says_works() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let page = fs::read_to_string(Path::new(ROOT).join("docs/operations.md")).unwrap();
    let blocks: Vec<&str> = page
        .split("```sh ops\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block that ends").0)
        .collect();
    assert!(blocks.len() >= 8, "the page has lost its blocks");
    fs::create_dir_all(at("elsewhere")).unwrap();
    fs::create_dir_all(at("bin")).unwrap();
    std::os::unix::fs::symlink(PLACET, at("bin/placet")).unwrap();
    // A failing command ends it; whatever happens, the server ends with it.
    let script =
        format!("set -e\ntrap 'kill $SERVER 2>/dev/null || true' EXIT\n{}\necho followed", blocks.join("\n"));
    fs::write(at("page.sh"), script).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "bash", "page.sh"])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", at("state"))
        .env("DATA", at("data"))
        .env("RESTORED", at("restored"))
        .env("BACKUP", at("backup"))
        .env("ELSEWHERE", at("elsewhere"))
        .env("LISTEN", free(21_000))
        .env("METRICS", free(24_000))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("followed\n"), "{}:\n{out}\n{err}", output.status);
}
