//! People: who makes users, how they sign in and out, and that no agent ever is one.

use crate::parties::stage;
use crate::stage::PLACET;
use placet_testkit::{Client, Server, fresh, together, until};
use serde_json::{Value, json};

fn make(caller: &Client, name: &str, roles: &[&str]) -> placet_testkit::Answer {
    let body = json!({"name": name, "password": "long enough, kept in no file", "roles": roles});
    caller.post("/v1/users").json(&body).send()
}

#[test]
fn the_administrator_token_makes_users_until_there_is_an_administrator() {
    let server = Server::start(PLACET);
    let admin = server.admin();
    make(&admin, "lee", &["support-lead"]).expect(201);
    make(&admin, "kim", &[]).expect(201);
    // Of several that make the first administrator at once, one does.
    let answers = together(4, |number| make(&admin, &format!("ada{number}"), &["administrator"]));
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1);
    for answer in refused {
        answer.refused(403, "not_permitted");
    }
    make(&admin, "late", &[]).refused(403, "not_permitted");
    let users = admin.get("/v1/users").send().expect(200);
    assert_eq!(users.at("/users").as_array().unwrap().len(), 3);
    assert!(!users.body.to_string().contains("argon2"));
    // The administrator goes on.
    let body = json!({"name": made[0].text("/name"), "password": "long enough, kept in no file"});
    let session = server.client().post("/v1/sessions").json(&body).send().expect(201).text("/token");
    make(&server.client().with(&session), "late", &[]).expect(201);
    // The record says which users the token made.
    let by_token = until("the users in the record", || {
        let record = admin.get("/v1/record?limit=500").send().expect(200);
        let entries = record.at("/entries").as_array().unwrap();
        let made: Vec<Value> =
            entries.iter().filter(|entry| entry["type"] == "user.created").cloned().collect();
        (made.len() == 4).then_some(made)
    });
    let by: Vec<&str> = by_token.iter().filter_map(|entry| entry["by"].as_str()).collect();
    assert_eq!(by.iter().filter(|by| **by == "admin-token").count(), 3, "{by_token:?}");
}

#[test]
fn a_user_that_can_not_be_made_is_refused_by_name() {
    let stage = stage();
    let refused = |body: Value, status, code: &str, named: &str| {
        let answer = stage.admin().post("/v1/users").json(&body).send().refused(status, code);
        assert!(answer.text("/detail").contains(named), "{}", answer.text("/detail"));
    };
    let good = "long enough, kept in no file";
    refused(json!({"name": "pat", "password": good}), 409, "conflict", "pat");
    refused(json!({"name": fresh("u"), "password": "short"}), 400, "request_invalid", "password");
    refused(json!({"name": fresh("u"), "password": ""}), 400, "request_invalid", "password");
    refused(json!({"name": fresh("u"), "password": "x".repeat(100_000)}), 400, "request_invalid", "password");
    refused(json!({"name": fresh("u")}), 400, "request_invalid", "password");
    refused(json!({"name": "", "password": good}), 400, "request_invalid", "name");
    refused(json!({"name": "a b", "password": good}), 400, "request_invalid", "name");
    refused(json!({"name": fresh("u"), "password": good, "roles": ["a:b"]}), 400, "request_invalid", "roles");
    refused(json!({"name": fresh("u"), "password": good, "admin": true}), 400, "request_invalid", "admin");
    // Of two with one name at once, one is made.
    let name = fresh("twin");
    let made = together(2, |_| make(&stage.admin(), &name, &[]).status);
    assert!(made.contains(&201) && made.contains(&409), "{made:?}");
    let text = stage.admin().post("/v1/users").json(&json!({"name": 1, "password": good})).send();
    text.refused(400, "request_invalid");
}

#[test]
fn only_administrators_make_and_list_users() {
    let stage = stage();
    let agent = stage.given(&stage.agent(), "orders.read").text("/access_token");
    for token in [&agent, &stage.pat.token, &stage.auditor.token, &stage.story.lee] {
        make(&stage.client().with(token), &fresh("u"), &["administrator"]).refused(403, "not_permitted");
        stage.client().with(token).get("/v1/users").send().refused(403, "not_permitted");
    }
    make(&stage.client(), &fresh("u"), &[]).refused(401, "token_invalid");
    // There is an administrator here, so the token makes none.
    make(&stage.admin_token(), &fresh("u"), &[]).refused(403, "not_permitted");
}

