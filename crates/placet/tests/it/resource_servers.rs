//! Resource servers: tokens for their audience, introspection, and decisions that are charged.

use crate::parties::{read, stage, why};
use placet_testkit::{Agent, Answer, Story, fresh, together, until};
use serde_json::{Value, json};

/// A registered resource server.
struct Server {
    id: String,
    secret: String,
    audience: String,
}

fn registered() -> Server {
    let (name, audience) = (fresh("api-"), format!("https://{}.example/v1", fresh("api-")));
    let made =
        stage().admin().post("/v1/resource-servers").json(&json!({"name": name, "audience": audience}));
    let made = made.send().expect(201);
    Server { id: made.text("/client_id"), secret: made.text("/client_secret"), audience }
}

impl Server {
    fn ask(&self, body: &Value) -> Answer {
        stage().client().post("/v1/decisions").basic(&self.id, &self.secret).json(body).send()
    }

    fn refund(&self, token: &str, amount: i64) -> Answer {
        self.ask(&question(token, amount)).expect(200)
    }

    fn outcome(&self, id: &str, body: &Value) -> Answer {
        let path = format!("/v1/decisions/{id}/outcome");
        stage().client().post(&path).basic(&self.id, &self.secret).json(body).send()
    }

    fn introspect(&self, token: &str) -> Answer {
        let request = stage().client().post("/oauth/introspect").basic(&self.id, &self.secret);
        request.form(&[("token", token)]).send().expect(200)
    }
}

fn question(token: &str, amount: i64) -> Value {
    json!({"token": token, "action": "refunds.create", "resource": "order://customer:1/7",
        "params": {"customer_id": "1", "order_id": "7", "amount": amount}})
}

fn story() -> &'static Story {
    stage().story
}

/// An agent with these rules, and its token for a resource server.
fn agent_at(server: &Server, rules: &str) -> (Agent, String) {
    let agent = story().agent(&fresh("bot-")).register();
    story().rules(&agent.handle, rules).expect(201);
    let asked = agent.ask().with("scope", "orders.* notes.* refunds.*").with("resource", &server.audience);
    let token = asked.send(&stage().client()).expect(200).text("/access_token");
    (agent, token)
}

#[test]
fn administrators_register_them() {
    let stage = stage();
    let (name, audience) = (fresh("api-"), format!("https://{}.example", fresh("a-")));
    let body = json!({"name": name, "audience": audience, "auth": {"type": "client_secret"}});
    let made = stage.admin().post("/v1/resource-servers").json(&body).send().expect(201);
    assert!(made.text("/id").starts_with("rsv_") && made.text("/client_secret").starts_with("prs_"));
    stage.admin().post("/v1/resource-servers").json(&body).send().refused(409, "conflict");
    let same = json!({"name": fresh("api-"), "audience": audience});
    stage.admin().post("/v1/resource-servers").json(&same).send().refused(409, "conflict");
    let own = json!({"name": fresh("api-"), "audience": story().server.base()});
    stage.admin().post("/v1/resource-servers").json(&own).send().refused(409, "conflict");
    for (member, wrong) in [
        ("name", "a b"),
        ("name", ""),
        ("name", "rsv_x"),
        ("audience", "api"),
        ("audience", "https://a.example/#x"),
        ("audience", ""),
    ] {
        let mut body = json!({"name": fresh("api-"), "audience": "https://b.example"});
        body[member] = json!(wrong);
        stage.admin().post("/v1/resource-servers").json(&body).send().refused(400, "request_invalid");
    }
    let path = format!("/v1/resource-servers/{}", made.text("/id"));
    let shown = stage.admin_token().get(&path).send().expect(200);
    assert_eq!(shown.at("/audience"), &json!(audience));
    assert!(shown.body.get("client_secret").is_none());
    for caller in [stage.client().with(&stage.pat.token), stage.client().with(&stage.auditor.token)] {
        caller.get(&path).send().refused(403, "not_permitted");
        caller.post("/v1/resource-servers").json(&body).send().refused(403, "not_permitted");
        caller.delete(&path).send().refused(403, "not_permitted");
        caller.post(&format!("{path}/secret")).send().refused(403, "not_permitted");
    }
    let listed = stage.admin().get("/v1/resource-servers?limit=1000").send().expect(200);
    assert!(listed.at("/resource_servers").as_array().unwrap().iter().any(|one| one["name"] == json!(name)));
    // A new secret ends the one before; ended, it is nobody, and its name and audience are free.
    let (id, old) = (made.text("/id"), made.text("/client_secret"));
    let introspect = |secret: &str| {
        stage.client().post("/oauth/introspect").basic(&id, secret).form(&[("token", "x")]).send()
    };
    introspect(&old).expect(200);
    let new = stage.admin().post(&format!("{path}/secret")).send().expect(200).text("/client_secret");
    introspect(&old).refused(401, "invalid_client");
    introspect(&new).expect(200);
    stage.admin().delete(&path).send().expect(204);
    introspect(&new).refused(401, "invalid_client");
    stage.admin().delete(&path).send().refused(404, "not_found");
    stage.admin().post("/v1/resource-servers").json(&body).send().expect(201);
    for known in ["resource_server.added", "resource_server.changed", "resource_server.ended"] {
        until(known, || story().record().iter().any(|entry| entry["type"] == known).then_some(()));
    }
}

