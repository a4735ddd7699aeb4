//! Limits under attack: whatever an agent sends, however often, and whatever becomes of it, a budget is exact.

use crate::stage::story;
use placet_testkit::{Answer, Gate, Reply, Story, fresh, together, until};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
};

fn refund(customer: &str, amount: &Value) -> Value {
    json!({"customer_id": customer, "order_id": "1", "amount": amount, "currency": "USD"})
}

fn path(customer: &str) -> String {
    format!("/customers/{customer}/")
}

fn executed(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.clone().refused(403, "limit_exceeded");
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn keyed(story: &Story, token: &str, key: &str, params: &Value) -> Answer {
    story.acting(token, "refunds.create", params).header("idempotency-key", key).send()
}

/// The body of an action, as text: nothing tidies it up.
fn raw(story: &Story, token: &str, customer: &str, rest: &str) -> Answer {
    let body = format!(
        "{{\"service\": \"shop\", \"action\": \"refunds.create\", \"params\": {{\"customer_id\": \"{customer}\", \
         \"order_id\": \"1\", {rest}}}}}"
    );
    story.client().post("/v1/actions").bearer(token).body("application/json", body).send()
}

/// What is left of a budget of hundredths, by taking it: everything that fits, from large to small.
fn left(story: &Story, token: &str, customer: &str) -> i64 {
    let mut taken = 0;
    for hundredths in [1000_i64, 100, 10, 1] {
        let amount: Value = serde_json::from_str(&format!("{hundredths}e-2")).unwrap();
        while story.act(token, "refunds.create", &refund(customer, &amount)).status == 200 {
            taken += hundredths;
        }
    }
    taken
}

const TEN: &str =
    "  - {name: ten, allow: [refunds.create], limits: [{sum: params.amount, max: 10, per: total}]}\n";

#[test]
fn a_hundred_small_ones_come_to_what_one_large_one_does() {
    let story = story();
    let (_, token) = story.ready(TEN);
    let customer = fresh("c");
    // In binary floating point a hundred tenths are a little less than ten, and one more would fit.
    let answers = together(40, |_| {
        (0..3)
            .map(|_| story.act(&token, "refunds.create", &refund(&customer, &json!(0.1))))
            .collect::<Vec<_>>()
    });
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    assert_eq!(executed(&answers), 100);
    raw(story, &token, &customer, "\"amount\": 0.000001").refused(403, "limit_exceeded");
    assert_eq!(story.shop.count(&path(&customer)), 100);
}

#[test]
fn a_member_that_stands_twice_is_refused_at_every_depth() {
    let story = story();
    let (_, token) = story.ready(TEN);
    let customer = fresh("c");
    for twice in [
        "\"amount\": 1, \"amount\": 9",
        "\"amount\": 9, \"amount\": 9",
        "\"amount\": 1, \"\\u0061mount\": 9",
        "\"amount\": {\"value\": 1, \"value\": 9}",
        "\"amount\": [{\"x\": {\"y\": 1, \"y\": 2}}]",
        "\"amount\": 1}, \"params\": {\"amount\": 9",
        "\"amount\": 1}, \"action\": \"notes.write\", \"x\": {\"y\": 0",
    ] {
        let answer = raw(story, &token, &customer, twice);
        answer.refused(400, "request_invalid");
    }
    assert_eq!(story.shop.count(&path(&customer)), 0);
    assert_eq!(left(story, &token, &customer), 1000);
}

#[test]
fn what_is_summed_is_the_parameter_and_nothing_that_looks_like_it() {
    let story = story();
    let rules = "  - {name: dollars, allow: [refunds.create], when: params.currency == \"USD\", limits: [{sum: params.amount, max: 10, per: total}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    for (rest, code) in [
        // The currency elsewhere, or written otherwise.
        ("\"amount\": 5", 403),
        ("\"amount\": 5, \"currency\": \"usd\"", 403),
        ("\"amount\": 5, \"currency\": \"EUR\"", 403),
        ("\"amount\": 5, \"currency\": [\"USD\"]", 400),
        ("\"amount\": 5, \"Currency\": \"USD\"", 400),
        ("\"amount\": 5, \"reason\": \"USD\"", 403),
        ("\"amount\": {\"value\": 5, \"currency\": \"USD\"}, \"currency\": \"USD\"", 403),
        // The amount missing, as text, as a list, or beside itself.
        ("\"currency\": \"USD\"", 400),
        ("\"amount\": \"5\", \"currency\": \"USD\"", 403),
        ("\"amount\": [5], \"currency\": \"USD\"", 403),
        ("\"amount\": null, \"currency\": \"USD\"", 403),
        ("\"amount\": 5, \"Amount\": 1, \"currency\": \"USD\"", 400),
        ("\"amount\": 5, \"amount \": 1, \"currency\": \"USD\"", 400),
        ("\"amount\": -5, \"currency\": \"USD\"", 403),
        ("\"amount\": 0.0, \"currency\": \"USD\"", 403),
        ("\"amount\": 5.0000001, \"currency\": \"USD\"", 403),
        ("\"amount\": 1e1000000000, \"currency\": \"USD\"", 403),
        ("\"amount\": 9223372036854.775808, \"currency\": \"USD\"", 403),
        ("\"amount\": 18446744073709551617, \"currency\": \"USD\"", 403),
    ] {
        let answer = raw(story, &token, &customer, rest);
        assert!(answer.status == code || answer.status == 400, "{rest}: {} {:#}", answer.status, answer.body);
    }
    assert_eq!(story.shop.count(&path(&customer)), 0);
    assert_eq!(left(story, &token, &customer), 1000);
}

