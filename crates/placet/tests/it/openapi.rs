//! The interface's description: valid, complete, true; and every operation wants somebody, unless it is listed here.

use crate::stage::story;
use placet_testkit::{Answer, Client, Story, fresh};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// OpenAPI 3.1's own schema (<https://spec.openapis.org/oas/3.1/schema/2022-10-07>).
const SPECIFICATION: &str = include_str!("../openapi/schema-3.1.json");

/// What answers somebody without any credential. Everything else is 401 or 403.
const OPEN: &[&str] = &[
    "GET /.well-known/authzen-configuration",
    "GET /.well-known/jwks.json",
    "GET /.well-known/oauth-authorization-server",
    "GET /.well-known/oauth-protected-resource",
    "GET /.well-known/openid-configuration",
    "GET /healthz",
    "GET /oauth/status",
    "GET /openapi.json",
    "GET /readyz",
    "GET /v1/egress",
];

/// What takes its proof from the body, or is there for some paths only: refused without, with a status of its own.
const PROVEN_OTHERWISE: &[&str] = &[
    "GET /.well-known/authzen-configuration/{path}",
    "GET /.well-known/oauth-authorization-server/{path}",
    "GET /.well-known/oauth-protected-resource/{path}",
    "GET /.well-known/openid-configuration/{path}",
    "GET /oauth/status/{list}",
    // A client that introduces itself is nobody yet.
    "POST /oauth/register",
    "POST /v1/sessions",
];

/// Every operation of the document: its name (`GET /v1/agents`) and description.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let named = |(path, item): (&String, &Value)| {
        let operations = item.as_object().unwrap().clone();
        let path = path.clone();
        operations
            .into_iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_ascii_uppercase()), operation))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(named).collect()
}

fn document(story: &Story) -> Value {
    story.client().get("/openapi.json").send().expect(200).body
}

/// The smallest value that a schema of ours takes.
fn smallest(schema: &Value) -> Value {
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!("x"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let member = |name: Value| {
                let name = name.as_str().unwrap().to_owned();
                let value = smallest(&schema["properties"][&name]);
                (name, value)
            };
            Value::Object(required.into_iter().map(member).collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

/// Sends an operation with the smallest body that it takes.
fn call(client: &Client, name: &str, operation: &Value) -> Answer {
    let (method, path) = name.split_once(' ').unwrap();
    let path: Vec<&str> =
        path.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment }).collect();
    let request = client.request(method, &path.join("/"));
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    let Some(content) = content else { return request.send() };
    if let Some(form) = content.get("application/x-www-form-urlencoded") {
        let body = smallest(&form["schema"]);
        let members: Vec<(String, String)> = body
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let members: Vec<(&str, &str)> =
            members.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        return request.form(&members).send();
    }
    match content.get("application/json") {
        Some(json) if !content.contains_key("application/yaml") => {
            request.json(&smallest(&json["schema"])).send()
        }
        _ => request.yaml("x: 1\n").send(),
    }
}

#[test]
fn the_document_is_valid_and_known() {
    let document = document(story());
    let specification: Value = serde_json::from_str(SPECIFICATION).unwrap();
    let validator = jsonschema::validator_for(&specification).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!validator.is_valid(&json!({"openapi": "3.1.0", "info": {}})), "the validator finds nothing");
    for (name, operation) in operations(&document) {
        let bodies = operation.pointer("/requestBody/content").into_iter();
        let answers = operation["responses"].as_object().unwrap().values();
        let answers = answers.filter_map(|response| response.get("content"));
        for schema in bodies.chain(answers).flat_map(|content| content.as_object().unwrap().values()) {
            assert!(jsonschema::meta::is_valid(&schema["schema"]), "{name}: {schema}");
        }
    }
    insta::assert_snapshot!("openapi", format!("{document:#}"));
}

