//! Each sentence of DESIGN §4's "Allowed" and "Unknown or missing", and what counters are charged.

mod foreseen;
mod keys;
mod need;
mod oracle;
mod shaping;
mod unfilled;
mod usable;

use super::*;
use crate::{
    agent::Level,
    approval::Approver,
    ledger::{Meter, Rate},
    pattern::ResourcePattern,
    policy::{
        PolicySet,
        fixture::{NOW, action, chain, counters, id, judged, short, spec},
    },
    refusal::{Code, Reader},
    task::TaskOrigin,
};
use serde_json::json;

fn desk() -> Chain {
    chain(&[spec(1, "desk")])
}

fn refund(amount: Value) -> Action {
    action("refunds.create", "order://customer:42/7", json!({"amount": amount, "currency": "USD"}))
}

/// A policy of these rules for every agent.
fn rules(rules: &str) -> String {
    format!("policy: p\nrules:\n{rules}")
}

fn says(rules_text: &str, action: &Action) -> (Verdict, Vec<String>) {
    let judgement = judged(&[&rules(rules_text)], &desk(), action);
    assert_eq!(judgement.verdict == Verdict::Allow, judgement.reasons.is_empty());
    (judgement.verdict, short(&judgement))
}

fn denies(rules_text: &str, reasons: &[&str]) {
    let (verdict, found) = says(rules_text, &refund(json!(400)));
    assert_eq!(
        (verdict, found.iter().map(String::as_str).collect::<Vec<_>>()),
        (Verdict::Deny, reasons.to_vec())
    );
}

fn allows(rules_text: &str) {
    assert_eq!(says(rules_text, &refund(json!(400))), (Verdict::Allow, vec![]));
}

#[test]
fn the_default_is_deny() {
    let judgement = judged(&[], &desk(), &refund(json!(1)));
    assert_eq!((judgement.verdict, short(&judgement)), (Verdict::Deny, vec!["no_rule".to_owned()]));
    denies("- {name: a, allow: [refunds.list]}", &["no_rule"]);
    denies("- {name: a, allow: [refunds.*], on: ['order://customer:43/**']}", &["no_rule"]);
    denies("- {name: g, guard: ['**']}", &["no_rule"]);
    denies("- {name: d, deny: [mail.send]}", &["no_rule"]);
}

#[test]
fn an_allow_rule_a_guard_and_a_deny() {
    allows("- {name: a, allow: [refunds.*]}");
    allows("- {name: a, allow: [refunds.*]}\n- {name: g, guard: ['**'], when: params.amount < 500}");
    denies(
        "- {name: a, allow: [refunds.*]}\n- {name: g, guard: ['**'], when: params.amount < 300}",
        &["condition_failed g"],
    );
    denies("- {name: a, allow: [refunds.*]}\n- {name: d, deny: ['**']}", &["forbidden d"]);
    // Wherever they stand, and in every policy.
    denies("- {name: d, deny: ['**']}\n- {name: a, allow: [refunds.*]}", &["forbidden d"]);
    denies(
        "- {name: g, guard: ['**'], when: 'false'}\n- {name: a, allow: [refunds.*]}",
        &["condition_failed g"],
    );
    let guard = "policy: q\nrules: [{name: g, guard: ['**'], when: 'false'}]";
    let deny = "policy: r\nrules: [{name: d, deny: ['**']}]";
    let allow = rules("- {name: a, allow: ['**']}");
    let judgement = judged(&[&allow, guard, deny], &desk(), &refund(json!(1)));
    assert_eq!(short(&judgement), ["forbidden d", "condition_failed g"]);
    // A guard or deny for something else has no say.
    allows(
        "- {name: a, allow: ['**']}\n- {name: g, guard: [mail.*], when: 'false'}\n- {name: d, deny: [mail.*]}",
    );
    allows("- {name: a, allow: ['**']}\n- {name: d, deny: ['**'], on: ['order://customer:43/**']}");
    allows("- {name: a, allow: ['**']}\n- {name: d, deny: ['**'], when: params.amount > 400}");
}

