//! Paths into answers: what is written is read as the same. And patterns of subjects, with a text to match.
#![cfg_attr(fuzzing, no_main)]

use placet_core::{federation::Glob, shape::Path};

pub(crate) fn run(data: &[u8]) {
    let Ok(data) = std::str::from_utf8(data) else { return };
    if let Ok(path) = Path::parse(data) {
        assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path));
    }
    if let Some((pattern, text)) = data.split_once('\n')
        && let Ok(glob) = pattern.parse::<Glob>()
    {
        let _ = glob.matches(text);
        assert_eq!(glob.as_str(), pattern);
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
