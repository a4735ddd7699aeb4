//! Streams through the proxy door: answers and uploads that go on as they come, without the secret, and end when the
//! authority for them does.

use crate::stage::story;
use placet_testkit::{Agent, RawUpstream, SECRET, Story, Wire, fresh, until};
use serde_json::{Value, json};

/// An upstream that is played by hand, with its service and connection, and an agent that may do everything there.
pub(crate) struct Stage {
    pub(crate) story: &'static Story,
    pub(crate) upstream: RawUpstream,
    /// The service and the connection; actions are `NAME.get`, `NAME.put` and `NAME.note`.
    pub(crate) name: String,
    pub(crate) agent: Agent,
    pub(crate) token: String,
}

pub(crate) fn service(name: &str, base: &str, auth: &str) -> String {
    format!(
        "service: {name}\nbase_url: {base}\nauth: {auth}\nactions:\n  {name}.get:\n    method: GET\n    path: /get/{{id}}\n    resource: file://{name}/{{id}}\n    effect: read\n    params: {{type: object, properties: {{id: {{type: string}}, q: {{type: string}}}}}}\n  {name}.put:\n    method: PUT\n    path: /put/{{id}}\n    resource: file://{name}/{{id}}\n    effect: write\n    stream: true\n    params: {{type: object, properties: {{id: {{type: string}}, mode: {{type: string}}}}}}\n"
    )
}

fn stage_with(auth: &str, connection: &Value) -> Stage {
    let story = story();
    let upstream = RawUpstream::start();
    let name = fresh("files");
    story.service(&name, &service(&name, &upstream.base(), auth)).expect(201);
    story.connection(&name, &name, &json!({"auth": connection})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([format!("{name}.*")]))
        .with("resource_access", json!(["file://**"]))
        .register();
    story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.*]}}\n")).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    Stage { story, upstream, name, agent, token }
}

pub(crate) fn stage() -> Stage {
    stage_with("{type: bearer}", &json!({"type": "bearer", "secret": SECRET}))
}

impl Stage {
    /// Sends a request and keeps the connection.
    pub(crate) fn ask(&self, line: &str, headers: &str, body: &str) -> Wire {
        let mut wire = Wire::connect(self.story.client().base());
        let (method, path) = line.split_once(' ').unwrap();
        wire.send(format!(
            "{method} /proxy/{}{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{headers}\r\n{body}",
            self.name, self.token
        ));
        wire
    }

    /// The outcome of the stage's one action, once it is recorded.
    pub(crate) fn outcome(&self) -> Value {
        until("the outcome", || {
            let entries = self.story.record();
            entries
                .into_iter()
                .find(|entry| entry["type"] == "action.outcome" && entry["agent"] == self.agent.id.as_str())
        })
    }

    pub(crate) fn revoke(&self) {
        let form = [("token", self.token.as_str())];
        let client = self.story.client();
        client.post("/oauth/revoke").basic(&self.agent.id, &self.agent.secret).form(&form).send().expect(200);
    }
}

pub(crate) const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";

#[test]
fn events_arrive_as_they_are_sent_and_without_the_secret() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "accept: text/event-stream\r\n", "");
    let mut upstream = stage.upstream.accept();
    assert!(upstream.seen().contains("accept: text/event-stream\r\n"), "{}", upstream.seen());
    upstream.send(format!("{CHUNKED}content-type: text/event-stream\r\n\r\n"));
    agent.until("\r\n\r\n");
    for number in 0..5 {
        let event = format!("data: {{\"n\": {number}, \"text\": \"a\\nb\"}}\n\n");
        upstream.send_chunk(&event);
        // The next is not sent before this one is there.
        agent.until(&event);
    }
    for cut in 1..SECRET.len() {
        let (head, tail) = SECRET.split_at(cut);
        upstream.send_chunk(format!("data: {head}"));
        upstream.send_chunk(format!("{tail} {cut}.\n\n"));
        agent.until(&format!("[scrubbed] {cut}.\n\n"));
    }
    // base64 of `user:SECRET`, cut in the middle, and a piece of the secret that is none.
    upstream.send_chunk("Basic dXNlcjpjYW5hcnktdXBzdHJlYW0tc2");
    upstream.send_chunk("VjcmV0LTVkMWM3ZTBiOWE= end.\n");
    let seen = agent.until(" end.\n");
    assert!(!seen.contains("Y2FuYXJ5") && !seen.contains("jYW5hcnkt"), "{seen}");
    upstream.send_chunk("canary-upstream");
    upstream.send("0\r\n\r\n");
    let all = agent.until("canary-upstream\r\n0\r\n\r\n");
    assert!(!all.contains(SECRET) && all.contains("placet-decision: allow"), "{all}");
    assert_eq!((&stage.outcome()["outcome"], &stage.outcome()["status"]), (&json!("done"), &json!(200)));
}

