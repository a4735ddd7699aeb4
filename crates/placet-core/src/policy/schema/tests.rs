//! The schema and the reader know the same.

use super::*;
use crate::policy::{Policy, approvers, document, hours, shape};
use std::collections::BTreeSet;

fn validator() -> jsonschema::Validator {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .offline()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(&schema())
        .unwrap()
}

fn json_of(text: &str) -> Value {
    crate::yaml::to_json(&crate::yaml::parse(text.as_bytes(), None).unwrap().0)
}

/// The keys of an object of the schema.
fn keys(at: &str) -> BTreeSet<String> {
    let schema = schema();
    let found = schema.pointer(at).and_then(Value::as_object);
    found.unwrap_or_else(|| panic!("nothing at {at}")).keys().cloned().collect()
}

#[test]
fn it_has_every_key_of_the_reader_and_no_other() {
    for (at, known) in [
        ("full/properties", document::KEYS),
        ("full/properties/record/properties", document::RECORD_KEYS),
        ("rule/properties", document::RULE_KEYS),
        ("applies_to/anyOf/1/allOf/0/properties", document::SELECTOR_KEYS),
        ("limit/properties", document::LIMIT_KEYS),
        ("approve/properties", approvers::KEYS),
        ("shape/properties", shape::KEYS),
        ("shape/properties/detect/properties", &shape::detect_keys()),
        ("shape/properties/rows/anyOf/0/properties", shape::ROWS_KEYS),
        ("hours/anyOf/0/properties", hours::KEYS),
        ("compact/properties", compact::KEYS),
        ("compact/properties/policy/properties", compact::POLICY_KEYS),
        ("compact/properties/policy/properties/audit/properties", compact::AUDIT_KEYS),
    ] {
        let known: BTreeSet<String> = known.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(keys(&format!("/$defs/{at}")), known, "{at}");
    }
    for form in ["constraints", "group"] {
        let at = format!("/$defs/{form}/anyOf/0");
        let known = |family: bool| {
            let of = compact::KNOWN.iter().filter(|known| known.family.is_some() == family);
            of.map(|known| known.family.unwrap_or(known.name).to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(keys(&format!("{at}/properties")), known(false));
        assert_eq!(keys(&format!("{at}/patternProperties")), known(true));
    }
}

#[test]
fn every_key_has_help_and_an_example_that_satisfies_it() {
    fn walk(at: &Value, path: &str, root: &Value, seen: &mut usize) {
        let Some(object) = at.as_object() else { return };
        for of in ["properties", "patternProperties"] {
            for (name, child) in object.get(of).and_then(Value::as_object).into_iter().flatten() {
                let path = format!("{path}/{name}");
                let mut alone = child.clone();
                if let Some(target) = child.get("$ref").and_then(Value::as_str) {
                    let target = root.pointer(target.trim_start_matches('#')).unwrap();
                    if alone.get("description").is_none() {
                        alone = target.clone();
                    }
                }
                let about = alone.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(about.ends_with('.') && about.len() < 200, "{path}: {about:?}");
                let examples = alone.get("examples").and_then(Value::as_array).cloned().unwrap_or_default();
                assert!(!examples.is_empty(), "{path} has no example");
                alone.as_object_mut().unwrap().insert("$defs".to_owned(), root["$defs"].clone());
                let validator = jsonschema::options().offline().build(&alone).unwrap();
                for example in &examples {
                    assert!(validator.is_valid(example), "{path}: {example}");
                }
                *seen += 1;
            }
        }
        // `if` and `then` only tell apart.
        for (name, child) in object.iter().filter(|(name, _)| *name != "if" && *name != "then") {
            match child {
                Value::Object(_) => walk(child, &format!("{path}/{name}"), root, seen),
                Value::Array(items) => {
                    items.iter().for_each(|item| walk(item, &format!("{path}/{name}"), root, seen))
                }
                _ => {}
            }
        }
    }
    let schema = schema();
    let mut seen = 0;
    walk(&schema, "", &schema, &mut seen);
    assert!(seen > 60, "{seen}");
}

#[test]
fn every_policy_of_the_repository_satisfies_it() {
    let pages = [include_str!("../../../../../docs/policies.md")];
    let blocks = pages
        .iter()
        .flat_map(|page| page.split("```yaml\n").skip(1))
        .filter_map(|rest| rest.split_once("```"));
    let mut all: Vec<&str> = blocks.map(|(block, _)| block).collect();
    all.push(include_str!("../../../../../examples/policies/support-desk.yaml"));
    assert!(all.len() > 10);
    let validator = validator();
    for text in all {
        let json = json_of(text);
        if let Err(error) = validator.validate(&json) {
            panic!("{}: {error}\n{text}", error.instance_path());
        };
        // And so does what it became.
        if let Ok((policy, _)) = Policy::load(text.as_bytes(), Some("p.yaml"), 1, &[]) {
            assert!(validator.is_valid(&json_of(&policy.in_full())), "{}", policy.in_full());
        }
    }
}

#[test]
fn what_has_another_form_satisfies_neither_it_nor_the_reader() {
    let validator = validator();
    for text in [
        "[]",
        "{}",
        "policy: p",
        "policy: p\nrules: []",
        "policy: 'a b'\nrules: [{name: a, allow: x}]",
        "policy: 1\nrules: [{name: a, allow: x}]",
        "polcy: p\nrules: [{name: a, allow: x}]",
        "policy: p\nmode: enforced\nrules: [{name: a, allow: x}]",
        "policy: p\nrules: {name: a, allow: x}",
        "policy: p\nrules: [{allow: x}]",
        "policy: p\nrules: [{name: a}]",
        "policy: p\nrules: [{name: a, alow: x}]",
        "policy: p\nrules: [{name: a, allow: []}]",
        "policy: p\nrules: [{name: a, allow: x, deny: y}]",
        "policy: p\nrules: [{name: a, deny: x, approve: {}}]",
        "policy: p\nrules: [{name: a, allow: x, when: true}]",
        "policy: p\nrules: [{name: a, allow: x, when: []}]",
        "policy: p\nrules: [{name: a, allow: x, hours: {}}]",
        "policy: p\nrules: [{name: a, allow: x, hours: {from: 9, to: '10:00'}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {count: 1}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {count: -1, per: day}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {count: 1, per: dya}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {cuont: 1, per: day}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {sum: params.x, per: day}}]",
        "policy: p\nrules: [{name: a, allow: x, limits: {count: 1, per: day, sum: params.x, max: 1}}]",
        "policy: p\nrules: [{name: a, allow: x, approve: {by: ada}}]",
        "policy: p\nrules: [{name: a, allow: x, approve: {within: long}}]",
        "policy: p\napplies_to: {}\nrules: [{name: a, allow: x}]",
        "policy: p\napplies_to: nobody\nrules: [{name: a, allow: x}]",
        "policy: p\napplies_to: {agent: x}\nrules: [{name: a, allow: x}]",
        "policy: p\nrecord: {keep: 90}\nrules: [{name: a, allow: x}]",
        "policy: p\nlists: {a-b: [x]}\nrules: [{name: a, allow: x}]",
        "policy: p\nlists: {a: []}\nrules: [{name: a, allow: x}]",
        "policy: p\nlists: {a: [true]}\nrules: [{name: a, allow: x}]",
        "policy: p\nlists: {a: x}\nrules: [{name: a, allow: x}]",
        "agent: a",
        "agent: a\npolicy: x",
        "agent: 'a b'\npolicy: {action: x}",
        "agent: a\npolicy: {}",
        "agent: a\npolicy: {action: x, actions: [y]}",
        "agent: a\npolicy: {action: x, resource: 'a://b', resources: ['a://b']}",
        "agent: a\npolicy: {action: x, constraint: {}}",
        "agent: a\npolicy: {action: x}\nrules: []",
        "agent: a\npolicy: {action: x, audit: {logAllActions: false}}",
        "agent: a\npolicy: {action: x, audit: {retainFor: 90}}",
        "agent: a\npolicy: {action: x, constraints: {maxAmount: much}}",
        "agent: a\npolicy: {action: x, constraints: {requireAproval: amount > 1}}",
        "agent: a\npolicy: {action: x, constraints: {onlyOwnX: false}}",
        "agent: a\npolicy: {action: x, constraints: [maxAmount]}",
        "agent: a\npolicy: {action: x, constraints: {x: {}}}",
        "agent: a\npolicy: {action: x, constraints: {x: {y: {maxAmount: 1}}}}",
        "agent: a\npolicy: {action: x, constraints: {maxPerDay: 15%}}",
        "agent: a\npolicy: {action: x, constraints: {allowedDomains: []}}",
    ] {
        assert!(!validator.is_valid(&json_of(text)), "the schema takes {text}");
        assert!(Policy::load(text.as_bytes(), Some("p.yaml"), 1, &[]).is_err(), "the reader takes {text}");
    }
}
