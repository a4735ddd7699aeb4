//! What is erased when its time is over, and what stays.

use crate::stage::PLACET;
use placet_testkit::{Story, fresh, is_about_a_file, until};
use serde_json::{Value, json};

#[test]
fn bodies_are_erased_and_proofs_stay() {
    if is_about_a_file("retention::bodies_are_erased_and_proofs_stay") {
        return;
    }
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let customer = fresh("c");
    for n in 0..3 {
        let params = json!({"customer_id": customer, "text": format!("forget me {n}")});
        story.act(&token, "notes.write", &params).expect(200);
    }
    let intents = |story: &Story| -> Vec<Value> {
        let mut all = story.record();
        all.retain(|entry| entry["type"] == "action.intent");
        all
    };
    let before = until("the intents", || Some(intents(&story)).filter(|all| all.len() == 3));
    assert!(before.iter().all(|entry| entry["params"]["customer_id"] == customer.as_str()));
    assert!(before.iter().all(|entry| entry.get("erased").is_none()));
    let proof = story.server.home().join("proof.json");
    let index = before[0]["index"].to_string();
    let prove = ["record", "prove", &index, "-o", proof.to_str().unwrap()];
    assert!(story.server.cli().args(prove).status().unwrap().success());
    // By default nothing of today goes.
    story.server.stop();
    story.server.restart();
    assert!(intents(&story).iter().all(|entry| entry["params"]["customer_id"] == customer.as_str()));
    story.server.stop();
    story.server.flags(&["--keep-record", "1s"]);
    until("the last entry's time", || {
        story.server.restart();
        let erased = until("a turn of the job", || {
            let all = intents(&story);
            Some(all.iter().all(|entry| entry["erased"] == true))
        });
        erased.then_some(())
    });
    let after = intents(&story);
    assert_eq!(after.len(), 3);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (&after["params"], &after["resource"], &after["body"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        for member in
            ["index", "id", "at", "agent", "chain", "task", "action", "leaf_hash", "commitment", "decision"]
        {
            assert_eq!(before[member], after[member], "{member}");
        }
    }
    let shown = story.server.cli().args(["record", "show", &index]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["erased"], true);
    // The whole verifies, while it is served and from its files; and so does a proof, old or new.
    let verify = |story: &Story| story.server.cli().args(["record", "verify"]).output().unwrap();
    let verified = verify(&story);
    assert!(verified.status.success(), "{verified:?}");
    let key = story.server.data().join("record.pub");
    let check = ["record", "verify-proof", proof.to_str().unwrap(), "--key", key.to_str().unwrap()];
    assert!(story.server.cli().args(check).status().unwrap().success());
    assert!(story.server.cli().args(prove).status().unwrap().success());
    assert!(story.server.cli().args(check).status().unwrap().success());
    story.server.stop();
    let verified = verify(&story);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn what_a_policy_says_counts_before_what_the_installation_says() {
    if is_about_a_file("retention::what_a_policy_says_counts_before_what_the_installation_says") {
        return;
    }
    let mut story = Story::new(PLACET);
    let agent = story.agent(&fresh("agent-")).register();
    let policy = format!(
        "policy: {0}\napplies_to: {{agents: [\"{0}\"]}}\nrecord: {{keep: 1h}}\nrules:\n  - {{name: notes, allow: [notes.write]}}\n",
        agent.handle
    );
    story.policy(&agent.handle, &policy).expect(201);
    let token = agent.token(&story.client(), "notes.*");
    story.act(&token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"})).expect(200);
    let intent = |story: &Story| story.record().into_iter().find(|entry| entry["type"] == "action.intent");
    // An hour is not over yet, whatever the installation says.
    story.server.stop();
    story.server.flags(&["--keep-record", "1s"]);
    let registered = |story: &Story| {
        let found = story.record().into_iter().find(|entry| entry["type"] == "agent.registered");
        found.is_some_and(|entry| entry["erased"] == true)
    };
    until("what has no time of its own to go", || {
        story.server.restart();
        registered(&story).then_some(())
    });
    assert!(intent(&story).unwrap()["params"].is_object());
    // When it is over it goes, also where the installation keeps for ever.
    story.server.stop();
    let over = "update record_bodies set keep_until = 1 where keep_until is not null";
    crate::record::tamper(&story.server.data(), over);
    story.server.flags(&["--keep-record", "forever"]);
    story.server.restart();
    until("the intent's body to go", || (intent(&story)?["erased"] == true).then_some(()));
    let verified = story.server.cli().args(["record", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
