//! Secrets and personal data in what comes back, over HTTP: redacted, marked and withheld at both doors, at the MCP door, in
//! replays and while an answer streams; and recorded by kind and number alone.

use crate::stage::story;
use placet_testkit::{Answer, Reply, Story, fresh, until};
use serde_json::{Value, json};

const CARD: &str = "4111 1111 1111 1111";
const MAIL: &str = "ann.lee@example.com";

fn rules(detect: &str) -> String {
    format!("  - name: own\n    allow: [orders.*]\n    shape: {{detect: {{{detect}}}}}\n")
}

fn listing(customer: &str) -> Value {
    json!({"customer_id": customer})
}

fn pass(story: &Story, token: &str, path: &str) -> Answer {
    story.client().get(&format!("/proxy/shop-main{path}")).bearer(token).send()
}

fn order() -> Value {
    json!({"orders": [{"id": 1, "card": CARD, "note": format!("from {MAIL}, again {MAIL}"), "amount": 0.10}], "total": 1})
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

/// What the record says was found in the answers to an action, with the entry's type.
fn recorded(story: &Story, action: &str) -> Vec<(String, Value)> {
    let record = story.record();
    let of_it = record.iter().filter(|entry| entry["action_id"] == action);
    of_it
        .filter(|entry| entry["type"] == "action.detected" || entry["type"] == "action.withheld")
        .map(|entry| {
            (entry["type"].as_str().unwrap_or_default().to_owned(), entry["body"]["detected"].clone())
        })
        .collect()
}

#[test]
fn what_is_found_is_redacted_or_marked_at_both_doors_and_counted_in_the_record() {
    let story = story();
    let (_, token) = story.ready(&rules("card: redact, email: mark"));
    let (_, other) = story.ready("  - {name: all, allow: [orders.*]}\n");
    let customer = fresh("d");
    let path = format!("/customers/{customer}/orders");
    story
        .shop
        .reply(&path, Reply::json(200, &order()).header("link", format!("<https://x.example/?to={MAIL}>")));
    let mut expected = order();
    expected["orders"][0]["card"] = json!("[redacted:card]");
    let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
    assert_eq!(direct.at("/result/body"), &expected);
    assert_eq!(direct.at("/result/headers/placet-detected"), "card, email");
    let counted = vec![("action.detected".to_owned(), json!({"card": 1, "email": 3}))];
    assert_eq!(recorded(story, &direct.text("/id")), counted);
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(passed.body, expected);
    assert_eq!(passed.header("placet-detected"), Some("card, email"));
    assert_eq!(passed.header("placet-shaped"), None);
    let action = passed.header("placet-action").unwrap().to_owned();
    assert_eq!(recorded(story, &action), counted);
    // By kind and number, and in no entry by value.
    let all = Value::Array(story.record()).to_string();
    assert!(!all.contains(CARD) && !all.contains(MAIL));
    // Somebody else's rules look for nothing, and nothing is said.
    let whole = pass(story, &other, &path).expect(200);
    assert_eq!((whole.body, whole.headers.get("placet-detected")), (order(), None));
    // Nothing in it: byte for byte as it came.
    let plain = r#"{"orders":  [{"amount": 1.50, "id": "550e8400-e29b-41d4-a716-446655440000"}]}"#;
    story.shop.reply(&path, Reply::bytes(200, "application/json", plain));
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!((text(&passed).as_str(), passed.header("placet-detected")), (plain, None));
    let action = passed.header("placet-action").unwrap().to_owned();
    assert_eq!(recorded(story, &action), []);
}

#[test]
fn what_withholds_brings_nothing_and_is_told_truly() {
    let story = story();
    let (_, token) = story.ready(&rules("personal: redact, card: withhold"));
    for (what, reply) in [
        ("json", Reply::json(200, &order())),
        (
            "behind escapes",
            Reply::bytes(200, "application/json", format!("[\"{}\"]", CARD.replace(' ', "\\u0020"))),
        ),
        ("text", Reply::bytes(200, "text/plain", format!("paid by {CARD}"))),
        ("an error", Reply::bytes(422, "text/html", format!("<p>no such card: {CARD}</p>"))),
        ("a header", Reply::json(200, &json!({})).header("x-request-id", CARD)),
    ] {
        let customer = fresh("w");
        let path = format!("/customers/{customer}/orders");
        story.shop.reply(&path, reply);
        let keyed = || {
            story
                .acting(&token, "orders.list", &listing(&customer))
                .header("idempotency-key", &customer)
                .send()
        };
        let direct = story.act(&token, "orders.list", &listing(&customer));
        for answer in [direct, pass(story, &token, &path), keyed(), keyed()] {
            let answer = answer.refused(403, "result_sensitive");
            assert_eq!(
                (answer.at("/happened"), answer.at("/detected")),
                (&json!("yes"), &json!(["card"])),
                "{what}"
            );
            assert!(
                !text(&answer).contains("4111") && answer.headers.iter().all(|(_, value)| value != CARD),
                "{what}"
            );
        }
        // It went upstream each time but for the replay.
        assert_eq!(story.shop.count(&path), 3, "{what}");
    }
    let customer = fresh("w");
    story.shop.reply(&format!("/customers/{customer}/orders"), Reply::json(200, &order()));
    let refused = story.act(&token, "orders.list", &listing(&customer)).refused(403, "result_sensitive");
    let found = json!({"card": 1, "email": 2});
    assert_eq!(recorded(story, &refused.text("/id")), [("action.withheld".to_owned(), found)]);
}

#[test]
fn text_is_searched_while_it_streams_and_breaks_off_at_what_withholds() {
    let story = story();
    let (_, token) = story.ready(&rules("email: redact, card: withhold"));
    let line = format!("{} to {MAIL}\n", "x".repeat(990));
    let customer = fresh("s");
    let path = format!("/customers/{customer}/orders");
    // Longer than what is read whole.
    let long = line.repeat(300);
    story.shop.reply(&path, Reply::bytes(200, "text/plain", long.clone()));
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(text(&passed), long.replace(MAIL, "[redacted:email]"));
    let action = passed.header("placet-action").unwrap().to_owned();
    let found = vec![("action.detected".to_owned(), json!({"email": 300}))];
    until("the entry", || (recorded(story, &action) == found).then_some(()));
    // Events, of which the data is JSON.
    let event = format!("event: order\ndata: {{\"to\":\"{}\"}}\n\n", MAIL.replace('@', "\\u0040"));
    story.shop.reply(&path, Reply::bytes(200, "text/event-stream", event.repeat(2000)));
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(text(&passed), "event: order\ndata: {\"to\":\"[redacted:email]\"}\n\n".repeat(2000));
    // What cannot be searched is not passed on.
    story.shop.reply(&path, Reply::bytes(200, "text/plain; charset=utf-32", long));
    pass(story, &token, &path).refused(403, "result_withheld");
    story.shop.reply(&path, Reply::bytes(200, "application/json", "{\"a\": 1, \"a\": 2}"));
    pass(story, &token, &path).refused(403, "result_withheld");
}

#[test]
fn a_guard_looks_for_more_and_a_shape_goes_before() {
    let story = story();
    let own = "  - name: own
    allow: [orders.*]
    shape: {redact: '$.orders[*].card', detect: {card: withhold, email: mark}}
  - name: everywhere
    guard: ['**']
    shape: {detect: {personal: redact}}
";
    let (_, token) = story.ready(own);
    let customer = fresh("g");
    let path = format!("/customers/{customer}/orders");
    story.shop.reply(&path, Reply::json(200, &order()));
    let expected = json!({"orders": [{"id": 1, "note": "from [redacted:email], again [redacted:email]", "amount": 0.10}], "total": 1});
    // The card is taken out before anybody looks for it.
    let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
    assert_eq!(direct.at("/result/body"), &expected);
    let passed = pass(story, &token, &path).expect(200);
    assert_eq!(passed.body, expected);
    assert_eq!(
        (passed.header("placet-shaped"), passed.header("placet-detected")),
        (Some("true"), Some("email"))
    );
}

#[test]
fn a_replay_is_searched_by_what_holds_when_it_is_asked_for() {
    let story = story();
    let (agent, token) = story.ready("  - {name: all, allow: [orders.*]}\n");
    let customer = fresh("r");
    story.shop.reply(&format!("/customers/{customer}/orders"), Reply::json(200, &order()));
    let ask =
        || story.acting(&token, "orders.list", &listing(&customer)).header("idempotency-key", "k").send();
    let first = ask().expect(200);
    assert_eq!(first.at("/result/body"), &order());
    assert_eq!(recorded(story, &first.text("/id")), []);
    story.rules(&agent.handle, &rules("personal: redact")).expect(200);
    let again = ask().expect(200);
    assert_eq!(again.at("/result/body/orders/0/card"), "[redacted:card]");
    assert!(!text(&again).contains(MAIL));
    story.rules(&agent.handle, &rules("email: withhold")).expect(200);
    ask().refused(403, "result_sensitive");
    // What each of them was given is in the record, and that it was a replay.
    let record = story.record();
    let told = record.iter().filter(|entry| entry["action_id"] == first.text("/id").as_str());
    let told: Vec<_> = told.filter(|entry| !entry["body"]["detected"].is_null()).collect();
    let said: Vec<_> =
        told.iter().map(|entry| (entry["type"].as_str().unwrap(), entry["body"].clone())).collect();
    let found = json!({"detected": {"card": 1, "email": 2}, "replayed": true});
    let mails = json!({"detected": {"email": 2}, "replayed": true});
    assert_eq!(said, [("action.detected", found), ("action.withheld", mails)]);
}

/// Of each the proxy door, as it comes, and the action door, whole.
#[test]
fn however_an_answer_is_written_it_is_searched_as_its_reader_reads_it() {
    let story = story();
    let (_, token) = story.ready(&rules("email: redact, named_secret: redact, github_token: withhold"));
    let little =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>() };
    let escaped = MAIL.replace('@', "\\u0040");
    for (kind, body, left) in [
        ("text/plain", little(&format!("\u{feff}to {MAIL}\r\n")), little("\u{feff}to [redacted:email]\r\n")),
        ("text/csv", little(&format!("to,{MAIL}\n")), little("to,[redacted:email]\n")),
        (
            "application/json-seq",
            format!("\u{1e}{{\"to\":\n \"{escaped}\"}}\n").into_bytes(),
            b"\x1e{\"to\":\"[redacted:email]\"}\n".to_vec(),
        ),
        (
            "text/event-stream",
            format!("data: {{\"to\":\ndata: \"{escaped}\"}}\n\n").into_bytes(),
            b"data: {\"to\":\"[redacted:email]\"}\n\n".to_vec(),
        ),
    ] {
        let customer = fresh("u");
        let path = format!("/customers/{customer}/orders");
        story.shop.reply(&path, Reply::bytes(200, kind, body));
        let passed = pass(story, &token, &path).expect(200);
        assert_eq!(passed.bytes.to_vec(), left, "{kind}: {}", text(&passed));
        let direct = story.act(&token, "orders.list", &listing(&customer)).expect(200);
        assert!(!text(&direct).contains("example.com"), "{kind}: {}", text(&direct));
        assert_eq!(direct.at("/result/headers/placet-detected"), "email", "{kind}");
    }
    let customer = fresh("u");
    let path = format!("/customers/{customer}/orders");
    // What is redacted for its name is what withholds the answer for what it is.
    let secret = json!({"access_token": format!("ghp_{}", "aB3dE5gH7jK9".repeat(3))});
    story.shop.reply(&path, Reply::json(200, &secret));
    story.act(&token, "orders.list", &listing(&customer)).refused(403, "result_sensitive");
    pass(story, &token, &path).refused(403, "result_sensitive");
    // Text with zeros in it is in no encoding that anything is found in.
    story.shop.reply(&path, Reply::bytes(200, "text/plain", b"a\0b".to_vec()));
    story.act(&token, "orders.list", &listing(&customer)).refused(403, "result_withheld");
}

#[test]
fn a_model_is_told_what_was_found_at_the_mcp_door() {
    let story = story();
    let (_, token) = story.ready(&rules("card: redact"));
    let customer = fresh("m");
    story.shop.reply(&format!("/customers/{customer}/orders"), Reply::json(200, &order()));
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "orders__list", "arguments": listing(&customer)}});
    let answer = story
        .client()
        .post("/mcp")
        .bearer(&token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .json(&call)
        .send()
        .expect(200);
    assert!(!text(&answer).contains("4111"), "{:#}", answer.body);
    assert_eq!(answer.at("/result/structuredContent/body/orders/0/card"), "[redacted:card]");
    assert_eq!(answer.at("/result/_meta/placet~1headers/placet-detected"), "card");
}
