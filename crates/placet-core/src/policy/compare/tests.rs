//! Against the judge: every request of a small world is asked of both sides.

use super::*;
use crate::{
    action::Action,
    chain::Chain,
    judge::{Judgement, Request, Verdict, judge},
    ledger::Limit,
    pattern::{ActionName, ResourcePattern, ResourceUri},
    policy::fixture::{NOW, Spec, chain, policy, spec},
    task::TaskOrigin,
};
use proptest::prelude::*;
use serde_json::{Map, json};
use std::time::Duration;

fn between(first: &[&str], second: &[&str]) -> Comparison {
    let load = |sources: &[&str]| sources.iter().map(|source| policy(source)).collect::<Vec<_>>();
    compare(&load(first), &load(second), NOW)
}

fn rules(rules: &str) -> String {
    format!("policy: p\nrules:\n{rules}")
}

/// The witness in short: `name resource params`.
fn shown(comparison: &Comparison) -> String {
    match comparison {
        Comparison::NotWider => "not wider".to_owned(),
        Comparison::Wider(wider) => {
            let Witness { action, resource, params, .. } = &wider.witness;
            format!("{} by {action} {} {params}", wider.how, resource.as_deref().unwrap_or("-"))
        }
        Comparison::Unknown(why) => format!("unknown: {}", why.join("; ")),
    }
}

fn says(first: &str, second: &str) -> String {
    shown(&between(&[&rules(first)], &[&rules(second)]))
}

/// Both ways: the second is narrower than the first and not the other way round.
fn narrows(first: &str, second: &str) {
    assert_eq!(says(first, second), "not wider", "{first}\n{second}");
    let back = says(second, first);
    assert!(back.starts_with("allowed"), "{back}\n{first}\n{second}");
}

#[test]
fn what_a_reviewer_would_call_narrower_is() {
    let allow = |more: &str| format!("- {{name: a, allow: [refunds.create]{more}}}");
    let plain = allow("");
    for more in [
        ", when: params.amount <= 500",
        ", when: \"params.currency in ['USD', 'EUR']\"",
        ", when: 'has(params.note)'",
        ", on: ['order://customer:42/*']",
        ", on: ['order://customer:{{user.id}}/*']",
        ", hours: {days: mon-fri, from: '09:00', to: '17:00', zone: America/New_York}",
        ", limits: [{count: 5, per: day}]",
        ", limits: [{sum: params.amount, max: 100, per: day}]",
        ", limits: [{rate: 5/hour}]",
        ", approve: {by: ['role:lead']}",
        ", when: user.name == 'ada'",
        ", when: \"'clerk' in user.roles\"",
        ", when: agent.labels.team == 'a'",
        ", when: grant.depth == 0",
        ", when: action.effect != 'money'",
        ", when: 'params.to.all(to, to.endsWith(\"@corp.example\"))'",
        ", when: risk.score < 7",
    ] {
        narrows(&plain, &allow(more));
    }
    for (wide, narrow) in [
        (", when: \"params.amount <= 500\"", ", when: \"params.amount < 500\""),
        (", when: \"params.amount <= 500\"", ", when: \"!(params.amount > 500) && params.amount != 3\""),
        (", when: \"params.a == 1 || params.a == 2\"", ", when: \"params.a in [1.0]\""),
        (", when: \"params.to.endsWith('@x.io')\"", ", when: \"params.to.endsWith('.b@x.io')\""),
        (", when: \"params.to.startsWith('ab')\"", ", when: \"params.to.startsWith('abc')\""),
        (
            ", when: \"params.to.startsWith('ab')\"",
            ", when: \"params.to >= 'ab' && params.to < 'ac' && params.to != 'abx'\"",
        ),
        (", when: \"params.to.contains('b')\"", ", when: \"params.to.contains('abc')\""),
        (", limits: [{count: 5, per: day}]", ", limits: [{count: 4, per: day}]"),
        (", limits: [{count: 5, per: day}]", ", limits: [{count: 5, per: month}]"),
        (", limits: [{rate: 60/hour, burst: 5}]", ", limits: [{rate: 1/hour, burst: 5}]"),
        (", approve: {when: params.amount > 100}", ", approve: {when: params.amount > 50}"),
        (", approve: {by: ['role:a', 'role:b']}", ", approve: {by: ['role:b']}"),
        (", on: ['o://**']", ", on: ['o://a/*', 'o://b/**']"),
        (", on: ['o://*/x*']", ", on: ['o://a/xy*z']"),
        (
            ", hours: {days: mon-fri, from: '09:00', to: '17:00', zone: Europe/Paris}",
            ", hours: {days: tue, from: '09:30', to: '11:00', zone: Europe/Paris}",
        ),
    ] {
        narrows(&allow(wide), &allow(narrow));
    }
    narrows(&plain, &format!("{plain}\n- {{name: d, deny: ['**'], when: params.amount > 3}}"));
    narrows(&plain, &format!("{plain}\n- {{name: g, guard: [refunds.*], when: params.amount > 3}}"));
    narrows("- {name: a, allow: ['**']}", "- {name: a, allow: [a.*, b.**, c]}");
}

