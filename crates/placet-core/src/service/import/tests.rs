use super::{Options, import};
use crate::{
    call::Method,
    pattern::ActionName,
    service::{Effect, Service},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DESK: &str = include_str!("fixtures/desk.yaml");
const PAYMENTS: &str = include_str!("fixtures/payments.yaml");
const FORGE: &str = include_str!("fixtures/forge.json");
const CRM: &str = include_str!("fixtures/crm.json");

fn at(base_url: &str) -> Options {
    Options { base_url: Some(base_url.to_owned()), ..Options::default() }
}

fn service(document: &str, options: &Options) -> Service {
    Service::parse(import(document.as_bytes(), options).unwrap().yaml.as_bytes(), None).unwrap().0
}

fn effect(service: &Service, name: &str) -> Option<Effect> {
    service.action(&ActionName::parse(name).unwrap()).unwrap_or_else(|| panic!("no {name}")).effect()
}

#[test]
fn a_ticket_system_in_yaml() {
    insta::assert_snapshot!(import(DESK.as_bytes(), &Options::default()).unwrap().yaml);
}

#[test]
fn payments_with_forms() {
    insta::assert_snapshot!(import(PAYMENTS.as_bytes(), &Options::default()).unwrap().yaml);
}

#[test]
fn a_forge_in_json() {
    insta::assert_snapshot!(import(FORGE.as_bytes(), &Options::default()).unwrap().yaml);
}

#[test]
fn contacts_with_cycles() {
    insta::assert_snapshot!(import(CRM.as_bytes(), &at("https://crm.example/v3")).unwrap().yaml);
}

#[test]
fn effects_are_raised_by_names_and_never_lowered() {
    let desk = service(DESK, &Options::default());
    assert_eq!(effect(&desk, "support_desk.export.delete_old_exports"), Some(Effect::Delete), "a GET");
    assert_eq!(effect(&desk, "support_desk.agents.remove_agent_from_team"), Some(Effect::Delete), "a POST");
    assert_eq!(effect(&desk, "support_desk.tickets.list_tickets"), Some(Effect::Read));
    let payments = service(PAYMENTS, &Options::default());
    assert_eq!(effect(&payments, "payments.transfers.create"), Some(Effect::Money));
    assert_eq!(effect(&payments, "payments.charges.get_charges"), Some(Effect::Read));
    let crm = service(CRM, &at("https://crm.example/v3"));
    assert_eq!(effect(&crm, "crm.deals.pay_deal"), Some(Effect::Money), "a GET");
}

#[test]
fn what_is_chosen_is_all_there_is() {
    let names = |include: &[&str], exclude: &[&str]| {
        let own = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        let options = Options {
            include: own(include),
            exclude: own(exclude),
            name: Some("d".into()),
            ..Options::default()
        };
        let read = import(DESK.as_bytes(), &options)?;
        let service = Service::parse(read.yaml.as_bytes(), None).unwrap().0;
        Ok::<_, String>(service.actions().map(|action| action.name().as_str().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&["d.agents.**"], &[]).unwrap(), ["d.agents.remove_agent_from_team"]);
    assert_eq!(names(&["/export"], &[]).unwrap(), ["d.export.delete_old_exports"]);
    assert!(names(&["/exp"], &[]).is_err(), "a segment is whole");
    let without = names(&[], &["/tickets", "d.agents.*"]).unwrap();
    assert_eq!(without, ["d.export.delete_old_exports"]);
    assert!(names(&["a b"], &[]).is_err());
}

#[test]
fn nothing_is_told_of_what_is_not_taken() {
    let document = r#"{"openapi": "3.0.3", "info": {"title": "Crm", "version": "1"}, "servers": [{"url": "https://crm.example"}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}, "paths": {
        "/contacts": {"get": {"operationId": "contacts", "parameters": [{"name": "q", "in": "query", "deprecated": true, "schema": {"type": "string"}}]}},
        "/raw": {"get": {"operationId": "raw", "parameters": [{"name": "q", "in": "query", "deprecated": true, "schema": {"type": "string"}}]}, "options": {}}}}"#;
    let notes = |include: &[&str], exclude: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let options = Options { include: own(include), exclude: own(exclude), ..Options::default() };
        let made = import(document.as_bytes(), &options).unwrap();
        (made.actions, made.notes.iter().filter(|note| note.contains("/raw")).count())
    };
    assert_eq!(notes(&[], &[]), (2, 2));
    assert_eq!(notes(&["/contacts"], &[]), (1, 0));
    assert_eq!(notes(&[], &["/raw"]), (1, 0));
    // By name: what can't be an action has none, and is told.
    assert_eq!(notes(&["crm.contacts.*"], &[]), (1, 1));
}

