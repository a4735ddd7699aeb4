//! `/healthz` and `/readyz`; the entry that sums up who was refused before they were known.

use crate::stage::{PLACET, story};
use placet_testkit::Server;

#[test]
fn a_server_that_works_says_so_to_anybody() {
    let story = story();
    let alive = story.client().get("/healthz").send().expect(200);
    assert_eq!(alive.body, "ok\n");
    let ready = story.client().get("/readyz").send().expect(200);
    assert_eq!(ready.text("/status"), "ready");
    for part in ["serving", "store_reads", "store_writes", "jobs"] {
        assert_eq!(ready.text(&format!("/checks/{part}")), "ok", "{part}");
    }
}

#[test]
fn failures_before_authentication_are_one_entry_with_a_count() {
    let mut server = Server::start(PLACET);
    for _ in 0..7 {
        server.client().get("/v1/agents").send().refused(401, "token_invalid");
    }
    server
        .client()
        .post("/oauth/token")
        .basic("agt_x", "y")
        .form(&[("grant_type", "client_credentials")])
        .send()
        .refused(401, "invalid_client");
    assert_eq!(server.stop(), Some(0));
    server.restart();
    let page = server.admin().get("/v1/record?limit=500").send().expect(200);
    let entries = page.at("/entries").as_array().unwrap();
    let summaries: Vec<_> = entries.iter().filter(|entry| entry["type"] == "server.summary").collect();
    assert_eq!(summaries.len(), 1, "{entries:#?}");
    let summary = summaries[0];
    assert_eq!(summary["count"], 8);
    assert_eq!(summary["codes"], serde_json::json!(["invalid_client", "token_invalid"]));
    assert_eq!(summary["body"]["by_code"]["token_invalid"], 7);
    assert_eq!(summary["agent"], serde_json::Value::Null);
}
