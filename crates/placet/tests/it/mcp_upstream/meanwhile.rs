//! What a server says of a call before it answers, and calls that are called off.

use super::server::Given;
use super::{ALL, NEW, OLD, Server, state};
use crate::stage::story;
use placet_testkit::{Gate, Reply, SECRET, Story, until};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

fn notice(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params})
}

fn progress(token: Value, at: u32) -> Value {
    notice(
        "progress",
        json!({"progressToken": token, "progress": at, "total": 2, "message": format!("with {SECRET}")}),
    )
}

fn answered() -> Value {
    json!({"jsonrpc": "2.0", "id": "ID", "result": {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}})
}

/// The messages that a call of `read` is answered with, and whether as events.
fn told(
    story: &Story,
    server: &Server,
    token: &str,
    version: &str,
    meta: Value,
    accept: &str,
) -> (bool, Vec<Value>) {
    let name = format!("{}__read", server.service);
    let mut params = json!({"name": name, "arguments": {}, "_meta": meta});
    if version == NEW {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = NEW.into();
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    }
    let body = json!({"jsonrpc": "2.0", "id": "mine", "method": "tools/call", "params": params});
    let request = story.client().post("/mcp").bearer(token).header("mcp-protocol-version", version);
    let request =
        request.header("accept", accept).header("mcp-method", "tools/call").header("mcp-name", &name);
    let answer = request.json(&body).send().expect(200);
    if answer.header("content-type") == Some("application/json") {
        return (false, vec![answer.body]);
    }
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let events = text.split("\n\n").filter_map(|event| event.split("data: ").nth(1));
    (true, events.map(|data| serde_json::from_str(data).unwrap()).collect())
}

const BOTH: &str = "application/json, text/event-stream";

#[test]
fn progress_and_log_messages_come_before_the_answer() {
    let story = story();
    for stateless in [true, false] {
        let server = Server::of(story, state(stateless, false));
        server.accept(story);
        let token = server.agent(story, ALL);
        let log =
            |level: &str| notice("message", json!({"level": level, "data": {"of": SECRET}, "logger": "l"}));
        server.give(
            "read",
            Given::Events(vec![
                progress("ID".into(), 1),
                progress(json!("another"), 9),
                log("debug"),
                log("warning"),
                progress("ID".into(), 2),
                answered(),
            ]),
        );
        let (events, all) = told(story, &server, &token, OLD, json!({"progressToken": "p"}), BOTH);
        assert!(events);
        let kinds: Vec<&str> = all.iter().map(|one| one["method"].as_str().unwrap_or("answer")).collect();
        assert_eq!(
            kinds,
            ["notifications/progress", "notifications/message", "notifications/progress", "answer"]
        );
        assert_eq!(
            (&all[0]["params"]["progressToken"], &all[0]["params"]["progress"]),
            (&json!("p"), &json!(1))
        );
        assert_eq!(all[1]["params"]["level"], "warning");
        assert_eq!(
            (&all[3]["id"], &all[3]["result"]["content"][0]["text"]),
            (&json!("mine"), &json!("done"))
        );
        assert!(!json!(all).to_string().contains(SECRET), "{all:#?}");
        // Upstream it is a token of Placet's own.
        let sent = server.came("tools/call").pop().unwrap();
        assert_eq!(sent["params"]["_meta"]["progressToken"], sent["id"]);
        // Who takes no events, or wants nothing, gets one message.
        for (version, meta, accept) in
            [(OLD, json!({"progressToken": 1}), "application/json"), (NEW, json!({}), BOTH)]
        {
            let (events, all) = told(story, &server, &token, version, meta, accept);
            assert_eq!(
                (events, all.len(), &all[0]["result"]["isError"]),
                (false, 1, &json!(false)),
                "{version}"
            );
            assert!(
                server.came("tools/call").pop().unwrap()["params"]["_meta"].get("progressToken").is_none()
            );
        }
        // In the newer revision only who asks is told what is logged, and from there on.
        let asks = json!({"io.modelcontextprotocol/logLevel": "debug"});
        let (events, all) = told(story, &server, &token, NEW, asks, BOTH);
        assert_eq!((events, all.len()), (true, 3), "{all:#?}");
        let sent = server.came("tools/call").pop().unwrap();
        let level = &sent["params"]["_meta"]["io.modelcontextprotocol/logLevel"];
        assert_eq!(level, &if stateless { json!("debug") } else { json!(null) });
        for wrong in [json!({"progressToken": {}}), json!({"io.modelcontextprotocol/logLevel": "loud"})] {
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": format!("{}__read", server.service), "_meta": wrong}});
            let request = story.client().post("/mcp").bearer(&token).header("accept", BOTH);
            assert_eq!(request.json(&body).send().expect(400).at("/error/code"), -32602, "{wrong}");
        }
    }
}

