//! What the compact form becomes, and that it means that.

mod approvals;

use crate::{
    action::Action,
    judge::{Request, Verdict, judge},
    policy::{
        Named, Policy, PolicySet,
        fixture::{NOW, Spec, action, chain, short, spec},
    },
    service::Service,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const SHOP: &str = "
service: shop
base_url: https://shop.example
auth: {type: bearer}
actions:
  orders.read:
    method: GET
    path: /customers/{customer}/orders/{order}
    resource: order://customer:{customer}/{order}
    effect: read
  orders.update:
    method: PUT
    path: /customers/{customer}/orders/{order}
    resource: order://customer:{customer}/{order}
    effect: write
    params: {type: object, properties: {note: {type: string}}}
  refunds.create:
    method: POST
    path: /customers/{customer}/orders/{order}/refunds
    resource: order://customer:{customer}/{order}
    effect: money
    params:
      type: object
      properties:
        amount: {type: number}
        order_total: {type: number}
        discount: {type: number, unit: percent}
        markup: {type: number, unit: fraction}
        bonus: {type: number}
        tags: {type: array, items: {type: string}}
        currency: {type: string}
  refunds.cancel:
    method: POST
    path: /refunds/{refund}/cancel
    resource: refund://{refund}
    effect: write
";

const MAIL: &str = "
service: mail
base_url: https://mail.example
auth: {type: bearer}
actions:
  mail.list:
    method: GET
    path: /messages
    resource: mail://box
    effect: read
    response: {items: '$.messages', resource: 'mail://box/{id}'}
  mail.forward:
    method: POST
    path: /forward
    resource: mail://box
    params: {type: object, properties: {recipient: {type: string}, size: {type: integer}}}
  mail.send:
    method: POST
    path: /send
    resource: mail://box
    effect: write
    params:
      type: object
      properties:
        to: {type: array, items: {type: string}}
        cc: {type: array, items: {type: string}}
        bcc: {type: string}
        subject: {type: string}
  mail.invite:
    method: POST
    path: /invite
    resource: mail://box
    effect: write
    params: {type: object, properties: {to: {type: string}}}
  mail.read:
    method: GET
    path: /folders/{folder}/messages/{id}
    resource: mail://box/{folder}/{id}
    effect: read
";

fn service(text: &str) -> Service {
    match Service::parse(text.as_bytes(), None) {
        Ok((service, _)) => service,
        Err(found) => panic!("{}", found[0].render()),
    }
}

fn load(text: &str, services: &[&Service]) -> Result<(Policy, Vec<String>), Vec<String>> {
    let lines = |found: &[crate::diagnostic::Diagnostic]| {
        let line = |it: &crate::diagnostic::Diagnostic| {
            let at = it.position.map(|at| format!("{at} ")).unwrap_or_default();
            let help = it.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{at}{}{help}", it.message)
        };
        found.iter().map(line).collect::<Vec<_>>()
    };
    match Policy::load(text.as_bytes(), Some("p.yaml"), 1, services) {
        Ok((policy, warnings)) => Ok((policy, lines(&warnings))),
        Err(found) => Err(lines(&found)),
    }
}

fn both() -> [Service; 2] {
    [service(SHOP), service(MAIL)]
}

/// A document about `desk` with these actions and constraints, in braces as YAML has them.
fn desk(actions: &str, constraints: &str) -> String {
    format!("agent: desk\npolicy:\n  actions: {actions}\n  constraints: {constraints}\n")
}

#[track_caller]
fn loaded(text: &str) -> Policy {
    let [shop, mail] = both();
    match load(text, &[&shop, &mail]) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{text}\n{}", errors.join("\n")),
    }
}

/// The rules that a document becomes.
#[track_caller]
fn rules(text: &str) -> String {
    loaded(text).rules_in_full().collect::<Vec<_>>().join("\n")
}

/// What the loader says about a document: its errors, or else its warnings.
fn said(text: &str) -> String {
    let [shop, mail] = both();
    match load(text, &[&shop, &mail]) {
        Ok((_, warnings)) => warnings.join("\n"),
        Err(errors) => errors.join("\n"),
    }
}

/// Holds that a document in the compact form is the policy `desk` with these rules of the full form.
#[track_caller]
fn same(compact: &str, full: &str) {
    let compact = loaded(compact);
    let full = loaded(&format!("policy: desk\napplies_to: {{agents: [desk]}}\n{full}"));
    assert_eq!(compact.in_full(), full.in_full());
}

#[track_caller]
fn judged(text: &str, who: Spec, asked: &Action) -> (Verdict, Vec<String>) {
    let set = PolicySet::new(vec![Arc::new(loaded(text))]);
    let chain = chain(&[who]);
    let judgement =
        judge(&set.bind(&chain), &Request { chain: &chain, action: asked, now: NOW, context: None });
    (judgement.verdict, short(&judgement))
}

#[track_caller]
fn verdict(text: &str, name: &str, params: Value) -> Verdict {
    judged(text, spec(1, "desk").user(9, "ada"), &action(name, "order://customer:42/7", params)).0
}

