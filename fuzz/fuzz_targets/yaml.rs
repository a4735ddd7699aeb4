//! YAML: what is read in one pass is what the parser makes of it that knows all of the language, places included. A policy
//! that reads differently would be another policy.
#![cfg_attr(fuzzing, no_main)]

use placet_core::fuzzing;

pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_ne!(fuzzing::yaml_is_read_alike(text), Some(false), "{text}");
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
