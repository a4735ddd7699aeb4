//! `/v1/grants`: roots that people make for agents, and taking part of a grant back.

use crate::parties::{ACCESS_TOKEN, TOKEN_EXCHANGE, exchange, introspect, read, stage, why};
use placet_testkit::{Agent, Answer, fresh, until};
use serde_json::{Value, json};

const ALL: &str = "  - {name: all, allow: [\"**\"]}\n";

fn made(session: &str, body: &Value) -> Answer {
    stage().client().with(session).post("/v1/grants").json(body).send()
}

fn narrow(session: &str, grant: &str, body: &Value) -> Answer {
    stage().client().with(session).post(&format!("/v1/grants/{grant}/narrow")).json(body).send()
}

fn claim(agent: &Agent, grant: &str) -> Answer {
    agent.ask().with("grant_id", grant).send(&stage().client())
}

fn order(customer: &str) -> Value {
    json!({"customer_id": customer, "order_id": "1"})
}

#[test]
fn a_person_makes_a_grant_and_its_agent_takes_it_up() {
    let stage = stage();
    let (agent, other) = (stage.agent(), stage.agent());
    stage.story.rules(&agent.handle, ALL).expect(201);
    let body = json!({"agent": agent.handle, "scope": ["orders.*"], "resources": ["order://customer:1/**"],
        "limits": [{"count": 2, "per": "day"}]});
    let root = made(&stage.pat.token, &body).expect(201);
    assert_eq!(root.at("/origin"), "person");
    assert_eq!(root.at("/user"), &json!(stage.pat.id));
    assert_eq!(
        (root.at("/parent"), root.at("/task"), root.at("/depth")),
        (&Value::Null, &Value::Null, &json!(0))
    );
    let id = root.text("/grant_id");

    let given = claim(&agent, &id).expect(200);
    assert_eq!(given.at("/scope"), "orders.*");
    let token = given.text("/access_token");
    let claims = read(&token).1;
    assert_eq!(claims["sub"], json!(stage.pat.id));
    assert_eq!(claims["grant"]["root"], json!(id));
    stage.story.act(&token, "orders.read", &order("1")).expect(200);
    stage.story.act(&token, "orders.read", &order("2")).refused(403, "not_granted");
    // The grant's own limit counts for all that hangs below it.
    let next = agent.ask().with("grant_id", &id).with("task_id", &fresh("t-")).with("scope", "orders.read");
    let next = next.send(&stage.client()).expect(200).text("/access_token");
    stage.story.act(&next, "orders.read", &order("1")).expect(200);
    stage.story.act(&token, "orders.read", &order("1")).refused(403, "limit_exceeded");
    // The same label is the same grant; more than the root has is refused.
    let label = fresh("t-");
    let ask = |scope: &str| {
        let asked = agent.ask().with("grant_id", &id).with("task_id", &label).with("scope", scope);
        asked.send(&stage.client())
    };
    assert_eq!(
        ask("orders.list").expect(200).at("/grant_id"),
        ask("orders.list").expect(200).at("/grant_id")
    );
    agent
        .ask()
        .with("grant_id", &id)
        .with("scope", "notes.*")
        .send(&stage.client())
        .refused(400, "invalid_scope");
    // Nobody else takes it up, and it is taken up in one way only.
    assert!(why(&claim(&other, &id).refused(400, "invalid_request")).contains("grant_id"));
    let both = agent.ask().with("grant_id", &id).with("parent_token", &token).send(&stage.client());
    both.refused(400, "invalid_request");
    claim(&agent, &given.text("/grant_id")).refused(400, "invalid_request");
    claim(&agent, "nonsense").refused(400, "invalid_request");
    // A label that stands for other authority is not moved under it.
    let elsewhere = fresh("t-");
    let own = agent.ask().with("scope", "orders.read").with("task_id", &elsewhere).send(&stage.client());
    own.expect(200);
    let nobodys =
        made(&stage.ada(), &json!({"agent": agent.id, "user": null, "scope": ["orders.*"]})).expect(201);
    let asked = agent.ask().with("grant_id", &nobodys.text("/grant_id")).with("task_id", &elsewhere);
    asked.send(&stage.client()).refused(400, "invalid_request");
    // When it is revoked, all of it is over.
    stage.client().with(&stage.pat.token).post(&format!("/v1/grants/{id}/revoke")).send().expect(200);
    assert!(!stage.is_active(&token));
    claim(&agent, &id).refused(400, "invalid_grant");
}

