//! What comes back: shapes add up over rules, policies and links; of members only those that the action would be
//! allowed on.

use super::*;
use crate::{action::Action, pattern::ActionName, service::Service, shape::Withheld};
use proptest::prelude::*;

const MAIL: &str = "
service: mail
base_url: https://mail.example
auth: {type: bearer}
actions:
  mail.search:
    method: GET
    path: /{user}/search
    resource: mail://{user}
    effect: read
    params: {type: object, properties: {user: {type: string}, q: {type: string}, folder: {type: string}}}
    response: {items: $.messages, resource: 'mail://{user}/{folder}/{id}'}
";

fn mail() -> Service {
    Service::parse(MAIL.as_bytes(), None).unwrap().0
}

/// What of `body` comes back of `mail.search` by these policies on this chain.
fn searched(policies: &[&str], chain: &Chain, params: Value, body: Value) -> Result<Value, Withheld> {
    let service = mail();
    let name = ActionName::parse("mail.search").unwrap();
    let declared = service.action(&name).unwrap();
    let params = params.as_object().unwrap().clone();
    let described = declared.describe(&params).unwrap();
    let action = Action {
        effect: declared.effect(),
        known: described.known,
        ..Action::stated(name, described.resource, params)
    };
    let loaded = policies.iter().map(|source| crate::policy::fixture::policy(source)).collect();
    let bound = PolicySet::new(loaded).bind(chain);
    let request = Request { chain, action: &action, now: NOW, context: None };
    let judgement = judge(&bound, &request);
    assert_ne!(judgement.verdict, Verdict::Deny, "{:?}", judgement.reasons);
    assert!(is_shaped(&judgement, Some(declared)));
    shape(&bound, &request, &judgement, Some(declared), body)
}

fn inbox(list: &[(&str, u64)]) -> Value {
    let messages = list.iter().map(|(folder, id)| json!({"folder": folder, "id": id}));
    json!({"messages": messages.collect::<Vec<_>>(), "total": list.len()})
}

