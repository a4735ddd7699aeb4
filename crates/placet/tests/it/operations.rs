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
    // The first turn of the job comes right after the start, and may take some of them.
    assert!((1..=2).contains(&summaries.len()), "{entries:#?}");
    let sum = |member: &str| -> u64 {
        summaries.iter().filter_map(|summary| summary.pointer(member)?.as_u64()).sum()
    };
    assert_eq!(sum("/count"), 8);
    assert_eq!((sum("/body/by_code/token_invalid"), sum("/body/by_code/invalid_client")), (7, 1));
    assert!(summaries.iter().all(|summary| summary["agent"].is_null()));
    let last = summaries[summaries.len() - 1];
    assert!(last["codes"].as_array().unwrap().contains(&serde_json::json!("invalid_client")), "{last}");
}
