//! The semantics of permits: a test for each sentence of `docs/approvals.md`.

use crate::{
    process::typed,
    stage::{PLACET, story},
};
use placet_testkit::{Agent, Answer, Reply, Story, fresh, password, together, until};
use serde_json::{Value, json};
use std::sync::OnceLock;

const HELD: &str = "  - name: held\n    allow: [notes.*, refunds.*, orders.*]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n";

fn note(customer: &str) -> Value {
    json!({"customer_id": customer, "text": fresh("text-")})
}

fn refund(customer: &str, order: &str, amount: impl Into<Value>) -> Value {
    json!({"customer_id": customer, "order_id": order, "amount": amount.into(), "currency": "USD"})
}

fn hold(story: &Story, token: &str, action: &str, params: &Value) -> String {
    story.act(token, action, params).expect(202).text("/approval/id")
}

fn approve(story: &Story, session: &str, id: &str, permit: &Value) -> Answer {
    let body = json!({"verdict": "approve", "permit": permit});
    story.client().post(&format!("/v1/approvals/{id}")).bearer(session).json(&body).send()
}

/// Holds a request and approves it with a permit; answers the permit.
fn given(story: &Story, token: &str, action: &str, params: &Value, permit: &Value) -> Value {
    let id = hold(story, token, action, params);
    approve(story, &story.lee, &id, permit).expect(200);
    of_approval(story, &id).expect("a permit")
}

/// The permit that came of an approval.
fn of_approval(story: &Story, approval: &str) -> Option<Value> {
    let mut after = String::new();
    loop {
        let page = story.admin().get(&format!("/v1/permits?limit=1000{after}")).send().expect(200);
        let listed = page.at("/permits").as_array().unwrap();
        if let Some(found) = listed.iter().find(|one| one["approval"] == approval) {
            return Some(found.clone());
        }
        after = format!("&after={}", page.at("/next").as_str()?);
    }
}

fn show(story: &Story, permit: &Value) -> Value {
    let id = permit["id"].as_str().unwrap();
    story.admin().get(&format!("/v1/permits/{id}")).send().expect(200).body
}

fn revoke(story: &Story, session: &str, permit: &Value) -> Answer {
    let id = permit["id"].as_str().unwrap();
    story.client().post(&format!("/v1/permits/{id}/revoke")).bearer(session).json(&json!({})).send()
}

fn leah(story: &Story) -> &'static str {
    static LEAH: OnceLock<String> = OnceLock::new();
    LEAH.get_or_init(|| story.user(&fresh("leah"), &["finance"]).1)
}

#[test]
fn the_words_are_the_same_before_and_after() {
    let story = story();
    let (agent, token) = story.ready(HELD);
    let customer = fresh("c");
    let id = hold(story, &token, "refunds.create", &refund(&customer, "1", 60));
    let asked = json!({"resources": [format!("order://customer:{customer}/*")], "count": 5, "lasts": 3600,
        "sum": {"of": "amount", "max": 500}, "params": {"amount": {"max": 100}, "currency": {"one_of": ["USD"]}}});
    let before = story.approver().post(&format!("/v1/approvals/{id}/permit")).json(&asked).send().expect(200);
    let words = before.at("/words").clone();
    let text = words.to_string();
    for said in [
        agent.handle.as_str(),
        "`refunds.create`",
        &format!("`order://customer:{customer}/*`"),
        "`shop-main`",
        "For the task tsk_",
        "`amount` is at most 100",
        "`currency` is `USD`",
        "At most 5 times, this request included.",
        "At most 500 of `amount` in all, this request included.",
        "rule `held`",
    ] {
        assert!(text.contains(said), "{said} is missing: {text}");
    }
    // Asking what it would say does nothing.
    assert!(of_approval(story, &id).is_none());
    assert_eq!(story.admin().get(&format!("/v1/approvals/{id}")).send().expect(200).at("/state"), "pending");
    // Other words than would be kept: nothing is done.
    let say = |words: &Value| {
        let body = json!({"verdict": "approve", "permit": before.at("/permit"), "words": words});
        story.approver().post(&format!("/v1/approvals/{id}")).json(&body).send()
    };
    say(&json!(["It may do anything."])).refused(409, "conflict");
    say(&words).expect(200);
    let permit = of_approval(story, &id).unwrap();
    assert_eq!(permit["words"], words);
    assert_eq!(show(story, &permit)["words"], words);
    let own = format!("/v1/permits/{}", permit["id"].as_str().unwrap());
    assert_eq!(story.client().get(&own).bearer(&token).send().expect(200).at("/words"), &words);
    let entry = until("its entry", || {
        let found = |entry: &Value| entry["type"] == "permit.given" && entry["permits"][0] == permit["id"];
        story.record().into_iter().find(found)
    });
    let shown = story.server.admin().get(&format!("/v1/record/{}", entry["index"])).send().expect(200);
    let shown = shown.body.to_string();
    for sentence in words.as_array().unwrap() {
        assert!(shown.contains(&sentence.to_string()), "{sentence} is not in {shown}");
    }
}

