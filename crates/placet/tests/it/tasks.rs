//! Tasks: labels of agents, tasks that people make, and their end.

use crate::parties::{read, stage, why};
use placet_testkit::{Agent, Answer, fresh, together, until};
use serde_json::{Value, json};

fn ask(agent: &Agent, task: &str, scope: &str) -> Answer {
    agent.ask().with("task_id", task).with("scope", scope).send(&stage().client())
}

#[test]
fn a_label_names_one_task_and_the_same_again_is_the_same_grant() {
    let stage = stage();
    let agent = stage.agent();
    let first = ask(&agent, "t", "orders.read notes.write").expect(200);
    assert_eq!((first.at("/task_id"), first.at("/task_bound")), (&json!("t"), &json!(true)));
    let grant = first.text("/grant_id");
    // The same in any order, twice, or left out.
    for scope in ["orders.read notes.write", "notes.write orders.read", "orders.read notes.write orders.read"]
    {
        assert_eq!(ask(&agent, "t", scope).expect(200).text("/grant_id"), grant, "{scope}");
    }
    let bare = agent.ask().with("task_id", "t").send(&stage.client()).expect(200);
    assert_eq!((bare.text("/grant_id"), bare.at("/scope")), (grant.clone(), first.at("/scope")));
    // Less is a child grant of the same task.
    let less = ask(&agent, "t", "orders.read").expect(200);
    assert_ne!(less.text("/grant_id"), grant);
    assert!(less.body.get("scope_inheritance").is_none());
    let shown = stage.admin().get(&format!("/v1/grants/{}", less.text("/grant_id"))).send().expect(200);
    assert_eq!(shown.at("/parent"), &json!(grant));
    let fewer = agent.ask().with("task_id", "t").with("required_tools", "orders.read").send(&stage.client());
    assert_ne!(fewer.expect(200).text("/grant_id"), grant);
    // More is refused, though its registration would permit it.
    assert!(why(&ask(&agent, "t", "orders.list").refused(400, "invalid_scope")).contains("orders.list"));
    assert!(why(&ask(&agent, "t", "*").refused(400, "invalid_scope")).contains('*'));
    // A narrowing took nothing from what the task has.
    assert_eq!(ask(&agent, "t", "orders.read notes.write").expect(200).text("/grant_id"), grant);
    assert!(stage.is_active(&first.text("/access_token")));
    // A label is the agent's own.
    assert_ne!(ask(&stage.agent(), "t", "orders.read").expect(200).text("/grant_id"), grant);
}

#[test]
fn a_description_is_fixed_at_first_use() {
    let stage = stage();
    let agent = stage.agent();
    let ask = |task: &str, text: &str| {
        let asked = agent.ask().with("scope", "orders.read").with("task_id", task);
        asked.with("task_description", text).send(&stage.client())
    };
    ask("t", "Look up order 1").expect(200);
    ask("t", "Look up order 1").expect(200);
    agent.ask().with("task_id", "t").send(&stage.client()).expect(200);
    assert!(why(&ask("t", "Look up order 2").refused(400, "invalid_request")).contains("description"));
    // Also where the first use had none.
    agent.ask().with("scope", "orders.read").with("task_id", "u").send(&stage.client()).expect(200);
    ask("u", "Anything").refused(400, "invalid_request");
}

#[test]
fn labels_are_plain_and_ids_are_the_stores() {
    let stage = stage();
    let agent = stage.agent();
    let longest = "x".repeat(128);
    for label in ["a", "A-z_0.9~:", longest.as_str(), "TSK_x", "tsk"] {
        assert_eq!(ask(&agent, label, "orders.read").expect(200).at("/task_id"), label);
    }
    let long = "x".repeat(129);
    for label in
        [long.as_str(), "a b", "a/b", "ä", "a%20b", "tsk_", "tsk_mine", "tsk_00000000000000000000000000"]
    {
        let refused = ask(&agent, label, "orders.read").refused(400, "invalid_request");
        assert!(why(&refused).contains("task_id"));
    }
    // Without a label a task is made, and its id names it.
    let made = agent.ask().with("scope", "orders.read").send(&stage.client()).expect(200);
    let id = made.text("/task_id");
    assert!(id.starts_with("tsk_"));
    assert_eq!(ask(&agent, &id, "orders.read").expect(200).at("/grant_id"), made.at("/grant_id"));
    assert_eq!(ask(&agent, &id, "orders.read").expect(200).at("/task_id"), &json!(id));
    // A labelled task answers to both, and is called by its label.
    let labelled = ask(&agent, "both", "orders.read").expect(200);
    let path = format!("/v1/grants/{}", labelled.text("/grant_id"));
    let id = stage.admin().get(&path).send().expect(200).text("/task");
    let again = ask(&agent, &id, "orders.read").expect(200);
    assert_eq!(again.at("/grant_id"), labelled.at("/grant_id"));
    // Another agent's id is told like one that never was.
    let stolen = ask(&stage.agent(), &id, "orders.read").refused(400, "invalid_request");
    let never =
        ask(&stage.agent(), "tsk_00000000000000000000000000", "orders.read").refused(400, "invalid_request");
    assert_eq!(stolen.body, never.body);
}

