//! What may stand in a Rust file.

use crate::tree::{RustFile, generated, none, root, rust_files};
use std::fs;

const LONGEST: usize = 800;
const MEDIAN: usize = 200;

#[test]
fn files_are_about_one_thing() {
    let files = rust_files();
    let mut lengths: Vec<usize> = files.iter().map(|file| file.text.lines().count()).collect();
    let long: Vec<String> = files
        .iter()
        .zip(&lengths)
        .filter(|(_, lines)| **lines > LONGEST)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect();
    none(&format!("split what is over {LONGEST} lines"), &long);
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    assert!(median <= MEDIAN, "half of the files have over {median} lines; the house keeps it at {MEDIAN}");
}

/// Where statements for databases of services are written, read and tried: other people's, and never the store's own.
const OF_SERVICES: &[&str] = &[
    "crates/placet-core/src/service/sql/",
    "crates/placet-gateway/tests/it/postgres",
    "crates/placet/tests/it/database",
];

#[test]
fn sql_is_in_the_store_only() {
    let found: Vec<String> = rust_files()
        .iter()
        .filter(|file| !file.is_in("crates/placet-store/") && !file.is_tidy())
        .filter(|file| !OF_SERVICES.iter().any(|path| file.is_in(path)))
        .flat_map(|file| file.lexed.strings.iter().filter(|text| is_sql(text)).map(|text| place(file, text)))
        .collect();
    none("move SQL into placet-store", &found);
}

fn is_sql(text: &str) -> bool {
    let follows =
        |first: &str, then: &str| text.split_once(first).is_some_and(|(_, rest)| rest.contains(then));
    text.contains("SELECT ")
        || text.contains("INSERT INTO ")
        || text.contains("DELETE FROM ")
        || text.contains("CREATE TABLE ")
        || follows("UPDATE ", " SET ")
}

#[test]
fn sql_is_recognised() {
    for sql in ["SELECT 1", " INSERT INTO t VALUES (1)", "UPDATE t\n SET a = 1", "DELETE FROM t"] {
        assert!(is_sql(sql), "{sql}");
    }
    for other in ["select one", "an UPDATE of it", "the SETTING", "to insert into a list"] {
        assert!(!is_sql(other), "{other}");
    }
}

/// Who opens secrets stands in a list, so that one more is seen by whoever reads the change.
#[test]
fn who_opens_secrets_is_listed() {
    let mut list = String::from(
        "# Files that open secrets, and how often: written by the tidy test, to be read in review.\n",
    );
    for file in rust_files().iter().filter(|file| !file.is_tidy()) {
        let count = count(file.shipped(), ".expose(") + count(file.shipped(), ".expose_str(");
        if count > 0 {
            list.push_str(&format!("{count} {}\n", file.path));
        }
    }
    generated("crates/placet-testkit/tests/tidy/opens-secrets.txt", &list);
}

