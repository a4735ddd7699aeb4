//! The MCP door: what is listed is what can be called, a call is an action like any other, and its answer is one that a
//! model can read.

mod held;
mod wire;

use crate::stage::story;
use placet_testkit::{Answer, Reply, Request, SECRET, Story, fresh, until};
use serde_json::{Value, json};

const ALL: &str = "  - {name: all, allow: [orders.*, notes.*, refunds.*]}\n";
const OLD: &str = "2025-11-25";
const NEW: &str = "2026-07-28";

/// A message to the door, as clients of either revision send it, with what this client can do.
fn message(story: &Story, token: &str, revision: &str, asked: (&str, &Value), can: &Value) -> Request {
    let (method, params) = asked;
    let mut params = params.clone();
    let request = story.client().post("/mcp").bearer(token);
    let request = request.header("accept", "application/json, text/event-stream");
    let mut request = request.header("mcp-protocol-version", revision);
    if revision == NEW {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = revision.into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = can.clone();
        params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        request = request.header("mcp-method", method);
        if let Some(name) = params.get("name").and_then(Value::as_str) {
            request = request.header("mcp-name", name);
        }
    }
    request.json(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
}

fn ask(story: &Story, token: &str, revision: &str, method: &str, params: &Value) -> Answer {
    message(story, token, revision, (method, params), &json!({})).send()
}

/// The result of a call of the tool that this action is.
fn call(story: &Story, token: &str, revision: &str, action: &str, arguments: &Value) -> Value {
    let params = json!({"name": action.replace('.', "__"), "arguments": arguments});
    let answer = ask(story, token, revision, "tools/call", &params).expect(200);
    assert_eq!(answer.at("/id"), 7);
    let result = answer.at("/result").clone();
    assert!(result.is_object(), "{:#}", answer.body);
    let text = result["content"][0]["text"].as_str().unwrap();
    let told: Value = serde_json::from_str(text).unwrap();
    assert_eq!(told, result["structuredContent"], "models read what programs read");
    assert_eq!(result.get("resultType").is_some(), revision == NEW);
    result
}

/// Every tool, over all pages.
fn tools(story: &Story, token: &str, revision: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut params = json!({});
    loop {
        let answer = ask(story, token, revision, "tools/list", &params).expect(200);
        found.extend(answer.at("/result/tools").as_array().unwrap().iter().cloned());
        match answer.body["result"].get("nextCursor") {
            Some(cursor) => params["cursor"] = cursor.clone(),
            None => return found,
        }
    }
}

/// The actions that these tools are. Models take no other names than these.
fn names(tools: &[Value]) -> Vec<String> {
    let usual = |name: &str| {
        name.len() <= 64 && name.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char))
    };
    let action = |tool: &Value| {
        let name = tool["name"].as_str().unwrap();
        assert!(usual(name), "{name}");
        name.replace("__", ".")
    };
    tools.iter().map(action).collect()
}

fn entries<'a>(record: &'a [Value], agent: &str) -> Vec<&'a Value> {
    record.iter().filter(|entry| entry["agent"] == agent).collect()
}

