//! Refresh tokens: for the grant and never for more, good once, ended with their grant.

use crate::{
    faults::clock::Clock,
    parties::{ACCESS_TOKEN, Stage, TOKEN_EXCHANGE, introspect, read, stage, why},
};
use placet_testkit::{Agent, Answer, Asking, Story, fresh, together};
use serde_json::json;

pub(crate) const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";

fn for_refresh<'a>(agent: &'a Agent, token: &str) -> Asking<'a> {
    agent
        .ask()
        .with("grant_type", TOKEN_EXCHANGE)
        .with("subject_token", token)
        .with("subject_token_type", ACCESS_TOKEN)
        .with("requested_token_type", REFRESH_TOKEN)
}

fn using<'a>(agent: &'a Agent, token: &str) -> Asking<'a> {
    agent.ask().with("grant_type", "refresh_token").with("refresh_token", token)
}

/// An agent's token with a refresh token for it.
fn begun(stage: &Stage, agent: &Agent, scope: &str) -> (Answer, String) {
    let given = stage.given(agent, scope);
    let exchanged = for_refresh(agent, &given.text("/access_token")).send(&stage.client()).expect(200);
    assert_eq!(exchanged.at("/issued_token_type"), REFRESH_TOKEN);
    assert_eq!(exchanged.at("/token_type"), "N_A");
    assert_eq!(exchanged.at("/grant_id"), given.at("/grant_id"));
    assert_eq!(exchanged.at("/scope"), given.at("/scope"));
    (given, exchanged.text("/access_token"))
}

#[test]
fn it_gives_another_token_of_the_same_grant_and_its_successor() {
    let stage = stage();
    let agent = stage.agent();
    let (given, first) = begun(stage, &agent, "orders.* notes.*");
    let once = using(&agent, &first).send(&stage.client()).expect(200);
    assert_eq!(once.at("/grant_id"), given.at("/grant_id"));
    assert_eq!(once.at("/scope"), given.at("/scope"));
    assert_eq!(once.at("/task_id"), given.at("/task_id"));
    assert_eq!(once.header("cache-control"), Some("no-store"));
    assert!(stage.is_active(&once.text("/access_token")));
    let second = once.text("/refresh_token");
    assert!(second.starts_with("plt_refresh_") && second != first);
    // A chain of them goes on, a second after the other or at once.
    let third = using(&agent, &second).send(&stage.client()).expect(200).text("/refresh_token");
    using(&agent, &third).send(&stage.client()).expect(200);
    // It is no access token, for nobody and nothing.
    stage.client().with(&third).get("/v1/grants").send().refused(401, "token_invalid");
}

#[test]
fn less_may_be_asked_for_and_more_never_and_the_successor_stands_for_all() {
    let stage = stage();
    let agent = stage.agent();
    let (given, token) = begun(stage, &agent, "orders.*");
    let wider = using(&agent, &token).with("scope", "orders.* refunds.create").send(&stage.client());
    assert!(why(&wider.refused(400, "invalid_scope")).contains("refunds.create"));
    using(&agent, &token)
        .with("required_tools", "mail.send")
        .send(&stage.client())
        .refused(400, "invalid_scope");
    using(&agent, &token)
        .with("resource", "https://no.example")
        .send(&stage.client())
        .refused(400, "invalid_target");
    using(&agent, &token).with("task_id", "another").send(&stage.client()).refused(400, "invalid_request");
    // None of that used it up.
    let less = using(&agent, &token).with("scope", "orders.read").send(&stage.client()).expect(200);
    assert_eq!(less.at("/scope"), "orders.read");
    assert_ne!(less.at("/grant_id"), given.at("/grant_id"));
    assert_eq!(read(&less.text("/access_token")).1["scope"], "orders.read");
    let whole = using(&agent, &less.text("/refresh_token")).send(&stage.client()).expect(200);
    assert_eq!(whole.at("/scope"), "orders.*");
    assert_eq!(whole.at("/grant_id"), given.at("/grant_id"));
    // The same less is the same grant.
    let again =
        using(&agent, &whole.text("/refresh_token")).with("scope", "orders.read").send(&stage.client());
    assert_eq!(again.expect(200).at("/grant_id"), less.at("/grant_id"));
}

