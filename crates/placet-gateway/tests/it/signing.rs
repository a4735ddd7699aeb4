//! Signed requests, checked by what arrives.

use crate::upstream::{Reply, Upstream, answer, call, later};
use bytes::Bytes;
use http_body_util::Full;
use placet_core::call::{Auth, Method, UpstreamCall};
use placet_core::secret::Secret;
use placet_core::signing::{Moment, SigningError, Unsigned, aws::AwsKey, scheme::Scheme};
use placet_core::time::Timestamp;
use placet_gateway::{
    Credential, CredentialError, Gateway, GatewayConfig, NotSent, ResponseBody, Upload, UpstreamFailure,
};
use serde_json::json;

const KEY: &str = "canary-signing-key-77ab";

fn moment() -> Moment {
    Moment { now: Timestamp::from_seconds(1_800_000_000), nonce: [7; 16] }
}

fn gateway() -> Gateway {
    Gateway::new(GatewayConfig { moment: Some(moment), ..GatewayConfig::default() }).unwrap()
}

fn scheme(value: serde_json::Value) -> Scheme {
    serde_json::from_value(value).unwrap()
}

/// The parts of a request as it arrived.
fn parts(request: &str) -> (String, String, Vec<(&str, &str)>, &str) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let headers = lines.map(|line| line.split_once(": ").unwrap()).collect();
    (first.next().unwrap().to_owned(), first.next().unwrap().to_owned(), headers, body)
}

fn header<'a>(headers: &[(&str, &'a str)], name: &str) -> &'a str {
    let found = headers.iter().find(|(it, _)| *it == name);
    assert!(found.is_some(), "{name}: {headers:?}");
    found.unwrap().1
}

#[tokio::test]
async fn what_arrives_is_what_was_signed() {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", format!("key {KEY}")))).await;
    let route = upstream.route();
    let scheme = scheme(json!({
        "sign": "{timestamp} {method} {host} {target} {content_type} {body_sha256} {nonce}",
        "headers": [["x-auth", "{key_id} {timestamp} {nonce} {signature}"]], "query": [["sum", "{body_sha256}"]],
    }));
    let auth = Auth::Hmac(Box::new(scheme.clone()));
    let kept = Secret::new(json!({"key_id": "k1", "secret": KEY}).to_string());
    let credential = Credential::new(&auth, &kept).unwrap();
    let sent = gateway()
        .send(call(&route, Method::Post, Some("{\"a\":1}")), &route, &credential, later())
        .await
        .unwrap();
    assert_eq!(sent.body, ResponseBody::Text("key [scrubbed]".to_owned()));
    let seen = upstream.requests();
    let (method, target, headers, body) = parts(&seen[0]);
    let sum = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
    assert_eq!(target, format!("/x?a=%2F&sum={sum}"));
    let mut words = header(&headers, "x-auth").split(' ');
    let nonce = "07".repeat(16);
    assert_eq!(
        (words.next(), words.next(), words.next()),
        (Some("k1"), Some("1800000000"), Some(nonce.as_str()))
    );
    // From what arrived alone.
    let bare = Unsigned {
        method: &method,
        host: header(&headers, "host"),
        target: target.split_once("&sum=").unwrap().0,
        headers: &headers,
        body: Some(body.as_bytes()),
    };
    let again = scheme.sign(&scheme.key(&kept).unwrap(), &bare, moment()).unwrap();
    assert_eq!(again.headers[0].1, header(&headers, "x-auth"));
    assert!(!seen[0].contains("canary"));
}