#[test]
fn a_call_is_an_action_and_its_answer_is_text_and_structure() {
    let story = story();
    let (agent, token) = story.ready(ALL);
    for revision in [OLD, NEW] {
        let customer = fresh("c");
        let path = format!("/customers/{customer}/orders/1");
        story.shop.reply(&path, Reply::json(200, &json!({"id": "1", "total": 12})).header("etag", "\"7\""));
        let arguments = json!({"customer_id": customer, "order_id": "1"});
        let result = call(story, &token, revision, "orders.read", &arguments);
        assert_eq!(result["isError"], false);
        assert_eq!(result["structuredContent"], json!({"status": 200, "body": {"id": "1", "total": 12}}));
        assert_eq!(result["_meta"]["placet/headers"]["etag"], "\"7\"");
        let action = result["_meta"]["placet/action"].as_str().unwrap().to_owned();
        until("the outcome", || {
            let shown =
                story.client().get(&format!("/v1/actions/{action}")).bearer(&token).send().expect(200);
            (shown.at("/status") == "done").then_some(())
        });
        let seen = story.shop.seen_at(&path);
        assert_eq!(seen.len(), 1);
        // The upstream's credential, and nothing of the agent's.
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        let all = format!("{:?} {:?}", seen[0].headers, seen[0].body);
        assert!(!all.contains(&token) && !all.to_lowercase().contains("mcp"), "{all}");
        // What upstream refuses is a result too, that says so.
        story.shop.reply(&path, Reply::json(404, &json!({"error": "gone"})));
        let result = call(story, &token, revision, "orders.read", &arguments);
        assert_eq!((&result["isError"], &result["structuredContent"]["status"]), (&json!(true), &json!(404)));
    }
    // The outcomes ride later group commits.
    let doors = until("two intents and two outcomes of each revision", || {
        let record = story.record();
        let found = entries(&record, &agent.id);
        let found = found.into_iter().filter(|entry| entry["type"].as_str().unwrap().starts_with("action."));
        let doors: Vec<Value> = found.map(|entry| entry["door"].clone()).collect();
        (doors.len() == 8).then_some(doors)
    });
    assert!(doors.iter().all(|door| door == "mcp"), "{doors:?}");
    // The other doors have names as well.
    story.act(&token, "orders.list", &json!({"customer_id": "1"})).expect(200);
    story.client().get("/proxy/shop-main/customers/1/orders").bearer(&token).send().expect(200);
    let record = story.record();
    for door in ["action", "proxy"] {
        let found = entries(&record, &agent.id).into_iter().any(|entry| entry["door"] == door);
        assert!(found, "{door}");
    }
}

#[test]
fn a_secret_that_upstream_repeats_is_not_in_the_result() {
    let story = story();
    let (_, token) = story.ready(ALL);
    let customer = fresh("c");
    let path = format!("/customers/{customer}/orders/1");
    let reply = Reply::json(200, &json!({"echo": format!("Bearer {SECRET}")})).header("x-echo", SECRET);
    story.shop.reply(&path, reply);
    let result = call(story, &token, NEW, "orders.read", &json!({"customer_id": customer, "order_id": "1"}));
    assert_eq!(result["isError"], false);
    assert!(!result.to_string().contains(SECRET), "{result}");
}

/// What a policy makes of an answer holds here as well.
#[test]
fn a_result_is_shaped_as_at_every_door() {
    let story = story();
    let (_, token) = story.ready("  - {name: r, allow: [orders.read], shape: {redact: [\"$.card\"]}}\n");
    let customer = fresh("c");
    let path = format!("/customers/{customer}/orders/1");
    story.shop.reply(&path, Reply::json(200, &json!({"id": "1", "card": "4111-1111"})));
    let arguments = json!({"customer_id": customer, "order_id": "1"});
    let result = call(story, &token, OLD, "orders.read", &arguments);
    assert!(!result.to_string().contains("4111"), "{result}");
    let direct = story.act(&token, "orders.read", &arguments).expect(200);
    assert_eq!(&result["structuredContent"]["body"], direct.at("/result/body"));
}

