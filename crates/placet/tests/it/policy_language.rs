//! Rates, leases, hours and observed policies, over HTTP.

use crate::stage::{PLACET, story};
use placet_core::time::Timestamp;
use placet_testkit::{Answer, Gate, Reply, Story, fresh, together, until};
use serde_json::{Value, json};

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "x"})
}

fn executed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "what the real server's clock says is compared with it")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn retry_at(reason: &Value) -> Timestamp {
    Timestamp::parse(reason["remedy"]["retry_at"].as_str().unwrap()).unwrap()
}

#[test]
fn a_rate_is_exact_whatever_comes_at_once_and_is_never_given_back() {
    let story = story();
    let (_, token) =
        story.ready("  - {name: slow, allow: [refunds.create], limits: [{rate: 7/day, burst: 5}]}\n");
    let customer = fresh("c");
    // The service lists 404 as without effect: what a rate counted stays counted.
    story.shop.reply(&format!("/customers/{customer}/"), Reply::status(404));
    let params = json!({"customer_id": customer, "order_id": "1", "amount": 1});
    let answers = together(32, |_| story.act(&token, "refunds.create", &params));
    assert_eq!(executed(&answers), 5);
    let refused = story.act(&token, "refunds.create", &params).refused(403, "limit_exceeded");
    let reason = refused.at("/reasons/0");
    assert_eq!((&reason["rule"], &reason["expression"]), (&json!("slow"), &json!("rate: 7/day, burst: 5")));
    let wait = now().until(retry_at(reason)).as_secs();
    assert!((86_400 / 7 - 60..=86_400 / 7).contains(&wait), "{wait}");
}

#[test]
fn a_rate_lets_the_next_through_when_it_said() {
    let story = story();
    let (_, token) =
        story.ready("  - {name: slow, allow: [notes.write], limits: [{rate: 2/second, burst: 1}]}\n");
    let customer = fresh("c");
    let act = || story.act(&token, "notes.write", &note(&customer));
    act().expect(200);
    until("room for the next", || {
        let begun = now();
        let answer = act();
        if answer.status == 200 {
            return Some(());
        }
        assert!(begun.until(retry_at(answer.at("/reasons/0"))).as_millis() <= 600, "{:#}", answer.body);
        None
    });
}

#[test]
fn a_user_is_told_no_more_of_a_shared_rate_than_that_it_is_used_up() {
    let story = story();
    let (agent, token) =
        story.ready("  - {name: ours, allow: [notes.write], limits: [{rate: 1/day, by: resource}]}\n");
    let customer = fresh("c");
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    let refused = story.act(&token, "notes.write", &note(&customer)).refused(403, "limit_exceeded");
    assert_eq!(refused.at("/reasons/0").get("remedy"), None, "{:#}", refused.body);
    let asked =
        json!({"action": "notes.write", "params": note(&customer), "agent": agent.handle, "dry_run": true});
    let told = story.admin().post("/v1/decisions").json(&asked).send().expect(200);
    assert!(told.at("/reasons/0/remedy/shared_retry_at").is_string(), "{:#}", told.body);
}

#[test]
fn at_most_so_many_at_the_same_time() {
    let story = story();
    let (_, token) = story.ready("  - {name: three, allow: [notes.write], limits: [{concurrent: 3}]}\n");
    let customer = fresh("c");
    let path = format!("/customers/{customer}/");
    let gate = Gate::shut();
    story.shop.reply(&path, Reply::status(200).after(&gate));
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..3).map(|_| scope.spawn(|| story.act(&token, "notes.write", &note(&customer)))).collect();
        until("three under way", || (story.shop.count(&path) == 3).then_some(()));
        let refused = story.act(&token, "notes.write", &note(&customer)).refused(403, "limit_exceeded");
        let reason = refused.at("/reasons/0");
        assert_eq!((&reason["rule"], &reason["expression"]), (&json!("three"), &json!("concurrent: 3")));
        assert!(reason.get("remedy").is_none() && reason["detail"].is_string(), "{reason}");
        gate.open();
        for one in waiting {
            one.join().unwrap().expect(200);
        }
    });
    // What has ended gives its place back, with the next commit or so.
    until("room for the next", || {
        (story.act(&token, "notes.write", &note(&customer)).status == 200).then_some(())
    });
}