#[test]
fn many_children_at_once_share_every_budget_above_them() {
    let story = story();
    let client = story.client();
    let (_, token) = story.ready(
        "  - {name: ten, allow: [refunds.create], limits: [{sum: params.amount, max: 10, per: total}, {count: 90, per: total, by: task}]}\n",
    );
    let children: Vec<String> = (0..6)
        .map(|_| {
            let child = story.agent(&fresh("agent-")).register();
            story.rules(&child.handle, "  - {name: any, allow: [refunds.create]}\n").expect(201);
            let asked =
                child.ask().with("parent_token", &token).with("scope", "refunds.create").send(&client);
            asked.expect(200).text("/access_token")
        })
        .collect();
    let customer = fresh("c");
    let answers = together(48, |number| {
        story.act(&children[number % 6], "refunds.create", &refund(&customer, &json!(0.3)))
    });
    assert_eq!(executed(&answers), 33);
    assert_eq!(left(story, &token, &customer), 10);
}

#[test]
fn a_retry_costs_once_with_a_key_and_each_time_without() {
    let story = story();
    let (_, token) = story.ready(TEN);
    let customer = fresh("c");
    let key = fresh("key-");
    let params = refund(&customer, &json!(4));
    let answers = together(12, |_| keyed(story, &token, &key, &params));
    for answer in answers {
        assert!(matches!(answer.status, 200 | 409), "{:#}", answer.body);
    }
    until("the first to be over", || (keyed(story, &token, &key, &params).status == 200).then_some(()));
    keyed(story, &token, &key, &refund(&customer, &json!(5))).refused(422, "idempotency_mismatch");
    assert_eq!(story.shop.count(&path(&customer)), 1);
    // 6 are left: another 4 without a key, and then 2.
    story.act(&token, "refunds.create", &params).expect(200);
    story.act(&token, "refunds.create", &params).refused(403, "limit_exceeded");
    // A key that came with a refusal is free, and the used one answers as before, also where nothing is left.
    let other = fresh("key-");
    keyed(story, &token, &other, &params).refused(403, "limit_exceeded");
    keyed(story, &token, &other, &refund(&customer, &json!(2))).expect(200);
    keyed(story, &token, &key, &params).expect(200);
    assert_eq!(left(story, &token, &customer), 0);
    assert_eq!(story.shop.count(&path(&customer)), 3);
}

