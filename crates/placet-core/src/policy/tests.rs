//! What the loader says, and that no value widens a template.

mod approvers;
mod keys;
mod page;
mod shape;

use super::{
    fixture::{self, action, chain, judged, spec},
    *,
};
use crate::{judge::Verdict, pattern::ResourceUri};
use proptest::prelude::*;
use serde_json::json;

/// All that the loader says about a document, as people read it.
fn said(source: &str, services: &[&Service]) -> String {
    let found = match Policy::load(source.as_bytes(), Some("p.yaml"), 1, services) {
        Ok((_, warnings)) => warnings,
        Err(found) => {
            assert!(found.iter().any(Diagnostic::is_error));
            found
        }
    };
    found.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n")
}

/// The errors in one line each: place, message, help.
fn errors(source: &str) -> Vec<String> {
    match Policy::load(source.as_bytes(), None, 1, &[]) {
        Ok(_) => Vec::new(),
        Err(found) => found
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
            .map(|it| {
                let at = it.position.map(|at| format!("{at} ")).unwrap_or_default();
                let help = it.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{at}{}{help}", it.message)
            })
            .collect(),
    }
}

fn shop(resource: &str, more: &str) -> Service {
    let text = format!(
        "service: shop
base_url: https://shop.example
auth: {{type: bearer}}
actions:
  orders.read:
    method: GET
    path: /orders/{{order_id}}
    resource: \"{resource}\"
    effect: read
{more}"
    );
    match Service::parse(text.as_bytes(), None) {
        Ok((service, _)) => service,
        Err(found) => panic!("{}", found[0].render()),
    }
}

fn claiming() -> Service {
    shop("order://customer:{customer_id}/{order_id}", CUSTOMER)
}

fn binding() -> Service {
    shop("order://customer:{customer_id}/{order_id}", &format!("    binds: [customer_id]\n{CUSTOMER}"))
}

const CUSTOMER: &str = "    params: {type: object, properties: {customer_id: {}}}\n";

const DESIGN: &str = r#"
policy: support-desk
applies_to: {agents: ["support-*"], labels: {team: support}}
mode: enforce
rules:
  - name: read own orders
    allow: [orders.read, orders.list]
    on: ["order://customer:{{user.id}}/**"]
    shape:                          # what comes back
      rows: {at: "$.orders", max: 50, where: item.region == "US"}
      redact: ["$.orders[*].card", "$.orders[*].ssn"]
  - name: small refunds
    allow: [refunds.create]
    on: ["order://customer:{{user.id}}/*"]
    when:
      - params.amount <= 500
      - params.currency == "USD"
    limits:
      - {count: 5, per: day, zone: America/New_York}
      - {sum: params.amount, max: 2000, per: day}
      - {rate: 100/hour}
    approve: {when: params.amount > 100, by: ["role:support-lead"], within: 30m}
  - name: office hours
    guard: ["**"]
    hours: {days: mon-fri, from: "09:00", to: "17:00", zone: America/New_York}
  - name: only proven agents move money
    guard: [refunds.*]
    when: [agent.trust.score >= 600, risk.score < 7.0]
  - name: no bulk
    deny: [refunds.create_bulk, admin.**]
record: {keep: 90d}
"#;

#[test]
fn the_example_of_the_design_loads() {
    let (policy, warnings) = Policy::load(DESIGN.as_bytes(), None, 7, &[&binding()]).unwrap();
    assert_eq!((policy.name(), policy.version(), policy.label()), ("support-desk", 7, "support-desk@7"));
    assert_eq!(
        policy.rule_names().collect::<Vec<_>>(),
        ["read own orders", "small refunds", "office hours", "only proven agents move money", "no bulk"]
    );
    assert!(warnings.iter().all(|warning| warning.message.contains("no service declares")), "{warnings:?}");
}