#[test]
fn witnesses_are_ones_that_people_see_at_once() {
    let allow = |more: &str| format!("- {{name: a, allow: [refunds.create], {more}}}");
    let case = |one: &str, other: &str| says(&allow(one), &allow(other));
    insta::assert_snapshot!(
        [
            case("when: params.amount <= 500", "when: params.amount <= 501"),
            case("when: params.currency == 'USD'", "when: \"params.currency in ['USD', 'EUR']\""),
            case("on: ['o://a/*']", "on: ['o://a/**']"),
            case("on: ['o://{{user.id}}/*']", "on: ['o://*/*']"),
            case("limits: [{count: 5, per: day}]", "limits: [{count: 6, per: day}]"),
            case("limits: [{count: 5, per: day}]", "limits: [{count: 1, per: hour}]"),
            case("approve: {by: ['role:a']}", "approve: {by: ['role:a', 'user:b']}"),
            case("when: 'params.to.size() < 3'", "when: 'params.to.size() < 4'"),
            says("- {name: a, allow: [mail.*]}", "- {name: a, allow: [mail.**]}"),
        ]
        .join("\n"),
        @r#"
    allowed, where the first denies it by refunds.create x://x {"amount":501}
    allowed, where the first denies it by refunds.create x://x {"currency":"EUR"}
    allowed, where the first denies it by refunds.create o://a {}
    allowed, where the first denies it by refunds.create o://x/x {}
    allowed without the limit `count: 5, per: day` (policy `p@1`, rule `a`) by refunds.create x://x {}
    unknown: whether `count: 1, per: hour` is as strict as `count: 5, per: day`
    allowed without the approval by role:a that policy `p@1`, rule `a` asks for by refunds.create x://x {}
    unknown: whether `params.to.size() < 3` (policy `p`, rule `a`) lets it be; whether `params.to.size() < 4` (policy `p`, rule `a`) lets it be
    allowed, where the first denies it by mail x://x {}
    "#);
}

#[test]
fn the_first_rule_that_holds_counts() {
    let limited = "- {name: a, allow: [x], when: params.n < 5, limits: [{count: 5, per: day}]}";
    let open = "- {name: b, allow: [x]}";
    assert_eq!(says(&format!("{limited}\n{open}"), &format!("{limited}\n{open}")), "not wider");
    // The other way round nothing is limited.
    assert!(
        says(&format!("{limited}\n{open}"), &format!("{open}\n{limited}"))
            .starts_with("allowed without the limit")
    );
    assert_eq!(says(&format!("{open}\n{limited}"), &format!("{limited}\n{open}")), "not wider");
}

#[test]
fn one_counter_is_not_two() {
    let one = "- {name: a, allow: [x, y], limits: [{count: 5, per: day}]}";
    let two = "- {name: a, allow: [x], limits: [{count: 5, per: day}]}\n- {name: b, allow: [y], limits: [{count: 5, per: day}]}";
    assert!(says(one, two).contains("which is one counter there and several here"));
    assert_eq!(says(two, one), "not wider");
}

#[test]
fn sets_are_compared_whole() {
    let allow = "policy: a\nrules: [{name: a, allow: [x, y]}]";
    let deny = "policy: d\napplies_to: {agents: ['bot-*']}\nrules: [{name: d, deny: [y]}]";
    assert_eq!(between(&[allow], &[allow, deny]), Comparison::NotWider);
    let Comparison::Wider(wider) = between(&[allow, deny], &[allow]) else { panic!() };
    assert!(wider.witness.agent["handle"].as_str().unwrap().starts_with("bot-"));
    let observed = "policy: d\nmode: observe\nrules: [{name: d, allow: ['**']}]";
    assert_eq!(between(&[allow], &[allow, observed]), Comparison::NotWider);
    let split = ["policy: x\nrules: [{name: x, allow: [x]}]", "policy: y\nrules: [{name: y, allow: [y]}]"];
    assert_eq!(between(&split, &[allow]), Comparison::NotWider);
    assert_eq!(between(&[allow], &split), Comparison::NotWider);
    assert_eq!(between(&[], &[]), Comparison::NotWider);
    let for_some =
        "policy: a\napplies_to: {agents: ['bot-*'], labels: {team: [a, b]}}\nrules: [{name: a, allow: [x]}]";
    let for_more =
        "policy: a\napplies_to: {agents: ['b*'], labels: {team: [a, b]}}\nrules: [{name: a, allow: [x]}]";
    assert_eq!(between(&[for_more], &[for_some]), Comparison::NotWider);
    assert!(matches!(between(&[for_some], &[for_more]), Comparison::Wider(_)));
}

#[test]
fn what_a_template_becomes_may_be_what_another_rule_names() {
    let own = "- {name: a, allow: [x], on: ['o://{{agent.region}}/*']}";
    let but_eu = format!("{own}\n- {{name: d, deny: [x], on: ['o://eu/*']}}");
    assert_eq!(says(own, &but_eu), "not wider");
    assert_eq!(says(&but_eu, own), "allowed, where the first denies it by x o://eu/x {}");
    let other = "- {name: d, deny: [x], on: ['o://c:{{user.name}}/*']}";
    let named = "- {name: a, allow: [x], on: ['o://c:*/*']}";
    narrows(named, &format!("{named}\n{other}"));
}

#[test]
fn what_upstream_holds_may_be_anything() {
    let when = |text: &str| format!("- {{name: a, allow: [refunds.create], when: \"{text}\"}}");
    let (ann, bob) = (when("resource.owner == 'ann'"), when("resource.owner == 'bob'"));
    assert_eq!(says(&ann, &ann), "not wider");
    assert_eq!(says(&when("true"), &ann), "not wider");
    for (one, other) in [(&ann, &bob), (&ann, &when("true")), (&ann, &when("resource.owner != 'ann'"))] {
        let said = says(one, other);
        assert_ne!(said, "not wider", "{one}\n{other}");
    }
    assert!(says(&ann, &bob).starts_with("unknown: "));
}

#[test]
fn what_is_beyond_it_is_unknown_and_names_the_condition() {
    let with = |condition: &str| format!("- {{name: a, allow: [x], when: \"{condition}\"}}");
    assert_eq!(
        says(&with("params.a * 2 < 8"), &with("params.a + params.a < 8")),
        "unknown: whether `params.a * 2 < 8` (policy `p`, rule `a`) lets it be; whether `params.a + params.a < 8` (policy `p`, rule `a`) lets it be"
    );
    // The same condition is the same whatever it is.
    assert_eq!(says(&with("params.a * 2 < 8"), &with("params.a * 2 < 8 && params.b")), "not wider");
}

#[test]
fn it_ends_however_large_the_policies_are() {
    let rule = |n: usize| {
        format!(
            "- {{name: r{n}, allow: [x], when: ['params.p{n} < {n}', 'params.q{n} == \"v\"', 'params.s.contains(\"k{n}\")']}}\n"
        )
    };
    let many: String = (0..200).map(rule).collect();
    let other: String = (0..200).rev().map(rule).collect();
    let said = says(&many, &other);
    assert!(said.starts_with("unknown: "), "{said}");
}

// The small world.

const ACTIONS: [&str; 3] = ["a.x", "a.y", "b"];
const RESOURCES: [&str; 4] = ["r://h/1", "r://h/2", "r://ada/1", "r://h"];

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = &'static str> + Clone {
    proptest::sample::select(all)
}

