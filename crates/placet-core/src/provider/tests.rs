use super::{
    Asking, ClientAuth, Configuration, ConfigurationError, Document, DocumentError, SecondFactor,
    id_token::{Expected, IdTokenError, check},
};
use crate::{jose::Jws, time::Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn document() -> Document {
    serde_json::from_value(
        json!({"handle": "example", "issuer": "https://sso.example", "name": "Example SSO",
        "client_id": "placet", "auth": "client_secret_basic"}),
    )
    .unwrap()
}

fn published() -> Value {
    json!({"issuer": "https://sso.example", "authorization_endpoint": "https://sso.example/auth?tenant=a",
        "token_endpoint": "https://sso.example/token", "jwks_uri": "https://sso.example/keys"})
}

#[test]
fn what_is_declared_is_checked() {
    assert_eq!(document().check(), Ok(()));
    let refused = |change: fn(&mut Document)| {
        let mut document = document();
        change(&mut document);
        document.check().unwrap_err()
    };
    for handle in ["", "Example", "a b", "-a", "a/b", "..", &"a".repeat(33)] {
        let wrong = Document { handle: handle.into(), ..document() };
        assert_eq!(wrong.check(), Err(DocumentError::Handle), "{handle}");
    }
    for issuer in [
        "",
        "sso.example",
        "http://sso.example",
        "https://sso.example?a=b",
        "https://sso.example#a",
        "https://a@sso.example",
        "ftp://sso.example",
    ] {
        let wrong = Document { issuer: issuer.into(), ..document() };
        assert_eq!(wrong.check(), Err(DocumentError::Issuer), "{issuer}");
    }
    assert_eq!(Document { issuer: "http://127.0.0.1:8080/realm".into(), ..document() }.check(), Ok(()));
    assert_eq!(refused(|one| one.name = " ".into()), DocumentError::Name);
    assert_eq!(refused(|one| one.name = "a\nb".into()), DocumentError::Name);
    assert_eq!(refused(|one| one.client_id = "a b".into()), DocumentError::ClientId);
    assert_eq!(refused(|one| one.algorithms = vec!["HS256".into()]), DocumentError::Algorithms);
    assert_eq!(refused(|one| one.algorithms = vec!["none".into()]), DocumentError::Algorithms);
    assert_eq!(refused(|one| one.algorithms.clear()), DocumentError::Algorithms);
    assert_eq!(refused(|one| one.scope = vec!["a b".into()]), DocumentError::Scope);
    let many = SecondFactor { acr: vec!["x".into(); 17], amr: Vec::new() };
    let wrong = Document { second_factor: Some(many), ..document() };
    assert_eq!(wrong.check(), Err(DocumentError::SecondFactor));
}

#[test]
fn what_is_published_is_the_declared_issuers() {
    let read = |change: &dyn Fn(&mut Value)| {
        let mut published = published();
        change(&mut published);
        Configuration::read("https://sso.example", &published)
    };
    let found = read(&|_| {}).unwrap();
    assert!(!found.answers_say_iss && found.usual_auth() == Some(ClientAuth::ClientSecretBasic));
    for issuer in [
        json!("https://sso.example/"),
        json!("https://other.example"),
        json!(["https://sso.example"]),
        Value::Null,
    ] {
        assert_eq!(read(&|one| one["issuer"] = issuer.clone()), Err(ConfigurationError::Issuer));
    }
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
        for url in [
            json!("http://sso.example/x"),
            json!("javascript:alert(1)"),
            json!("https://sso.example/#x"),
            Value::Null,
        ] {
            assert_eq!(read(&|one| one[name] = url.clone()), Err(ConfigurationError::Place(name)), "{url}");
        }
    }
    assert_eq!(
        read(&|one| one["response_types_supported"] = json!(["id_token"])),
        Err(ConfigurationError::Code)
    );
    let says = |value: Value| {
        read(&|one| one["authorization_response_iss_parameter_supported"] = value.clone())
            .unwrap()
            .answers_say_iss
    };
    assert!(says(json!(true)) && !says(json!(false)) && !says(json!("true")));
    let auth = |methods: Value| {
        read(&|one| one["token_endpoint_auth_methods_supported"] = methods.clone()).unwrap().usual_auth()
    };
    assert_eq!(auth(json!(["client_secret_post"])), Some(ClientAuth::ClientSecretPost));
    assert_eq!(auth(json!(["private_key_jwt"])), None);
}

#[test]
fn a_request_carries_what_its_answer_is_known_by() {
    let found = Configuration::read("https://sso.example", &published()).unwrap();
    let asking = Asking {
        redirect_uri: "https://here.example/back",
        state: "s&t",
        nonce: "n",
        code_challenge: "c",
        anew: false,
    };
    let document = Document { scope: vec!["openid".into(), "groups".into()], ..document() };
    assert_eq!(
        found.ask_at(&document, &asking),
        "https://sso.example/auth?tenant=a&response_type=code&client_id=placet&redirect_uri=https%3A%2F%2Fhere.example%2Fback&scope=openid+groups&state=s%26t&nonce=n&code_challenge=c&code_challenge_method=S256"
    );
}

