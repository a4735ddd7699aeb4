//! An MCP server of one revision or the other, which takes nothing that its revision does not say.

use super::{NEW, OLD};
use placet_testkit::{Reply, SECRET, Seen, Story, Upstream, fresh};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

/// What a call of a tool is answered with.
#[derive(Clone)]
pub(super) enum Given {
    /// A result.
    Result(Value),
    /// An error of the protocol.
    Error(i64),
    /// Messages in this order; `ID` stands for the request's id.
    Events(Vec<Value>),
    /// Something else.
    Other(Reply),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) stateless: bool,
    /// Answers come as events, behind a notification of progress.
    pub(super) events: bool,
    pub(super) tools: Vec<Value>,
    /// Where there are any, it says that it has prompts.
    pub(super) prompts: Vec<Value>,
    pub(super) resources: Vec<Value>,
    pub(super) sessions: BTreeSet<String>,
    /// By tools; of others the arguments are answered.
    pub(super) given: BTreeMap<String, Given>,
    /// Says with the next answer in events that there are other tools.
    pub(super) says_changed: bool,
    pub(super) begun: usize,
}

pub(super) struct Server {
    pub(super) upstream: Upstream,
    pub(super) state: Arc<Mutex<State>>,
    /// The service that it is.
    pub(super) service: String,
}

impl Server {
    /// Starts one with these tools, with a service and a connection of its own; nothing is accepted yet.
    pub(super) fn of(story: &Story, state: State) -> Self {
        let upstream = Upstream::start(SECRET);
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        upstream.answer("/mcp", move |seen| answer(&mut shared.lock().unwrap(), seen));
        let server = Self { upstream, state, service: fresh("files") };
        story.service(&server.service, &server.definition("")).expect(201);
        let connection = format!("{}-main", server.service);
        story.connection(&connection, &server.service, &json!({})).expect(201);
        server
    }

    pub(super) fn definition(&self, more: &str) -> String {
        format!(
            "service: {}\nmcp: {{url: '{}/mcp'}}\nauth: {{type: bearer}}\n{more}",
            self.service,
            self.upstream.base()
        )
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(super) fn give(&self, tool: &str, given: Given) {
        self.set(|state| drop(state.given.insert(tool.to_owned(), given)));
    }

    /// The messages of a method that came, those that were refused among them.
    pub(super) fn came(&self, method: &str) -> Vec<Value> {
        let seen = self.upstream.seen_at("/mcp").into_iter().map(|seen| seen.json());
        seen.filter(|message| message["method"] == method).collect()
    }

    /// Asks the server which tools it has; answers how each stands.
    pub(super) fn look(&self, story: &Story) -> Vec<(String, String)> {
        let told = self.tools(story, &json!({}));
        let text = |tool: &Value, member: &str| tool[member].as_str().unwrap().to_owned();
        let tools = told["tools"].as_array().unwrap();
        tools.iter().map(|tool| (text(tool, "tool"), text(tool, "standing"))).collect()
    }

    pub(super) fn tools(&self, story: &Story, body: &Value) -> Value {
        story.admin().post(&format!("/v1/services/{}/tools", self.service)).json(body).send().expect(200).body
    }

    /// Accepts all that the server says.
    pub(super) fn accept(&self, story: &Story) {
        let told = self.tools(story, &json!({}));
        let open = told["tools"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|tool| tool["standing"] != "pinned" && tool["problem"].is_null());
        let digests: BTreeMap<&str, &Value> =
            open.map(|tool| (tool["tool"].as_str().unwrap(), &tool["digest"])).collect();
        self.tools(story, &json!({"accept": digests}));
    }

    /// A token of an agent whose rules these are, for all tools of the service.
    pub(super) fn agent(&self, story: &Story, rules: &str) -> String {
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!([format!("{}.**", self.service)]))
            .with("resource_access", json!(["mcp://**"]))
            .register();
        story.rules(&agent.handle, &rules.replace("SERVICE", &self.service)).expect(201);
        agent.token(&story.client(), &format!("{}.**", self.service))
    }
}

