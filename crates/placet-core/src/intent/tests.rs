use super::*;
use crate::{
    judge::{Judgement, Verdict},
    policy::fixture::{Spec, action, chain, judged, short, spec},
    task::TaskOrigin,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn desk(description: Option<&str>, stated: &Value, origin: TaskOrigin) -> Spec {
    let mut spec = spec(1, "desk").user(9, "ada").task(7, origin);
    let task = spec.task.as_mut().unwrap();
    task.description = description.map(str::to_owned);
    task.stated = serde_json::from_value(stated.clone()).unwrap();
    spec
}

fn by(rules: &str, spec: &Spec, params: Value) -> Judgement {
    judged(
        &[&format!("policy: p\nrules:\n{rules}")],
        &chain(std::slice::from_ref(spec)),
        &action("mail.send", "mail://ann", params),
    )
}

const ENTITIES: &str = "- {name: a, allow: [mail.send], intent: {entities: [to]}}";

#[test]
fn only_what_a_person_stated_is_a_purpose() {
    let params = json!({"to": "bob@example.com"});
    let says = |spec: &Spec| by(ENTITIES, spec, params.clone()).verdict;
    let purpose = Some("Write to bob@example.com");
    assert_eq!(says(&desk(purpose, &json!({}), TaskOrigin::Person)), Verdict::Allow);
    let own = by(ENTITIES, &desk(purpose, &json!({}), TaskOrigin::Agent), params.clone());
    assert_eq!((own.verdict, short(&own)), (Verdict::Hold, vec!["approval_required a".to_owned()]));
    assert!(own.requirements[0].intent);
    assert_eq!(says(&desk(None, &json!({}), TaskOrigin::Person)), Verdict::Hold, "a task without a purpose");
    assert_eq!(says(&desk(Some("  "), &json!({}), TaskOrigin::Person)), Verdict::Hold);
    assert_eq!(says(&spec(1, "desk").user(9, "ada")), Verdict::Hold, "no task at all");
    let other =
        by(ENTITIES, &desk(Some("Write to ann@example.com"), &json!({}), TaskOrigin::Person), params.clone());
    assert_eq!((other.verdict, short(&other)), (Verdict::Deny, vec!["intent_mismatch a".to_owned()]));
    // Whoever works on a part of a task is measured by the whole of it.
    let part = desk(purpose, &json!({}), TaskOrigin::Agent);
    let whole = desk(Some("Write to ann@example.com"), &json!({}), TaskOrigin::Person);
    let both = judged(
        &[&format!("policy: p\nrules:\n{ENTITIES}")],
        &chain(&[part, whole]),
        &action("mail.send", "mail://ann", params),
    );
    assert_eq!(both.verdict, Verdict::Deny);
}

#[test]
fn a_call_is_one_of_the_plan() {
    let plan = json!({"plan": [
        {"action": "mail.send", "params": {"to": "bob@example.com", "n": 1}},
        {"action": "mail.read"},
    ]});
    let spec = desk(None, &plan, TaskOrigin::Person);
    let says = |terms: &str, spec: &Spec, params: Value| {
        by(&format!("- {{name: a, allow: [mail.send], intent: {terms}}}"), spec, params)
    };
    assert_eq!(says("{}", &spec, json!({"n": 1.0, "to": "bob@example.com"})).verdict, Verdict::Allow);
    for params in [
        json!({"to": "bob@example.com"}),
        json!({"to": "bob@example.com", "n": 1, "bcc": "eve@example.com"}),
        json!({"to": "bob@example.com", "n": 1, "bcc": null}),
        json!({"to": "bob@example.com", "n": "1"}),
        json!({"to": ["bob@example.com"], "n": 1}),
        json!({}),
    ] {
        let found = says("{}", &spec, params.clone());
        assert_eq!(
            (found.verdict, short(&found)),
            (Verdict::Deny, vec!["intent_mismatch a".to_owned()]),
            "{params}"
        );
        assert_eq!(says("{otherwise: hold}", &spec, params.clone()).verdict, Verdict::Hold);
        assert_eq!(says("{plan: ignored}", &spec, params).verdict, Verdict::Allow);
    }
    let worded = desk(Some("Write to Bob"), &json!({}), TaskOrigin::Person);
    assert_eq!(says("{}", &worded, json!({})).verdict, Verdict::Allow);
    assert_eq!(says("{plan: required}", &worded, json!({})).verdict, Verdict::Deny);
}

#[test]
fn a_misfit_never_falls_through_to_another_rule_and_guards_have_a_say() {
    let spec = desk(Some("Write to ann@example.com"), &json!({}), TaskOrigin::Person);
    let bob = json!({"to": "bob@example.com"});
    let two = format!("{ENTITIES}\n- {{name: b, allow: [mail.send]}}");
    assert_eq!(by(&two, &spec, bob.clone()).verdict, Verdict::Deny);
    let guarded = "- {name: b, allow: [mail.send]}\n- {name: g, guard: ['mail.*'], intent: {entities: [to]}}";
    assert_eq!(by(guarded, &spec, bob).verdict, Verdict::Deny);
    assert_eq!(by(guarded, &spec, json!({"to": "ann@example.com"})).verdict, Verdict::Allow);
}

#[test]
fn a_judge_is_asked_about_what_fits_so_far_and_nothing_else() {
    let spec = desk(Some("Write to ann@example.com"), &json!({}), TaskOrigin::Person);
    let rule = |more: &str| {
        format!("- {{name: a, allow: [mail.send], intent: {{entities: [to], judge: true{more}}}}}")
    };
    let fits = by(&rule(""), &spec, json!({"to": "ann@example.com"}));
    assert_eq!((fits.verdict, fits.intents.len()), (Verdict::Allow, 1));
    let wrong = by(&rule(""), &spec, json!({"to": "eve@example.com"}));
    assert_eq!((wrong.verdict, wrong.intents.len()), (Verdict::Deny, 0));
    let wrong = by(&rule(", otherwise: hold"), &spec, json!({"to": "eve@example.com"}));
    assert_eq!((wrong.verdict, wrong.intents.len()), (Verdict::Hold, 0));
    let denied = format!("{}\n- {{name: d, deny: ['mail.*']}}", rule(""));
    assert!(by(&denied, &spec, json!({"to": "ann@example.com"})).intents.is_empty());
    // Denied where the policy says nothing else, and an agent is told the code alone.
    let mut judged = fits;
    let reasons = judged.does_not_fit(&json!({"says": "off_purpose"})).unwrap_err();
    let told = reasons[0].disclosed_to(crate::refusal::Reader::Agent);
    assert_eq!(serde_json::to_value(&told).unwrap(), json!({"code": "intent_mismatch"}));
    assert_eq!(reasons[0].observed["intent"]["says"], "off_purpose");
}

#[test]
fn people_are_asked_instead_where_the_policy_leaves_it_to_them() {
    let spec = desk(Some("Write to ann@example.com"), &json!({}), TaskOrigin::Person);
    let rule = "- {name: a, allow: [mail.send], intent: {judge: true, otherwise: hold}, approve: {by: ['role:lead']}}\n\
                - {name: g, guard: ['**'], intent: {judge: true}}";
    let mut judged = by(rule, &spec, json!({}));
    assert_eq!((judged.verdict, judged.requirements.len(), judged.intents.len()), (Verdict::Hold, 1, 2));
    judged.leave_intent_to_people();
    assert_eq!((judged.requirements.len(), judged.intents.len()), (2, 1), "the guard's judge is asked still");
    assert_eq!(judged.requirements[0].by, judged.requirements[1].by, "the same people");
    assert_eq!(judged.intents[0].rule.as_ref(), "g");
}

#[derive(Debug, Clone)]
struct Line {
    kind: usize,
    when: usize,
    approve: bool,
    intent: Option<(usize, usize, bool, bool)>,
}

const WHEN: [&str; 3] = ["true", "false", "params.absent == 1"];
const PLANS: [&str; 3] = Planned::WORDS;
const ENTITY: [&str; 4] = ["", "entities: [to], ", "entities: ['cc?', n], ", "entities: [n], "];

impl Line {
    fn written(&self, name: usize, with_intent: bool) -> String {
        let kind = ["allow", "guard", "deny"][self.kind];
        let mut out = format!("- {{name: r{name}, {kind}: ['**'], when: '{}'", WHEN[self.when]);
        if self.kind != 2 {
            if self.approve {
                out += ", approve: {}";
            }
            if let (true, Some((plan, entity, judge, hold))) = (with_intent, self.intent) {
                let otherwise = if hold { "hold" } else { "deny" };
                out += &format!(
                    ", intent: {{plan: {}, {}judge: {judge}, otherwise: {otherwise}}}",
                    PLANS[plan], ENTITY[entity]
                );
            }
        }
        out + "}\n"
    }
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let intent = proptest::option::of((0..3usize, 0..4usize, any::<bool>(), any::<bool>()));
    let line = (0..3usize, 0..3usize, any::<bool>(), intent).prop_map(|(kind, when, approve, intent)| Line {
        kind,
        when,
        approve,
        intent,
    });
    proptest::collection::vec(line, 1..5)
}

const fn strictness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Hold => 1,
        Verdict::Deny => 2,
    }
}

