use super::*;
use crate::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

/// HMAC by its definition (RFC 2104) over another implementation of the digest: the oracle.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&sha2::Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = sha2::Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], message].concat());
    sha2::Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner].concat()).to_vec()
}

fn scheme(value: Value) -> Scheme {
    let scheme: Scheme = serde_json::from_value(value).unwrap();
    scheme.check().unwrap();
    scheme
}

fn moment() -> Moment {
    Moment { now: Timestamp::from_micros(1_499_827_319_559_123), nonce: [0xab; 16] }
}

fn post<'a>(target: &'a str, body: &'a [u8]) -> Unsigned<'a> {
    Unsigned {
        method: "POST",
        host: "api.example",
        target,
        headers: &[("content-type", "text/x")],
        body: Some(body),
    }
}

fn named(id: &str, secret: &str) -> Secret {
    Secret::new(json!({"key_id": id, "secret": secret}).to_string())
}

/// The worked example of Binance's documentation of signed endpoints: parameters in the query and in the body.
#[test]
fn a_signature_in_the_query() {
    let scheme = scheme(json!({
        "sign": "{query}{body}", "timestamp": "milliseconds",
        "headers": [["x-mbx-apikey", "{key_id}"]],
        "query": [["timestamp", "{timestamp}"], ["signature", "{signature}"]],
    }));
    let id = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
    let secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
    let key = scheme.key(&named(id, secret)).unwrap();
    let target = "/api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000";
    let signed = scheme.sign(&key, &post(target, b""), moment()).unwrap();
    let expected = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
    assert_eq!(signed.target, format!("{target}&timestamp=1499827319559&signature={expected}"));
    assert_eq!(signed.headers, [("x-mbx-apikey".to_owned(), id.to_owned())]);
    // The time is signed with the query that it is in, and only with that.
    assert!(!scheme.is_timeless());
    assert!(Scheme { sign: Template::parse("{path}{body}").unwrap(), ..scheme }.is_timeless());
}

#[test]
fn a_signature_in_one_header_with_its_time() {
    let scheme = scheme(json!({
        "sign": "{timestamp}.{body}", "headers": [["stripe-signature", "t={timestamp},v1={signature}"]],
    }));
    let key = scheme.key(&Secret::new("whsec_canary")).unwrap();
    let signed = scheme.sign(&key, &post("/hook", b"{\"a\": 1}"), moment()).unwrap();
    let expected = hex(&hmac_sha256(b"whsec_canary", b"1499827319.{\"a\": 1}"));
    assert_eq!(signed.headers, [("stripe-signature".to_owned(), format!("t=1499827319,v1={expected}"))]);
    assert_eq!(signed.target, "/hook");
}

#[test]
fn every_part_in_every_form() {
    let scheme = scheme(json!({
        "sign": "{method}\n{host}\n{path}\n{query}\n{target}\n{content_type}\n{body_sha256}\n{body_sha256_base64}\n\
                 {body_sha512}\n{timestamp}\n{nonce}\n{key_id}\n{{x}}",
        "digest": "sha512", "encoding": "base64url", "key": "base64", "timestamp": "iso8601",
        "headers": [["x-all", "{timestamp} {nonce} {key_id}"], ["x-sum", "sha-256=:{body_sha256_base64}:"], ["x-sig", "{signature}"]],
    }));
    let key = scheme.key(&named("k1", "Y2FuYXJ5LWtleS1vZi1ieXRlcw==")).unwrap();
    assert_eq!(key.secrets().map(Secret::expose).collect::<Vec<_>>()[1], b"canary-key-of-bytes");
    let signed = scheme.sign(&key, &post("/a%20b?x=%2F", b"abc"), moment()).unwrap();
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let sha512 = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let base64 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    let nonce = "ab".repeat(16);
    let text = format!(
        "POST\napi.example\n/a%20b\nx=%2F\n/a%20b?x=%2F\ntext/x\n{sha256}\n{base64}\n{sha512}\n2017-07-12T02:41:59Z\n{nonce}\nk1\n{{x}}"
    );
    let expected = URL_SAFE_NO_PAD.encode(mac(HMAC_SHA512, b"canary-key-of-bytes", text.as_bytes()));
    assert_eq!(
        signed.headers,
        [
            ("x-all".to_owned(), format!("2017-07-12T02:41:59Z {nonce} k1")),
            ("x-sum".to_owned(), format!("sha-256=:{base64}:")),
            ("x-sig".to_owned(), expected),
        ]
    );
    assert_eq!(signed.target, "/a%20b?x=%2F");
    assert!(scheme.needs_body() && scheme.names_key() && !scheme.is_timeless());
    let streamed = Unsigned { body: None, ..post("/a", b"") };
    assert_eq!(scheme.sign(&key, &streamed, moment()), Err(SigningError::Streamed));
    assert!(!format!("{key:?}{scheme:?}").contains("canary"));
}

