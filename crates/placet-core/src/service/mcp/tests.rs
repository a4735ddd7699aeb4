use super::*;
use crate::service::{Effect, Kind};
use proptest::prelude::*;

mod part;

const FILES: &str = "service: files
mcp: {url: 'https://mcp.example.com/mcp'}
auth: {type: bearer}
# What the tools do.
tools:
  read_file: {effect: read, resource: 'file://disk/{path}', binds: [path], encoded_slash: true}
  'Odd tool': {name: odd_tool, effect: write}
";

fn parsed(text: &str) -> Service {
    Service::parse(text.as_bytes(), None).unwrap_or_else(|found| panic!("{found:?}\n{text}")).0
}

fn refused(text: &str) -> String {
    let found = Service::parse(text.as_bytes(), None).map(|_| ()).unwrap_err();
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn tool(name: &str, properties: Value) -> Value {
    json!({"name": name, "description": format!("does {name} \u{202e} \u{1f600}"),
        "inputSchema": {"type": "object", "properties": properties, "$schema": "http://json-schema.org/draft-07/schema#"},
        "icons": [{"src": "https://elsewhere.example/"}]})
}

fn listing() -> Pins {
    let tools = [
        tool("read_file", json!({"path": {"type": "string"}, "head": {"type": "number", "minimum": 0.5}})),
        tool("Odd tool", json!({})),
        tool("delete", json!({"path": {"type": "string"}})),
    ];
    Pins::of_listing(&tools, &[]).unwrap()
}

fn pinned() -> Service {
    parsed(&listing().written(FILES, None).unwrap())
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn pins_are_actions_and_nothing_else_is() {
    let before = parsed(FILES);
    assert_eq!(
        (before.kind(), before.actions().len(), before.server()),
        (Kind::Mcp, 0, "https://mcp.example.com/mcp".into())
    );
    let service = pinned();
    let names: Vec<&str> = service.actions().map(|action| action.name().as_str()).collect();
    assert_eq!(names, ["files.delete", "files.odd_tool", "files.read_file"]);
    let action = |name: &str| service.action(&ActionName::parse(name).unwrap()).unwrap();
    assert_eq!(action("files.read_file").effect(), Some(Effect::Read));
    // What nobody has stated stays unstated, whatever the server says.
    assert_eq!(action("files.delete").effect(), None);
    let described = action("files.read_file").describe(&object(json!({"path": "tmp/a b"}))).unwrap();
    assert_eq!(described.resource.to_string(), "file://disk/tmp%2Fa%20b");
    assert_eq!(
        action("files.delete").describe(&object(json!({"path": "x"}))).unwrap().resource.to_string(),
        "mcp://files/delete"
    );
    assert!(action("files.delete").describe(&object(json!({"force": true}))).is_err());
    assert!(action("files.read_file").describe(&object(json!({"path": "x", "head": 0.25}))).is_err());
}

#[test]
fn the_example_of_the_page_loads() {
    let page = include_str!("../../../../../docs/mcp.md");
    let block = page.split("```yaml\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap().0;
    assert_eq!(parsed(block).kind(), Kind::Mcp);
}

#[test]
fn a_call_is_the_message_and_describes_back() {
    let service = pinned();
    let action = service.action(&ActionName::parse("files.read_file").unwrap()).unwrap();
    let params = object(json!({"path": "a", "head": 2.50}));
    let call = service.render(action, &params).unwrap();
    assert_eq!(
        (call.method, call.origin.as_str(), call.target.as_str()),
        (Method::Post, "https://mcp.example.com", "/mcp")
    );
    assert_eq!(
        String::from_utf8(call.body.clone().unwrap()).unwrap(),
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"arguments":{"head":2.5,"path":"a"},"name":"read_file"}}"#
    );
    assert_eq!(service.describe_call(&call), Some((action.name().clone(), params)));
    let body = String::from_utf8(call.body.clone().unwrap()).unwrap();
    for other in [
        body.replace("tools/call", "tools/list"),
        body.replace("\"read_file\"", "\"Read_file\""),
        body.replace("{\"arguments\"", "{\"_meta\":{},\"arguments\""),
        body.replace("\"2.0\",", "\"2.0\", "),
        format!("[{body}]"),
    ] {
        let call = UpstreamCall { body: Some(other.clone().into_bytes()), ..call.clone() };
        assert_eq!(service.describe_call(&call), None, "{other}");
    }
    // Messages are written here: none that comes from outside is looked at.
    assert!(service.place(Method::Post, "/").is_none());
}

#[test]
fn arguments_are_repeated_in_headers_where_the_pin_says_so() {
    let listed = [tool("route", json!({"to": {"type": "string", "x-mcp-header": "To"}}))];
    let pins = Pins::of_listing(&listed, &[]).unwrap();
    let service = parsed(&pins.written(FILES, None).unwrap());
    let action = service.action(&ActionName::parse("files.route").unwrap()).unwrap();
    let params = object(json!({"to": "eu"}));
    let call = service.render(action, &params).unwrap();
    let repeated = ("mcp-param-to".to_owned(), "eu".to_owned());
    assert!(call.fixed.contains(&repeated), "{:?}", call.fixed);
    assert_eq!(service.describe_call(&call), Some((action.name().clone(), params)));
    // A header that says something else than the body is no call of this service.
    for fixed in [vec![], vec![("mcp-param-to".to_owned(), "us".to_owned())]] {
        let mut other = call.clone();
        other.fixed.retain(|(name, _)| name != "mcp-param-to");
        other.fixed.extend(fixed);
        assert_eq!(service.describe_call(&other), None);
    }
    assert!(
        !service.render(action, &Map::new()).unwrap().fixed.iter().any(|(name, _)| name == "mcp-param-to")
    );
    // As it is listed, so it is called.
    let told = crate::mcp::tool::definition(&service, action, &[]);
    assert_eq!(told["inputSchema"]["properties"]["to"]["x-mcp-header"], "To");
}

#[test]
fn whatever_differs_is_quarantined() {
    let service = pinned();
    let all = listing();
    assert!(service.quarantined(Some(&all)).is_empty());
    assert_eq!(service.quarantined(None).len(), 3, "nobody has looked yet");
    let mut changed = all.clone();
    changed.0.get_mut("delete").unwrap()["annotations"] = json!({"readOnlyHint": true});
    changed.0.remove("Odd tool");
    // It looks the same to people, and is another.
    let look = changed.0.get("read_file").unwrap().clone();
    changed.0.insert("re\u{430}d_file".into(), look);
    let names: Vec<String> = service.quarantined(Some(&changed)).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["files.delete", "files.odd_tool"]);
    let told: Vec<(String, Standing, bool)> = service
        .observe(&changed)
        .into_iter()
        .map(|it| (it.tool, it.standing, it.problem.is_some()))
        .collect();
    assert_eq!(
        told,
        [
            ("Odd tool".into(), Standing::Gone, false),
            ("delete".into(), Standing::Changed, false),
            ("read_file".into(), Standing::Pinned, false),
            ("re\u{430}d_file".into(), Standing::New, true),
        ]
    );
    // A digest is good for one definition at one server.
    let elsewhere = parsed(&FILES.replace("example.com", "example.org"));
    let definition = all.0.get("delete").unwrap();
    assert_ne!(service.tool_digest("delete", definition), elsewhere.tool_digest("delete", definition));
    assert_ne!(
        service.tool_digest("delete", definition),
        service.tool_digest("delete", changed.0.get("delete").unwrap())
    );
}

