//! What upstream holds about the thing acted on, over HTTP with a real upstream: rules read it, agents never get it, and
//! it is looked up only where it can make a difference.

use crate::stage::story;
use placet_testkit::{Agent, Answer, Gate, Reply, Story, fresh, together, until};
use serde_json::{Value, json};
use std::sync::Once;

const SERVICE: &str = "service: returns
base_url: BASE
auth: {type: bearer}
actions:
  returns.create:
    method: POST
    path: /returns/{order_id}
    resource: return://all/{order_id}
    effect: money
    params:
      type: object
      properties: {order_id: {type: string}, amount: {type: number}, case: {type: string}}
      required: [order_id, amount]
      additionalProperties: false
    resolve:
      order:
        path: /facts/{order_id}
        query: {expand: customer}
        max_bytes: 2000
        within: 3s
        facts:
          owner: {at: /customer/id, type: string}
          total: {at: /total, type: number}
          updated: {at: /updated, type: string}
      case:
        path: /cases/{order_id}
        query: {id: $params.case}
        binds: [case]
        facts: {open: {at: /open, type: boolean}}
";

const RULES: &str = "  - name: own
    allow: [returns.create]
    when: [params.amount <= 500, resource.owner == 'ann', params.amount <= resource.total]
    approve: {when: params.amount > 100, by: ['role:support-lead']}
  - {name: never, deny: [returns.create], when: params.amount == 13}
";

/// What no agent may ever see.
const CANARY: &str = "owner-canary-3f9a";

fn desk() -> &'static Story {
    static APPLIED: Once = Once::new();
    let story = story();
    APPLIED.call_once(|| {
        story.service("returns", &SERVICE.replace("BASE", story.shop.base())).expect(201);
        story.connection("returns-main", "returns", &json!({})).expect(201);
    });
    story
}

fn ready(story: &Story, rules: &str) -> (Agent, String) {
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!(["returns.*"]));
    let agent = agent.with("resource_access", json!(["return://**"])).register();
    story.rules(&agent.handle, rules).expect(201);
    let token = agent.token(&story.client(), "returns.*");
    (agent, token)
}

/// What the agent sends at the action door.
fn act(story: &Story, token: &str, order: &str, amount: u32) -> Answer {
    acting(story, token, order, amount).send()
}

fn acting(story: &Story, token: &str, order: &str, amount: u32) -> placet_testkit::Request {
    let asked = json!({"action": "returns.create", "params": {"order_id": order, "amount": amount}});
    story.client().post("/v1/actions").bearer(token).json(&asked)
}

/// The same at the proxy door.
fn pass(story: &Story, token: &str, order: &str, amount: u32) -> Answer {
    let path = format!("/proxy/returns-main/returns/{order}");
    story.client().post(&path).bearer(token).json(&json!({"amount": amount})).send()
}

fn holds(story: &Story, order: &str, owner: &str, total: u32) {
    let body = json!({"customer": {"id": owner}, "total": total, "updated": fresh("at"), "note": CANARY});
    story.shop.reply(&format!("/facts/{order}"), Reply::json(200, &body));
}

fn looked_up(story: &Story, order: &str) -> usize {
    story.shop.count(&format!("/facts/{order}"))
}

fn forwarded(story: &Story, order: &str) -> usize {
    story.shop.count(&format!("/returns/{order}"))
}

fn tells_nothing(answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.bytes);
    for secret in [CANARY, "resource.", "\"ann\"", "expand", "/facts"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(answer.headers.values().all(|value| !String::from_utf8_lossy(value.as_bytes()).contains(CANARY)));
}

fn entry(story: &Story, of: &str, order: &str) -> Value {
    until("the entry", || {
        let resource = format!("return://all/{order}");
        story
            .record()
            .iter()
            .rev()
            .find(|entry| entry["type"] == of && entry["resource"] == resource)
            .cloned()
    })
}

