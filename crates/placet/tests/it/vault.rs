//! The vault key is rotated while requests go on, and a rotation that is cut off is taken up again.

use crate::stage::PLACET;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_testkit::{Answer, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

pub(crate) fn lines(story: &Story) -> Vec<String> {
    let text = fs::read_to_string(story.server.data().join("vault.key")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The vault keys as `GET /v1/keys` tells them: id and state.
pub(crate) fn keys(story: &Story) -> Vec<(String, String)> {
    let listed = story.server.admin().get("/v1/keys").send().expect(200).body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = listed["vault"].as_array().unwrap();
    keys.iter().map(|key| (text(&key["id"]), text(&key["state"]))).collect()
}

pub(crate) fn state(story: &Story, id: &str) -> String {
    keys(story).into_iter().find(|(known, _)| known == id).map(|(_, state)| state).unwrap_or_default()
}

pub(crate) fn rotate(story: &Story) -> Answer {
    story.server.admin().post("/v1/keys/rotate").json(&json!({"key": "vault"})).send()
}

pub(crate) fn write(story: &Story, token: &str, text: &str) -> Answer {
    let params = json!({"customer_id": "42", "text": text});
    story.acting(token, "notes.write", &params).header("idempotency-key", text).send()
}

pub(crate) const RULES: &str = "  - {name: notes, allow: [notes.write]}\n";

#[test]
fn the_vault_key_changes_while_requests_go_on() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    let before = write(&story, &token, "before").expect(200).text("/id");
    let (name, mut phone) = {
        let person = crate::people::person::Person::with(&story, &[]);
        (person.name.clone(), person.enrols().0)
    };
    let old = keys(&story)[0].0.clone();
    let old_line = lines(&story);
    let stop = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        let acting = scope.spawn(|| {
            let mut done = 0;
            while !stop.load(Ordering::SeqCst) {
                write(&story, &token, &fresh("during-")).expect(200);
                done += 1;
            }
            done
        });
        let new = rotate(&story).expect(200).text("/rotated/active");
        assert_ne!(new, old);
        assert_eq!(lines(&story).len(), 2, "both while it lasts");
        assert_eq!(state(&story, &old), "retiring");
        // One at a time.
        rotate(&story).refused(409, "conflict");
        until("the end of the old key", || (state(&story, &old) == "retired").then_some(()));
        until("the file without it", || (lines(&story).len() == 1).then_some(()));
        assert_ne!(lines(&story), old_line);
        stop.store(true, Ordering::SeqCst);
        acting.join().unwrap()
    });
    assert!(done > 10);
    story.server.restart();
    // What was sealed before is still opened: credential, kept answer, keys, bodies.
    let token = {
        let (_, token) = story.ready(RULES);
        token
    };
    write(&story, &token, "after").expect(200);
    let body = json!({"name": name, "password": placet_testkit::password(&name), "totp": phone.code()});
    story.client().post("/v1/sessions").json(&body).send().expect(201);
    assert_eq!(keys(&story).len(), 2);
    let record = story.record();
    let intents: Vec<_> = record.iter().filter(|entry| entry["action_id"] == before.as_str()).collect();
    assert!(intents.iter().any(|entry| entry["resource"].is_string()), "{intents:#?}");
    let of_vault = |kind: &str| record.iter().filter(|entry| entry["type"] == kind).count();
    assert_eq!((of_vault("key.activated"), of_vault("key.removed")), (1, 1));
}

#[test]
fn a_kept_answer_is_replayed_after_the_vault_key_changed() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    let first = write(&story, &token, "once").expect(200);
    let old = keys(&story)[0].0.clone();
    rotate(&story).expect(200);
    assert_eq!(write(&story, &token, "once").expect(200).body, first.body);
    until("the end of the old key", || (state(&story, &old) == "retired").then_some(()));
    assert_eq!(write(&story, &token, "once").expect(200).body, first.body);
    assert_eq!(story.shop.count("/customers/42/"), 1);
}

#[test]
fn a_rotation_that_is_cut_off_anywhere_is_taken_up_again() {
    let mut story = Story::new(PLACET);
    for _ in 0..250 {
        story.connection(&fresh("account-"), "shop", &json!({"agents": []})).expect(201);
    }
    let (_, token) = story.ready(RULES);
    for _ in 0..30 {
        let _ = write_by_name(&story, &token, &fresh("kept-"));
    }
    let old = keys(&story)[0].0.clone();
    // Cut off while it is asked for, at other moments each time; what has come of it is seen afterwards.
    for wait in [0, 1, 2, 4, 8, 15, 30, 60, 120, 400, 900] {
        let asking = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let _ =
                    story.server.admin().post("/v1/keys/rotate").json(&json!({"key": "vault"})).try_send();
            });
            thread::park_timeout(Duration::from_millis(wait));
            let killed =
                std::process::Command::new("kill").args(["-9", &story.server.id().to_string()]).status();
            assert!(killed.unwrap().success());
            asking.join()
        });
        asking.unwrap();
        story.server.restart();
        // Whatever there was, all of it opens.
        story.server.admin().get("/v1/keys").send().expect(200);
        assert_eq!(story.client().get("/readyz").send().body["checks"]["keys"], "ok");
    }
    if state(&story, &old) == "active" {
        rotate(&story).expect(200);
    }
    until("the end of the old key", || (state(&story, &old) == "retired").then_some(()));
    until("one key in the file", || (lines(&story).len() == 1).then_some(()));
    story.server.restart();
    write_by_name(&story, &token, "after").expect(200);
    assert_eq!(keys(&story).iter().filter(|(_, state)| state == "active").count(), 1);
    let verified = story.server.cli().args(["record", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// With the connection named: there are many.
fn write_by_name(story: &Story, token: &str, text: &str) -> Answer {
    let params = json!({"customer_id": "42", "text": text});
    let body =
        json!({"service": "shop", "action": "notes.write", "params": params, "connection": "shop-main"});
    story.client().post("/v1/actions").bearer(token).json(&body).header("idempotency-key", text).send()
}

#[test]
fn a_key_that_the_operator_puts_into_the_file_is_taken() {
    let story = Story::new(PLACET);
    let path = story.server.data().join("vault.key");
    let (old, mine) = (keys(&story)[0].0.clone(), STANDARD.encode([77; 32]));
    fs::write(&path, format!("{}\n{mine}\n", lines(&story)[0])).unwrap();
    let new = rotate(&story).expect(200).text("/rotated/active");
    assert_eq!(lines(&story).len(), 2, "no other was made");
    until("the end of the old key", || (state(&story, &old) == "retired").then_some(()));
    until("the file without it", || (lines(&story) == [mine.clone()]).then_some(()));
    assert_eq!(state(&story, &new), "active");
    // Where the file can't be used any more, nothing changes, and that is said.
    fs::write(&path, "no key").unwrap();
    let refused = rotate(&story).refused(409, "conflict");
    assert!(!refused.body.to_string().contains("no key\""), "{}", refused.body);
    let (_, token) = story.ready(RULES);
    write(&story, &token, "still").expect(200);
}
