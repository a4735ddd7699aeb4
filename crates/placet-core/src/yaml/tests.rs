use super::*;
use crate::diagnostic::Severity;
use proptest::prelude::*;
use serde_json::json;

fn tree(text: &str) -> Node {
    match parse(text.as_bytes(), None) {
        Ok((node, _)) => node,
        Err(found) => panic!("{}", found.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n")),
    }
}

fn errors(text: impl AsRef<[u8]>) -> Vec<String> {
    let found = parse(text.as_ref(), None).expect_err("must be refused");
    assert!(found.iter().all(|one| one.severity == Severity::Error));
    found
        .iter()
        .map(|one| format!("{}: {}", one.position.map(|at| at.to_string()).unwrap_or_default(), one.message))
        .collect()
}

fn at(line: usize, column: usize) -> Position {
    Position { line, column }
}

#[test]
fn scalars_are_json_or_strings() {
    let text = "
a: [yes, no, on, off, True, NULL, 09:00, 1_000, 0o17, 0x1F, .5, 1., +1, 01, .inf, 2024-01-01, '1', \"true\"]
b: [true, false, null, ~, 0, -1, 1.50, 1e400, -0.0, 123456789012345678901234567890]
c:
";
    let value = to_json(&tree(text));
    assert!(value["a"].as_array().unwrap().iter().all(serde_json::Value::is_string), "{value}");
    assert_eq!(
        serde_json::to_string(&value["b"]).unwrap(),
        "[true,false,null,null,0,-1,1.50,1e+400,-0.0,123456789012345678901234567890]"
    );
    assert_eq!(value["c"], json!(null));
}

#[test]
fn json_is_yaml_and_has_positions() {
    let text = "{\"a\":[1,{\"b\":\"x\\n\\u00e9\\/\\\"\"}],\n\t\"c\" : true,\"d\":{},\"e\":[]}";
    let node = tree(text);
    assert_eq!(to_json(&node), serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(node.get("c").unwrap().position, at(2, 8));
    let Yaml::List(items) = &node.get("a").unwrap().value else { panic!() };
    assert_eq!(items[1].get("b").unwrap().position, at(1, 14));
}

#[test]
fn surrogates_of_json_are_one_character() {
    let text = r#"{"a": "\ud83d\uDE00 \\ud83d\\ude00 \u00e9", "\uD834\uDD1E": 1}"#;
    assert_eq!(to_json(&tree(text)), serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(
        to_json(&tree(r"a: '\ud83d\ude00'")),
        json!({"a": r"\ud83d\ude00"}),
        "not in YAML's own strings"
    );
    errors(r#"{"a": "\ud83d"}"#);
    errors(r#"{"a": "\ude00\ud83d"}"#);
}

#[test]
fn a_place_in_a_string_is_found() {
    let text = "é: a + bad
s: 'it''s bad'
d: \"\\u00e9\\\"\\x41 bad\"
l: |
  one
    two bad
f: >
  one
  bad
m: one
  bad
j: [x bad, \"bad\"]
";
    let node = tree(text);
    let place = |key: &str| {
        let node = node.get(key).unwrap();
        let Yaml::String(value) = &node.value else { panic!() };
        node.position_within(value.find("bad").unwrap())
    };
    assert_eq!(place("é"), at(1, 8));
    assert_eq!(place("s"), at(2, 11));
    assert_eq!(place("d"), at(3, 18));
    assert_eq!(place("l"), at(6, 9));
    assert_eq!(place("f"), node.get("f").unwrap().position);
    assert_eq!(place("m"), at(10, 4));
    let Yaml::List(items) = &node.get("j").unwrap().value else { panic!() };
    assert_eq!(items[0].position_within(2), at(12, 7));
    assert_eq!(items[1].position_within(0), at(12, 13));
    assert_eq!(items[1].position_within(999), at(12, 12), "beyond the end: the beginning");
}

#[test]
fn what_is_ambiguous_is_refused_with_its_place() {
    assert_eq!(errors("a: 1\nb: 2\na: 3\n"), ["3:1: duplicate key `a`, first at 1:1"]);
    assert_eq!(errors("{\"a\":1,\n \"\\u0061\":2}"), ["2:2: duplicate key `a`, first at 1:2"]);
    assert_eq!(
        errors("a: &x 1\nb: *x\n"),
        [
            "1:4: anchors are not supported; write the value out",
            "2:4: aliases are not supported; write the value out"
        ]
    );
    assert_eq!(errors("a: !!str 1\n"), ["1:4: tags are not supported"]);
    assert_eq!(errors("<<: {a: 1}\n"), ["1:1: merge keys are not supported; write the entries out"]);
    assert_eq!(errors("a: 1\n---\nb: 2\n"), ["2:1: a second document begins here; only one is read"]);
    assert_eq!(
        errors("404: x\ntrue: y\n~: z\n"),
        [
            "1:1: a key must be a string, not `404`",
            "2:1: a key must be a string, not `true`",
            "3:1: a key must be a string, not `~`"
        ]
    );
    assert_eq!(errors("? [a]\n: b\n"), ["1:3: a key must be a string, not a list or a map"]);
    assert_eq!(errors("? {a: b}\n: b\n"), ["1:3: a key must be a string, not a list or a map"]);
    assert_eq!(errors(""), ["1:1: the document is empty"]);
    assert_eq!(errors("# only a comment\n"), ["1:1: the document is empty"]);
    assert_eq!(errors(b"a: x\nb: \xff\n"), ["2:4: the document is not UTF-8"]);
    assert_eq!(to_json(&tree("\u{feff}a: 1")), json!({"a": 1}));
    assert_eq!(to_json(&tree("'<<': 1\n'1': 2\n")), json!({"<<": 1, "1": 2}));
}

#[test]
fn size_and_depth_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes(), None).is_ok());
    assert_eq!(errors(nested(MAX_DEPTH + 1)), ["1:33: nested deeper than 32 levels"]);
    for bomb in ["[", "{", "- ", "? ", "[{", "a: ", "!", "&a ", "\"\\", "{a: ["] {
        let text = bomb.repeat(200_000 / bomb.len());
        assert!(parse(text.as_bytes(), None).is_err(), "{bomb}");
    }
    assert_eq!(errors(vec![b' '; MAX_SOURCE + 1]), [": the document has more than 1048576 bytes"]);
    let longest = format!("[{}1]", "1,".repeat(MAX_SOURCE / 2 - 2));
    assert!(parse(longest.as_bytes(), None).is_ok());
}

#[test]
fn readers_report_everything_they_find() {
    let text = "policy: 7
mode: obsreve
ruels: []
list: [a, 1, {}]
port: 70000
flag: yes
";
    let (node, report) = parse(text.as_bytes(), Some("p.yaml")).unwrap();
    let map = node.as_map(&report).unwrap();
    assert_eq!(map.required("policy").and_then(|it| it.text()), None);
    assert_eq!(map.required("mode").and_then(|it| it.one_of(&["enforce", "observe"])), None);
    assert_eq!(map.required("list").and_then(|it| it.strings()).unwrap().len(), 1);
    assert_eq!(map.required("port").and_then(|it| it.integer(0, 65535)), None);
    assert_eq!(map.required("flag").and_then(|it| it.bool()), None);
    assert!(map.required("rules").is_none());
    assert!(map.optional("on").is_none());
    map.finish(&["policy", "mode", "rules", "list", "port", "flag"]);
    let text = report.into_diagnostics().iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text, @r"
    error: `rules` is missing
     --> p.yaml:1:1
      |
    1 | policy: 7
      | ^
    error: `policy` must be a string, not the number `7`
     --> p.yaml:1:9
      |
    1 | policy: 7
      |         ^
      = help: put it in quotes
    error: `mode` must be one of `enforce`, `observe`, not `obsreve`
     --> p.yaml:2:7
      |
    2 | mode: obsreve
      |       ^
      = help: did you mean `observe`?
    error: unknown key `ruels`
     --> p.yaml:3:1
      |
    3 | ruels: []
      | ^
      = help: did you mean `rules`?
    error: `list[1]` must be a string, not the number `1`
     --> p.yaml:4:11
      |
    4 | list: [a, 1, {}]
      |           ^
      = help: put it in quotes
    error: `list[2]` must be a string, not a map
     --> p.yaml:4:14
      |
    4 | list: [a, 1, {}]
      |              ^
    error: `port` must be a whole number from 0 to 65535, not the number `70000`
     --> p.yaml:5:7
      |
    5 | port: 70000
      |       ^
    error: `flag` must be `true` or `false`, not the string `yes`
     --> p.yaml:6:7
      |
    6 | flag: yes
      |       ^
    ");
}

proptest! {
    #[test]
    fn any_json_reads_as_itself(value in json_value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(to_json(&tree(&text)), value.clone());
        let text = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(to_json(&tree(&text)), value);
    }

    #[test]
    fn every_character_of_a_json_string_is_found(text in "\\PC{0,20}[\"\\\\\n\t]?\\PC{0,5}") {
        let source = format!("{{\"k\": {}}}", serde_json::to_string(&text).unwrap());
        let node = tree(&source);
        let node = node.get("k").unwrap();
        for (offset, c) in text.char_indices() {
            let place = node.position_within(offset);
            let found = source.chars().nth(place.column - 1).unwrap();
            prop_assert!(found == c || found == '\\', "{source} {place} {c:?} {found:?}");
        }
    }

    #[test]
    fn no_input_panics(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \t\r\na0é]|- |: |\\? |\n  ){0,40}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok((node, _)) = parse(text.as_bytes(), None) {
            to_json(&node);
        }
        let _ = parse(&bytes, None);
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        (-1e9..1e9f64).prop_map(|it| json!(it)),
        "[\\PC\n\"\\\\]{0,12}".prop_map(|it| json!(it)),
        prop::sample::select(vec!["on", "null", "1", "~", "- a", "a: b", "#", "|", "<<"])
            .prop_map(|it| json!(it)),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|it| json!(it)),
            prop::collection::btree_map("[\\PC\"]{0,6}", inner, 0..5).prop_map(|it| json!(it)),
        ]
    })
}

