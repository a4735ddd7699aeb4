//! Which facts are needed, against the judge asked about every value that they could have.

use super::*;
use crate::{
    judge::{Need, informed, need},
    policy::fixture::policy,
    service::{Facts, Service, ServiceAction},
};
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What each fact may be, in the small world of these tests; the last is that it can't be read.
const VALUES: [(&str, [&str; 3]); 3] =
    [("owner", ["\"ann\"", "\"bob\"", ""]), ("total", ["3", "8", ""]), ("open", ["true", "false", ""])];
const WHEN: [&str; 12] = [
    "resource.owner == 'ann'",
    "resource.owner != 'ann' || params.n == 4",
    "resource.total >= params.n",
    "resource.total < 5",
    "resource.open",
    "!resource.open && params.n > 2",
    "params.n <= 5",
    "params.n > 2",
    "params.gone == 1",
    "agent.handle == 'boss'",
    "resource.owner in ['ann', 'cid']",
    "has(params.n) && resource.authority == 'h'",
];
const LIMITS: [&str; 5] = [
    "{count: 3, per: day}",
    "{sum: params.n, max: 9, per: day}",
    "{sum: resource.total, max: 9, per: day}",
    "{count: 3, per: day, by: user}",
    "{count: 3, per: day, by: resource.owner}",
];
const INTENT: [&str; 3] = ["{entities: [n]}", "{entities: [n], otherwise: hold}", "{plan: required}"];
const APPROVE: [&str; 3] = ["{}", "{when: params.n > 3}", "{when: resource.total > 5}"];

fn service() -> Service {
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
    params: {type: object, properties: {n: {type: integer}}}
    resolve:
      one: {path: '/x/{id}', facts: {owner: {at: /owner, type: string}, total: {at: /total, type: number}}}
      two: {path: '/y/{id}', facts: {open: {at: /open, type: boolean}}}
";
    Service::parse(text.as_bytes(), None).unwrap().0
}

fn declared(service: &Service) -> &ServiceAction {
    service.action(&"a.x".parse().unwrap()).unwrap()
}

fn rule() -> impl Strategy<Value = String> {
    (
        prop_oneof![5 => Just("allow"), 1 => Just("deny"), 2 => Just("guard")],
        prop::collection::vec(0..WHEN.len(), 0..3),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.3, 0..LIMITS.len()),
        prop::option::weighted(0.3, 0..APPROVE.len()),
        prop::option::weighted(0.2, 0..INTENT.len()),
    )
        .prop_map(|(kind, when, elsewhere, limit, approve, intent)| {
            let mut out = format!("{kind}: ['a.x']");
            if elsewhere {
                out += ", on: ['r://g/*']";
            }
            if !when.is_empty() {
                let when: Vec<String> = when.iter().map(|one| format!("\"{}\"", WHEN[*one])).collect();
                out += &format!(", when: [{}]", when.join(", "));
            }
            if kind != "deny" {
                if let Some(limit) = limit {
                    out += &format!(", limits: [{}]", LIMITS[limit]);
                }
                if let Some(approve) = approve {
                    out += &format!(", approve: {}", APPROVE[approve]);
                }
                if let Some(intent) = intent {
                    out += &format!(", intent: {}", INTENT[intent]);
                }
            }
            out
        })
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::collection::vec(rule(), 1..5), 1..3).prop_map(|all| {
        let text = |(number, rules): (usize, &Vec<String>)| {
            let rules = rules.iter().enumerate().map(|(n, rule)| format!("  - {{name: r{n}, {rule}}}\n"));
            format!("policy: p{number}\nrules:\n{}", rules.collect::<String>())
        };
        all.iter().enumerate().map(text).collect()
    })
}