#[test]
fn an_ended_label_stays_ended() {
    let stage = stage();
    let agent = stage.agent();
    for end in ["complete", "revoke"] {
        let given = ask(&agent, end, "orders.read").expect(200);
        let token = given.text("/access_token");
        let path = format!("/v1/tasks/{end}/{end}");
        let ended =
            stage.client().with(&token).post(&path).json(&json!({"reason": "done"})).send().expect(200);
        assert_eq!(ended.at("/state"), if end == "complete" { "completed" } else { "revoked" });
        assert_eq!(ended.at("/affected_tasks"), &json!([end]));
        assert_eq!(ended.at("/affected_grants"), &json!([given.at("/grant_id")]));
        assert!(!stage.is_active(&token));
        for scope in ["orders.read", "orders.list"] {
            let refused = ask(&agent, end, scope).refused(400, "invalid_grant");
            assert!(why(&refused).starts_with("task_ended"), "{}", why(&refused));
        }
        stage.client().with(&token).get("/v1/tasks").send().refused(401, "task_ended");
        // Ended once: what it says stays.
        let id = ended.text("/id");
        let again = stage.admin().post(&format!("/v1/tasks/{id}/revoke")).send().expect(200);
        assert_eq!((again.at("/state"), again.at("/affected_grants")), (ended.at("/state"), &json!([])));
    }
}

#[test]
fn the_same_label_at_once_is_one_task() {
    let stage = stage();
    let agent = stage.agent();
    let answers = together(8, |_| ask(&agent, "race", "orders.read").expect(200).text("/grant_id"));
    assert!(answers.iter().all(|grant| *grant == answers[0]), "{answers:?}");
}

#[test]
fn a_persons_task_is_claimed_by_its_agent_with_the_person_on_it() {
    let stage = stage();
    let agent = stage.agent();
    let label = fresh("claim-");
    let body = json!({"agent": agent.handle, "task_id": label, "description": "Find pat's order",
        "scope": ["orders.*"], "resources": ["order://customer:7/**"]});
    let made = stage.task(&stage.pat.token, &body).expect(201);
    assert_eq!((made.at("/user"), made.at("/agent")), (&json!(stage.pat.id), &json!(agent.id)));
    // Nobody else's agent can claim it, by label or id; the label is then simply its own.
    let other = stage.agent();
    ask(&other, &made.text("/id"), "orders.read").refused(400, "invalid_request");
    let own = ask(&other, &label, "orders.read").expect(200);
    assert_eq!(read(&own.text("/access_token")).1["sub"], json!(other.id));
    for name in [label.clone(), made.text("/id")] {
        let claimed = agent.ask().with("task_id", &name).send(&stage.client()).expect(200);
        assert_eq!(claimed.at("/grant_id"), made.at("/grant_id"));
        assert_eq!((claimed.at("/task_id"), claimed.at("/scope")), (&json!(label), &json!("orders.*")));
        assert_eq!(claimed.at("/granted_resources"), &json!(["order://customer:7/**"]));
        let token = claimed.text("/access_token");
        let claims = read(&token).1;
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(stage.pat.id), &json!(agent.id)));
        assert_eq!(claims["act"], json!({"sub": agent.id}));
        let known = stage.introspect(&token);
        assert_eq!((known.at("/sub"), known.at("/username")), (&json!(stage.pat.id), &json!(stage.pat.name)));
        assert_eq!(known.at("/task/description"), "Find pat's order");
    }
    // Less than the person gave is a child grant with the same person, more is refused.
    let less = ask(&agent, &label, "orders.read").expect(200);
    assert_eq!(read(&less.text("/access_token")).1["sub"], json!(stage.pat.id));
    ask(&agent, &label, "notes.write").refused(400, "invalid_scope");
    let more = agent.ask().with("task_id", &label).with("required_resources", "order://customer:8/**");
    more.send(&stage.client()).refused(400, "invalid_target");
    // A child acts for the same person.
    let child = stage.agent();
    let below = stage.child(&child, &less.text("/access_token")).text("/access_token");
    let claims = read(&below).1;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(stage.pat.id), &json!(child.id)));
}

