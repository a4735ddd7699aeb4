//! Revocation: who may revoke what, what ends with it, and that it counts at once.

use crate::parties::{introspect, stage, why};
use placet_testkit::{Agent, Answer, Client, Gate, Reply, fresh, together, until};
use serde_json::{Value, json};

fn revoke(caller: &Client, token: &str) -> Answer {
    caller.post("/oauth/revoke").form(&[("token", token)]).send()
}

fn as_client(agent: &Agent, form: &[(&str, &str)]) -> Answer {
    stage().client().post("/oauth/revoke").basic(&agent.id, &agent.secret).form(form).send()
}

fn nothing() -> Value {
    json!({"revoked": false, "affected_grants": [], "affected_tasks": [], "affected_tasks_terminated": 0, "in_flight": []})
}

#[test]
fn an_agent_revokes_its_own_and_what_hangs_below() {
    let stage = stage();
    let (top, middle, leaf) = (stage.agent(), stage.agent(), stage.agent());
    let a = stage.given(&top, "orders.*").text("/access_token");
    let b = stage.child(&middle, &a).text("/access_token");
    let c = stage.child(&leaf, &b).text("/access_token");
    let stranger = stage.agent();
    // Somebody else's, above or beside, is told like one that never was; nothing happens.
    for (agent, token) in [(&stranger, &a), (&middle, &a), (&leaf, &b), (&leaf, &a)] {
        assert_eq!(as_client(agent, &[("token", token)]).expect(200).body, nothing());
        let forced = [("token", token.as_str()), ("affected_task_chain", "t")];
        assert_eq!(as_client(agent, &forced).expect(200).body, nothing());
    }
    assert_eq!(as_client(&stranger, &[("token", "never was")]).expect(200).body, nothing());
    for person in [&stage.pat.token, &stage.auditor.token, &stage.story.lee] {
        assert_eq!(revoke(&stage.client().with(person), &a).expect(200).body, nothing());
    }
    stage.client().post("/oauth/revoke").form(&[("token", &a)]).send().refused(401, "invalid_client");
    assert!([&a, &b, &c].into_iter().all(|token| stage.is_active(token)));
    // Below, by client authentication.
    let ended = as_client(&top, &[("token", &c)]).expect(200);
    assert_eq!(ended.at("/revoked"), &json!(true));
    assert!(!stage.is_active(&c) && stage.is_active(&b));
    // Its own, by the token itself.
    assert_eq!(revoke(&stage.client().with(&b), &b).expect(200).at("/revoked"), &json!(true));
    assert!(!stage.is_active(&b) && stage.is_active(&a));
    // Any, by an administrator: as a person or with the administrator token.
    assert_eq!(revoke(&stage.admin_token(), &a).expect(200).at("/revoked"), &json!(true));
    assert!(!stage.is_active(&a));
    let d = stage.given(&top, "orders.*").text("/access_token");
    assert_eq!(revoke(&stage.admin(), &d).expect(200).at("/revoked"), &json!(true));
    assert!(!stage.is_active(&d));
}

