//! Introspection: who may ask about which token, and what is told.

use crate::parties::{introspect, stage};
use placet_testkit::Client;
use serde_json::{Value, json};

fn inactive() -> Value {
    json!({"active": false})
}

#[test]
fn a_client_knows_its_own_and_what_hangs_below() {
    let stage = stage();
    let (top, middle, leaf, other) = (stage.agent(), stage.agent(), stage.agent(), stage.agent());
    let a = stage.given(&top, "orders.*").text("/access_token");
    let b = stage.child(&middle, &a).text("/access_token");
    let c = stage.child(&leaf, &b).text("/access_token");
    let d = stage.given(&other, "orders.*").text("/access_token");
    let tokens = [&a, &b, &c, &d];
    let table = [
        (&top, [true, true, true, false]),
        (&middle, [false, true, true, false]),
        (&leaf, [false, false, true, false]),
        (&other, [false, false, false, true]),
    ];
    for (number, (agent, expected)) in table.iter().enumerate() {
        for (token, expected) in tokens.iter().zip(expected) {
            let form = [("token", token.as_str()), ("include_task_history", "true")];
            let basic = stage.client().post("/oauth/introspect").basic(&agent.id, &agent.secret).form(&form);
            let posted = [form[0], form[1], ("client_id", &agent.id), ("client_secret", &agent.secret)];
            let posted = stage.client().post("/oauth/introspect").form(&posted);
            let bearer = stage.client().with(tokens[number]).post("/oauth/introspect").form(&form);
            for answer in [basic.send(), posted.send(), bearer.send()] {
                let answer = answer.expect(200);
                assert_eq!(answer.at("/active"), &json!(expected));
                // What is not told has no other member either.
                assert!(*expected || answer.body == inactive(), "{}", answer.body);
                assert_eq!(answer.header("cache-control"), Some("no-store"));
            }
        }
    }
    // Administrators and auditors know all, other people nothing.
    let known = |caller: &Client| tokens.map(|token| introspect(caller, token).at("/active") == &json!(true));
    for caller in [stage.admin(), stage.admin_token(), stage.client().with(&stage.auditor.token)] {
        assert_eq!(known(&caller), [true; 4]);
    }
    for person in [&stage.pat.token, &stage.story.lee] {
        assert_eq!(known(&stage.client().with(person)), [false; 4]);
        assert_eq!(introspect(&stage.client().with(person), &a).body, inactive());
    }
}

#[test]
fn without_authentication_nothing_is_told() {
    let stage = stage();
    let agent = stage.agent();
    let token = stage.given(&agent, "orders.read").text("/access_token");
    let form: &[_] = &[("token", token.as_str())];
    let post = || stage.client().post("/oauth/introspect");
    let refused = post().form(form).send().refused(401, "invalid_client");
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"placet\""));
    post().basic(&agent.id, "wrong").form(form).send().refused(401, "invalid_client");
    for bearer in ["x", "plt_admin_x", "plt_session_x"] {
        let refused = post().bearer(bearer).form(form).send().refused(401, "invalid_token");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer") && challenge.contains("invalid_token"), "{challenge}");
    }
    // Two ways at once are none.
    let both = [form[0], ("client_id", &agent.id), ("client_secret", &agent.secret)];
    post().bearer(&token).form(&both).send().refused(400, "invalid_request");
    post().basic(&agent.id, &agent.secret).form(&both).send().refused(400, "invalid_request");
    // A token that is dead asks about nothing, its agent still does.
    stage.admin().post("/oauth/revoke").form(form).send().expect(200);
    post().bearer(&token).form(form).send().refused(401, "invalid_token");
    assert_eq!(post().basic(&agent.id, &agent.secret).form(form).send().expect(200).body, inactive());
    post().basic(&agent.id, &agent.secret).form(&[]).send().refused(400, "invalid_request");
}

#[test]
fn what_is_no_live_access_token_is_inactive_and_nothing_more() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let token = stage.given(&agent, "orders.read").text("/access_token");
    let delegation = stage.delegated(&agent, &token, &child, "orders.read");
    let cut: String = token.chars().take(token.len() - 8).collect();
    for text in
        ["x", "a.b.c", &cut, &delegation, &stage.ada(), stage.story.server.admin_token(), &agent.secret]
    {
        assert_eq!(introspect(&stage.admin(), text).body, inactive(), "{text}");
    }
    let form = [("token", "x"), ("include_task_history", "maybe")];
    stage.admin().post("/oauth/introspect").form(&form).send().refused(400, "invalid_request");
}

#[test]
fn it_says_what_the_token_says_and_what_is_so_now() {
    let stage = stage();
    let agent = stage.agent();
    let asked =
        agent.ask().with("scope", "orders.read").with("task_id", "t").with("task_description", "Look");
    let given = asked.send(&stage.client()).expect(200);
    let token = given.text("/access_token");
    let (_, claims) = crate::parties::read(&token);
    let known = stage.introspect(&token);
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "act", "grant"] {
        assert_eq!(known.at(&format!("/{name}")), &claims[name], "{name}");
    }
    assert_eq!(known.at("/token_type"), "Bearer");
    assert_eq!(known.at("/task"), &json!({"id": "t", "state": "active", "description": "Look"}));
    assert_eq!(known.at("/agent_name"), &json!(agent.handle));
    assert_eq!(known.at("/granted_tools"), given.at("/granted_tools"));
    assert!(known.body.get("username").is_none() && known.body.get("task_history").is_none());
    // RFC 7662 §2.1: the hint changes nothing.
    let form =
        [("token", token.as_str()), ("token_type_hint", "refresh_token"), ("include_task_history", "false")];
    let hinted = stage.admin().post("/oauth/introspect").form(&form).send().expect(200);
    assert_eq!(hinted.body, known.body);
}

