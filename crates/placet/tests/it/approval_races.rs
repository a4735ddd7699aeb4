//! What happens at once to one approval or permit has one outcome.

use crate::stage::{PLACET, story};
use placet_testkit::{Answer, Story, fresh, together, until};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::OnceLock,
    time::{Duration, Instant},
};

const ROUNDS: usize = 12;
const HELD: &str =
    "  - name: held\n    allow: [notes.write]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";

fn note(customer: &str, text: &str) -> Value {
    json!({"customer_id": customer, "text": text})
}

fn hold(story: &Story, token: &str, params: &Value) -> String {
    story.act(token, "notes.write", params).expect(202).text("/approval/id")
}

fn decide(story: &Story, session: &str, id: &str, verdict: &str) -> Answer {
    let body = json!({"verdict": verdict});
    story.client().post(&format!("/v1/approvals/{id}")).bearer(session).json(&body).send()
}

fn resend(story: &Story, token: &str, params: &Value, id: &str) -> Answer {
    story.acting(token, "notes.write", params).header("placet-approval", id).send()
}

fn shown(story: &Story, id: &str) -> Value {
    story.admin().get(&format!("/v1/approvals/{id}")).send().expect(200).body
}

/// A second person who may answer.
fn leah(story: &Story) -> &'static str {
    static LEAH: OnceLock<String> = OnceLock::new();
    LEAH.get_or_init(|| story.user(&fresh("leah"), &["support-lead"]).1)
}

