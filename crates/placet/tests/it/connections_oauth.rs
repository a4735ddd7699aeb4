//! Connections with access tokens of somebody else's authorization server: asked for with the client's secret or a refresh
//! token, renewed once by whoever comes first, parked where the server says no.

use crate::stage::{PLACET, story};
use placet_testkit::{Gate, Reply, Server, Story, Upstream, fresh, until};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const SECRET: &str = "canary-client-secret-41cc";
/// `placet:` and the secret.
const BASIC: &str = "Basic cGxhY2V0OmNhbmFyeS1jbGllbnQtc2VjcmV0LTQxY2M=";

/// An authorization server that answers in turn as it is told, the last again and again, and the upstream that its tokens
/// are for.
struct Account {
    name: String,
    server: Upstream,
    api: Upstream,
    token: String,
}

impl Account {
    fn new(story: &Story, answers: Vec<Reply>) -> Self {
        let server = Upstream::with_header("authorization", BASIC);
        let next = AtomicUsize::new(0);
        server.answer("/token", move |_| {
            let at = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answers[at].clone()
        });
        Self::with(story, server)
    }

    fn with(story: &Story, server: Upstream) -> Self {
        let name = fresh("account");
        // Whoever comes with whatever token: which one it was is looked at.
        let api = Upstream::with_header("user-agent", &format!("placet/{}", env!("CARGO_PKG_VERSION")));
        let yaml = format!(
            "service: {name}\nbase_url: {}\nauth: {{type: oauth2, token_url: {}/token, scope: [read, write]}}\nactions:\n  \
             {name}.get: {{method: GET, path: '/things/{{id}}', resource: '{name}://things/{{id}}', effect: read}}\n",
            api.base(),
            server.base()
        );
        story.service(&name, &yaml).expect(201);
        let agent = story
            .agent(&fresh("agent-"))
            .with("allowed_tools", json!(["*", "**"]))
            .with("resource_access", json!(["**"]))
            .register();
        story.rules(&agent.handle, &format!("  - {{name: all, allow: [{name}.get]}}\n")).expect(201);
        let token = agent.token(&story.client(), &format!("{name}.*"));
        Self { name, server, api, token }
    }

    fn connect(&self, story: &Story, refresh: Option<&str>) -> placet_testkit::Answer {
        let mut auth = json!({"type": "oauth2", "client_id": "placet", "client_secret": SECRET});
        if let Some(refresh) = refresh {
            auth["refresh_token"] = refresh.into();
        }
        story.connection(&self.name, &self.name, &json!({"auth": auth}))
    }

    fn get(&self, story: &Story) -> placet_testkit::Answer {
        self.get_at(&story.server)
    }

    fn get_at(&self, server: &Server) -> placet_testkit::Answer {
        let body =
            json!({"service": self.name, "action": format!("{}.get", self.name), "params": {"id": "1"}});
        server.client().post("/v1/actions").bearer(&self.token).json(&body).send()
    }

    /// The forms that came to the token endpoint.
    fn asked(&self) -> Vec<String> {
        let seen = self.server.seen_at("/token");
        seen.into_iter().map(|seen| String::from_utf8(seen.body.to_vec()).unwrap()).collect()
    }

    /// The tokens that came to the upstream.
    fn shown(&self) -> Vec<String> {
        let seen = self.api.seen();
        seen.iter().map(|seen| seen.header("authorization").unwrap().to_owned()).collect()
    }

    fn state(&self, story: &Story) -> Value {
        story.admin().get(&format!("/v1/connections/{}", self.name)).send().expect(200).body
    }
}

fn token(token: &str, seconds: u32, refresh: Option<&str>) -> Reply {
    let mut body = json!({"access_token": token, "token_type": "Bearer", "expires_in": seconds});
    if let Some(refresh) = refresh {
        body["refresh_token"] = refresh.into();
    }
    Reply::json(200, &body)
}

fn refused(error: &str) -> Reply {
    Reply::json(400, &json!({"error": error, "error_description": "canary-description"}))
}

