//! The certificate that a proxy names (RFC 9440), and whoever else names one.

use super::world::{Certified, PASSES_ON, own, world};
use crate::parties::read;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use placet_testkit::{Agent, Answer, Client};
use serde_json::json;

/// The proxy of the server's flags.
const PROXY: &str = "127.0.0.9";

fn field(certificate: &Certified) -> String {
    format!(":{}:", STANDARD.encode(&certificate.der))
}

fn from(address: &str) -> Client {
    Client::from_address(world().plain().base(), address.parse().unwrap())
}

fn ask(client: &Client, agent: &Agent, headers: &[(&str, &str)]) -> Answer {
    let form = [("grant_type", "client_credentials"), ("client_id", &agent.id), ("scope", "orders.*")];
    let request = client.post("/oauth/token").form(&form);
    headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
}

#[test]
fn a_certificate_in_a_header_counts_from_the_proxy_that_is_named_only() {
    let world = world();
    let good = own();
    let agent = world.agent(json!({"token_endpoint_auth_method": "self_signed_tls_client_auth",
        "jwks": {"keys": [good.jwk()]}}));
    let given = ask(&from(PROXY), &agent, &[("client-cert", &field(&good))]).expect(200);
    let token = given.text("/access_token");
    assert_eq!(read(&token).1["cnf"], json!({"x5t#S256": good.thumbprint()}));
    let list = |client: &Client, headers: &[(&str, &str)]| {
        let request = client.with(&token).get("/v1/grants");
        headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
    };
    list(&from(PROXY), &[("client-cert", &field(&good))]).expect(200);
    // A stranger: one beside the proxy, one that says that it comes through it, one on the other listener.
    for stranger in [world.plain(), from("127.0.0.8"), world.bare(), world.showing(&own())] {
        ask(&stranger, &agent, &[("client-cert", &field(&good))]).refused(401, "invalid_client");
        let through = [("client-cert", field(&good)), ("x-forwarded-for", PROXY.to_owned())];
        let through: Vec<(&str, &str)> =
            through.iter().map(|(name, value)| (*name, value.as_str())).collect();
        ask(&stranger, &agent, &through).refused(401, "invalid_client");
        list(&stranger, &through).refused(401, "certificate_required");
    }
    // Another's, one whose time is over, and none.
    ask(&from(PROXY), &agent, &[("client-cert", &field(&own()))]).refused(401, "invalid_client");
    ask(&from(PROXY), &agent, &[]).refused(401, "invalid_client");
    list(&from(PROXY), &[]).refused(401, "certificate_required");
    // What the proxy can't have meant.
    let (one, other) = (field(&good), field(&own()));
    for wrong in [
        vec![("client-cert", one.as_str()), ("client-cert", other.as_str())],
        vec![("client-cert", "x")],
        vec![("client-cert", "::")],
        vec![("client-cert", ":AAAA:")],
        vec![("client-cert", one.trim_matches(':'))],
        vec![("client-cert", one.as_str()), ("client-cert-chain", "x")],
    ] {
        ask(&from(PROXY), &agent, &wrong).expect(400);
    }
}

#[test]
fn where_tls_ends_here_no_header_says_where_a_request_comes_from() {
    let world = world();
    let passed_on = Client::over_tls_from(&world.url, &world.servers.pem, PASSES_ON.parse().unwrap());
    let ask = |n: usize| {
        let made_up = format!("10.77.{}.{}", n / 200, n % 200 + 1);
        let request = passed_on.post("/oauth/introspect").form(&[("token", "x")]);
        request.header("x-forwarded-for", &made_up).send().status
    };
    let answers: Vec<u16> = (0..1500).map(ask).collect();
    assert_eq!((answers.first(), answers.last()), (Some(&401), Some(&429)));
}

#[test]
fn the_chain_behind_it_is_in_a_header_of_its_own() {
    let world = world();
    let agent = world.agent(json!({"token_endpoint_auth_method": "tls_client_auth",
        "tls_client_auth_san_dns": "agent.example.com"}));
    let good = world.trusted.client(vec![super::world::dns("agent.example.com")]);
    let forged = world.stranger.client(vec![super::world::dns("agent.example.com")]);
    let more = format!("{}, {}", field(&own()), field(&own()));
    ask(&from(PROXY), &agent, &[("client-cert", &field(&good))]).expect(200);
    ask(&from(PROXY), &agent, &[("client-cert", &field(&good)), ("client-cert-chain", &more)]).expect(200);
    ask(&from(PROXY), &agent, &[("client-cert", &field(&forged)), ("client-cert-chain", &field(&good))])
        .refused(401, "invalid_client");
}
