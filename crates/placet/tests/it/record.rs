//! The record: who did what under which task, that it proves itself, and that no secret is in it or anywhere on disk.

use crate::stage::PLACET;
use placet_testkit::{SECRET, Server, Story, is_about_a_file, password, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const RULES: &str =
    "  - {name: all, allow: [orders.*, notes.*], when: ['action.name != \"orders.delete\"']}\n";

fn verify(server: &Server, more: &[&str]) -> Output {
    server.cli().args(["record", "verify", "--json"]).args(more).output().unwrap()
}

/// Entries of a type that are about `agent`, once there are `count` of them.
fn entries(story: &Story, kind: &str, agent: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} {kind}"), || {
        let mut all = story.record();
        all.retain(|entry| entry["type"] == kind && entry["agent"] == agent);
        (all.len() >= count).then_some(all)
    })
}

#[test]
fn refusals_of_ever_different_requests_are_counted_and_none_is_lost() {
    const ASKED: u64 = 300;
    let mut story = Story::new(PLACET);
    let (agent, token) = story.ready(RULES);
    for order in 0..ASKED {
        let order = json!({"customer_id": "c1", "order_id": order.to_string()});
        story.act(&token, "orders.delete", &order).refused(403, "condition_failed");
    }
    let refused = |story: &Story| {
        let mut all = story.record();
        all.retain(|entry| entry["type"] == "decision.deny" && entry["agent"] == agent.id.as_str());
        all
    };
    let own = until("as many as have entries of their own", || {
        let all = refused(&story);
        (all.len() >= 257).then_some(all)
    });
    let (further, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|entry| entry["action"].is_null());
    assert_eq!((own.len(), further.len()), (256, 1), "{further:#?}");
    assert_eq!((&further[0]["codes"], &further[0]["params"]), (&json!(["condition_failed"]), &Value::Null));
    // A start writes down what was counted.
    story.server.kill();
    story.server.restart();
    let counted = until("the count", || refused(&story).into_iter().find(|entry| !entry["count"].is_null()));
    assert_eq!(counted["count"].as_u64(), Some(ASKED - 257), "{counted:#}");
}

#[test]
fn every_action_is_recorded_with_its_chain_and_task() {
    let story = Story::new(PLACET);
    let client = story.client();
    let (parent, _) = story.ready(RULES);
    let child = story.agent("child").register();
    story.rules("child", RULES).expect(201);
    let asked =
        parent.ask().with("scope", "orders.* notes.*").with("task_id", "ticket-1").send(&client).expect(200);
    let token = asked.text("/access_token");
    let asked = child
        .ask()
        .with("parent_token", &token)
        .with("scope", "orders.*")
        .with("task_id", "look")
        .send(&client);
    let childs = asked.expect(200);
    let order = json!({"customer_id": "c1", "order_id": "7"});
    let done = story.act(&childs.text("/access_token"), "orders.read", &order).expect(200);
    for _ in 0..5 {
        story.act(&childs.text("/access_token"), "orders.delete", &order).refused(403, "condition_failed");
    }
    let intent = entries(&story, "action.intent", &child.id, 1).remove(0);
    let outcome = entries(&story, "action.outcome", &child.id, 1).remove(0);
    for entry in [&intent, &outcome] {
        assert_eq!(entry["action"], "orders.read");
        assert_eq!(entry["action_id"], done.text("/id"));
        let chain = entry["chain"].to_string();
        let (at_child, at_parent) = (chain.find(&child.id), chain.find(&parent.id));
        assert!(at_child.is_some() && at_child < at_parent, "{entry:#}");
        assert!(entry["task"].to_string().contains("tsk_"), "{entry:#}");
    }
    assert!(intent["index"].as_u64() < outcome["index"].as_u64());
    assert_eq!(intent["decision"], "allow");
    assert_eq!(intent["resource"], "order://customer:c1/7");
    assert_eq!(intent["params"], order);
    assert_eq!((&outcome["outcome"], &outcome["status"]), (&json!("done"), &json!(200)));
    // Equal denials are one entry at once, and the others a count that is not lost.
    let denied = entries(&story, "decision.deny", &child.id, 1);
    assert_eq!(denied.len(), 1, "{denied:#?}");
    // Child and parent each have the rule.
    assert_eq!(denied[0]["codes"], json!(["condition_failed"]));
    let indices: Vec<u64> = story.record().iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, (0..indices.len() as u64).collect::<Vec<_>>());
    for reader in [&token, &story.lee] {
        client.get("/v1/record").bearer(reader).send().refused(403, "not_permitted");
    }
}

/// Every file below `folder` that has `text`.
fn files_with(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, text, found);
        } else if fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

