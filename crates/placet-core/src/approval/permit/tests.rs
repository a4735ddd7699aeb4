use super::*;
use proptest::prelude::*;
use serde_json::json;

fn ground(effect: Option<Effect>) -> Ground {
    Ground {
        action: ActionName::parse("refunds.create").unwrap(),
        effect,
        known: ResourcePattern::parse("order://customer:42/7").unwrap(),
        service: "shop@1".into(),
        connection: "con_x@1".into(),
        connection_name: "shop-main".into(),
        handle: "support-7".into(),
        task_grant: GrantId::from_parts(Timestamp::default(), [1; 10]),
        until: Timestamp::from_seconds(10_000),
    }
}

fn asked(value: Value) -> Asked {
    serde_json::from_value(value).unwrap()
}

fn params(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn now() -> Timestamp {
    Timestamp::from_seconds(1000)
}

fn complete(asked_for: Value, effect: Option<Effect>) -> Result<Terms, TermsError> {
    asked(asked_for).complete(&ground(effect), true, &params(json!({"amount": 60, "currency": "USD"})), now())
}

#[test]
fn what_is_left_out_is_the_held_request() {
    let terms = complete(json!({}), Some(Effect::Write)).unwrap();
    assert_eq!(terms.scope, Scope::Task);
    assert_eq!(terms.actions[0].as_str(), "refunds.create");
    assert_eq!(terms.resources[0].as_str(), "order://customer:42/7");
    assert_eq!(terms.expires, Timestamp::from_seconds(10_000), "it lasts as long as the lineage");
    let grant = asked(json!({})).complete(&ground(Some(Effect::Write)), false, &Map::new(), now()).unwrap();
    assert_eq!(grant.scope, Scope::Grant);
    let beyond = complete(json!({"lasts": 1_000_000}), Some(Effect::Write)).unwrap();
    assert_eq!(beyond.expires, Timestamp::from_seconds(10_000), "never longer than the lineage");
}

#[test]
fn what_deletes_or_moves_money_needs_a_count_and_a_sum() {
    let whole = json!({"count": 3, "sum": {"of": "amount", "max": 100}});
    for effect in [Some(Effect::Delete), Some(Effect::Money), None] {
        assert!(complete(whole.clone(), effect).is_ok(), "{effect:?}");
        for part in [json!({}), json!({"count": 3}), json!({"sum": {"of": "amount", "max": 100}})] {
            assert!(complete(part, effect).is_err(), "{effect:?}");
        }
    }
    assert!(complete(json!({}), Some(Effect::Read)).is_ok());
}

#[test]
fn terms_that_miss_the_held_request_are_refused() {
    let write = Some(Effect::Write);
    for wrong in [
        json!({"actions": ["notes.*"]}),
        json!({"actions": []}),
        json!({"resources": ["order://customer:43/**"]}),
        json!({"params": {"amount": {"max": 59.999999}}}),
        json!({"params": {"amount": {"min": 61}}}),
        json!({"params": {"currency": {"one_of": ["EUR"]}}}),
        json!({"params": {"absent": {"max": 1}}}),
        json!({"params": {"currency": {"max": 1}}}),
        json!({"params": {"amount": {}}}),
        json!({"params": {"amount": {"one_of": []}}}),
        json!({"params": {"amount": {"one_of": [[1]]}}}),
        json!({"sum": {"of": "amount", "max": 59}}),
        json!({"sum": {"of": "currency", "max": 100}}),
        json!({"sum": {"of": "absent", "max": 100}}),
        json!({"sum": {"of": "amount", "max": 1e40}}),
        json!({"count": 0}),
        json!({"count": 1_000_001}),
        json!({"lasts": 0}),
        json!({"lasts": 10_000_000}),
        json!({"expires": "1970-01-01T00:00:01Z"}),
        json!({"expires": "1970-01-01T01:00:00Z", "lasts": 5}),
    ] {
        assert!(complete(wrong.clone(), write).is_err(), "{wrong}");
    }
    for unknown in [json!({"forever": true}), json!({"for": "ever"}), json!({"params": {"a": {"like": "x"}}})]
    {
        assert!(serde_json::from_value::<Asked>(unknown.clone()).is_err(), "{unknown}");
    }
    let wide = json!({"actions": ["**"], "resources": ["**"], "params": {"amount": {"min": 60, "max": 60.0},
        "currency": {"one_of": ["USD", "EUR"]}}, "sum": {"of": "amount", "max": 60.00}, "count": 1});
    assert!(complete(wide, write).is_ok());
}

#[test]
fn the_words_say_every_term() {
    let terms = complete(
        json!({"actions": ["refunds.*"], "resources": ["order://customer:42/**"], "count": 5, "lasts": 60,
            "sum": {"of": "amount", "max": 500}, "params": {"amount": {"max": 100}, "currency": {"one_of": ["USD"]}}}),
        None,
    )
    .unwrap();
    let (policy, rule) = ("p@3".into(), "held".into());
    let rule = Requirement {
        policy,
        rule,
        by: vec![],
        not: vec![],
        count: 1,
        distinct: false,
        within: 60,
        intent: false,
    };
    let task = TaskId::from_parts(now(), [1; 10]);
    let words = terms.words(&ground(None), Some(task), GrantId::from_parts(now(), [2; 10]), &[&rule], false);
    assert_eq!(
        words,
        [
            "The agent `support-7` may do `refunds.*` on `order://customer:42/**` through the connection `shop-main` without asking again.".to_owned(),
            format!("For the task {task} only; it ends with it."),
            "Only where `amount` is at most 100 and `currency` is `USD`.".to_owned(),
            "At most 5 times, this request included.".to_owned(),
            "At most 500 of `amount` in all, this request included.".to_owned(),
            "Until 1970-01-01T00:17:40Z.".to_owned(),
            "It answers the rule `held` of `p@3` and nothing else: guards, limits and denials hold as before. A new version of the policy or of the service, or a new secret of the connection, ends it.".to_owned(),
        ]
    );
    let shown = Bound { one_of: Some(vec![json!("a\u{202e}b")]), ..Bound::default() }.to_string();
    assert!(!shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn terms_are_stored_as_they_are() {
    let terms = complete(
        serde_json::from_str(r#"{"count": 3, "sum": {"of": "amount", "max": 100.50}}"#).unwrap(),
        None,
    )
    .unwrap();
    let text = serde_json::to_string(&terms).unwrap();
    assert!(text.contains("100.50"), "{text}");
    assert_eq!(serde_json::from_str::<Terms>(&text).unwrap(), terms);
}

proptest! {
    /// A bound holds for exactly the numbers between its ends, however they are written.
    #[test]
    fn bounds_are_exact(low in -50i64..50, high in -50i64..50, value in -60i64..60, hundredths in 0u8..100) {
        let text = format!("{value}.{hundredths:02}");
        let number: Value = serde_json::from_str(&text).unwrap();
        let bound: Bound = serde_json::from_value(json!({"min": low, "max": high})).unwrap();
        let exact = if value < 0 || text.starts_with('-') {
            value * 100 - i64::from(hundredths)
        } else {
            value * 100 + i64::from(hundredths)
        };
        prop_assert_eq!(bound.holds(Some(&number)), low * 100 <= exact && exact <= high * 100);
        prop_assert!(!bound.holds(Some(&Value::String(text))));
        prop_assert!(!bound.holds(None));
    }
}
