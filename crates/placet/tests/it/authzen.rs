//! AuthZEN's decision door: the standard's certification fixture and its examples, who may ask about whom, and what is
//! charged.

use crate::parties::{read, stage};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_testkit::{Agent, Answer, Client, fresh, until};
use serde_json::{Value, json};

/// A registered resource server.
struct Server {
    id: String,
    secret: String,
    audience: String,
}

fn registered() -> Server {
    let audience = format!("https://{}.example/v1", fresh("az-"));
    let body = json!({"name": fresh("az-"), "audience": audience});
    let made = stage().admin().post("/v1/resource-servers").json(&body).send().expect(201);
    Server { id: made.text("/client_id"), secret: made.text("/client_secret"), audience }
}

impl Server {
    fn post(&self, path: &str, body: &Value) -> Answer {
        stage().client().post(path).basic(&self.id, &self.secret).json(body).send()
    }

    fn evaluate(&self, body: &Value) -> Answer {
        self.post("/access/v1/evaluation", body).expect(200)
    }

    fn token_of(&self, agent: &Agent, scope: &str) -> String {
        let asked = agent.ask().with("scope", scope).with("resource", &self.audience);
        asked.send(&stage().client()).expect(200).text("/access_token")
    }
}

fn evaluate(client: &Client, body: &Value) -> Answer {
    client.post("/access/v1/evaluation").json(body).send()
}

/// An agent for actions on records.
fn clerk(role: &str, rules: &str) -> Agent {
    let agent = stage().story.agent(&fresh("clerk-"));
    let agent = agent
        .with("allowed_tools", json!(["read", "write", "delete"]))
        .with("resource_access", json!(["record://**"]))
        .with("labels", json!({"role": role}))
        .register();
    stage().story.rules(&agent.handle, rules).expect(201);
    agent
}

/// What the certification's fixture says, as rules.
const FIXTURE: &str = r#"  - {name: read, allow: [read], on: ["record://record-1", "record://record-2"]}
  - {name: write, allow: [write], when: [context.resource.status == "active", agent.labels.role == "user"]}
  - {name: write archived, allow: [write], when: [context.resource.status == "archived", agent.labels.role == "admin"]}
  - {name: delete, allow: [delete], when: params.soft == true}
"#;

#[test]
fn the_certification_fixture() {
    let (alice, bob) = (clerk("user", FIXTURE), clerk("admin", FIXTURE));
    let ask = |who: &Agent, action: Value, record: &str, status: &str| {
        json!({"subject": {"type": "agent", "id": who.handle}, "action": action,
            "resource": {"type": "record", "id": record, "properties": {"status": status}}})
    };
    let named = |name: &str| json!({"name": name});
    let delete = |soft: bool| json!({"name": "delete", "properties": {"soft": soft}});
    let fixture = [
        (ask(&alice, named("read"), "record-1", "active"), true),
        (ask(&alice, named("write"), "record-1", "active"), true),
        (ask(&bob, named("read"), "record-1", "active"), true),
        (ask(&bob, named("write"), "record-1", "active"), false),
        (ask(&alice, named("write"), "record-2", "archived"), false),
        (ask(&bob, named("write"), "record-2", "archived"), true),
        (ask(&alice, delete(true), "record-1", "active"), true),
        (ask(&alice, delete(false), "record-1", "active"), false),
    ];
    let (admin, server) = (stage().admin(), registered());
    for (body, decision) in &fixture {
        let mut with_context = body.clone();
        with_context["context"] = json!({"time": "2024-10-26T01:22-07:00"});
        for body in [body, &with_context] {
            assert_eq!(evaluate(&admin, body).expect(200).at("/decision"), decision, "{body}");
            // The same again is the same: a name alone charges nothing.
            assert_eq!(server.evaluate(body).at("/decision"), decision, "{body}");
            assert_eq!(server.evaluate(body).at("/decision"), decision, "{body}");
        }
    }
    let entries: Vec<&Value> = fixture.iter().map(|(body, _)| body).collect();
    let all = admin.post("/access/v1/evaluations").json(&json!({"evaluations": entries})).send().expect(200);
    let said: Vec<bool> =
        all.at("/evaluations").as_array().unwrap().iter().map(|one| one["decision"] == true).collect();
    assert_eq!(said, fixture.iter().map(|(_, decision)| *decision).collect::<Vec<_>>());
    assert!(all.body.get("decision").is_none());
    searches(&admin, &alice, &bob);
    searches_of(&server, &alice);
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.at("/results").as_array().unwrap().clone()
}