#[test]
fn a_token_is_for_whom_it_was_asked_for() {
    let stage = stage();
    let (server, other) = (registered(), registered());
    let agent = stage.agent();
    let ask = |resources: &[&str]| {
        let mut form = vec![("grant_type", "client_credentials"), ("scope", "orders.read")];
        form.extend(resources.iter().map(|resource| ("resource", *resource)));
        stage.client().post("/oauth/token").basic(&agent.id, &agent.secret).form(&form).send()
    };
    let placet = story().server.base();
    let only = ask(&[&server.audience]).expect(200).text("/access_token");
    assert_eq!(read(&only).1["aud"], json!([server.audience]));
    let both = ask(&[&server.audience, placet]).expect(200).text("/access_token");
    assert_eq!(read(&both).1["aud"], json!([server.audience, placet]));
    assert_eq!(read(&ask(&[]).expect(200).text("/access_token")).1["aud"], json!([placet]));
    ask(&["https://no.example"]).refused(400, "invalid_target");
    ask(&[&server.audience, "https://no.example"]).refused(400, "invalid_target");
    // Not for Placet: it is no bearer here, and nothing is derived from it.
    stage.client().with(&only).get("/v1/grants").send().refused(401, "token_invalid");
    stage.client().with(&both).get("/v1/grants").send().expect(200);
    let child = stage.agent();
    child.ask().with("parent_token", &only).send(&stage.client()).refused(400, "invalid_grant");
    let below = child.ask().with("parent_token", &both).with("resource", &server.audience);
    let below = below.send(&stage.client()).expect(200).text("/access_token");
    assert_eq!(read(&below).1["aud"], json!([server.audience]));
    let beyond =
        child.ask().with("parent_token", &both).with("resource", &other.audience).send(&stage.client());
    assert!(why(&beyond.refused(400, "invalid_target")).contains(&other.audience));
    // Each is told about tokens of its own audience only, and revokes none.
    for (token, knows) in [(&only, true), (&both, true), (&below, true)] {
        assert_eq!(server.introspect(token).at("/active"), &json!(knows));
        assert_eq!(other.introspect(token).body, json!({"active": false}));
    }
    let plain = ask(&[]).expect(200).text("/access_token");
    assert_eq!(server.introspect(&plain).body, json!({"active": false}));
    let revoke = stage.client().post("/oauth/revoke").basic(&server.id, &server.secret);
    assert_eq!(revoke.form(&[("token", &only)]).send().expect(200).at("/revoked"), false);
    assert_eq!(server.introspect(&only).at("/active"), true);
    // In a form as well; and it is no client of the token endpoint.
    let post = [("client_id", server.id.as_str()), ("client_secret", &server.secret), ("token", &only)];
    assert_eq!(stage.client().post("/oauth/introspect").form(&post).send().expect(200).at("/active"), true);
    let asked = stage.client().post("/oauth/token").basic(&server.id, &server.secret);
    asked.form(&[("grant_type", "client_credentials")]).send().refused(401, "invalid_client");
    let verified = stage.client().post("/v1/tokens/verify").basic(&server.id, &server.secret);
    assert_eq!(verified.json(&json!({"token": only})).send().expect(200).at("/is_valid"), true);
    let verified = stage.client().post("/v1/tokens/verify").basic(&other.id, &other.secret);
    assert_eq!(verified.json(&json!({"token": only})).send().expect(200).at("/is_valid"), false);
}