#[test]
fn what_cant_be_an_action_is_told_and_not_offered() {
    let service = parsed(FILES);
    for (definition, problem) in [
        (json!({"name": "a b", "inputSchema": {"type": "object"}}), "state a `name`"),
        (json!({"name": "a"}), "no `inputSchema`"),
        (json!({"name": "a", "inputSchema": {"type": "array"}}), "must be `object`"),
        (json!({"name": "a", "inputSchema": {"$ref": "#/$defs/x"}}), "at its top"),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"$ref": "https://x.example/"}}}}),
            "schema",
        ),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"pattern": "(?=a)b"}}}}),
            "schema",
        ),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "required": ["x"]}}),
            "none of its properties",
        ),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}}),
            "only",
        ),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#",
                "properties": {"x": {"$ref": "#/definitions/y", "type": "string"}}}}),
            "two things",
        ),
        (
            json!({"name": "a", "description": "x".repeat(MAX_DEFINITION), "inputSchema": {"type": "object"}}),
            "longer than",
        ),
        (
            json!({"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"type": "array", "x-mcp-header": "X"}}}}),
            "no single value",
        ),
        (json!({"name": "resources.read", "inputSchema": {"type": "object"}}), "no tool does"),
    ] {
        let pins = Pins::of_listing(std::slice::from_ref(&definition), &[]).unwrap();
        let found = service.observe(&pins);
        let said = found[0].problem.clone().unwrap_or_default();
        assert!(said.contains(problem), "{definition}: {said}");
        // And it can't be accepted past the listing.
        assert!(
            pins.written(FILES, None).is_ok_and(|text| Service::parse(text.as_bytes(), None).is_err()),
            "{definition}"
        );
    }
    assert!(Pins::of_listing(&[json!({"name": "a"}), json!({"name": "a"})], &[]).is_err());
    assert!(Pins::of_listing(&[json!({"title": "a"})], &[]).is_err());
}