#[test]
fn the_subtree_ends_at_once_everywhere() {
    let stage = stage();
    let (top, _) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let (middle, _) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let (leaf, _) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let given = top.ask().with("scope", "orders.*").with("task_id", "a").send(&stage.client()).expect(200);
    let a = given.text("/access_token");
    let child = |agent: &Agent, parent: &str, label: &str| {
        let asked = agent.ask().with("parent_token", parent).with("task_id", label);
        asked.send(&stage.client()).expect(200)
    };
    let below = child(&middle, &a, "b");
    let b = below.text("/access_token");
    let lowest = child(&leaf, &b, "c");
    let c = lowest.text("/access_token");
    let order = json!({"customer_id": "1", "order_id": "1"});
    // Verified before, so that something could be remembered wrongly.
    for token in [&a, &b, &c] {
        stage.story.act(token, "orders.read", &order).expect(200);
    }
    let ended = as_client(&top, &[("token", &a), ("reason", "done with it")]).expect(200);
    assert_eq!(
        ended.at("/affected_grants"),
        &json!([given.at("/grant_id"), below.at("/grant_id"), lowest.at("/grant_id")])
    );
    assert_eq!(ended.at("/affected_tasks"), &json!(["a", "b", "c"]));
    assert_eq!((ended.at("/affected_tasks_terminated"), ended.at("/in_flight")), (&json!(3), &json!([])));
    for (token, code) in [(&a, "token_revoked"), (&b, "lineage_revoked"), (&c, "lineage_revoked")] {
        let refused = stage.story.act(token, "orders.read", &order).refused(401, code);
        assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
        stage
            .client()
            .with(token)
            .post("/v1/decisions")
            .json(&json!({"action": "orders.read"}))
            .send()
            .refused(401, code);
        stage.client().with(token).get("/v1/grants").send().refused(401, code);
        assert_eq!(introspect(&stage.admin(), token).body, json!({"active": false}));
        assert_eq!(revoke(&stage.client().with(token), token).status, 401);
    }
    let show = |grant: &Answer, more: &str| {
        stage.admin().get(&format!("/v1/grants/{}{more}", grant.text("/grant_id"))).send().expect(200)
    };
    let top_shown = show(&given, "");
    assert_eq!((top_shown.at("/alive"), top_shown.at("/reason")), (&json!(false), &json!("token_revoked")));
    assert_eq!(
        (top_shown.at("/revoked/by"), top_shown.at("/revoked/reason")),
        (&json!(top.id), &json!("done with it"))
    );
    let leaf_shown = show(&lowest, "/lineage");
    assert_eq!(
        (leaf_shown.at("/alive"), leaf_shown.at("/reason")),
        (&json!(false), &json!("lineage_revoked"))
    );
    let listed = |agent: &Agent, grant: &Answer| {
        let list = stage.admin().get(&format!("/v1/grants?agent={}&limit=500", agent.id)).send().expect(200);
        let found = list.at("/grants").as_array().unwrap().clone();
        found.into_iter().find(|shown| shown["id"] == *grant.at("/grant_id")).unwrap()
    };
    let shown = listed(&leaf, &lowest);
    assert_eq!((&shown["alive"], &shown["reason"]), (&json!(false), &json!("lineage_revoked")));
    // The tasks have ended with it, for good.
    for (agent, label) in [(&top, "a"), (&middle, "b"), (&leaf, "c")] {
        let refused = agent.ask().with("task_id", label).with("scope", "orders.read").send(&stage.client());
        assert!(why(&refused.refused(400, "invalid_grant")).starts_with("task_ended"));
    }
    // What else the agents hold goes on.
    let own = stage.given(&middle, "orders.read").text("/access_token");
    stage.story.act(&own, "orders.read", &order).expect(200);
}

#[test]
fn revoking_twice_is_revoking_once() {
    let stage = stage();
    let agent = stage.agent();
    let given = stage.given(&agent, "orders.*");
    let token = given.text("/access_token");
    let form = [("token", token.as_str()), ("reason", "first")];
    as_client(&agent, &form).expect(200);
    let grant = || stage.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    let first = grant().at("/revoked").clone();
    assert_eq!(first["reason"], "first");
    let again = as_client(&agent, &[("token", &token), ("reason", "second")]).expect(200);
    assert_eq!(again.at("/affected_grants"), &json!([]));
    assert_eq!(
        (again.at("/affected_tasks"), again.at("/affected_tasks_terminated")),
        (&json!([]), &json!(0))
    );
    assert_eq!(grant().at("/revoked"), &first);
    // Of many at once, one has done it.
    let token = stage.given(&agent, "orders.*").text("/access_token");
    let answers = together(6, |_| as_client(&agent, &[("token", &token)]).expect(200));
    let ended: usize =
        answers.iter().map(|answer| answer.at("/affected_grants").as_array().unwrap().len()).sum();
    assert_eq!(ended, 1);
}

#[test]
fn a_dead_link_does_not_stop_the_cascade() {
    let stage = stage();
    let (top, middle, leaf) = (stage.agent(), stage.agent(), stage.agent());
    let given = stage.given(&top, "orders.*");
    let a = given.text("/access_token");
    let b = stage.child(&middle, &a).text("/access_token");
    let lowest = stage.child(&leaf, &b);
    revoke(&stage.admin(), &b).expect(200);
    let again = revoke(&stage.admin(), &a).expect(200);
    // What had ended before is not told again.
    assert_eq!(again.at("/affected_grants"), &json!([given.at("/grant_id")]));
    let shown = stage.admin().get(&format!("/v1/grants/{}", lowest.text("/grant_id"))).send().expect(200);
    assert_eq!(shown.at("/alive"), &json!(false));
    // A link that only sleeps is no obstacle either, and does not wake what was ended.
    let a = stage.given(&top, "orders.*").text("/access_token");
    let b = stage.child(&middle, &a).text("/access_token");
    let c = stage.child(&leaf, &b).text("/access_token");
    stage.admin().post(&format!("/v1/agents/{}/suspend", middle.id)).send().expect(200);
    revoke(&stage.admin(), &a).expect(200);
    stage.admin().post(&format!("/v1/agents/{}/activate", middle.id)).send().expect(200);
    for token in [&a, &b, &c] {
        assert!(!stage.is_active(token));
    }
    stage.client().with(&c).get("/v1/grants").send().refused(401, "lineage_revoked");
}