#[test]
fn what_is_left_out_is_the_request() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let permit = given(story, &token, "notes.write", &note(&customer), &json!({}));
    assert_eq!(permit["actions"], json!(["notes.write"]));
    assert_eq!(permit["resources"], json!([format!("order://customer:{customer}")]));
    assert_eq!(permit["for"], "task");
    // Any parameters, any number of times, on this and nothing else.
    for _ in 0..3 {
        story.act(&token, "notes.write", &note(&customer)).expect(200);
    }
    story.act(&token, "notes.write", &note(&fresh("c"))).expect(202);
    let other = json!({"customer_id": customer});
    story.act(&token, "orders.list", &other).expect(202);
    assert_eq!(
        story.shop.count(&format!("/customers/{customer}/notes")),
        3,
        "the held one waits for its agent"
    );
}

#[test]
fn it_reaches_as_far_as_its_patterns_and_bounds() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let asked = json!({"actions": ["refunds.*"], "resources": [format!("order://customer:{customer}/*")],
        "count": 100, "sum": {"of": "amount", "max": 10_000},
        "params": {"amount": {"min": 10, "max": 100}, "currency": {"one_of": ["USD", "EUR"]}}});
    given(story, &token, "refunds.create", &refund(&customer, "1", 10), &asked);
    let act = |params: &Value| story.act(&token, "refunds.create", params).status;
    let with = |member: &str, value: Value| {
        let mut params = refund(&customer, "2", 50);
        params[member] = value;
        params
    };
    assert_eq!(act(&refund(&customer, "2", 50)), 200);
    assert_eq!(act(&refund(&customer, "3", 100)), 200);
    assert_eq!(act(&with("currency", json!("EUR"))), 200);
    for outside in [
        with("amount", json!(9.999_999)),
        with("amount", json!(100.000_001)),
        with("amount", json!("50")),
        with("amount", json!(null)),
        with("amount", json!([50])),
        with("currency", json!("usd")),
        json!({"customer_id": customer, "order_id": "2", "amount": 50}),
        refund(&fresh("c"), "2", 50),
    ] {
        assert_eq!(act(&outside), 202, "{outside}");
    }
}

