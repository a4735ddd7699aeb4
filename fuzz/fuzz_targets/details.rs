//! Authorization details: entries, and behind a NUL the definition of a type. What is read is written and read as the
//! same, covers itself, and a declared type narrows nothing to more than it is.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{
    detail_type::{DetailType, DetailTypes},
    grant::cover::AuthorizationDetail,
    json,
};
use serde_json::Value;

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    let (entries, kind) = data.split_once('\0').unwrap_or((data, ""));
    let Ok(entries) = json::parse(entries.as_bytes()) else { return };
    let Ok(mut details) = AuthorizationDetail::parse_list(&entries) else { return };
    let written = |details: &[AuthorizationDetail]| -> Value {
        details.iter().map(AuthorizationDetail::to_json).collect()
    };
    let once = written(&details);
    let again = AuthorizationDetail::parse_list(&once).expect("what is written is read");
    assert_eq!(again, details);
    assert_eq!(written(&again), once);
    let definition = serde_json::from_str::<DetailType>(kind).ok();
    let types = DetailTypes::load(
        &DetailTypes::default(),
        definition.map(|definition| ("payment".to_owned(), definition)),
    );
    let judged = types.judge(&mut details).is_ok();
    for detail in &details {
        assert!(detail.covers(detail), "{}", detail.to_json());
        for other in &details {
            assert!(!detail.covers(other) || detail.kind() == other.kind());
            let equal = detail.to_json() == other.to_json();
            assert!(!equal || detail.covers(other));
        }
        assert!(!judged || detail.kind() == "payment" || detail.kind() == "placet_action");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