#[test]
fn what_should_end_can_be_said_and_is_compared() {
    let stage = stage();
    let (top, child) = (stage.agent(), stage.agent());
    let asked = top.ask().with("scope", "orders.*").with("task_id", "a");
    let a = asked.send(&stage.client()).expect(200).text("/access_token");
    let below = child.ask().with("parent_token", &a).with("task_id", "b").send(&stage.client()).expect(200);
    let b = below.text("/access_token");
    for chain in ["a", "b", "a b c", "[]", "[\"a\"]", "a tsk_00000000000000000000000000", "A b"] {
        let answer = as_client(&top, &[("token", &a), ("affected_task_chain", chain)]);
        let answer = answer.refused(409, "invalid_request");
        assert!(why(&answer).contains("affected_task_chain"), "{chain}");
        assert!(stage.is_active(&a) && stage.is_active(&b), "{chain}");
    }
    as_client(&top, &[("token", &a), ("affected_task_chain", "{}")]).refused(409, "invalid_request");
    let id = stage.admin().get(&format!("/v1/grants/{}", below.text("/grant_id"))).send().text("/task");
    let long = "x".repeat(501);
    as_client(&top, &[("token", &a), ("reason", &long)]).refused(400, "invalid_request");
    assert!(stage.is_active(&a));
    // In any order, by label or id, words or array.
    let chain = format!("[\"{id}\", \"a\"]");
    let ended = as_client(&top, &[("token", &a), ("affected_task_chain", &chain)]).expect(200);
    assert_eq!(ended.at("/affected_tasks"), &json!(["a", "b"]));
    assert!(!stage.is_active(&a) && !stage.is_active(&b));
}

#[test]
fn a_narrowing_ends_without_its_task() {
    let stage = stage();
    let agent = stage.agent();
    let ask =
        |scope: &str| agent.ask().with("task_id", "t").with("scope", scope).send(&stage.client()).expect(200);
    let wide = ask("orders.* notes.*").text("/access_token");
    let narrow = ask("orders.read");
    let ended = as_client(&agent, &[("token", &narrow.text("/access_token"))]).expect(200);
    assert_eq!(ended.at("/affected_grants"), &json!([narrow.at("/grant_id")]));
    assert_eq!(ended.at("/affected_tasks"), &json!([]));
    assert!(stage.is_active(&wide) && !stage.is_active(&narrow.text("/access_token")));
    // Every token of the grant ends with it, not only the one that was shown.
    let (one, two) =
        (ask("orders.* notes.*").text("/access_token"), ask("orders.* notes.*").text("/access_token"));
    as_client(&agent, &[("token", &one)]).expect(200);
    assert!([&wide, &one, &two].into_iter().all(|token| !stage.is_active(token)));
}

#[test]
fn a_delegation_token_and_a_grant_can_be_revoked_too() {
    let stage = stage();
    let (agent, child) = (stage.agent(), stage.agent());
    let a = stage.given(&agent, "orders.*").text("/access_token");
    let unspent = stage.delegated(&agent, &a, &child, "orders.read");
    // Not by the child: before it presents the token it has nothing.
    assert_eq!(as_client(&child, &[("token", &unspent)]).expect(200).body, nothing());
    let ended = as_client(&agent, &[("token", &unspent)]).expect(200);
    assert_eq!(ended.at("/affected_grants").as_array().unwrap().len(), 1);
    child.ask().with("parent_token", &unspent).send(&stage.client()).refused(400, "invalid_grant");
    // A spent one still names what was handed over.
    let spent = stage.delegated(&agent, &a, &child, "orders.read");
    let below = stage.child(&child, &spent).text("/access_token");
    as_client(&agent, &[("token", &spent)]).expect(200);
    assert!(!stage.is_active(&below) && stage.is_active(&a));

    let given = stage.given(&agent, "orders.*");
    let path = format!("/v1/grants/{}/revoke", given.text("/grant_id"));
    let stranger = stage.given(&stage.agent(), "orders.*").text("/access_token");
    stage.client().with(&stranger).post(&path).send().refused(404, "not_found");
    stage.client().with(&stage.pat.token).post(&path).send().refused(404, "not_found");
    stage.client().with(&stage.auditor.token).post(&path).send().refused(403, "not_permitted");
    stage.client().post(&path).send().refused(401, "token_invalid");
    let wrong = json!({"affected_task_chain": ["other"]});
    let refused = stage.admin().post(&path).json(&wrong).send().refused(409, "conflict");
    assert_eq!(refused.at("/would_not_end"), &json!(["other"]));
    assert_eq!(refused.at("/would_end_too"), &json!([given.at("/task_id")]));
    assert!(stage.is_active(&given.text("/access_token")));
    let own = stage.client().with(&given.text("/access_token"));
    assert_eq!(own.post(&path).json(&json!({"reason": "r"})).send().expect(200).at("/revoked"), &json!(true));
    assert!(!stage.is_active(&given.text("/access_token")));
}

