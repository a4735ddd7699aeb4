//! What is erased when its time is over, and what stays.

use crate::stage::PLACET;
use placet_testkit::{Story, fresh, until};
use serde_json::{Value, json};

#[test]
fn bodies_are_erased_and_proofs_stay() {
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
