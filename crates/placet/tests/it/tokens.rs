//! The token endpoint: who authenticates how, what a scope means, and what an access token says.

use crate::{
    parties::{Stage, exchange, read, stage, why},
    upgrade,
};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use placet_testkit::{Answer, Client, fresh, until};
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

fn ask(client: &Client, form: &[(&str, &str)]) -> Answer {
    let form: Vec<_> =
        [("grant_type", "client_credentials")].into_iter().chain(form.iter().copied()).collect();
    client.post("/oauth/token").form(&form).send()
}

#[test]
fn a_client_authenticates_in_the_header_or_in_the_body_and_not_in_both() {
    let stage = stage();
    let agent = stage.agent();
    let (id, secret) = (agent.id.as_str(), agent.secret.as_str());
    let both: &[_] = &[("client_id", id), ("client_secret", secret)];
    ask(&stage.client(), both).expect(200);
    let post = || stage.client().post("/oauth/token");
    let grant = ("grant_type", "client_credentials");
    post().basic(id, secret).form(&[grant]).send().expect(200);
    // The id alone says nothing new, another one contradicts.
    post().basic(id, secret).form(&[grant, ("client_id", id)]).send().expect(200);
    let other = stage.agent();
    post().basic(id, secret).form(&[grant, ("client_id", &other.id)]).send().refused(400, "invalid_request");
    post().basic(id, secret).form(&[grant, both[0], both[1]]).send().refused(400, "invalid_request");
    ask(&stage.client(), &[("client_secret", secret)]).refused(400, "invalid_request");
    // RFC 6749 §2.3.1: both parts are form-encoded before base64.
    let encoded: String = id
        .bytes()
        .chain([b':'])
        .chain(secret.bytes())
        .map(|byte| match byte {
            b':' => ":".to_owned(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    let header = format!("Basic {}", STANDARD.encode(encoded));
    post().header("authorization", header).form(&[grant]).send().expect(200);
    let json = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
    post().json(&json).send().expect(200);
}

#[test]
fn every_failed_authentication_is_told_in_the_same_words() {
    let stage = stage();
    let (agent, other) = (stage.agent(), stage.agent());
    let unknown = "agt_00000000000000000000000000";
    let mut answers = Vec::new();
    for (id, secret) in [
        (agent.id.as_str(), "wrong"),
        (&agent.id, ""),
        (&agent.id, &other.secret),
        (unknown, &agent.secret),
        ("nonsense", &agent.secret),
        (&agent.handle, &agent.secret),
        ("", ""),
    ] {
        let form = [("grant_type", "client_credentials")];
        answers.push(stage.client().post("/oauth/token").basic(id, secret).form(&form).send());
        if !id.is_empty() && !secret.is_empty() {
            answers.push(ask(&stage.client(), &[("client_id", id), ("client_secret", secret)]));
        }
    }
    answers.push(ask(&stage.client(), &[]));
    answers.push(ask(&stage.client(), &[("client_id", &agent.id)]));
    for header in ["Basic", "Basic !", "Basic bm9jb2xvbg==", "Digest x", "Bearer x"] {
        let request = stage.client().post("/oauth/token").header("authorization", header);
        answers.push(request.form(&[("grant_type", "client_credentials")]).send());
    }
    // A token of an agent, a session and the administrator token are no clients.
    let own = stage.given(&agent, "orders.read").text("/access_token");
    for token in [&own, &stage.ada(), stage.story.server.admin_token()] {
        answers.push(ask(&stage.client().with(token), &[]));
    }
    for answer in answers {
        let answer = answer.refused(401, "invalid_client");
        assert_eq!(why(&answer), "the client is unknown, not active, or can't prove that it is that one");
        assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"placet\""));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_missing_scope_is_the_default_and_without_default_nothing() {
    let stage = stage();
    let read_order = json!({"customer_id": "1", "order_id": "2"});
    let bare = stage.agent();
    stage.story.rules(&bare.handle, "  - {name: all, allow: [\"**\"]}\n").expect(201);
    let given = bare.ask().send(&stage.client()).expect(200);
    assert_eq!(given.at("/scope"), "");
    stage.story.act(&given.text("/access_token"), "orders.read", &read_order).refused(403, "not_granted");

    let named = fresh("bot-");
    let with = stage.story.agent(&named).with("default_scopes", json!(["orders.read"])).register();
    stage.story.rules(&named, "  - {name: all, allow: [\"**\"]}\n").expect(201);
    let given = with.ask().send(&stage.client()).expect(200);
    assert_eq!(given.at("/scope"), "orders.read");
    assert_eq!(given.at("/granted_tools"), &json!(["orders.*", "notes.*", "refunds.*"]));
    assert_eq!(given.at("/granted_resources"), &json!(["order://**"]));
    let token = given.text("/access_token");
    stage.story.act(&token, "orders.read", &read_order).expect(200);
    stage.story.act(&token, "orders.list", &json!({"customer_id": "1"})).refused(403, "not_granted");
    // More than the default is there for the asking.
    assert_eq!(stage.given(&with, "orders.list").at("/scope"), "orders.list");
}

#[test]
fn the_answer_says_what_was_given() {
    let stage = stage();
    let agent = stage.agent();
    let asked = agent.ask().with("scope", "orders.read orders.list").with("task_id", "ticket-1");
    let mut answer = asked.send(&stage.client()).expect(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert!(answer.text("/grant_id").starts_with("gnt_"));
    for secret in ["access_token", "grant_id"] {
        answer.body.as_object_mut().unwrap().insert(secret.into(), "…".into());
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer.body).unwrap(), @r#"
    {
      "access_token": "…",
      "expires_in": 600,
      "grant_id": "…",
      "granted_resources": [
        "order://**"
      ],
      "granted_tools": [
        "orders.*",
        "notes.*",
        "refunds.*"
      ],
      "scope": "orders.read orders.list",
      "task_bound": true,
      "task_id": "ticket-1",
      "token_type": "Bearer"
    }
    "#);
}

#[test]
fn what_exceeds_is_named_by_its_dimension() {
    let stage = stage();
    let agent = stage.agent();
    let refused = |name: &str, value: &str, error: &str, named: &str| {
        let asked = agent.ask().with("scope", "orders.read").with(name, value);
        let answer = asked.send(&stage.client()).refused(400, error);
        assert!(why(&answer).contains(named), "{name}: {}", why(&answer));
    };
    refused("scope", "orders.read mail.send admin.x", "invalid_scope", "mail.send, admin.x");
    refused("scope", "*", "invalid_scope", "*");
    refused("scope", "orders..read", "invalid_scope", "orders..read");
    refused("scope", "[\"orders.read\", 1]", "invalid_request", "scope");
    refused("required_tools", "orders.read mail.send", "invalid_scope", "mail.send");
    refused("required_tools", "[\"mail.send\"]", "invalid_scope", "mail.send");
    refused("required_tools", "[\"a..b\"]", "invalid_scope", "a..b");
    refused("required_tools", "[", "invalid_request", "required_tools");
    refused("required_tools", "{}", "invalid_scope", "{}");
    refused("required_resources", "order://1 crm://x", "invalid_target", "crm://x");
    refused("required_resources", "[\"crm://x\"]", "invalid_target", "crm://x");
    refused("required_resources", "order://1/../2", "invalid_target", "..");
    refused("required_resources", "nonsense", "invalid_target", "nonsense");
    let details = |text: &str, named: &str| {
        refused("authorization_details", text, "invalid_authorization_details", named);
    };
    details(r#"[{"type": "placet_action"}]"#, "actions");
    details(r#"[{"actions": ["orders.read"]}]"#, "type");
    details(r#"{"type": "placet_action"}"#, "array");
    details(r#"[{"type": "placet_action", "actions": ["orders.read"], "maximum": {}}]"#, "maximum");
    refused("authorization_details", "[", "invalid_request", "authorization_details");
    refused("task_description", &"x".repeat(2001), "invalid_request", "task_description");
    // A single action above the level, a pattern that only may reach one.
    let low = stage
        .story
        .agent(&fresh("low-"))
        .with("max_scope_level", json!("restricted"))
        .with("allowed_tools", json!(["orders.*", "notes.*"]));
    let low = low.register();
    let answer = low.ask().with("scope", "notes.write").send(&stage.client()).refused(400, "invalid_scope");
    assert!(why(&answer).contains("notes.write"));
    let tools = low.ask().with("scope", "orders.*").with("required_tools", "orders.delete");
    assert!(why(&tools.send(&stage.client()).refused(400, "invalid_scope")).contains("orders.delete"));
    low.ask().with("scope", "notes.*").send(&stage.client()).expect(200);
}

#[test]
fn lists_are_json_arrays_or_words() {
    let stage = stage();
    let agent = stage.agent();
    let words = [
        ("scope", "orders.read  orders.list orders.read"),
        ("required_tools", "orders.read orders.list"),
        ("required_resources", "order://customer:1/** order://customer:2/*"),
    ];
    let arrays = [
        ("scope", r#"["orders.read", "orders.list"]"#),
        ("required_tools", r#" ["orders.read", "orders.list"]"#),
        ("required_resources", r#"["order://customer:1/**", "order://customer:2/*"]"#),
    ];
    let as_form = |form: &[(&'static str, &'static str)]| {
        let mut asked = agent.ask();
        for (name, value) in form {
            asked = asked.with(name, value);
        }
        asked.send(&stage.client()).expect(200)
    };
    let json = json!({"grant_type": "client_credentials", "scope": ["orders.read", "orders.list"],
        "required_tools": ["orders.read", "orders.list"],
        "required_resources": ["order://customer:1/**", "order://customer:2/*"]});
    let as_json = stage.client().post("/oauth/token").basic(&agent.id, &agent.secret).json(&json).send();
    for answer in [as_form(&words), as_form(&arrays), as_json.expect(200)] {
        assert_eq!(answer.at("/scope"), "orders.read orders.list");
        assert_eq!(answer.at("/granted_tools"), &json!(["orders.read", "orders.list"]));
        assert_eq!(
            answer.at("/granted_resources"),
            &json!(["order://customer:1/**", "order://customer:2/*"])
        );
    }
}

#[test]
fn details_bound_what_the_token_does() {
    let stage = stage();
    let (agent, _) = stage.story.ready("  - {name: all, allow: [\"**\"]}\n");
    let details = r#"[{"type":"placet_action","actions":["refunds.*"],"resources":["order://customer:1/*"],"max":{"amount":50}}]"#;
    let asked =
        agent.ask().with("scope", "refunds.create orders.read").with("authorization_details", details);
    let given = asked.send(&stage.client()).expect(200);
    let expected: Value = serde_json::from_str(details).unwrap();
    assert_eq!(given.at("/authorization_details"), &expected);
    let token = given.text("/access_token");
    assert_eq!(read(&token).1["authorization_details"], expected);
    assert_eq!(stage.introspect(&token).at("/authorization_details"), &expected);
    let refund = |customer: &str, amount: i32| {
        let params = json!({"customer_id": customer, "order_id": "1", "amount": amount});
        stage.story.act(&token, "refunds.create", &params)
    };
    refund("1", 50).expect(200);
    refund("1", 51).refused(403, "not_granted");
    refund("2", 1).refused(403, "not_granted");
    let read_order = json!({"customer_id": "1", "order_id": "2"});
    stage.story.act(&token, "orders.read", &read_order).refused(403, "not_granted");
}

#[test]
fn what_the_endpoint_does_not_do_is_said() {
    let stage = stage();
    let agent = stage.agent();
    let client = stage.client();
    agent.ask().with("grant_type", "password").send(&client).refused(400, "unsupported_grant_type");
    agent.ask().with("grant_type", "authorization_code").send(&client).refused(400, "unauthorized_client");
    agent.ask().with("grant_type", "").send(&client).refused(400, "invalid_request");
    let post = || client.post("/oauth/token").basic(&agent.id, &agent.secret);
    let twice = "grant_type=client_credentials&scope=orders.read&scope=orders.list";
    post().body("application/x-www-form-urlencoded", twice).send().refused(400, "invalid_request");
    let twice = r#"{"grant_type": "client_credentials", "scope": "orders.read", "scope": "*"}"#;
    post().body("application/json", twice).send().refused(400, "invalid_request");
    post().body("text/plain", "grant_type=client_credentials").send().refused(400, "invalid_request");
    post().body("application/json", "[]").send().refused(400, "invalid_request");
    post()
        .body("application/x-www-form-urlencoded", vec![b'g', b'=', 0xff])
        .send()
        .refused(400, "invalid_request");
    let big = format!("grant_type=client_credentials&x={}", "x".repeat(1024 * 1024));
    assert_eq!(post().body("application/x-www-form-urlencoded", big).send().status, 413);
    assert_eq!(client.get("/oauth/token").send().status, 405);
}

/// The public key of a `kid` as the installation publishes it.
fn published(client: &Client, kid: &str) -> Vec<u8> {
    let keys = client.get("/.well-known/jwks.json").send().expect(200);
    let key = keys.at("/keys").as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig"))
    );
    assert!(key.get("d").is_none());
    URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap()
}

/// Whether a JWT is signed by this key, found without the code under test.
fn is_signed_by(token: &str, key: &[u8]) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature).is_ok()
}

fn seconds() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a token that an outsider makes for the real server's clock"
    )]
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn an_access_token_is_what_rfc_9068_says_and_anybody_can_verify_it() {
    let stage = stage();
    let agent = stage.agent();
    let before = seconds();
    let given =
        agent.ask().with("scope", "orders.read").with("task_id", "t.1").send(&stage.client()).expect(200);
    let token = given.text("/access_token");
    let (header, claims) = read(&token);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "EdDSA");
    let key = published(&stage.client(), header["kid"].as_str().unwrap());
    assert!(is_signed_by(&token, &key));
    let mut forged = token.clone().into_bytes();
    let at = token.find('.').unwrap() + 5;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    assert!(!is_signed_by(&String::from_utf8(forged).unwrap(), &key));

    let issuer = stage.story.server.base();
    assert_eq!(claims["iss"], issuer);
    assert_eq!(claims["aud"], json!([issuer]));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(agent.id), &json!(agent.id)));
    assert_eq!(claims["scope"], "orders.read");
    assert_eq!(claims["task"], json!({"id": "t.1"}));
    let registration =
        stage.admin().get(&format!("/v1/agents/{}", agent.id)).send().text("/registration_grant");
    assert_eq!(claims["grant"], json!({"id": given.at("/grant_id"), "root": registration, "depth": 1}));
    assert_eq!(claims["act"], json!({"sub": agent.id}));
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((before..=before + 10).contains(&iat), "{before} {iat}");
    assert_eq!(given.at("/expires_in"), &json!(exp - iat));
    assert!((590..=600).contains(&(exp - iat)), "minutes of life, not {}", exp - iat);
    assert!(claims["jti"].as_str().is_some_and(|jti| !jti.is_empty()));
    for absent in ["cnf", "authorization_details", "username"] {
        assert!(claims.get(absent).is_none(), "{absent}");
    }
    // Two tokens are never the same one.
    let again = agent.ask().with("task_id", "t.1").send(&stage.client()).expect(200).text("/access_token");
    assert_ne!(read(&again).1["jti"], claims["jti"]);
}

/// Signs any header and claims with the installation's own key, as only a thief of database and vault key can.
struct Forger<'a> {
    stage: &'a Stage,
    pair: Ed25519KeyPair,
}

impl<'a> Forger<'a> {
    fn new(stage: &'a Stage) -> Self {
        Self { stage, pair: Ed25519KeyPair::from_pkcs8(&upgrade::token_key()).unwrap() }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        upgrade::signed(header, claims)
    }

    /// What the doors say to a token.
    fn door(&self, token: &str) -> (u16, String) {
        let answer = self.stage.client().with(token).get("/v1/grants").send();
        (answer.status, answer.body["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn only_a_token_of_the_right_kind_for_us_by_us_in_time_is_taken() {
    let stage = stage();
    let agent = stage.agent();
    let (header, claims) = read(&stage.given(&agent, "orders.read").text("/access_token"));
    let forger = Forger::new(stage);
    let with = |value: &Value, name: &str, new: Value| {
        let mut value = value.clone();
        value.as_object_mut().unwrap().insert(name.to_owned(), new);
        value
    };
    // The forger's tokens are good, so that what follows fails for its one difference.
    assert_eq!(forger.door(&forger.sign(&header, &claims)).0, 200);
    let invalid = (401, "token_invalid".to_owned());
    for (name, value) in [
        ("typ", json!("JWT")),
        ("typ", json!("placet-delegation+jwt")),
        ("typ", json!("AT+JWT ")),
        ("typ", Value::Null),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
        ("kid", json!("another")),
        ("kid", Value::Null),
    ] {
        let token = forger.sign(&with(&header, name, value.clone()), &claims);
        assert_eq!(forger.door(&token), invalid, "{name}: {value}");
    }
    for (name, value) in [
        ("iss", json!("https://elsewhere.example")),
        ("iss", json!(format!("{}/", stage.story.server.base()))),
        ("aud", json!(["https://elsewhere.example"])),
        ("aud", json!([])),
        (
            "grant",
            json!({"id": "gnt_00000000000000000000000000", "root": "gnt_00000000000000000000000000", "depth": 1}),
        ),
        ("client_id", json!("somebody")),
        ("exp", json!("soon")),
    ] {
        let token = forger.sign(&header, &with(&claims, name, value.clone()));
        assert_eq!(forger.door(&token), invalid, "{name}: {value}");
    }
    let token = forger.sign(&header, &claims);
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    for text in [unsigned.as_str(), "", "a.b.c", "….….…", &"x".repeat(20_000)] {
        let answer =
            stage.client().get("/v1/grants").header("authorization", format!("Bearer {text}")).send();
        answer.refused(401, "token_invalid");
    }
    // RFC 6750 §2: nowhere but in the header.
    stage.client().get(&format!("/v1/grants?access_token={token}")).send().refused(400, "request_invalid");
    // HS256 with the public key as the secret: the oldest trick.
    let hs = with(&header, "alg", json!("HS256"));
    let signed = token_of(&hs, &claims, |signed| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, forger.pair.public_key().as_ref());
        aws_lc_rs::hmac::sign(&key, signed).as_ref().to_vec()
    });
    assert_eq!(forger.door(&signed), invalid);
}

fn token_of(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

#[test]
fn a_token_ends_at_its_second() {
    let stage = stage();
    let agent = stage.agent();
    let (header, mut claims) = read(&stage.given(&agent, "orders.read").text("/access_token"));
    let forger = Forger::new(stage);
    // `exp` is exclusive: at that second it is over.
    claims["exp"] = json!(seconds());
    let over = forger.sign(&header, &claims);
    assert_eq!(forger.door(&over), (401, "token_expired".to_owned()));
    assert!(!stage.is_active(&over));
    let end = seconds() + 2;
    claims["exp"] = json!(end);
    let short = forger.sign(&header, &claims);
    assert_eq!(forger.door(&short).0, 200);
    assert!(stage.is_active(&short));
    // Also for one that was verified before.
    let (status, code) =
        until("the token's end", || Some(forger.door(&short)).filter(|(status, _)| *status != 200));
    assert!(seconds() >= end, "it ended before its time");
    assert_eq!((status, code.as_str()), (401, "token_expired"));
    assert!(!stage.is_active(&short));
    agent.ask().with("parent_token", &short).send(&stage.client()).refused(400, "invalid_grant");
    exchange(&agent, &short, &stage.agent().id).send(&stage.client()).refused(400, "invalid_request");
}

#[test]
fn tokens_of_another_installation_are_nothing_here_and_ours_survive_a_restart() {
    let mut server = placet_testkit::Server::start(env!("CARGO_BIN_EXE_placet"));
    let registered = |admin: &Client| {
        let body =
            json!({"agent_name": "bot", "allowed_tools": ["orders.*"], "default_scopes": ["orders.*"]});
        let made = admin.post("/v1/agents").json(&body).send().expect(201);
        let confirm = json!({"registration_token": made.text("/registration_token")});
        admin.post("/v1/agents/bot/activate").json(&confirm).send().expect(200);
        (made.text("/client_id"), made.text("/client_secret"))
    };
    let (id, secret) = registered(&server.admin());
    let ask =
        |client: &Client| ask(client, &[("client_id", &id), ("client_secret", &secret), ("task_id", "t")]);
    let given = ask(&server.client()).expect(200);
    let token = given.text("/access_token");
    let stage = stage();
    stage.client().with(&token).get("/v1/grants").send().refused(401, "token_invalid");
    assert!(!stage.is_active(&token));
    ask(&stage.client()).refused(401, "invalid_client");

    let (before, issuer) = (server.base().to_owned(), read(&token).1["iss"].clone());
    for stop in [false, true] {
        if stop {
            assert_eq!(server.stop(), Some(0));
        }
        server.restart();
        assert_ne!(server.base(), before);
        // The token, its issuer, its grant and its label are still known; new ones name the new address.
        server.client().with(&token).get("/v1/grants").send().expect(200);
        let known = crate::parties::introspect(&server.admin(), &token);
        assert_eq!((known.at("/active"), known.at("/iss")), (&json!(true), &issuer));
        let again = ask(&server.client()).expect(200);
        assert_eq!(again.at("/grant_id"), given.at("/grant_id"));
        assert_eq!(read(&again.text("/access_token")).1["iss"], server.base());
        server.client().with(&again.text("/access_token")).get("/v1/grants").send().expect(200);
    }
    let revoked = server.admin().post("/oauth/revoke").form(&[("token", &token)]).send().expect(200);
    assert_eq!(revoked.at("/affected_tasks"), &json!(["t"]));
    server.restart();
    server.client().with(&token).get("/v1/grants").send().refused(401, "token_revoked");
    ask(&server.client()).refused(400, "invalid_grant");
}