#[test]
fn the_first_allow_rule_that_holds_is_chosen() {
    let text =
        "- {name: first, allow: [refunds.*], when: params.amount < 100, limits: [{count: 1, per: day}]}
- {name: second, allow: [refunds.*], limits: [{count: 2, per: day}]}
- {name: third, allow: [refunds.*], limits: [{count: 3, per: day}]}";
    let chosen = |amount| {
        let judgement = judged(&[&rules(text)], &desk(), &refund(json!(amount)));
        assert_eq!(judgement.verdict, Verdict::Allow);
        // An exhausted limit never falls through: no other rule's limit is there to fall to.
        assert_eq!(judgement.charges.len(), 1);
        (judgement.chosen[0].1.to_string(), judgement.charges[0].max)
    };
    assert_eq!(chosen(99), ("first".to_owned(), 1));
    assert_eq!(chosen(100), ("second".to_owned(), 2));
}

#[test]
fn limits_and_approvals_of_chosen_rules_and_guards_add_up() {
    let one = "policy: one
rules:
  - {name: a, allow: [refunds.*], limits: [{count: 5, per: day}], approve: {by: ['role:lead'], within: 1h}}
  - {name: g, guard: ['**'], limits: [{count: 9, per: total}], approve: {}}
  - {name: not this, guard: [mail.*], limits: [{count: 9, per: total}], approve: {}}";
    let two = "policy: two
rules: [{name: b, allow: ['**'], limits: [{sum: params.amount, max: 1000.5, per: month, zone: Europe/Paris}]}]";
    let judgement = judged(&[two, one], &desk(), &refund(json!(400.25)));
    assert_eq!(judgement.verdict, Verdict::Hold);
    assert_eq!(short(&judgement), ["approval_required a", "approval_required g"]);
    assert_eq!(judgement.requirements[0].by, [Approver::Role("lead".into())]);
    assert_eq!((judgement.requirements[0].within, judgement.requirements[1].within), (3600, 1800));
    assert_eq!(judgement.requirements[1].by, [Approver::Default]);
    let agent = "agent:agt_00000000z80000000000000001";
    assert_eq!(
        counters(&judgement),
        [
            format!("one/a/count per day UTC by agent/{agent}"),
            format!("one/g/count per total UTC by agent/{agent}"),
            format!("two/b/sum params.amount per month Europe%2FParis by agent/{agent}"),
        ]
    );
    let amounts: Vec<_> =
        judgement.charges.iter().map(|charge| (charge.amount, charge.max, charge.limit)).collect();
    assert_eq!(amounts, [(1, 5, 0), (1, 9, 1), (400_250_000, 1_000_500_000, 2)]);
    assert_eq!(judgement.policies.iter().map(|label| &**label).collect::<Vec<_>>(), ["one@1", "two@1"]);
    assert_eq!(judgement.chosen, [("one@1".into(), "a".into()), ("two@1".into(), "b".into())]);
}

#[test]
fn unknown_is_never_yes() {
    // In an allow the rule doesn't hold and the reason says so.
    denies("- {name: a, allow: ['**'], when: params.missing == 1}", &["condition_unknown a"]);
    denies("- {name: a, allow: ['**'], when: user.name == 'ada'}", &["condition_unknown a"]);
    denies("- {name: a, allow: ['**'], when: risk.score < 7.0}", &["condition_unknown a"]);
    denies("- {name: a, allow: ['**'], when: agent.trust.score >= 600}", &["condition_unknown a"]);
    denies("- {name: a, allow: ['**'], when: context.ip == '::1'}", &["condition_unknown a"]);
    // In a guard it has failed.
    denies(
        "- {name: a, allow: ['**']}\n- {name: g, guard: ['**'], when: params.missing}",
        &["condition_unknown g"],
    );
    // In a deny it has matched, unless another condition refutes it.
    denies("- {name: a, allow: ['**']}\n- {name: d, deny: ['**'], when: params.missing}", &["forbidden d"]);
    allows("- {name: a, allow: ['**']}\n- {name: d, deny: ['**'], when: [params.missing, 'false']}");
    allows("- {name: a, allow: ['**']}\n- {name: d, deny: ['**'], when: ['false', params.missing]}");
    // In approve.when it means hold.
    let hold = "- {name: a, allow: ['**'], approve: {when: params.missing}}";
    assert_eq!(says(hold, &refund(json!(1))), (Verdict::Hold, vec!["approval_required a".to_owned()]));
    allows("- {name: a, allow: ['**'], approve: {when: params.amount > 400}}");
}

#[test]
fn a_template_that_cannot_be_filled_grants_nothing_and_denies_everything() {
    let on = "on: ['order://customer:{{user.id}}/**']";
    denies(&format!("- {{name: a, allow: ['**'], {on}}}"), &["no_rule"]);
    denies(&format!("- {{name: a, allow: ['**']}}\n- {{name: d, deny: ['**'], {on}}}"), &["forbidden d"]);
    let guarded = format!("- {{name: a, allow: ['**']}}\n- {{name: g, guard: ['**'], when: 'false', {on}}}");
    denies(&guarded, &["condition_failed g"]);
}

