//! Actions of which nobody knows what became: listed, settled by hand or by the service's status action, and never
//! silently given back.

use crate::{process::typed, stage::PLACET};
use placet_testkit::{Answer, Gate, Reply, Story, fresh, password, until};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Two a day and 100 in all.
const RULES: &str = "  - {name: some, allow: [refunds.create], limits: [{count: 2, per: day}, {sum: params.amount, max: 100, per: day}]}\n";

/// The shop with a status action for refunds, asked at once.
fn with_status(story: &Story) -> String {
    let status = "    effect: money\n    status:\n      action: refunds.find\n      \
                  params: {customer_id: $params.customer_id, key: $params.reason, by: $id}\n      \
                  happened: {status: 200, body: {/state: done}}\n      not_happened: {status: 404}\n      after: 0s\n";
    let find = "  refunds.find:\n    method: GET\n    path: /refunds/{customer_id}\n    \
                resource: order://customer:{customer_id}\n    effect: read\n    params:\n      type: object\n      \
                properties: {customer_id: {type: string}, key: {type: string}, by: {type: string}}\n      \
                required: [customer_id]\n      additionalProperties: false\n";
    let base = Story::service_at(story.shop.base());
    let refunds = base.find("  refunds.create:").unwrap();
    let (before, after) = base.split_at(refunds);
    format!("{before}{}{find}", after.replace("    effect: money\n", status))
}

fn refund(customer: &str, amount: u32) -> Value {
    json!({"customer_id": customer, "order_id": "1", "amount": amount, "reason": "because"})
}

/// An action that is under way upstream when the server is killed; answers its id.
fn interrupted(story: &mut Story, token: &str, customer: &str, key: Option<&str>) -> String {
    let gate = Gate::shut();
    let path = format!("/customers/{customer}/");
    story.shop.reply(&path, Reply::status(200).after(&gate));
    let mut request = story.acting(token, "refunds.create", &refund(customer, 60));
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    thread::scope(|scope| {
        let request = scope.spawn(move || request.try_send());
        until("the effect", || (story.shop.count(&path) == 1).then_some(()));
        story.server.kill();
        assert!(request.join().unwrap().is_err());
    });
    gate.open();
    story.server.restart();
    let listed = unknown(story);
    let found = listed.iter().find(|one| one["params"]["customer_id"] == customer);
    found.unwrap_or_else(|| panic!("it is not listed: {listed:#?}"))["id"].as_str().unwrap().to_owned()
}

fn unknown(story: &Story) -> Vec<Value> {
    let listed = story.admin().get("/v1/actions?state=unknown").send().expect(200);
    listed.at("/actions").as_array().unwrap().clone()
}

fn shown(story: &Story, id: &str) -> Value {
    story.admin().get(&format!("/v1/actions/{id}")).send().expect(200).body
}

fn settle(story: &Story, token: &str, id: &str, happened: &str) -> Answer {
    let body = json!({"happened": happened, "reason": "looked it up"});
    story.client().post(&format!("/v1/actions/{id}/settle")).bearer(token).json(&body).send()
}

fn entries(story: &Story, id: &str, kind: &str) -> Vec<Value> {
    let of = |entry: &Value| entry["type"] == kind && entry["action_id"] == id;
    story.record().into_iter().filter(of).collect()
}

