//! `Idempotency-Key`: the same answer again, without doing it again.

use crate::stage::{PLACET, story};
use placet_testkit::{Answer, Gate, Reply, Story, fresh, together, until};
use serde_json::{Value, json};
use std::thread;

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "x"})
}

fn with_key(story: &Story, token: &str, key: &str, action: &str, params: &Value) -> Answer {
    story.acting(token, action, params).header("idempotency-key", key).send()
}

/// Each answer of the shop below `customer` has another number.
fn count_up(story: &Story, customer: &str) {
    let next = std::sync::atomic::AtomicUsize::new(1);
    story.shop.answer(&format!("/customers/{customer}/"), move |_| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::json(201, &json!({"number": number, "exact": 0.1})).header("etag", format!("\"{number}\""))
    });
}

#[test]
fn the_same_request_again_has_the_same_answer_and_happens_once() {
    let story = story();
    let (_, token) = story.ready("  - {name: once, allow: [notes.write], limits: [{count: 1, per: day}]}\n");
    let customer = fresh("c");
    count_up(story, &customer);
    let first = with_key(story, &token, "k-1", "notes.write", &note(&customer)).expect(200);
    assert_eq!(first.at("/result/body/number"), 1);
    for _ in 0..3 {
        let again = with_key(story, &token, "k-1", "notes.write", &note(&customer)).expect(200);
        assert_eq!(again.body, first.body);
    }
    // It was charged once, and the limit does not stand in the way of what was done already.
    with_key(story, &token, "k-2", "notes.write", &note(&customer)).refused(403, "limit_exceeded");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn of_many_at_once_with_one_key_one_is_carried_out() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    count_up(story, &customer);
    let answers = together(24, |_| with_key(story, &token, "same", "notes.write", &note(&customer)));
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.at("/result/body/number"), 1),
            _ => _ = answer.clone().refused(409, "idempotency_in_flight"),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn a_key_belongs_to_one_request_of_one_agent() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    count_up(story, &customer);
    let first = with_key(story, &token, "mine", "notes.write", &note(&customer)).expect(200);
    let other_text = json!({"customer_id": customer, "text": "y"});
    with_key(story, &token, "mine", "notes.write", &other_text).refused(422, "idempotency_mismatch");
    let other_customer = json!({"customer_id": fresh("c"), "text": "x"});
    with_key(story, &token, "mine", "notes.write", &other_customer).refused(422, "idempotency_mismatch");
    let order = json!({"customer_id": customer, "order_id": "1"});
    with_key(story, &token, "mine", "orders.read", &order).refused(422, "idempotency_mismatch");
    assert_eq!(with_key(story, &token, "mine", "notes.write", &note(&customer)).body, first.body);
    // Another agent's key of the same name is another key.
    let (_, other) = story.ready(ALL);
    assert_eq!(
        with_key(story, &other, "mine", "notes.write", &note(&customer))
            .expect(200)
            .at("/result/body/number"),
        2
    );
}

#[test]
fn while_the_first_is_under_way_the_second_is_told_so() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let gate = Gate::shut();
    story
        .shop
        .reply(&format!("/customers/{customer}/"), Reply::json(200, &json!({"late": true})).after(&gate));
    thread::scope(|scope| {
        let first = scope.spawn(|| with_key(story, &token, "slow", "notes.write", &note(&customer)));
        until("the request upstream", || {
            (story.shop.count(&format!("/customers/{customer}/")) == 1).then_some(())
        });
        with_key(story, &token, "slow", "notes.write", &note(&customer))
            .refused(409, "idempotency_in_flight");
        let other = json!({"customer_id": customer, "text": "y"});
        with_key(story, &token, "slow", "notes.write", &other).refused(422, "idempotency_mismatch");
        gate.open();
        let first = first.join().unwrap().expect(200);
        let again = with_key(story, &token, "slow", "notes.write", &note(&customer)).expect(200);
        assert_eq!(again.body, first.body);
    });
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn an_answer_is_replayed_on_todays_authority_only() {
    let story = story();
    let (agent, token) = story.ready(ALL);
    let customer = fresh("c");
    with_key(story, &token, "k", "notes.write", &note(&customer)).expect(200);
    story.rules(&agent.handle, "  - {name: none, deny: [notes.*]}\n").expect(200);
    with_key(story, &token, "k", "notes.write", &note(&customer)).refused(403, "forbidden");
    story.rules(&agent.handle, ALL).expect(200);
    with_key(story, &token, "k", "notes.write", &note(&customer)).expect(200);
    story.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert_eq!(with_key(story, &token, "k", "notes.write", &note(&customer)).status, 401);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn what_may_have_happened_is_not_done_again() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/");
    story.shop.reply(&path, Reply::hang_up());
    let first =
        with_key(story, &token, "k", "notes.write", &note(&customer)).refused(502, "upstream_unreachable");
    story.shop.reply(&path, Reply::status(200));
    let again = with_key(story, &token, "k", "notes.write", &note(&customer));
    assert!(matches!(again.status, 502 | 504), "{:#}", again.body);
    assert_eq!((again.at("/happened"), again.at("/id")), (&json!("unknown"), first.at("/id")));
    assert_eq!(story.shop.count(&path), 1);
}

