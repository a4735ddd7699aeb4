//! Clients whose id is the URL of a document: what is published there is what counts, if it can be believed.

use crate::{
    clients::signer::Signer,
    parties::{stage, why},
    stage::PLACET,
};
use placet_core::client::assertion::ASSERTION_TYPE;
use placet_testkit::{Answer, Publisher, Server, Story, fresh};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// A server that reads documents from this machine, and a place to publish them.
struct Place {
    story: Story,
    publisher: Publisher,
}

fn place() -> &'static Place {
    static PLACE: LazyLock<Place> = LazyLock::new(|| {
        let mut server = Server::start(PLACET);
        server.flags(&["--loopback-documents"]);
        server.restart();
        Place { story: Story::on(server), publisher: Publisher::start() }
    });
    &PLACE
}

impl Place {
    /// A document at a fresh path of a client that signs with this key; its URL.
    fn document(&self, signer: &Signer, change: impl FnOnce(&mut Value)) -> (String, String) {
        let path = format!("/{}", fresh("client-"));
        let url = self.publisher.url(&path);
        let mut document = json!({"client_id": url, "client_name": "Nightly report",
            "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["client_credentials"],
            "jwks": signer.jwks(None)});
        change(&mut document);
        self.publisher.json(&path, &document);
        (path, url)
    }

    fn register(&self, url: &str) -> Answer {
        self.story.agent(&fresh("doc-")).with("client_id_url", json!(url)).send()
    }

    /// Registers and activates the agent of a document; its id.
    fn agent(&self, url: &str) -> String {
        let made = self.register(url).expect(201);
        assert!(made.body.get("client_secret").is_none());
        let id = made.text("/client_id");
        let confirm = json!({"registration_token": made.text("/registration_token")});
        self.story.client().post(&format!("/v1/agents/{id}/activate")).json(&confirm).send().expect(200);
        id
    }

    fn ask(&self, signer: &Signer, client_id: &str) -> Answer {
        let assertion = signer.assertion(client_id, self.story.server.base());
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "orders.read"),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion.as_str()),
        ];
        self.story.client().post("/oauth/token").form(&form).send()
    }
}

#[test]
fn a_client_without_anybody_at_a_screen_authenticates_by_its_document() {
    let place = place();
    let signer = Signer::p256();
    let (path, url) = place.document(&signer, |_| {});
    // Nobody has confirmed it.
    place.ask(&signer, &url).refused(401, "invalid_client");
    let id = place.agent(&url);
    let token = place.ask(&signer, &url).expect(200).text("/access_token");
    let told = place.story.admin().post("/oauth/introspect").form(&[("token", token.as_str())]).send();
    assert_eq!(told.expect(200).text("/client_id"), id);
    assert!(place.publisher.asked(&path) >= 2);
    // It has one id.
    place.ask(&signer, &id).refused(401, "invalid_client");
    let shown = place.story.admin().get(&format!("/v1/agents/{id}")).send().expect(200);
    assert_eq!(
        (shown.text("/client_id_url"), shown.text("/client_name")),
        (url.clone(), "Nightly report".into())
    );
    // One agent for one client; its document is not written over.
    place.register(&url).refused(409, "conflict");
    let change = json!({"client_name": "Bank"});
    place.story.admin().patch(&format!("/v1/agents/{id}")).json(&change).send().refused(409, "conflict");
    // An ended agent's client does not come back under another.
    place.story.admin().delete(&format!("/v1/agents/{id}")).send().expect(200);
    place.ask(&signer, &url).refused(401, "invalid_client");
    place.register(&url).refused(409, "conflict");
}

#[test]
fn a_change_of_the_document_counts_when_it_is_read_and_is_recorded() {
    let place = place();
    let (old, new) = (Signer::ed25519(), Signer::ed25519());
    let (path, url) = place.document(&old, |_| {});
    let id = place.agent(&url);
    place.ask(&old, &url).expect(200);
    let document = json!({"client_id": url, "client_name": "Nightly report 2",
        "token_endpoint_auth_method": "private_key_jwt", "grant_types": ["client_credentials"],
        "jwks": new.jwks(None)});
    place.publisher.json(&path, &document);
    place.ask(&old, &url).refused(401, "invalid_client");
    place.ask(&new, &url).expect(200);
    let shown = place.story.admin().get(&format!("/v1/agents/{id}")).send().expect(200);
    assert_eq!(shown.text("/client_name"), "Nightly report 2");
    let changed = |entry: &&Value| entry["type"] == "agent.changed" && entry["agent"] == id.as_str();
    assert_eq!(place.story.record().iter().filter(changed).count(), 1);
    // Gone: whoever has the key is nobody.
    place.publisher.page(&path, 404, &[("content-type", "application/json")], "{}");
    place.ask(&new, &url).refused(503, "temporarily_unavailable");
    place.publisher.json(&path, &document);
    place.ask(&new, &url).expect(200);
}

