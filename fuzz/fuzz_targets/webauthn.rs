//! CBOR and what authenticators answer: CBOR has one form, so that what is read is written the same; a credential that is
//! taken stands in the bytes, and a prefix of its answer is none.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    fuzzing,
    webauthn::{Assertion, Expected, Known, register, verify},
};

const EXPECTED: Expected<'static> =
    Expected { challenge: b"challenge", origin: "https://placet.example", rp_id: "placet.example" };
const CREATE: &[u8] =
    br#"{"type":"webauthn.create","challenge":"Y2hhbGxlbmdl","origin":"https://placet.example"}"#;
const GET: &[u8] = br#"{"type":"webauthn.get","challenge":"Y2hhbGxlbmdl","origin":"https://placet.example"}"#;

pub(crate) fn run(data: &[u8]) {
    if let Some(written) = fuzzing::cbor(data) {
        assert_eq!(written, data, "CBOR has one form");
    }
    if let Ok(made) = register(&EXPECTED, CREATE, data) {
        let stands = |part: &[u8]| data.windows(part.len()).any(|window| window == part);
        assert!(stands(&made.credential) && stands(&made.key));
        let shorter = data.split_last().map(|(_, rest)| rest).unwrap_or_default();
        assert!(register(&EXPECTED, CREATE, shorter).is_err());
    }
    let _ = register(&EXPECTED, data, data);
    let half = data.split_at(data.len() / 2);
    let known = Known { key: half.0, sign_count: 0, backup_eligible: false, user_handle: b"" };
    let answer =
        Assertion { client_data: GET, authenticator_data: half.1, signature: half.0, user_handle: b"" };
    assert!(verify(&EXPECTED, &known, &answer).is_err(), "nothing here is signed");
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
