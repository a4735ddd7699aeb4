//! Conditions over what this version does not know yet: they load, and are unknown wherever they stand.

use super::*;

const CONDITIONS: [(&str, &str); 5] = [
    ("agent.trust.score >= 600", "agent.trust.score"),
    ("agent.trust.tier == 'gold'", "agent.trust.tier"),
    ("agent.trust.tier in ['gold', 'silver']", "agent.trust.tier"),
    ("risk.score < 7.0", "risk.score"),
    ("!(risk.score >= 7.0)", "risk.score"),
];

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