#[test]
fn whose_it_is_is_what_upstream_says() {
    let story = desk();
    let (_, token) = ready(story, RULES);
    for door in [act, pass] {
        let order = fresh("o");
        holds(story, &order, "ann", 80);
        let done = door(story, &token, &order, 60).expect(200);
        tells_nothing(&done);
        assert_eq!((looked_up(story, &order), forwarded(story, &order)), (1, 1));
        let seen = story.shop.seen_at(&format!("/facts/{order}")).remove(0);
        assert_eq!((seen.method.as_str(), seen.query.as_str()), ("GET", "expand=customer"));
        // What the rules read, and no more.
        let kept = entry(story, "action.intent", &order);
        assert_eq!(kept["facts"], json!({"known": {"owner": "ann", "total": 80}}));
        // More than the order's own total.
        let refused = door(story, &token, &order, 81).refused(403, "condition_failed");
        tells_nothing(&refused);
        assert_eq!(forwarded(story, &order), 1);
        // Somebody else's.
        let other = fresh("o");
        holds(story, &other, CANARY, 80);
        let refused = door(story, &token, &other, 60).refused(403, "condition_failed");
        tells_nothing(&refused);
        let reasons = refused.at("/reasons").as_array().unwrap();
        assert_eq!(reasons.len(), 1);
        assert_eq!((&reasons[0]["observed"], &reasons[0]["expression"]), (&Value::Null, &Value::Null));
        assert_eq!((looked_up(story, &other), forwarded(story, &other)), (1, 0));
        // The record has all of it.
        let kept = entry(story, "decision.deny", &other);
        assert_eq!(kept["facts"]["known"]["owner"], CANARY);
        assert_eq!(kept["reasons"][0]["observed"]["resource.owner"], CANARY);
    }
}

#[test]
fn what_can_not_be_read_is_unknown_and_nothing_is_forwarded() {
    let story = desk();
    // The rule behind would allow it.
    let rules = format!("{RULES}  - {{name: rest, allow: [returns.create]}}\n");
    let (_, token) = ready(story, &rules);
    let body = |owner: Value, total: Value| json!({"customer": {"id": owner}, "total": total});
    let good = body(json!("ann"), json!(80));
    let shut = Gate::shut();
    let cases = [
        ("silent", Reply::json(200, &good).after(&shut), "did not answer"),
        ("gone", Reply::hang_up(), "did not answer"),
        ("an error", Reply::json(500, &good), "status 500"),
        ("not there", Reply::json(404, &good), "status 404"),
        ("made", Reply::json(201, &good), "status 201"),
        ("elsewhere", Reply::json(302, &good).header("location", "/facts/x"), "status 302"),
        ("another type", Reply::json(200, &body(json!(7), json!(80))), "declared type"),
        ("null", Reply::json(200, &body(json!("ann"), Value::Null)), "declared type"),
        ("text for a number", Reply::json(200, &body(json!("ann"), json!("80"))), "declared type"),
        ("missing", Reply::json(200, &json!({"customer": {"id": "ann"}})), "does not have it"),
        ("no object", Reply::json(200, &json!([good])), "does not have it"),
        ("no JSON", Reply::bytes(200, "text/plain", good.to_string()), "could not be read"),
        ("broken", Reply::bytes(200, "application/json", "{\"total\": 80"), "could not be read"),
        (
            "two readings",
            Reply::bytes(
                200,
                "application/json",
                "{\"customer\": {\"id\": \"bob\"}, \"customer\": {\"id\": \"ann\"}, \"total\": 80}",
            ),
            "could not be read",
        ),
        (
            "too long",
            Reply::json(200, &json!({"customer": {"id": "ann"}, "total": 80, "pad": "x".repeat(2000)})),
            "could not be read",
        ),
    ];
    for (what, reply, why) in cases {
        let order = fresh("u");
        story.shop.reply(&format!("/facts/{order}"), reply);
        for door in [act, pass] {
            let refused = door(story, &token, &order, 60).refused(403, "condition_unknown");
            tells_nothing(&refused);
            assert_eq!(forwarded(story, &order), 0, "{what}");
        }
        let kept = entry(story, "decision.deny", &order);
        let told = kept["facts"]["unknown"].to_string();
        assert!(told.contains(why), "{what}: {told}");
    }
    shut.open();
}

