//! What one agent does to an upstream that others use as well: it has turns of its own, and does not keep them for as long as
//! it likes.

use crate::stage::story;
use placet_testkit::{Agent, Answer, Gate, RawUpstream, Reply, SECRET, Story, Upstream, fresh, until};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

/// A service of its own, at which agents may read and upload.
struct Stage {
    story: &'static Story,
    name: String,
}

fn stage(base: &str, keys: &str) -> Stage {
    let (story, name) = (story(), fresh("load"));
    let service = format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\n{keys}actions:\n  {name}.get: {{method: GET, path: '/get/{{id}}', resource: 'file://{name}/{{id}}', effect: read}}\n  {name}.put: {{method: PUT, path: '/put/{{id}}', resource: 'file://{name}/{{id}}', effect: write, stream: true}}\n"
    );
    story.service(&name, &service).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    Stage { story, name }
}

impl Stage {
    fn agent(&self) -> (Agent, String) {
        let agent = self.story.agent(&fresh("agent-"));
        let agent = agent
            .with("allowed_tools", json!([format!("{}.*", self.name)]))
            .with("resource_access", json!(["file://**"]))
            .register();
        self.story
            .rules(&agent.handle, &format!("  - {{name: all, allow: [{}.*]}}\n", self.name))
            .expect(201);
        let token = agent.token(&self.story.client(), &format!("{}.*", self.name));
        (agent, token)
    }

    fn get(&self, token: &str, id: &str) -> Answer {
        let body = json!({"action": format!("{}.get", self.name), "params": {"id": id}});
        self.story.client().post("/v1/actions").bearer(token).json(&body).send()
    }

    fn standing(&self) -> Value {
        let listed = self.story.admin().get("/v1/services").send().expect(200);
        let services = listed.at("/services").as_array().unwrap().clone();
        services.into_iter().find(|it| it["service"] == json!(self.name)).unwrap()["upstream"].clone()
    }
}

#[test]
fn one_agent_with_many_slow_calls_leaves_a_turn_to_others() {
    let upstream = Upstream::start(SECRET);
    let gate = Gate::shut();
    upstream.reply("/get/slow", Reply::status(200).after(&gate));
    let stage = stage(upstream.base(), "concurrency: 4\n");
    let ((_, greedy), (_, other)) = (stage.agent(), stage.agent());
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| stage.get(&greedy, "slow"));
        }
        until("all to be under way or to wait", || {
            let standing = stage.standing();
            let all = standing["under_way"].as_u64()? + standing["waiting"].as_u64()?;
            (all == 12 && upstream.count("/get/slow") >= 3).then_some(())
        });
        assert_eq!((&stage.standing()["under_way"], upstream.count("/get/slow")), (&json!(3), 3));
        // All of its calls wait still, and another one is answered at once, as often as it likes.
        for _ in 0..5 {
            stage.get(&other, "quick").expect(200);
        }
        assert_eq!(upstream.count("/get/slow"), 3);
        gate.open();
    });
    assert_eq!(upstream.count("/get/slow"), 12, "and nothing of the one is lost");
    assert_eq!((&stage.standing()["under_way"], &stage.standing()["waiting"]), (&json!(0), &json!(0)));
}

/// Calls under way hold a connection on either side: of one agent, with those below it, so many on a node and no more.
#[test]
fn one_agent_has_so_many_actions_under_way_and_no_more() {
    const EACH: usize = 512;
    let upstream = Upstream::start(SECRET);
    let gate = Gate::shut();
    upstream.reply("/get/slow", Reply::status(200).after(&gate));
    let stage = stage(upstream.base(), "concurrency: 2000\ntimeout: 120s\n");
    let ((_, greedy), (_, other)) = (stage.agent(), stage.agent());
    let address = stage.story.client().base().strip_prefix("http://").unwrap().to_owned();
    let ask = || {
        let mut wire = TcpStream::connect(&address).unwrap();
        let head = format!(
            "GET /proxy/{}/get/slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {greedy}\r\nconnection: close\r\n\r\n",
            stage.name
        );
        wire.write_all(head.as_bytes()).unwrap();
        wire
    };
    let open: Vec<TcpStream> = (0..EACH).map(|_| ask()).collect();
    until("all to be under way", || (upstream.count("/get/slow") == EACH).then_some(()));
    let mut refused = String::new();
    ask().read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\"too_many_requests\""), "{refused}");
    stage.get(&other, "quick").expect(200);
    gate.open();
    for mut wire in open {
        let mut answer = String::new();
        wire.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // What has ended makes room.
    until("room", || (stage.get(&greedy, "again").status == 200).then_some(()));
}

/// A byte now and then keeps no turn, and who sends them is told.
#[test]
fn an_upload_that_dribbles_is_given_up() {
    let upstream = RawUpstream::start();
    let stage = stage(&upstream.base(), "concurrency: 1\nupload: {rate: 100, pause: 2s}\n");
    let (agent, token) = stage.agent();
    let began = Instant::now();
    let mut wire = TcpStream::connect(stage.story.client().base().strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "PUT /proxy/{}/put/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n",
        stage.name
    );
    wire.write_all(head.as_bytes()).unwrap();
    wire.write_all(b"4\r\nhalf\r\n").unwrap();
    let mut place = upstream.accept();
    place.until("half");
    assert_eq!(stage.standing()["under_way"], json!(1));
    let (mut sent, mut answer) = (0_u32, Vec::new());
    wire.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut chunk = [0; 4096];
    // Until it is answered: more often than any pause, and more slowly than the rate.
    loop {
        assert!(began.elapsed() < Duration::from_secs(40), "{sent} bytes, and nobody minds");
        match wire.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if !answer.is_empty() || wire.write_all(b"1\r\nx\r\n").is_err() {
                    break;
                }
                sent += 1;
            }
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("\"request_slow\"") && text.contains("\"happened\":\"unknown\""), "{text}");
    assert!(text.contains("placet-decision: allow"), "{text}");
    assert!(!place.rest().contains("0\r\n\r\n"), "a part is never the whole");
    // What came of it nobody knows, and its turn is somebody else's.
    let outcome = until("the outcome", || {
        let mut entries = stage.story.record().into_iter();
        entries.find(|it| it["type"] == "action.outcome" && it["agent"] == agent.id.as_str())
    });
    assert_eq!(outcome["outcome"], "unknown");
    until("the turn to be free", || (stage.standing()["under_way"] == json!(0)).then_some(()));
    // The upstream is not blamed for it.
    assert_eq!(stage.standing()["state"], json!("closed"));
}

#[test]
fn how_fast_uploads_come_is_a_rate_and_a_pause() {
    for wrong in
        ["upload: 7", "upload: {rate: 0}", "upload: {pause: 51s}", "upload: {pause: 2}", "upload: {speed: 1}"]
    {
        let name = fresh("wrong");
        let service = format!(
            "service: {name}\nbase_url: https://x.example\nauth: {{type: bearer}}\n{wrong}\nactions:\n  {name}.a: {{method: GET, path: /a, resource: 'a://a', effect: read}}\n"
        );
        story().service(&name, &service).refused(422, "document_invalid");
    }
}