#[test]
fn outside_its_hours_a_rule_has_no_say_and_says_when_it_has() {
    let story = story();
    // One of the two is always closed for hours, and the other open.
    let now = now();
    let clock = |hours: i64| format!("{:02}:00", (now.as_seconds() / 3600 + hours).rem_euclid(24));
    let hours = |from: i64, to: i64| format!("{{from: '{}', to: '{}', zone: UTC}}", clock(from), clock(to));
    let (_, token) = story.ready(&format!(
        "  - {{name: later, allow: [notes.write], hours: {}}}\n  - {{name: now, allow: [orders.read], hours: {}}}\n",
        hours(3, 6),
        hours(-3, 3)
    ));
    let refused = story.act(&token, "notes.write", &note(&fresh("c"))).refused(403, "outside_hours");
    let reason = refused.at("/reasons/0");
    let wait = now.until(retry_at(reason)).as_secs() / 3600;
    assert!((2..=3).contains(&wait) && reason.get("expression").is_none(), "{reason}");
    story.act(&token, "orders.read", &json!({"customer_id": "1", "order_id": "1"})).expect(200);
}

#[test]
fn an_observed_policy_changes_nothing_and_is_reported() {
    let story = Story::new(PLACET);
    let (agent, token) = story.ready("  - {name: any, allow: [notes.write]}\n");
    let name = fresh("observed");
    let policy = format!(
        "policy: {name}\nmode: observe\nrecord: {{keep: 1h}}\nrules:\n  - {{name: short, guard: [notes.*], when: params.text == 'y'}}\n  - {{name: reading, allow: [orders.read]}}\n"
    );
    story.policy(&name, &policy).expect(201);
    let customer = fresh("c");
    for _ in 0..3 {
        story.act(&token, "notes.write", &note(&customer)).expect(200);
    }
    let read = json!({"customer_id": "1", "order_id": "1"});
    for _ in 0..2 {
        story.act(&token, "orders.read", &read).refused(403, "no_rule");
    }
    let asked = json!({"action": "notes.write", "params": note("1"), "agent": agent.handle, "dry_run": true});
    let dry = story.admin().post("/v1/decisions").json(&asked).send().expect(200);
    assert_eq!((dry.at("/decision"), dry.at("/observed/0/would")), (&json!("allow"), &json!("deny")));
    let report = |story: &Story| {
        let path = format!("/v1/policies/{name}/observations");
        story.admin().get(&path).send().expect(200).at("/observations").clone()
    };
    let short = |one: &Value| {
        ["would", "decision", "rule", "action", "handle", "code", "count"].map(|member| one[member].clone())
    };
    let before = report(&story);
    let shown: Vec<_> = before.as_array().unwrap().iter().map(short).collect();
    let expected = [
        json!(["deny", "allow", "short", "notes.write", agent.handle, "condition_failed", 3]),
        json!(["allow", "deny", "reading", "orders.read", agent.handle, "", 2]),
    ];
    assert_eq!(json!(shown), json!(expected));
    // It is in the record beside what was decided, and what was counted outlives a crash.
    let intent = until("the intent", || {
        story.record().into_iter().rev().find(|entry| entry["type"] == "action.intent")
    });
    let shown = story.admin().get(&format!("/v1/record/{}", intent["index"])).send().expect(200);
    assert!(shown.body.to_string().contains(&format!("{name}@1")), "{:#}", shown.body);
    let Story { mut server, shop, ada, lee } = story;
    server.kill();
    server.restart();
    let story = Story { server, shop, ada, lee };
    assert_eq!(report(&story), before);
    story.admin().get("/v1/policies/nothing/observations").send().refused(404, "not_found");
}