#[test]
fn a_second_use_ends_the_grant_with_all_that_came_of_it() {
    let stage = stage();
    let agent = stage.agent();
    let (given, first) = begun(stage, &agent, "orders.*");
    let once = using(&agent, &first).send(&stage.client()).expect(200);
    let child = stage.agent();
    let below = stage.child(&child, &given.text("/access_token")).text("/access_token");
    assert!(stage.is_active(&below));
    // At once, and before anybody has used the successor.
    let reused = using(&agent, &first).send(&stage.client()).refused(400, "invalid_grant");
    assert!(why(&reused).contains("revoked"));
    for token in [given.text("/access_token"), once.text("/access_token"), below] {
        assert!(!stage.is_active(&token));
    }
    for token in [once.text("/refresh_token"), first] {
        using(&agent, &token).send(&stage.client()).refused(400, "invalid_grant");
    }
    let grant = stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(grant.at("/revoked/by"), &json!(agent.id));
    assert_eq!(grant.at("/revoked/reason"), "a refresh token was used twice");
}

#[test]
fn of_many_that_rotate_at_once_one_wins_and_the_family_ends() {
    let stage = stage();
    for _ in 0..4 {
        let agent = stage.agent();
        let (given, first) = begun(stage, &agent, "orders.*");
        let answers = together(8, |_| using(&agent, &first).send(&stage.client()));
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        let [won] = &won[..] else { panic!("{} of 8 were answered", won.len()) };
        for lost in lost {
            lost.refused(400, "invalid_grant");
        }
        assert!(
            !stage.is_active(&won.text("/access_token")) && !stage.is_active(&given.text("/access_token"))
        );
        using(&agent, &won.text("/refresh_token")).send(&stage.client()).refused(400, "invalid_grant");
    }
}

/// A server that answers a refresh token once more for ten seconds, under a clock that the test sets.
fn lenient(clock: &Clock) -> Story {
    let mut server = clock.server();
    server.flags(&["--refresh-retry", "10s"]);
    server.restart();
    Story::on(server)
}

/// An agent of that server with a refresh token.
fn begun_on(story: &Story) -> (Agent, String, String) {
    let agent = story.agent(&fresh("bot-")).register();
    let given = agent.token(&story.client(), "orders.*");
    let exchanged = for_refresh(&agent, &given).send(&story.client()).expect(200);
    (agent, given, exchanged.text("/access_token"))
}

#[test]
fn where_it_is_said_a_lost_answer_is_given_again_for_that_long() {
    let clock = Clock::at_noon();
    clock.set(-60);
    let story = lenient(&clock);
    let client = story.client();
    let active = |token: &str| introspect(&story.admin(), token).at("/active") == true;
    let begun = || {
        clock.set(-60);
        let begun = begun_on(&story);
        clock.set(0);
        begun
    };
    // Of many at once one makes the successor, and each is told the same.
    let (agent, _, first) = begun();
    let answers = together(8, |_| using(&agent, &first).send(&client));
    let mut successors: Vec<String> =
        answers.into_iter().map(|answer| answer.expect(200).text("/refresh_token")).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    clock.set(5);
    let retried = using(&agent, &first).send(&client).expect(200);
    assert_eq!(retried.text("/refresh_token"), successors[0]);
    // Once the successor was used, its answer did arrive: somebody else has the first.
    let second = using(&agent, &successors[0]).send(&client).expect(200);
    assert!(why(&using(&agent, &first).send(&client).refused(400, "invalid_grant")).contains("revoked"));
    assert!(!active(&second.text("/access_token")));
    using(&agent, &second.text("/refresh_token")).send(&client).refused(400, "invalid_grant");
    // And when the time is over, whoever comes is the second.
    let (agent, given, first) = begun();
    let once = using(&agent, &first).send(&client).expect(200);
    clock.set(10);
    assert!(active(&given));
    using(&agent, &first).send(&client).refused(400, "invalid_grant");
    assert!(!active(&given) && !active(&once.text("/access_token")));
}

#[test]
fn it_is_good_for_its_own_client_only() {
    let stage = stage();
    let (agent, other) = (stage.agent(), stage.agent());
    let (given, token) = begun(stage, &agent, "orders.*");
    for wrong in [&token, "plt_refresh_nonsense", "nonsense", &given.text("/access_token")] {
        let refused = using(&other, wrong).send(&stage.client()).refused(400, "invalid_grant");
        assert_eq!(why(&refused), "the refresh token is unknown or has expired");
    }
    stage
        .client()
        .post("/oauth/token")
        .form(&[("grant_type", "refresh_token"), ("refresh_token", &token)])
        .send()
        .refused(401, "invalid_client");
    // Nobody gets one for another's token, and nothing of that used it up.
    let stolen = for_refresh(&other, &given.text("/access_token")).send(&stage.client());
    assert!(why(&stolen.refused(400, "invalid_request")).contains("another agent"));
    using(&agent, &token).send(&stage.client()).expect(200);
    // Nor for less or another audience: it stands for the grant.
    for (name, value) in
        [("scope", "orders.read"), ("resource", "https://a.example"), ("required_tools", "orders.*")]
    {
        let asked = for_refresh(&agent, &given.text("/access_token")).with(name, value);
        assert!(why(&asked.send(&stage.client()).refused(400, "invalid_request")).contains(name));
    }
}

