use super::*;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair,
    },
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Signers {
    ed: Ed25519KeyPair,
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let random = SystemRandom::new();
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    Signers {
        ed: Ed25519KeyPair::generate().unwrap(),
        ec: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref()).unwrap(),
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    }
});

fn jwk(alg: Algorithm) -> Value {
    match alg {
        Algorithm::EdDsa => {
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(SIGNERS.ed.public_key().as_ref())})
        }
        Algorithm::Es256 => {
            let point = SIGNERS.ec.public_key().as_ref();
            json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": b64(&point[1..33]), "y": b64(&point[33..])})
        }
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let (n, e) = (SIGNERS.rsa.public_key().modulus(), SIGNERS.rsa.public_key().exponent());
            let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
            json!({"kty": "RSA", "kid": "rsa", "n": b64(n), "e": b64(e)})
        }
    }
}

fn set() -> KeySet {
    let keys = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256].map(jwk);
    KeySet::parse(&json!({"keys": keys})).unwrap()
}

fn sign(header: &str, claims: &str, alg: Algorithm) -> String {
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
    let random = SystemRandom::new();
    let rsa = |encoding: &'static dyn aws_lc_rs::signature::RsaEncoding| {
        let mut signature = vec![0; SIGNERS.rsa.public_modulus_len()];
        SIGNERS.rsa.sign(encoding, &random, signed.as_bytes(), &mut signature).unwrap();
        signature
    };
    let signature = match alg {
        Algorithm::EdDsa => SIGNERS.ed.sign(signed.as_bytes()).as_ref().to_vec(),
        Algorithm::Es256 => SIGNERS.ec.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
        Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
        Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
    };
    format!("{signed}.{}", b64(&signature))
}

fn verified(token: &str) -> Result<Map<String, Value>, JwsError> {
    let jws = Jws::parse(token)?;
    set().verify(&jws).cloned()
}