#[test]
fn two_factors_count_where_it_is_declared_and_stated() {
    let counts = |needs: Value, claims: Value| {
        let document = Document { second_factor: serde_json::from_value(needs).unwrap(), ..document() };
        document.asked_for_two_factors(claims.as_object().unwrap())
    };
    assert!(!counts(Value::Null, json!({"acr": "mfa", "amr": ["mfa"]})));
    assert!(counts(json!({}), json!({})));
    for (claims, is_enough) in [
        (json!({"acr": "high", "amr": ["pwd", "otp"]}), true),
        (json!({"acr": "high", "amr": ["pwd"]}), false),
        (json!({"acr": "low", "amr": ["otp"]}), false),
        (json!({"acr": ["high"], "amr": "otp"}), false),
        (json!({}), false),
    ] {
        assert_eq!(
            counts(json!({"acr": ["high"], "amr": ["otp", "hwk"]}), claims.clone()),
            is_enough,
            "{claims}"
        );
    }
}

fn checked(header: Value, change: impl FnOnce(&mut Value)) -> Result<String, IdTokenError> {
    let mut claims = json!({"iss": "https://sso.example", "sub": "ada", "aud": "placet", "nonce": "n",
        "exp": NOW + 300, "iat": NOW});
    change(&mut claims);
    // What is checked here comes behind the signature.
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}.", part(&header), part(&claims));
    let jws = Jws::parse(&text).unwrap();
    let expected = Expected {
        issuer: "https://sso.example",
        client_id: "placet",
        nonce: "n",
        access_token: "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
    };
    check(&jws, &expected, Timestamp::from_seconds(NOW)).map(str::to_owned)
}

fn with(name: &str, value: Value) -> Result<String, IdTokenError> {
    checked(json!({"alg": "RS256"}), |claims| {
        let claims = claims.as_object_mut().unwrap();
        if value.is_null() {
            claims.remove(name)
        } else {
            claims.insert(name.to_owned(), value)
        };
    })
}

#[test]
fn an_id_token_that_is_right_is_about_its_subject() {
    assert_eq!(with("azp", json!("placet")).as_deref(), Ok("ada"));
    assert!(with("aud", json!(["placet"])).is_ok());
    assert!(with("exp", json!(NOW - 59)).is_ok() && with("iat", json!(NOW + 60)).is_ok());
    // The example of OpenID Connect Core, appendix A.3.
    assert!(with("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")).is_ok());
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert!(checked(json!({"alg": "RS256", "typ": typ}), |_| {}).is_ok());
    }
}

#[test]
fn an_id_token_that_is_not_exactly_right_is_refused() {
    use IdTokenError::{AccessToken, Audience, Expired, Issuer, Nonce, Party, Subject, Time, Type};
    for typ in ["at+jwt", "logout+jwt", "oauth-id-jag+jwt", ""] {
        assert_eq!(checked(json!({"alg": "RS256", "typ": typ}), |_| {}), Err(Type), "{typ}");
    }
    for (name, value, error) in [
        ("iss", json!("https://sso.example/"), Issuer),
        ("iss", json!("https://other.example"), Issuer),
        ("iss", Value::Null, Issuer),
        ("aud", json!("other"), Audience),
        ("aud", json!(["placet", "other"]), Audience),
        ("aud", json!([]), Audience),
        ("aud", Value::Null, Audience),
        ("azp", json!("other"), Party),
        ("azp", json!(["placet"]), Party),
        ("exp", json!(NOW - 60), Expired),
        ("exp", Value::Null, Expired),
        ("exp", json!("soon"), Expired),
        ("iat", json!(NOW + 61), Time),
        ("iat", json!(NOW - 601), Time),
        ("iat", Value::Null, Time),
        ("nbf", json!(NOW + 61), Time),
        ("nonce", json!("m"), Nonce),
        ("nonce", json!(""), Nonce),
        ("nonce", Value::Null, Nonce),
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RR"), AccessToken),
        ("at_hash", json!(7), AccessToken),
        ("sub", json!(""), Subject),
        ("sub", json!(7), Subject),
        ("sub", json!("a\u{e4}"), Subject),
        ("sub", json!("x".repeat(256)), Subject),
        ("sub", Value::Null, Subject),
    ] {
        assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
    }
    // With EdDSA the hash is another.
    let hash = |claims: &mut Value| claims["at_hash"] = json!("77QmUPtjPfzWtF2AnpK9RQ");
    assert_eq!(checked(json!({"alg": "EdDSA"}), hash), Err(AccessToken));
}
