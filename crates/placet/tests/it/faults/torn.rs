//! A file of SQLite's that a crash left torn: the server starts with what is whole and the record tells what is lost, or
//! it does not start and says why.

use super::under_load;
use crate::{crash, stage::PLACET};
use placet_testkit::{Client, Story, is_about_a_file, until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A page of the database; a frame of the log beside it has a header more.
const PAGE: u64 = 4096;
const FRAME: u64 = PAGE + 24;

/// What is done to a file, by its length.
enum Damage {
    /// Its end is gone.
    Cut(u64),
    /// Its end is something else.
    Garbled(u64),
}

/// What became of a start.
enum Start {
    Serves(Running, Client),
    Refuses(String),
}

fn copy(from: &Path, to: &Path) {
    _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        // The address of the server that was killed is no answer of the next one.
        if entry.file_name() != "address" && entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn damage(file: &Path, damage: &Damage) {
    let mut opened = File::options().write(true).open(file).unwrap();
    let length = opened.metadata().unwrap().len();
    match damage {
        Damage::Cut(bytes) => opened.set_len(length.saturating_sub(*bytes)).unwrap(),
        Damage::Garbled(bytes) => {
            let bytes = (*bytes).min(length);
            opened.seek(SeekFrom::Start(length - bytes)).unwrap();
            opened.write_all(&vec![0xA5; usize::try_from(bytes).unwrap()]).unwrap();
        }
    }
}

/// A server that ends with what it was started for, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn start(story: &Story, data: &Path) -> Start {
    let said = story.server.home().join("said");
    let mut serve = story.server.command();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"]).arg(data);
    let mut child =
        Running(serve.stdout(Stdio::null()).stderr(File::create(&said).unwrap()).spawn().unwrap());
    let ended = until("the server, or its end", || match child.0.try_wait().unwrap() {
        Some(status) => Some(Some(status)),
        None => data.join("address").exists().then_some(None),
    });
    match ended {
        Some(status) => {
            let said = fs::read_to_string(said).unwrap();
            assert!(!status.success() && status.code().is_some(), "{status}: {said}");
            Start::Refuses(said)
        }
        None => {
            let base = fs::read_to_string(data.join("address")).unwrap();
            Start::Serves(child, Client::new(base.trim()).with(story.server.admin_token()))
        }
    }
}

/// Every entry of the record, by index.
fn record(admin: &Client) -> BTreeMap<u64, Value> {
    let mut entries = BTreeMap::new();
    loop {
        let after = entries.last_key_value().map(|(last, _)| format!("after={last}&")).unwrap_or_default();
        let page = admin.get(&format!("/v1/record?{after}limit=500")).send().expect(200);
        let found = page.at("/entries").as_array().unwrap().clone();
        if found.is_empty() {
            return entries;
        }
        entries.extend(found.into_iter().map(|entry| (entry["index"].as_u64().unwrap(), entry)));
    }
}

/// Brings everything from the log into the database of a stopped server.
fn folded(data: &Path) {
    let script = "import sqlite3, sys\nassert sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()[0] == 0";
    let done = Command::new("python3").args(["-c", script]).arg(data.join("placet.db")).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// Somebody who reads the database as it is now, and goes on: nothing that is written from now on can be folded into it,
/// however much that is.
fn reading(data: &Path) -> Child {
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN')\nc.execute('select count(*) from agents').fetchone()\nprint('reads', flush=True)\nsys.stdin.read()";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(data.join("placet.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().unwrap();
    let mut said = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"reads");
    child
}

/// A story that was killed under load after a checkpoint of its record was kept; what the record had up to then; the
/// copy of its files as the kill left them.
fn killed(kept: &str) -> (Story, Vec<(placet_testkit::Agent, String)>, BTreeMap<u64, Value>) {
    let mut story = Story::new(PLACET);
    let agents = crash::agents(&story);
    // What comes after this is in the log alone.
    assert_eq!(story.server.stop(), Some(0));
    folded(&story.server.data());
    story.server.restart();
    let reader = Running(reading(&story.server.data()));
    let mut before = BTreeMap::new();
    under_load(&story, &agents, |answered| {
        until("some load", || (answered.executed() >= 40).then_some(()));
        // All of that is in the log.
        story.record();
        before = record(&story.server.admin());
        let verified = story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        until("more load", || (answered.executed() >= 60).then_some(()));
        let kill = Command::new("kill").args(["-9", &story.server.id().to_string()]).status();
        assert!(kill.unwrap().success());
    });
    story.server.kill();
    // Killed as well: one that closed the database would fold the log.
    drop(reader);
    copy(&story.server.data(), &story.server.home().join(kept));
    (story, agents, before)
}

/// What must be so of a start on damaged files; answers what happened, for the count.
fn judged(story: &Story, limited: &str, before: &BTreeMap<u64, Value>, what: &str) -> &'static str {
    let data = story.server.data();
    let (_running, admin) = match start(story, &data) {
        Start::Refuses(said) => {
            let clear = ["database", "record", "damaged", "malformed", "signed"];
            assert!(clear.iter().any(|word| said.contains(word)), "{what}: {said}");
            assert!(!said.contains("panicked"), "{what}: {said}");
            return "refuses";
        }
        Start::Serves(child, admin) => (child, admin),
    };
    let verified = story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
    match verified.status.code() {
        Some(0) => {
            // Verified against the checkpoint that was kept: all that was known then is there, as it was.
            let now = record(&admin);
            for (index, entry) in before {
                assert_eq!(now.get(index), Some(entry), "{what}: the loss is not told");
            }
            // Nothing is half there: what the record has of the limited agent is what is counted.
            let intents = now.values().filter(|entry| {
                entry["type"] == "action.intent" && entry["params"]["customer_id"] == limited
            });
            let intents = intents.count();
            let pending = now.values().filter(|entry| entry["type"] == "action.outcome").count();
            assert!(intents <= crash::MAX && pending > 0, "{what}");
            "whole"
        }
        Some(1) => {
            let said = String::from_utf8_lossy(&verified.stdout).into_owned()
                + &String::from_utf8_lossy(&verified.stderr);
            assert!(!said.contains("panicked") && said.len() > 20, "{what}: {said}");
            "told"
        }
        other => panic!("{what}: {other:?}, {verified:?}"),
    }
}