#[test]
fn the_history_tells_the_task_its_parents_and_what_happened() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let asked = agent.ask().with("scope", "orders.* notes.*").with("task_id", "top");
    let top = asked.with("task_description", "Ticket").send(&stage.client()).expect(200);
    let token = top.text("/access_token");
    let less = agent.ask().with("task_id", "top").with("scope", "orders.*").send(&stage.client()).expect(200);
    let delegation = stage.delegated(&agent, &token, &child, "orders.read");
    let below = child.ask().with("parent_token", &delegation).with("task_id", "part").send(&stage.client());
    let below = below.expect(200).text("/access_token");
    let revoke = [("token", less.text("/access_token")), ("reason", "too wide".to_owned())];
    let revoke = revoke.each_ref().map(|(name, value)| (*name, value.as_str()));
    stage.admin_token().post("/oauth/revoke").form(&revoke).send().expect(200);
    let history = |token: &str| {
        let form = [("token", token), ("include_task_history", "true")];
        stage.admin().post("/oauth/introspect").form(&form).send().expect(200)
    };
    let known = history(&token);
    assert_eq!(known.at("/task_history/current_task/label"), "top");
    assert_eq!(known.at("/task_history/current_task/description"), "Ticket");
    assert_eq!(known.at("/task_history/current_task/state"), "active");
    assert_eq!(known.at("/task_history/parent_tasks"), &json!([]));
    assert_eq!(known.at("/task_history/actions"), &json!({}));
    let events = known.at("/task_history/events").as_array().unwrap();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["task.created", "grant.issued", "grant.narrowed", "grant.delegated", "grant.revoked"]);
    assert_eq!(events[1]["grant"], *top.at("/grant_id"));
    assert_eq!(events[2]["scope"], json!(["orders.*"]));
    assert_eq!(events[4]["grant"], *less.at("/grant_id"));
    assert_eq!((&events[4]["reason"], &events[4]["by"]), (&json!("too wide"), &json!("admin-token")));
    for part in ["execution_pattern", "risk_assessment"] {
        assert_eq!(known.at(&format!("/task_history/{part}")), &Value::Null);
        assert!(!known.text(&format!("/task_history/{part}_reason")).is_empty());
    }
    let known = history(&below);
    assert_eq!(known.at("/task_history/current_task/label"), "part");
    assert_eq!(known.at("/task_history/parent_tasks/0/label"), "top");
    assert_eq!(known.at("/task_history/parent_tasks").as_array().unwrap().len(), 1);
    assert_eq!(known.at("/task/parent"), "top");
}

#[test]
fn grants_are_shown_to_those_whose_they_are() {
    let stage = stage();
    let (top, middle, other) = (stage.agent(), stage.agent(), stage.agent());
    let made = stage.task(&stage.pat.token, &json!({"agent": top.id, "scope": ["orders.*"]})).expect(201);
    let a = top.ask().with("task_id", &made.text("/id")).send(&stage.client()).expect(200);
    let b = stage.child(&middle, &a.text("/access_token"));
    let foreign = stage.given(&other, "orders.*");
    let (top_sees, middle_sees) = (a.text("/access_token"), b.text("/access_token"));
    for (token, sees_a, sees_b) in [
        (&top_sees, true, true),
        (&middle_sees, false, true),
        (&foreign.text("/access_token"), false, false),
        (&stage.pat.token, true, true),
        (&stage.sam.token, false, false),
        (&stage.ada(), true, true),
        (&stage.auditor.token, true, true),
    ] {
        let client = stage.client().with(token);
        for (grant, sees) in [(a.text("/grant_id"), sees_a), (b.text("/grant_id"), sees_b)] {
            for path in [format!("/v1/grants/{grant}"), format!("/v1/grants/{grant}/lineage")] {
                let shown = client.get(&path).send();
                if sees {
                    assert_eq!(shown.expect(200).at("/id"), &json!(grant));
                } else {
                    shown.refused(404, "not_found");
                }
            }
            let listed = client.get(&format!("/v1/grants?task={}", made.text("/id"))).send().expect(200);
            let holds = |answer: &placet_testkit::Answer| {
                answer.at("/grants").as_array().unwrap().iter().any(|shown| shown["id"] == json!(grant))
            };
            let by_agent = client.get(&format!("/v1/grants?agent={}", middle.handle)).send().expect(200);
            let expected = sees && grant == a.text("/grant_id");
            assert_eq!(holds(&listed), expected);
            assert_eq!(holds(&by_agent), sees && grant == b.text("/grant_id"));
        }
    }
    // Pages go on where they stopped, and end.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page =
            stage.client().with(&top_sees).get(&format!("/v1/grants?limit=1{after}")).send().expect(200);
        seen.extend(page.at("/grants").as_array().unwrap().iter().map(|grant| grant["id"].clone()));
        match page.at("/next").as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
        assert!(seen.len() < 20, "it does not end");
    }
    let whole = stage.client().with(&top_sees).get("/v1/grants").send().expect(200);
    let whole: Vec<_> =
        whole.at("/grants").as_array().unwrap().iter().map(|grant| grant["id"].clone()).collect();
    assert_eq!(seen, whole);
    assert_eq!(whole.len(), 3, "its registration, its task, its child's");
    stage.client().with(&top_sees).get("/v1/grants?agents=x").send().refused(400, "request_invalid");
    stage.client().with(&top_sees).get("/v1/grants?limit=x").send().refused(400, "request_invalid");
    stage.admin().get("/v1/grants/gnt_00000000000000000000000000").send().refused(404, "not_found");
    stage.admin().get("/v1/grants/x").send().refused(404, "not_found");
}
