//! What an agent is as an OAuth client: its metadata, and the one method that it authenticates by.

pub(crate) mod signer;

use crate::parties::{ACCESS_TOKEN, TOKEN_EXCHANGE, stage};
use placet_testkit::{Agent, fresh};
use serde_json::{Value, json};

const KEYS: &str =
    r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// An agent that is registered with these members, and active.
pub(crate) fn client(members: Value) -> Agent {
    let mut registering = stage().story.agent(&fresh("client-"));
    for (name, value) in members.as_object().unwrap() {
        registering = registering.with(name, value.clone());
    }
    registering.register()
}

#[test]
fn what_an_agent_is_as_a_client_is_registered_shown_and_changed() {
    let stage = stage();
    let agent = client(json!({"redirect_uris": ["https://app.example/back", "http://localhost/back"],
        "client_name": "Störungsdienst", "logo_uri": "https://app.example/logo.png"}));
    let path = format!("/v1/agents/{}", agent.id);
    let shown = stage.admin().get(&path).send().expect(200);
    assert_eq!(shown.at("/redirect_uris"), &json!(["https://app.example/back", "http://localhost/back"]));
    assert_eq!(shown.at("/token_endpoint_auth_method"), "client_secret_basic");
    assert_eq!(shown.at("/client_name"), "Störungsdienst");
    assert_eq!(shown.at("/response_types"), &json!(["code"]));
    // An agent of which nothing was said, is one with a secret.
    let plain = stage.admin().get(&format!("/v1/agents/{}", stage.agent().id)).send().expect(200);
    assert_eq!(plain.at("/token_endpoint_auth_method"), "client_secret_basic");
    assert_eq!(plain.at("/response_types"), &json!([]));

    let change = |body: Value| stage.admin().patch(&path).json(&body).send();
    let changed =
        change(json!({"client_name": null, "redirect_uris": ["com.example.app:/back"]})).expect(200);
    assert_eq!(changed.at("/redirect_uris"), &json!(["com.example.app:/back"]));
    assert!(changed.body.get("client_name").is_none() && changed.body.get("client_secret").is_none());
    assert_eq!(stage.admin().get(&path).send().expect(200).body, changed.body);
    change(json!({"redirect_uris": ["http://app.example/back"]})).refused(400, "request_invalid");
    change(json!({"redirect_uris": [], "grant_types": ["authorization_code"]}))
        .refused(400, "request_invalid");
    assert_eq!(stage.admin().get(&path).send().expect(200).body, changed.body);
    // Nobody but an administrator, and not the agent.
    let own = stage.given(&agent, "orders.read").text("/access_token");
    let mine = stage.client().with(&own).patch(&path).json(&json!({"client_name": "Bank"})).send();
    mine.refused(403, "not_permitted");
    // The record has what was said.
    let entries = stage.story.record();
    let changed = |entry: &&Value| entry["type"] == "agent.changed" && entry["agent"] == agent.id.as_str();
    assert_eq!(entries.iter().filter(changed).count(), 1);
}

#[test]
fn what_can_not_be_a_client_is_refused_by_name() {
    for (member, value, named) in [
        ("redirect_uris", json!(["http://app.example/back"]), "http://app.example/back"),
        ("redirect_uris", json!(["https://app.example/*"]), "wildcard"),
        ("redirect_uris", json!(["https://app.example/#x"]), "fragment"),
        ("redirect_uris", json!(["https://me@app.example/"]), "user information"),
        ("redirect_uris", json!(["javascript:alert(1)"]), "javascript"),
        ("redirect_uris", json!("https://app.example/back"), "redirect_uris"),
        ("token_endpoint_auth_method", json!("client_secret_jwt"), "token_endpoint_auth_method"),
        ("token_endpoint_auth_method", json!("private_key_jwt"), "jwks"),
        ("grant_types", json!(["password"]), "password"),
        ("jwks", json!({"keys": [{"kty": "oct", "k": "AAAA"}]}), "symmetric"),
        ("client_name", json!("Bank\u{202e}"), "client_name"),
        ("client_secret", json!("mine"), "client_secret"),
        ("redirect_uri", json!(["https://app.example/"]), "redirect_uri"),
    ] {
        let answer = stage().story.agent(&fresh("bad-")).with(member, value).send();
        let detail = answer.refused(400, "request_invalid").text("/detail");
        assert!(detail.contains(named), "{member}: {detail}");
    }
}

#[test]
fn a_client_with_a_secret_sends_it_in_the_header_or_in_the_body_and_once() {
    let stage = stage();
    for method in ["client_secret_basic", "client_secret_post"] {
        let agent = client(json!({"token_endpoint_auth_method": method}));
        let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
        let own = [("client_id", agent.id.as_str()), ("client_secret", agent.secret.as_str())];
        let post = || stage.client().post("/oauth/token");
        post().basic(&agent.id, &agent.secret).form(&form).send().expect(200);
        post().form(&[form.as_slice(), &own].concat()).send().expect(200);
        let twice = post().basic(&agent.id, &agent.secret).form(&[form.as_slice(), &own].concat()).send();
        twice.refused(400, "invalid_request");
        // Its name alone is not enough.
        post().form(&[form.as_slice(), &own[..1]].concat()).send().refused(401, "invalid_client");
    }
}

