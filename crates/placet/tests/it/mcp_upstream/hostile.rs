//! Servers that break, lie, ask and repeat: nothing that they say is taken for more than it is.

use super::{ALL, Given, Server, State, act, call, server::answer, state, tool};
use crate::stage::story;
use placet_testkit::{Answer, Gate, Reply, SECRET, Story, until};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A server whose tool `read` was accepted, an agent's token, and its action.
fn ready(story: &Story, state: State, rules: &str) -> (Server, String, String) {
    let server = Server::of(story, state);
    server.set(|state| state.tools.truncate(2));
    server.accept(story);
    let token = server.agent(story, rules);
    let action = format!("{}.read", server.service);
    (server, token, action)
}

fn happened(answer: &Answer) -> (&str, &str) {
    (answer.body["code"].as_str().unwrap_or_default(), answer.body["happened"].as_str().unwrap_or_default())
}

fn answered(id: Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn said(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

#[test]
fn an_answer_to_something_else_is_none() {
    let story = story();
    for stateless in [true, false] {
        let (server, token, read) = ready(story, state(stateless, false), ALL);
        let wrong = answered(json!(987_654), said("wrong"));
        let event = |message: &Value| Reply::bytes(200, "text/event-stream", format!("data: {message}\n\n"));
        for given in [
            Given::Other(Reply::json(200, &wrong)),
            Given::Other(event(&wrong)),
            Given::Other(Reply::json(200, &json!([wrong]))),
            Given::Other(Reply::bytes(200, "text/html", "<p>hello</p>")),
            Given::Other(Reply::bytes(200, "text/event-stream", "data: {")),
            Given::Other(Reply::status(202)),
            Given::Other(Reply::hang_up()),
            Given::Events(vec![
                json!({"jsonrpc": "2.0", "id": "ID", "result": said("x"), "error": {"code": 1}}),
            ]),
            Given::Events(vec![
                json!({"jsonrpc": "2.0", "id": "ID", "method": "tools/call", "result": said("x")}),
            ]),
            Given::Events(vec![json!({"jsonrpc": "2.0", "id": "ID", "result": "x"})]),
        ] {
            server.give("read", given);
            let answer = act(story, &token, &read, &json!({}));
            assert_eq!(answer.status, 502, "{:#}", answer.body);
            assert_eq!(happened(&answer), ("upstream_unreachable", "unknown"), "{:#}", answer.body);
        }
        // The first that answers counts, and what comes before and after it is nothing.
        server.give(
            "read",
            Given::Events(vec![
                wrong,
                json!("no message"),
                answered(json!("ID"), said("first")),
                answered(json!("ID"), said("second")),
            ]),
        );
        let result = call(story, &token, &read, &json!({}));
        assert_eq!(result["content"][0]["text"], "first");
    }
}

#[test]
fn what_is_too_long_is_read_no_further() {
    let story = story();
    let (server, token, read) = ready(story, state(true, false), ALL);
    let long = "x".repeat(3 << 20);
    let event = format!("data: {}\n\n", answered(json!(1), said(&long)));
    for reply in [
        Reply::json(200, &answered(json!(1), said(&long))),
        Reply::bytes(200, "text/event-stream", event),
        Reply::bytes(200, "text/event-stream", format!(": {long}\n\n")),
    ] {
        server.give("read", Given::Other(reply));
        let answer = act(story, &token, &read, &json!({}));
        assert_eq!(happened(&answer), ("upstream_unreadable", "yes"), "{:#}", answer.body);
    }
    // So with a list of tools: what was said before stands.
    let mut tools = vec![tool("read", "Reads")];
    tools.extend((0..1001).map(|index| tool(&format!("t{index}"), "x")));
    server.set(|state| state.tools = tools);
    let path = format!("/v1/services/{}/tools", server.service);
    let refused = story.admin().post(&path).json(&json!({})).send();
    assert!((500..600).contains(&refused.status), "{:#}", refused.body);
    server.give("read", Given::Result(said("still")));
    assert_eq!(call(story, &token, &read, &json!({}))["content"][0]["text"], "still");
    // And one that says two things of one tool says nothing.
    server.set(|state| state.tools = vec![tool("read", "Reads"), tool("read", "Other")]);
    assert_eq!(story.admin().post(&path).json(&json!({})).send().status, 502);
}

#[test]
fn the_credential_is_in_no_answer() {
    let story = story();
    for events in [false, true] {
        let (server, token, read) = ready(story, state(true, events), ALL);
        let echo = json!({"content": [{"type": "text", "text": format!("key {SECRET}")}], "structuredContent": {(SECRET): [SECRET]},
            "_meta": {"placet/action": "act_forged", "note": SECRET}});
        server.give("read", Given::Result(echo));
        let result = call(story, &token, &read, &json!({}));
        assert!(!result.to_string().contains(SECRET), "{result:#}");
        assert_ne!(result["_meta"]["placet/action"], "act_forged");
        let error = json!({"jsonrpc": "2.0", "id": "ID", "error": {"code": -32000, "message": SECRET, "data": {"at": SECRET}}});
        server.give("read", Given::Events(vec![error]));
        let answer = act(story, &token, &read, &json!({})).expect(200);
        assert_eq!(answer.at("/result/status"), 500);
        assert!(!answer.body.to_string().contains(SECRET), "{:#}", answer.body);
        server.give("read", Given::Other(Reply::bytes(401, "text/plain", format!("bad key {SECRET}"))));
        let answer = act(story, &token, &read, &json!({})).expect(200);
        assert!(answer.at("/result/status") == 401 && !answer.body.to_string().contains(SECRET));
        // What a tool is said to be is shown to people, and kept.
        server.set(|state| state.tools = vec![tool("read", SECRET)]);
        let told = server.tools(story, &json!({}));
        assert!(!told.to_string().contains(SECRET), "{told:#}");
    }
}

#[test]
fn what_is_refused_has_not_happened_and_what_failed_may_have() {
    let story = story();
    let once = "  - {name: once, allow: ['SERVICE.*'], limits: [{count: 1, per: day}]}\n";
    let (server, token, read) = ready(story, state(true, false), once);
    for code in [-32602, -32601, -32700] {
        server.give("read", Given::Error(code));
        let result = call(story, &token, &read, &json!({}));
        assert_eq!(
            (&result["isError"], &result["structuredContent"]["body"]["error"]["code"]),
            (&json!(true), &json!(code))
        );
    }
    // A tool that says it failed was carried out.
    server.give("read", Given::Result(json!({"content": [], "isError": true})));
    assert_eq!(
        until("the last refusal to be given back", || {
            let result = call(story, &token, &read, &json!({}));
            (result["structuredContent"]["code"] != "limit_exceeded").then_some(result)
        })["isError"],
        true
    );
    let result = call(story, &token, &read, &json!({}));
    assert_eq!(result["structuredContent"]["code"], "limit_exceeded", "{result:#}");
}

#[test]
fn threat_11_what_a_server_asks_of_its_client_is_refused() {
    let story = story();
    let (server, token, read) = ready(story, state(false, false), ALL);
    let asks =
        |method: &str| json!({"jsonrpc": "2.0", "id": method, "method": method, "params": {"messages": []}});
    let methods = ["sampling/createMessage", "elicitation/create", "roots/list"];
    let mut all: Vec<Value> = methods.iter().map(|method| asks(method)).collect();
    all.push(answered(json!("ID"), said("done")));
    server.give("read", Given::Events(all));
    assert_eq!(call(story, &token, &read, &json!({}))["content"][0]["text"], "done");
    let answers: Vec<Value> =
        server.upstream.seen_at("/mcp").iter().map(placet_testkit::Seen::json).collect();
    for method in methods {
        let answer = answers.iter().find(|it| it["id"] == method).unwrap();
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    // In the other revision it is the result that asks.
    let (server, token, read) = ready(story, state(true, false), ALL);
    let asks = json!({"jsonrpc": "2.0", "id": "ID", "result": {"resultType": "input_required", "inputRequests": {"a": asks("elicitation/create")}}});
    server.give("read", Given::Events(vec![asks]));
    let result = call(story, &token, &read, &json!({}));
    assert_eq!((&result["isError"], &result["structuredContent"]["status"]), (&json!(true), &json!(409)));
}

#[test]
fn a_server_that_does_not_agree_is_asked_nothing() {
    let story = story();
    let (server, token, read) = ready(story, state(false, false), ALL);
    act(story, &token, &read, &json!({})).expect(200);
    let calls = server.came("tools/call").len();
    // Sessions are lost, and what comes to `initialize` is no answer any more.
    server.set(|state| state.sessions.clear());
    server.upstream.answer("/mcp", |seen| match seen.json()["method"].as_str() {
        Some("initialize") => Reply::json(
            200,
            &json!({"jsonrpc": "2.0", "id": seen.json()["id"], "result": {"protocolVersion": "1999-01-01"}}),
        ),
        _ => Reply::json(
            404,
            &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "no session"}}),
        ),
    });
    let answer = act(story, &token, &read, &json!({}));
    assert_eq!(
        (answer.status, happened(&answer)),
        (502, ("upstream_unreachable", "no")),
        "{:#}",
        answer.body
    );
    assert_eq!(server.came("tools/call").len(), calls + 1, "the one that was refused");
}

