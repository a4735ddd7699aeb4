//! Keys: where they are, and their rotation while the server answers.

use crate::stage::PLACET;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{Agent, Client, Server, Story, fresh, until};
use serde_json::{Value, json};
use std::fs;

/// The names of the keys in the published set, the one that signs first.
fn published(server: &Server) -> Vec<String> {
    let set = server.client().get("/.well-known/jwks.json").send().expect(200).body;
    let name = |key: &Value| {
        assert!(key.get("d").is_none(), "{key}");
        key["kid"].as_str().unwrap().to_owned()
    };
    set["keys"].as_array().unwrap().iter().map(name).collect()
}

fn header(token: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

fn accepted(client: &Client, token: &str) -> bool {
    client.clone().with(token).get("/v1/grants").send().status == 200
}

fn state(keys: &Value, id: &str) -> Option<String> {
    let keys = keys["keys"].as_array().unwrap();
    keys.iter().find(|key| key["id"] == id).map(|key| key["state"].as_str().unwrap().to_owned())
}

fn rotate(server: &Server, what: Value) -> Value {
    server.admin().post("/v1/keys/rotate").json(&what).send().expect(200).body
}

fn agent(story: &Story) -> Agent {
    story.agent(&fresh("rotating-")).register()
}

#[test]
fn a_published_key_signs_next_and_the_old_one_still_verifies() {
    let story = Story::new(PLACET);
    let server = &story.server;
    let before = published(server);
    assert_eq!(before.len(), 2, "one signs, one is published");
    let agent = agent(&story);
    let old = agent.token(&story.client(), "orders.read");
    assert_eq!(kid(&old), before[0]);
    let keys = rotate(server, json!({}));
    let after = published(server);
    assert_eq!((after.len(), &after[0]), (3, &before[1]));
    assert!(after.contains(&before[0]) && after.iter().any(|kid| !before.contains(kid)));
    assert_eq!(keys["rotated"], json!({"key": "token", "active": before[1]}));
    // It was published a moment ago only, and that is said.
    assert_eq!(keys["warnings"].as_array().unwrap().len(), 1);
    assert_eq!(state(&keys, &format!("token/{}", before[0])).as_deref(), Some("retired"));
    assert_eq!(state(&keys, &format!("token/{}", before[1])).as_deref(), Some("active"));
    let new = agent.token(&story.client(), "orders.read");
    assert_eq!(kid(&new), before[1]);
    assert!(accepted(&story.client(), &old) && accepted(&story.client(), &new));
    let recorded = || {
        let entries = story.record();
        let ours = entries.iter().filter(|entry| entry["by"] == "admin-token" && entry["key"].is_string());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        ours.map(|entry| (text(&entry["type"]), text(&entry["key"]))).collect::<Vec<_>>()
    };
    let made = after.iter().find(|kid| !before.contains(kid)).unwrap();
    let expected = [("key.retired", &before[0]), ("key.activated", &before[1]), ("key.created", made)]
        .map(|(name, kid)| (name.to_owned(), format!("token/{kid}")));
    // In the log within a second.
    until("the rotation's entries", || (recorded() == expected).then_some(()));
    // All of it holds after a crash.
    let mut story = story;
    story.server.restart();
    assert_eq!(published(&story.server), after);
    assert!(accepted(&story.client(), &old) && accepted(&story.client(), &new));
    assert_eq!(kid(&agent.token(&story.client(), "orders.read")), before[1]);
}

#[test]
fn another_algorithm_is_published_before_it_signs() {
    let story = Story::new(PLACET);
    let agent = agent(&story);
    let before = published(&story.server);
    let asked = rotate(&story.server, json!({"algorithm": "ES256"}));
    let next = asked["rotated"]["next"].as_str().unwrap().to_owned();
    let old = agent.token(&story.client(), "orders.read");
    assert_eq!(kid(&old), before[0]);
    assert_eq!(published(&story.server), [before[0].clone(), next.clone()]);
    // The next one after it is of the same algorithm, unless another is asked for.
    rotate(&story.server, json!({}));
    let token = agent.token(&story.client(), "orders.read");
    assert_eq!(header(&token), json!({"typ": "at+jwt", "alg": "ES256", "kid": next}));
    assert!(accepted(&story.client(), &token) && accepted(&story.client(), &old));
    let listed = story.server.admin().get("/v1/keys").send().expect(200).body;
    let of_next = listed["keys"].as_array().unwrap().iter().find(|key| key["state"] == "next").unwrap();
    assert_eq!(of_next["algorithm"], "ES256");
    // A key takes its own algorithm only.
    let mut forged = header(&token);
    forged["alg"] = json!("EdDSA");
    let rest = token.split_once('.').unwrap().1;
    let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(forged.to_string()));
    assert!(!accepted(&story.client(), &forged));
}

#[test]
fn keys_given_up_at_once_take_their_tokens_with_them() {
    let story = Story::new(PLACET);
    let agent = agent(&story);
    let old = agent.token(&story.client(), "orders.read");
    assert!(accepted(&story.client(), &old));
    let before = published(&story.server);
    rotate(&story.server, json!({"at_once": true}));
    assert!(published(&story.server).iter().all(|kid| !before.contains(kid)));
    story.client().with(&old).get("/v1/grants").send().refused(401, "token_invalid");
    assert!(accepted(&story.client(), &agent.token(&story.client(), "orders.read")));
}

