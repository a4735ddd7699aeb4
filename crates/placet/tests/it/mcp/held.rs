//! Held calls: people are asked, and the same call goes on once they have said yes, by whichever way its client has.

use super::{NEW, OLD, ask, call, message};
use crate::stage::story;
use placet_testkit::{Story, fresh, together, until};
use serde_json::{Value, json};
use std::thread;

const HELD: &str =
    "  - {name: held, allow: [notes.*, refunds.*], approve: {by: [\"role:support-lead\"], within: 30m}}\n";

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "hello"})
}

fn decide(story: &Story, approval: &str, verdict: &str) {
    let path = format!("/v1/approvals/{approval}");
    story.client().post(&path).bearer(&story.lee).json(&json!({"verdict": verdict})).send().expect(200);
}

/// The approval of a result that says that people have to decide.
fn held(result: &Value) -> String {
    assert_eq!(result["isError"], true, "{result}");
    let told = &result["structuredContent"];
    assert_eq!((&told["code"], &told["status"]), (&json!("approval_required"), &json!("held")));
    let id = told["approval"]["id"].as_str().unwrap();
    assert_eq!(result["_meta"]["placet/approval"], id);
    id.to_owned()
}

#[test]
fn the_same_call_again_goes_on_once_it_is_approved_and_once_only() {
    let story = story();
    let (agent, token) = story.ready(HELD);
    for revision in [OLD, NEW] {
        let customer = fresh("c");
        let path = format!("/customers/{customer}/");
        let result = call(story, &token, revision, "notes.write", &note(&customer));
        let id = held(&result);
        let url = result["structuredContent"]["approval"]["url"].as_str().unwrap();
        assert_eq!(url, format!("{}/v1/approvals/{id}", story.server.base()));
        // The same question while nobody has answered.
        assert_eq!(held(&call(story, &token, revision, "notes.write", &note(&customer))), id);
        assert_eq!(story.shop.count(&path), 0);
        decide(story, &id, "approve");
        // Another call has nothing of this one's yes, and neither has the same at a door where it has to be named.
        let other = held(&call(
            story,
            &token,
            revision,
            "notes.write",
            &json!({"customer_id": customer, "text": "bye"}),
        ));
        assert_ne!(other, id);
        story.act(&token, "notes.write", &note(&customer)).expect(202);
        assert_eq!(story.shop.count(&path), 0);
        let done = call(story, &token, revision, "notes.write", &note(&customer));
        assert_eq!(done["isError"], false, "{done}");
        assert_eq!(story.shop.count(&path), 1);
        // Used up: the next is a question of its own.
        assert_ne!(held(&call(story, &token, revision, "notes.write", &note(&customer))), id);
        assert_eq!(story.shop.count(&path), 1);
        let record = story.record();
        let intents = record
            .iter()
            .filter(|entry| entry["type"] == "action.intent" && entry["agent"] == agent.id.as_str());
        assert_eq!(
            intents.filter(|entry| entry["approval"] == id.as_str()).count(),
            1,
            "the intent names its approval"
        );
    }
}

#[test]
fn a_yes_is_the_agents_own() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let (_, stranger) = story.ready(HELD);
    let customer = fresh("c");
    let id = held(&call(story, &token, NEW, "notes.write", &note(&customer)));
    decide(story, &id, "approve");
    assert_ne!(held(&call(story, &stranger, NEW, "notes.write", &note(&customer))), id);
    let named = |token: &str, arguments: &Value, id: &str| {
        let params =
            json!({"name": "notes__write", "arguments": arguments, "_meta": {"placet/approval": id}});
        ask(story, token, NEW, "tools/call", &params).expect(200).at("/result/structuredContent")["code"]
            .clone()
    };
    assert_eq!(named(&stranger, &note(&customer), &id), "approval_mismatch");
    assert_eq!(named(&token, &note(&fresh("c")), &id), "approval_mismatch");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    assert_eq!(named(&token, &note(&customer), &id), Value::Null);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
    assert_eq!(named(&token, &note(&customer), &id), "approval_used");
}

#[test]
fn of_many_same_calls_at_once_one_has_the_yes() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let id = held(&call(story, &token, NEW, "notes.write", &note(&customer)));
    decide(story, &id, "approve");
    let results = together(16, |_| call(story, &token, NEW, "notes.write", &note(&customer)));
    let done = results.iter().filter(|result| result["isError"] == false).count();
    assert_eq!((done, story.shop.count(&format!("/customers/{customer}/"))), (1, 1));
    for result in results.iter().filter(|result| result["isError"] == true) {
        // It was used meanwhile, or people are asked anew.
        let code = result["structuredContent"]["code"].as_str().unwrap();
        assert!(["approval_used", "approval_required"].contains(&code), "{result}");
        assert_ne!(result["structuredContent"]["approval"]["id"], id.as_str());
    }
}