/// Every page of a search, with a small limit.
fn pages(post: &dyn Fn(&Value) -> Answer, search: &Value, limit: u32) -> Vec<Value> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let mut body = search.clone();
        body["page"] = json!({"token": token, "limit": limit});
        let answer = post(&body).expect(200);
        let page = results(&answer);
        assert!(page.len() <= limit as usize);
        assert_eq!(answer.at("/page/count"), page.len());
        found.extend(page);
        token = answer.text("/page/next_token");
        if token.is_empty() {
            return found;
        }
    }
}

fn searches(admin: &Client, alice: &Agent, bob: &Agent) {
    let post = |path: &str, body: &Value| admin.post(path).json(body).send();
    let who = json!({"subject": {"type": "agent"}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "record-1"}});
    let subjects = pages(&|body| post("/access/v1/search/subject", body), &who, 7);
    for agent in [alice, bob] {
        assert!(subjects.iter().any(|one| one["id"] == json!(agent.id) && one["type"] == "agent"));
    }
    let which = json!({"subject": {"type": "agent", "id": alice.id}, "action": {"name": "read"},
        "resource": {"type": "record", "id": "ignored"}});
    let found = pages(&|body| post("/access/v1/search/resource", body), &which, 1);
    assert_eq!(
        found,
        [json!({"type": "record", "id": "record-1"}), json!({"type": "record", "id": "record-2"})]
    );
    let what = json!({"subject": {"type": "agent", "id": alice.handle},
        "resource": {"type": "record", "id": "record-1", "properties": {"status": "active"}}});
    let actions = pages(&|body| post("/access/v1/search/action", body), &what, 3);
    assert_eq!(actions, [json!({"name": "read"}), json!({"name": "write"})]);
    // Whatever is found would be allowed.
    for one in subjects {
        let asked = json!({"subject": one, "action": {"name": "read"}, "resource": who["resource"]});
        assert_eq!(evaluate(admin, &asked).expect(200).at("/decision"), true, "{asked}");
    }
    // A token is of its own search; what there is not is found nowhere.
    let first = post("/access/v1/search/resource", &{
        let mut body = which.clone();
        body["page"] = json!({"limit": 1});
        body
    });
    let mut other = what;
    other["page"] = json!({"token": first.text("/page/next_token")});
    post("/access/v1/search/action", &other).refused(400, "request_invalid");
    for (path, body) in [
        (
            "subject",
            json!({"subject": {"type": "robot"}, "action": {"name": "read"}, "resource": {"type": "record", "id": "1"}}),
        ),
        (
            "resource",
            json!({"subject": {"type": "agent", "id": "nobody"}, "action": {"name": "read"}, "resource": {"type": "record"}}),
        ),
        (
            "resource",
            json!({"subject": {"type": "agent", "id": alice.id}, "action": {"name": "no such"}, "resource": {"type": "record"}}),
        ),
        (
            "action",
            json!({"subject": {"type": "robot", "id": "1"}, "resource": {"type": "record", "id": "1"}}),
        ),
    ] {
        let found = post(&format!("/access/v1/search/{path}"), &body).expect(200);
        assert_eq!((results(&found).len(), found.text("/page/next_token")), (0, String::new()), "{body}");
    }
    for (path, body) in [
        ("subject", json!({"action": {"name": "read"}, "resource": {"type": "record", "id": "1"}})),
        (
            "subject",
            json!({"subject": {"type": "agent"}, "action": {"name": "read"}, "resource": {"type": "record"}}),
        ),
        ("resource", json!({"subject": {"type": "agent", "id": "x"}, "resource": {"type": "record"}})),
        ("action", json!({"subject": {"type": "agent"}, "resource": {"type": "record", "id": "1"}})),
    ] {
        post(&format!("/access/v1/search/{path}"), &body).refused(400, "request_invalid");
    }
}

/// A resource server finds the same by name, and by token.
fn searches_of(server: &Server, alice: &Agent) {
    let token = server.token_of(alice, "read write delete");
    for properties in [json!({}), json!({"token": token})] {
        let subject = json!({"type": "agent", "id": alice.id, "properties": properties});
        let body = json!({"subject": subject, "action": {"name": "read"}, "resource": {"type": "record"}});
        assert_eq!(results(&server.post("/access/v1/search/resource", &body).expect(200)).len(), 2);
        let body = json!({"subject": subject, "resource": {"type": "record", "id": "record-1"}});
        let found = server.post("/access/v1/search/action", &body).expect(200);
        assert_eq!(results(&found), [json!({"name": "read"})]);
    }
}

