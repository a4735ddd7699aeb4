//! Limits by an expression, as they are loaded.

use super::*;

fn limits(limits: &str) -> String {
    format!("policy: p\nrules:\n  - name: a\n    allow: [pay]\n    limits: {limits}")
}

fn bank() -> Service {
    let text = "service: bank
base_url: https://bank.example
auth: {type: bearer}
actions:
  pay:
    method: POST
    path: /pay/{account}
    resource: \"account://{owner}/{account}\"
    effect: money
    params:
      type: object
      properties:
        account: {type: string}
        owner: {type: string}
        recipient: {type: string}
        urgent: {type: boolean}
        tags: {type: array, items: {type: string}}
        amount: {type: number}
";
    match Service::parse(text.as_bytes(), None) {
        Ok((service, _)) => service,
        Err(found) => panic!("{}", found[0].render()),
    }
}

#[test]
fn a_bare_word_is_one_of_five_and_the_rest_is_cel() {
    let wrong = [
        "[{count: 1, per: day, by: agnet}]",
        "[{count: 1, per: day, by: params}]",
        "[{count: 1, per: day, by: now}]",
        "[{count: 1, per: day, by: params.}]",
        "[{count: 1, per: day, by: 'user:ada'}]",
        "[{count: 1, per: day, by: '{{user.id}}'}]",
        "[{count: 1, per: day, by: [agent, user]}]",
        "[{count: 1, per: day, by: usr.id}]",
        "[{count: 1, per: day, by: user.nme}]",
        "[{count: 1, per: day, by: '[params.a]'}]",
        "[{count: 1, per: day, by: ''}]",
        "[{count: 1, per: day, by: params.a}, {count: 2, per: day, by: params.a}]",
    ];
    insta::assert_snapshot!(wrong.iter().flat_map(|it| errors(&limits(it))).collect::<Vec<_>>().join("\n"), @r#"
5:39 `agnet` is unknown; use agent, user, task, grant or resource, or an expression such as `params.recipient` (did you mean `agent`?)
5:39 `params` is unknown; use agent, user, task, grant or resource, or an expression such as `params.recipient`
5:39 `now` is unknown; use agent, user, task, grant or resource, or an expression such as `params.recipient`
5:46 the condition ends too early
5:44 `:` can't stand here
5:40 a template stands only in `on`; a condition reads the variable: `user.id`
5:39 `by` is text
5:39 unknown name `usr`; did you mean `user`?
5:43 no such field `user.nme`; did you mean `name`?
5:40 this is a list, and a counter is told by a string, a number or a bool
5:39 `` is unknown; use agent, user, task, grant or resource, or an expression such as `params.recipient`
5:50 the rule has this limit already; only the maximum differs
"#);
}

#[test]
fn types_and_claims_are_checked_and_a_free_choice_is_warned_about() {
    let service = bank();
    let says = |it: &str| said(&limits(it), &[&service]);
    for quiet in [
        "[{count: 1, per: day, by: params.urgent}]",
        "[{count: 1, per: day, by: params.amount > 5}]",
        "[{count: 1, per: day, by: user.id}]",
        "[{count: 1, per: day, by: 'params.recipient + user.id'}]",
        "[{count: 1, per: day, by: params.recipient}, {count: 9, per: day}]",
        "[{sum: params.amount, max: 9, per: day, by: params.recipient}, {count: 9, per: day, by: grant}]",
    ] {
        assert_eq!(says(quiet), "", "{quiet}");
    }
    let loud = [
        "[{count: 1, per: day, by: params.recipient}]",
        "[{count: 1, per: day, by: params.recipient}, {count: 9, per: day, by: resource}]",
        "[{count: 1, per: day, by: params.tags}]",
        "[{count: 1, per: day, by: params.recipent}]",
        "[{count: 1, per: day, by: params.owner}, {count: 9, per: day}]",
    ];
    let texts: Vec<_> = loud.iter().map(|it| says(it)).collect();
    insta::assert_snapshot!(texts.join("\n--\n"), @r#"
warning: an agent picks `params.recipient` itself: each other value is a counter of its own
 --> p.yaml:5:39
  |
5 |     limits: [{count: 1, per: day, by: params.recipient}]
  |                                       ^
  = rule: a
  = help: give a second limit by agent, which holds whatever the agent writes
--
warning: an agent picks `params.recipient` itself: each other value is a counter of its own
 --> p.yaml:5:39
  |
5 |     limits: [{count: 1, per: day, by: params.recipient}, {count: 9, per: day, by: resource}]
  |                                       ^
  = rule: a
  = help: give a second limit by agent, which holds whatever the agent writes
--
warning: an agent picks `params.tags` itself: each other value is a counter of its own
 --> p.yaml:5:39
  |
5 |     limits: [{count: 1, per: day, by: params.tags}]
  |                                       ^
  = rule: a
  = help: give a second limit by agent, which holds whatever the agent writes
error: for action `pay`: this is a list, and a counter is told by a string, a number or a bool
 --> p.yaml:5:45
  |
5 |     limits: [{count: 1, per: day, by: params.tags}]
  |                                             ^
  = rule: a
--
warning: an agent picks `params.recipent` itself: each other value is a counter of its own
 --> p.yaml:5:39
  |
5 |     limits: [{count: 1, per: day, by: params.recipent}]
  |                                       ^
  = rule: a
  = help: give a second limit by agent, which holds whatever the agent writes
error: for action `pay`: no such field `params.recipent`; did you mean `recipient`?
 --> p.yaml:5:45
  |
5 |     limits: [{count: 1, per: day, by: params.recipent}]
  |                                             ^
  = rule: a
--
error: `params.owner` rests on `owner`, which an agent merely claims in action `pay` of service `bank`
 --> p.yaml:5:39
  |
5 |     limits: [{count: 1, per: day, by: params.owner}, {count: 9, per: day}]
  |                                       ^
  = rule: a
  = help: have the service declare `binds: [owner]` if upstream rejects a mismatch
"#);
}

#[test]
fn sums_and_keys_name_lists() {
    let source = "policy: p
lists: {large: [acme, globex]}
rules:
  - name: a
    allow: [pay]
    limits:
      - {sum: 'params.to in lists.large ? params.amount : 1', max: 5, per: day}
      - {count: 3, per: day, by: 'params.to in lists.large ? params.to : \"others\"'}
";
    let (policy, warnings) = Policy::load(source.as_bytes(), None, 1, &[]).unwrap();
    assert!(warnings.iter().all(|warning| !warning.message.contains("list")), "{warnings:?}");
    let full = policy.in_full();
    assert_eq!(Policy::load(full.as_bytes(), None, 1, &[]).unwrap().0.in_full(), full);
    let missing = errors(&limits("[{sum: 'params.to in lists.small ? 1 : 2', max: 5, per: day}]"));
    assert_eq!(missing, ["5:39 there is no list `small`: state it under `lists`"]);
    // A limit of a grant stands in no document.
    for limit in [
        serde_json::json!({"sum": "params.to in lists.large ? 1 : 2", "max": 5, "per": "day"}),
        serde_json::json!({"count": 5, "per": "day", "by": "params.to in lists.large ? 1 : 2"}),
    ] {
        let said = crate::ledger::Limit::from_json(&limit).unwrap_err().message;
        assert!(said.contains("only policies have `lists`: write the values here"), "{said}");
    }
}
