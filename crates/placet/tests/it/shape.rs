//! What comes back of upstream, over HTTP: rows, redactions and members, at both doors and in replays; what can't be
//! shaped is withheld and told truly.

use crate::stage::story;
use placet_testkit::{Answer, Reply, Story, fresh, until};
use serde_json::{Value, json};

const SHAPED: &str = "  - name: own
    allow: [orders.*]
    shape:
      rows: {at: $.orders, max: 2, where: item.region == 'US'}
      redact: ['$.orders[*].card', $.total]
";

fn orders() -> Value {
    json!({"orders": [
        {"id": 1, "region": "US", "card": "4111", "amount": 0.10}, {"id": 2, "region": "EU", "card": "4222"},
        {"id": 3, "region": "US", "card": null}, {"id": 4, "region": "US"}, {"id": 5},
    ], "total": 5, "page": 1})
}

fn shaped() -> Value {
    json!({"orders": [{"id": 1, "region": "US", "amount": 0.10}, {"id": 3, "region": "US"}], "page": 1})
}

fn listing(customer: &str) -> Value {
    json!({"customer_id": customer})
}

fn pass(story: &Story, token: &str, path: &str) -> Answer {
    story.client().get(&format!("/proxy/shop-main{path}")).bearer(token).send()
}

/// The codes and the upstream's status of the outcome of an action.
fn outcome(story: &Story, action: &str) -> (String, Value, Value) {
    let found = until("the outcome", || {
        let outcome = |entry: &&Value| entry["type"] == "action.outcome" && entry["action_id"] == action;
        story.record().iter().find(outcome).cloned()
    });
    (
        found["outcome"].as_str().unwrap_or_default().to_owned(),
        found["codes"].clone(),
        found["status"].clone(),
    )
}

#[test]
fn rows_are_chosen_and_members_taken_out_at_both_doors() {
    let story = story();
    let (_, token) = story.ready(SHAPED);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/orders");
    let reply = Reply::json(200, &orders())
        .header("etag", "\"7\"")
        .header("x-total-count", "5")
        .header("retry-after", "1");
    story.shop.reply(&path, reply);
    let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
    assert_eq!(direct.at("/status"), "executed");
    assert_eq!(direct.at("/result/body"), &shaped());
    let headers = direct.at("/result/headers").as_object().unwrap();
    let names: Vec<&str> = headers.keys().map(String::as_str).filter(|name| *name != "date").collect();
    assert_eq!(names, ["content-type", "placet-shaped", "retry-after"]);
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(passed.body, shaped());
    assert!(!String::from_utf8_lossy(&passed.bytes).contains("4111"));
    assert_eq!(passed.header("placet-shaped"), Some("true"));
    assert_eq!((passed.header("etag"), passed.header("x-total-count")), (None, None));
    assert_eq!(passed.header("content-length"), Some(passed.bytes.len().to_string().as_str()));
    assert_eq!(passed.header("content-type"), Some("application/json"));
    // Numbers keep their text.
    assert!(String::from_utf8_lossy(&passed.bytes).contains("\"amount\":0.1"));
    // Somebody else's rules don't shape it.
    let (_, other) = story.ready("  - {name: all, allow: [orders.*]}\n");
    let whole = pass(story, &other, &path).expect(200);
    assert_eq!((whole.body, whole.headers.get("placet-shaped")), (orders(), None));
}