#[test]
fn what_a_handshake_is_answered_with_is_no_answer_to_the_call() {
    let story = story();
    let (server, token, read) = ready(story, state(false, false), ALL);
    act(story, &token, &read, &json!({})).expect(200);
    let calls = server.came("tools/call").len();
    let error = json!({"code": -32602, "message": "no such version"});
    for (status, said) in [
        (200, json!({"jsonrpc": "2.0", "error": error})),
        (400, json!({"jsonrpc": "2.0", "error": error})),
        (401, json!({"jsonrpc": "2.0", "result": {"content": []}})),
        (500, json!({"error": "down"})),
        (200, json!({"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": "done"}]}})),
    ] {
        server.upstream.answer("/mcp", move |seen| {
            let id = &seen.json()["id"];
            if seen.json()["method"] != "initialize" {
                let error = json!({"code": -32001, "message": "no session"});
                return Reply::json(404, &json!({"jsonrpc": "2.0", "id": null, "error": error}));
            }
            let mut said = said.clone();
            said["id"] = id.clone();
            Reply::json(status, &said)
        });
        let answer = act(story, &token, &read, &json!({}));
        assert_eq!(
            (answer.status, happened(&answer)),
            (502, ("upstream_unreachable", "no")),
            "{status}: {:#}",
            answer.body
        );
    }
    // What it was sent was refused for its session, before; nothing else was sent.
    assert_eq!(server.came("tools/call").len(), calls + 1);
    // That it does not take who asks is what the caller is told.
    server.upstream.answer("/mcp", |_| Reply::bytes(401, "text/plain", "who is it"));
    let answer = act(story, &token, &read, &json!({})).expect(200);
    assert_eq!(answer.at("/result/status"), 401, "{:#}", answer.body);
}

