//! Clients that register themselves: nobody, until a person confirms them.

use crate::{
    authorize::browser::{Asking, Browser, VERIFIER, challenge, html, parameter, sent_to},
    clients::signer::Signer,
    parties::why,
    stage::PLACET,
};
use placet_core::client::assertion::ASSERTION_TYPE;
use placet_testkit::{Answer, Publisher, Server, Story, together};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Addresses have so many an hour, and every test comes from the same one: some have a server of their own.
fn story() -> &'static Story {
    static STORY: LazyLock<Story> = LazyLock::new(|| Story::on(Server::start(PLACET)));
    &STORY
}

fn register(story: &Story, members: &Value) -> Answer {
    story.client().post("/oauth/register").json(members).send()
}

fn ask(story: &Story, id: &str, secret: &str) -> Answer {
    let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
    story.client().post("/oauth/token").basic(id, secret).form(&form).send()
}

/// A client with a secret that runs by itself.
fn headless() -> Value {
    json!({"client_name": "Headless", "grant_types": ["client_credentials"], "response_types": []})
}

#[test]
fn a_client_introduces_itself_and_is_nobody_until_it_is_confirmed() {
    let story = story();
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"],
        "max_scope_level": "restricted", "labels": {"team": "guests"}});
    let admin = story.admin();
    let set = admin.put("/v1/registration-template").json(&template).send().expect(200);
    assert_eq!((set.at("/open"), set.at("/allowed_tools")), (&json!(true), &json!(["orders.*"])));

    let made = register(story, &headless()).expect(201);
    let (id, secret) = (made.text("/client_id"), made.text("/client_secret"));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    assert_eq!(made.at("/client_secret_expires_at"), &json!(0));
    assert_eq!(made.text("/registration_client_uri"), format!("{}/oauth/register/{id}", story.server.base()));
    assert_eq!(made.at("/grant_types"), &json!(["client_credentials"]));
    assert!(made.body.get("registration_token").is_none(), "it can't confirm itself");
    // Nothing that it has is of any use, and no agent is there.
    ask(story, &id, &secret).refused(401, "invalid_client");
    admin.get(&format!("/v1/agents/{id}")).send().refused(404, "not_found");
    for token in [made.text("/registration_access_token"), secret.clone()] {
        let activate = story.client().post(&format!("/v1/agents/{id}/activate"));
        activate.json(&json!({"registration_token": token})).send().refused(401, "token_invalid");
        let confirm = story.client().with(&token).post(&format!("/v1/registrations/{id}/confirm"));
        confirm.send().refused(401, "token_invalid");
    }
    story.approver().post(&format!("/v1/registrations/{id}/confirm")).send().refused(403, "not_permitted");
    story.approver().get("/v1/registrations").send().refused(403, "not_permitted");
    let waiting = admin.get("/v1/registrations?limit=200").send().expect(200);
    let waits = |waiting: &Answer| {
        waiting.at("/registrations").as_array().unwrap().iter().any(|one| one["client_id"] == id.as_str())
    };
    assert!(waits(&waiting));

    let agent = admin.post(&format!("/v1/registrations/{id}/confirm")).send().expect(201);
    assert_eq!((agent.text("/client_id"), agent.text("/state")), (id.clone(), "active".into()));
    assert_eq!(agent.at("/max_scope_level"), "restricted");
    assert_eq!(agent.at("/labels"), &json!({"team": "guests"}));
    assert!(agent.text("/agent_name").starts_with("client-"));
    ask(story, &id, &secret).expect(200);
    assert!(!waits(&admin.get("/v1/registrations?limit=200").send().expect(200)));
    admin.post(&format!("/v1/registrations/{id}/confirm")).send().refused(404, "not_found");
    // What it may have is what was said, not what it says.
    let form = [("grant_type", "client_credentials"), ("scope", "refunds.create")];
    let more = story.client().post("/oauth/token").basic(&id, &secret).form(&form).send();
    more.refused(400, "invalid_scope");
    let entries = story.record();
    let registered = |entry: &&Value| entry["type"] == "agent.registered" && entry["agent"] == id.as_str();
    assert_eq!(entries.iter().filter(registered).count(), 1);
    assert!(entries.iter().any(|entry| entry["type"] == "registration.template"));
}