#[test]
fn no_field_of_an_agent_sets_a_user() {
    let stage = stage();
    let agent = stage.agent();
    for name in ["user", "sub", "username", "on_behalf_of", "user_id", "subject"] {
        let asked = agent.ask().with("scope", "orders.read").with(name, &stage.pat.id);
        let token = asked.send(&stage.client()).expect(200).text("/access_token");
        assert_eq!(read(&token).1["sub"], json!(agent.id), "{name}");
    }
    let token = stage.given(&agent, "orders.read").text("/access_token");
    for user in [json!(stage.pat.name), Value::Null] {
        let body = json!({"agent": agent.id, "user": user, "scope": ["orders.read"]});
        stage.task(&token, &body).refused(403, "not_permitted");
    }
}

#[test]
fn a_user_comes_from_that_users_or_an_administrators_session_only() {
    let stage = stage();
    let agent = stage.agent();
    let body = |user: Value| json!({"agent": agent.id, "user": user, "scope": ["orders.read"]});
    let without = json!({"agent": agent.id, "scope": ["orders.read"]});
    // The administrator token is no user.
    let admin = stage.story.server.admin_token();
    for user in [&stage.pat.id, stage.pat.name] {
        stage.task(admin, &body(json!(user))).refused(403, "not_permitted");
    }
    assert_eq!(stage.task(admin, &without).expect(201).at("/user"), &Value::Null);
    assert_eq!(stage.task(admin, &body(Value::Null)).expect(201).at("/user"), &Value::Null);
    // A person is itself and nobody else.
    for name in [&stage.pat.id, stage.pat.name] {
        let made = stage.task(&stage.pat.token, &body(json!(name))).expect(201);
        assert_eq!(made.at("/user"), &json!(stage.pat.id));
    }
    for other in [json!(stage.sam.id), json!(stage.sam.name), Value::Null, json!("nobody")] {
        stage.task(&stage.pat.token, &body(other.clone())).refused(403, "not_permitted");
        stage.task(&stage.auditor.token, &body(other)).refused(403, "not_permitted");
    }
    // An administrator's session is anybody.
    for name in [&stage.sam.id, stage.sam.name] {
        assert_eq!(
            stage.task(&stage.ada(), &body(json!(name))).expect(201).at("/user"),
            &json!(stage.sam.id)
        );
    }
    stage.task(&stage.ada(), &body(json!("nobody"))).refused(400, "request_invalid");
    stage.task("", &without).refused(401, "token_invalid");
}

