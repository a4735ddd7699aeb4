//! A disk that fills up: the data directory on a small file system of its own, in a mount namespace that nobody else
//! sees and that ends with the test.

use crate::stage::PLACET;
use placet_testkit::{Gate, Reply, Server, Story, is_about_a_file, until};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Room for the database, its log, the reserve, and the 48 MiB that have to be free for actions to begin again.
const SIZE: &str = "size=120m,mode=0700";

/// A small file system, for as long as the process lives that holds its namespace.
struct Disk {
    holder: Child,
    mounted: tempfile::TempDir,
    enter: String,
}

impl Disk {
    /// `None` where the environment permits no mounts, which is said.
    fn mount() -> Option<Self> {
        for (unshare, enter) in [("-m", "-m"), ("-Urm", "-U --preserve-credentials -m")] {
            let mounted = tempfile::tempdir().unwrap();
            let script =
                "mount -t tmpfs -o \"$1\" placet \"$0\" && mkdir \"$0/data\" && echo mounted && exec cat";
            let mut holder = Command::new("unshare")
                .args([unshare, "sh", "-c", script])
                .arg(mounted.path())
                .arg(SIZE)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut said = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
            if said == "mounted\n" {
                let enter = format!("nsenter -t {} {enter}", holder.id());
                return Some(Self { holder, mounted, enter });
            }
            _ = holder.wait();
        }
        eprintln!(
            "NOT TESTED: this environment permits neither mounts nor user namespaces, so no disk fills up here \
             (what the store does at its end is held by its own tests)"
        );
        None
    }

    /// The file system as it is seen from outside.
    fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.mounted.path().strip_prefix("/").unwrap())
    }

    /// The server on it, by a program that enters the namespace first.
    fn server(&self) -> Server {
        let program = self.mounted.path().with_extension("sh");
        fs::write(&program, format!("#!/bin/sh\nexec {} -- {PLACET} \"$@\"\n", self.enter)).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let data = self.path().join("data");
        Server::prepared(program.to_str().unwrap(), |place| symlink(data, place).unwrap())
    }

    /// Takes of it what there is, but for so many MiB.
    fn fill(&self, name: &str, but: u64) {
        let mut file = File::create(self.path().join(name)).unwrap();
        while fs4::available_space(self.path()).unwrap() > but << 20 {
            if file.write_all(&[7; 4096]).is_err() {
                return;
            }
        }
    }

    fn free(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = self.holder.kill();
        _ = self.holder.wait();
        _ = fs::remove_file(self.mounted.path().with_extension("sh"));
    }
}

fn note(customer: &str, text: &str) -> Value {
    json!({"customer_id": customer, "text": text})
}

fn active(story: &Story, token: &str) -> bool {
    let told = story.admin().post("/oauth/introspect").form(&[("token", token)]).send().expect(200);
    told.body["active"] == true
}

fn revoke(story: &Story, token: &str) {
    story.admin().post("/oauth/revoke").form(&[("token", token)]).send().expect(200);
    assert!(!active(story, token));
}

