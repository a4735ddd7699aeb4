//! WebSockets through the proxy door: each hop has a handshake of its own, each message of an agent's is an action that is
//! judged, recorded and written anew, and all ends with what it rests on.

use crate::{
    parties::read,
    stage::{PLACET, story},
    upgrade,
};
use placet_server::clock::Clock;
use placet_testkit::{Agent, Heard, Reply, SECRET, Story, Talk, Upstream, WebSocketUpstream, fresh, until};
use serde_json::{Value, json};

/// A service at an upstream that a test plays, and an agent that may do there what the rules say.
struct Room<'s> {
    story: &'s Story,
    upstream: WebSocketUpstream,
    /// The service and the connection; actions are `NAME.open`, `NAME.say`, `NAME.pay` and `NAME.look`.
    name: String,
    agent: Agent,
    token: String,
}

fn service(name: &str, base: &str, websocket: &str) -> String {
    let params = |more: &str, required: &str| {
        format!(
            "params: {{type: object, properties: {{room: {{type: string}}{more}}}, required: [room{required}], additionalProperties: false}}"
        )
    };
    let (open, say) = (params("", ""), params(", text: {type: string}, id: {}", ", text"));
    let pay = params(", amount: {type: number}", ", amount");
    format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\nactions:\n\
         \x20 {name}.open:\n    method: GET\n    path: /rooms/{{room}}\n    resource: room://{name}/{{room}}\n    effect: read\n    websocket: {{{websocket}}}\n    {open}\n\
         \x20 {name}.look: {{method: GET, path: '/looks/{{room}}', resource: 'room://{name}/{{room}}', effect: read}}\n\
         \x20 {name}.say:\n    message: {{of: {name}.open, match: {{/type: say}}}}\n    resource: room://{name}/{{room}}\n    effect: write\n    {say}\n\
         \x20 {name}.pay:\n    message: {{of: {name}.open, match: {{/type: pay}}}}\n    resource: room://{name}/{{room}}\n    effect: money\n    {pay}\n"
    )
}

fn rules(name: &str) -> String {
    format!(
        "  - {{name: in, allow: [{name}.open, {name}.look]}}\n\
         \x20 - {{name: say, allow: [{name}.say], when: [\"params.text != 'no'\"], limits: [{{count: 3, per: day}}]}}\n\
         \x20 - {{name: pay, allow: [{name}.pay], when: [params.amount < 1000], approve: {{when: params.amount > 10, by: [\"role:support-lead\"]}}}}\n"
    )
}

fn room_on<'s>(story: &'s Story, websocket: &str) -> Room<'s> {
    let (upstream, name) = (WebSocketUpstream::start(), fresh("room"));
    story.service(&name, &service(&name, upstream.base(), websocket)).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([format!("{name}.*")]))
        .with("resource_access", json!(["room://**"]))
        .register();
    story.rules(&agent.handle, &rules(&name)).expect(201);
    let token = agent.token(&story.client(), &format!("{name}.*"));
    Room { story, upstream, name, agent, token }
}

fn room_with(websocket: &str) -> Room<'static> {
    room_on(story(), websocket)
}

fn room() -> Room<'static> {
    room_with("protocols: [v2.feed]")
}

impl Room<'_> {
    fn open_with(&self, more: &[(&str, &str)]) -> Result<Talk, (u16, String)> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], more].concat();
        let path = format!("/proxy/{}/rooms/1", self.name);
        Talk::open(self.story.client().base(), &path, &headers).map_err(|(status, _, body)| (status, body))
    }

    fn open(&self) -> (Talk, Talk) {
        let agent = self.open_with(&[]).unwrap();
        (agent, self.upstream.accept())
    }

    fn revoke(&self) {
        let form = [("token", self.token.as_str())];
        let client = self.story.client();
        client.post("/oauth/revoke").basic(&self.agent.id, &self.agent.secret).form(&form).send().expect(200);
    }

    /// What is recorded of the agent, in short: type, action, outcome or first code.
    fn record(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mine = self.story.record().into_iter().filter(|entry| entry["agent"] == self.agent.id.as_str());
        mine.map(|entry| {
            let end = match &entry["outcome"] {
                Value::Null => text(&entry["codes"][0]),
                outcome => text(outcome),
            };
            (text(&entry["type"]), text(&entry["action"]), end)
        })
        .collect()
    }

    fn recorded(&self, kind: &str, action: &str, end: &str) -> usize {
        let action = if action.is_empty() { String::new() } else { format!("{}.{action}", self.name) };
        let wanted = (kind.to_owned(), action, end.to_owned());
        self.record().into_iter().filter(|entry| *entry == wanted).count()
    }
}

