//! Children: what a parent hands on, with its token or with a delegation token, and how far that reaches.

use crate::parties::{exchange, introspect, read, stage, why};
use placet_testkit::{fresh, together};
use serde_json::{Value, json};

const ALL: &str = "  - {name: all, allow: [\"**\"]}\n";

#[test]
fn a_child_hangs_below_its_parent_and_says_so() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let asked = parent.ask().with("scope", "orders.*").with("task_id", "ticket-1");
    let above = asked.send(&stage.client()).expect(200);
    assert!(above.body.get("scope_inheritance").is_none() && above.body.get("parent_task_id").is_none());
    let token = above.text("/access_token");
    let ask = |named: &str| {
        let asked = child.ask().with("parent_token", &token).with("parent_task_id", named);
        asked.with("scope", "orders.read").with("task_id", "look").send(&stage.client())
    };
    let below = ask("ticket-1").expect(200);
    assert_eq!(below.at("/scope_inheritance"), "restricted");
    assert_eq!(below.at("/parent_task_id"), "ticket-1");
    assert_eq!(below.at("/task_id"), "look");
    assert_eq!(below.at("/scope"), "orders.read");
    // Echoed as sent, by label or by id; what is not its task is refused.
    let (_, claims) = read(&token);
    let known = stage.introspect(&token);
    assert_eq!(known.at("/task/id"), "ticket-1");
    let id = stage.admin().get(&format!("/v1/grants/{}", above.text("/grant_id"))).send().text("/task");
    assert_eq!(ask(&id).expect(200).at("/parent_task_id"), &json!(id));
    for wrong in ["ticket-2", "", "tsk_00000000000000000000000000", "Ticket-1"] {
        if wrong.is_empty() {
            assert_eq!(ask(wrong).expect(200).at("/parent_task_id"), "ticket-1");
        } else {
            assert!(why(&ask(wrong).refused(400, "invalid_request")).contains("parent_task_id"));
        }
    }
    let alone = child.ask().with("parent_task_id", "ticket-1").send(&stage.client());
    alone.refused(400, "invalid_request");

    let (_, below_claims) = read(&below.text("/access_token"));
    assert_eq!(below_claims["act"], json!({"sub": child.id, "act": {"sub": parent.id}}));
    assert_eq!(below_claims["task"], json!({"id": "look", "parent": "ticket-1"}));
    assert_eq!(below_claims["grant"]["depth"], 2);
    assert_eq!(below_claims["grant"]["root"], claims["grant"]["root"]);
    assert_eq!(below_claims["sub"], json!(child.id));
    let lineage =
        stage.admin().get(&format!("/v1/grants/{}/lineage", below.text("/grant_id"))).send().expect(200);
    let ids: Vec<_> =
        lineage.at("/ancestors").as_array().unwrap().iter().map(|grant| grant["id"].clone()).collect();
    assert_eq!(
        ids,
        [json!(below.at("/grant_id")), json!(above.at("/grant_id")), claims["grant"]["root"].clone()]
    );
}