#[test]
fn a_definition_is_of_one_kind() {
    for (text, problem) in [
        ("service: a\nmcp: {}\nauth: {type: bearer}\n", "`url` is missing"),
        ("service: a\nmcp: {url: 'ftp://x'}\nauth: {type: bearer}\n", "`url` is refused"),
        ("service: a\nmcp: {url: 'https://x'}\nauth: {type: bearer}\nactions: {}\n", "unknown key"),
        ("service: a\nmcp: {command: [sh, -c, id]}\n", "must be a string"),
        ("service: a\nbase_url: https://x\nauth: {type: bearer}\nactions: {}\npins: {}\n", "unknown key"),
        (
            "service: a\nmcp: {url: 'https://x'}\nauth: {type: bearer}\ntools: {t: {method: GET}}\n",
            "unknown key",
        ),
    ] {
        let said = refused(text);
        assert!(said.contains(problem), "{text}: {said}");
    }
}

#[test]
fn pins_are_written_into_any_document_and_taken_out_again() {
    let all = listing();
    let json = yaml::to_json(&yaml::parse(FILES.as_bytes(), None).unwrap().0).to_string();
    let middle = "service: files\npins:\n  old: {inputSchema: {type: object}}\nmcp: {url: 'https://mcp.example.com/mcp'}\nauth:\n  type: bearer";
    for text in
        [FILES, FILES.trim_end(), &json, middle, &format!("\"service\": x\n{}", FILES.get(15..).unwrap())]
    {
        let once = all.written(text, None).unwrap();
        // The administrator's own words stay.
        assert_eq!(once.contains("# What"), text.contains("# What"), "{once}");
        let read = yaml::to_json(&yaml::parse(once.as_bytes(), None).unwrap().0);
        assert_eq!(read["pins"], Value::Object(all.0.clone().into_iter().collect()));
        assert_eq!(all.written(&once, None).unwrap(), once);
        let none = Pins::default().written(&once, None).unwrap();
        assert!(!none.contains("pins"), "{none}");
    }
    // What can't be kept so is refused, and not spoilt.
    assert!(all.written("service: a\nmcp: &x {url: 'https://x'}\n? pins\n: {}\n", None).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a server says of a tool is kept as it was said.
    #[test]
    fn what_was_said_is_what_is_kept(name in "\\PC{1,40}", text in ".{0,60}", number in any::<f64>()) {
        prop_assume!(number.is_finite());
        let tool = json!({"name": name, "description": text, "annotations": {&*text: number},
            "inputSchema": {"type": "object", "properties": {&*name: {"description": text}}}});
        let pins = Pins::of_listing(&[tool], &[]).unwrap();
        if let Ok(kept) = pins.written(FILES, None) {
            let read = yaml::to_json(&yaml::parse(kept.as_bytes(), None).unwrap().0);
            prop_assert_eq!(&read["pins"], &Value::Object(pins.0.clone().into_iter().collect()));
        }
    }

    /// A call of any arguments that the schema takes says the same as they do.
    #[test]
    fn a_rendered_call_describes_back(path in ".{0,40}", head in any::<u32>()) {
        let service = pinned();
        let action = service.action(&ActionName::parse("files.delete").unwrap()).unwrap();
        let params = object(json!({"path": path}));
        let call = service.render(action, &params).unwrap();
        prop_assert_eq!(service.describe_call(&call), Some((action.name().clone(), params)));
        let more = object(json!({"path": path, "head": head}));
        prop_assert!(action.describe(&more).is_err());
    }
}
