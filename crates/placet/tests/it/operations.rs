//! `/healthz` and `/readyz`; the entry that sums up who was refused before they were known.

use crate::stage::{PLACET, story};
use placet_testkit::{Client, Gate, Reply, Server, Story, fresh, until};
use serde_json::json;
use std::net::TcpListener;

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

#[test]
fn a_server_that_is_stopping_says_so_where_it_is_watched() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let watch = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    story.server.stop();
    story.server.flags(&["--metrics-listen", &watch]);
    story.server.restart();
    let watch = Client::new(&format!("http://{watch}"));
    watch.get("/readyz").send().expect(200);
    watch.get("/healthz").send().expect(200);
    assert!(
        String::from_utf8(watch.get("/metrics").send().expect(200).bytes)
            .unwrap()
            .contains("placet_store_up 1")
    );
    // Nothing else is answered there, and the other address asks as ever.
    watch.get("/v1/agents").send().expect(404);
    story.client().get("/metrics").send().refused(401, "token_invalid");
    // While an action is under way, the server has been asked to stop and is still there.
    let gate = Gate::shut();
    let customer = fresh("c");
    story.shop.reply(&format!("/customers/{customer}/"), Reply::json(200, &json!({})).after(&gate));
    let acting = story.acting(&token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    let acted = std::thread::spawn(move || acting.send());
    until("the shop", || (story.shop.count(&format!("/customers/{customer}/")) == 1).then_some(()));
    let asked = std::process::Command::new("kill").args(["-TERM", &story.server.id().to_string()]).status();
    assert!(asked.unwrap().success());
    let report =
        until("the report", || watch.get("/readyz").try_send().ok().filter(|answer| answer.status == 503));
    assert_eq!(report.text("/checks/serving"), "stopping");
    assert_eq!(report.text("/checks/store_writes"), "ok");
    gate.open();
    acted.join().unwrap().expect(200);
}