#[test]
fn an_agent_does_not_choose_the_layout_that_a_shape_reads() {
    let story = story();
    let (_, token) = story.ready(SHAPED);
    let (_, other) = story.ready("  - {name: all, allow: [orders.*]}\n");
    let customer = fresh("h");
    let path = format!("/customers/{customer}/orders");
    // An upstream that lays out what it answers as it is asked to.
    story.shop.answer(&path, |seen| match seen.header("accept") {
        Some("application/vnd.flat+json") => Reply::json(200, &json!({"orders": [], "rows": ["4111"]})),
        _ => Reply::json(200, &orders()),
    });
    let chosen = [
        ("accept", "application/vnd.flat+json"),
        ("accept-encoding", "br, gzip"),
        ("accept-language", "de"),
        ("if-modified-since", "Sun, 01 Nov 2026 00:00:00 GMT"),
        ("if-none-match", "\"7\""),
        ("range", "bytes=0-9"),
    ];
    let ask = |token: &str, key: Option<&str>| {
        let mut request = story.client().get(&format!("/proxy/shop-main{path}")).bearer(token);
        for (name, value) in chosen.iter().chain(&key.map(|key| ("idempotency-key", key))) {
            request = request.header(name, value);
        }
        request.send()
    };
    let asked = |name: &str| story.shop.seen_at(&path).last().unwrap().header(name).map(str::to_owned);
    assert_eq!(ask(&token, None).expect(200).body, shaped());
    for (name, value) in chosen {
        assert_ne!(asked(name).as_deref(), Some(value), "`{name}` went on");
    }
    // Nothing shapes the other agent's answers: what it may choose, it does.
    assert_eq!(ask(&other, None).expect(200).body["rows"], json!(["4111"]));
    assert_eq!(asked("accept").as_deref(), Some("application/vnd.flat+json"));
    assert_eq!((asked("range"), asked("accept-encoding").as_deref() == Some("br, gzip")), (None, false));
    // Nor by an answer that was kept before there was a shape.
    let (agent, token) = story.ready("  - {name: all, allow: [orders.*]}\n");
    assert_eq!(ask(&token, Some("kept")).expect(200).body["rows"], json!(["4111"]));
    story.rules(&agent.handle, SHAPED).expect(200);
    ask(&token, Some("kept")).refused(403, "result_withheld");
}

#[test]
fn what_can_not_be_shaped_is_withheld_and_told_truly() {
    let story = story();
    let (_, token) = story.ready(SHAPED);
    let secret = "card-4111";
    let cases: Vec<(&str, Reply)> = vec![
        ("not JSON", Reply::bytes(200, "text/plain", format!("{secret} {secret}"))),
        ("JSON by another name", Reply::bytes(200, "text/plain", orders().to_string())),
        (
            "broken JSON",
            Reply::bytes(200, "application/json", format!("{{\"orders\": [{{\"card\": \"{secret}\"}}")),
        ),
        (
            "two documents",
            Reply::bytes(200, "application/json", format!("{{\"orders\": []}}{{\"card\": \"{secret}\"}}")),
        ),
        ("lines", Reply::bytes(200, "application/x-ndjson", format!("{{\"card\": \"{secret}\"}}\n"))),
        (
            "a member twice",
            Reply::bytes(
                200,
                "application/json",
                format!("{{\"orders\": [{{\"card\": \"{secret}\"}}], \"orders\": []}}"),
            ),
        ),
        (
            "another layout",
            Reply::json(200, &json!({"data": {"orders": [{"card": secret, "region": "US"}]}})),
        ),
        ("no list", Reply::json(200, &json!({"orders": {"1": {"card": secret, "region": "US"}}}))),
        ("bytes", Reply::bytes(200, "application/octet-stream", vec![0xff, 0xfe])),
        ("a made thing", Reply::bytes(201, "text/html", secret).header("location", format!("/{secret}"))),
    ];
    for (what, reply) in cases {
        let customer = fresh("w");
        let path = format!("/customers/{customer}/orders");
        let status = reply.clone();
        story.shop.reply(&path, status);
        for answer in [
            story.act(&token, "orders.list", &listing(&customer)),
            pass(story, &token, &path),
            story
                .acting(&token, "orders.list", &listing(&customer))
                .header("idempotency-key", &customer)
                .send(),
            story
                .acting(&token, "orders.list", &listing(&customer))
                .header("idempotency-key", &customer)
                .send(),
        ] {
            let answer = answer.refused(403, "result_withheld");
            assert_eq!(answer.at("/happened"), "yes", "{what}");
            assert!(!String::from_utf8_lossy(&answer.bytes).contains(secret), "{what}");
            assert!(answer.headers.iter().all(|(_, value)| value != secret), "{what}");
            assert_eq!(answer.header("etag"), None);
        }
        // It went upstream each time but for the replay, and is recorded as what it was.
        assert_eq!(story.shop.count(&path), 3, "{what}");
    }
    let customer = fresh("w");
    let path = format!("/customers/{customer}/orders");
    story.shop.reply(&path, Reply::bytes(201, "text/plain", secret));
    for answer in [story.act(&token, "orders.list", &listing(&customer)), pass(story, &token, &path)] {
        let action = answer.refused(403, "result_withheld").text("/id");
        // What happened upstream, and beside it what became of its answer.
        assert_eq!(outcome(story, &action), ("done".to_owned(), Value::Null, json!(201)));
        let record = story.record();
        let of_it = record.iter().filter(|entry| entry["action_id"] == action.as_str());
        let withheld: Vec<&Value> = of_it.filter(|entry| entry["type"] == "action.withheld").collect();
        assert_eq!(withheld.len(), 1, "{withheld:#?}");
        assert_eq!(withheld[0]["codes"], json!(["result_withheld"]));
    }
}

