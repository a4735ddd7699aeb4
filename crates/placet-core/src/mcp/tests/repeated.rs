//! Arguments that headers repeat.

use crate::mcp::{
    Revision, RpcError,
    repeated::{self, Repeated},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
        "dry": {"type": "boolean", "x-mcp-header": "Dry", "default": {"x-mcp-header": "kept"}},
        "x-mcp-header": {"type": "string"},
    }})
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn arguments_are_found_where_they_are() {
    let found = repeated::declared(&schema()).unwrap();
    let mut told: Vec<(String, String)> =
        found.iter().map(|one| (one.header.clone(), one.path.join("/"))).collect();
    told.sort();
    let expected = [("count", "deep/count"), ("dry", "dry"), ("region", "region")];
    assert_eq!(told, expected.map(|(header, path)| (format!("mcp-param-{header}"), path.to_owned())));
    let sent = |params: Value| {
        let params = object(params);
        let mut sent: Vec<String> = found.iter().filter_map(|one| one.sent(&params)).collect();
        sent.sort();
        sent
    };
    assert_eq!(sent(json!({"region": "eu", "deep": {"count": 7}, "dry": false})), ["7", "eu", "false"]);
    assert_eq!(sent(json!({"region": null, "deep": {}})), [""; 0]);
    assert_eq!(sent(json!({"region": " ü"})), ["=?base64?IMO8?="]);
}

#[test]
fn what_cannot_be_repeated_is_told() {
    let header = |name: Value| json!({"type": "string", "x-mcp-header": name});
    for bad in [
        json!({"properties": {"a": header(json!("two words"))}}),
        json!({"properties": {"a": header(json!("a:b"))}}),
        json!({"properties": {"a": header(json!("a\r\nb"))}}),
        json!({"properties": {"a": header(json!(""))}}),
        json!({"properties": {"a": header(json!(7))}}),
        json!({"properties": {"a": {"x-mcp-header": "A"}}}),
        json!({"properties": {"a": {"type": "object", "x-mcp-header": "A"}}}),
        json!({"properties": {"a": {"type": "array", "items": header(json!("A"))}}}),
        json!({"anyOf": [{"properties": {"a": header(json!("A"))}}]}),
        json!({"$defs": {"a": header(json!("A"))}}),
        json!({"type": "string", "x-mcp-header": "A"}),
        json!({"properties": {"a": header(json!("A")), "b": header(json!("a"))}}),
    ] {
        assert!(repeated::declared(&bad).is_err(), "{bad}");
    }
    assert_eq!(repeated::declared(&json!({"properties": {"x-mcp-header": {"type": "string"}}})), Ok(vec![]));
}

#[test]
fn a_header_says_what_the_body_says() {
    let one = |path: &str| {
        let found = repeated::declared(&schema()).unwrap();
        found.into_iter().find(|one: &Repeated| one.path.last().unwrap() == path).unwrap()
    };
    let args = object(json!({"region": "eu", "deep": {"count": 42}, "dry": true}));
    let none = Map::new();
    let new = Revision::Stateless;
    for (path, header) in
        [("region", "eu"), ("region", "=?base64?ZXU=?="), ("count", "42"), ("count", "42.0"), ("dry", "true")]
    {
        assert_eq!(one(path).agrees(Some(header), &args, new), Ok(()), "{path} {header}");
    }
    for (path, header) in [
        ("region", "us"),
        ("region", "EU"),
        ("region", "=?base64?ZXU?="),
        ("region", "=?BASE64?ZXU=?="),
        ("count", "43"),
        ("count", ""),
        ("dry", "TRUE"),
        ("dry", "1"),
    ] {
        let said = one(path).agrees(Some(header), &args, new).unwrap_err();
        assert_eq!((said.code, said.status), (RpcError::HEADER_MISMATCH, Some(400)), "{path} {header}");
    }
    assert!(one("region").agrees(None, &args, new).is_err(), "it has to be there");
    assert!(one("region").agrees(None, &args, Revision::WithHandshake).is_ok());
    assert!(one("region").agrees(Some("us"), &args, Revision::WithHandshake).is_err());
    assert!(one("region").agrees(Some("eu"), &none, new).is_err(), "nothing is there to repeat");
    assert!(one("region").agrees(None, &none, new).is_ok());
}

proptest! {
    #[test]
    fn what_is_sent_agrees_and_says_nothing_else(text in ".{0,20}", other in ".{0,20}", count in any::<i32>()) {
        let args = object(json!({"region": text, "deep": {"count": count}}));
        let differing = object(json!({"region": other, "deep": {"count": i64::from(count) + 1}}));
        for one in repeated::declared(&schema()).unwrap() {
            let Some(sent) = one.sent(&args) else { continue };
            prop_assert!(sent.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{sent:?}");
            prop_assert_eq!(one.agrees(Some(&sent), &args, Revision::Stateless), Ok(()));
            if one.sent(&differing).as_ref() != Some(&sent) {
                prop_assert!(one.agrees(Some(&sent), &differing, Revision::Stateless).is_err());
            }
        }
    }
}
