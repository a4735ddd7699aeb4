//! Who a certificate says that a client is.

use super::{
    ask, ask_for,
    world::{dns, own, params, self_signed, uri, world},
};
use crate::parties::read;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_server::mtls::listener::HANDSHAKE_TIME;
use placet_testkit::fresh;
use rcgen::{DnType, SanType};
use serde_json::json;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

const ID: &str = "spiffe://example.com/agent";

#[test]
fn a_certificate_says_who_a_client_is_by_the_one_name_that_is_registered() {
    let world = world();
    let everything = || {
        vec![
            dns("agent.example.com"),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::Rfc822Name("agent@example.com".try_into().unwrap()),
            uri(ID),
        ]
    };
    let good = world.trusted.client(everything());
    for (member, value) in [
        ("tls_client_auth_subject_dn", "CN=agent,O=Example"),
        ("tls_client_auth_san_dns", "agent.example.com"),
        ("tls_client_auth_san_uri", ID),
        ("tls_client_auth_san_ip", "192.0.2.7"),
        ("tls_client_auth_san_email", "agent@example.com"),
    ] {
        let agent = world.agent(json!({"token_endpoint_auth_method": "tls_client_auth", member: value}));
        assert_eq!(agent.secret, "");
        let shown = world.story.admin().get(&format!("/v1/agents/{}", agent.id)).send().expect(200);
        assert_eq!(shown.at(&format!("/{member}")), value);
        let given = ask(&world.showing(&good), &agent).expect(200);
        // It is presented as any other, and bound to the certificate.
        assert_eq!(given.at("/token_type"), "Bearer");
        let (_, claims) = read(&given.text("/access_token"));
        assert_eq!(claims["cnf"], json!({"x5t#S256": good.thumbprint()}));
        assert_eq!(claims["client_id"], agent.id.as_str());

        // No certificate, over TLS and without; and somebody's that isn't certified, in the same words as for a client that
        // there is not.
        let nobody =
            ask_for(&world.bare(), &agent, &[("grant_type", "client_credentials"), ("client_id2", "x")]);
        let words = nobody.refused(401, "invalid_client").body;
        let refused =
            |certificate: &_| ask(&world.showing(certificate), &agent).refused(401, "invalid_client").body;
        ask(&world.plain(), &agent).refused(401, "invalid_client");
        assert_eq!(refused(&world.stranger.client(everything())), words);
        assert_eq!(refused(&own()), words);
        // Its time is over, or has not come.
        assert_eq!(refused(&world.trusted.client_of(everything(), (2020, 2021))), words);
        assert_eq!(refused(&world.trusted.client_of(everything(), (2099, 2100))), words);
        // It is a server's.
        assert_eq!(refused(&world.trusted.for_servers(everything())), words);
        // Another name.
        let mut other = params(
            vec![
                dns("agent.example.com.evil.example"),
                dns("*.example.com"),
                dns("xagent.example.com"),
                SanType::IpAddress("192.0.2.70".parse().unwrap()),
                SanType::Rfc822Name("Agent@example.com".try_into().unwrap()),
                uri("spiffe://example.com/Agent"),
            ],
            (2020, 2100),
        );
        other.distinguished_name.push(DnType::CommonName, "Agent");
        assert_eq!(refused(&world.trusted.certify(&other)), words);
        // Its secret, which it never had, or another's.
        let basic = world.showing(&good).post("/oauth/token").basic(&agent.id, "pcs_x");
        basic.form(&[("grant_type", "client_credentials")]).send().refused(401, "invalid_client");
    }
}

