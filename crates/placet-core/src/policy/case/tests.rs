//! Tests of tests.

use super::*;
use crate::policy::fixture::policy;
use serde_json::json;

const DESK: &str = r#"
policy: desk
applies_to: {agents: ["support-*"], labels: {team: support}}
rules:
  - name: small refunds
    allow: [refunds.create]
    on: ["order://customer:{{user.id}}/*"]
    when:
      - params.amount <= 500
      - params.currency == "USD"
    limits:
      - {count: 5, per: day}
      - {sum: params.amount, max: 2000, per: day}
    approve: {when: params.amount > 100, by: ["role:support-lead"]}
  - name: reading
    allow: [orders.read]
  - name: office hours
    guard: [refunds.create]
    hours: {days: mon-fri, from: "09:00", to: "17:00", zone: UTC}
  - name: no bulk
    deny: [refunds.bulk]
"#;

fn load(tests: &str) -> Result<Suite, String> {
    let loaded = Suite::load(tests.as_bytes(), Some("desk.test.yaml"), vec![policy(DESK)], Vec::new());
    match loaded {
        Ok((suite, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            Ok(suite)
        }
        Err(found) => Err(found.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n")),
    }
}

/// The differences of each case, by its name.
fn run(tests: &str) -> Vec<(String, Vec<Difference>)> {
    let suite = load(tests).unwrap_or_else(|found| panic!("{found}"));
    let cases = suite.cases().iter();
    cases.map(|case| (case.name.clone(), case.differences(&case.decide(suite.policies())))).collect()
}

#[test]
fn the_smallest_test_is_five_lines() {
    let tests = "policies: [desk.yaml]
tests:
  - when: {action: orders.read, resource: \"order://7\"}
    then: allow
";
    assert_eq!(run(tests), [("test 1".to_owned(), Vec::new())]);
}

const TESTS: &str = r#"
policies: [desk.yaml]
given:
  user: {name: ada, roles: [customer]}
  now: 2026-01-05T12:00:00Z
tests:
  - name: a small one
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40, currency: USD}}
    then: {decision: allow, rule: small refunds}
  - name: a larger one asks
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 101, currency: USD}}
    then: {decision: hold, reasons: [approval_required], rule: small refunds}
  - name: too large
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 501, currency: USD}}
    then:
      decision: deny
      reasons: [condition_failed]
      rule: small refunds
      remedy: {params.amount: {max: 500.0}}
  - name: the sixth of a day
    given: {ledger: [{rule: small refunds, limit: count, used: 5}]}
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40, currency: USD}}
    then: {decision: deny, reasons: [limit_exceeded], rule: small refunds, remedy: {retry_at: 2026-01-06T00:00:00Z}}
  - name: the sum just fits
    given: {ledger: [{rule: small refunds, limit: 2, used: 1960}, {rule: small refunds, limit: count, used: 4}]}
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40, currency: USD}}
    then: allow
  - name: the sum does not fit
    given: {ledger: {policy: desk, rule: small refunds, limit: sum, used: 1960.000001}}
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40, currency: USD}}
    then: {decision: deny, reasons: limit_exceeded}
  - name: somebody else's order
    when: {action: refunds.create, resource: "order://customer:42/7", params: {amount: 40, currency: USD}}
    then: {decision: deny, reasons: [no_rule]}
  - name: at night
    given: {now: 2026-01-05T17:00:00Z}
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40, currency: USD}}
    then: {decision: deny, reasons: [outside_hours], rule: office hours}
  - name: another team
    given: {agent: {labels: {team: sales}}}
    when: {action: orders.read, resource: "order://7"}
    then: {decision: deny, reasons: [no_rule]}
  - name: beyond the grant
    given: {grant: {tools: [refunds.*]}}
    when: {action: orders.read, resource: "order://7"}
    then: {decision: deny, reasons: [not_granted]}
  - name: a child of another agent
    given:
      agent: {handle: helper, labels: {}}
      parent: {agent: support-1, grant: {limits: [{count: 3, per: day}]}}
      ledger: [{rule: limits, used: 2}]
    when: {action: orders.read, resource: "order://7"}
    then: {decision: deny, reasons: [no_rule]}
  - name: no currency
    when: {action: refunds.create, resource: "order://customer:{{user.id}}/7", params: {amount: 40}}
    then: {decision: deny, reasons: [condition_unknown]}
  - name: bulk
    when: {action: refunds.bulk, resource: "order://7"}
    then: {decision: deny, reasons: [forbidden, no_rule]}
