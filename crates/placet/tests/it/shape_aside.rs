//! Shaping is work beside the way of an action: what happened upstream is known before it, and it holds nobody up.

use crate::stage::{PLACET, story};
use placet_testkit::{Gate, Reply, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Costs nearly all that an answer may, on [`costly`].
const COSTLY: &str = "  - name: costly
    allow: [orders.*]
    shape: {rows: {at: $.orders, where: 'item.list.all(x, item.list.all(y, x + y >= 0))'}}
";

fn costly() -> Value {
    let list: Vec<u32> = (0..50).collect();
    json!({"orders": vec![json!({"list": list}); 75]})
}

/// How many entries were written to the record.
fn written(story: &Story) -> u64 {
    story.gauges(["placet_record_entries", "placet_record_lag_entries"]).iter().sum()
}

#[test]
fn a_kill_while_answers_are_shaped_leaves_nothing_unknown() {
    const MANY: usize = 24;
    let mut story = Story::new(PLACET);
    let (_, token) = story.ready(COSTLY);
    let one = json!({"customer_id": "1"});
    story.shop.reply("/customers/1/orders", Reply::json(200, &costly()));
    story.act(&token, "orders.list", &one).expect(200);
    let gate = Gate::shut();
    story.shop.reply("/customers/1/orders", Reply::json(200, &costly()).after(&gate));
    let (before, answered) = (written(&story), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..MANY {
            let request = if number % 2 == 0 {
                story.acting(&token, "orders.list", &one)
            } else {
                story.client().get("/proxy/shop-main/customers/1/orders").bearer(&token)
            };
            let answered = &answered;
            scope.spawn(move || {
                // The kill comes in between.
                _ = request.try_send();
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        until("all to be under way", || (written(&story) == before + MANY as u64).then_some(()));
        gate.open();
        until("all outcomes", || (written(&story) == before + 2 * MANY as u64).then_some(()));
        let answered = answered.load(Ordering::SeqCst);
        story.server.kill();
        assert!(answered + 4 < MANY, "{answered} were answered: what happened is recorded before that");
    });
    story.server.restart();
    let record = story.record();
    let outcomes = record.iter().filter(|entry| entry["type"] == "action.outcome");
    let outcomes: Vec<&str> = outcomes.map(|entry| entry["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done"; MANY + 1]);
}

#[test]
fn one_agents_costly_answers_are_not_what_another_waits_for() {
    const MANY: usize = 40;
    let story = Story::new(PLACET);
    let (_, hog) = story.ready(COSTLY);
    let (_, other) =
        story.ready("  - {name: own, allow: [orders.*], shape: {rows: {at: $.orders, where: item.mine}}}\n");
    let gate = Gate::shut();
    story.shop.reply("/customers/1/orders", Reply::json(200, &costly()).after(&gate));
    let rows = json!({"orders": [{"mine": true}, {"mine": false}]});
    story.shop.reply("/customers/2/orders", Reply::json(200, &rows));
    let (before, answered) = (written(&story), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..MANY {
            let request = story.acting(&hog, "orders.list", &json!({"customer_id": "1"}));
            let answered = &answered;
            scope.spawn(move || {
                request.send().expect(200);
                answered.fetch_add(1, Ordering::SeqCst);
            });
        }
        until("all to be under way", || (written(&story) == before + MANY as u64).then_some(()));
        gate.open();
        until("all outcomes", || (written(&story) == before + 2 * MANY as u64).then_some(()));
        // All that is left of them is to be shaped.
        let answer = story.act(&other, "orders.list", &json!({"customer_id": "2"})).expect(200);
        let answered = answered.load(Ordering::SeqCst);
        assert_eq!(answer.at("/result/body"), &json!({"orders": [{"mine": true}]}));
        assert!(answered < MANY, "{answered} of another's were answered first");
    });
}

/// An upstream that answers every request with these bytes and hangs up. Its base URL.
fn raw(reply: &Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let reply = Arc::clone(reply);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut seen = Vec::new();
            let mut piece = [0; 1024];
            while !seen.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(read) if read > 0 => seen.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            _ = stream.write_all(reply.lock().unwrap().as_bytes());
        }
    });
    base
}

#[test]
fn an_empty_answer_of_no_said_length_is_none_at_both_doors() {
    let (story, service) = (story(), fresh("raw"));
    let reply = Arc::default();
    let yaml = format!(
        "service: {service}
base_url: {}
auth: {{type: bearer}}
actions:
  {service}.list: {{method: GET, path: /list, resource: 'order://all', effect: read}}
",
        raw(&reply)
    );
    story.service(&service, &yaml).expect(201);
    story.connection(&format!("{service}-main"), &service, &json!({})).expect(201);
    let agent =
        story.agent(&fresh("agent-")).with("allowed_tools", json!([format!("{service}.*")])).register();
    let rules =
        format!("  - {{name: own, allow: ['{service}.*'], shape: {{redact: ['$.orders[*].card']}}}}\n");
    story.rules(&agent.handle, &rules).expect(201);
    let token = agent.token(&story.client(), &format!("{service}.*"));
    let ask = |kind: &str, body: &str| {
        *reply.lock().unwrap() = format!(
            "HTTP/1.1 200 OK\r\n{kind}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{body}0\r\n\r\n"
        );
        let request = json!({"service": service, "action": format!("{service}.list"), "params": {}});
        let direct = story.client().post("/v1/actions").bearer(&token).json(&request).send();
        (direct, story.client().get(&format!("/proxy/{service}-main/list")).bearer(&token).send())
    };
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/json\r\n"] {
        let (direct, passed) = ask(kind, "");
        let direct = direct.expect(200);
        assert_eq!((direct.at("/result/status"), direct.at("/result/body")), (&json!(200), &json!("")));
        let passed = passed.expect(200);
        assert!(passed.bytes.is_empty());
        assert_eq!((passed.header("placet-shaped"), passed.header("content-type")), (Some("true"), None));
        let (direct, passed) = ask(kind, "4\r\n4111\r\n");
        for answer in [direct, passed] {
            assert_eq!(answer.refused(403, "result_withheld").at("/happened"), "yes", "{kind}");
        }
    }
}