fn condition() -> impl Strategy<Value = String> {
    let test = one_of(&[
        "params.n <= 1",
        "params.n < 1",
        "params.n > 0",
        "params.n == 1",
        "params.n != 2",
        "params.n in [0, 2]",
        "params.s == 'u'",
        "params.s != 'u'",
        "params.s in ['u', 'v']",
        "params.s.startsWith('u')",
        "params.s.endsWith('v')",
        "has(params.s)",
        "user.name == 'ada'",
        "'clerk' in user.roles",
        "agent.handle == 'd1'",
        "resource.authority == 'h'",
        "action.name == 'a.x'",
        "true",
    ]);
    prop_oneof![
        6 => test.clone().prop_map(str::to_owned),
        1 => test.clone().prop_map(|test| format!("!({test})")),
        2 => (test.clone(), test).prop_map(|(one, other)| format!("({one}) || ({other})")),
    ]
}

fn rule(limited: bool) -> impl Strategy<Value = String> {
    let on = one_of(&[
        "",
        "",
        "on: ['r://h/*'],",
        "on: ['r://h/1'],",
        "on: ['r://h/**'],",
        "on: ['r://*/1'],",
        "on: ['r://{{user.name}}/*'],",
        "on: ['r://ada/1', 'r://h'],",
    ]);
    let kind = one_of(&["allow", "allow", "allow", "deny", "guard"]);
    let names = one_of(&["'**'", "a.*", "a.x", "b", "'*'", "'a.**'"]);
    let hours = one_of(&["", "", "", "hours: {days: mon-fri, zone: UTC},"]);
    let limits = one_of(if limited {
        &[
            "",
            "limits: [{count: 1, per: day}],",
            "limits: [{count: 2, per: day}],",
            "limits: [{sum: params.n, max: 5, per: day}],",
            "approve: {by: ['role:a']},",
            "approve: {by: ['role:a', 'role:b'], when: params.n > 1},",
        ]
    } else {
        &[""]
    });
    (on, kind, names, hours, limits, proptest::collection::vec(condition(), 0..3)).prop_map(
        |(on, kind, names, hours, limits, when)| {
            let when = when.iter().map(|condition| format!("\"{condition}\"")).collect::<Vec<_>>().join(", ");
            let when = if when.is_empty() { String::new() } else { format!("when: [{when}],") };
            let limits = if kind == "deny" { "" } else { limits };
            format!("{kind}: [{names}], {on} {hours} {limits} {when}")
        },
    )
}