#[test]
fn what_a_kill_interrupted_is_listed_and_settled_by_hand() {
    let mut story = Story::new(PLACET);
    let (agent, token) = story.ready(RULES);
    let (gone, kept) = (fresh("c"), fresh("c"));
    let first = interrupted(&mut story, &token, &gone, Some("key-1"));
    let listed = unknown(&story).remove(0);
    assert_eq!(listed["action"], "refunds.create");
    assert_eq!(listed["resource"], format!("order://customer:{gone}/1"));
    assert_eq!((&listed["service"], &listed["status"]), (&json!("shop"), &json!("unknown")));
    assert_eq!(listed["agent"], agent.id.as_str());
    // It is kept as long as nobody knows: 60 of the 100 are gone.
    let other = refund(&fresh("c"), 50);
    story.act(&token, "refunds.create", &other).refused(403, "limit_exceeded");
    let replay = |story: &Story| {
        let request = story.acting(&token, "refunds.create", &refund(&gone, 60));
        request.header("idempotency-key", "key-1").send()
    };
    assert_eq!(replay(&story).refused_with(504), "unknown");
    // Only an administrator, in person, and with a reason.
    settle(&story, story.server.admin_token(), &first, "no").refused(403, "not_permitted");
    settle(&story, &token, &first, "no").refused(403, "not_permitted");
    settle(&story, &story.lee, &first, "no").refused(403, "not_permitted");
    settle(&story, &story.ada, &first, "maybe").refused(400, "request_invalid");
    let silent = json!({"happened": "no", "reason": " "});
    let path = format!("/v1/actions/{first}/settle");
    story.admin().post(&path).json(&silent).send().refused(400, "request_invalid");
    assert_eq!(settle(&story, &story.ada, &first, "no").expect(200).at("/status"), "failed");
    settle(&story, &story.ada, &first, "yes").refused(409, "conflict");
    assert!(unknown(&story).is_empty());
    assert_eq!(replay(&story).refused_with(502), "no");
    // Given back once, and to the last: the day's two and the 100 are there again.
    let second = interrupted(&mut story, &token, &kept, None);
    assert_eq!(settle(&story, &story.ada, &second, "yes").expect(200).at("/status"), "done");
    story.act(&token, "refunds.create", &refund(&fresh("c"), 41)).refused(403, "limit_exceeded");
    story.act(&token, "refunds.create", &refund(&fresh("c"), 40)).expect(200);
    story.act(&token, "refunds.create", &refund(&fresh("c"), 1)).refused(403, "limit_exceeded");
    let settled = until("the entries", || {
        Some(entries(&story, &first, "action.settled")).filter(|all| !all.is_empty())
    });
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0]["outcome"], "failed");
    assert!(settled[0]["by"].as_str().unwrap().starts_with("usr_"));
    let whole = story.server.admin().get(&format!("/v1/record/{}", settled[0]["index"])).send().expect(200);
    assert!(whole.body.to_string().contains("looked it up"), "{:#}", whole.body);
    let output = story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// What a problem document says of whether it happened.
trait Told {
    fn refused_with(self, status: u16) -> String;
}

impl Told for Answer {
    fn refused_with(self, status: u16) -> String {
        self.expect(status).text("/happened")
    }
}

#[test]
fn the_services_status_action_settles_what_it_can_tell() {
    let mut story = Story::new(PLACET);
    let service = with_status(&story);
    story.service("shop", &service).expect(200);
    let (agent, token) = story.ready(RULES);
    // The upstream is not ready to tell: it stays unknown, and is kept.
    let (done, absent) = (fresh("c"), fresh("c"));
    for customer in [&done, &absent] {
        story.shop.reply(&format!("/refunds/{customer}"), Reply::status(503));
    }
    let first = interrupted(&mut story, &token, &done, None);
    until("questions in vain", || (story.shop.count(&format!("/refunds/{done}")) >= 2).then_some(()));
    assert_eq!(shown(&story, &first)["status"], "unknown");
    story.act(&token, "refunds.create", &refund(&fresh("c"), 50)).refused(403, "limit_exceeded");
    // Garbage tells nothing either.
    let before = story.shop.count(&format!("/refunds/{done}"));
    story.shop.reply(&format!("/refunds/{done}"), Reply::bytes(200, "application/json", "{\"state\": \"do"));
    until("more questions", || (story.shop.count(&format!("/refunds/{done}")) > before).then_some(()));
    assert_eq!(shown(&story, &first)["status"], "unknown");
    story.shop.reply(&format!("/refunds/{done}"), Reply::json(200, &json!({"state": "done"})));
    until("it is known", || (shown(&story, &first)["status"] == "done").then_some(()));
    story.act(&token, "refunds.create", &refund(&fresh("c"), 41)).refused(403, "limit_exceeded");
    // The question carried what the definition says, and the connection's credential.
    let asked = story.shop.seen_at(&format!("/refunds/{done}")).pop().unwrap();
    assert!(
        asked.query.contains("key=because") && asked.query.contains(&format!("by={first}")),
        "{}",
        asked.query
    );
    assert!(asked.authorized);
    let settled = until("the entry", || entries(&story, &first, "action.settled").pop());
    assert_eq!((&settled["by"], &settled["outcome"]), (&json!("placet"), &json!("done")));
    let asking = |entry: &&Value| entry["type"] == "action.intent" && entry["by"] == "placet";
    assert!(story.record().iter().filter(asking).count() >= 3);
    // Another agent's, which did not happen: given back.
    let (_, other) = story.ready(RULES);
    let second = interrupted(&mut story, &other, &absent, None);
    story.act(&other, "refunds.create", &refund(&fresh("c"), 50)).refused(403, "limit_exceeded");
    story.shop.reply(&format!("/refunds/{absent}"), Reply::status(404));
    until("it is known", || (shown(&story, &second)["status"] == "failed").then_some(()));
    story.act(&other, "refunds.create", &refund(&fresh("c"), 50)).expect(200);
    story.act(&other, "refunds.create", &refund(&fresh("c"), 50)).expect(200);
    story.act(&other, "refunds.create", &refund(&fresh("c"), 1)).refused(403, "limit_exceeded");
    assert!(unknown(&story).is_empty());
    // An agent sees its own, and not what the server asked about it.
    let own = |id: &str| story.client().get(&format!("/v1/actions/{id}")).bearer(&token).send();
    assert_eq!(own(&first).expect(200).at("/action"), "refunds.create");
    let question = story.record().into_iter().rfind(|entry| asking(&entry)).unwrap();
    own(question["action_id"].as_str().unwrap()).refused(404, "not_found");
    assert!(!agent.id.is_empty());
}

