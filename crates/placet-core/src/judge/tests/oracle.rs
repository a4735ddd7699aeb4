//! The judge against an evaluator that knows nothing of patterns, templates, indexes or CEL: rules are tables over a
//! few actions and resources, and conditions are true, false or unknown.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ACTIONS: [&str; 3] = ["a.x", "a.y", "b.x"];
const RESOURCES: [&str; 4] = ["r://h/1", "r://h/2", "r://g/1", "r://g/2"];
/// Patterns with the resources they stand for; `None` cannot be filled.
const ON: [(&str, Option<&[usize]>); 7] = [
    ("*", Some(&[0, 1, 2, 3])),
    ("r://h/1", Some(&[0])),
    ("r://h/*", Some(&[0, 1])),
    ("r://*/1", Some(&[0, 2])),
    ("r://g/**", Some(&[2, 3])),
    ("r://{{agent.host}}/2", Some(&[1])),
    ("r://{{user.id}}/2", None),
];
const NAMES: [(&str, &[usize]); 4] = [("a.x", &[0]), ("a.*", &[0, 1]), ("**", &[0, 1, 2]), ("b.x", &[2])];
const KNOWN: [(&str, &[usize]); 4] =
    [("r://h/1", &[0]), ("r://g/2", &[3]), ("r://h/*", &[0, 1]), ("r://*/1", &[0, 2])];
/// Hours, at Monday noon in UTC: whether it is open.
const HOURS: [(&str, bool); 3] = [
    ("{days: mon-fri, zone: UTC}", true),
    ("{from: '18:00', to: '06:00', zone: UTC}", false),
    ("[{days: sun, zone: UTC}, {from: '12:00', to: '12:01', zone: UTC}]", true),
];
const TRUTH: [(&str, Option<bool>); 3] =
    [("'true'", Some(true)), ("'false'", Some(false)), ("params.gone", None)];

#[derive(Debug, Clone)]
struct Line {
    kind: usize,
    names: Vec<usize>,
    on: Option<Vec<usize>>,
    when: Vec<usize>,
    hours: Option<usize>,
    limit: bool,
    approve: Option<Option<usize>>,
    shape: bool,
}

fn line() -> impl Strategy<Value = Line> {
    let truth = || prop_oneof![4 => Just(0usize), 1 => Just(1), 1 => Just(2)];
    (
        prop_oneof![4 => Just(0usize), 1 => Just(1), 2 => Just(2)],
        prop::collection::vec(0..NAMES.len(), 1..3),
        prop::option::of(prop::collection::vec(0..ON.len(), 1..3)),
        prop::collection::vec(truth(), 0..3),
        prop::option::weighted(0.3, 0..HOURS.len()),
        any::<bool>(),
        prop::option::weighted(0.3, prop::option::of(0..TRUTH.len())),
        any::<bool>(),
    )
        .prop_map(|(kind, names, on, when, hours, limit, approve, shape)| Line {
            kind,
            names,
            on,
            when,
            hours,
            limit,
            approve,
            shape,
        })
}

fn text(policy: usize, who: usize, observed: bool, lines: &[Line]) -> String {
    let applies = ["", "applies_to: {agents: [kid]}\n", "applies_to: {agents: ['bos*']}\n"][who];
    let mode = if observed { "mode: observe\n" } else { "" };
    let mut out = format!("policy: p{policy}\n{applies}{mode}rules:\n");
    let list = |items: Vec<&str>| items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
    for (index, line) in lines.iter().enumerate() {
        let kind = ["allow", "deny", "guard"][line.kind];
        let names = list(line.names.iter().map(|name| NAMES[*name].0).collect());
        out += &format!("  - name: p{policy}r{index}\n    {kind}: [{names}]\n");
        if let Some(on) = &line.on {
            out += &format!("    on: [{}]\n", list(on.iter().map(|entry| ON[*entry].0).collect()));
        }
        if !line.when.is_empty() {
            let when: Vec<_> = line.when.iter().map(|truth| TRUTH[*truth].0).collect();
            out += &format!("    when: [{}]\n", when.join(", "));
        }
        if let Some(hours) = line.hours {
            out += &format!("    hours: {}\n", HOURS[hours].0);
        }
        if line.kind != 1 && line.limit {
            out += "    limits: [{count: 1, per: total}]\n";
        }
        if line.kind != 1 && line.shape {
            out += "    shape: {rows: {at: $, where: item.handle == agent.handle}}\n";
        }
        if let (true, Some(approve)) = (line.kind != 1, &line.approve) {
            let when = approve.map(|truth| format!("when: {}", TRUTH[truth].0)).unwrap_or_default();
            out += &format!("    approve: {{{when}}}\n");
        }
    }
    out
}