#[test]
fn templates_are_filled_from_the_link() {
    let own = rules(
        "- {name: a, allow: ['**'], on: ['order://customer:{{user.name}}/{{agent.region}}/{{task.id}}']}",
    );
    let desk = chain(&[spec(1, "desk").label("region", "eu").user(9, "ada").task(7, TaskOrigin::Agent)]);
    let task = id::<crate::id::kind::Task>(7);
    let verdict = |resource: &str| judged(&[&own], &desk, &action("x", resource, json!({}))).verdict;
    assert_eq!(verdict(&format!("order://customer:ada/eu/{task}")), Verdict::Allow);
    assert_eq!(verdict(&format!("order://customer:adam/eu/{task}")), Verdict::Deny);
    assert_eq!(verdict(&format!("order://customer:ada/us/{task}")), Verdict::Deny);
    // The words of a task that the agent made are its own.
    let worded = rules("- {name: a, allow: ['**'], on: ['order://{{task.description}}/**']}");
    let of = |origin| chain(&[spec(1, "desk").task(7, origin)]);
    let mine = action("x", "order://mine/1", json!({}));
    assert_eq!(judged(&[&worded], &of(TaskOrigin::Agent), &mine).verdict, Verdict::Deny);
    assert_eq!(judged(&[&worded], &of(TaskOrigin::Person), &mine).verdict, Verdict::Allow);
    let read = rules("- {name: a, allow: ['**'], when: task.description == 'mine'}");
    assert_eq!(short(&judged(&[&read], &of(TaskOrigin::Agent), &mine)), ["condition_unknown a"]);
    assert_eq!(judged(&[&read], &of(TaskOrigin::Person), &mine).verdict, Verdict::Allow);
}

#[test]
fn sums_that_cannot_be_counted_deny() {
    let text = rules("- {name: a, allow: ['**'], limits: [{sum: params.amount, max: 100, per: day}]}");
    for (amount, code) in [
        (json!("5"), "condition_unknown a"),
        (json!(null), "condition_unknown a"),
        (json!([1]), "condition_unknown a"),
        (json!(0), "condition_failed a"),
        (json!(-1), "condition_failed a"),
        (json!(0.0000001), "condition_failed a"),
        (serde_json::from_str("1e13").unwrap(), "condition_failed a"),
        (serde_json::from_str("1e999").unwrap(), "condition_unknown a"),
    ] {
        let judgement = judged(&[&text], &desk(), &refund(amount.clone()));
        assert_eq!(
            (judgement.verdict, short(&judgement)),
            (Verdict::Deny, vec![code.to_owned()]),
            "{amount}"
        );
        assert!(judgement.reasons[0].detail.is_some() && judgement.charges.is_empty());
    }
    let judgement = judged(&[&text], &desk(), &action("x", "a://b", json!({})));
    assert_eq!(short(&judgement), ["condition_unknown a"]);
    let judgement = judged(&[&text], &desk(), &refund(json!(0.000001)));
    assert_eq!(judgement.charges[0].amount, 1);
}

#[test]
fn an_allow_must_cover_what_is_known_and_the_others_only_meet_it() {
    let mut order = refund(json!(1));
    order.known = ResourcePattern::parse("order://customer:*/7").unwrap();
    assert_eq!(says("- {name: a, allow: ['**'], on: ['order://customer:42/*']}", &order).0, Verdict::Deny);
    assert_eq!(says("- {name: a, allow: ['**'], on: ['order://*/7']}", &order).0, Verdict::Allow);
    let with = |rule: &str| says(&format!("- {{name: a, allow: ['**']}}\n- {{name: r, {rule}}}"), &order).0;
    assert_eq!(with("deny: ['**'], on: ['order://customer:43/7']"), Verdict::Deny);
    assert_eq!(with("deny: ['**'], on: ['order://customer:43/8']"), Verdict::Allow);
    assert_eq!(with("guard: ['**'], when: 'false', on: ['order://customer:43/7']"), Verdict::Deny);
    // Conditions see what is known, and nothing else.
    assert_eq!(with("guard: ['**'], when: \"resource.scheme == 'order'\""), Verdict::Allow);
    for claimed in ["resource.uri != ''", "resource.authority != ''"] {
        assert_eq!(with(&format!("guard: ['**'], when: \"{claimed}\"")), Verdict::Deny, "{claimed}");
    }
    assert_eq!(with("guard: ['**'], when: \"resource.segments[0] == '7'\""), Verdict::Allow);
    let undeclared = Action::undeclared(order.name.clone(), order.resource.clone(), (*order.params).clone());
    assert_eq!(says("- {name: a, allow: ['**'], on: ['order://**']}", &undeclared).0, Verdict::Deny);
}

