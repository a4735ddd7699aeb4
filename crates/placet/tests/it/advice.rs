//! What an agent finds out by asking: its own, and of what it shares with others only whether anything is left.

use crate::parties::stage;
use placet_testkit::{Agent, Answer, Story, fresh};
use serde_json::{Value, json};

fn story() -> &'static Story {
    stage().story
}

fn refund(customer: &str, amount: f64) -> Value {
    json!({"customer_id": customer, "order_id": "1", "amount": amount, "currency": "USD"})
}

/// Two agents of one person, whose budget of 2000 a day they share; each has 5 refunds.
fn siblings() -> [(Agent, String, String); 2] {
    let agents = [0, 1].map(|_| story().agent(&fresh("sibling-")).register());
    let (name, (_, session)) = (fresh("shared-"), story().user(&fresh("payer-"), &[]));
    let policy = format!(
        "policy: {name}
applies_to: {{agents: [{}, {}]}}
rules:
  - name: refunds
    allow: [refunds.create]
    limits:
      - {{sum: params.amount, max: 2000, per: day, by: user}}
      - {{count: 5, per: day}}
",
        agents[0].handle, agents[1].handle
    );
    story().policy(&name, &policy).expect(201);
    agents.map(|agent| {
        let task = json!({"agent": agent.handle, "scope": ["refunds.*"], "resources": ["order://**"]});
        let task = stage().task(&session, &task).expect(201).text("/id");
        let token =
            agent.ask().with("task_id", &task).send(&story().client()).expect(200).text("/access_token");
        (agent, token, task)
    })
}

#[test]
fn what_siblings_have_spent_is_told_by_no_amount() {
    let [(_, spender, _), (agent, token, task)] = siblings();
    let (client, customer) = (story().client().with(&token), fresh("c"));
    let resource = format!("order://customer:{customer}/1");
    let question = |amount: f64| json!({"action": "refunds.create", "params": refund(&customer, amount)});
    let evaluation = |amount: f64| {
        json!({"subject": {"type": "agent", "id": agent.id}, "resource": {"type": "order", "id": resource},
            "action": {"name": "refunds.create", "properties": refund(&customer, amount)}})
    };
    // Everything that an agent may ask about an amount.
    let told = |amount: f64| -> [bool; 5] {
        let post = |path: &str, body: &Value| client.post(path).json(body).send().expect(200);
        let alone = post("/v1/decisions", &question(amount));
        let many = post("/v1/decisions", &json!({"decisions": [question(amount)]}));
        let mut filter = question(amount);
        filter["resources"] = json!([resource]);
        let filter = post("/v1/decisions/filter", &filter);
        let standard = post("/access/v1/evaluation", &evaluation(amount));
        let mut search = evaluation(amount);
        search["subject"] = json!({"type": "agent"});
        let search = post("/access/v1/search/subject", &search);
        [
            alone.at("/decision") == "allow",
            many.at("/decisions/0/decision") == "allow",
            filter.at("/allowed") == &json!([resource]),
            standard.at("/decision") == true,
            search.at("/results").as_array().map(Vec::len) == Some(1),
        ]
    };
    for amount in [0.01, 765.44, 765.45, 2000.0] {
        assert_eq!(told(amount), [true; 5], "{amount}");
    }
    assert_eq!(told(2000.01), [false; 5], "more than the budget is");
    story().act(&spender, "refunds.create", &refund(&customer, 1234.56)).expect(200);
    for amount in [0.01, 765.44, 765.45, 2000.0] {
        assert_eq!(told(amount), [true; 5], "{amount} tells what was spent");
    }
    assert_eq!(told(2000.01), [false; 5]);
    let limits = |client: &placet_testkit::Client, path: &str| {
        let shown = client.get(path).send().expect(200);
        let found =
            shown.at("/actions").as_array().unwrap().iter().find(|one| one["action"] == "refunds.create");
        found.unwrap()["limits"].clone()
    };
    let members = |limit: &Value| limit.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let own = limits(&client, "/v1/catalog");
    assert_eq!(members(&own[0]), ["limit"], "{own:#}");
    assert_eq!((members(&own[1]).len(), &own[1]["remaining"]), (3, &json!(5)), "{own:#}");
    // Whoever is told everything is told the cent.
    let exact = |amount: f64| {
        let mut asked = question(amount);
        asked["task"] = json!(task);
        asked["dry_run"] = json!(true);
        stage().admin().post("/v1/decisions").json(&asked).send().expect(200)
    };
    assert_eq!(exact(765.44).at("/decision"), "allow");
    let over = exact(765.45);
    assert_eq!(over.at("/reasons/0/code"), "limit_exceeded");
    assert!(over.at("/reasons/0/remedy/shared_retry_at").is_string(), "{:#}", over.body);
    let all = limits(&stage().admin(), &format!("/v1/catalog?task={task}"));
    assert_eq!((members(&all[0]).len(), &all[0]["remaining"]), (3, &json!(765.44)), "{all:#}");
    // The budget is exact all the same, and a refusal is the code alone.
    let code_alone = |reason: &Value| {
        assert_eq!(reason["code"], "limit_exceeded");
        assert!(reason.get("remedy").is_none() && reason.get("observed").is_none(), "{reason:#}");
    };
    let refused =
        story().act(&token, "refunds.create", &refund(&customer, 765.45)).refused(403, "limit_exceeded");
    code_alone(refused.at("/reasons/0"));
    assert_eq!(refused.header("retry-after"), None);
    story().act(&token, "refunds.create", &refund(&customer, 765.44)).expect(200);
    assert_eq!(told(0.01), [false; 5], "nothing is left");
    let nothing: Answer = client.post("/access/v1/evaluation").json(&evaluation(0.01)).send().expect(200);
    code_alone(nothing.at("/context/reasons/0"));
}

#[test]
fn of_a_limit_of_its_own_an_agent_is_told_when_it_begins_anew() {
    let [(_, token, _), _] = siblings();
    let customer = fresh("c");
    for _ in 0..5 {
        story().act(&token, "refunds.create", &refund(&customer, 1.0)).expect(200);
    }
    let question = json!({"action": "refunds.create", "params": refund(&customer, 1.0)});
    let said = story().client().post("/v1/decisions").bearer(&token).json(&question).send().expect(200);
    assert!(said.at("/reasons/0/remedy/retry_at").is_string(), "{:#}", said.body);
}

#[test]
fn the_catalog_is_recorded_like_other_questions_in_one_entry() {
    let (agent, token) = story().ready("  - {name: all, allow: ['orders.*', notes.write]}\n");
    let client = story().client().with(&token);
    let advice = || {
        let of_it = |one: &&Value| one["type"] == "decision.advice" && one["agent"] == json!(agent.id);
        story().record().iter().filter(of_it).count()
    };
    let shown = client.get("/v1/catalog").send().expect(200);
    assert_eq!(advice(), 1);
    // Also where nothing has changed, and of each page.
    let again = client.get("/v1/catalog").header("if-none-match", shown.header("etag").unwrap()).send();
    assert_eq!((again.status, advice()), (304, 2));
    client.get("/v1/catalog?limit=1").send().expect(200);
    assert_eq!(advice(), 3);
    // An administrator's questions leave none.
    stage().admin().get(&format!("/v1/catalog?agent={}", agent.handle)).send().expect(200);
    assert_eq!(advice(), 3);
}
