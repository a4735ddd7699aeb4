//! `private_key_jwt`: who has the key is the client, for this server, once.

use crate::{
    clients::{
        client,
        signer::{Signer, b64, now},
    },
    parties::{stage, why},
    stage::PLACET,
};
use placet_core::client::assertion::ASSERTION_TYPE;
use placet_testkit::{Agent, Answer, Client, Server, Story, fresh, together};
use serde_json::{Value, json};
use std::process::Stdio;

/// An agent that signs with this key.
fn agent(signer: &Signer) -> Agent {
    client(json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks(None)}))
}

fn issuer() -> String {
    stage().story.server.base().to_owned()
}

fn ask(client: &Client, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "orders.read"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", assertion),
    ];
    client.post("/oauth/token").form(&[form.as_slice(), more].concat()).send()
}

#[test]
fn the_key_is_the_client_at_every_endpoint_whatever_the_algorithm() {
    let stage = stage();
    for signer in [Signer::ed25519(), Signer::p256(), Signer::rsa(false), Signer::rsa(true)] {
        let agent = agent(&signer);
        let fresh = || signer.assertion(&agent.id, &issuer());
        let token = ask(&stage.client(), &fresh(), &[]).expect(200).text("/access_token");
        // The client may name itself besides, as long as it is itself.
        ask(&stage.client(), &fresh(), &[("client_id", &agent.id)]).expect(200);
        let other = stage.agent().id;
        ask(&stage.client(), &fresh(), &[("client_id", &other)]).refused(400, "invalid_request");
        let at = |endpoint: &str| {
            let assertion = fresh();
            let form = [
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.as_str()),
                ("token", token.as_str()),
            ];
            stage.client().post(endpoint).form(&form).send().expect(200)
        };
        assert_eq!(at("/oauth/introspect").at("/active"), &json!(true), "{}", signer.alg());
        assert_eq!(at("/oauth/revoke").at("/revoked"), &json!(true));
        assert_eq!(at("/oauth/introspect").at("/active"), &json!(false));
    }
}

#[test]
fn an_assertion_that_is_not_exactly_right_is_refused() {
    let stage = stage();
    let signer = Signer::ed25519();
    let agent = agent(&signer);
    let issuer = issuer();
    type Change<'c> = &'c dyn Fn(&mut Value, &mut Value);
    let refused = |what: &str, change: Change<'_>| {
        let assertion = signer.changed(&agent.id, &issuer, change);
        let answer = ask(&stage.client(), &assertion, &[]);
        assert_eq!((answer.status, answer.at("/error")), (401, &json!("invalid_client")), "{what}");
        answer
    };
    let claim = |name: &str, value: Value| refused(name, &|_, claims| claims[name] = value.clone());
    let token_endpoint = format!("{issuer}/oauth/token");
    for aud in [
        json!(token_endpoint),
        json!(format!("{issuer}/")),
        json!([issuer, token_endpoint]),
        json!([issuer, issuer]),
        json!([]),
        json!({"0": issuer}),
        json!("https://other.example"),
        json!(null),
    ] {
        let answer = claim("aud", aud);
        assert!(why(&answer).contains("aud"), "{}", why(&answer));
    }
    claim("iss", json!("https://idp.example"));
    claim("iss", json!(stage.agent().id));
    // Of somebody else, in another spelling, of nobody.
    for sub in [
        json!(stage.agent().id),
        json!(agent.id.to_uppercase()),
        json!(format!("{} ", agent.id)),
        json!(format!("\u{feff}{}", agent.id)),
        json!(agent.id.replace('g', "\u{0261}")),
        json!("agt_00000000000000000000000000"),
        json!(agent.handle),
        json!([agent.id]),
        json!(null),
    ] {
        claim("sub", sub);
    }
    claim("exp", json!(now() - 120));
    claim("exp", json!(now() + 3600));
    claim("exp", json!((now() + 60).to_string()));
    claim("exp", json!(null));
    claim("iat", json!(now() + 600));
    claim("iat", json!(now() - 3600));
    claim("nbf", json!(now() + 600));
    claim("jti", json!(null));
    claim("jti", json!(""));
    claim("jti", json!("x".repeat(300)));
    for typ in ["at+jwt", "dpop+jwt", "oauth-id-jag+jwt", "placet-delegation+jwt"] {
        refused(typ, &|header, _| header["typ"] = json!(typ));
    }
    refused("crit", &|header, _| header["crit"] = json!(["exp"]));
    refused("kid", &|header, _| header["kid"] = json!("another"));
    for alg in ["none", "HS256", "RS256", "ES256"] {
        refused(alg, &|header, _| header["alg"] = json!(alg));
    }
    // It is still as good as ever.
    ask(&stage.client(), &signer.assertion(&agent.id, &issuer), &[]).expect(200);
}

