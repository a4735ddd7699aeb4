//! What an upstream can take: turns that are limited and fair, one that is slow or down and costs nobody else anything,
//! times that a service states, and an agent that reads slowly.

use crate::stage::story;
use placet_testkit::{Answer, Gate, RawUpstream, Reply, SECRET, Story, Upstream, fresh, together, until};
use serde_json::{Value, json};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A service of its own with its connection, and an agent that may read there, at most so often a day.
struct Stage {
    story: &'static Story,
    name: String,
    token: String,
}

fn stage(base: &str, keys: &str, most: u32) -> Stage {
    let story = story();
    let name = fresh("up");
    let service = format!(
        "service: {name}\nbase_url: {base}\nauth: {{type: bearer}}\n{keys}actions:\n  {name}.get: {{method: GET, path: '/get/{{id}}', resource: 'file://{name}/{{id}}', effect: read}}\n"
    );
    story.service(&name, &service).expect(201);
    story.connection(&name, &name, &json!({})).expect(201);
    let token = agent(story, &name, most);
    Stage { story, name, token }
}

/// The token of an agent that may read there, at most so often a day.
fn agent(story: &Story, name: &str, most: u32) -> String {
    let agent = story.agent(&fresh("agent-"));
    let agent = agent
        .with("allowed_tools", json!([format!("{name}.*")]))
        .with("resource_access", json!(["file://**"]))
        .register();
    let limits = format!("  - {{name: all, allow: [{name}.*], limits: [{{count: {most}, per: day}}]}}\n");
    story.rules(&agent.handle, &limits).expect(201);
    agent.token(&story.client(), &format!("{name}.*"))
}

impl Stage {
    /// The same place with another agent.
    fn another(&self) -> Self {
        let token = agent(self.story, &self.name, 1000);
        Self { story: self.story, name: self.name.clone(), token }
    }

    fn get(&self, id: &str) -> Answer {
        let body = json!({"action": format!("{}.get", self.name), "params": {"id": id}});
        self.story.client().post("/v1/actions").bearer(&self.token).json(&body).send()
    }

    /// How the upstream stands.
    fn standing(&self) -> Value {
        let listed = self.story.admin().get("/v1/services").send().expect(200);
        let services = listed.at("/services").as_array().unwrap().clone();
        services.into_iter().find(|it| it["service"] == json!(self.name)).unwrap()["upstream"].clone()
    }

    fn gauge(&self, name: &str) -> u64 {
        let text =
            String::from_utf8(self.story.server.admin().get("/metrics").send().expect(200).bytes).unwrap();
        let line = format!("{name}{{service=\"{}\"}} ", self.name);
        text.lines()
            .find_map(|it| it.strip_prefix(&line))
            .unwrap_or_else(|| panic!("no {line}"))
            .parse()
            .unwrap()
    }
}