#[track_caller]
fn allows(text: &str, name: &str, params: Value) {
    assert_eq!(verdict(text, name, params.clone()), Verdict::Allow, "{text}\n{name} {params}");
}

#[track_caller]
fn denies(text: &str, name: &str, params: Value) {
    assert_eq!(verdict(text, name, params.clone()), Verdict::Deny, "{text}\n{name} {params}");
}

const WHOLE: &str = r#"
agent: support-desk
policy:
  actions: [orders.*, refunds.create]
  resources:
    - "order://customer:{{authenticated_user_id}}/*"
    - "order://public/*"
  constraints:
    - onlyOwnOrders: true
    - refunds:
        maxAmount: 500
        maxDiscount: 15%
        maxAmountPerDay: 2000
        maxPerDay: 5
        requireApproval: "amount > 100"
    - ifTime: between 9am-5pm EST
    - ifUser: has role "clerk"
    - ifRateLimit: 100/hour not exceeded
  audit: {logAllActions: true, retainFor: 90days}
"#;

#[test]
fn a_whole_document_becomes_rules() {
    let shop = service(&SHOP.replace("    effect:", "    binds: [customer]\n    effect:").replace(
        "    resource: refund://{refund}\n    binds: [customer]",
        "    resource: refund://{refund}",
    ));
    let (policy, _) = load(WHOLE, &[&shop]).unwrap();
    insta::assert_snapshot!(policy.in_full(), @r#"
policy: "support-desk"
applies_to: {agents: ["support-desk"]}
mode: enforce
record: {keep: 90d}
rules:
  - {name: "ifRateLimit", guard: ["orders.read", "orders.update", "refunds.create"], on: ["order://customer:{{authenticated_user_id}}/*", "order://public/*"], limits: [{rate: "100/hour", burst: 100, by: agent}]}
  - {name: "orders.read, orders.update", allow: ["orders.read", "orders.update"], on: ["order://customer:{{authenticated_user_id}}/*"], hours: {days: "mon-sun", from: "09:00", to: "17:00", zone: "America/New_York"}, when: ["\"clerk\" in user.roles"]}
  - {name: "refunds.create", allow: ["refunds.create"], on: ["order://customer:{{authenticated_user_id}}/*"], hours: {days: "mon-sun", from: "09:00", to: "17:00", zone: "America/New_York"}, when: ["params.amount <= 500", "params.discount <= 15", "\"clerk\" in user.roles"], limits: [{sum: "params.amount", max: 2000, per: day, zone: "UTC", by: agent}, {count: 5, per: day, zone: "UTC", by: agent}], approve: {when: ["params.amount > 100"], within: 30m}} # by the grant's user, or without one by any user with the role approver
"#);
    assert!(policy.is_compact());
}

#[test]
fn bounds_are_of_the_parameter_that_the_action_has() {
    same(
        &desk("refunds.create", "{maxAmount: 500, minAmount: 1.5, maxOrderTotal: 9}"),
        "rules: [{name: refunds.create, allow: refunds.create, when: [params.amount <= 500, params.amount >= 1.5, params.order_total <= 9]}]",
    );
    let bounded = desk("refunds.create", "{maxAmount: 500, minAmount: 1}");
    for (amount, fits) in
        [(json!(1), true), (json!(500), true), (json!(500.01), false), (json!(0), false), (json!("5"), false)]
    {
        let found = verdict(&bounded, "refunds.create", json!({"amount": amount}));
        assert_eq!(found == Verdict::Allow, fits, "{amount}");
    }
    denies(&bounded, "refunds.create", json!({}));
    // Of a list its length.
    same(
        &desk("refunds.create", "{maxTags: 3}"),
        "rules: [{name: refunds.create, allow: refunds.create, when: size(params.tags) <= 3}]",
    );
    // As it is written where nothing is declared.
    same(
        &desk("other.do", "{maxRefundAmount: 3}"),
        "rules: [{name: other.do, allow: other.do, when: params.refundAmount <= 3}]",
    );
    insta::assert_snapshot!(said(&desk("refunds.create", "{maxAmout: 5, maxCurrency: 3}")), @r#"
4:17 `maxAmout`: none of its actions has a parameter `amout` (did you mean `amount`?)
4:30 `currency` of `refunds.create` is neither a number nor a list
"#);
    insta::assert_snapshot!(said(&desk("refunds.create", "{maxAmount: much, minAmount: [1]}")), @r#"
4:28 `maxAmount` must be a number or a percentage such as `15%`, not the string `much`
4:45 `minAmount` must be a number or a percentage such as `15%`, not a list
"#);
}

#[test]
fn limits_are_sums_of_parameters_or_counts_of_actions() {
    same(&desk("refunds.create", "{maxAmountPerDay: 2000, maxRefundsPerHour: 3, maxPerDay: 5, maxCallsPerMonth: 9}"),
        "rules: [{name: refunds.create, allow: refunds.create, limits: [{sum: params.amount, max: 2000, per: day},
          {count: 3, per: hour}, {count: 5, per: day}, {count: 9, per: month}]}]");
    same(
        &desk("trades.make", "{maxVolumePerDay: 10, maxTradesPerDay: 3}"),
        "rules: [{name: trades.make, allow: trades.make, limits: [{sum: params.volume, max: 10, per: day}, {count: 3, per: day}]}]",
    );
    same(
        &desk("refunds.create", "{ifRateLimit: 100/hour not exceeded}"),
        "rules: [{name: refunds.create, allow: refunds.create, limits: {rate: 100/hour}}]",
    );
    insta::assert_snapshot!(said(&desk("refunds.create", "{maxAmoutPerDay: 5}")), @r#"
4:17 `maxAmoutPerDay`: none of its actions has a parameter `amout` (did you mean `amount`?)
"#);
    insta::assert_snapshot!(said(&desk("refunds.create", "{maxPerDay: many, ifRateLimit: often}")), @r#"
4:28 `maxPerDay` must be a number, not the string `many`
"#);
}

#[test]
fn percentages_are_what_the_service_says() {
    same(
        &desk("refunds.create", "{maxDiscount: 15%, maxMarkup: 7.5%}"),
        "rules: [{name: refunds.create, allow: refunds.create, when: [params.discount <= 15, params.markup <= 0.075]}]",
    );
    same(
        &desk("refunds.create", "{maxBonus: 15%}"),
        "rules: [{name: refunds.create, allow: refunds.create, when: params.bonus <= 0.15}]",
    );
    same(
        &desk("refunds.create", "{requireApproval: discount > 15% or markup > 15%}"),
        "rules: [{name: refunds.create, allow: refunds.create, approve: {when: params.discount > 15 || params.markup > 0.15}}]",
    );
    insta::assert_snapshot!(said(&desk("refunds.create", "{maxBonus: 15%, requireApproval: bonus > 5%}")), @r#"
4:27 nothing says what a percentage of `bonus` is: it is taken as a fraction, 15% as 0.15 (have the service declare `bonus: {type: number, unit: fraction}`, or `unit: percent`)
4:49 nothing says what a percentage of `bonus` is: it is taken as a fraction, 15% as 0.15 (have the service declare `bonus: {type: number, unit: fraction}`, or `unit: percent`)
"#);
}

#[test]
fn only_own_narrows_to_what_contains_the_user() {
    let own = "agent: desk\npolicy:\n  action: things.read\n  resources: ['order://customer:{{user.id}}/*', 'order://public/*']\n  constraints: {onlyOwnThings: true}\n";
    same(own, "rules: [{name: things.read, allow: things.read, on: ['order://customer:{{user.id}}/*']}]");
    let ada = || spec(1, "desk").user(9, "ada");
    let user = crate::policy::fixture::id::<crate::id::kind::User>(9);
    let on = |resource: &str| judged(own, ada(), &action("things.read", resource, json!({}))).0;
    assert_eq!(on(&format!("order://customer:{user}/1")), Verdict::Allow);
    assert_eq!((on("order://customer:42/1"), on("order://public/1")), (Verdict::Deny, Verdict::Deny));
    insta::assert_snapshot!(said(own), @r#"
3:11 no service declares the action `things.read`: its parameters and effect are unknown
4:49 `onlyOwnThings` never holds here: the resource does not contain the user
"#);
    insta::assert_snapshot!(said("agent: desk\npolicy:\n  action: things.read\n  resource: 'order://public/*'\n  constraints: {onlyOwnThings: true}\n"), @r#"
3:11 no service declares the action `things.read`: its parameters and effect are unknown
5:17 `onlyOwnThings` holds where a resource contains the user, and none of `resources` does (name them by the user, as in `order://customer:{{user.id}}/*`)
"#);
    insta::assert_snapshot!(said(&desk("orders.read", "{onlyOwnOrders: false}")), @r#"
4:32 `onlyOwnOrders: false` asks for nothing (leave it out)
"#);
}

#[test]
fn allowed_domains_bound_every_address() {
    let sends = desk("mail.send", "{allowedDomains: [a.com, B.org]}");
    insta::assert_snapshot!(loaded(&sends).in_full(), @r#"
policy: "desk"
applies_to: {agents: ["desk"]}
mode: enforce
lists:
  allowed_domains: ["a.com", "b.org"]
rules:
  - {name: "mail.send", allow: ["mail.send"], on: ["**"], when: ["!has(params.to) && (has(params.cc) || has(params.bcc)) || params.to.all(a, a.matches('^[^@,;<>\"\\\\s]+@[^@,;<>\"\\\\s]+$') && a.lowerAscii().split('@')[1] in lists.allowed_domains)", "!has(params.cc) || params.cc.all(a, a.matches('^[^@,;<>\"\\\\s]+@[^@,;<>\"\\\\s]+$') && a.lowerAscii().split('@')[1] in lists.allowed_domains)", "!has(params.bcc) || (params.bcc.matches('^[^@,;<>\"\\\\s]+@[^@,;<>\"\\\\s]+$') && params.bcc.lowerAscii().split('@')[1] in lists.allowed_domains)"]}
"#);
    let undeclared = desk("post.send", "{allowedDomains: [a.com, B.org]}");
    for (params, fits) in [
        (json!({"to": ["x@a.com"]}), true),
        (json!({"to": ["x@A.COM", "y@b.org"], "cc": [], "bcc": "z@b.org"}), true),
        (json!({"cc": ["x@a.com"]}), true),
        (json!({"to": ["x@a.com", "y@c.net"]}), false),
        (json!({"to": ["x@a.com"], "cc": ["y@c.net"]}), false),
        (json!({"to": ["x@a.com"], "bcc": "y@c.net"}), false),
        // The whole domain of a bare address.
        (json!({"to": ["x@sub.a.com"]}), false),
        (json!({"to": ["x@a.com.evil.net"]}), false),
        (json!({"to": ["x@evil.net@a.com"]}), false),
        (json!({"to": ["Bob <x@a.com>"]}), false),
        (json!({"to": ["x@a.com, y@evil.net"]}), false),
        (json!({"to": ["x@a.com\ny@evil.net"]}), false),
        (json!({"to": ["a.com"]}), false),
        (json!({"to": ["@a.com"]}), false),
        (json!({"to": [""]}), false),
        (json!({"to": [null]}), false),
        (json!({"to": null, "cc": ["x@a.com"]}), false),
        // None of the three: it can't be told.
        (json!({}), false),
        (json!({"subject": "x"}), false),
    ] {
        for (text, name) in [(&sends, "mail.send"), (&undeclared, "post.send")] {
            let found = verdict(text, name, params.clone());
            assert_eq!(found == Verdict::Allow, fits, "{name} {params}");
        }
    }
    allows(&undeclared, "post.send", json!({"to": "x@a.com"}));
    denies(&undeclared, "post.send", json!({"to": "x@c.net"}));
    let invites = desk("mail.invite", "{allowedDomains: a.com}");
    allows(&invites, "mail.invite", json!({"to": "x@a.com"}));
    denies(&invites, "mail.invite", json!({"to": "x@b.com"}));
    let unknown = judged(&sends, spec(1, "desk"), &action("mail.send", "mail://box", json!({}))).1;
    assert_eq!(unknown, ["condition_unknown mail.send"]);
    // A list of the document.
    let named = "agent: desk\nlists: {ours: [a.com], allowed_domains: [x]}\npolicy: {action: mail.invite, constraints: [{allowedDomains: lists.ours}]}\n";
    allows(named, "mail.invite", json!({"to": "x@a.com"}));
    let made = named.replace("lists.ours}", "b.com}");
    allows(&made, "mail.invite", json!({"to": "x@b.com"}));
    denies(&made, "mail.invite", json!({"to": "x@x"}));
    insta::assert_snapshot!(said(&desk("mail.invite", "{allowedDomains: ['@a.com']}")), @r#"
4:34 `@a.com` is no domain: write the whole of what stands behind the `@`, as in `example.com`
"#);
    insta::assert_snapshot!(said(&desk("orders.read", "{allowedDomains: [a.com]}")), @r#"
4:17 `allowedDomains`: none of its actions has a parameter `to`
"#);
    insta::assert_snapshot!(said(&desk("mail.invite", "{allowedDomains: lists.gone}")), @r#"
4:33 there is no list `gone`: state it under `lists`
"#);
}

#[test]
fn conditions_about_who_when_and_how_risky() {
    same(&desk("refunds.create", "{ifUser: 'has role \"clerk\"', ifRiskScore: below 7.0, ifTime: between 9am-5pm EST on weekdays}"),
        "rules: [{name: refunds.create, allow: refunds.create, when: ['\"clerk\" in user.roles', risk.score < 7.0],
          hours: {days: mon-fri, from: '09:00', to: '17:00', zone: America/New_York}}]");
    allows(&desk("refunds.create", "{ifUser: has role clerk}"), "refunds.create", json!({}));
    denies(&desk("refunds.create", "{ifUser: has role boss}"), "refunds.create", json!({}));
    // Monday noon in UTC.
    allows(&desk("refunds.create", "{ifTime: between 11:00-13:00 UTC}"), "refunds.create", json!({}));
    denies(&desk("refunds.create", "{ifTime: between 11:00-13:00 PST}"), "refunds.create", json!({}));
    // What nobody can tell yet denies.
    denies(&desk("refunds.create", "{ifRiskScore: below 7}"), "refunds.create", json!({}));
    denies(&desk("other.do", "{ifDataClassification: not \"sensitive\"}"), "other.do", json!({}));
    same(
        &desk("other.do", "{ifDataClassification: public}"),
        "rules: [{name: other.do, allow: other.do, when: resource.classification == \"public\"}]",
    );
    insta::assert_snapshot!(said(&desk("refunds.create", "{ifUser: is boss, ifRiskScore: low, ifTime: 9-5, ifDataClassification: ''}")), @r#"
4:25 `ifUser` is not understood: `is boss` (write `has role "NAME"`)
4:47 `ifRiskScore` is not understood: `low` (write `below 7.0`, `at most 7.0`, `above 7.0` or `at least 7.0`)
4:60 `ifTime` is not understood: `9-5` (write `between 9am-5pm EST`, with `on mon-fri` behind it where that is meant; a zone is an IANA name or an abbreviation such as `EST`)
4:87 `ifDataClassification` is not understood: `` (write `not "sensitive"`, or what it has to be: `"public"`)
"#);
    insta::assert_snapshot!(said(&desk("refunds.create", "{ifTime: between 9am-5pm UTC, refunds: {ifTime: between 9am-4pm UTC}}")), @r#"
4:56 `ifTime` is stated twice for the same actions
"#);
}

#[test]
fn a_group_is_about_the_actions_that_have_its_word() {
    let grouped = desk("[orders.read, refunds.create]", "{refunds: {maxAmount: 5}, ifUser: has role clerk}");
    same(
        &grouped,
        "rules:
      - {name: orders.read, allow: orders.read, when: ['\"clerk\" in user.roles']}
      - {name: refunds.create, allow: refunds.create, when: [params.amount <= 5, '\"clerk\" in user.roles']}",
    );
    allows(&grouped, "orders.read", json!({}));
    denies(&grouped, "refunds.create", json!({"amount": 6}));
    // With or without the `s`, as a list, whatever the case; also where no service declares the action.
    for (group, name) in [
        ("refund", "refunds.create"),
        ("Refunds", "refunds.create"),
        ("bulk", "x.create_bulk"),
        ("things", "thing.x"),
    ] {
        let text = desk(&format!("[{name}]"), &format!("[{{{group}: [{{maxAmount: 5}}]}}]"));
        assert!(rules(&text).contains("params.amount <= 5"), "{group}");
    }
    // What a star names is what is declared, so that what comes later is not allowed without the constraint.
    let star = desk("['**']", "{refunds: {maxTags: 5}}");
    insta::assert_snapshot!(rules(&star), @r#"
{name: "orders.read, orders.update, refunds.cancel, mail.forward and 4 more", allow: ["orders.read", "orders.update", "refunds.cancel", "mail.forward", "mail.invite", "mail.list", "mail.read", "mail.send"], on: ["**"]}
{name: "refunds.create", allow: ["refunds.create"], on: ["**"], when: ["size(params.tags) <= 5"]}
"#);
    denies(&star, "refunds.later", json!({}));
    insta::assert_snapshot!(said(&desk("[refunds.create]", "{refnuds: {maxAmount: 5}}")), @r#"
4:17 the group `refnuds` is about none of the policy's actions (did you mean `refunds`?)
"#);
    insta::assert_snapshot!(said(&desk("[refunds.create]", "{zzz: {maxAmount: 5}}")), @r#"
4:17 the group `zzz` is about none of the policy's actions (a group is about the actions that have its name as a word, with or without a final `s`)
"#);
    let alone = load(&desk("['**']", "{refunds: {maxAmount: 5}}"), &[]).unwrap_err();
    insta::assert_snapshot!(alone.join("\n"), @r#"
4:17 the group `refunds` is about none of the policy's actions (a group is about the actions that have its name as a word; name the services, so that theirs are known)
"#);
    insta::assert_snapshot!(said(&desk("[refunds.create]", "{refunds: {}, refund: {maxAmout: 5, more: {maxAmount: 1}, maxAmonut: {a: 1}}}")), @r#"
4:26 the group is empty
4:52 unknown constraint `more` (known are `maxX`, `minX`, `maxXPerDay`, `maxPerDay`, `onlyOwnX`, `onlyX`, `noX`, `allowedDomains`, `excludeFolders`, `requireKeywords`, `timeWindow`, `detect`, `requireApproval`, `requireSecondApproval`, `ifRateLimit`, `ifUser`, `ifTime`, `ifRiskScore`, `ifDataClassification`)
4:85 `maxAmonut` must be a number or a percentage such as `15%`, not a map
"#);
}

#[test]
fn a_limit_of_several_rules_is_one_counter() {
    let shared = desk("[orders.read, refunds.create]", "{refunds: {maxAmount: 5}, maxPerDay: 3}");
    insta::assert_snapshot!(rules(&shared), @r#"
{name: "maxPerDay", guard: ["orders.read", "refunds.create"], on: ["**"], limits: [{count: 3, per: day, zone: "UTC", by: agent}]}
{name: "orders.read", allow: ["orders.read"], on: ["**"]}
{name: "refunds.create", allow: ["refunds.create"], on: ["**"], when: ["params.amount <= 5"]}
"#);
    let set = PolicySet::new(vec![Arc::new(loaded(&shared))]);
    let chain = chain(&[spec(1, "desk")]);
    let counters = |name: &str, params| {
        let asked = action(name, "order://customer:42/7", params);
        let judgement =
            judge(&set.bind(&chain), &Request { chain: &chain, action: &asked, now: NOW, context: None });
        assert_eq!(judgement.verdict, Verdict::Allow);
        judgement.charges.iter().map(|charge| charge.counter.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(counters("orders.read", json!({})), counters("refunds.create", json!({"amount": 1})));
    insta::assert_snapshot!(said(&desk("[trades.make, volumes.make]", "{maxVolumesPerDay: 3}")), @r#"
3:13 no service declares the action `trades.make`: its parameters and effect are unknown
3:26 no service declares the action `volumes.make`: its parameters and effect are unknown
4:17 `maxVolumesPerDay` would be counted apart for trades.make, volumes.make (put it into a group of the actions that are counted together)
"#);
}

#[test]
fn a_bound_that_an_action_has_no_parameter_for_is_told() {
    // What only reads has nothing to bound.
    let text = desk("[orders.read, refunds.create]", "{maxAmount: 5}");
    same(
        &text,
        "rules:
      - {name: orders.read, allow: orders.read}
      - {name: refunds.create, allow: refunds.create, when: params.amount <= 5}",
    );
    assert_eq!(said(&text), "");
    insta::assert_snapshot!(said(&desk("[refunds.*]", "{maxAmount: 5}")), @r#"
4:17 `maxAmount` says nothing about `refunds.cancel`, which has no parameter `amount`
"#);
    // What moves money, or may, is not left unbounded.
    insta::assert_snapshot!(said(&desk("[refunds.create, mail.forward]", "{maxAmount: 5}")), @r#"
4:17 `maxAmount` says nothing about `mail.forward`, which has no parameter `amount` (put it into a group of the actions that it is about, as in `refunds: {…}`)
"#);
    insta::assert_snapshot!(said(&desk("[mail.send, mail.forward]", "{allowedDomains: [a.com]}")), @r#"
4:17 nothing tells whom `mail.forward` sends to: it has none of `to`, `cc`, `bcc` (put it into a group of the actions that it is about, as in `refunds: {…}`)
"#);
    assert_eq!(said(&desk("[mail.send, mail.forward]", "{send: {allowedDomains: [a.com]}}")), "");
}

#[test]
fn audit_says_how_long_bodies_are_kept() {
    let audited = |audit: &str| format!("agent: desk\npolicy: {{action: a.b, audit: {audit}}}\n");
    same(
        &audited("{logAllActions: true, retainFor: 90days}"),
        "rules: [{name: a.b, allow: a.b}]\nrecord: {keep: 90d}",
    );
    same(&audited("{retainFor: 2 weeks}"), "rules: [{name: a.b, allow: a.b}]\nrecord: {keep: 14d}");
    same(&audited("{logAllActions: true}"), "rules: [{name: a.b, allow: a.b}]");
    insta::assert_snapshot!(said(&audited("{logAllActions: false}")), @r#"
2:46 every action is recorded; leave `logAllActions` out, or write `true`
"#);
    insta::assert_snapshot!(said(&audited("{retainFor: long, logall: true}")), @r#"
2:42 `long` is no time: write `90days`, `12 weeks`, `1year` or `48hours`
2:48 unknown key `logall`
"#);
    insta::assert_snapshot!(said(&audited("{retainFor: 0days}")), @r#"
2:18 no service declares the action `a.b`: its parameters and effect are unknown
2:42 `keep` is from `1h` to `36525d`
"#);
}

#[test]
fn it_is_named_by_its_agent_or_its_file() {
    let bare = "policy: {actions: [a.b]}\n";
    let load = |named: &Named<'_>| {
        let found = Policy::load_as(bare.as_bytes(), named, 1, &[]);
        found.map(|(policy, _)| policy).map_err(|found| found[0].message.clone())
    };
    let file = |file| Named { file, ..Named::default() };
    let policy = load(&file(Some("/etc/policies/mail-triage.yaml"))).unwrap();
    assert_eq!(policy.name(), "mail-triage");
    assert!(policy.in_full().contains("applies_to: none\n"));
    assert_eq!(load(&Named { name: Some("other"), ..file(Some("x.yaml")) }).unwrap().name(), "other");
    assert!(load(&file(None)).unwrap_err().contains("state `agent`"));
    assert!(load(&file(Some("a b.yaml"))).unwrap_err().contains("no name"));
    assert_eq!(Policy::name_of(bare.as_bytes(), Some("x/y.json")).as_deref(), Some("y"));
    assert_eq!(Policy::name_of(b"agent: z\npolicy: {}", Some("x/y.json")).as_deref(), Some("z"));
    assert_eq!(Policy::name_of(b"policy: z", Some("y")).as_deref(), Some("z"));
    assert_eq!((Policy::name_of(b"policy: [", None), Policy::name_of(b"policy: 1", None)), (None, None));
    // To nobody until it is applied to somebody.
    let asked = action("a.b", "x://y", json!({}));
    let says = |agents: &[String], handle: &str| {
        let policy = load(&Named { agents, ..file(Some("p.yaml")) }).unwrap();
        let set = PolicySet::new(vec![Arc::new(policy)]);
        let chain = chain(&[spec(1, handle)]);
        judge(&set.bind(&chain), &Request { chain: &chain, action: &asked, now: NOW, context: None }).verdict
    };
    assert_eq!(says(&[], "desk"), Verdict::Deny);
    let two = ["desk".to_owned(), "other".to_owned()];
    assert_eq!(
        (says(&two, "desk"), says(&two, "other"), says(&two, "third")),
        (Verdict::Allow, Verdict::Allow, Verdict::Deny)
    );
    let applied = |text: &str| {
        Policy::load_as(text.as_bytes(), &Named { agents: &two, ..file(Some("p")) }, 1, &[]).unwrap_err()[0]
            .message
            .clone()
    };
    insta::assert_snapshot!(applied("agent: z\npolicy: {action: a}"), @r#"
the document is for `z` already: `--agent` is for one without `agent`
"#);
    insta::assert_snapshot!(applied("policy: z\nrules: [{name: a, allow: a}]"), @r#"
the document says itself whom it is about: `--agent` is for the compact form without `agent`
"#);
}

#[test]
fn mistakes_are_named_with_line_column_and_caret() {
    let said = |text: &str| {
        let [shop, mail] = both();
        let found = Policy::load(text.as_bytes(), Some("desk.yaml"), 1, &[&shop, &mail]).unwrap_err();
        found.iter().map(crate::diagnostic::Diagnostic::render).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(said("agent: desk
policy:
  actions: [refunds.create]
  resources: ['order://{{usr.id}}/*']
  constraints:
    - maxAmount: 500
    - requireAproval: amount > 100
    - ifTime: 9 to 5
    - maxAmount: 3
    - refunds: {onlyyOwn: true}
"), @r#"
error: unknown constraint `requireAproval`
 --> desk.yaml:7:7
  |
7 |     - requireAproval: amount > 100
  |       ^
  = help: did you mean `requireApproval`?
error: `ifTime` is not understood: `9 to 5`
 --> desk.yaml:8:15
  |
8 |     - ifTime: 9 to 5
  |               ^
  = help: write `between 9am-5pm EST`, with `on mon-fri` behind it where that is meant; a zone is an IANA name or an abbreviation such as `EST`
error: `maxAmount` is stated twice, first on line 6
 --> desk.yaml:9:7
  |
9 |     - maxAmount: 3
  |       ^
error: unknown constraint `onlyyOwn`
  --> desk.yaml:10:17
   |
10 |     - refunds: {onlyyOwn: true}
   |                 ^
   = help: did you mean `onlyOwnX`?
"#);
    insta::assert_snapshot!(said("agent: desk\npolicy:\n  actions: [refunds.create]\n  resources: ['order://{{usr.id}}/*']\n  constraints: {requireApproval: amount > \"x\"}\n"), @r#"
error: `usr.id` can't be filled in: a template names a fact of `user`, `agent` or `task`
 --> desk.yaml:4:24
  |
4 |   resources: ['order://{{usr.id}}/*']
  |                        ^
  = help: did you mean `user.id`?
error: for action `refunds.create`: `>` does not compare a number with a string
 --> desk.yaml:5:34
  |
5 |   constraints: {requireApproval: amount > "x"}
  |                                  ^
  = rule: refunds.create
"#);
    insta::assert_snapshot!(said("agent: 'desk-*'\nrules: []\npolicy: {action: x, actions: [y], konstraints: {}}"), @r#"
error: `desk-*` is no handle of an agent
 --> desk.yaml:1:8
  |
1 | agent: 'desk-*'
  |        ^
  = help: for several agents leave `agent` out and apply with `--agent`, or write the full form
error: unknown key `rules`
 --> desk.yaml:2:1
  |
2 | rules: []
  | ^
"#);
    insta::assert_snapshot!(said("policy: {constraints: {}}"), @r#"
error: `actions` is missing: name what the agent may do
 --> desk.yaml:1:9
  |
1 | policy: {constraints: {}}
  |         ^
"#);
    insta::assert_snapshot!(said("agent: desk\npolicy: x"), @r#"
error: `policy` must be a map, not the string `x`
 --> desk.yaml:2:9
  |
2 | policy: x
  |         ^
"#);
}

#[test]
fn what_comes_back_of_a_listing_is_shaped() {
    same(
        &desk(
            "mail.list",
            "{maxEmails: 50, onlyUnread: true, noDrafts: true, timeWindow: last_7_days, excludeFolders: [Spam], requireKeywords: [Invoice]}",
        ),
        "rules:
      - name: mail.list
        allow: mail.list
        shape:
          rows:
            at: $.messages
            max: 50
            where:
              - item.unread == true
              - item.drafts == false
              - timestamp(item.date) >= now - duration(\"168h\")
              - '!(item.folder.lowerAscii() in [\"spam\"])'
              - has(item.subject) && (item.subject.lowerAscii().contains(\"invoice\")) || has(item.title) && (item.title.lowerAscii().contains(\"invoice\")) || has(item.body) && (item.body.lowerAscii().contains(\"invoice\")) || has(item.text) && (item.text.lowerAscii().contains(\"invoice\")) || has(item.snippet) && (item.snippet.lowerAscii().contains(\"invoice\"))",
    );
    // Of what is no listing that anybody declared it can't be held.
    for constraint in [
        "maxEmails: 50",
        "maxRows: 5",
        "onlyUnread: true",
        "noDrafts: true",
        "timeWindow: last_7_days",
        "requireKeywords: [x]",
    ] {
        for name in ["mail.read", "other.list"] {
            let found = said(&desk(name, &format!("{{{constraint}}}")));
            assert!(
                found.contains("of which no service says `response: {items: …}`"),
                "{constraint}: {found}"
            );
        }
        let grouped = desk("[mail.read, mail.list]", &format!("{{list: {{{constraint}}}}}"));
        assert_eq!(rules(&grouped).matches("shape: ").count(), 1, "{constraint}");
    }
    assert!(said(&desk("mail.list", "{maxEmails: 5, maxRows: 6}")).contains("stated twice"));
    // Where the folder is a parameter it is a condition.
    let folders = desk("mail.read", "{excludeFolders: [Spam, Private Stuff]}");
    allows(&folders, "mail.read", json!({"folder": "inbox"}));
    denies(&folders, "mail.read", json!({"folder": "SPAM"}));
    denies(&folders, "mail.read", json!({}));
    assert!(said(&desk("mail.send", "{excludeFolders: [Spam]}")).contains("in which folder"));
}

#[test]
fn what_is_looked_for_is_said_as_in_a_rule() {
    same(
        &desk("mail.list", "{maxEmails: 50, detect: {secrets: redact, card: withhold}}"),
        "rules:
      - name: mail.list
        allow: mail.list
        shape:
          rows: {at: $.messages, max: 50}
          detect: {secrets: redact, card: withhold}",
    );
    // Of all actions, or of a group of them.
    let grouped = desk("[mail.read, mail.list]", "{list: {detect: {email: mark}}}");
    assert_eq!(rules(&grouped).matches("detect: ").count(), 1);
    let everywhere = desk("[mail.read, other.list]", "{detect: {personal: redact}}");
    assert_eq!(rules(&everywhere).matches("detect: {personal: redact}").count(), 1);
    let twice = desk("[mail.read, mail.list]", "{detect: {email: mark}, list: {detect: {email: redact}}}");
    assert!(said(&twice).contains("`detect` is stated twice for the same actions"), "{}", said(&twice));
    assert!(said(&desk("mail.read", "{detect: {emails: mark}}")).contains("did you mean `email`?"));
    assert!(said(&desk("mail.read", "{detect: {email: hide}}")).contains("`mark`"));
    assert!(said(&desk("mail.read", "{detect: {}}")).contains("what is looked for?"));
    assert!(said(&desk("mail.read", "{detect: true}")).contains("must be a map"));
}

#[test]
fn what_is_kept_is_the_same_policy() {
    let text = desk("['**']", "{refunds: {maxTags: 5, requireApproval: amount > 1}, maxPerDay: 3}");
    let odd = format!("{text}# \u{2028}odd: \u{85}x\r# rules: []\n");
    for text in [&text, &odd] {
        let policy = loaded(text);
        let kept = policy.kept(text);
        let (again, _) = load(&kept, &[]).unwrap();
        assert_eq!(again.in_full(), policy.in_full());
        assert!(!again.is_compact() && again.kept(&kept) == kept);
    }
    let (full, _) = load("policy: p\nrules: [{name: a, allow: a}]", &[]).unwrap();
    assert_eq!(full.kept("x"), "x");
}

proptest! {
    #[test]
    fn no_document_makes_the_reader_panic(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[ -~\né]{0,6}"), 1..6)) {
        let [shop, mail] = both();
        let mut text = WHOLE.to_owned();
        for (at, length, put) in cuts {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len().max(1)).min(chars.len());
            let end = (at + length).min(chars.len());
            chars.splice(at..end, put.chars());
            text = chars.into_iter().collect();
        }
        for services in [&[][..], &[&shop, &mail]] {
            match Policy::load(text.as_bytes(), Some("p.yaml"), 1, services) {
                Ok((policy, _)) => {
                    let kept = policy.kept(&text);
                    let again = Policy::load(kept.as_bytes(), None, 1, &[]);
                    prop_assert_eq!(again.map(|(again, _)| again.in_full()).ok(), Some(policy.in_full()), "{}", text);
                }
                Err(found) => prop_assert!(found.iter().any(crate::diagnostic::Diagnostic::is_error)),
            }
        }
    }

    #[test]
    fn no_constraint_makes_the_reader_panic(
        stated in prop::collection::vec((
            prop::sample::select(super::KNOWN.iter().map(|known| known.name).chain(["refunds", "maxAmount", "maxAmountPerDay", "onlyOwn"]).collect::<Vec<_>>()),
            prop::sample::select(vec!["5", "15%", "true", "false", "[a, b]", "{}", "{maxAmount: 5}", "amount > 5", "'%'", "last_9_days", "between 1am-2am EST", "has role x", "below 5", "lists.x", "{email: mark}", "null", "''", "99999999999999999999", "-1", "1e400", "5/hour"]),
        ), 0..8)
    ) {
        let [shop, mail] = both();
        let entries: Vec<_> = stated.iter().map(|(name, value)| format!("    - {name}: {value}\n")).collect();
        let text = format!("agent: desk\npolicy:\n  actions: ['**']\n  resources: ['a://{{{{user.id}}}}/**']\n  constraints:\n{}", entries.concat());
        for services in [&[][..], &[&shop, &mail]] {
            _ = Policy::load(text.as_bytes(), Some("p.yaml"), 1, services);
        }
    }
}