#[test]
fn nothing_is_looked_up_where_it_makes_no_difference() {
    let story = desk();
    let (agent, token) = ready(story, RULES);
    let order = fresh("n");
    holds(story, &order, "ann", 1000);
    for (amount, code) in [(600, "condition_failed"), (13, "forbidden")] {
        act(story, &token, &order, amount).refused(403, code);
        pass(story, &token, &order, amount).refused(403, code);
    }
    // Another agent's rules don't read it.
    let (_, other) = ready(story, "  - {name: all, allow: [returns.*]}\n");
    act(story, &other, &order, 60).expect(200);
    // Questions of an agent: what isn't known is no yes.
    let question = json!({"action": "returns.create", "params": {"order_id": order, "amount": 60}});
    let advice = story.client().post("/v1/decisions").bearer(&token).json(&question).send().expect(200);
    assert_eq!(advice.at("/decision"), "deny");
    assert_eq!(advice.at("/reasons/0/code"), "condition_unknown");
    tells_nothing(&advice);
    let many = json!({"decisions": [question.clone(), question.clone()]});
    let many = story.client().post("/v1/decisions").bearer(&token).json(&many).send().expect(200);
    assert_eq!(many.at("/decisions/1/decision"), "deny");
    let mut stated = question.clone();
    stated["facts"] = json!({"owner": "ann"});
    story.client().post("/v1/decisions").bearer(&token).json(&stated).send().refused(400, "request_invalid");
    let catalog = story.client().get("/v1/catalog").bearer(&token).send().expect(200);
    tells_nothing(&catalog);
    let asked = json!({
        "subject": {"type": "agent", "id": agent.id},
        "action": {"name": "returns.create", "properties": {"params": {"order_id": order, "amount": 60}}},
        "resource": {"type": "return", "id": format!("return://all/{order}")},
    });
    let evaluated = story.client().post("/access/v1/evaluation").bearer(&token).json(&asked).send();
    assert_ne!(evaluated.body.get("decision"), Some(&json!(true)), "{:#}", evaluated.body);
    // An administrator may suppose what upstream holds.
    let mut dry = question;
    dry["dry_run"] = json!(true);
    dry["agent"] = json!(agent.id);
    let ask = |dry: &Value| story.admin().post("/v1/decisions").json(dry).send();
    assert_eq!(ask(&dry).expect(200).at("/reasons/0/code"), "condition_unknown");
    dry["facts"] = json!({"owner": "ann", "total": 70});
    assert_eq!(ask(&dry).expect(200).at("/decision"), "allow");
    dry["facts"] = json!({"owner": "bob", "total": 70});
    assert_eq!(ask(&dry).expect(200).at("/reasons/0/observed/resource.owner"), "bob");
    dry["facts"] = json!({"owner": 7});
    ask(&dry).refused(400, "request_invalid");
    assert_eq!(looked_up(story, &order), 0);
}

#[test]
fn an_approval_is_of_what_upstream_held_then() {
    let story = desk();
    let (_, token) = ready(story, RULES);
    let order = fresh("h");
    holds(story, &order, "ann", 300);
    let held = act(story, &token, &order, 200).expect(202);
    tells_nothing(&held);
    let id = held.text("/approval/id");
    // The same question while nothing has changed.
    assert_eq!(act(story, &token, &order, 200).expect(202).text("/approval/id"), id);
    let path = format!("/v1/approvals/{id}");
    let shown = story.approver().get(&path).send().expect(200);
    assert_eq!(shown.at("/shown/facts/known"), &json!({"owner": "ann", "total": 300}));
    tells_nothing(&story.client().get(&path).bearer(&token).send().expect(200));
    story.approver().post(&path).json(&json!({"verdict": "approve"})).send().expect(200);
    let again = || acting(story, &token, &order, 200).header("placet-approval", &id).send();
    // It is another order now, though the rule would still hold it.
    holds(story, &order, "ann", 250);
    tells_nothing(&again().refused(403, "approval_mismatch"));
    // Not theirs any more.
    holds(story, &order, "bob", 300);
    again().refused(403, "condition_failed");
    story.shop.reply(&format!("/facts/{order}"), Reply::status(500));
    again().refused(403, "condition_unknown");
    assert_eq!(forwarded(story, &order), 0);
    // What no rule read may change.
    holds(story, &order, "ann", 300);
    let looked = looked_up(story, &order);
    again().expect(200);
    assert_eq!((looked_up(story, &order), forwarded(story, &order)), (looked + 1, 1));
    again().refused(403, "approval_used");
}