fn found(policies: &[&str], chain: &Chain, list: &[(&str, u64)]) -> Vec<u64> {
    let shaped = searched(policies, chain, json!({"user": "ann", "q": "x"}), inbox(list)).unwrap();
    shaped["messages"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect()
}

const ALL: &[(&str, u64)] = &[("inbox", 1), ("private", 2), ("work", 3)];

#[test]
fn a_search_returns_nothing_that_is_denied() {
    let desk = chain(&[spec(1, "desk").user(9, "ann")]);
    let allow = "- {name: a, allow: [mail.search], on: ['mail://ann/**']}\n";
    let says = |more: &str| found(&[&rules(&format!("{allow}{more}"))], &desk, ALL);
    assert_eq!(says(""), [1, 2, 3]);
    assert_eq!(says("- {name: d, deny: ['**'], on: ['mail://ann/private/**']}"), [1, 3]);
    assert_eq!(says("- {name: d, deny: ['mail.*'], on: ['mail://*/private/*']}"), [1, 3]);
    // Also where a deny's condition can't be told, or is about the resource, or a guard fails on it.
    assert_eq!(says("- {name: d, deny: ['**'], on: ['mail://ann/work/*'], when: params.gone}"), [1, 2]);
    assert_eq!(
        says("- {name: g, guard: ['**'], on: ['mail://ann/*/*'], when: 'resource.segments[0] == \"inbox\"'}"),
        [1]
    );
    assert_eq!(says("- {name: g, guard: ['**'], on: ['mail://ann/inbox/*'], when: params.gone}"), [2, 3]);
    // A deny for another action has no say, and neither has one that is only observed.
    assert_eq!(says("- {name: d, deny: ['mail.read'], on: ['mail://ann/private/**']}"), [1, 2, 3]);
    let observed =
        "policy: o\nmode: observe\nrules: [{name: d, deny: ['**'], on: ['mail://ann/private/**']}]";
    assert_eq!(found(&[&rules(allow), observed], &desk, ALL), [1, 2, 3]);
    // Another policy's deny counts, and so does what no rule covers.
    let other = "policy: o\nrules: [{name: d, deny: ['**'], on: ['mail://ann/private/**']}]";
    assert_eq!(found(&[&rules(allow), other], &desk, ALL), [1, 3]);
    let narrow = rules("- {name: a, allow: [mail.search], on: ['mail://ann', 'mail://ann/inbox/*']}");
    assert_eq!(found(&[&narrow], &desk, ALL), [1]);
}

#[test]
fn members_lie_within_every_grant_of_the_chain() {
    let all = rules("- {name: a, allow: ['**']}");
    let within = |entries: &[&str]| {
        let mut authority = crate::policy::fixture::everything();
        authority.resources = entries.iter().map(|entry| ResourcePattern::parse(entry).unwrap()).collect();
        authority
    };
    let mut kid = spec(1, "kid");
    let mut boss = spec(2, "boss");
    kid.authority = within(&["mail://ann", "mail://ann/inbox/*", "mail://ann/work/*"]);
    assert_eq!(found(&[&all], &chain(&[kid.clone(), boss.clone()]), ALL), [1, 3]);
    boss.registration = within(&["mail://ann", "mail://ann/work/*", "mail://ann/private/*"]);
    assert_eq!(found(&[&all], &chain(&[kid.clone(), boss.clone()]), ALL), [3]);
    // Every link's policies have a say.
    let above = "policy: q\napplies_to: {agents: [boss]}\nrules: [{name: d, deny: ['**'], on: ['mail://ann/inbox/*']}]";
    assert_eq!(found(&[&all, above], &chain(&[spec(1, "kid"), spec(2, "boss")]), ALL), [2, 3]);
}

#[test]
fn a_member_that_would_cost_or_ask_more_is_dropped() {
    let desk = chain(&[spec(1, "desk").user(9, "ann")]);
    let says = |text: &str| found(&[&rules(text)], &desk, ALL);
    let allow = "- {name: a, allow: [mail.search]}\n";
    assert_eq!(
        says(&format!(
            "{allow}- {{name: g, guard: ['**'], on: ['mail://ann/work/*'], limits: [{{count: 1, per: day}}]}}"
        )),
        [1, 2]
    );
    assert_eq!(
        says(&format!("{allow}- {{name: g, guard: ['**'], on: ['mail://ann/work/*'], approve: {{}}}}")),
        [1, 2]
    );
    assert_eq!(
        says(&format!(
            "{allow}- {{name: g, guard: ['**'], on: ['mail://ann/work/*'], shape: {{redact: '$.messages[*].body'}}}}"
        )),
        [1, 2]
    );
    // What the collection was itself charged, held and shaped by is no more.
    let all = format!(
        "{allow}- {{name: g, guard: ['**'], limits: [{{count: 1, per: day, by: resource}}], approve: {{}}, shape: {{redact: $.total}}}}"
    );
    assert_eq!(says(&all), [1, 2, 3]);
    // The rule that is chosen for a member is another one, with a limit.
    let first =
        "- {name: f, allow: [mail.search], on: ['mail://ann/inbox/*'], limits: [{count: 1, per: day}]}\n";
    assert_eq!(says(&format!("{first}{allow}")), [2, 3]);
}

#[test]
fn what_is_no_known_member_is_dropped() {
    let desk = chain(&[spec(1, "desk")]);
    let all = rules("- {name: a, allow: ['**']}");
    let of = |item: Value| {
        let body = json!({"messages": [item]});
        searched(&[&all], &desk, json!({"user": "ann", "folder": "inbox"}), body).unwrap()["messages"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(of(json!({"folder": "inbox", "id": 7})), 1);
    assert_eq!(
        of(json!({"folder": "inbox", "id": "7", "user": "bob"})),
        1,
        "of another user, where all are allowed"
    );
    for item in [
        // `folder` is a parameter too, but one that the agent merely claims.
        json!({"id": 7}),
        json!({"folder": "inbox"}),
        json!({"folder": null, "id": 7}),
        json!({"folder": "inbox", "id": ""}),
        json!({"folder": "inbox", "id": 7.5}),
        json!({"folder": "inbox", "id": true}),
        json!({"folder": ["inbox"], "id": 7}),
        json!({"folder": "..", "id": 7}),
        json!({"folder": "inbox/sub", "id": 7}),
        json!({"folder": "inbox%2Fsub", "id": 7}),
        json!({"folder": "a\u{0}", "id": 7}),
        json!(null),
        json!("inbox/7"),
        json!([{"folder": "inbox", "id": 7}]),
    ] {
        assert_eq!(of(item.clone()), 0, "{item}");
    }
    // The list has to be where the service says.
    for body in [json!({"hits": []}), json!([]), json!("x"), json!({"messages": {"1": {}}})] {
        let shaped = searched(&[&all], &desk, json!({"user": "ann"}), body.clone());
        assert!(shaped.is_err(), "{body}");
    }
    // A member of somebody else's, which the path's user doesn't make this user's.
    let own = rules("- {name: a, allow: ['**'], on: ['mail://ann/**']}");
    let body = json!({"messages": [{"user": "bob", "folder": "inbox", "id": 7}]});
    let shaped = searched(&[&own], &desk, json!({"user": "ann"}), body);
    assert_eq!(shaped, Ok(json!({"messages": []})));
}

#[test]
fn rows_of_more_members_than_can_be_judged_are_withheld() {
    let desk = chain(&[spec(1, "desk")]);
    let all = rules("- {name: a, allow: ['**']}");
    let many: Vec<_> = (0..10_001).map(|id| json!({"folder": "inbox", "id": id})).collect();
    let of =
        |count: usize| searched(&[&all], &desk, json!({"user": "ann"}), json!({"messages": many[..count]}));
    assert!(of(9_000).is_ok());
    assert!(of(10_001) == Err(Withheld::Cost));
}

#[test]
fn every_rule_costs_each_member_something() {
    let desk = chain(&[spec(1, "desk")]);
    let many: Vec<_> = (0..1_000).map(|id| json!({"folder": "inbox", "id": id})).collect();
    let of = |guards: usize| {
        let guard = |at: usize| format!("- {{name: g{at}, guard: ['**'], on: ['mail://ann/{at}/**']}}\n");
        let text: String = (0..guards).map(guard).collect();
        let all = rules(&format!("- {{name: a, allow: ['**']}}\n{text}"));
        searched(&[&all], &desk, json!({"user": "ann"}), json!({"messages": many}))
    };
    assert!(of(10).is_ok());
    // None of these is about any of the members, and each is looked at for each.
    assert!(of(60) == Err(Withheld::Cost));
}

/// The shapes of these policies on a plain listing.
fn listed(policies: &[&str], chain: &Chain, body: Value) -> Result<Value, Withheld> {
    let action = action("orders.list", "order://customer:42", json!({}));
    let loaded = policies.iter().map(|source| crate::policy::fixture::policy(source)).collect();
    let bound = PolicySet::new(loaded).bind(chain);
    let request = Request { chain, action: &action, now: NOW, context: None };
    shape(&bound, &request, &judge(&bound, &request), None, body)
}

#[test]
fn shapes_of_all_rules_policies_and_links_add_up() {
    let body = json!({"orders": [
        {"id": 1, "region": "US", "who": "kid", "card": 1, "ssn": 2}, {"id": 2, "region": "EU", "who": "kid"},
        {"id": 3, "region": "US", "who": "kid", "card": 1}, {"id": 4, "region": "US", "who": "boss"},
        {"id": 5, "region": "US", "who": "kid"},
    ]});
    let ids = |policies: &[&str], chain: &Chain| -> Vec<Value> {
        listed(policies, chain, body.clone()).unwrap()["orders"].as_array().unwrap().clone()
    };
    let kid = chain(&[spec(1, "kid")]);
    let one = rules(
        "- {name: a, allow: ['**'], shape: {rows: {at: $.orders, max: 3, where: item.region == 'US'}, redact: ['$.orders[*].card']}}",
    );
    let two = "policy: q\nrules: [{name: g, guard: ['**'], shape: {rows: {at: \"$['orders']\", max: 2, where: item.who == agent.handle}, redact: ['$.orders[*].ssn', '$.orders[*].region']}}]";
    let bare = |id: u64| json!({"id": id, "who": "kid"});
    assert_eq!(ids(&[&one, two], &kid), [bare(1), bare(3)]);
    assert_eq!(ids(&[two, &one], &kid), [bare(1), bare(3)], "whatever their order");
    // Each link has a say with its own facts: nothing is both the kid's and the boss's.
    let both = chain(&[spec(1, "kid"), spec(2, "boss")]);
    assert_eq!(ids(&[&one, two], &both), Vec::<Value>::new());
    // What is not chosen, not named or only observed shapes nothing.
    let other = "policy: r\nmode: observe\nrules: [{name: x, guard: ['**'], shape: {redact: $.orders}}]";
    let later = "policy: s\nrules: [{name: first, allow: ['**']}, {name: x, allow: ['**'], shape: {redact: $.orders}}, {name: y, guard: [mail.*], shape: {redact: $.orders}}]";
    assert_eq!(ids(&[&one, two, other, later], &kid), [bare(1), bare(3)]);
}

#[test]
fn a_row_of_which_it_cannot_be_told_is_dropped() {
    let kid = chain(&[spec(1, "kid")]);
    let kept = |condition: &str, rows: Value| {
        let text = rules(&format!(
            "- {{name: a, allow: ['**'], shape: {{rows: {{at: $, where: \"{condition}\"}}}}}}"
        ));
        listed(&[&text], &kid, rows).unwrap()
    };
    let rows = json!([{"n": 1}, {"n": "1"}, {}, null, 7, [1], {"n": 0.1}]);
    assert_eq!(kept("item.n < 2", rows.clone()), json!([{"n": 1}, {"n": 0.1}]));
    assert_eq!(kept("item.n", json!([{"n": 1}, {"n": true}])), json!([{"n": true}]));
    // Unknown facts of the grant drop all.
    assert_eq!(kept("item.n == user.id || true", json!([{"n": 1}])), json!([{"n": 1}]));
    assert_eq!(kept("item.n != user.id", rows), json!([]));
    assert_eq!(kept("item == 7", json!([7, 8])), json!([7]));
    assert_eq!(kept("now > timestamp('2020-01-01T00:00:00Z') && grant.depth == 0", json!([1])), json!([1]));
    // Costs that no single row may have drop it; costs that no answer may have withhold it.
    let long: Vec<u64> = (0..20_000).collect();
    let heavy = "item.n.all(x, x >= 0 && x + 1 > 0 && x * 2 >= 0)";
    assert_eq!(kept(heavy, json!([{"n": [1]}, {"n": long}])), json!([{"n": [1]}]));
    let text =
        rules(&format!("- {{name: a, allow: ['**'], shape: {{rows: {{at: $, where: \"{heavy}\"}}}}}}"));
    let all = Value::Array(vec![json!({"n": long}); 30]);
    assert_eq!(listed(&[&text], &kid, all), Err(Withheld::Cost));
}

proptest! {
    /// A search never returns what asking for the one message would not.
    #[test]
    fn members_are_those_that_the_action_is_allowed_on(
        lines in prop::collection::vec((0..3usize, 0..ENTRIES.len(), 0..TRUTHS.len()), 1..6),
        list in prop::collection::vec((0..FOLDERS.len(), 0..3u64), 0..8),
    ) {
        let mut text = "policy: p\nrules:\n".to_owned();
        for (index, (kind, entry, truth)) in lines.iter().enumerate() {
            let kind = ["allow", "deny", "guard"][*kind];
            text += &format!(
                "  - {{name: r{index}, {kind}: [mail.*], on: ['{}'], when: '{}'}}\n", ENTRIES[*entry].0, TRUTHS[*truth].0
            );
        }
        text += "  - {name: last, allow: [mail.search], on: ['mail://ann']}\n";
        let desk = chain(&[spec(1, "desk")]);
        let list: Vec<(&str, u64)> = list.iter().map(|(folder, id)| (FOLDERS[*folder], *id)).collect();
        let on = |resource: &str| judged(&[&text], &desk, &action("mail.search", resource, json!({"user": "ann"}))).verdict;
        prop_assume!(on("mail://ann") == Verdict::Allow);
        let expected: Vec<u64> = list.iter().filter(|(folder, id)| {
            let is_named = |entry: usize| ENTRIES[entry].1.iter().any(|(f, i)| f == folder && i.is_none_or(|i| i == *id));
            let (mut allowed, mut denied) = (false, false);
            for (kind, entry, truth) in &lines {
                let (named, truth) = (is_named(*entry), TRUTHS[*truth].1);
                match kind {
                    0 => allowed |= named && truth == Some(true),
                    1 => denied |= named && truth != Some(false),
                    _ => denied |= named && truth != Some(true),
                }
            }
            allowed && !denied
        }).map(|(_, id)| *id).collect();
        prop_assert_eq!(found(&[&text], &desk, &list), expected, "{}", text);
    }
}

const FOLDERS: [&str; 3] = ["inbox", "private", "a*b"];
type Entry = (&'static str, &'static [(&'static str, Option<u64>)]);
/// Entries with the folders, and the id in them, that they are about.
const ENTRIES: [Entry; 6] = [
    ("mail://ann/**", &[("inbox", None), ("private", None), ("a*b", None)]),
    ("mail://ann/inbox/*", &[("inbox", None)]),
    ("mail://*/private/**", &[("private", None)]),
    ("mail://ann/a%2Ab/1", &[("a*b", Some(1))]),
    ("mail://ann/*/2", &[("inbox", Some(2)), ("private", Some(2)), ("a*b", Some(2))]),
    ("mail://bob/**", &[]),
];
const TRUTHS: [(&str, Option<bool>); 3] =
    [("true", Some(true)), ("false", Some(false)), ("params.gone == 1", None)];

const ORDERS: &str = "
service: shop
base_url: https://shop.example
auth: {type: bearer}
actions:
  orders.list:
    method: GET
    path: /orders
    resource: order://all
    effect: read
    params:
      type: object
      properties: {page_size: {type: integer, minimum: 5}, q: {type: string}}
    response: {items: $.orders, limit: page_size}
  orders.find:
    method: POST
    path: /orders/find
    resource: order://all
    effect: read
    params: {type: object, properties: {first: {type: integer}, page: {type: integer}}}
    response: {items: '$.found[*].orders', limit: first}
";

/// How many rows are asked for upstream; `None` where what was asked is sent.
fn sent(rules_: &[&str], action: &str, params: &Value) -> Option<Value> {
    let service = Service::parse(ORDERS.as_bytes(), None).unwrap().0;
    let name = ActionName::parse(action).unwrap();
    let declared = service.action(&name).unwrap();
    let params = params.as_object().unwrap();
    let described = declared.describe(params).unwrap();
    let desk = chain(&[spec(1, "desk").user(9, "ann")]);
    let action =
        Action { effect: declared.effect(), ..Action::stated(name, described.resource, params.clone()) };
    let loaded = rules_.iter().map(|source| crate::policy::fixture::policy(source)).collect();
    let bound = PolicySet::new(loaded).bind(&desk);
    let judgement = judge(&bound, &Request { chain: &desk, action: &action, now: NOW, context: None });
    assert_eq!(judgement.verdict, Verdict::Allow, "{:?}", judgement.reasons);
    let narrowed = narrowed(&judgement, declared, params)?;
    // Nothing else differs, and what is sent describes back.
    let name = declared.row_limit().unwrap().param();
    let without = |all: &serde_json::Map<String, Value>| {
        let mut all = all.clone();
        all.remove(name);
        all
    };
    assert_eq!(without(&narrowed), without(params));
    let call = service.render(declared, &narrowed).unwrap();
    assert_eq!(service.describe_call(&call).unwrap().1, narrowed);
    narrowed.get(name).cloned()
}

#[test]
fn no_more_rows_are_asked_for_than_may_come_back() {
    let rules =
        |shape: &str| rules(&format!("- {{name: a, allow: ['orders.*'], shape: {{rows: {shape}}}}}\n"));
    let fifty = rules("{at: $.orders, max: 50}");
    for (asked, expected) in [
        (json!({}), Some(50)),
        (json!({"page_size": 51}), Some(50)),
        (json!({"page_size": 1_000_000_000_000_000_000_u64}), Some(50)),
        (json!({"page_size": 50}), None),
        (json!({"page_size": 50.0}), None),
        (json!({"page_size": 7, "q": "x"}), None),
        (json!({"q": "x"}), Some(50)),
    ] {
        assert_eq!(sent(&[&fifty], "orders.list", &asked), expected.map(Value::from), "{asked}");
    }
    // What some take for all.
    let found = rules("{at: '$.found[*].orders', max: 50}");
    for asked in [json!({"first": 0}), json!({"first": -1}), json!({"page": 2})] {
        assert_eq!(sent(&[&found], "orders.find", &asked), Some(json!(50)), "{asked}");
    }
    // The least of all that say it, of this list.
    let also = rules("[{at: $.orders, max: 60}, {at: $.others, max: 3}, {at: $.orders, max: 20}]");
    assert_eq!(
        sent(&[&fifty, &also.replace("policy: p", "policy: q")], "orders.list", &json!({})),
        Some(json!(20))
    );
    assert_eq!(sent(&[&rules("{at: $.others, max: 20}")], "orders.list", &json!({})), None);
    // The most of what is left by a condition is more that have to come.
    assert_eq!(sent(&[&rules("{at: $.orders, max: 50, where: item.mine}")], "orders.list", &json!({})), None);
    // Fewer than upstream gives at a time.
    assert_eq!(sent(&[&rules("{at: $.orders, max: 4}")], "orders.list", &json!({})), None);
}

#[test]
fn a_limit_of_rows_is_a_whole_number_of_the_action() {
    let wrong = |right: &str, edited: &str| {
        assert!(ORDERS.contains(right));
        let found = Service::parse(ORDERS.replacen(right, edited, 1).as_bytes(), None).unwrap_err();
        found.iter().find(|it| it.is_error()).unwrap().render()
    };
    let said = wrong("limit: page_size", "limit: page_siz");
    assert!(said.contains("`page_siz`") && said.contains("did you mean `page_size`?"), "{said}");
    assert!(wrong("limit: page_size", "limit: q").contains("type: integer"));
    assert!(
        wrong("limit: page_size", "resource: 'order://all/{id}', limit: page_size").contains("can't both")
    );
    assert!(wrong("path: /orders\n", "path: '/orders/{page_size}'\n").contains("stands in `path`"));
    assert!(
        wrong("    response: {items: $.orders", "    secret: [page_size]\n    response: {items: $.orders")
            .contains("secret")
    );
}