/// What the parser that knows all of YAML makes of a text.
fn in_general(text: &str) -> Option<Node> {
    let report = Report::new(None, text);
    parse::tree(text, &report, false).filter(|_| !report.has_errors())
}

#[test]
fn usual_documents_are_read_in_one_pass() {
    let text = "# A policy.
policy: desk # its name
applies_to: {agents: ['support-*', \"x\"], labels: {team: [a, b]}}
mode:   enforce
rules:
  - {name: r0, allow: [orders.read], on: ['order://customer:{{user.id}}/**'], when: [
      params.amount <= 500, # the first
      \"params.currency == \\\"USD\\\"\",
      'it''s' ]}
  -   name: second
      allow:
      - a.b
      - c.*

      on: order://customer:42/#x
      limits:
        - {count: 5, per: day, zone: America/New_York}
        -
          count: -1.5e3
          max: null
  - - nested
    - [[], {}]
record: {\"keep\":90d, \"a\":{\"b\":[1,2]}}
last: true";
    let read = usual::tree(text).expect("it is of the usual kind");
    assert_eq!(Some(read), in_general(text));
    for kept in ["../../examples/policies/support-desk.yaml", "../../examples/services/shop.yaml"] {
        let text = std::fs::read_to_string(kept).unwrap();
        assert!(!text.is_ascii() || usual::tree(&text).is_some() || text.contains(['|', '>']), "{kept}");
    }
}

#[test]
fn what_is_not_usual_is_left_to_the_parser_that_knows_all() {
    for text in [
        "",
        "a:",
        "a: |\n  x",
        "a: b\n  c",
        "a: 'b\n  c'",
        "a: &x 1",
        "a: *x",
        "a: !t b",
        "a: b\na: c",
        "<<: {a: 1}",
        "1: a",
        "a: b\n---\nc: d",
        "a: [b",
        "a: [b: c]",
        "a: {b, c: d}",
        "a: b: c",
        "a: 'b' c",
        "a: é",
        "a:\tb",
        "a: \"\\x41\"",
        "- a\nb: c",
        "a:\n  b: c\n d: e",
        "{a: 1}\nb: 2",
        "? a",
        "a: [b,\nc]",
        "%YAML 1.2\n---\na: b",
        "a: b\n...",
        "a: [x -]",
        "{y\":[]}",
        "{y':1}",
    ] {
        assert_eq!(usual::tree(text), None, "{text}");
    }
}

/// Texts of what documents are made of, in lines of any indentation.
fn documents() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b:",
        "a: ",
        "b: ",
        ": ",
        ":",
        "- ",
        "-",
        "- - ",
        "x y",
        "\"q\"",
        "'q'",
        "\"a\": ",
        "\"a\":",
        "'it''s'",
        "\"\\\"\\n\\/\"",
        "\"\\x41\"",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ",",
        "[a, b]",
        "{a: b}",
        "{\"a\":1}",
        "[]",
        "{}",
        "\n",
        "\n",
        "\n  ",
        "\n  ",
        "\n    ",
        "\n ",
        " ",
        "#",
        " # c",
        "null",
        "~",
        "1",
        "-1.5e3",
        "01",
        "true",
        "<<: ",
        "---",
        "...",
        "%",
        "|",
        ">",
        "&a ",
        "*a",
        "!t ",
        "? ",
        "@",
        "`",
        "\\",
        "'",
        "\"",
        "order://x:1/**",
        "09:00",
        "{{user.id}}",
        "é",
        "\t",
        "\r\n",
        "k0: v",
        "k1: v",
        "k2: ",
        "- k3: v",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Documents that are sound, laid out in one of the ways that people lay them out, and now and then damaged.
fn laid_out() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "a",
        "x y",
        "'q'",
        "\"q # r\"",
        "1",
        "a:b",
        "a#b",
        "null",
        "\"a\\\"b\"",
        "'it''s'",
        "-x",
    ]);
    let leaf = scalar.prop_map(|text| vec![text.to_owned()]);
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        let list = (prop::collection::vec(inner.clone(), 1..4), any::<bool>()).prop_map(|(items, flow)| {
            if flow
                && items
                    .iter()
                    .all(|item| item.len() == 1 && !item[0].starts_with("- ") && !item[0].contains(": "))
            {
                let items: Vec<String> = items.iter().map(|item| item[0].clone()).collect();
                return vec![format!("[{}]", items.join(", "))];
            }
            let entry = |item: &Vec<String>| {
                let line = |(index, line): (usize, &String)| {
                    format!("{}{line}", if index == 0 { "- " } else { "  " })
                };
                item.iter().enumerate().map(line).collect::<Vec<_>>()
            };
            items.iter().flat_map(entry).collect()
        });
        let map = (prop::collection::vec(inner, 1..4), 0..3_usize).prop_map(|(items, indent)| {
            let entry = |(index, item): (usize, &Vec<String>)| match &**item {
                [line] if !line.starts_with("- ") && !line.contains(": ") => {
                    vec![format!("k{index}: {line}")]
                }
                lines => {
                    // Lists may stand below their key without indentation.
                    let indent = if lines[0].starts_with("- ") { indent } else { indent + 1 };
                    let below = lines.iter().map(|line| format!("{}{line}", " ".repeat(indent)));
                    std::iter::once(format!("k{index}:")).chain(below).collect()
                }
            };
            items.iter().enumerate().flat_map(entry).collect()
        });
        prop_oneof![list, map]
    });
    let damage = prop::option::of((
        any::<prop::sample::Index>(),
        prop::sample::select(vec![" ", "\n", ":", "- ", "#", "'", "]", ","]),
    ));
    (value, damage).prop_map(|(lines, damage)| {
        let mut text = lines.join("\n");
        if let Some((at, damage)) = damage {
            text.insert_str(at.index(text.len() + 1), damage);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_read_in_one_pass_is_what_the_parser_reads(text in prop_oneof![documents(), laid_out()]) {
        if let Some(read) = usual::tree(&text) {
            prop_assert_eq!(Some(read), in_general(&text));
        }
    }
}
