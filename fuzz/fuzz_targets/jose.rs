//! JWS, key sets and DPoP proofs. A text is read as a token; and header and claims (JSON, a line each) are signed, to see
//! which proofs are taken: only one that says what it has to say of its request.
#![cfg_attr(fuzzing, no_main)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use placet_core::{
    dpop::{self, Expected},
    fuzzing,
    jose::{Jws, KeySet, PublicKey},
    json,
    keys::SigningKey,
    time::Timestamp,
};
use serde_json::Value;
use std::sync::LazyLock;

const NOW: i64 = 1_700_000_000;

/// Ed25519 of RFC 8032 §7.1 TEST 1, as PKCS #8.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let mut pkcs8 = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pkcs8.extend([
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
        0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ]);
    SigningKey::from_pkcs8(&pkcs8).expect("it is a key")
});

fn as_a_token(text: &str) {
    let Ok(jws) = Jws::parse(text) else { return };
    let header = text.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(header).expect("the header was read");
    assert_eq!(json::parse(&bytes), Ok(Value::Object(jws.header().clone())));
    assert!(jws.header().get("alg").is_some_and(Value::is_string));
    let own = KEY.public_members().as_object().and_then(|members| PublicKey::from_jwk(members).ok());
    let _ = jws.verify(&own.expect("our own key"));
}

fn as_a_proof(header: &str, claims: &str) {
    let (Ok(mut header), Ok(claims)) = (json::parse(header.as_bytes()), json::parse(claims.as_bytes()))
    else {
        return;
    };
    if let Some(members) = header.as_object_mut() {
        members.entry("jwk").or_insert_with(|| KEY.public_members().clone());
    }
    let Some(text) = fuzzing::jws(&KEY, &header, &claims) else { return };
    as_a_token(&text);
    let bases = ["https://placet.example".to_owned()];
    let expected = Expected {
        method: "POST",
        bases: &bases,
        path: "/v1/actions",
        token: Some("token"),
        now: Timestamp::from_seconds(NOW),
    };
    if let Ok(proof) = dpop::verify(&text, &expected) {
        assert_eq!(proof.key.to_string(), KEY.kid());
        assert_eq!(claims["htm"], "POST");
        assert_eq!(claims["ath"], dpop::token_hash("token"));
        assert!(claims["jti"].as_str().is_some_and(|id| !id.is_empty()));
        let url = claims["htu"].as_str().expect("a URL").to_ascii_lowercase();
        assert!(url.starts_with("https://placet.example"), "{url}");
        assert!(proof.issued.as_seconds().abs_diff(NOW) <= 300);
        let later = Timestamp::from_seconds(NOW + 1000);
        assert!(dpop::verify(&text, &Expected { now: later, ..expected }).is_err());
        assert!(dpop::verify(&text, &Expected { method: "GET", ..expected }).is_err());
        assert!(dpop::verify(&text, &Expected { token: Some("other"), ..expected }).is_err());
        assert!(dpop::verify(&text, &Expected { path: "/v1/other", ..expected }).is_err());
    }
}

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    as_a_token(data.trim_end());
    if let Some((header, claims)) = data.split_once('\n') {
        as_a_proof(header, claims);
    }
    if let Ok(set) = json::parse(data.as_bytes())
        && let Ok(keys) = KeySet::parse(&set)
    {
        for key in keys.keys() {
            let _ = key.thumbprint();
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
