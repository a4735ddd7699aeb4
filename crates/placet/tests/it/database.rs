//! A PostgreSQL database as a service: the whole way of its actions, on a real server.

use crate::stage::{PLACET, story};
use placet_testkit::{Answer, Cluster, Database, Proxy, Request, Story, fresh, on_postgres, together, until};
use serde_json::{Value, json};
use std::thread;

const SERVICE: &str = r#"service: NAME
base_url: BASE
auth: {type: basic}
tables:
  public.orders: {id: bigint, tenant: text, amount: 'numeric(12,2)', status: text, owner: text, card: text?}
actions:
  NAME.list:
    resource: order://NAME/{tenant}
    select:
      table: public.orders
      columns: [id, amount, status, card]
      where: {tenant: $params.tenant, status: $params.status?}
      order: [id]
      limit: {param: limit, default: 50, max: 100}
    response: {items: $.rows, limit: limit}
  NAME.one:
    resource: order://NAME/{tenant}/{id}
    select: {table: public.orders, columns: [id, status], where: {tenant: $params.tenant, id: $params.id}, expect_rows: 1}
  NAME.add:
    resource: order://NAME/{tenant}/{id}
    effect: write
    insert:
      table: public.orders
      values: {id: $params.id, tenant: $params.tenant, amount: $params.amount, status: open, owner: $params.owner}
    status:
      action: NAME.one
      params: {tenant: $params.tenant, id: $params.id}
      happened: {status: 200}
      not_happened: {status: 404}
      after: 0s
  NAME.close:
    resource: order://NAME/{tenant}/{id}
    effect: write
    update:
      table: public.orders
      set: {status: closed}
      where: {tenant: $params.tenant, id: $params.id}
      before: {status: open}
      returning: [id, status]
    resolve:
      order:
        select: {table: public.orders, columns: [owner, amount], where: {tenant: $params.tenant, id: $params.id}}
        facts: {owner: {at: /rows/0/owner, type: string}, total: {at: /rows/0/amount, type: number}}
"#;

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, tenant text, amount numeric(12,2), status text, owner text, card text);
  INSERT INTO orders SELECT n, 'acme', n + 0.10, 'open', CASE WHEN n < 3 THEN 'ann' ELSE 'bob' END, 'card-' || n FROM generate_series(1, 5) n;
  INSERT INTO orders VALUES (100, 'bolt', 1, 'open', 'ann', 'card-100')";

/// A database, the service on it, an agent with these rules, and its token.
struct Shop {
    database: Database,
    name: String,
    token: String,
}

fn shop(story: &Story, rules: &str, port: Option<u16>) -> Shop {
    shop_of(story, rules, port, "")
}

/// With more keys of the service.
fn shop_of(story: &Story, rules: &str, port: Option<u16>, keys: &str) -> Shop {
    let database = Cluster::of_this_process().database();
    database.run(TABLE);
    let url = database.url();
    let port = port.unwrap_or_else(|| Cluster::of_this_process().address().port());
    let base = format!("postgres://127.0.0.1:{port}/{}?sslmode=disable", url.rsplit('/').next().unwrap());
    let name = fresh("db");
    let service = SERVICE.replace("tables:", &format!("{keys}tables:"));
    story.service(&name, &service.replace("NAME", &name).replace("BASE", &base)).expect(201);
    let auth = json!({"auth": {"type": "basic", "username": "postgres", "secret": "canary-db-password"}});
    story.connection(&format!("{name}-main"), &name, &auth).expect(201);
    let agent = story.agent(&fresh("agent-")).with("allowed_tools", json!([format!("{name}.*")])).register();
    story.rules(&agent.handle, &rules.replace("NAME", &name)).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    Shop { database, name, token }
}

impl Shop {
    fn asking(&self, story: &Story, action: &str, params: &Value) -> Request {
        let body = json!({"action": format!("{}.{action}", self.name), "params": params});
        story.client().post("/v1/actions").bearer(&self.token).json(&body)
    }

    fn act(&self, story: &Story, action: &str, params: &Value) -> Answer {
        self.asking(story, action, params).send()
    }

    fn statuses(&self) -> String {
        self.database.column("SELECT string_agg(status, ',' ORDER BY id) FROM orders").concat()
    }
}

