//! Clients that nobody registered by hand end when nobody uses them any more; under a clock that the test sets.

use crate::{
    authorize::browser::{Asking, Browser, VERIFIER, challenge, parameter},
    faults::clock::Clock,
};
use placet_testkit::{Answer, Publisher, Story, fresh, until};
use serde_json::{Value, json};

const DAY: i64 = 24 * 3600;

fn ask(story: &Story, id: &str, secret: &str) -> Answer {
    let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
    story.client().post("/oauth/token").basic(id, secret).form(&form).send()
}

/// So many days from the beginning; whoever was signed in is so no more.
fn days(clock: &Clock, story: &mut Story, days: i64) {
    clock.set(days * DAY);
    story.ada = story.sign_in("ada");
}

fn shown(story: &Story, id: &str) -> Answer {
    story.admin().get(&format!("/v1/agents/{id}")).send().expect(200)
}

/// A client that registered itself and that an administrator confirmed.
struct Guest {
    id: String,
    secret: String,
    access: String,
}

impl Guest {
    fn on(story: &Story) -> Self {
        let members = json!({"client_name": "Guest", "grant_types": ["client_credentials"]});
        let made = story.client().post("/oauth/register").json(&members).send().expect(201);
        let issued = made.at("/client_id_issued_at").as_i64().unwrap();
        assert_eq!(made.at("/client_expires_at"), &json!(issued + DAY), "it waits for a day");
        let id = made.text("/client_id");
        story.admin().post(&format!("/v1/registrations/{id}/confirm")).send().expect(201);
        Self { id, secret: made.text("/client_secret"), access: made.text("/registration_access_token") }
    }

    /// What it reads of itself (RFC 7592).
    fn reads(&self, story: &Story) -> Answer {
        story.client().with(&self.access).get(&format!("/oauth/register/{}", self.id)).send()
    }
}