fn each(test: &str, file: &str, damages: &[(&str, Damage)]) -> Option<BTreeMap<&'static str, usize>> {
    if is_about_a_file(test) {
        return None;
    }
    let (story, agents, before) = killed("kept");
    let kept = story.server.home().join("kept");
    let state = story.server.home().join("placet");
    let states = story.server.home().join("states");
    copy_all(&state, &states);
    let mut outcomes = BTreeMap::new();
    for (what, done) in damages {
        copy(&kept, &story.server.data());
        // What the command line keeps is what it kept before the kill.
        copy_all(&states, &state);
        damage(&story.server.data().join(file), done);
        let outcome = judged(&story, &agents[0].1, &before, what);
        eprintln!("{file}, {what}: {outcome}");
        *outcomes.entry(outcome).or_default() += 1;
    }
    Some(outcomes)
}

#[test]
fn a_torn_log_loses_its_end_and_the_kept_checkpoint_tells() {
    let damages = [
        ("a byte is gone", Damage::Cut(1)),
        ("half a frame is gone", Damage::Cut(FRAME / 2)),
        ("a frame is gone", Damage::Cut(FRAME)),
        ("a frame and a piece are gone", Damage::Cut(FRAME + 10)),
        ("the last byte is another", Damage::Garbled(1)),
        ("the last frame is garbled", Damage::Garbled(FRAME)),
        ("a lot is garbled", Damage::Garbled(60 * FRAME)),
        ("nearly all is gone", Damage::Cut(250 * FRAME)),
        ("all of it is gone", Damage::Cut(u64::MAX)),
    ];
    let test = "faults::torn::a_torn_log_loses_its_end_and_the_kept_checkpoint_tells";
    let Some(outcomes) = each(test, "placet.db-wal", &damages) else { return };
    // A tear at the very end costs nothing that was known; where more is gone it does not go unnoticed.
    assert!(outcomes.get("whole").is_some_and(|count| *count >= 5), "{outcomes:?}");
    assert!(outcomes.contains_key("told"), "{outcomes:?}");
}

#[test]
fn a_torn_database_is_not_served_as_if_it_were_whole() {
    let damages = [
        ("a byte is gone", Damage::Cut(1)),
        ("a page is gone", Damage::Cut(PAGE)),
        ("half of it is gone", Damage::Cut(40 * PAGE)),
        ("the last page is garbled", Damage::Garbled(PAGE)),
        ("the last pages are garbled", Damage::Garbled(20 * PAGE)),
    ];
    let test = "faults::torn::a_torn_database_is_not_served_as_if_it_were_whole";
    let Some(outcomes) = each(test, "placet.db", &damages) else { return };
    assert_eq!(outcomes.values().sum::<usize>(), damages.len());
}