#[test]
fn a_list_that_was_overtaken_does_not_undo_the_newer_one() {
    let story = story();
    let (server, ..) = ready(story, state(true, false), ALL);
    let says = |description: &'static str| server.set(|state| state.tools = vec![tool("read", description)]);
    // The next list is as it is then, and comes after the one that is asked for later.
    says("Second");
    let (gate, taken) = (Gate::shut(), Arc::new(AtomicBool::new(false)));
    let (shared, late, first) = (Arc::clone(&server.state), gate.clone(), Arc::clone(&taken));
    server.upstream.answer("/mcp", move |seen| {
        let reply = answer(&mut shared.lock().unwrap(), seen);
        let is_first = seen.json()["method"] == "tools/list" && !first.swap(true, Ordering::SeqCst);
        if is_first { reply.after(&late) } else { reply }
    });
    std::thread::scope(|scope| {
        scope.spawn(|| server.look(story));
        until("the first to be asked", || taken.load(Ordering::SeqCst).then_some(()));
        says("Third");
        server.look(story);
        gate.open();
    });
    let path = format!("/v1/services/{}/tools", server.service);
    let told = story.admin().get(&path).send().expect(200).body;
    assert_eq!(told["tools"][0]["definition"]["description"], "Third", "{told:#}");
}