#[test]
fn mistakes_are_named_with_their_place() {
    insta::assert_snapshot!(errors("polcy: p\nrules: []\napplies_to: {}").join("\n"), @r#"
1:1 unknown key `polcy` (did you mean `policy`?)
1:1 `policy` is missing
2:8 `rules` is empty: a policy without rules allows nothing; write at least one
3:13 `applies_to` is empty; leave it out to apply to every agent
"#);
    insta::assert_snapshot!(errors("policy: 'a b'\nmode: enforced\nrules:
  - {name: a, alow: [x]}
  - {name: b, allow: [x], deny: [y]}
  - {allow: [x]}
  - {name: a, allow: []}
  - {name: c, deny: [x], limits: [{count: 1, per: day}], approve: {}}
  - {name: d, allow: x..y, on: 'order:42'}
  - {name: e, allow: x, on: []}
  - {name: f, allow: x, when: []}
  - {name: g, allow: x, when: 'parms.amount > 1'}
  - {name: h, allow: x, when: 'params.a > 1 && && true'}
  - {name: i, allow: x, when: true}
  - {name: ' j', allow: x}
  - just text").join("\n"), @r#"
1:9 `a b` is no name of a policy: a letter or digit, then letters, digits, `.`, `_`, `-`, at most 64
2:7 `mode` must be one of `enforce`, `observe`, not `enforced` (did you mean `enforce`?)
4:5 the rule has none of `allow`, `deny`, `guard` (say what it does, as in `allow: [orders.read]`)
4:15 unknown key `alow` (did you mean `allow`?)
5:27 a rule has only one of `allow`, `deny`, `guard` (split it in two)
6:5 `name` is missing
7:12 the name `a` is used twice (the first is on line 4)
7:22 the list is empty: name at least an action
8:26 a `deny` has no `limits`: nothing that it matches may run
8:58 a `deny` has no `approve`: nothing that it matches may run
9:22 `x..y` is not an action pattern: a segment is empty
9:33 `order:42` is not a resource pattern: it has the form `scheme://authority/segments`
10:29 the list is empty: name at least a resource, or leave `on` out for every resource
11:31 the list is empty: name at least a condition, or leave `when` out
12:32 unknown name `parms`; did you mean `params`?
13:44 an operand of `&&` is empty: write a condition there
14:31 `when` must be a string, not `true` (put it in quotes)
15:12 a rule's name is one line of 1 to 100 characters, without spaces around it
16:5 `rules[12]` must be a map, not the string `just text`
"#);
    insta::assert_snapshot!(errors("policy: p\nrules:
  - name: a
    allow: x
    limits:
      - {count: -1, per: day}
      - {count: 1, per: dya}
      - {count: 1}
      - {sum: params.amount, per: day}
      - {sum: params.amount +, max: 1, per: day}
      - {sum: params.amount, max: 0.00000001, per: day}
      - {count: 1, max: 2, per: day}
      - {count: 1, per: day, zone: Mars/Olympus}
      - {count: 1, per: day, by: team}
      - {cuont: 1, per: day}
      - {count: 1, per: hour}
      - {count: 2, per: hour}
      - {sum: 'true', max: 1, per: day}
    approve: {when: params.a, by: [support-lead], within: 8d, who: x}").join("\n"), @r#"
6:17 `count` is a whole number, 0 or more
7:25 `dya` is no span; use minute, hour, day, week, month or total (did you mean `day`?)
8:9 `per` is missing: minute, hour, day, week, month or total
9:15 a limit has `count`, `rate`, `concurrent`, or `sum` with `max`
10:30 the condition ends too early
11:35 `max`: the amount has more than 6 fractional digits
12:17 `count` stands alone, without `sum` and `max`
13:36 `Mars/Olympus` is no IANA time zone, such as Europe/Paris
14:34 `team` is unknown; use agent, user, task, grant or resource, or an expression such as `params.recipient`
15:10 unknown key `cuont` (did you mean `count`?)
17:9 the rule has this limit already; only the maximum differs
19:36 `support-lead` is no approver: write `role:NAME` or `user:NAME`
19:59 a time is from `1s` to `7d`
19:63 unknown key `who`
"#);
    insta::assert_snapshot!(errors("policy: p\nrules:
  - {name: a, allow: x, on: 'order://{{usr.id}}/*'}
  - {name: b, allow: x, on: 'order://{{user.id}/*'}
  - {name: c, allow: x, on: 'order://{user.id}/*'}
  - {name: d, allow: x, on: '{{agent.kind}}://x/*'}
  - {name: e, allow: x, on: 'order://{{user.id}}//x'}
  - {name: f, allow: x, on: 'order://{{user.id}}/**/x'}
  - {name: g, allow: x, when: \"user.id == '{{user.id}}'\"}").join("\n"), @r#"
3:38 `usr.id` can't be filled in: a template names a fact of `user`, `agent` or `task` (did you mean `user.id`?)
4:38 `{{` is not closed: write `}}` behind the name
5:38 a template has two braces, as in `{{user.id}}`; a brace itself is written `%7B` or `%7D`
6:30 a template begins with its scheme, as in `order://`, written out
7:30 a component of the resource is empty
8:30 `**` is not a part of a resource pattern: `**` stands only as the last component
9:44 a template stands only in `on`; a condition reads the variable: `user.id`
"#);
    insta::assert_snapshot!(errors("policy: p\nrules:
  - {name: a, allow: x, when: agent.hndle == 'x'}
  - {name: b, allow: x, when: resource.segments == 1}
  - {name: c, allow: x, when: user.name}
  - {name: d, allow: x, approve: {when: grant.depth == 'x'}}").join("\n"), @r#"
3:36 no such field `agent.hndle`; did you mean `handle`?
4:49 a list and a number are never equal
5:35 a condition must be true or false, and this is a string
6:53 a number and a string are never equal
"#);
}

#[test]
fn limits_hours_and_what_is_kept() {
    insta::assert_snapshot!(errors("policy: p
mode: watch
record: {keep: 90}
rules:
  - name: a
    allow: x
    hours: {days: mon-fry, from: '9:00', until: '17:00'}
    limits:
      - {rate: 100/week}
      - {rate: 100/hour, per: day}
      - {rate: 100/hour, burst: 0}
      - {rate: 100, burst: 5}
      - {rate: 5/minute}
      - {rate: 9/minute, burst: 2}
      - {concurrent: 2, zone: UTC}
      - {concurrent: 2.5}
      - {concurrent: 2, rate: 5/day}
      - {count: 5, per: day, burst: 2}
  - {name: b, allow: x, hours: []}
  - {name: c, allow: x, hours: {zone: UTC}}").join("\n"), @r#"
2:7 `mode` must be one of `enforce`, `observe`, not `watch`
3:16 `keep` must be a string, not the number `90` (put it in quotes)
7:19 `mon-fry` is no day: write `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, a range like `mon-fri` or a list
7:42 unknown key `until`
9:16 `100/week` is no rate: write a whole number, a slash and second, minute, hour or day, as in `100/hour`
10:31 a `rate` has no `per`
11:33 `burst` is a whole number, 1 to 1000000000
12:16 `rate` is text, as in `100/hour`
14:9 the rule has this limit already; only the maximum differs
15:31 a `concurrent` has no `zone`
16:22 `concurrent` is a whole number, 0 or more
17:22 `concurrent` is a limit of its own: write two
18:17 `count` stands alone, without `sum` and `max`
19:32 the list is empty: name the hours, or leave `hours` out for always
20:32 `hours` needs `days`, or `from` and `to`
"#);
    let load = |text: &str| Policy::load(text.as_bytes(), None, 1, &[]).unwrap().0;
    let plain = load("policy: p\nrules: [{name: a, allow: x}]");
    assert_eq!((plain.mode(), plain.keep()), (Mode::Enforce, None));
    let kept = load("policy: p\nmode: observe\nrecord: {keep: 90d}\nrules: [{name: a, allow: x}]");
    assert_eq!((kept.mode(), kept.keep()), (Mode::Observe, Some(Duration::from_secs(90 * 86_400))));
}

#[test]
fn the_longest_keep_of_the_policies_in_force_wins() {
    let text = |name: &str, more: &str| format!("policy: {name}\n{more}\nrules: [{{name: a, allow: x}}]");
    let bound = |texts: &[String]| {
        let set = PolicySet::new(texts.iter().map(|text| fixture::policy(text)).collect());
        let bound = set.bind(&chain(&[spec(1, "kid"), spec(2, "boss")]));
        (bound.keep().map(|keep| keep.as_secs() / 86_400), bound.keep_until(fixture::NOW))
    };
    let kid = text("k", "applies_to: {agents: [kid]}\nrecord: {keep: 30d}");
    let boss = text("b", "applies_to: {agents: [boss]}\nrecord: {keep: 90d}");
    let observed = text("o", "mode: observe\nrecord: {keep: 900d}");
    let other = text("x", "applies_to: {agents: [x]}\nrecord: {keep: 900d}");
    let days = |days: u64| Some(fixture::NOW.plus(Duration::from_secs(days * 86_400)));
    assert_eq!(bound(&[text("p", "")]), (None, None));
    assert_eq!(bound(&[text("p", ""), kid.clone()]), (Some(30), days(30)));
    assert_eq!(bound(&[kid, boss, observed, other]), (Some(90), days(90)));
}

#[test]
fn rules_are_written_in_full_and_load_again() {
    let odd = r##"
policy: odd
mode: observe
rules:
  - {name: "it's \"odd\" # {x}: [é]", guard: x.y, on: ["order://a b/*", "r://{{agent.x}}-y/**"], when: "params.a == 'é' || params.b == \"\\\\\""}
  - {name: n, allow: '**', hours: [{days: sun, to: '06:00', zone: Asia/Kathmandu}, {from: '22:00', to: '02:00'}]}
  - {name: k, allow: '**', limits: [{count: 5, per: day, by: 'params.to + "/\"" + string(params.n)'}, {rate: 1/day, by: 'params.a && params.b'}], approve: {by: ['role:a', 'user:b@c'], not: [user, owner, 'role:x', 'user:y'], count: 3, distinct: true}}
  - {name: l, allow: '**', limits: [{concurrent: 2, by: user}, {rate: 5/second, burst: 1}, {sum: 'params.a + 1', max: 0.5, per: total, by: task}], approve: {within: 90s}}
  - {name: s, guard: '**', shape: {rows: [{at: "$['a b'][0]", where: ['item > 1', "user.name == 'x' && true"]}, {at: $, max: 1}], redact: "$[*]['it\\'s']"}}
  - {name: r, guard: '**', shape: {redact: [$.a]}, approve: {}}
"##;
    let load = |text: &str| Policy::load(text.as_bytes(), None, 1, &[]).unwrap().0;
    for text in [DESIGN, odd] {
        let policy = load(text);
        let full = policy.in_full();
        assert_eq!(load(&full).in_full(), full);
        let judged_alike = |text: &str| {
            let desk = chain(&[spec(1, "support-1").label("team", "support").user(9, "ada")]);
            let order = action("refunds.create", "order://x/1", json!({"amount": 5, "currency": "USD"}));
            judged(&[text], &desk, &order)
        };
        assert_eq!(judged_alike(text), judged_alike(&full));
    }
    insta::assert_snapshot!(load(DESIGN).in_full(), @r#"
policy: "support-desk"
applies_to: {agents: ["support-*"], labels: {"team": ["support"]}}
mode: enforce
record: {keep: 90d}
rules:
  - {name: "read own orders", allow: ["orders.read", "orders.list"], on: ["order://customer:{{user.id}}/**"], shape: {rows: [{at: "$.orders", max: 50, where: ["item.region == \"US\""]}], redact: ["$.orders[*].card", "$.orders[*].ssn"]}}
  - {name: "small refunds", allow: ["refunds.create"], on: ["order://customer:{{user.id}}/*"], when: ["params.amount <= 500", "params.currency == \"USD\""], limits: [{count: 5, per: day, zone: "America/New_York", by: agent}, {sum: "params.amount", max: 2000, per: day, zone: "UTC", by: agent}, {rate: "100/hour", burst: 100, by: agent}], approve: {when: ["params.amount > 100"], by: ["role:support-lead"], count: 1, within: 30m}}
  - {name: "office hours", guard: ["**"], on: ["**"], hours: {days: "mon-fri", from: "09:00", to: "17:00", zone: "America/New_York"}}
  - {name: "only proven agents move money", guard: ["refunds.*"], on: ["**"], when: ["agent.trust.score >= 600", "risk.score < 7.0"]}
  - {name: "no bulk", deny: ["refunds.create_bulk", "admin.**"], on: ["**"]}
"#);
}

#[test]
fn an_error_shows_the_line() {
    insta::assert_snapshot!(said("policy: p\nrules:\n  - name: a\n    allow: [orders.read]\n    when: params.amount <= 5 && usr.id == 'x'\n", &[]), @r#"
warning: no service declares the action `orders.read`: its parameters and effect are unknown
 --> p.yaml:4:13
  |
4 |     allow: [orders.read]
  |             ^
  = rule: a
error: unknown name `usr`; did you mean `user`?
 --> p.yaml:5:33
  |
5 |     when: params.amount <= 5 && usr.id == 'x'
  |                                 ^
"#);
}

#[test]
fn doubtful_rules_are_warned_about() {
    insta::assert_snapshot!(said("policy: p
rules:
  - {name: small, allow: [refunds.create], when: params.amount < 5, limits: [{count: 1, per: day}]}
  - {name: large, allow: [refunds.*]}
  - {name: never, allow: [refunds.create]}
  - {name: dead, allow: [admin.users], limits: [{count: 0, per: day}]}
  - {name: no, deny: [admin.**]}
  - {name: later, allow: [orders.read], on: 'order://{{user.email}}/x'}
", &[&binding()]), @r#"
warning: no service declares the action `refunds.create`: its parameters and effect are unknown
 --> p.yaml:3:27
  |
3 |   - {name: small, allow: [refunds.create], when: params.amount < 5, limits: [{count: 1, per: day}]}
  |                           ^
  = rule: small
warning: the rule allows without a limit what `small` limits, where that rule's conditions fail
 --> p.yaml:4:5
  |
4 |   - {name: large, allow: [refunds.*]}
  |     ^
  = rule: large
  = help: give it limits of its own, or conditions that exclude the other's
warning: no service declares an action that `refunds.*` matches
 --> p.yaml:4:27
  |
4 |   - {name: large, allow: [refunds.*]}
  |                           ^
  = rule: large
warning: the rule is never chosen: `large` comes first and allows all that it names
 --> p.yaml:5:5
  |
5 |   - {name: never, allow: [refunds.create]}
  |     ^
  = rule: never
  = help: put the narrower rule first
warning: no service declares the action `refunds.create`: its parameters and effect are unknown
 --> p.yaml:5:27
  |
5 |   - {name: never, allow: [refunds.create]}
  |                           ^
  = rule: never
warning: the rule never allows anything: `no` denies all that it names
 --> p.yaml:6:5
  |
6 |   - {name: dead, allow: [admin.users], limits: [{count: 0, per: day}]}
  |     ^
  = rule: dead
  = help: remove one of the two, or narrow the `deny`
warning: no service declares the action `admin.users`: its parameters and effect are unknown
 --> p.yaml:6:26
  |
6 |   - {name: dead, allow: [admin.users], limits: [{count: 0, per: day}]}
  |                          ^
  = rule: dead
warning: the maximum is 0: the rule never lets anything through
 --> p.yaml:6:49
  |
6 |   - {name: dead, allow: [admin.users], limits: [{count: 0, per: day}]}
  |                                                 ^
warning: no service declares an action that `admin.**` matches
 --> p.yaml:7:23
  |
7 |   - {name: no, deny: [admin.**]}
  |                       ^
  = rule: no
warning: no grant fills `user.email` today: the entry matches nothing in an `allow`
 --> p.yaml:8:45
  |
8 |   - {name: later, allow: [orders.read], on: 'order://{{user.email}}/x'}
  |                                             ^
"#);
}

#[test]
fn nothing_may_rest_on_a_claim() {
    let rests = |rule: &str| format!("policy: p\nrules:\n  - {{name: r, {rule}}}");
    let wrong = [
        "allow: [orders.read], on: 'order://customer:42/*'",
        "allow: [orders.read], on: 'order://customer:{{user.id}}/**'",
        "allow: ['**'], on: ['*', 'order://customer:{{user.id}}/{{task.id}}']",
        "deny: [orders.*], on: 'order://customer:42/*'",
        "guard: ['**'], on: 'order://customer:42/*'",
        "allow: [orders.read], when: \"params.customer_id == 42\"",
        "allow: [orders.read], when: \"resource.authority == 'customer:42'\"",
        "allow: [orders.read], when: \"resource.uri != ''\"",
        "allow: [orders.read], limits: [{sum: params.customer_id, max: 1, per: day}]",
        "allow: [orders.read], approve: {when: params.customer_id == 1}",
    ];
    let set = |source: &str, services: &[&Service]| {
        let loaded = Policy::load(source.as_bytes(), None, 1, services);
        PolicySet::new(vec![Arc::new(loaded.unwrap().0)])
    };
    for rule in wrong {
        let source = rests(rule);
        let found = Policy::load(source.as_bytes(), None, 1, &[&claiming()]).unwrap_err();
        let claimed = |found: &[Diagnostic]| {
            found.iter().any(|it| {
                ["`customer_id`", "`orders.read`", "`shop`"].iter().all(|part| it.message.contains(part))
            })
        };
        assert!(claimed(&found), "{rule}: {found:?}");
        // The same pair, the service second.
        let found = check_service(&set(&source, &[]), &claiming());
        assert!(
            claimed(&found) && found[0].message.starts_with("policy `p`, rule `r` (line 3): "),
            "{rule}: {found:?}"
        );
        // Where upstream holds the agent to it, all is well.
        assert!(check_service(&set(&source, &[&binding()]), &binding()).is_empty(), "{rule}");
    }
    for rule in [
        "allow: [orders.read], on: 'order://*/7'",
        "allow: [orders.read], on: 'order://**'",
        "allow: [orders.read]",
        "allow: [refunds.create], on: 'order://customer:42/*'",
        "allow: [orders.read], on: 'mail://customer:42/*'",
        "allow: [orders.read], when: \"params.order_id == '7'\"",
        "allow: [orders.read], when: \"resource.scheme == 'order'\"",
    ] {
        assert!(check_service(&set(&rests(rule), &[&claiming()]), &claiming()).is_empty(), "{rule}");
    }
}

#[test]
fn parameters_are_checked_against_the_action() {
    let more = "    params: {type: object, properties: {limit: {type: integer}, tags: {type: array, items: {type: string}}}}\n";
    let service = shop("order://shop/{order_id}", more);
    insta::assert_snapshot!(said("policy: p
rules:
  - {name: a, allow: [orders.read], when: params.limt <= 5}
  - {name: b, allow: [orders.read], when: params.limit == 'x'}
  - {name: c, allow: [orders.read], when: 'params.tags.all(t, t > 1)'}
  - {name: d, allow: [orders.read], limits: [{sum: params.tags, max: 1, per: day}]}
  - {name: e, guard: ['**'], when: params.amount < 5}
  - {name: f, allow: [orders.raed]}
", &[&service]), @r#"
error: for action `orders.read`: no such field `params.limt`; did you mean `limit`?
 --> p.yaml:3:49
  |
3 |   - {name: a, allow: [orders.read], when: params.limt <= 5}
  |                                                 ^
  = rule: a
error: for action `orders.read`: a number and a string are never equal
 --> p.yaml:4:56
  |
4 |   - {name: b, allow: [orders.read], when: params.limit == 'x'}
  |                                                        ^
  = rule: b
error: for action `orders.read`: `>` does not compare a string with a number
 --> p.yaml:5:65
  |
5 |   - {name: c, allow: [orders.read], when: 'params.tags.all(t, t > 1)'}
  |                                                                 ^
  = rule: c
error: for action `orders.read`: this is a list, not a number
 --> p.yaml:6:58
  |
6 |   - {name: d, allow: [orders.read], limits: [{sum: params.tags, max: 1, per: day}]}
  |                                                          ^
  = rule: d
warning: for action `orders.read`: no such field `params.amount`
 --> p.yaml:7:42
  |
7 |   - {name: e, guard: ['**'], when: params.amount < 5}
  |                                          ^
  = rule: e
warning: no service declares the action `orders.raed`: its parameters and effect are unknown
 --> p.yaml:8:23
  |
8 |   - {name: f, allow: [orders.raed]}
  |                       ^
  = rule: f
  = help: did you mean `orders.read`?
"#);
}

#[test]
fn a_later_version_of_one_name_stands() {
    let load = |version, rule: &str| {
        let text = format!("policy: p\nrules: [{{name: r, {rule}}}]");
        Arc::new(Policy::load(text.as_bytes(), None, version, &[]).unwrap().0)
    };
    let set =
        PolicySet::new(vec![load(2, "deny: ['**']"), load(10, "allow: ['**']"), load(1, "deny: ['**']")]);
    assert_eq!(set.policies().len(), 1);
    assert_eq!(set.find("p").map(|policy| policy.version()), Some(10));
    assert!(set.find("q").is_none());
}

#[test]
fn what_is_bound_can_be_kept_and_shared() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    let set = PolicySet::new(vec![fixture::policy(DESIGN)]);
    let bound = set.bind(&chain(&[spec(1, "support-1").label("team", "support")]));
    shared(&set);
    shared(&bound);
    assert_eq!(bound.labels().len(), 1);
    let other = set.bind(&chain(&[spec(1, "other")]));
    assert!(other.labels().is_empty());
}

#[test]
fn hostile_documents_are_refused_quietly() {
    for source in
        ["", "[]", "policy", "policy: p\nrules: [[]]", "policy: p\nrules: {a: b}", "policy: null", "\u{0}"]
    {
        assert!(!errors(source).is_empty(), "{source}");
    }
    assert!(Policy::load(b"policy: \xff", None, 1, &[]).is_err());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "*",
            "**",
            "42",
            "4",
            "42/7",
            "../7",
            ".",
            "..",
            "{{user.id}}",
            "}}",
            "%2A",
            "%2F",
            "%",
            "a*b",
            "\\",
            "?x",
            "#",
            "",
            "\u{0}",
            "\u{202e}",
            "é",
            "customer:42",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_value_widens_a_template(
        [one, two] in [value(), value()],
        [customer, kind] in [value(), value()],
        rest in prop::collection::vec(value(), 0..2),
    ) {
        let text = "order://customer:{{agent.one}}/x-{{agent.two}}-y/**";
        let Ok(template::Entry::Template(template)) = template::Entry::parse(text) else { panic!() };
        let chain = chain(&[spec(1, "a").label("one", &one).label("two", &two)]);
        let filled = template.fill(chain.leaf());
        let mut segments = vec![format!("x-{kind}-y")];
        segments.extend(rest);
        if let Ok(uri) = ResourceUri::from_parts("order", &format!("customer:{customer}"), &segments) {
            let same = customer == one && kind == two;
            let matches = filled.as_ref().is_some_and(|pattern| pattern.matches(&uri));
            prop_assert!(!matches || same, "{filled:?} matches {uri}");
            prop_assert!(matches || !same || one.is_empty() || two.is_empty(), "{filled:?} misses {uri}");
        }
        if let Some(pattern) = filled {
            prop_assert_eq!(pattern.segments().len(), 1);
            prop_assert!(pattern.authority().unwrap().as_literal().is_some());
        }
    }

    #[test]
    fn no_text_breaks_the_loader(text in "(policy: p\nrules:\n  - \\{name: a, allow: x, (on|when|limits): )?.{0,40}\\}?") {
        let _ = errors(&text);
    }

    #[test]
    fn parts_of_counters_do_not_collide(a in ".{0,5}", b in ".{0,5}", c in "[a/%]{0,4}", d in "[a/%]{0,4}") {
        for (left, right) in [(&a, &b), (&c, &d), (&a, &c)] {
            let joined = |x: &str, y: &str| format!("{}/{}", bind::encoded(x), bind::encoded(y));
            prop_assert_eq!(joined(left, right) == joined(right, left), left == right);
            prop_assert!(!bind::encoded(left).contains('/'));
        }
    }
}

#[test]
fn conditions_and_templates_agree_on_who_the_user_is() {
    let text = "policy: p\nrules:\n  - {name: a, allow: ['**'], on: 'order://{{authenticated_user_id}}/{{agent.user_id}}', when: \"user.id != agent.id && 'clerk' in user.roles\"}";
    let desk = chain(&[spec(1, "desk").user(9, "ada")]);
    let user = fixture::id::<crate::id::kind::User>(9);
    let own = action("x", &format!("order://{user}/{user}"), json!({}));
    assert_eq!(judged(&[text], &desk, &own).verdict, Verdict::Allow);
}

mod staged {
    use super::*;
    use crate::policy::{Staged, set::PolicySet};

    /// An agent has one version of each policy, and which one the stage says alone; against every agent and label.
    #[test]
    fn an_agent_has_the_staged_version_or_the_other_and_never_both() {
        let load =
            |version: u64, text: &str| Arc::new(Policy::load(text.as_bytes(), None, version, &[]).unwrap().0);
        let rules = "rules: [{name: r, allow: ['**']}]";
        let desk = load(1, &format!("policy: desk\n{rules}"));
        let for_support = load(2, &format!("policy: desk\napplies_to: {{agents: ['s*']}}\n{rules}"));
        let fresh = load(1, &format!("policy: fresh\n{rules}"));
        let plain = load(4, &format!("policy: plain\n{rules}"));
        let stage = |json: &str| Arc::new(crate::policy::Stage::parse(json).unwrap());
        let half = stage(r#"{"share": 50}"#);
        let canary = stage(r#"{"labels": {"team": "canary"}}"#);
        let set = PolicySet::with_stages(
            vec![plain, desk],
            vec![
                Staged { policy: fresh, stage: Arc::clone(&canary) },
                Staged { policy: for_support, stage: Arc::clone(&half) },
            ],
        );
        for number in 0..=255 {
            for handle in ["support", "mail"] {
                for team in ["canary", "other"] {
                    let mut agent = fixture::spec(0, handle).label("team", team).agent;
                    agent.id = fixture::id(number);
                    let has: Vec<_> = set.of(&agent).iter().map(|policy| policy.label().to_owned()).collect();
                    let mut expected = Vec::new();
                    match (half.has("desk", &agent), handle) {
                        (false, _) => expected.push("desk@1"),
                        (true, "support") => expected.push("desk@2"),
                        // The staged version is not about it, and it is the one that the agent has.
                        (true, _) => {}
                    }
                    if team == "canary" {
                        expected.push("fresh@1");
                    }
                    expected.push("plain@4");
                    assert_eq!(has, expected, "{number} {handle} {team}");
                }
            }
        }
        assert_eq!(set.find("desk").unwrap().version(), 1);
        assert!(set.find("fresh").is_none());
    }
}