#[test]
fn without_credentials_everything_but_the_listed_is_refused() {
    let story = story();
    let document = document(story);
    let operations = operations(&document);
    assert!(operations.len() > 40, "{}", operations.len());
    let known: BTreeSet<&str> = operations.iter().map(|(name, _)| name.as_str()).collect();
    for listed in OPEN.iter().chain(PROVEN_OTHERWISE) {
        assert!(known.contains(listed), "`{listed}` is listed and gone");
    }
    for (name, operation) in &operations {
        let answer = call(&story.client(), name, operation);
        if OPEN.contains(&name.as_str()) {
            answer.expect(200);
            assert_eq!(operation["security"], json!([]), "{name}");
        } else if PROVEN_OTHERWISE.contains(&name.as_str()) {
            assert!((400..500).contains(&answer.status), "{name}: {}", answer.status);
        } else {
            assert!(matches!(answer.status, 401 | 403), "{name}: {} {:#}", answer.status, answer.body);
            assert_ne!(operation["security"], json!([]), "{name} says that anybody may");
        }
        // A made up credential of each kind is no better than none.
        for token in ["plt_admin_x", "plt_session_x", "a.b.c", "x"] {
            let answer = call(&story.client().with(token), name, operation);
            if !OPEN.contains(&name.as_str()) {
                assert!((400..500).contains(&answer.status), "{name} with {token}: {}", answer.status);
            }
        }
    }
}

#[test]
fn every_operation_exists_and_no_other_method_does() {
    let story = story();
    let document = document(story);
    let admin = story.server.admin();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods: Vec<String> =
            item.as_object().unwrap().keys().map(|method| method.to_ascii_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let sent = path.replace("{index}", "0").replace("{id}", "x").replace("{name}", "x");
            if methods.iter().any(|known| known == method) {
                continue;
            }
            admin.request(method, &sent).send().refused(405, "method_not_allowed");
        }
    }
    for (name, operation) in operations(&document) {
        let answer = call(&story.client(), &name, &operation);
        let detail = answer.body.get("detail").and_then(Value::as_str).unwrap_or_default();
        assert!(answer.status != 405 && !detail.contains("no such path"), "{name}: {}", answer.body);
    }
}

/// serde names every member that it knows when it meets one that it does not: the schema has exactly those.
#[test]
fn the_members_of_every_body_are_those_that_are_read() {
    let story = story();
    let document = document(story);
    let (_, token) = story.ready("  - {name: none, allow: [notes.write]}\n");
    let server = json!({"name": fresh("api-"), "audience": format!("urn:{}", fresh("api-"))});
    let server = story.admin().post("/v1/resource-servers").json(&server).send().expect(201);
    let mut compared = 0;
    for (name, operation) in operations(&document) {
        let schema = operation.pointer("/requestBody/content/application~1json/schema");
        let Some(schema) = schema.filter(|schema| schema["additionalProperties"] == json!(false)) else {
            continue;
        };
        let (method, path) = name.split_once(' ').unwrap();
        let path = path.replace("{id}", "x");
        let client = if path == "/v1/actions" { story.client().with(&token) } else { story.server.admin() };
        let request = match path.ends_with("/outcome") {
            true => {
                let request = story.client().request(method, &path);
                request.basic(&server.text("/client_id"), &server.text("/client_secret"))
            }
            false => client.request(method, &path),
        };
        let answer = request.json(&json!({"zzz": 1})).send();
        let detail = answer.body.get("detail").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some((_, listed)) = detail.split_once("expected ") else {
            panic!("{name}: {} {detail}", answer.status)
        };
        // `a`, `one of `a`, `b``: every other piece between backquotes is a name.
        let read: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
        let described: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, read, "{name}");
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
}

/// Asserts that an answer is what the document says of its operation.
#[track_caller]
fn conforms(document: &Value, name: &str, answer: &Answer) {
    let (method, path) = name.split_once(' ').unwrap();
    let responses = &document["paths"][path][method.to_ascii_lowercase()]["responses"];
    let described = responses.get(answer.status.to_string());
    let described =
        described.unwrap_or_else(|| panic!("{name}: {} is not described: {:#}", answer.status, answer.body));
    let Some(content) = described.get("content").and_then(Value::as_object) else {
        assert!(answer.bytes.is_empty(), "{name}");
        return;
    };
    let (kind, schema) = content.iter().next().unwrap();
    assert!(answer.header("content-type").unwrap().starts_with(kind.as_str()), "{name}");
    if kind.ends_with("json") {
        let validator = jsonschema::validator_for(&schema["schema"]).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&answer.body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?} in {:#}", answer.body);
    }
}

