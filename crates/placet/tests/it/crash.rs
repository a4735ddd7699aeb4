//! `kill -9` and SIGTERM under load: what was answered is known afterwards, every effect has its intent, no limit is
//! exceeded, and the log verifies.

use crate::stage::PLACET;
use placet_testkit::{Agent, Client, Gate, Reply, Story, fresh, until};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What the limited agent may do at most, over all lives of the server.
pub(crate) const MAX: usize = 60;
const KILLS: usize = 4;

/// What agents were answered.
#[derive(Default)]
pub(crate) struct Answered {
    tokens: Mutex<Vec<String>>,
    /// Actions that were executed: the id by the text that was sent.
    executed: Mutex<BTreeMap<String, String>>,
    /// How many were refused because something that the server needs was not there.
    unavailable: AtomicUsize,
    /// How long the slowest answer took.
    slowest: Mutex<Duration>,
}

impl Answered {
    pub(crate) fn unavailable(&self) -> usize {
        self.unavailable.load(Ordering::SeqCst)
    }

    pub(crate) fn executed(&self) -> usize {
        self.executed.lock().unwrap().len()
    }

    pub(crate) fn slowest(&self) -> Duration {
        *self.slowest.lock().unwrap()
    }

    /// Sends it, and keeps how long that took and whether it was refused as `unavailable`.
    fn send(&self, request: placet_testkit::Request) -> Option<placet_testkit::Answer> {
        let began = Instant::now();
        let answer = request.try_send().ok()?;
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = slowest.max(began.elapsed());
        if answer.status == 503 {
            self.unavailable.fetch_add(1, Ordering::SeqCst);
        }
        Some(answer)
    }
}

/// Acts and asks for tokens until told to stop; a server that is gone is waited for.
pub(crate) fn work(
    agent: &Agent,
    customer: &str,
    base: &RwLock<String>,
    stop: &AtomicBool,
    answered: &Answered,
) {
    let mut token: Option<String> = None;
    while !stop.load(Ordering::SeqCst) {
        let client = Client::new(&base.read().unwrap().clone());
        let asked = agent.ask().with("scope", "notes.write").with("task_id", &fresh("t"));
        if let Some(answer) = answered.send(asked.request(&client))
            && answer.status == 200
        {
            let fresh = answer.text("/access_token");
            answered.tokens.lock().unwrap().push(fresh.clone());
            token = Some(fresh);
        }
        let Some(token) = &token else { continue };
        for _ in 0..5 {
            let text = fresh("text-");
            let params = json!({"customer_id": customer, "text": text});
            let body = json!({"service": "shop", "action": "notes.write", "params": params});
            let mut request = client.post("/v1/actions").bearer(token).json(&body);
            if text.ends_with('7') {
                request = request.header("idempotency-key", &text);
            }
            let Some(answer) = answered.send(request) else { break };
            match answer.status {
                200 => _ = answered.executed.lock().unwrap().insert(text, answer.text("/id")),
                403 => _ = answer.refused(403, "limit_exceeded"),
                other => assert!(other == 502 || other == 503, "{other}: {:#}", answer.body),
            }
        }
    }
}