#[test]
fn a_large_answer_passes_whole() {
    let stage = stage();
    let text: String = (0..400_000).map(|number| format!("{number:07}\n")).collect();
    let expected = text.clone();
    let path = format!("/proxy/{}/get/1", stage.name);
    let sending = std::thread::spawn({
        let upstream = stage.upstream;
        move || {
            let mut wire = upstream.accept();
            wire.send(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
                text.len()
            ));
            wire.send(&text);
        }
    });
    let answer = stage.story.client().get(&path).bearer(&stage.token).send().expect(200);
    sending.join().unwrap();
    assert!(answer.bytes == expected.as_bytes(), "{} bytes of {}", answer.bytes.len(), expected.len());
}

#[test]
fn trailers_pass_where_they_are_announced_and_listed() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "te: trailers\r\nconnection: close\r\n", "");
    let mut upstream = stage.upstream.accept();
    assert!(!upstream.seen().contains("te:"), "{}", upstream.seen());
    upstream
        .send(format!("{CHUNKED}trailer: ETag, x-request-id, set-cookie, content-type, x-secret\r\n\r\n"));
    upstream.send_chunk("body");
    upstream.send(format!(
        "0\r\nETag: \"{SECRET}\"\r\nx-request-id: 7\r\nset-cookie: a=b\r\ncontent-type: x/y\r\nx-total: 3\r\n\r\n"
    ));
    let all = agent.rest();
    assert!(all.contains("trailer: etag, x-request-id\r\n"), "{all}");
    let (_, trailers) = all.rsplit_once("0\r\n").unwrap();
    assert!(
        trailers.contains("etag: \"[scrubbed]\"\r\n") && trailers.contains("x-request-id: 7\r\n"),
        "{all}"
    );
    for absent in ["set-cookie", "x/y", "x-total: 3", SECRET] {
        assert!(!trailers.contains(absent), "{all}");
    }
}

#[test]
fn a_stream_is_cut_when_its_grant_is_revoked() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "", "");
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}\r\n"));
    upstream.send_chunk("first\n");
    agent.until("first\n");
    stage.revoke();
    let all = agent.rest();
    assert!(!all.ends_with("0\r\n\r\n"), "a cut answer never looks whole: {all}");
    upstream.rest();
    let outcome = stage.outcome();
    assert_eq!((&outcome["outcome"], &outcome["codes"]), (&json!("cut"), &json!(["token_revoked"])));
    // Another is refused.
    stage
        .story
        .client()
        .get(&format!("/proxy/{}/get/1", stage.name))
        .bearer(&stage.token)
        .send()
        .refused(401, "token_revoked");
    assert!(stage.upstream.is_quiet());
}

#[test]
fn a_stream_is_cut_when_its_agent_is_suspended() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "", "");
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}\r\n"));
    upstream.send_chunk("first\n");
    agent.until("first\n");
    stage.story.admin().post(&format!("/v1/agents/{}/suspend", stage.agent.id)).send();
    assert!(!agent.rest().ends_with("0\r\n\r\n"));
    assert_eq!(stage.outcome()["codes"], json!(["agent_inactive"]));
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_agent_too() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "", "");
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}\r\n"));
    upstream.send_chunk("first\n");
    agent.until("first\n");
    drop(upstream);
    assert!(!agent.rest().ends_with("0\r\n\r\n"));
    assert_eq!(stage.outcome()["outcome"], "unknown");
}

#[test]
fn an_agent_that_goes_away_ends_its_stream() {
    let stage = stage();
    let mut agent = stage.ask("GET /get/1", "", "");
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}\r\n"));
    upstream.send_chunk("first\n");
    agent.until("first\n");
    drop(agent);
    // It is noticed at the next piece that nobody takes.
    let ended = std::thread::spawn(move || {
        upstream.rest();
    });
    let outcome = stage.outcome();
    assert_eq!(outcome["outcome"], "done");
    ended.join().unwrap();
}

