//! What is said of many requests at once, against the judge asked about each.

use super::*;
use crate::{
    judge::{
        outlook::{Asks, Outlook, Prospect, Way, outlook},
        reach::reach,
    },
    pattern::{ActionName, ResourceUri},
    policy::fixture::{Spec, policy},
    service::Effect,
};
use proptest::prelude::*;
use serde_json::Map;

const RESOURCES: [&str; 4] = ["r://h/1", "r://h/2", "r://g/1", "r://g/2"];
const PATTERNS: [&str; 9] = [
    "*",
    "r://**",
    "r://*/*",
    "r://h/1",
    "r://h/*",
    "r://*/1",
    "r://g/**",
    "r://{{agent.host}}/2",
    "r://{{user.id}}/2",
];
const WHEN: [&str; 10] = [
    "params.n <= 5",
    "params.n > 2",
    "true",
    "false",
    "params.gone == 1",
    "agent.handle == 'kid'",
    "agent.handle == 'boss' || params.n == 4",
    "context.ok",
    "resource.authority == 'h'",
    "params.n in [1, 4] && agent.labels.host == 'h'",
];
const HOURS: [&str; 2] = ["{days: mon-fri, zone: UTC}", "{from: '18:00', to: '06:00', zone: UTC}"];
const LIMITS: [&str; 4] = [
    "{count: 3, per: day}",
    "{sum: params.n, max: 9, per: day}",
    "{count: 3, per: day, by: user}",
    "{count: 3, per: day, by: resource}",
];
const APPROVE: [&str; 4] =
    ["{}", "{when: params.n > 3}", "{when: agent.handle == 'x'}", "{when: params.gone}"];

/// A rule; of `plain` ones none looks at more than the resource's place.
fn rule(plain: bool) -> impl Strategy<Value = String> {
    let seldom = if plain { 0.1 } else { 0.3 };
    (
        prop_oneof![5 => Just("allow"), 1 => Just("deny"), 2 => Just("guard")],
        prop::option::of(prop::collection::vec(0..PATTERNS.len(), 1..3)),
        prop::collection::vec(0..WHEN.len(), 0..3),
        prop::option::weighted(0.2, 0..HOURS.len()),
        prop::option::weighted(seldom, 0..LIMITS.len()),
        prop::option::weighted(seldom, 0..APPROVE.len()),
    )
        .prop_map(move |(kind, on, when, hours, limit, approve)| {
            let mut out = format!("{kind}: ['a.x']");
            let quoted = |items: Vec<&str>| {
                items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
            };
            if let Some(on) = on {
                out += &format!(", on: [{}]", quoted(on.iter().map(|one| PATTERNS[*one]).collect()));
            }
            let when: Vec<&str> = when.iter().map(|one| WHEN[*one]).collect();
            if !when.is_empty() {
                out += &format!(", when: [{}]", quoted(when));
            }
            if let Some(hours) = hours {
                out += &format!(", hours: {}", HOURS[hours]);
            }
            if kind != "deny" {
                if let Some(limit) = limit {
                    out += &format!(", limits: [{}]", LIMITS[limit]);
                }
                if let Some(approve) = approve {
                    out += &format!(", approve: {}", APPROVE[approve]);
                }
            }
            out
        })
}

fn policies(plain: bool) -> impl Strategy<Value = Vec<String>> {
    let one = prop::collection::vec(rule(plain), 1..4);
    prop::collection::vec(one, 1..3).prop_map(|all| {
        let text = |(number, rules): (usize, &Vec<String>)| {
            let rules = rules.iter().enumerate().map(|(n, rule)| format!("  - {{name: r{n}, {rule}}}\n"));
            format!("policy: p{number}\nrules:\n{}", rules.collect::<String>())
        };
        all.iter().enumerate().map(text).collect()
    })
}

/// Narrowings of the leaf's own grant.
const GRANTS: [(&str, &str); 4] = [("**", "*"), ("a.*", "r://h/**"), ("a.x:r://*/1", "r://**"), ("b.*", "*")];

fn family(two: bool, grant: usize) -> Chain {
    let kid = spec(1, "kid").label("host", "h");
    let authority = crate::grant::Authority {
        scope: vec![GRANTS[grant].0.parse().unwrap()],
        resources: vec![ResourcePattern::parse(GRANTS[grant].1).unwrap()],
        ..kid.authority.clone()
    };
    let kid = Spec { authority, ..kid };
    if two { chain(&[kid, spec(2, "boss").label("host", "h")]) } else { chain(&[kid]) }
}

fn prospect<'a>(chain: &'a Chain, name: &'a ActionName, range: &'a ResourcePattern) -> Prospect<'a> {
    Prospect { chain, name, range, effect: Some(Effect::Write), now: NOW }
}

fn params(n: Option<i64>) -> Map<String, Value> {
    n.map(|n| ("n".to_owned(), json!(n))).into_iter().collect()
}

