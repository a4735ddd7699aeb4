//! What an exchange is, what is asked, and what its answers mean.

use super::*;
use crate::{
    call::Auth,
    service::Service,
    service::oauth::{
        KeptError,
        assertion::{Algorithm, Assertion, Signing},
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const APP: &str = "token_url: 'https://hub.example/app/installations/{subject}/access_tokens', \
                   exchange: {token: /token, expires_at: /expires_at, headers: {Accept: application/vnd.hub+json}, \
                   body: {permissions: {issues: write}}}";

fn service(auth: &str) -> Result<OAuth, String> {
    let text = format!(
        "service: hub\nbase_url: https://hub.example\nauth: {{type: oauth2, {auth}}}\nactions:\n  \
         hub.me: {{method: GET, path: /me, resource: \"hub://me\", effect: read}}\n"
    );
    let (service, _) = Service::parse(text.as_bytes(), None)
        .map_err(|all| all.iter().map(|one| one.render()).collect::<Vec<_>>().join("\n"))?;
    match service.auth() {
        Auth::Oauth2(server) => Ok((**server).clone()),
        other => panic!("{other:?}"),
    }
}

fn signing(subject: Option<&str>) -> Signing {
    let key = Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----");
    Signing { key, key_id: None, subject: subject.map(str::to_owned) }
}

fn read(exchange: &Exchange, status: u16, limited: bool, body: &Value) -> Result<Granted, Ungranted> {
    exchange.read(&Answer { status, limited, body: &Secret::new(body.to_string()) }, NOW)
}

#[test]
fn what_is_declared_survives_being_stored_and_says_where_to_ask() {
    let server = service(APP).unwrap();
    let stored: OAuth = serde_json::from_value(serde_json::to_value(&server).unwrap()).unwrap();
    assert_eq!(stored, server);
    let exchange = server.exchange.as_ref().unwrap();
    assert_eq!(exchange.headers, [("accept".to_owned(), "application/vnd.hub+json".to_owned())]);
    assert!(server.takes_assertions() && server.names_subject());
    let kept = |subject| Kept::signing(&server, "Iv1.0a".to_owned(), None, signing(subject));
    let url = "https://hub.example/app/installations/4711/access_tokens";
    assert_eq!(server.token_url_for(&kept(Some("4711")).unwrap()).as_deref(), Some(url));
    for wrong in [None, Some(""), Some("."), Some(".."), Some("1/2"), Some("1?x"), Some("1%2f2"), Some("a b")]
    {
        let refused = kept(wrong).unwrap_err();
        assert!(matches!(refused, KeptError::Address | KeptError::Signing), "{wrong:?}: {refused}");
    }
    let with_secret =
        Kept::signing(&server, "me".to_owned(), Some(Secret::new("s3cret")), signing(Some("1")));
    assert_eq!(with_secret.unwrap_err(), KeptError::Unshown);
}

#[test]
fn an_assertion_says_who_has_signed_when_and_how() {
    let server = service(APP).unwrap();
    let kept = Kept::signing(&server, "Iv1.0a".to_owned(), None, signing(Some("4711"))).unwrap();
    let part =
        |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    for (algorithm, name) in [(Algorithm::Rs256, "RS256"), (Algorithm::Es256, "ES256")] {
        let assertion = Assertion::of(&server, &kept, algorithm, NOW, "id").unwrap();
        let (header, claims) = assertion.text().split_once('.').unwrap();
        assert_eq!(part(header), json!({"alg": name, "typ": "JWT"}));
        let claims = part(claims);
        let (from, to) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        // A clock that is behind by some seconds takes it, and none keeps it for more than ten minutes.
        assert!(from < NOW.as_seconds() && NOW.as_seconds() + 120 < to && to - from <= 600, "{claims}");
        // Whom the token is for stands in the address.
        assert_eq!((&claims["iss"], claims.get("sub"), claims.get("aud")), (&json!("Iv1.0a"), None, None));
    }
    let server =
        service("token_url: 'https://hub.example/t', assertion_audience: hub, exchange: {token: /t}")
            .unwrap();
    let kept = Kept::signing(&server, "me".to_owned(), None, signing(Some("lee"))).unwrap();
    let assertion = Assertion::of(&server, &kept, Algorithm::Rs256, NOW, "id").unwrap();
    let claims = part(assertion.text().split_once('.').unwrap().1);
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("lee"), &json!("hub")));
}