#[test]
fn each_message_is_an_action_with_entries_of_its_own_and_is_written_anew() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    assert_eq!(agent.header("placet-decision"), Some("allow"));
    assert!(agent.header("placet-action").is_some_and(|id| id.starts_with("act_")));
    agent.say("{ \"text\" : \"h\\u0069\", \"id\": 1.0, \"type\":\"say\" }");
    assert_eq!(upstream.text(), r#"{"id":1.0,"text":"hi","type":"say"}"#);
    // Before upstream had it, it was recorded.
    assert_eq!(room.recorded("action.intent", "say", ""), 1);
    upstream.say(r#"{"type": "said", "text": "hi"}"#);
    assert_eq!(agent.text(), r#"{"type": "said", "text": "hi"}"#);
    agent.say_in_pieces(&[br#"{"type":"say","#, br#""text":"#, br#""two"}"#]);
    assert_eq!(upstream.text(), r#"{"text":"two","type":"say"}"#);
    // Each hop answers its own pings.
    agent.ping();
    assert_eq!(agent.hear(), Heard::Pong);
    upstream.ping();
    assert_eq!(upstream.hear(), Heard::Pong);
    agent.close(4007, "what nobody judged");
    assert_eq!(upstream.hear(), Heard::Closed(1000, String::new()));
    until("the outcomes", || {
        let all =
            (room.recorded("action.outcome", "open", "done"), room.recorded("action.outcome", "say", "done"));
        (all == (1, 2)).then_some(())
    });
}

#[test]
fn each_hop_has_a_handshake_of_its_own_and_nothing_of_the_agents_goes_on() {
    let room = room();
    let own = [
        ("origin", "https://page.example"),
        ("cookie", "session=1"),
        ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
        ("sec-websocket-protocol", "base64url.bearer.dG9rZW4, v2.feed, v1.feed"),
        ("x-api-key", "agent-key"),
    ];
    let agent = room.open_with(&own).unwrap();
    let upstream = room.upstream.accept();
    assert_eq!(upstream.target, "/rooms/1");
    assert_eq!(upstream.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert_eq!(upstream.header("sec-websocket-protocol"), Some("v2.feed"));
    assert_eq!(agent.header("sec-websocket-protocol"), Some("v2.feed"));
    assert_ne!(upstream.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    for name in ["origin", "cookie", "sec-websocket-extensions", "x-api-key", "placet-authorization"] {
        assert!(upstream.header(name).is_none() && agent.header(name).is_none(), "{name}");
    }
    let all = format!("{:?}", upstream.headers);
    assert!(!all.contains(&room.token) && !all.contains("dG9rZW4"), "{all}");
    // Nothing that is declared is among what is offered: then nothing is offered.
    let (_, error) = room.open_with(&[("sec-websocket-protocol", "v9")]).unwrap_err();
    assert!(error.contains("no subprotocol"), "{error}");
    assert!(room.upstream.accept().header("sec-websocket-protocol").is_none());
}

#[test]
fn threat_03_no_message_reaches_an_upstream_that_is_no_action() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    for (text, code) in [
        (r#"{"type": "shout", "text": "x"}"#, "not_granted"),
        (r#"{"text": "x"}"#, "not_granted"),
        (r#"{"type": "SAY", "text": "x"}"#, "not_granted"),
        (r#"{"type": "say", "text": "x", "as": "root"}"#, "params_invalid"),
        (r#"{"type": "say", "text": "x", "room": "2"}"#, "params_invalid"),
        (r#"{"type": "say", "text": "x", "type": "shout"}"#, "params_invalid"),
        (r#"{"type": "say", "text": ["x"]}"#, "params_invalid"),
        (r#"[{"type": "say", "text": "x"}]"#, "params_invalid"),
        (r#"{"type": "say", "text": "x"} {"type": "shout"}"#, "params_invalid"),
        ("say x", "params_invalid"),
        ("", "params_invalid"),
    ] {
        agent.say(text);
        let told = agent.json();
        assert_eq!(told["code"], code, "{text}: {told}");
    }
    agent.say(r#"{"type": "say", "text": "last"}"#);
    assert_eq!(upstream.text(), r#"{"text":"last","type":"say"}"#, "the first thing that upstream hears");
    assert!(room.recorded("decision.deny", "", "not_granted") >= 1);
    // What can't be a message ends it, with the code that says why.
    let long = format!(r#"{{"type": "say", "text": "{}"}}"#, "x".repeat(1024 * 1024));
    type Said<'a> = &'a dyn Fn(&mut Talk);
    let ends: [(u16, Said<'_>); 4] = [
        (1003, &|agent| agent.say_bytes(br#"{"type": "say", "text": "x"}"#)),
        (1009, &|agent| agent.say(long.as_str())),
        (1002, &|agent| agent.say_compressed(b"\xaa\x56\x2a")),
        (1007, &|agent| agent.say_in_pieces(&[b"\"\xff", b"\""])),
    ];
    for (code, what) in ends {
        let (mut agent, mut upstream) = room.open();
        what(&mut agent);
        assert_eq!(agent.closed(), code);
        assert_eq!(upstream.hear(), Heard::Closed(1001, String::new()), "{code}");
    }
}

#[test]
fn threat_04_reflection_over_a_websocket_comes_back_without_the_secret() {
    let room = room_with("binary: true");
    let (mut agent, mut upstream) = room.open();
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = SECRET.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for form in [SECRET, &hex, &escaped, "Y2FuYXJ5LXVwc3RyZWFtLXNlY3JldC01ZDFjN2UwYjlh"] {
        for cut in [0, 1, form.len() / 2, form.len() - 1] {
            let (head, tail) = form.split_at(cut);
            upstream.say_in_pieces(&[b"{\"a\": \"", head.as_bytes(), tail.as_bytes(), b"\"}"]);
            assert_eq!(agent.text(), r#"{"a": "[scrubbed]"}"#, "{form} cut at {cut}");
        }
    }
    upstream.say_bytes(format!("\u{1}{SECRET}\u{2}").as_bytes());
    assert_eq!(agent.hear(), Heard::Bytes(b"\x01[scrubbed]\x02".to_vec()));
    upstream.close(4001, &format!("bad token {SECRET}"));
    assert_eq!(agent.hear(), Heard::Closed(4001, "bad token [scrubbed]".to_owned()));
    // Bytes that nobody declared end it, and nothing of them comes.
    let plain = room_with("");
    let (mut agent, mut upstream) = plain.open();
    upstream.say_bytes(b"\x01");
    assert_eq!(agent.closed(), 1011);
    assert_eq!(upstream.closed(), 1003);
}

#[test]
fn what_is_denied_is_told_in_the_declared_frame_and_everything_else_goes_on() {
    let room =
        room_with("refused: {type: error, re: $message/id, code: $code, ask: $approval, all: $problem}");
    let (mut agent, mut upstream) = room.open();
    let say = |text: &str, id: u32| json!({"type": "say", "text": text, "id": id}).to_string();
    agent.say(say("no", 1));
    let told = agent.json();
    assert_eq!((&told["type"], &told["re"], &told["ask"]), (&json!("error"), &json!(1), &Value::Null));
    assert_eq!((&told["code"], &told["all"]["decision"]), (&json!("condition_failed"), &json!("deny")));
    for id in 2..5 {
        agent.say(say("yes", id));
        assert!(upstream.text().contains(&format!("\"id\":{id},")));
    }
    agent.say(say("yes", 5));
    let told = agent.json();
    assert_eq!((&told["code"], &told["re"]), (&json!("limit_exceeded"), &json!(5)), "{told}");
    assert_eq!(room.recorded("action.intent", "say", ""), 3);
    assert_eq!(room.recorded("decision.deny", "say", "limit_exceeded"), 1);
}

#[test]
fn a_held_message_is_refused_with_the_link_and_goes_when_it_is_said_again() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    let pay = |amount: u32| json!({"type": "pay", "amount": amount}).to_string();
    agent.say(pay(5));
    assert_eq!(upstream.text(), r#"{"amount":5,"type":"pay"}"#);
    agent.say(pay(50));
    let told = agent.json();
    assert_eq!((&told["code"], &told["decision"]), (&json!("approval_required"), &json!("hold")));
    assert!(told["approval"]["url"].as_str().unwrap().contains("/"), "{told}");
    let id = told["approval"]["id"].as_str().unwrap().to_owned();
    // Asking again asks nobody anew.
    agent.say(pay(50));
    assert_eq!(agent.json()["approval"]["id"], id.as_str());
    let approve = json!({"verdict": "approve"});
    room.story.approver().post(&format!("/v1/approvals/{id}")).json(&approve).send().expect(200);
    // The yes is for this message alone, and once.
    agent.say(pay(51));
    assert_ne!(agent.json()["approval"]["id"], id.as_str());
    agent.say(pay(50));
    assert_eq!(upstream.text(), r#"{"amount":50,"type":"pay"}"#);
    agent.say(pay(50));
    assert_ne!(agent.json()["approval"]["id"], id.as_str());
}

#[test]
fn an_open_websocket_ends_with_its_grant() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    room.revoke();
    assert_eq!(agent.closed(), 1008);
    assert_eq!(upstream.closed(), 1001);
    until("the outcome", || (room.recorded("action.outcome", "open", "cut") == 1).then_some(()));
}

#[test]
fn an_open_websocket_ends_with_its_token_though_nothing_is_said() {
    let room = room();
    let (header, mut claims) = read(&room.token);
    let end = Clock::System.now().as_seconds() + 3;
    claims["exp"] = json!(end);
    let room = Room { token: upgrade::signed(&header, &claims), ..room };
    let (mut agent, mut upstream) = room.open();
    upstream.say("heard");
    assert_eq!(agent.text(), "heard");
    assert_eq!(agent.closed(), 1008);
    assert!(Clock::System.now().as_seconds() >= end, "it ended before its time");
    assert_eq!(upstream.closed(), 1001);
}

#[test]
fn an_open_websocket_ends_with_the_secret_that_it_was_opened_with() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    let anew = json!({"auth": {"type": "bearer", "secret": "another-secret-of-the-room"}});
    let path = format!("/v1/connections/{}", room.name);
    room.story.admin().patch(&path).json(&anew).send().expect(200);
    // It was judged for whoever has the new one, and would be said by whoever had the old one.
    agent.say(r#"{"type": "say", "text": "whose?"}"#);
    assert_eq!(upstream.hear(), Heard::Closed(1001, String::new()));
    assert_eq!(agent.closed(), 1001);
    room.open();
}

#[test]
fn who_pings_and_reads_nothing_fills_no_memory() {
    let story = Story::new(PLACET);
    let room = room_on(&story, "");
    let (mut agent, _upstream) = room.open();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", story.server.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = memory();
    // 25 MB of answers, of which a few are kept.
    agent.ping_on(200_000);
    let after = memory();
    assert!(after < before + 14_000, "{before} and then {after} KiB");
}

#[test]
fn an_open_websocket_ends_with_its_rules_and_each_message_is_judged_by_todays() {
    let room = room();
    let (mut agent, mut upstream) = room.open();
    let only = format!("  - {{name: in, allow: [{}.open]}}\n", room.name);
    room.story.rules(&room.agent.handle, &only).expect(200);
    agent.say(r#"{"type": "say", "text": "x"}"#);
    assert_eq!(agent.json()["code"], "no_rule");
    let look = format!("  - {{name: look, allow: [{}.look]}}\n", room.name);
    room.story.rules(&room.agent.handle, &look).expect(200);
    assert_eq!(agent.closed(), 1008);
    assert_eq!(upstream.closed(), 1001);
}

#[test]
fn a_server_that_stops_closes_what_is_open_and_records_it() {
    let mut story = Story::new(PLACET);
    let (mut agent, mut upstream, id) = {
        let room = room_on(&story, "");
        let (mut agent, mut upstream) = room.open();
        agent.say(r#"{"type": "say", "text": "before"}"#);
        assert_eq!(upstream.text(), r#"{"text":"before","type":"say"}"#);
        (agent, upstream, room.agent.id.clone())
    };
    assert_eq!(story.server.stop(), Some(0));
    assert_eq!(agent.hear(), Heard::Closed(1001, "unavailable".to_owned()));
    assert_eq!(upstream.closed(), 1001);
    story.server.restart();
    let record = story.record();
    let outcomes: Vec<(&Value, &Value)> = record
        .iter()
        .filter(|entry| entry["type"] == "action.outcome" && entry["agent"] == id.as_str())
        .map(|entry| (&entry["outcome"], &entry["codes"]))
        .collect();
    assert!(outcomes.contains(&(&json!("cut"), &json!(["unavailable"]))), "{outcomes:?}");
    assert!(outcomes.iter().any(|(outcome, _)| **outcome == "done"), "{outcomes:?}");
}

#[test]
fn rules_that_shape_let_no_websocket_through() {
    let room = room();
    let shaped = format!(
        "  - {{name: all, allow: [{0}.open], shape: {{redact: [\"$.card\"]}}}}\n  - {{name: say, allow: [{0}.say], shape: {{redact: [\"$.card\"]}}}}\n",
        room.name
    );
    let open = format!("  - {{name: open, allow: [{}.open]}}\n", room.name);
    room.story.rules(&room.agent.handle, &shaped).expect(200);
    let (status, body) = room.open_with(&[]).unwrap_err();
    assert!(status == 403 && body.contains("shape"), "{status} {body}");
    room.story
        .rules(&room.agent.handle, &format!("{open}{}", shaped.split_once('\n').unwrap().1))
        .expect(200);
    let (mut agent, _upstream) = room.open();
    agent.say(r#"{"type": "say", "text": "x"}"#);
    assert_eq!(agent.json()["code"], "forbidden");
}

#[test]
fn silence_ends_it_and_signs_of_life_do_not() {
    let room = room_with("idle: 2s");
    let (mut agent, mut upstream) = room.open();
    let began = std::time::Instant::now();
    // Either side's is a sign.
    while began.elapsed() < std::time::Duration::from_secs(5) {
        upstream.ping();
        assert_eq!(upstream.hear(), Heard::Pong);
        std::thread::park_timeout(std::time::Duration::from_millis(200));
    }
    agent.ping();
    assert_eq!(agent.hear(), Heard::Pong);
    assert_eq!(agent.hear(), Heard::Closed(1001, "idle".to_owned()));
    assert_eq!(upstream.closed(), 1001);
}

#[test]
fn what_is_no_websocket_is_answered_as_what_it_is() {
    let room = room();
    let (story, name) = (room.story, &room.name);
    let get = |path: &str| story.client().get(&format!("/proxy/{name}{path}")).bearer(&room.token).send();
    let answer = get("/rooms/1").expect(400);
    assert!(answer.text("/detail").contains("Upgrade: websocket"), "{answer:?}");
    let bearer = format!("Bearer {}", room.token);
    let open = |path: &str, headers: &[(&str, &str)]| {
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        let opened = Talk::open(story.client().base(), &format!("/proxy/{name}{path}"), &headers);
        opened.map(drop).map_err(|(status, _, body)| (status, body))
    };
    let (status, body) = open("/looks/1", &[]).unwrap_err();
    assert!(status == 501 && body.contains("not_supported"), "{status} {body}");
    let (status, body) = open("/rooms/1", &[("idempotency-key", "k")]).unwrap_err();
    assert!(status == 400 && body.contains("Idempotency-Key"), "{status} {body}");
    let nobody = Talk::open(story.client().base(), &format!("/proxy/{name}/rooms/1"), &[]).unwrap_err();
    assert_eq!(nobody.0, 401);
    for action in ["open", "say"] {
        let params = json!({"room": "1", "text": "x"});
        let params = if action == "open" { json!({"room": "1"}) } else { params };
        let body = json!({"service": name, "action": format!("{name}.{action}"), "params": params});
        let answer = story.client().post("/v1/actions").bearer(&room.token).json(&body).send().expect(400);
        assert!(answer.text("/detail").contains("WebSocket"), "{answer:?}");
    }
    assert!(room.upstream.is_quiet());
    let listed = story.client().get("/v1/catalog").bearer(&room.token).send().expect(200);
    let entry = |action: &str| {
        let action = format!("{name}.{action}");
        listed
            .at("/actions")
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["action"] == action.as_str())
            .unwrap()
    };
    assert_eq!(entry("open")["websocket"], json!({"protocols": ["v2.feed"]}));
    assert_eq!(entry("say")["message"], json!({"of": format!("{name}.open"), "match": {"/type": "say"}}));
    // An upstream that opens none answers what it likes.
    let other = Upstream::start(SECRET);
    other.reply("/rooms", Reply::json(403, &json!({"error": format!("not with {SECRET}")})));
    let plain = fresh("room");
    story.service(&plain, &service(&plain, other.base(), "")).expect(201);
    story.connection(&plain, &plain, &json!({})).expect(201);
    let agent = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([format!("{plain}.*")]))
        .with("resource_access", json!(["room://**"]))
        .register();
    story.rules(&agent.handle, &rules(&plain)).expect(201);
    let token = agent.token(&story.client(), &format!("{plain}.*"));
    let bearer = format!("Bearer {token}");
    let path = format!("/proxy/{plain}/rooms/1");
    let refused = Talk::open(story.client().base(), &path, &[("authorization", &bearer)]).unwrap_err();
    assert_eq!((refused.0, refused.2.as_str()), (403, r#"{"error":"not with [scrubbed]"}"#));
    assert!(!format!("{:?}", refused.1).contains(SECRET));
}
