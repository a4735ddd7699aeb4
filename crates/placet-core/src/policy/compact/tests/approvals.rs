//! Approvals in the compact form: when, and by whom else.

use super::*;

#[test]
fn approvals_ask_where_a_condition_of_bare_names_holds() {
    let asks = desk("refunds.create", "{requireApproval: 'amount > 100 and currency != \"USD\"'}");
    same(
        &asks,
        "rules: [{name: refunds.create, allow: refunds.create, approve: {when: 'params.amount > 100 && params.currency != \"USD\"'}}]",
    );
    assert_eq!(verdict(&asks, "refunds.create", json!({"amount": 101, "currency": "EUR"})), Verdict::Hold);
    assert_eq!(verdict(&asks, "refunds.create", json!({"amount": 100, "currency": "EUR"})), Verdict::Allow);
    assert_eq!(verdict(&asks, "refunds.create", json!({"currency": "EUR"})), Verdict::Hold);
    same(
        &desk("refunds.create", "{requireApproval: true}"),
        "rules: [{name: refunds.create, allow: refunds.create, approve: {}}]",
    );
    // Of two, either asks.
    same(
        &desk(
            "refunds.create",
            "{requireApproval: amount > 100, refunds: {requireApproval: order_total > 5}}",
        ),
        "rules: [{name: refunds.create, allow: refunds.create, approve: {when: (params.amount > 100) || (params.order_total > 5)}}]",
    );
    insta::assert_snapshot!(said(&desk("refunds.create", "{requireApproval: amuont > 100}")), @r#"
4:17 `requireApproval`: none of its actions has a parameter `amuont` (did you mean `amount`?)
"#);
    insta::assert_snapshot!(said(&desk("refunds.create", "{requireApproval: amount >}")), @r#"
4:34 the condition ends too early
"#);
    insta::assert_snapshot!(said(&desk("refunds.create", "{requireApproval: false}")), @r#"
4:34 `requireApproval: false` asks for nothing (leave it out)
"#);
}

#[test]
fn a_second_approval_is_of_another_person() {
    same(
        &desk("refunds.create", "{requireApproval: amount > 100, requireSecondApproval: amount > 1000}"),
        "rules:
      - {name: refunds.create, allow: refunds.create, approve: {when: (params.amount > 100) || (params.amount > 1000), distinct: true}}
      - {name: a second approval of refunds.create, guard: refunds.create,
         approve: {when: params.amount > 1000, by: ['role:approver'], distinct: true}}",
    );
    same(
        &desk("refunds.create", "{requireSecondApproval: true}"),
        "rules:
      - {name: refunds.create, allow: refunds.create, approve: {distinct: true}}
      - {name: a second approval of refunds.create, guard: refunds.create, approve: {by: ['role:approver'], distinct: true}}",
    );
    let asks = desk("refunds.create", "{requireSecondApproval: amount > 1000}");
    let held = |amount: u32| {
        let asked = action("refunds.create", "order://customer:42/7", json!({ "amount": amount }));
        let set = PolicySet::new(vec![Arc::new(loaded(&asks))]);
        let chain = chain(&[spec(1, "desk")]);
        let judgement =
            judge(&set.bind(&chain), &Request { chain: &chain, action: &asked, now: NOW, context: None });
        (judgement.verdict, judgement.requirements.len())
    };
    assert_eq!((held(1001), held(1000)), ((Verdict::Hold, 2), (Verdict::Allow, 0)));
}
