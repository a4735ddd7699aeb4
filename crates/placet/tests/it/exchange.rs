//! RFC 8693 in its standard words: a token of one's own for less, and a child's token from its parent's.

use crate::parties::{ACCESS_TOKEN, DELEGATION, TOKEN_EXCHANGE, read, stage, why};
use placet_testkit::{Agent, Asking, fresh, together};
use serde_json::json;
use std::collections::HashSet;

fn exchanging<'a>(agent: &'a Agent, subject: &str) -> Asking<'a> {
    agent
        .ask()
        .with("grant_type", TOKEN_EXCHANGE)
        .with("subject_token", subject)
        .with("subject_token_type", ACCESS_TOKEN)
}

#[test]
fn a_child_acts_with_its_parents_token_as_subject() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let above =
        parent.ask().with("scope", "orders.* notes.*").with("task_id", "ticket").send(&stage.client());
    let above = above.expect(200).text("/access_token");
    let asked = exchanging(&child, &above)
        .with("requested_token_type", ACCESS_TOKEN)
        .with("scope", "orders.read")
        .with("task_id", "look");
    let below = asked.send(&stage.client()).expect(200);
    assert_eq!(below.at("/issued_token_type"), ACCESS_TOKEN);
    assert_eq!(below.at("/token_type"), "Bearer");
    assert_eq!(below.at("/scope"), "orders.read");
    assert_eq!(below.at("/parent_task_id"), "ticket");
    assert_eq!(below.at("/scope_inheritance"), "restricted");
    let claims = read(&below.text("/access_token")).1;
    assert_eq!(claims["act"], json!({"sub": child.id, "act": {"sub": parent.id}}));
    assert!(claims["exp"].as_i64().unwrap() <= read(&above).1["exp"].as_i64().unwrap());
    // The other words for it give the same grant again.
    let words = child.ask().with("parent_token", &above).with("scope", "orders.read").with("task_id", "look");
    assert_eq!(words.send(&stage.client()).expect(200).at("/grant_id"), below.at("/grant_id"));
    // A delegation token is a subject too, once.
    let delegation = stage.delegated(&parent, &above, &child, "orders.list");
    let spend =
        || exchanging(&child, &delegation).with("subject_token_type", DELEGATION).send(&stage.client());
    assert_eq!(spend().expect(200).at("/scope"), "orders.list");
    assert!(why(&spend().refused(400, "invalid_request")).contains("used before"));
}

#[test]
fn a_child_never_gets_more_than_its_subject_or_its_registration() {
    let stage = stage();
    let parent = stage.agent();
    let above = parent.ask().with("scope", "orders.*").with("required_resources", "order://customer:1/**");
    let above = above.send(&stage.client()).expect(200).text("/access_token");
    let child = stage.agent_for(&["orders.read", "refunds.*"]);
    let ask = |name: &str, value: &str| exchanging(&child, &above).with(name, value).send(&stage.client());
    ask("scope", "refunds.create").refused(400, "invalid_scope");
    ask("scope", "orders.list").refused(400, "invalid_scope");
    ask("required_tools", "orders.list").refused(400, "invalid_scope");
    ask("required_resources", "order://customer:2/1").refused(400, "invalid_target");
    ask("audience", "nobody").refused(400, "invalid_target");
    ask("resource", "https://no.example").refused(400, "invalid_target");
    ask("parent_task_id", "not-it").refused(400, "invalid_request");
    ask("parent_token", &above).refused(400, "invalid_request");
    let given = exchanging(&child, &above).send(&stage.client()).expect(200);
    assert_eq!(given.at("/scope"), "orders.read");
    assert_eq!(given.at("/granted_resources"), &json!(["order://customer:1/**"]));
}

#[test]
fn the_client_is_the_actor_and_an_actor_token_proves_no_other() {
    let stage = stage();
    let (parent, child, other) = (stage.agent(), stage.agent(), stage.agent());
    let above = stage.given(&parent, "orders.*").text("/access_token");
    let (own, foreign) = (stage.given(&child, "notes.*"), stage.given(&other, "notes.*"));
    let (own, foreign) = (own.text("/access_token"), foreign.text("/access_token"));
    let acting = |agent: &Agent, actor: &str, kind: &str| {
        let asked = exchanging(agent, &above).with("scope", "orders.read").with("actor_token", actor);
        asked.with("actor_token_type", kind).send(&stage.client())
    };
    acting(&child, &own, ACCESS_TOKEN).expect(200);
    for wrong in [&foreign, &above, "nonsense", &stage.ada()] {
        assert!(
            why(&acting(&child, wrong, ACCESS_TOKEN).refused(400, "invalid_request")).contains("actor_token")
        );
    }
    // A parent does not take a token in its child's name.
    acting(&parent, &own, ACCESS_TOKEN).refused(400, "invalid_request");
    acting(&child, &own, "urn:ietf:params:oauth:token-type:jwt").refused(400, "invalid_request");
    acting(&child, &own, "").refused(400, "invalid_request");
    let typed = exchanging(&child, &above).with("actor_token_type", ACCESS_TOKEN).send(&stage.client());
    typed.refused(400, "invalid_request");
}