#[test]
fn a_public_client_has_no_secret_and_nothing_that_needs_one() {
    let stage = stage();
    let agent =
        client(json!({"token_endpoint_auth_method": "none", "redirect_uris": ["http://localhost/back"]}));
    assert!(agent.registration.get("client_secret").is_none());
    assert_eq!(agent.registration["token_endpoint_auth_method"], "none");
    let ask = |form: &[(&str, &str)]| {
        let own = [("client_id", agent.id.as_str())];
        stage.client().post("/oauth/token").form(&[form, &own].concat()).send()
    };
    ask(&[("grant_type", "client_credentials")]).refused(400, "unauthorized_client");
    let other = stage.agent();
    let token = stage.given(&other, "orders.read").text("/access_token");
    let exchange = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    ask(&exchange).refused(400, "unauthorized_client");
    // With what it may use it gets as far as that.
    ask(&[("grant_type", "refresh_token"), ("refresh_token", "prf_none")]).refused(400, "invalid_grant");
    ask(&[("grant_type", "password")]).refused(400, "unsupported_grant_type");
    // A secret is the wrong method, and there is none that would do.
    for secret in ["", "x", &other.secret] {
        let basic = stage.client().post("/oauth/token").basic(&agent.id, secret);
        basic.form(&[("grant_type", "refresh_token")]).send().refused(401, "invalid_client");
    }
    // It is told nothing about tokens (RFC 7662 §2.1), and may give back what it has (RFC 7009 §2.1).
    let own = [("client_id", agent.id.as_str()), ("token", token.as_str())];
    stage.client().post("/oauth/introspect").form(&own).send().refused(401, "invalid_client");
    let revoked = stage.client().post("/oauth/revoke").form(&own).send().expect(200);
    assert_eq!(revoked.at("/revoked"), &json!(false), "not another's");
    assert!(stage.is_active(&token));
    // Whoever names nobody, or nobody that is there, is refused in the same words.
    let form = [("grant_type", "refresh_token"), ("client_id", "agt_00000000000000000000000000")];
    let unknown = stage.client().post("/oauth/token").form(&form).send().refused(401, "invalid_client");
    let inactive = stage.story.agent(&fresh("client-")).with("token_endpoint_auth_method", json!("none"));
    let inactive = inactive.send().expect(201).text("/client_id");
    let form = [("grant_type", "refresh_token"), ("client_id", inactive.as_str())];
    let inactive = stage.client().post("/oauth/token").form(&form).send().refused(401, "invalid_client");
    assert_eq!(inactive.body, unknown.body);
}

#[test]
fn a_client_uses_the_grant_types_that_it_registered() {
    let stage = stage();
    let agent = client(json!({"grant_types": ["client_credentials"]}));
    let token = stage.given(&agent, "orders.read").text("/access_token");
    let refused = agent
        .ask()
        .with("grant_type", TOKEN_EXCHANGE)
        .with("subject_token", &token)
        .with("subject_token_type", ACCESS_TOKEN)
        .send(&stage.client())
        .refused(400, "unauthorized_client");
    assert!(crate::parties::why(&refused).contains(TOKEN_EXCHANGE));
    agent.ask().with("grant_type", "refresh_token").send(&stage.client()).refused(400, "unauthorized_client");
}

#[test]
fn another_method_ends_the_secret_and_back_again_is_a_new_one() {
    let stage = stage();
    let agent = client(json!({}));
    let ask = |secret: &str| {
        let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
        stage.client().post("/oauth/token").basic(&agent.id, secret).form(&form).send()
    };
    ask(&agent.secret).expect(200);
    let change = |body: Value| {
        let path = format!("/v1/agents/{}", agent.id);
        stage.admin().patch(&path).json(&body).send().expect(200)
    };
    let keys: Value = serde_json::from_str(KEYS).unwrap();
    let changed = change(json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": keys}));
    assert_eq!((changed.at("/jwks"), changed.body.get("client_secret")), (&keys, None));
    ask(&agent.secret).refused(401, "invalid_client");
    let again = change(json!({"token_endpoint_auth_method": "client_secret_post"})).text("/client_secret");
    ask(&agent.secret).refused(401, "invalid_client");
    ask(&again).expect(200);
    // Between the two with a secret there is nothing to renew.
    let same = change(json!({"token_endpoint_auth_method": "client_secret_basic"}));
    assert_eq!(same.body.get("client_secret"), None);
    ask(&again).expect(200);
}
