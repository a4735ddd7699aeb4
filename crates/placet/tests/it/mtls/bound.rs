//! Tokens that are bound to a certificate: of no use without it, and neither is anything below them.

use super::{
    ask, ask_for,
    world::{Certified, World, own, world},
};
use crate::{
    authorize::browser::{App, Browser},
    dpop::{Key, nonce, with},
    parties::{ACCESS_TOKEN, DELEGATION, TOKEN_EXCHANGE, introspect, read},
    refresh::REFRESH_TOKEN,
};
use placet_testkit::{Agent, Client, fresh};
use serde_json::json;

/// An agent that is known by a certificate of its own.
fn agent_with(world: &World) -> (Agent, Certified) {
    let certificate = own();
    let agent = world.agent(json!({"token_endpoint_auth_method": "self_signed_tls_client_auth",
        "jwks": {"keys": [certificate.jwk()]}}));
    (agent, certificate)
}

fn act(client: &Client, token: &str) -> placet_testkit::Answer {
    let body =
        json!({"service": "shop", "action": "orders.read", "params": {"customer_id": "42", "order_id": "1"}});
    client.with(token).post("/v1/actions").json(&body).send()
}

#[test]
fn a_bound_token_is_of_use_with_its_certificate_only() {
    let world = world();
    let (agent, certificate) = agent_with(world);
    let (mine, other) = (world.showing(&certificate), world.showing(&own()));
    let token = ask(&mine, &agent).expect(200).text("/access_token");
    let rule = "allow: [orders.*]\n    on: [\"**\"]";
    world.story.rules(&agent.handle, &format!("  - name: all\n    {rule}\n")).expect(201);
    assert_eq!(act(&mine, &token).expect(200).at("/status"), "executed");
    mine.with(&token).get("/v1/grants").send().expect(200);
    let proxied = "/proxy/shop-main/customers/42/orders/1";
    mine.with(&token).get(proxied).send().expect(200);
    let decision = json!({"action": "orders.read", "resource": "order://customer:42/1", "params": {}});
    mine.with(&token).post("/v1/decisions").json(&decision).send().expect(200);
    // Stolen: over plain HTTP, over TLS without a certificate, with another one.
    for thief in [world.plain(), world.bare(), other] {
        let refused = act(&thief, &token).refused(401, "certificate_required");
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
            "{challenge}"
        );
        thief.with(&token).get("/v1/grants").send().refused(401, "certificate_required");
        thief.with(&token).get(proxied).send().refused(401, "certificate_required");
        thief.with(&token).post("/v1/decisions").json(&decision).send().refused(401, "certificate_required");
        thief.with(&token).get("/v1/actions").send().refused(401, "certificate_required");
        // It is no way to say who somebody is, either.
        thief
            .with(&token)
            .post("/oauth/introspect")
            .form(&[("token", &token)])
            .send()
            .refused(401, "invalid_token");
        thief
            .with(&token)
            .post("/oauth/revoke")
            .form(&[("token", &token)])
            .send()
            .refused(401, "invalid_token");
    }
    // A proof of a key is not what it is bound to.
    let url = format!("{}/v1/grants", world.url);
    let proof = Key::ed25519().proof("GET", &url, Some(&token), None);
    with(mine.get("/v1/grants"), &token, &proof).send().refused(401, "proof_required");
    // Introspection says what it is bound to.
    let told = introspect(&world.story.admin(), &token);
    assert_eq!(told.at("/cnf"), &json!({"x5t#S256": certificate.thumbprint()}));
    assert_eq!(told.at("/token_type"), "Bearer");
    // What is not bound is as useful as ever, with a certificate and without.
    let plain = world.story.agent(&fresh("plain-")).register().token(&world.plain(), "orders.read");
    for client in [world.plain(), world.bare(), mine] {
        client.with(&plain).get("/v1/grants").send().expect(200);
    }
    assert!(read(&plain).1.get("cnf").is_none());
}