#[test]
fn a_person_revokes_what_is_on_its_behalf() {
    let stage = stage();
    let agent = stage.agent();
    let made = stage.task(&stage.pat.token, &json!({"agent": agent.id, "scope": ["orders.*"]})).expect(201);
    let claimed = agent.ask().with("task_id", &made.text("/id")).send(&stage.client()).expect(200);
    let path = format!("/v1/grants/{}/revoke", made.text("/grant_id"));
    stage.client().with(&stage.sam.token).post(&path).send().refused(404, "not_found");
    stage.client().with(&stage.pat.token).post(&path).send().expect(200);
    assert!(!stage.is_active(&claimed.text("/access_token")));
}

#[test]
fn a_revoked_registration_ends_all_that_the_agent_holds_wherever_it_hangs() {
    let stage = stage();
    let (agent, giver) = (stage.agent(), stage.agent());
    let own = stage.given(&agent, "orders.*").text("/access_token");
    let above = stage.given(&giver, "orders.*").text("/access_token");
    let handed = stage.child(&agent, &above).text("/access_token");
    let registration =
        stage.admin().get(&format!("/v1/agents/{}", agent.id)).send().text("/registration_grant");
    // Not by the agent itself? It is its own, so it may.
    stage.admin().post(&format!("/v1/grants/{registration}/revoke")).send().expect(200);
    assert!(!stage.is_active(&own) && !stage.is_active(&handed) && stage.is_active(&above));
    agent.ask().send(&stage.client()).refused(401, "invalid_client");
    agent.ask().with("parent_token", &above).send(&stage.client()).refused(401, "invalid_client");
    stage
        .task(&stage.ada(), &json!({"agent": agent.id, "scope": ["orders.read"]}))
        .refused(400, "request_invalid");
}

#[test]
fn the_record_says_who_ended_what() {
    let stage = stage();
    let agent = stage.agent();
    let given = stage.given(&agent, "orders.*");
    as_client(&agent, &[("token", &given.text("/access_token"))]).expect(200);
    let entries = placet_testkit::until("the revocation in the record", || {
        let found: Vec<_> =
            stage.story.record().into_iter().filter(|entry| entry["agent"] == json!(agent.id)).collect();
        found.iter().any(|entry| entry["type"] == "grant.revoked").then_some(found)
    });
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["agent.registered", "agent.activated", "grant.issued", "grant.revoked"]);
}

#[test]
fn what_was_admitted_before_is_told_as_in_flight_and_finishes() {
    let stage = stage();
    let (agent, token) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let customer = fresh("flight-");
    let (gate, path) = (Gate::shut(), format!("/customers/{customer}/"));
    stage.story.shop.reply(&path, Reply::json(200, &json!({"order": 1})).after(&gate));
    let order = json!({"customer_id": customer, "order_id": "1"});
    std::thread::scope(|scope| {
        let acting = scope.spawn(|| stage.story.act(&token, "orders.read", &order));
        until("the request at the shop", || (stage.story.shop.count(&path) == 1).then_some(()));
        let ended = as_client(&agent, &[("token", &token)]).expect(200);
        let told = ended.at("/in_flight").as_array().unwrap().clone();
        // What was admitted may finish; what comes now is not admitted.
        stage.story.act(&token, "orders.read", &order).refused(401, "token_revoked");
        gate.open();
        let done = acting.join().unwrap().expect(200);
        assert_eq!(done.at("/status"), "executed");
        assert_eq!(told, [done.at("/id").clone()]);
    });
    assert_eq!(stage.story.shop.count(&path), 1);
}

#[test]
fn revoking_races_with_acting_and_nothing_is_admitted_after_it() {
    let stage = stage();
    let (agent, token) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let customer = fresh("race-");
    let order = json!({"customer_id": customer, "order_id": "1"});
    let path = format!("/customers/{customer}/");
    let answers = together(9, |number| {
        if number == 0 {
            as_client(&agent, &[("token", &token)]).expect(200);
            let counted = stage.story.shop.count(&path);
            return (0, counted);
        }
        let mut allowed = 0;
        for _ in 0..6 {
            let answer = stage.story.act(&token, "orders.read", &order);
            match answer.status {
                200 => allowed += 1,
                _ => _ = answer.refused(401, "token_revoked"),
            }
        }
        (allowed, 0)
    });
    let allowed: usize = answers.iter().map(|(allowed, _)| allowed).sum();
    assert_eq!(stage.story.shop.count(&path), allowed);
    stage.story.act(&token, "orders.read", &order).refused(401, "token_revoked");
    // What came to the shop after the revocation was answered had been admitted before: no more than were under way.
    let (_, counted) = answers[0];
    assert!(allowed - counted <= 8, "{counted} before, {allowed} in all");
}
