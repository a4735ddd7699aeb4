//! The proxy door: the same actions and decisions as at the action door, the same bytes upstream, and nothing that two
//! programs could read differently.

use crate::stage::story;
use placet_testkit::{Answer, Reply, SECRET, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

/// Sends bytes as they are and reads the answer until the server closes; the status and everything.
fn raw(story: &Story, bytes: &[u8]) -> (u16, String) {
    let address = story.client().base().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// A request with this request line and these further header lines.
fn request(line: &str, token: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{headers}\r\n{body}")
        .into_bytes()
}

fn get(story: &Story, token: &str, path: &str) -> Answer {
    story.client().get(&format!("/proxy/shop-main{path}")).bearer(token).send()
}

#[test]
fn an_ordinary_request_is_an_action_and_its_answer_comes_back_as_it_is() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/notes");
    story.shop.reply(
        &path,
        Reply::bytes(201, "application/json", "{ \"b\": 1,  \"a\": 2 }").header("etag", "\"7\""),
    );
    let answer = story
        .client()
        .post(&format!("/proxy/shop-main{path}"))
        .bearer(&token)
        .header("cookie", "agent-cookie=1")
        .header("x-forwarded-for", "10.1.2.3")
        .header("forwarded", "for=10.1.2.3")
        .header("via", "1.1 agent")
        .header("x-agent", "agent-header")
        .header("te", "trailers")
        .header("range", "bytes=0-1")
        .header("proxy-authorization", "Basic agent-proxy")
        .header("if-match", "\"6\"")
        .body("application/json", "{ \"text\" : \"hello\" }")
        .send()
        .expect(201);
    assert_eq!(answer.bytes, b"{ \"b\": 1,  \"a\": 2 }", "byte for byte");
    assert_eq!(answer.header("etag"), Some("\"7\""));
    assert_eq!(answer.header("placet-decision"), Some("allow"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("placet-action").unwrap().starts_with("act_"));
    let seen = story.shop.seen_at(&path);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, r#"{"text":"hello"}"#);
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(seen[0].header("if-match"), Some("\"6\""));
    let mut names: Vec<&str> = seen[0].headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "if-match",
        "user-agent",
    ];
    assert_eq!(names, expected);
    let action = answer.header("placet-action").unwrap();
    // The outcome rides the next group commit.
    let shown = until("the outcome", || {
        let shown = story.client().get(&format!("/v1/actions/{action}")).bearer(&token).send().expect(200);
        (shown.at("/status") != "pending").then_some(shown)
    });
    assert_eq!((shown.at("/status"), shown.at("/upstream_status")), (&json!("done"), &json!(201)));
}

/// What the action door sends for an action, sent to the proxy door, is the same action.
#[test]
fn what_the_action_door_sends_is_the_same_action_at_the_proxy_door() {
    let story = story();
    let (_, token) = story.ready(
        "  - {name: reads, allow: [orders.list, orders.read, orders.delete]}\n  - {name: notes, allow: [notes.write], when: [\"params.text != 'forbidden'\"]}\n  - {name: refunds, allow: [refunds.create], when: [params.amount <= 100]}\n",
    );
    let texts =
        ["plain", "a b", "ü€", "50%", "a&b=c", "{x}", "*", "a;b", "+", "\"", "forbidden", "...", "~._-"];
    for (index, text) in texts.into_iter().enumerate() {
        let customer = format!("{}-{text}", fresh("same"));
        let cases = [
            ("orders.list", json!({"customer_id": customer, "q": text, "page": index})),
            ("orders.read", json!({"customer_id": customer, "order_id": text})),
            ("orders.delete", json!({"customer_id": customer, "order_id": "7"})),
            ("notes.write", json!({"customer_id": customer, "text": text})),
            (
                "refunds.create",
                json!({"customer_id": customer, "order_id": "1", "amount": index * 20, "reason": text}),
            ),
        ];
        for (action, params) in cases {
            let before = story.shop.seen().len();
            let direct = story.act(&token, action, &params);
            let sent: Vec<_> = story.shop.seen().into_iter().skip(before).collect();
            if direct.status != 200 {
                assert_eq!(direct.at("/code"), "condition_failed", "{params}");
                continue;
            }
            let Some(one) = sent.iter().find(|seen| seen.path.starts_with("/customers/same")) else {
                panic!("nothing was sent for {action} {params}");
            };
            let query = if one.query.is_empty() { String::new() } else { format!("?{}", one.query) };
            let body = String::from_utf8(one.body.to_vec()).unwrap();
            let headers = if body.is_empty() {
                String::new()
            } else {
                format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
            };
            // As it is sent, and as forms write it.
            for query in [query.clone(), query.replace("%20", "+").replace("%2A", "*")] {
                let line = format!("{} /proxy/shop-main{}{query}", one.method, one.path);
                let (status, answer) = raw(story, &request(&line, &token, &headers, &body));
                assert_eq!(status, 200, "{line}: {answer}");
                let again: Vec<_> = story
                    .shop
                    .seen()
                    .into_iter()
                    .filter(|seen| seen.path == one.path && seen.method == one.method)
                    .collect();
                let last = again.last().unwrap();
                assert_eq!((&last.query, &last.body), (&one.query, &one.body));
                assert_eq!(last.headers, one.headers, "the same bytes, headers too");
            }
        }
    }
    // And what is refused there is refused here, with the same reasons.
    let customer = fresh("c");
    let params = json!({"customer_id": customer, "text": "forbidden"});
    let direct = story.act(&token, "notes.write", &params).refused(403, "condition_failed");
    let path = format!("/proxy/shop-main/customers/{customer}/notes");
    let passed = story.client().post(&path).bearer(&token).json(&json!({"text": "forbidden"})).send();
    let passed = passed.refused(403, "condition_failed");
    for member in ["/reasons", "/action", "/resource", "/decision"] {
        assert_eq!(passed.at(member), direct.at(member));
    }
    assert_eq!(passed.header("placet-decision"), Some("deny"));
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("nasty");
    let base = format!("/proxy/shop-main/customers/{customer}");
    let lines = [
        format!("GET {base}/orders/../orders/1"),
        format!("GET {base}/orders/./1"),
        format!("GET {base}/orders/.."),
        format!("GET {base}/orders/%2e%2e"),
        format!("GET {base}/orders/%2E%2E"),
        format!("GET {base}/orders/.%2E"),
        format!("GET {base}/orders/%252E%252E"),
        format!("GET {base}/orders/a%2Fb"),
        format!("GET {base}/orders/a%2fb"),
        format!("GET {base}/orders/a%252Fb"),
        format!("GET {base}/orders//1"),
        format!("GET {base}//orders/1"),
        format!("GET {base}/orders/a\\b"),
        format!("GET {base}/orders/a%5Cb"),
        format!("GET {base}/orders/a%00"),
        format!("GET {base}/orders/a%0A"),
        format!("GET {base}/orders/%41"),
        format!("GET {base}/orders/%zz"),
        format!("GET {base}/orders/%"),
        format!("GET {base}/orders/%FF"),
        format!("GET {base}/orders/%C0%AE"),
        format!("GET {base}/orders/a;b=c"),
        format!("GET {base}/orders/a@b"),
        format!("GET {base}/orders/\u{e9}"),
        format!("GET {base}/orders?q=1&q=2"),
        format!("GET {base}/orders?q=%61"),
        format!("GET {base}/orders?q=%e2%82%ac"),
        format!("GET {base}/orders?q"),
        format!("GET {base}/orders?"),
        format!("GET {base}/orders?q=1&"),
        format!("GET {base}/orders?q=1;page=2"),
        format!("GET {base}/orders?other=1"),
        format!("GET {base}/orders?customer_id=9"),
        format!("GET {base}/orders?Q=1"),
        format!("GET {base}/orders?page=one"),
        format!("GET {base}/orders?page=01"),
        format!("GET http://shop.example{base}/orders/1"),
        format!("GET http://x{base}/orders/1"),
    ];
    for line in lines {
        let (status, answer) = raw(story, &request(&line, &token, "", ""));
        assert_eq!(status, 400, "{line}: {answer}");
        // What is no HTTP at all is refused by the server before there is a door.
        assert!(answer.contains("\"params_invalid\"") || !line.is_ascii(), "{line}: {answer}");
    }
    let json = "content-type: application/json\r\n";
    let bodies = [
        (json, r#"{"text":"a","text":"b"}"#),
        (json, r#"{"text":"a"} x"#),
        (json, r#"{"text":"a"}{"text":"b"}"#),
        (json, r#"{"text":"a","other":1}"#),
        (json, r#"{"text":"a","customer_id":"9"}"#),
        (json, r#"{"text":1}"#),
        (json, r#"["text"]"#),
        (json, "text=a"),
        (json, "\u{feff}{\"text\":\"a\"}"),
        ("content-type: application/x-www-form-urlencoded\r\n", r#"{"text":"a"}"#),
        ("content-type: text/plain\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json; charset=utf-16\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json\r\ncontent-type: text/plain\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json\r\ncontent-range: bytes 0-1/2\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json\r\nx-http-method-override: DELETE\r\n", r#"{"text":"a"}"#),
        ("content-type: application/json\r\nif-match: a\r\nif-match: b\r\n", r#"{"text":"a"}"#),
        ("", r#"{"text":"a"}"#),
    ];
    for (headers, body) in bodies {
        let headers = format!("{headers}content-length: {}\r\n", body.len());
        let (status, answer) = raw(story, &request(&format!("POST {base}/notes"), &token, &headers, body));
        assert_eq!(status, 400, "{headers}{body}: {answer}");
        assert!(answer.contains("\"params_invalid\""), "{headers}{body}: {answer}");
    }
    let (status, answer) = raw(
        story,
        &request(
            &format!("GET {base}/orders/1"),
            &token,
            "content-length: 2\r\ncontent-type: application/json\r\n",
            "{}",
        ),
    );
    assert!(status == 400 && answer.contains("takes no body"), "{answer}");
    // Framing that two programs could see differently ends before the door.
    for framing in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "content-length: +3\r\n",
        "content-length : 3\r\n",
    ] {
        let (status, answer) = raw(story, &request(&format!("POST {base}/notes"), &token, framing, "abcd"));
        assert_eq!(status, 400, "{framing}: {answer}");
    }
    let both = "transfer-encoding: chunked\r\ncontent-length: 4\r\ncontent-type: application/json\r\n";
    let (status, _) =
        raw(story, &request(&format!("POST {base}/notes"), &token, both, "4\r\n{}GE\r\n0\r\n\r\n"));
    assert_eq!(status, 400);
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty(), "nothing was sent");
}

#[test]
fn threat_21_what_is_not_granted_looks_like_what_does_not_exist() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["orders.read"])).register();
    story.rules(&agent.handle, ALL).expect(201);
    let token = agent.token(&story.client(), "orders.read");
    let hidden = fresh("hidden-");
    let other = story.agent(&fresh("agent-")).register();
    story.connection(&hidden, "shop", &json!({"agents": [other.handle]})).expect(201);
    let paths = [
        "/proxy/shop-main/customers/1/orders".to_owned(),
        "/proxy/shop-main/customers/1/orders?nonsense".to_owned(),
        "/proxy/shop-main/nothing/here".to_owned(),
        "/proxy/shop-main/".to_owned(),
        "/proxy/shop-main".to_owned(),
        "/proxy/nobody/customers/1/orders/1".to_owned(),
        format!("/proxy/{hidden}/customers/1/orders/1"),
        format!("/proxy/{hidden}/customers/1/orders/1?x=1"),
    ];
    let told = |answer: &Answer| {
        let mut body = answer.body.clone();
        body.as_object_mut().unwrap().remove("id");
        body
    };
    let first = story.client().get(&paths[2]).bearer(&token).send();
    for path in &paths {
        let target = if path.ends_with("shop-main") { None } else { Some(()) };
        let answer = story.client().get(path).bearer(&token).send();
        if target.is_none() {
            assert!((400..405).contains(&answer.status), "{:#}", answer.body);
            continue;
        }
        let answer = answer.refused(403, "not_granted");
        assert_eq!(told(&answer), told(&first), "{path}");
    }
    for method in ["OPTIONS", "TRACE", "PURGE", "PUT"] {
        let answer =
            story.client().request(method, "/proxy/shop-main/customers/1/orders/1").bearer(&token).send();
        assert_eq!(told(&answer.refused(403, "not_granted")), told(&first), "{method}");
    }
    // Nor does a body tell.
    let payer = story.agent(&fresh("agent-")).with("allowed_tools", json!(["refunds.create"]));
    let payer = payer.with("max_scope_level", json!("elevated")).register();
    story.rules(&payer.handle, ALL).expect(201);
    let token = payer.token(&story.client(), "refunds.create");
    let pay = |connection: &str| {
        let path = format!("/proxy/{connection}/customers/1/orders/1/refunds");
        let sent = story.client().post(&path).bearer(&token).json(&json!({"amount": 1, "currency": "USD"}));
        told(&sent.send().refused(403, "not_granted"))
    };
    assert_eq!(pay(&hidden), pay("nobody"));
}

#[test]
fn the_agents_credential_is_read_from_either_header_and_goes_no_further() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/orders/1");
    let passed = story
        .client()
        .get(&format!("/proxy/shop-main{path}"))
        .header("placet-authorization", format!("Bearer {token}"))
        .header("authorization", "Basic bGlicmFyeTprZXk=")
        .send();
    passed.expect(200);
    get(story, &token, &path).expect(200);
    for seen in story.shop.seen_at(&path) {
        let all = format!("{:?}", seen.headers);
        assert!(!all.contains(&token) && !all.contains("bGlicmFyeTprZXk"), "{all}");
        assert!(seen.header("placet-authorization").is_none());
    }
    get(story, "nonsense", &path).refused(401, "token_invalid");
    let none = story.client().get(&format!("/proxy/shop-main{path}")).send().refused(401, "token_invalid");
    assert!(none.header("www-authenticate").is_some());
    assert_eq!(none.header("placet-decision"), Some("deny"));
    assert_eq!(story.shop.count(&path), 2);
}

#[test]
fn an_approval_and_an_idempotency_key_work_as_at_the_action_door() {
    let story = story();
    let (_, token) =
        story.ready("  - {name: refunds, allow: [refunds.create], approve: {when: params.amount > 10, by: [\"role:support-lead\"]}}\n");
    let customer = fresh("c");
    let path = format!("/customers/{customer}/orders/1/refunds");
    let send = |amount: u32, headers: &[(&str, &str)]| {
        let url = format!("/proxy/shop-main{path}");
        let mut request = story.client().post(&url).bearer(&token).json(&json!({"amount": amount}));
        // A client says `*/*` by itself, which is a header that goes on.
        request = request.header("accept", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send()
    };
    let held = send(50, &[]).expect(202);
    assert_eq!((held.header("placet-decision"), held.text("/status").as_str()), (Some("hold"), "held"));
    let approval = held.text("/approval/id");
    assert_eq!(held.header("placet-approval"), Some(approval.as_str()));
    let yes =
        story.approver().post(&format!("/v1/approvals/{approval}")).json(&json!({"verdict": "approve"}));
    yes.send().expect(200);
    // A header that goes on is a part of what was approved.
    let given: &[(&str, &str)] = &[("placet-approval", &approval), ("if-match", "\"1\"")];
    send(50, given).refused(403, "approval_mismatch");
    send(51, &[("placet-approval", &approval)]).refused(403, "approval_mismatch");
    send(50, &[("placet-approval", &approval)]).expect(200);
    send(50, &[("placet-approval", &approval)]).refused(403, "approval_used");
    assert_eq!(story.shop.count(&path), 1);

    story.shop.reply(&path, Reply::bytes(200, "application/octet-stream", [0xff, 0x00]));
    let key = fresh("key-");
    let first = send(5, &[("idempotency-key", &key)]).expect(200);
    let again = send(5, &[("idempotency-key", &key)]).expect(200);
    assert_eq!((&first.bytes, &again.bytes), (&vec![0xff, 0x00], &first.bytes));
    assert_eq!(first.header("placet-action"), again.header("placet-action"));
    assert_eq!(story.shop.count(&path), 2, "one more");
    send(6, &[("idempotency-key", &key)]).refused(422, "idempotency_mismatch");
    send(5, &[("idempotency-key", &key), ("if-match", "\"1\"")]).refused(422, "idempotency_mismatch");
    let params = json!({"customer_id": customer, "order_id": "1", "amount": 5});
    let door =
        story.acting(&token, "refunds.create", &params).header("idempotency-key", &key).send().expect(200);
    assert_eq!(door.at("/result/body"), &json!({"base64": "/wA="}), "the same action at either door");
    for text in ["{broken", "\"a string\"", "{\"n\": 1}"] {
        let key = fresh("key-");
        story.shop.reply(&path, Reply::bytes(200, "application/json", text));
        let first = send(5, &[("idempotency-key", &key)]).expect(200);
        assert_eq!(send(5, &[("idempotency-key", &key)]).bytes, first.bytes);
        assert_eq!(first.bytes, text.replace(": ", ":").as_bytes());
    }
}

#[test]
fn a_large_body_and_a_failing_upstream_are_told() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/proxy/shop-main/customers/{customer}/notes");
    let large = json!({"text": "x".repeat(1_100_000)});
    let answer = story.client().post(&path).bearer(&token).json(&large).send().refused(413, "body_too_large");
    assert_eq!(answer.header("placet-decision"), Some("deny"));
    assert!(story.shop.seen_at(&format!("/customers/{customer}")).is_empty());
    story.shop.reply(&format!("/customers/{customer}"), Reply::hang_up());
    let answer = story.client().post(&path).bearer(&token).json(&json!({"text": "x"})).send();
    let answer = answer.refused(502, "upstream_unreachable");
    assert_eq!(
        (answer.at("/happened"), answer.header("placet-decision")),
        (&json!("unknown"), Some("allow"))
    );
    let action: Value = answer.at("/id").clone();
    assert!(action.as_str().unwrap().starts_with("act_"));
}