/// The client whose document is at `url` is asked about, consented to, and given a token; the agent that it is.
fn consented(story: &Story, url: &str) -> String {
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("lee");
    let pairs = [
        ("response_type", "code"),
        ("client_id", url),
        ("redirect_uri", "http://localhost:7777/cb"),
        ("scope", "orders.read"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
    ];
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let page = browser.asked(&Asking { pairs });
    let code = parameter(&browser.allow(&page), "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "http://localhost:7777/cb"),
        ("client_id", url),
    ];
    let token = story.client().post("/oauth/token").form(&form).send().expect(200).text("/access_token");
    let told = story.admin().post("/oauth/introspect").form(&[("token", token.as_str())]).send();
    told.expect(200).text("/client_id")
}

#[test]
fn a_client_that_nobody_uses_ends_and_its_name_is_free() {
    let clock = Clock::at_noon();
    clock.set(0);
    let mut server = clock.server();
    server.flags(&["--loopback-documents"]);
    server.restart();
    let mut story = Story::on(server);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    let publisher = Publisher::start();
    let url = publisher.url("/ide.json");
    let document = json!({"client_id": url, "client_name": "IDE", "redirect_uris": ["http://localhost/cb"]});
    publisher.json("/ide.json", &document);

    let (idle, busy, stopped) = (Guest::on(&story), Guest::on(&story), Guest::on(&story));
    let by_hand = story.agent(&fresh("by-hand-")).register();
    let by_document = publisher.url("/by-hand.json");
    publisher.json(
        "/by-hand.json",
        &json!({"client_id": by_document, "client_name": "By hand",
        "redirect_uris": ["http://localhost/cb"]}),
    );
    let registered = story.agent(&fresh("doc-")).with("client_id_url", json!(by_document)).send().expect(201);
    let first = consented(&story, &url);
    story.admin().post(&format!("/v1/agents/{}/suspend", stopped.id)).send().expect(200);
    ask(&story, &idle.id, &idle.secret).expect(200);

    // Everybody who may know is told.
    let today = |answer: &Answer| answer.text("/created").split('T').next().unwrap().to_owned();
    let told = shown(&story, &idle.id);
    assert_eq!(told.text("/last_used"), today(&told));
    let end = told.text("/ends_unused");
    assert!(end.ends_with("T00:00:00Z"), "{end}");
    let own = idle.reads(&story).expect(200);
    assert_eq!(own.at("/client_last_used"), told.at("/last_used"));
    let issued = own.at("/client_id_issued_at").as_i64().unwrap();
    assert_eq!(own.at("/client_expires_at"), &json!(issued - issued.rem_euclid(DAY) + 91 * DAY));
    let all = story.admin().get("/v1/agents?limit=200").send().expect(200);
    let listed = |id: &str| {
        let agents = all.at("/agents").as_array().unwrap();
        agents.iter().find(|agent| agent["client_id"] == id).unwrap().clone()
    };
    assert_eq!(listed(&idle.id)["ends_unused"], end);
    for id in [&by_hand.id, &registered.text("/client_id")] {
        assert_eq!((listed(id).get("last_used"), listed(id).get("ends_unused")), (None, None));
        assert_eq!(shown(&story, id).body.get("last_used"), None);
    }

    // A use is noted by the day, whichever way it comes.
    days(&clock, &mut story, 80);
    ask(&story, &busy.id, &busy.secret).expect(200);
    let told = shown(&story, &busy.id);
    assert_ne!(told.text("/last_used"), today(&told));
    // To read what one has said is no use.
    assert_eq!(idle.reads(&story).expect(200).body, own.body);

    days(&clock, &mut story, 91);
    story.server.restart();
    let is = |story: &Story, id: &str, state: &str| (shown(story, id).text("/state") == state).then_some(());
    until("the end of what is unused", || is(&story, &idle.id, "ended").and(is(&story, &first, "ended")));
    ask(&story, &idle.id, &idle.secret).refused(401, "invalid_client");
    idle.reads(&story).refused(401, "invalid_token");
    let told = shown(&story, &idle.id);
    assert!(told.body.get("ends_unused").is_none() && told.body.get("client_name").is_none());
    let root =
        story.admin().get(&format!("/v1/grants/{}", told.text("/registration_grant"))).send().expect(200);
    assert_eq!(root.at("/revoked/reason"), "the client was not used for too long");
    let ended = |entry: &&Value| entry["type"] == "agent.ended" && entry["agent"] == idle.id.as_str();
    let entries = story.record();
    let [entry] = entries.iter().filter(ended).collect::<Vec<_>>()[..] else { panic!("one entry") };
    assert_eq!(entry["by"], "placet");
    assert_eq!(entry["body"]["reason"], "the client was not used for too long");

    // The others are what they were, and go on.
    ask(&story, &busy.id, &busy.secret).expect(200);
    by_hand.token(&story.client(), "orders.read");
    is(&story, &registered.text("/client_id"), "inactive").unwrap();
    is(&story, &stopped.id, "suspended").unwrap();
    story.admin().post(&format!("/v1/agents/{}/activate", stopped.id)).send().expect(200);
    // Who comes from the same place is somebody new, whom somebody confirms.
    let second = consented(&story, &url);
    assert_ne!(first, second);
    assert_eq!(shown(&story, &second).text("/client_id_url"), url);

    // And once more: also those that were brought back have their time.
    days(&clock, &mut story, 182);
    story.server.restart();
    until("the end of the second", || is(&story, &second, "ended").and(is(&story, &busy.id, "ended")));
    until("the end of one that was stopped", || is(&story, &stopped.id, "ended"));
    let third = consented(&story, &url);
    assert!(third != first && third != second);
    let verified = story.server.cli().args(["record", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn where_it_is_said_so_nothing_ends_for_not_being_used() {
    let clock = Clock::at_noon();
    clock.set(0);
    let mut server = clock.server();
    server.flags(&["--idle-registrations", "never", "--keep-record", "1d"]);
    server.restart();
    let mut story = Story::on(server);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    let guest = Guest::on(&story);
    let own = guest.reads(&story).expect(200);
    assert_eq!(own.at("/client_expires_at"), &json!(0));
    assert!(shown(&story, &guest.id).body.get("ends_unused").is_none());
    days(&clock, &mut story, 400);
    story.server.restart();
    // The job had its turn: it has let go of what is old.
    until("what is old to go", || story.record().iter().any(|entry| entry["erased"] == true).then_some(()));
    assert_eq!(shown(&story, &guest.id).text("/state"), "active");
    // With a shorter time it ends, and says so before.
    story.server.flags(&["--idle-registrations", "500d"]);
    story.server.restart();
    let end = shown(&story, &guest.id).text("/ends_unused");
    story.server.flags(&["--idle-registrations", "300d"]);
    story.server.restart();
    until("its end", || (shown(&story, &guest.id).text("/state") == "ended").then_some(()));
    assert!(end > shown(&story, &guest.id).text("/created"));
}
