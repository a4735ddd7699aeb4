//! `/metrics`: who may read it, and that it counts what happened.

use crate::stage::{PLACET, story};
use placet_testkit::{Client, Story, fresh, until};
use serde_json::json;

/// The value of a series, by its whole name with labels.
fn value(text: &str, series: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

fn scrape(client: &Client) -> String {
    let answer = client.get("/metrics").send().expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    String::from_utf8(answer.bytes).unwrap()
}

#[test]
fn administrators_and_auditors_read_it_and_nobody_else() {
    let story = story();
    story.client().get("/metrics").send().refused(401, "token_invalid");
    let (_, token) = story.ready("  - {name: none, allow: [notes.write]}\n");
    story.client().with(&token).get("/metrics").send().refused(403, "not_permitted");
    story.approver().get("/metrics").send().refused(403, "not_permitted");
    let (_, auditor) = story.user(&fresh("auditor-"), &["auditor"]);
    scrape(&story.client().with(&auditor));
    scrape(&story.server.admin());
}

#[test]
fn what_happens_is_counted() {
    let story = Story::new(PLACET);
    let rules = "  - {name: one, allow: [notes.write], limits: [{count: 1, per: day}]}\n  - {name: ask, allow: [refunds.create], approve: {by: [\"role:support-lead\"]}}\n";
    let (_, token) = story.ready(rules);
    let admin = story.server.admin();
    let customer = fresh("c");
    let note = json!({"customer_id": customer, "text": "x"});
    story.act(&token, "notes.write", &note).expect(200);
    for _ in 0..3 {
        story.act(&token, "notes.write", &note).refused(403, "limit_exceeded");
    }
    let refund = json!({"customer_id": customer, "order_id": "1", "amount": 1});
    story.act(&token, "refunds.create", &refund).expect(202);
    for _ in 0..5 {
        story.client().get("/v1/agents").send().refused(401, "token_invalid");
    }
    story.client().get("/no/such/path").send().expect(404);
    let text = scrape(&admin);
    for (series, expected) in [
        ("placet_decisions_total{verdict=\"allow\",code=\"\"}", 1),
        ("placet_decisions_total{verdict=\"deny\",code=\"limit_exceeded\"}", 3),
        ("placet_decisions_total{verdict=\"hold\",code=\"approval_required\"}", 1),
        ("placet_requests_total{method=\"POST\",route=\"/v1/actions\",status=\"2xx\"}", 2),
        ("placet_requests_total{method=\"POST\",route=\"/v1/actions\",status=\"4xx\"}", 3),
        ("placet_requests_total{method=\"GET\",route=\"none\",status=\"4xx\"}", 1),
        ("placet_authentication_failures_total{code=\"token_invalid\"}", 5),
        ("placet_tokens_issued_total{grant_type=\"client_credentials\"}", 1),
        ("placet_upstream_calls_total{outcome=\"done\"}", 1),
        ("placet_upstream_seconds_count", 1),
        ("placet_approvals_pending", 1),
        ("placet_actions_in_flight", 0),
        ("placet_denials_waiting", 2),
        ("placet_store_up", 1),
        ("placet_job_up{job=\"tidying up\"}", 1),
    ] {
        assert_eq!(value(&text, series), expected, "{series} in\n{text}");
    }
    assert!(value(&text, "placet_admit_seconds_count") >= 2, "{text}");
    assert!(value(&text, "placet_store_group_size_count") > 5, "{text}");
    assert!(value(&text, "placet_store_group_size_sum") >= value(&text, "placet_store_group_size_count"));
    assert!(text.contains("placet_store_queue_depth "), "{text}");
    assert!(value(&text, "process_resident_memory_bytes") > 1 << 20, "{text}");
    until("the log to be complete", || {
        let text = scrape(&admin);
        (value(&text, "placet_record_lag_entries") == 0 && value(&text, "placet_record_entries") > 5)
            .then_some(())
    });
}

#[test]
fn no_label_is_of_anybodys_choosing() {
    let story = story();
    let (agent, token) = story.ready("  - {name: none, allow: [notes.write]}\n");
    let customer = fresh("customer-");
    story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"})).expect(200);
    story.client().request("BREW", &format!("/v1/agents/{customer}")).send().expect(405);
    story.client().get(&format!("/{customer}")).send().expect(404);
    let text = scrape(&story.server.admin());
    for secret in [&agent.id, &agent.handle, &customer, &"BREW".to_owned(), &"x".repeat(40)] {
        assert!(!text.contains(secret.as_str()), "{secret} in\n{text}");
    }
}