const ACME: &str = "  - {name: acme, allow: ['NAME.*'], on: ['order://NAME/acme', 'order://NAME/acme/*']}\n";

#[test]
fn a_statement_is_judged_by_what_it_is_about_at_both_doors() {
    let story = story();
    let shop = shop(story, ACME, None);
    let answer = shop.act(story, "list", &json!({"tenant": "acme", "limit": 2})).expect(200);
    assert_eq!(answer.at("/result/status"), 200);
    assert_eq!(
        answer.at("/result/body").to_string(),
        r#"{"rows":[{"amount":1.10,"card":"card-1","id":1,"status":"open"},{"amount":2.10,"card":"card-2","id":2,"status":"open"}]}"#
    );
    shop.act(story, "list", &json!({"tenant": "bolt"})).refused(403, "no_rule");
    shop.act(story, "close", &json!({"tenant": "bolt", "id": 100})).refused(403, "no_rule");
    for bad in [
        json!({"tenant": "acme", "id": "1 OR 1=1"}),
        json!({"tenant": "acme", "id": 1.5}),
        json!({"tenant": "acme/../bolt", "id": 100}),
        json!({"tenant": "acme"}),
        json!({"tenant": "acme", "id": 1, "where": "TRUE"}),
    ] {
        shop.act(story, "close", &bad).refused(400, "params_invalid");
    }
    // There is no path to it, whatever is asked.
    for (method, path) in [("POST", ""), ("GET", ""), ("POST", "orders"), ("PATCH", "")] {
        let path = format!("/proxy/{}-main/{path}", shop.name);
        let request = match method {
            "GET" => story.client().get(&path),
            "PATCH" => story.client().patch(&path),
            _ => story.client().post(&path),
        };
        let answer = request.bearer(&shop.token).json(&json!({"statement": "DELETE"})).send();
        assert_eq!(answer.status, 403, "{method} {:#}", answer.body);
    }
    // As a tool it is the same.
    let (method, tool) = ("tools/call", format!("{}__close", shop.name));
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"}
    });
    let call = |arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let request = story
            .client()
            .post("/mcp")
            .bearer(&shop.token)
            .header("accept", "application/json, text/event-stream");
        let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
        let request = request.header("mcp-name", &tool);
        request
            .json(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
            .send()
            .expect(200)
    };
    let done = call(json!({"tenant": "acme", "id": 4}));
    assert!(done.body.to_string().contains("closed"), "{:#}", done.body);
    let refused = call(json!({"tenant": "bolt", "id": 100}));
    assert_eq!(refused.at("/result/isError"), true);
    assert_eq!(shop.statuses(), "open,open,open,closed,open,open");
}

#[test]
fn what_did_not_happen_costs_no_limit_and_a_key_is_for_one_effect() {
    let story = story();
    let shop = shop(story, &ACME.replace("]}", "], limits: [{count: 2, per: day}]}"), None);
    for _ in 0..4 {
        let answer = shop.act(story, "close", &json!({"tenant": "acme", "id": 77})).expect(200);
        assert_eq!(answer.at("/result/status"), 404);
    }
    let add = json!({"tenant": "acme", "id": 1, "amount": 2.50, "owner": "ann"});
    let answer = shop.act(story, "add", &add).expect(200);
    assert_eq!(
        (answer.at("/result/status"), answer.text("/result/body/error/sqlstate")),
        (&json!(409), "23505".to_owned())
    );
    let add = json!({"tenant": "acme", "id": 8, "amount": 2.50, "owner": "ann"});
    for _ in 0..3 {
        let answer = shop.asking(story, "add", &add).header("idempotency-key", "eight").send().expect(200);
        assert_eq!(answer.at("/result/body/row_count"), 1);
    }
    assert_eq!(
        shop.act(story, "close", &json!({"tenant": "acme", "id": 1})).expect(200).at("/result/status"),
        200
    );
    shop.act(story, "close", &json!({"tenant": "acme", "id": 2})).refused(403, "limit_exceeded");
    assert_eq!(shop.statuses(), "closed,open,open,open,open,open,open");
}