#[test]
fn every_algorithm_is_verified_by_the_key_of_its_kind() {
    for alg in Algorithm::ALL {
        let kid = jwk(alg)["kid"].as_str().unwrap().to_owned();
        for header in [json!({"alg": alg.as_str(), "typ": "JWT", "kid": kid}), json!({"alg": alg.as_str()})] {
            let token = sign(&header.to_string(), r#"{"sub":"x"}"#, alg);
            assert_eq!(verified(&token).unwrap()["sub"], "x", "{header}");
        }
        // The name of another's key leads to that key alone.
        let other = if kid == "ed" { "ec" } else { "ed" };
        let token = sign(&json!({"alg": alg.as_str(), "kid": other}).to_string(), "{}", alg);
        assert_eq!(verified(&token).unwrap_err(), JwsError::UnknownKey);
        let token = sign(&json!({"alg": alg.as_str(), "kid": "unknown"}).to_string(), "{}", alg);
        assert_eq!(verified(&token).unwrap_err(), JwsError::UnknownKey);
    }
}

#[test]
fn an_algorithm_is_never_the_headers_choice() {
    for alg in ["none", "None", "NONE", "HS256", "HS512", "ES256K", "RS1", "", "EdDSA "] {
        let token = sign(&json!({"alg": alg}).to_string(), "{}", Algorithm::EdDsa);
        assert_eq!(Jws::parse(&token).unwrap_err(), JwsError::Algorithm, "{alg}");
    }
    // A public key as the secret of an HMAC.
    let signed = format!("{}.{}", b64(br#"{"alg":"HS256","kid":"rsa"}"#), b64(b"{}"));
    let pem = jwk(Algorithm::Rs256).to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pem.as_bytes());
    let token = format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref()));
    assert_eq!(Jws::parse(&token).unwrap_err(), JwsError::Algorithm);
    // Signed by one algorithm, called another.
    for (called, really) in
        [("ES256", Algorithm::EdDsa), ("RS256", Algorithm::Ps256), ("PS256", Algorithm::Rs256)]
    {
        let token = sign(&json!({"alg": called}).to_string(), "{}", really);
        assert_eq!(verified(&token).unwrap_err(), JwsError::Signature, "{called}");
    }
    // A key that names its algorithm signs with no other, though it could.
    let mut only = jwk(Algorithm::Rs256);
    only["alg"] = json!("PS256");
    let only = KeySet::parse(&json!({"keys": [only]})).unwrap();
    let token = sign(r#"{"alg":"RS256"}"#, "{}", Algorithm::Rs256);
    assert_eq!(only.verify(&Jws::parse(&token).unwrap()).unwrap_err(), JwsError::UnknownKey);
}

#[test]
fn a_text_with_two_readings_is_none() {
    let ed = Algorithm::EdDsa;
    for (header, claims) in [
        (r#"{"alg":"EdDSA","alg":"none"}"#, "{}"),
        (r#"{"alg":"EdDSA"}"#, r#"{"sub":"a","sub":"b"}"#),
        (r#"{"alg":"EdDSA"}"#, r#"{"sub":"a","s\u0075b":"b"}"#),
        (r#"{"alg":"EdDSA"}"#, r#"{"act":{"sub":"a","sub":"b"}}"#),
        (r#"{"alg":"EdDSA"}"#, "[]"),
        (r#"["EdDSA"]"#, "{}"),
        (r#"{"alg":"EdDSA","kid":1}"#, "{}"),
        (r#"{"alg":"EdDSA","typ":["JWT"]}"#, "{}"),
        (r#"{"alg":"EdDSA"} "#, "{} {}"),
    ] {
        assert_eq!(verified(&sign(header, claims, ed)).unwrap_err(), JwsError::Form, "{header} {claims}");
    }
    let crit = r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#;
    assert_eq!(verified(&sign(crit, "{}", ed)).unwrap_err(), JwsError::Critical);
    let good = sign(r#"{"alg":"EdDSA"}"#, "{}", ed);
    let parts: Vec<&str> = good.split('.').collect();
    for text in [
        String::new(),
        parts[..2].join("."),
        format!("{good}."),
        format!("{good}.x"),
        format!("{good}="),
        format!(" {good}"),
        format!("{}..{}", parts[0], parts[2]),
        good.replace('.', ".."),
    ] {
        assert_eq!(verified(&text).unwrap_err(), JwsError::Form, "{text}");
    }
    assert_eq!(verified(&format!("{}.", parts[..2].join("."))).unwrap_err(), JwsError::Signature);
}

#[test]
fn a_header_brings_no_key() {
    let mut header = json!({"alg": "ES256", "jwk": jwk(Algorithm::Es256), "jku": "https://evil.example"});
    let token = sign(&header.to_string(), "{}", Algorithm::Es256);
    let other = KeySet::parse(&json!({"keys": [jwk(Algorithm::EdDsa)]})).unwrap();
    assert_eq!(other.verify(&Jws::parse(&token).unwrap()).unwrap_err(), JwsError::UnknownKey);
    header["kid"] = json!("ed");
    let token = sign(&header.to_string(), "{}", Algorithm::Es256);
    assert_eq!(other.verify(&Jws::parse(&token).unwrap()).unwrap_err(), JwsError::UnknownKey);
}

#[test]
fn keys_that_are_none_are_refused() {
    let parse = |key: Value| KeySet::parse(&json!({"keys": [key]}));
    let with = |alg, member: &str, value: Value| {
        let mut key = jwk(alg);
        key[member] = value;
        parse(key)
    };
    let (ed, ec, rsa) = (Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256);
    for private in ["d", "k", "p"] {
        assert_eq!(with(ec, private, json!("AAAA")).unwrap_err(), JwkError::Private);
    }
    assert_eq!(parse(json!({"kty": "oct", "k": "AAAA"})).unwrap_err(), JwkError::Private);
    for (alg, member, value) in [
        (ed, "x", json!("AAAA")),
        (ed, "x", json!("")),
        (ec, "y", jwk(ec)["x"].clone()),
        (ec, "x", json!(b64(&[0; 31]))),
        (ec, "x", json!(b64(&[255; 32]))),
        (rsa, "e", json!("AQ")),
        (rsa, "e", json!("Ag")),
        (rsa, "e", json!("")),
        (rsa, "n", json!(b64(&[255; 128]))),
        (rsa, "n", json!(b64(&[255; 1025]))),
        (rsa, "alg", json!("ES256")),
        (ed, "kid", json!(7)),
    ] {
        assert_eq!(with(alg, member, value.clone()).unwrap_err(), JwkError::Invalid, "{member} {value}");
    }
    // What is not for signatures, or not known, is left out.
    for (alg, member, value) in [
        (ed, "use", json!("enc")),
        (ed, "key_ops", json!(["encrypt"])),
        (ed, "crv", json!("X25519")),
        (ec, "crv", json!("P-521")),
        (rsa, "alg", json!("RSA-OAEP")),
        (rsa, "kty", json!("AKP")),
    ] {
        assert!(with(alg, member, value).unwrap().is_empty(), "{member}");
    }
    for no_set in [json!({}), json!({"keys": {}}), json!({"keys": ["x"]}), json!([]), jwk(ed)] {
        assert_eq!(KeySet::parse(&no_set).unwrap_err(), JwkError::Form);
    }
    let many = vec![jwk(ed); 33];
    assert_eq!(KeySet::parse(&json!({"keys": many})).unwrap_err(), JwkError::Form);
}

#[test]
fn a_thumbprint_is_that_of_the_standards() {
    let thumbprint =
        |key: Value| PublicKey::from_jwk(key.as_object().unwrap()).unwrap().thumbprint().to_string();
    // RFC 8037 appendix A.3.
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(ed), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // RFC 7638 §3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    assert_eq!(
        thumbprint(json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn a_type_is_compared_as_a_media_type() {
    let is = |typ: &str| {
        let token = sign(&json!({"alg": "EdDSA", "typ": typ}).to_string(), "{}", Algorithm::EdDsa);
        Jws::parse(&token).unwrap().is_type("dpop+jwt")
    };
    for good in ["dpop+jwt", "DPoP+JWT", "application/dpop+jwt"] {
        assert_eq!(is(good), Some(true));
    }
    for wrong in ["jwt", "", "text/dpop+jwt", "application/application/dpop+jwt", "dpop+jwt "] {
        assert_eq!(is(wrong), Some(false));
    }
    let token = sign(r#"{"alg":"EdDSA"}"#, "{}", Algorithm::EdDsa);
    assert_eq!(Jws::parse(&token).unwrap().is_type("jwt"), None);
}

proptest! {
    #[test]
    fn any_changed_character_is_found(at in 0usize..400, to in "[A-Za-z0-9_.-]") {
        let token = sign(r#"{"alg":"EdDSA"}"#, r#"{"sub":"x","aud":"y"}"#, Algorithm::EdDsa);
        let mut forged = token.clone();
        let at = at % token.len();
        forged.replace_range(at..=at, &to);
        prop_assert!(forged == token || verified(&forged).is_err());
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        prop_assert!(verified(&text).is_err());
    }
}