#[test]
fn a_page_token_names_nothing_that_was_not_found() {
    let (server, hidden) = (registered(), fresh("hidden"));
    let rules = format!(
        "  - {{name: secret, allow: ['{hidden}.one', '{hidden}.two'], when: context.never == 1}}
  - {{name: read, allow: [read], on: ['record://{hidden}-1', 'record://{hidden}-2', 'record://open']}}
  - {{name: not, deny: [read], on: ['record://{hidden}-*']}}
"
    );
    let agent = clerk("user", &rules);
    let subject = json!({"type": "agent", "id": agent.id});
    let actions = json!({"subject": subject, "resource": {"type": "record", "id": "open"}});
    let resources = json!({"subject": subject, "action": {"name": "read"}, "resource": {"type": "record"}});
    for (kind, search, expected) in [
        ("action", actions, json!([{"name": "read"}])),
        ("resource", resources, json!([{"type": "record", "id": "open"}])),
    ] {
        let looked_at = std::cell::Cell::new(0);
        let post = |body: &Value| {
            let answer = server.post(&format!("/access/v1/search/{kind}"), body);
            assert!(!answer.body.to_string().contains(&hidden), "{:#}", answer.body);
            let token = answer.text("/page/next_token");
            let known = |one: char| one.is_ascii_hexdigit() || one == '.';
            assert!(token.chars().all(known), "{token}");
            looked_at.set(looked_at.get() + 1);
            answer
        };
        assert_eq!(pages(&post, &search, 1), *expected.as_array().unwrap());
        assert!(looked_at.get() >= 3, "what is hidden was not looked at");
    }
}

#[test]
fn a_page_token_of_subjects_names_no_agent() {
    let server = registered();
    let readers: Vec<Agent> = (0..3).map(|_| clerk("user", FIXTURE)).collect();
    // Last of all, and not among the results.
    let hidden = stage().story.agent(&fresh("hidden-")).register();
    let (search, seen) = (
        json!({"subject": {"type": "agent"}, "action": {"name": "read"}, "resource": {"type": "record", "id": "record-1"}}),
        std::cell::RefCell::new(Vec::new()),
    );
    let post = |body: &Value| {
        let answer = server.post("/access/v1/search/subject", body);
        let token = answer.text("/page/next_token");
        let mark = token.split_once('.').map(|(_, mark)| mark).unwrap_or_default();
        let bytes = URL_SAFE_NO_PAD.decode(mark).expect("a mark in base64url");
        for text in [token.as_bytes(), &bytes] {
            assert!(!String::from_utf8_lossy(text).contains("agt_"), "{token}");
        }
        seen.borrow_mut().push(token);
        answer
    };
    let found = pages(&post, &search, 2);
    assert!(!found.iter().any(|one| one["id"] == json!(hidden.id)));
    assert!(readers.iter().all(|agent| found.iter().any(|one| one["id"] == json!(agent.id))));
    let seen = seen.into_inner();
    let first = seen.first().filter(|token| !token.is_empty()).expect("several pages");
    // Of another search, and changed.
    let with = |token: &str, name: &str| {
        let mut body = search.clone();
        body["page"] = json!({"token": token});
        body["action"]["name"] = json!(name);
        server.post("/access/v1/search/subject", &body)
    };
    with(first, "read").expect(200);
    with(first, "write").refused(400, "request_invalid");
    let (seal, mark) = first.split_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(mark).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    with(&format!("{seal}.{}", URL_SAFE_NO_PAD.encode(bytes)), "read").refused(400, "request_invalid");
    with(&format!("{seal}.{}", hidden.id), "read").refused(400, "request_invalid");
}

