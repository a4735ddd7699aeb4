//! The database server: silent, slow, cut off. On a real PostgreSQL whatever the engine of the other tests.

use super::under_load;
use crate::{
    crash::{Answered, agents, check},
    stage::PLACET,
};
use placet_testkit::{Cluster, Proxy, Server, Story, until};
use serde_json::json;
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

/// Longer than any answer takes while the database does not answer.
const BOUND: Duration = Duration::from_secs(17);

/// Waits until so many more actions were executed: the server has resumed, and nobody helped it.
fn resumed(answered: &Answered, story: &Story) {
    let before = answered.executed();
    until("actions to go on", || (answered.executed() >= before + 30).then_some(()));
    until("readiness", || (story.client().get("/readyz").send().status == 200).then_some(()));
}

/// Waits until agents are refused because the database is not there, each at least once or twice.
fn refused(answered: &Answered) {
    let before = answered.unavailable();
    until("refusals", || (answered.unavailable() > before + 6).then_some(()));
}

/// What is told afterwards is what was before: the same process, all that was answered, no limit passed.
fn checked(story: &Story, limited: &str, answered: &Answered, process: u32) {
    assert_eq!(story.server.id(), process);
    assert!(answered.slowest() < BOUND, "an answer took {:?}", answered.slowest());
    // What is answered is in the log within a second.
    until("every effect's intent", || {
        let record = story.record();
        let intents = record.iter().filter(|entry| entry["type"] == "action.intent");
        let intents: BTreeSet<&str> =
            intents.filter_map(|entry| entry.pointer("/params/text")?.as_str()).collect();
        let seen = story.shop.seen_at("/customers/");
        seen.iter().all(|effect| intents.contains(effect.json()["text"].as_str().unwrap())).then_some(())
    });
    check(story, limited, answered);
    assert!(!story.server.log().contains("panicked"));
}

#[test]
fn a_silent_database_is_unavailable_in_time_and_service_resumes_by_itself() {
    let cluster = Cluster::of_this_process();
    let proxy = Proxy::before(cluster.address());
    let story = Story::on(Server::on_database(PLACET, cluster.database().behind(&proxy)));
    let (agents, process) = (agents(&story), story.server.id());
    let limited = agents[0].1.clone();
    let token = agents[1].0.token(&story.client(), "notes.write");
    let answered = under_load(&story, &agents, |answered| {
        let before = answered.executed();
        until("some load", || (answered.executed() >= before + 20).then_some(()));
        proxy.stall();
        let doors = thread::scope(|scope| {
            // The other doors too: who asks is told, and does not wait for ever.
            let told = ["/oauth/introspect", "/oauth/revoke"]
                .map(|path| (path, story.admin().post(path).form(&[("token", &token)])))
                .map(|(path, request)| scope.spawn(move || (path, Instant::now(), request.send())));
            told.map(|door| {
                let (path, began, told) = door.join().unwrap();
                (path, began.elapsed(), told)
            })
        });
        for (path, took, told) in doors {
            assert_eq!(told.status, 503, "{path}: {:#}", told.body);
            assert!(took < BOUND, "{path} took {took:?}");
        }
        refused(answered);
        proxy.forward();
        resumed(answered, &story);
    });
    checked(&story, &limited, &answered, process);
}

#[test]
fn a_slow_database_is_slow_and_right() {
    let cluster = Cluster::of_this_process();
    let proxy = Proxy::before(cluster.address());
    let story = Story::on(Server::on_database(PLACET, cluster.database().behind(&proxy)));
    let (agents, process) = (agents(&story), story.server.id());
    let limited = agents[0].1.clone();
    let answered = under_load(&story, &agents, |answered| {
        for each in [5, 30, 60] {
            proxy.delay(Duration::from_millis(each));
            let before = answered.executed();
            until("actions", || (answered.executed() >= before + 15).then_some(()));
        }
        // Connections that are lost meanwhile change nothing.
        for _ in 0..3 {
            let before = answered.executed();
            proxy.cut();
            until("actions", || (answered.executed() >= before + 5).then_some(()));
        }
        proxy.forward();
    });
    checked(&story, &limited, &answered, process);
    let over = json!({"customer_id": limited, "text": "over"});
    let token = agents[0].0.token(&story.client(), "notes.write");
    let answers: Vec<u16> =
        (0..=crate::crash::MAX).map(|_| story.act(&token, "notes.write", &over).status).collect();
    assert_eq!(answers.last(), Some(&403));
    assert_eq!(story.shop.count(&format!("/customers/{limited}/")), crate::crash::MAX);
}