pub(super) fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {
        "type": "object", "properties": {"text": {"type": "string"}, "path": {"type": "string"}},
    }})
}

fn refused(status: u16, code: i64, id: &Value) -> Reply {
    Reply::json(status, &json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "refused"}}))
}

/// What it answers, as it is now.
pub(super) fn answer(state: &mut State, seen: &Seen) -> Reply {
    let message = seen.json();
    let (id, method) = (&message["id"], message["method"].as_str().unwrap_or_default().to_owned());
    let accepts = seen.header("accept").unwrap_or_default();
    if seen.method != "POST"
        || !accepts.contains("application/json")
        || !accepts.contains("text/event-stream")
        || seen.header("content-type") != Some("application/json")
        || message["jsonrpc"] != "2.0"
    {
        return refused(400, -32600, id);
    }
    let capabilities = capabilities(state);
    let wrong = if state.stateless {
        wrong_alone(state, seen, &message, &method)
    } else {
        in_session(state, seen, &method)
    };
    if let Some(reply) = wrong {
        return reply;
    }
    match method.as_str() {
        "server/discover" => result(
            state,
            id,
            &json!({"supportedVersions": [NEW], "capabilities": capabilities, "serverInfo": {"name": "stand-in"}}),
        ),
        "tools/list" => listed(state, id, &message, "tools"),
        "prompts/list" if !state.prompts.is_empty() => listed(state, id, &message, "prompts"),
        "resources/list" => listed(state, id, &message, "resources"),
        "resources/templates/list" => {
            let templates = json!({"resourceTemplates": [{"uriTemplate": "note:///{+path}", "name": "any note", "secret": SECRET}]});
            result(state, id, &templates)
        }
        "completion/complete" => {
            let typed = message["params"]["argument"]["value"].as_str().unwrap();
            result(state, id, &json!({"completion": {"values": [format!("{typed}-completed")], "total": 1}}))
        }
        "resources/read" => {
            let uri = message["params"]["uri"].as_str().unwrap().to_owned();
            let known = state.resources.iter().any(|one| one["uri"] == *uri);
            let contents =
                json!({"contents": [{"uri": uri, "mimeType": "text/plain", "text": format!("in {uri}")}]});
            match state.given.get(&uri).cloned() {
                Some(given) => given_as(state, id, given),
                None if known => result(state, id, &contents),
                None => {
                    let error =
                        json!({"code": -32002, "message": "Resource not found", "data": {"uri": uri}});
                    Reply::json(200, &json!({"jsonrpc": "2.0", "id": id, "error": error}))
                }
            }
        }
        "tools/call" | "prompts/get" => {
            let name = message["params"]["name"].as_str().unwrap();
            let arguments = &message["params"]["arguments"];
            let given = state.given.get(name).cloned().unwrap_or_else(|| {
                Given::Result(if method == "tools/call" {
                    json!({"content": [{"type": "text", "text": "done"}], "structuredContent": {"said": arguments}})
                } else {
                    let text = format!("{name} {arguments}");
                    json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]})
                })
            });
            given_as(state, id, given)
        }
        _ => refused(404, -32601, id),
    }
}

fn capabilities(state: &State) -> Value {
    let mut capabilities = json!({"tools": {}});
    if !state.prompts.is_empty() {
        capabilities["prompts"] = json!({"listChanged": true});
    }
    if !state.resources.is_empty() {
        capabilities["resources"] = json!({});
    }
    capabilities
}

fn given_as(state: &mut State, id: &Value, given: Given) -> Reply {
    match given {
        Given::Result(told) => result(state, id, &told),
        Given::Error(code) => refused(200, code, id),
        Given::Other(reply) => reply,
        Given::Events(all) => {
            let text = |message: &Value| message.to_string().replace("\"ID\"", &id.to_string());
            let all: String = all.iter().map(|one| format!("data: {}\n\n", text(one))).collect();
            Reply::bytes(200, "text/event-stream", all)
        }
    }
}