#[test]
fn every_authority_and_level_must_permit() {
    let allow = rules("- {name: a, allow: ['**']}");
    let mut narrow = spec(1, "desk");
    narrow.authority.resources = vec![ResourcePattern::parse("order://customer:43/**").unwrap()];
    let judgement = judged(&[&allow], &chain(&[narrow.clone(), spec(2, "boss")]), &refund(json!(1)));
    assert_eq!(short(&judgement), ["not_granted"]);
    assert_eq!(judgement.reasons[0].remedy["resource"], "order://customer:42/7");
    assert_eq!(
        short(&judged(&[&allow], &chain(&[spec(2, "kid"), narrow]), &refund(json!(1)))),
        ["not_granted"]
    );
    let mut bounded = spec(1, "desk");
    bounded.registration.tools = Vec::new();
    let judgement = judged(&[&allow], &chain(&[bounded, spec(2, "boss")]), &refund(json!(1)));
    assert_eq!(judgement.reasons[0].remedy["tool"], "refunds.create");
    let mut low = spec(2, "boss");
    low.agent.level = Level::Restricted;
    let judgement = judged(&[&allow], &chain(&[spec(1, "desk"), low]), &refund(json!(1)));
    assert_eq!(judgement.reasons[0].remedy["level"], "standard");
    // Not granted comes first, so that it decides the status.
    let mut none = spec(1, "desk");
    none.authority.scope = Vec::new();
    let judgement =
        judged(&["policy: q\nrules: [{name: d, deny: ['**']}]"], &chain(&[none]), &refund(json!(1)));
    assert_eq!(short(&judgement), ["not_granted", "forbidden d", "no_rule"]);
}

#[test]
fn every_agent_of_the_chain_must_allow() {
    let kid = "policy: kid\napplies_to: {agents: [kid]}\nrules: [{name: k, allow: ['**'], limits: [{count: 5, per: day}]}]";
    let boss = "policy: boss\napplies_to: {agents: [bo*s]}\nrules: [{name: b, allow: [refunds.*], limits: [{count: 5, per: day}]}]";
    let family = chain(&[spec(1, "kid"), spec(2, "boss")]);
    assert_eq!(short(&judged(&[kid], &family, &refund(json!(1)))), ["no_rule"]);
    assert_eq!(short(&judged(&[boss], &family, &refund(json!(1)))), ["no_rule"]);
    let both = judged(&[kid, boss], &family, &refund(json!(1)));
    assert_eq!((both.verdict, both.charges.len()), (Verdict::Allow, 2));
    assert!(
        counters(&both)[1].starts_with("boss/b/")
            && counters(&both)[1].ends_with(&id::<crate::id::kind::Agent>(2).to_string())
    );
    assert_eq!(short(&judged(&[kid, boss], &family, &action("x", "a://b", json!({})))), ["no_rule"]);
    // A shared policy is evaluated for each, each with its own labels.
    let team = "policy: team\nrules: [{name: t, allow: ['**'], when: \"agent.labels.team == 'a'\"}]";
    let one = chain(&[spec(1, "kid").label("team", "a"), spec(2, "boss").label("team", "b")]);
    assert_eq!(short(&judged(&[team], &one, &refund(json!(1)))), ["condition_failed t"]);
}

#[test]
fn labels_and_handles_select() {
    let select = |applies: &str| {
        let text = format!("policy: p\napplies_to: {applies}\nrules: [{{name: a, allow: ['**']}}]");
        let desk = chain(&[spec(1, "support-eu-1").label("team", "support").label("tier", "2")]);
        judged(&[&text], &desk, &refund(json!(1))).verdict == Verdict::Allow
    };
    for yes in [
        "{agents: [support-eu-1]}",
        "{agents: ['support-*']}",
        "{agents: ['s*-eu-*', nobody]}",
        "{agents: ['*']}",
        "{labels: {team: support}}",
        "{labels: {team: [sales, support]}}",
        "{labels: {team: support, tier: ['1', '2']}}",
        "{agents: ['support-*'], labels: {team: support}}",
    ] {
        assert!(select(yes), "{yes}");
    }
    for no in [
        "{agents: [support]}",
        "{agents: ['support-*-x']}",
        "{labels: {team: sales}}",
        "{labels: {team: support, tier: '3'}}",
        "{labels: {other: support}}",
        "{agents: ['support-*'], labels: {team: sales}}",
        "{agents: ['x*'], labels: {team: support}}",
    ] {
        assert!(!select(no), "{no}");
    }
}