/// A rule without its name.
pub(super) type RuleText = String;

pub(super) fn rule_text() -> impl Strategy<Value = RuleText> {
    rule(false)
}

/// What the judge says of every request of the small world, each with the rules that name its action.
pub(super) fn judgements(source: &str) -> Vec<(Vec<String>, Judgement)> {
    let policy = policy(source);
    let set = PolicySet::new(vec![policy.clone()]);
    let (chains, actions, times) = world();
    let mut found = Vec::new();
    for chain in &chains {
        let bound = set.bind(chain);
        for action in &actions {
            let named = policy.rules.iter().filter(|rule| rule.names(&action.name));
            let named: Vec<String> = named.map(|rule| rule.name.to_string()).collect();
            for now in &times {
                let request = Request { chain, action, now: *now, context: None };
                found.push((named.clone(), judge(&bound, &request)));
            }
        }
    }
    found
}

fn document(limited: bool) -> impl Strategy<Value = String> {
    let applies = one_of(&["", "", "applies_to: {agents: [d1]}\n", "applies_to: {agents: ['d*']}\n"]);
    (applies, proptest::collection::vec(rule(limited), 1..4)).prop_map(|(applies, rules)| {
        let rules: String =
            rules.iter().enumerate().map(|(at, rule)| format!("- {{name: r{at}, {rule}}}\n")).collect();
        format!("policy: p\n{applies}rules:\n{rules}")
    })
}

