//! What is said about issuers, whom they mean, and what their assertions have to say.

use super::{
    assertion::{FederationError, Kind, check_binding, check_id_jag, check_workload, kind},
    *,
};
use crate::{
    jose::{Jws, Thumbprint},
    json,
    time::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

const NOW: i64 = 1_800_000_000;
const HERE: &str = "https://placet.example";
const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn document(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = json!({"issuer": "https://idp.example", "jwks_uri": "https://idp.example/keys",
        "id_jag": {"users": {"00u1": "lee"}},
        "workload": {"agents": [{"subject": "repo:acme/shop:*", "agent": "deployer"}]}});
    change(&mut document);
    document
}

fn checked(document: Value) -> Result<(), String> {
    let document: Document = serde_json::from_value(document).map_err(|error| error.to_string())?;
    document.check().map_err(|error| error.to_string())
}

#[test]
fn what_is_said_about_an_issuer_is_complete() {
    checked(document(|_| {})).unwrap();
    for (place, value, told) in [
        ("/issuer", json!("idp"), "issuer"),
        ("/issuer", json!("https://idp .example"), "issuer"),
        ("/jwks_uri", json!("http://idp.example/keys"), "jwks_uri"),
        ("/jwks_uri", Value::Null, "jwks"),
        ("/id_jag/users", json!({}), "names nobody"),
        ("/id_jag/users", json!({"": "lee"}), "1024"),
        ("/id_jag", json!({"users": {"a": "lee"}, "lifetime": 59}), "lifetime"),
        ("/id_jag", json!({"users": {"a": "lee"}, "claim": ""}), "claim"),
        ("/id_jag", json!({"users": {"a": "lee"}, "user": "x"}), "user"),
        ("/workload/agents", json!([]), "agents"),
        ("/workload/agents/0/subject", json!("**"), "begins"),
        ("/workload/agents/0/subject", json!("a**b"), "at the end"),
    ] {
        let spoilt = document(|document| *document.pointer_mut(place).unwrap() = value.clone());
        let error = checked(spoilt).unwrap_err();
        assert!(error.contains(told), "{place} {value}: {error}");
    }
    for (name, value, told) in [
        ("jwks", json!({"keys": []}), "one of"),
        ("algorithms", json!(["HS256"]), "algorithms"),
        ("algorithms", json!(["none"]), "algorithms"),
        ("algorithms", json!([]), "algorithms"),
        ("trust", json!(true), "trust"),
    ] {
        let error = checked(document(|document| document[name] = value.clone())).unwrap_err();
        assert!(error.contains(told), "{name}: {error}");
    }
    let inline = |keys: Value| {
        let mut document = document(|document| document["jwks"] = keys);
        document.as_object_mut().unwrap().remove("jwks_uri");
        checked(document)
    };
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    inline(json!({"keys": [key]})).unwrap();
    let mut bundle = key.clone();
    bundle["use"] = json!("jwt-svid");
    inline(json!({"keys": [bundle]})).unwrap();
    assert!(inline(json!({"keys": [{"kty": "oct", "k": "AAAA"}]})).unwrap_err().contains("symmetric"));
    assert!(inline(json!({"keys": []})).unwrap_err().contains("no key"));
    let neither = document(|document| {
        document.as_object_mut().unwrap().retain(|name, _| name != "id_jag" && name != "workload");
    });
    assert!(checked(neither).unwrap_err().contains("counts for nothing"));
}

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn required(pairs: Value) -> BTreeMap<String, Glob> {
    serde_json::from_value(pairs).unwrap()
}

#[test]
fn required_claims_are_all_there() {
    let token = claims(json!({"repository": "acme/shop", "run": 7, "protected": true, "groups": ["a", "b"],
        "empty": null, "kubernetes.io": {"namespace": "prod", "a/b": "x"}, "/odd": "y"}));
    for good in [
        json!({}),
        json!({"repository": "acme/*"}),
        json!({"run": "7", "protected": "true", "groups": "b"}),
        json!({"/kubernetes.io/namespace": "prod"}),
        json!({"/kubernetes.io/a~1b": "x"}),
        json!({"/repository": "acme/shop"}),
    ] {
        assert!(holds(&required(good.clone()), &token), "{good}");
    }
    for bad in [
        json!({"repository": "acme"}),
        json!({"Repository": "acme/shop"}),
        json!({"repository": "acme/shop", "ref": "**"}),
        json!({"groups": "c"}),
        json!({"empty": "null"}),
        json!({"empty": "**"}),
        json!({"kubernetes.io": "**"}),
        json!({"/kubernetes.io/missing": "**"}),
        json!({"/odd": "y"}),
    ] {
        assert!(!holds(&required(bad.clone()), &token), "{bad}");
    }
}

#[test]
fn a_person_is_named_by_one_claim_that_the_issuer_vouches_for() {
    let people =
        |claim: &str| -> People { serde_json::from_value(json!({"claim": claim, "by_name": true})).unwrap() };
    let token = json!({"sub": "00u1", "email": "lee@example.com", "list": ["lee"], "bad": "a\nb"});
    let named =
        |claim: &str, token: &Value| people(claim).named(token.as_object().unwrap()).map(str::to_owned);
    assert_eq!(named("sub", &token).as_deref(), Some("00u1"));
    assert_eq!(named("email", &token).as_deref(), Some("lee@example.com"));
    for (verified, known) in
        [(json!(true), true), (json!(false), false), (json!("true"), false), (json!(null), false)]
    {
        let mut token = token.clone();
        token["email_verified"] = verified;
        for claim in ["email", "/email"] {
            assert_eq!(named(claim, &token).is_some(), known, "{claim} {token}");
        }
    }
    for claim in ["list", "bad", "missing"] {
        assert_eq!(named(claim, &token), None, "{claim}");
    }
}

#[test]
fn every_rule_that_holds_names_an_agent() {
    let workloads: Workloads = serde_json::from_value(json!({"agents": [
        {"subject": "repo:acme/shop:ref:refs/heads/main", "agent": "one", "claims": {"environment": "prod"}},
        {"subject": "repo:acme/*:ref:refs/heads/main", "agent": "two"},
        {"subject": "repo:acme/shop:**", "agent": "two"},
    ]}))
    .unwrap();
    let of = |token: Value| workloads.agents_of(&claims(token)).join(" ");
    let main = "repo:acme/shop:ref:refs/heads/main";
    assert_eq!(of(json!({"sub": main, "environment": "prod"})), "one two");
    assert_eq!(of(json!({"sub": main})), "two");
    assert_eq!(of(json!({"sub": "repo:acme/other:ref:refs/heads/main"})), "two");
    assert_eq!(of(json!({"sub": "repo:acme/other:pull_request"})), "");
    assert_eq!(of(json!({"sub": [main]})), "");
    assert_eq!(of(json!({})), "");
}

fn text(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

fn jag(change: impl FnOnce(&mut Value)) -> Result<assertion::IdJag, FederationError> {
    let mut claims = json!({"iss": "https://idp.example", "sub": "00u1", "aud": HERE, "client_id": "agt_1", "jti": "j",
        "iat": NOW, "exp": NOW + 300, "resource": "https://placet.example/mcp", "scope": "orders.read chat:\u{0} x"});
    change(&mut claims);
    let text = text(&json!({"alg": "EdDSA", "typ": "oauth-id-jag+jwt"}), &claims);
    let key = Some(KEY.parse().unwrap()).filter(|_| claims.get("with_proof").is_some());
    check_id_jag(&Jws::parse(&text).unwrap(), "agt_1", HERE, key, Timestamp::from_seconds(NOW))
}

#[test]
fn the_kinds_are_told_apart_by_their_type_alone() {
    let kind_of = |header: Value| {
        let text = text(&header, &json!({"client_id": "x"}));
        kind(&Jws::parse(&text).unwrap())
    };
    for typ in ["oauth-id-jag+jwt", "application/oauth-id-jag+jwt", "OAuth-ID-JAG+JWT"] {
        assert_eq!(kind_of(json!({"alg": "ES256", "typ": typ})), Ok(Kind::IdJag));
    }
    assert_eq!(kind_of(json!({"alg": "ES256"})), Ok(Kind::Workload));
    for typ in ["JWT", "JOSE", "jwt"] {
        assert_eq!(kind_of(json!({"alg": "ES256", "typ": typ})), Ok(Kind::Workload));
    }
    for typ in [
        "at+jwt",
        "wit+jwt",
        "dpop+jwt",
        "logout+jwt",
        "placet-delegation+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "",
        "jwt ",
    ] {
        assert_eq!(kind_of(json!({"alg": "ES256", "typ": typ})), Err(FederationError::Type), "{typ}");
    }
}

#[test]
fn an_id_jag_says_everything_that_it_has_to() {
    let good = jag(|_| {}).unwrap();
    assert_eq!((good.once.jti.as_str(), good.resource.len(), good.key), ("j", 1, None));
    assert_eq!(good.scope.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["orders.read", "x"]);
    assert_eq!(
        jag(|claims| claims["resource"] = json!(["https://a", "https://b"])).unwrap().resource.len(),
        2
    );
    assert_eq!(jag(|claims| _ = claims.as_object_mut().unwrap().remove("scope")).unwrap().scope, None);
    for (name, value) in [
        ("aud", json!([HERE])),
        ("aud", json!("https://placet.example/")),
        ("aud", json!([HERE, "https://other.example"])),
        ("client_id", json!("agt_2")),
        ("client_id", json!(["agt_1"])),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("exp", json!(NOW - 60)),
        ("exp", json!(NOW + 3661)),
        ("exp", json!("soon")),
        ("iat", json!(NOW + 61)),
        ("iat", json!(NOW - 3661)),
        ("nbf", json!(NOW + 61)),
        ("jti", json!("")),
        ("jti", json!("x".repeat(300))),
        ("resource", json!([])),
        ("resource", json!([7])),
        ("resource", json!({})),
        ("scope", json!(["orders.read"])),
        ("authorization_details", json!([])),
        ("authorization_details", json!("x")),
        ("cnf", json!({"jkt": KEY})),
        ("cnf", json!({})),
        ("cnf", json!(null)),
        ("cnf", json!({"jwk": {}})),
    ] {
        assert!(jag(|claims| claims[name] = value.clone()).is_err(), "{name} {value}");
    }
    for name in ["sub", "aud", "client_id", "exp", "iat", "jti", "resource"] {
        assert!(jag(|claims| _ = claims.as_object_mut().unwrap().remove(name)).is_err(), "{name}");
    }
    let proved = |cnf: Value| {
        jag(|claims| {
            claims["cnf"] = cnf;
            claims["with_proof"] = json!(true);
        })
    };
    assert_eq!(proved(json!({"jkt": KEY})).unwrap().key, Some(KEY.parse().unwrap()));
    let other = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    assert_eq!(proved(json!({"jkt": other})), Err(FederationError::Unproved));
    assert_eq!(proved(json!({"jkt": KEY, "x5t#S256": "x"})), Err(FederationError::Binding));
    // A proof without a binding is the client's own matter.
    assert!(jag(|claims| claims["with_proof"] = json!(true)).is_ok());
}

#[test]
fn a_workload_says_who_it_is_and_for_whom() {
    let check = |one_time: bool, change: &dyn Fn(&mut Value)| {
        let mut claims = json!({"iss": "https://ci.example", "sub": "job", "aud": HERE, "exp": NOW + 300});
        change(&mut claims);
        let text = text(&json!({"alg": "RS256"}), &claims);
        check_workload(&Jws::parse(&text).unwrap(), HERE, one_time, Timestamp::from_seconds(NOW))
    };
    assert_eq!(check(false, &|_| {}), Ok(None));
    assert_eq!(check(false, &|claims| claims["aud"] = json!([HERE])), Ok(None));
    assert_eq!(check(false, &|claims| claims["iat"] = json!(NOW - 80_000)), Ok(None));
    assert!(check(true, &|_| {}).is_err());
    assert_eq!(check(true, &|claims| claims["jti"] = json!("j")).unwrap().unwrap().jti, "j");
    for (name, value) in [
        ("aud", json!([HERE, "https://other.example"])),
        ("aud", json!("sts.amazonaws.com")),
        ("aud", Value::Null),
        ("sub", Value::Null),
        ("exp", Value::Null),
        ("exp", json!(NOW - 61)),
        ("exp", json!(NOW + 90_000)),
        ("nbf", json!(NOW + 100)),
    ] {
        assert!(check(false, &|claims| claims[name] = value.clone()).is_err(), "{name} {value}");
    }
}

#[test]
fn whatever_is_bound_is_bound_to_the_key_that_is_proved() {
    let key = || -> Option<Thumbprint> { Some(KEY.parse().unwrap()) };
    let check = |claims: Value, key: Option<Thumbprint>| {
        let text = text(&json!({"alg": "RS256"}), &claims);
        check_binding(&Jws::parse(&text).unwrap(), key)
    };
    assert_eq!(check(json!({}), None), Ok(None));
    assert_eq!(check(json!({}), key()), Ok(None));
    let bound = json!({"cnf": {"jkt": KEY}});
    assert_eq!(check(bound.clone(), key()), Ok(key()));
    assert_eq!(check(bound, None), Err(FederationError::Unproved));
    let other = json!({"cnf": {"jkt": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}});
    assert_eq!(check(other, key()), Err(FederationError::Unproved));
    for cnf in [
        json!(null),
        json!({}),
        json!(KEY),
        json!({"jkt": "x"}),
        json!({"jkt": null}),
        json!({"x5t#S256": KEY}),
        json!({"jkt": KEY, "jwk": {}}),
    ] {
        for key in [None, key()] {
            assert_eq!(check(json!({"cnf": cnf}), key), Err(FederationError::Binding), "{cnf}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever one of the claims is, there is an answer; and with anything but the expected audience it is no.
    #[test]
    fn no_claim_makes_it_panic(
        name in prop_oneof![Just("aud"), Just("sub"), Just("exp"), Just("resource"), Just("scope"), Just("cnf"),
            Just("authorization_details"), Just("client_id"), Just("jti")],
        value in any_json(),
    ) {
        let answer = jag(|claims| claims[name] = value.clone());
        if name == "aud" || name == "client_id" {
            prop_assert!(answer.is_err());
        }
    }

    #[test]
    fn whom_somebody_means_is_never_a_panic(token in any_json(), name in "[a-z/~]{0,6}") {
        if let Value::Object(token) = token {
            let people: People = serde_json::from_value(json!({"claim": name.clone(), "by_name": true})).unwrap();
            if let Some(found) = people.named(&token) {
                prop_assert!(is_subject(found));
            }
            let needs = required(json!({name.clone(): "**"}));
            // A claim that is required has to be there.
            if !name.starts_with('/') && !token.contains_key(&name) {
                prop_assert!(!holds(&needs, &token));
            }
        }
    }

    #[test]
    fn what_is_stored_is_read_back(subject in "[a-z]{1,8}[:/*]?[a-z]{0,8}", lifetime in 60u64..=86_400) {
        let said = document(|document| {
            document["workload"]["agents"][0]["subject"] = json!(subject);
            document["id_jag"]["lifetime"] = json!(lifetime);
        });
        let read: Document = serde_json::from_value(said).unwrap();
        prop_assert!(read.check().is_ok());
        let text = serde_json::to_string(&read).unwrap();
        let again: Document = serde_json::from_value(json::parse(text.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(again, read);
    }
}