#[test]
fn a_timed_out_answer_is_unknown_and_asked_about_with_patience() {
    let story = Story::new(PLACET);
    let service = with_status(&story);
    story.service("shop", &service).expect(200);
    let (_, token) = story.ready(RULES);
    let customer = fresh("c");
    // It hangs up in the middle of the effect, and of every question but the last.
    story.shop.reply(&format!("/customers/{customer}/"), Reply::hang_up());
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    story.shop.answer(&format!("/refunds/{customer}"), move |_| {
        if counting.fetch_add(1, Ordering::SeqCst) < 2 { Reply::hang_up() } else { Reply::status(404) }
    });
    let answer = story.act(&token, "refunds.create", &refund(&customer, 60));
    let id = answer.expect(502).text("/id");
    until("it is known", || (shown(&story, &id)["status"] == "failed").then_some(()));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    story.act(&token, "refunds.create", &refund(&fresh("c"), 100)).expect(200);
}

#[test]
fn pages_of_actions_and_who_may_see_them() {
    let story = Story::new(PLACET);
    let (_, token) = story.ready("  - {name: all, allow: [notes.write]}\n");
    let ids: Vec<String> = (0..5)
        .map(|_| {
            story
                .act(&token, "notes.write", &json!({"customer_id": "c", "text": "x"}))
                .expect(200)
                .text("/id")
        })
        .collect();
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = story.admin().get(&format!("/v1/actions?limit=2{after}")).send().expect(200);
        found.extend(
            page.at("/actions").as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()),
        );
        match page.at("/next").as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
    for session in [token.as_str(), &story.lee] {
        story.client().get("/v1/actions").bearer(session).send().refused(403, "not_permitted");
    }
    let auditor = story.user("ann", &["auditor"]).1;
    story.client().get("/v1/actions").bearer(&auditor).send().expect(200);
    story.admin().get("/v1/actions?state=done").send().refused(400, "request_invalid");
}

#[test]
fn the_command_line_lists_and_settles() {
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(RULES);
    let id = interrupted(&mut story, &token, &fresh("c"), None);
    let login = typed(story.server.cli().args(["login", "--name", "ada"]), &password("ada"));
    assert!(login.status.success(), "{login:?}");
    let run = |arguments: &[&str]| {
        let output = story.server.cli().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(run(&["action", "list", "--state", "unknown"])["actions"][0]["id"], id.as_str());
    assert_eq!(run(&["action", "show", &id])["status"], "unknown");
    let settled = run(&["action", "settle", &id, "--happened", "no", "--reason", "the shop has none"]);
    assert_eq!(settled["status"], "failed");
}
