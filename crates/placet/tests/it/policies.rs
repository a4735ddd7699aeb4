//! Policies and services as documents over HTTP: what is refused where, versions, and when a change takes effect.

use crate::stage::story;
use placet_testkit::{Answer, Story, fresh, together};
use serde_json::{Value, json};

fn put(story: &Story, path: &str, kind: &str, body: &[u8]) -> Answer {
    story.admin().put(path).body(kind, body).send()
}

/// A policy for nobody that is there.
fn policy(name: &str) -> String {
    format!(
        "policy: {name}\napplies_to: {{agents: [\"nobody-{name}\"]}}\nrules:\n  - {{name: r, allow: [orders.read]}}\n"
    )
}

fn diagnostics(answer: &Answer) -> Vec<Value> {
    answer.at("/diagnostics").as_array().unwrap().clone()
}

#[test]
fn documents_come_as_yaml_or_json() {
    let story = story();
    for kind in [
        "application/yaml",
        "text/yaml",
        "application/x-yaml",
        "application/yaml; charset=utf-8",
        "Application/YAML",
    ] {
        let name = fresh("p");
        let made = put(story, &format!("/v1/policies/{name}"), kind, policy(&name).as_bytes()).expect(201);
        assert_eq!(made.body, json!({"policy": name, "version": 1, "warnings": []}), "{kind}");
    }
    let name = fresh("p");
    let as_json = json!({"policy": name, "rules": [{"name": "r", "allow": ["orders.read"]}], "applies_to": {"agents": ["x"]}});
    put(story, &format!("/v1/policies/{name}"), "application/json", as_json.to_string().as_bytes())
        .expect(201);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "", "yaml", "multipart/form-data"] {
        let name = fresh("p");
        put(story, &format!("/v1/policies/{name}"), kind, policy(&name).as_bytes())
            .refused(415, "media_type_unsupported");
    }
}

#[test]
fn the_name_inside_is_the_one_in_the_path() {
    let story = story();
    let (name, other) = (fresh("p"), fresh("p"));
    let path = format!("/v1/policies/{name}");
    let answer =
        put(story, &path, "application/yaml", policy(&other).as_bytes()).refused(422, "document_invalid");
    let said = diagnostics(&answer)[0]["message"].to_string();
    assert!(said.contains(&name) && said.contains(&other), "{said}");
    story.admin().get(&path).send().refused(404, "not_found");
    let service = Story::service_at(story.shop.base());
    story.service(&fresh("s"), &service).refused(422, "document_invalid");
}

#[test]
fn mistakes_are_told_with_line_and_column() {
    let story = story();
    let name = fresh("p");
    let path = format!("/v1/policies/{name}");
    let head = format!("policy: {name}\nrules:\n");
    for (rules, line, column, part) in [
        ("  - name: read\n    alow: [orders.read]\n", 4, 5, "allow"),
        (
            "  - name: read\n    allow: [refunds.create]\n    when: [params.curency == 'USD']\n",
            5,
            18,
            "currency",
        ),
        ("  - name: read\n    allow: [orders.read]\n    when: [\"params.order_id ==\"]\n", 5, 0, ""),
        (
            "  - name: read\n    allow: [refunds.create]\n    limits: [{sum: params.amont, max: 5, per: day}]\n",
            5,
            0,
            "am",
        ),
        ("  - name: read\n    allow: [orders.read]\n    limits: [{count: -1, per: day}]\n", 5, 0, "count"),
        (
            "  - name: read\n    allow: [orders.read]\n    limits: [{count: 1, per: fortnight}]\n",
            5,
            0,
            "fortnight",
        ),
        ("  - name: a\n    allow: [orders.read]\n    deny: [orders.list]\n", 5, 5, "only one of"),
        ("  - name: a\n    name: b\n    allow: [orders.read]\n", 4, 0, "name"),
        ("  - name: a\n    allow: []\n", 4, 0, "empty"),
        ("  - name: a\n    allow: [orders.read]\n    on: [\"order://customer:{{user.id}/x\"]\n", 5, 0, ""),
        ("  - name: a\n    allow: [orders.read]\n    shape: {rows: 5}\n", 5, 19, "rows"),
        ("  - name: a\n    allow: [orders.read]\n    hours: {days: mon-fry}\n", 5, 19, "mon-fry"),
        ("  - name: a\n    allow: [orders.read]\n    limits: [{rate: 100/week}]\n", 5, 21, "100/week"),
        ("  - name: a\n\tallow: [orders.read]\n", 3, 11, "tab"),
    ] {
        let answer = story.policy(&name, &format!("{head}{rules}")).refused(422, "document_invalid");
        let found = diagnostics(&answer);
        let at = |found: &Value| (found["position"]["line"].as_u64(), found["position"]["column"].as_u64());
        let fits = found.iter().any(|one| {
            let (at_line, at_column) = at(one);
            at_line == Some(line)
                && (column == 0 || at_column == Some(column))
                && one.to_string().contains(part)
        });
        assert!(fits, "{rules}: {found:#?}");
    }
    story.admin().get(&path).send().refused(404, "not_found");
}

