//! Limits, over HTTP: exact whatever comes at once, kept or given back by what happened upstream.

use crate::stage::{PLACET, story};
use placet_testkit::{Answer, Reply, Story, Upstream, fresh, together};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

fn refund(customer: &str, amount: &Value) -> Value {
    json!({"customer_id": customer, "order_id": "1", "amount": amount})
}

fn executed(answers: &[Answer]) -> usize {
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.clone().refused(403, "limit_exceeded");
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn of_64_at_once_exactly_10_are_carried_out() {
    let story = story();
    let (_, token) = story.ready("  - {name: ten, allow: [notes.write], limits: [{count: 10, per: day}]}\n");
    let customer = fresh("c");
    let answers = together(64, |n| {
        story.act(&token, "notes.write", &json!({"customer_id": customer, "text": format!("note {n}")}))
    });
    assert_eq!(executed(&answers), 10);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 10);
    let refused = answers.iter().find(|answer| answer.status == 403).unwrap();
    let reason = refused.at("/reasons/0");
    assert_eq!((&reason["rule"], &reason["code"]), (&json!("ten"), &json!("limit_exceeded")));
    assert!(reason["remedy"]["retry_at"].is_string(), "{reason}");
    assert!(refused.body.get("used").is_none());
}

#[test]
fn a_budget_is_exact_whatever_comes_at_once() {
    let story = story();
    let rules =
        "  - {name: budget, allow: [refunds.create], limits: [{sum: params.amount, max: 100, per: day}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    // 33.3 three times is 99.9; a tenth is left, and nothing more than that.
    let answers = together(32, |_| story.act(&token, "refunds.create", &refund(&customer, &json!(33.3))));
    assert_eq!(executed(&answers), 3);
    story.act(&token, "refunds.create", &refund(&customer, &json!(0.100001))).refused(403, "limit_exceeded");
    story.act(&token, "refunds.create", &refund(&customer, &json!(0.1))).expect(200);
    story.act(&token, "refunds.create", &refund(&customer, &json!(0.000001))).refused(403, "limit_exceeded");
    let amounts: Vec<String> = story
        .shop
        .seen_at(&format!("/customers/{customer}/"))
        .iter()
        .map(|seen| seen.json()["amount"].to_string())
        .collect();
    assert_eq!(amounts, ["33.3", "33.3", "33.3", "0.1"]);
}

#[test]
fn amounts_of_different_sizes_at_once_never_pass_the_budget() {
    let story = story();
    let rules = "  - {name: budget, allow: [refunds.create], limits: [{sum: params.amount, max: 50, per: day}, {count: 9, per: day}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let answers =
        together(48, |n| story.act(&token, "refunds.create", &refund(&customer, &json!(1 + n % 13))));
    let count = executed(&answers);
    let seen = story.shop.seen_at(&format!("/customers/{customer}/"));
    let sum: u64 = seen.iter().map(|seen| seen.json()["amount"].as_u64().unwrap()).sum();
    assert_eq!(count, seen.len());
    assert!(sum <= 50 && count <= 9 && count > 0, "{count} with {sum}");
    // Of what is refused for one limit nothing is charged to the other: what is left is still there.
    if count < 9 {
        for _ in sum..50.min(sum + 9 - count as u64) {
            story.act(&token, "refunds.create", &refund(&customer, &json!(1))).expect(200);
        }
    }
}

#[test]
fn children_share_what_their_parent_has() {
    let story = story();
    let client = story.client();
    let (agent, token) =
        story.ready("  - {name: ten, allow: [notes.write], limits: [{count: 10, per: day}]}\n");
    let more = agent.token(&client, "notes.write");
    let child = story.agent(&fresh("agent-")).register();
    story.rules(&child.handle, "  - {name: any, allow: [notes.write]}\n").expect(201);
    let parented = child.ask().with("parent_token", &token).with("scope", "notes.write").send(&client);
    let childs = parented.expect(200).text("/access_token");
    let customer = fresh("c");
    let tokens = [&token, &more, &childs];
    let answers = together(45, |n| {
        story.act(tokens[n % 3], "notes.write", &json!({"customer_id": customer, "text": "x"}))
    });
    assert_eq!(executed(&answers), 10);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 10);
}

#[test]
fn what_provably_had_no_effect_is_given_back_and_the_rest_is_kept() {
    let story = story();
    let once = "  - {name: once, allow: [refunds.create], limits: [{count: 1, per: day}, {sum: params.amount, max: 5, per: day}]}\n";
    // The service lists 404 and 422 as without effect.
    for (reply, given_back) in [
        (Reply::status(404), true),
        (Reply::status(422), true),
        (Reply::status(400), false),
        (Reply::status(500), false),
        (Reply::status(503), false),
        (Reply::hang_up(), false),
        (Reply::status(200), false),
    ] {
        let (_, token) = story.ready(once);
        let customer = fresh("c");
        let path = format!("/customers/{customer}/");
        story.shop.reply(&path, reply.clone());
        let first = story.acting(&token, "refunds.create", &refund(&customer, &json!(5)));
        // With a key the answer waits until the outcome is settled.
        let first = first.header("idempotency-key", "1").send();
        assert!(matches!(first.status, 200 | 502), "{:#}", first.body);
        story.shop.reply(&path, Reply::status(200));
        let second = story.act(&token, "refunds.create", &refund(&customer, &json!(5)));
        assert_eq!(second.status == 200, given_back, "{reply:?}: {:#}", second.body);
        if !given_back {
            second.refused(403, "limit_exceeded");
        }
    }
}