#[test]
fn a_counter_is_charged_once_however_many_links_reach_it() {
    let limited = |by: &str| {
        rules(&format!("- {{name: a, allow: ['**'], limits: [{{count: 5, per: day, by: {by}}}]}}"))
    };
    // The same user and the same agent at both ends.
    let family = chain(&[
        spec(1, "kid").user(9, "ada").task(7, TaskOrigin::Person),
        spec(2, "boss").user(9, "ada").task(8, TaskOrigin::Person),
        spec(1, "kid").user(9, "ada").task(8, TaskOrigin::Person),
    ]);
    let by = |by: &str| judged(&[&limited(by)], &family, &refund(json!(1))).charges;
    assert_eq!((by("user").len(), by("agent").len(), by("task").len(), by("grant").len()), (1, 2, 2, 3));
    assert_eq!(by("resource").len(), 1);
    assert!(by("resource")[0].counter.ends_with("/resource:order:%2F%2Fcustomer:42%2F7"));
    // Nobody to charge is unknown.
    assert_eq!(short(&judged(&[&limited("user")], &desk(), &refund(json!(1)))), ["condition_unknown a"]);
    assert_eq!(short(&judged(&[&limited("task")], &desk(), &refund(json!(1)))), ["condition_unknown a"]);
}

#[test]
fn what_an_agent_makes_itself_gives_no_fresh_counter() {
    for by in ["task", "grant"] {
        let limited =
            rules(&format!("- {{name: a, allow: ['**'], limits: [{{count: 5, per: day, by: {by}}}]}}"));
        let charges = |task, origin| {
            let desk = chain(&[spec(1, "desk").user(9, "ada").task(task, origin)]);
            let judgement = judged(&[&limited], &desk, &refund(json!(1)));
            counters(&judgement).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(charges(7, TaskOrigin::Person).len(), 1);
        let (one, other) = (charges(7, TaskOrigin::Agent), charges(8, TaskOrigin::Agent));
        assert_eq!((one.len(), &one[1]), (2, &other[1]), "{by}");
        assert!(one[1].contains("/agent-user:agt_") && one[1].contains("+usr_"));
        // Nor does a child grant of its own.
        let person = spec(1, "desk").user(9, "ada").task(7, TaskOrigin::Person);
        let both = chain(&[person.clone(), person]);
        let judgement = judged(&[&limited], &both, &refund(json!(1)));
        let parent = id::<crate::id::kind::Grant>(51).to_string();
        assert!(by == "task" || counters(&judgement).iter().any(|counter| counter.ends_with(&parent)));
    }
    // A claimed part of the resource neither.
    let limited = rules("- {name: a, allow: ['**'], limits: [{count: 5, per: day, by: resource}]}");
    let claimed = |text: &str| {
        let mut order = action("x", text, json!({}));
        order.known = ResourcePattern::parse("order://customer:*/7").unwrap();
        judged(&[&limited], &desk(), &order).charges
    };
    assert_eq!(claimed("order://customer:42/7"), claimed("order://customer:43/7"));
}

#[test]
fn the_limits_of_every_grant_apply() {
    let family = chain(&[
        spec(1, "kid").limit(json!({"count": 3, "per": "day"})),
        spec(2, "boss").limit(json!({"sum": "params.amount", "max": 50, "per": "total"})),
    ]);
    let judgement = judged(&[&rules("- {name: a, allow: ['**']}")], &family, &refund(json!(10)));
    let [one, two] = [50, 51].map(id::<crate::id::kind::Grant>);
    assert!(counters(&judgement)[0].starts_with(&format!("grant:{one}/count per day UTC by agent/agent:")));
    assert!(
        counters(&judgement)[1]
            .starts_with(&format!("grant:{two}/sum params.amount per total UTC by agent/"))
    );
    assert_eq!(&*judgement.limits[1].policy, two.to_string());
    assert_eq!(judgement.charges[1].amount, 10_000_000);
}

#[test]
fn one_counter_takes_the_smallest_maximum_and_the_largest_amount() {
    let twice = spec(1, "desk")
        .limit(json!({"count": 9, "per": "day"}))
        .limit(json!({"count": 2, "per": "day"}))
        .limit(json!({"count": 5, "per": "day"}));
    let judgement = judged(&[&rules("- {name: a, allow: ['**']}")], &chain(&[twice]), &refund(json!(1)));
    assert_eq!(judgement.charges.iter().map(|charge| charge.max).collect::<Vec<_>>(), [2]);
    assert!(judgement.charges[0].window.start <= NOW && NOW < judgement.charges[0].window.end);
    let deep =
        rules("- {name: a, allow: ['**'], limits: [{sum: 3 - grant.depth, max: 9, per: day, by: user}]}");
    let family = chain(&[spec(1, "kid").user(9, "ada"), spec(2, "boss").user(9, "ada")]);
    let judgement = judged(&[&deep], &family, &refund(json!(1)));
    assert_eq!(judgement.charges.iter().map(|charge| charge.amount).collect::<Vec<_>>(), [3_000_000]);
}

#[test]
fn a_denial_names_what_failed_and_what_would_pass() {
    let text = "- name: small
  allow: [refunds.*]
  when:
    - params.amount <= 500 && params.currency == 'EUR'
    - params.amount > 0
    - params.amount in [1, 2]
    - params.why != 'x'
- {name: other, allow: [refunds.*], when: agent.labels.team == 'a'}
- {name: elsewhere, allow: [mail.*], when: 'false'}";
    let judgement = judged(&[&rules(text)], &desk(), &refund(json!(750)));
    let shown: Vec<_> =
        judgement.reasons.iter().map(|reason| serde_json::to_value(reason).unwrap()).collect();
    assert_eq!(
        json!(shown),
        json!([
            {"code": "condition_failed", "policy": "p@1", "rule": "small", "expression": "params.amount <= 500",
             "observed": {"params.amount": 750}, "remedy": {"params.amount": {"max": 500}}},
            {"code": "condition_failed", "policy": "p@1", "rule": "small", "expression": "params.currency == 'EUR'",
             "observed": {"params.currency": "USD"}, "remedy": {"params.currency": {"equals": "EUR"}}},
            {"code": "condition_failed", "policy": "p@1", "rule": "small", "expression": "params.amount in [1, 2]",
             "observed": {"params.amount": 750}, "remedy": {"params.amount": {"one_of": [1, 2]}}},
            {"code": "condition_unknown", "policy": "p@1", "rule": "small", "expression": "params.why != 'x'",
             "observed": {"params.why": null}, "remedy": {"params.why": {"not": "x"}}},
            {"code": "condition_unknown", "policy": "p@1", "rule": "other",
             "expression": "agent.labels.team == 'a'", "observed": {"agent.labels.team": null},
             "remedy": {"agent.labels.team": {"equals": "a"}}},
        ])
    );
    // An agent is told nothing of what it did not send, though the fact was absent.
    let seen = serde_json::to_value(judgement.reasons[4].disclosed_to(Reader::Agent)).unwrap();
    assert_eq!(seen, json!({"code": "condition_unknown", "policy": "p@1", "rule": "other"}));
    assert_eq!(judgement.reasons[0].disclosed_to(Reader::Agent), judgement.reasons[0]);
}

#[test]
fn long_values_are_not_repeated() {
    let long = action("x", "a://b", json!({"text": "y".repeat(10_000), "list": vec![0; 1000]}));
    let text = "- {name: a, allow: ['**'], when: [params.text == '', 'params.list == []']}";
    let judgement = judged(&[&rules(text)], &desk(), &long);
    assert!(judgement.reasons[0].observed["params.text"].as_str().unwrap().len() < 300);
    assert_eq!(judgement.reasons[1].observed["params.list"], "(a list of 1000 items)");
}

#[test]
fn running_out_of_fuel_is_unknown_for_all_that_follows() {
    let list: Vec<u32> = (0..400).collect();
    let costly = action("x", "a://b", json!({"l": list}));
    let burn = "params.l.all(a, params.l.all(b, a + b >= 0))";
    let text = format!(
        "- {{name: a, allow: ['**']}}\n- {{name: g, guard: ['**'], when: \"{burn}\"}}
- {{name: d, deny: ['**'], when: 'params.l == [1]'}}"
    );
    assert_eq!(
        says(&text, &costly),
        (Verdict::Deny, vec!["forbidden d".into(), "condition_unknown g".into()])
    );
}

#[test]
fn policies_of_another_chain_deny() {
    let set = PolicySet::new(vec![crate::policy::fixture::policy(&rules("- {name: a, allow: ['**']}"))]);
    let other = chain(&[spec(1, "a"), spec(2, "b"), spec(3, "c")]);
    let mut links = other.links().to_vec();
    links.remove(0);
    let above = Chain::assemble(links, Vec::new(), NOW).unwrap();
    let order = refund(json!(1));
    let judgement =
        judge(&set.bind(&other), &Request { chain: &above, action: &order, now: NOW, context: None });
    assert_eq!((judgement.verdict, judgement.reasons[0].code), (Verdict::Deny, Code::Internal));
}

#[test]
fn context_is_seen_where_it_is_given() {
    let set = PolicySet::new(vec![crate::policy::fixture::policy(&rules(
        "- {name: a, allow: ['**'], when: context.ok}",
    ))]);
    let (desk, order, context) = (desk(), refund(json!(1)), json!({"ok": true}));
    let request = Request { chain: &desk, action: &order, now: NOW, context: Some(&context) };
    assert_eq!(judge(&set.bind(&desk), &request).verdict, Verdict::Allow);
    assert_eq!(judge(&set.bind(&desk), &Request { context: None, ..request }).verdict, Verdict::Deny);
}

#[test]
fn ten_thousand_policies_judge_like_three() {
    let own = [
        rules("- {name: a, allow: ['**'], limits: [{count: 5, per: day}]}"),
        "policy: q\napplies_to: {agents: ['des*']}\nrules: [{name: g, guard: ['**'], when: params.amount < 500}]".to_owned(),
        "policy: r\napplies_to: {labels: {team: a}}\nrules: [{name: d, deny: ['**'], when: params.amount == 1}]".to_owned(),
    ];
    let few: Vec<_> = own.iter().map(|text| crate::policy::fixture::policy(text)).collect();
    let mut many = few.clone();
    many.extend((0..10_000).map(|number| {
        let applies = match number % 3 {
            0 => format!("agents: [other-{number}]"),
            1 => format!("agents: ['other-{number}-*']"),
            _ => format!("labels: {{team: t{number}}}"),
        };
        let text =
            format!("policy: n{number}\napplies_to: {{{applies}}}\nrules: [{{name: d, deny: ['**']}}]");
        crate::policy::fixture::policy(&text)
    }));
    let (few, many) = (PolicySet::new(few), PolicySet::new(many));
    let desk = chain(&[spec(1, "desk").label("team", "a")]);
    for amount in [1, 2, 499, 500] {
        let order = refund(json!(amount));
        let request = Request { chain: &desk, action: &order, now: NOW, context: None };
        assert_eq!(judge(&few.bind(&desk), &request), judge(&many.bind(&desk), &request));
    }
}

#[test]
fn hours_are_one_more_condition() {
    // NOW is Monday noon, UTC.
    let (open, closed) = ("hours: {days: mon, zone: UTC}", "hours: {from: '13:00', to: '15:00', zone: UTC}");
    allows(&format!("- {{name: a, allow: ['**'], {open}}}"));
    denies(&format!("- {{name: a, allow: ['**'], {closed}}}"), &["outside_hours a"]);
    allows(&format!("- {{name: a, allow: ['**'], {closed}}}\n- {{name: b, allow: ['**']}}"));
    allows(&format!("- {{name: a, allow: ['**']}}\n- {{name: g, guard: ['**'], {open}}}"));
    denies(
        &format!("- {{name: a, allow: ['**']}}\n- {{name: g, guard: ['**'], {closed}, when: 'false'}}"),
        &["outside_hours g", "condition_failed g"],
    );
    // A deny forbids within its hours, also where its conditions are unknown.
    denies(&format!("- {{name: a, allow: ['**']}}\n- {{name: d, deny: ['**'], {open}}}"), &["forbidden d"]);
    allows(&format!(
        "- {{name: a, allow: ['**']}}\n- {{name: d, deny: ['**'], {closed}, when: params.gone}}"
    ));
    let judgement =
        judged(&[&rules(&format!("- {{name: a, allow: ['**'], {closed}}}"))], &desk(), &refund(json!(1)));
    let seen = |reader| serde_json::to_value(judgement.reasons[0].disclosed_to(reader)).unwrap();
    assert_eq!(
        seen(Reader::Administrator),
        json!({"code": "outside_hours", "policy": "p@1", "rule": "a", "expression": "hours: mon-sun 13:00-15:00 UTC",
               "observed": {"now": "2026-11-02T12:00:00Z"}, "remedy": {"retry_at": "2026-11-02T13:00:00Z"}})
    );
    assert_eq!(
        seen(Reader::Agent),
        json!({"code": "outside_hours", "policy": "p@1", "rule": "a", "remedy": {"retry_at": "2026-11-02T13:00:00Z"}})
    );
}

#[test]
fn rates_and_leases_are_charged_once_and_the_stricter_stands() {
    let text = "- {name: a, allow: ['**'], limits: [{rate: 100/hour}, {concurrent: 3, by: user}]}";
    let family = chain(&[
        spec(1, "kid").user(9, "ada"),
        spec(2, "boss").user(9, "ada"),
        spec(1, "kid").user(9, "ada"),
    ]);
    let charges = judged(&[&rules(text)], &family, &refund(json!(1))).charges;
    let shown: Vec<_> = charges.iter().map(|charge| (charge.amount, charge.max, charge.meter)).collect();
    let rate = Meter::Rate(Rate::parse("100/hour").unwrap());
    assert_eq!(shown, [(1, 100, rate), (1, 3, Meter::Concurrent), (1, 100, rate)]);
    assert!(charges.iter().all(|charge| charge.window.start.as_micros() == 0));
    let twice = spec(1, "desk")
        .limit(json!({"rate": "60/hour", "burst": 9}))
        .limit(json!({"rate": "50/hour"}))
        .limit(json!({"rate": "1/minute"}));
    let charges =
        judged(&[&rules("- {name: a, allow: ['**']}")], &chain(&[twice]), &refund(json!(1))).charges;
    let shown: Vec<_> = charges.iter().map(|charge| (charge.max, charge.meter)).collect();
    let [hour, minute] = ["50/hour", "1/minute"].map(|text| Meter::Rate(Rate::parse(text).unwrap()));
    assert_eq!(shown, [(9, hour), (1, minute)]);
}

#[test]
fn an_observed_policy_has_no_say_and_is_heard() {
    let observed = |rules: &str| format!("policy: o\nmode: observe\nrules:\n{rules}");
    let allow = rules("- {name: a, allow: ['**'], limits: [{count: 5, per: day}]}");
    let said = |texts: &[&str]| {
        let judgement = judged(texts, &desk(), &refund(json!(400)));
        let bare: Vec<_> = texts.iter().copied().filter(|text| !text.contains("observe")).collect();
        let without = judged(&bare, &desk(), &refund(json!(400)));
        // Nothing else differs by it.
        assert_eq!(Judgement { observed: Vec::new(), ..judgement.clone() }, without);
        let shown = judgement.observed.iter().map(|it| {
            let code = it.reason.as_ref().map(|reason| reason.code.as_str()).unwrap_or_default();
            format!("{:?} {} {} {code}", it.would, it.policy, it.rule.as_deref().unwrap_or_default())
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(said(&[&allow, &observed("- {name: d, deny: ['**']}")]), ["Deny o@1 d forbidden"]);
    assert_eq!(
        said(&[&allow, &observed("- {name: g, guard: ['**'], when: [params.amount < 5, params.gone]}")]),
        ["Deny o@1 g condition_failed", "Deny o@1 g condition_unknown"]
    );
    assert_eq!(
        said(&[&allow, &observed("- {name: g, guard: ['**'], approve: {}}")]),
        ["Hold o@1 g approval_required"]
    );
    assert_eq!(
        said(&[
            &allow,
            &observed("- {name: g, guard: ['**'], limits: [{sum: params.amount, max: 5, per: day}]}")
        ]),
        ["Deny o@1 g limit_exceeded"]
    );
    // What a policy in force allows anyway is nothing to tell; what only the observed one allows is.
    assert_eq!(said(&[&allow, &observed("- {name: a, allow: ['**']}")]), Vec::<String>::new());
    assert_eq!(
        said(&[&observed("- {name: a, allow: ['**'], limits: [{count: 9, per: day}]}")]),
        ["Allow o@1 a "]
    );
    // It burns no fuel of the others, and is bounded.
    let many: String =
        (0..100).map(|n| format!("- {{name: g{n}, guard: ['**'], when: 'false'}}\n")).collect();
    assert_eq!(said(&[&allow, &observed(&many)]).len(), observe::MOST);
}
