//! Declared types: what can be declared, what their schemas let through, and what is narrower than what.

use super::*;
use crate::grant::{Authority, Exceeds, Request, cover::beyond};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

/// A type of payments: at most an amount, from some accounts, in one currency.
fn payment() -> DetailType {
    serde_json::from_value(json!({
        "description": "Pay invoices",
        "schema": {"properties": {
            "amount": {"type": "number", "minimum": 0, "maximum": 1000},
            "floor": {"type": "number"},
            "accounts": {"type": "array", "items": {"type": "string"}},
            "currency": {"enum": ["EUR", "USD"]},
        }, "required": ["amount"]},
        "narrows": {"amount": "max", "floor": "min", "accounts": "subset", "currency": "equal"},
    }))
    .unwrap()
}

fn types() -> DetailTypes {
    DetailTypes::load(&DetailTypes::default(), [("payment".to_owned(), payment())])
}

fn read(value: &Value) -> Vec<AuthorizationDetail> {
    AuthorizationDetail::parse_list(value).unwrap()
}

fn judged(value: &Value) -> Vec<AuthorizationDetail> {
    let mut details = read(value);
    types().judge(&mut details).unwrap();
    details
}

fn declare(name: &str, schema: &Value) -> Result<Declared, DeclareError> {
    let schema = schema.as_object().unwrap().clone();
    let definition =
        DetailType { description: "x".into(), schema, narrows: BTreeMap::new(), roles: Vec::new() };
    Declared::new(name, definition)
}

#[test]
fn names_are_words_and_uris() {
    for name in ["payment", "p", "https://api.example/types/payment?v=2#x", "urn:example:pay", "A.b-c_d~e"] {
        assert!(is_name(name), "{name}");
    }
    let long = "a".repeat(257);
    for name in [
        "",
        " ",
        "a b",
        "a\"b",
        "a\\b",
        "zahlüng",
        "\u{202e}x",
        "a\u{0}",
        "placet_action",
        "PLACET",
        "/x",
        &long,
    ] {
        assert!(!is_name(name), "{name:?}");
        assert_eq!(declare(name, &json!({})).unwrap_err(), DeclareError::Name, "{name:?}");
    }
}

#[test]
fn what_is_declared_is_bounded() {
    assert!(Declared::new("payment", payment()).is_ok());
    for description in ["", "a\u{7}", &"x".repeat(501)] {
        let wrong = DetailType { description: description.to_owned(), ..payment() };
        assert_eq!(Declared::new("payment", wrong).unwrap_err(), DeclareError::Description);
    }
    let narrows = |member: &str| BTreeMap::from([(member.to_owned(), Narrowing::Max)]);
    for member in ["type", "amuont", "required"] {
        let wrong = DetailType { narrows: narrows(member), ..payment() };
        assert_eq!(Declared::new("payment", wrong).unwrap_err(), DeclareError::Narrows(member.to_owned()));
    }
    let wrong = DetailType { roles: vec![String::new()], ..payment() };
    assert_eq!(Declared::new("payment", wrong).unwrap_err(), DeclareError::Items);
    assert!(serde_json::from_value::<DetailType>(json!({"description": "x"})).is_err());
    assert!(serde_json::from_value::<DetailType>(json!({"description": "x", "schema": {}, "x": 1})).is_err());
}