#[test]
fn what_never_left_is_given_back() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: once, allow: [orders.read], limits: [{count: 1, per: day}]}\n");
    let Story { server, shop, ada, .. } = story;
    let base = shop.base().to_owned();
    drop(shop);
    let act = || {
        let params = json!({"customer_id": "c", "order_id": "1"});
        let body = json!({"service": "shop", "action": "orders.read", "params": params});
        server
            .client()
            .post("/v1/actions")
            .bearer(&token)
            .header("idempotency-key", fresh("k"))
            .json(&body)
            .send()
    };
    // The listener goes once its task has ended.
    placet_testkit::until("the shop's end", || {
        std::net::TcpStream::connect(base.trim_start_matches("http://")).is_err().then_some(())
    });
    for _ in 0..3 {
        let answer = act().refused(502, "upstream_unreachable");
        assert_eq!(answer.at("/happened"), "no");
    }
    drop(ada);
}

#[test]
fn amounts_that_are_none_are_refused_and_cost_nothing() {
    let story = story();
    let rules =
        "  - {name: budget, allow: [refunds.create], limits: [{sum: params.amount, max: 10, per: day}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let numbers = [
        "0",
        "-0",
        "-1",
        "-0.000001",
        "0.0000001",
        "1.0000001",
        "1e-7",
        "9000000000001",
        "1e13",
        "1e400",
        "-1e400",
        "99999999999999999999999999999",
        "0e0",
        "1e-400",
    ];
    let others =
        ["\"5\"", "\"NaN\"", "\"\"", "null", "true", "[5]", "{\"amount\": 5}", "\"Infinity\"", "\"1e1\""];
    for text in numbers.iter().chain(&others) {
        let body = format!(
            "{{\"service\": \"shop\", \"action\": \"refunds.create\", \"params\": {{\"customer_id\": \"{customer}\", \
             \"order_id\": \"1\", \"amount\": {text}}}}}"
        );
        let answer = story.client().post("/v1/actions").bearer(&token).body("application/json", body).send();
        assert!(matches!(answer.status, 400 | 403), "{text}: {} {:#}", answer.status, answer.body);
    }
    for text in ["NaN", "Infinity", "-Infinity", "0x10", "1_000", "01", "+1", ".5", "5."] {
        let body = format!("{{\"action\": \"refunds.create\", \"params\": {{\"amount\": {text}}}}}");
        let answer = story.client().post("/v1/actions").bearer(&token).body("application/json", body).send();
        answer.refused(400, "request_invalid");
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    // All ten are still there, in an odd but exact writing.
    let body = format!(
        "{{\"service\": \"shop\", \"action\": \"refunds.create\", \"params\": {{\"customer_id\": \"{customer}\", \
         \"order_id\": \"1\", \"amount\": 1e1}}}}"
    );
    story.client().post("/v1/actions").bearer(&token).body("application/json", body).send().expect(200);
    story.act(&token, "refunds.create", &refund(&customer, &json!(0.000001))).refused(403, "limit_exceeded");
}

#[test]
fn a_limit_of_a_task_is_its_own() {
    let story = story();
    let client = story.client();
    let rules = "  - {name: each, allow: [notes.write], limits: [{count: 2, per: day, by: grant}]}\n";
    let (agent, token) = story.ready(rules);
    let other = agent.token(&client, "notes.write");
    let customer = fresh("c");
    let act = |token: &str| story.act(token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    act(&token).expect(200);
    act(&token).expect(200);
    act(&token).refused(403, "limit_exceeded");
    // A task that the agent made itself is also charged to the agent: making tasks makes no new budget.
    act(&other).refused(403, "limit_exceeded");
}

#[test]
fn a_used_up_limit_falls_through_to_no_other_rule() {
    let story = story();
    let (_, token) = story.ready(
        "  - {name: one, allow: [notes.write], limits: [{count: 1, per: day}]}\n  - {name: rest, allow: [notes.*]}\n",
    );
    let customer = fresh("c");
    let act = || story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    act().expect(200);
    act().refused(403, "limit_exceeded");
}

#[test]
fn what_is_refused_uses_nothing_up() {
    let story = story();
    let rules = "  - {name: two, allow: [refunds.create], when: [params.amount <= 5], limits: [{count: 2, per: day}]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let act = |amount: u32| story.act(&token, "refunds.create", &refund(&customer, &json!(amount)));
    for _ in 0..5 {
        act(6).refused(403, "condition_failed");
    }
    act(5).expect(200);
    act(5).expect(200);
    act(5).refused(403, "limit_exceeded");
}

#[test]
fn limits_outlive_a_restart() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: three, allow: [notes.write], limits: [{count: 3, per: day}]}\n");
    let act = |story: &Story| story.act(&token, "notes.write", &json!({"customer_id": "c", "text": "x"}));
    act(&story).expect(200);
    story.server.kill();
    story.server.restart();
    act(&story).expect(200);
    assert_eq!(story.server.stop(), Some(0));
    story.server.restart();
    let left = AtomicUsize::new(0);
    together(8, |_| left.fetch_add(usize::from(act(&story).status == 200), Ordering::SeqCst));
    assert_eq!(left.into_inner(), 1);
    let _: &Upstream = &story.shop;
    assert_eq!(story.shop.count("/"), 3);
}