/// Every world: for each fact one of its values, or unread.
fn worlds() -> Vec<Map<String, Value>> {
    let mut all = vec![Map::new()];
    for (name, values) in VALUES {
        all = all
            .iter()
            .flat_map(|world| {
                values.iter().map(move |value| {
                    let mut next = world.clone();
                    if !value.is_empty() {
                        next.insert(name.to_owned(), serde_json::from_str(value).unwrap());
                    }
                    next
                })
            })
            .collect();
    }
    all
}

struct World {
    chain: Chain,
    set: PolicySet,
    action: Action,
}

impl World {
    fn new(texts: &[String], two: bool, n: Option<i64>) -> Self {
        let mut kid = spec(1, "kid").task(9, TaskOrigin::Person);
        if let Some(task) = &mut kid.task {
            task.stated.details = json!({"n": [1, 3, 5]}).as_object().cloned();
        }
        let specs = if two { vec![kid, spec(2, "boss")] } else { vec![kid] };
        let params = n.map_or(json!({}), |n| json!({"n": n}));
        Self {
            chain: chain(&specs),
            set: PolicySet::new(texts.iter().map(|text| policy(text)).collect()),
            action: action("a.x", "r://h/7", params),
        }
    }

    fn informed(&self, facts: &Map<String, Value>) -> Judgement {
        let action = Action { facts: Facts::given(facts.clone()), ..self.action.clone() };
        let request = Request { chain: &self.chain, action: &action, now: NOW, context: None };
        informed(&self.set.bind(&self.chain), &request, Some(declared(&service())))
    }

    fn judged(&self, facts: &Map<String, Value>) -> Judgement {
        let action = Action { facts: Facts::given(facts.clone()), ..self.action.clone() };
        let request = Request { chain: &self.chain, action: &action, now: NOW, context: None };
        judge(&self.set.bind(&self.chain), &request)
    }

    fn needed(&self, facts: &Map<String, Value>) -> BTreeSet<String> {
        let need = self.need(facts);
        assert!(need.observed.is_empty(), "nothing is observed here");
        need.judged
    }

    fn need(&self, facts: &Map<String, Value>) -> Need {
        let action = Action { facts: Facts::given(facts.clone()), ..self.action.clone() };
        let request = Request { chain: &self.chain, action: &action, now: NOW, context: None };
        need(&self.set.bind(&self.chain), &request, declared(&service()))
    }
}