/// What DESIGN §4 says, line by line: the verdict, the limits, the approvals and the shapes, by rule and agent.
fn expected(policies: &[Given], links: usize, action: usize, known: &[usize]) -> Expected {
    let (mut denied, mut limits, mut asked) = (false, BTreeSet::new(), BTreeSet::new());
    let mut shapes = BTreeSet::new();
    for link in 0..links {
        let mut allowed = false;
        for (number, (who, observed, lines)) in policies.iter().enumerate() {
            // An observed policy grants, forbids, charges and chooses nothing.
            if *observed || *who != 0 && *who != link + 1 {
                continue;
            }
            let mut chosen = false;
            for (index, line) in lines.iter().enumerate() {
                if !line.names.iter().any(|name| NAMES[*name].1.contains(&action)) {
                    continue;
                }
                let entries = |test: &dyn Fn(&[usize]) -> bool, unfilled: bool| {
                    line.on
                        .as_ref()
                        .is_none_or(|on| on.iter().any(|entry| ON[*entry].1.map_or(unfilled, test)))
                };
                let covers = entries(&|set| known.iter().all(|one| set.contains(one)), false);
                let touches = entries(&|set| known.iter().any(|one| set.contains(one)), true);
                let truths: Vec<_> = line.when.iter().map(|truth| TRUTH[*truth].1).collect();
                let open = line.hours.is_none_or(|hours| HOURS[hours].1);
                let holds = open && truths.iter().all(|truth| *truth == Some(true));
                let has_say = match line.kind {
                    0 => !chosen && covers && holds,
                    1 => {
                        denied |= touches && open && !truths.contains(&Some(false));
                        false
                    }
                    _ => {
                        denied |= touches && !holds;
                        touches && holds
                    }
                };
                chosen |= line.kind == 0 && has_say;
                if has_say && line.limit {
                    limits.insert((format!("p{number}r{index}"), link));
                }
                if has_say && line.shape {
                    shapes.insert((format!("p{number}r{index}"), link));
                }
                if has_say
                    && line.approve.is_some_and(|when| when.is_none_or(|truth| TRUTH[truth].1 != Some(false)))
                {
                    asked.insert(format!("p{number}r{index}"));
                }
            }
            allowed |= chosen;
        }
        denied |= !allowed;
    }
    if denied {
        return (Verdict::Deny, BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    }
    (if asked.is_empty() { Verdict::Allow } else { Verdict::Hold }, limits, asked, shapes)
}

/// To whom it applies, whether it is only observed, its rules.
type Given = (usize, bool, Vec<Line>);
type Expected = (Verdict, BTreeSet<(String, usize)>, BTreeSet<String>, BTreeSet<(String, usize)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_judge_says_what_the_sentences_say(
        policies in prop::collection::vec((0..3usize, prop::bool::weighted(0.2), prop::collection::vec(line(), 1..5)), 1..4),
        links in 1..3usize,
        named in 0..ACTIONS.len(),
        known in 0..KNOWN.len(),
    ) {
        let texts: Vec<_> =
            policies.iter().enumerate().map(|(number, (who, observed, lines))| text(number, *who, *observed, lines)).collect();
        let sources: Vec<&str> = texts.iter().map(String::as_str).collect();
        let specs = [spec(0, "kid").label("host", "h"), spec(1, "boss").label("host", "h")];
        let chain = chain(&specs[..links]);
        let (pattern, universe) = KNOWN[known];
        let mut order = action(ACTIONS[named], RESOURCES[universe[0]], json!({}));
        order.known = ResourcePattern::parse(pattern).unwrap();
        let found = judged(&sources, &chain, &order);
        let agents = [0, 1].map(|number| id::<crate::id::kind::Agent>(number).to_string());
        let limits = found.charges.iter().map(|charge| {
            let rule = charge.counter.split('/').nth(1).unwrap().to_owned();
            (rule, usize::from(charge.counter.ends_with(&agents[1])))
        });
        let asked = found.requirements.iter().map(|requirement| requirement.rule.clone());
        // A shape is that of a link: the row that it keeps says whose.
        let of_links = |applied: &AppliedShape| {
            let alone = Judgement { shapes: vec![applied.clone()], ..found.clone() };
            let set = PolicySet::new(Vec::new()).bind(&chain);
            let request = Request { chain: &chain, action: &order, now: NOW, context: None };
            let rows = json!([{"handle": "kid"}, {"handle": "boss"}]);
            let kept = shape(&set, &request, &alone, None, rows).unwrap();
            (applied.rule.to_string(), usize::from(kept == json!([{"handle": "boss"}])))
        };
        let shapes = found.shapes.iter().map(of_links).collect();
        let summary: Expected = (found.verdict, limits.collect(), asked.collect(), shapes);
        prop_assert_eq!(summary, expected(&policies, links, named, universe), "{:?}\n{}", found, texts.join("\n"));
        prop_assert_eq!(found.verdict == Verdict::Allow, found.reasons.is_empty());
    }
}
