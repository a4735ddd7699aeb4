//! The cases of the CEL specification (`tests/cel/README.md` says where they come from) against our evaluator.
//!
//! Each passes or is excluded for a reason in `tests/cel/excluded.json`; an excluded one that passes is an error too.

use super::*;
use std::collections::BTreeMap;

struct Case {
    section: String,
    name: String,
    source: String,
    expected: Json,
    bindings: Vec<(String, Json)>,
}

fn cases() -> Vec<Case> {
    let all: Vec<Json> = serde_json::from_str(include_str!("../../../tests/cel/conformance.json")).unwrap();
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let pairs = |json: &Json| (text(&json[0]), json[1].clone());
    all.iter()
        .map(|case| Case {
            section: text(&case[0]),
            name: text(&case[1]),
            source: text(&case[2]),
            expected: case[3].clone(),
            bindings: case[4].as_array().map(|list| list.iter().map(pairs).collect()).unwrap_or_default(),
        })
        .collect()
}

/// A bound value as JSON, where it has that form.
fn json_of(value: &Json) -> Option<Json> {
    let of = &value[1];
    match value[0].as_str()? {
        "int" | "uint" => serde_json::from_str(of.as_str()?).ok(),
        "double" => serde_json::from_str(of.as_str()?).ok(),
        "string" | "bool" => Some(of.clone()),
        "null" => Some(Json::Null),
        "list" => of.as_array()?.iter().map(json_of).collect::<Option<Vec<_>>>().map(Json::from),
        "map" => {
            let entry = |entry: &Json| Some((json_of(&entry[0])?.as_str()?.to_owned(), json_of(&entry[1])?));
            of.as_array()?.iter().map(entry).collect::<Option<serde_json::Map<_, _>>>().map(Json::from)
        }
        _ => None,
    }
}

fn is(value: &Value<'_>, expected: &Json) -> bool {
    let of = &expected[1];
    let fuel = &mut Fuel::default();
    match expected[0].as_str().unwrap() {
        "int" | "uint" | "double" => {
            value.number().is_some_and(|found| Decimal::parse(of.as_str().unwrap()) == Ok(found))
        }
        "string" => matches!(value, Value::Text(text) if text.as_ref() == of.as_str().unwrap()),
        "bool" => matches!(value, Value::Bool(yes) if *yes == of.as_bool().unwrap()),
        "null" => matches!(value, Value::Null),
        "list" => {
            let of = of.as_array().unwrap();
            value.list_length() == Some(of.len())
                && of.iter().enumerate().all(|(index, expected)| {
                    value
                        .element(index, fuel)
                        .is_ok_and(|found| found.is_some_and(|found| is(&found, expected)))
                })
        }
        "map" => {
            let of = of.as_array().unwrap();
            value.map_length() == Some(of.len())
                && of.iter().all(|entry| {
                    let key = entry[0][1].as_str().filter(|_| entry[0][0] == "string");
                    key.and_then(|key| value.field(key, fuel).ok().flatten())
                        .is_some_and(|found| is(&found, &entry[1]))
                })
        }
        _ => false,
    }
}

/// Whether our evaluator says what the case expects, or why not. What is refused when loading is an error too.
fn passes(case: &Case) -> Result<(), String> {
    let mut params = serde_json::Map::new();
    let mut source = case.source.clone();
    for (name, value) in &case.bindings {
        let value = json_of(value).ok_or("a variable that JSON can't hold")?;
        params.insert(name.clone(), value);
        source = format!("cel.bind({name}, params.{name}, {source})");
    }
    let params = Json::Object(params);
    let vars = Activation::new().with(Root::Params, &params).at(crate::time::Timestamp::from_seconds(0));
    let error = case.expected[0] == "error";
    let expression = match Expression::parse(&source) {
        Ok(expression) => expression,
        Err(_) if error => return Ok(()),
        Err(refused) => return Err(refused.message),
    };
    let mut fuel = Fuel::default();
    if let [only] = expression.conjuncts() {
        let found = Evaluator { vars: &vars, fuel: &mut fuel, locals: Vec::new() }.value(&only.node);
        return match found {
            Err(_) if error => Ok(()),
            Err(why) => Err(why.to_string()),
            Ok(found) if !error && is(&found, &case.expected) => Ok(()),
            Ok(found) => Err(format!("{found:?}")),
        };
    }
    let outcomes: Vec<_> =
        expression.conjuncts().iter().map(|conjunct| conjunct.evaluate(&vars, &mut fuel)).collect();
    let said = if outcomes.contains(&Outcome::False) {
        json!(["bool", false])
    } else if outcomes.iter().all(|outcome| *outcome == Outcome::True) {
        json!(["bool", true])
    } else {
        json!(["error"])
    };
    if said == case.expected { Ok(()) } else { Err(format!("{outcomes:?}")) }
}

#[test]
fn the_specifications_cases_pass_or_are_excluded_for_a_reason() {
    // By reason and section, the names.
    let excluded: BTreeMap<String, BTreeMap<String, Vec<String>>> =
        serde_json::from_str(include_str!("../../../tests/cel/excluded.json")).unwrap();
    let mut reasons: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (reason, sections) in &excluded {
        for (section, names) in sections {
            for name in names {
                let twice = reasons.insert((section, name), reason);
                assert_eq!(twice, None, "{section} {name} is excluded twice");
            }
        }
    }
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let cases = cases();
    for case in &cases {
        let reason = reasons.remove(&(case.section.as_str(), case.name.as_str()));
        match (passes(case), reason) {
            (Ok(()), None) => *counts.entry("passes").or_default() += 1,
            (Err(_), Some(reason)) => *counts.entry(reason).or_default() += 1,
            (Ok(()), Some(_)) => {
                wrong.push(format!("passes\t{}\t{}\t{}", case.section, case.name, case.source))
            }
            (Err(why), None) => wrong.push(format!(
                "fails\t{}\t{}\t{}\t{}\t{why}",
                case.section, case.name, case.source, case.expected
            )),
        }
    }
    assert!(wrong.is_empty(), "{}\n{} are not as stated", wrong.join("\n"), wrong.len());
    assert!(reasons.is_empty(), "no such cases: {reasons:?}");
    let found: Vec<(&str, usize)> = counts.into_iter().collect();
    assert_eq!(found, EXPECTED, "of {}", cases.len());
}

/// How many pass, and how many are excluded for each reason.
const EXPECTED: &[(&str, usize)] = &[
    ("bytes are not offered", 118),
    ("cel.block is for optimisers, not for people", 25),
    ("containers and qualified names are not offered", 7),
    ("doubles are rounded, our decimals are exact", 12),
    ("format and strings.quote are not offered", 87),
    ("keys of maps are strings", 19),
    ("literals name no variable", 3),
    ("names are checked when loading, not when reached", 19),
    ("no NaN, no infinity, nothing beyond 38 digits", 9),
    ("optional values are not offered", 56),
    ("passes", 906),
    ("the functions math.* are not offered", 182),
    ("times end with 9999-12-30T22:00:00.999999999Z", 1),
    ("types are no values", 29),
    ("unsigned integers are not offered: one kind of number", 161),
];
