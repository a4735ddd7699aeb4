//! What is asked of an authorization server, and what its answers mean.

use super::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::new(text))
}

fn kept(client_secret: Option<Secret>, refresh_token: Option<Secret>) -> Kept {
    Kept::new("me".to_owned(), client_secret, refresh_token).unwrap()
}

fn server(more: serde_json::Value) -> OAuth {
    let mut all = json!({"token_url": "https://sso.example/token"});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn asked(kept: &Kept, server: &OAuth) -> Vec<String> {
    kept.asks(server, &Showing::Kept)
        .into_iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(&value)))
        .collect()
}

fn granted(body: serde_json::Value) -> Result<Granted, Ungranted> {
    read(&server(json!({})), true, &Secret::new(body.to_string()))
}

#[test]
fn a_client_asks_with_what_it_has_and_shows_its_secret_in_one_place() {
    let basic = server(json!({"scope": ["a", "b"], "audience": "api"}));
    let post = server(json!({"client_auth": "client_secret_post", "resource": "https://api.example"}));
    let own = kept(secret("s"), None);
    assert_eq!(asked(&own, &basic), ["grant_type=client_credentials", "scope=a b", "audience=api"]);
    assert!(own.in_header(&basic).is_some());
    let posted = asked(&own, &post);
    assert_eq!(posted[1..], ["resource=https://api.example", "client_id=me", "client_secret=s"]);
    assert!(own.in_header(&post).is_none());
    let public = kept(None, secret("r"));
    assert_eq!(
        asked(&public, &basic),
        ["grant_type=refresh_token", "refresh_token=r", "audience=api", "client_id=me"]
    );
    assert!(public.in_header(&basic).is_none());
}

#[test]
fn what_is_kept_is_read_back_as_it_was() {
    let with = |body| kept(secret("s \"x\\"), secret("r")).with(granted(body).unwrap(), NOW);
    for kept in [
        kept(secret("s"), None),
        kept(None, secret("r\"")),
        with(json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60})),
        with(json!({"access_token": "t", "token_type": "bearer", "refresh_token": "r2"})),
    ] {
        assert_eq!(Kept::from_secret(&kept.to_secret()), Some(kept));
    }
    assert_eq!(Kept::from_secret(&Secret::new("{}")), None);
    assert_eq!(Kept::from_secret(&Secret::new("a-plain-secret")), None);
}

#[test]
fn a_refresh_token_stays_where_no_other_comes_and_goes_where_one_does() {
    let answer = |refresh: Option<&str>| {
        let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600});
        if let Some(refresh) = refresh {
            body["refresh_token"] = refresh.into();
        }
        granted(body).unwrap()
    };
    let old = kept(secret("s"), secret("old"));
    assert_eq!(old.clone().with(answer(None), NOW).refresh_token, secret("old"));
    assert_eq!(old.with(answer(Some("new")), NOW).refresh_token, secret("new"));
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let access = |seconds: u64| {
        let body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": seconds});
        kept(secret("s"), None).with(granted(body).unwrap(), NOW).access.unwrap()
    };
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    for (lifetime, due, end) in
        [(3600, 3300, 3600), (50, 40, 50), (1, 1, 1), (u64::MAX, LONGEST - 300, LONGEST)]
    {
        let access = access(lifetime);
        assert_eq!((access.due, access.expires), (Some(at(due)), Some(at(end))), "{lifetime}");
    }
    let access = access(50);
    assert!(!access.is_due(at(39)) && access.is_due(at(40)));
    assert!(access.is_good(at(49)) && !access.is_good(at(50)));
    for unsaid in [json!({}), json!({"expires_in": 0})] {
        let mut body = json!({"access_token": "t", "token_type": "Bearer"});
        body.as_object_mut().unwrap().extend(unsaid.as_object().unwrap().clone());
        let unsaid = kept(secret("s"), None).with(granted(body).unwrap(), NOW).access.unwrap();
        assert!(!unsaid.is_due(at(3299)) && unsaid.is_due(at(3300)) && unsaid.is_good(at(1 << 30)));
    }
}

