//! Registering agents, confirming, changing, suspending and ending them.

use crate::parties::stage;
use placet_testkit::fresh;
use serde_json::{Value, json};

#[test]
fn a_registration_is_answered_with_what_the_agent_needs_once() {
    let stage = stage();
    let handle = fresh("reg-");
    let made = stage
        .admin()
        .post("/v1/agents")
        .json(&json!({"agent_name": handle, "description": "Answers mail", "allowed_tools": ["orders.*"],
            "default_scopes": ["orders.read"], "labels": {"team": "support"}, "owner": "ada"}))
        .send()
        .expect(201);
    let id = made.text("/client_id");
    assert!(id.starts_with("agt_"));
    assert_eq!(made.at("/allowed_scopes"), &json!(["orders.*"]));
    assert_eq!(made.at("/state"), "inactive");
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let shown = stage.admin().get(&format!("/v1/agents/{handle}")).send().expect(200);
    assert_eq!(shown.text("/client_id"), id);
    assert_eq!(shown.at("/labels"), &json!({"team": "support"}));
    assert_eq!(shown.at("/max_scope_level"), "standard");
    assert_eq!(shown.at("/resource_access"), &json!(["*"]));
    // Neither secret is told again.
    let text = shown.body.to_string();
    assert!(
        !text.contains(&made.text("/client_secret")) && !text.contains(&made.text("/registration_token"))
    );
}

#[test]
fn what_can_not_be_registered_is_refused_by_name() {
    let stage = stage();
    let taken = stage.agent().handle;
    let refused = |member: &str, value: Value, status, code: &str, named: &str| {
        let answer = stage.story.agent(&fresh("bad-")).with(member, value).send().refused(status, code);
        let detail = answer.text("/detail");
        assert!(detail.contains(named), "{member}: {detail}");
    };
    refused("agent_name", json!(taken), 409, "conflict", &taken);
    let long = "x".repeat(65);
    for handle in ["", "a b", "-a", ".a", "a/b", "agt_x", "ä", long.as_str()] {
        refused("agent_name", json!(handle), 400, "request_invalid", "agent_name");
    }
    refused("agent_nam", json!("typo"), 400, "request_invalid", "agent_nam");
    refused("default_scopes", json!(["mail.read"]), 400, "request_invalid", "mail.read");
    refused("default_scopes", json!(["orders.read", "*"]), 400, "request_invalid", "*");
    refused("max_scope_level", json!("root"), 400, "request_invalid", "restricted");
    refused("allowed_tools", json!(["a..b"]), 400, "request_invalid", "a..b");
    refused("resource_access", json!(["order://a/../b"]), 400, "request_invalid", "..");
    refused("labels", json!({"owner": "me"}), 400, "request_invalid", "owner");
    refused("labels", json!({"n": 1}), 400, "request_invalid", "string");
    // A single action above the level is refused, a pattern that only may reach one is judged per action.
    let above = stage.story.agent(&fresh("bad-")).with("max_scope_level", json!("standard"));
    let answer = above.with("allowed_tools", json!(["orders.read", "refunds.create"])).send();
    assert!(answer.refused(400, "request_invalid").text("/detail").contains("refunds.create"));
    let pattern = stage.story.agent(&fresh("ok-")).with("max_scope_level", json!("standard"));
    pattern.with("allowed_tools", json!(["refunds.*"])).send().expect(201);
}

#[test]
fn only_an_administrator_registers() {
    let stage = stage();
    let agent = stage.agent();
    let own = stage.given(&agent, "orders.read").text("/access_token");
    let body = json!({"agent_name": fresh("no-"), "allowed_tools": ["*"]});
    for token in [&own, &stage.pat.token, &stage.auditor.token, &stage.story.lee] {
        let answer = stage.client().with(token).post("/v1/agents").json(&body).send();
        answer.refused(403, "not_permitted");
    }
    let answer = stage.client().post("/v1/agents").json(&body).send().refused(401, "token_invalid");
    assert!(answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
    // The administrator token is one, too.
    stage.admin_token().post("/v1/agents").json(&body).send().expect(201);
}

#[test]
fn an_agent_is_nobody_until_its_registration_token_comes() {
    let stage = stage();
    let made = stage.story.agent(&fresh("new-")).send().expect(201);
    let (id, secret) = (made.text("/client_id"), made.text("/client_secret"));
    let ask = || {
        let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
        stage.client().post("/oauth/token").basic(&id, &secret).form(&form).send()
    };
    let inactive = ask().refused(401, "invalid_client");
    assert_eq!(inactive.header("www-authenticate"), Some("Basic realm=\"placet\""));
    let activate = |body: &Value| stage.client().post(&format!("/v1/agents/{id}/activate")).json(body).send();
    for wrong in ["", "prt_wrong", &secret, &made.text("/registration_token").to_uppercase()] {
        activate(&json!({"registration_token": wrong})).refused(401, "token_invalid");
    }
    // Another agent's token is as wrong, and an unknown agent is told alike.
    let other = stage.story.agent(&fresh("new-")).send().expect(201).text("/registration_token");
    let wrong = activate(&json!({"registration_token": other})).refused(401, "token_invalid");
    let path = "/v1/agents/agt_00000000000000000000000000/activate";
    let unknown = stage.client().post(path).json(&json!({"registration_token": other})).send();
    assert_eq!(unknown.refused(401, "token_invalid").body, wrong.body);
    activate(&json!({})).refused(401, "token_invalid");
    activate(&json!({"registration_token": "x", "owner": "me"})).refused(400, "request_invalid");
    ask().refused(401, "invalid_client");
    // It is the owner's word that counts: an administrator does not confirm in its place.
    stage.admin().post(&format!("/v1/agents/{id}/activate")).send().refused(409, "conflict");

    let right = json!({"registration_token": made.text("/registration_token")});
    assert_eq!(activate(&right).expect(200).at("/state"), "active");
    ask().expect(200);
    // Twice is once.
    assert_eq!(activate(&right).expect(200).at("/state"), "active");
}

#[test]
fn suspended_is_dead_until_an_administrator_resumes() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&agent, "orders.*").text("/access_token");
    let below = stage.child(&child, &token).text("/access_token");
    let path = |what: &str| format!("/v1/agents/{}/{what}", agent.handle);
    stage.client().with(&token).post(&path("suspend")).send().refused(403, "not_permitted");
    assert_eq!(stage.admin().post(&path("suspend")).send().expect(200).at("/state"), "suspended");
    for dead in [&token, &below] {
        assert!(!stage.is_active(dead));
        stage.client().with(dead).get("/v1/grants").send().refused(401, "agent_inactive");
    }
    agent.ask().send(&stage.client()).refused(401, "invalid_client");
    child.ask().with("parent_token", &token).send(&stage.client()).refused(400, "invalid_grant");
    // Not by the agent's owner.
    let confirm = json!({"registration_token": agent.registration["registration_token"]});
    stage.client().post(&path("activate")).json(&confirm).send().refused(403, "not_permitted");
    assert!(!stage.is_active(&token));
    stage.admin().post(&path("activate")).send().expect(200);
    assert!(stage.is_active(&token) && stage.is_active(&below));
    agent.ask().send(&stage.client()).expect(200);
}

