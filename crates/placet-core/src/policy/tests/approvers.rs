//! What `approve` can say, and what is an error in it.

use super::*;

fn of(approve: &str) -> Vec<String> {
    errors(&format!("policy: p\nrules:\n  - name: a\n    allow: [x.y]\n    approve: {approve}"))
}

#[test]
fn what_nobody_could_approve_is_an_error() {
    for fine in [
        "{by: ['role:lead'], count: 2}",
        "{by: ['user:ada', 'user:bob'], count: 2, not: [owner]}",
        "{by: ['user:ada', 'role:lead'], count: 20, not: ['user:ada'], distinct: true}",
        "{by: 'role:lead', not: user}",
        "{count: 1, distinct: false}",
    ] {
        assert_eq!(of(fine), Vec::<String>::new(), "{fine}");
    }
    let wrong = [
        "{count: 2}",
        "{not: [user]}",
        "{by: ['user:ada'], count: 2}",
        "{by: ['user:ada', 'user:ada'], count: 2}",
        "{by: ['user:ada', 'user:bob'], not: ['user:bob', 'user:ada']}",
        "{by: ['role:lead'], count: 0}",
        "{by: ['role:lead'], count: 21}",
        "{by: ['role:lead'], count: 1.5}",
        "{by: ['role:lead'], count: '2'}",
        "{by: ['role:lead'], distinct: 2}",
        "{by: ['role:lead'], not: [requester, 'team:x', 'user:a b']}",
        "{by: [], count: 2}",
        "{by: ['role:lead'], not: []}",
        "{by: ['role:lead'], cuont: 2}",
    ];
    insta::assert_snapshot!(wrong.iter().flat_map(|it| of(it)).collect::<Vec<_>>().join("\n"), @r#"
5:22 `count` needs `by`: without it only the grant's user is asked; name roles or users, as in `by: ["role:approver"]`
5:20 `not` needs `by`: without it only the grant's user is asked; name roles or users, as in `by: ["role:approver"]`
5:40 it takes 2, and `by` names one person: nobody could ever approve it
5:52 it takes 2, and `by` names one person: nobody could ever approve it
5:19 it takes 1, and `by` names nobody: nobody could ever approve it
5:41 `count` is how many different people: a whole number from 1 to 20
5:41 `count` is how many different people: a whole number from 1 to 20
5:41 `count` is how many different people: a whole number from 1 to 20
5:41 `count` is how many different people: a whole number from 1 to 20
5:44 `distinct` is true or false
5:40 `requester` is nobody: write `user` (whom the agent acts for), `owner` (of the agent), `role:NAME` or `user:NAME`
5:51 `team:x` is nobody: write `user` (whom the agent acts for), `owner` (of the agent), `role:NAME` or `user:NAME`
5:61 `user:a b` is nobody: write `user` (whom the agent acts for), `owner` (of the agent), `role:NAME` or `user:NAME`
5:19 the list is empty: name at least an approver
5:39 the list is empty: name at least somebody, or leave `not` out
5:34 unknown key `cuont` (did you mean `count`?)
"#);
}

#[test]
fn what_is_asked_of_people_is_in_the_judgement() {
    let text = "policy: p
rules: [{name: a, allow: ['**'], approve: {by: ['role:lead', 'user:ada'], not: [user, owner], count: 2, distinct: true, within: 1h}}]";
    let found = judged(&[text], &chain(&[spec(1, "desk")]), &action("x", "a://b", json!({})));
    assert_eq!(found.verdict, Verdict::Hold);
    let asked = serde_json::to_value(&found.requirements).unwrap();
    assert_eq!(
        asked,
        json!([{"policy": "p@1", "rule": "a", "by": [{"role": "lead"}, {"user": "ada"}], "not": ["on_behalf", "owner"],
            "count": 2, "distinct": true, "within": 3600}])
    );
}