#[test]
fn threat_22_no_secret_lies_on_disk_in_the_log_or_in_an_entry() {
    let mut story = Story::new(PLACET);
    let (agent, token) = story.ready(RULES);
    let echo = placet_testkit::Reply::json(200, &json!({"echo": SECRET}));
    story.shop.reply("/", echo);
    let note = json!({"customer_id": "c1", "text": "x"});
    story.acting(&token, "notes.write", &note).header("idempotency-key", "k").send().expect(200);
    story
        .act(&token, "orders.delete", &json!({"customer_id": "c", "order_id": "1"}))
        .refused(403, "condition_failed");
    let wrong = json!({"name": "lee", "password": "canary-wrong-password"});
    story.client().post("/v1/sessions").json(&wrong).send().refused(401, "token_invalid");
    let record = serde_json::to_string(&story.record()).unwrap();
    let canaries = [
        ("the upstream's secret", SECRET.to_owned()),
        ("a client secret", agent.secret.clone()),
        ("a registration token", agent.registration["registration_token"].as_str().unwrap().to_owned()),
        ("a session", story.lee.clone()),
        ("an access token", token.clone()),
        ("a password", password("lee")),
        ("a wrong password", "canary-wrong-password".to_owned()),
        ("the administrator token", story.server.admin_token().to_owned()),
    ];
    for round in ["running", "stopped"] {
        for (what, secret) in &canaries {
            let mut found = Vec::new();
            files_with(&story.server.data(), secret, &mut found);
            let expected: &[&str] = if what.contains("administrator token") { &["admin.token"] } else { &[] };
            assert_eq!(found, expected, "{what}, {round}");
            assert!(!story.server.log().contains(secret.as_str()), "{what} is in the log");
            assert!(!record.contains(secret.as_str()), "{what} is in the record");
        }
        if round == "running" {
            assert_eq!(story.server.stop(), Some(0));
        }
    }
}