#[test]
fn forged_and_ambiguous_texts_are_refused() {
    let stage = stage();
    let (rsa, other) = (Signer::rsa(false), Signer::rsa(false));
    let agent = agent(&rsa);
    let issuer = issuer();
    let refused = |assertion: &str| ask(&stage.client(), assertion, &[]).refused(401, "invalid_client");
    refused(&other.assertion(&agent.id, &issuer));
    // A key that the header brings.
    refused(&other.changed(&agent.id, &issuer, |header, _| header["jwk"] = other.jwk()));
    // The public key as the secret of an HMAC, in the forms that libraries have taken it in.
    let claims =
        json!({"iss": agent.id, "sub": agent.id, "aud": issuer, "exp": now() + 60, "jti": fresh("jti-")});
    let signed = format!("{}.{}", b64(br#"{"alg":"HS256"}"#), b64(claims.to_string().as_bytes()));
    for secret in [rsa.jwk().to_string(), rsa.jwk()["n"].as_str().unwrap().to_owned(), String::new()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        refused(&format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref())));
    }
    let unsigned = format!("{}.{}.", b64(br#"{"alg":"none"}"#), b64(claims.to_string().as_bytes()));
    refused(&unsigned);
    // Two readings.
    let header = r#"{"alg":"RS256"}"#;
    let id = &agent.id;
    let double = format!(
        r#"{{"iss":"{id}","sub":"x","sub":"{id}","aud":"{issuer}","exp":{},"jti":"{}"}}"#,
        now() + 60,
        fresh("jti-")
    );
    refused(&rsa.sign(header, &double));
    refused(&rsa.sign(r#"{"alg":"none","alg":"RS256"}"#, &claims.to_string()));
    let good = rsa.assertion(&agent.id, &issuer);
    for wrong in [format!("{good}."), format!("{good}="), good.replace('.', ".."), format!("{good}\u{200b}")]
    {
        refused(&wrong);
    }
    // With another way to authenticate beside it, or as something else.
    let both = stage.client().post("/oauth/token").basic(&agent.id, "x").form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", good.as_str()),
    ]);
    both.send().refused(400, "invalid_request");
    ask(&stage.client(), &good, &[("client_secret", "x")]).refused(400, "invalid_request");
    let post = |form: &[(&str, &str)]| stage.client().post("/oauth/token").form(form).send();
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    post(&[("client_assertion_type", saml), ("client_assertion", &good)]).refused(400, "invalid_request");
    post(&[("client_assertion", &good)]).refused(400, "invalid_request");
    post(&[("client_assertion_type", ASSERTION_TYPE)]).refused(400, "invalid_request");
    // A client with a secret has no keys, and one with keys no secret.
    let with_secret = client(json!({"jwks": rsa.jwks(None)}));
    refused(&rsa.assertion(&with_secret.id, &issuer));
    ask(&stage.client(), &good, &[]).expect(200);
}

#[test]
fn an_assertion_is_good_once_also_for_many_at_once() {
    let stage = stage();
    let signer = Signer::ed25519();
    let agent = agent(&signer);
    for _ in 0..3 {
        let assertion = signer.assertion(&agent.id, &issuer());
        let answers = together(8, |_| ask(&stage.client(), &assertion, &[]).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|status| [200, 401].contains(status)), "{answers:?}");
        let again = ask(&stage.client(), &assertion, &[]).refused(401, "invalid_client");
        assert!(why(&again).contains("before"));
    }
    // An id is its maker's: another client may have the same.
    let other = self::agent(&signer);
    let same =
        |id: &str| signer.changed(id, &issuer(), |_, claims| claims["jti"] = json!("one and the same"));
    ask(&stage.client(), &same(&agent.id), &[]).expect(200);
    ask(&stage.client(), &same(&other.id), &[]).expect(200);
    ask(&stage.client(), &same(&agent.id), &[]).refused(401, "invalid_client");
    // What is refused for something else is not used up.
    let assertion = signer.assertion(&agent.id, &issuer());
    let (head, signature) = assertion.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", b64(&[7; 64]));
    assert_ne!(signature, forged);
    ask(&stage.client(), &forged, &[]).refused(401, "invalid_client");
    ask(&stage.client(), &assertion, &[]).expect(200);
}

#[test]
fn keys_are_told_apart_by_name_and_replaced() {
    let stage = stage();
    let (one, two) = (Signer::ed25519(), Signer::ed25519());
    let keys = json!({"keys": [one.jwks(Some("one"))["keys"][0], two.jwks(Some("two"))["keys"][0]]});
    let agent = client(json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": keys}));
    let issuer = issuer();
    let named = |signer: &Signer, kid: Option<&str>| {
        let assertion = signer.changed(&agent.id, &issuer, |header, _| {
            if let Some(kid) = kid {
                header["kid"] = json!(kid);
            }
        });
        ask(&stage.client(), &assertion, &[]).status
    };
    assert_eq!([named(&one, Some("one")), named(&two, Some("two")), named(&two, None)], [200; 3]);
    assert_eq!([named(&one, Some("two")), named(&two, Some("")), named(&one, Some("ONE"))], [401; 3]);
    let change = json!({"jwks": two.jwks(Some("two"))});
    stage.admin().patch(&format!("/v1/agents/{}", agent.id)).json(&change).send().expect(200);
    assert_eq!([named(&one, None), named(&two, None)], [401, 200]);
}

#[test]
fn an_assertion_is_good_once_on_all_nodes_together() {
    let mut a = Server::first_node(PLACET);
    let mut b = a.another_node();
    // Both are one server to the outside.
    for node in [&mut a, &mut b] {
        node.flags(&["--issuer", "https://placet.example"]);
        node.restart();
    }
    let a = Story::on(a);
    let signer = Signer::ed25519();
    let agent = a
        .agent(&fresh("client-"))
        .with("token_endpoint_auth_method", json!("private_key_jwt"))
        .with("jwks", signer.jwks(None))
        .register();
    let nodes = [a.client(), b.client()];
    for round in 0..4 {
        let assertion = signer.assertion(&agent.id, "https://placet.example");
        let answers = together(4, |number| ask(&nodes[number % 2], &assertion, &[]).status);
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{round}: {answers:?}");
        for node in &nodes {
            ask(node, &assertion, &[]).refused(401, "invalid_client");
        }
    }
}

#[test]
fn the_command_line_makes_a_key_and_signs_with_it() {
    let stage = stage();
    let server = &stage.story.server;
    let name = fresh("cli-");
    let file = |suffix: &str| server.home().join(format!("{name}.{suffix}"));
    let run = |arguments: &[&str]| {
        let mut command = server.cli();
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (key, keys) = (file("pem"), file("jwks"));
    let (key, keys) = (key.to_str().unwrap(), keys.to_str().unwrap());
    std::fs::write(keys, run(&["agent", "keygen", key])).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = server.cli().args(["agent", "keygen", key]).output().unwrap();
    assert!(!again.status.success(), "a key is not written over");
    let made = run(&[
        "agent",
        "create",
        &name,
        "--tool",
        "orders.*",
        "--auth-method",
        "private_key_jwt",
        "--jwks",
        keys,
        "--activate",
        "--json",
    ]);
    let made: Value = serde_json::from_slice(&made).unwrap();
    assert!(made.get("client_secret").is_none());
    let id = made["client_id"].as_str().unwrap();
    for _ in 0..2 {
        let answer = run(&["token", "--client-id", id, "--key", key, "--scope", "orders.read"]);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(stage.is_active(answer["access_token"].as_str().unwrap()));
    }
    let named =
        server.cli().args(["token", "--client-id", id, "--key", key, "--key-id", "none"]).output().unwrap();
    assert!(!named.status.success());
}
