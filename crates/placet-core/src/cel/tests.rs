use super::*;
use serde_json::{Value as Json, json};

mod check;
mod conformance;
mod hostile;
mod oracle;
mod random;
mod table;

fn world() -> Json {
    serde_json::from_str(
        r#"{
        "amount": 500, "fine": 19.99, "whole": 3.0, "big": 9223372036854775807, "huge": 123456789012345678901234567890,
        "monster": 1e400, "tiny": 0.0000001,
        "currency": "USD", "to": ["a@x.com", "b@y.com"], "empty": [], "numbers": [1, 2, 3], "mixed": [1, "a", null],
        "nil": null, "yes": true, "no": false, "name": "Zoë Ünïcode", "padded": "  a b ",
        "nested": {"a": {"b": 1}}, "items": [{"price": 5, "sku": "x"}, {"price": 7, "sku": "y"}]
    }"#,
    )
    .unwrap()
}

fn judge(source: &str) -> Outcome {
    let params = world();
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let vars = Activation::new()
        .with(Root::Params, &params)
        .at(crate::time::Timestamp::parse("2026-03-29T00:30:15.250Z").unwrap());
    let mut fuel = Fuel::default();
    let mut result = Outcome::True;
    for conjunct in expression.conjuncts() {
        match conjunct.evaluate(&vars, &mut fuel) {
            Outcome::True => {}
            other => {
                result = other;
                break;
            }
        }
    }
    result
}

fn holds(source: &str) {
    assert_eq!(judge(source), Outcome::True, "{source}");
}

fn fails(source: &str) {
    assert_eq!(judge(source), Outcome::False, "{source}");
}

/// Unknown, and the reason contains `why`.
fn unknown(source: &str, why: &str) {
    match judge(source) {
        Outcome::Unknown(reason) => assert!(reason.to_string().contains(why), "{source}: {reason}"),
        other => panic!("{source} is {other:?}"),
    }
}

/// Refused when loading, with a message that contains `why`, at `offset`.
fn refused(source: &str, why: &str, offset: usize) {
    let error = Expression::parse(source).expect_err(source);
    assert!(error.message.contains(why), "{source}: {error}");
    assert_eq!(error.offset, Some(offset), "{source}: {error}");
}

#[test]
fn each_operand_of_the_top_level_and_is_judged_on_its_own() {
    let source =
        "params.amount <= 500 && (params.currency == \"USD\" && params.x) && (params.a || params.b && true)";
    let expression = Expression::parse(source).unwrap();
    let texts: Vec<&str> = expression.conjuncts().iter().map(Conjunct::source).collect();
    assert_eq!(
        texts,
        ["params.amount <= 500", "params.currency == \"USD\"", "params.x", "(params.a || params.b && true)"]
    );
    for conjunct in expression.conjuncts() {
        assert!(source.get(conjunct.offset()..).unwrap().starts_with(conjunct.source()));
    }
}

#[test]
fn an_and_under_something_weaker_is_not_split() {
    for source in [
        "true && true || true",
        "true && false ? true : true",
        "[true && true][0]",
        "\"a && b\" == \"a && b\"",
    ] {
        assert_eq!(Expression::parse(source).unwrap().conjuncts().len(), 1, "{source}");
    }
    holds("false && true || true");
    for source in ["[true && true]", "{'a': true && true}", "[(true && true)]"] {
        assert_eq!(Expression::parse(source).unwrap().conjuncts().len(), 1, "{source}");
        unknown(source, "not a bool");
    }
    for source in
        ["(true && true]", "[true && true)", "(true] && [true)", "([true) && (true])", "true) && (true"]
    {
        assert!(Expression::parse(source).is_err(), "{source}");
    }
    // Comments and brackets in texts are no brackets.
    holds("('(' == '(' && true) // && false (");
    holds("true // (\n && true");
    holds("\"a && b\" == 'a && b'");
}

#[test]
fn reads_are_the_longest_static_paths() {
    let expression = Expression::parse(
        "params.items.exists(i, i.price > params.amount && has(user.roles.admin)) || resource[\"customer\"].id == params.list[0].x",
    )
    .unwrap();
    let reads: Vec<String> = expression.conjuncts()[0].reads().iter().map(ToString::to_string).collect();
    assert_eq!(
        reads,
        ["params.amount", "params.items", "params.list", "resource.customer.id", "user.roles.admin"]
    );
}

#[test]
fn simple_bounds_are_named() {
    let bound = |source: &str| {
        let expression = Expression::parse(source).unwrap();
        expression.conjuncts()[0]
            .bound()
            .map(|bound| (bound.path.to_string(), bound.op, bound.literal.clone()))
    };
    assert_eq!(bound("params.amount <= 500"), Some(("params.amount".into(), BoundOp::AtMost, json!(500))));
    assert_eq!(bound("500 < params.amount"), Some(("params.amount".into(), BoundOp::Above, json!(500))));
    assert_eq!(
        bound("params.c in ['USD', \"EUR\"]"),
        Some(("params.c".into(), BoundOp::In, json!(["USD", "EUR"])))
    );
    let (_, _, literal) = bound("params.rate < 0.15").unwrap();
    assert_eq!(literal.to_string(), "0.15");
    assert_eq!(bound("params.amount <= -5").unwrap().2, json!(-5));
    for source in ["params.a <= params.b", "!(params.a <= 5)", "params.a + 1 <= 5", "size(params.a) < 3"] {
        assert_eq!(bound(source), None, "{source}");
    }
}

#[test]
fn amounts_are_exact_numbers() {
    let params = world();
    let vars = Activation::new().with(Root::Params, &params);
    let number = |source: &str| {
        Expression::parse(source)
            .unwrap()
            .evaluate_number(&vars, &mut Fuel::default())
            .map(|number| number.to_string())
    };
    assert_eq!(number("params.fine * 3").unwrap(), "59.97");
    assert_eq!(number("params.fine + 0.01").unwrap(), "20");
    assert!(number("params.currency").unwrap_err().to_string().contains("a string"));
    assert!(number("true && true").unwrap_err().to_string().contains("bool"));
    assert!(matches!(number("params.none"), Err(Why::Missing(_))));
}

#[test]
fn an_expression_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
}

#[test]
fn what_is_no_cel_is_said_in_words() {
    for (source, message, offset) in [
        ("'é' == 'é' nope", "`nope` can't stand here", 11 + 2),
        ("params.a ==", "the condition ends too early", 11),
        ("1 + * 2", "`*` can't stand here", 4),
        ("true ? 1", "`?` needs a `:`", 5),
        ("[1 2]", "`2` can't stand here", 3),
        ("params..a", "`.` can't stand here", 7),
        ("true && params.a.strtsWith('x')", "did you mean `startsWith`", 17),
        ("'\\q' == ''", "no escape", 0),
    ] {
        refused(source, message, offset);
    }
}