fn verified(server: &Server) {
    let output = server.cli().args(["record", "verify", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Begins an action that is under way until its gate is opened.
fn under_way(story: &Story, token: &str, customer: &str) -> (Gate, std::thread::JoinHandle<u16>) {
    let gate = Gate::shut();
    let path = format!("/customers/{customer}/");
    story.shop.reply(&path, Reply::json(200, &json!({})).after(&gate));
    let acting = story.acting(token, "notes.write", &note(customer, "under way"));
    let acting = std::thread::spawn(move || acting.send().status);
    until("the shop", || (story.shop.count(&path) == 1).then_some(()));
    (gate, acting)
}

fn outcome(story: &Story, customer: &str) -> Option<Value> {
    let record = story.record();
    let intent = record.iter().find(|entry| {
        entry["type"] == "action.intent" && entry.pointer("/params/customer_id") == Some(&json!(customer))
    })?;
    let of_it =
        |entry: &&Value| entry["type"] == "action.outcome" && entry["action_id"] == intent["action_id"];
    record.iter().find(of_it).map(|entry| entry["outcome"].clone())
}

#[test]
fn a_disk_that_fills_up_ends_actions_first_and_revocations_last() {
    if is_about_a_file("faults::disk::a_disk_that_fills_up_ends_actions_first_and_revocations_last") {
        return;
    }
    let Some(disk) = Disk::mount() else { return };
    let story = Story::on(disk.server());
    let process = story.server.id();
    assert!(Path::new(&disk.path().join("data/placet.db")).exists());
    let rules = "  - {name: some, allow: [notes.write], limits: [{count: 8, per: day}]}\n";
    let (agent, token) = story.ready(rules);
    let others: Vec<String> = (0..3).map(|_| agent.token(&story.client(), "notes.write")).collect();
    story.act(&token, "notes.write", &note("c", "before")).expect(200);
    let (first, first_answer) = under_way(&story, &token, "first");
    let (second, second_answer) = under_way(&story, &token, "second");

    // Tight: nothing begins, what ends something goes on.
    disk.fill("some", 16);
    let room = |story: &Story| story.client().get("/readyz").send().text("/checks/space");
    until("it to be told", || (room(&story) != "ok").then_some(()));
    story.act(&token, "notes.write", &note("c", "tight")).refused(503, "unavailable");
    let asked = agent.ask().with("scope", "notes.write").send(&story.client());
    assert_eq!(asked.status, 503, "{:#}", asked.body);
    story.client().get("/readyz").send().expect(503);
    revoke(&story, &others[0]);

    // Full: the reserve is given up for what ends something.
    disk.fill("all", 0);
    // It is looked for space each second: until then a write may meet the end.
    let began = Instant::now();
    until("the revocation", || {
        let told = story.admin().post("/oauth/revoke").form(&[("token", &others[1])]).send();
        assert!(told.status == 200 || told.status == 503, "{:#}", told.body);
        (told.status == 200).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!active(&story, &others[1]));
    first.open();
    assert_eq!(first_answer.join().unwrap(), 200);
    until("the outcome", || (outcome(&story, "first")? == "done").then_some(()));
    until("the reserve to be given up", || (!disk.path().join("data/reserve").exists()).then_some(()));

    // Full to the last byte, with no reserve: nothing is half done, and reading goes on.
    disk.fill("rest", 0);
    until("the end", || {
        let told = story.admin().post("/oauth/revoke").form(&[("token", &others[2])]).send();
        assert!(told.status == 200 || told.status == 503, "{:#}", told.body);
        // Each takes a little more of what the files of the database have left inside them.
        let user =
            json!({"name": placet_testkit::fresh("u"), "password": "long enough for anybody", "roles": []});
        (story.admin().post("/v1/users").json(&user).send().status == 503).then_some(())
    });
    assert_eq!(story.client().get("/healthz").send().status, 200);
    assert!(active(&story, &token) && !active(&story, &others[0]));
    second.open();
    story.act(&token, "notes.write", &note("c", "full")).refused(503, "unavailable");

    for name in ["rest", "all", "some"] {
        disk.free(name);
    }
    until("room", || (room(&story) == "ok").then_some(()));
    story.act(&token, "notes.write", &note("after", "x")).expect(200);
    assert_eq!(story.client().get("/readyz").send().status, 200);
    assert_eq!(story.server.id(), process);
    // What had happened upstream while nothing could be written was not forgotten.
    assert_eq!(second_answer.join().unwrap(), 200);
    until("the outcome", || (outcome(&story, "second")? == "done").then_some(()));
    for other in &others[..2] {
        assert!(!active(&story, other));
    }
    // The limit holds exactly: three were carried out before, and each that was since counts once.
    let done = |story: &Story| story.shop.count("/customers/");
    while story.act(&token, "notes.write", &note("after", "x")).status == 200 {}
    assert_eq!(done(&story), 8);
    story.act(&token, "notes.write", &note("after", "x")).refused(403, "limit_exceeded");
    for customer in ["first", "second", "c"] {
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1, "{customer}");
    }
    let count = |kind: &str| story.record().iter().filter(|entry| entry["type"] == kind).count();
    until("every intent and outcome", || {
        (count("action.intent") == 8 && count("action.outcome") == 8).then_some(())
    });
    assert!(count("grant.revoked") >= 2);
    verified(&story.server);
    assert!(!story.server.log().contains("panicked"));
}