#[test]
fn a_parameter_that_says_what_to_look_up_can_not_be_left_out() {
    let story = desk();
    let rules = "  - {name: settled, deny: [returns.*], when: resource.open == false}
  - {name: rest, allow: [returns.create]}
";
    let (_, token) = ready(story, rules);
    let order = fresh("p");
    story.shop.answer(&format!("/cases/{order}"), |seen| {
        Reply::json(200, &json!({"open": seen.query == "id=c%201"}))
    });
    let with = |case: &str| {
        let asked =
            json!({"action": "returns.create", "params": {"order_id": order, "amount": 1, "case": case}});
        story.client().post("/v1/actions").bearer(&token).json(&asked).send()
    };
    with("c 1").expect(200);
    with("c 2").refused(403, "forbidden");
    act(story, &token, &order, 1).refused(403, "forbidden");
    assert_eq!(forwarded(story, &order), 1);
}

#[test]
fn lookups_come_at_a_limited_rate() {
    let story = desk();
    let (_, token) = ready(story, RULES);
    let (_, other) = ready(story, RULES);
    let order = fresh("r");
    holds(story, &order, "bob", 100);
    let refused = (0..400).find(|_| act(story, &token, &order, 60).status == 429);
    let refused = refused.expect("a limit");
    assert!(refused >= 60, "{refused}");
    assert_eq!(looked_up(story, &order), refused);
    // What needs none goes on, and others do.
    act(story, &token, &order, 600).refused(403, "condition_failed");
    act(story, &other, &order, 60).refused(403, "condition_failed");
}

#[test]
fn policy_and_service_are_checked_as_a_pair() {
    let story = desk();
    let (agent, _) = ready(story, RULES);
    let wrong = |rules: &str, problem: &str| {
        let told = story.rules(&agent.handle, rules);
        assert_eq!(told.status, 422, "{rules}: {:#}", told.body);
        assert!(told.body.to_string().contains(problem), "{rules}: {:#}", told.body);
    };
    wrong("  - {name: r, allow: [returns.create], when: resource.ownr == 'a'}\n", "did you mean `owner`");
    wrong("  - {name: r, allow: [returns.create], when: resource.total == 'a'}\n", "never equal");
    wrong("  - {name: r, allow: [returns.create], when: has(resource.owner)}\n", "never absent");
    wrong("  - {name: r, allow: [returns.create], when: \"'owner' in resource\"}\n", "by its fields");
    wrong("  - {name: r, allow: [refunds.create], when: resource.owner == 'a'}\n", "no such field");
    // A service that would leave a live rule without its fact is refused, and names the rule.
    let without =
        SERVICE.replace("BASE", story.shop.base()).replace("owner: {at: /customer/id, type: string}", "");
    let told = story.service("returns", &without);
    assert!((400..500).contains(&told.status), "{:#}", told.body);
    assert!(told.body.to_string().contains("rule `own`"), "{:#}", told.body);
}

