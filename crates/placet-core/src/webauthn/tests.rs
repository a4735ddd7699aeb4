//! What no input does; that each check refuses is tried over HTTP, with real keys, by `people::passkeys` of the binary.

use super::*;
use proptest::prelude::*;

const EXPECTED: Expected<'static> =
    Expected { challenge: b"challenge", origin: "https://placet.example", rp_id: "placet.example" };

fn client_data(operation: &str) -> Vec<u8> {
    let challenge = URL_SAFE_NO_PAD.encode(EXPECTED.challenge);
    format!(r#"{{"type":"{operation}","challenge":"{challenge}","origin":"{}"}}"#, EXPECTED.origin)
        .into_bytes()
}

/// Authenticator data for the expected site, with these flags and whatever follows.
fn data(flags: u8, more: &[u8]) -> Vec<u8> {
    let mut out = sha256(&[EXPECTED.rp_id.as_bytes()]).to_vec();
    out.push(flags);
    out.extend([0, 0, 0, 1]);
    out.extend(more);
    out
}

fn object(data: Vec<u8>) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.into());
    let mut out = Vec::new();
    Value::Map(vec![
        (text("fmt"), text("none")),
        (text("attStmt"), Value::Map(Vec::new())),
        (text("authData"), Value::Bytes(data)),
    ])
    .write(&mut out);
    out
}

proptest! {
    #[test]
    fn no_input_panics_and_nothing_made_up_is_believed(
        flags: u8,
        more in prop::collection::vec(any::<u8>(), 0..120),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let made = register(&EXPECTED, &client_data("webauthn.create"), &object(data(flags, &more)));
        // Random bytes are hardly ever a key; where they are, the flags said that the person was verified.
        prop_assert!(made.is_err() || flags & 0b101 == 0b101);
        prop_assert!(register(&EXPECTED, &client_data("webauthn.create"), &more).is_err());
        prop_assert!(CredentialKey::parse(&more).is_err());
        let known = Known { key: &more, sign_count: 0, backup_eligible: false, user_handle: b"" };
        let state = data(flags, &[]);
        let client_data = client_data("webauthn.get");
        let answer = Assertion {
            client_data: &client_data,
            authenticator_data: &state,
            signature: &signature,
            user_handle: b"",
        };
        prop_assert!(verify(&EXPECTED, &known, &answer).is_err());
        let answer = Assertion { authenticator_data: &more, ..answer };
        prop_assert!(verify(&EXPECTED, &known, &answer).is_err());
        let answer = Assertion { client_data: &more, ..answer };
        prop_assert!(verify(&EXPECTED, &known, &answer).is_err());
    }
}

#[test]
fn an_ed25519_key_has_32_bytes_and_no_other_encoding() {
    let key = |x: &[u8]| {
        let integer = Value::Integer;
        let mut out = Vec::new();
        Value::Map(vec![
            (integer(1), integer(1)),
            (integer(3), integer(-8)),
            (integer(-1), integer(6)),
            (integer(-2), Value::Bytes(x.to_vec())),
        ])
        .write(&mut out);
        CredentialKey::parse(&out)
    };
    // The base point (RFC 8032 §5.1).
    let mut point = [0x66_u8; 32];
    point[0] = 0x58;
    assert_eq!(key(&point).unwrap().algorithm(), CredentialAlgorithm::EdDsa);
    // As a SubjectPublicKeyInfo (RFC 8410 §4).
    let mut info: Vec<u8> = vec![0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    info.extend(point);
    for other in [&info[..], &info[11..], &point[..31], &point[..0]] {
        assert_eq!(key(other).unwrap_err(), Refused::Key, "{} bytes", other.len());
    }
}

#[test]
fn extensions_are_read_and_passed_over() {
    let flags = 0b1000_0101;
    assert!(AuthenticatorData::parse(&data(flags, &[0xa1, 0x61, b'x', 0xf5])).is_ok());
    assert_eq!(AuthenticatorData::parse(&data(flags, &[0x80])).unwrap_err(), Refused::AuthenticatorData);
    assert_eq!(AuthenticatorData::parse(&data(flags, &[0xa0, 0])).unwrap_err(), Refused::AuthenticatorData);
    assert_eq!(AuthenticatorData::parse(&data(5, &[0xa0])).unwrap_err(), Refused::AuthenticatorData);
}
