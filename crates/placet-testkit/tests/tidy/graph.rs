//! Which crate may use which (the layers), and what may be linked at all. Works offline, from the manifests and the
//! lock file; `deny.toml` has the same rules for cargo-deny, which also sees licences.

use crate::tree::{none, root};
use serde_json::Value;
use std::{fs, process::Command};

/// Each crate of the workspace and those of the workspace that it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("placet-core", &[]),
    ("placet-store", &["placet-core"]),
    ("placet-gateway", &["placet-core"]),
    ("placet-identity", &["placet-core", "placet-gateway"]),
    ("placet-server", &["placet-core", "placet-store", "placet-gateway", "placet-identity"]),
    ("placet", &["placet-core", "placet-store", "placet-gateway", "placet-identity", "placet-server"]),
    (
        "placet-testkit",
        &["placet-core", "placet-store", "placet-gateway", "placet-identity", "placet-server"],
    ),
];

/// Only tests may use it, of any crate.
const TESTKIT: &str = "placet-testkit";

/// Crates that are for some of ours only, and why.
const ONLY_FOR: &[(&str, &[&str], &str)] = &[
    ("rusqlite", &["placet-store"], "SQL is in placet-store only"),
    ("postgres", &["placet-testkit"], "SQL is in placet-store only; tests make databases"),
    (
        "tokio-postgres",
        &["placet-store", "placet-gateway"],
        "SQL is in placet-store only; databases of services are upstreams",
    ),
    ("sqlparser", &["placet-core"], "statements for databases of services are placet-core's"),
    (
        "axum",
        &["placet-server", "placet", "placet-testkit"],
        "only the server serves; the demo has an upstream",
    ),
    ("clap", &["placet"], "flags are read by the binary only"),
    ("reqwest", &["placet", "placet-testkit"], "customer traffic goes through placet-gateway"),
    ("hyper-rustls", &["placet-gateway"], "upstream traffic is in placet-gateway only"),
    (
        "rustls-platform-verifier",
        &["placet-gateway", "placet-store"],
        "upstreams and the database are checked",
    ),
    ("argon2", &["placet-core"], "passwords are placet-core's"),
    ("jsonwebtoken", &["placet-core"], "tokens are placet-core's"),
    ("cel", &["placet-core"], "conditions are placet-core's"),
];

/// What the core must not be able to do.
const NOT_IN_CORE: &[&str] =
    &["tokio", "hyper", "http", "rand", "getrandom", "uuid", "futures", "async-trait", "tracing"];

/// What is linked by nobody, directly or not.
const BANNED: &[&str] = &["openssl", "openssl-sys", "native-tls"];

struct Dependency {
    of: String,
    name: String,
    test_only: bool,
}

fn dependencies() -> Vec<Dependency> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--offline", "--format-version", "1", "--no-deps"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = Vec::new();
    for package in list(&metadata, "packages") {
        for dependency in list(package, "dependencies") {
            found.push(Dependency {
                of: text(package, "name"),
                name: text(dependency, "name"),
                test_only: dependency.get("kind").and_then(Value::as_str) == Some("dev"),
            });
        }
    }
    assert!(found.len() > 20, "only {} dependencies found", found.len());
    found
}

fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).expect("a list of cargo metadata")
}

fn text(value: &Value, member: &str) -> String {
    value.get(member).and_then(Value::as_str).expect("a name of cargo metadata").to_owned()
}

#[test]
fn crates_use_only_what_is_below_them() {
    let mut found = Vec::new();
    for dependency in dependencies() {
        let Dependency { of, name, test_only } = &dependency;
        let Some((_, below)) = LAYERS.iter().find(|(layer, _)| layer == of) else {
            found.push(format!("{of} is not in the list of layers"));
            continue;
        };
        let ours = LAYERS.iter().any(|(layer, _)| layer == name) || name.starts_with("placet");
        let for_tests = name == TESTKIT && *test_only;
        if ours && !below.contains(&name.as_str()) && !for_tests {
            found.push(format!("{of} uses {name}"));
        }
    }
    none("keep to the layers of ARCHITECTURE.md", &found);
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    let mut found = Vec::new();
    for Dependency { of, name, .. } in dependencies().iter().filter(|dependency| !dependency.test_only) {
        if let Some((_, _, why)) =
            ONLY_FOR.iter().find(|(only, users, _)| only == name && !users.contains(&of.as_str()))
        {
            found.push(format!("{of} uses {name}: {why}"));
        }
        if of == "placet-core" && NOT_IN_CORE.contains(&name.as_str()) {
            found.push(format!("{of} uses {name}: placet-core has no effects"));
        }
    }
    none("use it through the crate that owns it", &found);
}

#[test]
fn nothing_banned_is_linked_and_all_comes_from_one_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let banned = BANNED.iter().filter(|name| lock.contains(&format!("\nname = \"{name}\"\n")));
    none("these are banned by deny.toml", &banned.map(ToString::to_string).collect::<Vec<_>>());
    let sources: Vec<String> =
        lock.lines().filter(|line| line.starts_with("source = ")).map(str::to_owned).collect();
    assert!(sources.len() > 100, "only {} foreign crates in the lock file", sources.len());
    let wanted = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let other: Vec<String> = sources.into_iter().filter(|line| line != wanted).collect();
    none("crates come from crates.io only", &other);
}

/// The two lists of bans say the same.
#[test]
fn deny_toml_has_these_bans_too() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let missing = BANNED.iter().filter(|name| !deny.contains(&format!("crate = \"{name}\"")));
    none("add to `bans.deny` of deny.toml", &missing.map(ToString::to_string).collect::<Vec<_>>());
    for (name, users, _) in
        ONLY_FOR.iter().filter(|(name, _, _)| deny.contains(&format!("crate = \"{name}\"")))
    {
        let line =
            deny.lines().find(|line| line.contains(&format!("crate = \"{name}\""))).unwrap_or_default();
        for user in *users {
            assert!(line.contains(&format!("\"{user}\"")), "deny.toml does not let {user} use {name}");
        }
    }
}