#[test]
fn nothing_is_said_meanwhile_of_what_rules_shape() {
    let story = story();
    let server = Server::of(story, state(true, false));
    server.accept(story);
    let token = server.agent(story, "  - {name: all, allow: ['SERVICE.*'], shape: {redact: ['$.card']}}\n");
    let result = json!({"content": [], "structuredContent": {"card": "4111", "id": 1}});
    let answer = json!({"jsonrpc": "2.0", "id": "ID", "result": result});
    let said = notice("message", json!({"level": "error", "data": "card 4111"}));
    server.give("read", Given::Events(vec![said, progress("ID".into(), 1), answer]));
    let (events, all) = told(story, &server, &token, OLD, json!({"progressToken": 1}), BOTH);
    assert_eq!((events, &all[0]["result"]["structuredContent"]["id"]), (false, &json!(1)), "{all:#?}");
    assert!(!json!(all).to_string().contains("4111"));
}

/// How the last action of the service's ended, once it has.
fn outcome(story: &Story, server: &Server) -> Value {
    let name = format!("{}.read", server.service);
    until("the action to end", || {
        let record = story.record();
        let mut of_it = record.iter().filter(|entry| entry["action"] == *name);
        of_it.rfind(|entry| entry["type"] == "action.outcome").cloned()
    })
}

#[test]
fn what_is_called_off_is_told_upstream_and_nobody_knows_whether_it_happened() {
    let story = story();
    let server = Server::of(story, state(false, false));
    server.accept(story);
    let (token, other) = (server.agent(story, ALL), server.agent(story, ALL));
    let gate = Gate::shut();
    server.give("read", Given::Other(Reply::json(200, &json!({})).after(&gate)));
    let call_off = |token: &str, id: Value| {
        let body =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        let request = story.client().post("/mcp").bearer(token).header("mcp-protocol-version", OLD);
        request.json(&body).send().expect(202);
    };
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| super::call(story, &token, &format!("{}.read", server.service), &json!({})));
        until("the call to be there", || (!server.came("tools/call").is_empty()).then_some(()));
        // What others say of theirs, and of what is not there, is about nothing.
        call_off(&other, json!(7));
        call_off(&token, json!("7"));
        call_off(&token, json!(8));
        assert!(server.came("notifications/cancelled").is_empty() && !waiting.is_finished());
        call_off(&token, json!(7));
        let told = waiting.join().unwrap();
        assert_eq!(
            (&told["isError"], &told["structuredContent"]["happened"]),
            (&json!(true), &json!("unknown"))
        );
    });
    let withdrawn = until("the server to be told", || server.came("notifications/cancelled").pop());
    assert_eq!(withdrawn["params"]["requestId"], server.came("tools/call")[0]["id"]);
    assert_eq!(outcome(story, &server)["outcome"], "unknown");
    gate.open();
}

