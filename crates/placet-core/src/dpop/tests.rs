use super::*;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000;

fn ed25519() -> SigningKey {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()
}

fn p256() -> SigningKey {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap()
}

fn bases() -> Vec<String> {
    vec!["https://placet.example".to_owned(), "http://127.0.0.1:7447".to_owned()]
}

fn making<'a>(url: &'a str, token: Option<&'a str>) -> Making<'a> {
    let now = Timestamp::from_seconds(NOW);
    Making { method: "POST", url, token, nonce: None, entropy: [7; 16], now }
}

fn read(text: &str, token: Option<&str>, now: i64) -> Result<Proof, ProofError> {
    let (bases, now) = (bases(), Timestamp::from_seconds(now));
    verify(text, &Expected { method: "POST", bases: &bases, path: "/v1/actions", token, now })
}

#[test]
fn the_proof_of_the_standard_is_one() {
    // RFC 9449 §4.1.
    let text = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let bases = vec!["https://server.example.com".to_owned()];
    let now = Timestamp::from_seconds(1_562_262_700);
    let expected = Expected { method: "POST", bases: &bases, path: "/token", token: None, now };
    let key = verify(text, &expected).unwrap().key.to_string();
    assert_eq!(key, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    let other = text.replace("2-GxA6T8", "2-GxA6T9");
    assert_eq!(verify(&other, &expected).unwrap_err(), ProofError::Jws(JwsError::Signature));
}

#[test]
fn what_was_made_is_what_is_read() {
    for key in [ed25519(), p256()] {
        let url = "https://placet.example/v1/actions?x=1#y";
        let making = Making { nonce: Some("n"), ..making(url, Some("a-token")) };
        let proof = read(&make(&key, &making).unwrap(), Some("a-token"), NOW).unwrap();
        assert_eq!(proof.key.to_string(), key.kid());
        assert_eq!(proof.issued, Timestamp::from_seconds(NOW));
        assert_eq!(proof.nonce.as_deref(), Some("n"));
    }
}

#[test]
fn it_is_good_for_its_method_url_token_and_time_only() {
    let key = ed25519();
    let url = "https://placet.example/v1/actions";
    let text = make(&key, &making(url, Some("a-token"))).unwrap();
    assert!(read(&text, Some("a-token"), NOW).is_ok());
    assert_eq!(read(&text, Some("b-token"), NOW).unwrap_err(), ProofError::Token);
    let plain = make(&key, &making(url, None)).unwrap();
    assert_eq!(read(&plain, Some("a-token"), NOW).unwrap_err(), ProofError::Claim("ath"));
    for (seconds, fits) in [(-301, false), (-300, true), (300, true), (301, false)] {
        assert_eq!(read(&text, Some("a-token"), NOW + seconds).is_ok(), fits, "{seconds}");
    }
    let get = Making { method: "GET", ..making(url, None) };
    assert_eq!(read(&make(&key, &get).unwrap(), None, NOW).unwrap_err(), ProofError::Method);
    for other in [
        "https://placet.example/v1/actions/",
        "https://placet.example/v1/Actions",
        "http://placet.example/v1/actions",
        "https://placet.example:444/v1/actions",
        "https://evil.example/v1/actions",
        "https://placet.example@evil.example/v1/actions",
        "https://placet.example.evil.example/v1/actions",
        "https://placet.example/x/../v1/actions",
        "//placet.example/v1/actions",
        "/v1/actions",
        "https:///v1/actions",
    ] {
        let text = make(&key, &making(other, None)).unwrap();
        assert_eq!(read(&text, None, NOW).unwrap_err(), ProofError::Url, "{other}");
    }
}

#[test]
fn urls_are_compared_as_the_standard_says() {
    let key = ed25519();
    for same in [
        "https://placet.example/v1/actions",
        "HTTPS://PLACET.example:443/v1/actions?a=b",
        "https://placet.example:/v1/%61ctions#x",
        "http://127.0.0.1:7447/v1/actions",
    ] {
        assert!(read(&make(&key, &making(same, None)).unwrap(), None, NOW).is_ok(), "{same}");
    }
    assert_eq!(normal("https://a").as_deref(), Some("https://a/"));
    assert_eq!(normal("https://a/%2f%7e").as_deref(), Some("https://a/%2F~"));
    for wrong in ["https://a/%2", "https://a/%zz", "https://a/\u{e4}", "https://a/b c", "ftp://a/", "https:a"]
    {
        assert_eq!(normal(wrong), None, "{wrong}");
    }
}

#[test]
fn claims_and_headers_that_are_not_as_they_should_be_are_refused() {
    let key = p256();
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public_members()});
    let claims = json!({"jti": "x", "htm": "POST", "htu": "https://placet.example/v1/actions", "iat": NOW});
    assert!(read(&key.jws(&header, &claims).unwrap(), None, NOW).is_ok());
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        read(&key.jws(&header, &claims).unwrap(), None, NOW).unwrap_err()
    };
    for name in ["jti", "htm", "htu", "iat"] {
        assert_eq!(with(name, Value::Null), ProofError::Claim(name), "{name}");
        assert_eq!(with(name, json!({})), ProofError::Claim(name), "{name}");
        assert_eq!(with(name, json!("")), ProofError::Claim(name), "{name}");
    }
    assert_eq!(with("iat", json!("1700000000")), ProofError::Claim("iat"));
    assert_eq!(with("iat", json!(1e300)), ProofError::Claim("iat"));
    assert_eq!(with("iat", json!(-1)), ProofError::Claim("iat"));
    assert_eq!(with("jti", json!("x".repeat(513))), ProofError::Claim("jti"));
    assert_eq!(with("nonce", json!(1)), ProofError::Claim("nonce"));
    let headed = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        read(&key.jws(&header, &claims).unwrap(), None, NOW).unwrap_err()
    };
    assert_eq!(headed("typ", json!("JWT")), ProofError::Type);
    assert_eq!(headed("typ", Value::Null), ProofError::Jws(JwsError::Form));
    assert_eq!(headed("alg", json!("EdDSA")), ProofError::Jws(JwsError::UnknownKey));
    assert_eq!(headed("alg", json!("RS256")), ProofError::Algorithm);
    assert_eq!(headed("alg", json!("none")), ProofError::Jws(JwsError::Algorithm));
    assert_eq!(headed("jwk", p256().public_members().clone()), ProofError::Jws(JwsError::Signature));
    let mut private = key.public_members().clone();
    private["d"] = "AA".into();
    assert_eq!(headed("jwk", private), ProofError::Key(JwkError::Private));
    assert_eq!(read(&"x".repeat(MAX_LENGTH + 1), None, NOW).unwrap_err(), ProofError::TooLong);
}

#[test]
fn a_time_may_have_a_fraction() {
    let key = ed25519();
    let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": key.public_members()});
    let claims =
        json!({"jti": "x", "htm": "POST", "htu": "https://placet.example/v1/actions", "iat": 1.7e9 + 0.5});
    let proof = read(&key.jws(&header, &claims).unwrap(), None, NOW).unwrap();
    assert_eq!(proof.issued, Timestamp::from_seconds(NOW));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        prop_assert!(read(&text, None, NOW).is_err());
    }

    #[test]
    fn normalising_twice_is_normalising_once(path in "(/([a-z%~._-]|%[0-9a-fA-F]{2}){0,4}){0,3}") {
        let url = format!("https://a.example{path}");
        if let Some(once) = normal(&url) {
            prop_assert_eq!(normal(&once), Some(once.clone()));
        }
    }
}