#[test]
fn of_too_many_operations_it_is_told_where_they_are() {
    let mut paths = serde_json::Map::new();
    for (start, count) in [("repos", 700), ("orgs", 400)] {
        for number in 0..count {
            let operation = serde_json::json!({"get": {"operationId": format!("{start}{number}")}});
            paths.insert(format!("/{start}/{number}"), operation);
        }
    }
    let document = serde_json::json!({"openapi": "3.1.0", "info": {"title": "Hub", "version": "1"},
        "servers": [{"url": "https://hub.example"}], "paths": paths});
    let told = import(document.to_string().as_bytes(), &Options::default()).unwrap_err();
    assert!(
        told.contains("it has 1100 operations") && told.contains("`/repos` (700), `/orgs` (400)"),
        "{told}"
    );
    let some = Options { include: vec!["/orgs".to_owned()], ..Options::default() };
    assert_eq!(import(document.to_string().as_bytes(), &some).unwrap().actions, 400);
}

#[test]
fn what_is_no_document_of_this_kind_is_refused() {
    let refused = |text: &str| import(text.as_bytes(), &at("https://x.example")).unwrap_err();
    for (text, why) in [
        ("swagger: '2.0'", "Swagger 2.0"),
        ("openapi: 2.0.0", "is not read"),
        ("a: b", "no OpenAPI document"),
        ("{", "no JSON"),
        ("a: [", "can't be read"),
        (
            "openapi: 3.0.0\npaths: {/a: {get: {parameters: [{$ref: 'https://evil.example/p.yaml'}]}}}",
            "another document",
        ),
        ("openapi: 3.0.0\npaths: {/a: {$ref: './other.yaml'}}", "another document"),
        ("openapi: 3.0.0\npaths: {}", "no operation"),
    ] {
        assert!(refused(text).contains(why), "{text}: {}", refused(text));
    }
    let whole = "openapi: 3.0.0\ninfo: {title: a}\npaths: {/a: {get: {}}}";
    assert!(import(whole.as_bytes(), &Options::default()).unwrap_err().contains("--base-url"));
    let mut bad = at("https://x.example");
    bad.name = Some("Bad Name".into());
    assert!(import(whole.as_bytes(), &bad).is_err());
}

#[test]
fn nothing_of_a_document_gets_out_of_its_place() {
    let document = json!({
        "openapi": "3.1.0", "info": {"title": "a\nactions: {}\u{2028}x"},
        "paths": {"/a": {"get": {"summary": "x\"\n  evil.action: {}", "operationId": "a\n#b", "parameters": [
            {"name": "q\": {}, \"z", "in": "query", "schema": {"type": "string", "enum": ["a\u{85}b", "{", "\\"]}},
            {"name": "h\n", "in": "header", "schema": {"const": "x\r\ny"}},
        ]}}},
    });
    let made = import(document.to_string().as_bytes(), &at("https://x.example"));
    if let Ok(made) = made {
        let service = Service::parse(made.yaml.as_bytes(), None).unwrap().0;
        assert_eq!(service.actions().len(), 1);
        assert!(made.yaml.lines().filter(|line| line.starts_with('#')).all(|line| !line.contains('\u{85}')));
    }
}