#[test]
fn it_covers_and_counts_the_request_that_it_is_given_with() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let params = refund(&customer, "1", 60);
    let id = hold(story, &token, "refunds.create", &params);
    for wrong in [
        json!({"count": 2, "sum": {"of": "amount", "max": 59}}),
        json!({"count": 0, "sum": {"of": "amount", "max": 100}}),
        json!({"count": 2, "sum": {"of": "amount", "max": 100}, "actions": ["notes.*"]}),
        json!({"count": 2, "sum": {"of": "amount", "max": 100}, "resources": ["order://customer:x/**"]}),
        json!({"count": 2, "sum": {"of": "amount", "max": 100}, "params": {"amount": {"max": 59}}}),
        json!({"count": 2, "sum": {"of": "reason", "max": 100}}),
        json!({"count": 2, "sum": {"of": "amount", "max": 100}, "unknown": 1}),
    ] {
        approve(story, &story.lee, &id, &wrong).refused(400, "request_invalid");
    }
    let asked = json!({"count": 2, "sum": {"of": "amount", "max": 100},
        "resources": [format!("order://customer:{customer}/*")]});
    approve(story, &story.lee, &id, &asked).expect(200);
    let permit = of_approval(story, &id).unwrap();
    assert_eq!((&permit["count"], &permit["sum"]["used"]), (&json!({"max": 2, "used": 1}), &json!(60)));
    // 60 are gone, though the held request has not come back yet; 40 are left.
    story.act(&token, "refunds.create", &refund(&customer, "2", 40.01)).expect(202);
    story.act(&token, "refunds.create", &refund(&customer, "2", 40)).expect(200);
    let used = show(story, &permit);
    assert_eq!(
        (&used["count"]["used"], &used["sum"]["used"], &used["state"]),
        (&json!(2), &json!(100), &json!("used_up"))
    );
    // The held one has its approval all the same.
    story.acting(&token, "refunds.create", &params).header("placet-approval", &id).send().expect(200);
    story.act(&token, "refunds.create", &refund(&customer, "3", 1)).expect(202);
}

#[test]
fn money_and_deletion_need_a_count_and_a_sum() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let id = hold(story, &token, "refunds.create", &refund(&customer, "1", 5));
    for wrong in [json!({}), json!({"count": 5}), json!({"sum": {"of": "amount", "max": 100}})] {
        approve(story, &story.lee, &id, &wrong).refused(400, "request_invalid");
    }
    let order = json!({"customer_id": customer, "order_id": "1"});
    let deletion = hold(story, &token, "orders.delete", &order);
    approve(story, &story.lee, &deletion, &json!({"count": 3})).refused(400, "request_invalid");
    // A permit for everything that was given with a note covers neither.
    let wide = json!({"actions": ["**"], "resources": ["**"]});
    given(story, &token, "notes.write", &note(&customer), &wide);
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    story.act(&token, "orders.read", &order).expect(200);
    story.act(&token, "refunds.create", &refund(&customer, "2", 5)).expect(202);
    story.act(&token, "orders.delete", &json!({"customer_id": customer, "order_id": "2"})).expect(202);
}

#[test]
fn it_satisfies_approve_and_nothing_else() {
    let story = story();
    let rules = "  - name: held\n    allow: [notes.*, orders.*]\n    limits: [{count: 3, per: day}]\n    approve: {by: [\"role:support-lead\"], within: 30m}\n  \
                 - {name: short, guard: [notes.*], when: [\"size(params.text) < 20\"]}\n  \
                 - {name: none, deny: [orders.*]}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    given(story, &token, "notes.write", &note(&customer), &json!({"actions": ["**"], "resources": ["**"]}));
    let long = json!({"customer_id": customer, "text": "this is far too long for the guard"});
    story.act(&token, "notes.write", &long).refused(403, "condition_failed");
    story.act(&token, "orders.list", &json!({"customer_id": customer})).refused(403, "forbidden");
    for _ in 0..3 {
        story.act(&token, "notes.write", &note(&customer)).expect(200);
    }
    // The permit has no count; the rule's limit has.
    story.act(&token, "notes.write", &note(&customer)).refused(403, "limit_exceeded");
}

