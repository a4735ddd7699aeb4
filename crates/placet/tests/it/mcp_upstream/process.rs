//! Servers that are programs: started only where the operator lists them, each connection with its own.

use super::{ALL, act, call, message};
use crate::stage::PLACET;
use placet_testkit::{SECRET, Server, Story, fresh, until};
use serde_json::{Value, json};

/// A server that tells of itself. What it writes to standard error has its secret.
const PROGRAM: &str = r#"
import json, os, sys
def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
print("begun with", os.environ.get("API_KEY"), file=sys.stderr, flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    def result(told):
        say({"jsonrpc": "2.0", "id": message["id"], "result": told})
    method = message["method"]
    if method == "initialize":
        result({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "prompts": {}}, "serverInfo": {"name": "s", "version": "1"}})
    elif method == "prompts/list":
        result({"prompts": [{"name": "hello"}]})
    elif method == "prompts/get":
        result({"messages": [{"role": "user", "content": {"type": "text", "text": "say hello"}}]})
    elif method == "tools/list":
        names = ["about", "die", "noise", "flood", "wait", "seen"]
        result({"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]})
    elif message["params"]["name"] == "die":
        sys.exit(1)
    elif message["params"]["name"] == "wait":
        # Of nobody's, of this call's, and of no call in particular.
        for token in [424242, message["params"]["_meta"]["progressToken"]]:
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "of whom?"}})
        print("it waits", file=sys.stderr, flush=True)
        seen = {"called": message["id"], "heard": json.loads(sys.stdin.readline())}
    elif message["params"]["name"] == "seen":
        result({"content": [], "structuredContent": seen})
    elif message["params"]["name"] == "flood":
        # Somebody else's answer, which is too long to be read: this one's comes behind it.
        say({"jsonrpc": "2.0", "id": 424242, "result": {"content": ["x" * (3 << 20)]}})
        result({"content": []})
    elif message["params"]["name"] == "noise":
        print("no message", flush=True)
        say({"jsonrpc": "2.0", "id": 424242, "result": {"content": []}})
        say({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}})
        refused = json.loads(sys.stdin.readline())
        result({"content": [], "structuredContent": refused})
    else:
        told = {"environment": dict(os.environ), "process": os.getpid(), "arguments": sys.argv[1:]}
        result({"content": [], "structuredContent": told})
"#;

struct Programs {
    story: Story,
    service: String,
    token: String,
}

impl Programs {
    fn start() -> Self {
        let mut server = Server::start(PLACET);
        let directory = server.home().to_owned();
        let (program, listed) = (directory.join("server.py"), directory.join("commands.yaml"));
        std::fs::write(&program, PROGRAM).unwrap();
        let text = format!(
            "teller:\n  command: [/usr/bin/python3, '{}', one, 'two three; $(id)']\n  env: {{LANG: C.UTF-8}}\n  secret: API_KEY\n",
            program.display()
        );
        std::fs::write(&listed, text).unwrap();
        server.flags(&["--mcp-commands", listed.to_str().unwrap()]);
        server.restart();
        let story = Story::on(server);
        let service = fresh("teller");
        story.service(&service, &format!("service: {service}\nmcp: {{command: teller}}\n")).expect(201);
        story.connection(&format!("{service}-main"), &service, &json!({})).expect(201);
        let path = format!("/v1/services/{service}/tools");
        let told = story.admin().post(&path).json(&json!({})).send().expect(200).body;
        let tools = told["tools"].as_array().unwrap().iter();
        let digests: serde_json::Map<String, Value> =
            tools.map(|tool| (tool["tool"].as_str().unwrap().to_owned(), tool["digest"].clone())).collect();
        story.admin().post(&path).json(&json!({"accept": digests})).send().expect(200);
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!([format!("{service}.**")]))
            .with("resource_access", json!(["mcp://**"]))
            .register();
        let rules = format!("{ALL}  - {{name: prompts, allow: ['SERVICE.prompts.*']}}\n");
        story.rules(&agent.handle, &rules.replace("SERVICE", &service)).expect(201);
        let token = agent.token(&story.client(), &format!("{service}.**"));
        Self { story, service, token }
    }

    fn call(&self, tool: &str) -> Value {
        call(&self.story, &self.token, &format!("{}.{tool}", self.service), &json!({}))
    }
}