#[test]
fn what_nobody_could_check_is_no_scheme() {
    let refused = |value: Value| {
        let scheme: Scheme = serde_json::from_value(value).unwrap();
        scheme.check().unwrap_err()
    };
    let header = |text: &str| json!([["x-sig", text]]);
    for (value, why) in [
        (json!({"sign": "{body}"}), "stands in one"),
        (json!({"sign": "{body}", "headers": header("{signature}{signature}")}), "once"),
        (json!({"sign": "{body}{signature}", "headers": header("{signature}")}), "itself"),
        (
            json!({"sign": "{method}{timestamp}", "headers": header("{signature}{timestamp}")}),
            "nothing of the request",
        ),
        (json!({"sign": "{body}{timestamp}", "headers": header("{signature}")}), "signed and not sent"),
        (json!({"sign": "{body}{nonce}", "headers": header("{signature}")}), "signed and not sent"),
        (json!({"sign": "{body}", "headers": header("{signature}{body}")}), "`x-sig` can have"),
        (json!({"sign": "{body}", "headers": header("{signature}\n")}), "can't be sent"),
        (json!({"sign": "{body}", "query": [["s", "{signature}"], ["a", "b"]]}), "the last"),
    ] {
        let problem = refused(value.clone());
        assert!(problem.contains(why), "{value}: {problem}");
    }
    for (template, why) in [
        ("", "bytes"),
        ("{x}", "no part"),
        ("a}", "stands alone"),
        ("{body", "stands alone"),
        (&"x".repeat(1025), "bytes"),
    ] {
        assert!(Template::parse(template).unwrap_err().contains(why), "{template}");
    }
}

#[test]
fn what_is_no_key() {
    let plain = scheme(json!({"sign": "{body}", "headers": [["x-sig", "{signature}"]]}));
    let with_id = scheme(json!({"sign": "{body}", "headers": [["x-sig", "{key_id}:{signature}"]]}));
    let encoded =
        |key: &str| scheme(json!({"sign": "{body}", "key": key, "headers": [["x-sig", "{signature}"]]}));
    let error = |scheme: &Scheme, secret: &Secret| scheme.key(secret).unwrap_err();
    assert_eq!(error(&plain, &Secret::new("short")), KeyError::Key);
    assert_eq!(error(&plain, &Secret::new("two\nlines-of-it")), KeyError::Key);
    assert!(matches!(error(&with_id, &Secret::new("only-the-secret")), KeyError::Form(_)));
    assert_eq!(error(&with_id, &named("a b", "long-enough")), KeyError::KeyId);
    assert_eq!(error(&encoded("base64"), &Secret::new("no base64!")), KeyError::Encoding);
    assert_eq!(error(&encoded("hex"), &Secret::new("0011223344556")), KeyError::Encoding);
    assert_eq!(error(&encoded("hex"), &Secret::new("00112233")), KeyError::Key);
    assert!(encoded("hex").key(&Secret::new("00112233445566ff")).is_ok());
    assert!(encoded("base64").key(&Secret::new("__-_AAAAAAAAAA")).is_ok());
}

proptest! {
    /// What is signed is what is sent: whoever has the request as it went out, and the key, comes to the same signature.
    #[test]
    fn the_signature_is_of_what_is_sent(
        path in "(/[a-z%0-9]{0,5}){1,3}", query in prop::option::of("[a-z]{1,3}=[a-z0-9]{0,3}"), body in "\\PC{0,12}",
        secret in "[!-~]{8,80}", in_query in any::<bool>(), id in "[!-~]{1,8}",
    ) {
        let place = if in_query { "query" } else { "headers" };
        let mut value = json!({"sign": "{method} {target}\n{key_id}\n{body}"});
        value[place] = json!([["x-id", "{key_id}"], ["x-sig", "v1={signature}"]]);
        let scheme = scheme(value);
        let key = scheme.key(&named(&id, &secret)).unwrap();
        let target = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        let signed = scheme.sign(&key, &post(&target, body.as_bytes()), moment()).unwrap();
        // As the upstream sees it.
        let (bare, shown) = if in_query {
            let (bare, shown) = signed.target.rsplit_once(['?', '&']).unwrap();
            (bare.to_owned(), shown.strip_prefix("x-sig=v1%3D").unwrap().to_owned())
        } else {
            (signed.target.clone(), signed.headers[1].1.strip_prefix("v1=").unwrap().to_owned())
        };
        let text = format!("POST {bare}\n{id}\n{body}");
        prop_assert_eq!(shown, hex(&hmac_sha256(secret.as_bytes(), text.as_bytes())));
        prop_assert!(signed.target.starts_with(&target));
        let printable = signed.headers.iter().all(|(_, value)| value.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(printable && signed.target.bytes().all(|byte| byte.is_ascii_graphic()));
    }

    #[test]
    fn a_template_is_read_or_refused(text in "[a-z{}_]{0,24}") {
        if let Ok(template) = Template::parse(&text) {
            prop_assert_eq!(String::from(template), text);
        }
    }
}