/// Listing and calling are one judgement: whatever policies say, what the catalog has as usable is a tool, what is no tool
/// can't be called, and what is listed as certain can.
#[test]
fn what_is_listed_is_what_can_be_called() {
    let story = story();
    let customer = fresh("skew");
    let arguments = [
        ("notes.write", json!({"customer_id": customer, "text": "x"})),
        ("orders.delete", json!({"customer_id": customer, "order_id": "1"})),
        ("orders.list", json!({"customer_id": customer})),
        ("orders.read", json!({"customer_id": customer, "order_id": "1"})),
        ("refunds.create", json!({"customer_id": customer, "order_id": "1", "amount": 5, "currency": "USD"})),
    ];
    let rules = [
        ALL,
        "  - {name: r, allow: [orders.read]}\n",
        "  - {name: r, allow: [orders.*]}\n  - {name: d, deny: [orders.delete]}\n",
        "  - {name: r, allow: [orders.*, refunds.*], when: [params.amount <= 100]}\n",
        "  - {name: a, allow: [\"**\"], when: [agent.labels.team == 'nobody']}\n",
        "  - {name: w, allow: [notes.write], on: [\"order://customer:nobody/**\"]}\n",
        "  - {name: all, allow: [orders.*]}\n  - {name: g, guard: [\"**\"], when: [user.id == 'usr_x']}\n",
        // At no minute is it both of these, so that one of the two is closed whenever this runs.
        "  - {name: a, allow: [orders.list], hours: {days: mon-sun, from: \"00:00\", to: \"12:00\", zone: UTC}}\n  - {name: b, allow: [orders.read], hours: {days: mon-sun, from: \"12:00\", to: \"00:00\", zone: UTC}}\n",
        "  - {name: held, allow: [notes.write], approve: {by: [\"role:support-lead\"]}}\n",
    ];
    for rules in rules {
        let (_, token) = story.ready(rules);
        let listed = tools(story, &token, OLD);
        assert_eq!(listed, tools(story, &token, NEW));
        let listed = names(&listed);
        assert!(listed.is_sorted(), "{listed:?}");
        let catalog = story.client().get("/v1/catalog?limit=100").bearer(&token).send().expect(200);
        for (name, arguments) in &arguments {
            let entries = catalog.at("/actions").as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["action"] == *name);
            let is_listed = listed.iter().any(|one| one == name);
            if is_listed {
                let entry =
                    entry.unwrap_or_else(|| panic!("{name} is a tool and not in the catalog: {rules}"));
                assert_ne!(entry["decision"], "not_granted");
            }
            let result = call(story, &token, NEW, name, arguments);
            let done = result["isError"] == false;
            assert!(is_listed || !done, "{name} is no tool and was carried out: {rules}");
            let certain = entry.is_some_and(|entry| entry["decision"] == "allowed");
            assert!(done || !certain, "{name} is certain and was refused: {rules} {result}");
            assert!(is_listed || !certain, "{name} is certain and no tool: {rules}");
        }
        if rules.contains("hours") {
            assert_eq!(listed.len(), 1, "{listed:?}");
        }
        if rules.contains("nobody'") || rules.contains("guard") {
            assert!(listed.is_empty(), "{listed:?}");
        }
    }
}

#[test]
fn a_refusal_is_a_result_with_its_code_and_what_would_do() {
    let story = story();
    let (agent, token) = story.ready(
        "  - {name: small, allow: [refunds.create], when: [params.amount <= 100]}\n  - {name: r, allow: [orders.*], limits: [{count: 1, per: day}]}\n",
    );
    let customer = fresh("c");
    let refund = json!({"customer_id": customer, "order_id": "1", "amount": 750, "currency": "USD"});
    for revision in [OLD, NEW] {
        let result = call(story, &token, revision, "refunds.create", &refund);
        assert_eq!(result["isError"], true);
        let told = &result["structuredContent"];
        assert_eq!(told["code"], "condition_failed");
        assert_eq!(told["reasons"][0]["remedy"], json!({"params.amount": {"max": 100}}));
        let direct = story.act(&token, "refunds.create", &refund).refused(403, "condition_failed");
        assert_eq!(&told["reasons"], direct.at("/reasons"));
    }
    assert_eq!(story.shop.count(&format!("/customers/{customer}/")), 0);
    // Arguments that are not the tool's.
    for arguments in [
        json!({}),
        json!({"customer_id": customer, "order_id": "1", "x": 1}),
        json!({"customer_id": "..", "order_id": "1"}),
    ] {
        let result = call(story, &token, OLD, "orders.read", &arguments);
        assert_eq!(result["structuredContent"]["code"], "params_invalid", "{arguments}");
    }
    let order = json!({"customer_id": customer, "order_id": "1"});
    assert_eq!(call(story, &token, OLD, "orders.read", &order)["isError"], false);
    let spent = call(story, &token, OLD, "orders.read", &order);
    assert_eq!(spent["structuredContent"]["code"], "limit_exceeded");
    assert_eq!(
        call(story, &token, OLD, "notes.write", &json!({"customer_id": customer, "text": "x"}))["structuredContent"]
            ["code"],
        "no_rule"
    );
    let record = story.record();
    let denied: Vec<_> = entries(&record, &agent.id)
        .into_iter()
        .filter(|entry| entry["type"] == "decision.deny" && entry["door"] == "mcp")
        .map(|entry| entry["codes"][0].as_str().unwrap().to_owned())
        .collect();
    for code in ["condition_failed", "limit_exceeded", "no_rule"] {
        assert!(denied.iter().any(|known| known == code), "{code}: {denied:?}");
    }
}