#[test]
fn a_listed_program_is_a_server_with_nothing_but_what_is_listed() {
    let programs = Programs::start();
    let Programs { story, service, token } = &programs;
    let about = programs.call("about")["structuredContent"].clone();
    let environment = about["environment"].as_object().unwrap();
    let mut names: Vec<&str> = environment.keys().map(String::as_str).collect();
    // Python sets this one itself.
    names.retain(|name| *name != "LC_CTYPE");
    assert_eq!(names, ["API_KEY", "LANG"]);
    assert_eq!(about["arguments"], json!(["one", "two three; $(id)"]));
    // It has the secret, and neither the agent nor the log does.
    assert!(!about.to_string().contains(SECRET), "{about:#}");
    until("its own words in the log", || story.server.log().contains("begun with").then_some(()));
    assert!(!story.server.log().contains(SECRET));
    assert_eq!(programs.call("about")["structuredContent"]["process"], about["process"], "one process");
    // What is no answer is none, and what it asks is refused.
    assert_eq!(programs.call("noise")["structuredContent"]["error"]["code"], -32601);
    let flood = programs.call("flood");
    assert_eq!((&flood["isError"], &flood["content"]), (&json!(false), &json!([])), "{flood:#}");
    assert_eq!(programs.call("about")["structuredContent"]["process"], about["process"], "the same");
    // It tells its tools to whoever has started it: that is no word about a secret.
    let check = format!("/v1/connections/{service}-main/check");
    story.admin().post(&check).send().refused(409, "conflict");
    // Another connection has a process of its own.
    let other = format!("{service}-other");
    story.connection(&other, service, &json!({})).expect(201);
    let asked = json!({"action": format!("{service}.about"), "params": {}, "connection": other});
    let answer = story.client().post("/v1/actions").bearer(token).json(&asked).send().expect(200);
    assert_ne!(answer.at("/result/body/structuredContent/process"), &about["process"]);
}

#[test]
fn a_program_tells_how_far_a_call_is_and_hears_that_it_is_called_off() {
    let programs = Programs::start();
    let Programs { story, service, token } = &programs;
    let got = message(story, token, "prompts/get", &json!({"name": format!("{service}__hello")}))
        .send()
        .expect(200);
    assert_eq!(got.at("/result/messages/0/content/text"), "say hello", "{:#}", got.body);
    std::thread::scope(|scope| {
        let params =
            json!({"name": format!("{service}__wait"), "arguments": {}, "_meta": {"progressToken": "mine"}});
        let waiting = scope.spawn(move || message(story, token, "tools/call", &params).send().expect(200));
        until("the call to be there", || story.server.log().contains("it waits").then_some(()));
        let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
        let request = story.client().post("/mcp").bearer(token).header("mcp-protocol-version", super::OLD);
        request.json(&body).send().expect(202);
        let text = String::from_utf8(waiting.join().unwrap().bytes.to_vec()).unwrap();
        assert!(text.contains(r#""progressToken":"mine""#) && text.contains("unknown"), "{text}");
        assert!(!text.contains("of whom?") && text.matches("notifications/").count() == 1, "{text}");
    });
    let seen = programs.call("seen")["structuredContent"].clone();
    assert_eq!(seen["heard"]["method"], "notifications/cancelled");
    assert_eq!(seen["heard"]["params"]["requestId"], seen["called"]);
}

#[test]
fn a_program_that_ends_leaves_the_call_unknown_and_is_started_again() {
    let programs = Programs::start();
    let Programs { story, service, token } = &programs;
    let before = programs.call("about")["structuredContent"]["process"].clone();
    let answer = act(story, token, &format!("{service}.die"), &json!({}));
    assert_eq!((answer.status, answer.text("/happened").as_str()), (502, "unknown"), "{:#}", answer.body);
    // Not at once, and then with another process.
    let after = until("another process", || {
        let answer = act(story, token, &format!("{service}.about"), &json!({}));
        if answer.status == 502 {
            assert_eq!(answer.text("/happened"), "no", "{:#}", answer.body);
            return None;
        }
        Some(answer.expect(200).at("/result/body/structuredContent/process").clone())
    });
    assert_ne!(after, before);
}

#[test]
fn a_document_alone_starts_nothing() {
    let story = crate::stage::story();
    let service = fresh("shell");
    for (text, status) in [
        ("mcp: {command: [/bin/sh, -c, id]}", 422),
        ("mcp: {command: /bin/sh}", 422),
        ("mcp: {command: sh, url: 'https://a.example'}", 422),
        ("mcp: {command: sh}\nauth: {type: bearer}", 422),
        ("mcp: {command: sh}", 201),
    ] {
        let answer = story.service(&service, &format!("service: {service}\n{text}\n"));
        assert_eq!(answer.status, status, "{text}: {:#}", answer.body);
    }
    story.connection(&format!("{service}-main"), &service, &json!({})).expect(201);
    let path = format!("/v1/services/{service}/tools");
    let refused = story.admin().post(&path).json(&json!({})).send().expect(502);
    assert!(refused.text("/detail").contains("--mcp-commands"), "{:#}", refused.body);
}
