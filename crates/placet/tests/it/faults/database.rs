//! The database server: killed under load, silent, slow. On a real PostgreSQL whatever the engine of the other tests.

use super::under_load;
use crate::{
    crash::{Answered, agents, check},
    stage::PLACET,
};
use placet_testkit::{Cluster, Gate, Proxy, Reply, Server, Story, fresh, until};
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
fn a_database_server_that_is_killed_under_load_is_unavailable_until_it_is_back() {
    let cluster = Cluster::start(&["fsync=on"]);
    let story = Story::on(Server::on_database(PLACET, cluster.database()));
    let (agents, process) = (agents(&story), story.server.id());
    let limited = agents[0].1.clone();
    let answered = under_load(&story, &agents, |answered| {
        for kill in 1..=2 {
            let before = answered.executed();
            until("some load", || (answered.executed() >= before + 19 * kill).then_some(()));
            cluster.kill_processes();
            refused(answered);
            let alive = story.client().get("/healthz").send();
            assert_eq!(alive.status, 200);
            // It looks once a second.
            until("unreadiness", || (story.client().get("/readyz").send().status == 503).then_some(()));
            cluster.restart();
            resumed(answered, &story);
        }
    });
    checked(&story, &limited, &answered, process);
    drop(story);
    cluster.stop();
}

#[test]
fn threat_18_a_silent_database_is_unavailable_in_time_and_service_resumes_by_itself() {
    let cluster = Cluster::of_this_process();
    let proxy = Proxy::before(cluster.address());
    let story = Story::on(Server::on_database(PLACET, cluster.database().behind(&proxy)));
    let (agents, process) = (agents(&story), story.server.id());
    let limited = agents[0].1.clone();
    let token = agents[1].0.token(&story.client(), "notes.write");
    let remembered = agents[1].0.token(&story.client(), "notes.write");
    // By the administrator token, which is compared in memory: a session would have to be read before anything is told.
    let ask = || story.server.admin().post("/oauth/introspect").form(&[("token", &remembered)]).send();
    assert_eq!(ask().expect(200).at("/active"), true);
    let answered = under_load(&story, &agents, |answered| {
        let before = answered.executed();
        until("some load", || (answered.executed() >= before + 20).then_some(()));
        proxy.stall();
        nothing_is_told_from_memory(|| ask().status);
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

/// What another node may have ended by now is not told from memory, once the database is silent.
fn nothing_is_told_from_memory(ask: impl Fn() -> u16) {
    let stalled = Instant::now();
    loop {
        let asked = stalled.elapsed();
        if ask() == 503 {
            return;
        }
        assert!(asked < Duration::from_secs(2), "told from memory after {asked:?}");
    }
}

/// As [`nothing_is_told_from_memory`]. Nothing else goes on here: what happens under load has a node
/// forget what it knows, so that there would be nothing to tell.
#[test]
fn threat_18_what_a_node_remembers_is_not_told_while_the_database_is_silent() {
    let cluster = Cluster::of_this_process();
    let proxy = Proxy::before(cluster.address());
    let story = Story::on(Server::on_database(PLACET, cluster.database().behind(&proxy)));
    let (_, token) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let ask = || story.server.admin().post("/oauth/introspect").form(&[("token", &token)]).send();
    // Until what was made for this is an old change: a node looks for changes several times a second.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(2) {
        assert_eq!(ask().expect(200).at("/active"), true);
    }
    proxy.stall();
    nothing_is_told_from_memory(|| ask().status);
    proxy.forward();
    until("it to be told again", || (ask().status == 200).then_some(()));
    assert_eq!(ask().expect(200).at("/active"), true);
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

/// Nothing is sealed while the database is away: what happened meanwhile is recorded all the same.
#[test]
fn an_answer_that_can_not_be_kept_does_not_lose_what_happened() {
    let cluster = Cluster::of_this_process();
    let proxy = Proxy::before(cluster.address());
    let story = Story::on(Server::on_database(PLACET, cluster.database().behind(&proxy)));
    let (_, token) = story.ready("  - {name: notes, allow: [notes.write]}\n");
    let customer = fresh("c");
    let (path, gate) = (format!("/customers/{customer}/"), Gate::shut());
    story.shop.reply(&path, Reply::status(200).after(&gate));
    let note = json!({"customer_id": customer, "text": "x"});
    let send = || story.acting(&token, "notes.write", &note).header("idempotency-key", "once").send();
    let told = thread::scope(|scope| {
        let told = scope.spawn(send);
        until("the effect", || (story.shop.count(&path) == 1).then_some(()));
        proxy.refuse();
        until("nothing to be sealed any more", || {
            (story.gauges(["placet_vault_seals"]) == [0]).then_some(())
        });
        gate.open();
        told.join().unwrap()
    });
    assert_eq!((told.status, told.at("/happened")), (503, &json!("yes")), "{:#}", told.body);
    proxy.forward();
    // Recorded once the database is back, and told to who asks again: not what came of it, but that it happened.
    let again = until("the outcome", || {
        let again = send();
        let waits = [503, 409].contains(&again.status) && again.at("/happened").is_null();
        (!waits).then_some(again)
    });
    assert_eq!((again.status, again.at("/happened")), (502, &json!("yes")), "{:#}", again.body);
    assert_eq!(story.shop.count(&path), 1);
    let listed = story.admin().get("/v1/actions?state=unknown").send().expect(200);
    assert_eq!(listed.at("/actions"), &json!([]));
}