#[test]
fn answers_that_are_none() {
    for (ok, body, refused) in [
        (false, json!({"error": "invalid_grant", "error_description": "canary"}), Some("invalid_grant")),
        (true, json!({"error": "invalid_\u{202e}x\nclient"}), Some("invalid_xclient")),
        (false, json!({"error": "temporarily_unavailable"}), None),
        (true, json!({"access_token": "t", "token_type": "bot"}), None),
        (false, json!({"access_token": "t", "token_type": "Bearer"}), None),
        (true, json!({"token_type": "Bearer"}), None),
        (true, json!({"access_token": "t"}), None),
        (true, json!({"access_token": "t", "token_type": "DPoP"}), None),
        (true, json!({"access_token": "two words", "token_type": "Bearer"}), None),
        (true, json!({"access_token": "line\nend", "token_type": "Bearer"}), None),
        (true, json!({"access_token": "", "token_type": "Bearer"}), None),
        (true, json!({"access_token": "t", "token_type": "Bearer", "expires_in": -1}), None),
        (true, json!(["access_token"]), None),
    ] {
        let error = read(&server(json!({})), ok, &Secret::new(body.to_string())).unwrap_err();
        assert!(!error.to_string().contains("canary"));
        match (error, refused) {
            (Ungranted::Refused(code), Some(expected)) => assert_eq!(code, expected),
            (Ungranted::Unusable(_), None) => {}
            (error, _) => panic!("{body}: {error}"),
        }
    }
}

#[test]
fn a_token_is_asked_for_where_nobody_else_reads() {
    for (url, good) in [
        ("https://sso.example/token", true),
        ("http://127.0.0.1:8080/token", true),
        ("http://sso.example/token", false),
        ("https://sso.example/token?x=1", false),
        ("https://user@sso.example/token", false),
        ("ftp://sso.example", false),
        ("", false),
    ] {
        assert_eq!(is_token_url(url), good, "{url}");
    }
}

#[test]
fn what_can_not_ask_is_refused() {
    let new = |id: &str, secret: Option<&str>, refresh: Option<&str>| {
        Kept::new(id.to_owned(), secret.map(Secret::new), refresh.map(Secret::new)).unwrap_err()
    };
    assert_eq!(new("", Some("s"), None), KeptError::ClientId);
    assert_eq!(new("a b", Some("s"), None), KeptError::ClientId);
    assert_eq!(new("a", None, None), KeptError::Nothing);
    assert_eq!(new("a", Some("s\n"), None), KeptError::Secret);
    assert_eq!(new("a", Some("s"), Some("")), KeptError::Secret);
}

#[test]
fn a_word_that_a_server_has_for_bearer_tokens_is_taken_where_the_service_states_it() {
    let body = Secret::new(json!({"access_token": "t", "token_type": "bot"}).to_string());
    assert!(read(&server(json!({"token_type": "bot"})), true, &body).is_ok());
    assert!(read(&server(json!({"token_type": "user"})), true, &body).is_err());
}

#[test]
fn a_token_is_exchanged_where_the_service_says_of_which_kind_it_is() {
    let kind = "urn:ietf:params:oauth:token-type:jwt";
    let takes = server(json!({"subject_token_type": kind, "audience": "api", "scope": ["a"]}));
    let new = |server: &OAuth| Kept::exchanging(server, "me".to_owned(), secret("s"), Secret::new("held"));
    assert_eq!(new(&server(json!({}))).unwrap_err(), KeptError::Subject);
    let kept = new(&takes).unwrap();
    assert_eq!(
        asked(&kept, &takes),
        [
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token=held",
            "subject_token_type=urn:ietf:params:oauth:token-type:jwt",
            "requested_token_type=urn:ietf:params:oauth:token-type:access_token",
            "scope=a",
            "audience=api",
        ]
    );
    // A refresh token that comes all the same changes nothing: the token is exchanged again.
    let answer = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r"});
    let kept = kept.with(granted(answer).unwrap(), NOW);
    assert_eq!(Kept::from_secret(&kept.to_secret()).as_ref(), Some(&kept));
    assert!(kept.is_renewable() && asked(&kept, &takes)[1] == "subject_token=held");
}

