//! `POST /v1/tokens/verify`: is this token good for what is about to be asked of it?

use crate::parties::stage;
use placet_testkit::{Answer, Client, fresh};
use serde_json::{Value, json};

fn verify(caller: &Client, body: &Value) -> Answer {
    caller.post("/v1/tokens/verify").json(body).send()
}

/// The codes of the reasons, by the member that they are about.
fn codes(answer: &Answer) -> Vec<(String, String)> {
    let reasons = answer.at("/reasons").as_array().unwrap().clone();
    let text = |reason: &Value, name: &str| reason[name].as_str().unwrap().to_owned();
    reasons.iter().map(|reason| (text(reason, "member"), text(reason, "code"))).collect()
}

#[test]
fn it_answers_for_scope_tools_and_task() {
    let stage = stage();
    let (parent, child) = (stage.agent(), stage.agent());
    let (above, label) = (fresh("t-"), fresh("t-"));
    let given =
        parent.ask().with("scope", "orders.*").with("task_id", &above).send(&stage.client()).expect(200);
    let below = child
        .ask()
        .with("parent_token", &given.text("/access_token"))
        .with("scope", "orders.read")
        .with("required_tools", "orders.*")
        .with("task_id", &label)
        .with("task_description", "Look at order 7");
    let token = below.send(&stage.client()).expect(200).text("/access_token");
    let ask = |more: Value| {
        let mut body = json!({"token": token});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        verify(&stage.admin(), &body).expect(200)
    };
    let good = ask(json!({"scope": "orders.read", "required_tools": ["orders.read"], "task_id": label,
        "parent_task_id": above, "task_description": "Look at order 7"}));
    assert_eq!(good.at("/is_valid"), true);
    assert_eq!(good.at("/scope"), "orders.read");
    assert_eq!(good.at("/task_context_valid"), true);
    assert_eq!(good.at("/historical_pattern_match"), &Value::Null);
    assert_eq!(codes(&good), [("historical_pattern_match".into(), "not_computed".into())]);
    // What is not said of the task is not judged.
    let bare = ask(json!({}));
    assert_eq!((bare.at("/is_valid"), bare.at("/task_context_valid")), (&json!(true), &Value::Null));
    assert!(codes(&bare).contains(&("task_context_valid".into(), "not_asked".into())));
    for beyond in [
        json!({"scope": ["orders.list"]}),
        json!({"scope": "orders.read orders.list"}),
        json!({"required_tools": "refunds.create"}),
    ] {
        let answer = ask(beyond);
        assert_eq!(answer.at("/is_valid"), false);
        assert!(codes(&answer).contains(&("is_valid".into(), "not_granted".into())));
    }
    for other in [
        json!({"task_id": above}),
        json!({"parent_task_id": label}),
        json!({"task_description": "x"}),
        json!({"task_id": label, "parent_task_id": "x"}),
    ] {
        let answer = ask(other);
        assert_eq!(
            (answer.at("/is_valid"), answer.at("/task_context_valid")),
            (&json!(false), &json!(false))
        );
        assert!(codes(&answer).contains(&("task_context_valid".into(), "mismatch".into())));
    }
    for wrong in [
        json!({"scope": "a..b"}),
        json!({"required_tools": 7}),
        json!({"scopes": "x"}),
        json!({"scope": [1]}),
    ] {
        let mut body = json!({"token": token});
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        verify(&stage.admin(), &body).refused(400, "request_invalid");
    }
}

#[test]
fn to_whoever_may_not_know_no_token_is_valid() {
    let stage = stage();
    let (agent, child, other) = (stage.agent(), stage.agent(), stage.agent());
    let token = stage.given(&agent, "orders.*").text("/access_token");
    let below = stage.child(&child, &token).text("/access_token");
    let as_client = |who: &placet_testkit::Agent, token: &str| {
        let request = stage.client().post("/v1/tokens/verify").basic(&who.id, &who.secret);
        request.json(&json!({"token": token})).send().expect(200)
    };
    assert_eq!(as_client(&agent, &token).at("/is_valid"), true);
    assert_eq!(as_client(&agent, &below).at("/is_valid"), true);
    let unknown = as_client(&other, "nonsense").body;
    assert_eq!(unknown["is_valid"], false);
    for (who, token) in [(&child, &token), (&other, &token), (&other, &below)] {
        assert_eq!(as_client(who, token).body, unknown);
    }
    assert_eq!(verify(&stage.client().with(&stage.pat.token), &json!({"token": token})).body, unknown);
    for knows in [stage.admin(), stage.admin_token(), stage.client().with(&stage.auditor.token)] {
        assert_eq!(verify(&knows, &json!({"token": token})).expect(200).at("/is_valid"), true);
    }
    verify(&stage.client(), &json!({"token": token})).refused(401, "token_invalid");
    let wrong = stage.client().post("/v1/tokens/verify").basic(&agent.id, "wrong");
    wrong.json(&json!({"token": token})).send().refused(401, "token_invalid");
    stage.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert_eq!(as_client(&agent, &below).body, unknown);
}
