//! Rules that let fewer rows come back have fewer asked for, where the service says which parameter that is.

use crate::stage::{PLACET, story};
use placet_testkit::{Reply, Story, fresh};
use serde_json::{Value, json};

/// A service of its own whose listing says how many rows there may be, an agent for it with these rules, its token.
fn listing(story: &Story, rules: &str) -> (String, String) {
    let service = fresh("rows");
    let yaml = format!(
        "service: {service}
base_url: {}
auth: {{type: bearer}}
actions:
  {service}.list:
    method: GET
    path: /{service}/orders
    resource: order://all
    effect: read
    params: {{type: object, properties: {{size: {{type: integer}}, q: {{type: string}}}}}}
    response: {{items: $.orders, limit: size}}
  {service}.find:
    method: POST
    path: /{service}/find
    resource: order://all
    effect: read
    params: {{type: object, properties: {{size: {{type: integer}}, q: {{type: string}}}}}}
    response: {{items: $.orders, limit: size}}
",
        story.shop.base()
    );
    story.service(&service, &yaml).expect(201);
    story.connection(&format!("{service}-main"), &service, &json!({})).expect(201);
    let agent =
        story.agent(&fresh("agent-")).with("allowed_tools", json!([format!("{service}.*")])).register();
    story.rules(&agent.handle, &rules.replace("SERVICE", &service)).expect(201);
    let token = agent.token(&story.client(), &format!("{service}.*"));
    let rows: Vec<Value> = (0..9).map(|id| json!({"id": id})).collect();
    story.shop.reply(&format!("/{service}/"), Reply::json(200, &json!({"orders": rows})));
    (service, token)
}

const THREE: &str = "  - {name: three, allow: ['SERVICE.*'], shape: {rows: {at: $.orders, max: 3}}}\n";

fn act(story: &Story, token: &str, action: &str, params: &Value) -> placet_testkit::Request {
    let service = action.split('.').next().unwrap();
    let body = json!({"service": service, "action": action, "params": params});
    story.client().post("/v1/actions").bearer(token).json(&body)
}

#[test]
fn upstream_is_asked_for_what_may_come_back_at_both_doors() {
    let story = Story::new(PLACET);
    let (service, token) = listing(&story, THREE);
    let list = format!("{service}.list");
    let rows = |body: &Value| body["orders"].as_array().unwrap().len();
    for (params, asked) in [
        (json!({}), "size=3"),
        (json!({"size": 8}), "size=3"),
        (json!({"size": 8, "q": "x"}), "q=x&size=3"),
        (json!({"size": 2}), "size=2"),
    ] {
        let answer = act(&story, &token, &list, &params).send().expect(200);
        // What upstream makes of it is not relied on.
        assert_eq!(rows(answer.at("/result/body")), 3);
        let seen = story.shop.seen().pop().unwrap();
        assert_eq!((seen.path, seen.query.as_str()), (format!("/{service}/orders"), asked));
    }
    let path = format!("/proxy/{service}-main/{service}/orders?size=100");
    let answer = story.client().get(&path).bearer(&token).header("accept", "*/*").send().expect(200);
    assert_eq!(rows(&answer.body), 3);
    assert_eq!(story.shop.seen().pop().unwrap().query, "size=3");
    let answer = act(&story, &token, &format!("{service}.find"), &json!({"size": 8})).send().expect(200);
    assert_eq!(rows(answer.at("/result/body")), 3);
    assert_eq!(story.shop.seen().pop().unwrap().json(), json!({"size": 3}));
    // The record keeps what was asked, and what was sent instead.
    let record = story.record();
    let intents: Vec<&Value> = record.iter().filter(|entry| entry["type"] == "action.intent").collect();
    let told = |index: usize| (intents[index]["params"].clone(), intents[index]["body"]["narrowed"].clone());
    assert_eq!(told(0), (json!({}), json!({"size": 3})));
    assert_eq!(told(1), (json!({"size": 8}), json!({"size": 3})));
    assert_eq!(told(3), (json!({"size": 2}), Value::Null));
    assert_eq!(told(4), (json!({"size": 100}), json!({"size": 3})));
    assert_eq!(told(5), (json!({"size": 8}), json!({"size": 3})));
}

#[test]
fn people_say_yes_to_what_is_sent_and_keys_belong_to_what_was_asked() {
    let story = story();
    let held = THREE.replace("shape:", "approve: {by: ['role:support-lead']}, shape:");
    let (service, token) = listing(story, &held);
    let find = format!("{service}.find");
    let params = json!({"size": 8});
    let id = act(story, &token, &find, &params).send().expect(202).text("/approval/id");
    let shown = story.admin().get(&format!("/v1/approvals/{id}")).send().expect(200).body;
    assert_eq!(
        (&shown["shown"]["params"], &shown["shown"]["narrowed"]),
        (&params, &json!({"size": 3})),
        "{shown:#}"
    );
    let yes = json!({"verdict": "approve"});
    story.client().post(&format!("/v1/approvals/{id}")).bearer(&story.lee).json(&yes).send().expect(200);
    let other = json!({"size": 9});
    let with = |params: &Value| act(story, &token, &find, params).header("placet-approval", &id).send();
    with(&other).refused(403, "approval_mismatch");
    with(&params).expect(200);
    let seen = story.shop.seen_at(&format!("/{service}/find"));
    assert_eq!(seen.iter().map(|one| one.json()).collect::<Vec<_>>(), [json!({"size": 3})]);

    // What a key is bound to is what was asked, whatever rules made of it.
    let (service, token) = listing(story, THREE);
    let find = format!("{service}.find");
    let keyed = |params: &Value| act(story, &token, &find, params).header("idempotency-key", "one").send();
    keyed(&json!({"size": 8})).expect(200);
    keyed(&json!({"size": 9})).refused(422, "idempotency_mismatch");
    keyed(&json!({"size": 8})).expect(200);
    assert_eq!(story.shop.count(&format!("/{service}/")), 1);
}