"#;

#[test]
fn what_is_given_is_what_is_decided_on() {
    for (name, differences) in run(TESTS) {
        assert_eq!(differences, [], "{name}");
    }
}

#[test]
fn each_expectation_can_fail() {
    let wrong = [
        ("then: {decision: allow, rule: small refunds}", "then: deny", "decision"),
        ("then: {decision: allow, rule: small refunds}", "then: {decision: allow, rule: reading}", "rule"),
        (
            "then: {decision: deny, reasons: [not_granted]}",
            "then: {decision: deny, reasons: [no_rule]}",
            "reasons",
        ),
        ("{max: 500.0}", "{max: 501}", "remedy"),
        ("then: {decision: deny, reasons: limit_exceeded}", "then: {decision: deny, reasons: []}", "reasons"),
        ("retry_at: 2026-01-06T00:00:00Z", "retry_at: 2026-01-07T00:00:00Z", "remedy"),
        ("used: 1960.000001", "used: 1960", "decision"),
    ];
    for (right, wrong, of) in wrong {
        assert!(TESTS.contains(right), "{right}");
        let found = run(&TESTS.replacen(right, wrong, 1));
        let failed: Vec<_> = found.iter().flat_map(|(_, differences)| differences).map(|it| it.of).collect();
        assert!(failed.contains(&of) && failed.len() <= 2, "{wrong}: {failed:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let cases = [
        ("then: allow\n", "than: allow\n", "unknown key `than`", "did you mean `then`?"),
        (
            "rule: small refunds}\n",
            "rule: smal refunds}\n",
            "no policy of this file has a rule `smal refunds`",
            "did you mean `small refunds`?",
        ),
        ("[no_rule]", "[no_rules]", "`no_rules` is no code of a reason", "did you mean `no_rule`?"),
        (
            "decision: hold",
            "decision: held",
            "must be one of `allow`, `deny`, `hold`",
            "did you mean `hold`?",
        ),
        ("limit: count, used: 5", "used: 5", "has several such limits", "say which"),
        ("limit: count, used: 5", "limit: rate, used: 5", "has no such limit", ""),
        ("limit: count, used: 5", "limit: count, used: 5.5", "so much can't be used", ""),
        ("limit: count, used: 5", "limit: count, used: -1", "so much can't be used", ""),
        ("order://customer:42/7", "order://customer:{{task.id}}/7", "nothing is given that fills this", ""),
        ("order://customer:42/7", "order://customer:{{use.id}}/7", "`use.id` can't be filled in", ""),
        ("now: 2026-01-05T17:00:00Z", "now: today", "not an RFC 3339 time", ""),
        ("{tools: [refunds.*]}", "{tool: [refunds.*]}", "unknown key `tool`", "did you mean `tools`?"),
        ("name: at night", "name: bulk", "the name `bulk` is used twice", "the first is on line"),
        ("resource: \"order://customer:42/7\", ", "", "nothing says on which resource", "state `resource`"),
        ("policy: desk", "policy: disk", "this file has no policy `disk`", "did you mean `desk`?"),
    ];
    for (right, wrong, message, help) in cases {
        assert!(TESTS.contains(right), "{right}");
        let found = load(&TESTS.replacen(right, wrong, 1)).unwrap_err();
        assert!(found.contains(message) && found.contains(help), "{wrong}:\n{found}");
        assert!(found.contains(" --> desk.test.yaml:") && found.contains("^"), "{found}");
    }
}

#[test]
fn coverage_says_what_no_test_has_seen() {
    let suite = load(TESTS).unwrap();
    let mut coverage = Coverage::of(suite.policies());
    assert_eq!((coverage.seen, coverage.percent()), (0, 0));
    for case in suite.cases() {
        coverage.add(&case.decide(suite.policies()).trace);
    }
    let rule = |name: &str| coverage.policies[0].rules.iter().find(|rule| rule.rule == name).unwrap();
    assert_eq!(rule("small refunds").unseen, [r#"params.currency == "USD": false"#]);
    assert_eq!(rule("office hours").unseen, [] as [&str; 0]);
    assert_eq!((rule("no bulk").held, rule("no bulk").seen, rule("no bulk").of), (1, 1, 1));
    assert_eq!((coverage.seen, coverage.of), (15, 16));
    assert!(coverage.is_at_least(93) && !coverage.is_at_least(94));
    let again = coverage.clone();
    coverage.merge(again);
    assert_eq!((coverage.seen, coverage.of), (15, 16));
}

#[test]
fn a_decision_is_told_as_a_tree() {
    let suite = load(TESTS).unwrap();
    let told = |name: &str| {
        let decided = suite.find(name).unwrap().decide(suite.policies());
        let json = serde_json::to_value(&decided.trace).unwrap();
        let back: Trace = serde_json::from_value(json).unwrap();
        let short = |reason: &Reason| (reason.code.as_str().to_owned(), reason.rule.clone());
        let reasons: Vec<_> = decided.reasons.iter().map(short).collect();
        let decision = json!(decided.decision);
        let text = back.render(decision.as_str().unwrap(), &reasons);
        assert_eq!(text, decided.trace.render(decision.as_str().unwrap(), &reasons));
        text
    };
    insta::assert_snapshot!(told("a larger one asks"), @r#"
    hold: approval_required (small refunds)
    ├─ grant of support-test: permits the action
    ├─ registration of support-test: permits the action
    └─ agent support-test: its policies allow the action
       └─ policy desk@1
          ├─ allow "small refunds": chosen
          │  ├─ true: params.amount <= 500   [params.amount = 101]
          │  ├─ true: params.currency == "USD"   [params.currency = "USD"]
          │  ├─ fits: count: 5, per: day   [0 of 5 used, this adds 1]
          │  ├─ fits: sum: params.amount, max: 2000, per: day   [0 of 2000 used, this adds 101]
          │  └─ asks people: role:support-lead
          │     └─ true: params.amount > 100   [params.amount = 101]
          ├─ guard "office hours": holds
          │  └─ true: hours: mon-fri 09:00-17:00 UTC
          └─ about other actions: reading, no bulk
    "#);
    insta::assert_snapshot!(told("the sum does not fit"), @r#"
    deny: limit_exceeded (small refunds)
    ├─ grant of support-test: permits the action
    ├─ registration of support-test: permits the action
    └─ agent support-test: its policies allow the action
       └─ policy desk@1
          ├─ allow "small refunds": chosen
          │  ├─ true: params.amount <= 500   [params.amount = 40]
          │  ├─ true: params.currency == "USD"   [params.currency = "USD"]
          │  ├─ fits: count: 5, per: day   [0 of 5 used, this adds 1]
          │  ├─ used up: sum: params.amount, max: 2000, per: day   [1960.000001 of 2000 used, this adds 40]
          │  └─ asks nobody
          │     └─ false: params.amount > 100   [params.amount = 40]
          ├─ guard "office hours": holds
          │  └─ true: hours: mon-fri 09:00-17:00 UTC
          └─ about other actions: reading, no bulk
    "#);
    insta::assert_snapshot!(told("too large"), @r#"
    deny: condition_failed (small refunds)
    ├─ grant of support-test: permits the action
    ├─ registration of support-test: permits the action
    └─ agent support-test: none of its policies allows the action
       └─ policy desk@1
          ├─ allow "small refunds": does not hold
          │  ├─ false: params.amount <= 500   [params.amount = 501]
          │  └─ true: params.currency == "USD"   [params.currency = "USD"]
          ├─ guard "office hours": holds
          │  └─ true: hours: mon-fri 09:00-17:00 UTC
          └─ about other actions: reading, no bulk
    "#);
    insta::assert_snapshot!(told("a child of another agent"), @r#"
    deny: no_rule
    ├─ grant of helper: permits the action
    ├─ registration of helper: permits the action
    ├─ grant of support-1: permits the action
    ├─ registration of support-1: permits the action
    ├─ agent helper: no policy applies to it
    └─ agent support-1: its policies allow the action
       ├─ policy desk@1
       │  ├─ allow "reading": chosen
       │  └─ about other actions: small refunds, office hours, no bulk
       └─ fits: count: 3, per: day   [2 of 3 used, this adds 1]
    "#);
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z:{}\\[\\]\"'\n ,.*/0-9-]{0,200}") {
            let _ = Needs::read(text.as_bytes(), None);
            let _ = Suite::load(text.as_bytes(), None, vec![policy(DESK)], Vec::new());
        }

        #[test]
        fn no_change_of_a_file_of_tests_panics(at in 0..TESTS.len(), long in 0..40_usize, with in "\\PC{0,12}") {
            let end = (at + long).min(TESTS.len());
            let mut text = TESTS.as_bytes().to_vec();
            text.splice(at..end, with.into_bytes());
            if let Ok((suite, _)) = Suite::load(&text, None, vec![policy(DESK)], Vec::new()) {
                for case in suite.cases() {
                    let _ = case.differences(&case.decide(suite.policies()));
                }
            }
        }
    }
}

#[test]
fn a_shown_expectation_is_what_was_written() {
    let suite = load(TESTS).unwrap();
    let shown = suite.find("too large").unwrap().expected.shown();
    let written = json!({"decision": "deny", "reasons": ["condition_failed"], "rule": "small refunds",
                         "remedy": {"params.amount": {"max": 500.0}}});
    assert_eq!(shown, written);
}

/// What changes between two policies, as `before → after` with the parameters, by the probes made from both.
fn changes(before: &str, after: &str) -> Vec<(Outcome, Outcome, serde_json::Value)> {
    let (before, after) = (policy(before), policy(after));
    let [one, other] = [&before, &after].map(|policy| PolicySet::new(vec![policy.clone()]));
    let found = probes(&[&before, &after], &[]).into_iter().filter_map(|probe| {
        // Where there is no user a resource of theirs is no resource.
        let (before, after) = Case::from_json(&probe, &[]).ok()?.change(&one, &other)?;
        Some((before, after, probe))
    });
    found.collect()
}

#[test]
fn probes_find_what_a_change_of_a_policy_does() {
    assert_eq!(changes(DESK, DESK), []);
    let edits = [
        ("params.amount <= 500", "params.amount < 500", Verdict::Hold, Verdict::Deny),
        ("params.amount <= 500", "params.amount <= 5000", Verdict::Deny, Verdict::Hold),
        ("params.amount > 100", "params.amount >= 100", Verdict::Allow, Verdict::Hold),
        ("\"USD\"", "\"EUR\"", Verdict::Allow, Verdict::Deny),
        ("order://customer:{{user.id}}/*", "order://customer:{{user.id}}/**", Verdict::Deny, Verdict::Allow),
        ("to: \"17:00\"", "to: \"17:01\"", Verdict::Deny, Verdict::Hold),
        ("mon-fri", "mon-sat", Verdict::Deny, Verdict::Hold),
        ("deny: [refunds.bulk]", "allow: [refunds.bulk]", Verdict::Deny, Verdict::Allow),
        ("team: support", "team: [support, sales]", Verdict::Deny, Verdict::Allow),
        ("\"support-*\"", "\"support-*\", helper", Verdict::Deny, Verdict::Allow),
    ];
    for (right, edited, before, after) in edits {
        assert!(DESK.contains(right), "{right}");
        let found = changes(DESK, &DESK.replacen(right, edited, 1));
        assert!(
            found.iter().any(|(one, other, _)| (one.decision, other.decision) == (before, after)),
            "{edited}: {found:#?}"
        );
        let back = changes(&DESK.replacen(right, edited, 1), DESK);
        assert!(
            back.iter().any(|(one, other, _)| (other.decision, one.decision) == (before, after)),
            "{edited}"
        );
    }
    let found = changes(DESK, &DESK.replacen("max: 2000", "max: 3000", 1));
    assert!(!found.is_empty());
    assert!(found.iter().all(|(one, other, _)| one.decision == other.decision && one.limits != other.limits));
    let found = changes(DESK, &DESK.replacen("support-lead", "boss", 1));
    assert!(!found.is_empty() && found.iter().all(|(one, other, _)| one.asks != other.asks));
    let found = changes(
        DESK,
        &DESK.replacen("by: [\"role:support-lead\"]", "count: 2, by: [\"role:support-lead\"]", 1),
    );
    assert!(!found.is_empty() && found.iter().all(|(one, other, _)| one.asks != other.asks));
    // The very boundary is among them.
    let found = changes(DESK, &DESK.replacen("<= 500", "< 500", 1));
    assert!(found.iter().all(|(_, _, probe)| probe["when"]["params"]["amount"] == 500), "{found:#?}");
}

#[test]
fn a_change_of_what_comes_back_is_a_change() {
    let desk = |shape: &str, list: &str| {
        format!(
            "policy: p\nlists: {{open: [{list}]}}\nrules:\n  - {{name: a, allow: [orders.list]{shape}}}\n  - {{name: g, guard: [x], when: params.b in lists.open}}"
        )
    };
    let says = |before: &str, after: &str| -> Vec<(Vec<String>, Vec<String>)> {
        let all = changes(&desk(before, "a"), &desk(after, "a"));
        assert!(all.iter().all(|(one, other, _)| one.decision == other.decision));
        all.into_iter()
            .map(|(one, other, _)| (Vec::from_iter(one.shapes), Vec::from_iter(other.shapes)))
            .collect()
    };
    let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let of = |shape: &str| format!(", shape: {shape}");
    let rows = of("{rows: {at: $.o, max: 5, where: item.a == 1}, redact: '$.o[*].card'}");
    let all = text(&["of $.o at most 5", "of $.o those where item.a == 1", "without $.o[*].card"]);
    assert_eq!(says("", &rows)[0], (Vec::new(), all.clone()));
    assert_eq!(says(&rows, "")[0], (all.clone(), Vec::new()));
    assert_eq!(says(&rows, &rows.replace("max: 5", "max: 6"))[0].1[0], "of $.o at most 6");
    assert_eq!(says(&rows, &rows.replace("card", "cards"))[0].1[2], "without $.o[*].cards");
    assert!(!says(&rows, &rows.replace("== 1", "== 2")).is_empty());
    assert_eq!(says(&rows, &rows), []);
    // How it is said is no change.
    let apart =
        of("{rows: [{at: $.o, max: 5}, {at: \"$['o']\", where: [item.a == 1]}], redact: ['$.o[*].card']}");
    assert_eq!(says(&rows, &apart), []);
    // Another list under the same name is.
    let listed = of("{rows: {at: $.o, where: item.a in lists.open}}");
    assert_eq!(changes(&desk(&listed, "a"), &desk(&listed, "a")), []);
    let found = changes(&desk(&listed, "a"), &desk(&listed, "a, b"));
    assert!(found.iter().any(|(_, _, probe)| probe["when"]["action"] == "orders.list"), "{found:?}");
    let counted = ", limits: [{count: 1, per: day, by: 'params.a in lists.open ? \"a\" : \"b\"'}]";
    assert_eq!(changes(&desk(counted, "a"), &desk(counted, "a")), []);
    assert!(!changes(&desk(counted, "a"), &desk(counted, "a, b")).is_empty());
}

#[test]
fn what_rests_on_an_unread_fact_is_denied_as_the_server_denies_it() {
    let text = "
service: shop
base_url: http://127.0.0.1:1
auth: {type: bearer}
actions:
  a.x:
    method: POST
    path: /x/{id}
    resource: r://h/{id}
    effect: write
    resolve:
      one: {path: '/x/{id}', facts: {owner: {at: /owner, type: string}}}
";
    let service = Service::parse(text.as_bytes(), None).unwrap().0;
    let rules = "policy: p\nrules:\n  - {name: own, allow: [a.x], when: resource.owner == 'me', limits: [{count: 1, per: day}]}\n  - {name: any, allow: [a.x]}";
    let policies = PolicySet::new(vec![policy(rules)]);
    let decide = |services: &[Service], facts: serde_json::Value| {
        let test = json!({
            "given": {"agent": "bot", "facts": facts}, "then": "allow",
            "when": {"action": "a.x", "resource": "r://h/1", "params": {"id": "1"}},
        });
        let decided = Case::from_json(&test, services).unwrap().decide(&policies);
        (decided.decision, decided.reasons.first().map(|reason| reason.code.as_str()))
    };
    let services = [service];
    assert_eq!(decide(&services, json!({})), (Verdict::Deny, Some("condition_unknown")));
    assert_eq!(decide(&services, json!({"owner": "me"})).0, Verdict::Allow);
    assert_eq!(decide(&services, json!({"owner": "you"})).0, Verdict::Allow);
    // Nothing says that there is such a fact.
    assert_eq!(decide(&[], json!({})).0, Verdict::Allow);
}