/// A schema, and the names that it may refer to.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "string", "enum": ["a", "b"]})),
        Just(json!({"type": "integer", "minimum": 1})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"type": "boolean"})),
        prop::sample::select(vec!["A", "B", "C"])
            .prop_map(|name| json!({"$ref": format!("#/components/schemas/{name}")})),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|items| json!({"type": "array", "items": items, "maxItems": 2})),
            (prop::collection::btree_map("[a-c]", inner.clone(), 0..3), any::<bool>()).prop_map(|(properties, open)| {
                let required: Vec<&String> = properties.keys().take(1).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open})
            }),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"anyOf": all})),
            prop::collection::vec(inner, 1..3).prop_map(|all| json!({"allOf": all})),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        prop::sample::select(vec!["a", "b", "c"]).prop_map(Value::from),
        (0i32..3).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever a document says: what comes of it loads, no effect is milder than its method's, and where nothing is told
    /// to be unchecked no body gets through that the document's schema refuses.
    #[test]
    fn what_is_imported_loads_and_lets_through_no_more(
        path in "(/[a-z{}]{1,4}|/\\{(id|x\\.y|9)\\}){1,3}",
        method in prop::sample::select(vec!["get", "post", "put", "patch", "delete"]),
        id in prop::option::of("\\PC{0,12}"), tag in prop::option::of("\\PC{0,8}"), title in "\\PC{0,12}",
        query in prop::collection::vec(("[a-z\\[\\]]{1,4}", schema(), any::<bool>()), 0..3),
        body in prop::option::of(schema()), known in [schema(), schema(), schema()], values in prop::collection::vec(value(), 8),
    ) {
        let mut parameters: Vec<Value> = query.iter().map(|(name, schema, required)| {
            json!({"name": name, "in": "query", "schema": schema, "required": required})
        }).collect();
        for name in ["id", "x.y", "9"].iter().filter(|name| path.contains(&format!("{{{name}}}"))) {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        }
        let [a, b, c] = known;
        let mut operation = json!({"parameters": parameters, "operationId": id, "tags": tag.iter().collect::<Vec<_>>()});
        if let Some(body) = &body {
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": body}}});
        }
        let document = json!({
            "openapi": "3.1.0", "info": {"title": title}, "servers": [{"url": "https://x.example/a"}],
            "paths": {path: {method: operation}}, "components": {"schemas": {"A": a, "B": b, "C": c}},
        });
        let Ok(made) = import(document.to_string().as_bytes(), &Options::default()) else { return Ok(()) };
        let (service, _) = Service::parse(made.yaml.as_bytes(), None).map_err(|found| TestCaseError::fail(format!("{found:?}")))?;
        prop_assert_eq!(service.actions().len(), 1);
        let action = service.actions().next().unwrap();
        let least = match action.method() {
            Method::Get | Method::Head => Effect::Read,
            Method::Delete => Effect::Delete,
            _ => Effect::Write,
        };
        prop_assert!(action.effect().is_some_and(|effect| effect >= least));
        if made.notes.iter().any(|note| note.contains("not checked") || note.contains("left out")) { return Ok(()); }
        let Some(body) = body.filter(|_| !matches!(method, "get")) else { return Ok(()) };
        let oracle = json!({"$ref": "#/b", "b": body, "components": document["components"]});
        let Ok(oracle) = jsonschema::options().offline().build(&oracle) else { return Ok(()) };
        let base: Map<String, Value> =
            action.params().iter().filter(|name| ["id", "x_y", "_9"].contains(&name.as_str())).map(|name| (name.clone(), "v".into())).collect();
        for value in values {
            let mut params = base.clone();
            if action.params().iter().any(|name| name == "body") {
                params.insert("body".into(), value);
            } else if let Value::Object(members) = value {
                params.extend(members);
            }
            if action.describe(&params).is_err() { continue; }
            let Ok(call) = service.render(action, &params) else { continue };
            let Some(sent) = call.body else { continue };
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            prop_assert!(oracle.is_valid(&sent), "{} is sent, by\n{}", sent, made.yaml);
        }
    }
}