#[test]
fn what_a_person_asks_for_stays_within_the_agents_registration() {
    let stage = stage();
    let agent = stage.agent_for(&["orders.*"]);
    let make = |more: Value| {
        let mut body = json!({"agent": agent.id, "scope": ["orders.read"]});
        for (name, value) in more.as_object().unwrap() {
            body.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        stage.task(&stage.pat.token, &body)
    };
    let refused = |more: Value, named: &str| {
        let detail = make(more).refused(400, "request_invalid").text("/detail");
        assert!(detail.contains(named), "{detail}");
    };
    refused(json!({"scope": ["notes.write"]}), "notes.write");
    refused(json!({"tools": ["notes.write"]}), "notes.write");
    refused(json!({"resources": ["crm://**"]}), "crm://**");
    refused(json!({"connections": ["no-such-connection"]}), "no-such-connection");
    refused(json!({"agent": "nobody"}), "nobody");
    refused(json!({"agent": agent.id, "scope": []}), "scope");
    refused(json!({"scopes": ["orders.read"]}), "scopes");
    refused(json!({"expires": "2001-01-01T00:00:00Z"}), "expires");
    refused(json!({"expires": "soon"}), "");
    refused(json!({"task_id": "tsk_x"}), "task_id");
    refused(json!({"task_id": "a b"}), "task_id");
    refused(json!({"description": "x".repeat(2001)}), "description");
    // A label is used once for the same agent and user.
    make(json!({"task_id": "once"})).expect(201);
    make(json!({"task_id": "once"})).refused(409, "conflict");
    let body = json!({"agent": agent.id, "scope": ["orders.read"], "task_id": "once"});
    stage.task(&stage.sam.token, &body).expect(201);
    // Two people have the label now: the agent has to say which, by the id. By the label it would be its own.
    let own =
        agent.ask().with("task_id", "once").with("scope", "orders.list").send(&stage.client()).expect(200);
    assert_eq!(read(&own.text("/access_token")).1["sub"], json!(agent.id));
}

#[test]
fn a_task_ends_when_it_was_to_end() {
    let stage = stage();
    let agent = stage.agent();
    let now: placet_core::time::Timestamp = {
        let token = stage.given(&agent, "orders.read").text("/access_token");
        placet_core::time::Timestamp::from_seconds(read(&token).1["iat"].as_i64().unwrap())
    };
    let expires = now.plus(std::time::Duration::from_secs(3));
    let label = fresh("short-");
    let body = json!({"agent": agent.id, "task_id": label, "scope": ["orders.read"], "expires": expires});
    let made = stage.task(&stage.pat.token, &body).expect(201);
    let token = agent.ask().with("task_id", &label).send(&stage.client()).expect(200).text("/access_token");
    assert_eq!(read(&token).1["exp"], json!(expires.as_seconds()));
    let door = || stage.client().with(&token).get("/v1/grants").send();
    until("the task's end", || (door().status != 200).then_some(()));
    door().refused(401, "token_expired");
    assert!(!stage.is_active(&token));
    let path = format!("/v1/tasks/{}", made.text("/id"));
    assert_eq!(stage.admin().get(&path).send().expect(200).at("/state"), "expired");
    let refused = agent.ask().with("task_id", &label).send(&stage.client()).refused(400, "invalid_grant");
    assert!(why(&refused).starts_with("task_ended"));
}

#[test]
fn a_task_is_shown_and_ended_by_those_whose_it_is() {
    let stage = stage();
    let agent = stage.agent();
    let made = stage.task(&stage.pat.token, &json!({"agent": agent.id, "scope": ["orders.*"]})).expect(201);
    let id = made.text("/id");
    let own = agent.ask().with("task_id", &id).send(&stage.client()).expect(200).text("/access_token");
    let foreign = stage.given(&stage.agent(), "orders.read").text("/access_token");
    let path = format!("/v1/tasks/{id}");
    for token in [&stage.pat.token, &own, &stage.ada(), &stage.auditor.token] {
        assert_eq!(stage.client().with(token).get(&path).send().expect(200).at("/id"), &json!(id));
    }
    for token in [&stage.sam.token, &foreign] {
        stage.client().with(token).get(&path).send().refused(404, "not_found");
        stage.client().with(token).post(&format!("{path}/complete")).send().refused(404, "not_found");
        stage.client().with(token).post(&format!("{path}/revoke")).send().refused(404, "not_found");
    }
    stage
        .client()
        .with(&stage.auditor.token)
        .post(&format!("{path}/revoke"))
        .send()
        .refused(403, "not_permitted");
    let listed = |token: &str| {
        let all = stage.client().with(token).get("/v1/tasks?limit=500").send().expect(200);
        all.at("/tasks").as_array().unwrap().iter().any(|task| task["id"] == json!(id))
    };
    assert!(listed(&stage.pat.token) && listed(&own) && !listed(&stage.sam.token) && !listed(&foreign));
    // A child does not complete its parent's task.
    let child = stage.agent();
    let below = stage.child(&child, &own);
    let under = stage.client().with(&below.text("/access_token"));
    under.post(&format!("{path}/complete")).send().refused(404, "not_found");
    // The parent sees the child's and may revoke it, not complete it.
    let part = format!("/v1/tasks/{}", below.text("/task_id"));
    let above = stage.client().with(&own);
    above.get(&part).send().expect(200);
    above.post(&format!("{part}/complete")).send().refused(403, "not_permitted");
    assert_eq!(above.post(&format!("{part}/revoke")).send().expect(200).at("/state"), "revoked");
    assert!(!stage.is_active(&below.text("/access_token")) && stage.is_active(&own));
    let ended = stage.client().with(&stage.pat.token).post(&format!("{path}/revoke")).send().expect(200);
    assert_eq!(ended.at("/state"), "revoked");
    assert!(!stage.is_active(&own));
}

#[test]
fn the_limits_that_a_person_sets_hold_for_the_task_and_all_below_it() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    for one in [&agent, &child] {
        stage.story.rules(&one.handle, "  - {name: all, allow: [\"**\"]}\n").expect(201);
    }
    let body = json!({"agent": agent.id, "scope": ["orders.*"], "limits": [{"count": 3, "per": "day", "by": "task"}]});
    let made = stage.task(&stage.pat.token, &body).expect(201);
    let own = agent
        .ask()
        .with("task_id", &made.text("/id"))
        .send(&stage.client())
        .expect(200)
        .text("/access_token");
    let below = stage.child(&child, &own).text("/access_token");
    let order = json!({"customer_id": "1", "order_id": "1"});
    for token in [&own, &below, &below] {
        stage.story.act(token, "orders.read", &order).expect(200);
    }
    for token in [&own, &below] {
        let refused = stage.story.act(token, "orders.read", &order);
        assert_eq!((refused.status, refused.at("/reasons/0/code")), (403, &json!("limit_exceeded")));
    }
    // What it may without the person is not used up by that.
    let free = stage.given(&agent, "orders.read").text("/access_token");
    stage.story.act(&free, "orders.read", &order).expect(200);
    for wrong in [
        json!([{"count": -1, "per": "day"}]),
        json!([{"counts": 1, "per": "day"}]),
        json!([{"count": 1}]),
        json!({}),
    ] {
        let body = json!({"agent": agent.id, "scope": ["orders.*"], "limits": wrong});
        stage.task(&stage.pat.token, &body).refused(400, "request_invalid");
    }
}
