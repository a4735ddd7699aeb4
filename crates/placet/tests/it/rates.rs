//! Limits of the OAuth and session endpoints: strangers, people and clients each have their own, and nobody can use up
//! another's.

use crate::{authorize::browser::App, stage::PLACET};
use placet_testkit::{Answer, Story, password};
use serde_json::json;

/// A stage behind a proxy on this machine.
fn behind_a_proxy(more: &[&str]) -> Story {
    let mut story = Story::new(PLACET);
    story.server.flags(&[&["--forwarded-by", "127.0.0.1"], more].concat());
    story.server.restart();
    story
}

fn sign_in(story: &Story, from: &str, name: &str, password: &str) -> Answer {
    let body = json!({"name": name, "password": password});
    story.client().post("/v1/sessions").header("x-forwarded-for", from).json(&body).send()
}

#[test]
fn who_guesses_at_a_name_locks_nobody_else_out() {
    let story = behind_a_proxy(&[]);
    let guess = |from: &str| sign_in(&story, from, "ada", "a wrong password, long enough");
    let answers: Vec<Answer> = (0..12).map(|_| guess("192.0.2.1")).collect();
    assert!(answers[..10].iter().all(|answer| answer.status == 401));
    let refused = answers[11].clone().refused(429, "too_many_requests");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // The right password is not looked at there, and does from anywhere else.
    sign_in(&story, "192.0.2.1", "ada", &password("ada")).refused(429, "too_many_requests");
    sign_in(&story, "198.51.100.1", "ada", &password("ada")).expect(201);
    sign_in(&story, "192.0.2.1", "lee", &password("lee")).expect(201);
    // A holder of a /64 has one address; what is written left of the proxy's own word means nothing.
    for last in 0..10 {
        guess(&format!("2001:db8::{last:x}")).refused(401, "token_invalid");
    }
    guess("2001:db8::ffff").refused(429, "too_many_requests");
    guess("198.51.100.77, 192.0.2.1").refused(429, "too_many_requests");
}

#[test]
fn strangers_at_the_token_endpoint_wait_and_clients_at_their_address_do_not() {
    let story = behind_a_proxy(&[]);
    let agent = story.agent("beside-strangers").register();
    let stranger = |from: &str| {
        let request = story.client().post("/oauth/token").header("x-forwarded-for", from);
        request.basic("agt_unknown", "x").form(&[("grant_type", "client_credentials")]).send()
    };
    let refused = (0..2000).map(|_| stranger("192.0.2.1")).find(|answer| answer.status == 429);
    let refused = refused.expect("a limit").refused(429, "slow_down");
    assert!(refused.header("retry-after").is_some());
    let ask = agent.ask().with("scope", "orders.read").request(&story.client());
    ask.header("x-forwarded-for", "192.0.2.1").send().expect(200);
    stranger("192.0.2.2").refused(401, "invalid_client");
}

#[test]
fn what_a_public_client_pushes_is_bounded_by_where_it_comes_from() {
    let story = behind_a_proxy(&[]);
    let public = json!({"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"});
    let app = App::on(&story, &public);
    let push = |from: &str| {
        let asking = app.asking();
        let form: Vec<_> = asking.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        story.client().post("/oauth/par").header("x-forwarded-for", from).form(&form).send()
    };
    let refused = (0..300).map(|_| push("192.0.2.1")).find(|answer| answer.status != 201);
    refused.expect("a limit").refused(429, "slow_down");
    push("192.0.2.2").expect(201);
}

#[test]
fn a_client_that_asks_too_often_waits_alone() {
    let story = behind_a_proxy(&["--client-rate", "2"]);
    let [one, other] = ["busy", "quiet"].map(|handle| story.agent(handle).register());
    let ask = |agent: &placet_testkit::Agent| agent.ask().with("scope", "orders.read").send(&story.client());
    let answers: Vec<Answer> = (0..40).map(|_| ask(&one)).collect();
    let refused = answers.into_iter().find(|answer| answer.status == 429).expect("a limit");
    assert_eq!(refused.refused(429, "slow_down").header("retry-after"), Some("1"));
    ask(&other).expect(200);
}