#[test]
fn with_an_access_token_the_childs_grant_ends_with_it() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&parent, "orders.*").text("/access_token");
    let below =
        child.ask().with("parent_token", &token).with("task_id", "t").send(&stage.client()).expect(200);
    let exp = read(&token).1["exp"].as_i64().unwrap();
    assert!(read(&below.text("/access_token")).1["exp"].as_i64().unwrap() <= exp);
    let grant = stage.admin().get(&format!("/v1/grants/{}", below.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/origin"), "parent_token");
    let ends: Value = stage.introspect(&below.text("/access_token")).at("/exp").clone();
    assert!(ends.as_i64().unwrap() <= exp);
    let end = grant.text("/expires");
    let end: placet_core::time::Timestamp = serde_json::from_value(json!(end)).unwrap();
    assert_eq!(end.as_seconds(), exp);
    // A grandchild of it does not outlive it either.
    let next = stage.agent();
    let lower = stage.child(&next, &below.text("/access_token"));
    assert!(read(&lower.text("/access_token")).1["exp"].as_i64().unwrap() <= exp);
}

#[test]
fn a_child_exceeds_its_parent_in_no_dimension() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let details = r#"[{"type":"placet_action","actions":["orders.*"],"max":{"amount":50}}]"#;
    let asked =
        parent.ask().with("scope", "orders.*:order/customer:1").with("required_tools", "orders.* notes.*");
    let asked =
        asked.with("required_resources", "order://customer:1/**").with("authorization_details", details);
    let token = asked.send(&stage.client()).expect(200).text("/access_token");
    let ask = |name: &str, value: &str| {
        child.ask().with("parent_token", &token).with(name, value).send(&stage.client())
    };
    for (name, value, error, named) in [
        ("scope", "orders.*", "invalid_scope", "orders.*"),
        ("scope", "orders.read:order/customer:1 orders.read:order/customer:2", "invalid_scope", "customer:2"),
        ("scope", "refunds.create:order/customer:1", "invalid_scope", "refunds.create"),
        ("required_tools", "refunds.create", "invalid_scope", "refunds.create"),
        ("required_tools", "*", "invalid_scope", "*"),
        ("required_resources", "order://**", "invalid_target", "order://**"),
        ("required_resources", "order://customer:2/1", "invalid_target", "customer:2"),
        (
            "authorization_details",
            r#"[{"type":"placet_action","actions":["orders.read"],"max":{"amount":51}}]"#,
            "invalid_authorization_details",
            "entry 0",
        ),
        (
            "authorization_details",
            r#"[{"type":"placet_action","actions":["orders.read"]}]"#,
            "invalid_authorization_details",
            "entry 0",
        ),
        ("authorization_details", "[]", "invalid_authorization_details", ""),
        ("authorization_details", r#"[{"type":"other"}]"#, "invalid_authorization_details", "[0].type"),
    ] {
        let answer = ask(name, value).refused(400, error);
        assert!(why(&answer).contains(named), "{name} {value}: {}", why(&answer));
    }
    // Narrower in each is given, and what is left out is copied.
    let narrow = child.ask().with("parent_token", &token).with("scope", "orders.read:order/customer:1/7");
    let narrow =
        narrow.with("required_tools", "orders.read").with("required_resources", "order://customer:1/7");
    let smaller = r#"[{"type":"placet_action","actions":["orders.read"],"max":{"amount":"#;
    let narrow = narrow.with("authorization_details", &format!("{smaller}49.5}}}}]"));
    let given = narrow.send(&stage.client()).expect(200);
    assert_eq!(given.at("/granted_tools"), &json!(["orders.read"]));
    assert_eq!(given.at("/granted_resources"), &json!(["order://customer:1/7"]));
    assert_eq!(given.at("/authorization_details/0/max/amount").to_string(), "49.5");
    let copied = stage.child(&child, &token);
    assert_eq!(copied.at("/scope"), "orders.*:order/customer:1");
    assert_eq!(copied.at("/granted_tools"), &json!(["orders.*", "notes.*"]));
    assert_eq!(copied.at("/granted_resources"), &json!(["order://customer:1/**"]));
    assert_eq!(copied.at("/authorization_details/0/max"), &json!({"amount": 50}));
}

#[test]
fn a_childs_own_registration_bounds_it_too() {
    let stage = stage();
    let parent = stage.agent();
    let token = stage.given(&parent, "orders.* notes.*").text("/access_token");
    let narrow = stage
        .story
        .agent(&fresh("narrow-"))
        .with("allowed_tools", json!(["orders.read", "refunds.*"]))
        .with("resource_access", json!(["order://customer:1/**", "crm://**"]))
        .register();
    stage.story.rules(&narrow.handle, ALL).expect(201);
    stage.story.rules(&parent.handle, ALL).expect(201);
    let ask = |name: &str, value: &str| {
        narrow.ask().with("parent_token", &token).with(name, value).send(&stage.client())
    };
    assert!(why(&ask("scope", "orders.list").refused(400, "invalid_scope")).contains("orders.list"));
    assert!(why(&ask("required_tools", "notes.write").refused(400, "invalid_scope")).contains("notes.write"));
    let target = ask("required_resources", "order://customer:2/1").refused(400, "invalid_target");
    assert!(why(&target).contains("customer:2"));
    // Its own reach is not its parent's.
    ask("scope", "refunds.create").refused(400, "invalid_scope");
    ask("required_resources", "crm://x").refused(400, "invalid_target");
    // What is left out is as much of the parent's as its registration permits.
    let given = stage.child(&narrow, &token);
    assert_eq!(given.at("/scope"), "orders.read");
    assert_eq!(given.at("/granted_resources"), &json!(["order://customer:1/**"]));
    let token = given.text("/access_token");
    let order = |customer: &str| json!({"customer_id": customer, "order_id": "1"});
    stage.story.act(&token, "orders.read", &order("1")).expect(200);
    stage.story.act(&token, "orders.read", &order("2")).refused(403, "not_granted");
    // A level of its own, too: single actions are refused, patterns judged per action.
    let low = stage.story.agent(&fresh("low-")).with("max_scope_level", json!("restricted"));
    let low = low.with("allowed_tools", json!(["orders.*", "notes.*"])).register();
    stage.story.rules(&low.handle, ALL).expect(201);
    let above = stage.given(&parent, "orders.* notes.*").text("/access_token");
    let asked = low.ask().with("parent_token", &above).with("scope", "notes.write");
    assert!(why(&asked.send(&stage.client()).refused(400, "invalid_scope")).contains("notes.write"));
    let token = stage.child(&low, &above).text("/access_token");
    let note = json!({"customer_id": "1", "text": "x"});
    stage.story.act(&token, "notes.write", &note).refused(403, "not_granted");
    stage.story.act(&token, "orders.read", &order("1")).expect(200);
}

#[test]
fn a_lineage_is_at_most_eight_deep() {
    let stage = stage();
    let agents: Vec<_> = (0..3).map(|_| stage.agent()).collect();
    let mut token = stage.given(&agents[0], "orders.*").text("/access_token");
    for depth in 2..=8 {
        let given = stage.child(&agents[depth % 3], &token);
        token = given.text("/access_token");
        assert_eq!(read(&token).1["grant"]["depth"], json!(depth));
    }
    assert!(stage.is_active(&token));
    let deeper =
        agents[0].ask().with("parent_token", &token).send(&stage.client()).refused(400, "invalid_grant");
    assert!(why(&deeper).contains("8"), "{}", why(&deeper));
    exchange(&agents[2], &token, &agents[0].id).send(&stage.client()).refused(400, "invalid_grant");
}

#[test]
fn a_delegation_token_works_once_for_one_child_at_one_place() {
    let stage = stage();
    let (parent, child, other) = (stage.agent(), stage.agent(), stage.agent());
    for agent in [&parent, &child] {
        stage.story.rules(&agent.handle, ALL).expect(201);
    }
    let token = stage.given(&parent, "orders.*").text("/access_token");
    let answer = exchange(&parent, &token, &child.handle).with("scope", "orders.read").send(&stage.client());
    let answer = answer.expect(200);
    assert_eq!(answer.at("/issued_token_type"), "urn:placet:params:oauth:token-type:delegation");
    assert_eq!(answer.at("/token_type"), "N_A");
    assert_eq!(answer.at("/scope"), "orders.read");
    let delegation = answer.text("/access_token");
    let (header, claims) = read(&delegation);
    assert_eq!(header["typ"], "placet-delegation+jwt");
    assert_eq!((&claims["child"], &claims["sub"]), (&json!(child.id), &json!(parent.id)));
    // No bearer anywhere, not even for those who are named on it.
    let bearer = stage.client().with(&delegation);
    bearer.get("/v1/grants").send().refused(401, "token_invalid");
    let order = json!({"customer_id": "1", "order_id": "1"});
    stage.story.act(&delegation, "orders.read", &order).refused(401, "token_invalid");
    bearer.post("/v1/decisions").json(&json!({"action": "orders.read"})).send().refused(401, "token_invalid");
    bearer.post("/oauth/introspect").form(&[("token", &token)]).send().refused(401, "invalid_token");
    assert_eq!(introspect(&stage.admin(), &delegation).body, json!({"active": false}));
    exchange(&parent, &delegation, &child.id).send(&stage.client()).refused(400, "invalid_request");
    // Not for another agent, nor for the one that made it; and that does not use it up.
    for wrong in [&other, &parent] {
        let asked = wrong.ask().with("parent_token", &delegation).send(&stage.client());
        asked.refused(400, "invalid_grant");
    }
    // Nor does a request that asks too much.
    let asked =
        child.ask().with("parent_token", &delegation).with("scope", "orders.list").send(&stage.client());
    asked.refused(400, "invalid_scope");
    let given = stage.child(&child, &delegation);
    assert_eq!(given.at("/scope"), "orders.read");
    assert_eq!(given.at("/scope_inheritance"), "restricted");
    stage.story.act(&given.text("/access_token"), "orders.read", &order).expect(200);
    let again =
        child.ask().with("parent_token", &delegation).send(&stage.client()).refused(400, "invalid_grant");
    assert!(why(&again).contains("used before"));
    // The child's grant does not end with the parent's access token: that one was not handed over.
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/origin"), "delegation");
    let end: placet_core::time::Timestamp = serde_json::from_value(grant.at("/expires").clone()).unwrap();
    assert!(end.as_seconds() > read(&token).1["exp"].as_i64().unwrap());
}

#[test]
fn of_many_that_spend_a_delegation_token_at_once_one_does() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&parent, "orders.*").text("/access_token");
    let delegation = stage.delegated(&parent, &token, &child, "orders.read");
    let answers = together(8, |_| child.ask().with("parent_token", &delegation).send(&stage.client()));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(400, "invalid_grant");
    }
}