#[test]
fn a_failure_is_given_back_once_however_often_it_is_retried() {
    let story = story();
    for (reply, given_back) in
        [(Reply::status(404), true), (Reply::status(500), false), (Reply::hang_up(), false)]
    {
        let (_, token) = story.ready(TEN);
        let customer = fresh("c");
        story.shop.reply(&path(&customer), reply.clone());
        let key = fresh("key-");
        let params = refund(&customer, &json!(4));
        for answer in together(6, |_| keyed(story, &token, &key, &params)) {
            assert!(matches!(answer.status, 200 | 409 | 502 | 504), "{:#}", answer.body);
        }
        for _ in 0..3 {
            let again = keyed(story, &token, &key, &params);
            assert!(matches!(again.status, 200 | 502 | 504), "{:#}", again.body);
        }
        assert_eq!(story.shop.count(&path(&customer)), 1);
        story.shop.reply(&path(&customer), Reply::status(200));
        assert_eq!(left(story, &token, &customer), if given_back { 1000 } else { 600 }, "{reply:?}");
    }
}

#[test]
fn what_is_refused_by_the_network_at_once_is_all_given_back() {
    let story = story();
    // Another service of the same budget, at an address where nobody listens.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (name, action) = (fresh("nowhere-"), format!("refunds.{}", fresh("n")));
    let service = format!(
        "service: {name}\nbase_url: http://{nowhere}\nauth: {{type: bearer}}\nactions:\n  {action}:\n    method: POST\n    \
         path: /orders/{{order_id}}\n    resource: order://nowhere/{{order_id}}\n    effect: money\n    params: {{type: object, \
         properties: {{order_id: {{type: string}}, amount: {{}}}}}}\n"
    );
    story.service(&name, &service).expect(201);
    story.connection(&fresh("con-"), &name, &json!({})).expect(201);
    let (_, token) = story.ready(&TEN.replace("allow: [refunds.create]", "allow: [refunds.*]"));
    let answers = together(12, |_| {
        let body = json!({"service": name, "action": action, "params": {"order_id": "1", "amount": 4}});
        let asked = story.client().post("/v1/actions").bearer(&token).json(&body);
        asked.header("idempotency-key", fresh("key-")).send()
    });
    for answer in answers {
        match answer.status {
            // At most two fit at the same time.
            403 => _ = answer.refused(403, "limit_exceeded"),
            _ => assert_eq!(answer.refused(502, "upstream_unreachable").at("/happened"), "no"),
        }
    }
    assert_eq!(left(story, &token, &fresh("c")), 1000);
}

/// Sends a request and goes away without waiting for the answer.
fn send_and_leave(story: &Story, token: &str, target: &str, body: &str, sent: impl Fn() -> bool) {
    let address = story.server.base().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    until("the request upstream", || sent().then_some(()));
}