#[test]
fn an_answer_is_a_token_or_a_refusal_or_nothing() {
    let server = service(APP).unwrap();
    let exchange = server.exchange.unwrap();
    let ends = |seconds: i64| Timestamp::from_seconds(NOW.as_seconds() + seconds).to_string();
    let body = |token: &str, seconds| json!({"token": token, "expires_at": ends(seconds), "permissions": {}});
    for status in [200, 201] {
        let granted = read(&exchange, status, false, &body("ghs_1", 3600)).unwrap();
        assert_eq!(granted.lifetime, Some(3600));
        assert_eq!(granted.access_token, Secret::new("ghs_1"));
    }
    for status in [400, 401, 403, 404, 410, 422] {
        let refused = read(&exchange, status, false, &json!({"message": "canary"})).unwrap_err();
        assert_eq!(refused, Ungranted::Refused(format!("status_{status}")));
    }
    for (status, limited, body) in [
        (403, true, json!({"message": "rate limit"})),
        (429, false, json!({})),
        (503, false, json!({})),
        (204, false, body("ghs_1", 3600)),
        (201, false, json!({"token": 7, "expires_at": ends(60)})),
        (201, false, json!({"access_token": "ghs_1", "expires_at": ends(60)})),
        (201, false, json!({"token": "ghs_1"})),
        (201, false, json!({"token": "ghs_1", "expires_at": "soon"})),
        (201, false, body("ghs_1", 0)),
        (201, false, body("ghs_1", -60)),
        (201, false, body("ghs 1", 60)),
        (201, false, body("ghs\n1", 60)),
        (201, false, body("", 60)),
    ] {
        let unusable = read(&exchange, status, limited, &body);
        assert!(matches!(unusable, Err(Ungranted::Unusable(_))), "{status} {body}: {unusable:?}");
    }
    let other =
        service("token_url: 'https://hub.example/t', exchange: {token: /data/key, expires_in: /data/ttl}");
    let other = other.unwrap().exchange.unwrap();
    let granted = read(&other, 200, false, &json!({"data": {"key": "k", "ttl": 60}})).unwrap();
    assert_eq!(granted.lifetime, Some(60));
    for ttl in [json!(0), json!(-1), json!("60"), Value::Null] {
        assert!(read(&other, 200, false, &json!({"data": {"key": "k", "ttl": ttl}})).is_err());
    }
}

#[test]
fn what_could_not_be_asked_does_not_load() {
    for (wrong, problem) in [
        ("token_url: 'https://hub.example/{subject}/t'", "token endpoint"),
        ("token_url: 'https://hub.example/a{subject}/t', exchange: {token: /t}", "token endpoint"),
        ("token_url: 'https://{subject}/t', exchange: {token: /t}", "token endpoint"),
        ("token_url: 'https://hub.example/{subject}/{subject}', exchange: {token: /t}", "token endpoint"),
        ("token_url: 'http://hub.example/{subject}', exchange: {token: /t}", "token endpoint"),
        ("token_url: 'https://hub.example/t', exchange: {token: t}", "pointer"),
        ("token_url: 'https://hub.example/t', exchange: {}", "token"),
        ("token_url: 'https://hub.example/t', exchange: {token: /t, body: [1]}", "object"),
        (
            "token_url: 'https://hub.example/t', exchange: {token: /t, expires_at: /e, expires_in: /i}",
            "expires_in",
        ),
        ("token_url: 'https://hub.example/t', exchange: {token: /t, headers: {Authorization: x}}", "gateway"),
        ("token_url: 'https://hub.example/t', subject_token_type: x, exchange: {token: /t}", "beside"),
        (
            "token_url: 'https://hub.example/t', authorization_url: 'https://hub.example/a', exchange: {token: /t}",
            "beside",
        ),
    ] {
        let told = service(wrong).expect_err(wrong);
        assert!(told.contains(problem), "{wrong}: {told}");
    }
}