/// What an unread fact may do is less than what some value of it does.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Deny => 0,
        Verdict::Hold => 1,
        Verdict::Allow => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Where nothing is needed, no value makes a difference; what is not needed makes none at all; and what is unknown never
    /// gets more than any value of it would.
    #[test]
    fn what_is_not_needed_makes_no_difference(texts in texts(), two: bool, n in prop::option::of(0i64..7)) {
        let world = World::new(&texts, two, n);
        let needed = world.needed(&Map::new());
        let blind = world.judged(&Map::new());
        let all = worlds();
        for facts in &all {
            let whole = world.judged(facts);
            if facts.len() < VALUES.len() {
                continue;
            }
            prop_assert_eq!(&world.informed(facts), &whole);
            if needed.is_empty() {
                prop_assert_eq!(whole.verdict, blind.verdict, "{:?}: {:?}", texts, facts);
                continue;
            }
            let mut known = facts.clone();
            known.retain(|name, _| needed.contains(name));
            let part = world.informed(&known);
            prop_assert_eq!(part.verdict, whole.verdict, "{:?}: {:?} of {:?}", texts, facts, needed);
            if whole.verdict != Verdict::Deny {
                prop_assert_eq!((&part.charges, &part.requirements), (&whole.charges, &whole.requirements));
            }
            // What is known already isn't needed again.
            prop_assert!(world.needed(&known).iter().all(|name| !known.contains_key(name)));
        }
        let ranked: Vec<u8> = all.iter().map(|facts| rank(world.informed(facts).verdict)).collect();
        for (less, unread) in all.iter().zip(&ranked) {
            for (name, _) in VALUES.iter().filter(|(name, _)| !less.contains_key(*name)) {
                let but = |other: &Map<String, Value>| {
                    other.contains_key(*name) && other.iter().filter(|(key, _)| key != name).eq(less)
                };
                let least = all.iter().zip(&ranked).filter(|(other, _)| but(other)).map(|(_, rank)| *rank).min();
                prop_assert!(Some(*unread) <= least, "{:?}: {} unread beside {:?}", texts, name, less);
            }
        }
    }

    /// Where each condition is about a fact of its own, something is needed only where some value allows or holds.
    #[test]
    fn nothing_is_read_in_vain(kinds in prop::collection::vec((0..3usize, 0..3usize, 0..4usize, prop::bool::ANY), 1..5), n in 0i64..7) {
        let own = ["resource.owner == 'ann'", "resource.total >= 5", "resource.open"];
        let plain = ["params.n > 3", "params.n <= 5", "params.gone", "true"];
        let mut used = BTreeSet::new();
        let mut text = "policy: p\nrules:\n".to_owned();
        for (place, (kind, fact, beside, reads)) in kinds.iter().enumerate() {
            let kind = ["allow", "guard", "deny"][*kind];
            let mut when = vec![plain[*beside]];
            if *reads && used.insert(*fact) {
                when.push(own[*fact]);
            }
            let when: Vec<String> = when.iter().map(|one| format!("\"{one}\"")).collect();
            text += &format!("  - {{name: r{place}, {kind}: [a.x], when: [{}]}}\n", when.join(", "));
        }
        let world = World::new(&[text.clone()], false, Some(n));
        let possible = worlds().iter().any(|facts| world.judged(facts).verdict != Verdict::Deny);
        let needed = world.needed(&Map::new());
        prop_assert!(possible || needed.is_empty(), "{}: {:?}", text, needed);
        for name in &needed {
            // It is one of those that make the difference, somewhere.
            let differs = worlds().iter().any(|facts| {
                let with = |value: &str| {
                    let mut world_of = facts.clone();
                    match value {
                        "" => _ = world_of.remove(name),
                        value => _ = world_of.insert(name.clone(), serde_json::from_str(value).unwrap()),
                    }
                    let judged = world.judged(&world_of);
                    (judged.verdict, judged.chosen)
                };
                let values = VALUES.iter().find(|(other, _)| other == name).unwrap().1;
                values.iter().any(|value| with(value) != with(values[0]))
            });
            prop_assert!(differs, "{}: {} makes no difference", text, name);
        }
    }
}

#[test]
fn unread_is_unknown_and_never_absent() {
    let needs = |text: &str, n: i64| {
        let world = World::new(&[format!("policy: p\nrules:\n{text}")], false, Some(n));
        world.needed(&Map::new()).into_iter().collect::<Vec<_>>().join(" ")
    };
    let own =
        "  - {name: own, allow: [a.x], when: [params.n <= 5, resource.owner == 'ann', resource.total > 2]}\n";
    assert_eq!(needs(own, 5), "owner total");
    // Refused whatever they are.
    assert_eq!(needs(own, 6), "");
    assert_eq!(needs(&format!("{own}  - {{name: no, deny: [a.x], when: params.n > 2}}\n"), 5), "");
    assert_eq!(needs(&format!("{own}  - {{name: no, guard: [a.x], when: params.n > 7}}\n"), 5), "");
    // Whoever is chosen before leaves nothing to ask.
    assert_eq!(needs(&format!("  - {{name: all, allow: [a.x]}}\n{own}"), 5), "");
    assert_eq!(
        needs("  - {name: all, allow: [a.x]}\n  - {name: no, deny: [a.x], when: '!resource.open'}\n", 1),
        "open"
    );
    // Known to be, or unknown.
    for (condition, facts, verdict) in [
        ("resource.owner != 'ann'", json!({}), Verdict::Deny),
        ("!(resource.owner == 'ann')", json!({}), Verdict::Deny),
        ("resource.owner != 'ann'", json!({"owner": "bob"}), Verdict::Allow),
        ("resource.total > 2 || params.n == 1", json!({}), Verdict::Allow),
        ("resource.total in [1, 2]", json!({"total": 2.0}), Verdict::Allow),
    ] {
        let text = format!("policy: p\nrules: [{{name: r, allow: [a.x], when: \"{condition}\"}}]\n");
        let world = World::new(&[text], false, Some(1));
        assert_eq!(world.judged(facts.as_object().unwrap()).verdict, verdict, "{condition}");
        let denied = format!(
            "policy: p\nrules: [{{name: r, allow: [a.x]}}, {{name: d, deny: [a.x], when: \"{condition}\"}}]\n"
        );
        let world = World::new(&[denied], false, Some(1));
        let matched = verdict == Verdict::Allow || facts == json!({});
        assert_eq!(world.judged(facts.as_object().unwrap()).verdict == Verdict::Deny, matched, "{condition}");
    }
}

