//! What reaches the upstream.

use crate::upstream::{Reply, SECRET, Upstream, answer, call, gateway, later, perform};
use placet_core::call::{Auth, Method};
use placet_core::secret::Secret;
use placet_gateway::{Credential, CredentialError, Happened, NotSent, UpstreamFailure};

async fn sent(method: Method, body: Option<&str>, auth: &Auth, secret: &str) -> String {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", ""))).await;
    let route = upstream.route();
    let call = call(&route, method, body);
    gateway().perform(call, &route, auth, &Secret::new(secret), later()).await.unwrap();
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1);
    requests[0].replace(&upstream.address.to_string(), "HOST")
}

fn lines(request: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = request.split("\r\n").collect();
    lines[1..].sort_unstable();
    lines.retain(|line| !line.is_empty());
    lines
}

#[tokio::test]
async fn nothing_but_the_gateways_headers_is_sent() {
    let user_agent = concat!("user-agent: placet/", env!("CARGO_PKG_VERSION"));
    let get = sent(Method::Get, None, &Auth::Bearer, SECRET).await;
    let authorization = format!("authorization: Bearer {SECRET}");
    let common = ["accept-encoding: identity", "accept: application/json", &authorization];
    assert_eq!(lines(&get), [&["GET /x?a=%2F HTTP/1.1"][..], &common, &["host: HOST", user_agent]].concat());
    let post = sent(Method::Post, Some("{\"a\":1}"), &Auth::Header { name: "X-Api-Key".into() }, "a b").await;
    let mut expected =
        vec!["POST /x?a=%2F HTTP/1.1", "accept-encoding: identity", "accept: application/json"];
    expected.extend([
        "content-length: 7",
        "content-type: application/json",
        "host: HOST",
        user_agent,
        "x-api-key: a b",
    ]);
    let (head, body) = post.split_once("\r\n\r\n").unwrap();
    assert_eq!((lines(head), body), (expected, "{\"a\":1}"));
}

#[tokio::test]
async fn a_method_that_expects_a_body_says_that_there_is_none() {
    let post = sent(Method::Post, None, &Auth::Bearer, SECRET).await;
    assert_eq!(lines(&post).iter().filter(|line| **line == "content-length: 0").count(), 1);
    assert!(!post.contains("content-type"));
}

#[tokio::test]
async fn threat_09_a_secret_that_could_end_a_header_is_refused_before_anything_is_sent() {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", ""))).await;
    let route = upstream.route();
    for secret in [
        "abc\r\nx-evil: 1",
        "abc\n",
        "\0abcdefgh",
        "abc\tdef",
        "with space",
        "caf\u{e9}abcdef",
        "\x7fabcdefg",
    ] {
        let call = call(&route, Method::Get, None);
        let failure =
            gateway().perform(call, &route, &Auth::Bearer, &Secret::new(secret), later()).await.unwrap_err();
        let expected = UpstreamFailure::NotSent {
            host: upstream.address.to_string(),
            reason: NotSent::Credential(CredentialError::Unprintable),
        };
        assert_eq!(failure, expected, "{secret:?}");
        assert_eq!(failure.happened(), Happened::No);
        assert!(!failure.to_string().contains("abc"));
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_credential_is_refused_where_it_would_break_the_request() {
    let new = |name: &str, secret: &str| {
        Credential::new(&Auth::Header { name: name.into() }, &Secret::new(secret)).unwrap_err()
    };
    for name in
        ["host", "Content-Length", "transfer-encoding", "proxy-authorization", "connection", "", "a b", "x:"]
    {
        assert_eq!(new(name, SECRET), CredentialError::Header(name.into()));
    }
    assert_eq!(new("x-key", ""), CredentialError::Empty);
    assert_eq!(new("x-key", " x"), CredentialError::Unprintable);
    assert_eq!(new("x-key", &"x".repeat(4097)), CredentialError::TooLong);
}

#[test]
fn a_credential_prints_nothing_of_the_secret() {
    let credential = Credential::new(&Auth::Bearer, &Secret::new(SECRET)).unwrap();
    assert_eq!(format!("{credential:?}"), "Credential(authorization: …)");
}

#[tokio::test]
async fn a_call_that_is_not_of_this_route_is_refused() {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", ""))).await;
    let route = upstream.route();
    let good = call(&route, Method::Get, None);
    let elsewhere = |origin: &str| placet_core::call::UpstreamCall { origin: origin.into(), ..good.clone() };
    let at = |target: &str| placet_core::call::UpstreamCall { target: target.into(), ..good.clone() };
    let bad = [
        elsewhere("http://127.0.0.1:1"),
        elsewhere(&format!("https://{}", upstream.address)),
        elsewhere(""),
        at(""),
        at("x"),
        at("http://other/"),
        at("/a b"),
        at("/a\r\nx: y"),
        at("/a#b"),
        at("/a\\b"),
        at("/\u{e9}"),
        at("*"),
    ];
    for call in bad {
        let failure = perform(&gateway(), &route, call.clone()).await.unwrap_err();
        assert!(matches!(failure, UpstreamFailure::NotSent { reason: NotSent::BadCall, .. }), "{call:?}");
    }
    assert_eq!(upstream.connections(), 0);
}
