//! The registry of scopes: names that stand for others are written out when something is granted, roles say who may
//! delegate, and nothing stands for everything.

use crate::parties::{ACCESS_TOKEN, TOKEN_EXCHANGE, read, stage};
use placet_testkit::{Answer, fresh};
use serde_json::{Value, json};

fn put(name: &str, body: &Value) -> Answer {
    stage().admin().put(&format!("/v1/scopes/{name}")).json(body).send()
}

/// The name of a scope that no other test has.
fn name() -> String {
    fresh("duty")
}

#[test]
fn a_name_is_written_out_when_something_is_granted() {
    let stage = stage();
    let (duty, wide) = (name(), name());
    let body = json!({"description": "Read orders", "includes": ["orders.read", "orders.list"]});
    assert_eq!(put(&duty, &body).expect(201).at("/roles"), &json!([]));
    put(&duty, &body).expect(200);
    put(&wide, &json!({"description": "All of it", "includes": [duty, "notes.write"]})).expect(201);
    let agent = stage.agent();
    let given = stage.given(&agent, &wide);
    assert_eq!(given.at("/scope"), "orders.read orders.list notes.write");
    let token = given.text("/access_token");
    assert_eq!(read(&token).1["scope"], "orders.read orders.list notes.write");
    // Narrowing by a name, and never beyond what is held.
    let exchanging = |scope: &str| {
        let asked = agent.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &token);
        asked.with("subject_token_type", ACCESS_TOKEN).with("scope", scope).send(&stage.client())
    };
    assert_eq!(exchanging(&duty).expect(200).at("/scope"), "orders.read orders.list");
    let narrow = stage.agent_for(&["orders.read"]);
    narrow.ask().with("scope", &duty).send(&stage.client()).refused(400, "invalid_scope");
    // What was granted stays what it was.
    put(&duty, &json!({"description": "More", "includes": ["orders.*", "refunds.create"]})).expect(200);
    assert_eq!(stage.introspect(&token).at("/scope"), "orders.read orders.list notes.write");
    assert_eq!(stage.given(&agent, &duty).at("/scope"), "orders.* refunds.create");
    // Metadata lists it, wherever that stands.
    for place in ["oauth-authorization-server", "openid-configuration", "oauth-protected-resource"] {
        let document = stage.client().get(&format!("/.well-known/{place}")).send().expect(200);
        assert!(document.at("/scopes_supported").as_array().unwrap().contains(&json!(duty)), "{place}");
    }
    stage.admin().delete(&format!("/v1/scopes/{wide}")).send().expect(204);
    stage.admin().delete(&format!("/v1/scopes/{wide}")).send().refused(404, "not_found");
    stage.admin().get(&format!("/v1/scopes/{wide}")).send().refused(404, "not_found");
}

#[test]
fn no_name_stands_for_everything_or_for_itself() {
    let (one, other) = (name(), name());
    for everything in ["*", "**", "**:*"] {
        put(&one, &json!({"description": "x", "includes": [everything]})).refused(400, "request_invalid");
    }
    put("%2A", &json!({"description": "x"})).refused(400, "request_invalid");
    put(&one, &json!({"description": "x", "includes": [one]})).refused(400, "request_invalid");
    put(&one, &json!({"description": "x", "includes": [other]})).expect(201);
    put(&other, &json!({"description": "x", "includes": [one]})).refused(400, "request_invalid");
    for wrong in [
        json!({}),
        json!({"description": ""}),
        json!({"description": "x", "more": 1}),
        json!({"description": "x", "includes": ["a b"]}),
    ] {
        put(&other, &wrong).refused(400, "request_invalid");
    }
}

#[test]
fn only_administrators_change_what_scopes_mean_and_everybody_may_know() {
    let stage = stage();
    let duty = name();
    put(&duty, &json!({"description": "See \u{202e} orders"})).expect(201);
    let path = format!("/v1/scopes/{duty}");
    let agent = stage.agent();
    let token = agent.token(&stage.client(), "orders.read");
    for token in [&token, &stage.pat.token, &stage.auditor.token] {
        let client = stage.client().with(token);
        client.put(&path).json(&json!({"description": "x"})).send().refused(403, "not_permitted");
        client.delete(&path).send().refused(403, "not_permitted");
        client.get(&path).send().expect(200);
        client.get("/v1/scopes").send().expect(200);
    }
    let entries = stage.story.record();
    assert!(entries.iter().any(|entry| entry["type"] == "scope.applied"));
}

#[test]
fn a_user_delegates_what_a_role_allows_however_it_is_written() {
    let stage = stage();
    let (duty, tool) = (name(), fresh("ledger-tool-"));
    let listed = format!("{tool}.list");
    put(&duty, &json!({"description": "Books", "includes": [listed], "roles": ["bookkeeper"]})).expect(201);
    let agent = stage.agent_for(&[&format!("{tool}.*")]);
    let (_, keeper) = stage.story.user(&fresh("keeper-"), &["bookkeeper"]);
    let granting = |session: &str, scope: &str| {
        let body = json!({"agent": agent.handle, "scope": [scope]});
        stage.client().with(session).post("/v1/grants").json(&body).send()
    };
    for scope in [duty.as_str(), &listed, &format!("{tool}.*"), &format!("{listed}:order://1")] {
        granting(&stage.pat.token, scope).refused(403, "not_permitted");
        granting(&keeper, scope).expect(201);
    }
    granting(&stage.pat.token, &format!("{tool}.other")).expect(201);
    let task = json!({"agent": agent.handle, "task_id": fresh("books-"), "scope": [listed]});
    stage.task(&stage.pat.token, &task).refused(403, "not_permitted");
}