#[test]
fn a_workload_is_the_only_uri_of_its_certificate() {
    let world = world();
    let agent =
        world.agent(json!({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": ID}));
    ask(&world.showing(&world.trusted.client(vec![uri(ID)])), &agent).expect(200);
    for names in [
        vec![uri(ID), uri("spiffe://example.com/other")],
        vec![uri("https://example.com"), uri(ID)],
        vec![uri("spiffe://example.com/agent/more")],
        vec![uri("spiffe://example.com/agen")],
        vec![uri("spiffe://EXAMPLE.com/agent")],
        vec![uri("spiffe://example.com/*")],
        vec![dns("example.com")],
    ] {
        ask(&world.showing(&world.trusted.client(names)), &agent).refused(401, "invalid_client");
    }
    // As many other names as it likes.
    ask(&world.showing(&world.trusted.client(vec![dns("a.example"), uri(ID)])), &agent).expect(200);
}

#[test]
fn a_certificate_of_ones_own_counts_by_its_key() {
    let world = world();
    let good = own();
    let method = "self_signed_tls_client_auth";
    let keys =
        |keys: serde_json::Value| json!({"token_endpoint_auth_method": method, "jwks": {"keys": keys}});
    let agent = world.agent(keys(json!([own().jwk(), good.jwk()])));
    let given = ask(&world.showing(&good), &agent).expect(200);
    assert_eq!(read(&given.text("/access_token")).1["cnf"], json!({"x5t#S256": good.thumbprint()}));
    // Another key of one's own, and one that an authority has certified.
    for other in [own(), world.trusted.client(vec![dns("a.example")])] {
        ask(&world.showing(&other), &agent).refused(401, "invalid_client");
    }
    ask(&world.bare(), &agent).refused(401, "invalid_client");
    // Its time counts here too.
    for years in [(2020, 2021), (2099, 2100)] {
        let old = self_signed(years);
        let agent = world.agent(keys(json!([old.jwk()])));
        ask(&world.showing(&old), &agent).refused(401, "invalid_client");
    }
    // And so does what it is for.
    let server = world.trusted.for_servers(vec![dns("a.example")]);
    ask(&world.showing(&server), &world.agent(keys(json!([server.jwk()])))).refused(401, "invalid_client");
    // Where a key is published with a certificate, it is that one.
    let with = |certificate: &[u8]| {
        let mut jwk = good.jwk();
        jwk["x5c"] = json!([STANDARD.encode(certificate)]);
        world.agent(keys(json!([jwk])))
    };
    ask(&world.showing(&good), &with(&good.der)).expect(200);
    ask(&world.showing(&good), &with(&own().der)).refused(401, "invalid_client");

    // Keys that are published elsewhere, and are changed there.
    let path = format!("/{}", fresh("keys-"));
    let url = world.publisher.json(&path, &json!({"keys": [good.jwk()]}));
    let agent = world.agent(json!({"token_endpoint_auth_method": method, "jwks_uri": url}));
    ask(&world.showing(&good), &agent).expect(200);
    ask(&world.showing(&own()), &agent).refused(401, "invalid_client");
}

#[test]
fn it_says_so_wherever_clients_say_who_they_are() {
    let world = world();
    let good = own();
    let agent = world.agent(json!({"token_endpoint_auth_method": "self_signed_tls_client_auth",
        "jwks": {"keys": [good.jwk()]}, "redirect_uris": ["https://app.example/back"]}));
    let (client, other) = (world.showing(&good), world.showing(&own()));
    let token = ask(&client, &agent).expect(200).text("/access_token");
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let asks = [
        ("/oauth/introspect", vec![("token", token.as_str())], 200),
        (
            "/oauth/par",
            vec![
                ("response_type", "code"),
                ("redirect_uri", "https://app.example/back"),
                ("code_challenge", challenge),
                ("code_challenge_method", "S256"),
                ("scope", "orders.read"),
            ],
            201,
        ),
        ("/oauth/device_authorization", vec![("scope", "orders.read")], 200),
        ("/oauth/backchannel_authentication", vec![("scope", "orders.read"), ("login_hint", "lee")], 200),
        ("/oauth/revoke", vec![("token", token.as_str())], 200),
    ];
    for (path, form, status) in asks {
        let form: Vec<(&str, &str)> = [("client_id", agent.id.as_str())].into_iter().chain(form).collect();
        for wrong in [&other, &world.bare(), &world.plain()] {
            wrong.post(path).form(&form).send().refused(401, "invalid_client");
        }
        client.post(path).form(&form).send().expect(status);
    }
}

#[test]
fn a_client_that_registers_itself_is_nobody_without_its_certificate_either() {
    let world = world();
    let template = json!({"open": true, "allowed_tools": ["orders.*"], "resource_access": ["**"]});
    world.story.admin().put("/v1/registration-template").json(&template).send();
    let good = own();
    let register = |members| world.plain().post("/oauth/register").json(&members).send();
    let registered = register(json!({"token_endpoint_auth_method": "self_signed_tls_client_auth",
        "jwks": {"keys": [good.jwk()]}, "grant_types": ["urn:ietf:params:oauth:grant-type:device_code"]}));
    let registered = registered.expect(201);
    assert!(registered.body.get("client_secret").is_none());
    let id = registered.text("/client_id");
    let form = [("client_id", id.as_str()), ("scope", "orders.read")];
    let path = "/oauth/device_authorization";
    for wrong in [world.showing(&own()), world.bare(), world.plain()] {
        wrong.post(path).form(&form).send().refused(401, "invalid_client");
    }
    world.showing(&good).post(path).form(&form).send().expect(200);
    register(json!({"token_endpoint_auth_method": "tls_client_auth"}))
        .refused(400, "invalid_client_metadata");
}

#[test]
fn it_is_offered_where_there_is_a_place_for_it_only() {
    let world = world();
    let metadata = world.plain().get("/.well-known/oauth-authorization-server").send().expect(200);
    let methods = metadata.at("/token_endpoint_auth_methods_supported").to_string();
    assert!(
        methods.contains("\"tls_client_auth\"") && methods.contains("\"self_signed_tls_client_auth\""),
        "{methods}"
    );
    assert_eq!(metadata.at("/tls_client_certificate_bound_access_tokens"), &json!(true));
    for (name, path) in [
        ("token_endpoint", "/oauth/token"),
        ("introspection_endpoint", "/oauth/introspect"),
        ("revocation_endpoint", "/oauth/revoke"),
        ("pushed_authorization_request_endpoint", "/oauth/par"),
        ("device_authorization_endpoint", "/oauth/device_authorization"),
        ("backchannel_authentication_endpoint", "/oauth/backchannel_authentication"),
    ] {
        assert_eq!(metadata.text(&format!("/mtls_endpoint_aliases/{name}")), format!("{}{path}", world.url));
    }
    let resource = world.plain().get("/.well-known/oauth-protected-resource").send().expect(200);
    assert_eq!(resource.at("/tls_client_certificate_bound_access_tokens"), &json!(true));

    let without = crate::stage::story();
    let metadata = without.client().get("/.well-known/oauth-authorization-server").send().expect(200);
    assert!(!metadata.body.to_string().contains("tls_client"), "{}", metadata.body);
    for members in [
        json!({"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": {"keys": [own().jwk()]}}),
        json!({"tls_client_certificate_bound_access_tokens": true}),
    ] {
        let mut registering = without.agent(&fresh("tls-"));
        for (name, value) in members.as_object().unwrap() {
            registering = registering.with(name, value.clone());
        }
        let refused = registering.send().refused(400, "request_invalid");
        assert!(refused.text("/detail").contains("--mtls-listen"), "{:?}", refused.body);
    }
}

#[test]
fn whoever_finishes_no_handshake_keeps_nobody_else_waiting() {
    let world = world();
    let address = world.url.strip_prefix("https://").unwrap();
    let mut silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    silent[0].write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    silent[1].write_all(&[22, 3, 1]).unwrap();
    let began = Instant::now();
    world.bare().get("/healthz").send().expect(200);
    assert!(began.elapsed() < HANDSHAKE_TIME, "{:?}", began.elapsed());
    // What never speaks is cut off.
    let last = silent.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(last.read(&mut [0; 16]).unwrap(), 0);
}