/// Schemas that would fetch, never end, take too much, or say what nobody checks.
#[test]
fn schemas_whose_cost_is_not_known_are_refused() {
    let mut laughs = serde_json::Map::new();
    for level in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        laughs.insert(format!("d{level}"), json!({"allOf": [next, next]}));
    }
    laughs.insert("d40".into(), json!({}));
    let mut deep = json!({});
    for _ in 0..40 {
        deep = json!({"not": deep});
    }
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let patterns: Vec<Value> = (0..33).map(|n| json!({"pattern": format!("a{n}")})).collect();
    for (schema, pointer, says) in [
        (json!({"$ref": "#"}), "/$ref", "of the same schema only"),
        (json!({"$ref": "https://evil.example/x"}), "/$ref", "of the same schema only"),
        (json!({"$ref": "file:///etc/passwd"}), "/$ref", "of the same schema only"),
        (json!({"$ref": "#/$defs/a/properties/b"}), "/$ref", "of the same schema only"),
        (json!({"$ref": 3}), "/$ref", "of the same schema only"),
        (json!({"$ref": "#/$defs/no"}), "/$ref", "there is no"),
        (json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}), "/$defs/a/$ref", "refers to itself"),
        (
            json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}}),
            "/$defs/b/items/$ref",
            "refers to itself",
        ),
        (json!({"$defs": laughs}), "/$defs/", "more than 1000 schemas"),
        (deep, "", "at most 32 levels"),
        (json!({"description": "x".repeat(MAX_SCHEMA)}), "", "bytes"),
        (json!({"$id": "https://a.example"}), "/$id", "not supported"),
        (json!({"$dynamicRef": "#x"}), "/$dynamicRef", "not supported"),
        (json!({"unevaluatedProperties": false}), "/unevaluatedProperties", "not supported"),
        (json!({"propertees": {}}), "/propertees", "not supported"),
        (json!({"properties": {"a": {"$schema": DRAFT}}}), "/properties/a/$schema", "top"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "/$schema", "only"),
        (json!({"properties": {"a": 3}}), "/properties/a", "must be a schema"),
        (json!({"properties": []}), "/properties", "must be an object"),
        (json!({"allOf": {}}), "/allOf", "must be an array"),
        (json!({"$defs": []}), "/$defs", "must be an object"),
        (json!({"properties": {"a": {"maximum": number("1e400")}}}), "", "15 digits"),
        (json!({"properties": {"a": {"maximum": number("0.1234567890123456")}}}), "", "15 digits"),
        (json!({"properties": {"a": {"type": "nmuber"}}}), "", "not a JSON Schema"),
        (json!({"properties": {"a": {"format": "credit-card"}}}), "", "not a JSON Schema"),
        (json!({"properties": {"a": {"pattern": "("}}}), "", "not a JSON Schema"),
        (json!({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}), "", "not a JSON Schema"),
        (json!({"anyOf": patterns}), "", "patterns"),
    ] {
        match declare("x", &schema) {
            Err(DeclareError::Schema(error)) => {
                assert!(error.pointer.starts_with(pointer), "{pointer}: {error:?}");
                assert!(error.message.contains(says), "{says}: {error:?}");
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
}

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

#[test]
fn what_the_schema_does_not_let_through_is_named() {
    let types = types();
    let says = |entries: &Value, place: &str, what: &str| {
        let error = types.judge(&mut read(entries)).unwrap_err().to_string();
        let place = format!("`authorization_details{place}`");
        assert!(error.contains(&place) && error.contains(what), "{entries}: {error}");
    };
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    says(&json!([{"type": "paymnet", "amount": 1}]), "[0].type", "did you mean `payment`?");
    says(&json!([{"type": "placet_acton"}]), "[0].type", "did you mean `placet_action`?");
    says(&json!([{"type": "\u{202e}\u{7}"}]), "[0].type", "`\\u{202e}\\u{7}`");
    let ok = json!({"type": "payment", "amount": 1});
    says(&json!([ok, {"type": "payment", "amount": 1001}]), "[1].amount", "1000");
    says(&json!([{"type": "payment", "amount": "1"}]), "[0].amount", "number");
    says(&json!([{"type": "payment"}]), "[0]", "'amount'");
    says(&json!([{"type": "payment", "amount": 1, "to": "x"}]), "[0]", "'to'");
    says(&json!([{"type": "payment", "amount": 1, "accounts": ["a", 2]}]), "[0].accounts[1]", "string");
    says(&json!([{"type": "payment", "amount": 1, "currency": "\"\\\u{7}"}]), "[0].currency", "EUR");
    says(&json!([{"type": "payment", "amount": number("1e2")}]), "[0]", "15 digits");
    says(&json!([{"type": "payment", "amount": number("9007199254740993")}]), "[0]", "15 digits");
    says(
        &json!([{"type": "payment", "amount": number(&format!("0.{}1", "0".repeat(400)))}]),
        "[0]",
        "digits",
    );
    says(&json!([{"type": "payment", "amount": 1, "accounts": ["x".repeat(5000)]}]), "[0]", "4096 bytes");
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    says(&json!([{"type": "payment", "amount": 1, "accounts": deep}]), "[0]", "12 levels");
    says(&json!(vec![ok.clone(); 33]), "", "32 entries");
    // Placet's own need no declaring.
    types.judge(&mut read(&json!([{"type": "placet_action", "actions": ["a"]}, ok]))).unwrap();
}

/// The schema decides about members that it does not name, also where it says nothing about `type`.
#[test]
fn members_that_are_not_named_are_refused_unless_the_schema_says_otherwise() {
    let lets = |schema: Value, entry: Value| {
        let definition = declare("x", &schema).unwrap().definition().clone();
        let types = DetailTypes::load(&DetailTypes::default(), [("x".to_owned(), definition)]);
        types.judge(&mut read(&json!([entry]))).is_ok()
    };
    assert!(lets(json!({}), json!({"type": "x"})));
    assert!(!lets(json!({}), json!({"type": "x", "a": 1})));
    assert!(lets(json!({"additionalProperties": true}), json!({"type": "x", "a": 1})));
    assert!(!lets(json!({"additionalProperties": false}), json!({"type": "x", "a": 1})));
    assert!(lets(json!({"patternProperties": {"^x-": {}}}), json!({"type": "x", "x-a": 1})));
    let defined = json!({"$defs": {"iban": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"}},
        "properties": {"to": {"$ref": "#/$defs/iban"}, "on": {"format": "date"}}});
    assert!(lets(defined.clone(), json!({"type": "x", "to": "DE12", "on": "2026-11-22"})));
    assert!(!lets(defined.clone(), json!({"type": "x", "to": "12"})));
    assert!(!lets(defined, json!({"type": "x", "on": "2026-13-22"})));
    let cents = json!({"properties": {"amount": {"multipleOf": 0.01}}});
    assert!(lets(cents.clone(), json!({"type": "x", "amount": 19.99})));
    assert!(!lets(cents, json!({"type": "x", "amount": 19.999})));
}

#[test]
fn what_is_unchanged_is_not_compiled_again() {
    let first = types();
    let other = DetailType { description: "y".into(), ..payment() };
    let second =
        DetailTypes::load(&first, [("payment".to_owned(), payment()), ("other".to_owned(), other.clone())]);
    assert!(Arc::ptr_eq(&first.0["payment"], &second.0["payment"]));
    let third = DetailTypes::load(&second, [("payment".to_owned(), other)]);
    assert!(!Arc::ptr_eq(&first.0["payment"], &third.0["payment"]));
    assert_eq!(third.names().collect::<Vec<_>>(), ["payment"]);
    assert_eq!(third.get("payment").unwrap().definition().description, "y");
}

#[test]
fn narrower_is_what_a_rule_says_and_nothing_else() {
    let parent =
        json!({"type": "payment", "amount": 100, "floor": 5, "accounts": ["a", "b", "b"], "currency": "EUR"});
    let covers = |change: Value| {
        let mut child = parent.clone();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                child.as_object_mut().unwrap().remove(name);
            } else {
                child[name] = value.clone();
            }
        }
        read(&json!([parent]))[0].covers(&judged(&json!([child]))[0])
    };
    for narrower in [
        json!({}),
        json!({"amount": 99.99}),
        json!({"amount": 0}),
        json!({"floor": 5.5}),
        json!({"accounts": ["b"]}),
        json!({"accounts": ["b", "a"]}),
        json!({"accounts": ["b", "b"], "amount": 1}),
    ] {
        assert!(covers(narrower.clone()), "{narrower}");
    }
    for wider in [
        json!({"amount": 100.01}),
        json!({"floor": 4}),
        json!({"floor": null}),
        json!({"accounts": null}),
        json!({"accounts": []}),
        json!({"accounts": ["c"]}),
        json!({"accounts": ["a", "a"]}),
        json!({"currency": "USD"}),
        json!({"currency": null}),
    ] {
        assert!(!covers(wider.clone()), "{wider}");
    }
    // Absent in the parent is not unbounded.
    let (bare, more) =
        (json!([{"type": "payment", "amount": 1}]), json!([{"type": "payment", "amount": 1, "floor": 9}]));
    assert!(!read(&bare)[0].covers(&judged(&more)[0]));
    // Without its type only an equal one is covered.
    let less = json!([{"type": "payment", "amount": 0}]);
    assert!(read(&bare)[0].covers(&judged(&less)[0]) && !read(&bare)[0].covers(&read(&less)[0]));
}

fn authority(details: Vec<AuthorizationDetail>, may: &[&str]) -> Authority {
    let mut authority: Authority = serde_json::from_value(json!({"scope": [], "tools": [], "resources": [],
        "connections": null, "authorization_details": [], "audience": [], "not_before": crate::time::Timestamp::from_seconds(0),
        "expires": crate::time::Timestamp::MAX, "max_depth": 8}))
    .unwrap();
    authority.authorization_details = details;
    authority.detail_types = may.iter().map(|kind| (*kind).to_owned()).collect();
    authority
}

#[test]
fn what_is_declared_comes_into_an_authority_only_where_an_administrator_lets_it() {
    let asking = |details: Vec<AuthorizationDetail>| Request {
        authorization_details: Some(details),
        ..Request::default()
    };
    let entry = json!([{"type": "payment", "amount": 10}]);
    let registered = authority(Vec::new(), &["payment"]);
    let held = registered.narrow(&asking(judged(&entry))).unwrap();
    assert!(held.detail_types.is_empty());
    let unregistered = authority(Vec::new(), &["other"]).narrow(&asking(judged(&entry))).unwrap_err();
    assert!(matches!(&unregistered, Exceeds::DetailTypes { types } if types == &["`payment`"]));
    assert_eq!(unregistered.oauth(), "invalid_authorization_details");
    // One that nobody judged does not come in.
    assert!(registered.narrow(&asking(read(&entry))).is_err());
    // A grant without details gets none below it, whatever its registration may.
    let bare = registered.narrow(&Request::default()).unwrap();
    assert!(bare.narrow(&asking(judged(&entry))).is_err());
    // Below it: equal or less, one for one, never none.
    assert!(held.narrow(&asking(read(&entry))).is_ok());
    let twice = json!([{"type": "payment", "amount": 5}, {"type": "payment", "amount": 5}]);
    let refused = held.narrow(&asking(judged(&twice))).unwrap_err();
    assert!(matches!(refused, Exceeds::Details { entries } if entries == ["1"]));
    assert!(held.narrow(&asking(Vec::new())).is_err());
    assert!(registered.covers(&registered) && !bare.covers(&registered) && !bare.covers(&held));
    // What is handed on is what the child may have; where that is nothing, nothing is handed on.
    let action = read(&json!([{"type": "placet_action", "actions": ["a"]}])).remove(0);
    let both = authority([held.authorization_details.clone(), vec![action.clone()]].concat(), &[]);
    let none = authority(Vec::new(), &[]);
    assert_eq!(both.details_for(&none).unwrap(), [action]);
    assert_eq!(both.details_for(&registered).unwrap(), both.authorization_details);
    assert!(held.details_for(&none).is_err() && bare.details_for(&none).unwrap().is_empty());
}

/// What somebody could do with an entry of a small world: pay an amount from an account in a currency.
fn uses(entry: &Value) -> BTreeSet<(i64, i64, String, String)> {
    let mut uses = BTreeSet::new();
    let whole = |name: &str| entry[name].as_i64().unwrap();
    for amount in 0..=whole("amount") {
        for floor in whole("floor")..=4 {
            for account in entry["accounts"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                uses.insert((amount, floor, text(account), text(&entry["currency"])));
            }
        }
    }
    uses
}

fn whole_entry() -> impl Strategy<Value = Value> {
    let accounts = prop::sample::subsequence(vec!["a", "b", "c"], 1..=3);
    let currency = prop_oneof![Just("EUR"), Just("USD")];
    (0..4i64, 0..4i64, accounts.prop_shuffle(), currency).prop_map(|(amount, floor, accounts, currency)| {
        json!({"type": "payment", "amount": amount, "floor": floor, "accounts": accounts, "currency": currency})
    })
}

/// Also what its schema would not let through, and what lacks members.
fn any_entry() -> impl Strategy<Value = Value> {
    let leaf =
        || prop_oneof![Just(json!(1)), Just(json!(2)), Just(json!("1")), Just(json!(null)), Just(json!([1]))];
    let value = prop_oneof![leaf(), prop::collection::vec(leaf(), 0..3).prop_map(Value::Array)];
    let name = prop_oneof![Just("amount"), Just("accounts"), Just("currency"), Just("other")];
    prop::collection::vec((name, value), 0..4).prop_map(|members| {
        let mut entry = json!({"type": "payment"});
        for (name, value) in members {
            entry[name] = value;
        }
        entry
    })
}

/// Whether each of `child` finds one of `parent` for itself, by trying all ways.
fn fits(child: &[AuthorizationDetail], parent: &[AuthorizationDetail], used: &mut [bool]) -> bool {
    let Some((first, rest)) = child.split_first() else { return true };
    for at in 0..parent.len() {
        if !used[at] && parent[at].covers(first) {
            used[at] = true;
            let found = fits(rest, parent, used);
            used[at] = false;
            if found {
                return true;
            }
        }
    }
    false
}

proptest! {
    #[test]
    fn narrower_is_what_can_be_used_for_less(parent in whole_entry(), child in whole_entry()) {
        let (wide, narrow) = (read(&json!([parent])), judged(&json!([child])));
        prop_assert_eq!(wide[0].covers(&narrow[0]), uses(&child).is_subset(&uses(&parent)), "{} {}", parent, child);
    }

    #[test]
    fn whatever_it_says_every_member_is_there_and_equal_or_ruled(parent in any_entry(), child in any_entry()) {
        let declared = Declared::new("payment", payment()).unwrap();
        let (wide, narrow) = (parent.as_object().unwrap(), child.as_object().unwrap());
        prop_assert!(declared.narrows(wide, wide));
        if declared.narrows(wide, narrow) {
            prop_assert!(wide.keys().eq(narrow.keys()));
            prop_assert_eq!(wide.get("other"), narrow.get("other"));
            prop_assert_eq!(wide.get("currency"), narrow.get("currency"));
            let kind = |value: Option<&Value>| value.map(|value| (value.is_number(), value.is_array()));
            prop_assert_eq!(kind(wide.get("amount")), kind(narrow.get("amount")));
            prop_assert_eq!(kind(wide.get("accounts")), kind(narrow.get("accounts")));
        }
    }

    #[test]
    fn narrower_of_narrower_is_narrower(a in whole_entry(), b in whole_entry(), c in whole_entry()) {
        let declared = Declared::new("payment", payment()).unwrap();
        let narrows = |one: &Value, other: &Value| declared.narrows(one.as_object().unwrap(), other.as_object().unwrap());
        prop_assert!(!(narrows(&a, &b) && narrows(&b, &c)) || narrows(&a, &c));
        prop_assert!(!(narrows(&a, &b) && narrows(&b, &a)) || uses(&a) == uses(&b));
    }

    #[test]
    fn each_entry_needs_one_for_itself(
        parent in prop::collection::vec(whole_entry(), 0..5),
        child in prop::collection::vec(whole_entry(), 0..5),
    ) {
        let (parent, child) = (read(&json!(parent)), judged(&json!(child)));
        let over = beyond(&child, &parent);
        prop_assert_eq!(over.is_empty(), fits(&child, &parent, &mut vec![false; parent.len()]));
        // What is left without those that are named fits.
        let rest: Vec<_> = child.iter().enumerate().filter(|(at, _)| !over.contains(at)).map(|(_, d)| d.clone()).collect();
        prop_assert!(fits(&rest, &parent, &mut vec![false; parent.len()]));
    }

    /// Whatever an administrator sends as a schema and anybody as an entry: it ends, and nothing panics.
    #[test]
    fn any_schema_is_refused_or_ends(schema in any_schema(), entry in any_entry()) {
        if let Ok(declared) = declare("payment", &json!({"$defs": {"a": {"type": "string"}}, "additionalProperties": schema})) {
            let types = DetailTypes::load(&DetailTypes::default(), [("payment".to_owned(), declared.definition().clone())]);
            let _ = types.judge(&mut read(&json!([entry])));
        }
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(false)),
        Just(json!({"type": "number", "multipleOf": 0.1})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#"})),
        Just(json!({"pattern": "(a*)*b", "maximum": 1})),
        Just(json!({"enum": [1, "1", null]})),
        Just(json!({"minContains": 2, "contains": {}})),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let keyword =
            prop_oneof![Just("items"), Just("not"), Just("propertyNames"), Just("contains"), Just("if")];
        let list = prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf"), Just("prefixItems")];
        prop_oneof![
            (keyword, inner.clone()).prop_map(|(keyword, schema)| json!({ keyword: schema })),
            (list, prop::collection::vec(inner, 1..4)).prop_map(|(keyword, all)| json!({ keyword: all })),
        ]
    })
}