/// One upstream that says nothing has its own queue: nobody else's calls wait behind it, and its own are bounded.
#[test]
fn a_silent_upstream_takes_no_room_of_others() {
    let silent = RawUpstream::start();
    let slow = stage(&silent.base(), "concurrency: 2\ntimeout: 25s\n", 1000);
    let other = slow.another();
    let quick = Upstream::start(SECRET);
    let quick = stage(quick.base(), "concurrency: 2\n", 1000);
    let (all, done) = (Arc::new(Barrier::new(31)), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..30 {
            let (all, done) = (Arc::clone(&all), &done);
            // One agent alone does not get the last turn.
            let asking = if number % 2 == 0 { &slow } else { &other };
            scope.spawn(move || {
                all.wait();
                let answer = asking.get(&number.to_string());
                assert!(matches!(answer.status, 502..=504), "{}: {:#}", answer.status, answer.body);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        all.wait();
        let (_first, _second) = (silent.accept(), silent.accept());
        until("the queue of the slow one to fill", || (slow.standing()["waiting"] == json!(8)).then_some(()));
        // 2 are under way, 8 wait, 20 were turned away.
        until("those beyond to be turned away", || (done.load(Ordering::SeqCst) >= 20).then_some(()));
        assert_eq!(slow.standing()["under_way"], json!(2));
        assert!(slow.gauge("placet_upstream_turned_away_busy") >= 20);
        for answer in together(8, |number| quick.get(&number.to_string())) {
            answer.expect(200);
        }
        assert_eq!(slow.standing()["under_way"], json!(2), "which say nothing still");
        assert!(silent.is_quiet(), "no third call is under way");
    });
    assert_eq!(slow.standing()["waiting"], json!(0));
}

#[test]
fn who_is_turned_away_has_reserved_nothing_and_is_told_when_to_come_again() {
    let upstream = Upstream::start(SECRET);
    let gate = Gate::shut();
    upstream.reply("/get/held", Reply::status(200).after(&gate));
    let stage = stage(upstream.base(), "concurrency: 1\n", 3);
    thread::scope(|scope| {
        let held = scope.spawn(|| stage.get("held").expect(200));
        until("the call", || (upstream.count("/get/held") == 1).then_some(()));
        // It waits for its turn for ten seconds.
        let refused = stage.get("late").refused(503, "upstream_busy");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!((refused.at("/happened"), refused.at("/retry_after")), (&json!("no"), &json!(1)));
        assert_eq!(upstream.count("/get/late"), 0);
        gate.open();
        held.join().unwrap();
    });
    // Three a day: the one that was turned away was none of them.
    stage.get("second").expect(200);
    stage.get("third").expect(200);
    stage.get("fourth").refused(403, "limit_exceeded");
}

#[test]
fn turns_come_in_the_order_in_which_they_were_asked_for() {
    let upstream = Upstream::start(SECRET);
    let gate = Gate::shut();
    upstream.reply("/get/first", Reply::status(200).after(&gate));
    let stage = stage(upstream.base(), "concurrency: 1\n", 1000);
    thread::scope(|scope| {
        scope.spawn(|| stage.get("first").expect(200));
        until("the call", || (upstream.count("/get/first") == 1).then_some(()));
        for number in 0..4 {
            let stage = &stage;
            scope.spawn(move || stage.get(&format!("turn{number}")).expect(200));
            until("it to wait", || (stage.standing()["waiting"] == json!(number + 1)).then_some(()));
        }
        gate.open();
    });
    let order: Vec<String> = upstream.seen_at("/get/turn").into_iter().map(|seen| seen.path).collect();
    assert_eq!(order, ["/get/turn0", "/get/turn1", "/get/turn2", "/get/turn3"]);
}

/// Down, it is not asked; up again, one call tries and the others follow.
#[test]
fn an_upstream_that_is_down_is_not_asked_until_one_call_has_tried() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let stage = stage(&format!("http://{address}"), "", 8);
    for _ in 0..5 {
        stage.get("x").refused(502, "upstream_unreachable");
    }
    let refused = stage.get("x").refused(503, "upstream_unavailable");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds), "{seconds}");
    assert_eq!((refused.at("/happened"), refused.at("/retry_after")), (&json!("no"), &json!(seconds)));
    assert!(refused.body.get("id").is_none(), "no action came of it");
    let standing = stage.standing();
    assert_eq!(standing["state"], json!("open"));
    assert_eq!(stage.gauge("placet_upstream_breaker"), 2);
    assert!(stage.gauge("placet_upstream_turned_away_broken") >= 1);
    let ready = stage.story.client().get("/readyz").send().expect(200);
    assert!(ready.at("/upstreams_not_answering").as_u64().unwrap() >= 1, "it is ready all the same");
    let doctor = stage.story.server.cli().arg("doctor").output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("upstreams"), "{doctor:?}");
    // Somebody answers there now, one at a time, and counts who comes.
    let upstream = TcpListener::bind(address).unwrap();
    let (came, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
    let (counted, opened) = (Arc::clone(&came), Arc::clone(&gate));
    thread::spawn(move || {
        for stream in upstream.incoming().map_while(Result::ok) {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            let opened = Arc::clone(&opened);
            thread::spawn(move || answer_all(stream, first.then_some(opened)));
        }
    });
    thread::scope(|scope| {
        let trial = scope.spawn(|| {
            until("it to be tried", || {
                let answer = stage.get("trial");
                (answer.status != 503).then_some(answer)
            })
        });
        until("the one that tries", || (came.load(Ordering::SeqCst) == 1).then_some(()));
        assert_eq!(stage.standing()["state"], json!("half_open"));
        for answer in together(8, |_| stage.get("beside")) {
            answer.refused(503, "upstream_unavailable");
        }
        assert_eq!(came.load(Ordering::SeqCst), 1, "one tries");
        gate.wait();
        trial.join().unwrap().expect(200);
    });
    assert_eq!(stage.standing()["state"], json!("closed"));
    // Five were given back, as nothing was sent; eight a day is what there is.
    for _ in 0..7 {
        stage.get("again").expect(200);
    }
    stage.get("again").refused(403, "limit_exceeded");
}