#[test]
fn a_token_is_asked_for_once_and_shown_to_the_upstream_only() {
    let story = story();
    let account = Account::new(story, vec![token("canary-access-1", 3600, None)]);
    account.api.answer("/", |seen| Reply::json(200, &json!({"echo": seen.header("authorization")})));
    let made = account.connect(story, None).expect(201);
    assert_eq!(account.asked(), ["grant_type=client_credentials&scope=read%20write"]);
    for _ in 0..3 {
        let answer = account.get(story).expect(200);
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("canary"), "{:#}", answer.body);
    }
    assert_eq!(account.shown(), vec!["Bearer canary-access-1"; 3]);
    assert_eq!(account.asked().len(), 1);
    let shown = account.state(story);
    for told in
        [made.body.to_string(), shown.to_string(), json!(story.record()).to_string(), story.server.log()]
    {
        assert!(!told.contains("canary-client") && !told.contains("canary-access"), "{told}");
    }
    assert_eq!(shown["auth"]["token_url"], format!("{}/token", account.server.base()));
}

#[test]
fn what_gives_no_token_is_no_connection() {
    let story = story();
    let account = Account::new(story, vec![refused("invalid_client"), Reply::status(503)]);
    for detail in ["invalid_client", "503"] {
        let refused = account.connect(story, None).refused(400, "request_invalid");
        assert!(refused.text("/detail").contains(detail), "{:#}", refused.body);
        assert!(!String::from_utf8_lossy(&refused.bytes).contains("canary"));
    }
    for (auth, detail) in [
        (json!({"type": "bearer", "secret": "x"}), "`auth`"),
        (json!({"type": "oauth2", "client_secret": SECRET}), "client_id"),
        (json!({"type": "oauth2", "client_id": "placet"}), "client_secret"),
        (json!({"type": "oauth2", "client_id": "placet", "client_secret": "two\nlines"}), "client_secret"),
    ] {
        let answer = story.connection(&account.name, &account.name, &json!({"auth": auth}));
        assert!(answer.refused(400, "request_invalid").text("/detail").contains(detail), "{auth}");
    }
    assert_eq!(account.asked().len(), 2);
}

#[test]
fn a_token_that_ends_is_renewed_with_the_refresh_token_that_came_last() {
    let story = story();
    let account = Account::new(
        story,
        vec![
            token("t1", 1, Some("r1")),
            token("t2", 1, Some("r2")),
            token("t3", 1, None),
            token("t4", 3600, None),
        ],
    );
    account.connect(story, Some("r0")).expect(201);
    until("the last token to be used", || {
        account.get(story).expect(200);
        account.shown().last().is_some_and(|token| token == "Bearer t4").then_some(())
    });
    let asked =
        ["r0", "r1", "r2", "r2"].map(|token| format!("grant_type=refresh_token&refresh_token={token}"));
    assert_eq!(account.asked(), asked);
    let mut used = account.shown();
    used.dedup();
    let order: Vec<&String> = used.iter().filter(|token| token.starts_with("Bearer t")).collect();
    assert!(order.is_sorted(), "{used:?}");
}

#[test]
fn a_token_that_is_due_is_renewed_while_the_old_one_still_works() {
    let story = story();
    let gate = Gate::shut();
    let account = Account::new(story, vec![token("t1", 15, None), token("t2", 3600, None).after(&gate)]);
    let began = Instant::now();
    account.connect(story, None).expect(201);
    // How many requests are under way.
    let waiting = AtomicUsize::new(0);
    thread::scope(|scope| {
        // When a fifth of it is left one request waits at the token endpoint; all others go on with the token there is.
        until("the renewal to begin", || {
            if account.asked().len() > 1 {
                return Some(());
            }
            if waiting.load(Ordering::SeqCst) < 2 {
                waiting.fetch_add(1, Ordering::SeqCst);
                let (account, waiting) = (&account, &waiting);
                scope.spawn(move || {
                    account.get(story).expect(200);
                    waiting.fetch_sub(1, Ordering::SeqCst);
                });
            }
            None
        });
        let other = account.get(story);
        // On a machine that is too busy for that the old one may have ended meanwhile.
        assert!(other.status == 200 || began.elapsed() > Duration::from_secs(15), "{:#}", other.body);
        gate.open();
    });
    account.get(story).expect(200);
    let shown = account.shown();
    assert_eq!((shown.last().unwrap().as_str(), account.asked().len()), ("Bearer t2", 2));
    assert!(shown.iter().all(|token| ["Bearer t1", "Bearer t2"].contains(&token.as_str())), "{shown:?}");
}

#[test]
fn of_many_that_need_a_token_one_asks_for_it() {
    const MANY: usize = 12;
    let story = story();
    let gate = Gate::shut();
    let account =
        Account::new(story, vec![token("t1", 1, Some("r1")), token("t2", 3600, Some("r2")).after(&gate)]);
    account.connect(story, Some("r0")).expect(201);
    let statuses = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let begin = || {
            scope.spawn(|| statuses.lock().unwrap().push(account.get(story).status));
        };
        until("the first token to end", || {
            begin();
            (account.asked().len() > 1).then_some(())
        });
        (0..MANY).for_each(|_| begin());
        gate.open();
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.len() > MANY && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(account.asked().len(), 2, "a refresh token that is used twice may end them all");
}

