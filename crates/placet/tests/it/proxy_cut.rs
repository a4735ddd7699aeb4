//! What is open at the proxy door ends with what it rests on, whichever part of that changes, and within a second; what
//! doesn't concern it leaves it open.

use crate::proxy_streaming::{CHUNKED, Stage, service, stage};
use placet_core::time::Timestamp;
use placet_testkit::{Story, Wire, fresh, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How late an end may be that is due at once, on a machine that has other things to do: the promise is a second.
const SOON: Duration = Duration::from_secs(8);

/// An answer that is open, of which a line has come.
struct Open {
    agent: Wire,
    upstream: Wire,
}

impl Stage {
    fn opened(&self, token: &str) -> Open {
        let mut agent = Wire::connect(self.story.client().base());
        agent.send(format!(
            "GET /proxy/{}/get/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n",
            self.name
        ));
        let mut upstream = self.upstream.accept();
        upstream.send(format!("{CHUNKED}\r\n"));
        upstream.send_chunk("first\n");
        agent.until("first\n");
        Open { agent, upstream }
    }

    /// The codes of cut outcomes, once `count` are recorded.
    fn cut(&self, count: usize) -> Vec<Value> {
        until("the outcomes", || {
            let entries = self.story.record().into_iter();
            let action = format!("{}.get", self.name);
            let mine = entries.filter(|entry| {
                entry["type"] == "action.outcome" && entry["action"] == action && entry["outcome"] == "cut"
            });
            let codes: Vec<Value> = mine.map(|entry| entry["codes"][0].clone()).collect();
            (codes.len() >= count).then_some(codes)
        })
    }
}

impl Open {
    /// That it goes on, by a line that comes through.
    fn goes_on(&mut self, line: &str) {
        self.upstream.send_chunk(format!("{line}\n"));
        self.agent.until(&format!("{line}\n"));
    }

    /// That it ends soon, without looking whole, and for upstream too.
    fn ends(mut self) {
        let began = Instant::now();
        let all = self.agent.rest();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert!(!all.ends_with("0\r\n\r\n"), "a cut answer never looks whole: {all}");
        self.upstream.rest();
    }
}

/// Everything of a list, over all its pages.
fn all(story: &Story, what: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let page = story.admin().get(&format!("/v1/{what}?limit=100{after}")).send().expect(200);
        found.extend(page.at(&format!("/{what}")).as_array().unwrap().iter().cloned());
        match page.at("/next").as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

#[test]
fn a_child_that_reads_is_cut_when_its_parent_is_revoked() {
    let stage = stage();
    let (story, scope) = (stage.story, format!("{}.*", stage.name));
    let child = story
        .agent(&fresh("agent-"))
        .with("allowed_tools", json!([scope]))
        .with("resource_access", json!(["file://**"]))
        .register();
    story.rules(&child.handle, &format!("  - {{name: all, allow: [{scope}]}}\n")).expect(201);
    let given = child.ask().with("parent_token", &stage.token).with("scope", &scope).send(&story.client());
    let (below, other) = (given.expect(200).text("/access_token"), child.token(&story.client(), &scope));
    let (open, mut beside) = (stage.opened(&below), stage.opened(&other));
    stage.revoke();
    open.ends();
    assert_eq!(stage.cut(1), [json!("lineage_revoked")]);
    beside.goes_on("still here");
}

#[test]
fn a_stream_ends_when_its_task_does() {
    let stage = stage();
    let (story, scope) = (stage.story, format!("{}.*", stage.name));
    let ask = |label: &str, expires: Option<Timestamp>| {
        let body = json!({"agent": stage.agent.id, "task_id": label, "scope": [scope], "expires": expires});
        story.admin().post("/v1/tasks").json(&body).send().expect(201);
        stage.agent.ask().with("task_id", label).send(&story.client()).expect(200)
    };
    let label = fresh("t-");
    let completed = ask(&label, None);
    let open = stage.opened(&completed.text("/access_token"));
    let tasks = all(story, "tasks");
    let task = tasks.iter().find(|task| task["label"] == label.as_str()).unwrap();
    let id = task["id"].as_str().unwrap();
    story.admin().post(&format!("/v1/tasks/{id}/complete")).send().expect(200);
    open.ends();
    assert_eq!(stage.cut(1), [json!("task_ended")]);
    // By itself, when its time is over.
    #[expect(clippy::disallowed_methods, reason = "what the real server's clock says is compared with it")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let expires = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap() + 5);
    let mut open = stage.opened(&ask(&fresh("t-"), Some(expires)).text("/access_token"));
    open.goes_on("not yet");
    let all = open.agent.rest();
    assert!(!all.ends_with("0\r\n\r\n"), "{all}");
    assert_eq!(stage.cut(2).len(), 2);
}

#[test]
fn a_stream_ends_when_its_action_would_be_denied() {
    let stage = stage();
    let (story, name) = (stage.story, &stage.name);
    let mut open = stage.opened(&stage.token);
    // Another agent's policy, and a rule of its own that says the same of this, change nothing.
    let other = story.agent(&fresh("agent-")).register();
    story.rules(&other.handle, "  - {name: none, deny: ['**']}\n").expect(201);
    story.rules(&stage.agent.handle, &format!("  - {{name: some, allow: [{name}.get]}}\n")).expect(200);
    open.goes_on("still allowed");
    // That people are asked from now on is about what begins from now on.
    let asked = format!("  - {{name: some, allow: [{name}.get], approve: {{by: ['role:support-lead']}}}}\n");
    story.rules(&stage.agent.handle, &asked).expect(200);
    open.goes_on("asked before");
    let denied = format!("  - {{name: all, allow: [{name}.*]}}\n  - {{name: no, deny: [{name}.get]}}\n");
    story.rules(&stage.agent.handle, &denied).expect(200);
    open.ends();
    assert_eq!(stage.cut(1), [json!("forbidden")]);
}

#[test]
fn a_stream_ends_when_less_of_it_may_be_seen() {
    let stage = stage();
    let (story, name) = (stage.story, &stage.name);
    let open = stage.opened(&stage.token);
    let less = format!("  - {{name: all, allow: [{name}.*], shape: {{redact: ['$.card']}}}}\n");
    story.rules(&stage.agent.handle, &less).expect(200);
    open.ends();
    assert_eq!(stage.cut(1), [json!("result_withheld")]);
}

#[test]
fn a_stream_ends_when_its_grant_is_narrowed_below_it() {
    let stage = stage();
    let (story, name) = (stage.story, &stage.name);
    let mut open = stage.opened(&stage.token);
    let grants = all(story, "grants");
    let is_mine = |grant: &&Value| grant["agent"] == stage.agent.id.as_str() && !grant["task"].is_null();
    let path = format!("/v1/grants/{}/narrow", grants.iter().find(is_mine).unwrap()["id"].as_str().unwrap());
    let narrow = |tools: &[String]| {
        story.admin().post(&path).json(&json!({"tools": tools})).send().expect(200);
    };
    narrow(&[format!("{name}.get"), format!("{name}.put")]);
    open.goes_on("still within");
    narrow(&[format!("{name}.put")]);
    open.ends();
    assert_eq!(stage.cut(1), [json!("not_granted")]);
}

#[test]
fn a_stream_ends_when_its_connection_is_parked_or_gone() {
    let stage = stage();
    let (story, name) = (stage.story, &stage.name);
    let open = stage.opened(&stage.token);
    // Elsewhere: its secret is not sent there before somebody confirms it.
    story.service(name, &service(name, "http://127.0.0.1:9", "{type: bearer}")).expect(200);
    open.ends();
    assert_eq!(stage.cut(1), [json!("unavailable")]);
    let changed = story.service(name, &service(name, &stage.upstream.base(), "{type: bearer}")).expect(200);
    let confirm = json!({"confirm": format!("{name}@{}", changed.at("/version"))});
    story.admin().patch(&format!("/v1/connections/{name}")).json(&confirm).send().expect(200);
    let open = stage.opened(&stage.token);
    story.admin().delete(&format!("/v1/connections/{name}")).send().expect(204);
    open.ends();
    assert_eq!(stage.cut(2).len(), 2);
}

#[test]
fn a_stream_over_http2_ends_alone() {
    let stage = stage();
    let wire = placet_testkit::Http2::connect(stage.story.client().base());
    let other = stage.agent.token(&stage.story.client(), &format!("{}.*", stage.name));
    let path = format!("/proxy/{}/get/1", stage.name);
    let open = |token: &str| {
        let mut answer = wire.get(&path, &[("authorization", &format!("Bearer {token}"))]);
        let mut upstream = stage.upstream.accept();
        upstream.send(format!("{CHUNKED}\r\n"));
        upstream.send_chunk("first\n");
        answer.until("first\n");
        (answer, upstream)
    };
    let ((ended, _first), (mut beside, mut second)) = (open(&stage.token), open(&other));
    stage.revoke();
    ended.rest().expect_err("a cut answer never looks whole");
    // The other request on the same connection doesn't notice.
    second.send_chunk("second\n");
    beside.until("second\n");
    second.send("0\r\n\r\n");
    assert_eq!(beside.rest().unwrap().0, "first\nsecond\n");
}