#[test]
fn without_a_refresh_token_what_a_person_agreed_to_is_used_until_it_ends() {
    let agreed = || Kept::agreed("me".to_owned());
    let with = |body| agreed().with(granted(body).unwrap(), NOW);
    let lasting = with(json!({"access_token": "t", "token_type": "bearer"}));
    let access = lasting.access.clone().unwrap();
    assert_eq!((access.due, access.expires, lasting.is_renewable()), (None, None, false));
    let ending = with(json!({"access_token": "t", "token_type": "bearer", "expires_in": 60}));
    let access = ending.access.unwrap();
    assert_eq!((access.due, access.expires), (None, Some(NOW.plus(Duration::from_secs(60)))));
    let renewed = with(json!({"access_token": "t", "token_type": "bearer", "refresh_token": "r"}));
    assert!(renewed.is_renewable() && renewed.access.as_ref().unwrap().due.is_some());
    assert_eq!(Kept::from_secret(&renewed.to_secret()), Some(renewed));
}

#[test]
fn a_key_signs_assertions_where_the_service_says_whom_they_are_for() {
    use super::assertion::{Algorithm, Assertion, Signing};
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let signing = |key: &str, subject: Option<&str>| Signing {
        key: Secret::new(key),
        key_id: Some("k".to_owned()),
        subject: subject.map(str::to_owned),
    };
    let takes = server(json!({"assertion_audience": "https://as.example", "scope": ["a", "b"]}));
    let new = |server: &OAuth, signing| Kept::signing(server, "me".to_owned(), None, signing);
    assert_eq!(new(&server(json!({})), signing(pem, None)).unwrap_err(), KeptError::Signing);
    for wrong in [signing("no key", None), signing(pem, Some("")), signing(pem, Some("a b"))] {
        assert_eq!(new(&takes, wrong).unwrap_err(), KeptError::Signing);
    }
    let kept = new(&takes, signing(pem, Some("lee"))).unwrap();
    assert_eq!(Kept::from_secret(&kept.to_secret()).as_ref(), Some(&kept));
    assert!(kept.is_renewable() && !format!("{kept:?}").contains("AAAA"));
    assert!(Assertion::of(&server(json!({})), &kept, Algorithm::Rs256, NOW, "id").is_none());
    let assertion = Assertion::of(&takes, &kept, Algorithm::Es256, NOW, "id").unwrap();
    assert_eq!(assertion.text().split('.').count(), 2);
    let signed = assertion.signed(b"signature");
    let asked: Vec<String> = kept
        .asks(&takes, &Showing::Assertion(&signed))
        .into_iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8(value.into_owned()).unwrap()))
        .collect();
    let shown = signed.expose_str().unwrap();
    assert_eq!(
        asked,
        [
            "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned(),
            format!("assertion={shown}"),
            "scope=a b".to_owned()
        ]
    );
    assert!(shown.ends_with(".c2lnbmF0dXJl"));
}

#[test]
fn what_is_kept_elsewhere_is_not_kept_here() {
    use super::{Places, assertion::Signing};
    use crate::service::reference::Reference;
    let at = |path: &str| Some(Reference::File { path: path.to_owned() });
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    let takes = server(json!({"assertion_audience": "https://as.example"}));
    let signing = Signing { key: Secret::new(pem), key_id: None, subject: None };
    let whole = Kept::signing(&takes, "me".to_owned(), secret("canary"), signing).unwrap();
    let places = Places { client_secret: at("secret"), signing_key: at("key") };
    let kept = whole.clone().without(places.clone());
    let sealed = kept.to_secret();
    let text = sealed.expose_str().unwrap();
    assert!(
        !text.contains("canary") && !text.contains("AAAA") && text.contains("\"path\":\"key\""),
        "{text}"
    );
    let read = Kept::from_secret(&sealed).unwrap();
    assert_eq!((&read, &read.places), (&kept, &places));
    let filled = read.with_read(secret("canary"), Some(Secret::new(pem)));
    assert_eq!((&filled.client_secret, &filled.signing), (&whole.client_secret, &whole.signing));
    // What comes of asking with it is kept without it.
    let granted = granted(json!({"access_token": "t", "token_type": "Bearer"})).unwrap();
    let renewed = kept.with(granted, NOW);
    assert_eq!((renewed.places, renewed.client_secret), (places, None));
}