#[test]
fn a_client_says_only_what_it_can_say_of_itself() {
    let story = story();
    let made = register(
        story,
        &json!({"redirect_uris": ["http://localhost:9999/callback"], "client_name": "IDE",
            "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token", "implicit"],
            "response_types": ["code"], "application_type": "native", "scope": "admin.**",
            // None of these is anything here.
            "agent_name": "root", "allowed_tools": ["**"], "max_scope_level": "elevated", "labels": {"team": "x"}}),
    )
    .expect(201);
    assert!(made.body.get("client_secret").is_none());
    assert_eq!(made.at("/grant_types"), &json!(["authorization_code", "refresh_token"]));
    for not in ["agent_name", "allowed_tools", "max_scope_level", "labels", "scope"] {
        assert!(made.body.get(not).is_none(), "{not}");
    }
    for (members, error) in [
        (json!({}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["http://app.example/back"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["https://app.example/*"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["javascript:alert(1)"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["https://аpp.example/"]}), "invalid_redirect_uri"),
        (json!({"redirect_uris": ["http://localhost/x"], "application_type": "web"}), "invalid_redirect_uri"),
        (
            json!({"redirect_uris": ["https://app.example/"], "token_endpoint_auth_method": "tls_client_auth_x"}),
            "invalid_client_metadata",
        ),
        (
            json!({"redirect_uris": ["https://app.example/"], "client_name": "Pay\u{202e}Pal"}),
            "invalid_client_metadata",
        ),
        (json!({"grant_types": ["implicit"]}), "invalid_client_metadata"),
        (
            json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "none"}),
            "invalid_client_metadata",
        ),
    ] {
        let refused = register(story, &members).refused(400, error);
        assert!(!why(&refused).is_empty());
    }
    let raw = |body: &str| story.client().post("/oauth/register").body("application/json", body).send();
    raw(r#"{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}"#)
        .refused(400, "invalid_client_metadata");
    raw("[]").refused(400, "invalid_client_metadata");
}