#[test]
fn an_agent_asks_about_itself_and_learns_nothing_of_others() {
    let story = stage().story;
    let (agent, token) = story.ready(
        "  - {name: orders, allow: [orders.read], limits: [{count: 1, per: day}], when: context.vip != false}\n  - {name: notes, allow: [notes.write]}\n",
    );
    let (other, _) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let client = story.client().with(&token);
    let note = |subject: Value| {
        json!({"subject": subject, "action": {"name": "notes.write", "properties": {"customer_id": "1", "text": "x"}},
            "resource": {"type": "order", "id": "customer:1"}})
    };
    for own in [json!({"type": "agent", "id": agent.handle}), json!({"type": "agent", "id": agent.id})] {
        let said = evaluate(&client, &note(own)).expect(200);
        assert_eq!(said.at("/decision"), true);
        assert_eq!(said.at("/context/charged"), false);
    }
    for another in [&other.handle, &other.id, &fresh("nobody-")] {
        let body = note(json!({"type": "agent", "id": another}));
        evaluate(&client, &body).refused(403, "not_permitted");
        let many = json!({"evaluations": [body]});
        let many = client.post("/access/v1/evaluations").json(&many).send().expect(200);
        assert_eq!(many.at("/evaluations/0/decision"), false);
        assert_eq!(many.at("/evaluations/0/context/error/status"), 403);
        let search = json!({"subject": {"type": "agent", "id": another}, "resource": {"type": "order", "id": "customer:1"}});
        client.post("/access/v1/search/action").json(&search).send().refused(403, "not_permitted");
    }
    // A user that is not its own, and a token, which only resource servers present.
    evaluate(&client, &note(json!({"type": "user", "id": stage().pat.id}))).refused(403, "not_permitted");
    let who = json!({"subject": {"type": "agent"}, "action": note(json!(null))["action"],
        "resource": {"type": "order", "id": "customer:1"}});
    let found = client.post("/access/v1/search/subject").json(&who).send().expect(200);
    assert_eq!(results(&found).len(), 1);
    assert_eq!(found.at("/results/0/id"), &json!(agent.id));
    // Its own word about the context is not taken.
    let claimed = json!({"subject": {"type": "agent", "id": agent.id}, "context": {"vip": true},
        "action": {"name": "orders.read", "properties": {"customer_id": "1", "order_id": "2"}},
        "resource": {"type": "order", "id": "customer:1/2"}});
    let said = evaluate(&client, &claimed).expect(200);
    assert_eq!(said.at("/decision"), false);
    assert_eq!(said.at("/context/reasons/0/code"), "condition_unknown");
    assert!(said.at("/context/reasons/0").get("expression").is_none());
    let id = agent.id.clone();
    let advice = || {
        story
            .record()
            .into_iter()
            .filter(|entry| entry["type"] == "decision.advice" && entry["agent"] == json!(id))
            .count()
    };
    until("questions in the record", || (advice() >= 4).then_some(()));
}

#[test]
fn a_token_that_a_resource_server_was_shown_is_charged() {
    let (stage, server) = (stage(), registered());
    let agent = clerk(
        "user",
        "  - {name: one, allow: [read], limits: [{count: 1, per: day}]}\n  - {name: free, allow: [write]}\n",
    );
    let token = server.token_of(&agent, "read write");
    let ask = |action: &str, properties: Value| {
        json!({"subject": {"type": "agent", "id": agent.id, "properties": properties}, "action": {"name": action},
            "resource": {"type": "record", "id": "1"}})
    };
    // By name alone it is told what would be; what would have to be charged is no yes.
    let named = server.evaluate(&ask("read", json!({})));
    assert_eq!(
        (named.at("/decision"), named.at("/context/reasons/0/code")),
        (&json!(false), &json!("not_permitted"))
    );
    let named = server.evaluate(&ask("write", json!({})));
    assert_eq!((named.at("/decision"), named.at("/context/charged")), (&json!(true), &json!(false)));
    let first = server.evaluate(&ask("read", json!({"token": token})));
    assert_eq!((first.at("/decision"), first.at("/context/charged")), (&json!(true), &json!(true)));
    let second = server.evaluate(&ask("read", json!({"token": token})));
    assert_eq!(
        (second.at("/decision"), second.at("/context/reasons/0/code")),
        (&json!(false), &json!("limit_exceeded"))
    );
    let outcome = format!("/v1/decisions/{}/outcome", first.text("/context/id"));
    assert_eq!(server.post(&outcome, &json!({"happened": "no"})).expect(200).at("/charged"), false);
    assert_eq!(server.evaluate(&ask("read", json!({"token": token}))).at("/decision"), true);
    // Somebody else's token is nobody's word for this subject; one for another audience is no token.
    let other = clerk("user", "  - {name: all, allow: ['**']}\n");
    let wrong = server.evaluate(&ask("write", json!({"token": server.token_of(&other, "write")})));
    assert_eq!(wrong.at("/decision"), false);
    let wrong = server.evaluate(&ask("write", json!({"token": agent.token(&stage.client(), "write")})));
    assert_eq!(
        (wrong.at("/decision"), wrong.at("/context/reasons/0/code")),
        (&json!(false), &json!("token_invalid"))
    );
    for nobody in [
        json!({"type": "agent", "id": "nobody"}),
        json!({"type": "robot", "id": "1"}),
        json!({"type": "user", "id": "pat"}),
    ] {
        let mut body = ask("write", json!({}));
        body["subject"] = nobody;
        assert_eq!(server.evaluate(&body).at("/decision"), false, "{body}");
    }
    stage.admin().post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
    for properties in [json!({}), json!({"token": token})] {
        let gone = server.evaluate(&ask("write", properties));
        assert_eq!(
            (gone.at("/decision"), gone.at("/context/reasons/0/code")),
            (&json!(false), &json!("agent_inactive"))
        );
    }
}