#[test]
fn it_ends_with_its_grant_its_task_and_its_agent() {
    let stage = stage();
    let agent = stage.agent();
    let (given, token) = begun(stage, &agent, "orders.*");
    stage.admin().post("/oauth/revoke").form(&[("token", &given.text("/access_token"))]).send().expect(200);
    using(&agent, &token).send(&stage.client()).refused(400, "invalid_grant");

    let (given, token) = begun(stage, &agent, "orders.*");
    stage
        .client()
        .with(&given.text("/access_token"))
        .post(&format!("/v1/tasks/{}/complete", given.text("/task_id")))
        .send()
        .expect(200);
    using(&agent, &token).send(&stage.client()).refused(400, "invalid_grant");

    let suspended = stage.agent();
    let (_, token) = begun(stage, &suspended, "orders.*");
    stage.admin().post(&format!("/v1/agents/{}/suspend", suspended.id)).send().expect(200);
    using(&suspended, &token).send(&stage.client()).refused(401, "invalid_client");

    // A child's ends with what the child has: never after the parent's token.
    let (parent, child) = (stage.agent(), stage.agent());
    let above = stage.given(&parent, "orders.*").text("/access_token");
    let below = stage.child(&child, &above).text("/access_token");
    let exchanged = for_refresh(&child, &below).send(&stage.client()).expect(200);
    assert!(exchanged.at("/expires_in").as_i64().unwrap() <= 600);
    stage.admin().post("/oauth/revoke").form(&[("token", &above)]).send().expect(200);
    using(&child, &exchanged.text("/access_token")).send(&stage.client()).refused(400, "invalid_grant");
}

#[test]
fn introspection_and_revocation_know_it() {
    let stage = stage();
    let (agent, other) = (stage.agent(), stage.agent());
    let (given, token) = begun(stage, &agent, "orders.*");
    let ask = |agent: &Agent, token: &str| {
        let request = stage.client().post("/oauth/introspect").basic(&agent.id, &agent.secret);
        request.form(&[("token", token), ("token_type_hint", "refresh_token")]).send().expect(200)
    };
    let known = ask(&agent, &token);
    assert_eq!(known.at("/active"), true);
    assert_eq!(known.at("/client_id"), &json!(agent.id));
    assert_eq!(known.at("/scope"), "orders.*");
    assert_eq!(known.at("/grant/id"), given.at("/grant_id"));
    assert_eq!(ask(&other, &token).body, json!({"active": false}));
    assert_eq!(introspect(&stage.admin(), &token).at("/active"), true);
    assert_eq!(introspect(&stage.client().with(&stage.pat.token), &token).body, json!({"active": false}));
    let next = using(&agent, &token).send(&stage.client()).expect(200).text("/refresh_token");
    assert_eq!(ask(&agent, &token).body, json!({"active": false}));
    // Of another it is told like one that never was.
    let revoke = |agent: &Agent| {
        let request = stage.client().post("/oauth/revoke").basic(&agent.id, &agent.secret);
        request.form(&[("token", &next)]).send().expect(200)
    };
    assert_eq!(revoke(&other).at("/revoked"), false);
    assert_eq!(ask(&agent, &next).at("/active"), true);
    let revoked = revoke(&agent);
    assert_eq!(revoked.at("/affected_grants/0"), given.at("/grant_id"));
    assert_eq!(ask(&agent, &next).body, json!({"active": false}));
    assert!(!stage.is_active(&given.text("/access_token")));
}

#[test]
fn only_its_hash_is_kept() {
    let story = crate::stage::story();
    let agent = story.agent(&fresh("bot-")).register();
    let (_, token) = begun(stage(), &agent, "orders.*");
    let secret = token.strip_prefix("plt_refresh_").unwrap();
    let mut read_any = false;
    for entry in std::fs::read_dir(story.server.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            read_any |= !bytes.is_empty();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(read_any);
}