/// Runs statements on the database of a stopped server, with a tool that is not of this repository, as whoever tampers
/// would.
pub(crate) fn tamper(data: &Path, statements: &str) {
    let database = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let database = database.into_iter().find(|path| path.extension().is_some_and(|end| end == "db")).unwrap();
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n[c.execute(s) for s in sys.argv[2].split(';')]\nassert c.total_changes > 0\nc.commit()";
    let done = Command::new("python3").args(["-c", script]).arg(database).arg(statements).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn threat_23_a_record_that_was_touched_is_not_verified() {
    if is_about_a_file("record::threat_23_a_record_that_was_touched_is_not_verified") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    for n in 0..5 {
        story.act(&token, "notes.write", &json!({"customer_id": "c", "text": format!("{n}")})).expect(200);
    }
    until("the outcomes", || {
        (story.record().iter().filter(|entry| entry["type"] == "action.outcome").count() == 5).then_some(())
    });
    let verified = verify(&story.server, &[]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let home = story.server.home().to_owned();
    let key = home.join("data/record.pub").display().to_string();
    // A proof needs the public key alone.
    let proof = home.join("proof.json").display().to_string();
    let proved = story.server.cli().args(["record", "prove", "3", "-o", &proof]).output().unwrap();
    assert!(proved.status.success(), "{proved:?}");
    assert_eq!(story.server.stop(), Some(0));
    let offline = |proof: &str| {
        story
            .server
            .command()
            .args(["record", "verify-proof", proof, "--key", &key])
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(offline(&proof), Some(0));
    let whole: Value = serde_json::from_slice(&fs::read(&proof).unwrap()).unwrap();
    let broken = home.join("broken.json").display().to_string();
    for member in whole.as_object().unwrap().keys() {
        let mut other = whole.clone();
        other[member] = match &whole[member] {
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) => json!(text.replacen(['a', 'e', 'A', 'E', '1'], "b", 1)),
            Value::Array(hashes) => json!(hashes[1..]),
            _ => continue,
        };
        fs::write(&broken, other.to_string()).unwrap();
        assert!(matches!(offline(&broken), Some(1 | 2)), "{member}");
    }
    fs::write(&broken, "{").unwrap();
    assert_eq!(offline(&broken), Some(2));
    // No server holds the directory: its files are read.
    assert_eq!(verify(&story.server, &[]).status.code(), Some(0));
    // An untouched copy of the directory is as good as it was.
    let kept = home.join("kept");
    copy(&home.join("data"), &kept);
    story.server.restart();
    assert_eq!(verify(&story.server, &[]).status.code(), Some(0));
    story.server.stop();
    for (what, statements) in [
        (
            "a leaf",
            "update record_entries set leaf = cast(replace(cast(leaf as text), 'notes.write', 'notes.wrote') as blob) \
             where seq = (select min(seq) from record_entries where cast(leaf as text) like '%notes.write%')",
        ),
        (
            "a type",
            "update record_entries set leaf = cast(replace(cast(leaf as text), '\"allow\"', '\"deny_\"') as blob) where cast(leaf as text) like '%\"allow\"%'",
        ),
        ("a deletion", "delete from record_entries where seq = 5"),
        (
            "a deletion of the end",
            "delete from record_entries where seq > (select max(seq) - 2 from record_entries)",
        ),
        (
            "a swap",
            "update record_entries set seq = -1 where seq = 4; update record_entries set seq = 4 where seq = 5; update record_entries set seq = 5 where seq = -1",
        ),
    ] {
        let data = home.join("data");
        fs::remove_dir_all(&data).unwrap();
        copy(&kept, &data);
        tamper(&data, statements);
        // By what was signed of it alone: a checkpoint that the command line has kept would show it, too.
        if home.join("placet").exists() {
            fs::remove_dir_all(home.join("placet")).unwrap();
        }
        // A server that sees it at its start may refuse to serve; one that serves can't make it verify.
        let code = {
            let mut serve = story.server.command();
            serve.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"]).arg(&data);
            let mut child = serve.stdout(std::process::Stdio::null()).spawn().unwrap();
            let ready = until("the server, or its end", || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                data.join("address").exists().then_some(true)
            });
            let code = ready.then(|| verify(&story.server, &["--key", &key]).status.code());
            let _ = child.kill();
            child.wait().unwrap();
            code
        };
        let expected = if what == "a deletion of the end" { None } else { Some(Some(1)) };
        assert_eq!(code, expected, "{what}");
        // From its files it can be told in any case, without a server.
        assert_eq!(verify(&story.server, &["--key", &key]).status.code(), Some(1), "{what}, from files");
    }
}

#[test]
fn a_directory_that_was_put_back_is_seen_by_who_kept_a_checkpoint() {
    if is_about_a_file("record::a_directory_that_was_put_back_is_seen_by_who_kept_a_checkpoint") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    let (data, kept) = (story.server.data(), story.server.home().join("kept"));
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "1"})).expect(200);
    assert_eq!(story.server.stop(), Some(0));
    copy(&data, &kept);
    story.server.restart();
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "2"})).expect(200);
    until("the outcome", || {
        (story.record().iter().filter(|entry| entry["type"] == "action.outcome").count() == 2).then_some(())
    });
    let verified = verify(&story.server, &[]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    // The note, or what this printed; and what holds neither says nothing of the record.
    let printed = story.server.home().join("verified.json");
    fs::write(&printed, &verified.stdout).unwrap();
    let printed = printed.display().to_string();
    assert_eq!(verify(&story.server, &["--checkpoint", &printed]).status.code(), Some(0));
    let garbage = story.server.home().join("garbage");
    for text in ["", "x", "{", "{}", "{\"checkpoint\": 3}", "{\"checkpoint\": \"x\"}", "a\n7\nb\n"] {
        fs::write(&garbage, text).unwrap();
        let unread = verify(&story.server, &["--checkpoint", &garbage.display().to_string()]);
        assert_eq!(unread.status.code(), Some(2), "{text:?}: {unread:?}");
    }
    assert_eq!(verify(&story.server, &["--checkpoint", "not there"]).status.code(), Some(2));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    let note = story.server.home().join("checkpoint.txt");
    fs::write(&note, verified["checkpoint"].as_str().unwrap()).unwrap();
    story.server.stop();
    fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    story.server.restart();
    // By the checkpoint that the command line kept, and by one given to it.
    assert_eq!(verify(&story.server, &[]).status.code(), Some(1));
    fs::remove_dir_all(story.server.home().join("placet")).unwrap();
    assert_eq!(verify(&story.server, &[]).status.code(), Some(0), "the state was kept elsewhere");
    let given = note.display().to_string();
    assert_eq!(verify(&story.server, &["--checkpoint", &given]).status.code(), Some(1));
    assert_eq!(verify(&story.server, &["--checkpoint", &printed]).status.code(), Some(1));
}

#[test]
fn a_body_that_was_erased_breaks_no_proof() {
    if is_about_a_file("record::a_body_that_was_erased_breaks_no_proof") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "forget me"})).expect(200);
    until("the outcome", || {
        story.record().iter().any(|entry| entry["type"] == "action.outcome").then_some(())
    });
    story.server.stop();
    tamper(
        &story.server.data(),
        "delete from record_bodies where seq in (select seq from record_entries where type = 'action.intent')",
    );
    story.server.restart();
    assert_eq!(verify(&story.server, &[]).status.code(), Some(0));
    let record = story.record();
    let intent = record.iter().find(|entry| entry["type"] == "action.intent").unwrap();
    assert_eq!((&intent["resource"], &intent["params"]), (&Value::Null, &Value::Null));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
