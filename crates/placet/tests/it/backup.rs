//! Backup while serving, and restore into an installation that is closed.

use crate::stage::PLACET;
use placet_testkit::{Story, fresh, is_about_a_file, together, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};

const RULES: &str = "  - {name: notes, allow: [notes.write]}\n  - {name: ask, allow: [refunds.create], approve: {by: [\"role:support-lead\"]}}\n";

fn placet(story: &Story, arguments: &[&str]) -> Output {
    story.server.command().arg("--json").args(arguments).output().unwrap()
}

fn done(output: Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "x"})
}

/// Puts a restored directory in place of the server's own, and starts it.
fn put_in_place(story: &mut Story, restored: &Path, vault_key: bool) {
    let data = story.server.data();
    if vault_key {
        fs::copy(data.join("vault.key"), restored.join("vault.key")).unwrap();
    }
    fs::remove_dir_all(&data).unwrap();
    fs::rename(restored, &data).unwrap();
    story.server.restart();
}

#[test]
fn a_backup_made_under_load_is_whole_and_a_restored_one_is_closed() {
    if is_about_a_file("backup::a_backup_made_under_load_is_whole_and_a_restored_one_is_closed") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (agent, token) = story.ready(RULES);
    let home: PathBuf = story.server.home().to_owned();
    let (backup, restored) = (home.join("backup"), home.join("restored"));
    let data = story.server.data();
    let customer = fresh("c");
    let refund = json!({"customer_id": customer, "order_id": "1", "amount": 1});
    let held = story.act(&token, "refunds.create", &refund).expect(202).text("/approval/id");
    let verdict = json!({"verdict": "approve"});
    story.approver().post(&format!("/v1/approvals/{held}")).json(&verdict).send().expect(200);
    // Somebody acts all the while.
    let ended = AtomicBool::new(false);
    let acted = together(2, |n| {
        if n == 0 {
            let made = placet(&story, &["--data", text(&data), "backup", text(&backup)]);
            ended.store(true, Ordering::Relaxed);
            vec![done(made)]
        } else {
            let mut answers = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                answers.push(story.act(&token, "notes.write", &note(&customer)).expect(200).body);
            }
            answers
        }
    });
    let made = &acted[0][0];
    assert_eq!(made["vault_key"], false);
    assert!(!backup.join("vault.key").exists() && !backup.join("lock").exists());
    // What happens after the backup: the approval is used, an agent is suspended, a person signs out.
    story.acting(&token, "refunds.create", &refund).header("placet-approval", &held).send().expect(200);
    story.admin().post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
    until("the log", || {
        let newest = story.record();
        newest.iter().any(|entry| entry["type"] == "agent.suspended").then_some(())
    });
    done(placet(&story, &["--data", text(&data), "record", "verify"]));
    // The vault key is needed, and is not in it.
    let restore = ["--data", text(&restored), "restore", text(&backup)];
    assert_eq!(placet(&story, &restore).status.code(), Some(2));
    let other = home.join("other.key");
    fs::write(&other, [7; 32]).unwrap();
    let wrong = placet(&story, &[&restore[..], &["--vault-key-file", text(&other)]].concat());
    assert!(!wrong.status.success() && !restored.exists(), "{wrong:?}");
    let key = data.join("vault.key");
    let told = done(placet(&story, &[&restore[..], &["--vault-key-file", text(&key)]].concat()));
    assert!(told["entries_lost"].as_u64().unwrap() >= 2, "{told:#}");
    assert_eq!(told["ended"]["agents_suspended"], 1, "{told:#}");
    assert_eq!(told["ended"]["approvals"], 1, "{told:#}");
    // The record that was restored verifies, also against the checkpoint that is kept now.
    done(placet(&story, &["--data", text(&restored), "record", "verify"]));
    assert_eq!(story.server.stop(), Some(0));
    put_in_place(&mut story, &restored, true);
    // Nothing of before works: no token, no session, no approval, no sign-in of the agent.
    story.act(&token, "notes.write", &note(&customer)).expect(401);
    story.client().get("/v1/agents").bearer(&story.ada).send().expect(401);
    agent.ask().with("scope", "notes.*").send(&story.client()).refused(401, "invalid_client");
    let record = story.record();
    let entry = record.iter().find(|entry| entry["type"] == "server.restored").unwrap();
    assert_eq!(entry["count"], told["entries_lost"]);
    assert!(entry["body"]["newest_checkpoint_seen"].as_str().unwrap().contains("placet/record"));
    // An administrator signs in and lets the agent act again; the old approval stays dead, the credential is there.
    story.ada = story.sign_in("ada");
    let cli = story
        .server
        .command()
        .env("PLACET_URL", story.server.base())
        .env("PLACET_TOKEN", &story.ada)
        .args(["agent", "resume", &agent.id])
        .output()
        .unwrap();
    assert!(cli.status.success(), "{cli:?}");
    let token = agent.token(&story.client(), "notes.* refunds.*");
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    let again = story.acting(&token, "refunds.create", &refund).header("placet-approval", &held).send();
    assert!(matches!(again.status, 403), "{:#}", again.body);
    done(placet(&story, &["--data", text(&story.server.data()), "record", "verify"]));
}