/// Answers every request on a connection; the first after somebody has said so.
fn answer_all(mut stream: TcpStream, wait: Option<Arc<Barrier>>) {
    let (mut seen, mut chunk, mut wait) = (Vec::new(), [0; 4096], wait);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => seen.extend_from_slice(&chunk[..count]),
        }
        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            seen.drain(..end + 4);
            if let Some(wait) = wait.take() {
                wait.wait();
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").is_err() {
                return;
            }
        }
    }
}

#[test]
fn an_upstream_that_mostly_fails_is_left_alone() {
    let upstream = Upstream::start(SECRET);
    let stage = stage(upstream.base(), "", 1000);
    upstream.reply("/get/bad", Reply::status(503));
    upstream.reply("/get/strange", Reply::status(404));
    // Answers that say no are answers.
    for _ in 0..30 {
        stage.get("strange").expect(200);
    }
    assert_eq!(stage.standing()["state"], json!("closed"));
    let statuses: Vec<u16> = (0..60).map(|_| stage.get("bad").status).collect();
    let sent = upstream.count("/get/bad");
    assert!((20..60).contains(&sent), "{sent} of 60");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), sent, "an answer is passed on");
    assert_eq!(statuses.last(), Some(&503), "and then nobody asks any more");
    assert_eq!(upstream.count("/get/"), 30 + sent);
}

/// Who asks chooses what is asked. What an agent meets by that keeps itself away, and others only where they meet it, too.
#[test]
fn what_one_agent_meets_keeps_nobody_else_away() {
    let upstream = Upstream::start(SECRET);
    let one = stage(upstream.base(), "", 1000);
    let other = one.another();
    upstream.reply("/get/gone", Reply::hang_up());
    upstream.reply("/get/bad", Reply::status(500));
    for _ in 0..5 {
        one.get("gone").refused(502, "upstream_unreachable");
    }
    let refused = one.get("fine").refused(503, "upstream_unavailable");
    assert!(refused.header("retry-after").is_some() && refused.at("/happened") == &json!("no"));
    for _ in 0..3 {
        other.get("fine").expect(200);
    }
    let standing = one.standing();
    assert_eq!((&standing["state"], &standing["agents_kept_away"]), (&json!("closed"), &json!(1)));
    assert_eq!(one.gauge("placet_upstream_agents_kept_away"), 1);
    // Whatever statuses it has upstream answer with.
    let third = one.another();
    let statuses: Vec<u16> = (0..60).map(|_| third.get("bad").status).collect();
    assert_eq!(statuses.last(), Some(&503), "it is kept away itself");
    other.get("fine").expect(200);
    // What several meet is the upstream's.
    let more = [one.another(), one.another(), one.another()];
    for each in more.iter().flat_map(|it| [it, it]) {
        each.get("gone");
    }
    other.get("fine").refused(503, "upstream_unavailable");
    assert_eq!(one.standing()["state"], json!("open"));
}