#[test]
fn a_client_reads_changes_and_takes_back_what_it_said() {
    let story = story();
    let made = register(story, &headless()).expect(201);
    let (id, token) = (made.text("/client_id"), made.text("/registration_access_token"));
    let own = format!("/oauth/register/{id}");
    let with = |token: &str| story.client().with(token);
    let shown = with(&token).get(&own).send().expect(200);
    assert_eq!((shown.at("/client_name"), shown.body.get("client_secret")), (&json!("Headless"), None));
    // Another's token is as wrong as none, and as that of a client that never was.
    let other = register(story, &headless()).expect(201).text("/registration_access_token");
    let wrong = with(&other).get(&own).send().refused(401, "invalid_token");
    let never = with(&token).get("/oauth/register/agt_00000000000000000000000000").send();
    assert_eq!(never.refused(401, "invalid_token").body, wrong.body);
    story.client().get(&own).send().refused(401, "invalid_token");
    story.admin().get(&own).send().refused(401, "invalid_token");

    let change = |body: Value| with(&token).put(&own).json(&body).send();
    change(json!({"client_name": "B", "grant_types": ["client_credentials"]}))
        .refused(400, "invalid_client_metadata");
    let full = |more: Value| {
        let mut body = json!({"client_id": id, "grant_types": ["client_credentials"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    change(full(json!({"client_secret": "another"}))).refused(400, "invalid_client_metadata");
    change(full(json!({"registration_access_token": token}))).refused(400, "invalid_client_metadata");
    let changed = change(full(json!({"client_secret": made.text("/client_secret")}))).expect(200);
    // Replaced is what was left out, too.
    assert!(changed.body.get("client_name").is_none());
    // Confirmed, it is the same client with the same token.
    story.admin().post(&format!("/v1/registrations/{id}/confirm")).send().expect(201);
    let signer = Signer::ed25519();
    let keys = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks(None)});
    change(full(keys)).expect(200);
    ask(story, &id, &made.text("/client_secret")).refused(401, "invalid_client");
    let assertion = signer.assertion(&id, story.server.base());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    story.client().post("/oauth/token").form(&form).send().expect(200);
    let back = change(full(json!({}))).expect(200).text("/client_secret");
    assert_ne!(back, made.text("/client_secret"));
    let live = ask(story, &id, &back).status;
    assert!(live == 200 || live == 400, "it authenticates: {live}");

    with(&token).delete(&own).send().expect(204);
    ask(story, &id, &back).refused(401, "invalid_client");
    with(&token).get(&own).send().refused(401, "invalid_token");
    with(&token).delete(&own).send().refused(401, "invalid_token");
    assert_eq!(story.admin().get(&format!("/v1/agents/{id}")).send().expect(200).at("/state"), "ended");
    // One that waits is gone without a trace.
    let waiting = register(story, &headless()).expect(201);
    let own = waiting.text("/registration_client_uri");
    let token = waiting.text("/registration_access_token");
    with(&token).delete(&own).send().expect(204);
    with(&token).get(&own).send().refused(401, "invalid_token");
    let id = waiting.text("/client_id");
    story.admin().post(&format!("/v1/registrations/{id}/confirm")).send().refused(404, "not_found");
}

#[test]
fn so_many_come_from_one_address_and_none_where_it_is_closed() {
    let story = Story::on(Server::start(PLACET));
    let answers = together(4, |_| (0..8).map(|_| register(&story, &headless()).status).collect::<Vec<_>>());
    let answers = answers.concat();
    let made = answers.iter().filter(|status| **status == 201).count();
    assert!((20..=40).contains(&made) && made % 20 == 0 || made == 20, "{answers:?}");
    assert!(answers.contains(&429));
    let refused = register(&story, &headless()).refused(429, "temporarily_unavailable");
    assert!(why(&refused).contains("hour"));
    // An administrator confirms or refuses, and closes the door.
    let waiting = story.admin().get("/v1/registrations?limit=2").send().expect(200);
    let id = |at: usize| waiting.text(&format!("/registrations/{at}/client_id"));
    assert_eq!(waiting.text("/next"), id(1));
    story.admin().delete(&format!("/v1/registrations/{}", id(0))).send().expect(204);
    story.admin().delete(&format!("/v1/registrations/{}", id(0))).send().refused(404, "not_found");
    let metadata = || story.client().get("/.well-known/oauth-authorization-server").send().expect(200);
    assert!(metadata().text("/registration_endpoint").ends_with("/oauth/register"));
    assert_eq!(metadata().at("/client_id_metadata_document_supported"), &json!(true));
    story.admin().put("/v1/registration-template").json(&json!({"open": false})).send().expect(200);
    assert!(metadata().body.get("registration_endpoint").is_none());
    assert!(metadata().body.get("client_id_metadata_document_supported").is_none());
    register(&story, &headless()).refused(403, "access_denied");
    for (template, named) in [
        (json!({"opened": true}), "opened"),
        (json!({"allowed_tools": ["orders.read"], "default_scopes": ["mail.read"]}), "mail.read"),
        (json!({"allowed_tools": ["refunds.create"]}), "refunds.create"),
        (json!({"labels": {"client_host": "bank.example"}}), "client_host"),
    ] {
        let answer = story.admin().put("/v1/registration-template").json(&template).send();
        assert!(answer.refused(400, "request_invalid").text("/detail").contains(named));
    }
}

/// Whose name stands on the page is not what it may do: a client that nobody knew gets, by consenting, what the person
/// said yes to, within what an administrator said beforehand.
fn consented(story: &Story, client_id: &str, back: &str) -> (Browser, Asking) {
    let mut browser = Browser::at(&story.server.pages());
    browser.sign_in("lee");
    let pairs = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", back),
        ("scope", "orders.read"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
    ];
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (browser, Asking { pairs })
}

#[test]
fn a_client_that_registered_itself_is_confirmed_by_consent_and_acts_for_people_only() {
    let story = story_with_template();
    let members = json!({"client_name": "IDE", "redirect_uris": ["http://127.0.0.1/cb"],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"]});
    let made = register(&story, &members).expect(201);
    let (id, secret) = (made.text("/client_id"), made.text("/client_secret"));
    let (mut browser, asking) = consented(&story, &id, "http://127.0.0.1:4321/cb");
    // To be asked about is to be nobody still, and so is a no.
    let page = browser.asked(&asking);
    assert!(html(&page).contains("IDE"));
    story.admin().get(&format!("/v1/agents/{id}")).send().refused(404, "not_found");
    let no = browser.submit(&page, "/consent", &[("lasts", "1d"), ("verdict", "deny")]);
    assert!(sent_to(&no).contains("error=access_denied"));
    story.admin().get(&format!("/v1/agents/{id}")).send().refused(404, "not_found");
    ask(&story, &id, &secret).refused(401, "invalid_client");
    // More than the template has is not even asked for.
    let more = browser.get(&asking.clone().with("scope", "refunds.create").path());
    // Nobody is sent on to where a program that nobody knows wants them: the page says why, and where that would be.
    assert_eq!((more.status, more.header("location")), (400, None));
    assert!(html(&more).contains("error=invalid_scope"));

    let code = browser.code(&asking);
    let agent = story.admin().get(&format!("/v1/agents/{id}")).send().expect(200);
    assert_eq!((agent.text("/state"), agent.at("/acts_alone")), ("active".into(), &json!(false)));
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "http://127.0.0.1:4321/cb"),
        ("client_id", id.as_str()),
        ("client_secret", secret.as_str()),
    ];
    let answer = story.client().post("/oauth/token").form(&form).send().expect(200);
    assert_eq!(answer.text("/scope"), "orders.read");
    let refresh = answer.text("/refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    story.client().post("/oauth/token").basic(&id, &secret).form(&form).send().expect(200);
    // What a person said yes to is for that person; of its own it has nothing.
    ask(&story, &id, &secret).refused(400, "unauthorized_client");
    let change = json!({"acts_alone": true});
    story.admin().patch(&format!("/v1/agents/{id}")).json(&change).send().expect(200);
    ask(&story, &id, &secret).expect(200);
    // The next person is asked anew, about the same agent.
    let code = browser.code(&asking);
    assert!(!code.is_empty());
    let entries = story.record();
    let registered = |entry: &&Value| entry["type"] == "agent.registered" && entry["agent"] == id.as_str();
    assert_eq!(entries.iter().filter(registered).count(), 1);
}

#[test]
fn a_client_that_is_a_document_is_confirmed_by_consent() {
    let story = story_with_template();
    let publisher = Publisher::start();
    let url = publisher.url("/ide.json");
    let document =
        json!({"client_id": url, "client_name": "Document IDE", "redirect_uris": ["http://localhost/cb"]});
    publisher.json("/ide.json", &document);
    let (mut browser, asking) = consented(&story, &url, "http://localhost:7777/cb");
    // Two look at the page at once: it is one agent.
    let (mut other, _) = consented(&story, &url, "http://localhost:7777/cb");
    let pages = (browser.asked(&asking), other.asked(&asking));
    let first = parameter(&browser.allow(&pages.0), "code").unwrap();
    let second = parameter(&other.allow(&pages.1), "code").unwrap();
    for code in [first, second] {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "http://localhost:7777/cb"),
            ("client_id", url.as_str()),
        ];
        let token = story.client().post("/oauth/token").form(&form).send().expect(200).text("/access_token");
        let told = story.admin().post("/oauth/introspect").form(&[("token", token.as_str())]).send();
        let agent = told.expect(200).text("/client_id");
        let agent = story.admin().get(&format!("/v1/agents/{agent}")).send().expect(200);
        assert_eq!((agent.text("/client_id_url"), agent.at("/acts_alone")), (url.clone(), &json!(false)));
        assert_eq!(agent.at("/labels/client_host"), "127.0.0.1");
    }
    // Somewhere else is nowhere.
    let elsewhere = asking.clone().with("redirect_uri", "http://evil.example/cb");
    assert_eq!(browser.get(&elsewhere.path()).status, 400);
    // A way back that the document no longer has is gone.
    let changed =
        json!({"client_id": url, "client_name": "Document IDE", "redirect_uris": ["https://ide.example/cb"]});
    publisher.json("/ide.json", &changed);
    assert_eq!(browser.get(&asking.path()).status, 400);
    // And where only some hosts are trusted, another is unknown.
    let hosts = json!({"allowed_tools": ["orders.*"], "document_hosts": ["app.example"]});
    story.admin().put("/v1/registration-template").json(&hosts).send().expect(200);
    let unknown = publisher.url("/other.json");
    publisher.json(
        "/other.json",
        &json!({"client_id": unknown, "client_name": "X", "redirect_uris": ["http://localhost/cb"]}),
    );
    assert_eq!(browser.get(&asking.with("client_id", &unknown).path()).status, 400);
    assert_eq!(publisher.asked("/other.json"), 0);
}

/// A server of its own, with something for clients that come by themselves.
fn story_with_template() -> Story {
    let mut server = Server::start(PLACET);
    server.flags(&["--loopback-documents"]);
    server.restart();
    let story = Story::on(server);
    let template = json!({"allowed_tools": ["orders.*"], "resource_access": ["order://**"]});
    story.admin().put("/v1/registration-template").json(&template).send().expect(200);
    story
}
