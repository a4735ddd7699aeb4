mod repeated;

use super::*;
use crate::pattern::ActionName;
use crate::service::Service;
use proptest::prelude::*;

const NAMES: [&str; 3] = ["orders.read", "orders.list", "ü"];
const METHODS: [&str; 5] = ["tools/call", "tools/list", "resources/read", "initialize", "x"];
const VERSIONS: [&str; 5] = [STATELESS, "2025-11-25", "2025-06-18", "2025-03-26", "1900-01-01"];

fn request(method: &str, params: &Value) -> Request {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    match Message::read(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn chosen<const N: usize>(from: [&'static str; N]) -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(from.to_vec()))
}

/// A name as a client writes it into a header.
fn written(name: &str, encoded: bool) -> String {
    if encoded { format!("=?base64?{}?=", STANDARD.encode(name)) } else { name.to_owned() }
}

proptest! {
    /// Against the sentences of the specification, each by itself.
    #[test]
    fn headers_say_what_the_body_says_or_the_request_is_refused(
        (version, stated) in (chosen(VERSIONS), chosen(VERSIONS)),
        (header, method) in (chosen(METHODS), prop::sample::select(METHODS.to_vec())),
        (named, name, uri, encoded) in (chosen(NAMES), chosen(NAMES), chosen(NAMES), any::<bool>()),
        capable in any::<bool>(),
    ) {
        let mut params = json!({"_meta": {}});
        if let Some(stated) = stated {
            params["_meta"][META_VERSION] = stated.into();
        }
        if capable {
            params["_meta"][META_CAPABILITIES] = json!({});
        }
        if let Some(name) = name {
            params["name"] = name.into();
        }
        if let Some(uri) = uri {
            params["uri"] = uri.into();
        }
        let named_header = named.map(|name| written(name, encoded));
        let headers = Headers { version, method: header, name: named_header.as_deref() };
        let said = Revision::of(&request(method, &params), headers);

        let body_name = match method {
            "tools/call" => name,
            "resources/read" => uri,
            _ => None,
        };
        let versions_agree = stated.is_none() || stated == version;
        let stateless = version == Some(STATELESS);
        let known = version.is_none() || stateless || version.is_some_and(|it| WITH_HANDSHAKE.contains(&it));
        let method_agrees = header.map_or(!stateless, |header| header == method);
        let name_agrees = match (named, body_name) {
            (None, None) => true,
            (None, Some(_)) => !stateless,
            (named, body) => named == body,
        };
        let whole = !stateless || (stated.is_some() && capable);
        let fine = versions_agree && known && method_agrees && name_agrees && whole;
        prop_assert_eq!(said.is_ok(), fine, "{:?}", said);
        match said {
            Ok(revision) => prop_assert_eq!(revision == Revision::Stateless, stateless),
            Err(error) => {
                prop_assert_eq!(error.status, Some(400));
                let told = error.code;
                if !versions_agree {
                    prop_assert_eq!(told, RpcError::HEADER_MISMATCH);
                } else if !known {
                    prop_assert_eq!(told, RpcError::UNSUPPORTED_VERSION);
                    prop_assert_eq!(&error.data.unwrap_or_default()["requested"], version.unwrap_or_default());
                } else if stateless && stated.is_none() {
                    prop_assert_eq!(told, RpcError::INVALID_PARAMS);
                } else if !(method_agrees && name_agrees) {
                    prop_assert_eq!(told, RpcError::HEADER_MISMATCH);
                } else {
                    prop_assert_eq!(told, RpcError::INVALID_PARAMS);
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_more_than_one_message(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Message::read(&bytes);
    }

    #[test]
    fn a_cursor_leads_behind_the_tool_that_it_was_made_of(name in "[a-z0-9_-]{1,8}(\\.[a-z0-9_-]{1,8}){0,3}", other in "\\PC{0,12}") {
        prop_assert_eq!(tool::after(&tool::cursor(&name)), Some(name));
        // What was not made here leads nowhere, or behind a name.
        if let Some(name) = tool::after(&other) {
            prop_assert!(ActionName::parse(&name).is_ok());
        }
    }
}

fn named(text: &str) -> ActionName {
    ActionName::parse(text).unwrap()
}

#[test]
fn names_of_tools_are_those_of_their_actions_with_two_underscores_for_a_dot() {
    for (action, tool) in
        [("orders.read", "orders__read"), ("refunds.create_bulk", "refunds__create_bulk"), ("ping", "ping")]
    {
        assert_eq!(tool::name(&named(action)), tool);
        assert_eq!(tool::action(tool, []), Some(named(action)));
    }
    // These would read as others'.
    let long = format!("service.{}", "x".repeat(60));
    let all = ["a.b", "a__b", "a_.b", "a._b", "a___b", long.as_str(), "a_b"].map(named);
    assert_eq!(tool::name(&all[1]).len(), "a_b-".len() + 12);
    for action in &all {
        assert_eq!(tool::action(&tool::name(action), &all).as_ref(), Some(action), "{}", tool::name(action));
        assert_eq!(
            tool::action(action.as_str(), &all).is_some(),
            ["a__b", "a___b", "a_b"].contains(&action.as_str())
        );
    }
}

proptest! {
    #[test]
    fn every_action_has_a_name_of_its_own_that_models_take(actions in prop::collection::btree_set("[ab_-]{1,4}(\\.[ab_-]{1,30}){0,3}", 1..12)) {
        let actions: Vec<ActionName> = actions.iter().map(|one| named(one)).collect();
        for action in &actions {
            let name = tool::name(action);
            prop_assert!(name.len() <= tool::MAX_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{}", name);
            let found = tool::action(&name, &actions);
            prop_assert_eq!(found.as_ref(), Some(action));
        }
    }

    #[test]
    fn a_name_is_at_most_one_tools(name in "[ab_.-]{1,12}", actions in prop::collection::vec("[ab_]{1,3}(\\.[ab_]{1,3}){0,2}", 0..4)) {
        let actions: Vec<ActionName> = actions.iter().map(|one| named(one)).collect();
        if let Some(action) = tool::action(&name, &actions) {
            prop_assert_eq!(tool::name(&action), name);
        }
    }
}

#[test]
fn encoded_names_are_decoded_and_wrong_ones_refused() {
    assert_eq!(plain("plain").unwrap(), "plain");
    assert_eq!(plain("=?base64?w7w=?=").unwrap(), "ü");
    assert_eq!(plain("=?BASE64?w7w=?=").unwrap(), "=?BASE64?w7w=?=");
    for wrong in ["=?base64?w7w?=", "=?base64?/w==?=", "=?base64?*?="] {
        assert_eq!(plain(wrong).unwrap_err().code, RpcError::HEADER_MISMATCH, "{wrong}");
    }
}

#[test]
fn what_is_no_message_is_told_with_the_id_that_it_has() {
    let read = |text: &str| Message::read(text.as_bytes());
    let cases = [
        (r#"{"jsonrpc":"2.0","id":1,"method":"a""#, None, RpcError::PARSE),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, None, RpcError::PARSE),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, None, RpcError::INVALID_REQUEST),
        ("[]", None, RpcError::INVALID_REQUEST),
        ("7", None, RpcError::INVALID_REQUEST),
        (r#"{"id":1,"method":"a"}"#, Some(json!(1)), RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"1.0","id":"x","method":"a"}"#, Some(json!("x")), RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, None, RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, None, RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#, None, RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Some(json!(1)), RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1}"#, Some(json!(1)), RpcError::INVALID_REQUEST),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#, Some(json!(1)), RpcError::INVALID_REQUEST),
        // A response that is a request besides.
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, Some(json!(1)), RpcError::INVALID_REQUEST),
        // Nothing is done that nobody wants an answer to.
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#, None, RpcError::INVALID_REQUEST),
    ];
    for (text, id, code) in cases {
        let (found, error) = read(text).unwrap_err();
        assert_eq!((found, error.code, error.status), (id, code, Some(400)), "{text}");
    }
    let noted = read(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(
        noted,
        Ok(Message::Notification {
            method: "notifications/initialized".into(),
            params: serde_json::Map::new()
        })
    );
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), Ok(Message::Response));
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"error":{}}"#), Ok(Message::Response));
}

#[test]
fn a_handshake_ends_in_what_was_asked_for_or_in_the_newest() {
    for version in WITH_HANDSHAKE {
        assert_eq!(negotiated(version), version);
    }
    for other in ["2024-11-05", STATELESS, ""] {
        assert_eq!(negotiated(other), "2025-11-25");
    }
}

#[test]
fn forms_are_offered_by_name_or_by_naming_no_mode() {
    let offers = |capabilities: Value| {
        request("tools/call", &json!({"_meta": {META_CAPABILITIES: capabilities}})).offers_forms()
    };
    assert!(offers(json!({"elicitation": {}})));
    assert!(offers(json!({"elicitation": {"form": {}, "url": {}}})));
    for none in [json!({}), json!({"elicitation": {"url": {}}}), json!({"elicitation": true}), json!(7)] {
        assert!(!offers(none.clone()), "{none}");
    }
    assert!(!request("tools/call", &json!({"_meta": 7})).offers_forms());
}

const SERVICE: &str = r#"
service: notes
base_url: https://notes.example
auth: {type: bearer}
actions:
  notes.read:
    description: Reads a note.
    method: GET
    path: /notes/{id}
    resource: note://desk/{id}
    effect: read
  notes.add:
    method: POST
    path: /desks/{desk}/notes
    resource: note://{desk}
    effect: write
    params:
      type: object
      required: [text]
      properties:
        text: {type: string, x-mcp-header: Text}
        x-mcp-header: {type: string}
        kind: {enum: [{x-mcp-header: kept}], default: {x-mcp-header: kept}}
        tags: {type: array, items: {anyOf: [{type: string, x-mcp-header: Tag}]}}
      unevaluatedProperties: true
  notes.move:
    method: PUT
    path: /notes/{id}
    resource: note://desk/{id}
    effect: write
    params: {type: object, properties: {placet.connection: {type: string}}}
  notes.burn:
    method: POST
    path: /burn
    resource: note://desk
"#;

#[test]
fn a_tool_says_of_its_arguments_what_its_action_takes() {
    let (service, _) = Service::parse(SERVICE.as_bytes(), None).unwrap();
    let tool = |name: &str, connections: &[&str]| {
        let name = ActionName::parse(name).unwrap();
        tool::definition(&service, service.action(&name).unwrap(), connections)
    };
    assert_eq!(
        tool("notes.read", &["one"]),
        json!({
            "name": "notes__read", "description": "Reads a note.",
            "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"],
                "additionalProperties": false},
            "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true,
                "openWorldHint": true},
        })
    );
    let add = tool("notes.add", &["one", "two"]);
    let said = "The account to act with.";
    assert_eq!(
        add["inputSchema"],
        json!({
            "type": "object", "required": ["text", "desk", tool::CONNECTION], "additionalProperties": false,
            "properties": {
                "text": {"type": "string"}, "x-mcp-header": {"type": "string"}, "desk": {"type": "string"},
                "kind": {"enum": [{"x-mcp-header": "kept"}], "default": {"x-mcp-header": "kept"}},
                "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}]}},
                tool::CONNECTION: {"type": "string", "enum": ["one", "two"], "description": said},
            },
        })
    );
    assert_eq!(add["annotations"]["destructiveHint"], false);
    // Its own parameter stays what it is.
    let moved = tool("notes.move", &["one", "two"]);
    assert_eq!(moved["inputSchema"]["properties"][tool::CONNECTION], json!({"type": "string"}));
    assert_eq!(moved["annotations"]["destructiveHint"], true);
    assert_eq!(moved["description"], "`notes.move` of notes");
    // Nobody has said what it does.
    let burn = tool("notes.burn", &[]);
    assert_eq!(
        burn["annotations"],
        json!({"readOnlyHint": false, "destructiveHint": true, "idempotentHint": false,
        "openWorldHint": true})
    );
    assert_eq!(
        burn["inputSchema"],
        json!({"type": "object", "properties": {}, "additionalProperties": false})
    );
}
