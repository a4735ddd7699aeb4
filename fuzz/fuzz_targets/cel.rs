//! Conditions: a condition, a NUL, and parameters as JSON. Each conjunct is evaluated with little and with much fuel, by
//! the short way and by the evaluator; the answers and what is left of the fuel have to be the same, and so has what the
//! text of a conjunct says by itself.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    cel::{Activation, Expression, FUEL_PER_DECISION, FieldType, Fuel, Lists, Outcome, Root, Schema},
    fuzzing, json,
    time::Timestamp,
};
use serde_json::Value;

struct Nothing;

impl Schema for Nothing {
    fn type_of(&self, _: &[&str]) -> FieldType {
        FieldType::Unknown
    }
}

const PARAMS: &str = r#"{"amount": 500, "rate": 0.15, "currency": "USD", "to": ["a@b.com", "ë@d.org"], "urgent": true,
    "none": null, "a": {"b": [1, 2.50, -3, "x"], "c": {}}, "at": "2026-03-01T10:00:00Z"}"#;

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let (source, params) = data.split_once('\0').unwrap_or((data, ""));
    let params =
        json::parse(params.as_bytes()).or_else(|_| json::parse(PARAMS.as_bytes())).unwrap_or(Value::Null);
    let Ok(expression) = Expression::parse_row(source, &Lists::default()) else { return };
    let _ = expression.check(&Nothing);
    let vars = Activation::new()
        .with(Root::Params, &params)
        .with(Root::Item, &params)
        .at(Timestamp::from_seconds(1_772_359_200));
    let _ = expression.evaluate_number(&vars, &mut Fuel::default());
    for conjunct in expression.conjuncts() {
        assert!(source.get(conjunct.offset()..).is_some_and(|rest| rest.starts_with(conjunct.source())));
        for units in [0, 3, 7, 50, FUEL_PER_DECISION] {
            let (mut short, mut general) = (Fuel::new(units), Fuel::new(units));
            let said = conjunct.evaluate(&vars, &mut short);
            assert_eq!(said, fuzzing::in_general(conjunct, &vars, &mut general), "{conjunct:?}");
            assert_eq!(short.left(), general.left(), "{conjunct:?}");
        }
        let alone =
            Expression::parse_row(conjunct.source(), &Lists::default()).expect("a conjunct by itself");
        let all = |expression: &Expression| {
            let each = expression.conjuncts().iter();
            each.map(|conjunct| conjunct.evaluate(&vars, &mut Fuel::default()) == Outcome::True).min()
        };
        let whole = conjunct.evaluate(&vars, &mut Fuel::default()) == Outcome::True;
        assert_eq!(all(&alone), Some(whole), "{conjunct:?}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