#[test]
fn of_what_failed_only_the_status_passes_and_no_body_is_none() {
    let story = story();
    let (_, token) = story.ready(SHAPED);
    let secret = "card-4111";
    for status in [302, 400, 404, 422, 500, 503] {
        let customer = fresh("e");
        let path = format!("/customers/{customer}/orders");
        let error = json!({"error": secret, "orders": [{"card": secret}]});
        let reply = Reply::json(status, &error).header("location", "https://x.example/card-4111");
        story.shop.reply(&path, reply.header("x-request-id", "r-1"));
        let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
        assert_eq!((direct.at("/result/status"), direct.at("/result/body")), (&json!(status), &json!("")));
        assert_eq!(direct.at("/result/headers/x-request-id"), "r-1");
        let passed = pass(story, &token, &path).expect(status);
        assert!(passed.bytes.is_empty());
        assert_eq!((passed.header("location"), passed.header("content-type")), (None, None));
        assert!(!String::from_utf8_lossy(&direct.bytes).contains(secret));
    }
    let customer = fresh("e");
    let path = format!("/customers/{customer}/orders");
    story.shop.reply(&path, Reply::status(204));
    assert!(pass(story, &token, &path).expect(204).bytes.is_empty());
    let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
    assert_eq!((direct.at("/result/status"), direct.at("/result/body")), (&json!(204), &json!("")));
}

#[test]
fn what_is_too_large_or_breaks_off_brings_nothing() {
    let story = story();
    let (_, token) = story.ready(SHAPED);
    let customer = fresh("l");
    let path = format!("/customers/{customer}/orders");
    let row = json!({"id": 1, "region": "US", "card": "4111", "text": "x".repeat(1000)});
    let large = json!({"orders": vec![row.clone(); 1200], "total": 1});
    story.shop.reply(&path, Reply::json(200, &large));
    for answer in [story.act(&token, "orders.list", &listing(&customer)), pass(story, &token, &path)] {
        let answer = answer.refused(502, "upstream_unreadable");
        assert_eq!(answer.at("/happened"), "yes");
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("4111"));
    }
    // What is passed on as it comes elsewhere is read whole where it is shaped.
    let long = json!({"orders": vec![row; 300], "total": 1});
    story.shop.reply(&path, Reply::json(200, &long));
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(passed.at("/orders").as_array().map(Vec::len), Some(2));
    assert!(!String::from_utf8_lossy(&passed.bytes).contains("4111"));
    let raw = Reply::bytes(200, "application/json", vec![b' '; 10]).header("content-encoding", "gzip");
    story.shop.reply(&path, raw);
    for answer in [story.act(&token, "orders.list", &listing(&customer)), pass(story, &token, &path)] {
        answer.refused(502, "upstream_unreadable");
    }
}