#[test]
fn who_makes_grants_for_whom() {
    let stage = stage();
    let agent = stage.agent();
    let body = |user: Value| json!({"agent": agent.id, "user": user, "scope": ["orders.read"]});
    let plain = json!({"agent": agent.id, "scope": ["orders.read"]});
    assert_eq!(made(&stage.pat.token, &plain).expect(201).at("/user"), &json!(stage.pat.id));
    made(&stage.pat.token, &body(json!(stage.sam.name))).refused(403, "not_permitted");
    made(&stage.pat.token, &body(Value::Null)).refused(403, "not_permitted");
    made(&stage.auditor.token, &body(json!(stage.pat.id))).refused(403, "not_permitted");
    assert_eq!(
        made(&stage.ada(), &body(json!(stage.sam.name))).expect(201).at("/user"),
        &json!(stage.sam.id)
    );
    assert_eq!(made(&stage.ada(), &body(Value::Null)).expect(201).at("/user"), &Value::Null);
    let token = stage.story.server.admin_token();
    made(token, &plain).expect(201);
    made(token, &body(json!(stage.sam.id))).refused(403, "not_permitted");
    let own = stage.given(&agent, "orders.read").text("/access_token");
    made(&own, &plain).refused(403, "not_permitted");
    // Nothing exceeds the agent's registration or is made for nobody's use.
    for wrong in [
        json!({"agent": agent.id, "scope": ["mail.send"]}),
        json!({"agent": agent.id, "scope": ["orders.read"], "resources": ["crm://x"]}),
        json!({"agent": agent.id, "scope": ["orders.read"], "tools": ["*"]}),
        json!({"agent": agent.id}),
        json!({"agent": "nobody", "scope": ["orders.read"]}),
        json!({"agent": agent.id, "scope": ["orders.read"], "expires": "2020-01-01T00:00:00Z"}),
        json!({"agent": agent.id, "scope": ["orders.read"], "max_depth": 9}),
        json!({"agent": agent.id, "scope": ["orders.read"], "audience": ["https://no.example"]}),
        json!({"agent": agent.id, "scope": ["orders.read"], "audience": []}),
        json!({"agent": agent.id, "scope": ["orders.read"], "origin": "registration"}),
    ] {
        made(&stage.pat.token, &wrong).refused(400, "request_invalid");
    }
}

#[test]
fn a_grants_depth_is_bounded_where_it_says_so() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let root = json!({"agent": agent.id, "scope": ["orders.read"], "max_depth": 1});
    let root = made(&stage.pat.token, &root).expect(201).text("/grant_id");
    let token = claim(&agent, &root).expect(200).text("/access_token");
    child.ask().with("parent_token", &token).send(&stage.client()).refused(400, "invalid_grant");
    exchange(&agent, &token, &child.id).send(&stage.client()).refused(400, "invalid_grant");
}

#[test]
fn a_narrowed_grant_is_narrow_at_once_for_all_below_it() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    for one in [&agent, &child] {
        stage.story.rules(&one.handle, ALL).expect(201);
    }
    let root = json!({"agent": agent.id, "scope": ["orders.*", "notes.*"]});
    let root = made(&stage.pat.token, &root).expect(201).text("/grant_id");
    let label = fresh("t-");
    let ask =
        || agent.ask().with("grant_id", &root).with("task_id", &label).send(&stage.client()).expect(200);
    let given = ask();
    let token = given.text("/access_token");
    let below = stage.child(&child, &token).text("/access_token");
    let note = json!({"customer_id": "1", "text": "x"});
    for token in [&token, &below] {
        stage.story.act(token, "notes.write", &note).expect(200);
    }
    let left = json!({"scope": ["orders.*"], "resources": ["order://customer:1/**"], "reason": "too much"});
    let narrowed = narrow(&stage.pat.token, &root, &left).expect(200);
    assert_eq!(narrowed.at("/scope"), &json!(["orders.*"]));
    assert_eq!(narrowed.at("/alive"), true);
    for token in [&token, &below] {
        stage.story.act(token, "notes.write", &note).refused(403, "not_granted");
        stage.story.act(token, "orders.read", &order("2")).refused(403, "not_granted");
        stage.story.act(token, "orders.read", &order("1")).expect(200);
        let known = introspect(&stage.admin(), token);
        assert_eq!(known.at("/scope"), "orders.*");
        assert_eq!(known.at("/granted_resources"), &json!(["order://customer:1/**"]));
    }
    let below_id = stage.introspect(&below).text("/grant/id");
    let shown = stage.admin().get(&format!("/v1/grants/{below_id}")).send().expect(200);
    assert_eq!(shown.at("/scope"), &json!(["orders.*", "notes.*"]));
    assert_eq!(shown.at("/left/scope"), &json!(["orders.*"]));
    // What is derived from it has no more than is left, and says so.
    let again = ask();
    assert_eq!(again.at("/grant_id"), given.at("/grant_id"));
    assert_eq!(read(&again.text("/access_token")).1["scope"], "orders.*");
    let more = child.ask().with("parent_token", &token).with("scope", "notes.write").send(&stage.client());
    more.refused(400, "invalid_scope");
    exchange(&agent, &token, &child.id)
        .with("scope", "notes.*")
        .send(&stage.client())
        .refused(400, "invalid_scope");
    let own = agent.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &token);
    let own = own.with("subject_token_type", ACCESS_TOKEN).with("scope", "notes.*").send(&stage.client());
    own.refused(400, "invalid_scope");
    let fresh_child = stage.child(&stage.agent(), &token);
    assert_eq!(fresh_child.at("/scope"), "orders.*");
    // Never wider again, and the same once more changes nothing.
    for wider in [
        json!({"scope": ["orders.*", "notes.*"]}),
        json!({"tools": ["*"]}),
        json!({"resources": ["order://**"]}),
    ] {
        narrow(&stage.pat.token, &root, &wider).refused(400, "request_invalid");
    }
    narrow(&stage.pat.token, &root, &json!({"scope": ["orders.*"]})).expect(200);
    narrow(&stage.pat.token, &root, &json!({"scope": []})).expect(200);
    stage.story.act(&below, "orders.read", &order("1")).refused(403, "not_granted");
    // Recorded each time that it changed something.
    let mine = |entry: &&Value| entry["type"] == "grant.narrowed" && entry["agent"] == json!(agent.id);
    let entries = || stage.story.record().iter().filter(mine).count();
    until("both are in the log", || (entries() >= 2).then_some(()));
    assert_eq!(entries(), 2);
    // What is over is not narrowed.
    stage.admin().post(&format!("/v1/grants/{root}/revoke")).send().expect(200);
    narrow(&stage.pat.token, &root, &json!({"scope": []})).refused(409, "conflict");
}

