//! The versions of a policy: their history, going back, removing; and what a text became.

use crate::stage::story;
use placet_testkit::{Story, fresh, together, until};
use serde_json::{Value, json};

fn versions(story: &Story, name: &str) -> Vec<(u64, bool)> {
    let answer = story.admin().get(&format!("/v1/policies/{name}/versions")).send().expect(200);
    let one = |one: &Value| (one["version"].as_u64().unwrap(), one["active"].as_bool().unwrap());
    answer.at("/versions").as_array().unwrap().iter().map(one).collect()
}

fn back(story: &Story, name: &str, to: Option<u64>) -> placet_testkit::Answer {
    let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
    story.admin().post(&format!("/v1/policies/{name}/rollback")).json(&body).send()
}

#[test]
fn going_back_is_a_new_version_that_is_in_force_at_once() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.*");
    let act = || story.act(&token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"}));
    let rules = |rules: &str| story.rules(&agent.handle, rules);
    rules("  - {name: yes, allow: [notes.write]}\n").expect(201);
    rules("  - {name: no, deny: [notes.write]}\n").expect(200);
    act().refused(403, "forbidden");
    let answer = back(story, &agent.handle, None).expect(200);
    assert_eq!((answer.at("/version"), answer.at("/back_to")), (&json!(3), &json!(1)));
    act().expect(200);
    assert_eq!(versions(story, &agent.handle), [(3, true), (2, false), (1, false)]);
    // To what is in force already: nothing to do.
    assert_eq!(back(story, &agent.handle, Some(1)).expect(200).at("/version"), 3);
    assert_eq!(back(story, &agent.handle, Some(2)).expect(200).at("/version"), 4);
    act().refused(403, "forbidden");
    back(story, &agent.handle, Some(9)).refused(404, "not_found");
    back(story, &fresh("nothing"), None).refused(404, "not_found");
    let wrong = json!({"to": 1, "from": 2});
    let path = format!("/v1/policies/{}/rollback", agent.handle);
    story.admin().post(&path).json(&wrong).send().refused(400, "request_invalid");
    let label = format!("{}@4", agent.handle);
    let entry = until("the entry", || {
        story
            .record()
            .into_iter()
            .find(|entry| entry["policies"] == json!([label]) && entry["by"].is_string())
    });
    assert_eq!(entry["type"], "policy.applied");
}

#[test]
fn an_old_text_is_checked_against_todays_services() {
    let story = story();
    let name = fresh("svc");
    let service = |method: &str, path: &str| {
        format!(
            "service: {name}\nbase_url: {}\nauth: {{type: bearer}}\nactions:\n  {name}.pay:\n    method: {method}\n    \
             path: {path}\n    resource: '{name}://customer:{{customer}}/x'\n    effect: money\n    params:\n      \
             type: object\n      properties: {{customer: {{type: string}}}}\n      required: [customer]\n",
            story.shop.base()
        )
    };
    story.service(&name, &service("POST", "/customers/{customer}/pay")).expect(201);
    let policy = |on: &str| {
        format!("policy: {name}\nrules:\n  - {{name: r, allow: [{name}.pay], on: ['{name}://{on}']}}\n")
    };
    story.policy(&name, &policy("customer:42/*")).expect(201);
    story.policy(&name, &policy("*/*")).expect(200);
    story.service(&name, &service("POST", "/pay")).expect(200);
    let refused = back(story, &name, None).refused(422, "document_invalid");
    assert!(refused.text("/detail").contains("claim"), "{:#}", refused.body);
    assert_eq!(versions(story, &name), [(2, true), (1, false)]);
}

#[test]
fn what_is_removed_grants_nothing_and_can_come_back() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.*");
    let act = || story.act(&token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"}));
    story.rules(&agent.handle, "  - {name: yes, allow: [notes.write]}\n").expect(201);
    act().expect(200);
    let path = format!("/v1/policies/{}", agent.handle);
    story.client().delete(&path).bearer(&token).send().refused(403, "not_permitted");
    let answers = together(4, |_| story.admin().delete(&path).send().status);
    assert_eq!(answers.iter().filter(|status| **status == 204).count(), 1, "{answers:?}");
    act().refused(403, "no_rule");
    story.admin().get(&path).send().refused(404, "not_found");
    story.admin().delete(&path).send().refused(404, "not_found");
    assert_eq!(versions(story, &agent.handle), [(1, false)]);
    let label = json!([format!("{}@1", agent.handle)]);
    let entry = until("the entry", || {
        let is = |entry: &Value| entry["type"] == "policy.removed" && entry["policies"] == label;
        story.record().into_iter().find(is)
    });
    assert!(entry["policies"][0].is_string() && entry["by"].is_string(), "{entry}");
    assert_eq!(back(story, &agent.handle, None).expect(201).at("/version"), 2);
    act().expect(200);
}

#[test]
fn rules_are_told_in_full() {
    let story = story();
    let name = fresh("p");
    let text = format!(
        "policy: {name}\napplies_to: {{agents: [\"nobody-{name}\"]}}\nrules:\n  - {{name: r, allow: orders.read, limits: {{rate: 5/minute}}}}\n"
    );
    story.policy(&name, &text).expect(201);
    let answer = story.admin().get(&format!("/v1/policies/{name}/rules")).send().expect(200);
    let line = "{name: \"r\", allow: [\"orders.read\"], on: [\"**\"], limits: [{rate: \"5/minute\", burst: 5, by: agent}]}";
    assert_eq!((answer.at("/rules"), answer.at("/mode")), (&json!([line]), &json!("enforce")));
    // What is told can be applied, and says the same.
    story.policy(&name, &answer.text("/document")).expect(200);
    let again = story.admin().get(&format!("/v1/policies/{name}/rules?version=2")).send().expect(200);
    assert_eq!(again.at("/rules"), answer.at("/rules"));
}