#[test]
fn a_server_that_says_no_parks_the_connection_until_it_is_given_something_else() {
    let story = story();
    let account = Account::new(
        story,
        vec![token("t1", 1, Some("r1")), refused("invalid_grant"), token("t2", 3600, Some("r9"))],
    );
    let id = account.connect(story, Some("r0")).expect(201).text("/id");
    until("the server to say no", || (account.get(story).status != 200).then_some(()));
    let answer = account.get(story);
    assert!(answer.refused(503, "unavailable").text("/detail").contains("attention"));
    let parked = account.state(story);
    assert_eq!(
        (&parked["state"], &parked["attention"]),
        (&json!("needs_attention"), &json!({"reason": "token_refused"}))
    );
    let path = format!("/v1/connections/{}", account.name);
    let confirm = json!({"confirm": format!("{}@1", account.name)});
    story.admin().patch(&path).json(&confirm).send().refused(409, "conflict");
    assert_eq!(account.asked().len(), 2, "who says no is not asked again");
    let entries = story.record();
    let entry = entries.iter().rev().find(|entry| entry["connection"] == id.as_str()).unwrap();
    assert_eq!(
        (&entry["type"], &entry["outcome"]),
        (&json!("connection.changed"), &json!("needs_attention"))
    );
    let auth =
        json!({"type": "oauth2", "client_id": "placet", "client_secret": SECRET, "refresh_token": "r8"});
    story.admin().patch(&path).json(&json!({"auth": auth})).send().expect(200);
    account.get(story).expect(200);
    assert_eq!(account.asked()[2], "grant_type=refresh_token&refresh_token=r8");
    assert_eq!(account.shown().last().unwrap(), "Bearer t2");
}

#[test]
fn a_server_that_says_nothing_parks_nothing() {
    let story = story();
    let healthy = Arc::new(AtomicUsize::new(1));
    let server = Upstream::with_header("authorization", BASIC);
    let is_healthy = Arc::clone(&healthy);
    server.answer("/token", move |_| match is_healthy.load(Ordering::SeqCst) {
        0 => Reply::status(503),
        1 => token("t1", 1, None),
        _ => token("t2", 3600, None),
    });
    let account = Account::with(story, server);
    account.connect(story, None).expect(201);
    healthy.store(0, Ordering::SeqCst);
    let refused = until("the token to end", || {
        let answer = account.get(story);
        (answer.status != 200).then_some(answer)
    });
    assert!(refused.refused(503, "unavailable").text("/detail").contains("nothing was sent"));
    assert_eq!(account.state(story)["state"], "active");
    healthy.store(2, Ordering::SeqCst);
    until("the server to be asked again", || (account.get(story).status == 200).then_some(()));
    assert_eq!(account.shown().last().unwrap(), "Bearer t2");
}

#[test]
fn of_two_nodes_that_need_a_token_one_asks_for_it() {
    let story = Story::on(Server::first_node(PLACET));
    let other = story.server.another_node();
    let gate = Gate::shut();
    let account = Account::new(
        &story,
        vec![token("t0", 3600, None), token("t1", 1, Some("r1")), token("t2", 3600, Some("r2")).after(&gate)],
    );
    account.connect(&story, Some("r0")).expect(201);
    // The other node learns of the service within a second.
    until("the other node to act", || (account.get_at(&other).status == 200).then_some(()));
    let auth =
        json!({"type": "oauth2", "client_id": "placet", "client_secret": SECRET, "refresh_token": "r8"});
    let path = format!("/v1/connections/{}", account.name);
    story.admin().patch(&path).json(&json!({"auth": auth})).send().expect(200);
    let statuses = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let begin = || {
            for server in [&story.server, &other] {
                let (account, statuses) = (&account, &statuses);
                scope.spawn(move || statuses.lock().unwrap().push(account.get_at(server).status));
            }
        };
        until("the token to end", || {
            begin();
            (account.asked().len() > 2).then_some(())
        });
        (0..6).for_each(|_| begin());
        gate.open();
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.len() > 12 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let asked = ["r0", "r8", "r1"].map(|token| format!("grant_type=refresh_token&refresh_token={token}"));
    assert_eq!(account.asked(), asked);
}