#[test]
fn an_exchange_of_any_other_form_is_refused() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&parent, "orders.read").text("/access_token");
    let with = |name: &str, value: &str| {
        exchange(&parent, &token, &child.id).with(name, value).send(&stage.client())
    };
    with("requested_token_type", "urn:ietf:params:oauth:token-type:id_token").refused(400, "invalid_request");
    // For an access token `audience` is who it will be shown to, and the child is none.
    with("requested_token_type", crate::parties::ACCESS_TOKEN).refused(400, "invalid_target");
    with("requested_token_type", "").refused(400, "invalid_target");
    with("subject_token_type", "urn:ietf:params:oauth:token-type:jwt").refused(400, "invalid_request");
    with("subject_token", "nonsense").refused(400, "invalid_request");
    with("subject_token", &stage.ada()).refused(400, "invalid_request");
    with("actor_token", &token).refused(400, "invalid_request");
    with("resource", "https://example.org").refused(400, "invalid_target");
    with("audience", "").refused(400, "invalid_request");
    with("audience", "nobody-of-that-name").refused(400, "invalid_target");
    with("audience", "agt_00000000000000000000000000").refused(400, "invalid_target");
    let inactive = stage.story.agent(&fresh("new-")).send().expect(201).text("/client_id");
    with("audience", &inactive).refused(400, "invalid_target");
    assert!(why(&with("scope", "orders.list").refused(400, "invalid_scope")).contains("orders.list"));
    with("required_tools", "mail.send").refused(400, "invalid_scope");
    with("required_resources", "crm://x").refused(400, "invalid_target");
    // Another agent's token is nobody's to delegate, whoever it is delegated to.
    let stolen = exchange(&child, &token, &child.id).send(&stage.client());
    assert!(why(&stolen.refused(400, "invalid_request")).contains("another agent"));
    // A single action above the level is refused here as anywhere.
    let low = stage.story.agent(&fresh("low-")).with("max_scope_level", json!("restricted")).register();
    let own = stage.given(&low, "orders.*").text("/access_token");
    let above = exchange(&low, &own, &child.id).with("scope", "orders.delete").send(&stage.client());
    assert!(why(&above.refused(400, "invalid_scope")).contains("orders.delete"));
    // Without any of it the exchange is fine.
    exchange(&parent, &token, &child.id).send(&stage.client()).expect(200);
}

