//! Commands that read what is stored in a PostgreSQL database, with a server or without one. These run on a real
//! PostgreSQL whatever the engine of the other tests.

use crate::{process::typed, stage::PLACET};
use placet_testkit::{Cluster, Server, Story, password, until};
use serde_json::{Value, json};
use std::{
    fs,
    process::{Command, Output},
};

const RULES: &str = "  - {name: notes, allow: [notes.write]}\n";

/// A node that has done something, stopped.
fn stopped() -> Story {
    let mut story = Story::on(Server::first_node(PLACET));
    let (_, token) = story.ready(RULES);
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "x"})).expect(200);
    assert_eq!(story.server.stop(), Some(0));
    story
}

/// A command on the data directory that knows of no database.
fn unaware(server: &Server) -> Command {
    let mut command = server.cli();
    command.env_remove("PLACET_DATABASE").arg("--json");
    command
}

fn url(server: &Server) -> String {
    server.database().unwrap().url()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

/// What doctor found of one check: how well it is, and in which words.
fn found(report: &Value, check: &str) -> (String, String) {
    let found = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {report:#}"));
    (found["status"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
}

#[test]
fn doctor_looks_at_the_database_on_a_server() {
    let mut story = Story::on(Server::first_node(PLACET));
    let (_, token) = story.ready(RULES);
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "x"})).expect(200);
    let doctor = |more: &[&str]| unaware(&story.server).arg("doctor").args(more).output().unwrap();
    let url = url(&story.server);
    let named = ["--database", url.as_str()];
    // As it is told to `serve`, too.
    let from_environment = story.server.cli().args(["doctor", "--json"]).output().unwrap();
    for output in [from_environment, doctor(&named)] {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        for check in ["permissions", "files", "vault key", "database", "record", "server", "clock"] {
            assert_eq!(found(&report(&output), check).0, "ok", "{check}: {output:?}");
        }
        assert!(found(&report(&output), "database").1.contains("schema"), "{output:?}");
    }
    assert_eq!(story.server.stop(), Some(0));
    let doctor = |more: &[&str]| unaware(&story.server).arg("doctor").args(more).output().unwrap();
    let at = |output: &Output, check: &str| (output.status.code(), found(&report(output), check).0);
    let is = |code: i32, status: &str| (Some(code), status.to_owned());
    assert_eq!(at(&doctor(&named), "server"), is(0, "warn"));
    // Where it is not told of the database, nothing fails for a file that need not be there.
    let untold = doctor(&[]);
    assert_eq!(at(&untold, "database"), is(0, "warn"));
    assert!(String::from_utf8_lossy(&untold.stdout).contains("PLACET_DATABASE"), "{untold:?}");
    // Another vault key; a server that is not there; a database in which nothing is.
    let key = story.server.data().join("vault.key");
    let kept = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    assert_eq!(at(&doctor(&named), "vault key"), is(1, "fail"));
    fs::write(&key, kept).unwrap();
    let nowhere = doctor(&["--database", "postgres://u:hunter2@127.0.0.1:1/x"]);
    assert_eq!(at(&nowhere, "database"), is(1, "fail"));
    assert!(!String::from_utf8_lossy(&nowhere.stdout).contains("hunter2"));
    let empty = Cluster::of_this_process().database();
    assert_eq!(at(&doctor(&["--database", &empty.url()]), "database"), is(0, "warn"));
    assert!(
        empty
            .column("select table_name from information_schema.tables where table_schema = 'public'")
            .is_empty()
    );
    let wrong = doctor(&["--database", "mysql://x"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    // The tail of the record.
    story.server.database().unwrap().run(
        "delete from record_entries where (node, seq) in (select node, max(seq) from record_entries group by node)",
    );
    assert_eq!(at(&doctor(&named), "record"), is(1, "fail"));
}

#[test]
fn the_record_is_verified_without_a_server() {
    let mut story = stopped();
    let url = url(&story.server);
    let verify = |story: &Story, more: &[&str]| {
        unaware(&story.server).args(["record", "verify"]).args(more).output().unwrap()
    };
    let named = ["--database", url.as_str()];
    let verified = verify(&story, &named);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(report(&verified)["size"].as_u64().unwrap() > 10, "{verified:?}");
    assert!(stderr(&verified).is_empty(), "the vault key is at hand: {verified:?}");
    // By the environment; and without either it says what is missing, and does not take the directory for empty.
    let from_environment = story.server.cli().args(["record", "verify"]).output().unwrap();
    assert_eq!(from_environment.status.code(), Some(0), "{from_environment:?}");
    let untold = verify(&story, &[]);
    assert_eq!(untold.status.code(), Some(2), "{untold:?}");
    assert!(stderr(&untold).contains("--database") && !stderr(&untold).contains("vault key"), "{untold:?}");
    let empty = Cluster::of_this_process().database();
    let nothing = verify(&story, &["--database", &empty.url()]);
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    let nowhere = verify(&story, &["--database", "postgres://u:hunter2@127.0.0.1:1/x"]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(!stderr(&nowhere).contains("hunter2"), "{nowhere:?}");
    // A database that is named is read while nodes write to it.
    story.server.restart();
    let verified = verify(&story, &named);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert_eq!(story.server.stop(), Some(0));
    // Bodies are looked at too: the one of another entry is none.
    let database = story.server.database().unwrap();
    database.run(
        "update record_bodies set sealed = (select sealed from record_bodies order by seq limit 1)
         where seq = (select max(seq) from record_bodies)",
    );
    let touched = verify(&story, &named);
    assert_eq!(touched.status.code(), Some(1), "{touched:?}");
    assert!(String::from_utf8_lossy(&touched.stdout).contains("body"), "{touched:?}");
    database.run("delete from record_entries where seq = 5");
    assert_eq!(verify(&story, &named).status.code(), Some(1));
}

#[test]
fn the_directory_of_a_second_node_is_used_with_the_session_of_its_server() {
    let story = Story::on(Server::first_node(PLACET));
    let second = story.server.another_node();
    assert!(!second.data().join("admin.token").exists());
    let agents = || second.cli().args(["agent", "list", "--json"]).output().unwrap();
    let refused = agents();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    for way in ["placet login --url", "PLACET_TOKEN", "admin.token"] {
        assert!(stderr(&refused).contains(way), "{way}: {refused:?}");
    }
    let login = typed(second.cli().args(["login", "--name", "ada"]), &password("ada"));
    assert!(login.status.success(), "{login:?}");
    let listed = agents();
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    // The same where the server is named beside the directory.
    let named = second.cli().args(["agent", "list", "--url", second.base()]).output().unwrap();
    assert_eq!(named.status.code(), Some(0), "{named:?}");
    // What a person has named goes first.
    let other =
        second.cli().env("PLACET_TOKEN", "plt_session_none").args(["agent", "list"]).output().unwrap();
    assert_eq!(other.status.code(), Some(1), "{other:?}");
}

#[test]
fn a_node_is_warned_that_serves_as_another_issuer_and_the_database_is_quiet() {
    let mut first = Server::first_node(PLACET);
    first.flags(&["--issuer", "https://placet.example"]);
    first.restart();
    let warned =
        |server: &Server| server.log().contains("another node of this installation serves as another issuer");
    // Until the first has said as whom it serves.
    let mut second = first.another_node();
    until("the warning", || {
        second.restart();
        warned(&second).then_some(())
    });
    assert!(second.log().contains("https://placet.example"), "{}", second.log());
    let mut third = first.another_node();
    second.stop();
    let warnings = |server: &Server| server.log().matches("another issuer").count();
    let before = warnings(&third);
    third.flags(&["--issuer", "https://placet.example"]);
    third.restart();
    assert_eq!(warnings(&third), before, "{}", third.log());
    for server in [&first, &second, &third] {
        assert!(!server.log().contains("NOTICE"), "{}", server.log());
    }
}