#[test]
fn it_answers_the_rules_that_its_giver_was_asked_by() {
    let story = story();
    let rules = "  - {name: notes, allow: [notes.*], approve: {by: [\"role:support-lead\"], within: 30m}}\n  \
                 - {name: lists, allow: [orders.*], approve: {by: [\"role:support-lead\"], within: 30m}}\n  \
                 - name: careful\n    guard: [notes.*]\n    approve: {when: params.text == \"careful\", by: [\"role:support-lead\"], within: 30m}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let wide = json!({"actions": ["**"], "resources": ["**"]});
    given(story, &token, "notes.write", &note(&customer), &wide);
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    story.act(&token, "orders.list", &json!({"customer_id": customer})).expect(202);
    // Here a second rule asks as well: nobody has answered that.
    let careful = json!({"customer_id": customer, "text": "careful"});
    let id = hold(story, &token, "notes.write", &careful);
    let asked = story.admin().get(&format!("/v1/approvals/{id}")).send().expect(200);
    assert_eq!(asked.at("/requirements").as_array().unwrap().len(), 2);
    // Two permits together answer both.
    approve(story, &story.lee, &id, &json!({})).expect(200);
    story.act(&token, "notes.write", &careful).expect(200);
}

#[test]
fn it_comes_to_be_when_everybody_has_said_yes() {
    let story = story();
    let leah = leah(story);
    let rules = "  - {name: held, allow: [notes.*], approve: {by: [\"role:support-lead\"], within: 30m}}\n  \
                 - {name: books, guard: [notes.*], approve: {by: [\"role:finance\"], within: 30m}}\n";
    let (_, token) = story.ready(rules);
    let customer = fresh("c");
    let id = hold(story, &token, "notes.write", &note(&customer));
    assert_eq!(approve(story, &story.lee, &id, &json!({})).expect(200).at("/state"), "pending");
    assert!(of_approval(story, &id).is_none(), "half an answer made a permit");
    let body = json!({"verdict": "approve"});
    story.client().post(&format!("/v1/approvals/{id}")).bearer(leah).json(&body).send().expect(200);
    let permit = of_approval(story, &id).unwrap();
    assert_eq!(permit["rules"].as_array().unwrap().len(), 1, "{permit:#}");
    assert_eq!(permit["rules"][0]["rule"], "held");
    // leah has answered once only: the next one needs her again, and so everybody.
    let next = hold(story, &token, "notes.write", &note(&customer));
    let asked = story.admin().get(&format!("/v1/approvals/{next}")).send().expect(200);
    assert_eq!(asked.at("/requirements").as_array().unwrap().len(), 2);
    // A no after a broad yes: nothing comes of it.
    approve(story, &story.lee, &next, &json!({})).expect(200);
    let body = json!({"verdict": "deny"});
    story.client().post(&format!("/v1/approvals/{next}")).bearer(leah).json(&body).send().expect(200);
    assert!(of_approval(story, &next).is_none());
}

#[test]
fn permits_of_one_person_do_not_make_two_people() {
    let story = story();
    let (lead, books) = (fresh("lead-"), fresh("books-"));
    let person = |roles: &[&str]| story.user(&fresh("distinct-"), roles).1;
    let (both, leads, counts) = (person(&[&lead, &books]), person(&[&lead]), person(&[&books]));
    let rules = format!(
        "  - {{name: held, allow: [notes.*], approve: {{when: params.text != 'b', by: ['role:{lead}'], distinct: true}}}}
  - {{name: books, guard: [notes.*], approve: {{when: params.text != 'a', by: ['role:{books}'], distinct: true}}}}
"
    );
    let (_, token) = story.ready(&rules);
    let customer = fresh("c");
    let text = |text: &str| json!({"customer_id": customer, "text": text});
    // One rule asks at a time, and the same person answers either with a permit.
    for (asks, rule) in [("a", "held"), ("b", "books")] {
        let id = hold(story, &token, "notes.write", &text(asks));
        assert_eq!(approve(story, &both, &id, &json!({})).expect(200).at("/state"), "approved");
        let permit = of_approval(story, &id).expect("a permit");
        assert_eq!(
            (permit["rules"].as_array().unwrap().len(), &permit["rules"][0]["rule"]),
            (1, &json!(rule))
        );
        story.act(&token, "notes.write", &text(asks)).expect(200);
    }
    // Both permits together answer both rules, and are one person's.
    let id = hold(story, &token, "notes.write", &text("both"));
    // One that two people gave together does.
    assert_eq!(approve(story, &leads, &id, &json!({})).expect(200).at("/state"), "pending");
    assert_eq!(approve(story, &counts, &id, &json!({})).expect(200).at("/state"), "approved");
    story.act(&token, "notes.write", &text("both")).expect(200);
}

