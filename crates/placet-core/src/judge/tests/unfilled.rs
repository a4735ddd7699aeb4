//! Conditions over what this version does not know yet: they load, and are unknown wherever they stand.

use super::*;

const CONDITIONS: [(&str, &str); 10] = [
    ("agent.trust.score >= 600", "agent.trust.score"),
    ("agent.trust.tier == 'gold'", "agent.trust.tier"),
    ("agent.trust.tier in ['gold', 'silver']", "agent.trust.tier"),
    ("risk.score < 7.0", "risk.score"),
    ("!(risk.score >= 7.0)", "risk.score"),
    // That it is absent can't be told either.
    ("has(agent.trust)", "agent.trust"),
    ("!has(agent.trust)", "agent.trust"),
    ("!has(agent.trust.score)", "agent.trust.score"),
    ("!has(user.claims)", "user.claims"),
    ("resource.classification == 'public'", "resource.classification"),
];

#[test]
fn by_another_name_they_are_unknown_too() {
    for condition in [
        "cel.bind(u, user, !has(u.claims))",
        "[user].all(u, !has(u.claims))",
        "!user.exists(k, k == 'claims')",
        "!('trust' in [agent][0])",
        "!('trust' in agent)",
        "size(agent) < 1000",
    ] {
        let rules = rules(&format!("- {{name: r, allow: ['**'], when: {}}}", json!(condition)));
        let judgement = judged(&[&rules], &desk(), &refund(json!(1)));
        assert_eq!(short(&judgement), ["condition_unknown r"], "{condition}");
    }
}

#[test]
fn they_are_unknown_wherever_they_stand_and_the_reason_names_them() {
    for (condition, name) in CONDITIONS {
        let when = json!(condition);
        for text in [
            format!("- {{name: r, allow: ['**'], when: {when}}}"),
            format!("- {{name: a, allow: ['**']}}\n- {{name: r, guard: ['**'], when: {when}}}"),
        ] {
            let judgement = judged(&[&rules(&text)], &desk(), &refund(json!(1)));
            assert_eq!(judgement.verdict, Verdict::Deny);
            assert_eq!(short(&judgement), ["condition_unknown r"], "{text}");
            let reason = &judgement.reasons[0];
            assert_eq!(reason.expression.as_deref(), Some(condition));
            assert_eq!(Value::Object(reason.observed.clone()), json!({name: null}));
            // An agent is told the code, and not what is asked of it.
            let told = reason.disclosed_to(Reader::Agent);
            assert!(
                told.expression.is_none() && told.observed.is_empty() && told.remedy.is_empty(),
                "{told:?}"
            );
        }
        denies(
            &format!("- {{name: a, allow: ['**']}}\n- {{name: r, deny: ['**'], when: {when}}}"),
            &["forbidden r"],
        );
        let hold = format!("- {{name: r, allow: ['**'], approve: {{when: {when}}}}}");
        assert_eq!(says(&hold, &refund(json!(1))), (Verdict::Hold, vec!["approval_required r".to_owned()]));
        let sum = format!("- {{name: r, allow: ['**'], limits: [{{sum: {name}, max: 5, per: day}}]}}");
        denies(&sum, &["condition_unknown r"]);
    }
}

#[test]
fn nor_is_it_absent_from_the_whole() {
    for condition in ["!('trust' in agent)", "'trust' in agent"] {
        denies(
            &format!("- {{name: r, allow: ['**'], when: {}}}", json!(condition)),
            &["condition_unknown r"],
        );
    }
    allows("- {name: r, allow: ['**'], when: \"!('owner_' in agent)\"}");
}