#[test]
fn what_an_answer_may_have_is_told_with_the_yes() {
    let server = registered();
    let agent = clerk(
        "user",
        "  - {name: some, allow: [read], shape: {redact: [\"$.card\"]}, limits: [{count: 9, per: day}]}\n",
    );
    let properties = json!({"token": server.token_of(&agent, "read")});
    let said = server
        .evaluate(&json!({"subject": {"type": "agent", "id": agent.id, "properties": properties},
        "action": {"name": "read"}, "resource": {"type": "record", "id": "1"}}));
    assert_eq!((said.at("/decision"), said.at("/context/charged")), (&json!(true), &json!(true)));
    assert_eq!(said.at("/context/shape/0/redact"), &json!(["$.card"]));
    let obligation = said.at("/context/obligations/0");
    assert_eq!((&obligation["type"], &obligation["id"]), (&json!("custom"), &json!("shape-1")));
    assert_eq!((&obligation["action"], &obligation["redact"]), (&json!("shape"), &json!(["$.card"])));
    // Whoever can't do that is told no, before anything is charged; by token, by name, and in searches.
    for properties in [properties, json!({})] {
        let ask = |known: Value| {
            server.evaluate(&json!({"subject": {"type": "agent", "id": agent.id, "properties": properties},
                "action": {"name": "read"}, "resource": {"type": "record", "id": "1"},
                "context": {"supported_obligations": known}}))
        };
        for _ in 0..10 {
            let no = ask(json!(["step-up", "notification"]));
            assert_eq!(
                (no.at("/decision"), no.at("/context/reasons/0/code")),
                (&json!(false), &json!("forbidden"))
            );
        }
        assert_eq!(ask(json!("custom")).at("/context/error/status"), 400);
    }
    let free =
        clerk("user", "  - {name: some, allow: [read], on: ['record://1'], shape: {redact: [\"$.card\"]}}\n");
    for (known, found) in [(json!(["custom"]), 1), (json!([]), 0)] {
        let search = json!({"subject": {"type": "agent", "id": free.id}, "action": {"name": "read"},
            "resource": {"type": "record"}, "context": {"supported_obligations": known}});
        assert_eq!(results(&server.post("/access/v1/search/resource", &search).expect(200)).len(), found);
    }
}