#[test]
fn of_two_that_come_for_the_last_unit_one_gets_it() {
    let story = story();
    let (_, token) = story.ready(HELD);
    for _ in 0..6 {
        let customer = fresh("c");
        let asked = json!({"resources": [format!("order://customer:{customer}/*")], "count": 4,
            "sum": {"of": "amount", "max": 1000}});
        let permit = given(story, &token, "refunds.create", &refund(&customer, "0", 1), &asked);
        let answers = together(8, |number| {
            story.act(&token, "refunds.create", &refund(&customer, &format!("{}", number + 1), 1)).status
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 3, "{answers:?}");
        assert!(answers.iter().all(|status| matches!(status, 200 | 202)), "{answers:?}");
        assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 3);
        assert_eq!(show(story, &permit)["count"]["used"], 4);
        // Make room among those that wait.
        for held in pending_of(story, &customer) {
            story
                .approver()
                .post(&format!("/v1/approvals/{held}"))
                .json(&json!({"verdict": "deny"}))
                .send()
                .expect(200);
        }
    }
}

fn pending_of(story: &Story, customer: &str) -> Vec<String> {
    let listed = story.approver().get("/v1/approvals?state=pending&limit=1000").send().expect(200);
    let listed = listed.at("/approvals").as_array().unwrap().clone();
    let of = listed.into_iter().filter(|one| one["shown"]["params"]["customer_id"] == customer);
    of.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_never_happened_is_given_back() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    story.shop.reply(&format!("/customers/{customer}/orders/404/"), Reply::status(404));
    story.shop.reply(&format!("/customers/{customer}/orders/500/"), Reply::status(500));
    let asked = json!({"resources": [format!("order://customer:{customer}/*")], "count": 3,
        "sum": {"of": "amount", "max": 100}});
    let permit = given(story, &token, "refunds.create", &refund(&customer, "1", 10), &asked);
    // The service says that its 404 has no effect, and nothing of its 500.
    story.act(&token, "refunds.create", &refund(&customer, "404", 20)).expect(200);
    until("what is given back", || (show(story, &permit)["sum"]["used"] == 10).then_some(()));
    assert_eq!(show(story, &permit)["count"]["used"], 1);
    story.act(&token, "refunds.create", &refund(&customer, "500", 20)).expect(200);
    assert_eq!(show(story, &permit)["sum"]["used"], 30);
}

#[test]
fn it_is_its_agents_and_no_childs() {
    let story = story();
    let (parent, token): (Agent, String) = story.ready(HELD);
    let customer = fresh("c");
    let wide = json!({"resources": ["**"]});
    given(story, &token, "notes.write", &note(&customer), &wide);
    let (_, stranger) = story.ready(HELD);
    story.act(&stranger, "notes.write", &note(&customer)).expect(202);
    let child = story.agent(&fresh("agent-")).register();
    story.rules(&child.handle, "  - {name: all, allow: [notes.*]}\n").expect(201);
    let asked = child.ask().with("parent_token", &token).with("scope", "notes.*").send(&story.client());
    let childs = asked.expect(200).text("/access_token");
    // The parent's rule asks, and the parent's permit is not the child's.
    story.act(&childs, "notes.write", &note(&customer)).expect(202);
    assert!(!parent.handle.is_empty());
    story.act(&token, "notes.write", &note(&customer)).expect(200);
}