fn verdict(set: &PolicySet, chain: &Chain, resource: &str, known: &str, n: Option<i64>) -> Verdict {
    let action = Action {
        known: ResourcePattern::parse(known).unwrap(),
        ..action("a.x", resource, Value::Object(params(n)))
    };
    judge(&set.bind(chain), &Request { chain, action: &action, now: NOW, context: None }).verdict
}

fn amounts() -> impl Iterator<Item = Option<i64>> {
    (0..7).map(Some).chain([None])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_outlook_leaves_nothing_out_and_is_certain_of_nothing_else(
        texts in policies(false), two in any::<bool>(), grant in 0..GRANTS.len()
    ) {
        let set = PolicySet::new(texts.iter().map(|text| policy(text)).collect());
        let (chain, name) = (family(two, grant), ActionName::parse("a.x").unwrap());
        let range = ResourcePattern::parse("r://*/*").unwrap();
        let found = outlook(&set.bind(&chain), &prospect(&chain, &name, &range));
        for n in amounts() {
            for (resource, known) in RESOURCES.iter().map(|one| (*one, *one)).chain([("r://h/1", "r://*/1")]) {
                let said = verdict(&set, &chain, resource, known, n);
                match &found {
                    None => prop_assert_eq!(said, Verdict::Deny),
                    Some(Outlook { lacking: Some(_), .. }) => prop_assert_eq!(said, Verdict::Deny),
                    Some(Outlook { certain, asks, .. }) => {
                        prop_assert!(!certain || said != Verdict::Deny);
                        prop_assert!(*asks != Asks::Always || said != Verdict::Allow);
                        prop_assert!(*asks != Asks::Never || said != Verdict::Hold);
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_are_kept_by_all_that_is_allowed(texts in policies(false)) {
        let set = PolicySet::new(texts.iter().map(|text| policy(text)).collect());
        let (chain, name) = (family(false, 0), ActionName::parse("a.x").unwrap());
        let range = ResourcePattern::parse("r://*/*").unwrap();
        let Some(found) = outlook(&set.bind(&chain), &prospect(&chain, &name, &range)) else { return Ok(()) };
        let keeps = |way: &Way, n: i64| {
            let Some(bounds) = way.bounds.get("params.n") else { return true };
            let all = |kind: &str, test: &dyn Fn(i64) -> bool| match bounds.get(kind) {
                None => true,
                Some(Value::Array(many)) => many.iter().all(|one| test(one.as_i64().unwrap())),
                Some(one) => test(one.as_i64().unwrap()),
            };
            let listed = bounds.get("one_of").is_none_or(|all| all.as_array().unwrap().contains(&json!(n)));
            all("max", &|max| n <= max) && all("above", &|above| n > above) && listed
        };
        for n in 0..7 {
            for resource in RESOURCES {
                if verdict(&set, &chain, resource, resource, Some(n)) != Verdict::Deny {
                    let kept = found.conditions.iter().all(|ways| ways.iter().any(|way| keeps(way, n)));
                    prop_assert!(kept, "{n} on {resource} breaks {:?}", found.conditions);
                }
            }
        }
    }

    #[test]
    fn what_is_reached_is_what_is_allowed(
        texts in policies(true), two in any::<bool>(), grant in 0..GRANTS.len(), range in 0..6usize,
        n in prop::option::of(0i64..7)
    ) {
        let set = PolicySet::new(texts.iter().map(|text| policy(text)).collect());
        let (chain, name) = (family(two, grant), ActionName::parse("a.x").unwrap());
        let range = ResourcePattern::parse(PATTERNS[range]).unwrap();
        let found = reach(&set.bind(&chain), &prospect(&chain, &name, &range), params(n), None);
        let Some(found) = found else { return Ok(()) };
        for resource in RESOURCES {
            let uri = ResourceUri::parse(resource).unwrap();
            if !range.matches(&uri) {
                prop_assert!(!found.patterns.iter().any(|one| one.matches(&uri)));
                continue;
            }
            let said = verdict(&set, &chain, resource, resource, n);
            let within = found.patterns.iter().any(|one| one.matches(&uri));
            prop_assert_eq!(within, said == Verdict::Allow, "{} in {:?}", resource, found.patterns);
        }
    }
}

fn looked(rules_text: &str) -> Option<Outlook> {
    let set = PolicySet::new(vec![policy(&rules(rules_text))]);
    let (chain, name) = (desk(), ActionName::parse("refunds.create").unwrap());
    let range = ResourcePattern::parse("order://*/*").unwrap();
    outlook(&set.bind(&chain), &prospect(&chain, &name, &range))
}

#[test]
fn an_agent_is_told_bounds_on_what_it_sends_and_nothing_of_facts() {
    let found = looked(
        "- {name: a, allow: [refunds.*], when: [params.amount <= 500 && params.amount > 0, \"params.to.all(t, t != 'x')\"],
   approve: {when: params.amount > 100}, limits: [{count: 5, per: day}]}
- {name: g, guard: ['**'], when: \"params.cap <= 3 && resource.authority != 'secret-place'\"}",
    );
    let found = found.unwrap();
    assert!(!found.certain && found.asks == Asks::Sometimes && found.quotas.len() == 1);
    let bounded = Way {
        bounds: serde_json::from_value(json!({"params.amount": {"max": 500, "above": 0}})).unwrap(),
        expressions: vec!["params.to.all(t, t != 'x')".into()],
        asks: Asks::Sometimes,
        ..Way::default()
    };
    let guarded = Way {
        bounds: serde_json::from_value(json!({"params.cap": {"max": 3}})).unwrap(),
        more: true,
        ..Way::default()
    };
    assert!(found.conditions.contains(&vec![bounded]) && found.conditions.contains(&vec![guarded]));
    assert!(!format!("{found:?}").contains("secret-place"));
}

#[test]
fn what_can_not_be_allowed_is_nothing() {
    for none in [
        "- {name: a, allow: [mail.*]}",
        "- {name: a, allow: [refunds.*], when: agent.labels.team == 'a'}",
        "- {name: a, allow: [refunds.*], on: ['mailbox://**']}",
        "- {name: a, allow: ['**']}\n- {name: d, deny: [refunds.*]}",
        "- {name: a, allow: ['**']}\n- {name: g, guard: ['**'], when: 'false'}",
    ] {
        assert_eq!(looked(none), None, "{none}");
    }
    let plain = looked("- {name: a, allow: ['**']}").unwrap();
    assert_eq!(plain, Outlook { certain: true, ..Outlook::default() });
    let asked = looked("- {name: a, allow: ['**'], approve: {}}").unwrap();
    assert_eq!((asked.certain, asked.asks), (true, Asks::Always));
    // NOW is Monday noon, UTC.
    let later = looked("- {name: a, allow: ['**'], hours: {from: '13:00', to: '15:00', zone: UTC}}").unwrap();
    assert_eq!(later.conditions[0][0].opens.unwrap().to_string(), "2026-11-02T13:00:00Z");
}

#[test]
fn a_reach_is_exact_or_unknown() {
    let reached = |rules_text: &str, range: &str| {
        let set = PolicySet::new(vec![policy(&rules(rules_text))]);
        let (chain, name) = (desk(), ActionName::parse("orders.read").unwrap());
        let range = ResourcePattern::parse(range).unwrap();
        let found = reach(&set.bind(&chain), &prospect(&chain, &name, &range), Map::new(), None)?;
        Some(found.patterns.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>())
    };
    let some = "- {name: a, allow: [orders.*], on: ['order://a/**', 'order://b/1']}";
    assert_eq!(reached(some, "order://**").unwrap(), ["order://a/**", "order://b/1"]);
    assert_eq!(reached(some, "order://a/*").unwrap(), ["order://a/*"]);
    assert_eq!(reached(some, "order://c/**").unwrap(), Vec::<String>::new());
    assert_eq!(reached(some, "order://*/1"), None);
    let but = format!("{some}\n- {{name: d, deny: ['**'], on: ['order://a/**']}}");
    assert_eq!(reached(&but, "order://**").unwrap(), ["order://b/1"]);
    let part = format!("{some}\n- {{name: d, deny: ['**'], on: ['order://a/7']}}");
    assert_eq!(reached(&part, "order://**"), None);
    for unknown in
        ["when: resource.authority == 'a'", "approve: {}", "limits: [{count: 1, per: day, by: resource}]"]
    {
        assert_eq!(reached(&format!("- {{name: a, allow: ['**'], {unknown}}}"), "order://**"), None);
    }
}

#[test]
fn an_outlook_costs_no_more_than_a_decision() {
    // Two of these conditions fit what a decision may spend, and three do not.
    let list = format!("[{}]", vec!["1"; 80].join(", "));
    let dear = format!("{list}.all(x, {list}.all(y, x == y))");
    let rules = |count: usize| {
        let when: Vec<String> = (0..count).map(|_| format!("\"{dear}\"")).collect();
        format!("- {{name: a, allow: ['**'], when: [{}]}}", when.join(", "))
    };
    let one = looked(&rules(1)).unwrap();
    assert!(one.certain, "{one:?}");
    // Each by itself could be told; together they are open, and never said to be certain or left out.
    let many = looked(&rules(20)).unwrap();
    assert!(!many.certain && many.conditions == [vec![Way { more: true, ..Way::default() }]], "{many:?}");
    let denied = looked(&format!("{}\n- {{name: d, deny: ['**'], when: \"!({dear})\"}}", rules(20))).unwrap();
    assert!(!denied.certain);
    let asked = format!(
        "- {{name: a, allow: ['**'], approve: {{when: [{}]}}}}",
        vec![format!("\"{dear}\""); 20].join(", ")
    );
    assert_eq!(looked(&asked).unwrap().asks, Asks::Sometimes);
}