/// What ran already is answered from what was kept, whether its upstream can be asked now or not.
#[test]
fn a_kept_answer_needs_no_upstream() {
    let upstream = Upstream::start(SECRET);
    let stage = stage(upstream.base(), "", 1000);
    let keyed = || {
        let body = json!({"action": format!("{}.get", stage.name), "params": {"id": "kept"}});
        let request = stage.story.client().post("/v1/actions").bearer(&stage.token).json(&body);
        request.header("idempotency-key", "the-same").send()
    };
    let first = keyed().expect(200);
    upstream.reply("/get/gone", Reply::hang_up());
    until("it to be left alone", || {
        stage.get("gone");
        (stage.standing()["agents_kept_away"] == json!(1)).then_some(())
    });
    stage.get("other").refused(503, "upstream_unavailable");
    assert_eq!(keyed().expect(200).at("/id"), first.at("/id"));
    assert_eq!(upstream.count("/get/kept"), 1);
}

#[test]
fn a_service_states_how_long_its_upstream_may_take() {
    let silent = RawUpstream::start();
    let stage = stage(&silent.base(), "timeout: 2s\n", 1000);
    let began = Instant::now();
    let (answer, _wire) = thread::scope(|scope| {
        let asked = scope.spawn(|| stage.get("x"));
        let wire = silent.accept();
        (asked.join().unwrap(), wire)
    });
    answer.refused(504, "upstream_timeout");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(25), "{took:?}: not the usual 30 s");
    for wrong in
        ["timeout: 0s", "timeout: 301s", "timeout: 5", "timeout: soon", "concurrency: 0", "concurrency: many"]
    {
        let name = fresh("wrong");
        let service = format!(
            "service: {name}\nbase_url: https://x.example\nauth: {{type: bearer}}\n{wrong}\nactions:\n  {name}.a: {{method: GET, path: /a, resource: 'a://a', effect: read}}\n"
        );
        stage.story.service(&name, &service).refused(422, "document_invalid");
    }
}

/// A big answer that nobody reads: what is held for the agent is bounded, and the upstream has to wait.
#[test]
fn who_reads_slowly_slows_the_upstream_and_fills_no_memory() {
    const WHOLE: usize = 80 << 20;
    let upstream = RawUpstream::start();
    let stage = stage(&upstream.base(), "", 1000);
    let mut agent = TcpStream::connect(stage.story.client().base().strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /proxy/{}/get/big HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        stage.name, stage.token
    );
    agent.write_all(request.as_bytes()).unwrap();
    let mut wire = upstream.accept().into_stream();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {WHOLE}\r\n\r\n"
    );
    wire.write_all(head.as_bytes()).unwrap();
    wire.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let (piece, mut written) = (vec![b'x'; 1 << 16], 0);
    // Until nothing more is taken for three seconds.
    loop {
        match wire.write(&piece[..piece.len().min(WHOLE - written)]) {
            Ok(0) => panic!("all of it was taken"),
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // What the system itself holds on three sockets, and a few pieces.
    assert!(written < 48 << 20, "{written} bytes were taken, and none was read");
    // Read, it goes on.
    let done = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&done);
    let reading = thread::spawn(move || {
        let mut chunk = vec![0; 1 << 16];
        agent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        while told.load(Ordering::SeqCst) == 0 {
            assert!(agent.read(&mut chunk).unwrap() > 0, "it was cut");
        }
    });
    wire.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let stalled = written;
    while written < stalled + (4 << 20) {
        written += wire.write(&piece).unwrap();
    }
    done.store(1, Ordering::SeqCst);
    reading.join().unwrap();
}