#[test]
fn a_decision_is_charged_and_given_back_where_nothing_happened() {
    let server = registered();
    let rules =
        "  - {name: some, allow: [refunds.create], limits: [{sum: params.amount, max: 100, per: day}]}\n";
    let (_, token) = agent_at(&server, rules);
    let first = server.refund(&token, 60);
    assert_eq!(first.at("/decision"), "allow");
    let id = first.text("/id");
    assert!(id.starts_with("dec_"));
    let over = server.refund(&token, 60);
    assert_eq!(
        (over.at("/decision"), over.at("/reasons/0/code")),
        (&json!("deny"), &json!("limit_exceeded"))
    );
    // It did not happen: there is room again, once.
    assert_eq!(
        server.outcome(&id, &json!({"happened": "no", "status": 404})).expect(200).at("/charged"),
        false
    );
    assert_eq!(server.outcome(&id, &json!({"happened": "no"})).expect(200).at("/charged"), false);
    server.outcome(&id, &json!({"happened": "yes"})).refused(409, "conflict");
    let second = server.refund(&token, 60);
    assert_eq!(second.at("/decision"), "allow");
    assert_eq!(server.refund(&token, 60).at("/decision"), "deny");
    // It did: kept, which is also what nothing at all says.
    assert_eq!(server.outcome(&second.text("/id"), &json!({})).expect(200).at("/charged"), true);
    server.outcome(&second.text("/id"), &json!({"happened": "no"})).refused(409, "conflict");
    assert_eq!(server.refund(&token, 60).at("/decision"), "deny");
    assert_eq!(server.refund(&token, 40).at("/decision"), "allow");
    // Only whoever charged it closes it.
    let other = registered();
    other.outcome(&id, &json!({})).refused(404, "not_found");
    server.outcome("dec_00000000000000000000000000", &json!({})).refused(404, "not_found");
    server.outcome("nonsense", &json!({})).refused(404, "not_found");
    server.outcome(&id, &json!({"happened": "perhaps"})).refused(400, "request_invalid");
    let path = format!("/v1/decisions/{id}/outcome");
    stage().admin().post(&path).json(&json!({})).send().refused(403, "not_permitted");
    stage().client().post(&path).json(&json!({})).send().refused(401, "token_invalid");
    // Intent and outcome are in the record, with who performed it.
    let action = id.replace("dec_", "act_");
    let of = |kind: &str| {
        let is_it = |entry: &Value| entry["type"] == kind && entry["action_id"] == json!(action);
        until(kind, || story().record().into_iter().find(is_it))
    };
    assert_eq!(of("action.intent")["by"], json!(server.id));
    assert_eq!(of("action.outcome")["outcome"], "failed");
    assert_eq!(of("action.outcome")["status"], 404);
}

#[test]
fn of_many_at_once_as_many_are_charged_as_there_is_room_for() {
    let server = registered();
    let (_, token) =
        agent_at(&server, "  - {name: few, allow: [refunds.create], limits: [{count: 3, per: day}]}\n");
    let answers = together(12, |_| server.refund(&token, 1));
    assert_eq!(answers.iter().filter(|answer| answer.at("/decision") == "allow").count(), 3);
    let allowed: Vec<String> = answers
        .iter()
        .filter(|answer| answer.at("/decision") == "allow")
        .map(|answer| answer.text("/id"))
        .collect();
    // Of many that give one back at once, one does.
    let given = together(6, |_| server.outcome(&allowed[0], &json!({"happened": "no"})));
    assert!(given.iter().all(|answer| answer.status == 200));
    let again = together(6, |_| server.refund(&token, 1));
    assert_eq!(again.iter().filter(|answer| answer.at("/decision") == "allow").count(), 1);
}

