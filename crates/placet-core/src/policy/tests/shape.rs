//! `shape`: what is said of its mistakes, and where.

use super::*;

/// The errors of a rule with this shape, which begins at 3:32.
fn of(shape: &str) -> String {
    errors(&format!("policy: p\nrules:\n  - {{name: a, allow: [x], shape: {shape}}}")).join("\n")
}

#[test]
fn mistakes_in_a_shape_are_named_with_their_place() {
    for (shape, says) in [
        ("{}", "3:34 `shape` is empty: say `rows`, `redact` or `detect`, or leave it out"),
        ("5", "3:34 "),
        ("{row: []}", "3:35 unknown key `row` (did you mean `rows`?)"),
        ("{rows: []}", "3:41 the list is empty"),
        ("{rows: {at: $.a}}", "3:41 which rows come back? say `max`, `where` or both"),
        ("{rows: {max: 5}}", "`at` is missing"),
        ("{rows: {at: $.a, max: 0}}", "3:56 `max` is a whole number from 1 to 1000000"),
        ("{rows: {at: $.a, max: 1.5}}", "3:56 `max` is a whole number"),
        ("{rows: {at: $.a, max: -1}}", "3:56 `max` is a whole number"),
        ("{rows: {at: $.a, max: many}}", "3:56 "),
        ("{rows: {at: a.b, max: 1}}", "3:46 a path begins with `$`"),
        ("{rows: {at: '$.a..b', max: 1}}", "3:51 `..` is not supported"),
        ("{rows: {at: $, where: item.a >}}", "3:"),
        ("{rows: {at: $, where: params.a == 1}}", "3:56 `params.a` can't be read here"),
        (
            "{rows: {at: $, where: true && resource.uri == item.uri}}",
            "3:64 `resource.uri` can't be read here",
        ),
        ("{rows: {at: $, where: action.name == 'x'}}", "`action.name` can't be read here"),
        ("{rows: {at: $, where: context.a}}", "`context.a` can't be read here"),
        ("{rows: {at: $, where: itm.a == 1}}", "unknown name `itm`"),
        ("{rows: {at: $, where: user.nme == item.a}}", "no such field `user.nme`; did you mean `name`?"),
        ("{rows: {at: $, where: item.a + 1 == 'x' && 5}}", "must be true or false"),
        ("{rows: {at: $, where: \"item.a == '{{user.id}}'\"}}", "a template stands only in `on`"),
        ("{redact: $}", "3:43 `$` is the whole answer"),
        ("{redact: []}", "3:43 the list is empty"),
        ("{redact: [$.a, '$[?@.b]']}", "3:52 filters stand in `where`"),
        ("{redact: 5}", "3:43 "),
        ("{filter: x}", "unknown key `filter`"),
        ("{detect: {}}", "3:43 what is looked for?"),
        ("{detect: redact}", "3:43 "),
        ("{detect: {crad: redact}}", "3:44 unknown key `crad` (did you mean `card`?)"),
        ("{detect: {card: hide}}", "3:50 `card` must be one of `mark`, `redact`, `withhold`"),
        ("{detect: {card: [redact]}}", "3:50 "),
    ] {
        let found = of(shape);
        assert!(found.contains(says), "{shape}:\n{found}");
    }
    let many = vec!["$.a"; crate::shape::MOST_ENTRIES + 1].join(", ");
    assert!(of(&format!("{{redact: [{many}]}}")).contains("at most 64"));
    let deny = errors("policy: p\nrules:\n  - {name: a, deny: [x], shape: {redact: $.a}}").join("\n");
    assert_eq!(deny, "3:26 a `deny` has no `shape`: nothing that it matches may run");
}

#[test]
fn a_row_is_known_in_a_shape_only() {
    let says =
        |rule: &str| errors(&format!("policy: p\nrules:\n  - {{name: a, allow: [x], {rule}}}")).join("\n");
    for rule in [
        "when: item.a == 1",
        "limits: [{sum: item.a, max: 5, per: day}]",
        "approve: {when: 'true && item.a > 1'}",
        "when: 'params.a.all(x, x == item)'",
    ] {
        assert!(says(rule).contains("unknown name `item`"), "{rule}: {}", says(rule));
    }
    // As the name of a loop's variable it is anybody's, in a shape too.
    assert_eq!(says("when: 'params.a.all(item, item.b > 1)'"), "");
    assert_eq!(says("shape: {rows: {at: $, where: 'item.all(item, item > 1)'}}"), "");
}

#[test]
fn a_later_rule_without_the_shape_of_an_earlier_one_is_warned_about() {
    let warned = |rules: &str| {
        let source = format!("policy: p\nrules:\n{rules}");
        let (_, found) = Policy::load(source.as_bytes(), None, 1, &[]).unwrap();
        found.iter().any(|warning| warning.message.contains("lets back whole what `a` shapes"))
    };
    let first = "  - {name: a, allow: [x.y], when: params.b == 1, shape: {redact: $.c}}\n";
    assert!(warned(&format!("{first}  - {{name: b, allow: [x.*]}}")));
    assert!(!warned(&format!("{first}  - {{name: b, allow: [x.*], shape: {{redact: $.c}}}}")));
    assert!(!warned(&format!("{first}  - {{name: b, allow: [z.*]}}")));
}

#[test]
fn lists_stand_in_shapes_as_everywhere() {
    let source = "policy: p\nlists: {open: [a, b]}\nrules:\n  - {name: a, allow: [x], shape: {rows: {at: $, where: item.kind in lists.open}}}";
    let (policy, warnings) = Policy::load(source.as_bytes(), None, 1, &[]).unwrap();
    assert!(warnings.iter().all(|warning| !warning.message.contains("list")), "{warnings:?}");
    let full = policy.in_full();
    assert!(full.contains("lists.open"), "{full}");
    assert_eq!(Policy::load(full.as_bytes(), None, 1, &[]).unwrap().0.in_full(), full);
    assert!(
        of("{rows: {at: $, where: item.kind in lists.open}}").contains("there is no list `open`: state it")
    );
}

#[test]
fn what_is_said_of_a_kind_goes_before_what_is_said_of_its_group() {
    let load = |shape: &str| {
        let source = format!("policy: p\nrules:\n  - {{name: a, allow: [x], shape: {shape}}}");
        let (policy, _) = Policy::load(source.as_bytes(), None, 1, &[]).unwrap();
        let full = policy.in_full();
        assert_eq!(Policy::load(full.as_bytes(), None, 1, &[]).unwrap().0.in_full(), full);
        full
    };
    for (written, says) in [
        ("{detect: {email: mark, personal: redact}}", "detect: {personal: redact, email: mark}"),
        ("{detect: {secrets: withhold, personal: mark}}", "detect: {secrets: withhold, personal: mark}"),
        ("{detect: {card: redact}, redact: $.a}", "redact: [$.a], detect: {card: redact}"),
        ("{detect: {jwt: redact, secrets: redact}}", "detect: {secrets: redact}"),
    ] {
        let full = load(written);
        assert!(full.replace('"', "").contains(says), "{written}: {full}");
    }
}
