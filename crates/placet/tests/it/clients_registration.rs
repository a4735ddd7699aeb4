//! Clients that register themselves: nobody, until a person confirms them.

use crate::{clients::signer::Signer, parties::why, stage::PLACET};
use placet_core::client::assertion::ASSERTION_TYPE;
use placet_testkit::{Answer, Server, Story, together};
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