/// Everything that must be so after the server was started again.
pub(crate) fn check(story: &Story, limited: &str, answered: &Answered) {
    let admin = story.admin();
    let output = story.server.cli().args(["record", "verify", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let record = story.record();
    let of = |kind: &str| record.iter().filter(|entry| entry["type"] == kind).collect::<Vec<&Value>>();
    let mut intents: BTreeMap<String, String> = BTreeMap::new();
    for entry in of("action.intent") {
        let id = entry["action_id"].as_str().unwrap().to_owned();
        let before = intents.insert(entry["params"]["text"].as_str().unwrap().to_owned(), id);
        assert!(before.is_none(), "one request was admitted twice: {entry:#}");
    }
    // What the upstream saw: each once, each with its intent.
    let mut seen = BTreeSet::new();
    for effect in story.shop.seen_at("/customers/") {
        let text = effect.json()["text"].as_str().unwrap().to_owned();
        assert!(intents.contains_key(&text), "{text} happened without an intent");
        assert!(seen.insert(text.clone()), "{text} happened twice");
    }
    assert!(story.shop.count(&format!("/customers/{limited}/")) <= MAX);
    let of_limited =
        of("action.intent").into_iter().filter(|entry| entry["params"]["customer_id"] == limited);
    assert!(of_limited.count() <= MAX);
    // What was answered as executed is known as done, under the same id.
    let executed = answered.executed.lock().unwrap();
    for (text, id) in executed.iter() {
        assert_eq!(intents.get(text), Some(id), "{text} was answered and is not in the record");
        assert!(seen.contains(text));
    }
    // Nothing is left pending: what a kill interrupted is unknown, and says so.
    let mut unknown = 0;
    for (text, id) in &intents {
        let shown = until("the outcome of every action", || {
            let shown = admin.get(&format!("/v1/actions/{id}")).send().expect(200);
            (shown.at("/status") != "pending").then_some(shown)
        });
        match shown.text("/status").as_str() {
            "done" => assert!(seen.contains(text), "{text} is done, and the upstream has not seen it"),
            "unknown" => unknown += 1,
            "failed" => {
                assert!(!seen.contains(text), "{text} is told as failed, and the upstream has seen it")
            }
            other => panic!("{other}"),
        }
    }
    assert!(unknown < intents.len());
    let tokens = answered.tokens.lock().unwrap();
    assert!(!tokens.is_empty());
    for token in tokens.iter() {
        let shown = admin.post("/oauth/introspect").form(&[("token", token)]).send().expect(200);
        assert_eq!(shown.at("/active"), true, "a token that was answered is not known");
    }
}

pub(crate) fn agents(story: &Story) -> Vec<(Agent, String)> {
    let limited = format!("  - {{name: some, allow: [notes.write], limits: [{{count: {MAX}, per: day}}]}}\n");
    let free = "  - {name: all, allow: [notes.write]}\n".to_owned();
    [limited, free.clone(), free].iter().map(|rules| (story.ready(rules).0, fresh("c"))).collect()
}

#[test]
fn a_kill_under_load_loses_nothing_that_was_answered() {
    let mut story = Story::new(PLACET);
    let agents = agents(&story);
    let limited = agents[0].1.clone();
    let (base, stop) = (RwLock::new(story.server.base().to_owned()), AtomicBool::new(false));
    let answered = Answered::default();
    thread::scope(|scope| {
        for (agent, customer) in agents.iter().chain(&agents) {
            let (base, stop, answered) = (&base, &stop, &answered);
            scope.spawn(move || work(agent, customer, base, stop, answered));
        }
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for kill in 1..=KILLS {
                let before = story.shop.seen().len();
                // At another point of the load each time.
                until("some load", || (story.shop.seen().len() >= before + 17 * kill).then_some(()));
                story.server.kill();
                story.server.restart();
                *base.write().unwrap() = story.server.base().to_owned();
            }
        }));
        stop.store(true, Ordering::SeqCst);
        rounds.unwrap();
    });
    check(&story, &limited, &answered);
    // The limit holds to the last: what is left of it can be used, and no more.
    let left = MAX
        - story
            .record()
            .iter()
            .filter(|entry| {
                entry["type"] == "action.intent" && entry["params"]["customer_id"] == limited.as_str()
            })
            .count();
    let token = agents[0].0.token(&story.client(), "notes.write");
    for _ in 0..left {
        story
            .act(&token, "notes.write", &json!({"customer_id": limited, "text": fresh("text-")}))
            .expect(200);
    }
    let over = story.act(&token, "notes.write", &json!({"customer_id": limited, "text": "over"}));
    over.refused(403, "limit_exceeded");
    assert!(!story.server.log().contains("panicked"));
}

#[test]
fn a_stop_under_load_answers_what_is_under_way_and_loses_nothing() {
    let mut story = Story::new(PLACET);
    let agents = agents(&story);
    let limited = agents[0].1.clone();
    let (base, stop) = (RwLock::new(story.server.base().to_owned()), AtomicBool::new(false));
    let answered = Answered::default();
    // One action is under way upstream while the server is asked to stop; it is answered all the same.
    let gate = Gate::shut();
    story.shop.reply("/customers/slow/", Reply::status(200).after(&gate));
    let token = agents[1].0.token(&story.client(), "notes.write");
    let slow = story.acting(&token, "notes.write", &json!({"customer_id": "slow", "text": "slow"}));
    thread::scope(|scope| {
        for (agent, customer) in &agents {
            let (base, stop, answered) = (&base, &stop, &answered);
            scope.spawn(move || work(agent, customer, base, stop, answered));
        }
        let slow = scope.spawn(move || slow.try_send());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("some load", || (story.shop.seen().len() >= 40).then_some(()));
            until("the slow one", || (story.shop.count("/customers/slow/") == 1).then_some(()));
            let address = story.server.base().trim_start_matches("http://").to_owned();
            let began = Instant::now();
            scope.spawn(move || {
                // Once nobody new is let in, the slow one may go on.
                until("the listener's end", || std::net::TcpStream::connect(&address).is_err().then_some(()));
                gate.open();
            });
            assert_eq!(story.server.stop(), Some(0));
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        }));
        stop.store(true, Ordering::SeqCst);
        done.unwrap();
        assert_eq!(slow.join().unwrap().unwrap().status, 200);
    });
    story.server.restart();
    check(&story, &limited, &answered);
    // After a graceful stop nothing is unknown.
    let outcomes = story.record().into_iter().filter(|entry| entry["type"] == "action.outcome");
    for entry in outcomes {
        assert_eq!(entry["outcome"], "done", "{entry:#}");
    }
}
