//! What is said of rules that can't do what they say, and that it is true.

use crate::{
    diagnostic::Diagnostic,
    judge::Verdict,
    policy::{
        Policy,
        compare::tests::{RuleText, judgements, rule_text},
    },
    service::Service,
};
use proptest::prelude::*;

fn warnings(source: &str, services: &[&Service]) -> Vec<Diagnostic> {
    let (_, found) = Policy::load(source.as_bytes(), Some("p.yaml"), 1, services).unwrap();
    let known = |it: &Diagnostic| !it.message.starts_with("no service declares");
    found.into_iter().filter(known).collect()
}

fn said(rules: &str, services: &[&Service]) -> String {
    let found = warnings(&format!("policy: p\nrules:\n{rules}"), services);
    found.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n")
}

fn shop() -> Service {
    let text = "service: shop
base_url: https://shop.example
auth: {type: bearer}
actions:
  refunds.create:
    method: POST
    path: /customers/{customer_id}/orders/{order_id}/refunds
    resource: order://customer:{customer_id}/{order_id}
    effect: money
    params:
      type: object
      properties:
        customer_id: {type: string}
        order_id: {type: string}
        amount: {type: number, exclusiveMinimum: 0, maximum: 1000}
        items: {type: integer, minimum: 1}
        currency: {enum: [USD, EUR]}
";
    match Service::parse(text.as_bytes(), None) {
        Ok((service, _)) => service,
        Err(found) => panic!("{}", found[0].render()),
    }
}