#[test]
fn who_goes_away_calls_off_in_the_newer_revision_and_nothing_in_the_older() {
    let story = story();
    for (version, ends) in [(NEW, "unknown"), (OLD, "done")] {
        let server = Server::of(story, state(true, false));
        server.accept(story);
        let token = server.agent(story, ALL);
        let gate = Gate::shut();
        let answer = json!({"content": [{"type": "text", "text": "done"}]});
        // Its id is that of the only call: what was agreed before was counted first.
        let service = server.service.clone();
        let shared = std::sync::Arc::clone(&server.state);
        let held = gate.clone();
        server.upstream.answer("/mcp", move |seen| {
            let message = seen.json();
            if message["method"] != "tools/call" {
                return super::server::answer(&mut shared.lock().unwrap(), seen);
            }
            let told = json!({"jsonrpc": "2.0", "id": message["id"], "result": answer});
            Reply::json(200, &told).after(&held)
        });
        let name = format!("{service}__read");
        let mut params = json!({"name": name, "arguments": {}});
        if version == NEW {
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": NEW, "io.modelcontextprotocol/clientCapabilities": {}});
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let address = story.client().base().strip_prefix("http://").unwrap().to_owned();
        let mut client = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             accept: {BOTH}\r\nmcp-protocol-version: {version}\r\nmcp-method: tools/call\r\nmcp-name: {name}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(body.as_bytes()).unwrap();
        until("the call to be there", || (!server.came("tools/call").is_empty()).then_some(()));
        drop(client);
        if version == OLD {
            gate.open();
        }
        assert_eq!(outcome(story, &server)["outcome"], ends, "{version}");
        gate.open();
    }
}

#[test]
fn a_client_that_reads_hears_of_progress_while_the_call_goes_on() {
    let story = story();
    let server = Server::of(story, state(true, false));
    server.accept(story);
    let token = server.agent(story, ALL);
    // A server whose answer comes in pieces.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (go, went) = std::sync::mpsc::channel::<()>();
    let pieces = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(message) = request(&mut stream) else { continue };
            let id = &message["id"];
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type:";
            let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
            if message["method"] == "server/discover" {
                let body =
                    result(json!({"supportedVersions": [NEW], "capabilities": {"tools": {}}})).to_string();
                write!(stream, "{head} application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                    .unwrap();
            } else if message["method"] == "tools/list" {
                let body = result(json!({"tools": [super::tool("read", "Reads")]})).to_string();
                write!(stream, "{head} application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                    .unwrap();
            } else {
                let first = progress(id.clone(), 1);
                write!(stream, "{head} text/event-stream\r\n\r\ndata: {first}\n\n").unwrap();
                stream.flush().unwrap();
                went.recv().unwrap();
                let last = result(json!({"content": []}));
                write!(stream, "data: {last}\n\n").unwrap();
                return;
            }
        }
    });
    let moved = server.definition("").replace(server.upstream.base(), &base);
    let placed = story.service(&server.service, &moved).expect(200);
    let confirm = json!({"confirm": format!("{}@{}", server.service, placed.at("/version"))});
    story
        .admin()
        .patch(&format!("/v1/connections/{}-main", server.service))
        .json(&confirm)
        .send()
        .expect(200);
    server.accept(story);
    let name = format!("{}__read", server.service);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": {}, "_meta": {"progressToken": 5}}})
    .to_string();
    let address = story.client().base().strip_prefix("http://").unwrap().to_owned();
    let mut client = TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         accept: {BOTH}\r\nmcp-protocol-version: {OLD}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    let mut read = String::new();
    while !read.contains("notifications/progress") {
        let mut some = [0; 4096];
        let count = client.read(&mut some).unwrap();
        assert!(count > 0, "{read}");
        read.push_str(std::str::from_utf8(&some[..count]).unwrap());
    }
    assert!(read.contains("text/event-stream") && !read.contains("\"result\""), "{read}");
    go.send(()).unwrap();
    client.read_to_string(&mut read).unwrap();
    assert!(read.contains("\"result\""), "{read}");
    pieces.join().unwrap();
}

/// The message of a request; `None` where nothing comes.
fn request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(message) = serde_json::from_str(body)
        {
            return Some(message);
        }
    }
}
