//! What an MCP server tells of what it has: no more than the agent may use, in one spelling, at every door; and what its contents
//! hold in base64.

use super::server::{Given, State};
use super::{Server, act, call, message, state};
use crate::stage::story;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_testkit::{Answer, Story};
use serde_json::{Value, json};

const READS: &str = "  - {name: tools, allow: ['SERVICE.*', 'SERVICE.prompts.*', 'SERVICE.resources.*']}
  - {name: not this, deny: ['SERVICE.resources.read'], on: ['mcp://SERVICE/resources/note:*secret*']}
  - {name: nor this, deny: ['SERVICE.prompts.odd']}
  - {name: nor about this, deny: ['SERVICE.prompts.summary'], when: \"params.topic == 'secret'\"}
";

fn full() -> State {
    let prompts = vec![
        json!({"name": "summary", "arguments": [{"name": "topic"}]}),
        json!({"name": "odd", "arguments": [{"name": "topic"}]}),
    ];
    let resource = |uri: &str| json!({"uri": uri, "name": "n"});
    let resources = ["note:///a", "note:///secret/b", "NOTE:///a", "note:///c%2Fd"].map(resource).to_vec();
    State { prompts, resources, ..state(true, false) }
}

fn stage(story: &Story, more: &str, rules: &str) -> (Server, String) {
    let server = Server::of(story, full());
    server.set(|state| state.tools.truncate(2));
    story.service(&server.service, &server.definition(more)).expect(200);
    server.accept(story);
    let token = server.agent(story, rules);
    (server, token)
}

fn ask(story: &Story, token: &str, method: &str, params: &Value) -> Answer {
    message(story, token, method, params).send().expect(200)
}

#[test]
fn no_door_tells_of_more_than_may_be_used() {
    let story = story();
    let (server, token) = stage(story, "resources: {}\n", READS);
    let service = &server.service;
    let listed = act(story, &token, &format!("{service}.resources.list"), &json!({})).expect(200);
    // A page of two, of which one is denied.
    assert_eq!(
        listed.at("/result/body/resources"),
        &json!([{"uri": "note:///a", "name": "n"}]),
        "{:#}",
        listed.body
    );
    assert_eq!(listed.at("/result/body/nextCursor"), "2");
    let complete = |way: &str, reference: Value, argument: &str, typed: &str| {
        let params = json!({"ref": reference, "argument": {"name": argument, "value": typed}});
        let answer = act(story, &token, &format!("{service}.{way}.complete"), &params).expect(200);
        assert_eq!(answer.at("/result/body/completion").get("total"), None);
        answer.at("/result/body/completion/values").clone()
    };
    let template = || json!({"type": "ref/resource", "uri": "note:///{+path}"});
    assert_eq!(complete("resources", template(), "path", "a"), json!(["a-completed"]));
    assert_eq!(complete("resources", template(), "path", "secret"), json!([]));
    let prompt = |name: &str| json!({"type": "ref/prompt", "name": name});
    assert_eq!(complete("prompts", prompt("summary"), "topic", "a"), json!(["a-completed"]));
    assert_eq!(complete("prompts", prompt("odd"), "topic", "a"), json!([]));
    let about = |typed: &str| {
        let own = json!({"name": "topic", "value": typed});
        let params =
            json!({"ref": {"type": "ref/prompt", "name": format!("{service}__summary")}, "argument": own});
        ask(story, &token, "completion/complete", &params).at("/result/completion/values").clone()
    };
    assert_eq!(about("a"), json!(["a-completed"]));
    // Once its server says something else of a prompt it is out of reach, and so are its values.
    server.set(|state| state.prompts[0]["description"] = "Another".into());
    server.look(story);
    assert_eq!(complete("prompts", prompt("summary"), "topic", "a"), json!([]));
}

#[test]
fn a_denial_holds_for_every_spelling_of_a_uri() {
    let story = story();
    let rules = "  - {name: reads, allow: ['SERVICE.resources.*']}
  - {name: not this, deny: ['SERVICE.resources.read'], on: ['mcp://SERVICE/resources/note:%2F%2F%2Fsecret%2Fb']}
";
    let (server, token) = stage(story, "resources: {}\n", rules);
    let service = &server.service;
    let read = |own: &str| {
        let uri = format!("mcp://{service}/resources/{own}");
        let door = ask(story, &token, "resources/read", &json!({"uri": uri}));
        let action = act(story, &token, &format!("{service}.resources.read"), &json!({"uri": own}));
        (door.text("/error/data/code"), action.text("/code"), action.body.to_string())
    };
    assert_eq!(read("note:///secret/b").0, "forbidden");
    for other in [
        "NOTE:///secret/b",
        "note:/secret/b",
        "note:///%73ecret/b",
        "note:///secret//b",
        "note:////secret/b",
        "note:///secret/b#x",
    ] {
        let (door, action, why) = read(other);
        assert_eq!((door.as_str(), action.as_str()), ("params_invalid", "params_invalid"), "{other}");
        assert!(why.contains("write `note:///secret/b`"), "{other}: {why}");
    }
    for other in ["note:///secret%2Fb", "note:///secret%252Fb", "note:///x/../secret/b", "note:///secret\\b"]
    {
        assert_eq!(read(other).0, "params_invalid", "{other}");
    }
    assert_eq!(server.came("resources/read").len(), 0, "nothing was sent");
    ask(story, &token, "resources/read", &json!({"uri": format!("mcp://{service}/resources/note:///a")}))
        .at("/result/contents");
    // Where its server keeps an encoded slash apart, that is a resource of its own.
    story.service(service, &server.definition("resources: {encoded_slash: true}\n")).expect(200);
    let uri = json!({"uri": "note:///c%2Fd"});
    let done = act(story, &token, &format!("{service}.resources.read"), &uri).expect(200);
    assert_eq!(done.at("/result/body/contents/0/uri"), "note:///c%2Fd");
}

#[test]
fn what_contents_hold_in_base64_is_looked_into() {
    let story = story();
    let looked = |levels: &str| {
        format!(
            "  - {{name: all, allow: ['SERVICE.*', 'SERVICE.resources.*'], shape: {{detect: {{{levels}}}}}}}\n"
        )
    };
    let (server, token) = stage(story, "resources: {}\n", &looked("email: redact, secrets: mark"));
    let service = server.service.clone();
    let withheld = server.agent(story, &looked("email: redact, private_key: withhold"));
    let read =
        |token: &str| act(story, token, &format!("{service}.resources.read"), &json!({"uri": "note:///a"}));
    let give = |kind: &str, bytes: &[u8]| {
        let contents =
            json!({"contents": [{"uri": "note:///a", "mimeType": kind, "blob": STANDARD.encode(bytes)}]});
        server.give("note:///a", Given::Result(contents));
    };
    let blob = |answer: &Answer| {
        let blob =
            answer.at("/result/body/contents/0/blob").as_str().unwrap_or_else(|| panic!("{:#}", answer.body));
        String::from_utf8_lossy(&STANDARD.decode(blob).unwrap()).into_owned()
    };
    for kind in ["text/csv", "application/octet-stream", "image/png"] {
        give(kind, b"name,mail\nann,ann@example.com\n");
        for token in [&token, &withheld] {
            let answer = read(token).expect(200);
            assert_eq!(blob(&answer), "name,mail\nann,[redacted:email]\n", "{kind}");
            assert_eq!(answer.at("/result/headers/placet-detected"), "email");
        }
    }
    give("application/json", br#"{"to": "ann\u0040example.com"}"#);
    assert_eq!(blob(&read(&token).expect(200)), r#"{"to":"[redacted:email]"}"#);
    give("application/json", br#"{"to": "ann\u0040example.com", "to": 1}"#);
    read(&token).refused(403, "result_withheld");
    // A picture passes, but where something withholds: it could show anything.
    let picture = [0x89, b'P', b'N', b'G', 13, 10, 26, 10, 0, 0];
    give("image/png", &picture);
    read(&token).expect(200);
    read(&withheld).refused(403, "result_withheld");
    give(
        "text/plain",
        [b"-----BEGIN ".as_slice(), b"PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG\n"].concat().as_slice(),
    );
    read(&withheld).refused(403, "result_sensitive");
    // Of tools, at the MCP door.
    let image = json!({"type": "image", "mimeType": "image/png", "data": STANDARD.encode(picture)});
    let audio = json!({"type": "resource", "resource": {"uri": "note:///a", "blob": STANDARD.encode("to ann@example.com")}});
    server.give("read", Given::Result(json!({"content": [image, audio]})));
    let told = call(story, &token, &format!("{service}.read"), &json!({}));
    assert_eq!(told["content"][0]["data"], json!(STANDARD.encode(picture)));
    assert_eq!(told["content"][1]["resource"]["blob"], json!(STANDARD.encode("to [redacted:email]")));
    let told = call(story, &withheld, &format!("{service}.read"), &json!({}));
    assert_eq!(
        (&told["isError"], &told["structuredContent"]["code"]),
        (&json!(true), &json!("result_withheld"))
    );
}

#[test]
fn a_server_links_to_no_other_services_resources() {
    let story = story();
    let (other, _) = stage(story, "resources: {}\n", READS);
    let theirs = format!("mcp://{}/resources/note:///a", other.service);
    for offered in [true, false] {
        let more = if offered { "resources: {}\n" } else { "" };
        let (server, token) = stage(story, more, READS);
        let service = &server.service;
        let link = json!({"type": "resource_link", "uri": theirs, "name": "a"});
        let embedded = json!({"type": "resource", "resource": {"uri": theirs, "text": "x"}});
        let outside = json!({"type": "resource_link", "uri": "https://example.com/a", "name": "b"});
        server.give("read", Given::Result(json!({"content": [link, embedded, outside]})));
        let told = call(story, &token, &format!("{service}.read"), &json!({}));
        let own = format!("mcp://{service}/resources/{theirs}");
        assert_eq!(
            (&told["content"][0]["uri"], &told["content"][1]["resource"]["uri"]),
            (&json!(own), &json!(own))
        );
        let page = told["content"][2]["uri"].as_str().unwrap();
        assert_eq!(page.starts_with("mcp://"), offered, "{page}");
        // Whoever follows it asks the server that said it, and nobody else.
        let read = ask(story, &token, "resources/read", &json!({"uri": own}));
        assert!(read.at("/error").is_object(), "{:#}", read.body);
        assert_eq!(other.came("resources/read").len(), 0);
    }
}

#[test]
fn a_level_that_a_client_sets_holds_for_its_calls() {
    let story = story();
    let (server, token) = stage(story, "", READS);
    let other = server.agent(story, READS);
    let log = |level: &str| json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": level}});
    let done = json!({"jsonrpc": "2.0", "id": "ID", "result": {"resultType": "complete", "content": []}});
    server.give("read", Given::Events(vec![log("debug"), log("info"), log("error"), done]));
    let levels = |token: &str| {
        let params = json!({"name": format!("{}__read", server.service), "arguments": {}});
        let answer = ask(story, token, "tools/call", &params);
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        ["debug", "info", "error"]
            .into_iter()
            .filter(|level| text.contains(&format!("\"data\":\"{level}\"")))
            .collect::<Vec<_>>()
    };
    let set = |level: Value| ask(story, &token, "logging/setLevel", &json!({"level": level}));
    assert_eq!(levels(&token), ["info", "error"]);
    assert_eq!(set(json!("error")).at("/result"), &json!({}));
    assert_eq!((levels(&token), levels(&other)), (vec!["error"], vec!["info", "error"]));
    set(json!("debug"));
    assert_eq!(levels(&token), ["debug", "info", "error"]);
    // What is no level is not taken for one.
    for wrong in [json!("loud"), json!(7), json!(null)] {
        assert_eq!(set(wrong.clone()).at("/error/code"), -32602, "{wrong}");
    }
    assert_eq!(levels(&token), ["debug", "info", "error"]);
}