#[test]
fn a_subject_that_cannot_be_used_is_an_invalid_request() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let ask = |subject: &str| exchanging(&child, subject).send(&stage.client());
    for nonsense in ["nonsense", &stage.ada(), stage.story.server.admin_token(), &"x".repeat(20_000)] {
        ask(nonsense).refused(400, "invalid_request");
    }
    let revoked = stage.given(&parent, "orders.*").text("/access_token");
    stage.admin().post("/oauth/revoke").form(&[("token", &revoked)]).send().expect(200);
    assert!(why(&ask(&revoked).refused(400, "invalid_request")).contains("token_revoked"));
    let given = stage.given(&parent, "orders.*");
    let ended = given.text("/access_token");
    let path = format!("/v1/tasks/{}/complete", given.text("/task_id"));
    stage.client().with(&ended).post(&path).send().expect(200);
    assert!(why(&ask(&ended).refused(400, "invalid_request")).contains("task_ended"));
    let suspended = stage.given(&parent, "orders.*").text("/access_token");
    stage.admin().post(&format!("/v1/agents/{}/suspend", parent.id)).send().expect(200);
    assert!(why(&ask(&suspended).refused(400, "invalid_request")).contains("agent_inactive"));
    // A delegation token for somebody else.
    let (one, two) = (stage.agent(), stage.agent());
    let token = stage.given(&one, "orders.*").text("/access_token");
    let delegation = stage.delegated(&one, &token, &two, "orders.read");
    let asked = exchanging(&child, &delegation).with("subject_token_type", DELEGATION).send(&stage.client());
    assert!(why(&asked.refused(400, "invalid_request")).contains("another agent"));
    let mistyped = exchanging(&two, &token).with("subject_token_type", DELEGATION).send(&stage.client());
    mistyped.refused(400, "invalid_request");
}

#[test]
fn an_own_token_is_exchanged_for_less_and_twice_for_the_same() {
    let stage = stage();
    let agent = stage.agent();
    let given = agent.ask().with("scope", "orders.* notes.*").with("task_id", "work").send(&stage.client());
    let given = given.expect(200);
    let token = given.text("/access_token");
    let ask = |scope: &str| exchanging(&agent, &token).with("scope", scope).send(&stage.client());
    let less = ask("orders.read").expect(200);
    assert_eq!(less.at("/task_id"), "work");
    assert!(less.body.get("scope_inheritance").is_none());
    let claims = read(&less.text("/access_token")).1;
    assert_eq!(claims["act"], json!({"sub": agent.id}));
    assert_eq!(claims["grant"]["depth"], 2);
    assert_eq!(ask("orders.read").expect(200).at("/grant_id"), less.at("/grant_id"));
    assert_eq!(ask("orders.* notes.*").expect(200).at("/grant_id"), given.at("/grant_id"));
    assert_eq!(ask("notes.* orders.*").expect(200).at("/grant_id"), given.at("/grant_id"));
    ask("refunds.create").refused(400, "invalid_scope");
    // Neither does less give more again.
    let from_less = exchanging(&agent, &less.text("/access_token")).with("scope", "orders.list");
    from_less.send(&stage.client()).refused(400, "invalid_scope");
    let moved = exchanging(&agent, &token).with("task_id", "other").send(&stage.client());
    moved.refused(400, "invalid_request");
    // Asked for at once it is one grant as well, whichever way it is asked for.
    let many = together(8, |at| {
        let asked =
            if at % 2 == 0 { exchanging(&agent, &token) } else { agent.ask().with("task_id", "work") };
        asked.with("scope", "notes.write").send(&stage.client()).expect(200).text("/grant_id")
    });
    assert_eq!(many.into_iter().collect::<HashSet<_>>().len(), 1);
}

#[test]
fn a_label_stands_for_one_grant_whichever_token_of_the_parents_task_is_shown() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let label = fresh("t-");
    let ask = |scope: &str| {
        let asked = parent.ask().with("task_id", &label).with("scope", scope).send(&stage.client());
        asked.expect(200).text("/access_token")
    };
    let (wide, narrow) = (ask("orders.*"), ask("orders.read"));
    let below = |token: &str| child.ask().with("parent_token", token).with("task_id", "look");
    let first = below(&narrow).send(&stage.client()).expect(200);
    assert_eq!(first.at("/scope"), "orders.read");
    let more = below(&wide).with("scope", "orders.*").send(&stage.client());
    assert!(why(&more.refused(400, "invalid_scope")).contains("orders.*"));
    let same = below(&wide).send(&stage.client()).expect(200);
    assert_eq!((same.at("/grant_id"), same.at("/scope")), (first.at("/grant_id"), &json!("orders.read")));
}

#[test]
fn of_a_tasks_grants_one_that_lives_is_given_again() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let label = fresh("t-");
    let ask = |scope: &str| {
        let asked = parent.ask().with("task_id", &label).with("scope", scope).send(&stage.client());
        asked.expect(200)
    };
    let (wide, narrow) = (ask("orders.*"), ask("orders.read"));
    let below = |token: &str| child.ask().with("parent_token", token).with("task_id", "look");
    let first = below(&narrow.text("/access_token")).send(&stage.client()).expect(200);
    // What the first hung under is gone; the label's task lives, and the wider grant of the parent's does.
    let path = format!("/v1/grants/{}/revoke", narrow.text("/grant_id"));
    stage.admin().post(&path).send().expect(200);
    assert!(!stage.is_active(&first.text("/access_token")));
    let next = below(&wide.text("/access_token")).send(&stage.client());
    // The revocation ended the child's task with its last grant: an ended label stays ended.
    assert!(why(&next.refused(400, "invalid_grant")).contains("task_ended"));
}