#[test]
fn rows_are_shaped_and_no_more_are_asked_for() {
    let story = story();
    let rules = "  - {name: two, allow: [NAME.list], shape: {rows: {at: $.rows, max: 2, where: item.id != 1}, redact: ['$.rows[*].card']}}\n";
    let shop = shop(story, rules, None);
    let answer = shop.act(story, "list", &json!({"tenant": "acme", "limit": 90})).expect(200);
    let body = answer.at("/result/body");
    assert!(body.get("row_count").is_none() && !body.to_string().contains("card-"), "{body:#}");
    let ids: Vec<i64> =
        body["rows"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert!(ids.len() <= 2 && !ids.contains(&1), "{body:#}");
}

#[test]
fn a_rule_reads_what_the_database_holds() {
    let story = story();
    let rules = "  - {name: own, allow: [NAME.close], when: [resource.owner == 'ann', resource.total < 3]}\n";
    let shop = shop(story, rules, None);
    assert_eq!(
        shop.act(story, "close", &json!({"tenant": "acme", "id": 2})).expect(200).at("/result/status"),
        200
    );
    shop.act(story, "close", &json!({"tenant": "acme", "id": 3})).refused(403, "condition_failed");
    shop.act(story, "close", &json!({"tenant": "acme", "id": 77})).refused(403, "condition_unknown");
    assert_eq!(shop.statuses(), "open,closed,open,open,open,open");
}

#[test]
fn a_yes_is_for_one_statement_with_its_values() {
    let story = story();
    let rules = "  - {name: held, allow: [NAME.close], approve: {by: ['role:support-lead'], within: 30m}}\n";
    let shop = shop(story, rules, None);
    let params = json!({"tenant": "acme", "id": 1});
    let id = shop.act(story, "close", &params).expect(202).text("/approval/id");
    let shown = story.approver().get(&format!("/v1/approvals/{id}")).send().expect(200);
    assert_eq!(shown.at("/shown/params"), &params);
    let verdict = json!({"verdict": "approve"});
    story.approver().post(&format!("/v1/approvals/{id}")).json(&verdict).send().expect(200);
    let again = |params: &Value| shop.asking(story, "close", params).header("placet-approval", &id).send();
    again(&json!({"tenant": "acme", "id": 2})).refused(403, "approval_mismatch");
    assert_eq!(again(&params).expect(200).at("/result/body/rows/0/status"), "closed");
    again(&params).refused(403, "approval_used");
    assert_eq!(shop.statuses(), "closed,open,open,open,open,open");
}

#[test]
fn a_lost_commit_is_unknown_until_the_status_action_tells() {
    // One of its own: the questions of others would be cut, too.
    let story = Story::new(PLACET);
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let shop = shop(&story, ACME, Some(proxy.port()));
    // Where the database of Placet itself is one, it isn't behind the proxy.
    assert!(!on_postgres() || proxy.accepted() == 0);
    proxy.cut_after(b"COMMIT\0", 1);
    let add = json!({"tenant": "acme", "id": 9, "amount": 2.50, "owner": "ann"});
    let answer = shop.act(&story, "add", &add).expect(502);
    assert_eq!(answer.text("/happened"), "unknown");
    let id = answer.text("/id");
    let shown = || story.admin().get(&format!("/v1/actions/{id}")).send().expect(200);
    until("it is known", || (shown().at("/status") == "done").then_some(()));
    // Before it is committed nothing has happened, and that is told.
    proxy.cut_after(b"INSERT", 1);
    let add = json!({"tenant": "acme", "id": 10, "amount": 2.50, "owner": "ann"});
    let answer = shop.act(&story, "add", &add).expect(502);
    assert_eq!(answer.text("/happened"), "no");
    assert_eq!(shop.database.column("SELECT count(*) FROM orders WHERE id IN (9, 10)"), ["1"]);
    // The password is nowhere in what was told or recorded.
    let told = format!("{:?}{:?}", story.record(), answer.body);
    assert!(!told.contains("canary-db-password"));
}

/// A server that is killed between a statement and its answer: what became of it is found out, and it is not run again.
#[test]
fn a_statement_that_a_kill_interrupted_is_found_out_and_not_run_again() {
    let mut story = Story::new(PLACET);
    let shop = shop(&story, ACME, None);
    shop.act(&story, "one", &json!({"tenant": "acme", "id": 1})).expect(200);
    // Somebody has the row that would be changed: the statement is under way as long as they do.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'placet' AND wait_event_type = 'Lock' \
                 AND datname = current_database()";
    let add = json!({"tenant": "acme", "id": 9, "amount": 2.50, "owner": "ann"});
    let keyed = |story: &Story| shop.asking(story, "add", &add).header("idempotency-key", "nine");
    let request = keyed(&story);
    thread::scope(|scope| {
        let holder = scope.spawn(|| shop.database.run(HELD));
        until("the row to be held", || (shop.database.column(HOLDERS) != ["0"]).then_some(()));
        let waiting = scope.spawn(move || request.try_send().is_err());
        until("the statement to wait", || (shop.database.column(waits) == ["1"]).then_some(()));
        story.server.kill();
        assert!(waiting.join().unwrap(), "it was answered");
        shop.database.run(RELEASE);
        assert!(holder.join().is_err());
    });
    story.server.restart();
    // Whose COMMIT never came has done nothing, and that is told once it was asked for.
    let again = until("it is known", || {
        let again = keyed(&story).send();
        (again.at("/happened") != "unknown").then_some(again)
    });
    assert_eq!((again.status, again.at("/happened")), (502, &json!("no")), "{:#}", again.body);
    assert_eq!(shop.database.column("SELECT count(*) FROM orders WHERE id = 9"), ["0"]);
}

/// What became of a lost commit is told to who asks again, after a restart, too.
#[test]
fn a_lost_commit_is_told_of_after_a_restart() {
    let mut story = Story::new(PLACET);
    let proxy = Proxy::before(Cluster::of_this_process().address());
    let shop = shop(&story, ACME, Some(proxy.port()));
    proxy.cut_after(b"COMMIT\0", 1);
    let add = json!({"tenant": "acme", "id": 9, "amount": 2.50, "owner": "ann"});
    let keyed = |story: &Story| shop.asking(story, "add", &add).header("idempotency-key", "nine").send();
    assert_eq!(keyed(&story).expect(502).text("/happened"), "unknown");
    story.server.kill();
    story.server.restart();
    let again = until("it is known", || {
        let again = keyed(&story);
        (again.at("/happened") != "unknown").then_some(again)
    });
    assert_eq!((again.status, again.at("/happened")), (502, &json!("yes")), "{:#}", again.body);
    assert_eq!(shop.database.column("SELECT count(*) FROM orders WHERE id = 9"), ["1"]);
}

/// Statements that wait for others, and are given up, are about what one agent asked for, and not about the database.
#[test]
fn what_an_agent_has_a_database_wait_for_is_not_the_databases_failure() {
    let story = Story::new(PLACET);
    let shop = shop_of(&story, ACME, None, "timeout: 1s\n");
    let upstream = || {
        let listed = story.admin().get("/v1/services").send().expect(200);
        let services = listed.at("/services").as_array().unwrap().clone();
        services.into_iter().find(|it| it["service"] == json!(shop.name)).unwrap()["upstream"].clone()
    };
    assert_eq!(upstream()["concurrency"], json!(8), "as many as a login has sessions");
    thread::scope(|scope| {
        let holder = scope.spawn(|| shop.database.run(HELD));
        until("the row to be held", || (shop.database.column(HOLDERS) != ["0"]).then_some(()));
        for _ in 0..3 {
            let add = json!({"tenant": "acme", "id": 9, "amount": 2.50, "owner": "ann"});
            for answer in together(8, |_| shop.act(&story, "add", &add)) {
                assert_eq!(answer.expect(200).at("/result/status"), &json!(504));
            }
        }
        assert_eq!((&upstream()["state"], &upstream()["agents_kept_away"]), (&json!("closed"), &json!(0)));
        shop.act(&story, "one", &json!({"tenant": "acme", "id": 1})).expect(200);
        shop.database.run(RELEASE);
        assert!(holder.join().is_err());
    });
}

/// Somebody who has the row 9, until they are ended.
const HELD: &str =
    "BEGIN; INSERT INTO orders VALUES (9, 'acme', 1, 'held', 'ann', NULL); SELECT pg_sleep(600); COMMIT";
const HOLDERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep' \
                       AND datname = current_database()";
const RELEASE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
                       AND pid <> pg_backend_pid() AND datname = current_database()";