#[test]
fn bodies_of_the_record_are_read_with_the_key_that_sealed_them() {
    let mut story = Story::new(PLACET);
    let bodies = |story: &Story| {
        let entries = story.record();
        entries.into_iter().filter(|entry| !entry["body"].is_null()).count()
    };
    let before = bodies(&story);
    assert!(before > 0);
    let keys = rotate(&story.server, json!({"key": "body"}));
    assert_eq!(
        (state(&keys, "body/1").as_deref(), state(&keys, "body/2").as_deref()),
        (Some("retired"), Some("active"))
    );
    story.policy("a", "policy: a\nrules:\n  - {name: a, allow: [a.b]}\n");
    until("a body under the new key", || (bodies(&story) > before).then_some(()));
    story.server.restart();
    assert!(bodies(&story) > before);
    let verified = story.server.cli().args(["record", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn what_can_not_be_rotated_so_is_said_and_only_administrators_ask() {
    let story = Story::new(PLACET);
    let before = published(&story.server);
    let post = |body: Value| story.server.admin().post("/v1/keys/rotate").json(&body).send();
    for wrong in [
        json!({"key": "record"}),
        json!({"key": "hash"}),
        json!({"key": ""}),
        json!({"key": 1}),
        json!({"algorithm": "RS256"}),
        json!({"algorithm": "none"}),
        json!({"algorithm": "eddsa"}),
        json!({"key": "body", "algorithm": "EdDSA"}),
        json!({"key": "body", "at_once": true}),
        json!({"unknown": true}),
    ] {
        post(wrong).refused(400, "request_invalid");
    }
    let agent = agent(&story).token(&story.client(), "orders.read");
    for token in [&story.lee, &agent] {
        let client = story.client().with(token);
        client.post("/v1/keys/rotate").json(&json!({})).send().refused(403, "not_permitted");
        client.get("/v1/keys").send().refused(403, "not_permitted");
    }
    story.client().post("/v1/keys/rotate").json(&json!({})).send().refused(401, "token_invalid");
    assert_eq!(published(&story.server), before);
    // No key is in what is told, nor anything sealed.
    let text = story.server.admin().get("/v1/keys").send().expect(200).body.to_string();
    assert!(!text.contains("sealed"), "{text}");
}

#[test]
fn the_commands_say_what_the_interface_says() {
    let server = Server::start(PLACET);
    let json = |arguments: &[&str]| {
        let output = server.cli().args(arguments).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let before = published(&server);
    assert_eq!(json(&["keys", "list"])["keys"].as_array().unwrap().len(), 7);
    let rotated = json(&["keys", "rotate"]);
    assert_eq!(rotated["rotated"]["active"], before[1]);
    assert!(json(&["keys", "rotate", "--algorithm", "ES256"])["rotated"]["next"].is_string());
    assert_eq!(json(&["keys", "rotate", "--body"])["rotated"]["active"], "2");
    json(&["keys", "rotate", "--at-once"]);
    assert!(published(&server).iter().all(|kid| !before.contains(kid)));
    let both = server.cli().args(["keys", "rotate", "--body", "--at-once"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn without_its_vault_key_a_server_does_not_start_and_says_what_to_do() {
    let mut server = Server::start(PLACET);
    assert_eq!(server.stop(), Some(0));
    let path = server.data().join("vault.key");
    let kept = fs::read(&path).unwrap();
    let refused = |environment: Option<&str>| {
        let mut command = server.cli();
        if let Some(key) = environment {
            command.env("PLACET_VAULT_KEY", key);
        }
        let output = command.args(["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    fs::remove_file(&path).unwrap();
    let said = refused(None);
    assert!(said.contains("vault.key") && said.contains("--vault-key-file"), "{said}");
    assert!(!path.exists(), "it was made anew");
    let other = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    for said in [refused(Some(other)), {
        fs::write(&path, other).unwrap();
        refused(None)
    }] {
        assert!(said.contains("needs the vault key") && said.contains("copy"), "{said}");
        assert!(!said.contains(other), "{said}");
    }
    fs::write(&path, &kept).unwrap();
    // The administrator token is nothing that the server needs.
    fs::remove_file(server.data().join("admin.token")).unwrap();
    server.restart();
    server.admin().get("/v1/keys").send().expect(200);
    assert!(!server.data().join("admin.token").exists());
    // A key from elsewhere does as well.
    assert_eq!(server.stop(), Some(0));
    fs::rename(&path, server.home().join("elsewhere.key")).unwrap();
    let elsewhere = String::from_utf8(kept).unwrap();
    let mut command = server.cli();
    let output = command.env("PLACET_VAULT_KEY", "short").args(["serve", "--listen", "127.0.0.1:0"]).output();
    assert!(!String::from_utf8(output.unwrap().stderr).unwrap().contains(elsewhere.trim()));
}