#[test]
fn what_is_made_of_a_bound_token_needs_its_certificate_and_is_bound_too() {
    let world = world();
    let (agent, certificate) = agent_with(world);
    let mine = world.showing(&certificate);
    let token = ask(&mine, &agent).expect(200).text("/access_token");
    let cnf = json!({"x5t#S256": certificate.thumbprint()});
    // A child with a secret of its own: it needs the parent's certificate, and stays bound to it.
    let child = world.story.agent(&fresh("child-")).register();
    let below = |client: &Client| {
        child
            .ask()
            .with("parent_token", &token)
            .with("task_id", "below")
            .with("scope", "orders.read")
            .send(client)
    };
    let subject = |client: &Client| {
        let asking = child.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &token);
        asking.with("subject_token_type", ACCESS_TOKEN).with("scope", "orders.read").send(client)
    };
    for wrong in [world.plain(), world.bare(), world.showing(&own())] {
        below(&wrong).refused(400, "invalid_grant");
        subject(&wrong).refused(400, "invalid_request");
    }
    let given = below(&mine).expect(200);
    let under = given.text("/access_token");
    assert_eq!(read(&under).1["cnf"], cnf);
    assert_eq!(read(&subject(&mine).expect(200).text("/access_token")).1["cnf"], cnf);
    let shown =
        world.story.admin().get(&format!("/v1/grants/{}", given.text("/grant_id"))).send().expect(200);
    assert_eq!(shown.at("/certificate"), &json!(certificate.thumbprint()));
    // Asking again by the task's label is no way out of it.
    let again = |client: &Client| child.ask().with("task_id", "below").send(client);
    for wrong in [world.plain(), world.bare(), world.showing(&own())] {
        again(&wrong).refused(400, "invalid_grant");
        wrong.with(&under).get("/v1/grants").send().refused(401, "certificate_required");
    }
    let same = again(&mine).expect(200);
    assert_eq!(same.at("/grant_id"), given.at("/grant_id"));
    assert_eq!(read(&same.text("/access_token")).1["cnf"], cnf);
    // Nor is a refresh token of it, nor a grandchild.
    let exchanged = child.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &under);
    let exchanged =
        exchanged.with("subject_token_type", ACCESS_TOKEN).with("requested_token_type", REFRESH_TOKEN);
    let refresh = exchanged.send(&mine).expect(200).text("/access_token");
    let refreshing = |client: &Client| {
        child.ask().with("grant_type", "refresh_token").with("refresh_token", &refresh).send(client)
    };
    refreshing(&world.plain()).refused(400, "invalid_grant");
    assert_eq!(read(&refreshing(&mine).expect(200).text("/access_token")).1["cnf"], cnf);
    let third = world.story.agent(&fresh("third-")).register();
    third.ask().with("parent_token", &under).send(&world.plain()).refused(400, "invalid_grant");
    let third = third.ask().with("parent_token", &under).send(&mine).expect(200);
    assert_eq!(read(&third.text("/access_token")).1["cnf"], cnf);
}

#[test]
fn what_is_delegated_of_a_bound_token_is_bound_to_what_the_child_holds() {
    let world = world();
    let (agent, certificate) = agent_with(world);
    let (other, others) = agent_with(world);
    let mine = world.showing(&certificate);
    let token = ask(&mine, &agent).expect(200).text("/access_token");
    let delegate = |client: &Client, child: &Agent| {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", DELEGATION),
            ("audience", &child.id),
            ("scope", "orders.read"),
        ];
        ask_for(client, &agent, &form)
    };
    delegate(&world.bare(), &other).refused(401, "invalid_client");
    // A child with a certificate of its own.
    let handed = delegate(&mine, &other).expect(200).text("/access_token");
    let form = [("grant_type", "client_credentials"), ("parent_token", handed.as_str())];
    ask_for(&mine, &other, &form).refused(401, "invalid_client");
    let given = ask_for(&world.showing(&others), &other, &form).expect(200).text("/access_token");
    assert_eq!(read(&given).1["cnf"], json!({"x5t#S256": others.thumbprint()}));
    mine.with(&given).get("/v1/grants").send().refused(401, "certificate_required");
    // One with a secret: nothing to bind it to is no way, any certificate is, and so is a key.
    let secret = world.story.agent(&fresh("child-")).register();
    let handed = delegate(&mine, &secret).expect(200).text("/access_token");
    secret.ask().with("parent_token", &handed).send(&world.plain()).refused(400, "invalid_grant");
    let given = secret.ask().with("parent_token", &handed).send(&world.showing(&others)).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["cnf"], json!({"x5t#S256": others.thumbprint()}));
    let handed = delegate(&mine, &secret).expect(200).text("/access_token");
    let (key, client) = (Key::ed25519(), world.plain());
    let nonce = nonce(&client, &secret);
    let proof = key.proof("POST", &format!("{}/oauth/token", client.base()), None, Some(&nonce));
    let given =
        secret.ask().with("parent_token", &handed).request(&client).header("dpop", proof).send().expect(200);
    assert_eq!(read(&given.text("/access_token")).1["cnf"], json!({"jkt": key.thumbprint()}));
}