#[test]
fn a_replay_is_shaped_by_what_holds_when_it_is_asked_for() {
    let story = story();
    let (agent, token) = story.ready("  - {name: all, allow: [orders.*]}\n");
    let customer = fresh("r");
    let path = format!("/customers/{customer}/orders");
    story.shop.reply(&path, Reply::json(200, &orders()).header("etag", "\"1\""));
    let ask =
        || story.acting(&token, "orders.list", &listing(&customer)).header("idempotency-key", "k").send();
    let pass = || {
        let path = format!("/proxy/shop-main{path}");
        story
            .client()
            .get(&path)
            .bearer(&token)
            .header("accept", "application/json")
            .header("idempotency-key", "k")
            .send()
            .expect(200)
    };
    assert_eq!(ask().expect(200).at("/result/body"), &orders());
    story.rules(&agent.handle, SHAPED).expect(200);
    assert_eq!(ask().expect(200).at("/result/body"), &shaped());
    let passed = pass();
    assert_eq!((&passed.body, passed.header("etag")), (&shaped(), None));
    assert_eq!(passed.header("placet-shaped"), Some("true"));
    let narrower =
        format!("{SHAPED}  - {{name: less, guard: ['**'], shape: {{rows: {{at: $.orders, max: 1}}}}}}\n");
    story.rules(&agent.handle, &narrower).expect(200);
    assert_eq!(ask().expect(200).at("/result/body/orders").as_array().map(Vec::len), Some(1));
    story.rules(&agent.handle, "  - {name: all, allow: [orders.*]}\n").expect(200);
    assert_eq!(ask().expect(200).at("/result/body"), &orders(), "what was kept was kept whole");
    assert_eq!(story.shop.count(&path), 1);
}

#[test]
fn a_search_of_mail_brings_no_message_of_a_denied_folder() {
    let story = story();
    let service = fresh("mail");
    let yaml = format!(
        "service: {service}
base_url: {}
auth: {{type: bearer}}
actions:
  {service}.search:
    method: GET
    path: /mailboxes/{{user}}/search
    resource: mail://{{user}}
    effect: read
    params: {{type: object, properties: {{user: {{type: string}}, q: {{type: string}}}}}}
    response: {{items: '$.threads[*].messages', resource: 'mail://{{user}}/{{folder}}/{{id}}'}}
",
        story.shop.base()
    );
    story.service(&service, &yaml).expect(201);
    story.connection(&format!("{service}-main"), &service, &json!({})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([format!("{service}.*")]))
        .with("resource_access", json!(["mail://**"]))
        .register();
    let rules = format!(
        "  - {{name: search, allow: ['{service}.*'], on: ['mail://ann/**']}}
  - {{name: not private, deny: ['**'], on: ['mail://*/private/**']}}
"
    );
    story.rules(&agent.handle, &rules).expect(201);
    let token = agent.token(&story.client(), &format!("{service}.*"));
    let message =
        |folder: &str, id: u64| json!({"folder": folder, "id": id, "subject": format!("{folder} {id}")});
    let body = json!({"threads": [
        {"id": "t1", "messages": [message("inbox", 1), message("private", 2), {"id": 3, "subject": "of no folder"}]},
        {"id": "t2", "messages": [message("private", 4), message("private/sub", 5)]},
        {"id": "t3", "messages": null},
        {"id": "t4", "messages": [{"folder": "private", "id": 6, "user": "ann"}, {"folder": "inbox", "id": 7, "user": "bob"}]},
    ]});
    let path = "/mailboxes/ann/search";
    story.shop.reply(path, Reply::json(200, &body));
    let expected = json!({"threads": [
        {"id": "t1", "messages": [message("inbox", 1)]}, {"id": "t2", "messages": []}, {"id": "t3", "messages": null},
        {"id": "t4", "messages": []},
    ]});
    let request = json!({"service": service, "action": format!("{service}.search"), "params": {"user": "ann", "q": "x"}});
    let direct = story.client().post("/v1/actions").bearer(&token).json(&request).send().expect(200);
    assert_eq!(direct.at("/result/body"), &expected);
    let passed =
        story.client().get(&format!("/proxy/{service}-main{path}?q=x")).bearer(&token).send().expect(200);
    assert_eq!(passed.body, expected);
    // A child whose grant is narrower gets less; a grant for one folder alone can't search the whole mailbox.
    let narrow = agent
        .ask()
        .with("scope", &format!("{service}.*"))
        .with("required_resources", "mail://ann mail://ann/work/*")
        .send(&story.client())
        .expect(200)
        .text("/access_token");
    let direct = story.client().post("/v1/actions").bearer(&narrow).json(&request).send().expect(200);
    assert_eq!(direct.at("/result/body/threads/0/messages"), &json!([]));
    // A list that isn't there is no list to trust.
    story.shop.reply(path, Reply::json(200, &json!({"hits": [message("private", 2)]})));
    story.client().post("/v1/actions").bearer(&token).json(&request).send().refused(403, "result_withheld");
}