#[test]
fn a_no_is_told() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let id = held(&call(story, &token, OLD, "notes.write", &note(&customer)));
    decide(story, &id, "deny");
    let params =
        json!({"name": "notes__write", "arguments": note(&customer), "_meta": {"placet/approval": id}});
    let answer = ask(story, &token, OLD, "tools/call", &params).expect(200);
    assert_eq!(answer.at("/result/structuredContent/code"), "approval_denied");
    // As it is to a client that can't name it, and nobody is asked again.
    let again = call(story, &token, OLD, "notes.write", &note(&customer));
    assert_eq!(again["structuredContent"]["code"], "approval_denied", "{again:#}");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

/// A client that can ask its user is told to, and comes back with what it was given.
#[test]
fn a_client_with_a_user_asks_them_and_waits_for_the_people() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let forms = json!({"elicitation": {}});
    let send =
        |params: &Value| message(story, &token, NEW, ("tools/call", params), &forms).send().expect(200);
    let customer = fresh("c");
    let mut params = json!({"name": "notes__write", "arguments": note(&customer)});
    let asked = send(&params);
    assert_eq!(asked.at("/result/resultType"), "input_required");
    let question = asked.at("/result/inputRequests/approval");
    assert_eq!(
        (&question["method"], &question["params"]["mode"]),
        (&json!("elicitation/create"), &json!("form"))
    );
    let state = asked.text("/result/requestState");
    assert!(question["params"]["message"].as_str().unwrap().contains(&state));
    assert!(asked.at("/result").get("content").is_none());
    params["requestState"] = state.clone().into();
    // The user does not want to: nothing is done, and the question stands.
    params["inputResponses"] = json!({"approval": {"action": "decline"}});
    let declined = send(&params);
    assert_eq!(held(declined.at("/result")), state);
    // They do; the people answer while it is waited.
    params["inputResponses"] = json!({"approval": {"action": "accept", "content": {}}});
    let done = thread::scope(|scope| {
        let request = scope.spawn(|| send(&params));
        until("the question to be open", || {
            let shown = story.admin().get(&format!("/v1/approvals/{state}")).send().expect(200);
            (shown.at("/state") == "pending").then_some(())
        });
        decide(story, &state, "approve");
        request.join().unwrap()
    });
    assert_eq!(
        (done.at("/result/resultType"), done.at("/result/isError")),
        (&json!("complete"), &json!(false))
    );
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
    // What a client makes up opens nothing.
    for (state, code) in [("apr_00000000000000000000000000", Some("approval_mismatch")), ("x", None)] {
        params["requestState"] = state.into();
        let answer = send(&params);
        match code {
            Some(code) => assert_eq!(answer.at("/result/structuredContent/code"), code),
            None => assert_eq!(answer.at("/error/code"), -32602),
        }
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
    // Who offers no forms is not asked.
    for can in [json!({}), json!({"elicitation": {"url": {}}})] {
        let params = json!({"name": "notes__write", "arguments": note(&fresh("c"))});
        let answer = message(story, &token, NEW, ("tools/call", &params), &can).send().expect(200);
        held(answer.at("/result"));
    }
}

/// `Prefer: wait` is a header that a client can be configured with.
#[test]
fn a_call_waits_in_place_where_its_client_says_so() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = json!({"name": "notes__write", "arguments": note(&customer)});
    let done = thread::scope(|scope| {
        let waiting = || {
            message(story, &token, OLD, ("tools/call", &params), &json!({}))
                .header("prefer", "wait=50")
                .send()
        };
        let request = scope.spawn(waiting);
        let id = until("the question", || {
            let listed = story.approver().get("/v1/approvals?state=pending&limit=1000").send().expect(200);
            let listed = listed.at("/approvals").as_array().unwrap().clone();
            let found =
                listed.into_iter().find(|one| one["shown"]["params"]["customer_id"] == customer.as_str())?;
            Some(found["id"].as_str().unwrap().to_owned())
        });
        decide(story, &id, "approve");
        request.join().unwrap().expect(200)
    });
    assert_eq!(done.at("/result/isError"), false);
}

#[test]
fn an_idempotency_key_makes_a_call_happen_once() {
    let story = story();
    let (_, token) = story.ready("  - {name: all, allow: [notes.*]}\n");
    let customer = fresh("c");
    let send = |key: Value, text: &str| {
        let arguments = json!({"customer_id": customer, "text": text});
        let params =
            json!({"name": "notes__write", "arguments": arguments, "_meta": {"placet/idempotency-key": key}});
        ask(story, &token, OLD, "tools/call", &params).expect(200)
    };
    let (first, again) = (send("k1".into(), "a"), send("k1".into(), "a"));
    assert_eq!(first.at("/result"), again.at("/result"));
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
    assert_eq!(send("k1".into(), "b").at("/result/structuredContent/code"), "idempotency_mismatch");
    for wrong in [json!(""), json!("a b"), json!(7)] {
        assert_eq!(send(wrong, "a").at("/error/code"), -32602);
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}