#[test]
fn what_an_agent_may_not_know_of_is_told_as_what_does_not_exist() {
    let story = story();
    let narrow = story.agent(&fresh("agent-")).with("allowed_tools", json!(["orders.read"])).register();
    story.rules(&narrow.handle, ALL).expect(201);
    let token = narrow.token(&story.client(), "orders.read");
    assert_eq!(names(&tools(story, &token, OLD)), ["orders.read"]);
    let told = |name: &str| {
        let params = json!({"name": name, "arguments": {"customer_id": "1"}});
        let answer = ask(story, &token, NEW, "tools/call", &params).expect(200);
        assert_eq!(answer.at("/error/code"), -32602);
        assert!(answer.header("www-authenticate").is_none());
        answer.text("/error/message").replace(name, "…")
    };
    let nothing = told("nothing__there");
    assert_eq!(nothing, "Unknown tool: …");
    for hidden in ["orders__list", "refunds__create", "orders.read", "not a name", "a..b"] {
        assert_eq!(told(hidden), nothing, "{hidden}");
    }
    // But it is recorded that it was tried.
    let record = story.record();
    let tried = entries(&record, &narrow.id);
    assert!(tried.iter().any(|entry| entry["action"] == "refunds.create" && entry["door"] == "mcp"));
}

#[test]
fn a_scope_that_the_token_lacks_is_asked_for_by_a_challenge() {
    let story = story();
    let (agent, _) = story.ready(ALL);
    let token = agent.token(&story.client(), "orders.read");
    assert_eq!(names(&tools(story, &token, NEW)), ["orders.read"]);
    let arguments = json!({"customer_id": fresh("c"), "text": "x"});
    let params = json!({"name": "notes__write", "arguments": arguments});
    let refused = ask(story, &token, NEW, "tools/call", &params).expect(403);
    let challenge = refused.header("www-authenticate").unwrap();
    let issuer = story.server.base();
    for part in [
        "Bearer ",
        "error=\"insufficient_scope\"",
        "scope=\"notes.write\"",
        &format!("resource_metadata=\"{issuer}/.well-known/oauth-protected-resource/mcp\""),
    ] {
        assert!(challenge.contains(part), "{challenge}");
    }
    assert_eq!((refused.at("/id"), refused.at("/error/data/code")), (&json!(7), &json!("not_granted")));
    let stepped = agent.token(&story.client(), "orders.read notes.write");
    assert_eq!(call(story, &stepped, NEW, "notes.write", &arguments)["isError"], false);
}