#[test]
fn a_refusal_takes_no_key() {
    let story = story();
    let (agent, token) = story.ready("  - {name: none, deny: [notes.*]}\n");
    let customer = fresh("c");
    with_key(story, &token, "k", "notes.write", &note(&customer)).refused(403, "forbidden");
    story.rules(&agent.handle, ALL).expect(200);
    with_key(story, &token, "k", "notes.write", &note(&customer)).expect(200);
}

#[test]
fn keys_that_are_none_are_refused() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let long = "k".repeat(256);
    for key in ["", "a b", "\u{e9}", long.as_str()] {
        with_key(story, &token, key, "notes.write", &note(&customer)).refused(400, "request_invalid");
    }
    let twice = story.acting(&token, "notes.write", &note(&customer)).header("idempotency-key", "a");
    twice.header("idempotency-key", "a").send().refused(400, "request_invalid");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn an_approved_request_is_replayed_too() {
    let story = story();
    let rules =
        "  - {name: held, allow: [notes.write], approve: {by: [\"role:support-lead\"], within: 30m}}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let id = with_key(story, &token, "k", "notes.write", &note(&customer)).expect(202).text("/approval/id");
    let said =
        story.approver().post(&format!("/v1/approvals/{id}")).json(&json!({"verdict": "approve"})).send();
    said.expect(200);
    let send = || {
        let request = story.acting(&token, "notes.write", &note(&customer)).header("idempotency-key", "k");
        request.header("placet-approval", &id).send()
    };
    let first = send().expect(200);
    assert_eq!(send().expect(200).body, first.body);
    // Sent again without the approval, nobody is asked anew.
    assert_eq!(with_key(story, &token, "k", "notes.write", &note(&customer)).expect(200).body, first.body);
    let other = note(&fresh("c"));
    with_key(story, &token, "k", "notes.write", &other).refused(422, "idempotency_mismatch");
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn answers_are_replayed_after_a_restart() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(ALL);
    count_up(&story, "c");
    let first = with_key(&story, &token, "k", "notes.write", &note("c")).expect(200);
    story.server.kill();
    story.server.restart();
    assert_eq!(with_key(&story, &token, "k", "notes.write", &note("c")).expect(200).body, first.body);
    assert_eq!(story.server.stop(), Some(0));
    story.server.restart();
    assert_eq!(with_key(&story, &token, "k", "notes.write", &note("c")).expect(200).body, first.body);
    let other = json!({"customer_id": "c", "text": "y"});
    with_key(&story, &token, "k", "notes.write", &other).refused(422, "idempotency_mismatch");
    assert_eq!(story.shop.count("/customers/c/"), 1);
}

#[test]
fn what_a_kill_interrupted_is_unknown_and_not_done_again() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(ALL);
    let gate = Gate::shut();
    story.shop.reply("/customers/c/", Reply::status(200).after(&gate));
    let request = story.acting(&token, "notes.write", &note("c")).header("idempotency-key", "k");
    let waiting = thread::spawn(move || request.try_send().is_err());
    until("the request upstream", || (story.shop.count("/customers/c/") == 1).then_some(()));
    story.server.kill();
    assert!(waiting.join().unwrap(), "it was answered");
    gate.open();
    story.server.restart();
    let again = with_key(&story, &token, "k", "notes.write", &note("c"));
    assert!(matches!(again.status, 502 | 504), "{:#}", again.body);
    assert_eq!(again.at("/happened"), "unknown");
    assert_eq!(story.shop.count("/customers/c/"), 1);
}