#[test]
fn answers_are_what_the_document_says() {
    let story = story();
    let document = document(story);
    let admin = story.admin();
    let (agent, token) = story.ready(
        "  - {name: notes, allow: [notes.write]}\n  - {name: ask, allow: [refunds.create], approve: {by: [\"role:support-lead\"]}}\n",
    );
    let customer = fresh("c");
    let ran = story.act(&token, "notes.write", &json!({"customer_id": customer, "text": "x"}));
    conforms(&document, "POST /v1/actions", &ran);
    let refund = json!({"customer_id": customer, "order_id": "1", "amount": 1});
    let held = story.act(&token, "refunds.create", &refund).expect(202);
    conforms(&document, "POST /v1/actions", &held);
    let action = ran.text("/id");
    conforms(&document, "GET /v1/actions/{id}", &admin.get(&format!("/v1/actions/{action}")).send());
    let approval = format!("/v1/approvals/{}", held.text("/approval/id"));
    conforms(&document, "GET /v1/approvals/{id}", &story.approver().get(&approval).send());
    let denied = story.approver().post(&approval).json(&json!({"verdict": "deny"})).send();
    conforms(&document, "POST /v1/approvals/{id}", &denied);
    let asked = agent.ask().with("scope", "notes.*").send(&story.client());
    conforms(&document, "POST /oauth/token", &asked);
    let grant = asked.text("/grant_id");
    let token = asked.text("/access_token");
    let introspected = admin.post("/oauth/introspect").form(&[("token", &token)]).send();
    conforms(&document, "POST /oauth/introspect", &introspected);
    let question = json!({"action": "notes.write", "resource": format!("order://customer:{customer}")});
    let decided = story.client().post("/v1/decisions").bearer(&token).json(&question).send();
    conforms(&document, "POST /v1/decisions", &decided);
    let task = json!({"agent": agent.handle, "task_id": fresh("label-"), "description": "x", "scope": ["notes.write"]});
    let made = admin.post("/v1/tasks").json(&task).send();
    conforms(&document, "POST /v1/tasks", &made);
    let made = made.text("/id");
    conforms(&document, "GET /v1/tasks/{id}", &admin.get(&format!("/v1/tasks/{made}")).send());
    let completed = admin.post(&format!("/v1/tasks/{made}/complete")).send();
    conforms(&document, "POST /v1/tasks/{id}/complete", &completed);
    conforms(&document, "GET /v1/grants/{id}", &admin.get(&format!("/v1/grants/{grant}")).send());
    let lineage = admin.get(&format!("/v1/grants/{grant}/lineage")).send();
    conforms(&document, "GET /v1/grants/{id}/lineage", &lineage);
    let revoked = admin.post(&format!("/v1/grants/{grant}/revoke")).send();
    conforms(&document, "POST /v1/grants/{id}/revoke", &revoked);
    let agent = format!("/v1/agents/{}", agent.id);
    conforms(&document, "GET /v1/agents/{id}", &admin.get(&agent).send());
    let changed = admin.patch(&agent).json(&json!({"description": "y"})).send();
    conforms(&document, "PATCH /v1/agents/{id}", &changed);
    conforms(&document, "POST /v1/agents/{id}/suspend", &admin.post(&format!("{agent}/suspend")).send());
    conforms(&document, "DELETE /v1/agents/{id}", &admin.delete(&agent).send());
    conforms(&document, "GET /v1/services/{name}", &admin.get("/v1/services/shop").send());
    let lists = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/jwks.json",
        "/v1/agents",
        "/v1/grants",
        "/v1/tasks",
        "/v1/approvals",
        "/v1/users",
        "/v1/policies",
        "/v1/services",
        "/v1/connections",
        "/v1/record",
        "/v1/record/key",
        "/v1/record/checkpoint",
        "/v1/record/heads",
        "/v1/record/export",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ];
    for path in lists {
        conforms(&document, &format!("GET {path}"), &admin.get(path).send());
    }
    conforms(&document, "GET /v1/record/{index}", &admin.get("/v1/record/0").send());
    conforms(&document, "GET /v1/record/{index}/proof", &admin.get("/v1/record/0/proof").send());
}

#[test]
fn a_refusal_is_the_problem_that_the_document_describes() {
    let story = story();
    let document = document(story);
    let problem = jsonschema::validator_for(&document["components"]["schemas"]["Problem"]).unwrap();
    let refused = story.client().get("/v1/agents").send().refused(401, "token_invalid");
    assert!(problem.is_valid(&refused.body), "{:#}", refused.body);
    assert!(!problem.is_valid(&json!({"code": "made_up"})));
}