#[test]
fn what_it_states_is_taken_as_given_and_an_agents_word_is_not() {
    let stage = stage();
    let server = registered();
    let agent = stage.story.agent(&fresh("bot-")).with("allowed_tools", json!(["mail.*", "refunds.*"]));
    let agent = agent.with("resource_access", json!(["mailbox://**", "order://**"])).register();
    let rules =
        "  - {name: own, allow: [mail.send], on: [\"mailbox://main/*\"], when: [context.verified == true]}\n";
    stage.story.rules(&agent.handle, rules).expect(201);
    let (placet, audience) = (stage.story.server.base(), server.audience.as_str());
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "mail.send"),
        ("resource", audience),
        ("resource", placet),
    ];
    let token = stage.client().post("/oauth/token").basic(&agent.id, &agent.secret).form(&form).send();
    let token = token.expect(200).text("/access_token");
    let ask = |more: Value| {
        let mut body =
            json!({"token": token, "action": "mail.send", "resource": "mailbox://main/7", "params": {}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.ask(&body)
    };
    assert_eq!(ask(json!({"context": {"verified": true}})).expect(200).at("/decision"), "allow");
    let denied = ask(json!({"context": {"verified": false}})).expect(200);
    assert_eq!(denied.at("/reasons/0/code"), "condition_failed");
    // In full: the resource server is told what was observed.
    assert_eq!(denied.at("/reasons/0/observed"), &json!({"context.verified": false}));
    assert_eq!(ask(json!({})).expect(200).at("/reasons/0/code"), "condition_unknown");
    assert_eq!(
        ask(json!({"resource": "mailbox://other/7", "context": {"verified": true}}))
            .expect(200)
            .at("/decision"),
        "deny"
    );
    ask(json!({"resource": null})).refused(400, "request_invalid");
    ask(json!({"context": [1]})).refused(400, "request_invalid");
    ask(json!({"agent": agent.id})).refused(400, "request_invalid");
    // The agent's own question: its context is absent, and nothing of its resource is known.
    let own = json!({"action": "mail.send", "resource": "mailbox://main/7", "context": {"verified": true}});
    let own = stage.client().with(&token).post("/v1/decisions").json(&own).send().expect(200);
    assert_eq!(own.at("/decision"), "deny");
    for stolen in [
        json!({"action": "mail.send", "token": token}),
        json!({"action": "mail.send", "approval": "apr_00000000000000000000000000"}),
    ] {
        stage.client().with(&token).post("/v1/decisions").json(&stolen).send().refused(403, "not_permitted");
        stage.admin().post("/v1/decisions").json(&stolen).send().refused(403, "not_permitted");
    }
}

#[test]
fn a_token_that_cannot_be_used_is_denied() {
    let stage = stage();
    let (server, other) = (registered(), registered());
    let (agent, token) = agent_at(&server, "  - {name: all, allow: [\"**\"]}\n");
    let code = |server: &Server, token: &str| {
        let answer = server.refund(token, 1);
        assert_eq!(answer.at("/decision"), "deny");
        answer.text("/reasons/0/code")
    };
    assert_eq!(server.refund(&token, 1).at("/decision"), "allow");
    // Known here from the answer before, and still not another's to use.
    assert_eq!(code(&other, &token), "token_invalid");
    assert_eq!(code(&server, "nonsense"), "token_invalid");
    assert_eq!(code(&server, &stage.given(&agent, "refunds.*").text("/access_token")), "token_invalid");
    assert_eq!(code(&server, &stage.ada()), "token_invalid");
    let wrong = stage.client().post("/v1/decisions").basic(&server.id, "wrong").json(&question(&token, 1));
    wrong.send().refused(401, "token_invalid");
    let client =
        stage.client().post("/v1/decisions").basic(&agent.id, &agent.secret).json(&question(&token, 1));
    client.send().refused(401, "token_invalid");
    server.ask(&json!({"action": "refunds.create"})).refused(400, "request_invalid");
    stage.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert_eq!(code(&server, &token), "token_revoked");
    let (agent, token) = agent_at(&server, "  - {name: all, allow: [\"**\"]}\n");
    stage.admin().post(&format!("/v1/agents/{}/suspend", agent.id)).send().expect(200);
    assert_eq!(code(&server, &token), "agent_inactive");
}

#[test]
fn a_dry_run_charges_nothing() {
    let server = registered();
    let (_, token) =
        agent_at(&server, "  - {name: one, allow: [refunds.create], limits: [{count: 1, per: day}]}\n");
    let mut dry = question(&token, 1);
    dry["dry_run"] = json!(true);
    for _ in 0..3 {
        let answer = server.ask(&dry).expect(200);
        assert_eq!(answer.at("/decision"), "allow");
        server.outcome(&answer.text("/id"), &json!({})).refused(404, "not_found");
    }
    assert_eq!(server.refund(&token, 1).at("/decision"), "allow");
    assert_eq!(server.ask(&dry).expect(200).at("/decision"), "deny");
}

#[test]
fn a_dry_run_is_explained_to_it() {
    let server = registered();
    let (agent, token) =
        agent_at(&server, "  - {name: small, allow: [refunds.create], when: params.amount < 5}\n");
    let mut asked = question(&token, 7);
    asked["explain"] = json!(true);
    server.ask(&asked).refused(400, "request_invalid");
    asked["dry_run"] = json!(true);
    let answer = server.ask(&asked).expect(200);
    assert_eq!(answer.at("/trace/links/0/agent"), &agent.handle);
    let rule = answer.at("/trace/links/0/policies/0/rules/0");
    assert_eq!(
        (&rule["said"], &rule["when"][0]["outcome"]),
        (&json!("not_held"), &json!("false")),
        "{rule:#}"
    );
    assert_eq!(rule["when"][0]["observed"], json!({"params.amount": 7}));
}

#[test]
fn a_held_decision_waits_for_a_person_and_is_used_once() {
    let stage = stage();
    let server = registered();
    let rules = "  - name: asked\n    allow: [refunds.create]\n    limits: [{count: 5, per: day}]\n    \
                 approve: {when: params.amount > 100, by: [\"role:support-lead\"], within: 5m}\n";
    let (_, token) = agent_at(&server, rules);
    assert_eq!(server.refund(&token, 50).at("/decision"), "allow");
    let held = server.refund(&token, 500);
    assert_eq!(
        (held.at("/decision"), held.at("/reasons/0/code")),
        (&json!("hold"), &json!("approval_required"))
    );
    let approval = held.text("/approval/id");
    assert_eq!(server.refund(&token, 500).at("/approval/id"), &json!(approval));
    let again = |amount: i64| {
        let mut body = question(&token, amount);
        body["approval"] = json!(approval);
        server.ask(&body).expect(200)
    };
    assert_eq!(again(500).at("/decision"), "hold");
    let seen = stage.story.approver().get(&format!("/v1/approvals/{approval}")).send().expect(200);
    assert_eq!(seen.at("/shown/params/amount"), &json!(500));
    assert_eq!(seen.at("/shown/resource_server/id"), &json!(server.id));
    let path = format!("/v1/approvals/{approval}");
    stage.story.approver().post(&path).json(&json!({"verdict": "approve"})).send().expect(200);
    // For that amount, at that resource server, once.
    assert_eq!(again(501).at("/reasons/0/code"), "approval_mismatch");
    let done = again(500);
    assert_eq!(done.at("/decision"), "allow");
    assert_eq!(done.at("/approval/id"), &json!(approval));
    assert_eq!(again(500).at("/reasons/0/code"), "approval_used");
    assert_eq!(
        server
            .outcome(&done.text("/id"), &json!({"happened": "yes", "status": 201}))
            .expect(200)
            .at("/charged"),
        true
    );
}

#[test]
fn what_people_are_asked_is_recorded_with_what_observed_policies_would_have_said() {
    let server = registered();
    let rules =
        "  - {name: asked, allow: [refunds.create], approve: {by: [\"role:support-lead\"], within: 5m}}\n";
    let (agent, token) = agent_at(&server, rules);
    let name = fresh("observed");
    let policy = format!(
        "policy: {name}\napplies_to: {{agents: [{}]}}\nmode: observe\nrules:\n  - {{name: small, guard: [refunds.*], when: params.amount < 10}}\n",
        agent.handle
    );
    story().policy(&name, &policy).expect(201);
    let approval = server.refund(&token, 500).text("/approval/id");
    let asked = |entry: &Value| entry["type"] == "approval.requested" && entry["approval"] == json!(approval);
    let entry = story().record().into_iter().find(asked).unwrap();
    assert_eq!(entry["body"]["observed"][0]["policy"], json!(format!("{name}@1")), "{entry:#}");
    assert!(entry["body"]["resource_server"].is_string());
    assert_eq!(entry["params"]["amount"], 500);
}

#[test]
fn after_a_crash_a_decision_is_still_charged_and_can_still_be_closed() {
    let mut story = Story::new(crate::stage::PLACET);
    let audience = "urn:example:orders";
    let made =
        story.admin().post("/v1/resource-servers").json(&json!({"name": "orders", "audience": audience}));
    let made = made.send().expect(201);
    let (id, secret) = (made.text("/client_id"), made.text("/client_secret"));
    let agent = story.agent("bot").register();
    let rules = "  - {name: two, allow: [refunds.create], limits: [{count: 2, per: day}]}\n";
    story.rules("bot", rules).expect(201);
    let token = agent.ask().with("scope", "refunds.*").with("resource", audience);
    let token = token.send(&story.client()).expect(200).text("/access_token");
    let ask = |story: &Story| {
        let request = story.client().post("/v1/decisions").basic(&id, &secret);
        request.json(&question(&token, 1)).send().expect(200)
    };
    let ask_with_key = |story: &Story| {
        let request = story.client().post("/v1/decisions").basic(&id, &secret).header("idempotency-key", "k");
        request.json(&question(&token, 1)).send()
    };
    let close = |story: &Story, decision: &str, happened: &str| {
        let path = format!("/v1/decisions/{decision}/outcome");
        story.client().post(&path).basic(&id, &secret).json(&json!({"happened": happened})).send()
    };
    let decisions = [ask(&story).text("/id"), ask_with_key(&story).expect(200).text("/id")];
    story.server.kill();
    story.server.restart();
    // Nobody knows what became of them, so they are kept.
    assert_eq!(ask(&story).at("/reasons/0/code"), "limit_exceeded");
    let again = ask_with_key(&story).expect(200);
    assert_eq!((again.at("/decision"), again.at("/id")), (&json!("allow"), &json!(decisions[1])));
    assert_eq!(close(&story, &decisions[0], "no").expect(200).at("/charged"), false);
    assert_eq!(ask(&story).at("/decision"), "allow");
    assert_eq!(close(&story, &decisions[1], "yes").expect(200).at("/charged"), true);
    close(&story, &decisions[1], "no").refused(409, "conflict");
    ask_with_key(&story).refused(409, "conflict");
    assert_eq!(ask(&story).at("/decision"), "deny");
    // Placet has another address now, and is the same audience: for what hangs below what was made before, too.
    let placet = story.server.base().to_owned();
    let root = agent.ask().with("scope", "refunds.*").with("resource", &placet).with("task_id", "work");
    let root = root.send(&story.client()).expect(200);
    story.client().with(&root.text("/access_token")).get("/v1/grants").send().expect(200);
    let again = agent.ask().with("resource", &placet).with("task_id", "work").send(&story.client());
    assert_eq!(again.expect(200).at("/grant_id"), root.at("/grant_id"));
}

#[test]
fn a_question_sent_again_with_its_key_is_charged_once() {
    let server = registered();
    let rules = "  - {name: some, allow: [refunds.create], limits: [{count: 2, per: day}]}\n";
    let (_, token) = agent_at(&server, rules);
    let ask = |key: &str, amount: i64| {
        let request = stage().client().post("/v1/decisions").basic(&server.id, &server.secret);
        request.header("idempotency-key", key).json(&question(&token, amount)).send()
    };
    let first = ask("k", 1).expect(200).text("/id");
    let again = together(4, |_| ask("k", 1).expect(200));
    for answer in again {
        assert_eq!((answer.at("/decision"), answer.at("/id")), (&json!("allow"), &json!(first)));
    }
    // For another question it is no key, and another key is another decision.
    ask("k", 2).refused(422, "idempotency_mismatch");
    let second = ask("l", 1).expect(200).text("/id");
    assert_ne!(second, first);
    assert_eq!(ask("m", 1).expect(200).at("/reasons/0/code"), "limit_exceeded");
    // Closed it allows nothing more: what was given back is not done for nothing.
    server.outcome(&first, &json!({"happened": "no"})).expect(200);
    ask("k", 1).refused(409, "conflict");
    ask("", 1).refused(400, "request_invalid");
    // An agent's key is not the resource server's, nor another one's.
    let other = registered();
    let (_, token) = agent_at(&other, rules);
    let request = stage().client().post("/v1/decisions").basic(&other.id, &other.secret);
    let answer = request.header("idempotency-key", "l").json(&question(&token, 1)).send().expect(200);
    assert_ne!(answer.text("/id"), second);
}

#[test]
fn an_agents_questions_are_limited_and_a_resource_servers_are_not() {
    let stage = stage();
    let server = registered();
    let (agent, token) = agent_at(&server, "  - {name: all, allow: [\"**\"]}\n");
    let own = stage.given(&agent, "refunds.*").text("/access_token");
    let other = stage.given(&stage.agent(), "refunds.*").text("/access_token");
    let ask = |token: &str| {
        let body = json!({"action": "refunds.create", "resource": "order://customer:1/7",
            "params": {"customer_id": "1", "order_id": "7", "amount": 1}});
        stage.client().with(token).post("/v1/decisions").json(&body).send()
    };
    // Far more at once than may come at once.
    let answers = together(8, |_| (0..40).map(|_| ask(&own)).collect::<Vec<_>>());
    let refused: Vec<&Answer> = answers.iter().flatten().filter(|answer| answer.status != 200).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        let answer = answer.clone().refused(429, "too_many_requests");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    ask(&other).expect(200);
    assert_eq!(server.refund(&token, 1).at("/decision"), "allow");
}