#[test]
fn where_there_are_several_accounts_the_call_says_which() {
    let story = Story::new(crate::stage::PLACET);
    story.connection("shop-other", "shop", &json!({})).expect(201);
    let (_, token) = story.ready(ALL);
    let listed = tools(&story, &token, NEW);
    let read = listed.iter().find(|tool| tool["name"] == "orders__read").unwrap();
    let schema = &read["inputSchema"];
    assert_eq!(schema["properties"]["placet.connection"]["enum"], json!(["shop-main", "shop-other"]));
    assert!(schema["required"].as_array().unwrap().contains(&json!("placet.connection")));
    let mut arguments = json!({"customer_id": "1", "order_id": "1"});
    let which = call(&story, &token, NEW, "orders.read", &arguments);
    assert_eq!(which["structuredContent"]["code"], "params_invalid");
    arguments["placet.connection"] = "shop-other".into();
    assert_eq!(call(&story, &token, NEW, "orders.read", &arguments)["isError"], false);
    arguments["placet.connection"] = "shop-nobody".into();
    assert_eq!(
        call(&story, &token, NEW, "orders.read", &arguments)["structuredContent"]["code"],
        "not_granted"
    );
    let record = story.record();
    let through: Vec<_> = record.iter().filter(|entry| entry["type"] == "action.intent").collect();
    assert_eq!(through.len(), 1);
    let listed = story.admin().get("/v1/connections").send().expect(200);
    let listed = listed.at("/connections").as_array().unwrap();
    let other = listed.iter().find(|one| one["name"] == "shop-other").unwrap();
    assert_eq!(through[0]["connection"], other["id"]);
}

#[test]
fn tools_are_listed_page_by_page_and_a_wrong_cursor_is_refused() {
    let story = Story::new(crate::stage::PLACET);
    let actions: String = (0..230)
        .map(|index| {
            format!("  bulk.a{index:03}: {{method: GET, path: /bulk/{index}, resource: \"order://bulk/{index}\", effect: read}}\n")
        })
        .collect();
    let base = story.shop.base();
    story
        .service(
            "bulk",
            &format!("service: bulk\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n{actions}"),
        )
        .expect(201);
    story.connection("bulk-main", "bulk", &json!({})).expect(201);
    let agent = story.agent("reader").with("allowed_tools", json!(["bulk.*"])).register();
    story.rules("reader", "  - {name: all, allow: [bulk.*]}\n").expect(201);
    let token = agent.token(&story.client(), "bulk.*");
    let found = tools(&story, &token, NEW);
    let expected: Vec<String> = (0..230).map(|index| format!("bulk.a{index:03}")).collect();
    assert_eq!(names(&found), expected.iter().map(String::as_str).collect::<Vec<_>>());
    let first = ask(&story, &token, NEW, "tools/list", &json!({})).expect(200);
    assert_eq!(first.at("/result/tools").as_array().unwrap().len(), 100);
    assert_eq!((first.at("/result/ttlMs"), first.at("/result/cacheScope")), (&json!(0), &json!("private")));
    for cursor in [json!("*"), json!(7), json!(null), json!("bulk.a003")] {
        let answer = ask(&story, &token, NEW, "tools/list", &json!({"cursor": cursor})).expect(200);
        assert_eq!(answer.at("/error/code"), -32602, "{cursor}");
    }
}

/// What is revoked is neither listed nor called any more, and the client is told to get a new token.
#[test]
fn a_token_that_is_revoked_opens_nothing() {
    let story = story();
    let (agent, token) = story.ready(ALL);
    assert!(!tools(story, &token, NEW).is_empty());
    let revoke = [("token", token.as_str())];
    story.client().post("/oauth/revoke").basic(&agent.id, &agent.secret).form(&revoke).send().expect(200);
    for (method, params) in [
        ("tools/list", json!({})),
        ("tools/call", json!({"name": "orders__read", "arguments": {"customer_id": "1", "order_id": "1"}})),
        ("server/discover", json!({})),
    ] {
        let refused = ask(story, &token, NEW, method, &params).expect(401);
        assert!(
            refused.header("www-authenticate").unwrap().contains("/.well-known/oauth-protected-resource/mcp")
        );
    }
}