#[test]
fn nothing_is_derived_from_what_is_dead() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&parent, "orders.*").text("/access_token");
    let before = stage.child(&child, &token).text("/access_token");
    let delegation = stage.delegated(&parent, &token, &child, "orders.read");
    stage.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    for parent_token in [&token, &before, &delegation] {
        let asked = child.ask().with("parent_token", parent_token).send(&stage.client());
        let answer = asked.refused(400, "invalid_grant");
        assert!(why(&answer).contains("revoked"), "{}", why(&answer));
    }
    exchange(&parent, &token, &child.id).send(&stage.client()).refused(400, "invalid_request");
    exchange(&child, &before, &parent.id).send(&stage.client()).refused(400, "invalid_request");
    // Nor from what is no parent.
    for nonsense in ["x", &stage.ada(), stage.story.server.admin_token()] {
        child.ask().with("parent_token", nonsense).send(&stage.client()).refused(400, "invalid_grant");
    }
}

#[test]
fn every_agent_of_the_chain_is_asked() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    stage.story.rules(&child.handle, ALL).expect(201);
    let only_one = "  - {name: own, allow: [orders.read], when: [\"params.customer_id == '1'\"]}\n";
    stage.story.rules(&parent.handle, only_one).expect(201);
    let token = stage.given(&parent, "orders.*").text("/access_token");
    let below = stage.child(&child, &token).text("/access_token");
    let order = |customer: &str| json!({"customer_id": customer, "order_id": "1"});
    stage.story.act(&below, "orders.read", &order("1")).expect(200);
    let refused = stage.story.act(&below, "orders.read", &order("2"));
    assert_eq!(refused.status, 403, "{}", refused.body);
    // On its own it may.
    let own = stage.given(&child, "orders.read").text("/access_token");
    stage.story.act(&own, "orders.read", &order("2")).expect(200);
}

#[test]
fn a_task_of_the_child_stays_below_the_task_that_it_began_in() {
    let stage = stage();
    let (one, two, child) = (stage.agent(), stage.agent(), stage.agent());
    let first = stage.given(&one, "orders.*").text("/access_token");
    let second = stage.given(&two, "orders.*").text("/access_token");
    let ask = |parent: &str, task: &str| {
        child.ask().with("parent_token", parent).with("task_id", task).send(&stage.client())
    };
    let given = ask(&first, "look").expect(200);
    assert_eq!(ask(&first, "look").expect(200).at("/grant_id"), given.at("/grant_id"));
    // Under another parent it would be another task.
    assert!(why(&ask(&second, "look").refused(400, "invalid_request")).contains("task_id"));
    // A person's task with a person's words does not move below an agent's authority, by id or label.
    let body = json!({"agent": child.id, "task_id": "help", "description": "Help pat", "user": null,
        "scope": ["orders.read"]});
    let task = stage.task(&stage.ada(), &body).expect(201);
    ask(&second, "help").refused(400, "invalid_request");
    ask(&second, &task.text("/id")).refused(400, "invalid_request");
    child.ask().with("task_id", "help").send(&stage.client()).expect(200);
}
