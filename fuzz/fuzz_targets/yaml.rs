//! YAML: what is read in one pass is what the parser makes of it that knows all of the language, places included. A policy
//! that reads differently would be another policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use placet_core::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_ne!(fuzzing::yaml_is_read_alike(text), Some(false), "{text}");
    }
});