fn world() -> (Vec<Chain>, Vec<Action>, Vec<Timestamp>) {
    let clerk = |handle: &str, name: &str| spec(1, handle).user(9, name);
    let chains = [spec(1, "d1"), clerk("d1", "ada"), clerk("d2", "ada"), clerk("d2", "h"), spec(1, "e")]
        .map(|it| chain(&[it]));
    let mut actions = Vec::new();
    let n = [None, Some(json!(0)), Some(json!(1)), Some(json!(2)), Some(json!("u"))];
    let s = [None, Some(json!("u")), Some(json!("uv")), Some(json!("w"))];
    for name in ACTIONS {
        for (resource, known) in RESOURCES.iter().map(|uri| (*uri, true)).chain([("r://h/1", false)]) {
            for n in &n {
                for s in &s {
                    let member = |name: &str, value: &Option<Value>| Some((name.to_owned(), value.clone()?));
                    let params: Map<String, Value> =
                        member("n", n).into_iter().chain(member("s", s)).collect();
                    let (name, uri) =
                        (ActionName::parse(name).unwrap(), ResourceUri::parse(resource).unwrap());
                    actions.push(match known {
                        true => Action::stated(name, uri, params),
                        false => Action::undeclared(name, uri, params),
                    });
                }
            }
        }
    }
    (chains.to_vec(), actions, vec![NOW, NOW.minus(Duration::from_secs(86_400))])
}

/// Whether `theirs` lets more through, said again in other words than the comparison's.
fn lets_more(ours: &Judgement, theirs: &Judgement) -> bool {
    if theirs.verdict == Verdict::Deny {
        return false;
    }
    if ours.verdict == Verdict::Deny {
        return true;
    }
    let limits = |judgement: &Judgement| {
        judgement.limits.iter().map(|applied| (*applied.limit).clone()).collect::<Vec<Limit>>()
    };
    let theirs_limits = limits(theirs);
    let fits = |limit: &Limit| {
        theirs_limits.iter().any(|it| it.identity() == limit.identity() && it.max() <= limit.max())
    };
    let asked = ours.requirements.iter().all(|wanted| {
        theirs
            .requirements
            .iter()
            .any(|it| it.by.iter().all(|by| wanted.by.contains(by)) && it.within <= wanted.within)
    });
    !limits(ours).iter().all(fits) || !asked
}

fn oracle(first: &str, second: &str) -> Option<String> {
    let set = |source: &str| PolicySet::new(vec![policy(source)]);
    let (first, second) = (set(first), set(second));
    let (chains, actions, times) = world();
    for chain in &chains {
        let (ours, theirs) = (first.bind(chain), second.bind(chain));
        for action in &actions {
            for now in &times {
                let request = Request { chain, action, now: *now, context: None };
                if lets_more(&judge(&ours, &request), &judge(&theirs, &request)) {
                    return Some(format!(
                        "{} {} {:?} {now} {}",
                        action.name,
                        action.known,
                        action.params,
                        chain.agent().handle
                    ));
                }
            }
        }
    }
    None
}

/// The witness as a request, made anew from what is shown of it.
fn judged(source: &str, witness: &Witness) -> Judgement {
    let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
    let mut link: Spec = spec(1, &text(&witness.agent, "handle").unwrap());
    if let Some(user) = &witness.user {
        link = link.user(9, &text(user, "name").unwrap());
        let roles = user["roles"].as_array().unwrap();
        link.user.as_mut().unwrap().roles =
            roles.iter().map(|role| role.as_str().unwrap().to_owned()).collect();
    }
    if witness.task.is_some() {
        link = link.task(7, TaskOrigin::Person);
    }
    let chain = chain(&[link]);
    let uri = ResourceUri::parse(witness.resource.as_deref().unwrap_or("x://x")).unwrap();
    let params = witness.params.as_object().unwrap().clone();
    let mut action = Action::stated(ActionName::parse(&witness.action).unwrap(), uri, params);
    if witness.resource.is_none() {
        action.known = ResourcePattern::everything();
    }
    action.effect = witness.effect;
    let set = PolicySet::new(vec![policy(source)]);
    judge(&set.bind(&chain), &Request { chain: &chain, action: &action, now: witness.at, context: None })
}

