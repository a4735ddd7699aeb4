//! Paths and shaping against oracles that know nothing of either's code.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn redacted(paths: &[&str], body: Value) -> Result<Value, Withheld> {
    let paths: Vec<_> = paths.iter().map(|text| path(text)).collect();
    let mut targets: Vec<_> = paths.iter().map(|path| Target { path, what: What::Redact }).collect();
    apply(&mut targets, body)
}

fn cut(at: &str, max: Option<usize>, body: Value) -> Result<Value, Withheld> {
    let at = path(at);
    let odd = |item: &Value| Ok(item.as_i64().is_none_or(|number| number % 2 == 1));
    let what = What::Rows { max, keep: Some(Box::new(odd)) };
    apply(&mut [Target { path: &at, what }], body)
}

#[test]
fn what_takes_too_many_steps_is_withheld() {
    let paths: Vec<String> = (0..64).map(|at| format!("$[*].m{at}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let body = |rows: usize| Value::Array(vec![json!({}); rows]);
    assert!(redacted(&paths, body(10_000)).is_ok());
    assert!(redacted(&paths, body(20_000)) == Err(Withheld::Cost));
}

#[test]
fn paths_are_read_and_written_in_one_form() {
    for (text, canonical) in [
        ("$", "$"),
        ("$.orders", "$.orders"),
        ("$['orders']", "$.orders"),
        ("$[\"orders\"][*].card", "$.orders[*].card"),
        ("$[0][*]", "$[0][*]"),
        ("$['a b'].c_1", "$['a b'].c_1"),
        ("$['it\\'s']['\\\\']", "$['it\\'s']['\\\\']"),
        ("$[\"it's\"]", "$['it\\'s']"),
        ("$['']", "$['']"),
        ("$['a]b']", "$['a]b']"),
        ("$['0']", "$['0']"),
        ("$['ü']", "$['ü']"),
    ] {
        let read = path(text);
        assert_eq!(read.to_string(), canonical);
        assert_eq!(path(canonical), read);
    }
}

#[test]
fn what_is_no_path_says_where() {
    for (text, offset, says) in [
        ("", 0, "begins with `$`"),
        ("orders", 0, "begins with `$`"),
        ("$orders", 1, "stands here"),
        ("$.", 2, "missing after"),
        ("$..card", 2, "write each step"),
        ("$.*", 2, "[*]"),
        ("$.a-b", 3, "['name']"),
        ("$.1a", 2, "a letter"),
        ("$.ü", 2, "a letter"),
        ("$[", 2, "in brackets"),
        ("$[]", 2, "in brackets"),
        ("$[*", 3, "`]` is missing"),
        ("$[-1]", 2, "from the beginning"),
        ("$[1:2]", 3, "`]` is missing"),
        ("$['a','b']", 5, "`]` is missing"),
        ("$[01]", 2, "no zero"),
        ("$[1234567]", 2, "digits"),
        ("$[?@.a]", 2, "`where`"),
        ("$['a]", 5, "closing"),
        ("$['\\x']", 3, "before a quote"),
        ("$['\n']", 3, "control"),
        ("$ .a", 1, "stands here"),
        ("$.a ", 3, "stands here"),
    ] {
        let error = Path::parse(text).unwrap_err();
        assert!(error.message.contains(says), "{text}: {}", error.message);
        assert_eq!(error.offset, offset, "{text}");
    }
    let (long, deep) = (format!("$.{}", "a".repeat(MAX_PATH)), format!("${}", "[*]".repeat(MAX_STEPS + 1)));
    assert!(Path::parse(&long).is_err() && Path::parse(&deep).is_err());
}

#[test]
fn what_is_redacted_is_gone_wherever_it_is() {
    let body = json!({"orders": [{"id": 1, "card": "4111"}, {"id": 2, "card": null}, {"id": 3}], "n": 3});
    assert_eq!(
        redacted(&["$.orders[*].card", "$.n"], body.clone()).unwrap(),
        json!({"orders": [{"id": 1}, {"id": 2}, {"id": 3}]})
    );
    // Indexes are upstream's, whatever else goes.
    assert_eq!(
        redacted(&["$.orders[0]", "$.orders[1].id"], body.clone()).unwrap(),
        json!({"orders": [{"card": null}, {"id": 3}], "n": 3})
    );
    assert_eq!(redacted(&["$.orders[*]"], body.clone()).unwrap(), json!({"orders": [], "n": 3}));
    assert_eq!(redacted(&["$.orders", "$.orders[*].card"], body).unwrap(), json!({"n": 3}));
    // Nothing there, or null, is nothing to take out; below a list's item too.
    let optional = json!({"orders": [{"payment": {"card": 1}}, {"payment": null}, {}]});
    assert_eq!(
        redacted(&["$.orders[*].payment.card", "$.gone", "$.orders[9]"], optional).unwrap(),
        json!({"orders": [{"payment": {}}, {"payment": null}, {}]})
    );
    assert_eq!(redacted(&["$.orders[*].card"], json!({"orders": null})).unwrap(), json!({"orders": null}));
    assert_eq!(redacted(&["$"], json!({"a": 1})).unwrap(), Value::Null);
}

#[test]
fn a_body_that_is_laid_out_otherwise_is_withheld() {
    for body in [
        json!({"data": {"orders": [{"card": 1}]}}),
        json!({"orders": {"7": {"card": 1}}}),
        json!({"orders": "card 4111"}),
        json!({"orders": ["card 4111"]}),
        json!({"orders": [[{"card": 1}]]}),
        json!([{"card": 1}]),
        json!("card"),
    ] {
        assert!(redacted(&["$.orders[*].card"], body.clone()).is_err(), "{body}");
    }
    let missing = cut("$.orders", Some(1), json!({"data": []})).unwrap_err();
    assert_eq!(missing, Withheld::Missing("$.orders".into()));
    let unlike = cut("$.orders", Some(1), json!({"orders": {}})).unwrap_err();
    assert_eq!(unlike, Withheld::Unlike("$.orders".into()));
    assert!(cut("$.a[*].b", Some(1), json!({"a": [{"b": []}, {}]})).is_err());
    assert!(cut("$[1]", Some(1), json!([[1]])).is_err());
}

#[test]
fn rows_are_filtered_and_then_cut() {
    assert_eq!(cut("$", Some(2), json!([2, 1, 4, 3, 5])).unwrap(), json!([1, 3]));
    assert_eq!(
        cut("$.a[*]", None, json!({"a": [[1, 2], [2], null]})).unwrap(),
        json!({"a": [[1], [], null]})
    );
    assert_eq!(cut("$.a", None, json!({"a": null})).unwrap(), json!({"a": null}));
    // Two paths to one list add up, and redactions count items as upstream sent them.
    let (one, two, gone) = (path("$.a"), path("$['a']"), path("$.a[2].x"));
    let rows = |path, max, least: i64| {
        let keep = move |item: &Value| Ok(item["n"].as_i64().is_some_and(|n| n >= least));
        Target { path, what: What::Rows { max, keep: Some(Box::new(keep)) } }
    };
    let mut targets =
        vec![rows(&one, Some(9), 2), rows(&two, Some(2), 3), Target { path: &gone, what: What::Redact }];
    let body = json!({"a": [{"n": 1}, {"n": 3, "x": 1}, {"n": 4, "x": 1}, {"n": 5}]});
    assert_eq!(apply(&mut targets, body).unwrap(), json!({"a": [{"n": 3, "x": 1}, {"n": 4}]}));
}

const NAMES: [&str; 3] = ["a", "b", "it's"];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Plain {
    Name(usize),
    Each,
    At(usize),
}

fn steps() -> impl Strategy<Value = Vec<Plain>> {
    let step =
        prop_oneof![(0..3usize).prop_map(Plain::Name), Just(Plain::Each), (0..3usize).prop_map(Plain::At)];
    prop::collection::vec(step, 1..4)
}

fn text(steps: &[Plain]) -> String {
    steps.iter().fold("$".to_owned(), |text, step| match step {
        Plain::Name(name) => text + &format!("[\"{}\"]", NAMES[*name]),
        Plain::Each => text + "[*]",
        Plain::At(index) => text + &format!("[{index}]"),
    })
}

fn body() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), (0..9i64).prop_map(Value::from)];
    leaf.prop_recursive(4, 48, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map((0..3usize).prop_map(|name| NAMES[name].to_owned()), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Every value of a body by where upstream had it.
fn places(value: &Value, here: &mut Vec<Plain>, found: &mut Vec<Vec<Plain>>) {
    found.push(here.clone());
    let mut below = |step, value| {
        here.push(step);
        places(value, here, found);
        here.pop();
    };
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| below(Plain::At(index), item))
        }
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            below(Plain::Name(NAMES.iter().position(|other| other == name).unwrap()), value)
        }),
        _ => {}
    }
}