#[tokio::test]
async fn signature_version_4_is_of_what_arrives() {
    let upstream =
        Upstream::fixed(Reply::Keep(answer("200 OK", "", format!("{KEY} canary-session-token")))).await;
    let route = upstream.route();
    let kept = Secret::new(
        json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": KEY, "session_token": "canary-session-token"}).to_string(),
    );
    for service in ["s3", "dynamodb"] {
        let auth = Auth::AwsSigv4 { region: "eu-central-1".to_owned(), service: service.to_owned() };
        let credential = Credential::new(&auth, &kept).unwrap();
        let fixed = vec![("x-amz-target".to_owned(), "DynamoDB_20120810.GetItem".to_owned())];
        let call = UpstreamCall { fixed, ..call(&route, Method::Post, Some("{}")) };
        let sent = gateway().send(call, &route, &credential, later()).await.unwrap();
        assert_eq!(sent.body, ResponseBody::Text("[scrubbed] [scrubbed]".to_owned()));
        let seen = upstream.requests();
        let (method, target, headers, body) = parts(seen.last().unwrap());
        assert_eq!(header(&headers, "x-amz-security-token"), "canary-session-token");
        let made = ["authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
        let before: Vec<_> = headers.iter().copied().filter(|(name, _)| !made.contains(name)).collect();
        let bare = Unsigned {
            method: &method,
            host: header(&headers, "host"),
            target: &target,
            headers: &before,
            body: Some(body.as_bytes()),
        };
        let again =
            AwsKey::from_secret(&kept).unwrap().sign(&bare, "eu-central-1", service, moment()).unwrap();
        for (name, value) in &again.headers {
            assert_eq!(header(&headers, name), value, "{service} {name}");
        }
        assert!(header(&headers, "authorization").contains("content-type;host;"), "{headers:?}");
        assert!(!seen.last().unwrap().contains(KEY));
    }
}

#[tokio::test]
async fn what_is_streamed_goes_out_unsigned_only_where_the_upstream_has_a_word_for_it() {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", ""))).await;
    let route = upstream.route();
    let kept = Secret::new(json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": KEY}).to_string());
    let aws = |service: &str| {
        let auth = Auth::AwsSigv4 { region: "eu-central-1".to_owned(), service: service.to_owned() };
        Credential::new(&auth, &kept).unwrap()
    };
    let body_signed = scheme(json!({"sign": "{body}", "headers": [["x-sig", "{signature}"]]}));
    let of_body = Credential::new(&Auth::Hmac(Box::new(body_signed)), &Secret::new(KEY)).unwrap();
    let put = || UpstreamCall { streamed: true, ..call(&route, Method::Put, None) };
    let upload = || Some(Upload::new(Full::new(Bytes::from_static(b"abc")), Some(3)));
    for credential in [aws("sqs"), of_body] {
        let failure = gateway().open(put(), upload(), &route, &credential).await.err().unwrap();
        let reason = NotSent::Credential(CredentialError::Signing(SigningError::Streamed));
        assert_eq!(failure, UpstreamFailure::NotSent { host: route.host().to_owned(), reason });
    }
    assert!(upstream.requests().is_empty());
    gateway().open(put(), upload(), &route, &aws("s3")).await.unwrap();
    let seen = upstream.requests();
    assert_eq!(header(&parts(&seen[0]).2, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
}

#[test]
fn a_signature_goes_into_no_header_of_the_gateways_own() {
    for name in ["user-agent", "accept-encoding", "range", "proxy-authorization"] {
        let scheme = scheme(json!({"sign": "{path}", "headers": [[name, "{signature}"]]}));
        let refused = Credential::new(&Auth::Hmac(Box::new(scheme)), &Secret::new(KEY)).unwrap_err();
        assert_eq!(refused, CredentialError::Header(name.to_owned()));
    }
}

#[tokio::test]
async fn without_a_clock_nothing_is_signed() {
    let upstream = Upstream::fixed(Reply::Keep(answer("200 OK", "", ""))).await;
    let route = upstream.route();
    let scheme =
        scheme(json!({"sign": "{timestamp}{path}", "headers": [["x-sig", "{timestamp}{signature}"]]}));
    let credential = Credential::new(&Auth::Hmac(Box::new(scheme)), &Secret::new(KEY)).unwrap();
    let sent =
        crate::upstream::gateway().send(call(&route, Method::Get, None), &route, &credential, later()).await;
    assert_eq!(
        sent.unwrap_err(),
        UpstreamFailure::NotSent {
            host: route.host().to_owned(),
            reason: NotSent::Credential(CredentialError::Timeless)
        }
    );
    assert!(upstream.requests().is_empty());
}