#[test]
fn an_ended_agent_takes_everything_with_it_for_good() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let own = stage.given(&agent, "orders.*").text("/access_token");
    let below = stage.child(&child, &own).text("/access_token");
    // What somebody else handed to it ends too, though it hangs in another tree.
    let giver = stage.agent();
    let theirs = stage.given(&giver, "orders.*").text("/access_token");
    let handed = stage.child(&agent, &theirs).text("/access_token");
    let task = json!({"agent": agent.id, "task_id": "job", "scope": ["orders.read"]});
    stage.task(&stage.pat.token, &task).expect(201);
    let claimed = agent.ask().with("task_id", "job").send(&stage.client()).expect(200).text("/access_token");
    assert!([&own, &below, &handed, &claimed].into_iter().all(|token| stage.is_active(token)));

    let path = format!("/v1/agents/{}", agent.id);
    let ended = stage.admin().delete(&path).send().expect(200);
    assert_eq!(ended.at("/state"), "ended");
    assert!([&own, &below, &handed, &claimed].into_iter().all(|token| !stage.is_active(token)));
    assert!(stage.is_active(&theirs));
    agent.ask().send(&stage.client()).refused(401, "invalid_client");
    stage.admin().post(&format!("{path}/activate")).send().refused(409, "conflict");
    stage.admin().post(&format!("{path}/suspend")).send().refused(409, "conflict");
    stage.admin().patch(&path).json(&json!({"description": "x"})).send().refused(409, "conflict");
    // Its name is not given again, and ending twice is ending once.
    stage.story.agent(&agent.handle).send().refused(409, "conflict");
    let again = stage.admin().delete(&path).send().expect(200);
    assert_eq!(again.at("/affected_grants"), &json!([]));
    stage.task(&stage.ada(), &task).refused(400, "request_invalid");
}

#[test]
fn a_change_never_widens_what_was_registered() {
    let stage = stage();
    let agent = stage.agent();
    let path = format!("/v1/agents/{}", agent.id);
    let change = |body: Value| stage.admin().patch(&path).json(&body).send();
    for fixed in ["agent_name", "allowed_tools", "resource_access", "state", "client_id"] {
        let refused = change(json!({fixed: "x"})).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(fixed));
    }
    change(json!({"default_scopes": ["mail.read"]})).refused(400, "request_invalid");
    let shown = change(json!({"default_scopes": ["orders.read"], "owner": "ops"})).expect(200);
    assert_eq!((shown.at("/default_scopes"), shown.at("/owner")), (&json!(["orders.read"]), &json!("ops")));
    assert_eq!(change(json!({"owner": null})).expect(200).at("/owner"), &Value::Null);
    // An agent changes nothing about itself, and sees no other.
    let own = stage.given(&agent, "orders.read").text("/access_token");
    let itself = stage.client().with(&own);
    itself.patch(&path).json(&json!({"labels": {"team": "admin"}})).send().refused(403, "not_permitted");
    itself.get(&path).send().expect(200);
    itself.get(&format!("/v1/agents/{}", stage.agent().id)).send().refused(404, "not_found");
    itself.get("/v1/agents").send().refused(403, "not_permitted");
    itself.delete(&path).send().refused(403, "not_permitted");
}

#[test]
fn a_lowered_level_counts_for_tokens_that_were_given_before() {
    let stage = stage();
    let (agent, token) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let refund = json!({"customer_id": "1", "order_id": "2", "amount": 1});
    stage.story.act(&token, "refunds.create", &refund).expect(200);
    let path = format!("/v1/agents/{}", agent.id);
    stage.admin().patch(&path).json(&json!({"max_scope_level": "restricted"})).send().expect(200);
    stage.story.act(&token, "refunds.create", &refund).refused(403, "not_granted");
    let read = json!({"customer_id": "1", "order_id": "2"});
    stage.story.act(&token, "orders.read", &read).expect(200);
    let answer = agent.ask().with("scope", "refunds.create").send(&stage.client());
    let answer = answer.refused(400, "invalid_scope");
    assert!(crate::parties::why(&answer).contains("refunds.create"));
}