fn agrees(first: &str, second: &str) -> Result<Comparison, TestCaseError> {
    let found = between(&[first], &[second]);
    match &found {
        Comparison::NotWider => {
            let wider = oracle(first, second);
            prop_assert!(wider.is_none(), "{wider:?}\n{first}\n{second}");
        }
        Comparison::Wider(wider) => {
            let witness = &wider.witness;
            prop_assert!(
                lets_more(&judged(first, witness), &judged(second, witness)),
                "{wider}\n{first}\n{second}"
            );
        }
        Comparison::Unknown(_) => {}
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn it_says_what_every_request_says(first in document(false), second in document(false)) {
        let found = agrees(&first, &second)?;
        prop_assert!(!matches!(found, Comparison::Unknown(_)), "{}\n{first}\n{second}", shown(&found));
    }

    #[test]
    fn limits_and_approvals_are_compared_as_every_request_has_them(first in document(true), second in document(true)) {
        agrees(&first, &second)?;
    }

    #[test]
    fn a_policy_is_no_wider_than_itself(one in document(true)) {
        let found = agrees(&one, &one)?;
        prop_assert_eq!(found, Comparison::NotWider, "{}", one);
    }
}

#[test]
fn unknown_is_rare() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let pair = (document(true), document(true));
    let unknown = (0..300).filter(|_| {
        let (first, second) = pair.new_tree(&mut runner).unwrap().current();
        matches!(between(&[&first], &[&second]), Comparison::Unknown(_))
    });
    let unknown = unknown.count();
    assert!(unknown <= 9, "{unknown} of 300");
}

#[test]
fn the_same_text_over_another_list_is_not_the_same() {
    let desk = |list: &str, more: &str| {
        format!("policy: p\nlists: {{open: [{list}]}}\nrules:\n  - {{name: a, allow: [x], {more}}}")
    };
    for more in [
        "shape: {rows: {at: $, where: item.a in lists.open}}",
        "limits: [{count: 1, per: day, by: 'params.a in lists.open ? \"a\" : \"b\"'}]",
        "limits: [{sum: 'params.a in lists.open ? 1 : 2', max: 9, per: day}]",
        "when: 'params.a.all(a, a in lists.open)'",
    ] {
        let one = desk("a", more);
        assert_eq!(between(&[&one], &[&one]), Comparison::NotWider, "{more}");
        assert_ne!(between(&[&one], &[&desk("a, b", more)]), Comparison::NotWider, "{more}");
    }
}

#[test]
fn what_is_looked_for_is_compared_kind_by_kind() {
    let desk = |shape: &str| format!("policy: p\nrules:\n  - {{name: a, allow: [x]{shape}}}");
    let of = |detect: &str| desk(&format!(", shape: {{detect: {{{detect}}}}}"));
    for (old, new) in [
        (desk(""), of("card: mark")),
        (of("card: mark"), of("card: redact")),
        (of("card: redact, email: mark"), of("personal: withhold")),
        (of("personal: redact"), of("personal: redact")),
    ] {
        assert_eq!(between(&[&old], &[&new]), Comparison::NotWider, "{old}\n{new}");
        let wider = between(&[&new], &[&old]);
        assert!(old == new || matches!(wider, Comparison::Wider(_)), "{old}\n{new}: {wider:?}");
    }
    // Another rule may look for it.
    let guard =
        format!("{}\n  - {{name: g, guard: ['**'], shape: {{detect: {{secrets: redact}}}}}}", desk(""));
    assert_eq!(between(&[&of("jwt: redact")], &[&guard]), Comparison::NotWider);
    // And what a shape takes out is compared beside it.
    let both = desk(", shape: {redact: $.a, detect: {card: redact}}");
    assert_eq!(between(&[&desk(", shape: {redact: $.a}")], &[&both]), Comparison::NotWider);
    assert!(matches!(between(&[&both], &[&of("card: redact")]), Comparison::Wider(_)));
}

