use super::*;
use proptest::prelude::*;
use serde_json::json;

fn error(text: &str) -> JsonError {
    parse(text.as_bytes()).unwrap_err()
}

#[test]
fn duplicate_keys_are_named_with_their_place() {
    let duplicate = |key: &str, path: &str| JsonError::DuplicateKey { key: key.into(), path: path.into() };
    assert_eq!(error(r#"{"a":1,"a":1}"#), duplicate("a", "$"));
    assert_eq!(error(r#"{"x":[0,{"b":{"k":1,"\u006b":2}}]}"#), duplicate("k", "$.x[1].b"));
    assert_eq!(error(r#"[{"":1,"":2}]"#), duplicate("", "$[0]"));
    assert!(parse(br#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
}

#[test]
fn an_object_is_never_taken_for_a_number() {
    for key in ["$serde_json::private::Number", "\\u0024serde_json::private::RawValue"] {
        assert!(matches!(error(&format!(r#"{{"a":{{"{key}":"1"}}}}"#)), JsonError::ReservedKey { .. }));
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "'a'",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\u{1}\"",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "0x1",
        "NaN",
        "tru",
        "1 2",
        "{} {}",
        "\u{feff}1",
        "nullx",
        "[1 2]",
        "{\"a\" 1}",
        "//\n1",
        "\u{a0}1",
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
    assert_eq!(parse(b"[\"\xff\"]").unwrap_err(), JsonError::NotUtf8 { at: 2 });
    let unclosed = JsonError::Syntax { at: 2, what: "a string is not closed" };
    assert_eq!(parse(b"\"\\").unwrap_err(), unclosed);
}

#[test]
fn nesting_ends_at_the_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(error(&nested(MAX_DEPTH + 1)), JsonError::TooDeep);
    assert_eq!(error(&"{\"a\":".repeat(100_000)), JsonError::TooDeep);
}

#[test]
fn numbers_keep_their_text() {
    for text in ["1.10", "100000000000000000000000000000.5", "1E400", "1e5", "1e+5", "2E-07", "-0", "-0.0"] {
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }
}

#[test]
fn strict_holds_inside_other_structures() {
    #[derive(Debug, Deserialize)]
    struct Outer {
        params: StrictMap,
        more: Option<Strict>,
    }
    let read = serde_json::from_str::<Outer>;
    let outer = read(r#"{"params":{"a":1.50},"more":[1]}"#).unwrap();
    assert_eq!(outer.params.0["a"].to_string(), "1.50");
    assert_eq!(outer.more, Some(Strict(json!([1]))));
    assert!(read(r#"{"params":{}}"#).unwrap().more.is_none());
    let message = read(r#"{"params":{"b":{"a":1,"a":2}}}"#).unwrap_err().to_string();
    assert!(message.contains("`a` occurs twice in the object at `$.b`"), "{message}");
    assert!(read(r#"{"params":[]}"#).is_err());
    assert!(serde_json::from_value::<Outer>(json!({"params": {"a": 1}})).is_ok());
}

/// serde buffers such values, and with that loses duplicates: better no value than a lax one.
#[test]
fn strict_fails_where_serde_buffers() {
    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code, reason = "only read")]
        params: Strict,
    }
    #[derive(Debug, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        #[expect(dead_code, reason = "only read")]
        inner: Inner,
    }
    for text in [r#"{"params":{"a":1}}"#, r#"{"params":1}"#, r#"{"params":"a"}"#] {
        assert!(serde_json::from_str::<Inner>(text).is_ok());
        assert!(serde_json::from_str::<Flat>(text).is_err());
    }
}

#[test]
fn the_examples_of_rfc_8785() {
    // §3.2.3, with its order of keys by UTF-16 code units.
    let value = parse(
        r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
            "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#
            .as_bytes(),
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(canonical(&value).unwrap()).unwrap(),
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
         \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
         \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
    // §3.2.2, without its fractional numbers.
    let value =
        parse(br#"{"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#)
            .unwrap();
    assert_eq!(
        String::from_utf8(canonical(&value).unwrap()).unwrap(),
        "{\"literals\":[null,true,false],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
}

#[test]
fn only_plain_integers_are_canonical() {
    for text in ["0", "-1", "9007199254740992", "-9007199254740992"] {
        assert_eq!(canonical(&parse(text.as_bytes()).unwrap()).unwrap(), text.as_bytes());
    }
    for text in ["9007199254740993", "-9007199254740993", "1.0", "1e2", "-0", "0.5", "99999999999999999999"] {
        assert_eq!(
            canonical(&parse(text.as_bytes()).unwrap()).unwrap_err(),
            JsonError::Number { text: text.into() }
        );
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(Value::from),
        "\\PC*|[\u{0}-\u{20}\"\\\\\u{7f}-\u{a0}\u{d7ff}\u{e000}\u{fffd}\u{10000}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a\u{e000}-\u{e010}\u{10000}-\u{10010}\"\n]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_is_a_fixed_point(value in any_value()) {
        let bytes = canonical(&value).unwrap();
        let back = parse(&bytes).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(canonical(&back).unwrap(), bytes);
        prop_assert_eq!(parse(serde_json::to_string_pretty(&value).unwrap().as_bytes()).unwrap(), value);
    }

    #[test]
    fn what_is_accepted_is_json_to_others_too(text in "[\\[\\]{}:,\"\\\\u0-9a.eE+ nulltruefalse-]{0,12}") {
        if let Ok(value) = parse(text.as_bytes()) {
            prop_assert_eq!(
                serde_json::from_str::<Value>(&text).unwrap(),
                // serde_json writes exponents in its own way.
                serde_json::from_str::<Value>(&value.to_string()).unwrap()
            );
        } else if let Ok(value) = serde_json::from_str::<Value>(&text) {
            // Refused here and not there: only for what is checked in addition.
            prop_assert!(matches!(parse(text.as_bytes()), Err(JsonError::DuplicateKey { .. })), "{value}");
        }
    }
}
