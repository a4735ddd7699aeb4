//! Limits by an expression: which counter an action is charged to.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn by(key: &str) -> String {
    rules(&format!("- {{name: a, allow: ['**'], limits: [{{count: 5, per: day, by: {}}}]}}", json!(key)))
}

fn charged(key: &str, params: &str) -> Result<String, Vec<String>> {
    let order = action("pay", "account://me/1", serde_json::from_str(params).unwrap());
    let judgement = judged(&[&by(key)], &desk(), &order);
    match judgement.verdict {
        Verdict::Allow => Ok(judgement.charges[0].counter.clone()),
        _ => Err(short(&judgement)),
    }
}

#[test]
fn a_value_is_one_counter_however_it_is_written() {
    let one = charged("params.to", r#"{"to": 1}"#).unwrap();
    assert_eq!(one, "p/a/count per day UTC by params.to/key:1");
    for same in ["1.0", "1e0", "10e-1", "1.000000", "\"1\"", "0.1e1", "100E-2"] {
        assert_eq!(charged("params.to", &format!(r#"{{"to": {same}}}"#)).unwrap(), one, "{same}");
    }
    for other in ["2", "-1", "1.5", "\"1.0\"", "\" 1\"", "\"\"", "true", "\"01\""] {
        assert_ne!(charged("params.to", &format!(r#"{{"to": {other}}}"#)).unwrap(), one, "{other}");
    }
    assert_eq!(charged("params.to", r#"{"to": true}"#), charged("params.to", r#"{"to": "true"}"#));
    assert_eq!(charged("params.to", r#"{"to": -0}"#), charged("params.to", r#"{"to": 0}"#));
    // An escape is a spelling; another case is another string.
    assert_eq!(charged("params.to", r#"{"to": "\u0061da"}"#), charged("params.to", r#"{"to": "ada"}"#));
    assert_ne!(charged("params.to", r#"{"to": "Ada"}"#), charged("params.to", r#"{"to": "ada"}"#));
}

#[test]
fn a_key_that_cannot_be_told_denies() {
    for (value, code) in [
        ("null", "condition_unknown a"),
        ("[1]", "condition_unknown a"),
        ("{\"a\": 1}", "condition_unknown a"),
        ("1e999", "condition_unknown a"),
    ] {
        assert_eq!(
            charged("params.to", &format!(r#"{{"to": {value}}}"#)),
            Err(vec![code.to_owned()]),
            "{value}"
        );
    }
    assert_eq!(charged("params.to", "{}"), Err(vec!["condition_unknown a".to_owned()]));
    for unknown in ["risk.score", "agent.trust.tier", "user.name", "context.ip"] {
        let key = format!("{unknown} == '' ? 'a' : 'b'");
        assert_eq!(charged(&key, "{}"), Err(vec!["condition_unknown a".to_owned()]), "{unknown}");
    }
    let long = |bytes: usize| format!(r#"{{"to": "{}"}}"#, "x".repeat(bytes));
    assert!(charged("params.to", &long(512)).is_ok());
    assert_eq!(charged("params.to", &long(513)), Err(vec!["condition_failed a".to_owned()]));
    assert!(charged("params.a && params.b", r#"{"a": true, "b": false}"#).unwrap().ends_with("/key:false"));
    assert!(charged("params.a && params.b", r#"{"a": true}"#).is_err());
}

#[test]
fn whoever_acts_one_value_has_one_counter() {
    let two = |agent: u8| {
        let order = action("pay", "account://me/1", json!({"to": "ada"}));
        let judgement = judged(&[&by("params.to")], &chain(&[spec(agent, "desk"), spec(9, "boss")]), &order);
        counters(&judgement).iter().map(|counter| (*counter).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(two(1), two(2));
    assert_eq!(two(1).len(), 1);
}

#[test]
fn names_of_counters_fit_an_index() {
    let text = "x".repeat(1500);
    let key = format!("params.to == '{text}' ? 'a' : params.to");
    let name = |key: &str, to: &str| charged(key, &json!({"to": to}).to_string()).unwrap();
    assert!(name(&key, &"/".repeat(512)).len() < 700);
    // What is cut off still tells them apart.
    assert_ne!(name(&key, "b"), name(&key.replace("? 'a'", "? 'c'"), "b"));
    let long = "/".repeat(500);
    assert_ne!(name("params.to", &format!("{long}a")), name("params.to", &format!("{long}b")));
}

fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1000i64..1000, -3i32..4)
            .prop_map(|(digits, exponent)| serde_json::from_str(&format!("{digits}e{exponent}")).unwrap()),
        "[a/%:~ é0-9.-]{0,6}".prop_map(Value::from),
        Just(json!([1])),
        Just(json!({})),
    ]
}

/// What two values that are one counter have in common.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(yes.to_string()),
        Value::Number(number) => Some(crate::decimal::Decimal::from_json(number).unwrap().to_string()),
        _ => None,
    }
}

proptest! {
    #[test]
    fn two_values_share_a_counter_exactly_if_they_read_the_same(values in prop::collection::vec(json_value(), 1..12)) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for value in &values {
            let counter = charged("params.to", &json!({"to": value}).to_string());
            let Some(text) = text_of(value) else {
                prop_assert!(counter.is_err());
                continue;
            };
            let counter = counter.unwrap();
            prop_assert_eq!(counter.matches('/').count(), 3);
            prop_assert_eq!(seen.entry(text).or_insert_with(|| counter.clone()), &counter);
        }
        let counters: std::collections::BTreeSet<_> = seen.values().collect();
        prop_assert_eq!(counters.len(), seen.len());
    }

    #[test]
    fn any_text_as_a_key_loads_or_says_why(text in ".{0,40}") {
        let limit = json!({"count": 1, "per": "day", "by": text});
        if let Ok(limit) = Limit::from_json(&limit) {
            let again = serde_json::to_value(&limit).unwrap();
            prop_assert_eq!(Limit::from_json(&again).unwrap(), limit);
        }
    }
}