#[test]
fn a_client_that_is_registered_so_gets_bound_tokens_however_it_says_who_it_is() {
    let world = world();
    let agent = world.agent(json!({"tls_client_certificate_bound_access_tokens": true}));
    for wrong in [world.plain(), world.bare()] {
        let refused = agent.ask().with("scope", "orders.read").send(&wrong).refused(400, "invalid_request");
        assert!(refused.text("/error_description").contains("mtls_endpoint_aliases"));
    }
    let certificate = own();
    let mine = world.showing(&certificate);
    let token = agent.ask().with("scope", "orders.*").send(&mine).expect(200).text("/access_token");
    let cnf = json!({"x5t#S256": certificate.thumbprint()});
    assert_eq!(read(&token).1["cnf"], cnf);
    world.plain().with(&token).get("/v1/grants").send().refused(401, "certificate_required");
    // What it made of it stays bound, when an administrator says that it need not be any more.
    let path = format!("/v1/agents/{}", agent.id);
    let change = json!({"tls_client_certificate_bound_access_tokens": false});
    world.story.admin().patch(&path).json(&change).send().expect(200);
    let less = |client: &Client| {
        let asking = agent.ask().with("grant_type", TOKEN_EXCHANGE).with("subject_token", &token);
        asking.with("subject_token_type", ACCESS_TOKEN).with("scope", "orders.read").send(client)
    };
    for wrong in [world.plain(), world.bare(), world.showing(&own())] {
        less(&wrong).refused(400, "invalid_request");
    }
    assert_eq!(read(&less(&mine).expect(200).text("/access_token")).1["cnf"], cnf);
    // With a proof besides, both are needed.
    let (agent, certificate) = agent_with(world);
    let (key, mine) = (Key::ed25519(), world.showing(&certificate));
    let url = |path: &str| format!("{}{path}", world.url);
    let helper = world.story.agent(&fresh("nonce-")).register();
    let nonce = nonce(&world.plain(), &helper);
    let proof = key.proof("POST", &url("/oauth/token"), None, Some(&nonce));
    let form = [("grant_type", "client_credentials"), ("client_id", &agent.id), ("scope", "orders.read")];
    let given = mine.post("/oauth/token").form(&form).header("dpop", proof).send().expect(200);
    assert_eq!(given.at("/token_type"), "DPoP");
    let token = given.text("/access_token");
    let both = json!({"jkt": key.thumbprint(), "x5t#S256": certificate.thumbprint()});
    assert_eq!(read(&token).1["cnf"], both);
    let proof = |base: &str| key.proof("GET", &format!("{base}/v1/grants"), Some(&token), Some(&nonce));
    with(mine.get("/v1/grants"), &token, &proof(&world.url)).send().expect(200);
    mine.with(&token).get("/v1/grants").send().refused(401, "proof_required");
    let plain = world.plain();
    with(plain.get("/v1/grants"), &token, &proof(plain.base())).send().refused(401, "certificate_required");
}

#[test]
fn the_refresh_token_of_a_public_client_is_bound_to_its_certificate() {
    let world = world();
    let app = App::on(
        &world.story,
        &json!({"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none",
            "tls_client_certificate_bound_access_tokens": true}),
    );
    let certificate = own();
    let (mine, other) = (world.showing(&certificate), world.showing(&own()));
    let mut browser = Browser::at(&world.story.server.pages());
    browser.sign_in("lee");
    let code = browser.code(&app.asking());
    app.exchange(&code).refused(400, "invalid_request");
    let given = app.at(&mine).exchange(&code).expect(200);
    let cnf = json!({"x5t#S256": certificate.thumbprint()});
    assert_eq!(read(&given.text("/access_token")).1["cnf"], cnf);
    let refresh = given.text("/refresh_token");
    app.at(&other).refresh(&refresh).refused(400, "invalid_grant");
    let again = app.at(&mine).refresh(&refresh).expect(200);
    assert_eq!(read(&again.text("/access_token")).1["cnf"], cnf);
    // Nor is it of use when the client need not be bound any more; and what it gives is bound still.
    let path = format!("/v1/agents/{}", app.id);
    let change = json!({"tls_client_certificate_bound_access_tokens": false});
    world.story.admin().patch(&path).json(&change).send().expect(200);
    let refresh = again.text("/refresh_token");
    app.refresh(&refresh).refused(400, "invalid_grant");
    let again = app.at(&mine).refresh(&refresh).expect(200);
    assert_eq!(read(&again.text("/access_token")).1["cnf"], cnf);
}

#[test]
fn in_http2_a_bound_token_needs_the_certificate_of_its_connection_too() {
    let world = world();
    let (agent, certificate) = agent_with(world);
    let (mine, other) = (world.showing_in_http2(&certificate), world.showing_in_http2(&own()));
    let token = ask(&mine, &agent).expect(200).text("/access_token");
    let rule = "allow: [orders.*]\n    on: [\"**\"]";
    world.story.rules(&agent.handle, &format!("  - name: all\n    {rule}\n")).expect(201);
    for _ in 0..3 {
        assert_eq!(act(&mine, &token).expect(200).at("/status"), "executed");
        act(&other, &token).refused(401, "certificate_required");
    }
    // The older version on the same listener knows it by the same certificate.
    act(&world.showing(&certificate), &token).expect(200);
}