#[test]
fn signing_in_wants_the_right_password_and_says_no_more() {
    let stage = stage();
    let sign_in = |name: &str, password: &str| {
        stage.client().post("/v1/sessions").json(&json!({"name": name, "password": password})).send()
    };
    let wrong = sign_in("pat", "wrong password, long enough").refused(401, "token_invalid");
    let unknown = sign_in("no-such-person", "wrong password, long enough").refused(401, "token_invalid");
    assert_eq!(wrong.body, unknown.body);
    sign_in("pat", "").refused(401, "token_invalid");
    sign_in("Pat", &placet_testkit::password("pat")).refused(401, "token_invalid");
    let totp = json!({"name": "pat", "password": placet_testkit::password("pat"), "totp": "123456"});
    stage.client().post("/v1/sessions").json(&totp).send().refused(400, "request_invalid");
    let session = sign_in("pat", &placet_testkit::password("pat")).expect(201);
    assert!(session.text("/id").starts_with("ses_") && session.text("/token").starts_with("plt_session_"));
    assert_eq!(session.header("cache-control"), Some("no-store"));
    assert!(session.headers.get("set-cookie").is_none());
}

#[test]
fn a_session_ends_for_good_and_only_by_those_whose_it_is() {
    let stage = stage();
    let sign_in = || {
        let body = json!({"name": "sam", "password": placet_testkit::password("sam")});
        stage.client().post("/v1/sessions").json(&body).send().expect(201)
    };
    let (one, two) = (sign_in(), sign_in());
    let path = format!("/v1/sessions/{}", one.text("/id"));
    let uses = |session: &placet_testkit::Answer| {
        stage.client().with(&session.text("/token")).get("/v1/tasks").send().status
    };
    assert_eq!((uses(&one), uses(&two)), (200, 200));
    let agent = stage.given(&stage.agent(), "orders.read").text("/access_token");
    for other in [&stage.pat.token, &stage.auditor.token, &agent] {
        stage.client().with(other).delete(&path).send().refused(404, "not_found");
    }
    stage.client().delete(&path).send().refused(401, "token_invalid");
    assert_eq!(uses(&one), 200);
    // By itself, by another session of the same person, by an administrator.
    assert_eq!(stage.client().with(&one.text("/token")).delete(&path).send().status, 204);
    assert_eq!((uses(&one), uses(&two)), (401, 200));
    assert_eq!(stage.client().with(&two.text("/token")).delete(&path).send().status, 204);
    stage.client().with(&one.text("/token")).get("/v1/tasks").send().refused(401, "token_invalid");
    let path = format!("/v1/sessions/{}", two.text("/id"));
    assert_eq!(stage.admin().delete(&path).send().status, 204);
    assert_eq!(uses(&two), 401);
    stage.admin().delete("/v1/sessions/ses_00000000000000000000000000").send().refused(404, "not_found");
    stage.admin().delete("/v1/sessions/x").send().refused(404, "not_found");
    // The others of this process are untouched.
    stage.client().with(&stage.sam.token).get("/v1/tasks").send().expect(200);
}

#[test]
fn an_agent_never_becomes_a_user_nor_a_user_an_agent() {
    let stage = stage();
    let agent = stage.agent();
    let token = stage.given(&agent, "orders.read").text("/access_token");
    for (name, password) in [(&agent.id, &agent.secret), (&agent.handle, &agent.secret), (&agent.id, &token)]
    {
        let body = json!({"name": name, "password": password});
        stage.client().post("/v1/sessions").json(&body).send().refused(401, "token_invalid");
        stage.client().with(&token).post("/v1/sessions").json(&body).send().refused(401, "token_invalid");
    }
    // A password is no client secret.
    for (name, secret) in [("pat", placet_testkit::password("pat")), (&stage.pat.id, stage.pat.token.clone())]
    {
        let form = [("grant_type", "client_credentials")];
        let answer = stage.client().post("/oauth/token").basic(name, &secret).form(&form).send();
        answer.refused(401, "invalid_client");
    }
    // A session is no agent: it acts through nothing, and hands nothing on.
    let order = json!({"customer_id": "1", "order_id": "1"});
    for session in [&stage.pat.token, &stage.ada(), stage.story.server.admin_token()] {
        stage.story.act(session, "orders.read", &order).refused(401, "token_invalid");
    }
}

#[test]
fn neither_the_administrator_token_nor_an_agent_decides_an_approval() {
    let stage = stage();
    let rules = "  - {name: asks, allow: [orders.read], approve: {by: [\"role:support-lead\"]}}\n";
    let (_, token) = stage.story.ready(rules);
    let order = json!({"customer_id": "1", "order_id": "1"});
    let held = stage.story.act(&token, "orders.read", &order).expect(202);
    let path = format!("/v1/approvals/{}", held.text("/approval/id"));
    let verdict = json!({"verdict": "approve"});
    stage.admin_token().post(&path).json(&verdict).send().refused(403, "not_permitted");
    stage.client().with(&token).post(&path).json(&verdict).send().refused(403, "not_permitted");
    for other in [&stage.pat.token, &stage.auditor.token] {
        let status = stage.client().with(other).post(&path).json(&verdict).send().status;
        assert!([403, 404].contains(&status), "{status}");
    }
    stage.story.approver().post(&path).json(&verdict).send().expect(200);
}