#[test]
fn keys_at_another_place_are_read_there_and_rotated() {
    let place = place();
    let (old, new) = (Signer::ed25519(), Signer::p256());
    let keys_path = format!("/{}", fresh("keys-"));
    let keys = place.publisher.json(&keys_path, &old.jwks(Some("old")));
    let (_, url) = place.document(&old, |document| {
        document.as_object_mut().unwrap().remove("jwks");
        document["jwks_uri"] = json!(keys);
    });
    place.agent(&url);
    place.ask(&old, &url).expect(200);
    let asked = place.publisher.asked(&keys_path);
    place.ask(&old, &url).expect(200);
    assert_eq!(place.publisher.asked(&keys_path), asked, "a set is not read for each request");
    // Whoever comes with a wrong key does not make this server read again and again.
    for _ in 0..5 {
        place.ask(&new, &url).refused(401, "invalid_client");
    }
    assert_eq!(place.publisher.asked(&keys_path), asked);
    // An agent that an administrator registered has its keys elsewhere likewise.
    let elsewhere = place
        .story
        .agent(&fresh("keys-"))
        .with("token_endpoint_auth_method", json!("private_key_jwt"))
        .with("jwks_uri", json!(keys))
        .register();
    place.ask(&old, &elsewhere.id).expect(200);
    let broken = place.publisher.page(
        &format!("{keys_path}-private"),
        200,
        &[("content-type", "application/json")],
        &json!({"keys": [{"kty": "oct", "k": "AAAA"}]}).to_string(),
    );
    let broken = place
        .story
        .agent(&fresh("keys-"))
        .with("token_endpoint_auth_method", json!("private_key_jwt"))
        .with("jwks_uri", json!(broken))
        .register();
    place.ask(&old, &broken.id).refused(401, "invalid_client");
}

#[test]
fn a_document_that_can_not_be_believed_is_none() {
    let place = place();
    let signer = Signer::ed25519();
    let refused = |url: &str, named: &str| {
        let detail = place.register(url).refused(400, "request_invalid").text("/detail");
        assert!(detail.contains(named), "{url}: {detail}");
    };
    let (good_path, good) = place.document(&signer, |_| {});
    for (change, named) in [
        (json!({"client_id": place.publisher.url("/other")}), "client_id"),
        (json!({"client_id": format!("{good}/")}), "client_id"),
        (json!({"client_id": null}), "client_id"),
        (json!({"client_name": null}), "client_name"),
        (json!({"client_name": "Bank\u{202e}"}), "client_name"),
        (json!({"client_secret": "x"}), "client_secret"),
        (json!({"token_endpoint_auth_method": "client_secret_basic"}), "secret"),
        (json!({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}), "symmetric"),
        (json!({"redirect_uris": ["http://evil.example/"]}), "redirect"),
        (json!({"padding": "x".repeat(6000)}), "5120 bytes"),
    ] {
        let (_, url) = place.document(&signer, |document| {
            for (name, value) in change.as_object().unwrap() {
                document[name] = value.clone();
            }
        });
        refused(&url, named);
    }
    let page = |status, headers: &[(&str, &str)], body: &str| {
        place.publisher.page(&format!("/{}", fresh("page-")), status, headers, body)
    };
    let json = [("content-type", "application/json")];
    let moved = page(302, &[("location", &good), ("content-type", "application/json")], "{}");
    let asked = place.publisher.asked(&good_path);
    refused(&moved, "302");
    assert_eq!(place.publisher.asked(&good_path), asked, "a redirect is not followed");
    refused(&page(404, &json, "{}"), "404");
    refused(&page(201, &json, "{}"), "201");
    refused(&page(200, &[("content-type", "text/html")], "{}"), "application/json");
    refused(&page(200, &[], "{}"), "application/json");
    refused(&page(200, &json, "no"), "JSON");
    refused(&page(200, &json, "[]"), "object");
    refused(
        &page(200, &[("content-type", "application/json"), ("content-encoding", "gzip")], "{}"),
        "compressed",
    );
    // Two readings of whose document it is.
    let path = format!("/{}", fresh("double-"));
    let url = place.publisher.url(&path);
    let double = format!(r#"{{"client_id":"{url}","client_id":"https://bank.example/","client_name":"x"}}"#);
    place.publisher.page(&path, 200, &json, &double);
    refused(&url, "twice");
}

#[test]
fn nothing_inside_is_read_whatever_it_is_called() {
    // This one has no flag that allows this machine.
    let stage = stage();
    let publisher = Publisher::start();
    let inside = publisher.json("/client", &json!({}));
    let port = inside.rsplit(':').next().unwrap().split('/').next().unwrap();
    for url in [
        inside.clone(),
        format!("https://127.0.0.1:{port}/client"),
        format!("https://localhost:{port}/client"),
        format!("https://[::1]:{port}/client"),
        format!("https://[::ffff:127.0.0.1]:{port}/client"),
        format!("https://2130706433:{port}/client"),
        format!("https://0x7f.1:{port}/client"),
        format!("https://127.1:{port}/client"),
        "https://10.0.0.1/client".to_owned(),
        "https://192.168.1.1/client".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[fd00:ec2::254]/latest/".to_owned(),
        "https://[fe80::1]/client".to_owned(),
        "https://0.0.0.0/client".to_owned(),
        "https://100.64.0.1/client".to_owned(),
        "http://app.example/client".to_owned(),
        "https://app.example@127.0.0.1/client".to_owned(),
        "https://127.0.0.1\\@app.example/client".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let answer = stage.story.agent(&fresh("doc-")).with("client_id_url", json!(url)).send();
        answer.refused(400, "request_invalid");
        // Nobody who asks for a token learns more.
        let form = [("grant_type", "refresh_token"), ("client_id", url.as_str())];
        let answer = stage.client().post("/oauth/token").form(&form).send().refused(401, "invalid_client");
        assert!(why(&answer).contains("unknown"), "{}", why(&answer));
    }
    assert_eq!(publisher.asked("/client"), 0);
    // Keys are read by the same rules.
    let agent = crate::clients::client(
        json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://10.0.0.1/keys"}),
    );
    let assertion = Signer::ed25519().assertion(&agent.id, stage.story.server.base());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion.as_str()),
    ];
    let answer = stage.client().post("/oauth/token").form(&form).send();
    let answer = answer.refused(503, "temporarily_unavailable");
    assert!(!why(&answer).contains("10.0.0.1") && !why(&answer).contains("private"), "{}", why(&answer));
}
