use super::*;
use crate::time::Timestamp;
use proptest::prelude::*;
use serde_json::json;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn key(id: &str, secret: &str) -> AwsKey {
    AwsKey::from_secret(&Secret::new(json!({"access_key_id": id, "secret_access_key": secret}).to_string()))
        .unwrap()
}

fn at(text: &str) -> Moment {
    Moment { now: Timestamp::parse(text).unwrap(), nonce: [0; 16] }
}

fn signature(signed: &Signature) -> &str {
    let (_, value) = signed.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    value.rsplit_once("Signature=").unwrap().1
}

/// The cases of the suite that AWS publishes (`aws-sig-v4-test-suite`), with its example key, service and time.
#[test]
fn the_published_suite() {
    let key = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let form: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];
    let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (method, target, headers, body, expected) in [
        ("GET", "/", &[][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/?Param1=value1",
            &[],
            "",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "GET",
            "/?%E1%88%B4=bar",
            &[],
            "",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
        ("GET", unreserved, &[], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("POST", "/", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "POST",
            "/?Param1=value1",
            &[],
            "",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "POST",
            "/",
            form,
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        let request =
            Unsigned { method, host: "example.amazonaws.com", target, headers, body: Some(body.as_bytes()) };
        let signed = key.sign(&request, "us-east-1", "service", at("2015-08-30T12:36:00Z")).unwrap();
        assert_eq!((signature(&signed), signed.target.as_str()), (expected, target), "{method} {target}");
    }
}

/// Those of its cases whose paths are encoded once, and those with headers that this server never signs.
#[test]
fn the_published_suite_of_paths_and_headers() {
    let key = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let moment = at("2015-08-30T12:36:00Z");
    let scope = Scope { region: "us-east-1", service: "service", moment };
    let long = long_date(moment);
    for (path, mut headers, expected) in [
        ("/example%20space/", vec![], "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        ("/%E1%88%B4", vec![], "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        (
            "/",
            vec![("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
    ] {
        headers.extend([("host", "example.amazonaws.com"), ("x-amz-date", long.as_str())]);
        let place = Place { path: canonical_path(path, true).unwrap(), query: String::new() };
        let header = key.authorization("GET", &place, headers, EMPTY, &scope);
        assert_eq!(header.rsplit_once("Signature=").unwrap().1, expected, "{path}");
    }
}

/// `Signature Calculations for the Authorization Header` of the documentation of S3.
#[test]
fn the_examples_of_s3() {
    let key = key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let moment = at("2013-05-24T00:00:00Z");
    let get = |target| Unsigned {
        method: "GET",
        host: "examplebucket.s3.amazonaws.com",
        target,
        headers: &[],
        body: Some(b""),
    };
    for (target, expected) in [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("/?prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ] {
        let signed = key.sign(&get(target), "us-east-1", "s3", moment).unwrap();
        assert_eq!(signature(&signed), expected, "{target}");
    }
    let scope = Scope { region: "us-east-1", service: "s3", moment };
    let long = long_date(moment);
    let common = [("host", "examplebucket.s3.amazonaws.com"), ("x-amz-date", long.as_str())];
    let put = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    assert_eq!(hex(&digest_of(&SHA256, b"Welcome to Amazon S3.")), put);
    for (method, path, digest, more, expected) in [
        (
            "GET",
            "/test.txt",
            EMPTY,
            vec![("range", "bytes=0-9")],
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test$file.text",
            put,
            vec![("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ] {
        let headers = [&common[..], &more, &[("x-amz-content-sha256", digest)]].concat();
        let place = Place { path: canonical_path(path, true).unwrap(), query: String::new() };
        let header = key.authorization(method, &place, headers, digest, &scope);
        assert_eq!(header.rsplit_once("Signature=").unwrap().1, expected, "{path}");
    }
}

/// The worked example of the documentation of IAM.
#[test]
fn the_example_of_iam() {
    let key = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let request = Unsigned {
        method: "GET",
        host: "iam.amazonaws.com",
        target: "/?Action=ListUsers&Version=2010-05-08",
        headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        body: Some(b""),
    };
    let signed = key.sign(&request, "us-east-1", "iam", at("2015-08-30T12:36:00Z")).unwrap();
    let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                    SignedHeaders=content-type;host;x-amz-date, \
                    Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
    assert_eq!(
        signed.headers,
        [("x-amz-date", "20150830T123600Z"), ("authorization", expected)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
}

#[test]
fn a_session_token_is_sent_and_signed() {
    let secret = json!({"Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "canary-secret",
                        "SessionToken": "canary-token", "Expiration": "2030-01-01T00:00:00Z"});
    let key = AwsKey::from_secret(&Secret::new(secret.to_string())).unwrap();
    let request = Unsigned {
        method: "PUT",
        host: "h",
        target: "/a",
        headers: &[("x-amz-target", "T"), ("accept", "x")],
        body: None,
    };
    assert_eq!(
        key.sign(&request, "eu-central-1", "dynamodb", at("2026-01-01T00:00:00Z")),
        Err(SigningError::Streamed)
    );
    let signed = key.sign(&request, "eu-central-1", "s3", at("2026-01-01T00:00:00Z")).unwrap();
    let value = |name: &str| signed.headers.iter().find(|(it, _)| it == name).unwrap().1.clone();
    assert_eq!(
        (value("x-amz-security-token").as_str(), value("x-amz-content-sha256").as_str()),
        ("canary-token", UNSIGNED)
    );
    assert!(
        value("authorization").contains(
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-amz-target, "
        )
    );
    assert_eq!(key.secrets().count(), 2);
    assert!(!format!("{key:?}").contains("canary"));
}

#[test]
fn what_is_no_key() {
    let of = |value: serde_json::Value| AwsKey::from_secret(&Secret::new(value.to_string())).unwrap_err();
    let pair = |id: &str, secret: &str| of(json!({"access_key_id": id, "secret_access_key": secret}));
    assert!(matches!(of(json!("text")), KeyError::Form(_)));
    assert!(matches!(of(json!({"access_key_id": "AKIDEXAMPLE"})), KeyError::Form(_)));
    assert_eq!(pair("AKID/EXAMPLE", "canary-secret"), KeyError::KeyId);
    assert_eq!(pair("AKIDEXAMPLE", "short"), KeyError::Key);
    assert_eq!(pair("AKIDEXAMPLE", "canary\nsecret"), KeyError::Key);
    let token = json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "canary-secret", "session_token": "a b c d e f"});
    assert_eq!(of(token), KeyError::Key);
}

/// What a server that has decoded the query makes of it: names and values sorted as they are encoded.
fn as_a_server_would(members: &[(String, String)]) -> String {
    let encoded = |text: &str| {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect::<String>()
    };
    let mut all: Vec<_> = members.iter().map(|(name, value)| (encoded(name), encoded(value))).collect();
    all.sort();
    all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

proptest! {
    /// However much of it is percent-encoded on the way, both sides have the same query and the same path.
    #[test]
    fn one_request_has_one_canonical_form(
        members in prop::collection::vec(("[a-zA-Z0-9 /:%&=é-]{1,4}", "[a-zA-Z0-9 /:%&=+é-]{0,4}"), 0..4),
        segments in prop::collection::vec("[a-zA-Z0-9 :%&=+$é~-]{1,5}", 0..4), eager in any::<u64>(),
    ) {
        let mut turn = eager;
        // Either as it is, where that has one reading, or encoded.
        let mut written = |text: &str, plain: &str| -> String {
            text.bytes().map(|byte| {
                turn = turn.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let bare = byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte);
                if bare && turn & 1 == 0 { char::from(byte).to_string() }
                else if turn & 2 == 0 { format!("%{byte:02X}") } else { format!("%{byte:02x}") }
            }).collect()
        };
        let query = members.iter().map(|(name, value)| format!("{}={}", written(name, "/:-"), written(value, "/:-")));
        let query = query.collect::<Vec<_>>().join("&");
        prop_assert_eq!(canonical_query(&query).unwrap(), as_a_server_would(&members));
        let path: String = segments.iter().map(|segment| format!("/{}", written(segment, ":&=+$~-"))).collect();
        let mut meant = String::new();
        segments.iter().for_each(|segment| { meant.push('/'); percent(segment.as_bytes(), false, &mut meant); });
        if meant.is_empty() { meant.push('/'); }
        prop_assert_eq!(canonical_path(&path, true).unwrap(), meant);
        let again = canonical_path(&path, false).unwrap();
        let back = if path.is_empty() { "/" } else { &path };
        prop_assert_eq!(String::from_utf8(decoded(&again).unwrap()).unwrap(), back);
    }

    #[test]
    fn no_part_of_a_request_can_be_changed_without_its_signature(
        target in "/[a-c]{0,2}(\\?[a-b]=[a-b])?", body in "[a-b]{0,2}", other_target in "/[a-c]{0,2}(\\?[a-b]=[a-b])?",
        other_body in "[a-b]{0,2}", storage in any::<bool>(),
    ) {
        let key = key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let service = if storage { "s3" } else { "service" };
        let sign = |target: &str, body: &str| {
            let request = Unsigned { method: "POST", host: "h", target, headers: &[], body: Some(body.as_bytes()) };
            signature(&key.sign(&request, "r", service, at("2026-01-01T00:00:00Z")).unwrap()).to_owned()
        };
        let same = target == other_target && body == other_body;
        prop_assert_eq!(sign(&target, &body) == sign(&other_target, &other_body), same);
    }
}

#[test]
fn what_has_two_readings_is_not_signed() {
    for query in ["a=1+2", "a=%", "a=%2", "a=%zz"] {
        assert_eq!(canonical_query(query), Err(SigningError::Target), "{query}");
    }
    assert_eq!(canonical_path("/%4", true), Err(SigningError::Target));
}
