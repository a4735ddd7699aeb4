//! The transit interface as it is asked, against a stand-in that answers what a test wants: logins, what goes over the
//! wire, and what is said where something is wrong. (`placet`'s own tests ask a real one.)

use crate::upstream::{Reply, Upstream, answer};
use placet_core::{
    key_service::{KeyServicesConfig, NewKeys, ServiceKind, WrappedKey},
    secret::Secret,
};
use placet_gateway::{KeyService, KeyServiceError, KeyServices, SecretFrom, Transit};
use std::sync::Arc;

const TOKEN: &str = "s.canary-4eC39HqLyjWDarj";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn key() -> Secret {
    Secret::new((0..32).collect::<Vec<u8>>())
}

fn transit(upstream: &Upstream, more: &str, auth: &str) -> Transit {
    let yaml =
        format!("transit: {{address: \"http://{}\", key: placet, {more}auth: {{{auth}}}}}", upstream.address);
    let config = KeyServicesConfig::read(yaml.as_bytes(), None).unwrap().transit.unwrap();
    Transit::new(config, SecretFrom::new(|| Ok(Secret::new(TOKEN))), Vec::new())
}

async fn wrap(transit: Transit) -> Result<String, KeyServiceError> {
    tokio::task::spawn_blocking(move || transit.wrap(&key(), b"row")).await.unwrap()
}

fn json(text: &str) -> Reply {
    Reply::Keep(answer("200 OK", "content-type: application/json\r\n", text))
}

#[tokio::test]
async fn an_account_is_logged_in_for_each_piece_of_work_and_its_token_given_back() {
    let upstream = Upstream::start(|request, _| {
        if request.starts_with("POST /v1/auth/k8s/eu/login ") {
            json("{\"auth\":{\"client_token\":\"s.of-this-work\",\"lease_duration\":60}}")
        } else if request.starts_with("POST /v1/transit/encrypt/placet ") {
            json("{\"data\":{\"ciphertext\":\"vault:v1:AbC\"}}")
        } else {
            Reply::Keep(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
        }
    })
    .await;
    let more = "namespace: team/a, context: Y3R4, ";
    let auth = "kubernetes: {role: placet, token_file: x, mount: k8s/eu}";
    assert_eq!(wrap(transit(&upstream, more, auth)).await.unwrap(), "vault:v1:AbC");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 3, "{requests:#?}");
    assert!(
        requests[0].ends_with(&format!("{{\"role\":\"placet\",\"jwt\":\"{TOKEN}\"}}")),
        "{}",
        requests[0]
    );
    assert!(!requests[0].contains("x-vault-token"));
    let body = format!("{{\"plaintext\":\"{KEY}\",\"associated_data\":\"cm93\",\"context\":\"Y3R4\"}}");
    assert!(requests[1].ends_with(&body), "{}", requests[1]);
    assert!(requests[2].starts_with("POST /v1/auth/token/revoke-self "), "{}", requests[2]);
    for request in &requests {
        assert!(request.contains("x-vault-namespace: team/a\r\n"), "{request}");
    }
    for request in &requests[1..] {
        assert!(request.contains("x-vault-token: s.of-this-work\r\n"), "{request}");
    }
}

#[tokio::test]
async fn what_it_says_is_passed_on_bounded_and_without_the_token() {
    let said = format!("{{\"errors\":[\"no \\u001b[31m {TOKEN} may {}\"]}}", "x".repeat(500));
    let body = answer("403 Forbidden", "", said);
    let upstream = Upstream::fixed(Reply::Keep(body)).await;
    let error = wrap(transit(&upstream, "", "token_file: t")).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, KeyServiceError::Refused { .. }), "{error:?}");
    assert!(text.contains("403") && text.contains("no ") && !text.contains("canary"), "{text}");
    assert!(text.len() < 400 && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn what_is_no_answer_is_out_of_reach_and_nothing_is_followed_or_sent_again() {
    for reply in [
        Reply::Keep(answer("503 Service Unavailable", "", "{\"errors\":[\"Vault is sealed\"]}")),
        Reply::Keep(answer("307 Temporary Redirect", "location: http://127.0.0.1:9/\r\n", "")),
        Reply::Close(Vec::new()),
    ] {
        let upstream = Upstream::fixed(reply).await;
        let error = wrap(transit(&upstream, "", "token_file: t")).await.unwrap_err();
        assert!(matches!(error, KeyServiceError::Unreachable { .. }), "{error:?}");
        assert_eq!(upstream.requests().len(), 1);
    }
    for text in ["", "{}", "{\"data\":{\"ciphertext\":7}}", "<html>"] {
        let upstream = Upstream::fixed(json(text)).await;
        let error = wrap(transit(&upstream, "", "token_file: t")).await.unwrap_err();
        assert!(matches!(error, KeyServiceError::Refused { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_key_is_what_its_line_says_or_it_is_none() {
    let upstream = Upstream::start(|request, _| {
        json(if request.starts_with("POST /v1/transit/encrypt/") {
            "{\"data\":{\"ciphertext\":\"vault:v1:AbC\"}}"
        } else {
            // Whatever was wrapped.
            "{\"data\":{\"plaintext\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"}}"
        })
    })
    .await;
    let transit = transit(&upstream, "", "token_file: t");
    let services = Arc::new(KeyServices::new(Some(transit), None, NewKeys::Wrapped(ServiceKind::Transit)));
    let line = tokio::task::spawn_blocking({
        let services = Arc::clone(&services);
        move || services.wrap_new(&key()).unwrap().unwrap()
    });
    let line = line.await.unwrap();
    assert_eq!(WrappedKey::parse(&line.to_string()).unwrap(), line);
    let open = |line: WrappedKey| {
        let services = Arc::clone(&services);
        async move { tokio::task::spawn_blocking(move || services.open(&line)).await.unwrap() }
    };
    assert_eq!(open(line.clone()).await.unwrap(), key());
    let other = WrappedKey { key_id: "vault-0123456789abcdef".to_owned(), ..line.clone() };
    assert!(matches!(open(other).await.unwrap_err(), KeyServiceError::OtherKey { .. }));
    let device = WrappedKey { by: ServiceKind::Pkcs11, ..line };
    assert!(matches!(open(device).await.unwrap_err(), KeyServiceError::NotDescribed { .. }));
    // What it is bound to goes with it.
    let bound = "cGxhY2V0L3ZhdWx0LWtleS8xOnZhdWx0";
    assert!(upstream.requests().iter().all(|request| request.contains(bound)), "{:#?}", upstream.requests());
}

#[tokio::test]
async fn a_token_that_was_renewed_is_not_looked_at_again_at_once() {
    let upstream = Upstream::start(|request, _| {
        if request.starts_with("GET /v1/auth/token/lookup-self ") {
            json("{\"data\":{\"ttl\":300,\"creation_ttl\":3600,\"renewable\":true}}")
        } else {
            // Its longest time is nearly over: there is no more to be had.
            json("{\"auth\":{\"lease_duration\":299,\"renewable\":true}}")
        }
    })
    .await;
    let transit = Arc::new(transit(&upstream, "", "token_file: x"));
    let tend = || {
        let transit = Arc::clone(&transit);
        async move { tokio::task::spawn_blocking(move || transit.tend()).await.unwrap().unwrap() }
    };
    tend().await;
    tend().await;
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    assert!(requests[1].starts_with("POST /v1/auth/token/renew-self "), "{}", requests[1]);
}