#[test]
fn what_is_held_can_be_requested_and_evaluated_again() {
    let (stage, server, other) = (stage(), registered(), registered());
    let agent = clerk("user", "  - {name: ask, allow: [write], approve: {by: [\"role:support-lead\"]}}\n");
    let token = server.token_of(&agent, "write");
    let about = |n: u32, context: Value| {
        json!({"subject": {"type": "agent", "id": agent.id, "properties": {"token": token}},
            "action": {"name": "write", "properties": {"n": n}}, "resource": {"type": "record", "id": "1"}, "context": context})
    };
    let held = server.evaluate(&about(1, json!({})));
    assert_eq!(held.at("/context/reason"), "approval_required");
    assert!(held.at("/context/evaluation_id").is_string());
    let requestable = held.at("/context/access_request").clone();
    let endpoint = requestable["endpoint"].as_str().unwrap().strip_prefix(stage.story.server.base()).unwrap();
    let request = |n: u32, change: &dyn Fn(&mut Value)| {
        let mut body = about(n, json!({"business_justification": "it is needed"}));
        body["denial"] =
            json!({"binding_token": requestable["binding_token"], "expires_at": requestable["expires_at"]});
        change(&mut body);
        body
    };
    let keep = |_: &mut Value| {};
    let refused = |answer: Answer, status: u16, kind: &str| {
        let kind = format!("urn:openid:authzen:access-request:error:{kind}");
        assert_eq!((answer.status, answer.at("/type")), (status, &json!(kind)), "{:#}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    };
    // Bound to whom it was told, and to what it is about.
    refused(server.post(endpoint, &request(2, &keep)), 400, "invalid_denial_binding");
    refused(other.post(endpoint, &request(1, &keep)), 400, "invalid_denial_binding");
    let wrong: [&dyn Fn(&mut Value); 5] = [
        &|body| body["resource"]["id"] = json!("2"),
        &|body| body["subject"]["id"] = json!(agent.handle),
        &|body| body["denial"]["expires_at"] = json!("2099-01-01T00:00:00Z"),
        &|body| body["denial"]["binding_token"] = json!("apr_1.00"),
        &|body| _ = body.as_object_mut().unwrap().remove("denial"),
    ];
    for change in wrong {
        refused(server.post(endpoint, &request(1, change)), 400, "invalid_denial_binding");
    }
    server.post(endpoint, &request(1, &|body| body["items"] = json!([]))).refused(400, "request_invalid");
    stage.admin().post(endpoint).json(&request(1, &keep)).send().refused(403, "not_permitted");
    let task = server.post(endpoint, &request(1, &keep)).expect(202);
    assert_eq!(task.at("/task/status"), "pending");
    assert_eq!(task.header("location"), Some(task.text("/task/status_endpoint").as_str()));
    let place = task.text("/task/status_endpoint");
    let place = place.strip_prefix(stage.story.server.base()).unwrap();
    let status = |server: &Server| stage.client().get(place).basic(&server.id, &server.secret).send();
    assert_eq!(status(&server).expect(200).at("/task/status"), "pending");
    assert!(status(&server).body.get("result").is_none());
    refused(status(&other), 404, "unknown_task");
    refused(
        stage.client().get(&format!("{endpoint}/nonsense")).basic(&server.id, &server.secret).send(),
        404,
        "unknown_task",
    );
    assert_eq!(stage.client().get(place).send().status, 401);
    // Before people have answered it is worth coming back.
    let id = task.text("/task/id");
    let early = server.evaluate(&about(1, json!({"approval": {"id": id}})));
    assert_eq!((early.at("/decision"), early.at("/context/next_action")), (&json!(false), &json!("retry")));
    let yes = json!({"verdict": "approve"});
    stage.story.approver().post(&format!("/v1/approvals/{id}")).json(&yes).send().expect(200);
    let done = status(&server).expect(200);
    assert_eq!(
        (done.at("/task/status"), done.at("/result/mode")),
        (&json!("approved"), &json!("reevaluate"))
    );
    let approval = done.at("/result/approval").clone();
    assert!(approval["approved_until"].is_string());
    // The id is no bearer of anything: for anything else, and a second time, it is a no that says what to do.
    let told = |answer: &Answer| {
        let context = answer.at("/context");
        (answer.at("/decision").clone(), context["next_action"].clone(), context["reason"].clone())
    };
    let no = |reason: &str| (json!(false), json!("none"), json!(reason));
    assert_eq!(told(&server.evaluate(&about(2, json!({"approval": approval})))), no("approval_unverifiable"));
    assert_eq!(server.evaluate(&about(1, json!({"approval": approval}))).at("/decision"), true);
    assert_eq!(told(&server.evaluate(&about(1, json!({"approval": approval})))), no("approval_expired"));
    assert_eq!(status(&server).expect(200).at("/task/status"), "approved");
    // In a batch it is the same; what is not held is not requestable.
    let batch = json!({"evaluations": [about(3, json!({})), {"action": {"name": "read"}}]});
    let batch = server.post("/access/v1/evaluations", &batch).expect(200);
    assert!(batch.at("/evaluations/0/context/access_request/binding_token").is_string(), "{:#}", batch.body);
    assert!(batch.at("/evaluations/1/context").get("access_request").is_none());
    let denied = batch.text("/evaluations/0/context/approval/id");
    let no = json!({"verdict": "deny"});
    stage.story.approver().post(&format!("/v1/approvals/{denied}")).json(&no).send().expect(200);
    let denied = stage.client().get(&format!("{endpoint}/{denied}")).basic(&server.id, &server.secret).send();
    assert_eq!(denied.expect(200).at("/task/status"), "denied");
}

#[test]
fn what_is_held_is_false_until_somebody_approves() {
    let (stage, server) = (stage(), registered());
    let agent = clerk("user", "  - {name: ask, allow: [write], approve: {by: [\"role:support-lead\"]}}\n");
    let token = server.token_of(&agent, "write");
    let ask = |approval: Option<&str>| {
        let context =
            approval.map_or_else(|| json!({"desk": 7}), |id| json!({"desk": 7, "approval": {"id": id}}));
        server.evaluate(&json!({"subject": {"type": "agent", "id": agent.id, "properties": {"token": token}},
            "action": {"name": "write", "properties": {"n": 1}}, "resource": {"type": "record", "id": "1"}, "context": context}))
    };
    let held = ask(None);
    assert_eq!((held.at("/decision"), held.at("/context/held")), (&json!(false), &json!(true)));
    let approval = held.text("/context/approval/id");
    assert_eq!(ask(None).text("/context/approval/id"), approval);
    assert_eq!(ask(Some(&approval)).at("/decision"), false);
    let yes = json!({"verdict": "approve"});
    stage.story.approver().post(&format!("/v1/approvals/{approval}")).json(&yes).send().expect(200);
    assert_eq!(ask(Some(&approval)).at("/decision"), true);
    let again = ask(Some(&approval));
    assert_eq!(
        (again.at("/decision"), again.at("/context/reasons/0/code")),
        (&json!(false), &json!("approval_used"))
    );
    assert_eq!(ask(Some("nonsense")).at("/context/error/status"), 400);
}

#[test]
fn semantics_say_when_no_more_is_evaluated() {
    let server = registered();
    let agent = clerk(
        "user",
        "  - {name: few, allow: [read], on: [\"record://yes/*\"], limits: [{count: 4, per: day}]}\n",
    );
    let token = server.token_of(&agent, "read");
    let ask = |semantic: &str, records: &[&str]| {
        let entries: Vec<Value> =
            records.iter().map(|id| json!({"resource": {"type": "record", "id": id}})).collect();
        let body = json!({"subject": {"type": "agent", "id": agent.id, "properties": {"token": token}},
            "action": {"name": "read"}, "evaluations": entries, "options": {"evaluations_semantic": semantic, "other": 1}});
        let answer = server.post("/access/v1/evaluations", &body).expect(200);
        answer
            .at("/evaluations")
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["decision"] == true)
            .collect::<Vec<_>>()
    };
    assert_eq!(ask("deny_on_first_deny", &["yes/1", "no/1", "yes/2"]), [true, false]);
    assert_eq!(ask("permit_on_first_permit", &["no/1", "yes/1", "yes/2"]), [false, true]);
    // What was not evaluated was not charged: two are left.
    assert_eq!(ask("execute_all", &["yes/1", "no/1", "yes/2", "yes/3"]), [true, false, true, false]);
    let body = json!({"evaluations": [{}], "options": {"evaluations_semantic": "whatever"}});
    server.post("/access/v1/evaluations", &body).refused(400, "request_invalid");
    // An entry overrides the defaults, and one that is no evaluation is false in its place.
    let body = json!({"subject": {"type": "agent", "id": agent.id}, "action": {"name": "read"},
        "evaluations": [{}, 7, {"resource": {"type": "record"}}, {"subject": {"type": "agent"}, "resource": {"type": "record", "id": "1"}}]});
    let answer = server.post("/access/v1/evaluations", &body).expect(200);
    for index in 0..4 {
        assert_eq!(answer.at(&format!("/evaluations/{index}/decision")), false);
        assert_eq!(answer.at(&format!("/evaluations/{index}/context/error/status")), 400);
    }
    // Without entries it is a single evaluation.
    for entries in [json!([]), json!(null)] {
        let mut body = json!({"subject": {"type": "agent", "id": agent.id}, "action": {"name": "read"},
            "resource": {"type": "record", "id": "no/1"}});
        body["evaluations"] = entries;
        let answer = server.post("/access/v1/evaluations", &body).expect(200);
        assert_eq!(answer.at("/decision"), false);
        assert!(answer.body.get("evaluations").is_none());
    }
    let many: Vec<Value> = vec![json!({}); 101];
    server.post("/access/v1/evaluations", &json!({"evaluations": many})).refused(400, "request_invalid");
}

#[test]
fn the_transport_is_as_the_standard_has_it() {
    let (stage, path) = (stage(), "/access/v1/evaluation");
    let agent = clerk("user", FIXTURE);
    let admin = stage.admin();
    let good = json!({"subject": {"type": "agent", "id": agent.id, "unknown": 1}, "action": {"name": "read", "x": {}},
        "resource": {"type": "record", "id": "record-1"}, "unknown": [1]});
    let id = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716";
    let said = admin.post(path).header("x-request-id", id).json(&good).send().expect(200);
    assert_eq!((said.at("/decision"), said.header("x-request-id")), (&json!(true), Some(id)));
    assert!(said.header("content-type").unwrap().starts_with("application/json"));
    assert_eq!(evaluate(&admin, &good).header("x-request-id"), None);
    let kind = "application/json; charset=utf-8";
    assert_eq!(admin.post(path).body(kind, good.to_string()).send().expect(200).at("/decision"), true);
    // Errors are about the call, and carry its identifier too.
    let refused = |answer: Answer, status: u16| {
        assert_eq!((answer.status, answer.header("x-request-id")), (status, Some(id)), "{:#}", answer.body);
    };
    let ask = |client: &Client| client.post(path).header("x-request-id", id);
    refused(ask(&admin).body("text/plain", good.to_string()).send(), 415);
    for broken in
        ["", "{", "[]", "7", "{\"subject\": 1}", "{}", "{\"subject\": {\"type\": \"agent\", \"id\": \"x\"}}"]
    {
        refused(ask(&admin).body("application/json", broken).send(), 400);
    }
    for part in [
        "/subject",
        "/action",
        "/resource",
        "/subject/id",
        "/subject/type",
        "/action/name",
        "/resource/id",
        "/resource/type",
    ] {
        let mut body = good.clone();
        let (above, name) = part.rsplit_once('/').unwrap();
        body.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name);
        refused(ask(&admin).json(&body).send(), 400);
    }
    let nobody = ask(&stage.client()).json(&good).send();
    assert!(nobody.header("www-authenticate").is_some());
    refused(nobody, 401);
    refused(ask(&stage.client().with("x.y.z")).json(&good).send(), 401);
    refused(ask(&stage.client().with(&stage.pat.token)).json(&good).send(), 403);
    refused(admin.get(path).header("x-request-id", id).send(), 405);
    // What is no resource or action here is denied, not an error.
    for (pointer, value) in [
        ("/resource/id", "a\\b"),
        ("/resource/id", "order://1"),
        ("/action/name", "no such action"),
        ("/resource/type", "1 2"),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = json!(value);
        assert_eq!(evaluate(&admin, &body).expect(200).at("/decision"), false, "{body}");
    }
    // On behalf of a user, as an administrator states it.
    let user = json!({"type": "user", "id": stage.pat.id, "properties": {"agent": agent.handle}});
    let mut body = good.clone();
    body["subject"] = user;
    assert_eq!(evaluate(&admin, &body).expect(200).at("/decision"), true);
}

#[test]
fn the_configuration_names_what_is_there() {
    let base = stage().story.server.base();
    let said = stage().client().get("/.well-known/authzen-configuration").send().expect(200);
    assert_eq!(said.at("/policy_decision_point"), &json!(base));
    for (member, value) in said.body.as_object().unwrap() {
        let Some(text) = value.as_str() else { continue };
        if let Some(path) = text.strip_prefix(base).filter(|path| !path.is_empty()) {
            // There, and for those who say who they are.
            assert_eq!(stage().client().post(path).json(&json!({})).send().status, 401, "{member}");
        }
    }
    let signed = said.text("/signed_metadata");
    let (header, claims) = read(&signed);
    assert_eq!(header["typ"], "authzen-configuration+jwt");
    assert_eq!(claims["iss"], json!(base));
    assert!(claims["iat"].is_number() && claims.get("signed_metadata").is_none());
    for (member, value) in said.body.as_object().unwrap() {
        assert!(member == "signed_metadata" || claims[member] == *value, "{member}");
    }
    stage().client().get("/.well-known/authzen-configuration/tenant").send().refused(404, "not_found");
}