#[test]
fn conditions_that_never_hold_are_named() {
    insta::assert_snapshot!(said(
        "  - name: gap
    allow: [x]
    when:
      - params.amount > 500
      - params.amount < 100
  - {name: twice, guard: [x], when: \"params.to == 'a' && params.cc == 'b' && params.to == 'b'\"}
  - {name: none, deny: [x], when: \"params.currency in ['USD'] && params.currency in ['EUR', 'GBP']\"}
  - {name: not, allow: [x], when: \"!(has(params.a) || !has(params.a))\"}
  - {name: three, allow: [x], when: \"(params.a == 1 || params.b == 1) && params.a == 2 && params.b == 2\"}
  - {name: empty, allow: [x], when: 'false'}
",
        &[]
    ), @r#"
    warning: the rule is never chosen: `params.amount > 500` and `params.amount < 100` never hold together
     --> p.yaml:7:9
      |
    7 |       - params.amount < 100
      |         ^
      = rule: gap
      = help: one of them is mistaken, or the rule is not needed
    warning: the guard forbids all that it names: `params.to == 'a'` and `params.to == 'b'` never hold together
     --> p.yaml:8:78
      |
    8 |   - {name: twice, guard: [x], when: "params.to == 'a' && params.cc == 'b' && params.to == 'b'"}
      |                                                                              ^
      = rule: twice
      = help: write a `deny` if that is meant
    warning: the rule is never chosen: `!(has(params.a) || !has(params.a))` never holds
      --> p.yaml:10:36
       |
    10 |   - {name: not, allow: [x], when: "!(has(params.a) || !has(params.a))"}
       |                                    ^
       = rule: not
       = help: one of them is mistaken, or the rule is not needed
    warning: the rule is never chosen: its conditions never hold all together
      --> p.yaml:11:91
       |
    11 |   - {name: three, allow: [x], when: "(params.a == 1 || params.b == 1) && params.a == 2 && params.b == 2"}
       |                                                                                           ^
       = rule: three
       = help: one of them is mistaken, or the rule is not needed
    warning: the rule is never chosen: `false` never holds
      --> p.yaml:12:38
       |
    12 |   - {name: empty, allow: [x], when: 'false'}
       |                                      ^
       = rule: empty
       = help: one of them is mistaken, or the rule is not needed
    "#);
}

#[test]
fn nothing_is_said_of_conditions_that_may_hold() {
    for when in [
        "params.a > 1 && params.a < 1.0000001",
        "params.a >= 1 && params.a <= 1",
        "params.a != 1 && params.a != 2",
        "params.s >= 'a' && params.s < 'b'",
        "params.s.startsWith('ab') && params.s.endsWith('ba')",
        "params.a + params.a < 1 && params.a > 1",
        "'a' in params.tags && 'b' in params.tags",
        "user.name == 'a' && !('x' in user.roles)",
        "has(params.a.b) && params.a.b == 1",
        "action.name == 'x' && resource.scheme == 'a' && resource.scheme != 'b'",
        "risk.score < 7 && risk.score > 3",
    ] {
        assert_eq!(said(&format!("- {{name: a, allow: [x], when: \"{when}\"}}"), &[]), "", "{when}");
    }
    // A deny matches what can't be told.
    assert_eq!(said("- {name: d, deny: [x], when: \"params.a < 1 && params.a > 1\"}", &[]), "");
}

#[test]
fn rules_that_others_leave_nothing_to() {
    insta::assert_snapshot!(said(
        "  - {name: small, allow: ['refunds.*'], when: params.amount <= 500}
  - {name: smaller, allow: [refunds.create], when: params.amount <= 100}
  - {name: other, allow: [refunds.create], when: params.amount <= 1000}
  - {name: never, deny: [mail.**], when: \"params.to != 'a'\"}
  - {name: mail, allow: [mail.send], when: \"params.to == 'b'\"}
  - {name: post, allow: [mail.send], when: \"params.to in ['a', 'b']\"}
",
        &[]
    ), @r#"
    warning: the rule is never chosen: `small` comes first and holds wherever this one does
     --> p.yaml:4:5
      |
    4 |   - {name: smaller, allow: [refunds.create], when: params.amount <= 100}
      |     ^
      = rule: smaller
      = help: put the narrower rule first
    warning: the rule never allows anything: `never` denies wherever it holds
     --> p.yaml:7:5
      |
    7 |   - {name: mail, allow: [mail.send], when: "params.to == 'b'"}
      |     ^
      = rule: mail
      = help: remove one of the two, or narrow the `deny`
    "#);
}

#[test]
fn what_a_listing_returns_is_a_resource_of_it_too() {
    let text = "service: mail\nbase_url: https://mail.example\nauth: {type: bearer}\nactions:\n  mail.list:\n    method: GET\n    path: /{owner}\n    \
        resource: mail://{owner}\n    effect: read\n    params: {type: object, properties: {owner: {type: string}}, required: [owner]}\n    \
        response: {items: $.messages, resource: 'mail://{owner}/{folder}/{id}'}\n";
    let (mail, _) = Service::parse(text.as_bytes(), None).unwrap();
    let warned = |on: &str| said(&format!("  - {{name: r, allow: [mail.list], on: ['{on}']}}\n"), &[&mail]);
    for fits in ["mail://ann", "mail://ann/inbox/*", "mail://*/**"] {
        assert_eq!(warned(fits), "", "{fits}");
    }
    for out_of_reach in ["mail://ann/inbox", "mail://ann/inbox/1/2", "post://ann"] {
        assert!(warned(out_of_reach).contains("matches nothing"), "{out_of_reach}");
    }
}

#[test]
fn what_the_service_declares_counts() {
    let shop = shop();
    insta::assert_snapshot!(said(
        "  - name: far
    allow: [refunds.create]
    on: ['order://customer:{{user.id}}/*', 'order://shop/*', 'order://customer:1/2/3', 'ordr://**']
    when:
      - params.amount > 1000
  - {name: pounds, allow: [refunds.create], when: params.currency == 'GBP'}
  - {name: between, guard: [refunds.create], when: params.items > 1 && params.items < 2}
  - {name: fine, allow: [refunds.create], when: params.amount > 999.999 && params.items < 2 && params.currency != 'USD'}
  - {name: all, allow: ['refunds.*'], when: params.amount > 1000}
",
        &[&shop]
    ), @r#"
    warning: the entry matches nothing: it is never a resource of `refunds.create`
     --> p.yaml:5:44
      |
    5 |     on: ['order://customer:{{user.id}}/*', 'order://shop/*', 'order://customer:1/2/3', 'ordr://**']
      |                                            ^
      = rule: far
      = help: resources of `refunds.create` are like `order://customer:*/*`
    warning: the entry matches nothing: it is never a resource of `refunds.create`
     --> p.yaml:5:62
      |
    5 |     on: ['order://customer:{{user.id}}/*', 'order://shop/*', 'order://customer:1/2/3', 'ordr://**']
      |                                                              ^
      = rule: far
      = help: resources of `refunds.create` are like `order://customer:*/*`
    warning: the entry matches nothing: it is never a resource of `refunds.create`
     --> p.yaml:5:88
      |
    5 |     on: ['order://customer:{{user.id}}/*', 'order://shop/*', 'order://customer:1/2/3', 'ordr://**']
      |                                                                                        ^
      = rule: far
      = help: resources of `refunds.create` are like `order://customer:*/*`
    warning: the rule is never chosen: for action `refunds.create` as its service declares it, `params.amount > 1000` never holds
     --> p.yaml:7:9
      |
    7 |       - params.amount > 1000
      |         ^
      = rule: far
      = help: one of them is mistaken, or the rule is not needed
    warning: the rule is never chosen: for action `refunds.create` as its service declares it, `params.currency == 'GBP'` never holds
     --> p.yaml:8:51
      |
    8 |   - {name: pounds, allow: [refunds.create], when: params.currency == 'GBP'}
      |                                                   ^
      = rule: pounds
      = help: one of them is mistaken, or the rule is not needed
    warning: the guard forbids all that it names: for action `refunds.create` as its service declares it, `params.items > 1` and `params.items < 2` never hold together
     --> p.yaml:9:72
      |
    9 |   - {name: between, guard: [refunds.create], when: params.items > 1 && params.items < 2}
      |                                                                        ^
      = rule: between
      = help: write a `deny` if that is meant
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a rule is said to be, every request of a small world agrees.
    #[test]
    fn what_is_said_never_to_happen_does_not(rules in proptest::collection::vec(rule_text(), 1..4)) {
        let text: String = rules.iter().enumerate().map(|(at, rule)| format!("- {{name: r{at}, {rule}}}\n")).collect();
        let source = format!("policy: p\nrules:\n{text}");
        let found = warnings(&source, &[]);
        let about = |start: &str| -> Vec<String> {
            found.iter().filter(|it| it.message.starts_with(start)).filter_map(|it| it.rule.clone()).collect()
        };
        let (never, forbids, idle) =
            (about("the rule is never chosen"), about("the guard forbids all"), about("the rule never denies"));
        let never: Vec<String> = never.into_iter().chain(about("the rule never allows")).collect();
        if never.is_empty() && forbids.is_empty() && idle.is_empty() {
            return Ok(());
        }
        for (names, judgement) in judgements(&source) {
            for rule in &never {
                let allowed = judgement.chosen.iter().any(|(_, name)| **name == **rule);
                prop_assert!(!allowed, "{rule} is chosen\n{source}");
            }
            for rule in &idle {
                let denied = judgement.reasons.iter().any(|it| {
                    it.code == crate::refusal::Code::Forbidden && it.rule.as_deref() == Some(&**rule)
                });
                prop_assert!(!denied, "{rule} denies\n{source}");
            }
            for rule in &forbids {
                let fixed = rules[rule.trim_start_matches(|it: char| !it.is_ascii_digit()).parse::<usize>().unwrap()].clone();
                let whole: RuleText = fixed;
                prop_assert!(
                    judgement.verdict == Verdict::Deny || whole.contains("on:") || !names.contains(rule),
                    "{rule} lets something through\n{source}"
                );
            }
        }
    }
}