#[test]
fn what_ran_already_is_answered_again_though_it_changed_what_it_was_judged_on() {
    let story = desk();
    let (agent, token) = ready(story, RULES);
    let order = fresh("a");
    holds(story, &order, "ann", 80);
    let with_key = |key: &str| acting(story, &token, &order, 60).header("idempotency-key", key).send();
    let first = with_key("k").expect(200);
    let by_proxy = || {
        let path = format!("/proxy/returns-main/returns/{order}");
        let request = story.client().post(&path).bearer(&token).json(&json!({"amount": 60}));
        request.header("idempotency-key", "by-proxy").send().expect(200)
    };
    let passed = by_proxy();
    // It is somebody else's by now, and was by that very action.
    holds(story, &order, "bob", 0);
    assert_eq!(with_key("k").expect(200).body, first.body);
    assert_eq!(by_proxy().bytes, passed.bytes);
    assert_eq!((looked_up(story, &order), forwarded(story, &order)), (2, 2), "nothing is looked up again");
    // Without the key, or with another, it is asked for anew.
    with_key("other").refused(403, "condition_failed");
    act(story, &token, &order, 60).refused(403, "condition_failed");
    // Today's rules decide whether the first answer is given, on what was read then.
    let guarded = format!("{RULES}  - {{name: less, guard: [returns.*], when: resource.total < 80}}\n");
    story.rules(&agent.handle, &guarded).expect(200);
    until("the rules are in force", || {
        let answer = with_key("k");
        (answer.status != 200).then(|| tells_nothing(&answer.refused(403, "condition_failed")))
    });
    // A fact that nobody read then is unknown now.
    let other = format!("{RULES}  - {{name: new, guard: [returns.*], when: 'resource.updated != \"x\"'}}\n");
    story.rules(&agent.handle, &other).expect(200);
    until("the rules are in force", || {
        let refused = with_key("k");
        (refused.at("/reasons/0/code") == "condition_unknown").then_some(())
    });
    story.rules(&agent.handle, RULES).expect(200);
    until("the rules are in force", || (with_key("k").status == 200).then_some(()));
    assert_eq!((looked_up(story, &order), forwarded(story, &order)), (4, 2));
}

#[test]
fn what_only_an_observed_policy_reads_refuses_nothing() {
    let story = desk();
    let rules = "  - {name: own, allow: [returns.create], when: resource.owner == 'ann', approve: {when: params.amount > 100}}\n";
    let (agent, token) = ready(story, rules);
    let watch = fresh("watch");
    let watching = |rule: &str| {
        let text = format!(
            "policy: {watch}\nmode: observe\napplies_to: {{agents: [{}]}}\nrules:\n{rule}",
            agent.handle
        );
        story.policy(&watch, &text)
    };
    watching("  - {name: open, guard: [returns.*], when: resource.open}\n").expect(201);
    let order = fresh("w");
    holds(story, &order, "ann", 80);
    let case = |reply: Reply| story.shop.reply(&format!("/cases/{order}"), reply);
    let with = |amount: u32, approval: &str| {
        let asked =
            json!({"action": "returns.create", "params": {"order_id": order, "amount": amount, "case": "c"}});
        let request = story.client().post("/v1/actions").bearer(&token).json(&asked);
        if approval.is_empty() { request.send() } else { request.header("placet-approval", approval).send() }
    };
    case(Reply::json(200, &json!({"open": true})));
    until("it is watched", || {
        with(1, "").expect(200);
        (story.shop.count(&format!("/cases/{order}")) > 0).then_some(())
    });
    case(Reply::status(500));
    with(2, "").expect(200);
    // An approval is not of what nothing was decided by.
    case(Reply::json(200, &json!({"open": true})));
    let id = with(200, "").expect(202).text("/approval/id");
    let path = format!("/v1/approvals/{id}");
    let shown = story.approver().get(&path).send().expect(200);
    assert_eq!(shown.at("/shown/facts"), &json!({"known": {"owner": "ann"}}));
    case(Reply::json(200, &json!({"open": false})));
    assert_eq!(with(200, "").expect(202).text("/approval/id"), id, "the same question");
    story.approver().post(&path).json(&json!({"verdict": "approve"})).send().expect(200);
    case(Reply::status(404));
    with(200, &id).expect(200);
    // It takes nothing of what the agent may have looked up: only what it reads is left out when that is too much.
    watching("  - {name: open, guard: [returns.*], when: [resource.open, resource.owner == 'ann']}\n")
        .expect(200);
    story.rules(&agent.handle, "  - {name: all, allow: [returns.create]}\n").expect(200);
    let before = story.shop.count(&format!("/cases/{order}"));
    let answers = together(150, |count| with(u32::try_from(count).unwrap() + 3, ""));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(story.shop.count(&format!("/cases/{order}")) > before);
    let resource = format!("return://all/{order}");
    let spared = |entry: &Value| {
        entry["resource"] == resource.as_str()
            && entry["facts"]["unknown"].to_string().contains("only observed")
    };
    until("some of it was left out", || story.record().iter().any(spared).then_some(()));
}
