//! `Prefer: wait=N`: a held request waits in place for its answer.

use crate::stage::{PLACET, story};
use placet_testkit::{Answer, Client, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

const HELD: &str =
    "  - name: held\n    allow: [notes.write]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": "hello"})
}

fn waiting(story: &Story, token: &str, customer: &str, prefer: &str) -> Answer {
    story.acting(token, "notes.write", &note(customer)).header("prefer", prefer).send()
}

/// The approval that is put to people about this customer.
fn pending(story: &Story, customer: &str) -> String {
    until("the question", || {
        let listed = story.approver().get("/v1/approvals?state=pending&limit=1000").send().expect(200);
        let listed = listed.at("/approvals").as_array().unwrap().clone();
        let found = listed.into_iter().find(|one| one["shown"]["params"]["customer_id"] == customer)?;
        Some(found["id"].as_str().unwrap().to_owned())
    })
}

fn decide(client: &Client, id: &str, verdict: &str) {
    client.post(&format!("/v1/approvals/{id}")).json(&json!({"verdict": verdict})).send().expect(200);
}

/// Lets time go by where nothing can be seen from outside.
fn elapse(millis: u64) {
    let began = Instant::now();
    until("the moment", || (began.elapsed() >= Duration::from_millis(millis)).then_some(()));
}

#[test]
fn a_yes_releases_and_a_no_refuses_what_waits() {
    let story = story();
    let (_, token) = story.ready(HELD);
    for (verdict, status) in [("approve", 200), ("deny", 403)] {
        let customer = fresh("c");
        let began = Instant::now();
        let answer = thread::scope(|scope| {
            let request = scope.spawn(|| waiting(story, &token, &customer, "wait=50"));
            let id = pending(story, &customer);
            decide(&story.approver(), &id, verdict);
            request.join().unwrap()
        });
        assert_eq!(answer.header("preference-applied"), Some("wait=50"));
        let answer = answer.expect(status);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        if status == 403 {
            answer.refused(403, "approval_denied");
        } else {
            assert_eq!(answer.at("/status"), "executed");
        }
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), usize::from(status == 200));
    }
}

#[test]
fn nobody_answers_and_the_answer_is_the_same_as_without() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let began = Instant::now();
    let answer = waiting(story, &token, &customer, "wait=1").expect(202);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.at("/status"), "held");
    let id = answer.text("/approval/id");
    // Without the preference, or with one that can't be read, it does not wait.
    for prefer in ["wait=x", "return=minimal", "wait=0"] {
        let answer = waiting(story, &token, &customer, prefer).expect(202);
        assert_eq!(answer.header("preference-applied"), None, "{prefer}");
        assert_eq!(answer.text("/approval/id"), id);
    }
    // What isn't held is not delayed by it.
    let (_, free) = story.ready("  - {name: all, allow: [notes.write]}\n");
    let began = Instant::now();
    waiting(story, &free, &customer, "wait=50").expect(200);
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_end_of_the_grant_ends_the_waiting() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let answer = thread::scope(|scope| {
        let request = scope.spawn(|| waiting(story, &token, &customer, "wait=50"));
        pending(story, &customer);
        story.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
        request.join().unwrap()
    });
    assert_eq!(answer.status, 401, "{:#}", answer.body);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
}

#[test]
fn a_client_that_goes_away_leaves_nothing_charged() {
    let story = story();
    let rules = "  - name: held\n    allow: [notes.write]\n    limits: [{count: 1, per: day}]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let body = json!({"service": "shop", "action": "notes.write", "params": note(&customer)}).to_string();
    let address = story.server.base().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /v1/actions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nprefer: wait=50\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let id = pending(story, &customer);
    stream.shutdown(Shutdown::Both).unwrap();
    let _ = stream.read(&mut [0; 1]);
    drop(stream);
    // The server sees the end of the connection some time before it would look by itself.
    elapse(300);
    decide(&story.approver(), &id, "approve");
    elapse(1500);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0, "it ran for nobody");
    // Nothing was charged and nothing was used: the only one of the day is still there.
    let again = story.acting(&token, "notes.write", &note(&customer)).header("placet-approval", &id);
    again.send().expect(200);
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn several_that_wait_for_one_approval_get_one_effect() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let answers = thread::scope(|scope| {
        let requests: Vec<_> =
            (0..8).map(|_| scope.spawn(|| waiting(story, &token, &customer, "wait=50"))).collect();
        let id = pending(story, &customer);
        elapse(200);
        decide(&story.approver(), &id, "approve");
        requests.into_iter().map(|request| request.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(403, "approval_used");
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
}

#[test]
fn a_stop_does_not_wait_for_people() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let request = story.acting(&token, "notes.write", &note(&customer)).header("prefer", "wait=50");
    thread::scope(|scope| {
        let request = scope.spawn(move || request.send());
        pending(&story, &customer);
        let began = Instant::now();
        assert_eq!(story.server.stop(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(request.join().unwrap().status, 202);
    });
}