#[test]
fn an_upload_goes_on_as_it_comes() {
    let stage = stage();
    let mut agent = stage.ask(
        "PUT /put/7?mode=new",
        "content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\nx-agent: 1\r\n",
        "",
    );
    agent.send_chunk("first piece");
    let mut upstream = stage.upstream.accept();
    let seen = upstream.until("first piece");
    assert!(seen.starts_with("PUT /put/7?mode=new HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("content-type: application/octet-stream\r\n") && !seen.contains("x-agent"),
        "{seen}"
    );
    agent.send_chunk("second piece");
    upstream.until("second piece");
    agent.send("0\r\nx-trailer: smuggled\r\n\r\n");
    let seen = upstream.until("0\r\n\r\n");
    assert!(!seen.contains("smuggled"), "{seen}");
    upstream.send("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok");
    let all = agent.until("\r\n\r\nok");
    assert!(all.starts_with("HTTP/1.1 201 Created\r\n"), "{all}");

    // With a length it goes on with that length.
    let mut agent = stage.ask("PUT /put/8", "content-length: 5\r\n", "12345");
    upstream.until("12345");
    assert!(upstream.seen().contains("content-length: 5\r\n"));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    agent.until("\r\n\r\n");
}

#[test]
fn an_upload_is_cut_when_its_grant_is_revoked() {
    let stage = stage();
    let mut agent = stage.ask("PUT /put/7", "content-length: 1000\r\n", "half");
    let mut upstream = stage.upstream.accept();
    upstream.until("half");
    stage.revoke();
    let all = agent.until("token_revoked");
    assert!(all.starts_with("HTTP/1.1 401 ") && all.contains("\"happened\":\"unknown\""), "{all}");
    upstream.rest();
    let outcome = stage.outcome();
    assert_eq!((&outcome["outcome"], &outcome["codes"]), (&json!("cut"), &json!(["token_revoked"])));
}

#[test]
fn an_upload_that_stops_short_is_no_whole_one() {
    let stage = stage();
    let mut agent = stage.ask("PUT /put/7", "transfer-encoding: chunked\r\n", "");
    agent.send_chunk("half");
    let mut upstream = stage.upstream.accept();
    upstream.until("half");
    drop(agent);
    let seen = upstream.rest();
    assert!(!seen.contains("0\r\n\r\n"), "{seen}");
    assert_eq!(stage.outcome()["outcome"], "unknown");
}

#[test]
fn what_is_streamed_is_not_looked_into_not_held_and_not_replayed() {
    let stage = stage();
    let (story, name) = (stage.story, stage.name.as_str());
    let with = |rule: &str| {
        story.policy(
            &stage.agent.handle,
            &format!(
                "policy: {}\napplies_to: {{agents: [\"{}\"]}}\nrules:\n{rule}",
                stage.agent.handle, stage.agent.handle
            ),
        )
    };
    // In both orders: the policy second, and the service second.
    let refused = with(&format!("  - {{name: a, allow: [{name}.*], when: [params.id == '7']}}\n"));
    assert!(
        refused.status == 422 && refused.body.to_string().contains("its body is streamed"),
        "{:#}",
        refused.body
    );
    let guard = with(&format!(
        "  - {{name: a, allow: [{name}.*]}}\n  - {{name: b, guard: ['**'], when: [params.mode == 'x']}}\n"
    ));
    assert_eq!(guard.status, 422, "a star meets it too: {:#}", guard.body);
    let plain = service(name, &stage.upstream.base(), "{type: bearer}").replace("    stream: true\n", "");
    story.service(name, &plain).expect(200);
    with(&format!("  - {{name: a, allow: [{name}.*], when: [params.id == '7']}}\n")).expect(200);
    let second = story.service(name, &service(name, &stage.upstream.base(), "{type: bearer}"));
    assert!(
        second.status == 422 && second.body.to_string().contains("its body is streamed"),
        "{:#}",
        second.body
    );
    with(&format!("  - {{name: a, allow: [{name}.*], approve: {{by: [\"role:support-lead\"]}}}}\n"))
        .expect(200);
    story.service(name, &service(name, &stage.upstream.base(), "{type: bearer}")).expect(200);
    let put = |headers: &str| {
        let mut wire =
            stage.ask("PUT /put/7", &format!("connection: close\r\ncontent-length: 4\r\n{headers}"), "data");
        wire.rest()
    };
    let all = put("");
    assert!(all.starts_with("HTTP/1.1 403") && all.contains("can't be shown to a person"), "{all}");
    with(&format!("  - {{name: a, allow: [{name}.*]}}\n")).expect(200);
    let all = put("idempotency-key: one\r\n");
    assert!(all.starts_with("HTTP/1.1 400") && all.contains("params_invalid"), "{all}");
    let body = json!({"service": name, "action": format!("{name}.put"), "params": {"id": "7"}});
    story.client().post("/v1/actions").bearer(&stage.token).json(&body).send().refused(400, "params_invalid");
    assert!(stage.upstream.is_quiet(), "nothing was sent");
}

#[test]
fn basic_credentials_are_sent_and_found_in_what_comes_back() {
    let stage = stage_with("{type: basic}", &json!({"type": "basic", "username": "ada", "secret": SECRET}));
    let mut agent = stage.ask("GET /get/1", "connection: close\r\n", "");
    let mut upstream = stage.upstream.accept();
    // base64 of `ada:` and the secret.
    let pair = "YWRhOmNhbmFyeS11cHN0cmVhbS1zZWNyZXQtNWQxYzdlMGI5YQ==";
    assert!(upstream.seen().contains(&format!("authorization: Basic {pair}\r\n")), "{}", upstream.seen());
    upstream.send(format!("{CHUNKED}location: http://ada:{SECRET}@x/\r\netag: \"{pair}\"\r\n\r\n"));
    let (head, tail) = pair.split_at(20);
    upstream.send_chunk(format!("Basic {head}"));
    upstream.send_chunk(tail);
    upstream.send("0\r\n\r\n");
    let all = agent.rest();
    assert!(
        !all.contains(SECRET) && !all.contains("Y2FuYXJ5") && !all.contains("hbmFyeS11cHN0cmVhbS"),
        "{all}"
    );
    assert!(all.contains("location: http://ada:[scrubbed]@x/\r\n"), "{all}");
}

#[test]
fn a_secret_in_the_query_is_in_nothing_that_comes_back_or_is_written() {
    let secret = "canary query/secret+&1";
    let stage = stage_with("{type: query, name: api_key}", &json!({"type": "query", "secret": secret}));
    for (path, sent) in [("/get/1", "/get/1?"), ("/get/1?q=x", "/get/1?q=x&")] {
        let mut agent = stage.ask(&format!("GET {path}"), "connection: close\r\n", "");
        let mut upstream = stage.upstream.accept();
        let line = upstream.seen().lines().next().unwrap().to_owned();
        assert_eq!(line, format!("GET {sent}api_key=canary%20query%2Fsecret%2B%261 HTTP/1.1"));
        let target = line.split(' ').nth(1).unwrap();
        upstream.send(format!(
            "HTTP/1.1 302 Found\r\nlocation: http://x{target}\r\nlink: <http://x{target}>; rel=next\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{target}",
            target.len()
        ));
        let all = agent.rest();
        assert!(!all.contains("canary") && all.contains("api_key=[scrubbed]"), "{all}");
    }
    // A request that brings the member itself is refused, whatever the case.
    for own in ["api_key=mine", "q=1&api_key=mine", "API_KEY=mine", "api%5Fkey=mine"] {
        let all = stage.ask(&format!("GET /get/1?{own}"), "connection: close\r\n", "").rest();
        assert!(all.starts_with("HTTP/1.1 400") && all.contains("params_invalid"), "{own}: {all}");
    }
    let taken = service(&stage.name, &stage.upstream.base(), "{type: query, name: Q}");
    let refused = stage.story.service(&stage.name, &taken);
    assert!(
        refused.status == 422 && refused.body.to_string().contains("carries the credential"),
        "{:#}",
        refused.body
    );
    // An upstream that hangs up is told by its host alone.
    let mut agent = stage.ask("GET /get/1", "connection: close\r\n", "");
    drop(stage.upstream.accept());
    let all = agent.rest();
    assert!(all.contains("\"happened\":\"unknown\"") && !all.contains("canary"), "{all}");
    let record = serde_json::to_string(&stage.story.record()).unwrap();
    assert!(!record.contains("canary%20query") && !record.contains(secret));
}

#[test]
fn a_secret_too_short_to_be_searched_for_makes_answers_whole() {
    let stage = stage_with("{type: header, name: x-key}", &json!({"type": "header", "secret": "s3cret"}));
    let mut agent = stage.ask("GET /get/1", "connection: close\r\n", "");
    let mut upstream = stage.upstream.accept();
    upstream.send(format!("{CHUNKED}content-type: application/json\r\n\r\n"));
    upstream.send_chunk("{\"key\": \"s3c");
    upstream.send_chunk("ret\", \"text\": \"s3crets\"}");
    upstream.send("0\r\n\r\n");
    let all = agent.rest();
    assert!(all.ends_with("{\"key\":\"[scrubbed]\",\"text\":\"s3crets\"}"), "{all}");
}