/// A rule further down is no way around one that rests on what could not be read.
#[test]
fn what_could_not_be_read_falls_to_no_other_rule() {
    let text = "policy: p
rules:
  - {name: large, allow: [a.x], when: resource.total > 5, approve: {by: ['role:lead']}}
  - {name: rest, allow: [a.x]}
";
    let world = World::new(&[text.to_owned()], false, Some(1));
    let says = |facts: Value| world.informed(facts.as_object().unwrap());
    assert_eq!(says(json!({"total": 8})).verdict, Verdict::Hold);
    assert_eq!(says(json!({"total": 3})).verdict, Verdict::Allow);
    let unread = says(json!({}));
    assert_eq!(unread.verdict, Verdict::Deny);
    assert_eq!(short(&unread), ["condition_unknown"]);
    let told = serde_json::to_value(unread.reasons[0].disclosed_to(Reader::Agent)).unwrap();
    assert_eq!(told, json!({"code": "condition_unknown"}));
}

/// A condition that was never checked against a service may ask whether a fact is there.
#[test]
fn whether_a_fact_is_there_is_unknown_too() {
    use crate::cel::{Activation, Expression, Facts as Sources, Fuel, Outcome, Root};
    struct Known(Value);
    impl Sources for Known {
        fn text(&self, _: Root, _: &str) -> Option<&str> {
            None
        }
        fn whole(&self, root: Root) -> Option<&Value> {
            (root == Root::Resource).then_some(&self.0)
        }
    }
    let of = |text: &str| {
        let known = Known(json!({"uri": "r://h/7", "owner": "ann"}));
        let expression = Expression::parse(text).unwrap();
        let vars = Activation::new().facts(&known);
        expression.conjuncts()[0].evaluate(&vars, &mut Fuel::default())
    };
    assert_eq!(of("has(resource.owner)"), Outcome::True);
    assert_eq!(of("has(resource.segments)"), Outcome::False);
    assert_eq!(of("has(resource.uri) && resource.owner == 'ann'"), Outcome::True);
    for unknown in [
        "has(resource.total)",
        "!has(resource.total)",
        "'total' in resource",
        "!('total' in resource)",
        "size(resource) == 2",
        "resource == {'uri': 'r://h/7', 'owner': 'ann'}",
        "!resource.exists(name, name == 'total')",
    ] {
        assert!(matches!(of(unknown), Outcome::Unknown(_)), "{unknown}");
    }
}