/// A page of two.
fn listed(state: &mut State, id: &Value, message: &Value, what: &str) -> Reply {
    let all = match what {
        "tools" => &state.tools,
        "prompts" => &state.prompts,
        _ => &state.resources,
    };
    let from: usize = message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<&Value> = all.iter().skip(from).take(2).collect();
    let mut told = json!({what: page});
    if from + 2 < all.len() {
        told["nextCursor"] = (from + 2).to_string().into();
    }
    result(state, id, &told)
}

fn result(state: &mut State, id: &Value, told: &Value) -> Reply {
    let mut told = told.clone();
    if state.stateless {
        told["resultType"] = "complete".into();
    }
    let message = json!({"jsonrpc": "2.0", "id": id, "result": told});
    if !state.events {
        return Reply::json(200, &message);
    }
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
    let mut text = format!(": hello\n\nevent: message\nid: 1\ndata: {progress}\n\n");
    if std::mem::take(&mut state.says_changed) {
        let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        text.push_str(&format!("data: {changed}\n\n"));
    }
    text.push_str(&format!("data: {message}\r\n\r\n"));
    Reply::bytes(200, "text/event-stream; charset=utf-8", text)
}

/// What is wrong with a request that stands alone.
fn wrong_alone(state: &State, seen: &Seen, message: &Value, method: &str) -> Option<Reply> {
    let meta = &message["params"]["_meta"];
    let member = if method == "resources/read" { "uri" } else { "name" };
    let name = message["params"][member].as_str();
    // What the schema of a tool has repeated.
    let tool =
        state.tools.iter().find(|tool| method == "tools/call" && tool["name"] == name.unwrap_or_default());
    let properties = tool.and_then(|tool| tool["inputSchema"]["properties"].as_object());
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for (property, schema) in properties.into_iter().flatten() {
        let said = message["params"]["arguments"][property].as_str();
        if let (Some(header), Some(said)) = (schema["x-mcp-header"].as_str(), said) {
            expected.insert(format!("mcp-param-{}", header.to_lowercase()), said.to_owned());
        }
    }
    let headers = seen.headers.iter().filter(|(name, _)| name.as_str().starts_with("mcp-param-"));
    let came: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let fits = seen.header("mcp-protocol-version") == Some(NEW)
        && seen.header("mcp-method") == Some(method)
        && seen.header("mcp-name") == name
        && seen.header("mcp-session-id").is_none()
        && came == expected
        && meta["io.modelcontextprotocol/protocolVersion"] == NEW
        && meta["io.modelcontextprotocol/clientCapabilities"].is_object();
    (!fits).then(|| refused(400, -32020, &message["id"]))
}

/// What a handshake is answered with, and what is wrong with what comes outside a session.
fn in_session(state: &mut State, seen: &Seen, method: &str) -> Option<Reply> {
    let message = seen.json();
    let id = &message["id"];
    if method == "initialize" {
        if message["params"]["protocolVersion"] != OLD || seen.header("mcp-session-id").is_some() {
            return Some(refused(400, -32600, id));
        }
        state.begun += 1;
        let session = format!("session-{}", state.begun);
        state.sessions.insert(session.clone());
        let told = json!({"protocolVersion": OLD, "capabilities": capabilities(state), "serverInfo": {"name": "stand-in", "version": "1"}});
        return Some(result(state, id, &told).header("mcp-session-id", session));
    }
    let Some(session) = seen.header("mcp-session-id") else {
        return Some(refused(400, -32600, &Value::Null));
    };
    if !state.sessions.contains(session) {
        return Some(refused(404, -32001, &Value::Null));
    }
    let meta = message["params"].get("_meta").and_then(Value::as_object);
    let foreign = meta.is_some_and(|meta| meta.keys().any(|key| key != "progressToken"));
    let repeats = seen.headers.keys().any(|name| name.as_str().starts_with("mcp-param-"));
    if seen.header("mcp-protocol-version") != Some(OLD) || foreign || repeats {
        return Some(refused(400, -32600, id));
    }
    // Notifications, and answers to what was asked.
    (message.get("id").is_none() || method.is_empty()).then(|| Reply::status(202))
}