#[test]
fn a_backup_that_is_tried_out_leaves_the_record_that_goes_on_alone() {
    if is_about_a_file("backup::a_backup_that_is_tried_out_leaves_the_record_that_goes_on_alone") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    let home: PathBuf = story.server.home().to_owned();
    let data = story.server.data();
    let (backup, tried) = (home.join("backup"), home.join("tried"));
    story.act(&token, "notes.write", &note("c")).expect(200);
    // With what waits for the sequencer.
    story.server.kill();
    done(placet(&story, &["--data", text(&data), "backup", "--with-vault-key", text(&backup)]));
    story.server.restart();
    let verify =
        |story: &Story, data: &Path| done(placet(story, &["--data", text(data), "record", "verify"]));
    assert_eq!(story.server.stop(), Some(0));
    let seen = verify(&story, &data)["size"].as_u64().unwrap();
    let told = done(placet(&story, &["--data", text(&tried), "restore", text(&backup)]));
    let restored = verify(&story, &tried);
    assert!(restored["restored"].as_str().unwrap().starts_with("evt_"), "{restored:#}");
    // All that was seen and is not in the backup, and nothing that only waited.
    let kept = restored["size"].as_u64().unwrap() - 1;
    let lost = told["entries_lost"].as_u64().unwrap_or(0);
    assert_eq!(lost, seen.saturating_sub(kept), "{told:#}, {restored:#}");
    // The live one goes on, and is compared with what was kept of it.
    story.server.restart();
    story.act(&token, "notes.write", &note("c")).expect(200);
    let live = verify(&story, &data);
    assert_eq!((&live["restored"], &live["compared_with"]), (&Value::Null, &json!(1)), "{live:#}");
    verify(&story, &tried);
    // Without anything kept before, too: what was backed up is kept with what it became.
    fs::remove_dir_all(home.join("placet")).unwrap();
    let again = home.join("again");
    done(placet(&story, &["--data", text(&again), "restore", text(&backup)]));
    for data in [&data, &again, &data] {
        assert_eq!(verify(&story, data)["compared_with"], 1, "{}", data.display());
    }
    // One that was restored elsewhere is no lineage that is known here: it is the live one, rolled back.
    assert_eq!(placet(&story, &["--data", text(&tried), "record", "verify"]).status.code(), Some(1));
}

#[test]
fn nothing_is_overwritten_and_a_touched_backup_is_refused() {
    if is_about_a_file("backup::nothing_is_overwritten_and_a_touched_backup_is_refused") {
        return;
    }
    let mut story = Story::new(PLACET);
    story.ready(RULES);
    assert_eq!(story.server.stop(), Some(0));
    let home: PathBuf = story.server.home().to_owned();
    let data = story.server.data();
    let backup = home.join("backup");
    let key = ["--data", text(&data), "backup", "--with-vault-key", text(&backup)];
    let made = done(placet(&story, &key));
    assert_eq!(made["vault_key"], true);
    let again = placet(&story, &key);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let over = placet(&story, &["--data", text(&data), "restore", text(&backup)]);
    assert_eq!(over.status.code(), Some(2), "{over:?}");
    let restored = home.join("restored");
    let restore = ["--data", text(&restored), "restore", text(&backup)];
    for name in ["placet.db", "node", "record.pub"] {
        let path = backup.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut touched = bytes.clone();
        touched[bytes.len() / 2] ^= 1;
        fs::write(&path, touched).unwrap();
        let refused = placet(&story, &restore);
        assert_eq!(refused.status.code(), Some(1), "{name}: {refused:?}");
        assert!(!restored.exists(), "{name}");
        fs::write(&path, bytes).unwrap();
    }
    // A backup that claims files elsewhere writes none there.
    let manifest = backup.join("backup.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, whole.replace("\"node\":", "\"../node\":")).unwrap();
    assert_eq!(placet(&story, &restore).status.code(), Some(2));
    assert!(!home.join("node").exists());
    fs::write(&manifest, whole).unwrap();
    done(placet(&story, &restore));
    // With its vault key it is whole.
    put_in_place(&mut story, &restored, false);
}

#[test]
fn files_of_a_backup_are_its_owners_only() {
    if is_about_a_file("backup::files_of_a_backup_are_its_owners_only") {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    let story = Story::new(PLACET);
    let backup = story.server.home().join("backup");
    done(placet(&story, &["--data", text(&story.server.data()), "backup", text(&backup)]));
    let mut open = vec![backup];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += 1;
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 4, "{seen}");
}
