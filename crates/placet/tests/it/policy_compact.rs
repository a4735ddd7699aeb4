//! Policies in the compact form, lists and the schema for editors, over HTTP and by the command line.

use crate::{
    process::{placet, stderr, stdout},
    stage::story,
};
use placet_testkit::fresh;
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

fn run(home: &Path, arguments: &[&str]) -> Output {
    placet(home).args(arguments).output().unwrap()
}

#[test]
fn what_is_stored_is_what_it_became() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.* refunds.*");
    let compact = format!(
        "agent: {}\npolicy:\n  actions: [notes.write, refunds.create]\n  constraints:\n    - refunds: {{maxAmount: 50}}\n    \
         - maxPerDay: 3\n  audit: {{retainFor: 30days}}\n",
        agent.handle
    );
    story.policy(&agent.handle, &compact).expect(201);
    let customer = fresh("c");
    let refund = |amount: u32| {
        story.act(
            &token,
            "refunds.create",
            &json!({"customer_id": customer, "order_id": "1", "amount": amount}),
        )
    };
    refund(51).refused(403, "condition_failed");
    refund(50).expect(200);
    let note = || story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    note().expect(200);
    refund(1).expect(200);
    // One counter for both rules.
    note().refused(403, "limit_exceeded");
    let path = format!("/v1/policies/{}", agent.handle);
    let shown = story.admin().get(&path).send().expect(200);
    let source = shown.text("/source");
    assert!(
        source.starts_with("# From the compact form:\n#   agent: ") && source.contains("params.amount <= 50")
    );
    let rules = story.admin().get(&format!("{path}/rules")).send().expect(200);
    assert_eq!(rules.at("/rules").as_array().unwrap().len(), 3);
    // The same again is the same version, also as what it became.
    assert_eq!(story.policy(&agent.handle, &compact).expect(200).at("/version"), 1);
    assert_eq!(story.policy(&agent.handle, &source).expect(200).at("/version"), 1);
    // Named by its agent.
    story.policy(&fresh("other"), &compact).refused(422, "document_invalid");
}

#[test]
fn without_an_agent_it_is_for_whom_it_is_applied_to() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.*");
    let name = fresh("template");
    let text = "policy: {actions: [notes.write]}\n";
    let act = || story.act(&token, "notes.write", &json!({"customer_id": "1", "text": "x"}));
    let answer = story.policy(&name, text).expect(201);
    assert!(answer.text("/warnings/0/message").contains("--agent"), "{:#}", answer.body);
    act().refused(403, "no_rule");
    let put =
        |agents: &str| story.admin().put(&format!("/v1/policies/{name}?agents={agents}")).yaml(text).send();
    put(&format!("nobody,{}", agent.handle)).expect(200);
    act().expect(200);
    put("no*body").refused(400, "request_invalid");
    put("").refused(400, "request_invalid");
    let full = format!("policy: {name}\nrules: [{{name: a, allow: [x.y]}}]\n");
    let path = format!("/v1/policies/{name}?agents=x");
    story.admin().put(&path).yaml(&full).send().refused(422, "document_invalid");
    story
        .admin()
        .put(&format!("/v1/policies/{name}?agent=x"))
        .yaml(&full)
        .send()
        .refused(400, "request_invalid");
}

#[test]
fn the_command_line_shows_what_a_file_becomes() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let service = at(
        "shop.yaml",
        "service: shop\nbase_url: https://shop.example\nauth: {type: bearer}\nactions:\n  refunds.create:\n    method: POST\n    \
         path: /refunds\n    resource: refund://all\n    effect: money\n    params: {type: object, properties: {amount: {type: number}}}\n",
    );
    let policy = at(
        "triage.yaml",
        "lists: {currencies: [USD]}\npolicy:\n  action: '**'\n  constraints:\n    refund: {maxAmount: 5, requireApproval: '!(currency in lists.currencies)'}\n",
    );
    let alone = run(home.path(), &["policy", "rules", &policy]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(stdout(&alone).contains("name the services"), "{}", stdout(&alone));
    let wrong = run(home.path(), &["policy", "rules", &policy, "--service", &service]);
    assert!(stdout(&wrong).contains("none of its actions has a parameter `currency`"), "{}", stdout(&wrong));
    fs::write(
        &policy,
        fs::read_to_string(&policy).unwrap().replace("!(currency in lists.currencies)", "amount > 3"),
    )
    .unwrap();
    let shown = run(home.path(), &["policy", "rules", &policy, "--service", &service]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let answer: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(answer["policy"], "triage");
    assert!(answer["rules"][0].as_str().unwrap().contains("params.amount <= 5"), "{answer:#}");
}

#[test]
fn the_schema_is_a_file_for_editors() {
    let home = tempfile::tempdir().unwrap();
    let printed = run(home.path(), &["policy", "schema"]);
    assert_eq!(printed.status.code(), Some(0), "{}", stderr(&printed));
    let schema: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["$defs"]["rule"]["properties"]["allow"]["description"].is_string());
}

#[test]
fn what_is_staged_is_what_it_became() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let compact = format!(
        "agent: {}\npolicy:\n  actions: [notes.write]\n  constraints: {{maxPerDay: 3}}\n",
        agent.handle
    );
    let path = format!("/v1/policies/{}", agent.handle);
    let staged = json!({"source": compact, "share": 100});
    story.admin().post(&format!("{path}/stage")).json(&staged).send().expect(200);
    let shown = story.admin().get(&format!("{path}?version=1")).send().expect(200).text("/source");
    assert!(shown.starts_with("# From the compact form:") && shown.contains("rules:"), "{shown}");
    story.admin().post(&format!("{path}/promote")).send().expect(200);
    // It is in force already, as what it became.
    story.admin().post(&format!("{path}/stage")).json(&staged).send().refused(409, "conflict");
    let token = agent.token(&story.client(), "notes.*");
    story.act(&token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"})).expect(200);
}
