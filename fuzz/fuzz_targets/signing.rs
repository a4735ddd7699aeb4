//! Templates of signatures, and whole schemes: what is read says the same when it is written, and what a scheme that is taken
//! signs keeps the request's path and goes into headers as one line.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    secret::Secret,
    signing::{
        Moment, Unsigned,
        scheme::{Scheme, Template},
    },
    time::Timestamp,
};

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    if let Ok(template) = Template::parse(data) {
        let written = serde_json::to_value(&template).expect("it is written");
        let again: Template = serde_json::from_value(written.clone()).expect("what is written is read");
        assert_eq!(again, template);
        assert_eq!(serde_json::to_value(&again).expect("it is written"), written);
    }
    let Ok(scheme) = serde_json::from_str::<Scheme>(data) else { return };
    let written = serde_json::to_string(&scheme).expect("it is written");
    assert_eq!(serde_json::from_str::<Scheme>(&written).expect("what is written is read"), scheme);
    // Names are checked by whoever reads a scheme: here they are of those that services can have.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if scheme.check().is_err() || !scheme.query.iter().all(|(name, _)| name.bytes().all(plain)) {
        return;
    }
    let secret = if scheme.names_key() {
        r#"{"key_id": "key-1", "secret": "c2VjcmV0c2VjcmV0c2VjcmV0"}"#
    } else {
        "c2VjcmV0c2VjcmV0c2VjcmV0"
    };
    let Ok(key) = scheme.key(&Secret::new(secret)) else { return };
    for body in [Some(&b"{\"a\": 1}"[..]), None] {
        let request = Unsigned {
            method: "POST",
            host: "api.example",
            target: "/v1/a%20b?c=d&e=%26",
            headers: &[("content-type", "application/json")],
            body,
        };
        let moment = Moment { now: Timestamp::from_seconds(1_700_000_000), nonce: [7; 16] };
        let Ok(signed) = scheme.sign(&key, &request, moment) else { continue };
        assert!(signed.target.starts_with("/v1/a%20b?c=d&e=%26"), "{}", signed.target);
        assert!(signed.target.bytes().all(|byte| byte.is_ascii_graphic()), "{}", signed.target);
        assert_eq!(signed.headers.len(), scheme.headers.len());
        // The same request at the same moment is signed the same.
        assert_eq!(scheme.sign(&key, &request, moment).as_ref(), Ok(&signed));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