/// Counts a call also where it stands on a line of its own or through a path (`Secret::expose`).
fn count(code: &str, call: &str) -> usize {
    let name = call.trim_start_matches('.').trim_end_matches('(');
    code.match_indices(name)
        .filter(|(at, _)| {
            let before = code.get(..*at).unwrap_or_default().trim_end();
            let after = code.get(at + name.len()..).unwrap_or_default();
            (before.ends_with('.') || before.ends_with("::"))
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
        .count()
}

#[test]
fn openings_are_counted() {
    let code = "a.expose(); b\n  .expose_str(); c.map(Secret::expose); fn expose(&self) {} d.exposed();";
    assert_eq!((count(code, ".expose("), count(code, ".expose_str(")), (2, 1));
}

/// How long a comparison takes says nothing of where a guess is wrong: what is compared are keyed hashes, in constant time.
#[test]
fn secrets_are_compared_in_constant_time() {
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_tidy()) {
        // A length is no secret, and neither is the prefix that says of which kind one is.
        let opened = |line: &&str| {
            let line =
                line.replace(".expose().len()", "").replace(".expose().starts_with(SESSION_PREFIX", "");
            line.contains(".expose(") || line.contains(".expose_str(")
        };
        let compared =
            |line: &&str| ["==", "!=", ".eq(", ".starts_with("].iter().any(|how| line.contains(how));
        found.extend(
            file.shipped().lines().filter(opened).filter(compared).map(|line| place(file, line.trim())),
        );
    }
    none("compare hashes of secrets, or the secrets themselves as values", &found);
    let files = rust_files();
    let secrets = files.iter().find(|file| file.path == "crates/placet-core/src/secret.rs");
    let code = secrets.expect("the file of secrets").shipped().to_owned();
    for kind in ["Secret", "KeyedHash"] {
        let (before, rest) = code.split_once(&format!("impl PartialEq for {kind} {{")).expect("an impl");
        let body = rest.split_once("\n}").map_or(rest, |(body, _)| body);
        assert!(
            body.contains("constant_time::verify_slices_are_equal"),
            "{kind} is compared in constant time"
        );
        let derived =
            before.lines().filter(|line| line.contains("derive")).any(|line| line.contains("PartialEq"));
        assert!(!derived, "{kind} derives no comparison");
    }
}

#[test]
fn the_core_is_pure() {
    const IMPURE: &[&str] = &[
        "tokio",
        "std::fs",
        "std::process",
        "std::thread::sleep",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "async fn",
        "async move",
        ".await",
    ];
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in rust_files().iter().filter(|file| file.is_in("crates/placet-core/src/")) {
        looked_at += 1;
        let code = file.shipped();
        found.extend(IMPURE.iter().filter(|word| code.contains(*word)).map(|word| place(file, word)));
        // Addresses are values; anything else of the network is an effect.
        let net = code.match_indices("std::net").filter(|(at, _)| {
            let rest = code.get(at + "std::net".len()..).unwrap_or_default();
            !["::IpAddr", "::Ipv4Addr", "::Ipv6Addr", "::SocketAddr"]
                .iter()
                .any(|value| rest.starts_with(value))
        });
        found.extend(net.map(|_| place(file, "std::net")));
    }
    assert!(looked_at > 20, "only {looked_at} files of placet-core found");
    none("placet-core has no effects: take time, entropy, bytes as arguments", &found);
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for file in rust_files().iter().filter(|file| !file.is_tidy()) {
        let marks = ["TODO", "FIXME", "XXX:"].into_iter().filter(|mark| has_word(&file.text, mark));
        let macros = ["unimplemented!", "todo!"].into_iter().filter(|word| file.lexed.code.contains(word));
        // A test that another test starts as a process of its own is not left out; any other ignored one is.
        let ignored = file.lexed.code.matches("#[ignore").count();
        let started = file.text.matches("#[ignore = \"the body of the process that ").count();
        if ignored > started {
            found.push(place(file, "#[ignore"));
        }
        found.extend(marks.chain(macros).map(|word| place(file, word)));
    }
    none("finish it or leave it out", &found);
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}

/// A module says first what it is for.
#[test]
fn modules_open_with_what_they_are_for() {
    let found: Vec<String> = rust_files()
        .iter()
        .filter(|file| file.is_in("crates/placet") && file.path.contains("/src/") && !file.is_test())
        .filter(|file| !file.text.starts_with("//! ") || file.text.starts_with("//! (being written)"))
        .map(|file| file.path.clone())
        .collect();
    none("open these with `//!`: what for, and what must never happen", &found);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        if !text.contains("[lints]\nworkspace = true\n") {
            found.push(manifest.display().to_string());
        }
    }
    none("add `[lints] workspace = true`", &found);
}

fn place(file: &RustFile, what: &str) -> String {
    let line =
        file.text.lines().position(|line| what.lines().next().is_some_and(|first| line.contains(first)));
    let what: String = what.chars().take(60).collect();
    format!("{}:{}: {what:?}", file.path, line.map_or(0, |line| line + 1))
}