#[test]
fn versions_count_up_and_the_same_text_makes_none() {
    let story = story();
    let name = fresh("p");
    let path = format!("/v1/policies/{name}");
    let first = policy(&name);
    let second = first.replace("orders.read", "orders.list");
    assert_eq!(story.policy(&name, &first).expect(201).at("/version"), 1);
    assert_eq!(story.policy(&name, &first).expect(200).at("/version"), 1);
    assert_eq!(story.policy(&name, &second).expect(200).at("/version"), 2);
    assert_eq!(story.policy(&name, &first).expect(200).at("/version"), 3);
    story.policy(&name, "policy: [").refused(422, "document_invalid");
    assert_eq!(story.admin().get(&path).send().expect(200).at("/version"), 3);
    let old = story.admin().get(&format!("{path}?version=2")).send().expect(200);
    assert_eq!(old.at("/source"), second.as_str());
    story.admin().get(&format!("{path}?version=9")).send().refused(404, "not_found");
    story.admin().get(&format!("{path}?verion=1")).send().refused(400, "request_invalid");
}

#[test]
fn many_at_once_make_a_version_each() {
    let story = story();
    let name = fresh("p");
    let answers =
        together(8, |n| story.policy(&name, &policy(&name).replace("name: r", &format!("name: r{n}"))));
    let mut versions: Vec<u64> = answers
        .iter()
        .map(|answer| {
            assert!(matches!(answer.status, 200 | 201));
            answer.at("/version").as_u64().unwrap()
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn only_administrators_apply() {
    let story = story();
    let (_, token) = story.ready("  - {name: a, allow: [orders.read]}\n");
    let name = fresh("p");
    for session in [token.as_str(), &story.lee] {
        let put =
            story.client().put(&format!("/v1/policies/{name}")).bearer(session).yaml(&policy(&name)).send();
        put.refused(403, "not_permitted");
        let service = story.client().put("/v1/services/shop").bearer(session);
        service.yaml(&Story::service_at("http://127.0.0.1:1")).send().refused(403, "not_permitted");
        story.client().get("/v1/policies").bearer(session).send().refused(403, "not_permitted");
    }
    story
        .client()
        .put(&format!("/v1/policies/{name}"))
        .yaml(&policy(&name))
        .send()
        .refused(401, "token_invalid");
}

#[test]
fn a_change_is_in_force_at_the_next_action() {
    let story = story();
    let agent = story.agent(&fresh("agent-")).register();
    let token = agent.token(&story.client(), "notes.*");
    let act = || story.act(&token, "notes.write", &json!({"customer_id": fresh("c"), "text": "x"}));
    act().refused(403, "no_rule");
    for _ in 0..10 {
        story.rules(&agent.handle, "  - {name: yes, allow: [notes.write]}\n");
        act().expect(200);
        story.rules(&agent.handle, "  - {name: no, deny: [notes.write]}\n");
        act().refused(403, "forbidden");
        story.rules(&agent.handle, "  - {name: yes, allow: [notes.write]}\n  - {name: but, guard: [notes.*], when: [params.text == \"y\"]}\n");
        let answer = act().refused(403, "condition_failed");
        assert_eq!(answer.at("/reasons/0/rule"), "but");
        assert_eq!(answer.at("/reasons/0/expression"), "params.text == \"y\"");
    }
}

/// A service with one action `{name}.pay`, whose customer stands in the path or is only claimed.
pub(crate) fn service(name: &str, base: &str, addressed: bool) -> String {
    let path = if addressed { "/customers/{customer}/pay/{order}" } else { "/pay/{order}" };
    format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n  {name}.pay:\n    method: POST\n    \
         path: {path}\n    resource: '{name}://customer:{{customer}}/{{order}}'\n    effect: money\n    params:\n      \
         type: object\n      properties: {{customer: {{type: string}}, order: {{type: string}}}}\n      \
         required: [customer, order]\n"
    )
}

#[test]
fn a_policy_and_a_service_are_checked_together_whichever_comes_second() {
    let story = story();
    let base = story.shop.base();
    // Policy second: customer 42 would be what the agent claims.
    let name = fresh("claim");
    story.service(&name, &service(&name, base, false)).expect(201);
    let rule = |on: &str, when: &str| {
        format!(
            "policy: {name}\nrules:\n  - name: own customers\n    allow: [{name}.pay]\n    on: ['{on}']\n    when: [{when}]\n"
        )
    };
    for (on, when) in [
        (format!("{name}://customer:42/*"), "\"true\""),
        (format!("{name}://customer:{{{{user.id}}}}/*"), "\"true\""),
        (format!("{name}://customer:*/*"), "'params.customer == \"42\"'"),
    ] {
        let answer = story.policy(&name, &rule(&on, when)).refused(422, "document_invalid");
        assert!(answer.text("/detail").contains("claim"), "{:#}", answer.body);
    }
    story.policy(&name, &rule(&format!("{name}://customer:*/*"), "\"true\"")).expect(201);
    // Service second: it would take the customer out of the path under a live rule.
    let name = fresh("claim");
    story.service(&name, &service(&name, base, true)).expect(201);
    let policy = format!(
        "policy: {name}\nrules:\n  - name: own customers\n    allow: [{name}.pay]\n    on: ['{name}://customer:42/*']\n"
    );
    story.policy(&name, &policy).expect(201);
    let answer = story.service(&name, &service(&name, base, false)).refused(422, "document_invalid");
    assert!(answer.text("/detail").contains("own customers"), "{:#}", answer.body);
    let listed = story.admin().get(&format!("/v1/services/{name}")).send().expect(200);
    assert_eq!(listed.at("/version"), 1);
    // With `binds`, upstream itself vouches for it.
    let bound =
        service(&name, base, false).replace("    effect: money", "    binds: [customer]\n    effect: money");
    story.service(&name, &bound).expect(200);
}

#[test]
fn names_of_actions_are_unique_in_an_installation() {
    let story = story();
    let name = fresh("twin");
    let yaml = service(&name, story.shop.base(), true).replace(&format!("{name}.pay:"), "orders.read:");
    let answer = story.service(&name, &yaml).refused(409, "conflict");
    assert!(answer.text("/detail").contains("shop"), "{:#}", answer.body);
}

#[test]
fn an_action_that_no_service_declares_is_a_warning() {
    let story = story();
    let name = fresh("p");
    let made = story.policy(&name, &policy(&name).replace("orders.read", "nothing.such")).expect(201);
    assert_eq!(made.at("/warnings").as_array().unwrap().len(), 1, "{:#}", made.body);
}