#[test]
fn it_is_for_its_task_and_ends_with_it() {
    let story = story();
    let client = story.client();
    let (agent, _) = story.ready(HELD);
    let label = fresh("task-");
    let token = |label: &str, scope: &str| {
        agent
            .ask()
            .with("scope", scope)
            .with("task_id", label)
            .send(&client)
            .expect(200)
            .text("/access_token")
    };
    let first = token(&label, "notes.* orders.*");
    let customer = fresh("c");
    let permit = given(story, &first, "notes.write", &note(&customer), &json!({}));
    // Another grant for the same task, with less.
    let less = token(&label, "notes.*");
    story.act(&less, "notes.write", &note(&customer)).expect(200);
    let other = token(&fresh("task-"), "notes.*");
    story.act(&other, "notes.write", &note(&customer)).expect(202);
    let task = permit["task"].as_str().unwrap();
    story.admin().post(&format!("/v1/tasks/{task}/complete")).json(&json!({})).send().expect(200);
    assert_eq!(story.act(&less, "notes.write", &note(&customer)).status, 401);
    assert_eq!(show(story, &permit)["state"], "ended");
}

#[test]
fn it_dies_with_its_lineage() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let permit = given(story, &token, "notes.write", &note(&customer), &json!({"for": "grant"}));
    assert_eq!(permit["for"], "grant");
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    story.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert_eq!(story.act(&token, "notes.write", &note(&customer)).status, 401);
    assert_eq!(show(story, &permit)["state"], "ended");
}

#[test]
fn an_edit_of_policy_or_service_ends_it() {
    let story = Story::new(PLACET);
    let (agent, token) = story.ready(HELD);
    let permit = given(&story, &token, "notes.write", &note("c"), &json!({}));
    story.act(&token, "notes.write", &note("c")).expect(200);
    story.rules(&agent.handle, &HELD.replace("30m", "20m")).expect(200);
    let id = hold(&story, &token, "notes.write", &note("c"));
    assert_eq!(show(&story, &permit)["state"], "outdated");
    approve(&story, &story.lee, &id, &json!({})).expect(200);
    let second = of_approval(&story, &id).unwrap();
    story.act(&token, "notes.write", &note("c")).expect(200);
    let changed =
        Story::service_at(story.shop.base()).replace("service: shop", "service: shop\ndescription: new");
    story.service("shop", &changed).expect(200);
    story.act(&token, "notes.write", &note("c")).expect(202);
    assert_eq!(show(&story, &second)["state"], "outdated");
}

#[test]
fn it_ends_when_it_says() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let id = hold(story, &token, "notes.write", &note(&customer));
    for wrong in [
        json!({"lasts": 0}),
        json!({"lasts": 90 * 24 * 3600 + 1}),
        json!({"expires": "2001-01-01T00:00:00Z"}),
        json!({"expires": "2999-01-01T00:00:00Z"}),
    ] {
        approve(story, &story.lee, &id, &wrong).refused(400, "request_invalid");
    }
    approve(story, &story.lee, &id, &json!({"lasts": 2})).expect(200);
    let permit = of_approval(story, &id).unwrap();
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    until("its end", || (show(story, &permit)["state"] == "expired").then_some(()));
    story.act(&token, "notes.write", &note(&customer)).expect(202);
}

#[test]
fn it_is_taken_back_at_once() {
    let story = story();
    let leah = leah(story);
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let permit = given(story, &token, "notes.write", &note(&customer), &json!({}));
    story.act(&token, "notes.write", &note(&customer)).expect(200);
    revoke(story, leah, &permit).refused(404, "not_found");
    revoke(story, &token, &permit).refused(403, "not_permitted");
    assert_eq!(show(story, &permit)["state"], "live");
    // While it is used from all sides: nothing is let through behind the answer to the revocation.
    let answers = together(6, |number| {
        if number == 0 {
            revoke(story, &story.lee, &permit).expect(200);
        }
        story.act(&token, "notes.write", &note(&customer)).status
    });
    assert_eq!(answers[0], 202, "it was used after it was taken back");
    let again = revoke(story, story.server.admin_token(), &permit).expect(200);
    assert_eq!(again.at("/state"), "revoked");
    until("its one entry", || {
        let of = |entry: &&Value| entry["type"] == "permit.revoked" && entry["permits"][0] == permit["id"];
        Some(story.record().iter().filter(of).count()).filter(|count| *count > 0)
    });
    let of = |entry: &&Value| entry["type"] == "permit.revoked" && entry["permits"][0] == permit["id"];
    assert_eq!(story.record().iter().filter(of).count(), 1);
    story.act(&token, "notes.write", &note(&customer)).expect(202);
}