#[test]
fn who_may_narrow() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let given = stage.given(&parent, "orders.* notes.*");
    let token = given.text("/access_token");
    let below = stage.child(&child, &token);
    let (above, below_id) = (given.text("/grant_id"), below.text("/grant_id"));
    let left = json!({"scope": ["orders.*"]});
    narrow(&below.text("/access_token"), &above, &left).refused(404, "not_found");
    narrow(&stage.pat.token, &above, &left).refused(404, "not_found");
    narrow(&stage.auditor.token, &above, &left).refused(403, "not_permitted");
    narrow(&token, &below_id, &left).expect(200);
    narrow(&token, &above, &left).expect(200);
    narrow(stage.story.server.admin_token(), &above, &json!({"tools": ["orders.read"]})).expect(200);
    for wrong in [json!({}), json!({"reason": "x"}), json!({"scope": "orders.*"}), json!({"audience": []})] {
        narrow(&token, &above, &wrong).refused(400, "request_invalid");
    }
    // A registration is narrowed like any grant: for everything that its agent ever gets.
    let root = read(&token).1["grant"]["root"].as_str().unwrap().to_owned();
    narrow(&stage.ada(), &root, &json!({"tools": ["orders.read"], "scope": ["orders.read"]})).expect(200);
    let asked = parent.ask().with("scope", "orders.list").send(&stage.client());
    assert!(why(&asked.refused(400, "invalid_scope")).contains("orders.list"));
    assert_eq!(stage.introspect(&token).at("/scope"), "orders.read");
}

/// Whoever got hold of a token must not be able to end what the agent holds beside it.
#[test]
fn a_token_ends_no_more_than_it_stands_for() {
    let stage = stage();
    let agent = stage.agent();
    stage.story.rules(&agent.handle, ALL).expect(201);
    let task = || {
        let asked = agent.ask().with("task_id", &fresh("t-")).with("scope", "orders.read");
        asked.send(&stage.client()).expect(200)
    };
    let (own, other) = (task(), task());
    let bearer = own.text("/access_token");
    let post = |path: String| stage.client().with(&bearer).post(&path).send();
    let root = read(&bearer).1["grant"]["root"].as_str().unwrap().to_owned();
    for grant in [&root, &other.text("/grant_id")] {
        post(format!("/v1/grants/{grant}/revoke")).refused(403, "not_permitted");
        narrow(&bearer, grant, &json!({"scope": []})).refused(403, "not_permitted");
    }
    for end in ["complete", "revoke"] {
        post(format!("/v1/tasks/{}/{end}", other.text("/task_id"))).refused(403, "not_permitted");
    }
    stage.story.act(&other.text("/access_token"), "orders.read", &order("1")).expect(200);
    post(format!("/v1/grants/{}/revoke", own.text("/grant_id"))).expect(200);
    stage.story.act(&bearer, "orders.read", &order("1")).refused(401, "token_revoked");
}