/// A service whose parameters are of types.
fn bank() -> crate::service::Service {
    let text = "service: bank
base_url: https://bank.example
auth: {type: bearer}
actions:
  pay.out:
    method: POST
    path: /pay/{account}
    resource: account://{account}
    effect: money
    params:
      type: object
      properties:
        account: {type: string}
        amount: {type: integer, minimum: 1, maximum: 1000}
        currency: {enum: [EUR, USD]}
        urgent: {type: boolean}
        rate: {type: number, exclusiveMinimum: 0}
        code: {type: string, pattern: '^[A-Z]{3}$'}
      required: [amount, currency]
";
    crate::service::Service::parse(text.as_bytes(), None).unwrap().0
}

fn says_with(first: &str, second: &str) -> String {
    let bank = bank();
    let load = |text: &str| {
        let loaded = Policy::load(rules(text).as_bytes(), None, 1, &[&bank]);
        vec![Arc::new(loaded.unwrap_or_else(|found| panic!("{found:?}")).0)]
    };
    shown(&compare_with(&load(first), &load(second), &[&bank], NOW))
}

#[test]
fn what_a_service_lets_through_is_all_that_counts() {
    let pay = |when: &str| format!("- {{name: a, allow: [pay.out], when: {}}}", json!(when));
    // Each second condition is wider for some value, and for none that the service lets through.
    for (first, second) in [
        ("params.amount <= 1000", "params.amount <= 2000"),
        ("params.amount <= 500", "params.amount < 501"),
        ("params.amount >= 1", "true"),
        ("params.currency in ['EUR', 'USD']", "params.currency != 'GBP'"),
        ("params.currency == 'EUR'", "params.currency != 'USD'"),
        ("params.currency == 'EUR'", "!(params.currency == 'USD')"),
        ("has(params.amount)", "true"),
        ("params.rate > 0", "params.rate > -5"),
        ("params.urgent", "params.urgent != false"),
        ("params.amount == 1", "params.amount < 2"),
        ("!has(params.note)", "true"),
    ] {
        let (first, second) = (pay(first), pay(second));
        let without = says(&first, &second);
        assert_ne!(without, "not wider", "{first} {second}");
        if !first.contains("note") {
            assert_eq!(says_with(&first, &second), "not wider", "{first} {second}");
        }
    }
    for (first, second, witness) in [
        ("params.amount <= 500", "params.amount <= 501", "\"amount\":501"),
        ("params.currency == 'EUR'", "params.currency in ['EUR', 'USD', 'GBP']", "\"currency\":\"USD\""),
        ("has(params.urgent)", "true", "\"amount\":1"),
        ("params.rate > 1", "params.rate > 0.5", "\"rate\""),
    ] {
        let found = says_with(&pay(first), &pay(second));
        assert!(found.starts_with("allowed, where the first denies it by pay.out"), "{found}");
        assert!(found.contains(witness), "{found}");
    }
    // One that can't be held passes the schema and no comparison.
    let found = says_with(&pay("params.rate > 0"), &pay("true"));
    assert!(found.starts_with("allowed") && found.contains("\"rate\":1e-60"), "{found}");
    // Texts that the service's pattern lets through are not looked for: it is not told that there are any.
    let found = says_with(&pay("params.code == 'ABC'"), &pay("params.code in ['ABC', 'abcd']"));
    assert!(found.starts_with("unknown"), "{found}");
    let found = says_with(&pay("params.code == 'ABC'"), &pay("params.code in ['ABC', 'ABD']"));
    assert!(found.starts_with("allowed") && found.contains("\"code\":\"ABD\""), "{found}");
    // An action that no service declares may have any parameters.
    let any = |when: &str| format!("- {{name: a, allow: [pay.*], when: {}}}", json!(when));
    let found = says_with(&any("params.amount <= 1000"), &any("params.amount <= 2000"));
    assert!(found.starts_with("allowed") && !found.contains("pay.out"), "{found}");
}
