//! JSON: what is read, serde_json reads as the same; what is refused for its grammar, serde_json refuses too; and the
//! canonical form of anything is read as the same again.
#![cfg_attr(fuzzing, no_main)]

use placet_core::json::{self, JsonError, Strict};
use serde_json::Value;

/// As JSON: serde_json writes exponents its own way, and we keep the text.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let plain = |text: &str| text.to_ascii_lowercase().replace("e+", "e");
            plain(ours.as_str()) == plain(theirs.as_str())
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let each =
                |(name, ours): (&String, &Value)| theirs.get(name).is_some_and(|theirs| same(ours, theirs));
            ours.len() == theirs.len() && ours.iter().all(each)
        }
        _ => ours == theirs,
    }
}

pub(crate) fn run(data: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(data);
    match json::parse(data) {
        Ok(ours) => {
            assert!(same(&ours, &theirs.expect("serde_json reads what we read")));
            let within = serde_json::from_slice::<Strict>(data).expect("the same inside another structure");
            assert_eq!(within.0, ours);
            if let Ok(canonical) = json::canonical(&ours) {
                assert_eq!(json::parse(&canonical).expect("the canonical form is JSON"), ours);
                assert_eq!(json::canonical(&ours).expect("the same once more"), canonical);
            }
        }
        Err(JsonError::Syntax { at, .. } | JsonError::NotUtf8 { at }) => {
            assert!(at <= data.len());
            assert!(theirs.is_err(), "serde_json reads what we call no JSON");
        }
        Err(_) => {}
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