/// How many entries of each type the record has about an approval.
fn recorded(story: &Story, id: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in story.record().iter().filter(|entry| entry["approval"] == id) {
        *counts.entry(entry["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// Lets time go by where time itself is what is tested.
fn elapse(millis: u64) {
    let began = Instant::now();
    until("the moment", || (began.elapsed() >= Duration::from_millis(millis)).then_some(()));
}

/// How many answers the record has for an approval, once it has one.
fn decisions(story: &Story, id: &str) -> usize {
    until("the answer in the record", || {
        let counts = recorded(story, id);
        let of = |kind: &str| counts.get(kind).copied().unwrap_or(0);
        Some(of("approval.approved") + of("approval.denied")).filter(|count| *count > 0)
    })
}

#[test]
fn the_same_answer_at_once_is_one_decision() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let mut ids = Vec::new();
    for _ in 0..ROUNDS {
        let params = note(&fresh("c"), "same");
        let id = hold(story, &token, &params);
        // One person eight times: the same answer each time.
        for answer in together(8, |_| decide(story, &story.lee, &id, "approve")) {
            assert_eq!(answer.expect(200).at("/state"), "approved");
        }
        let votes = shown(story, &id)["votes"].as_array().unwrap().len();
        assert_eq!(votes, 1);
        ids.push(id);
    }
    for id in ids {
        assert_eq!(decisions(story, &id), 1);
    }
}

#[test]
fn a_yes_and_a_no_at_once_have_one_winner() {
    let story = story();
    let leah = leah(story);
    let (_, token) = story.ready(HELD);
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        let customer = fresh("c");
        let params = note(&customer, "which");
        let id = hold(story, &token, &params);
        let answers = together(6, |number| {
            let (session, verdict) =
                if (number + round) % 2 == 0 { (story.lee.as_str(), "approve") } else { (leah, "deny") };
            (verdict, decide(story, session, &id, verdict))
        });
        let state = shown(story, &id)["state"].as_str().unwrap().to_owned();
        let winner = match state.as_str() {
            "approved" => "approve",
            "denied" => "deny",
            other => panic!("{other}"),
        };
        for (verdict, answer) in answers {
            if verdict == winner {
                answer.expect(200);
            } else {
                answer.refused(409, "conflict");
            }
        }
        let released = resend(story, &token, &params, &id);
        assert_eq!(released.status, if winner == "approve" { 200 } else { 403 });
        ids.push(id);
    }
    for id in ids {
        assert_eq!(decisions(story, &id), 1);
    }
}

#[test]
fn a_yes_at_the_last_moment_is_in_time_or_late_and_not_both() {
    let story = story();
    let (_, token) = story.ready(&HELD.replace("30m", "1s"));
    for round in 0..6 {
        let params = note(&fresh("c"), "late");
        let id = hold(story, &token, &params);
        elapse(985 + round * 5);
        let answer = decide(story, &story.lee, &id, "approve");
        let released = resend(story, &token, &params, &id);
        if answer.status == 200 {
            released.expect(200);
        } else {
            answer.refused(409, "conflict");
            released.refused(403, "approval_expired");
        }
        if shown(story, &id)["state"] == "used" {
            assert_eq!(recorded(story, &id).get("approval.expired"), None);
        }
    }
}

#[test]
fn an_end_of_the_grant_and_a_yes_at_once_leave_nothing_that_runs() {
    let story = story();
    for _ in 0..ROUNDS {
        let (_, token) = story.ready(HELD);
        let customer = fresh("c");
        let params = note(&customer, "revoked");
        let id = hold(story, &token, &params);
        together(2, |number| {
            if number == 0 {
                let answer = decide(story, &story.lee, &id, "approve");
                assert!(matches!(answer.status, 200 | 409), "{:#}", answer.body);
            } else {
                story.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
            }
        });
        assert_eq!(resend(story, &token, &params, &id).status, 401);
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
        assert_eq!(shown(story, &id)["state"], "ended");
        decide(story, leah(story), &id, "approve").refused(409, "conflict");
    }
}

#[test]
fn what_waits_for_a_grant_that_ended_is_no_longer_pending() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let id = hold(story, &token, &note(&fresh("c"), "gone"));
    let listed = |state: &str| {
        let path = format!("/v1/approvals?state={state}&limit=1000");
        let listed = story.approver().get(&path).send().expect(200);
        listed.at("/approvals").as_array().unwrap().iter().any(|one| one["id"] == id.as_str())
    };
    assert!(listed("pending"));
    story.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert!(!listed("pending"), "it is still listed as waiting");
    decide(story, &story.lee, &id, "approve").refused(409, "conflict");
    until("its entry", || recorded(story, &id).contains_key("approval.ended").then_some(()));
    assert!(listed("ended"));
    assert_eq!(recorded(story, &id).get("approval.ended"), Some(&1));
}

#[test]
fn an_expiry_is_recorded_once_over_restarts() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(&HELD.replace("30m", "1s"));
    let ids: Vec<String> = (0..5).map(|_| hold(&story, &token, &note(&fresh("c"), "soon"))).collect();
    // It ends while the server is down, and at every start the end is found anew.
    story.server.kill();
    elapse(1200);
    for _ in 0..3 {
        story.server.restart();
        for id in &ids {
            until("its end in the record", || {
                recorded(&story, id).contains_key("approval.expired").then_some(())
            });
        }
    }
    for id in &ids {
        assert_eq!(recorded(&story, id).get("approval.expired"), Some(&1));
    }
}

#[test]
fn a_release_with_a_key_is_carried_out_once_and_replayed() {
    let story = story();
    let (_, token) = story.ready(HELD);
    for _ in 0..4 {
        let customer = fresh("c");
        let params = note(&customer, "keyed");
        let id = hold(story, &token, &params);
        decide(story, &story.lee, &id, "approve").expect(200);
        let key = fresh("key-");
        let answers = together(8, |_| {
            let request = story.acting(&token, "notes.write", &params).header("placet-approval", &id);
            request.header("idempotency-key", &key).send()
        });
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 409), "{}: {:#}", answer.status, answer.body);
        }
        let executed: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert!(!executed.is_empty());
        assert!(executed.iter().all(|answer| answer.text("/id") == executed[0].text("/id")));
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 1);
    }
}
