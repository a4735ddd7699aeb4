//! `placet doctor`; completions and the manual.

use crate::stage::PLACET;
use placet_testkit::{Server, Story, is_about_a_file};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// What doctor says of each check, and its exit code.
fn doctor(server: &Server, more: &[&str]) -> (Option<i32>, Value) {
    let output = server.cli().args(["doctor", "--json"]).args(more).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

fn status(report: &Value, check: &str) -> String {
    let found = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {report:#}"))["status"].as_str().unwrap().to_owned()
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    if is_about_a_file("doctor::each_thing_that_is_wrong_is_found") {
        return;
    }
    let mut story = Story::new(PLACET);
    story.ready("  - {name: none, allow: [notes.write]}\n");
    let (code, report) = doctor(&story.server, &[]);
    assert_eq!(code, Some(0), "{report:#}");
    for check in ["permissions", "files", "vault key", "database", "record", "server", "clock"] {
        assert_eq!(status(&report, check), "ok", "{check}: {report:#}");
    }
    assert_ne!(status(&report, "user"), "fail");
    let output =
        story.server.command().args(["doctor", "--json", "--url", story.server.base()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(story.server.stop(), Some(0));
    let data = story.server.data();
    let (code, report) = doctor(&story.server, &[]);
    assert_eq!((code, status(&report, "server")), (Some(0), "warn".to_owned()));
    let path = |name: &str| data.join(name);
    let with = |name: &str, bytes: &[u8], check: &str, expected: &str| {
        let kept = fs::read(path(name)).unwrap();
        fs::write(path(name), bytes).unwrap();
        let (code, report) = doctor(&story.server, &[]);
        assert_eq!((code, status(&report, check)), (Some(1), expected.to_owned()), "{name}: {report:#}");
        fs::write(path(name), kept).unwrap();
    };
    with("vault.key", &[7; 32], "vault key", "fail");
    with("record.pub", b"x", "record", "fail");
    let admin = path("admin.token");
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&story.server, &[]);
    assert_eq!((code, status(&report, "permissions")), (Some(1), "fail".to_owned()));
    fs::set_permissions(&admin, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(path("node"), path("edon")).unwrap();
    assert_eq!(status(&doctor(&story.server, &[]).1, "files"), "fail");
    fs::rename(path("edon"), path("node")).unwrap();
    // The vault key kept elsewhere: unknown without it, right or wrong with it.
    let elsewhere = story.server.home().join("vault.key");
    fs::rename(path("vault.key"), &elsewhere).unwrap();
    assert_eq!(status(&doctor(&story.server, &[]).1, "vault key"), "warn");
    let named = elsewhere.to_str().unwrap().to_owned();
    assert_eq!(status(&doctor(&story.server, &["--vault-key-file", &named]).1, "vault key"), "ok");
    fs::write(&elsewhere, [7; 32]).unwrap();
    assert_eq!(status(&doctor(&story.server, &["--vault-key-file", &named]).1, "vault key"), "fail");
    // All of it may lie in the log beside the file.
    for beside in ["placet.db-wal", "placet.db-shm"] {
        _ = fs::remove_file(path(beside));
    }
    fs::write(path("placet.db"), "not a database, not at all").unwrap();
    assert_eq!(status(&doctor(&story.server, &[]).1, "database"), "fail");
}

#[test]
fn a_record_whose_tail_was_touched_is_found() {
    if is_about_a_file("doctor::a_record_whose_tail_was_touched_is_found") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "x"})).expect(200);
    assert_eq!(story.server.stop(), Some(0));
    crate::record::tamper(
        &story.server.data(),
        "delete from record_entries where seq = (select max(seq) from record_entries)",
    );
    let (code, report) = doctor(&story.server, &[]);
    assert_eq!((code, status(&report, "record")), (Some(1), "fail".to_owned()), "{report:#}");
}

fn piped(program: &str, arguments: &[&str], input: &Path) -> Option<i32> {
    let file = fs::File::open(input).unwrap();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(file))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let output = child.ok()?.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.status.code()
}

#[test]
fn completions_and_the_manual_have_every_command() {
    let home = tempfile::tempdir().unwrap();
    let placet = |arguments: &[&str]| {
        let output = Command::new(PLACET).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    for shell in ["bash", "zsh", "fish"] {
        let text = placet(&["completions", shell]);
        for word in ["serve", "doctor", "backup", "metrics-listen", "verify-proof"] {
            assert!(String::from_utf8_lossy(&text).contains(word), "{shell} has no {word}");
        }
        let path = home.path().join(shell);
        fs::write(&path, &text).unwrap();
        // Where the shell is there, it takes them.
        piped(shell, if shell == "fish" { &["--no-execute"] } else { &["-n"] }, &path);
    }
    let pages = home.path().join("man");
    placet(&["man", pages.to_str().unwrap()]);
    let names: Vec<String> =
        fs::read_dir(&pages).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    for page in ["placet.1", "placet-serve.1", "placet-record-verify.1", "placet-restore.1"] {
        assert!(names.iter().any(|name| name == page), "{page} in {names:?}");
    }
    assert!(String::from_utf8_lossy(&placet(&["man"])).contains(".TH placet"));
}