#[test]
fn no_agent_and_no_administrator_token_gives_one() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let (_, stranger) = story.ready(HELD);
    let customer = fresh("c");
    let id = hold(story, &token, "notes.write", &note(&customer));
    for session in [token.as_str(), story.server.admin_token()] {
        approve(story, session, &id, &json!({})).refused(403, "not_permitted");
        let preview = story.client().post(&format!("/v1/approvals/{id}/permit")).bearer(session);
        preview.json(&json!({})).send().refused(403, "not_permitted");
    }
    let deny = json!({"verdict": "deny", "permit": {}});
    story.approver().post(&format!("/v1/approvals/{id}")).json(&deny).send().refused(400, "request_invalid");
    approve(story, &story.lee, &id, &json!({})).expect(200);
    let permit = of_approval(story, &id).unwrap();
    let path = format!("/v1/permits/{}", permit["id"].as_str().unwrap());
    let own = story.client().get(&path).bearer(&token).send().expect(200);
    let mut members: Vec<&String> = own.body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["expires", "id", "state", "words"]);
    story.client().get(&path).bearer(&stranger).send().refused(404, "not_found");
    let others = story.client().get("/v1/permits").bearer(&stranger).send().expect(200);
    assert!(others.at("/permits").as_array().unwrap().is_empty());
}

#[test]
fn the_record_names_the_permit() {
    let story = story();
    let (_, token) = story.ready(HELD);
    let customer = fresh("c");
    let permit = given(story, &token, "notes.write", &note(&customer), &json!({}));
    let ran = story.act(&token, "notes.write", &note(&customer)).expect(200).text("/id");
    let intent = until("the intent", || {
        let found = |entry: &Value| entry["type"] == "action.intent" && entry["action_id"] == ran.as_str();
        story.record().into_iter().find(found)
    });
    assert_eq!(intent["permits"], json!([permit["id"]]));
}

#[test]
fn the_command_line_shows_the_words_and_gives_only_what_was_confirmed() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready(HELD);
    let id = hold(&story, &token, "refunds.create", &refund("c", "1", 60));
    let login = typed(story.server.cli().args(["login", "--name", "lee"]), &password("lee"));
    assert!(login.status.success(), "{login:?}");
    let run = |more: &[&str]| {
        let mut command = story.server.cli();
        command.args([
            "approvals",
            "approve",
            &id,
            "--count",
            "3",
            "--sum",
            "amount=100",
            "--max",
            "amount=60",
        ]);
        command.args(["--resource", "order://customer:c/*", "--lasts", "1h"]).args(more).output().unwrap()
    };
    // Nobody is there to confirm: it is shown, and nothing is given.
    let shown = run(&[]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stderr).contains("At most 3 times"), "{shown:?}");
    assert!(of_approval(&story, &id).is_none());
    assert_eq!(run(&["--yes"]).status.code(), Some(0));
    let permit = of_approval(&story, &id).unwrap();
    story.act(&token, "refunds.create", &refund("c", "2", 40)).expect(200);
    let cli = |arguments: &[&str]| {
        let output = story.server.cli().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(cli(&["permit", "list"])["permits"][0]["id"], permit["id"]);
    let prm = permit["id"].as_str().unwrap();
    assert_eq!(cli(&["permit", "show", prm])["sum"]["used"], 100);
    assert_eq!(cli(&["permit", "revoke", prm])["state"], "revoked");
}