/// What the purpose of the task refuses whatever the facts are is not looked up for.
#[test]
fn what_does_not_fit_its_task_needs_nothing() {
    let needs = |text: &str, n: i64| {
        let world = World::new(&[format!("policy: p\nrules:\n{text}")], false, Some(n));
        world.needed(&Map::new()).into_iter().collect::<Vec<_>>().join(" ")
    };
    let own = "  - {name: own, allow: [a.x], when: resource.owner == 'ann', intent: {entities: [n]";
    assert_eq!(
        (needs(&format!("{own}}}}}\n"), 3), needs(&format!("{own}}}}}\n"), 4)),
        ("owner".into(), "".into())
    );
    // People may say yes to it.
    assert_eq!(needs(&format!("{own}, otherwise: hold}}}}\n"), 4), "owner");
    // Another rule may be chosen where it is somebody else's.
    let rest = format!("{own}}}}}\n  - {{name: rest, allow: [a.x]}}\n");
    assert_eq!(needs(&rest, 4), "owner");
    let open = "  - {name: open, allow: [a.x], when: resource.open}\n";
    let guarded = format!("{open}  - {{name: g, guard: [a.x], intent: {{plan: required}}}}\n");
    assert_eq!((needs(open, 3), needs(&guarded, 3)), ("open".into(), "".into()));
}

/// Policies that are only observed read facts of their own, and what they read decides nothing.
#[test]
fn what_is_only_observed_is_needed_for_nothing_that_is_decided() {
    let force = "policy: p
rules:
  - {name: own, allow: [a.x], when: resource.owner == 'ann', approve: {when: resource.total > 5}}
";
    let watch = "policy: q
mode: observe
rules:
  - {name: own, allow: [a.x], when: [resource.owner == 'ann', resource.open]}
";
    let world = World::new(&[force.to_owned(), watch.to_owned()], false, Some(1));
    let need = world.need(&Map::new());
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!((need.judged, need.observed), (names(&["owner", "total"]), names(&["open"])));
    let known = json!({"owner": "ann", "total": 3});
    assert_eq!(world.informed(known.as_object().unwrap()).verdict, Verdict::Allow, "`open` is unknown");
    // What people are asked about is bound to what was judged by, and to nothing else.
    let mut facts = Facts::given(known.as_object().unwrap().clone());
    let bound = facts.bound();
    facts.note_observed("open", Ok(json!(true)));
    assert_eq!(facts.bound(), bound);
    facts.note_observed("late", Err(crate::service::Unread::NoAnswer));
    assert_eq!(facts.bound(), bound);
    assert_eq!(facts.judged().shown(), json!({"known": known}));
    assert_eq!(facts.shown()["known"]["open"], true);
    facts.note("seen", Ok(json!(true)));
    assert_ne!(facts.bound(), bound);
}

/// An agent is told the same of a fact that a limit can't count, whatever is wrong with it.
#[test]
fn what_a_limit_can_not_count_of_a_fact_tells_nothing_of_it() {
    let told = |limit: &str, facts: Value| {
        let text = format!("policy: p\nrules: [{{name: r, allow: [a.x], limits: [{limit}]}}]\n");
        let world = World::new(&[text], false, Some(1));
        let judged = world.judged(facts.as_object().unwrap());
        assert_eq!(judged.verdict, Verdict::Deny, "{limit} {facts}");
        serde_json::to_value(judged.reasons[0].disclosed_to(Reader::Agent)).unwrap()
    };
    for (limit, facts) in [
        (
            "{sum: resource.total, max: 9, per: day}",
            json!([{"total": 0}, {"total": -1}, {"total": 0.000_000_1}, {}]),
        ),
        ("{count: 3, per: day, by: resource.owner}", json!([{"owner": "x".repeat(600)}, {"owner": [1]}, {}])),
    ] {
        let all: BTreeSet<String> =
            facts.as_array().unwrap().iter().map(|facts| told(limit, facts.clone()).to_string()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
    }
    // Of what it sent itself it is told what is wrong.
    let text = "policy: p\nrules: [{name: r, allow: [a.x], limits: [{sum: params.n, max: 9, per: day}]}]\n";
    let judged = World::new(&[text.to_owned()], false, Some(0)).judged(&Map::new());
    assert!(judged.reasons[0].detail.as_deref().unwrap().contains("above zero"), "{:?}", judged.reasons);
}