fn params() -> impl Strategy<Value = Value> {
    let to = prop_oneof![Just(Value::Null), Just(json!("ann@example.com")), Just(json!("eve@example.com"))];
    let n = prop_oneof![Just(Value::Null), Just(json!(40)), Just(json!(41)), Just(json!("40"))];
    (to, n, any::<bool>()).prop_map(|(to, n, extra)| {
        let mut params = Map::new();
        for (name, value) in [("to", to), ("n", n)] {
            if !value.is_null() {
                params.insert(name.to_owned(), value);
            }
        }
        if extra {
            params.insert("extra".to_owned(), json!(1));
        }
        Value::Object(params)
    })
}

fn specs() -> impl Strategy<Value = Spec> {
    let stated = prop_oneof![
        Just(json!({})),
        Just(json!({"details": {"n": 40}})),
        Just(json!({"plan": [{"action": "mail.send", "params": {"to": "ann@example.com", "n": 40}}]})),
    ];
    let text = prop_oneof![Just(None), Just(Some("40 for ann@example.com"))];
    (text, stated, any::<bool>()).prop_map(|(text, stated, person)| {
        desk(text, &stated, if person { TaskOrigin::Person } else { TaskOrigin::Agent })
    })
}

proptest! {
    /// Whatever `intent` says, what is denied without it stays denied, what is held stays held; what follows from what a
    /// judge says is no looser.
    #[test]
    fn it_only_tightens(lines in lines(), spec in specs(), params in params()) {
        let written = |with| lines.iter().enumerate().map(|(at, line)| line.written(at, with)).collect::<String>();
        let (without, mut with) = (by(&written(false), &spec, params.clone()), by(&written(true), &spec, params));
        prop_assert!(strictness(with.verdict) >= strictness(without.verdict));
        prop_assert!(without.requirements.iter().all(|asked| with.verdict == Verdict::Deny || with.requirements.contains(asked)));
        prop_assert!(with.intents.is_empty() || with.verdict != Verdict::Deny);
        let before = with.clone();
        with.leave_intent_to_people();
        prop_assert!(strictness(with.verdict) >= strictness(before.verdict));
        prop_assert!(before.requirements.iter().all(|asked| with.requirements.contains(asked)));
        let mut refused = before.clone();
        if !before.intents.is_empty() {
            match refused.does_not_fit(&Value::Null) {
                Err(reasons) => prop_assert!(!reasons.is_empty()),
                Ok(()) => prop_assert_eq!(refused.verdict, Verdict::Hold),
            }
        }
    }

    /// A call that has a parameter which its plan has not, or lacks one, or has another value, is none of the plan.
    #[test]
    fn nothing_but_the_planned_call_passes(params in params(), others in proptest::collection::vec(params(), 0..4)) {
        let call = |params: &Value| json!({"action": "mail.send", "params": params});
        let spec = desk(None, &json!({"plan": others.iter().map(call).chain([call(&json!({"x": 1}))]).collect::<Vec<_>>()}), TaskOrigin::Person);
        let verdict = by("- {name: a, allow: [mail.send], intent: {}}", &spec, params.clone()).verdict;
        let planned = others.contains(&params);
        prop_assert_eq!(verdict == Verdict::Allow, planned);
        prop_assert_eq!(verdict == Verdict::Deny, !planned);
    }
}