fn is_at(path: &[Plain], place: &[Plain]) -> bool {
    path.len() == place.len()
        && path
            .iter()
            .zip(place)
            .all(|(step, at)| step == at || (*step == Plain::Each && matches!(at, Plain::At(_))))
}

/// The body again, without what is at or below one of the places.
fn without(value: &Value, here: &mut Vec<Plain>, gone: &dyn Fn(&[Plain]) -> bool) -> Value {
    let mut below = |step, value| {
        here.push(step);
        let kept = (!gone(here)).then(|| without(value, here, gone));
        here.pop();
        kept
    };
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            Value::Array(items.filter_map(|(index, item)| below(Plain::At(index), item)).collect())
        }
        Value::Object(members) => {
            let members = members.iter().filter_map(|(name, value)| {
                let at = NAMES.iter().position(|other| other == name).unwrap();
                Some((name.clone(), below(Plain::Name(at), value)?))
            });
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn any_text_is_a_path_or_none(text in "\\PC{0,40}") {
        let _ = Path::parse(&text);
    }

    #[test]
    fn texts_like_paths_are_read_back_as_written(text in "\\$([.]?[a*\\['\"\\]0-9?:\\\\-]){0,8}") {
        if let Ok(read) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&read.to_string()), Ok(read));
        }
    }

    /// What is passed on is exactly the body without each place that a path names; nothing that one names is left.
    #[test]
    fn redaction_takes_out_what_its_paths_name_and_nothing_else(
        body in body(), paths in prop::collection::vec(steps(), 1..4)
    ) {
        let texts: Vec<_> = paths.iter().map(|steps| text(steps)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if let Ok(shaped) = redacted(&texts, body.clone()) {
            let gone = |place: &[Plain]| paths.iter().any(|path| is_at(path, place));
            prop_assert_eq!(&shaped, &without(&body, &mut Vec::new(), &gone));
        } else {
            // Withheld only where some path meets what it can't be about, or nothing where its first list should be.
            let mut found = Vec::new();
            places(&body, &mut Vec::new(), &mut found);
            let value = |place: &[Plain]| place.iter().fold(&body, |value, step| match step {
                Plain::Name(name) => &value[NAMES[*name]],
                Plain::At(index) => &value[*index],
                Plain::Each => unreachable!(),
            });
            let odd = paths.iter().any(|path| (0..path.len()).any(|length| {
                let (head, next) = (&path[..length], path[length]);
                let before_list = path.iter().position(|step| !matches!(step, Plain::Name(_)))
                    .is_some_and(|first| length < first);
                found.iter().filter(|place| is_at(head, place)).any(|place| match (value(place), next) {
                    (Value::Null, _) => false,
                    (Value::Object(members), Plain::Name(name)) =>
                        before_list && !members.contains_key(NAMES[name]),
                    (Value::Array(_), Plain::Each | Plain::At(_)) => false,
                    _ => true,
                })
            }));
            prop_assert!(odd);
        }
    }

    /// Of each list at the path: what the filter keeps, in order, the first of it; all else as it was.
    #[test]
    fn rows_are_those_the_filter_keeps(
        lists in prop::collection::vec(prop::collection::vec(0..9i64, 0..9), 0..4), max in prop::option::of(1..5usize)
    ) {
        let expected: Vec<Vec<i64>> = lists.iter().map(|list| {
            list.iter().copied().filter(|n| n % 2 == 1).take(max.unwrap_or(usize::MAX)).collect()
        }).collect();
        let shaped = cut("$.a[*].rows", max, json!({
            "a": lists.iter().map(|rows| json!({"rows": rows, "b": 1})).collect::<Vec<_>>()
        }));
        let expected: Vec<_> = expected.iter().map(|rows| json!({"rows": rows, "b": 1})).collect();
        prop_assert_eq!(shaped, Ok(json!({"a": expected})));
    }
}