#[test]
fn a_client_that_leaves_is_charged_for_what_happens_and_for_nothing_else() {
    let story = story();
    for door in ["action", "proxy"] {
        for (status, given_back) in [(200, false), (404, true), (500, false)] {
            let (agent, token) = story.ready(TEN);
            let customer = fresh("c");
            let gate = Gate::shut();
            story.shop.reply(&path(&customer), Reply::status(status).after(&gate));
            let params = refund(&customer, &json!(4));
            let (target, body) = match door {
                "action" => (
                    "/v1/actions".to_owned(),
                    json!({"service": "shop", "action": "refunds.create", "params": params}).to_string(),
                ),
                _ => (
                    format!("/proxy/shop-main/customers/{customer}/orders/1/refunds"),
                    json!({"amount": 4, "currency": "USD"}).to_string(),
                ),
            };
            send_and_leave(story, &token, &target, &body, || story.shop.count(&path(&customer)) == 1);
            // While it is under way the budget is taken.
            story.act(&token, "refunds.create", &refund(&customer, &json!(7))).refused(403, "limit_exceeded");
            gate.open();
            until("its outcome", || {
                let record = story.record();
                let of =
                    |entry: &&Value| entry["type"] == "action.outcome" && entry["agent"] == agent.id.as_str();
                (record.iter().filter(of).count() == 1).then_some(())
            });
            story.shop.reply(&path(&customer), Reply::status(200));
            assert_eq!(
                left(story, &token, &customer),
                if given_back { 1000 } else { 600 },
                "{door} {status}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_before_its_request_is_whole_costs_nothing() {
    let story = story();
    let (_, token) = story.ready(TEN);
    let customer = fresh("c");
    let body = json!({"service": "shop", "action": "refunds.create", "params": refund(&customer, &json!(4))})
        .to_string();
    let address = story.server.base().trim_start_matches("http://").to_owned();
    for part in [0, 1, body.len() / 2, body.len() - 1] {
        let mut socket = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /v1/actions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&body.as_bytes()[..part]).unwrap();
        drop(socket);
    }
    assert_eq!(left(story, &token, &customer), 1000);
}

#[test]
fn each_value_of_a_key_has_a_budget_and_no_spelling_has_another() {
    let story = story();
    let rules = "  - {name: each, allow: [refunds.create], limits: [{sum: params.amount, max: 10, per: total, by: params.reason}, {sum: params.amount, max: 25, per: total}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let spent = AtomicUsize::new(0);
    let answers = together(24, |number| {
        let reason = ["\"rent\"", "\"\\u0072ent\"", "\"r\\u0065nt\""][number % 3];
        let rest = format!("\"amount\": 3, \"reason\": {reason}");
        let answer = raw(story, &token, &customer, &rest);
        spent.fetch_add(3 * usize::from(answer.status == 200), Ordering::SeqCst);
        answer
    });
    assert_eq!((executed(&answers), spent.into_inner()), (3, 9));
    // A new value is a new counter; the limit by agent holds whatever is written.
    raw(story, &token, &customer, "\"amount\": 10, \"reason\": \"food\"").expect(200);
    let last = raw(story, &token, &customer, "\"amount\": 7, \"reason\": \"fuel\"");
    last.refused(403, "limit_exceeded");
    raw(story, &token, &customer, "\"amount\": 6, \"reason\": \"fuel\"").expect(200);
    // Without the key, or with one that is too long, nobody is charged.
    raw(story, &token, &customer, "\"amount\": 1").refused(403, "condition_unknown");
    let long = format!("\"amount\": 1, \"reason\": \"{}\"", "x".repeat(513));
    raw(story, &token, &customer, &long).refused(403, "condition_failed");
}

#[test]
fn names_of_counters_fit_the_store_however_long_they_are() {
    let story = story();
    // Text that doesn't compress, as long as a resource, a key and a sum may be.
    let mut state = 7_u64;
    let mut noise = |length: usize| -> String {
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let letter = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(letters[usize::try_from(state >> 33).unwrap() % letters.len()])
        };
        (0..length).map(letter).collect()
    };
    let rules = format!(
        "  - name: {}\n    allow: [refunds.create]\n    limits:\n      - {{sum: \"params.amount + (params.currency == '{}' ? 1 : 0)\", max: 10, per: total, by: resource}}\n      - {{count: 2, per: total, by: \"params.reason == '{}' ? 'a' : params.reason\"}}\n",
        noise(100),
        noise(1900),
        noise(1900)
    );
    let (_, token) = story.ready(&rules);
    let customer = fresh("c") + &noise(1900);
    let reason = noise(512);
    let act = |reason: &str| {
        let mut params = refund(&customer, &json!(1));
        params["reason"] = json!(reason);
        story.act(&token, "refunds.create", &params)
    };
    act(&reason).expect(200);
    act(&reason).expect(200);
    act(&reason).refused(403, "limit_exceeded");
    act(&(reason.chars().take(511).collect::<String>() + "~")).expect(200);
}
